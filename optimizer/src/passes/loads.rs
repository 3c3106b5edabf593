//! Loads of what is known: what was stored to the address, or loaded from it, before.
//!
//! Compilers that were told not to optimise keep every variable in memory, and all of them do with
//! what has its address taken. A walk in reverse postorder keeps, for each memory, what the last
//! accesses say of its bytes; a load of such bytes becomes the value. A store ends what is known of
//! the bytes that it may write: of all that are not at another distance from the same value. What may
//! run other code ends everything. A block knows what all blocks before it agree on, so a loop's header
//! knows nothing.
//!
//! A load goes only if an access at the same address has reached as far without a trap. Threads may
//! write to shared memories at any time, so nothing is known of these.
//!
//! Cranelift does the same, but forgets all of a memory at every store to it.

use bimetal_wasm::MemoryIndex;

use super::Context;
use super::facts::{self, Facts};
use crate::graph::{Effects, Graph, Imm, Inst, Op, Type, Value};

/// Working memory.
pub(super) type Scratch = Facts<Fact>;

type Walk<'a> = facts::Walk<'a, Fact>;

/// So much is known at a time. More takes time and, in code that is live for long, registers.
const MAX_KNOWN: usize = 24;

/// More additions in a row are not looked through.
const MAX_SUMS: usize = 8;

/// An address: equal if `base` and `offset` are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Address {
    memory: MemoryIndex,
    /// `None` for a constant, which `offset` includes.
    base: Option<Value>,
    offset: u64,
    /// `base` without constants that are added to it: addresses with the same are `distance` apart.
    root: Option<Value>,
    distance: u64,
}

/// The low `size` bytes of `value` are in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fact {
    address: Address,
    size: u8,
    value: Value,
    /// The load that gives `value` as it is.
    exact: Option<Op>,
}

/// What becomes of a load.
enum Known {
    Value(Value),
    Unary(Op, Value),
    Masked(Op, Value, u64),
}

pub(super) fn run(graph: &mut Graph, context: &mut Context<'_>) -> bool {
    let Context {
        env, fuel, scratch, ..
    } = context;
    scratch.cfg.compute(graph);
    facts::walk(graph, &scratch.cfg, env, fuel, &mut scratch.loads)
}

impl facts::Fact for Fact {
    fn lasts(&self) -> bool {
        false
    }

    fn visit(walk: &mut Walk<'_>, inst: Inst) {
        walk.visit(inst);
    }
}

