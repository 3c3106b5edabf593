//! Every instruction compiles for every target and every kind of code, twice to the same bytes.

use std::sync::Arc;

use bimetal_abi::{CallMode, TrapCode, Tunables};
use bimetal_codegen::{
    Arch, Compiler, CpuFeatures, DumpSet, FunctionCode, ModuleEnv, OptLevel, RelocTarget, Settings,
    Target,
};
use bimetal_optimizer::Optimizer;
use bimetal_optimizer::graph::{ImmKind, Op, Slot};
use bimetal_wasm::{DefinedFuncIndex, Features, FuncIndex, Module};
use expect_test::{Expect, expect};

fn module(text: &str) -> Arc<Module> {
    match Module::new(text, &Features::default()) {
        Ok(module) => Arc::new(module),
        Err(error) => panic!("{error}\n{text}"),
    }
}

fn env(text: &str, tunables: &Tunables) -> ModuleEnv {
    ModuleEnv::new(module(text), tunables.clone()).unwrap()
}

/// What code is made for: each architecture with vectors, and x86-64 with and without what came
/// after SSE2.
fn targets() -> Vec<Target> {
    let flags = |names: &[&str]| CpuFeatures::Flags(names.iter().map(|&n| n.into()).collect());
    let target = |arch, features| Target { arch, features };
    let ssse3 = ["has_sse3", "has_ssse3"];
    let avx2 = [
        "has_sse3",
        "has_ssse3",
        "has_sse41",
        "has_sse42",
        "has_popcnt",
        "has_lzcnt",
        "has_bmi1",
        "has_bmi2",
        "has_avx",
        "has_avx2",
        "has_fma",
    ];
    vec![
        target(Arch::X86_64, CpuFeatures::Baseline),
        target(Arch::X86_64, flags(&ssse3)),
        target(Arch::X86_64, flags(&avx2)),
        target(Arch::Aarch64, CpuFeatures::Baseline),
        target(Arch::Riscv64, flags(&["has_v"])),
        target(Arch::S390x, CpuFeatures::Baseline),
    ]
}

/// The kinds of code: how calls go, whether faults are checks, how memories are kept.
fn kinds() -> Vec<Tunables> {
    let default = Tunables::default();
    vec![
        default.clone(),
        Tunables {
            call_mode: CallMode::Cell,
            memory_reservation: 0,
            ..default.clone()
        },
        Tunables {
            memory_reservation: 0,
            memory_guard: 0,
            spectre_mitigation: false,
            ..default.clone()
        },
        Tunables {
            signals_based_traps: false,
            ..default
        },
    ]
}

fn optimizer(target: &Target, opt_level: OptLevel) -> Optimizer {
    let settings = Settings {
        opt_level,
        verify: true,
        ..Settings::default()
    };
    Optimizer::new(target, settings).unwrap()
}

/// Compiles all functions in order.
fn compile(optimizer: &Optimizer, env: &ModuleEnv) -> Vec<FunctionCode> {
    let mut scratch = optimizer.scratch();
    env.module
        .bodies
        .keys()
        .map(|func| match optimizer.function(env, func, &mut scratch) {
            Ok(code) => code,
            Err(error) => panic!("{optimizer:?} {func}: {error}"),
        })
        .collect()
}

fn compiles_everywhere(text: &str) {
    for target in targets() {
        let optimizer = optimizer(&target, OptLevel::Full);
        for tunables in kinds() {
            for code in compile(&optimizer, &env(text, &tunables)) {
                assert!(!code.bytes.is_empty());
                if tunables.call_mode == CallMode::Cell {
                    assert_eq!(code.relocs, []);
                }
            }
        }
    }
    let optimizer = optimizer(&targets()[0], OptLevel::None);
    compile(&optimizer, &env(text, &Tunables::default()));
}

