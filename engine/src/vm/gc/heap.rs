//! One store's heap: its parts, and allocation.
//!
//! New objects are in *eden*, where generated code bumps `gc_next`. Those that live through a minor
//! collection go to one of two *survivor* halves, those that live through another to the old space.
//! The three parts of the nursery have room for as much each, and eden is never filled further than
//! what a half can take: so a minor collection cannot fail, whether the old space can grow or not.
//! Eden is as large as it may be while few objects survive, and small while many do, since it is what
//! survives that costs time.

use std::io;
use std::ptr::NonNull;

use bimetal_abi::VmStoreContext;
use bimetal_abi::gc::{VmObject, VmTypeInfo};

use super::barrier::Log;
use super::classes::{BLOCK, BLOCK_LOG2, LARGEST_CELL};
use super::mark::Marker;
use super::object::{Header, View};
use super::old::Old;
use super::space::{NoRoom, Space, Use};
use super::statistics::Counts;

/// Eden begins here: no object has reference 0, and where null would be is inaccessible.
const EDEN: u32 = BLOCK;

/// The least size of eden. Objects that are not large fit at least twice.
pub(super) const LEAST_EDEN: u32 = 128 << 10;

/// Eden's size at first.
pub(super) const FIRST_EDEN: u32 = 512 << 10;

/// How far eden grows while the old space is smaller than the nursery.
const SMALL_EDEN: u32 = 1 << 20;

/// If a minor collection copies more bytes than this, which takes about two milliseconds for the
/// smallest objects, eden is made smaller. If it copies less than half of it, eden may grow.
const MUCH_COPIED: u32 = 2 << 20;

/// How many collections are to pass after that before a larger eden is tried again, if more than half
/// as much is copied. Programs go through phases: what survived in one dies in the next.
const PATIENCE: u32 = 16;

/// How a heap is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeapConfig {
    /// Address space for it, at most.
    pub(crate) reservation: u64,
    /// How large eden may become.
    pub(crate) nursery: u32,
    /// Each so many allocations there is a collection.
    pub(crate) zeal: Option<std::num::NonZeroU32>,
}

impl Default for HeapConfig {
    fn default() -> Self {
        HeapConfig {
            reservation: super::space::LARGEST_HEAP,
            nursery: 4 << 20,
            zeal: None,
        }
    }
}

/// Where new objects are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nursery {
    /// Eden and each half have room for so many bytes.
    pub(super) part: u32,
    /// How much of that eden uses.
    pub(super) eden: u32,
    /// How much it would like to use.
    goal: u32,
    /// How many collections are to pass before it is tried whether a larger one would do.
    patience: u32,
    /// Where eden ends for now; `gc_limit` is that or 0.
    pub(super) limit: u32,
    /// The half with the survivors of the last minor collection: its start, and where they end.
    pub(super) from: u32,
    pub(super) from_end: u32,
    /// The other half.
    pub(super) to: u32,
}

impl Nursery {
    /// Whatever is below is in the nursery.
    #[inline(always)]
    pub(super) fn end(&self) -> u32 {
        self.part * 3
    }

    pub(super) fn survivors(&self) -> u32 {
        self.from_end - self.from
    }
}

/// What a cycle of the old space's collection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing is to be done until enough was allocated.
    Idle,
    /// Mark bits of the last cycle are cleared, up to this block so far.
    Clear(u32),
    /// The next minor collection is to empty the nursery, and then marking begins.
    Ready,
    /// What was reachable when this began is being marked.
    Mark,
    /// Unmarked cells are found, up to this block so far.
    Sweep(u32),
    /// Memory of free blocks is given back, up to this block so far; so many are kept.
    GiveBack(u32, u32),
}

/// A store's heap of objects.
pub(in crate::vm) struct Heap {
    pub(super) view: View,
    /// The store's, where generated code sees `gc_next` and `gc_limit`.
    context: NonNull<VmStoreContext>,
    pub(super) space: Space,
    pub(super) old: Old,
    pub(super) nursery: Nursery,
    pub(super) log: Log,
    pub(super) marker: Marker,
    pub(super) phase: Phase,
    /// Bytes that were live after the last cycle.
    pub(super) live: u64,
    /// Of the cycle that is sweeping.
    pub(super) swept: u64,
    /// Bytes of large objects since the last minor collection.
    pub(super) large_since: u64,
    /// Each so many allocations there is a collection.
    pub(super) zeal: Option<std::num::NonZeroU32>,
    zeal_left: u32,
    /// What minor collections have promoted and have not looked into yet; empty between them.
    pub(super) work: Vec<u32>,
    pub(super) counts: Counts,
}

