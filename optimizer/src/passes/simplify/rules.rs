//! The rules: what an instruction can be replaced by.
//!
//! They look at an instruction and what defines its operands, and change nothing. A rule belongs
//! here if it can decide a branch, remove a trap, or is a habit of wasm that hides such a thing;
//! other arithmetic is left to Cranelift.

use bimetal_codegen::ModuleEnv;
use bimetal_wasm::{FuncType, RefType};

use crate::graph::{Graph, Imm, Inst, Op, Type, Value};

use super::fold::{self, Folded};
use super::ints::{Int, Width};

/// What becomes of an instruction. But for the trap of a division that is proven not to trap,
/// effects are never touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rewrite {
    /// It stays.
    Keep,
    /// Its result is these bits, of its type.
    Constant(u64),
    /// Its result is this value.
    Value(Value),
    /// Another op on one operand.
    Unary(Op, Value),
    /// Another op on two operands.
    Binary(Op, Value, Value),
    /// Another op on an operand and a constant of the type of that operand.
    WithConstant(Op, Value, u64),
    /// A `select` of these.
    Select(Value, Value, Value),
    /// The same with another immediate.
    Immediate(Imm),
    /// The same access at another address.
    Access(Value, Imm),
    /// A jump along this edge.
    Jump(usize),
    /// A `branch_if` on this value, with the two edges of the `br_table` that it was exchanged if
    /// the second is set.
    Branch(Value, bool),
}

use Rewrite::*;

/// What rules look at.
pub(super) struct Facts<'a> {
    pub graph: &'a Graph,
    pub env: &'a ModuleEnv,
    pub signature: Option<&'a FuncType>,
    /// By value, which bits can be set.
    pub bits: &'a [u64],
}

