//! What generated code and the runtime must agree on.
//!
//! Generated code reads and writes the structures of [`vm`] at fixed offsets, calls the runtime
//! through the table of [`builtins`], stops with a code of [`trap`], and is shaped by the
//! [`tunables`]. [`offsets`] lays out the part of an instance whose size depends on its module;
//! [`tables`] says what of its tables is filled when it is used; [`gc`] lays out objects.
//! [`convention`] says in words how every kind of call passes its arguments.
//!
//! **Invariant**: a layout has one definition, here; offsets come from `offset_of!`. This crate
//! has no logic beyond what both sides must compute alike, and no dependency on an operating system or a compiler.
#![forbid(unsafe_code)]

pub mod builtins;
pub mod convention;
mod fingerprint;
pub mod gc;
pub mod offsets;
pub mod tables;
pub mod trap;
pub mod tunables;
pub mod vm;

pub use builtins::{Builtin, BuiltinReturn, BuiltinType};
pub use fingerprint::FINGERPRINT;
pub use gc::{ArrayLayout, ObjectLayout, VmObject, VmTag, VmTypeInfo};
pub use offsets::VmOffsets;
pub use tables::LazyTables;
pub use trap::TrapCode;
pub use tunables::{CallMode, MemoryPlan, MemoryStyle, Tunables};
pub use vm::{
    NativeReturn, ValRaw, VmContextHeader, VmFuncImport, VmFuncRef, VmGlobal, VmHostContext,
    VmMemory, VmStoreContext, VmTable,
};
