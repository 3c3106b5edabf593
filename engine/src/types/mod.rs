//! Types of the embedding API.
//!
//! Value types are those of the `wasm` floor; the others wrap it so that what an embedder builds
//! is separate from what a module declares. `matches` is the specification's import matching
//! (spec §3.3); `default_value` makes something of the type that does nothing.

mod external;
mod limited;

use std::fmt;

pub use bimetal_wasm::{HeapType, RefType, ValType};

pub use external::{ExportType, ExternType, ImportType, TagType};
pub use limited::{MemoryType, MemoryTypeBuilder, TableType};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::func::Func;
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

/// A function's type.
///
/// ```
/// use bimetal::{Engine, FuncType, ValType};
///
/// let engine = Engine::default();
/// let ty = FuncType::new(&engine, [ValType::I32, ValType::I64], [ValType::F64]);
/// assert_eq!(ty.param(1), Some(ValType::I64));
/// assert_eq!(ty.results().len(), 1);
/// assert_eq!(ty.to_string(), "(i32, i64) -> (f64)");
/// ```
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

    /// The type of a parameter, if there are so many.
    pub fn param(&self, i: usize) -> Option<ValType> {
        self.0.params().get(i).copied()
    }

    /// The parameters' types.
    pub fn params(&self) -> impl ExactSizeIterator<Item = ValType> + '_ {
        self.0.params().iter().copied()
    }

    /// The type of a result, if there are so many.
    pub fn result(&self, i: usize) -> Option<ValType> {
        self.0.results().get(i).copied()
    }

    /// The results' types.
    pub fn results(&self) -> impl ExactSizeIterator<Item = ValType> + '_ {
        self.0.results().iter().copied()
    }

    /// Whether a function of this type can be imported as one of `other`. Function types say
    /// nothing of supertypes yet, so they must be the same.
    pub fn matches(&self, other: &FuncType) -> bool {
        self == other
    }

    /// A function of this type that does nothing and returns zeros and nulls.
    ///
    /// ```
    /// use bimetal::{Engine, FuncType, Store, ValType};
    ///
    /// let engine = Engine::default();
    /// let mut store = Store::new(&engine, ());
    /// let stub = FuncType::new(&engine, [], [ValType::I64]).default_value(&mut store)?;
    /// assert_eq!(stub.typed::<(), i64>(&store)?.call(&mut store, ())?, 0);
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a result is a reference that cannot be null.
    pub fn default_value(&self, store: impl AsContextMut) -> Result<Func> {
        for ty in self.results() {
            default_of(&ty)?;
        }
        // Results are zero and null before the function sets them.
        Ok(Func::new(store, self.clone(), |_, _, _| Ok(())))
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

    /// Whether a global of this type can be imported as one of `other`.
    pub fn matches(&self, other: &GlobalType) -> bool {
        let (a, b) = (&self.0, &other.0);
        a.mutable == b.mutable
            && a.content.matches(&b.content)
            && (!a.mutable || b.content.matches(&a.content))
    }

    /// A global of this type that holds zero or null.
    ///
    /// # Errors
    /// If it is a reference that cannot be null.
    pub fn default_value(&self, store: impl AsContextMut) -> Result<Global> {
        Global::new(store, *self, default_of(&self.content())?)
    }
}

fn default_of(ty: &ValType) -> Result<Val> {
    Val::default_for_ty(ty)
        .ok_or_else(|| Error::usage(format_args!("the type {ty} has no default value")))
}
