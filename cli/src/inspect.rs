//! `bimetal inspect`: what is in a module, or in a compiled one.
//!
//! The facts are [`Summary`]'s; this adds what kind of program it is, and for people a picture of
//! where the bytes are.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use bimetal::{Config, Engine, Module, Result};
use bimetal_artifact::{Header, Image};
use bimetal_runtime::grants::Grants;
use bimetal_runtime::host;
use bimetal_runtime::limits::{Limits, Timeout};
use bimetal_runtime::program::Program;
use bimetal_wasm::inspect::{SectionSummary, Summary};
use serde::Serialize;

use crate::args::InspectArgs;
use crate::{load, output};

/// How many of the largest functions are shown.
const LARGEST: usize = 10;

#[derive(Serialize)]
struct Report {
    environment: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<Program>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<ImageSummary>,
    #[serde(flatten)]
    summary: Summary,
}

/// What a compiled module has besides the module.
#[derive(Serialize)]
struct ImageSummary {
    #[serde(flatten)]
    header: Header,
    functions: usize,
    code_bytes: usize,
    table_bytes: usize,
}

impl ImageSummary {
    fn new(image: &Image) -> ImageSummary {
        let (code_bytes, table_bytes) = image.sizes();
        ImageSummary {
            header: image.header().clone(),
            functions: image.len(),
            code_bytes,
            table_bytes,
        }
    }

    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let Header {
            format,
            engine,
            arch,
            cpu_features,
            settings,
            ..
        } = &self.header;
        writeln!(
            out,
            "compiled by Bimetal {engine} for {arch} Linux: {} of machine code, {} of tables, \
             format {format}",
            output::bytes(self.code_bytes as u64),
            output::bytes(self.table_bytes as u64),
        )?;
        let features: Vec<_> = cpu_features
            .iter()
            .map(|name| name.strip_prefix("has_").unwrap_or(name))
            .collect();
        match features.is_empty() {
            true => writeln!(out, "  runs on every processor of that kind")?,
            false => writeln!(out, "  needs a processor with {}", features.join(", "))?,
        }
        for (name, value) in settings {
            writeln!(out, "  {name}: {value}")?;
        }
        writeln!(out)
    }
}

/// Prints what is in the module.
pub fn inspect(args: &InspectArgs) -> Result<ExitCode> {
    let load::Loaded {
        module,
        image,
        program: settings,
    } = load::module_or_image(&args.file)?;
    // Nothing is compiled: also what was compiled for another machine can be looked at.
    let engine = Engine::new(Config::new().lazy(true))?;
    let program = Module::from_binary(&engine, &module.bytes)?;
    let mut report = Report {
        environment: host::known().recognise(&program).name().to_owned(),
        program: settings,
        image: image.map(|image| ImageSummary::new(&image)),
        summary: Summary::new(&module, LARGEST),
    };
    let mut out = output::stdout();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        writeln!(
            out,
            "{}: {}, {}",
            load::display_name(&args.file),
            output::bytes(report.summary.size as u64),
            report.environment
        )?;
        if let Some(program) = &report.program {
            print_program(&mut out, program)?;
        }
        if let Some(image) = &report.image {
            image.print(&mut out)?;
        }
        if std::io::stdout().is_terminal() {
            picture(&mut out, &report.summary.sections)?;
        }
        // What the summary does not quote itself.
        for function in &mut report.summary.largest_functions {
            function.name = output::name(&function.name).into_owned();
        }
        for producer in &mut report.summary.producers {
            *producer = output::name(producer).into_owned();
        }
        write!(out, "{}", report.summary)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// What a program is run with, one thing in a line.
fn print_program(out: &mut impl Write, program: &Program) -> std::io::Result<()> {
    let Grants {
        dirs,
        env,
        inherit_env,
        listen,
        deterministic,
    } = &program.grants;
    writeln!(out, "a native program of {}", output::name(&program.name))?;
    if let Some(name) = &program.argv0 {
        writeln!(out, "  its name for itself: {}", output::name(name))?;
    }
    if !program.args.is_empty() {
        let args: Vec<_> = program.args.iter().map(|arg| output::name(arg)).collect();
        writeln!(out, "  arguments before the user's: {}", args.join(" "))?;
    }
    for dir in dirs {
        let host = dir.host.display().to_string();
        let (host, guest) = (output::name(&host), output::name(&dir.guest));
        let how = if dir.read_only { ", read-only" } else { "" };
        writeln!(out, "  directory: {host} as {guest}{how}")?;
    }
    for variable in env {
        let text = variable.to_string_lossy();
        writeln!(out, "  variable: {}", output::name(&text))?;
    }
    for address in listen {
        writeln!(out, "  socket: {}", output::name(address))?;
    }
    for (is_so, what) in [
        (*inherit_env, "all of the environment is given to it"),
        (
            *deterministic,
            "clocks and random numbers are the same in each run",
        ),
        (program.verify, "its code is checked before it is run"),
        (
            program.user_grants,
            "its user may give it more, by BIMETAL_GRANTS",
        ),
    ] {
        if is_so {
            writeln!(out, "  {what}")?;
        }
    }
    let Limits {
        fuel,
        timeout,
        max_memory,
        max_table,
        max_stack,
        threads,
    } = &program.limits;
    let bytes = |size: Option<usize>| Some(output::bytes(size? as u64));
    for (what, limit) in [
        ("fuel", fuel.map(|fuel| fuel.to_string())),
        ("time", timeout.as_ref().map(Timeout::to_string)),
        ("each memory", bytes(*max_memory)),
        (
            "each table's elements",
            max_table.map(|count| count.to_string()),
        ),
        ("stack", bytes(*max_stack)),
        ("threads", threads.map(|count| count.to_string())),
    ] {
        if let Some(limit) = limit {
            writeln!(out, "  limit of {what}: {limit}")?;
        }
    }
    Ok(())
}

/// A bar for each section that is large enough to be seen.
fn picture(out: &mut impl Write, sections: &[SectionSummary]) -> std::io::Result<()> {
    const WIDTH: usize = 40;
    let total: usize = sections.iter().map(|section| section.size).sum();
    if total == 0 {
        return Ok(());
    }
    writeln!(out)?;
    for section in sections {
        let share = section.size as f64 / total as f64;
        let bar = bar(share, WIDTH);
        if !bar.is_empty() {
            let name: String = output::name(&section.name).chars().take(20).collect();
            writeln!(out, "  {name:<20} {bar:<WIDTH$} {:>5.1} %", share * 100.0)?;
        }
    }
    writeln!(out)
}

/// A bar of up to `width` characters, in eighths.
fn bar(share: f64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share * width as f64 * 8.0).round() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars() {
        assert_eq!(bar(0.0, 4), "");
        assert_eq!(bar(1.0, 4), "████");
        assert_eq!(bar(0.5 + 1.0 / 64.0, 4), "██▏");
    }
}
