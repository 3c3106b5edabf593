//! `bimetal wast`: the specification's test scripts.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bimetal::{Context, Error, Result};
use bimetal_testkit::{RunConfig, run_wast};

use crate::args::WastArgs;
use crate::output;

/// Runs every script; a line each, and the first failure of those that have one.
pub fn wast(args: &WastArgs) -> Result<ExitCode> {
    let mut config = args.code.config();
    config.lazy(args.lazy);
    let config = RunConfig::new(&config)?;

    let mut files = Vec::new();
    for path in &args.files {
        collect(path, &mut files)?;
    }
    if files.is_empty() {
        return Err(Error::msg("there are no `.wast` files"));
    }
    let mut failed = 0;
    for file in &files {
        let name = file.display().to_string();
        let text =
            std::fs::read_to_string(file).with_context(|| format!("`{name}` cannot be read"))?;
        let report = run_wast(&name, &text, &config);
        let mut out = output::stdout();
        match report.failures.first() {
            None => writeln!(
                out,
                "ok   {name} ({})",
                output::count(report.passed, "directive")
            )?,
            Some(first) => {
                failed += 1;
                writeln!(
                    out,
                    "FAIL {name} ({} of {})",
                    report.failures.len(),
                    output::count(report.passed + report.failures.len(), "directive")
                )?;
                writeln!(out, "     {name}:{first}")?;
            }
        }
        out.flush()?;
    }
    if files.len() > 1 {
        let mut out = output::stdout();
        writeln!(out, "{} passed, {failed} failed", files.len() - failed)?;
        out.flush()?;
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The file, or the scripts below the folder in order of names.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !path.is_dir() {
        files.push(path.to_path_buf());
        return Ok(());
    }
    let mut entries = Vec::new();
    for entry in
        std::fs::read_dir(path).with_context(|| format!("`{}` cannot be read", path.display()))?
    {
        entries.push(entry?.path());
    }
    entries.sort();
    for entry in entries {
        if entry.is_dir()
            || entry
                .extension()
                .is_some_and(|extension| extension == "wast")
        {
            collect(&entry, files)?;
        }
    }
    Ok(())
}
