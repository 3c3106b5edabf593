//! Bytes from numbers.

/// A generator of pseudo-random numbers (SplitMix64): small, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Source(u64);

impl Source {
    /// The sequence with this number.
    pub fn new(seed: u64) -> Source {
        Source(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(bound)) >> 64) as u64
    }
}

/// Spreads the bits of a number.
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The input with this number: some hundred bytes mostly, now and then up to 64 KiB. What finds
/// most is many small cases; what only large ones find is not left out.
pub fn input(seed: u64) -> Vec<u8> {
    let mut source = Source::new(mix(seed));
    let order = match source.below(40) {
        0 => 10 + source.below(6),
        1..=3 => 6,
        _ => 7 + source.below(3),
    };
    let size = (1 << order) + source.below(1 << order);
    let mut bytes = Vec::with_capacity(size as usize + 8);
    while (bytes.len() as u64) < size {
        bytes.extend(source.number().to_le_bytes());
    }
    bytes
}
