//! Compiled modules in files.

use std::fs::File;
use std::io::{Cursor, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bimetal::{Context, Engine, Error, Module, Result};

use crate::{load, output};

/// Whether the file begins as a compiled module does. If it cannot be read, others will say so.
pub fn is_image(file: &Path) -> bool {
    let mut start = [0; 4];
    File::open(file)
        .and_then(|mut file| file.read_exact(&mut start))
        .is_ok_and(|()| Engine::detect_precompiled(&start))
}

/// Maps a compiled module.
#[allow(unsafe_code, reason = "the user names machine code to be run")]
pub fn load(engine: &Engine, file: &Path) -> Result<Module> {
    // SAFETY: whoever names a compiled module to be run trusts it, as any other program. That it
    // is not written to meanwhile is as for those, too.
    unsafe { Module::deserialize_file(engine, file) }
}

/// Loads a compiled module from standard input.
#[allow(unsafe_code, reason = "the user names machine code to be run")]
pub fn from_bytes(engine: &Engine, bytes: &[u8]) -> Result<Module> {
    // SAFETY: as for `load`.
    unsafe { Module::deserialize(engine, bytes) }
}

/// What can be written anywhere.
pub trait WriteSeek: Write + Seek {}

impl<T: Write + Seek> WriteSeek for T {}

/// Writes a compiled module, or a program, and says how many bytes it has. A file of that name is
/// replaced once the new one is whole, so that processes that run the old one do not notice.
pub fn write(
    file: &Path,
    executable: bool,
    make: impl FnOnce(&mut dyn WriteSeek) -> Result<()>,
) -> Result<u64> {
    if load::is_stdin(file) {
        // A pipe can only be written from its beginning to its end.
        let mut image = Cursor::new(Vec::new());
        make(&mut image)?;
        let mut out = output::stdout();
        out.write_all(image.get_ref())?;
        out.flush()?;
        return Ok(image.get_ref().len() as u64);
    }
    let what = || format!("`{}` cannot be written", file.display());
    let name = file
        .file_name()
        .ok_or_else(|| Error::msg("it has no name"))
        .with_context(what)?;
    let mut new = name.to_os_string();
    new.push(format!(".{}.new", std::process::id()));
    let new = file.with_file_name(new);
    let written = || -> Result<u64> {
        let mut out = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(if executable { 0o777 } else { 0o666 })
            .open(&new)
            .with_context(what)?;
        make(&mut out)?;
        std::fs::rename(&new, file).with_context(what)?;
        Ok(out.metadata().with_context(what)?.len())
    };
    written().inspect_err(|_| drop(std::fs::remove_file(&new)))
}
