//! Which references are where when the garbage collector runs.
//!
//! The collector may run at calls and allocations ([`Effects::COLLECTS`]) and moves objects. A traced
//! value that is used after such a point is in a stack slot then, the point's stack map names the
//! slot, and what is used afterwards is what the slot has. This finds the values, gives them slots and
//! says what is where; `super::trace` does it in the code.
//!
//! There are two kinds of points. A call is one on the way that is usually taken: values that live
//! across it are stored where they are defined, once, and read again where they are used next. An
//! allocation whose room is taken inline ([`is_inline`]) collects on its cold path only: a value that
//! is used afterwards in the same block is stored and read again on that path, so that the usual one
//! touches no memory. Values that go on to other blocks are stored at their definition here as well,
//! for otherwise the code would have to join what the two paths have, block by block.
//!
//! Liveness is found value by value, backwards from its uses, so that functions without traced
//! values, or without points, pay for one look. Slots are shared by values that do not live at the
//! same time; colouring definitions in an order in which dominators come first is enough for that, since
//! of two values that are alive at once, one is alive where the other is defined.
//!
//! **Invariant**: the result depends on the graph alone.

use bimetal_abi::gc::array_layout;
use bimetal_codegen::{CompileError, ModuleEnv};
use bimetal_wasm::{FieldType, StorageType, ValType};
use cranelift_entity::EntityRef;

use crate::graph::{Block, Cfg, Effects, Graph, Imm, Inst, Op, Value, ValueDef};

/// Work until a function is too complex, in steps of a few nanoseconds.
const MAX_WORK: u64 = 1 << 28;

/// More values than this are not joined after an inline allocation: then it counts as a call.
const MAX_JOINED: usize = 16;

/// The bytes of the largest object whose room is taken inline.
pub(super) const LARGEST_INLINE: u32 = 1 << 10;

/// The bytes of the largest array of equal elements whose room is taken inline.
pub(super) const LARGEST_FILLED: u32 = 256;

const NONE: u32 = u32::MAX;

/// The end of a block, after its terminator.
const END: u32 = u32::MAX;
/// Where a block's parameters are defined.
const PARAMS: u32 = 1;

/// A value that lives across a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Root {
    pub value: Value,
    /// Whether it is used afterwards in the point's block.
    pub local: bool,
}

/// A place at which the collector may run.
#[derive(Clone, Copy, Debug)]
struct Point {
    at: u32,
    /// See [`is_inline`].
    inline: bool,
    /// Its part of `Roots::roots`.
    start: u32,
    end: u32,
}

/// What was found for a function, and working memory for the next one.
#[derive(Debug, Default)]
pub(super) struct Roots {
    /// The number of slots; if it is 0 nothing else says anything.
    pub slots: u32,
    /// By value, its slot.
    slot: Vec<u32>,
    /// By value, whether it is stored where it is defined.
    stored: Vec<bool>,
    points: Vec<Point>,
    roots: Vec<Root>,
    /// By instruction, its point.
    point_of: Vec<u32>,
    /// Values that blocks begin with in their slots alone, by block, in ascending order.
    stale: Vec<(Block, Value)>,
    cfg: Cfg,
    work: Work,
}

#[derive(Debug, Default)]
struct Work {
    /// By instruction, its place and block.
    places: Vec<u32>,
    block_of: Vec<Block>,
    /// By value, its newest use.
    uses: Vec<u32>,
    links: Vec<Use>,
    /// By block, its points or definitions.
    ranges: Vec<(u32, u32)>,
    /// By block: the value (as round) that is alive at its start, and at its end.
    live_in: Vec<u32>,
    live_out: Vec<u32>,
    /// By block, the value whose uses in it were seen, and the one that is stale at its start.
    used: Vec<u32>,
    stale: Vec<u32>,
    blocks: Vec<Block>,
    crossed: Vec<Block>,
    /// By point or definition, the pair of the value at hand, and the value.
    marks: Vec<(u32, u32)>,
    pairs: Vec<(u32, Root)>,
    traced: Vec<Value>,
    definitions: Vec<(u32, Value)>,
    colors: Vec<u32>,
    steps: u64,
}

/// A use, as element of the list of its value.
#[derive(Clone, Copy, Debug)]
struct Use {
    block: Block,
    at: u32,
    next: u32,
}

