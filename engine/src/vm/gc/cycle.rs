//! When what is done: a step of the old space's collection after each minor one, and all at once.
//!
//! A cycle clears the mark bits, marks, sweeps, gives memory back, and waits until as much was
//! allocated in the old space as makes the next worth while. Each step does a bounded amount of work,
//! counted, not timed: so runs can be repeated.

use super::classes::BLOCK_LOG2;
use super::heap::{Heap, Phase};
use super::mark::HostMarks;
use super::old::is_marked;
use super::space::Use;
use super::stack::RootSet;

/// A cycle begins when so many bytes were allocated in the old space, at least.
const LITTLE: u64 = 8 << 20;

/// Blocks whose mark bits are cleared, or that are swept, in a step: a tenth of a millisecond.
const BLOCKS: u32 = 2048;

/// Blocks that are given back in a step.
const GIVEN_BACK: u32 = 64;

/// Work of marking in a step, about a millisecond: at least, and at most if much was promoted.
const MARKED: u64 = 48 << 10;
const MOST_MARKED: u64 = 96 << 10;

impl Heap {
    /// A minor collection and a step of the cycle. If that was the end of marking: the host values
    /// that were reached, all others can go.
    ///
    /// # Safety
    /// As for [`Heap::minor`].
    pub(super) unsafe fn collect(&mut self, roots: &mut impl RootSet) -> Option<HostMarks> {
        let before = self.counts.copied;
        // SAFETY: the caller's promise.
        unsafe {
            let begin = self.phase == Phase::Ready;
            self.minor(roots, begin);
            if begin {
                self.begin_marking(roots);
            }
            let copied = self.counts.copied - before;
            let budget = if self.zeal.is_some() {
                64
            } else {
                MARKED + copied / 8
            };
            self.step(budget.min(MOST_MARKED))
        }
    }

    /// Collects all that is not reachable now.
    ///
    /// # Safety
    /// As for [`Heap::minor`].
    pub(super) unsafe fn collect_all(&mut self, roots: &mut impl RootSet) -> HostMarks {
        // SAFETY: the caller's promise.
        unsafe {
            // An unfinished cycle would keep what has died since it began.
            self.phase = Phase::Idle;
            self.minor(roots, true);
            self.old.drop_lists();
            for block in 0..self.space.len() {
                self.clear_marks(block);
            }
            self.begin_marking(roots);
            let (bits, young) = (self.space.bits(), self.nursery.end());
            let mut no_limit = u64::MAX;
            self.marker.run(self.view, bits, young, &mut no_limit);
            let hosts = self.end_marking();
            while self.phase != Phase::Idle {
                self.step(u64::MAX);
            }
            hosts
        }
    }

    fn clear_marks(&mut self, block: u32) {
        let info = &mut self.space.blocks[block as usize];
        info.unswept = false;
        if matches!(info.used_for, Use::Cells(_) | Use::Large(_)) {
            // SAFETY: the mark bits of an accessible block, which nobody else looks at.
            unsafe { (*self.space.bits_of(block)).fill(0) };
        }
    }

    /// # Safety
    /// As for [`Heap::minor`], and right after it.
    unsafe fn begin_marking(&mut self, roots: &mut impl RootSet) {
        self.marker.reset();
        self.phase = Phase::Mark;
        let (bits, young) = (self.space.bits(), self.nursery.end());
        let marker = &mut self.marker;
        roots.each(true, &mut |slot| {
            // SAFETY: the caller's promise.
            unsafe { marker.reach(bits, young, *slot) };
            false
        });
        self.mark_from_survivors();
    }

    /// Everything that was to be marked is.
    fn end_marking(&mut self) -> HostMarks {
        let bits = self.space.bits();
        // What is not marked is not looked at any more.
        // SAFETY: what is in the log is in accessible blocks.
        self.log
            .objects
            .retain(|&object| unsafe { is_marked(bits, object) });
        let large = &self.old.large;
        self.log.cards.retain(|&(number, _)| {
            let at = large[number as usize].as_ref().map(|large| large.at);
            // SAFETY: as above.
            at.is_some_and(|at| unsafe { is_marked(bits, at) })
        });
        self.old.drop_lists();
        self.old.drop_runs();
        for block in &mut self.space.blocks {
            block.unswept = matches!(block.used_for, Use::Cells(_) | Use::Large(_));
        }
        self.old.allocated = 0;
        self.swept = 0;
        self.phase = Phase::Sweep(0);
        self.counts.cycles += 1;
        let hosts = std::mem::take(&mut self.marker.hosts);
        self.marker.reset();
        hosts
    }

    /// Bytes that are allocated in the old space between the end of marking and the next cycle.
    fn until_next(&self) -> u64 {
        LITTLE.max(self.live / 4 * 3)
    }

    /// Goes on with the cycle. Free blocks that will be used until the end of the next one keep their
    /// memory.
    fn step(&mut self, marking: u64) -> Option<HostMarks> {
        match self.phase {
            Phase::Idle => {
                if self.zeal.is_some() || self.old.allocated >= self.until_next() {
                    self.old.drop_lists();
                    self.phase = Phase::Clear(0);
                }
            }
            Phase::Clear(from) => {
                let end = self.space.len().min(from + BLOCKS);
                for block in from..end {
                    self.clear_marks(block);
                }
                self.phase = match end < self.space.len() {
                    true => Phase::Clear(end),
                    false => Phase::Ready,
                };
            }
            Phase::Ready => {}
            Phase::Mark => {
                let (bits, young) = (self.space.bits(), self.nursery.end());
                let mut budget = marking;
                // SAFETY: objects are whole between allocations.
                let more = unsafe { self.marker.run(self.view, bits, young, &mut budget) };
                if !more {
                    return Some(self.end_marking());
                }
            }
            Phase::Sweep(from) => {
                let end = self.space.len().min(from.saturating_add(BLOCKS));
                for block in from..end {
                    self.swept += self.old.sweep(&mut self.space, block);
                }
                self.phase = Phase::Sweep(end);
                if end == self.space.len() {
                    self.live = self.swept;
                    let kept = ((self.until_next() + self.live / 4) >> BLOCK_LOG2) as u32;
                    self.phase = Phase::GiveBack(self.space.nursery(), kept);
                }
            }
            Phase::GiveBack(from, mut kept) => {
                let end = self.space.give_back(from, GIVEN_BACK, &mut kept);
                self.phase = match end < self.space.len() {
                    true => Phase::GiveBack(end, kept),
                    false => Phase::Idle,
                };
            }
        }
        None
    }
}
