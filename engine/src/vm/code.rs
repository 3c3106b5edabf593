//! Where machine code lives, and finding out whose it is.
//!
//! A [`CodeSpace`] (one per engine) owns regions of executable address space and hands out
//! page-aligned chunks. A [`ModuleCode`] fills chunks with the functions of one loaded module and
//! knows which function an address belongs to. A process-wide registry leads from an address to
//! the module; the fault handler uses it, which is safe because a thread that faults *in wasm
//! code* holds none of these locks.
//!
//! Code is never moved or overwritten while its module lives.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};

use bimetal_codegen::SiteTable;
use bimetal_sys::CodeRegion;
use bimetal_wasm::DefinedFuncIndex;
use cranelift_entity::EntityRef;

use super::image::ImageText;
use crate::module::ModuleInner;

/// Address space of one region. A sparse mapping: only what is written costs memory.
const REGION_SIZE: usize = 1 << 30;

/// The same for processes that may not have so much (`ulimit -v`).
const SMALL_REGION_SIZE: usize = 32 << 20;

/// An engine's executable memory.
#[derive(Debug)]
pub(crate) struct CodeSpace {
    state: Mutex<SpaceState>,
    /// Whether a profiler is to take it for a JIT's.
    shown_as_jit: bool,
    /// Whether there may be any.
    allowed: bool,
}

#[derive(Debug, Default)]
struct SpaceState {
    regions: Vec<Arc<CodeRegion>>,
    /// Chunks given back, to be used again.
    free: Vec<Chunk>,
    /// Pieces given back, by their size: where they are.
    pieces: HashMap<usize, Vec<(Arc<CodeRegion>, usize)>>,
}

/// A part of a region, `len` bytes at `offset`, both multiples of the page size.
#[derive(Debug, Clone)]
struct Chunk {
    region: Arc<CodeRegion>,
    offset: usize,
    len: usize,
    used: usize,
}

impl Chunk {
    fn address(&self) -> usize {
        self.region.base() as usize + self.offset
    }
}

impl CodeSpace {
    pub(crate) fn new(shown_as_jit: bool, allowed: bool) -> CodeSpace {
        CodeSpace {
            state: Mutex::default(),
            shown_as_jit,
            allowed,
        }
    }

    /// An error if this engine may not put code into memory.
    pub(super) fn check_allowed(&self) -> io::Result<()> {
        match self.allowed {
            true => Ok(()),
            false => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this engine runs code from files only",
            )),
        }
    }

    /// A new region with room for `len` bytes.
    fn region(&self, len: usize) -> io::Result<Arc<CodeRegion>> {
        self.check_allowed()?;
        let region = CodeRegion::new(REGION_SIZE.max(len))
            .or_else(|_| CodeRegion::new(SMALL_REGION_SIZE.max(len)))?;
        Ok(Arc::new(match self.shown_as_jit {
            true => region.shown_as_jit()?,
            false => region,
        }))
    }

    fn take(&self, len: usize) -> io::Result<Chunk> {
        let page = bimetal_sys::page_size();
        let len = len.max(1).next_multiple_of(page);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // First fit; what is left over of a larger chunk stays free.
        if let Some(i) = state.free.iter().position(|chunk| chunk.len >= len) {
            let mut chunk = state.free.swap_remove(i);
            if chunk.len > len {
                state.free.push(Chunk {
                    region: chunk.region.clone(),
                    offset: chunk.offset + len,
                    len: chunk.len - len,
                    used: 0,
                });
                chunk.len = len;
            }
            return Ok(chunk);
        }
        let fits = |region: &Arc<CodeRegion>| region.capacity() - region.used() >= len + page;
        let region = match state.regions.last() {
            Some(region) if fits(region) => region.clone(),
            _ => {
                let region = self.region(len + page)?;
                state.regions.push(region.clone());
                region
            }
        };
        let offset = region.reserve(len, page)?;
        Ok(Chunk {
            region,
            offset,
            len,
            used: 0,
        })
    }

    fn give_back(&self, mut chunk: Chunk) {
        chunk.used = 0;
        // If the pages cannot be returned they are only memory; the address space is reusable.
        let _ = chunk.region.discard(chunk.offset, chunk.len);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Join with free neighbours, so that address space does not crumble.
        let mut i = 0;
        while i < state.free.len() {
            let other = &state.free[i];
            let joins = Arc::ptr_eq(&other.region, &chunk.region)
                && (other.offset + other.len == chunk.offset
                    || chunk.offset + chunk.len == other.offset);
            if joins {
                let other = state.free.swap_remove(i);
                chunk.offset = chunk.offset.min(other.offset);
                chunk.len += other.len;
                i = 0;
            } else {
                i += 1;
            }
        }
        state.free.push(chunk);
    }

    /// Room for a piece of code that belongs to no module: `len` bytes, a multiple of
    /// [`PIECE_ALIGN`].
    fn take_piece(&self, len: usize) -> io::Result<(Arc<CodeRegion>, usize)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(piece) = state.pieces.get_mut(&len).and_then(Vec::pop) {
            return Ok(piece);
        }
        let fits =
            |region: &Arc<CodeRegion>| region.capacity() - region.used() >= len + PIECE_ALIGN;
        let region = match state.regions.last() {
            Some(region) if fits(region) => region.clone(),
            _ => {
                let region = self.region(len + PIECE_ALIGN)?;
                state.regions.push(region.clone());
                region
            }
        };
        let offset = region.reserve(len, PIECE_ALIGN)?;
        Ok((region, offset))
    }
}

