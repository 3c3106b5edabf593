//! Instances.

use std::fmt;
use std::sync::Arc;

use bimetal_wasm::GlobalIndex;

use crate::error::{Error, ErrorKind, Result};
use crate::externs::{Export, Extern};
use crate::func::{Func, TypedFunc};
use crate::global::Global;
use crate::linker::Names;
use crate::memory::Memory;
use crate::module::{Module, ModuleExport};
use crate::shared_memory::SharedMemory;
use crate::store::{AsContext, AsContextMut, StoreContext, StoreContextMut};
use crate::symbols::Printable;
use crate::table::Table;
use crate::tag::Tag;
use crate::types::{ExternType, ImportType};
use crate::vm::{
    GlobalId, HostFunc, ImportValue, InstanceId, StoreId, StoreOpaque, WasmParams, WasmResults,
    WholeStore, instantiate, prepare_heap, start,
};

/// A module with its own memories, tables and globals, in a store.
///
/// ```
/// use bimetal::{Engine, Instance, Module, Store};
///
/// let engine = Engine::default();
/// let module = Module::new(&engine, r#"(module
///     (global (export "version") i32 (i32.const 3))
///     (func (export "double") (param i32) (result i32)
///         (i32.add (local.get 0) (local.get 0))))"#)?;
/// let mut store = Store::new(&engine, ());
/// let instance = Instance::new(&mut store, &module, &[])?;
/// let version = instance.get_global(&mut store, "version").unwrap();
/// assert_eq!(version.get(&mut store).unwrap_i32(), 3);
/// let double = instance.get_typed_func::<i32, i32>(&mut store, "double")?;
/// assert_eq!(double.call(&mut store, 21)?, 42);
/// let names: Vec<&str> = instance.exports(&store).map(|export| export.name()).collect();
/// assert_eq!(names, ["version", "double"]);
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Instance {
    store: StoreId,
    id: InstanceId,
}

/// What an import is satisfied with.
#[derive(Clone, Debug)]
pub(crate) enum Definition {
    Host(Arc<HostFunc>),
    Extern(Extern),
}

impl Definition {
    fn ty(&self, store: &StoreOpaque) -> Result<ExternType> {
        match self {
            Definition::Host(func) => Ok(ExternType::Func(func.ty(store.engine())?)),
            Definition::Extern(item) => item.try_ty(store),
        }
    }

    pub(crate) fn into_extern(self, store: &mut StoreOpaque) -> Extern {
        match self {
            Definition::Host(func) => Extern::Func(Func::from_host(store, &func)),
            Definition::Extern(item) => item,
        }
    }

    /// Of imports in the order of the module's.
    pub(crate) fn for_imports(
        module: &Module,
        imports: &[Extern],
    ) -> Result<impl Iterator<Item = Definition> + use<>> {
        let wanted = module.imports().len();
        if imports.len() != wanted {
            return Err(Error::of(
                ErrorKind::Link,
                format_args!("expected {wanted} imports, got {}", imports.len()),
            ));
        }
        let definitions: Vec<Definition> =
            imports.iter().cloned().map(Definition::Extern).collect();
        Ok(definitions.into_iter())
    }

    /// For all imports of the module, or why one does not fit.
    pub(crate) fn resolve_all(
        store: &mut StoreOpaque,
        module: &Module,
        definitions: impl Iterator<Item = Definition>,
    ) -> Result<Vec<ImportValue>> {
        if !crate::Engine::same(store.engine(), module.engine()) {
            return Err(Error::usage(
                "the module and the store are of different engines",
            ));
        }
        module
            .imports()
            .zip(definitions)
            .map(|(import, definition)| definition.resolve(store, &import))
            .collect()
    }

    /// For the import, or why it does not fit.
    fn resolve(self, store: &mut StoreOpaque, import: &ImportType<'_>) -> Result<ImportValue> {
        let name = Names(import.module, import.name);
        let found = self.ty(store)?;
        if !found.matches(&import.ty) {
            return Err(Error::of(
                ErrorKind::Link,
                format_args!(
                    "incompatible import type for {name}: expected {}, found {found}",
                    import.ty
                ),
            ));
        }
        self.into_extern(store).import(store)
    }
}

impl Instance {
    /// Instantiates `module` with `imports` in the order of [`Module::imports`], and runs its start
    /// function. [`Linker`](crate::Linker) finds imports by name.
    ///
    /// # Errors
    /// If the imports are not those of the module; memory cannot be had; an active segment is out
    /// of bounds or the start function traps.
    pub fn new(
        mut store: impl AsContextMut,
        module: &Module,
        imports: &[Extern],
    ) -> Result<Instance> {
        let definitions = Definition::for_imports(module, imports)?;
        Instance::with_definitions(&mut store.as_context_mut(), module, definitions)
    }

