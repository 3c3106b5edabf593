//! NaNs: with canonicalization arithmetic gives the same bits wherever and however it is compiled,
//! and what only moves or flips bits keeps them.

use bimetal::{Config, Engine, Instance, Linker, Module, OptLevel, Result, Store};

const F32_NAN: u32 = 0x7fc0_0000;
const F64_NAN: u64 = 0x7ff8_0000_0000_0000;

/// Quiet and signalling NaNs of both signs with payloads, and what makes NaNs together.
#[rustfmt::skip]
const F32_VALUES: [u32; 10] = [
    0x7fc0_0000, 0xffc0_0000, 0x7fc1_2345, 0x7f80_0001, 0xffa0_0000,
    0x7f80_0000, 0xff80_0000, 0x8000_0000, 0x3fc0_0000, 0xc020_0000,
];
#[rustfmt::skip]
const F64_VALUES: [u64; 10] = [
    0x7ff8_0000_0000_0000, 0xfff8_0000_0000_0000, 0x7ff8_0000_1234_5678, 0x7ff0_0000_0000_0001,
    0xfff4_0000_0000_0000, 0x7ff0_0000_0000_0000, 0xfff0_0000_0000_0000, 0x8000_0000_0000_0000,
    0x3ff8_0000_0000_0000, 0xc004_0000_0000_0000,
];
const COUNT: usize = F32_VALUES.len();

/// A type of operands or results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    F32,
    F64,
    F32x4,
    F64x2,
}

use Type::*;

impl Type {
    fn size(self) -> usize {
        match self {
            F32 => 4,
            F64 => 8,
            F32x4 | F64x2 => 16,
        }
    }

    fn name(self) -> &'static str {
        match self {
            F32 => "f32",
            F64 => "f64",
            F32x4 | F64x2 => "v128",
        }
    }

    /// Where the operands of this type begin in memory.
    fn base(self) -> usize {
        match self {
            F32 => 0,
            F64 => 256,
            F32x4 => 512,
            F64x2 => 768,
        }
    }

    fn bytes(self, i: usize) -> Vec<u8> {
        let lanes = |n: usize| (0..n).map(move |lane| (i + lane) % COUNT);
        match self {
            F32 => F32_VALUES[i].to_le_bytes().into(),
            F64 => F64_VALUES[i].to_le_bytes().into(),
            F32x4 => lanes(4).flat_map(|i| F32_VALUES[i].to_le_bytes()).collect(),
            F64x2 => lanes(2).flat_map(|i| F64_VALUES[i].to_le_bytes()).collect(),
        }
    }

    fn load(self, i: usize) -> String {
        let at = self.base() + i * self.size();
        format!("({}.load (i32.const {at}))", self.name())
    }

    fn constant(self, i: usize) -> String {
        let sign = |negative| if negative { "-" } else { "" };
        match self {
            F32 => {
                let value = f32::from_bits(F32_VALUES[i]);
                match value.is_nan() {
                    true => {
                        let payload = F32_VALUES[i] & 0x7f_ffff;
                        format!(
                            "(f32.const {}nan:0x{payload:x})",
                            sign(value.is_sign_negative())
                        )
                    }
                    false => format!("(f32.const {value:?})"),
                }
            }
            F64 => {
                let value = f64::from_bits(F64_VALUES[i]);
                match value.is_nan() {
                    true => {
                        let payload = F64_VALUES[i] & 0xf_ffff_ffff_ffff;
                        format!(
                            "(f64.const {}nan:0x{payload:x})",
                            sign(value.is_sign_negative())
                        )
                    }
                    false => format!("(f64.const {value:?})"),
                }
            }
            F32x4 | F64x2 => {
                let bytes: Vec<String> = self.bytes(i).iter().map(u8::to_string).collect();
                format!("(v128.const i8x16 {})", bytes.join(" "))
            }
        }
    }
}

