//! Which types of a module are the same, and which are subtypes of which (spec §3.3).
//!
//! Types are the same if their rec groups are, position by position. Each group is compared in a form
//! in which types of the group itself are named by their position and all others by the first type
//! that they are the same as, so that one look into a table per group is enough.
//!
//! A type of another module is none of this module's business: the engine compares those.

use std::collections::HashMap;
use std::ops::Range;

use cranelift_entity::{PrimaryMap, SecondaryMap};

use crate::module::Module;
use crate::types::*;

/// Set in the index of a type that is named by its position in the group.
const INSIDE: u32 = 1 << 31;

impl Module {
    /// The first type of the module that is the same as this one.
    ///
    /// ```
    /// use bimetal_wasm::{Features, Module, TypeIndex};
    ///
    /// let module = Module::new("(module (type (struct)) (type (func)) (type (struct)))", &Features::default())?;
    /// let canonical = |i| module.canonical_type(TypeIndex::from_u32(i)).as_u32();
    /// assert_eq!([canonical(0), canonical(1), canonical(2)], [0, 1, 0]);
    /// # Ok::<(), bimetal_wasm::Error>(())
    /// ```
    pub fn canonical_type(&self, index: TypeIndex) -> TypeIndex {
        self.canonical.get_or_init(|| canonical(self))[index]
    }

    /// The functions of a type or of types below it of which the module can make references, in order:
    /// all of them, if they are fewer than [`Module::MOST_REFERABLE`], else so many. What others do with
    /// the type is not known here.
    ///
    /// ```
    /// use bimetal_wasm::{Features, Module, TypeIndex};
    ///
    /// let text = "(module (type $f (func)) (func) (func (type $f)) (elem declare func 1))";
    /// let module = Module::new(text, &Features::default())?;
    /// let functions = module.referable_functions(TypeIndex::from_u32(0));
    /// assert_eq!(functions.iter().map(|f| f.as_u32()).collect::<Vec<_>>(), [1]);
    /// # Ok::<(), bimetal_wasm::Error>(())
    /// ```
    pub fn referable_functions(&self, ty: TypeIndex) -> &[FuncIndex] {
        let all = self.referable.get_or_init(|| {
            let mut all: SecondaryMap<TypeIndex, Vec<FuncIndex>> = SecondaryMap::new();
            for (func, &ty) in &self.functions {
                if self.func_refs.get(func).is_none_or(|r| r.is_none()) {
                    continue;
                }
                for ty in self.ancestors(ty) {
                    let functions = &mut all[self.canonical_type(ty)];
                    if functions.len() < Self::MOST_REFERABLE {
                        functions.push(func);
                    }
                }
            }
            all
        });
        &all[self.canonical_type(ty)]
    }

    /// See [`Module::referable_functions`].
    pub const MOST_REFERABLE: usize = 4;

    /// Whether a type is another one or declared below it.
    pub fn is_concrete_subtype(&self, sub: TypeIndex, of: TypeIndex) -> bool {
        let of = self.canonical_type(of);
        self.ancestors(sub)
            .any(|index| self.canonical_type(index) == of)
    }

