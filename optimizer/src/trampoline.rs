//! The code between wasm and the host, as [`bimetal_abi::convention`] lays down.
//!
//! Trampolines know nothing of a module: one per function type serves every module and store.
//! They have no relocations (all that they call comes through pointers), which
//! [`crate::emit::trampoline`] checks.

use bimetal_abi::{Builtin, NativeReturn, ValRaw, VmContextHeader, VmHostContext, VmStoreContext};
use bimetal_codegen::{Arch, CompileError, Trampoline, TrampolineKind, results_in_array};
use bimetal_wasm::{FuncType, ValType};
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{
    self, AbiParam, ArgumentPurpose, BlockArg, BlockCall, Endianness, ExceptionTableData,
    ExceptionTableItem, Function, InstBuilder, MemFlagsData, Signature, StackSlotData,
    StackSlotKind, Type, Value, types,
};
use cranelift_codegen::isa::CallConv;

use crate::isa::Isa;
use crate::signature::{self, POINTER};
use crate::traps;

/// Fills the empty `func` with `trampoline`.
///
/// # Errors
/// [`CompileError::Unsupported`] if the signature has types that this target has not.
pub(crate) fn build(
    isa: &Isa,
    trampoline: &Trampoline,
    func: &mut Function,
) -> Result<(), CompileError> {
    let ty = &trampoline.ty;
    match trampoline.kind {
        TrampolineKind::HostToWasm => host_to_wasm(isa, ty, func),
        TrampolineKind::WasmToNative => wasm_to_native(isa, ty, false, func),
        TrampolineKind::WasmToArray => wasm_to_array(isa, ty, false, func),
        TrampolineKind::HookedToNative => wasm_to_native(isa, ty, true, func),
        TrampolineKind::HookedToArray => wasm_to_array(isa, ty, true, func),
    }
}

/// `(callee_vmctx, caller_vmctx, code, args) -> 1 on return, 0 on a trap`.
fn host_to_wasm(isa: &Isa, ty: &FuncType, func: &mut Function) -> Result<(), CompileError> {
    func.signature = Signature::new(CallConv::SystemV);
    func.signature.params = vec![AbiParam::new(POINTER); 4];
    func.signature.returns = vec![AbiParam::new(types::I64)];
    let callee_signature = signature::wasm(isa, None, ty)?;
    let results: Vec<Type> = callee_signature
        .returns
        .iter()
        .map(|result| result.value_type)
        .collect();

    let mut b = Builder::new(func);
    let [callee_vmctx, caller_vmctx, code, args] = b.params()[..] else {
        return Err(CompileError::Bug("a host entry has four parameters".into()));
    };
    // The block that ends in the call is named by `get_exception_handler_address`, so it is one
    // of its own.
    let call_block = b.block();
    b.cur.ins().jump(call_block, &[]);
    b.cur.insert_block(call_block);

    let mut arguments = vec![callee_vmctx, caller_vmctx];
    for (i, &param) in ty.params().iter().enumerate() {
        arguments.push(b.load_raw(isa, param, args, i)?);
    }
    let store = b.load(POINTER, caller_vmctx, VmContextHeader::STORE);
    let fp = b.cur.ins().get_frame_pointer(POINTER);
    b.store(fp, store, VmStoreContext::ENTRY_FP);
    let sp = b.cur.ins().get_stack_pointer(POINTER);
    b.store(sp, store, VmStoreContext::ENTRY_SP);
    let handler = b
        .cur
        .ins()
        .get_exception_handler_address(POINTER, call_block, 0);
    b.store(handler, store, VmStoreContext::ENTRY_HANDLER);

    let returned = b.block();
    let trapped = b.block();
    let result_values: Vec<Value> = results
        .iter()
        .map(|&result| b.cur.func.dfg.append_block_param(returned, result))
        .collect();
    let signature = b.cur.func.import_signature(callee_signature);
    let pool = &mut b.cur.func.dfg.value_lists;
    let normal = BlockCall::new(
        returned,
        (0..results.len() as u32).map(BlockArg::TryCallRet),
        pool,
    );
    let exceptional = BlockCall::new(trapped, [], pool);
    let table = b
        .cur
        .func
        .dfg
        .exception_tables
        .push(ExceptionTableData::new(
            signature,
            normal,
            [ExceptionTableItem::Default(exceptional)],
        ));
    b.cur.ins().try_call_indirect(code, &arguments, table);

    b.cur.insert_block(returned);
    for (i, (&result, value)) in ty.results().iter().zip(result_values).enumerate() {
        b.store_raw(result, value, args, i);
    }
    let one = b.cur.ins().iconst(types::I64, 1);
    b.cur.ins().return_(&[one]);

    b.cur.insert_block(trapped);
    b.cur.func.layout.set_cold(trapped);
    let zero = b.cur.ins().iconst(types::I64, 0);
    b.cur.ins().return_(&[zero]);
    Ok(())
}

