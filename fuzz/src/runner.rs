//! Runs cases, one after the other, and keeps what they find.
//!
//! A panic of a case is a finding; a case that takes too long ends the process, as nothing else
//! can end it. Time is mostly that of the processor: on a busy machine a case waits. Findings are told apart by their first line, and only the first of a kind is made
//! smaller: by cutting and blanking the input for as long as the same is found.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::tally::{Current, DEATHS, Tally};
use crate::{Counts, Make, Notes, source};

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The number of the first case.
    pub seed: u64,
    /// Whether to begin after all earlier runs instead, and add this one to them.
    pub resume: bool,
    /// How many cases at most.
    pub count: u64,
    /// For how long at most.
    pub time: Duration,
    /// Where findings and the number of the running case go; nothing is written without.
    pub folder: Option<PathBuf>,
    /// Whether to make the input of a finding smaller.
    pub reduce: bool,
    /// How many kinds of findings are enough.
    pub findings: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            seed: 0,
            resume: false,
            count: u64::MAX,
            time: Duration::from_secs(u64::MAX / 4),
            folder: None,
            reduce: true,
            findings: 10,
        }
    }
}

/// A case that failed.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Its number.
    pub seed: u64,
    /// Why.
    pub message: String,
    /// The files that it left.
    pub files: Vec<PathBuf>,
}

/// How a run went.
#[derive(Debug, Default)]
pub struct Report {
    /// The number of the first.
    pub seed: u64,
    /// How many cases were run.
    pub cases: u64,
    /// What happened in them.
    pub counts: Counts,
    /// The first finding of each kind.
    pub findings: Vec<Finding>,
}

/// A case that takes the processor for longer does not end.
const TOO_LONG: Duration = Duration::from_secs(60);
/// Nor does one that waits for longer.
const WAITS_TOO_LONG: Duration = Duration::from_secs(20 * 60);
/// The exit code of a process with such a case.
pub const TOO_LONG_CODE: i32 = 97;
/// Engines keep what they know of function types; a fresh target forgets it.
const FRESH_AFTER: u64 = 500;

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics of this process are kept for the finding rather than printed.
pub fn catch_panics() {
    std::panic::set_hook(Box::new(|info| {
        let message = info.to_string();
        LAST_PANIC.with(|last| *last.borrow_mut() = Some(message));
    }));
}

fn describe(panic: &(dyn Any + Send)) -> String {
    let last = LAST_PANIC.with(|last| last.borrow_mut().take());
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    last.unwrap_or_else(|| text.unwrap_or("a panic").to_owned())
}

/// Runs the target that `make` makes as `plan` says.
///
/// # Errors
/// If the target cannot be made or a file not written. Findings are no errors.
pub fn run(name: &str, make: Make, plan: &Plan) -> Result<Report, String> {
    let start = Instant::now();
    let mut before = None;
    let mut current = None;
    let mut first = plan.seed;
    if let Some(folder) = &plan.folder {
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        if plan.resume {
            let mut tally = Tally::read(folder, name)?;
            if let Some(seed) = Current::left(folder, name) {
                eprintln!("{name}: case {seed} ended its process");
                tally.next = seed.wrapping_add(1);
                *tally.counts.entry(DEATHS.into()).or_default() += 1;
                tally.write(folder, name)?;
            }
            first = tally.next;
            before = Some((folder, tally));
        }
        current = Some(Current::new(folder, name)?);
    }
    let watched = Watch::start();
    let mut target = make()?;
    let mut report = Report {
        seed: first,
        ..Report::default()
    };
    let mut kinds = BTreeSet::new();
    let mut said = Instant::now();
    while report.cases < plan.count && start.elapsed() < plan.time {
        let seed = first.wrapping_add(report.cases);
        if let Some(current) = &current {
            current.set(seed);
        }
        if report.cases % FRESH_AFTER == FRESH_AFTER - 1 {
            target = make()?;
        }
        watched.case();
        let mut notes = Notes {
            counts: std::mem::take(&mut report.counts),
            ..Notes::default()
        };
        let input = source::input(seed);
        let failure = attempt(|| target.run(&input, &mut notes)).err();
        report.counts = notes.counts;
        report.cases += 1;
        if let Some(message) = failure {
            target = make()?;
            *report.counts.entry("findings".into()).or_default() += 1;
            if kinds.insert(kind(&message)) {
                eprintln!("{name}: case {seed}: {message}");
                watched.pause();
                let finding = keep(name, make, plan, seed, &input, message)?;
                report.findings.push(finding);
                if report.findings.len() >= plan.findings {
                    break;
                }
            }
        }
        if plan.folder.is_some() && said.elapsed() > Duration::from_secs(10) {
            said = Instant::now();
            let rate = report.cases as f64 / start.elapsed().as_secs_f64();
            let findings = report.findings.len();
            eprintln!(
                "{name}: {} cases, {rate:.0}/s, {findings} findings",
                report.cases
            );
            add_up(&before, name, &report, start.elapsed())?;
        }
    }
    watched.pause();
    add_up(&before, name, &report, start.elapsed())?;
    Ok(report)
}

fn add_up(
    before: &Option<(&PathBuf, Tally)>,
    name: &str,
    report: &Report,
    time: Duration,
) -> Result<(), String> {
    match before {
        Some((folder, tally)) => {
            let tally = tally.clone();
            tally
                .plus(report.cases, time, &report.counts)
                .write(folder, name)
        }
        None => Ok(()),
    }
}

