//! A heap's address space, in blocks, and the mark bits.
//!
//! The space is reserved once and becomes accessible from its start, as far as the store's limiter has
//! let it ([`Space::allow`]); the base never moves. Blocks are free, or hold cells of one size, or a
//! large object. There is a mark bit for each eight bytes, found by address alone. The first block
//! never becomes accessible: code takes a fault there for a null reference.
//!
//! **Invariant**: the mark bits of free blocks are not set.

use std::io;

use bimetal_sys::{Reservation, page_size};

use super::classes::{BLOCK, BLOCK_LOG2};

/// Bytes of mark bits for a block.
const BLOCK_BITS: usize = BLOCK as usize / 64;

/// No heap is larger, so that no sum of a reference and the size of an object in a cell wraps.
pub(super) const LARGEST_HEAP: u64 = (4 << 30) - BLOCK as u64;

/// Blocks that are made accessible at once, at least.
const STEP: u32 = 16;

/// At most, unless more are asked for: making them accessible takes less than a millisecond.
const MOST_STEP: u32 = 32;

/// Blocks of the old space from which on new ones have their memory at once. A quarter of the time that
/// a program needs to fill its heap can be page faults, but a small heap shall take no more than it has to.
const POPULATE_FROM: u32 = 64;

/// What a block is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Free,
    /// The nursery is there.
    Nursery,
    /// Cells of this class.
    Cells(u8),
    /// The start of the large object with this number.
    Large(u32),
    /// Not the first of a large object's blocks.
    Rest,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) used_for: Use,
    /// The mark bits say what of it is live, and nobody has looked at them yet.
    pub(super) unswept: bool,
    /// Its bytes may be other than zero.
    pub(super) touched: bool,
}

/// Why there are no blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// The heap would have to grow to so many blocks, which nobody has allowed yet.
    Ask(u32),
    /// There is none left.
    Full,
}

#[derive(Debug)]
pub(super) struct Space {
    memory: Reservation,
    bits: Reservation,
    /// Blocks that are accessible.
    pub(super) blocks: Vec<Block>,
    /// One bit for each of them: whether it is free.
    free: Vec<u64>,
    num_free: u32,
    /// How many blocks there may be, by what was allowed.
    allowed: u32,
    /// Of these, how many are not to be used since eden is larger.
    pub(super) lent: u32,
    /// How many there can be.
    most: u32,
    /// The nursery's blocks, which are the first.
    nursery: u32,
    /// The bytes that were asked for.
    reserved_for: u64,
}

impl Space {
    /// Reserves address space for at most so many bytes, or less where it is scarce.
    pub(super) fn new(bytes: u64) -> io::Result<Space> {
        let reserved_for = bytes;
        let least = 16 * u64::from(BLOCK);
        let mut bytes = bytes.clamp(least, LARGEST_HEAP) / u64::from(BLOCK) * u64::from(BLOCK);
        let memory = loop {
            match Reservation::new(bytes as usize) {
                Ok(memory) => break memory,
                Err(error) if bytes / 2 < least => return Err(error),
                Err(_) => bytes = bytes / 2 / u64::from(BLOCK) * u64::from(BLOCK),
            }
        };
        let most = (bytes >> BLOCK_LOG2) as u32;
        Ok(Space {
            memory,
            bits: Reservation::new(most as usize * BLOCK_BITS)?,
            blocks: Vec::new(),
            free: Vec::new(),
            num_free: 0,
            allowed: 0,
            lent: 0,
            most,
            nursery: 0,
            reserved_for,
        })
    }

    pub(super) fn base(&self) -> *mut u8 {
        self.memory.base()
    }

    pub(super) fn bits(&self) -> *mut u64 {
        self.bits.base().cast()
    }

    /// The mark bits of a block, as words.
    pub(super) fn bits_of(&self, block: u32) -> *mut [u64] {
        let first = self.bits().wrapping_add(block as usize * (BLOCK_BITS / 8));
        std::ptr::slice_from_raw_parts_mut(first, BLOCK_BITS / 8)
    }

