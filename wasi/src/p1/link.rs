//! Preview 1 as imports of a wasm module.
//!
//! Each function of [`super::table`] becomes a host function: it finds the caller's memory and
//! the context, calls the Rust function of the same name, and turns its result into an errno. A
//! caller without an exported memory has an empty one, so whatever takes no pointer still
//! works.

use super::process::ProcExit;
use super::table::{common_functions, new_functions};
use super::{GuestMemory, unstable};
use crate::WasiCtx;
use crate::p1 as preview1;
use crate::shared::Access;
use bimetal::{Caller, Linker, Trap};
use std::fmt::Debug;

/// Defines all of preview 1 in `linker`, under its module name `wasi_snapshot_preview1` and, with
/// the older layouts, under `wasi_unstable`. `get` finds the context in the store's data.
///
/// `proc_exit` ends the guest with an error in which `downcast_ref` finds a [`ProcExit`].
///
/// # Errors
/// A name is defined in the linker already.
pub fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    get: impl Fn(&mut T) -> &mut WasiCtx + Send + Sync + Copy + 'static,
) -> bimetal::Result<()> {
    macro_rules! link {
        ($module:literal $snapshot:ident $($name:ident($($param:ident: $type:ident),*);)*) => {$(
            linker.func_wrap(
                $module,
                stringify!($name),
                move |mut caller: Caller<'_, T> $(, $param: $type)*| -> bimetal::Result<i32> {
                    let fd = [$($param as u32),*].first().copied().unwrap_or_default();
                    let (mut mem, ctx) = guest(&mut caller, get);
                    let result = match ctx.shared.clone() {
                        None => $snapshot::$name(ctx, &mut mem $(, $param)*),
                        Some(shared) => {
                            let access = Access::of(stringify!($name));
                            let result = shared.call(access, fd, &mut mem, |ctx, mem| {
                                $snapshot::$name(ctx, mem $(, $param)*)
                            });
                            if shared.has_ended() {
                                return Err(Trap::Interrupt.into());
                            }
                            result
                        }
                    };
                    Ok(errno(stringify!($name), &($($param,)*), result))
                },
            )?;
        )*};
    }

    common_functions!(link "wasi_snapshot_preview1" preview1);
    new_functions!(link "wasi_snapshot_preview1" preview1);
    common_functions!(link "wasi_unstable" unstable);
    for module in ["wasi_snapshot_preview1", "wasi_unstable"] {
        linker.func_wrap(module, "proc_exit", |code: u32| -> bimetal::Result<()> {
            Err(bimetal::Error::new(ProcExit(code)))
        })?;
    }
    Ok(())
}

fn guest<'a, T: 'static>(
    caller: &'a mut Caller<'_, T>,
    get: impl Fn(&mut T) -> &mut WasiCtx,
) -> (GuestMemory<'a>, &'a mut WasiCtx) {
    if let Some(memory) = caller.memory() {
        let (bytes, data) = memory.data_and_store_mut(caller);
        return (GuestMemory::new(bytes), get(data));
    }
    let memory = match caller.shared_memory() {
        Some(memory) => GuestMemory::shared(memory),
        None => GuestMemory::new(&mut []),
    };
    (memory, get(caller.data_mut()))
}

/// The number that the guest gets. Whoever wants to see what a guest does, as with a tracer of
/// system calls, listens to these events.
fn errno(name: &str, params: &dyn Debug, result: super::Result<()>) -> i32 {
    match result {
        Ok(()) => {
            tracing::trace!(target: "bimetal_wasi", "{name}{params:?} = success");
            0
        }
        Err(e) => {
            tracing::trace!(target: "bimetal_wasi", "{name}{params:?} = {e}");
            i32::from(e.number())
        }
    }
}
