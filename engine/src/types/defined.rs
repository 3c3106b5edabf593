//! Types that are defined: functions, structs and arrays. A handle of one keeps it in its engine.

use std::fmt;

use bimetal_wasm::{self as wasm, CompositeType, SubType, TypeIndex};

use super::value::{HeapType, RefType, ValType};
use super::{Mutability, default_of};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::func::Func;
use crate::registry::RegisteredType;
use crate::store::AsContextMut;

/// Whether a defined type can have subtypes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finality {
    /// It cannot.
    Final,
    /// It can.
    NonFinal,
}

impl Finality {
    /// Whether it cannot.
    pub fn is_final(&self) -> bool {
        *self == Finality::Final
    }

    fn of(ty: &SubType) -> Finality {
        match ty.is_final {
            true => Finality::Final,
            false => Finality::NonFinal,
        }
    }
}

/// Registers a type of the host's.
fn define(
    engine: &Engine,
    finality: Finality,
    supertype: Option<&RegisteredType>,
    composite: CompositeType,
    mut uses: Vec<RegisteredType>,
) -> Result<RegisteredType> {
    uses.extend(supertype.cloned());
    if uses
        .iter()
        .any(|used| !std::sync::Arc::ptr_eq(used.registry(), engine.types()))
    {
        return Err(Error::usage("a type of another engine"));
    }
    let ty = SubType {
        is_final: finality.is_final(),
        supertype: supertype.map(|ty| TypeIndex::from_u32(ty.id)),
        composite,
    };
    engine.types().single(ty, uses)
}

macro_rules! defined {
    ($($name:ident)*) => {
        $(impl $name {
            /// Whether it can have subtypes.
            pub fn finality(&self) -> Finality {
                Finality::of(&self.0.ty)
            }

            /// The type that it was defined to be a subtype of.
            pub fn supertype(&self) -> Option<$name> {
                let parent = self.0.ty.supertype?;
                Some($name(self.0.registry().at(parent.as_u32())))
            }

            /// Whether each value of this type is one of `other`: they are the same, or it was
            /// defined to be a subtype.
            pub fn matches(&self, other: &$name) -> bool {
                self.0.is_subtype_of(&other.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "[{}]"), self)
            }
        })*
    };
}

defined!(FuncType StructType ArrayType);

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
pub struct FuncType(pub(crate) RegisteredType);

impl FuncType {
    /// A function from `params` to `results`.
    ///
    /// # Panics
    /// If one of these is a type of another engine, or there are more than two million types.
    pub fn new(
        engine: &Engine,
        params: impl IntoIterator<Item = ValType>,
        results: impl IntoIterator<Item = ValType>,
    ) -> FuncType {
        FuncType::with_finality_and_supertype(engine, Finality::Final, None, params, results)
            .unwrap_or_else(|error| panic!("cannot make the function type: {error}"))
    }

    /// One that may have subtypes, or is a subtype.
    ///
    /// ```
    /// use bimetal::{Engine, Finality, FuncType, ValType};
    ///
    /// let engine = Engine::default();
    /// let new = FuncType::with_finality_and_supertype;
    /// let any = new(&engine, Finality::NonFinal, None, [], [ValType::ANYREF])?;
    /// let int = new(&engine, Finality::Final, Some(&any), [], [ValType::I31REF])?;
    /// assert!(int.matches(&any) && !any.matches(&int));
    /// assert!(new(&engine, Finality::Final, Some(&int), [], [ValType::I31REF]).is_err());
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the supertype is final or not one of such functions, or of another engine.
    pub fn with_finality_and_supertype(
        engine: &Engine,
        finality: Finality,
        supertype: Option<&FuncType>,
        params: impl IntoIterator<Item = ValType>,
        results: impl IntoIterator<Item = ValType>,
    ) -> Result<FuncType> {
        let params: Vec<ValType> = params.into_iter().collect();
        let results: Vec<ValType> = results.into_iter().collect();
        if let Some(parent) = supertype {
            let fits = parent.params().len() == params.len()
                && parent.results().len() == results.len()
                && parent.params().zip(&params).all(|(a, b)| a.matches(b))
                && parent.results().zip(&results).all(|(a, b)| b.matches(&a));
            check_supertype(parent.finality(), fits)?;
        }
        let mut uses = Vec::new();
        let mut map = |types: &[ValType]| -> Vec<wasm::ValType> {
            types.iter().map(|ty| ty.to_wasm(&mut uses)).collect()
        };
        let (params, results) = (map(&params), map(&results));
        let ty = CompositeType::Func(wasm::FuncType::new(params, results));
        let supertype = supertype.map(|ty| &ty.0);
        define(engine, finality, supertype, ty, uses).map(FuncType)
    }

