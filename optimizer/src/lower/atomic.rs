//! Atomic instructions: the access in its memory's order, the checks before it.
//!
//! An access that is not aligned traps, whatever the processor could do: that is checked first, by
//! itself. The place is then that of any other access, and where no bounds check was made the fault
//! is the instruction's own. Cranelift's atomic instructions are sequentially consistent, as wasm's
//! are, and nothing moves over them. Waiting and notifying are the runtime's work.

use bimetal_abi::{Builtin, TrapCode};
use bimetal_codegen::CompileError;
use bimetal_wasm::MemoryIndex;
use cranelift_codegen::ir::{AtomicRmwOp, InstBuilder, Opcode, Type, Value, types};

use super::Lower;
use crate::graph::{self, Imm, Op};
use crate::signature::POINTER;
use crate::traps;

/// The type that is loaded.
fn load_of(op: Op) -> Option<Type> {
    use types::{I8, I16, I32, I64};
    Some(match op {
        Op::I32AtomicLoad | Op::I64AtomicLoad32U => I32,
        Op::I32AtomicLoad8U | Op::I64AtomicLoad8U => I8,
        Op::I32AtomicLoad16U | Op::I64AtomicLoad16U => I16,
        Op::I64AtomicLoad => I64,
        _ => return None,
    })
}

/// The type that is stored.
fn store_of(op: Op) -> Option<Type> {
    use types::{I8, I16, I32, I64};
    Some(match op {
        Op::I32AtomicStore | Op::I64AtomicStore32 => I32,
        Op::I32AtomicStore8 | Op::I64AtomicStore8 => I8,
        Op::I32AtomicStore16 | Op::I64AtomicStore16 => I16,
        Op::I64AtomicStore => I64,
        _ => return None,
    })
}

/// What is done to what is there, and its type.
fn rmw_of(op: Op) -> Option<(AtomicRmwOp, Type)> {
    use AtomicRmwOp as A;
    use types::{I8, I16, I32, I64};
    Some(match op {
        Op::I32AtomicRmwAdd | Op::I64AtomicRmw32AddU => (A::Add, I32),
        Op::I32AtomicRmw8AddU | Op::I64AtomicRmw8AddU => (A::Add, I8),
        Op::I32AtomicRmw16AddU | Op::I64AtomicRmw16AddU => (A::Add, I16),
        Op::I64AtomicRmwAdd => (A::Add, I64),
        Op::I32AtomicRmwSub | Op::I64AtomicRmw32SubU => (A::Sub, I32),
        Op::I32AtomicRmw8SubU | Op::I64AtomicRmw8SubU => (A::Sub, I8),
        Op::I32AtomicRmw16SubU | Op::I64AtomicRmw16SubU => (A::Sub, I16),
        Op::I64AtomicRmwSub => (A::Sub, I64),
        Op::I32AtomicRmwAnd | Op::I64AtomicRmw32AndU => (A::And, I32),
        Op::I32AtomicRmw8AndU | Op::I64AtomicRmw8AndU => (A::And, I8),
        Op::I32AtomicRmw16AndU | Op::I64AtomicRmw16AndU => (A::And, I16),
        Op::I64AtomicRmwAnd => (A::And, I64),
        Op::I32AtomicRmwOr | Op::I64AtomicRmw32OrU => (A::Or, I32),
        Op::I32AtomicRmw8OrU | Op::I64AtomicRmw8OrU => (A::Or, I8),
        Op::I32AtomicRmw16OrU | Op::I64AtomicRmw16OrU => (A::Or, I16),
        Op::I64AtomicRmwOr => (A::Or, I64),
        Op::I32AtomicRmwXor | Op::I64AtomicRmw32XorU => (A::Xor, I32),
        Op::I32AtomicRmw8XorU | Op::I64AtomicRmw8XorU => (A::Xor, I8),
        Op::I32AtomicRmw16XorU | Op::I64AtomicRmw16XorU => (A::Xor, I16),
        Op::I64AtomicRmwXor => (A::Xor, I64),
        Op::I32AtomicRmwXchg | Op::I64AtomicRmw32XchgU => (A::Xchg, I32),
        Op::I32AtomicRmw8XchgU | Op::I64AtomicRmw8XchgU => (A::Xchg, I8),
        Op::I32AtomicRmw16XchgU | Op::I64AtomicRmw16XchgU => (A::Xchg, I16),
        Op::I64AtomicRmwXchg => (A::Xchg, I64),
        _ => return None,
    })
}

/// The type that is compared and exchanged.
fn cmpxchg_of(op: Op) -> Option<Type> {
    use types::{I8, I16, I32, I64};
    Some(match op {
        Op::I32AtomicRmwCmpxchg | Op::I64AtomicRmw32CmpxchgU => I32,
        Op::I32AtomicRmw8CmpxchgU | Op::I64AtomicRmw8CmpxchgU => I8,
        Op::I32AtomicRmw16CmpxchgU | Op::I64AtomicRmw16CmpxchgU => I16,
        Op::I64AtomicRmwCmpxchg => I64,
        _ => return None,
    })
}

