//! WebAssembly modules as data: from binary or text to a validated [`Module`].
//!
//! [`Module::new`] decodes section by section (`decode.rs`), validates all function bodies in
//! parallel, and gives a [`Module`] (`module.rs`) that says what the program declares; its code,
//! data and names stay byte ranges of the binary. A refused module gives an [`Error`] with its
//! offset and function, which names the proposal that is missing if that is all that is wrong
//! (`diagnose.rs`). [`text`] is the text format both ways, [`inspect`] a summary for people.
//! [`instrument`] validates what is compiled in the place of a body.
//!
//! **Invariant**: the only crate that names `wasmparser`, `wasmprinter` or `wat`; the floors above
//! decode function bodies through [`body`].
#![forbid(unsafe_code)]

pub mod body;
mod bytes;
mod convert;
mod cost;
mod decode;
mod diagnose;
pub mod error;
mod hints;
mod initial;
pub mod inspect;
pub mod instrument;
mod matching;
pub mod module;
mod names;
pub mod sections;
mod segment_uses;
mod subtyping;
#[cfg_attr(not(feature = "text"), path = "no_text.rs")]
pub mod text;
pub mod types;
mod usage;

pub use bytes::Bytes;
pub use cost::{OperatorCost, VariableOperatorCost};
pub use error::{Error, ErrorKind, Printable, PrintableLines, Result};
pub use hints::BranchHint;
pub use initial::InitialRun;
pub use module::{
    ConstExpr, ConstOp, CustomSection, DataSegment, ElementItems, ElementSegment, Export, Features,
    FunctionBody, Import, ImportType, Module, Names, SegmentMode, TableInit,
};
pub use segment_uses::SegmentUses;
pub use types::{
    ArrayType, CompositeType, DataIndex, DefinedFuncIndex, DefinedGlobalIndex, DefinedMemoryIndex,
    DefinedTableIndex, DefinedTagIndex, ElemIndex, EntityIndex, FieldType, FuncIndex, FuncRefIndex,
    FuncType, GlobalIndex, GlobalType, HeapType, MemoryIndex, MemoryType, RefType, StorageType,
    StructType, SubType, TableIndex, TableType, TagIndex, TypeIndex, ValType,
};
