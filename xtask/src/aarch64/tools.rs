//! What building for and emulating an aarch64 machine takes, where it is, and how to get it.
//!
//! A tool that is there but too old counts as missing, and the message says why its age matters.
//! Installing knows Debian's packages only; nothing is ever removed for it, and the emulator, which
//! an old release has only in its backports, is unpacked into the target folder without touching
//! the system or its list of sources.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::TARGET;
use crate::process::{find_program, need_program, run_quietly, run_visibly};

/// The oldest emulator that will do. Before, it does not see that code was written where other code
/// was (it ignores `ic ivau`), and it keeps a record of every page of reserved address space, which
/// for a terabyte is more memory than machines have.
const EMULATOR_VERSION: (u32, u32) = (8, 1);

const EMULATORS: [&str; 2] = ["qemu-aarch64", "qemu-aarch64-static"];
pub(super) const LINKER: &str = "aarch64-linux-gnu-gcc";

/// The dynamic loader, below `/` where ARM programs are at home here, or below the cross compiler's
/// folder.
const LOADER: &str = "lib/ld-linux-aarch64.so.1";
const CROSS_ROOT: &str = "/usr/aarch64-linux-gnu";

/// A version's first two numbers.
type Version = (u32, u32);

/// Where everything is.
pub(super) struct Tools {
    pub(super) rustc: PathBuf,
    pub(super) linker: PathBuf,
    pub(super) emulator: PathBuf,
    /// Where the emulator looks for libraries, if not in their place.
    libraries: Option<PathBuf>,
    versions: [Version; 2],
}

impl Tools {
    /// What the emulator is to be run with.
    pub(super) fn environment(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        self.libraries
            .as_deref()
            .map(|folder| ("QEMU_LD_PREFIX", folder))
            .into_iter()
    }
}

impl fmt::Display for Tools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [rustc, emulator] = self.versions;
        write!(
            f,
            "{} {}.{}, {}, {} {}.{}",
            self.rustc.display(),
            rustc.0,
            rustc.1,
            self.linker.display(),
            self.emulator.display(),
            emulator.0,
            emulator.1
        )
    }
}

/// Finds everything; with `install`, what is missing is installed first. `folder` is the chore's own.
pub(super) fn find(folder: &Path, install: bool) -> Result<Tools> {
    if install {
        let missing = Found::look(folder).missing();
        if !missing.is_empty() {
            let apt = Apt::new(folder)?;
            for part in missing {
                println!("==> installing {}", part.name());
                apt.install(part)?;
            }
        }
    }
    let found = Found::look(folder);
    let missing = found.missing();
    if let (Some(rustc), Some(linker), Some(emulator), Some(libraries)) =
        (found.rustc, found.linker, found.emulator, found.libraries)
    {
        return Ok(Tools {
            rustc: rustc.0,
            linker,
            emulator: emulator.0,
            libraries: Some(libraries).filter(|folder| folder != Path::new("/")),
            versions: [rustc.1, emulator.1],
        });
    }
    let list: Vec<_> = missing
        .iter()
        .map(|part| format!("  - {}: {}", part.name(), part.what()))
        .collect();
    bail!(
        "this is needed and not here:\n{}\n`cargo xtask aarch64 --install` gets it (Debian only)",
        list.join("\n")
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Rust,
    Linker,
    Emulator,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Rust => "Rust for aarch64",
            Part::Linker => "a linker and C libraries for aarch64",
            Part::Emulator => "an emulator",
        }
    }

    fn what(self) -> String {
        match self {
            Part::Rust => format!(
                "a rustc of {} or later with the standard library of {TARGET}; `rustup target add \
                 {TARGET}` or Debian's packages rustc(-web) and libstd-rust(-web)-dev:arm64",
                env!("CARGO_PKG_RUST_VERSION")
            ),
            Part::Linker => {
                format!("{LINKER}; Debian's gcc-aarch64-linux-gnu and libc6-dev-arm64-cross")
            }
            Part::Emulator => format!(
                "{} of {}.{} or later; Debian's qemu-user, for Debian 12 that of its backports \
                 (older ones run code that is gone, and fill the memory with records of address \
                 space)",
                EMULATORS[0], EMULATOR_VERSION.0, EMULATOR_VERSION.1
            ),
        }
    }
}

