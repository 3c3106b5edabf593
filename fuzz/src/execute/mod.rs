//! Executing: a program does the same however it is compiled and wherever its memories are, and
//! the same as on another runtime.
//!
//! A module is instantiated with imports made up from their types, all its functions are called
//! with made-up arguments, and everything that can be seen is written into a [`Trace`]: results,
//! traps, what host functions were called with, globals after each call, memories and tables at the
//! end. Two configurations are drawn for each case, or one and the peer, and must give the same
//! trace. NaNs are canonical in all of them.
//!
//! How deep the stack goes is not the same, nor which function finds that it is interrupted, nor when
//! a heap is full, so a trace ends where one overflowed, was interrupted or had no room.
//!
//! Some configurations collect garbage at every allocation or every few, some have next to no heap.
//! `census` says how many of the instructions for objects and exceptions were run.

mod census;
mod ours;
#[cfg(feature = "peer")]
mod peer;

use std::num::NonZeroU32;
use std::sync::Arc;

use arbitrary::Unstructured;
use bimetal::middleware::InstructionCounter;
use bimetal::{
    Config, Engine, OperatorCost, OptLevel, PoolingAllocationConfig, VariableOperatorCost,
};

use crate::generate::Extent;
use crate::source::Source;
use crate::{Notes, Target, generate};

/// What a program did, one event a line.
pub type Trace = Vec<String>;

