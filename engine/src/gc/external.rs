//! External references.

use std::any::Any;

use super::{AnyRef, Handle, reference};
use crate::error::{Error, Result};
use crate::store::{AsContextMut, StoreContext, StoreContextMut};

/// A reference to a value of the host's, which wasm can hold and pass on but not look into. It may
/// also be an internal value that wasm has converted, see [`ExternRef::convert_any`].
///
/// The value is kept while wasm can reach it: in a table, a global, an object, or a local. A reference
/// that the host has keeps it as well:
/// - one obtained inside of a host function, until that returns;
/// - any other, until the [`RootScope`](crate::RootScope) that it was obtained in ends, or as long as
///   the store if it was in none;
/// - an [`OwnedRooted`](crate::OwnedRooted), until that is dropped.
///
/// After that it goes at some time ([`Store::gc`](crate::Store::gc)), and using the handle is an error.
///
/// ```
/// use bimetal::{Engine, ExternRef, RootScope, Store};
///
/// let mut store = Store::new(&Engine::default(), ());
/// let reference = ExternRef::new(&mut store, "hello")?;
/// assert_eq!(reference.data(&store)?.downcast_ref(), Some(&"hello"));
///
/// let kept = {
///     let mut scope = RootScope::new(&mut store);
///     ExternRef::new(&mut scope, 7)?.to_owned_rooted(&mut scope)?
/// };
/// store.gc();
/// let reference = kept.to_rooted(&mut store)?;
/// assert_eq!(reference.data(&store)?.downcast_ref(), Some(&7));
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExternRef(Handle);

reference!(ExternRef);

impl ExternRef {
    /// A reference to `value`.
    ///
    /// # Errors
    /// If the store holds a thousand million already.
    pub fn new(
        mut store: impl AsContextMut,
        value: impl Any + Send + Sync + 'static,
    ) -> Result<ExternRef> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let raw = store.new_extern(Box::new(value))?;
        Ok(ExternRef(Handle::new(store, raw)))
    }

    /// An internal value as an external one, as `extern.convert_any` does.
    ///
    /// # Errors
    /// If it is of another store, or its scope has ended.
    pub fn convert_any(mut store: impl AsContextMut, value: AnyRef) -> Result<ExternRef> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        Ok(ExternRef(Handle::new(store, value.checked(store)?)))
    }

    /// The value.
    ///
    /// # Errors
    /// If it belongs to another store, its scope has ended, or it is an internal value.
    pub fn data<'a, T: 'static>(
        &self,
        store: impl Into<StoreContext<'a, T>>,
    ) -> Result<&'a (dyn Any + Send + Sync)> {
        let store = store.into().opaque();
        store.extern_data(self.checked(store)?).ok_or_else(internal)
    }

    /// The value, mutably.
    ///
    /// # Errors
    /// As for [`ExternRef::data`].
    pub fn data_mut<'a, T: 'static>(
        &self,
        store: impl Into<StoreContextMut<'a, T>>,
    ) -> Result<&'a mut (dyn Any + Send + Sync)> {
        let (store, _) = store.into().split();
        let raw = self.checked(store)?;
        store.extern_data_mut(raw).ok_or_else(internal)
    }
}

fn internal() -> Error {
    Error::usage("this external reference is to an internal value, not to one of the host's")
}
