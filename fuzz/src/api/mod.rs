//! The API: any sequence of calls, also with handles of stores that are another or no more. What
//! is documented to panic does, for the documented reason; all else gives results or errors.

mod asynchronous;
mod link;
mod stop;
mod uses;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use arbitrary::{Result as ArbitraryResult, Unstructured};
use bimetal::{
    Caller, Config, Engine, Error, Exception, Extern, ExternRef, Func, FuncType, Global,
    GlobalType, Instance, Linker, Memory, MemoryType, Module, Mutability, OptLevel, Ref, RefType,
    Store, StoreLimits, Table, TableType, Tag, Val,
};

use crate::{Notes, Target};
use uses::{TYPES, arguments, call, same_kind, use_memory, use_table, val};

const MODULES: &[&str] = &[
    r#"(module (func (export "f")) (memory (export "m") 0 3) (global (export "g") (mut i32) (i32.const 1)))"#,
    r#"(module
        (import "h" "f" (func $f (param i32) (result i32)))
        (import "h" "m" (memory 0))
        (import "h" "t" (table 1 funcref))
        (import "h" "g" (global $g (mut i64)))
        (table (export "own") 2 10 externref)
        (elem (i32.const 0) func $call)
        (func $call (export "call") (param i32) (result i32) (call $f (local.get 0)))
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "indirect") (param i32 i32) (result i32)
            (call_indirect (param i32) (result i32) (local.get 0) (local.get 1)))
        (func (export "load") (param i32) (result i64)
            (global.set $g (i64.add (global.get $g) (i64.const 1)))
            (i64.load offset=1 (local.get 0)))
        (func (export "keep") (param i32 externref)
            (table.set 1 (local.get 0) (local.get 1)))
        (func (export "kept") (param i32) (result externref) (table.get 1 (local.get 0)))
        (func (export "me") (result funcref) (ref.func $call)))"#,
    r#"(module
        (memory (export "m") 1 4) (table (export "t") 4 20 funcref)
        (global (export "g") (mut i64) (i64.const 5)) (global (export "v") v128 (v128.const i64x2 1 2))
        (func $deep (export "deep") (param i32) (result i32)
            (i32.add (i32.const 1) (call $deep (local.get 0))))
        (func (export "f") (param i32) (result i32) (i32.div_u (i32.const 100) (local.get 0)))
        (func (export "many") (param i32 i64 f32 f64 v128) (result v128 f64 f32 i64 i32)
            local.get 4 local.get 3 local.get 2 local.get 1 local.get 0)
        (func (export "store") (param i32 i64) (i64.store (local.get 0) (local.get 1)))
        (elem (i32.const 1) func $deep))"#,
    r#"(module (import "h" "f" (func $f (param i32) (result i32))) (memory (export "m") 1)
        (func $start (drop (call $f (i32.const 3)))) (start $start)
        (data (i32.const 65530) "abcdef"))"#,
    r#"(module (func $s unreachable) (start $s))"#,
    r#"(module (import "h" "f" (func $f (param i32) (result i32)))
        (memory (export "m") 1 5) (table (export "own") 1 9 funcref)
        (func (export "spin") (param i32) (result i32)
            (local.set 0 (i32.and (local.get 0) (i32.const 0xfff)))
            (loop $again
                (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
                (br_if $again (i32.gt_s (local.get 0) (i32.const 0))))
            (call $f (local.get 0)))
        (func (export "f") (param i32) (result i32)
            (i32.add (memory.grow (local.get 0))
                (table.grow (ref.null func) (local.get 0)))))"#,
];

/// A handle, and the number of its store.
#[derive(Clone, Debug)]
struct Handle {
    store: usize,
    item: Item,
}

#[derive(Clone, Debug)]
enum Item {
    Extern(Extern),
    Instance(Instance),
    Ref(ExternRef),
}

/// What the stores of a case are about.
#[derive(Debug, Default)]
struct Data {
    /// How often the host was called.
    calls: u64,
    /// How many asynchronous host functions have begun and not ended.
    waiting: u64,
    /// How many borders between host and wasm have been crossed, less those crossed back.
    inside: i64,
    /// Whether that must be none between the steps of a case.
    balanced: bool,
    limits: StoreLimits,
}

struct Live {
    /// A number that no other store has.
    id: usize,
    engine: usize,
    store: Store<Data>,
}

