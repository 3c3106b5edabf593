//! `bimetal compile -o`, and what the other commands make of compiled modules.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cases")
        .join(name)
}

/// A folder to run in.
struct Scratch(TempDir);

impl Scratch {
    fn new() -> Scratch {
        Scratch(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn bimetal(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_bimetal"))
            .args(args)
            .env("BIMETAL_CACHE_DIR", "")
            .current_dir(self.0.path())
            .output()
            .unwrap()
    }

    /// Standard output, of a run that must succeed.
    #[track_caller]
    fn stdout(&self, args: &[&str]) -> String {
        let output = self.bimetal(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Standard error, of a run that must end with this code.
    #[track_caller]
    fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.bimetal(args);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
        stderr
    }

    #[track_caller]
    fn compile(&self, name: &str, options: &[&str]) {
        let source = case(name);
        let mut args = vec!["compile", "-o", "out.bmt"];
        args.extend_from_slice(options);
        args.push(source.to_str().unwrap());
        assert_eq!(self.stdout(&args), "");
    }
}

#[test]
fn a_compiled_program_runs_as_the_program() {
    let scratch = Scratch::new();
    scratch.compile("hello.wat", &[]);
    let hello = case("hello.wat");
    let expected = scratch.stdout(&[hello.to_str().unwrap()]);
    assert!(!expected.is_empty());
    assert_eq!(scratch.stdout(&["out.bmt"]), expected);
    assert_eq!(scratch.stdout(&["run", "out.bmt", "argument"]), expected);
    let verbose = scratch.bimetal(&["run", "-v", "out.bmt"]);
    let verbose = String::from_utf8_lossy(&verbose.stderr);
    assert!(verbose.contains("compiled code mapped in"), "{verbose}");
    assert!(verbose.contains("WASI preview 1 command"), "{verbose}");
}

#[test]
fn traps_are_told_as_ever() {
    let scratch = Scratch::new();
    scratch.compile("trap.wat", &[]);
    let stderr = scratch.fails(134, &["out.bmt"]);
    for part in [
        "wasm trap: unreachable",
        "demo!inner",
        "demo!std::process::abort",
        "demo!_start",
    ] {
        assert!(stderr.contains(part), "{stderr}");
    }
    assert_eq!(
        scratch.stdout(&["run", "--invoke", "indirect", "out.bmt", "0"]),
        "5\n"
    );
}

#[test]
fn limits_need_code_that_knows_them() {
    let scratch = Scratch::new();
    let recursion = ["run", "--fuel", "100000", "out.bmt"];
    scratch.compile("hello.wat", &[]);
    let stderr = scratch.fails(1, &recursion);
    assert!(stderr.contains("fuel is 0, here it is 1"), "{stderr}");
    let stderr = scratch.fails(1, &["run", "--timeout", "5s", "out.bmt"]);
    assert!(stderr.contains("interrupts is 0, here it is 1"), "{stderr}");
    scratch.compile("hello.wat", &["--with-fuel", "--with-timeout"]);
    let both = ["run", "--fuel", "100000", "--timeout", "5s", "out.bmt"];
    assert!(!scratch.stdout(&both).is_empty());
    let stderr = scratch.fails(1, &["run", "out.bmt"]);
    assert!(stderr.contains("here it is 0"), "{stderr}");
}

#[test]
fn compiling_twice_gives_the_same_file() {
    let scratch = Scratch::new();
    scratch.compile("strings.wat", &[]);
    let first = std::fs::read(scratch.path("out.bmt")).unwrap();
    scratch.compile("strings.wat", &[]);
    assert!(std::fs::read(scratch.path("out.bmt")).unwrap() == first);
    let source = case("strings.wat");
    let output = scratch.bimetal(&["compile", "-o", "-", source.to_str().unwrap()]);
    assert!(output.stdout == first);
    // Nothing is left beside it.
    let names: Vec<_> = std::fs::read_dir(scratch.0.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["out.bmt"]);
}

#[test]
fn inspect_shows_for_whom_it_is() {
    let scratch = Scratch::new();
    scratch.compile("hello.wat", &["--target", "aarch64"]);
    let text = scratch.stdout(&["inspect", "out.bmt"]);
    assert!(text.contains("for aarch64 Linux"), "{text}");
    assert!(
        text.contains("runs on every processor of that kind"),
        "{text}"
    );
    let json = scratch.stdout(&["inspect", "--json", "out.bmt"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["image"]["arch"], "aarch64");
    assert_eq!(json["image"]["cpu_features"], serde_json::json!([]));
    if cfg!(not(target_arch = "aarch64")) {
        let stderr = scratch.fails(1, &["out.bmt"]);
        assert!(stderr.contains("machine code for aarch64"), "{stderr}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let scratch = Scratch::new();
    let hello = case("hello.wat");
    let hello = hello.to_str().unwrap();
    let stderr = scratch.fails(1, &["compile", "-o", "no/such/folder.bmt", hello]);
    assert!(
        stderr.contains("`no/such/folder.bmt` cannot be written"),
        "{stderr}"
    );
    let stderr = scratch.fails(1, &["compile", "-o", "x", "--target", "pdp11", hello]);
    assert!(stderr.contains("`pdp11` is no target"), "{stderr}");
    let stderr = scratch.fails(1, &["compile", "-o", "x", "--cpu", "pentium", hello]);
    assert!(stderr.contains("`pentium` is no processor"), "{stderr}");
    let broken = case("text-error.wat");
    let stderr = scratch.fails(1, &["compile", "-o", "x", broken.to_str().unwrap()]);
    assert!(stderr.contains("text-error.wat"), "{stderr}");

    let own = std::env::current_exe().unwrap();
    let stderr = scratch.fails(1, &["run", own.to_str().unwrap()]);
    assert!(stderr.contains("a native program or library"), "{stderr}");

    scratch.compile("hello.wat", &[]);
    let whole = std::fs::read(scratch.path("out.bmt")).unwrap();
    for len in [5, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(scratch.path("short.bmt"), &whole[..len]).unwrap();
        let stderr = scratch.fails(1, &["short.bmt"]);
        assert!(stderr.contains("damaged"), "{len}: {stderr}");
    }
}