/// The arguments in registers, at most one result in a register.
fn wasm_to_native(
    isa: &Isa,
    ty: &FuncType,
    hooked: bool,
    func: &mut Function,
) -> Result<(), CompileError> {
    func.signature = signature::wasm(isa, None, ty)?;
    let mut b = Builder::new(func);
    let params = b.params();
    let (host, caller) = (params[0], params[1]);
    b.record_exit(caller);

    let mut native = HostCall::new(isa, &mut b);
    native.pass(isa, host);
    native.pass(isa, caller);
    for (&param, &value) in ty.params().iter().zip(&params[2..]) {
        match param {
            ValType::V128 => {
                let slot = b.slot(1);
                b.store_raw(param, value, slot, 0);
                native.pass_typed(isa, slot, POINTER);
            }
            _ => native.pass_typed(isa, value, signature::value_type(isa, None, param)?),
        }
    }
    let rets = if results_in_array(ty) {
        b.slot(ty.results().len())
    } else {
        b.cur.ins().iconst(POINTER, 0)
    };
    native.pass(isa, rets);
    let value = native.call(isa, &mut b, host, caller, hooked);

    let mut results = Vec::with_capacity(ty.results().len());
    if results_in_array(ty) {
        for (i, &result) in ty.results().iter().enumerate() {
            results.push(b.load_raw(isa, result, rets, i)?);
        }
    } else if let [result] = ty.results() {
        results.push(match signature::value_type(isa, None, *result)? {
            types::I64 => value,
            types::I32 => b.cur.ins().ireduce(types::I32, value),
            types::F32 => {
                let bits = b.cur.ins().ireduce(types::I32, value);
                b.cur.ins().bitcast(types::F32, MemFlagsData::new(), bits)
            }
            to => b.cur.ins().bitcast(to, MemFlagsData::new(), value),
        });
    }
    b.cur.ins().return_(&results);
    Ok(())
}

/// Arguments and results through one array.
fn wasm_to_array(
    isa: &Isa,
    ty: &FuncType,
    hooked: bool,
    func: &mut Function,
) -> Result<(), CompileError> {
    func.signature = signature::wasm(isa, None, ty)?;
    let mut b = Builder::new(func);
    let params = b.params();
    let (host, caller) = (params[0], params[1]);
    b.record_exit(caller);

    let count = ty.params().len().max(ty.results().len());
    let values = b.slot(count);
    for (i, (&param, &value)) in ty.params().iter().zip(&params[2..]).enumerate() {
        b.store_raw(param, value, values, i);
    }
    let mut native = HostCall::new(isa, &mut b);
    native.pass(isa, host);
    native.pass(isa, caller);
    native.pass(isa, values);
    let length = b.cur.ins().iconst(POINTER, count as i64);
    native.pass(isa, length);
    native.call(isa, &mut b, host, caller, hooked);

    let mut results = Vec::with_capacity(ty.results().len());
    for (i, &result) in ty.results().iter().enumerate() {
        results.push(b.load_raw(isa, result, values, i)?);
    }
    b.cur.ins().return_(&results);
    Ok(())
}

/// A call of `host.native` under construction.
struct HostCall {
    signature: Signature,
    arguments: Vec<Value>,
    /// Where a [`NativeReturn`] is returned on targets that return no structure in registers.
    memory_return: Option<Value>,
}

impl HostCall {
    fn new(isa: &Isa, b: &mut Builder<'_>) -> HostCall {
        let mut call = HostCall {
            signature: Signature::new(CallConv::SystemV),
            arguments: Vec::new(),
            memory_return: None,
        };
        if isa.arch == Arch::S390x {
            let slot = b.slot(size_of::<NativeReturn>().div_ceil(ValRaw::SIZE as usize));
            call.signature
                .params
                .push(AbiParam::special(POINTER, ArgumentPurpose::StructReturn));
            call.arguments.push(slot);
            call.memory_return = Some(slot);
        } else {
            call.signature.returns = vec![AbiParam::new(types::I64); 2];
        }
        call
    }