    /// A type and its supertypes, upwards.
    pub fn ancestors(&self, index: TypeIndex) -> impl Iterator<Item = TypeIndex> + '_ {
        std::iter::successors(Some(index), |index| self.types[*index].supertype)
    }

    /// How many supertypes a type has.
    pub fn depth(&self, index: TypeIndex) -> usize {
        self.ancestors(index).count() - 1
    }

    /// Whether whatever a heap type refers to, another does too.
    pub fn is_heap_subtype(&self, sub: HeapType, of: HeapType) -> bool {
        match (sub, of) {
            (HeapType::Concrete(sub), HeapType::Concrete(of)) => self.is_concrete_subtype(sub, of),
            (HeapType::Concrete(sub), of) => self.abstract_heap_type(sub).matches(&of),
            (sub, HeapType::Concrete(of)) => match self.abstract_heap_type(of) {
                HeapType::Func => sub == HeapType::NoFunc,
                _ => sub == HeapType::None,
            },
            (sub, of) => sub.matches(&of),
        }
    }

    /// Whether each value of a reference type is one of another.
    ///
    /// ```
    /// use bimetal_wasm::{Features, HeapType, Module, RefType, TypeIndex};
    ///
    /// let text = "(module (type $a (sub (struct))) (type $b (sub $a (struct (field i32)))))";
    /// let module = Module::new(text, &Features::default())?;
    /// let concrete = |i| RefType::new(false, HeapType::Concrete(TypeIndex::from_u32(i)));
    /// assert!(module.is_subtype(concrete(1), concrete(0)));
    /// assert!(!module.is_subtype(concrete(0), concrete(1)));
    /// assert!(module.is_subtype(concrete(0), RefType::new(true, HeapType::Eq)));
    /// # Ok::<(), bimetal_wasm::Error>(())
    /// ```
    pub fn is_subtype(&self, sub: RefType, of: RefType) -> bool {
        (of.nullable || !sub.nullable) && self.is_heap_subtype(sub.heap, of.heap)
    }

    /// [`Module::is_subtype`] of value types.
    pub fn is_val_subtype(&self, sub: ValType, of: ValType) -> bool {
        match (sub, of) {
            (ValType::Ref(sub), ValType::Ref(of)) => self.is_subtype(sub, of),
            (sub, of) => sub == of,
        }
    }

    /// The least abstract type above a type of the module: `func`, `struct` or `array`.
    pub fn abstract_heap_type(&self, index: TypeIndex) -> HeapType {
        match &self.types[index].composite {
            CompositeType::Func(_) => HeapType::Func,
            CompositeType::Struct(_) => HeapType::Struct,
            CompositeType::Array(_) => HeapType::Array,
        }
    }

    /// The top of the hierarchy that a heap type is in: `func`, `extern`, `any` or `exn`.
    pub fn top_heap_type(&self, heap: HeapType) -> HeapType {
        match heap {
            HeapType::Func | HeapType::NoFunc => HeapType::Func,
            HeapType::Extern | HeapType::NoExtern => HeapType::Extern,
            HeapType::Exn | HeapType::NoExn => HeapType::Exn,
            HeapType::Any
            | HeapType::Eq
            | HeapType::I31
            | HeapType::Struct
            | HeapType::Array
            | HeapType::None => HeapType::Any,
            HeapType::Concrete(index) => match self.abstract_heap_type(index) {
                HeapType::Func => HeapType::Func,
                _ => HeapType::Any,
            },
        }
    }

    /// Whether references of this type are function references.
    pub fn is_func_ref(&self, ty: &RefType) -> bool {
        self.top_heap_type(ty.heap) == HeapType::Func
    }

    /// A function's type with each reference as wide as its hierarchy: for code between wasm and the
    /// host, which looks at how values are passed, and knows no module.
    pub fn erased_func_type(&self, index: TypeIndex) -> FuncType {
        let erased = |ty: &ValType| match ty {
            ValType::Ref(ty) => ValType::Ref(RefType::new(true, self.top_heap_type(ty.heap))),
            other => *other,
        };
        let ty = self.func_type_at(index);
        let params: Vec<_> = ty.params().iter().map(erased).collect();
        let results: Vec<_> = ty.results().iter().map(erased).collect();
        FuncType::new(params, results)
    }

    /// The fields of a struct type; none of another, which validation rules out.
    pub fn struct_fields(&self, index: TypeIndex) -> &[FieldType] {
        match &self.types[index].composite {
            CompositeType::Struct(ty) => &ty.fields,
            _ => &[],
        }
    }

    /// The elements of an array type; `None` of another, which validation rules out.
    pub fn array_element(&self, index: TypeIndex) -> Option<FieldType> {
        match &self.types[index].composite {
            CompositeType::Array(ty) => Some(ty.element),
            _ => None,
        }
    }
}

/// [`Module::canonical_type`] of all.
fn canonical(module: &Module) -> PrimaryMap<TypeIndex, TypeIndex> {
    let mut first: HashMap<Vec<SubType>, u32> = HashMap::new();
    let mut same = PrimaryMap::with_capacity(module.types.len());
    for group in &module.rec_groups {
        let types = group.clone().map(TypeIndex::from_u32);
        let key: Vec<SubType> = types
            .map(|index| {
                module.types[index].renamed(&mut |index| match position(group, index) {
                    Some(at) => TypeIndex::from_u32(INSIDE | at),
                    // Types of later groups cannot be named.
                    None => same.get(index).copied().unwrap_or(index),
                })
            })
            .collect();
        let start = *first.entry(key).or_insert(group.start);
        for at in 0..group.len() as u32 {
            same.push(TypeIndex::from_u32(start + at));
        }
    }
    same
}

