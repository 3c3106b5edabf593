//! Throwing and catching, of both proposals.
//!
//! A construct that catches has one block where all exceptions of its body go, its *dispatch*, made
//! when something first can go there. Its first parameter is the exception. It compares the
//! exception's tag with those of the clauses in turn; what none of them catches goes on to the
//! dispatch of the next construct further out, by a plain jump, or out of the function. So a call
//! has one handler, the runtime needs to know no tags, and both proposals are the same: the clauses
//! of a `try` are known when its body has been built, which is early enough for this.
//!
//! Exceptions that are thrown in the function itself jump. If a `try_table` is known to catch them
//! by a clause that does not want the reference, there is no object: what they carry goes to the
//! clause's label as it is.
//!
//! Fuel is in the store wherever something goes to a dispatch, since calls leave it there.

use bimetal_abi::TrapCode;
use bimetal_wasm::TagIndex;
use bimetal_wasm::body::Operator;
use bimetal_wasm::body::types::{Catch, TryTable};

use crate::graph::{Block, Hint, Op, Type, Value};

use super::control::{Frame, Kind};
use super::{Builder, Imm, Result, bug, value_type};

/// A clause of a `try_table`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clause {
    /// `None` catches all.
    tag: Option<TagIndex>,
    /// Whether the label takes the exception.
    with_ref: bool,
    /// The frame that is branched to.
    target: usize,
}

/// Who catches an exception that is thrown here.
enum Catcher {
    /// A clause of a frame.
    Clause(Clause),
    /// Frames below this one, when it runs.
    Below(usize),
}

