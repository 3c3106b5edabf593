//! Calls of wasm functions and of the runtime.

use bimetal_abi::{
    Builtin, BuiltinReturn, CallMode, TrapCode, VmContextHeader, VmFuncImport, VmFuncRef,
    VmStoreContext, VmTable, builtins,
};
use bimetal_codegen::CompileError;
use bimetal_wasm::{FuncIndex, HeapType, TableIndex, TypeIndex};
use cranelift_codegen::cursor::Cursor;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    self, ExtFuncData, ExternalName, FuncRef, InstBuilder, Opcode, SigRef, UserExternalName, Value,
    types,
};
use cranelift_entity::EntityRef;

use super::vm::{Pointer, Region};
use super::{Lower, Values};
use crate::graph;
use crate::signature::{self, POINTER};
use crate::traps;

/// What is called.
#[derive(Clone, Copy)]
pub(super) enum Callee {
    /// A function of this module, directly.
    Direct(FuncRef),
    /// Code at an address.
    Code(SigRef, Value),
}

impl Lower<'_> {
    /// `call`.
    pub(super) fn call(
        &mut self,
        inst: graph::Inst,
        func: FuncIndex,
        args: &[graph::Value],
    ) -> Result<(), CompileError> {
        let (callee, values) = self.callee(func, args)?;
        let call = match callee {
            Callee::Direct(func) => self.cur.ins().call(func, &values),
            Callee::Code(signature, code) => self.cur.ins().call_indirect(signature, code, &values),
        };
        self.set_call_results(inst, call)
    }

    /// `call_ref`; the function is the last operand.
    pub(super) fn call_ref(
        &mut self,
        inst: graph::Inst,
        ty: TypeIndex,
        args: &[graph::Value],
    ) -> Result<(), CompileError> {
        let (signature, code, values) = self.ref_callee(inst, ty, args)?;
        let call = self.cur.ins().call_indirect(signature, code, &values);
        self.set_call_results(inst, call)
    }

    /// `return_call_ref`; the function is the last operand.
    pub(super) fn return_call_ref(
        &mut self,
        inst: graph::Inst,
        ty: TypeIndex,
        args: &[graph::Value],
    ) -> Result<(), CompileError> {
        let (signature, code, values) = self.ref_callee(inst, ty, args)?;
        self.tail_call(Callee::Code(signature, code), &values);
        Ok(())
    }

    /// A function by its reference, and all arguments for it.
    pub(super) fn ref_callee(
        &mut self,
        inst: graph::Inst,
        ty: TypeIndex,
        args: &[graph::Value],
    ) -> Result<(SigRef, Value, Values), CompileError> {
        let Some((&callee, args)) = args.split_last() else {
            return Err(CompileError::Bug(format!("{inst} has no callee")));
        };
        let signature = self.signature(ty)?;
        let some = self.is_some(callee);
        let callee = self.get(callee)?;
        let null = traps::to_clif(TrapCode::NullFunctionReference);
        if !some && !self.signals {
            self.trap_if_zero(callee, null);
        }
        let first = Some(null).filter(|_| !some && self.signals);
        let first = self.flags.func_ref(self.cur.func, first);
        let plain = self.flags.func_ref(self.cur.func, None);
        let cell = self.load(POINTER, first, callee, VmFuncRef::CELL);
        let vmctx = self.load(POINTER, plain, callee, VmFuncRef::VMCTX);
        let mut values = Values::from_slice(&[vmctx, self.vmctx]);
        self.get_all(args, &mut values)?;
        Ok((signature, self.code(cell, 0), values))
    }

    /// `return_call`.
    pub(super) fn return_call(
        &mut self,
        func: FuncIndex,
        args: &[graph::Value],
    ) -> Result<(), CompileError> {
        let (callee, values) = self.callee(func, args)?;
        self.tail_call(callee, &values);
        Ok(())
    }

    /// `call_indirect`; the table's index is the last operand.
    pub(super) fn call_indirect(
        &mut self,
        inst: graph::Inst,
        ty: TypeIndex,
        table: TableIndex,
        args: &[graph::Value],
    ) -> Result<(), CompileError> {
        let (signature, code, values) = self.indirect_callee(inst, ty, table, args)?;
        let call = self.cur.ins().call_indirect(signature, code, &values);
        self.set_call_results(inst, call)?;
        // Cranelift makes constants anew in each block that uses them. In a new block the null of
        // the next address's mask does not occupy a register across this call.
        let next = self.new_block();
        self.cur.ins().jump(next, &[]);
        self.enter(next);
        Ok(())
    }

    /// `return_call_indirect`; the table's index is the last operand.
    pub(super) fn return_call_indirect(
        &mut self,
        inst: graph::Inst,
        ty: TypeIndex,
        table: TableIndex,
        args: &[graph::Value],
    ) -> Result<(), CompileError> {
        let (signature, code, values) = self.indirect_callee(inst, ty, table, args)?;
        self.tail_call(Callee::Code(signature, code), &values);
        Ok(())
    }

    fn tail_call(&mut self, callee: Callee, values: &[Value]) {
        match callee {
            Callee::Direct(func) => self.cur.ins().return_call(func, values),
            Callee::Code(signature, code) => {
                self.cur.ins().return_call_indirect(signature, code, values)
            }
        };
    }

    /// A function by its number, and all arguments for it.
    pub(super) fn callee(
        &mut self,
        func: FuncIndex,
        args: &[graph::Value],
    ) -> Result<(Callee, Values), CompileError> {
        let Some(defined) = self.env.module.defined_func(func) else {
            let signature = self.signature(self.env.module.functions[func])?;
            let import = self.env.offsets.func_import(func);
            let callee = self.context_pointer(import + VmFuncImport::VMCTX);
            let cell = self.context_pointer(import + VmFuncImport::CELL);
            let mut values = Values::from_slice(&[callee, self.vmctx]);
            self.get_all(args, &mut values)?;
            return Ok((Callee::Code(signature, self.code(cell, 0)), values));
        };
        let mut values = Values::from_slice(&[self.vmctx, self.vmctx]);
        self.get_all(args, &mut values)?;
        let callee = match self.env.tunables.call_mode {
            CallMode::Direct => Callee::Direct(self.func_ref(func)?),
            CallMode::Cell => {
                let signature = self.signature(self.env.module.functions[func])?;
                // Loaded again for each call: a register kept across calls would cost
                // a function more than this load does.
                let flags = self.flags.mutable(self.cur.func, Region::Cells);
                let cells = self.load(POINTER, flags, self.vmctx, VmContextHeader::ENTRY);
                Callee::Code(signature, self.code(cells, defined.index() as u64 * 8))
            }
        };
        Ok((callee, values))
    }

    /// What is in a table, if it is a function of this type, and all arguments for it.
    pub(super) fn indirect_callee(
        &mut self,
        inst: graph::Inst,
        ty: TypeIndex,
        table: TableIndex,
        args: &[graph::Value],
    ) -> Result<(SigRef, Value, Values), CompileError> {
        let Some((&index, args)) = args.split_last() else {
            return Err(CompileError::Bug(format!("{inst} has no callee")));
        };
        let signature = self.signature(ty)?;
        let callee = self.element(table, index, TrapCode::UndefinedElement)?;
        let null = traps::to_clif(TrapCode::UninitializedElement);
        // The first load from a reference also finds out whether it is null.
        let first = if self.signals {
            Some(null)
        } else {
            let last = self.iconst(POINTER, VmTable::NULL);
            let order = IntCC::UnsignedLessThanOrEqual;
            let is_null = self.cur.ins().icmp(order, callee, last);
            self.trap_if(is_null, null);
            None
        };
        let plain = self.flags.func_ref(self.cur.func, None);
        let first = self.flags.func_ref(self.cur.func, first);
        let module = &*self.env.module;
        let known =
            module.is_heap_subtype(module.tables[table].element.heap, HeapType::Concrete(ty));
        let cell_flags = if known {
            first
        } else {
            let actual = self.load(types::I32, first, callee, VmFuncRef::TYPE_ID);
            let code = traps::to_clif(TrapCode::BadSignature);
            if module.types[ty].is_final {
                let expected = self.type_id(ty);
                let differs = self.cur.ins().icmp(IntCC::NotEqual, actual, expected);
                self.trap_if(differs, code);
            } else {
                let fits = self.is_instance(actual, ty, |lower, shallow| {
                    lower.trap_if(shallow, code);
                });
                self.trap_if_zero(fits, code);
            }
            plain
        };
        let cell = self.load(POINTER, cell_flags, callee, VmFuncRef::CELL);
        let vmctx = self.load(POINTER, plain, callee, VmFuncRef::VMCTX);
        let mut values = Values::from_slice(&[vmctx, self.vmctx]);
        self.get_all(args, &mut values)?;
        Ok((signature, self.code(cell, 0), values))
    }

    /// The code that an entry cell holds now.
    fn code(&mut self, cells: Value, offset: u64) -> Value {
        let flags = self.flags.mutable(self.cur.func, Region::Cells);
        match i32::try_from(offset) {
            Ok(offset) => self.load(POINTER, flags, cells, offset as u32),
            Err(_) => {
                let offset = self.iconst(POINTER, offset);
                let cell = self.cur.ins().iadd(cells, offset);
                self.load(POINTER, flags, cell, 0)
            }
        }
    }

    fn set_call_results(&mut self, inst: graph::Inst, call: ir::Inst) -> Result<(), CompileError> {
        self.map_roots(call);
        self.collected();
        let results = Values::from_slice(self.cur.func.dfg.inst_results(call));
        self.set_results(inst, &results)
    }

    /// The signature of a function type.
    fn signature(&mut self, ty: TypeIndex) -> Result<SigRef, CompileError> {
        if let Some(signature) = self.scratch.signatures.get(ty) {
            return Ok(signature);
        }
        let signature = signature::wasm(
            self.isa,
            Some(&self.env.module),
            self.env.module.func_type_at(ty),
        )?;
        let signature = self.cur.func.import_signature(signature);
        self.scratch.signatures.insert(ty, signature);
        Ok(signature)
    }

    /// A function of this module as the target of a direct call.
    fn func_ref(&mut self, func: FuncIndex) -> Result<FuncRef, CompileError> {
        if let Some(func) = self.scratch.functions.get(func) {
            return Ok(func);
        }
        let signature = self.signature(self.env.module.functions[func])?;
        let name = self
            .cur
            .func
            .declare_imported_user_function(UserExternalName::new(0, func.as_u32()));
        let reference = self.cur.func.import_function(ExtFuncData {
            name: ExternalName::user(name),
            signature,
            colocated: true,
            patchable: false,
        });
        self.scratch.functions.insert(func, reference);
        Ok(reference)
    }

    /// Calls a function of the runtime and looks at its result: a failure goes on as `raise`.
    /// `None` if it has no value.
    pub(super) fn call_builtin(&mut self, builtin: Builtin, args: &[Value]) -> Option<Value> {
        let call = self.call_builtin_raw(builtin, args);
        let result = self.cur.func.dfg.inst_results(call).first().copied();
        self.collected();
        match builtin.returns() {
            BuiltinReturn::Nothing | BuiltinReturn::Preserved | BuiltinReturn::Never => None,
            BuiltinReturn::Value(_) => result,
            BuiltinReturn::Status => {
                if let Some(status) = result {
                    self.raise_if(status);
                }
                None
            }
            BuiltinReturn::ValueOrRaise => {
                if let Some(value) = result {
                    let raised = self.iconst(types::I64, builtins::RAISED as u64);
                    let raised = self.cur.ins().icmp(IntCC::Equal, value, raised);
                    self.raise_if(raised);
                }
                result
            }
        }
    }

    /// Calls a function of the runtime.
    pub(super) fn call_builtin_raw(&mut self, builtin: Builtin, args: &[Value]) -> ir::Inst {
        let signature = self.builtin_signature(builtin);
        let (table, flags) = match self.rare {
            true => {
                let flags = self.flags.mutable(self.cur.func, Region::Interrupt);
                let table = self.load(POINTER, flags, self.vmctx, VmContextHeader::BUILTINS);
                (table, flags)
            }
            false => {
                let table = self.vm_pointer(Pointer::Builtins);
                (table, self.flags.pointer(self.cur.func))
            }
        };
        let code = self.load(POINTER, flags, table, builtin.offset());
        let mut values = Values::from_slice(&[self.vmctx]);
        values.extend_from_slice(args);
        let call = self.cur.ins().call_indirect(signature, code, &values);
        if builtin.returns() != BuiltinReturn::Never {
            self.map_roots(call);
        }
        call
    }

    /// Calls a function that keeps all registers from a cold path. What is needed for the call is
    /// loaded there and then: as pure loads these would move out of loops and take registers.
    pub(super) fn call_rare_builtin(&mut self, builtin: Builtin, arguments: &[Value]) {
        let signature = self.builtin_signature(builtin);
        let flags = self.flags.mutable(self.cur.func, Region::Interrupt);
        if !arguments.is_empty() {
            let store = self.load(POINTER, flags, self.vmctx, VmContextHeader::STORE);
            for (offset, &value) in (VmStoreContext::ARGUMENTS as i32..)
                .step_by(8)
                .zip(arguments)
            {
                self.store_op(Opcode::Store, flags, value, store, offset);
            }
        }
        let table = self.load(POINTER, flags, self.vmctx, VmContextHeader::BUILTINS);
        let code = self.load(POINTER, flags, table, builtin.offset());
        self.cur.ins().call_indirect(signature, code, &[self.vmctx]);
    }

    fn builtin_signature(&mut self, builtin: Builtin) -> SigRef {
        match self.scratch.builtins[builtin as usize].expand() {
            Some(signature) => signature,
            None => {
                let signature = signature::builtin(self.isa, builtin);
                let signature = self.cur.func.import_signature(signature);
                self.scratch.builtins[builtin as usize] = signature.into();
                signature
            }
        }
    }

    /// Goes on as `raise` if `failed` is not zero.
    fn raise_if(&mut self, failed: Value) {
        let raise = self.new_block();
        let go_on = self.new_block();
        self.cur.ins().brif(failed, raise, &[], go_on, &[]);
        self.cur.insert_block(raise);
        self.block = raise;
        self.cur.func.layout.set_cold(raise);
        self.call_builtin_raw(Builtin::raise, &[]);
        self.cur.ins().trap(traps::to_clif(TrapCode::Unreachable));
        self.enter(go_on);
    }
}
