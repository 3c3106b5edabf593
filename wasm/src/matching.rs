//! Matching: which types are subtypes of which (spec §3.3).
//!
//! A [`HeapType::Concrete`] is an index into one module's types, so without that module it only
//! matches itself; rec groups are compared where the module is known (`subtyping.rs`).

use crate::types::{HeapType, RefType, ValType};

impl ValType {
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
        assert_eq!(ValType::FUNCREF.as_ref(), Some(&RefType::FUNCREF));
    }
}
