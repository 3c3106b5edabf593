//! What generated code calls.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bimetal_abi::builtins::RAISED;
use bimetal_abi::{TrapCode, VmContextHeader};

use super::super::activation::stack_backtrace;
use super::super::builtins::{Scope, set_trap};
use super::super::store::{Pending, StoreOpaque};
use crate::error::Result;

/// Does something that may ask the store's limiter, the embedder's code: its panic must not unwind
/// into wasm.
///
/// # Safety
/// `vmctx` is the context of wasm code that has just called a builtin, and no reference to its store
/// is in use.
unsafe fn allocating(
    vmctx: *mut VmContextHeader,
    make: impl FnOnce(*mut StoreOpaque) -> Result<u32>,
) -> i64 {
    // SAFETY: the caller's promise.
    let store: *mut StoreOpaque = unsafe { (*(*vmctx).store).store.cast() };
    let pending = match catch_unwind(AssertUnwindSafe(|| make(store))) {
        Ok(Ok(reference)) => return i64::from(reference),
        Ok(Err(error)) => Pending::Error(error.with_backtrace(stack_backtrace())),
        Err(panic) => Pending::Panic(panic),
    };
    // SAFETY: the caller's promise.
    unsafe { (*store).set_pending(pending) };
    RAISED
}

/// # Safety
/// `vmctx` is the context of wasm code that has just called a builtin.
unsafe fn status(
    vmctx: *mut VmContextHeader,
    act: impl FnOnce(&mut Scope<'_>) -> std::result::Result<(), TrapCode>,
) -> i32 {
    // SAFETY: the caller's promise.
    let mut scope = unsafe { Scope::new(vmctx) };
    match act(&mut scope) {
        Ok(()) => 0,
        Err(code) => {
            set_trap(scope.store, code);
            1
        }
    }
}

pub(in crate::vm) unsafe extern "C" fn gc_alloc(
    vmctx: *mut VmContextHeader,
    type_id: i32,
    kind: i32,
    _size: i32,
) -> i64 {
    // SAFETY: called by wasm code, with a type of its module.
    unsafe {
        allocating(vmctx, |store| {
            StoreOpaque::gc_new(store, type_id as u32, kind as u8)
        })
    }
}

pub(in crate::vm) unsafe extern "C" fn gc_array(
    vmctx: *mut VmContextHeader,
    type_id: i32,
    length: i32,
) -> i64 {
    // SAFETY: as above.
    unsafe {
        allocating(vmctx, |store| {
            StoreOpaque::gc_new_array(store, type_id as u32, length as u32)
        })
    }
}

pub(in crate::vm) unsafe extern "C" fn gc_barrier(vmctx: *mut VmContextHeader) {
    // SAFETY: called by wasm code, which has written the arguments.
    let (store, [object, offset]) = unsafe {
        let context = (*vmctx).store;
        (StoreOpaque::from_context(context), (*context).arguments)
    };
    store.gc_barrier(object as u32, offset as u32);
}

pub(in crate::vm) unsafe extern "C" fn array_fill(
    vmctx: *mut VmContextHeader,
    array: i32,
    start: i32,
    low: i64,
    high: i64,
    length: i32,
) -> i32 {
    let value = (low as u64 as u128 | (high as u64 as u128) << 64).to_le_bytes();
    // SAFETY: called by wasm code.
    unsafe {
        status(vmctx, |scope| {
            let store = &mut *scope.store;
            store.array_fill(array as u32, start as u32, value, length as u32)
        })
    }
}

pub(in crate::vm) unsafe extern "C" fn array_copy(
    vmctx: *mut VmContextHeader,
    to: i32,
    to_start: i32,
    from: i32,
    from_start: i32,
    length: i32,
) -> i32 {
    let to = (to as u32, to_start as u32);
    let from = (from as u32, from_start as u32);
    // SAFETY: called by wasm code.
    unsafe {
        status(vmctx, |scope| {
            scope.store.array_copy(to, from, length as u32)
        })
    }
}

/// # Safety
/// As for [`allocating`].
unsafe fn new_segment(
    vmctx: *mut VmContextHeader,
    ty: i32,
    from: (i32, i32),
    length: i32,
    elem: bool,
) -> i64 {
    // SAFETY: the caller's promise; the scope's borrow ends here.
    let instance = unsafe { Scope::new(vmctx).instance };
    let from = (from.0 as u32, from.1 as u32);
    // SAFETY: the caller's promise.
    unsafe {
        allocating(vmctx, |store| {
            let (ty, length) = (ty as u32, length as u32);
            StoreOpaque::array_new_segment(store, instance, ty, from, length, elem)
        })
    }
}

pub(in crate::vm) unsafe extern "C" fn array_new_data(
    vmctx: *mut VmContextHeader,
    ty: i32,
    segment: i32,
    offset: i32,
    length: i32,
) -> i64 {
    // SAFETY: called by wasm code.
    unsafe { new_segment(vmctx, ty, (segment, offset), length, false) }
}

pub(in crate::vm) unsafe extern "C" fn array_new_elem(
    vmctx: *mut VmContextHeader,
    ty: i32,
    segment: i32,
    offset: i32,
    length: i32,
) -> i64 {
    // SAFETY: called by wasm code.
    unsafe { new_segment(vmctx, ty, (segment, offset), length, true) }
}

pub(in crate::vm) unsafe extern "C" fn array_init_data(
    vmctx: *mut VmContextHeader,
    _ty: i32,
    array: i32,
    start: i32,
    segment: i32,
    offset: i32,
    length: i32,
) -> i32 {
    let to = (array as u32, start as u32);
    let from = (segment as u32, offset as u32);
    // SAFETY: called by wasm code.
    unsafe {
        status(vmctx, |scope| {
            let (store, instance) = (&mut *scope.store, scope.instance);
            store.array_init_data(instance, to, from, length as u32)
        })
    }
}

pub(in crate::vm) unsafe extern "C" fn array_init_elem(
    vmctx: *mut VmContextHeader,
    _ty: i32,
    array: i32,
    start: i32,
    segment: i32,
    offset: i32,
    length: i32,
) -> i32 {
    let to = (array as u32, start as u32);
    let from = (segment as u32, offset as u32);
    // SAFETY: called by wasm code.
    unsafe {
        status(vmctx, |scope| {
            let (store, instance) = (&mut *scope.store, scope.instance);
            store.array_init_elem(instance, to, from, length as u32)
        })
    }
}
