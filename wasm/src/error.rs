//! Errors of decoding and validating.

use std::fmt::{self, Write};

/// This crate's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of input was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The bytes are no WebAssembly module, or a truncated one.
    Malformed,
    /// A module that breaks a rule of the specification.
    Invalid,
    /// A module that uses what this runtime does not have, or a size past its limits.
    Unsupported,
    /// Text that does not parse.
    Text,
}

/// Why a module was refused, and where.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: Box<str>,
    offset: Option<usize>,
    function: Option<Box<str>>,
}

impl Error {
    /// An error at a byte offset of the binary.
    pub fn new(kind: ErrorKind, message: impl Into<Box<str>>, offset: Option<usize>) -> Error {
        Error {
            kind,
            message: message.into(),
            offset,
            function: None,
        }
    }

    /// The same error inside the function that is named or numbered so.
    pub fn in_function(mut self, name: impl Into<Box<str>>) -> Error {
        self.function = Some(name.into());
        self
    }

    /// What kind of input it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What is wrong, without where.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where, in bytes from the start of the binary.
    pub fn offset(&self) -> Option<usize> {
        self.offset
    }

    /// In which function: its name, or `func[N]`.
    pub fn function(&self) -> Option<&str> {
        self.function.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It can hold names, and excerpts of text.
        write!(f, "{}", PrintableLines(&self.message))?;
        if let Some(function) = &self.function {
            write!(f, " in function {}", Printable(function))?;
        }
        if let Some(offset) = self.offset {
            write!(f, " at offset {offset:#x}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Shows a guest's text without what could move a terminal's cursor: a replacement character for
/// each control character.
///
/// ```
/// use bimetal_wasm::Printable;
///
/// assert_eq!(Printable("a\x1b[2Jb").to_string(), "a\u{fffd}[2Jb");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a str);

/// The same of text with lines and tabs, which stay.
#[derive(Clone, Copy, Debug)]
pub struct PrintableLines<'a>(pub &'a str);

impl fmt::Display for PrintableLines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(['\n', '\t']) {
            let text = part.trim_end_matches(['\n', '\t']);
            write!(f, "{}{}", Printable(text), &part[text.len()..])?;
        }
        Ok(())
    }
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.0.split(char::is_control).enumerate() {
            if i > 0 {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
            f.write_str(part)?;
        }
        Ok(())
    }
}
