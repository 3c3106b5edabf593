//! What a heap's collections have done.

use std::time::Duration;

/// Counted by the heap.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) minor: u64,
    pub(super) cycles: u64,
    /// Bytes.
    pub(super) copied: u64,
}

/// What the garbage collector of a store has done and has: [`Store::gc_stats`](crate::Store::gc_stats).
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct GcStats {
    /// Collections of young objects. Each does a part of the work on old ones as well.
    pub minor_collections: u64,
    /// Times that all objects were looked at, mostly bit by bit in minor collections.
    pub full_cycles: u64,
    /// Bytes of young objects that were moved.
    pub copied_bytes: u64,
    /// Bytes of old objects that were alive when they were last looked at.
    pub live_bytes: u64,
    /// Bytes of the heap that are in use or kept for objects.
    pub heap_bytes: u64,
    /// For how long the collector has stopped the store's code, in all.
    pub total_pause: Duration,
    /// For how long at most.
    pub longest_pause: Duration,
    /// How often it took less than a microsecond, less than two, four, and so on; the last counts all
    /// others.
    pub pauses: [u64; 24],
}

impl GcStats {
    pub(super) fn add_pause(&mut self, pause: Duration) {
        self.total_pause += pause;
        self.longest_pause = self.longest_pause.max(pause);
        let micros = pause.as_micros() as u64;
        let bucket = (64 - micros.leading_zeros()) as usize;
        self.pauses[bucket.min(self.pauses.len() - 1)] += 1;
    }
}
