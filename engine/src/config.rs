//! How an engine is to behave.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;

use bimetal_abi::Tunables;
pub use bimetal_codegen::OptLevel;
use bimetal_codegen::middleware::Middleware;
use bimetal_codegen::{Arch, CpuFeatures, Settings, Target};
use bimetal_wasm::{Features, OperatorCost};

use crate::allocation::InstanceAllocationStrategy;
use crate::cache::Cache;
use crate::error::{Error, ErrorKind, Result};
use crate::vm::{HOST_RESERVE, HeapConfig};

/// Told how far compiling is: bytes of function bodies done, and in all.
pub type Progress = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// How an [`Engine`](crate::Engine) is to behave.
///
/// ```
/// use bimetal::{Config, Engine, OptLevel};
///
/// let mut config = Config::new();
/// config.opt_level(OptLevel::Full).lazy(true);
/// let engine = Engine::new(&config)?;
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Clone)]
pub struct Config {
    pub(crate) settings: Settings,
    pub(crate) tunables: Tunables,
    pub(crate) features: Features,
    pub(crate) lazy: bool,
    pub(crate) parallel: bool,
    pub(crate) max_wasm_stack: usize,
    pub(crate) shared_memory: bool,
    pub(crate) progress: Option<Progress>,
    pub(crate) backtrace_frames: Option<NonZeroUsize>,
    pub(crate) backtrace_details: WasmBacktraceDetails,
    pub(crate) profiler: ProfilingStrategy,
    /// Another architecture than this machine's.
    pub(crate) target: Option<Arch>,
    pub(crate) cpu: CpuFeatures,
    pub(crate) cache: Option<Cache>,
    pub(crate) async_stacks: AsyncStacks,
    pub(crate) middlewares: Vec<Arc<dyn Middleware>>,
    pub(crate) deterministic: bool,
    pub(crate) compiler: bool,
    pub(crate) code_from_files_only: bool,
    pub(crate) allocation: InstanceAllocationStrategy,
    pub(crate) heap: HeapConfig,
}

/// How stacks for asynchronous calls are made and kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AsyncStacks {
    pub(crate) size: Option<usize>,
    pub(crate) max_unused: usize,
    pub(crate) keep_resident: usize,
    pub(crate) zeroing: bool,
}

impl Default for AsyncStacks {
    fn default() -> Self {
        AsyncStacks {
            size: None,
            // Together these keep 8 MiB at most.
            max_unused: 256,
            keep_resident: 32 << 10,
            zeroing: false,
        }
    }
}

/// Whether backtraces have source lines, read from a module's debug information.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WasmBacktraceDetails {
    /// They have. The debug information is read when a backtrace is shown, not before.
    #[default]
    Enable,
    /// They have not.
    Disable,
    /// They have if the variable `BIMETAL_BACKTRACE_DETAILS` is set to something else than `0`
    /// when the engine's configuration is made.
    Environment,
}

/// Who is told about machine code, so that a profiler can name it.
///
/// If the file cannot be written that is reported once, by `tracing`, and changes nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProfilingStrategy {
    /// Nobody.
    #[default]
    None,
    /// `perf` and others, by `/tmp/perf-PID.map`: addresses and names.
    PerfMap,
    /// `perf inject --jit`, by `jit-PID.dump` in the current directory: the code as well. Record
    /// with `perf record -k mono`.
    JitDump,
}

/// Frames that are kept of a backtrace if nothing else is said.
pub(crate) const DEFAULT_FRAMES: NonZeroUsize = NonZeroUsize::new(256).unwrap();

