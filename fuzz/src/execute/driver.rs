//! What is done with a program, and what is seen of it.
//!
//! This file is a module twice, of [`ours`](super::super::ours) and of `peer`: the names that it
//! gets from its parent are those of the one runtime or of the other. So both are driven by the
//! same text, and what is made up is made up in the same order.

#![allow(
    clippy::clone_on_copy,
    clippy::unnecessary_mut_passed,
    reason = "what one of the runtimes copies or reads, the other clones or borrows mutably"
)]

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::execute::census::{self, EXCEPTIONS, OBJECTS};
use crate::execute::{FULL, OVERFLOW, Scenario, Trace, digest, number};
use crate::source::{Source, mix};
use crate::{Notes, generate};

#[path = "values.rs"]
mod values;

use values::{Kept, arguments, keep, show, show_all, value, zeros};

/// What host functions see and do.
pub(super) struct Host {
    pub(super) scenario: Scenario,
    /// Everything that is made up comes from here, in the order in which it is asked for.
    pub(super) source: Source,
    trace: Trace,
    exports: Vec<String>,
    /// References that the program has shown.
    kept: Vec<Kept>,
    /// Functions of earlier instances, which later ones may import.
    earlier: Vec<Func>,
    /// The fuel of all instances.
    fuels: Vec<Global>,
    depth: u32,
    /// How often wasm has called the host.
    calls: u64,
    /// Whether a host function went on after wasm that it had called failed. Fuel is not exact
    /// there, the counter is.
    caught: bool,
    /// When calls are suspended.
    #[allow(dead_code, reason = "those of one of the runtimes never are")]
    pub(super) pauses: Source,
    /// How often they were.
    pub(super) suspended: u64,
    /// How often a deadline has come and the program went on.
    pub(super) interruptions: u64,
}

impl Host {
    fn say(&mut self, line: String) {
        self.trace.push(line);
    }
}

/// Enough for each call.
const COUNTED_FUEL: u64 = 1 << 50;

/// What the module does. It may have done something `before`, which is forgotten.
///
/// # Errors
/// If the module is refused, or does what no program may.
pub(crate) fn run(
    engine: &Engine,
    wasm: &[u8],
    before: Option<Scenario>,
    scenario: Scenario,
    notes: &mut Notes,
) -> Result<Trace, String> {
    let module = load(engine, wasm, scenario)
        .map_err(|error| format!("a valid module is refused: {error:#}"))?;
    if let Some(before) = before {
        run_module(engine, &module, before, notes)?;
    }
    let mut trace = Trace::new();
    for round in 0..scenario.rounds {
        let scenario = Scenario {
            seed: scenario.seed.wrapping_add(round),
            ..scenario
        };
        trace.extend(run_module(engine, &module, scenario, notes)?);
    }
    Ok(trace)
}

fn run_module(
    engine: &Engine,
    module: &Module,
    scenario: Scenario,
    notes: &mut Notes,
) -> Result<Trace, String> {
    let host = Host {
        scenario,
        source: Source::new(scenario.seed),
        trace: Vec::new(),
        exports: module.exports().map(|e| e.name().to_owned()).collect(),
        kept: Vec::new(),
        earlier: Vec::new(),
        fuels: Vec::new(),
        depth: 0,
        calls: 0,
        caught: false,
        pauses: Source::new(!scenario.seed),
        suspended: 0,
        interruptions: 0,
    };
    let mut store = Store::new(engine, host);
    prepare(&mut store);
    for _ in 0..scenario.instances {
        if !run_instance(&mut store, module, notes)? {
            break;
        }
    }
    notes.add("calls of host functions", store.data().calls);
    notes.add("suspensions", store.data().suspended);
    notes.add("interruptions", store.data().interruptions);
    note_collections(&store, notes);
    Ok(store.into_data().trace)
}

