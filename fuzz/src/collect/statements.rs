//! Statements: what changes graphs of objects, and makes garbage.

use super::Exceptions;
use super::body::Body;
use super::types::{Heap, Storage, Ty};

impl Body<'_, '_> {
    pub(super) fn statements(&mut self, count: usize, depth: usize) -> String {
        let mut text = String::new();
        for _ in 0..count {
            if depth == 0 || self.o.c.is_at_end() {
                break;
            }
            text.push_str(&self.statement(depth - 1).unwrap_or_default());
        }
        text
    }

    fn statement(&mut self, depth: usize) -> Option<String> {
        Some(match self.o.c.below(24) {
            0 | 1 => {
                let local = self.o.c.below(self.locals.len());
                let value = self.expr(self.locals[local], depth);
                format!("(local.set {local} {value})\n")
            }
            2..=4 => {
                let globals = self.o.globals.iter().enumerate();
                let globals: Vec<_> = globals.filter(|(_, g)| g.1).map(|(i, _)| i).collect();
                let global = self.o.c.of(&globals);
                let value = self.expr(self.o.globals[global].0, depth);
                format!("(global.set $g{global} {value})\n")
            }
            5 => {
                let place = self.o.c.below(super::TABLE);
                let (table, heap) = self.o.c.of(&[("any", Heap::Any), ("first", Heap::Def(0))]);
                let value = self.expr(Ty::Ref(heap, true), depth);
                format!("(table.set ${table} (i32.const {place}) {value})\n")
            }
            6..=9 => self.write(depth)?,
            10 => {
                let heap = self.o.c.of(&[Heap::Any, Heap::Def(0), Heap::Array]);
                format!("(drop {})\n", self.expr(Ty::Ref(heap, true), depth))
            }
            11 => {
                let condition = self.expr(Ty::I32, depth);
                let (yes, no) = (self.statements(2, depth), self.statements(1, depth));
                format!("(if {condition} (then {yes}) (else {no}))\n")
            }
            12 | 13 => self.repeat(depth)?,
            14 | 15 => self.churn()?,
            16 => self.large()?,
            17 => {
                let heap = self.o.c.of(&[Heap::Any, Heap::Def(0)]);
                format!("(drop {})\n", self.handled(Ty::Ref(heap, true), depth)?)
            }
            18 => self.throw(depth)?,
            19 => self.bulk(depth)?,
            20 => self.table_bulk(depth),
            21 => self.many_results(depth)?,
            22 => self.leave(depth)?,
            _ => {
                let number = self.o.c.below(self.o.functions.len());
                if self.is_leaf || self.o.functions[number].results.len() != 1 {
                    return None;
                }
                format!("(drop {})\n", self.call_of(number, "call", depth))
            }
        })
    }

    /// A field or an element that is written.
    fn write(&mut self, depth: usize) -> Option<String> {
        let types = &self.o.types;
        let mut all = Vec::new();
        for number in 0..types.defs.len() {
            for (i, field) in types.fields(number).iter().enumerate() {
                if field.mutable {
                    all.push((number, i, field.ty()));
                }
            }
        }
        // There always are: the first types have some.
        let (number, i, ty) = self.o.c.of(&all);
        if self.o.types.is_struct(number) && self.o.c.chance(1, 4) {
            return Some(self.aliases(number, i, ty, depth));
        }
        if self.o.types.is_struct(number) {
            let object = self.expr(Ty::Ref(Heap::Def(number), false), depth);
            let value = self.expr(ty, depth);
            return Some(format!("(struct.set $t{number} {i} {object} {value})\n"));
        }
        let (array, index, is_inside) = self.element(number, depth);
        let value = self.expr(ty, depth);
        Some(format!(
            "(if {is_inside} (then (array.set $t{number} (local.get {array}) (local.get {index}) \
             {value})))\n"
        ))
    }

