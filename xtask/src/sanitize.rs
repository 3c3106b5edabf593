//! Tests under tools that see what a test does not: AddressSanitizer and Miri.
//!
//! **AddressSanitizer** watches the crates of this workspace, machine code included in so far as it
//! runs into memory that has been freed or a heap block's end by way of them. Cargo asks a wrapper
//! to start the compiler for workspace members; this program is that wrapper, and adds the flag.
//! So the dependencies are those of any other build, and what is watched is built in a minute. The
//! flag is not stable: the wrapper allows it to the stable compiler, which ships the runtime. The
//! heap is watched, stacks are not: fibers leave theirs, and take them up again, in ways of which
//! the tool would have to be told.
//!
//! **Miri** interprets, so it sees undefined behaviour of any kind, but no machine code, no signal
//! and no reservation of address space: it runs the tests that need none of them.

use std::env;
use std::ffi::OsString;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::process::{exit_code, root, shown};

/// Says to the wrapper that it is one.
const WRAPPER: &str = "BIMETAL_XTASK_IS_RUSTC";

/// What the tests of these packages do is watched.
const WATCHED: [&str; 3] = ["bimetal-sys", "bimetal", "bimetal-wasi"];

/// The runtime's settings.
///
/// Faults of machine code are Bimetal's to handle, and so is the stack on which.
const ASAN_OPTIONS: &str = "handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:\
                            allow_user_segv_handler=1:use_sigaltstack=0:detect_leaks=1";

/// Run the tests of the runtime under AddressSanitizer
#[derive(Debug, Parser)]
pub(crate) struct Asan {
    /// Only these packages: bimetal-sys, bimetal, bimetal-wasi
    #[arg(value_parser = WATCHED)]
    packages: Vec<String>,
    /// What `cargo test` gets besides: `--test NAME`, `--no-fail-fast`, a filter
    #[arg(last = true)]
    rest: Vec<OsString>,
}

/// The compiler, for members of the workspace, if Cargo started this program as one.
pub(crate) fn as_rustc() -> Option<ExitCode> {
    env::var_os(WRAPPER)?;
    let mut args = env::args_os().skip(1);
    let rustc = args.next()?;
    let mut command = Command::new(rustc);
    // Cargo's questions about the compiler are none for the wrapper.
    let args: Vec<OsString> = args.collect();
    if args.iter().any(|arg| arg == "--crate-name") {
        command
            .env("RUSTC_BOOTSTRAP", "1")
            .args(["-Zsanitizer=address", "-Cllvm-args=-asan-stack=0"]);
    }
    Some(match command.args(args).status() {
        Ok(status) => ExitCode::from(exit_code(status) as u8),
        Err(error) => {
            eprintln!("cannot start {}: {error}", shown(&command));
            ExitCode::FAILURE
        }
    })
}

/// What may leak.
fn leaks() -> String {
    let list = root().join("xtask/src/sanitize-leaks.txt");
    format!("print_suppressions=0:suppressions={}", list.display())
}

pub(crate) fn asan(args: &Asan) -> Result<ExitCode> {
    let start = Instant::now();
    let mut command = cargo();
    command
        .args(["test", "--locked", "--lib", "--tests"])
        .env("RUSTC_WORKSPACE_WRAPPER", env::current_exe()?)
        .env(WRAPPER, "1")
        .env("ASAN_OPTIONS", ASAN_OPTIONS)
        .env("LSAN_OPTIONS", leaks());
    let watched = WATCHED.map(str::to_owned);
    let packages = match args.packages.is_empty() {
        true => &watched[..],
        false => &args.packages,
    };
    for package in packages {
        command.args(["--package", package]);
    }
    // They measure memory, which the tool keeps for a while after it has been freed. What leaks it
    // finds itself.
    let measuring = ["--", "--skip", "leave_nothing", "--skip", "leak_nothing"];
    finish(
        command.args(&args.rest).args(measuring),
        "AddressSanitizer",
        start,
    )
}

/// Tests that need no machine code.
const INTERPRETED: [&[&str]; 2] = [
    &["--package", "bimetal-abi", "--lib"],
    &["--package", "bimetal-codegen", "--lib"],
];

/// Run the tests that need no machine code under Miri
#[derive(Debug, Parser)]
pub(crate) struct Miri {
    /// What the tests get besides: `-- FILTER`
    #[arg(last = true)]
    rest: Vec<OsString>,
}

pub(crate) fn miri(args: &Miri) -> Result<ExitCode> {
    let start = Instant::now();
    let mut there = Command::new("cargo");
    there.args(["+nightly", "miri", "--version"]);
    if !there.output().is_ok_and(|output| output.status.success()) {
        bail!(
            "`{}` fails: Miri is a component of nightly toolchains; install it with \
             `rustup toolchain install nightly --component miri,rust-src`",
            shown(&there)
        );
    }
    for tests in INTERPRETED {
        // Not `CARGO`, which is that of the toolchain that runs this.
        let mut command = Command::new("cargo");
        command
            .current_dir(root())
            .args(["+nightly", "miri", "test", "--locked"])
            .args(tests)
            .env_remove("CARGO")
            .env_remove("RUSTUP_TOOLCHAIN")
            // Folders and clocks are the host's. Addresses are numbers to machine code.
            .env(
                "MIRIFLAGS",
                "-Zmiri-disable-isolation -Zmiri-permissive-provenance",
            );
        if !args.rest.is_empty() {
            command.arg("--").args(&args.rest);
        }
        if finish(&mut command, "Miri", start)? != ExitCode::SUCCESS {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

fn finish(command: &mut Command, tool: &str, start: Instant) -> Result<ExitCode> {
    println!("==> {tool}: {}", shown(command));
    let status = command
        .status()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    let verdict = if status.success() { "passed" } else { "FAILED" };
    println!(
        "==> {tool}: {verdict} after {} s",
        start.elapsed().as_secs()
    );
    Ok(match status.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
