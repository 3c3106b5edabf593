//! What a guest is given by whoever starts it: directories, variables, sockets, arguments.
//!
//! A guest has nothing else. The same words mean the same on the command line of `bimetal run`, on
//! that of `bimetal build`, and in the variable [`VARIABLE`] of a program that leaves them to its
//! user.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use bimetal::{Context, Error, Result};
use bimetal_wasi::{
    DeterministicRandom, DirPerms, FilePerms, LogicalClock, WasiCtx, WasiCtxBuilder,
};
use serde::{Deserialize, Serialize};

use crate::output::Log;

/// What a program whose grants are its user's takes them from, as options in words.
pub const VARIABLE: &str = "BIMETAL_GRANTS";

/// The first part of a directory's path that stands for the folder of the program.
const ORIGIN: &str = "$ORIGIN";

/// What a guest is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// Directories.
    pub dirs: Vec<Dir>,
    /// Variables of its environment, `NAME=VALUE`, or `NAME` of one that it inherits.
    #[serde(with = "as_text")]
    pub env: Vec<OsString>,
    /// Whether it inherits all variables.
    pub inherit_env: bool,
    /// Addresses to listen on.
    pub listen: Vec<String>,
    /// Whether clocks and random numbers are the same in each run.
    pub deterministic: bool,
}

/// A directory for the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dir {
    /// Where it is.
    pub host: PathBuf,
    /// The guest's name for it.
    pub guest: String,
    /// Whether nothing can be changed in it.
    pub read_only: bool,
}

impl Dir {
    /// Reads `HOST`, `HOST::GUEST`, or one of them with `:ro`. The host's name is any bytes; the
    /// guest's is a text, since WASI's names are.
    ///
    /// # Errors
    /// What is expected instead.
    pub fn parse(text: &OsStr) -> Result<Dir, String> {
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
        Ok(Dir {
            host: OsStr::from_bytes(host).into(),
            guest: guest.into(),
            read_only,
        })
    }
}

/// Reads an address to listen on. Looks at the form only; names are resolved when they are used.
///
/// # Errors
/// What is expected instead.
pub fn parse_listen(text: &str) -> Result<String, &'static str> {
    let is_address = text.parse::<SocketAddr>().is_ok();
    let is_named = text
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if is_address || is_named {
        Ok(text.into())
    } else {
        Err("expected HOST:PORT")
    }
}

impl Grants {
    /// Whether the variables have names, and the directories different ones.
    ///
    /// # Errors
    /// If not.
    pub fn check(&self) -> Result<()> {
        for variable in &self.env {
            if matches!(variable.as_bytes().first(), None | Some(b'=')) {
                return Err(Error::msg(match variable.is_empty() {
                    true => "`--env \"\"` has no name".to_owned(),
                    false => format!("`--env {}` has no name", variable.display()),
                }));
            }
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
        }
        Ok(())
    }

    /// Adds what `text` says, options and their values in words: `--dir`, `--env`, `--inherit-env`,
    /// `--listen`. Quotes and backslashes keep blanks in a word, as a shell has it.
    ///
    /// # Errors
    /// Which word is wrong.
    pub fn extend(&mut self, text: &OsStr) -> Result<()> {
        let mut words = words(text.as_bytes())
            .map_err(Error::msg)?
            .into_iter()
            .map(OsString::from_vec);
        while let Some(word) = words.next() {
            let (option, value) = match word.as_bytes().iter().position(|&b| b == b'=') {
                Some(at) if word.as_bytes().starts_with(b"--") => {
                    let (option, value) = word.as_bytes().split_at(at);
                    let value = OsStr::from_bytes(&value[1..]).to_owned();
                    (OsStr::from_bytes(option).to_owned(), Some(value))
                }
                _ => (word.clone(), None),
            };
            let mut value = || {
                let value = value.clone().or_else(|| words.next());
                value.ok_or_else(|| Error::msg(format!("`{}` needs a value", option.display())))
            };
            match option.as_bytes() {
                b"--inherit-env" => self.inherit_env = true,
                b"--dir" => {
                    let value = value()?;
                    let dir = Dir::parse(&value).map_err(Error::msg);
                    self.dirs
                        .push(dir.with_context(|| format!("`--dir {}`", value.display()))?);
                }
                b"--env" => self.env.push(value()?),
                b"--listen" => {
                    let value = value()?;
                    let address = parse_listen(&value.to_string_lossy()).map_err(Error::msg);
                    self.listen
                        .push(address.with_context(|| format!("`--listen {}`", value.display()))?);
                }
                _ => {
                    return Err(Error::msg(format!(
                        "`{}` is no option here; \
                         there are --dir, --env, --inherit-env and --listen",
                        word.display()
                    )));
                }
            }
        }
        Ok(())
    }

    /// Puts the folder of the program in the place of `$ORIGIN` where directories begin with it.
    ///
    /// # Errors
    /// If one does, and nobody knows the folder.
    pub fn resolve_origin(&mut self) -> Result<()> {
        for dir in &mut self.dirs {
            if let Ok(rest) = dir.host.strip_prefix(ORIGIN) {
                let own = std::env::current_exe().context("where this program is")?;
                let folder = own.parent().unwrap_or(Path::new("/"));
                dir.host = folder.join(rest);
            }
        }
        Ok(())
    }

