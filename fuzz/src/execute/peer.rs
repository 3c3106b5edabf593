//! Another runtime, Wasmtime, as the driver sees it.
//!
//! It shares Cranelift with this one, so what that does wrong is not seen; all between wasm and
//! Cranelift, and all of the runtime, is another's. Its code is not optimised, to be far from ours.

use wasmtime::{
    AsContextMut, Caller, Config, Engine, Error, Extern, ExternRef, ExternType, Func, FuncType,
    Global, HeapType, Instance, Memory, Module, OptLevel, Ref, Result, Rooted, SharedMemory, Store,
    StoreContextMut, Table, Trap, Val, ValType,
};

use super::OVERFLOW;

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

fn host_function(store: &mut Store<Host>, index: usize, ty: &FuncType) -> Func {
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
        Trap::AtomicWaitNonShared => "expected shared memory",
        Trap::BadSignature => "indirect call type mismatch",
        other => return Err(format!("the peer fails: {other}")),
    };
    Ok(text.to_owned())
}