/// See the module.
#[derive(Debug)]
pub struct Api {
    engines: Vec<Engine>,
    /// What was compiled before, by engine and number of the module.
    modules: BTreeMap<(usize, usize), Module>,
}

impl Api {
    /// With an engine of each kind.
    ///
    /// # Errors
    /// If there is no compiler for this machine.
    pub fn new() -> Result<Api, String> {
        let mut lazy = Config::new();
        lazy.lazy(true).opt_level(OptLevel::None);
        let mut moving = Config::new();
        moving
            .memory_reservation(0)
            .memory_guard_size(0)
            .parallel_compilation(false);
        let mut metered = Config::new();
        metered
            .epoch_interruption(true)
            .consume_fuel(true)
            .parallel_compilation(false);
        let engines = [&lazy, &moving, &metered].map(Engine::new).into_iter();
        let engines = engines
            .collect::<Result<_, _>>()
            .map_err(|error| format!("{error:#}"))?;
        Ok(Api {
            engines,
            modules: BTreeMap::new(),
        })
    }
}

impl Target for Api {
    fn run(&mut self, input: &[u8], notes: &mut Notes) -> Result<(), String> {
        let mut world = World {
            engines: &self.engines,
            known: &mut self.modules,
            modules: Vec::new(),
            stores: Vec::new(),
            linkers: Vec::new(),
            handles: Vec::new(),
            next: 0,
            log: Vec::new(),
        };
        let mut u = Unstructured::new(input);
        let outcome = crate::runner::attempt(|| {
            while !u.is_empty() && world.log.len() < 100 {
                let panics = notes.counts.get(PANICS).copied();
                match world.step(&mut u, notes) {
                    Ok(outcome) => outcome?,
                    Err(_) => break,
                }
                let panicked = notes.counts.get(PANICS).copied() != panics;
                world.balance(panicked)?;
            }
            Ok(())
        });
        outcome.map_err(|error| format!("{error}\nafter\n{}", world.log.join("\n")))
    }

    fn run_file(&mut self, file: &[u8], notes: &mut Notes) -> Result<(), String> {
        self.run(file, notes)
    }
}

struct World<'a> {
    engines: &'a [Engine],
    known: &'a mut BTreeMap<(usize, usize), Module>,
    modules: Vec<(usize, Module)>,
    stores: Vec<Live>,
    linkers: Vec<Linker<Data>>,
    handles: Vec<Handle>,
    next: usize,
    log: Vec<String>,
}

/// What a host function panics with.
struct Boom;

const PANICS: &str = "panics of the host's";

