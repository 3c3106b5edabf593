//! What is known of objects and references: what was written to a field or read from it before, and
//! what was tested.
//!
//! A walk in reverse postorder, see [`super::facts`]. A field that was read or written is known until
//! something writes the same field of any object: fields of other names, as the uppermost type that has
//! them names them, are never the same place. What may run other code ends all that is known of fields and
//! globals. That a reference is not null, or an object of some type, is known for good; so a loop's header
//! knows what was known before the loop of these.
//!
//! Cranelift does the same for loads, but the collector's barriers are calls to it, which end everything.
//!
//! What goes is an access or a check of a value that went through before, so no trap is lost. A value that
//! takes the place of another may be of a wider type by its definition: that something is not null, or of
//! a type, from its definition on must be taken from there alone.

use bimetal_wasm::{GlobalIndex, RefType, TypeIndex};

use super::Context;
use super::facts::{self, Facts};
use crate::graph::{Block, Cfg, Edge, Effects, Graph, Imm, Inst, Op, Type, Value};
use crate::known;

/// Working memory.
pub(super) type Scratch = Facts<Fact>;

type Walk<'a> = facts::Walk<'a, Fact>;

/// So much is known at a time.
const MAX_KNOWN: usize = 32;

/// So many fields of a new object are known.
const MAX_FIELDS: usize = 8;

/// How many `i32.eqz` of a condition are looked through.
const MAX_NEGATIONS: usize = 4;

