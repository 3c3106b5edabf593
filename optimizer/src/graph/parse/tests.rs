use expect_test::{Expect, expect};

use super::parse;
use crate::graph::{ImmKind, Op, Slot, Type};
use crate::verify::verify;

/// Printing what was parsed gives the text.
#[track_caller]
fn round_trip(text: &str) {
    match parse(text) {
        Ok(graph) => assert_eq!(graph.to_string(), text),
        Err(error) => panic!("{error}\n{text}"),
    }
}

#[test]
fn control_flow_round_trips() {
    round_trip(
        "func (i32, i64) -> (i32) {
  inline 1: func7 in 0 @0x120
  inline 2: func9 in 1 @0x44
block0(v0: i32, v1: i64):
    v2 = i32.load offset=16 v0 @0x1f3
    v3: i32, v4: f64 = call func3 v2, v1, v2, v0 @2:0x1f9
    branch_if taken=200 v3, block1(v2, v1), block4
block1(v6: i32, v7: i64) loop @0x201 cold:
    br_table [0 1 0 else 1] v6, block1(v10, v7), block2
block2 cold:
    unreachable @0x1
block4:
    v10 = i32.const -5
    v11 = i32.add v10, v0
    unreachable IntegerOverflow @0x2
}
",
    );
}

#[test]
fn constants_round_trip() {
    round_trip(
        "func () -> () {
block0:
    v0 = i32.const -2147483648
    v1 = i64.const 9223372036854775807
    v2 = f32.const 0.1
    v3 = f32.const -0.0
    v4 = f32.const 1e-45
    v5 = f32.const inf
    v6 = f32.const nan:0x400000
    v7 = f32.const -nan:0x1
    v8 = f64.const -inf
    v9 = f64.const 1.7976931348623157e308
    v10 = f64.const nan:0xfffffffffffff
    v11 = v128.const 0x000102030405060708090a0b0c0d0e0f
    v12 = i8x16.shuffle [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 31] v11, v11
    v13: externref = ref.null
    return
}
",
    );
}

/// A line for each op, with an immediate that is not the shortest one of its kind.
#[test]
fn every_op_round_trips() {
    for &op in Op::ALL {
        let info = op.info();
        let mut line = String::from("    ");
        for (i, slot) in info.results.iter().enumerate() {
            line += if i > 0 { ", " } else { "" };
            line += &format!("v{}", 7 + i);
            if slot.fixed().is_none() {
                line += ": i64";
            }
        }
        if !info.results.is_empty() {
            line += " = ";
        }
        line += op.name();
        line += match info.imm {
            ImmKind::None => "",
            ImmKind::I32 | ImmKind::I64 => " -1",
            ImmKind::F32 | ImmKind::F64 => " 1.5",
            ImmKind::V128 => " 0x00000000000000000000000000000001",
            ImmKind::Lane => " lane=1",
            ImmKind::Shuffle => " [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15]",
            ImmKind::Mem => " memory=1 offset=18446744073709551615",
            ImmKind::MemLane => " offset=1 lane=1",
            ImmKind::Memory => " memory0",
            ImmKind::MemoryPair => " memory0 memory1",
            ImmKind::MemoryInit => " memory0 data4294967294",
            ImmKind::Data => " data3",
            ImmKind::Table => " table1",
            ImmKind::TablePair => " table1 table2",
            ImmKind::TableInit => " table1 elem2",
            ImmKind::Elem => " elem5",
            ImmKind::Global => " global6",
            ImmKind::Func => " func7",
            ImmKind::CallIndirect => " type8 table0",
            ImmKind::Type => " type3",
            ImmKind::Field => " type3 field=70000",
            ImmKind::TypeData => " type1 data2",
            ImmKind::TypeElem => " type1 elem2",
            ImmKind::TypePair => " type1 type2",
            ImmKind::Cast => " null type4 from null eq",
            ImmKind::Tag => " tag5",
            ImmKind::ExnField => " tag5 field=3",
            ImmKind::Hint => " taken=0",
            ImmKind::JumpTable => " [1 else 0]",
            ImmKind::Trap => " OutOfFuel",
        };
        let args = info.operands.iter().filter(|&&slot| slot != Slot::Rest);
        let args: Vec<String> = args.enumerate().map(|(i, _)| format!("v{i}")).collect();
        if !args.is_empty() {
            line += " ";
            line += &args.join(", ");
        }
        if op.effects().intersects(crate::graph::Effects::CAN_TRAP) {
            line += " @0x10";
        }
        round_trip(&format!(
            "func (i32, i32, i32, i32, i32) -> () {{\nblock0(v0: i32, v1: i32, v2: i32, v3: i32, v4: i32):\n{line}\n}}\n"
        ));
    }
}

