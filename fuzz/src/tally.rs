//! What all runs of a target came to, so that short runs add up.
//!
//! A run that resumes begins after the last case that is known to have passed or failed. The
//! number of the case that is running stands in a file of its own, which is there at the start
//! only if the process died in it: then that case is counted as a death, and left out.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Counts;

/// What is kept of a target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// The number of the next case.
    pub next: u64,
    /// How many cases were run to their end.
    pub cases: u64,
    /// In which time.
    pub time: Duration,
    /// What happened in them.
    pub counts: Counts,
}

/// How often a case ended its process.
pub const DEATHS: &str = "deaths of the process";

fn path(folder: &Path, target: &str) -> PathBuf {
    folder.join(format!("{target}.tally"))
}

fn named(path: &Path, error: std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

impl Tally {
    /// What was kept, or nothing.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(folder: &Path, target: &str) -> Result<Tally, String> {
        let path = path(folder, target);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Tally::default());
            }
            Err(error) => return Err(named(&path, error)),
        };
        let wrong = |line: &str| format!("{}: not a line of a tally: {line}", path.display());
        let mut tally = Tally::default();
        for line in text.lines() {
            let (number, what) = line.split_once(' ').ok_or_else(|| wrong(line))?;
            let number: u64 = number.parse().map_err(|_| wrong(line))?;
            match what {
                "is next" => tally.next = number,
                "cases" => tally.cases = number,
                "ms" => tally.time = Duration::from_millis(number),
                what => _ = tally.counts.insert(what.to_owned(), number),
            }
        }
        Ok(tally)
    }

    /// Keeps it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, folder: &Path, target: &str) -> Result<(), String> {
        let path = path(folder, target);
        let mut text = format!(
            "{} is next\n{} cases\n{} ms\n",
            self.next,
            self.cases,
            self.time.as_millis()
        );
        for (what, count) in &self.counts {
            text.push_str(&format!("{count} {}\n", what.replace('\n', " ")));
        }
        // Whole or not at all.
        let new = path.with_extension("new");
        fs::write(&new, text).map_err(|error| named(&new, error))?;
        fs::rename(&new, &path).map_err(|error| named(&path, error))
    }

    /// With what another run did added.
    pub fn plus(mut self, cases: u64, time: Duration, counts: &Counts) -> Tally {
        self.next = self.next.wrapping_add(cases);
        self.cases += cases;
        self.time += time;
        for (what, count) in counts {
            *self.counts.entry(what.clone()).or_default() += count;
        }
        self
    }
}

/// The file with the number of the case that is running.
#[derive(Debug)]
pub struct Current {
    file: fs::File,
    path: PathBuf,
}

impl Current {
    /// The case in which the last process died.
    pub fn left(folder: &Path, target: &str) -> Option<u64> {
        let text = fs::read_to_string(Current::path(folder, target)).ok()?;
        text.trim().parse().ok()
    }

    fn path(folder: &Path, target: &str) -> PathBuf {
        folder.join(format!("{target}.current"))
    }

    /// No case is running yet.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn new(folder: &Path, target: &str) -> Result<Current, String> {
        let path = Current::path(folder, target);
        let file = fs::File::create(&path).map_err(|error| named(&path, error))?;
        Ok(Current { file, path })
    }

    /// Says which is running.
    pub fn set(&self, seed: u64) {
        // Should it fail, a crash is harder to find, no more.
        let _ = self
            .file
            .write_all_at(format!("{seed:020}\n").as_bytes(), 0);
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Tally::read(folder.path(), "t").unwrap(), Tally::default());
        let counts = Counts::from([("calls: done".to_owned(), 3)]);
        let tally = Tally::default().plus(10, Duration::from_millis(5), &counts);
        tally.write(folder.path(), "t").unwrap();
        assert_eq!(Tally::read(folder.path(), "t").unwrap(), tally);
        let more = tally.plus(1, Duration::ZERO, &counts);
        assert_eq!(
            (more.next, more.cases, more.counts["calls: done"]),
            (11, 11, 6)
        );
    }

    #[test]
    fn only_a_death_leaves_a_case() {
        let folder = tempfile::tempdir().unwrap();
        let current = Current::new(folder.path(), "t").unwrap();
        assert_eq!(Current::left(folder.path(), "t"), None);
        current.set(7);
        assert_eq!(Current::left(folder.path(), "t"), Some(7));
        drop(current);
        assert_eq!(Current::left(folder.path(), "t"), None);
    }
}
