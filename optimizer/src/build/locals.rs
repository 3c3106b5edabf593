//! Locals to SSA values, while building.
//!
//! On-the-fly construction after Braun et al.: a read looks for the definition backwards through
//! the predecessors and makes block parameters where several meet; a loop's header is open until
//! its `end`, and what is read in it meanwhile is a parameter that is completed, or found to be
//! needless, when the header is sealed.
//!
//! Wasm's structure makes this cheap. The block after a construct's `end` is dominated by the block
//! in which the construct began, and a local that was not assigned in between has the same value
//! in both; so each assignment leaves its time in the local's history, and a read goes around
//! whole constructs without looking inside. What a read found is remembered for its block: densely
//! for the block where a local was last touched (the usual case costs one comparison), the rest
//! in one hash table. Nothing is proportional to locals times blocks, nothing recurses, and all
//! work is counted so that hostile input meets a limit.
//!
//! It does not remove parameters that become trivial by the removal of others; a pass does.

use cranelift_entity::SecondaryMap;
use cranelift_entity::packed_option::{PackedOption, ReservedValue};

use crate::graph::{Block, Edge, Graph, Imm, Inst, Op, Type, Value};

/// A local of the function, or of a function inlined into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Var(pub u32);

/// Work until a function is too complex, in steps of a few nanoseconds. The hardest function of
/// clang, GCC and CPython needs 870,000.
const MAX_WORK: u64 = 1 << 28;

/// What an argument of an edge costs of it, so that the same bound is one on memory.
const ARG_WORK: u64 = 16;

/// After so many looks at a local's history it is taken to be assigned, which is always safe.
const MAX_HISTORY_LOOKS: u32 = 32;

/// What is found within so many steps is not worth the place in the table.
const SHORT_WALK: usize = 3;

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct VarData {
    /// The block (as stamp) where the local has `value`; `Ssa::base` if nowhere; less if the
    /// local was not touched in this function.
    stamp: u32,
    value: Value,
    /// The newest entry of the history, and its time.
    history: u32,
    assigned: u32,
    ty: Type,
    /// Whether `value` was found close by, so that it can be forgotten.
    transient: bool,
}

/// An assignment.
#[derive(Clone, Copy)]
struct Assigned {
    time: u32,
    earlier: u32,
}

/// How a block's values are found.
#[derive(Clone, Copy, Default)]
enum Origin {
    /// Where the function begins.
    #[default]
    Entry,
    /// It has this one predecessor.
    Single(Block),
    /// Several edges, all from between the end of `entry` and this block.
    Join { entry: Block, start: u32, end: u32 },
    /// The same, and more are to come: a loop's header before its `end`.
    Open { entry: Block, start: u32 },
}

#[derive(Clone, Copy)]
struct BlockData {
    origin: Origin,
    /// The list of edges to the block.
    preds: PackedOption<Edge>,
    num_preds: u32,
    /// Bit `n` is set if the table may have an entry for this block and a local whose number is
    /// `n` modulo 64. Most looks at the table would be in vain, and each is a cache miss.
    in_table: u64,
}

impl Default for BlockData {
    fn default() -> Self {
        BlockData {
            origin: Origin::Entry,
            preds: None.into(),
            num_preds: 0,
            in_table: 0,
        }
    }
}

/// An edge as element of the list of its target.
#[derive(Clone, Copy)]
struct Link {
    from: Block,
    next: PackedOption<Edge>,
}

impl Default for Link {
    fn default() -> Self {
        Link {
            from: Block::reserved_value(),
            next: None.into(),
        }
    }
}

/// A parameter whose arguments are being looked for.
struct Task {
    /// The block for which the result is remembered.
    asked: Block,
    /// The parameter's block.
    block: Block,
    param: Value,
    next: PackedOption<Edge>,
    /// Where its arguments begin in `Ssa::args`.
    args: usize,
}

/// The state; reusable.
#[derive(Default)]
pub(crate) struct Ssa {
    vars: Vec<VarData>,
    num_vars: u32,
    /// Types of locals in runs: the first number after the run, and the type.
    runs: Vec<(u32, Type)>,
    history: Vec<Assigned>,
    blocks: SecondaryMap<Block, BlockData>,
    links: SecondaryMap<Edge, Link>,
    defs: Defs,
    base: u32,
    time: u32,
    current: Option<Block>,
    current_stamp: u32,
    incomplete: Vec<(Var, Value)>,
    tasks: Vec<Task>,
    args: Vec<Value>,
    zeros: [PackedOption<Value>; Type::ALL.len()],
    work: u64,
    made_alias: bool,
}

