//! The memory that contexts, tables and linear memories are in: of their own, or a slot of a pool.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bimetal_abi::{MemoryPlan, MemoryStyle};
use bimetal_sys::{DirtyPages, MemoryImage, Reservation, page_size};
use bimetal_wasm::MemoryIndex;

use super::contents::Contents;
use crate::error::{Context, Error, ErrorKind, Result};

/// A part of a pool's address space that nobody else has.
#[derive(Debug)]
pub(super) struct Slot {
    pool: Arc<Reservation>,
    at: usize,
    size: usize,
}

impl Slot {
    /// The `index`th slot of so many bytes, a multiple of the page size. The pool must have it.
    pub(super) fn new(pool: &Arc<Reservation>, index: usize, size: usize) -> Slot {
        assert!(pool.size() / size > index, "the pool has this slot");
        Slot {
            pool: pool.clone(),
            at: index * size,
            size,
        }
    }

    fn base(&self) -> *mut u8 {
        self.pool.base().wrapping_add(self.at)
    }
}

/// Address space, all of which is its owner's.
#[derive(Debug)]
enum Space {
    Own(Reservation),
    Slot(Slot),
}

impl Space {
    fn base(&self) -> *mut u8 {
        match self {
            Space::Own(space) => space.base(),
            Space::Slot(slot) => slot.base(),
        }
    }

    fn size(&self) -> usize {
        match self {
            Space::Own(space) => space.size(),
            Space::Slot(slot) => slot.size,
        }
    }

    /// What the system maps, and where a checked part of this is in it.
    fn part(&self, offset: usize, len: usize) -> io::Result<(&Reservation, usize)> {
        if offset.checked_add(len).is_none_or(|end| end > self.size()) {
            return Err(io::Error::other("beyond the end of the address space"));
        }
        Ok(match self {
            Space::Own(space) => (space, offset),
            Space::Slot(slot) => (&slot.pool, slot.at + offset),
        })
    }
}

// SAFETY: the heap pointer is to memory that is only ours; what is in it, its owner answers for.
unsafe impl Send for Zeroed {}
// SAFETY: nothing is changed through a shared reference.
unsafe impl Sync for Zeroed {}

/// Memory that begins as zeros. What is not touched of it costs nothing if it is large.
#[derive(Debug)]
pub(super) enum Zeroed {
    Heap(NonNull<u8>, Layout),
    Mapped(Reservation),
    Slot(Slot),
}

impl Zeroed {
    /// No bytes.
    pub(super) const NOTHING: Zeroed =
        Zeroed::Heap(NonNull::<u128>::dangling().cast(), Layout::new::<()>());
    /// From so many bytes on it is mapped rather than cleared by an allocator: to clear that many takes
    /// three microseconds, and so it does to map, touch and unmap any number of them.
    const LARGE: usize = 256 << 10;

    /// So many bytes, aligned to 16; `None` if there is no memory.
    pub(super) fn new(bytes: usize) -> Option<Zeroed> {
        if bytes >= Self::LARGE {
            return Reservation::accessible(bytes).ok().map(Zeroed::Mapped);
        }
        let layout = Layout::from_size_align(bytes, 16).ok()?;
        if bytes == 0 {
            return Some(Zeroed::NOTHING);
        }
        // SAFETY: the size is not 0.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Zeroed::Heap(start, layout))
    }

    pub(super) fn base(&self) -> *mut u8 {
        match self {
            Zeroed::Heap(start, _) => start.as_ptr(),
            Zeroed::Mapped(space) => space.base(),
            Zeroed::Slot(slot) => slot.base(),
        }
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        match self {
            Zeroed::Heap(_, layout) => layout.size(),
            Zeroed::Mapped(space) => space.size(),
            Zeroed::Slot(slot) => slot.size,
        }
    }

    pub(super) fn can_move(&self) -> bool {
        !matches!(self, Zeroed::Slot(_))
    }

