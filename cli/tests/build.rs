//! `bimetal build`: what becomes of modules as programs, and what is refused.
//!
//! The runtime that programs begin with is another build of the engine, without its compiler: with
//! the workspace's features it would have one. So it is built here.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

fn file(name: &str) -> String {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    tests.join(name).to_str().unwrap().to_owned()
}

/// The runtime without a compiler.
fn runtime() -> &'static [u8] {
    static RUNTIME: OnceLock<Vec<u8>> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let built = Command::new(cargo)
            .args(["build", "--locked", "--package", "bimetal-runtime"])
            .arg("--target-dir")
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .status()
            .unwrap();
        assert!(built.success(), "the runtime is not built: see above");
        fs::read(target.join("debug/bimetal-runtime")).unwrap()
    })
}

/// A folder with the runtime in it.
struct Scratch(TempDir);

impl Scratch {
    fn new() -> Scratch {
        let scratch = Scratch(tempfile::tempdir().unwrap());
        fs::write(scratch.path("runtime"), runtime()).unwrap();
        scratch
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("BIMETAL_CACHE_DIR", "")
            .current_dir(self.0.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs `bimetal build --runtime runtime`.
    fn try_build(&self, args: &[&str]) -> Output {
        self.command(env!("CARGO_BIN_EXE_bimetal"))
            .args(["build", "--runtime", "runtime"])
            .args(args)
            .output()
            .unwrap()
    }

    /// Builds `app`.
    #[track_caller]
    fn build(&self, args: &[&str]) {
        let output = self.try_build(&[&["-o", "app"], args].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {stderr}");
        assert_eq!((&*output.stdout, &*stderr), (&b""[..], ""), "{args:?}");
    }

    /// Standard error, of a build that must fail.
    #[track_caller]
    fn refuses(&self, args: &[&str]) -> String {
        failed(&self.try_build(args), 1)
    }

    /// What `app` says.
    #[track_caller]
    fn says(&self, args: &[&str]) -> String {
        let output = self.command(self.path("app")).args(args).output().unwrap();
        said(&output)
    }

    /// Whether there is anything but what there was before.
    fn is_clean(&self) -> bool {
        fs::read_dir(self.0.path()).unwrap().count() == 1
    }
}

#[track_caller]
fn said(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    assert_eq!(stderr, "");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn failed(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

#[test]
fn a_module_becomes_a_program() {
    let scratch = Scratch::new();
    scratch.build(&[&file("cases/hello.wat")]);
    let hello = scratch.command(env!("CARGO_BIN_EXE_bimetal"));
    let hello = { hello }.arg(file("cases/hello.wat")).output().unwrap();
    assert_eq!(scratch.says(&[]), said(&hello));
    let mode = scratch.path("app").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o700, 0o700);

    // A compiled one; and a program is the same each time.
    let first = fs::read(scratch.path("app")).unwrap();
    let compile = scratch
        .command(env!("CARGO_BIN_EXE_bimetal"))
        .args(["compile", "-o", "hello.bmt", &file("cases/hello.wat")])
        .output()
        .unwrap();
    said(&compile);
    scratch.build(&["hello.bmt", "--argv0", "hello"]);
    assert_eq!(scratch.says(&[]), said(&hello));
    scratch.build(&[&file("cases/hello.wat")]);
    assert!(first == fs::read(scratch.path("app")).unwrap());

    // Without `-o` it is called as the module is.
    let output = scratch.try_build(&["hello.bmt"]);
    said(&output);
    let program = scratch.command(scratch.path("hello")).output().unwrap();
    assert_eq!(said(&program), said(&hello));
}

#[test]
fn no_compiler_is_inside() {
    let has = |word: &[u8]| runtime().windows(word.len()).any(|at| at == word);
    assert!(has(b"bimetal-runtime"));
    assert!(!has(b"cranelift_codegen"), "the compiler's code");
    assert!(!has(b"optimizer/src"), "the optimizer's code");
}

#[test]
fn arguments_and_environment() {
    let scratch = Scratch::new();
    let echo = file("guests/echo.wat");
    scratch.build(&[&echo]);
    let app = scratch.path("app");
    let app = app.to_str().unwrap();
    // All of the command line is the guest's.
    assert_eq!(
        scratch.says(&["--dir", "--help", ""]),
        format!("{app}\0--dir\0--help\0\0")
    );
    scratch.build(&[
        "--argv0",
        "prog",
        "--arg",
        "-x",
        "--arg=y z",
        "--env",
        "A=1=2",
        "--env",
        "HOME",
        "--env",
        "NOT_SET",
        &echo,
    ]);
    let output = scratch.command(app).arg("last").env("HOME", "/h").output();
    assert_eq!(
        said(&output.unwrap()),
        "prog\0-x\0y z\0last\0A=1=2\0HOME=/h\0"
    );
    scratch.build(&["--argv0", "p", "--inherit-env", "--grants", "user", &echo]);
    let mut command = scratch.command(app);
    let command = command.env_clear().env("X", "y");
    assert_eq!(said(&command.output().unwrap()), "p\0X=y\0");
    // What the runtime is told is not the guest's.
    command.env("BIMETAL_GRANTS", "--env 'MORE=a b'");
    assert_eq!(said(&command.output().unwrap()), "p\0X=y\0MORE=a b\0");
}

#[test]
fn directories_are_given_when_it_is_built_or_by_its_user() {
    let scratch = Scratch::new();
    let dir = file("cases/dir.wat");
    fs::create_dir(scratch.path("data")).unwrap();
    fs::write(scratch.path("data/file"), "in data\n").unwrap();
    // Nothing is given: no descriptor 3.
    scratch.build(&[&dir]);
    let run = |cwd: &str, grants: Option<&str>| {
        let mut command = scratch.command(scratch.path("app"));
        if let Some(grants) = grants {
            command.env("BIMETAL_GRANTS", grants);
        }
        command.current_dir(scratch.path(cwd)).output().unwrap()
    };
    failed(&run("data", None), 8);
    failed(&run("data", Some("--dir .")), 8);

    scratch.build(&["--dir", ".:ro", &dir]);
    let output = run("data", None);
    assert_eq!(
        (output.status.code(), &*output.stdout),
        (Some(69), &b"in data\n"[..])
    );
    failed(&run("", None), 44);

    scratch.build(&["--dir", "$ORIGIN/data::/d", &dir]);
    assert_eq!(said(&run("data", None)), "in data\n");
    fs::remove_file(scratch.path("data/new")).unwrap();
    fs::rename(scratch.path("data"), scratch.path("moved")).unwrap();
    let error = failed(&run("", None), 1);
    assert!(
        error.contains("/data` cannot be opened: No such file"),
        "{error}"
    );

    scratch.build(&["--grants", "user", &dir]);
    failed(&run("moved", None), 8);
    assert_eq!(said(&run("moved", Some("--dir=."))), "in data\n");
    for (grants, what) in [
        ("--dir", "BIMETAL_GRANTS: `--dir` needs a value"),
        ("--dir none", "`none` cannot be opened"),
        ("--fuel 3", "BIMETAL_GRANTS: `--fuel` is no option here"),
    ] {
        let error = failed(&run("", Some(grants)), 1);
        assert!(
            error.starts_with("error: ") && error.contains(what),
            "{error}"
        );
    }
}

#[test]
fn programs_end_as_the_guest_does() {
    let scratch = Scratch::new();
    let run = || scratch.command(scratch.path("app")).output().unwrap();
    fs::write(
        scratch.path("exit.wat"),
        r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func (export "_start") (call $exit (i32.const 42))))"#,
    )
    .unwrap();
    scratch.build(&["exit.wat"]);
    assert_eq!(failed(&run(), 42), "");

    fs::write(
        scratch.path("trap.wat"),
        r#"(module (memory 1)
            (func $inner (param i32) (drop (i32.load offset=65536 (local.get 0))))
            (func $outer (call $inner (i32.const 0)))
            (func (export "_start") (call $outer)))"#,
    )
    .unwrap();
    scratch.build(&["trap.wat"]);
    let error = failed(&run(), 134);
    assert!(error.starts_with("error: wasm trap: "), "{error}");
    let place = |name: &str| {
        error
            .find(name)
            .unwrap_or_else(|| panic!("{name}: {error}"))
    };
    assert!(place("inner") < place("outer"), "{error}");

    fs::write(
        scratch.path("loop.wat"),
        r#"(module (func (export "_start") (loop $l (br $l))))"#,
    )
    .unwrap();
    scratch.build(&["--fuel", "10000", "loop.wat"]);
    let error = failed(&run(), 134);
    assert!(error.contains("fuel"), "{error}");
    scratch.build(&["--timeout", "50ms", "loop.wat"]);
    let error = failed(&run(), 134);
    assert!(error.contains("timeout after 50ms"), "{error}");

    fs::write(
        scratch.path("deep.wat"),
        r#"(module (func $f (export "_start") (call $f) (call $f)))"#,
    )
    .unwrap();
    scratch.build(&["--max-stack", "64K", "deep.wat"]);
    let error = failed(&run(), 134);
    assert!(error.contains("stack"), "{error}");
}

#[test]
fn a_program_is_looked_into() {
    let scratch = Scratch::new();
    let options = ["--dir", "a::/b:ro", "--arg", "x", "--fuel", "99"];
    scratch.build(
        &[
            &options[..],
            &["--grants", "user", &file("cases/hello.wat")],
        ]
        .concat(),
    );
    let inspect = |args: &[&str]| {
        let mut command = scratch.command(env!("CARGO_BIN_EXE_bimetal"));
        said(&command.arg("inspect").args(args).output().unwrap())
    };
    let text = inspect(&["app"]);
    for line in [
        "a native program of hello.wat\n",
        "  directory: a as /b, read-only\n",
        "  arguments before the user's: x\n",
        "  its user may give it more, by BIMETAL_GRANTS\n",
        "  limit of fuel: 99\n",
        "WASI preview 1 command\n",
    ] {
        assert!(text.contains(line), "{line:?}: {text}");
    }
    assert!(inspect(&["--json", "app"]).contains("\"user_grants\": true"));
}

/// No code but that of files, and none that can be written.
#[test]
fn no_code_is_made_at_run_time() {
    let scratch = Scratch::new();
    scratch.build(&["--dir", "/proc/self::/p:ro", &file("guests/maps.wat")]);
    let maps = scratch.says(&[]);
    let app = scratch.path("app");
    let mut own = 0;
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace().skip(1);
        let rights = words.next().unwrap();
        let path = words.nth(3).unwrap_or_default();
        if !rights.contains('x') {
            continue;
        }
        assert!(!rights.contains('w'), "{line}");
        let by_the_kernel = ["[vdso]", "[vsyscall]"].contains(&path);
        let of_a_file = path.starts_with('/') && !path.starts_with("/memfd:");
        assert!(by_the_kernel || of_a_file, "{line}");
        own += usize::from(Path::new(path) == app);
    }
    // The runtime's text, the functions of the image, its trampolines.
    assert_eq!(own, 3, "{maps}");
}

