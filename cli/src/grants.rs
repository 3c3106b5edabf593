//! What a guest is given of the host: directories and variables.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use bimetal::{Context, Error, Result};
use bimetal_wasi::{DeterministicRandom, DirPerms, FilePerms, LogicalClock, WasiCtxBuilder};
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::output::Log;

#[derive(Clone, Debug, Args)]
pub struct GrantArgs {
    /// Give the guest a directory, under a name of its own if wished, read-only with `:ro`
    #[arg(long = "dir", value_name = "HOST[::GUEST][:ro]",
        value_parser = OsStringValueParser::new().try_map(|text| parse_dir(&text)))]
    pub dirs: Vec<DirArg>,

    /// Set a variable of the guest's environment, or let it inherit one
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    pub env: Vec<OsString>,

    /// Let the guest inherit the whole environment
    #[arg(long)]
    pub inherit_env: bool,
}

/// A directory for the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirArg {
    pub host: PathBuf,
    pub guest: String,
    pub read_only: bool,
}

impl GrantArgs {
    /// Adds all of it to what a guest gets.
    pub fn grant(&self, wasi: &mut WasiCtxBuilder, log: Log) -> Result<()> {
        if self.inherit_env {
            wasi.inherit_env();
        }
        for variable in &self.env {
            set_variable(wasi, variable, log)?;
        }
        // The guest could not tell two of the same name apart. A slash at the end is no difference.
        let mut names = HashSet::new();
        for dir in &self.dirs {
            if !names.insert(dir.guest.trim_end_matches('/')) {
                return Err(Error::msg(format!(
                    "the guest's name `{}` is given to two directories; \
                     `--dir HOST::GUEST` gives another",
                    dir.guest
                )));
            }
            let (dir_perms, file_perms) = if dir.read_only {
                (DirPerms::READ, FilePerms::READ)
            } else {
                (DirPerms::all(), FilePerms::all())
            };
            wasi.preopened_dir(&dir.host, &dir.guest, dir_perms, file_perms)
                .with_context(|| {
                    format!("the directory `{}` cannot be opened", dir.host.display())
                })?;
        }
        Ok(())
    }
}

/// Clocks and random numbers that are the same in each run.
pub fn deterministic(wasi: &mut WasiCtxBuilder) {
    let clock = LogicalClock::new();
    wasi.wall_clock(clock.clone());
    wasi.monotonic_clock(clock);
    wasi.random(DeterministicRandom::new(0));
}

fn set_variable(wasi: &mut WasiCtxBuilder, variable: &OsStr, log: Log) -> Result<()> {
    let bytes = variable.as_bytes();
    if bytes.is_empty() {
        return Err(Error::msg("`--env \"\"` has no name"));
    }
    match bytes.iter().position(|&byte| byte == b'=') {
        Some(0) => {
            return Err(Error::msg(format!(
                "`--env {}` has no name",
                variable.display()
            )));
        }
        Some(at) => {
            wasi.env(&bytes[..at], &bytes[at + 1..]);
        }
        None => match std::env::var_os(variable) {
            Some(value) => {
                wasi.env(bytes, value.into_vec());
            }
            None => log.say(format_args!(
                "`--env {}`: it is not set here either",
                variable.display()
            )),
        },
    }
    Ok(())
}

/// The host's name is any bytes; the guest's is a text, since WASI's names are.
fn parse_dir(text: &OsStr) -> Result<DirArg, String> {
    const EXPECTED: &str = "expected HOST, HOST::GUEST, or one of them with `:ro`";
    let bytes = text.as_bytes();
    let (bytes, read_only) = match bytes.strip_suffix(b":ro") {
        Some(bytes) => (bytes, true),
        None => (bytes, false),
    };
    let separator = bytes.windows(2).position(|two| two == b"::");
    let (host, guest) = match separator {
        Some(at) => (&bytes[..at], &bytes[at + 2..]),
        None => (bytes, bytes),
    };
    if host.is_empty() || guest.is_empty() {
        return Err(EXPECTED.into());
    }
    let guest = std::str::from_utf8(guest).map_err(|_| match separator {
        Some(_) => "the guest's name for it must be UTF-8",
        None => "the guest's name for it must be UTF-8: give it one with HOST::GUEST",
    })?;
    // `a::b::ro` is read-only by mistake, or named so by mistake.
    if guest.ends_with(':') {
        return Err(format!(
            "`{guest}`, the guest's name for it, ends in `:`; {EXPECTED}, as `data::/srv:ro`"
        ));
    }
    Ok(DirArg {
        host: OsStr::from_bytes(host).into(),
        guest: guest.into(),
        read_only,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories() {
        let parse_dir = |text: &[u8]| parse_dir(OsStr::from_bytes(text));
        let dir = |host: &str, guest: &str, read_only| DirArg {
            host: host.into(),
            guest: guest.into(),
            read_only,
        };
        assert_eq!(parse_dir(b"."), Ok(dir(".", ".", false)));
        assert_eq!(parse_dir(b".:ro"), Ok(dir(".", ".", true)));
        assert_eq!(parse_dir(b"a b::/x"), Ok(dir("a b", "/x", false)));
        assert_eq!(parse_dir(b"/a::/:ro"), Ok(dir("/a", "/", true)));
        assert_eq!(parse_dir(b"/a:b"), Ok(dir("/a:b", "/a:b", false)));
        for text in [
            "", ":ro", "::/x", "x::", "x:::ro", "a::b::ro", "a::ro", "a::b:",
        ] {
            assert!(parse_dir(text.as_bytes()).is_err(), "{text}");
        }
        // The host's name need not be UTF-8, but then the guest needs another.
        let host = OsStr::from_bytes(b"\xff");
        let named = parse_dir(b"\xff::x:ro").unwrap();
        assert_eq!((named.host.as_os_str(), &*named.guest), (host, "x"));
        assert!(parse_dir(b"\xff").is_err() && parse_dir(b"x::\xff").is_err());
    }
}