    /// Makes the first `len` bytes zero again, of which not more than `keep` stay in memory.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn clear(&mut self, len: usize, keep: usize) -> io::Result<()> {
        let len = len.min(self.size());
        let kept = match self {
            Zeroed::Heap(..) => len,
            _ if len <= keep => len,
            _ => keep / page_size() * page_size(),
        };
        // SAFETY: it is all accessible and ours alone.
        unsafe { std::ptr::write_bytes(self.base(), 0, kept) };
        match self {
            _ if kept == len => Ok(()),
            Zeroed::Heap(..) => Ok(()),
            Zeroed::Mapped(space) => space.reset(kept, len - kept),
            Zeroed::Slot(slot) => slot.pool.reset(slot.at + kept, len - kept),
        }
    }
}

impl Drop for Zeroed {
    fn drop(&mut self) {
        if let Zeroed::Heap(start, layout) = self
            && layout.size() > 0
        {
            // SAFETY: allocated with this layout by `new`.
            unsafe { dealloc(start.as_ptr(), *layout) }
        }
    }
}

/// What a linear memory's bytes are in.
#[derive(Debug)]
pub(super) struct MemoryStorage {
    space: Space,
    /// How much of the space can become accessible; a multiple of the page size.
    capacity: usize,
    /// How much is, from the start.
    accessible: usize,
    /// The initial contents that are mapped.
    mapped: Option<(Arc<Contents>, MemoryIndex)>,
    /// Whether the host may have written to it.
    touched: AtomicBool,
}

/// Extra address space of a movable memory, so that not each growth moves it.
const GROWTH_SLACK: u64 = 2 << 20;

fn too_large(bytes: u64) -> Error {
    Error::of(
        ErrorKind::Limit,
        format_args!("a memory of {bytes} bytes does not fit this machine's address space"),
    )
}

/// A number of bytes in whole pages.
pub(super) fn in_pages(bytes: u64) -> Option<usize> {
    usize::try_from(bytes)
        .ok()?
        .checked_next_multiple_of(page_size())
        .filter(|&n| n <= isize::MAX as usize)
}

impl MemoryStorage {
    /// Of its own, with so many bytes that are accessible, and room for `room` if it can move.
    pub(super) fn new(plan: &MemoryPlan, bytes: u64, room: u64) -> Result<MemoryStorage> {
        let reserve = match plan.style {
            MemoryStyle::Reserved { reservation } => reservation,
            MemoryStyle::Dynamic => room
                .saturating_add(GROWTH_SLACK)
                .min(plan.ty.maximum_byte_size()),
        };
        let sizes = in_pages(reserve).zip(in_pages(plan.guard));
        let size = sizes
            .and_then(|(reserve, guard)| reserve.checked_add(guard))
            .filter(|&n| n <= isize::MAX as usize);
        let (Some((capacity, _)), Some(size)) = (sizes, size) else {
            return Err(too_large(bytes));
        };
        let space = Reservation::new(size).map_err(|error| {
            Error::new(error).context(format_args!(
                "cannot reserve {size} bytes of address space for a memory \
                 (`Config::memory_reservation` says how many)"
            ))
        })?;
        let mut storage = MemoryStorage {
            space: Space::Own(space),
            capacity,
            accessible: 0,
            mapped: None,
            touched: AtomicBool::new(false),
        };
        storage.make_accessible(bytes)?;
        Ok(storage)
    }

    /// In a slot, of which `capacity` bytes can become accessible.
    pub(super) fn in_slot(slot: Slot, capacity: usize) -> MemoryStorage {
        MemoryStorage {
            capacity: capacity.min(slot.size),
            space: Space::Slot(slot),
            accessible: 0,
            mapped: None,
            touched: AtomicBool::new(false),
        }
    }

    pub(super) fn base(&self) -> *mut u8 {
        self.space.base()
    }

    pub(super) fn can_move(&self) -> bool {
        matches!(self.space, Space::Own(_))
    }

    /// The host may write to it from now on.
    pub(super) fn touch(&self) {
        self.touched.store(true, Ordering::Relaxed);
    }

    /// Makes so many bytes from the start accessible, zero where they were not before; `None` if
    /// that is not possible.
    pub(super) fn extend(&mut self, bytes: u64) -> Option<()> {
        let wanted = in_pages(bytes).filter(|&wanted| wanted <= self.capacity)?;
        if wanted > self.accessible {
            let more = wanted - self.accessible;
            let (space, at) = self.space.part(self.accessible, more).ok()?;
            space.make_accessible(at, more).ok()?;
            self.accessible = wanted;
        }
        Some(())
    }

