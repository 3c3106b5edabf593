//! Types of the embedding API.
//!
//! Value types are those of the `wasm` floor; the others wrap it so that what an embedder builds
//! is separate from what a module declares.

use std::fmt;

pub use bimetal_wasm::{HeapType, RefType, ValType};

use crate::Engine;

/// Whether a global can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutability {
    /// It cannot.
    Const,
    /// It can.
    Var,
}

/// A function's type.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct FuncType(pub(crate) bimetal_wasm::FuncType);

impl FuncType {
    /// A function from `params` to `results`. The engine is there for the types that later
    /// refer to its canonical ones.
    pub fn new(
        _engine: &Engine,
        params: impl IntoIterator<Item = ValType>,
        results: impl IntoIterator<Item = ValType>,
    ) -> FuncType {
        FuncType(bimetal_wasm::FuncType::new(params, results))
    }

    /// The parameters' types.
    pub fn params(&self) -> impl ExactSizeIterator<Item = ValType> + '_ {
        self.0.params().iter().copied()
    }

    /// The results' types.
    pub fn results(&self) -> impl ExactSizeIterator<Item = ValType> + '_ {
        self.0.results().iter().copied()
    }
}

impl fmt::Display for FuncType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for FuncType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FuncType[{}]", self.0)
    }
}

/// A memory's type; sizes in 64 KiB pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemoryType(pub(crate) bimetal_wasm::MemoryType);

impl MemoryType {
    /// A 32-bit memory of at least `minimum` and at most `maximum` pages.
    pub fn new(minimum: u32, maximum: Option<u32>) -> MemoryType {
        MemoryType(bimetal_wasm::MemoryType {
            min: u64::from(minimum),
            max: maximum.map(u64::from),
            shared: false,
            memory64: false,
            page_size_log2: 16,
        })
    }

    /// The initial size in pages.
    pub fn minimum(&self) -> u64 {
        self.0.min
    }

    /// The greatest size in pages, if there is one.
    pub fn maximum(&self) -> Option<u64> {
        self.0.max
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> u64 {
        self.0.page_size()
    }
}

/// A table's type; sizes in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableType(pub(crate) bimetal_wasm::TableType);

impl TableType {
    /// A table of at least `minimum` and at most `maximum` elements.
    pub fn new(element: RefType, minimum: u32, maximum: Option<u32>) -> TableType {
        TableType(bimetal_wasm::TableType {
            element,
            min: u64::from(minimum),
            max: maximum.map(u64::from),
            table64: false,
        })
    }

    /// The elements' type.
    pub fn element(&self) -> RefType {
        self.0.element
    }

    /// The initial size in elements.
    pub fn minimum(&self) -> u64 {
        self.0.min
    }

    /// The greatest size in elements, if there is one.
    pub fn maximum(&self) -> Option<u64> {
        self.0.max
    }
}

/// A global's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GlobalType(pub(crate) bimetal_wasm::GlobalType);

impl GlobalType {
    /// A global that holds a `content`.
    pub fn new(content: ValType, mutability: Mutability) -> GlobalType {
        GlobalType(bimetal_wasm::GlobalType {
            content,
            mutable: mutability == Mutability::Var,
        })
    }

    /// The value's type.
    pub fn content(&self) -> ValType {
        self.0.content
    }

    /// Whether it can be written.
    pub fn mutability(&self) -> Mutability {
        match self.0.mutable {
            true => Mutability::Var,
            false => Mutability::Const,
        }
    }
}

/// The type of something that is imported or exported.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ExternType {
    /// A function.
    Func(FuncType),
    /// A global.
    Global(GlobalType),
    /// A table.
    Table(TableType),
    /// A memory.
    Memory(MemoryType),
    /// A tag.
    Tag(FuncType),
}

impl ExternType {
    pub(crate) fn of(module: &bimetal_wasm::Module, index: bimetal_wasm::EntityIndex) -> Self {
        use bimetal_wasm::ImportType as I;
        match module.entity_type(index) {
            I::Func(ty) => ExternType::Func(FuncType(module.func_type_at(ty).clone())),
            I::Table(ty) => ExternType::Table(TableType(ty)),
            I::Memory(ty) => ExternType::Memory(MemoryType(ty)),
            I::Global(ty) => ExternType::Global(GlobalType(ty)),
            I::Tag(ty) => ExternType::Tag(FuncType(module.func_type_at(ty).clone())),
        }
    }

    /// The function type, if it is one.
    pub fn func(&self) -> Option<&FuncType> {
        match self {
            ExternType::Func(ty) => Some(ty),
            _ => None,
        }
    }

    /// The memory type, if it is one.
    pub fn memory(&self) -> Option<&MemoryType> {
        match self {
            ExternType::Memory(ty) => Some(ty),
            _ => None,
        }
    }

    /// The table type, if it is one.
    pub fn table(&self) -> Option<&TableType> {
        match self {
            ExternType::Table(ty) => Some(ty),
            _ => None,
        }
    }

    /// The global type, if it is one.
    pub fn global(&self) -> Option<&GlobalType> {
        match self {
            ExternType::Global(ty) => Some(ty),
            _ => None,
        }
    }
}

impl fmt::Display for ExternType {
    /// As in the text format, without names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = |f: &mut fmt::Formatter<'_>, min: u64, max: Option<u64>| {
            write!(f, " {min}")?;
            max.map_or(Ok(()), |max| write!(f, " {max}"))
        };
        match self {
            ExternType::Func(ty) => write!(f, "func {ty}"),
            ExternType::Tag(ty) => write!(f, "tag {ty}"),
            ExternType::Memory(ty) => {
                f.write_str("memory")?;
                limits(f, ty.0.min, ty.0.max)
            }
            ExternType::Table(ty) => {
                f.write_str("table")?;
                limits(f, ty.0.min, ty.0.max)?;
                write!(f, " {}", ty.0.element)
            }
            ExternType::Global(ty) if ty.0.mutable => write!(f, "global (mut {})", ty.0.content),
            ExternType::Global(ty) => write!(f, "global {}", ty.0.content),
        }
    }
}

/// An import of a module.
#[derive(Clone, Debug)]
pub struct ImportType<'module> {
    pub(crate) module: &'module str,
    pub(crate) name: &'module str,
    pub(crate) ty: ExternType,
}

impl<'module> ImportType<'module> {
    /// First name.
    pub fn module(&self) -> &'module str {
        self.module
    }

    /// Second name.
    pub fn name(&self) -> &'module str {
        self.name
    }

    /// What is wanted.
    pub fn ty(&self) -> ExternType {
        self.ty.clone()
    }
}

/// An export of a module.
#[derive(Clone, Debug)]
pub struct ExportType<'module> {
    pub(crate) name: &'module str,
    pub(crate) ty: ExternType,
}

impl<'module> ExportType<'module> {
    /// Its name.
    pub fn name(&self) -> &'module str {
        self.name
    }

    /// What is offered.
    pub fn ty(&self) -> ExternType {
        self.ty.clone()
    }
}
