//! Instructions without immediates whose types are fixed: the decoder's name is the op's name.
//!
//! The correspondence is derived from the table of ops, so a new line there is all it takes.

use bimetal_wasm::body::Operator;

use crate::for_each_op;
use crate::graph::{Op, Type};

use super::{Builder, Imm, Result};

/// The pattern of the decoder's instruction for one line of the table; for lines that are not
/// plain, a pattern that an earlier arm has.
macro_rules! pattern {
    ($op:ident [$($arg:tt)*] [T] $imm:ident $effects:ident) => {
        Operator::Nop
    };
    ($op:ident [$($arg:tt)*] [$($ret:tt)?] None PURE) => {
        Operator::$op
    };
    ($op:ident [$($arg:tt)*] [$($ret:tt)?] None COMMUTES) => {
        Operator::$op
    };
    ($op:ident [$($arg:tt)*] [$($ret:tt)?] None TRAPS) => {
        Operator::$op
    };
    ($op:ident [$($arg:tt)*] [$($ret:tt)*] $imm:ident $effects:ident) => {
        Operator::Nop
    };
}

macro_rules! define {
    ($($op:ident $name:literal [$($arg:tt)*] [$($ret:tt)*] $imm:ident $effects:ident;)*) => {
        /// The op of an instruction that has no immediate and no type of its own.
        #[allow(unreachable_patterns, reason = "see `pattern!`")]
        pub(super) fn plain(operator: &Operator<'_>) -> Option<Op> {
            Some(match operator {
                Operator::Nop => return None,
                $(pattern!($op [$($arg)*] [$($ret)*] $imm $effects) => Op::$op,)*
                _ => return None,
            })
        }
    };
}

for_each_op!(define);

impl Builder<'_> {
    pub(super) fn select(&mut self) -> Result<()> {
        let ty = self.type_below(1)?;
        self.emit(Op::Select, 3, Imm::None, Some(ty))
    }

    /// Whether it was one with two results.
    pub(super) fn wide_operator(&mut self, operator: &Operator<'_>) -> Result<bool> {
        let op = match operator {
            Operator::I64Add128 => Op::I64Add128,
            Operator::I64Sub128 => Op::I64Sub128,
            Operator::I64MulWideS => Op::I64MulWideS,
            Operator::I64MulWideU => Op::I64MulWideU,
            _ => return Ok(false),
        };
        let start = self.top(op.info().operands.len())?;
        let (args, types) = (&self.stack[start..], [Type::I64; 2]);
        let inst = self
            .graph
            .push_inst(self.block, op, args, Imm::None, None, &types);
        self.stack.truncate(start);
        self.stack.extend(self.graph.results(inst));
        Ok(true)
    }

    /// The type of the operand under the uppermost `n`.
    pub(super) fn type_below(&self, n: usize) -> Result<Type> {
        let at = self.top(n + 1)?;
        Ok(self.graph.ty(self.stack[at]))
    }
}
