//! Rust types that are wasm types.
//!
//! [`WasmTy`] maps one value, [`WasmParams`] and [`WasmResults`] a list of them. The raw forms are
//! those of `bimetal_abi::convention`.

use bimetal_abi::{ValRaw, VmFuncRef};
use bimetal_wasm::{HeapType, RefType, ValType};

use super::store::{FuncPtr, StoreOpaque};
use crate::error::Result;
use crate::func::Func;
use crate::gc::{AnyRef, ArrayRef, EqRef, ExnRef, ExternRef, I31, StructRef};
use crate::val::V128;

/// A Rust type that is a wasm value: `i32`, `u32`, `i64`, `u64`, `f32`, `f64`, [`V128`]; [`Func`],
/// [`ExternRef`], [`AnyRef`], [`EqRef`], [`StructRef`], [`ArrayRef`], [`ExnRef`] and [`I31`], which are
/// not null, and `Option`s of these, which may be.
///
/// Sealed: no type outside of this crate can be one.
pub trait WasmTy: Sized + Send + sealed::WasmTy {}

/// The parameters of a function as a Rust type: a value or a tuple of up to 16.
pub trait WasmParams: sealed::WasmList {}

/// The results of a function as a Rust type: `()`, a value or a tuple of up to 16.
pub trait WasmResults: sealed::WasmList {}

pub(crate) mod sealed {
    use super::*;

    pub trait WasmTy: Sized {
        /// How it is passed to native host code.
        type Abi: Copy;
        /// Its type.
        const TYPE: ValType;
        /// Whether it can be the one result that comes back in a register.
        const IN_REGISTER: bool = true;
        /// Its raw form; an error for a reference of another store.
        fn into_raw(self, store: &mut StoreOpaque) -> Result<ValRaw>;
        /// Writes its raw form over zeros or another raw form.
        #[inline]
        fn write_raw(self, store: &mut StoreOpaque, to: &mut ValRaw) -> Result<()> {
            *to = self.into_raw(store)?;
            Ok(())
        }
        /// Out of its raw form.
        ///
        /// # Safety
        /// `raw` must come from wasm of this store, as a value of this type.
        unsafe fn from_raw(raw: &ValRaw, store: &StoreOpaque) -> Self;
        /// Out of the form in which native code gets it.
        ///
        /// # Safety
        /// `abi` must come from wasm of this store, as a value of this type.
        unsafe fn from_abi(abi: Self::Abi, store: &StoreOpaque) -> Self;
    }

    pub trait WasmList: Sized {
        /// An array with room for the raw forms.
        type Raw: AsMut<[ValRaw]> + AsRef<[ValRaw]> + Default;
        /// The types.
        const TYPES: &'static [ValType];
        /// Writes the raw forms.
        fn write(self, store: &mut StoreOpaque, to: &mut [ValRaw]) -> Result<()>;
        /// Reads them.
        ///
        /// # Safety
        /// As for `WasmTy::from_raw`, for each.
        unsafe fn read(from: &[ValRaw], store: &StoreOpaque) -> Self;
    }
}

macro_rules! numbers {
    ($($ty:ident $val:ident $from:ident $get:ident;)*) => {
        $(
            impl WasmTy for $ty {}

            impl sealed::WasmTy for $ty {
                type Abi = $ty;
                const TYPE: ValType = ValType::$val;

                #[inline]
                fn into_raw(self, _: &mut StoreOpaque) -> Result<ValRaw> {
                    Ok(ValRaw::$from(self))
                }

                #[inline]
                fn write_raw(self, _: &mut StoreOpaque, to: &mut ValRaw) -> Result<()> {
                    to.bytes[..size_of::<$ty>()].copy_from_slice(&self.to_ne_bytes());
                    Ok(())
                }

                #[inline]
                unsafe fn from_raw(raw: &ValRaw, _: &StoreOpaque) -> Self {
                    raw.$get()
                }

                #[inline]
                unsafe fn from_abi(abi: $ty, _: &StoreOpaque) -> Self {
                    abi
                }
            }
        )*
    };
}

numbers! {
    i32 I32 from_i32 get_i32;
    u32 I32 from_u32 get_u32;
    i64 I64 from_i64 get_i64;
    u64 I64 from_u64 get_u64;
}