#[rustfmt::skip]
/// Arithmetic: name, operand, number of operands, result.
const ARITHMETIC: &[(&str, Type, usize, Type)] = &[
    ("f32.add", F32, 2, F32), ("f32.sub", F32, 2, F32), ("f32.mul", F32, 2, F32),
    ("f32.div", F32, 2, F32), ("f32.min", F32, 2, F32), ("f32.max", F32, 2, F32),
    ("f32.sqrt", F32, 1, F32), ("f32.ceil", F32, 1, F32), ("f32.floor", F32, 1, F32),
    ("f32.trunc", F32, 1, F32), ("f32.nearest", F32, 1, F32), ("f32.demote_f64", F64, 1, F32),
    ("f64.add", F64, 2, F64), ("f64.sub", F64, 2, F64), ("f64.mul", F64, 2, F64),
    ("f64.div", F64, 2, F64), ("f64.min", F64, 2, F64), ("f64.max", F64, 2, F64),
    ("f64.sqrt", F64, 1, F64), ("f64.ceil", F64, 1, F64), ("f64.floor", F64, 1, F64),
    ("f64.trunc", F64, 1, F64), ("f64.nearest", F64, 1, F64), ("f64.promote_f32", F32, 1, F64),
    ("f32x4.add", F32x4, 2, F32x4), ("f32x4.sub", F32x4, 2, F32x4),
    ("f32x4.mul", F32x4, 2, F32x4), ("f32x4.div", F32x4, 2, F32x4),
    ("f32x4.min", F32x4, 2, F32x4), ("f32x4.max", F32x4, 2, F32x4),
    ("f32x4.sqrt", F32x4, 1, F32x4), ("f32x4.ceil", F32x4, 1, F32x4),
    ("f32x4.floor", F32x4, 1, F32x4), ("f32x4.trunc", F32x4, 1, F32x4),
    ("f32x4.nearest", F32x4, 1, F32x4), ("f32x4.demote_f64x2_zero", F64x2, 1, F32x4),
    ("f64x2.add", F64x2, 2, F64x2), ("f64x2.sub", F64x2, 2, F64x2),
    ("f64x2.mul", F64x2, 2, F64x2), ("f64x2.div", F64x2, 2, F64x2),
    ("f64x2.min", F64x2, 2, F64x2), ("f64x2.max", F64x2, 2, F64x2),
    ("f64x2.sqrt", F64x2, 1, F64x2), ("f64x2.ceil", F64x2, 1, F64x2),
    ("f64x2.floor", F64x2, 1, F64x2), ("f64x2.trunc", F64x2, 1, F64x2),
    ("f64x2.nearest", F64x2, 1, F64x2), ("f64x2.promote_low_f32x4", F32x4, 1, F64x2),
];

#[rustfmt::skip]
/// What moves, flips or chooses whole values; the specification says each bit of the result.
const BITWISE: &[(&str, Type, usize, Type)] = &[
    ("f32.neg", F32, 1, F32), ("f32.abs", F32, 1, F32), ("f32.copysign", F32, 2, F32),
    ("f64.neg", F64, 1, F64), ("f64.abs", F64, 1, F64), ("f64.copysign", F64, 2, F64),
    ("f32x4.neg", F32x4, 1, F32x4), ("f32x4.abs", F32x4, 1, F32x4),
    ("f32x4.pmin", F32x4, 2, F32x4), ("f32x4.pmax", F32x4, 2, F32x4),
    ("f64x2.neg", F64x2, 1, F64x2), ("f64x2.abs", F64x2, 1, F64x2),
    ("f64x2.pmin", F64x2, 2, F64x2), ("f64x2.pmax", F64x2, 2, F64x2),
];

/// Where results begin in memory.
const RESULTS: usize = 1024;

/// How operands are given: whether each is a constant, which passes may compute with.
const FORMS: [(bool, bool); 4] = [(false, false), (true, true), (true, false), (false, true)];

