//! Reading modules, from files and from standard input.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;

use bimetal::{Config, Context, Engine, Error, Module, Result};
use bimetal_artifact::{Image, ImageError, executable};
use bimetal_runtime::program::Program;

use crate::args::CodeArgs;
use crate::image;

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
    from_bytes(file, read(file)?)
}

fn from_bytes(file: &Path, bytes: Vec<u8>) -> Result<bimetal_wasm::Module> {
    let path = (!is_stdin(file)).then_some(file);
    bimetal_wasm::Module::with_path(bytes, path, &Default::default())
        .with_context(|| format!("`{}` is no module that can be used", display_name(file)))
}

/// What a file holds.
pub struct Loaded {
    pub module: bimetal_wasm::Module,
    /// The module compiled.
    pub image: Option<Image>,
    /// What the compiled module is run with, if the file is a program.
    pub program: Option<Program>,
}

/// Decodes a module of either format, a compiled one, or one in a program, to be looked at.
pub fn module_or_image(file: &Path) -> Result<Loaded> {
    let bytes = read(file)?;
    if !Engine::detect_precompiled(&bytes) {
        return Ok(Loaded {
            module: from_bytes(file, bytes)?,
            image: None,
            program: None,
        });
    }
    let what = || format!("`{}` cannot be looked into", display_name(file));
    let (bytes, program) = match executable::find(&bytes) {
        Ok(Some(attached)) => {
            let image = attached.image.start as usize..attached.image.end as usize;
            let program = Program::from_json(&attached.settings).with_context(what)?;
            (bytes[image].to_vec(), Some(program))
        }
        // What is wrong with it is said of it as an image.
        Ok(None) | Err(ImageError::NotAnImage(_)) => (bytes, None),
        Err(error) => return Err(Error::new(error)).with_context(what),
    };
    let image = Image::open(bytes).with_context(what)?;
    // Nothing is trusted here, so it is validated as any other.
    let module = bimetal_wasm::Module::new(image.wasm(), &Default::default()).with_context(what)?;
    Ok(Loaded {
        module,
        image: Some(image),
        program,
    })
}

/// The binary of a module of either format, not validated yet.
pub fn binary(file: &Path) -> Result<Vec<u8>> {
    to_binary(file, read(file)?)
        .with_context(|| format!("`{}` cannot be loaded", display_name(file)))
}

/// Text is translated here, so that its errors name the file.
fn to_binary(file: &Path, bytes: Vec<u8>) -> Result<Vec<u8>> {
    Ok(match std::str::from_utf8(&bytes) {
        Ok(source) if bimetal_wasm::text::is_text(&bytes) => {
            let path = (!is_stdin(file)).then_some(file);
            bimetal_wasm::text::parse(source, path)?
        }
        _ => bytes,
    })
}

/// Loads a module of either format, or a compiled one, into an engine. Where there is no such file,
/// its name may be a mistyped command.
pub fn program(engine: &Engine, file: &Path, maybe_command: bool) -> Result<Module> {
    let what = || format!("`{}` cannot be loaded", display_name(file));
    if !is_stdin(file) && image::is_image(file) {
        return image::load(engine, file).with_context(what);
    }
    if is_stdin(file) {
        let bytes = read(file)?;
        if Engine::detect_precompiled(&bytes) {
            return image::from_bytes(engine, &bytes).with_context(what);
        }
        let load = |bytes| Module::from_vec(engine, bytes);
        return to_binary(file, bytes).and_then(load).with_context(what);
    }
    // That it cannot be read is said as for every file.
    let mut unreadable = None;
    let module = Module::from_file_with(engine, file, || match read_or_hint(file, maybe_command) {
        Ok(bytes) => to_binary(file, bytes),
        Err(error) => {
            unreadable = Some(error);
            Err(Error::msg("it cannot be read"))
        }
    });
    match unreadable {
        Some(error) => Err(error),
        None => module.with_context(what),
    }
}

impl CodeArgs {
    /// A configuration that follows these arguments.
    pub fn config(&self) -> Config {
        let mut config = Config::new();
        config
            .opt_level(self.opt_level.0)
            .opt_fuel(self.opt_fuel)
            .nan_canonicalization(self.nan_canonicalization);
        config
    }
}
