//! Shared memories: memories of no store, which any number of stores and threads use at once.
//!
//! One never moves: the address space for its maximum is reserved when it is made. What generated
//! code sees of it, base and length, is in a place of its own that lives as long as anybody has the
//! memory; the length only grows, after the bytes are accessible.
//!
//! **Invariant**: other threads may be writing any byte at any time. So there is no reference to the
//! bytes: here they are accessed as atomics or, where it is whole ranges for wasm, through raw
//! pointers, as wasm itself does; which of two racing accesses comes first is nobody's promise.

use std::cell::UnsafeCell;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bimetal_abi::{MemoryPlan, TrapCode, Tunables, VmMemory};
use bimetal_wasm::MemoryType;

use super::definition::Definition;
use super::memory::range;
use super::storage::MemoryStorage;
use super::waiting::{Sleeper, Waiters, Woken};
use crate::error::Result;

/// A shared memory.
#[derive(Clone, Debug)]
pub(crate) struct SharedMemory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    def: Definition<VmMemory>,
    plan: MemoryPlan,
    /// Locked by who grows it.
    storage: Mutex<MemoryStorage>,
    waiters: Waiters,
}

// SAFETY: the definition's base does not change, and its length is atomic.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

/// What came of growing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    /// It was so large before.
    Old(u64),
    /// It cannot be.
    Failed,
    /// Another thread has grown it, since it was asked for whether it may grow.
    Raced,
}

/// A place of a word, checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word {
    at: u64,
    size: u8,
}

impl SharedMemory {
    /// A zeroed one.
    pub(crate) fn new(ty: MemoryType, tunables: &Tunables) -> Result<SharedMemory> {
        let plan = MemoryPlan::new(ty, tunables);
        let bytes = ty.minimum_byte_size();
        let storage = MemoryStorage::new(&plan, bytes, ty.maximum_byte_size())?;
        let def = Definition::boxed(VmMemory {
            base: storage.base(),
            length: AtomicUsize::new(bytes as usize),
        });
        Ok(SharedMemory(Arc::new(Inner {
            def,
            plan,
            storage: Mutex::new(storage),
            waiters: Waiters::default(),
        })))
    }

    pub(crate) fn same(a: &SharedMemory, b: &SharedMemory) -> bool {
        Arc::ptr_eq(&a.0, &b.0)
    }

    pub(super) fn plan(&self) -> MemoryPlan {
        self.0.plan
    }

    /// Where generated code finds it; valid as long as the memory.
    pub(super) fn def(&self) -> NonNull<VmMemory> {
        self.0.def.place()
    }

    fn base(&self) -> *mut u8 {
        // SAFETY: valid as long as the memory; the base does not change.
        unsafe { (*self.0.def.as_ptr()).base }
    }

    fn length(&self) -> &AtomicUsize {
        // SAFETY: valid as long as the memory, and atomic.
        unsafe { &(*self.0.def.as_ptr()).length }
    }

    /// Current size in bytes.
    pub(crate) fn len(&self) -> usize {
        self.length().load(Ordering::SeqCst)
    }

    /// Current size in pages.
    pub(crate) fn pages(&self) -> u64 {
        self.len() as u64 >> self.0.plan.ty.page_size_log2
    }

    /// The type with the current size as minimum.
    pub(crate) fn ty(&self) -> MemoryType {
        MemoryType {
            min: self.pages(),
            ..self.0.plan.ty
        }
    }

    /// Grows by `delta` pages; if `from` says how large it has to be, in bytes, only from there.
    pub(crate) fn grow(&self, delta: u64, from: Option<u64>) -> Growth {
        let storage = &self.0.storage;
        let mut storage = storage.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.len() as u64;
        if from.is_some_and(|from| from != old) {
            return Growth::Raced;
        }
        let ty = &self.0.plan.ty;
        let pages = old >> ty.page_size_log2;
        if delta == 0 {
            return Growth::Old(pages);
        }
        let bytes = pages.checked_add(delta);
        let bytes = bytes.and_then(|pages| pages.checked_mul(ty.page_size()));
        let Some(bytes) = bytes.filter(|&bytes| bytes <= ty.maximum_byte_size()) else {
            return Growth::Failed;
        };
        if storage.extend(bytes).is_none() {
            return Growth::Failed;
        }
        // It fits, as the address space does.
        self.length().store(bytes as usize, Ordering::SeqCst);
        Growth::Old(pages)
    }