/// A function for each instruction and form, that writes the results for all operands.
fn program(ops: &[(&str, Type, usize, Type)]) -> String {
    let mut text = String::from("(module (memory (export \"memory\") 1)\n");
    for &(op, operand, operands, result) in ops {
        for (form, (first, second)) in FORMS.iter().enumerate() {
            text.push_str(&format!("(func (export \"{op} {form}\")\n"));
            let give = |constant: bool, i| match constant {
                true => operand.constant(i),
                false => operand.load(i),
            };
            for (n, (i, j)) in operand_pairs(operands).enumerate() {
                let at = RESULTS + n * result.size();
                let mut args = give(*first, i);
                if operands == 2 {
                    args += &give(*second, j);
                }
                let ty = result.name();
                text.push_str(&format!("({ty}.store (i32.const {at}) ({op} {args}))\n"));
            }
            text.push_str(")\n");
        }
    }
    text + ")"
}

fn operand_pairs(operands: usize) -> impl Iterator<Item = (usize, usize)> {
    let second = if operands == 2 { COUNT } else { 1 };
    (0..COUNT).flat_map(move |i| (0..second).map(move |j| (i, j)))
}

struct Guest {
    store: Store<()>,
    instance: Instance,
}

impl Guest {
    fn new(config: &Config, text: &str) -> Result<Guest> {
        let engine = Engine::new(config)?;
        let module = Module::new(&engine, text)?;
        let mut store = Store::new(&engine, ());
        let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        for ty in [F32, F64, F32x4, F64x2] {
            for i in 0..COUNT {
                memory.write(&mut store, ty.base() + i * ty.size(), &ty.bytes(i))?;
            }
        }
        Ok(Guest { store, instance })
    }

    /// The results of an instruction, in the order of [`operand_pairs`].
    fn run(&mut self, op: &str, form: usize, bytes: usize) -> Result<Vec<u8>> {
        let name = format!("{op} {form}");
        let store = &mut self.store;
        let f = self.instance.get_typed_func::<(), ()>(&mut *store, &name)?;
        let memory = self.instance.get_memory(&mut *store, "memory").unwrap();
        memory.data_mut(&mut *store)[RESULTS..].fill(0xaa);
        f.call(&mut *store, ())?;
        Ok(memory.data(&*store)[RESULTS..][..bytes].to_vec())
    }
}

/// All ways to make code that there are.
fn configurations(canonical: bool) -> Vec<(String, Config)> {
    let ways = [
        (OptLevel::None, false, None),
        (OptLevel::Fast, false, None),
        (OptLevel::Full, false, None),
        (OptLevel::Full, true, None),
        (OptLevel::Full, false, Some(0)),
        (OptLevel::Full, false, Some(1)),
    ];
    let mut configurations = Vec::new();
    for (level, lazy, opt_fuel) in ways {
        // Without SSE4.1 the runtime rounds.
        for cpu in ["native", "baseline"] {
            let mut config = Config::new();
            config
                .opt_level(level)
                .lazy(lazy)
                .opt_fuel(opt_fuel)
                .nan_canonicalization(canonical);
            config.cpu(cpu).unwrap();
            configurations.push((format!("{level:?} lazy={lazy} {opt_fuel:?} {cpu}"), config));
        }
    }
    configurations
}

fn min32(a: f32, b: f32) -> f32 {
    match () {
        () if a.is_nan() || b.is_nan() => f32::NAN,
        () if a == b => f32::from_bits(a.to_bits() | b.to_bits()),
        () => a.min(b),
    }
}

fn min64(a: f64, b: f64) -> f64 {
    match () {
        () if a.is_nan() || b.is_nan() => f64::NAN,
        () if a == b => f64::from_bits(a.to_bits() | b.to_bits()),
        () => a.min(b),
    }
}

fn arithmetic32(op: &str, a: f32, b: f32) -> f32 {
    match op {
        "add" => a + b,
        "sub" => a - b,
        "mul" => a * b,
        "div" => a / b,
        "min" => min32(a, b),
        "max" => -min32(-a, -b),
        "sqrt" => a.sqrt(),
        "ceil" => a.ceil(),
        "floor" => a.floor(),
        "trunc" => a.trunc(),
        "nearest" => a.round_ties_even(),
        _ => panic!("{op}"),
    }
}

