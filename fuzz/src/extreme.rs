//! Modules of extreme shapes: deeper, longer and wider than any generator of instructions makes
//! them by chance. A compiler that recurses or is quadratic does not survive them.

use arbitrary::{Result, Unstructured};
use std::fmt::Write;

/// The text of such a module.
///
/// # Errors
/// If the bytes are none.
pub fn text(u: &mut Unstructured<'_>) -> Result<String> {
    let most = *u.choose(&[20, 20, 50, 50, 50, 200, 500, 3000])?;
    let n: usize = u.int_in_range(1..=most)?;
    let mut body = String::new();
    let mut out =
        String::from("(module (memory 1) (table 4 funcref) (global $g (mut i32) (i32.const 1))\n");
    let mut ty = "(param i32) (result i32)".to_owned();
    let mut locals = "(local i32 i64 f64)".to_owned();
    match u.int_in_range(0..=15)? {
        0 => nest(&mut body, n, "block (result i32)", "br_if 0", "end"),
        1 => nest(
            &mut body,
            n,
            "loop (result i32)",
            "i32.const 1 i32.add",
            "end",
        ),
        2 => {
            body.push_str("local.get 0 ");
            body.push_str(&"if (result i32) local.get 0 ".repeat(n));
            body.push_str(&"else local.get 0 end ".repeat(n));
        }
        3 => {
            // Out of all blocks from the middle of them.
            body.push_str(&"block ".repeat(n));
            body.push_str("local.get 0 br_table");
            for i in 0..n {
                let _ = write!(body, " {i}");
            }
            body.push_str(" 0 ");
            body.push_str(&"end local.get 0 i32.const 1 i32.add local.set 0 ".repeat(n));
            body.push_str("local.get 0");
        }
        4 => {
            body.push_str(&"local.get 0 ".repeat(n));
            body.push_str(&"i32.xor ".repeat(n - 1));
        }
        5 => {
            body.push_str("local.get 0 ");
            body.push_str(&"i32.const 7 i32.mul local.get 0 i32.rotl ".repeat(n));
        }
        6 => {
            locals = format!("(local {})", "i64 ".repeat(n));
            for i in 1..n {
                let _ = write!(
                    body,
                    "local.get {i} i64.const {i} i64.add local.set {} ",
                    i + 1
                );
            }
            let _ = write!(
                body,
                "block loop local.get 0 br_if 1 local.get 1 local.set {n} br 0 end end "
            );
            for i in 1..=n {
                let _ = write!(body, "local.get {i} ");
            }
            body.push_str(&"i64.add ".repeat(n - 1));
            body.push_str("i32.wrap_i64");
        }
        7 => {
            let n = n.min(990);
            ty = format!("(param i32 {}) (result i32)", "i64 f32 ".repeat(n / 2));
            for i in 0..n / 2 {
                let _ = write!(body, "local.get {} drop ", i + 1);
            }
            body.push_str("local.get 0");
            let results = n.clamp(2, 900);
            let list = "i32 ".repeat(results);
            let _ = write!(out, "(func $wide (param i32) (result {list}) ");
            out.push_str(&"local.get 0 ".repeat(results));
            out.push_str(")\n(func (export \"w\") (result i32) (call $wide (i32.const 1)) ");
            out.push_str(&"i32.add ".repeat(results - 1));
            out.push_str(")\n");
        }
        8 => {
            body.push_str("local.get 0 ");
            body.push_str(&"call $f2 ".repeat(n));
        }
        9 => {
            for i in 0..n {
                let _ = write!(
                    body,
                    "local.get 0 local.get 0 i32.load offset={i} i32.store "
                );
            }
            body.push_str("local.get 0");
        }
        10 => {
            // A ladder of conditions, with a variable that changes in all of them.
            let step = "local.get 0 i32.const 1 i32.and if local.get 0 i32.const 1 i32.shr_u local.set 0 else local.get 0 i32.const 3 i32.mul local.set 0 end ";
            body.push_str(&step.repeat(n));
            body.push_str("local.get 0");
        }
        11 => {
            // Loops inside of loops, each of which goes back.
            body.push_str(&"loop ".repeat(n));
            body.push_str(&"local.get 0 i32.const 1 i32.sub local.tee 0 br_if 0 end ".repeat(n));
            body.push_str("local.get 0");
        }
        12 => {
            // Each loop may go back to any that it is in.
            let n = n.min(400);
            body.push_str(&"loop ".repeat(n));
            for i in 0..n {
                let _ = write!(
                    body,
                    "local.get 0 i32.const {i} i32.eq br_if {} ",
                    n - 1 - i
                );
            }
            body.push_str(&"end ".repeat(n));
            body.push_str("local.get 0");
        }
        13 => {
            body.push_str(&"unreachable block ".repeat(n));
            body.push_str(&"end ".repeat(n));
            body.push_str("i32.add");
        }
        14 => {
            locals.push_str("(local v128)");
            body.push_str("local.get 4 ");
            body.push_str(&"local.get 4 i8x16.swizzle f32x4.nearest local.get 4 i8x16.shuffle 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 31 ".repeat(n));
            body.push_str("i32x4.extract_lane 0");
        }
        _ => {
            body.push_str("local.get 0 ");
            let step = "local.get 0 i32.div_s i64.extend_i32_s i64.const 3 i64.rem_u f64.convert_i64_u i32.trunc_f64_s ";
            body.push_str(&step.repeat(n));
        }
    }
    let _ = writeln!(out, "(func $f (export \"f\") {ty} {locals} {body})");
    out.push_str("(func $f2 (param i32) (result i32) (i32.add (local.get 0) (global.get $g))))");
    Ok(out)
}

fn nest(body: &mut String, n: usize, open: &str, inside: &str, close: &str) {
    for _ in 0..n {
        let _ = write!(body, "{open} ");
    }
    body.push_str("local.get 0 ");
    for _ in 0..n {
        let _ = match inside.starts_with("br") {
            true => write!(body, "local.get 0 {inside} {close} "),
            false => write!(body, "{inside} {close} "),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shapes_are_valid() {
        let mut seen = 0;
        for seed in 0..60 {
            let input = crate::source::input(seed);
            let text = text(&mut Unstructured::new(&input)).unwrap();
            let module = bimetal_wasm::Module::from_text(&text, &Default::default());
            if let Err(error) = module {
                panic!("{error}\n{}", &text[..text.len().min(2000)]);
            }
            seen += 1;
        }
        assert_eq!(seen, 60);
    }
}
