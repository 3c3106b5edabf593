//! Loaded modules.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bimetal_abi::LazyTables;
use bimetal_artifact::Image;
use bimetal_codegen::middleware::Instrumentation;
use bimetal_codegen::{Dump, DumpSet, ModuleEnv};
use bimetal_wasm::{DefinedFuncIndex, EntityIndex, FuncIndex};
use cranelift_entity::EntityRef;

use crate::cache::CacheSlot;
use crate::engine::Engine;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::middleware::compile_error;
use crate::registry::RegisteredType;
use crate::symbols::{Printable, SymbolCache};
use crate::tier::LazyFunctions;
use crate::types::{ExportType, ExternType, ImportType};
use crate::vm::{
    ImageFile, ImageText, ImportValue, InitialContents, InstanceData, ModuleCode, ModuleKey,
    Template,
};

/// A validated module with its code, ready to be instantiated in any store of its engine.
///
/// Cheap to clone, and to be shared between threads. With [`Config::lazy`](crate::Config::lazy)
/// its functions are compiled as they are called.
///
/// ```
/// use bimetal::{Engine, Module};
///
/// let engine = Engine::default();
/// let module = Module::new(&engine, r#"(module (func (export "f")))"#)?;
/// assert_eq!(module.exports().next().unwrap().name(), "f");
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Clone)]
pub struct Module {
    inner: Arc<ModuleInner>,
}

/// What a module's instances share.
#[derive(Debug)]
pub(crate) struct ModuleInner {
    pub(crate) engine: Engine,
    pub(crate) env: ModuleEnv,
    /// Engine-wide numbers of the module's types.
    pub(crate) type_ids: Box<[u32]>,
    /// What these numbers are of.
    pub(crate) types: Box<[RegisteredType]>,
    /// Entry cells of defined functions.
    pub(crate) entry: Box<[AtomicPtr<u8>]>,
    pub(crate) code: ModuleCode,
    pub(crate) lazy: LazyFunctions,
    pub(crate) symbols: SymbolCache,
    /// What functions are compiled from if the image's copy is damaged.
    pub(crate) source: OnceLock<Option<ModuleEnv>>,
    pub(crate) contents: InitialContents,
    pub(crate) template: OnceLock<Template>,
    pub(crate) key: ModuleKey,
    /// See [`Origin`].
    pub(crate) base: Option<Arc<ModuleInner>>,
    /// See [`Origin`].
    pub(crate) relative: Option<Image>,
    /// See [`Origin`].
    pub(crate) slot: Option<CacheSlot>,
    /// How many functions came from `relative`.
    pub(crate) taken_over: AtomicUsize,
    /// What [`ModuleInner::compiled`] was when the cache was written.
    pub(crate) cached: AtomicUsize,
}

/// What a module has to begin with, besides itself.
#[derive(Debug, Default)]
pub(crate) struct Origin<'a> {
    /// Its compiled functions, all or some.
    pub(crate) image: Option<ImageText>,
    /// The file that `image` is in.
    pub(crate) file: Option<ImageFile<'a>>,
    /// What its memories contain at first, if that is known.
    pub(crate) contents: InitialContents,
    /// A module with the same code, of which this one is a [snapshot](crate::Snapshot): it has the
    /// code of both. Never a snapshot itself.
    pub(crate) base: Option<Arc<ModuleInner>>,
    /// A module with the same outline, of whose functions some may be the same.
    pub(crate) relative: Option<Image>,
    /// Where to keep what is compiled.
    pub(crate) slot: Option<CacheSlot>,
}

impl Module {
    /// Validates and, unless the engine is lazy, compiles a module in the binary or text format.
    ///
    /// # Errors
    /// If the bytes are no valid module, use what is not supported, or cannot be compiled; if this
    /// build of the engine has no compiler (feature `optimizer`), or its configuration wants
    /// [no code but that of files](crate::Config::code_from_files_only).
    pub fn new(engine: &Engine, bytes: impl AsRef<[u8]>) -> Result<Module> {
        Module::from_vec(engine, bytes.as_ref().to_vec())
    }

