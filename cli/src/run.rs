//! `bimetal run`: load a module, find out what kind of program it is, give it what it may have,
//! and start it.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use bimetal::environment::{Environment, Environments};
use bimetal::{
    AsContextMut, Context, Engine, Error, ErrorKind, GcStats, Instance, Linker, Module,
    ProfilingStrategy, Result, Store,
};
use bimetal_runtime::grants::Grants;
use bimetal_runtime::host::{self, Host};
use bimetal_runtime::limits::Limits;

use crate::args::{Profile, RunArgs};
use crate::output::{self, Log};
use crate::progress::CompileProgress;
use crate::{cache, invoke, load};

/// Runs the program that the arguments name.
pub fn run(args: &RunArgs) -> Result<ExitCode> {
    let log = Log {
        verbose: args.verbose,
    };
    let (file, guest_args) = args
        .file_and_args
        .split_first()
        .ok_or_else(|| Error::msg("there is no file to run"))?;
    let file = Path::new(file);

    let (engine, module) = load_program(args, file, log)?;
    let environments = host::known();
    let environment = environments.recognise(&module);
    log.say(format_args!("environment: {}", environment.name()));
    if args.compile_only {
        return Ok(ExitCode::SUCCESS);
    }

    let mut linker = Linker::new(&engine);
    environment.link(&mut linker)?;
    let limits = args.limits.with_threads(&args.threads);
    let grants = Grants {
        listen: args.listen.clone(),
        deterministic: args.deterministic,
        ..args.grants.grants()
    };
    let mut own_args = args.file_and_args.clone();
    if let (Some(name), Some(first)) = (&args.argv0, own_args.first_mut()) {
        first.clone_from(name);
    }
    let mut store = Store::new(
        &engine,
        Host {
            wasi: grants.context(own_args, log)?,
            limits: limits.store_limits(),
        },
    );
    let start = Instant::now();
    // What is preloaded has start functions too.
    let outcome = limits.within(&mut store, |store| {
        for (name, file) in &args.preload {
            preload(&environments, &mut linker, store, name, file, log)?;
        }
        check_imports(&module, &linker, &limits).with_context(|| cannot_link(args))?;
        let main = |store: &mut Store<Host>, instance| {
            execute(args, &module, environment, store, instance, guest_args)
        };
        host::run(&module, &mut linker, store, &limits, main).map_err(|error| match error.kind() {
            ErrorKind::Link => error.context(cannot_link(args)),
            _ => error,
        })
    });
    log.say(format_args!("ran for {:.3?}", start.elapsed()));
    log.say(compiled(&module));
    if let Some(collected) = collected(&store.gc_stats()) {
        log.say(collected);
    }
    if let Some(profile) = args.profile {
        say_profile(profile, log);
    }
    if let (Some(file), Err(error)) = (&args.coredump, &outcome) {
        write_core_dump(file, error, &store, args, log);
    }
    outcome
}

/// Says where the profiler's file is, or that there is none.
fn say_profile(profile: Profile, log: Log) {
    let pid = std::process::id();
    let path = match profile {
        Profile::Perf => format!("/tmp/perf-{pid}.map"),
        Profile::Jitdump => format!("jit-{pid}.dump"),
    };
    if Path::new(&path).exists() {
        log.say(format_args!("for the profiler: {path}"));
    } else {
        output::note(format_args!("warning: `{path}` could not be written"));
    }
}

/// Writes a core dump if the guest trapped, or threw what nobody caught. That it cannot be written
/// must not hide that.
fn write_core_dump(file: &Path, error: &Error, store: &Store<Host>, args: &RunArgs, log: Log) {
    let stopped = matches!(error.kind(), ErrorKind::Trap | ErrorKind::Exception);
    let Some(backtrace) = error.backtrace().filter(|_| stopped) else {
        return;
    };
    let guest = args.file_and_args.first().map(Path::new);
    let name = guest.map(load::display_name).unwrap_or_default();
    let dump = backtrace.core_dump(store, &name);
    match std::fs::write(file, &dump) {
        Ok(()) => log.say(format_args!(
            "core dump: {}, {}",
            file.display(),
            output::bytes(dump.len() as u64)
        )),
        Err(error) => output::note(format_args!(
            "warning: the core dump `{}` could not be written: {error}",
            file.display()
        )),
    }
}