impl Heap {
    /// An empty heap in this space, and its nursery.
    ///
    /// # Errors
    /// If the system has no memory.
    ///
    /// # Safety
    /// The context outlives the heap; `types` is the engine's table.
    pub(super) unsafe fn new(
        mut space: Space,
        config: &HeapConfig,
        context: NonNull<VmStoreContext>,
        types: *const VmTypeInfo,
    ) -> io::Result<Heap> {
        let most = (space.most() / 24) << BLOCK_LOG2;
        let part = (config.nursery.min(most) / BLOCK * BLOCK).max(LEAST_EDEN);
        let blocks = (part >> BLOCK_LOG2) * 3;
        space.allow(blocks);
        space.place_nursery(blocks)?;
        let mut heap = Heap {
            view: View {
                base: space.base(),
                types,
            },
            context,
            space,
            old: Old::new(),
            nursery: Nursery {
                part,
                eden: FIRST_EDEN.min(part),
                goal: FIRST_EDEN.min(part),
                patience: 0,
                limit: 0,
                from: part,
                from_end: part,
                to: part * 2,
            },
            log: Log::default(),
            marker: Marker::default(),
            phase: Phase::Idle,
            live: 0,
            swept: 0,
            large_since: 0,
            zeal: config.zeal,
            zeal_left: config.zeal.map_or(0, |every| every.get()),
            work: Vec::new(),
            counts: Counts::default(),
        };
        heap.empty_eden();
        Ok(heap)
    }

    pub(super) fn context(&mut self) -> &mut VmStoreContext {
        // SAFETY: it outlives us, and wasm is not running while somebody has the heap.
        unsafe { self.context.as_mut() }
    }

    /// Gives the space up, for another store. What it may keep in memory is its first so many bytes.
    pub(super) fn into_space(mut self) -> (Space, usize) {
        let used = self.context().gc_next;
        (self.space, used as usize)
    }

    /// Where the next object goes.
    pub(super) fn next(&self) -> u32 {
        // SAFETY: as for `context`.
        unsafe { self.context.as_ref().gc_next }
    }

    /// Bytes of objects in eden.
    pub(super) fn eden_used(&self) -> u32 {
        self.next() - EDEN
    }

    /// Lets allocation begin anew: nothing in eden is in use.
    pub(super) fn empty_eden(&mut self) {
        let room = self.nursery.part - self.nursery.survivors();
        self.nursery.limit = (EDEN + self.nursery.eden).min(room);
        let (limit, zeal) = (self.nursery.limit, self.zeal.is_some());
        let context = self.context();
        context.gc_next = EDEN;
        context.gc_limit = if zeal { 0 } else { limit };
    }

    /// Whether there shall be a collection just because something is allocated.
    pub(super) fn is_zealous(&mut self) -> bool {
        let Some(every) = self.zeal else {
            return false;
        };
        self.zeal_left = self.zeal_left.saturating_sub(1);
        if self.zeal_left > 0 {
            return false;
        }
        self.zeal_left = every.get();
        true
    }

    /// Bytes that the store's limiter is to know of, if there were so many blocks. What eden has more
    /// than at first, it borrows from the blocks.
    fn charge(&self, blocks: u32) -> u64 {
        let nursery = u64::from(FIRST_EDEN.min(self.nursery.part)) * 3;
        nursery + (u64::from(blocks.saturating_sub(self.space.nursery())) << BLOCK_LOG2)
    }

    /// What the limiter is to be asked at first.
    pub(super) fn first_request(&self) -> (u64, u64, Option<u64>) {
        let most = Some(self.charge(self.space.most()));
        (0, self.charge(0), most)
    }

    /// What it is to be asked so that there can be so many blocks: from, to, at most; in bytes.
    pub(super) fn request(&self, blocks: u32) -> (u64, u64, Option<u64>) {
        let most = Some(self.charge(self.space.most()));
        (self.charge(self.space.allowed()), self.charge(blocks), most)
    }

    /// How many blocks there should be before a minor collection, if more than now: with room for all
    /// that it might promote, and for a larger eden.
    pub(super) fn wanted(&self) -> Option<u32> {
        let young = self.eden_used() + self.nursery.survivors();
        let eden = self.nursery.goal.saturating_sub(self.nursery.eden) * 3;
        let need = young.div_ceil(BLOCK) + eden.div_ceil(BLOCK) + 4;
        let missing = need.checked_sub(self.space.available())?;
        let more = missing.max(16).max(self.space.len() / 16);
        let wanted = (self.space.allowed() + more).min(self.space.most());
        (missing > 0 && wanted > self.space.allowed()).then_some(wanted)
    }

    /// That much was refused: eden stays as it is.
    pub(super) fn refused(&mut self) {
        self.nursery.goal = self.nursery.eden;
    }