/// A function around each instruction that is one of wasm's and needs nothing of the module, by
/// the table of ops.
fn a_function_per_instruction(wanted: impl Fn(Op) -> bool) -> String {
    let mut text = String::from("(module (memory 1) (memory 1 2)\n");
    for &op in Op::ALL.iter().filter(|&&op| wanted(op)) {
        let info = op.info();
        let ty = |slot: &Slot| match slot {
            Slot::I32 | Slot::Addr => Some("i32"),
            Slot::I64 | Slot::T => Some("i64"),
            Slot::F32 => Some("f32"),
            Slot::F64 => Some("f64"),
            Slot::V128 => Some("v128"),
            _ => None,
        };
        let imm = match info.imm {
            ImmKind::None => "",
            ImmKind::I32 | ImmKind::I64 => "-5",
            ImmKind::F32 | ImmKind::F64 => "-0x1.8p3",
            ImmKind::V128 => "i32x4 1 2 3 4",
            ImmKind::Lane => "1",
            ImmKind::Shuffle => "0 1 2 3 19 31 18 17 16 15 14 13 12 11 10 9",
            ImmKind::Mem => "1 offset=4294967295",
            ImmKind::MemLane => "1 offset=77 1",
            ImmKind::Memory => "1",
            _ => continue,
        };
        let (Some(params), Some(results)) = (
            info.operands.iter().map(ty).collect::<Option<Vec<_>>>(),
            info.results.iter().map(ty).collect::<Option<Vec<_>>>(),
        ) else {
            continue;
        };
        let gets: String = (0..params.len())
            .map(|i| format!(" (local.get {i})"))
            .collect();
        text += &format!(
            "(func (param {}) (result {}) ({} {imm}{gets}))\n",
            params.join(" "),
            results.join(" "),
            info.name,
        );
    }
    text + ")"
}

fn is_wasm(op: Op) -> bool {
    // What a program cannot say itself, and what depends on a type that is not in the table.
    let ours = op.name().starts_with("interrupt.") || op.name().starts_with("fuel.");
    let is_ref = |slot: &Slot| matches!(slot, Slot::AnyRef | Slot::ExternRef | Slot::Ref);
    let info = op.info();
    if info.operands.iter().chain(info.results).any(is_ref) || op == Op::RefAsNonNull {
        return false;
    }
    !op.is_terminator() && !ours && !matches!(op, Op::RefIsNull | Op::RefNull)
}

fn is_vector(op: Op) -> bool {
    let info = op.info();
    info.name.contains('x') && info.name.contains('.') || info.name.starts_with("v128")
}

#[test]
fn scalar_instructions() {
    let text = a_function_per_instruction(|op| is_wasm(op) && !is_vector(op));
    assert!(text.lines().count() > 150, "{text}");
    compiles_everywhere(&text);
}

#[test]
fn vector_instructions() {
    let text = a_function_per_instruction(|op| is_wasm(op) && is_vector(op));
    assert!(text.lines().count() > 200, "{text}");
    compiles_everywhere(&text);
}

#[test]
fn memories() {
    compiles_everywhere(
        r#"(module
            (import "m" "imported" (memory 1))
            (memory $own 2 3)
            (memory $fixed 1 1)
            (data $data "abc")
            (func (param i32) (result i32) (i32.load offset=8 (local.get 0)))
            (func (param i32) (result i32) (i32.load $own offset=0xfffffff0 (local.get 0)))
            (func (param i32) (result i32) (i32.load8_u $fixed (local.get 0)))
            (func (result i64) (i64.load $own offset=16 (i32.const 8)))
            (func (param i32 v128) (v128.store $own (local.get 0) (local.get 1)))
            (func (param i32 f64 f64)
                (i32.store8 $own (local.get 0) (f64.lt (local.get 1) (local.get 2))))
            (func (param i32) (result i32) (memory.grow $own (local.get 0)))
            (func (result i32) (memory.size))
            (func (param i32 i32 i32)
                (memory.copy 0 $own (local.get 0) (local.get 1) (local.get 2)))
            (func (param i32 i32 i32)
                (memory.fill $own (local.get 0) (local.get 1) (local.get 2)))
            (func (param i32 i32 i32)
                (memory.init $own $data (local.get 0) (local.get 1) (local.get 2)))
            (func (data.drop $data)))"#,
    );
}

