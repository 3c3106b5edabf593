//! Passes as text in, text out, and against an interpreter on random functions.

mod exceptions;
mod interp;
mod known;
mod objects;
pub(crate) mod random;
mod text;

use std::sync::{Arc, LazyLock};

use bimetal_abi::Tunables;
use bimetal_codegen::{CompileError, ModuleEnv, OptLevel, Settings};
use bimetal_wasm::{Features, Module};

use super::*;
use crate::graph::{Graph, parse};
use interp::End;
use random::Rng;

/// The module that the functions of these tests are of.
static ENV: LazyLock<ModuleEnv> = LazyLock::new(|| {
    let text = r#"(module
        (type (func (param i32) (result i32)))
        (type $base (sub (struct (field (mut (ref null 1))) (field i32))))
        (type $final (sub final $base (struct (field (mut (ref null 1))) (field i32))))
        (type $array (array (mut (ref $base))))
        (import "" "f" (func (param i32) (result i32)))
        (memory 1)
        (table 4 funcref)
        (global (mut i32) (i32.const 0))
        (global (mut i64) (i64.const 0)))"#;
    let module = Module::new(text.as_bytes().to_vec(), &Features::default()).unwrap();
    ModuleEnv::new(Arc::new(module), Tunables::default()).unwrap()
});

/// Runs the named passes and verifies after each.
fn run_passes(graph: &mut Graph, names: &[&str], fuel: Option<u64>) -> Vec<&'static str> {
    let mut scratch = Scratch::default();
    let mut context = Context {
        env: &ENV,
        signature: None,
        fuel: Fuel::new(fuel),
        scratch: &mut scratch,
    };
    let mut changed = Vec::new();
    for name in names {
        let pass = PASSES.iter().find(|pass| pass.name == *name).unwrap();
        let before = graph.to_string();
        let says = (pass.run)(graph, &mut context);
        let after = graph.to_string();
        if let Err(error) = verify(graph, Some(&ENV), None) {
            panic!("after {name}: {error}\n{before}\n{after}");
        }
        assert_eq!(says, before != after, "{name} on\n{before}\n{after}");
        if says {
            changed.push(pass.name);
        }
    }
    changed
}

#[test]
fn the_table_keeps_its_constraints() {
    check().unwrap();
    let reversed = [
        Pass {
            name: "dce",
            levels: OPTIMIZED,
            run: dce::run,
        },
        Pass {
            name: "loads",
            levels: OPTIMIZED,
            run: loads::run,
        },
        Pass {
            name: "objects",
            levels: OPTIMIZED,
            run: super::objects::run,
        },
        Pass {
            name: "straighten",
            levels: OPTIMIZED,
            run: straighten::run,
        },
        Pass {
            name: "simplify",
            levels: OPTIMIZED,
            run: simplify::run,
        },
        Pass {
            name: "cold",
            levels: OPTIMIZED,
            run: cold::run,
        },
    ];
    assert!(
        check_table(&reversed, CONSTRAINTS)
            .unwrap_err()
            .contains("`simplify`")
    );
    assert!(
        check_table(&PASSES[..1], CONSTRAINTS)
            .unwrap_err()
            .contains("no pass")
    );
    let one_level = [
        Pass {
            name: "simplify",
            levels: OPTIMIZED,
            run: simplify::run,
        },
        Pass {
            name: "straighten",
            levels: OPTIMIZED,
            run: straighten::run,
        },
        Pass {
            name: "loads",
            levels: OPTIMIZED,
            run: loads::run,
        },
        Pass {
            name: "objects",
            levels: OPTIMIZED,
            run: super::objects::run,
        },
        Pass {
            name: "dce",
            levels: &[OptLevel::Full],
            run: dce::run,
        },
        Pass {
            name: "cold",
            levels: OPTIMIZED,
            run: cold::run,
        },
    ];
    assert!(
        check_table(&one_level, CONSTRAINTS)
            .unwrap_err()
            .contains("Fast")
    );
}

#[test]
fn level_none_runs_nothing() {
    let text = "func () -> (i32) {\nblock0:\n    v0 = i32.const 1\n    v1 = i32.eqz v0\n    return v1\n}\n";
    let mut graph = parse(text).unwrap();
    let settings = Settings {
        opt_level: OptLevel::None,
        verify: true,
        ..Settings::default()
    };
    let observe = &mut |pass: &Pass, _: &Graph| panic!("{pass:?} ran");
    run(
        &mut graph,
        &ENV,
        None,
        &settings,
        &mut Scratch::default(),
        observe,
    )
    .unwrap();
    assert_eq!(graph.to_string(), text);
}

