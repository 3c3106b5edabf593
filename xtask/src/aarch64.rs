//! Builds Bimetal for 64-bit ARM Linux and runs it here, under QEMU's user mode.
//!
//! What is particular to that processor (stubs, signal contexts, cache maintenance, the compiler's
//! other back end) has to run to be known to work. The tests are those of the workspace; only those
//! that start the program themselves are left out, since the emulator is not the kernel's, and those that
//! measure the process, in which the emulator is.
//!
//! The compiler need not be the workspace's own (a distribution's will do, if it is new enough), so
//! the build has a target folder to itself. It says nothing about speed, nor about memory ordering:
//! beneath the emulator everything is ordered as strictly as on the machine that it runs on.

mod tools;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bimetal_bench::PROGRAMS;
use clap::{Parser, ValueEnum};

use crate::guests;
use crate::process::{root, run_measured, shown};
use tools::Tools;

pub(super) const TARGET: &str = "aarch64-unknown-linux-gnu";

/// One selection for all stages: with another one, Cargo would choose other features of shared
/// dependencies and build everything again.
const PACKAGES: [&str; 4] = ["bimetal-cli", "bimetal", "bimetal-testkit", "bimetal-sys"];

/// One guest program at its small size; without the emulator it would be a tenth of a second.
const GUEST_LIMIT: Duration = Duration::from_secs(120);

/// Tests that say nothing beneath the emulator: of memory, which it takes for what it has translated, and
/// one that starts its own program again.
const SKIPPED: [&str; 4] = [
    "engines_that_are_dropped_leave_nothing",
    "modules_that_are_dropped_leave_nothing",
    "threads_that_end_leave_nothing",
    "compiled-bytes-are-the-same",
];

/// What the stages are and cost, for `--help`.
const STAGES: &str = "\
Stages:
  sys     the tests of the operating system's layer
  engine  the tests of the engine, and the unit tests inside of it, sys and the test kit
  spec    the official test-suite
  guests  the benchmark programs at small sizes, compiled in three ways, against known results
  wasi    the guests of the WASI tests, as `cargo xtask guests --run` runs them
  programs  the benchmark programs and others, made native ones here by `bimetal build --target`

Times on two busy x86-64 processors: the first build takes some 12 minutes of processor time (later
ones a minute or two), sys and engine half a minute, spec 5 minutes (with --quick, 1), guests 2
and wasi 1. All of it takes 2 GB of disk, in the target folder.";

/// Build Bimetal for 64-bit ARM Linux and run it under an emulator.
#[derive(Debug, Parser)]
#[command(after_help = STAGES)]
pub(crate) struct Args {
    /// Install what is missing with apt (Debian; asks for rights through sudo)
    #[arg(long)]
    install: bool,
    /// Processes that build at once [default: Cargo's own]
    #[arg(long, value_name = "N")]
    jobs: Option<u32>,
    /// Run the official test-suite in one of its configurations, not in all
    #[arg(long)]
    quick: bool,
    /// Go on after a stage that failed, to see all that is wrong
    #[arg(long)]
    keep_going: bool,
    /// Only these stages
    stages: Vec<Stage>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Stage {
    Sys,
    Engine,
    Spec,
    Guests,
    Wasi,
    Programs,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    ensure!(
        !cfg!(target_arch = "aarch64"),
        "this machine needs no emulator: run `cargo xtask ci`"
    );
    let chore = Chore {
        tools: tools::find(&folder(), args.install)?,
        jobs: args.jobs,
    };
    println!("==> {}", chore.tools);

    let wanted = |stage: &Stage| args.stages.is_empty() || args.stages.contains(stage);
    let stages = Stage::value_variants().iter().copied().filter(wanted);
    let stages: Vec<Stage> = stages.collect();
    let start = Instant::now();
    let mut failed = Vec::new();
    // On its own, so that what a stage says of its time is the time of running.
    let only_programs = stages == [Stage::Programs];
    if !only_programs && !stage("build", || chore.build()) {
        return Ok(ExitCode::FAILURE);
    }
    for which in stages {
        let value = which.to_possible_value();
        let name = value.as_ref().map_or("", |value| value.get_name());
        let passed = stage(name, || match which {
            Stage::Sys => chore.test(&tests_of("sys")?, &[]),
            // `--lib` is the unit tests of all of `PACKAGES` that have a library.
            Stage::Engine => {
                let mut selection = tests_of("engine")?;
                selection.push("--lib".into());
                chore.test(&selection, &[])
            }
            Stage::Spec if args.quick => {
                chore.test(&["--test".into(), "spec".into()], &["direct/"])
            }
            Stage::Spec => chore.test(&tests_of("testkit")?, &[]),
            Stage::Guests => chore.guests(),
            Stage::Wasi => chore.wasi(),
            Stage::Programs => chore.programs(),
        });
        if !passed {
            failed.push(name.to_owned());
            if !args.keep_going {
                break;
            }
        }
    }
    let seconds = start.elapsed().as_secs();
    if failed.is_empty() {
        println!("==> all passed after {seconds} s");
        Ok(ExitCode::SUCCESS)
    } else {
        println!("==> FAILED: {}", failed.join(", "));
        Ok(ExitCode::FAILURE)
    }
}

/// Builds the runtime alone, as it is to be used.
pub(crate) fn build_runtime() -> Result<PathBuf> {
    let chore = Chore {
        tools: tools::find(&folder(), false)?,
        jobs: None,
    };
    chore.runtime("runtime")
}

/// Runs one stage and says how it went.
fn stage(name: &str, body: impl FnOnce() -> Result<()>) -> bool {
    println!("==> {name}");
    let start = Instant::now();
    let result = body();
    let seconds = start.elapsed().as_secs();
    match result {
        Ok(()) => println!("==> {name}: passed after {seconds} s"),
        Err(ref error) => println!("==> {name}: FAILED after {seconds} s: {error:#}"),
    }
    result.is_ok()
}

/// Where everything that belongs to this chore lies.
fn folder() -> PathBuf {
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("aarch64")
}

/// `--test NAME` for each file of tests of a crate, by its folder.
fn tests_of(krate: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join(krate).join("tests"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(
                path.file_stem()
                    .map(|stem| stem.to_string_lossy().into_owned()),
            );
        }
    }
    ensure!(!names.is_empty(), "{krate} has no tests");
    names.sort();
    Ok(names
        .into_iter()
        .flat_map(|name| ["--test".to_owned(), name])
        .collect())
}

