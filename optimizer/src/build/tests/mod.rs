//! The builder against an interpreter of wasm: random programs give the same results, traps and
//! traces when their bodies are interpreted and when their graphs are.

mod generate;
mod graph_interpreter;
mod wasm_interpreter;

use std::fmt::Write;
use std::sync::Arc;

use bimetal_codegen::{CompileError, InlineNode, ModuleEnv};
use bimetal_wasm::{DefinedFuncIndex, Features, FuncIndex, Module};

use super::*;
use crate::verify::verify;

/// What a run shows of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    /// The results; `None` is a trap.
    results: Option<Vec<i32>>,
    globals: [i32; 2],
}

const GLOBALS: [i32; 2] = [1, 40];

/// What the imported function of generated programs does.
fn imported(a: i32, b: i32) -> [i32; 2] {
    [a.wrapping_mul(31) ^ b, b.wrapping_add(7)]
}

fn binary(op: Op, a: i32, b: i32) -> Option<i32> {
    Some(match op {
        Op::I32Add => a.wrapping_add(b),
        Op::I32Sub => a.wrapping_sub(b),
        Op::I32Mul => a.wrapping_mul(b),
        Op::I32Xor => a ^ b,
        Op::I32And => a & b,
        Op::I32LtU => i32::from((a as u32) < b as u32),
        Op::I32DivU => (a as u32).checked_div(b as u32)? as i32,
        _ => panic!("the generator does not make {op}"),
    })
}

fn env(text: &str) -> ModuleEnv {
    let module = Module::new(text, &Features::default()).unwrap_or_else(|e| panic!("{e}\n{text}"));
    ModuleEnv::new(Arc::new(module), Default::default()).unwrap()
}

fn check(env: &ModuleEnv, graph: &Graph, func: DefinedFuncIndex) -> Result<(), String> {
    let ty = env.module.func_type(env.module.func_index(func));
    verify(graph, Some(env), Some(ty)).map_err(|error| error.to_string())
}

/// Builds `func` into a graph whose own function only calls it, as inlining will.
fn build_inlined(env: &ModuleEnv, func: DefinedFuncIndex, graph: &mut Graph) {
    let mut scratch = BuildScratch::default();
    let ty = env.module.func_type(env.module.func_index(func));
    graph.clear();
    scratch.ssa.clear();
    graph.results = vec![Type::I32; ty.results().len()];
    let entry = graph.make_block();
    graph.append_block(entry);
    scratch.ssa.enter(entry);
    let params: Vec<Value> = ty
        .params()
        .iter()
        .map(|_| graph.append_param(entry, Type::I32))
        .collect();
    graph.inline_nodes.push(InlineNode {
        parent: 0,
        call_offset: 0,
        func: env.module.func_index(func),
    });
    let mut builder = Builder::new(env, graph, &mut scratch, entry);
    builder
        .body(&BodyEnv {
            func,
            node: 1,
            params: &params,
            exit: Exit::Continue,
        })
        .unwrap();
    if builder.reachable {
        let (block, results) = (builder.block, builder.stack.clone());
        graph.push_inst(block, Op::Return, &results, Imm::None, None, &[]);
    }
    graph.resolve_aliases();
}

#[test]
fn graphs_do_what_wasm_does() {
    let mut graph = Graph::new();
    let mut scratch = BuildScratch::default();
    let func = DefinedFuncIndex::from_u32(0);
    let mut outcomes = [0; 2];
    for seed in 0..1500 {
        let text = generate::program(seed);
        let env = env(&text);
        build(&env, func, &mut graph, &mut scratch).unwrap();
        check(&env, &graph, func).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}\n{graph}"));
        let mut inlined = Graph::new();
        build_inlined(&env, func, &mut inlined);
        check(&env, &inlined, func)
            .unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}\n{inlined}"));
        for params in [[0, 0, 0], [1, -1, 5], [seed as i32, 3, 1 << 30]] {
            let expected = wasm_interpreter::run(&env, func, &params);
            outcomes[usize::from(expected.results.is_some())] += 1;
            let found = graph_interpreter::run(&graph, &params);
            assert_eq!(expected, found, "seed {seed}, {params:?}\n{text}\n{graph}");
            let found = graph_interpreter::run(&inlined, &params);
            assert_eq!(
                expected, found,
                "seed {seed}, {params:?}\n{text}\n{inlined}"
            );
        }
    }
    assert!(outcomes.iter().all(|&n| n > 300), "{outcomes:?}");
}

