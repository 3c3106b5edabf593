use expect_test::{Expect, expect};

use super::run_passes;
use crate::graph::parse;

#[track_caller]
fn check(passes: &[&str], text: &str, expected: Expect) {
    let mut graph = parse(text).unwrap_or_else(|error| panic!("{error}"));
    run_passes(&mut graph, passes, None);
    expected.assert_eq(&graph.to_string());
}

/// What one block of lines comes to, without the frame and without constants nobody uses.
/// `v0` to `v5` are an i32, i64, f32, f64, byte (as i32) and truth value (as i32).
#[track_caller]
fn lines(text: &str, expected: Expect) {
    let text = format!(
        "func (i32, i64, f32, f64, i32, i32) -> (i32) {{
block0(v0: i32, v1: i64, v2: f32, v3: f64, v90: i32, v91: i32):
    v92 = i32.const 255
    v4 = i32.and v90, v92
    v5 = i32.eqz v91
    global.set global0 v4
    global.set global0 v5
    {}
}}",
        text.trim().replace('\n', "\n    ")
    );
    let mut graph = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    run_passes(&mut graph, &["simplify", "dce"], None);
    let printed = graph.to_string();
    let lines = printed
        .lines()
        .skip(7)
        .map(str::trim)
        .filter(|line| *line != "}");
    expected.assert_eq(&lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn constants_are_folded() {
    lines(
        "v6 = i32.const 7\nv7 = i32.const -2\nv8 = i32.mul v6, v7\nreturn v8",
        expect![[r#"
            v8 = i32.const -14
            return v8"#]],
    );
    lines(
        "v6 = f64.const 0.5\nv7 = f64.add v6, v6\nv8 = i32.trunc_f64_s v7 @0x1\nreturn v8",
        expect![[r#"
            v8 = i32.const 1
            return v8"#]],
    );
    lines(
        "v6 = i64.const -1\nv7 = i64.const 1\nv8 = i64.lt_u v6, v7\nreturn v8",
        expect![[r#"
            v8 = i32.const 0
            return v8"#]],
    );
    // The payload of a NaN is not ours to choose.
    lines(
        "v6 = f32.const inf\nv7 = f32.sub v6, v6\nv8 = i32.reinterpret_f32 v7\nreturn v8",
        expect![[r#"
            v6 = f32.const inf
            v7 = f32.sub v6, v6
            v8 = i32.reinterpret_f32 v7
            return v8"#]],
    );
}

#[test]
fn traps_stay_in_place() {
    lines(
        "v6 = i32.const 0\nv7 = i32.const 1\nv8 = i32.div_s v7, v6 @0x1\nreturn v0",
        expect![[r#"
            v6 = i32.const 0
            v7 = i32.const 1
            v8 = i32.div_s v7, v6 @0x1
            return v0"#]],
    );
    lines(
        "v6 = i32.const -2147483648\nv7 = i32.const -1\nv8 = i32.div_s v6, v7 @0x1\nreturn v8",
        expect![[r#"
            v6 = i32.const -2147483648
            v7 = i32.const -1
            v8 = i32.div_s v6, v7 @0x1
            return v8"#]],
    );
    lines(
        "v6 = f32.const nan:0x1\nv7 = i32.trunc_f32_s v6 @0x1\nreturn v7",
        expect![[r#"
            v6 = f32.const nan:0x1
            v7 = i32.trunc_f32_s v6 @0x1
            return v7"#]],
    );
    lines(
        "v6 = i32.load v0 @0x1\nreturn v0",
        expect![[r#"
        v6 = i32.load v0 @0x1
        return v0"#]],
    );
    lines(
        "v6 = i32.div_u v0, v0 @0x1\nreturn v0",
        expect![[r#"
        v6 = i32.div_u v0, v0 @0x1
        return v0"#]],
    );
}

#[test]
fn divisions_that_cannot_trap_are_none() {
    lines(
        "v6 = i32.const 8\nv7 = i32.div_u v0, v6 @0x1\nv8 = i32.rem_u v7, v6 @0x2\nreturn v8",
        expect![[r#"
            v93 = i32.const 3
            v7 = i32.shr_u v0, v93
            v94 = i32.const 7
            v8 = i32.and v7, v94
            return v8"#]],
    );
    lines(
        "v6 = i32.const 16\nv7 = i32.div_s v4, v6 @0x1\nreturn v7",
        expect![[r#"
            v94 = i32.const 4
            v7 = i32.shr_u v4, v94
            return v7"#]],
    );
    lines(
        "v6 = i32.const 256\nv7 = i32.rem_u v4, v6 @0x1\nreturn v7",
        expect!["return v4"],
    );
    lines(
        "v6 = i32.const 7\nv7 = i32.div_s v0, v6 @0x1\nreturn v0",
        expect!["return v0"],
    );
    lines(
        "v6 = i32.const -1\nv7 = i32.div_s v0, v6 @0x1\nreturn v0",
        expect![[r#"
            v6 = i32.const -1
            v7 = i32.div_s v0, v6 @0x1
            return v0"#]],
    );
}

#[test]
fn tests_of_tests_are_one_test() {
    lines(
        "v6 = i32.eqz v5\nv7 = i32.eqz v6\nreturn v7",
        expect!["return v5"],
    );
    lines(
        "v6 = i64.lt_s v1, v1\nreturn v6",
        expect![[r#"
        v6 = i32.const 0
        return v6"#]],
    );
    lines(
        "v6 = i32.lt_s v0, v4\nv7 = i32.eqz v6\nreturn v7",
        expect![[r#"
            v7 = i32.ge_s v0, v4
            return v7"#]],
    );
    lines(
        "v6 = f64.lt v3, v3\nv7 = i32.eqz v6\nreturn v7",
        expect![[r#"
            v6 = f64.lt v3, v3
            v7 = i32.eqz v6
            return v7"#]],
    );
    lines(
        "v6 = f64.eq v3, v3\nv7 = i32.eqz v6\nreturn v7",
        expect![[r#"
            v7 = f64.ne v3, v3
            return v7"#]],
    );
    lines(
        "v6 = i32.const 1\nv7 = i32.and v5, v6\nreturn v7",
        expect!["return v5"],
    );
    lines(
        "v6 = i64.extend_i32_u v5\nv7 = i64.const 0\nv8 = i64.ne v6, v7\nreturn v8",
        expect!["return v5"],
    );
    lines(
        "v6 = i32.const 0\nv7 = i32.const 1\nv8: i32 = select v6, v7, v5\nreturn v8",
        expect![[r#"
            v8 = i32.eqz v5
            return v8"#]],
    );
}

#[test]
fn small_numbers_are_known_to_be_small() {
    lines(
        "v6 = i32.const 300\nv7 = i32.lt_u v4, v6\nreturn v7",
        expect![[r#"
            v7 = i32.const 1
            return v7"#]],
    );
    lines(
        "v6 = i32.const 0\nv7 = i32.lt_s v4, v6\nreturn v7",
        expect![[r#"
            v7 = i32.const 0
            return v7"#]],
    );
    lines(
        "v6 = i32.const 511\nv7 = i32.and v4, v6\nreturn v7",
        expect!["return v4"],
    );
    lines(
        "v6 = i32.const 256\nv7 = i32.eq v4, v6\nreturn v7",
        expect![[r#"
            v7 = i32.const 0
            return v7"#]],
    );
    lines(
        "v6 = i64.extend_i32_s v4\nglobal.set global1 v6\nreturn v4",
        expect![[r#"
            v6 = i64.extend_i32_u v4
            global.set global1 v6
            return v4"#]],
    );
    lines(
        "v6 = i64.const 4095\nv7 = i64.and v1, v6\nv8 = i32.wrap_i64 v7\nv9 = i64.extend_i32_u v8\nglobal.set global1 v9\nreturn v4",
        expect![[r#"
            v6 = i64.const 4095
            v7 = i64.and v1, v6
            global.set global1 v7
            return v4"#]],
    );
}

#[test]
fn addresses_take_what_does_not_wrap() {
    lines(
        "v6 = i32.const 100\nv7 = i32.add v4, v6\nv8 = i32.load offset=8 v7 @0x1\nreturn v8",
        expect![[r#"
            v8 = i32.load offset=108 v4 @0x1
            return v8"#]],
    );
    lines(
        "v6 = i32.const 100\nv7 = i32.add v0, v6\nv8 = i32.load offset=8 v7 @0x1\nreturn v8",
        expect![[r#"
            v6 = i32.const 100
            v7 = i32.add v0, v6
            v8 = i32.load offset=8 v7 @0x1
            return v8"#]],
    );
    lines(
        "v6 = i32.const 1073741824\nv7 = i32.add v4, v6\nv8 = i32.load v7 @0x1\nreturn v8",
        expect![[r#"
            v6 = i32.const 1073741824
            v7 = i32.add v4, v6
            v8 = i32.load v7 @0x1
            return v8"#]],
    );
    lines(
        "v6 = i32.const 1024\nv7 = i32.or v4, v6\ni32.store8 v7, v0 @0x1\nreturn v0",
        expect![[r#"
            i32.store8 offset=1024 v4, v0 @0x1
            return v0"#]],
    );
}

const DIAMOND: &str = "func (i32, i32) -> (i32) {
block0(v0: i32, v1: i32):
    v2 = i32.const CONDITION
    branch_if v2, block1, block2
block1:
    v3 = i32.load v0 @0x1
    jump block3(v3)
block2:
    v4: i32 = call func0 v1 @0x2
    jump block3(v4)
block3(v5: i32):
    return v5
}
";

#[test]
fn a_decided_branch_takes_its_region_away() {
    let all = ["simplify", "straighten", "dce"];
    check(
        &all,
        &DIAMOND.replace("CONDITION", "0"),
        expect![[r#"
        func (i32, i32) -> (i32) {
        block0(v0: i32, v1: i32):
            v4: i32 = call func0 v1 @0x2
            return v4
        }
    "#]],
    );
    check(
        &all,
        &DIAMOND.replace("CONDITION", "7"),
        expect![[r#"
        func (i32, i32) -> (i32) {
        block0(v0: i32, v1: i32):
            v3 = i32.load v0 @0x1
            return v3
        }
    "#]],
    );
    check(
        &["simplify"],
        &DIAMOND.replace("CONDITION", "7"),
        expect![[r#"
            func (i32, i32) -> (i32) {
            block0(v0: i32, v1: i32):
                v2 = i32.const 7
                jump block1
            block1:
                v3 = i32.load v0 @0x1
                jump block3(v3)
            block2:
                v4: i32 = call func0 v1 @0x2
                jump block3(v4)
            block3(v5: i32):
                return v5
            }
        "#]],
    );
}

#[test]
fn conditions_are_stripped() {
    check(
        &["simplify", "dce"],
        "func (i32) -> (i32) {
block0(v0: i32):
    v1 = i32.eqz v0
    branch_if taken=200 v1, block1(v0), block2
block1(v2: i32):
    v3 = i32.const 0
    v4 = i32.ne v2, v3
    v5 = i32.eqz v4
    v6 = i32.eqz v5
    branch_if taken=3 v6, block2, block3
block2:
    return v0
block3:
    unreachable @0x1
}
",
        expect![[r#"
            func (i32) -> (i32) {
            block0(v0: i32):
                v1 = i32.eqz v0
                branch_if taken=200 v1, block1, block2
            block1:
                branch_if taken=3 v0, block2, block3
            block2:
                return v0
            block3:
                unreachable @0x1
            }
        "#]],
    );
}

#[test]
fn tables_with_few_ways_are_none() {
    let text = "func (i32) -> (i32) {
block0(v0: i32):
    v1 = i32.const 2
    br_table [TABLE] INDEX, block1(v0), block2
block1(v2: i32):
    return v2
block2:
    return v0
}
";
    let with = |table: &str, index: &str| text.replace("TABLE", table).replace("INDEX", index);
    check(
        &["simplify"],
        &with("0 1 0 else 1", "v1"),
        expect![[r#"
        func (i32) -> (i32) {
        block0(v0: i32):
            v1 = i32.const 2
            jump block1(v0)
        block1(v2: i32):
            return v2
        block2:
            return v0
        }
    "#]],
    );
    check(
        &["simplify"],
        &with("0 0 else 1", "v1"),
        expect![[r#"
        func (i32) -> (i32) {
        block0(v0: i32):
            v1 = i32.const 2
            jump block2
        block1(v2: i32):
            return v2
        block2:
            return v0
        }
    "#]],
    );
    check(
        &["simplify"],
        &with("1 1 else 1", "v0"),
        expect![[r#"
        func (i32) -> (i32) {
        block0(v0: i32):
            v1 = i32.const 2
            jump block2
        block1(v2: i32):
            return v2
        block2:
            return v0
        }
    "#]],
    );
    check(
        &["simplify"],
        &with("0 else 1", "v0"),
        expect![[r#"
        func (i32) -> (i32) {
        block0(v0: i32):
            v1 = i32.const 2
            branch_if v0, block2, block1(v0)
        block1(v2: i32):
            return v2
        block2:
            return v0
        }
    "#]],
    );
    check(
        &["simplify"],
        &with("0 0 else 1", "v0"),
        expect![[r#"
        func (i32) -> (i32) {
        block0(v0: i32):
            v1 = i32.const 2
            br_table [0 0 else 1] v0, block1(v0), block2
        block1(v2: i32):
            return v2
        block2:
            return v0
        }
    "#]],
    );
}

#[test]
fn jumps_skip_blocks_that_only_jump() {
    let text = "func (i32, i32) -> (i32) {
block0(v0: i32, v1: i32):
    branch_if v0, block1(v1), block2
block1(v2: i32):
    jump block3
block2:
    global.set global0 v0
    branch_if v1, OTHER, block3
block3:
    return v1
}
";
    let both = ["straighten", "dce"];
    check(
        &both,
        &text.replace("OTHER", "block1(v0)"),
        expect![[r#"
        func (i32, i32) -> (i32) {
        block0(v0: i32, v1: i32):
            branch_if v0, block3, block2
        block2:
            global.set global0 v0
            jump block3
        block3:
            return v1
        }
    "#]],
    );
    // With one way in it is where the moves of that way have their place.
    check(
        &both,
        &text.replace("OTHER", "block3"),
        expect![[r#"
        func (i32, i32) -> (i32) {
        block0(v0: i32, v1: i32):
            branch_if v0, block1, block2
        block1:
            jump block3
        block2:
            global.set global0 v0
            jump block3
        block3:
            return v1
        }
    "#]],
    );
}

#[test]
fn truth_values_are_branched_on_once() {
    check(
        &["straighten", "dce"],
        "func (i32, i32) -> (i32) {
block0(v0: i32, v1: i32):
    v2 = i32.const 0
    branch_if v0, block1, block2(v2, v0)
block1:
    v3 = i32.eqz v1
    global.set global0 v3
    jump block2(v3, v1)
block2(v4: i32, v5: i32):
    branch_if v4, block3(v5), block4(v5)
block3(v6: i32):
    return v6
block4(v7: i32):
    v8 = i32.eqz v7
    return v8
}
",
        expect![[r#"
            func (i32, i32) -> (i32) {
            block0(v0: i32, v1: i32):
                branch_if v0, block1, block4(v0)
            block1:
                v3 = i32.eqz v1
                global.set global0 v3
                branch_if v3, block3, block4(v1)
            block3:
                return v1
            block4(v7: i32):
                v8 = i32.eqz v7
                return v8
            }
        "#]],
    );
}

#[test]
fn loops_keep_the_block_before_them() {
    check(
        &["straighten", "dce"],
        "func (i32) -> (i32) {
block0(v0: i32):
    branch_if v0, block1, block4
block1:
    jump block2(v0)
block2(v1: i32) loop @0x10:
    v2 = i32.load v1 @0x11
    branch_if v2, block2(v2), block3
block3:
    jump block4
block4:
    return v0
}
",
        expect![[r#"
            func (i32) -> (i32) {
            block0(v0: i32):
                branch_if v0, block1, block4
            block1:
                jump block2(v0)
            block2(v1: i32) loop @0x10:
                v2 = i32.load v1 @0x11
                branch_if v2, block2(v2), block3
            block3:
                jump block4
            block4:
                return v0
            }
        "#]],
    );
}

#[test]
fn parameters_that_are_always_the_same_are_none() {
    // Around a loop, and by way of another parameter.
    check(
        &["dce"],
        "func (i32, i32) -> (i32) {
block0(v0: i32, v1: i32):
    jump block1(v0, v1, v0)
block1(v2: i32, v3: i32, v4: i32) loop @0x1:
    v5: i32 = call func0 v3 @0x2
    branch_if v5, block2(v4, v2), block1(v2, v5, v4)
block2(v6: i32, v7: i32):
    branch_if v6, block1(v7, v3, v6), block3
block3:
    v8 = i32.add v2, v4
    return v8
}
",
        expect![[r#"
            func (i32, i32) -> (i32) {
            block0(v0: i32, v1: i32):
                jump block1(v1)
            block1(v3: i32) loop @0x1:
                v5: i32 = call func0 v3 @0x2
                branch_if v5, block2, block1(v5)
            block2:
                branch_if v0, block1(v3), block3
            block3:
                v8 = i32.add v0, v0
                return v8
            }
        "#]],
    );
}

#[test]
fn what_only_computes_itself_is_dead() {
    check(
        &["dce"],
        "func (i32) -> (i32) {
block0(v0: i32):
    v1 = i32.const 1
    v2 = i64.const 0
    jump block1(v0, v2)
block1(v3: i32, v4: i64) loop @0x1:
    v5 = i64.extend_i32_u v3
    v6 = i64.add v4, v5
    v7 = i32.sub v3, v1
    branch_if v7, block1(v7, v6), block2(v6)
block2(v8: i64):
    v9 = i64.const 3
    v10 = i64.div_s v8, v9 @0x2
    return v0
}
",
        expect![[r#"
            func (i32) -> (i32) {
            block0(v0: i32):
                v1 = i32.const 1
                jump block1(v0)
            block1(v3: i32) loop @0x1:
                v7 = i32.sub v3, v1
                branch_if v7, block1(v7), block2
            block2:
                return v0
            }
        "#]],
    );
}

#[test]
fn fuel_stops_in_the_middle() {
    let text = "func (i32) -> (i32) {
block0(v0: i32):
    v1 = i32.const 0
    v2 = i32.add v0, v1
    v3 = i32.or v2, v1
    v4 = i32.xor v3, v1
    return v4
}
";
    let results: Vec<String> = (0..6)
        .map(|fuel| {
            let mut graph = parse(text).unwrap();
            let changed = run_passes(&mut graph, &["simplify", "dce"], Some(fuel));
            format!(
                "{fuel}: {} lines after {changed:?}",
                graph.to_string().lines().count()
            )
        })
        .collect();
    expect![[r#"
        0: 8 lines after []
        1: 7 lines after ["simplify"]
        2: 6 lines after ["simplify"]
        3: 5 lines after ["simplify"]
        4: 4 lines after ["simplify", "dce"]
        5: 4 lines after ["simplify", "dce"]"#]]
    .assert_eq(&results.join("\n"));
}

/// What one block of lines about references comes to; `v0` is an `anyref`, `v1` an `i32`.
#[track_caller]
fn references(text: &str, expected: Expect) {
    let text = format!(
        "func (anyref, i32) -> (i32) {{\nblock0(v0: anyref, v1: i32):\n    {}\n}}",
        text.trim().replace('\n', "\n    ")
    );
    let mut graph = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    run_passes(&mut graph, &["simplify", "dce"], None);
    let printed = graph.to_string();
    let lines = printed.lines().skip(2).map(str::trim);
    let lines: Vec<_> = lines.filter(|line| *line != "}").collect();
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn what_a_reference_is_decides_tests() {
    references(
        "v2 = struct.new_default type2 @0x1
         v3 = ref.test type1 from null any v2
         v4 = ref.is_null v2
         v5 = i32.add v3, v4
         return v5",
        expect![[r#"
            v5 = i32.const 1
            return v5"#]],
    );
    references(
        "v2 = struct.new_default type2 @0x1
         v3 = ref.test type3 from null any v2
         v4 = ref.test null i31 from null any v2
         v5 = i32.add v3, v4
         return v5",
        expect![[r#"
            v5 = i32.const 0
            return v5"#]],
    );
    // A field may be null.
    references(
        "v2 = struct.new_default type2 @0x1
         v3: anyref = struct.get type2 field=0 v2 @0x2
         v4 = ref.test type2 from null any v3
         return v4",
        expect![[r#"
            v2 = struct.new_default type2 @0x1
            v3: anyref = struct.get type2 field=0 v2 @0x2
            v4 = ref.test type2 from null type1 v3
            return v4"#]],
    );
}

#[test]
fn casts_that_cannot_fail_are_their_operands() {
    references(
        "v2: anyref = ref.cast null type1 from null any v0 @0x1
         v3: anyref = ref.cast null struct from null any v2 @0x2
         v4: anyref = ref.as_non_null v3 @0x3
         v5: anyref = ref.cast type1 from null any v4 @0x4
         v6: anyref = ref.as_non_null v5 @0x5
         v7: i32 = struct.get type1 field=1 v6 @0x6
         return v7",
        expect![[r#"
            v2: anyref = ref.cast null type1 from null any v0 @0x1
            v4: anyref = ref.as_non_null v2 @0x3
            v7: i32 = struct.get type1 field=1 v4 @0x6
            return v7"#]],
    );
    // A cast that fails stays where it is.
    references(
        "v2 = ref.i31 v1
         v3: anyref = ref.cast type1 from null any v2 @0x1
         v4 = ref.eq v3, v3
         return v4",
        expect![[r#"
            v2 = ref.i31 v1
            v3: anyref = ref.cast type1 from i31 v2 @0x1
            v4 = i32.const 1
            return v4"#]],
    );
}

#[test]
fn objects_that_nobody_uses_are_not_made() {
    references(
        "v2 = ref.i31 v1
         v3 = array.new_fixed type3 @0x1
         v4: externref = extern.convert_any v0
         v5 = any.convert_extern v4
         v6 = ref.eq v5, v0
         return v6",
        expect![[r#"
            v6 = i32.const 1
            return v6"#]],
    );
}

#[test]
fn what_is_hardly_ever_reached_is_cold() {
    check(
        &["cold"],
        "func (i32) -> (i32) {
block0(v0: i32):
    branch_if taken=0 v0, block1, block2
block1:
    jump block3
block3 loop @0x5:
    branch_if v0, block3, block4
block4:
    jump block5
block2:
    branch_if taken=255 v0, block5, block6
block6:
    jump block5
block5:
    return v0
}
",
        expect![[r#"
            func (i32) -> (i32) {
            block0(v0: i32):
                branch_if taken=0 v0, block1, block2
            block1 cold:
                jump block3
            block3 loop @0x5 cold:
                branch_if v0, block3, block4
            block4 cold:
                jump block5
            block2:
                branch_if taken=255 v0, block5, block6
            block6 cold:
                jump block5
            block5:
                return v0
            }
        "#]],
    );
}
