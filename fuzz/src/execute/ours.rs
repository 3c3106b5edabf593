//! This runtime, as the driver sees it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bimetal::middleware::InstructionCounter;
use bimetal::{
    AnyRef, ArrayRef, ArrayRefPre, ArrayType, AsContext, AsContextMut, Caller, Engine, Error,
    ErrorKind, ExnRef, ExnRefPre, ExnType, Extern, ExternRef, ExternType, FieldType, Func,
    FuncType, Global, HeapType, I31, Instance, Memory, Module, Mutability, OwnedRooted, Ref,
    RefType, Result, RootScope, SharedMemory, StorageType, Store, StoreContextMut, StructRef,
    StructRefPre, StructType, Table, TableType, Tag, TagType, ThrownException, Trap,
    UpdateDeadline, Val, ValType,
};

use super::{FULL, OVERFLOW, Scenario};
use crate::Notes;

/// References as the driver has them.
type AnyRooted = AnyRef;
type ExnRooted = ExnRef;

/// A handle of one that was kept, which is there as long as the store.
macro_rules! rooted {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => panic!("a value was not kept: {error:#}"),
        }
    };
}

#[path = "driver.rs"]
pub(crate) mod driver;

use driver::{Host, wait};

fn extern_number<T: 'static>(store: StoreContextMut<'_, T>, value: &ExternRef) -> Option<u64> {
    value.data(&store).ok()?.downcast_ref().copied()
}

fn contents(memory: &SharedMemory) -> Vec<u8> {
    let mut bytes = vec![0; memory.data_size()];
    // Memories do not shrink.
    let _ = memory.read(0, &mut bytes);
    bytes
}

/// The module, compiled now or from an image of itself.
#[allow(unsafe_code, reason = "an image that was made here")]
fn load(engine: &Engine, wasm: &[u8], scenario: Scenario) -> Result<Module> {
    let module = Module::new(engine, wasm)?;
    if !scenario.image {
        return Ok(module);
    }
    let image = module.serialize()?;
    // SAFETY: the bytes are those that `serialize` gave.
    unsafe { Module::deserialize(engine, image) }
}

/// At a deadline there may be references in registers, and the host does as it likes.
fn prepare(store: &mut Store<Host>) {
    if !store.data().scenario.interrupted {
        return;
    }
    store.epoch_deadline_callback(|mut store| {
        let host = store.data_mut();
        host.interruptions += 1;
        let (scenario, times) = (host.scenario, host.interruptions);
        let field = FieldType::new(Mutability::Var, StorageType::ValType(ValType::ANYREF));
        let ty = StructType::new(store.engine(), [field])?;
        let allocator = StructRefPre::new(&mut store, ty);
        let small = AnyRef::from_i31(&mut store, I31::wrapping_u32(times as u32));
        // There may be no room.
        let _ = StructRef::new(&mut store, &allocator, &[Val::AnyRef(Some(small))]);
        let _ = ExternRef::new(&mut store, times);
        if times.is_multiple_of(2) {
            store.gc();
        }
        Ok(match scenario.asynchronous {
            true => UpdateDeadline::Yield(1),
            false => UpdateDeadline::Continue(1),
        })
    });
}

fn note_collections(store: &Store<Host>, notes: &mut Notes) {
    let stats = store.gc_stats();
    notes.add("collections", stats.minor_collections);
    notes.add("collections: whole cycles", stats.full_cycles);
    notes.add("collections: bytes moved", stats.copied_bytes);
}

fn collect(store: &mut StoreContextMut<'_, Host>) {
    store.gc();
}

fn instantiate(store: &mut Store<Host>, module: &Module, imports: &[Extern]) -> Result<Instance> {
    match store.data().scenario.asynchronous {
        false => Instance::new(store, module, imports),
        true => {
            let (instance, times) = wait(Instance::new_async(&mut *store, module, imports));
            store.data_mut().suspended += times;
            instance
        }
    }
}

fn call(store: &mut Store<Host>, func: &Func, params: &[Val], results: &mut [Val]) -> Result<()> {
    match store.data().scenario.asynchronous {
        false => func.call(store, params, results),
        true => {
            // It may be that the engine counts none.
            let interval = 1 + store.data_mut().pauses.below(200);
            let _ = store.fuel_async_yield_interval(Some(interval));
            let (outcome, times) = wait(func.call_async(&mut *store, params, results));
            store.data_mut().suspended += times;
            outcome
        }
    }
}

/// A call by a host function: between asynchronous ones there must be no other.
async fn call_inside(
    caller: &mut Caller<'_, Host>,
    func: Func,
    params: &[Val],
    results: &mut [Val],
) -> Result<()> {
    match caller.data().scenario.asynchronous {
        false => func.call(caller, params, results),
        true => func.call_async(caller, params, results).await,
    }
}

/// Is pending once.
fn pause() -> impl Future<Output = ()> + Send {
    let mut paused = false;
    poll_fn(move |_| match std::mem::replace(&mut paused, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
}

fn host_function(store: impl AsContextMut<Data = Host>, index: usize, ty: &FuncType) -> Func {
    let types: Arc<[ValType]> = ty.results().collect();
    if store.as_context().data().scenario.asynchronous {
        return Func::new_async(store, ty.clone(), move |mut caller, params, results| {
            let types = types.clone();
            Box::new(async move {
                for _ in 0..caller.data_mut().pauses.below(3) {
                    pause().await;
                }
                driver::serve(&mut caller, index, params, &types, results).await
            })
        });
    }
    Func::new(store, ty.clone(), move |mut caller, params, results| {
        wait(driver::serve(&mut caller, index, params, &types, results)).0
    })
}

fn take_count(store: &mut Store<Host>, instance: &Instance) -> Result<u64, String> {
    let count = InstructionCounter::count(instance, &mut *store);
    let set = InstructionCounter::set_count(instance, store, 0);
    set.and(count).map_err(|error| format!("{error:#}"))
}

/// The same for the same failure on all configurations; an error if it is none of a program's.
fn failure(error: &Error) -> Result<String, String> {
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return Ok(match trap {
            Trap::StackOverflow => OVERFLOW.into(),
            Trap::AllocationTooLarge => FULL.into(),
            trap => trap.message().into(),
        });
    }
    match error.kind() {
        ErrorKind::Other => Ok(format!("host error: {error}")),
        kind => Err(format!("a failure that should not be, {kind:?}: {error:#}")),
    }
}
