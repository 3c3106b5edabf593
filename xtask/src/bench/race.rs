//! The rounds: every contender's command for every program, interleaved, checked and measured.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bimetal_bench::{GC_PROGRAMS, GuestProgram, Kind, PROGRAMS, Race, Sample, gc_program_text};
use indicatif::{ProgressBar, ProgressStyle};

use super::Args;
use super::contenders::{Contender, EXECUTABLE};
use super::rebuild::change_one_function;
use crate::process::{root, run_measured};
use crate::realworld::install::Installer;
use crate::realworld::programs::program;

const LIMIT: Duration = Duration::from_secs(900);

/// Modules whose compilation is raced, by their name among the real programs.
const LARGE_MODULES: [&str; 4] = ["resvg", "gcc", "cpython", "clang"];

/// Cold starts: a real program, its arguments, and how its output begins.
const STARTS: [(&str, &[&str], &str); 2] = [
    ("cpython", &["-c", "print(1+1)"], "2\n"),
    ("clang", &["--version"], "clang version"),
];

/// One program and everybody who runs it.
pub(crate) struct Entry {
    program: String,
    /// What the output begins with, when it is the right one.
    wanted: String,
    runners: Vec<(String, MakeCommand)>,
}

/// Gives a fresh command for each round; `None` from one who cannot do this at all.
type MakeCommand = Box<dyn Fn() -> Option<Command>>;

/// What there is to race of a kind, prepared.
pub(crate) fn entries(
    kind: Kind,
    args: &Args,
    field: &[Contender],
    scratch: &Path,
) -> Result<Vec<Entry>> {
    match kind {
        Kind::Run | Kind::Checks => guest_entries(args, field, scratch),
        Kind::Gc => gc_entries(args, field, scratch),
        // Raced by programs of their own.
        Kind::Call | Kind::Instance | Kind::Threads => Ok(Vec::new()),
        Kind::Compile => real_entries(&LARGE_MODULES, args, |name, wasm| Entry {
            program: name.to_owned(),
            wanted: String::new(),
            runners: runners(field, scratch, move |contender, scratch| {
                contender.compile(&wasm, scratch)
            }),
        }),
        Kind::Restart => restart_entries(args, field, scratch),
        Kind::Rebuild => rebuild_entries(args, field, scratch),
        Kind::Start => real_entries(&STARTS.map(|(name, ..)| name), args, |name, wasm| {
            let start = STARTS.iter().find(|s| s.0 == name);
            let (arguments, wanted) = start.map_or((&[][..], ""), |s| (s.1, s.2));
            let argv0 = name.to_owned();
            Entry {
                program: name.to_owned(),
                wanted: wanted.to_owned(),
                runners: runners(field, scratch, move |contender, scratch| {
                    contender.start(&wasm, &argv0, arguments, scratch)
                }),
            }
        }),
    }
}

/// The same thing done by every contender.
fn runners(
    field: &[Contender],
    scratch: &Path,
    make: impl Fn(&Contender, &Path) -> Option<Command> + Clone + 'static,
) -> Vec<(String, MakeCommand)> {
    let runner = |contender: &Contender| {
        let (make, owned, scratch) = (make.clone(), contender.clone(), scratch.to_path_buf());
        let command: MakeCommand = Box::new(move || make(&owned, &scratch));
        (contender.name.clone(), command)
    };
    field.iter().map(runner).collect()
}

fn guest_entries(args: &Args, field: &[Contender], scratch: &Path) -> Result<Vec<Entry>> {
    let guests = root().join("bench/guests");
    let mut entries = Vec::new();
    for guest in PROGRAMS.iter().filter(|p| args.wants(p.name)) {
        let wasm = guests.join(format!("{}.wasm", guest.name));
        let source = guests.join(format!("{}.c", guest.name));
        entries.push(guest_entry(
            guest,
            (&wasm, Some(&source)),
            args,
            field,
            scratch,
        )?);
    }
    Ok(entries)
}

/// Programs that are there as text; nobody has them natively.
fn gc_entries(args: &Args, field: &[Contender], scratch: &Path) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for guest in GC_PROGRAMS.iter().filter(|p| args.wants(p.name)) {
        let text = gc_program_text(guest.name).context("a program without a text")?;
        let wasm = scratch.join(format!("{}.wasm", guest.name));
        std::fs::write(&wasm, wat::parse_str(&text)?)?;
        entries.push(guest_entry(guest, (&wasm, None), args, field, scratch)?);
    }
    Ok(entries)
}

fn guest_entry(
    guest: &GuestProgram,
    (wasm, source): (&Path, Option<&Path>),
    args: &Args,
    field: &[Contender],
    scratch: &Path,
) -> Result<Entry> {
    let (size, wanted) = if args.smoke {
        (guest.small, guest.small_line())
    } else {
        (guest.size, guest.line())
    };
    let mut runners = Vec::new();
    for contender in field {
        let Some(prepared) = contender.prepare(wasm, source, scratch)? else {
            continue;
        };
        let owned = contender.clone();
        let command: MakeCommand =
            Box::new(move || Some(owned.run(&prepared, &[size.to_string()])));
        runners.push((contender.name.clone(), command));
    }
    Ok(Entry {
        program: guest.name.to_owned(),
        wanted: format!("{wanted}\n"),
        runners,
    })
}

