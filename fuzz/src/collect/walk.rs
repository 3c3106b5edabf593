//! The function that sums up what can be reached, by casts to each of the program's types.

use super::types::{Field, Heap, Storage, Ty};
use super::{Outline, TABLE};

/// How deep it goes, and how many objects it looks at.
const DEPTH: usize = 6;
const OBJECTS: usize = 600;

/// What a value adds to the sum.
fn summand(ty: Ty, value: &str) -> String {
    match ty {
        Ty::I32 => format!("(i64.extend_i32_u {value})"),
        Ty::I64 => value.to_owned(),
        Ty::F32 => format!("(i64.extend_i32_u (i32.reinterpret_f32 {value}))"),
        Ty::F64 => format!("(i64.reinterpret_f64 {value})"),
        Ty::V128 => format!("(i64x2.extract_lane 1 {value})"),
        Ty::Ref(Heap::Func | Heap::Exn, _) => {
            format!("(i64.extend_i32_u (ref.is_null {value}))")
        }
        Ty::Ref(Heap::Extern, _) => {
            format!("(call $walk (any.convert_extern {value}) (local.get $less))")
        }
        Ty::Ref(..) => format!("(call $walk {value} (local.get $less))"),
    }
}

fn get(what: &str, field: &Field, operands: &str) -> String {
    let sign = match field.storage {
        Storage::I8 => "_s",
        Storage::I16 => "_u",
        Storage::Value(_) => "",
    };
    format!("({what}.get{sign} {operands})")
}

fn add(value: &str) -> String {
    format!("(local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 31)) {value}))\n")
}

/// `$walk` and the export that sums up everything.
pub(super) fn functions(outline: &Outline<'_>) -> String {
    let types = &outline.types;
    let mut locals = String::new();
    let mut cases = String::new();
    // Those further down have greater numbers.
    for number in (0..types.defs.len()).rev() {
        locals.push_str(&format!(" (local $v{number} (ref null $t{number}))"));
        let mut sum = format!(
            "(local.set $v{number} (ref.cast (ref $t{number}) (local.get $v)))\n\
             (local.set $sum (i64.const {}))\n",
            number + 10
        );
        let object = format!("(local.get $v{number})");
        let fields = types.fields(number);
        if types.is_struct(number) {
            for (i, field) in fields.iter().enumerate() {
                let value = get("struct", field, &format!("$t{number} {i} {object}"));
                sum.push_str(&add(&summand(field.ty(), &value)));
            }
        } else {
            sum.push_str(&add(&format!("(i64.extend_i32_u (array.len {object}))")));
            for i in 0..3 {
                let value = get(
                    "array",
                    &fields[0],
                    &format!("$t{number} {object} (i32.const {i})"),
                );
                sum.push_str(&format!(
                    "(if (i32.gt_u (array.len {object}) (i32.const {i})) (then {}))\n",
                    add(&summand(fields[0].ty(), &value))
                ));
            }
        }
        cases.push_str(&format!(
            "(if (ref.test (ref $t{number}) (local.get $v)) (then\n{sum}(return (local.get $sum))))\n"
        ));
    }
    let walk = format!(
        "(func $walk (param $v anyref) (param $depth i32) (result i64)\n\
         (local $sum i64) (local $less i32){locals}\n\
         (if (ref.is_null (local.get $v)) (then (return (i64.const 1))))\n\
         (if (i32.eqz (local.get $depth)) (then (return (i64.const 2))))\n\
         (if (i32.lt_s (global.get $budget) (i32.const 0)) (then (return (i64.const 3))))\n\
         (global.set $budget (i32.sub (global.get $budget) (i32.const 1)))\n\
         (local.set $less (i32.sub (local.get $depth) (i32.const 1)))\n\
         (if (ref.test (ref i31) (local.get $v)) (then (return (i64.extend_i32_s\n\
         (i31.get_s (ref.cast (ref i31) (local.get $v)))))))\n\
         {cases}(i64.const 4))\n"
    );
    let mut all = String::new();
    for (number, &(ty, _)) in outline.globals.iter().enumerate() {
        all.push_str(&add(&summand(ty, &format!("(global.get $g{number})"))));
    }
    for i in 0..TABLE {
        for table in ["any", "first"] {
            let value = format!("(table.get ${table} (i32.const {i}))");
            all.push_str(&add(&summand(Ty::Ref(Heap::Any, true), &value)));
        }
    }
    format!(
        "{walk}(func (export \"sum\") (result i64) (local $sum i64) (local $less i32)\n\
         (global.set $budget (i32.const {OBJECTS}))\n\
         (local.set $less (i32.const {DEPTH}))\n{all}(local.get $sum))\n"
    )
}