#[test]
fn a_damaged_program_says_so() {
    let scratch = Scratch::new();
    scratch.build(&["--verify", &file("guests/echo.wat")]);
    let whole = fs::read(scratch.path("app")).unwrap();
    let run = |bytes: &[u8]| {
        fs::remove_file(scratch.path("app")).unwrap();
        fs::write(scratch.path("app"), bytes).unwrap();
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(scratch.path("app"), mode).unwrap();
        loop {
            match scratch.command(scratch.path("app")).output() {
                // A process that another test starts has the file open until it is one of its own.
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
                output => break output.unwrap(),
            }
        }
    };
    let error = failed(&run(runtime()), 1);
    assert!(error.contains("there is no module in it"), "{error}");

    for missing in [1, 64, 3000] {
        let error = failed(&run(&whole[..whole.len() - missing]), 1);
        assert!(error.contains("the program is not all there"), "{error}");
    }
    let find = |word: &[u8]| whole.windows(word.len()).position(|at| at == word);
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        run(&bytes)
    };
    let settings = find(b"\"user_grants\"").unwrap();
    let error = failed(&flipped(settings), 1);
    assert!(
        error.contains("the program's settings have changed"),
        "{error}"
    );
    let header = find(b"\"cpu_features\"").unwrap();
    let error = failed(&flipped(header), 1);
    assert!(error.contains("in this program cannot be run"), "{error}");
    assert!(error.contains("damaged"), "{error}");
    assert!(said(&run(&whole)).ends_with("app\0"));
}