impl Default for Config {
    fn default() -> Self {
        Config {
            settings: Settings::default(),
            tunables: Tunables::default(),
            features: Features::default(),
            lazy: false,
            parallel: true,
            // The same as Wasmtime's, so that programs recurse as deep as they are used to.
            max_wasm_stack: 512 << 10,
            shared_memory: true,
            progress: None,
            backtrace_frames: Some(DEFAULT_FRAMES),
            backtrace_details: WasmBacktraceDetails::default(),
            profiler: ProfilingStrategy::default(),
            target: None,
            cpu: CpuFeatures::Native,
            cache: None,
            async_stacks: AsyncStacks::default(),
            middlewares: Vec::new(),
            deterministic: false,
            compiler: true,
            code_from_files_only: false,
            allocation: InstanceAllocationStrategy::default(),
            heap: HeapConfig::default(),
        }
    }
}

impl Config {
    /// The defaults: everything is compiled at once, in parallel, with all optimisations.
    pub fn new() -> Config {
        Config::default()
    }

    /// How much work the compiler puts into a function.
    pub fn opt_level(&mut self, level: OptLevel) -> &mut Self {
        self.settings.opt_level = level;
        self
    }

    /// Whether a function is compiled when it is first called, on the thread that calls it, rather
    /// than with its module.
    pub fn lazy(&mut self, lazy: bool) -> &mut Self {
        self.lazy = lazy;
        self
    }

    /// Whether the engine has a compiler; yes, if it was built with one and nothing else is said.
    /// Without, it runs what was compiled elsewhere: images that are whole.
    ///
    /// ```
    /// use bimetal::{Config, Engine, ErrorKind, Instance, Module, Store};
    ///
    /// let image = Engine::default().precompile_module(br#"(module
    ///     (func (export "two") (result i32) (i32.const 2)))"#)?;
    /// let engine = Engine::new(Config::new().enable_compiler(false))?;
    /// // SAFETY: we have just made it.
    /// let module = unsafe { Module::deserialize(&engine, &image)? };
    /// let mut store = Store::new(&engine, ());
    /// let instance = Instance::new(&mut store, &module, &[])?;
    /// let two = instance.get_typed_func::<(), i32>(&mut store, "two")?;
    /// assert_eq!(two.call(&mut store, ())?, 2);
    ///
    /// let error = Module::new(&engine, "(module (func))").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Compile);
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    pub fn enable_compiler(&mut self, enable: bool) -> &mut Self {
        self.compiler = enable;
        self
    }

    /// Whether a module is compiled on all cores.
    pub fn parallel_compilation(&mut self, parallel: bool) -> &mut Self {
        self.parallel = parallel;
        self
    }

    /// How many bytes of stack wasm code may use, host functions between it not counted, before
    /// it traps. Less on a thread whose stack is smaller.
    pub fn max_wasm_stack(&mut self, bytes: usize) -> &mut Self {
        self.max_wasm_stack = bytes;
        self
    }

    /// How many bytes the stack of an asynchronous call has
    /// ([`TypedFunc::call_async`](crate::TypedFunc::call_async)), for wasm and host functions
    /// together. At least 256 KiB more than [`Config::max_wasm_stack`]; unless said otherwise, 1.5
    /// MiB more. Memory is only used where it is touched.
    ///
    /// ```
    /// use bimetal::{Config, Engine};
    ///
    /// let mut config = Config::new();
    /// config.max_wasm_stack(64 << 10).async_stack_size(320 << 10);
    /// assert!(Engine::new(&config).is_ok());
    /// config.max_wasm_stack(128 << 10);
    /// assert!(Engine::new(&config).is_err());
    /// ```
    pub fn async_stack_size(&mut self, bytes: usize) -> &mut Self {
        self.async_stacks.size = Some(bytes);
        self
    }

    /// How many stacks of asynchronous calls an engine keeps for the next ones: 256 unless said
    /// otherwise.
    pub fn async_stack_max_unused(&mut self, count: usize) -> &mut Self {
        self.async_stacks.max_unused = count;
        self
    }

    /// How many bytes of memory each stack that is kept may keep: 32 KiB unless said otherwise. It
    /// is a matter of speed and memory only.
    pub fn async_stack_keep_resident(&mut self, bytes: usize) -> &mut Self {
        self.async_stacks.keep_resident = bytes;
        self
    }

