//! Interrupts and fuel: the part that touches what generated code sees.
//!
//! Any thread may ask for an interrupt at any time, also after the store is gone. So it goes
//! through a [`Signal`], which is shared and knows the store's context only while there is one.
//! Generated code finds the flag at its next check and calls [`interrupt`], which finds out who
//! asked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use bimetal_abi::{TrapCode, VmContextHeader, VmStoreContext};

use super::activation::stack_backtrace;
use super::store::{Pending, StoreOpaque};
use crate::asynchronous::Pause;
use crate::error::{Error, Result};
use crate::store::StoreInner;

/// The flag's bits: why to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Wish {
    /// The deadline has passed. Stays until there is another deadline.
    Deadline = 1,
    /// Somebody said so, once.
    Handle = 2,
}

/// Reaches a store from any thread.
pub(crate) struct Signal(Mutex<Option<NonNull<VmStoreContext>>>);

// SAFETY: the context is followed under the lock, only to its atomic flag, and is withdrawn under
// the lock before it is freed.
unsafe impl Send for Signal {}
// SAFETY: as above.
unsafe impl Sync for Signal {}

impl Signal {
    pub(super) fn new(context: NonNull<VmStoreContext>) -> Arc<Signal> {
        Arc::new(Signal(Mutex::new(Some(context))))
    }

    fn with(&self, f: impl FnOnce(&std::sync::atomic::AtomicU32)) {
        let context = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(context) = *context {
            // SAFETY: it is there as long as we hold the lock; the field is atomic.
            f(unsafe { &(*context.as_ptr()).interrupt });
        }
    }

    pub(crate) fn raise(&self, wish: Wish) {
        self.with(|flag| {
            flag.fetch_or(wish as u32, Ordering::Release);
        });
    }

    pub(crate) fn lower(&self, wish: Wish) {
        self.with(|flag| {
            flag.fetch_and(!(wish as u32), Ordering::AcqRel);
        });
    }

    /// The context will be freed.
    pub(super) fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
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
    pub(super) fn new<T: 'static>(context: NonNull<VmStoreContext>) -> Metering {
        Metering {
            signal: Signal::new(context),
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

/// Runs what may fail; then wasm is resumed at its entry, with the error or panic in the store.
///
/// # Safety
/// `vmctx` is the context of wasm code that has just called a builtin, and no reference to its
/// store is in use but by `f`. The caller owns nothing.
unsafe fn go_on_or_raise(vmctx: *mut VmContextHeader, f: impl FnOnce() -> Result<()>) {
    {
        let pending = match catch_unwind(AssertUnwindSafe(f)) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => Pending::Error(error.with_backtrace(stack_backtrace())),
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

pub(super) unsafe extern "C" fn interrupt(vmctx: *mut VmContextHeader) {
    // SAFETY: called by wasm code. The store is reached anew for each step, the last of which is
    // the embedder's callback with the whole of it.
    unsafe {
        go_on_or_raise(vmctx, || {
            let context = (*vmctx).store;
            let flag = &(*context).interrupt;
            let wishes = flag.load(Ordering::Acquire);
            if wishes & Wish::Handle as u32 != 0 {
                flag.fetch_and(!(Wish::Handle as u32), Ordering::AcqRel);
                return Err(Error::new(TrapCode::Interrupt));
            }
            if wishes & Wish::Deadline as u32 != 0 {
                let store = (*context).store;
                let at_deadline = (*store.cast::<StoreOpaque>()).metering.at_deadline;
                if let Some((pause, ticks)) = at_deadline(store)? {
                    wait(context, "yielding at a deadline", pause)?;
                    StoreOpaque::from_context(context).set_deadline(ticks);
                }
            }
            Ok(())
        });
    }
}

pub(super) unsafe extern "C" fn out_of_fuel(vmctx: *mut VmContextHeader) {
    // SAFETY: called by wasm code.
    unsafe {
        go_on_or_raise(vmctx, || {
            let context = (*vmctx).store;
            match StoreOpaque::from_context(context).refuel()? {
                Some(pause) => wait(context, "yielding at an amount of fuel", pause),
                None => Ok(()),
            }
        });
    }
}
