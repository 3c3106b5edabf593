//! What every compiler shares: the contract between an engine and the tiers.
//!
//! A [`Compiler`] turns one function of a [`ModuleEnv`] into a [`FunctionCode`]: position-
//! independent bytes, relocations, and tables that say for a code offset what can happen there.
//! Compilers know nothing of the engine; the engine knows compilers only as `dyn Compiler`.
//!
//! **Invariant**: the same module, settings and (later) profile give the same `FunctionCode`,
//! whatever was compiled before and on whatever thread.
#![forbid(unsafe_code)]

pub mod code;
pub mod compiler;
pub mod middleware;
pub mod sites;
pub mod stack_maps;
pub mod target;
mod varint;

pub use code::{FunctionCode, Reloc, RelocKind, RelocTarget, TrampolineCode};
pub use compiler::{
    CompileError, Compiler, Dump, DumpSet, ModuleEnv, OptLevel, Scratch, Settings, Trampoline,
    TrampolineKind, results_in_array,
};
pub use sites::{Handler, InlineNode, Site, SiteTable, SiteTableBuilder};
pub use stack_maps::{StackMap, StackMapTable, StackMapTableBuilder, StackMaps};
pub use target::{Arch, CpuFeatures, Target};