/// Second starts: everybody has done what he does before the first.
fn restart_entries(args: &Args, field: &[Contender], scratch: &Path) -> Result<Vec<Entry>> {
    let hello = root().join("bench/guests/hello.wat");
    let mut programs: Vec<(&str, PathBuf, &[&str], &str)> = Vec::new();
    if args.wants("hello") {
        programs.push(("hello", hello, &[], "hello\n"));
    }
    let wanted = STARTS.iter().filter(|start| args.wants(start.0));
    let wanted: Vec<_> = wanted.collect();
    if !wanted.is_empty() {
        let installer = Installer::new(args.packages.as_deref())?;
        for (name, arguments, output) in wanted {
            let real = program(name)?;
            let wasm = installer.install(&real.package)?.join(real.wasm);
            programs.push((name, wasm, arguments, output));
        }
    }
    let mut entries = Vec::new();
    for (name, wasm, arguments, wanted) in programs {
        let mut runners = Vec::new();
        for contender in field {
            let Some(again) = contender.restart(&wasm, name, arguments, scratch)? else {
                continue;
            };
            let command: MakeCommand = Box::new(move || Some(again.command()));
            runners.push((contender.name.clone(), command));
            if let Some(again) = contender.executable(&wasm, name, arguments, scratch)? {
                let command: MakeCommand = Box::new(move || Some(again.command()));
                runners.push((EXECUTABLE.to_owned(), command));
            }
        }
        entries.push(Entry {
            program: name.to_owned(),
            wanted: wanted.to_owned(),
            runners,
        });
    }
    Ok(entries)
}

/// Modules that are known but for one function, against compiling all of them: first all, which
/// leaves what the other one needs.
fn rebuild_entries(args: &Args, field: &[Contender], scratch: &Path) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for contender in field {
        let (Some(program), Some(all)) = (contender.bimetal_program(), contender.compiling_all())
        else {
            continue;
        };
        entries.extend(real_entries(&["clang"], args, |name, wasm| {
            let cache = scratch.join("rebuild");
            let changed = scratch.join(format!("{name}-changed.wasm"));
            let changed = change_one_function(&wasm, &changed, program);
            let (owned, folder) = (contender.clone(), cache.clone());
            let first: MakeCommand = Box::new(move || {
                // Nothing is known.
                let _ = std::fs::remove_dir_all(&folder);
                owned.compile_into(&wasm, &folder)
            });
            let owned = contender.clone();
            let second: MakeCommand = Box::new(move || match &changed {
                Ok(changed) => owned.compile_into(changed, &cache),
                Err(error) => {
                    eprintln!("no function could be changed: {error:#}");
                    None
                }
            });
            Entry {
                program: name.to_owned(),
                wanted: String::new(),
                runners: vec![(all.name.clone(), first), (contender.name.clone(), second)],
            }
        })?);
    }
    Ok(entries)
}

fn real_entries(
    names: &[&str],
    args: &Args,
    entry: impl Fn(&str, PathBuf) -> Entry,
) -> Result<Vec<Entry>> {
    let installer = Installer::new(args.packages.as_deref())?;
    let mut entries = Vec::new();
    for name in names.iter().filter(|name| args.wants(name)) {
        let real = program(name)?;
        let wasm = installer.install(&real.package)?.join(real.wasm);
        entries.push(entry(name, wasm));
    }
    Ok(entries)
}

/// Runs all rounds. Who fails or prints something else leaves that race, with a message; the flag
/// says whether nobody did.
pub(crate) fn run(kind: Kind, rounds: u32, entries: &[Entry]) -> Result<(Vec<Race>, bool)> {
    let runs: usize = entries.iter().map(|e| e.runners.len()).sum();
    let bar = ProgressBar::new(runs as u64 * u64::from(rounds));
    bar.set_style(ProgressStyle::with_template(
        "{pos:>4}/{len} {bar:30} {msg} (left: {eta})",
    )?);
    let mut races: Vec<Race> = entries
        .iter()
        .map(|entry| Race {
            kind,
            program: entry.program.clone(),
            samples: BTreeMap::new(),
        })
        .collect();
    let mut failed: Vec<(usize, String)> = Vec::new();
    for _ in 0..rounds {
        for (number, entry) in entries.iter().enumerate() {
            for (name, command) in &entry.runners {
                bar.set_message(format!("{} {name}", entry.program));
                let out = failed.iter().any(|(n, who)| *n == number && who == name);
                if let Some(mut command) = command().filter(|_| !out) {
                    let samples = &mut races[number].samples;
                    match measure(&mut command, &entry.wanted) {
                        Ok(sample) => samples.entry(name.clone()).or_default().push(sample),
                        Err(error) => {
                            bar.suspend(|| {
                                eprintln!("{name} is out of {}: {error:#}", entry.program)
                            });
                            samples.remove(name);
                            failed.push((number, name.clone()));
                        }
                    }
                }
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    Ok((races, failed.is_empty()))
}

fn measure(command: &mut Command, wanted: &str) -> Result<Sample> {
    let run = run_measured(command, b"", LIMIT)?;
    ensure!(run.code == 0, "exit code {}{}", run.code, run.streams());
    let stdout = String::from_utf8_lossy(&run.stdout);
    ensure!(
        stdout.starts_with(wanted),
        "it printed {stdout:?}, not {wanted:?}"
    );
    Ok(Sample {
        wall: run.wall.as_secs_f64(),
        cpu: run.cpu.as_secs_f64(),
        memory: run.memory,
    })
}
