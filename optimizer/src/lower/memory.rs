//! Memories: addresses and their checks, loads, stores, and what the runtime does.
//!
//! An access is at `base + index + offset`. The wasm index has 32 or 64 bits and the sum must not
//! wrap: every check here is made in 64 bits where it provably cannot, or tests that it did.
//! A memory with its whole index space reserved needs no check ([`MemoryPlan::elides_check`]);
//! the offset then goes into the addressing mode. Else the check comes first and, under the
//! Spectre mitigation, an address out of bounds becomes null, which faults.
//!
//! [`MemoryPlan::elides_check`]: bimetal_abi::MemoryPlan::elides_check

use bimetal_abi::{Builtin, MemoryStyle, VmMemory};
use bimetal_codegen::CompileError;
use bimetal_wasm::MemoryIndex;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlags, Opcode, TrapCode, Type, Value, types};

use super::Lower;
use super::vm::Region;
use crate::graph::{self, Imm, Op};
use crate::signature::POINTER;

const OUT_OF_BOUNDS: TrapCode = TrapCode::HEAP_OUT_OF_BOUNDS;

/// How a loaded value becomes the result.
#[derive(Clone, Copy)]
enum Load {
    /// By one load instruction of this result type.
    Plain(Opcode, Type),
    /// A scalar in every lane of the type.
    Splat(Type),
    /// A scalar in lane 0, zeros elsewhere.
    Zero(Type),
}

/// The loads, with the bytes that they access.
fn load_of(op: Op) -> Option<(Load, u8)> {
    use Load::{Plain, Splat, Zero};
    use Opcode as O;
    use types::*;
    Some(match op {
        Op::I32Load => (Plain(O::Load, I32), 4),
        Op::I32Load8S => (Plain(O::Sload8, I32), 1),
        Op::I32Load8U => (Plain(O::Uload8, I32), 1),
        Op::I32Load16S => (Plain(O::Sload16, I32), 2),
        Op::I32Load16U => (Plain(O::Uload16, I32), 2),
        Op::I64Load => (Plain(O::Load, I64), 8),
        Op::I64Load8S => (Plain(O::Sload8, I64), 1),
        Op::I64Load8U => (Plain(O::Uload8, I64), 1),
        Op::I64Load16S => (Plain(O::Sload16, I64), 2),
        Op::I64Load16U => (Plain(O::Uload16, I64), 2),
        // These are polymorphic in the type of the address only.
        Op::I64Load32S => (Plain(O::Sload32, POINTER), 4),
        Op::I64Load32U => (Plain(O::Uload32, POINTER), 4),
        Op::F32Load => (Plain(O::Load, F32), 4),
        Op::F64Load => (Plain(O::Load, F64), 8),
        Op::V128Load => (Plain(O::Load, I8X16), 16),
        Op::V128Load8x8S => (Plain(O::Sload8x8, POINTER), 8),
        Op::V128Load8x8U => (Plain(O::Uload8x8, POINTER), 8),
        Op::V128Load16x4S => (Plain(O::Sload16x4, POINTER), 8),
        Op::V128Load16x4U => (Plain(O::Uload16x4, POINTER), 8),
        Op::V128Load32x2S => (Plain(O::Sload32x2, POINTER), 8),
        Op::V128Load32x2U => (Plain(O::Uload32x2, POINTER), 8),
        Op::V128Load8Splat => (Splat(I8X16), 1),
        Op::V128Load16Splat => (Splat(I16X8), 2),
        Op::V128Load32Splat => (Splat(I32X4), 4),
        Op::V128Load64Splat => (Splat(I64X2), 8),
        Op::V128Load32Zero => (Zero(I32X4), 4),
        Op::V128Load64Zero => (Zero(I64X2), 8),
        _ => return None,
    })
}

/// The stores, with the bytes that they access.
fn store_of(op: Op) -> Option<(Opcode, u8)> {
    Some(match op {
        Op::I32Store | Op::F32Store => (Opcode::Store, 4),
        Op::I64Store | Op::F64Store => (Opcode::Store, 8),
        Op::V128Store => (Opcode::Store, 16),
        Op::I32Store8 | Op::I64Store8 => (Opcode::Istore8, 1),
        Op::I32Store16 | Op::I64Store16 => (Opcode::Istore16, 2),
        Op::I64Store32 => (Opcode::Istore32, 4),
        _ => return None,
    })
}