    /// The bytes that there are now.
    pub(crate) fn data(&self) -> &[UnsafeCell<u8>] {
        // SAFETY: so many bytes from the base are accessible as long as the memory lives; that they
        // change is what the cells say.
        unsafe { std::slice::from_raw_parts(self.base().cast(), self.len()) }
    }

    /// Copies bytes out; `None` if they are not all inside.
    pub(crate) fn read(&self, at: u64, buffer: &mut [u8]) -> Option<()> {
        let range = range(at, buffer.len() as u64, self.len())?;
        // SAFETY: inside of the memory, of which all is atomic here.
        unsafe { load(self.base().add(range.start), buffer) };
        Some(())
    }

    /// Copies bytes in; `None` if they would not all be inside.
    pub(crate) fn write(&self, at: u64, buffer: &[u8]) -> Option<()> {
        let range = range(at, buffer.len() as u64, self.len())?;
        // SAFETY: as for `read`.
        unsafe { store(self.base().add(range.start), buffer) };
        Some(())
    }

    /// `memory.fill`; `None` is out of bounds.
    pub(super) fn fill(&self, at: u64, byte: u8, len: u64) -> Option<()> {
        let range = range(at, len, self.len())?;
        // SAFETY: inside of the memory, for wasm.
        unsafe { self.base().add(range.start).write_bytes(byte, range.len()) };
        Some(())
    }

    /// The address of a part, for copies that wasm makes.
    pub(super) fn part(&self, range: &Range<usize>) -> *mut u8 {
        debug_assert!(range.end <= self.len());
        self.base().wrapping_add(range.start)
    }

    /// The word of so many bytes at an address.
    ///
    /// # Errors
    /// The trap if it is not aligned or not inside.
    pub(crate) fn word(&self, at: u64, size: u8) -> Result<Word, TrapCode> {
        word(at, size, self.len())
    }

    /// Whether a word is what is expected.
    fn is(&self, word: Word, expected: u64) -> bool {
        let place = self.base().wrapping_add(word.at as usize);
        // SAFETY: checked when the word was made, and memories do not shrink.
        unsafe {
            match word.size {
                4 => {
                    let now = AtomicU32::from_ptr(place.cast()).load(Ordering::SeqCst);
                    now == (expected as u32).to_le()
                }
                _ => {
                    let now = AtomicU64::from_ptr(place.cast()).load(Ordering::SeqCst);
                    now == expected.to_le()
                }
            }
        }
    }

    /// Notifies who waits at a word; how many did.
    pub(crate) fn notify(&self, word: Word, count: u32) -> u32 {
        self.0.waiters.notify(word.at, count)
    }

    /// Begins to wait at a word; `None` if it is not what is expected.
    pub(super) fn enter(&self, word: Word, expected: u64) -> Option<Waiting<'_>> {
        let sleeper = self.0.waiters.enter(word.at, || self.is(word, expected))?;
        Some(Waiting {
            memory: self,
            at: word.at,
            sleeper,
        })
    }

    /// Lets the thread wait at a word: `None` if it is not what is expected, or else whether it was
    /// notified in time.
    pub(crate) fn wait(&self, word: Word, expected: u64, time: Option<Duration>) -> Option<bool> {
        let until = time.and_then(|time| Instant::now().checked_add(time));
        let waiting = self.enter(word, expected)?;
        loop {
            match waiting.sleeper.sleep(until) {
                Woken::Notified => return Some(true),
                Woken::TimedOut => return Some(waiting.ended_notified()),
                Woken::Interrupted => {}
            }
        }
    }
}

/// An aligned word of so many bytes inside of a memory of a length.
pub(super) fn word(at: u64, size: u8, len: usize) -> Result<Word, TrapCode> {
    if !at.is_multiple_of(size.into()) {
        return Err(TrapCode::HeapMisaligned);
    }
    match range(at, size.into(), len) {
        Some(_) => Ok(Word { at, size }),
        None => Err(TrapCode::MemoryOutOfBounds),
    }
}

/// A place in a queue, which is left when this is dropped.
pub(super) struct Waiting<'a> {
    memory: &'a SharedMemory,
    at: u64,
    pub(super) sleeper: Arc<Sleeper>,
}

impl Waiting<'_> {
    /// Gives up; whether it has been notified before.
    pub(super) fn ended_notified(&self) -> bool {
        !self.memory.0.waiters.leave(self.at, &self.sleeper)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.memory.0.waiters.leave(self.at, &self.sleeper);
    }
}

