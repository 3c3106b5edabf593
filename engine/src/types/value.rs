//! Types of values: numbers, vectors and references, and which are subtypes of which (spec §3.3).

use std::fmt;
use std::sync::Arc;

use bimetal_wasm as wasm;

use super::{ArrayType, FuncType, StructType};
use crate::registry::{RegisteredType, Registry};

/// The type of a value.
///
/// ```
/// use bimetal::{HeapType, RefType, ValType};
///
/// let some_func = ValType::Ref(RefType::new(false, HeapType::Func));
/// assert!(some_func.matches(&ValType::FUNCREF));
/// assert!(!ValType::FUNCREF.matches(&some_func));
/// assert!(!ValType::I32.matches(&ValType::I64));
/// assert_eq!(some_func.to_string(), "(ref func)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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

/// The type of a reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RefType {
    nullable: bool,
    heap_type: HeapType,
}

/// What a reference refers to.
///
/// There are three hierarchies of values that wasm makes or gets, and the exceptions:
/// `any` (with `eq`, `i31`, `struct` and `array` below it, down to `none`), `func` (down to
/// `nofunc`), `extern` (down to `noextern`) and `exn` (down to `noexn`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HeapType {
    /// Any value of the host's.
    Extern,
    /// No value of the host's.
    NoExtern,
    /// Any function.
    Func,
    /// A function of this type.
    ConcreteFunc(FuncType),
    /// No function.
    NoFunc,
    /// Any internal value.
    Any,
    /// Any comparable internal value.
    Eq,
    /// A 31-bit integer.
    I31,
    /// Any array.
    Array,
    /// An array of this type.
    ConcreteArray(ArrayType),
    /// Any struct.
    Struct,
    /// A struct of this type.
    ConcreteStruct(StructType),
    /// No internal value.
    None,
    /// Any exception.
    Exn,
    /// No exception.
    NoExn,
}

