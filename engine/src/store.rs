//! Stores.

use std::fmt;

use crate::call_hook::CallHookFn;
use crate::engine::Engine;
use crate::interrupt::DeadlineCallback;
use crate::limits::Limiter;
use crate::vm::StoreOpaque;

/// Everything that instances use: memories, tables, globals, functions, and data of the user's.
///
/// Handles ([`Func`](crate::Func), [`Memory`](crate::Memory) …) belong to one store and are
/// refused by others. Nothing of a store is freed before the store.
///
/// ```
/// use bimetal::{Engine, Store};
///
/// let mut store = Store::new(&Engine::default(), 41);
/// *store.data_mut() += 1;
/// assert_eq!(*store.data(), 42);
/// ```
pub struct Store<T: 'static> {
    // Boxed: generated code's context points to it.
    inner: Box<StoreInner<T>>,
}

/// A store in one piece. The part without `T` comes first, so that a pointer to the whole is a
/// pointer to it.
#[repr(C)]
pub(crate) struct StoreInner<T: 'static> {
    opaque: StoreOpaque,
    data: T,
    limiter: Option<Limiter<T>>,
    deadline_callback: Option<DeadlineCallback<T>>,
    call_hook: Option<CallHookFn<T>>,
}

impl<T: 'static> StoreInner<T> {
    pub(crate) fn opaque_mut(&mut self) -> &mut StoreOpaque {
        &mut self.opaque
    }

    pub(crate) fn deadline_callback(&mut self) -> &mut Option<DeadlineCallback<T>> {
        &mut self.deadline_callback
    }

    pub(crate) fn call_hook(&mut self) -> &mut Option<CallHookFn<T>> {
        &mut self.call_hook
    }

    pub(crate) fn limiter_parts(&mut self) -> (&mut StoreOpaque, &mut T, Option<&mut Limiter<T>>) {
        (&mut self.opaque, &mut self.data, self.limiter.as_mut())
    }
}

impl<T: 'static> Store<T> {
    /// An empty store.
    pub fn new(engine: &Engine, data: T) -> Store<T> {
        Store {
            inner: Box::new(StoreInner {
                opaque: StoreOpaque::new::<T>(engine),
                data,
                limiter: None,
                deadline_callback: None,
                call_hook: None,
            }),
        }
    }

    /// The user's data.
    pub fn data(&self) -> &T {
        &self.inner.data
    }

    /// The user's data.
    pub fn data_mut(&mut self) -> &mut T {
        &mut self.inner.data
    }

    pub(crate) fn inner_mut(&mut self) -> &mut StoreInner<T> {
        &mut self.inner
    }

    pub(crate) fn set_limiter(&mut self, limiter: Limiter<T>) {
        self.inner.limiter = Some(limiter);
    }

    /// The user's data, out of the store.
    pub fn into_data(self) -> T {
        self.inner.data
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        self.inner.opaque.engine()
    }
}

impl<T: fmt::Debug> fmt::Debug for Store<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("inner", &self.inner.opaque)
            .field("data", &self.inner.data)
            .finish()
    }
}

/// A borrowed store.
pub struct StoreContext<'a, T: 'static>(&'a StoreInner<T>);

/// A mutably borrowed store.
pub struct StoreContextMut<'a, T: 'static>(&'a mut StoreInner<T>);

impl<'a, T> StoreContext<'a, T> {
    pub(crate) fn opaque(&self) -> &'a StoreOpaque {
        &self.0.opaque
    }

    /// The user's data.
    pub fn data(&self) -> &'a T {
        &self.0.data
    }

    /// The engine.
    pub fn engine(&self) -> &'a Engine {
        self.0.opaque.engine()
    }
}

impl<'a, T> StoreContextMut<'a, T> {
    pub(crate) fn from_inner(inner: &'a mut StoreInner<T>) -> Self {
        StoreContextMut(inner)
    }

    pub(crate) fn opaque(&mut self) -> &mut StoreOpaque {
        &mut self.0.opaque
    }

    pub(crate) fn inner_mut(&mut self) -> &mut StoreInner<T> {
        self.0
    }

    pub(crate) fn split(self) -> (&'a mut StoreOpaque, &'a mut T) {
        (&mut self.0.opaque, &mut self.0.data)
    }

    /// The user's data.
    pub fn data(&self) -> &T {
        &self.0.data
    }

    /// The user's data.
    pub fn data_mut(&mut self) -> &mut T {
        &mut self.0.data
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        self.0.opaque.engine()
    }
}

impl<T: fmt::Debug> fmt::Debug for StoreContext<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoreContext").field(&self.0.data).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for StoreContextMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoreContextMut")
            .field(&self.0.data)
            .finish()
    }
}

/// What gives access to a store: [`Store`], [`StoreContext`], [`StoreContextMut`],
/// [`Caller`](crate::Caller) and references to them.
pub trait AsContext {
    /// The user's data.
    type Data: 'static;

    /// The store.
    fn as_context(&self) -> StoreContext<'_, Self::Data>;
}

/// What gives mutable access to a store.
pub trait AsContextMut: AsContext {
    /// The store.
    fn as_context_mut(&mut self) -> StoreContextMut<'_, Self::Data>;
}

impl<T: 'static> AsContext for Store<T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        StoreContext(&self.inner)
    }
}

impl<T: 'static> AsContextMut for Store<T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        StoreContextMut(&mut self.inner)
    }
}

impl<T: 'static> AsContext for StoreContext<'_, T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        StoreContext(self.0)
    }
}

impl<T: 'static> AsContext for StoreContextMut<'_, T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        StoreContext(self.0)
    }
}

impl<T: 'static> AsContextMut for StoreContextMut<'_, T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        StoreContextMut(self.0)
    }
}

impl<C: AsContext + ?Sized> AsContext for &C {
    type Data = C::Data;

    fn as_context(&self) -> StoreContext<'_, C::Data> {
        C::as_context(self)
    }
}

impl<C: AsContext + ?Sized> AsContext for &mut C {
    type Data = C::Data;

    fn as_context(&self) -> StoreContext<'_, C::Data> {
        C::as_context(self)
    }
}

impl<C: AsContextMut + ?Sized> AsContextMut for &mut C {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, C::Data> {
        C::as_context_mut(self)
    }
}

impl<'a, C: AsContext> From<&'a C> for StoreContext<'a, C::Data> {
    fn from(store: &'a C) -> Self {
        store.as_context()
    }
}

impl<'a, C: AsContext> From<&'a mut C> for StoreContext<'a, C::Data> {
    fn from(store: &'a mut C) -> Self {
        C::as_context(store)
    }
}

impl<'a, C: AsContextMut> From<&'a mut C> for StoreContextMut<'a, C::Data> {
    fn from(store: &'a mut C) -> Self {
        store.as_context_mut()
    }
}
