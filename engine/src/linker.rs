//! Imports by name.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::caller::Caller;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::externs::Extern;
use crate::func::Func;
use crate::instance::{Definition, Instance, unknown_import};
use crate::module::Module;
use crate::store::{AsContext, AsContextMut};
use crate::types::{ExternType, FuncType, ImportType};
use crate::val::Val;
use crate::vm::{HostFunc, IntoFunc};

/// Definitions by two names, to instantiate modules with. `T` is the data of its stores.
///
/// ```
/// use bimetal::{Engine, Linker, Module, Store};
///
/// let engine = Engine::default();
/// let mut linker = Linker::new(&engine);
/// linker.func_wrap("host", "double", |x: i32| x * 2)?;
/// let module = Module::new(&engine, r#"(module
///     (import "host" "double" (func $double (param i32) (result i32)))
///     (func (export "f") (result i32) (call $double (i32.const 21))))"#)?;
/// let mut store = Store::new(&engine, ());
/// let instance = linker.instantiate(&mut store, &module)?;
/// let f = instance.get_typed_func::<(), i32>(&mut store, "f")?;
/// assert_eq!(f.call(&mut store, ())?, 42);
/// # Ok::<(), bimetal::Error>(())
/// ```
pub struct Linker<T> {
    engine: Engine,
    modules: HashMap<Box<str>, HashMap<Box<str>, Definition>>,
    shadowing: bool,
    data: PhantomData<fn(&mut T)>,
}

