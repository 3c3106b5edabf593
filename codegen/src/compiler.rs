//! The contract of a compiler.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bimetal_abi::{LazyTables, MemoryPlan, Tunables, VmOffsets};
use bimetal_wasm::{DefinedFuncIndex, FuncType, MemoryIndex, Module, ValType};
use cranelift_entity::PrimaryMap;

use crate::code::{FunctionCode, TrampolineCode};
use crate::middleware::{Instrumentation, MiddlewareError};

/// How much work a compiler puts into a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OptLevel {
    /// None: the fastest compilation that this compiler has.
    None,
    /// What always pays.
    Fast,
    /// Everything.
    #[default]
    Full,
}

/// What a compiler is made with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// How much work.
    pub opt_level: OptLevel,
    /// Whether NaN results are made canonical.
    pub nan_canonicalization: bool,
    /// Whether intermediate forms are verified after each step (tests, fuzzing).
    pub verify: bool,
    /// Stop optimising after this many transformations, to bisect a compiler bug.
    pub opt_fuel: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            opt_level: OptLevel::Full,
            nan_canonicalization: false,
            verify: false,
            opt_fuel: None,
        }
    }
}

/// A module as compilers see it: the same for all its functions.
#[derive(Debug)]
pub struct ModuleEnv {
    /// The module.
    pub module: Arc<Module>,
    /// Where things are in an instance's context.
    pub offsets: VmOffsets,
    /// The settings that shape code.
    pub tunables: Tunables,
    /// The plan of every memory.
    pub memories: PrimaryMap<MemoryIndex, MemoryPlan>,
    /// Which tables are filled as they are used.
    pub tables: LazyTables,
    /// What says which instructions are compiled in the place of the module's, if something does.
    /// Every compiler must do as it says.
    pub instrumentation: Option<Arc<Instrumentation>>,
}

impl ModuleEnv {
    /// The environment of `module`.
    ///
    /// # Errors
    /// [`CompileError::Limit`] if an instance's context would be larger than 2 GiB.
    pub fn new(module: Arc<Module>, tunables: Tunables) -> Result<ModuleEnv, CompileError> {
        let offsets = VmOffsets::new(&module)
            .ok_or_else(|| CompileError::Limit("the instance context exceeds 2 GiB".into()))?;
        let memories = module
            .memories
            .values()
            .map(|&ty| MemoryPlan::new(ty, &tunables))
            .collect();
        Ok(ModuleEnv {
            tables: LazyTables::new(&module),
            module,
            offsets,
            tunables,
            memories,
            instrumentation: None,
        })
    }
}

/// A piece of code between wasm and its surroundings; see [`bimetal_abi::convention`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Trampoline {
    /// Between what, in which direction.
    pub kind: TrampolineKind,
    /// The type of the functions that are called through it.
    pub ty: FuncType,
}

/// The kinds of trampolines. The numbers stand in images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum TrampolineKind {
    /// The host calls a wasm function.
    HostToWasm = 0,
    /// Wasm calls a host function with its arguments in registers.
    WasmToNative = 1,
    /// Wasm calls a host function with its arguments in an array.
    WasmToArray = 2,
    /// As `WasmToNative`, in a store with a call hook.
    HookedToNative = 3,
    /// As `WasmToArray`, in a store with a call hook.
    HookedToArray = 4,
}

impl TrampolineKind {
    /// All of them, by their numbers.
    pub const ALL: [TrampolineKind; 5] = [
        TrampolineKind::HostToWasm,
        TrampolineKind::WasmToNative,
        TrampolineKind::WasmToArray,
        TrampolineKind::HookedToNative,
        TrampolineKind::HookedToArray,
    ];

    /// Its name in tables of symbols.
    pub fn name(self) -> &'static str {
        match self {
            TrampolineKind::HostToWasm => "host_to_wasm",
            TrampolineKind::WasmToNative => "wasm_to_native",
            TrampolineKind::WasmToArray => "wasm_to_array",
            TrampolineKind::HookedToNative => "hooked_to_native",
            TrampolineKind::HookedToArray => "hooked_to_array",
        }
    }
}

impl fmt::Display for Trampoline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bimetal::{}{}", self.kind.name(), self.ty)
    }
}

/// A compiler's memory, kept from function to function on one thread so that its allocations are
/// made once. Its contents never change the result.
pub type Scratch = Box<dyn Any + Send>;

/// A compiler.
pub trait Compiler: Send + Sync + fmt::Debug {
    /// Its name, for messages: `optimizer`, `baseline`.
    fn name(&self) -> &'static str;

    /// What changes whenever the same input may give other code: name, version, source.
    fn identity(&self) -> String;

    /// What its code may use beyond every processor of the architecture, by names that
    /// `bimetal_sys::has_cpu_feature` knows, in a fixed order.
    fn cpu_features(&self) -> Vec<String>;

    /// Empty working memory for one thread.
    fn scratch(&self) -> Scratch;

    /// Compiles a function.
    ///
    /// # Errors
    /// See [`CompileError`]; `scratch` must be one of [`Compiler::scratch`] of this compiler.
    fn function(
        &self,
        env: &ModuleEnv,
        func: DefinedFuncIndex,
        scratch: &mut Scratch,
    ) -> Result<FunctionCode, CompileError>;

    /// Compiles a trampoline.
    ///
    /// # Errors
    /// As for [`Compiler::function`].
    fn trampoline(
        &self,
        trampoline: &Trampoline,
        scratch: &mut Scratch,
    ) -> Result<TrampolineCode, CompileError>;

    /// The intermediate forms of a function, as text.
    ///
    /// # Errors
    /// As for [`Compiler::function`].
    fn dump(
        &self,
        env: &ModuleEnv,
        func: DefinedFuncIndex,
        what: DumpSet,
    ) -> Result<Vec<Dump>, CompileError>;
}

/// Which forms to dump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DumpSet {
    /// The SSA graph, before and after each pass that changed it.
    pub graph: bool,
    /// Cranelift's input.
    pub clif: bool,
    /// Machine code.
    pub asm: bool,
}

/// One intermediate form.
#[derive(Clone, Debug)]
pub struct Dump {
    /// What it is: `graph after build`, `clif`, `asm`.
    pub title: String,
    /// Its text.
    pub text: String,
}

/// Why a function was not compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompileError {
    /// An instruction or type that this compiler does not have.
    Unsupported(String),
    /// Past a limit of the implementation, such as the size of a function's code.
    Limit(String),
    /// A middleware refused it, or is wrong.
    Middleware(Box<MiddlewareError>),
    /// A defect of the compiler: never the program's fault.
    Bug(String),
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CompileError::Unsupported(what) => write!(f, "not supported: {what}"),
            CompileError::Limit(what) => write!(f, "implementation limit: {what}"),
            CompileError::Middleware(error) => error.fmt(f),
            CompileError::Bug(what) => write!(f, "compiler bug, please report it: {what}"),
        }
    }
}

impl std::error::Error for CompileError {}

/// Whether the results of a function of this type come back from native host code in an array:
/// more than one, or a vector.
pub fn results_in_array(ty: &FuncType) -> bool {
    ty.results().len() > 1 || ty.results().contains(&ValType::V128)
}
