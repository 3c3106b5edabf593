//! Stopping programs: deadlines, interrupts from other threads, fuel.
//!
//! Time is counted in *epochs* of the engine, which the embedder makes pass
//! ([`Engine::increment_epoch`]), from a thread that sleeps and counts, say. Stores whose deadline
//! has come are told at that moment, so that the code of all others looks at nothing but its own
//! flag; the stores wait in the order of their deadlines.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bimetal_abi::TrapCode;

use crate::asynchronous::Pause;
use crate::caller::Caller;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::store::{AsContext, AsContextMut, Store, StoreContext, StoreContextMut, StoreInner};
use crate::vm::{Signal, StoreId, Wish};

/// The epochs of an engine.
#[derive(Debug, Default)]
pub(crate) struct Epochs {
    now: AtomicU64,
    waiting: Mutex<BTreeMap<(u64, StoreId), Arc<Signal>>>,
}

impl Epochs {
    fn waiting(&self) -> MutexGuard<'_, BTreeMap<(u64, StoreId), Arc<Signal>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn increment(&self) {
        let now = self.now.fetch_add(1, Ordering::AcqRel) + 1;
        let mut waiting = self.waiting();
        while let Some(first) = waiting.first_entry() {
            if first.key().0 > now {
                break;
            }
            first.remove().raise(Wish::Deadline);
        }
    }

    /// Has a store wait for `ticks` epochs from now, no more for what it waited; when that is.
    pub(crate) fn wait(
        &self,
        store: StoreId,
        before: Option<u64>,
        ticks: u64,
        signal: &Arc<Signal>,
    ) -> u64 {
        let mut waiting = self.waiting();
        if let Some(before) = before {
            waiting.remove(&(before, store));
        }
        // Under the lock, so that an epoch that passes now finds either the old or the new wish. One
        // for at once is repeated, for the case that it is passed over.
        let now = self.now.load(Ordering::Acquire);
        let deadline = now.saturating_add(ticks.max(1));
        match ticks {
            0 => signal.raise_again(Wish::Deadline),
            _ => signal.lower(Wish::Deadline),
        }
        waiting.insert((deadline, store), signal.clone());
        deadline
    }

    /// A store goes.
    pub(crate) fn forget(&self, store: StoreId, deadline: u64) {
        self.waiting().remove(&(deadline, store));
    }
}

/// What an embedder decides at a deadline.
#[non_exhaustive]
pub enum UpdateDeadline {
    /// Trap with [`Trap::Interrupt`](crate::Trap).
    Interrupt,
    /// Go on until so many epochs from now. With 0 that is until the next look at the deadline: at
    /// the next iteration of a loop, when the host calls the next function or, after one epoch, when
    /// wasm does.
    Continue(u64),
    /// Let others run first: the future of the call is pending once and wakes its task. Then go on
    /// until so many epochs later. An error in a call that is not asynchronous.
    Yield(u64),
    /// The same, waiting for this future.
    YieldCustom(u64, Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl fmt::Debug for UpdateDeadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UpdateDeadline::Interrupt => f.write_str("Interrupt"),
            UpdateDeadline::Continue(ticks) => f.debug_tuple("Continue").field(ticks).finish(),
            UpdateDeadline::Yield(ticks) => f.debug_tuple("Yield").field(ticks).finish(),
            UpdateDeadline::YieldCustom(ticks, _) => {
                f.debug_tuple("YieldCustom").field(ticks).finish()
            }
        }
    }
}

