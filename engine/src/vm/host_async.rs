//! Asynchronous host functions: from a closure that makes a future to a host function like any
//! other, which waits for the future on its caller's fiber.
//!
//! They go through the same native and array entries as synchronous ones; arguments are in
//! registers.

use std::future::Future;

use super::fiber::block_on_host;
use super::host::{HostFunc, IntoFunc, IntoHostFunc, WasmRet};
use crate::WasmTy;
use crate::caller::Caller;
use crate::error::Result;
use crate::types::FuncType;
use crate::val::Val;

/// The parameters of an asynchronous host function: a tuple of up to 16 values that are [`WasmTy`].
pub trait WasmTyList: Sized + Send + 'static {
    /// The function.
    #[doc(hidden)]
    fn into_async_host_func<T, R, F>(f: F) -> IntoHostFunc
    where
        T: 'static,
        R: WasmRet + 'static,
        F: for<'a> Fn(Caller<'a, T>, Self) -> Box<dyn Future<Output = R> + Send + 'a>
            + Send
            + Sync
            + 'static;
}

macro_rules! lists {
    ($($name:ident)*) => {
        impl<$($name: WasmTy + 'static),*> WasmTyList for ($($name,)*) {
            fn into_async_host_func<T, R, F>(f: F) -> IntoHostFunc
            where
                T: 'static,
                R: WasmRet + 'static,
                F: for<'a> Fn(Caller<'a, T>, Self) -> Box<dyn Future<Output = R> + Send + 'a>
                    + Send
                    + Sync
                    + 'static,
            {
                let f = move |mut caller: Caller<'_, T>, $($name: $name),*| -> Result<R::Ok> {
                    // SAFETY: this closure is only called by the entry that it is made into.
                    let done = unsafe {
                        block_on_host(&mut caller, |caller| f(caller, ($($name,)*)))
                    };
                    done?.into_result()
                };
                IntoFunc::<T, (Caller<'static, T>, $($name,)*), Result<R::Ok>>::into_host_func(f)
            }
        }
    };
}

macro_rules! all_lists {
    (@ [$($done:ident)*]) => {
        lists!($($done)*);
    };
    (@ [$($done:ident)*] $next:ident $($rest:ident)*) => {
        lists!($($done)*);
        all_lists!(@ [$($done)* $next] $($rest)*);
    };
}

// Each name is a type and the variable of that type.
#[allow(
    non_camel_case_types,
    non_snake_case,
    reason = "one name is a type and its variable"
)]
mod arities {
    use super::*;
    all_lists!(@ [] A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14 A15 A16);
}

impl HostFunc {
    /// An asynchronous function whose types are only known at run time.
    pub(crate) fn dynamic_async<T, F>(ty: FuncType, f: F) -> HostFunc
    where
        T: 'static,
        F: for<'a> Fn(
                Caller<'a, T>,
                &'a [Val],
                &'a mut [Val],
            ) -> Box<dyn Future<Output = Result<()>> + Send + 'a>
            + Send
            + Sync
            + 'static,
    {
        HostFunc::dynamic(ty, move |mut caller, params, results| {
            // SAFETY: as in `lists!`.
            unsafe { block_on_host(&mut caller, |caller| f(caller, params, results)) }?
        })
    }
}