#[test]
fn tables_references_and_globals() {
    compiles_everywhere(
        r#"(module
            (import "m" "t" (table $imported 1 externref))
            (import "m" "g" (global $gi i64))
            (import "m" "h" (global $gm (mut f32)))
            (table $funcs 10 funcref)
            (table $fixed 4 4 funcref)
            (global $v (mut v128) (v128.const i64x2 1 2))
            (global $r (mut funcref) (ref.null func))
            (global $c i32 (i32.const 1))
            (elem $elem func $f)
            (func $f (export "f") (param i32) (result externref)
                (table.get $imported (local.get 0)))
            (func (param i32 externref)
                (table.set $imported (local.get 0) (local.get 1)))
            (func (param i32) (table.set $funcs (local.get 0) (ref.func $f)))
            (func (param i32) (result i32) (ref.is_null (table.get $fixed (local.get 0))))
            (func (result i32) (table.size $funcs))
            (func (result i32) (table.size $fixed))
            (func (param externref i32) (result i32)
                (table.grow $imported (local.get 0) (local.get 1)))
            (func (param i32 i32)
                (table.fill $funcs (local.get 0) (ref.null func) (local.get 1)))
            (func (param i32 i32 i32)
                (table.copy $funcs $fixed (local.get 0) (local.get 1) (local.get 2)))
            (func (param i32 i32 i32)
                (table.init $funcs $elem (local.get 0) (local.get 1) (local.get 2)))
            (func (elem.drop $elem))
            (func (result i64 f32 i32) (global.get $gi) (global.get $gm) (global.get $c))
            (func (param v128) (global.set $v (i32x4.add (local.get 0) (global.get $v))))
            (func (param funcref) (result funcref) (global.set $r (local.get 0)) (global.get $r))
            (func (param externref i32) (result externref)
                (select (result externref)
                    (local.get 0) (ref.null extern) (local.get 1))))"#,
    );
}

#[test]
fn calls() {
    compiles_everywhere(
        r#"(module
            (type $two (func (param i32 f64) (result f64 i32)))
            (import "m" "f" (func $imported (param i64) (result i64)))
            (table 3 funcref)
            (func $many (param i32 f64 v128 i64) (result i32 f64 v128 i64 f32 i32 i64 i64 i64)
                (call $many (local.get 0) (local.get 1) (local.get 2) (local.get 3)))
            (func $g (param i32 f64) (result f64 i32)
                (call_indirect (type $two)
                    (local.get 0) (local.get 1) (i32.eqz (local.get 0))))
            (func (param i64) (result i64) (call $imported (call $imported (local.get 0))))
            (func (result f64 i32) (call $g (i32.const 1) (f64.const 2))))"#,
    );
}

#[test]
fn control() {
    compiles_everywhere(
        r#"(module
            (func (param i32 i32) (result i32)
                (block $a (result i32)
                    (block $b (result i32)
                        (block $c (result i32)
                            (br_table $a $b $c $b $a (local.get 0) (local.get 1)))
                        (i32.add (i32.const 3)))
                    (i32.mul (i32.const 5))))
            (func (param i32) (result i32) (local v128 i32)
                (loop $again
                    (local.set 2 (i32.add (local.get 2) (local.get 0)))
                    (local.set 1 (i16x8.splat (local.get 2)))
                    (br_if $again (i8x16.all_true (local.get 1))))
                (i32.lt_u (local.get 2) (local.get 0)))
            (func (param i32) (if (local.get 0) (then (unreachable))))
            (func (param f64 v128 v128 i32) (result v128)
                (if (result v128) (f64.eq (local.get 0) (local.get 0))
                    (then (f32x4.add (local.get 1) (local.get 2)))
                    (else (select
                        (i64x2.sub (local.get 1) (local.get 2))
                        (f64x2.sub (local.get 1) (local.get 2))
                        (i32.gt_s (local.get 3) (i32.const 4)))))))"#,
    );
}

/// Values across calls in a frame of many pages, far branches, a table of many blocks.
#[test]
fn large_functions() {
    let mut text = String::from("(module (func $f (param i64) (result i64) (local.get 0))");
    text += "(func (param i64) (result i64)";
    for _ in 0..700 {
        text += "(call $f (local.get 0))";
    }
    text += &"(i64.xor)".repeat(699);
    text += ") (func (param i32 i32) (result i32) ";
    text += &"(block ".repeat(800);
    text += "(br_table ";
    for depth in 0..800 {
        text += &format!("{depth} ");
    }
    text += "(local.get 0))";
    for i in 0..800 {
        text += &format!(") (local.set 1 (i32.add (local.get 1) (i32.const {i})))");
    }
    text += "(local.get 1)))";
    compiles_everywhere(&text);
}

#[test]
fn same_bytes_in_any_order() {
    let text = a_function_per_instruction(is_wasm);
    for target in [targets().remove(2), targets().remove(3)] {
        let optimizer = optimizer(&target, OptLevel::Full);
        let env = env(&text, &Tunables::default());
        let forwards = compile(&optimizer, &env);
        let mut scratch = optimizer.scratch();
        for (func, first) in env.module.bodies.keys().zip(&forwards).rev() {
            let again = optimizer.function(&env, func, &mut scratch).unwrap();
            assert_eq!(first.bytes, again.bytes, "{func}");
            assert_eq!(first.relocs, again.relocs, "{func}");
            assert_eq!(first.sites, again.sites, "{func}");
        }
    }
}