pub(crate) type DeadlineCallback<T> =
    Box<dyn FnMut(StoreContextMut<'_, T>) -> Result<UpdateDeadline> + Send + Sync>;

/// Interrupts a store's program from any thread.
///
/// ```
/// use bimetal::{Config, Engine, Linker, Module, Store, Trap};
///
/// let engine = Engine::new(Config::new().epoch_interruption(true))?;
/// let module = Module::new(&engine, r#"(module (func (export "f") (loop (br 0))))"#)?;
/// let mut store = Store::new(&engine, ());
/// let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
/// let f = instance.get_typed_func::<(), ()>(&mut store, "f")?;
/// let handle = store.interrupt_handle()?;
/// let other = std::thread::spawn(move || handle.interrupt());
/// let error = f.call(&mut store, ()).unwrap_err();
/// assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
/// # other.join().unwrap();
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct InterruptHandle(Arc<Signal>);

impl InterruptHandle {
    /// Makes the store's program trap with [`Trap::Interrupt`](crate::Trap) at its next loop
    /// iteration or call; if none is running, the next one. Nothing if the store is gone. What the
    /// host does for the program is not interrupted, but if the program waits at a shared memory, it
    /// traps there.
    pub fn interrupt(&self) {
        self.0.raise(Wish::Handle);
    }
}

impl Engine {
    /// Makes an epoch pass. Programs whose store's deadline has come stop, or what
    /// [`Store::epoch_deadline_callback`] says. From any thread; not from a signal handler.
    pub fn increment_epoch(&self) {
        self.epochs().increment();
    }

    pub(crate) fn require_fuel(&self) -> Result<()> {
        match self.tunables().fuel {
            true => Ok(()),
            false => Err(Error::usage(
                "fuel is not counted in this engine: see `Config::consume_fuel`",
            )),
        }
    }
}

impl<T: 'static> StoreInner<T> {
    /// The deadline has come. What to wait for, if for something, and the ticks from then on.
    pub(crate) fn at_deadline(&mut self) -> Result<Option<(Pause, u64)>> {
        // Taken out, since it gets the store.
        let Some(mut callback) = self.deadline_callback().take() else {
            return Err(Error::new(TrapCode::Interrupt));
        };
        let update = callback(StoreContextMut::from_inner(self));
        *self.deadline_callback() = Some(callback);
        match update? {
            UpdateDeadline::Interrupt => Err(Error::new(TrapCode::Interrupt)),
            UpdateDeadline::Continue(ticks) => {
                self.opaque_mut().set_deadline(ticks);
                Ok(None)
            }
            UpdateDeadline::Yield(ticks) => Ok(Some((Pause::YIELD, ticks))),
            UpdateDeadline::YieldCustom(ticks, future) => Ok(Some((Pause::Custom(future), ticks))),
        }
    }
}

