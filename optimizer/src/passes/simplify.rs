//! Constants, identities, and branches that are decided.
//!
//! One walk over the function in layout order. Each instruction is replaced in its place for as
//! long as a rule applies; what becomes another value is removed and its result made an alias. The
//! walk also keeps, for every integer, which bits can be set: a habit of wasm is to test, mask and
//! extend what is known to be small. Values that the walk has not seen yet (in loops, or in blocks
//! that nothing reaches) are unknown, so the order matters only for what is found.
//!
//! Wasm's semantics are kept exactly: a trap stays in its place, a NaN is left alone. Removing
//! what a decided branch no longer reaches is the business of `dce`.

mod bits;
mod fold;
mod ints;
mod rules;

use crate::graph::{Graph, Hint, Imm, Inst, Op, Type, Value};

use super::Context;
use rules::{Facts, Rewrite};

/// Working memory.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// By value, which bits can be set.
    bits: Vec<u64>,
}

/// More rewrites of one instruction than the longest chain of rules needs.
const MAX_REWRITES: usize = 8;

pub(super) fn run(graph: &mut Graph, context: &mut Context<'_>) -> bool {
    let mut bits = std::mem::take(&mut context.scratch.simplify.bits);
    bits.clear();
    bits.resize(graph.num_values(), u64::MAX);
    let mut simplifier = Simplifier {
        graph,
        context,
        bits,
        changed: false,
        aliases: false,
    };
    let mut block = Some(simplifier.graph.entry());
    while let Some(current) = block {
        let mut inst = simplifier.graph.first_inst(current);
        while let Some(current) = inst {
            inst = simplifier.graph.next_inst(current);
            simplifier.visit(current);
        }
        block = simplifier.graph.next_block(current);
    }
    let Simplifier {
        bits,
        changed,
        aliases,
        ..
    } = simplifier;
    context.scratch.simplify.bits = bits;
    if aliases {
        graph.resolve_aliases();
    }
    changed
}

struct Simplifier<'a, 'b> {
    graph: &'a mut Graph,
    context: &'a mut Context<'b>,
    bits: Vec<u64>,
    changed: bool,
    /// Whether there are aliases.
    aliases: bool,
}

