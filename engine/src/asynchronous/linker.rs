//! Linking asynchronous host functions.

use std::future::Future;
use std::sync::Arc;

use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::instance::{Definition, Instance};
use crate::linker::{Linker, is_command};
use crate::module::Module;
use crate::store::AsContextMut;
use crate::types::FuncType;
use crate::val::Val;
use crate::vm::{HostFunc, WasmRet, WasmTyList};

impl<T: 'static> Linker<T> {
    /// Defines an asynchronous host function, see [`Func::wrap_async`](crate::Func::wrap_async).
    ///
    /// ```
    /// use bimetal::{Caller, Engine, Linker, Module, Store};
    /// use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> bimetal::Result<()> {
    /// let engine = Engine::default();
    /// let mut linker = Linker::<UnboundedReceiver<i32>>::new(&engine);
    /// linker.func_wrap_async("queue", "next", |mut caller: Caller<'_, _>, ()| {
    ///     Box::new(async move { caller.data_mut().recv().await.unwrap_or(-1) })
    /// })?;
    /// let module = Module::new(&engine, r#"(module
    ///     (import "queue" "next" (func $next (result i32)))
    ///     (func (export "sum") (result i32)
    ///         (i32.add (call $next) (call $next))))"#)?;
    /// let (sender, receiver) = unbounded_channel();
    /// let mut store = Store::new(&engine, receiver);
    /// let instance = linker.instantiate_async(&mut store, &module).await?;
    /// let sum = instance.get_typed_func::<(), i32>(&mut store, "sum")?;
    /// let producer = async {
    ///     for x in [40, 2] {
    ///         tokio::task::yield_now().await;
    ///         sender.send(x).unwrap();
    ///     }
    /// };
    /// let (sum, ()) = tokio::join!(sum.call_async(&mut store, ()), producer);
    /// assert_eq!(sum?, 42);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the name is defined already.
    pub fn func_wrap_async<F, Params, Results>(
        &mut self,
        module: &str,
        name: &str,
        f: F,
    ) -> Result<&mut Self>
    where
        F: for<'a> Fn(Caller<'a, T>, Params) -> Box<dyn Future<Output = Results> + Send + 'a>
            + Send
            + Sync
            + 'static,
        Params: WasmTyList,
        Results: WasmRet + 'static,
    {
        let func = Arc::new(Params::into_async_host_func(f).0);
        self.insert(module, name, Definition::Host(func))
    }

    /// Defines an asynchronous host function of a type that is only known at run time, see
    /// [`Func::new_async`](crate::Func::new_async).
    ///
    /// # Errors
    /// If the name is defined already.
    pub fn func_new_async<F>(
        &mut self,
        module: &str,
        name: &str,
        ty: FuncType,
        f: F,
    ) -> Result<&mut Self>
    where
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
        self.insert(module, name, Definition::Host(func))
    }

    /// As [`Linker::instantiate`], but the start function, if there is one, is called
    /// asynchronously, and so is the store's limiter.
    ///
    /// # Errors
    /// As for [`Linker::instantiate`], or if there is no memory for a stack.
    pub async fn instantiate_async(
        &self,
        mut store: impl AsContextMut<Data = T>,
        module: &Module,
    ) -> Result<Instance> {
        let definitions = self.definitions(module)?.into_iter();
        Instance::with_definitions_async(store.as_context_mut(), module, definitions).await
    }

    /// As [`Linker::module`], with all that is called or instantiated asynchronously.
    ///
    /// # Errors
    /// As for [`Linker::module`].
    pub async fn module_async(
        &mut self,
        mut store: impl AsContextMut<Data = T>,
        module_name: &str,
        module: &Module,
    ) -> Result<&mut Self>
    where
        T: Send,
    {
        if !is_command(module) {
            let instance = self
                .instantiate_async(store.as_context_mut(), module)
                .await?;
            let start = instance.get_func(store.as_context_mut(), "_initialize");
            if let Some(start) = start {
                let start = start.typed::<(), ()>(store.as_context())?;
                start.call_async(store.as_context_mut(), ()).await?;
            }
            return self.instance(store, module_name, instance);
        }
        let pre = self.instantiate_pre(module)?;
        for (name, ty) in self.command_exports(module)? {
            let shared = Arc::new((pre.clone(), name.clone()));
            self.func_new_async(
                module_name,
                &name,
                ty,
                move |mut caller, params, results| {
                    let shared = shared.clone();
                    Box::new(async move {
                        let (pre, name) = &*shared;
                        let instance = pre.instantiate_async(&mut caller).await?;
                        let func = instance.get_func(&mut caller, name).ok_or_else(|| {
                            Error::usage(format_args!("no function `{name}` is exported"))
                        })?;
                        func.call_async(&mut caller, params, results).await
                    })
                },
            )?;
        }
        Ok(self)
    }
}
