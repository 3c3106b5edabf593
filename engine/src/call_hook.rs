//! A hook for whoever wants to know when a program runs and when its host does.

use crate::error::Result;
use crate::store::{Store, StoreContextMut, StoreInner};

/// Which border is being crossed; see [`Store::call_hook`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallHook {
    /// The host calls wasm.
    CallingWasm,
    /// Wasm returns to the host, by a trap too.
    ReturningFromWasm,
    /// Wasm calls a function of the host's.
    CallingHost,
    /// A function of the host's returns to wasm, with an error too.
    ReturningFromHost,
}

impl CallHook {
    /// Whether the host goes on from here.
    pub fn entering_host(&self) -> bool {
        matches!(self, CallHook::ReturningFromWasm | CallHook::CallingHost)
    }

    /// Whether wasm goes on from here.
    pub fn exiting_host(&self) -> bool {
        !self.entering_host()
    }
}

pub(crate) type CallHookFn<T> =
    Box<dyn FnMut(StoreContextMut<'_, T>, CallHook) -> Result<()> + Send + Sync>;

impl<T: 'static> StoreInner<T> {
    /// Tells the hook, if there is one.
    #[inline]
    pub(crate) fn tell_call_hook(&mut self, what: CallHook) -> Result<()> {
        match self.call_hook().is_some() {
            false => Ok(()),
            true => self.run_call_hook(what),
        }
    }

    #[cold]
    fn run_call_hook(&mut self, what: CallHook) -> Result<()> {
        /// Puts the hook back, should it panic as well.
        struct Taken<'a, T: 'static>(&'a mut StoreInner<T>, Option<CallHookFn<T>>);
        impl<T: 'static> Drop for Taken<'_, T> {
            fn drop(&mut self) {
                *self.0.call_hook() = self.1.take();
                self.0.opaque_mut().externs.transit(false);
            }
        }
        // Taken out, since it gets the store.
        let hook = self.call_hook().take();
        // Arguments or results of the call are raw now, so that nobody is seen to hold them.
        self.opaque_mut().externs.transit(true);
        let mut taken = Taken(self, hook);
        match &mut taken.1 {
            Some(hook) => hook(StoreContextMut::from_inner(taken.0), what),
            None => Ok(()),
        }
    }
}

impl<T: 'static> Store<T> {
    /// Has `hook` called whenever the border between host and wasm is crossed: to measure how long
    /// a program runs, or to prepare the thread for it.
    ///
    /// An error of the hook stops what it was called for: with [`CallHook::CallingWasm`] the call
    /// fails before it begins, with [`CallHook::ReturningFromWasm`] the error takes the place of
    /// the call's result; with [`CallHook::CallingHost`] and [`CallHook::ReturningFromHost`] it is
    /// as if the function of the host's had failed with it. The hook may be called again for the
    /// returns that follow from that. While it runs, it is not called itself.
    ///
    /// What the runtime does for a program (`memory.grow`, a deadline's callback) is no call of the
    /// host.
    ///
    /// ```
    /// use bimetal::{CallHook, Engine, Instance, Module, Store};
    ///
    /// let engine = Engine::default();
    /// let module = Module::new(&engine, r#"(module (func (export "f")))"#)?;
    /// let mut store = Store::new(&engine, 0);
    /// store.call_hook(|mut store, what| {
    ///     if what == CallHook::CallingWasm {
    ///         *store.data_mut() += 1;
    ///     }
    ///     Ok(())
    /// });
    /// let instance = Instance::new(&mut store, &module, &[])?;
    /// let f = instance.get_typed_func::<(), ()>(&mut store, "f")?;
    /// f.call(&mut store, ())?;
    /// f.call(&mut store, ())?;
    /// assert_eq!(*store.data(), 2);
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    pub fn call_hook(
        &mut self,
        hook: impl FnMut(StoreContextMut<'_, T>, CallHook) -> Result<()> + Send + Sync + 'static,
    ) {
        *self.inner_mut().call_hook() = Some(Box::new(hook));
        self.inner_mut().opaque_mut().hook_host_functions();
    }
}