#[test]
fn memory_of_the_function_before_does_not_show() {
    let func = DefinedFuncIndex::from_u32(0);
    let mut graph = Graph::new();
    let mut scratch = BuildScratch::default();
    for seed in 0..50 {
        let env = env(&generate::program(seed));
        build(&env, func, &mut graph, &mut scratch).unwrap();
        let mut fresh = Graph::new();
        build(&env, func, &mut fresh, &mut BuildScratch::default()).unwrap();
        assert_eq!(graph.to_string(), fresh.to_string());
    }
}

fn build_text(text: &str) -> Result<Graph, CompileError> {
    let env = env(text);
    let mut graph = Graph::new();
    let func = DefinedFuncIndex::from_u32(0);
    build(&env, func, &mut graph, &mut BuildScratch::default())?;
    check(&env, &graph, func).unwrap_or_else(|e| panic!("{e}\n{graph}"));
    Ok(graph)
}

fn all_args(graph: &Graph) -> usize {
    let insts = graph.blocks().filter_map(|block| graph.terminator(block));
    let edges = insts.flat_map(|inst| graph.edges(inst));
    edges.map(|edge| graph.edge_args(edge).len()).sum()
}

#[test]
fn locals_that_do_not_change_are_no_parameters() {
    let graph = build_text(
        "(module (func (param i32 i32) (result i32) (local i32)
            (loop $outer
                (loop $inner
                    (if (local.get 0) (then (local.set 2 (local.get 1))) (else (nop)))
                    (br_if $inner (local.get 1)))
                (br_if $outer (local.get 0)))
            (local.get 2)))",
    )
    .unwrap();
    // Only local 2: two loops, two edges each, and the end of the `if`.
    assert_eq!(all_args(&graph), 6, "{graph}");
}

#[test]
fn a_block_without_branches_leaves_no_trace() {
    let graph = build_text(
        "(module (func (result i32)
            (block (result i32) (block (nop)) (block (result i32) (i32.const 1)))))",
    )
    .unwrap();
    assert_eq!(graph.blocks().count(), 1, "{graph}");
}

#[test]
fn a_br_table_has_one_edge_for_each_target() {
    let graph = build_text(
        "(module (func (param i32)
            (block $a (block $b
                (br_table $a $b $a $b 2 $a $b (local.get 0)))
            (call 0 (i32.const 1)))))",
    )
    .unwrap();
    let branch = graph.terminator(graph.entry()).unwrap();
    assert_eq!(graph.edges(branch).len(), 3, "{graph}");
    let Imm::JumpTable(table) = graph.imm(branch) else {
        panic!("{graph}");
    };
    assert_eq!(graph.jump_table(table), [0, 1, 0, 1, 2, 0, 1]);
}

#[test]
fn depth_is_no_recursion() {
    let n = 60_000;
    let mut text = String::from("(module (func (param i32) (result i32) (local i32)");
    // Joins in a row that a read must go through, in loops that are open.
    for _ in 0..n {
        text.push_str(" block loop local.get 0 br_if 1 local.get 1 local.set 0");
    }
    for _ in 0..n {
        text.push_str(" end end");
    }
    text.push_str(" local.get 0 local.get 1 i32.add))");
    build_text(&text).unwrap();
}

/// What is read after or in each of many constructs is found without going through all of them.
#[test]
fn long_functions_are_no_limit() {
    let n = 100_000;
    for one in [
        "local.get 0 if local.get 1 drop end",
        "local.get 0 if end local.get 1 drop",
        "block local.get 0 br_if 0 local.get 1 drop end",
        "local.get 0 if local.get 2 local.set 0 else local.get 1 local.set 3 end",
        "local.get 0 if loop local.get 1 br_if 0 local.get 2 local.set 0 end end",
        "block local.get 0 br_if 0 block local.get 1 br_if 0 local.get 2 local.set 0 end end",
    ] {
        let body = format!("{one} ").repeat(n);
        let text = format!("(module (func (param i32 i32 i32 i32) {body}))");
        let env = env(&text);
        let mut graph = Graph::new();
        let mut scratch = BuildScratch::default();
        build(
            &env,
            DefinedFuncIndex::from_u32(0),
            &mut graph,
            &mut scratch,
        )
        .unwrap();
        let work = scratch.ssa.work();
        assert!(work < 150 * n as u64, "{work}: {one}");
    }
}

