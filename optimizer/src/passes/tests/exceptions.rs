//! Calls with an exceptional edge: what passes must leave alone.

use expect_test::{Expect, expect};

use super::run_passes;
use crate::graph::parse;
use crate::verify::verify;

#[track_caller]
fn check(passes: &[&str], text: &str, expected: Expect) {
    let mut graph = parse(text).unwrap_or_else(|error| panic!("{error}"));
    verify(&graph, None, None).unwrap_or_else(|error| panic!("{error}"));
    run_passes(&mut graph, passes, None);
    verify(&graph, None, None).unwrap_or_else(|error| panic!("{error}\n{graph}"));
    expected.assert_eq(&graph.to_string());
}

#[test]
fn results_are_taken_by_parameters() {
    // Each parameter always gets the same value, but that is to be had on its edge alone.
    check(
        &["simplify", "straighten", "dce"],
        "func (i32) -> (i32) {
block0(v0: i32):
    v1: i32, v2: exnref = try_call func0 v0, block1(v1, v0), block2(v2) @0x1
block1(v3: i32, v4: i32):
    v5 = i32.add v3, v4
    return v5
block2(v6: exnref) cold:
    throw_ref v6 @0x2
}
",
        expect![[r#"
            func (i32) -> (i32) {
            block0(v0: i32):
                v1: i32, v2 = try_call func0 v0, block1(v1), block2(v2) @0x1
            block1(v3: i32):
                v5 = i32.add v3, v0
                return v5
            block2(v6: exnref) cold:
                throw_ref v6 @0x2
            }
        "#]],
    );
}

#[test]
fn what_nobody_uses_goes_but_the_call() {
    check(
        &["simplify", "straighten", "dce"],
        "func (i32) -> (i32) {
block0(v0: i32):
    v1: i32, v2: exnref = try_call func0 v0, block1(v1), block2(v2) @0x1
block1(v3: i32):
    jump block3(v0)
block2(v6: exnref) cold:
    v7 = exn.tag v6
    v8 = i32.const 7
    jump block3(v8)
block3(v9: i32):
    return v9
}
",
        expect![[r#"
            func (i32) -> (i32) {
            block0(v0: i32):
                v1: i32, v2 = try_call func0 v0, block1, block2 @0x1
            block1:
                jump block3(v0)
            block2 cold:
                v8 = i32.const 7
                jump block3(v8)
            block3(v9: i32):
                return v9
            }
        "#]],
    );
}

#[test]
fn a_dispatch_that_only_goes_on_is_passed() {
    check(
        &["straighten", "dce"],
        "func (i32) -> () {
block0(v0: i32):
    v5: i32, v6: exnref = try_call func0 v0, block1, block3(v6) @0x1
block1:
    v7: i32, v8: exnref = try_call func0 v0, block2, block3(v8) @0x2
block2:
    return
block3(v3: exnref) cold:
    jump block4(v3)
block4(v4: exnref) cold:
    throw_ref v4 @0x3
}
",
        expect![[r#"
            func (i32) -> () {
            block0(v0: i32):
                v5: i32, v6 = try_call func0 v0, block1, block3(v6) @0x1
            block1:
                v7: i32, v8 = try_call func0 v0, block2, block3(v8) @0x2
            block2:
                return
            block3(v3: exnref) cold:
                throw_ref v3 @0x3
            }
        "#]],
    );
}
