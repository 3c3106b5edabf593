//! Minor collections: what is alive in the nursery is moved out of eden.
//!
//! From eden objects go to the free half of the survivors, from the other half to the old space; and
//! to the old space directly if there are too many, or if a cycle of marking is to begin, which wants
//! the nursery empty. Survivors are looked into in the order in which they lie (Cheney's way),
//! promoted objects as they come. If the old space is full, everything is a survivor: a half has room
//! for all.
//!
//! Old objects that still refer to the nursery afterwards stay in the log.

use super::barrier::CARD;
use super::heap::{Heap, Phase};
use super::object::{FORWARDED, Header, View, prefetch};
use super::old::{Old, set_marked};
use super::space::Space;
use super::stack::RootSet;

/// How far ahead objects in the log are asked for.
const LOG_AHEAD: usize = 8;

/// The state of one collection.
struct Evacuation<'h> {
    view: View,
    old: &'h mut Old,
    space: &'h mut Space,
    /// Promoted objects that have not been looked into.
    work: &'h mut Vec<u32>,
    /// Where the nursery ends, and where its halves begin: what is in eden is below.
    young: u32,
    halves: u32,
    /// Where survivors go; where the next one goes; where there have been enough of them.
    to: u32,
    next: u32,
    enough: u32,
    /// What is promoted is born marked.
    marking: bool,
    /// There is no room in the old space.
    old_is_full: bool,
    promoted: u32,
}

impl Evacuation<'_> {
    /// Sees to it that what a place refers to is not moved any more. Whether it is in the nursery.
    ///
    /// # Safety
    /// There is a traced reference of this heap.
    #[inline(always)]
    unsafe fn visit(&mut self, slot: *mut u32) -> bool {
        // SAFETY: the caller's promise.
        unsafe {
            let object = *slot;
            // Anything but an object has low bits that make it large; null becomes the largest.
            if object.rotate_right(2).wrapping_sub(1) >= (self.young >> 2) - 1 {
                return false;
            }
            let header = self.view.header(object);
            let new = match header.kind() {
                FORWARDED => header.type_id(),
                _ => self.evacuate(object, header),
            };
            *slot = new;
            new < self.young
        }
    }

    /// # Safety
    /// There is an object in the nursery that has not been moved.
    #[inline]
    unsafe fn evacuate(&mut self, object: u32, header: Header) -> u32 {
        // SAFETY: the caller's promise; so many bytes are free where it goes.
        unsafe {
            // A place that is shown twice refers to a survivor the second time.
            if object >= self.to && object < self.next {
                return object;
            }
            let size = self.view.size(object, header);
            let has_refs = self.view.num_refs(object, header) > 0;
            if object < self.halves && self.next + size <= self.enough {
                return self.survive(object, size);
            }
            if !self.old_is_full {
                match self.old.cell(self.space, size) {
                    Ok(new) => {
                        self.copy(object, new, size);
                        self.view
                            .set_header(new, Header(header.0 | Header::BARRIER));
                        self.view.set_header(object, Header::forwarded_to(new));
                        self.promoted += size;
                        if self.marking {
                            set_marked(self.space.bits(), new);
                        }
                        if has_refs {
                            self.work.push(new);
                        }
                        return new;
                    }
                    Err(_) => self.old_is_full = true,
                }
            }
            self.survive(object, size)
        }
    }

    /// # Safety
    /// As for `evacuate`.
    #[inline(always)]
    unsafe fn survive(&mut self, object: u32, size: u32) -> u32 {
        let new = self.next;
        self.next = new + size;
        // SAFETY: a half has room for all that the rest of the nursery has.
        unsafe {
            self.copy(object, new, size);
            self.view.set_header(object, Header::forwarded_to(new));
        }
        new
    }

    /// # Safety
    /// So many bytes, a multiple of eight, are in both places.
    #[inline(always)]
    unsafe fn copy(&self, from: u32, to: u32, size: u32) {
        // SAFETY: the caller's promise.
        unsafe {
            let (from, to) = (self.view.at::<u8>(from), self.view.at::<u8>(to));
            if size > 256 {
                return std::ptr::copy_nonoverlapping(from, to, size as usize);
            }
            let word = |at: u32| {
                let (from, to) = (from.add(at as usize), to.add(at as usize));
                to.cast::<u64>().write(from.cast::<u64>().read());
            };
            // Not by a call, and not more than it has to be: most objects have two to eight words.
            word(0);
            let mut at = size & 8;
            while at < size {
                word(at);
                word(at + 8);
                at += 16;
            }
        }
    }

    /// Looks into an object. Whether it refers to the nursery.
    ///
    /// # Safety
    /// There is one that has been moved, or was never to be.
    #[inline(always)]
    unsafe fn look_into(&mut self, object: u32, header: Header) -> bool {
        let mut young = false;
        // SAFETY: the caller's promise.
        unsafe {
            let refs = self.view.num_refs(object, header);
            self.view.each_ref(object, header, 0..refs, |slot| {
                young |= self.visit(slot);
            });
        }
        young
    }
}

