//! What a change must pass: `.ci/run` calls this, and so may anybody.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Result;
use clap::Parser;

use crate::process::{root, shown};

/// Check everything that a change must pass: format, lints, documentation, tests.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Go on after a stage that failed, to see all that is wrong
    #[arg(long)]
    keep_going: bool,
    /// Only the stages with these names: fmt, clippy, doc, test, examples
    #[arg(value_parser = ["fmt", "clippy", "doc", "test", "examples"])]
    stages: Vec<String>,
}

/// The stages in order, each a list of commands. The README's test command is one of them; it
/// also builds the examples, which are then run as they are: `cargo run` would build their
/// dependencies again, with the features that they alone ask for.
fn stages() -> Result<Vec<(&'static str, Vec<Command>)>> {
    let cargo = |words: &str| {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut command = Command::new(cargo);
        command.args(words.split(' '));
        command
    };
    let target = env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from);
    let mut examples: Vec<PathBuf> = fs::read_dir(root().join("engine/examples"))?
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            Some(
                target
                    .join("debug/examples")
                    .join(name.strip_suffix(".rs")?),
            )
        })
        .collect();
    examples.sort();
    // The libraries': the program is called what the library is.
    let mut documentation =
        cargo("doc --workspace --no-deps --locked --exclude bimetal-cli --exclude xtask");
    // A module's story may point at what is inside of it.
    documentation.env(
        "RUSTDOCFLAGS",
        "-D warnings -A rustdoc::private_intra_doc_links",
    );
    Ok(vec![
        ("fmt", vec![cargo("fmt --all --check")]),
        (
            "clippy",
            vec![
                cargo("clippy --workspace --all-targets --locked -- -D warnings"),
                // By itself, so without the features that others ask for.
                cargo("clippy --package bimetal-runtime --locked -- -D warnings"),
            ],
        ),
        ("doc", vec![documentation]),
        ("test", vec![cargo("test --workspace --locked")]),
        ("examples", examples.into_iter().map(Command::new).collect()),
    ])
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let start = Instant::now();
    let mut failed = Vec::new();
    for (name, commands) in stages()? {
        if !args.stages.is_empty() && !args.stages.iter().any(|s| s == name) {
            continue;
        }
        let stage = Instant::now();
        let mut passed = true;
        for mut command in commands {
            command.current_dir(root());
            println!("==> {name}: {}", shown(&command));
            if !command.status().is_ok_and(|status| status.success()) {
                eprintln!("to see it again: {}", shown(&command));
                passed = false;
                break;
            }
        }
        let verdict = if passed { "passed" } else { "FAILED" };
        println!(
            "==> {name}: {verdict} after {} s",
            stage.elapsed().as_secs()
        );
        if !passed {
            failed.push(name);
            if !args.keep_going {
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
