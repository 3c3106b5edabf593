//! The environments that the program knows, what its stores hold, and what to say of imports that
//! none of them defines.

use bimetal::environment::Environments;
use bimetal::{Error, Linker, Module, Result, StoreLimits};
use bimetal_wasi::WasiCtx;

use crate::output;

/// What a store of the program holds.
#[derive(Debug)]
pub struct Host {
    pub wasi: WasiCtx,
    pub limits: StoreLimits,
}

/// All kinds of programs that can be run.
pub fn known() -> Environments<Host> {
    let mut environments = Environments::new();
    bimetal_wasi::p1::add_to_environments(&mut environments, |host: &mut Host| &mut host.wasi);
    environments
}

/// Refuses a module whose imports are not all there, naming those.
pub fn check_imports(module: &Module, linker: &Linker<Host>) -> Result<()> {
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
    message += &format!(
        "\n  `--preload {}=FILE` takes imports from another module's exports",
        output::name(first.module())
    );
    Err(Error::msg(message))
}
