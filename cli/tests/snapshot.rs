//! `bimetal snapshot`: what is written runs as if the initialisation had just been run.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A folder to run in.
struct Scratch(TempDir);

impl Scratch {
    fn new() -> Scratch {
        Scratch(tempfile::tempdir().unwrap())
    }

    fn with(wat: &str) -> Scratch {
        let scratch = Scratch::new();
        std::fs::write(scratch.path("app.wat"), wat).unwrap();
        scratch
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn bimetal(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_bimetal"))
            .args(args)
            .env("BIMETAL_CACHE_DIR", "")
            .env("PRESENT", "here")
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Standard output, of a run that must succeed and say nothing.
    #[track_caller]
    fn stdout(&self, args: &[&str]) -> String {
        let output = self.bimetal(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {stderr}");
        assert_eq!(stderr, "", "{args:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Standard error of a snapshot that must fail with this code, and must leave nothing behind.
    #[track_caller]
    fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.bimetal(&[&["snapshot", "-o", "out.wasm"], args].concat());
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
        let left: Vec<_> = self.0.path().read_dir().unwrap().flatten().collect();
        assert!(
            left.iter()
                .all(|entry| !entry.file_name().to_string_lossy().starts_with("out")),
            "{left:?}"
        );
        stderr
    }

    fn exports(&self, file: &str) -> Vec<String> {
        let module = std::fs::read(self.path(file)).unwrap();
        let module = bimetal_wasm::Module::new(module, &Default::default()).unwrap();
        module
            .exports
            .iter()
            .map(|export| export.name.to_string())
            .collect()
    }
}

/// A reactor that says hello when its export is called, with what it found out at its start.
const REACTOR: &str = r#"(module
    (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (import "env" "later" (func $later (result i32)))
    (memory (export "memory") 1)
    (global $order (mut i32) (i32.const 0))
    (func (export "_initialize") (global.set $order (i32.add (global.get $order) (i32.const 1))))
    (func $init (export "wizer.initialize") (export "init")
        (global.set $order (i32.mul (global.get $order) (i32.const 10)))
        (drop (call $args (i32.const 100) (i32.const 200)))
        (drop (call $environ_get (i32.const 400) (i32.const 500)))
        (drop (call $random (i32.const 600) (i32.const 8))))
    (func (export "order") (result i32) (global.get $order))
    (func (export "args") (result i32) (i32.load (i32.const 100)))
    (func (export "variable") (result i32) (i32.load8_u (i32.const 500)))
    (func (export "random") (result i64) (i64.load (i32.const 600)))
    (func (export "later") (result i32) (call $later)))"#;

const LATER: &str = r#"(module (func (export "later") (result i32) (i32.const 55)))"#;

#[test]
fn a_reactor_is_initialised_once() {
    let scratch = Scratch::with(REACTOR);
    std::fs::write(scratch.path("later.wat"), LATER).unwrap();
    let args = ["--env", "X=1", "-o", "out.wasm", "--", "one", "two"];
    let output = scratch.stdout(&[&["snapshot", "app.wat"], &args[..]].concat());
    assert_eq!(output, "");
    let left = [
        "memory", "init", "order", "args", "variable", "random", "later",
    ];
    assert_eq!(scratch.exports("out.wasm"), left);
    // Nothing is run again, and what was not there then may be there now.
    for (name, expected) in [
        ("order", "10"),
        ("args", "3"),
        ("variable", "88"),
        ("later", "55"),
    ] {
        let args = ["--preload", "env=later.wat", "--invoke", name, "out.wasm"];
        assert_eq!(scratch.stdout(&args).trim(), expected, "{name}");
    }
    for name in ["out.wasm", "same.wasm"] {
        scratch.stdout(&["snapshot", "--deterministic", "app.wat", "-o", name]);
    }
    let read = |name| std::fs::read(scratch.path(name)).unwrap();
    assert!(read("out.wasm") == read("same.wasm"));
}

#[test]
fn the_initialisation_is_chosen_kept_and_renamed() {
    let scratch = Scratch::with(
        r#"(module (global $g (mut i32) (i32.const 1))
            (func (export "a") (global.set $g (i32.const 2)))
            (func (export "_initialize") (global.set $g (i32.mul (global.get $g) (i32.const 10))))
            (func (export "b") (global.set $g (i32.add (global.get $g) (i32.const 3))))
            (func (export "old") (result i32) (i32.const 0))
            (func (export "g") (result i32) (global.get $g)))"#,
    );
    let snapshot = |args: &[&str]| {
        scratch.stdout(&[&["snapshot", "app.wat", "-o", "out.wasm"], args].concat());
        let g = scratch.stdout(&["--invoke", "g", "out.wasm"]);
        (g.trim().to_owned(), scratch.exports("out.wasm").join(" "))
    };
    let left = |g: &str, exports: &str| (g.to_owned(), exports.to_owned());
    assert_eq!(snapshot(&["--init", "b"]), left("13", "a old g"));
    assert_eq!(
        snapshot(&["--init=b", "--keep-init"]),
        left("13", "a b old g")
    );
    // Only once, if that is what is asked for.
    assert_eq!(
        snapshot(&["--init", "_initialize"]),
        left("10", "a b old g")
    );
    let kept = snapshot(&["--init", "_initialize", "--keep-init"]);
    assert_eq!(kept.1, "a _initialize b old g");
    let renamed = snapshot(&["--init", "b", "--rename", "old=a", "--rename", "a=old"]);
    assert_eq!(renamed, left("13", "old a g"));
    assert_eq!(
        snapshot(&["--init", "b", "--rename", "old=a"]),
        left("13", "old g")
    );

    let error = scratch.bimetal(&["snapshot", "app.wat", "-o", "x", "--init=b", "--rename=x=b"]);
    let error = String::from_utf8_lossy(&error.stderr).into_owned();
    assert!(
        error.contains("`b` has run and is left out, so it cannot be renamed"),
        "{error}"
    );
    let error = scratch.bimetal(&["snapshot", "app.wat", "-o", "x", "--init=b", "--rename=x=y"]);
    let error = String::from_utf8_lossy(&error.stderr).into_owned();
    assert!(error.contains("there is no export `y`"), "{error}");
}

#[test]
fn a_command_goes_on_at_its_start() {
    let scratch = Scratch::with(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 100) "cold\n")
            (func $print (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
            (func (export "wizer-initialize")
                (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 5))
                (call $print) (i32.store (i32.const 100) (i32.const 0x6d726177)))
            (func (export "_start") (unreachable))
            (func (export "resume") (call $print)))"#,
    );
    let rename = ["--rename", "_start=resume"];
    let args = [&["snapshot", "app.wat", "-o", "out.wasm"], &rename[..]].concat();
    assert_eq!(scratch.stdout(&args), "cold\n");
    assert_eq!(scratch.stdout(&["out.wasm"]), "warm\n");
    assert_eq!(scratch.exports("out.wasm"), ["memory", "_start"]);

    // With the module on standard output, the guest's words are elsewhere.
    let output = scratch.bimetal(&["snapshot", "app.wat", "-o", "-"]);
    assert!(output.stdout.starts_with(b"\0asm"), "{output:?}");
    assert_eq!(output.stderr, b"cold\n");
}

#[test]
fn what_goes_wrong_is_said_and_nothing_is_written() {
    let wat = |body: &str| {
        format!(
            r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (import "game" "draw" (func $draw (param i32)))
            (memory (export "memory") 1)
            (func $f (export "wizer-initialize") {body})
            (func (export "wrong") (param i32)))"#
        )
    };
    let scratch = Scratch::with(&wat("(call $draw (i32.const 1))"));
    let error = scratch.fails(1, &["app.wat"]);
    assert!(
        error.contains(
            "it called an import that is not there while a snapshot is made: `game` `draw`"
        ),
        "{error}"
    );
    let error = scratch.fails(1, &["app.wat", "--init", "none"]);
    assert!(
        error.contains("the module exports no function `none`"),
        "{error}"
    );
    assert!(error.contains("wizer-initialize: () -> ()"), "{error}");
    let error = scratch.fails(1, &["app.wat", "--init", "wrong"]);
    assert!(
        error.contains("`wrong` is no function without parameters, but"),
        "{error}"
    );
    let error = scratch.fails(1, &["app.wat", "--init", "memory"]);
    assert!(
        error.contains("`memory` is no function without parameters, but"),
        "{error}"
    );
    let error = scratch.fails(1, &["app.wat", "--dir", "nowhere"]);
    assert!(
        error.contains("the directory `nowhere` cannot be opened"),
        "{error}"
    );
    scratch.fails(1, &["nowhere.wat"]);
    scratch.fails(1, &["app.wat", "--rename", "x"]);