impl Lower<'_> {
    /// Lowers `op` if it is atomic.
    pub(super) fn atomic(
        &mut self,
        inst: graph::Inst,
        op: Op,
        imm: Imm,
        args: &[graph::Value],
    ) -> Result<Option<()>, CompileError> {
        if op == Op::AtomicFence {
            self.cur.ins().fence();
            return Ok(Some(()));
        }
        let Imm::Mem { memory, offset } = imm else {
            return Ok(None);
        };
        let builtin = match op {
            Op::MemoryAtomicNotify => Builtin::memory_atomic_notify,
            Op::MemoryAtomicWait32 => Builtin::memory_atomic_wait32,
            Op::MemoryAtomicWait64 => Builtin::memory_atomic_wait64,
            _ => return self.atomic_access(inst, op, memory, offset, args),
        };
        let mut values = vec![self.number(memory.as_u32())];
        values.push(self.index(memory, args[0])?);
        values.push(self.iconst(types::I64, offset));
        for &arg in &args[1..] {
            values.push(self.get(arg)?);
        }
        if let Some(result) = self.call_builtin(builtin, &values) {
            let result = self.cur.ins().ireduce(types::I32, result);
            self.set(self.graph.result(inst), result);
        }
        Ok(Some(()))
    }

    fn atomic_access(
        &mut self,
        inst: graph::Inst,
        op: Op,
        memory: MemoryIndex,
        offset: u64,
        args: &[graph::Value],
    ) -> Result<Option<()>, CompileError> {
        let result = self.graph.results(inst).next();
        let wide = match result.map(|value| self.graph.ty(value)) {
            Some(graph::Type::I64) => types::I64,
            _ => types::I32,
        };
        let old = if let Some(ty) = load_of(op) {
            let (flags, address) = self.atomic_place(memory, args[0], offset, ty)?;
            let (load, dfg) = (self.cur.ins()).LoadNoOffset(Opcode::AtomicLoad, ty, flags, address);
            dfg.first_result(load)
        } else if let Some(ty) = store_of(op) {
            let value = self.narrowed(args[1], ty)?;
            let (flags, address) = self.atomic_place(memory, args[0], offset, ty)?;
            (self.cur.ins()).StoreNoOffset(Opcode::AtomicStore, ty, flags, value, address);
            return Ok(Some(()));
        } else if let Some((what, ty)) = rmw_of(op) {
            let value = self.narrowed(args[1], ty)?;
            let (flags, address) = self.atomic_place(memory, args[0], offset, ty)?;
            let ins = self.cur.ins();
            let (rmw, dfg) = ins.AtomicRmw(Opcode::AtomicRmw, ty, flags, what, address, value);
            dfg.first_result(rmw)
        } else if let Some(ty) = cmpxchg_of(op) {
            let expected = self.narrowed(args[1], ty)?;
            let value = self.narrowed(args[2], ty)?;
            let (flags, address) = self.atomic_place(memory, args[0], offset, ty)?;
            let ins = self.cur.ins();
            let (cas, dfg) = ins.AtomicCas(Opcode::AtomicCas, ty, flags, address, expected, value);
            dfg.first_result(cas)
        } else {
            return Ok(None);
        };
        if let Some(result) = result {
            let old = match self.cur.func.dfg.value_type(old) == wide {
                true => old,
                false => self.cur.ins().uextend(wide, old),
            };
            self.set(result, old);
        }
        Ok(Some(()))
    }

    /// The low bits of a value.
    fn narrowed(&mut self, value: graph::Value, ty: Type) -> Result<Value, CompileError> {
        let value = self.get(value)?;
        Ok(match self.cur.func.dfg.value_type(value) == ty {
            true => value,
            false => self.cur.ins().ireduce(ty, value),
        })
    }

    /// The address of an access of this type, after the checks.
    fn atomic_place(
        &mut self,
        memory: MemoryIndex,
        index: graph::Value,
        offset: u64,
        ty: Type,
    ) -> Result<(cranelift_codegen::ir::MemFlags, Value), CompileError> {
        let mask = u64::from(ty.bytes()) - 1;
        let known = self
            .constant(index)
            .map(|index| index.wrapping_add(offset) & mask);
        if mask != 0 && known != Some(0) {
            let address = self.index(memory, index)?;
            let address = self.add(address, offset & mask);
            let mask = self.iconst(POINTER, mask);
            let misaligned = self.cur.ins().band(address, mask);
            self.trap_if(misaligned, traps::to_clif(TrapCode::HeapMisaligned));
        }
        let place = self.place(memory, index, offset, ty.bytes() as u8)?;
        let address = self.add(place.base, place.offset as u64);
        Ok((place.flags, address))
    }
}