/// What is done with a module.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Chooses arguments and what imports are.
    pub seed: u64,
    /// Whether host functions grow memories, call back and fail.
    pub mischief: bool,
    /// Whether code counts fuel and can be interrupted.
    pub metered: bool,
    /// Whether deadlines come often, at which the host makes objects and collects. It makes no
    /// difference.
    pub interrupted: bool,
    /// Whether a middleware counts instructions, and fuel is charged for the same.
    pub counted: bool,
    /// Whether calls are asynchronous, and host functions and fuel suspend them now and then. It
    /// makes no difference.
    pub asynchronous: bool,
    /// Whether the module goes through an image. It makes no difference.
    pub image: bool,
    /// Whether fuel is the `census`'s.
    pub census: bool,
    /// How often the program is run, each time from its start and with other values.
    pub rounds: u64,
    /// How many instances there are in a store, one after the other. What the host keeps of an earlier
    /// one it gives to a later one, which imports functions of the earlier where it can.
    pub instances: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Execute {
    /// What makes programs.
    generate: fn(&mut Unstructured<'_>) -> Option<generate::Program>,
    /// How often each is run.
    rounds: u64,
    /// With so many instances.
    instances: u32,
    engines: Vec<(&'static str, Engine)>,
    /// The same with fuel and interrupts.
    metered: Vec<(&'static str, Engine)>,
    /// The same with instructions counted.
    counted: Vec<(&'static str, Engine)>,
    census: Engine,
    #[cfg(feature = "peer")]
    peer: wasmtime::Engine,
}

/// A pool that refuses nothing that would be there on demand.
fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(4)
        .total_memories(16)
        .total_tables(16)
        .max_core_instance_size(1 << 30)
        .max_memories_per_module(16)
        .max_tables_per_module(16)
        .table_elements(10_000_000);
    pool
}

fn configurations() -> Vec<(&'static str, Config)> {
    let mut base = Config::new();
    base.nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .wasm_custom_page_sizes(true)
        .gc_heap_reservation(HEAP)
        .parallel_compilation(false);
    let every = NonZeroU32::new;
    let with = |change: &dyn Fn(&mut Config)| {
        let mut config = base.clone();
        change(&mut config);
        config
    };
    vec![
        ("direct", with(&|c| _ = c.compiler_verify(true))),
        ("lazy", with(&|c| _ = c.lazy(true))),
        ("no passes", with(&|c| _ = c.opt_fuel(Some(0)))),
        (
            "not optimised",
            with(&|c| _ = c.opt_level(OptLevel::None).opt_fuel(Some(0))),
        ),
        (
            "moving memories",
            with(&|c| _ = c.memory_reservation(0).memory_guard_size(0).lazy(true)),
        ),
        (
            "pooled",
            with(&|c| _ = c.lazy(true).allocation_strategy(pool())),
        ),
        (
            "pooled, few pages kept",
            with(&|c| {
                let mut pool = pool();
                pool.linear_memory_keep_resident(8 << 10)
                    .table_keep_resident(100)
                    .max_unused_warm_slots(1);
                c.memory_reservation(1 << 20)
                    .lazy(true)
                    .allocation_strategy(pool);
            }),
        ),
        (
            "explicit checks",
            with(&|c| {
                c.memory_reservation(0)
                    .memory_guard_size(0)
                    .signals_based_traps(false)
                    .spectre_mitigation(false);
            }),
        ),
        (
            "collecting",
            with(&|c| {
                c.compiler_verify(true).gc_zeal_alloc_counter(every(1));
            }),
        ),
        (
            "collecting, lazy, no passes",
            with(&|c| {
                c.lazy(true)
                    .opt_fuel(Some(0))
                    .gc_zeal_alloc_counter(every(1));
            }),
        ),
        (
            "collecting now and then, not optimised",
            with(&|c| {
                c.opt_level(OptLevel::None)
                    .opt_fuel(Some(0))
                    .gc_zeal_alloc_counter(every(7));
            }),
        ),
        (
            "collecting, explicit checks",
            with(&|c| {
                c.memory_reservation(0)
                    .memory_guard_size(0)
                    .signals_based_traps(false)
                    .gc_zeal_alloc_counter(every(2));
            }),
        ),
        (
            "small heap",
            with(&|c| {
                c.lazy(true)
                    .gc_heap_reservation(3 << 20)
                    .gc_nursery_size(128 << 10);
            }),
        ),
    ]
}

/// What is copied or made costs nothing for its length.
const NOTHING_BY_LENGTH: VariableOperatorCost = VariableOperatorCost {
    memory_copy_per_byte: 0,
    memory_fill_per_byte: 0,
    memory_init_per_byte: 0,
    memory_grow_per_page: 0,
    table_copy_per_element: 0,
    table_fill_per_element: 0,
    table_init_per_element: 0,
    table_grow_per_element: 0,
    array_copy_per_element: 0,
    array_fill_per_element: 0,
    array_init_per_element: 0,
    array_new_per_element: 0,
};

/// An instruction costs what the counter counts; to enter a function costs one more.
fn counted_cost() -> OperatorCost {
    let mut cost = OperatorCost::uniform(1);
    (cost.Block, cost.Loop, cost.Else, cost.End) = (0, 0, 0, 0);
    (cost.TryTable, cost.Try, cost.Delegate) = (0, 0, 0);
    (cost.Catch, cost.CatchAll) = (0, 0);
    cost.variable = NOTHING_BY_LENGTH;
    cost
}

impl Execute {
    /// For programs of `wasm-smith`.
    ///
    /// # Errors
    /// If there is no compiler for this machine.
    pub fn new() -> Result<Execute, String> {
        Execute::with(1, 1, |u| generate::runnable(u, Extent::Whole).ok())
    }

    /// With an engine per configuration, for programs made by this function, to be run so often with so
    /// many instances.
    ///
    /// # Errors
    /// If there is no compiler for this machine.
    pub fn with(
        rounds: u64,
        instances: u32,
        generate: fn(&mut Unstructured<'_>) -> Option<generate::Program>,
    ) -> Result<Execute, String> {
        let engines = |change: &dyn Fn(&mut Config)| {
            let engines = configurations().into_iter().map(|(name, mut config)| {
                change(&mut config);
                let engine = Engine::new(&config).map_err(|error| format!("{error:#}"))?;
                Ok((name, engine))
            });
            engines.collect::<Result<Vec<_>, String>>()
        };
        let counter = InstructionCounter::new().exact_at_traps(true);
        Ok(Execute {
            generate,
            rounds,
            instances,
            engines: engines(&|_| ())?,
            metered: engines(&|c| _ = c.consume_fuel(true).epoch_interruption(true))?,
            counted: engines(&|c| {
                c.consume_fuel(true)
                    .operator_cost(counted_cost())
                    .middleware(Arc::new(counter));
            })?,
            census: census::engine()?,
            #[cfg(feature = "peer")]
            peer: peer::engine()?,
        })
    }

    /// What the engine with this number does.
    fn ours(
        &self,
        index: usize,
        wasm: &[u8],
        scenario: Scenario,
        notes: &mut Notes,
    ) -> Result<(&'static str, Trace), String> {
        let engines = match scenario {
            Scenario { counted: true, .. } => &self.counted,
            Scenario { metered: true, .. } => &self.metered,
            _ => &self.engines,
        };
        let (name, engine) = &engines[index % engines.len()];
        // In a pool there shall be something that another instance has left.
        let before = Scenario {
            seed: !scenario.seed,
            ..scenario
        };
        let before = name.starts_with("pooled").then_some(before);
        Ok((
            name,
            ours::driver::run(engine, wasm, before, scenario, notes)?,
        ))
    }

    /// Compares with the peer, which counts no fuel that can be compared.
    #[cfg(feature = "peer")]
    fn compare_with_peer(
        &self,
        wasm: &[u8],
        scenario: Scenario,
        (name, trace): &(&str, Trace),
        notes: &mut Notes,
    ) -> Result<(), String> {
        notes.count("compared with the peer");
        let expected = peer::driver::run(&self.peer, wasm, None, scenario, &mut Notes::default())?;
        // It does not tell these apart.
        let same = |line: &String| {
            let line = line.replace("undefined element", "out of bounds table access");
            let nulls = ["structure", "array", "i31", "function"];
            nulls.iter().fold(line, |line, what| {
                line.replace(&format!("null {what} reference"), "null reference")
            })
        };
        let trace = trace.iter().map(same).collect();
        compare("the peer", &expected, name, &trace)
    }

    /// All with each other.
    fn check_all(&self, wasm: &[u8], scenario: Scenario, notes: &mut Notes) -> Result<(), String> {
        let first = self.ours(0, wasm, scenario, notes)?;
        for index in 0..self.engines.len() {
            let scenario = Scenario {
                asynchronous: index % 2 == 0,
                image: index % 3 == 0 && !scenario.counted,
                ..scenario
            };
            let (name, trace) = self.ours(index, wasm, scenario, notes)?;
            compare(first.0, &first.1, name, &trace)?;
        }
        #[cfg(feature = "peer")]
        if !scenario.metered && !scenario.counted {
            self.compare_with_peer(wasm, scenario, &first, notes)?;
        }
        Ok(())
    }
}

impl Target for Execute {
    fn run(&mut self, input: &[u8], notes: &mut Notes) -> Result<(), String> {
        let mut u = Unstructured::new(input);
        let [kind, first, second]: [u8; 3] = u.arbitrary().unwrap_or([0; 3]);
        let scenario = Scenario {
            seed: u.arbitrary().unwrap_or(0),
            mischief: kind & 1 == 0,
            metered: kind & 6 == 0,
            interrupted: kind & 134 == 0,
            counted: kind & 14 == 2,
            asynchronous: false,
            image: false,
            census: false,
            rounds: self.rounds,
            instances: self.instances,
        };
        let Some(program) = (self.generate)(&mut u) else {
            notes.count("no module");
            return Ok(());
        };
        let wasm = program.wasm;
        notes.files.push(("wasm", wasm.clone()));
        notes.add("bytes of wasm", wasm.len() as u64);
        let first = self.ours(first.into(), &wasm, scenario, notes)?;
        if second & 15 == 0 {
            census::take(&self.census, &wasm, scenario, notes)?;
        }
        #[cfg(feature = "peer")]
        if kind & 12 == 4 && program.peer {
            return self.compare_with_peer(&wasm, scenario, &first, notes);
        }
        let scenario = Scenario {
            asynchronous: kind & 48 == 0,
            image: kind & 64 == 0 && !scenario.counted,
            ..scenario
        };
        let (name, trace) = self.ours(second.into(), &wasm, scenario, notes)?;
        compare(first.0, &first.1, name, &trace)
    }

    fn run_file(&mut self, file: &[u8], notes: &mut Notes) -> Result<(), String> {
        for seed in 0..4 {
            for mischief in [false, true] {
                let scenario = Scenario {
                    seed,
                    mischief,
                    metered: seed & 1 != 0,
                    interrupted: seed == 3,
                    counted: seed == 2,
                    asynchronous: false,
                    image: false,
                    census: false,
                    rounds: 1,
                    instances: 1,
                };
                self.check_all(file, scenario, notes)?;
            }
        }
        Ok(())
    }
}

/// The line that ends a trace early.
pub const OVERFLOW: &str = "stack overflow";
/// So does this one: there is no room for an object.
pub const FULL: &str = "no room for an object";
/// How large heaps of objects become. A program that makes large arrays in a loop is to end soon.
const HEAP: u64 = 8 << 20;
/// How many bytes of the input say how the program is run; all others are the program.
pub const HEADER: usize = 11;

/// Whether what comes after this line may differ.
fn ends(line: Option<&String>) -> bool {
    line.is_some_and(|line| line == OVERFLOW || line == FULL || line.ends_with("interrupt"))
}

/// Traces must be equal up to where one overflows or is interrupted.
///
/// # Errors
/// Where they are not.
pub fn compare(name: &str, expected: &Trace, other: &str, got: &Trace) -> Result<(), String> {
    for i in 0..expected.len().max(got.len()) {
        let (a, b) = (expected.get(i), got.get(i));
        if ends(a) || ends(b) {
            break;
        }
        if a != b {
            let show = |line: Option<&String>| line.map_or("(the end)", |line| line).to_owned();
            let before = expected[i.saturating_sub(3).min(expected.len())..i.min(expected.len())]
                .join("\n  ");
            return Err(format!(
                "`{name}` and `{other}` differ\n  {name}: {}\n  {other}: {}\nafter\n  {before}",
                show(a),
                show(b),
            ));
        }
    }
    Ok(())
}

/// A number that other bytes have not.
fn digest(bytes: &[u8]) -> u64 {
    let mut lanes = [1_u64, 2, 3, 4];
    let chunks = bytes.chunks_exact(32);
    let rest = chunks.remainder().iter();
    lanes[0] = rest.fold(lanes[0], |n: u64, byte| n.rotate_left(7) ^ u64::from(*byte));
    for chunk in chunks {
        for (lane, word) in lanes.iter_mut().zip(chunk.chunks_exact(8)) {
            let word = word
                .iter()
                .rev()
                .fold(0, |n, byte| n << 8 | u64::from(*byte));
            *lane = (*lane ^ word)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29);
        }
    }
    lanes.into_iter().fold(0, |a, b| crate::source::mix(a ^ b))
}

/// A value of this type, the special ones often.
pub fn number(source: &mut Source) -> u64 {
    const SPECIAL: &[u64] = &[
        0,
        1,
        2,
        3,
        4,
        8,
        16,
        31,
        32,
        63,
        64,
        0x7f,
        0x80,
        0xff,
        0x7fff,
        0x8000,
        0xffff,
        0x1_0000,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        0x7fff_ffff_ffff_ffff,
        0x8000_0000_0000_0000,
        u64::MAX,
        0x3f80_0000,
        0x7f80_0000,
        0xff80_0000,
        0x7fc0_0000,
        0x4f00_0000,
        0xcf00_0000,
        0x3ff0_0000_0000_0000,
        0x7ff0_0000_0000_0000,
        0xfff0_0000_0000_0000,
        0x7ff8_0000_0000_0000,
        0x43e0_0000_0000_0000,
        0xc1e0_0000_0000_0000,
    ];
    match source.below(3) {
        0 => source.number(),
        1 => source.below(256),
        _ => SPECIAL[source.below(SPECIAL.len() as u64) as usize],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(lines: &[&str]) -> Trace {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn traces_that_differ_are_a_finding() {
        let same = |a: &[&str], b: &[&str]| compare("a", &trace(a), "b", &trace(b)).is_ok();
        assert!(same(&["1", "2"], &["1", "2"]));
        assert!(!same(&["1", "2"], &["1", "3"]));
        assert!(!same(&["1", "2"], &["1"]));
        assert!(!same(&["1"], &["1", "2"]));
        // How deep the stack goes may differ; what is before may not.
        assert!(same(&["1", "2", "3"], &["1", OVERFLOW]));
        assert!(!same(&["1", "2", "3"], &["0", OVERFLOW]));
        assert!(same(&["1", "f() = 2", "3"], &["1", "f() = interrupt", "4"]));
    }

    /// The whole way, with an engine whose division is another.
    #[test]
    fn programs_that_differ_are_a_finding() {
        let run = |text: &str| {
            let wasm = bimetal_wasm::text::parse(text, None).unwrap();
            let scenario = Scenario {
                seed: 3,
                mischief: true,
                metered: false,
                interrupted: false,
                counted: false,
                asynchronous: false,
                image: false,
                census: false,
                rounds: 1,
                instances: 1,
            };
            ours::driver::run(
                &Engine::default(),
                &wasm,
                None,
                scenario,
                &mut Notes::default(),
            )
            .unwrap()
        };
        let module = |op: &str| {
            format!(
                "(module (memory (export \"m\") 1) (func (export \"f\") (i32.{op} (i32.const 0) (i32.const 1))))"
            )
        };
        let (a, b) = (run(&module("store")), run(&module("store8")));
        assert_eq!(a, b);
        let c = run(&module("store16 offset=1"));
        assert!(compare("a", &a, "c", &c).is_err());
    }
}