/// Whether there may be another after it.
fn run_instance(
    store: &mut Store<Host>,
    module: &Module,
    notes: &mut Notes,
) -> Result<bool, String> {
    refuel(store);
    let mut imports = Vec::new();
    for (i, import) in module.imports().enumerate() {
        let import = make_import(store, i, &import.ty())
            .map_err(|error| format!("cannot make an import: {error:#}"))?;
        let Some(import) = import else {
            notes.count("imports of what nobody has");
            return Ok(false);
        };
        imports.push(import);
    }
    match instantiate(store, module, &imports) {
        Ok(instance) => {
            notes.count("instances");
            call_all(store, instance, notes)
        }
        Err(error) => {
            notes.count("not instantiated");
            let line = outcome_of(&mut *store, &error)?;
            store.data_mut().say(line);
            Ok(false)
        }
    }
}

/// Polls until it is ready, and says how often it was not.
pub(super) fn wait<T>(future: impl Future<Output = T>) -> (T, u64) {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    let mut times = 0;
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return (value, times),
            Poll::Pending => times += 1,
        }
    }
}

/// Whether there was room and stack for all.
fn call_all(
    store: &mut Store<Host>,
    instance: Instance,
    notes: &mut Notes,
) -> Result<bool, String> {
    let exports: Vec<(String, Extern)> = instance
        .exports(&mut *store)
        .map(|export| (export.name().to_owned(), export.into_extern()))
        .collect();
    for (name, item) in &exports {
        match item {
            Extern::Global(global) if is_fuel(name) => {
                store.data_mut().fuels.push(global.clone());
            }
            _ => {}
        }
    }
    see_globals(store, &exports);
    for (name, item) in &exports {
        let Extern::Func(func) = item else { continue };
        refuel(store);
        let ty = func.ty(&*store);
        let Some(params) = arguments(&mut *store, &ty) else {
            notes.count("no arguments");
            continue;
        };
        let mut results = zeros(&ty);
        let said = show_all(&mut *store, &params);
        if store.data().scenario.counted {
            // What a start function did.
            take_count(store, &instance)?;
            store.data_mut().caught = false;
        }
        let outcome = call(store, func, &params, &mut results);
        let used = used(store, &exports);
        notes.add("entries and iterations", used.unwrap_or(0));
        if store.data().scenario.counted {
            let consumed = COUNTED_FUEL - store.get_fuel().map_err(|error| error.to_string())?;
            let count = take_count(store, &instance)?;
            notes.add("instructions counted", count);
            // What is not counted is entries.
            let most = used.map_or(u64::MAX, |used| count + used);
            let exact = outcome.is_ok() && !store.data().caught;
            if exact && !(count..=most).contains(&consumed) {
                return Err(format!(
                    "{name:?} consumed {consumed} of fuel for {count} instructions and {used:?} \
                     entries at most"
                ));
            }
            store.data_mut().say(format!("  {count} instructions"));
        }
        if store.data().scenario.census {
            let left = store.get_fuel().map_err(|error| error.to_string())?;
            let (objects, exceptions) = census::split(COUNTED_FUEL - left);
            notes.add(OBJECTS, objects);
            notes.add(EXCEPTIONS, exceptions);
        }
        let line = match outcome {
            Ok(()) => {
                notes.count("calls that returned");
                keep(&mut *store, &results);
                show_all(&mut *store, &results)
            }
            Err(error) => {
                let line = outcome_of(&mut *store, &error)?;
                // Errors of the host's are counted together.
                let kind = line.split([':', '(']).next().unwrap_or(&line);
                notes.count(&format!("calls: {kind}"));
                line
            }
        };
        if line == OVERFLOW || line == FULL {
            store.data_mut().say(line);
            return Ok(false);
        }
        store.data_mut().say(format!("{name:?}({said}) = {line}"));
        see_globals(store, &exports);
    }
    see_all(store, &exports)?;
    let functions = exports.into_iter().filter_map(|(_, item)| item.into_func());
    store.data_mut().earlier.extend(functions);
    Ok(true)
}

/// What a call failed with: for an exception, what it carries.
fn outcome_of(store: impl AsContextMut<Data = Host>, error: &Error) -> Result<String, String> {
    match error.is::<ThrownException>() {
        true => values::show_thrown(store).ok_or_else(|| "no exception was thrown".into()),
        false => failure(error),
    }
}

fn is_fuel(name: &str) -> bool {
    name.starts_with(generate::FUEL)
}

