//! The structures that preview 1 keeps in guest memory, as bytes.
//!
//! The two snapshots of the preview differ in a few of them; [`Snapshot`] says which is meant.

use super::types::{FdFlags, Rights, filetype};
use super::{Errno, GuestMemory, Result};
use crate::core::{Entry, FileStat, FileType};

/// Which of the preview's snapshots a guest was built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Snapshot {
    /// `wasi_unstable`.
    Zero,
    /// `wasi_snapshot_preview1`.
    One,
}

/// A structure under construction, little endian, padding zero.
struct Record<const N: usize>([u8; N]);

impl<const N: usize> Record<N> {
    fn new() -> Record<N> {
        Record([0; N])
    }

    fn put<const M: usize>(&mut self, at: usize, bytes: [u8; M]) {
        self.0[at..at + M].copy_from_slice(&bytes);
    }
}

pub(super) const FDSTAT_SIZE: usize = 24;
pub(super) const EVENT_SIZE: u32 = 32;
pub(super) const DIRENT_SIZE: usize = 24;

pub(super) fn write_fdstat(
    mem: &mut GuestMemory<'_>,
    ptr: u32,
    file_type: FileType,
    flags: FdFlags,
    base: Rights,
    inheriting: Rights,
) -> Result<()> {
    let mut r = Record::<FDSTAT_SIZE>::new();
    r.put(0, [filetype(file_type)]);
    r.put(2, flags.bits().to_le_bytes());
    r.put(8, base.bits().to_le_bytes());
    r.put(16, inheriting.bits().to_le_bytes());
    mem.write(ptr, &r.0)
}

pub(super) fn write_filestat(
    mem: &mut GuestMemory<'_>,
    ptr: u32,
    stat: &FileStat,
    snapshot: Snapshot,
) -> Result<()> {
    let mut r = Record::<64>::new();
    r.put(0, stat.dev.to_le_bytes());
    r.put(8, stat.ino.to_le_bytes());
    r.put(16, [filetype(stat.file_type)]);
    let (size_at, len) = match snapshot {
        Snapshot::Zero => {
            r.put(
                20,
                u32::try_from(stat.nlink).unwrap_or(u32::MAX).to_le_bytes(),
            );
            (24, 56)
        }
        Snapshot::One => {
            r.put(24, stat.nlink.to_le_bytes());
            (32, 64)
        }
    };
    for (i, word) in [stat.size, stat.atime, stat.mtime, stat.ctime]
        .into_iter()
        .enumerate()
    {
        r.put(size_at + 8 * i, word.to_le_bytes());
    }
    mem.write(ptr, &r.0[..len])
}

pub(super) fn dirent(entry: &Entry) -> [u8; DIRENT_SIZE] {
    let mut r = Record::<DIRENT_SIZE>::new();
    r.put(0, entry.next.to_le_bytes());
    r.put(8, entry.ino.to_le_bytes());
    // A name has 255 bytes at most.
    r.put(16, (entry.name.as_bytes().len() as u32).to_le_bytes());
    r.put(20, [filetype(entry.file_type)]);
    r.0
}

/// What a subscription waits for, as the guest put it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subscribed {
    Clock { id: u32, timeout: u64, flags: u16 },
    Read { fd: u32 },
    Write { fd: u32 },
}

impl Subscribed {
    /// The event type of the same name.
    pub(super) fn tag(&self) -> u8 {
        match self {
            Subscribed::Clock { .. } => 0,
            Subscribed::Read { .. } => 1,
            Subscribed::Write { .. } => 2,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Subscription {
    pub userdata: u64,
    pub what: Subscribed,
}

pub(super) fn read_subscriptions(
    mem: &GuestMemory<'_>,
    ptr: u32,
    count: u32,
    snapshot: Snapshot,
) -> Result<Vec<Subscription>> {
    // Snapshot 0 has one more word, an identifier, at the beginning of the clock's part.
    let (size, clock) = match snapshot {
        Snapshot::Zero => (56, 24),
        Snapshot::One => (48, 16),
    };
    let bytes = mem.slice(ptr, count.checked_mul(size).ok_or(Errno::Fault)?)?;
    bytes
        .chunks_exact(size as usize)
        .map(|s| {
            let word = |at| GuestWord::<8>::at(s, at).map(u64::from_le_bytes);
            let half = |at| GuestWord::<4>::at(s, at).map(u32::from_le_bytes);
            let what = match s.get(8) {
                Some(0) => Subscribed::Clock {
                    id: half(clock)?,
                    timeout: word(clock + 8)?,
                    flags: half(clock + 24)? as u16,
                },
                Some(1) => Subscribed::Read { fd: half(16)? },
                Some(2) => Subscribed::Write { fd: half(16)? },
                _ => return Err(Errno::Inval),
            };
            Ok(Subscription {
                userdata: word(0)?,
                what,
            })
        })
        .collect()
}

/// `N` bytes at an offset of a structure.
struct GuestWord<const N: usize>;

impl<const N: usize> GuestWord<N> {
    fn at(bytes: &[u8], at: usize) -> Result<[u8; N]> {
        bytes
            .get(at..)
            .and_then(|b| b.first_chunk())
            .copied()
            .ok_or(Errno::Fault)
    }
}

/// What happened to a subscription.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub userdata: u64,
    pub error: Option<Errno>,
    pub tag: u8,
    pub nbytes: u64,
    pub hangup: bool,
}

pub(super) fn write_event(mem: &mut GuestMemory<'_>, ptr: u32, event: &Event) -> Result<()> {
    let mut r = Record::<{ EVENT_SIZE as usize }>::new();
    r.put(0, event.userdata.to_le_bytes());
    r.put(8, event.error.map_or(0, Errno::number).to_le_bytes());
    r.put(10, [event.tag]);
    r.put(16, event.nbytes.to_le_bytes());
    r.put(24, u16::from(event.hangup).to_le_bytes());
    mem.write(ptr, &r.0)
}