/// How much of the processor this process has had.
fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

/// How much of the processor this thread has had: what a busy machine does not make longer.
pub fn thread_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// The same kind of finding has the same first line, but for its numbers.
fn kind(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    line.chars()
        .filter(|c| !c.is_ascii_digit())
        .take(120)
        .collect()
}

/// Runs `f`; a panic is an error.
///
/// # Errors
/// Those of `f`, and panics.
pub fn attempt(f: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| Err(describe(&*panic)))
}

fn keep(
    name: &str,
    make: Make,
    plan: &Plan,
    seed: u64,
    input: &[u8],
    message: String,
) -> Result<Finding, String> {
    let fails = |input: &[u8]| -> Option<Notes> {
        let mut target = make().ok()?;
        let mut notes = Notes::default();
        let failure = attempt(|| target.run(input, &mut notes)).err()?;
        (kind(&failure) == kind(&message)).then_some(notes)
    };
    let input = match plan.reduce {
        true => reduce(input, |input| fails(input).is_some()),
        false => input.to_vec(),
    };
    let mut files = Vec::new();
    if let Some(folder) = &plan.folder {
        let mut write = |ending: &str, bytes: &[u8]| {
            let path = folder.join(format!("{name}-{seed}.{ending}"));
            fs::write(&path, bytes).map_err(|e| format!("{}: {e}", path.display()))?;
            files.push(path);
            Ok::<(), String>(())
        };
        write("input", &input)?;
        write("txt", message.as_bytes())?;
        for (ending, bytes) in fails(&input).unwrap_or_default().files {
            write(ending, &bytes)?;
        }
    }
    Ok(Finding {
        seed,
        message,
        files,
    })
}

/// A smaller input that still `fails`.
pub fn reduce(input: &[u8], mut fails: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let end = Instant::now() + Duration::from_secs(60);
    let mut best = input.to_vec();
    let mut chunk = best.len() / 2;
    while chunk > 0 && Instant::now() < end {
        let mut progress = false;
        let mut at = 0;
        while at < best.len() && Instant::now() < end {
            let stop = (at + chunk).min(best.len());
            let mut cut = best.clone();
            cut.drain(at..stop);
            let mut blank = best.clone();
            blank[at..stop].fill(0);
            if fails(&cut) {
                best = cut;
                progress = true;
            } else {
                if blank != best && fails(&blank) {
                    best = blank;
                    progress = true;
                }
                at += chunk;
            }
        }
        if !progress || chunk == 1 {
            chunk /= 2;
        }
    }
    best
}

/// Ends the process when a case does not end.
struct Watch(Arc<AtomicU64>);

/// No case is running.
const NONE: u64 = u64::MAX;

impl Watch {
    fn start() -> Watch {
        let number = Arc::new(AtomicU64::new(NONE));
        let watched = Arc::downgrade(&number);
        std::thread::spawn(move || {
            let mut seen = NONE;
            let mut since = (Instant::now(), processor_time());
            loop {
                std::thread::sleep(Duration::from_secs(1));
                let Some(watched) = watched.upgrade() else {
                    return;
                };
                let now = watched.load(Ordering::Relaxed);
                if now == NONE || now != seen {
                    seen = now;
                    since = (Instant::now(), processor_time());
                }
                let used = processor_time().saturating_sub(since.1);
                if used > TOO_LONG || since.0.elapsed() > WAITS_TOO_LONG {
                    eprintln!("a case took longer than {TOO_LONG:?}");
                    std::process::exit(TOO_LONG_CODE);
                }
            }
        });
        Watch(number)
    }

    /// Another case is running.
    fn case(&self) {
        let now = self.0.load(Ordering::Relaxed);
        self.0
            .store(now.wrapping_add(1) & (NONE >> 1), Ordering::Relaxed);
    }

    fn pause(&self) {
        self.0.store(NONE, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Target;

    /// Fails for input with an `x` in it, and panics for an `y`.
    struct Letters;

    impl Target for Letters {
        fn run(&mut self, input: &[u8], notes: &mut Notes) -> Result<(), String> {
            notes.count("seen");
            assert!(!input.contains(&b'y'), "there is an y");
            match input.contains(&b'x') {
                true => Err("there is an x".into()),
                false => Ok(()),
            }
        }

        fn run_file(&mut self, file: &[u8], notes: &mut Notes) -> Result<(), String> {
            self.run(file, notes)
        }
    }

    #[test]
    fn findings_are_kept_once_per_kind() {
        let plan = Plan {
            count: 50,
            ..Plan::default()
        };
        let report = run("letters", || Ok(Box::new(Letters)), &plan).unwrap();
        assert_eq!(report.cases, 50);
        let messages: BTreeSet<_> = report.findings.iter().map(|f| kind(&f.message)).collect();
        assert_eq!(messages.len(), 2, "{messages:?}");
        assert_eq!(report.findings.len(), 2);
    }

    #[test]
    fn inputs_become_small() {
        let input = source::input(1);
        assert!(input.contains(&b'x'));
        let small = reduce(&input, |input| input.contains(&b'x'));
        assert_eq!(small, b"x");
    }
}
