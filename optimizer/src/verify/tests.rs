use expect_test::{Expect, expect};

use super::verify;
use crate::graph::{Op, parse};

#[track_caller]
fn check(text: &str, expected: Expect) {
    let graph = parse(text).unwrap();
    let found = match verify(&graph, None, None) {
        Ok(()) => String::from("valid"),
        Err(error) => error.to_string(),
    };
    expected.assert_eq(&found);
}

/// A function of one block.
#[track_caller]
fn block(text: &str, expected: Expect) {
    let text = text.trim().replace('\n', "\n    ");
    check(
        &format!(
            "func (i32, i64, f32) -> (i32) {{\nblock0(v0: i32, v1: i64, v2: f32):\n{text}\n}}\n"
        ),
        expected,
    );
}

#[test]
fn operands_and_results_have_types() {
    block("v3 = i32.add v0, v0\nreturn v3", expect!["valid"]);
    block(
        "v3 = i32.add v0, v1\nreturn v3",
        expect!["block0, `v3 = i32.add v0, v1`: operand 1 (v1) is i64, expected i32"],
    );
    block(
        "v3 = i32.add v0\nreturn v3",
        expect!["block0, `v3 = i32.add v0`: 1 operands, expected 2"],
    );
    block(
        "v3: i64 = i32.add v0, v0\nreturn v0",
        expect!["block0, `v3: i64 = i32.add v0, v0`: result 0 (v3) is i64, expected i32"],
    );
    block(
        "i32.add v0, v0\nreturn v0",
        expect!["block0, `i32.add v0, v0`: 0 results, expected 1"],
    );
    block(
        "return v1",
        expect!["block0, `return v1`: operand 0 (v1) is i64, expected i32"],
    );
    block(
        "return",
        expect!["block0, `return`: 0 operands, expected 1"],
    );
    block("v3: i32 = select v0, v0, v0\nreturn v3", expect!["valid"]);
    block(
        "v3: i32 = select v0, v1, v0\nreturn v3",
        expect!["block0, `v3: i32 = select v0, v1, v0`: operand 1 (v1) is i64, expected i32"],
    );
    block(
        "v3: i64 = select v0, v0, v0\nreturn v0",
        expect!["block0, `v3: i64 = select v0, v0, v0`: result 0 (v3) is i64, expected i32"],
    );
    block(
        "v3 = ref.is_null v0\nreturn v3",
        expect!["block0, `v3 = ref.is_null v0`: operand 0 (v0) is i32, expected a reference"],
    );
    block(
        "v3: i32 = ref.null\nreturn v3",
        expect!["block0, `v3: i32 = ref.null`: v3 is i32, expected a reference"],
    );
    block(
        "v3 = i32.load v2 @0x1\nreturn v3",
        expect!["block0, `v3 = i32.load v2 @0x1`: operand 0 (v2) is f32, expected an index"],
    );
    block(
        "call_indirect type0 table0 v2, v0 @0x1\nreturn v0",
        expect!["valid"],
    );
    block(
        "call_indirect type0 table0 v0, v2 @0x1\nreturn v0",
        expect![
            "block0, `call_indirect type0 table0 v0, v2 @0x1`: operand 1 (v2) is f32, expected an index"
        ],
    );
}

#[test]
fn lanes_are_in_range() {
    for (op, limit) in [
        ("v3 = i8x16.extract_lane_u lane=N v9", 16),
        ("v3 = i16x8.extract_lane_s lane=N v9", 8),
        ("v3 = i32x4.extract_lane lane=N v9", 4),
        ("v3 = f64x2.extract_lane lane=N v9", 2),
        ("v3 = v128.load64_lane lane=N v0, v9 @0x1", 2),
        ("v128.store8_lane lane=N v0, v9 @0x1", 16),
    ] {
        for lane in [limit - 1, limit] {
            let text = format!(
                "func (i32) -> () {{\nblock0(v0: i32):\nv9 = v128.const 0x0\n{}\nreturn\n}}",
                op.replace('N', &lane.to_string())
            );
            let valid = verify(&parse(&text).unwrap(), None, None).is_ok();
            assert_eq!(valid, lane < limit, "{text}");
        }
    }
}