struct Chore {
    tools: Tools,
    jobs: Option<u32>,
}

impl Chore {
    fn build(&self) -> Result<()> {
        let mut selection = vec!["--bin".to_owned(), "bimetal".to_owned()];
        for krate in ["sys", "engine", "testkit"] {
            selection.extend(tests_of(krate)?);
        }
        visibly(self.cargo("build").args(&selection))?;
        visibly(self.cargo("test").args(["--no-run", "--quiet", "--lib"]))
    }

    fn test(&self, selection: &[String], words: &[&str]) -> Result<()> {
        let mut command = self.cargo("test");
        command.args(["--no-fail-fast"]).args(selection);
        command.arg("--").args(words);
        for name in SKIPPED {
            command.args(["--skip", name]);
        }
        visibly(&mut command)
    }

    /// Builds the runtime without a compiler; where it is.
    fn runtime(&self, profile: &str) -> Result<PathBuf> {
        let mut command = self.cargo_for("build", &["bimetal-runtime"]);
        visibly(command.args(["--profile", profile]))?;
        let profile = match profile {
            "dev" => "debug",
            profile => profile,
        };
        let built = folder().join(TARGET).join(profile).join("bimetal-runtime");
        ensure!(built.is_file(), "the build left no {}", built.display());
        Ok(built)
    }

    /// Cargo with the settings that all builds share.
    fn cargo(&self, what: &str) -> Command {
        self.cargo_for(what, &PACKAGES)
    }

    /// The same for another selection.
    fn cargo_for(&self, what: &str, packages: &[&str]) -> Command {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut command = Command::new(cargo);
        let tools = &self.tools;
        let of_target = |name: &str| {
            let target = TARGET.to_uppercase().replace('-', "_");
            format!("CARGO_TARGET_{target}_{name}")
        };
        command
            .current_dir(root())
            .env("RUSTC", &tools.rustc)
            .env("CARGO_TARGET_DIR", folder())
            // By its name: Cargo builds everything again when this value changes.
            .env(of_target("LINKER"), tools::LINKER)
            .env(of_target("RUNNER"), &tools.emulator)
            // The build happens once in a while, the code runs for minutes: cheap to build.
            .env("CARGO_INCREMENTAL", "0")
            .env("CARGO_PROFILE_DEV_DEBUG", "false")
            .envs(tools.environment())
            .args([
                "--config",
                "profile.dev.package.cranelift-codegen.opt-level=1",
                what,
                "--locked",
                "--target",
                TARGET,
            ]);
        for package in packages {
            command.args(["--package", package]);
        }
        if let Some(jobs) = self.jobs {
            command.args(["--jobs", &jobs.to_string()]);
        }
        command
    }

    fn program(&self) -> Result<PathBuf> {
        let program = folder().join(TARGET).join("debug").join("bimetal");
        ensure!(program.is_file(), "the build left no {}", program.display());
        Ok(program)
    }

