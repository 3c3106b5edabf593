//! Expressions: a type in, text out that leaves a value of it.
//!
//! **Invariant**: what is written is valid; the depth and the number of nodes of a function are limited.

use super::types::{Heap, Shape, Storage, Ty};
use super::{Exceptions, Outline, TABLE, list};

/// How deep expressions are.
const DEPTH: usize = 5;

/// How long arrays are made: with elements of one to sixteen bytes, some of them around the sizes up to
/// which they are made inline.
const LENGTHS: [usize; 16] = [3, 0, 1, 2, 4, 5, 9, 15, 17, 30, 33, 60, 64, 67, 240, 257];

/// A function that is being written.
pub(super) struct Body<'o, 'a> {
    pub(super) o: &'o mut Outline<'a>,
    number: usize,
    /// Parameters and locals.
    pub(super) locals: Vec<Ty>,
    labels: usize,
    /// How many nodes the statement may still have.
    nodes: usize,
    /// Whether it calls nothing and has no loops.
    pub(super) is_leaf: bool,
    /// How many loops are around.
    pub(super) loops: u32,
}

impl Outline<'_> {
    /// Null, zero, or what cannot be null: a constant expression.
    pub(super) fn zero(&mut self, ty: Ty) -> String {
        match ty {
            Ty::I32 => "(i32.const 0)".into(),
            Ty::I64 => "(i64.const 0)".into(),
            Ty::F32 => "(f32.const 0)".into(),
            Ty::F64 => "(f64.const 0)".into(),
            Ty::V128 => "(v128.const i64x2 0 0)".into(),
            Ty::Ref(Heap::Func, true) => "(ref.null nofunc)".into(),
            Ty::Ref(Heap::Extern, true) => "(ref.null noextern)".into(),
            Ty::Ref(Heap::Exn, _) => "(ref.null noexn)".into(),
            Ty::Ref(_, true) => "(ref.null none)".into(),
            ty => self.fresh(ty),
        }
    }

    /// A new value: a constant expression too.
    pub(super) fn fresh(&mut self, ty: Ty) -> String {
        let n = self.c.number();
        match ty {
            Ty::I32 => format!("(i32.const {n})"),
            Ty::I64 => format!("(i64.const {})", i64::from(n) << 9 ^ 5),
            Ty::F32 => format!("(f32.const {})", n as i16),
            Ty::F64 => format!("(f64.const {n})"),
            Ty::V128 => format!("(v128.const i64x2 {n} {})", !n),
            Ty::Ref(Heap::Any | Heap::Eq | Heap::I31, _) => format!("(ref.i31 (i32.const {n}))"),
            Ty::Ref(Heap::Extern, _) => {
                format!("(extern.convert_any (ref.i31 (i32.const {n})))")
            }
            Ty::Ref(Heap::Func, _) => {
                let all = self.functions.len();
                format!("(ref.func $f{})", self.c.below(all))
            }
            Ty::Ref(Heap::Exn, _) => self.zero(ty),
            Ty::Ref(Heap::Struct, _) => self.fresh_object(0),
            Ty::Ref(Heap::Array, _) => self.fresh_object(1),
            Ty::Ref(Heap::Def(number), _) => self.fresh_object(number),
        }
    }

    fn fresh_object(&mut self, number: usize) -> String {
        match self.types.defs[number].shape.clone() {
            Shape::Struct(fields) => {
                if fields.iter().all(|field| field.has_default()) && self.c.chance(1, 3) {
                    return format!("(struct.new_default $t{number})");
                }
                let fields: Vec<_> = fields.iter().map(|field| self.zero(field.ty())).collect();
                format!("(struct.new $t{number} {})", fields.join(" "))
            }
            Shape::Array(element) => {
                let length = self.c.below(7);
                if element.has_default() && self.c.chance(1, 2) {
                    return format!("(array.new_default $t{number} (i32.const {length}))");
                }
                let value = self.zero(element.ty());
                format!("(array.new $t{number} {value} (i32.const {length}))")
            }
        }
    }
}