#[test]
fn what_can_trap_or_call_has_a_site() {
    block(
        "v3 = i32.div_s v0, v0\nreturn v3",
        expect!["block0, `v3 = i32.div_s v0, v0`: can trap or call, but has no site"],
    );
    block(
        "call func0\nreturn v0",
        expect!["block0, `call func0`: can trap or call, but has no site"],
    );
    block(
        "unreachable",
        expect!["block0, `unreachable`: can trap or call, but has no site"],
    );
    block(
        "unreachable @1:0x5",
        expect!["block0, `unreachable @1:0x5`: its site is not in the graph"],
    );
}

#[test]
fn blocks_end_with_their_only_terminator() {
    block(
        "v3 = i32.const 1",
        expect!["block0, `v3 = i32.const 1`: the block does not end with a terminator"],
    );
    block(
        "return v0\nreturn v0",
        expect!["block0, `return v0`: a terminator is not last in its block"],
    );
    check("func () -> () {\nblock0:\n}\n", expect!["block0 is empty"]);
}

#[test]
fn edges_match_their_target() {
    let with = |terminator: &str| {
        format!(
            "func (i32, i64) -> () {{\nblock0(v0: i32, v1: i64):\n{terminator}\nblock1(v2: i32):\nreturn\n}}\n"
        )
    };
    check(&with("jump block1(v0)"), expect!["valid"]);
    check(
        &with("jump block1"),
        expect!["block0, `jump block1`: 0 arguments for the 1 parameters of block1"],
    );
    check(
        &with("jump block1(v1)"),
        expect!["block0, `jump block1(v1)`: argument v1 is i64, v2 of block1 is i32"],
    );
    check(
        &with("jump block0(v0, v1)"),
        expect!["block0, `jump block0(v0, v1)`: an edge to the entry block"],
    );
    check(
        &with("jump"),
        expect!["block0, `jump`: 0 edges, expected one"],
    );
    check(
        &with("branch_if v0, block1(v0)"),
        expect!["block0, `branch_if v0, block1(v0)`: 1 edges, expected two"],
    );
    check(
        &with("branch_if v1, block1(v0), block1(v0)"),
        expect![
            "block0, `branch_if v1, block1(v0), block1(v0)`: operand 0 (v1) is i64, expected i32"
        ],
    );
    check(
        &with("return block1(v0)"),
        expect!["block0, `return block1(v0)`: 1 edges, expected none"],
    );
    check(
        &with("br_table [0 else 0] v0, block1(v0)"),
        expect!["valid"],
    );
    check(
        &with("br_table [0 else 1] v0, block1(v0)"),
        expect![
            "block0, `br_table [0 else 1] v0, block1(v0)`: the table names an edge that is not there"
        ],
    );
}

#[test]
fn definitions_dominate_uses() {
    block(
        "v4 = i32.eqz v3\nv3 = i32.eqz v0\nreturn v4",
        expect!["block0, `v4 = i32.eqz v3`: v3, defined in block0, does not dominate this use"],
    );
    check(
        "func (i32) -> (i32) {
block0(v0: i32):
    branch_if v0, block1, block2
block1:
    v1 = i32.const 1
    jump block3(v1)
block2:
    jump block3(v1)
block3(v2: i32):
    v3 = i32.add v1, v2
    return v3
}
",
        expect![[r#"
            block2, `jump block3(v1)`: v1, defined in block1, does not dominate this use
            block3, `v3 = i32.add v1, v2`: v1, defined in block1, does not dominate this use"#]],
    );
    // A loop's header dominates its body, the body not its header.
    check(
        "func (i32) -> (i32) {
block0(v0: i32):
    jump block1(v0)
block1(v1: i32):
    v2 = i32.eqz v5
    branch_if v2, block2, block3
block2:
    v5 = i32.eqz v1
    jump block1(v5)
block3:
    return v1
}
",
        expect!["block1, `v2 = i32.eqz v5`: v5, defined in block2, does not dominate this use"],
    );
    // Anything goes where nothing comes.
    check(
        "func (i32) -> (i32) {
block0(v0: i32):
    return v0
block1:
    return v3
block2:
    v3 = i32.eqz v0
    jump block1
}
",
        expect!["valid"],
    );
}