    /// One whose types are the same in every engine.
    pub(crate) fn plain(engine: &Engine, ty: &wasm::FuncType) -> Result<FuncType> {
        engine.types().func(ty).map(FuncType)
    }

    /// With numbers for the types in it.
    pub(crate) fn raw(&self) -> &wasm::FuncType {
        match &self.0.ty.composite {
            CompositeType::Func(ty) => ty,
            _ => unreachable!("made of function types only"),
        }
    }

    fn value(&self, ty: &wasm::ValType) -> ValType {
        ValType::new(ty, self.0.registry())
    }

    /// The type of a parameter, if there are so many.
    pub fn param(&self, i: usize) -> Option<ValType> {
        Some(self.value(self.raw().params().get(i)?))
    }

    /// The parameters' types.
    pub fn params(&self) -> impl ExactSizeIterator<Item = ValType> + '_ {
        self.raw().params().iter().map(|ty| self.value(ty))
    }

    /// The type of a result, if there are so many.
    pub fn result(&self, i: usize) -> Option<ValType> {
        Some(self.value(self.raw().results().get(i)?))
    }

    /// The results' types.
    pub fn results(&self) -> impl ExactSizeIterator<Item = ValType> + '_ {
        self.raw().results().iter().map(|ty| self.value(ty))
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
        self.raw().fmt(f)
    }
}

fn check_supertype(finality: Finality, fits: bool) -> Result<()> {
    if finality.is_final() {
        return Err(Error::usage("the supertype is final"));
    }
    match fits {
        true => Ok(()),
        false => Err(Error::usage("the type does not match its supertype")),
    }
}

/// How a field or element is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StorageType {
    /// 8 bits.
    I8,
    /// 16 bits.
    I16,
    /// A whole value.
    ValType(ValType),
}

impl From<ValType> for StorageType {
    fn from(ty: ValType) -> StorageType {
        StorageType::ValType(ty)
    }
}

impl StorageType {
    /// Whether values are stored in fewer bits than they have.
    pub fn is_packed(&self) -> bool {
        matches!(self, StorageType::I8 | StorageType::I16)
    }

    /// The type of values that are read: `i32` for packed ones.
    pub fn unpack(&self) -> &ValType {
        match self {
            StorageType::I8 | StorageType::I16 => &ValType::I32,
            StorageType::ValType(ty) => ty,
        }
    }

    /// The type, if it is not packed.
    pub fn as_val_type(&self) -> Option<&ValType> {
        match self {
            StorageType::ValType(ty) => Some(ty),
            _ => None,
        }
    }

    /// Whether each value that is stored so is one of `other`.
    pub fn matches(&self, other: &StorageType) -> bool {
        match (self, other) {
            (StorageType::ValType(a), StorageType::ValType(b)) => a.matches(b),
            (a, b) => a == b,
        }
    }
}

impl fmt::Display for StorageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorageType::I8 => f.write_str("i8"),
            StorageType::I16 => f.write_str("i16"),
            StorageType::ValType(ty) => ty.fmt(f),
        }
    }
}

/// A struct's field, or an array's elements.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldType {
    mutability: Mutability,
    element: StorageType,
}

impl FieldType {
    /// A field that holds an `element`.
    pub fn new(mutability: Mutability, element: StorageType) -> FieldType {
        FieldType {
            mutability,
            element,
        }
    }

