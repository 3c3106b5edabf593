//! Executing: a program does the same however it is compiled and wherever its memories are.
//!
//! A module is instantiated with imports made up from their types, all its functions are called
//! with made-up arguments, and everything that can be seen is written into a [`Trace`]: results,
//! traps, what host functions were called with, globals, memories, tables. All configurations
//! must give the same trace. NaNs are canonical in all of them.
//!
//! How deep the stack goes is not the same, so a trace ends where one overflowed.

use std::hash::{DefaultHasher, Hasher};

use arbitrary::Unstructured;
use bimetal::{
    AsContextMut, Caller, Config, Engine, Error, ErrorKind, Extern, ExternRef, ExternType, Func,
    FuncType, Global, Instance, Memory, Module, Mutability, OptLevel, Ref, Store, Table, Trap,
    V128, Val, ValType,
};

use crate::source::{Source, mix};
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
    /// Whether the module does the same where NaNs are not made canonical.
    pub portable: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Execute {
    engines: Vec<(&'static str, Engine)>,
    /// The same with fuel and interrupts.
    metered: Vec<(&'static str, Engine)>,
    #[cfg(feature = "oracle")]
    oracle: crate::oracle::Oracle,
}

fn configurations() -> Vec<(&'static str, Config)> {
    let mut base = Config::new();
    base.nan_canonicalization(true)
        .compiler_verify(true)
        .parallel_compilation(false);
    let with = |change: &dyn Fn(&mut Config)| {
        let mut config = base.clone();
        change(&mut config);
        config
    };
    vec![
        ("direct", base.clone()),
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
            "explicit checks",
            with(&|c| {
                c.memory_reservation(0)
                    .memory_guard_size(0)
                    .signals_based_traps(false)
                    .spectre_mitigation(false);
            }),
        ),
    ]
}

impl Execute {
    /// With an engine per configuration.
    ///
    /// # Errors
    /// If there is no compiler for this machine.
    pub fn new() -> Result<Execute, String> {
        let engines = |metered: bool| {
            let engines = configurations().into_iter().map(|(name, mut config)| {
                config.consume_fuel(metered).epoch_interruption(metered);
                let engine = Engine::new(&config).map_err(|error| format!("{error:#}"))?;
                Ok((name, engine))
            });
            engines.collect::<Result<Vec<_>, String>>()
        };
        Ok(Execute {
            engines: engines(false)?,
            metered: engines(true)?,
            #[cfg(feature = "oracle")]
            oracle: crate::oracle::Oracle::new(),
        })
    }

    fn check(&self, wasm: &[u8], scenario: Scenario, notes: &mut Notes) -> Result<(), String> {
        notes.files.push(("wasm", wasm.to_vec()));
        let mut first: Option<(&str, Trace)> = None;
        let engines = match scenario.metered {
            true => &self.metered,
            false => &self.engines,
        };
        for (name, engine) in engines {
            let trace = run(engine, wasm, scenario, notes)?;
            match &first {
                None => first = Some((name, trace)),
                Some((other, expected)) => compare(other, expected, name, &trace)?,
            }
        }
        #[cfg(feature = "oracle")]
        if let (Some((name, trace)), false) = (&first, !scenario.portable) {
            let expected = self.oracle.run(wasm, scenario)?;
            // Which the oracle does not tell apart.
            let index =
                |line: &String| line.replace("undefined element", "out of bounds table access");
            let trace = trace.iter().map(index).collect();
            compare("the oracle", &expected, name, &trace)?;
            notes.count("compared with the oracle");
        }
        Ok(())
    }
}

impl Target for Execute {
    fn run(&mut self, input: &[u8], notes: &mut Notes) -> Result<(), String> {
        let mut u = Unstructured::new(input);
        let kind: u8 = u.arbitrary().unwrap_or(0);
        let scenario = Scenario {
            seed: u.arbitrary().unwrap_or(0),
            mischief: kind & 3 < 2,
            metered: kind & 3 == 1,
            portable: kind & 3 == 2,
        };
        match generate::runnable(&mut u, scenario.portable) {
            Ok(wasm) => self.check(&wasm, scenario, notes),
            Err(_) => Ok(()),
        }
    }

    fn run_file(&mut self, file: &[u8], notes: &mut Notes) -> Result<(), String> {
        for seed in 0..4 {
            for mischief in [false, true] {
                let scenario = Scenario {
                    seed,
                    mischief,
                    metered: seed & 1 != 0,
                    portable: false,
                };
                self.check(file, scenario, notes)?;
            }
        }
        Ok(())
    }
}

/// The line that ends a trace early.
pub const OVERFLOW: &str = "stack overflow";

/// Traces must be equal up to where one ends with an overflow.
///
/// # Errors
/// Where they are not.
pub fn compare(name: &str, expected: &Trace, other: &str, got: &Trace) -> Result<(), String> {
    for i in 0..expected.len().max(got.len()) {
        let (a, b) = (expected.get(i), got.get(i));
        let overflow = |line: Option<&String>| line.is_some_and(|line| line == OVERFLOW);
        if overflow(a) || overflow(b) {
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

/// What host functions see and do.
struct Host {
    scenario: Scenario,
    /// Everything that is made up comes from here, in the order in which it is asked for.
    source: Source,
    trace: Trace,
    exports: Vec<String>,
    depth: u32,
}

fn run(
    engine: &Engine,
    wasm: &[u8],
    scenario: Scenario,
    notes: &mut Notes,
) -> Result<Trace, String> {
    let module = match Module::new(engine, wasm) {
        Ok(module) => module,
        Err(error) => return Err(format!("a valid module is refused: {error:#}")),
    };
    let host = Host {
        scenario,
        source: Source::new(scenario.seed),
        trace: Vec::new(),
        exports: module.exports().map(|e| e.name().to_owned()).collect(),
        depth: 0,
    };
    let mut store = Store::new(engine, host);
    refuel(&mut store, &[]);
    let mut imports = Vec::new();
    for (i, import) in module.imports().enumerate() {
        let import = make_import(&mut store, i, &import.ty())
            .map_err(|error| format!("cannot make an import: {error:#}"))?;
        imports.push(import);
    }
    let instance = match Instance::new(&mut store, &module, &imports) {
        Ok(instance) => instance,
        Err(error) => {
            notes.count("not instantiated");
            let line = failure(&error)?;
            store.data_mut().trace.push(line);
            return Ok(store.into_data().trace);
        }
    };
    let exports: Vec<(String, Extern)> = instance
        .exports(&store)
        .map(|export| (export.name().to_owned(), export.into_extern()))
        .collect();
    see(&mut store, &exports)?;
    for (name, item) in &exports {
        let Extern::Func(func) = item else { continue };
        refuel(&mut store, &exports);
        let ty = func.ty(&store);
        let params = arguments(&mut store, &ty);
        let mut results: Vec<Val> = ty.results().map(|ty| Val::default_of(&ty)).collect();
        let said = params
            .iter()
            .map(|v| show(&mut store, v))
            .collect::<Vec<_>>();
        let line = match func.call(&mut store, &params, &mut results) {
            Ok(()) => {
                notes.count("calls that returned");
                let results = results
                    .iter()
                    .map(|v| show(&mut store, v))
                    .collect::<Vec<_>>();
                results.join(" ")
            }
            Err(error) => {
                let line = failure(&error)?;
                notes.count(format!("calls: {}", kind_of(&line)));
                line
            }
        };
        if line == OVERFLOW {
            store.data_mut().trace.push(line);
            break;
        }
        store
            .data_mut()
            .trace
            .push(format!("{name:?}({}) = {line}", said.join(" ")));
        see(&mut store, &exports)?;
    }
    Ok(store.into_data().trace)
}

/// Errors of the host's are counted together.
fn kind_of(line: &str) -> &str {
    line.split(':').next().unwrap_or(line)
}

/// The same for the same failure on all configurations; an error if it is none of a program's.
fn failure(error: &Error) -> Result<String, String> {
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return Ok(match trap {
            Trap::StackOverflow => OVERFLOW.into(),
            trap => trap.message().into(),
        });
    }
    match error.kind() {
        ErrorKind::Other => Ok(format!("host error: {error}")),
        kind => Err(format!("a failure that should not be, {kind:?}: {error:#}")),
    }
}

/// For one call: the module's own fuel, and what the engine counts, which is too little now and
/// then.
fn refuel(store: &mut Store<Host>, exports: &[(String, Extern)]) {
    let fuel = exports.iter().find(|(name, _)| name == generate::FUEL);
    if let Some((_, Extern::Global(global))) = fuel {
        // A regression test need not have it, nor as a variable.
        let _ = global.set(&mut *store, Val::I32(generate::FUEL_AMOUNT as i32));
    }
    if store.data().scenario.metered {
        let source = &mut store.data_mut().source;
        let amount = match source.below(3) {
            0 => source.below(500),
            _ => 1 << 30,
        };
        store.set_epoch_deadline(2);
        let set = store.set_fuel(amount);
        debug_assert!(set.is_ok());
    }
}

/// Everything that can be seen from outside.
fn see(store: &mut Store<Host>, exports: &[(String, Extern)]) -> Result<(), String> {
    if let Ok(fuel) = store.get_fuel() {
        store.data_mut().trace.push(format!("  {fuel} of fuel"));
    }
    for (name, item) in exports {
        let line = match item {
            Extern::Func(_) => continue,
            Extern::Global(_) if name == generate::FUEL => continue,
            Extern::Global(global) => {
                let value = global.get(&mut *store);
                show(&mut *store, &value)
            }
            Extern::Memory(memory) => {
                let bytes = memory.data(&*store);
                let mut hasher = DefaultHasher::new();
                hasher.write(bytes);
                let (size, hash) = (memory.size(&*store), hasher.finish());
                if size << 16 != bytes.len() as u64 {
                    return Err(format!(
                        "a memory of {size} pages has {} bytes",
                        bytes.len()
                    ));
                }
                format!("memory of {size} pages, {hash:016x}")
            }
            Extern::Table(table) => {
                let mut elements = String::new();
                for i in 0..table.size(&*store) {
                    let value = table.get(&mut *store, i).ok_or("a table has a hole")?;
                    elements.push_str(&show(&mut *store, &value.into()));
                    elements.push(' ');
                }
                format!("table: {elements}")
            }
        };
        store.data_mut().trace.push(format!("  {name:?}: {line}"));
    }
    Ok(())
}

fn show(mut store: impl AsContextMut, value: &Val) -> String {
    match value {
        Val::I32(v) => format!("{v:#x}"),
        Val::I64(v) => format!("{v:#x}L"),
        Val::F32(v) => format!("{v:#x}f"),
        Val::F64(v) => format!("{v:#x}d"),
        Val::V128(v) => format!("{:#x}v", v.as_u128()),
        Val::FuncRef(None) | Val::ExternRef(None) => "null".into(),
        Val::FuncRef(Some(func)) => format!("func[{}]", func.ty(store.as_context_mut())),
        Val::ExternRef(Some(value)) => {
            let store = store.as_context_mut();
            let data = value
                .data(&store)
                .ok()
                .and_then(|data| data.downcast_ref::<u64>());
            format!("extern {data:?}")
        }
    }
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

fn value(mut store: impl AsContextMut<Data = Host>, ty: ValType) -> Val {
    let mut store = store.as_context_mut();
    let source = &mut store.data_mut().source;
    let n = number(source);
    match ty {
        ValType::I32 => Val::I32(n as i32),
        ValType::I64 => Val::I64(n as i64),
        // A signalling NaN that goes in unchanged would be no defect where it comes out quiet.
        ValType::F32 if f32::from_bits(n as u32).is_nan() => Val::F32(0x7fc0_0000),
        ValType::F64 if f64::from_bits(n).is_nan() => Val::F64(0x7ff8_0000_0000_0000),
        ValType::F32 => Val::F32(n as u32),
        ValType::F64 => Val::F64(n),
        ValType::V128 => {
            let high = u128::from(number(source)) << 64;
            Val::V128(V128::from(high | u128::from(n)))
        }
        ValType::EXTERNREF if !n.is_multiple_of(3) => match ExternRef::new(&mut store, n) {
            Ok(value) => Val::ExternRef(Some(value)),
            Err(_) => Val::ExternRef(None),
        },
        ty => Val::default_of(&ty),
    }
}

fn arguments(mut store: impl AsContextMut<Data = Host>, ty: &FuncType) -> Vec<Val> {
    let types: Vec<ValType> = ty.params().collect();
    types
        .into_iter()
        .map(|ty| value(store.as_context_mut(), ty))
        .collect()
}

fn make_import(store: &mut Store<Host>, index: usize, ty: &ExternType) -> bimetal::Result<Extern> {
    Ok(match ty {
        ExternType::Func(ty) => Extern::Func(host_function(store, index, ty)),
        ExternType::Global(ty) => {
            let value = value(&mut *store, ty.content());
            debug_assert!(matches!(
                ty.mutability(),
                Mutability::Var | Mutability::Const
            ));
            Extern::Global(Global::new(store, *ty, value)?)
        }
        ExternType::Table(ty) => {
            let init = Ref::null(ty.element().heap_type());
            Extern::Table(Table::new(store, *ty, init)?)
        }
        ExternType::Memory(ty) => Extern::Memory(Memory::new(store, *ty)?),
        ExternType::Tag(_) => return Err(Error::msg("a tag")),
    })
}

fn host_function(store: &mut Store<Host>, index: usize, ty: &FuncType) -> Func {
    let types: Vec<ValType> = ty.results().collect();
    Func::new(store, ty.clone(), move |mut caller, params, results| {
        let said = params
            .iter()
            .map(|v| show(&mut caller, v))
            .collect::<Vec<_>>();
        let line = format!("host {index}({})", said.join(" "));
        caller.data_mut().trace.push(line);
        if caller.data().scenario.mischief {
            mischief(&mut caller)?;
        }
        for (result, ty) in results.iter_mut().zip(&types) {
            *result = value(&mut caller, *ty);
        }
        Ok(())
    })
}

/// What a host function does behind the back of its caller.
fn mischief(caller: &mut Caller<'_, Host>) -> bimetal::Result<()> {
    let host = caller.data_mut();
    let what = host.source.below(16);
    if what == 0 {
        return Err(Error::msg("refused"));
    }
    if what > 12 && host.scenario.metered {
        let left = caller.get_fuel()?;
        caller.data_mut().trace.push(format!("  {left} of fuel"));
        match what {
            13 => caller.set_epoch_deadline(1),
            14 => caller.engine().increment_epoch(),
            _ => caller.set_fuel(left / 2)?,
        }
        return Ok(());
    }
    if what > 6 || host.exports.is_empty() {
        return Ok(());
    }
    let which = host.source.below(host.exports.len() as u64) as usize;
    let name = host.exports[which].clone();
    let number = number(&mut host.source);
    let place = host.source.below(1 << 17) as usize;
    match caller.get_export(&name) {
        Some(Extern::Memory(memory)) => {
            let grown = memory.grow(&mut *caller, number % 3).is_ok();
            let written = memory
                .write(&mut *caller, place, &mix(number).to_le_bytes())
                .is_ok();
            caller
                .data_mut()
                .trace
                .push(format!("host grows {grown}, writes {written}"));
        }
        Some(Extern::Table(table)) => {
            let init = Ref::null(table.ty(&*caller).element().heap_type());
            let grown = table.grow(&mut *caller, number % 5, init).is_ok();
            let erased = table.set(&mut *caller, place as u64 % 8, init).is_ok();
            caller
                .data_mut()
                .trace
                .push(format!("host grows {grown}, erases {erased}"));
        }
        Some(Extern::Global(global)) if name != generate::FUEL => {
            let ty = global.ty(&*caller);
            let value = value(&mut *caller, ty.content());
            let set = global.set(&mut *caller, value).is_ok();
            caller.data_mut().trace.push(format!("host sets {set}"));
        }
        Some(Extern::Func(func)) if caller.data().depth < 2 => {
            caller.data_mut().depth += 1;
            let ty = func.ty(&*caller);
            let params = arguments(&mut *caller, &ty);
            let mut results: Vec<Val> = ty.results().map(|ty| Val::default_of(&ty)).collect();
            let outcome = func.call(&mut *caller, &params, &mut results);
            caller.data_mut().depth -= 1;
            match outcome {
                Ok(()) => {
                    let said = results
                        .iter()
                        .map(|v| show(&mut *caller, v))
                        .collect::<Vec<_>>();
                    caller
                        .data_mut()
                        .trace
                        .push(format!("back: {}", said.join(" ")));
                }
                // Half of the time it goes on, as a host that catches an error.
                Err(error) if number.is_multiple_of(2) => return Err(error),
                Err(error) => {
                    let line = failure(&error).map_err(Error::msg)?;
                    caller.data_mut().trace.push(line);
                }
            }
        }
        _ => {}
    }
    Ok(())
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
                portable: false,
            };
            run(&Engine::default(), &wasm, scenario, &mut Notes::default()).unwrap()
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
