//! The functions that generated code calls, and their table.
//!
//! Each is entered through a stub of `bimetal-sys` that records where wasm was left. A builtin
//! that fails leaves its error in the store and says so by its result; generated code then calls
//! `raise`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use bimetal_abi::builtins::RAISED;
use bimetal_abi::{TrapCode, VmContextHeader};
use bimetal_wasm::{DataIndex, ElemIndex, FuncIndex, MemoryIndex, TableIndex};

use super::activation::stack_backtrace;
use super::call_hook::{calling_host, returning_from_host};
use super::exceptions::{resume, throw_ref};
use super::gc::builtins::{
    array_copy, array_fill, array_init_data, array_init_elem, array_new_data, array_new_elem,
    gc_alloc, gc_array, gc_barrier,
};
use super::instance::{InstanceData, InstanceId};
use super::interrupt::{interrupt, out_of_fuel, sleep};
use super::shared::{self, Growth};
use super::store::{Pending, StoreOpaque};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Request;

/// The builtins' own view of where they are.
pub(super) struct Scope<'a> {
    pub(super) store: &'a mut StoreOpaque,
    pub(super) instance: InstanceId,
}

impl Scope<'_> {
    /// # Safety
    /// `vmctx` is the context of wasm code that has just called a builtin.
    pub(super) unsafe fn new<'a>(vmctx: *mut VmContextHeader) -> Scope<'a> {
        // SAFETY: the caller's promise; wasm code always has an instance.
        unsafe {
            Scope {
                store: StoreOpaque::from_context((*vmctx).store),
                instance: InstanceData::id_of(vmctx).unwrap_or(InstanceId::from_u32(0)),
            }
        }
    }

    /// 0 for `Some`; else the trap is left in the store.
    fn status(&mut self, done: Option<()>, code: TrapCode) -> i32 {
        match done {
            Some(()) => 0,
            None => {
                set_trap(self.store, code);
                1
            }
        }
    }

    fn memory(&self, index: u32) -> super::MemoryId {
        self.store.instance(self.instance).memories[MemoryIndex::from_u32(index)]
    }

    fn table(&self, index: u32) -> super::TableId {
        self.store.instance(self.instance).tables[TableIndex::from_u32(index)]
    }
}

#[cold]
pub(super) fn set_trap(store: &mut StoreOpaque, code: TrapCode) {
    let error = Error::new(code).with_backtrace(stack_backtrace());
    store.set_pending(Pending::Error(error));
}

/// The Rust type of a builtin's parameter or result.
macro_rules! rust_type {
    (I32) => {
        i32
    };
    (I64) => {
        i64
    };
    (F32) => {
        f32
    };
    (F64) => {
        f64
    };
    (Nothing) => {
        ()
    };
    (Preserved) => {
        ()
    };
    (Status) => {
        i32
    };
    (ValueOrRaise) => {
        i64
    };
    (Never) => {
        ()
    };
}

/// The stub of a builtin.
macro_rules! stub {
    (Preserved $name:ident) => {
        bimetal_sys::preserving_builtin_stub!(pub(super) $name => super::$name);
    };
    ($ret:ident $name:ident) => {
        bimetal_sys::builtin_stub!(pub(super) $name => super::$name);
    };
}

/// Declares the stub of each builtin and checks its function's type against the table.
macro_rules! stubs {
    ($($doc:literal $name:ident($($param:ident),*) -> $ret:ident;)*) => {
        mod stubs {
            $(stub!($ret $name);)*
        }

        const _: () = {
            $(let _: unsafe extern "C" fn(*mut VmContextHeader, $(rust_type!($param)),*)
                -> rust_type!($ret) = $name;)*
        };

        #[repr(transparent)]
        struct Entries([*const u8; bimetal_abi::Builtin::ALL.len()]);

        // SAFETY: addresses of functions.
        unsafe impl Sync for Entries {}

        static ENTRIES: Entries = Entries([$(stubs::$name as *const u8),*]);
    };
}

bimetal_abi::for_each_builtin!(stubs);

/// The table that `vmctx.builtins` points to.
pub(super) fn table() -> *const *const u8 {
    ENTRIES.0.as_ptr()
}

pub(super) unsafe extern "C" fn raise(vmctx: *mut VmContextHeader) {
    // SAFETY: called by wasm code, so there is an entry to resume at; no Rust frame but this one,
    // which owns nothing, is between.
    unsafe { resume((*vmctx).store) }
}