    /// Whether it can be written.
    pub fn mutability(&self) -> Mutability {
        self.mutability
    }

    /// How values are stored.
    pub fn element_type(&self) -> &StorageType {
        &self.element
    }

    /// Whether a struct with such a field can be a subtype of one with `other`.
    pub fn matches(&self, other: &FieldType) -> bool {
        self.mutability == other.mutability
            && self.element.matches(&other.element)
            && (self.mutability.is_const() || other.element.matches(&self.element))
    }

    fn from_raw(ty: &wasm::FieldType, types: &RegisteredType) -> FieldType {
        FieldType {
            mutability: match ty.mutable {
                true => Mutability::Var,
                false => Mutability::Const,
            },
            element: match &ty.storage {
                wasm::StorageType::I8 => StorageType::I8,
                wasm::StorageType::I16 => StorageType::I16,
                wasm::StorageType::Val(ty) => {
                    StorageType::ValType(ValType::new(ty, types.registry()))
                }
            },
        }
    }

    fn to_raw(&self, uses: &mut Vec<RegisteredType>) -> wasm::FieldType {
        wasm::FieldType {
            storage: match &self.element {
                StorageType::I8 => wasm::StorageType::I8,
                StorageType::I16 => wasm::StorageType::I16,
                StorageType::ValType(ty) => wasm::StorageType::Val(ty.to_wasm(uses)),
            },
            mutable: self.mutability.is_var(),
        }
    }
}

impl fmt::Display for FieldType {
    /// As in the text format: `i32` or `(mut i32)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mutability {
            Mutability::Var => write!(f, "(mut {})", self.element),
            Mutability::Const => self.element.fmt(f),
        }
    }
}

/// A struct's type.
///
/// ```
/// use bimetal::{Engine, FieldType, Mutability, StorageType, StructType, ValType};
///
/// let engine = Engine::default();
/// let byte = FieldType::new(Mutability::Const, StorageType::I8);
/// let link = FieldType::new(Mutability::Var, ValType::ANYREF.into());
/// let ty = StructType::new(&engine, [byte, link])?;
/// assert_eq!(ty.fields().len(), 2);
/// assert_eq!(ty.to_string(), "(struct (field i8) (field (mut anyref)))");
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StructType(pub(crate) RegisteredType);

impl StructType {
    /// A struct with these fields.
    ///
    /// # Errors
    /// If a type is of another engine, or there are too many.
    pub fn new(engine: &Engine, fields: impl IntoIterator<Item = FieldType>) -> Result<StructType> {
        StructType::with_finality_and_supertype(engine, Finality::Final, None, fields)
    }

    /// One that may have subtypes, or is a subtype.
    ///
    /// # Errors
    /// As for [`StructType::new`], and if the supertype is final or its fields are not the first ones.
    pub fn with_finality_and_supertype(
        engine: &Engine,
        finality: Finality,
        supertype: Option<&StructType>,
        fields: impl IntoIterator<Item = FieldType>,
    ) -> Result<StructType> {
        let fields: Vec<FieldType> = fields.into_iter().collect();
        // As modules are limited (spec appendix; the JavaScript embedding).
        if fields.len() > 10_000 {
            return Err(Error::usage("a struct has at most 10000 fields"));
        }
        if let Some(parent) = supertype {
            let fits = parent.fields().len() <= fields.len()
                && parent.fields().zip(&fields).all(|(a, b)| b.matches(&a));
            check_supertype(parent.finality(), fits)?;
        }
        let mut uses = Vec::new();
        let fields = fields.iter().map(|ty| ty.to_raw(&mut uses)).collect();
        let ty = CompositeType::Struct(wasm::StructType { fields });
        let supertype = supertype.map(|ty| &ty.0);
        define(engine, finality, supertype, ty, uses).map(StructType)
    }

    fn raw(&self) -> &[wasm::FieldType] {
        match &self.0.ty.composite {
            CompositeType::Struct(ty) => &ty.fields,
            _ => unreachable!("made of struct types only"),
        }
    }

