//! Guest programs in C: how the committed `.wasm` files are made from their sources, and a runner
//! for the WASI ones that can drive any runtime with Wasmtime's command line.
//!
//! The committed files are what tests and benchmarks use, so neither needs a C compiler; this chore
//! is for those who change a source. The build is deterministic: one compiler version, relative
//! paths, no debug information; `--check` proves it.

mod header;
mod run;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::process::{need_program, release_bimetal, root, run_quietly};

/// The one version of the compiler that gives the committed bytes.
const ZIG: &str = "0.17.1";

/// Folders with guests, and the flags that each needs beyond the common ones.
const FOLDERS: [&str; 3] = ["bench/guests", "wasi/tests/guests", THREADS];

/// Where the guests with threads are, which `--run` does not run: they have no headers.
const THREADS: &str = "wasi/tests/threads";

/// What these need beyond the common flags.
const THREADS_FLAGS: [&str; 6] = [
    "-mcpu=generic+atomics+bulk_memory",
    "-pthread",
    "-Wl,--shared-memory",
    "-Wl,--import-memory",
    "-Wl,--export-memory",
    "-Wl,--max-memory=67108864",
];

/// Guests that need more than the common flags.
const EXTRA_FLAGS: [(&str, &[&str]); 1] = [("simd", &["-msimd128"])];

/// Optimised, names kept for backtraces, and no contraction so that results match native builds.
const FLAGS: [&str; 6] = [
    "-target",
    "wasm32-wasi",
    "-O2",
    "-ffp-contract=off",
    "-Wall",
    "-Wextra",
];

/// Rebuild the committed guest programs from their C sources (needs Python's `ziglang` package).
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Only guests whose path contains one of these
    filter: Vec<String>,
    /// Build into a temporary folder and compare with the committed files
    #[arg(long)]
    check: bool,
    /// Build nothing; run the WASI guests under a runtime and check what they print
    #[arg(long)]
    run: bool,
    /// The runtime for --run: a program with Wasmtime's `run` flags [default: the release build of
    /// bimetal]
    #[arg(long, value_name = "PROGRAM")]
    runtime: Option<String>,
    /// Show every case that --run runs
    #[arg(short, long)]
    verbose: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let sources = sources(&args.filter)?;
    if args.run {
        let runtime = match &args.runtime {
            Some(name) => need_program(name, "--runtime is a program's name or path")?,
            None => release_bimetal()?,
        };
        let folder = root().join(THREADS);
        let sources: Vec<_> = sources
            .into_iter()
            .filter(|s| !s.starts_with(&folder))
            .collect();
        return run::all(&sources, &runtime, args.verbose);
    }
    let python = need_program("python3", "the C compiler comes as a Python package")?;
    let version = run_quietly(Command::new(&python).args(["-m", "ziglang", "version"]))
        .with_context(|| {
            format!(
                "no C compiler for wasm: install it with `python3 -m pip install ziglang=={ZIG}`"
            )
        })?;
    if version.trim() != ZIG {
        bail!(
            "ziglang {} gives other bytes than the committed ones: \
             `python3 -m pip install ziglang=={ZIG}`",
            version.trim()
        );
    }
    let mut different = 0;
    for source in &sources {
        let wasm = source.with_extension("wasm");
        let shown = wasm
            .strip_prefix(root())
            .unwrap_or(&wasm)
            .display()
            .to_string();
        let before = fs::read(&wasm).ok();
        let bytes = compile(&python, source)?;
        let same = before.as_deref() == Some(&bytes[..]);
        let size = bytes.len().div_ceil(1024);
        if args.check {
            different += usize::from(!same);
            if !same {
                println!("{shown}: differs from what its source gives");
            }
        } else {
            if !same {
                fs::write(&wasm, &bytes)?;
            }
            println!(
                "{shown}: {size} KiB{}",
                if same { ", unchanged" } else { "" }
            );
        }
    }
    if different > 0 {
        println!(
            "{different} of {} differ: run `cargo xtask guests`",
            sources.len()
        );
        return Ok(ExitCode::FAILURE);
    }
    println!("{} guests, all as their sources give them", sources.len());
    Ok(ExitCode::SUCCESS)
}