    fn make_accessible(&mut self, bytes: u64) -> Result<()> {
        self.extend(bytes).ok_or_else(|| {
            Error::new(io::Error::last_os_error())
                .context(format_args!("cannot allocate a memory of {bytes} bytes"))
        })
    }

    /// Makes it the initial memory `index` of a module, with its contents, if they are known. It is as
    /// [`MemoryStorage::reset`] left it.
    pub(super) fn prepare(
        &mut self,
        plan: &MemoryPlan,
        index: MemoryIndex,
        contents: Option<&Arc<Contents>>,
    ) -> Result<()> {
        let bytes = plan.ty.minimum_byte_size();
        let accessible = in_pages(bytes).ok_or_else(|| too_large(bytes))?;
        let contents = contents.filter(|contents| contents.has(index));
        let same = match (&self.mapped, contents) {
            (None, None) => true,
            (Some((mapped, of)), Some(contents)) => *of == index && Arc::ptr_eq(mapped, contents),
            _ => false,
        };
        if !same || (self.accessible > accessible && plan.faults_at_end()) {
            self.unmap()?;
        }
        self.make_accessible(bytes)?;
        if let Some(contents) = contents.filter(|_| self.mapped.is_none()) {
            self.map(contents, index)?;
        }
        Ok(())
    }

    /// Maps initial contents, which must be inside of what is accessible.
    pub(super) fn map(&mut self, contents: &Arc<Contents>, index: MemoryIndex) -> Result<()> {
        // In case that only some of them can be: it is not as it was.
        self.mapped = Some((contents.clone(), index));
        let accessible = self.accessible as u64;
        let map = |at: u64, image: &MemoryImage, offset, len: u64| {
            if at.checked_add(len).is_none_or(|end| end > accessible) {
                return Err(io::Error::other(
                    "initial contents beyond the end of a memory",
                ));
            }
            // Both are less than `accessible`, which is of this type.
            let (at, len) = (at as usize, len as usize);
            let (space, at) = self.space.part(at, len)?;
            space.map_image(at, image, offset, len)
        };
        contents
            .each_part(index, map)
            .context("cannot map the initial contents of a memory")
    }

    /// Makes it inaccessible, without contents.
    ///
    /// # Errors
    /// What the system says; then nothing is known of it any more.
    pub(super) fn unmap(&mut self) -> io::Result<()> {
        let (space, at) = self.space.part(0, self.accessible)?;
        space.map_nothing(at, self.accessible)?;
        self.accessible = 0;
        self.mapped = None;
        *self.touched.get_mut() = false;
        Ok(())
    }

    /// Makes it what [`MemoryStorage::prepare`] had made of it, where `ran` says whether wasm may have
    /// written to it. Not more than `keep` bytes that were written stay in memory.
    ///
    /// # Errors
    /// What the system says; then it must not be used again.
    pub(super) fn reset(&mut self, plan: &MemoryPlan, ran: bool, keep: usize) -> io::Result<()> {
        let initial = in_pages(plan.ty.minimum_byte_size()).unwrap_or(0);
        if self.accessible > initial && plan.faults_at_end() {
            let more = self.accessible - initial;
            let (space, at) = self.space.part(initial, more)?;
            space.reset(at, more)?;
            space.make_inaccessible(at, more)?;
            self.accessible = initial;
        }
        if !ran && !*self.touched.get_mut() {
            return Ok(());
        }
        let most = keep / page_size();
        let rewritten = self.rewrite(most, DirtyPages::get()).unwrap_or(0);
        self.drop_pages(rewritten)?;
        *self.touched.get_mut() = false;
        Ok(())
    }

    /// Gives all memory back that it holds beyond what is mapped.
    ///
    /// # Errors
    /// What the system says; then it must not be used again.
    pub(super) fn release(&mut self) -> io::Result<()> {
        self.drop_pages(0)
    }

    fn drop_pages(&mut self, from: usize) -> io::Result<()> {
        let len = self.accessible - from;
        let (space, at) = self.space.part(from, len)?;
        space.reset(at, len)
    }

