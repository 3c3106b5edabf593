//! WASI threads: guests that start threads of their own, by `wasi.thread-spawn`.
//!
//! Such a guest imports a shared memory, and exports `wasi_thread_start(thread, argument)`. Each of
//! its threads is an OS thread with a store and an instance of its own; they have the memory in
//! common, and what the guest has open ([`WasiCtx::share`]).
//!
//! The threads live and end together. When the first of them traps, exits or fails, or the main one
//! returns, that is how the program ended, and the others are stopped: those that compute are
//! interrupted, those that wait at the memory or in a call of WASI are woken. Only a call of the
//! embedder's own that does not return can keep one, which is then left behind.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::Builder;
use std::time::{Duration, Instant};

use bimetal::{
    Caller, Context, Engine, Error, ExternType, Instance, InstancePre, InterruptHandle, Linker,
    Module, Result, SharedMemory, Store,
};

use crate::WasiCtx;
use crate::p1::Errno;
use crate::shared::SharedCtx;

const MODULE: &str = "wasi";
const SPAWN: &str = "thread-spawn";
const START: &str = "wasi_thread_start";

/// How many threads a guest may have at a time, unless it is said.
pub const DEFAULT_MAX_THREADS: u32 = 1024;

/// Thread numbers are below this, as the proposal has it; 0 is the main thread.
const THREAD_NUMBERS: u32 = 1 << 29;

/// How long threads have for ending once they were told.
const GRACE: Duration = Duration::from_secs(1);

/// Stack of a thread besides that of wasm.
const HOST_STACK: usize = 1536 << 10;

/// The threads of one guest. `T` is the data of their stores.
///
/// ```
/// use bimetal::{Config, Engine, Linker, Module, Store};
/// use bimetal_wasi::threads::Threads;
/// use bimetal_wasi::{WasiCtx, WasiCtxBuilder};
///
/// // A thread of this guest stores its argument, and the main one waits for that.
/// let text = r#"(module
///     (import "env" "memory" (memory 1 1 shared))
///     (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
///     (func (export "wasi_thread_start") (param $thread i32) (param $argument i32)
///         (i32.atomic.store (i32.const 0) (local.get $argument))
///         (drop (memory.atomic.notify (i32.const 0) (i32.const 1))))
///     (func (export "run") (result i32)
///         (drop (call $spawn (i32.const 42)))
///         (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1)))
///         (i32.atomic.load (i32.const 0)))
///     (export "memory" (memory 0)))"#;
/// let engine = Engine::new(Config::new().epoch_interruption(true))?;
/// let module = Module::new(&engine, text)?;
/// let mut store = Store::new(&engine, WasiCtxBuilder::new().build());
/// let mut linker = Linker::new(&engine);
/// bimetal_wasi::add_to_linker(&mut linker, |wasi: &mut WasiCtx| wasi)?;
/// let threads = Threads::add_to_linker(
///     &mut linker,
///     &mut store,
///     &module,
///     |wasi| wasi,
///     |engine, wasi| Ok(Store::new(engine, wasi.share()?)),
/// )?;
/// let result = threads.run(&mut store, &linker, |store, instance| {
///     instance.get_typed_func::<(), u32>(&mut *store, "run")?.call(store, ())
/// })?;
/// assert_eq!(result, 42);
/// # Ok::<(), bimetal::Error>(())
/// ```
pub struct Threads<T: 'static> {
    group: Arc<Group<T>>,
    get: Get<T>,
}

/// Finds the context.
type Get<T> = Box<dyn Fn(&mut T) -> &mut WasiCtx + Send + Sync>;

/// Makes the store of a new thread.
type Fork<T> = Box<dyn Fn(&Engine, &mut T) -> Result<Store<T>> + Send + Sync>;

/// What the threads know of each other.
struct Group<T: 'static> {
    module: Module,
    fork: Fork<T>,
    max: AtomicU32,
    /// What each thread makes its instance of; known when the program begins.
    pre: OnceLock<InstancePre<T>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// By number; the main thread is among them.
    running: BTreeMap<u32, InterruptHandle>,
    /// The number after the last one given.
    next: u32,
    /// The context that all share.
    ctx: Option<Arc<SharedCtx>>,
    end: Option<End>,
}

/// How the program ended.
enum End {
    /// With the main thread, which says how.
    Main,
    Failed(Error),
    Panicked(Box<dyn Any + Send>),
    /// As one of the others, which was told already.
    Told,
}

