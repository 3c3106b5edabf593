//! Another runtime, Wasmtime, as the driver sees it.
//!
//! It shares Cranelift with this one, so what that does wrong is not seen; all between wasm and
//! Cranelift, and all of the runtime, is another's. Its code is not optimised, to be far from ours.

use wasmtime::{
    AnyRef, ArrayRef, ArrayRefPre, ArrayType, AsContext, AsContextMut, Caller, Config, Engine,
    Error, ExnRef, ExnRefPre, ExnType, Extern, ExternRef, ExternType, FieldType, Func, FuncType,
    GcHeapOutOfMemory, Global, HeapType, I31, Instance, Memory, Module, Mutability, OptLevel,
    OwnedRooted, Ref, RefType, Result, RootScope, Rooted, SharedMemory, StorageType, Store,
    StoreContextMut, StructRef, StructRefPre, StructType, Table, TableType, Tag, TagType,
    ThrownException, Trap, Val, ValType,
};

use super::{FULL, HEAP, OVERFLOW, Scenario};
use crate::Notes;

/// References as the driver has them.
type AnyRooted = Rooted<AnyRef>;
type ExnRooted = Rooted<ExnRef>;

/// A handle of one that was kept.
macro_rules! rooted {
    ($value:expr) => {
        $value
    };
}

#[path = "driver.rs"]
pub(crate) mod driver;

use driver::{Host, wait};

/// An engine that does what ours do.
///
/// # Errors
/// If there is no compiler for this machine.
pub(crate) fn engine() -> Result<Engine, String> {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::None)
        .cranelift_nan_canonicalization(true)
        .memory_init_cow(false)
        .shared_memory(true)
        .wasm_gc(true)
        .wasm_function_references(true)
        .wasm_exceptions(true)
        .wasm_custom_page_sizes(true)
        .wasm_wide_arithmetic(true)
        .wasm_memory64(true)
        .wasm_multi_memory(true)
        .wasm_extended_const(true)
        .wasm_tail_call(true)
        .gc_heap_reservation(HEAP)
        .gc_heap_reservation_for_growth(0)
        .gc_heap_may_move(false)
        .generate_address_map(false)
        .wasm_backtrace_max_frames(None);
    Engine::new(&config).map_err(|error| format!("{error:#}"))
}

fn extern_number<T: 'static>(
    store: StoreContextMut<'_, T>,
    value: &Rooted<ExternRef>,
) -> Option<u64> {
    value.data(&store).ok()??.downcast_ref().copied()
}

#[allow(unsafe_code, reason = "the peer gives cells only")]
fn contents(memory: &SharedMemory) -> Vec<u8> {
    let cells = memory.data().iter();
    // SAFETY: no wasm is running, and there is one thread.
    cells.map(|cell| unsafe { *cell.get() }).collect()
}

fn load(engine: &Engine, wasm: &[u8], _: Scenario) -> Result<Module> {
    Module::new(engine, wasm)
}

fn prepare(_: &mut Store<Host>) {}

fn note_collections(_: &Store<Host>, _: &mut Notes) {}

fn collect(store: &mut StoreContextMut<'_, Host>) {
    // It fails if it is asked for room only.
    let _ = store.gc(None);
}

fn instantiate(store: &mut Store<Host>, module: &Module, imports: &[Extern]) -> Result<Instance> {
    Instance::new(store, module, imports)
}

fn call(store: &mut Store<Host>, func: &Func, params: &[Val], results: &mut [Val]) -> Result<()> {
    func.call(store, params, results)
}

async fn call_inside(
    caller: &mut Caller<'_, Host>,
    func: Func,
    params: &[Val],
    results: &mut [Val],
) -> Result<()> {
    func.call(caller, params, results)
}

fn host_function(store: impl AsContextMut<Data = Host>, index: usize, ty: &FuncType) -> Func {
    let types: Vec<ValType> = ty.results().collect();
    Func::new(store, ty.clone(), move |mut caller, params, results| {
        wait(driver::serve(&mut caller, index, params, &types, results)).0
    })
}

fn take_count(_: &mut Store<Host>, _: &Instance) -> Result<u64, String> {
    Err("the peer counts nothing".into())
}

/// In our words.
fn failure(error: &Error) -> Result<String, String> {
    if error.is::<GcHeapOutOfMemory<()>>() || error.is::<GcHeapOutOfMemory<u64>>() {
        return Ok(FULL.to_owned());
    }
    let Some(trap) = error.downcast_ref::<Trap>() else {
        return Ok(format!("host error: {error}"));
    };
    let text = match trap {
        Trap::UnreachableCodeReached => "unreachable",
        Trap::MemoryOutOfBounds => "out of bounds memory access",
        Trap::TableOutOfBounds => "out of bounds table access",
        Trap::IndirectCallToNull => "uninitialized element",
        Trap::IntegerDivisionByZero => "integer divide by zero",
        Trap::IntegerOverflow => "integer overflow",
        Trap::BadConversionToInteger => "invalid conversion to integer",
        Trap::StackOverflow => OVERFLOW,
        Trap::HeapMisaligned => "unaligned atomic",
        Trap::AtomicWaitNonSharedMemory => "expected shared memory",
        Trap::BadSignature => "indirect call type mismatch",
        Trap::NullReference => "null reference",
        Trap::ArrayOutOfBounds => "out of bounds array access",
        Trap::CastFailure => "cast failure",
        Trap::AllocationTooLarge => FULL,
        other => return Err(format!("the peer fails: {other}")),
    };
    Ok(text.to_owned())
}
