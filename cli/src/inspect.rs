//! `bimetal inspect`: what is in a module.
//!
//! The facts are [`Summary`]'s; this adds what kind of program it is, and for people a picture of
//! where the bytes are.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use bimetal::Result;
use bimetal_wasm::inspect::{SectionSummary, Summary};
use serde::Serialize;

use crate::args::InspectArgs;
use crate::{environment, load, output};

/// How many of the largest functions are shown.
const LARGEST: usize = 10;

#[derive(Serialize)]
struct Report {
    environment: &'static str,
    #[serde(flatten)]
    summary: Summary,
}

/// Prints what is in the module.
pub fn inspect(args: &InspectArgs) -> Result<ExitCode> {
    let module = load::module(&args.file)?;
    let mut report = Report {
        environment: environment::recognise(&module).name(),
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
