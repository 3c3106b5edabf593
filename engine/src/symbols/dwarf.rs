//! Source lines out of a module's debug information.
//!
//! Debug information is the guest's word. It is read when somebody wants to see a backtrace and at
//! no other time, and whatever is wrong with it, the answer is "no symbols": a [`Section`] refuses
//! to be read when a lookup has gone on for too long or recursed too deep, so that neither time,
//! memory nor stack is the guest's to spend. Nothing is copied; sections are ranges of the module's
//! bytes.
//!
//! Addresses in wasm's DWARF count from the content of the code section.

use std::borrow::Cow;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use addr2line::gimli::{self, LittleEndian, Reader, ReaderOffsetId};
use bimetal_wasm::Bytes;

use super::FrameSymbol;

/// More inlined frames than this at one place are not shown.
const MAX_INLINED: usize = 64;

/// Bytes of stack that a lookup may use. Host functions are promised 256 KiB.
const MAX_STACK: usize = 128 << 10;

/// A module's debug information, once somebody has asked for it.
#[derive(Default)]
pub(crate) struct SymbolCache(Mutex<Option<DebugInfo>>);

impl SymbolCache {
    /// The source positions at an offset in a module's binary, the innermost first.
    pub(crate) fn lookup(&self, module: &bimetal_wasm::Module, offset: usize) -> Vec<FrameSymbol> {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Readers of such formats have had panics; that must not make a trap worse.
        std::panic::catch_unwind(AssertUnwindSafe(|| {
            let info = cached.get_or_insert_with(|| DebugInfo::new(module));
            info.lookup(offset)
        }))
        .ok()
        .flatten()
        .unwrap_or_default()
    }
}

impl fmt::Debug for SymbolCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SymbolCache")
    }
}

struct DebugInfo {
    limits: Arc<Limits>,
    context: Option<addr2line::Context<Section>>,
    code_start: usize,
}

impl DebugInfo {
    fn new(module: &bimetal_wasm::Module) -> DebugInfo {
        let is_dwarf = |name: &str| name.starts_with(".debug_");
        let sections = || module.custom_sections.iter().filter(|s| is_dwarf(&s.name));
        let size: usize = sections().map(|section| section.range.len()).sum();
        let limits = Arc::new(Limits {
            bytes: module.bytes.clone(),
            // Honest information is read about once, with a second look at a few functions.
            reads: AtomicU64::new((size as u64).saturating_mul(2) + (1 << 20)),
            stack_top: AtomicUsize::new(bimetal_sys::stack_pointer()),
        });
        let load = |id: gimli::SectionId| {
            let found = sections().find(|section| *section.name == *id.name());
            let range = found.map_or(0..0, |section| section.range.clone());
            Ok::<_, gimli::Error>(Section {
                limits: limits.clone(),
                at: range.start,
                end: range.end,
            })
        };
        let context = || {
            let dwarf = gimli::Dwarf::load(load).ok()?;
            addr2line::Context::from_dwarf(dwarf).ok()
        };
        let code_start = code_start(&module.bytes);
        DebugInfo {
            context: (size > 0 && code_start.is_some()).then(context).flatten(),
            code_start: code_start.unwrap_or(0),
            limits,
        }
    }

    fn lookup(&self, offset: usize) -> Option<Vec<FrameSymbol>> {
        let context = self.context.as_ref()?;
        let address = offset.checked_sub(self.code_start)? as u64;
        let stack = bimetal_sys::stack_pointer();
        self.limits.stack_top.store(stack, Ordering::Relaxed);
        let mut frames = context.find_frames(address).skip_all_loads().ok()?;
        let mut symbols = Vec::new();
        while symbols.len() < MAX_INLINED
            && let Ok(Some(frame)) = frames.next()
        {
            let name = frame.function.as_ref().and_then(|f| f.raw_name().ok());
            let name = name.filter(|name| !name.is_empty()).map(Cow::into_owned);
            let place = frame.location;
            let place = place.as_ref();
            symbols.push(FrameSymbol {
                name,
                file: place.and_then(|l| l.file).map(str::to_owned),
                line: place.and_then(|l| l.line).filter(|&line| line != 0),
                column: place.and_then(|l| l.column).filter(|&column| column != 0),
            });
        }
        Some(symbols)
    }
}

