//! Values.

use std::any::Any;
use std::fmt;

use bimetal_wasm::{HeapType, RefType, ValType};

use crate::error::{Error, Result};
use crate::func::Func;
use crate::store::AsContextMut;
use crate::vm::{StoreId, StoreOpaque};

/// A 128-bit vector, as a number whose little-endian bytes are the lanes.
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

/// A wasm value.
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
    }

    /// Its type.
    pub fn ty(&self) -> ValType {
        match self {
            Val::I32(_) => ValType::I32,
            Val::I64(_) => ValType::I64,
            Val::F32(_) => ValType::F32,
            Val::F64(_) => ValType::F64,
            Val::V128(_) => ValType::V128,
            Val::FuncRef(_) => ValType::FUNCREF,
            Val::ExternRef(_) => ValType::EXTERNREF,
        }
    }

    /// Zero or null of this type.
    pub fn default_of(ty: &ValType) -> Val {
        match ty {
            ValType::I32 => Val::I32(0),
            ValType::I64 => Val::I64(0),
            ValType::F32 => Val::F32(0),
            ValType::F64 => Val::F64(0),
            ValType::V128 => Val::V128(V128(0)),
            ValType::Ref(RefType {
                heap: HeapType::Extern | HeapType::NoExtern,
                ..
            }) => Val::ExternRef(None),
            ValType::Ref(_) => Val::FuncRef(None),
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
}