impl std::fmt::Debug for Ssa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ssa").finish_non_exhaustive()
    }
}

impl Ssa {
    /// Prepares for another function. `num_blocks` is how many blocks the one before had.
    pub fn clear(&mut self) {
        let used = self.blocks.keys().len() as u32 + 2;
        match self.base.checked_add(used) {
            Some(base) if base < u32::MAX / 2 => self.base = base,
            // Stamps begin again, so what the old ones marked must go.
            _ => {
                self.vars.clear();
                self.defs = Defs::default();
                self.base = 1;
            }
        }
        self.num_vars = 0;
        self.runs.clear();
        self.history.clear();
        self.blocks.clear();
        self.links.clear();
        self.defs.clear(self.base);
        self.time = 1;
        self.current = None;
        self.current_stamp = 0;
        self.incomplete.clear();
        self.tasks.clear();
        self.args.clear();
        self.zeros = Default::default();
        self.work = 0;
        self.made_alias = false;
    }

    /// Whether the function is too complex to go on.
    pub fn is_exhausted(&self) -> bool {
        self.work > MAX_WORK
    }

    /// What was counted so far.
    #[cfg(test)]
    pub fn work(&self) -> u64 {
        self.work
    }

    /// Counts values that were stored in lists.
    pub fn charge(&mut self, args: usize) {
        self.work += args as u64 * ARG_WORK;
    }

    /// Whether [`Graph::resolve_aliases`] has anything to do.
    pub fn made_alias(&self) -> bool {
        self.made_alias
    }

    /// As [`Graph::alias`].
    pub fn alias(&mut self, graph: &mut Graph, value: Value, target: Value) {
        self.made_alias = true;
        graph.alias(value, target);
    }

    /// Declares `count` more locals of a type; their numbers are consecutive.
    pub fn declare(&mut self, count: u32, ty: Type) -> Var {
        let first = self.num_vars;
        self.num_vars += count;
        if count > 0 {
            self.runs.push((self.num_vars, ty));
        }
        Var(first)
    }

    /// How many are declared.
    pub fn num_vars(&self) -> u32 {
        self.num_vars
    }

    // Time and blocks.

    /// The next moment. A construct is the moments from one taken at its start to one taken at
    /// its end, exclusive.
    pub fn tick(&mut self) -> u32 {
        self.time += 1;
        self.time
    }

    fn stamp(&self, block: Block) -> u32 {
        self.base + 1 + block.as_u32()
    }

    /// Goes to another block.
    pub fn enter(&mut self, block: Block) {
        self.current = Some(block);
        self.current_stamp = self.stamp(block);
    }

    /// A block whose only predecessor is `from`.
    pub fn set_single(&mut self, block: Block, from: Block) {
        self.blocks[block].origin = Origin::Single(from);
    }

    /// The block after the end of a construct that began in block `entry` at `start` and ended
    /// at `end`; all its edges are known.
    pub fn set_join(&mut self, block: Block, entry: Block, start: u32, end: u32) {
        self.blocks[block].origin = match self.only_pred(block) {
            Some(edge) => Origin::Single(self.links[edge].from),
            None => Origin::Join { entry, start, end },
        };
    }

    /// The header of a loop that began in block `entry` at `start`.
    pub fn set_open(&mut self, block: Block, entry: Block, start: u32) {
        self.blocks[block].origin = Origin::Open { entry, start };
    }

    /// Notes an edge from block `from`.
    pub fn add_pred(&mut self, block: Block, edge: Edge, from: Block) {
        let data = &mut self.blocks[block];
        self.links[edge] = Link {
            from,
            next: data.preds,
        };
        data.preds = edge.into();
        data.num_preds += 1;
    }

    /// The edge to a block that has one.
    pub fn only_pred(&self, block: Block) -> Option<Edge> {
        let data = &self.blocks[block];
        data.preds.expand().filter(|_| data.num_preds == 1)
    }

    /// How many open parameters there are: to be noted when a loop begins.
    pub fn num_incomplete(&self) -> usize {
        self.incomplete.len()
    }

