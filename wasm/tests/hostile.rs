//! Broken input: any bytes are a valid module or an error, never a panic.
//!
//! The mutations are deterministic; a failure prints the bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bimetal_wasm::inspect::Summary;
use bimetal_wasm::text::PrintOptions;
use bimetal_wasm::{ErrorKind, Features, FuncIndex, Module};

/// Xorshift: enough to spread mutations, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

const SEEDS: &[&str] = &[
    "(module)",
    r#"(module $all
        (type $t (func (param i32 i64 f32 f64) (result i32)))
        (import "env" "f" (func $f (param i32) (result i32)))
        (import "env" "g" (global $g i32))
        (import "env" "m" (memory $m 1 16))
        (import "env" "t" (table $t 2 funcref))
        (memory $m2 1)
        (table $t2 3 9 externref)
        (global $x (mut i64) (i64.const -1))
        (global $fr funcref (ref.func $main))
        (export "main" (func $main)) (export "m" (memory $m)) (export "x" (global $x))
        (start $start)
        (elem (table $t) (i32.const 0) func $main $start)
        (elem $p funcref (ref.func $main) (ref.null func))
        (elem declare func $v)
        (func $start)
        (func $main (type $t) (local $l i64) (local v128)
            (block $b (result i32)
                (loop $l (br_if $l (i32.eqz (local.get 0))))
                (br_table $b $b (i32.const 1) (local.get 0)))
            (if (param i32) (result i32) (i32.const 1) (then) (else drop i32.const 7))
            (drop)
            (i32.store offset=8 (i32.const 0) (i32.const 1))
            (drop (call_indirect $t (type $t)
                (i32.const 1) (i64.const 2) (f32.const 3) (f64.const 4) (i32.const 0)))
            (memory.copy $m $m2 (i32.const 0) (i32.const 0) (i32.const 1))
            (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1))
            (table.init $t $p (i32.const 0) (i32.const 0) (i32.const 1))
            (global.set $x (local.get $l))
            (call $f (select (i32.const 1) (i32.const 2) (i32.const 3))))
        (func $v (param v128) (result v128)
            (i8x16.shuffle 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15
                (local.get 0) (v128.const i64x2 1 2)))
        (data $d "some bytes")
        (data (memory $m2) (offset (i32.add (global.get $g) (i32.const 1))) "more"))"#,
    r#"(module
        (rec (type $a (sub (struct (field (mut i32)) (field i8)))) (type $b (array (ref $a))))
        (type $c (sub final $a (struct (field (mut i32)) (field i8) (field (ref null $b)))))
        (memory i64 1 4)
        (memory 1 1 shared)
        (tag $tag (param i32))
        (table 1 (ref null $b) (ref.null $b))
        (func (result (ref $c))
            (block $h (result i32)
                (try_table (catch $tag $h) (throw $tag (i32.const 1)))
                (unreachable))
            (drop) (struct.new_default $c))
        (func (result i32) (return_call 1)))"#,
    // Not final.
    "(module (memory 1 (pagesize 1)))",
];

fn seeds() -> Vec<Vec<u8>> {
    SEEDS
        .iter()
        .map(|text| bimetal_wasm::text::parse(text, None).unwrap())
        .collect()
}

/// Decodes `bytes` and, if that goes well, asks everything of the module that can be asked.
fn survives(bytes: &[u8]) -> bool {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        match Module::new(bytes, &Features::default()) {
            Ok(module) => {
                let summary = Summary::new(&module, 3);
                assert!(!summary.to_string().is_empty());
                for func in module.functions.keys() {
                    let _ = module.func_display_name(func);
                    let _ = module.local_names(func);
                    let _ = module.func_type(func);
                }
                let _ = module.local_names(FuncIndex::from_u32(u32::MAX - 1));
                for func in module.bodies.keys() {
                    assert!(!module.body_bytes(func).is_empty());
                }
                for export in &module.exports {
                    assert_eq!(module.export(&export.name), Some(export.index));
                }
                let _ = module.to_text(&PrintOptions::default());
                true
            }
            Err(error) => {
                assert!(!error.message().is_empty());
                if let Some(offset) = error.offset() {
                    assert!(offset <= bytes.len(), "{error}");
                }
                false
            }
        }
    }));
    outcome.unwrap_or_else(|_| panic!("panicked on {bytes:02x?}"))
}

#[test]
fn seeds_are_what_they_should_be() {
    let kinds: Vec<Option<ErrorKind>> = seeds()
        .iter()
        .map(|seed| Module::validate(seed, &Features::default()).err())
        .map(|error| {
            error
                .inspect(|error| println!("{error}"))
                .map(|error| error.kind())
        })
        .collect();
    assert_eq!(kinds, [None, None, None, Some(ErrorKind::Unsupported)]);
}