/// How many bytes at `from` come before the first word, and how many words there are then.
fn words(from: *const u8, len: usize) -> (usize, usize) {
    let head = from.align_offset(size_of::<u64>()).min(len);
    (head, (len - head) / size_of::<u64>())
}

/// # Safety
/// So many bytes from `from` must be accessible, and accessed as atomics by this program.
unsafe fn load(from: *mut u8, to: &mut [u8]) {
    let (head, count) = words(from, to.len());
    let byte = |i: usize| {
        // SAFETY: inside, by the caller's promise.
        unsafe { AtomicU8::from_ptr(from.add(i)).load(Ordering::Relaxed) }
    };
    let (first, rest) = to.split_at_mut(head);
    let (middle, last) = rest.split_at_mut(count * size_of::<u64>());
    for (i, to) in first.iter_mut().enumerate() {
        *to = byte(i);
    }
    let (words, _) = middle.as_chunks_mut::<8>();
    for (i, to) in words.iter_mut().enumerate() {
        // SAFETY: inside, by the caller's promise, and aligned.
        let word = unsafe { AtomicU64::from_ptr(from.add(head + 8 * i).cast()) };
        *to = word.load(Ordering::Relaxed).to_ne_bytes();
    }
    for (i, to) in last.iter_mut().enumerate() {
        *to = byte(head + 8 * count + i);
    }
}

/// # Safety
/// As for [`load`].
unsafe fn store(to: *mut u8, from: &[u8]) {
    let (head, count) = words(to, from.len());
    let byte = |i: usize| {
        // SAFETY: inside, by the caller's promise.
        unsafe { AtomicU8::from_ptr(to.add(i)) }
    };
    let (first, rest) = from.split_at(head);
    let (middle, last) = rest.split_at(count * size_of::<u64>());
    for (i, from) in first.iter().enumerate() {
        byte(i).store(*from, Ordering::Relaxed);
    }
    let (words, _) = middle.as_chunks::<8>();
    for (i, from) in words.iter().enumerate() {
        // SAFETY: inside, by the caller's promise, and aligned.
        let word = unsafe { AtomicU64::from_ptr(to.add(head + 8 * i).cast()) };
        word.store(u64::from_ne_bytes(*from), Ordering::Relaxed);
    }
    for (i, from) in last.iter().enumerate() {
        byte(head + 8 * count + i).store(*from, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(min: u64, max: u64) -> SharedMemory {
        let ty = MemoryType {
            min,
            max: Some(max),
            shared: true,
            memory64: false,
            page_size_log2: 16,
        };
        SharedMemory::new(ty, &Tunables::default()).unwrap()
    }

    #[test]
    fn bytes_are_copied_at_any_alignment() {
        let memory = memory(1, 1);
        let source: Vec<u8> = (1..=40).collect();
        for at in 0..17 {
            for len in 0..source.len() {
                memory.fill(0, 0, 64).unwrap();
                memory.write(at, &source[..len]).unwrap();
                let mut all = [0xff; 64];
                memory.read(0, &mut all).unwrap();
                let (at, mut expected) = (at as usize, [0; 64]);
                expected[at..at + len].copy_from_slice(&source[..len]);
                assert_eq!(all, expected, "{len} at {at}");
                let mut part = vec![0; len];
                memory.read(at as u64, &mut part).unwrap();
                assert_eq!(part, source[..len]);
            }
        }
        assert_eq!(memory.write(65_536, &[]), Some(()));
        assert_eq!(memory.write(65_535, &[1, 2]), None);
        assert_eq!(memory.read(u64::MAX, &mut [1]), None);
    }

    #[test]
    fn growing_is_seen_and_bounded() {
        let memory = memory(1, 3);
        let base = memory.base();
        assert_eq!(memory.grow(1, Some(0)), Growth::Raced);
        assert_eq!(memory.grow(1, Some(65_536)), Growth::Old(1));
        assert_eq!(memory.grow(2, None), Growth::Failed);
        assert_eq!(memory.grow(u64::MAX, None), Growth::Failed);
        assert_eq!(memory.grow(1, None), Growth::Old(2));
        assert_eq!((memory.pages(), memory.base()), (3, base));
        memory.write(3 * 65_536 - 2, b"ok").unwrap();
    }
}