/// All C sources whose path contains one of the filters (or all), sorted.
fn sources(filter: &[String]) -> Result<Vec<PathBuf>> {
    let mut sources = Vec::new();
    for folder in FOLDERS {
        let path = root().join(folder);
        let entries = fs::read_dir(&path).with_context(|| format!("cannot list {folder}"))?;
        for entry in entries {
            let path = entry?.path();
            let relative = path
                .strip_prefix(root())
                .unwrap_or(&path)
                .display()
                .to_string();
            let wanted = filter.is_empty() || filter.iter().any(|f| relative.contains(f.as_str()));
            if wanted && path.extension().is_some_and(|e| e == "c") {
                sources.push(path);
            }
        }
    }
    sources.sort();
    if sources.is_empty() {
        bail!("no guest's path contains {filter:?}");
    }
    Ok(sources)
}

/// The guest's bytes. The compiler runs in the source's folder, so that no machine's path gets in.
fn compile(python: &Path, source: &Path) -> Result<Vec<u8>> {
    let (Some(folder), Some(name), Some(stem)) = (
        source.parent(),
        source.file_name(),
        source.file_stem().and_then(|s| s.to_str()),
    ) else {
        bail!("{} is no source file", source.display());
    };
    // The linker writes the file's name into the module.
    let out = tempfile::tempdir()?;
    let wasm = out.path().join(format!("{stem}.wasm"));
    let extra = match folder == root().join(THREADS) {
        true => &THREADS_FLAGS[..],
        false => EXTRA_FLAGS
            .iter()
            .find(|(guest, _)| *guest == stem)
            .map_or(&[][..], |(_, flags)| flags),
    };
    run_quietly(
        Command::new(python)
            .current_dir(folder)
            .args(["-m", "ziglang", "cc"])
            .args(FLAGS)
            .args(extra)
            .arg("-o")
            .arg(&wasm)
            .arg(name),
    )?;
    without_debug_information(&fs::read(&wasm)?)
}

/// The module without its `.debug_*` sections. The linker's own ways of stripping take the function
/// names along, which backtraces need.
fn without_debug_information(module: &[u8]) -> Result<Vec<u8>> {
    const HEADER: usize = 8;
    let (header, mut rest) = module
        .split_at_checked(HEADER)
        .context("the module is empty")?;
    let mut out = header.to_vec();
    while let [id, after @ ..] = rest {
        let mut body = after;
        let size = leb128(&mut body)?;
        let (body, next) = body
            .split_at_checked(size)
            .context("a section is cut off")?;
        let debug = *id == 0 && {
            let mut name = body;
            let length = leb128(&mut name)?;
            name.get(..length)
                .is_some_and(|name| name.starts_with(b".debug_"))
        };
        if !debug {
            out.extend_from_slice(&rest[..rest.len() - next.len()]);
        }
        rest = next;
    }
    Ok(out)
}

/// Takes an unsigned LEB128 number off the front.
fn leb128(bytes: &mut &[u8]) -> Result<usize> {
    let mut value = 0_usize;
    for shift in (0..35).step_by(7) {
        let (&byte, rest) = bytes.split_first().context("a number is cut off")?;
        *bytes = rest;
        value |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    bail!("a number is too long")
}

#[cfg(test)]
mod tests {
    use super::without_debug_information;

    #[test]
    fn only_debug_sections_go() {
        let section = |name: &str| {
            let mut bytes = vec![0, name.len() as u8 + 3, name.len() as u8];
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(&[7, 7]);
            bytes
        };
        let header = b"\0asm\x01\0\0\0".to_vec();
        let kept = [header.clone(), vec![1, 1, 0], section("name")].concat();
        let module = [
            header,
            vec![1, 1, 0],
            section(".debug_line"),
            section("name"),
        ]
        .concat();
        assert_eq!(without_debug_information(&module).unwrap(), kept);
        assert!(without_debug_information(&module[..module.len() - 1]).is_err());
    }
}