/// Whether an allocation takes its room inline: what it makes has a size that is known, and small, or
/// is an array that may be.
pub(super) fn is_inline(env: &ModuleEnv, graph: &Graph, inst: Inst) -> bool {
    let module = &*env.module;
    match (graph.op(inst), graph.imm(inst)) {
        (Op::StructNew | Op::StructNewDefault, Imm::Type(ty)) => {
            // Every field takes 16 bytes at most.
            module.struct_fields(ty).len() * 16 + 8 <= LARGEST_INLINE as usize
        }
        // The same.
        (Op::ExnNew, _) => graph.args(inst).len() * 16 + 16 <= LARGEST_INLINE as usize,
        (Op::ArrayNewFixed, Imm::Type(ty)) => module.array_element(ty).is_some_and(|element| {
            array_size(env, element, graph.args(inst).len()) <= u64::from(LARGEST_INLINE)
        }),
        (Op::ArrayNew | Op::ArrayNewDefault, Imm::Type(ty)) => {
            let Some(element) = module.array_element(ty) else {
                return false;
            };
            let length = graph
                .args(inst)
                .last()
                .and_then(|&length| graph.def_inst(length));
            let is_small = match length.map(|inst| graph.imm(inst)) {
                Some(Imm::I32(length)) => {
                    array_size(env, element, length as u32 as usize) <= u64::from(LARGEST_FILLED)
                }
                // What turns out to be large takes the cold path.
                _ => true,
            };
            is_small && element.storage != StorageType::Val(ValType::V128)
        }
        _ => false,
    }
}

/// The bytes of an array of so many elements, unrounded.
pub(super) fn array_size(env: &ModuleEnv, element: FieldType, length: usize) -> u64 {
    let layout = array_layout(&element.storage, |ty| env.module.is_func_ref(ty));
    layout.byte_size(u32::try_from(length).unwrap_or(u32::MAX))
}

/// Whether an instruction uses its operands after the collector has run.
fn uses_late(op: Op) -> bool {
    matches!(
        op,
        Op::StructNew | Op::ArrayNew | Op::ArrayNewFixed | Op::ExnNew
    )
}

/// Whether the collector must know of a value.
fn is_root(graph: &Graph, value: Value) -> bool {
    graph.ty(value).is_traced()
        && graph.def_inst(value).is_none_or(|inst| {
            // Null and integers stay what they are.
            !matches!(graph.op(inst), Op::RefNull | Op::RefI31)
        })
}

impl Roots {
    /// Finds them.
    ///
    /// # Errors
    /// [`CompileError::Limit`] if the function is too complex.
    pub fn compute(&mut self, env: &ModuleEnv, graph: &Graph) -> Result<(), CompileError> {
        self.slots = 0;
        self.points.clear();
        self.roots.clear();
        self.stale.clear();
        if !(0..graph.num_values()).any(|i| graph.ty(Value::new(i)).is_traced()) {
            return Ok(());
        }
        self.cfg.compute(graph);
        self.find_points(env, graph);
        if self.points.is_empty() {
            return Ok(());
        }
        self.find_uses(graph);
        self.find_roots(graph)?;
        if !self.roots.is_empty() {
            self.assign_slots(graph)?;
        }
        Ok(())
    }

    /// Whether the function does nothing at which an object could move: what was read from one stays
    /// right wherever it is read.
    pub fn nothing_moves(&self) -> bool {
        self.points.is_empty()
    }

    /// The slot of a value that has one.
    pub fn slot(&self, value: Value) -> Option<u32> {
        if self.slots == 0 {
            return None;
        }
        let slot = self.slot[value.index()];
        (slot != NONE).then_some(slot)
    }

    /// Whether a value with a slot is stored where it is defined.
    pub fn is_stored(&self, value: Value) -> bool {
        self.stored[value.index()]
    }

    /// What lives across an instruction, in ascending order of values.
    pub fn across(&self, inst: Inst) -> std::ops::Range<usize> {
        if self.slots == 0 {
            return 0..0;
        }
        match self.points.get(self.point_of[inst.index()] as usize) {
            Some(point) => point.start as usize..point.end as usize,
            None => 0..0,
        }
    }

    /// An element of [`Roots::across`].
    pub fn root(&self, i: usize) -> Root {
        self.roots[i]
    }

