//! Internal references: to objects, and 31-bit integers.

use std::any::Any;

use bimetal_abi::gc::reference as bits;

use super::{ArrayRef, ExternRef, Handle, StructRef, reference, type_of};
use crate::error::Result;
use crate::store::{AsContext, AsContextMut, StoreContext};
use crate::types::{HeapType, RefType};
use crate::vm::StoreOpaque;

/// A 31-bit integer, as an `i31ref` has it.
///
/// ```
/// use bimetal::I31;
///
/// assert_eq!(I31::new_i32(-1).unwrap().get_i32(), -1);
/// assert_eq!(I31::new_i32(-1).unwrap().get_u32(), 0x7fff_ffff);
/// assert_eq!(I31::new_u32(1 << 31), None);
/// assert_eq!(I31::wrapping_u32(u32::MAX).get_u32(), 0x7fff_ffff);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct I31(u32);

impl I31 {
    /// The number, if it has 31 bits.
    pub fn new_u32(value: u32) -> Option<I31> {
        (value < 1 << 31).then_some(I31(value))
    }

    /// The number, if it has 31 bits with its sign.
    pub fn new_i32(value: i32) -> Option<I31> {
        let i31 = I31::wrapping_i32(value);
        (i31.get_i32() == value).then_some(i31)
    }

    /// The low 31 bits.
    pub fn wrapping_u32(value: u32) -> I31 {
        I31(value & 0x7fff_ffff)
    }

    /// The low 31 bits.
    pub fn wrapping_i32(value: i32) -> I31 {
        I31::wrapping_u32(value as u32)
    }

    /// Without sign.
    pub fn get_u32(&self) -> u32 {
        self.0
    }

    /// With its sign.
    pub fn get_i32(&self) -> i32 {
        (self.0 << 1) as i32 >> 1
    }

    pub(crate) fn raw(self) -> u32 {
        self.0 << 1 | bits::I31
    }

    pub(crate) fn from_raw(raw: u32) -> Option<I31> {
        (raw & bits::I31 != 0).then_some(I31(raw >> 1))
    }
}

/// A reference to an internal value: a struct, an array or a 31-bit integer; or a value of the host's
/// that was converted, see [`AnyRef::convert_extern`].
///
/// ```
/// use bimetal::{AnyRef, Engine, I31, Store};
///
/// let mut store = Store::new(&Engine::default(), ());
/// let seven = AnyRef::from_i31(&mut store, I31::wrapping_u32(7));
/// assert!(seven.is_i31(&store)? && !seven.is_struct(&store)?);
/// assert_eq!(seven.unwrap_i31(&store)?.get_u32(), 7);
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AnyRef(pub(super) Handle);

/// A reference to a comparable value: a struct, an array or a 31-bit integer.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EqRef(pub(super) Handle);

reference!(AnyRef);
reference!(EqRef);

