//! References to what the collector keeps: values of the host's, objects, exceptions.
//!
//! Objects move, so a handle is a place in the store's table of roots (`vm/gc/roots.rs`), not the
//! reference itself. Places end with the scope that they were made in.

mod any;
mod array;
mod exception;
mod external;
pub(crate) mod fields;
mod structure;

use std::fmt;

pub use any::{AnyRef, EqRef, I31};
pub use array::{ArrayRef, ArrayRefPre};
pub use exception::ExnRef;
pub use external::ExternRef;
pub use structure::{StructRef, StructRefPre};

use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::store::{AsContext, AsContextMut, Store, StoreContext, StoreContextMut};
use crate::types::HeapType;
use crate::vm::{GcStats, OwnedRoot, RootHandle, ScopeStart, StoreId, StoreOpaque};

/// A handle that is good as long as its scope: all reference types are such handles. It is here so
/// that signatures can say so, as they do with Wasmtime.
pub type Rooted<T> = T;

/// A place in the table of roots of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    store: StoreId,
    root: RootHandle,
}

impl Handle {
    pub(crate) fn new(store: &StoreOpaque, raw: u32) -> Handle {
        Handle {
            store: store.id(),
            root: store.root(raw),
        }
    }

    /// The reference, of this store.
    pub(crate) fn checked(&self, store: &StoreOpaque) -> Result<u32> {
        store.check(self.store, "reference")?;
        store
            .rooted(self.root)
            .ok_or_else(|| Error::usage("the scope that this reference was obtained in has ended"))
    }
}

/// A type of references that are handles: [`ExternRef`], [`AnyRef`], [`StructRef`], …
pub trait GcRef: sealed::GcRef {}

pub(crate) mod sealed {
    use super::Handle;

    pub trait GcRef: Copy {
        /// Around a handle to a reference of the right kind.
        fn from_handle(handle: Handle) -> Self;
        fn handle(&self) -> Handle;
    }
}

macro_rules! reference {
    ($name:ident) => {
        impl crate::gc::sealed::GcRef for $name {
            fn from_handle(handle: crate::gc::Handle) -> Self {
                $name(handle)
            }

            fn handle(&self) -> crate::gc::Handle {
                self.0
            }
        }

        impl crate::gc::GcRef for $name {}

        impl $name {
            #[allow(dead_code, reason = "not every type of references needs it")]
            pub(crate) fn from_raw(store: &crate::vm::StoreOpaque, raw: u32) -> Option<$name> {
                (raw != bimetal_abi::gc::reference::NULL)
                    .then(|| $name(crate::gc::Handle::new(store, raw)))
            }

            pub(crate) fn checked(&self, store: &crate::vm::StoreOpaque) -> crate::Result<u32> {
                self.0.checked(store)
            }

            /// A handle that keeps what this refers to until it, and all clones of it, are dropped.
            ///
            /// # Errors
            /// If the scope of this one has ended, or it is of another store.
            pub fn to_owned_rooted(
                &self,
                mut store: impl crate::store::AsContextMut,
            ) -> crate::Result<crate::gc::OwnedRooted<$name>> {
                crate::gc::OwnedRooted::new(store.as_context_mut().opaque(), *self)
            }

            /// Whether both refer to the same.
            ///
            /// # Errors
            /// If the scope of one has ended, or it is of another store.
            pub fn ref_eq(
                store: impl crate::store::AsContext,
                a: &$name,
                b: &$name,
            ) -> crate::Result<bool> {
                let store = store.as_context();
                Ok(a.checked(store.opaque())? == b.checked(store.opaque())?)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}

pub(crate) use reference;

/// A handle that keeps what it refers to: [`ExternRef::to_owned_rooted`].
#[derive(Clone)]
pub struct OwnedRooted<T> {
    store: StoreId,
    root: OwnedRoot,
    kind: std::marker::PhantomData<fn() -> T>,
}

impl<T: GcRef> OwnedRooted<T> {
    fn new(store: &mut StoreOpaque, reference: T) -> Result<OwnedRooted<T>> {
        let raw = reference.handle().checked(store)?;
        Ok(OwnedRooted {
            store: store.id(),
            root: store.own(raw),
            kind: std::marker::PhantomData,
        })
    }

    /// The reference, which is held by the current [`RootScope`] as well.
    ///
    /// # Errors
    /// If it is of another store.
    pub fn to_rooted(&self, mut store: impl AsContextMut) -> Result<T> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        store.check(self.store, "reference")?;
        let raw = store.owned(&self.root);
        let raw = raw.ok_or_else(|| Error::usage("the reference is gone"))?;
        Ok(T::from_handle(Handle::new(store, raw)))
    }
}

impl<T> fmt::Debug for OwnedRooted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnedRooted")
    }
}

/// A scope for references that the host obtains: those obtained in it, of the store that it
/// borrows, do not keep their values once it ends.
///
/// ```
/// use bimetal::{Engine, ExternRef, RootScope, Store};
///
/// let mut store = Store::new(&Engine::default(), ());
/// let reference = {
///     let mut scope = RootScope::new(&mut store);
///     let reference = ExternRef::new(&mut scope, "for a while")?;
///     assert!(reference.data(&scope).is_ok());
///     reference
/// };
/// store.gc();
/// assert!(reference.data(&store).is_err());
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Debug)]
pub struct RootScope<C: AsContextMut> {
    store: C,
    scope: ScopeStart,
}

impl<C: AsContextMut> RootScope<C> {
    /// Begins a scope, inside of the current one.
    pub fn new(mut store: C) -> RootScope<C> {
        let scope = store.as_context_mut().opaque().open_scope();
        RootScope { store, scope }
    }
}

impl<C: AsContextMut> Drop for RootScope<C> {
    fn drop(&mut self) {
        let mut store = self.store.as_context_mut();
        store.opaque().close_scope(self.scope);
    }
}

impl<C: AsContextMut> AsContext for RootScope<C> {
    type Data = C::Data;

    fn as_context(&self) -> StoreContext<'_, C::Data> {
        self.store.as_context()
    }
}

impl<C: AsContextMut> AsContextMut for RootScope<C> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, C::Data> {
        self.store.as_context_mut()
    }
}

/// The type of what a reference, not null, is to.
pub(crate) fn type_of(store: &StoreOpaque, raw: u32) -> HeapType {
    use bimetal_abi::gc::{VmObject, reference};
    match store.gc_object(raw) {
        Some((VmObject::EXCEPTION, _)) => HeapType::Exn,
        Some((_, id)) => HeapType::of(store.engine().types().at(id)),
        None if raw & reference::I31 != 0 => HeapType::I31,
        None => HeapType::Any,
    }
}

macro_rules! gc {
    ($($store:ty)*) => {
        $(impl<T: 'static> $store {
            /// Collects all that neither wasm nor the host can reach: objects, exceptions, and the values
            /// of [`ExternRef`]s. It happens by itself when there is little room, bit by bit.
            pub fn gc(&mut self) {
                self.as_context_mut().opaque().collect();
            }

            /// What the collector has done in this store so far, and for how long it stopped it.
            pub fn gc_stats(&self) -> GcStats {
                self.as_context().opaque().gc_stats()
            }
        })*
    };
}

gc!(Store<T> StoreContextMut<'_, T> Caller<'_, T>);
