//! Interrupts and fuel: the part that touches what generated code sees.
//!
//! Any thread may ask for an interrupt at any time, also after the store is gone. So it goes
//! through a [`Signal`], which is shared and knows the store's context only while there is one.
//! Generated code finds the flag at its next check and calls [`interrupt`], which finds out who
//! asked. A program that waits at a memory is woken to do so.
//!
//! Headers of loops look at the flag. Functions do not, where a failed stack check is a fault of the
//! machine: with the flag the stack's limit is raised to where every function exceeds it, and the
//! fault handler sends the function to [`interrupt_entry`], which starts it again. So the flag is
//! only changed under the signal's lock, together with the limit, and an entry into wasm that sets
//! the limit takes care not to overwrite an interrupted one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bimetal_abi::{TrapCode, Tunables, VmContextHeader, VmStoreContext};

use super::activation::{backtrace_from, function_start};
use super::shared::Waiting;
use super::store::{Pending, StoreOpaque};
use super::waiting::{Sleeper, Woken};
use crate::asynchronous::Pause;
use crate::error::{Error, Result};
use crate::store::StoreInner;

/// The flag's bits: why to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Wish {
    /// The deadline has passed. Stays until there is another deadline.
    Deadline = VmStoreContext::LOWEST_WISH,
    /// Somebody said so, once.
    Handle = VmStoreContext::LOWEST_WISH << 1,
}

/// Reaches a store from any thread.
pub(crate) struct Signal {
    target: Mutex<Target>,
    /// Whether code finds out by the stack's limit.
    by_limit: bool,
    /// How often others than the store's owner had a wish; written under the lock.
    raised: AtomicU64,
}

/// What a signal reaches.
#[derive(Default)]
struct Target {
    context: Option<NonNull<VmStoreContext>>,
    /// The store's program waits at a memory.
    sleeper: Option<Arc<Sleeper>>,
}

// SAFETY: the context is followed under the lock, only to its atomic flag, and is withdrawn under
// the lock before it is freed.
unsafe impl Send for Signal {}
// SAFETY: as above.
unsafe impl Sync for Signal {}

impl Signal {
    fn new(context: NonNull<VmStoreContext>, tunables: &Tunables) -> Arc<Signal> {
        Arc::new(Signal {
            target: Mutex::new(Target {
                context: Some(context),
                sleeper: None,
            }),
            by_limit: tunables.interrupts && tunables.signals_based_traps,
            raised: AtomicU64::new(0),
        })
    }

    fn target(&self) -> MutexGuard<'_, Target> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the flag and the limits, present and proper.
    fn with(&self, f: impl FnOnce(&AtomicU64, Option<(&AtomicUsize, &AtomicUsize)>)) {
        let target = self.target();
        let Some(context) = target.context else {
            return;
        };
        let context = context.as_ptr();
        // SAFETY: it is there as long as we hold the lock; the fields are atomic.
        let (flag, limit, own) = unsafe {
            (
                &(*context).interrupt,
                &(*context).stack_limit,
                &(*context).own_stack_limit,
            )
        };
        f(flag, self.by_limit.then_some((limit, own)));
    }

    /// From any thread.
    pub(crate) fn raise(&self, wish: Wish) {
        self.raise_counting(wish, 1);
        let sleeper = self.target().sleeper.clone();
        if let Some(sleeper) = sleeper {
            sleeper.interrupt();
        }
    }

    /// Has this woken by who has a wish, from now on; what was before. Who sets it looks at the flag
    /// afterwards.
    fn watch(&self, sleeper: Option<Arc<Sleeper>>) -> Option<Arc<Sleeper>> {
        std::mem::replace(&mut self.target().sleeper, sleeper)
    }

    /// By who has the store: code that is told and goes on finds it again only at its next check.
    pub(crate) fn raise_again(&self, wish: Wish) {
        self.raise_counting(wish, 0);
    }

