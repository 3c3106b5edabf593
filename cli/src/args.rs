//! The command line.
//!
//! `bimetal app.wasm args…` means `bimetal run app.wasm args…`: a first word that is neither a
//! command nor a general option is where the arguments of `run` begin. What follows the file
//! belongs to the guest, whatever it looks like.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use bimetal_runtime::grants::parse_listen;
use clap::builder::PossibleValue;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::grants::GrantArgs;
use crate::limits::{LimitArgs, ThreadArgs};

const EXAMPLES: &str = "\
Examples:
  bimetal app.wasm one two             run a program with two arguments
  bimetal --dir . app.wasm             let it use the current directory
  bimetal --dir data::/srv:ro app.wasm let it read ./data, which it sees as /srv
  bimetal --env LANG=C app.wasm        set a variable of its environment
  bimetal run --invoke add m.wat 2 3   call one exported function, print its results
  bimetal inspect app.wasm             what is in it, what it needs, what it offers
  bimetal wat app.wasm | less          read it as text

A guest has nothing but what it is given: no directory, no variable, no network.
`bimetal help run` explains every option.";

const RUN_EXAMPLES: &str = "\
Examples:
  bimetal run app.wasm --its-own-flag          what follows the file belongs to the guest
  bimetal run --dir . --dir /tmp::/scratch app.wasm
  bimetal run --env LANG=C --env HOME app.wasm one variable set, one inherited
  bimetal run --listen 127.0.0.1:8080 server.wasm
  bimetal run --preload env=lib.wasm app.wasm  take the imports from `env` out of lib.wasm
  bimetal run --timeout 5s --max-memory 256M app.wasm
  bimetal run --threads app.wasm               let it start threads; `--threads=8` at most eight
  bimetal run --invoke pow m.wasm 2.5 -3       numbers as in the text format: 0x1f, 1e9, nan, -inf
  cat app.wasm | bimetal run -                 read the module from standard input
  bimetal run -v app.wasm                      say what is going on

Exit codes: the guest's own; 134 after a trap; 1 if it could not be loaded or run.";

const SNAPSHOT_EXAMPLES: &str = "\
Examples:
  bimetal snapshot app.wasm -o fast.wasm             run `wizer-initialize`, keep what it did
  bimetal snapshot app.wasm --init setup -o fast.wasm
  bimetal snapshot app.wasm --rename _start=resume -o fast.wasm
  bimetal snapshot app.wasm --init setup --dir data -o fast.wasm -- data/big.json

What it writes is a plain module for any runtime. Its memories, tables and globals begin as they were
when the initialisation returned. What the system knows is not in it: open files and sockets are gone,
and what the program has remembered of its arguments, variables and directories stays as it was.";

const BUILD_EXAMPLES: &str = "\
Examples:
  bimetal build app.wasm -o app                ./app is the program; all arguments are the guest's
  bimetal build --dir . --env LANG=C app.wasm  given at each start; `.` is where it is started then
  bimetal build --dir '$ORIGIN/data::/data:ro' app.wasm  relative to the program's own folder
  bimetal build --grants user app.wasm         BIMETAL_GRANTS='--dir . --env HOME' ./app
  bimetal build --target aarch64 --runtime bimetal-runtime-aarch64 app.wasm

The runtime is the program `bimetal-runtime` beside this one (`bimetal-runtime-TARGET` for another
target), or the one that `--runtime` names. `cargo xtask runtime` builds it.";

/// A WebAssembly runtime with two metals: compiled ahead of time, and just in time
///
/// Programs for WASI preview 1 run as they are; binary and text format are both read.
#[derive(Debug, Parser)]
#[command(name = "bimetal", version, after_help = EXAMPLES, arg_required_else_help = true)]
#[command(override_usage = "bimetal [OPTIONS OF run] FILE [ARGS]...\n       bimetal COMMAND ...")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a program (the default: `bimetal app.wasm`)
    #[command(after_help = RUN_EXAMPLES)]
    #[command(override_usage = "bimetal run [OPTIONS] FILE [ARGS]...")]
    Run(Box<RunArgs>),
    /// Compile a module ahead of time, or show what the compiler makes of a function
    Compile(CompileArgs),
    /// Make one native program of a module, with no compiler inside
    #[command(after_help = BUILD_EXAMPLES)]
    Build(Box<BuildArgs>),
    /// Check modules without running them
    Validate(ValidateArgs),
    /// Show a module's sections, imports, exports, sizes and features
    Inspect(InspectArgs),
    /// Run a module's initialisation once, and write the module as it is then
    #[command(after_help = SNAPSHOT_EXAMPLES)]
    Snapshot(Box<SnapshotArgs>),
    /// Run test scripts of the specification (.wast)
    Wast(WastArgs),
    /// Translate between binary and text format, whichever way the file needs
    Wat(WatArgs),
    /// Show or empty the cache of compiled code
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

