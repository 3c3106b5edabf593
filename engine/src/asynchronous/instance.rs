//! Instantiating asynchronously.

use super::func::on_fiber;
use crate::error::Result;
use crate::externs::Extern;
use crate::instance::{Definition, Instance};
use crate::linker::InstancePre;
use crate::module::Module;
use crate::store::{AsContextMut, StoreContextMut};
use crate::vm::{prepare_heap, start};

impl Instance {
    /// As [`Instance::new`], but the start function, if there is one, is called asynchronously, and
    /// so is the store's limiter.
    ///
    /// ```
    /// use bimetal::{Caller, Engine, Func, Instance, Module, Store};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> bimetal::Result<()> {
    /// let engine = Engine::default();
    /// let module = Module::new(&engine, r#"(module
    ///     (import "host" "prepare" (func $prepare)) (start $prepare))"#)?;
    /// let mut store = Store::new(&engine, 0);
    /// let prepare = Func::wrap_async(&mut store, |mut caller: Caller<'_, i32>, ()| {
    ///     Box::new(async move {
    ///         tokio::task::yield_now().await;
    ///         *caller.data_mut() = 42;
    ///     })
    /// });
    /// Instance::new_async(&mut store, &module, &[prepare.into()]).await?;
    /// assert_eq!(*store.data(), 42);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`Instance::new`], or if there is no memory for a stack.
    pub async fn new_async(
        mut store: impl AsContextMut,
        module: &Module,
        imports: &[Extern],
    ) -> Result<Instance> {
        let definitions = Definition::for_imports(module, imports)?;
        Instance::with_definitions_async(store.as_context_mut(), module, definitions).await
    }

    pub(super) async fn with_definitions_async<T: 'static>(
        mut store: StoreContextMut<'_, T>,
        module: &Module,
        definitions: impl Iterator<Item = Definition>,
    ) -> Result<Instance> {
        let imports = Definition::resolve_all(store.opaque(), module, definitions)?;
        store.ask_for_instance_async(module.wasm()).await?;
        if store.opaque().lacks_heap(module.wasm()) {
            let module = module.clone();
            on_fiber(store.as_context_mut(), move |store| {
                prepare_heap(store, &module)
            })
            .await??;
        }
        let instance = Instance::make(&mut store, module, &imports)?;
        if module.wasm().start.is_some() {
            let id = instance.id();
            on_fiber(store, move |store| start(store, id)).await??;
        }
        Ok(instance)
    }
}

impl<T: 'static> InstancePre<T> {
    /// A new instance, see [`Instance::new_async`].
    ///
    /// # Errors
    /// As for [`Linker::instantiate_async`](crate::Linker::instantiate_async).
    pub async fn instantiate_async(
        &self,
        mut store: impl AsContextMut<Data = T>,
    ) -> Result<Instance> {
        let definitions = self.definitions().iter().cloned();
        Instance::with_definitions_async(store.as_context_mut(), self.module(), definitions).await
    }
}
