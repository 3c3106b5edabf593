//! What is known of a reference by what defines it.
//!
//! The graph's types say only what hierarchy a reference is of; the instruction that makes it says
//! more: a field has a type, so has a function's result. What holds from a check on, elsewhere than in
//! the check's own result, is not looked for, nor what parameters of blocks are.

use bimetal_codegen::ModuleEnv;
use bimetal_wasm::{FuncType, HeapType, Module, RefType, StorageType, TypeIndex, ValType};

use crate::graph::{Graph, Imm, Inst, Op, Type, Value, ValueDef};

/// How many checks are looked through.
const MAX_DEPTH: usize = 4;

/// The type that a reference has by its definition. `signature` is the function's; without it nothing
/// is known of parameters.
pub(crate) fn ref_type(
    env: &ModuleEnv,
    signature: Option<&FuncType>,
    graph: &Graph,
    value: Value,
) -> Option<RefType> {
    at_depth(env, signature, graph, value, MAX_DEPTH)
}

fn at_depth(
    env: &ModuleEnv,
    signature: Option<&FuncType>,
    graph: &Graph,
    value: Value,
    depth: usize,
) -> Option<RefType> {
    let (inst, n) = match graph.def(value) {
        ValueDef::Param(block, i) if block == graph.entry() => {
            return reference(*signature?.params().get(i as usize)?);
        }
        ValueDef::Result(inst, n) => (inst, n as usize),
        _ => return None,
    };
    let module = &*env.module;
    let made = |ty| RefType::new(false, HeapType::Concrete(ty));
    let of_operand = || {
        let operand = *graph.args(inst).first()?;
        at_depth(env, signature, graph, operand, depth.checked_sub(1)?)
    };
    let nullable = || of_operand().is_none_or(|ty| ty.nullable);
    match (graph.op(inst), graph.imm(inst)) {
        (Op::RefNull, _) => Some(RefType::new(true, bottom(graph.ty(value))?)),
        (Op::RefFunc, Imm::Func(func)) => Some(made(module.functions[func])),
        (Op::RefI31, _) => Some(RefType::new(false, HeapType::I31)),
        (Op::AnyConvertExtern, _) => Some(RefType::new(nullable(), HeapType::Any)),
        (Op::ExternConvertAny, _) => Some(RefType::new(nullable(), HeapType::Extern)),
        (Op::RefAsNonNull, _) => of_operand().map(|ty| RefType::new(false, ty.heap)),
        (Op::RefCast, Imm::Cast { to, .. }) => {
            Some(RefType::new(to.nullable && nullable(), to.heap))
        }
        (
            Op::StructNew
            | Op::StructNewDefault
            | Op::ArrayNew
            | Op::ArrayNewDefault
            | Op::ArrayNewFixed,
            Imm::Type(ty),
        )
        | (Op::ArrayNewData, Imm::TypeData { ty, .. })
        | (Op::ArrayNewElem, Imm::TypeElem { ty, .. }) => Some(made(ty)),
        (Op::StructGet, Imm::Field { ty, field }) => {
            stored(module.struct_fields(ty).get(field as usize)?.storage)
        }
        (Op::ArrayGet, Imm::Type(ty)) => stored(module.array_element(ty)?.storage),
        (Op::GlobalGet, Imm::Global(global)) => reference(module.globals[global].content),
        (Op::TableGet, Imm::Table(table)) => Some(module.tables[table].element),
        _ => called(env, graph, inst).and_then(|ty| reference(*ty.results().get(n)?)),
    }
}

/// A field as the uppermost type that has it names it: fields with other names are other places.
pub(crate) fn field_key(module: &Module, ty: TypeIndex, field: u32) -> (TypeIndex, u32) {
    let has = |ty: &TypeIndex| module.struct_fields(*ty).len() > field as usize;
    let first = module.ancestors(ty).take_while(has).last().unwrap_or(ty);
    (module.canonical_type(first), field)
}

/// The uppermost type of arrays of a type: elements of arrays with another are other places.
pub(crate) fn array_key(module: &Module, ty: TypeIndex) -> TypeIndex {
    module.canonical_type(module.ancestors(ty).last().unwrap_or(ty))
}

/// Whether something is stored in fewer bits than it has as a value.
pub(crate) fn is_packed(storage: StorageType) -> bool {
    matches!(storage, StorageType::I8 | StorageType::I16)
}

/// The type of what an instruction calls.
fn called<'a>(env: &'a ModuleEnv, graph: &Graph, inst: Inst) -> Option<&'a FuncType> {
    match (graph.op(inst), graph.imm(inst)) {
        (Op::Call, Imm::Func(func)) => Some(env.module.func_type(func)),
        (Op::CallRef, Imm::Type(ty)) | (Op::CallIndirect, Imm::CallIndirect { ty, .. }) => {
            Some(env.module.func_type_at(ty))
        }
        _ => None,
    }
}

/// What only null is of.
fn bottom(ty: Type) -> Option<HeapType> {
    match ty {
        Type::FuncRef => Some(HeapType::NoFunc),
        Type::ExternRef => Some(HeapType::NoExtern),
        Type::AnyRef => Some(HeapType::None),
        Type::ExnRef => Some(HeapType::NoExn),
        _ => None,
    }
}

fn stored(ty: StorageType) -> Option<RefType> {
    match ty {
        StorageType::Val(ty) => reference(ty),
        StorageType::I8 | StorageType::I16 => None,
    }
}

fn reference(ty: ValType) -> Option<RefType> {
    ty.as_ref().copied()
}