/// What pieces are aligned to and multiples of: a cache line, so that writing one changes no line
/// of another, which may be running.
const PIECE_ALIGN: usize = 64;

/// A little code that belongs to no module. Its room is used again when this is dropped; nothing
/// may run it any more then.
#[derive(Debug)]
pub(crate) struct CodePiece {
    space: Arc<CodeSpace>,
    region: Arc<CodeRegion>,
    offset: usize,
    len: usize,
}

impl CodePiece {
    /// Places code that wants no greater alignment than [`PIECE_ALIGN`].
    pub(crate) fn new(space: &Arc<CodeSpace>, bytes: &[u8], align: usize) -> io::Result<CodePiece> {
        debug_assert!(align <= PIECE_ALIGN);
        let len = bytes.len().max(1).next_multiple_of(PIECE_ALIGN);
        let (region, offset) = space.take_piece(len)?;
        // From now on its room is given back, also if it cannot be written.
        let piece = CodePiece {
            space: space.clone(),
            region,
            offset,
            len,
        };
        piece.region.write(offset, bytes)?;
        Ok(piece)
    }

    pub(crate) fn address(&self) -> *const u8 {
        self.region.base().wrapping_add(self.offset)
    }
}

impl Drop for CodePiece {
    fn drop(&mut self) {
        let state = &self.space.state;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let free = state.pieces.entry(self.len).or_default();
        free.push((self.region.clone(), self.offset));
    }
}

/// The code of one loaded module.
#[derive(Debug)]
pub(crate) struct ModuleCode {
    space: Arc<CodeSpace>,
    owner: Weak<ModuleInner>,
    chunks: Mutex<Vec<Chunk>>,
    /// Placed functions by address.
    placed: RwLock<Vec<Placed>>,
    /// The text of the image that the module was loaded from.
    image: Option<ImageText>,
    /// The sites of functions; the array is made when the first is needed, which with an image is
    /// when something goes wrong.
    sites: OnceLock<Box<[OnceLock<SiteTable>]>>,
    functions: usize,
}

#[derive(Debug, Clone, Copy)]
struct Placed {
    start: usize,
    len: u32,
    func: DefinedFuncIndex,
}

/// A contiguous part of a module's code that is being filled.
#[derive(Debug)]
pub(crate) struct Span {
    region: Arc<CodeRegion>,
    offset: usize,
}

impl Span {
    /// The address of the first byte.
    pub(crate) fn address(&self) -> usize {
        self.region.base() as usize + self.offset
    }

    /// Writes `bytes` at `at` bytes from the start.
    pub(crate) fn write(&self, at: usize, bytes: &[u8]) -> io::Result<()> {
        self.region.write(self.offset + at, bytes)
    }
}

impl ModuleCode {
    /// No code, or that of an image.
    pub(crate) fn new(
        space: Arc<CodeSpace>,
        owner: Weak<ModuleInner>,
        functions: usize,
        image: Option<ImageText>,
    ) -> Self {
        if let Some(image) = &image {
            register(image.base(), image.len(), owner.clone());
        }
        ModuleCode {
            space,
            owner,
            chunks: Mutex::default(),
            placed: RwLock::default(),
            image,
            sites: OnceLock::new(),
            functions,
        }
    }

    fn all_sites(&self) -> &[OnceLock<SiteTable>] {
        let make = || (0..self.functions).map(|_| OnceLock::new()).collect();
        self.sites.get_or_init(make)
    }

    /// Reserves `len` contiguous bytes for this module.
    pub(crate) fn reserve(&self, len: usize, align: usize) -> io::Result<Span> {
        let mut chunks = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        let last = chunks.last().map_or(0, |chunk| chunk.len);
        let fits = chunks
            .last()
            .is_some_and(|c| c.used.next_multiple_of(align) + len <= c.len);
        if !fits {
            // Doubling keeps the number of chunks, and so of registry entries, small.
            let chunk = self
                .space
                .take(len.max((last * 2).clamp(64 << 10, 4 << 20)))?;
            register(chunk.address(), chunk.len, self.owner.clone());
            chunks.push(chunk);
        }
        let Some(chunk) = chunks.last_mut() else {
            return Err(io::ErrorKind::OutOfMemory.into());
        };
        let at = chunk.used.next_multiple_of(align);
        chunk.used = at + len;
        Ok(Span {
            region: chunk.region.clone(),
            offset: chunk.offset + at,
        })
    }

