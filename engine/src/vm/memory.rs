//! Linear memories.

use std::borrow::Cow;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use bimetal_abi::{MemoryPlan, MemoryStyle, VmMemory};
use cranelift_entity::entity_impl;

use super::definition::Definition;
use super::shared::{Growth, SharedMemory};
use super::storage::MemoryStorage;
use super::store::StoreOpaque;

/// A memory of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MemoryId(u32);
entity_impl!(MemoryId);

/// A memory with its backing address space.
#[derive(Debug)]
pub(crate) struct LinearMemory {
    /// What generated code sees.
    def: Definition<VmMemory>,
    pub(super) plan: MemoryPlan,
    backing: Backing,
}

/// What a memory's bytes are in.
#[derive(Debug)]
enum Backing {
    /// Nobody else's.
    Own(MemoryStorage),
    /// That of other stores, too.
    Shared(SharedMemory),
}

impl LinearMemory {
    /// A memory of the plan's minimum in what was prepared for it, described at `def`, or in a box
    /// without one.
    ///
    /// # Safety
    /// `def` must be writable, unaliased by references and outlive the memory.
    pub(super) unsafe fn new(
        plan: MemoryPlan,
        storage: MemoryStorage,
        def: Option<NonNull<VmMemory>>,
    ) -> Self {
        let value = VmMemory {
            base: storage.base(),
            length: AtomicUsize::new(plan.ty.minimum_byte_size() as usize),
        };
        LinearMemory {
            // SAFETY: the caller's promise.
            def: unsafe { Definition::new(def, value) },
            plan,
            backing: Backing::Own(storage),
        }
    }

    /// One that others use, too.
    pub(super) fn of_shared(memory: SharedMemory) -> Self {
        LinearMemory {
            def: Definition::at(memory.def()),
            plan: memory.plan(),
            backing: Backing::Shared(memory),
        }
    }

    /// The shared memory that this is, if it is one.
    pub(crate) fn shared(&self) -> Option<&SharedMemory> {
        match &self.backing {
            Backing::Own(_) => None,
            Backing::Shared(memory) => Some(memory),
        }
    }

    /// What it was in, for another one; nothing if that is not its own.
    pub(super) fn into_storage(self) -> Option<MemoryStorage> {
        match self.backing {
            Backing::Own(storage) => Some(storage),
            Backing::Shared(_) => None,
        }
    }

