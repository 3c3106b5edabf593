//! The project's front door: every chore is a subcommand here, typed and without a shell.
//!
//! Chores find the repository by themselves, say what to install when a tool is missing, print what
//! they do in one line per stage, and end with exit code 1 when anything failed.

#![forbid(unsafe_code)]

mod aarch64;
mod bench;
mod ci;
mod fuzz;
mod guests;
mod process;
mod realworld;
mod runtime;
mod sanitize;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of the Bimetal repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Check everything that a change must pass: format, lints, tests
    Ci(ci::Args),
    /// Rebuild the committed guest programs from their C sources, or run the WASI ones
    Guests(guests::Args),
    /// Install real programs (CPython, clang, GCC, resvg, flite) and check that they run
    Realworld(realworld::Args),
    /// Build for 64-bit ARM Linux and run the tests under an emulator
    Aarch64(aarch64::Args),
    /// Build the runtime that the programs of `bimetal build` begin with
    Runtime(runtime::Args),
    /// Race the benchmark programs against native code and other runtimes
    Bench(bench::Args),
    /// Look for bugs with random input
    Fuzz(fuzz::Args),
    /// Run the tests of the runtime under AddressSanitizer
    Asan(sanitize::Asan),
    /// Run the tests that need no machine code under Miri
    Miri(sanitize::Miri),
}

fn main() -> ExitCode {
    if let Some(code) = sanitize::as_rustc() {
        return code;
    }
    let result = match Cli::parse().chore {
        Chore::Ci(args) => ci::run(&args),
        Chore::Guests(args) => guests::run(&args),
        Chore::Realworld(args) => realworld::run(&args),
        Chore::Aarch64(args) => aarch64::run(&args),
        Chore::Runtime(args) => runtime::run(&args),
        Chore::Bench(args) => bench::run(&args),
        Chore::Fuzz(args) => fuzz::run(&args),
        Chore::Asan(args) => sanitize::asan(&args),
        Chore::Miri(args) => sanitize::miri(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
