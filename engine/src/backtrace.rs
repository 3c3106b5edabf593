//! Where wasm code was.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bimetal_wasm::FuncIndex;

use crate::config::{DEFAULT_FRAMES, WasmBacktraceDetails};
use crate::module::{Module, ModuleInner};
use crate::store::AsContext;
use crate::symbols::{Demangled, FrameSymbol, Printable};

/// The wasm frames of a stack, innermost first; host frames between them are not shown.
///
/// An [`Error`](crate::Error) from inside wasm carries one: [`crate::Error::backtrace`].
#[derive(Clone, Debug)]
pub struct WasmBacktrace {
    frames: Arc<[FrameInfo]>,
    truncated: bool,
}

/// One frame.
#[derive(Clone, Debug)]
pub struct FrameInfo {
    module: Module,
    func: FuncIndex,
    offset: Option<usize>,
    /// Looked up when asked for.
    symbols: OnceLock<Box<[FrameSymbol]>>,
}

impl WasmBacktrace {
    pub(crate) fn new(frames: Vec<FrameInfo>, truncated: bool) -> WasmBacktrace {
        WasmBacktrace {
            frames: frames.into(),
            truncated,
        }
    }

    /// The frames of the wasm code of `store` that called this host code, innermost first; none if
    /// none did, or if the engine's configuration wants no backtraces.
    ///
    /// ```
    /// use bimetal::{Caller, Engine, Linker, Module, Store, WasmBacktrace};
    ///
    /// let engine = Engine::default();
    /// let mut linker = Linker::new(&engine);
    /// linker.func_wrap("host", "who", |caller: Caller<'_, ()>| {
    ///     let backtrace = WasmBacktrace::capture(&caller);
    ///     assert_eq!(backtrace.frames()[0].func_name(), Some("f"));
    /// })?;
    /// let module = Module::new(&engine, r#"(module
    ///     (import "host" "who" (func $who))
    ///     (func $f (export "f") (call $who)))"#)?;
    /// let mut store = Store::new(&engine, ());
    /// let instance = linker.instantiate(&mut store, &module)?;
    /// instance.get_typed_func::<(), ()>(&mut store, "f")?.call(&mut store, ())?;
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    pub fn capture(store: impl AsContext) -> WasmBacktrace {
        let max = store.as_context().engine().config().backtrace_frames();
        WasmBacktrace::capture_up_to(store, max)
    }

    /// Like [`WasmBacktrace::capture`], also if the configuration wants no backtraces.
    pub fn force_capture(store: impl AsContext) -> WasmBacktrace {
        let config = store.as_context().engine().config().backtrace_frames();
        let max = match config {
            0 => DEFAULT_FRAMES.get(),
            max => max,
        };
        WasmBacktrace::capture_up_to(store, max)
    }

    fn capture_up_to(store: impl AsContext, max: usize) -> WasmBacktrace {
        match max {
            0 => WasmBacktrace::new(Vec::new(), false),
            max => crate::vm::store_backtrace(store.as_context().opaque(), max),
        }
    }

    /// The frames, innermost first.
    pub fn frames(&self) -> &[FrameInfo] {
        &self.frames
    }

    /// Whether there were more frames than are kept.
    pub fn truncated(&self) -> bool {
        self.truncated
    }
}

impl FrameInfo {
    pub(crate) fn new(module: Module, func: FuncIndex, offset: Option<usize>) -> FrameInfo {
        FrameInfo {
            module,
            func,
            offset,
            symbols: OnceLock::new(),
        }
    }

    /// Where this is in the source, by the module's debug information (DWARF): the innermost
    /// inlined function first, the function itself last. Empty without such information, if it
    /// cannot be read, or if the configuration does not want it. The first call can take a while.
    pub fn symbols(&self) -> &[FrameSymbol] {
        self.symbols.get_or_init(|| {
            let inner = self.module.inner();
            let wanted = inner.engine.config().backtrace_details != WasmBacktraceDetails::Disable;
            match self.offset {
                Some(offset) if wanted => inner.symbols.lookup(inner.wasm(), offset).into(),
                _ => Box::default(),
            }
        })
    }

    /// Over several lines, those after the first indented by `indent` spaces.
    fn write(&self, f: &mut fmt::Formatter<'_>, indent: usize) -> fmt::Result {
        if let Some(offset) = self.offset {
            write!(f, "{offset:#8x} - ")?;
        }
        let function = FunctionName(self.module.inner(), self.func);
        let symbols = self.symbols();
        if symbols.is_empty() {
            return write!(f, "{function}");
        }
        // Under the function's name, behind the offset.
        let indent = indent + 11;
        for (i, symbol) in symbols.iter().enumerate() {
            if i > 0 {
                write!(f, "\n{:indent$}", "")?;
            }
            // The function itself is called what the module calls it.
            match symbol.name() {
                Some(name) if i + 1 < symbols.len() => {
                    write!(f, "{}!{}", ModuleName(self.module.inner()), Demangled(name))?;
                }
                _ => write!(f, "{function}")?,
            }
            if symbol.file().is_some() {
                write!(f, "\n{:indent$}    at ", "")?;
                symbol.write_place(f)?;
            }
        }
        Ok(())
    }
    /// The module.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// The function's index in its module.
    pub fn func_index(&self) -> u32 {
        self.func.as_u32()
    }

    /// The function's name as it stands in the module, if it has one.
    pub fn func_name(&self) -> Option<&str> {
        self.module.wasm().func_name(self.func)
    }

    /// Where in the module's binary it was, in bytes.
    pub fn module_offset(&self) -> Option<usize> {
        self.offset
    }

    /// Where in the function's body it was, in bytes.
    pub fn func_offset(&self) -> Option<usize> {
        let defined = self.module.wasm().defined_func(self.func)?;
        self.offset?
            .checked_sub(self.module.wasm().bodies[defined].range.start)
    }
}

impl fmt::Display for WasmBacktrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("wasm backtrace:")?;
        // Both ends of a long one say most, if there are both.
        const ENDS: usize = 16;
        let count = self.frames.len();
        let tail = if self.truncated { 0 } else { ENDS };
        let skipped = if count > 2 * ENDS {
            ENDS..count - tail
        } else {
            0..0
        };
        for (i, frame) in self.frames.iter().enumerate() {
            if !skipped.contains(&i) {
                write!(f, "\n    {i:>3}: ")?;
                frame.write(f, 9)?;
            } else if i == skipped.start && !self.truncated {
                write!(f, "\n         … {} more frames …", skipped.len())?;
            }
        }
        if self.truncated {
            f.write_str("\n         … and many more")?;
        }
        Ok(())
    }
}

impl fmt::Display for FrameInfo {
    /// Offset, module and function; with debug information also where in the source that is, and
    /// what was inlined there, over several lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

struct ModuleName<'a>(&'a ModuleInner);

impl fmt::Display for ModuleName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.wasm().names().module.as_deref();
        write!(f, "{}", Printable(name.unwrap_or("<module>")))
    }
}

/// `module!function`, demangled, for people and profilers.
pub(crate) struct FunctionName<'a>(pub(crate) &'a ModuleInner, pub(crate) FuncIndex);

impl fmt::Display for FunctionName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}!", ModuleName(self.0))?;
        match self.0.wasm().func_name(self.1) {
            Some(name) => write!(f, "{}", Demangled(name)),
            None => write!(f, "<function {}>", self.1.as_u32()),
        }
    }
}