#[test]
fn sites_name_the_wasm() {
    let text = r#"(module
        (func $callee (loop))
        (func (param i32 i32) (result i32)
            (call $callee)
            (i32.div_u (local.get 0) (local.get 1))
            (i32.load (local.get 0))
            (i32.add)
            (unreachable))
        (memory 1))"#;
    let env = env(text, &Tunables::default());
    let optimizer = optimizer(&targets()[0], OptLevel::Full);
    let code = &compile(&optimizer, &env)[1];
    assert_eq!(
        code.relocs.iter().map(|r| r.target).collect::<Vec<_>>(),
        [RelocTarget::Func(FuncIndex::from_u32(0))]
    );
    let body = env.module.bodies[DefinedFuncIndex::from_u32(1)]
        .range
        .clone();
    let mut sites: Vec<_> = code
        .sites
        .iter()
        .map(|site| (site.wasm_offset - body.start as u32, site.trap))
        .collect();
    sites.sort_by_key(|&(offset, trap)| (offset, trap.map(|trap| trap as u8)));
    // After the count of locals: a call, `local.get` twice, the division, and so on.
    assert_eq!(
        sites,
        [
            (0, Some(TrapCode::StackOverflow)),
            (1, None),
            (7, Some(TrapCode::IntegerDivisionByZero)),
            (10, Some(TrapCode::MemoryOutOfBounds)),
            (14, Some(TrapCode::Unreachable)),
        ]
    );
}

/// One idea each: what the CLIF of a function is.
fn check_clif(text: &str, tunables: &Tunables, expect: Expect) {
    let optimizer = optimizer(&targets()[0], OptLevel::Full);
    let what = DumpSet {
        clif: true,
        ..DumpSet::default()
    };
    let dumps = optimizer
        .dump(&env(text, tunables), DefinedFuncIndex::from_u32(0), what)
        .unwrap();
    expect.assert_eq(&dumps[0].text);
}