    /// Whether an allocation is one that collects on a cold path only.
    pub fn is_cold(&self, inst: Inst) -> bool {
        self.slots == 0
            || self
                .points
                .get(self.point_of[inst.index()] as usize)
                .is_none_or(|point| point.inline)
    }

    /// The values that are in their slots alone where a block begins.
    pub fn stale(&self, block: Block) -> &[(Block, Value)] {
        let start = self.stale.partition_point(|entry| entry.0 < block);
        let len = self.stale[start..].partition_point(|entry| entry.0 == block);
        &self.stale[start..start + len]
    }

    /// The only predecessor of a block.
    pub fn only_pred(&self, graph: &Graph, block: Block) -> Option<Block> {
        match self.cfg.pred_insts(block) {
            &[inst] => graph.inst_block(inst),
            _ => None,
        }
    }

    /// Numbers places: the `n`-th instruction of a block is at `2n + 4`, what it uses late and what
    /// it defines one further.
    fn find_points(&mut self, env: &ModuleEnv, graph: &Graph) {
        self.work.ranges.clear();
        self.work.ranges.resize(graph.num_blocks(), (0, 0));
        self.work.places.clear();
        self.work.places.resize(graph.num_insts(), 0);
        self.work.block_of.clear();
        self.work.block_of.resize(graph.num_insts(), Block::new(0));
        self.point_of.clear();
        self.point_of.resize(graph.num_insts(), NONE);
        for block in self.cfg.reverse_postorder() {
            let start = self.points.len() as u32;
            for (n, inst) in graph.insts(block).enumerate() {
                self.work.places[inst.index()] = place(n);
                self.work.block_of[inst.index()] = block;
                let effects = graph.effects(inst);
                let leaves =
                    effects.contains(Effects::IS_TERMINATOR) && graph.edges(inst).len() == 0;
                if !effects.contains(Effects::COLLECTS) || leaves {
                    continue;
                }
                self.point_of[inst.index()] = self.points.len() as u32;
                self.points.push(Point {
                    at: place(n),
                    inline: is_inline(env, graph, inst),
                    start: 0,
                    end: 0,
                });
            }
            self.work.ranges[block.index()] = (start, self.points.len() as u32);
        }
    }

    fn find_uses(&mut self, graph: &Graph) {
        let Work { uses, links, .. } = &mut self.work;
        uses.clear();
        uses.resize(graph.num_values(), NONE);
        links.clear();
        for block in self.cfg.reverse_postorder() {
            let mut note = |value: Value, at: u32| {
                if !graph.ty(value).is_traced() {
                    return;
                }
                let newest = &mut uses[value.index()];
                links.push(Use {
                    block,
                    at,
                    next: *newest,
                });
                *newest = links.len() as u32 - 1;
            };
            for (n, inst) in graph.insts(block).enumerate() {
                let at = place(n) + u32::from(uses_late(graph.op(inst)));
                for &value in graph.args(inst) {
                    note(value, at);
                }
                for edge in graph.edges(inst) {
                    for &value in graph.edge_args(edge) {
                        note(value, END);
                    }
                }
            }
        }
    }

    /// Which values live across which points, and which of them are stored at once.
    fn find_roots(&mut self, graph: &Graph) -> Result<(), CompileError> {
        let blocks = graph.num_blocks();
        let work = &mut self.work;
        for stamps in [
            &mut work.live_in,
            &mut work.live_out,
            &mut work.used,
            &mut work.stale,
        ] {
            stamps.clear();
            stamps.resize(blocks, NONE);
        }
        work.marks.clear();
        work.marks.resize(self.points.len(), (NONE, 0));
        work.pairs.clear();
        work.traced.clear();
        work.steps = 0;
        self.stored.clear();
        self.stored.resize(graph.num_values(), false);
        for i in 0..graph.num_values() {
            let value = Value::new(i);
            if self.work.uses[i] == NONE || !is_root(graph, value) {
                continue;
            }
            let Some(place) = self.definition(graph, value) else {
                continue;
            };
            let before = self.work.pairs.len();
            self.walk(graph, value, place, Walk::Points)?;
            if self.work.pairs.len() == before {
                continue;
            }
            self.work.traced.push(value);
            self.find_stale(graph, value);
        }
        self.stale.sort_unstable();

        // The pairs by point, each with its values in ascending order.
        let mut sizes = vec![0u32; self.points.len()];
        for &(point, _) in &self.work.pairs {
            sizes[point as usize] += 1;
        }
        let mut start = 0;
        for (point, size) in self.points.iter_mut().zip(sizes) {
            point.start = start;
            point.end = start;
            start += size;
            point.inline &= size as usize <= MAX_JOINED;
        }
        let empty = Root {
            value: Value::new(0),
            local: false,
        };
        self.roots.resize(start as usize, empty);
        for &(point, root) in &self.work.pairs {
            let point = &mut self.points[point as usize];
            self.roots[point.end as usize] = root;
            point.end += 1;
            if !point.inline {
                self.stored[root.value.index()] = true;
            }
        }
        Ok(())
    }

