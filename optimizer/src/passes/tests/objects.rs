//! What is known of objects, and what is not.

use expect_test::{Expect, expect};

use super::run_passes;
use crate::graph::parse;

/// A function's body after the pass, without what is not used any more. `v0` and `v1` are references,
/// `v2` and `v3` integers.
#[track_caller]
fn check(text: &str, expected: Expect) {
    let text = format!(
        "func (anyref, anyref, i32, i32) -> () {{\nblock0(v0: anyref, v1: anyref, v2: i32, v3: i32):\n{}\n}}",
        text.trim()
    );
    let mut graph = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    run_passes(&mut graph, &["objects"], None);
    run_passes(&mut graph, &["dce"], None);
    let printed = graph.to_string();
    let lines: Vec<_> = printed.lines().skip(2).map(str::trim).collect();
    expected.assert_eq(&lines[..lines.len() - 1].join("\n"));
}

#[test]
fn fields_are_what_was_read_or_written() {
    check(
        "v4: anyref = struct.get type1 field=0 v0 @0x1
        v5: anyref = struct.get type1 field=0 v0 @0x2
        struct.set type1 field=0 v1, v5 @0x3
        v6: anyref = struct.get type1 field=0 v1 @0x4
        struct.set type1 field=0 v0, v6 @0x5
        return",
        expect![[r#"
            v4: anyref = struct.get type1 field=0 v0 @0x1
            struct.set type1 field=0 v1, v4 @0x3
            struct.set type1 field=0 v0, v4 @0x5
            return"#]],
    );
}

#[test]
fn a_write_ends_what_is_known_of_the_field_in_all_objects() {
    // Of the same field as a subtype has it, too; not of the other field.
    check(
        "v4: anyref = struct.get type1 field=0 v0 @0x1
        v5: i32 = struct.get type1 field=1 v0 @0x2
        struct.set type2 field=0 v1, v0 @0x3
        v6: anyref = struct.get type1 field=0 v0 @0x4
        v7: i32 = struct.get type2 field=1 v0 @0x5
        v8 = i32.add v5, v7
        global.set global0 v8
        struct.set type1 field=0 v1, v4 @0x6
        struct.set type1 field=0 v1, v6 @0x7
        return",
        expect![[r#"
            v4: anyref = struct.get type1 field=0 v0 @0x1
            v5: i32 = struct.get type1 field=1 v0 @0x2
            struct.set type2 field=0 v1, v0 @0x3
            v6: anyref = struct.get type1 field=0 v0 @0x4
            v8 = i32.add v5, v5
            global.set global0 v8
            struct.set type1 field=0 v1, v4 @0x6
            struct.set type1 field=0 v1, v6 @0x7
            return"#]],
    );
}

#[test]
fn calls_end_what_is_known_of_contents_alone() {
    check(
        "v4: anyref = ref.as_non_null v0 @0x1
        v5: anyref = struct.get type1 field=0 v4 @0x2
        v6: i32 = global.get global0
        v7: i32 = call func0 v2 @0x3
        v8: anyref = ref.as_non_null v0 @0x4
        v9: anyref = struct.get type1 field=0 v8 @0x5
        v10: i32 = global.get global0
        v11 = ref.is_null v0
        v12 = i32.add v6, v10
        v13 = i32.add v11, v12
        global.set global0 v13
        struct.set type1 field=0 v8, v5 @0x6
        struct.set type1 field=0 v8, v9 @0x7
        return",
        expect![[r#"
            v4: anyref = ref.as_non_null v0 @0x1
            v5: anyref = struct.get type1 field=0 v4 @0x2
            v6: i32 = global.get global0
            v7: i32 = call func0 v2 @0x3
            v9: anyref = struct.get type1 field=0 v0 @0x5
            v10: i32 = global.get global0
            v11 = i32.const 0
            v12 = i32.add v6, v10
            v13 = i32.add v11, v12
            global.set global0 v13
            struct.set type1 field=0 v0, v5 @0x6
            struct.set type1 field=0 v0, v9 @0x7
            return"#]],
    );
}

#[test]
fn new_objects_have_what_they_were_made_with() {
    check(
        "v4 = struct.new type2 v0, v2 @0x1
        v5 = struct.new type2 v1, v3 @0x2
        v6: anyref = struct.get type1 field=0 v4 @0x3
        v7: i32 = struct.get type1 field=1 v5 @0x4
        global.set global0 v7
        v8: i32 = global.get global0
        v9: i32 = call func0 v8 @0x5
        struct.set type1 field=0 v4, v6 @0x6
        return",
        expect![[r#"
            v4 = struct.new type2 v0, v2 @0x1
            global.set global0 v3
            v9: i32 = call func0 v3 @0x5
            struct.set type1 field=0 v4, v0 @0x6
            return"#]],
    );
}

#[test]
fn elements_at_constant_indices_are_apart_in_one_array() {
    check(
        "v4 = i32.const 1
        v5 = i32.const 2
        v6 = i32.const 1
        array.set type3 v0, v4, v1 @0x1
        array.set type3 v0, v5, v0 @0x2
        v7: anyref = array.get type3 v0, v6 @0x3
        array.set type3 v1, v5, v7 @0x4
        v8: anyref = array.get type3 v0, v6 @0x5
        v9: anyref = array.get type3 v0, v5 @0x6
        array.set type3 v0, v2, v8 @0x7
        v10: anyref = array.get type3 v0, v4 @0x8
        v11: anyref = array.get type3 v0, v2 @0x9
        v12 = array.len v0 @0xa
        v13 = array.len v0 @0xb
        v14 = i32.add v12, v13
        global.set global0 v14
        array.set type3 v1, v3, v9 @0xc
        array.set type3 v1, v3, v10 @0xd
        array.set type3 v1, v3, v11 @0xe
        return",
        expect![[r#"
            v4 = i32.const 1
            v5 = i32.const 2
            v6 = i32.const 1
            array.set type3 v0, v4, v1 @0x1
            array.set type3 v0, v5, v0 @0x2
            array.set type3 v1, v5, v1 @0x4
            v8: anyref = array.get type3 v0, v6 @0x5
            v9: anyref = array.get type3 v0, v5 @0x6
            array.set type3 v0, v2, v8 @0x7
            v10: anyref = array.get type3 v0, v4 @0x8
            v12 = array.len v0 @0xa
            v14 = i32.add v12, v12
            global.set global0 v14
            array.set type3 v1, v3, v9 @0xc
            array.set type3 v1, v3, v10 @0xd
            array.set type3 v1, v3, v8 @0xe
            return"#]],
    );
}

#[test]
fn tests_are_not_made_twice() {
    check(
        "v4 = ref.test type2 from null any v0
        branch_if v4, block1, block2
    block1:
        v5: anyref = ref.cast type2 from null any v0 @0x1
        v6: anyref = ref.cast type1 from null any v0 @0x2
        v7 = ref.is_null v0
        v8 = ref.test null type1 from null any v0
        v9 = i32.add v7, v8
        global.set global0 v9
        struct.set type1 field=0 v5, v6 @0x3
        return
    block2:
        v10: anyref = ref.cast type2 from null any v0 @0x4
        v11: anyref = ref.cast type1 from null any v0 @0x5
        struct.set type1 field=0 v10, v11 @0x6
        return",
        expect![[r#"
            v4 = ref.test type2 from null any v0
            branch_if v4, block1, block2
            block1:
            v7 = i32.const 0
            v8 = i32.const 1
            v9 = i32.add v7, v8
            global.set global0 v9
            struct.set type1 field=0 v0, v0 @0x3
            return
            block2:
            v10: anyref = ref.cast type2 from null any v0 @0x4
            struct.set type1 field=0 v10, v10 @0x6
            return"#]],
    );
}

#[test]
fn branches_on_what_is_known_go_one_way() {
    check(
        "v4 = ref.is_null v0
        v5 = i32.eqz v4
        branch_if v5, block1, block2
    block1:
        v6 = ref.is_null v0
        branch_if v6, block2, block3
    block2:
        v7 = ref.is_null v0
        branch_if v7, block3, block4
    block3:
        unreachable @0x1
    block4:
        return",
        expect![[r#"
            v4 = ref.is_null v0
            v5 = i32.eqz v4
            branch_if v5, block1, block2
            block1:
            jump block3
            block2:
            v7 = ref.is_null v0
            branch_if v7, block3, block4
            block3:
            unreachable @0x1
            block4:
            return"#]],
    );
}

#[test]
fn loops_know_of_references_what_was_known_before() {
    check(
        "v4: anyref = ref.cast type1 from null any v0 @0x1
        v5: anyref = struct.get type1 field=0 v4 @0x2
        jump block1(v1)
    block1(v6: anyref):
        v7: anyref = ref.cast type1 from null any v0 @0x3
        v8: anyref = struct.get type1 field=0 v7 @0x4
        v9: anyref = ref.as_non_null v6 @0x5
        struct.set type1 field=0 v9, v8 @0x6
        v10: anyref = struct.get type1 field=0 v9 @0x7
        branch_if v2, block1(v10), block2
    block2:
        struct.set type1 field=0 v5, v10 @0x8
        return",
        expect![[r#"
            v4: anyref = ref.cast type1 from null any v0 @0x1
            v5: anyref = struct.get type1 field=0 v4 @0x2
            jump block1(v1)
            block1(v6: anyref):
            v8: anyref = struct.get type1 field=0 v4 @0x4
            v9: anyref = ref.as_non_null v6 @0x5
            struct.set type1 field=0 v9, v8 @0x6
            branch_if v2, block1(v8), block2
            block2:
            struct.set type1 field=0 v5, v8 @0x8
            return"#]],
    );
}

#[test]
fn where_ways_meet_only_what_both_know_is_known() {
    check(
        "branch_if v2, block1, block2
    block1:
        v4: anyref = struct.get type1 field=0 v0 @0x1
        struct.set type1 field=0 v1, v4 @0x2
        jump block3
    block2:
        v5: anyref = ref.as_non_null v0 @0x3
        v6: anyref = ref.as_non_null v1 @0x4
        jump block3
    block3:
        v7: anyref = ref.as_non_null v0 @0x5
        v8: anyref = struct.get type1 field=0 v1 @0x6
        struct.set type1 field=0 v7, v8 @0x7
        return",
        expect![[r#"
            branch_if v2, block1, block2
            block1:
            v4: anyref = struct.get type1 field=0 v0 @0x1
            struct.set type1 field=0 v1, v4 @0x2
            jump block3
            block2:
            v5: anyref = ref.as_non_null v0 @0x3
            v6: anyref = ref.as_non_null v1 @0x4
            jump block3
            block3:
            v8: anyref = struct.get type1 field=0 v1 @0x6
            struct.set type1 field=0 v0, v8 @0x7
            return"#]],
    );
}
