//! Linear memories.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use bimetal_abi::{MemoryPlan, MemoryStyle, VmMemory};
use cranelift_entity::entity_impl;

use super::definition::Definition;
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
    storage: MemoryStorage,
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
            storage,
        }
    }

    /// What it was in, for another one.
    pub(super) fn into_storage(self) -> MemoryStorage {
        self.storage
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

    /// The address of the first byte, for who may write there.
    pub(crate) fn base(&self) -> *mut u8 {
        self.storage.touch();
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
        self.storage.touch();
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
        self.def.place()
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
        if self.storage.extend(bytes).is_none() {
            if self.plan.style != MemoryStyle::Dynamic || !self.storage.can_move() {
                return None;
            }
            let room = bytes.saturating_add(bytes / 2).min(ty.maximum_byte_size());
            let storage = MemoryStorage::new(&self.plan, bytes, room)
                .or_else(|_| MemoryStorage::new(&self.plan, bytes, bytes))
                .ok()?;
            // SAFETY: both are accessible for the old length and do not overlap.
            unsafe {
                std::ptr::copy_nonoverlapping(self.storage.base(), storage.base(), self.len())
            };
            self.storage = storage;
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
                    self.memories[dst].base().add(to.start),
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