/// What there is that will do.
struct Found {
    rustc: Option<(PathBuf, Version)>,
    linker: Option<PathBuf>,
    emulator: Option<(PathBuf, Version)>,
    libraries: Option<PathBuf>,
}

impl Found {
    fn look(folder: &Path) -> Found {
        let newest = parse_version(env!("CARGO_PKG_RUST_VERSION")).unwrap_or_default();
        // rustup's, and behind it the distribution's.
        let rustc = find_program("rustc")
            .into_iter()
            .chain([PathBuf::from("/usr/bin/rustc")])
            .filter(|rustc| has_standard_library(rustc))
            .find_map(|rustc| new_enough(rustc, newest));
        let emulator = [unpacked(folder)]
            .into_iter()
            .chain(EMULATORS.iter().filter_map(|name| find_program(name)))
            .find_map(|emulator| new_enough(emulator, EMULATOR_VERSION));
        let libraries = ["/", CROSS_ROOT]
            .map(PathBuf::from)
            .into_iter()
            .find(|root| root.join(LOADER).exists());
        Found {
            rustc,
            linker: find_program(LINKER),
            emulator,
            libraries,
        }
    }

    fn missing(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        if self.rustc.is_none() {
            parts.push(Part::Rust);
        }
        if self.linker.is_none() || self.libraries.is_none() {
            parts.push(Part::Linker);
        }
        if self.emulator.is_none() {
            parts.push(Part::Emulator);
        }
        parts
    }
}

/// Where the emulator of the backports is unpacked.
fn unpacked(folder: &Path) -> PathBuf {
    folder.join("emulator/usr/bin").join(EMULATORS[0])
}

fn has_standard_library(rustc: &Path) -> bool {
    let ask = ["--print", "target-libdir", "--target", TARGET];
    let Ok(libraries) = run_quietly(Command::new(rustc).args(ask)) else {
        return false;
    };
    let Ok(entries) = fs::read_dir(libraries.trim_end()) else {
        return false;
    };
    entries
        .filter_map(|entry| entry.ok())
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
}

/// The program with its version, if that is at least `oldest`.
fn new_enough(program: PathBuf, oldest: Version) -> Option<(PathBuf, Version)> {
    let said = run_quietly(Command::new(&program).arg("--version")).ok()?;
    let version = parse_version(&said)?;
    (version >= oldest).then_some((program, version))
}

/// The first two numbers of the first word that begins with two: `rustc 1.96.0 (…)`, `1:10.0.2+ds`.
fn parse_version(text: &str) -> Option<Version> {
    text.split_whitespace().find_map(|word| {
        // Debian's versions may have an epoch.
        let word = word.split_once(':').map_or(word, |(_, version)| version);
        let mut numbers = word.split(|c: char| !c.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    })
}

/// Debian's package manager.
struct Apt<'a> {
    folder: &'a Path,
    root: bool,
}

