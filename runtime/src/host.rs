//! What the store of a program that a person starts holds, the kinds of programs that are known,
//! and how one is started.

use std::process::ExitCode;

use bimetal::environment::{Environment, Environments, Outcome};
use bimetal::{AsContextMut, Error, Instance, Linker, Module, Result, Store, StoreLimits};
use bimetal_wasi::WasiCtx;

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
/// first import's module, quoted as needed.
///
/// # Errors
/// If there are any.
pub fn check_imports(
    module: &Module,
    linker: &Linker<Host>,
    hint: impl FnOnce(&str) -> String,
) -> Result<()> {
    const SHOWN: usize = 10;
    let missing: Vec<_> = linker.unknown_imports(module).collect();
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