/// The vector type whose lane an instruction loads or stores, and which of the two it does.
fn lane_access_of(op: Op) -> Option<(Type, bool)> {
    Some(match op {
        Op::V128Load8Lane => (types::I8X16, true),
        Op::V128Load16Lane => (types::I16X8, true),
        Op::V128Load32Lane => (types::I32X4, true),
        Op::V128Load64Lane => (types::I64X2, true),
        Op::V128Store8Lane => (types::I8X16, false),
        Op::V128Store16Lane => (types::I16X8, false),
        Op::V128Store32Lane => (types::I32X4, false),
        Op::V128Store64Lane => (types::I64X2, false),
        _ => return None,
    })
}

/// A checked place in a memory.
pub(super) struct Place {
    pub(super) base: Value,
    pub(super) offset: i32,
    pub(super) flags: MemFlags,
}

impl Lower<'_> {
    /// Lowers `op` if it is about memories.
    pub(super) fn memory(
        &mut self,
        inst: graph::Inst,
        op: Op,
        imm: Imm,
        args: &[graph::Value],
    ) -> Result<Option<()>, CompileError> {
        if self.atomic(inst, op, imm, args)?.is_some() {
            return Ok(Some(()));
        }
        match imm {
            Imm::Mem { memory, offset } => self.access(inst, op, memory, offset, args).map(Some),
            Imm::MemLane {
                memory,
                offset,
                lane,
            } => self
                .lane_access(inst, op, memory, offset, lane, args)
                .map(Some),
            Imm::Memory(_) | Imm::MemoryPair { .. } | Imm::MemoryInit { .. } | Imm::Data(_) => {
                self.whole_memory(inst, op, imm, args).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn access(
        &mut self,
        inst: graph::Inst,
        op: Op,
        memory: MemoryIndex,
        offset: u64,
        args: &[graph::Value],
    ) -> Result<(), CompileError> {
        if let Some((load, size)) = load_of(op) {
            let place = self.place(memory, args[0], offset, size)?;
            let value = match load {
                Load::Plain(opcode, ty) => {
                    self.load_op(opcode, ty, place.flags, place.base, place.offset)
                }
                Load::Splat(ty) => {
                    let scalar = self.load_scalar(&place, ty.lane_type());
                    self.cur.ins().splat(ty, scalar)
                }
                Load::Zero(ty) => {
                    let scalar = self.load_scalar(&place, ty.lane_type());
                    self.cur.ins().scalar_to_vector(ty, scalar)
                }
            };
            self.set(self.graph.result(inst), value);
            return Ok(());
        }
        let Some((opcode, size)) = store_of(op) else {
            return Err(CompileError::Unsupported(format!("instruction {op}")));
        };
        let place = self.place(memory, args[0], offset, size)?;
        // A vector is stored with the lanes it has.
        let value = self.raw(args[1])?;
        let value = if self.cur.func.dfg.value_type(value).is_vector() {
            value
        } else {
            self.get(args[1])?
        };
        self.store_op(opcode, place.flags, value, place.base, place.offset);
        Ok(())
    }

    fn load_scalar(&mut self, place: &Place, ty: Type) -> Value {
        self.load_op(Opcode::Load, ty, place.flags, place.base, place.offset)
    }

    fn lane_access(
        &mut self,
        inst: graph::Inst,
        op: Op,
        memory: MemoryIndex,
        offset: u64,
        lane: u8,
        args: &[graph::Value],
    ) -> Result<(), CompileError> {
        let Some((ty, is_load)) = lane_access_of(op) else {
            return Err(CompileError::Unsupported(format!("instruction {op}")));
        };
        let place = self.place(memory, args[0], offset, ty.lane_type().bytes() as u8)?;
        let vector = self.lanes(args[1], ty)?;
        if is_load {
            let scalar = self.load_scalar(&place, ty.lane_type());
            let value = self.cur.ins().insertlane(vector, scalar, lane);
            self.set(self.graph.result(inst), value);
        } else {
            let scalar = self.cur.ins().extractlane(vector, lane);
            self.store_op(Opcode::Store, place.flags, scalar, place.base, place.offset);
        }
        Ok(())
    }

    /// The place of an access of `size` bytes, after whatever check it needs.
    pub(super) fn place(
        &mut self,
        memory: MemoryIndex,
        index: graph::Value,
        offset: u64,
        size: u8,
    ) -> Result<Place, CompileError> {
        let plan = self.env.memories[memory];
        let region = self.memory_region(memory);
        let flags = self.flags.memory(self.cur.func, memory, region);
        let constant = self.constant(index);
        let index = self.index(memory, index)?;
        let end = offset.saturating_add(u64::from(size));

        let in_bounds = constant
            .and_then(|index| index.checked_add(end))
            .is_some_and(|end| end <= plan.ty.minimum_byte_size());
        if in_bounds || (!plan.ty.memory64 && plan.elides_check(offset, size)) {
            let base = self.memory_base(memory);
            let base = self.cur.ins().iadd(base, index);
            return Ok(match i32::try_from(offset) {
                Ok(offset) => Place {
                    base,
                    offset,
                    flags,
                },
                Err(_) => Place {
                    base: self.add(base, offset),
                    offset: 0,
                    flags,
                },
            });
        }

        let out_of_bounds = self.out_of_bounds(memory, index, end);
        if !self.spectre {
            self.trap_if(out_of_bounds, OUT_OF_BOUNDS);
        }
        let base = self.memory_base(memory);
        let base = self.cur.ins().iadd(base, index);
        // The offset is added before an address is replaced by null: a speculated access must not
        // reach any further than the first page.
        let mut base = self.add(base, offset);
        if self.spectre {
            let null = self.iconst(POINTER, 0);
            base = self
                .cur
                .ins()
                .select_spectre_guard(out_of_bounds, null, base);
        }
        Ok(Place {
            base,
            offset: 0,
            flags,
        })
    }

    /// Whether `index + end` is greater than the memory's length, as an `i8`. An access that is
    /// in bounds by this and yet is not faults on guard pages.
    fn out_of_bounds(&mut self, memory: MemoryIndex, index: Value, end: u64) -> Value {
        let plan = self.env.memories[memory];
        let minimum = plan.ty.minimum_byte_size();
        if end > plan.ty.maximum_byte_size() {
            return self.iconst(types::I8, 1);
        }
        let length = if plan.ty.max == Some(plan.ty.min) {
            self.iconst(POINTER, minimum)
        } else {
            self.memory_length(memory)
        };
        if self.signals && end <= plan.guard {
            // One comparison for all accesses at this index, whatever their offsets. What is
            // behind the length is a reservation or the guard.
            return self
                .cur
                .ins()
                .icmp(IntCC::UnsignedGreaterThan, index, length);
        }
        if end <= minimum {
            let end = self.iconst(POINTER, end);
            let last = self.cur.ins().isub(length, end);
            return self.cur.ins().icmp(IntCC::UnsignedGreaterThan, index, last);
        }
        let last = self.add(index, end);
        let beyond = self
            .cur
            .ins()
            .icmp(IntCC::UnsignedGreaterThan, last, length);
        if !plan.ty.memory64 && end <= u64::from(u32::MAX) + 16 {
            // Two 32-bit numbers and a size cannot wrap in 64 bits.
            return beyond;
        }
        let wrapped = self.cur.ins().icmp(IntCC::UnsignedLessThan, last, index);
        self.cur.ins().bor(beyond, wrapped)
    }

    pub(super) fn add(&mut self, value: Value, constant: u64) -> Value {
        if constant == 0 {
            return value;
        }
        let constant = self.iconst(POINTER, constant);
        self.cur.ins().iadd(value, constant)
    }

    /// A memory's first byte.
    fn memory_base(&mut self, memory: MemoryIndex) -> Value {
        match self.env.memories[memory].style {
            MemoryStyle::Reserved { .. } => self.fixed_memory_base(memory),
            MemoryStyle::Dynamic => {
                let (base, offset) = self.memory_definition(memory);
                let flags = self.flags.mutable(self.cur.func, Region::Memories);
                self.load(POINTER, flags, base, offset + VmMemory::BASE)
            }
        }
    }

    /// An index as 64 bits.
    pub(super) fn index(
        &mut self,
        memory: MemoryIndex,
        value: graph::Value,
    ) -> Result<Value, CompileError> {
        let value = self.get(value)?;
        Ok(if self.env.memories[memory].ty.memory64 {
            value
        } else {
            self.cur.ins().uextend(types::I64, value)
        })
    }

    fn whole_memory(
        &mut self,
        inst: graph::Inst,
        op: Op,
        imm: Imm,
        args: &[graph::Value],
    ) -> Result<(), CompileError> {
        match (op, imm) {
            (Op::MemorySize, Imm::Memory(memory)) => {
                let ty = self.env.memories[memory].ty;
                let length = match ty.shared {
                    true => self.shared_length(memory),
                    false => self.memory_length(memory),
                };
                let shift = self.iconst(POINTER, u64::from(ty.page_size_log2));
                let pages = self.cur.ins().ushr(length, shift);
                let pages = self.narrow(memory, pages);
                self.set(self.graph.result(inst), pages);
            }
            (Op::MemoryGrow, Imm::Memory(memory)) => {
                let number = self.number(memory.as_u32());
                let delta = self.index(memory, args[0])?;
                if let Some(pages) = self.call_builtin(Builtin::memory_grow, &[number, delta]) {
                    let pages = self.narrow(memory, pages);
                    self.set(self.graph.result(inst), pages);
                }
            }
            (Op::MemoryCopy, Imm::MemoryPair { dst, src }) => {
                let to = self.number(dst.as_u32());
                let from = self.number(src.as_u32());
                let at = self.index(dst, args[0])?;
                let source = self.index(src, args[1])?;
                let length = self.wide(args[2])?;
                self.call_builtin(Builtin::memory_copy, &[to, from, at, source, length]);
            }
            (Op::MemoryFill, Imm::Memory(memory)) => {
                let number = self.number(memory.as_u32());
                let at = self.index(memory, args[0])?;
                let byte = self.get(args[1])?;
                let length = self.index(memory, args[2])?;
                self.call_builtin(Builtin::memory_fill, &[number, at, byte, length]);
            }
            (Op::MemoryInit, Imm::MemoryInit { memory, data }) => {
                let number = self.number(memory.as_u32());
                let segment = self.number(data.as_u32());
                let at = self.index(memory, args[0])?;
                let source = self.get(args[1])?;
                let length = self.get(args[2])?;
                self.call_builtin(Builtin::memory_init, &[number, segment, at, source, length]);
            }
            (Op::DataDrop, Imm::Data(data)) => {
                let segment = self.number(data.as_u32());
                self.call_builtin(Builtin::data_drop, &[segment]);
            }
            _ => return Err(CompileError::Unsupported(format!("instruction {op}"))),
        }
        Ok(())
    }

    /// An index or length of 32 or 64 bits as 64 bits.
    pub(super) fn wide(&mut self, value: graph::Value) -> Result<Value, CompileError> {
        let value = self.get(value)?;
        Ok(if self.cur.func.dfg.value_type(value) == types::I32 {
            self.cur.ins().uextend(types::I64, value)
        } else {
            value
        })
    }

    /// The length of a memory that other threads grow. A bounds check may look at an older one, as
    /// long as no atomic access is between; who asks may be waiting for it to change.
    fn shared_length(&mut self, memory: MemoryIndex) -> Value {
        let (base, offset) = self.memory_definition(memory);
        let address = self.add(base, u64::from(offset + VmMemory::LENGTH));
        let flags = self.flags.mutable(self.cur.func, Region::Memories);
        let ins = self.cur.ins();
        let (load, dfg) = ins.LoadNoOffset(Opcode::AtomicLoad, POINTER, flags, address);
        dfg.first_result(load)
    }

    /// An `i32` argument of a builtin.
    pub(super) fn number(&mut self, value: u32) -> Value {
        self.iconst(types::I32, u64::from(value))
    }

    /// 64 bits as the memory's index type.
    fn narrow(&mut self, memory: MemoryIndex, value: Value) -> Value {
        if self.env.memories[memory].ty.memory64 {
            value
        } else {
            self.cur.ins().ireduce(types::I32, value)
        }
    }
}
