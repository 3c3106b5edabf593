//! The text format, left out of this build: what would need it is an error that says so.

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::module::{Features, Module};

/// Refuses.
///
/// # Errors
/// Always.
pub fn parse(_text: &str, _path: Option<&Path>) -> Result<Vec<u8>> {
    Err(Error::new(
        ErrorKind::Text,
        "this is WebAssembly text, which this build cannot read (feature `wat`)",
        None,
    ))
}

impl Module {
    /// Refuses.
    pub fn from_text(text: &str, features: &Features) -> Result<Module> {
        Module::from_named_text(text, None, features)
    }

    /// Refuses.
    pub fn from_named_text(text: &str, path: Option<&Path>, _: &Features) -> Result<Module> {
        Err(parse(text, path)
            .err()
            .unwrap_or_else(|| Error::new(ErrorKind::Text, "this build cannot read text", None)))
    }
}

/// Whether these bytes look like the text format: they begin with a parenthesis or a comment, after
/// blanks.
pub fn is_text(bytes: &[u8]) -> bool {
    let start = bytes.trim_ascii_start();
    start.starts_with(b"(") || start.starts_with(b";;")
}
