//! What kind of program a module is.
//!
//! A module's imports and exports decide: each [`Environment`] says how sure it is that a module
//! was made for it, and the surest one links it and starts it. This is the program's own first
//! form of that idea; embedders cannot add to it yet.

use bimetal::{Context, Error, Instance, Linker, Module, Result, Store, StoreLimits};
use bimetal_wasi::WasiCtx;
use bimetal_wasm::EntityIndex;

use crate::output;

/// What a store of the program holds.
#[derive(Debug)]
pub struct Host {
    pub wasi: WasiCtx,
    pub limits: StoreLimits,
}

/// How sure an environment is of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// The module was not made for it.
    No,
    /// Nothing contradicts it.
    Possible,
    /// A sign speaks for it.
    Likely,
    /// Imports and exports are its own.
    Certain,
}

/// What an environment does when nothing else is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// The program ran to its end.
    Finished,
    /// The module is ready, and waits to be called.
    Waiting,
}

/// A kind of program.
pub trait Environment: Sync {
    /// Its name, for people.
    fn name(&self) -> &'static str;

    /// How sure it is that `module` was made for it.
    fn recognises(&self, module: &bimetal_wasm::Module) -> Confidence;

    /// Defines what its programs import.
    fn link(&self, linker: &mut Linker<Host>) -> Result<()>;

    /// Makes a new instance ready to be called.
    fn initialize(&self, store: &mut Store<Host>, instance: Instance) -> Result<()>;

    /// Starts the program; called instead of `initialize`.
    fn start(&self, store: &mut Store<Host>, instance: Instance) -> Result<Started>;
}

/// The surest environment.
pub fn recognise(module: &bimetal_wasm::Module) -> &'static dyn Environment {
    let all: [&'static dyn Environment; 3] = [&WasiCommand, &WasiReactor, &Bare];
    let mut best: (&'static dyn Environment, Confidence) = (&Bare, Confidence::No);
    for environment in all {
        let confidence = environment.recognises(module);
        if confidence > best.1 {
            best = (environment, confidence);
        }
    }
    best.0
}

const START: &str = "_start";
const INITIALIZE: &str = "_initialize";

fn imports_wasi(module: &bimetal_wasm::Module) -> bool {
    module
        .imports
        .iter()
        .any(|import| matches!(&*import.module, "wasi_snapshot_preview1" | "wasi_unstable"))
}

fn exports_function(module: &bimetal_wasm::Module, name: &str) -> bool {
    matches!(module.export(name), Some(EntityIndex::Func(_)))
}

fn call(store: &mut Store<Host>, instance: Instance, name: &str) -> Result<()> {
    let func = instance
        .get_func(&mut *store, name)
        .ok_or_else(|| Error::msg(format!("no function `{name}` is exported")))?;
    let func = func
        .typed::<(), ()>(&*store)
        .with_context(|| format!("the export `{name}` cannot be called"))?;
    func.call(store, ())
}

/// A program with a beginning and an end: it exports `_start`.
struct WasiCommand;

impl Environment for WasiCommand {
    fn name(&self) -> &'static str {
        "WASI preview 1 command"
    }

    fn recognises(&self, module: &bimetal_wasm::Module) -> Confidence {
        match (exports_function(module, START), imports_wasi(module)) {
            (true, true) => Confidence::Certain,
            (true, false) => Confidence::Likely,
            (false, _) => Confidence::No,
        }
    }

    fn link(&self, linker: &mut Linker<Host>) -> Result<()> {
        bimetal_wasi::p1::add_to_linker(linker, |host: &mut Host| &mut host.wasi)
    }

    fn initialize(&self, _: &mut Store<Host>, _: Instance) -> Result<()> {
        Ok(())
    }

    fn start(&self, store: &mut Store<Host>, instance: Instance) -> Result<Started> {
        call(store, instance, START)?;
        Ok(Started::Finished)
    }
}

/// A library: its exports may be called once `_initialize`, if there is one, has returned.
struct WasiReactor;

impl Environment for WasiReactor {
    fn name(&self) -> &'static str {
        "WASI preview 1 reactor"
    }

    fn recognises(&self, module: &bimetal_wasm::Module) -> Confidence {
        if exports_function(module, START) {
            return Confidence::No;
        }
        match (exports_function(module, INITIALIZE), imports_wasi(module)) {
            (_, true) => Confidence::Certain,
            (true, false) => Confidence::Likely,
            (false, false) => Confidence::No,
        }
    }

    fn link(&self, linker: &mut Linker<Host>) -> Result<()> {
        WasiCommand.link(linker)
    }

    fn initialize(&self, store: &mut Store<Host>, instance: Instance) -> Result<()> {
        match instance.get_func(&mut *store, INITIALIZE) {
            Some(_) => call(store, instance, INITIALIZE),
            None => Ok(()),
        }
    }

    fn start(&self, store: &mut Store<Host>, instance: Instance) -> Result<Started> {
        self.initialize(store, instance)?;
        Ok(Started::Waiting)
    }
}

/// A module that needs nothing, or nothing that is known: its start function has run already.
struct Bare;

impl Environment for Bare {
    fn name(&self) -> &'static str {
        "bare module"
    }

    fn recognises(&self, _: &bimetal_wasm::Module) -> Confidence {
        Confidence::Possible
    }

    fn link(&self, _: &mut Linker<Host>) -> Result<()> {
        Ok(())
    }

    fn initialize(&self, _: &mut Store<Host>, _: Instance) -> Result<()> {
        Ok(())
    }

    fn start(&self, _: &mut Store<Host>, _: Instance) -> Result<Started> {
        Ok(Started::Waiting)
    }
}

/// Refuses a module whose imports are not all there, naming those.
pub fn check_imports(
    module: &Module,
    linker: &Linker<Host>,
    store: &mut Store<Host>,
) -> Result<()> {
    const SHOWN: usize = 10;
    if linker.defines_all(module) {
        return Ok(());
    }
    let mut missing = Vec::new();
    for import in module.imports() {
        if linker
            .get(&mut *store, import.module(), import.name())
            .is_err()
        {
            missing.push(import);
        }
    }
    let Some(first) = missing.first() else {
        return Ok(());
    };
    let mut message = "the module imports what nothing provides:".to_string();
    for import in missing.iter().take(SHOWN) {
        message += &format!(
            "\n    `{}` `{}`: {}",
            output::name(import.module()),
            output::name(import.name()),
            import.ty()
        );
    }
    if missing.len() > SHOWN {
        message += &format!("\n    … and {} more", missing.len() - SHOWN);
    }
    message += &format!(
        "\n  `--preload {}=FILE` takes imports from another module's exports",
        output::name(first.module())
    );
    Err(Error::msg(message))
}
