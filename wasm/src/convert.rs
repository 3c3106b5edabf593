//! From `wasmparser`'s types to ours.
//!
//! Everything of WebAssembly 3.0 that the model has a place for is converted, whatever the enabled
//! features: refusing it is the validator's work. What the model has no place for (shared types,
//! continuations, descriptors) is [`Failure::Missing`], naming its proposal.

use cranelift_entity::EntityRef;
use wasmparser::{AbstractHeapType, CompositeInnerType, Operator, UnpackedIndex, WasmFeatures};

use crate::module::{ConstExpr, ConstOp};
use crate::types::*;

/// Why decoding stopped.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The binary format is broken.
    Reader(wasmparser::Error),
    /// A rule of validation is broken.
    Rule(wasmparser::Error),
    /// The model has no place for it.
    Missing {
        /// The proposal that it belongs to.
        proposal: WasmFeatures,
        /// Where it stands.
        offset: u64,
    },
}

impl Failure {
    /// Where, in bytes from the start of the binary.
    pub(crate) fn offset(&self) -> u64 {
        match self {
            Failure::Reader(error) | Failure::Rule(error) => error.offset(),
            Failure::Missing { offset, .. } => *offset,
        }
    }
}

impl From<wasmparser::Error> for Failure {
    fn from(error: wasmparser::Error) -> Failure {
        Failure::Reader(error)
    }
}

/// The result of a conversion: the proposal that is missing, if one is.
type Converted<T> = Result<T, WasmFeatures>;

/// Turns a missing proposal into a failure at `offset`.
pub(crate) fn at<T>(offset: u64, converted: Converted<T>) -> Result<T, Failure> {
    converted.map_err(|proposal| Failure::Missing { proposal, offset })
}

pub(crate) fn val_type(ty: wasmparser::ValType) -> Converted<ValType> {
    Ok(match ty {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::V128 => ValType::V128,
        wasmparser::ValType::Ref(ty) => ValType::Ref(ref_type(ty)?),
    })
}

pub(crate) fn ref_type(ty: wasmparser::RefType) -> Converted<RefType> {
    Ok(RefType {
        nullable: ty.is_nullable(),
        heap: heap_type(ty.heap_type())?,
    })
}

pub(crate) fn heap_type(ty: wasmparser::HeapType) -> Converted<HeapType> {
    match ty {
        wasmparser::HeapType::Abstract { shared: true, .. } => {
            Err(WasmFeatures::SHARED_EVERYTHING_THREADS)
        }
        wasmparser::HeapType::Abstract { shared: false, ty } => Ok(match ty {
            AbstractHeapType::Func => HeapType::Func,
            AbstractHeapType::NoFunc => HeapType::NoFunc,
            AbstractHeapType::Extern => HeapType::Extern,
            AbstractHeapType::NoExtern => HeapType::NoExtern,
            AbstractHeapType::Any => HeapType::Any,
            AbstractHeapType::Eq => HeapType::Eq,
            AbstractHeapType::I31 => HeapType::I31,
            AbstractHeapType::Struct => HeapType::Struct,
            AbstractHeapType::Array => HeapType::Array,
            AbstractHeapType::None => HeapType::None,
            AbstractHeapType::Exn => HeapType::Exn,
            AbstractHeapType::NoExn => HeapType::NoExn,
            AbstractHeapType::Cont | AbstractHeapType::NoCont => {
                return Err(WasmFeatures::STACK_SWITCHING);
            }
        }),
        wasmparser::HeapType::Concrete(index) => Ok(HeapType::Concrete(unpacked(index)?)),
        wasmparser::HeapType::Exact(_) => Err(WasmFeatures::CUSTOM_DESCRIPTORS),
    }
}

/// Freshly read types name others by module index; the other two forms are the validator's own.
fn unpacked(index: UnpackedIndex) -> Converted<TypeIndex> {
    match index.as_module_index() {
        Some(index) => Ok(self::index(index)),
        None => Err(WasmFeatures::GC),
    }
}

pub(crate) fn sub_type(ty: &wasmparser::SubType) -> Converted<SubType> {
    let composite = &ty.composite_type;
    if composite.shared {
        return Err(WasmFeatures::SHARED_EVERYTHING_THREADS);
    }
    if composite.descriptor_idx.is_some() || composite.describes_idx.is_some() {
        return Err(WasmFeatures::CUSTOM_DESCRIPTORS);
    }
    Ok(SubType {
        is_final: ty.is_final,
        // The validator refuses a second one.
        supertype: match ty.supertype_idxs.first() {
            Some(index) => Some(unpacked(index.unpack())?),
            None => None,
        },
        composite: match &composite.inner {
            CompositeInnerType::Func(ty) => CompositeType::Func(FuncType::new(
                val_types(ty.params())?,
                val_types(ty.results())?,
            )),
            CompositeInnerType::Array(ty) => CompositeType::Array(ArrayType {
                element: field_type(ty.0)?,
            }),
            CompositeInnerType::Struct(ty) => CompositeType::Struct(StructType {
                fields: ty
                    .fields
                    .iter()
                    .map(|field| field_type(*field))
                    .collect::<Converted<_>>()?,
            }),
            CompositeInnerType::Cont(_) => return Err(WasmFeatures::STACK_SWITCHING),
        },
    })
}

