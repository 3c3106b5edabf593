//! Integer ops seen as an operation and a width, so that each rule is written once.

use crate::graph::Op;

/// The width of an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    W32,
    W64,
}

impl Width {
    pub(super) fn bits(self) -> u32 {
        match self {
            Width::W32 => 32,
            Width::W64 => 64,
        }
    }

    /// All bits set.
    pub(super) fn mask(self) -> u64 {
        match self {
            Width::W32 => u64::from(u32::MAX),
            Width::W64 => u64::MAX,
        }
    }

    /// The sign bit.
    pub(super) fn sign(self) -> u64 {
        1 << (self.bits() - 1)
    }

    /// Raw bits as a signed number.
    pub(super) fn signed(self, bits: u64) -> i64 {
        match self {
            Width::W32 => i64::from(bits as u32 as i32),
            Width::W64 => bits as i64,
        }
    }
}

macro_rules! ints {
    ($($int:ident $narrow:ident $wide:ident;)*) => {
        /// An operation on integers of either width.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Int {
            $($int,)*
        }

        impl Int {
            /// The operation and the width of the operands.
            pub(super) fn of(op: Op) -> Option<(Int, Width)> {
                match op {
                    $(
                        Op::$narrow => Some((Int::$int, Width::W32)),
                        Op::$wide => Some((Int::$int, Width::W64)),
                    )*
                    _ => None,
                }
            }

            /// The op for operands of this width.
            pub(super) fn op(self, width: Width) -> Op {
                match (self, width) {
                    $(
                        (Int::$int, Width::W32) => Op::$narrow,
                        (Int::$int, Width::W64) => Op::$wide,
                    )*
                }
            }
        }
    };
}

ints! {
    Add I32Add I64Add;
    Sub I32Sub I64Sub;
    Mul I32Mul I64Mul;
    DivS I32DivS I64DivS;
    DivU I32DivU I64DivU;
    RemS I32RemS I64RemS;
    RemU I32RemU I64RemU;
    And I32And I64And;
    Or I32Or I64Or;
    Xor I32Xor I64Xor;
    Shl I32Shl I64Shl;
    ShrS I32ShrS I64ShrS;
    ShrU I32ShrU I64ShrU;
    Rotl I32Rotl I64Rotl;
    Rotr I32Rotr I64Rotr;
    Clz I32Clz I64Clz;
    Ctz I32Ctz I64Ctz;
    Popcnt I32Popcnt I64Popcnt;
    Extend8S I32Extend8S I64Extend8S;
    Extend16S I32Extend16S I64Extend16S;
    Eqz I32Eqz I64Eqz;
    Eq I32Eq I64Eq;
    Ne I32Ne I64Ne;
    LtS I32LtS I64LtS;
    LtU I32LtU I64LtU;
    GtS I32GtS I64GtS;
    GtU I32GtU I64GtU;
    LeS I32LeS I64LeS;
    LeU I32LeU I64LeU;
    GeS I32GeS I64GeS;
    GeU I32GeU I64GeU;
}

impl Int {
    /// For a comparison of two integers the one that is true when it is false.
    pub(super) fn inverse(self) -> Option<Int> {
        Some(match self {
            Int::Eq => Int::Ne,
            Int::Ne => Int::Eq,
            Int::LtS => Int::GeS,
            Int::LtU => Int::GeU,
            Int::GtS => Int::LeS,
            Int::GtU => Int::LeU,
            Int::LeS => Int::GtS,
            Int::LeU => Int::GtU,
            Int::GeS => Int::LtS,
            Int::GeU => Int::LtU,
            _ => return None,
        })
    }

    /// For a comparison of two integers, or a commutative operation, the one that gives the same
    /// with the operands exchanged.
    pub(super) fn exchanged(self) -> Option<Int> {
        Some(match self {
            Int::Add | Int::Mul | Int::And | Int::Or | Int::Xor | Int::Eq | Int::Ne => self,
            Int::LtS => Int::GtS,
            Int::LtU => Int::GtU,
            Int::GtS => Int::LtS,
            Int::GtU => Int::LtU,
            Int::LeS => Int::GeS,
            Int::LeU => Int::GeU,
            Int::GeS => Int::LeS,
            Int::GeU => Int::LeU,
            _ => return None,
        })
    }
}