    /// Closes a loop's header at moment `end`; `incomplete` is what [`Ssa::num_incomplete`] was
    /// when it was opened.
    pub fn seal(&mut self, graph: &mut Graph, header: Block, end: u32, incomplete: usize) {
        let Origin::Open { entry, start } = self.blocks[header].origin else {
            debug_assert!(false, "{header} is not open");
            return;
        };
        self.set_join(header, entry, start, end);
        let single = self.only_pred(header).is_some();
        let last = self.incomplete.len();
        for i in incomplete..last {
            let (var, param) = self.incomplete[i];
            if self.is_exhausted() {
                return;
            }
            if single || !self.is_assigned(var, start, end) {
                let value = self.search(graph, var, Some(entry));
                self.made_alias = true;
                graph.alias(param, value);
            } else {
                self.tasks.push(Task {
                    asked: header,
                    block: header,
                    param,
                    next: self.blocks[header].preds,
                    args: self.args.len(),
                });
                self.search(graph, var, None);
            }
        }
        // Searching may have left some for loops further out.
        self.incomplete.drain(incomplete..last);
    }

    // Locals.

    /// Assigns in the current block.
    pub fn set(&mut self, var: Var, value: Value) {
        let time = self.time;
        let newest = self.history.len() as u32;
        let data = self.place(var);
        data.value = value;
        if data.assigned != time {
            let earlier = data.history;
            data.assigned = time;
            data.history = newest;
            self.history.push(Assigned { time, earlier });
        }
    }

    /// Reads in the current block.
    pub fn get(&mut self, graph: &mut Graph, var: Var) -> Value {
        let data = &self.vars.get(var.0 as usize);
        match data {
            Some(data) if data.stamp == self.current_stamp => data.value,
            _ => self.get_slowly(graph, var),
        }
    }

    #[inline(never)]
    fn get_slowly(&mut self, graph: &mut Graph, var: Var) -> Value {
        self.touch(var);
        match self.current {
            Some(block) => self.search(graph, var, Some(block)),
            None => self.zero(graph, var),
        }
    }

    /// Makes the local known in this function.
    fn touch(&mut self, var: Var) {
        let i = var.0 as usize;
        if i >= self.vars.len() {
            let len = (self.num_vars as usize).max(i + 1);
            self.vars.resize(
                len,
                VarData {
                    stamp: 0,
                    value: Value::reserved_value(),
                    history: NONE,
                    assigned: 0,
                    ty: Type::I32,
                    transient: false,
                },
            );
        }
        if self.vars[i].stamp < self.base {
            let run = self.runs.partition_point(|run| run.0 <= var.0);
            self.vars[i] = VarData {
                stamp: self.base,
                value: Value::reserved_value(),
                history: NONE,
                assigned: 0,
                ty: self.runs.get(run).map_or(Type::I32, |run| run.1),
                transient: false,
            };
        }
    }

    /// The dense entry of a local, made that of the current block. What it was goes to the table.
    fn place(&mut self, var: Var) -> &mut VarData {
        let i = var.0 as usize;
        let current = self.current_stamp;
        if self.vars.get(i).is_none_or(|data| data.stamp != current) {
            self.touch(var);
            let data = self.vars[i];
            if data.stamp > self.base && !data.transient {
                self.insert(data.stamp, var, data.value);
            }
            self.vars[i].stamp = current;
        }
        self.vars[i].transient = false;
        &mut self.vars[i]
    }

    fn known(&self, block: Block, var: Var) -> Option<Value> {
        let stamp = self.stamp(block);
        let data = &self.vars[var.0 as usize];
        if data.stamp == stamp {
            return Some(data.value);
        }
        if self.blocks[block].in_table >> (var.0 % 64) & 1 == 0 {
            return None;
        }
        self.defs.get(stamp, var)
    }

    fn remember(&mut self, block: Block, var: Var, value: Value) {
        let stamp = self.stamp(block);
        if stamp == self.current_stamp {
            self.place(var).value = value;
        } else if self.vars[var.0 as usize].stamp == stamp {
            self.vars[var.0 as usize].value = value;
            self.vars[var.0 as usize].transient = false;
        } else {
            self.insert(stamp, var, value);
        }
    }

    /// Puts a value into the table.
    fn insert(&mut self, stamp: u32, var: Var, value: Value) {
        let block = Block::from_u32(stamp - self.base - 1);
        self.blocks[block].in_table |= 1 << (var.0 % 64);
        self.defs.insert(stamp, var, value);
    }

    /// Whether a local may have been assigned at a moment from `start` to before `end`.
    fn is_assigned(&mut self, var: Var, start: u32, end: u32) -> bool {
        let data = &self.vars[var.0 as usize];
        if data.history == NONE || data.assigned < start {
            return false;
        }
        let mut at = data.history;
        for _ in 0..MAX_HISTORY_LOOKS {
            if at == NONE {
                return false;
            }
            let Assigned { time, earlier } = self.history[at as usize];
            if time < end {
                return time >= start;
            }
            self.work += 1;
            at = earlier;
        }
        true
    }