/// What shapes the compiled code.
#[derive(Clone, Debug, Args)]
pub struct CodeArgs {
    /// How much work goes into code: 0 none, 1 what always pays, 2 everything
    #[arg(short = 'O', value_name = "LEVEL", default_value = "2", value_enum)]
    pub opt_level: OptLevel,

    /// Stop after N transformations in each function, to find the one that breaks a program
    #[arg(long, value_name = "N")]
    pub opt_fuel: Option<u64>,

    /// Make the bits of NaNs that arithmetic gives the same on every machine
    #[arg(long)]
    pub nan_canonicalization: bool,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub grants: GrantArgs,

    /// Call this export with the arguments and print its results, instead of starting the program
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub invoke: Option<String>,

    /// Make the exports of FILE importable from the module NAME; can be repeated
    #[arg(long, value_name = "NAME=FILE", value_parser = parse_preload)]
    pub preload: Vec<(String, PathBuf)>,

    /// The guest's name for itself, if not the file's name
    #[arg(long, value_name = "NAME")]
    pub argv0: Option<OsString>,

    /// Listen on a TCP address and give the guest the socket; can be repeated
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_listen)]
    pub listen: Vec<String>,

    #[command(flatten)]
    pub code: CodeArgs,

    #[command(flatten)]
    pub limits: LimitArgs,

    #[command(flatten)]
    pub threads: ThreadArgs,

    /// Make runs with the same input the same: NaNs, clocks, random numbers
    #[arg(long, conflicts_with = "timeout")]
    pub deterministic: bool,

    /// Compile everything before the start, not each function at its first call
    #[arg(long)]
    pub eager: bool,

    /// Neither use nor fill the cache of compiled code
    #[arg(long)]
    pub no_cache: bool,

    /// Load and compile everything, and stop there
    #[arg(long, conflicts_with = "invoke")]
    pub compile_only: bool,

    /// Tell a profiler about the code: `perf` by /tmp/perf-PID.map, or by ./jit-PID.dump
    #[arg(long, value_name = "FORM", value_enum)]
    pub profile: Option<Profile>,

    /// Write a core dump of a guest that traps (its memories, globals and stack) to FILE
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub coredump: Option<PathBuf>,

    /// Say on standard error what is going on
    #[arg(short, long)]
    pub verbose: bool,

    /// The program (`-`: standard input) and its arguments
    #[arg(
        value_names = ["FILE", "ARGS"],
        required = true,
        num_args = 1..,
        trailing_var_arg = true,
        value_hint = clap::ValueHint::FilePath
    )]
    pub file_and_args: Vec<OsString>,

    /// Whether the file may be a mistyped command: it is the command line's first word.
    #[arg(skip)]
    pub maybe_command: bool,
}

#[derive(Debug, Args)]
pub struct SnapshotArgs {
    /// The exported function to run, one without parameters [default: wizer-initialize, or wizer.initialize]
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub init: Option<String>,

    /// Where to write the module (`-`: standard output; the guest's then goes to standard error)
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub output: PathBuf,

    /// Leave the initialisation among the exports
    #[arg(long)]
    pub keep_init: bool,

    /// Export SRC under the name DST, in the place of what has that name; can be repeated
    #[arg(long, value_name = "DST=SRC", value_parser = parse_rename)]
    pub rename: Vec<(String, String)>,

    #[command(flatten)]
    pub grants: GrantArgs,

    #[command(flatten)]
    pub limits: LimitArgs,

