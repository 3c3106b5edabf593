//! References of any kind.

use std::sync::Arc;

use crate::error::Result;
use crate::func::Func;
use crate::gc::{AnyRef, ArrayRef, EqRef, ExnRef, ExternRef, StructRef};
use crate::registry::Registry;
use crate::store::AsContext;
use crate::types::{HeapType, RefType};
use crate::val::Val;
use crate::vm::StoreOpaque;

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
    /// An internal value, or null.
    Any(Option<AnyRef>),
    /// An exception, or null.
    Exn(Option<ExnRef>),
}

impl Ref {
    /// The null reference that has this type.
    pub fn null(heap_type: &HeapType) -> Ref {
        match RefKind::of(heap_type) {
            RefKind::Func => Ref::Func(None),
            RefKind::Extern => Ref::Extern(None),
            RefKind::Any => Ref::Any(None),
            RefKind::Exn => Ref::Exn(None),
        }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(
            self,
            Ref::Func(None) | Ref::Extern(None) | Ref::Any(None) | Ref::Exn(None)
        )
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

    /// Whether it is an internal value, or null instead of one.
    pub fn is_any(&self) -> bool {
        matches!(self, Ref::Any(_))
    }

    /// The reference to an internal value or null, if it is one.
    pub fn as_any(&self) -> Option<Option<&AnyRef>> {
        match self {
            Ref::Any(value) => Some(value.as_ref()),
            _ => None,
        }
    }

    /// The reference to an internal value or null.
    ///
    /// # Panics
    /// If it is neither.
    pub fn unwrap_any(&self) -> Option<&AnyRef> {
        self.as_any()
            .unwrap_or_else(|| panic!("expected an internal value, got {self:?}"))
    }

    /// Whether it is an exception, or null instead of one.
    pub fn is_exn(&self) -> bool {
        matches!(self, Ref::Exn(_))
    }

    /// The reference to an exception or null, if it is one.
    pub fn as_exn(&self) -> Option<Option<&ExnRef>> {
        match self {
            Ref::Exn(value) => Some(value.as_ref()),
            _ => None,
        }
    }

    /// The reference to an exception or null.
    ///
    /// # Panics
    /// If it is neither.
    pub fn unwrap_exn(&self) -> Option<&ExnRef> {
        self.as_exn()
            .unwrap_or_else(|| panic!("expected an exception, got {self:?}"))
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
            Ref::Any(None) => RefType::NULLREF,
            Ref::Any(Some(value)) => value.ref_type(store)?,
            Ref::Exn(None) => RefType::NULLEXNREF,
            Ref::Exn(Some(value)) => {
                value.checked(store)?;
                RefType::new(false, HeapType::Exn)
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
    AnyRef => Any(v) Some(v);
    Option<AnyRef> => Any(v) v;
    EqRef => Any(v) Some(v.to_anyref());
    StructRef => Any(v) Some(v.to_anyref());
    ArrayRef => Any(v) Some(v.to_anyref());
    ExnRef => Exn(v) Some(v);
    Option<ExnRef> => Exn(v) v;
}

impl From<Ref> for Val {
    fn from(value: Ref) -> Val {
        match value {
            Ref::Func(func) => Val::FuncRef(func),
            Ref::Extern(value) => Val::ExternRef(value),
            Ref::Any(value) => Val::AnyRef(value),
            Ref::Exn(value) => Val::ExnRef(value),
        }
    }
}
