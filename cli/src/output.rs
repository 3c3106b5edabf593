//! What the program itself writes.
//!
//! Standard output goes through [`stdout`] and `?`; a reader that has seen enough is no error of
//! ours, so [`report`] ends the program quietly then. What programs say in general is
//! [`bimetal_runtime::output`]'s.

use std::io::{self, BufWriter, StdoutLock};

pub use bimetal_runtime::output::{Log, name, note, report};

/// Standard output, buffered; flush it to learn of errors.
pub fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::new(io::stdout().lock())
}

/// A number of bytes for people: `12 B`, `3.4 kB`, `75.2 MB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64;
    let mut unit = "B";
    for next in UNITS {
        // 999.95 would be shown as 1000.0.
        if value < 999.95 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// `1 function`, `2 functions`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1000), "1.0 kB");
        assert_eq!(bytes(999_949), "999.9 kB");
        assert_eq!(bytes(999_999), "1.0 MB");
        assert_eq!(bytes(75_200_000), "75.2 MB");
    }
}
