//! Types whose references are something other than a module's indices.
//!
//! A [`TypeIndex`] in them is a number of the registry, or, in the key of a rec group, a position in
//! that group.

use bimetal_wasm::{
    ArrayType, CompositeType, FieldType, FuncType, HeapType, RefType, StorageType, StructType,
    SubType, TypeIndex, ValType,
};

/// Set in positions. There are never so many numbers.
const IN_GROUP: u32 = 1 << 31;

/// The type at this position of the group.
pub(super) fn in_group(position: u32) -> TypeIndex {
    TypeIndex::from_u32(position | IN_GROUP)
}

/// The position, if it is one.
pub(super) fn position(index: TypeIndex) -> Option<u32> {
    let raw = index.as_u32();
    (raw & IN_GROUP != 0).then_some(raw & !IN_GROUP)
}

/// The type with other indices.
pub(super) fn map(ty: &SubType, mut f: impl FnMut(TypeIndex) -> TypeIndex) -> SubType {
    let f = &mut f;
    SubType {
        is_final: ty.is_final,
        supertype: ty.supertype.map(&mut *f),
        composite: match &ty.composite {
            CompositeType::Func(ty) => CompositeType::Func(func(ty, f)),
            CompositeType::Struct(ty) => CompositeType::Struct(StructType {
                fields: ty.fields.iter().map(|ty| field(ty, f)).collect(),
            }),
            CompositeType::Array(ty) => CompositeType::Array(ArrayType {
                element: field(&ty.element, f),
            }),
        },
    }
}

/// A function type without concrete types: what its calling convention depends on.
pub(super) fn erase(ty: &FuncType, is_func: impl Fn(&RefType) -> bool) -> FuncType {
    let erase = |ty: &ValType| match ty {
        ValType::Ref(ty) if ty.heap.is_concrete() => ValType::Ref(RefType {
            nullable: ty.nullable,
            heap: match is_func(ty) {
                true => HeapType::Func,
                false => HeapType::Any,
            },
        }),
        ty => *ty,
    };
    FuncType::new(
        ty.params().iter().map(erase),
        ty.results().iter().map(erase),
    )
}

fn func(ty: &FuncType, f: &mut impl FnMut(TypeIndex) -> TypeIndex) -> FuncType {
    let params: Vec<ValType> = ty.params().iter().map(|ty| value(ty, f)).collect();
    let results: Vec<ValType> = ty.results().iter().map(|ty| value(ty, f)).collect();
    FuncType::new(params, results)
}

fn field(ty: &FieldType, f: &mut impl FnMut(TypeIndex) -> TypeIndex) -> FieldType {
    FieldType {
        storage: match &ty.storage {
            StorageType::Val(ty) => StorageType::Val(value(ty, f)),
            packed => *packed,
        },
        mutable: ty.mutable,
    }
}

fn value(ty: &ValType, f: &mut impl FnMut(TypeIndex) -> TypeIndex) -> ValType {
    match ty {
        ValType::Ref(RefType {
            nullable,
            heap: HeapType::Concrete(index),
        }) => ValType::Ref(RefType {
            nullable: *nullable,
            heap: HeapType::Concrete(f(*index)),
        }),
        ty => *ty,
    }
}