    for status in [0, 3] {
        let scratch = Scratch::with(&wat(&format!("(call $exit (i32.const {status}))")));
        let error = scratch.fails(1, &["app.wat"]);
        let expected = format!("it ended the program, with the exit code {status}");
        assert!(error.contains(&expected), "{error}");
    }

    let scratch = Scratch::with(&wat("(drop (i32.load (i32.const -1)))"));
    let error = scratch.fails(134, &["app.wat"]);
    assert!(
        error.contains("error: wasm trap: `app.wat` cannot be initialised"),
        "{error}"
    );
    assert!(error.contains("out of bounds memory access"), "{error}");
    let scratch = Scratch::with(&wat("(loop (br 0))"));
    let error = scratch.fails(134, &["app.wat", "--timeout", "50ms"]);
    assert!(error.contains("timeout after 50ms"), "{error}");
    let error = scratch.fails(134, &["app.wat", "--fuel", "1000"]);
    assert!(error.contains("fuel"), "{error}");
    let grow = "(if (i32.eq (memory.grow (i32.const 9)) (i32.const -1)) (then unreachable))";
    let scratch = Scratch::with(&wat(grow));
    scratch.fails(134, &["app.wat", "--max-memory", "100K"]);

    let scratch =
        Scratch::with(r#"(module (import "env" "memory" (memory 1)) (func (export "init")))"#);
    let error = scratch.fails(1, &["app.wat", "--init", "init"]);
    let expected = "no snapshot can be taken of a module that imports a memory: `env` `memory`";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn open_files_are_warned_of() {
    let scratch = Scratch::with(
        r#"(module
            (import "wasi_snapshot_preview1" "path_open"
                (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (memory (export "memory") 1) (data (i32.const 0) "app.wat")
            (func (export "wizer-initialize")
                (if (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 7) (i32.const 0)
                        (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 100))
                    (then unreachable))))"#,
    );
    let output = scratch.bimetal(&["snapshot", "app.wat", "-o", "out.wasm", "--dir", "."]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let expected =
        "warning: the initialisation leaves descriptors open, which will not be there: 4\n";
    assert_eq!(stderr, expected);
}