fn arithmetic64(op: &str, a: f64, b: f64) -> f64 {
    match op {
        "add" => a + b,
        "sub" => a - b,
        "mul" => a * b,
        "div" => a / b,
        "min" => min64(a, b),
        "max" => -min64(-a, -b),
        "sqrt" => a.sqrt(),
        "ceil" => a.ceil(),
        "floor" => a.floor(),
        "trunc" => a.trunc(),
        "nearest" => a.round_ties_even(),
        _ => panic!("{op}"),
    }
}

fn canonical32(value: f32) -> [u8; 4] {
    let bits = if value.is_nan() {
        F32_NAN
    } else {
        value.to_bits()
    };
    bits.to_le_bytes()
}

fn canonical64(value: f64) -> [u8; 8] {
    let bits = if value.is_nan() {
        F64_NAN
    } else {
        value.to_bits()
    };
    bits.to_le_bytes()
}

/// What an arithmetic instruction gives, its NaNs canonical.
fn expected(op: &str, operand: Type, i: usize, j: usize) -> Vec<u8> {
    let (a, b) = (operand.bytes(i), operand.bytes(j));
    let f32s = |bytes: &[u8]| -> Vec<f32> {
        let lanes = bytes.chunks_exact(4);
        lanes
            .map(|lane| f32::from_le_bytes(lane.try_into().unwrap()))
            .collect()
    };
    let f64s = |bytes: &[u8]| -> Vec<f64> {
        let lanes = bytes.chunks_exact(8);
        lanes
            .map(|lane| f64::from_le_bytes(lane.try_into().unwrap()))
            .collect()
    };
    let name = op.split_once('.').unwrap().1;
    if name.starts_with("demote") {
        let mut lanes: Vec<u8> = f64s(&a)
            .iter()
            .flat_map(|&lane| canonical32(lane as f32))
            .collect();
        if operand == F64x2 {
            lanes.resize(16, 0);
        }
        return lanes;
    }
    if name.starts_with("promote") {
        let lanes = f32s(&a);
        let count = lanes.len().div_ceil(2);
        return lanes[..count]
            .iter()
            .flat_map(|&lane| canonical64(lane.into()))
            .collect();
    }
    match operand {
        F32 | F32x4 => (f32s(&a).iter().zip(f32s(&b)))
            .flat_map(|(&a, b)| canonical32(arithmetic32(name, a, b)))
            .collect(),
        F64 | F64x2 => (f64s(&a).iter().zip(f64s(&b)))
            .flat_map(|(&a, b)| canonical64(arithmetic64(name, a, b)))
            .collect(),
    }
}

#[test]
fn arithmetic_gives_canonical_nans() -> Result<()> {
    let text = program(ARITHMETIC);
    for (name, config) in configurations(true) {
        let mut guest = Guest::new(&config, &text)?;
        for &(op, operand, operands, result) in ARITHMETIC {
            for (form, constant) in FORMS.iter().enumerate() {
                let bytes = operand_pairs(operands).count() * result.size();
                let results = guest.run(op, form, bytes)?;
                let results = results.chunks_exact(result.size());
                for (actual, (i, j)) in results.zip(operand_pairs(operands)) {
                    let expected = expected(op, operand, i, j);
                    assert_eq!(
                        actual,
                        expected,
                        "{op} of {:x?} and {:x?}, {constant:?} constant, {name}",
                        operand.bytes(i),
                        operand.bytes(j),
                    );
                }
            }
        }
    }
    Ok(())
}

