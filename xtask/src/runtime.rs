//! Builds the runtime that the programs of `bimetal build` begin with.
//!
//! The package has to be built by itself: together with others, Cargo gives it their features, and
//! with these a compiler. What is built goes where the program of a release build is, which looks
//! for it beside itself.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};

use crate::aarch64;
use crate::process::{root, run_visibly};

/// Build the runtime that the programs of `bimetal build` begin with.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// For another machine than this
    #[arg(long, value_enum)]
    target: Option<Target>,
    /// Where to put it [default: target/release]
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Target {
    #[value(name = "x86_64")]
    X86_64,
    Aarch64,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Target::X86_64 => "x86_64",
            Target::Aarch64 => "aarch64",
        }
    }
}

/// Bytes that a runtime has to be smaller than. Nobody would notice otherwise.
const LIMIT: u64 = 1_900_000;

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let target = args.target.map(Target::name);
    let (built, name) = match target.filter(|&target| target != env::consts::ARCH) {
        None => (build()?, "bimetal-runtime".to_owned()),
        Some("aarch64") => (
            aarch64::build_runtime()?,
            "bimetal-runtime-aarch64".to_owned(),
        ),
        Some(other) => anyhow::bail!(
            "there is no cross compilation to {other} here: build it there, and name it with \
             `bimetal build --runtime`"
        ),
    };
    let folder = args
        .into
        .clone()
        .unwrap_or_else(|| target_folder().join("release"));
    fs::create_dir_all(&folder)?;
    let place = folder.join(name);
    fs::copy(&built, &place).with_context(|| format!("cannot write {}", place.display()))?;
    let size = fs::metadata(&place)?.len();
    println!("{}: {size} bytes", place.display());
    ensure!(
        size < LIMIT,
        "this is more than {LIMIT}: something needs what only compilers need, such as the validator"
    );
    Ok(ExitCode::SUCCESS)
}

fn target_folder() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn build() -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(root()).args([
        "build",
        "--locked",
        "--profile",
        "runtime",
        "--package",
        "bimetal-runtime",
    ]);
    run_visibly(&mut command)?;
    let built = target_folder().join("runtime/bimetal-runtime");
    ensure!(built.is_file(), "the build left no {}", built.display());
    Ok(built)
}
