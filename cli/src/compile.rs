//! `bimetal compile`: what the compiler makes of a function.
//!
//! `--dump` shows the intermediate forms. Writing a compiled image is a later tier's business and
//! is refused until then.

use std::io::Write;
use std::process::ExitCode;

use bimetal::{Context, DumpSet, Engine, Error, Result};
use bimetal_wasm::{EntityIndex, FuncIndex, Module};

use crate::args::{CompileArgs, DumpForm};
use crate::{load, output};

/// Prints the forms that are asked for.
pub fn compile(args: &CompileArgs) -> Result<ExitCode> {
    if args.dump.is_empty() {
        return Err(Error::msg(
            "writing compiled images is not supported yet; \
             `--dump=graph,clif,asm` shows what the compiler makes of a function",
        ));
    }
    // Lazy, so that nothing else is compiled; the code is as `--eager` makes it all the same but
    // for calls, which go through entry cells.
    let mut config = args.code.config();
    config.lazy(true);
    let engine = Engine::new(&config)?;
    let module = load::program(&engine, &args.file, load::read(&args.file)?)?;
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