    /// Like [`Module::new`], but only the binary format, not text.
    ///
    /// # Errors
    /// As for [`Module::new`].
    pub fn from_binary(engine: &Engine, binary: &[u8]) -> Result<Module> {
        if !binary.starts_with(b"\0asm") {
            return Err(Error::of(
                ErrorKind::Module,
                "no WebAssembly binary: the magic number is missing",
            ));
        }
        Module::from_vec(engine, binary.to_vec())
    }

    /// Like [`Module::new`], without copying the bytes.
    ///
    /// # Errors
    /// As for [`Module::new`].
    pub fn from_vec(engine: &Engine, bytes: Vec<u8>) -> Result<Module> {
        if let Some(cache) = engine.config().cache.as_ref() {
            return cache.load(engine, bytes);
        }
        let wasm = bimetal_wasm::Module::new(bytes, &engine.config().features)?;
        Module::from_wasm(engine, wasm, Origin::default())
    }

    /// Like [`Module::new`], for a file. If the engine has a cache and the file has not changed
    /// since its module was cached, it is not read.
    ///
    /// # Errors
    /// As for [`Module::new`]; or the file cannot be read.
    pub fn from_file(engine: &Engine, path: impl AsRef<Path>) -> Result<Module> {
        let path = path.as_ref();
        Module::from_file_with(engine, path, || {
            std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))
        })
        .with_context(|| format!("cannot load `{}`", path.display()))
    }

    /// [`Module::from_file`] for who has another way to get at the bytes of a file, such as a
    /// translation of its text: `read` is called unless the cache knows the file.
    ///
    /// # Errors
    /// As for [`Module::new`]; or the error of `read`.
    pub fn from_file_with(
        engine: &Engine,
        path: &Path,
        read: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<Module> {
        let Some((cache, metadata)) =
            (engine.config().cache.as_ref()).zip(std::fs::metadata(path).ok())
        else {
            return Module::from_vec(engine, read()?);
        };
        if let Some(module) = cache.load_file(engine, path, &metadata) {
            return Ok(module);
        }
        let module = Module::from_vec(engine, read()?)?;
        cache.remember_file(&module, &metadata);
        Ok(module)
    }

    /// Whether the bytes are a module that [`Module::new`] would accept, short of compiling it.
    ///
    /// ```
    /// use bimetal::{Engine, Module};
    ///
    /// let engine = Engine::default();
    /// assert!(Module::validate(&engine, b"\0asm\x01\0\0\0").is_ok());
    /// let error = Module::validate(&engine, b"(module (func (result i32)))").unwrap_err();
    /// assert!(error.to_string().contains("type mismatch"));
    /// ```
    ///
    /// # Errors
    /// Why not.
    pub fn validate(engine: &Engine, bytes: &[u8]) -> Result<()> {
        let wasm = bimetal_wasm::Module::new(bytes.to_vec(), &engine.config().features)?;
        if !engine.config().middlewares.is_empty() {
            let env = Module::environment(engine, wasm)?;
            crate::tier::show_all(&env, engine.config().parallel)?;
        }
        Ok(())
    }

    /// The module as compilers see it.
    pub(crate) fn environment(
        engine: &Engine,
        mut wasm: bimetal_wasm::Module,
    ) -> Result<ModuleEnv> {
        let middlewares = &engine.config().middlewares;
        let instrumentation =
            Instrumentation::new(middlewares, &mut wasm).map_err(compile_error)?;
        let mut env = ModuleEnv::new(Arc::new(wasm), engine.tunables().clone())?;
        env.instrumentation = instrumentation.map(Arc::new);
        Ok(env)
    }

    /// A module whose functions are compiled now, as they are called, or already in an image.
    pub(crate) fn from_wasm(
        engine: &Engine,
        wasm: bimetal_wasm::Module,
        origin: Origin<'_>,
    ) -> Result<Module> {
        engine.for_this_machine()?;
        if origin.image.is_none() {
            engine.compiles()?;
        }
        let (in_image, file) = (origin.image.is_some(), origin.file);
        let mut env = Module::environment(engine, wasm)?;
        if let Some(base) = &origin.base {
            // Its code looks elements up in no other tables.
            let lazy = &base.env.tables;
            env.tables = LazyTables::among(&env.module, |table| lazy.is_lazy(table));
        }
        let wasm = &*env.module;
        let types = engine.types().module(wasm)?;
        let type_ids = types.iter().map(|ty| ty.id).collect();
        let functions = wasm.bodies.len();
        let written = !engine.config().code_from_files_only;
        let mut entry = match &origin.base {
            Some(base) => crate::tier::same_cells(base),
            None => crate::tier::entry_cells(wasm, written)
                .context("cannot allocate memory for machine code")?,
        };
        if let Some(image) = &origin.image {
            image.publish(&mut entry);
        }
        let has_base = origin.base.is_some();
        let inner = Arc::new_cyclic(|owner| ModuleInner {
            engine: engine.clone(),
            env,
            type_ids,
            types: types.into(),
            entry,
            code: ModuleCode::new(
                engine.code_space().clone(),
                owner.clone(),
                functions,
                origin.image,
            ),
            contents: origin.contents,
            base: origin.base,
            template: OnceLock::new(),
            key: ModuleKey::new(engine),
            relative: origin.relative,
            slot: origin.slot,
            taken_over: AtomicUsize::new(0),
            cached: AtomicUsize::new(0),
            lazy: LazyFunctions::new(functions),
            symbols: SymbolCache::default(),
            source: OnceLock::new(),
        });
        if let Some(image) = inner.code.image() {
            image.share_trampolines(engine.code_space(), file, &inner.types)?;
        }
        // What was there before is no reason to write it again.
        inner.cached.store(inner.compiled(), Ordering::Relaxed);
        if !written {
            crate::tier::prepare_cells(&inner)?;
        }
        match (in_image, engine.config().lazy) {
            _ if has_base => {}
            // It was shown when it was compiled.
            (true, true) => {}
            (false, true) => crate::tier::show_all(&inner.env, engine.config().parallel)?,
            (_, false) => crate::tier::compile_all(&inner)?,
        }
        Ok(Module { inner })
    }

    pub(crate) fn from_inner(inner: Arc<ModuleInner>) -> Module {
        Module { inner }
    }

    pub(crate) fn inner(&self) -> &Arc<ModuleInner> {
        &self.inner
    }

    pub(crate) fn env(&self) -> &ModuleEnv {
        &self.inner.env
    }

    /// The type of an import or export.
    pub(crate) fn extern_type(&self, index: EntityIndex) -> ExternType {
        ExternType::of(self.wasm(), &self.inner.types, index)
    }

    pub(crate) fn template(&self) -> &Template {
        self.inner
            .template
            .get_or_init(|| Template::new(self.env()))
    }

    /// The decoded module.
    pub fn wasm(&self) -> &bimetal_wasm::Module {
        &self.inner.env.module
    }

    /// Whether both have the same code: they are the same, or one is a snapshot of the other.
    pub(crate) fn same_code(a: &Module, b: &Module) -> bool {
        Arc::ptr_eq(a.inner.code_owner(), b.inner.code_owner())
    }

    /// Whether both are the same loaded module.
    pub fn same(a: &Module, b: &Module) -> bool {
        Arc::ptr_eq(&a.inner, &b.inner)
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// The name that the module gives itself, in its name section.
    pub fn name(&self) -> Option<&str> {
        self.wasm().names().module.as_deref()
    }

    /// What it imports, in order.
    ///
    /// ```
    /// use bimetal::{Engine, Module};
    ///
    /// let module = Module::new(&Engine::default(), r#"(module $adder
    ///     (import "env" "log" (func (param i32)))
    ///     (memory (export "memory") 1))"#)?;
    /// assert_eq!(module.name(), Some("adder"));
    /// let imports: Vec<String> = module
    ///     .imports()
    ///     .map(|import| format!("{}.{}: {}", import.module(), import.name(), import.ty()))
    ///     .collect();
    /// assert_eq!(imports, ["env.log: func (i32) -> ()"]);
    /// assert_eq!(module.exports().len(), 1);
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    pub fn imports(&self) -> impl ExactSizeIterator<Item = ImportType<'_>> {
        self.wasm().imports.iter().map(|import| ImportType {
            module: &import.module,
            name: &import.name,
            ty: self.extern_type(import.index),
        })
    }

    /// What it exports, in order.
    pub fn exports(&self) -> impl ExactSizeIterator<Item = ExportType<'_>> {
        self.wasm().exports.iter().map(|export| ExportType {
            name: &export.name,
            ty: self.extern_type(export.index),
        })
    }

    /// The type of the export with this name.
    pub fn get_export(&self, name: &str) -> Option<ExternType> {
        let index = self.wasm().export(name)?;
        Some(self.extern_type(index))
    }

    /// Finds an export by its name once, to get it from many instances:
    /// [`Instance::get_module_export`](crate::Instance::get_module_export),
    /// [`Caller::get_module_export`](crate::Caller::get_module_export).
    ///
    /// ```
    /// use bimetal::{Engine, Linker, Module, Store};
    ///
    /// let engine = Engine::default();
    /// let module = Module::new(&engine, r#"(module (memory (export "memory") 1))"#)?;
    /// let memory = module.get_export_index("memory").unwrap();
    /// let mut store = Store::new(&engine, ());
    /// let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
    /// assert!(instance.get_module_export(&mut store, &memory).is_some());
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    pub fn get_export_index(&self, name: &str) -> Option<ModuleExport> {
        let index = self.wasm().export(name)?;
        Some(ModuleExport {
            module: self.clone(),
            index,
        })
    }

    /// The functions that it defines, in order; imported ones are not among them.
    ///
    /// ```
    /// use bimetal::{Engine, Module};
    ///
    /// let module = Module::new(&Engine::default(), r#"(module
    ///     (import "a" "b" (func)) (func $f) (func))"#)?;
    /// let names: Vec<_> = module.functions().map(|f| (f.index(), f.name())).collect();
    /// assert_eq!(names, [(1, Some("f")), (2, None)]);
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    pub fn functions(&self) -> impl ExactSizeIterator<Item = ModuleFunction<'_>> {
        let wasm = self.wasm();
        wasm.bodies.keys().map(|defined| {
            let index = wasm.func_index(defined);
            ModuleFunction {
                index: index.as_u32(),
                name: wasm.func_name(index),
                body: wasm.bodies[defined].range.clone(),
            }
        })
    }

    /// What an instance needs: memories and tables of its own, imported ones not counted.
    ///
    /// ```
    /// use bimetal::{Engine, Module};
    ///
    /// let module = Module::new(&Engine::default(), r#"(module
    ///     (import "a" "b" (memory 10)) (memory 1) (memory 6))"#)?;
    /// let resources = module.resources_required();
    /// assert_eq!(resources.num_memories, 2);
    /// assert_eq!(resources.max_initial_memory_size, Some(6));
    /// assert_eq!(resources.num_tables, 0);
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    pub fn resources_required(&self) -> ResourcesRequired {
        let wasm = self.wasm();
        let memories = wasm.memories.values().skip(wasm.num_imported_memories);
        let tables = wasm.tables.values().skip(wasm.num_imported_tables);
        ResourcesRequired {
            num_memories: wasm.num_defined_memories() as u32,
            max_initial_memory_size: memories.map(|ty| ty.min).max(),
            num_tables: wasm.num_defined_tables() as u32,
            max_initial_table_size: tables.map(|ty| ty.min).max(),
        }
    }

    /// The addresses that its machine code is at: from its first byte to its last. Other modules'
    /// code may stand between. Empty if nothing is compiled; what is compiled later can widen it.
    ///
    /// ```
    /// use bimetal::{Engine, Module};
    ///
    /// let module = Module::new(&Engine::default(), "(module (func))")?;
    /// let range = module.image_range();
    /// assert!(range.start < range.end);
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    pub fn image_range(&self) -> Range<*const u8> {
        let range = self.inner.code_owner().code.range();
        let address = |at| std::ptr::with_exposed_provenance(at);
        address(range.start)..address(range.end)
    }

    /// How many functions were not compiled but taken over from an earlier build of the same
    /// program that was in the cache. They count as compiled in [`Module::compiled`].
    pub fn taken_over(&self) -> usize {
        self.inner.code_owner().taken_over.load(Ordering::Relaxed)
    }

    /// How many functions have been compiled, and the bytes of their machine code.
    pub fn compiled(&self) -> (usize, usize) {
        let code = &self.inner.code_owner().code;
        (code.count(), code.size())
    }

    /// The compiler's intermediate forms of one function.
    ///
    /// # Errors
    /// If there is no such function, it is imported, or it cannot be compiled.
    pub fn dump(&self, func_index: u32, what: DumpSet) -> Result<Vec<Dump>> {
        let wasm = self.wasm();
        let count = wasm.functions.len();
        if func_index as usize >= count {
            return Err(Error::usage(format_args!(
                "there is no function {func_index}; the module has {count}"
            )));
        }
        let Some(defined) = wasm.defined_func(FuncIndex::from_u32(func_index)) else {
            return Err(Error::usage(format_args!(
                "function {func_index} is imported; it has no body"
            )));
        };
        let compiler = self.engine().compiler()?;
        let env = self.inner.env_to_compile_all()?;
        let dump = compiler.dump(env, defined, what);
        dump.map_err(compile_error)
    }
}

