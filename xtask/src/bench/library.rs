//! What is measured with the runtimes as libraries, in one process for all: calls between host and
//! wasm (`bench/src/bin/calls`), making instances (`bench/src/bin/instances`), and threads
//! (`bench/src/bin/threads`).

use std::env;
use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bimetal_bench::{Contender, Race, Report};

use super::Args;
use crate::process::{root, run_quietly, run_visibly};

/// What the program calls the peer.
const PEER: &str = "wasmtime (library)";

/// Builds and runs one of these programs, and adds what it measured to the report.
pub(super) fn run(name: &str, args: &Args, report: &mut Report) -> Result<()> {
    let with_peer = args.versus.iter().any(|peer| peer == "wasmtime");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    eprintln!("building the program `{name}` (release)");
    let mut build = Command::new(cargo);
    build
        .current_dir(root())
        .args(["build", "--quiet", "--release"])
        .args(["--package", "bimetal-bench", "--bin", name]);
    if with_peer {
        build.args(["--features", "peer"]);
    }
    run_visibly(&mut build)?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
    let program = target
        .join("release")
        .join(format!("{name}{}", env::consts::EXE_SUFFIX));
    // A round takes a quarter of a second, so there can be more than of programs.
    let rounds = if args.smoke { 1 } else { args.rounds * 10 };
    let mut command = Command::new(program);
    command.arg(rounds.to_string()).args(&args.filter);
    let races: Vec<Race> = serde_json::from_str(&run_quietly(&mut command)?)
        .with_context(|| format!("the program `{name}` printed something else than races"))?;
    let took_part = |who: &str| races.iter().all(|race| race.samples.contains_key(who));
    ensure!(
        took_part("bimetal"),
        "bimetal is not in all races of `{name}`"
    );
    if with_peer {
        ensure!(took_part(PEER), "{PEER} is not in all races of `{name}`");
    }
    if with_peer && report.contenders.iter().all(|c| c.name != PEER) {
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