macro_rules! floats {
    ($($ty:ident $val:ident $from:ident $get:ident;)*) => {
        $(
            impl WasmTy for $ty {}

            impl sealed::WasmTy for $ty {
                type Abi = $ty;
                const TYPE: ValType = ValType::$val;

                #[inline]
                fn into_raw(self, _: &mut StoreOpaque) -> Result<ValRaw> {
                    Ok(ValRaw::$from(self.to_bits()))
                }

                #[inline]
                fn write_raw(self, _: &mut StoreOpaque, to: &mut ValRaw) -> Result<()> {
                    to.bytes[..size_of::<$ty>()].copy_from_slice(&self.to_ne_bytes());
                    Ok(())
                }

                #[inline]
                unsafe fn from_raw(raw: &ValRaw, _: &StoreOpaque) -> Self {
                    $ty::from_bits(raw.$get())
                }

                #[inline]
                unsafe fn from_abi(abi: $ty, _: &StoreOpaque) -> Self {
                    abi
                }
            }
        )*
    };
}

floats! {
    f32 F32 from_u32 get_u32;
    f64 F64 from_u64 get_u64;
}

impl WasmTy for V128 {}

impl sealed::WasmTy for V128 {
    type Abi = *const ValRaw;
    const TYPE: ValType = ValType::V128;
    const IN_REGISTER: bool = false;

    fn into_raw(self, _: &mut StoreOpaque) -> Result<ValRaw> {
        Ok(ValRaw::from_v128(self.as_u128()))
    }

    unsafe fn from_raw(raw: &ValRaw, _: &StoreOpaque) -> Self {
        V128::from(raw.get_v128())
    }

    unsafe fn from_abi(abi: *const ValRaw, _: &StoreOpaque) -> Self {
        // SAFETY: the trampoline passes the address of 16 aligned bytes in its frame.
        V128::from(unsafe { (*abi).get_v128() })
    }
}

impl WasmTy for Option<Func> {}

impl sealed::WasmTy for Option<Func> {
    type Abi = *mut VmFuncRef;
    const TYPE: ValType = ValType::FUNCREF;

    fn into_raw(self, store: &mut StoreOpaque) -> Result<ValRaw> {
        let Some(func) = self else {
            return Ok(ValRaw::default());
        };
        let func = func.checked(store)?;
        Ok(ValRaw::from_u64(func.as_ptr() as u64))
    }

    unsafe fn from_raw(raw: &ValRaw, store: &StoreOpaque) -> Self {
        // SAFETY: the caller's promise.
        let func = unsafe { store.func_from_raw(raw.get_u64()) };
        func.map(|func| Func::from_ptr(store, func))
    }

    unsafe fn from_abi(abi: *mut VmFuncRef, store: &StoreOpaque) -> Self {
        // SAFETY: the caller's promise.
        let func = unsafe { FuncPtr::from_raw(abi) };
        func.map(|func| Func::from_ptr(store, func))
    }
}

impl WasmTy for Func {}

impl sealed::WasmTy for Func {
    type Abi = *mut VmFuncRef;
    const TYPE: ValType = ValType::Ref(RefType {
        nullable: false,
        heap: HeapType::Func,
    });

    fn into_raw(self, store: &mut StoreOpaque) -> Result<ValRaw> {
        Some(self).into_raw(store)
    }

    unsafe fn from_raw(raw: &ValRaw, store: &StoreOpaque) -> Self {
        // SAFETY: the caller's promise.
        let func = unsafe { Option::<Func>::from_raw(raw, store) };
        func.expect("wasm's type says that it is not null")
    }

    unsafe fn from_abi(abi: *mut VmFuncRef, store: &StoreOpaque) -> Self {
        // SAFETY: the caller's promise.
        let func = unsafe { Option::<Func>::from_abi(abi, store) };
        func.expect("wasm's type says that it is not null")
    }
}

macro_rules! references {
    ($($ty:ident $heap:ident;)*) => {
        $(
            impl WasmTy for Option<$ty> {}

            impl sealed::WasmTy for Option<$ty> {
                type Abi = u32;
                const TYPE: ValType = ValType::Ref(RefType {
                    nullable: true,
                    heap: HeapType::$heap,
                });

                fn into_raw(self, store: &mut StoreOpaque) -> Result<ValRaw> {
                    let raw = self.map_or(Ok(0), |value| value.checked(store))?;
                    Ok(ValRaw::from_u32(raw))
                }

                unsafe fn from_raw(raw: &ValRaw, store: &StoreOpaque) -> Self {
                    $ty::from_raw(store, raw.get_u32())
                }

                unsafe fn from_abi(abi: u32, store: &StoreOpaque) -> Self {
                    $ty::from_raw(store, abi)
                }
            }

            impl WasmTy for $ty {}

            impl sealed::WasmTy for $ty {
                type Abi = u32;
                const TYPE: ValType = ValType::Ref(RefType {
                    nullable: false,
                    heap: HeapType::$heap,
                });

                fn into_raw(self, store: &mut StoreOpaque) -> Result<ValRaw> {
                    Ok(ValRaw::from_u32(self.checked(store)?))
                }

                unsafe fn from_raw(raw: &ValRaw, store: &StoreOpaque) -> Self {
                    // SAFETY: the caller's promise.
                    unsafe { Self::from_abi(raw.get_u32(), store) }
                }

                unsafe fn from_abi(abi: u32, store: &StoreOpaque) -> Self {
                    $ty::from_raw(store, abi).expect("wasm's type says that it is not null")
                }
            }
        )*
    };
}