impl<'o, 'a> Body<'o, 'a> {
    pub(super) fn new(o: &'o mut Outline<'a>, number: usize) -> Self {
        let locals = o.functions[number].params.clone();
        let is_leaf = o.c.chance(1, 4);
        Body {
            o,
            number,
            locals,
            labels: 0,
            nodes: 0,
            is_leaf,
            loops: 0,
        }
    }

    /// The whole function.
    pub(super) fn function(mut self) -> String {
        let signature = self.o.functions[self.number].clone();
        let all = self.o.types.defs.len();
        for _ in 0..2 + self.o.c.below(4) {
            let ty = super::nullable(&mut self.o.c, all);
            self.locals.push(ty);
        }
        let number = self.number;
        let entry = match self.is_leaf {
            true => String::new(),
            false => {
                let zeros: Vec<_> = signature
                    .results
                    .iter()
                    .map(|&ty| self.o.zero(ty))
                    .collect();
                format!(
                    "(global.set $fuel (i32.sub (global.get $fuel) (i32.const 8)))\n\
                     (if (i32.lt_s (global.get $fuel) (i32.const 0)) (then (return {})))\n",
                    zeros.join(" ")
                )
            }
        };
        let count = 1 + self.o.c.below(7);
        let mut statements = String::new();
        for _ in 0..count {
            self.nodes = 6 + self.o.c.below(20);
            statements.push_str(&self.statements(1, DEPTH));
        }
        self.nodes = 6;
        let results = signature.results.iter();
        let results: Vec<_> = results.map(|&ty| self.expr(ty, DEPTH)).collect();
        let locals = list("local", &self.locals[signature.params.len()..]);
        format!(
            "(func $f{number} (export \"f{number}\") (type $s{}){locals}\n{entry}{statements}{})\n",
            signature.ty,
            results.join("\n")
        )
    }

    /// A new local of this type.
    pub(super) fn scratch(&mut self, ty: Ty) -> usize {
        self.locals.push(ty);
        self.locals.len() - 1
    }

    pub(super) fn label(&mut self) -> String {
        self.labels += 1;
        format!("$l{}", self.labels)
    }

    /// The types of the function's results.
    pub(super) fn results(&self) -> Vec<Ty> {
        self.o.functions[self.number].results.clone()
    }

    /// Something that is there, or a constant.
    pub(super) fn leaf(&mut self, ty: Ty) -> String {
        let types = &self.o.types;
        let locals = self.locals.iter().enumerate();
        let locals = locals.filter(|(_, local)| types.is_sub(**local, ty));
        let mut all: Vec<_> = locals.map(|(i, _)| format!("(local.get {i})")).collect();
        let globals = self.o.globals.iter().enumerate();
        let globals = globals.filter(|(_, global)| types.is_sub(global.0, ty));
        all.extend(globals.map(|(i, _)| format!("(global.get $g{i})")));
        if ty == Ty::Ref(Heap::Any, true) {
            let place = self.o.c.below(TABLE);
            all.push(format!("(table.get $any (i32.const {place}))"));
        }
        let choice = self.o.c.below(all.len() + 2);
        match all.into_iter().nth(choice.wrapping_sub(2)) {
            Some(text) => text,
            None if choice == 0 => self.o.zero(ty),
            None => self.o.fresh(ty),
        }
    }

    /// A value of this type.
    pub(super) fn expr(&mut self, ty: Ty, depth: usize) -> String {
        if depth == 0 || self.nodes == 0 || self.o.c.is_at_end() {
            return self.leaf(ty);
        }
        self.nodes -= 1;
        let made = match ty {
            Ty::I32 => self.int(depth - 1),
            Ty::Ref(heap, true) => self.reference(heap, depth - 1),
            Ty::Ref(heap, false) => self.non_null(heap, depth - 1),
            ty => self.number(ty, depth - 1),
        };
        made.unwrap_or_else(|| self.leaf(ty))
    }

    fn non_null(&mut self, heap: Heap, depth: usize) -> Option<String> {
        if self.o.c.chance(1, 2) {
            return self.object(heap, depth);
        }
        let (ty, label) = (Ty::Ref(heap, false), self.label());
        let value = self.expr(Ty::Ref(heap, true), depth);
        if self.o.c.chance(1, 20) {
            return Some(format!("(ref.as_non_null {value})"));
        }
        let other = self.o.fresh(ty);
        Some(format!(
            "(block {label} (result {ty}) (br_on_non_null {label} {value}) {other})"
        ))
    }