    /// The value of a local at the end of block `at`; with `None`, completes the newest task.
    fn search(&mut self, graph: &mut Graph, var: Var, mut at: Option<Block>) -> Value {
        loop {
            let mut found = match at {
                Some(block) => self.walk(graph, var, block),
                None => None,
            };
            // Give what was found to those who asked, until one has another question.
            at = loop {
                let Some(task) = self.tasks.last_mut() else {
                    return found.unwrap_or_else(|| self.zero(graph, var));
                };
                self.args.extend(found);
                if let Some(edge) = task.next.expand() {
                    let link = self.links[edge];
                    task.next = link.next;
                    break Some(link.from);
                }
                found = self.finish_task(graph, var);
            };
        }
    }

    /// Looks backwards from the end of `asked`. `None`: a task was begun instead.
    fn walk(&mut self, graph: &mut Graph, var: Var, asked: Block) -> Option<Value> {
        let mut block = asked;
        let mut steps = 0usize;
        // The blocks 4, 8, 16 … steps back: what is found is remembered there too, so that
        // those who come the same way later have it short.
        let mut milestones = [asked; usize::BITS as usize];
        let mut num_milestones = 0;
        let value = loop {
            if let Some(value) = self.known(block, var) {
                if block == asked {
                    return Some(value);
                }
                break value;
            }
            if steps > SHORT_WALK && steps.is_power_of_two() {
                milestones[num_milestones] = block;
                num_milestones += 1;
            }
            steps += 1;
            match self.blocks[block].origin {
                Origin::Single(from) => block = from,
                Origin::Join { entry, start, end } => {
                    if !self.is_assigned(var, start, end) {
                        block = entry;
                        continue;
                    }
                    let param = graph.make_value(self.vars[var.0 as usize].ty);
                    self.work += steps as u64;
                    self.remember(block, var, param);
                    for &milestone in &milestones[..num_milestones] {
                        self.remember(milestone, var, param);
                    }
                    self.tasks.push(Task {
                        asked,
                        block,
                        param,
                        next: self.blocks[block].preds,
                        args: self.args.len(),
                    });
                    return None;
                }
                Origin::Open { .. } => {
                    let param = graph.make_value(self.vars[var.0 as usize].ty);
                    self.incomplete.push((var, param));
                    self.remember(block, var, param);
                    break param;
                }
                Origin::Entry => {
                    let value = self.zero(graph, var);
                    self.remember(block, var, value);
                    break value;
                }
            }
        };
        self.work += steps as u64;
        for &milestone in &milestones[..num_milestones] {
            self.remember(milestone, var, value);
        }
        if self.current == Some(asked) {
            let close = steps <= SHORT_WALK && block != asked;
            let data = self.place(var);
            data.value = value;
            data.transient = close;
        } else if steps > SHORT_WALK {
            self.remember(asked, var, value);
        }
        Some(value)
    }

    /// All arguments of the newest task are there: the parameter becomes one, or another name of
    /// the only value that comes in.
    fn finish_task(&mut self, graph: &mut Graph, var: Var) -> Option<Value> {
        let task = self.tasks.pop()?;
        let mut only = None;
        let mut several = false;
        for arg in &mut self.args[task.args..] {
            *arg = graph.resolve_mut(*arg);
            if *arg != task.param && only != Some(*arg) {
                several |= only.is_some();
                only = Some(*arg);
            }
        }
        let value = if several {
            graph.attach_param(task.block, task.param);
            self.charge(self.args.len() - task.args);
            let mut edge = self.blocks[task.block].preds;
            for &arg in &self.args[task.args..] {
                let Some(e) = edge.expand() else { break };
                graph.push_edge_arg(e, arg);
                edge = self.links[e].next;
            }
            task.param
        } else {
            let only = match only {
                Some(only) => only,
                None => self.zero(graph, var),
            };
            self.made_alias = true;
            graph.alias(task.param, only);
            only
        };
        self.args.truncate(task.args);
        if task.asked != task.block {
            self.remember(task.asked, var, value);
        }
        Some(value)
    }

    /// The initial value of a local that is no parameter, made at the start of the function.
    fn zero(&mut self, graph: &mut Graph, var: Var) -> Value {
        let ty = self.vars[var.0 as usize].ty;
        self.zero_of(graph, ty)
    }

