//! References: to values of the host's, and of any kind.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::func::Func;
use crate::registry::Registry;
use crate::store::{AsContext, AsContextMut, Store, StoreContext, StoreContextMut};
use crate::types::{HeapType, RefType};
use crate::val::Val;
use crate::vm::{GcStats, StoreId, StoreOpaque};

/// A reference to a value of the host's, which wasm can hold and pass on but not look into.
///
/// The value is kept while wasm can reach it: in a table, a global, or while wasm is running. A
/// reference that the host has keeps it as well:
/// - one obtained inside of a host function, until the call into wasm that led there returns;
/// - any other, until the [`RootScope`] that it was obtained in ends, or as long as the store if it
///   was in none;
/// - an [`OwnedRooted`], until that is dropped.
///
/// After that it goes at some time ([`Store::gc`](crate::Store::gc)), and using it is an error.
///
/// ```
/// use bimetal::{Engine, ExternRef, Store};
///
/// let mut store = Store::new(&Engine::default(), ());
/// let reference = ExternRef::new(&mut store, "hello")?;
/// assert_eq!(reference.data(&store)?.downcast_ref(), Some(&"hello"));
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExternRef {
    store: StoreId,
    handle: u32,
    generation: u32,
}

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
        let (handle, generation) = store.new_extern(Box::new(value))?;
        Ok(ExternRef {
            store: store.id(),
            handle,
            generation,
        })
    }

    /// The value.
    ///
    /// # Errors
    /// If it belongs to another store.
    pub fn data<'a, T: 'static>(
        &self,
        store: impl Into<StoreContext<'a, T>>,
    ) -> Result<&'a (dyn Any + Send + Sync)> {
        let store = store.into().opaque();
        let handle = self.checked(store)?;
        store.extern_data(handle, self.generation).ok_or_else(lost)
    }

    /// The value, mutably.
    ///
    /// # Errors
    /// If it belongs to another store.
    pub fn data_mut<'a, T: 'static>(
        &self,
        store: impl Into<StoreContextMut<'a, T>>,
    ) -> Result<&'a mut (dyn Any + Send + Sync)> {
        let (store, _) = store.into().split();
        let handle = self.checked(store)?;
        store
            .extern_data_mut(handle, self.generation)
            .ok_or_else(lost)
    }

    pub(crate) fn checked(&self, store: &StoreOpaque) -> Result<u32> {
        store.check(self.store, "external reference")?;
        match store.has_extern(self.handle, self.generation) {
            true => Ok(self.handle),
            false => Err(lost()),
        }
    }

    pub(crate) fn from_handle(store: &StoreOpaque, handle: u32) -> Option<ExternRef> {
        (handle != 0).then(|| ExternRef {
            store: store.id(),
            handle,
            generation: store.obtain_extern(handle),
        })
    }

    /// A handle that keeps the value until it, and all clones of it, are dropped.
    ///
    /// ```
    /// use bimetal::{Engine, ExternRef, RootScope, Store};
    ///
    /// let mut store = Store::new(&Engine::default(), ());
    /// let kept = {
    ///     let mut scope = RootScope::new(&mut store);
    ///     ExternRef::new(&mut scope, 7)?.to_owned_rooted(&mut scope)?
    /// };
    /// store.gc();
    /// let reference = kept.to_rooted(&mut store)?;
    /// assert_eq!(reference.data(&store)?.downcast_ref(), Some(&7));
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the value is gone, or of another store.
    pub fn to_owned_rooted(&self, mut store: impl AsContextMut) -> Result<OwnedRooted<ExternRef>> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let handle = self.checked(store)?;
        let owner = match store.externs.owner(handle).upgrade() {
            Some(owner) => owner,
            None => {
                let owner = Arc::new(());
                store.externs.set_owner(handle, Arc::downgrade(&owner));
                owner
            }
        };
        Ok(OwnedRooted {
            reference: *self,
            _owner: owner,
        })
    }
}

/// A handle that keeps what it refers to: [`ExternRef::to_owned_rooted`].
#[derive(Clone, Debug)]
pub struct OwnedRooted<T> {
    reference: T,
    _owner: Arc<()>,
}

impl OwnedRooted<ExternRef> {
    /// The reference, which is held by the current [`RootScope`] as well.
    ///
    /// # Errors
    /// If it is of another store.
    pub fn to_rooted(&self, mut store: impl AsContextMut) -> Result<ExternRef> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        store.obtain_extern(self.reference.checked(store)?);
        Ok(self.reference)
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
    scope: u64,
}

impl<C: AsContextMut> RootScope<C> {
    /// Begins a scope, inside of the current one.
    pub fn new(mut store: C) -> RootScope<C> {
        let scope = store.as_context_mut().opaque().externs.open_scope();
        RootScope { store, scope }
    }
}

