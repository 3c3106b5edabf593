//! Nothing stale: what the documents name exists.
//!
//! A word in back quotes that begins with a folder of the repository must be a path in it; a
//! `cargo xtask` command must be one that the program has.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn documents() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for folder in [".", "docs", "bench", "wasi/tests/guests"] {
        for entry in root().join(folder).read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "md") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(found.len() >= 4, "where are the documents?");
    found
}

/// What stands in back quotes, code blocks aside.
fn quoted(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            words.extend(line.split('`').skip(1).step_by(2));
        }
    }
    words
}

#[test]
fn named_paths_exist() {
    let folders: Vec<String> = root()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut checked = 0;
    let mut missing = Vec::new();
    for (document, text) in documents() {
        for word in quoted(&text) {
            // `vm/call.rs: resolve_lazy` names an item in a file.
            let path = word.split(": ").next().unwrap_or(word);
            let Some((first, _)) = path.split_once('/') else {
                continue;
            };
            let is_path = path
                .chars()
                .all(|c| c.is_alphanumeric() || "/._-".contains(c));
            if !is_path || !folders.iter().any(|folder| folder == first) || first == "target" {
                continue;
            }
            checked += 1;
            let beside = document.parent().unwrap().join(path);
            if !root().join(path).exists() && !beside.exists() {
                missing.push(format!("{}: `{path}`", document.display()));
            }
        }
    }
    assert!(checked > 15, "only {checked} paths found");
    assert!(
        missing.is_empty(),
        "named but not there:\n{}",
        missing.join("\n")
    );
}

#[test]
fn named_commands_exist() {
    let help = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(args)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let chores = help(&["--help"]);
    let mut checked = 0;
    for (document, text) in documents() {
        for rest in text.split("cargo xtask ").skip(1) {
            let chore: String = rest
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-')
                .collect();
            if chore.is_empty() || chore.starts_with('-') {
                continue;
            }
            checked += 1;
            let known = chores
                .lines()
                .any(|line| line.trim_start().starts_with(&format!("{chore} ")));
            assert!(known, "{}: `cargo xtask {chore}`", document.display());
        }
    }
    assert!(checked >= 4, "only {checked} commands found");
}
