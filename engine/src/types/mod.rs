//! Types of the embedding API.
//!
//! Those of the `wasm` floor are of one module; these are of an engine: a defined type in them is a
//! handle that keeps it. `matches` is the specification's matching (spec §3.3); `default_value` makes
//! something of the type that does nothing.

mod defined;
mod external;
mod limited;
mod value;

use bimetal_wasm as wasm;

pub use defined::{ArrayType, FieldType, Finality, FuncType, StorageType, StructType};
pub use external::{ExportType, ExternType, ImportType, TagType};
pub use limited::{MemoryType, MemoryTypeBuilder, TableType};
pub(crate) use value::Types;
pub use value::{HeapType, RefType, ValType};

use crate::error::{Error, Result};
use crate::global::Global;
use crate::store::AsContextMut;
use crate::val::Val;

/// Whether a global can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutability {
    /// It cannot.
    Const,
    /// It can.
    Var,
}

impl Mutability {
    /// Whether it cannot.
    pub fn is_const(&self) -> bool {
        *self == Mutability::Const
    }

    /// Whether it can.
    pub fn is_var(&self) -> bool {
        *self == Mutability::Var
    }
}

/// A global's type.
///
/// ```
/// use bimetal::{GlobalType, Mutability, ValType};
///
/// let ty = GlobalType::new(ValType::F32, Mutability::Var);
/// assert!(ty.mutability().is_var());
/// // What can be written is no constant.
/// assert!(!ty.matches(&GlobalType::new(ValType::F32, Mutability::Const)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GlobalType {
    content: ValType,
    mutability: Mutability,
}

impl GlobalType {
    /// A global that holds a `content`.
    pub fn new(content: ValType, mutability: Mutability) -> GlobalType {
        GlobalType {
            content,
            mutability,
        }
    }

    pub(crate) fn from_wasm(ty: &wasm::GlobalType, types: &(impl Types + ?Sized)) -> GlobalType {
        GlobalType {
            content: ValType::new(&ty.content, types),
            mutability: match ty.mutable {
                true => Mutability::Var,
                false => Mutability::Const,
            },
        }
    }

    /// The value's type.
    pub fn content(&self) -> &ValType {
        &self.content
    }

    /// Whether it can be written.
    pub fn mutability(&self) -> Mutability {
        self.mutability
    }

    /// Whether a global of this type can be imported as one of `other`.
    pub fn matches(&self, other: &GlobalType) -> bool {
        self.mutability == other.mutability
            && self.content.matches(&other.content)
            && (self.mutability.is_const() || other.content.matches(&self.content))
    }

    /// A global of this type that holds zero or null.
    ///
    /// # Errors
    /// If it is a reference that cannot be null.
    pub fn default_value(&self, store: impl AsContextMut) -> Result<Global> {
        Global::new(store, self.clone(), default_of(&self.content)?)
    }
}

fn default_of(ty: &ValType) -> Result<Val> {
    Val::default_for_ty(ty)
        .ok_or_else(|| Error::usage(format_args!("the type {ty} has no default value")))
}