impl ModuleInner {
    pub(crate) fn wasm(&self) -> &bimetal_wasm::Module {
        &self.env.module
    }

    /// How many functions and trampolines have been compiled.
    pub(crate) fn compiled(&self) -> usize {
        let types = self.types.iter().filter(|ty| ty.is_func());
        let trampolines = types.map(|ty| ty.signature().trampolines());
        self.code.count() + trampolines.sum::<usize>()
    }

    /// The module that has this one's code, which mostly is itself.
    pub(crate) fn code_owner(self: &Arc<ModuleInner>) -> &Arc<ModuleInner> {
        self.base.as_ref().unwrap_or(self)
    }

    /// For messages: the name of a function.
    pub(crate) fn describe(&self, func: DefinedFuncIndex) -> String {
        describe(self.wasm(), func)
    }
}

/// For messages: the name of a function.
pub(crate) fn describe(wasm: &bimetal_wasm::Module, func: DefinedFuncIndex) -> String {
    let index = wasm.func_index(func);
    match wasm.func_name(index) {
        Some(name) => format!("function {} (`{}`)", index.index(), Printable(name)),
        None => format!("function {}", index.index()),
    }
}

/// An export of a module, found by its name: [`Module::get_export_index`].
#[derive(Clone, Debug)]
pub struct ModuleExport {
    module: Module,
    index: EntityIndex,
}

