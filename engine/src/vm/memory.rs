//! Linear memories.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use bimetal_abi::{MemoryPlan, MemoryStyle, VmMemory};
use bimetal_sys::{MemoryImage, Reservation};
use cranelift_entity::entity_impl;

use super::store::StoreOpaque;
use crate::error::{Error, ErrorKind, Result};

/// A memory of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MemoryId(u32);
entity_impl!(MemoryId);

/// A memory with its backing address space.
#[derive(Debug)]
pub(crate) struct LinearMemory {
    /// What generated code sees; in the vmctx of the defining instance, or boxed.
    pub(super) def: NonNull<VmMemory>,
    pub(super) plan: MemoryPlan,
    storage: Reservation,
    /// Bytes from the start of `storage` that are accessible; a multiple of the page size.
    accessible: usize,
    /// Whether `def` was boxed for this memory.
    owns_def: bool,
}

/// Extra address space of a movable memory, so that not each growth moves it.
const GROWTH_SLACK: u64 = 2 << 20;

fn too_large(bytes: u64) -> Error {
    Error::of(
        ErrorKind::Limit,
        format_args!("a memory of {bytes} bytes does not fit this machine's address space"),
    )
}

fn storage_for(plan: &MemoryPlan, bytes: u64) -> Result<(Reservation, usize)> {
    let reserve = match plan.style {
        MemoryStyle::Reserved { reservation } => reservation,
        MemoryStyle::Dynamic => bytes
            .saturating_add(GROWTH_SLACK)
            .min(plan.ty.maximum_byte_size()),
    };
    let page = bimetal_sys::page_size();
    let rounded = |n: u64| {
        usize::try_from(n)
            .ok()
            .and_then(|n| n.checked_next_multiple_of(page))
    };
    let size = rounded(reserve)
        .and_then(|n| n.checked_add(rounded(plan.guard)?))
        .filter(|&n| n <= isize::MAX as usize)
        .ok_or_else(|| too_large(bytes))?;
    let accessible = rounded(bytes).ok_or_else(|| too_large(bytes))?;
    let storage = Reservation::new(size).map_err(|error| {
        Error::new(error).context(format_args!(
            "cannot reserve {size} bytes of address space for a memory"
        ))
    })?;
    if accessible > 0 {
        storage.make_accessible(0, accessible).map_err(|error| {
            Error::new(error).context(format_args!("cannot allocate a memory of {bytes} bytes"))
        })?;
    }
    Ok((storage, accessible))
}

impl LinearMemory {
    /// A zeroed memory of the plan's minimum, described at `def`, or in a box without one.
    ///
    /// # Safety
    /// `def` must be writable, unaliased by references and outlive the memory.
    pub(super) unsafe fn new(plan: MemoryPlan, def: Option<NonNull<VmMemory>>) -> Result<Self> {
        let bytes = plan.ty.minimum_byte_size();
        let (storage, accessible) = storage_for(&plan, bytes)?;
        let value = VmMemory {
            base: storage.base(),
            length: AtomicUsize::new(bytes as usize),
        };
        let owns_def = def.is_none();
        let def = match def {
            Some(def) => {
                // SAFETY: the caller's promise.
                unsafe { def.write(value) };
                def
            }
            None => NonNull::from(Box::leak(Box::new(value))),
        };
        Ok(LinearMemory {
            def,
            plan,
            storage,
            accessible,
            owns_def,
        })
    }

    /// Puts `len` bytes of an image, copied when they are written, at `at`: all in whole pages.
    pub(super) fn map(
        &mut self,
        at: u64,
        image: &MemoryImage,
        offset: u64,
        len: u64,
    ) -> io::Result<()> {
        let inside = |n: u64| usize::try_from(n).ok().filter(|&n| n <= self.accessible);
        let end = at.checked_add(len).and_then(inside);
        let (Some(at), Some(len), Some(_)) = (inside(at), inside(len), end) else {
            return Err(io::Error::other(
                "initial contents beyond the end of a memory",
            ));
        };
        self.storage.map_image(at, image, offset, len)
    }

