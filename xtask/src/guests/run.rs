//! Runs the WASI guests' cases under a runtime's command line: makes the fixture, runs, compares.
//!
//! `wasi`'s own tests run the same headers through the Rust API; this runner proves the guests
//! themselves against a peer, and the whole program with its flags.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

#[cfg(not(unix))]
use anyhow::bail;
use anyhow::{Context, Result, ensure};

use super::header::{self, Case, Fixture};
use crate::process::{Run, root, run_measured};

const LIMIT: Duration = Duration::from_secs(60);

/// Runs every case of the guests that have a header.
pub(crate) fn all(sources: &[PathBuf], runtime: &Path, verbose: bool) -> Result<ExitCode> {
    let peer = runtime
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let bimetal = peer == "bimetal";
    let (mut passed, mut failed, mut left_out) = (0, 0, Vec::new());
    for source in sources {
        let name = source
            .strip_prefix(root())
            .unwrap_or(source)
            .display()
            .to_string();
        let text = fs::read_to_string(source)?;
        let cases = header::parse(&text).with_context(|| name.clone())?;
        for (number, case) in cases.iter().enumerate() {
            let label = format!("{name} #{}", number + 1);
            let unsaid = !bimetal && (case.needs_read_only || case.listen);
            if unsaid || case.differs.contains(&peer) {
                left_out.push(label);
                continue;
            }
            let start = Instant::now();
            match run_case(runtime, bimetal, &source.with_extension("wasm"), case) {
                Ok(()) => {
                    passed += 1;
                    if verbose {
                        println!("ok    {label} ({} ms)", start.elapsed().as_millis());
                    }
                }
                Err(error) => {
                    failed += 1;
                    println!("FAIL  {label}: {error:#}");
                }
            }
        }
    }
    if !left_out.is_empty() {
        println!(
            "left out (known to differ, or only bimetal's command line can say it): {}",
            left_out.join(", ")
        );
    }
    println!("{passed} cases passed, {failed} failed");
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The host folder of the n-th preopened directory, inside the fixture's root.
fn host_dir(base: &Path, n: usize) -> PathBuf {
    base.join(format!("dir{n}"))
}

/// Where a fixture's guest path lies on the host: the longest preopen that it begins with.
fn host_path(base: &Path, case: &Case, path: &str) -> Result<PathBuf> {
    let (n, rest) = case
        .dirs
        .iter()
        .enumerate()
        .filter_map(|(n, dir)| {
            let rest = path.strip_prefix(dir.guest.trim_end_matches('/'))?;
            Some((n, rest.strip_prefix('/')?))
        })
        .min_by_key(|(_, rest)| rest.len())
        .with_context(|| format!("{path} lies in no directory of the case"))?;
    Ok(host_dir(base, n).join(rest))
}

fn make_fixture(base: &Path, case: &Case) -> Result<()> {
    for n in 0..case.dirs.len() {
        fs::create_dir(host_dir(base, n))?;
    }
    let fill = |text: &str| text.replace("{root}", &base.display().to_string());
    for fixture in &case.fixtures {
        match fixture {
            Fixture::Outside => {
                fs::create_dir(base.join("outside"))?;
                fs::write(base.join("outside/secret.txt"), "secret")?;
            }
            Fixture::File { path, text } => fs::write(host_path(base, case, path)?, fill(text))?,
            Fixture::Mkdir { path } => fs::create_dir(host_path(base, case, path)?)?,
            Fixture::Symlink { path, target } => {
                symlink(&fill(target), &host_path(base, case, path)?)?
            }
        }
    }
    Ok(())
}

#[cfg(unix)]
fn symlink(target: &str, link: &Path) -> Result<()> {
    Ok(std::os::unix::fs::symlink(target, link)?)
}

#[cfg(not(unix))]
fn symlink(_: &str, _: &Path) -> Result<()> {
    bail!("this system's links are not those that the guests expect");
}

fn run_case(runtime: &Path, bimetal: bool, wasm: &Path, case: &Case) -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let base = temporary.path().canonicalize()?;
    make_fixture(&base, case)?;
    // Preopens must not depend on what the runtime was started with.
    let mut command = Command::new(runtime);
    command.env("BIMETAL_CACHE_DIR", "");
    command
        .current_dir(&base)
        .env_remove("RUST_BACKTRACE")
        .arg("run");
    for (n, dir) in case.dirs.iter().enumerate() {
        let host = host_dir(&base, n);
        let mode = if dir.read_only { ":ro" } else { "" };
        command
            .arg("--dir")
            .arg(format!("{}::{}{mode}", host.display(), dir.guest));
    }
    for variable in &case.env {
        command.arg("--env").arg(variable);
    }
    let mut client = None;
    if case.listen {
        ensure!(bimetal, "only bimetal's --listen is known");
        // A free port: the system chooses one, and it is given back for the guest.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        command.arg("--listen").arg(address.to_string());
        let message = case.client.clone().unwrap_or_default();
        client = Some(thread::spawn(move || talk(&address.to_string(), &message)));
    }
    command.arg(wasm);
    for arg in &case.args {
        command.arg(arg.replace("{root}", &base.display().to_string()));
    }
    let run = run_measured(&mut command, case.stdin.as_bytes(), LIMIT)?;
    compare(case, &run)?;
    if let Some(client) = client {
        let got = client.join().ok().context("the client panicked")??;
        let wanted: String = case
            .client_receives
            .iter()
            .map(|l| format!("{l}\n"))
            .collect();
        ensure!(got == wanted, "the client received {got:?}, not {wanted:?}");
    }
    if case.fixtures.iter().any(|f| matches!(f, Fixture::Outside)) {
        let outside: Vec<_> = fs::read_dir(base.join("outside"))?.collect();
        let secret = fs::read_to_string(base.join("outside/secret.txt"));
        ensure!(
            outside.len() == 1 && secret.is_ok_and(|s| s == "secret"),
            "what lies outside of the preopened directory has changed"
        );
    }
    Ok(())
}

/// Sends, closes the sending half, and returns all that comes back.
fn talk(address: &str, message: &str) -> Result<String> {
    let start = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(_) if start.elapsed() < LIMIT => thread::sleep(Duration::from_millis(20)),
            Err(error) => return Err(error.into()),
        }
    };
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(message.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn compare(case: &Case, run: &Run) -> Result<()> {
    let stdout = String::from_utf8_lossy(&run.stdout);
    let stderr = String::from_utf8_lossy(&run.stderr);
    ensure!(
        run.code == case.exit,
        "exit code {}, not {}{}",
        run.code,
        case.exit,
        run.streams()
    );
    let lines = |lines: &[String]| lines.iter().map(|l| format!("{l}\n")).collect::<String>();
    if !case.stdout.is_empty() {
        let wanted = lines(&case.stdout);
        ensure!(stdout == wanted, "stdout is {stdout:?}, not {wanted:?}");
    }
    if let Some(bytes) = case.stdout_bytes {
        let got = run.stdout.len();
        ensure!(got == bytes, "stdout has {got} bytes, not {bytes}");
    }
    if !case.stderr.is_empty() {
        let wanted = lines(&case.stderr);
        ensure!(stderr == wanted, "stderr is {stderr:?}, not {wanted:?}");
    }
    for part in &case.stderr_has {
        ensure!(
            stderr.contains(part.as_str()),
            "stderr has no {part:?}: {stderr}"
        );
    }
    Ok(())
}
