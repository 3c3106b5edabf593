//! Snapshots: what an instance does after one is taken, instances of the written module do, and so do
//! those of the module that shares the original's code.
//!
//! A case calls everything that a made-up program exports, takes a snapshot, and calls everything
//! again: in the instance itself, and in new ones of both kinds of modules.

use arbitrary::Unstructured;
use bimetal::{
    Config, Engine, Error, ErrorKind, Extern, Instance, Linker, Module, Ref, Snapshot, Store, Trap,
    UnknownImportError, Val,
};

use crate::generate::{self, Extent, FUEL, FUEL_AMOUNT};
use crate::source::mix;
use crate::{Notes, Target};

/// See the module.
#[derive(Debug)]
pub struct Snapshots {
    engines: [Engine; 2],
}

impl Snapshots {
    /// With a lazy and an eager engine.
    ///
    /// # Errors
    /// If there is no compiler.
    pub fn new() -> Result<Snapshots, String> {
        let engine = |lazy| Engine::new(Config::new().lazy(lazy)).map_err(text);
        Ok(Snapshots {
            engines: [engine(true)?, engine(false)?],
        })
    }
}

fn text(error: Error) -> String {
    format!("{error:#}")
}

impl Target for Snapshots {
    fn run(&mut self, input: &[u8], notes: &mut Notes) -> Result<(), String> {
        let mut u = Unstructured::new(input);
        let which = usize::from(u.arbitrary().unwrap_or(false));
        let Ok(generate::Program { wasm, .. }) = generate::runnable(&mut u, Extent::Plain) else {
            notes.count("no module");
            return Ok(());
        };
        notes.files.push(("wasm", wasm.clone()));
        check(&self.engines[which], &wasm, notes)
    }

    fn run_file(&mut self, file: &[u8], notes: &mut Notes) -> Result<(), String> {
        let mut engines = self.engines.iter();
        engines.try_for_each(|engine| check(engine, file, notes))
    }
}

fn check(engine: &Engine, wasm: &[u8], notes: &mut Notes) -> Result<(), String> {
    let module = Module::new(engine, wasm).map_err(text)?;
    if Snapshot::check(&module).is_err() {
        notes.count("imports what is not its own");
        return Ok(());
    }
    let Ok((mut store, instance)) = instantiate(&module) else {
        notes.count("not instantiated");
        return Ok(());
    };
    let before = run(&mut store, instance)?;
    let snapshot = instance.snapshot(&store).map_err(text)?;
    let binary = snapshot.to_wasm().map_err(text)?;
    notes.files.push(("snapshot.wasm", binary.clone()));
    let expected = run(&mut store, instance)?;
    if before != expected {
        notes.count("whose state matters");
    }
    let written = Module::new(engine, &binary);
    let written = written.map_err(|error| format!("the written module is refused: {error:#}"))?;
    let shared = snapshot.module().map_err(text)?;
    for (kind, module) in [
        ("written", &written),
        ("shared", &shared),
        ("again", &shared),
    ] {
        let (mut store, instance) = instantiate(module)
            .map_err(|error| format!("no instance of the {kind} module: {error:#}"))?;
        let again = instance.snapshot(&store).and_then(|again| again.to_wasm());
        if again.map_err(text)? != binary {
            return Err(format!("{kind}: a snapshot of the new instance is another"));
        }
        let found = run(&mut store, instance)?;
        if let Some((a, b)) = expected.iter().zip(&found).find(|(a, b)| a != b) {
            return Err(format!("{kind}: {b}, in the original {a}"));
        }
        if expected.len() != found.len() {
            return Err(format!("{kind}: other exports"));
        }
    }
    notes.count("snapshots");
    Ok(())
}

fn instantiate(module: &Module) -> Result<(Store<()>, Instance), Error> {
    let mut store = Store::new(module.engine(), ());
    let mut linker = Linker::new(module.engine());
    linker.define_unknown_imports_as_traps(module)?;
    let instance = linker.instantiate(&mut store, module)?;
    Ok((store, instance))
}

/// Calls everything, and says what came of it and what all looks like afterwards.
fn run(store: &mut Store<()>, instance: Instance) -> Result<Vec<String>, String> {
    let exports: Vec<(String, Extern)> = instance
        .exports(&*store)
        .map(|export| (export.name().to_owned(), export.into_extern()))
        .collect();
    let fuel = instance.get_global(&mut *store, FUEL);
    let mut seen = Vec::new();
    for (name, item) in &exports {
        let Extern::Func(func) = item else { continue };
        if let Some(fuel) = &fuel {
            let amount = Val::I32(FUEL_AMOUNT as i32);
            fuel.set(&mut *store, amount).map_err(text)?;
        }
        let ty = func.ty(&*store);
        let params: Option<Vec<Val>> = ty.params().map(|ty| Val::default_for_ty(&ty)).collect();
        let results: Option<Vec<Val>> = ty.results().map(|ty| Val::default_for_ty(&ty)).collect();
        let (Some(params), Some(mut results)) = (params, results) else {
            continue;
        };
        seen.push(match func.call(&mut *store, &params, &mut results) {
            Ok(()) => format!("{name}: {:?}", results.iter().map(show).collect::<Vec<_>>()),
            Err(error) => match (error.downcast_ref::<Trap>(), error.kind()) {
                (Some(trap), _) => format!("{name}: {trap}"),
                _ if error.is::<UnknownImportError>() => format!("{name}: an import"),
                (None, ErrorKind::Limit) => format!("{name}: a limit"),
                _ => return Err(format!("{name}: {error:#}")),
            },
        });
    }
    for (name, item) in &exports {
        seen.push(match item {
            Extern::Global(global) => format!("{name} = {}", show(&global.get(&mut *store))),
            Extern::Memory(memory) => {
                let bytes = memory.data(&*store);
                let (words, _) = bytes.as_chunks::<8>();
                let digest = words.iter().fold(0, |digest: u64, word| {
                    mix(digest.rotate_left(5) ^ u64::from_le_bytes(*word))
                });
                format!("{name}: {} bytes, {digest:x}", bytes.len())
            }
            Extern::Table(table) => {
                let size = table.size(&*store);
                let items = (0..size).map(|at| match table.get(&mut *store, at) {
                    Some(Ref::Func(Some(func))) => func.ty(&*store).to_string(),
                    Some(Ref::Func(None) | Ref::Extern(None)) => "null".into(),
                    _ => "something else".into(),
                });
                format!("{name}: {:?}", items.collect::<Vec<_>>())
            }
            _ => continue,
        });
    }
    Ok(seen)
}

fn show(value: &Val) -> String {
    match value {
        Val::FuncRef(func) => format!("a function: {}", func.is_some()),
        Val::ExternRef(value) => format!("a value: {}", value.is_some()),
        number => format!("{number:?}"),
    }
}