    /// Make it the same module each time: NaNs, clocks, random numbers
    #[arg(long, conflicts_with = "timeout")]
    pub deterministic: bool,

    /// Say on standard error what is going on
    #[arg(short, long)]
    pub verbose: bool,

    /// The module (`-`: standard input)
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub file: PathBuf,

    /// The arguments that it sees, after its name
    #[arg(last = true)]
    pub args: Vec<OsString>,
}

/// What to do with the cache.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum CacheCommand {
    /// Print its folder
    Dir,
    /// Print how many modules and bytes are in it
    Stats,
    /// Delete what is in it
    Clean,
}

#[derive(Debug, Args)]
pub struct CompileArgs {
    /// Where to write the compiled module (`-`: standard output)
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// The machine to compile for: x86_64, aarch64, riscv64 or s390x, or a triple of a Linux
    #[arg(long, value_name = "TARGET")]
    pub target: Option<String>,

    /// The processor to compile for: baseline, native, or x86-64-v2, -v3, -v4
    #[arg(long, value_name = "CPU", default_value = "baseline")]
    pub cpu: String,

    /// Make code that can be run with `--fuel`
    #[arg(long)]
    pub with_fuel: bool,

    /// Make code that can be run with `--timeout` and with `--threads`
    #[arg(long)]
    pub with_timeout: bool,

    /// What to show instead of writing anything, separated by commas
    #[arg(
        long,
        value_name = "FORM",
        value_delimiter = ',',
        value_enum,
        conflicts_with = "output"
    )]
    pub dump: Vec<DumpForm>,

    /// The function, by its name or index; all without this
    #[arg(long, value_name = "N|NAME", requires = "dump")]
    pub function: Option<String>,

    #[command(flatten)]
    pub code: CodeArgs,

    /// Say on standard error what was done
    #[arg(short, long)]
    pub verbose: bool,

    /// The module (`-`: standard input)
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub file: PathBuf,
}

#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Where to write the program [default: the module's name, in this folder]
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// The machine to build for: x86_64, aarch64, riscv64 or s390x, or a triple of a Linux
    #[arg(long, value_name = "TARGET")]
    pub target: Option<String>,

    /// The processor to compile for: baseline, native, or x86-64-v2, -v3, -v4
    #[arg(long, value_name = "CPU")]
    pub cpu: Option<String>,

    /// The runtime that the program begins with, if not the one beside this program
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub runtime: Option<PathBuf>,

    #[command(flatten)]
    pub grants: GrantArgs,

    /// Listen on a TCP address and give the guest the socket; can be repeated
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_listen)]
    pub listen: Vec<String>,

    /// Make runs with the same input the same: NaNs, clocks, random numbers
    #[arg(long, conflicts_with = "timeout")]
    pub deterministic: bool,

    /// Who decides what the program is given: this command line alone, or its user too
    #[arg(
        long = "grants",
        value_name = "WHO",
        value_enum,
        default_value = "fixed"
    )]
    pub who_grants: WhoGrants,

    /// Have the program check its code before it is run: it takes a fifth longer to start
    #[arg(long)]
    pub verify: bool,

    /// An argument for the guest before those of the user; can be repeated
    #[arg(long = "arg", value_name = "ARG", allow_hyphen_values = true)]
    pub args: Vec<String>,

    /// The guest's name for itself, if not that by which it is started
    #[arg(long, value_name = "NAME")]
    pub argv0: Option<String>,

    #[command(flatten)]
    pub code: CodeArgs,

    #[command(flatten)]
    pub limits: LimitArgs,

    #[command(flatten)]
    pub threads: ThreadArgs,

    /// Say on standard error what was done
    #[arg(short, long)]
    pub verbose: bool,

    /// The module, compiled or not (`-`: standard input)
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub file: PathBuf,
}

/// `--grants`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WhoGrants {
    /// What is given here, and nothing else
    Fixed,
    /// That, and what the variable BIMETAL_GRANTS says when the program is started
    User,
}

#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// The modules (`-`: standard input)
    #[arg(required = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// The module (`-`: standard input)
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub file: PathBuf,
}

#[derive(Debug, Args)]
pub struct WastArgs {
    #[command(flatten)]
    pub code: CodeArgs,

    /// Compile each function at its first call
    #[arg(long)]
    pub lazy: bool,