    /// Where a value is defined, if that can be reached.
    fn definition(&self, graph: &Graph, value: Value) -> Option<(Block, u32)> {
        let (block, at) = match graph.def(value) {
            ValueDef::Param(block, _) => (block, PARAMS),
            ValueDef::Result(inst, _) => {
                (graph.inst_block(inst)?, self.work.places[inst.index()] + 1)
            }
            ValueDef::Alias(_) | ValueDef::Detached => return None,
        };
        self.cfg.is_reachable(block).then_some((block, at))
    }

    /// Goes from a value's uses backwards to its definition and marks what it lives across.
    fn walk(
        &mut self,
        graph: &Graph,
        value: Value,
        (def_block, def_at): (Block, u32),
        over: Walk,
    ) -> Result<(), CompileError> {
        let round = value.as_u32();
        let mut next = self.work.uses[value.index()];
        while let Some(&Use { block, at, next: n }) = self.work.links.get(next as usize) {
            next = n;
            // The newest use of a block comes first and is the last one in it.
            if std::mem::replace(&mut self.work.used[block.index()], round) == round {
                continue;
            }
            if block == def_block && at > def_at {
                self.mark(block, def_at, at, value, over);
                continue;
            }
            self.mark(block, 0, at, value, over);
            self.enter(block, round);
            while let Some(block) = self.work.blocks.pop() {
                if std::mem::replace(&mut self.work.live_out[block.index()], round) == round {
                    continue;
                }
                if block == def_block {
                    self.mark(block, def_at, END, value, over);
                } else {
                    self.mark(block, 0, END, value, over);
                    self.enter(block, round);
                }
            }
            if self.work.steps > MAX_WORK {
                let what = "too many references live too long in a function";
                return Err(CompileError::Limit(what.into()));
            }
        }
        debug_assert!(graph.ty(value).is_traced());
        Ok(())
    }

    /// The value is alive where a block begins, hence where those before it end.
    fn enter(&mut self, block: Block, round: u32) {
        if std::mem::replace(&mut self.work.live_in[block.index()], round) == round {
            return;
        }
        let insts = self.cfg.pred_insts(block);
        self.work.steps += insts.len() as u64 + 1;
        let sources = insts.iter().map(|inst| self.work.block_of[inst.index()]);
        self.work.blocks.extend(sources);
    }