/// Whether a module starts threads.
pub fn are_wanted(module: &Module) -> bool {
    let mut imports = module.imports();
    imports.any(|import| import.module() == MODULE && import.name() == SPAWN)
}

impl<T: Send + 'static> Threads<T> {
    /// Defines what a module with threads imports: `wasi.thread-spawn`, and its shared memories. `get`
    /// finds the context in a store's data; `fork` makes the store of a new thread, in which this must
    /// be [shared](WasiCtx::share), and is given the data of the store whose thread starts it.
    ///
    /// # Errors
    /// If the module has no `wasi_thread_start` or imports no shared memory; programs of the engine
    /// cannot be interrupted ([`Config::epoch_interruption`](bimetal::Config::epoch_interruption)); or
    /// a name is defined already.
    pub fn add_to_linker(
        linker: &mut Linker<T>,
        store: &mut Store<T>,
        module: &Module,
        get: impl Fn(&mut T) -> &mut WasiCtx + Send + Sync + 'static,
        fork: impl Fn(&Engine, &mut T) -> Result<Store<T>> + Send + Sync + 'static,
    ) -> Result<Threads<T>> {
        let cannot = |why: &str| Err(Error::msg(format!("the module cannot have threads: {why}")));
        store
            .interrupt_handle()
            .context("threads are ended by interrupting them")?;
        let start = module.get_export(START);
        let start = start.as_ref().and_then(|ty| ty.func().cloned());
        let is_start = |ty: bimetal::FuncType| {
            let is_i32 = |ty| matches!(ty, bimetal::ValType::I32);
            ty.params().len() == 2 && ty.params().all(is_i32) && ty.results().len() == 0
        };
        if !start.is_some_and(is_start) {
            return cannot("it exports no function `wasi_thread_start` from two `i32` to nothing");
        }
        let mut memories = 0;
        for import in module.imports() {
            let ty = match import.ty() {
                ExternType::Memory(ty) if ty.is_shared() => ty,
                _ => continue,
            };
            memories += 1;
            let memory = SharedMemory::new(linker.engine(), ty)?;
            linker.define(&*store, import.module(), import.name(), memory)?;
        }
        if memories == 0 {
            return cannot("it imports no shared memory");
        }
        let group = Arc::new(Group {
            module: module.clone(),
            fork: Box::new(fork),
            max: AtomicU32::new(DEFAULT_MAX_THREADS),
            pre: OnceLock::new(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let weak = Arc::downgrade(&group);
        let spawn = move |mut caller: Caller<'_, T>, argument: u32| match weak.upgrade() {
            Some(group) => group.spawn(&mut caller, argument),
            None => Ok(refusal()),
        };
        linker.func_wrap(MODULE, SPAWN, spawn)?;
        Ok(Threads {
            group,
            get: Box::new(get),
        })
    }

    /// Sets how many threads there may be at a time, the main one not counted. To start more fails,
    /// as when there is no memory.
    #[must_use]
    pub fn max_threads(self, max: u32) -> Threads<T> {
        self.group.max.store(max, Ordering::Relaxed);
        self
    }

    /// Instantiates the module in `store` and runs the program, whose main thread is `main`. The
    /// linker must have all that the module imports.
    ///
    /// # Errors
    /// Of `main`; or of the thread that ended the program, if that is another: then with its number.
    /// If it has exited, there is a [`ProcExit`](crate::ProcExit) in it.
    pub fn run<R>(
        &self,
        store: &mut Store<T>,
        linker: &Linker<T>,
        main: impl FnOnce(&mut Store<T>, Instance) -> Result<R>,
    ) -> Result<R> {
        let group = &self.group;
        let pre = linker.instantiate_pre(&group.module)?;
        let pre = group.pre.get_or_init(|| pre);
        let ctx = (self.get)(store.data_mut()).share();
        let ctx = ctx.context("threads cannot be told to end")?.shared;
        let handle = store.interrupt_handle()?;
        {
            let mut state = group.state();
            state.end = None;
            state.ctx = ctx;
            state.running.insert(0, handle);
        }
        let result = catch_unwind(AssertUnwindSafe(|| {
            let instance = pre.instantiate(&mut *store)?;
            main(store, instance)
        }));
        let (result, panic) = match result {
            Ok(result) => (Some(result), None),
            Err(panic) => (None, Some(panic)),
        };
        group.finish(0, End::Main);
        if let Some(panic) = panic {
            let _ = group.wait_for_all();
            resume_unwind(panic);
        }
        let end = group.wait_for_all();
        if group.state().running.is_empty() {
            (self.get)(store.data_mut()).unshare();
        }
        match (end, result) {
            (End::Failed(error), _) => Err(error),
            (End::Panicked(panic), _) => resume_unwind(panic),
            (End::Main | End::Told, Some(result)) => result,
            (End::Main | End::Told, None) => Err(Error::msg("the main thread has no result")),
        }
    }
}

/// What the guest gets instead of a thread's number.
fn refusal() -> i32 {
    -i32::from(Errno::Again.number())
}

impl<T: 'static> Group<T> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread has come to its end; if `end` is that of the program, tells the others.
    fn finish(&self, number: u32, end: End) {
        let mut state = self.state();
        state.running.remove(&number);
        if state.end.is_none() && !matches!(end, End::Told) {
            state.end = Some(end);
            if let Some(ctx) = &state.ctx {
                ctx.end();
            }
            state.running.values().for_each(InterruptHandle::interrupt);
        }
        self.changed.notify_all();
    }

    /// Gives the others time to end; how the program ended.
    fn wait_for_all(&self) -> End {
        let until = Instant::now() + GRACE;
        let mut state = self.state();
        while !state.running.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                tracing::warn!(threads = state.running.len(), "threads are left behind");
                break;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.end.replace(End::Told).unwrap_or(End::Told)
    }
}

