//! Programs: random ones for the interpreters, and one for each op.

use std::fmt::Write;

use crate::graph::{ImmKind, Op, Slot};

const LOCALS: u32 = 7;

struct Generator {
    state: u64,
    text: String,
    /// How many values each open label takes.
    labels: Vec<u32>,
    budget: u32,
}

/// A module whose first function of its own has three parameters and two results, all `i32`. It
/// ends: each turn of a loop takes one from global 1, and global 0 is a trace.
pub fn program(seed: u64) -> String {
    let mut g = Generator {
        state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1,
        text: String::from(
            "(module
  (import \"\" \"f\" (func $f (param i32 i32) (result i32 i32)))
  (global (mut i32) (i32.const 1)) (global (mut i32) (i32.const 40))
  (func (param i32 i32 i32) (result i32 i32) (local i32 i32 i32 i32)\n",
        ),
        labels: vec![2],
        budget: 40 + (seed % 120) as u32,
    };
    g.sequence(0, 2, 0);
    g.text.push_str("))");
    g.text
}

impl Generator {
    fn next(&mut self, n: u32) -> u32 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        ((self.state >> 32) as u32) % n
    }

    fn line(&mut self, depth: usize, line: &str) {
        writeln!(self.text, "{:1$}{line}", "", 4 + 2 * depth).unwrap();
    }

    fn value(&mut self, depth: usize) {
        if self.next(3) == 0 {
            let n = self.next(5) as i32 - 1;
            self.line(depth, &format!("i32.const {n}"));
        } else {
            let n = self.next(LOCALS);
            self.line(depth, &format!("local.get {n}"));
        }
    }

    /// Instructions that take `height` operands of the block's to `results`.
    fn sequence(&mut self, mut height: u32, results: u32, depth: usize) {
        let count = 2 + self.next(10);
        for _ in 0..count {
            if self.budget == 0 {
                break;
            }
            self.budget -= 1;
            match self.next(20) {
                0 | 1 => {
                    self.value(depth);
                    height += 1;
                }
                2..=5 => {
                    if height == 0 {
                        self.value(depth);
                        height += 1;
                    }
                    let n = self.next(LOCALS);
                    if self.next(4) == 0 {
                        self.line(depth, &format!("local.tee {n}"));
                    } else {
                        self.line(depth, &format!("local.set {n}"));
                        height -= 1;
                    }
                }
                6 | 7 => {
                    height = self.at_least(2, height, depth);
                    let ops = ["add", "sub", "mul", "xor", "and", "lt_u", "add", "div_u"];
                    let op = ops[self.next(ops.len() as u32) as usize];
                    self.line(depth, &format!("i32.{op}"));
                    height -= 1;
                }
                8..=12 if depth < 9 => height = self.construct(height, depth),
                13 | 14 => {
                    let (label, arity) = self.label();
                    height = self.at_least(arity, height, depth);
                    self.value(depth);
                    self.line(depth, &format!("br_if {label}"));
                }
                15 => {
                    if self.next(3) == 0 {
                        self.leave(height, depth);
                        return;
                    }
                }
                16 | 17 => {
                    self.value(depth);
                    self.line(
                        depth,
                        "global.get 0 i32.const 31 i32.mul i32.add global.set 0",
                    );
                }
                18 => {
                    height = self.at_least(3, height, depth);
                    self.line(depth, "select");
                    height -= 2;
                }
                _ => {
                    height = self.at_least(2, height, depth);
                    self.line(depth, "call $f");
                }
            }
        }
        while height > results {
            self.line(depth, "drop");
            height -= 1;
        }
        self.at_least(results, height, depth);
    }

    fn at_least(&mut self, wanted: u32, mut height: u32, depth: usize) -> u32 {
        while height < wanted {
            self.value(depth);
            height += 1;
        }
        height
    }

    fn label(&mut self) -> (u32, u32) {
        let n = self.labels.len() as u32;
        let label = self.next(n);
        (label, self.labels[(n - 1 - label) as usize])
    }

    fn construct(&mut self, height: u32, depth: usize) -> u32 {
        let params = self.next(3).min(height);
        let results = self.next(3);
        let list = |n: u32| " i32".repeat(n as usize);
        let ty = format!("(param{}) (result{})", list(params), list(results));
        match self.next(3) {
            0 => {
                self.line(depth, &format!("block {ty}"));
                self.labels.push(results);
                self.sequence(params, results, depth + 1);
            }
            1 => {
                self.line(depth, &format!("loop {ty}"));
                self.line(depth + 1, "global.get 1 i32.eqz if unreachable end");
                self.line(depth + 1, "global.get 1 i32.const 1 i32.sub global.set 1");
                self.labels.push(params);
                self.sequence(params, results, depth + 1);
            }
            _ => {
                self.value(depth);
                let bare = params == results && self.next(2) == 0;
                self.line(depth, &format!("if {ty}"));
                self.labels.push(results);
                self.sequence(params, results, depth + 1);
                if !bare {
                    self.line(depth, "else");
                    self.sequence(params, results, depth + 1);
                }
            }
        }
        self.labels.pop();
        self.line(depth, "end");
        height - params + results
    }

    /// Something after which nothing is reachable, and some of that.
    fn leave(&mut self, height: u32, depth: usize) {
        match self.next(8) {
            0 => self.line(depth, "unreachable"),
            1 => {
                self.at_least(2, height, depth);
                self.line(depth, "return");
            }
            2..=4 => {
                let (label, arity) = self.label();
                self.at_least(arity, height, depth);
                self.line(depth, &format!("br {label}"));
            }
            _ => {
                let (default, arity) = self.label();
                let n = self.labels.len() as u32;
                let mut targets = String::new();
                for _ in 0..self.next(6) {
                    let label = self.next(n);
                    if self.labels[(n - 1 - label) as usize] == arity {
                        write!(targets, " {label}").unwrap();
                    }
                }
                self.at_least(arity, height, depth);
                self.value(depth);
                self.line(depth, &format!("br_table{targets} {default}"));
            }
        }
        if self.next(2) == 0 {
            self.line(
                depth,
                "i32.add drop block (result i32) unreachable end drop loop br 0 end",
            );
        }
    }
}

/// Types, segments and a table of theirs, for [`typed`].
const TYPED: &str = "(module (type $f (func (param i32) (result f64)))
    (type $s (sub (struct (field (mut i32)) (field i8))))
    (type $a (array (mut i32))) (type $b (array (mut i8))) (type $r (array (mut anyref)))
    (data $d \"abcd\") (elem $e anyref (ref.null any))";

/// The body of a function with an instruction that needs a type of the module.
fn typed(op: Op) -> Option<&'static str> {
    Some(match op {
        Op::CallRef => "i32.const 1 ref.null $f call_ref $f drop",
        Op::ReturnCallRef => "(result f64) i32.const 1 ref.null $f return_call_ref $f",
        Op::RefAsNonNull => "ref.null any ref.as_non_null drop",
        Op::RefEq => "ref.null none ref.null i31 ref.eq drop",
        Op::RefTest => "ref.null any ref.test (ref $s) drop",
        Op::RefCast => "ref.null any ref.cast (ref null $s) drop",
        Op::RefI31 => "i32.const 1 ref.i31 drop",
        Op::I31GetS => "ref.null i31 i31.get_s drop",
        Op::I31GetU => "ref.null i31 i31.get_u drop",
        Op::AnyConvertExtern => "ref.null extern any.convert_extern drop",
        Op::ExternConvertAny => "ref.null any extern.convert_any drop",
        Op::StructNew => "i32.const 1 i32.const 2 struct.new $s drop",
        Op::StructNewDefault => "struct.new_default $s drop",
        Op::StructGet => "ref.null $s struct.get $s 0 drop",
        Op::StructGetS => "ref.null $s struct.get_s $s 1 drop",
        Op::StructGetU => "ref.null $s struct.get_u $s 1 drop",
        Op::StructSet => "ref.null $s i32.const 1 struct.set $s 0",
        Op::ArrayNew => "i32.const 1 i32.const 2 array.new $a drop",
        Op::ArrayNewDefault => "i32.const 2 array.new_default $a drop",
        Op::ArrayNewFixed => "i32.const 1 i32.const 2 array.new_fixed $a 2 drop",
        Op::ArrayNewData => "i32.const 0 i32.const 1 array.new_data $a $d drop",
        Op::ArrayNewElem => "i32.const 0 i32.const 1 array.new_elem $r $e drop",
        Op::ArrayGet => "ref.null $a i32.const 0 array.get $a drop",
        Op::ArrayGetS => "ref.null $b i32.const 0 array.get_s $b drop",
        Op::ArrayGetU => "ref.null $b i32.const 0 array.get_u $b drop",
        Op::ArraySet => "ref.null $a i32.const 0 i32.const 1 array.set $a",
        Op::ArrayLen => "ref.null array array.len drop",
        Op::ArrayFill => "ref.null $a i32.const 0 i32.const 1 i32.const 2 array.fill $a",
        Op::ArrayCopy => {
            "ref.null $a i32.const 0 ref.null $a i32.const 1 i32.const 2 array.copy $a $a"
        }
        Op::ArrayInitData => {
            "ref.null $a i32.const 0 i32.const 1 i32.const 2 array.init_data $a $d"
        }
        Op::ArrayInitElem => {
            "ref.null $r i32.const 0 i32.const 1 i32.const 2 array.init_elem $r $e"
        }
        _ => return None,
    })
}

/// A module whose first function has this instruction. `None` for what is not wasm's.
pub fn single(op: Op) -> Option<String> {
    let info = op.info();
    if let Some(body) = typed(op) {
        return Some(format!("{TYPED} (func {body}))"));
    }
    let calls = |call: &str| {
        format!(
            "(module (type $t (func)) (tag $e (param i32)) (table 1 funcref)
             (func (drop (block $h (result i32)
                (try_table (catch $e $h) {call}) (unreachable)))) (func $f))"
        )
    };
    match op {
        Op::TryCall | Op::ExnTag | Op::ExnField | Op::TagAddress => {
            return Some(calls("(call $f)"));
        }
        Op::TryCallRef => return Some(calls("(call_ref $t (ref.null $t))")),
        Op::TryCallIndirect => return Some(calls("(call_indirect (type $t) (i32.const 0))")),
        Op::ExnNew | Op::ThrowRef => return Some("(module (tag) (func (throw 0)))".into()),
        _ => {}
    }
    let mut text = String::from(
        "(module (type $t (func (param i32) (result f64)))
         (memory 1) (memory 1) (data $d \"x\") (table 5 funcref) (table 5 funcref)
         (elem $e func 0) (global (mut funcref) (ref.null func)) (func ",
    );
    if op == Op::ReturnCallIndirect {
        text.push_str("(result f64) ");
    }
    for slot in info.operands {
        text.push_str(match slot {
            Slot::I32 | Slot::Addr | Slot::TableAddr => "i32.const 1 ",
            Slot::I64 => "i64.const 1 ",
            Slot::F32 => "f32.const 1 ",
            Slot::F64 => "f64.const 1 ",
            Slot::V128 => "v128.const i64x2 1 2 ",
            Slot::Ref | Slot::FuncRef => "ref.func 0 ",
            Slot::AnyRef | Slot::ExternRef => return None,
            Slot::ExnRef => "ref.null exn ",
            Slot::T if op == Op::Select => "f64.const 2 ",
            Slot::T => "ref.func 0 ",
            Slot::Rest if info.imm == ImmKind::CallIndirect => "i32.const 1 ",
            Slot::Rest => "",
        });
    }
    text.push_str(op.name());
    text.push_str(match info.imm {
        ImmKind::None if op == Op::RefNull => " extern",
        ImmKind::None => "",
        ImmKind::I32 | ImmKind::I64 | ImmKind::F32 | ImmKind::F64 => " 1",
        ImmKind::V128 => " i64x2 3 4",
        ImmKind::Lane => " 1",
        ImmKind::Shuffle => " 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 31",
        ImmKind::Mem => " 1 offset=4",
        ImmKind::MemLane => " 1 offset=4 1",
        ImmKind::Memory | ImmKind::Table => " 1",
        ImmKind::MemoryPair | ImmKind::TablePair => " 0 1",
        ImmKind::MemoryInit => " 1 $d",
        ImmKind::Data => " $d",
        ImmKind::TableInit => " 1 $e",
        ImmKind::Elem => " $e",
        ImmKind::Global | ImmKind::Func => " 0",
        ImmKind::CallIndirect => " 1 (type $t)",
        ImmKind::Hint | ImmKind::JumpTable | ImmKind::Trap => return None,
        ImmKind::Type
        | ImmKind::Field
        | ImmKind::TypeData
        | ImmKind::TypeElem
        | ImmKind::TypePair
        | ImmKind::Cast
        | ImmKind::Tag
        | ImmKind::ExnField => return None,
    });
    let metering = matches!(
        op,
        Op::InterruptCheck | Op::FuelGet | Op::FuelSet | Op::FuelCheck | Op::FuncIs
    );
    let is_tail_call = matches!(op, Op::ReturnCall | Op::ReturnCallIndirect);
    if op.is_terminator() && !is_tail_call || metering {
        return None;
    }
    if op != Op::Call {
        text.push_str(&" drop".repeat(info.results.len()));
    }
    text.push_str("))");
    Some(text)
}