impl Walk<'_> {
    fn visit(&mut self, inst: Inst) {
        let op = self.graph.op(inst);
        let effects = op.effects();
        if !effects.intersects(
            Effects::READS_MEMORY
                | Effects::WRITES_MEMORY
                | Effects::WRITES_MEMORY_SIZE
                | Effects::CAN_CALL,
        ) {
            return;
        }
        if let Some(size) = load_size(op) {
            if let Some(address) = self.address(inst) {
                self.load(inst, op, address, size);
            }
        } else if let Some((size, exact)) = store_size(op) {
            match self.address(inst) {
                Some(address) => self.store(inst, address, size, exact),
                None => self.facts.known.clear(),
            }
        } else if effects != Effects::LOAD {
            self.facts.known.clear();
        }
    }

    /// Where an instruction loads or stores.
    fn address(&self, inst: Inst) -> Option<Address> {
        let Imm::Mem { memory, offset } = self.graph.imm(inst) else {
            return None;
        };
        let base = self.graph.resolve(self.graph.args(inst)[0]);
        if let Some(constant) = self.constant(base) {
            let offset = constant.checked_add(offset)?;
            return Some(Address {
                memory,
                base: None,
                offset,
                root: None,
                distance: offset,
            });
        }
        let (mut root, mut distance) = (base, offset);
        for _ in 0..MAX_SUMS {
            let Some(inst) = self.graph.def_inst(root) else {
                break;
            };
            let (&[a, b], op) = (self.graph.args(inst), self.graph.op(inst)) else {
                break;
            };
            let Some(constant) = self.constant(b) else {
                break;
            };
            distance = match op {
                Op::I32Add | Op::I64Add => distance.wrapping_add(constant),
                Op::I32Sub | Op::I64Sub => distance.wrapping_sub(constant),
                _ => break,
            };
            root = self.graph.resolve(a);
        }
        Some(Address {
            memory,
            base: Some(base),
            offset,
            root: Some(root),
            distance,
        })
    }

    /// An integer that is constant.
    fn constant(&self, value: Value) -> Option<u64> {
        let inst = self.graph.def_inst(self.graph.resolve(value))?;
        match self.graph.imm(inst) {
            Imm::I32(value) => Some(u64::from(value as u32)),
            Imm::I64(value) => Some(value as u64),
            _ => None,
        }
    }

    fn load(&mut self, inst: Inst, op: Op, address: Address, size: u8) {
        if self.env.memories[address.memory].ty.shared {
            return;
        }
        let known = &mut self.facts.known;
        let at = |fact: &Fact| fact.address.is(&address);
        if let Some(place) = known.iter().rposition(at) {
            let fact = known[place];
            let found = self.from(&fact, op, size);
            if found.is_some() && self.fuel.consume() {
                self.changed = true;
                match found {
                    Some(Known::Value(value)) => {
                        let result = self.graph.result(inst);
                        self.graph.remove_inst(inst);
                        self.graph.alias(result, value);
                        self.aliases = true;
                    }
                    Some(Known::Unary(op, value)) => self.replace(inst, op, &[value]),
                    Some(Known::Masked(op, value, mask)) => {
                        let ty = self.graph.ty(value);
                        let (constant, imm) = match ty {
                            Type::I32 => (Op::I32Const, Imm::I32(mask as i32)),
                            _ => (Op::I64Const, Imm::I64(mask as i64)),
                        };
                        let mask = self.graph.make_inst(constant, &[], imm, None, &[ty]);
                        self.graph.insert_before(mask, inst);
                        let mask = self.graph.result(mask);
                        self.replace(inst, op, &[value, mask]);
                    }
                    None => {}
                }
                return;
            }
            if fact.size > size {
                return;
            }
            self.facts.known.remove(place);
        }
        let value = self.graph.result(inst);
        self.learn(Fact {
            address,
            size,
            value,
            exact: Some(op),
        });
    }

    fn replace(&mut self, inst: Inst, op: Op, args: &[Value]) {
        self.graph.replace(inst, op, args, Imm::None);
        // It cannot trap any more.
        self.graph.inst_mut(inst).site = None.into();
    }

    fn store(&mut self, inst: Inst, address: Address, size: u8, exact: Option<Op>) {
        let env = self.env;
        let memory = &env.memories[address.memory].ty;
        let mask = match memory.memory64 {
            true => u64::MAX,
            false => u64::from(u32::MAX),
        };
        let is_imported = |memory| env.module.defined_memory(memory).is_none();
        self.facts.known.retain(|fact| {
            let other = fact.address.memory;
            match other == address.memory {
                true => fact.address.is_apart(fact.size, &address, size, mask),
                // Two imports may be one memory.
                false => !(is_imported(other) && is_imported(address.memory)),
            }
        });
        if !memory.shared {
            let value = self.graph.resolve(self.graph.args(inst)[1]);
            self.learn(Fact {
                address,
                size,
                value,
                exact,
            });
        }
    }

    fn learn(&mut self, fact: Fact) {
        let known = &mut self.facts.known;
        if known.len() == MAX_KNOWN {
            known.remove(0);
        }
        known.push(fact);
    }

    /// What a load of `size` bytes gives, from what is known.
    fn from(&self, fact: &Fact, load: Op, size: u8) -> Option<Known> {
        use Known::{Masked, Unary, Value};
        let value = fact.value;
        if fact.exact == Some(load) {
            return Some(Value(value));
        }
        if size > fact.size {
            return None;
        }
        Some(match (self.graph.ty(value), load) {
            (Type::I32, Op::I32Load8U) => Masked(Op::I32And, value, 0xff),
            (Type::I32, Op::I32Load16U) => Masked(Op::I32And, value, 0xffff),
            (Type::I32, Op::I32Load8S) => Unary(Op::I32Extend8S, value),
            (Type::I32, Op::I32Load16S) => Unary(Op::I32Extend16S, value),
            (Type::I32, Op::I64Load32U) => Unary(Op::I64ExtendI32U, value),
            (Type::I32, Op::I64Load32S) => Unary(Op::I64ExtendI32S, value),
            (Type::I32, Op::F32Load) => Unary(Op::F32ReinterpretI32, value),
            (Type::I64, Op::I64Load8U) => Masked(Op::I64And, value, 0xff),
            (Type::I64, Op::I64Load16U) => Masked(Op::I64And, value, 0xffff),
            (Type::I64, Op::I64Load32U) => Masked(Op::I64And, value, 0xffff_ffff),
            (Type::I64, Op::I64Load8S) => Unary(Op::I64Extend8S, value),
            (Type::I64, Op::I64Load16S) => Unary(Op::I64Extend16S, value),
            (Type::I64, Op::I64Load32S) => Unary(Op::I64Extend32S, value),
            (Type::I64, Op::I32Load) => Unary(Op::I32WrapI64, value),
            (Type::I64, Op::F64Load) => Unary(Op::F64ReinterpretI64, value),
            (Type::F32, Op::I32Load) => Unary(Op::I32ReinterpretF32, value),
            (Type::F64, Op::I64Load) => Unary(Op::I64ReinterpretF64, value),
            _ => return None,
        })
    }
}