    /// Sees to it that eden has the right size for what survives: `copied` bytes did. A larger one is
    /// better as long as collections are not longer, so it is tried now and then.
    pub(super) fn adapt(&mut self, copied: u32) {
        let old = (self.space.len() - self.space.nursery()) << BLOCK_LOG2;
        let most = match old > self.nursery.part {
            true => self.nursery.part,
            false => SMALL_EDEN.min(self.nursery.part),
        };
        let nursery = &mut self.nursery;
        let eden = nursery.eden;
        if copied > MUCH_COPIED {
            nursery.goal = (eden / 2 / 8 * 8).max(LEAST_EDEN);
            nursery.patience = PATIENCE;
        } else if eden * 2 <= most {
            nursery.patience = match copied <= MUCH_COPIED / 2 {
                true => 0,
                false => nursery.patience.saturating_sub(1),
            };
            if nursery.patience == 0 {
                nursery.goal = eden * 2;
            }
        }
        let lent = |eden: u32| eden.saturating_sub(FIRST_EDEN).div_ceil(BLOCK) * 3;
        let more = lent(self.nursery.goal).saturating_sub(lent(eden));
        if more == 0 || more < self.space.available() {
            self.nursery.eden = self.nursery.goal;
            self.space.lent = lent(self.nursery.goal);
        }
    }

    /// Room in eden.
    #[inline]
    fn bump(&mut self, size: u32) -> Result<u32, NoRoom> {
        let limit = self.nursery.limit;
        let context = self.context();
        let at = context.gc_next;
        if size > limit.saturating_sub(at) {
            return Err(NoRoom::Full);
        }
        context.gc_next = at + size;
        Ok(at)
    }

    /// Room for an object of so many bytes, a multiple of 8, with its header. Its other bytes are
    /// undefined, or zero if that is asked for.
    pub(super) fn allocate(&mut self, new: &NewObject) -> Result<u32, NoRoom> {
        let size = new.size;
        if size > u64::from(LARGEST_CELL) {
            return self.allocate_large(new);
        }
        let at = self.bump(size as u32)?;
        // SAFETY: so many bytes there are ours, aligned.
        unsafe {
            if new.zeroed {
                std::ptr::write_bytes(self.view.at::<u8>(at), 0, size as usize);
            }
            self.view.set_header(at, new.header());
        }
        Ok(at)
    }

    /// The same in the old space, when eden is full and may not be emptied.
    pub(super) fn allocate_old(&mut self, new: &NewObject) -> Result<u32, NoRoom> {
        if new.size > u64::from(LARGEST_CELL) {
            return self.allocate_large(new);
        }
        let size = new.size as u32;
        let at = self.old.cell(&mut self.space, size)?;
        // SAFETY: as in `allocate`.
        unsafe {
            if new.zeroed {
                std::ptr::write_bytes(self.view.at::<u8>(at), 0, size as usize);
            }
            self.view.set_header(at, new.header());
            self.born_old(at);
            if self.has_refs(new) {
                self.log.add_new(self.view, at);
            }
        }
        Ok(at)
    }

    fn allocate_large(&mut self, new: &NewObject) -> Result<u32, NoRoom> {
        // What dies young is to be found before the old space has grown a lot.
        if self.large_since > u64::from(self.nursery.part).max(self.live / 4) {
            self.large_since = 0;
            return Err(NoRoom::Full);
        }
        let at = self.old.large(&mut self.space, new.size, new.zeroed)?;
        self.large_since += new.size;
        // SAFETY: as in `allocate`.
        unsafe {
            self.view.set_header(at, new.header());
            self.born_old(at);
            let guarded =
                new.kind == VmObject::ARRAY && new.size > u64::from(VmObject::LARGEST_UNGUARDED);
            if guarded {
                self.view
                    .set_header(at, Header(new.header().0 | Header::BARRIER));
            } else if self.has_refs(new) {
                self.log.add_new(self.view, at);
            }
        }
        Ok(at)
    }

    /// Whether there may be traced references in it.
    fn has_refs(&self, new: &NewObject) -> bool {
        // SAFETY: who wants an object has its type.
        let info = unsafe { self.view.info(new.header()) };
        match new.kind {
            VmObject::ARRAY => info.traced_elements != 0,
            _ => info.num_refs > 0,
        }
    }

    /// # Safety
    /// There is a new object at `at`, in the old space.
    unsafe fn born_old(&mut self, at: u32) {
        if self.phase == Phase::Mark {
            // SAFETY: in an accessible block.
            unsafe { super::old::set_marked(self.space.bits(), at) };
        }
    }

    /// Bytes in use or kept for objects.
    pub(super) fn bytes(&self) -> u64 {
        let old = self.space.len() - self.space.nursery() - self.space.num_free();
        u64::from(self.nursery.eden) * 3 + (u64::from(old) << BLOCK_LOG2)
    }

    /// Whether an object is in the nursery.
    #[cfg(test)]
    pub(super) fn is_young(&self, object: u32) -> bool {
        object < self.nursery.end()
    }

    /// Whether this is the start of a large object.
    pub(super) fn large_number(&self, object: u32) -> Option<u32> {
        match self.space.blocks[(object >> BLOCK_LOG2) as usize].used_for {
            Use::Large(number) => Some(number),
            _ => None,
        }
    }
}

/// What is to be allocated.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewObject {
    pub(super) type_id: u32,
    pub(super) kind: u8,
    /// In bytes, a multiple of 8.
    pub(super) size: u64,
    pub(super) zeroed: bool,
}

impl NewObject {
    fn header(&self) -> Header {
        Header(VmObject::header(self.type_id, self.kind))
    }
}
