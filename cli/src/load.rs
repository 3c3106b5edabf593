//! Reading modules, from files and from standard input.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;

use bimetal::{Config, Context, Engine, Error, Module, Result};

use crate::args::CodeArgs;

/// Whether this stands for standard input.
pub fn is_stdin(file: impl AsRef<OsStr>) -> bool {
    file.as_ref() == "-"
}

/// What to call a file in messages.
pub fn display_name(file: &Path) -> String {
    if is_stdin(file) {
        "<stdin>".into()
    } else {
        file.display().to_string()
    }
}

/// The bytes of a file.
pub fn read(file: &Path) -> Result<Vec<u8>> {
    read_or_hint(file, false)
}

/// The bytes of a file; if there is none, its name `maybe_command` mistyped.
pub fn read_or_hint(file: &Path, maybe_command: bool) -> Result<Vec<u8>> {
    if is_stdin(file) {
        let mut bytes = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .context("standard input cannot be read")?;
        return Ok(bytes);
    }
    std::fs::read(file).map_err(|error| {
        let bare_word = file.extension().is_none() && file.components().count() == 1;
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        let hint = if maybe_command && bare_word && missing {
            " (nor is it a command: see `bimetal --help`)"
        } else {
            ""
        };
        Error::new(error).context(format!("`{}` cannot be read{hint}", file.display()))
    })
}

/// Decodes and validates a module of either format.
pub fn module(file: &Path) -> Result<bimetal_wasm::Module> {
    let bytes = read(file)?;
    let path = (!is_stdin(file)).then_some(file);
    bimetal_wasm::Module::with_path(bytes, path, &Default::default())
        .with_context(|| format!("`{}` is no module that can be used", display_name(file)))
}

/// Loads a module of either format into an engine, from bytes that [`read`] read from `file`.
pub fn program(engine: &Engine, file: &Path, bytes: Vec<u8>) -> Result<Module> {
    let load = || -> Result<Module> {
        // Text is translated here, so that its errors name the file.
        let bytes = match std::str::from_utf8(&bytes) {
            Ok(source) if bimetal_wasm::text::is_text(&bytes) => {
                let path = (!is_stdin(file)).then_some(file);
                bimetal_wasm::text::parse(source, path)?
            }
            _ => bytes,
        };
        Module::from_vec(engine, bytes)
    };
    load().with_context(|| format!("`{}` cannot be loaded", display_name(file)))
}

impl CodeArgs {
    /// A configuration that follows these arguments.
    pub fn config(&self) -> Config {
        let mut config = Config::new();
        config.opt_level(self.opt_level.0).opt_fuel(self.opt_fuel);
        config
    }
}