    fn reference(&mut self, heap: Heap, depth: usize) -> Option<String> {
        let ty = Ty::Ref(heap, true);
        match self.o.c.below(16) {
            0 => None,
            1..=4 => self.object(heap, depth),
            5 | 6 => self.call(ty, depth),
            7 | 8 => self.get(ty, depth),
            9 | 10 => self.cast(heap, depth),
            11 => Some(self.choice(ty, depth)),
            12 | 13 => self.handled(ty, depth),
            14 => self.converted(heap, depth),
            _ => self.tee(ty, depth),
        }
    }

    fn choice(&mut self, ty: Ty, depth: usize) -> String {
        let condition = self.expr(Ty::I32, depth);
        if self.o.c.chance(1, 2) {
            let (a, b) = (self.expr(ty, depth), self.expr(ty, depth));
            return format!("(select (result {ty}) {a} {b} {condition})");
        }
        let statements = self.statements(1, depth);
        let (a, b) = (self.expr(ty, depth), self.expr(ty, depth));
        format!("(if (result {ty}) {condition} (then {statements}{a}) (else {b}))")
    }

    fn tee(&mut self, ty: Ty, depth: usize) -> Option<String> {
        let types = &self.o.types;
        let locals = (0..self.locals.len()).filter(|&i| types.is_sub(self.locals[i], ty));
        let locals: Vec<_> = locals.collect();
        if locals.is_empty() {
            return None;
        }
        let local = self.o.c.of(&locals);
        let value = self.expr(self.locals[local], depth);
        Some(format!("(local.tee {local} {value})"))
    }

    fn converted(&mut self, heap: Heap, depth: usize) -> Option<String> {
        match heap {
            Heap::Any => {
                let value = self.expr(Ty::Ref(Heap::Extern, true), depth);
                Some(format!("(any.convert_extern {value})"))
            }
            Heap::Extern => {
                let value = self.expr(Ty::Ref(Heap::Any, true), depth);
                Some(format!("(extern.convert_any {value})"))
            }
            Heap::Def(0) => {
                let place = self.o.c.below(TABLE);
                Some(format!("(table.get $first (i32.const {place}))"))
            }
            _ => None,
        }
    }

    /// A new object.
    fn object(&mut self, heap: Heap, depth: usize) -> Option<String> {
        let below = self.o.types.below(heap);
        if below.is_empty() {
            return None;
        }
        let number = self.o.c.of(&below);
        Some(match self.o.types.defs[number].shape.clone() {
            Shape::Struct(fields) => {
                let fields: Vec<_> = fields.iter().map(|f| self.expr(f.ty(), depth)).collect();
                format!("(struct.new $t{number} {})", fields.join(" "))
            }
            Shape::Array(element) => {
                let is_number = !matches!(element.storage, Storage::Value(Ty::Ref(..)));
                match self.o.c.below(5) {
                    0 => {
                        let value = self.expr(element.ty(), depth);
                        let length = self.length(depth);
                        format!("(array.new $t{number} {value} {length})")
                    }
                    1 if is_number => {
                        let (from, count) = (self.o.c.below(9), self.o.c.below(5));
                        format!(
                            "(array.new_data $t{number} $bytes (i32.const {from}) (i32.const {count}))"
                        )
                    }
                    1 if element.ty() == Ty::Ref(Heap::Any, true) => {
                        let count = self.o.c.below(3);
                        format!(
                            "(array.new_elem $t{number} $items (i32.const 0) (i32.const {count}))"
                        )
                    }
                    2 if element.has_default() => {
                        let length = self.length(depth);
                        format!("(array.new_default $t{number} {length})")
                    }
                    _ => {
                        let count = self.o.c.below(6);
                        let elements = (0..count).map(|_| self.expr(element.ty(), depth));
                        let elements: Vec<_> = elements.collect();
                        format!(
                            "(array.new_fixed $t{number} {count} {})",
                            elements.join(" ")
                        )
                    }
                }
            }
        })
    }

