//! Address space of heaps whose stores are gone, for the next ones.

use std::sync::{Mutex, PoisonError};

use super::space::Space;

/// How many are kept.
const KEPT: usize = 16;

/// Bytes that each may keep in memory.
const RESIDENT: usize = 256 << 10;

/// The spaces that an engine keeps.
#[derive(Debug, Default)]
pub(crate) struct Spaces(Mutex<Vec<Space>>);

impl Spaces {
    /// One that is empty and as large as asked for.
    pub(super) fn take(&self, reservation: u64) -> Option<Space> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_right = |space: &Space| space.reserved_for() == reservation;
        let at = all.iter().rposition(is_right)?;
        Some(all.swap_remove(at))
    }

    /// Takes one whose first `used` bytes may have been used, and others that it knows of.
    pub(super) fn put(&self, mut space: Space, used: usize) {
        let full = |all: &Vec<Space>| all.len() >= KEPT;
        if full(&self.0.lock().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        // What eden had beyond where it is now is given back.
        if !space.recycle(used.min(RESIDENT)) {
            return;
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !full(&all) {
            all.push(space);
        }
    }
}
