//! What instructions cost: a table with a field for each of the decoder's instructions.
//!
//! It is here because only this crate can enumerate them; charging is the compilers' work.

use std::hash::{Hash, Hasher};

use crate::body::Operator;

/// What instructions cost that do as much as an operand says, for each unit of it and in addition to
/// their [`OperatorCost`].
///
/// More than 2^30 counts as that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VariableOperatorCost {
    /// For each byte of `memory.copy`.
    pub memory_copy_per_byte: u32,
    /// For each byte of `memory.fill`.
    pub memory_fill_per_byte: u32,
    /// For each byte of `memory.init`.
    pub memory_init_per_byte: u32,
    /// For each page that `memory.grow` asks for, whether it gets it or not.
    pub memory_grow_per_page: u32,
    /// For each element of `table.copy`.
    pub table_copy_per_element: u32,
    /// For each element of `table.fill`.
    pub table_fill_per_element: u32,
    /// For each element of `table.init`.
    pub table_init_per_element: u32,
    /// For each element that `table.grow` asks for, whether it gets it or not.
    pub table_grow_per_element: u32,
    /// For each element of `array.copy`.
    pub array_copy_per_element: u32,
    /// For each element of `array.fill`.
    pub array_fill_per_element: u32,
    /// For each element of `array.init_data` and `array.init_elem`.
    pub array_init_per_element: u32,
    /// For each element of an array made by `array.new`, `array.new_default`, `array.new_data` or
    /// `array.new_elem`.
    pub array_new_per_element: u32,
}

impl VariableOperatorCost {
    /// 1, but for pages: a program may ask for memory that it does not get.
    pub const fn new() -> VariableOperatorCost {
        VariableOperatorCost {
            memory_copy_per_byte: 1,
            memory_fill_per_byte: 1,
            memory_init_per_byte: 1,
            memory_grow_per_page: 0,
            table_copy_per_element: 1,
            table_fill_per_element: 1,
            table_init_per_element: 1,
            table_grow_per_element: 1,
            array_copy_per_element: 1,
            array_fill_per_element: 1,
            array_init_per_element: 1,
            array_new_per_element: 1,
        }
    }

    /// What one unit of the uppermost operand costs; 0 for most instructions.
    pub fn per_unit(&self, operator: &Operator<'_>) -> u32 {
        match operator {
            Operator::MemoryCopy { .. } => self.memory_copy_per_byte,
            Operator::MemoryFill { .. } => self.memory_fill_per_byte,
            Operator::MemoryInit { .. } => self.memory_init_per_byte,
            Operator::MemoryGrow { .. } => self.memory_grow_per_page,
            Operator::TableCopy { .. } => self.table_copy_per_element,
            Operator::TableFill { .. } => self.table_fill_per_element,
            Operator::TableInit { .. } => self.table_init_per_element,
            Operator::TableGrow { .. } => self.table_grow_per_element,
            Operator::ArrayCopy { .. } => self.array_copy_per_element,
            Operator::ArrayFill { .. } => self.array_fill_per_element,
            Operator::ArrayInitData { .. } | Operator::ArrayInitElem { .. } => {
                self.array_init_per_element
            }
            Operator::ArrayNew { .. }
            | Operator::ArrayNewDefault { .. }
            | Operator::ArrayNewData { .. }
            | Operator::ArrayNewElem { .. } => self.array_new_per_element,
            _ => 0,
        }
    }
}

impl Default for VariableOperatorCost {
    fn default() -> Self {
        VariableOperatorCost::new()
    }
}

/// What generates no code is free, and so is structure.
macro_rules! default_cost {
    (Nop) => {
        0
    };
    (Drop) => {
        0
    };
    (Block) => {
        0
    };
    (Loop) => {
        0
    };
    (Else) => {
        0
    };
    (End) => {
        0
    };
    (TryTable) => {
        0
    };
    (Try) => {
        0
    };
    (Catch) => {
        0
    };
    (CatchAll) => {
        0
    };
    (Delegate) => {
        0
    };
    (Unreachable) => {
        0
    };
    (Return) => {
        0
    };
    ($op:ident) => {
        1
    };
}

macro_rules! define {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
        /// What each instruction costs, by its name.
        ///
        /// The defaults are 1, and 0 for `nop`, `drop`, `unreachable`, `return` and what is only
        /// structure: `block`, `loop`, `else`, `end`, `try_table` and its legacy kin.
        ///
        /// ```
        /// use bimetal_wasm::OperatorCost;
        ///
        /// let cost = OperatorCost { I64DivU: 20, I64DivS: 20, ..OperatorCost::new() };
        /// assert_eq!((cost.I64DivU, cost.I64Add, cost.Nop), (20, 1, 0));
        /// ```
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, non_snake_case, reason = "each is the instruction of that name")]
        pub struct OperatorCost {
            $(pub $op: u32,)*
            /// For instructions that do as much as an operand says.
            pub variable: VariableOperatorCost,
        }

        impl OperatorCost {
            /// The defaults.
            pub const fn new() -> OperatorCost {
                OperatorCost {
                    $($op: default_cost!($op),)*
                    variable: VariableOperatorCost::new(),
                }
            }

            /// The same for all instructions.
            pub const fn uniform(cost: u32) -> OperatorCost {
                OperatorCost {
                    $($op: cost,)*
                    variable: VariableOperatorCost::new(),
                }
            }

            /// What an instruction costs, without what depends on its operands.
            pub fn cost(&self, operator: &Operator<'_>) -> u32 {
                match operator {
                    $(Operator::$op { .. } => self.$op,)*
                    // The decoder's type is open; this is all of it.
                    _ => 1,
                }
            }
        }
    };
}

wasmparser::for_each_operator!(define);

impl OperatorCost {
    /// A number that is the same for equal tables, in every process.
    pub fn digest(&self) -> u64 {
        /// FNV-1a.
        struct Digest(u64);
        impl Hasher for Digest {
            fn write(&mut self, bytes: &[u8]) {
                for &byte in bytes {
                    self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
                }
            }

            fn finish(&self) -> u64 {
                self.0
            }
        }
        let mut digest = Digest(0xcbf2_9ce4_8422_2325);
        self.hash(&mut digest);
        digest.finish()
    }
}

impl Default for OperatorCost {
    fn default() -> Self {
        OperatorCost::new()
    }
}
