//! Runs the guest programs of `tests/guests` through the Rust API, as their headers say
//! (`tests/guests/README.md` is the definition). Each `RUN` is a test.

use bimetal::{Engine, Linker, Module, Store};
use bimetal_wasi::{
    DirPerms, FilePerms, MemoryInputPipe, MemoryOutputPipe, ProcExit, WasiCtx, WasiCtxBuilder,
};
use libtest_mimic::{Arguments, Failed, Trial};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// More than any guest writes; `big_output` writes 100 MB.
const OUTPUT_LIMIT: usize = 256 << 20;
/// What the program's command line exits with after a trap.
const TRAPPED: i32 = 134;

/// One `RUN` and what is expected of it.
#[derive(Debug, Default)]
struct Case {
    flags: Vec<(String, String)>,
    exit: i32,
    stdout: Vec<String>,
    stdout_bytes: Option<usize>,
    stderr: Vec<String>,
    stderr_has: Vec<String>,
    client: Vec<String>,
}

fn main() {
    let arguments = Arguments::from_args();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests");
    let mut sources: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("the guests' folder")
        .map(|entry| entry.expect("an entry of the guests' folder").path())
        .filter(|path| path.extension().is_some_and(|e| e == "c"))
        .collect();
    sources.sort();
    assert!(sources.len() > 20, "the guests are not where they were");
    let engine = Engine::default();
    let mut trials = Vec::new();
    for source in sources {
        let name = source
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(&source).expect("a guest's source");
        let cases = parse(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let wasm = Arc::new(source.with_extension("wasm"));
        for (number, case) in cases.into_iter().enumerate() {
            let (engine, wasm) = (engine.clone(), wasm.clone());
            let run = move || run(&engine, &wasm, &case);
            trials.push(Trial::test(format!("{name}_{}", number + 1), run));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn parse(source: &str) -> Result<Vec<Case>, String> {
    let mut cases: Vec<Case> = Vec::new();
    for comment in source.lines().map_while(|line| line.strip_prefix("//")) {
        let Some((word, rest)) = comment.trim_start().split_once(':') else {
            continue;
        };
        if word.is_empty() || !word.chars().all(|c| c.is_ascii_uppercase() || c == '-') {
            continue;
        }
        let rest = rest.strip_prefix(' ').unwrap_or(rest).to_owned();
        let number = || {
            rest.trim()
                .parse::<usize>()
                .map_err(|e| format!("{word}: {e}"))
        };
        if word == "RUN" {
            let words = words(&rest)?.into_iter();
            let flags = words.map(|word| match word.split_once('=') {
                Some((flag, value)) => (flag.to_owned(), value.to_owned()),
                None => (word, String::new()),
            });
            cases.push(Case {
                flags: flags.collect(),
                ..Case::default()
            });
            continue;
        }
        if word == "NEEDS" || word == "DIFFERS" {
            continue; // About other runtimes.
        }
        let case = cases.last_mut().ok_or("an expectation before any RUN")?;
        match word {
            "EXIT" => case.exit = number()? as i32,
            "STDOUT" => case.stdout.push(rest),
            "STDOUT-BYTES" => case.stdout_bytes = Some(number()?),
            "STDERR" => case.stderr.push(rest),
            "STDERR-HAS" => case.stderr_has.push(rest),
            "CLIENT" => case.client.push(rest),
            _ => return Err(format!("unknown directive {word}")),
        }
    }
    Ok(cases)
}

/// Splits at blanks; double quotes group, and have escapes.
fn words(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        let text = match c {
            '"' => {
                quoted = !quoted;
                ""
            }
            '\\' if quoted => match chars.next() {
                Some('n') => "\n",
                Some('t') => "\t",
                Some('"') => "\"",
                Some('\\') => "\\",
                other => return Err(format!("unknown escape {other:?}")),
            },
            c if c.is_whitespace() && !quoted => {
                words.extend(word.take());
                continue;
            }
            c => {
                word.get_or_insert_default().push(c);
                continue;
            }
        };
        word.get_or_insert_default().push_str(text);
    }
    words.extend(word);
    if quoted {
        Err("a quote is not closed".into())
    } else {
        Ok(words)
    }
}

/// The directories of a case: the guest's names, and the host's paths.
struct Dirs(Vec<(String, PathBuf)>);

impl Dirs {
    /// Where a guest's path lies on the host: below the longest name that it begins with.
    fn host_path(&self, path: &str) -> Result<PathBuf, String> {
        let below = |(guest, host): &(String, PathBuf)| {
            let rest = path
                .strip_prefix(guest.trim_end_matches('/'))?
                .strip_prefix('/')?;
            Some((guest.len(), host.join(rest)))
        };
        let longest = self.0.iter().filter_map(below).max_by_key(|(len, _)| *len);
        Ok(longest
            .ok_or_else(|| format!("{path} lies in no directory"))?
            .1)
    }
}

fn run(engine: &Engine, wasm: &Path, case: &Case) -> Result<(), Failed> {
    let scratch = tempfile::tempdir()?;
    let root = scratch.path().canonicalize()?;
    let fill = |text: &str| text.replace("{root}", &root.display().to_string());
    let (out, err) = (
        MemoryOutputPipe::new(OUTPUT_LIMIT),
        MemoryOutputPipe::new(OUTPUT_LIMIT),
    );
    let mut builder = WasiCtxBuilder::new();
    builder.arg(wasm.file_name().unwrap_or_default().as_encoded_bytes());
    builder
        .stdin(MemoryInputPipe::new(""))
        .stdout(out.clone())
        .stderr(err.clone());
    let mut dirs = Dirs(Vec::new());
    let (mut listener, mut message, mut outside) = (None, None, false);
    for (flag, value) in &case.flags {
        let pair = || {
            value
                .split_once(':')
                .ok_or_else(|| format!("{flag} needs A:B"))
        };
        match flag.as_str() {
            "--dir" => {
                let (mode, guest) = pair()?;
                let host = root.join(format!("dir{}", dirs.0.len()));
                fs::create_dir(&host)?;
                let (dir, file) = match mode {
                    "rw" => (DirPerms::all(), FilePerms::all()),
                    "ro" => (DirPerms::READ, FilePerms::READ),
                    _ => return Err("--dir is rw:NAME or ro:NAME".into()),
                };
                builder.preopened_dir(&host, guest, dir, file)?;
                dirs.0.push((guest.to_owned(), host));
            }
            "--arg" => {
                builder.arg(fill(value));
            }
            "--env" => {
                let (name, value) = value.split_once('=').ok_or("--env needs NAME=VALUE")?;
                builder.env(name, value);
            }
            "--stdin" => {
                builder.stdin(MemoryInputPipe::new(value.as_str()));
            }
            "--listen" => listener = Some(TcpListener::bind("127.0.0.1:0")?),
            "--client" => message = Some(value.clone()),
            "--outside" => {
                fs::create_dir(root.join("outside"))?;
                fs::write(root.join("outside/secret.txt"), "secret")?;
                outside = true;
            }
            "--file" => fs::write(dirs.host_path(pair()?.0)?, fill(pair()?.1))?,
            "--mkdir" => fs::create_dir(dirs.host_path(value)?)?,
            "--symlink" => {
                let (path, target) = pair()?;
                std::os::unix::fs::symlink(fill(target), dirs.host_path(path)?)?;
            }
            _ => return Err(format!("unknown flag {flag}").into()),
        }
    }
    let mut client = None;
    if let Some(listener) = listener {
        let address = listener.local_addr()?;
        let message = message.unwrap_or_default();
        client = Some(std::thread::spawn(move || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(message.as_bytes())?;
            stream.shutdown(Shutdown::Write)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        }));
        builder.preopened_listener(listener);
    }

    let (code, report) = execute(engine, wasm, builder.build())?;
    let stdout = out.take();
    let stderr = String::from_utf8_lossy(&err.take()).into_owned() + &report;
    let check = |holds: bool, what: String| {
        if holds {
            Ok(())
        } else {
            Err(Failed::from(what))
        }
    };
    let lines = |lines: &[String]| lines.iter().map(|l| format!("{l}\n")).collect::<String>();
    check(
        code == case.exit,
        format!("exit code {code}, not {}; stderr: {stderr}", case.exit),
    )?;
    if !case.stdout.is_empty() {
        let text = String::from_utf8_lossy(&stdout);
        check(text == lines(&case.stdout), format!("stdout is {text:?}"))?;
    }
    if let Some(bytes) = case.stdout_bytes {
        check(
            stdout.len() == bytes,
            format!("stdout has {} bytes", stdout.len()),
        )?;
    }
    if !case.stderr.is_empty() {
        check(
            stderr == lines(&case.stderr),
            format!("stderr is {stderr:?}"),
        )?;
    }
    for part in &case.stderr_has {
        check(
            stderr.contains(part),
            format!("stderr has no {part:?}: {stderr}"),
        )?;
    }
    if let Some(client) = client {
        let got = client.join().map_err(|_| "the client panicked")??;
        check(
            got == lines(&case.client),
            format!("the client received {got:?}"),
        )?;
    }
    if outside {
        let alone = fs::read_dir(root.join("outside"))?.count() == 1;
        let whole = fs::read(root.join("outside/secret.txt")).is_ok_and(|s| s == b"secret");
        check(
            alone && whole,
            "what lies outside of the directories has changed".into(),
        )?;
    }
    Ok(())
}

/// Runs a program to its end: its exit code, and how a trap would be reported.
fn execute(engine: &Engine, wasm: &Path, ctx: WasiCtx) -> bimetal::Result<(i32, String)> {
    let module = Module::from_file(engine, wasm)?;
    let mut linker: Linker<WasiCtx> = Linker::new(engine);
    bimetal_wasi::add_to_linker(&mut linker, |ctx| ctx)?;
    let mut store = Store::new(engine, ctx);
    let instance = linker.instantiate(&mut store, &module)?;
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
    Ok(match start.call(&mut store, ()) {
        Ok(()) => (0, String::new()),
        Err(error) => match error.downcast_ref::<ProcExit>() {
            Some(ProcExit(code)) => (*code as i32, String::new()),
            None => (TRAPPED, format!("{error:?}")),
        },
    })
}
