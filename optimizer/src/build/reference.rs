//! References. `ref.is_null` has neither immediate nor a type of its own and is in
//! [`super::numeric`].

use bimetal_wasm::body::{self, Operator};
use bimetal_wasm::{FuncIndex, RefType, ValType};

use crate::graph::{Op, Type};

use super::{Builder, Imm, Result, bug, value_type};

impl Builder<'_> {
    /// Whether it was one of these.
    pub(super) fn reference_operator(&mut self, operator: &Operator<'_>) -> Result<bool> {
        match operator {
            Operator::RefNull { hty } => {
                let heap = body::heap_type(*hty).ok_or_else(|| bug("a heap type"))?;
                let ty = value_type(ValType::Ref(RefType {
                    nullable: true,
                    heap,
                }))?;
                self.constant(Op::RefNull, Imm::None, ty);
            }
            Operator::RefFunc { function_index } => {
                let func = FuncIndex::from_u32(*function_index);
                self.constant(Op::RefFunc, Imm::Func(func), Type::FuncRef);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}
