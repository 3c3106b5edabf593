//! Which types a value type stands for: classification, and matching (subtyping, spec §3.3).
//!
//! A [`HeapType::Concrete`] is an index into one module's types, so without that module it only
//! matches itself; rec groups are compared where the module is known (`subtyping.rs`).

use crate::types::{HeapType, RefType, ValType};

impl ValType {
    /// Whether this is an integer or float type.
    pub fn is_num(&self) -> bool {
        matches!(
            self,
            ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64
        )
    }

    /// Whether this is `i32`.
    pub fn is_i32(&self) -> bool {
        *self == ValType::I32
    }

    /// Whether this is `i64`.
    pub fn is_i64(&self) -> bool {
        *self == ValType::I64
    }

    /// Whether this is `f32`.
    pub fn is_f32(&self) -> bool {
        *self == ValType::F32
    }

    /// Whether this is `f64`.
    pub fn is_f64(&self) -> bool {
        *self == ValType::F64
    }

    /// Whether this is `v128`.
    pub fn is_v128(&self) -> bool {
        *self == ValType::V128
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

    /// Whether each value of this type is one of `other`.
    ///
    /// ```
    /// use bimetal_wasm::{HeapType, RefType, ValType};
    ///
    /// let some_func = ValType::Ref(RefType::new(false, HeapType::Func));
    /// assert!(some_func.matches(&ValType::FUNCREF));
    /// assert!(!ValType::FUNCREF.matches(&some_func));
    /// assert!(!ValType::I32.matches(&ValType::I64));
    /// ```
    pub fn matches(&self, other: &ValType) -> bool {
        match (self, other) {
            (ValType::Ref(a), ValType::Ref(b)) => a.matches(b),
            (a, b) => a == b,
        }
    }
}

impl RefType {
    /// A reference to `heap`, or to null too.
    pub fn new(nullable: bool, heap: HeapType) -> RefType {
        RefType { nullable, heap }
    }

    /// Whether null is a value of it.
    pub fn is_nullable(&self) -> bool {
        self.nullable
    }

    /// What is referred to.
    pub fn heap_type(&self) -> &HeapType {
        &self.heap
    }

    /// Whether each value of this type is one of `other`.
    pub fn matches(&self, other: &RefType) -> bool {
        (other.nullable || !self.nullable) && self.heap.matches(&other.heap)
    }
}

impl HeapType {
    /// Whether this is a type of a module, not one that every module has.
    pub fn is_concrete(&self) -> bool {
        matches!(self, HeapType::Concrete(_))
    }

    /// Whether whatever this refers to, `other` does too.
    ///
    /// ```
    /// use bimetal_wasm::HeapType;
    ///
    /// assert!(HeapType::NoFunc.matches(&HeapType::Func));
    /// assert!(HeapType::I31.matches(&HeapType::Any));
    /// assert!(!HeapType::Func.matches(&HeapType::Any));
    /// ```
    pub fn matches(&self, other: &HeapType) -> bool {
        use HeapType as H;
        match (self, other) {
            (a, b) if a == b => true,
            (H::NoFunc, H::Func) | (H::NoExtern, H::Extern) | (H::NoExn, H::Exn) => true,
            (H::Eq, H::Any) => true,
            (H::I31 | H::Struct | H::Array, H::Any | H::Eq) => true,
            (H::None, H::Any | H::Eq | H::I31 | H::Struct | H::Array) => true,
            _ => false,
        }
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
        for a in ALL {
            assert!(a.matches(&a));
            for b in ALL {
                assert!(a == b || !(a.matches(&b) && b.matches(&a)), "{a:?} {b:?}");
                for c in ALL {
                    if a.matches(&b) && b.matches(&c) {
                        assert!(a.matches(&c), "{a:?} {b:?} {c:?}");
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
