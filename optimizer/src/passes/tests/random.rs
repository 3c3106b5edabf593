//! Random functions, as text: any control flow over integers, with globals as observable state.
//!
//! The same seed gives the same function. Values are drawn from what dominates their use, so every
//! function is valid; loops need not end.

use std::fmt::Write;

/// A small deterministic generator (xorshift64*).
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.next() >> 32) as usize) % n
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// An integer of a type with this many bits, often one at which operations change character.
    pub fn integer(&mut self, bits: u32) -> i64 {
        let value = match self.below(8) {
            0 => 0,
            1 => 1,
            2 => -1,
            3 => 1 << self.below(bits as usize),
            4 => (1i64 << self.below(bits as usize)).wrapping_sub(1),
            5 => i64::MIN >> (64 - bits),
            6 => self.below(40) as i64 - 8,
            _ => self.next() as i64,
        };
        if bits == 32 {
            i64::from(value as i32)
        } else {
            value
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ty {
    I32,
    I64,
}

impl Ty {
    fn name(self) -> &'static str {
        match self {
            Ty::I32 => "i32",
            Ty::I64 => "i64",
        }
    }
}

const BINARY: &[&str] = &[
    "add", "sub", "mul", "and", "or", "xor", "shl", "shr_s", "shr_u", "rotl", "rotr", "div_s",
    "div_u", "rem_s", "rem_u",
];
const COMPARE: &[&str] = &[
    "eq", "ne", "lt_s", "lt_u", "gt_s", "gt_u", "le_s", "le_u", "ge_s", "ge_u",
];
const UNARY: &[&str] = &["clz", "ctz", "popcnt", "extend8_s", "extend16_s"];

/// What the tests pass to a generated function.
pub const PARAMS: &str = "i32, i32, i64";

struct Block {
    params: Vec<(u32, Ty)>,
    succs: Vec<usize>,
    defs: Vec<(u32, Ty)>,
    text: String,
}

struct Generator {
    rng: Rng,
    blocks: Vec<Block>,
    dominators: Vec<u64>,
    next_value: u32,
    /// Addresses of loads and stores, with the block that has them.
    addresses: Vec<(usize, u32)>,
    /// Whether the block is to have no instruction but the last, if that can be.
    bare: bool,
}

/// The function of this seed.
pub fn function(seed: u64) -> String {
    let mut rng = Rng::new(seed);
    let count = 1 + rng.below(9);
    let mut next_value = 3;
    let mut blocks = vec![Block {
        params: vec![(0, Ty::I32), (1, Ty::I32), (2, Ty::I64)],
        succs: vec![],
        defs: vec![],
        text: String::new(),
    }];
    for _ in 1..count {
        let params = (0..rng.below(4))
            .map(|_| {
                next_value += 1;
                (next_value - 1, rng.pick(&[Ty::I32, Ty::I32, Ty::I64]))
            })
            .collect();
        blocks.push(Block {
            params,
            succs: vec![],
            defs: vec![],
            text: String::new(),
        });
    }
    for (i, block) in blocks.iter_mut().enumerate() {
        let fanout = match rng.below(10) {
            _ if count == 1 => 0,
            0 | 1 => 0,
            2..=4 => 1,
            5..=8 => 2,
            _ => 1 + rng.below(4),
        };
        // Mostly forward, so that most runs end.
        block.succs = (0..fanout)
            .map(|_| match i + 1 < count && rng.below(4) > 0 {
                true => i + 1 + rng.below(count - i - 1),
                false => 1 + rng.below(count - 1),
            })
            .collect();
    }
    let mut this = Generator {
        dominators: dominators(&blocks),
        rng,
        blocks,
        next_value,
        addresses: Vec::new(),
        bare: false,
    };
    for block in reverse_postorder(&this.blocks) {
        this.fill(block);
    }
    this.print()
}

/// For each block the set of its dominators as a bit mask; unreachable blocks have all.
fn dominators(blocks: &[Block]) -> Vec<u64> {
    let mut sets = vec![u64::MAX; blocks.len()];
    sets[0] = 1;
    loop {
        let before = sets.clone();
        for b in 1..blocks.len() {
            let preds = (0..blocks.len()).filter(|&p| blocks[p].succs.contains(&b));
            sets[b] = preds.fold(u64::MAX, |set, p| set & sets[p]) | 1 << b;
        }
        if sets == before {
            return sets;
        }
    }
}

fn reverse_postorder(blocks: &[Block]) -> Vec<usize> {
    fn visit(b: usize, blocks: &[Block], seen: &mut [bool], out: &mut Vec<usize>) {
        if !std::mem::replace(&mut seen[b], true) {
            for &successor in &blocks[b].succs {
                visit(successor, blocks, seen, out);
            }
            out.push(b);
        }
    }
    let (mut order, mut seen) = (Vec::new(), vec![false; blocks.len()]);
    visit(0, blocks, &mut seen, &mut order);
    order.reverse();
    // Unreachable blocks come last.
    order.extend((0..blocks.len()).filter(|&b| !seen[b]));
    order
}

impl Generator {
    fn fill(&mut self, block: usize) {
        // Blocks that only pass values on are what some passes look for.
        self.bare = block != 0 && self.rng.below(4) == 0;
        if !self.bare {
            for _ in 0..self.rng.below(9) {
                self.instruction(block);
            }
        }
        let succs = self.blocks[block].succs.clone();
        let text = match succs.len() {
            0 if self.rng.below(6) == 0 => "unreachable @0x1".to_owned(),
            0 => format!(
                "return {}, {}",
                self.value(block, Ty::I32),
                self.value(block, Ty::I64)
            ),
            1 => format!("jump {}", self.target(block, succs[0])),
            2 => {
                let condition = self.value(block, Ty::I32);
                let (then, other) = (self.target(block, succs[0]), self.target(block, succs[1]));
                format!("branch_if {condition}, {then}, {other}")
            }
            _ => {
                let index = self.value(block, Ty::I32);
                let targets: Vec<_> = succs.iter().map(|&s| self.target(block, s)).collect();
                let mut table = String::from("[");
                for _ in 0..self.rng.below(5) {
                    write!(table, "{} ", self.rng.below(succs.len())).unwrap();
                }
                let default = self.rng.below(succs.len());
                format!(
                    "br_table {table}else {default}] {index}, {}",
                    targets.join(", ")
                )
            }
        };
        writeln!(self.blocks[block].text, "    {text}").unwrap();
    }

    fn target(&mut self, from: usize, to: usize) -> String {
        let types: Vec<Ty> = self.blocks[to].params.iter().map(|&(_, ty)| ty).collect();
        if types.is_empty() {
            return format!("block{to}");
        }
        let args: Vec<String> = types.into_iter().map(|ty| self.value(from, ty)).collect();
        format!("block{to}({})", args.join(", "))
    }

    fn define(&mut self, block: usize, ty: Ty, text: String) -> String {
        let (value, name) = (self.next_value, ty.name());
        self.next_value += 1;
        writeln!(self.blocks[block].text, "    v{value}: {name} = {text}").unwrap();
        self.blocks[block].defs.push((value, ty));
        format!("v{value}")
    }

    /// A value of type `ty` that may be used at the current end of `block`.
    fn value(&mut self, block: usize, ty: Ty) -> String {
        if !self.bare && self.rng.below(4) == 0 {
            return self.constant(block, ty);
        }
        let set = self.dominators[block];
        let known: Vec<u32> = (0..self.blocks.len())
            .filter(|&b| b == block || set != u64::MAX && set >> b & 1 == 1)
            .flat_map(|b| self.blocks[b].params.iter().chain(&self.blocks[b].defs))
            .filter(|&&(_, t)| t == ty)
            .map(|&(v, _)| v)
            .collect();
        if known.is_empty() {
            return self.constant(block, ty);
        }
        // The newest are the most interesting.
        let last = known.len() - 1;
        let back = self.rng.below(known.len()).min(self.rng.below(known.len()));
        format!("v{}", known[last - back])
    }

    fn constant(&mut self, block: usize, ty: Ty) -> String {
        let bits = if ty == Ty::I32 { 32 } else { 64 };
        let value = self.rng.integer(bits);
        self.define(block, ty, format!("{}.const {value}", ty.name()))
    }

    fn instruction(&mut self, block: usize) {
        let ty = self.rng.pick(&[Ty::I32, Ty::I32, Ty::I64]);
        let name = ty.name();
        match self.rng.below(26) {
            0..=7 => {
                let op = self.rng.pick(BINARY);
                let (a, b) = (self.value(block, ty), self.value(block, ty));
                let site = if op.contains("div") || op.contains("rem") {
                    " @0x2"
                } else {
                    ""
                };
                self.define(block, ty, format!("{name}.{op} {a}, {b}{site}"));
            }
            8..=11 => {
                let op = self.rng.pick(COMPARE);
                let (a, b) = (self.value(block, ty), self.value(block, ty));
                self.define(block, Ty::I32, format!("{name}.{op} {a}, {b}"));
            }
            12 => {
                let a = self.value(block, ty);
                self.define(block, Ty::I32, format!("{name}.eqz {a}"));
            }
            13 => {
                let op = self.rng.pick(UNARY);
                let a = self.value(block, ty);
                self.define(block, ty, format!("{name}.{op} {a}"));
            }
            14 => {
                let a = self.value(block, Ty::I64);
                self.define(block, Ty::I32, format!("i32.wrap_i64 {a}"));
            }
            15 => {
                let op = self.rng.pick(&["extend_i32_s", "extend_i32_u"]);
                let a = self.value(block, Ty::I32);
                self.define(block, Ty::I64, format!("i64.{op} {a}"));
            }
            16 | 17 => {
                let (a, b) = (self.value(block, ty), self.value(block, ty));
                let c = self.value(block, Ty::I32);
                self.define(block, ty, format!("select {a}, {b}, {c}"));
            }
            18..=21 => self.access(block),
            22 | 23 => {
                let global = if ty == Ty::I32 { 0 } else { 1 };
                self.define(block, ty, format!("global.get global{global}"));
            }
            _ => {
                let global = if ty == Ty::I32 { 0 } else { 1 };
                let a = self.value(block, ty);
                writeln!(self.blocks[block].text, "    global.set global{global} {a}").unwrap();
            }
        }
    }

    /// A load or a store.
    fn access(&mut self, block: usize) {
        let address = self.address(block);
        let offset = match self.rng.below(3) {
            0 => self.rng.integer(17) as u32,
            _ => self.rng.below(10) as u32,
        };
        if self.rng.below(3) == 0 {
            let (ty, op) = self.rng.pick(&[
                (Ty::I32, "i32.store"),
                (Ty::I32, "i32.store8"),
                (Ty::I32, "i32.store16"),
                (Ty::I64, "i64.store"),
                (Ty::I64, "i64.store32"),
                (Ty::I64, "i64.store8"),
            ]);
            let value = self.value(block, ty);
            let text = &mut self.blocks[block].text;
            writeln!(text, "    {op} offset={offset} {address}, {value} @0x3").unwrap();
            return;
        }
        let (ty, op) = self.rng.pick(&[
            (Ty::I32, "i32.load8_u"),
            (Ty::I32, "i32.load16_u"),
            (Ty::I64, "i64.load32_u"),
            (Ty::I64, "i64.load8_u"),
            (Ty::I32, "i32.load"),
            (Ty::I32, "i32.load8_s"),
            (Ty::I32, "i32.load16_s"),
            (Ty::I64, "i64.load"),
            (Ty::I64, "i64.load16_s"),
            (Ty::I64, "i64.load32_s"),
        ]);
        self.define(block, ty, format!("{op} offset={offset} {address} @0x3"));
    }

    /// An address that was used before, or what may be a sum, of which most are in bounds.
    fn address(&mut self, block: usize) -> String {
        let set = self.dominators[block];
        let known: Vec<u32> = (self.addresses.iter())
            .filter(|&&(b, _)| b == block || set != u64::MAX && set >> b & 1 == 1)
            .map(|&(_, value)| value)
            .collect();
        if !known.is_empty() && self.rng.below(3) > 0 {
            let known = self.rng.pick(&known);
            if self.rng.below(3) > 0 {
                return format!("v{known}");
            }
            // Not far from it.
            let op = self.rng.pick(&["add", "sub"]);
            let distance = self.rng.below(12);
            let distance = self.define(block, Ty::I32, format!("i32.const {distance}"));
            return self.define(block, Ty::I32, format!("i32.{op} v{known}, {distance}"));
        }
        let mut address = self.value(block, Ty::I32);
        if self.rng.below(8) > 0 {
            let mask = (1 << self.rng.below(17)) - 1;
            let mask = self.define(block, Ty::I32, format!("i32.const {mask}"));
            address = self.define(block, Ty::I32, format!("i32.and {address}, {mask}"));
        }
        if self.rng.below(4) > 0 {
            let op = self.rng.pick(&["add", "or"]);
            let other = self.constant(block, Ty::I32);
            address = self.define(block, Ty::I32, format!("i32.{op} {address}, {other}"));
        }
        if let Ok(value) = address[1..].parse() {
            self.addresses.push((block, value));
        }
        address
    }

    fn print(&self) -> String {
        let mut out = format!("func ({PARAMS}) -> (i32, i64) {{\n");
        for (i, block) in self.blocks.iter().enumerate() {
            let params: Vec<String> = block
                .params
                .iter()
                .map(|&(v, ty)| format!("v{v}: {}", ty.name()))
                .collect();
            match params.is_empty() {
                true => writeln!(out, "block{i}:").unwrap(),
                false => writeln!(out, "block{i}({}):", params.join(", ")).unwrap(),
            }
            out.push_str(&block.text);
        }
        out.push_str("}\n");
        out
    }
}