pub(super) unsafe extern "C" fn trap(vmctx: *mut VmContextHeader, code: i32) {
    {
        // SAFETY: called by wasm code.
        let scope = unsafe { Scope::new(vmctx) };
        let code = u8::try_from(code).ok().and_then(TrapCode::from_u8);
        set_trap(scope.store, code.unwrap_or(TrapCode::Unreachable));
    }
    // SAFETY: as for `raise`.
    unsafe { bimetal_sys::resume_at_entry((*vmctx).store) }
}

/// The result of what may fail; or `RAISED`, and the error or panic is in the store.
///
/// # Safety
/// `vmctx` is the context of wasm code that has just called a builtin, and no reference to its
/// store is in use but by `f`.
unsafe fn value_or_raise(vmctx: *mut VmContextHeader, f: impl FnOnce() -> Result<i64>) -> i64 {
    // The embedder's code may be called, and panic, which must not unwind into wasm.
    let pending = match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(result)) => {
            debug_assert_ne!(result, RAISED);
            return result;
        }
        Ok(Err(error)) => Pending::Error(error.with_backtrace(stack_backtrace())),
        Err(panic) => Pending::Panic(panic),
    };
    // SAFETY: the caller's promise; `f` is over.
    unsafe { StoreOpaque::from_context((*vmctx).store) }.set_pending(pending);
    RAISED
}

/// Grows something if the store's limiter lets it: the old size, -1, or `RAISED`. If another thread
/// grows it meanwhile, the limiter is asked again.
///
/// # Safety
/// `vmctx` is the context of wasm code that has just called a builtin, and no reference to its
/// store is in use.
unsafe fn grow(
    vmctx: *mut VmContextHeader,
    request: impl Fn(&StoreOpaque) -> Option<Request>,
    failed: Request,
    grow: impl Fn(&mut StoreOpaque, Request) -> Growth,
) -> i64 {
    let grow = || loop {
        // SAFETY: the caller's promise; each borrow of the store ends with its line.
        unsafe {
            let context = (*vmctx).store;
            let Some(request) = request(StoreOpaque::from_context(context)) else {
                return Ok(-1);
            };
            if !StoreOpaque::ask_limiter(context, request)? {
                return Ok(-1);
            }
            match grow(StoreOpaque::from_context(context), request) {
                Growth::Old(old) => return Ok(old as i64),
                Growth::Raced => {}
                Growth::Failed => {
                    StoreOpaque::ask_limiter(context, failed)?;
                    let engine = StoreOpaque::from_context(context).engine();
                    if request.is_within_type() && engine.config().deterministic {
                        return Err(Error::of(
                            ErrorKind::Limit,
                            "the machine cannot grow what its type and limits allow to grow",
                        ));
                    }
                    return Ok(-1);
                }
            }
        }
    };
    // SAFETY: the caller's promise.
    unsafe { value_or_raise(vmctx, grow) }
}

pub(super) unsafe extern "C" fn memory_grow(
    vmctx: *mut VmContextHeader,
    memory: i32,
    delta: i64,
) -> i64 {
    // SAFETY: called by wasm code; the scope's borrow ends here.
    let memory = unsafe { Scope::new(vmctx) }.memory(memory as u32);
    // SAFETY: called by wasm code, and no scope is alive.
    unsafe {
        grow(
            vmctx,
            |store| store.memory_request(memory, delta as u64),
            Request::MemoryFailed,
            |store, request| {
                let from = match request {
                    Request::Memory(from, ..) => Some(from),
                    _ => None,
                };
                store.memory_mut(memory).grow_from(delta as u64, from)
            },
        )
    }
}

pub(super) unsafe extern "C" fn memory_copy(
    vmctx: *mut VmContextHeader,
    dst: i32,
    src: i32,
    dst_at: i64,
    src_at: i64,
    len: i64,
) -> i32 {
    // SAFETY: called by wasm code.
    let mut scope = unsafe { Scope::new(vmctx) };
    let (dst, src) = (scope.memory(dst as u32), scope.memory(src as u32));
    let done = scope
        .store
        .memory_copy(dst, src, dst_at as u64, src_at as u64, len as u64);
    scope.status(done, TrapCode::MemoryOutOfBounds)
}

pub(super) unsafe extern "C" fn memory_fill(
    vmctx: *mut VmContextHeader,
    memory: i32,
    at: i64,
    byte: i32,
    len: i64,
) -> i32 {
    // SAFETY: called by wasm code.
    let mut scope = unsafe { Scope::new(vmctx) };
    let memory = scope.memory(memory as u32);
    let memory = scope.store.memory_mut(memory);
    let done = memory.fill(at as u64, byte as u8, len as u64);
    scope.status(done, TrapCode::MemoryOutOfBounds)
}

