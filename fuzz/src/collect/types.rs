//! Random hierarchies of types: structs and arrays with fields of all kinds, below each other, in
//! recursion groups that refer forward.
//!
//! **Invariant**: each type has a value that can be made: a field that cannot be null is of a type with
//! a smaller number.

use std::fmt;

use super::Choices;

/// What a reference is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heap {
    Any,
    Eq,
    I31,
    Struct,
    Array,
    Extern,
    Func,
    Exn,
    /// The type with this number.
    Def(usize),
}

/// A type of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ty {
    I32,
    I64,
    F32,
    F64,
    V128,
    /// A reference, and whether it may be null.
    Ref(Heap, bool),
}

impl fmt::Display for Heap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Heap::Any => "any",
            Heap::Eq => "eq",
            Heap::I31 => "i31",
            Heap::Struct => "struct",
            Heap::Array => "array",
            Heap::Extern => "extern",
            Heap::Func => "func",
            Heap::Exn => "exn",
            Heap::Def(number) => return write!(f, "$t{number}"),
        })
    }
}

impl fmt::Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ty::I32 => "i32",
            Ty::I64 => "i64",
            Ty::F32 => "f32",
            Ty::F64 => "f64",
            Ty::V128 => "v128",
            Ty::Ref(heap, true) => return write!(f, "(ref null {heap})"),
            Ty::Ref(heap, false) => return write!(f, "(ref {heap})"),
        })
    }
}

/// How a field is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Storage {
    I8,
    I16,
    Value(Ty),
}

impl Storage {
    /// The type that is read and written.
    pub(super) fn unpacked(self) -> Ty {
        match self {
            Storage::Value(ty) => ty,
            _ => Ty::I32,
        }
    }

    pub(super) fn is_packed(self) -> bool {
        !matches!(self, Storage::Value(_))
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) storage: Storage,
    pub(super) mutable: bool,
}

impl Field {
    pub(super) fn ty(&self) -> Ty {
        self.storage.unpacked()
    }