    fn raise_counting(&self, wish: Wish, others: u64) {
        self.with(|flag, limits| {
            self.raised.fetch_add(others, Ordering::Relaxed);
            flag.fetch_or(wish as u64, Ordering::AcqRel);
            if let Some((limit, _)) = limits {
                limit.store(VmStoreContext::INTERRUPTED, Ordering::Release);
            }
        });
    }

    /// By who has the store.
    pub(crate) fn lower(&self, wish: Wish) {
        self.with(|flag, limits| {
            let left = flag.fetch_and(!(wish as u64), Ordering::AcqRel) & !(wish as u64);
            if let Some((limit, own)) = limits.filter(|_| left == 0) {
                limit.store(own.load(Ordering::Relaxed), Ordering::Release);
            }
        });
    }

    /// What [`Signal::let_in`] wants to know.
    fn raised(&self) -> u64 {
        self.raised.load(Ordering::Acquire)
    }

    /// Lets functions be entered, if nobody else has had a wish since. By who has the store.
    fn let_in(&self, since: u64) {
        self.with(|_, limits| {
            let nobody = self.raised.load(Ordering::Relaxed) == since;
            if let Some((limit, own)) = limits.filter(|_| nobody) {
                limit.store(own.load(Ordering::Relaxed), Ordering::Release);
            }
        });
    }

    /// Has the next function that is entered find a wish that there is, though it was passed over.
    #[cold]
    pub(super) fn remind(&self) {
        self.with(|flag, limits| {
            let wished = flag.load(Ordering::Acquire) != 0;
            if let Some((limit, _)) = limits.filter(|_| wished) {
                limit.store(VmStoreContext::INTERRUPTED, Ordering::Release);
            }
        });
    }

    /// The context will be freed.
    pub(super) fn close(&self) {
        *self.target() = Target::default();
    }
}

impl std::fmt::Debug for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signal")
    }
}

/// What to do at a deadline, of a store whose type is forgotten.
type AtDeadline = unsafe fn(*mut u8) -> Result<Option<(Pause, u64)>>;

/// # Safety
/// `store` must be a `StoreInner<T>` that the caller has exclusively.
unsafe fn at_deadline<T: 'static>(store: *mut u8) -> Result<Option<(Pause, u64)>> {
    // SAFETY: the caller's promise.
    unsafe { (*store.cast::<StoreInner<T>>()).at_deadline() }
}

/// A store's part in this.
#[derive(Debug)]
pub(super) struct Metering {
    signal: Arc<Signal>,
    deadline: Option<u64>,
    at_deadline: AtDeadline,
    /// Fuel that did not fit the counter, or is for after a pause.
    reserve: u64,
    /// How much fuel the counter gets at a time, if programs yield in between.
    interval: Option<u64>,
}

impl Metering {
    pub(super) fn new<T: 'static>(
        context: NonNull<VmStoreContext>,
        tunables: &Tunables,
    ) -> Metering {
        Metering {
            signal: Signal::new(context, tunables),
            deadline: None,
            at_deadline: at_deadline::<T>,
            reserve: 0,
            interval: None,
        }
    }
}

impl StoreOpaque {
    pub(crate) fn signal(&self) -> &Arc<Signal> {
        &self.metering.signal
    }

    /// Sets the deadline to so many epochs from now.
    pub(crate) fn set_deadline(&mut self, ticks: u64) {
        let signal = &self.metering.signal;
        let deadline =
            self.engine()
                .epochs()
                .wait(self.id(), self.metering.deadline, ticks, signal);
        self.metering.deadline = Some(deadline);
    }

    /// Nobody may reach the context any more.
    pub(super) fn stop_signals(&mut self) {
        if let Some(deadline) = self.metering.deadline.take() {
            self.engine().epochs().forget(self.id(), deadline);
        }
        self.metering.signal.close();
    }

    pub(crate) fn set_fuel(&mut self, fuel: u64) {
        let most = self.metering.interval.unwrap_or(u64::MAX);
        let active = i64::try_from(fuel.min(most)).unwrap_or(i64::MAX);
        self.metering.reserve = fuel - active as u64;
        // SAFETY: the context is ours, and no wasm code is running but what has called us.
        unsafe { (*self.context().as_ptr()).fuel = -active }
    }

