//! The text format, both ways.

use std::io;
use std::path::Path;

use crate::bytes::Bytes;
use crate::error::{Error, ErrorKind, Result};
use crate::module::{Features, Module};

/// How [`print()`] prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrintOptions {
    /// Leave out function bodies and the contents of segments.
    pub skeleton: bool,
    /// Comments with the offset in the binary.
    pub offsets: bool,
    /// Instructions as nested expressions.
    pub fold: bool,
    /// Names for whatever has none.
    pub name_unnamed: bool,
}

impl PrintOptions {
    fn config(&self) -> wasmprinter::Config {
        let mut config = wasmprinter::Config::new();
        config
            .print_skeleton(self.skeleton)
            .print_offsets(self.offsets)
            .fold_instructions(self.fold)
            .name_unnamed(self.name_unnamed);
        config
    }
}

/// Parses the text of a module into a binary. `path` is the file that errors name.
///
/// The binary is encoded, not validated; [`Module::new`] does that.
///
/// # Errors
///
/// [`ErrorKind::Text`] with the line and column, and the line itself.
///
/// ```
/// let binary = bimetal_wasm::text::parse("(module)", None)?;
/// assert_eq!(binary, b"\0asm\x01\0\0\0");
/// # Ok::<(), bimetal_wasm::Error>(())
/// ```
pub fn parse(text: &str, path: Option<&Path>) -> Result<Vec<u8>> {
    wat::Parser::new()
        .parse_str(path, text)
        .map_err(|error| Error::new(ErrorKind::Text, error.to_string(), None))
}

/// Prints a binary as text. It need not be valid, but must be well-formed.
pub fn print(binary: &[u8], options: &PrintOptions) -> Result<String> {
    let mut text = String::new();
    options
        .config()
        .print(binary, &mut wasmprinter::PrintFmtWrite(&mut text))
        .map_err(|error| malformed(&error))?;
    Ok(text)
}

/// Prints a binary as text to `out`, piece by piece: the text of a large module is several times
/// as large.
pub fn print_to(binary: &[u8], options: &PrintOptions, out: impl io::Write) -> io::Result<()> {
    options
        .config()
        .print(binary, &mut wasmprinter::PrintIoWrite(out))
        .map_err(|error| match error.downcast::<io::Error>() {
            Ok(error) => error,
            Err(error) => io::Error::new(io::ErrorKind::InvalidData, malformed(&error)),
        })
}

/// The printer's errors are those of its reader.
fn malformed(error: &(impl std::fmt::Display + ?Sized)) -> Error {
    Error::new(ErrorKind::Malformed, format!("{error:#}"), None)
}

impl Module {
    /// Parses, decodes and validates the text of a module.
    pub fn from_text(text: &str, features: &Features) -> Result<Module> {
        Module::from_named_text(text, None, features)
    }

    /// [`Module::from_text`] of a file that errors name.
    pub fn from_named_text(text: &str, path: Option<&Path>, features: &Features) -> Result<Module> {
        crate::decode::decode(Bytes::from(parse(text, path)?), features)
    }

    /// The module as text.
    pub fn to_text(&self, options: &PrintOptions) -> Result<String> {
        print(&self.bytes, options)
    }
}

/// Whether these bytes look like the text format: UTF-8 that begins with a parenthesis, after
/// blanks and comments.
pub fn is_text(bytes: &[u8]) -> bool {
    wat::Detect::from_bytes(bytes) == wat::Detect::WasmText
}