    /// The zero of a type, made at the start of the function.
    pub fn zero_of(&mut self, graph: &mut Graph, ty: Type) -> Value {
        if let Some(value) = self.zeros[ty as usize].expand() {
            return value;
        }
        let inst = make_zero(graph, ty);
        graph.prepend_inst(inst, graph.entry());
        let value = graph.result(inst);
        self.zeros[ty as usize] = value.into();
        value
    }
}

fn make_zero(graph: &mut Graph, ty: Type) -> Inst {
    let (op, imm) = match ty {
        Type::I32 => (Op::I32Const, Imm::I32(0)),
        Type::I64 => (Op::I64Const, Imm::I64(0)),
        Type::F32 => (Op::F32Const, Imm::F32(0)),
        Type::F64 => (Op::F64Const, Imm::F64(0)),
        Type::V128 => (Op::V128Const, Imm::V128(graph.make_constant(0))),
        Type::FuncRef | Type::ExternRef | Type::AnyRef | Type::ExnRef => (Op::RefNull, Imm::None),
    };
    graph.make_inst(op, &[], imm, None, &[ty])
}

/// A hash table from block and local to value: open addressing, linear probing, at most half
/// full. Entries of functions before have lower stamps and count as empty, so clearing is free; a
/// function begins with a small part of the allocation so that a large one before it does not
/// spread a small one over the cache.
#[derive(Default)]
struct Defs {
    slots: Vec<Def>,
    spare: Vec<Def>,
    mask: usize,
    used: usize,
    base: u32,
}

#[derive(Clone, Copy)]
#[repr(align(16))]
struct Def {
    stamp: u32,
    var: Var,
    value: Value,
}

impl Def {
    fn empty() -> Def {
        Def {
            stamp: 0,
            var: Var(0),
            value: Value::reserved_value(),
        }
    }
}

const FIRST_SIZE: usize = 1 << 10;

impl Defs {
    fn clear(&mut self, base: u32) {
        self.base = base;
        self.used = 0;
        self.mask = FIRST_SIZE - 1;
        if self.slots.len() < FIRST_SIZE {
            self.slots.resize(FIRST_SIZE, Def::empty());
        }
    }

    fn hash(&self, stamp: u32, var: Var) -> usize {
        let key = u64::from(stamp) << 32 | u64::from(var.0);
        let product = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (product >> 32 ^ product >> 52) as usize & self.mask
    }

    fn get(&self, stamp: u32, var: Var) -> Option<Value> {
        let mut i = self.hash(stamp, var);
        loop {
            let slot = &self.slots[i];
            if slot.stamp == stamp && slot.var == var {
                return Some(slot.value);
            }
            if slot.stamp <= self.base {
                return None;
            }
            i = (i + 1) & self.mask;
        }
    }

    fn insert(&mut self, stamp: u32, var: Var, value: Value) {
        let mut i = self.hash(stamp, var);
        loop {
            let slot = &mut self.slots[i];
            if slot.stamp <= self.base {
                *slot = Def { stamp, var, value };
                self.used += 1;
                if self.used * 2 > self.mask {
                    self.grow();
                }
                return;
            }
            if slot.stamp == stamp && slot.var == var {
                slot.value = value;
                return;
            }
            i = (i + 1) & self.mask;
        }
    }

    fn grow(&mut self) {
        let old = self.mask + 1;
        self.spare.clear();
        self.spare.extend_from_slice(&self.slots[..old]);
        let size = old * 4;
        if self.slots.len() < size {
            self.slots.resize(size, Def::empty());
        }
        self.slots[..old].fill(Def::empty());
        self.mask = size - 1;
        self.used = 0;
        let spare = std::mem::take(&mut self.spare);
        for &Def { stamp, var, value } in &spare {
            if stamp > self.base {
                self.insert(stamp, var, value);
            }
        }
        self.spare = spare;
    }
}

#[cfg(test)]
mod tests {
    use cranelift_entity::EntityRef;

    use super::*;

    #[test]
    fn definitions_survive_growth_and_vanish_with_the_function() {
        let mut defs = Defs::default();
        for base in [1, 100_000] {
            defs.clear(base);
            assert_eq!(defs.get(base + 1, Var(0)), None);
            for i in 0..10_000u32 {
                defs.insert(base + 1 + i % 100, Var(i / 100), Value::new(i as usize));
            }
            for i in 0..10_000u32 {
                let found = defs.get(base + 1 + i % 100, Var(i / 100));
                assert_eq!(found, Some(Value::new(i as usize)));
            }
            assert_eq!(defs.get(base + 1, Var(100)), None);
        }
    }
}
