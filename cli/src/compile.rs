//! `bimetal compile`: a module to a compiled one, or what the compiler makes of a function.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use bimetal::{Config, Context, DumpSet, Engine, Error, Result};
use bimetal_wasm::{EntityIndex, FuncIndex, Module};

use crate::args::{CompileArgs, DumpForm};
use crate::output::{self, Log};
use crate::progress::CompileProgress;
use crate::{image, load};

/// Writes an image, or prints the forms that are asked for.
pub fn compile(args: &CompileArgs) -> Result<ExitCode> {
    let mut config = args.code.config();
    if let Some(target) = &args.target {
        config.target(target)?;
    }
    config.cpu(&args.cpu)?;
    config.consume_fuel(args.with_fuel);
    config.epoch_interruption(args.with_timeout);
    match (&args.output, args.dump.is_empty()) {
        (Some(output), _) => write_image(args, config, output),
        (None, false) => dump(args, config),
        (None, true) => Err(Error::msg(
            "there is nothing to do: `-o FILE` writes the compiled module, \
             `--dump=graph,clif,asm` shows what the compiler makes of a function",
        )),
    }
}

fn write_image(args: &CompileArgs, mut config: Config, output: &Path) -> Result<ExitCode> {
    let log = Log {
        verbose: args.verbose,
    };
    let start = Instant::now();
    let bytes = load::binary(&args.file)?;
    let progress = CompileProgress::install(&mut config);
    let engine = Engine::new(&config)?;
    let len = bytes.len() as u64;
    let written = image::write(output, false, |out| {
        let out = engine.precompile_module_to(bytes, out);
        out.with_context(|| format!("`{}` cannot be compiled", load::display_name(&args.file)))
            .map(drop)
    })?;
    drop(progress);
    log.say(format_args!(
        "{}: {} compiled to {} in {:.3?}",
        load::display_name(&args.file),
        output::bytes(len),
        output::bytes(written),
        start.elapsed()
    ));
    Ok(ExitCode::SUCCESS)
}

fn dump(args: &CompileArgs, mut config: Config) -> Result<ExitCode> {
    // Lazy, so that nothing else is compiled; the code is as `--eager` makes it all the same but
    // for calls, which go through entry cells.
    config.lazy(true);
    let engine = Engine::new(&config)?;
    let module = load::program(&engine, &args.file, false)?;
    let wasm = module.wasm();
    let functions = match &args.function {
        Some(name) => vec![find(wasm, name)?],
        None => wasm
            .bodies
            .keys()
            .map(|body| wasm.func_index(body))
            .collect(),
    };
    let forms = DumpSet {
        graph: args.dump.contains(&DumpForm::Graph),
        clif: args.dump.contains(&DumpForm::Clif),
        asm: args.dump.contains(&DumpForm::Asm),
    };

    let mut out = output::stdout();
    for (i, function) in functions.into_iter().enumerate() {
        let (index, name) = (function.as_u32(), wasm.func_display_name(function));
        let name = output::name(&name);
        let dumps = module
            .dump(index, forms)
            .with_context(|| format!("function {index} `{name}` cannot be shown"))?;
        if i > 0 {
            writeln!(out)?;
        }
        writeln!(out, ";; function {index} `{name}`")?;
        for dump in dumps {
            writeln!(out, "\n;; {}", dump.title)?;
            writeln!(out, "{}", dump.text.trim_end())?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// The function that `name` means: an index, an export's name, or a name of the name section.
fn find(module: &Module, name: &str) -> Result<FuncIndex> {
    if let Ok(number) = name.parse::<u32>() {
        let count = module.functions.len();
        if number as usize >= count {
            let functions = output::count(count, "function");
            return Err(Error::msg(format!(
                "there is no function {number}: the module has {functions}"
            )));
        }
        return Ok(FuncIndex::from_u32(number));
    }
    if let Some(EntityIndex::Func(index)) = module.export(name) {
        return Ok(index);
    }
    module
        .functions
        .keys()
        .find(|&index| module.func_name(index) == Some(name))
        .ok_or_else(|| Error::msg(format!("there is no function `{name}`")))
}