impl Apt<'_> {
    fn new(folder: &Path) -> Result<Apt<'_>> {
        need_program("apt-get", "and `--install` knows no other way")?;
        let root = rustix::process::geteuid().is_root();
        if !root {
            need_program("sudo", "and installing packages needs its rights")?;
        }
        Ok(Apt { folder, root })
    }

    fn install(&self, part: Part) -> Result<()> {
        match part {
            Part::Rust => self.rust(),
            Part::Linker => self.packages(&["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"]),
            Part::Emulator => match self.candidate("qemu-user") {
                Some(version) if version >= EMULATOR_VERSION => self.packages(&["qemu-user"]),
                _ => self.emulator_of_backports(),
            },
        }
    }

    /// Debian's `rustc`, or the newer one that old releases have for their browsers.
    fn rust(&self) -> Result<()> {
        run_visibly(&mut self.privileged(&["dpkg", "--add-architecture", "arm64"]))?;
        run_visibly(&mut self.privileged(&["apt-get", "--quiet=2", "update"]))?;
        let oldest = parse_version(env!("CARGO_PKG_RUST_VERSION")).unwrap_or_default();
        for (compiler, library) in [
            ("rustc", "libstd-rust-dev:arm64"),
            ("rustc-web", "libstd-rust-web-dev:arm64"),
        ] {
            if self
                .candidate(compiler)
                .is_some_and(|version| version >= oldest)
            {
                return self.packages(&[compiler, library]);
            }
        }
        bail!("this system's packages have no Rust that is new enough")
    }

    fn packages(&self, names: &[&str]) -> Result<()> {
        let mut words = vec![
            "apt-get",
            "--quiet=2",
            "--yes",
            "--no-remove",
            "--no-install-recommends",
            "install",
        ];
        words.extend(names);
        run_visibly(&mut self.privileged(&words))
    }

    /// The version that would be installed.
    fn candidate(&self, package: &str) -> Option<Version> {
        let said = run_quietly(Command::new("apt-cache").args(["policy", package])).ok()?;
        let line = said
            .lines()
            .find_map(|line| line.trim().strip_prefix("Candidate:"))?;
        parse_version(line)
    }

    /// Fetches and unpacks with lists of its own, from the mirror that the system uses.
    fn emulator_of_backports(&self) -> Result<()> {
        let release = fs::read_to_string("/etc/os-release")?;
        let codename = release
            .lines()
            .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
            .context("/etc/os-release names no release")?
            .trim_matches('"');
        let format = "$(CODENAME) $(SITE)";
        let targets =
            run_quietly(Command::new("apt-get").args(["indextargets", "--format", format]))?;
        let mirror = targets
            .lines()
            .find_map(|line| line.strip_prefix(codename)?.strip_prefix(' '))
            .context("apt has no source of this release")?;

        let apt = self.folder.join("apt");
        for folder in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(apt.join(folder))?;
        }
        let keys = Path::new("/usr/share/keyrings/debian-archive-keyring.gpg");
        let signed = match keys.exists() {
            true => format!("[signed-by={}] ", keys.display()),
            false => String::new(),
        };
        let sources = apt.join("sources.list");
        fs::write(
            &sources,
            format!("deb {signed}{mirror} {codename}-backports main\n"),
        )?;
        let apt_get = |words: &[&str]| {
            let mut command = Command::new("apt-get");
            command.current_dir(&apt).arg("--quiet=2");
            for (option, value) in [
                ("Dir::Etc::SourceList", sources.as_path()),
                ("Dir::Etc::SourceParts", Path::new("/dev/null")),
                ("Dir::State::Lists", &apt.join("lists")),
                ("Dir::Cache", &apt.join("cache")),
            ] {
                command.args(["-o", &format!("{option}={}", value.display())]);
            }
            command.args([
                "-o",
                "APT::Architectures=amd64",
                "-o",
                "APT::Sandbox::User=root",
            ]);
            command.args(words);
            command
        };
        run_visibly(&mut apt_get(&["update"]))?;
        run_visibly(&mut apt_get(&["download", "qemu-user"]))?;
        let package = fs::read_dir(&apt)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .context("the download left no package")?;
        let place = self.folder.join("emulator");
        run_visibly(
            Command::new("dpkg-deb")
                .arg("--extract")
                .arg(&package)
                .arg(&place),
        )?;
        ensure!(
            new_enough(unpacked(self.folder), EMULATOR_VERSION).is_some(),
            "the backports' emulator is too old as well"
        );
        Ok(())
    }

    fn privileged(&self, words: &[&str]) -> Command {
        let mut words = words.iter();
        let mut command = match self.root {
            true => Command::new(words.next().unwrap_or(&"true")),
            false => Command::new("sudo"),
        };
        command.env("DEBIAN_FRONTEND", "noninteractive").args(words);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn versions_as_they_are_said() {
        for (said, version) in [
            ("rustc 1.96.0 (ac68faa20 2026-05-25)", Some((1, 96))),
            (
                "qemu-aarch64 version 10.0.2 (Debian 1:10.0.2+ds)",
                Some((10, 0)),
            ),
            (" 1:7.2+dfsg-7", Some((7, 2))),
            ("1.95", Some((1, 95))),
            ("(none)", None),
        ] {
            assert_eq!(parse_version(said), version, "{said}");
        }
    }
}