    /// What a value lives across between two places of a block, exclusive.
    fn mark(&mut self, block: Block, from: u32, to: u32, value: Value, over: Walk) {
        let (start, end) = self.work.ranges[block.index()];
        let work = &mut self.work;
        let at = |i: u32| match over {
            Walk::Points => self.points[i as usize].at,
            Walk::Definitions => work.definitions[i as usize].0,
        };
        // The first one behind `from`.
        let (mut low, mut high) = (start, end);
        while low < high {
            let middle = low + (high - low) / 2;
            match at(middle) > from {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        let (mut i, first) = (low, low);
        while i < end && at(i) < to {
            i += 1;
        }
        let last = i;
        work.steps += u64::from(last - first) + 1;
        for i in first..last {
            let mark = &mut work.marks[i as usize];
            if mark.0 == value.as_u32() {
                work.pairs[mark.1 as usize].1.local |= to != END;
                continue;
            }
            *mark = (value.as_u32(), work.pairs.len() as u32);
            let local = to != END;
            work.pairs.push((i, Root { value, local }));
        }
        if over == Walk::Points && to == END && first < last {
            // Other blocks look for it in its slot.
            self.stored[value.index()] = true;
            work.crossed.push(block);
        }
    }

    /// Finds the blocks that begin with a value in its slot alone; [`Roots::walk`] has just gone over
    /// the value.
    fn find_stale(&mut self, graph: &Graph, value: Value) {
        let round = value.as_u32();
        let Work {
            crossed,
            live_in,
            live_out,
            stale,
            steps,
            ..
        } = &mut self.work;
        while let Some(block) = crossed.pop() {
            for next in graph.successors(block) {
                *steps += 1;
                if live_in[next.index()] != round
                    || std::mem::replace(&mut stale[next.index()], round) == round
                {
                    continue;
                }
                self.stale.push((next, value));
                if live_out[next.index()] == round {
                    crossed.push(next);
                }
            }
        }
    }

    /// Gives the values slots, those that are alive at once different ones.
    fn assign_slots(&mut self, graph: &Graph) -> Result<(), CompileError> {
        self.slot.clear();
        self.slot.resize(graph.num_values(), NONE);
        // Where they are defined, in an order in which dominators come first.
        const PENDING: u32 = NONE - 1;
        for &value in &self.work.traced {
            self.slot[value.index()] = PENDING;
        }
        self.work.definitions.clear();
        for block in self.cfg.reverse_postorder() {
            let start = self.work.definitions.len() as u32;
            let pending = |value: &Value| self.slot[value.index()] == PENDING;
            let params = graph.params(block).iter().copied().filter(pending);
            let params = params.map(|value| (PARAMS, value));
            self.work.definitions.extend(params);
            for inst in graph.insts(block) {
                let at = self.work.places[inst.index()] + 1;
                let results = graph.results(inst).filter(pending);
                let results = results.map(|value| (at, value));
                self.work.definitions.extend(results);
            }
            self.work.ranges[block.index()] = (start, self.work.definitions.len() as u32);
        }
        // What was marked before is as if it had not been: the rounds begin again.
        for stamps in [
            &mut self.work.live_in,
            &mut self.work.live_out,
            &mut self.work.used,
        ] {
            stamps.fill(NONE);
        }
        self.work.marks.clear();
        let definitions = self.work.definitions.len();
        self.work.marks.resize(definitions, (NONE, 0));
        self.work.pairs.clear();
        let traced = std::mem::take(&mut self.work.traced);
        for &value in &traced {
            if let Some(place) = self.definition(graph, value) {
                self.walk(graph, value, place, Walk::Definitions)?;
            }
        }
        self.work.traced = traced;

        let Work {
            definitions,
            pairs,
            colors,
            ..
        } = &mut self.work;
        pairs.sort_unstable_by_key(|&(definition, root)| (definition, root.value));
        colors.clear();
        let mut others = pairs.iter().peekable();
        for (i, &(at, value)) in definitions.iter().enumerate() {
            let this = i as u32;
            let mut taken = |other: Value| {
                let slot = self.slot[other.index()];
                if let Some(color) = colors.get_mut(slot as usize) {
                    *color = this;
                }
            };
            while let Some(&&(definition, root)) = others.peek() {
                if definition > this {
                    break;
                }
                taken(root.value);
                others.next();
            }
            // What is defined at the same place.
            let siblings = definitions[..i].iter().rev();
            let same = siblings
                .take_while(|&&(other, sibling)| other == at && same_place(graph, value, sibling));
            same.for_each(|&(_, sibling)| taken(sibling));
            let free = colors.iter().position(|&color| color != this);
            let slot = free.unwrap_or_else(|| {
                colors.push(NONE);
                colors.len() - 1
            });
            self.slot[value.index()] = slot as u32;
        }
        self.slots = self.work.colors.len() as u32;
        Ok(())
    }
}

/// Whether two values are parameters of one block or results of one instruction.
fn same_place(graph: &Graph, a: Value, b: Value) -> bool {
    match (graph.def(a), graph.def(b)) {
        (ValueDef::Param(a, _), ValueDef::Param(b, _)) => a == b,
        (ValueDef::Result(a, _), ValueDef::Result(b, _)) => a == b,
        _ => false,
    }
}

/// The place of a block's `n`-th instruction.
fn place(n: usize) -> u32 {
    // There are less than 2^22 instructions.
    n as u32 * 2 + 4
}

/// What [`Roots::walk`] looks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    /// Points that a value lives across.
    Points,
    /// Definitions of others that it lives across.
    Definitions,
}
