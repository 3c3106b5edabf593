//! What a program says to people, and how it ends.
//!
//! Standard error is for people: if nobody can read it, the program goes on.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use bimetal::{Error, ErrorKind};
use bimetal_wasi::ProcExit;
use bimetal_wasm::PrintableLines;

/// What a native program that aborts ends with: 128 + SIGABRT.
pub const TRAPPED: u8 = 134;

/// Writes lines to standard error. Whatever a guest's names or a host's errors have in them, no
/// control character but the ends of lines gets to the terminal.
pub fn note(message: impl fmt::Display) {
    let message = message.to_string();
    let _ = writeln!(io::stderr().lock(), "{}", PrintableLines(&message));
}

/// Tells the user what went wrong, and says with which code to end.
pub fn report(error: &Error) -> ExitCode {
    if let Some(exit) = error.downcast_ref::<ProcExit>() {
        return ExitCode::from(exit_code(exit.0));
    }
    let io = error.downcast_ref::<io::Error>();
    if io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    let trapped = error.kind() == ErrorKind::Trap;
    let thrown = error.kind() == ErrorKind::Exception;
    let what = if trapped { "wasm trap: " } else { "" };
    note(format_args!("error: {what}{error:#}"));
    if let Some(backtrace) = error.backtrace() {
        note(backtrace);
    }
    if trapped || thrown {
        ExitCode::from(TRAPPED)
    } else {
        ExitCode::FAILURE
    }
}

/// What the system passes on of a guest's exit code, its low eight bits; but a failure must not
/// become a success.
pub fn exit_code(code: u32) -> u8 {
    match code as u8 {
        0 if code != 0 => 1,
        low => low,
    }
}

/// Says what is going on, if the user wants to hear it.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// Whether the user does.
    pub verbose: bool,
}

impl Log {
    /// Writes a line to standard error.
    pub fn say(self, message: impl fmt::Display) {
        if self.verbose {
            note(format_args!("bimetal: {message}"));
        }
    }
}

/// A name out of a module: as it is, or quoted and escaped if it could not be read or could harm a
/// terminal otherwise.
pub fn name(name: &str) -> Cow<'_, str> {
    let is_plain = |c: char| matches!(c, '"' | '\'' | '\\') || c.escape_debug().len() == 1;
    if !name.is_empty() && name.trim() == name && name.chars().all(is_plain) {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(format!("{name:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for plain in ["add", "core::f<'a>", "größer als", "\"x\"", "a\\b"] {
            assert_eq!(name(plain), plain);
        }
        assert_eq!(name(""), r#""""#);
        assert_eq!(name(" a"), r#"" a""#);
        assert_eq!(name("a\nb\"\x1b[1m"), r#""a\nb\"\u{1b}[1m""#);
        assert_eq!(name("\u{202e}"), r#""\u{202e}""#);
    }

    #[test]
    fn failures_stay_failures() {
        for (code, low) in [
            (0, 0),
            (1, 1),
            (255, 255),
            (256, 1),
            (511, 255),
            (1 << 31, 1),
        ] {
            assert_eq!(exit_code(code), low, "{code}");
        }
    }
}
