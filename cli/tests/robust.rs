//! What may go wrong, and how the program answers: with a message and an exit code, and never
//! with a panic or a signal.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

const BIMETAL: &str = env!("CARGO_BIN_EXE_bimetal");

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cases")
        .join(name)
}

fn bimetal(args: &[&str]) -> Output {
    Command::new(BIMETAL)
        .env("BIMETAL_CACHE_DIR", "")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The binary of one of the cases.
fn binary(name: &str) -> Vec<u8> {
    let output = bimetal(&["wat", case(name).to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// Runs these bytes; a guest may do anything but take the host with it.
fn run_bytes(bytes: &[u8], args: &[&str]) -> Output {
    let mut child = Command::new(BIMETAL)
        .env("BIMETAL_CACHE_DIR", "")
        .args(args)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    child.wait_with_output().unwrap()
}

#[track_caller]
fn assert_refused(what: &str, output: &Output) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{what}: {stderr}");
    assert!(stderr.starts_with("error: "), "{what}: {stderr}");
    assert!(!stderr.contains("panicked"), "{what}: {stderr}");
}

/// A small generator of numbers (xorshift), so that each run tries the same.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn truncated_modules_are_refused() {
    let bytes = binary("strings.wat");
    // Past its code section a truncated module may be a whole one without its names.
    for length in (0..bytes.len() * 2 / 3).step_by(7) {
        let output = run_bytes(&bytes[..length], &["run"]);
        // The header alone is an empty module, which is valid and has nothing to run.
        assert_refused(&format!("{length} bytes"), &output);
    }
}

#[test]
fn flipped_bits_are_survived() {
    let bytes = binary("hello.wat");
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for round in 0..150 {
        let mut bytes = bytes.clone();
        let at = numbers.next() as usize % bytes.len();
        bytes[at] ^= 1 << (numbers.next() % 8);
        let args: &[&str] = match round % 3 {
            0 => &["run"],
            1 => &["run", "--eager", "-O0"],
            _ => &["validate"],
        };
        let output = run_bytes(&bytes, args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        // The guest may even still work.
        assert!(
            matches!(output.status.code(), Some(0 | 1 | 134)) && !stderr.contains("panicked"),
            "bit at {at}: {} {stderr}",
            output.status
        );
    }
}

#[test]
fn random_bytes_are_refused() {
    let mut numbers = Numbers(42);
    for round in 0..30 {
        let mut bytes: Vec<u8> = (0..200).map(|_| numbers.next() as u8).collect();
        if round % 2 == 0 {
            bytes.splice(0..0, *b"\0asm\x01\0\0\0");
        }
        for command in ["run", "validate", "inspect"] {
            assert_refused(command, &run_bytes(&bytes, &[command]));
        }
    }
}

#[test]
fn a_guest_sees_that_its_reader_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("yes.wat");
    // Writes until it cannot, and ends with the errno; 64 is `pipe`.
    let guest = r#"(module
        (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\08\00\00\00\02\00\00\00y\0a")
        (func (export "_start") (local $errno i32)
            (loop $again
                (local.set $errno (call $write (i32.const 1) (i32.const 0) (i32.const 1)
                    (i32.const 64)))
                (br_if $again (i32.eqz (local.get $errno))))
            (call $exit (local.get $errno))))"#;
    std::fs::write(&path, guest).unwrap();
    let (status, stderr) = read_a_little(&["run", path.to_str().unwrap()]);
    assert_eq!((status.code(), stderr.as_str()), (Some(64), ""));
}

#[test]
fn our_own_output_may_lose_its_reader() {
    let path = case("recursion.wat");
    let path = path.to_str().unwrap();
    for args in [
        &["--help"][..],
        &["completions", "bash"],
        &["compile", "--dump=graph,clif,asm", path],
        &["inspect", path],
        &["inspect", "--json", path],
        &["validate", path],
        &["wat", path],
    ] {
        let (status, stderr) = read_a_little(args);
        assert_eq!((status.code(), stderr.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn nobody_needs_to_read_standard_error() {
    for (args, code) in [
        (vec!["run", "no-such-file.wasm"], 1),
        (vec!["--no-such-flag"], 1),
        (vec!["run", "-v", case("trap.wat").to_str().unwrap()], 134),
    ] {
        let mut child = Command::new(BIMETAL)
            .env("BIMETAL_CACHE_DIR", "")
            .args(&args)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stderr.take());
        assert_eq!(child.wait().unwrap().code(), Some(code), "{args:?}");
    }
}

/// As `bimetal … | head -c 1` does.
fn read_a_little(args: &[&str]) -> (ExitStatus, String) {
    let mut child = Command::new(BIMETAL)
        .env("BIMETAL_CACHE_DIR", "")
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut byte = [0];
    stdout.read_exact(&mut byte).unwrap();
    drop(stdout);
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    (child.wait().unwrap(), stderr)
}

#[test]
fn text_and_binary_are_the_same_module() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["hello.wat", "strings.wat", "trap.wat", "recursion.wat"] {
        let first = binary(name);
        let wasm = folder.path().join("a.wasm");
        let wat = folder.path().join("a.wat");
        std::fs::write(&wasm, &first).unwrap();
        let text = bimetal(&["wat", wasm.to_str().unwrap(), "-o", wat.to_str().unwrap()]);
        assert!(text.status.success(), "{text:?}");
        let again = bimetal(&["wat", wat.to_str().unwrap()]);
        assert_eq!(first, again.stdout, "{name}");
    }
}

#[test]
fn inspect_writes_json() {
    let path = case("dir.wat");
    let output = bimetal(&["inspect", "--json", path.to_str().unwrap()]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["imports"].as_array().unwrap().len(), 4);
    assert_eq!(json["imports"][0]["module"], "wasi_snapshot_preview1");
    assert_eq!(json["imports"][0]["name"], "path_open");
    assert_eq!(json["exports"][1]["name"], "_start");
    assert_eq!(json["exports"][1]["type"], "(func)");
    let sections = json["sections"].as_array().unwrap();
    assert!(sections.iter().any(|section| section["name"] == "code"));
    let total: u64 = sections.iter().map(|s| s["size"].as_u64().unwrap()).sum();
    assert!(total < json["size"].as_u64().unwrap());
}

#[test]
fn a_directory_of_the_host_has_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(OsStr::from_bytes(b"\xff\xfe"));
    std::fs::create_dir(&path).unwrap();
    let run = |suffix: &str| {
        let mut dir: OsString = path.clone().into();
        dir.push(suffix);
        assert!(String::from_utf8(dir.clone().into_vec()).is_err());
        Command::new(BIMETAL)
            .env("BIMETAL_CACHE_DIR", "")
            .args([OsStr::new("--dir"), &dir, case("preopens.wat").as_os_str()])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let named = run("::data:ro");
    assert_eq!(named.stdout, b"data\n", "{named:?}");
    let unnamed = run("");
    assert_refused("a guest's name that is not UTF-8", &unnamed);
    let stderr = String::from_utf8_lossy(&unnamed.stderr);
    assert!(stderr.contains("must be UTF-8"), "{stderr}");
}