impl Simplifier<'_, '_> {
    fn facts(&self) -> Facts<'_> {
        Facts {
            graph: self.graph,
            env: self.context.env,
            signature: self.context.signature,
            bits: &self.bits,
        }
    }

    fn visit(&mut self, inst: Inst) {
        if self.aliases {
            self.resolve(inst);
        }
        for _ in 0..MAX_REWRITES {
            let rewrite = self.facts().rewrite(inst);
            if rewrite == Rewrite::Keep || !self.can_apply(inst, rewrite) {
                break;
            }
            if !self.context.fuel.consume() {
                break;
            }
            self.changed = true;
            if self.apply(inst, rewrite) {
                return;
            }
        }
        self.learn(inst);
    }

    /// Operands that became aliases.
    fn resolve(&mut self, inst: Inst) {
        for i in 0..self.graph.args(inst).len() {
            let value = self.graph.args(inst)[i];
            let root = self.graph.resolve_mut(value);
            self.graph.args_mut(inst)[i] = root;
        }
        for edge in self.graph.edges(inst) {
            for i in 0..self.graph.edge_args(edge).len() {
                let value = self.graph.edge_args(edge)[i];
                let root = self.graph.resolve_mut(value);
                self.graph.edge_args_mut(edge)[i] = root;
            }
        }
    }

    /// Where nothing reaches, a value may be defined by itself; it cannot become one.
    fn can_apply(&self, inst: Inst, rewrite: Rewrite) -> bool {
        match rewrite {
            Rewrite::Value(value) => self.graph.resolve(value) != self.graph.result(inst),
            _ => true,
        }
    }

    /// Returns true if the instruction is gone.
    fn apply(&mut self, inst: Inst, rewrite: Rewrite) -> bool {
        match rewrite {
            Rewrite::Keep => {}
            Rewrite::Value(value) => {
                let result = self.graph.result(inst);
                self.graph.remove_inst(inst);
                self.graph.alias(result, value);
                self.aliases = true;
                return true;
            }
            Rewrite::Constant(bits) => {
                let ty = self.graph.ty(self.graph.result(inst));
                let (op, imm) = constant(ty, bits);
                self.replace(inst, op, &[], imm);
            }
            Rewrite::Unary(op, a) => self.replace(inst, op, &[a], Imm::None),
            Rewrite::Binary(op, a, b) => self.replace(inst, op, &[a, b], Imm::None),
            Rewrite::WithConstant(op, a, bits) => {
                let c = self.constant_before(inst, self.graph.ty(a), bits);
                self.replace(inst, op, &[a, c], Imm::None);
            }
            Rewrite::Select(a, b, c) => self.replace(inst, Op::Select, &[a, b, c], Imm::None),
            Rewrite::Access(address, imm) => {
                self.graph.args_mut(inst)[0] = address;
                self.graph.inst_mut(inst).imm = imm;
            }
            Rewrite::Immediate(imm) => self.graph.inst_mut(inst).imm = imm,
            Rewrite::Jump(edge) => self.graph.replace_with_jump(inst, edge),
            Rewrite::Branch(condition, exchange) => self.branch(inst, condition, exchange),
        }
        false
    }

    fn replace(&mut self, inst: Inst, op: Op, args: &[Value], imm: Imm) {
        self.graph.replace(inst, op, args, imm);
        // What cannot trap needs no place in wasm; a division that became a shift has lost its.
        if op.effects().is_pure() {
            self.graph.inst_mut(inst).site = None.into();
        }
    }

    fn constant_before(&mut self, inst: Inst, ty: Type, bits: u64) -> Value {
        let (op, imm) = constant(ty, bits);
        let constant = self.graph.make_inst(op, &[], imm, None, &[ty]);
        self.graph.insert_before(constant, inst);
        self.learn(constant);
        self.graph.result(constant)
    }

    /// A `branch_if` or a `br_table` with two edges becomes this `branch_if`.
    fn branch(&mut self, inst: Inst, condition: Value, exchange: bool) {
        let hint = match self.graph.imm(inst) {
            Imm::Hint(hint) => hint,
            _ => Hint::Unknown,
        };
        if exchange {
            let (yes, no) = (self.graph.edge(inst, 0), self.graph.edge(inst, 1));
            let (target, other) = (self.graph.target(yes), self.graph.target(no));
            let args = self.graph.edge_args(yes).to_vec();
            let others = self.graph.edge_args(no).to_vec();
            self.graph.set_target(yes, other);
            self.graph.set_target(no, target);
            self.graph.set_edge_args(yes, &others);
            self.graph.set_edge_args(no, &args);
        }
        self.graph
            .replace(inst, Op::BranchIf, &[condition], Imm::Hint(hint));
    }

    /// Notes which bits of the result can be set.
    fn learn(&mut self, inst: Inst) {
        if self.graph.num_results(inst) != 1 {
            return;
        }
        let result = self.graph.result(inst);
        if !matches!(self.graph.ty(result), Type::I32 | Type::I64) {
            return;
        }
        let facts = self.facts();
        let known = facts.constant(result).unwrap_or_else(|| {
            let args = self.graph.args(inst);
            let mut bits = [u64::MAX; 2];
            for (bits, &arg) in bits.iter_mut().zip(args) {
                *bits = facts.bits(arg);
            }
            let second = args.get(1).and_then(|&arg| facts.constant(arg));
            bits::possible(self.graph.op(inst), &bits[..args.len().min(2)], second)
        });
        let i = result.as_u32() as usize;
        if i >= self.bits.len() {
            self.bits.resize(i + 1, u64::MAX);
        }
        self.bits[i] = known;
    }
}

/// The instruction that makes a scalar constant.
fn constant(ty: Type, bits: u64) -> (Op, Imm) {
    match ty {
        Type::I32 => (Op::I32Const, Imm::I32(bits as u32 as i32)),
        Type::I64 => (Op::I64Const, Imm::I64(bits as i64)),
        Type::F32 => (Op::F32Const, Imm::F32(bits as u32)),
        _ => (Op::F64Const, Imm::F64(bits)),
    }
}
