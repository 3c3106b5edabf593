//! Decoding the instructions of a function's body.
//!
//! The floors above see the decoder's types under these names.

pub use wasmparser::{
    BinaryReader, BlockType, BrTable, FunctionBody as BodyReader, Ieee32, Ieee64, LocalsReader,
    MemArg, MemArgTarget, Operator, OperatorsReader, V128, VisitOperator, VisitSimdOperator,
};

use crate::types::{HeapType, ValType};

/// The value type that the decoder gave; `None` for one of a proposal that is missing.
pub fn val_type(ty: wasmparser::ValType) -> Option<ValType> {
    crate::convert::val_type(ty).ok()
}

/// The heap type that the decoder gave; `None` for one of a proposal that is missing.
pub fn heap_type(ty: wasmparser::HeapType) -> Option<HeapType> {
    crate::convert::heap_type(ty).ok()
}
