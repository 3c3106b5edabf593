//! Which loads are known, and which are not.

use std::sync::Arc;

use bimetal_abi::Tunables;
use bimetal_codegen::ModuleEnv;
use bimetal_wasm::{Features, Module};

use crate::graph::parse;
use crate::passes::{Context, Fuel, PASSES, Scratch};
use crate::verify::verify;

const MEMORY: &str = "(memory 1)";

/// A function's body after the pass, without what is not used any more. `v0` to `v4` are an i32, i32,
/// i64, f32 and f64.
#[track_caller]
fn run(memories: &str, text: &str) -> String {
    run_in(&env(memories), text)
}

fn env(memories: &str) -> ModuleEnv {
    let module = format!(
        "(module (import \"\" \"f\" (func)) {memories}
            (global (mut i32) (i32.const 0)) (global (mut f32) (f32.const 0)))"
    );
    let module = Module::new(module, &Features::default()).unwrap();
    ModuleEnv::new(Arc::new(module), Tunables::default()).unwrap()
}

#[track_caller]
fn run_in(env: &ModuleEnv, text: &str) -> String {
    let text = format!(
        "func (i32, i32, i64, f32, f64) -> () {{\nblock0(v0: i32, v1: i32, v2: i64, v3: f32, v4: f64):\n{}\n}}",
        text.trim()
    );
    let mut graph = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut context = Context {
        env,
        signature: None,
        fuel: Fuel::new(None),
        scratch: &mut Scratch::default(),
    };
    for name in ["loads", "dce"] {
        let pass = PASSES.iter().find(|pass| pass.name == name).unwrap();
        (pass.run)(&mut graph, &mut context);
    }
    verify(&graph, Some(env), None).unwrap_or_else(|error| panic!("{error}\n{graph}"));
    let printed = graph.to_string();
    let lines: Vec<_> = printed.lines().skip(2).map(str::trim).collect();
    lines[..lines.len() - 1].join("\n")
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let lines: Vec<_> = expected.trim().lines().map(str::trim).collect();
    assert_eq!(run(MEMORY, text), lines.join("\n"));
}

/// All loads stay.
#[track_caller]
fn check_same(memories: &str, text: &str) {
    let lines: Vec<_> = text.trim().lines().map(str::trim).collect();
    assert_eq!(run(memories, text), lines.join("\n"));
}

#[test]
fn what_was_stored_is_known() {
    check(
        "i32.store offset=8 v0, v1 @0x1
         i32.store offset=12 v0, v0 @0x2
         v5 = i32.load offset=8 v0 @0x3
         global.set global0 v5
         return",
        "i32.store offset=8 v0, v1 @0x1
         i32.store offset=12 v0, v0 @0x2
         global.set global0 v1
         return",
    );
}

#[test]
fn what_was_loaded_is_known() {
    check(
        "v5 = i32.load v0 @0x1
         v6 = i32.load offset=4 v5 @0x2
         v7 = i32.load v0 @0x3
         v8 = i32.load offset=4 v7 @0x4
         v9 = i32.add v6, v8
         global.set global0 v9
         return",
        "v5 = i32.load v0 @0x1
         v6 = i32.load offset=4 v5 @0x2
         v9 = i32.add v6, v6
         global.set global0 v9
         return",
    );
}

#[test]
fn a_part_of_what_is_known_is_cut_out_of_it() {
    for (store, load, result) in [
        ("i32.store v0, v1", "i32.load16_s", "i32.extend16_s v1"),
        ("i32.store8 v0, v1", "i32.load8_s", "i32.extend8_s v1"),
        ("i64.store v0, v2", "i32.load", "i32.wrap_i64 v2"),
        ("i64.store32 v0, v2", "i32.load", "i32.wrap_i64 v2"),
        ("f32.store v0, v3", "i32.load", "i32.reinterpret_f32 v3"),
    ] {
        check(
            &format!("{store} @0x1\nv5 = {load} v0 @0x2\nglobal.set global0 v5\nreturn"),
            &format!("{store} @0x1\nv5 = {result}\nglobal.set global0 v5\nreturn"),
        );
    }
    check(
        "i32.store16 v0, v1 @0x1
         v5 = i32.load8_u v0 @0x2
         global.set global0 v5
         return",
        "i32.store16 v0, v1 @0x1
         v6 = i32.const 255
         v5 = i32.and v1, v6
         global.set global0 v5
         return",
    );
    check(
        "i32.store v0, v1 @0x1
         v5 = f32.load v0 @0x2
         global.set global1 v5
         return",
        "i32.store v0, v1 @0x1
         v5 = f32.reinterpret_i32 v1
         global.set global1 v5
         return",
    );
}

#[test]
fn more_than_what_is_known_is_loaded() {
    for store in [
        "i32.store8 v0, v1",
        "i32.store16 v0, v1",
        "i64.store32 v0, v2",
    ] {
        check_same(
            MEMORY,
            &format!(
                "{store} @0x1
                 v5 = i64.load v0 @0x2
                 v6 = i32.wrap_i64 v5
                 global.set global0 v6
                 return"
            ),
        );
    }
}

