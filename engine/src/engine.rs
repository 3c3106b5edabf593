//! The engine: what all stores and modules of a configuration share.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bimetal_abi::{CallMode, Tunables};
use bimetal_codegen::{Arch, Compiler, Scratch, Trampoline, TrampolineKind};

use crate::asynchronous::FiberStacks;
use crate::config::{Config, ProfilingStrategy};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::interrupt::Epochs;
use crate::profiling::Batch;
use crate::registry::{Registry, Signature};
use crate::tier::return_area;
use crate::vm::{Allocator, CodeSpace, HostKind, PlacedTrampoline, Spaces, allocator};

/// A compiler with its code memory and the types that its modules share.
///
/// Cheap to clone, and to be shared between threads; usually a program has one.
///
/// ```
/// let engine = bimetal::Engine::default();
/// let module = bimetal::Module::new(&engine, "(module)")?;
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Clone)]
pub struct Engine {
    inner: Arc<EngineInner>,
}

/// A reference to an engine that does not keep it: [`Engine::weak`].
#[derive(Clone)]
pub struct EngineWeak(Weak<EngineInner>);

impl EngineWeak {
    /// The engine, if there is still somebody who keeps it.
    pub fn upgrade(&self) -> Option<Engine> {
        Some(Engine {
            inner: self.0.upgrade()?,
        })
    }
}

impl std::fmt::Debug for EngineWeak {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EngineWeak")
    }
}

struct EngineInner {
    config: Config,
    tunables: Tunables,
    compiler: Option<Arc<dyn Compiler>>,
    space: Arc<CodeSpace>,
    epochs: Epochs,
    fiber_stacks: FiberStacks,
    allocator: Box<dyn Allocator>,
    spaces: Spaces,
    types: Arc<Registry>,
    /// Working memory of compilations that are not going on.
    scratch: Mutex<Vec<Scratch>>,
}

/// The address of code that is in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodePtr(usize);

impl CodePtr {
    pub(crate) fn new(address: *const u8) -> CodePtr {
        CodePtr(address.expose_provenance())
    }

    #[inline]
    pub(crate) fn as_ptr(self) -> *const u8 {
        std::ptr::with_exposed_provenance(self.0)
    }
}

impl Engine {
    /// An engine for this machine.
    ///
    /// # Errors
    /// If there is no compiler for this machine, settings contradict each other, or there is no address
    /// space for the pool.
    pub fn new(config: &Config) -> Result<Engine> {
        config.check()?;
        config.check_deterministic()?;
        crate::vm::init_process();
        let mut tunables = config.tunables.clone();
        tunables.call_mode = match config.lazy || config.cache.is_some() {
            true => CallMode::Cell,
            false => CallMode::Direct,
        };
        Ok(Engine {
            inner: Arc::new(EngineInner {
                config: config.clone(),
                compiler: compiler(config)?,
                tunables,
                space: Arc::new(CodeSpace::new(
                    config.profiler == ProfilingStrategy::PerfMap,
                    !config.code_from_files_only,
                )),
                epochs: Epochs::default(),
                fiber_stacks: FiberStacks::new(config),
                allocator: allocator(config)?,
                spaces: Spaces::default(),
                types: Registry::new()?,
                scratch: Mutex::default(),
            }),
        })
    }

    /// A reference that does not keep the engine: for a thread that ticks
    /// ([`Engine::increment_epoch`]) as long as there is something to tick for.
    ///
    /// ```
    /// use bimetal::{Config, Engine};
    /// use std::time::Duration;
    ///
    /// let engine = Engine::new(Config::new().epoch_interruption(true))?;
    /// let ticking = engine.weak();
    /// let clock = std::thread::spawn(move || {
    ///     while let Some(engine) = ticking.upgrade() {
    ///         engine.increment_epoch();
    ///         drop(engine);
    ///         std::thread::sleep(Duration::from_millis(1));
    ///     }
    /// });
    /// drop(engine);
    /// clock.join().unwrap();
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    pub fn weak(&self) -> EngineWeak {
        EngineWeak(Arc::downgrade(&self.inner))
    }