    /// How long an array is to be.
    fn length(&mut self, depth: usize) -> String {
        let length = self.o.c.of(&LENGTHS);
        match self.o.c.chance(1, 5) {
            true => format!("(i32.and {} (i32.const 255))", self.expr(Ty::I32, depth)),
            false => format!("(i32.const {length})"),
        }
    }

    /// A call of a function with this result.
    fn call(&mut self, ty: Ty, depth: usize) -> Option<String> {
        if self.is_leaf {
            return None;
        }
        let o = &self.o;
        let fits = |f: &usize| match o.functions[*f].results[..] {
            [result] => o.types.is_sub(result, ty),
            _ => false,
        };
        let all: Vec<_> = (0..o.functions.len()).filter(fits).collect();
        if all.is_empty() {
            return None;
        }
        let number = self.o.c.of(&all);
        Some(self.call_of(number, "call", depth))
    }

    /// A call of this function, directly or by a reference.
    pub(super) fn call_of(&mut self, number: usize, call: &str, depth: usize) -> String {
        let signature = self.o.functions[number].clone();
        let params = &signature.params;
        let args: Vec<_> = params.iter().map(|&ty| self.expr(ty, depth)).collect();
        let (args, ty) = (args.join(" "), signature.ty);
        match self.o.c.below(8) {
            6 | 7 => {
                // Any function, if it is of the type: also one of another instance or the host's.
                let label = self.label();
                let value = self.expr(Ty::Ref(Heap::Func, true), depth.min(2));
                format!(
                    "({call}_ref $s{ty} {args} (block {label} (result (ref $s{ty})) \
                     (drop (br_on_cast {label} funcref (ref $s{ty}) {value})) (ref.func $f{number})))"
                )
            }
            0..=2 => format!("({call} $f{number} {args})"),
            3 => format!("({call}_ref $s{ty} {args} (ref.func $f{number}))"),
            4 => format!("({call}_indirect $functions (type $s{ty}) {args} (i32.const {number}))"),
            _ => {
                let same = |f: &usize| self.o.functions[*f].ty == ty;
                let same: Vec<_> = (0..self.o.functions.len()).filter(same).collect();
                let other = self.o.c.of(&same);
                let condition = self.expr(Ty::I32, depth.min(1));
                format!(
                    "({call}_ref $s{ty} {args} (select (result (ref null $s{ty})) \
                     (ref.func $f{number}) (ref.func $f{other}) {condition}))"
                )
            }
        }
    }

    /// A field or an element of this type.
    fn get(&mut self, ty: Ty, depth: usize) -> Option<String> {
        let types = &self.o.types;
        let mut all = Vec::new();
        for number in 0..types.defs.len() {
            for (i, field) in types.fields(number).iter().enumerate() {
                if types.is_sub(field.ty(), ty) {
                    all.push((number, i, *field));
                }
            }
        }
        if all.is_empty() {
            return None;
        }
        let (number, i, field) = self.o.c.of(&all);
        let sign = match field.storage.is_packed() {
            true => self.o.c.of(&["_s", "_u"]),
            false => "",
        };
        if self.o.types.is_struct(number) {
            let nullable = self.o.c.chance(1, 15);
            let object = self.expr(Ty::Ref(Heap::Def(number), nullable), depth);
            return Some(format!("(struct.get{sign} $t{number} {i} {object})"));
        }
        if self.o.c.chance(1, 4) {
            // Of one that was just made, mostly.
            let index = self.o.c.of(&[0, 0, 1, 2, 4]);
            let object = self.expr(Ty::Ref(Heap::Def(number), false), depth);
            return Some(format!(
                "(array.get{sign} $t{number} {object} (i32.const {index}))"
            ));
        }
        let (array, index, is_inside) = self.element(number, depth);
        let other = self.leaf(ty);
        Some(format!(
            "(if (result {ty}) {is_inside} \
             (then (array.get{sign} $t{number} (local.get {array}) (local.get {index}))) (else {other}))"
        ))
    }