#[test]
fn a_reserved_memory_needs_no_check() {
    check_clif(
        "(module (memory 1) (func (param i32) (result i32) (i32.load offset=4 (local.get 0))))",
        &Tunables::default(),
        expect![[r#"
            function u0:0(i64 vmctx, i64, i32) -> i32 tail {
                region0 = 393217 "memory"
                gv0 = vmctx
                gv1 = load.i64 notrap aligned readonly can_move gv0+8
                gv2 = load.i64 notrap aligned readonly can_move gv1
                stack_limit = gv2

                                            block0(v0: i64, v1: i64, v2: i32):
                                                v4 = load.i64 notrap aligned readonly can_move v0+48
            @0000                               v3 = uextend.i64 v2
            @0000                               v5 = iadd v4, v3
            @0000                               v6 = load.i32 little region0 v5+4
            @0000                               return v6
            }
        "#]],
    );
}

#[test]
fn a_moving_memory_is_checked_and_masked() {
    check_clif(
        "(module (memory 1) (func (param i32) (result i32) (i32.load offset=4 (local.get 0))))",
        &Tunables {
            memory_reservation: 0,
            ..Tunables::default()
        },
        expect![[r#"
            function u0:0(i64 vmctx, i64, i32) -> i32 tail {
                region0 = 393217 "memory"
                region1 = 262144 "memories"
                gv0 = vmctx
                gv1 = load.i64 notrap aligned readonly can_move gv0+8
                gv2 = load.i64 notrap aligned readonly can_move gv1
                stack_limit = gv2

                                            block0(v0: i64, v1: i64, v2: i32):
            @0000                               v3 = uextend.i64 v2
            @0000                               v4 = load.i64 notrap aligned region1 v0+56
            @0000                               v5 = icmp ugt v3, v4
            @0000                               v6 = load.i64 notrap aligned region1 v0+48
            @0000                               v7 = iadd v6, v3
            @0000                               v8 = iconst.i64 4
            @0000                               v9 = iadd v7, v8  ; v8 = 4
            @0000                               v10 = iconst.i64 0
            @0000                               v11 = select_spectre_guard v5, v10, v9  ; v10 = 0
            @0000                               v12 = load.i32 little region0 v11
            @0000                               return v12
            }
        "#]],
    );
}

#[test]
fn an_indirect_call_checks_bounds_null_and_type() {
    check_clif(
        "(module (table 5 5 funcref) (func (param i32) (call_indirect (local.get 0))))",
        &Tunables::default(),
        expect![[r#"
            function u0:0(i64 vmctx, i64, i32) tail {
                region0 = 458753 "table"
                region1 = 196608 "funcrefs"
                region2 = 131072 "cells"
                gv0 = vmctx
                gv1 = load.i64 notrap aligned readonly can_move gv0+8
                gv2 = load.i64 notrap aligned readonly can_move gv1
                sig0 = (i64 vmctx, i64) tail
                stack_limit = gv2

                                            block0(v0: i64, v1: i64, v2: i32):
                                                v14 = load.i64 notrap aligned readonly can_move v0+32
            @0000                               v3 = uextend.i64 v2
            @0000                               v4 = iconst.i64 5
            @0000                               v5 = icmp uge v3, v4  ; v4 = 5
            @0000                               v6 = load.i64 notrap aligned readonly can_move v0+48
            @0000                               v7 = iconst.i64 3
            @0000                               v8 = ishl v3, v7  ; v7 = 3
            @0000                               v9 = iadd v6, v8
            @0000                               v10 = iconst.i64 0
            @0000                               v11 = select_spectre_guard v5, v10, v9  ; v10 = 0
            @0000                               v12 = load.i64 user5 aligned region0 v11
            @0000                               v13 = load.i32 user6 aligned readonly region1 v12+16
            @0000                               v15 = load.i32 notrap aligned readonly can_move v14+4
            @0000                               v16 = icmp ne v13, v15
            @0000                               trapnz v16, user7
            @0000                               v17 = load.i64 notrap aligned readonly region1 v12
            @0000                               v18 = load.i64 notrap aligned readonly region1 v12+8
            @0000                               v19 = load.i64 notrap aligned region2 v17
            @0000                               call_indirect sig0, v19(v18, v0)
            @0000                               jump block1

                                            block1:
            @0000                               return
            }
        "#]],
    );
}

/// Each instruction of typed references and objects, with operands of all kinds of fields.
const OBJECTS: &str = include_str!("objects.wat");

#[test]
fn typed_references_and_objects() {
    compiles_everywhere(OBJECTS);
}

/// For each function of a module: its maps, and how many of its calls have none.
fn maps(text: &str) -> Vec<Vec<Vec<u32>>> {
    let optimizer = optimizer(&targets()[0], OptLevel::Full);
    let codes = compile(&optimizer, &env(text, &Tunables::default()));
    let maps = |code: &FunctionCode| -> Vec<Vec<u32>> {
        let maps = code.sites.stack_maps.iter();
        maps.inspect(|map| assert!(code.sites.call_at(map.code_offset).is_some()))
            .map(|map| map.below_fp)
            .collect()
    };
    codes.iter().map(maps).collect()
}

#[test]
fn what_lives_across_calls_is_in_stack_maps() {
    let text = |body: &str| {
        format!(
            "(module (import \"\" \"f\" (func $f)) (import \"\" \"g\" (func $g (result externref)))
            (type $t (struct (field anyref)))
            (global $a (mut anyref) (ref.null any))
            (func (param externref anyref i32) (result externref) {body}))"
        )
    };
    let sizes = |body: &str| -> Vec<usize> { maps(&text(body))[0].iter().map(Vec::len).collect() };
    assert_eq!(sizes("(call $f) (local.get 0)"), [1]);
    assert_eq!(sizes("(local.get 0) (drop (call $g))"), [1]);
    assert_eq!(sizes("(drop (local.get 0)) (call $f) (call $g)"), [0; 0]);
    assert_eq!(
        sizes("(local.set 0 (call $g)) (call $f) (drop (local.get 1)) (call $f) (local.get 0)"),
        [1, 1]
    );
    // An operand of an allocation is used after the collector has run.
    let cold = sizes("(global.set $a (struct.new $t (local.get 1))) (call $f) (local.get 0)");
    assert_eq!(cold, [1, 2]);
    // What does not live at the same time shares a slot.
    let shared = maps(&text(
        "(call $f) (global.set $a (struct.new $t (local.get 1)))
         (local.set 0 (call $g)) (call $f) (local.get 0)",
    ));
    let all: std::collections::BTreeSet<u32> = shared[0].iter().flatten().copied().collect();
    assert_eq!(all.len(), 1, "{shared:?}");
    // Values of loops.
    assert_eq!(
        sizes("(loop (call $f) (br_if 0 (local.get 2))) (local.get 0)"),
        [1]
    );
}
