//! Names for people: source lines out of a module's debug information, and demangling.
//!
//! Both are features (`addr2line`, `demangle`); without them there are no lines, and names are as
//! they stand in the module. Debug information is the guest's word: see `dwarf.rs`.

#[cfg_attr(not(feature = "demangle"), path = "no_demangle.rs")]
mod demangle;
#[cfg_attr(not(feature = "addr2line"), path = "no_dwarf.rs")]
mod dwarf;

use std::fmt::{self, Write};

pub(crate) use bimetal_wasm::Printable;
pub(crate) use demangle::Demangled;
pub(crate) use dwarf::SymbolCache;

/// One source position of a frame; more than one if the compiler of the *guest* inlined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameSymbol {
    name: Option<String>,
    file: Option<String>,
    line: Option<u32>,
    column: Option<u32>,
}

impl FrameSymbol {
    /// The function's name as it stands in the debug information: mangled, if its language
    /// mangles. Shown, with `{}`, a symbol is demangled.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The source file.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// The line, from 1.
    pub fn line(&self) -> Option<u32> {
        self.line
    }

    /// The column, from 1.
    pub fn column(&self) -> Option<u32> {
        self.column
    }

    /// `file:line:column`, as far as known; nothing without a file.
    pub(crate) fn write_place(&self, out: &mut impl Write) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(out, "{}", Printable(file))?;
            if let Some(line) = self.line {
                write!(out, ":{line}")?;
                if let Some(column) = self.column {
                    write!(out, ":{column}")?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for FrameSymbol {
    /// The demangled name, and where it is: `shapes::area(int) at src/shapes.cc:12:7`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{}", Demangled(name))?,
            None => f.write_str("<unknown>")?,
        }
        if self.file.is_some() {
            f.write_str(" at ")?;
            self.write_place(f)?;
        }
        Ok(())
    }
}