    fn pass(&mut self, isa: &Isa, pointer: Value) {
        self.pass_typed(isa, pointer, POINTER);
    }

    fn pass_typed(&mut self, isa: &Isa, value: Value, ty: Type) {
        self.signature.params.push(signature::system_param(isa, ty));
        self.arguments.push(value);
    }

    /// Emits the call and the check of its status; the result is `NativeReturn::value`.
    fn call(
        self,
        isa: &Isa,
        b: &mut Builder<'_>,
        host: Value,
        caller: Value,
        hooked: bool,
    ) -> Value {
        if hooked {
            b.tell(isa, Builtin::calling_host, caller);
        }
        let code = b.load(POINTER, host, VmHostContext::NATIVE);
        let signature = b.cur.func.import_signature(self.signature);
        let call = b.cur.ins().call_indirect(signature, code, &self.arguments);
        let (value, status) = match self.memory_return {
            Some(slot) => (b.load(types::I64, slot, 0), b.load(types::I64, slot, 8)),
            None => {
                let results = b.cur.func.dfg.inst_results(call);
                (results[0], results[1])
            }
        };
        if hooked {
            b.tell(isa, Builtin::returning_from_host, caller);
        }
        let failed = b.block();
        let succeeded = b.block();
        b.cur.ins().brif(status, failed, &[], succeeded, &[]);

        b.cur.insert_block(failed);
        b.cur.func.layout.set_cold(failed);
        // The caller's context, see `NativeReturn`: so that it is in no register over the call.
        b.raise(value);

        b.cur.insert_block(succeeded);
        value
    }
}

/// A cursor with the few shapes of instruction that trampolines are made of.
struct Builder<'a> {
    cur: FuncCursor<'a>,
    entry: ir::Block,
}

impl<'a> Builder<'a> {
    /// At the end of a new entry block with the signature's parameters.
    fn new(func: &'a mut Function) -> Builder<'a> {
        let entry = func.dfg.make_block();
        for i in 0..func.signature.params.len() {
            let ty = func.signature.params[i].value_type;
            func.dfg.append_block_param(entry, ty);
        }
        let mut cur = FuncCursor::new(func);
        cur.insert_block(entry);
        Builder { cur, entry }
    }

    fn params(&self) -> Vec<Value> {
        self.cur.func.dfg.block_params(self.entry).to_vec()
    }

    fn block(&mut self) -> ir::Block {
        self.cur.func.dfg.make_block()
    }

    /// The address of a new array of `count` [`ValRaw`] on the stack.
    fn slot(&mut self, count: usize) -> Value {
        let size = (count as u32).max(1) * ValRaw::SIZE;
        let slot = self.cur.func.create_sized_stack_slot(StackSlotData::new(
            StackSlotKind::ExplicitSlot,
            size,
            ValRaw::SIZE.trailing_zeros() as u8,
        ));
        self.cur.ins().stack_addr(POINTER, slot, 0)
    }

    fn load(&mut self, ty: Type, base: Value, offset: u32) -> Value {
        self.cur
            .ins()
            .load(ty, MemFlagsData::trusted(), base, offset as i32)
    }

    fn store(&mut self, value: Value, base: Value, offset: u32) {
        self.cur
            .ins()
            .store(MemFlagsData::trusted(), value, base, offset as i32);
    }

    /// Reads element `index` of an array of [`ValRaw`].
    fn load_raw(
        &mut self,
        isa: &Isa,
        ty: ValType,
        array: Value,
        index: usize,
    ) -> Result<Value, CompileError> {
        let clif = signature::value_type(isa, None, ty)?;
        let offset = index as i32 * ValRaw::SIZE as i32;
        Ok(self.cur.ins().load(clif, raw_flags(ty), array, offset))
    }

    /// Writes element `index` of an array of [`ValRaw`].
    fn store_raw(&mut self, ty: ValType, value: Value, array: Value, index: usize) {
        let offset = index as i32 * ValRaw::SIZE as i32;
        self.cur.ins().store(raw_flags(ty), value, array, offset);
    }

    /// Notes in the store of `caller` where wasm was left: in the frame above this one.
    fn record_exit(&mut self, caller: Value) {
        let store = self.load(POINTER, caller, VmContextHeader::STORE);
        let frame = self.cur.ins().get_frame_pointer(POINTER);
        self.store(frame, store, VmStoreContext::EXIT_FP);
        let none = self.cur.ins().iconst(POINTER, 0);
        self.store(none, store, VmStoreContext::EXIT_PC);
    }

    /// Calls a builtin of call hooks.
    fn tell(&mut self, isa: &Isa, builtin: Builtin, caller: Value) {
        let builtins = self.load(POINTER, caller, VmContextHeader::BUILTINS);
        let code = self.load(POINTER, builtins, builtin.offset());
        let signature = signature::builtin(isa, builtin);
        let signature = self.cur.func.import_signature(signature);
        self.cur.ins().call_indirect(signature, code, &[caller]);
    }

    /// Calls the builtin `raise` and ends the block.
    fn raise(&mut self, vmctx: Value) {
        let builtins = self.load(POINTER, vmctx, VmContextHeader::BUILTINS);
        let code = self.load(POINTER, builtins, Builtin::raise.offset());
        let mut signature = Signature::new(CallConv::SystemV);
        signature.params.push(AbiParam::new(POINTER));
        let signature = self.cur.func.import_signature(signature);
        self.cur.ins().call_indirect(signature, code, &[vmctx]);
        self.cur
            .ins()
            .trap(traps::to_clif(bimetal_abi::TrapCode::Unreachable));
    }
}

/// How a value stands in a [`ValRaw`]: native byte order, a vector's bytes in little-endian.
fn raw_flags(ty: ValType) -> MemFlagsData {
    match ty {
        ValType::V128 => MemFlagsData::trusted().with_endianness(Endianness::Little),
        _ => MemFlagsData::trusted(),
    }
}

#[cfg(test)]
mod tests {
    use bimetal_codegen::{Compiler, CpuFeatures, Settings, Target};