macro_rules! reference_types {
    ($($name:ident $heap:ident $text:literal;)*) => {
        impl ValType {
            $(
                #[doc = concat!("`", $text, "`.")]
                pub const $name: ValType = ValType::Ref(RefType::$name);
            )*
        }

        impl RefType {
            $(
                #[doc = concat!("`", $text, "`.")]
                pub const $name: RefType = RefType {
                    nullable: true,
                    heap_type: HeapType::$heap,
                };
            )*

            /// The short form, if the text format has one.
            fn short(&self) -> Option<&'static str> {
                match (self.nullable, &self.heap_type) {
                    $((true, HeapType::$heap) => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

reference_types! {
    EXTERNREF Extern "externref";
    NULLEXTERNREF NoExtern "nullexternref";
    FUNCREF Func "funcref";
    NULLFUNCREF NoFunc "nullfuncref";
    ANYREF Any "anyref";
    EQREF Eq "eqref";
    I31REF I31 "i31ref";
    ARRAYREF Array "arrayref";
    STRUCTREF Struct "structref";
    NULLREF None "nullref";
    EXNREF Exn "exnref";
    NULLEXNREF NoExn "nullexnref";
}

macro_rules! is {
    ($($name:ident $pattern:pat => $text:literal;)*) => {
        $(
            #[doc = concat!("Whether this is ", $text, ".")]
            pub fn $name(&self) -> bool {
                matches!(self, $pattern)
            }
        )*
    };
}

impl ValType {
    is! {
        is_num ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64 => "an integer or float type";
        is_i32 ValType::I32 => "`i32`";
        is_i64 ValType::I64 => "`i64`";
        is_f32 ValType::F32 => "`f32`";
        is_f64 ValType::F64 => "`f64`";
        is_v128 ValType::V128 => "`v128`";
        is_ref ValType::Ref(_) => "a reference type";
    }

    /// Whether this is `funcref`.
    pub fn is_funcref(&self) -> bool {
        *self == ValType::FUNCREF
    }

    /// Whether this is `externref`.
    pub fn is_externref(&self) -> bool {
        *self == ValType::EXTERNREF
    }

    /// The reference type, if it is one.
    pub fn as_ref(&self) -> Option<&RefType> {
        match self {
            ValType::Ref(ty) => Some(ty),
            _ => None,
        }
    }

    /// The reference type.
    ///
    /// # Panics
    /// If it is none.
    pub fn unwrap_ref(&self) -> &RefType {
        self.as_ref()
            .unwrap_or_else(|| panic!("expected a reference type, got {self}"))
    }

    /// Whether each value of this type is one of `other`.
    pub fn matches(&self, other: &ValType) -> bool {
        match (self, other) {
            (ValType::Ref(a), ValType::Ref(b)) => a.matches(b),
            (a, b) => a == b,
        }
    }

    /// Whether it is a type of references that the collector follows.
    pub(crate) fn is_traced(&self) -> bool {
        matches!(self, ValType::Ref(ty) if ty.heap_type.top() != HeapType::Func)
    }

    /// From the type as a module has it, `types` being those of the module, or without concrete types.
    pub(crate) fn new(ty: &wasm::ValType, types: &(impl Types + ?Sized)) -> ValType {
        match ty {
            wasm::ValType::I32 => ValType::I32,
            wasm::ValType::I64 => ValType::I64,
            wasm::ValType::F32 => ValType::F32,
            wasm::ValType::F64 => ValType::F64,
            wasm::ValType::V128 => ValType::V128,
            wasm::ValType::Ref(ty) => ValType::Ref(RefType::from_wasm(ty, types)),
        }
    }

    /// With numbers of the registry for concrete types, which are added to `uses`.
    pub(super) fn to_wasm(&self, uses: &mut Vec<RegisteredType>) -> wasm::ValType {
        match self {
            ValType::I32 => wasm::ValType::I32,
            ValType::I64 => wasm::ValType::I64,
            ValType::F32 => wasm::ValType::F32,
            ValType::F64 => wasm::ValType::F64,
            ValType::V128 => wasm::ValType::V128,
            ValType::Ref(ty) => wasm::ValType::Ref(wasm::RefType {
                nullable: ty.nullable,
                heap: ty.heap_type.to_wasm(uses),
            }),
        }
    }
}

impl RefType {
    /// A reference to `heap_type`, or to null too.
    pub const fn new(nullable: bool, heap_type: HeapType) -> RefType {
        RefType {
            nullable,
            heap_type,
        }
    }

    /// Whether null is a value of it.
    pub fn is_nullable(&self) -> bool {
        self.nullable
    }

    /// What is referred to.
    pub fn heap_type(&self) -> &HeapType {
        &self.heap_type
    }

    /// Whether each value of this type is one of `other`.
    pub fn matches(&self, other: &RefType) -> bool {
        (other.nullable || !self.nullable) && self.heap_type.matches(&other.heap_type)
    }

    /// As [`ValType::new`].
    pub(crate) fn from_wasm(ty: &wasm::RefType, types: &(impl Types + ?Sized)) -> RefType {
        RefType {
            nullable: ty.nullable,
            heap_type: HeapType::from_wasm(&ty.heap, types),
        }
    }
}

impl HeapType {
    is! {
        is_concrete HeapType::ConcreteFunc(_) | HeapType::ConcreteArray(_) | HeapType::ConcreteStruct(_)
            => "a type that somebody defined";
        is_extern HeapType::Extern => "`extern`";
        is_func HeapType::Func => "`func`";
        is_any HeapType::Any => "`any`";
        is_i31 HeapType::I31 => "`i31`";
        is_exn HeapType::Exn => "`exn`";
        is_bottom HeapType::None | HeapType::NoExtern | HeapType::NoFunc | HeapType::NoExn
            => "one that nothing but null is of";
    }

    /// The defined function type, if it is one.
    pub fn as_concrete_func(&self) -> Option<&FuncType> {
        match self {
            HeapType::ConcreteFunc(ty) => Some(ty),
            _ => None,
        }
    }

    /// The defined struct type, if it is one.
    pub fn as_concrete_struct(&self) -> Option<&StructType> {
        match self {
            HeapType::ConcreteStruct(ty) => Some(ty),
            _ => None,
        }
    }

    /// The defined array type, if it is one.
    pub fn as_concrete_array(&self) -> Option<&ArrayType> {
        match self {
            HeapType::ConcreteArray(ty) => Some(ty),
            _ => None,
        }
    }

    /// The greatest type above this one: `any`, `func`, `extern` or `exn`.
    ///
    /// ```
    /// use bimetal::HeapType;
    ///
    /// assert_eq!(HeapType::I31.top(), HeapType::Any);
    /// assert_eq!(HeapType::NoFunc.top(), HeapType::Func);
    /// ```
    pub fn top(&self) -> HeapType {
        use HeapType as H;
        match self {
            H::Extern | H::NoExtern => H::Extern,
            H::Func | H::ConcreteFunc(_) | H::NoFunc => H::Func,
            H::Exn | H::NoExn => H::Exn,
            H::Any | H::Eq | H::I31 | H::None => H::Any,
            H::Array | H::ConcreteArray(_) | H::Struct | H::ConcreteStruct(_) => H::Any,
        }
    }

    /// Whether whatever this refers to, `other` does too.
    ///
    /// ```
    /// use bimetal::HeapType;
    ///
    /// assert!(HeapType::NoFunc.matches(&HeapType::Func));
    /// assert!(HeapType::I31.matches(&HeapType::Any));
    /// assert!(!HeapType::Func.matches(&HeapType::Any));
    /// ```
    pub fn matches(&self, other: &HeapType) -> bool {
        use HeapType as H;
        match (self, other) {
            (H::ConcreteFunc(a), H::ConcreteFunc(b)) => a.matches(b),
            (H::ConcreteStruct(a), H::ConcreteStruct(b)) => a.matches(b),
            (H::ConcreteArray(a), H::ConcreteArray(b)) => a.matches(b),
            (H::NoFunc, H::Func | H::ConcreteFunc(_)) | (H::ConcreteFunc(_), H::Func) => true,
            (H::NoExtern, H::Extern) | (H::NoExn, H::Exn) => true,
            (H::Eq, H::Any) => true,
            (H::I31 | H::Struct | H::Array, H::Any | H::Eq) => true,
            (H::ConcreteStruct(_), H::Any | H::Eq | H::Struct) => true,
            (H::ConcreteArray(_), H::Any | H::Eq | H::Array) => true,
            (H::None, other) => other.top() == H::Any,
            (a, b) => a == b,
        }
    }

    /// As [`ValType::new`].
    pub(crate) fn from_wasm(ty: &wasm::HeapType, types: &(impl Types + ?Sized)) -> HeapType {
        match ty {
            wasm::HeapType::Func => HeapType::Func,
            wasm::HeapType::NoFunc => HeapType::NoFunc,
            wasm::HeapType::Extern => HeapType::Extern,
            wasm::HeapType::NoExtern => HeapType::NoExtern,
            wasm::HeapType::Any => HeapType::Any,
            wasm::HeapType::Eq => HeapType::Eq,
            wasm::HeapType::I31 => HeapType::I31,
            wasm::HeapType::Struct => HeapType::Struct,
            wasm::HeapType::Array => HeapType::Array,
            wasm::HeapType::None => HeapType::None,
            wasm::HeapType::Exn => HeapType::Exn,
            wasm::HeapType::NoExn => HeapType::NoExn,
            wasm::HeapType::Concrete(index) => HeapType::of(types.at(*index)),
        }
    }

    /// A type that is registered.
    pub(crate) fn of(ty: RegisteredType) -> HeapType {
        match ty.ty.composite {
            wasm::CompositeType::Func(_) => HeapType::ConcreteFunc(FuncType(ty)),
            wasm::CompositeType::Struct(_) => HeapType::ConcreteStruct(StructType(ty)),
            wasm::CompositeType::Array(_) => HeapType::ConcreteArray(ArrayType(ty)),
        }
    }

    fn to_wasm(&self, uses: &mut Vec<RegisteredType>) -> wasm::HeapType {
        match self {
            HeapType::Extern => wasm::HeapType::Extern,
            HeapType::NoExtern => wasm::HeapType::NoExtern,
            HeapType::Func => wasm::HeapType::Func,
            HeapType::NoFunc => wasm::HeapType::NoFunc,
            HeapType::Any => wasm::HeapType::Any,
            HeapType::Eq => wasm::HeapType::Eq,
            HeapType::I31 => wasm::HeapType::I31,
            HeapType::Array => wasm::HeapType::Array,
            HeapType::Struct => wasm::HeapType::Struct,
            HeapType::None => wasm::HeapType::None,
            HeapType::Exn => wasm::HeapType::Exn,
            HeapType::NoExn => wasm::HeapType::NoExn,
            HeapType::ConcreteFunc(FuncType(ty))
            | HeapType::ConcreteStruct(StructType(ty))
            | HeapType::ConcreteArray(ArrayType(ty)) => {
                uses.push(ty.clone());
                wasm::HeapType::Concrete(wasm::TypeIndex::from_u32(ty.id))
            }
        }
    }
}

/// What type indices stand for.
pub(crate) trait Types {
    /// The type with this index.
    fn at(&self, index: wasm::TypeIndex) -> RegisteredType;
}

/// By a module's indices.
impl Types for [RegisteredType] {
    fn at(&self, index: wasm::TypeIndex) -> RegisteredType {
        self[index.as_u32() as usize].clone()
    }
}

/// By number.
impl Types for Arc<Registry> {
    fn at(&self, index: wasm::TypeIndex) -> RegisteredType {
        Registry::at(self, index.as_u32())
    }
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
        match (self.short(), self.nullable) {
            (Some(text), _) => f.write_str(text),
            (None, true) => write!(f, "(ref null {})", self.heap_type),
            (None, false) => write!(f, "(ref {})", self.heap_type),
        }
    }
}

impl fmt::Display for HeapType {
    /// As in the text format; a defined type as what it is, with the types that it refers to as
    /// numbers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HeapType::Extern => "extern",
            HeapType::NoExtern => "noextern",
            HeapType::Func => "func",
            HeapType::NoFunc => "nofunc",
            HeapType::Any => "any",
            HeapType::Eq => "eq",
            HeapType::I31 => "i31",
            HeapType::Array => "array",
            HeapType::Struct => "struct",
            HeapType::None => "none",
            HeapType::Exn => "exn",
            HeapType::NoExn => "noexn",
            HeapType::ConcreteFunc(ty) => return write!(f, "(func {})", ty),
            HeapType::ConcreteArray(ty) => return ty.fmt(f),
            HeapType::ConcreteStruct(ty) => return ty.fmt(f),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [HeapType; 12] = [
        HeapType::Func,
        HeapType::NoFunc,
        HeapType::Extern,
        HeapType::NoExtern,
        HeapType::Any,
        HeapType::Eq,
        HeapType::I31,
        HeapType::Struct,
        HeapType::Array,
        HeapType::None,
        HeapType::Exn,
        HeapType::NoExn,
    ];

    #[test]
    fn matching_is_an_order() {
        for a in &ALL {
            assert!(a.matches(a));
            assert!(a.matches(&a.top()));
            for b in &ALL {
                assert!(a == b || !(a.matches(b) && b.matches(a)), "{a:?} {b:?}");
                assert_eq!(a.matches(b) && b.is_bottom(), a == b && b.is_bottom());
                for c in &ALL {
                    if a.matches(b) && b.matches(c) {
                        assert!(a.matches(c), "{a:?} {b:?} {c:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn null_is_no_value_of_other_types() {
        let nullable = RefType::new(true, HeapType::NoFunc);
        let not = RefType::new(false, HeapType::NoFunc);
        assert!(nullable.matches(&RefType::FUNCREF));
        assert!(not.matches(&nullable));
        assert!(!nullable.matches(&not));
        assert!(ValType::F64.is_num() && !ValType::V128.is_num());
        assert_eq!(ValType::FUNCREF.as_ref(), Some(&RefType::FUNCREF));
    }
}