#[test]
fn what_cannot_be_a_program_is_refused() {
    let scratch = Scratch::new();
    let write = |name: &str, text: &str| fs::write(scratch.path(name), text).unwrap();
    let hello = &*file("cases/hello.wat");
    let has = |error: String, what: &str| assert!(error.contains(what), "{what:?}: {error}");

    let error = scratch.refuses(&["none.wasm"]);
    has(error, "`none.wasm` cannot be read");
    let error = scratch.refuses(&["-o", "no/such/folder/app", hello]);
    has(
        error,
        "`no/such/folder/app` cannot be written: No such file",
    );
    let error = scratch.refuses(&["--target", "z80", hello]);
    has(error, "`z80` is no target");
    let error = scratch.refuses(&["--cpu", "z80", hello]);
    has(error, "z80");
    let error = scratch.refuses(&["--grants", "all", hello]);
    has(error, "invalid value 'all' for '--grants <WHO>'");
    let error = scratch.refuses(&["--env", "=x", hello]);
    has(error, "`--env =x` has no name");
    let error = scratch.refuses(&["--dir", "a::x", "--dir", "b::x", hello]);
    has(error, "given to two directories");
    let error = scratch.refuses(&["--timeout", "1s", "--deterministic", hello]);
    has(error, "cannot be used with");
    let error = scratch.refuses(&["-"]);
    has(error, "there is no name for the program");
    assert!(scratch.is_clean());

    write(
        "wants.wat",
        r#"(module (import "env" "f" (func)) (func (export "_start")))"#,
    );
    let error = scratch.refuses(&["wants.wat"]);
    has(
        error,
        "`env` `f`: func () -> ()\n  a program consists of one module",
    );
    write("library.wat", r#"(module (func (export "f")))"#);
    let error = scratch.refuses(&["library.wat"]);
    has(error, "it does nothing when it is started");
    write("broken.wat", "(module (func (result i32)))");
    let error = scratch.refuses(&["broken.wat"]);
    has(error, "type mismatch");
    assert!(!scratch.path("app").exists());
}

#[test]
fn the_runtime_has_to_fit() {
    let scratch = Scratch::new();
    let hello = &*file("cases/hello.wat");
    let build = |args: &[&str]| {
        let mut command = scratch.command(env!("CARGO_BIN_EXE_bimetal"));
        let output = command.arg("build").args(args).arg(hello).output();
        failed(&output.unwrap(), 1)
    };
    let error = build(&["--target", "riscv64"]);
    assert!(error.contains("no runtime for riscv64"), "{error}");
    assert!(
        error.contains("cargo xtask runtime --target riscv64"),
        "{error}"
    );
    let error = build(&["--runtime", "none"]);
    assert!(
        error.contains("the runtime `none` cannot be read"),
        "{error}"
    );
    let error = build(&["--runtime", hello]);
    assert!(
        error.contains("cannot be used: it is no ELF program"),
        "{error}"
    );
    let error = build(&["--runtime", env!("CARGO_BIN_EXE_bimetal")]);
    assert!(
        error.contains("cannot be used: it is another program"),
        "{error}"
    );
    let error = build(&["--runtime", "runtime", "--target", "s390x"]);
    assert!(error.contains("the compiled module for s390x"), "{error}");

    let mut old = runtime().to_vec();
    let mark = b"bimetal-runtime\0";
    let places: Vec<_> = (0..old.len() - mark.len())
        .filter(|&at| old[at..].starts_with(mark))
        .collect();
    for at in places {
        old[at + 48] ^= 1;
    }
    fs::write(scratch.path("old"), old).unwrap();
    let error = build(&["--runtime", "old"]);
    assert!(
        error.contains("it is of another build than this"),
        "{error}"
    );

    scratch.build(&[hello]);
    let error = build(&["--runtime", "app"]);
    assert!(
        error.contains("a program that has a module already"),
        "{error}"
    );
}

#[test]
fn what_was_compiled_stays_as_it_is() {
    let scratch = Scratch::new();
    let compile = |args: &[&str]| {
        let mut command = scratch.command(env!("CARGO_BIN_EXE_bimetal"));
        let command = command.args(["compile", "-o", "m.bmt"]).args(args);
        said(&command.arg(file("cases/hello.wat")).output().unwrap());
    };
    compile(&["--with-fuel"]);
    let error = scratch.refuses(&["m.bmt"]);
    assert!(error.contains("made for something else"), "{error}");
    scratch.build(&["--fuel", "1000000", "m.bmt"]);
    assert!(!scratch.says(&[]).is_empty());
    let error = scratch.refuses(&["--cpu", "native", "--fuel", "1", "m.bmt"]);
    assert!(
        error.contains("`--target` and `--cpu` come too late"),
        "{error}"
    );
    compile(&["--target", "aarch64"]);
    if !cfg!(target_arch = "aarch64") {
        let error = scratch.refuses(&["m.bmt"]);
        assert!(error.contains("the compiled module for aarch64"), "{error}");
    }
}