fn position(group: &Range<u32>, index: TypeIndex) -> Option<u32> {
    let index = index.as_u32();
    group.contains(&index).then(|| index - group.start)
}

impl SubType {
    /// The same with other names for the types that it names.
    pub fn renamed(&self, name: &mut impl FnMut(TypeIndex) -> TypeIndex) -> SubType {
        SubType {
            is_final: self.is_final,
            supertype: self.supertype.map(&mut *name),
            composite: match &self.composite {
                CompositeType::Func(ty) => {
                    let params: Vec<_> = ty.params().iter().map(|ty| ty.renamed(name)).collect();
                    let results: Vec<_> = ty.results().iter().map(|ty| ty.renamed(name)).collect();
                    CompositeType::Func(FuncType::new(params, results))
                }
                CompositeType::Struct(ty) => CompositeType::Struct(StructType {
                    fields: ty.fields.iter().map(|ty| ty.renamed(name)).collect(),
                }),
                CompositeType::Array(ty) => CompositeType::Array(ArrayType {
                    element: ty.element.renamed(name),
                }),
            },
        }
    }
}

impl FieldType {
    fn renamed(&self, name: &mut impl FnMut(TypeIndex) -> TypeIndex) -> FieldType {
        FieldType {
            storage: match self.storage {
                StorageType::Val(ty) => StorageType::Val(ty.renamed(name)),
                packed => packed,
            },
            mutable: self.mutable,
        }
    }
}

impl ValType {
    /// The same with another name for the type that it names.
    pub fn renamed(&self, name: &mut impl FnMut(TypeIndex) -> TypeIndex) -> ValType {
        match *self {
            ValType::Ref(RefType {
                nullable,
                heap: HeapType::Concrete(index),
            }) => ValType::Ref(RefType::new(nullable, HeapType::Concrete(name(index)))),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Features;

    fn module(text: &str) -> Module {
        Module::new(text, &Features::default()).unwrap()
    }

    fn index(i: u32) -> TypeIndex {
        TypeIndex::from_u32(i)
    }

    #[test]
    fn equal_groups_are_the_same_types() {
        let m = module(
            "(module
               (rec (type $a (struct (field (ref $b)))) (type $b (sub (struct (field (ref $a))))))
               (rec (type $c (struct (field (ref $d)))) (type $d (sub (struct (field (ref $c))))))
               (rec (type $e (sub (struct (field (ref $f))))) (type $f (struct (field (ref $e)))))
               (type $g (struct (field (ref $a))))
               (type $h (struct (field (ref $c))))
               (type $i (struct (field (ref null $c)))))",
        );
        let same: Vec<u32> = (0..9)
            .map(|i| m.canonical_type(index(i)).as_u32())
            .collect();
        assert_eq!(same, [0, 1, 0, 1, 4, 5, 6, 6, 8]);
    }

    #[test]
    fn subtypes_of_equal_types_are_subtypes() {
        let m = module(
            "(module
               (type $a (sub (func))) (type $b (sub (func)))
               (type $c (sub final $b (func)))
               (type $d (sub (array i8))))",
        );
        assert!(m.is_concrete_subtype(index(2), index(0)));
        assert!(!m.is_concrete_subtype(index(0), index(2)));
        assert_eq!((m.depth(index(2)), m.depth(index(1))), (1, 0));
        let heap = |i| HeapType::Concrete(index(i));
        assert!(m.is_heap_subtype(heap(2), HeapType::Func));
        assert!(m.is_heap_subtype(HeapType::NoFunc, heap(2)));
        assert!(!m.is_heap_subtype(HeapType::None, heap(2)));
        assert!(m.is_heap_subtype(HeapType::None, heap(3)));
        assert!(m.is_heap_subtype(heap(3), HeapType::Eq));
        assert!(!m.is_heap_subtype(HeapType::Array, heap(3)));
        assert_eq!(m.top_heap_type(heap(3)), HeapType::Any);
        assert_eq!(m.sub_type_text(index(2)), "(sub final 1 (func))");
        assert_eq!(m.sub_type_text(index(3)), "(sub (array i8))");
    }
}
