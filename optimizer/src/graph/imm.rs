//! Immediates.

use bimetal_abi::TrapCode;
use bimetal_wasm::{
    DataIndex, ElemIndex, FuncIndex, GlobalIndex, MemoryIndex, RefType, TableIndex, TagIndex,
    TypeIndex,
};

use crate::graph::entities::{Constant, JumpTable};
use crate::graph::ops::ImmKind;

/// What an instruction has besides operands and edges. The op decides the variant: see
/// [`ImmKind`]. Floats are bit patterns, so that equality is that of the bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Imm {
    /// Nothing.
    None,
    /// `i32.const`.
    I32(i32),
    /// `i64.const`.
    I64(i64),
    /// The bits of `f32.const`.
    F32(u32),
    /// The bits of `f64.const`.
    F64(u64),
    /// `v128.const`; the bits are [`Graph::constant`](crate::graph::Graph::constant). Equal bits
    /// have equal numbers.
    V128(Constant),
    /// The lane of `extract_lane` and `replace_lane`.
    Lane(u8),
    /// The 16 lane numbers of `i8x16.shuffle`, the first in the lowest byte, as a [`Constant`].
    Shuffle(Constant),
    /// A memory access at operand 0 plus `offset` bytes.
    Mem {
        /// The memory.
        memory: MemoryIndex,
        /// In bytes.
        offset: u64,
    },
    /// A memory access of one lane.
    MemLane {
        /// The memory.
        memory: MemoryIndex,
        /// In bytes.
        offset: u64,
        /// The lane.
        lane: u8,
    },
    /// A whole memory: `memory.size`, `memory.grow`, `memory.fill`.
    Memory(MemoryIndex),
    /// `memory.copy`.
    MemoryPair {
        /// Destination.
        dst: MemoryIndex,
        /// Source.
        src: MemoryIndex,
    },
    /// `memory.init`.
    MemoryInit {
        /// Destination.
        memory: MemoryIndex,
        /// Source.
        data: DataIndex,
    },
    /// `data.drop`.
    Data(DataIndex),
    /// A table: `table.get`, `table.set`, `table.size`, `table.grow`, `table.fill`.
    Table(TableIndex),
    /// `table.copy`.
    TablePair {
        /// Destination.
        dst: TableIndex,
        /// Source.
        src: TableIndex,
    },
    /// `table.init`.
    TableInit {
        /// Destination.
        table: TableIndex,
        /// Source.
        elem: ElemIndex,
    },
    /// `elem.drop`.
    Elem(ElemIndex),
    /// A global.
    Global(GlobalIndex),
    /// `call`, `ref.func`.
    Func(FuncIndex),
    /// `call_indirect`.
    CallIndirect {
        /// The expected type.
        ty: TypeIndex,
        /// The table.
        table: TableIndex,
    },
    /// What is called, made or accessed: `call_ref`, `struct.new`, `array.get` …
    Type(TypeIndex),
    /// A field of a struct.
    Field {
        /// The struct's type.
        ty: TypeIndex,
        /// From 0.
        field: u32,
    },
    /// `array.new_data`, `array.init_data`.
    TypeData {
        /// The array's type.
        ty: TypeIndex,
        /// Source.
        data: DataIndex,
    },
    /// `array.new_elem`, `array.init_elem`.
    TypeElem {
        /// The array's type.
        ty: TypeIndex,
        /// Source.
        elem: ElemIndex,
    },
    /// `array.copy`.
    TypePair {
        /// The destination's type.
        dst: TypeIndex,
        /// The source's type.
        src: TypeIndex,
    },
    /// `ref.test`, `ref.cast`.
    Cast {
        /// The type asked for.
        to: RefType,
        /// What is known of the operand.
        from: RefType,
    },
    /// `exn.new`, `tag.address`.
    Tag(TagIndex),
    /// A part of what exceptions with a tag carry.
    ExnField {
        /// The tag.
        tag: TagIndex,
        /// Which of its parameters.
        field: u32,
    },
    /// `branch_if`: how often it goes to the first edge.
    Hint(Hint),
    /// `br_table`: which edge an index takes.
    JumpTable(JumpTable),
    /// `unreachable`: why it stops.
    Trap(TrapCode),
}

/// How often a `branch_if` goes to its first edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Hint {
    /// Not known.
    #[default]
    Unknown,
    /// So many times of 255.
    Taken(u8),
}

impl Imm {
    /// Which variant this is.
    pub fn kind(self) -> ImmKind {
        match self {
            Imm::None => ImmKind::None,
            Imm::I32(_) => ImmKind::I32,
            Imm::I64(_) => ImmKind::I64,
            Imm::F32(_) => ImmKind::F32,
            Imm::F64(_) => ImmKind::F64,
            Imm::V128(_) => ImmKind::V128,
            Imm::Lane(_) => ImmKind::Lane,
            Imm::Shuffle(_) => ImmKind::Shuffle,
            Imm::Mem { .. } => ImmKind::Mem,
            Imm::MemLane { .. } => ImmKind::MemLane,
            Imm::Memory(_) => ImmKind::Memory,
            Imm::MemoryPair { .. } => ImmKind::MemoryPair,
            Imm::MemoryInit { .. } => ImmKind::MemoryInit,
            Imm::Data(_) => ImmKind::Data,
            Imm::Table(_) => ImmKind::Table,
            Imm::TablePair { .. } => ImmKind::TablePair,
            Imm::TableInit { .. } => ImmKind::TableInit,
            Imm::Elem(_) => ImmKind::Elem,
            Imm::Global(_) => ImmKind::Global,
            Imm::Func(_) => ImmKind::Func,
            Imm::CallIndirect { .. } => ImmKind::CallIndirect,
            Imm::Type(_) => ImmKind::Type,
            Imm::Field { .. } => ImmKind::Field,
            Imm::TypeData { .. } => ImmKind::TypeData,
            Imm::TypeElem { .. } => ImmKind::TypeElem,
            Imm::TypePair { .. } => ImmKind::TypePair,
            Imm::Cast { .. } => ImmKind::Cast,
            Imm::Tag(_) => ImmKind::Tag,
            Imm::ExnField { .. } => ImmKind::ExnField,
            Imm::Hint(_) => ImmKind::Hint,
            Imm::JumpTable(_) => ImmKind::JumpTable,
            Imm::Trap(_) => ImmKind::Trap,
        }
    }

    /// The memory that is accessed; of `memory.copy` the destination.
    pub fn memory(self) -> Option<MemoryIndex> {
        match self {
            Imm::Mem { memory, .. }
            | Imm::MemLane { memory, .. }
            | Imm::Memory(memory)
            | Imm::MemoryInit { memory, .. }
            | Imm::MemoryPair { dst: memory, .. } => Some(memory),
            _ => None,
        }
    }

    /// The table that is accessed; of `table.copy` the destination.
    pub fn table(self) -> Option<TableIndex> {
        match self {
            Imm::Table(table)
            | Imm::TableInit { table, .. }
            | Imm::CallIndirect { table, .. }
            | Imm::TablePair { dst: table, .. } => Some(table),
            _ => None,
        }
    }

    /// The global that is accessed.
    pub fn global(self) -> Option<GlobalIndex> {
        match self {
            Imm::Global(global) => Some(global),
            _ => None,
        }
    }
}
