//! The optimizing compiler as a [`Compiler`].

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bimetal_codegen::{
    CompileError, Compiler, Dump, DumpSet, FunctionCode, ModuleEnv, Scratch, Settings, Target,
    Trampoline, TrampolineCode,
};
use bimetal_wasm::DefinedFuncIndex;
use cranelift_codegen::Context;

use crate::emit::{self, EmitScratch};
use crate::isa::Isa;
use crate::trampoline;

/// Wasm → SSA graph → passes → Cranelift.
///
/// One per engine: it holds the target and the settings, no state of a module, and is used by all
/// threads at once.
#[derive(Debug)]
pub struct Optimizer {
    isa: Isa,
    settings: Settings,
}

impl Optimizer {
    /// A compiler for `target`.
    ///
    /// # Errors
    /// [`CompileError::Unsupported`] if there is no code generator for the target or one of its
    /// features is unknown.
    pub fn new(target: &Target, settings: Settings) -> Result<Optimizer, CompileError> {
        Ok(Optimizer {
            isa: Isa::new(target, &settings)?,
            settings,
        })
    }
}

/// One thread's memory.
struct Memory {
    context: Context,
    emit: EmitScratch,
}

impl Default for Memory {
    fn default() -> Self {
        Memory {
            context: Context::new(),
            emit: EmitScratch::default(),
        }
    }
}

impl Optimizer {
    /// Runs `compile` on this thread's memory, which is replaced if it was left in disorder.
    ///
    /// A panic inside of Cranelift is a defect that must cost one function, not the host.
    fn with_memory<T>(
        &self,
        scratch: &mut dyn Any,
        compile: impl FnOnce(&mut Memory) -> Result<T, CompileError>,
    ) -> Result<T, CompileError> {
        let memory: &mut Memory = scratch
            .downcast_mut()
            .ok_or_else(|| CompileError::Bug("scratch of another compiler".into()))?;
        let result = catch_unwind(AssertUnwindSafe(|| compile(memory)));
        memory.context.clear();
        result.unwrap_or_else(|panic| {
            *memory = Memory::default();
            let what = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("panic");
            Err(CompileError::Bug(what.to_owned()))
        })
    }
}

impl Compiler for Optimizer {
    fn name(&self) -> &'static str {
        "optimizer"
    }

    fn scratch(&self) -> Scratch {
        Box::new(Memory::default())
    }

    fn function(
        &self,
        _env: &ModuleEnv,
        _func: DefinedFuncIndex,
        _scratch: &mut Scratch,
    ) -> Result<FunctionCode, CompileError> {
        Err(CompileError::Unsupported("functions".into()))
    }

    fn trampoline(
        &self,
        trampoline: &Trampoline,
        scratch: &mut Scratch,
    ) -> Result<TrampolineCode, CompileError> {
        self.with_memory(scratch.as_mut(), |memory| {
            trampoline::build(&self.isa, trampoline, &mut memory.context.func)?;
            emit::compile(&mut memory.context, &*self.isa.target)?;
            emit::trampoline(&memory.context)
        })
    }

    fn dump(
        &self,
        _env: &ModuleEnv,
        _func: DefinedFuncIndex,
        _what: DumpSet,
    ) -> Result<Vec<Dump>, CompileError> {
        Err(CompileError::Unsupported("dumps".into()))
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}
