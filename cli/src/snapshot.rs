//! `bimetal snapshot`: run a module's initialisation, and write the module as it is then.
//!
//! The module is compiled without the cache, whose copies of a binary are not checked to the last
//! byte: what is written here is kept. A function that is imported and that nothing provides may
//! not be called meanwhile; it stays an import of what is written.

use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::time::Instant;

use bimetal::{
    Context, Engine, Error, Instance, Linker, Module, Result, Snapshot, Store, UnknownImportError,
};
use bimetal_runtime::grants::Grants;
use bimetal_runtime::host::{self, Host};
use bimetal_wasi::{Output, ProcExit, WasiCtx, WasiCtxBuilder};

use crate::args::SnapshotArgs;
use crate::output::{self, Log};
use crate::{image, invoke, load};

/// What Wizer calls by default, in its newer and its older versions.
const INIT: [&str; 2] = ["wizer-initialize", "wizer.initialize"];

/// What a reactor wants to have called before anything else.
const INITIALIZE: &str = "_initialize";

/// Writes the snapshot that the arguments ask for.
pub fn snapshot(args: &SnapshotArgs) -> Result<ExitCode> {
    let log = Log {
        verbose: args.verbose,
    };
    let mut config = bimetal::Config::new();
    config.lazy(true);
    config.deterministic(args.deterministic);
    let limits = args.limits.limits();
    limits.configure(&mut config);
    let engine = Engine::new(&config)?;
    let module = load::program(&engine, &args.file, false)?;
    let name = load::display_name(&args.file);
    let what = || format!("`{name}` cannot be initialised");
    Snapshot::check(&module).with_context(what)?;
    let init = init_function(args, &module).with_context(what)?;

    let mut linker = Linker::new(&engine);
    let environments = host::known();
    let environment = environments.recognise(&module);
    log.say(format_args!("environment: {}", environment.name()));
    environment.link(&mut linker)?;
    linker.define_unknown_imports_as_traps(&module)?;
    let host = Host {
        wasi: wasi_context(args, log)?,
        limits: limits.store_limits(),
    };
    let mut store = Store::new(&engine, host);

    let start = Instant::now();
    let mut instance = None;
    limits.within(&mut store, |store| {
        instance = Some(initialise(store, &linker, &module, init).with_context(what)?);
        Ok(ExitCode::SUCCESS)
    })?;
    let instance = instance.ok_or_else(|| Error::msg("there is no instance"))?;
    log.say(format_args!("initialised in {:.3?}", start.elapsed()));
    warn_of_open_files(&store.data().wasi);

    let written = write(args, &store, instance, init)
        .with_context(|| format!("no snapshot can be taken of `{name}`"))?;
    // What is written is to be kept, and to be run by others.
    Module::validate(&engine, &written)
        .context("the snapshot is no valid module, which is a bug of this program")?;
    log.say(format_args!(
        "{name}: {} became {}",
        output::bytes(module.wasm().bytes.len() as u64),
        output::bytes(written.len() as u64),
    ));
    image::write(&args.output, false, |out| Ok(out.write_all(&written)?))?;
    Ok(ExitCode::SUCCESS)
}

/// The name of the function that initialises, which is there and takes nothing.
fn init_function<'a>(args: &'a SnapshotArgs, module: &Module) -> Result<&'a str> {
    let exported = |name: &str| module.get_export(name);
    let name = match &args.init {
        Some(name) => name,
        None => INIT
            .into_iter()
            .find(|name| exported(name).is_some())
            .unwrap_or(INIT[0]),
    };
    let Some(ty) = exported(name) else {
        let mut message = format!("the module exports no function `{}`", output::name(name));
        let functions = invoke::functions(module);
        if !functions.is_empty() {
            message += "; choose another with `--init NAME`:";
            message += &functions;
        }
        return Err(Error::msg(message));
    };
    let fits = |ty: &&bimetal::FuncType| ty.params().len() == 0;
    match ty.func().filter(fits) {
        Some(_) => Ok(name),
        None => Err(Error::msg(format!(
            "the export `{}` is no function without parameters, but {ty}",
            output::name(name)
        ))),
    }
}

