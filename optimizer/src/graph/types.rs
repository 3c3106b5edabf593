//! Types of SSA values.

use std::fmt;

use bimetal_wasm::{HeapType, Module, StorageType, ValType};

/// The type of a value: what its representation and the verifier need, no more. The precise
/// reference types of later proposals stay with the instructions that care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Type {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// 128-bit vector.
    V128,
    /// Function reference: the address of a `VmFuncRef` or null.
    FuncRef,
    /// Host reference.
    ExternRef,
    /// Reference to an object or `i31`; its bits are as those of host references, see
    /// [`mod@bimetal_abi::gc::reference`].
    AnyRef,
    /// Reference to an exception, likewise.
    ExnRef,
}

impl Type {
    /// All of them.
    pub const ALL: &[Type] = &[
        Type::I32,
        Type::I64,
        Type::F32,
        Type::F64,
        Type::V128,
        Type::FuncRef,
        Type::ExternRef,
        Type::AnyRef,
        Type::ExnRef,
    ];

    /// The type of values of this wasm type, which may be one of `module`.
    pub fn from_wasm(ty: ValType, module: &Module) -> Type {
        match ty {
            ValType::I32 => Type::I32,
            ValType::I64 => Type::I64,
            ValType::F32 => Type::F32,
            ValType::F64 => Type::F64,
            ValType::V128 => Type::V128,
            ValType::Ref(ty) => Type::from_heap(ty.heap, module),
        }
    }

    /// The type of references to this.
    pub fn from_heap(heap: HeapType, module: &Module) -> Type {
        match module.top_heap_type(heap) {
            HeapType::Func => Type::FuncRef,
            HeapType::Extern => Type::ExternRef,
            HeapType::Exn => Type::ExnRef,
            _ => Type::AnyRef,
        }
    }

    /// The type of what is read from a field: packed ones are `i32`.
    pub fn from_storage(storage: StorageType, module: &Module) -> Type {
        match storage {
            StorageType::I8 | StorageType::I16 => Type::I32,
            StorageType::Val(ty) => Type::from_wasm(ty, module),
        }
    }

    /// Its name in the text format.
    pub const fn name(self) -> &'static str {
        match self {
            Type::I32 => "i32",
            Type::I64 => "i64",
            Type::F32 => "f32",
            Type::F64 => "f64",
            Type::V128 => "v128",
            Type::FuncRef => "funcref",
            Type::ExternRef => "externref",
            Type::AnyRef => "anyref",
            Type::ExnRef => "exnref",
        }
    }

    /// The type with this name.
    pub fn from_name(name: &str) -> Option<Type> {
        Type::ALL.iter().copied().find(|ty| ty.name() == name)
    }

    /// Whether it is a reference.
    pub const fn is_ref(self) -> bool {
        matches!(self, Type::FuncRef) || self.is_traced()
    }

    /// Whether the collector must know where values of it are.
    pub const fn is_traced(self) -> bool {
        matches!(self, Type::ExternRef | Type::AnyRef | Type::ExnRef)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
