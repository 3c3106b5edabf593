//! A few hundred cases of each target, the same each time, and every module that was a finding.

use std::fs;
use std::path::Path;

use bimetal_fuzz::runner::{self, Plan};
use bimetal_fuzz::{Notes, TARGETS, target};

fn smoke(name: &str, count: u64) -> bimetal_fuzz::Counts {
    let (_, make) = TARGETS.iter().find(|(known, _)| *known == name).unwrap();
    let plan = Plan {
        count,
        reduce: false,
        ..Plan::default()
    };
    let report = runner::run(name, *make, &plan).unwrap();
    for finding in &report.findings {
        println!("case {}: {}", finding.seed, finding.message);
    }
    assert!(report.findings.is_empty());
    assert_eq!(report.cases, count);
    report.counts
}

/// A target that does nothing finds nothing.
fn expect(counts: &bimetal_fuzz::Counts, wanted: &[&str]) {
    for what in wanted {
        let times = counts.get(*what).copied().unwrap_or(0);
        assert!(times > 0, "never: {what}; {counts:#?}");
    }
}

#[test]
fn decode() {
    let counts = smoke("decode", 1500);
    expect(
        &counts,
        &["accepted", "valid", "refused: Malformed", "refused: Text"],
    );
}

#[test]
fn compile() {
    let counts = smoke("compile", 250);
    expect(&counts, &["functions", "trampolines"]);
}

#[test]
fn execute() {
    let counts = smoke("execute", 450);
    expect(
        &counts,
        &[
            "calls that returned",
            "calls: unreachable",
            "calls: out of bounds memory access",
            "calls: integer overflow",
            "calls: host error",
            "calls of host functions",
            "entries and iterations",
            "instructions counted",
            "suspensions",
            "census: instructions for objects",
            "census: instructions for exceptions",
        ],
    );
}

#[test]
fn collect() {
    let counts = smoke("collect", 120);
    expect(
        &counts,
        &[
            "calls that returned",
            "calls: exception",
            "calls of host functions",
            "suspensions",
            "collections: whole cycles",
            "census: instructions for objects",
            "census: instructions for exceptions",
        ],
    );
    // Programs that have no objects to speak of, or do nothing with them, find nothing.
    let cases = counts["cases of the census"];
    assert!(
        counts["census: instructions for objects"] > 500 * cases,
        "{counts:#?}"
    );
}

#[test]
fn wasi() {
    let counts = smoke("wasi", 400);
    expect(
        &counts,
        &["path_open: done", "fd_read: done", "errno 8 (Badf)"],
    );
}

#[test]
fn api() {
    let counts = smoke("api", 800);
    expect(
        &counts,
        &[
            "instances",
            "threads",
            "documented panics",
            "used: true",
            "linked",
            "fuel was set",
            "interrupts",
            "limiters",
            "hooks",
            "asynchronous calls: true",
            "asynchronous calls: given up",
        ],
    );
}

#[test]
fn image() {
    let counts = smoke("image", 1500);
    expect(
        &counts,
        &[
            "ran as before",
            "refused",
            "refused at a call",
            "images in files",
            "loaded",
            "cannot be sealed",
            "caches",
            "cache entries that were used",
        ],
    );
}

#[test]
fn snapshot() {
    let counts = smoke("snapshot", 400);
    expect(
        &counts,
        &[
            "snapshots",
            "whose state matters",
            "imports what is not its own",
        ],
    );
}

#[test]
fn findings_stay_fixed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "wat") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let wasm = bimetal_wasm::text::parse(&text, Some(&path)).unwrap();
        for name in ["decode", "compile", "execute", "collect"] {
            let outcome = target(name).unwrap().run_file(&wasm, &mut Notes::default());
            assert_eq!(outcome, Ok(()), "{name} of {}", path.display());
        }
        seen += 1;
    }
    assert!(seen > 0, "no regression was read");
}