impl Builder<'_> {
    /// Builds `operator` if it is one of these.
    pub(super) fn exception_operator(&mut self, operator: &Operator<'_>) -> Result<bool> {
        match operator {
            Operator::TryTable { try_table } => self.try_table(try_table)?,
            Operator::Throw { tag_index } => self.throw(TagIndex::from_u32(*tag_index))?,
            Operator::ThrowRef => self.throw_ref()?,
            Operator::Try { blockty } => self.push_frame(Kind::Try, Self::signature(*blockty)?)?,
            Operator::Catch { tag_index } => self.catch(Some(*tag_index))?,
            Operator::CatchAll => self.catch(None)?,
            Operator::Rethrow { relative_depth } => self.rethrow(*relative_depth)?,
            Operator::Delegate { relative_depth } => self.delegate(*relative_depth)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The innermost frame below `frame` that catches exceptions of its body.
    pub(super) fn handler(&self, frame: usize) -> Option<usize> {
        let below = frame.checked_sub(1)?;
        let frame = &self.frames[below];
        match frame.kind {
            Kind::TryTable | Kind::Try => Some(below),
            _ => frame.outer_handler.map(|frame| frame as usize),
        }
    }

    /// Where exceptions go that a frame catches.
    pub(super) fn dispatch(&mut self, frame: usize) -> Block {
        match self.frames[frame].dispatch.expand() {
            Some(block) => block,
            None => {
                let block = self.graph.make_block();
                self.graph.append_param(block, Type::ExnRef);
                // Unless something in the function jumps there.
                self.graph.block_mut(block).cold = true;
                self.frames[frame].dispatch = block.into();
                block
            }
        }
    }

    fn try_table(&mut self, table: &TryTable) -> Result<()> {
        self.push_frame(Kind::TryTable, Self::signature(table.ty)?)?;
        // Labels are those around it.
        let outer = self.frames.len() - 1;
        for &catch in &table.catches {
            let (tag, with_ref, label) = match catch {
                Catch::One { tag, label } => (Some(tag), false, label),
                Catch::OneRef { tag, label } => (Some(tag), true, label),
                Catch::All { label } => (None, false, label),
                Catch::AllRef { label } => (None, true, label),
            };
            let target = outer.checked_sub(label as usize + 1);
            let target = target.filter(|&target| target >= self.body.frames);
            self.clauses.push(Clause {
                tag: tag.map(TagIndex::from_u32),
                with_ref,
                target: target.ok_or_else(|| bug("a clause out of the function"))?,
            });
        }
        Ok(())
    }

    /// At the end of a construct: what becomes of the exceptions of its body. The frame is still
    /// there.
    pub(super) fn end_handlers(&mut self, frame: &Frame) -> Result<()> {
        let index = self.frames.len() - 1;
        match frame.kind {
            Kind::TryTable | Kind::Try => {
                let Some(dispatch) = frame.dispatch.expand() else {
                    return Ok(());
                };
                self.leave_body()?;
                let exception = self.start_dispatch(frame, dispatch);
                if frame.kind == Kind::TryTable {
                    self.compare_clauses(frame, exception)?;
                }
                if self.reachable {
                    self.throw_value(exception, index);
                }
            }
            Kind::Catch => {
                if let (Some(miss), Some(exception)) = (frame.miss.expand(), frame.caught.expand())
                {
                    self.leave_body()?;
                    self.start_block(miss);
                    self.throw_value(exception, index);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What is before the end, or the next clause, of the innermost construct goes to its end.
    fn leave_body(&mut self) -> Result<()> {
        if self.reachable {
            let frame = self.frames.len() - 1;
            let results = self.num_results(self.frames[frame].signature);
            let start = self.top(results)?;
            let target = self.target(frame);
            self.jump(target, start);
            self.reachable = false;
        }
        Ok(())
    }

    /// Goes on where the exceptions of a frame's body go; the body is built.
    fn start_dispatch(&mut self, frame: &Frame, dispatch: Block) -> Value {
        let end = self.ssa.tick();
        self.ssa.set_join(dispatch, frame.entry, frame.start, end);
        self.stack.truncate(frame.height);
        self.start_block(dispatch);
        self.load_fuel();
        self.graph.params(dispatch)[0]
    }

    fn compare_clauses(&mut self, frame: &Frame, exception: Value) -> Result<()> {
        for i in frame.clauses..self.clauses.len() {
            let clause = self.clauses[i];
            let miss = clause.tag.map(|tag| self.catch_one(exception, tag));
            let miss = miss.transpose()?;
            if clause.with_ref {
                self.stack.push(exception);
            }
            self.br_to(clause.target, frame.height);
            self.stack.truncate(frame.height);
            self.check_limits()?;
            match miss {
                Some(miss) => self.start_block(miss),
                None => break,
            }
        }
        Ok(())
    }

    /// Compares an exception's tag and goes on where it is this one, with what it carries as
    /// operands. Where it is another, the block that is returned is to be started.
    fn catch_one(&mut self, exception: Value, tag: TagIndex) -> Result<Block> {
        let found = self.value(Op::ExnTag, &[exception], Imm::None, Type::I64);
        let wanted = self.value(Op::TagAddress, &[], Imm::Tag(tag), Type::I64);
        let same = self.value(Op::I64Eq, &[found, wanted], Imm::None, Type::I32);
        let (hit, miss) = self.branch_on(same);
        self.start_block(hit);
        for (field, &ty) in (0..).zip(self.env.module.tag_params(tag)) {
            let imm = Imm::ExnField { tag, field };
            let ty = value_type(self.env, ty);
            let value = self.value(Op::ExnField, &[exception], imm, ty);
            self.stack.push(value);
        }
        Ok(miss)
    }

    /// Ends the block by a branch to two new ones.
    pub(super) fn branch_on(&mut self, condition: Value) -> (Block, Block) {
        let (yes, no) = (self.graph.make_block(), self.graph.make_block());
        let hint = Imm::Hint(Hint::Unknown);
        let branch = self.terminate(Op::BranchIf, &[condition], hint);
        for block in [yes, no] {
            self.edge(branch, block, self.stack.len());
            self.ssa.set_single(block, self.block);
        }
        (yes, no)
    }

    /// The result of an instruction that is not on the operand stack.
    pub(super) fn value(&mut self, op: Op, args: &[Value], imm: Imm, ty: Type) -> Value {
        let inst = self.graph.push_inst(self.block, op, args, imm, None, &[ty]);
        self.graph.result(inst)
    }

    fn throw(&mut self, tag: TagIndex) -> Result<()> {
        let start = self.top(self.env.module.tag_params(tag).len())?;
        match self.catcher(tag) {
            Catcher::Clause(clause) => {
                let exception = match clause.with_ref {
                    true => Some(self.new_exception(tag, start)),
                    false => None,
                };
                if clause.tag.is_none() {
                    self.stack.truncate(start);
                }
                self.stack.extend(exception);
                self.br_to(clause.target, start);
            }
            Catcher::Below(frame) => {
                let exception = self.new_exception(tag, start);
                self.throw_value(exception, frame);
            }
        }
        Ok(())
    }

    /// Who catches an exception with this tag.
    fn catcher(&self, tag: TagIndex) -> Catcher {
        let mut below = self.frames.len();
        while let Some(handler) = self.handler(below) {
            if self.frames[handler].kind == Kind::Try {
                break;
            }
            let end = self.frames.get(handler + 1).map(|frame| frame.clauses);
            let clauses = self.frames[handler].clauses..end.unwrap_or(self.clauses.len());
            for &clause in &self.clauses[clauses] {
                match clause.tag {
                    Some(other) if other != tag => {
                        if self.may_be_same(tag, other) {
                            return Catcher::Below(below);
                        }
                    }
                    _ => return Catcher::Clause(clause),
                }
            }
            below = handler;
        }
        Catcher::Below(below)
    }

    /// Whether two tags of the module can be the same one: only if both are imported.
    fn may_be_same(&self, a: TagIndex, b: TagIndex) -> bool {
        let module = &*self.env.module;
        let imported = |tag| module.defined_tag(tag).is_none();
        imported(a) && imported(b) && module.tag_params(a) == module.tag_params(b)
    }

    /// An exception that carries the operands from `start` on.
    fn new_exception(&mut self, tag: TagIndex, start: usize) -> Value {
        let site = self.site();
        let args = &self.stack[start..];
        if args.len() > 3 {
            self.ssa.charge(args.len());
        }
        let (imm, ty) = (Imm::Tag(tag), [Type::ExnRef]);
        let inst = self
            .graph
            .push_inst(self.block, Op::ExnNew, args, imm, Some(site), &ty);
        self.graph.result(inst)
    }

    fn throw_ref(&mut self) -> Result<()> {
        let exception = self.pop()?;
        let is_null = self.value(Op::RefIsNull, &[exception], Imm::None, Type::I32);
        let (null, next) = self.branch_on(is_null);
        self.graph.block_mut(null).cold = true;
        self.start_block(null);
        self.store_fuel();
        let site = self.site();
        let imm = Imm::Trap(TrapCode::NullReference);
        self.graph
            .push_inst(null, Op::Unreachable, &[], imm, Some(site), &[]);
        self.start_block(next);
        self.throw_value(exception, self.frames.len());
        Ok(())
    }

    /// Throws what is not null, for the frames below `frame` to catch.
    fn throw_value(&mut self, exception: Value, frame: usize) {
        self.store_fuel();
        match self.handler(frame) {
            Some(handler) => {
                let dispatch = self.dispatch(handler);
                let cold = self.graph.block(self.block).cold;
                self.graph.block_mut(dispatch).cold &= cold;
                let jump = self.terminate(Op::Jump, &[], Imm::None);
                let edge = self.graph.add_edge(jump, dispatch, &[exception]);
                self.ssa.add_pred(dispatch, edge, self.block);
            }
            None => {
                let site = self.site();
                let (op, args) = (Op::ThrowRef, [exception]);
                self.graph
                    .push_inst(self.block, op, &args, Imm::None, Some(site), &[]);
            }
        }
        self.reachable = false;
    }

    // The legacy instructions.

    /// `catch`, or `catch_all` without a tag: also where what is before it cannot be reached.
    pub(super) fn catch(&mut self, tag: Option<u32>) -> Result<()> {
        self.leave_body()?;
        let frame = *self.frame()?;
        let caught = match (frame.kind, frame.dispatch.expand(), frame.miss.expand()) {
            (Kind::Try, Some(dispatch), _) => Some(self.start_dispatch(&frame, dispatch)),
            (Kind::Catch, _, Some(miss)) => {
                self.start_block(miss);
                frame.caught.expand()
            }
            (Kind::Try | Kind::Catch, ..) => None,
            _ => return Err(bug("a catch without try")),
        };
        self.stack.truncate(frame.height);
        let mut miss = None;
        if let (Some(exception), Some(tag)) = (caught, tag) {
            miss = Some(self.catch_one(exception, TagIndex::from_u32(tag))?);
        }
        let frame = self.frame()?;
        frame.kind = Kind::Catch;
        frame.caught = caught.into();
        frame.miss = miss.into();
        Ok(())
    }

    fn rethrow(&mut self, depth: u32) -> Result<()> {
        let frame = self.frames.len().checked_sub(depth as usize + 1);
        let caught = frame.and_then(|frame| self.frames[frame].caught.expand());
        let exception = caught.ok_or_else(|| bug("a rethrow outside of a catch"))?;
        self.throw_value(exception, self.frames.len());
        Ok(())
    }

    /// The end of a `try` whose exceptions are thrown in the place of another frame.
    pub(super) fn delegate(&mut self, depth: u32) -> Result<()> {
        let frame = *self.frame()?;
        if let Some(dispatch) = frame.dispatch.expand() {
            let target = self.frames.len().checked_sub(depth as usize + 2);
            let target = target.ok_or_else(|| bug("a delegate out of the function"))?;
            self.leave_body()?;
            let exception = self.start_dispatch(&frame, dispatch);
            self.throw_value(exception, target + 1);
            // So that `end` does not see to them again.
            self.frame()?.dispatch = None.into();
        }
        self.end()
    }
}