/// Many joins in each of which all locals are assigned, and then all of them are read: as much
/// work as there is to be had from this many bytes must end in an error or quickly.
#[test]
fn hostile_sizes_meet_a_limit() {
    let (locals, joins) = (3_000, 3_000);
    let mut text = String::from("(module (func (param i32) (local");
    text.push_str(&" i32".repeat(locals));
    text.push(')');
    text.push_str(" block loop");
    for i in 0..joins {
        write!(
            text,
            " local.get 0 if local.get 0 local.set {} end",
            i % locals + 1
        )
        .unwrap();
    }
    text.push_str(" local.get 0 br_if 0");
    for i in 0..locals {
        write!(text, " local.get {} call 0", i + 1).unwrap();
    }
    text.push_str(" local.get 0 br_if 1 br 0 end end");
    text.push_str("))");
    let start = std::time::Instant::now();
    let env = env(&text);
    let func = DefinedFuncIndex::from_u32(0);
    let mut graph = Graph::new();
    match build(&env, func, &mut graph, &mut BuildScratch::default()) {
        Ok(()) => check(&env, &graph, func).unwrap(),
        Err(error) => assert!(matches!(error, CompileError::Limit(_)), "{error}"),
    }
    assert!(start.elapsed().as_secs() < 60);
}

#[test]
fn a_call_with_many_results_meets_a_limit() {
    let list = "i32 ".repeat(1000);
    let mut text = format!(
        "(module (type $t (func (param {list}) (result {list}))) (import \"\" \"\" (func $f (type $t)))
            (func (type $t) "
    );
    (0..1000).for_each(|i| write!(text, "local.get {i} ").unwrap());
    (0..40_000).for_each(|_| text.push_str("call $f "));
    text.push_str("))");
    let error = build_text(&text).unwrap_err();
    assert!(matches!(error, CompileError::Limit(_)), "{error}");
}

#[test]
fn nested_constructs_with_many_values_meet_a_limit() {
    let list = "i32 ".repeat(1000);
    let types = format!(
        "(type $if (func (param {list}) (result {list}))) (type $block (func (result {list})))"
    );
    let values = "i32.const 0 ".repeat(1000);

    let (n, ends) = (30_000, "end ".repeat(30_000));
    let ifs = "i32.const 1 if (type $if) ".repeat(n);
    let text = format!("(module {types} (func (type $block) {values} {ifs} {ends}))");
    let error = build_text(&text).unwrap_err();
    assert!(matches!(error, CompileError::Limit(_)), "{error}");

    let blocks = "block (type $block) ".repeat(n);
    let targets: String = (0..n).map(|i| format!("{i} ")).collect();
    let text = format!(
        "(module {types} (func (type $block) {blocks} {values} i32.const 0 br_table {targets} {ends}))"
    );
    let error = build_text(&text).unwrap_err();
    assert!(matches!(error, CompileError::Limit(_)), "{error}");
}

#[test]
fn what_is_not_reachable_is_not_built() {
    let graph = build_text(
        "(module (func (result i32)
            (block (result i32)
                (return (i32.const 1))
                (loop (br 0)) (if (i32.const 1) (then) (else (unreachable)))
                (br_table 0 1 0) (f32.neg) (drop)
                (block (unreachable)))))",
    )
    .unwrap();
    assert_eq!(graph.num_insts(), 2, "{graph}");
}

#[test]
fn sites_are_offsets_in_the_module() {
    let env =
        env("(module (func (param i32) (result i32) (i32.div_u (local.get 0) (local.get 0))))");
    let mut graph = Graph::new();
    let func = DefinedFuncIndex::from_u32(0);
    build(&env, func, &mut graph, &mut BuildScratch::default()).unwrap();
    let inst = graph.first_inst(graph.entry()).unwrap();
    let site = graph.site_info(graph.site(inst).unwrap());
    assert_eq!(env.module.bytes[site.offset as usize], 0x6e);
    assert_eq!(env.module.functions[FuncIndex::from_u32(0)].as_u32(), 0);
}

/// Every instruction of the table that is not of the graph alone can be built.
#[test]
fn every_op_is_built() {
    let mut seen = std::collections::HashSet::new();
    for &op in Op::ALL {
        let Some(text) = generate::single(op) else {
            assert!(
                matches!(
                    op,
                    Op::Jump
                        | Op::BranchIf
                        | Op::BrTable
                        | Op::Return
                        | Op::Unreachable
                        | Op::InterruptCheck
                        | Op::FuelGet
                        | Op::FuelSet
                        | Op::FuelCheck
                        | Op::FuncIs
                ),
                "{op}"
            );
            continue;
        };
        let graph = build_text(&text).unwrap_or_else(|e| panic!("{op}: {e}\n{text}"));
        let found = graph
            .blocks()
            .any(|block| graph.insts(block).any(|i| graph.op(i) == op));
        assert!(found, "{op}\n{graph}");
        seen.insert(op);
    }
    assert!(seen.len() > 400);
}