    /// Makes what the guest gets: all of this, its arguments, the standard streams of this process.
    ///
    /// # Errors
    /// As for [`Grants::give`].
    pub fn context(
        &self,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        log: Log,
    ) -> Result<WasiCtx> {
        let mut wasi = WasiCtxBuilder::new();
        wasi.inherit_stdio();
        for arg in args {
            wasi.arg(arg.as_ref().as_bytes());
        }
        self.give(&mut wasi, log)?;
        let context = wasi.build();
        if !self.listen.is_empty() {
            log.say(format_args!(
                "the guest's listening sockets are its descriptors {:?}",
                context.listener_fds()
            ));
        }
        Ok(context)
    }

    /// Gives all of this to a guest.
    ///
    /// # Errors
    /// As for [`Grants::check`]; or something of it cannot be had.
    pub fn give(&self, wasi: &mut WasiCtxBuilder, log: Log) -> Result<()> {
        self.check()?;
        if self.deterministic {
            let clock = LogicalClock::new();
            wasi.wall_clock(clock.clone());
            wasi.monotonic_clock(clock);
            wasi.random(DeterministicRandom::new(0));
        }
        if self.inherit_env {
            // What is for the runtime is none of the guest's business.
            for (name, value) in std::env::vars_os().filter(|(name, _)| name != VARIABLE) {
                wasi.env(name.as_bytes(), value.as_bytes());
            }
        }
        for variable in &self.env {
            let bytes = variable.as_bytes();
            match bytes.iter().position(|&byte| byte == b'=') {
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
        }
        for dir in &self.dirs {
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
        for address in &self.listen {
            let what = || format!("cannot listen on {address}");
            let resolved: Vec<_> = address
                .to_socket_addrs()
                .context("the name cannot be resolved")
                .with_context(what)?
                .collect();
            // The first one of them that can be had.
            let listener = TcpListener::bind(&*resolved).with_context(what)?;
            if let Ok(address) = listener.local_addr() {
                log.say(format_args!("listening on {address}"));
            }
            wasi.preopened_listener(listener);
        }
        Ok(())
    }
}

/// Splits text at blanks, but for those in quotes or after a backslash.
fn words(text: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match (byte, quote) {
            (b, Some(q)) if b == q => quote = None,
            (b'\'' | b'"', None) => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (b'\\', None | Some(b'"')) => {
                let next = bytes.next().ok_or("a backslash with nothing behind it")?;
                word.get_or_insert_default().push(next);
            }
            (b' ' | b'\t' | b'\n', None) => words.extend(word.take()),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    match quote {
        Some(_) => Err("a quote that is not closed"),
        None => {
            words.extend(word);
            Ok(words)
        }
    }
}

/// Strings of the system as text, which is what a file for people has.
mod as_text {
    use std::ffi::OsString;

    use serde::{Deserialize, Deserializer, Serializer, ser::Error};

    pub fn serialize<S: Serializer>(list: &[OsString], to: S) -> Result<S::Ok, S::Error> {
        let texts: Option<Vec<&str>> = list.iter().map(|text| text.to_str()).collect();
        let texts = texts.ok_or_else(|| S::Error::custom("a variable that is not UTF-8"))?;
        to.collect_seq(texts)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<OsString>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        Ok(texts.into_iter().map(OsString::from).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(host: &str, guest: &str, read_only: bool) -> Dir {
        Dir {
            host: host.into(),
            guest: guest.into(),
            read_only,
        }
    }

    #[test]
    fn directories() {
        let parse_dir = |text: &[u8]| Dir::parse(OsStr::from_bytes(text));
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

    #[test]
    fn addresses() {
        for text in ["127.0.0.1:0", "[::1]:80", "localhost:8080"] {
            assert_eq!(parse_listen(text).as_deref(), Ok(text));
        }
        for text in ["", "localhost", ":80", "localhost:", "localhost:65536"] {
            assert!(parse_listen(text).is_err(), "{text}");
        }
    }

    #[test]
    fn grants_in_words() {
        let mut grants = Grants::default();
        let text = r#" --dir /a::/b:ro  --env 'A=b c' --env=HOME --dir "x\"y"::/q
            --inherit-env --listen 127.0.0.1:0"#;
        grants.extend(OsStr::new(text)).unwrap();
        assert_eq!(
            grants.dirs,
            [dir("/a", "/b", true), dir("x\"y", "/q", false)]
        );
        assert_eq!(grants.env, ["A=b c", "HOME"]);
        assert!(grants.inherit_env);
        assert_eq!(grants.listen, ["127.0.0.1:0"]);
        for (text, what) in [
            ("--dir", "needs a value"),
            ("--dir ::", "expected HOST"),
            ("--foo", "no option"),
            ("x", "no option"),
            ("'", "quote"),
            ("\\", "backslash"),
            ("--listen x", "expected HOST:PORT"),
        ] {
            let error = grants.extend(OsStr::new(text)).unwrap_err();
            assert!(format!("{error:#}").contains(what), "{text}: {error:#}");
        }
    }

    #[test]
    fn what_is_given_can_be_written_down() {
        let mut grants = Grants::default();
        grants.extend(OsStr::new("--dir a::/b --env C=d")).unwrap();
        let text = serde_json::to_string(&grants).unwrap();
        assert_eq!(serde_json::from_str::<Grants>(&text).unwrap(), grants);
        grants.env = vec![OsString::from_vec(vec![0xff])];
        assert!(serde_json::to_string(&grants).is_err());
    }
}