impl ModuleExport {
    /// What it is in an instance; `None` if that is of another module.
    pub(crate) fn of(&self, instance: &InstanceData) -> Option<ImportValue> {
        match Module::same(&self.module, instance.module()) {
            true => instance.export(self.index),
            false => None,
        }
    }
}

/// A function that a module defines: [`Module::functions`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleFunction<'module> {
    index: u32,
    name: Option<&'module str>,
    body: Range<usize>,
}

impl<'module> ModuleFunction<'module> {
    /// Its index in the module, imported functions counted.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Its name, if the module has one for it.
    pub fn name(&self) -> Option<&'module str> {
        self.name
    }

    /// Where its body is in the module's binary, in bytes.
    pub fn body(&self) -> Range<usize> {
        self.body.clone()
    }
}

/// What an instance of a module needs: [`Module::resources_required`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResourcesRequired {
    /// How many memories it makes.
    pub num_memories: u32,
    /// The initial pages of the largest.
    pub max_initial_memory_size: Option<u64>,
    /// How many tables it makes.
    pub num_tables: u32,
    /// The initial elements of the largest.
    pub max_initial_table_size: Option<u64>,
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module")
            .field("name", &self.name())
            .field("functions", &self.inner.entry.len())
            .finish_non_exhaustive()
    }
}
