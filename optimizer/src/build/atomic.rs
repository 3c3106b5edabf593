//! Atomic instructions.

use bimetal_wasm::body::Operator;

use crate::graph::Op;

use super::{Builder, Imm, Result};

impl Builder<'_> {
    /// Whether it was one of these.
    pub(super) fn atomic_operator(&mut self, operator: &Operator<'_>) -> Result<bool> {
        macro_rules! accesses {
            ($($op:ident)*) => {
                match operator {
                    $(Operator::$op { memarg } => self.access(Op::$op, memarg)?,)*
                    Operator::AtomicFence { .. } => self.emit(Op::AtomicFence, 0, Imm::None, None)?,
                    _ => return Ok(false),
                }
            };
        }
        accesses! {
            I32AtomicLoad I32AtomicLoad8U I32AtomicLoad16U I64AtomicLoad I64AtomicLoad8U
            I64AtomicLoad16U I64AtomicLoad32U I32AtomicStore I32AtomicStore8 I32AtomicStore16
            I64AtomicStore I64AtomicStore8 I64AtomicStore16 I64AtomicStore32 I32AtomicRmwAdd
            I32AtomicRmw8AddU I32AtomicRmw16AddU I64AtomicRmwAdd I64AtomicRmw8AddU
            I64AtomicRmw16AddU I64AtomicRmw32AddU I32AtomicRmwSub I32AtomicRmw8SubU
            I32AtomicRmw16SubU I64AtomicRmwSub I64AtomicRmw8SubU I64AtomicRmw16SubU
            I64AtomicRmw32SubU I32AtomicRmwAnd I32AtomicRmw8AndU I32AtomicRmw16AndU
            I64AtomicRmwAnd I64AtomicRmw8AndU I64AtomicRmw16AndU I64AtomicRmw32AndU
            I32AtomicRmwOr I32AtomicRmw8OrU I32AtomicRmw16OrU I64AtomicRmwOr I64AtomicRmw8OrU
            I64AtomicRmw16OrU I64AtomicRmw32OrU I32AtomicRmwXor I32AtomicRmw8XorU
            I32AtomicRmw16XorU I64AtomicRmwXor I64AtomicRmw8XorU I64AtomicRmw16XorU
            I64AtomicRmw32XorU I32AtomicRmwXchg I32AtomicRmw8XchgU I32AtomicRmw16XchgU
            I64AtomicRmwXchg I64AtomicRmw8XchgU I64AtomicRmw16XchgU I64AtomicRmw32XchgU
            I32AtomicRmwCmpxchg I32AtomicRmw8CmpxchgU I32AtomicRmw16CmpxchgU
            I64AtomicRmwCmpxchg I64AtomicRmw8CmpxchgU I64AtomicRmw16CmpxchgU
            I64AtomicRmw32CmpxchgU MemoryAtomicNotify MemoryAtomicWait32 MemoryAtomicWait64
        }
        Ok(true)
    }
}
