//! The optimizing compiler as a [`Compiler`].

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use bimetal_codegen::{
    CompileError, Compiler, Dump, DumpSet, FunctionCode, ModuleEnv, OptLevel, Scratch, Settings,
    Target, Trampoline, TrampolineCode,
};
use bimetal_wasm::DefinedFuncIndex;
use cranelift_codegen::Context;

use crate::build::{BuildScratch, build, build_inlining};
use crate::emit::{self, EmitScratch, Provenance, WasmLocation};
use crate::graph::{Graph, SiteId};
use crate::isa::Isa;
use crate::lower::{LowerScratch, lower};
use crate::passes::Fuel;
use crate::verify::verify;
use crate::{passes, trampoline};

/// Wasm → SSA graph → passes → Cranelift.
///
/// One per engine: it holds the target and the settings, no state of a module, and is used by all
/// threads at once.
#[derive(Debug)]
pub struct Optimizer {
    isa: Isa,
    settings: Settings,
    target: Target,
    /// For functions with [`DEEP`] loops.
    deep: OnceLock<Isa>,
}

/// Cranelift's optimizer walks all loops that an instruction is in for each of them, so that its
/// time grows with the cube of the depth: three thousand loops, in 34 kB of wasm, took it 19
/// seconds. Functions that are deeper than this go without it. None that somebody wrote is.
const DEEP: u32 = 250;

impl Optimizer {
    /// A compiler for `target`.
    ///
    /// # Errors
    /// [`CompileError::Unsupported`] if there is no code generator for the target or one of its
    /// features is unknown.
    pub fn new(target: &Target, settings: Settings) -> Result<Optimizer, CompileError> {
        passes::check()?;
        Ok(Optimizer {
            isa: Isa::new(target, &settings)?,
            settings,
            target: target.clone(),
            deep: OnceLock::new(),
        })
    }

    /// How code is generated for a function.
    fn isa_for(&self, graph: &Graph) -> Result<&Isa, CompileError> {
        if graph.loop_depth <= DEEP || self.settings.opt_level == OptLevel::None {
            return Ok(&self.isa);
        }
        if let Some(isa) = self.deep.get() {
            return Ok(isa);
        }
        let settings = Settings {
            opt_level: OptLevel::None,
            ..self.settings.clone()
        };
        let isa = Isa::new(&self.target, &settings)?;
        Ok(self.deep.get_or_init(|| isa))
    }
}

/// Past so many values in a function, the thread's memory is given back after it: one giant
/// function must not set the peak of a whole compilation.
const GIANT: usize = 200_000;

/// One thread's memory.
struct Memory {
    graph: Graph,
    build: BuildScratch,
    passes: passes::Scratch,
    lower: LowerScratch,
    context: Context,
    emit: EmitScratch,
}

