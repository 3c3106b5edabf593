//! References: to values of the host's, and of any kind.

use std::any::Any;
use std::fmt;

use bimetal_wasm::{HeapType, RefType};

use crate::error::{Error, Result};
use crate::func::Func;
use crate::store::{AsContext, AsContextMut};
use crate::val::Val;
use crate::vm::{StoreId, StoreOpaque};

/// A reference to a value of the host's, which wasm can hold and pass on but not look into.
///
/// The value is kept until the store is dropped.
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
}

impl ExternRef {
    /// A reference to `value`.
    ///
    /// # Errors
    /// If the store holds four thousand million already.
    pub fn new(
        mut store: impl AsContextMut,
        value: impl Any + Send + Sync + 'static,
    ) -> Result<ExternRef> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        Ok(ExternRef {
            store: store.id(),
            handle: store.new_extern(Box::new(value))?,
        })
    }

    /// The value.
    ///
    /// # Errors
    /// If it belongs to another store.
    pub fn data<'a, T: 'static>(
        &self,
        store: impl Into<crate::StoreContext<'a, T>>,
    ) -> Result<&'a (dyn Any + Send + Sync)> {
        let store = store.into().opaque();
        let handle = self.checked(store)?;
        store.extern_data(handle).ok_or_else(lost)
    }

    /// The value, mutably.
    ///
    /// # Errors
    /// If it belongs to another store.
    pub fn data_mut<'a, T: 'static>(
        &self,
        store: impl Into<crate::StoreContextMut<'a, T>>,
    ) -> Result<&'a mut (dyn Any + Send + Sync)> {
        let (store, _) = store.into().split();
        let handle = self.checked(store)?;
        store.extern_data_mut(handle).ok_or_else(lost)
    }

    pub(crate) fn checked(&self, store: &StoreOpaque) -> Result<u32> {
        store.check(self.store, "external reference")?;
        Ok(self.handle)
    }

    pub(crate) fn from_handle(store: &StoreOpaque, handle: u32) -> Option<ExternRef> {
        (handle != 0).then(|| ExternRef {
            store: store.id(),
            handle,
        })
    }
}

fn lost() -> Error {
    Error::usage("this external reference was never made")
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
        match heap_type {
            HeapType::Extern | HeapType::NoExtern => Ref::Extern(None),
            _ => Ref::Func(None),
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

    /// The type of the table or value that it stands in.
    pub fn ty(&self) -> RefType {
        match self {
            Ref::Func(_) => RefType::FUNCREF,
            Ref::Extern(_) => RefType::EXTERNREF,
        }
    }

    /// Whether it is a value of this type: also by not being null where null is none.
    ///
    /// # Errors
    /// If it is of another store.
    pub fn matches_ty(&self, store: impl AsContext, ty: &RefType) -> Result<bool> {
        let store = store.as_context();
        match self {
            Ref::Func(Some(func)) => drop(func.checked(store.opaque())?),
            Ref::Extern(Some(value)) => drop(value.checked(store.opaque())?),
            Ref::Func(None) | Ref::Extern(None) => {}
        }
        Ok(self.ty().heap.matches(&ty.heap) && (ty.nullable || self.is_non_null()))
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
