//! CLIF types and signatures of what [`bimetal_abi::convention`] describes.

use bimetal_abi::{Builtin, BuiltinReturn, BuiltinType};
use bimetal_codegen::CompileError;
use bimetal_wasm::{FuncType, HeapType, Module, ValType};
use cranelift_codegen::ir::{AbiParam, ArgumentPurpose, Signature, Type, types};
use cranelift_codegen::isa::CallConv;

use crate::isa::Isa;

/// A pointer: all targets have 64 bits.
pub(crate) const POINTER: Type = types::I64;

/// The type in which values of a wasm type cross blocks and calls.
///
/// # Errors
/// [`CompileError::Unsupported`] for vectors on a target without them, and for types of a module
/// where there is none: whoever has no module says `anyref` or `funcref`.
pub(crate) fn value_type(
    isa: &Isa,
    module: Option<&Module>,
    ty: ValType,
) -> Result<Type, CompileError> {
    Ok(match ty {
        ValType::I32 => types::I32,
        ValType::I64 => types::I64,
        ValType::F32 => types::F32,
        ValType::F64 => types::F64,
        ValType::V128 if isa.has_simd => types::I8X16,
        ValType::V128 => {
            return Err(CompileError::Unsupported(format!(
                "v128 on {} without vector instructions",
                isa.arch
            )));
        }
        ValType::Ref(ty) => match (ty.heap, module) {
            (HeapType::Func | HeapType::NoFunc, _) => POINTER,
            (HeapType::Concrete(_), None) => {
                return Err(CompileError::Unsupported(format!("values of type {ty}")));
            }
            (HeapType::Concrete(_), Some(module)) if module.is_func_ref(&ty) => POINTER,
            _ => types::I32,
        },
    })
}

/// The signature of a wasm function, or of what wasm calls like one.
///
/// # Errors
/// As for [`value_type`].
pub(crate) fn wasm(
    isa: &Isa,
    module: Option<&Module>,
    ty: &FuncType,
) -> Result<Signature, CompileError> {
    let mut signature = Signature::new(CallConv::Tail);
    signature.params.reserve_exact(ty.params().len() + 2);
    signature
        .params
        .push(AbiParam::special(POINTER, ArgumentPurpose::VMContext));
    signature.params.push(AbiParam::new(POINTER));
    for &param in ty.params() {
        signature
            .params
            .push(AbiParam::new(value_type(isa, module, param)?));
    }
    signature.returns.reserve_exact(ty.results().len());
    for &result in ty.results() {
        signature
            .returns
            .push(AbiParam::new(value_type(isa, module, result)?));
    }
    Ok(signature)
}

/// A parameter in the system convention.
pub(crate) fn system_param(isa: &Isa, ty: Type) -> AbiParam {
    let param = AbiParam::new(ty);
    if isa.extends_arguments && ty == types::I32 {
        param.sext()
    } else {
        param
    }
}

/// The signature of a builtin: its caller's `vmctx`, then its parameters.
pub(crate) fn builtin(isa: &Isa, builtin: Builtin) -> Signature {
    let mut signature = Signature::new(match builtin.returns() {
        BuiltinReturn::Preserved => CallConv::PreserveAll,
        _ => CallConv::SystemV,
    });
    signature.params.push(AbiParam::new(POINTER));
    for &param in builtin.params() {
        signature
            .params
            .push(system_param(isa, builtin_type(param)));
    }
    let returns = match builtin.returns() {
        BuiltinReturn::Nothing | BuiltinReturn::Preserved | BuiltinReturn::Never => None,
        BuiltinReturn::Value(ty) => Some(builtin_type(ty)),
        BuiltinReturn::Status => Some(types::I32),
        BuiltinReturn::ValueOrRaise => Some(types::I64),
    };
    signature.returns.extend(returns.map(AbiParam::new));
    signature
}

fn builtin_type(ty: BuiltinType) -> Type {
    match ty {
        BuiltinType::I32 => types::I32,
        BuiltinType::I64 => types::I64,
        BuiltinType::F32 => types::F32,
        BuiltinType::F64 => types::F64,
    }
}