    /// Scripts, or folders of them
    #[arg(required = true, value_name = "FILE", value_hint = clap::ValueHint::AnyPath)]
    pub files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct WatArgs {
    /// Where to write; standard output without this
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// The module (`-`: standard input); text becomes binary, binary becomes text
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub file: PathBuf,
}

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// `-O`.
#[derive(Clone, Copy, Debug)]
pub struct OptLevel(pub bimetal::OptLevel);

impl ValueEnum for OptLevel {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            OptLevel(bimetal::OptLevel::None),
            OptLevel(bimetal::OptLevel::Fast),
            OptLevel(bimetal::OptLevel::Full),
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self.0 {
            bimetal::OptLevel::None => "0",
            bimetal::OptLevel::Fast => "1",
            bimetal::OptLevel::Full => "2",
        }))
    }
}

/// `--profile`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Names and addresses, in /tmp/perf-PID.map
    Perf,
    /// The code too, in ./jit-PID.dump, for `perf record -k mono` and `perf inject --jit`
    Jitdump,
}

/// `--dump`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DumpForm {
    /// The SSA graph, and what each pass makes of it
    Graph,
    /// The code generator's input
    Clif,
    /// Machine code
    Asm,
}

fn parse_preload(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !file.is_empty() => Ok((name.into(), file.into())),
        _ => Err("expected NAME=FILE".into()),
    }
}

fn parse_rename(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((to, from)) => Ok((to.into(), from.into())),
        _ => Err("expected DST=SRC".into()),
    }
}

/// Reads the command line; what was only asked for help has been answered.
///
/// # Errors
/// The exit code with which the program is to end.
pub fn parse(args: Vec<OsString>) -> Result<Cli, ExitCode> {
    let (args, maybe_command) = with_command(args);
    let mut cli = Cli::try_parse_from(args).map_err(|error| {
        // The reader may be gone; there is nobody to tell.
        let _ = error.print();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    })?;
    if let Command::Run(run) = &mut cli.command {
        run.maybe_command = maybe_command;
    }
    Ok(cli)
}

/// Adds the `run` that may be left out, and says whether it stands for what may be a command.
fn with_command(mut args: Vec<OsString>) -> (Vec<OsString>, bool) {
    const GENERAL: [&str; 5] = ["help", "-h", "--help", "-V", "--version"];
    let needs_run = args.get(1).is_some_and(|first| {
        GENERAL.iter().all(|word| first != word)
            && Cli::command()
                .get_subcommands()
                .all(|command| first != command.get_name())
    });
    let mut maybe_command = false;
    if needs_run {
        maybe_command = !args[1].as_bytes().starts_with(b"-");
        args.insert(1, "run".into());
    }
    (args, maybe_command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_args(line: &str) -> RunArgs {
        let words = line.split_whitespace().map(OsString::from).collect();
        match parse(words).unwrap().command {
            Command::Run(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_may_be_left_out() {
        for line in [
            "bimetal run --dir . -v a.wasm --dir x -v",
            "bimetal --dir . -v a.wasm --dir x -v",
        ] {
            let args = run_args(line);
            assert_eq!(args.file_and_args, ["a.wasm", "--dir", "x", "-v"]);
            assert_eq!((args.grants.dirs.len(), args.verbose), (1, true));
        }
        assert_eq!(run_args("bimetal a.wasm").file_and_args, ["a.wasm"]);
        assert_eq!(run_args("bimetal - -- -x").file_and_args, ["-", "--", "-x"]);
        assert_eq!(
            run_args("bimetal ./run run").file_and_args,
            ["./run", "run"]
        );
        let args = run_args("bimetal run --invoke f m.wat -5 -inf");
        assert_eq!(args.file_and_args, ["m.wat", "-5", "-inf"]);
        let args = run_args("bimetal run --invoke -f m.wat -5");
        assert_eq!(args.invoke.as_deref(), Some("-f"));
        assert_eq!(args.file_and_args, ["m.wat", "-5"]);
        assert!(run_args("bimetal valdate x").maybe_command);
        assert!(!run_args("bimetal run x").maybe_command);
        assert!(!run_args("bimetal -v x").maybe_command);
    }
}
