//! The `bimetal` program.
//!
//! [`args`] says what can be written on the command line; each command is a module with a function
//! that takes its arguments and returns an exit code or an error. Exit codes: what the guest says;
//! 134 for a trap, as a native program that aborts; 1 for everything that this program reports
//! itself, wrong usage included.
//!
//! **Invariant**: nothing is written through `print!` or `eprint!`, which panic when the reader is
//! gone; see [`output`].
//!
//! The one `unsafe` is in [`image`]: running machine code from a file, because the user says so.
#![deny(unsafe_code)]

mod args;
mod build;
mod cache;
mod compile;
mod completions;
mod grants;
mod image;
mod inspect;
mod invoke;
mod limits;
mod load;
mod output;
mod progress;
mod run;
mod snapshot;
mod validate;
mod wast;
mod wat;

use std::process::ExitCode;

use args::Command;

fn main() -> ExitCode {
    let cli = match args::parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let outcome = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Compile(args) => compile::compile(&args),
        Command::Build(args) => build::build(&args),
        Command::Validate(args) => validate::validate(&args),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Snapshot(args) => snapshot::snapshot(&args),
        Command::Wast(args) => wast::wast(&args),
        Command::Wat(args) => wat::wat(&args),
        Command::Cache(command) => cache::cache(command),
        Command::Completions(args) => completions::completions(&args),
    };
    outcome.unwrap_or_else(|error| output::report(&error))
}
