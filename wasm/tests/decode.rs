//! What decoding makes of modules.

use bimetal_wasm::{
    ConstOp, DataIndex, DefinedFuncIndex, DefinedGlobalIndex, ElemIndex, ElementItems, EntityIndex,
    ErrorKind, Features, FuncIndex, GlobalIndex, HeapType, MemoryIndex, Module, SegmentMode,
    TableIndex, TypeIndex, ValType,
};

fn module(text: &str) -> Module {
    Module::new(text, &Features::default()).unwrap()
}

fn refused(text: &str) -> bimetal_wasm::Error {
    Module::new(text, &Features::default()).unwrap_err()
}

#[test]
fn index_spaces_put_imports_first() {
    let m = module(
        r#"(module
            (import "a" "f" (func (param i32) (result i64)))
            (import "a" "m" (memory 1 3))
            (import "a" "g" (global $g (mut f32)))
            (import "a" "t" (table 2 funcref))
            (func (result i64) i64.const 1)
            (memory 2)
            (global i32 (i32.const 7))
            (table 4 8 externref))"#,
    );
    assert_eq!(m.imports.len(), 4);
    assert_eq!(
        m.imports[0].index,
        EntityIndex::Func(FuncIndex::from_u32(0))
    );
    assert_eq!(&*m.imports[1].name, "m");
    assert_eq!((m.num_imported_funcs, m.functions.len()), (1, 2));
    assert_eq!((m.num_imported_memories, m.memories.len()), (1, 2));
    assert_eq!(m.func_type(FuncIndex::from_u32(0)).params(), [ValType::I32]);
    assert_eq!(
        m.func_type(FuncIndex::from_u32(1)).results(),
        [ValType::I64]
    );
    assert_eq!(m.memories[MemoryIndex::from_u32(0)].max, Some(3));
    assert_eq!(
        m.memories[MemoryIndex::from_u32(1)].minimum_byte_size(),
        2 << 16
    );
    assert!(m.globals[GlobalIndex::from_u32(0)].mutable);
    assert_eq!(
        *m.global_init[DefinedGlobalIndex::from_u32(0)].ops,
        [ConstOp::I32Const(7)]
    );
    assert_eq!(
        m.tables[TableIndex::from_u32(1)].element.heap,
        HeapType::Extern
    );
    assert_eq!(m.tables[TableIndex::from_u32(1)].max, Some(8));
    // Locals (none), `i64.const 1`, `end`.
    assert_eq!(
        m.body_bytes(DefinedFuncIndex::from_u32(0)),
        [0, 0x42, 1, 0x0b]
    );
}

#[test]
fn segments_are_ranges_and_expressions() {
    let m = module(
        r#"(module
            (import "a" "g" (global $g i32))
            (memory 1) (memory $m 1)
            (table 4 funcref)
            (func $f) (func $h)
            (data (i32.const 8) "hello")
            (data $p "passive")
            (data (memory $m) (offset (i32.add (global.get $g) (i32.const 4))) "x")
            (elem (i32.const 0) $h $f)
            (elem funcref (ref.func $h) (ref.null func))
            (elem declare func $f))"#,
    );
    let data = |i| &m.data[DataIndex::from_u32(i)];
    assert_eq!(&m.bytes[data(0).range.clone()], b"hello");
    assert_eq!(&m.bytes[data(1).range.clone()], b"passive");
    assert_eq!(data(1).mode, SegmentMode::Passive);
    let SegmentMode::Active { target, offset } = &data(2).mode else {
        panic!("not active: {:?}", data(2));
    };
    assert_eq!(target.as_u32(), 1);
    assert_eq!(
        *offset.ops,
        [
            ConstOp::GlobalGet(GlobalIndex::from_u32(0)),
            ConstOp::I32Const(4),
            ConstOp::I32Add
        ]
    );
    let elem = |i| &m.elements[ElemIndex::from_u32(i)];
    let f = FuncIndex::from_u32;
    assert_eq!(elem(0).items, ElementItems::Functions([f(1), f(0)].into()));
    let ElementItems::Exprs(exprs) = &elem(1).items else {
        panic!("not expressions");
    };
    assert_eq!(*exprs[0].ops, [ConstOp::RefFunc(f(1))]);
    assert_eq!(*exprs[1].ops, [ConstOp::RefNull(HeapType::Func)]);
    assert_eq!(elem(2).mode, SegmentMode::Declared);
}

