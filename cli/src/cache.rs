//! The user's cache of compiled code, and `bimetal cache`.

use std::env;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use bimetal::{Cache, CacheConfig, Error, Result};

use crate::args::CacheCommand;
use crate::output;

/// Names the folder; empty: there shall be no cache.
const VARIABLE: &str = "BIMETAL_CACHE_DIR";

/// Where the cache is; `None` if there shall be none, or nobody knows where.
fn directory() -> Option<PathBuf> {
    let folder = |name: &str| {
        let path = PathBuf::from(env::var_os(name)?);
        // As its specification says, what is relative or empty is as if it were not set.
        path.is_absolute().then_some(path)
    };
    match env::var_os(VARIABLE) {
        Some(path) if path.is_empty() => None,
        Some(path) => Some(path.into()),
        None => folder("XDG_CACHE_HOME")
            .or_else(|| Some(folder("HOME")?.join(".cache")))
            .map(|folder| folder.join("bimetal")),
    }
}

/// Opens the cache; `None` as for [`directory`].
///
/// # Errors
/// If the folder cannot be used.
pub fn open() -> Result<Option<Cache>> {
    directory()
        .map(|directory| Cache::new(&CacheConfig::new(directory)))
        .transpose()
}

/// Does what the command says.
pub fn cache(command: CacheCommand) -> Result<ExitCode> {
    let directory = directory().ok_or_else(|| {
        Error::msg(format!(
            "there is no cache: {VARIABLE} is empty, or neither it nor HOME is set"
        ))
    })?;
    let mut out = output::stdout();
    match command {
        CacheCommand::Dir => writeln!(out, "{}", directory.display())?,
        CacheCommand::Stats => {
            let stats = Cache::new(&CacheConfig::new(&directory))?.stats();
            writeln!(
                out,
                "{}: {}, {}",
                directory.display(),
                output::count(stats.entries, "module"),
                output::bytes(stats.bytes)
            )?;
        }
        CacheCommand::Clean => {
            let bytes = Cache::new(&CacheConfig::new(&directory))?.clean()?;
            writeln!(
                out,
                "{}: {} deleted",
                directory.display(),
                output::bytes(bytes)
            )?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
