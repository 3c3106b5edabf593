//! Types and index spaces.
//!
//! The types are those of WebAssembly 3.0 from the start, so that later proposals fill in rather
//! than redesign; the decoder accepts what [`Features`](crate::Features) allows. A type index is
//! module-local; the engine makes it canonical.

use std::fmt;
use std::sync::Arc;

use cranelift_entity::entity_impl;

macro_rules! indices {
    ($($(#[$doc:meta])* $name:ident $prefix:literal;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub struct $name(u32);
            entity_impl!($name, $prefix);
        )*
    };
}

indices! {
    /// A type of the module.
    TypeIndex "type";
    /// A function, imported ones first.
    FuncIndex "func";
    /// A function with a body: `FuncIndex` minus the number of imported functions.
    DefinedFuncIndex "body";
    /// A function that can become a `funcref`: named by `ref.func`, an element segment, an export
    /// or a global.
    FuncRefIndex "funcref";
    /// A table, imported ones first.
    TableIndex "table";
    /// A table that this module defines.
    DefinedTableIndex "dtable";
    /// A memory, imported ones first.
    MemoryIndex "memory";
    /// A memory that this module defines.
    DefinedMemoryIndex "dmemory";
    /// A global, imported ones first.
    GlobalIndex "global";
    /// A global that this module defines.
    DefinedGlobalIndex "dglobal";
    /// A tag, imported ones first.
    TagIndex "tag";
    /// A tag that this module defines.
    DefinedTagIndex "dtag";
    /// An element segment.
    ElemIndex "elem";
    /// A data segment.
    DataIndex "data";
}

/// Something that is imported or exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntityIndex {
    /// A function.
    Func(FuncIndex),
    /// A table.
    Table(TableIndex),
    /// A memory.
    Memory(MemoryIndex),
    /// A global.
    Global(GlobalIndex),
    /// A tag.
    Tag(TagIndex),
}

impl EntityIndex {
    /// The index among its kind.
    pub fn as_u32(&self) -> u32 {
        match self {
            EntityIndex::Func(i) => i.as_u32(),
            EntityIndex::Table(i) => i.as_u32(),
            EntityIndex::Memory(i) => i.as_u32(),
            EntityIndex::Global(i) => i.as_u32(),
            EntityIndex::Tag(i) => i.as_u32(),
        }
    }
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValType {
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
    /// A reference.
    Ref(RefType),
}

impl ValType {
    /// `funcref`.
    pub const FUNCREF: ValType = ValType::Ref(RefType::FUNCREF);
    /// `externref`.
    pub const EXTERNREF: ValType = ValType::Ref(RefType::EXTERNREF);

    /// Whether this is a reference type.
    pub fn is_ref(&self) -> bool {
        matches!(self, ValType::Ref(_))
    }
}

/// The type of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RefType {
    /// Whether null is a value of it.
    pub nullable: bool,
    /// What is referred to.
    pub heap: HeapType,
}

impl RefType {
    /// `(ref null func)`.
    pub const FUNCREF: RefType = RefType {
        nullable: true,
        heap: HeapType::Func,
    };
    /// `(ref null extern)`.
    pub const EXTERNREF: RefType = RefType {
        nullable: true,
        heap: HeapType::Extern,
    };
}

/// What a reference refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeapType {
    /// Any function.
    Func,
    /// No function.
    NoFunc,
    /// Any host value.
    Extern,
    /// No host value.
    NoExtern,
    /// Any internal value.
    Any,
    /// Any comparable internal value.
    Eq,
    /// A 31-bit integer.
    I31,
    /// Any struct.
    Struct,
    /// Any array.
    Array,
    /// No internal value.
    None,
    /// Any exception.
    Exn,
    /// No exception.
    NoExn,
    /// A type of the module.
    Concrete(TypeIndex),
}

/// A function's type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FuncType {
    params: Arc<[ValType]>,
    results: Arc<[ValType]>,
}

impl FuncType {
    /// A function from `params` to `results`.
    pub fn new(
        params: impl IntoIterator<Item = ValType>,
        results: impl IntoIterator<Item = ValType>,
    ) -> FuncType {
        FuncType {
            params: params.into_iter().collect(),
            results: results.into_iter().collect(),
        }
    }

    /// The parameters' types.
    pub fn params(&self) -> &[ValType] {
        &self.params
    }

    /// The results' types.
    pub fn results(&self) -> &[ValType] {
        &self.results
    }
}

/// The type of a struct field or an array element as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StorageType {
    /// Packed, 8 bits.
    I8,
    /// Packed, 16 bits.
    I16,
    /// A whole value.
    Val(ValType),
}

/// A struct field or array element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FieldType {
    /// How it is stored.
    pub storage: StorageType,
    /// Whether it can be written.
    pub mutable: bool,
}

/// A struct's type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StructType {
    /// The fields.
    pub fields: Arc<[FieldType]>,
}

/// An array's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ArrayType {
    /// The elements.
    pub element: FieldType,
}

/// A type without its place in the subtype hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CompositeType {
    /// A function.
    Func(FuncType),
    /// A struct.
    Struct(StructType),
    /// An array.
    Array(ArrayType),
}

/// A type of the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SubType {
    /// Whether it can have no subtypes.
    pub is_final: bool,
    /// Its declared supertype.
    pub supertype: Option<TypeIndex>,
    /// What it is.
    pub composite: CompositeType,
}