    pub(crate) fn with_definitions<T>(
        store: &mut StoreContextMut<'_, T>,
        module: &Module,
        definitions: impl Iterator<Item = Definition>,
    ) -> Result<Instance> {
        let imports = Definition::resolve_all(store.opaque(), module, definitions)?;
        store.ask_for_instance(module.wasm())?;
        prepare_heap(store, module)?;
        let instance = Instance::make(store, module, &imports)?;
        start(store, instance.id)?;
        Ok(instance)
    }

    /// One that is allowed, before its start function.
    pub(crate) fn make<T: 'static>(
        store: &mut StoreContextMut<'_, T>,
        module: &Module,
        imports: &[ImportValue],
    ) -> Result<Instance> {
        let id = instantiate(WholeStore::new(store.inner_mut()), module, imports)
            .map_err(|error| error.context(describe("cannot instantiate", module)))?;
        Ok(Instance {
            store: store.opaque().id(),
            id,
        })
    }

    pub(crate) fn id(&self) -> InstanceId {
        self.id
    }

    #[track_caller]
    fn expect<'a>(&self, store: &'a StoreOpaque) -> &'a crate::vm::InstanceData {
        store
            .check(self.store, "instance")
            .expect("the instance is of this store");
        store.instance(self.id)
    }

    /// Its module.
    ///
    /// # Panics
    /// If it belongs to another store; so do the other methods.
    pub fn module<'a, T: 'static>(&self, store: impl Into<StoreContext<'a, T>>) -> &'a Module {
        self.expect(store.into().opaque()).module()
    }

    /// The export with this name.
    pub fn get_export(&self, mut store: impl AsContextMut, name: &str) -> Option<Extern> {
        let mut store = store.as_context_mut();
        self.export(store.opaque(), name)
    }

    /// The global with this index in its module.
    pub(crate) fn global_at(&self, store: &StoreOpaque, index: GlobalIndex) -> Option<GlobalId> {
        self.expect(store).global(index)
    }

    pub(crate) fn export(&self, store: &StoreOpaque, name: &str) -> Option<Extern> {
        let data = self.expect(store);
        let index = data.module().wasm().export(name)?;
        Some(Extern::from_value(store, data.export(index)?))
    }

    /// The export that [`Module::get_export_index`] found, without looking at names; `None` if
    /// this is an instance of another module.
    pub fn get_module_export(
        &self,
        mut store: impl AsContextMut,
        export: &ModuleExport,
    ) -> Option<Extern> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let value = export.of(self.expect(store))?;
        Some(Extern::from_value(store, value))
    }

    /// All exports, in order.
    pub fn exports<'a>(
        &self,
        store: &'a (impl AsContext + ?Sized),
    ) -> impl ExactSizeIterator<Item = Export<'a>> {
        let store = store.as_context().opaque();
        let data = self.expect(store);
        let exports = data.module().wasm().exports.iter();
        let exports: Vec<Export<'a>> = exports
            .filter_map(|export| {
                Some(Export {
                    name: &export.name,
                    item: Extern::from_value(store, data.export(export.index)?),
                })
            })
            .collect();
        exports.into_iter()
    }

    /// The exported function with this name.
    pub fn get_func(&self, store: impl AsContextMut, name: &str) -> Option<Func> {
        self.get_export(store, name)?.into_func()
    }

    /// The exported function with this name and type.
    ///
    /// # Errors
    /// If there is none, or it is of another type.
    pub fn get_typed_func<Params: WasmParams, Results: WasmResults>(
        &self,
        mut store: impl AsContextMut,
        name: &str,
    ) -> Result<TypedFunc<Params, Results>> {
        let func = self.get_func(store.as_context_mut(), name).ok_or_else(|| {
            Error::usage(format_args!(
                "no function `{}` is exported",
                Printable(name)
            ))
        })?;
        func.typed(store.as_context())
            .map_err(|error| error.context(format_args!("the export `{}`", Printable(name))))
    }

    /// The exported memory with this name.
    pub fn get_memory(&self, store: impl AsContextMut, name: &str) -> Option<Memory> {
        self.get_export(store, name)?.into_memory()
    }

    /// The exported shared memory with this name.
    pub fn get_shared_memory(&self, store: impl AsContextMut, name: &str) -> Option<SharedMemory> {
        self.get_export(store, name)?.into_shared_memory()
    }

    /// The exported table with this name.
    pub fn get_table(&self, store: impl AsContextMut, name: &str) -> Option<Table> {
        self.get_export(store, name)?.into_table()
    }

    /// The exported global with this name.
    pub fn get_global(&self, store: impl AsContextMut, name: &str) -> Option<Global> {
        self.get_export(store, name)?.into_global()
    }

    /// The exported tag with this name.
    pub fn get_tag(&self, store: impl AsContextMut, name: &str) -> Option<Tag> {
        self.get_export(store, name)?.into_tag()
    }
}

fn describe(what: &str, module: &Module) -> String {
    match module.name() {
        Some(name) => format!("{what} `{}`", Printable(name)),
        None => format!("{what} the module"),
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Instance")
    }
}
