//! Programs that are one file: this runtime with a compiled module inside.
//!
//! `bimetal build` puts an image and a [`Program`], what it is to be run with, into a copy of this
//! package's program (`bimetal_artifact::executable` is how). When that runs, it finds both in its
//! own file, maps the image from there, and starts it. All arguments are the guest's.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;

use bimetal::{Config, Context, Engine, Error, Linker, Module, Result, Store};
use bimetal_artifact::executable::{self, Attached};
use bimetal_sys::MappedFile;
use serde::{Deserialize, Serialize};

use crate::grants::{Grants, VARIABLE};
use crate::host::{self, Host};
use crate::limits::Limits;
use crate::output::Log;

/// What a program is run with, as decided when it was built.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The module's name for messages.
    pub name: String,
    /// The guest's name for itself, if not that by which it was started.
    pub argv0: Option<String>,
    /// Arguments before those of the user.
    pub args: Vec<String>,
    /// What it is given.
    pub grants: Grants,
    /// Whether the user may give it more, by [`VARIABLE`].
    pub user_grants: bool,
    /// What bounds it.
    pub limits: Limits,
    /// Whether its code is checked before it is run.
    pub verify: bool,
    /// Whether it was compiled with `nan_canonicalization`.
    pub nan_canonicalization: bool,
}

impl Program {
    /// Makes a configuration that of engines which run this program.
    pub fn configure(&self, config: &mut Config) {
        self.limits.configure(config);
        config.nan_canonicalization(self.nan_canonicalization);
        config.deterministic(self.grants.deterministic);
        config.lazy(true);
    }

    /// As text, for the file.
    ///
    /// # Errors
    /// If there are names in it that are not UTF-8.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self)
            .map_err(|error| Error::msg(format!("it cannot be written down: {error}")))
    }

    /// What [`Program::to_json`] wrote.
    ///
    /// # Errors
    /// If it is something else.
    pub fn from_json(text: &[u8]) -> Result<Program> {
        serde_json::from_slice(text)
            .map_err(|error| Error::msg(format!("its settings cannot be read: {error}")))
    }
}

/// Runs the program that is in this process's own file. `load` loads the module there, and checks
/// it if the program says so.
///
/// # Errors
/// If there is none, it is damaged or was built for something else; and what ends it.
pub fn run_own(
    load: impl FnOnce(&Engine, &File, Range<u64>, bool) -> Result<Module>,
) -> Result<ExitCode> {
    let file = bimetal_sys::own_program().context("this program's own file cannot be opened")?;
    let attached = find(&file).context("this program cannot be run")?;
    let program = Program::from_json(&attached.settings).context("this program cannot be run")?;

    let mut config = Config::new();
    program.configure(&mut config);
    // What it was built with may have one.
    config.enable_compiler(false).code_from_files_only(true);
    let engine = Engine::new(&config)?;
    let module = load(&engine, &file, attached.image, program.verify)
        .with_context(|| format!("`{}` in this program cannot be run", program.name))?;

    let environments = host::known();
    let environment = environments.recognise(&module);
    let mut linker = Linker::new(&engine);
    environment.link(&mut linker)?;
    let log = Log { verbose: false };
    let mut store = Store::new(
        &engine,
        Host {
            wasi: program.grants()?.context(program.arguments(), log)?,
            limits: program.limits.store_limits(),
        },
    );
    program.limits.within(&mut store, |store| {
        host::check_imports(&module, &linker, &program.limits, |_| String::new())?;
        host::run(
            &module,
            &mut linker,
            store,
            &program.limits,
            |store, instance| {
                let code = host::start(environment, store, instance, &module)?;
                code.ok_or_else(|| Error::msg(format!("`{}` has nothing to run", program.name)))
            },
        )
    })
}

/// What there is in a program's file.
fn find(file: &File) -> Result<Attached> {
    let bytes = MappedFile::new(file)?;
    executable::find(bytes.as_ref())?.ok_or_else(|| {
        Error::msg(
            "there is no module in it. Either it is the bare runtime, of which `bimetal build` \
             makes programs, or something (`strip`, `objcopy`) has taken the module's sections \
             out of a program",
        )
    })
}

impl Program {
    /// What was decided, and what the user adds.
    fn grants(&self) -> Result<Grants> {
        let mut grants = self.grants.clone();
        grants.resolve_origin()?;
        if let Some(text) = env::var_os(VARIABLE).filter(|_| self.user_grants) {
            grants.extend(&text).context(VARIABLE)?;
        }
        Ok(grants)
    }

    /// The guest's arguments.
    fn arguments(&self) -> Vec<OsString> {
        let mut given = env::args_os();
        let started_as = given.next();
        let first = match &self.argv0 {
            Some(name) => name.into(),
            None => started_as.unwrap_or_else(|| Path::new(&self.name).into()),
        };
        let own = self.args.iter().map(OsString::from);
        std::iter::once(first).chain(own).chain(given).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_they_were_written() {
        let program = Program {
            name: "app.wasm".into(),
            args: vec!["--flag".into()],
            user_grants: true,
            ..Program::default()
        };
        let text = program.to_json().unwrap();
        assert_eq!(Program::from_json(text.as_bytes()).unwrap(), program);
        assert!(Program::from_json(b"{}").is_err());
    }
}
