//! A small interpreter of graphs: what the passes must not change.
//!
//! It covers integers, control flow, globals, loads and traps, and computes with 128-bit arithmetic,
//! so that it shares no mistake with the folding it is to check.

use std::collections::BTreeMap;

use bimetal_abi::TrapCode;
use cranelift_entity::SecondaryMap;

use crate::graph::{Edge, Graph, Imm, Inst, Op, Type, Value};

/// How a run ended, with the globals at that time, and what was written to the memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub end: End,
    pub globals: Vec<u64>,
    pub written: BTreeMap<u64, u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Returned(Vec<u64>),
    Trapped(TrapCode),
    /// It ran for longer than anybody waits.
    TimedOut,
}

/// Of the memory, in bytes.
const MEMORY_SIZE: u64 = 65_536;

struct Machine<'a> {
    graph: &'a Graph,
    values: SecondaryMap<Value, u64>,
    globals: Vec<u64>,
    written: BTreeMap<u64, u8>,
}

/// Runs a function for at most `steps` instructions.
pub fn run(graph: &Graph, args: &[u64], globals: &[u64], steps: usize) -> Outcome {
    let mut machine = Machine {
        graph,
        values: SecondaryMap::new(),
        globals: globals.to_vec(),
        written: BTreeMap::new(),
    };
    let end = machine.run(args, steps);
    Outcome {
        end,
        globals: machine.globals,
        written: machine.written,
    }
}

/// A number as both operations see it.
#[derive(Clone, Copy)]
struct Int {
    signed: i128,
    unsigned: i128,
    bits: u32,
}

impl Int {
    fn new(raw: u64, bits: u32) -> Int {
        let unsigned = i128::from(raw) & ((1 << bits) - 1);
        let signed = if unsigned >> (bits - 1) != 0 {
            unsigned - (1 << bits)
        } else {
            unsigned
        };
        Int {
            signed,
            unsigned,
            bits,
        }
    }
}

impl Machine<'_> {
    fn run(&mut self, args: &[u64], mut steps: usize) -> End {
        let graph = self.graph;
        let mut block = graph.entry();
        assert_eq!(graph.params(block).len(), args.len());
        for (&param, &arg) in graph.params(block).iter().zip(args) {
            self.values[param] = arg;
        }
        loop {
            let mut next = None;
            for inst in graph.insts(block) {
                match steps.checked_sub(1) {
                    Some(left) => steps = left,
                    None => return End::TimedOut,
                }
                match self.step(inst) {
                    Ok(Some(edge)) => next = Some(edge),
                    Ok(None) => {}
                    Err(end) => return end,
                }
            }
            let edge = next.expect("a block ends with a terminator");
            let target = graph.target(edge);
            let args: Vec<u64> = graph
                .edge_args(edge)
                .iter()
                .map(|v| self.values[*v])
                .collect();
            for (&param, arg) in graph.params(target).iter().zip(args) {
                self.values[param] = arg;
            }
            block = target;
        }
    }

    fn byte(&self, place: u64) -> u8 {
        // Any contents do, if they depend on the place.
        let mixed = (place + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        self.written.get(&place).copied().unwrap_or(mixed as u8)
    }

    fn step(&mut self, inst: Inst) -> Result<Option<Edge>, End> {
        let graph = self.graph;
        let op = graph.op(inst);
        let args: Vec<u64> = graph.args(inst).iter().map(|v| self.values[*v]).collect();
        let result = match (op, graph.imm(inst)) {
            (_, Imm::I32(value)) => u64::from(value as u32),
            (_, Imm::I64(value)) => value as u64,
            (Op::GlobalGet, Imm::Global(global)) => self.globals[global.as_u32() as usize],
            (Op::GlobalSet, Imm::Global(global)) => {
                self.globals[global.as_u32() as usize] = args[0];
                return Ok(None);
            }
            (_, Imm::Mem { offset, .. }) => {
                let (size, signed) = match op {
                    Op::I32Load8U | Op::I64Load8U => (1, false),
                    Op::I32Load16U => (2, false),
                    Op::I32Load | Op::I64Load32U => (4, false),
                    Op::I64Load => (8, false),
                    Op::I32Load8S => (1, true),
                    Op::I32Load16S | Op::I64Load16S => (2, true),
                    Op::I64Load32S => (4, true),
                    Op::I32Store8 | Op::I64Store8 => (1, false),
                    Op::I32Store16 => (2, false),
                    Op::I32Store | Op::I64Store32 => (4, false),
                    Op::I64Store => (8, false),
                    _ => panic!("the interpreter does not have {op}"),
                };
                let address = args[0] + offset;
                if address + size > MEMORY_SIZE {
                    return Err(End::Trapped(TrapCode::MemoryOutOfBounds));
                }
                let places = address..address + size;
                if let Some(value) = args.get(1) {
                    self.written.extend(places.zip(value.to_le_bytes()));
                    return Ok(None);
                }
                let bytes = places.rev().map(|place| self.byte(place));
                let value = bytes.fold(0, |value, byte| value << 8 | u64::from(byte));
                match signed {
                    true => Int::new(value, 8 * size as u32).signed as u64,
                    false => value,
                }
            }
            (Op::Jump, _) => return Ok(Some(graph.edge(inst, 0))),
            (Op::BranchIf, _) => return Ok(Some(graph.edge(inst, usize::from(args[0] == 0)))),
            (Op::BrTable, Imm::JumpTable(table)) => {
                let table = graph.jump_table(table);
                let entry = (args[0] as usize).min(table.len() - 1);
                return Ok(Some(graph.edge(inst, table[entry] as usize)));
            }
            (Op::Return, _) => return Err(End::Returned(args)),
            (Op::Unreachable, Imm::Trap(code)) => return Err(End::Trapped(code)),
            (Op::Select, _) => args[usize::from(args[2] == 0)],
            _ => {
                let bits = match graph.ty(graph.args(inst)[0]) {
                    Type::I64 => 64,
                    _ => 32,
                };
                let ints: Vec<Int> = args.iter().map(|&raw| Int::new(raw, bits)).collect();
                compute(op, &ints).map_err(End::Trapped)? as u64
            }
        };
        let value = graph.result(inst);
        let width = if graph.ty(value) == Type::I64 { 64 } else { 32 };
        self.values
            .insert(value, Int::new(result, width).unsigned as u64);
        Ok(None)
    }
}