    /// A field that is written by two names of what may be one object, and read.
    fn aliases(&mut self, number: usize, field: usize, ty: Ty, depth: usize) -> String {
        let below = self.o.types.below(Heap::Def(number));
        let other = self.o.c.of(&below);
        let (a_type, b_type) = (Heap::Def(number), Heap::Def(other));
        let a = self.scratch(Ty::Ref(a_type, true));
        let b = self.scratch(Ty::Ref(b_type, true));
        let read = self.scratch(match ty {
            Ty::Ref(heap, _) => Ty::Ref(heap, true),
            ty => ty,
        });
        let (object, different) = (
            self.expr(Ty::Ref(b_type, false), depth),
            self.expr(Ty::Ref(a_type, false), depth),
        );
        let condition = self.expr(Ty::I32, depth);
        let (first, second) = (self.expr(ty, depth), self.expr(ty, depth));
        let between = self.statements(1, depth);
        let sign = match self.o.types.fields(number)[field].storage.is_packed() {
            true => "_s",
            false => "",
        };
        format!(
            "(local.set {b} {object})\n\
             (local.set {a} (select (result (ref null {a_type})) (local.get {b}) {different} {condition}))\n\
             (if (ref.is_null (local.get {a})) (then (local.set {a} {different})))\n\
             (struct.set {a_type} {field} (ref.as_non_null (local.get {a})) {first})\n\
             {between}\
             (if (i32.eqz (ref.is_null (local.get {b}))) (then\n\
             (struct.set {b_type} {field} (local.get {b}) {second})\n\
             (if (i32.eqz (ref.is_null (local.get {a}))) (then\n\
             (local.set {read} (struct.get{sign} {a_type} {field} (local.get {a})))))))\n"
        )
    }

    /// What a loop does so often, or until there is no more fuel.
    fn counted(&mut self, times: usize, fuel: usize, body: &str) -> String {
        let (count, label) = (self.scratch(Ty::I32), self.label());
        format!(
            "(local.set {count} (i32.const {times}))\n\
             (loop {label}\n{body}\
             (global.set $fuel (i32.sub (global.get $fuel) (i32.const {fuel})))\n\
             (br_if {label} (i32.and (i32.gt_s (global.get $fuel) (i32.const 0))\n\
             (i32.gt_s (local.tee {count} (i32.sub (local.get {count}) (i32.const 1))) (i32.const 0)))))\n"
        )
    }

    fn repeat(&mut self, depth: usize) -> Option<String> {
        if self.is_leaf {
            return None;
        }
        self.loops += 1;
        let count = 1 + self.o.c.below(4);
        let body = self.statements(count, depth);
        self.loops -= 1;
        let times = self.o.c.of(&[2, 5, 20, 60]);
        Some(self.counted(times, 4, &body))
    }

    /// Many small objects of which some stay.
    fn churn(&mut self) -> Option<String> {
        if self.is_leaf {
            return None;
        }
        let kept = self.scratch(Ty::Ref(Heap::Def(0), true));
        let value = self.leaf(Ty::Ref(Heap::Any, true));
        let link = match self.o.c.chance(1, 2) {
            true => format!("(local.get {kept})"),
            false => self.leaf(Ty::Ref(Heap::Def(0), true)),
        };
        let number = self.o.c.number();
        let body =
            format!("(local.set {kept} (struct.new $t0 {value} {link} (i32.const {number})))\n");
        let (times, fuel) = match self.loops {
            0 => self.o.c.of(&[(40, 1), (200, 1), (4000, 0)]),
            _ => (20, 1),
        };
        let text = self.counted(times, fuel, &body);
        Some(format!(
            "(global.set $fuel (i32.sub (global.get $fuel) (i32.const {})))\n{text}\
             (global.set $g1 (local.get {kept}))\n",
            times / 10
        ))
    }

    /// An array that is too large for the nursery.
    fn large(&mut self) -> Option<String> {
        if self.is_leaf || self.loops > 0 {
            return None;
        }
        let arrays = self.o.types.below(Heap::Array);
        let number = self.o.c.of(&arrays);
        let element = self.o.types.fields(number)[0];
        let value = self.leaf(element.ty());
        let length = self.o.c.of(&[600, 3000, 20_000]);
        Some(format!(
            "(global.set $fuel (i32.sub (global.get $fuel) (i32.const 200)))\n\
             (global.set $g0 (array.new $t{number} {value} (i32.const {length})))\n"
        ))
    }

    fn throw(&mut self, depth: usize) -> Option<String> {
        if self.o.exceptions == Exceptions::None {
            return None;
        }
        let condition = self.expr(Ty::I32, depth);
        let exceptions: Vec<_> = (0..self.locals.len())
            .filter(|&i| self.locals[i] == Ty::Ref(Heap::Exn, true))
            .collect();
        if !exceptions.is_empty() && self.o.c.chance(1, 3) {
            let local = self.o.c.of(&exceptions);
            return Some(format!(
                "(if (i32.and {condition} (i32.eqz (ref.is_null (local.get {local})))) \
                 (then (throw_ref (local.get {local}))))\n"
            ));
        }
        let tag = self.o.c.below(self.o.tags.len());
        let carried = self.o.tags[tag].clone();
        let values: Vec<_> = carried.iter().map(|&ty| self.expr(ty, depth)).collect();
        let values = values.join(" ");
        Some(format!(
            "(if {condition} (then (throw $e{tag} {values})))\n"
        ))
    }