pub(super) unsafe extern "C" fn memory_init(
    vmctx: *mut VmContextHeader,
    memory: i32,
    segment: i32,
    dst: i64,
    src: i32,
    len: i32,
) -> i32 {
    // SAFETY: called by wasm code.
    let mut scope = unsafe { Scope::new(vmctx) };
    let done = scope.store.memory_init(
        scope.instance,
        MemoryIndex::from_u32(memory as u32),
        DataIndex::from_u32(segment as u32),
        dst as u64,
        u64::from(src as u32),
        u64::from(len as u32),
    );
    scope.status(done, TrapCode::MemoryOutOfBounds)
}

pub(super) unsafe extern "C" fn data_drop(vmctx: *mut VmContextHeader, segment: i32) {
    // SAFETY: called by wasm code.
    let scope = unsafe { Scope::new(vmctx) };
    let segment = DataIndex::from_u32(segment as u32);
    scope.store.data_drop(scope.instance, segment);
}

pub(super) unsafe extern "C" fn table_grow(
    vmctx: *mut VmContextHeader,
    table: i32,
    delta: i64,
    init: i64,
) -> i64 {
    // SAFETY: called by wasm code; the scope's borrow ends here.
    let table = unsafe { Scope::new(vmctx) }.table(table as u32);
    // SAFETY: called by wasm code, and no scope is alive.
    unsafe {
        grow(
            vmctx,
            |store| store.table_request(table, delta as u64),
            Request::TableFailed,
            |store, _| {
                let grown = store.table_mut(table).grow_raw(delta as u64, init as u64);
                grown.map_or(Growth::Failed, Growth::Old)
            },
        )
    }
}

pub(super) unsafe extern "C" fn table_fill(
    vmctx: *mut VmContextHeader,
    table: i32,
    at: i64,
    value: i64,
    len: i64,
) -> i32 {
    // SAFETY: called by wasm code.
    let mut scope = unsafe { Scope::new(vmctx) };
    let table = scope.table(table as u32);
    let table = scope.store.table_mut(table);
    let done = table.fill_raw(at as u64, value as u64, len as u64);
    scope.status(done, TrapCode::TableOutOfBounds)
}

pub(super) unsafe extern "C" fn table_copy(
    vmctx: *mut VmContextHeader,
    dst: i32,
    src: i32,
    dst_at: i64,
    src_at: i64,
    len: i64,
) -> i32 {
    // SAFETY: called by wasm code.
    let mut scope = unsafe { Scope::new(vmctx) };
    let (dst, src) = (scope.table(dst as u32), scope.table(src as u32));
    let done = scope
        .store
        .table_copy(dst, src, dst_at as u64, src_at as u64, len as u64);
    scope.status(done, TrapCode::TableOutOfBounds)
}

pub(super) unsafe extern "C" fn table_init(
    vmctx: *mut VmContextHeader,
    table: i32,
    segment: i32,
    dst: i64,
    src: i32,
    len: i32,
) -> i32 {
    // SAFETY: called by wasm code.
    let mut scope = unsafe { Scope::new(vmctx) };
    let done = scope.store.table_init(
        scope.instance,
        TableIndex::from_u32(table as u32),
        ElemIndex::from_u32(segment as u32),
        dst as u64,
        u64::from(src as u32),
        u64::from(len as u32),
    );
    scope.status(done, TrapCode::TableOutOfBounds)
}

pub(super) unsafe extern "C" fn elem_drop(vmctx: *mut VmContextHeader, segment: i32) {
    // SAFETY: called by wasm code.
    let scope = unsafe { Scope::new(vmctx) };
    let segment = ElemIndex::from_u32(segment as u32);
    scope.store.elem_drop(scope.instance, segment);
}

pub(super) unsafe extern "C" fn table_element(vmctx: *mut VmContextHeader) {
    // SAFETY: called by wasm code, which has written the arguments.
    let (scope, [table, index]) = unsafe { (Scope::new(vmctx), (*(*vmctx).store).arguments) };
    let table = scope.table(table as u32);
    scope.store.resolve(table, index);
}

pub(super) unsafe extern "C" fn func_ref(vmctx: *mut VmContextHeader) {
    // SAFETY: as above.
    let (scope, [func, _]) = unsafe { (Scope::new(vmctx), (*(*vmctx).store).arguments) };
    let func = FuncIndex::from_u32(func as u32);
    scope.store.instance(scope.instance).func(func);
}

