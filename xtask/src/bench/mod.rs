//! Races: the guest programs of `bench/guests`, compiling large real modules, and cold starts, each
//! run by bimetal, natively, and by the peers that are on PATH; the guest programs with and without
//! checks for deadlines and fuel; and calls between host and wasm, making instances, and threads, which programs
//! of `bench` race in one process each.
//!
//! Everybody runs in every round, one after the other, so that a busy machine is busy for all; the
//! minimum and the median over the rounds are kept, and ratios are what is looked at. A wrong
//! result is an error, not a time.

mod contenders;
mod library;
mod race;
mod rebuild;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use bimetal_bench::{Host, Kind, Report};
use clap::{Parser, ValueEnum};

use crate::process::{release_bimetal, root};
use contenders::Contender;

/// Race the benchmark programs against native code and other runtimes.
///
/// Peers are looked for on PATH. Results go to the terminal, and as JSON and HTML to --out.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Peers to race: wasmtime, wasmer, node
    #[arg(long, value_delimiter = ',', value_name = "PEERS")]
    versus: Vec<String>,
    /// Only programs whose name contains one of these (may be given several times)
    #[arg(long, value_name = "NAME")]
    filter: Vec<String>,
    /// What to race: run (guest programs), compile (large modules), start (cold starts), restart
    /// (second starts, from the cache or what was compiled before; executables, where there is a
    /// runtime), rebuild (one function of a large module changed), checks (guest programs with
    /// deadlines and fuel), calls (between host and wasm), instances (made and dropped) and threads
    /// (that share a memory), these three with Wasmtime as a library if it is among the peers; gc
    /// (programs on collected objects)
    #[arg(long, value_delimiter = ',', default_value = "run")]
    parts: Vec<Part>,
    /// Rounds; every contender runs once in each
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Rounds of the `compile` and `rebuild` parts, whose runs are long
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    compile_rounds: u32,
    /// Where the report goes: report.json and report.html
    #[arg(long, value_name = "FOLDER", default_value = "bench-out")]
    out: PathBuf,
    /// An earlier report.json: say what changed since, beyond noise
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// No native builds (they need a C compiler)
    #[arg(long)]
    no_native: bool,
    /// This program instead of the release build of bimetal
    #[arg(long, value_name = "PROGRAM")]
    bimetal: Option<PathBuf>,
    /// Further flags for `bimetal run`, such as -O1
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    bimetal_flag: Vec<String>,
    /// Race without bimetal: the first peer is the one whose ratios are shown
    #[arg(long, requires = "versus")]
    no_bimetal: bool,
    /// Small work sizes: a test of the race itself, in seconds instead of minutes
    #[arg(long)]
    smoke: bool,
    /// A folder with already downloaded packages, for `compile` and `start`
    #[arg(long, value_name = "FOLDER")]
    packages: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Part {
    Run,
    Compile,
    Start,
    Restart,
    Rebuild,
    Checks,
    Calls,
    Instances,
    Gc,
    Threads,
}

impl Args {
    fn wants(&self, name: &str) -> bool {
        self.filter.is_empty() || self.filter.iter().any(|f| name.contains(f.as_str()))
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    // Read first: a wrong name should not cost ten minutes.
    let before: Option<Report> = match &args.compare {
        Some(path) => {
            let text = fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            Some(
                serde_json::from_str(&text)
                    .with_context(|| format!("{} is no report", path.display()))?,
            )
        }
        None => None,
    };
    let scratch = tempfile::tempdir()?;
    let mut field: Vec<Contender> = Vec::new();
    if !args.no_bimetal {
        let program = match &args.bimetal {
            Some(program) => program
                .canonicalize()
                .with_context(|| format!("no {}", program.display()))?,
            None => release_bimetal()?,
        };
        field.push(Contender::bimetal(program, &args.bimetal_flag)?);
    }
    for peer in &args.versus {
        field.push(Contender::peer(peer)?);
    }
    if !args.no_native && args.parts.contains(&Part::Run) {
        field.extend(Contender::native()?);
    }
    ensure!(!field.is_empty(), "nobody to race");
    // Everyone with a variant, followed by the variants.
    let mut checked: Vec<Contender> = Vec::new();
    if args.parts.contains(&Part::Checks) {
        for contender in &field {
            let variants = contender.with_checks();
            if !variants.is_empty() {
                checked.push(contender.clone());
                checked.extend(variants);
            }
        }
    }

    let mut report = Report {
        schema: 1,
        date: utc_now(),
        host: host(),
        contenders: field.iter().map(Contender::describe).collect(),
        races: Vec::new(),
    };
    if args.parts.contains(&Part::Restart) {
        let executables = field.iter().filter_map(Contender::describe_executable);
        report.contenders.extend(executables);
    }
    // Who compiles all of a module that has changed in one function.
    if args.parts.contains(&Part::Rebuild) {
        let all = field.iter().filter_map(Contender::compiling_all);
        report.contenders.extend(all.map(|c| c.describe()));
    }
    let variants = checked.iter().map(Contender::describe);
    report
        .contenders
        .extend(variants.filter(|variant| variant.variant_of.is_some()));
    eprintln!("on {} ({} threads)", report.host.cpu, report.host.threads);
    for c in &report.contenders {
        eprintln!("  {:10} {} ({})", c.name, c.version, c.how);
    }
    let mut sound = true;
    for (part, kind) in [
        (Part::Run, Kind::Run),
        (Part::Gc, Kind::Gc),
        (Part::Compile, Kind::Compile),
        (Part::Start, Kind::Start),
        (Part::Restart, Kind::Restart),
        (Part::Rebuild, Kind::Rebuild),
        (Part::Checks, Kind::Checks),
    ] {
        if !args.parts.contains(&part) {
            continue;
        }
        let field = match kind {
            Kind::Checks => &checked,
            _ => &field,
        };
        let entries = race::entries(kind, args, field, scratch.path())?;
        let rounds = match kind {
            Kind::Compile | Kind::Rebuild => args.compile_rounds,
            _ => args.rounds,
        };
        let (races, all_right) = race::run(kind, rounds, &entries)?;
        sound &= all_right;
        report.races.extend(races);
    }
    for (part, name) in [
        (Part::Calls, "calls"),
        (Part::Instances, "instances"),
        (Part::Threads, "threads"),
    ] {
        if args.parts.contains(&part) {
            library::run(name, args, &mut report)?;
        }
    }
    ensure!(
        !report.races.is_empty(),
        "no program matches {:?}",
        args.filter
    );

    let out = root().join(&args.out);
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    fs::write(
        out.join("report.json"),
        serde_json::to_string_pretty(&report)?,
    )?;
    fs::write(out.join("report.html"), bimetal_bench::page(&report))?;
    print!("{}", report.table());
    if let Some(before) = before {
        print!("\n{}", bimetal_bench::compare(&before, &report));
    }
    println!("written: {} and .html", out.join("report.json").display());
    if !sound {
        eprintln!("error: not everybody finished with the right result");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn host() -> Host {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("an unknown processor", |(_, name)| name);
    Host {
        cpu: cpu.to_owned(),
        threads: thread::available_parallelism().map_or(1, usize::from),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
    }
}

/// The present time as `2026-11-22T08:30:00Z`.
fn utc_now() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    utc(seconds)
}

/// Seconds since 1970 as a date, by the days-from-civil algorithm run backwards.
fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86400, seconds % 86400);
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn dates() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(utc(1_795_305_599), "2026-11-21T23:59:59Z");
    }
}