#[test]
fn a_broken_graph_is_a_bug_report() {
    let text = "func (i64) -> (i64) {\nblock0(v0: i64):\n    v1 = i32.const 0\n    v2: i64 = i32.eqz v1\n    return v2\n}\n";
    let mut graph = parse(text).unwrap();
    let settings = Settings {
        verify: true,
        ..Settings::default()
    };
    let signature = FuncType::new([], []);
    let result = run(
        &mut graph,
        &ENV,
        Some(&signature),
        &settings,
        &mut Scratch::default(),
        &mut |_, _| {},
    );
    let Err(CompileError::Bug(message)) = result else {
        panic!("{result:?}");
    };
    assert!(
        message.contains("after pass simplify: the entry's parameters"),
        "{message}"
    );
}

/// Runs both on the same random arguments. Gives how many runs ended by returning and by trapping,
/// or the first difference.
fn compare(before: &Graph, after: &Graph, rng: &mut Rng) -> Result<(usize, usize), String> {
    let (mut finished, mut trapped) = (0, 0);
    for _ in 0..12 {
        let args = [32, 32, 64].map(|bits| {
            let raw = rng.integer(bits) as u64;
            if bits == 32 { raw & 0xffff_ffff } else { raw }
        });
        let globals = [rng.integer(32) as u64 & 0xffff_ffff, rng.integer(64) as u64];
        let expected = interp::run(before, &args, &globals, 500);
        let found = interp::run(after, &args, &globals, 1_000);
        match expected.end {
            End::TimedOut => continue,
            End::Returned(_) => finished += 1,
            End::Trapped(_) => trapped += 1,
        }
        if found != expected {
            return Err(format!(
                "{args:x?}: {expected:x?}, now {found:x?}\n{before}\n{after}"
            ));
        }
    }
    Ok((finished, trapped))
}

/// Results, traps and globals of random functions are the same before and after, with any amount
/// of fuel; two runs give the same text.
#[test]
fn random_functions_mean_the_same() {
    let passes: Vec<&str> = PASSES.iter().map(|pass| pass.name).collect();
    let twice: Vec<&str> = passes.iter().chain(&passes).copied().collect();
    let (mut finished, mut trapped, mut changed) = (0, 0, 0);
    for seed in 0..2_500 {
        let text = random::function(seed);
        let before = parse(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
        if let Err(error) = verify(&before, Some(&ENV), None) {
            panic!("seed {seed}: {error}\n{text}");
        }
        let mut rng = Rng::new(seed ^ 0x5eed);
        let fuel = (seed % 4 == 0).then(|| rng.below(40) as u64);
        let passes = if seed % 2 == 0 { &passes } else { &twice };
        let mut after = parse(&text).unwrap();
        changed += usize::from(!run_passes(&mut after, passes, fuel).is_empty());
        let mut again = parse(&text).unwrap();
        run_passes(&mut again, passes, fuel);
        assert_eq!(after.to_string(), again.to_string(), "seed {seed}");
        let (returns, traps) = compare(&before, &after, &mut rng)
            .unwrap_or_else(|difference| panic!("seed {seed}: {difference}"));
        finished += returns;
        trapped += traps;
    }
    assert!(
        finished > 8_000 && trapped > 1_000 && changed > 2_000,
        "{finished} {trapped} {changed}"
    );
}

/// The comparison above finds mistakes as small as these: it can fail.
#[test]
fn the_comparison_finds_mistakes() {
    for (right, wrong) in [
        ("i32.lt_s", "i32.lt_u"),
        ("i32.le_u", "i32.lt_u"),
        ("i64.shr_u", "i64.shr_s"),
        ("i32.div_s", "i32.div_u"),
        ("extend_i32_s", "extend_i32_u"),
        ("offset=1 ", "offset=2 "),
    ] {
        let found = (0..2_500).any(|seed| {
            let text = random::function(seed);
            let after = parse(&text.replacen(right, wrong, 1)).unwrap();
            compare(&parse(&text).unwrap(), &after, &mut Rng::new(seed)).is_err()
        });
        assert!(found, "{wrong} for {right} is not found");
    }
}
