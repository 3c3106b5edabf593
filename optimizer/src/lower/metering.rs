//! Interrupt checks and fuel: a load or compare, and a branch that is not taken to cold code.
//!
//! The loads are not to be merged across checks, and are not: a check calls on its cold path, and
//! Cranelift takes whatever was in memory to be unknown where that path comes back. That call keeps
//! all registers, so that the hot path is free to use them.

use bimetal_abi::{Builtin, VmStoreContext};
use bimetal_codegen::{Arch, CompileError};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{BlockArg, InstBuilder, MemFlags, Opcode, Value, types};

use super::Lower;
use super::vm::{Pointer, Region};
use crate::graph::{self, Op};

impl Lower<'_> {
    /// Lowers `op` if it is one of these.
    pub(super) fn metering(
        &mut self,
        inst: graph::Inst,
        op: Op,
        args: &[graph::Value],
    ) -> Result<Option<()>, CompileError> {
        match op {
            Op::InterruptCheck => self.interrupt_check(),
            Op::FuelGet => {
                let fuel = self.load_fuel();
                self.set(self.graph.result(inst), fuel);
            }
            Op::FuelSet => {
                let value = self.get(args[0])?;
                let (flags, store) = self.fuel_place();
                let offset = VmStoreContext::FUEL as i32;
                self.store_op(Opcode::Store, flags, value, store, offset);
            }
            Op::FuelCheck => {
                let fuel = self.get(args[0])?;
                let fuel = self.fuel_check(fuel);
                self.set(self.graph.result(inst), fuel);
            }
            _ => return Ok(None),
        }
        Ok(Some(()))
    }

    fn interrupt_check(&mut self) {
        let store = self.vm_pointer(Pointer::Store);
        let flags = self.flags.mutable(self.cur.func, Region::Interrupt);
        let mut wanted = self.load(types::I64, flags, store, VmStoreContext::INTERRUPT);
        if self.isa.arch == Arch::X86_64 {
            // One instruction compares a register with memory, but zero is in no register: the
            // pointer is, which only a wish is above.
            let above = IntCC::UnsignedLessThan;
            wanted = self.cur.ins().icmp(above, store, wanted);
        }
        let (stop, go_on) = (self.new_block(), self.new_block());
        self.cur.ins().brif(wanted, stop, &[], go_on, &[]);
        self.on_cold_path(stop, |lower| {
            lower.call_rare_builtin(Builtin::interrupt, &[]);
            lower.cur.ins().jump(go_on, &[]);
        });
        self.enter(go_on);
    }

    /// The fuel after the check. The store has it already.
    fn fuel_check(&mut self, fuel: Value) -> Value {
        let (stop, go_on) = (self.new_block(), self.new_block());
        let after = self.cur.func.dfg.append_block_param(go_on, types::I64);
        let zero = self.iconst(types::I64, 0);
        let out = self
            .cur
            .ins()
            .icmp(IntCC::SignedGreaterThanOrEqual, fuel, zero);
        let same = [BlockArg::Value(fuel)];
        self.cur.ins().brif(out, stop, &[], go_on, &same);
        self.on_cold_path(stop, |lower| {
            lower.call_rare_builtin(Builtin::out_of_fuel, &[]);
            let more = [BlockArg::Value(lower.load_fuel())];
            lower.cur.ins().jump(go_on, &more);
        });
        self.enter(go_on);
        after
    }

    /// Makes code that is hardly ever executed, from `block` on.
    pub(super) fn on_cold_path<T>(
        &mut self,
        block: cranelift_codegen::ir::Block,
        make: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let cold = std::mem::replace(&mut self.cold, true);
        self.enter(block);
        let made = make(self);
        self.cold = cold;
        made
    }

    fn load_fuel(&mut self) -> Value {
        let (flags, store) = self.fuel_place();
        self.load(types::I64, flags, store, VmStoreContext::FUEL)
    }

    fn fuel_place(&mut self) -> (MemFlags, Value) {
        let store = self.vm_pointer(Pointer::Store);
        let flags = self.flags.mutable(self.cur.func, Region::Fuel);
        (flags, store)
    }
}