#[test]
fn truncated() {
    for seed in seeds() {
        for end in 0..seed.len() {
            survives(&seed[..end]);
        }
    }
}

#[test]
fn bits_flipped() {
    let mut valid = 0;
    for seed in seeds() {
        for bit in 0..seed.len() * 8 {
            let mut bytes = seed.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            valid += usize::from(survives(&bytes));
        }
    }
    // Many flips are harmless (constants, names): the test reaches what lies behind decoding.
    assert!(valid > 100, "{valid}");
}

#[test]
fn bytes_replaced_inserted_removed_and_moved() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    const TELLING: &[u8] = &[
        0, 1, 2, 0x0b, 0x40, 0x60, 0x6f, 0x70, 0x7b, 0x7f, 0x80, 0xfc, 0xfd, 0xff,
    ];
    for seed in seeds() {
        for _ in 0..3000 {
            let mut bytes = seed.clone();
            for _ in 0..1 + random.below(4) {
                let at = random.below(bytes.len());
                match random.below(5) {
                    0 => bytes[at] = random.next() as u8,
                    1 => bytes[at] = TELLING[random.below(TELLING.len())],
                    2 => bytes.insert(at, TELLING[random.below(TELLING.len())]),
                    3 if bytes.len() > 8 => drop(bytes.remove(at)),
                    _ => {
                        let end = at + random.below(bytes.len() - at).min(16);
                        let part = bytes[at..end].to_vec();
                        let to = random.below(bytes.len());
                        bytes.splice(to..to, part);
                    }
                }
            }
            survives(&bytes);
        }
    }
}

#[test]
fn random_sections() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for _ in 0..4000 {
        let mut bytes = b"\0asm\x01\0\0\0".to_vec();
        for _ in 0..random.below(4) {
            let size = random.below(24);
            bytes.extend([random.below(15) as u8, size as u8]);
            bytes.extend((0..size).map(|_| random.next() as u8 >> random.below(8)));
        }
        survives(&bytes);
    }
}

#[test]
fn random_bytes_and_text() {
    let mut random = Random(0xdead_beef_cafe_f00d);
    for _ in 0..2000 {
        let bytes: Vec<u8> = (0..random.below(64)).map(|_| random.next() as u8).collect();
        assert!(!survives(&bytes) || Module::is_binary(&bytes));
        let text = SEEDS[1].as_bytes();
        let mut text = text[..random.below(text.len())].to_vec();
        if let Some(byte) = text.last_mut() {
            *byte = random.next() as u8;
        }
        survives(&text);
    }
}

/// Sizes that lie: nothing may be reserved on a module's word.
#[test]
fn huge_counts() {
    for section in 1..=13u8 {
        for count in [0xffff_ffffu32, 0x7fff_ffff, 1_000_001, 1_000_000] {
            let mut content = Vec::new();
            let mut rest = count;
            while rest >= 0x80 {
                content.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            content.push(rest as u8);
            let mut bytes = b"\0asm\x01\0\0\0".to_vec();
            bytes.extend([section, content.len() as u8]);
            bytes.extend(&content);
            survives(&bytes);
        }
    }
    // 50,001 locals, and 2^32 - 1 of them.
    for locals in [&b"\xd1\x86\x03"[..], b"\xff\xff\xff\xff\x0f"] {
        let mut body = vec![1];
        body.extend(locals);
        body.extend([0x7f, 0x0b]);
        let mut bytes = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a".to_vec();
        bytes.extend([body.len() as u8 + 2, 1, body.len() as u8]);
        bytes.extend(body);
        let error = Module::new(bytes, &Features::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert_eq!(error.function(), Some("func[0]"));
    }
}

#[test]
fn deep_nesting_does_not_exhaust_the_stack() {
    let depth = 200_000;
    let mut body = vec![0];
    body.extend([0x02, 0x40].repeat(depth));
    body.extend(vec![0x0b; depth + 1]);
    let leb = |mut n: usize| {
        let mut out = Vec::new();
        while n >= 0x80 {
            out.push(n as u8 | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
        out
    };
    let size = leb(body.len());
    let mut bytes = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a".to_vec();
    bytes.extend(leb(1 + size.len() + body.len()));
    bytes.push(1);
    bytes.extend(size);
    bytes.extend(body);
    assert!(Module::validate(&bytes, &Features::default()).is_ok());

    let text = format!("(module (func {}))", "(block ".repeat(100_000));
    let error = Module::new(text, &Features::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Text);
}
