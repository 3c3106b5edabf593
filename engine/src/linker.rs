//! Imports by name.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::caller::Caller;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::externs::Extern;
use crate::func::Func;
use crate::instance::{Definition, Instance};
use crate::module::Module;
use crate::store::{AsContext, AsContextMut};
use crate::symbols::Printable;
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
    unknown_exports: bool,
    data: PhantomData<fn(&mut T)>,
}

impl<T: 'static> Linker<T> {
    /// Without definitions.
    pub fn new(engine: &Engine) -> Linker<T> {
        Linker {
            engine: engine.clone(),
            modules: HashMap::new(),
            shadowing: false,
            unknown_exports: false,
            data: PhantomData,
        }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Whether a later definition may replace one of the same name; else it is an error.
    ///
    /// ```
    /// use bimetal::{Engine, Linker};
    ///
    /// let mut linker = Linker::<()>::new(&Engine::default());
    /// linker.func_wrap("host", "f", || 1)?;
    /// assert!(linker.func_wrap("host", "f", || 2).is_err());
    /// linker.allow_shadowing(true);
    /// linker.func_wrap("host", "f", || 3)?;
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    pub fn allow_shadowing(&mut self, allow: bool) -> &mut Self {
        self.shadowing = allow;
        self
    }

    /// Whether [`Linker::module`] passes over the exports of a command that cannot be offered to
    /// others; else they are an error.
    pub fn allow_unknown_exports(&mut self, allow: bool) -> &mut Self {
        self.unknown_exports = allow;
        self
    }

    pub(crate) fn insert(
        &mut self,
        module: &str,
        name: &str,
        definition: Definition,
    ) -> Result<&mut Self> {
        let names = self.modules.entry(module.into()).or_default();
        if !self.shadowing && names.contains_key(name) {
            return Err(Error::of(
                ErrorKind::Link,
                format_args!("import of {} defined twice", Names(module, name)),
            ));
        }
        names.insert(name.into(), definition);
        Ok(self)
    }

    fn definition(&self, module: &str, name: &str) -> Option<&Definition> {
        self.modules.get(module)?.get(name)
    }

    /// Defines an item of a store; the linker can then only be used with that store, unless it is a
    /// shared memory.
    ///
    /// ```
    /// use bimetal::{Engine, Linker, Memory, MemoryType, Module, Store};
    ///
    /// let engine = Engine::default();
    /// let mut store = Store::new(&engine, ());
    /// let memory = Memory::new(&mut store, MemoryType::new(1, None))?;
    /// let mut linker = Linker::new(&engine);
    /// linker.define(&store, "host", "memory", memory)?;
    /// let module = Module::new(&engine, r#"(module
    ///     (import "host" "memory" (memory 1)) (data (i32.const 0) "*"))"#)?;
    /// linker.instantiate(&mut store, &module)?;
    /// assert_eq!(memory.data(&store)[0], b'*');
    /// # Ok::<(), bimetal::Error>(())
    /// ```
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
        item.check(store.as_context().opaque())?;
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
    /// ```
    /// use bimetal::{Engine, FuncType, Linker, ValType};
    ///
    /// let engine = Engine::default();
    /// let mut linker = Linker::<()>::new(&engine);
    /// let ty = FuncType::new(&engine, [ValType::I32, ValType::I32], [ValType::I32]);
    /// linker.func_new("math", "max", ty, |_caller, params, results| {
    ///     results[0] = params[0].unwrap_i32().max(params[1].unwrap_i32()).into();
    ///     Ok(())
    /// })?;
    /// # Ok::<(), bimetal::Error>(())
    /// ```
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
        let func = Arc::new(HostFunc::dynamic(ty, f));
        self.insert(module, name, Definition::Host(func))
    }

    /// Defines all exports of an instance under the name `module`.
    ///
    /// ```
    /// use bimetal::{Engine, Linker, Module, Store};
    ///
    /// let engine = Engine::default();
    /// let mut store = Store::new(&engine, ());
    /// let mut linker = Linker::new(&engine);
    /// let library = Module::new(&engine, r#"(module
    ///     (func (export "answer") (result i32) (i32.const 42)))"#)?;
    /// let library = linker.instantiate(&mut store, &library)?;
    /// linker.instance(&mut store, "library", library)?;
    /// let program = Module::new(&engine, r#"(module
    ///     (import "library" "answer" (func (result i32))) (export "f" (func 0)))"#)?;
    /// let program = linker.instantiate(&mut store, &program)?;
    /// let f = program.get_typed_func::<(), i32>(&mut store, "f")?;
    /// assert_eq!(f.call(&mut store, ())?, 42);
    /// # Ok::<(), bimetal::Error>(())
    /// ```
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
    /// other is a *reactor*: it is instantiated now and its `_initialize` called.
    ///
    /// ```
    /// use bimetal::{Engine, Linker, Module, Store};
    ///
    /// let engine = Engine::default();
    /// let mut store = Store::new(&engine, ());
    /// let mut linker = Linker::new(&engine);
    /// let command = Module::new(&engine, r#"(module
    ///     (global $runs (mut i32) (i32.const 0))
    ///     (func (export "_start"))
    ///     (func (export "run") (result i32)
    ///         (global.set $runs (i32.add (global.get $runs) (i32.const 1)))
    ///         (global.get $runs)))"#)?;
    /// linker.module(&mut store, "command", &command)?;
    /// let run = linker.get(&mut store, "command", "run")?.into_func().unwrap();
    /// let run = run.typed::<(), i32>(&store)?;
    /// // Each call is of a new instance.
    /// assert_eq!((run.call(&mut store, ())?, run.call(&mut store, ())?), (1, 1));
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a name is defined already; the module cannot be instantiated; or a command exports what
    /// is no function, but its `memory` and `__indirect_function_table`, which are not offered
    /// ([`Linker::allow_unknown_exports`] passes over others).
    pub fn module(
        &mut self,
        mut store: impl AsContextMut<Data = T>,
        module_name: &str,
        module: &Module,
    ) -> Result<&mut Self> {
        if !is_command(module) {
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
        for (name, ty) in self.command_exports(module)? {
            let (linker, module, export) = (linker.clone(), module.clone(), name.clone());
            self.func_new(
                module_name,
                &name,
                ty,
                move |mut caller, params, results| {
                    let instance = linker.instantiate(&mut caller, &module)?;
                    let func = instance.get_func(&mut caller, &export).ok_or_else(|| {
                        Error::usage(format_args!(
                            "no function `{}` is exported",
                            Printable(&export)
                        ))
                    })?;
                    func.call(&mut caller, params, results)
                },
            )?;
        }
        Ok(self)
    }

    /// The functions that a command offers to others.
    pub(crate) fn command_exports(&self, module: &Module) -> Result<Vec<(String, FuncType)>> {
        let mut functions = Vec::new();
        for export in module.exports() {
            match export.ty() {
                ExternType::Func(ty) => functions.push((export.name().to_owned(), ty)),
                _ if self.unknown_exports => {}
                _ if matches!(export.name(), "memory" | "__indirect_function_table") => {}
                ty => {
                    return Err(Error::of(
                        ErrorKind::Link,
                        format_args!(
                            "a command cannot offer its export `{}` ({ty}), which would be of \
                             each instance another",
                            Printable(export.name()),
                        ),
                    ));
                }
            }
        }
        Ok(functions)
    }

    /// Defines `as_module::as_name` as what `module::name` is.
    ///
    /// ```
    /// use bimetal::{Engine, Linker, Store};
    ///
    /// let engine = Engine::default();
    /// let mut linker = Linker::<()>::new(&engine);
    /// linker.func_wrap("new", "f", || {})?;
    /// linker.alias("new", "f", "old", "g")?;
    /// linker.alias_module("new", "newest")?;
    /// let mut store = Store::new(&engine, ());
    /// assert!(linker.get(&mut store, "old", "g").is_ok());
    /// assert!(linker.get(&mut store, "newest", "f").is_ok());
    /// # Ok::<(), bimetal::Error>(())
    /// ```
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
        let definition = self.known(module, name)?.clone();
        self.insert(as_module, as_name, definition)
    }

    /// Defines all that is defined under `module` under `as_module` too.
    ///
    /// # Errors
    /// If a name is defined already.
    pub fn alias_module(&mut self, module: &str, as_module: &str) -> Result<&mut Self> {
        let names = self.modules.get(module).cloned().unwrap_or_default();
        for (name, definition) in names {
            self.insert(as_module, &name, definition)?;
        }
        Ok(self)
    }

    /// Defines every function that `module` imports and that is not defined as one that fails with
    /// an [`UnknownImportError`] when it is called.
    ///
    /// ```
    /// use bimetal::{Engine, Linker, Module, Store, UnknownImportError};
    ///
    /// let engine = Engine::default();
    /// let module = Module::new(&engine, r#"(module
    ///     (import "env" "exotic" (func $f)) (func (export "run") (call $f)))"#)?;
    /// let mut linker = Linker::new(&engine);
    /// linker.define_unknown_imports_as_traps(&module)?;
    /// let mut store = Store::new(&engine, ());
    /// let instance = linker.instantiate(&mut store, &module)?;
    /// let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
    /// let error = run.call(&mut store, ()).unwrap_err();
    /// assert_eq!(error.downcast_ref::<UnknownImportError>().unwrap().name(), "exotic");
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    ///
    /// # Errors
    /// Never for functions; an import that is none stays undefined.
    pub fn define_unknown_imports_as_traps(&mut self, module: &Module) -> Result<()> {
        for import in module.imports() {
            if self.definition(import.module, import.name).is_some() {
                continue;
            }
            if let ExternType::Func(ty) = import.ty() {
                let error = UnknownImportError::new(&import);
                self.func_new(import.module, import.name, ty, move |_, _, _| {
                    Err(Error::new(error.clone()))
                })?;
            }
        }
        Ok(())
    }

    /// Defines whatever `module` imports and is not defined as something that does nothing, see
    /// [`ExternType::default_value`]. Memories, tables and globals are of `store`.
    ///
    /// ```
    /// use bimetal::{Engine, Linker, Module, Store};
    ///
    /// let engine = Engine::default();
    /// let module = Module::new(&engine, r#"(module
    ///     (import "env" "memory" (memory 1))
    ///     (import "env" "get" (func $get (result i32)))
    ///     (func (export "run") (result i32) (call $get)))"#)?;
    /// let mut store = Store::new(&engine, ());
    /// let mut linker = Linker::new(&engine);
    /// linker.define_unknown_imports_as_default_values(&mut store, &module)?;
    /// let instance = linker.instantiate(&mut store, &module)?;
    /// let run = instance.get_typed_func::<(), i32>(&mut store, "run")?;
    /// assert_eq!(run.call(&mut store, ())?, 0);
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`ExternType::default_value`].
    pub fn define_unknown_imports_as_default_values(
        &mut self,
        mut store: impl AsContextMut<Data = T>,
        module: &Module,
    ) -> Result<()> {
        for import in module.imports() {
            if self.definition(import.module, import.name).is_some() {
                continue;
            }
            let item = import
                .ty
                .default_value(store.as_context_mut())
                .map_err(|error| {
                    error.context(format_args!(
                        "the import {}",
                        Names(import.module, import.name)
                    ))
                })?;
            self.insert(import.module, import.name, Definition::Extern(item))?;
        }
        Ok(())
    }

    /// All that is defined: its two names, and what it is. In no order.
    ///
    /// ```
    /// use bimetal::{Engine, Linker, Store};
    ///
    /// let engine = Engine::default();
    /// let mut linker = Linker::<()>::new(&engine);
    /// linker.func_wrap("host", "f", || {})?;
    /// let mut store = Store::new(&engine, ());
    /// let all: Vec<(&str, &str)> = linker.iter(&mut store).map(|(m, n, _)| (m, n)).collect();
    /// assert_eq!(all, [("host", "f")]);
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    pub fn iter<'a: 'p, 'p>(
        &'a self,
        mut store: impl AsContextMut<Data = T> + 'p,
    ) -> impl Iterator<Item = (&'a str, &'a str, Extern)> + 'p {
        let all = self.modules.iter().flat_map(|(module, names)| {
            let named = names.iter();
            named.map(move |(name, definition)| (&**module, &**name, definition))
        });
        all.map(move |(module, name, definition)| {
            let mut store = store.as_context_mut();
            (module, name, definition.clone().into_extern(store.opaque()))
        })
    }

    /// What is defined under these names.
    ///
    /// # Errors
    /// If nothing is.
    pub fn get(
        &self,
        mut store: impl AsContextMut<Data = T>,
        module: &str,
        name: &str,
    ) -> Result<Extern> {
        let mut store = store.as_context_mut();
        let definition = self.known(module, name)?.clone();
        Ok(definition.into_extern(store.opaque()))
    }

    fn known(&self, module: &str, name: &str) -> Result<&Definition> {
        self.definition(module, name).ok_or_else(|| {
            Error::of(
                ErrorKind::Link,
                format_args!("no item named {} is defined", Names(module, name)),
            )
        })
    }

    /// What an import of a module would be, or `None` if that is not defined. Its type may be
    /// another than the import's, which instantiation would refuse.
    pub fn get_by_import(
        &self,
        mut store: impl AsContextMut<Data = T>,
        import: &ImportType<'_>,
    ) -> Option<Extern> {
        let mut store = store.as_context_mut();
        let definition = self.definition(import.module, import.name)?.clone();
        Some(definition.into_extern(store.opaque()))
    }

    /// The function to run of a module that was defined under this name ([`Linker::module`]): the
    /// function with the empty name, or else its `_start`; without either one that does nothing.
    ///
    /// # Errors
    /// If what has that name is no function.
    pub fn get_default(
        &self,
        mut store: impl AsContextMut<Data = T>,
        module: &str,
    ) -> Result<Func> {
        for name in ["", "_start"] {
            if self.definition(module, name).is_none() {
                continue;
            }
            let item = self.get(store.as_context_mut(), module, name)?;
            return item.into_func().ok_or_else(|| {
                Error::of(
                    ErrorKind::Link,
                    format_args!("{} is no function", Names(module, name)),
                )
            });
        }
        Ok(Func::wrap(store, || {}))
    }

    /// What `module` imports and is not defined.
    ///
    /// ```
    /// use bimetal::{Engine, Linker, Module};
    ///
    /// let engine = Engine::default();
    /// let module = Module::new(&engine, r#"(module (import "a" "f" (func)) (import "a" "g" (func)))"#)?;
    /// let mut linker = Linker::<()>::new(&engine);
    /// linker.func_wrap("a", "f", || {})?;
    /// let missing: Vec<&str> = linker.unknown_imports(&module).map(|import| import.name()).collect();
    /// assert_eq!(missing, ["g"]);
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    pub fn unknown_imports<'m>(&self, module: &'m Module) -> impl Iterator<Item = ImportType<'m>> {
        module
            .imports()
            .filter(|import| self.definition(import.module, import.name).is_none())
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

    /// Looks up a module's imports once, to instantiate it often: see [`InstancePre`].
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

    pub(crate) fn definitions(&self, module: &Module) -> Result<Vec<Definition>> {
        module
            .imports()
            .map(|import| {
                self.definition(import.module, import.name)
                    .cloned()
                    .ok_or_else(|| Error::new(UnknownImportError::new(&import)))
            })
            .collect()
    }
}