/// Reads the module, and compiles it if it is to be done before the start.
fn load_program(args: &RunArgs, file: &Path, log: Log) -> Result<(Engine, Module)> {
    // To compile only is to compile all.
    let eager = args.eager || args.compile_only;
    let mut config = args.code.config();
    config.lazy(!eager);
    config.deterministic(args.deterministic);
    let limits = args.limits.with_threads(&args.threads);
    limits.configure(&mut config);
    config.profiler(match args.profile {
        None => ProfilingStrategy::None,
        Some(Profile::Perf) => ProfilingStrategy::PerfMap,
        Some(Profile::Jitdump) => ProfilingStrategy::JitDump,
    });
    if !args.no_cache {
        match cache::open() {
            Ok(cache) => {
                config.cache(cache);
            }
            Err(error) => log.say(format_args!("no cache: {error:#}")),
        }
    }
    let progress = eager.then(|| CompileProgress::install(&mut config));
    let engine = Engine::new(&config)?;

    let start = Instant::now();
    let module = load::program(&engine, file, args.maybe_command)?;
    drop(progress);
    log.say(format_args!(
        "{}: {}, {}",
        load::display_name(file),
        output::bytes(module.wasm().bytes.len() as u64),
        output::count(module.wasm().bodies.len(), "function"),
    ));
    let what = match (module.is_precompiled(), eager) {
        (true, _) => "compiled code mapped",
        (false, true) => "read, decoded, validated and compiled",
        (false, false) => "read, decoded and validated",
    };
    log.say(format_args!("{what} in {:.3?}", start.elapsed()));
    Ok((engine, module))
}

/// What was collected, if anything was.
fn collected(stats: &GcStats) -> Option<String> {
    let often = usize::try_from(stats.minor_collections).ok()?;
    (often > 0).then(|| {
        format!(
            "{}: {} copied, {} alive; stopped for {:.3?}, at most {:.3?} at once",
            output::count(often, "collection"),
            output::bytes(stats.copied_bytes),
            output::bytes(stats.live_bytes),
            stats.total_pause,
            stats.longest_pause,
        )
    })
}

/// How much of the module was compiled.
fn compiled(module: &Module) -> String {
    let (functions, bytes) = module.compiled();
    let more = match module.is_precompiled() {
        true => "more ",
        false => "",
    };
    format!(
        "compiled {functions} {more}of {}: {} of machine code",
        output::count(module.wasm().bodies.len(), "function"),
        output::bytes(bytes as u64),
    )
}

fn execute(
    args: &RunArgs,
    module: &Module,
    environment: &dyn Environment<Host>,
    store: &mut Store<Host>,
    instance: Instance,
    guest_args: &[std::ffi::OsString],
) -> Result<ExitCode> {
    if let Some(name) = &args.invoke {
        environment.initialize(store.as_context_mut(), instance)?;
        let texts: Vec<String> = guest_args
            .iter()
            .map(|arg| arg.to_string_lossy().into_owned())
            .collect();
        let results = invoke::invoke(store, instance, module, name, &texts)?;
        let mut out = output::stdout();
        for result in results {
            writeln!(out, "{result}")?;
        }
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    host::start(environment, store, instance, module)?
        .ok_or_else(|| nothing_to_run(module, environment))
}

/// As [`host::check_imports`], with the way out that there is here.
fn check_imports(module: &Module, linker: &Linker<Host>, limits: &Limits) -> Result<()> {
    host::check_imports(module, linker, limits, |from| {
        format!("\n  `--preload {from}=FILE` takes imports from another module's exports")
    })
}

fn cannot_link(args: &RunArgs) -> String {
    let file = args.file_and_args.first().map(Path::new);
    let name = file.map(load::display_name).unwrap_or_default();
    format!("`{name}` cannot be linked")
}

fn nothing_to_run(module: &Module, environment: &dyn Environment<Host>) -> Error {
    let functions = invoke::functions(module);
    let what = environment.name();
    Error::msg(if functions.is_empty() {
        format!("there is nothing to run: this {what} exports no function")
    } else {
        format!(
            "there is nothing to run: this {what} has no `_start`; \
             choose a function with `--invoke NAME`:{functions}"
        )
    })
}

/// Makes a module's exports importable under `name`.
fn preload(
    environments: &Environments<Host>,
    linker: &mut Linker<Host>,
    store: &mut Store<Host>,
    name: &str,
    file: &Path,
    log: Log,
) -> Result<()> {
    let what = || format!("`{}` cannot be preloaded", load::display_name(file));
    let module = load::program(store.engine(), file, false)?;
    let environment = environments.recognise(&module);
    log.say(format_args!(
        "preloading `{name}` from {}, environment: {}",
        load::display_name(file),
        environment.name()
    ));
    // The preloaded module may need what the program itself does not, and may stand in for a
    // module that is known.
    linker.allow_shadowing(true);
    let mut own = linker.clone();
    environment.link(&mut own).with_context(what)?;
    check_imports(&module, &own, &Limits::default()).with_context(what)?;
    let instance = own.instantiate(&mut *store, &module).with_context(what)?;
    environment
        .initialize(store.as_context_mut(), instance)
        .with_context(what)?;
    linker
        .instance(&mut *store, name, instance)
        .with_context(what)?;
    Ok(())
}