    /// The WASI guests under the whole program, as `cargo xtask guests --run` runs them.
    fn wasi(&self) -> Result<()> {
        // That chore takes one program to run guests with, without arguments.
        let launcher = folder().join("bimetal-emulated");
        let word = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', "'\\''"));
        let mut script = "#!/bin/sh\n".to_owned();
        for (name, value) in self.tools.environment() {
            script += &format!("export {name}={}\n", word(value));
        }
        let (emulator, program) = (word(&self.tools.emulator), word(&self.program()?));
        script += &format!("exec {emulator} {program} \"$@\"\n");
        fs::write(&launcher, script)?;
        fs::set_permissions(&launcher, fs::Permissions::from_mode(0o755))?;
        let words = ["guests", "--run", "--runtime"].map(OsString::from);
        let args = guests::Args::parse_from(words.into_iter().chain([launcher.into_os_string()]));
        let code = guests::run(&args)?;
        ensure!(code == ExitCode::SUCCESS, "some cases failed");
        Ok(())
    }

    /// Programs that this machine's `bimetal build` makes for the other.
    fn programs(&self) -> Result<()> {
        let runtime = self.runtime("dev")?;
        let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut build = Command::new(cargo);
        build.args(["build", "--locked", "--package", "bimetal-cli"]);
        visibly(build.current_dir(root()))?;
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
        let bimetal = target.join("debug/bimetal");
        let program = folder().join("program");
        let make_and_run = |options: &[&str], module: &Path, args: &[&str]| {
            let mut build = Command::new(&bimetal);
            build
                .args(["build", "--target", "aarch64", "--runtime"])
                .arg(&runtime)
                .arg("-o")
                .arg(&program)
                .args(options)
                .arg(module);
            visibly(&mut build)?;
            let mut command = Command::new(&self.tools.emulator);
            command.envs(self.tools.environment());
            command.arg(&program).args(args);
            run_measured(&mut command, b"", GUEST_LIMIT)
        };

        let tests = root().join("cli/tests");
        let hello = make_and_run(&[], &tests.join("cases/hello.wat"), &[])?;
        ensure!(
            hello.code == 0 && hello.stdout == b"hello, world\n",
            "exit code {} of hello.wat{}",
            hello.code,
            hello.streams()
        );
        let options = ["--argv0", "echo", "--env", "A=b"];
        let echo = make_and_run(&options, &tests.join("guests/echo.wat"), &["--x", "y"])?;
        ensure!(
            echo.code == 0 && echo.stdout == b"echo\0--x\0y\0A=b\0",
            "exit code {} of echo.wat{}",
            echo.code,
            echo.streams()
        );
        let trap = make_and_run(&[], &tests.join("cases/trap.wat"), &[])?;
        let says = String::from_utf8_lossy(&trap.stderr);
        ensure!(
            trap.code == 134 && says.contains("wasm trap: "),
            "exit code {} of trap.wat{}",
            trap.code,
            trap.streams()
        );
        for guest in &PROGRAMS {
            let file = root()
                .join("bench/guests")
                .join(guest.name)
                .with_extension("wasm");
            let run = make_and_run(&[], &file, &[&guest.small.to_string()])?;
            let line = String::from_utf8_lossy(&run.stdout);
            ensure!(
                run.code == 0 && line.trim_end() == guest.small_line(),
                "exit code {} of {}, {:?} expected{}",
                run.code,
                guest.name,
                guest.small_line(),
                run.streams()
            );
            println!("    {}: {} ms", guest.name, run.wall.as_millis());
        }
        Ok(())
    }

    /// Every benchmark program, lazily and eagerly compiled and without optimisations.
    fn guests(&self) -> Result<()> {
        let program = self.program()?;
        let mut failed = 0;
        for guest in &PROGRAMS {
            let file = root()
                .join("bench/guests")
                .join(guest.name)
                .with_extension("wasm");
            for flags in [&[][..], &["--eager"], &["-O0"]] {
                let mut command = Command::new(&self.tools.emulator);
                command
                    .envs(self.tools.environment())
                    .arg(&program)
                    .arg("run")
                    .args(flags)
                    .arg(&file)
                    .arg(guest.small.to_string());
                let result = run_measured(&mut command, b"", GUEST_LIMIT).and_then(|run| {
                    let line = String::from_utf8_lossy(&run.stdout);
                    let wanted = guest.small_line();
                    ensure!(
                        run.code == 0 && line.trim_end() == wanted,
                        "exit code {}, {wanted:?} expected{}",
                        run.code,
                        run.streams()
                    );
                    Ok(run.wall)
                });
                match result {
                    Ok(wall) => println!(
                        "    {} {}: {} ms",
                        guest.name,
                        flags.join(" "),
                        wall.as_millis()
                    ),
                    Err(error) => {
                        failed += 1;
                        println!("    FAILED: {}: {error:#}", shown(&command));
                    }
                }
            }
        }
        ensure!(failed == 0, "{failed} runs of guests failed");
        Ok(())
    }
}

/// Runs a command with this program's own streams.
fn visibly(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    ensure!(status.success(), "`{}` failed ({status})", shown(command));
    Ok(())
}