#[test]
fn removed_things_are_not_used() {
    let mut graph = parse(
        "func (i32) -> (i32) {
block0(v0: i32):
    v1 = i32.eqz v0
    v2 = i32.eqz v1
    jump block1(v2)
block1(v3: i32):
    return v3
}
",
    )
    .unwrap();
    let entry = graph.entry();
    let next = graph.next_block(entry).unwrap();
    let first = graph.first_inst(entry).unwrap();
    let second = graph.next_inst(first).unwrap();

    graph.remove_inst(first);
    let error = verify(&graph, None, None).unwrap_err();
    expect!["block0, `v2 = i32.eqz v1`: v1 was removed"].assert_eq(&error.to_string());

    graph.insert_before(first, second);
    assert_eq!(verify(&graph, None, None), Ok(()));

    graph.remove_inst(second);
    let (v1, v2) = (graph.result(first), graph.result(second));
    graph.alias(v2, v1);
    let error = verify(&graph, None, None).unwrap_err();
    expect!["block0, `jump block1(v2)`: v2 is an alias of v1"].assert_eq(&error.to_string());

    graph.resolve_aliases();
    assert_eq!(verify(&graph, None, None), Ok(()));

    graph.remove_block(next);
    let error = verify(&graph, None, None).unwrap_err();
    expect!["block0, `jump block1(v1)`: block1 is not in the function"]
        .assert_eq(&error.to_string());
}

#[test]
fn immediates_are_of_the_op() {
    let mut graph = parse("func () -> () {\nblock0:\nv0 = i32.const 1\nreturn\n}").unwrap();
    let inst = graph.first_inst(graph.entry()).unwrap();
    graph.inst_mut(inst).op = Op::I64Const;
    let error = verify(&graph, None, None).unwrap_err();
    expect!["block0, `v0: i32 = i64.const 1`: immediate I32, expected I64"]
        .assert_eq(&error.to_string());
}

#[test]
fn results_of_terminators_are_on_their_own_edges() {
    let error = |text: &str| {
        let graph = parse(text).unwrap_or_else(|error| panic!("{error}"));
        verify(&graph, None, None).unwrap_err().to_string()
    };
    expect!["block1, `return v0`: v0 is a result of a terminator"].assert_eq(&error(
        "func () -> (i32) {
block0:
    v0: i32, v1 = try_call func0 block1, block2(v1) @0x1
block1:
    return v0
block2(v2: exnref):
    throw_ref v2 @0x2
}
",
    ));
    expect!["block0, `v0: i32, v1 = try_call func0 block1(v0), block2(v1, v0) @0x1`: v0 is not there on edge 1"]
        .assert_eq(&error(
            "func () -> (i32) {
block0:
    v0: i32, v1 = try_call func0 block1(v0), block2(v1, v0) @0x1
block1(v2: i32):
    return v2
block2(v3: exnref, v4: i32):
    throw_ref v3 @0x2
}
",
        ));
    expect!["block0, `v0: exnref = try_call func0 block1 @0x1`: 1 edges, expected two"].assert_eq(
        &error(
            "func () -> () {
block0:
    v0: exnref = try_call func0 block1 @0x1
block1:
    return
}
",
        ),
    );
}
