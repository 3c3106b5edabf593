//! How an engine is to behave.

use std::sync::Arc;

use bimetal_abi::Tunables;
pub use bimetal_codegen::OptLevel;
use bimetal_codegen::Settings;
use bimetal_wasm::Features;

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
    pub(crate) progress: Option<Progress>,
}

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
            progress: None,
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
    /// same on every machine.
    pub fn nan_canonicalization(&mut self, canonical: bool) -> &mut Self {
        self.settings.nan_canonicalization = canonical;
        self
    }

    /// Bytes of address space reserved for each memory. One that covers a memory's whole index
    /// space (4 GiB, the default) makes accesses free of checks.
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

    /// Called now and then, on any thread, while a module is compiled at once.
    pub fn on_compile_progress(&mut self, progress: Progress) -> &mut Self {
        self.progress = Some(progress);
        self
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
            .finish_non_exhaustive()
    }
}