#[test]
fn function_references_are_those_declared() {
    let m = module(
        r#"(module
            (func $none)
            (func $exported (export "e") (export "e2"))
            (func $elem) (func $expr) (func $global) (func $declared) (func $start)
            (table 1 funcref)
            (elem (i32.const 0) $elem)
            (elem funcref (ref.func $expr))
            (elem declare func $declared)
            (global funcref (ref.func $global))
            (start $start))"#,
    );
    let refs: Vec<Option<u32>> = m
        .functions
        .keys()
        .map(|func| m.func_refs[func].expand().map(|r| r.as_u32()))
        .collect();
    assert_eq!(
        refs,
        [None, Some(0), Some(1), Some(2), Some(3), Some(4), None]
    );
    assert_eq!(m.num_func_refs, 5);
    assert_eq!(m.start, Some(FuncIndex::from_u32(6)));
}

#[test]
fn exports_are_found_by_name() {
    for count in [3, 200] {
        let funcs: String = (0..count)
            .map(|i| format!("(func (export \"f{i}\"))"))
            .collect();
        let m = module(&format!("(module {funcs})"));
        for i in 0..count {
            let expected = EntityIndex::Func(FuncIndex::from_u32(i));
            assert_eq!(m.export(&format!("f{i}")), Some(expected));
        }
        assert_eq!(m.export("g"), None);
    }
}

#[test]
fn types_are_their_own_groups() {
    let m = module("(module (type (func (param i32 f64))) (type (func (result v128 funcref))))");
    assert_eq!(m.rec_groups, [0..1, 1..2]);
    let ty = m.func_type_at(TypeIndex::from_u32(1));
    assert_eq!(ty.results(), [ValType::V128, ValType::FUNCREF]);
    assert!(m.types[TypeIndex::from_u32(0)].is_final);
}

#[test]
fn names_come_from_the_section_then_from_exports() {
    let m = module(
        r#"(module $mod
            (func $named (export "x") (param $a i32) (local i64) (local $b f32))
            (func (export "y") (export "z"))
            (func))"#,
    );
    let f = FuncIndex::from_u32;
    assert_eq!(m.names().module.as_deref(), Some("mod"));
    assert_eq!(m.func_name(f(0)), Some("named"));
    assert_eq!(m.func_name(f(1)), Some("y"));
    assert_eq!(m.func_name(f(2)), None);
    assert_eq!(m.func_display_name(f(2)), "func[2]");
    assert_eq!(m.local_names(f(0)), [(0, "a"), (2, "b")]);
    assert_eq!(m.local_names(f(1)), []);
    assert_eq!(m.local_names(f(7)), []);
}

#[test]
fn a_malformed_name_section_is_ignored() {
    let mut binary = bimetal_wasm::text::parse("(module (func))", None).unwrap();
    // Function names, 127 of them, names of functions that do not exist, and then nothing.
    let content = b"\x04name\x01\x09\x7f\x00\x01a\x70\x01b\x80";
    binary.extend([0, content.len() as u8]);
    binary.extend(content);
    let m = Module::new(binary, &Features::default()).unwrap();
    assert_eq!(m.func_name(FuncIndex::from_u32(0)), None);
    assert!(m.custom_section("name").is_some());
}