impl World<'_> {
    /// Whether the hooks were told of as many ways back as there were ways. A panic crosses no
    /// border.
    fn balance(&mut self, panicked: bool) -> Result<(), String> {
        for live in &mut self.stores {
            let data = live.store.data_mut();
            if panicked {
                data.balanced = false;
            }
            if data.balanced && data.inside != 0 {
                return Err(format!("store {}: {} not told of", live.id, data.inside));
            }
        }
        Ok(())
    }

    /// The outer error is the end of the input.
    fn step(
        &mut self,
        u: &mut Unstructured<'_>,
        notes: &mut Notes,
    ) -> ArbitraryResult<Result<(), String>> {
        let what: u8 = u.int_in_range(0..=35)?;
        if self.stores.is_empty() || what == 0 && self.stores.len() < 4 {
            let engine = u.choose_index(self.engines.len())?;
            self.log
                .push(format!("store {} of engine {engine}", self.next));
            let store = Store::new(&self.engines[engine], Data::default());
            self.stores.push(Live {
                id: self.next,
                engine,
                store,
            });
            self.next += 1;
            return Ok(Ok(()));
        }
        let at = u.choose_index(self.stores.len())?;
        let handle = match self.handles.is_empty() {
            true => None,
            // New ones are more interesting.
            false if u.ratio(1, 2)? => self.handles.last().cloned(),
            false => Some(u.choose(&self.handles)?.clone()),
        };
        match what {
            1 => {
                let gone = self.stores.swap_remove(at);
                self.log.push(format!("drop store {}", gone.id));
                Ok(Ok(()))
            }
            2 => {
                if !self.modules.is_empty() {
                    let at = u.choose_index(self.modules.len())?;
                    self.log.push("drop a module".into());
                    self.modules.swap_remove(at);
                }
                Ok(Ok(()))
            }
            3..=5 => self.load(u),
            6..=8 => self.instantiate(at, u, notes),
            9..=11 => self.make(at, u),
            12 | 14 => self.link(at, u, notes),
            15 | 16 => self.stop(at, u, notes),
            17..=20 => self.asynchronously(at, handle, u, notes),
            13 if u.ratio(1, 8)? => self.on_a_thread(at, handle, u, notes),
            _ => match handle {
                Some(handle) => {
                    let mut live = self.stores.swap_remove(at);
                    let outcome = self.using(&mut live, handle, u, notes);
                    self.stores.push(live);
                    outcome
                }
                None => Ok(Ok(())),
            },
        }
    }

    fn load(&mut self, u: &mut Unstructured<'_>) -> ArbitraryResult<Result<(), String>> {
        let engine = u.choose_index(self.engines.len())?;
        let which = u.choose_index(MODULES.len())?;
        self.log.push(format!("module {which} for engine {engine}"));
        // To compile takes longer than all else, so that it is seldom done again.
        let known = self.known.get(&(engine, which));
        if let (Some(module), true) = (known, u.ratio(15, 16)?) {
            self.modules.push((engine, module.clone()));
            return Ok(Ok(()));
        }
        Ok(match Module::new(&self.engines[engine], MODULES[which]) {
            Ok(module) => {
                self.known.insert((engine, which), module.clone());
                self.modules.push((engine, module));
                Ok(())
            }
            Err(error) => Err(format!("a valid module is refused: {error:#}")),
        })
    }

    fn instantiate(
        &mut self,
        at: usize,
        u: &mut Unstructured<'_>,
        notes: &mut Notes,
    ) -> ArbitraryResult<Result<(), String>> {
        if self.modules.is_empty() {
            return self.load(u);
        }
        let (engine, module) = u.choose(&self.modules)?.clone();
        let live = &mut self.stores[at];
        let mut imports = Vec::new();
        let mut foreign = engine != live.engine;
        for import in module.imports() {
            let fits = |handle: &&Handle| match &handle.item {
                Item::Extern(item) => {
                    handle.store == live.id && same_kind(&item.ty(&live.store), &import.ty())
                }
                _ => false,
            };
            let fitting: Vec<&Handle> = self.handles.iter().filter(fits).collect();
            let any = u.ratio(1, 16)? || fitting.is_empty();
            let chosen = match any {
                true if self.handles.is_empty() => break,
                true => u.choose(&self.handles)?,
                false => *u.choose(&fitting)?,
            };
            foreign |= chosen.store != live.id;
            if let Item::Extern(item) = &chosen.item {
                imports.push(item.clone());
            }
        }
        self.log
            .push(format!("instance in store {} of {imports:?}", live.id));
        // A start function may call a host function that panics.
        let made = catch_unwind(AssertUnwindSafe(|| {
            Instance::new(&mut live.store, &module, &imports)
        }));
        let made = match made {
            Ok(made) => made,
            Err(panic) if panic.is::<Boom>() => {
                notes.count(PANICS);
                return Ok(Ok(()));
            }
            Err(panic) => resume_unwind(panic),
        };
        Ok(match made {
            Ok(_) if foreign => Err("instantiated with what is of another store".into()),
            Ok(instance) => {
                notes.count("instances");
                let store = live.id;
                let item = Item::Instance(instance);
                self.handles.push(Handle { store, item });
                for export in instance.exports(&live.store) {
                    let item = Item::Extern(export.into_extern());
                    self.handles.push(Handle { store, item });
                }
                Ok(())
            }
            Err(error) => {
                notes.count(&format!("no instance: {:?}", error.kind()));
                Ok(())
            }
        })
    }

    fn make(&mut self, at: usize, u: &mut Unstructured<'_>) -> ArbitraryResult<Result<(), String>> {
        let live = &mut self.stores[at];
        let store = &mut live.store;
        let item = match u.int_in_range(0..=10)? {
            0 => {
                let (min, max) = (u.int_in_range(0..=3)?, u.int_in_range(0..=5)?);
                let max = u.arbitrary::<bool>()?.then_some(max);
                Memory::new(store, MemoryType::new(min, max)).map(Extern::from)
            }
            1 => {
                let element = u.choose(&[RefType::FUNCREF, RefType::EXTERNREF])?.clone();
                let (min, max) = (u.int_in_range(0..=5)?, u.int_in_range(0..=9)?);
                let max = u.arbitrary::<bool>()?.then_some(max);
                let init = val(u, &self.handles)?.ref_().unwrap_or(Ref::Func(None));
                Table::new(store, TableType::new(element, min, max), init).map(Extern::from)
            }
            2 | 3 => {
                let content = u.choose(TYPES)?.clone();
                let mutability = *u.choose(&[Mutability::Var, Mutability::Const])?;
                let init = match u.ratio(1, 4)? {
                    true => val(u, &self.handles)?,
                    false => uses::zero(&content),
                };
                Global::new(store, GlobalType::new(content, mutability), init).map(Extern::from)
            }
            4 => Ok(Func::wrap(store, |mut caller: Caller<'_, Data>, n: i32| {
                caller.data_mut().calls += 1;
                n.wrapping_mul(3)
            })
            .into()),
            5 => Ok(Func::wrap(store, |n: i32| -> bimetal::Result<i32> {
                match n % 3 {
                    0 => std::panic::panic_any(Boom),
                    1 => Err(Error::msg("refused")),
                    _ => Ok(n),
                }
            })
            .into()),
            6 => {
                // Goes in again, with whatever handle there was.
                let again = self
                    .handles
                    .iter()
                    .rev()
                    .find_map(|handle| match handle.item {
                        Item::Extern(Extern::Func(func)) => Some(func),
                        _ => None,
                    });
                let f = move |mut caller: Caller<'_, Data>, n: i32| -> bimetal::Result<i32> {
                    caller.data_mut().calls += 1;
                    let _ = caller.get_export("m").map(|item| item.ty(&caller));
                    if let (Some(func), true) = (again, !caller.data().calls.is_multiple_of(4)) {
                        let mut results = [Val::I32(0)];
                        func.call(&mut caller, &[Val::I32(n / 2)], &mut results)?;
                        return Ok(results[0].i32().unwrap_or(1));
                    }
                    Ok(n)
                };
                Ok(Func::wrap(store, f).into())
            }
            9 => Ok(asynchronous::waiting(store)),
            10 => Ok(asynchronous::going_in(store, &self.handles)),
            7 => {
                let ty = u.choose(TYPES)?;
                let params = [ty.clone(), ty.clone()];
                let ty = FuncType::new(&self.engines[live.engine], params, [ty.clone()]);
                let wrong = u.ratio(1, 4)?;
                let handles = self.handles.clone();
                let f = move |_: Caller<'_, Data>, params: &[Val], results: &mut [Val]| {
                    results[0] = match (wrong, handles.last()) {
                        (
                            true,
                            Some(Handle {
                                item: Item::Ref(r), ..
                            }),
                        ) => (*r).into(),
                        (true, _) => Val::I64(5),
                        _ => params[1],
                    };
                    Ok(())
                };
                Ok(Func::new(store, ty, f).into())
            }
            _ => {
                let made = ExternRef::new(store, u.arbitrary::<u32>()?);
                if let Ok(value) = made {
                    let (store, item) = (live.id, Item::Ref(value));
                    self.handles.push(Handle { store, item });
                }
                return Ok(made.map(drop).map_err(|error| format!("{error:#}")));
            }
        };
        self.log
            .push(format!("make in store {}: {item:?}", live.id));
        if let Ok(item) = item {
            let (store, item) = (live.id, Item::Extern(item));
            self.handles.push(Handle { store, item });
        }
        Ok(Ok(()))
    }

    /// A store is used on another thread while this one loads and calls.
    fn on_a_thread(
        &mut self,
        at: usize,
        handle: Option<Handle>,
        u: &mut Unstructured<'_>,
        notes: &mut Notes,
    ) -> ArbitraryResult<Result<(), String>> {
        let Some(handle) = handle else {
            return Ok(Ok(()));
        };
        let mut live = self.stores.swap_remove(at);
        self.log.push(format!("store {} to a thread", live.id));
        let theirs = u.bytes(u.len().min(40))?;
        let modules = self.modules.clone();
        let handles = self.handles.clone();
        let outcome = std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let mut u = Unstructured::new(theirs);
                let mut world = World {
                    engines: self.engines,
                    known: &mut BTreeMap::new(),
                    modules,
                    stores: vec![],
                    linkers: vec![],
                    handles,
                    next: usize::MAX / 2,
                    log: vec![],
                };
                let mut notes = Notes::default();
                let outcome = world.using(&mut live, handle, &mut u, &mut notes);
                world.stores.push(live);
                let at = 0;
                let outcome = match outcome {
                    Ok(Ok(())) => world.instantiate(at, &mut u, &mut notes),
                    other => other,
                };
                (outcome, world.stores, notes.counts.contains_key(PANICS))
            });
            let mine = match self.stores.is_empty() {
                true => Ok(Ok(())),
                false => self.instantiate(0, u, notes),
            };
            match other.join() {
                Ok((theirs, stores, panicked)) => {
                    self.stores.extend(stores);
                    if panicked {
                        notes.count(PANICS);
                    }
                    // To have run out of bytes is no failure.
                    match (mine, theirs) {
                        (Ok(Err(error)), _) | (_, Ok(Err(error))) => Ok(Err(error)),
                        _ => Ok(Ok(())),
                    }
                }
                Err(panic) => resume_unwind(panic),
            }
        });
        notes.count("threads");
        outcome
    }

    /// Does something with a handle, which may be of another store.
    fn using(
        &mut self,
        live: &mut Live,
        handle: Handle,
        u: &mut Unstructured<'_>,
        notes: &mut Notes,
    ) -> ArbitraryResult<Result<(), String>> {
        let own = handle.store == live.id;
        let value = val(u, &self.handles)?;
        let numbers: [u32; 3] = u.arbitrary()?;
        let small = numbers.map(|n| n >> 27);
        let args = arguments(live, &handle, u, &self.handles)?;
        self.log.push(format!(
            "{:?} of store {} in store {} with {value:?} {numbers:x?}",
            handle.item, handle.store, live.id
        ));
        let store = &mut live.store;
        let outcome = catch_unwind(AssertUnwindSafe(|| match handle.item {
            Item::Extern(Extern::Func(func)) => call(store, func, &args),
            Item::Extern(Extern::Memory(memory)) => use_memory(store, memory, numbers, small),
            Item::Extern(Extern::Table(table)) => {
                let value = value.ref_().unwrap_or(Ref::Func(None));
                use_table(store, table, value, small)
            }
            Item::Extern(Extern::Global(global)) => {
                let set = global.set(&mut *store, value).is_ok();
                let now = global.get(&mut *store);
                if set && format!("{now:?}") != format!("{value:?}") {
                    return Err(format!("a global was set to {value:?} and is {now:?}"));
                }
                Ok(set)
            }
            Item::Extern(Extern::SharedMemory(memory)) => {
                // It is of no store.
                let grown = memory.grow(small[0].into()).is_ok();
                let read = memory.read(numbers[1] as usize, &mut [0; 4]).is_ok();
                Ok(own && grown && read)
            }
            Item::Extern(Extern::Tag(tag)) => {
                let made = Exception::new(&mut *store, &tag, &[value]);
                let same = made.is_ok_and(|made| Tag::eq(&made.tag(), &tag, &*store));
                Ok(same && tag.name(&*store).is_none_or(|name| !name.is_empty()))
            }
            Item::Instance(instance) => {
                let names = ["f", "m", "call", "g", "x"];
                let item = instance.get_export(&mut *store, names[small[0] as usize % 5]);
                let _ = instance.module(&*store).name();
                let _ = instance.get_typed_func::<(i32,), i32>(&mut *store, "f");
                Ok(item.is_some())
            }
            Item::Ref(value) => {
                let there = value.data(&*store).is_ok_and(|data| data.is::<u32>());
                Ok(value.data_mut(&mut *store).is_ok() && there)
            }
        }));
        Ok(match outcome {
            Ok(Ok(worked)) if worked && !own => Err("a handle of another store worked".into()),
            Ok(Ok(worked)) => {
                notes.count(&format!("used: {worked}"));
                Ok(())
            }
            Ok(Err(error)) => Err(error),
            Err(panic) if panic.is::<Boom>() && own => {
                notes.count(PANICS);
                Ok(())
            }
            Err(_) if !own => {
                notes.count("documented panics");
                Ok(())
            }
            Err(panic) => resume_unwind(panic),
        })
    }
}