impl Heap {
    /// Empties eden, and with `promote_all` the whole nursery unless the old space is full.
    ///
    /// # Safety
    /// The roots are all places outside of the heap that hold references to its objects, and these
    /// are whole.
    pub(super) unsafe fn minor(&mut self, roots: &mut impl RootSet, promote_all: bool) {
        let nursery = self.nursery;
        let mut evacuation = Evacuation {
            view: self.view,
            old: &mut self.old,
            space: &mut self.space,
            work: &mut self.work,
            young: nursery.end(),
            halves: nursery.part,
            to: nursery.to,
            next: nursery.to,
            enough: match promote_all {
                true => 0,
                false => nursery.to + nursery.eden / 8,
            },
            marking: self.phase == Phase::Mark,
            old_is_full: false,
            promoted: 0,
        };
        let this = &mut evacuation;
        // SAFETY: the caller's promise. What is in the log is in the old space.
        unsafe {
            roots.each(false, &mut |slot| this.visit(slot));

            let logged = std::mem::take(&mut self.log.objects);
            let mut still: Vec<u32> = Vec::new();
            for (i, &object) in logged.iter().enumerate() {
                if let Some(&later) = logged.get(i + LOG_AHEAD) {
                    prefetch(this.view.at(later));
                }
                let header = this.view.header(object);
                let young = this.look_into(object, header);
                let flags = header.0 & !Header::LOGGED | Header::BARRIER;
                if young {
                    still.push(object);
                    this.view.set_header(object, Header(flags | Header::LOGGED));
                } else {
                    this.view.set_header(object, Header(flags));
                }
            }
            let mut cards = std::mem::take(&mut self.log.cards);
            cards.retain(|&(number, card)| {
                let Some(large) = &mut this.old.large[number as usize] else {
                    return false;
                };
                let array = large.at;
                let header = this.view.header(array);
                let start = card * CARD;
                let end = this.view.length(array).min(start + CARD);
                let mut young = false;
                this.view.each_ref(array, header, start..end, |slot| {
                    young |= this.visit(slot);
                });
                if !young && let Some(large) = &mut this.old.large[number as usize] {
                    large.cards[card as usize] = 0;
                }
                young
            });

            let mut scanned = nursery.to;
            loop {
                while let Some(object) = this.work.pop() {
                    let header = this.view.header(object);
                    if this.look_into(object, header) {
                        this.view
                            .set_header(object, Header(header.0 | Header::LOGGED));
                        still.push(object);
                    }
                }
                if scanned == this.next {
                    break;
                }
                let header = this.view.header(scanned);
                let size = this.view.size(scanned, header);
                this.look_into(scanned, header);
                scanned += size;
            }
            self.log.objects = still;
            self.log.cards = cards;
        }
        let (next, promoted) = (evacuation.next, evacuation.promoted);
        self.log.reset_budget();
        self.nursery.from = nursery.to;
        self.nursery.from_end = next;
        self.nursery.to = nursery.from;
        self.large_since = 0;
        self.counts.minor += 1;
        self.counts.copied += u64::from(promoted + next - nursery.to);
        self.adapt(promoted + next - nursery.to);
        self.empty_eden();
    }

    /// Marks what survivors refer to, for a cycle that begins though the nursery is not empty.
    pub(super) fn mark_from_survivors(&mut self) {
        let mut at = self.nursery.from;
        while at < self.nursery.from_end {
            // SAFETY: objects lie there one behind the other.
            unsafe {
                let header = self.view.header(at);
                let refs = self.view.num_refs(at, header);
                let (bits, young) = (self.space.bits(), self.nursery.end());
                let marker = &mut self.marker;
                self.view.each_ref(at, header, 0..refs, |slot| {
                    marker.reach(bits, young, *slot);
                });
                at += self.view.size(at, header);
            }
        }
    }
}
