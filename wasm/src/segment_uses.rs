//! Which segments and functions a module's code names.
//!
//! Whoever writes a module anew around the same code has to keep the numbers of the segments that
//! it names, and to declare the functions that it makes references to.

use std::collections::BTreeSet;

use cranelift_entity::EntityRef;
use rayon::prelude::*;
use wasmparser::Operator;

use crate::module::Module;
use crate::types::{DefinedFuncIndex, FuncIndex};

/// What the code of a module names: [`Module::segment_uses`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentUses {
    /// One more than the highest element segment that code names; 0 if it names none.
    pub elements: usize,
    /// The same of data segments.
    pub data: usize,
    /// The functions of `ref.func`.
    pub functions: BTreeSet<FuncIndex>,
}

impl SegmentUses {
    fn of_body(module: &Module, body: DefinedFuncIndex) -> wasmparser::Result<SegmentUses> {
        let mut uses = SegmentUses::default();
        let mut ops = module.body_reader(body).get_operators_reader()?;
        while !ops.eof() {
            match ops.read()? {
                Operator::TableInit { elem_index, .. }
                | Operator::ElemDrop { elem_index }
                | Operator::ArrayNewElem {
                    array_elem_index: elem_index,
                    ..
                }
                | Operator::ArrayInitElem {
                    array_elem_index: elem_index,
                    ..
                } => {
                    uses.elements = uses.elements.max(elem_index as usize + 1);
                }
                Operator::MemoryInit { data_index, .. }
                | Operator::DataDrop { data_index }
                | Operator::ArrayNewData {
                    array_data_index: data_index,
                    ..
                }
                | Operator::ArrayInitData {
                    array_data_index: data_index,
                    ..
                } => {
                    uses.data = uses.data.max(data_index as usize + 1);
                }
                Operator::RefFunc { function_index } => {
                    uses.functions.insert(FuncIndex::from_u32(function_index));
                }
                _ => {}
            }
        }
        Ok(uses)
    }

    fn union(mut self, other: SegmentUses) -> SegmentUses {
        self.elements = self.elements.max(other.elements);
        self.data = self.data.max(other.data);
        self.functions.extend(other.functions);
        self
    }
}

impl Module {
    /// Which segments and functions its code names. Reads all of it.
    ///
    /// ```
    /// use bimetal_wasm::{Features, Module};
    ///
    /// let module = Module::new(r#"(module (memory 1) (data "a") (data "b") (data "c")
    ///     (func (data.drop 1)))"#, &Features::default())?;
    /// let uses = module.segment_uses()?;
    /// assert_eq!((uses.data, uses.elements, uses.functions.len()), (2, 0, 0));
    /// # Ok::<(), bimetal_wasm::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a body cannot be read: that of a module which was not validated
    /// ([`Module::decode_validated`]).
    pub fn segment_uses(&self) -> crate::Result<SegmentUses> {
        (0..self.bodies.len())
            .into_par_iter()
            .with_min_len(64)
            .map(|body| {
                SegmentUses::of_body(self, DefinedFuncIndex::new(body)).map_err(|error| {
                    crate::Error::new(
                        crate::ErrorKind::Malformed,
                        error.message(),
                        Some(error.offset() as usize),
                    )
                })
            })
            .try_reduce(SegmentUses::default, |a, b| Ok(a.union(b)))
    }
}
