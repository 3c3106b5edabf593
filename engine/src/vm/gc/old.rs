//! The old space: objects that do not move.
//!
//! Cells are handed out in runs: a new block is one, and in a block that was swept those between live
//! objects, found by its mark bits as they are needed. So a block is never written to free a cell.
//! What is allocated while the marker runs is marked.
//!
//! **Invariant**: runs that are in use, and lists of swept blocks, are dropped before mark bits
//! change their meaning: when bits are cleared for the next cycle, lists; when marking ends, runs.

use super::classes::{BLOCK, BLOCK_LOG2, COUNT, SIZES, class_of};
use super::space::{NoRoom, Space, Use};

/// Cells in a row that are free.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    next: u32,
    end: u32,
}

/// A large object.
#[derive(Debug)]
pub(super) struct Large {
    /// Where it is, which is its reference.
    pub(super) at: u32,
    pub(super) blocks: u32,
    /// For each card whether it was written, if that is known by card and any was.
    pub(super) cards: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Old {
    runs: [Run; COUNT],
    /// The block that a run is in, if there may be more runs behind it.
    walked: [Option<u32>; COUNT],
    /// Swept blocks with free cells.
    swept: Vec<Vec<u32>>,
    /// By number; `None` is a number to be used again.
    pub(super) large: Vec<Option<Large>>,
    free_numbers: Vec<u32>,
    /// Bytes in cells and blocks handed out since the last cycle.
    pub(super) allocated: u64,
}

/// Whether the mark bit of what is at `at` is set.
///
/// # Safety
/// `at` is in an accessible block.
#[inline(always)]
pub(super) unsafe fn is_marked(bits: *const u64, at: u32) -> bool {
    // SAFETY: the caller's promise.
    unsafe { *bits.add((at >> 9) as usize) >> ((at >> 3) & 63) & 1 == 1 }
}

/// Sets it.
///
/// # Safety
/// As for [`is_marked`].
#[inline(always)]
pub(super) unsafe fn set_marked(bits: *mut u64, at: u32) {
    // SAFETY: the caller's promise.
    unsafe { *bits.add((at >> 9) as usize) |= 1 << ((at >> 3) & 63) }
}

impl Old {
    pub(super) fn new() -> Old {
        Old {
            runs: [Run::default(); COUNT],
            walked: [None; COUNT],
            swept: vec![Vec::new(); COUNT],
            large: Vec::new(),
            free_numbers: Vec::new(),
            allocated: 0,
        }
    }

    /// A cell for an object of so many bytes, at most the largest cell's.
    #[inline(always)]
    pub(super) fn cell(&mut self, space: &mut Space, size: u32) -> Result<u32, NoRoom> {
        let class = class_of(size);
        let run = &mut self.runs[class];
        let at = run.next;
        if at < run.end {
            run.next = at + SIZES[class];
            return Ok(at);
        }
        self.cell_of_next_run(space, class)
    }

    #[cold]
    #[inline(never)]
    fn cell_of_next_run(&mut self, space: &mut Space, class: usize) -> Result<u32, NoRoom> {
        self.next_run(space, class)?;
        let run = &mut self.runs[class];
        let at = run.next;
        run.next = at + SIZES[class];
        Ok(at)
    }

    /// Finds cells for a class. The end of a run is behind its last cell.
    fn next_run(&mut self, space: &mut Space, class: usize) -> Result<(), NoRoom> {
        let cell = SIZES[class];
        loop {
            if let Some(block) = self.walked[class] {
                let start = block << BLOCK_LOG2;
                let last = start + (BLOCK / cell - 1) * cell;
                let bits = space.bits();
                // SAFETY: the block is accessible.
                let marked = |at: u32| unsafe { is_marked(bits, at) };
                let mut at = self.runs[class].end;
                while at <= last && marked(at) {
                    at += cell;
                }
                if at <= last {
                    let next = at;
                    while at <= last && !marked(at) {
                        at += cell;
                    }
                    self.runs[class] = Run { next, end: at };
                    self.allocated += u64::from(at - next);
                    return Ok(());
                }
                self.walked[class] = None;
            }
            if let Some(block) = self.swept[class].pop() {
                let start = block << BLOCK_LOG2;
                self.walked[class] = Some(block);
                self.runs[class] = Run {
                    next: start,
                    end: start,
                };
                continue;
            }
            let block = space.take(1, Use::Cells(class as u8))?;
            space.touch(block, 1);
            let start = block << BLOCK_LOG2;
            self.runs[class] = Run {
                next: start,
                end: start + BLOCK / cell * cell,
            };
            self.allocated += u64::from(BLOCK);
            return Ok(());
        }
    }

    /// Blocks for a large object of so many bytes; whether they are zero.
    pub(super) fn large(
        &mut self,
        space: &mut Space,
        size: u64,
        zero: bool,
    ) -> Result<u32, NoRoom> {
        let blocks = u32::try_from(size.div_ceil(u64::from(BLOCK))).map_err(|_| NoRoom::Full)?;
        let number = match self.free_numbers.last() {
            Some(&number) => number,
            None => self.large.len() as u32,
        };
        let first = space.take(blocks, Use::Large(number))?;
        if zero {
            space.clear(first, blocks);
        }
        space.touch(first, blocks);
        let at = first << BLOCK_LOG2;
        let large = Some(Large {
            at,
            blocks,
            cards: Vec::new(),
        });
        match self.free_numbers.pop() {
            Some(number) => self.large[number as usize] = large,
            None => self.large.push(large),
        }
        self.allocated += u64::from(blocks) << BLOCK_LOG2;
        Ok(at)
    }

    /// Forgets swept blocks, before mark bits are cleared.
    pub(super) fn drop_lists(&mut self) {
        self.swept.iter_mut().for_each(Vec::clear);
        self.walked = [None; COUNT];
    }

    /// Forgets runs, since cells that are free are swept as such: when marking has ended.
    pub(super) fn drop_runs(&mut self) {
        self.runs = [Run::default(); COUNT];
        self.walked = [None; COUNT];
    }

    /// Looks at one block's marks: the bytes that are live there.
    pub(super) fn sweep(&mut self, space: &mut Space, block: u32) -> u64 {
        let info = &mut space.blocks[block as usize];
        if !info.unswept {
            return 0;
        }
        info.unswept = false;
        let at = block << BLOCK_LOG2;
        match info.used_for {
            Use::Cells(class) => {
                // SAFETY: the mark bits of an accessible block, which nobody else looks at.
                let words = unsafe { &*space.bits_of(block) };
                let live: u32 = words.iter().map(|word| word.count_ones()).sum();
                let cell = SIZES[usize::from(class)];
                if live == 0 {
                    space.free(block, 1);
                } else if live < BLOCK / cell {
                    self.swept[usize::from(class)].push(block);
                }
                u64::from(live) * u64::from(cell)
            }
            Use::Large(number) => {
                let blocks = match &self.large[number as usize] {
                    Some(large) => large.blocks,
                    None => return 0,
                };
                // SAFETY: accessible.
                if unsafe { is_marked(space.bits(), at) } {
                    return u64::from(blocks) << BLOCK_LOG2;
                }
                self.large[number as usize] = None;
                self.free_numbers.push(number);
                space.free(block, blocks);
                0
            }
            Use::Free | Use::Nursery | Use::Rest => 0,
        }
    }
}
