//! Preview 1 as [`Environment`]s: its two kinds of programs.
//!
//! A *command* has a beginning and an end: it exports `_start`. A *reactor* is a library: its
//! exports may be called once its `_initialize`, if there is one, has returned.

use bimetal::environment::{Confidence, Environment, Environments, Outcome};
use bimetal::{Context, Instance, Linker, Module, Result, StoreContextMut, bail};

use super::{ProcExit, add_to_linker};
use crate::WasiCtx;

const START: &str = "_start";
const INITIALIZE: &str = "_initialize";

/// Adds [`Command`] and [`Reactor`]. `get` finds the context in the store's data.
///
/// ```
/// use bimetal::environment::{Environments, Outcome};
/// use bimetal::{Engine, Module, Store};
/// use bimetal_wasi::{WasiCtx, WasiCtxBuilder, p1};
///
/// let mut environments = Environments::new();
/// p1::add_to_environments(&mut environments, |ctx: &mut WasiCtx| ctx);
///
/// let engine = Engine::default();
/// let module = Module::new(&engine, r#"(module
///     (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
///     (func (export "_start") (call $exit (i32.const 7))))"#)?;
/// assert_eq!(environments.recognise(&module).name(), "WASI preview 1 command");
/// let mut store = Store::new(&engine, WasiCtxBuilder::new().build());
/// assert_eq!(environments.run(&mut store, &module)?, Outcome::Finished(7));
/// # Ok::<(), bimetal::Error>(())
/// ```
pub fn add_to_environments<T: 'static>(
    environments: &mut Environments<T>,
    get: impl Fn(&mut T) -> &mut WasiCtx + Send + Sync + Copy + 'static,
) {
    environments.add(Reactor(get)).add(Command(get));
}

fn imports_wasi(module: &Module) -> bool {
    let modules = ["wasi_snapshot_preview1", "wasi_unstable"];
    module
        .imports()
        .any(|import| modules.contains(&import.module()))
}

fn exports_function(module: &Module, name: &str) -> bool {
    module
        .get_export(name)
        .is_some_and(|ty| ty.func().is_some())
}

fn call<T: 'static>(
    mut store: StoreContextMut<'_, T>,
    instance: Instance,
    name: &str,
) -> Result<()> {
    let Some(func) = instance.get_func(&mut store, name) else {
        bail!("no function `{name}` is exported");
    };
    let func = func
        .typed::<(), ()>(&store)
        .with_context(|| format!("the export `{name}` cannot be called"))?;
    func.call(store, ())
}

/// Programs with a beginning and an end. The field finds the context in the store's data.
#[derive(Clone, Copy, Debug)]
pub struct Command<F>(pub F);

impl<T, F> Environment<T> for Command<F>
where
    T: 'static,
    F: Fn(&mut T) -> &mut WasiCtx + Send + Sync + Copy + 'static,
{
    fn name(&self) -> &str {
        "WASI preview 1 command"
    }

    fn recognises(&self, module: &Module) -> Confidence {
        match (exports_function(module, START), imports_wasi(module)) {
            (true, true) => Confidence::Certain,
            (true, false) => Confidence::Likely,
            (false, _) => Confidence::No,
        }
    }

    fn link(&self, linker: &mut Linker<T>) -> Result<()> {
        add_to_linker(linker, self.0)
    }

    fn start(&self, store: StoreContextMut<'_, T>, instance: Instance) -> Result<Outcome> {
        match call(store, instance, START) {
            Ok(()) => Ok(Outcome::Finished(0)),
            Err(error) => match error.downcast_ref() {
                Some(&ProcExit(status)) => Ok(Outcome::Finished(status)),
                None => Err(error),
            },
        }
    }
}

/// Libraries. The field finds the context in the store's data.
#[derive(Clone, Copy, Debug)]
pub struct Reactor<F>(pub F);

impl<T, F> Environment<T> for Reactor<F>
where
    T: 'static,
    F: Fn(&mut T) -> &mut WasiCtx + Send + Sync + Copy + 'static,
{
    fn name(&self) -> &str {
        "WASI preview 1 reactor"
    }

    fn recognises(&self, module: &Module) -> Confidence {
        if exports_function(module, START) {
            return Confidence::No;
        }
        match (exports_function(module, INITIALIZE), imports_wasi(module)) {
            (_, true) => Confidence::Certain,
            (true, false) => Confidence::Likely,
            (false, false) => Confidence::No,
        }
    }

    fn link(&self, linker: &mut Linker<T>) -> Result<()> {
        add_to_linker(linker, self.0)
    }

    fn initialize(&self, mut store: StoreContextMut<'_, T>, instance: Instance) -> Result<()> {
        match instance.get_func(&mut store, INITIALIZE) {
            Some(_) => call(store, instance, INITIALIZE),
            None => Ok(()),
        }
    }

    fn start(&self, store: StoreContextMut<'_, T>, instance: Instance) -> Result<Outcome> {
        self.initialize(store, instance)?;
        Ok(Outcome::Waiting)
    }
}
