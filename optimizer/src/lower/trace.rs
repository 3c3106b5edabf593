//! Keeps [`Roots`] up to date in the code: what is stored in which slot, and from where a traced value
//! is to be taken.
//!
//! A value with a slot has one CLIF value at a time: the one that it was defined as, or what was read
//! again after a point at which objects may have moved. Which one that is, is known within a block of
//! the graph and handed on to blocks that have it as their only predecessor; elsewhere the slot says.
//!
//! **Invariant**: values are asked for ([`Lower::raw`]) only where the code goes through whenever its
//! block of the graph is entered, never on a side path of an instruction.

use bimetal_codegen::CompileError;
use cranelift_codegen::ir::{
    self, InstBuilder, MemFlags, Opcode, StackSlot, StackSlotData, StackSlotKind,
    UserStackMapEntry, Value, types,
};
use cranelift_entity::EntityRef;
use cranelift_entity::packed_option::PackedOption;

use super::Lower;
use super::vm::Region;
use crate::graph;
use crate::signature::POINTER;

/// How far back predecessors are looked through for what they knew.
const MAX_CHAIN: usize = 16;

/// Bytes of a slot.
const SLOT: u32 = 4;

/// See the module.
#[derive(Default)]
pub(super) struct Trace {
    slot: Option<StackSlot>,
    /// By value: the round in which it was last touched, and what it was then; nothing is its slot.
    states: Vec<(u32, PackedOption<Value>)>,
    /// By round: that of the block's only predecessor.
    parents: Vec<u32>,
    /// By block, its round.
    rounds: Vec<u32>,
    /// That of the current block.
    round: u32,
    /// The roots of the instruction at hand.
    point: std::ops::Range<usize>,
}

