//! Decoding the instructions of a function's body.
//!
//! The floors above see the decoder's types under these names.

pub use wasmparser::{
    BinaryReader, BlockType, BrTable, FunctionBody as BodyReader, Ieee32, Ieee64, LocalsReader,
    MemArg, Operator, OperatorsReader, V128, VisitOperator, VisitSimdOperator,
};
