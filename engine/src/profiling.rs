//! Telling profilers about machine code: perf maps and jitdumps.
//!
//! Both are files of the process, not of an engine, because that is where profilers look. They are
//! written when code is placed, before it can run; a [`Batch`] collects what is placed together.
//! A profiler is a convenience: what goes wrong is said once, and the program goes on without.

use std::fmt::{Display, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use bimetal_wasm::DefinedFuncIndex;

use crate::backtrace::FunctionName;
use crate::config::ProfilingStrategy;
use crate::module::ModuleInner;

/// A file that is open, or could not be.
type Output = OnceLock<Option<Mutex<File>>>;

static PERF_MAP: Output = OnceLock::new();
static JIT_DUMP: Output = OnceLock::new();

/// When to write though a batch has not ended: whole modules can be large.
const FLUSH_AT: usize = 1 << 20;

/// Code that is placed together.
pub(crate) struct Batch {
    strategy: ProfilingStrategy,
    buffer: Vec<u8>,
}

impl Batch {
    /// `None` if nobody is to be told, or nobody can be.
    pub(crate) fn new(strategy: ProfilingStrategy) -> Option<Batch> {
        // The file is opened now, so that it is older than what it tells of.
        output(strategy).map(|_| Batch {
            strategy,
            buffer: Vec::new(),
        })
    }

    /// A function of a module is at `address`.
    pub(crate) fn function(
        &mut self,
        module: &ModuleInner,
        func: DefinedFuncIndex,
        address: usize,
        code: &[u8],
    ) {
        let func = module.wasm().func_index(func);
        self.code(FunctionName(module, func), address, code);
    }

    /// Code of this name is at `address`.
    pub(crate) fn code(&mut self, name: impl Display, address: usize, code: &[u8]) {
        if code.is_empty() {
            return;
        }
        match self.strategy {
            ProfilingStrategy::None => {}
            ProfilingStrategy::PerfMap => {
                // Names have no control characters: see `Printable`.
                let line = format!("{address:x} {:x} {name}\n", code.len());
                self.buffer.extend_from_slice(line.as_bytes());
            }
            ProfilingStrategy::JitDump => code_load(&mut self.buffer, name, address, code),
        }
        if self.buffer.len() >= FLUSH_AT {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if let Some(file) = output(self.strategy) {
            // One write of whole records, so that what fails on a full disk is all of them.
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = file.write_all(&self.buffer) {
                tracing::debug!(%error, "the profiler's file cannot be written");
            }
        }
        self.buffer.clear();
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if !self.buffer.is_empty() {
            self.flush();
        }
    }
}

/// The file to write to, unless there is nobody to tell or it could not be opened.
fn output(strategy: ProfilingStrategy) -> Option<&'static Mutex<File>> {
    match strategy {
        ProfilingStrategy::None => None,
        ProfilingStrategy::PerfMap => PERF_MAP.get_or_init(|| opened(open_perf_map())).as_ref(),
        ProfilingStrategy::JitDump => JIT_DUMP.get_or_init(|| opened(open_jit_dump())).as_ref(),
    }
}

fn opened(file: Result<File, (PathBuf, io::Error)>) -> Option<Mutex<File>> {
    match file {
        Ok(file) => Some(Mutex::new(file)),
        Err((path, error)) => {
            let path = path.display();
            tracing::warn!(%path, %error, "no profile: the file cannot be created");
            None
        }
    }
}

/// Makes a new file. What is left over from an earlier process of the same number goes; the file
/// is never one that somebody else has put there, or that a link leads to.
fn create(path: &PathBuf) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Readable, because mapping it needs that.
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
}

fn open_perf_map() -> Result<File, (PathBuf, io::Error)> {
    // Not the folder for temporary files, wherever that is: this name is what is looked for.
    let path = PathBuf::from(format!("/tmp/perf-{}.map", std::process::id()));
    create(&path).map_err(|error| (path, error))
}

fn open_jit_dump() -> Result<File, (PathBuf, io::Error)> {
    let path = PathBuf::from(format!("jit-{}.dump", std::process::id()));
    let open = || {
        let mut file = create(&path)?;
        file.write_all(&jit_dump_header())?;
        bimetal_sys::announce_file(&file)?;
        Ok(file)
    };
    open().map_err(|error| (path, error))
}

// The jitdump format, version 1, in the machine's byte order: a header, then records that begin
// with their number, size and time.

const MAGIC: u32 = 0x4a69_5444;
const VERSION: u32 = 1;
const HEADER_SIZE: u32 = 40;
const CODE_LOAD: u32 = 0;
/// Of a code load without name and code.
const CODE_LOAD_SIZE: usize = 56;

fn jit_dump_header() -> Vec<u8> {
    let machine: u32 = match std::env::consts::ARCH {
        "x86_64" => 62,
        "aarch64" => 183,
        "riscv64" => 243,
        "s390x" => 22,
        _ => 0,
    };
    let mut header = Vec::with_capacity(HEADER_SIZE as usize);
    for word in [MAGIC, VERSION, HEADER_SIZE, machine, 0, std::process::id()] {
        header.extend_from_slice(&word.to_ne_bytes());
    }
    header.extend_from_slice(&bimetal_sys::monotonic_nanos().to_ne_bytes());
    // Flags: times are of the monotonic clock.
    header.extend_from_slice(&0u64.to_ne_bytes());
    header
}

fn code_load(out: &mut Vec<u8>, name: impl Display, address: usize, code: &[u8]) {
    /// Numbers of what is loaded, as the format wants.
    static NEXT: AtomicU64 = AtomicU64::new(0);

    let mut text = String::new();
    // Only an error of a `Display` that breaks its rules; the name is then what it got to.
    let _ = write!(text, "{name}");
    let size = CODE_LOAD_SIZE + text.len() + 1 + code.len();
    let Ok(size) = u32::try_from(size) else {
        return;
    };
    for word in [CODE_LOAD, size] {
        out.extend_from_slice(&word.to_ne_bytes());
    }
    out.extend_from_slice(&bimetal_sys::monotonic_nanos().to_ne_bytes());
    for word in [std::process::id(), bimetal_sys::thread_id()] {
        out.extend_from_slice(&word.to_ne_bytes());
    }
    let index = NEXT.fetch_add(1, Ordering::Relaxed);
    for word in [address as u64, address as u64, code.len() as u64, index] {
        out.extend_from_slice(&word.to_ne_bytes());
    }
    out.extend_from_slice(text.as_bytes());
    out.push(0);
    out.extend_from_slice(code);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_as_long_as_they_say() {
        assert_eq!(jit_dump_header().len(), HEADER_SIZE as usize);
        let mut record = Vec::new();
        code_load(&mut record, "m!f", 0x1000, &[0xc3, 0x90]);
        assert_eq!(record.len(), CODE_LOAD_SIZE + 4 + 2);
        assert_eq!(record[4..8], (record.len() as u32).to_ne_bytes());
        assert!(record.ends_with(b"m!f\0\xc3\x90"));
    }
}
