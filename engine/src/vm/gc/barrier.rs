//! What was written since the last minor collection.
//!
//! Old objects have `BARRIER` set: code calls [`Heap::barrier`] before it writes a traced reference
//! into one. That clears the flag, so that there is one call for each object and collection, and puts
//! the object into the log, as a whole; the next minor collection looks for young objects in it. Of
//! large arrays only *cards* are looked at that were written, and the flag stays: so no pause depends
//! on an array's size.
//!
//! While the marker runs, what an object holds before it is written for the first time is marked here:
//! the marker finds all that was reachable when it began.

use bimetal_abi::gc::VmObject;

use super::heap::{Heap, Phase};
use super::object::{Header, View, elements_at};

/// Elements of a card.
pub(super) const CARD: u32 = 1 << CARD_LOG2;
const CARD_LOG2: u32 = 9;

/// So many elements of large arrays are looked at without cards in each minor collection, which is
/// faster for arrays that are written all over.
const WHOLE: u32 = 256 << 10;

/// What an object may have at most to be marked as a whole in the barrier.
const MARKED_AT_ONCE: u32 = 4096;

#[derive(Default)]
pub(super) struct Log {
    /// Objects with `LOGGED`.
    pub(super) objects: Vec<u32>,
    /// Large objects by number, and which of their cards.
    pub(super) cards: Vec<(u32, u32)>,
    /// Elements of large arrays in `objects`.
    whole: u32,
}

impl Log {
    /// Logs a new object in the old space, which may be filled without a barrier.
    ///
    /// # Safety
    /// There is one at `at`.
    pub(super) unsafe fn add_new(&mut self, view: View, at: u32) {
        // SAFETY: the caller's promise.
        unsafe {
            let header = view.header(at);
            view.set_header(at, Header(header.0 | Header::LOGGED));
        }
        self.objects.push(at);
    }

    /// Begins anew, after a minor collection.
    pub(super) fn reset_budget(&mut self) {
        self.whole = 0;
    }
}

impl Heap {
    /// A traced reference will be written into an old object, `offset` bytes from its start.
    ///
    /// # Safety
    /// The object has `BARRIER`; there is a traced reference at the offset.
    pub(super) unsafe fn barrier(&mut self, object: u32, offset: u32) {
        // SAFETY: the caller's promise.
        unsafe {
            let header = self.view.header(object);
            let refs = self.view.num_refs(object, header);
            if header.kind() == VmObject::ARRAY && refs > MARKED_AT_ONCE {
                let fits = self.log.whole.saturating_add(refs) <= WHOLE;
                if self.phase == Phase::Mark || !fits {
                    return self.barrier_of_card(object, offset);
                }
                self.log.whole += refs;
            } else if self.phase == Phase::Mark {
                let marker = &mut self.marker;
                let (bits, young) = (self.space.bits(), self.nursery.end());
                self.view.each_ref(object, header, 0..refs, |slot| {
                    marker.reach(bits, young, *slot);
                });
            }
            self.view
                .set_header(object, Header(header.0 & !Header::BARRIER | Header::LOGGED));
            if !header.has(Header::LOGGED) {
                self.log.objects.push(object);
            }
        }
    }

    /// # Safety
    /// As for `barrier`, of an array.
    unsafe fn barrier_of_card(&mut self, array: u32, offset: u32) {
        // SAFETY: the caller's promise.
        unsafe {
            if self.phase == Phase::Mark {
                let before = *self.view.at::<u32>(array + offset);
                self.marker
                    .reach(self.space.bits(), self.nursery.end(), before);
            }
            let Some(number) = self.large_number(array) else {
                // Not large: the whole of it is little enough.
                let header = self.view.header(array);
                if !header.has(Header::LOGGED) {
                    self.view
                        .set_header(array, Header(header.0 | Header::LOGGED));
                    self.log.objects.push(array);
                }
                return;
            };
            let card = (offset - elements_at(2)) / 4 / CARD;
            let length = self.view.length(array);
            if let Some(large) = &mut self.old.large[number as usize] {
                if large.cards.is_empty() {
                    large.cards = vec![0; length.div_ceil(CARD) as usize];
                }
                let written = &mut large.cards[card as usize];
                if *written == 0 {
                    *written = 1;
                    self.log.cards.push((number, card));
                }
            }
        }
    }

    /// As [`Heap::barrier`] for a part of an array that will be written, if it has `BARRIER`.
    ///
    /// # Safety
    /// It is an array of traced references that has these elements.
    pub(super) unsafe fn barrier_of_range(&mut self, array: u32, start: u32, length: u32) {
        let at = |index: u32| elements_at(2) + index * 4;
        let mut index = start;
        while index < start + length {
            // SAFETY: the caller's promise.
            unsafe {
                // Once may be enough: then the flag is gone.
                if !self.view.header(array).has(Header::BARRIER) {
                    return;
                }
                self.barrier(array, at(index));
                if self.phase != Phase::Mark {
                    // One is enough for a card.
                    index = (index / CARD + 1) * CARD;
                } else {
                    index += 1;
                }
            }
        }
    }
}
