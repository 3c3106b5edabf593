//! What a change must pass: `.ci/run` calls this, and so may anybody.

use std::env;
use std::ffi::OsString;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Result;
use clap::Parser;

use crate::process::{root, shown};

/// Check everything that a change must pass: format, lints, tests.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Go on after a stage that failed, to see all that is wrong
    #[arg(long)]
    keep_going: bool,
    /// Only the stages with these names: fmt, clippy, test
    #[arg(value_parser = ["fmt", "clippy", "test"])]
    stages: Vec<String>,
}

/// The README's test command is the last one.
const STAGES: [(&str, &[&str]); 3] = [
    ("fmt", &["fmt", "--all", "--check"]),
    (
        "clippy",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
    ),
    ("test", &["test", "--workspace", "--locked"]),
];

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let start = Instant::now();
    let mut failed = Vec::new();
    for (name, words) in STAGES {
        if !args.stages.is_empty() && !args.stages.iter().any(|s| s == name) {
            continue;
        }
        let stage = Instant::now();
        let mut command = Command::new(&cargo);
        command.current_dir(root()).args(words);
        println!("==> {name}: cargo {}", words.join(" "));
        let passed = command.status().is_ok_and(|status| status.success());
        let verdict = if passed { "passed" } else { "FAILED" };
        println!(
            "==> {name}: {verdict} after {} s",
            stage.elapsed().as_secs()
        );
        if !passed {
            failed.push(name);
            if !args.keep_going {
                eprintln!("to see it again: {}", shown(&command));
                break;
            }
        }
    }
    if failed.is_empty() {
        println!("==> all passed after {} s", start.elapsed().as_secs());
        Ok(ExitCode::SUCCESS)
    } else {
        println!("==> FAILED: {}", failed.join(", "));
        Ok(ExitCode::FAILURE)
    }
}