impl Facts<'_> {
    /// The bits that can be set in an integer.
    pub(super) fn bits(&self, value: Value) -> u64 {
        let mask = match self.graph.ty(value) {
            Type::I32 => Width::W32.mask(),
            _ => u64::MAX,
        };
        let known = self.bits.get(value.as_u32() as usize).copied();
        known.unwrap_or(u64::MAX) & mask
    }

    fn is_bool(&self, value: Value) -> bool {
        self.bits(value) <= 1
    }

    /// The bits of a scalar constant.
    pub(super) fn constant(&self, value: Value) -> Option<u64> {
        let inst = self.graph.def_inst(value)?;
        match self.graph.imm(inst) {
            Imm::I32(value) => Some(u64::from(value as u32)),
            Imm::I64(value) => Some(value as u64),
            Imm::F32(bits) => Some(u64::from(bits)),
            Imm::F64(bits) => Some(bits),
            _ => None,
        }
    }

    /// The op and operands that compute a value.
    fn def(&self, value: Value) -> Option<(Op, &[Value])> {
        let inst = self.graph.def_inst(value)?;
        Some((self.graph.op(inst), self.graph.args(inst)))
    }

    /// As [`Facts::def`], for an integer operation.
    fn int(&self, value: Value) -> Option<(Int, Width, &[Value])> {
        let (op, args) = self.def(value)?;
        let (int, width) = Int::of(op)?;
        Some((int, width, args))
    }

    /// What `inst` can be replaced by.
    pub(super) fn rewrite(&self, inst: Inst) -> Rewrite {
        let op = self.graph.op(inst);
        let args = self.graph.args(inst);
        match self.graph.imm(inst) {
            Imm::None => {}
            imm @ (Imm::Mem { .. } | Imm::MemLane { .. }) => return self.access(args[0], imm),
            Imm::Hint(_) => return self.branch_if(inst, args[0]),
            Imm::JumpTable(_) => return self.br_table(inst, args[0]),
            Imm::Cast { to, from } => return self.cast(op, to, from, args[0]),
            _ => return Keep,
        }
        match (op, args) {
            (Op::Select, &[a, b, condition]) => self.select(a, b, condition),
            (Op::RefIsNull, &[a]) => match self.def(a) {
                Some((Op::RefNull, _)) => Constant(1),
                _ if self.known(a).is_some_and(|ty| !ty.nullable) => Constant(0),
                _ => Keep,
            },
            (Op::RefAsNonNull, &[a]) if self.known(a).is_some_and(|ty| !ty.nullable) => Value(a),
            (Op::RefEq, &[a, b]) if a == b => Constant(1),
            (Op::AnyConvertExtern | Op::ExternConvertAny, &[a]) => match self.def(a) {
                Some((Op::AnyConvertExtern | Op::ExternConvertAny, &[x])) => Value(x),
                _ => Keep,
            },
            (_, &[a]) => self.unary(op, a),
            (_, &[a, b]) => self.binary(op, a, b),
            _ => Keep,
        }
    }

    fn known(&self, value: Value) -> Option<RefType> {
        crate::known::ref_type(self.env, self.signature, self.graph, value)
    }

    /// `ref.test` and `ref.cast`: decided, or with more known of the operand.
    fn cast(&self, op: Op, to: RefType, from: RefType, value: Value) -> Rewrite {
        let module = &*self.env.module;
        let Some(known) = self.known(value) else {
            return Keep;
        };
        if module.is_subtype(known, to) {
            return match op {
                Op::RefTest => Constant(1),
                _ => Value(value),
            };
        }
        let apart = !module.is_heap_subtype(known.heap, to.heap)
            && !module.is_heap_subtype(to.heap, known.heap);
        if op == Op::RefTest && apart && !(known.nullable && to.nullable) {
            return Constant(0);
        }
        match known != from && module.is_subtype(known, from) {
            true => Immediate(Imm::Cast { to, from: known }),
            false => Keep,
        }
    }

    fn unary(&self, op: Op, a: Value) -> Rewrite {
        if let Some(a) = self.constant(a) {
            return folded(fold::unary(op, a));
        }
        let w32 = Width::W32;
        match op {
            Op::I32WrapI64 => match self.def(a) {
                Some((Op::I64ExtendI32S | Op::I64ExtendI32U, &[x])) => Value(x),
                _ => Keep,
            },
            Op::I64ExtendI32U => match self.def(a) {
                Some((Op::I32WrapI64, &[x])) if self.bits(x) <= w32.mask() => Value(x),
                _ => Keep,
            },
            Op::I64ExtendI32S if self.bits(a) & w32.sign() == 0 => Unary(Op::I64ExtendI32U, a),
            Op::I64Extend32S if self.bits(a) < w32.sign() => Value(a),
            Op::I32Extend8S | Op::I64Extend8S if self.bits(a) < 0x80 => Value(a),
            Op::I32Extend16S | Op::I64Extend16S if self.bits(a) < 0x8000 => Value(a),
            Op::I32Eqz | Op::I64Eqz => self.eqz(a),
            _ => Keep,
        }
    }

    fn eqz(&self, a: Value) -> Rewrite {
        let Some((op, args)) = self.def(a) else {
            return Keep;
        };
        match (op, args) {
            (Op::I32Eqz, &[x]) if self.is_bool(x) => Value(x),
            (Op::I64ExtendI32S | Op::I64ExtendI32U, &[x]) => Unary(Op::I32Eqz, x),
            // Not the ordered comparisons of floats: NaN is neither less nor not less.
            (Op::F32Eq, &[x, y]) => Binary(Op::F32Ne, x, y),
            (Op::F32Ne, &[x, y]) => Binary(Op::F32Eq, x, y),
            (Op::F64Eq, &[x, y]) => Binary(Op::F64Ne, x, y),
            (Op::F64Ne, &[x, y]) => Binary(Op::F64Eq, x, y),
            (_, &[x, y]) => match Int::of(op).and_then(|(int, w)| Some((int.inverse()?, w))) {
                Some((inverse, width)) => Binary(inverse.op(width), x, y),
                None => Keep,
            },
            _ => Keep,
        }
    }

    fn binary(&self, op: Op, a: Value, b: Value) -> Rewrite {
        let constants = (self.constant(a), self.constant(b));
        if let (Some(a), Some(b)) = constants {
            return folded(fold::binary(op, a, b));
        }
        let Some((int, width)) = Int::of(op) else {
            return Keep;
        };
        match constants {
            (Some(_), None) if let Some(exchanged) = int.exchanged() => {
                return Binary(exchanged.op(width), b, a);
            }
            (Some(0), None) if is_shift(int) => return Constant(0),
            (None, Some(c)) => match self.with_constant(int, width, a, c) {
                Keep => {}
                rewrite => return rewrite,
            },
            _ => {}
        }
        if a == b {
            match int {
                Int::Sub | Int::Xor | Int::Ne => return Constant(0),
                Int::LtS | Int::LtU | Int::GtS | Int::GtU => return Constant(0),
                Int::Eq | Int::LeS | Int::LeU | Int::GeS | Int::GeU => return Constant(1),
                Int::And | Int::Or => return Value(a),
                _ => {}
            }
        }
        if int == Int::And && self.bits(a) & self.bits(b) == 0 {
            return Constant(0);
        }
        self.compare(int, width, a, b)
    }

    /// A comparison that the ranges of its operands decide.
    fn compare(&self, int: Int, width: Width, a: Value, b: Value) -> Rewrite {
        let signed = matches!(int, Int::LtS | Int::LeS | Int::GtS | Int::GeS);
        let range = |value| match self.constant(value) {
            Some(c) if signed => (i128::from(width.signed(c)), i128::from(width.signed(c))),
            Some(c) => (i128::from(c), i128::from(c)),
            None => {
                let bits = self.bits(value);
                match signed && bits & width.sign() != 0 {
                    // The least value has the sign and nothing else that can be added to it.
                    true => (
                        i128::from(width.signed(width.sign())),
                        i128::from(bits & !width.sign()),
                    ),
                    false => (0, i128::from(bits)),
                }
            }
        };
        // (always, never) for `a < b` and `a <= b`, in either order.
        let less = |a: (i128, i128), b: (i128, i128)| (a.1 < b.0, a.0 >= b.1);
        let less_equal = |a: (i128, i128), b: (i128, i128)| (a.1 <= b.0, a.0 > b.1);
        let (always, never) = match int {
            Int::LtS | Int::LtU => less(range(a), range(b)),
            Int::GtS | Int::GtU => less(range(b), range(a)),
            Int::LeS | Int::LeU => less_equal(range(a), range(b)),
            Int::GeS | Int::GeU => less_equal(range(b), range(a)),
            _ => return Keep,
        };
        match (always, never) {
            (true, _) => Constant(1),
            (_, true) => Constant(0),
            _ => Keep,
        }
    }

    /// Integer operations whose second operand is constant.
    fn with_constant(&self, int: Int, width: Width, a: Value, c: u64) -> Rewrite {
        let mask = width.mask();
        let bits = self.bits(a);
        match int {
            Int::Add | Int::Sub | Int::Or | Int::Xor if c == 0 => Value(a),
            Int::Or if c == mask => Constant(mask),
            Int::Xor if c == 1 && width == Width::W32 && bits <= 1 => Unary(Op::I32Eqz, a),
            Int::Mul if c == 0 => Constant(0),
            Int::Mul if c == 1 => Value(a),
            Int::And if bits & !c == 0 => Value(a),
            Int::And if bits & c == 0 => Constant(0),
            _ if is_shift(int) => self.shift(int, width, a, c),
            Int::DivS | Int::DivU | Int::RemS | Int::RemU => self.divide(int, width, a, c),
            Int::Eq | Int::Ne => self.equal(int, width, a, c),
            Int::LtU if c == 1 => Unary(Int::Eqz.op(width), a),
            Int::LeU if c == 0 => Unary(Int::Eqz.op(width), a),
            Int::GeU if c == 1 => WithConstant(Int::Ne.op(width), a, 0),
            Int::GtU if c == 0 => WithConstant(Int::Ne.op(width), a, 0),
            _ => Keep,
        }
    }

    fn shift(&self, int: Int, width: Width, a: Value, c: u64) -> Rewrite {
        let bits = self.bits(a);
        match (int, c % u64::from(width.bits())) {
            (_, 0) => Value(a),
            (Int::ShrU, shift) if bits >> shift == 0 => Constant(0),
            (Int::ShrS, shift) if bits >> shift == 0 => Constant(0),
            (Int::ShrS, _) if bits & width.sign() == 0 => WithConstant(Int::ShrU.op(width), a, c),
            _ => Keep,
        }
    }

    /// Division: by a constant that is a power of two it cannot trap and need not divide. By zero
    /// it stays and traps in its place.
    fn divide(&self, int: Int, width: Width, a: Value, c: u64) -> Rewrite {
        let bits = self.bits(a);
        let minus_one = width.mask();
        let non_negative = bits & width.sign() == 0 && c & width.sign() == 0;
        match int {
            _ if c == 0 => Keep,
            Int::DivS | Int::DivU if c == 1 => Value(a),
            Int::RemS | Int::RemU if c == 1 => Constant(0),
            Int::RemS if c == minus_one => Constant(0),
            Int::DivS if non_negative => WithConstant(Int::DivU.op(width), a, c),
            Int::RemS if non_negative => WithConstant(Int::RemU.op(width), a, c),
            Int::DivU if bits < c => Constant(0),
            Int::RemU if bits < c => Value(a),
            Int::DivU if c.is_power_of_two() => {
                WithConstant(Int::ShrU.op(width), a, u64::from(c.trailing_zeros()))
            }
            Int::RemU if c.is_power_of_two() => WithConstant(Int::And.op(width), a, c - 1),
            _ => Keep,
        }
    }

    /// `a == c` or `a != c`.
    fn equal(&self, int: Int, width: Width, a: Value, c: u64) -> Rewrite {
        let equal = int == Int::Eq;
        let bits = self.bits(a);
        if c & !bits != 0 {
            return Constant(u64::from(!equal));
        }
        match (equal, c) {
            (true, 0) => Unary(Int::Eqz.op(width), a),
            (true, 1) | (false, 0) if bits <= 1 => match width {
                Width::W32 => Value(a),
                Width::W64 => Unary(Op::I32WrapI64, a),
            },
            (false, 1) if bits <= 1 => Unary(Int::Eqz.op(width), a),
            (false, 0) => match self.def(a) {
                Some((Op::I64ExtendI32S | Op::I64ExtendI32U, &[x])) => {
                    WithConstant(Op::I32Ne, x, 0)
                }
                _ => Keep,
            },
            _ => Keep,
        }
    }

    fn select(&self, a: Value, b: Value, condition: Value) -> Rewrite {
        if a == b {
            return Value(a);
        }
        if let Some(condition) = self.constant(condition) {
            return Value(if condition != 0 { a } else { b });
        }
        if self.graph.ty(a) == Type::I32 && self.is_bool(condition) {
            match (self.constant(a), self.constant(b)) {
                (Some(1), Some(0)) => return Value(condition),
                (Some(0), Some(1)) => return Unary(Op::I32Eqz, condition),
                _ => {}
            }
        }
        match self.truth(condition) {
            Some((condition, false)) => Select(a, b, condition),
            Some((condition, true)) => Select(b, a, condition),
            None => Keep,
        }
    }

    /// Another value that is zero exactly when `condition` is, or exactly when it is not.
    fn truth(&self, condition: Value) -> Option<(Value, bool)> {
        match self.int(condition)? {
            (Int::Eqz, Width::W32, &[x]) => Some((x, true)),
            (Int::Ne, Width::W32, &[x, y]) if self.constant(y) == Some(0) => Some((x, false)),
            _ => None,
        }
    }

    fn branch_if(&self, inst: Inst, condition: Value) -> Rewrite {
        let graph = self.graph;
        if let Some(condition) = self.constant(condition) {
            return Jump(usize::from(condition == 0));
        }
        let (yes, no) = (graph.edge(inst, 0), graph.edge(inst, 1));
        if graph.target(yes) == graph.target(no) && graph.edge_args(yes) == graph.edge_args(no) {
            return Jump(0);
        }
        // Edges are not exchanged to save an `eqz`, which costs nothing in a branch: Cranelift
        // places the second edge's target next, and wasm's order is that of a compiler which has
        // thought about it.
        match self.truth(condition) {
            Some((condition, false)) => Branch(condition, false),
            Some((negated, true)) => match self.truth(negated) {
                Some((condition, true)) => Branch(condition, false),
                _ => Keep,
            },
            None => Keep,
        }
    }

    fn br_table(&self, inst: Inst, index: Value) -> Rewrite {
        let graph = self.graph;
        let Imm::JumpTable(table) = graph.imm(inst) else {
            return Keep;
        };
        let Some((&default, entries)) = graph.jump_table(table).split_last() else {
            return Keep;
        };
        if let Some(index) = self.constant(index) {
            let entry = usize::try_from(index).ok().and_then(|i| entries.get(i));
            return Jump(*entry.unwrap_or(&default) as usize);
        }
        match *entries {
            _ if entries.iter().all(|&entry| entry == default) => Jump(default as usize),
            // Two ways: the first entry if the index is zero, else the default.
            [_] if graph.edges(inst).len() == 2 => Branch(index, default == 1),
            _ => Keep,
        }
    }

    /// An address that is a sum with a constant, where neither that sum nor the new offset wraps.
    fn access(&self, address: Value, imm: Imm) -> Rewrite {
        let Some((int @ (Int::Add | Int::Or), width, &[x, y])) = self.int(address) else {
            return Keep;
        };
        let Some(c) = self.constant(y) else {
            return Keep;
        };
        let (memory, old) = match imm {
            Imm::Mem { memory, offset } | Imm::MemLane { memory, offset, .. } => (memory, offset),
            _ => return Keep,
        };
        let wraps = match int {
            Int::Add => self
                .bits(x)
                .checked_add(c)
                .is_none_or(|sum| sum > width.mask()),
            _ => self.bits(x) & c != 0,
        };
        let Some(new) = old
            .checked_add(c)
            .filter(|&new| new <= width.mask() && !wraps)
        else {
            return Keep;
        };
        // An offset past the guard would cost a check that there was none of.
        let plan = &self.env.memories[memory];
        const LARGEST_ACCESS: u8 = 16;
        if plan.elides_check(old, LARGEST_ACCESS) && !plan.elides_check(new, LARGEST_ACCESS) {
            return Keep;
        }
        let imm = match imm {
            Imm::MemLane { lane, .. } => Imm::MemLane {
                memory,
                offset: new,
                lane,
            },
            _ => Imm::Mem {
                memory,
                offset: new,
            },
        };
        Access(x, imm)
    }
}

fn is_shift(int: Int) -> bool {
    matches!(
        int,
        Int::Shl | Int::ShrS | Int::ShrU | Int::Rotl | Int::Rotr
    )
}

fn folded(folded: Folded) -> Rewrite {
    match folded {
        Folded::Value(bits) => Constant(bits),
        Folded::Trap(_) | Folded::Unknown => Keep,
    }
}
