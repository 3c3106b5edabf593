//! Packages from the Python and Node.js registries, unpacked into `.realworld/` once. The registries'
//! own clients fetch them; Python's standard library unpacks them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::process::{need_program, root, run_quietly};

/// A package by name and exact version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Package {
    pub(crate) registry: Registry,
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// An archive inside the package that is unpacked too: its path and the folder for it.
    pub(crate) inner: Option<(&'static str, &'static str)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Registry {
    Python,
    Node,
}

/// Installs packages into the repository's `.realworld/`.
#[derive(Debug)]
pub(crate) struct Installer {
    store: PathBuf,
    given: Option<PathBuf>,
    python: PathBuf,
}

impl Installer {
    /// `given` is a folder with package files that need no download.
    pub(crate) fn new(given: Option<&Path>) -> Result<Installer> {
        let store = root().join(".realworld");
        fs::create_dir_all(&store)?;
        Ok(Installer {
            store,
            given: given.map(Path::to_path_buf),
            python: need_program(
                "python3",
                "install Python 3 with pip: packages are fetched and unpacked with it",
            )?,
        })
    }

    /// The folder of the unpacked package, which is fetched when it is not there yet.
    pub(crate) fn install(&self, package: &Package) -> Result<PathBuf> {
        let plain = package.name.trim_start_matches('@').replace('/', "-");
        let place = self.store.join(format!("{plain}-{}", package.version));
        if place.is_dir() {
            return Ok(place);
        }
        // Unpacked beside and renamed, so that an interrupted install leaves nothing half done.
        let temporary = tempfile::tempdir_in(&self.store)?;
        let archive = match self.given_archive(package, &plain)? {
            Some(archive) => archive,
            None => self.download(package, temporary.path())?,
        };
        let unpacked = temporary.path().join("unpacked");
        fs::create_dir(&unpacked)?;
        self.unpack(&archive, &unpacked)?;
        if let Some((inner, folder)) = package.inner {
            let folder = unpacked.join(folder);
            fs::create_dir_all(&folder)?;
            self.unpack(&unpacked.join(inner), &folder)?;
        }
        // Another process may have been faster; its copy is as good.
        match fs::rename(&unpacked, &place) {
            Err(error) if !place.is_dir() => Err(error.into()),
            _ => Ok(place),
        }
    }

    /// Registries spell file names differently; dashes and underscores are one.
    fn given_archive(&self, package: &Package, plain: &str) -> Result<Option<PathBuf>> {
        let Some(folder) = &self.given else {
            return Ok(None);
        };
        let wanted = format!("{plain}-{}", package.version).replace('_', "-");
        for entry in
            fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
        {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .replace('_', "-");
            let archive = name.ends_with(".whl") || name.ends_with(".tgz");
            if archive && name.starts_with(&wanted) {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    fn download(&self, package: &Package, folder: &Path) -> Result<PathBuf> {
        let (name, version) = (package.name, package.version);
        eprintln!("    fetching {name} {version}");
        match package.registry {
            Registry::Python => {
                let wanted = format!("{name}=={version}");
                run_quietly(
                    Command::new(&self.python)
                        .args(["-m", "pip", "download", "--quiet", "--no-deps"])
                        .args(["--only-binary=:all:", "--dest"])
                        .arg(folder)
                        .arg(wanted),
                )?;
            }
            Registry::Node => {
                let npm = need_program(
                    "npm",
                    "install Node.js: this package comes from its registry",
                )?;
                let wanted = format!("{name}@{version}");
                run_quietly(
                    Command::new(npm)
                        .current_dir(folder)
                        .args(["pack", "--silent"])
                        .arg(wanted),
                )?;
            }
        }
        let mut files = fs::read_dir(folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.is_file());
        let archive = files.next().context("the download left no file")?;
        ensure!(
            files.next().is_none(),
            "the download left more than one file"
        );
        Ok(archive)
    }

    fn unpack(&self, archive: &Path, folder: &Path) -> Result<()> {
        let module = match archive.extension().and_then(|e| e.to_str()) {
            Some("whl" | "zip") => "zipfile",
            Some("tgz" | "tar") => "tarfile",
            _ => bail!("{} is no archive that is known here", archive.display()),
        };
        run_quietly(
            Command::new(&self.python)
                .args(["-m", module, "-e"])
                .arg(archive)
                .arg(folder),
        )?;
        Ok(())
    }
}
