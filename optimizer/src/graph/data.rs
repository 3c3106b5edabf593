//! The graph and the ways to change it.

use std::collections::HashMap;
use std::ops::Range;

use bimetal_codegen::InlineNode;
use cranelift_entity::packed_option::{PackedOption, ReservedValue};
use cranelift_entity::{EntityRef, ListPool, PrimaryMap};

use crate::graph::entities::*;
use crate::graph::imm::Imm;
use crate::graph::ops::{Effects, Op};
use crate::graph::types::Type;

/// A function's graph. See the [module](crate::graph) for what holds.
#[derive(Debug, Default)]
pub struct Graph {
    blocks: PrimaryMap<Block, BlockData>,
    insts: PrimaryMap<Inst, InstData>,
    values: PrimaryMap<Value, ValueData>,
    edges: PrimaryMap<Edge, EdgeData>,
    sites: PrimaryMap<SiteId, SiteInfo>,
    jump_tables: PrimaryMap<JumpTable, Range<u32>>,
    jump_entries: Vec<u32>,
    constants: PrimaryMap<Constant, u128>,
    constant_numbers: HashMap<u128, Constant>,
    pool: ListPool<Value>,
    long_args: Vec<Value>,
    first_block: PackedOption<Block>,
    last_block: PackedOption<Block>,
    /// The functions inlined into this one; [`SiteInfo::node`] `i + 1` is entry `i`.
    pub inline_nodes: Vec<InlineNode>,
    /// The function's result types. Its parameters are those of the entry block.
    pub results: Vec<Type>,
    /// How many loops were inside of each other, at most, when it was built.
    pub loop_depth: u32,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        Graph::default()
    }

    /// Empties the graph; allocations stay.
    pub fn clear(&mut self) {
        self.blocks.clear();
        self.insts.clear();
        self.values.clear();
        self.edges.clear();
        self.sites.clear();
        self.jump_tables.clear();
        self.jump_entries.clear();
        self.constants.clear();
        self.constant_numbers.clear();
        self.pool.clear();
        self.long_args.clear();
        self.first_block = None.into();
        self.last_block = None.into();
        self.inline_nodes.clear();
        self.loop_depth = 0;
        self.results.clear();
    }

    // Blocks.

    /// Makes a block without a place; see [`Graph::append_block`].
    pub fn make_block(&mut self) -> Block {
        self.blocks.push(BlockData::default())
    }

    /// Places a block last.
    pub fn append_block(&mut self, block: Block) {
        debug_assert!(!self.blocks[block].in_layout);
        let last = self.last_block;
        let data = &mut self.blocks[block];
        data.prev = last;
        data.next = None.into();
        data.in_layout = true;
        match last.expand() {
            Some(last) => self.blocks[last].next = block.into(),
            None => self.first_block = block.into(),
        }
        self.last_block = block.into();
    }

    /// Places a block after another.
    pub fn insert_block_after(&mut self, block: Block, after: Block) {
        debug_assert!(!self.blocks[block].in_layout && self.blocks[after].in_layout);
        let next = self.blocks[after].next;
        let data = &mut self.blocks[block];
        data.prev = after.into();
        data.next = next;
        data.in_layout = true;
        self.blocks[after].next = block.into();
        match next.expand() {
            Some(next) => self.blocks[next].prev = block.into(),
            None => self.last_block = block.into(),
        }
    }

    /// Takes a block out of the layout. Its instructions and parameters stay with it but no longer
    /// belong to the function; no edge of the function may go to it.
    pub fn remove_block(&mut self, block: Block) {
        debug_assert!(self.blocks[block].in_layout);
        let data = &mut self.blocks[block];
        let (prev, next) = (data.prev, data.next);
        data.prev = None.into();
        data.next = None.into();
        data.in_layout = false;
        match prev.expand() {
            Some(prev) => self.blocks[prev].next = next,
            None => self.first_block = next,
        }
        match next.expand() {
            Some(next) => self.blocks[next].prev = prev,
            None => self.last_block = prev,
        }
    }

    /// The first block: where the function is entered.
    ///
    /// # Panics
    /// If the graph is empty.
    pub fn entry(&self) -> Block {
        self.first_block
            .expand()
            .expect("a function has an entry block")
    }

    /// The blocks in layout order.
    pub fn blocks(&self) -> impl Iterator<Item = Block> + '_ {
        std::iter::successors(self.first_block.expand(), |&block| {
            self.blocks[block].next.expand()
        })
    }

    /// The next block in layout order.
    pub fn next_block(&self, block: Block) -> Option<Block> {
        self.blocks[block].next.expand()
    }

    /// The previous block in layout order.
    pub fn prev_block(&self, block: Block) -> Option<Block> {
        self.blocks[block].prev.expand()
    }

    /// Whether a block has a place in the function.
    pub fn in_layout(&self, block: Block) -> bool {
        self.blocks[block].in_layout
    }

    /// A block's flags.
    pub fn block(&self, block: Block) -> &BlockData {
        &self.blocks[block]
    }

    /// A block's flags, to be changed.
    pub fn block_mut(&mut self, block: Block) -> &mut BlockData {
        &mut self.blocks[block]
    }

    /// How many blocks were made: all numbers are below it (for maps by block).
    pub fn num_blocks(&self) -> usize {
        self.blocks.len()
    }

    // Block parameters.

    /// A block's parameters.
    pub fn params(&self, block: Block) -> &[Value] {
        self.blocks[block].params.as_slice(&self.pool)
    }

    /// Appends a parameter. Edges to the block need another argument each.
    pub fn append_param(&mut self, block: Block, ty: Type) -> Value {
        let value = self.make_value(ty);
        self.attach_param(block, value);
        value
    }

    /// Appends a detached value ([`Graph::make_value`]) as a parameter.
    pub fn attach_param(&mut self, block: Block, value: Value) {
        let number = self.blocks[block].params.push(value, &mut self.pool);
        let ty = self.values[value].ty();
        self.values[value] = ValueData::new(ty, ValueDef::Param(block, number as u32));
    }

    /// Removes the parameters for which `keep` is false, from the block and from the edges that
    /// `preds` lists (which must be all edges to the block). The removed values become detached.
    pub fn retain_params(
        &mut self,
        block: Block,
        preds: &[Edge],
        mut keep: impl FnMut(usize, Value) -> bool,
    ) {
        let mut kept = 0;
        for i in 0..self.blocks[block].params.len(&self.pool) {
            let params = self.blocks[block].params.as_mut_slice(&mut self.pool);
            let value = params[i];
            let ty = self.values[value].ty();
            if keep(i, value) {
                params[kept] = value;
                self.values[value] = ValueData::new(ty, ValueDef::Param(block, kept as u32));
                for &edge in preds {
                    let args = self.edges[edge].args.as_mut_slice(&mut self.pool);
                    args[kept] = args[i];
                }
                kept += 1;
            } else if self.values[value].def() == ValueDef::Param(block, i as u32) {
                self.values[value] = ValueData::new(ty, ValueDef::Detached);
            }
        }
        self.blocks[block].params.truncate(kept, &mut self.pool);
        for &edge in preds {
            self.edges[edge].args.truncate(kept, &mut self.pool);
        }
    }

    // Values.

    /// Makes a value that is defined nowhere yet; see [`Graph::attach_param`] and
    /// [`Graph::alias`].
    pub fn make_value(&mut self, ty: Type) -> Value {
        self.values.push(ValueData::new(ty, ValueDef::Detached))
    }

    /// A value's type.
    pub fn ty(&self, value: Value) -> Type {
        self.values[value].ty()
    }

    /// Where a value comes from.
    pub fn def(&self, value: Value) -> ValueDef {
        self.values[value].def()
    }

    /// The instruction whose result a value is.
    pub fn def_inst(&self, value: Value) -> Option<Inst> {
        match self.values[value].def() {
            ValueDef::Result(inst, _) => Some(inst),
            _ => None,
        }
    }

    /// How many values were made: all numbers are below it (for maps by value).
    pub fn num_values(&self) -> usize {
        self.values.len()
    }

    /// Makes `value` stand for `target`, which must resolve to something else. What defined
    /// `value` must be removed by the caller.
    pub fn alias(&mut self, value: Value, target: Value) {
        let target = self.resolve_mut(target);
        debug_assert_ne!(value, target, "an alias to itself");
        debug_assert_eq!(self.ty(value), self.ty(target));
        let ty = self.values[value].ty();
        self.values[value] = ValueData::new(ty, ValueDef::Alias(target));
    }

    /// The value that `value` stands for: itself, if it is no alias.
    pub fn resolve(&self, mut value: Value) -> Value {
        while let ValueDef::Alias(target) = self.values[value].def() {
            value = target;
        }
        value
    }

    /// As [`Graph::resolve`], shortening the way for the next time.
    pub fn resolve_mut(&mut self, value: Value) -> Value {
        let ValueDef::Alias(first) = self.values[value].def() else {
            return value;
        };
        if !matches!(self.values[first].def(), ValueDef::Alias(_)) {
            return first;
        }
        let root = self.resolve(first);
        let mut value = value;
        while let ValueDef::Alias(next) = self.values[value].def() {
            let ty = self.values[value].ty();
            self.values[value] = ValueData::new(ty, ValueDef::Alias(root));
            value = next;
        }
        root
    }

    /// Replaces aliases by what they stand for in all instructions and edges, whether or not they
    /// have a place.
    pub fn resolve_aliases(&mut self) {
        // Making all aliases direct first leaves one look per operand.
        for i in 0..self.values.len() {
            self.resolve_mut(Value::new(i));
        }
        let Graph {
            insts,
            edges,
            values,
            pool,
            long_args,
            ..
        } = self;
        let rename = |value: &mut Value| {
            if let ValueDef::Alias(target) = values[*value].def() {
                *value = target;
            }
        };
        for inst in insts.values_mut() {
            if inst.num_args <= 3 {
                inst.args[..usize::from(inst.num_args)]
                    .iter_mut()
                    .for_each(rename);
            }
        }
        long_args.iter_mut().for_each(rename);
        for edge in edges.values_mut() {
            edge.args.as_mut_slice(pool).iter_mut().for_each(rename);
        }
    }

    // Instructions.

    /// Makes an instruction without a place. Its operands' number must be what the op wants; up to
    /// 65,535 operands and results. A terminator gets its edges by [`Graph::add_edge`].
    pub fn make_inst(
        &mut self,
        op: Op,
        args: &[Value],
        imm: Imm,
        site: Option<SiteId>,
        results: &[Type],
    ) -> Inst {
        debug_assert_eq!(op.info().imm, imm.kind(), "immediate of {op}");
        let inst = Inst::new(self.insts.len());
        let first_result = Value::new(self.values.len());
        for (number, &ty) in results.iter().enumerate() {
            self.values
                .push(ValueData::new(ty, ValueDef::Result(inst, number as u32)));
        }
        // One literal, written in place: assembling it from parts costs more than all the rest.
        let mut inline = [Value::reserved_value(); 3];
        match *args {
            [] => {}
            [a] => inline[0] = a,
            [a, b] => (inline[0], inline[1]) = (a, b),
            [a, b, c] => inline = [a, b, c],
            _ => {
                inline[0] = Value::new(self.long_args.len());
                self.long_args.extend_from_slice(args);
            }
        }
        self.insts.push(InstData {
            op,
            num_args: u16::try_from(args.len()).expect("at most 65,535 operands"),
            num_results: u16::try_from(results.len()).expect("at most 65,535 results"),
            first_result,
            args: inline,
            first_edge: Edge::reserved_value(),
            num_edges: 0,
            site: site.into(),
            imm,
            block: None.into(),
            prev: None.into(),
            next: None.into(),
        })
    }

    /// Gives an instruction that was made without results `count` detached, consecutively numbered
    /// values, from `first` on, as its results.
    pub fn attach_results(&mut self, inst: Inst, first: Value, count: u16) {
        for number in 0..u32::from(count) {
            let value = Value::from_u32(first.as_u32() + number);
            let ty = self.values[value].ty();
            self.values[value] = ValueData::new(ty, ValueDef::Result(inst, number));
        }
        let data = &mut self.insts[inst];
        debug_assert_eq!(data.num_results, 0);
        data.first_result = first;
        data.num_results = count;
    }

    fn store_args(data: &mut InstData, long_args: &mut Vec<Value>, args: &[Value]) {
        let fits = data.num_args > 3 && args.len() <= usize::from(data.num_args);
        let old = data.args[0];
        data.num_args = u16::try_from(args.len()).expect("at most 65,535 operands");
        if args.len() <= 3 {
            data.args[..args.len()].copy_from_slice(args);
        } else if fits {
            let start = old.index();
            long_args[start..start + args.len()].copy_from_slice(args);
        } else {
            data.args[0] = Value::new(long_args.len());
            long_args.extend_from_slice(args);
        }
    }

    /// [`Graph::make_inst`] and [`Graph::append_inst`].
    pub fn push_inst(
        &mut self,
        block: Block,
        op: Op,
        args: &[Value],
        imm: Imm,
        site: Option<SiteId>,
        results: &[Type],
    ) -> Inst {
        let inst = self.make_inst(op, args, imm, site, results);
        self.append_inst(inst, block);
        inst
    }

    /// Places an instruction last in a block.
    pub fn append_inst(&mut self, inst: Inst, block: Block) {
        let last = self.blocks[block].last;
        let data = &mut self.insts[inst];
        debug_assert!(data.block.is_none());
        data.block = block.into();
        data.prev = last;
        data.next = None.into();
        match last.expand() {
            Some(last) => self.insts[last].next = inst.into(),
            None => self.blocks[block].first = inst.into(),
        }
        self.blocks[block].last = inst.into();
    }

    /// Places an instruction before another.
    pub fn insert_before(&mut self, inst: Inst, before: Inst) {
        let block = self.insts[before].block;
        let prev = self.insts[before].prev;
        debug_assert!(block.is_some() && self.insts[inst].block.is_none());
        let data = &mut self.insts[inst];
        data.block = block;
        data.prev = prev;
        data.next = before.into();
        self.insts[before].prev = inst.into();
        match prev.expand() {
            Some(prev) => self.insts[prev].next = inst.into(),
            None => self.blocks[block.unwrap()].first = inst.into(),
        }
    }

    /// Places an instruction first in a block.
    pub fn prepend_inst(&mut self, inst: Inst, block: Block) {
        match self.blocks[block].first.expand() {
            Some(first) => self.insert_before(inst, first),
            None => self.append_inst(inst, block),
        }
    }

    /// Takes an instruction out of its block. It keeps operands and results, and can be placed
    /// again.
    pub fn remove_inst(&mut self, inst: Inst) {
        let data = &mut self.insts[inst];
        let Some(block) = data.block.take() else {
            debug_assert!(false, "{inst} has no place");
            return;
        };
        let (prev, next) = (data.prev.take(), data.next.take());
        match prev {
            Some(prev) => self.insts[prev].next = next.into(),
            None => self.blocks[block].first = next.into(),
        }
        match next {
            Some(next) => self.insts[next].prev = prev.into(),
            None => self.blocks[block].last = prev.into(),
        }
    }

    /// Moves `inst` and all that follow it in its block to the end of `to`. Costs their number.
    pub fn move_tail(&mut self, inst: Inst, to: Block) {
        let Some(from) = self.insts[inst].block.expand() else {
            debug_assert!(false, "{inst} has no place");
            return;
        };
        let (prev, last) = (self.insts[inst].prev, self.blocks[from].last);
        self.blocks[from].last = prev;
        match prev.expand() {
            Some(prev) => self.insts[prev].next = None.into(),
            None => self.blocks[from].first = None.into(),
        }
        let end = self.blocks[to].last;
        self.insts[inst].prev = end;
        match end.expand() {
            Some(end) => self.insts[end].next = inst.into(),
            None => self.blocks[to].first = inst.into(),
        }
        self.blocks[to].last = last;
        let mut moved = Some(inst);
        while let Some(inst) = moved {
            self.insts[inst].block = to.into();
            moved = self.insts[inst].next.expand();
        }
    }

    /// The instructions of a block in order.
    pub fn insts(&self, block: Block) -> impl Iterator<Item = Inst> + '_ {
        std::iter::successors(self.blocks[block].first.expand(), |&inst| {
            self.insts[inst].next.expand()
        })
    }

    /// The first instruction of a block. With [`Graph::next_inst`], a walk during which the block
    /// may change.
    pub fn first_inst(&self, block: Block) -> Option<Inst> {
        self.blocks[block].first.expand()
    }

    /// The last instruction of a block: in a finished graph, its terminator.
    pub fn last_inst(&self, block: Block) -> Option<Inst> {
        self.blocks[block].last.expand()
    }

    /// The terminator of a block, `None` while it is being built.
    pub fn terminator(&self, block: Block) -> Option<Inst> {
        self.last_inst(block)
            .filter(|&inst| self.insts[inst].op.is_terminator())
    }

    /// The next instruction of the block.
    pub fn next_inst(&self, inst: Inst) -> Option<Inst> {
        self.insts[inst].next.expand()
    }

    /// The previous instruction of the block.
    pub fn prev_inst(&self, inst: Inst) -> Option<Inst> {
        self.insts[inst].prev.expand()
    }

    /// The block an instruction is in.
    pub fn inst_block(&self, inst: Inst) -> Option<Block> {
        self.insts[inst].block.expand()
    }

    /// Op, immediate and site.
    pub fn inst(&self, inst: Inst) -> &InstData {
        &self.insts[inst]
    }

    /// Immediate and site, to be changed. To change the op, see [`Graph::replace`].
    pub fn inst_mut(&mut self, inst: Inst) -> &mut InstData {
        &mut self.insts[inst]
    }

    /// An instruction's op.
    pub fn op(&self, inst: Inst) -> Op {
        self.insts[inst].op
    }

    /// An instruction's immediate.
    pub fn imm(&self, inst: Inst) -> Imm {
        self.insts[inst].imm
    }

    /// An instruction's effects.
    pub fn effects(&self, inst: Inst) -> Effects {
        self.insts[inst].op.effects()
    }

    /// An instruction's place in wasm.
    pub fn site(&self, inst: Inst) -> Option<SiteId> {
        self.insts[inst].site.expand()
    }

    /// How many instructions were made: all numbers are below it (for maps by instruction).
    pub fn num_insts(&self) -> usize {
        self.insts.len()
    }

    /// An instruction's operands; a terminator's edges have theirs apart ([`Graph::edge_args`]).
    pub fn args(&self, inst: Inst) -> &[Value] {
        let data = &self.insts[inst];
        let n = usize::from(data.num_args);
        if n <= 3 {
            &data.args[..n]
        } else {
            let start = data.args[0].index();
            &self.long_args[start..start + n]
        }
    }

    /// An instruction's operands, to be changed in place.
    pub fn args_mut(&mut self, inst: Inst) -> &mut [Value] {
        let data = &mut self.insts[inst];
        let n = usize::from(data.num_args);
        if n <= 3 {
            &mut data.args[..n]
        } else {
            let start = data.args[0].index();
            &mut self.long_args[start..start + n]
        }
    }

    /// Turns an instruction into another one in its place, with the same results.
    pub fn replace(&mut self, inst: Inst, op: Op, args: &[Value], imm: Imm) {
        debug_assert_eq!(op.info().imm, imm.kind(), "immediate of {op}");
        let data = &mut self.insts[inst];
        data.op = op;
        data.imm = imm;
        Self::store_args(data, &mut self.long_args, args);
    }

    /// An instruction's results.
    pub fn results(&self, inst: Inst) -> impl ExactSizeIterator<Item = Value> + use<> {
        let data = &self.insts[inst];
        let first = data.first_result.as_u32();
        (0..data.num_results).map(move |i| Value::from_u32(first + u32::from(i)))
    }

    /// How many results an instruction has.
    pub fn num_results(&self, inst: Inst) -> usize {
        usize::from(self.insts[inst].num_results)
    }

    /// An instruction's result.
    ///
    /// # Panics
    /// In debug builds, unless it has exactly one.
    pub fn result(&self, inst: Inst) -> Value {
        debug_assert_eq!(self.insts[inst].num_results, 1);
        self.insts[inst].first_result
    }

    // Edges.

    /// Appends an edge to a terminator, which must be the last instruction that was given one
    /// (its edges are numbered consecutively).
    pub fn add_edge(&mut self, inst: Inst, target: Block, args: &[Value]) -> Edge {
        let args = cranelift_entity::EntityList::from_slice(args, &mut self.pool);
        let edge = self.edges.push(EdgeData { target, args });
        let data = &mut self.insts[inst];
        if data.num_edges == 0 {
            data.first_edge = edge;
        }
        debug_assert_eq!(
            data.first_edge.index() + data.num_edges as usize,
            edge.index()
        );
        data.num_edges += 1;
        edge
    }

    /// Whether a value is a result of a terminator, so that only its edges may use it.
    pub fn is_terminators(&self, value: Value) -> bool {
        self.def_inst(value)
            .is_some_and(|inst| self.insts[inst].op.is_terminator())
    }

    /// A terminator's edges: of `jump` one; of `branch_if` the one taken if the operand is not
    /// zero, then the other; of `try_call` the one taken when the callee returns, then the one
    /// for an exception; of `br_table` the different targets, which [`Graph::jump_table`]
    /// numbers. None for what is no terminator.
    pub fn edges(&self, inst: Inst) -> impl ExactSizeIterator<Item = Edge> + use<> {
        let data = &self.insts[inst];
        let first = data.first_edge.as_u32();
        (0..data.num_edges).map(move |i| Edge::from_u32(first + i))
    }

    /// A terminator's `n`-th edge.
    pub fn edge(&self, inst: Inst, n: usize) -> Edge {
        let data = &self.insts[inst];
        assert!(n < data.num_edges as usize, "{inst} has no edge {n}");
        Edge::from_u32(data.first_edge.as_u32() + n as u32)
    }

    /// Forgets a terminator's edges, so that new ones can be added.
    pub fn clear_edges(&mut self, inst: Inst) {
        self.insts[inst].num_edges = 0;
    }

    /// Turns a terminator into a `jump` along its `n`-th edge.
    pub fn replace_with_jump(&mut self, inst: Inst, n: usize) {
        let edge = self.edge(inst, n);
        self.replace(inst, Op::Jump, &[], Imm::None);
        let data = &mut self.insts[inst];
        data.first_edge = edge;
        data.num_edges = 1;
    }

    /// Where an edge goes.
    pub fn target(&self, edge: Edge) -> Block {
        self.edges[edge].target
    }

    /// Sends an edge elsewhere.
    pub fn set_target(&mut self, edge: Edge, target: Block) {
        self.edges[edge].target = target;
    }

    /// The values that an edge gives to its target's parameters.
    pub fn edge_args(&self, edge: Edge) -> &[Value] {
        self.edges[edge].args.as_slice(&self.pool)
    }

    /// The same, to be changed in place.
    pub fn edge_args_mut(&mut self, edge: Edge) -> &mut [Value] {
        self.edges[edge].args.as_mut_slice(&mut self.pool)
    }

    /// Appends an argument to an edge.
    pub fn push_edge_arg(&mut self, edge: Edge, value: Value) {
        self.edges[edge].args.push(value, &mut self.pool);
    }

    /// Replaces an edge's arguments.
    pub fn set_edge_args(&mut self, edge: Edge, args: &[Value]) {
        let list = &mut self.edges[edge].args;
        list.clear(&mut self.pool);
        list.extend(args.iter().copied(), &mut self.pool);
    }

    /// How many edges were made: all numbers are below it (for maps by edge).
    pub fn num_edges(&self) -> usize {
        self.edges.len()
    }

    /// The blocks that a block can go to next, in the order of its edges; one may appear twice.
    pub fn successors(&self, block: Block) -> impl Iterator<Item = Block> + '_ {
        self.terminator(block)
            .into_iter()
            .flat_map(|inst| self.edges(inst))
            .map(|edge| self.edges[edge].target)
    }

    /// Makes the targets of a `br_table`: for each index the number of an edge of the
    /// instruction (0 is its first), the last entry for all greater indices.
    pub fn make_jump_table(&mut self, entries: impl IntoIterator<Item = u32>) -> JumpTable {
        let start = self.jump_entries.len() as u32;
        self.jump_entries.extend(entries);
        let end = self.jump_entries.len() as u32;
        debug_assert!(start < end, "a default at least");
        self.jump_tables.push(start..end)
    }

    /// The targets of a `br_table`: see [`Graph::make_jump_table`].
    pub fn jump_table(&self, table: JumpTable) -> &[u32] {
        let range = &self.jump_tables[table];
        &self.jump_entries[range.start as usize..range.end as usize]
    }

    // Sites and constants.

    /// Makes a site.
    pub fn make_site(&mut self, site: SiteInfo) -> SiteId {
        self.sites.push(site)
    }

    /// What a site is.
    pub fn site_info(&self, site: SiteId) -> SiteInfo {
        self.sites[site]
    }

    /// How many sites were made.
    pub fn num_sites(&self) -> usize {
        self.sites.len()
    }

    /// The number of 128 constant bits.
    pub fn make_constant(&mut self, bits: u128) -> Constant {
        let constants = &mut self.constants;
        *self
            .constant_numbers
            .entry(bits)
            .or_insert_with(|| constants.push(bits))
    }

    /// The bits with this number, lowest byte first in memory order.
    pub fn constant(&self, constant: Constant) -> u128 {
        self.constants[constant]
    }
}
