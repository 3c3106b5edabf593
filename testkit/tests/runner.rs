//! The runner of scripts tells right from wrong: each script here says how many of its directives
//! hold, and at which lines the others stand.

use bimetal::Config;
use bimetal_testkit::{Report, RunConfig, run_wast};

fn run(script: &str) -> Report {
    let config = RunConfig::new(&Config::new()).unwrap();
    run_wast("script.wast", script, &config)
}

/// Runs a script of which every line that ends with `;; BAD` begins a directive that must fail,
/// and nothing else may.
#[track_caller]
fn check(script: &str) {
    let report = run(script);
    let failed: Vec<usize> = report.failures.iter().map(|f| f.line).collect();
    let expected: Vec<usize> = script
        .lines()
        .enumerate()
        .filter(|(_, line)| line.ends_with(";; BAD"))
        .map(|(i, _)| i + 1)
        .collect();
    assert_eq!(failed, expected, "{report}");
}

#[test]
fn results() {
    check(
        r#"
        (module
          (func (export "i32") (result i32) (i32.const -1))
          (func (export "i64") (result i64) (i64.const 5))
          (func (export "f32") (param f32) (result f32) (local.get 0))
          (func (export "f64") (param f64) (result f64) (local.get 0))
          (func (export "v128") (param v128) (result v128) (local.get 0))
          (func (export "pair") (result i32 i64) (i32.const 1) (i64.const 2))
          (func (export "none"))
          (global (export "global") i32 (i32.const 3)))
        (assert_return (invoke "i32") (i32.const 0xffffffff))
        (assert_return (invoke "i32") (i32.const 1)) ;; BAD
        (assert_return (invoke "i32") (i64.const -1)) ;; BAD
        (assert_return (invoke "i32")) ;; BAD
        (assert_return (invoke "i64") (i64.const 5))
        (assert_return (invoke "i64") (i64.const 6)) ;; BAD
        (assert_return (invoke "f32" (f32.const nan)) (f32.const nan:canonical))
        (assert_return (invoke "f32" (f32.const -nan)) (f32.const nan:canonical))
        (assert_return (invoke "f32" (f32.const nan:0x200000)) (f32.const nan:arithmetic)) ;; BAD
        (assert_return (invoke "f32" (f32.const nan:0x400001)) (f32.const nan:arithmetic))
        (assert_return (invoke "f32" (f32.const nan:0x400001)) (f32.const nan:canonical)) ;; BAD
        (assert_return (invoke "f32" (f32.const 0)) (f32.const -0)) ;; BAD
        (assert_return (invoke "f64" (f64.const nan)) (f64.const nan:canonical))
        (assert_return (invoke "f64" (f64.const 1)) (f64.const nan:canonical)) ;; BAD
        (assert_return (invoke "v128" (v128.const i32x4 1 2 3 4)) (v128.const i32x4 1 2 3 4))
        (assert_return (invoke "v128" (v128.const i32x4 1 2 3 4)) (v128.const i32x4 1 2 3 5)) ;; BAD
        (assert_return (invoke "v128" (v128.const f32x4 1 nan nan 4)) (v128.const f32x4 1 nan:canonical nan:arithmetic 4))
        (assert_return (invoke "v128" (v128.const f32x4 1 0 0 4)) (v128.const f32x4 1 nan:canonical 0 4)) ;; BAD
        (assert_return (invoke "pair") (i32.const 1) (i64.const 2))
        (assert_return (invoke "pair") (i32.const 1)) ;; BAD
        (assert_return (invoke "pair") (i32.const 1) (i64.const 3)) ;; BAD
        (assert_return (invoke "none"))
        (assert_return (invoke "i32") (either (i32.const 1) (i32.const -1)))
        (assert_return (invoke "i32") (either (i32.const 1) (i32.const 2))) ;; BAD
        (assert_return (get "global") (i32.const 3))
        (assert_return (get "global") (i32.const 4)) ;; BAD
        (assert_return (get "i32") (i32.const 4)) ;; BAD
        (assert_return (invoke "global")) ;; BAD
        (assert_return (invoke "nobody")) ;; BAD
        (invoke "i32" (i32.const 1)) ;; BAD
        "#,
    );
}

#[test]
fn references() {
    check(
        r#"
        (module
          (func $f (export "func") (result funcref) (ref.func $f))
          (func (export "null") (result funcref) (ref.null func))
          (func (export "extern") (param externref) (result externref) (local.get 0)))
        (assert_return (invoke "func") (ref.func))
        (assert_return (invoke "func") (ref.null func)) ;; BAD
        (assert_return (invoke "null") (ref.null func))
        (assert_return (invoke "null") (ref.func)) ;; BAD
        (assert_return (invoke "null") (ref.null extern)) ;; BAD
        (assert_return (invoke "extern" (ref.extern 7)) (ref.extern 7))
        (assert_return (invoke "extern" (ref.extern 7)) (ref.extern 8)) ;; BAD
        (assert_return (invoke "extern" (ref.extern 7)) (ref.null extern)) ;; BAD
        (assert_return (invoke "extern" (ref.null extern)) (ref.null extern))
        (assert_return (invoke "extern" (ref.null extern)) (ref.extern 0)) ;; BAD
        (assert_return (invoke "extern" (ref.null func))) ;; BAD
        (assert_return (invoke "extern" (ref.host 7)) (ref.extern 7)) ;; BAD
        "#,
    );
}