    /// The bytes that were asked for when this was reserved.
    pub(super) fn reserved_for(&self) -> u64 {
        self.reserved_for
    }

    /// How many blocks there can be.
    pub(super) fn most(&self) -> u32 {
        self.most
    }

    /// How many blocks are accessible.
    pub(super) fn len(&self) -> u32 {
        self.blocks.len() as u32
    }

    /// Of these, how many are free.
    pub(super) fn num_free(&self) -> u32 {
        self.num_free
    }

    /// How many more could be had without asking.
    pub(super) fn available(&self) -> u32 {
        (self.num_free + self.allowed.saturating_sub(self.len())).saturating_sub(self.lent)
    }

    /// Lets the heap have so many blocks.
    pub(super) fn allow(&mut self, blocks: u32) {
        self.allowed = self.allowed.max(blocks.min(self.most));
    }

    /// How many it may have.
    pub(super) fn allowed(&self) -> u32 {
        self.allowed
    }

    /// How many are the nursery's.
    pub(super) fn nursery(&self) -> u32 {
        self.nursery
    }

    /// Gives the first blocks to the nursery, all that there are: for an empty space.
    pub(super) fn place_nursery(&mut self, blocks: u32) -> io::Result<()> {
        self.grow_to(blocks)?;
        for block in 0..blocks {
            self.set_free(block, false);
            self.blocks[block as usize].used_for = Use::Nursery;
        }
        self.nursery = blocks;
        Ok(())
    }

    fn set_free(&mut self, block: u32, free: bool) {
        let (word, bit) = (block as usize / 64, 1 << (block % 64));
        match free {
            true => {
                self.free[word] |= bit;
                self.num_free += 1;
            }
            false => {
                self.free[word] &= !bit;
                self.num_free -= 1;
            }
        }
    }

    fn grow_to(&mut self, blocks: u32) -> io::Result<()> {
        let from = self.len() as usize;
        // Mark bits of a page serve several blocks.
        let page = page_size();
        let bits = from * BLOCK_BITS / page * page;
        let end = (blocks as usize * BLOCK_BITS).next_multiple_of(page);
        self.bits
            .make_accessible(bits, end.min(self.bits.size()) - bits)?;
        let first = from.max(1) << BLOCK_LOG2;
        let end = (blocks as usize) << BLOCK_LOG2;
        if end > first {
            self.memory.make_accessible(first, end - first)?;
            if from as u32 > self.nursery + POPULATE_FROM
                && end - first <= MOST_STEP as usize * BLOCK as usize
            {
                // Without it everything is only slower.
                let _ = self.memory.populate(first, end - first);
            }
        }
        self.free.resize((blocks as usize).div_ceil(64), 0);
        for block in from as u32..blocks {
            self.blocks.push(Block {
                used_for: Use::Free,
                unswept: false,
                touched: false,
            });
            self.set_free(block, true);
        }
        Ok(())
    }

    /// The first of `count` free blocks in a row.
    fn find(&self, count: u32) -> Option<u32> {
        if self.num_free < count {
            return None;
        }
        let mut run = 0;
        for (i, &word) in self.free.iter().enumerate() {
            match word {
                0 => run = 0,
                u64::MAX if run + 64 < count => run += 64,
                _ => {
                    for bit in 0..64 {
                        run = if word >> bit & 1 == 1 { run + 1 } else { 0 };
                        if run == count {
                            return Some(i as u32 * 64 + bit + 1 - count);
                        }
                    }
                }
            }
        }
        None
    }

    /// Free blocks at the end of what is accessible.
    fn free_at_end(&self) -> u32 {
        let free = |block: &&Block| block.used_for == Use::Free;
        self.blocks.iter().rev().take_while(free).count() as u32
    }

