//! Memories and data segments.

use bimetal_wasm::body::{MemArg, MemArgTarget, Operator};
use bimetal_wasm::{DataIndex, MemoryIndex};

use crate::graph::{Op, Type};

use super::{Builder, Imm, Result, bug};

impl Builder<'_> {
    /// Whether it was one of these.
    pub(super) fn memory_operator(&mut self, operator: &Operator<'_>) -> Result<bool> {
        macro_rules! accesses {
            (whole: $($op:ident)*; lane: $($lane_op:ident)*;) => {
                match operator {
                    $(Operator::$op { memarg } => self.access(Op::$op, memarg)?,)*
                    $(Operator::$lane_op { memarg, lane } => {
                        self.lane_access(Op::$lane_op, memarg, *lane)?;
                    })*
                    Operator::MemorySize { mem } => {
                        let memory = MemoryIndex::from_u32(*mem);
                        let ty = self.address_type(memory);
                        self.emit(Op::MemorySize, 0, Imm::Memory(memory), Some(ty))?;
                    }
                    Operator::MemoryGrow { mem } => {
                        let memory = MemoryIndex::from_u32(*mem);
                        let ty = self.address_type(memory);
                        self.emit(Op::MemoryGrow, 1, Imm::Memory(memory), Some(ty))?;
                    }
                    Operator::MemoryCopy { dst_mem, src_mem } => {
                        let imm = Imm::MemoryPair {
                            dst: MemoryIndex::from_u32(*dst_mem),
                            src: MemoryIndex::from_u32(*src_mem),
                        };
                        self.emit(Op::MemoryCopy, 3, imm, None)?;
                    }
                    Operator::MemoryFill { mem } => {
                        let memory = MemoryIndex::from_u32(*mem);
                        self.emit(Op::MemoryFill, 3, Imm::Memory(memory), None)?;
                    }
                    Operator::MemoryInit { data_index, mem } => {
                        let imm = Imm::MemoryInit {
                            memory: MemoryIndex::from_u32(*mem),
                            data: DataIndex::from_u32(*data_index),
                        };
                        self.emit(Op::MemoryInit, 3, imm, None)?;
                    }
                    Operator::DataDrop { data_index } => {
                        let data = DataIndex::from_u32(*data_index);
                        self.emit(Op::DataDrop, 0, Imm::Data(data), None)?;
                    }
                    _ => return Ok(false),
                }
            };
        }
        accesses! {
            whole:
                I32Load I64Load F32Load F64Load V128Load
                I32Load8S I32Load8U I32Load16S I32Load16U
                I64Load8S I64Load8U I64Load16S I64Load16U I64Load32S I64Load32U
                V128Load8x8S V128Load8x8U V128Load16x4S V128Load16x4U V128Load32x2S V128Load32x2U
                V128Load8Splat V128Load16Splat V128Load32Splat V128Load64Splat
                V128Load32Zero V128Load64Zero
                I32Store I64Store F32Store F64Store V128Store
                I32Store8 I32Store16 I64Store8 I64Store16 I64Store32;
            lane:
                V128Load8Lane V128Load16Lane V128Load32Lane V128Load64Lane
                V128Store8Lane V128Store16Lane V128Store32Lane V128Store64Lane;
        }
        Ok(true)
    }

    pub(super) fn access(&mut self, op: Op, memarg: &MemArg) -> Result<()> {
        let imm = Imm::Mem {
            memory: memory_of(memarg)?,
            offset: memarg.offset,
        };
        let info = op.info();
        let result = info.results.first().and_then(|slot| slot.fixed());
        self.emit(op, info.operands.len(), imm, result)
    }

    fn lane_access(&mut self, op: Op, memarg: &MemArg, lane: u8) -> Result<()> {
        let imm = Imm::MemLane {
            memory: memory_of(memarg)?,
            offset: memarg.offset,
            lane,
        };
        let info = op.info();
        let result = info.results.first().and_then(|slot| slot.fixed());
        self.emit(op, info.operands.len(), imm, result)
    }

    fn address_type(&self, memory: MemoryIndex) -> Type {
        if self.env.module.memories[memory].memory64 {
            Type::I64
        } else {
            Type::I32
        }
    }
}

fn memory_of(memarg: &MemArg) -> Result<MemoryIndex> {
    match memarg.target {
        MemArgTarget::Memory(index) => Ok(MemoryIndex::from_u32(index)),
        MemArgTarget::Array(_) => Err(bug("an access to an array")),
    }
}