/// Where the content of the code section begins.
fn code_start(bytes: &[u8]) -> Option<usize> {
    const CODE: u8 = 10;
    let mut at = 8;
    loop {
        let id = *bytes.get(at)?;
        at += 1;
        let mut size = 0usize;
        for shift in (0..35).step_by(7) {
            let byte = *bytes.get(at)?;
            at += 1;
            size |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        if id == CODE {
            return Some(at);
        }
        at = at.checked_add(size)?;
    }
}

/// What all readers of a module's debug information share.
struct Limits {
    bytes: Bytes,
    /// Reads that are left, of all lookups together. Only changed with the cache locked.
    reads: AtomicU64,
    /// Where the stack was when the lookup began.
    stack_top: AtomicUsize,
}

impl Limits {
    /// Pays for a piece of work.
    fn charge(&self, cost: usize) -> gimli::Result<()> {
        let left = self.reads.load(Ordering::Relaxed);
        let used = self
            .stack_top
            .load(Ordering::Relaxed)
            .saturating_sub(bimetal_sys::stack_pointer());
        match left.checked_sub(cost as u64 + 1) {
            Some(left) if used <= MAX_STACK => {
                self.reads.store(left, Ordering::Relaxed);
                Ok(())
            }
            _ => Err(gimli::Error::Io),
        }
    }
}

/// A part of a section of debug information.
#[derive(Clone)]
struct Section {
    limits: Arc<Limits>,
    at: usize,
    end: usize,
}

impl Section {
    fn rest(&self) -> &[u8] {
        self.limits.bytes.get(self.at..self.end).unwrap_or_default()
    }

    fn take(&mut self, len: usize) -> gimli::Result<usize> {
        self.limits.charge(0)?;
        if len > self.end - self.at {
            return Err(gimli::Error::UnexpectedEof(self.offset_id()));
        }
        let at = self.at;
        self.at += len;
        Ok(at)
    }
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Section({:#x}..{:#x})", self.at, self.end)
    }
}

impl Reader for Section {
    type Endian = LittleEndian;
    type Offset = usize;

    fn endian(&self) -> LittleEndian {
        LittleEndian
    }

    fn len(&self) -> usize {
        self.end - self.at
    }

    fn empty(&mut self) {
        self.end = self.at;
    }

    fn truncate(&mut self, len: usize) -> gimli::Result<()> {
        if len > self.len() {
            return Err(gimli::Error::UnexpectedEof(self.offset_id()));
        }
        self.end = self.at + len;
        Ok(())
    }

    fn offset_from(&self, base: &Section) -> usize {
        self.at.saturating_sub(base.at)
    }

    fn offset_id(&self) -> ReaderOffsetId {
        ReaderOffsetId(self.at as u64)
    }

    fn lookup_offset_id(&self, id: ReaderOffsetId) -> Option<usize> {
        let at = usize::try_from(id.0).ok()?;
        (self.at..=self.end).contains(&at).then(|| at - self.at)
    }

    fn find(&self, byte: u8) -> gimli::Result<usize> {
        let found = self.rest().iter().position(|&b| b == byte);
        self.limits.charge(found.unwrap_or(self.len()) / 16)?;
        found.ok_or(gimli::Error::UnexpectedEof(self.offset_id()))
    }

    fn skip(&mut self, len: usize) -> gimli::Result<()> {
        self.take(len).map(drop)
    }

    fn split(&mut self, len: usize) -> gimli::Result<Section> {
        let at = self.take(len)?;
        Ok(Section {
            limits: self.limits.clone(),
            at,
            end: self.at,
        })
    }

    fn to_slice(&self) -> gimli::Result<Cow<'_, [u8]>> {
        Ok(self.rest().into())
    }

    fn to_string(&self) -> gimli::Result<Cow<'_, str>> {
        self.limits.charge(self.len() / 4)?;
        let text = std::str::from_utf8(self.rest());
        text.map(Cow::from).map_err(|_| gimli::Error::BadUtf8)
    }

    fn to_string_lossy(&self) -> gimli::Result<Cow<'_, str>> {
        // What is made of it can be copied for each file of a line table.
        self.limits.charge(self.len() / 4)?;
        Ok(String::from_utf8_lossy(self.rest()))
    }

    fn read_slice(&mut self, buffer: &mut [u8]) -> gimli::Result<()> {
        let at = self.take(buffer.len())?;
        match self.limits.bytes.get(at..self.at) {
            Some(bytes) => buffer.copy_from_slice(bytes),
            None => return Err(gimli::Error::UnexpectedEof(self.offset_id())),
        }
        Ok(())
    }
}