#[test]
fn types_are_named() {
    for &ty in Type::ALL {
        round_trip(&format!(
            "func ({ty}) -> ({ty}) {{\nblock0(v0: {ty}):\n    return v0\n}}\n"
        ));
    }
}

#[track_caller]
fn refused(text: &str, expected: Expect) {
    let error = parse(text).map(|graph| graph.to_string()).unwrap_err();
    expected.assert_eq(&error.to_string());
}

#[test]
fn errors_say_where() {
    let body = |text: &str| format!("func (i32) -> () {{\nblock0(v0: i32):\n    {text}\n}}\n");
    refused("", expect!["1:1: expected `func`, found `the end`"]);
    refused(
        "func () -> () {\n}\n",
        expect!["2:1: expected a block, found `}`"],
    );
    refused(
        "func (i64) -> () {\nblock0(v0: i32):\n    return\n}\n",
        expect!["1:6: these are not the parameters of the first block"],
    );
    refused(
        &body("v1 = i32.dad v0"),
        expect!["3:10: expected an instruction, found `i32.dad`"],
    );
    refused(
        &body("v1 = i32.eqz v2"),
        expect!["3:18: v2 is defined nowhere"],
    );
    refused(
        &body("v0 = i32.eqz v0"),
        expect!["3:5: v0 is defined a second time"],
    );
    refused(&body("jump block7"), expect!["3:10: block7 is nowhere"]);
    refused(
        &body("v1 = i32.eqz block0"),
        expect!["3:18: i32.eqz has no edges"],
    );
    refused(
        &body("v1 = i32.const 4294967296"),
        expect!["3:20: expected a 32-bit number, found `4294967296`"],
    );
    refused(
        &body("v1 = f32.const nan:0x800000"),
        expect!["3:24: a payload is 1 to 23 bits, not all 0"],
    );
    refused(
        &body("v4000000000 = i32.eqz v0"),
        expect!["3:5: number too large for a text of this length"],
    );
    refused(
        &body("v1 = ref.null"),
        expect!["3:5: ref.null does not say the type of v1: write it"],
    );
    refused(
        &body("v1 = memory.size memory0"),
        expect!["3:5: memory.size does not say the type of v1: write it"],
    );
    refused(
        &body("v1: i32, v3: i32 = call func0 @0x1"),
        expect!["3:14: the results of an instruction are numbered consecutively"],
    );
    refused(
        &body("return\nblock0:\n    return"),
        expect!["4:1: block0 stands here a second time"],
    );
}

/// Mutilated texts are refused or accepted, but end; what is accepted prints and can be verified.
#[test]
fn garbage_does_not_panic() {
    let text = "func (i32, i64) -> (i32) {
  inline 1: func7 in 0 @0x120
block0(v0: i32, v1: i64):
    v2 = i32.load offset=16 v0 @0x1f3
    v3: i32, v4: f64 = call func3 v2, v1, v2, v0 @1:0x1f9
    v5 = f64.const nan:0x1
    v6 = v128.const 0x1
    v7 = i8x16.extract_lane_u lane=3 v6
    branch_if taken=200 v3, block1(v2), block2
block1(v8: i32) loop @0x201:
    br_table [0 1 0 else 1] v8, block1(v8), block2
block2 cold:
    return v2
}
";
    assert_eq!(text.len(), text.chars().count());
    round_trip(&text.replace("0x1\n    v7", "0x00000000000000000000000000000001\n    v7"));
    let mut accepted = 0;
    let mut rng = crate::passes::tests::random::Rng::new(7);
    for _ in 0..20_000 {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..=rng.below(3) {
            let (at, other) = (rng.below(bytes.len()), rng.below(bytes.len()));
            match rng.below(4) {
                0 => drop(bytes.remove(at)),
                1 => bytes.swap(at, other),
                2 => bytes[at] = b' ' + rng.below(95) as u8,
                _ => bytes.insert(at, bytes[other]),
            }
        }
        let mutilated = String::from_utf8(bytes).unwrap();
        if let Ok(graph) = parse(&mutilated) {
            accepted += 1;
            let printed = graph.to_string();
            let again = parse(&printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
            assert_eq!(again.to_string(), printed);
            let _ = verify(&graph, None, None);
        }
    }
    assert!(accepted > 500, "only {accepted} were accepted");
}