    /// Records that `func` is at `start`; from now on an address in it is found.
    pub(crate) fn record(
        &self,
        functions: impl IntoIterator<Item = (DefinedFuncIndex, usize, u32, SiteTable)>,
    ) {
        let mut placed = self.placed.write().unwrap_or_else(PoisonError::into_inner);
        let mut sorted = true;
        for (func, start, len, sites) in functions {
            // A second version of a function would need a table per version; there is one tier.
            let _ = self.all_sites()[func.index()].set(sites);
            sorted &= placed.last().is_none_or(|last| last.start < start);
            placed.push(Placed { start, len, func });
        }
        if !sorted {
            placed.sort_unstable_by_key(|p| p.start);
        }
    }

    /// The image that the module was loaded from.
    pub(crate) fn image(&self) -> Option<&ImageText> {
        self.image.as_ref()
    }

    /// The function at this address, and the offset in its code. `pc` may be a return address,
    /// which can be the byte behind a function's last.
    pub(crate) fn find(&self, pc: usize) -> Option<(DefinedFuncIndex, u32)> {
        if let Some(found) = self.image.as_ref().and_then(|image| image.find(pc)) {
            return Some(found);
        }
        let placed = self.placed.read().unwrap_or_else(PoisonError::into_inner);
        let i = placed.partition_point(|p| p.start <= pc);
        let hit = |p: &Placed, end: usize| {
            let offset = pc.checked_sub(p.start)?;
            (offset < p.len as usize + end).then_some((p.func, offset as u32))
        };
        let last = placed.get(i.checked_sub(1)?)?;
        hit(last, 0)
            .or_else(|| hit(placed.get(i.checked_sub(2)?)?, 1))
            .or_else(|| hit(last, 1))
    }

    /// The sites of a placed function.
    pub(crate) fn sites(&self, func: DefinedFuncIndex) -> Option<&SiteTable> {
        let sites = self.all_sites().get(func.index())?;
        match &self.image {
            // Read when first asked for, which is when something has gone wrong.
            Some(image) if image.has(func) => Some(sites.get_or_init(|| image.sites(func))),
            _ => sites.get(),
        }
    }

    /// The code and sites of all functions that were placed here.
    pub(crate) fn compiled(&self) -> HashMap<DefinedFuncIndex, (&[u8], &SiteTable)> {
        let placed = self.placed.read().unwrap_or_else(PoisonError::into_inner);
        let code = |placed: &Placed| {
            let start: *const u8 = std::ptr::with_exposed_provenance(placed.start);
            // SAFETY: so many bytes were written there, are readable, and stay as they are as long
            // as the module lives.
            let code = unsafe { std::slice::from_raw_parts(start, placed.len as usize) };
            let sites = self.all_sites()[placed.func.index()].get()?;
            Some((placed.func, (code, sites)))
        };
        placed.iter().filter_map(code).collect()
    }

    /// Bytes of code placed.
    pub(crate) fn size(&self) -> usize {
        let placed = self.placed.read().unwrap_or_else(PoisonError::into_inner);
        placed.iter().map(|p| p.len as usize).sum()
    }

    /// The addresses from the first byte of code placed to the last.
    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        let placed = self.placed.read().unwrap_or_else(PoisonError::into_inner);
        let start = placed.iter().map(|p| p.start).min().unwrap_or(0);
        let end = placed.iter().map(|p| p.start + p.len as usize).max();
        start..end.unwrap_or(0)
    }

    /// Functions placed.
    pub(crate) fn count(&self) -> usize {
        let placed = self.placed.read().unwrap_or_else(PoisonError::into_inner);
        placed.len()
    }
}

impl Drop for ModuleCode {
    fn drop(&mut self) {
        let chunks = self
            .chunks
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        for chunk in chunks.drain(..) {
            unregister(chunk.address(), chunk.len);
            self.space.give_back(chunk);
        }
        if let Some(image) = &self.image {
            unregister(image.base(), image.len());
        }
    }
}

/// Chunks by the address behind their last byte.
static REGISTRY: RwLock<BTreeMap<usize, (usize, Weak<ModuleInner>)>> = RwLock::new(BTreeMap::new());

fn register(start: usize, len: usize, owner: Weak<ModuleInner>) {
    REGISTRY
        .write()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(start + len, (start, owner));
}

fn unregister(start: usize, len: usize) {
    let entry = REGISTRY
        .write()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&(start + len));
    // Dropped after the lock is released.
    drop(entry);
}

/// The module whose code `pc` is in.
pub(crate) fn module_at(pc: usize) -> Option<Arc<ModuleInner>> {
    let registry = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
    let (_, (start, owner)) = registry.range(pc..).next()?;
    // `pc` may be the end of a chunk as a return address: `range` is inclusive there.
    if pc < *start { None } else { owner.upgrade() }
}