/// An address in bounds at the same distance as one that is not traps where the load would not.
#[test]
fn another_way_to_an_address_is_another_address() {
    check_same(
        MEMORY,
        "v5 = i32.const 16
         v6 = i32.sub v0, v5
         i32.store offset=16 v6, v1 @0x1
         v7 = i32.load v0 @0x2
         global.set global0 v7
         return",
    );
}

#[test]
fn what_a_store_may_write_is_forgotten() {
    for store in [
        "i32.store v1, v0",
        "i32.store8 offset=11 v0, v0",
        "i64.store offset=1 v0, v2",
        "i64.store offset=21 v6, v2",
    ] {
        check_same(
            MEMORY,
            &format!(
                "v5 = i32.const 20
                 v6 = i32.sub v0, v5
                 i32.store offset=8 v0, v1 @0x1
                 {store} @0x2
                 v8 = i32.load offset=8 v0 @0x3
                 global.set global0 v8
                 global.set global0 v6
                 return"
            ),
        );
    }
}

#[test]
fn distances_tell_addresses_apart() {
    check(
        "v5 = i32.const 16
         v6 = i32.sub v0, v5
         i32.store v0, v1 @0x1
         i32.store offset=12 v6, v0 @0x2
         i32.store offset=20 v6, v0 @0x3
         v7 = i32.load v0 @0x4
         global.set global0 v7
         return",
        "v5 = i32.const 16
         v6 = i32.sub v0, v5
         i32.store v0, v1 @0x1
         i32.store offset=12 v6, v0 @0x2
         i32.store offset=20 v6, v0 @0x3
         global.set global0 v1
         return",
    );
    check(
        "v5 = i32.const 1024
         i32.store offset=16 v5, v1 @0x1
         v6 = i32.const 1036
         i32.store v6, v0 @0x2
         v7 = i32.const 1040
         v8 = i32.load v7 @0x3
         global.set global0 v8
         return",
        "v5 = i32.const 1024
         i32.store offset=16 v5, v1 @0x1
         v6 = i32.const 1036
         i32.store v6, v0 @0x2
         global.set global0 v1
         return",
    );
}

#[test]
fn what_can_run_other_code_ends_everything() {
    for inst in [
        "call func0 @0x2",
        "interrupt.check @0x2",
        "memory.fill memory0 v0, v0, v0 @0x2",
    ] {
        check_same(
            MEMORY,
            &format!(
                "i32.store v0, v1 @0x1
                 {inst}
                 v5 = i32.load v0 @0x3
                 global.set global0 v5
                 return"
            ),
        );
    }
}

#[test]
fn blocks_know_what_all_before_them_know() {
    check(
        "i32.store v0, v1 @0x1
         branch_if v1, block1, block2
         block1:
         i32.store offset=4 v0, v0 @0x2
         jump block3
         block2:
         i32.store offset=4 v0, v1 @0x3
         jump block3
         block3:
         v5 = i32.load v0 @0x4
         v6 = i32.load offset=4 v0 @0x5
         v7 = i32.add v5, v6
         global.set global0 v7
         return",
        "i32.store v0, v1 @0x1
         branch_if v1, block1, block2
         block1:
         i32.store offset=4 v0, v0 @0x2
         jump block3
         block2:
         i32.store offset=4 v0, v1 @0x3
         jump block3
         block3:
         v6 = i32.load offset=4 v0 @0x5
         v7 = i32.add v1, v6
         global.set global0 v7
         return",
    );
    check_same(
        MEMORY,
        "i32.store v0, v1 @0x1
         jump block1
         block1:
         v5 = i32.load v0 @0x2
         v6 = i32.add v5, v1
         i32.store v0, v6 @0x3
         branch_if v6, block1, block2
         block2:
         return",
    );
}

#[test]
fn a_memory_says_nothing_of_another_one() {
    let text = "i32.store v0, v1 @0x1
         i32.store memory=1 v0, v0 @0x2
         v5 = i32.load v0 @0x3
         global.set global0 v5
         return";
    let known = "i32.store v0, v1 @0x1
        i32.store memory=1 v0, v0 @0x2
        global.set global0 v1
        return";
    let lines: Vec<_> = known.lines().map(str::trim).collect();
    assert_eq!(run("(memory 1) (memory 1)", text), lines.join("\n"));
    let import = "(import \"\" \"m\" (memory 1))";
    assert_eq!(run(&format!("{import} (memory 1)"), text), lines.join("\n"));
    // Unless they are two names of one.
    check_same(&format!("{import} {import}"), text);
}

#[test]
fn nothing_is_known_of_shared_memories() {
    let mut env = env(MEMORY);
    env.memories
        .values_mut()
        .for_each(|plan| plan.ty.shared = true);
    let text = "i32.store v0, v1 @0x1\nv5 = i32.load v0 @0x2\nglobal.set global0 v5\nreturn";
    assert_eq!(run_in(&env, text), text);
}