impl Default for Memory {
    fn default() -> Self {
        Memory {
            graph: Graph::new(),
            build: BuildScratch::default(),
            passes: passes::Scratch::default(),
            lower: LowerScratch::default(),
            context: Context::new(),
            emit: EmitScratch::default(),
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl Optimizer {
    /// Runs `compile` on this thread's memory, which is replaced if it was left in disorder.
    ///
    /// A panic inside of Cranelift is a defect that must cost one function, not the host.
    fn with_memory<T>(
        scratch: &mut dyn Any,
        compile: impl FnOnce(&mut Memory) -> Result<T, CompileError>,
    ) -> Result<T, CompileError> {
        let memory: &mut Memory = scratch
            .downcast_mut()
            .ok_or_else(|| CompileError::Bug("scratch of another compiler".into()))?;
        let result = catch_unwind(AssertUnwindSafe(|| compile(memory)));
        match result {
            Ok(result) => {
                let values = memory.context.func.dfg.num_values();
                if values.max(memory.graph.num_values()) > GIANT {
                    *memory = Memory::default();
                } else {
                    memory.context.clear();
                    // Which Cranelift's own does not.
                    memory.context.func.dfg.exception_tables.clear();
                }
                result
            }
            Err(panic) => {
                *memory = Memory::default();
                let what = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("panic");
                Err(CompileError::Bug(what.to_owned()))
            }
        }
    }

    /// The graph of `func`, after all passes.
    fn make_graph(
        &self,
        env: &ModuleEnv,
        func: DefinedFuncIndex,
        memory: &mut Memory,
        mut see: impl FnMut(&str, &Graph),
    ) -> Result<(), CompileError> {
        let (graph, scratch) = (&mut memory.graph, &mut memory.build);
        let mut fuel = Fuel::new(self.settings.opt_fuel);
        match self.settings.opt_level {
            OptLevel::None => build(env, func, graph, scratch)?,
            _ => build_inlining(env, func, &mut fuel, graph, scratch)?,
        }
        see("build", &memory.graph);
        let ty = env.module.func_type(env.module.func_index(func));
        if self.settings.verify {
            verify(&memory.graph, Some(env), Some(ty)).map_err(|error| {
                CompileError::Bug(format!("graph of {func}: {error}\n{}", memory.graph))
            })?;
        }
        passes::run(
            &mut memory.graph,
            env,
            Some(ty),
            &Settings {
                opt_fuel: fuel.left(),
                ..self.settings.clone()
            },
            &mut memory.passes,
            &mut |pass, graph| see(pass.name, graph),
        )
    }

    fn compile(
        &self,
        env: &ModuleEnv,
        func: DefinedFuncIndex,
        memory: &mut Memory,
    ) -> Result<FunctionCode, CompileError> {
        self.make_graph(env, func, memory, |_, _| ())?;
        let Memory {
            graph,
            lower: scratch,
            context,
            emit,
            ..
        } = memory;
        let isa = self.isa_for(graph)?;
        lower(isa, env, func, graph, &mut context.func, scratch)?;
        emit::compile(context, &*isa.target)?;
        let locate = |number: u32| {
            let site = graph.site_info(SiteId::from_u32(number));
            WasmLocation {
                node: site.node,
                offset: site.offset,
            }
        };
        let provenance = Provenance {
            start: u32::try_from(env.module.bodies[func].range.start).unwrap_or(u32::MAX),
            locate: &locate,
            nodes: &graph.inline_nodes,
        };
        emit::function(context, &*isa.target, &provenance, emit)
    }
}

impl Compiler for Optimizer {
    fn name(&self) -> &'static str {
        "optimizer"
    }

    fn identity(&self) -> String {
        format!(
            "optimizer {} {} cranelift {}",
            env!("CARGO_PKG_VERSION"),
            env!("BIMETAL_OPTIMIZER_SOURCE"),
            cranelift_codegen::VERSION,
        )
    }

    fn cpu_features(&self) -> Vec<String> {
        self.isa.cpu_features()
    }

    fn scratch(&self) -> Scratch {
        Box::new(Memory::default())
    }

    fn function(
        &self,
        env: &ModuleEnv,
        func: DefinedFuncIndex,
        scratch: &mut Scratch,
    ) -> Result<FunctionCode, CompileError> {
        Self::with_memory(scratch.as_mut(), |memory| self.compile(env, func, memory))
    }

    fn trampoline(
        &self,
        trampoline: &Trampoline,
        scratch: &mut Scratch,
    ) -> Result<TrampolineCode, CompileError> {
        Self::with_memory(scratch.as_mut(), |memory| {
            trampoline::build(&self.isa, trampoline, &mut memory.context.func)?;
            emit::compile(&mut memory.context, &*self.isa.target)?;
            emit::trampoline(&memory.context, &*self.isa.target)
        })
    }

    fn dump(
        &self,
        env: &ModuleEnv,
        func: DefinedFuncIndex,
        what: DumpSet,
    ) -> Result<Vec<Dump>, CompileError> {
        Self::with_memory(&mut Memory::default(), |memory| {
            let mut dumps = Vec::new();
            let mut last = String::new();
            self.make_graph(env, func, memory, |after, graph| {
                if what.graph {
                    let text = graph.to_string();
                    if text != last {
                        dumps.push(Dump {
                            title: format!("graph after {after}"),
                            text: text.clone(),
                        });
                        last = text;
                    }
                }
            })?;
            if !what.clif && !what.asm {
                return Ok(dumps);
            }
            let context = &mut memory.context;
            let isa = self.isa_for(&memory.graph)?;
            lower(
                isa,
                env,
                func,
                &memory.graph,
                &mut context.func,
                &mut memory.lower,
            )?;
            if what.clif {
                dumps.push(Dump {
                    title: "clif".into(),
                    text: context.func.display().to_string(),
                });
            }
            if what.asm {
                context.set_disasm(true);
                emit::compile(context, &*isa.target)?;
                let code = context.compiled_code();
                dumps.push(Dump {
                    title: "asm".into(),
                    text: code.and_then(|code| code.vcode.clone()).unwrap_or_default(),
                });
            }
            Ok(dumps)
        })
    }
}
