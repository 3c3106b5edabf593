//! Fuzzing: starts the runner of the `fuzz` crate, again and again if cases bring it down.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;

use crate::process::{exit_code, root, run_visibly};

const TARGETS: [&str; 8] = [
    "decode", "compile", "execute", "collect", "wasi", "api", "image", "snapshot",
];
/// So many crashes of a target are enough.
const CRASHES: u32 = 5;

/// Look for bugs with random input
///
/// Each case has a number, and does the same each time: what is found says how to see it again.
/// Inputs, modules and messages of findings are left in target/fuzz.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// What to test; all by default
    #[arg(value_parser = TARGETS)]
    targets: Vec<String>,
    /// The number of the first case
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many cases of each target
    #[arg(long)]
    count: Option<u64>,
    /// For how long, each target (default: 1, if there is no --count)
    #[arg(long)]
    minutes: Option<f64>,
    /// Build with all optimisations
    #[arg(long)]
    release: bool,
    /// Compare with another runtime too, Wasmtime, which takes minutes to build
    #[arg(long)]
    peer: bool,
    /// Go on where the last run with this ended, and add up what all of them did
    #[arg(long, conflicts_with = "seed")]
    resume: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(&cargo);
    build
        .current_dir(root())
        .args(["build", "--quiet", "--package", "bimetal-fuzz"]);
    if args.release {
        build.arg("--release");
    }
    if args.peer {
        build.args(["--features", "peer"]);
    }
    run_visibly(&mut build)?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
    let profile = if args.release { "release" } else { "debug" };
    let program = target.join(profile).join("bimetal-fuzz");
    let folder = target.join("fuzz");
    let mut found = false;
    let all = TARGETS.map(str::to_owned);
    let names = if args.targets.is_empty() {
        &all[..]
    } else {
        &args.targets
    };
    for name in names {
        println!("==> {name}");
        found |= !one(args, &program, &folder, name)?;
    }
    Ok(if found {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The number of the case that a run which resumes begins with: the first of the runner's tally.
fn resumes_at(folder: &Path, name: &str) -> Result<u64> {
    let path = folder.join(format!("{name}.tally"));
    match fs::read_to_string(&path) {
        Ok(text) => {
            let number = text.split(' ').next().unwrap_or_default();
            number
                .parse()
                .with_context(|| format!("{} is no tally", path.display()))
        }
        Err(_) => Ok(0),
    }
}

/// Whether nothing was found.
fn one(args: &Args, program: &Path, folder: &Path, name: &str) -> Result<bool> {
    let start = Instant::now();
    let limit = match (args.minutes, args.count) {
        (Some(minutes), _) => Some(Duration::from_secs_f64(minutes * 60.0)),
        (None, Some(_)) => None,
        (None, None) => Some(Duration::from_secs(60)),
    };
    let first = match args.resume {
        true => resumes_at(folder, name)?,
        false => args.seed,
    };
    let (mut seed, mut crashes, mut passed) = (first, 0, true);
    loop {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).arg(name);
        match args.resume {
            true => command.arg("--resume"),
            false => command.args(["--seed", &seed.to_string()]),
        };
        command.arg("--folder").arg(folder);
        if let Some(count) = args.count {
            let left = count.saturating_sub(seed.wrapping_sub(first));
            command.args(["--count", &left.to_string()]);
        }
        if let Some(limit) = limit {
            let left = limit.saturating_sub(start.elapsed()).as_secs_f64() / 60.0;
            command.args(["--minutes", &format!("{left:.4}")]);
        }
        let status = command
            .status()
            .with_context(|| format!("cannot start {}", program.display()))?;
        match status.code() {
            Some(0) => return Ok(passed),
            Some(1) => return Ok(false),
            _ => {}
        }
        // It did not come to an end: the case that was running is in a file.
        let current = folder.join(format!("{name}.current"));
        let at = fs::read_to_string(&current).context("the runner left no case")?;
        let at: u64 = at.trim().parse().context("the runner left no number")?;
        println!(
            "CRASHED with code {}\n  again: cargo xtask fuzz {name} --seed {at} --count 1",
            exit_code(status)
        );
        passed = false;
        crashes += 1;
        seed = at.wrapping_add(1);
        let late = limit.is_some_and(|limit| start.elapsed() >= limit);
        let last = args.count.is_some_and(|n| seed.wrapping_sub(first) >= n);
        if crashes == CRASHES || late || last {
            return Ok(false);
        }
    }
}