    /// Current size in bytes.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: `def` is valid as long as the memory, and `length` is atomic.
        unsafe { (*self.def.as_ptr()).length.load(Ordering::Relaxed) }
    }

    /// Current size in pages.
    pub(crate) fn pages(&self) -> u64 {
        self.len() as u64 >> self.plan.ty.page_size_log2
    }

    /// The address of the first byte.
    pub(crate) fn base(&self) -> *mut u8 {
        self.storage.base()
    }

    /// The bytes, through the store's borrow.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `len` bytes from the base are accessible, and nothing writes them while the
        // store is borrowed: wasm runs only with the store borrowed mutably.
        unsafe { std::slice::from_raw_parts(self.storage.base(), self.len()) }
    }

    /// The bytes, through the store's mutable borrow.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `bytes`, and the store is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.storage.base(), self.len()) }
    }

    /// The type with the current size as minimum, as imports are matched against.
    pub(crate) fn ty(&self) -> bimetal_wasm::MemoryType {
        bimetal_wasm::MemoryType {
            min: self.pages(),
            ..self.plan.ty
        }
    }

    pub(super) fn def(&self) -> NonNull<VmMemory> {
        self.def
    }

    /// Grows by `delta` pages: the old size in pages, or `None` if that is not possible.
    pub(crate) fn grow(&mut self, delta: u64) -> Option<u64> {
        let old = self.pages();
        if delta == 0 {
            return Some(old);
        }
        let ty = &self.plan.ty;
        let new = old.checked_add(delta)?;
        let bytes = new.checked_mul(ty.page_size())?;
        if bytes > ty.maximum_byte_size() {
            return None;
        }
        let page = bimetal_sys::page_size();
        let wanted = usize::try_from(bytes)
            .ok()?
            .checked_next_multiple_of(page)?;
        let guard = usize::try_from(self.plan.guard)
            .ok()?
            .checked_next_multiple_of(page)?;
        if wanted <= self.storage.size() - guard {
            if wanted > self.accessible {
                let more = wanted - self.accessible;
                self.storage.make_accessible(self.accessible, more).ok()?;
                self.accessible = wanted;
            }
        } else if self.plan.style == MemoryStyle::Dynamic {
            let room = bytes.saturating_add(bytes / 2).min(ty.maximum_byte_size());
            let (storage, accessible) = storage_for(&self.plan, room)
                .or_else(|_| storage_for(&self.plan, bytes))
                .ok()?;
            // SAFETY: both are accessible for the old length and do not overlap.
            unsafe {
                std::ptr::copy_nonoverlapping(self.storage.base(), storage.base(), self.len())
            };
            self.storage = storage;
            self.accessible = accessible;
        } else {
            return None;
        }
        // SAFETY: `def` is valid; wasm is not running (we were called by it, or by the host).
        unsafe {
            (*self.def.as_ptr()).base = self.storage.base();
            (*self.def.as_ptr())
                .length
                .store(bytes as usize, Ordering::Relaxed);
        }
        Some(old)
    }
}

impl Drop for LinearMemory {
    fn drop(&mut self) {
        if self.owns_def {
            // SAFETY: leaked from a box by `new`, and nothing runs that could use it.
            drop(unsafe { Box::from_raw(self.def.as_ptr()) });
        }
    }
}

impl StoreOpaque {
    /// Copies between or within memories, with the bounds check that `memory.copy` needs.
    pub(super) fn memory_copy(
        &mut self,
        dst: MemoryId,
        src: MemoryId,
        dst_at: u64,
        src_at: u64,
        len: u64,
    ) -> Option<()> {
        let from = range(src_at, len, self.memories[src].len())?;
        let to = range(dst_at, len, self.memories[dst].len())?;
        if dst == src {
            self.memories[dst].bytes_mut().copy_within(from, to.start);
        } else {
            // SAFETY: both ranges were checked, and different memories do not overlap.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    self.memories[src].storage.base().add(from.start),
                    self.memories[dst].storage.base().add(to.start),
                    from.len(),
                );
            }
        }
        Some(())
    }
}

/// `at..at + len`, if that is inside `size`.
pub(super) fn range(at: u64, len: u64, size: usize) -> Option<std::ops::Range<usize>> {
    let end = at.checked_add(len)?;
    (end <= size as u64).then_some(at as usize..end as usize)
}