    /// Prepares the calling thread for running wasm code, which otherwise its first call does: a
    /// few system calls.
    pub fn tls_eager_initialize() {
        bimetal_sys::ensure_signal_stack();
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Address space of heaps whose stores are gone.
    pub(crate) fn spaces(&self) -> &Spaces {
        &self.inner.spaces
    }

    /// Whether both are the same engine.
    pub fn same(a: &Engine, b: &Engine) -> bool {
        Arc::ptr_eq(&a.inner, &b.inner)
    }

    pub(crate) fn tunables(&self) -> &Tunables {
        &self.inner.tunables
    }

    pub(crate) fn epochs(&self) -> &Epochs {
        &self.inner.epochs
    }

    pub(crate) fn fiber_stacks(&self) -> &FiberStacks {
        &self.inner.fiber_stacks
    }

    pub(crate) fn allocator(&self) -> &dyn Allocator {
        &*self.inner.allocator
    }

    /// Bytes of stack that programs may use ([`Config::max_wasm_stack`]): for who makes threads.
    pub fn max_wasm_stack(&self) -> usize {
        self.inner.config.max_wasm_stack
    }

    /// Where to tell of code that is being placed, if somebody wants to know.
    pub(crate) fn profile(&self) -> Option<Batch> {
        Batch::new(self.inner.config.profiler)
    }

    pub(crate) fn code_space(&self) -> &Arc<CodeSpace> {
        &self.inner.space
    }

    pub(crate) fn compiler(&self) -> Result<&dyn Compiler> {
        // Where there never is one, all that needs one is left out of the program, too.
        let compiler = self.inner.compiler.as_deref();
        let compiler = compiler.filter(|_| crate::HAS_COMPILER);
        compiler.ok_or_else(|| {
            Error::of(
                ErrorKind::Compile,
                "this engine has no compiler: it runs compiled modules only \
                 (`bimetal compile`, `Module::deserialize_file`)",
            )
        })
    }

    /// An error if this engine cannot run what it would compile.
    pub(crate) fn compiles(&self) -> Result<()> {
        self.compiler()?;
        match self.inner.config.code_from_files_only {
            true => Err(Error::usage(
                "this engine runs code from files only, and compiles none: \
                 `Module::deserialize_file` loads compiled modules",
            )),
            false => Ok(()),
        }
    }

    /// An error if what this engine compiles is for another machine than this.
    pub(crate) fn for_this_machine(&self) -> Result<()> {
        match self.inner.config.target {
            Some(arch) if Some(arch) != Arch::host() => Err(Error::usage(format_args!(
                "this engine compiles for {arch}: it can only make images"
            ))),
            _ => Ok(()),
        }
    }

    /// Runs `f` with working memory of the compiler.
    pub(crate) fn with_compiler<R>(
        &self,
        f: impl FnOnce(&dyn Compiler, &mut Scratch) -> Result<R>,
    ) -> Result<R> {
        let compiler = self.compiler()?;
        let pool = &self.inner.scratch;
        let lock = || pool.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = lock().pop();
        let mut scratch = kept.unwrap_or_else(|| compiler.scratch());
        let result = f(compiler, &mut scratch)?;
        lock().push(scratch);
        Ok(result)
    }

    /// Forgets the compiler's working memory.
    pub(crate) fn trim(&self) {
        let mut pool = self
            .inner
            .scratch
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        pool.clear();
    }

    /// The types that are in use.
    pub(crate) fn types(&self) -> &Arc<Registry> {
        &self.inner.types
    }

    /// The host → wasm trampoline of a type.
    pub(crate) fn host_to_wasm(&self, id: u32) -> Result<CodePtr> {
        let ty = self.types().at(id);
        let signature = ty.signature();
        if let Some(&code) = signature.host_to_wasm.get() {
            return Ok(code);
        }
        self.trampoline(signature, TrampolineKind::HostToWasm)
    }

    /// The wasm → host trampoline of a type; from now on in the cell of such functions.
    pub(crate) fn wasm_to_host(&self, id: u32, kind: HostKind, hooked: bool) -> Result<CodePtr> {
        let ty = self.types().at(id);
        let signature = ty.signature();
        let present = signature.cell(kind, hooked).load(Ordering::Acquire);
        if !std::ptr::eq(
            present,
            bimetal_sys::lazy_host_stub(return_area(&signature.ty)),
        ) {
            return Ok(CodePtr::new(present));
        }
        let kind = match (kind, hooked) {
            (HostKind::Native, false) => TrampolineKind::WasmToNative,
            (HostKind::Array, false) => TrampolineKind::WasmToArray,
            (HostKind::Native, true) => TrampolineKind::HookedToNative,
            (HostKind::Array, true) => TrampolineKind::HookedToArray,
        };
        self.trampoline(signature, kind)
    }

    /// Compiles a trampoline that lives as long as the signature. Two threads may both do it; one
    /// of the two is kept.
    fn trampoline(&self, signature: &Signature, kind: TrampolineKind) -> Result<CodePtr> {
        let ty = signature.ty.clone();
        let trampoline = Trampoline { kind, ty };
        let code = self
            .with_compiler(|compiler, scratch| Ok(compiler.trampoline(&trampoline, scratch)?))
            .with_context(|| format!("cannot compile the trampoline `{trampoline}`"))?;
        let placed = PlacedTrampoline::new(&self.inner.space, kind, &code)?;
        if let Some(mut profile) = self.profile() {
            profile.code(
                format_args!("{trampoline}"),
                placed.address().as_ptr().addr(),
                &code.bytes,
            );
        }
        Ok(signature.provide(placed))
    }
}

#[cfg(feature = "optimizer")]
fn compiler(config: &Config) -> Result<Option<Arc<dyn Compiler>>> {
    if !config.compiler {
        return Ok(None);
    }
    let target = config.compile_target()?;
    let optimizer = bimetal_optimizer::Optimizer::new(&target, config.settings.clone())?;
    Ok(Some(Arc::new(optimizer)))
}

#[cfg(not(feature = "optimizer"))]
fn compiler(_: &Config) -> Result<Option<Arc<dyn Compiler>>> {
    Ok(None)
}

impl Default for Engine {
    /// An engine with the default configuration.
    ///
    /// # Panics
    /// If there is no compiler for this machine; [`Engine::new`] says so as an error.
    fn default() -> Self {
        Engine::new(&Config::new()).expect("there is a compiler for this machine")
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("config", &self.inner.config)
            .field("compiler", &self.inner.compiler)
            .finish_non_exhaustive()
    }
}
