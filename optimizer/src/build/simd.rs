//! Vector instructions that have an immediate. The others are in [`super::numeric`], loads and
//! stores in [`super::memory`].

use bimetal_wasm::body::Operator;

use crate::graph::{Op, Type};

use super::{Builder, Imm, Result};

impl Builder<'_> {
    /// Whether it was one of these.
    pub(super) fn simd_operator(&mut self, operator: &Operator<'_>) -> Result<bool> {
        macro_rules! lanes {
            ($($op:ident)*) => {
                match operator {
                    $(Operator::$op { lane } => {
                        let info = Op::$op.info();
                        let result = info.results.first().and_then(|slot| slot.fixed());
                        self.emit(Op::$op, info.operands.len(), Imm::Lane(*lane), result)?;
                    })*
                    Operator::V128Const { value } => {
                        let bits = self.graph.make_constant(u128::from_le_bytes(*value.bytes()));
                        self.constant(Op::V128Const, Imm::V128(bits), Type::V128);
                    }
                    Operator::I8x16Shuffle { lanes } => {
                        let bits = self.graph.make_constant(u128::from_le_bytes(*lanes));
                        self.emit(Op::I8x16Shuffle, 2, Imm::Shuffle(bits), Some(Type::V128))?;
                    }
                    _ => return Ok(false),
                }
            };
        }
        lanes! {
            I8x16ExtractLaneS I8x16ExtractLaneU I8x16ReplaceLane
            I16x8ExtractLaneS I16x8ExtractLaneU I16x8ReplaceLane
            I32x4ExtractLane I32x4ReplaceLane
            I64x2ExtractLane I64x2ReplaceLane
            F32x4ExtractLane F32x4ReplaceLane
            F64x2ExtractLane F64x2ReplaceLane
        }
        Ok(true)
    }
}