    /// A field, if there are so many.
    pub fn field(&self, i: usize) -> Option<FieldType> {
        Some(FieldType::from_raw(self.raw().get(i)?, &self.0))
    }

    /// The fields.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = FieldType> + '_ {
        let fields = self.raw().iter();
        fields.map(|ty| FieldType::from_raw(ty, &self.0))
    }
}

impl fmt::Display for StructType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(struct")?;
        for field in self.raw() {
            write!(f, " (field {})", Raw(field))?;
        }
        f.write_str(")")
    }
}

/// An array's type.
///
/// ```
/// use bimetal::{ArrayType, Engine, FieldType, Mutability, StorageType};
///
/// let engine = Engine::default();
/// let ty = ArrayType::new(&engine, FieldType::new(Mutability::Var, StorageType::I16));
/// assert_eq!(ty.to_string(), "(array (mut i16))");
/// assert!(ty.mutability().is_var());
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ArrayType(pub(crate) RegisteredType);

impl ArrayType {
    /// An array of such elements.
    ///
    /// # Panics
    /// If the type is of another engine, or there are more than two million types.
    pub fn new(engine: &Engine, field_type: FieldType) -> ArrayType {
        ArrayType::with_finality_and_supertype(engine, Finality::Final, None, field_type)
            .unwrap_or_else(|error| panic!("cannot make the array type: {error}"))
    }

    /// One that may have subtypes, or is a subtype.
    ///
    /// # Errors
    /// If the supertype is final or its elements do not match, or a type is of another engine.
    pub fn with_finality_and_supertype(
        engine: &Engine,
        finality: Finality,
        supertype: Option<&ArrayType>,
        field_type: FieldType,
    ) -> Result<ArrayType> {
        if let Some(parent) = supertype {
            let fits = field_type.matches(&parent.field_type());
            check_supertype(parent.finality(), fits)?;
        }
        let mut uses = Vec::new();
        let element = field_type.to_raw(&mut uses);
        let ty = CompositeType::Array(wasm::ArrayType { element });
        let supertype = supertype.map(|ty| &ty.0);
        define(engine, finality, supertype, ty, uses).map(ArrayType)
    }

    fn raw(&self) -> &wasm::FieldType {
        match &self.0.ty.composite {
            CompositeType::Array(ty) => &ty.element,
            _ => unreachable!("made of array types only"),
        }
    }

    /// The elements.
    pub fn field_type(&self) -> FieldType {
        FieldType::from_raw(self.raw(), &self.0)
    }

    /// How elements are stored.
    pub fn element_type(&self) -> StorageType {
        self.field_type().element
    }

    /// Whether elements can be written.
    pub fn mutability(&self) -> Mutability {
        self.field_type().mutability
    }
}

impl fmt::Display for ArrayType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(array {})", Raw(self.raw()))
    }
}

/// Shows the types in it as numbers: it may be part of itself.
struct Raw<'a>(&'a wasm::FieldType);

impl fmt::Display for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let storage = match &self.0.storage {
            wasm::StorageType::I8 => "i8".to_owned(),
            wasm::StorageType::I16 => "i16".to_owned(),
            wasm::StorageType::Val(ty) => ty.to_string(),
        };
        match self.0.mutable {
            true => write!(f, "(mut {storage})"),
            false => f.write_str(&storage),
        }
    }
}

impl From<FuncType> for HeapType {
    fn from(ty: FuncType) -> HeapType {
        HeapType::ConcreteFunc(ty)
    }
}

impl From<StructType> for HeapType {
    fn from(ty: StructType) -> HeapType {
        HeapType::ConcreteStruct(ty)
    }
}

impl From<ArrayType> for HeapType {
    fn from(ty: ArrayType) -> HeapType {
        HeapType::ConcreteArray(ty)
    }
}

impl From<RefType> for ValType {
    fn from(ty: RefType) -> ValType {
        ValType::Ref(ty)
    }
}