/// The address that an instruction's operand and offset make; past all memories if it is past all
/// addresses.
fn address(index: i64, offset: i64) -> u64 {
    let sum = (index as u64).checked_add(offset as u64);
    // What is aligned or not stays so.
    sum.unwrap_or((u64::MAX - 15) | (index.wrapping_add(offset) as u64 & 7))
}

pub(super) unsafe extern "C" fn memory_atomic_notify(
    vmctx: *mut VmContextHeader,
    memory: i32,
    index: i64,
    offset: i64,
    count: i32,
) -> i64 {
    let notify = || {
        // SAFETY: called by wasm code.
        let scope = unsafe { Scope::new(vmctx) };
        let memory = scope.store.memory(scope.memory(memory as u32));
        let at = address(index, offset);
        Ok(match memory.shared() {
            Some(shared) => shared.notify(shared.word(at, 4)?, count as u32).into(),
            // Nobody waits at it.
            None => {
                shared::word(at, 4, memory.len())?;
                0
            }
        })
    };
    // SAFETY: called by wasm code.
    unsafe { value_or_raise(vmctx, notify) }
}

pub(super) unsafe extern "C" fn memory_atomic_wait32(
    vmctx: *mut VmContextHeader,
    memory: i32,
    index: i64,
    offset: i64,
    expected: i32,
    timeout: i64,
) -> i64 {
    let expected = u64::from(expected as u32);
    // SAFETY: called by wasm code.
    unsafe { wait(vmctx, memory, address(index, offset), 4, expected, timeout) }
}

pub(super) unsafe extern "C" fn memory_atomic_wait64(
    vmctx: *mut VmContextHeader,
    memory: i32,
    index: i64,
    offset: i64,
    expected: i64,
    timeout: i64,
) -> i64 {
    let expected = expected as u64;
    // SAFETY: called by wasm code.
    unsafe { wait(vmctx, memory, address(index, offset), 8, expected, timeout) }
}

/// Waits at a word of so many bytes: 0 if notified, 1 if it is not what is expected, 2 if the
/// nanoseconds are over, of which there are endlessly many below 0.
///
/// # Safety
/// As for [`value_or_raise`].
unsafe fn wait(
    vmctx: *mut VmContextHeader,
    memory: i32,
    at: u64,
    size: u8,
    expected: u64,
    timeout: i64,
) -> i64 {
    let wait = || {
        // SAFETY: called by wasm code; the scope's borrow ends with the block.
        let (context, shared) = unsafe {
            let scope = Scope::new(vmctx);
            let memory = scope.store.memory(scope.memory(memory as u32));
            if !at.is_multiple_of(size.into()) {
                return Err(Error::new(TrapCode::HeapMisaligned));
            }
            let Some(shared) = memory.shared() else {
                return Err(Error::new(TrapCode::AtomicWaitNonShared));
            };
            ((*vmctx).store, shared.clone())
        };
        let word = shared.word(at, size)?;
        let time = u64::try_from(timeout).ok().map(Duration::from_nanos);
        let until = time.and_then(|time| Instant::now().checked_add(time));
        let Some(waiting) = shared.enter(word, expected) else {
            return Ok(1);
        };
        // SAFETY: called by wasm code, and no reference to the store is in use.
        match unsafe { sleep(context, &waiting, until) }? {
            true => Ok(0),
            false => Ok(2),
        }
    };
    // SAFETY: the caller's promise.
    unsafe { value_or_raise(vmctx, wait) }
}

/// Rounding, where the processor has no instruction for it. A NaN result is quiet, as the
/// specification wants; the C library may pass a signalling one on.
macro_rules! rounding {
    ($($name:ident($ty:ident) = $method:ident;)*) => {
        $(pub(super) unsafe extern "C" fn $name(_vmctx: *mut VmContextHeader, x: $ty) -> $ty {
            let rounded = x.$method();
            if rounded.is_nan() { rounded + rounded } else { rounded }
        })*
    };
}

rounding! {
    ceil_f32(f32) = ceil;
    ceil_f64(f64) = ceil;
    floor_f32(f32) = floor;
    floor_f64(f64) = floor;
    trunc_f32(f32) = trunc;
    trunc_f64(f64) = trunc;
    nearest_f32(f32) = round_ties_even;
    nearest_f64(f64) = round_ties_even;
}