    /// Whether stacks that are kept are cleared, so that no secret of one call is in memory during
    /// another. Off by default; nothing reads them either way.
    pub fn async_stack_zeroing(&mut self, zero: bool) -> &mut Self {
        self.async_stacks.zeroing = zero;
        self
    }

    /// The size of a fiber's stack.
    pub(crate) fn async_stack_bytes(&self) -> usize {
        let usual = self.max_wasm_stack.saturating_add(1536 << 10);
        self.async_stacks.size.unwrap_or(usual)
    }

    /// Whether the settings fit together.
    pub(crate) fn check(&self) -> Result<()> {
        let least = self.max_wasm_stack.saturating_add(HOST_RESERVE);
        if self.async_stack_bytes() < least {
            return Err(Error::usage(format_args!(
                "`async_stack_size` must be at least {least}: `max_wasm_stack` and {HOST_RESERVE} \
                 bytes for host functions"
            )));
        }
        if self.code_from_files_only && self.cache.is_some() {
            return Err(Error::usage(
                "an engine that runs code from files only cannot have a cache: it compiles nothing",
            ));
        }
        Ok(())
    }

    /// Bytes of address space that are reserved for a store's garbage-collected heap when its first
    /// object is made, and so the most that it can grow to: 4 GiB but 64 KiB unless said otherwise,
    /// at least 1 MiB. Memory is only used where there are objects. A store's limiter is asked before
    /// the heap grows, as for a memory ([`ResourceLimiter`](crate::ResourceLimiter)).
    pub fn gc_heap_reservation(&mut self, bytes: u64) -> &mut Self {
        self.heap.reservation = bytes;
        self
    }

    /// How many bytes of new objects a store may collect before it looks which of them are still in
    /// use: 4 MiB unless said otherwise, at least 128 KiB, at most a twenty-fourth of the heap's
    /// reservation. It is less while many are, so that pauses stay short.
    pub fn gc_nursery_size(&mut self, bytes: usize) -> &mut Self {
        self.heap.nursery = u32::try_from(bytes).unwrap_or(u32::MAX).min(64 << 20);
        self
    }

    /// Collects garbage at each so many allocations, whether there is a reason or not: for tests and
    /// fuzzing, where it moves objects as often as possible. Off (`None`) by default.
    pub fn gc_zeal_alloc_counter(&mut self, counter: Option<NonZeroU32>) -> &mut Self {
        self.heap.zeal = counter;
        self
    }

    pub(crate) fn heap_config(&self) -> &HeapConfig {
        &self.heap
    }

    /// Whether the engine runs no machine code but what it maps from files, by
    /// [`Module::deserialize_file`] and [`Module::deserialize_file_part`], and what is in the
    /// program itself. Then it makes no executable mapping of memory that it has written, at any
    /// time, as platforms demand that forbid JITs. Off by default.
    ///
    /// What would need such memory is an error: [`Module::new`], [`Module::deserialize`], a file on
    /// a file system that is mounted `noexec`, and calls between host and wasm of a type that the
    /// loaded modules do not have. A cache is refused. `docs/aot-only.md` has the whole.
    ///
    /// ```
    /// use bimetal::{Config, Engine, Module};
    ///
    /// let engine = Engine::new(Config::new().code_from_files_only(true))?;
    /// let error = Module::new(&engine, "(module)").unwrap_err();
    /// assert!(error.to_string().contains("from files only"));
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    ///
    /// [`Module::new`]: crate::Module::new
    /// [`Module::deserialize`]: crate::Module::deserialize
    /// [`Module::deserialize_file`]: crate::Module::deserialize_file
    /// [`Module::deserialize_file_part`]: crate::Module::deserialize_file_part
    pub fn code_from_files_only(&mut self, only: bool) -> &mut Self {
        self.code_from_files_only = only;
        self
    }

