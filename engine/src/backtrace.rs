//! Where wasm code was.

use std::fmt;
use std::sync::Arc;

use bimetal_wasm::FuncIndex;

use crate::Module;

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
    pub(crate) module: Module,
    pub(crate) func: FuncIndex,
    pub(crate) offset: Option<usize>,
}

impl WasmBacktrace {
    pub(crate) fn new(frames: Vec<FrameInfo>, truncated: bool) -> WasmBacktrace {
        WasmBacktrace {
            frames: frames.into(),
            truncated,
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
                write!(f, "\n    {i:>3}: {frame}")?;
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
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(offset) = self.offset {
            write!(f, "{offset:#8x} - ")?;
        }
        f.write_str(self.module.name().unwrap_or("<module>"))?;
        match self.func_name() {
            Some(name) => write!(f, "!{:#}", rustc_demangle::demangle(name)),
            None => write!(f, "!<function {}>", self.func.as_u32()),
        }
    }
}
