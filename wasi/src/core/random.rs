//! Randomness, the operating system's or a repeatable sequence.

use super::error::Result;
use rustix::rand::{GetRandomFlags, getrandom};
use std::fmt::Debug;

/// A source of random bytes.
pub trait Random: Send + Debug {
    /// Fills `buf` whole.
    fn fill(&mut self, buf: &mut [u8]) -> Result<()>;
}

/// The operating system's cryptographic source.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostRandom;

impl Random for HostRandom {
    fn fill(&mut self, mut buf: &mut [u8]) -> Result<()> {
        while !buf.is_empty() {
            let n = rustix::io::retry_on_intr(|| getrandom(&mut *buf, GetRandomFlags::empty()))?;
            buf = &mut std::mem::take(&mut buf)[n..];
        }
        Ok(())
    }
}

/// The same bytes for the same seed, on every host and in every version: SplitMix64, little
/// endian, each request starting at a fresh 8-byte word. Not for secrets.
#[derive(Clone, Debug)]
pub struct DeterministicRandom(u64);

impl DeterministicRandom {
    /// A sequence that `seed` determines.
    pub fn new(seed: u64) -> DeterministicRandom {
        DeterministicRandom(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Random for DeterministicRandom {
    fn fill(&mut self, buf: &mut [u8]) -> Result<()> {
        for chunk in buf.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}