    /// Locals for an array of this type and an index, and the condition that it is inside, which sets
    /// them.
    pub(super) fn element(&mut self, number: usize, depth: usize) -> (usize, usize, String) {
        let array = self.scratch(Ty::Ref(Heap::Def(number), true));
        let index = self.scratch(Ty::I32);
        let at = match self.o.c.chance(1, 3) {
            true => self.expr(Ty::I32, depth),
            false => format!("(i32.const {})", self.o.c.below(6)),
        };
        let object = self.expr(Ty::Ref(Heap::Def(number), false), depth);
        let mut text =
            format!("(i32.lt_u (local.tee {index} {at}) (array.len (local.tee {array} {object})))");
        if self.o.c.chance(1, 30) {
            text = format!("(i32.or {text} (i32.const 1))");
        }
        (array, index, text)
    }

    /// What is of this type among all that is there, by the kinds of casts.
    fn cast(&mut self, heap: Heap, depth: usize) -> Option<String> {
        if !matches!(heap, Heap::I31 | Heap::Struct | Heap::Array | Heap::Def(_)) {
            return None;
        }
        let ty = Ty::Ref(heap, true);
        let above = Ty::Ref(self.o.c.of(&[Heap::Any, Heap::Eq]), true);
        let value = self.expr(above, depth);
        let other = self.leaf(ty);
        Some(match self.o.c.below(10) {
            0..=3 => {
                let label = self.label();
                format!(
                    "(block {label} (result {ty}) \
                     (drop (br_on_cast {label} {above} {ty} {value})) {other})"
                )
            }
            4..=6 => {
                let (done, failed) = (self.label(), self.label());
                format!(
                    "(block {done} (result {ty}) (drop (block {failed} (result {above}) \
                     (br {done} (br_on_cast_fail {failed} {above} {ty} {value})))) {other})"
                )
            }
            7 | 8 => {
                let local = self.scratch(above);
                format!(
                    "(if (result {ty}) (ref.test {ty} (local.tee {local} {value})) \
                     (then (ref.cast {ty} (local.get {local}))) (else {other}))"
                )
            }
            _ if self.o.c.chance(1, 2) => format!("(ref.cast {ty} {value})"),
            _ => other,
        })
    }

    fn int(&mut self, depth: usize) -> Option<String> {
        let any = Ty::Ref(Heap::Any, true);
        let eq = Ty::Ref(Heap::Eq, true);
        match self.o.c.below(12) {
            0 | 1 => None,
            2 | 3 => {
                let op = self
                    .o
                    .c
                    .of(&["add", "sub", "xor", "and", "mul", "lt_s", "eq", "shr_u"]);
                let (a, b) = (self.expr(Ty::I32, depth), self.expr(Ty::I32, depth));
                Some(format!("(i32.{op} {a} {b})"))
            }
            4 => {
                let number = self.o.c.below(self.o.types.defs.len());
                let heap = self
                    .o
                    .c
                    .of(&[Heap::Def(number), Heap::Struct, Heap::Array, Heap::I31]);
                let ty = Ty::Ref(heap, self.o.c.chance(1, 2));
                let value = self.expr(any, depth);
                if !self.o.c.chance(1, 3) {
                    return Some(format!("(ref.test {ty} {value})"));
                }
                // Two of one value.
                let local = self.scratch(any);
                let number = self.o.c.below(self.o.types.defs.len());
                Some(format!(
                    "(i32.sub (ref.test {ty} (local.tee {local} {value})) \
                     (ref.test (ref $t{number}) (local.get {local})))"
                ))
            }
            5 => {
                let (a, b) = (self.expr(eq, depth), self.expr(eq, depth));
                Some(format!("(ref.eq {a} {b})"))
            }
            6 => {
                let heap = self
                    .o
                    .c
                    .of(&[Heap::Any, Heap::Extern, Heap::Func, Heap::Struct]);
                let value = self.expr(Ty::Ref(heap, true), depth);
                Some(format!("(ref.is_null {value})"))
            }
            7 => {
                let sign = self.o.c.of(&["s", "u"]);
                let value = self.expr(Ty::Ref(Heap::I31, false), depth);
                Some(format!("(i31.get_{sign} {value})"))
            }
            8 => self.call(Ty::I32, depth),
            9 => {
                let value = self.expr(Ty::Ref(Heap::Array, false), depth);
                Some(format!("(array.len {value})"))
            }
            _ => self.get(Ty::I32, depth),
        }
    }