    pub(crate) fn fuel(&self) -> u64 {
        // SAFETY: as for `set_fuel`.
        let counter = unsafe { (*self.context().as_ptr()).fuel };
        let left = i128::from(self.metering.reserve) - i128::from(counter);
        // It cannot be more than was given.
        u64::try_from(left.max(0)).unwrap_or(u64::MAX)
    }

    /// Sets how much fuel is consumed between two pauses.
    pub(crate) fn set_fuel_interval(&mut self, interval: Option<u64>) {
        self.metering.interval = interval;
        self.set_fuel(self.fuel());
    }

    /// Moves fuel from the reserve, and says for what to wait before it is used; an error if there
    /// is too little.
    fn refuel(&mut self) -> Result<Option<Pause>> {
        let fuel = self.fuel();
        if fuel == 0 {
            return Err(Error::new(TrapCode::OutOfFuel));
        }
        self.set_fuel(fuel);
        Ok(self.metering.interval.map(|_| Pause::YIELD))
    }
}

/// Runs what may fail; then wasm is resumed at its entry, with the error or panic in the store. `pc`
/// is where wasm is if it has not called.
///
/// # Safety
/// `vmctx` is the context of wasm code that has just called a builtin, and no reference to its
/// store is in use but by `f`. The caller owns nothing.
pub(super) unsafe fn go_on_or_raise(
    vmctx: *mut VmContextHeader,
    pc: Option<usize>,
    f: impl FnOnce() -> Result<()>,
) {
    {
        let pending = match catch_unwind(AssertUnwindSafe(f)) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => Pending::Error(error.with_backtrace(backtrace_from(pc))),
            Err(panic) => Pending::Panic(panic),
        };
        // SAFETY: the caller's promise; `f` is over.
        unsafe { StoreOpaque::from_context((*vmctx).store) }.set_pending(pending);
    }
    // SAFETY: called by wasm code, so there is an entry to resume at; no Rust frames are between
    // but this one and the builtin's, which own nothing.
    unsafe { bimetal_sys::resume_at_entry((*vmctx).store) }
}

/// Lets a program wait.
///
/// # Safety
/// `context` is of wasm code that has just called a builtin, nothing of its store is in use, and
/// nothing of the embedder's is on the stack since then.
unsafe fn wait(context: *mut VmStoreContext, what: &str, pause: Pause) -> Result<()> {
    // SAFETY: the caller's promise; a pause is `Send`.
    unsafe {
        let here = StoreOpaque::from_context(context).fiber(what)?;
        here.block_on(Box::pin(pause))
    }
}

/// Wasm was interrupted with references in registers: nothing may be collected, whatever the embedder's
/// callback does.
struct InTransit(*mut StoreOpaque);

impl InTransit {
    /// # Safety
    /// The store outlives the guard, and is not in use when that is made or dropped.
    unsafe fn new(store: *mut StoreOpaque) -> InTransit {
        // SAFETY: the caller's promise.
        unsafe { (*store).externs.transit(true) };
        InTransit(store)
    }
}

impl Drop for InTransit {
    fn drop(&mut self) {
        // SAFETY: as `new` was promised.
        unsafe { (*self.0).externs.transit(false) };
    }
}

/// Finds out who asked, and does it.
///
/// # Safety
/// `context` is that of a store in which wasm is running on this thread and has called the caller,
/// and no reference to the store is in use.
unsafe fn answer(context: *mut VmStoreContext) -> Result<()> {
    // SAFETY: the caller's promise. The store is reached anew for each step, the last of which is
    // the embedder's callback with the whole of it.
    unsafe {
        let wishes = (*context).interrupt.load(Ordering::Acquire);
        if wishes & Wish::Handle as u64 != 0 {
            let signal = StoreOpaque::from_context(context).signal();
            signal.lower(Wish::Handle);
            return Err(Error::new(TrapCode::Interrupt));
        }
        if wishes & Wish::Deadline as u64 != 0 {
            let store = (*context).store;
            let at_deadline = (*store.cast::<StoreOpaque>()).metering.at_deadline;
            let asked = {
                let _guard = InTransit::new(store.cast());
                at_deadline(store)
            };
            if let Some((pause, ticks)) = asked? {
                wait(context, "yielding at a deadline", pause)?;
                StoreOpaque::from_context(context).set_deadline(ticks);
            }
        }
        Ok(())
    }
}