macro_rules! common {
    ($name:ident) => {
        impl $name {
            /// A 31-bit integer.
            pub fn from_i31(mut store: impl AsContextMut, value: I31) -> $name {
                $name(Handle::new(store.as_context_mut().opaque(), value.raw()))
            }

            pub(crate) fn try_ty(&self, store: &StoreOpaque) -> Result<HeapType> {
                Ok(type_of(store, self.checked(store)?))
            }

            /// The type of what it is to: that of the struct or array, `i31`, or `any` of a value of the
            /// host's.
            ///
            /// # Errors
            /// If it is of another store, or its scope has ended; so do all other methods.
            pub fn ty(&self, store: impl AsContext) -> Result<HeapType> {
                self.try_ty(store.as_context().opaque())
            }

            /// Whether it is a value of this type.
            ///
            /// # Errors
            /// As for `ty`.
            pub fn matches_ty(&self, store: impl AsContext, ty: &HeapType) -> Result<bool> {
                Ok(self.ty(store)?.matches(ty))
            }

            /// Whether it is a 31-bit integer.
            ///
            /// # Errors
            /// As for `ty`.
            pub fn is_i31(&self, store: impl AsContext) -> Result<bool> {
                Ok(self.as_i31(store)?.is_some())
            }

            /// The 31-bit integer, if it is one.
            ///
            /// # Errors
            /// As for `ty`.
            pub fn as_i31(&self, store: impl AsContext) -> Result<Option<I31>> {
                let store = store.as_context();
                Ok(I31::from_raw(self.checked(store.opaque())?))
            }

            /// The 31-bit integer.
            ///
            /// # Errors
            /// As for `ty`.
            ///
            /// # Panics
            /// If it is something else.
            pub fn unwrap_i31(&self, store: impl AsContext) -> Result<I31> {
                Ok(self.as_i31(store)?.expect("a 31-bit integer"))
            }

            /// Whether it is a struct.
            ///
            /// # Errors
            /// As for `ty`.
            pub fn is_struct(&self, store: impl AsContext) -> Result<bool> {
                self.matches_ty(store, &HeapType::Struct)
            }

            /// The struct, if it is one.
            ///
            /// # Errors
            /// As for `ty`.
            pub fn as_struct(&self, store: impl AsContext) -> Result<Option<StructRef>> {
                Ok(self.is_struct(store)?.then_some(StructRef(self.0)))
            }

            /// The struct.
            ///
            /// # Errors
            /// As for `ty`.
            ///
            /// # Panics
            /// If it is something else.
            pub fn unwrap_struct(&self, store: impl AsContext) -> Result<StructRef> {
                Ok(self.as_struct(store)?.expect("a struct"))
            }

            /// Whether it is an array.
            ///
            /// # Errors
            /// As for `ty`.
            pub fn is_array(&self, store: impl AsContext) -> Result<bool> {
                self.matches_ty(store, &HeapType::Array)
            }

            /// The array, if it is one.
            ///
            /// # Errors
            /// As for `ty`.
            pub fn as_array(&self, store: impl AsContext) -> Result<Option<ArrayRef>> {
                Ok(self.is_array(store)?.then_some(ArrayRef(self.0)))
            }

            /// The array.
            ///
            /// # Errors
            /// As for `ty`.
            ///
            /// # Panics
            /// If it is something else.
            pub fn unwrap_array(&self, store: impl AsContext) -> Result<ArrayRef> {
                Ok(self.as_array(store)?.expect("an array"))
            }
        }
    };
}

common!(AnyRef);
common!(EqRef);

impl AnyRef {
    /// An external value as an internal one, as `any.convert_extern` does.
    ///
    /// # Errors
    /// If it is of another store, or its scope has ended.
    pub fn convert_extern(mut store: impl AsContextMut, value: ExternRef) -> Result<AnyRef> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        Ok(AnyRef(Handle::new(store, value.checked(store)?)))
    }

    /// The value of the host's, if it is one that was converted.
    ///
    /// # Errors
    /// As for [`AnyRef::ty`].
    pub fn host_data<'a, T: 'static>(
        &self,
        store: impl Into<StoreContext<'a, T>>,
    ) -> Result<Option<&'a (dyn Any + Send + Sync)>> {
        let store = store.into().opaque();
        Ok(store.extern_data(self.checked(store)?))
    }

    /// Whether it is comparable: not a value of the host's.
    ///
    /// # Errors
    /// As for [`AnyRef::ty`].
    pub fn is_eqref(&self, store: impl AsContext) -> Result<bool> {
        self.matches_ty(store, &HeapType::Eq)
    }

    /// As a comparable value, if it is one.
    ///
    /// # Errors
    /// As for [`AnyRef::ty`].
    pub fn as_eqref(&self, store: impl AsContext) -> Result<Option<EqRef>> {
        Ok(self.is_eqref(store)?.then_some(EqRef(self.0)))
    }

    /// The reference type of it.
    pub(crate) fn ref_type(&self, store: &StoreOpaque) -> Result<RefType> {
        Ok(RefType::new(false, self.try_ty(store)?))
    }
}

impl EqRef {
    /// As any internal value.
    pub fn to_anyref(self) -> AnyRef {
        AnyRef(self.0)
    }
}
