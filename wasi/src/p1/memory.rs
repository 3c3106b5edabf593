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
//!
//! A shared memory has no slices: what is read or written there goes through a copy, and a call
//! transfers not more than a megabyte.

use super::{Errno, Result};
use bimetal::SharedMemory;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{IoSlice, IoSliceMut};
use std::ops::Range;

/// What the kernel takes in one call, in buffers and in bytes.
const MAX_BUFFERS: usize = 1024;
const MAX_BYTES: usize = 0x7fff_f000;
/// What is copied at most for one call that reads or writes shared memory.
const MAX_COPY: usize = 1 << 20;

/// Most lists are short: C libraries pass one or two buffers.
type Short<T> = SmallVec<[T; 8]>;

/// A guest's linear memory, for one call.
#[derive(Debug)]
pub struct GuestMemory<'a>(Bytes<'a>);

#[derive(Debug)]
enum Bytes<'a> {
    /// Nobody else has it meanwhile.
    Own(&'a mut [u8]),
    /// Other threads may be writing it: what goes in or out is copied.
    Shared(SharedMemory),
}

impl<'a> GuestMemory<'a> {
    /// Wraps the whole of a memory.
    pub fn new(bytes: &'a mut [u8]) -> GuestMemory<'a> {
        GuestMemory(Bytes::Own(bytes))
    }

    /// Wraps a memory that other threads use, too.
    pub fn shared(memory: SharedMemory) -> GuestMemory<'a> {
        GuestMemory(Bytes::Shared(memory))
    }

    fn len(&self) -> usize {
        match &self.0 {
            Bytes::Own(bytes) => bytes.len(),
            Bytes::Shared(memory) => memory.data_size(),
        }
    }

    fn range(&self, ptr: u32, len: usize) -> Result<Range<usize>> {
        let start = ptr as usize;
        let end = start.checked_add(len).ok_or(Errno::Fault)?;
        if end > self.len() {
            return Err(Errno::Fault);
        }
        Ok(start..end)
    }

    /// Fails unless the range lies in memory.
    pub fn check(&self, ptr: u32, len: usize) -> Result<()> {
        self.range(ptr, len).map(drop)
    }