    /// Whether the compiler checks its own intermediate forms. Slow; for tests.
    pub fn compiler_verify(&mut self, verify: bool) -> &mut Self {
        self.settings.verify = verify;
        self
    }

    /// Stops optimising a function after this many transformations, to find the one at fault.
    pub fn opt_fuel(&mut self, fuel: Option<u64>) -> &mut Self {
        self.settings.opt_fuel = fuel;
        self
    }

    /// Whether NaN results are made canonical, so that programs that look at their bits behave the
    /// same on every machine: positive, quiet, and without a payload. Instructions that only move,
    /// negate or choose a value keep its bits, as WebAssembly says.
    #[doc(alias = "cranelift_nan_canonicalization")]
    pub fn nan_canonicalization(&mut self, canonical: bool) -> &mut Self {
        self.settings.nan_canonicalization = canonical;
        self
    }

    /// Whether the engine's part in what a program does must be the same each time and on every
    /// machine.
    ///
    /// It makes NaN results canonical ([`Config::nan_canonicalization`]), and a memory or table that
    /// the machine cannot grow, although its type and the store's limiter allow it, ends the program
    /// with an error of kind [`ErrorKind::Limit`], instead of giving -1. There are no shared memories.
    /// [`Engine::new`] refuses what cannot be deterministic together with it:
    /// [`Config::epoch_interruption`].
    ///
    /// What is left is the embedder's: host functions, when the stack overflows, and to look at
    /// nothing of a program that ended in such an error. `docs/determinism.md` has the whole list.
    ///
    /// ```
    /// use bimetal::{Config, Engine};
    ///
    /// let mut config = Config::new();
    /// config.deterministic(true).consume_fuel(true);
    /// assert!(Engine::new(&config).is_ok());
    /// assert!(Engine::new(config.epoch_interruption(true)).is_err());
    /// ```
    ///
    /// [`Engine::new`]: crate::Engine::new
    pub fn deterministic(&mut self, deterministic: bool) -> &mut Self {
        self.deterministic = deterministic;
        self.settings.nan_canonicalization |= deterministic;
        self.tunables.relaxed_simd_deterministic |= deterministic;
        self
    }

    /// Why an engine of this configuration would not be deterministic, if it is to be.
    pub(crate) fn check_deterministic(&self) -> Result<()> {
        if !self.deterministic {
            return Ok(());
        }
        if self.tunables.interrupts {
            return Err(Error::usage(
                "a deterministic engine cannot have `epoch_interruption`: where an interrupt comes \
                 depends on the time",
            ));
        }
        if !self.settings.nan_canonicalization {
            return Err(Error::usage(
                "a deterministic engine cannot be without `nan_canonicalization`",
            ));
        }
        if !self.tunables.relaxed_simd_deterministic {
            return Err(Error::usage(
                "a deterministic engine cannot be without `relaxed_simd_deterministic`",
            ));
        }
        Ok(())
    }

    /// Where the memory of instances comes from: from the system as they are made, unless said
    /// otherwise, or from a pool.
    ///
    /// ```
    /// use bimetal::{Config, Engine, PoolingAllocationConfig};
    ///
    /// let mut pool = PoolingAllocationConfig::new();
    /// pool.total_core_instances(100).total_memories(100).max_memory_size(64 << 20);
    /// let engine = Engine::new(Config::new().allocation_strategy(pool))?;
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    pub fn allocation_strategy(
        &mut self,
        strategy: impl Into<InstanceAllocationStrategy>,
    ) -> &mut Self {
        self.allocation = strategy.into();
        self
    }

