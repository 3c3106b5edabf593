//! Running other programs: where the repository is, what is on PATH, a run with captured output, and
//! a measured run (wall time, processor time, peak memory) through `wait4`.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use wait4::Wait4;

/// The root of the repository: the folder above this crate.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The first executable of that name on PATH. A name with a separator is taken as it is.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Path::new(name).canonicalize().ok();
    }
    let suffix = env::consts::EXE_SUFFIX;
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(format!("{name}{suffix}")))
        .find(|candidate| candidate.is_file())
}

/// `find_program`, with what to do about it as the error.
pub(crate) fn need_program(name: &str, advice: &str) -> Result<PathBuf> {
    find_program(name).with_context(|| format!("`{name}` is not on PATH; {advice}"))
}

/// The command as one would type it, for messages.
pub(crate) fn shown(command: &Command) -> String {
    let quote = |word: &OsStr| {
        let word = word.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+/.,:@%".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word.into_owned()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(quote)
        .collect();
    words.join(" ")
}

/// Runs the command with this program's own streams; an exit code other than 0 is an error.
pub(crate) fn run_visibly(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    ensure!(status.success(), "`{}` failed ({status})", shown(command));
    Ok(())
}

/// Runs the command and returns what it printed; on failure, the error shows both streams.
pub(crate) fn run_quietly(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!(
            "`{}` failed ({})\n{}{}",
            shown(command),
            output.status,
            stdout,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(stdout.into_owned())
}

/// What one run of a program cost and gave.
#[derive(Debug)]
pub(crate) struct Run {
    /// The exit code; 128 + n after signal n, as shells say it.
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) wall: Duration,
    /// User and system time of all its threads.
    pub(crate) cpu: Duration,
    /// Peak resident set, in bytes.
    pub(crate) memory: u64,
}

impl Run {
    /// The two streams as text, for messages, not longer than a screen.
    pub(crate) fn streams(&self) -> String {
        let tail = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let lines: Vec<_> = text.lines().collect();
            lines[lines.len().saturating_sub(15)..].join("\n    ")
        };
        format!(
            "\n  stdout:\n    {}\n  stderr:\n    {}",
            tail(&self.stdout),
            tail(&self.stderr)
        )
    }
}

/// Runs the command with `stdin` as its input, and measures it. After `limit` it is killed, which is
/// an error. The output goes through files, so that reading it costs the program nothing.
pub(crate) fn run_measured(command: &mut Command, stdin: &[u8], limit: Duration) -> Result<Run> {
    let what = shown(command);
    let mut out = tempfile::tempfile()?;
    let mut err = tempfile::tempfile()?;
    let input = if stdin.is_empty() {
        Stdio::null()
    } else {
        let mut file = tempfile::tempfile()?;
        file.write_all(stdin)?;
        file.seek(SeekFrom::Start(0))?;
        Stdio::from(file)
    };
    command
        .stdin(input)
        .stdout(out.try_clone()?)
        .stderr(err.try_clone()?);
    let start = Instant::now();
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start `{what}`"))?;
    let pid = child.id();
    let (done, waiting) = std::sync::mpsc::channel::<()>();
    let watch = thread::spawn(move || {
        let late = waiting
            .recv_timeout(limit)
            .is_err_and(|e| e == std::sync::mpsc::RecvTimeoutError::Timeout);
        if late {
            // The child is still unreaped here, so the number is still its own.
            let pid = i32::try_from(pid)
                .ok()
                .and_then(rustix::process::Pid::from_raw);
            let kill = rustix::process::Signal::KILL;
            let _ = pid.map(|pid| rustix::process::kill_process(pid, kill));
        }
        late
    });
    let used = child.wait4();
    let wall = start.elapsed();
    drop(done);
    let late = watch.join().unwrap_or(false);
    ensure!(!late, "`{what}` was killed after {} s", limit.as_secs());
    let used = used.with_context(|| format!("cannot wait for `{what}`"))?;
    Ok(Run {
        code: exit_code(used.status),
        stdout: contents(&mut out)?,
        stderr: contents(&mut err)?,
        wall,
        cpu: used.rusage.utime + used.rusage.stime,
        memory: used.rusage.maxrss,
    })
}

/// The exit code that a shell would show.
pub(crate) fn exit_code(status: std::process::ExitStatus) -> i32 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return 128 + signal;
    }
    status.code().unwrap_or(1)
}

fn contents(file: &mut File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The release build of the `bimetal` program, built now if it has to be.
pub(crate) fn release_bimetal() -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    eprintln!("building bimetal (release)");
    run_visibly(Command::new(cargo).current_dir(root()).args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "bimetal-cli",
    ]))?;
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let program = target
        .join("release")
        .join(format!("bimetal{}", env::consts::EXE_SUFFIX));
    ensure!(program.is_file(), "the build left no {}", program.display());
    Ok(program)
}
