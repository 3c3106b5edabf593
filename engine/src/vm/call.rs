//! Calls from the host into a store, and the lazy compiler's entrance.

use std::panic::AssertUnwindSafe;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use bimetal_abi::{ValRaw, VmContextHeader};
use bimetal_wasm::{DefinedFuncIndex, ValType};
use cranelift_entity::EntityRef;

use super::activation::{enter, stack_backtrace};
use super::host::val_from_raw;
use super::instance::{InstanceData, InstanceId};
use super::store::{FuncPtr, Pending, StoreOpaque};
use super::val::WasmResults;
use crate::call_hook::CallHook;
use crate::engine::CodePtr;
use crate::error::Result;
use crate::store::{StoreContextMut, StoreInner};
use crate::tier::return_area;
use crate::val::Val;

/// Calls `func` through `trampoline`, the host → wasm trampoline of its type. `args` holds the
/// parameters and has room for the results, which are written over them.
///
/// The caller has checked that `func` is of this store, `trampoline` is of its type, and the
/// values are of the types that it says, references of this store.
pub(crate) fn invoke<T>(
    store: &mut StoreContextMut<'_, T>,
    func: FuncPtr,
    trampoline: CodePtr,
    args: &mut [ValRaw],
) -> Result<()> {
    // SAFETY: `func` is of this store and so alive; the rest the caller has checked.
    unsafe {
        let func = &*func.as_ptr();
        let code = (*func.cell).load(Ordering::Acquire);
        let caller = store.opaque().host_caller();
        enter_and_tell(
            store,
            trampoline,
            func.vmctx,
            caller,
            code,
            args.as_mut_ptr(),
        )
    }
}

/// [`enter`], and what goes on around it.
///
/// # Safety
/// As for `enter`.
#[inline]
unsafe fn enter_and_tell<T>(
    store: &mut StoreContextMut<'_, T>,
    trampoline: CodePtr,
    callee: *mut VmContextHeader,
    caller: NonNull<VmContextHeader>,
    code: *const u8,
    args: *mut ValRaw,
) -> Result<()> {
    store.inner_mut().tell_call_hook(CallHook::CallingWasm)?;
    let inner: *mut StoreInner<T> = store.inner_mut();
    // SAFETY: a `StoreInner` begins with its `StoreOpaque` and is ours to give up; the rest is the
    // caller's promise.
    let result = unsafe {
        let trampoline = trampoline.as_ptr();
        enter(
            inner.cast(),
            trampoline,
            callee,
            caller.as_ptr(),
            code,
            args,
        )
    };
    store
        .inner_mut()
        .tell_call_hook(CallHook::ReturningFromWasm)?;
    result
}

/// Calls the start function of a new instance, if it has one.
pub(crate) fn start<T>(store: &mut StoreContextMut<'_, T>, instance: InstanceId) -> Result<()> {
    let data = store.opaque().instance(instance);
    let wasm = data.module().wasm();
    let Some(index) = wasm.start else {
        return Ok(());
    };
    // A function of the host's is called by the instance.
    let caller = data.vmctx();
    let type_id = data.module().inner().type_ids[wasm.functions[index].index()];
    let (code, callee) = match wasm.defined_func(index) {
        Some(defined) => (
            data.module().inner().entry[defined.index()].load(Ordering::Acquire),
            data.vmctx().as_ptr(),
        ),
        None => {
            let offset = data.module().env().offsets.func_import(index);
            // SAFETY: the offsets are those of this module's contexts; a cell lives as long as
            // its function.
            unsafe {
                let import = &*data
                    .vmctx()
                    .as_ptr()
                    .byte_add(offset as usize)
                    .cast::<bimetal_abi::VmFuncImport>();
                ((*import.cell).load(Ordering::Acquire), import.vmctx)
            }
        }
    };
    let engine = store.opaque().engine().clone();
    let trampoline = engine.host_to_wasm(type_id)?;
    let mut none = [ValRaw::default()];
    // SAFETY: as for `invoke`; a start function has no parameters or results.
    unsafe { enter_and_tell(store, trampoline, callee, caller, code, none.as_mut_ptr()) }
}

/// What a lazy stub calls: compiles the function and says where it is.
///
/// # Safety
/// Called by the stub, from wasm or its entry trampoline, with the callee's context.
pub(super) unsafe extern "C" fn resolve_lazy(vmctx: *mut VmContextHeader, index: u32) -> *const u8 {
    // SAFETY: the stub's promise; the store is ours while wasm waits.
    let store = unsafe { StoreOpaque::from_context((*vmctx).store) };
    // SAFETY: as above.
    let instance = unsafe { InstanceData::id_of(vmctx) };
    let Some(instance) = instance else {
        // Only contexts of instances have entry tables that lead here.
        std::process::abort();
    };
    let module = store.instance(instance).module().clone();
    let func = DefinedFuncIndex::from_u32(index);
    let wasm = module.wasm();
    let raise = bimetal_sys::raise_stub(return_area(wasm.func_type(wasm.func_index(func))));
    // What a panic could leave in disorder is guarded by locks that say so.
    let compiled = std::panic::catch_unwind(AssertUnwindSafe(|| {
        crate::tier::compile_now(module.inner(), func)
    }));
    match compiled {
        Ok(Ok(code)) => code.as_ptr(),
        Ok(Err(error)) => {
            store.set_pending(Pending::Error(error.with_backtrace(stack_backtrace())));
            raise
        }
        Err(panic) => {
            store.set_pending(Pending::Panic(panic));
            raise
        }
    }
}

/// The results that [`invoke`] left in `raw`, which are of these types.
pub(crate) fn read_results<R: WasmResults>(store: &StoreOpaque, raw: &[ValRaw]) -> R {
    // SAFETY: wasm of this store wrote them; the caller has checked the function's type.
    unsafe { R::read(raw, store) }
}

/// The same, of types known at run time.
pub(crate) fn val_from_results(
    store: &StoreOpaque,
    types: &[ValType],
    raw: &[ValRaw],
    results: &mut [Val],
) {
    for ((ty, raw), result) in types.iter().zip(raw).zip(results) {
        // SAFETY: as for `read_results`.
        *result = unsafe { val_from_raw(store, ty, raw) };
    }
}