    /// Bytes of address space reserved for each memory. One that covers a memory's whole index
    /// space (4 GiB, the default) makes accesses free of checks. With less, memories whose type lets
    /// them become larger are checked by code at each access, and take as much address space as they
    /// are large, and move when they outgrow it: for machines and processes with little of it. In a
    /// pool they never move, and grow to its `max_memory_size`.
    ///
    /// ```
    /// use bimetal::{Config, Engine, PoolingAllocationConfig};
    ///
    /// // A hundred memories in 1.6 GiB of address space.
    /// let mut pool = PoolingAllocationConfig::new();
    /// pool.total_memories(100).max_memory_size(16 << 20);
    /// let mut config = Config::new();
    /// config.allocation_strategy(pool).memory_reservation(0).memory_guard_size(0);
    /// let engine = Engine::new(&config)?;
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    pub fn memory_reservation(&mut self, bytes: u64) -> &mut Self {
        self.tunables.memory_reservation = bytes;
        self
    }

    /// Bytes of inaccessible address space behind each memory.
    pub fn memory_guard_size(&mut self, bytes: u64) -> &mut Self {
        self.tunables.memory_guard = bytes;
        self
    }

    /// Whether traps may be found by hardware faults; without, all checks are explicit.
    pub fn signals_based_traps(&mut self, signals: bool) -> &mut Self {
        self.tunables.signals_based_traps = signals;
        self
    }

    /// Whether programs can be interrupted: by deadlines
    /// ([`Store::set_epoch_deadline`](crate::Store::set_epoch_deadline)) and from other threads
    /// ([`Store::interrupt_handle`](crate::Store::interrupt_handle)). They look for it at each
    /// call and loop iteration. Off by default.
    pub fn epoch_interruption(&mut self, interruptible: bool) -> &mut Self {
        self.tunables.interrupts = interruptible;
        self
    }

    /// Whether programs consume fuel ([`Store::set_fuel`](crate::Store::set_fuel)): one unit for
    /// each instruction that does something, for each byte or element that one copies or fills, and
    /// for each call of a function; the same however they are compiled. Off by default.
    pub fn consume_fuel(&mut self, consume: bool) -> &mut Self {
        self.tunables.fuel = consume;
        self
    }

    /// How much fuel each instruction consumes, with [`Config::consume_fuel`].
    ///
    /// ```
    /// use bimetal::{Config, Engine, Linker, Module, OperatorCost, Store};
    ///
    /// let cost = OperatorCost { I32DivU: 25, ..OperatorCost::new() };
    /// let engine = Engine::new(Config::new().consume_fuel(true).operator_cost(cost))?;
    /// let module = Module::new(&engine, r#"(module
    ///     (func (export "half") (param i32) (result i32)
    ///         (i32.div_u (local.get 0) (i32.const 2))))"#)?;
    /// let mut store = Store::new(&engine, ());
    /// store.set_fuel(100)?;
    /// let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
    /// let half = instance.get_typed_func::<i32, i32>(&mut store, "half")?;
    /// half.call(&mut store, 8)?;
    /// // One for the call, two for the operands.
    /// assert_eq!(store.get_fuel()?, 100 - 1 - 2 - 25);
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    pub fn operator_cost(&mut self, cost: OperatorCost) -> &mut Self {
        self.tunables.operator_cost = Some(Arc::new(cost));
        self
    }

    /// Adds a [middleware](crate::middleware), which sees all code before it is compiled. Of several
    /// each sees what those that were added before it emitted.
    pub fn middleware(&mut self, middleware: Arc<dyn Middleware>) -> &mut Self {
        self.middlewares.push(middleware);
        self
    }

    /// Whether bounds hold under misspeculation too.
    pub fn spectre_mitigation(&mut self, mitigate: bool) -> &mut Self {
        self.tunables.spectre_mitigation = mitigate;
        self
    }

    /// Fixed-width SIMD instructions.
    pub fn wasm_simd(&mut self, enable: bool) -> &mut Self {
        self.features.simd = enable;
        self
    }

    /// Vector instructions whose results the specification leaves to the processor. They need
    /// [`Config::wasm_simd`].
    pub fn wasm_relaxed_simd(&mut self, enable: bool) -> &mut Self {
        self.features.relaxed_simd = enable;
        self
    }

