//! `bimetal wat`: from text to binary and back.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use bimetal::{Context, Error, Result};
use bimetal_wasm::text::{self, PrintOptions};

use crate::args::WatArgs;
use crate::{load, output};

/// Translates a module into the other format.
pub fn wat(args: &WatArgs) -> Result<ExitCode> {
    let bytes = load::read(&args.file)?;
    if bimetal_wasm::Module::is_binary(&bytes) {
        to_text(&bytes, args)?;
    } else {
        to_binary(&bytes, args)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn to_text(binary: &[u8], args: &WatArgs) -> Result<()> {
    let what = || format!("`{}` cannot be printed", load::display_name(&args.file));
    let options = PrintOptions::default();
    match &args.output {
        Some(path) => {
            let mut file = BufWriter::new(create(path)?);
            text::print_to(binary, &options, &mut file).with_context(what)?;
            file.flush().with_context(|| cannot_write(path))
        }
        None => {
            let mut out = output::stdout();
            text::print_to(binary, &options, &mut out).with_context(what)?;
            Ok(out.flush()?)
        }
    }
}

fn to_binary(bytes: &[u8], args: &WatArgs) -> Result<()> {
    let name = load::display_name(&args.file);
    let source = std::str::from_utf8(bytes)
        .map_err(|_| Error::msg(format!("`{name}` is neither a binary module nor text")))?;
    let path = (!load::is_stdin(&args.file)).then_some(args.file.as_path());
    let binary = text::parse(source, path).with_context(|| format!("`{name}` is no wasm text"))?;
    match &args.output {
        Some(path) => create(path)?
            .write_all(&binary)
            .with_context(|| cannot_write(path)),
        None if io::stdout().is_terminal() => Err(Error::msg(
            "the binary is not for terminals: say where to write it with `-o FILE`",
        )),
        None => {
            let mut out = output::stdout();
            out.write_all(&binary)?;
            Ok(out.flush()?)
        }
    }
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| cannot_write(path))
}

fn cannot_write(path: &Path) -> String {
    format!("`{}` cannot be written", path.display())
}