/// How much of the module's own fuel has been used since it was filled. A regression test need not
/// have it, nor as a variable.
fn used(store: &mut Store<Host>, exports: &[(String, Extern)]) -> Option<u64> {
    let (_, item) = exports.iter().find(|(name, _)| name == generate::FUEL)?;
    match item.clone().into_global()?.get(store) {
        Val::I32(left) => u64::from(generate::FUEL_AMOUNT).checked_sub(left as u64),
        _ => None,
    }
}

/// For one call: the modules' own fuel, and what the engine counts, which is too little now and
/// then.
fn refuel(store: &mut Store<Host>) {
    for global in store.data().fuels.clone() {
        let _ = global.set(&mut *store, Val::I32(generate::FUEL_AMOUNT as i32));
    }
    let scenario = store.data().scenario;
    if scenario.counted || scenario.census {
        let set = store.set_fuel(COUNTED_FUEL);
        debug_assert!(set.is_ok());
    } else if scenario.metered {
        let source = &mut store.data_mut().source;
        let amount = match source.below(3) {
            0 => source.below(500),
            _ => 1 << 30,
        };
        store.set_epoch_deadline(if scenario.interrupted { 1 } else { 2 });
        let set = store.set_fuel(amount);
        debug_assert!(set.is_ok());
    }
}

/// What is seen after each call.
fn see_globals(store: &mut Store<Host>, exports: &[(String, Extern)]) {
    if let Ok(fuel) = store.get_fuel() {
        store.data_mut().say(format!("  {fuel} of fuel"));
    }
    for (name, item) in exports {
        let Extern::Global(global) = item else {
            continue;
        };
        if !is_fuel(name) {
            let value = global.get(&mut *store);
            let value = show(&mut *store, &value);
            store.data_mut().say(format!("  {name:?}: {value}"));
        }
    }
}

