//! `bimetal build`: a module to one native program.
//!
//! The program is the runtime without a compiler, with the compiled module and its settings in
//! sections of the file (`bimetal_artifact::executable`). Whether the module can be run that way is
//! found out here, not when the program is started: what it imports, whether it starts.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use bimetal::{Config, Context, Engine, Error, Linker, Module, Result};
use bimetal_artifact::Image;
use bimetal_artifact::executable::Stub;
use bimetal_runtime::grants::Grants;
use bimetal_runtime::host;
use bimetal_runtime::program::Program;

use crate::args::{BuildArgs, WhoGrants};
use crate::output::{self, Log};
use crate::progress::CompileProgress;
use crate::{image, load};

/// Writes the program that the arguments describe.
pub fn build(args: &BuildArgs) -> Result<ExitCode> {
    let log = Log {
        verbose: args.verbose,
    };
    let what = || format!("`{}` cannot be built", load::display_name(&args.file));
    let output = output_file(args)?;
    let program = program(args)?;
    let settings = program.to_json()?;
    let input = Input::read(args)?;

    let mut config = args.code.config();
    program.configure(&mut config);
    input.configure(args, &mut config)?;
    let progress = CompileProgress::install(&mut config);
    let engine = Engine::new(&config)?;
    // Before the long part.
    let arch = engine.target_arch()?;
    let (runtime, stub) = find_runtime(args, arch)?;
    let stub = Stub::new(&stub, arch)
        .with_context(|| format!("the runtime `{}` cannot be used", runtime.display()))?;
    if stub.has_compiler() {
        output::note(format_args!(
            "warning: `{}` was built together with packages that need a compiler, and has one; \
             `cargo xtask runtime` builds it without",
            runtime.display()
        ));
    }
    check(&program, &input.wasm).with_context(what)?;

    let start = Instant::now();
    let image = match input.image {
        Some(image) => image,
        None => engine.precompile_module(&input.wasm).with_context(what)?,
    };
    drop(progress);
    engine.check_precompiled(&image).with_context(what)?;
    let bytes = stub
        .attach(&image, settings.as_bytes())
        .with_context(what)?;
    log.say(format_args!(
        "{}: {} of WebAssembly, {} compiled in {:.3?}",
        load::display_name(&args.file),
        output::bytes(input.wasm.len() as u64),
        output::bytes(image.len() as u64),
        start.elapsed(),
    ));
    log.say(format_args!(
        "{}: {} with the runtime {}",
        output.display(),
        output::bytes(bytes.len() as u64),
        runtime.display(),
    ));
    // In pieces, as images are written: the system keeps and maps together what was written at once.
    image::write(&output, true, |out| {
        let mut pieces = bytes.chunks(64 << 10);
        Ok(pieces.try_for_each(|piece| out.write_all(piece))?)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Where to write: what was said, or the module's name.
fn output_file(args: &BuildArgs) -> Result<PathBuf> {
    if let Some(output) = &args.output {
        return Ok(output.clone());
    }
    let name = args.file.file_stem().map(PathBuf::from);
    name.filter(|name| {
        !load::is_stdin(&args.file) && args.file.file_name() != Some(name.as_os_str())
    })
    .ok_or_else(|| Error::msg("there is no name for the program: `-o FILE` gives it one"))
}

/// What the program is to be run with.
fn program(args: &BuildArgs) -> Result<Program> {
    let grants = Grants {
        listen: args.listen.clone(),
        deterministic: args.deterministic,
        ..args.grants.grants()
    };
    grants.check()?;
    let not_text = grants.env.iter().map(|text| text.as_os_str());
    let not_text = not_text
        .chain(grants.dirs.iter().map(|dir| dir.host.as_os_str()))
        .find(|text| text.to_str().is_none());
    if let Some(text) = not_text {
        return Err(Error::msg(format!(
            "`{}` is not UTF-8, which a program's settings have to be",
            text.display()
        )));
    }
    let name = match load::is_stdin(&args.file) {
        true => "<stdin>".into(),
        false => args.file.file_name().unwrap_or_default().to_string_lossy(),
    };
    Ok(Program {
        name: name.into_owned(),
        argv0: args.argv0.clone(),
        args: args.args.clone(),
        grants,
        user_grants: args.who_grants == WhoGrants::User,
        limits: args.limits.with_threads(&args.threads),
        verify: args.verify,
        nan_canonicalization: args.code.nan_canonicalization,
    })
}

/// What is to become a program.
struct Input {
    /// The module's binary.
    wasm: Vec<u8>,
    /// The module compiled, if it is already, and for which machine.
    image: Option<Vec<u8>>,
    arch: Option<String>,
}

impl Input {
    fn read(args: &BuildArgs) -> Result<Input> {
        let bytes = load::binary(&args.file)?;
        if !Engine::detect_precompiled(&bytes) {
            return Ok(Input {
                wasm: bytes,
                image: None,
                arch: None,
            });
        }
        let image = Image::open(bytes.clone())
            .with_context(|| format!("`{}` cannot be loaded", load::display_name(&args.file)))?;
        Ok(Input {
            wasm: image.wasm().to_vec(),
            arch: Some(image.header().arch.clone()),
            image: Some(bytes),
        })
    }

    /// Configures what compiles this, or could have.
    fn configure(&self, args: &BuildArgs, config: &mut Config) -> Result<()> {
        match (&self.arch, &args.target, &args.cpu) {
            (None, target, cpu) => {
                if let Some(target) = target {
                    config.target(target)?;
                }
                config.cpu(cpu.as_deref().unwrap_or("baseline"))?;
            }
            (Some(arch), None, None) => {
                config.target(arch)?;
            }
            (Some(arch), _, _) => {
                return Err(Error::msg(format!(
                    "`{}` is compiled, for {arch}: `--target` and `--cpu` come too late",
                    load::display_name(&args.file)
                )));
            }
        }
        Ok(())
    }
}

/// Whether the module can be a program at all.
fn check(program: &Program, wasm: &[u8]) -> Result<()> {
    // For this machine, and lazy: nothing is compiled.
    let mut config = Config::new();
    program.configure(&mut config);
    let engine = Engine::new(&config)?;
    let module = Module::from_binary(&engine, wasm)?;
    let environments = host::known();
    let environment = environments.recognise(&module);
    let mut linker = Linker::new(&engine);
    environment.link(&mut linker)?;
    host::check_imports(&module, &linker, &program.limits, |_| {
        "\n  a program consists of one module: link what it needs into it".into()
    })?;
    if !host::does_something(&module) {
        return Err(Error::msg(format!(
            "it does nothing when it is started: this {} has no `_start`",
            environment.name()
        )));
    }
    Ok(())
}

/// The runtime for a machine: its path and its bytes.
fn find_runtime(args: &BuildArgs, arch: &str) -> Result<(PathBuf, Vec<u8>)> {
    if let Some(path) = &args.runtime {
        let bytes = std::fs::read(path)
            .with_context(|| format!("the runtime `{}` cannot be read", path.display()))?;
        return Ok((path.clone(), bytes));
    }
    let own = std::env::current_exe().context("where this program is")?;
    let folder = own.parent().unwrap_or(Path::new("/"));
    let mut names = vec![format!("bimetal-runtime-{arch}")];
    if arch == std::env::consts::ARCH {
        names.insert(0, "bimetal-runtime".into());
    }
    for path in names.iter().map(|name| folder.join(name)) {
        match std::fs::read(&path) {
            Ok(bytes) => return Ok((path, bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(Error::new(error)
                    .context(format!("the runtime `{}` cannot be read", path.display())));
            }
        }
    }
    Err(Error::msg(format!(
        "there is no runtime for {arch}, which programs begin with: no {} in `{}`\n  \
         `cargo xtask runtime{}` in Bimetal's sources builds it; `--runtime FILE` names another",
        names
            .iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(" or "),
        folder.display(),
        match arch == std::env::consts::ARCH {
            true => String::new(),
            false => format!(" --target {arch}"),
        },
    )))
}