impl<C: AsContextMut> Drop for RootScope<C> {
    fn drop(&mut self) {
        let mut store = self.store.as_context_mut();
        store.opaque().externs.close_scope(self.scope);
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

macro_rules! gc {
    ($($store:ty)*) => {
        $(impl<T: 'static> $store {
            /// Collects all objects, and drops the values of external references, that nothing can reach
            /// any more, see [`ExternRef`]. That happens by itself as there are more of them; this does
            /// all of it at once. Nothing happens in the callback of a deadline or a call hook: then
            /// arguments are on their way, which nobody is seen to hold.
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

fn lost() -> Error {
    Error::usage("the value of this external reference is gone: nothing held it")
}

impl fmt::Debug for ExternRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExternRef({})", self.handle)
    }
}

/// A reference of any kind, or null: what tables hold.
///
/// ```
/// use bimetal::{Engine, Func, Ref, Store};
///
/// let mut store = Store::new(&Engine::default(), ());
/// let func = Func::wrap(&mut store, || {});
/// assert!(Ref::from(func).is_non_null());
/// assert_eq!(Ref::Func(Some(func)).as_func(), Some(Some(&func)));
/// assert!(Ref::Extern(None).is_null());
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Ref {
    /// A function, or null.
    Func(Option<Func>),
    /// A value of the host's, or null.
    Extern(Option<ExternRef>),
}

impl Ref {
    /// The null reference that has this type.
    pub fn null(heap_type: &HeapType) -> Ref {
        match RefKind::of(heap_type) {
            RefKind::Func => Ref::Func(None),
            _ => Ref::Extern(None),
        }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Ref::Func(None) | Ref::Extern(None))
    }

    /// Whether it is not null.
    pub fn is_non_null(&self) -> bool {
        !self.is_null()
    }

    /// Whether it is a function, or null instead of one.
    pub fn is_func(&self) -> bool {
        matches!(self, Ref::Func(_))
    }

    /// The function or null, if it is one.
    pub fn as_func(&self) -> Option<Option<&Func>> {
        match self {
            Ref::Func(func) => Some(func.as_ref()),
            _ => None,
        }
    }

    /// The function or null.
    ///
    /// # Panics
    /// If it is neither.
    pub fn unwrap_func(&self) -> Option<&Func> {
        self.as_func()
            .unwrap_or_else(|| panic!("expected a function, got {self:?}"))
    }

    /// Whether it is a value of the host's, or null instead of one.
    pub fn is_extern(&self) -> bool {
        matches!(self, Ref::Extern(_))
    }

    /// The reference to a value of the host's or null, if it is one.
    pub fn as_extern(&self) -> Option<Option<&ExternRef>> {
        match self {
            Ref::Extern(value) => Some(value.as_ref()),
            _ => None,
        }
    }

    /// The reference to a value of the host's or null.
    ///
    /// # Panics
    /// If it is neither.
    pub fn unwrap_extern(&self) -> Option<&ExternRef> {
        self.as_extern()
            .unwrap_or_else(|| panic!("expected an external reference, got {self:?}"))
    }

    /// Its type, the one that is furthest down: of a function its own, of a null a bottom type.
    ///
    /// # Errors
    /// If it is of another store, or its value is gone.
    pub fn ty(&self, store: impl AsContext) -> Result<RefType> {
        self.try_ty(store.as_context().opaque())
    }

    pub(crate) fn try_ty(&self, store: &StoreOpaque) -> Result<RefType> {
        Ok(match self {
            Ref::Func(None) => RefType::NULLFUNCREF,
            Ref::Func(Some(func)) => RefType::new(false, func.try_ty(store)?.into()),
            Ref::Extern(None) => RefType::NULLEXTERNREF,
            Ref::Extern(Some(value)) => {
                value.checked(store)?;
                RefType::new(false, HeapType::Extern)
            }
        })
    }

    /// Whether it is a value of this type: also by not being null where null is none.
    ///
    /// # Errors
    /// If it is of another store.
    pub fn matches_ty(&self, store: impl AsContext, ty: &RefType) -> Result<bool> {
        self.is_of(store.as_context().opaque(), ty)
    }

    pub(crate) fn is_of(&self, store: &StoreOpaque, ty: &RefType) -> Result<bool> {
        Ok(self.try_ty(store)?.matches(ty))
    }
}

/// What values of a reference type are to the host, whatever exactly is referred to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefKind {
    Func,
    Extern,
    Any,
    Exn,
}

impl RefKind {
    pub(crate) fn of(ty: &HeapType) -> RefKind {
        match ty.top() {
            HeapType::Func => RefKind::Func,
            HeapType::Extern => RefKind::Extern,
            HeapType::Exn => RefKind::Exn,
            _ => RefKind::Any,
        }
    }

    /// Of a type that has engine-wide numbers.
    pub(crate) fn of_raw(ty: &bimetal_wasm::HeapType, types: &Arc<Registry>) -> RefKind {
        use bimetal_wasm::HeapType as H;
        match ty {
            H::Func | H::NoFunc => RefKind::Func,
            H::Extern | H::NoExtern => RefKind::Extern,
            H::Exn | H::NoExn => RefKind::Exn,
            H::Concrete(index) if types.at(index.as_u32()).is_func() => RefKind::Func,
            _ => RefKind::Any,
        }
    }
}

macro_rules! from {
    ($($ty:ty => $variant:ident($value:ident) $e:expr;)*) => {
        $(impl From<$ty> for Ref {
            fn from($value: $ty) -> Ref {
                Ref::$variant($e)
            }
        })*
    };
}

from! {
    Func => Func(v) Some(v);
    Option<Func> => Func(v) v;
    ExternRef => Extern(v) Some(v);
    Option<ExternRef> => Extern(v) v;
}

impl From<Ref> for Val {
    fn from(value: Ref) -> Val {
        match value {
            Ref::Func(func) => Val::FuncRef(func),
            Ref::Extern(value) => Val::ExternRef(value),
        }
    }
}