/// A table's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableType {
    /// The elements.
    pub element: RefType,
    /// Initial size in elements.
    pub min: u64,
    /// Greatest size in elements.
    pub max: Option<u64>,
    /// Whether indices are 64 bits wide.
    pub table64: bool,
}

/// A memory's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemoryType {
    /// Initial size in pages.
    pub min: u64,
    /// Greatest size in pages.
    pub max: Option<u64>,
    /// Whether several threads may use it.
    pub shared: bool,
    /// Whether indices are 64 bits wide.
    pub memory64: bool,
    /// Base-2 logarithm of the page size: 16 but for custom page sizes.
    pub page_size_log2: u8,
}

impl MemoryType {
    /// Bytes of a page.
    pub fn page_size(&self) -> u64 {
        1 << self.page_size_log2
    }

    /// Initial size in bytes, saturating.
    pub fn minimum_byte_size(&self) -> u64 {
        self.min.saturating_mul(self.page_size())
    }

    /// The greatest size in bytes that the type allows, saturating; without a maximum, that of
    /// the index space.
    pub fn maximum_byte_size(&self) -> u64 {
        let space = if self.memory64 { u64::MAX } else { 1 << 32 };
        match self.max {
            Some(max) => max.saturating_mul(self.page_size()).min(space),
            None => space,
        }
    }
}

/// A global's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GlobalType {
    /// The value.
    pub content: ValType,
    /// Whether it can be written.
    pub mutable: bool,
}

impl fmt::Display for ValType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValType::I32 => f.write_str("i32"),
            ValType::I64 => f.write_str("i64"),
            ValType::F32 => f.write_str("f32"),
            ValType::F64 => f.write_str("f64"),
            ValType::V128 => f.write_str("v128"),
            ValType::Ref(ty) => ty.fmt(f),
        }
    }
}

impl fmt::Display for RefType {
    /// The short form (`funcref`) where the text format has one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.nullable, self.heap) {
            (true, HeapType::Func) => f.write_str("funcref"),
            (true, HeapType::Extern) => f.write_str("externref"),
            (true, HeapType::Exn) => f.write_str("exnref"),
            (true, HeapType::Any) => f.write_str("anyref"),
            (true, HeapType::Eq) => f.write_str("eqref"),
            (true, HeapType::I31) => f.write_str("i31ref"),
            (true, HeapType::Struct) => f.write_str("structref"),
            (true, HeapType::Array) => f.write_str("arrayref"),
            (true, HeapType::None) => f.write_str("nullref"),
            (true, HeapType::NoFunc) => f.write_str("nullfuncref"),
            (true, HeapType::NoExtern) => f.write_str("nullexternref"),
            (true, HeapType::NoExn) => f.write_str("nullexnref"),
            (true, heap) => write!(f, "(ref null {heap})"),
            (false, heap) => write!(f, "(ref {heap})"),
        }
    }
}

impl fmt::Display for HeapType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HeapType::Func => "func",
            HeapType::NoFunc => "nofunc",
            HeapType::Extern => "extern",
            HeapType::NoExtern => "noextern",
            HeapType::Any => "any",
            HeapType::Eq => "eq",
            HeapType::I31 => "i31",
            HeapType::Struct => "struct",
            HeapType::Array => "array",
            HeapType::None => "none",
            HeapType::Exn => "exn",
            HeapType::NoExn => "noexn",
            HeapType::Concrete(index) => return write!(f, "{}", index.as_u32()),
        })
    }
}

impl fmt::Display for StorageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorageType::I8 => f.write_str("i8"),
            StorageType::I16 => f.write_str("i16"),
            StorageType::Val(ty) => ty.fmt(f),
        }
    }
}

impl fmt::Display for FieldType {
    /// As in the text format: `i8` or `(mut i8)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mutable {
            write!(f, "(mut {})", self.storage)
        } else {
            self.storage.fmt(f)
        }
    }
}

impl fmt::Display for FuncType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, types: &[ValType]| {
            f.write_str("(")?;
            for (i, ty) in types.iter().enumerate() {
                if i > 0 {
                    f.write_str(", ")?;
                }
                ty.fmt(f)?;
            }
            f.write_str(")")
        };
        list(f, &self.params)?;
        f.write_str(" -> ")?;
        list(f, &self.results)
    }
}

impl fmt::Display for GlobalType {
    /// As in the text format: `i32` or `(mut i32)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mutable {
            write!(f, "(mut {})", self.content)
        } else {
            self.content.fmt(f)
        }
    }
}

impl fmt::Display for MemoryType {
    /// As in the text format: `i64 1 2 shared`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        limits(f, self.memory64, self.min, self.max)?;
        if self.shared {
            f.write_str(" shared")?;
        }
        if self.page_size_log2 != 16 {
            write!(f, " (pagesize {})", self.page_size())?;
        }
        Ok(())
    }
}

impl fmt::Display for TableType {
    /// As in the text format: `1 2 funcref`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        limits(f, self.table64, self.min, self.max)?;
        write!(f, " {}", self.element)
    }
}

fn limits(f: &mut fmt::Formatter<'_>, wide: bool, min: u64, max: Option<u64>) -> fmt::Result {
    if wide {
        f.write_str("i64 ")?;
    }
    write!(f, "{min}")?;
    match max {
        Some(max) => write!(f, " {max}"),
        None => Ok(()),
    }
}