    pub(super) fn has_default(&self) -> bool {
        !matches!(self.storage, Storage::Value(Ty::Ref(_, false)))
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let storage = match self.storage {
            Storage::I8 => "i8".to_owned(),
            Storage::I16 => "i16".to_owned(),
            Storage::Value(ty) => ty.to_string(),
        };
        match self.mutable {
            true => write!(f, "(mut {storage})"),
            false => f.write_str(&storage),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Shape {
    Struct(Vec<Field>),
    Array(Field),
}

#[derive(Clone, Debug)]
pub(super) struct Def {
    pub(super) shape: Shape,
    parent: Option<usize>,
    is_final: bool,
    group: usize,
}

/// All types of a program. The first is a struct with a reference to anything and one to its own, the
/// second an array of references to anything.
#[derive(Debug, Default)]
pub(super) struct Types {
    pub(super) defs: Vec<Def>,
}

impl Types {
    pub(super) fn new(c: &mut Choices<'_>) -> Types {
        let any = Storage::Value(Ty::Ref(Heap::Any, true));
        let field = |storage, mutable| Field { storage, mutable };
        let link = Storage::Value(Ty::Ref(Heap::Def(0), true));
        let first = vec![
            field(any, true),
            field(link, true),
            field(Storage::Value(Ty::I32), true),
        ];
        let def = |shape| Def {
            shape,
            parent: None,
            is_final: false,
            group: 0,
        };
        let mut types = Types {
            defs: vec![
                def(Shape::Struct(first)),
                def(Shape::Array(field(any, true))),
            ],
        };
        let count = 2 + c.below(6);
        let mut groups = vec![0, 0];
        for _ in 2..count {
            let last = groups[groups.len() - 1];
            groups.push(last + c.below(2));
        }
        for number in 2..count {
            let reachable = groups
                .iter()
                .filter(|&&group| group <= groups[number])
                .count();
            types.add(c, number, groups[number], reachable);
        }
        types
    }

    fn add(&mut self, c: &mut Choices<'_>, number: usize, group: usize, reachable: usize) {
        let parent = c.chance(1, 2).then(|| c.below(number));
        let parent = parent.filter(|&parent| !self.defs[parent].is_final);
        let inherited = parent.map(|parent| self.defs[parent].shape.clone());
        let shape = match inherited {
            Some(Shape::Struct(mut fields)) => {
                for _ in 0..c.below(3) {
                    fields.push(field(c, number, reachable));
                }
                Shape::Struct(fields)
            }
            Some(array) => array,
            None if c.chance(1, 3) => Shape::Array(field(c, number, reachable)),
            None => {
                let count = c.below(6);
                Shape::Struct((0..count).map(|_| field(c, number, reachable)).collect())
            }
        };
        let is_final = c.chance(1, 4);
        self.defs.push(Def {
            shape,
            parent,
            is_final,
            group,
        });
    }

    pub(super) fn is_struct(&self, number: usize) -> bool {
        matches!(self.defs[number].shape, Shape::Struct(_))
    }

    /// The fields of a struct, or the one that stands for an array's elements.
    pub(super) fn fields(&self, number: usize) -> &[Field] {
        match &self.defs[number].shape {
            Shape::Struct(fields) => fields,
            Shape::Array(element) => std::slice::from_ref(element),
        }
    }

    fn is_below(&self, number: usize, heap: Heap) -> bool {
        match heap {
            Heap::Any | Heap::Eq => true,
            Heap::Struct => self.is_struct(number),
            Heap::Array => !self.is_struct(number),
            Heap::Def(other) => {
                let parent = self.defs[number].parent;
                number == other || parent.is_some_and(|parent| self.is_below(parent, heap))
            }
            _ => false,
        }
    }

    /// All that are below.
    pub(super) fn below(&self, heap: Heap) -> Vec<usize> {
        let all = 0..self.defs.len();
        all.filter(|&number| self.is_below(number, heap)).collect()
    }

    /// Whether each value of the one type is one of the other.
    pub(super) fn is_sub(&self, a: Ty, b: Ty) -> bool {
        let (Ty::Ref(a, may_be_null), Ty::Ref(b, takes_null)) = (a, b) else {
            return a == b;
        };
        let heaps = match (a, b) {
            (a, b) if a == b => true,
            (Heap::Def(number), b) => self.is_below(number, b),
            (Heap::Eq | Heap::I31 | Heap::Struct | Heap::Array, Heap::Any) => true,
            (Heap::I31 | Heap::Struct | Heap::Array, Heap::Eq) => true,
            _ => false,
        };
        heaps && (takes_null || !may_be_null)
    }

    /// In the text format.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut group = None;
        for (number, def) in self.defs.iter().enumerate() {
            if group != Some(def.group) {
                text.push_str(if group.is_some() {
                    ")\n(rec\n"
                } else {
                    "(rec\n"
                });
                group = Some(def.group);
            }
            let parent = def.parent.map_or(String::new(), |p| format!("$t{p} "));
            let has_children = self.defs.iter().any(|other| other.parent == Some(number));
            let is_final = match def.is_final && !has_children {
                true => "final ",
                false => "",
            };
            let shape = match &def.shape {
                Shape::Struct(fields) => {
                    let fields = fields.iter().map(|field| format!(" (field {field})"));
                    format!("(struct{})", fields.collect::<String>())
                }
                Shape::Array(element) => format!("(array {element})"),
            };
            text.push_str(&format!(
                "  (type $t{number} (sub {is_final}{parent}{shape}))\n"
            ));
        }
        text.push_str(")\n");
        text
    }
}

/// Any type of values that can be null or zero, of types below this number.
pub(super) fn nullable(c: &mut Choices<'_>, reachable: usize) -> Ty {
    match c.below(16) {
        0 => Ty::I32,
        1 => Ty::I64,
        2 => Ty::Ref(Heap::Any, true),
        3 => Ty::Ref(Heap::Eq, true),
        4 => Ty::Ref(Heap::I31, true),
        5 => Ty::Ref(Heap::Struct, true),
        6 => Ty::Ref(Heap::Extern, true),
        7 => Ty::Ref(Heap::Func, true),
        8 => Ty::F64,
        9 => match c.below(3) {
            0 => Ty::V128,
            1 => Ty::F32,
            _ => Ty::Ref(Heap::Array, true),
        },
        _ => Ty::Ref(Heap::Def(c.below(reachable)), true),
    }
}

fn field(c: &mut Choices<'_>, number: usize, reachable: usize) -> Field {
    let storage = match c.below(12) {
        0 => Storage::I8,
        1 => Storage::I16,
        2 => Storage::Value(Ty::Ref(Heap::Def(c.below(number)), false)),
        _ => Storage::Value(nullable(c, reachable)),
    };
    let mutable = !c.chance(1, 4);
    Field { storage, mutable }
}
