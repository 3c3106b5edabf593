//! Calls, also those that a function ends with.
//!
//! Where exceptions are caught in the function a call is a terminator with an edge to who catches
//! them: see [`exceptions`](super::exceptions).

use bimetal_wasm::{FuncIndex, FuncType, TableIndex, TypeIndex};

use crate::graph::{Op, Type, Value};

use super::{Builder, Exit, Imm, Result, bug, value_type};

impl<'a> Builder<'a> {
    pub(super) fn call(&mut self, index: u32) -> Result<()> {
        let func = FuncIndex::from_u32(index);
        if self.inline(func)? {
            return Ok(());
        }
        let ty = self.env.module.func_type(func);
        self.emit_call(Op::Call, ty, 0, Imm::Func(func))
    }

    pub(super) fn call_indirect(&mut self, ty: u32, table: u32) -> Result<()> {
        let imm = Imm::CallIndirect {
            ty: TypeIndex::from_u32(ty),
            table: TableIndex::from_u32(table),
        };
        let ty = self.env.module.func_type_at(TypeIndex::from_u32(ty));
        self.emit_call(Op::CallIndirect, ty, 1, imm)
    }

    pub(super) fn return_call(&mut self, index: u32) -> Result<()> {
        if self.body.exit == Exit::Continue {
            self.call(index)?;
            return self.return_reached();
        }
        let func = FuncIndex::from_u32(index);
        let ty = self.env.module.func_type(func);
        self.emit_tail_call(Op::ReturnCall, ty.params().len(), Imm::Func(func))
    }

    pub(super) fn return_call_indirect(&mut self, ty: u32, table: u32) -> Result<()> {
        if self.body.exit == Exit::Continue {
            self.call_indirect(ty, table)?;
            return self.return_reached();
        }
        let imm = Imm::CallIndirect {
            ty: TypeIndex::from_u32(ty),
            table: TableIndex::from_u32(table),
        };
        let ty = self.env.module.func_type_at(TypeIndex::from_u32(ty));
        self.emit_tail_call(Op::ReturnCallIndirect, ty.params().len() + 1, imm)
    }

    pub(super) fn call_ref(&mut self, ty: u32) -> Result<()> {
        let index = TypeIndex::from_u32(ty);
        let callee = self.graph.def_inst(self.peek()?);
        let callee = callee.map(|inst| (self.graph.op(inst), self.graph.imm(inst)));
        if let Some((Op::RefFunc, Imm::Func(func))) = callee {
            self.pop()?;
            return self.call(func.as_u32());
        }
        match self.inline_by_ref(index)? {
            true => Ok(()),
            false => self.emit_call_ref(index),
        }
    }

    pub(super) fn emit_call_ref(&mut self, index: TypeIndex) -> Result<()> {
        let ty = self.env.module.func_type_at(index);
        self.emit_call(Op::CallRef, ty, 1, Imm::Type(index))
    }

    pub(super) fn return_call_ref(&mut self, ty: u32) -> Result<()> {
        if self.body.exit == Exit::Continue {
            self.call_ref(ty)?;
            return self.return_reached();
        }
        let index = TypeIndex::from_u32(ty);
        let ty = self.env.module.func_type_at(index);
        self.emit_tail_call(Op::ReturnCallRef, ty.params().len() + 1, Imm::Type(index))
    }

    /// Returns, if what was called does.
    fn return_reached(&mut self) -> Result<()> {
        match self.reachable {
            true => self.return_(),
            false => Ok(()),
        }
    }

    /// A call in whose place the function is gone.
    fn emit_tail_call(&mut self, op: Op, operands: usize, imm: Imm) -> Result<()> {
        let start = self.top(operands)?;
        if operands > 3 {
            self.ssa.charge(operands);
        }
        self.calls = true;
        self.store_fuel();
        let site = self.site();
        let args = &self.stack[start..];
        self.graph
            .push_inst(self.block, op, args, imm, Some(site), &[]);
        self.reachable = false;
        Ok(())
    }

    /// A call of a function of type `ty` with `more` operands after the arguments.
    fn emit_call(&mut self, op: Op, ty: &'a FuncType, more: usize, imm: Imm) -> Result<()> {
        let operands = ty.params().len() + more;
        let start = self.top(operands)?;
        self.types.clear();
        for &result in ty.results() {
            self.types.push(value_type(self.env, result));
        }
        if operands > 3 {
            self.ssa.charge(operands);
        }
        self.calls = true;
        self.store_fuel();
        if let Some(frame) = self.handler(self.frames.len()) {
            return self.emit_try_call(op, start, imm, frame);
        }
        let site = self.site();
        let args = &self.stack[start..];
        let inst = self
            .graph
            .push_inst(self.block, op, args, imm, Some(site), self.types);
        self.stack.truncate(start);
        self.stack.extend(self.graph.results(inst));
        self.load_fuel();
        Ok(())
    }

    /// A call, with the operands from `start` on and results of the types in `types`, whose
    /// exceptions are caught by an enclosing `frame`.
    fn emit_try_call(&mut self, op: Op, start: usize, imm: Imm, frame: usize) -> Result<()> {
        let op = match op {
            Op::Call => Op::TryCall,
            Op::CallIndirect => Op::TryCallIndirect,
            Op::CallRef => Op::TryCallRef,
            _ => return Err(bug("a call that cannot throw")),
        };
        let num_results = self.types.len();
        self.types.push(Type::ExnRef);
        let site = self.site();
        let args = &self.stack[start..];
        let call = self
            .graph
            .push_inst(self.block, op, args, imm, Some(site), self.types);
        self.stack.truncate(start);
        self.stack.extend(self.graph.results(call));
        self.ssa.charge(num_results + 1);

        let next = self.graph.make_block();
        let exception = self.stack.len() - 1;
        let edge = self
            .graph
            .add_edge(call, next, &self.stack[start..exception]);
        self.ssa.add_pred(next, edge, self.block);
        let exception: [Value; 1] = [self.stack[exception]];
        let dispatch = self.dispatch(frame);
        let edge = self.graph.add_edge(call, dispatch, &exception);
        self.ssa.add_pred(dispatch, edge, self.block);
        self.stack.truncate(start);

        self.ssa.set_single(next, self.block);
        self.start_block(next);
        for i in 0..num_results {
            let param = self.graph.append_param(next, self.types[i]);
            self.stack.push(param);
        }
        self.load_fuel();
        Ok(())
    }
}