#[test]
fn bytes_that_are_no_module_say_what_they_are() {
    let error = |bytes: &[u8]| {
        let error = Module::new(bytes, &Features::default()).unwrap_err();
        (error.kind(), error.to_string())
    };
    let (kind, message) = error(b"\x7fELF\x02");
    assert_eq!(kind, ErrorKind::Malformed);
    assert!(message.contains("7f 45 4c 46"), "{message}");
    assert!(error(b"").1.contains("empty"));
    assert!(error(b"\0as").1.contains("unexpected end"));
    assert!(error(b"\0asm\x02\0\0\0").1.contains("version"));
    let (kind, message) = error(b"\0asm\x0d\0\x01\0");
    assert_eq!(kind, ErrorKind::Unsupported);
    assert!(message.contains("component"), "{message}");
}

#[test]
fn errors_outside_of_functions_name_the_section() {
    let error = refused("(module (memory 1) (data (i64.const 0) \"x\"))");
    assert!(error.message().ends_with("in the data section"), "{error}");
    let binary = bimetal_wasm::text::parse("(module (func nop))", None).unwrap();
    let error = Module::new(&binary[..binary.len() - 1], &Features::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(
        error
            .message()
            .ends_with("the code section does not fit into the module"),
        "{error}"
    );
}

#[test]
fn errors_name_function_and_offset() {
    let error = refused("(module (func) (func $bad (result i32)))");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.function(), Some("bad"));
    assert!(error.offset().is_some());
    let error = refused("(module (func) (func (result i32)))");
    assert_eq!(error.function(), Some("func[1]"));
}

#[test]
fn text_errors_have_line_and_column() {
    let error = Module::from_named_text(
        "(module\n  (func i32.addd))",
        Some("dir/a.wat".as_ref()),
        &Features::default(),
    )
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Text);
    assert!(error.to_string().contains("a.wat:2:9"), "{error}");
}

#[test]
fn proposals_that_are_missing_are_named() {
    let (text, proposal) = ("(module (memory 1 (pagesize 1)))", "custom page sizes");
    let error = refused(text);
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{text}: {error}");
    assert!(error.message().contains(proposal), "{text}: {error}");
}

#[test]
fn what_no_proposal_mends_is_invalid() {
    for text in [
        "(module (memory 1) (func (memory.grow)))",
        "(module (func (result i32) f32.const 0))",
        "(module (export \"a\" (func 0)))",
        "(module (func (export \"a\")) (func (export \"a\")))",
        "(module (memory 65537))",
        "(module (start 0) (func (param i32)))",
    ] {
        assert_eq!(refused(text).kind(), ErrorKind::Invalid, "{text}");
    }
}

#[test]
fn features_can_be_switched_off() {
    let off = Features {
        simd: false,
        multi_memory: false,
        extended_const: false,
        tail_call: false,
        relaxed_simd: false,
        wide_arithmetic: false,
        memory64: false,
        custom_page_sizes: false,
        function_references: false,
        gc: false,
        threads: false,
        exceptions: false,
        legacy_exceptions: false,
    };
    for (text, proposal) in [
        ("(module (tag))", "exception handling"),
        ("(module (func (param exnref)))", "exception handling"),
        (
            "(module (func try catch_all end))",
            "legacy exception handling",
        ),
        ("(module (type (struct)))", "garbage collection"),
        (
            "(module (func (param (ref 0))) (type (func)))",
            "typed function references",
        ),
        (
            "(module (global (ref i31) (ref.i31 (i32.const 1))))",
            "garbage collection",
        ),
        ("(module (func (param v128)))", "SIMD"),
        ("(module (memory 1) (memory 1))", "multi-memory"),
        (
            "(module (global i32 (i32.add (i32.const 1) (i32.const 2))))",
            "extended constant",
        ),
        ("(module (func return_call 0))", "tail call"),
        ("(module (memory i64 1))", "memory64"),
        ("(module (table i64 1 funcref))", "memory64"),
        ("(module (memory 1 2 shared))", "threads"),
        ("(module (func atomic.fence))", "threads"),
        (
            "(module (memory 1) (func i32.const 0 i32.atomic.load drop))",
            "threads",
        ),
        (
            "(module (func i64.const 1 i64.const 2 i64.mul_wide_s drop drop))",
            "wide arithmetic",
        ),
    ] {
        assert!(Module::new(text, &Features::default()).is_ok());
        let error = Module::new(text, &off).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{text}: {error}");
        assert!(error.message().contains(proposal), "{text}: {error}");
        assert!(error.message().contains("disabled"), "{text}: {error}");
    }
}

