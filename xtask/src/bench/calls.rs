//! Calls between host and wasm: `bench/src/bin/calls` measures them, in one process for all.

use std::env;
use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bimetal_bench::{Contender, Race, Report};

use super::Args;
use crate::process::{root, run_quietly, run_visibly};

/// What the program calls the peer.
const PEER: &str = "wasmtime (library)";

/// Builds and runs the program, and adds what it measured to the report.
pub(super) fn run(args: &Args, report: &mut Report) -> Result<()> {
    let with_peer = args.versus.iter().any(|peer| peer == "wasmtime");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    eprintln!("building the program that calls (release)");
    let mut build = Command::new(cargo);
    build
        .current_dir(root())
        .args(["build", "--quiet", "--release"])
        .args(["--package", "bimetal-bench", "--bin", "calls"]);
    if with_peer {
        build.args(["--features", "peer"]);
    }
    run_visibly(&mut build)?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
    let program = target
        .join("release")
        .join(format!("calls{}", env::consts::EXE_SUFFIX));
    // A round takes a quarter of a second, so there can be more than of programs.
    let rounds = if args.smoke { 1 } else { args.rounds * 10 };
    let mut command = Command::new(program);
    command.arg(rounds.to_string()).args(&args.filter);
    let races: Vec<Race> = serde_json::from_str(&run_quietly(&mut command)?)
        .context("the program that calls printed something else than races")?;
    let took_part = |name: &str| races.iter().all(|race| race.samples.contains_key(name));
    ensure!(took_part("bimetal"), "bimetal could not call");
    if with_peer {
        ensure!(took_part(PEER), "{PEER} could not call");
        report.contenders.push(Contender {
            name: PEER.to_owned(),
            version: "the one in Cargo.lock".to_owned(),
            how: "in the same process as bimetal, taking turns".to_owned(),
            variant_of: None,
        });
    }
    report.races.extend(races);
    Ok(())
}