    /// The `len` bytes at `ptr`.
    pub fn slice(&self, ptr: u32, len: u32) -> Result<Cow<'_, [u8]>> {
        let range = self.range(ptr, len as usize)?;
        match &self.0 {
            Bytes::Own(bytes) => bytes.get(range).map(Cow::Borrowed).ok_or(Errno::Fault),
            Bytes::Shared(memory) => {
                let mut copy = vec![0; range.len()];
                let read = memory.read(range.start, &mut copy);
                read.map_err(|_| Errno::Fault)?;
                Ok(Cow::Owned(copy))
            }
        }
    }

    /// Lets `fill` write to the `len` bytes at `ptr`, from their beginning; it says how many.
    pub fn fill_with(
        &mut self,
        ptr: u32,
        len: u32,
        fill: impl FnOnce(&mut [u8]) -> Result<usize>,
    ) -> Result<usize> {
        let range = self.range(ptr, len as usize)?;
        match &mut self.0 {
            Bytes::Own(bytes) => fill(bytes.get_mut(range).ok_or(Errno::Fault)?),
            Bytes::Shared(memory) => {
                let mut copy = vec![0; range.len()];
                let n = fill(&mut copy)?.min(copy.len());
                let written = memory.write(range.start, &copy[..n]);
                written.map_err(|_| Errno::Fault)?;
                Ok(n)
            }
        }
    }

    /// The string of `len` bytes at `ptr`; [`Errno::Ilseq`] if it is not UTF-8.
    pub fn str(&self, ptr: u32, len: u32) -> Result<Cow<'_, str>> {
        match self.slice(ptr, len)? {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes)
                .map(Cow::Borrowed)
                .map_err(|_| Errno::Ilseq),
            Cow::Owned(bytes) => String::from_utf8(bytes)
                .map(Cow::Owned)
                .map_err(|_| Errno::Ilseq),
        }
    }

    /// The `N` bytes at `ptr`.
    pub fn read<const N: usize>(&self, ptr: u32) -> Result<[u8; N]> {
        let range = self.range(ptr, N)?;
        match &self.0 {
            Bytes::Own(bytes) => bytes[range].try_into().map_err(|_| Errno::Fault),
            Bytes::Shared(memory) => {
                let mut copy = [0; N];
                let read = memory.read(range.start, &mut copy);
                read.map_err(|_| Errno::Fault).map(|()| copy)
            }
        }
    }

    /// Stores `bytes` at `ptr`.
    pub fn write(&mut self, ptr: u32, bytes: &[u8]) -> Result<()> {
        let range = self.range(ptr, bytes.len())?;
        match &mut self.0 {
            Bytes::Own(own) => {
                own[range].copy_from_slice(bytes);
                Ok(())
            }
            Bytes::Shared(memory) => memory.write(range.start, bytes).map_err(|_| Errno::Fault),
        }
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
        let (mut ranges, mut room) = (Short::new(), MAX_BYTES.min(self.len()));
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

    /// Lets `write` take bytes from the buffers of a `ciovec` array; it says how many.
    pub fn write_from(
        &self,
        list: u32,
        len: u32,
        write: impl FnOnce(&[IoSlice<'_>]) -> Result<usize>,
    ) -> Result<usize> {
        let ranges = self.vectors(list, len)?;
        match &self.0 {
            Bytes::Own(bytes) => {
                let bufs = ranges.into_iter().map(|range| IoSlice::new(&bytes[range]));
                write(&bufs.collect::<Short<_>>())
            }
            Bytes::Shared(memory) => {
                let mut copy = Vec::new();
                for range in cut(&ranges) {
                    let start = copy.len();
                    copy.resize(start + range.len(), 0);
                    let read = memory.read(range.start, &mut copy[start..]);
                    read.map_err(|_| Errno::Fault)?;
                }
                match copy.is_empty() {
                    true => write(&[]),
                    false => write(&[IoSlice::new(&copy)]),
                }
            }
        }
    }

    /// Lets `read` put bytes into the buffers of an `iovec` array; it says how many.
    pub fn read_into(
        &mut self,
        list: u32,
        len: u32,
        read: impl FnOnce(&mut [IoSliceMut<'_>]) -> Result<usize>,
    ) -> Result<usize> {
        let ranges = self.vectors(list, len)?;
        let memory = match &mut self.0 {
            Bytes::Own(bytes) => return read(&mut scatter(bytes, ranges)),
            Bytes::Shared(memory) => memory,
        };
        let ranges = cut(&ranges);
        let mut copy = vec![0; ranges.iter().map(Range::len).sum()];
        let n = match copy.is_empty() {
            true => read(&mut [])?,
            false => read(&mut [IoSliceMut::new(&mut copy)])?,
        };
        let mut rest = &copy[..n.min(copy.len())];
        for range in ranges {
            let (part, more) = rest.split_at(range.len().min(rest.len()));
            let written = memory.write(range.start, part);
            written.map_err(|_| Errno::Fault)?;
            rest = more;
        }
        Ok(n)
    }
}

/// The first ranges, so many that what is copied for one call is not much.
fn cut(ranges: &[Range<usize>]) -> Short<Range<usize>> {
    let mut room = MAX_COPY;
    let mut first = Short::new();
    for range in ranges {
        let end = range.end.min(range.start + room);
        room -= end - range.start;
        first.push(range.start..end);
        if room == 0 {
            break;
        }
    }
    first
}

/// Ranges, as slices of memory itself.
fn scatter(memory: &mut [u8], mut ranges: Short<Range<usize>>) -> Short<IoSliceMut<'_>> {
    if let [range] = &ranges[..] {
        let range = range.clone();
        return SmallVec::from_iter([IoSliceMut::new(&mut memory[range])]);
    }
    let rising = ranges.windows(2).all(|w| w[0].end <= w[1].start);
    if rising {
        return split(memory, ranges.into_iter()).collect();
    }
    ranges.truncate(disjoint_prefix(&ranges));
    let mut order: Vec<usize> = (0..ranges.len()).collect();
    order.sort_unstable_by_key(|i| ranges[*i].start);
    let sorted = order.iter().map(|i| ranges[*i].clone());
    let mut slices: Vec<(usize, IoSliceMut<'_>)> =
        order.iter().copied().zip(split(memory, sorted)).collect();
    slices.sort_unstable_by_key(|(i, _)| *i);
    slices.into_iter().map(|(_, slice)| slice).collect()
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
        let mut seen = Vec::new();
        memory.read_into(128, vectors.len() as u32, |slices| {
            seen.extend(slices.iter().flat_map(|s| s.iter().copied()));
            Ok(0)
        })?;
        Ok(seen)
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
        assert_eq!(memory.read_into(0, u32::MAX, |_| Ok(0)), Err(Errno::Fault));
        assert_eq!(memory.read_into(0, 1 << 29, |_| Ok(0)), Err(Errno::Fault));
        assert_eq!(memory.write_from(9, 1, |_| Ok(0)), Err(Errno::Fault));
        assert_eq!(memory.write_u64(9, 0), Err(Errno::Fault));
        assert_eq!(memory.write_u64(8, 1), Ok(()));
        assert_eq!(memory.read_u32(u32::MAX), Err(Errno::Fault));
        assert_eq!(memory.str(8, 1), Ok("\u{1}".into()));
    }

    fn shared_memory() -> SharedMemory {
        let ty = bimetal::MemoryType::shared(64, 64);
        SharedMemory::new(&bimetal::Engine::default(), ty).unwrap()
    }

    #[test]
    fn shared_memory_is_copied_in_and_out() {
        let memory = shared_memory();
        let mut lists = [0; 32];
        list(&mut lists, 0, &[(100, 3), (0, 0), (90, 4), (99, 2)]);
        memory.write(0, &lists).unwrap();
        let mut guest = GuestMemory::shared(memory.clone());
        let n = guest.read_into(0, 4, |slices| {
            let bytes: &mut [u8] = &mut slices[0];
            assert_eq!(bytes.len(), 9);
            bytes[..8].copy_from_slice(b"abcdefgh");
            Ok(8)
        });
        assert_eq!(n, Ok(8));
        // In the order of the list, the last one over the first.
        let mut seen = [0; 13];
        memory.read(90, &mut seen).unwrap();
        assert_eq!(&seen, b"defg\0\0\0\0\0habc");
        let n = guest.write_from(0, 3, |slices| {
            assert_eq!(&*slices[0], b"abcdefg");
            Ok(5)
        });
        assert_eq!(n, Ok(5));
        assert_eq!(guest.fill_with(100, 9, |bytes| Ok(bytes.len() - 9)), Ok(0));
        assert_eq!(guest.str(100, 3), Ok("abc".into()));
        assert_eq!(guest.read_u32(100), Ok(u32::from_le_bytes(*b"abc\0")));
        assert_eq!(guest.write_u64(64 << 16, 1), Err(Errno::Fault));
        assert_eq!(guest.read_into(0, u32::MAX, |_| Ok(0)), Err(Errno::Fault));
    }

    #[test]
    fn a_call_copies_so_much_and_no_more() {
        let memory = shared_memory();
        let mut lists = [0; 16];
        list(&mut lists, 0, &[(100, 1 << 19), (100, 1 << 20)]);
        memory.write(0, &lists).unwrap();
        let guest = GuestMemory::shared(memory);
        let n = guest.write_from(0, 2, |slices| Ok(slices.iter().map(|s| s.len()).sum()));
        assert_eq!(n, Ok(MAX_COPY));
    }
}
