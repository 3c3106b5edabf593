//! Who calls a host function.

use crate::engine::Engine;
use crate::externs::Extern;
use crate::memory::Memory;
use crate::module::ModuleExport;
use crate::shared_memory::SharedMemory;
use crate::store::{AsContext, AsContextMut, StoreContext, StoreContextMut};
use crate::vm::{InstanceId, StoreOpaque};

/// The store of a host function that is being called, and the instance that calls it.
///
/// ```
/// use bimetal::{Caller, Engine, Linker, Module, Store};
///
/// let engine = Engine::default();
/// let mut linker = Linker::new(&engine);
/// linker.func_wrap("host", "peek", |mut caller: Caller<'_, ()>, at: u32| {
///     let memory = caller.get_export("memory").and_then(|e| e.into_memory());
///     let memory = memory.ok_or_else(|| bimetal::Error::msg("no memory"))?;
///     bimetal::Result::Ok(u32::from(memory.data(&caller)[at as usize]))
/// })?;
/// let module = Module::new(&engine, r#"(module
///     (import "host" "peek" (func $peek (param i32) (result i32)))
///     (memory (export "memory") 1) (data (i32.const 7) "*")
///     (func (export "f") (result i32) (call $peek (i32.const 7))))"#)?;
/// let mut store = Store::new(&engine, ());
/// let instance = linker.instantiate(&mut store, &module)?;
/// let f = instance.get_typed_func::<(), u32>(&mut store, "f")?;
/// assert_eq!(f.call(&mut store, ())?, 42);
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Debug)]
pub struct Caller<'a, T: 'static> {
    store: StoreContextMut<'a, T>,
    instance: Option<InstanceId>,
}

impl<'a, T: 'static> Caller<'a, T> {
    pub(crate) fn new(store: StoreContextMut<'a, T>, instance: Option<InstanceId>) -> Self {
        Caller { store, instance }
    }

    pub(crate) fn opaque(&mut self) -> &mut StoreOpaque {
        self.store.opaque()
    }

    pub(crate) fn reborrow(&mut self) -> Caller<'_, T> {
        Caller {
            store: self.store.as_context_mut(),
            instance: self.instance,
        }
    }

    /// The export of the calling instance with this name; `None` also if the host calls.
    pub fn get_export(&mut self, name: &str) -> Option<Extern> {
        let store = self.store.opaque();
        let instance = store.instance(self.instance?);
        let index = instance.module().wasm().export(name)?;
        let value = instance.export(index)?;
        Some(Extern::from_value(store, value))
    }

    /// The memory that the calling instance exports under the name `memory`, where by convention
    /// what pointers point to is. The same as [`Caller::get_export`] finds, without looking at names;
    /// `None` also if the host calls, or it is a [shared memory](Caller::shared_memory).
    ///
    /// ```
    /// use bimetal::{Caller, Engine, Linker, Module, Store};
    ///
    /// let engine = Engine::default();
    /// let mut linker = Linker::new(&engine);
    /// linker.func_wrap("host", "clear", |mut caller: Caller<'_, ()>, at: u32| {
    ///     let memory = caller.memory().ok_or_else(|| bimetal::Error::msg("no memory"))?;
    ///     memory.write(&mut caller, at as usize, &[0])?;
    ///     bimetal::Result::Ok(())
    /// })?;
    /// # let module = Module::new(&engine, r#"(module
    /// #     (import "host" "clear" (func $clear (param i32)))
    /// #     (memory (export "memory") 1) (data (i32.const 7) "*")
    /// #     (func (export "f") (result i32) (call $clear (i32.const 7)) (i32.load (i32.const 7))))"#)?;
    /// # let mut store = Store::new(&engine, ());
    /// # let instance = linker.instantiate(&mut store, &module)?;
    /// # assert_eq!(instance.get_typed_func::<(), i32>(&mut store, "f")?.call(&mut store, ())?, 0);
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    pub fn memory(&mut self) -> Option<Memory> {
        let store = self.store.opaque();
        let id = store.instance(self.instance?).exported_memory()?;
        match store.memory(id).shared() {
            Some(_) => None,
            None => Some(Memory::from_id(store, id)),
        }
    }

    /// As [`Caller::memory`], if that is a shared memory.
    pub fn shared_memory(&mut self) -> Option<SharedMemory> {
        let store = self.store.opaque();
        let id = store.instance(self.instance?).exported_memory()?;
        let memory = store.memory(id).shared()?.clone();
        Some(SharedMemory::from_vm(store.engine(), memory))
    }

    /// The export of the calling instance that [`Module::get_export_index`] found, without looking
    /// at names; `None` if the calling instance is of another module, or the host calls.
    ///
    /// [`Module::get_export_index`]: crate::Module::get_export_index
    pub fn get_module_export(&mut self, export: &ModuleExport) -> Option<Extern> {
        let store = self.store.opaque();
        let value = export.of(store.instance(self.instance?))?;
        Some(Extern::from_value(store, value))
    }

    /// The user's data.
    pub fn data(&self) -> &T {
        self.store.data()
    }

    /// The user's data.
    pub fn data_mut(&mut self) -> &mut T {
        self.store.data_mut()
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        self.store.engine()
    }
}

impl<T: 'static> AsContext for Caller<'_, T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        self.store.as_context()
    }
}

impl<T: 'static> AsContextMut for Caller<'_, T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        self.store.as_context_mut()
    }
}
