//! Values.

use std::fmt;

use crate::error::Result;
use crate::func::Func;
use crate::gc::{AnyRef, ArrayRef, EqRef, ExnRef, ExternRef, StructRef};
use crate::reference::Ref;
use crate::store::AsContext;
use crate::types::{HeapType, ValType};
use crate::vm::StoreOpaque;

/// A 128-bit vector, as a number whose little-endian bytes are the lanes.
///
/// ```
/// use bimetal::{V128, Val};
///
/// let lanes = [1_u32, 2, 3, 4].map(u32::to_le_bytes).concat();
/// let vector = V128::from(u128::from_le_bytes(lanes.try_into().unwrap()));
/// assert_eq!(vector.as_u128() >> 96, 4);
/// assert_eq!(Val::from(vector).unwrap_v128(), vector);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct V128(u128);

impl V128 {
    /// As a number.
    pub fn as_u128(self) -> u128 {
        self.0
    }
}

impl From<u128> for V128 {
    fn from(value: u128) -> V128 {
        V128(value)
    }
}

impl From<V128> for u128 {
    fn from(value: V128) -> u128 {
        value.0
    }
}

impl fmt::Debug for V128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#034x}", self.0)
    }
}

/// A wasm value.
///
/// ```
/// use bimetal::{Val, ValType};
///
/// assert_eq!(Val::from(-1_i32).unwrap_i32(), -1);
/// assert_eq!(Val::from(1.5_f64).f64(), Some(1.5));
/// assert_eq!(Val::from(7_u64).i32(), None);
/// assert_eq!(Val::default_for_ty(&ValType::I64).unwrap().i64(), Some(0));
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Val {
    /// A 32-bit integer.
    I32(i32),
    /// A 64-bit integer.
    I64(i64),
    /// The bits of a 32-bit float; see [`Val::from`] and [`Val::f32`].
    F32(u32),
    /// The bits of a 64-bit float.
    F64(u64),
    /// A vector.
    V128(V128),
    /// A function, or null.
    FuncRef(Option<Func>),
    /// A value of the host's, or null.
    ExternRef(Option<ExternRef>),
    /// An internal value, or null.
    AnyRef(Option<AnyRef>),
    /// An exception, or null.
    ExnRef(Option<ExnRef>),
}

macro_rules! accessors {
    ($($variant:ident $get:ident $unwrap:ident $ty:ty = $value:ident => $e:expr;)*) => {
        $(
            #[doc = concat!("The value, if it is an `", stringify!($variant), "`.")]
            pub fn $get(&self) -> Option<$ty> {
                match self {
                    Val::$variant($value) => Some($e),
                    _ => None,
                }
            }

            #[doc = concat!("The value, which is an `", stringify!($variant), "`.")]
            ///
            /// # Panics
            /// If it is not.
            pub fn $unwrap(&self) -> $ty {
                self.$get()
                    .unwrap_or_else(|| panic!("expected {}, got {self:?}", stringify!($variant)))
            }
        )*
    };
}

impl Val {
    accessors! {
        I32 i32 unwrap_i32 i32 = v => *v;
        I64 i64 unwrap_i64 i64 = v => *v;
        F32 f32 unwrap_f32 f32 = v => f32::from_bits(*v);
        F64 f64 unwrap_f64 f64 = v => f64::from_bits(*v);
        V128 v128 unwrap_v128 V128 = v => *v;
        FuncRef funcref unwrap_funcref Option<&Func> = v => v.as_ref();
        ExternRef externref unwrap_externref Option<&ExternRef> = v => v.as_ref();
        AnyRef anyref unwrap_anyref Option<&AnyRef> = v => v.as_ref();
        ExnRef exnref unwrap_exnref Option<&ExnRef> = v => v.as_ref();
    }

    /// The null reference that has this type.
    pub fn null_ref(heap_type: &HeapType) -> Val {
        Ref::null(heap_type).into()
    }

    /// No function.
    pub const fn null_func_ref() -> Val {
        Val::FuncRef(None)
    }

