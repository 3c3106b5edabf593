//! Terminators, selection and calls.

use bimetal_codegen::CompileError;
use cranelift_codegen::cursor::Cursor;
use cranelift_codegen::ir::{Block, BlockCall, InstBuilder, JumpTableData, SourceLoc};
use smallvec::{SmallVec, smallvec};

use super::{Lower, Values};
use crate::graph::{self, Imm, Op};
use crate::traps;

impl Lower<'_> {
    /// Lowers `op` if it transfers control.
    pub(super) fn control(
        &mut self,
        inst: graph::Inst,
        op: Op,
        imm: Imm,
        args: &[graph::Value],
    ) -> Result<Option<()>, CompileError> {
        match (op, imm) {
            (Op::Call, Imm::Func(func)) => self.call(inst, func, args)?,
            (Op::CallIndirect, Imm::CallIndirect { ty, table }) => {
                self.call_indirect(inst, ty, table, args)?;
            }
            (Op::CallRef, Imm::Type(ty)) => self.call_ref(inst, ty, args)?,
            (Op::ReturnCallRef, Imm::Type(ty)) => self.return_call_ref(inst, ty, args)?,
            (Op::ReturnCall, Imm::Func(func)) => self.return_call(func, args)?,
            (Op::ReturnCallIndirect, Imm::CallIndirect { ty, table }) => {
                self.return_call_indirect(inst, ty, table, args)?;
            }
            (Op::Jump, _) => {
                let edge = self.graph.edge(inst, 0);
                let target = self.clif_block(self.graph.target(edge))?;
                let values = self.edge_args(edge)?;
                self.cur.ins().jump(target, &values);
            }
            (Op::BranchIf, _) => {
                let taken = self.graph.edge(inst, 0);
                let other = self.graph.edge(inst, 1);
                if self.branch_on_test(args[0], taken, other)? {
                    return Ok(Some(()));
                }
                // A comparison is branched on as it is.
                let condition = self.raw(args[0])?;
                let taken_args = self.edge_args(taken)?;
                let other_args = self.edge_args(other)?;
                self.place_of_trap([taken, other].map(|edge| self.graph.target(edge)));
                let taken = self.clif_block(self.graph.target(taken))?;
                let other = self.clif_block(self.graph.target(other))?;
                self.cur
                    .ins()
                    .brif(condition, taken, &taken_args, other, &other_args);
            }
            (Op::BrTable, Imm::JumpTable(table)) => self.br_table(inst, table, args)?,
            (Op::Return, _) => {
                let mut values = Values::new();
                self.get_all(args, &mut values)?;
                self.cur.ins().return_(&values);
            }
            (Op::Unreachable, Imm::Trap(code)) => self.trap(traps::to_clif(code)),
            _ => return Ok(None),
        }
        Ok(Some(()))
    }

    /// Cranelift makes one instruction of a branch and the trap that it goes to, in the place of the
    /// branch: that has to be the trap's.
    fn place_of_trap(&mut self, targets: [graph::Block; 2]) {
        let graph = self.graph;
        let trap = targets.iter().find_map(|&target| {
            let mut insts = graph.insts(target);
            let first = insts.find(|&inst| !graph.effects(inst).is_pure())?;
            (graph.op(first) == Op::Unreachable).then(|| graph.site(first))
        });
        if let Some(site) = trap.flatten() {
            self.cur.set_srcloc(SourceLoc::new(site.as_u32()));
        }
    }

    /// Entries with the same edge share it: one with arguments gets a block of its own, so that its
    /// moves are there once and not once per entry. The edge of a single entry is left to
    /// Cranelift to split; it puts the moves where its register allocator, whose time would
    /// otherwise grow with the square of the number of targets, merges them without effort.
    fn br_table(
        &mut self,
        inst: graph::Inst,
        table: graph::JumpTable,
        args: &[graph::Value],
    ) -> Result<(), CompileError> {
        let graph = self.graph;
        let index = self.get(args[0])?;
        // What is read from slots is read before the ways part.
        for edge in graph.edges(inst) {
            self.edge_args(edge)?;
        }
        let mut calls: SmallVec<[BlockCall; 8]> = SmallVec::new();
        let mut moves: SmallVec<[(Block, graph::Edge); 8]> = SmallVec::new();
        let mut uses: SmallVec<[u32; 32]> = smallvec![0; graph.edges(inst).len()];
        for &edge in graph.jump_table(table) {
            if let Some(uses) = uses.get_mut(edge as usize) {
                *uses += 1;
            }
        }
        for (edge, uses) in graph.edges(inst).zip(uses) {
            let (target, values) = if uses <= 1 || graph.edge_args(edge).is_empty() {
                let target = self.clif_block(graph.target(edge))?;
                (target, self.edge_args(edge)?)
            } else {
                let block = self.new_block();
                moves.push((block, edge));
                (block, Default::default())
            };
            let pool = &mut self.cur.func.dfg.value_lists;
            calls.push(BlockCall::new(target, values, pool));
        }
        let bug = || CompileError::Bug(format!("jump table of {inst}"));
        let entries: SmallVec<[BlockCall; 32]> = graph
            .jump_table(table)
            .iter()
            .map(|&edge| calls.get(edge as usize).copied().ok_or_else(bug))
            .collect::<Result<_, _>>()?;
        let (default, entries) = entries.split_last().ok_or_else(bug)?;
        let table = self
            .cur
            .func
            .create_jump_table(JumpTableData::new(*default, entries));
        self.cur.ins().br_table(index, table);
        for (block, edge) in moves {
            self.enter(block);
            let target = self.clif_block(graph.target(edge))?;
            let values = self.edge_args(edge)?;
            self.cur.ins().jump(target, &values);
        }
        Ok(())
    }
}

impl Lower<'_> {
    /// `select`: of vectors with different lanes both become bytes.
    pub(super) fn select(
        &mut self,
        args: &[graph::Value],
    ) -> Result<cranelift_codegen::ir::Value, CompileError> {
        let condition = self.raw(args[2])?;
        let yes = self.raw(args[0])?;
        let no = self.raw(args[1])?;
        let dfg = &self.cur.func.dfg;
        let (yes, no) = if dfg.value_type(yes) == dfg.value_type(no) {
            (yes, no)
        } else {
            (self.get(args[0])?, self.get(args[1])?)
        };
        Ok(self.cur.ins().select(condition, yes, no))
    }
}