/// Lets a program sleep until it is notified or its time is over; whether it was notified. What
/// comes up meanwhile for it to see to, it sees to. On a fiber only its task sleeps.
///
/// # Safety
/// As for [`answer`], and nothing of the embedder's is on the stack since wasm called.
pub(super) unsafe fn sleep(
    context: *mut VmStoreContext,
    waiting: &Waiting<'_>,
    until: Option<Instant>,
) -> Result<bool> {
    // SAFETY: the caller's promise; the borrow ends here.
    let signal = unsafe {
        let store = StoreOpaque::from_context(context);
        let interrupts = store.engine().tunables().interrupts;
        interrupts.then(|| store.signal().clone())
    };
    let sleeper = &waiting.sleeper;
    loop {
        let watch = signal.as_deref().map(|signal| Watch::set(signal, sleeper));
        if watch.is_some() {
            // SAFETY: the caller's promise.
            unsafe { answer(context)? };
        }
        // SAFETY: the caller's promise; what is waited for is `Send`.
        let woken = unsafe {
            match StoreOpaque::from_context(context).fiber_to_suspend()? {
                Some(here) => here.block_on(Box::pin(sleeper.sleep_async(until)?))?,
                None => sleeper.sleep(until),
            }
        };
        match woken {
            Woken::Notified => return Ok(true),
            Woken::TimedOut => return Ok(waiting.ended_notified()),
            Woken::Interrupted => {}
        }
    }
}

/// While there is one, who has a wish wakes a sleeper.
struct Watch<'a> {
    signal: &'a Signal,
    outer: Option<Arc<Sleeper>>,
}

impl<'a> Watch<'a> {
    fn set(signal: &'a Signal, sleeper: &Arc<Sleeper>) -> Watch<'a> {
        let outer = signal.watch(Some(sleeper.clone()));
        Watch { signal, outer }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.signal.watch(self.outer.take());
    }
}

/// The builtin, for loops.
pub(super) unsafe extern "C" fn interrupt(vmctx: *mut VmContextHeader) {
    // SAFETY: called by wasm code.
    unsafe { go_on_or_raise(vmctx, None, || answer((*vmctx).store)) }
}

/// Called in place of a function whose stack check failed because of a wish; says where that
/// function is, to start it again.
///
/// # Safety
/// Called by the stub that `on_fault` resumes at, with the callee's context.
pub(super) unsafe extern "C" fn interrupt_entry(vmctx: *mut VmContextHeader) -> *const u8 {
    // SAFETY: the stub's promise; the store is ours while wasm waits.
    unsafe {
        let context = (*vmctx).store;
        let pc = (*context).interrupted_pc;
        go_on_or_raise(vmctx, Some(pc), || {
            let signal = StoreOpaque::from_context(context).signal().clone();
            let raised = signal.raised();
            answer(context)?;
            // It was told, and goes on, even if it is to be told again.
            signal.let_in(raised);
            Ok(())
        });
        function_start(pc)
    }
}

pub(super) unsafe extern "C" fn out_of_fuel(vmctx: *mut VmContextHeader) {
    // SAFETY: called by wasm code.
    unsafe {
        go_on_or_raise(vmctx, None, || {
            let context = (*vmctx).store;
            match StoreOpaque::from_context(context).refuel()? {
                Some(pause) => wait(context, "yielding at an amount of fuel", pause),
                None => Ok(()),
            }
        });
    }
}
