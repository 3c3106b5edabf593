//! The store's claims on a program: interrupts, and fuel for what it executes.
//!
//! Both are checked at the start of a function and at the headers of loops, so that nothing runs
//! for ever without a check. They are explicit instructions, made here and nowhere else: what is
//! charged depends on the module alone, not on passes, the tier or the way functions are compiled.
//! Only the interrupt's check at the start of a function is none where the stack check can stand for
//! it: see `VmStoreContext::stack_limit`.
//!
//! Fuel counts up from minus what was given; a check finds that it has run out when it is not
//! negative. While a function runs it is one more local ([`Var`]), loaded at the start and after
//! calls, stored before whatever lets somebody else look: calls, returns, `unreachable`, checks. What
//! is executed in a row is added up here and charged by one addition before control can leave it,
//! or before a call. What does as much as an operand says (`memory.fill`) is charged and checked
//! before it is done. So a fault of the machine (a load that is out of bounds, a division by zero)
//! leaves the fuel as it was at the last of these points; it is the same each time.

use bimetal_wasm::VariableOperatorCost;
use bimetal_wasm::body::Operator;

use crate::graph::{Imm, Inst, Op, Type};

use super::{Builder, Result, Var};

/// The fuel of the function that is being built.
#[derive(Clone, Copy)]
pub(super) struct Fuel {
    var: Var,
    /// To be charged.
    pending: i64,
    /// Whether the store holds what `var` is, but for what is pending.
    stored: bool,
}

/// The defaults of [`bimetal_wasm::OperatorCost`], without looking them up.
fn cost(operator: &Operator<'_>) -> i64 {
    match operator {
        Operator::Nop | Operator::Drop => 0,
        Operator::Block { .. } | Operator::Loop { .. } | Operator::Else | Operator::End => 0,
        Operator::TryTable { .. } | Operator::Try { .. } | Operator::Delegate { .. } => 0,
        Operator::Catch { .. } | Operator::CatchAll => 0,
        Operator::Unreachable | Operator::Return => 0,
        _ => 1,
    }
}

const DEFAULT_VARIABLE: VariableOperatorCost = VariableOperatorCost::new();

/// So that 2^32 units do not exceed the counter.
const MAX_PER_UNIT: u32 = 1 << 30;

/// More units than this, of 64-bit memories and tables, are charged as this many.
const MAX_UNITS: i64 = 1 << 32;

/// An empty function costs something too.
const ENTRY_COST: i64 = 1;

