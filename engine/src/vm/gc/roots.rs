//! References that the host holds.
//!
//! Objects move, so the host has a place in this table instead. *Rooted* places are a stack: a scope
//! ends with all places that were made in it. *Owned* ones live as long as their handle. A place is
//! found again with a serial number that no other has had: a handle that has outlived its scope is
//! refused, whatever is in its place now.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A place on the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RootHandle {
    index: u32,
    serial: u64,
}

/// A place of its own: kept as long as this, or a clone.
#[derive(Clone, Debug)]
pub(crate) struct OwnedRoot {
    index: u32,
    _keep: Arc<()>,
}

/// Where a scope began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScopeStart(usize);

#[derive(Debug, Default)]
struct Stack {
    places: Vec<(u32, u64)>,
    last_serial: u64,
}

#[derive(Debug)]
struct Owned {
    raw: u32,
    keep: Weak<()>,
}

/// Owned places are looked through for those that nobody keeps when there are so many, at least.
const FEW: usize = 256;

/// The references that the host holds to what is in a store.
#[derive(Debug)]
pub(crate) struct Roots {
    /// Locked, since reading a table or global makes a root with a shared reference to the store.
    stack: Mutex<Stack>,
    owned: Vec<Owned>,
    free: Vec<u32>,
    next_trim: usize,
}

impl Default for Roots {
    fn default() -> Self {
        Roots {
            stack: Mutex::default(),
            owned: Vec::new(),
            free: Vec::new(),
            next_trim: FEW,
        }
    }
}

impl Roots {
    /// A place for a reference, until the current scope ends.
    pub(crate) fn root(&self, raw: u32) -> RootHandle {
        let mut stack = self.stack.lock().unwrap_or_else(PoisonError::into_inner);
        stack.last_serial += 1;
        let serial = stack.last_serial;
        // Four thousand million places would take 64 GiB.
        let index = stack.places.len() as u32;
        stack.places.push((raw, serial));
        RootHandle { index, serial }
    }

    /// What is there, if the scope has not ended.
    pub(crate) fn rooted(&self, handle: RootHandle) -> Option<u32> {
        let stack = self.stack.lock().unwrap_or_else(PoisonError::into_inner);
        let &(raw, serial) = stack.places.get(handle.index as usize)?;
        (serial == handle.serial).then_some(raw)
    }

    /// Begins a scope: each call of a host function does.
    #[inline]
    pub(crate) fn open_scope(&mut self) -> ScopeStart {
        ScopeStart(self.stack_mut().places.len())
    }

    /// Ends it, and those that were begun in it.
    #[inline]
    pub(crate) fn close_scope(&mut self, scope: ScopeStart) {
        let places = &mut self.stack_mut().places;
        if places.len() != scope.0 {
            places.truncate(scope.0);
        }
    }

    #[inline]
    fn stack_mut(&mut self) -> &mut Stack {
        self.stack.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place of its own for a reference.
    pub(crate) fn own(&mut self, raw: u32) -> OwnedRoot {
        if self.owned.len() - self.free.len() >= self.next_trim {
            self.trim();
        }
        let keep = Arc::new(());
        let owned = Owned {
            raw,
            keep: Arc::downgrade(&keep),
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.owned[index as usize] = owned;
                index
            }
            None => {
                self.owned.push(owned);
                self.owned.len() as u32 - 1
            }
        };
        OwnedRoot { index, _keep: keep }
    }

    /// What is there.
    pub(crate) fn owned(&self, root: &OwnedRoot) -> Option<u32> {
        Some(self.owned.get(root.index as usize)?.raw)
    }

    /// Gives places that nobody keeps to others.
    fn trim(&mut self) {
        self.free.clear();
        for (i, owned) in self.owned.iter_mut().enumerate() {
            if owned.keep.strong_count() == 0 {
                owned.raw = 0;
                self.free.push(i as u32);
            }
        }
        let kept = self.owned.len() - self.free.len();
        self.next_trim = FEW.max(kept * 2);
    }

    /// Shows all places.
    pub(super) fn each(&mut self, visit: &mut dyn FnMut(*mut u32) -> bool) {
        for (raw, _) in &mut self.stack_mut().places {
            visit(raw);
        }
        for owned in &mut self.owned {
            if owned.raw != 0 && owned.keep.strong_count() > 0 {
                visit(&mut owned.raw);
            } else {
                // Not to be shown as what it was when its place is found to be free.
                owned.raw = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_end_with_what_was_rooted_in_them() {
        let mut roots = Roots::default();
        let outside = roots.root(8);
        let scope = roots.open_scope();
        let inside = roots.root(16);
        roots.open_scope();
        let deeper = roots.root(24);
        assert_eq!(roots.rooted(deeper), Some(24));
        roots.close_scope(scope);
        assert_eq!(roots.rooted(outside), Some(8));
        assert_eq!(roots.rooted(inside), None);
        let other = roots.root(32);
        assert_eq!(roots.rooted(other), Some(32));
        assert_eq!(roots.rooted(inside), None, "its place is another's");
        assert_eq!(roots.rooted(deeper), None);
    }

    #[test]
    fn owned_places_are_used_again() {
        let mut roots = Roots::default();
        let kept = roots.own(8);
        let copy = kept.clone();
        drop(kept);
        for i in 0..100_000 {
            roots.own(i * 8);
        }
        assert!(roots.owned.len() < 1000);
        assert_eq!(roots.owned(&copy), Some(8));
        let mut seen = Vec::new();
        roots.each(&mut |slot| {
            // SAFETY: shown by `each`.
            seen.push(unsafe { *slot });
            false
        });
        assert_eq!(seen, [8]);
    }
}