impl Address {
    fn is(&self, other: &Address) -> bool {
        self.base == other.base && self.offset == other.offset && self.memory == other.memory
    }

    /// Whether accesses of so many bytes at two addresses of a memory have no byte in common, if
    /// both are in bounds. An address in bounds is the same number modulo the size of the index space.
    fn is_apart(&self, size: u8, other: &Address, other_size: u8, mask: u64) -> bool {
        let ahead = other.distance.wrapping_sub(self.distance) & mask;
        let behind = self.distance.wrapping_sub(other.distance) & mask;
        self.root == other.root && ahead >= u64::from(size) && behind >= u64::from(other_size)
    }
}

/// Bytes that a load accesses, if its result is these bytes, extended or not.
fn load_size(op: Op) -> Option<u8> {
    Some(match op {
        Op::I32Load8S | Op::I32Load8U | Op::I64Load8S | Op::I64Load8U => 1,
        Op::I32Load16S | Op::I32Load16U | Op::I64Load16S | Op::I64Load16U => 2,
        Op::I32Load | Op::I64Load32S | Op::I64Load32U | Op::F32Load => 4,
        Op::I64Load | Op::F64Load => 8,
        Op::V128Load => 16,
        _ => return None,
    })
}

/// Bytes that a store writes, which are the lowest of its operand, and the load that gives that
/// operand back.
fn store_size(op: Op) -> Option<(u8, Option<Op>)> {
    Some(match op {
        Op::I32Store8 | Op::I64Store8 => (1, None),
        Op::I32Store16 | Op::I64Store16 => (2, None),
        Op::I64Store32 => (4, None),
        Op::I32Store => (4, Some(Op::I32Load)),
        Op::F32Store => (4, Some(Op::F32Load)),
        Op::I64Store => (8, Some(Op::I64Load)),
        Op::F64Store => (8, Some(Op::F64Load)),
        Op::V128Store => (16, Some(Op::V128Load)),
        _ => return None,
    })
}