/// What is seen at the end.
fn see_all(store: &mut Store<Host>, exports: &[(String, Extern)]) -> Result<(), String> {
    for (name, item) in exports {
        let line = match item {
            Extern::Memory(memory) => {
                let bytes = memory.data(&*store);
                let (size, hash) = (memory.size(&*store), digest(bytes));
                if size * memory.page_size(&*store) != bytes.len() as u64 {
                    return Err(format!(
                        "a memory of {size} pages has {} bytes",
                        bytes.len()
                    ));
                }
                format!("memory of {size} pages, {hash:016x}")
            }
            Extern::SharedMemory(memory) => {
                let size = memory.size();
                let bytes = contents(memory);
                if size * memory.page_size() != bytes.len() as u64 {
                    return Err(format!(
                        "a shared memory of {size} pages has {} bytes",
                        bytes.len()
                    ));
                }
                let hash = digest(&bytes);
                format!("shared memory of {size} pages, {hash:016x}")
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
            _ => continue,
        };
        store.data_mut().say(format!("  {name:?}: {line}"));
    }
    Ok(())
}

/// `None` if it would have to be a value that the host cannot have.
fn make_import(
    store: &mut Store<Host>,
    index: usize,
    ty: &ExternType,
) -> Result<Option<Extern>, Error> {
    Ok(Some(match ty {
        ExternType::Func(ty) => {
            let fits = |func: &&Func| FuncType::eq(&func.ty(&*store), ty);
            let earlier = store.data().earlier.iter().rev().find(fits).cloned();
            Extern::Func(earlier.unwrap_or_else(|| host_function(store, index, ty)))
        }
        ExternType::Global(ty) => {
            let Some(value) = value(&mut *store, ty.content()) else {
                return Ok(None);
            };
            Extern::Global(Global::new(store, ty.clone(), value)?)
        }
        ExternType::Table(ty) => {
            let Some(init) = element(&mut *store, ty) else {
                return Ok(None);
            };
            Extern::Table(Table::new(store, ty.clone(), init)?)
        }
        ExternType::Memory(ty) if ty.is_shared() => {
            Extern::SharedMemory(SharedMemory::new(store.engine(), ty.clone())?)
        }
        ExternType::Memory(ty) => Extern::Memory(Memory::new(store, ty.clone())?),
        ExternType::Tag(ty) => Extern::Tag(Tag::new(store, ty)?),
    }))
}

/// What a table begins with: null mostly.
fn element(store: impl AsContextMut<Data = Host>, ty: &TableType) -> Option<Ref> {
    let element = ty.element();
    match element.is_nullable() {
        true => Some(Ref::null(element.heap_type())),
        false => value(store, &ValType::Ref(element.clone()))?.ref_(),
    }
}

/// What a host function does: it says what it was given, and makes up what it gives.
pub(super) async fn serve(
    caller: &mut Caller<'_, Host>,
    index: usize,
    params: &[Val],
    types: &[ValType],
    results: &mut [Val],
) -> Result<(), Error> {
    let line = format!("host {index}({})", show_all(&mut *caller, params));
    let host = caller.data_mut();
    host.say(line);
    host.calls += 1;
    let (scenario, calls) = (host.scenario, host.calls);
    keep(&mut *caller, params);
    if scenario.interrupted && calls.is_multiple_of(2) {
        caller.engine().increment_epoch();
    }
    if caller.data().scenario.mischief {
        mischief(caller).await?;
    }
    for (result, ty) in results.iter_mut().zip(types) {
        let value = value(&mut *caller, ty);
        *result = value.ok_or_else(|| Error::msg("there is no such value"))?;
    }
    Ok(())
}

/// What a host function does behind the back of its caller.
async fn mischief(caller: &mut Caller<'_, Host>) -> Result<(), Error> {
    let host = caller.data_mut();
    let what = host.source.below(16);
    if what == 0 {
        return Err(Error::msg("refused"));
    }
    if what > 12 && host.scenario.metered && !host.scenario.counted {
        let left = caller.get_fuel()?;
        caller.data_mut().say(format!("  {left} of fuel"));
        match what {
            13 => caller.as_context_mut().set_epoch_deadline(1),
            14 => caller.engine().increment_epoch(),
            _ => caller.set_fuel(left / 2)?,
        }
        return Ok(());
    }
    match what {
        7 => {
            collect(&mut caller.as_context_mut());
            return Ok(());
        }
        8..=10 => return values::tamper(caller),
        _ => {}
    }
    let host = caller.data_mut();
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
            let line = format!("host grows {grown}, writes {written}");
            caller.data_mut().say(line);
        }
        Some(Extern::Table(table)) => {
            let ty = table.ty(&*caller);
            let Some(init) = element(&mut *caller, &ty) else {
                return Ok(());
            };
            let grown = table.grow(&mut *caller, number % 5, init.clone()).is_ok();
            let erased = table.set(&mut *caller, place as u64 % 8, init).is_ok();
            let line = format!("host grows {grown}, erases {erased}");
            caller.data_mut().say(line);
        }
        Some(Extern::Global(global)) if !is_fuel(&name) => {
            let ty = global.ty(&*caller);
            let Some(value) = value(&mut *caller, ty.content()) else {
                return Ok(());
            };
            let set = global.set(&mut *caller, value).is_ok();
            caller.data_mut().say(format!("host sets {set}"));
        }
        Some(Extern::Tag(tag)) => {
            let ty = tag.ty(&*caller);
            let Some(fields) = arguments(&mut *caller, ty.ty()) else {
                return Ok(());
            };
            let Ok(exception) = values::exception(&mut *caller, &tag, &fields) else {
                caller.data_mut().say(FULL.into());
                return Ok(());
            };
            caller.data_mut().say("host throws".into());
            return Ok(caller.as_context_mut().throw(exception)?);
        }
        Some(Extern::Func(func)) if caller.data().depth < 2 => {
            caller.data_mut().depth += 1;
            let ty = func.ty(&*caller);
            let params = arguments(&mut *caller, &ty);
            let Some(params) = params else {
                caller.data_mut().depth -= 1;
                return Ok(());
            };
            let mut results = zeros(&ty);
            let outcome = call_inside(caller, func, &params, &mut results).await;
            caller.data_mut().depth -= 1;
            let line = match outcome {
                Ok(()) => format!("back: {}", show_all(&mut *caller, &results)),
                // Half of the time it goes on, as a host that catches an error.
                Err(error) if number.is_multiple_of(2) => return Err(error),
                Err(error) => {
                    caller.data_mut().caught = true;
                    outcome_of(&mut *caller, &error).map_err(Error::msg)?
                }
            };
            caller.data_mut().say(line);
        }
        _ => {}
    }
    Ok(())
}