/// Makes the instance, and calls what initialises it.
fn initialise(
    store: &mut Store<Host>,
    linker: &Linker<Host>,
    module: &Module,
    init: &str,
) -> Result<Instance> {
    let instance = explain(linker.instantiate(&mut *store, module))?;
    if init != INITIALIZE && instance.get_func(&mut *store, INITIALIZE).is_some() {
        call(store, instance, module, INITIALIZE)?;
    }
    call(store, instance, module, init)?;
    Ok(instance)
}

fn call(store: &mut Store<Host>, instance: Instance, module: &Module, name: &str) -> Result<()> {
    let results = explain(invoke::invoke(store, instance, module, name, &[]))
        .with_context(|| format!("`{}` failed", output::name(name)))?;
    // They may say that it failed, in a way of its own.
    if !results.is_empty() {
        let results = results.join(", ");
        output::note(format_args!("`{}` returned {results}", output::name(name)));
    }
    Ok(())
}

/// Says what ended the initialisation, where that would be taken for something else.
fn explain<T>(result: Result<T>) -> Result<T> {
    result.map_err(|error| {
        if let Some(exit) = error.downcast_ref::<ProcExit>() {
            // Nothing is there to go on from, whatever the status is.
            return Error::msg(format!(
                "it ended the program, with the exit code {}; an initialisation has to return",
                exit.0
            ));
        }
        if let Some(import) = error.downcast_ref::<UnknownImportError>() {
            let what = format!(
                "it called an import that is not there while a snapshot is made: `{}` `{}`",
                output::name(import.module()),
                output::name(import.name()),
            );
            return error.context(what);
        }
        error
    })
}

fn write(
    args: &SnapshotArgs,
    store: &Store<Host>,
    instance: Instance,
    init: &str,
) -> Result<Vec<u8>> {
    let mut snapshot = instance.snapshot(store)?;
    let module = snapshot.original().clone();
    let exported = |name: &str| module.get_export(name).is_some();
    let mut remove = |name: &str, renamed: bool| -> Result<()> {
        if renamed {
            return Err(Error::msg(format!(
                "`{}` has run and is left out, so it cannot be renamed; \
                 `--keep-init` keeps what `--init` names",
                output::name(name)
            )));
        }
        snapshot.remove_export(name).map(drop)
    };
    let renamed = |name: &str| args.rename.iter().any(|(_, from)| from == name);
    if !args.keep_init {
        remove(init, renamed(init))?;
    }
    if init != INITIALIZE && exported(INITIALIZE) {
        remove(INITIALIZE, renamed(INITIALIZE))?;
    }
    let renames = args.rename.iter().map(|(to, from)| (&**from, &**to));
    snapshot.rename_exports(renames)?;
    snapshot.to_wasm()
}

fn warn_of_open_files(wasi: &WasiCtx) {
    let open = wasi.opened_fds();
    if !open.is_empty() {
        let open: Vec<String> = open.iter().map(u32::to_string).collect();
        output::note(format_args!(
            "warning: the initialisation leaves descriptors open, which will not be there: {}",
            open.join(", ")
        ));
    }
}

/// What the guest gets while it is initialised.
fn wasi_context(args: &SnapshotArgs, log: Log) -> Result<WasiCtx> {
    let mut wasi = WasiCtxBuilder::new();
    wasi.inherit_stdio();
    if load::is_stdin(&args.output) {
        wasi.stdout(Output::stderr());
    }
    wasi.arg(args.file.as_os_str().as_bytes());
    for arg in &args.args {
        wasi.arg(arg.as_bytes());
    }
    let grants = Grants {
        deterministic: args.deterministic,
        ..args.grants.grants()
    };
    grants.give(&mut wasi, log)?;
    Ok(wasi.build())
}
