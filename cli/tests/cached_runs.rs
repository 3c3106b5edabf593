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

/// A shell script with a file system of its own, `$DISK`, of so many bytes, where the cache is.
/// `None` where the system does not let its users mount anything.
fn with_disk(user: &User, options: &str, script: &str) -> Option<Output> {
    let disk = user.path("disk");
    fs::create_dir_all(&disk).unwrap();
    let mount = format!("mount -t tmpfs -o mode=700,{options} none \"$DISK\"");
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command
            .args(["--user", "--map-root-user", "--mount", "sh", "-exc", script])
            .env("DISK", &disk)
            .env("BIMETAL", env!("CARGO_BIN_EXE_bimetal"))
            .env("BIMETAL_CACHE_DIR", &disk)
            .current_dir(user.home.path())
            .stdin(Stdio::null());
        command.output()
    };
    let possible = unshare(&mount).is_ok_and(|output| output.status.success());
    if !possible {
        eprintln!("NOT TESTED: nothing can be mounted here");
        return None;
    }
    let run = r#"run() { "$BIMETAL" run -v hello.wat >out 2>err || { cat err; exit 9; }
        cmp out expected; grep -q "$1" err || { echo "no '$1':"; cat err; exit 8; }; }"#;
    fs::write(user.path("expected"), &user.expected).unwrap();
    Some(unshare(&format!("{mount}\n{run}\n{script}")).unwrap())
}

#[track_caller]
fn went_well(output: Option<Output>) {
    if let Some(output) = output {
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn a_full_disk_is_no_trouble() {
    let script = r#"
        fill() { dd if=/dev/zero of="$DISK/fill" bs=4k 2>/dev/null || true; }
        # There is no room for the key.
        fill
        run 'no cache: '
        test ! -s "$DISK/key"
        # There is room for the key, and for nothing else.
        rm -f "$DISK"/*
        fill
        truncate -s -4096 "$DISK/fill"
        run 'read, decoded'
        run 'read, decoded'
        test -s "$DISK/key"
        test "$(ls "$DISK")" = "$(printf 'fill\nkey')"
        # An entry in a disk that is full again.
        rm "$DISK/fill"
        run 'read, decoded'
        run 'compiled code mapped'
        fill
        run 'compiled code mapped'
        # What is written on purpose says that it cannot be, and leaves nothing.
        ! "$BIMETAL" compile hello.wat -o "$DISK/out.bmt" 2>err
        grep -q 'No space left' err
        ! "$BIMETAL" snapshot init.wat -o "$DISK/out.wasm" 2>err
        grep -q 'No space left' err
        test -z "$(ls "$DISK" | grep '^out')"
        # Afterwards all is well.
        rm "$DISK/fill"
        "$BIMETAL" cache clean >/dev/null
        run 'read, decoded'
        run 'compiled code mapped'"#;
    let user = User::new();
    let init = r#"(module (memory 1) (func (export "wizer-initialize")))"#;
    fs::write(user.path("init.wat"), init).unwrap();
    went_well(with_disk(&user, "size=256k", script));
    // No more files, whatever room there is.
    let script = r#"
        run 'no cache: '
        rm -f "$DISK"/*
        touch "$DISK/one"
        run 'no cache: '"#;
    went_well(with_disk(&user, "size=1m,nr_inodes=2", script));
}

#[test]
fn a_disk_that_is_read_only_is_no_trouble() {
    let script = r#"
        mount -o remount,ro "$DISK"
        run 'no cache: '
        mount -o remount,rw "$DISK"
        run 'read, decoded'
        mount -o remount,ro "$DISK"
        run 'compiled code mapped'
        run 'compiled code mapped'"#;
    went_well(with_disk(&User::new(), "size=1m", script));
}

#[test]
fn a_killed_compile_leaves_a_whole_image_or_none() {
    let user = User::new();
    let (mut whole, mut none) = (0, 0);
    for delay in 0..40 {
        let args = ["compile", "hello.wat", "-o", "out.bmt"];
        let mut child = user.command(&args).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(delay * 400));
        child.kill().unwrap();
        child.wait().unwrap();
        match user.path("out.bmt").exists() {
            true => {
                user.ran(user.bimetal(&["out.bmt"]));
                fs::remove_file(user.path("out.bmt")).unwrap();
                whole += 1;
            }
            false => none += 1,
        }
    }
    assert_eq!(whole + none, 40);
}

#[test]
fn cleaning_while_others_run_is_no_trouble() {
    let user = User::new();
    let start = |i| match i % 4 {
        0 => (false, user.command(&["cache", "clean"]).spawn().unwrap()),
        _ => (true, user.command(&["run", "hello.wat"]).spawn().unwrap()),
    };
    let children: Vec<(bool, Child)> = (0..80).map(start).collect();
    for (runs, child) in children {
        let output = child.wait_with_output().unwrap();
        match runs {
            true => _ = user.ran(output),
            false => assert!(output.status.success(), "{output:?}"),
        }
    }
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
