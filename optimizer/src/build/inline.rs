//! Inlining of functions that are hardly more than the call of them.
//!
//! Accessors, and whatever a compiler that was told not to optimise left as a function: no calls, no
//! loops, a few instructions that do something. Their bodies are built where the calls stand, from
//! their own bytes, each with a node of its own, so that sites and backtraces name them.
//!
//! What such a function does is all there is to see of it: it has no loop to interrupt, reaches no
//! deeper into the stack and calls nobody. Only with fuel is entering it to be charged and checked; then
//! nothing is inlined. What middleware makes of its body is built in its place, whatever that is, but
//! nothing is inlined into it.
//!
//! **Invariant**: a function's code depends on its own body, the bodies of [`Graph::inline_nodes`], and
//! what is the same for the whole module.

use bimetal_codegen::InlineNode;
use bimetal_wasm::body::{self, Operator};
use bimetal_wasm::{DefinedFuncIndex, FuncIndex, ValType};

use super::{BodyEnv, Builder, Exit, Result, numeric};
use crate::graph::Slot;

/// Bytes of a body that is looked at.
const MAX_BODY: usize = 160;

/// Instructions that do something. Compilers that do not optimise make an accessor of six to fifteen.
const MAX_COST: u32 = 20;

/// Locals besides parameters: each is set to zero at each call.
const MAX_LOCALS: u32 = 24;

/// Bytes of bodies that are inlined into one function, beyond the size of its own.
const MAX_GROWTH: usize = 4 << 10;

impl Builder<'_> {
    /// Builds the body of a function in the place of a call of it, if that is worth it. Its arguments
    /// are on the operand stack.
    pub(super) fn inline(&mut self, func: FuncIndex) -> Result<bool> {
        let module = &*self.env.module;
        let Some(defined) = module.defined_func(func) else {
            return Ok(false);
        };
        let size = module.bodies[defined].range.len();
        if self.inlining.is_none()
            || self.env.tunables.fuel
            || self.body.exit != Exit::Return
            || size > MAX_BODY.min(self.growth)
            || !self.is_small(defined)
            || !self.inlining.as_mut().is_some_and(|fuel| fuel.consume())
        {
            return Ok(false);
        }
        self.growth -= size;
        let start = self.top(module.func_type(func).params().len())?;
        let params = self.stack.split_off(start);
        let offset = self.offset;
        self.graph.inline_nodes.push(InlineNode {
            parent: self.body.node,
            call_offset: offset,
            func,
        });
        self.body(&BodyEnv {
            func: defined,
            node: self.graph.inline_nodes.len() as u32,
            params: &params,
            exit: Exit::Continue,
        })?;
        self.offset = offset;
        Ok(true)
    }

    /// How much may be inlined into a body of so many bytes.
    pub(super) fn growth(size: usize) -> usize {
        size.saturating_add(MAX_GROWTH)
    }

    /// Whether a function is small, and does nothing but compute, load and store.
    fn is_small(&self, func: DefinedFuncIndex) -> bool {
        let module = &*self.env.module;
        let ty = module.func_type(module.func_index(func));
        let mut types = ty.params().iter().chain(ty.results());
        types.all(is_number) && self.cost(func).is_some_and(|cost| cost <= MAX_COST)
    }

    /// How many instructions of a function do something; `None` if one of them, or a local, is not of
    /// those that small functions have.
    fn cost(&self, func: DefinedFuncIndex) -> Option<u32> {
        let body = self.env.module.body_reader(func);
        let mut locals = 0u32;
        for run in body.get_locals_reader().ok()? {
            let (count, ty) = run.ok()?;
            locals = locals.checked_add(count)?;
            body::val_type(ty).filter(is_number)?;
        }
        if locals > MAX_LOCALS {
            return None;
        }
        let mut operators = body.get_operators_reader().ok()?;
        let mut cost = 0;
        while !operators.eof() && cost <= MAX_COST {
            cost += cost_of(&operators.read().ok()?)?;
        }
        Some(cost)
    }
}

fn is_number(ty: &ValType) -> bool {
    matches!(
        ty,
        ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64
    )
}

/// Whether an instruction does something; `None` if small functions do not have it.
fn cost_of(operator: &Operator<'_>) -> Option<u32> {
    use crate::graph::Type::{F32, F64, I32, I64};
    Some(match operator {
        Operator::LocalGet { .. }
        | Operator::LocalSet { .. }
        | Operator::LocalTee { .. }
        | Operator::I32Const { .. }
        | Operator::I64Const { .. }
        | Operator::F32Const { .. }
        | Operator::F64Const { .. }
        | Operator::Nop
        | Operator::Drop
        | Operator::Block { .. }
        | Operator::Br { .. }
        | Operator::Else
        | Operator::End
        | Operator::Return => 0,
        Operator::If { .. }
        | Operator::BrIf { .. }
        | Operator::Select
        | Operator::Unreachable
        | Operator::GlobalGet { .. }
        | Operator::GlobalSet { .. }
        | Operator::I32Load { .. }
        | Operator::I64Load { .. }
        | Operator::F32Load { .. }
        | Operator::F64Load { .. }
        | Operator::I32Load8S { .. }
        | Operator::I32Load8U { .. }
        | Operator::I32Load16S { .. }
        | Operator::I32Load16U { .. }
        | Operator::I64Load8S { .. }
        | Operator::I64Load8U { .. }
        | Operator::I64Load16S { .. }
        | Operator::I64Load16U { .. }
        | Operator::I64Load32S { .. }
        | Operator::I64Load32U { .. }
        | Operator::I32Store { .. }
        | Operator::I64Store { .. }
        | Operator::F32Store { .. }
        | Operator::F64Store { .. }
        | Operator::I32Store8 { .. }
        | Operator::I32Store16 { .. }
        | Operator::I64Store8 { .. }
        | Operator::I64Store16 { .. }
        | Operator::I64Store32 { .. } => 1,
        _ => {
            let op = numeric::plain(operator)?;
            let info = op.info();
            let mut slots = info.operands.iter().chain(info.results);
            let number = |slot: &Slot| matches!(slot.fixed(), Some(I32 | I64 | F32 | F64));
            match slots.all(number) {
                true => 1,
                false => return None,
            }
        }
    })
}
