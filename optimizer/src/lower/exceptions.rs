//! Exceptions: their objects, throwing, and calls that catch.
//!
//! A call with a handler is Cranelift's `try_call`, which costs nothing but that no value stays in a
//! register across it. It has one handler, for all exceptions; where that is, the runtime finds in
//! the table of sites.

use bimetal_abi::gc::exception_layout;
use bimetal_abi::{Builtin, TrapCode, VmObject};
use bimetal_codegen::CompileError;
use bimetal_wasm::{StorageType, TagIndex};
use cranelift_codegen::ir::{
    BlockArg, BlockCall, ExceptionTableData, ExceptionTableItem, InstBuilder, Opcode, Type, Value,
    types,
};

use super::call::Callee;
use super::vm::Region;
use super::{Lower, Values, clif_type};
use crate::graph::{self, Imm, Op};
use crate::signature::POINTER;
use crate::traps;

impl Lower<'_> {
    /// Lowers `op` if it is one of these.
    pub(super) fn exceptions(
        &mut self,
        inst: graph::Inst,
        op: Op,
        imm: Imm,
        args: &[graph::Value],
    ) -> Result<Option<()>, CompileError> {
        match (op, imm) {
            (Op::TryCall, Imm::Func(func)) => {
                let (callee, values) = self.callee(func, args)?;
                self.try_call(inst, callee, &values)?;
            }
            (Op::TryCallIndirect, Imm::CallIndirect { ty, table }) => {
                let (signature, code, values) = self.indirect_callee(inst, ty, table, args)?;
                self.try_call(inst, Callee::Code(signature, code), &values)?;
            }
            (Op::TryCallRef, Imm::Type(ty)) => {
                let (signature, code, values) = self.ref_callee(inst, ty, args)?;
                self.try_call(inst, Callee::Code(signature, code), &values)?;
            }
            (Op::ExnNew, Imm::Tag(tag)) => self.new_exception(inst, tag, args)?,
            (Op::ExnTag, _) => {
                let tag = self.load_exception(POINTER, args[0], VmObject::EXCEPTION_TAG)?;
                self.set(self.graph.result(inst), tag);
            }
            (Op::ExnField, Imm::ExnField { tag, field }) => {
                let offset = self.exception_layout(tag).offsets[field as usize];
                let result = self.graph.result(inst);
                let ty = clif_type(self.graph.ty(result));
                let value = self.load_exception(ty, args[0], offset)?;
                self.set(result, value);
            }
            (Op::TagAddress, Imm::Tag(tag)) => {
                let address = self.tag_address(tag);
                self.set(self.graph.result(inst), address);
            }
            (Op::ThrowRef, _) => {
                let exception = self.get(args[0])?;
                self.call_builtin_raw(Builtin::throw_ref, &[exception]);
                let never = traps::to_clif(TrapCode::Unreachable);
                self.cur.ins().trap(never);
            }
            _ => return Ok(None),
        }
        Ok(Some(()))
    }

    /// A call that ends the block. Both ways go through a block of their own, where what comes back
    /// is a parameter.
    fn try_call(
        &mut self,
        inst: graph::Inst,
        callee: Callee,
        values: &[Value],
    ) -> Result<(), CompileError> {
        let signature = match callee {
            Callee::Direct(func) => self.cur.func.dfg.ext_funcs[func].signature,
            Callee::Code(signature, _) => signature,
        };
        let (returned, thrown) = (self.new_block(), self.new_block());
        let returns = &self.cur.func.dfg.signatures[signature].returns;
        let returns: Vec<_> = returns.iter().map(|param| param.value_type).collect();
        let dfg = &mut self.cur.func.dfg;
        let mut results = Values::new();
        for &ty in &returns {
            results.push(dfg.append_block_param(returned, ty));
        }
        let payload = dfg.append_block_param(thrown, POINTER);
        let pool = &mut dfg.value_lists;
        let all = (0..returns.len() as u32).map(BlockArg::TryCallRet);
        let normal = BlockCall::new(returned, all, pool);
        let exceptional = BlockCall::new(thrown, [BlockArg::TryCallExn(0)], pool);
        let table = dfg.exception_tables.push(ExceptionTableData::new(
            signature,
            normal,
            [ExceptionTableItem::Default(exceptional)],
        ));
        let call = match callee {
            Callee::Direct(func) => self.cur.ins().try_call(func, values, table),
            Callee::Code(_, code) => self.cur.ins().try_call_indirect(code, values, table),
        };
        self.map_roots(call);
        self.collected();

        let graph = self.graph;
        let (next, dispatch) = (graph.edge(inst, 0), graph.edge(inst, 1));
        self.enter(returned);
        for (result, value) in graph.results(inst).zip(results) {
            self.set(result, value);
        }
        self.jump_along(next)?;
        // What was read again on one way is not there on the other, nor behind them.
        self.collected();
        self.on_cold_path(thrown, |lower| {
            let exception = lower.cur.ins().ireduce(types::I32, payload);
            if let Some(result) = graph.results(inst).last() {
                lower.set(result, exception);
            }
            lower.jump_along(dispatch)
        })?;
        self.collected();
        Ok(())
    }

    fn jump_along(&mut self, edge: graph::Edge) -> Result<(), CompileError> {
        let target = self.clif_block(self.graph.target(edge))?;
        let values = self.edge_args(edge)?;
        self.cur.ins().jump(target, &values);
        Ok(())
    }

    fn exception_layout(&self, tag: TagIndex) -> bimetal_abi::ObjectLayout {
        let module = &*self.env.module;
        let ty = module.func_type_at(module.tags[tag]);
        exception_layout(ty, |ty| module.is_func_ref(ty))
    }

    fn tag_address(&mut self, tag: TagIndex) -> Value {
        match self.env.module.defined_tag(tag) {
            Some(defined) => {
                let offset = i64::from(self.env.offsets.tag(defined));
                let offset = self.iconst(POINTER, offset as u64);
                self.cur.ins().iadd(self.vmctx, offset)
            }
            None => self.context_pointer(self.env.offsets.tag_import(tag)),
        }
    }

    /// A new exception that carries `args`.
    fn new_exception(
        &mut self,
        inst: graph::Inst,
        tag: TagIndex,
        args: &[graph::Value],
    ) -> Result<(), CompileError> {
        let layout = self.exception_layout(tag);
        let ty = self.env.module.tags[tag];
        let (exception, object) =
            self.allocate(inst, ty, VmObject::EXCEPTION, None, layout.size)?;
        let address = self.tag_address(tag);
        self.store_new(
            Opcode::Store,
            object,
            VmObject::EXCEPTION_TAG,
            address,
            true,
        );
        let params = self.env.module.tag_params(tag);
        for ((&value, &ty), offset) in args.iter().zip(params).zip(layout.offsets) {
            let value = self.get(value)?;
            self.initialise(object, offset, StorageType::Val(ty), value);
        }
        self.set(self.graph.result(inst), exception);
        Ok(())
    }

    /// A load from an exception, which never changes.
    fn load_exception(
        &mut self,
        ty: Type,
        exception: graph::Value,
        offset: u32,
    ) -> Result<Value, CompileError> {
        let reference = self.get(exception)?;
        let object = self.address(reference);
        let whole = ty != types::I8X16;
        let flags = self
            .flags
            .field(self.cur.func, Region::NewObjects, None, whole);
        Ok(self.load(ty, flags, object, offset))
    }
}
