//! Call hooks: how calls out of wasm come to be told.
//!
//! A store without a hook shall not pay for the possibility, not even by looking. So its host
//! functions are entered through other cells, and those through other trampolines, which call the
//! builtins here. A store that gets a hook has the cells of all its host functions exchanged;
//! nothing can be running in it then.

use bimetal_abi::{VmContextHeader, VmFuncImport, VmFuncRef, VmHostContext, VmStoreContext};

use super::host::HostKind;
use super::interrupt::go_on_or_raise;
use super::store::StoreOpaque;
use crate::call_hook::CallHook;
use crate::engine::Engine;

impl StoreOpaque {
    /// From now on calls of host functions are told.
    pub(crate) fn hook_host_functions(&mut self) {
        if std::mem::replace(&mut self.hooked, true) {
            return;
        }
        let engine = self.engine();
        // SAFETY: all that is written is this store's, whose wasm code is not running; functions
        // that instances import live as long as the store.
        unsafe {
            for func in &self.host_funcs {
                hook_reference(engine, func.func_ref.as_ptr());
            }
            for instance in self.instances.values() {
                let module = instance.module();
                let offsets = &module.env().offsets;
                let imported = module.wasm().num_imported_funcs;
                for func in module.wasm().functions.keys().take(imported) {
                    let import: *mut VmFuncImport = instance.at(offsets.func_import(func)).as_ptr();
                    if let Some(cell) = hooked_cell(engine, (*import).vmctx) {
                        (*import).cell = cell;
                    }
                    if let Some(func) = instance.func(func) {
                        hook_reference(engine, func.as_ptr());
                    }
                }
            }
        }
    }
}

/// # Safety
/// `func` is of a store that is borrowed mutably and whose wasm code is not running.
unsafe fn hook_reference(engine: &Engine, func: *mut VmFuncRef) {
    // SAFETY: the caller's promise.
    unsafe {
        if let Some(cell) = hooked_cell(engine, (*func).vmctx) {
            (*func).cell = cell;
        }
    }
}

/// The cell through which a function with this context tells, if it is the host's.
///
/// # Safety
/// `context` is the callee context of a function of a store of `engine`.
unsafe fn hooked_cell(
    engine: &Engine,
    context: *mut VmContextHeader,
) -> Option<*const std::sync::atomic::AtomicPtr<u8>> {
    // SAFETY: the caller's promise; the magic number says what it is.
    let (type_id, kind) = unsafe {
        if (*context).magic != VmHostContext::MAGIC {
            return None;
        }
        let host = context.cast::<VmHostContext>();
        ((*host).type_id, (*host).kind)
    };
    // The store keeps the type of each of its host functions.
    let ty = engine.types().at(type_id);
    let signature = ty.signature();
    Some(std::ptr::from_ref(
        signature.cell(HostKind::from_raw(kind), true),
    ))
}

/// The builtin's stub has noted the trampoline's frame as where wasm was left; the one above it is.
///
/// # Safety
/// `context` is that of a store whose wasm has called a trampoline, and that this builtin's caller.
unsafe fn left_by_trampoline(context: *mut VmStoreContext) {
    // SAFETY: the caller's promise.
    unsafe { (*context).exit_pc = 0 }
}

pub(super) unsafe extern "C" fn calling_host(vmctx: *mut VmContextHeader) {
    // SAFETY: called by a trampoline to the host.
    unsafe {
        left_by_trampoline((*vmctx).store);
        go_on_or_raise(vmctx, None, || {
            StoreOpaque::tell_call_hook((*vmctx).store, CallHook::CallingHost)
        });
    }
}

pub(super) unsafe extern "C" fn returning_from_host(vmctx: *mut VmContextHeader) {
    // SAFETY: as above.
    unsafe {
        let context = (*vmctx).store;
        left_by_trampoline(context);
        go_on_or_raise(vmctx, None, || {
            // A panic goes on, whatever the hook would say.
            if StoreOpaque::from_context(context).is_panicking() {
                return Ok(());
            }
            StoreOpaque::tell_call_hook(context, CallHook::ReturningFromHost)
        });
    }
}