    /// Whether relaxed vector instructions have the results of the specification's deterministic
    /// profile, the same on every machine. Otherwise they have those that are fastest to compute here.
    pub fn relaxed_simd_deterministic(&mut self, deterministic: bool) -> &mut Self {
        self.tunables.relaxed_simd_deterministic = deterministic;
        self
    }

    /// Calls in the place of returns: `return_call`, `return_call_indirect`.
    pub fn wasm_tail_call(&mut self, enable: bool) -> &mut Self {
        self.features.tail_call = enable;
        self
    }

    /// Exceptions: tags, `try_table`, `throw`, `throw_ref`, `exnref`.
    pub fn wasm_exceptions(&mut self, enable: bool) -> &mut Self {
        self.features.exceptions = enable;
        self
    }

    /// The instructions for exceptions that came before [`Config::wasm_exceptions`]' `exnref`, with
    /// the same tags: `try`, `catch`, `catch_all`, `rethrow`, `delegate`. Off as well if exceptions
    /// are.
    pub fn wasm_legacy_exceptions(&mut self, enable: bool) -> &mut Self {
        self.features.legacy_exceptions = enable;
        self
    }

    /// 128-bit sums and products of 64-bit integers.
    pub fn wasm_wide_arithmetic(&mut self, enable: bool) -> &mut Self {
        self.features.wide_arithmetic = enable;
        self
    }

    /// Memories and tables with 64-bit indices.
    pub fn wasm_memory64(&mut self, enable: bool) -> &mut Self {
        self.features.memory64 = enable;
        self
    }

    /// Memories whose pages have one byte. The proposal is not final: off unless this is said.
    pub fn wasm_custom_page_sizes(&mut self, enable: bool) -> &mut Self {
        self.features.custom_page_sizes = enable;
        self
    }

    /// Typed function references: `call_ref`, `(ref $t)`.
    pub fn wasm_function_references(&mut self, enable: bool) -> &mut Self {
        self.features.function_references = enable;
        self
    }

    /// Structs, arrays, `i31` and casts. They need [`Config::wasm_function_references`].
    pub fn wasm_gc(&mut self, enable: bool) -> &mut Self {
        self.features.gc = enable;
        self
    }

    /// Memories that threads share, and atomic instructions.
    pub fn wasm_threads(&mut self, enable: bool) -> &mut Self {
        self.features.threads = enable;
        self
    }

    /// Whether shared memories can be made: by [`SharedMemory::new`](crate::SharedMemory::new), or by
    /// modules that define one. They can, unless this is said or the engine is
    /// [deterministic](Config::deterministic).
    ///
    /// ```
    /// use bimetal::{Config, Engine, MemoryType, SharedMemory};
    ///
    /// let engine = Engine::new(Config::new().shared_memory(false))?;
    /// assert!(SharedMemory::new(&engine, MemoryType::shared(1, 2)).is_err());
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    pub fn shared_memory(&mut self, enable: bool) -> &mut Self {
        self.shared_memory = enable;
        self
    }

    /// More than one memory.
    pub fn wasm_multi_memory(&mut self, enable: bool) -> &mut Self {
        self.features.multi_memory = enable;
        self
    }

    /// Arithmetic in constant expressions.
    pub fn wasm_extended_const(&mut self, enable: bool) -> &mut Self {
        self.features.extended_const = enable;
        self
    }

    /// Whether errors from inside wasm code carry a backtrace. They do, unless this is said.
    pub fn wasm_backtrace(&mut self, enable: bool) -> &mut Self {
        self.backtrace_frames = match enable {
            true => self.backtrace_frames.or(Some(DEFAULT_FRAMES)),
            false => None,
        };
        self
    }

    /// How many frames a backtrace has at most (256 unless said otherwise); with `None` errors
    /// carry no backtrace.
    pub fn wasm_backtrace_max_frames(&mut self, limit: Option<NonZeroUsize>) -> &mut Self {
        self.backtrace_frames = limit;
        self
    }

