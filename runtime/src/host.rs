//! What the store of a program that a person starts holds, the kinds of programs that are known,
//! and how one is started.

use std::process::ExitCode;

use bimetal::environment::{Environment, Environments, Outcome};
use bimetal::{
    AsContextMut, Engine, Error, ExternType, ImportType, Instance, Linker, Module, Result, Store,
    StoreLimits,
};
use bimetal_wasi::threads::{self, Threads};
use bimetal_wasi::{ProcExit, WasiCtx};

use crate::limits::Limits;
use crate::output;

/// What a store holds.
#[derive(Debug)]
pub struct Host {
    /// What the guest was given.
    pub wasi: WasiCtx,
    /// How large its memories and tables may get.
    pub limits: StoreLimits,
}

/// All kinds of programs that can be run.
pub fn known() -> Environments<Host> {
    let mut environments = Environments::new();
    bimetal_wasi::p1::add_to_environments(&mut environments, |host: &mut Host| &mut host.wasi);
    environments
}

/// Refuses a module whose imports are not all there, naming those. `hint` makes a last line of the
/// first import's module, quoted as needed. What a program with threads imports is there if the limits
/// allow threads.
///
/// # Errors
/// If there are any.
pub fn check_imports(
    module: &Module,
    linker: &Linker<Host>,
    limits: &Limits,
    hint: impl FnOnce(&str) -> String,
) -> Result<()> {
    const SHOWN: usize = 10;
    let wants_threads = threads::are_wanted(module);
    if wants_threads && limits.threads.is_none() {
        return Err(Error::msg(
            "the module starts threads (it imports `wasi` `thread-spawn`), which it may not: \
             `--threads` lets it",
        ));
    }
    let of_threads = |import: &ImportType<'_>| match import.ty() {
        ExternType::Memory(ty) => ty.is_shared(),
        _ => (import.module(), import.name()) == ("wasi", "thread-spawn"),
    };
    let missing: Vec<_> = linker
        .unknown_imports(module)
        .filter(|import| !(wants_threads && of_threads(import)))
        .collect();
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
    message += &hint(&output::name(first.module()));
    Err(Error::msg(message))
}

/// Instantiates a module and does something with it, where it may have threads if the limits say so
/// and it wants them. A thread that exits ends all of it with its exit code.
///
/// # Errors
/// If it cannot be instantiated or not have threads; and what ends it.
pub fn run(
    module: &Module,
    linker: &mut Linker<Host>,
    store: &mut Store<Host>,
    limits: &Limits,
    main: impl FnOnce(&mut Store<Host>, Instance) -> Result<ExitCode>,
) -> Result<ExitCode> {
    let Some(max) = limits.threads.filter(|_| threads::are_wanted(module)) else {
        let instance = linker.instantiate(&mut *store, module)?;
        return main(store, instance);
    };
    let own_limits = limits.clone();
    let fork = move |engine: &Engine, host: &mut Host| {
        let wasi = host.wasi.share()?;
        let limits = host.limits.clone();
        let mut store = Store::new(engine, Host { wasi, limits });
        own_limits.set(&mut store)?;
        Ok(store)
    };
    let threads = Threads::add_to_linker(linker, store, module, |host| &mut host.wasi, fork)?;
    let ended = threads.max_threads(max).run(store, linker, main);
    ended.or_else(|error| match error.downcast_ref() {
        Some(&ProcExit(status)) => Ok(ExitCode::from(output::exit_code(status))),
        None => Err(error),
    })
}

/// Whether a module does anything when it is started.
pub fn does_something(module: &Module) -> bool {
    let start = module.get_export("_start");
    module.wasm().start.is_some() || start.is_some_and(|ty| ty.func().is_some())
}

/// Starts an instance; `None` if it is one that waits to be called, and has done nothing.
///
/// # Errors
/// What ends it, but for its own exit.
pub fn start(
    environment: &dyn Environment<Host>,
    store: &mut Store<Host>,
    instance: Instance,
    module: &Module,
) -> Result<Option<ExitCode>> {
    Ok(match environment.start(store.as_context_mut(), instance)? {
        Outcome::Finished(status) => Some(ExitCode::from(output::exit_code(status))),
        // Its start function was all that it is for, or else somebody has to say what to call.
        Outcome::Waiting if module.wasm().start.is_some() => Some(ExitCode::SUCCESS),
        Outcome::Waiting => None,
    })
}