/// The result before it is cut to the width of its type.
fn compute(op: Op, args: &[Int]) -> Result<i128, TrapCode> {
    let a = args[0];
    let (_, name) = op.name().split_once('.').expect("numeric ops have a type");
    let b = args.get(1).copied().unwrap_or(a);
    let amount = b.unsigned % i128::from(a.bits);
    let rotate = |amount: i128| {
        let (low, high) = (
            a.unsigned << amount,
            a.unsigned >> (i128::from(a.bits) - amount),
        );
        low | high
    };
    let ones = a.unsigned.count_ones();
    Ok(match name {
        "add" => a.signed + b.signed,
        "sub" => a.signed - b.signed,
        // Wraps modulo 2^128, of which any narrower modulus is a divisor.
        "mul" => a.signed.wrapping_mul(b.signed),
        "and" => a.unsigned & b.unsigned,
        "or" => a.unsigned | b.unsigned,
        "xor" => a.unsigned ^ b.unsigned,
        "shl" => a.unsigned << amount,
        "shr_s" => a.signed >> amount,
        "shr_u" => a.unsigned >> amount,
        "rotl" => rotate(amount),
        "rotr" => rotate((i128::from(a.bits) - amount) % i128::from(a.bits)),
        "div_s" | "div_u" | "rem_s" | "rem_u" if b.unsigned == 0 => {
            return Err(TrapCode::IntegerDivisionByZero);
        }
        "div_s" if a.signed / b.signed == 1 << (a.bits - 1) => {
            return Err(TrapCode::IntegerOverflow);
        }
        "div_s" => a.signed / b.signed,
        "div_u" => a.unsigned / b.unsigned,
        "rem_s" => a.signed % b.signed,
        "rem_u" => a.unsigned % b.unsigned,
        "eqz" => (a.unsigned == 0).into(),
        "eq" => (a.unsigned == b.unsigned).into(),
        "ne" => (a.unsigned != b.unsigned).into(),
        "lt_s" => (a.signed < b.signed).into(),
        "lt_u" => (a.unsigned < b.unsigned).into(),
        "gt_s" => (a.signed > b.signed).into(),
        "gt_u" => (a.unsigned > b.unsigned).into(),
        "le_s" => (a.signed <= b.signed).into(),
        "le_u" => (a.unsigned <= b.unsigned).into(),
        "ge_s" => (a.signed >= b.signed).into(),
        "ge_u" => (a.unsigned >= b.unsigned).into(),
        "clz" => (0..a.bits)
            .take_while(|n| a.unsigned >> (a.bits - 1 - n) & 1 == 0)
            .count() as i128,
        "ctz" => (0..a.bits).take_while(|n| a.unsigned >> n & 1 == 0).count() as i128,
        "popcnt" => ones.into(),
        "wrap_i64" => a.unsigned,
        "extend_i32_u" => a.unsigned,
        "extend_i32_s" => a.signed,
        "extend8_s" => Int::new(a.unsigned as u64, 8).signed,
        "extend16_s" => Int::new(a.unsigned as u64, 16).signed,
        "extend32_s" => Int::new(a.unsigned as u64, 32).signed,
        _ => panic!("the interpreter does not have {op}"),
    })
}