/// Whether a module is a command by the WASI conventions.
pub(crate) fn is_command(module: &Module) -> bool {
    matches!(module.get_export("_start"), Some(ExternType::Func(_)))
}

impl<T> Clone for Linker<T> {
    fn clone(&self) -> Self {
        Linker {
            engine: self.engine.clone(),
            modules: self.modules.clone(),
            shadowing: self.shadowing,
            unknown_exports: self.unknown_exports,
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

/// Two names, as errors show them.
pub(crate) struct Names<'a>(pub(crate) &'a str, pub(crate) &'a str);

impl std::fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}::{}`", Printable(self.0), Printable(self.1))
    }
}

/// An import that nothing defines: the cause of such errors, see [`Error::downcast_ref`].
#[derive(Clone, Debug)]
pub struct UnknownImportError {
    module: Box<str>,
    name: Box<str>,
    ty: ExternType,
}

impl UnknownImportError {
    fn new(import: &ImportType<'_>) -> UnknownImportError {
        UnknownImportError {
            module: import.module.into(),
            name: import.name.into(),
            ty: import.ty(),
        }
    }

    /// Its first name.
    pub fn module(&self) -> &str {
        &self.module
    }

    /// Its second name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was wanted.
    pub fn ty(&self) -> ExternType {
        self.ty.clone()
    }
}

impl std::fmt::Display for UnknownImportError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "unknown import: {} ({}) has not been defined",
            Names(&self.module, &self.name),
            self.ty
        )
    }
}

impl std::error::Error for UnknownImportError {}

/// A module whose imports have been looked up: what a server makes its instances from.
///
/// It is cheap to clone and to be shared between threads, and does not need the linker any more.
///
/// ```
/// use bimetal::{Engine, Linker, Module, Store};
///
/// let engine = Engine::default();
/// let module = Module::new(&engine, r#"(module (func (export "f") (result i32) (i32.const 1)))"#)?;
/// let instance_pre = Linker::new(&engine).instantiate_pre(&module)?;
/// for _ in 0..3 {
///     let mut store = Store::new(&engine, ());
///     let instance = instance_pre.instantiate(&mut store)?;
///     let f = instance.get_typed_func::<(), i32>(&mut store, "f")?;
///     assert_eq!(f.call(&mut store, ())?, 1);
/// }
/// # Ok::<(), bimetal::Error>(())
/// ```
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

    pub(crate) fn definitions(&self) -> &[Definition] {
        &self.definitions
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