    /// Current size in bytes.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: `def` is valid as long as the memory, and `length` is atomic.
        unsafe { (*self.def.as_ptr()).length.load(Ordering::SeqCst) }
    }

    /// Current size in pages.
    pub(crate) fn pages(&self) -> u64 {
        self.len() as u64 >> self.plan.ty.page_size_log2
    }

    /// The address of the first byte, for who may write there.
    pub(crate) fn base(&self) -> *mut u8 {
        if let Backing::Own(storage) = &self.backing {
            storage.touch();
        }
        // SAFETY: `def` is valid; the base changes only while the store is borrowed mutably.
        unsafe { (*self.def.as_ptr()).base }
    }

    /// The bytes, through the store's borrow. None of a shared memory, which that does not keep from
    /// changing.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.backing {
            // SAFETY: `len` bytes from the base are accessible, and nothing writes them while the
            // store is borrowed: wasm runs only with the store borrowed mutably.
            Backing::Own(storage) => unsafe {
                std::slice::from_raw_parts(storage.base(), self.len())
            },
            Backing::Shared(_) => &[],
        }
    }

    /// The bytes, through the store's mutable borrow. None of a shared memory.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match &self.backing {
            Backing::Own(storage) => {
                storage.touch();
                // SAFETY: as for `bytes`, and the store is borrowed mutably.
                unsafe { std::slice::from_raw_parts_mut(storage.base(), self.len()) }
            }
            Backing::Shared(_) => &mut [],
        }
    }

    /// The bytes, of a shared memory as they are found one after the other.
    pub(crate) fn contents(&self) -> Cow<'_, [u8]> {
        match &self.backing {
            Backing::Own(_) => Cow::Borrowed(self.bytes()),
            Backing::Shared(memory) => {
                let mut bytes = vec![0; memory.len()];
                // Memories do not shrink.
                let _ = memory.read(0, &mut bytes);
                Cow::Owned(bytes)
            }
        }
    }

    /// The type with the current size as minimum, as imports are matched against.
    pub(crate) fn ty(&self) -> bimetal_wasm::MemoryType {
        bimetal_wasm::MemoryType {
            min: self.pages(),
            ..self.plan.ty
        }
    }

    pub(super) fn def(&self) -> NonNull<VmMemory> {
        self.def.place()
    }

    /// `memory.fill`; `None` is out of bounds.
    pub(super) fn fill(&mut self, at: u64, byte: u8, len: u64) -> Option<()> {
        if let Backing::Shared(memory) = &self.backing {
            return memory.fill(at, byte, len);
        }
        let range = range(at, len, self.len())?;
        self.bytes_mut()[range].fill(byte);
        Some(())
    }

    /// Copies bytes in; `None` is out of bounds.
    pub(super) fn write(&mut self, at: u64, from: &[u8]) -> Option<()> {
        if let Backing::Shared(memory) = &self.backing {
            return memory.write(at, from);
        }
        let range = range(at, from.len() as u64, self.len())?;
        self.bytes_mut()[range].copy_from_slice(from);
        Some(())
    }

    /// The address of a part that is inside, to be written.
    fn part(&self, range: &Range<usize>) -> *mut u8 {
        match &self.backing {
            Backing::Own(_) => self.base().wrapping_add(range.start),
            Backing::Shared(memory) => memory.part(range),
        }
    }

    /// Grows by `delta` pages: the old size in pages, or `None` if that is not possible.
    pub(crate) fn grow(&mut self, delta: u64) -> Option<u64> {
        match self.grow_from(delta, None) {
            Growth::Old(pages) => Some(pages),
            Growth::Failed | Growth::Raced => None,
        }
    }

    /// Grows by `delta` pages; a shared memory only if it has `from` bytes, if that is said.
    pub(super) fn grow_from(&mut self, delta: u64, from: Option<u64>) -> Growth {
        match &self.backing {
            Backing::Own(_) => self.grow_own(delta).map_or(Growth::Failed, Growth::Old),
            Backing::Shared(memory) => memory.grow(delta, from),
        }
    }

    fn grow_own(&mut self, delta: u64) -> Option<u64> {
        let old = self.pages();
        if delta == 0 {
            return Some(old);
        }
        let len = self.len();
        let Backing::Own(storage) = &mut self.backing else {
            return None;
        };
        let ty = &self.plan.ty;
        let new = old.checked_add(delta)?;
        let bytes = new.checked_mul(ty.page_size())?;
        if bytes > ty.maximum_byte_size() {
            return None;
        }
        if storage.extend(bytes).is_none() {
            if self.plan.style != MemoryStyle::Dynamic || !storage.can_move() {
                return None;
            }
            let room = bytes.saturating_add(bytes / 2).min(ty.maximum_byte_size());
            let moved = MemoryStorage::new(&self.plan, bytes, room)
                .or_else(|_| MemoryStorage::new(&self.plan, bytes, bytes))
                .ok()?;
            // SAFETY: both are accessible for the old length and do not overlap.
            unsafe { std::ptr::copy_nonoverlapping(storage.base(), moved.base(), len) };
            *storage = moved;
        }
        // SAFETY: `def` is valid; wasm is not running (we were called by it, or by the host).
        unsafe {
            (*self.def.as_ptr()).base = storage.base();
            (*self.def.as_ptr())
                .length
                .store(bytes as usize, Ordering::Relaxed);
        }
        Some(old)
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
        let from = self.memories[src].part(&from);
        // SAFETY: both ranges were checked. They may be of the same memory, and others may be writing
        // to one that is shared.
        unsafe { std::ptr::copy(from, self.memories[dst].part(&to), to.len()) };
        Some(())
    }
}

/// `at..at + len`, if that is inside `size`.
pub(super) fn range(at: u64, len: u64, size: usize) -> Option<Range<usize>> {
    let end = at.checked_add(len)?;
    (end <= size as u64).then_some(at as usize..end as usize)
}