    fn number(&mut self, ty: Ty, depth: usize) -> Option<String> {
        match self.o.c.below(8) {
            0 | 1 => None,
            2 => self.call(ty, depth),
            3 => {
                let value = self.expr(Ty::I32, depth);
                Some(match ty {
                    Ty::I64 => format!("(i64.extend_i32_s {value})"),
                    Ty::F32 => format!("(f32.convert_i32_s {value})"),
                    Ty::F64 => format!("(f64.convert_i32_u {value})"),
                    _ => format!("(i32x4.splat {value})"),
                })
            }
            4 => {
                let name = match ty {
                    Ty::V128 => "i64x2".to_owned(),
                    ty => ty.to_string(),
                };
                let (a, b) = (self.expr(ty, depth), self.expr(ty, depth));
                Some(format!("({name}.add {a} {b})"))
            }
            5 => self.handled(ty, depth),
            _ => self.get(ty, depth),
        }
    }

    /// A value, from where exceptions are caught.
    pub(super) fn handled(&mut self, ty: Ty, depth: usize) -> Option<String> {
        let (style, depth) = (self.o.exceptions, depth.checked_sub(1)?);
        if style == Exceptions::None {
            return None;
        }
        let tag = self.o.c.below(self.o.tags.len());
        let carried = self.o.tags[tag].clone();
        let count = 1 + self.o.c.below(3);
        let body = self.statements(count, depth);
        let body = format!("{body}{}", self.expr(ty, depth));
        // What the tag carries comes into locals.
        let sets: Vec<_> = carried.iter().map(|&ty| self.scratch(ty)).collect();
        let sets = sets.iter().rev().map(|i| format!("(local.set {i}) "));
        let sets = sets.collect::<String>();
        Some(match style {
            Exceptions::Legacy => self.legacy(ty, tag, &body, &sets, depth),
            _ => self.table(ty, tag, &body, &sets, depth),
        })
    }

    fn legacy(&mut self, ty: Ty, tag: usize, body: &str, sets: &str, depth: usize) -> String {
        let label = self.label();
        let other = self.expr(ty, depth);
        let rethrow = match self.o.c.chance(1, 4) {
            true => format!(
                "(if {} (then (rethrow {label})))",
                self.expr(Ty::I32, depth)
            ),
            false => String::new(),
        };
        // There is no folded form of these.
        let one = format!("catch $e{tag} {sets}{rethrow}{other}");
        let all = format!("catch_all {rethrow}{}", self.leaf(ty));
        let (body, clauses) = match self.o.c.below(4) {
            0 => (body.to_owned(), one),
            1 => (body.to_owned(), all),
            2 => (body.to_owned(), format!("{one} {all}")),
            _ => (
                format!("try (result {ty}) {body} delegate {label}"),
                format!("{one} {all}"),
            ),
        };
        format!("(block (result {ty}) try {label} (result {ty}) {body} {clauses} end)")
    }

    fn table(&mut self, ty: Ty, tag: usize, body: &str, sets: &str, depth: usize) -> String {
        let (done, catch) = (self.label(), self.label());
        let with_ref = self.o.c.chance(1, 2);
        let exception = self.scratch(Ty::Ref(Heap::Exn, true));
        let (mut results, mut clause) = (String::new(), "catch");
        let mut sets = sets.to_owned();
        let mut what = format!("$e{tag} ");
        if self.o.c.chance(1, 3) {
            (clause, what) = ("catch_all", String::new());
            sets.clear();
        } else {
            results = list("result", &self.o.tags[tag].clone());
        }
        let mut again = String::new();
        let mut suffix = "";
        if with_ref {
            suffix = "_ref";
            results.push_str(" (result (ref exn))");
            sets = format!("(local.set {exception}) {sets}");
            if self.o.c.chance(1, 3) {
                let condition = self.expr(Ty::I32, depth);
                again = format!("(if {condition} (then (throw_ref (local.get {exception}))))");
            }
        }
        let other = self.expr(ty, depth);
        format!(
            "(block {done} (result {ty}) (block {catch}{results} (br {done} \
             (try_table (result {ty}) ({clause}{suffix} {what}{catch}) {body}))) \
             {sets}{again}{other})"
        )
    }
}