    /// No value of the host's.
    pub const fn null_extern_ref() -> Val {
        Val::ExternRef(None)
    }

    /// No internal value.
    pub const fn null_any_ref() -> Val {
        Val::AnyRef(None)
    }

    /// No exception.
    pub const fn null_exn_ref() -> Val {
        Val::ExnRef(None)
    }

    /// The reference, if it is one.
    pub fn ref_(self) -> Option<Ref> {
        match self {
            Val::FuncRef(func) => Some(Ref::Func(func)),
            Val::ExternRef(value) => Some(Ref::Extern(value)),
            Val::AnyRef(value) => Some(Ref::Any(value)),
            Val::ExnRef(value) => Some(Ref::Exn(value)),
            _ => None,
        }
    }

    /// Whether it is a value of this type.
    ///
    /// # Errors
    /// If it is a reference of another store.
    pub fn matches_ty(&self, store: impl AsContext, ty: &ValType) -> Result<bool> {
        match (self.ref_(), ty) {
            (Some(value), ValType::Ref(ty)) => value.matches_ty(store, ty),
            (_, ty) => Ok(self.ty(store)? == *ty),
        }
    }

    /// Its type: of a reference the one that is furthest down, such as `(ref null nofunc)` of a null.
    ///
    /// # Errors
    /// If it is a reference of another store, or its value is gone.
    pub fn ty(&self, store: impl AsContext) -> Result<ValType> {
        self.try_ty(store.as_context().opaque())
    }

    pub(crate) fn try_ty(&self, store: &StoreOpaque) -> Result<ValType> {
        Ok(match self {
            Val::I32(_) => ValType::I32,
            Val::I64(_) => ValType::I64,
            Val::F32(_) => ValType::F32,
            Val::F64(_) => ValType::F64,
            Val::V128(_) => ValType::V128,
            reference => match reference.ref_() {
                Some(value) => ValType::Ref(value.try_ty(store)?),
                None => unreachable!("all others are numbers"),
            },
        })
    }

    /// Zero or null of this type; `None` for references that cannot be null.
    pub fn default_for_ty(ty: &ValType) -> Option<Val> {
        match ty {
            ValType::Ref(ty) if !ty.is_nullable() => None,
            ty => Some(Val::zero(ty)),
        }
    }

    /// Zero or null, also where null is no value of the type: to be overwritten.
    pub(crate) fn zero(ty: &ValType) -> Val {
        match ty {
            ValType::I32 => Val::I32(0),
            ValType::I64 => Val::I64(0),
            ValType::F32 => Val::F32(0),
            ValType::F64 => Val::F64(0),
            ValType::V128 => Val::V128(V128(0)),
            ValType::Ref(ty) => Val::null_ref(ty.heap_type()),
        }
    }
}

macro_rules! from {
    ($($ty:ty => $variant:ident($value:ident) $e:expr;)*) => {
        $(impl From<$ty> for Val {
            fn from($value: $ty) -> Val {
                Val::$variant($e)
            }
        })*
    };
}

from! {
    i32 => I32(v) v;
    u32 => I32(v) v as i32;
    i64 => I64(v) v;
    u64 => I64(v) v as i64;
    f32 => F32(v) v.to_bits();
    f64 => F64(v) v.to_bits();
    V128 => V128(v) v;
    Func => FuncRef(v) Some(v);
    Option<Func> => FuncRef(v) v;
    ExternRef => ExternRef(v) Some(v);
    Option<ExternRef> => ExternRef(v) v;
    AnyRef => AnyRef(v) Some(v);
    Option<AnyRef> => AnyRef(v) v;
    EqRef => AnyRef(v) Some(v.to_anyref());
    StructRef => AnyRef(v) Some(v.to_anyref());
    ArrayRef => AnyRef(v) Some(v.to_anyref());
    ExnRef => ExnRef(v) Some(v);
    Option<ExnRef> => ExnRef(v) v;
}