impl Lower<'_> {
    /// Makes the slots.
    pub(super) fn begin_trace(&mut self) {
        if self.roots.slots == 0 {
            return;
        }
        let size = self.roots.slots * SLOT;
        let data = StackSlotData::new(StackSlotKind::ExplicitSlot, size, 2);
        let trace = &mut self.scratch.trace;
        trace.slot = Some(self.cur.func.create_sized_stack_slot(data));
        trace.states.clear();
        trace
            .states
            .resize(self.graph.num_values(), (0, None.into()));
        trace.rounds.clear();
        trace.rounds.resize(self.graph.num_blocks(), 0);
        trace.parents.clear();
        trace.parents.push(0);
        trace.round = 0;
    }

    /// A block of the graph begins: its parameters are stored, and what is stale is known.
    pub(super) fn enter_traced_block(&mut self, block: graph::Block) -> Result<(), CompileError> {
        if self.roots.slots == 0 {
            return Ok(());
        }
        let pred = self.roots.only_pred(self.graph, block);
        let trace = &mut self.scratch.trace;
        let parent = pred.map_or(0, |pred| trace.rounds[pred.index()]);
        trace.round = trace.parents.len() as u32;
        trace.parents.push(parent);
        trace.rounds[block.index()] = trace.round;
        for &(_, value) in self.roots.stale(block) {
            let (then, state) = trace.states[value.index()];
            let mut ancestors =
                std::iter::successors(Some(parent), |&round| Some(trace.parents[round as usize]));
            let known = ancestors
                .by_ref()
                .take(MAX_CHAIN)
                .take_while(|&round| round != 0)
                .any(|round| round == then);
            let state = if known { state } else { None.into() };
            trace.states[value.index()] = (trace.round, state);
        }
        for &param in self.graph.params(block) {
            let clif = self.defined(param)?;
            self.store_root(param, clif);
        }
        Ok(())
    }

    /// An instruction begins.
    pub(super) fn enter_point(&mut self, inst: graph::Inst, collects: bool) {
        if self.roots.slots != 0 {
            self.scratch.trace.point = match collects {
                true => self.roots.across(inst),
                false => 0..0,
            };
        }
    }

    /// Stores a value that was just defined, if it is to be in its slot from now on.
    pub(super) fn store_root(&mut self, value: graph::Value, clif: Value) {
        if let Some(slot) = self.roots.slot(value)
            && self.roots.is_stored(value)
        {
            self.store_slot(slot, clif);
        }
    }

    /// A value with a slot as it is now.
    pub(super) fn traced(&mut self, value: graph::Value, slot: u32) -> Result<Value, CompileError> {
        let trace = &self.scratch.trace;
        let (round, state) = trace.states[value.index()];
        if round != trace.round {
            return self.defined(value);
        }
        if let Some(state) = state.expand() {
            return Ok(state);
        }
        let clif = self.load_slot(slot);
        self.set_state(value, Some(clif));
        Ok(clif)
    }

    fn set_state(&mut self, value: graph::Value, state: Option<Value>) {
        let trace = &mut self.scratch.trace;
        trace.states[value.index()] = (trace.round, state.into());
    }

    /// Says of a call what the collector finds in the slots during it.
    pub(super) fn map_roots(&mut self, call: ir::Inst) {
        if self.roots.slots == 0 {
            return;
        }
        let Some(slot) = self.scratch.trace.slot else {
            return;
        };
        for i in self.scratch.trace.point.clone() {
            if let Some(number) = self.roots.slot(self.roots.root(i).value) {
                let entry = UserStackMapEntry {
                    ty: types::I32,
                    slot,
                    offset: number * SLOT,
                };
                self.cur.func.dfg.append_user_stack_map_entry(call, entry);
            }
        }
    }

    /// Objects may have moved: what lives on is in its slots.
    pub(super) fn collected(&mut self) {
        if self.roots.slots != 0 {
            for i in self.scratch.trace.point.clone() {
                self.set_state(self.roots.root(i).value, None);
            }
        }
    }

    /// What is used after an allocation in its block, as it is before, if the collector runs only on
    /// the allocation's cold path; [`Lower::join_roots`] wants it back.
    pub(super) fn local_roots(
        &mut self,
        inst: graph::Inst,
    ) -> Result<Vec<(graph::Value, Value)>, CompileError> {
        let mut locals = Vec::new();
        if self.roots.slots == 0 || !self.roots.is_cold(inst) {
            return Ok(locals);
        }
        for i in self.scratch.trace.point.clone() {
            let root = self.roots.root(i);
            if root.local {
                locals.push((root.value, self.raw(root.value)?));
            }
        }
        Ok(locals)
    }

    /// On the cold path: what is not in its slot yet, goes there.
    pub(super) fn spill_roots(&mut self, locals: &[(graph::Value, Value)]) {
        for &(value, clif) in locals {
            if let Some(slot) = self.roots.slot(value)
                && !self.roots.is_stored(value)
            {
                self.store_slot(slot, clif);
            }
        }
    }

    /// On the cold path, afterwards: the same values anew.
    pub(super) fn reload_roots(&mut self, locals: &[(graph::Value, Value)]) -> Vec<Value> {
        let slots = locals
            .iter()
            .filter_map(|&(value, _)| self.roots.slot(value));
        let slots: Vec<u32> = slots.collect();
        slots.into_iter().map(|slot| self.load_slot(slot)).collect()
    }

    /// On the cold path, afterwards: what a value is that the instruction uses late.
    pub(super) fn reload_root(&mut self, value: graph::Value) -> Result<Value, CompileError> {
        match self.roots.slot(value) {
            Some(slot) => Ok(self.load_slot(slot)),
            None => self.defined(value),
        }
    }

    /// Where the paths meet: `joined` are the values of `locals` from here on.
    pub(super) fn join_roots(&mut self, locals: &[(graph::Value, Value)], joined: &[Value]) {
        self.collected();
        for (&(value, _), &clif) in locals.iter().zip(joined) {
            self.set_state(value, Some(clif));
        }
    }

    fn slot_place(&mut self, slot: u32) -> (Value, MemFlags) {
        let flags = self.flags.mutable(self.cur.func, Region::Roots);
        let offset = (slot * SLOT) as i32;
        let place = match self.scratch.trace.slot {
            Some(slot) => self.cur.ins().stack_addr(POINTER, slot, offset),
            // Not without slots.
            None => self.vmctx,
        };
        (place, flags)
    }

    fn store_slot(&mut self, slot: u32, value: Value) {
        let (place, flags) = self.slot_place(slot);
        self.store_op(Opcode::Store, flags, value, place, 0);
    }

    fn load_slot(&mut self, slot: u32) -> Value {
        let (place, flags) = self.slot_place(slot);
        self.load(types::I32, flags, place, 0)
    }
}