    /// Whether backtraces have source lines, which need debug information (DWARF) in the module.
    pub fn wasm_backtrace_details(&mut self, details: WasmBacktraceDetails) -> &mut Self {
        self.backtrace_details = match details {
            WasmBacktraceDetails::Environment => {
                match std::env::var_os("BIMETAL_BACKTRACE_DETAILS") {
                    Some(value) if value != "0" => WasmBacktraceDetails::Enable,
                    _ => WasmBacktraceDetails::Disable,
                }
            }
            details => details,
        };
        self
    }

    /// Who is told about machine code, so that a profiler can name it.
    pub fn profiler(&mut self, strategy: ProfilingStrategy) -> &mut Self {
        self.profiler = strategy;
        self
    }

    pub(crate) fn backtrace_frames(&self) -> usize {
        self.backtrace_frames.map_or(0, NonZeroUsize::get)
    }

    /// Called now and then, on any thread, while a module is compiled at once.
    pub fn on_compile_progress(&mut self, progress: Progress) -> &mut Self {
        self.progress = Some(progress);
        self
    }

    /// Compiles for another architecture: its name, or a target triple of a Linux. Such an engine
    /// can only make images ([`Engine::precompile_module`](crate::Engine::precompile_module)).
    /// What the processor may have beyond the architecture's minimum says [`Config::cpu`], which
    /// has to be called after this.
    ///
    /// ```
    /// use bimetal::{Config, Engine};
    ///
    /// let engine = Engine::new(Config::new().target("aarch64-unknown-linux-gnu")?)?;
    /// let image = engine.precompile_module(b"(module (func))")?;
    /// assert!(Engine::detect_precompiled(&image));
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    ///
    /// # Errors
    /// If there is no such target.
    pub fn target(&mut self, target: &str) -> Result<&mut Self> {
        let arch: Arch = target.parse().map_err(Error::usage)?;
        self.target = Some(arch);
        self.cpu = CpuFeatures::Baseline;
        Ok(self)
    }

    /// Which optional instructions code may use: `native`, those of this machine's processor, which
    /// is what an engine does if nothing is said; `baseline`, those that all have; or a level of
    /// x86-64, `x86-64-v2` to `x86-64-v4`.
    ///
    /// # Errors
    /// If there is no such name for the target.
    pub fn cpu(&mut self, name: &str) -> Result<&mut Self> {
        let arch = self.compile_target()?.arch;
        self.cpu = CpuFeatures::named(arch, name).map_err(Error::usage)?;
        Ok(self)
    }

    /// Keeps compiled code in a cache, and looks there first. Functions call each other through
    /// their entry cells then, as under a lazy engine.
    pub fn cache(&mut self, cache: Option<Cache>) -> &mut Self {
        self.cache = cache;
        self
    }

    /// What is compiled for.
    pub(crate) fn compile_target(&self) -> Result<Target> {
        let arch = self.target.or_else(Arch::host).ok_or_else(|| {
            Error::of(
                ErrorKind::Compile,
                format_args!("there is no compiler for {}", std::env::consts::ARCH),
            )
        })?;
        Ok(Target {
            arch,
            features: self.cpu.clone(),
        })
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("settings", &self.settings)
            .field("tunables", &self.tunables)
            .field("features", &self.features)
            .field("lazy", &self.lazy)
            .field("parallel", &self.parallel)
            .field("max_wasm_stack", &self.max_wasm_stack)
            .field("backtrace_frames", &self.backtrace_frames)
            .field("backtrace_details", &self.backtrace_details)
            .field("profiler", &self.profiler)
            .field("async_stacks", &self.async_stacks)
            .field("middlewares", &self.middlewares)
            .field("deterministic", &self.deterministic)
            .field("code_from_files_only", &self.code_from_files_only)
            .field("allocation", &self.allocation)
            .field("heap", &self.heap)
            .finish_non_exhaustive()
    }
}