fn val_types(types: &[wasmparser::ValType]) -> Converted<Vec<ValType>> {
    types.iter().map(|ty| val_type(*ty)).collect()
}

fn field_type(field: wasmparser::FieldType) -> Converted<FieldType> {
    Ok(FieldType {
        storage: match field.element_type {
            wasmparser::StorageType::I8 => StorageType::I8,
            wasmparser::StorageType::I16 => StorageType::I16,
            wasmparser::StorageType::Val(ty) => StorageType::Val(val_type(ty)?),
        },
        mutable: field.mutable,
    })
}

pub(crate) fn table_type(ty: wasmparser::TableType) -> Converted<TableType> {
    if ty.shared {
        return Err(WasmFeatures::SHARED_EVERYTHING_THREADS);
    }
    Ok(TableType {
        element: ref_type(ty.element_type)?,
        min: ty.initial,
        max: ty.maximum,
        table64: ty.table64,
    })
}

pub(crate) fn memory_type(ty: wasmparser::MemoryType) -> Converted<MemoryType> {
    Ok(MemoryType {
        min: ty.initial,
        max: ty.maximum,
        shared: ty.shared,
        memory64: ty.memory64,
        // The validator allows 0 and 16 only; what does not even fit is left to it as well.
        page_size_log2: u8::try_from(ty.page_size_log2()).unwrap_or(u8::MAX),
    })
}

pub(crate) fn global_type(ty: wasmparser::GlobalType) -> Converted<GlobalType> {
    if ty.shared {
        return Err(WasmFeatures::SHARED_EVERYTHING_THREADS);
    }
    Ok(GlobalType {
        content: val_type(ty.content_type)?,
        mutable: ty.mutable,
    })
}

/// Decodes a constant expression. An instruction that is not constant is the validator's to refuse,
/// so it is reported as missing and looked at only if the validator has let it pass.
pub(crate) fn const_expr(expr: &wasmparser::ConstExpr<'_>) -> Result<ConstExpr, Failure> {
    let mut ops = Vec::new();
    let mut reader = expr.get_operators_reader();
    while !reader.eof() {
        let (op, offset) = reader.read_with_offset()?;
        ops.push(match op {
            Operator::End => continue,
            Operator::I32Const { value } => ConstOp::I32Const(value),
            Operator::I64Const { value } => ConstOp::I64Const(value),
            Operator::F32Const { value } => ConstOp::F32Const(value.bits()),
            Operator::F64Const { value } => ConstOp::F64Const(value.bits()),
            Operator::V128Const { value } => ConstOp::V128Const(value.into()),
            Operator::GlobalGet { global_index } => ConstOp::GlobalGet(index(global_index)),
            Operator::RefNull { hty } => ConstOp::RefNull(at(offset, heap_type(hty))?),
            Operator::RefFunc { function_index } => ConstOp::RefFunc(index(function_index)),
            Operator::I32Add => ConstOp::I32Add,
            Operator::I32Sub => ConstOp::I32Sub,
            Operator::I32Mul => ConstOp::I32Mul,
            Operator::I64Add => ConstOp::I64Add,
            Operator::I64Sub => ConstOp::I64Sub,
            Operator::I64Mul => ConstOp::I64Mul,
            Operator::StructNew {
                struct_type_index: ty,
            } => ConstOp::StructNew(index(ty)),
            Operator::StructNewDefault {
                struct_type_index: ty,
            } => ConstOp::StructNewDefault(index(ty)),
            Operator::ArrayNew {
                array_type_index: ty,
            } => ConstOp::ArrayNew(index(ty)),
            Operator::ArrayNewDefault {
                array_type_index: ty,
            } => ConstOp::ArrayNewDefault(index(ty)),
            Operator::ArrayNewFixed {
                array_type_index: ty,
                array_size,
            } => ConstOp::ArrayNewFixed(index(ty), array_size),
            Operator::RefI31 => ConstOp::RefI31,
            Operator::AnyConvertExtern => ConstOp::AnyConvertExtern,
            Operator::ExternConvertAny => ConstOp::ExternConvertAny,
            _ => {
                return Err(Failure::Missing {
                    proposal: WasmFeatures::GC,
                    offset,
                });
            }
        });
    }
    Ok(ConstExpr { ops: ops.into() })
}

/// An index of the binary as an entity of ours. `u32::MAX` is reserved by the entity types, and no
/// index space is that large: the validator refuses it as out of bounds, here it is only kept.
pub(crate) fn index<E: EntityRef>(index: u32) -> E {
    E::new(index.min(u32::MAX - 1) as usize)
}
