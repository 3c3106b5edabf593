//! Runs fuzz targets: `cargo xtask fuzz` starts this and says more.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bimetal_fuzz::runner::{self, Plan};
use bimetal_fuzz::tally::Tally;
use bimetal_fuzz::{Notes, TARGETS, source};
use clap::Parser;

/// Run a fuzz target.
#[derive(Debug, Parser)]
#[command(name = "bimetal-fuzz", max_term_width = 100)]
struct Args {
    /// decode, compile, execute, collect, wasi, api, image or snapshot
    target: String,
    /// The number of the first case; each has the next number
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Begin after the cases of all earlier runs with this, and add to their tally
    #[arg(long, conflicts_with = "seed")]
    resume: bool,
    /// How many cases
    #[arg(long)]
    count: Option<u64>,
    /// For how long
    #[arg(long)]
    minutes: Option<f64>,
    /// Where findings go
    #[arg(long, default_value = "target/fuzz")]
    folder: PathBuf,
    /// Keep the input of a finding as it is
    #[arg(long)]
    no_reduce: bool,
    /// Run this file (a module, or a kept input) instead
    #[arg(long)]
    file: Option<PathBuf>,
    /// Write the files of the first case, and run nothing
    #[arg(long)]
    write: bool,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let Some(&(name, make)) = TARGETS.iter().find(|(name, _)| *name == args.target) else {
        let names: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
        bail!(
            "there is no target `{}`; there are {}",
            args.target,
            names.join(", ")
        );
    };
    if let Some(path) = &args.file {
        let file = std::fs::read(path).with_context(|| path.display().to_string())?;
        let mut target = make().map_err(anyhow::Error::msg)?;
        let mut notes = Notes::default();
        let kept = path.extension().is_some_and(|ending| ending == "input");
        let outcome = match kept {
            true => target.run(&file, &mut notes),
            false => target.run_file(&as_binary(file)?, &mut notes),
        };
        return Ok(match outcome {
            Ok(()) => {
                println!("nothing is wrong: {:?}", notes.counts);
                ExitCode::SUCCESS
            }
            Err(finding) => {
                println!("{finding}");
                ExitCode::FAILURE
            }
        });
    }
    if args.write {
        let mut target = make().map_err(anyhow::Error::msg)?;
        let mut notes = Notes::default();
        let input = source::input(args.seed);
        std::fs::create_dir_all(&args.folder)?;
        runner::catch_panics();
        // Files are noted before anything can go wrong with them, so write them from there.
        let path = args.folder.join(format!("{name}-{}.input", args.seed));
        std::fs::write(&path, &input)?;
        println!("{}", path.display());
        let outcome = runner::attempt(|| target.run(&input, &mut notes));
        for (ending, bytes) in notes.files {
            let path = args.folder.join(format!("{name}-{}.{ending}", args.seed));
            std::fs::write(&path, bytes)?;
            println!("{}", path.display());
        }
        println!("{outcome:?}");
        return Ok(ExitCode::SUCCESS);
    }
    runner::catch_panics();
    let mut plan = Plan {
        seed: args.seed,
        resume: args.resume,
        folder: Some(args.folder.clone()),
        reduce: !args.no_reduce,
        ..Plan::default()
    };
    if let Some(count) = args.count {
        plan.count = count;
    }
    if let Some(minutes) = args.minutes {
        plan.time = Duration::from_secs_f64(minutes * 60.0);
    } else if args.count.is_none() {
        plan.time = Duration::from_secs(60);
    }
    let report = runner::run(name, make, &plan).map_err(anyhow::Error::msg)?;
    println!("{name}: {} cases from {}", report.cases, report.seed);
    let mut counts = report.counts;
    if args.resume {
        let tally = Tally::read(&args.folder, name).map_err(anyhow::Error::msg)?;
        println!("{name}: {} cases in all", tally.cases);
        counts = tally.counts;
    }
    for (what, count) in &counts {
        println!("  {count:>9} {what}");
    }
    for finding in &report.findings {
        println!("FOUND by case {}: {}", finding.seed, finding.message);
        for file in &finding.files {
            println!("  {}", file.display());
        }
        println!(
            "  again: cargo xtask fuzz {name} --seed {} --count 1",
            finding.seed
        );
    }
    Ok(match report.findings.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn as_binary(file: Vec<u8>) -> Result<Vec<u8>> {
    match bimetal_wasm::text::is_text(&file) {
        true => Ok(bimetal_wasm::text::parse(&String::from_utf8(file)?, None)?),
        false => Ok(file),
    }
}