impl<T: 'static> Linker<T> {
    /// Without definitions.
    pub fn new(engine: &Engine) -> Linker<T> {
        Linker {
            engine: engine.clone(),
            modules: HashMap::new(),
            shadowing: false,
            data: PhantomData,
        }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Whether a later definition may replace one of the same name; else it is an error.
    pub fn allow_shadowing(&mut self, allow: bool) -> &mut Self {
        self.shadowing = allow;
        self
    }

    fn insert(&mut self, module: &str, name: &str, definition: Definition) -> Result<&mut Self> {
        let names = self.modules.entry(module.into()).or_default();
        if !self.shadowing && names.contains_key(name) {
            return Err(Error::of(
                ErrorKind::Link,
                format_args!("import of `{module}::{name}` defined twice"),
            ));
        }
        names.insert(name.into(), definition);
        Ok(self)
    }

    fn definition(&self, module: &str, name: &str) -> Option<&Definition> {
        self.modules.get(module)?.get(name)
    }

    /// Defines an item of a store; the linker can then only be used with that store.
    ///
    /// # Errors
    /// If the name is defined already, or the item is of another store.
    pub fn define(
        &mut self,
        store: impl AsContext<Data = T>,
        module: &str,
        name: &str,
        item: impl Into<Extern>,
    ) -> Result<&mut Self> {
        let item = item.into();
        item.checked(store.as_context().opaque())?;
        self.insert(module, name, Definition::Extern(item))
    }

    /// Defines a host function, see [`Func::wrap`].
    ///
    /// # Errors
    /// If the name is defined already.
    pub fn func_wrap<Params, Results>(
        &mut self,
        module: &str,
        name: &str,
        f: impl IntoFunc<T, Params, Results>,
    ) -> Result<&mut Self> {
        let func = Arc::new(f.into_host_func().0);
        self.insert(module, name, Definition::Host(func))
    }

    /// Defines a host function of a type that is only known at run time, see [`Func::new`].
    ///
    /// # Errors
    /// If the name is defined already.
    pub fn func_new(
        &mut self,
        module: &str,
        name: &str,
        ty: FuncType,
        f: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<()> + Send + Sync + 'static,
    ) -> Result<&mut Self> {
        let func = Arc::new(HostFunc::dynamic(ty.0, f));
        self.insert(module, name, Definition::Host(func))
    }

    /// Defines all exports of an instance under the name `module`.
    ///
    /// # Errors
    /// If a name is defined already, or the instance is of another store.
    pub fn instance(
        &mut self,
        store: impl AsContext<Data = T>,
        module: &str,
        instance: Instance,
    ) -> Result<&mut Self> {
        let exports: Vec<(String, Extern)> = instance
            .exports(&store)
            .map(|export| (export.name().to_owned(), export.into_extern()))
            .collect();
        for (name, item) in exports {
            self.insert(module, &name, Definition::Extern(item))?;
        }
        Ok(self)
    }

    /// Defines the exports of a module under the name `module`, by the WASI conventions: a module
    /// with `_start` is a *command*, of which each call of an export makes a new instance; any
    /// other is instantiated now and its `_initialize` called.
    ///
    /// # Errors
    /// If a name is defined already, or the module cannot be instantiated.
    pub fn module(
        &mut self,
        mut store: impl AsContextMut<Data = T>,
        module_name: &str,
        module: &Module,
    ) -> Result<&mut Self> {
        let command = matches!(module.get_export("_start"), Some(ExternType::Func(_)));
        if !command {
            let instance = self.instantiate(store.as_context_mut(), module)?;
            if instance
                .get_func(store.as_context_mut(), "_initialize")
                .is_some()
            {
                instance
                    .get_typed_func::<(), ()>(store.as_context_mut(), "_initialize")?
                    .call(store.as_context_mut(), ())?;
            }
            return self.instance(store, module_name, instance);
        }
        let linker = Arc::new(self.clone());
        for export in module.exports() {
            let ExternType::Func(ty) = export.ty() else {
                continue;
            };
            let (linker, module) = (linker.clone(), module.clone());
            let name = export.name().to_owned();
            self.func_new(
                module_name,
                export.name(),
                ty,
                move |mut caller, params, results| {
                    let instance = linker.instantiate(&mut caller, &module)?;
                    let func = instance.get_func(&mut caller, &name).ok_or_else(|| {
                        Error::usage(format_args!("no function `{name}` is exported"))
                    })?;
                    func.call(&mut caller, params, results)
                },
            )?;
        }
        Ok(self)
    }

    /// Defines `as_module::as_name` as what `module::name` is.
    ///
    /// # Errors
    /// If the first is defined already or the second is not.
    pub fn alias(
        &mut self,
        module: &str,
        name: &str,
        as_module: &str,
        as_name: &str,
    ) -> Result<&mut Self> {
        let definition = self.definition(module, name).cloned().ok_or_else(|| {
            Error::of(
                ErrorKind::Link,
                format_args!("no item named `{module}::{name}` is defined"),
            )
        })?;
        self.insert(as_module, as_name, definition)
    }

    /// Defines all that is defined under `module` under `as_module` too.
    ///
    /// # Errors
    /// If a name is defined already.
    pub fn alias_module(&mut self, module: &str, as_module: &str) -> Result<()> {
        let names = self.modules.get(module).cloned().unwrap_or_default();
        for (name, definition) in names {
            self.insert(as_module, &name, definition)?;
        }
        Ok(())
    }

    /// Defines every function that `module` imports and that is not defined as one that traps when
    /// it is called.
    ///
    /// # Errors
    /// Never for functions; an import that is none stays undefined.
    pub fn define_unknown_imports_as_traps(&mut self, module: &Module) -> Result<()> {
        for import in module.imports() {
            if self.definition(import.module, import.name).is_some() {
                continue;
            }
            if let ExternType::Func(ty) = import.ty() {
                let message = unknown_import(&import).to_string();
                self.func_new(import.module, import.name, ty, move |_, _, _| {
                    Err(Error::of(ErrorKind::Link, &message))
                })?;
            }
        }
        Ok(())
    }

    /// What an import of a module would be, or `None` if that is not defined.
    pub fn get_by_import(
        &self,
        mut store: impl AsContextMut<Data = T>,
        import: &ImportType<'_>,
    ) -> Option<Extern> {
        self.get(store.as_context_mut(), import.module, import.name)
    }

    /// What is defined under these names.
    pub fn get(
        &self,
        mut store: impl AsContextMut<Data = T>,
        module: &str,
        name: &str,
    ) -> Option<Extern> {
        let mut store = store.as_context_mut();
        let definition = self.definition(module, name)?.clone();
        Some(definition.into_extern(store.opaque()))
    }

    /// The function to run of a module that was defined under this name: its `_start`, or the
    /// function with the empty name.
    ///
    /// # Errors
    /// If there is neither.
    pub fn get_default(
        &self,
        mut store: impl AsContextMut<Data = T>,
        module: &str,
    ) -> Result<Func> {
        ["", "_start"]
            .iter()
            .find_map(|name| self.get(store.as_context_mut(), module, name)?.into_func())
            .ok_or_else(|| {
                Error::of(
                    ErrorKind::Link,
                    format_args!("`{module}` has no function to run by default"),
                )
            })
    }

    /// Whether all that `module` imports is defined.
    pub fn defines_all(&self, module: &Module) -> bool {
        module
            .imports()
            .all(|import| self.definition(import.module, import.name).is_some())
    }

    /// Instantiates a module with what is defined.
    ///
    /// # Errors
    /// If an import is not defined or of another type, or as for [`Instance::new`].
    pub fn instantiate(
        &self,
        mut store: impl AsContextMut<Data = T>,
        module: &Module,
    ) -> Result<Instance> {
        let definitions = self.definitions(module)?;
        Instance::with_definitions(&mut store.as_context_mut(), module, definitions.into_iter())
    }

    /// Looks up a module's imports once, to instantiate it often.
    ///
    /// # Errors
    /// If an import is not defined.
    pub fn instantiate_pre(&self, module: &Module) -> Result<InstancePre<T>> {
        Ok(InstancePre {
            module: module.clone(),
            definitions: self.definitions(module)?.into(),
            data: PhantomData,
        })
    }

    fn definitions(&self, module: &Module) -> Result<Vec<Definition>> {
        module
            .imports()
            .map(|import| {
                self.definition(import.module, import.name)
                    .cloned()
                    .ok_or_else(|| unknown_import(&import))
            })
            .collect()
    }
}

impl<T> Clone for Linker<T> {
    fn clone(&self) -> Self {
        Linker {
            engine: self.engine.clone(),
            modules: self.modules.clone(),
            shadowing: self.shadowing,
            data: PhantomData,
        }
    }
}

impl<T> std::fmt::Debug for Linker<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Linker")
            .field("modules", &self.modules.keys())
            .finish_non_exhaustive()
    }
}

/// A module whose imports have been looked up.
pub struct InstancePre<T> {
    module: Module,
    definitions: Arc<[Definition]>,
    data: PhantomData<fn(&mut T)>,
}

impl<T: 'static> InstancePre<T> {
    /// The module.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// A new instance.
    ///
    /// # Errors
    /// As for [`Linker::instantiate`].
    pub fn instantiate(&self, mut store: impl AsContextMut<Data = T>) -> Result<Instance> {
        Instance::with_definitions(
            &mut store.as_context_mut(),
            &self.module,
            self.definitions.iter().cloned(),
        )
    }
}

impl<T> Clone for InstancePre<T> {
    fn clone(&self) -> Self {
        InstancePre {
            module: self.module.clone(),
            definitions: self.definitions.clone(),
            data: PhantomData,
        }
    }
}

impl<T> std::fmt::Debug for InstancePre<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InstancePre")
            .field("module", &self.module)
            .finish_non_exhaustive()
    }
}