impl<T: Send + 'static> Group<T> {
    /// `thread-spawn`: the number of the new thread, or less than 0.
    fn spawn(self: Arc<Self>, caller: &mut Caller<'_, T>, argument: u32) -> Result<i32> {
        let Some(pre) = self.pre.get().cloned() else {
            return Ok(refusal());
        };
        let max = self.max.load(Ordering::Relaxed) as usize;
        // The main thread is one more.
        if self.state().running.len() > max {
            return Ok(refusal());
        }
        let engine = caller.engine().clone();
        let store = (self.fork)(&engine, caller.data_mut());
        let store = store.context("a thread's store cannot be made")?;
        let handle = store.interrupt_handle()?;
        let number = {
            let mut state = self.state();
            if state.end.is_some() || state.running.len() > max {
                return Ok(refusal());
            }
            let number = state.free_number();
            state.running.insert(number, handle);
            number
        };
        let thread = Builder::new()
            .name(format!("wasi-thread-{number}"))
            .stack_size(engine.max_wasm_stack().saturating_add(HOST_STACK));
        let group = Arc::downgrade(&self);
        let started = thread.spawn(move || run_thread(&group, &pre, store, number, argument));
        match started {
            // Below 2^29.
            Ok(_) => Ok(number as i32),
            Err(_) => {
                self.finish(number, End::Told);
                Ok(refusal())
            }
        }
    }
}

impl State {
    /// A number that no thread has. Those of threads that have ended are not given again soon.
    fn free_number(&mut self) -> u32 {
        loop {
            self.next = self.next % (THREAD_NUMBERS - 1) + 1;
            if !self.running.contains_key(&self.next) {
                return self.next;
            }
        }
    }
}

/// What a thread does.
fn run_thread<T: Send + 'static>(
    group: &Weak<Group<T>>,
    pre: &InstancePre<T>,
    mut store: Store<T>,
    number: u32,
    argument: u32,
) {
    let ended = catch_unwind(AssertUnwindSafe(|| -> Result<()> {
        let instance = pre.instantiate(&mut store)?;
        let start = instance.get_typed_func::<(u32, u32), ()>(&mut store, START)?;
        start.call(&mut store, (number, argument))
    }));
    // Whoever waits for this thread finds nothing of it any more.
    drop(store);
    let end = match ended {
        Ok(Ok(())) => End::Told,
        Ok(Err(error)) => End::Failed(error.context(format!("in thread {number}"))),
        Err(panic) => End::Panicked(panic),
    };
    if let Some(group) = group.upgrade() {
        group.finish(number, end);
    }
}

impl<T> fmt::Debug for Threads<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads")
            .field("running", &self.group.state().running.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_free_and_in_range() {
        let engine = Engine::new(bimetal::Config::new().epoch_interruption(true)).unwrap();
        let handle = Store::new(&engine, ()).interrupt_handle().unwrap();
        let mut state = State {
            next: THREAD_NUMBERS - 3,
            ..State::default()
        };
        state.running.insert(0, handle.clone());
        state.running.insert(1, handle);
        let numbers: Vec<u32> = (0..4).map(|_| state.free_number()).collect();
        assert_eq!(numbers, [THREAD_NUMBERS - 2, THREAD_NUMBERS - 1, 2, 3]);
    }
}