    use super::*;
    use crate::Optimizer;

    /// Signatures that fill the registers of every kind and spill over, on every target.
    #[test]
    fn all_shapes_compile_everywhere() {
        use ValType::{F32, F64, I32, I64, V128};
        let few = [I32, F64, ValType::FUNCREF, I64, F32, ValType::EXTERNREF];
        let many: Vec<ValType> = few.iter().copied().cycle().take(29).collect();
        let with_vectors: Vec<ValType> = [I32, V128, F64].into_iter().cycle().take(24).collect();
        // As many as a module may have.
        let most: Vec<ValType> = [V128, I64].into_iter().cycle().take(1000).collect();
        let lists: [&[ValType]; 8] = [
            &[],
            &[I32],
            &[F32],
            &[V128],
            &few,
            &many,
            &with_vectors,
            &most,
        ];
        for &arch in Arch::ALL {
            let features = match arch {
                Arch::Riscv64 => CpuFeatures::Flags(vec!["has_v".into()]),
                _ => CpuFeatures::Baseline,
            };
            let settings = Settings {
                verify: true,
                ..Settings::default()
            };
            let optimizer = Optimizer::new(&Target { arch, features }, settings).unwrap();
            let mut scratch = optimizer.scratch();
            for params in lists {
                for results in lists {
                    // The longest lists only with each other: they take their time.
                    if (params.len() == most.len()) != (results.len() == most.len()) {
                        continue;
                    }
                    let ty = FuncType::new(params.iter().copied(), results.iter().copied());
                    for kind in TrampolineKind::ALL {
                        let ty = ty.clone();
                        let trampoline = Trampoline { kind, ty };
                        let code = optimizer
                            .trampoline(&trampoline, &mut scratch)
                            .unwrap_or_else(|error| panic!("{arch}: {trampoline:?}: {error}"));
                        assert!(!code.bytes.is_empty());
                    }
                }
            }
        }
    }

    #[test]
    fn vectors_need_the_extension_on_riscv() {
        let target = Target {
            arch: Arch::Riscv64,
            features: CpuFeatures::Baseline,
        };
        let optimizer = Optimizer::new(&target, Settings::default()).unwrap();
        let ty = FuncType::new([ValType::V128], []);
        let kind = TrampolineKind::HostToWasm;
        let result = optimizer.trampoline(&Trampoline { kind, ty }, &mut optimizer.scratch());
        assert!(matches!(result, Err(CompileError::Unsupported(_))));
    }
}
