//! A checked view of guest memory.
//!
//! Pointers and lengths come from the guest and may be anything. Each access checks that the
//! whole range lies in memory and fails with [`Errno::Fault`] otherwise; nothing here can panic or
//! overflow. Alignment is not asked for: the layouts are read bytewise.
//!
//! Scatter/gather lists become slices of guest memory itself, so that the kernel reads and writes
//! there directly. Overlapping buffers cannot be borrowed at once; such a list is cut before the
//! first buffer that overlaps an earlier one, which the guest sees as a short read. The same
//! goes for lists that are longer than the kernel takes, and for lists that name more bytes than
//! memory has: only those with overlaps do, and the host is not to write gigabytes for the price
//! of a few words.

use super::{Errno, Result};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::io::{IoSlice, IoSliceMut};
use std::ops::Range;

/// What the kernel takes in one call, in buffers and in bytes.
const MAX_BUFFERS: usize = 1024;
const MAX_BYTES: usize = 0x7fff_f000;

/// Most lists are short: C libraries pass one or two buffers.
type Short<T> = SmallVec<[T; 8]>;

/// A guest's linear memory, borrowed for one call.
#[derive(Debug)]
pub struct GuestMemory<'a>(&'a mut [u8]);

impl<'a> GuestMemory<'a> {
    /// Wraps the whole of a memory.
    pub fn new(bytes: &'a mut [u8]) -> GuestMemory<'a> {
        GuestMemory(bytes)
    }

    fn range(&self, ptr: u32, len: usize) -> Result<Range<usize>> {
        let start = ptr as usize;
        let end = start.checked_add(len).ok_or(Errno::Fault)?;
        if end > self.0.len() {
            return Err(Errno::Fault);
        }
        Ok(start..end)
    }

    /// Fails unless the range lies in memory.
    pub fn check(&self, ptr: u32, len: usize) -> Result<()> {
        self.range(ptr, len).map(drop)
    }

    /// The `len` bytes at `ptr`.
    pub fn slice(&self, ptr: u32, len: u32) -> Result<&[u8]> {
        let range = self.range(ptr, len as usize)?;
        self.0.get(range).ok_or(Errno::Fault)
    }

    /// The `len` bytes at `ptr`, to fill.
    pub fn slice_mut(&mut self, ptr: u32, len: u32) -> Result<&mut [u8]> {
        let range = self.range(ptr, len as usize)?;
        self.0.get_mut(range).ok_or(Errno::Fault)
    }

    /// The string of `len` bytes at `ptr`; [`Errno::Ilseq`] if it is not UTF-8.
    pub fn str(&self, ptr: u32, len: u32) -> Result<&str> {
        std::str::from_utf8(self.slice(ptr, len)?).map_err(|_| Errno::Ilseq)
    }

    /// The `N` bytes at `ptr`.
    pub fn read<const N: usize>(&self, ptr: u32) -> Result<[u8; N]> {
        let range = self.range(ptr, N)?;
        self.0[range].try_into().map_err(|_| Errno::Fault)
    }

    /// Stores `bytes` at `ptr`.
    pub fn write(&mut self, ptr: u32, bytes: &[u8]) -> Result<()> {
        let range = self.range(ptr, bytes.len())?;
        self.0[range].copy_from_slice(bytes);
        Ok(())
    }

    /// The 32-bit word at `ptr`.
    pub fn read_u32(&self, ptr: u32) -> Result<u32> {
        self.read(ptr).map(u32::from_le_bytes)
    }

    /// Stores a 16-bit word.
    pub fn write_u16(&mut self, ptr: u32, value: u16) -> Result<()> {
        self.write(ptr, &value.to_le_bytes())
    }

    /// Stores a 32-bit word.
    pub fn write_u32(&mut self, ptr: u32, value: u32) -> Result<()> {
        self.write(ptr, &value.to_le_bytes())
    }

    /// Stores a 64-bit word.
    pub fn write_u64(&mut self, ptr: u32, value: u64) -> Result<()> {
        self.write(ptr, &value.to_le_bytes())
    }

    /// The ranges of a scatter/gather list, without the empty ones, cut to what one call of the
    /// kernel takes.
    fn vectors(&self, list: u32, len: u32) -> Result<Short<Range<usize>>> {
        let bytes = self.slice(list, len.checked_mul(8).ok_or(Errno::Fault)?)?;
        let (mut ranges, mut room) = (Short::new(), MAX_BYTES.min(self.0.len()));
        let (pairs, _) = bytes.as_chunks::<8>();
        for [p0, p1, p2, p3, l0, l1, l2, l3] in pairs {
            let ptr = u32::from_le_bytes([*p0, *p1, *p2, *p3]);
            let len = u32::from_le_bytes([*l0, *l1, *l2, *l3]);
            let mut range = self.range(ptr, len as usize)?;
            if range.is_empty() {
                continue;
            }
            if range.len() > room {
                range.end = range.start + room;
            }
            room -= range.len();
            ranges.push(range);
            if room == 0 || ranges.len() == MAX_BUFFERS {
                break;
            }
        }
        Ok(ranges)
    }

    /// The buffers of a `ciovec` array.
    pub fn gather(&self, list: u32, len: u32) -> Result<SmallVec<[IoSlice<'_>; 8]>> {
        Ok(self
            .vectors(list, len)?
            .into_iter()
            .map(|r| IoSlice::new(&self.0[r]))
            .collect())
    }

    /// The buffers of an `iovec` array, as slices of memory itself.
    pub fn scatter(&mut self, list: u32, len: u32) -> Result<SmallVec<[IoSliceMut<'_>; 8]>> {
        let mut ranges = self.vectors(list, len)?;
        if let [range] = &ranges[..] {
            let range = range.clone();
            return Ok(SmallVec::from_iter([IoSliceMut::new(&mut self.0[range])]));
        }
        let rising = ranges.windows(2).all(|w| w[0].end <= w[1].start);
        if rising {
            return Ok(split(self.0, ranges.into_iter()).collect());
        }
        ranges.truncate(disjoint_prefix(&ranges));
        let mut order: Vec<usize> = (0..ranges.len()).collect();
        order.sort_unstable_by_key(|i| ranges[*i].start);
        let sorted = order.iter().map(|i| ranges[*i].clone());
        let mut slices: Vec<(usize, IoSliceMut<'_>)> =
            order.iter().copied().zip(split(self.0, sorted)).collect();
        slices.sort_unstable_by_key(|(i, _)| *i);
        Ok(slices.into_iter().map(|(_, slice)| slice).collect())
    }
}

/// Borrows several ranges of `memory` at once. They must rise and not overlap.
fn split(
    memory: &mut [u8],
    ranges: impl Iterator<Item = Range<usize>>,
) -> impl Iterator<Item = IoSliceMut<'_>> {
    let (mut rest, mut at) = (memory, 0);
    ranges.map(move |range| {
        let tail = std::mem::take(&mut rest);
        let (_, tail) = tail.split_at_mut(range.start - at);
        let (slice, tail) = tail.split_at_mut(range.len());
        (rest, at) = (tail, range.end);
        IoSliceMut::new(slice)
    })
}

/// How many of the ranges, from the first, are free of overlap with one another.
fn disjoint_prefix(ranges: &[Range<usize>]) -> usize {
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    for (i, range) in ranges.iter().enumerate() {
        // The seen ranges are disjoint, so only the last one that starts before our end can reach
        // into this one.
        if seen
            .range(..range.end)
            .next_back()
            .is_some_and(|(_, end)| *end > range.start)
        {
            return i;
        }
        seen.insert(range.start, range.end);
    }
    ranges.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(bytes: &mut [u8], at: usize, vectors: &[(u32, u32)]) {
        for (i, (ptr, len)) in vectors.iter().enumerate() {
            bytes[at + 8 * i..][..4].copy_from_slice(&ptr.to_le_bytes());
            bytes[at + 8 * i + 4..][..4].copy_from_slice(&len.to_le_bytes());
        }
    }

    fn scattered(vectors: &[(u32, u32)]) -> Result<Vec<u8>> {
        // Byte i of the first half is i, so a slice shows where it lies.
        let mut bytes: Vec<u8> = (0..128).collect();
        bytes.resize(256, 0);
        list(&mut bytes, 128, vectors);
        let mut memory = GuestMemory::new(&mut bytes);
        let slices = memory.scatter(128, vectors.len() as u32)?;
        Ok(slices.iter().flat_map(|s| s.iter().copied()).collect())
    }

    #[test]
    fn scatter_keeps_the_order_of_the_list() {
        assert_eq!(scattered(&[]), Ok(vec![]));
        assert_eq!(scattered(&[(3, 2)]), Ok(vec![3, 4]));
        assert_eq!(
            scattered(&[(3, 2), (5, 1), (9, 2)]),
            Ok(vec![3, 4, 5, 9, 10])
        );
        assert_eq!(scattered(&[(9, 2), (0, 0), (3, 2)]), Ok(vec![9, 10, 3, 4]));
    }

    #[test]
    fn overlap_cuts_the_list() {
        assert_eq!(scattered(&[(3, 4), (6, 2)]), Ok(vec![3, 4, 5, 6]));
        assert_eq!(scattered(&[(6, 2), (3, 4)]), Ok(vec![6, 7]));
        assert_eq!(scattered(&[(6, 2), (6, 2)]), Ok(vec![6, 7]));
        assert_eq!(
            scattered(&[(9, 1), (20, 10), (1, 2), (0, 90)]).map(|v| v.len()),
            Ok(13)
        );
    }

    #[test]
    fn what_lies_outside_is_a_fault() {
        assert_eq!(scattered(&[(256, 0)]), Ok(vec![]));
        assert_eq!(scattered(&[(257, 0)]), Err(Errno::Fault));
        assert_eq!(scattered(&[(0, 1), (255, 2)]), Err(Errno::Fault));
        assert_eq!(scattered(&[(u32::MAX, u32::MAX)]), Err(Errno::Fault));
        let mut bytes = [0u8; 16];
        let mut memory = GuestMemory::new(&mut bytes);
        assert_eq!(memory.scatter(0, u32::MAX).err(), Some(Errno::Fault));
        assert_eq!(memory.scatter(0, 1 << 29).err(), Some(Errno::Fault));
        assert_eq!(memory.gather(9, 1).err(), Some(Errno::Fault));
        assert_eq!(memory.write_u64(9, 0), Err(Errno::Fault));
        assert_eq!(memory.write_u64(8, 1), Ok(()));
        assert_eq!(memory.read_u32(u32::MAX), Err(Errno::Fault));
        assert_eq!(memory.str(8, 1), Ok("\u{1}"));
    }
}
