//! Stack maps: where the references of a frame are while it calls.
//!
//! A map says for one return address which 4-byte words of the frame hold references that the
//! collector follows and may change. They are counted from the frame pointer downwards, which is how
//! the runtime finds frames. Maps without references are not in the table; a return address that is not
//! there has none. As [`SiteTable`](crate::SiteTable)s, a table is a delta-coded byte string that is
//! decoded from the start: the runtime keeps what it looked up while it collects.
//!
//! Encoding of a map: `varint(code offset delta)`, `varint(number of words)`, or 0 if the words are
//! those of the map before; then per word, in ascending order of distance, `varint(distance / 4)`, the
//! first as it is and each other less the one before.

use crate::varint::{read_varint, write_varint};

/// The maps of one function, in ascending order of return addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackMapTable {
    bytes: Box<[u8]>,
}

/// One map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackMap {
    /// The return address, in bytes from the start of the function's code.
    pub code_offset: u32,
    /// How many bytes below the frame pointer the references are, in ascending order. Each is
    /// four bytes, aligned.
    pub below_fp: Vec<u32>,
}

/// Builds a [`StackMapTable`].
#[derive(Debug, Default)]
pub struct StackMapTableBuilder {
    bytes: Vec<u8>,
    code_offset: u32,
    last: Vec<u32>,
}

impl StackMapTableBuilder {
    /// Appends a map. Its return address must be above that of the one before. The distances may be
    /// in any order; they are sorted.
    ///
    /// # Panics
    /// If it is not.
    pub fn push(&mut self, code_offset: u32, below_fp: &mut Vec<u32>) {
        if below_fp.is_empty() {
            return;
        }
        let delta = code_offset
            .checked_sub(self.code_offset)
            .expect("maps are pushed in ascending order");
        write_varint(&mut self.bytes, delta);
        self.code_offset = code_offset;
        below_fp.sort_unstable();
        below_fp.dedup();
        if *below_fp == self.last {
            return write_varint(&mut self.bytes, 0);
        }
        write_varint(&mut self.bytes, below_fp.len() as u32);
        let mut before = 0;
        for &distance in &*below_fp {
            write_varint(&mut self.bytes, distance / 4 - before);
            before = distance / 4;
        }
        self.last.clone_from(below_fp);
    }

    /// The table, and this builder empty again.
    pub fn finish(&mut self) -> StackMapTable {
        let table = StackMapTable {
            bytes: self.bytes.as_slice().into(),
        };
        self.bytes.clear();
        self.last.clear();
        self.code_offset = 0;
        table
    }
}

impl StackMapTable {
    /// The table that is written as these bytes. Whatever they are: a table of what can be decoded.
    pub fn from_bytes(bytes: &[u8]) -> StackMapTable {
        StackMapTable {
            bytes: bytes.into(),
        }
    }

    /// Its written form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether there are no maps.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The maps in ascending order.
    pub fn iter(&self) -> StackMaps<'_> {
        StackMaps::new(&self.bytes)
    }

    /// The map of this return address.
    pub fn at(&self, code_offset: u32) -> Option<StackMap> {
        StackMaps::new(&self.bytes).at(code_offset)
    }
}

/// The maps of a table's written form, in ascending order. Ends early if the bytes are none.
#[derive(Clone, Debug)]
pub struct StackMaps<'a> {
    bytes: &'a [u8],
    last: StackMap,
}

impl<'a> StackMaps<'a> {
    /// Those of [`StackMapTable::as_bytes`].
    pub fn new(bytes: &'a [u8]) -> StackMaps<'a> {
        StackMaps {
            bytes,
            last: StackMap::default(),
        }
    }

    /// The map of this return address.
    pub fn at(mut self, code_offset: u32) -> Option<StackMap> {
        loop {
            self.step()?;
            if self.last.code_offset >= code_offset {
                break;
            }
        }
        (self.last.code_offset == code_offset).then_some(self.last)
    }

    /// Goes to the next one, if there is one.
    fn step(&mut self) -> Option<()> {
        let last = &mut self.last;
        let delta = read_varint(&mut self.bytes)?;
        last.code_offset = last.code_offset.checked_add(delta)?;
        let count = read_varint(&mut self.bytes)? as usize;
        // A word takes a byte at least.
        if count > self.bytes.len() {
            return None;
        }
        if count > 0 {
            last.below_fp.clear();
            let mut distance = 0u32;
            for _ in 0..count {
                distance = distance.checked_add(read_varint(&mut self.bytes)?)?;
                last.below_fp.push(distance.checked_mul(4)?);
            }
        }
        Some(())
    }
}

impl Iterator for StackMaps<'_> {
    type Item = StackMap;

    fn next(&mut self) -> Option<StackMap> {
        self.step().map(|_| self.last.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(code_offset: u32, below_fp: &[u32]) -> StackMap {
        StackMap {
            code_offset,
            below_fp: below_fp.to_vec(),
        }
    }

    #[test]
    fn maps_round_trip() {
        let maps = [
            map(7, &[16]),
            map(90, &[16]),
            map(300, &[4, 8, 4096]),
            map(70_000, &[16]),
        ];
        let mut builder = StackMapTableBuilder::default();
        for _ in 0..2 {
            for map in &maps {
                let mut words = map.below_fp.clone();
                words.reverse();
                builder.push(map.code_offset, &mut words);
                builder.push(map.code_offset + 1, &mut Vec::new());
            }
            let table = builder.finish();
            assert_eq!(table.iter().collect::<Vec<_>>(), maps);
            for map in &maps {
                assert_eq!(table.at(map.code_offset).as_ref(), Some(map));
                assert_eq!(table.at(map.code_offset + 1), None);
            }
            let again = StackMapTable::from_bytes(table.as_bytes());
            assert_eq!(again, table);
        }
    }

    #[test]
    fn garbage_ends_early() {
        for bytes in [&[0xff; 40][..], &[1, 200, 1], &[0x80], &[1, 2, 3]] {
            assert_eq!(StackMapTable::from_bytes(bytes).iter().count(), 0);
        }
        assert_eq!(StackMapTable::default().at(0), None);
    }
}