impl<T: 'static> Store<T> {
    /// Sets the deadline to `ticks` epochs from now ([`Engine::increment_epoch`]). A store that was
    /// given none has none. Only code of an engine with
    /// [`Config::epoch_interruption`](crate::Config::epoch_interruption) notices.
    ///
    /// ```
    /// use bimetal::{Config, Engine, Linker, Module, Store, Trap};
    ///
    /// let engine = Engine::new(Config::new().epoch_interruption(true))?;
    /// let module = Module::new(&engine, r#"(module (func (export "f") (loop (br 0))))"#)?;
    /// let mut store = Store::new(&engine, ());
    /// let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
    /// let f = instance.get_typed_func::<(), ()>(&mut store, "f")?;
    /// store.set_epoch_deadline(1);
    /// let clock = engine.clone();
    /// let thread = std::thread::spawn(move || clock.increment_epoch());
    /// let error = f.call(&mut store, ()).unwrap_err();
    /// assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
    /// # thread.join().unwrap();
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    pub fn set_epoch_deadline(&mut self, ticks: u64) {
        self.as_context_mut().set_epoch_deadline(ticks);
    }

    /// Has programs trap with [`Trap::Interrupt`](crate::Trap) at the deadline. The default. They
    /// do so until there is a new deadline.
    pub fn epoch_deadline_trap(&mut self) {
        self.as_context_mut().epoch_deadline_trap();
    }

    /// Has programs call `callback` at the deadline, which stops them by an error or gives them
    /// more time. It is called where the program is, on its thread.
    pub fn epoch_deadline_callback(
        &mut self,
        callback: impl FnMut(StoreContextMut<'_, T>) -> Result<UpdateDeadline> + Send + Sync + 'static,
    ) {
        *self.inner_mut().deadline_callback() = Some(Box::new(callback));
    }

    /// What interrupts this store's program from any thread.
    ///
    /// # Errors
    /// If the engine's code does not look for interrupts:
    /// [`Config::epoch_interruption`](crate::Config::epoch_interruption).
    pub fn interrupt_handle(&self) -> Result<InterruptHandle> {
        if !self.engine().tunables().interrupts {
            return Err(Error::usage(
                "code of this engine cannot be interrupted: see `Config::epoch_interruption`",
            ));
        }
        Ok(InterruptHandle(self.as_context().opaque().signal().clone()))
    }

    /// Sets how much fuel there is. A new store has none.
    ///
    /// ```
    /// use bimetal::{Config, Engine, Linker, Module, Store, Trap};
    ///
    /// let engine = Engine::new(Config::new().consume_fuel(true))?;
    /// let module = Module::new(&engine, r#"(module
    ///     (func (export "add") (param i32) (result i32)
    ///         (i32.add (local.get 0) (i32.const 1)))
    ///     (func (export "spin") (loop (br 0))))"#)?;
    /// let mut store = Store::new(&engine, ());
    /// store.set_fuel(1000)?;
    /// let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
    /// let add = instance.get_typed_func::<i32, i32>(&mut store, "add")?;
    /// add.call(&mut store, 1)?;
    /// assert_eq!(store.get_fuel()?, 996);
    /// let spin = instance.get_typed_func::<(), ()>(&mut store, "spin")?;
    /// let error = spin.call(&mut store, ()).unwrap_err();
    /// assert_eq!(error.downcast_ref(), Some(&Trap::OutOfFuel));
    /// assert_eq!(store.get_fuel()?, 0);
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the engine's code does not count fuel:
    /// [`Config::consume_fuel`](crate::Config::consume_fuel).
    pub fn set_fuel(&mut self, fuel: u64) -> Result<()> {
        self.as_context_mut().set_fuel(fuel)
    }

    /// How much fuel is left. After a trap found by the hardware (a load out of bounds, a division
    /// by zero), that is as of the last call, return or loop iteration before it.
    ///
    /// # Errors
    /// As for [`Store::set_fuel`].
    pub fn get_fuel(&self) -> Result<u64> {
        self.as_context().get_fuel()
    }
}

impl<T: 'static> StoreContext<'_, T> {
    /// As [`Store::get_fuel`].
    ///
    /// # Errors
    /// As for [`Store::set_fuel`].
    pub fn get_fuel(&self) -> Result<u64> {
        self.engine().require_fuel()?;
        Ok(self.opaque().fuel())
    }
}

impl<T: 'static> StoreContextMut<'_, T> {
    /// As [`Store::set_epoch_deadline`].
    pub fn set_epoch_deadline(&mut self, ticks: u64) {
        self.opaque().set_deadline(ticks);
    }

    /// As [`Store::epoch_deadline_trap`].
    pub fn epoch_deadline_trap(&mut self) {
        *self.inner_mut().deadline_callback() = None;
    }

    /// As [`Store::set_fuel`].
    ///
    /// # Errors
    /// As for [`Store::set_fuel`].
    pub fn set_fuel(&mut self, fuel: u64) -> Result<()> {
        self.engine().require_fuel()?;
        self.opaque().set_fuel(fuel);
        Ok(())
    }

    /// As [`Store::get_fuel`].
    ///
    /// # Errors
    /// As for [`Store::set_fuel`].
    pub fn get_fuel(&self) -> Result<u64> {
        self.as_context().get_fuel()
    }
}

impl<T: 'static> Caller<'_, T> {
    /// As [`Store::set_epoch_deadline`].
    pub fn set_epoch_deadline(&mut self, ticks: u64) {
        self.as_context_mut().set_epoch_deadline(ticks);
    }

    /// As [`Store::set_fuel`].
    ///
    /// # Errors
    /// As for [`Store::set_fuel`].
    pub fn set_fuel(&mut self, fuel: u64) -> Result<()> {
        self.as_context_mut().set_fuel(fuel)
    }

    /// As [`Store::get_fuel`]. The program's own call of this function is charged already.
    ///
    /// # Errors
    /// As for [`Store::set_fuel`].
    pub fn get_fuel(&self) -> Result<u64> {
        self.as_context().get_fuel()
    }
}
