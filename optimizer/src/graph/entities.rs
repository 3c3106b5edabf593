//! Names of the parts of a graph, and the parts themselves.

use cranelift_entity::packed_option::PackedOption;
use cranelift_entity::{EntityList, entity_impl};

use crate::graph::imm::Imm;
use crate::graph::ops::Op;
use crate::graph::types::Type;

macro_rules! entities {
    ($($(#[$doc:meta])* $name:ident $prefix:literal;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub struct $name(u32);
            entity_impl!($name, $prefix);
        )*
    };
}

entities! {
    /// A basic block.
    Block "block";
    /// An instruction.
    Inst "inst";
    /// A value: a block's parameter or an instruction's result.
    Value "v";
    /// A way from a terminator to a block.
    Edge "edge";
    /// A place in wasm code.
    SiteId "site";
    /// 128 constant bits.
    Constant "const";
    /// The targets of a `br_table`.
    JumpTable "jt";
}

/// A place in wasm code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SiteInfo {
    /// The inlined call that the code belongs to: 0 is the function itself, `i + 1` entry `i` of
    /// [`Graph::inline_nodes`](crate::graph::Graph).
    pub node: u32,
    /// Byte offset of the instruction in the module's binary.
    pub offset: u32,
}

/// A basic block: parameters and a list of instructions of which exactly the last is a terminator.
#[derive(Clone, Debug, Default)]
pub struct BlockData {
    pub(crate) params: EntityList<Value>,
    pub(crate) first: PackedOption<Inst>,
    pub(crate) last: PackedOption<Inst>,
    pub(crate) prev: PackedOption<Block>,
    pub(crate) next: PackedOption<Block>,
    pub(crate) in_layout: bool,
    /// Executed rarely: to be placed out of the way.
    pub cold: bool,
    /// For the header of a wasm loop, where that is: OSR entries are named by it.
    pub loop_site: PackedOption<SiteId>,
}

/// An instruction. Operands and results are read through [`Graph`](crate::graph::Graph).
#[derive(Clone, Copy, Debug)]
pub struct InstData {
    /// What it does.
    pub op: Op,
    pub(crate) num_args: u16,
    pub(crate) num_results: u16,
    /// The first result; they are numbered consecutively.
    pub(crate) first_result: Value,
    /// Up to three operands; of more, the first is the index in `Graph::long_args`.
    pub(crate) args: [Value; 3],
    /// Of a terminator: its edges, numbered consecutively.
    pub(crate) first_edge: Edge,
    pub(crate) num_edges: u32,
    /// Where it comes from; at least everything that can trap or call has one.
    pub site: PackedOption<SiteId>,
    /// Its immediate.
    pub imm: Imm,
    pub(crate) block: PackedOption<Block>,
    pub(crate) prev: PackedOption<Inst>,
    pub(crate) next: PackedOption<Inst>,
}

/// A way from a terminator to a block, with the values of the block's parameters.
#[derive(Clone, Debug)]
pub struct EdgeData {
    /// Where it goes.
    pub target: Block,
    pub(crate) args: EntityList<Value>,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueDef {
    /// Result number `1` of an instruction.
    Result(Inst, u32),
    /// Parameter number `1` of a block.
    Param(Block, u32),
    /// Nowhere: stands for another value, see [`Graph::alias`](crate::graph::Graph::alias).
    Alias(Value),
    /// Nowhere: made but not given a place, or its place was removed.
    Detached,
}

/// A value, packed: 8 bits of type, 2 of kind, 22 of number, and the block, instruction or value.
#[derive(Clone, Copy, Debug)]
pub struct ValueData {
    bits: u32,
    entity: u32,
}

const KIND_SHIFT: u32 = 22;
const NUMBER_MASK: u32 = (1 << KIND_SHIFT) - 1;

impl ValueData {
    pub(crate) fn new(ty: Type, def: ValueDef) -> ValueData {
        let (kind, number, entity) = match def {
            ValueDef::Result(inst, n) => (0, n, inst.as_u32()),
            ValueDef::Param(block, n) => (1, n, block.as_u32()),
            ValueDef::Alias(value) => (2, 0, value.as_u32()),
            ValueDef::Detached => (3, 0, 0),
        };
        debug_assert!(number <= NUMBER_MASK);
        ValueData {
            bits: (ty as u32) << 24 | kind << KIND_SHIFT | number,
            entity,
        }
    }

    /// Its type.
    pub fn ty(self) -> Type {
        Type::ALL[(self.bits >> 24) as usize]
    }

    /// Where it comes from.
    pub fn def(self) -> ValueDef {
        let number = self.bits & NUMBER_MASK;
        match (self.bits >> KIND_SHIFT) & 3 {
            0 => ValueDef::Result(Inst::from_u32(self.entity), number),
            1 => ValueDef::Param(Block::from_u32(self.entity), number),
            2 => ValueDef::Alias(Value::from_u32(self.entity)),
            _ => ValueDef::Detached,
        }
    }
}