    /// Takes blocks in a row for something: the first.
    pub(super) fn take(&mut self, count: u32, used_for: Use) -> Result<u32, NoRoom> {
        let first = match self.find(count) {
            Some(first) => first,
            None => {
                let end = self.len() - self.free_at_end() + count;
                if end + self.lent > self.most {
                    return Err(NoRoom::Full);
                }
                let allowed = self.allowed.saturating_sub(self.lent);
                if end > allowed {
                    return Err(NoRoom::Ask(end + self.lent));
                }
                let wanted = end.max(self.len() + (self.len() / 16).clamp(STEP, MOST_STEP));
                let grown = self.grow_to(wanted.min(allowed));
                if grown.or_else(|_| self.grow_to(end)).is_err() {
                    return Err(NoRoom::Full);
                }
                end - count
            }
        };
        for block in first..first + count {
            self.set_free(block, false);
            self.blocks[block as usize].used_for = Use::Rest;
        }
        self.blocks[first as usize].used_for = used_for;
        Ok(first)
    }

    /// Makes blocks zero that may not be.
    pub(super) fn clear(&mut self, first: u32, count: u32) {
        for block in first..first + count {
            if self.blocks[block as usize].touched {
                // SAFETY: the block is accessible, and only ours.
                unsafe {
                    let at = self.base().add((block as usize) << BLOCK_LOG2);
                    std::ptr::write_bytes(at, 0, BLOCK as usize);
                }
            }
        }
    }

    /// Gives the memory of blocks back; they are zero then.
    fn forget(&mut self, first: u32, count: u32) {
        let (at, len) = (
            (first as usize) << BLOCK_LOG2,
            (count as usize) << BLOCK_LOG2,
        );
        if self.memory.reset(at, len).is_err() {
            // SAFETY: these blocks are accessible, and only ours.
            unsafe { std::ptr::write_bytes(self.base().add(at), 0, len) };
        }
        for block in first..first + count {
            self.blocks[block as usize].touched = false;
        }
    }

    /// Says that bytes of blocks are not zero any more.
    pub(super) fn touch(&mut self, first: u32, count: u32) {
        for block in first..first + count {
            self.blocks[block as usize].touched = true;
        }
    }

    /// Frees blocks, whose mark bits must not be set.
    pub(super) fn free(&mut self, first: u32, count: u32) {
        for block in first..first + count {
            self.blocks[block as usize].used_for = Use::Free;
            self.blocks[block as usize].unswept = false;
            self.set_free(block, true);
        }
    }

    /// Gives memory of free blocks back to the system, but for `keep` of them; at most `budget` blocks
    /// are looked at, from `from` on. Where to go on.
    pub(super) fn give_back(&mut self, from: u32, budget: u32, keep: &mut u32) -> u32 {
        let end = self.len().min(from + budget);
        let mut block = from;
        while block < end {
            let idle = |block: u32| {
                let b = &self.blocks[block as usize];
                b.used_for == Use::Free && b.touched
            };
            let run = (block..end).take_while(|&b| idle(b)).count() as u32;
            let kept = run.min(*keep);
            *keep -= kept;
            if run > kept {
                self.forget(block + kept, run - kept);
            }
            block += run.max(1);
        }
        end
    }

    /// Makes the space what it was at first, for another store; the first `keep` bytes may stay in
    /// memory. False if that is not possible.
    pub(super) fn recycle(&mut self, keep: usize) -> bool {
        let accessible = self.blocks.len() << BLOCK_LOG2;
        let first = (BLOCK as usize).min(accessible);
        let keep = keep.next_multiple_of(page_size()).clamp(first, accessible);
        // SAFETY: these bytes are accessible, and only ours.
        unsafe { std::ptr::write_bytes(self.base().add(first), 0, keep - first) };
        let bits = (self.blocks.len() * BLOCK_BITS).next_multiple_of(page_size());
        let old = self.nursery as usize * BLOCK_BITS / page_size() * page_size();
        let done = self.memory.reset(keep, accessible - keep).is_ok()
            && self
                .memory
                .make_inaccessible(keep, accessible - keep)
                .is_ok()
            && self
                .bits
                .reset(old, bits.min(self.bits.size()) - old)
                .is_ok();
        self.blocks.clear();
        self.free.clear();
        (self.num_free, self.allowed, self.lent, self.nursery) = (0, 0, 0, 0);
        done
    }
}
