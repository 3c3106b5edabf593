//! Summaries and the text format.

use bimetal_wasm::inspect::Summary;
use bimetal_wasm::text::{self, PrintOptions};
use bimetal_wasm::{EntityIndex, ErrorKind, Features, FuncIndex, Module};
use expect_test::{Expect, expect};

fn module(text: &str) -> Module {
    Module::new(text, &Features::default()).unwrap()
}

fn check_summary(text: &str, expected: Expect) {
    expected.assert_eq(&Summary::new(&module(text), 2).to_string());
}

fn check_features(text: &str, expected: &[&str]) {
    assert_eq!(Summary::new(&module(text), 0).features, expected, "{text}");
}

#[test]
fn summary_reads_well() {
    check_summary(
        r#"(module $demo
            (import "env" "log" (func $log (param i32 f64) (result i64)))
            (import "env" "counter" (global (mut i32)))
            (memory (export "memory") 1 4)
            (table 2 funcref)
            (elem (i32.const 0) $log $run)
            (func $run (export "run") (drop (i32.const 1)))
            (func $noop)
            (start $noop)
            (data (i32.const 0) "abc")
            (@custom "note" "hello"))"#,
        expect![[r#"
            module "demo"
            164 bytes

            sections                      offset        size     items
              type                           0xa          10         2
              import                        0x16          26         2
              function                      0x32           3         2
              table                         0x37           4         1
              memory                        0x3d           4         1
              export                        0x43          16         2
              start                         0x55           1
              element                       0x58           8         1
              code                          0x62          10         2
              data                          0x6e           9         1
              custom "note"                 0x79          10
              custom "name"                 0x85          31

            features
              mutable-globals

            imports
              "env" "log" (func (param i32 f64) (result i64))
              "env" "counter" (global (mut i32))

            exports
              "memory" (memory 1 4)
              "run" (func)

            memories
              1 4

            tables
              2 funcref

            start
              noop

            counts
              2 types
              3 functions, 1 imported
              2 function references
              1 globals
              1 element segments, 2 elements
              1 data segments, 3 bytes
              7 bytes of code

            largest functions
                      5      0x64 run
                      2      0x6a noop
        "#]],
    );
}

#[test]
fn summary_serialises() {
    let summary = Summary::new(&module(r#"(module (func (export "f") (param i32)))"#), 1);
    let json = serde_json::to_value(&summary).unwrap();
    assert_eq!(json["exports"][0]["type"], "(func (param i32))");
    assert_eq!(json["counts"]["functions"], 1);
    assert_eq!(json["largest_functions"][0]["name"], "f");
    assert_eq!(json["sections"][0]["name"], "type");
}

#[test]
fn features_used() {
    check_features("(module (func (param i32)))", &[]);
    check_features("(module (func (param v128)))", &["simd128"]);
    check_features(
        "(module (func (drop (i32x4.splat (i32.const 1)))))",
        &["simd128"],
    );
    check_features("(module (func (local v128)))", &["simd128"]);
    check_features(
        "(module (func (result i32 i32) unreachable))",
        &["multivalue"],
    );
    check_features(
        "(module (func i32.const 1 (block (param i32) drop)))",
        &["multivalue"],
    );
    check_features("(module (func (param externref)))", &["reference-types"]);
    check_features("(module (table 1 funcref))", &[]);
    check_features(
        "(module (table 1 funcref) (table 1 funcref))",
        &["reference-types"],
    );
    check_features(
        "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 0))))",
        &["bulk-memory"],
    );
    check_features("(module (memory 1) (data \"x\"))", &["bulk-memory"]);
    check_features("(module (memory 1) (memory 1))", &["multimemory"]);
    check_features(
        "(module (func (drop (i32.extend8_s (i32.const 1)))
            (drop (i32.trunc_sat_f32_s (f32.const 1)))))",
        &["sign-ext", "nontrapping-fptoint"],
    );
    check_features(
        "(module (global i32 (i32.mul (i32.const 2) (i32.const 3))))",
        &["extended-const"],
    );
    check_features(
        "(module (global (export \"g\") (mut i32) (i32.const 0)))",
        &["mutable-globals"],
    );
}

#[test]
fn types_are_written_as_in_text() {
    let m = module(
        r#"(module
            (import "a" "f" (func (param i32 i64) (result f32 externref)))
            (import "a" "e" (func))
            (import "a" "m" (memory 1))
            (import "a" "t" (table 1 2 externref))
            (import "a" "g" (global (mut v128))))"#,
    );
    let types: Vec<String> = m.imports.iter().map(|i| m.type_text(i.index)).collect();
    assert_eq!(
        types,
        [
            "(func (param i32 i64) (result f32 externref))",
            "(func)",
            "(memory 1)",
            "(table 1 2 externref)",
            "(global (mut v128))"
        ]
    );
    assert_eq!(
        m.imports[1].index,
        EntityIndex::Func(FuncIndex::from_u32(1))
    );
}

#[test]
fn text_round_trips() {
    let source = r#"(module $m (func $f (param $x i32) (result i32) local.get $x) (memory 1)
        (data (i32.const 0) "abc"))"#;
    let m = module(source);
    let printed = m.to_text(&PrintOptions::default()).unwrap();
    assert!(
        printed.contains("(func $f (;0;) (type 0) (param $x i32) (result i32)"),
        "{printed}"
    );
    assert_eq!(text::parse(&printed, None).unwrap(), m.bytes.as_slice());

    let skeleton = PrintOptions {
        skeleton: true,
        ..PrintOptions::default()
    };
    assert!(!m.to_text(&skeleton).unwrap().contains("abc"));
    let offsets = PrintOptions {
        offsets: true,
        ..PrintOptions::default()
    };
    assert!(m.to_text(&offsets).unwrap().contains("(;@"));

    let mut out = Vec::new();
    text::print_to(&m.bytes, &PrintOptions::default(), &mut out).unwrap();
    assert_eq!(out, printed.as_bytes());
}

#[test]
fn printing_a_broken_binary_is_an_error() {
    let error = text::print(b"\0asm\x01\0\0\0\x01", &PrintOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    let mut out = Vec::new();
    let error = text::print_to(b"\0asm\x01\0\0\0\x01", &PrintOptions::default(), &mut out);
    assert_eq!(error.unwrap_err().kind(), std::io::ErrorKind::InvalidData);
}

#[test]
fn text_is_recognised_after_comments() {
    assert!(text::is_text(b";; comment\n  (; block ;) (module)"));
    assert!(!text::is_text(b"hello"));
    assert!(!text::is_text(b"\xff\xfe("));
    let error = Module::new("hello", &Features::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
}
