//! Marking what is reachable in the old space, a bit at a time.
//!
//! A cycle begins right after a minor collection that has emptied the nursery: what the roots refer to
//! then is marked, and from there all that was reachable at that moment, since the barrier marks what
//! an object refers to before that is overwritten. What is allocated in the old space meanwhile is
//! born marked. So roots are looked at once, and young objects never.
//!
//! Objects are looked into in the order of a stack, each some steps after it was taken from there and
//! its memory asked for. Arrays are looked into piece by piece: no step depends on an object's size.

use bimetal_abi::gc::VmObject;

use super::object::{View, host_handle, is_object, prefetch};
use super::old::{is_marked, set_marked};

/// Elements of an array that are looked at in one step.
const PIECE: u32 = 512;

/// How many objects are between the stack and the one that is looked into.
const AHEAD: usize = 8;

/// The host values that were reached, by handle.
#[derive(Debug, Default)]
pub(in crate::vm) struct HostMarks(Vec<u64>);

impl HostMarks {
    #[inline]
    pub(in crate::vm) fn add(&mut self, handle: u32) {
        let (word, bit) = (handle as usize / 64, 1 << (handle % 64));
        if word >= self.0.len() {
            self.0.resize((word + 1).next_power_of_two(), 0);
        }
        self.0[word] |= bit;
    }

    /// Reaches what a reference is to, if that is a host value.
    pub(in crate::vm) fn reach(&mut self, raw: u32) {
        if let Some(handle) = host_handle(raw) {
            self.add(handle);
        }
    }

    pub(in crate::vm) fn has(&self, handle: u32) -> bool {
        let word = self.0.get(handle as usize / 64).copied().unwrap_or(0);
        word >> (handle % 64) & 1 == 1
    }
}

/// The state of marking.
#[derive(Default)]
pub(super) struct Marker {
    /// Objects that are marked and have not been looked into, and from which element on, in the high
    /// half.
    stack: Vec<u64>,
    pub(super) hosts: HostMarks,
}

impl Marker {
    /// Marks what a reference is to, and sees to it that it is looked into. `young` is where the
    /// nursery ends.
    ///
    /// # Safety
    /// `bits` are the mark bits of the heap that the reference is from.
    #[inline(always)]
    pub(super) unsafe fn reach(&mut self, bits: *mut u64, young: u32, raw: u32) {
        if !is_object(raw) {
            if let Some(handle) = host_handle(raw) {
                self.hosts.add(handle);
            }
            return;
        }
        if raw < young {
            return;
        }
        // SAFETY: an object is in an accessible block.
        unsafe {
            if !is_marked(bits, raw) {
                set_marked(bits, raw);
                self.stack.push(u64::from(raw));
            }
        }
    }

    /// Looks into marked objects, doing so much work, about a reference each. Whether there are more.
    ///
    /// # Safety
    /// View, bits and nursery are those of one heap, whose objects are whole.
    pub(super) unsafe fn run(
        &mut self,
        view: View,
        bits: *mut u64,
        young: u32,
        budget: &mut u64,
    ) -> bool {
        // Null stands for nothing.
        let mut ahead = [0u64; AHEAD];
        let (mut at, mut waiting) = (0, 0);
        loop {
            let out_of_budget = *budget == 0;
            let mut next = 0;
            if !out_of_budget && let Some(entry) = self.stack.pop() {
                // SAFETY: an object is there.
                prefetch(unsafe { view.at(entry as u32) });
                next = entry;
                waiting += 1;
            }
            let entry = std::mem::replace(&mut ahead[at], next);
            at = (at + 1) % AHEAD;
            if entry != 0 {
                waiting -= 1;
                if out_of_budget {
                    self.stack.push(entry);
                } else {
                    // SAFETY: the caller's promise.
                    let work = unsafe { self.look_into(view, bits, young, entry) };
                    *budget = budget.saturating_sub(work);
                }
            }
            if waiting == 0 && (out_of_budget || self.stack.is_empty()) {
                return !self.stack.is_empty();
            }
        }
    }

    /// # Safety
    /// As for [`Marker::run`].
    #[inline(always)]
    unsafe fn look_into(&mut self, view: View, bits: *mut u64, young: u32, entry: u64) -> u64 {
        let (object, from) = (entry as u32, (entry >> 32) as u32);
        // SAFETY: the caller's promise.
        unsafe {
            let header = view.header(object);
            let refs = view.num_refs(object, header);
            let end = match header.kind() == VmObject::ARRAY && refs - from > PIECE {
                true => from + PIECE,
                false => refs,
            };
            if end < refs {
                self.stack.push(u64::from(object) | u64::from(end) << 32);
            }
            view.each_ref(object, header, from..end, |slot| {
                self.reach(bits, young, *slot);
            });
            // An object without references costs something too.
            u64::from(end - from) + 2
        }
    }

    /// Forgets everything, for a new cycle.
    pub(super) fn reset(&mut self) {
        self.stack.clear();
        self.hosts = HostMarks::default();
    }
}
