//! Calling functions asynchronously, and asynchronous host functions.

use std::future::Future;
use std::sync::Arc;

use crate::caller::Caller;
use crate::error::Result;
use crate::func::{Func, TypedFunc};
use crate::store::{AsContextMut, StoreContextMut};
use crate::types::FuncType;
use crate::val::Val;
use crate::vm::{HostFunc, OnFiber, WasmParams, WasmResults, WasmRet, WasmTyList};

/// Runs code of this crate that enters wasm on a fiber.
pub(super) async fn on_fiber<T: 'static, R>(
    mut store: StoreContextMut<'_, T>,
    f: impl FnOnce(&mut StoreContextMut<'_, T>) -> R,
) -> Result<R> {
    OnFiber::new(store.inner_mut(), f).await
}

impl<Params: WasmParams, Results: WasmResults> TypedFunc<Params, Results> {
    /// Calls it on a stack of its own, so that what it calls can be asynchronous and it can be
    /// made to yield. Nothing happens before the future is polled.
    ///
    /// The future is `Send` if the store's data is, and may be polled on one thread and then on
    /// another. Dropping it while it is pending ends the program there, as an error of a host
    /// function would: what the host does for it is dropped, its destructors run, and the store
    /// can be used again.
    ///
    /// ```
    /// use bimetal::{Caller, Engine, Linker, Module, Store};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> bimetal::Result<()> {
    /// let engine = Engine::default();
    /// let mut linker = Linker::new(&engine);
    /// linker.func_wrap_async("host", "sleep", |_: Caller<'_, ()>, (ms,): (u64,)| {
    ///     Box::new(tokio::time::sleep(std::time::Duration::from_millis(ms)))
    /// })?;
    /// let module = Module::new(&engine, r#"(module
    ///     (import "host" "sleep" (func $sleep (param i64)))
    ///     (func (export "answer") (param i64) (result i32)
    ///         (call $sleep (local.get 0)) (i32.const 42)))"#)?;
    /// let mut store = Store::new(&engine, ());
    /// let instance = linker.instantiate_async(&mut store, &module).await?;
    /// let answer = instance.get_typed_func::<u64, i32>(&mut store, "answer")?;
    /// assert_eq!(answer.call_async(&mut store, 5).await?, 42);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`TypedFunc::call`], or if there is no memory for a stack.
    ///
    /// # Panics
    /// When a host function does, synchronous or not.
    pub async fn call_async(
        &self,
        mut store: impl AsContextMut,
        params: Params,
    ) -> Result<Results> {
        let func = *self;
        on_fiber(store.as_context_mut(), move |store| {
            func.call(store, params)
        })
        .await?
    }
}

impl Func {
    /// Calls it as [`Func::call`] does, asynchronously: see [`TypedFunc::call_async`].
    ///
    /// ```
    /// use bimetal::{Engine, Func, Store, Val};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> bimetal::Result<()> {
    /// let mut store = Store::new(&Engine::default(), ());
    /// let double = Func::wrap(&mut store, |x: i32| x * 2);
    /// let mut results = [Val::I32(0)];
    /// double.call_async(&mut store, &[Val::I32(21)], &mut results).await?;
    /// assert_eq!(results[0].unwrap_i32(), 42);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`Func::call`], or if there is no memory for a stack.
    ///
    /// # Panics
    /// When a host function does, synchronous or not.
    pub async fn call_async(
        &self,
        mut store: impl AsContextMut,
        params: &[Val],
        results: &mut [Val],
    ) -> Result<()> {
        let func = *self;
        on_fiber(store.as_context_mut(), move |store| {
            func.call(store, params, results)
        })
        .await?
    }

    /// An asynchronous host function: as [`Func::wrap`], but its arguments come as a tuple, and
    /// the program waits for the future that it returns. It can only be reached by calls that are
    /// asynchronous themselves; from others it is an error.
    ///
    /// ```
    /// use bimetal::{Caller, Engine, Func, Store};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> bimetal::Result<()> {
    /// let mut store = Store::new(&Engine::default(), 40);
    /// let add = Func::wrap_async(&mut store, |mut caller: Caller<'_, i32>, (x,): (i32,)| {
    ///     Box::new(async move {
    ///         tokio::task::yield_now().await;
    ///         *caller.data_mut() += x;
    ///         *caller.data()
    ///     })
    /// });
    /// let add = add.typed::<i32, i32>(&store)?;
    /// assert_eq!(add.call_async(&mut store, 2).await?, 42);
    /// assert!(add.call(&mut store, 2).is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn wrap_async<T, F, Params, Results>(mut store: impl AsContextMut<Data = T>, f: F) -> Func
    where
        T: 'static,
        F: for<'a> Fn(Caller<'a, T>, Params) -> Box<dyn Future<Output = Results> + Send + 'a>
            + Send
            + Sync
            + 'static,
        Params: WasmTyList,
        Results: WasmRet + 'static,
    {
        let func = Arc::new(Params::into_async_host_func(f).0);
        Func::from_host(store.as_context_mut().opaque(), &func)
    }

    /// An asynchronous host function of a type that is only known at run time: as [`Func::new`],
    /// but the program waits for the future that it returns.
    ///
    /// ```
    /// use bimetal::{Engine, Func, FuncType, Store, Val, ValType};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> bimetal::Result<()> {
    /// let engine = Engine::default();
    /// let mut store = Store::new(&engine, ());
    /// let ty = FuncType::new(&engine, [ValType::I32], [ValType::I32]);
    /// let double = Func::new_async(&mut store, ty, |_caller, params, results| {
    ///     Box::new(async move {
    ///         tokio::task::yield_now().await;
    ///         results[0] = Val::I32(params[0].unwrap_i32() * 2);
    ///         Ok(())
    ///     })
    /// });
    /// let mut results = [Val::I32(0)];
    /// double.call_async(&mut store, &[Val::I32(21)], &mut results).await?;
    /// assert_eq!(results[0].unwrap_i32(), 42);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new_async<T, F>(mut store: impl AsContextMut<Data = T>, ty: FuncType, f: F) -> Func
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
        let func = Arc::new(HostFunc::dynamic_async(ty, f));
        Func::from_host(store.as_context_mut().opaque(), &func)
    }
}