impl Builder<'_> {
    /// Begins a function: the checks at its start. The interrupt's is returned, if it is not the
    /// stack's as well.
    pub(super) fn enter_function(&mut self) -> Option<Inst> {
        if self.env.tunables.fuel {
            let var = self.ssa.declare(1, Type::I64);
            self.fuel = Some(Fuel {
                var,
                pending: ENTRY_COST,
                stored: true,
            });
        }
        let by_stack_check = self.env.tunables.signals_based_traps;
        let check = (!by_stack_check).then(|| self.check_interrupt()).flatten();
        self.load_fuel();
        self.check_fuel();
        check
    }

    /// The checks at the header of a loop.
    pub(super) fn enter_loop(&mut self) {
        if !self.env.tunables.interrupts {
            self.store_fuel();
            self.check_fuel();
            return;
        }
        // Whom the check calls may look at the fuel and change it.
        self.store_fuel();
        self.check_interrupt();
        self.load_fuel();
        self.check_fuel();
    }

    fn check_interrupt(&mut self) -> Option<Inst> {
        if !self.env.tunables.interrupts {
            return None;
        }
        let site = self.site();
        let op = Op::InterruptCheck;
        Some(
            self.graph
                .push_inst(self.block, op, &[], Imm::None, Some(site), &[]),
        )
    }

    fn check_fuel(&mut self) {
        let Some(fuel) = self.fuel else { return };
        let value = self.ssa.get(self.graph, fuel.var);
        let site = self.site();
        let (op, ty) = (Op::FuelCheck, [Type::I64]);
        let inst = self
            .graph
            .push_inst(self.block, op, &[value], Imm::None, Some(site), &ty);
        self.ssa.set(fuel.var, self.graph.result(inst));
    }

    /// Counts an instruction.
    #[inline]
    pub(super) fn charge(&mut self, operator: &Operator<'_>) {
        if let Some(fuel) = &mut self.fuel {
            fuel.pending += match &self.env.tunables.operator_cost {
                None => cost(operator),
                Some(table) => i64::from(table.cost(operator)),
            };
        }
    }

    /// Charges an instruction that does as much as its uppermost operand says, before it does
    /// anything. Each has a check: two in a row could exceed the counter otherwise.
    pub(super) fn charge_variable(&mut self, operator: &Operator<'_>) -> Result<()> {
        let Some(Fuel { var, .. }) = self.fuel else {
            return Ok(());
        };
        let per_unit = match &self.env.tunables.operator_cost {
            None => DEFAULT_VARIABLE.per_unit(operator),
            Some(table) => table.variable.per_unit(operator),
        };
        if per_unit == 0 {
            return Ok(());
        }
        let units = self.peek()?;
        let wide = self.graph.ty(units) == Type::I64;
        self.charge_pending();
        let per_unit = i64::from(per_unit.min(MAX_PER_UNIT));
        self.constant(Op::I64Const, Imm::I64(per_unit), Type::I64);
        let per_unit = self.pop()?;
        let before = self.ssa.get(self.graph, var);
        self.constant(Op::I64Const, Imm::I64(MAX_UNITS), Type::I64);
        let most = self.pop()?;
        let mut compute = |op, ty, args: &[_]| {
            let inst = self
                .graph
                .push_inst(self.block, op, args, Imm::None, None, &[ty]);
            self.graph.result(inst)
        };
        let units = match wide {
            true => {
                let few = compute(Op::I64LtU, Type::I32, &[units, most]);
                compute(Op::Select, Type::I64, &[units, most, few])
            }
            false => compute(Op::I64ExtendI32U, Type::I64, &[units]),
        };
        let amount = compute(Op::I64Mul, Type::I64, &[units, per_unit]);
        let after = compute(Op::I64Add, Type::I64, &[before, amount]);
        self.ssa.set(var, after);
        if let Some(fuel) = &mut self.fuel {
            fuel.stored = false;
        }
        self.store_fuel();
        self.check_fuel();
        Ok(())
    }

    /// A new block begins: nothing is pending, and what the store holds is not known.
    pub(super) fn forget_fuel(&mut self) {
        if let Some(fuel) = &mut self.fuel {
            debug_assert_eq!(fuel.pending, 0, "fuel was not charged");
            fuel.stored = false;
        }
    }

    /// Charges what is pending, before control can go elsewhere.
    pub(super) fn charge_pending(&mut self) {
        let Some(fuel) = &mut self.fuel else { return };
        if fuel.pending == 0 {
            return;
        }
        let amount = Imm::I64(std::mem::take(&mut fuel.pending));
        fuel.stored = false;
        let var = fuel.var;
        let ty = [Type::I64];
        let amount = self
            .graph
            .push_inst(self.block, Op::I64Const, &[], amount, None, &ty);
        let args = [self.ssa.get(self.graph, var), self.graph.result(amount)];
        let sum = self
            .graph
            .push_inst(self.block, Op::I64Add, &args, Imm::None, None, &ty);
        self.ssa.set(var, self.graph.result(sum));
    }

    /// Charges what is pending and lets others see it.
    pub(super) fn store_fuel(&mut self) {
        self.charge_pending();
        let Some(fuel) = &mut self.fuel else { return };
        if std::mem::replace(&mut fuel.stored, true) {
            return;
        }
        let value = self.ssa.get(self.graph, fuel.var);
        self.graph
            .push_inst(self.block, Op::FuelSet, &[value], Imm::None, None, &[]);
    }

    /// Takes what others left.
    pub(super) fn load_fuel(&mut self) {
        let Some(fuel) = &mut self.fuel else { return };
        fuel.stored = true;
        let var = fuel.var;
        let ty = [Type::I64];
        let inst = self
            .graph
            .push_inst(self.block, Op::FuelGet, &[], Imm::None, None, &ty);
        self.ssa.set(var, self.graph.result(inst));
    }
}