#[test]
fn page_sizes_can_be_switched_on() {
    let text = "(module (memory 1 (pagesize 1)))";
    let error = refused(text);
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.message().contains("custom page sizes"), "{error}");
    assert!(error.message().contains("disabled"), "{error}");
    let features = Features {
        custom_page_sizes: true,
        ..Features::default()
    };
    assert!(Module::new(text, &features).is_ok());
}

#[test]
fn relaxed_vectors_can_be_switched_off() {
    let text = "(module (func (param v128) local.get 0 local.get 0 i8x16.relaxed_swizzle drop))";
    for (simd, relaxed_simd) in [(true, true), (true, false), (false, true)] {
        let features = Features {
            simd,
            relaxed_simd,
            ..Features::default()
        };
        match Module::new(text, &features) {
            Ok(_) => assert!(simd && relaxed_simd),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
                assert!(error.message().contains("disabled"), "{error}");
            }
        }
    }
}

#[test]
fn the_lowest_error_is_reported_whatever_the_threads() {
    // Far more than one chunk of bodies, with two bad ones and a bad data segment after them.
    let filler =
        "(func (result i32) ".to_owned() + &"i32.const 1 drop ".repeat(2000) + "i32.const 0)";
    let good = filler.repeat(60);
    let text = format!(
        "(module (memory 1) {good} (func $first (result i32)) {good} (func $second (result f32)) \
         (data (f32.const 0) \"x\"))"
    );
    let binary = bimetal_wasm::text::parse(&text, None).unwrap();
    for _ in 0..20 {
        let error = Module::new(&binary, &Features::default()).unwrap_err();
        assert_eq!(error.function(), Some("first"));
    }
}

#[test]
fn a_validated_module_is_decoded_again_without_its_code() {
    let text = r#"(module $m
        (type (func (param i32) (result i32)))
        (import "a" "b" (func (type 0)))
        (memory (export "mem") 1)
        (global (mut i32) (i32.const 7))
        (table 3 funcref)
        (elem (i32.const 0) 1 2)
        (func $f (export "f") (type 0) (local.get 0))
        (func $g (type 0) (i32.const 1))
        (data (i32.const 5) "hello"))"#;
    let features = Features::default();
    let first = Module::new(text, &features).unwrap();
    let ranges = |m: &Module| -> Vec<_> { m.bodies.values().map(|b| b.range.clone()).collect() };
    let again =
        Module::decode_validated(first.bytes.clone(), &features, ranges(&first), None).unwrap();
    // All that a `Module` says of itself, that is not decoded when asked for.
    assert_eq!(format!("{first:?}"), format!("{again:?}"));
    assert_eq!(
        again.func_name(again.func_index(DefinedFuncIndex::from_u32(1))),
        Some("g")
    );

    let short = Module::decode_validated(
        first.bytes.clone(),
        &features,
        ranges(&first)[1..].to_vec(),
        None,
    );
    assert!(short.unwrap_err().message().contains("as many bodies"));
    let outside = Module::decode_validated(first.bytes.clone(), &features, [0..5, 9..900], None);
    assert!(outside.unwrap_err().message().contains("outside"));
    for len in 8..first.bytes.len() {
        // Whatever comes of it, it is no panic.
        let _ = Module::decode_validated(&first.bytes[..len], &features, ranges(&first), None);
    }
}
