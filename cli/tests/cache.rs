//! The user's cache: `bimetal run` fills and uses it, `bimetal cache` shows and empties it, and
//! nothing that happens to it keeps a program from running.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

/// A user with a program and a cache.
struct User {
    home: TempDir,
    expected: String,
}

impl User {
    fn new() -> User {
        let mut user = User {
            home: tempfile::tempdir().unwrap(),
            expected: String::new(),
        };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/hello.wat");
        fs::copy(source, user.path("hello.wat")).unwrap();
        // As if it had been there for a while.
        let file = fs::File::options()
            .append(true)
            .open(user.path("hello.wat"))
            .unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(60))
            .unwrap();
        std::thread::sleep(Duration::from_millis(150));
        let output = user.bimetal(&["run", "--no-cache", "hello.wat"]);
        user.expected = String::from_utf8(output.stdout).unwrap();
        assert!(!user.expected.is_empty() && !user.path(".cache").exists());
        user
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bimetal"));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.home.path())
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn bimetal(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What the program says of itself, when it runs as it must.
    #[track_caller]
    fn runs(&self) -> String {
        self.ran(self.bimetal(&["run", "-v", "hello.wat"]))
    }

    #[track_caller]
    fn ran(&self, output: Output) -> String {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            self.expected,
            "{stderr}"
        );
        assert!(!stderr.contains("panicked"), "{stderr}");
        stderr
    }

    #[track_caller]
    fn stdout(&self, args: &[&str]) -> String {
        let output = self.bimetal(args);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn the_second_run_finds_what_the_first_has_compiled() {
    let user = User::new();
    let first = user.runs();
    assert!(first.contains("read, decoded and validated"), "{first}");
    for _ in 0..2 {
        let later = user.runs();
        assert!(later.contains("compiled code mapped"), "{later}");
        assert!(later.contains("compiled 0 more of"), "{later}");
    }
    let dir = user.stdout(&["cache", "dir"]);
    assert_eq!(Path::new(dir.trim()), user.path(".cache/bimetal"));
    let stats = user.stdout(&["cache", "stats"]);
    assert!(stats.contains(": 1 module, "), "{stats}");
    let clean = user.stdout(&["cache", "clean"]);
    assert!(clean.contains(" deleted"), "{clean}");
    let stats = user.stdout(&["cache", "stats"]);
    assert!(stats.contains(": 0 modules, 0 B"), "{stats}");
    assert!(user.runs().contains("read, decoded"));
}

#[test]
fn where_the_cache_is_can_be_said() {
    let user = User::new();
    let with = |name: &str, value: &str| {
        let mut command = user.command(&["cache", "dir"]);
        command.env(name, value).output().unwrap()
    };
    let line = |output: Output| String::from_utf8(output.stdout).unwrap();
    assert_eq!(line(with("BIMETAL_CACHE_DIR", "/c")), "/c\n");
    assert_eq!(line(with("XDG_CACHE_HOME", "/x")), "/x/bimetal\n");
    let none = with("BIMETAL_CACHE_DIR", "");
    assert_eq!(none.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&none.stderr).contains("there is no cache"));
}

#[test]
fn two_hundred_processes_at_once() {
    let user = User::new();
    let start = |_| user.command(&["run", "hello.wat"]).spawn().unwrap();
    let children: Vec<Child> = (0..200).map(start).collect();
    for child in children {
        user.ran(child.wait_with_output().unwrap());
    }
    assert!(user.runs().contains("compiled 0 more of"));
}

#[test]
fn killed_processes_leave_nothing_that_harms() {
    let user = User::new();
    for delay in 0..40 {
        let mut child = user.command(&["run", "hello.wat"]).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(delay * 500));
        child.kill().unwrap();
        child.wait().unwrap();
        if delay % 8 == 0 {
            user.runs();
            user.bimetal(&["cache", "clean"]);
        }
    }
    user.runs();
}

#[test]
fn a_cache_that_cannot_be_used_is_not_used() {
    let user = User::new();
    // A file where the folder should be: as on a read-only disk, nothing can be created.
    fs::write(user.path(".cache"), "").unwrap();
    let said = user.runs();
    assert!(said.contains("no cache: "), "{said}");
    // And without a word to those who do not ask.
    let output = user.bimetal(&["hello.wat"]);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    let stats = user.bimetal(&["cache", "stats"]);
    assert_eq!(stats.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&stats.stderr).contains("cannot be used as a cache"));
}

#[test]
fn changed_programs_are_noticed() {
    let user = User::new();
    user.runs();
    user.runs();
    let source = fs::read_to_string(user.path("hello.wat")).unwrap();
    let changed = source.replace("ello", "ULLO");
    assert_ne!(source, changed);
    fs::write(user.path("hello.wat"), changed).unwrap();
    let output = user.bimetal(&["hello.wat"]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(stdout, user.expected.replace("ello", "ULLO"));
}
