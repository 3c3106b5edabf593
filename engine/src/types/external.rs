//! Types of what is imported and exported.

use std::fmt;

use super::{FuncType, GlobalType, MemoryType, TableType, Types};
use crate::error::Result;
use crate::externs::Extern;
use crate::registry::RegisteredType;
use crate::shared_memory::SharedMemory;
use crate::store::AsContextMut;
use crate::tag::Tag;

/// A tag's type: a function type whose parameters are what an exception carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TagType(FuncType);

impl TagType {
    /// A tag of exceptions that carry the parameters of `ty`.
    pub fn new(ty: FuncType) -> TagType {
        TagType(ty)
    }

    /// The function type.
    pub fn ty(&self) -> &FuncType {
        &self.0
    }
}

/// The type of something that is imported or exported.
///
/// ```
/// use bimetal::{Engine, ExternType, MemoryType, Module};
///
/// let module = Module::new(&Engine::default(), r#"(module (memory (export "m") 1 8))"#)?;
/// let ty = module.get_export("m").unwrap();
/// assert_eq!(ty.memory(), Some(&MemoryType::new(1, Some(8))));
/// assert!(ty.matches(&ExternType::from(MemoryType::new(0, None))));
/// assert_eq!(ty.to_string(), "memory 1 8");
/// # Ok::<(), bimetal::Error>(())
/// ```
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
    Tag(TagType),
}

macro_rules! accessors {
    ($($variant:ident $ty:ident $get:ident $unwrap:ident $what:literal;)*) => {
        impl ExternType {
            $(
                #[doc = concat!("The ", $what, "'s type, if it is one.")]
                pub fn $get(&self) -> Option<&$ty> {
                    match self {
                        ExternType::$variant(ty) => Some(ty),
                        _ => None,
                    }
                }

                #[doc = concat!("The ", $what, "'s type.")]
                ///
                /// # Panics
                /// If it is another.
                pub fn $unwrap(&self) -> &$ty {
                    self.$get()
                        .unwrap_or_else(|| panic!(concat!("expected a ", $what, ", got a {}"), self))
                }
            )*
        }

        $(impl From<$ty> for ExternType {
            fn from(ty: $ty) -> ExternType {
                ExternType::$variant(ty)
            }
        })*
    };
}

accessors! {
    Func FuncType func unwrap_func "function";
    Global GlobalType global unwrap_global "global";
    Table TableType table unwrap_table "table";
    Memory MemoryType memory unwrap_memory "memory";
    Tag TagType tag unwrap_tag "tag";
}

impl ExternType {
    /// Of a module whose types these are.
    pub(crate) fn of(
        module: &bimetal_wasm::Module,
        types: &[RegisteredType],
        index: bimetal_wasm::EntityIndex,
    ) -> Self {
        use bimetal_wasm::ImportType as I;
        let func = |ty: bimetal_wasm::TypeIndex| FuncType(types.at(ty));
        match module.entity_type(index) {
            I::Func(ty) => ExternType::Func(func(ty)),
            I::Table(ty) => ExternType::Table(TableType::from_wasm(&ty, types)),
            I::Memory(ty) => ExternType::Memory(MemoryType(ty)),
            I::Global(ty) => ExternType::Global(GlobalType::from_wasm(&ty, types)),
            I::Tag(ty) => ExternType::Tag(TagType(func(ty))),
        }
    }

    /// Whether something of this type can be imported as one of `other`.
    pub fn matches(&self, other: &ExternType) -> bool {
        match (self, other) {
            (ExternType::Func(a), ExternType::Func(b)) => a.matches(b),
            (ExternType::Global(a), ExternType::Global(b)) => a.matches(b),
            (ExternType::Table(a), ExternType::Table(b)) => a.matches(b),
            (ExternType::Memory(a), ExternType::Memory(b)) => a.matches(b),
            // An exception is thrown and caught by it, so it must be the very type.
            (ExternType::Tag(a), ExternType::Tag(b)) => a == b,
            _ => false,
        }
    }

    /// Something of this type that does nothing: a function that returns zeros and nulls, a zero
    /// global, a table of nulls, a zeroed memory, a tag.
    ///
    /// # Errors
    /// If there is a reference that cannot be null, or it cannot be had.
    pub fn default_value(&self, store: impl AsContextMut) -> Result<Extern> {
        Ok(match self {
            ExternType::Func(ty) => ty.default_value(store)?.into(),
            ExternType::Global(ty) => ty.default_value(store)?.into(),
            ExternType::Table(ty) => ty.default_value(store)?.into(),
            ExternType::Memory(ty) if ty.is_shared() => {
                SharedMemory::new(store.as_context().engine(), *ty)?.into()
            }
            ExternType::Memory(ty) => ty.default_value(store)?.into(),
            ExternType::Tag(ty) => Tag::new(store, ty)?.into(),
        })
    }
}

impl fmt::Display for ExternType {
    /// As in the text format, without names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = |f: &mut fmt::Formatter<'_>, wide: bool, min: u64, max: Option<u64>| {
            let wide = if wide { " i64" } else { "" };
            write!(f, "{wide} {min}")?;
            max.map_or(Ok(()), |max| write!(f, " {max}"))
        };
        match self {
            ExternType::Func(ty) => write!(f, "func {ty}"),
            ExternType::Tag(ty) => write!(f, "tag {}", ty.0),
            ExternType::Memory(ty) => {
                f.write_str("memory")?;
                limits(f, ty.is_64(), ty.0.min, ty.0.max)?;
                f.write_str(if ty.is_shared() { " shared" } else { "" })
            }
            ExternType::Table(ty) => {
                f.write_str("table")?;
                limits(f, ty.is_64(), ty.minimum(), ty.maximum())?;
                write!(f, " {}", ty.element())
            }
            ExternType::Global(ty) if ty.mutability().is_var() => {
                write!(f, "global (mut {})", ty.content())
            }
            ExternType::Global(ty) => write!(f, "global {}", ty.content()),
        }
    }
}

/// An import of a module.
///
/// ```
/// use bimetal::{Engine, Module};
///
/// let module = Module::new(&Engine::default(), r#"(module (import "a" "b" (global i32)))"#)?;
/// let import = module.imports().next().unwrap();
/// assert_eq!((import.module(), import.name()), ("a", "b"));
/// assert!(import.ty().global().is_some());
/// # Ok::<(), bimetal::Error>(())
/// ```
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
///
/// ```
/// use bimetal::{Engine, Module};
///
/// let module = Module::new(&Engine::default(), r#"(module (func (export "f")))"#)?;
/// let export = module.exports().next().unwrap();
/// assert_eq!(export.name(), "f");
/// assert_eq!(export.ty().unwrap_func().params().len(), 0);
/// # Ok::<(), bimetal::Error>(())
/// ```
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
