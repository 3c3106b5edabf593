//! Yielding: programs that let others run now and then.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::interrupt::UpdateDeadline;
use crate::store::{AsContextMut, Store, StoreContextMut};

/// What a program waits for when it yields.
pub(crate) enum Pause {
    /// To be polled again.
    Yield {
        polled: bool,
    },
    Custom(Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl Pause {
    /// Lets the executor do something else first.
    pub(crate) const YIELD: Pause = Pause::Yield { polled: false };
}

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        match &mut *self {
            Pause::Yield { polled: true } => Poll::Ready(()),
            Pause::Yield { polled } => {
                *polled = true;
                task.waker().wake_by_ref();
                Poll::Pending
            }
            Pause::Custom(future) => future.as_mut().poll(task),
        }
    }
}

impl<T: 'static> Store<T> {
    /// Has programs yield at the deadline: the future of the call is pending once, and wakes its
    /// task at once. When they go on they have until `delta` epochs later. A program that was not
    /// called asynchronously fails instead.
    ///
    /// With this, programs that compute for long, even for ever, share threads with others and can
    /// be cancelled.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use bimetal::{Config, Engine, Linker, Module, Store};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> bimetal::Result<()> {
    /// let engine = Engine::new(Config::new().epoch_interruption(true))?;
    /// let module = Module::new(&engine, r#"(module (func (export "f") (loop (br 0))))"#)?;
    /// let mut store = Store::new(&engine, ());
    /// store.set_epoch_deadline(1);
    /// store.epoch_deadline_async_yield_and_update(1);
    /// let instance = Linker::new(&engine).instantiate_async(&mut store, &module).await?;
    /// let f = instance.get_typed_func::<(), ()>(&mut store, "f")?;
    /// let clock = engine.clone();
    /// std::thread::spawn(move || loop {
    ///     std::thread::sleep(Duration::from_millis(1));
    ///     clock.increment_epoch();
    /// });
    /// let call = f.call_async(&mut store, ());
    /// assert!(tokio::time::timeout(Duration::from_millis(10), call).await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn epoch_deadline_async_yield_and_update(&mut self, delta: u64) {
        self.as_context_mut()
            .epoch_deadline_async_yield_and_update(delta);
    }

    /// Has programs yield each time they have consumed so much fuel, or not. A program that was
    /// not called asynchronously fails instead. How much fuel there is in all stays what
    /// [`Store::set_fuel`] says.
    ///
    /// ```
    /// use bimetal::{Config, Engine, Linker, Module, Store};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> bimetal::Result<()> {
    /// let engine = Engine::new(Config::new().consume_fuel(true))?;
    /// let module = Module::new(&engine, r#"(module (func (export "count") (param i32)
    ///     (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"#)?;
    /// let mut store = Store::new(&engine, ());
    /// store.set_fuel(1_000_000)?;
    /// store.fuel_async_yield_interval(Some(10_000))?;
    /// let instance = Linker::new(&engine).instantiate_async(&mut store, &module).await?;
    /// let count = instance.get_typed_func::<i32, ()>(&mut store, "count")?;
    /// // Yields now and then.
    /// count.call_async(&mut store, 10_000).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the engine's code does not count fuel, or the interval is 0.
    pub fn fuel_async_yield_interval(&mut self, interval: Option<u64>) -> Result<()> {
        self.as_context_mut().fuel_async_yield_interval(interval)
    }
}

impl<T: 'static> StoreContextMut<'_, T> {
    /// As [`Store::epoch_deadline_async_yield_and_update`].
    pub fn epoch_deadline_async_yield_and_update(&mut self, delta: u64) {
        let update = move |_: StoreContextMut<'_, T>| Ok(UpdateDeadline::Yield(delta));
        *self.inner_mut().deadline_callback() = Some(Box::new(update));
    }

    /// As [`Store::fuel_async_yield_interval`].
    ///
    /// # Errors
    /// As there.
    pub fn fuel_async_yield_interval(&mut self, interval: Option<u64>) -> Result<()> {
        self.engine().require_fuel()?;
        if interval == Some(0) {
            return Err(Error::usage("a program cannot yield at every 0 fuel"));
        }
        self.opaque().set_fuel_interval(interval);
        Ok(())
    }
}

impl<T: 'static> Caller<'_, T> {
    /// As [`Store::fuel_async_yield_interval`].
    ///
    /// # Errors
    /// As there.
    pub fn fuel_async_yield_interval(&mut self, interval: Option<u64>) -> Result<()> {
        self.as_context_mut().fuel_async_yield_interval(interval)
    }
}