/// What something is known of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    /// What this instruction gives for a field.
    Field(Value, (TypeIndex, u32), Op),
    /// The same for an element of an array; the type is the uppermost.
    Element(Value, TypeIndex, Index, Op),
    Length(Value),
    Global(GlobalIndex),
    /// That a reference is not null: itself.
    Some(Value),
    /// That a reference is of a type: the same, as it was cast.
    Cast(Value, RefType),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Index {
    Constant(i32),
    Value(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fact {
    key: Key,
    value: Value,
}

impl Key {
    /// Whether nothing ends it.
    fn is_lasting(self) -> bool {
        matches!(self, Key::Some(_) | Key::Cast(..))
    }
}

pub(super) fn run(graph: &mut Graph, context: &mut Context<'_>) -> bool {
    let is_reference = |ty| matches!(ty, Type::AnyRef | Type::FuncRef);
    let mut values = (0..graph.num_values() as u32).map(Value::from_u32);
    if !values.any(|value| is_reference(graph.ty(value))) {
        return false;
    }
    let Context {
        env, fuel, scratch, ..
    } = context;
    scratch.cfg.compute(graph);
    facts::walk(graph, &scratch.cfg, env, fuel, &mut scratch.objects)
}

impl facts::Fact for Fact {
    fn lasts(&self) -> bool {
        self.key.is_lasting()
    }

    fn enter(walk: &mut Walk<'_>, cfg: &Cfg, block: Block) {
        if let (&[edge], &[inst]) = (cfg.preds(block), cfg.pred_insts(block)) {
            walk.learn_edge(inst, edge);
        }
    }

    fn visit(walk: &mut Walk<'_>, inst: Inst) {
        walk.visit(inst);
    }
}

impl Walk<'_> {
    /// What a branch to a block with one way in says.
    fn learn_edge(&mut self, branch: Inst, edge: Edge) {
        if self.graph.op(branch) != Op::BranchIf {
            return;
        }
        let mut truth = edge == self.graph.edge(branch, 0);
        let mut condition = self.arg(branch, 0);
        for _ in 0..MAX_NEGATIONS {
            let Some(inst) = self.graph.def_inst(condition) else {
                return;
            };
            let value = match self.graph.args(inst).first() {
                Some(&value) => self.graph.resolve(value),
                None => return,
            };
            match (self.graph.op(inst), self.graph.imm(inst)) {
                (Op::I32Eqz, _) => {
                    truth = !truth;
                    condition = value;
                }
                (Op::RefIsNull, _) => {
                    if !truth {
                        self.learn(Key::Some(value), value);
                    }
                    return;
                }
                (Op::RefTest, Imm::Cast { to, .. }) => {
                    if truth {
                        self.learn_cast(value, to, value);
                    }
                    return;
                }
                _ => return,
            }
        }
    }

    fn visit(&mut self, inst: Inst) {
        let op = self.graph.op(inst);
        match (op, self.graph.imm(inst)) {
            (Op::StructGet | Op::StructGetS | Op::StructGetU, Imm::Field { ty, field }) => {
                let object = self.arg(inst, 0);
                let field = known::field_key(&self.env.module, ty, field);
                self.read(inst, Key::Field(object, field, op));
                self.learn(Key::Some(object), object);
            }
            (Op::StructSet, Imm::Field { ty, field }) => {
                let (object, value) = (self.arg(inst, 0), self.arg(inst, 1));
                let storage = self.env.module.struct_fields(ty).get(field as usize);
                let is_whole = storage.is_some_and(|field| !known::is_packed(field.storage));
                let field = known::field_key(&self.env.module, ty, field);
                let same = |key: Key| matches!(key, Key::Field(_, other, _) if other == field);
                self.forget(same);
                if is_whole {
                    self.learn(Key::Field(object, field, Op::StructGet), value);
                }
                self.learn(Key::Some(object), object);
            }
            (Op::StructNew, Imm::Type(ty)) => self.new_struct(inst, ty),
            (Op::ArrayGet | Op::ArrayGetS | Op::ArrayGetU, Imm::Type(ty)) => {
                let array = self.arg(inst, 0);
                let (ty, index) = (known::array_key(&self.env.module, ty), self.index(inst));
                self.read(inst, Key::Element(array, ty, index, op));
                self.learn(Key::Some(array), array);
            }
            (Op::ArraySet, Imm::Type(ty)) => self.array_set(inst, ty),
            (Op::ArrayFill | Op::ArrayCopy | Op::ArrayInitData | Op::ArrayInitElem, _) => {
                self.forget(|key| matches!(key, Key::Element(..)));
            }
            (Op::ArrayLen, _) => {
                let array = self.arg(inst, 0);
                self.read(inst, Key::Length(array));
                self.learn(Key::Some(array), array);
            }
            (Op::GlobalGet, Imm::Global(global)) => self.read(inst, Key::Global(global)),
            (Op::GlobalSet, Imm::Global(global)) => {
                let value = self.arg(inst, 0);
                let env = self.env;
                let is_imported = |global| env.module.defined_global(global).is_none();
                // Two imports may be one global.
                let both = |other| is_imported(other) && is_imported(global);
                self.forget(|key| matches!(key, Key::Global(g) if g == global || both(g)));
                self.learn(Key::Global(global), value);
            }
            (Op::RefIsNull, _) => {
                let value = self.arg(inst, 0);
                if self.find(Key::Some(value)).is_some() {
                    self.decide(inst, 0);
                }
            }
            (Op::RefAsNonNull, _) => {
                let value = self.arg(inst, 0);
                self.read(inst, Key::Some(value));
            }
            (Op::RefTest, Imm::Cast { to, .. }) => {
                let value = self.arg(inst, 0);
                if self.find_cast(value, to).is_some() {
                    self.decide(inst, 1);
                }
            }
            (Op::RefCast, Imm::Cast { to, .. }) => {
                let value = self.arg(inst, 0);
                match self.find_cast(value, to) {
                    Some(known) => {
                        self.becomes(inst, known);
                    }
                    None => {
                        let result = self.graph.result(inst);
                        self.learn_cast(value, to, result);
                    }
                }
            }
            (Op::BranchIf, _) => self.branch(inst),
            _ if op.effects().contains(Effects::CAN_CALL) => self.forget(|key| !key.is_lasting()),
            _ => debug_assert!(
                !op.effects()
                    .intersects(Effects::WRITES_HEAP | Effects::WRITES_GLOBAL)
            ),
        }
    }

    fn new_struct(&mut self, inst: Inst, ty: TypeIndex) {
        let object = self.graph.result(inst);
        let env = self.env;
        let fields = env.module.struct_fields(ty).iter().take(MAX_FIELDS);
        for (i, field) in fields.enumerate() {
            if !known::is_packed(field.storage) {
                let value = self.arg(inst, i);
                let field = known::field_key(&env.module, ty, i as u32);
                self.learn(Key::Field(object, field, Op::StructGet), value);
            }
        }
    }

    fn array_set(&mut self, inst: Inst, ty: TypeIndex) {
        let (array, value) = (self.arg(inst, 0), self.arg(inst, 2));
        let element = self.env.module.array_element(ty);
        let is_whole = element.is_some_and(|element| !known::is_packed(element.storage));
        let (ty, index) = (known::array_key(&self.env.module, ty), self.index(inst));
        self.forget(|key| match key {
            Key::Element(other, of, at, _) if of == ty => match (at, index) {
                (Index::Constant(a), Index::Constant(b)) => a == b || other != array,
                _ => true,
            },
            _ => false,
        });
        if is_whole {
            self.learn(Key::Element(array, ty, index, Op::ArrayGet), value);
        }
        self.learn(Key::Some(array), array);
    }

    /// A `branch_if` whose condition is known goes one way.
    fn branch(&mut self, inst: Inst) {
        let (mut condition, mut truth) = (self.arg(inst, 0), true);
        for _ in 0..MAX_NEGATIONS {
            let Some(def) = self.graph.def_inst(condition) else {
                return;
            };
            match (self.graph.op(def), self.graph.imm(def)) {
                (Op::I32Eqz, _) => {
                    truth = !truth;
                    condition = self.arg(def, 0);
                }
                (Op::I32Const, Imm::I32(value)) => {
                    if self.fuel.consume() {
                        let taken = (value != 0) == truth;
                        self.graph.replace_with_jump(inst, usize::from(!taken));
                        self.changed = true;
                    }
                    return;
                }
                _ => return,
            }
        }
    }

    fn arg(&self, inst: Inst, n: usize) -> Value {
        self.graph.resolve(self.graph.args(inst)[n])
    }

    /// The index of an element.
    fn index(&self, inst: Inst) -> Index {
        let index = self.arg(inst, 1);
        let def = self.graph.def_inst(index);
        match def.map(|inst| (self.graph.op(inst), self.graph.imm(inst))) {
            Some((Op::I32Const, Imm::I32(value))) => Index::Constant(value),
            _ => Index::Value(index),
        }
    }

    fn find(&self, key: Key) -> Option<Value> {
        let mut known = self.facts.known.iter().rev();
        known.find(|fact| fact.key == key).map(|fact| fact.value)
    }

    /// A value that is known to be of a type.
    fn find_cast(&self, value: Value, to: RefType) -> Option<Value> {
        let is_some = to.nullable || self.find(Key::Some(value)).is_some();
        let module = &*self.env.module;
        let mut known = self.facts.known.iter().rev();
        let fits =
            |ty: RefType| module.is_heap_subtype(ty.heap, to.heap) && (is_some || !ty.nullable);
        let found =
            known.find(|fact| matches!(fact.key, Key::Cast(of, ty) if of == value && fits(ty)));
        found.map(|fact| fact.value)
    }

    fn learn_cast(&mut self, value: Value, to: RefType, cast: Value) {
        self.learn(Key::Cast(value, to), cast);
        if !to.nullable {
            self.learn(Key::Some(value), value);
            if cast != value {
                self.learn(Key::Some(cast), cast);
            }
        }
    }

    fn learn(&mut self, key: Key, value: Value) {
        let known = &mut self.facts.known;
        if known.iter().any(|fact| fact.key == key && key.is_lasting()) {
            return;
        }
        if known.len() == MAX_KNOWN {
            known.remove(0);
        }
        known.push(Fact { key, value });
    }

    fn forget(&mut self, which: impl Fn(Key) -> bool) {
        self.facts.known.retain(|fact| !which(fact.key));
    }

    /// An instruction gives what is known, or from now on what it gives is.
    fn read(&mut self, inst: Inst, key: Key) {
        let found = self.find(key);
        if !found.is_some_and(|value| self.becomes(inst, value)) {
            let value = match key {
                Key::Some(value) => value,
                _ => self.graph.result(inst),
            };
            self.learn(key, value);
        }
    }

    /// The result of an instruction is this value.
    fn becomes(&mut self, inst: Inst, value: Value) -> bool {
        let result = self.graph.result(inst);
        let same_type = self.graph.ty(result) == self.graph.ty(value);
        if !same_type || !self.fuel.consume() {
            return false;
        }
        self.graph.remove_inst(inst);
        self.graph.alias(result, value);
        self.changed = true;
        self.aliases = true;
        true
    }

    /// The result of a test is this.
    fn decide(&mut self, inst: Inst, truth: i32) {
        if self.fuel.consume() {
            self.graph.replace(inst, Op::I32Const, &[], Imm::I32(truth));
            self.graph.inst_mut(inst).site = None.into();
            self.changed = true;
        }
    }
}
