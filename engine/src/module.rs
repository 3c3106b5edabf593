//! Loaded modules.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicPtr;

use bimetal_codegen::{Dump, DumpSet, ModuleEnv};
use bimetal_wasm::{CompositeType, DefinedFuncIndex, FuncIndex};
use cranelift_entity::EntityRef;

use crate::engine::Engine;
use crate::error::{Context, Error, Result};
use crate::symbols::SymbolCache;
use crate::tier::LazyFunctions;
use crate::types::{ExportType, ExternType, ImportType};
use crate::vm::ModuleCode;

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
    /// Engine-wide ids of the module's types; of types that are no functions `u32::MAX`.
    pub(crate) type_ids: Box<[u32]>,
    /// Entry cells of defined functions.
    pub(crate) entry: Box<[AtomicPtr<u8>]>,
    pub(crate) code: ModuleCode,
    pub(crate) lazy: LazyFunctions,
    pub(crate) symbols: SymbolCache,
}

impl Module {
    /// Validates and, unless the engine is lazy, compiles a module in the binary or text format.
    ///
    /// # Errors
    /// If the bytes are no valid module, use what is not supported, or cannot be compiled.
    pub fn new(engine: &Engine, bytes: impl AsRef<[u8]>) -> Result<Module> {
        Module::from_vec(engine, bytes.as_ref().to_vec())
    }

    /// Like [`Module::new`], without copying the bytes.
    ///
    /// # Errors
    /// As for [`Module::new`].
    pub fn from_vec(engine: &Engine, bytes: Vec<u8>) -> Result<Module> {
        let wasm = bimetal_wasm::Module::new(bytes, &engine.config().features)?;
        Module::from_wasm(engine, wasm)
    }

    /// Like [`Module::new`], for a file.
    ///
    /// # Errors
    /// As for [`Module::new`]; or the file cannot be read.
    pub fn from_file(engine: &Engine, path: impl AsRef<Path>) -> Result<Module> {
        let path = path.as_ref();
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        Module::from_vec(engine, bytes).with_context(|| format!("cannot load `{}`", path.display()))
    }

    /// Whether the bytes are a module that [`Module::new`] would accept, short of compiling it.
    ///
    /// # Errors
    /// Why not.
    pub fn validate(engine: &Engine, bytes: &[u8]) -> Result<()> {
        bimetal_wasm::Module::new(bytes.to_vec(), &engine.config().features)?;
        Ok(())
    }

    fn from_wasm(engine: &Engine, wasm: bimetal_wasm::Module) -> Result<Module> {
        let type_ids = wasm
            .types
            .values()
            .map(|ty| match &ty.composite {
                CompositeType::Func(ty) => engine.type_id(ty),
                _ => u32::MAX,
            })
            .collect();
        let functions = wasm.bodies.len();
        let entry =
            crate::tier::entry_cells(&wasm).context("cannot allocate memory for machine code")?;
        let env = ModuleEnv::new(Arc::new(wasm), engine.tunables().clone())?;
        let inner = Arc::new_cyclic(|owner| ModuleInner {
            engine: engine.clone(),
            env,
            type_ids,
            entry,
            code: ModuleCode::new(engine.code_space().clone(), owner.clone(), functions),
            lazy: LazyFunctions::new(functions),
            symbols: SymbolCache::default(),
        });
        if !engine.config().lazy {
            crate::tier::compile_all(&inner)?;
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

    /// The decoded module.
    pub fn wasm(&self) -> &bimetal_wasm::Module {
        &self.inner.env.module
    }

    /// Whether both are the same loaded module.
    pub fn same(a: &Module, b: &Module) -> bool {
        Arc::ptr_eq(&a.inner, &b.inner)
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// The name that the module gives itself.
    pub fn name(&self) -> Option<&str> {
        self.wasm().names().module.as_deref()
    }

    /// What it imports, in order.
    pub fn imports(&self) -> impl ExactSizeIterator<Item = ImportType<'_>> {
        self.wasm().imports.iter().map(|import| ImportType {
            module: &import.module,
            name: &import.name,
            ty: ExternType::of(self.wasm(), import.index),
        })
    }

    /// What it exports, in order.
    pub fn exports(&self) -> impl ExactSizeIterator<Item = ExportType<'_>> {
        self.wasm().exports.iter().map(|export| ExportType {
            name: &export.name,
            ty: ExternType::of(self.wasm(), export.index),
        })
    }

    /// The type of the export with this name.
    pub fn get_export(&self, name: &str) -> Option<ExternType> {
        let index = self.wasm().export(name)?;
        Some(ExternType::of(self.wasm(), index))
    }

    /// How many functions have been compiled, and the bytes of their machine code.
    pub fn compiled(&self) -> (usize, usize) {
        (self.inner.code.count(), self.inner.code.size())
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
        Ok(self.engine().compiler()?.dump(self.env(), defined, what)?)
    }
}

impl ModuleInner {
    pub(crate) fn wasm(&self) -> &bimetal_wasm::Module {
        &self.env.module
    }

    /// For messages: the name of a function.
    pub(crate) fn describe(&self, func: DefinedFuncIndex) -> String {
        let index = self.wasm().func_index(func);
        match self.wasm().func_name(index) {
            Some(name) => format!("function {} (`{name}`)", index.index()),
            None => format!("function {}", index.index()),
        }
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module")
            .field("name", &self.name())
            .field("functions", &self.inner.entry.len())
            .finish_non_exhaustive()
    }
}
