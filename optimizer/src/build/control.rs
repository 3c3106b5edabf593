//! Structured control.
//!
//! The block after a construct is made when something first branches there, and becomes a block
//! only then: constructs without branches to their end leave no trace. Its parameters are made at
//! the `end`, when all edges are known; with a single edge there are none.

use bimetal_abi::TrapCode;
use bimetal_wasm::body::{self, BlockType, BrTable};
use bimetal_wasm::{TypeIndex, ValType};
use cranelift_entity::packed_option::PackedOption;

use crate::graph::{Block, Edge, Hint, Inst, Op, Value};

use super::{Builder, Exit, Imm, Result, bug, value_type};

/// What a construct takes and gives.
#[derive(Clone, Copy, Debug)]
pub(super) enum Signature {
    Empty,
    Result(ValType),
    Func(TypeIndex),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Body,
    Block,
    Loop,
    /// The first arm of an `if`.
    If,
    Else,
    /// `try_table`.
    TryTable,
    /// The body of a `try`.
    Try,
    /// A `catch` or `catch_all` of a `try`.
    Catch,
}

/// A construct that is open, and was reachable where it began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) signature: Signature,
    /// Operands under its parameters.
    pub(super) height: usize,
    /// The block and moment of its beginning.
    pub(super) entry: Block,
    pub(super) start: u32,
    /// Where a branch to it goes: a loop's header, else the block after it, if there is one yet.
    target: PackedOption<Block>,
    /// Of an `if` without `else` so far: the edge for a false condition.
    else_edge: PackedOption<Edge>,
    /// Of an `if`: where its parameters begin in `saved`.
    saved: usize,
    /// Of a loop: see `Ssa::num_incomplete`.
    incomplete: usize,
    /// Of the `br_table` at hand: its edge to here, plus one.
    table_edge: u32,
    /// The innermost of the frames below that catches exceptions.
    pub(super) outer_handler: Option<u32>,
    /// Where exceptions of its body go, if there can be any so far: to a block whose first parameter
    /// is the exception.
    pub(super) dispatch: PackedOption<Block>,
    /// Of a `try_table`: where its clauses begin in `clauses`.
    pub(super) clauses: usize,
    /// Of a `catch`: the exception, and where those go that it does not catch.
    pub(super) caught: PackedOption<Value>,
    pub(super) miss: PackedOption<Block>,
}