    /// Writes the initial contents to the pages that differ, `most` at most, or to the first ones if
    /// nobody tells which these are; up to where there are no others. `None` if that is not known.
    fn rewrite(&mut self, most: usize, dirty: Option<&DirtyPages>) -> Option<usize> {
        if most == 0 {
            return None;
        }
        let base = self.base();
        // Nothing is written before it is known that all of it can be.
        let original = match &self.mapped {
            Some((contents, index)) => Some((contents, *index, contents.original()?)),
            None => None,
        };
        let restore = |range: std::ops::Range<usize>| {
            // Up to `next` it is done.
            let mut next = range.start;
            if let Some((contents, index, original)) = original {
                let _ = contents.each_part(index, |at, _, offset, len| {
                    let (from, to) = (next.max(at as usize), range.end.min((at + len) as usize));
                    if from < to {
                        // SAFETY: the range is accessible, no other part of the process knows this
                        // memory, and the part is within the contents, which are mapped elsewhere.
                        unsafe {
                            std::ptr::write_bytes(base.add(next), 0, from - next);
                            std::ptr::copy_nonoverlapping(
                                original.base().add(offset as usize + (from - at as usize)),
                                base.add(from),
                                to - from,
                            );
                        }
                        next = to;
                    }
                    Ok(())
                });
            }
            // SAFETY: as above.
            unsafe { std::ptr::write_bytes(base.add(next), 0, range.end - next) };
        };
        match dirty {
            Some(pages) => pages.scan(base, self.accessible, most, restore).ok(),
            None => {
                let end = (most * page_size()).min(self.accessible);
                restore(0..end);
                Some(end)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bimetal_wasm::{Features, MemoryType, Module};

    use super::super::contents::InitialContents;
    use super::*;

    const PAGES: usize = 48;

    /// A memory with contents here and there, and what they are.
    fn memory(kept: &InitialContents) -> (MemoryStorage, Vec<u8>) {
        let text = r#"(module (memory 3)
            (data (i32.const 100) "begin") (data (i32.const 8190) "across") (data (i32.const 150000) "end"))"#;
        let module = Module::new(text, &Features::default()).unwrap();
        let ty: MemoryType = module.memories[MemoryIndex::from_u32(0)];
        let plan = MemoryPlan::new(ty, &bimetal_abi::Tunables::default());
        let bytes = ty.minimum_byte_size();
        let mut memory = MemoryStorage::new(&plan, bytes, bytes).unwrap();
        let contents = kept.next(&module, true).unwrap();
        memory.map(contents, MemoryIndex::from_u32(0)).unwrap();
        let mut expected = vec![0; bytes as usize];
        for (at, text) in [(100, "begin"), (8190, "across"), (150_000, "end")] {
            expected[at..at + text.len()].copy_from_slice(text.as_bytes());
        }
        (memory, expected)
    }

    fn bytes(memory: &mut MemoryStorage) -> &mut [u8] {
        // SAFETY: it is accessible and nobody else's.
        unsafe { std::slice::from_raw_parts_mut(memory.base(), memory.accessible) }
    }

    #[test]
    fn what_was_written_is_rewritten_with_and_without_help() {
        let contents = InitialContents::default();
        for dirty in [DirtyPages::get(), None] {
            for most in [1, 3, PAGES, 1000] {
                let (mut memory, expected) = memory(&contents);
                let written = [0, 1, 2, 5, 30, 36, 37, 47];
                for page in written {
                    bytes(&mut memory)[page * page_size()..][..page_size()].fill(7);
                }
                let done = memory.rewrite(most, dirty).unwrap();
                let before = &bytes(&mut memory)[..done];
                assert!(before == &expected[..done], "{most} pages");
                let enough = match dirty {
                    Some(_) => written.len(),
                    None => PAGES,
                };
                assert_eq!(done == expected.len(), most >= enough, "{most} pages");
                memory.drop_pages(done).unwrap();
                assert!(bytes(&mut memory) == expected, "{most} pages");
            }
        }
        assert_eq!(memory(&contents).0.rewrite(0, None), None);
    }
}