references! {
    ExternRef Extern;
    AnyRef Any;
    EqRef Eq;
    StructRef Struct;
    ArrayRef Array;
    ExnRef Exn;
}

impl WasmTy for I31 {}

impl sealed::WasmTy for I31 {
    type Abi = u32;
    const TYPE: ValType = ValType::Ref(RefType {
        nullable: false,
        heap: HeapType::I31,
    });

    fn into_raw(self, _: &mut StoreOpaque) -> Result<ValRaw> {
        Ok(ValRaw::from_u32(self.raw()))
    }

    unsafe fn from_raw(raw: &ValRaw, store: &StoreOpaque) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self::from_abi(raw.get_u32(), store) }
    }

    unsafe fn from_abi(abi: u32, _: &StoreOpaque) -> Self {
        I31::from_raw(abi).expect("wasm's type says that it is one")
    }
}

impl WasmTy for Option<I31> {}

impl sealed::WasmTy for Option<I31> {
    type Abi = u32;
    const TYPE: ValType = ValType::Ref(RefType {
        nullable: true,
        heap: HeapType::I31,
    });

    fn into_raw(self, _: &mut StoreOpaque) -> Result<ValRaw> {
        Ok(ValRaw::from_u32(self.map_or(0, I31::raw)))
    }

    unsafe fn from_raw(raw: &ValRaw, _: &StoreOpaque) -> Self {
        I31::from_raw(raw.get_u32())
    }

    unsafe fn from_abi(abi: u32, _: &StoreOpaque) -> Self {
        I31::from_raw(abi)
    }
}

impl<A: WasmTy> WasmParams for A {}
impl<A: WasmTy> WasmResults for A {}

impl<A: WasmTy> sealed::WasmList for A {
    type Raw = [ValRaw; 1];
    const TYPES: &'static [ValType] = &[A::TYPE];

    #[inline]
    fn write(self, store: &mut StoreOpaque, to: &mut [ValRaw]) -> Result<()> {
        self.write_raw(store, &mut to[0])
    }

    #[inline]
    unsafe fn read(from: &[ValRaw], store: &StoreOpaque) -> Self {
        // SAFETY: the caller's promise.
        unsafe { A::from_raw(&from[0], store) }
    }
}

macro_rules! tuples {
    ($($n:literal: $($name:ident)*;)*) => {
        $(
            impl<$($name: WasmTy),*> WasmParams for ($($name,)*) {}
            impl<$($name: WasmTy),*> WasmResults for ($($name,)*) {}

            #[allow(non_snake_case, reason = "a tuple's fields are named as their types")]
            impl<$($name: WasmTy),*> sealed::WasmList for ($($name,)*) {
                type Raw = [ValRaw; $n];
                const TYPES: &'static [ValType] = &[$($name::TYPE),*];

                #[inline]
                fn write(self, store: &mut StoreOpaque, to: &mut [ValRaw]) -> Result<()> {
                    let ($($name,)*) = self;
                    let mut next = to.iter_mut();
                    let _ = (&mut next, &store);
                    $(
                        if let Some(to) = next.next() {
                            $name.write_raw(store, to)?;
                        }
                    )*
                    Ok(())
                }

                #[inline]
                #[allow(clippy::unused_unit, reason = "that is the empty tuple")]
                unsafe fn read(from: &[ValRaw], store: &StoreOpaque) -> Self {
                    let mut next = from.iter();
                    let _ = (&mut next, store);
                    $(
                        let $name = next.next().copied().unwrap_or_default();
                        // SAFETY: the caller's promise.
                        let $name = unsafe { $name::from_raw(&$name, store) };
                    )*
                    ($($name,)*)
                }
            }
        )*
    };
}

tuples! {
    0: ;
    1: A1;
    2: A1 A2;
    3: A1 A2 A3;
    4: A1 A2 A3 A4;
    5: A1 A2 A3 A4 A5;
    6: A1 A2 A3 A4 A5 A6;
    7: A1 A2 A3 A4 A5 A6 A7;
    8: A1 A2 A3 A4 A5 A6 A7 A8;
    9: A1 A2 A3 A4 A5 A6 A7 A8 A9;
    10: A1 A2 A3 A4 A5 A6 A7 A8 A9 A10;
    11: A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11;
    12: A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12;
    13: A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13;
    14: A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14;
    15: A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14 A15;
    16: A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14 A15 A16;
}
