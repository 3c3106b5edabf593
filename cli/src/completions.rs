//! `bimetal completions`: what shells read to complete our command lines.

use std::io::Write;
use std::process::ExitCode;

use bimetal::Result;
use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs};
use crate::output;

/// Prints the script.
pub fn completions(args: &CompletionsArgs) -> Result<ExitCode> {
    // The generator panics when it cannot write, which cannot happen to memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "bimetal", &mut script);
    let mut out = output::stdout();
    out.write_all(&script)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
