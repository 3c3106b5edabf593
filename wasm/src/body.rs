//! Decoding the instructions of a function's body.
//!
//! The floors above see the decoder's types under these names.

pub use wasmparser::{
    BinaryReader, BlockType, BrTable, FunctionBody as BodyReader, Ieee32, Ieee64, LocalsReader,
    MemArg, MemArgTarget, Operator, OperatorsReader, OperatorsReaderAllocations, V128,
    VisitOperator, VisitSimdOperator,
};

/// The types that instructions name, as the decoder has them.
pub mod types {
    pub use wasmparser::{
        AbstractHeapType, Catch, HeapType, MemArgTarget, Ordering, RefType, ResumeTable, TryTable,
        V128, ValType,
    };
}

use crate::module::Module;
use crate::types::{DefinedFuncIndex, HeapType, RefType, ValType};

impl Module {
    /// A reader of a defined function's body, whose positions are offsets in the binary.
    ///
    /// ```
    /// use bimetal_wasm::{DefinedFuncIndex, Features, Module, body::Operator};
    ///
    /// let module = Module::new("(module (func nop))", &Features::default())?;
    /// let body = module.body_reader(DefinedFuncIndex::from_u32(0));
    /// let mut ops = body.get_operators_reader()?;
    /// assert!(matches!(ops.read()?, Operator::Nop));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn body_reader(&self, index: DefinedFuncIndex) -> BodyReader<'_> {
        let start = self.bodies[index].range.start as u64;
        BodyReader::new(BinaryReader::new_features(
            self.body_bytes(index),
            start,
            self.features.to_wasmparser(),
        ))
    }
}

/// The value type that the decoder gave; `None` for one of a proposal that is missing.
pub fn val_type(ty: wasmparser::ValType) -> Option<ValType> {
    crate::convert::val_type(ty).ok()
}

/// The reference type that the decoder gave; `None` for one of a proposal that is missing.
pub fn ref_type(ty: wasmparser::RefType) -> Option<RefType> {
    crate::convert::ref_type(ty).ok()
}

/// The heap type that the decoder gave; `None` for one of a proposal that is missing.
pub fn heap_type(ty: wasmparser::HeapType) -> Option<HeapType> {
    crate::convert::heap_type(ty).ok()
}