/// Without canonicalization only the bits of NaNs are free.
#[test]
fn numbers_are_the_same_without_canonicalization() -> Result<()> {
    let text = program(ARITHMETIC);
    for (name, config) in configurations(false) {
        let mut guest = Guest::new(&config, &text)?;
        for &(op, operand, operands, result) in ARITHMETIC {
            for form in 0..FORMS.len() {
                let bytes = operand_pairs(operands).count() * result.size();
                let results = guest.run(op, form, bytes)?;
                let lane = match result {
                    F32 | F32x4 => 4,
                    F64 | F64x2 => 8,
                };
                let expected =
                    operand_pairs(operands).flat_map(|(i, j)| expected(op, operand, i, j));
                let expected: Vec<u8> = expected.collect();
                for (actual, expected) in results.chunks(lane).zip(expected.chunks(lane)) {
                    // Quiet, whatever else.
                    let is_nan = |bytes: &[u8]| match lane {
                        4 => u32::from_le_bytes(bytes.try_into().unwrap()) & F32_NAN == F32_NAN,
                        _ => u64::from_le_bytes(bytes.try_into().unwrap()) & F64_NAN == F64_NAN,
                    };
                    let same = actual == expected || (is_nan(actual) && is_nan(expected));
                    assert!(same, "{op}: {actual:x?}, expected {expected:x?}, {name}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_bitwise_keeps_the_bits() -> Result<()> {
    let text = program(BITWISE);
    let mut reference: Vec<Vec<u8>> = Vec::new();
    for canonical in [false, true] {
        for (name, config) in configurations(canonical) {
            let mut guest = Guest::new(&config, &text)?;
            let mut all = Vec::new();
            for &(op, operand, operands, result) in BITWISE {
                for form in 0..FORMS.len() {
                    let bytes = operand_pairs(operands).count() * result.size();
                    all.push(guest.run(op, form, bytes)?);
                    assert_eq!(
                        all[all.len() - 1 - form],
                        all[all.len() - 1],
                        "{op}, {name}"
                    );
                    if op.ends_with("neg") {
                        let first = &all[all.len() - 1][..result.size()];
                        let mut flipped = operand.bytes(0);
                        let lane = if matches!(result, F32 | F32x4) { 4 } else { 8 };
                        for lane in flipped.chunks_mut(lane) {
                            *lane.last_mut().unwrap() ^= 0x80;
                        }
                        assert_eq!(first, flipped, "{op}, {name}");
                    }
                }
            }
            if reference.is_empty() {
                reference = all;
            } else {
                assert!(reference == all, "{name}");
            }
        }
    }
    Ok(())
}

/// Bits survive locals, globals, calls, memory, and the host.
#[test]
fn moving_keeps_the_bits() -> Result<()> {
    let text = r#"(module
        (import "host" "f32" (func $host32 (param f32) (result f32)))
        (import "host" "f64" (func $host64 (param f64) (result f64)))
        (memory 1)
        (global $g32 (mut f32) (f32.const 0))
        (global $g64 (mut f64) (f64.const 0))
        (func $id32 (param f32) (result f32) (local f32)
            (local.set 1 (local.get 0))
            (global.set $g32 (local.get 1))
            (f32.store (i32.const 0) (global.get $g32))
            (select (f32.load (i32.const 0)) (f32.const 1) (i32.const 1)))
        (func $id64 (param f64) (result f64) (local f64)
            (local.set 1 (local.get 0))
            (global.set $g64 (local.get 1))
            (f64.store (i32.const 0) (global.get $g64))
            (select (f64.load (i32.const 0)) (f64.const 1) (i32.const 1)))
        (func (export "f32") (param f32) (result f32) (call $host32 (call $id32 (local.get 0))))
        (func (export "f64") (param f64) (result f64) (call $host64 (call $id64 (local.get 0)))))"#;
    for (name, config) in configurations(true) {
        let engine = Engine::new(&config)?;
        let module = Module::new(&engine, text)?;
        let mut linker = Linker::new(&engine);
        linker.func_wrap("host", "f32", |x: f32| x)?;
        linker.func_wrap("host", "f64", |x: f64| x)?;
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module)?;
        let f = instance.get_typed_func::<f32, f32>(&mut store, "f32")?;
        for bits in F32_VALUES {
            let result = f.call(&mut store, f32::from_bits(bits))?;
            assert_eq!(result.to_bits(), bits, "{name}");
        }
        let f = instance.get_typed_func::<f64, f64>(&mut store, "f64")?;
        for bits in F64_VALUES {
            let result = f.call(&mut store, f64::from_bits(bits))?;
            assert_eq!(result.to_bits(), bits, "{name}");
        }
    }
    Ok(())
}