#[test]
fn traps() {
    check(
        r#"
        (module
          (func (export "unreachable") unreachable)
          (func (export "div") (param i32) (result i32) (i32.div_u (i32.const 1) (local.get 0)))
          (func $forever (export "forever") (call $forever) (call $forever)))
        (assert_trap (invoke "unreachable") "unreachable")
        (assert_trap (invoke "unreachable") "integer divide by zero") ;; BAD
        (assert_trap (invoke "div" (i32.const 0)) "integer divide by zero")
        (assert_trap (invoke "div" (i32.const 1)) "integer divide by zero") ;; BAD
        (assert_trap (invoke "nobody") "unreachable") ;; BAD
        (assert_trap (invoke "div") "unreachable") ;; BAD
        (assert_return (invoke "unreachable")) ;; BAD
        (invoke "unreachable") ;; BAD
        (assert_exhaustion (invoke "forever") "call stack exhausted")
        (assert_exhaustion (invoke "unreachable") "call stack exhausted") ;; BAD
        (assert_trap (module (func $f unreachable) (start $f)) "unreachable")
        (assert_trap (module (func $f) (start $f)) "unreachable") ;; BAD
        (assert_trap (module (memory 1) (data (i32.const 65536) "x")) "out of bounds memory access")
        (assert_exception (invoke "unreachable")) ;; BAD
        "#,
    );
}

#[test]
fn refusals() {
    check(
        r#"
        (assert_invalid (module (func (result i32))) "type mismatch")
        (assert_invalid (module (func)) "type mismatch") ;; BAD
        (assert_malformed (module quote "(func") "unexpected token")
        (assert_malformed (module quote "(func)") "unexpected token") ;; BAD
        (assert_malformed (module binary "") "unexpected end")
        (assert_malformed (module binary "\00asm\01\00\00\00\00") "unexpected end")
        (assert_malformed (module binary "\00asm\01\00\00\00") "unexpected end") ;; BAD
        (assert_malformed (module quote "\ff") "malformed UTF-8 encoding")
        (assert_unlinkable (module (import "spectest" "none" (func))) "unknown import")
        (assert_unlinkable (module (import "spectest" "none" (func))) "incompatible import type") ;; BAD
        (assert_unlinkable (module (import "spectest" "print" (func (param i32)))) "incompatible import type")
        (assert_unlinkable (module (import "spectest" "print" (func))) "unknown import") ;; BAD
        (assert_unlinkable (module (func $f unreachable) (start $f)) "unknown import") ;; BAD
        (module quote "(func)")
        (module quote "(func") ;; BAD
        (module binary "\00asm\02\00\00\00") ;; BAD
        "#,
    );
}

#[test]
fn instances() {
    check(
        r#"
        (module $a (func (export "f") (result i32) (i32.const 1)))
        (module $b (func (export "f") (result i32) (i32.const 2)))
        (assert_return (invoke "f") (i32.const 2))
        (assert_return (invoke $a "f") (i32.const 1))
        (assert_return (invoke $c "f") (i32.const 1)) ;; BAD
        (register "a" $a)
        (register "c" $c) ;; BAD
        (module (import "a" "f" (func $f (result i32))) (func (export "g") (result i32) (call $f)))
        (assert_return (invoke "g") (i32.const 1))
        (module (import "c" "f" (func))) ;; BAD
        (assert_return (invoke "g") (i32.const 1)) ;; BAD
        (module definition $d (global (export "n") (mut i32) (i32.const 0))
          (func (export "up") (result i32)
            (global.set 0 (i32.add (global.get 0) (i32.const 1))) (global.get 0)))
        (module instance $d1 $d)
        (module instance $d2 $d)
        (module instance $d3 $none) ;; BAD
        (assert_return (invoke $d1 "up") (i32.const 1))
        (assert_return (invoke $d1 "up") (i32.const 2))
        (assert_return (invoke $d2 "up") (i32.const 1))
        "#,
    );
}

#[test]
fn what_is_not_supported_fails() {
    check(
        r#"
        (module $m (func (export "f")))
        (thread $t (shared (module $m)) (invoke "f")) ;; BAD
        (wait $t) ;; BAD
        (assert_suspension (invoke $m "f") "unhandled") ;; BAD
        "#,
    );
    let report = run("(module (func (");
    assert_eq!((report.passed, report.failures.len()), (0, 1), "{report}");
    let report = run("\n  (module) (oops)");
    assert_eq!((report.failures[0].line, report.passed), (2, 0), "{report}");
}