impl<'a> Builder<'a> {
    pub(super) fn param_types(&self, signature: Signature) -> &'a [ValType] {
        match signature {
            Signature::Empty | Signature::Result(_) => &[],
            Signature::Func(ty) => self.env.module.func_type_at(ty).params(),
        }
    }

    pub(super) fn num_results(&self, signature: Signature) -> usize {
        match signature {
            Signature::Empty => 0,
            Signature::Result(_) => 1,
            Signature::Func(ty) => self.env.module.func_type_at(ty).results().len(),
        }
    }

    pub(super) fn signature(ty: BlockType) -> Result<Signature> {
        Ok(match ty {
            BlockType::Empty => Signature::Empty,
            BlockType::Type(ty) => {
                Signature::Result(body::val_type(ty).ok_or_else(|| bug("a block's type"))?)
            }
            BlockType::FuncType(index) => Signature::Func(TypeIndex::from_u32(index)),
        })
    }

    /// How many values a branch to a construct takes with it.
    fn arity(&self, frame: &Frame) -> usize {
        match frame.kind {
            Kind::Loop => self.param_types(frame.signature).len(),
            _ => self.num_results(frame.signature),
        }
    }

    pub(super) fn frame(&mut self) -> Result<&mut Frame> {
        self.frames.last_mut().ok_or_else(|| bug("no open block"))
    }

    pub(super) fn push_frame(&mut self, kind: Kind, signature: Signature) -> Result<()> {
        let height = self.top(self.param_types(signature).len())?;
        let start = self.ssa.tick();
        let outer_handler = self.handler(self.frames.len());
        self.frames.push(Frame {
            kind,
            signature,
            height,
            entry: self.block,
            start,
            target: None.into(),
            else_edge: None.into(),
            saved: self.saved.len(),
            incomplete: self.ssa.num_incomplete(),
            table_edge: 0,
            outer_handler: outer_handler.map(|frame| frame as u32),
            dispatch: None.into(),
            clauses: self.clauses.len(),
            caught: None.into(),
            miss: None.into(),
        });
        Ok(())
    }

    /// Opens a body of this type, whose parameters are locals, not operands.
    pub(super) fn push_body_frame(&mut self, ty: TypeIndex) {
        let start = self.ssa.tick();
        let outer_handler = self.handler(self.frames.len());
        self.frames.push(Frame {
            kind: Kind::Body,
            signature: Signature::Func(ty),
            height: self.stack.len(),
            entry: self.block,
            start,
            target: None.into(),
            else_edge: None.into(),
            saved: self.saved.len(),
            incomplete: self.ssa.num_incomplete(),
            table_edge: 0,
            outer_handler: outer_handler.map(|frame| frame as u32),
            dispatch: None.into(),
            clauses: self.clauses.len(),
            caught: None.into(),
            miss: None.into(),
        });
    }

    /// Goes on in a block that has a place from now on.
    pub(super) fn start_block(&mut self, block: Block) {
        self.graph.append_block(block);
        self.ssa.enter(block);
        self.block = block;
        self.reachable = true;
        self.forget_fuel();
    }

    pub(super) fn block(&mut self, ty: BlockType) -> Result<()> {
        self.push_frame(Kind::Block, Self::signature(ty)?)
    }

    pub(super) fn loop_(&mut self, ty: BlockType) -> Result<()> {
        let signature = Self::signature(ty)?;
        // What is before the loop is charged before it, so that it is assigned there.
        self.charge_pending();
        self.push_frame(Kind::Loop, signature)?;
        self.loops += 1;
        self.graph.loop_depth = self.graph.loop_depth.max(self.loops);
        let header = self.graph.make_block();
        let frame = self.frame()?;
        frame.target = header.into();
        let (entry, start, height) = (frame.entry, frame.start, frame.height);
        self.jump(header, height);
        self.ssa.set_open(header, entry, start);
        self.start_block(header);
        let site = self.site();
        self.graph.block_mut(header).loop_site = site.into();
        for (i, &ty) in self.param_types(signature).iter().enumerate() {
            self.stack[height + i] = self.graph.append_param(header, value_type(self.env, ty));
        }
        self.enter_loop();
        Ok(())
    }

    pub(super) fn if_(&mut self, ty: BlockType) -> Result<()> {
        let condition = self.pop()?;
        self.charge_pending();
        self.push_frame(Kind::If, Self::signature(ty)?)?;
        let height = self.frame()?.height;
        self.saved.extend_from_slice(&self.stack[height..]);
        self.ssa.charge(self.stack.len() - height);
        let (then, otherwise) = (self.graph.make_block(), self.graph.make_block());
        let hint = self.hint();
        let branch = self.terminate(Op::BranchIf, &[condition], Imm::Hint(hint));
        let edge = self.graph.add_edge(branch, then, &[]);
        self.ssa.add_pred(then, edge, self.block);
        let else_edge = self.graph.add_edge(branch, otherwise, &[]);
        self.frame()?.else_edge = else_edge.into();
        self.ssa.set_single(then, self.block);
        self.start_block(then);
        Ok(())
    }

    pub(super) fn else_(&mut self) -> Result<()> {
        let frame = *self.frame()?;
        let Some(edge) = frame.else_edge.expand() else {
            return Err(bug("an else without if"));
        };
        if self.reachable {
            let target = self.target(self.frames.len() - 1);
            let start = self.top(self.num_results(frame.signature))?;
            self.jump(target, start);
        }
        let frame = self.frame()?;
        frame.kind = Kind::Else;
        frame.else_edge = None.into();
        let (height, saved, entry) = (frame.height, frame.saved, frame.entry);
        self.stack.truncate(height);
        self.stack.extend_from_slice(&self.saved[saved..]);
        self.saved.truncate(saved);
        let block = self.graph.target(edge);
        self.ssa.add_pred(block, edge, entry);
        self.ssa.set_single(block, entry);
        self.start_block(block);
        Ok(())
    }

    pub(super) fn end(&mut self) -> Result<()> {
        let frame = *self.frame()?;
        if let Some(edge) = frame.else_edge.expand() {
            self.end_without_else(&frame, edge)?;
        }
        if frame.kind == Kind::Loop {
            self.loops -= 1;
            self.end_loop(&frame);
        } else {
            self.end_handlers(&frame)?;
            self.end_forward(&frame)?;
        }
        self.clauses.truncate(frame.clauses);
        self.frames.pop();
        if frame.kind == Kind::Body && self.reachable && self.body.exit == Exit::Return {
            self.emit_return(frame.height);
        }
        Ok(())
    }

    /// An `if` whose condition was false goes to its end, with its parameters as results.
    fn end_without_else(&mut self, frame: &Frame, edge: Edge) -> Result<()> {
        let target = self.target(self.frames.len() - 1);
        self.graph.set_target(edge, target);
        self.graph.set_edge_args(edge, &self.saved[frame.saved..]);
        self.ssa.charge(self.saved.len() - frame.saved);
        self.saved.truncate(frame.saved);
        self.ssa.add_pred(target, edge, frame.entry);
        Ok(())
    }

    fn end_loop(&mut self, frame: &Frame) {
        let Some(header) = frame.target.expand() else {
            return;
        };
        if let Some(edge) = self.ssa.only_pred(header) {
            // Nothing goes back: it is no loop, and its parameters are what it was entered with.
            for i in 0..self.graph.params(header).len() {
                let (param, arg) = (self.graph.params(header)[i], self.graph.edge_args(edge)[i]);
                self.ssa.alias(self.graph, param, arg);
            }
            self.graph.retain_params(header, &[edge], |_, _| false);
            self.graph.block_mut(header).loop_site = None.into();
        }
        let end = self.ssa.tick();
        self.ssa.seal(self.graph, header, end, frame.incomplete);
    }

    fn end_forward(&mut self, frame: &Frame) -> Result<()> {
        let results = self.num_results(frame.signature);
        // Of an `if` without `else`, the edge made just now.
        let target = self.frame()?.target;
        let Some(target) = target.expand() else {
            // Nothing branches here.
            self.ssa.tick();
            if !self.reachable {
                self.stack.truncate(frame.height);
            }
            return Ok(());
        };
        if self.reachable {
            let start = self.top(results)?;
            self.jump(target, start);
        }
        self.stack.truncate(frame.height);
        let end = self.ssa.tick();
        self.ssa.set_join(target, frame.entry, frame.start, end);
        match self.ssa.only_pred(target) {
            Some(edge) => {
                self.stack.extend_from_slice(self.graph.edge_args(edge));
                self.graph.set_edge_args(edge, &[]);
            }
            None => {
                let one;
                let types = match frame.signature {
                    Signature::Empty => &[],
                    Signature::Result(ty) => {
                        one = [ty];
                        &one[..]
                    }
                    Signature::Func(ty) => self.env.module.func_type_at(ty).results(),
                };
                for &ty in types {
                    let param = self.graph.append_param(target, value_type(self.env, ty));
                    self.stack.push(param);
                }
            }
        }
        self.start_block(target);
        Ok(())
    }

    /// Where a branch to this frame goes.
    pub(super) fn target(&mut self, frame: usize) -> Block {
        match self.frames[frame].target.expand() {
            Some(block) => block,
            None => {
                let block = self.graph.make_block();
                self.frames[frame].target = block.into();
                block
            }
        }
    }

    /// Ends the current block with an instruction that has no edges yet.
    pub(super) fn terminate(&mut self, op: Op, args: &[Value], imm: Imm) -> Inst {
        self.charge_pending();
        self.graph.push_inst(self.block, op, args, imm, None, &[])
    }

    /// Adds an edge from the current block, with the operands from `start` on as arguments.
    pub(super) fn edge(&mut self, inst: Inst, target: Block, start: usize) {
        let args = &self.stack[start..];
        self.ssa.charge(args.len());
        let edge = self.graph.add_edge(inst, target, args);
        self.ssa.add_pred(target, edge, self.block);
    }

    /// Ends the current block with a jump, with the operands from `start` on as arguments.
    pub(super) fn jump(&mut self, target: Block, start: usize) {
        let inst = self.terminate(Op::Jump, &[], Imm::None);
        self.edge(inst, target, start);
    }

    /// The frame that a branch names, and where its arguments begin on the stack.
    fn branch(&self, depth: u32) -> Result<(usize, usize)> {
        let frame = self.frames.len().checked_sub(depth as usize + 1);
        let frame = frame.filter(|&frame| frame >= self.body.frames);
        let frame = frame.ok_or_else(|| bug("a branch out of the function"))?;
        let start = self.top(self.arity(&self.frames[frame]))?;
        Ok((frame, start))
    }

    pub(super) fn br(&mut self, depth: u32) -> Result<()> {
        let (frame, start) = self.branch(depth)?;
        self.br_to(frame, start);
        Ok(())
    }

    pub(super) fn br_to(&mut self, frame: usize, start: usize) {
        if self.frames[frame].kind == Kind::Body && self.body.exit == Exit::Return {
            self.emit_return(start);
        } else {
            let target = self.target(frame);
            self.jump(target, start);
        }
        self.reachable = false;
    }

    pub(super) fn br_if(&mut self, depth: u32) -> Result<()> {
        let condition = self.pop()?;
        self.br_on(depth, condition, true)?;
        Ok(())
    }

    /// What the module says of the branch at hand.
    fn hint(&self) -> Hint {
        let Some(offset) = self.offset.checked_sub(self.body.start) else {
            return Hint::Unknown;
        };
        let hints = self.body.hints;
        let found = hints.binary_search_by_key(&offset, |hint| hint.offset);
        match found.ok().and_then(|i| hints.get(i)) {
            Some(hint) => Hint::Taken(if hint.taken { u8::MAX } else { 0 }),
            None => Hint::Unknown,
        }
    }

    /// A branch that goes to `depth` if `condition` is what `taken` says, and on otherwise, with
    /// the operands that are there now.
    pub(super) fn br_on(&mut self, depth: u32, condition: Value, taken: bool) -> Result<Inst> {
        let (frame, start) = self.branch(depth)?;
        let target = self.target(frame);
        let next = self.graph.make_block();
        let hint = self.hint();
        let inst = self.terminate(Op::BranchIf, &[condition], Imm::Hint(hint));
        if taken {
            self.edge(inst, target, start);
            self.edge(inst, next, self.stack.len());
        } else {
            self.edge(inst, next, self.stack.len());
            self.edge(inst, target, start);
        }
        self.ssa.set_single(next, self.block);
        self.start_block(next);
        Ok(inst)
    }

    pub(super) fn br_table(&mut self, table: &BrTable<'_>) -> Result<()> {
        let index = self.pop()?;
        let (_, start) = self.branch(table.default())?;
        self.entries.clear();
        self.targets.clear();
        let default = std::iter::once(Ok(table.default()));
        for depth in table.targets().chain(default) {
            let depth = depth.map_err(|_| bug("a br_table that does not decode"))?;
            let (frame, _) = self.branch(depth)?;
            if self.frames[frame].table_edge == 0 {
                self.targets.push(frame);
                self.frames[frame].table_edge = self.targets.len() as u32;
            }
            self.entries.push(self.frames[frame].table_edge - 1);
        }
        let targets = std::mem::take(self.targets);
        for &frame in &targets {
            self.frames[frame].table_edge = 0;
        }
        if let [frame] = *targets {
            self.br_to(frame, start);
        } else {
            let entries = self.graph.make_jump_table(self.entries.iter().copied());
            let inst = self.terminate(Op::BrTable, &[index], Imm::JumpTable(entries));
            for &frame in &targets {
                let target = self.target(frame);
                self.edge(inst, target, start);
                self.check_limits()?;
            }
        }
        *self.targets = targets;
        self.reachable = false;
        Ok(())
    }

    pub(super) fn return_(&mut self) -> Result<()> {
        let frame = self.body.frames;
        let results = self.num_results(self.frames[frame].signature);
        let start = self.top(results)?;
        self.br_to(frame, start);
        Ok(())
    }

    fn emit_return(&mut self, start: usize) {
        self.store_fuel();
        let args = &self.stack[start..];
        if args.len() > 3 {
            self.ssa.charge(args.len());
        }
        self.graph
            .push_inst(self.block, Op::Return, args, Imm::None, None, &[]);
        self.reachable = false;
    }

    pub(super) fn unreachable(&mut self) {
        self.store_fuel();
        let site = self.site();
        let imm = Imm::Trap(TrapCode::Unreachable);
        self.graph
            .push_inst(self.block, Op::Unreachable, &[], imm, Some(site), &[]);
        self.reachable = false;
    }
}