    /// The instructions for many elements.
    fn bulk(&mut self, depth: usize) -> Option<String> {
        let types = &self.o.types;
        let arrays = types.below(Heap::Array);
        let arrays = arrays
            .into_iter()
            .filter(|&number| types.fields(number)[0].mutable);
        let arrays: Vec<_> = arrays.collect();
        let number = self.o.c.of(&arrays);
        let element = self.o.types.fields(number)[0];
        let ty = Ty::Ref(Heap::Def(number), true);
        let (a, b) = (self.scratch(ty), self.scratch(ty));
        let to = self.o.c.below(4);
        let (from, count) = (self.o.c.below(4), self.o.c.below(5));
        let object = Ty::Ref(Heap::Def(number), false);
        let set_a = format!("(local.set {a} {})\n", self.expr(object, depth));
        let fits = |local: usize, from: usize| {
            format!(
                "(i32.le_u (i32.const {}) (array.len (local.get {local})))",
                from + count
            )
        };
        let is_number = !matches!(element.storage, Storage::Value(Ty::Ref(..)));
        let n = format!("(i32.const {count})");
        Some(match self.o.c.below(4) {
            0 | 1 => {
                let set_b = match self.o.c.chance(1, 3) {
                    true => format!("(local.set {b} (local.get {a}))\n"),
                    false => format!("(local.set {b} {})\n", self.expr(object, depth)),
                };
                format!(
                    "{set_a}{set_b}(if (i32.and {} {}) (then (array.copy $t{number} $t{number} \
                     (local.get {a}) (i32.const {to}) (local.get {b}) (i32.const {from}) {n})))\n",
                    fits(a, to),
                    fits(b, from)
                )
            }
            2 => {
                let value = self.expr(element.ty(), depth);
                format!(
                    "{set_a}(if {} (then (array.fill $t{number} (local.get {a}) (i32.const {to}) \
                     {value} {n})))\n",
                    fits(a, to)
                )
            }
            _ if is_number => format!(
                "{set_a}(if {} (then (array.init_data $t{number} $bytes (local.get {a}) \
                 (i32.const {to}) (i32.const {from}) {n})))\n",
                fits(a, to)
            ),
            _ if element.ty() == Ty::Ref(Heap::Any, true) => format!(
                "{set_a}(if {} (then (array.init_elem $t{number} $items (local.get {a}) \
                 (i32.const {to}) (i32.const 0) (i32.const {}))))\n",
                fits(a, to),
                count.min(2)
            ),
            _ => return None,
        })
    }

    fn table_bulk(&mut self, depth: usize) -> String {
        let (to, from, count) = (self.o.c.below(6), self.o.c.below(6), self.o.c.below(3));
        let range = format!("(i32.const {count})");
        let (to, from) = (format!("(i32.const {to})"), format!("(i32.const {from})"));
        match self.o.c.below(4) {
            0 => {
                let value = self.expr(Ty::Ref(Heap::Any, true), depth);
                format!("(drop (table.grow $any {value} {range}))\n")
            }
            1 => {
                let value = self.expr(Ty::Ref(Heap::Any, true), depth);
                format!("(table.fill $any {to} {value} {range})\n")
            }
            2 => format!("(table.copy $any $any {to} {from} {range})\n"),
            _ => format!("(table.copy $any $first {to} {from} {range})\n"),
        }
    }

    /// A call whose results come into locals.
    fn many_results(&mut self, depth: usize) -> Option<String> {
        let many = |f: &usize| self.o.functions[*f].results.len() > 1;
        let all: Vec<_> = (0..self.o.functions.len()).filter(many).collect();
        if all.is_empty() || self.is_leaf {
            return None;
        }
        let number = self.o.c.of(&all);
        let mut text = self.call_of(number, "call", depth);
        for ty in self.o.functions[number].results.clone().into_iter().rev() {
            text.push_str(&format!(" (local.set {})", self.scratch(ty)));
        }
        text.push('\n');
        Some(text)
    }

    /// A return before the end, or a call in its place.
    fn leave(&mut self, depth: usize) -> Option<String> {
        let condition = self.expr(Ty::I32, depth);
        let results = self.results();
        let same = |f: &usize| self.o.functions[*f].results == results;
        let same: Vec<_> = (0..self.o.functions.len()).filter(same).collect();
        let leave = match self.o.c.chance(1, 2) && !self.is_leaf && !same.is_empty() {
            true => {
                let number = self.o.c.of(&same);
                self.call_of(number, "return_call", depth)
            }
            false => {
                let values: Vec<_> = results.iter().map(|&ty| self.expr(ty, depth)).collect();
                format!("(return {})", values.join(" "))
            }
        };
        Some(format!("(if {condition} (then {leave}))\n"))
    }
}
