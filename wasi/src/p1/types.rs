//! Preview 1's flag words and enumerations, as numbers on the wire. The constants have the
//! specification's names, and each right that of the function that it permits.

#![allow(missing_docs)] // The names say all there is to say.

use super::{Errno, Result};
use crate::core::{FileType, SetTime, StatusFlags};
use bitflags::{Flags, bitflags};

bitflags! {
    /// What may be done with a descriptor.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Rights: u64 {
        const FD_DATASYNC = 1 << 0;
        const FD_READ = 1 << 1;
        const FD_SEEK = 1 << 2;
        const FD_FDSTAT_SET_FLAGS = 1 << 3;
        const FD_SYNC = 1 << 4;
        const FD_TELL = 1 << 5;
        const FD_WRITE = 1 << 6;
        const FD_ADVISE = 1 << 7;
        const FD_ALLOCATE = 1 << 8;
        const PATH_CREATE_DIRECTORY = 1 << 9;
        const PATH_CREATE_FILE = 1 << 10;
        const PATH_LINK_SOURCE = 1 << 11;
        const PATH_LINK_TARGET = 1 << 12;
        const PATH_OPEN = 1 << 13;
        const FD_READDIR = 1 << 14;
        const PATH_READLINK = 1 << 15;
        const PATH_RENAME_SOURCE = 1 << 16;
        const PATH_RENAME_TARGET = 1 << 17;
        const PATH_FILESTAT_GET = 1 << 18;
        const PATH_FILESTAT_SET_SIZE = 1 << 19;
        const PATH_FILESTAT_SET_TIMES = 1 << 20;
        const FD_FILESTAT_GET = 1 << 21;
        const FD_FILESTAT_SET_SIZE = 1 << 22;
        const FD_FILESTAT_SET_TIMES = 1 << 23;
        const PATH_SYMLINK = 1 << 24;
        const PATH_REMOVE_DIRECTORY = 1 << 25;
        const PATH_UNLINK_FILE = 1 << 26;
        const POLL_FD_READWRITE = 1 << 27;
        const SOCK_SHUTDOWN = 1 << 28;
        const SOCK_ACCEPT = 1 << 29;

        /// What may be done with anything that is open.
        const ANY = Self::FD_FDSTAT_SET_FLAGS.bits() | Self::FD_FILESTAT_GET.bits();
        /// What moves or shows a position.
        const POSITION = Self::FD_SEEK.bits() | Self::FD_TELL.bits();
        /// What an input stream permits.
        const INPUT = Self::ANY.bits() | Self::FD_READ.bits() | Self::POLL_FD_READWRITE.bits();
        /// What an output stream permits.
        const OUTPUT = Self::ANY.bits()
            | Self::FD_WRITE.bits()
            | Self::FD_SYNC.bits()
            | Self::FD_DATASYNC.bits()
            | Self::POLL_FD_READWRITE.bits();
        /// What a listening socket permits.
        const LISTENER = Self::ANY.bits()
            | Self::FD_READ.bits()
            | Self::POLL_FD_READWRITE.bits()
            | Self::SOCK_ACCEPT.bits();
        /// What a connected socket permits.
        const CONNECTION = Self::INPUT.bits() | Self::OUTPUT.bits() | Self::SOCK_SHUTDOWN.bits();
        /// What any open file permits.
        const FILE = Self::ANY.bits()
            | Self::FD_DATASYNC.bits()
            | Self::FD_SYNC.bits()
            | Self::FD_ADVISE.bits()
            | Self::FD_FILESTAT_SET_TIMES.bits()
            | Self::POLL_FD_READWRITE.bits();
        /// What a file that was opened for writing permits besides.
        const WRITABLE_FILE = Self::FD_WRITE.bits()
            | Self::FD_ALLOCATE.bits()
            | Self::FD_FILESTAT_SET_SIZE.bits();
        /// What a directory permits.
        const DIR = Self::ANY.bits()
            | Self::FD_READDIR.bits()
            | Self::FD_SYNC.bits()
            | Self::FD_DATASYNC.bits()
            | Self::PATH_OPEN.bits()
            | Self::PATH_READLINK.bits()
            | Self::PATH_FILESTAT_GET.bits();
        /// What a directory that is not read-only permits besides.
        const MUTABLE_DIR = Self::PATH_CREATE_DIRECTORY.bits()
            | Self::PATH_CREATE_FILE.bits()
            | Self::PATH_LINK_SOURCE.bits()
            | Self::PATH_LINK_TARGET.bits()
            | Self::PATH_RENAME_SOURCE.bits()
            | Self::PATH_RENAME_TARGET.bits()
            | Self::PATH_FILESTAT_SET_SIZE.bits()
            | Self::PATH_FILESTAT_SET_TIMES.bits()
            | Self::FD_FILESTAT_SET_TIMES.bits()
            | Self::PATH_SYMLINK.bits()
            | Self::PATH_REMOVE_DIRECTORY.bits()
            | Self::PATH_UNLINK_FILE.bits();
    }
}

bitflags! {
    /// The modes of an open descriptor.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct FdFlags: u16 {
        const APPEND = 1 << 0;
        const DSYNC = 1 << 1;
        const NONBLOCK = 1 << 2;
        const RSYNC = 1 << 3;
        const SYNC = 1 << 4;
    }

    /// How `path_open` opens.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct OFlags: u16 {
        const CREAT = 1 << 0;
        const DIRECTORY = 1 << 1;
        const EXCL = 1 << 2;
        const TRUNC = 1 << 3;
    }

    /// Which times to set.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct FstFlags: u16 {
        const ATIM = 1 << 0;
        const ATIM_NOW = 1 << 1;
        const MTIM = 1 << 2;
        const MTIM_NOW = 1 << 3;
    }

    /// How a path is resolved.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LookupFlags: u32 {
        const SYMLINK_FOLLOW = 1 << 0;
    }

    /// How `sock_recv` receives.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct RiFlags: u16 {
        const RECV_PEEK = 1 << 0;
        const RECV_WAITALL = 1 << 1;
    }

    /// What `sock_shutdown` ends.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct SdFlags: u8 {
        const RD = 1 << 0;
        const WR = 1 << 1;
    }

    /// How a clock subscription's time is meant.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct SubClockFlags: u16 {
        const ABSTIME = 1 << 0;
    }
}

/// A flag word as the guest passes it: 32 bits, of which the type may have fewer. Unknown flags
/// are an error, not ignored, so that a later meaning of theirs does not surprise anybody.
pub(super) fn flags<F: Flags>(word: u32) -> Result<F>
where
    F::Bits: TryFrom<u32>,
{
    F::Bits::try_from(word)
        .ok()
        .and_then(F::from_bits)
        .ok_or(Errno::Inval)
}

// The two words have the same bits by design: the core took them from here, as do later previews.
impl From<FdFlags> for StatusFlags {
    fn from(flags: FdFlags) -> StatusFlags {
        StatusFlags::from_bits_truncate(flags.bits())
    }
}

impl From<StatusFlags> for FdFlags {
    fn from(flags: StatusFlags) -> FdFlags {
        FdFlags::from_bits_truncate(flags.bits())
    }
}

/// The number of a file type.
pub(super) fn filetype(file_type: FileType) -> u8 {
    match file_type {
        FileType::Unknown => 0,
        FileType::BlockDevice => 1,
        FileType::CharacterDevice => 2,
        FileType::Directory => 3,
        FileType::RegularFile => 4,
        FileType::SocketDgram => 5,
        FileType::SocketStream => 6,
        FileType::SymbolicLink => 7,
    }
}

impl FstFlags {
    /// The two times to set; `now` is the guest's own idea of the present, if it differs from the
    /// operating system's.
    pub(super) fn times(self, atim: u64, mtim: u64, now: Option<u64>) -> Result<[SetTime; 2]> {
        let one =
            |at: FstFlags, at_now: FstFlags, time| match (self.contains(at), self.contains(at_now))
            {
                (true, true) => Err(Errno::Inval),
                (true, false) => Ok(SetTime::At(time)),
                (false, true) => Ok(now.map_or(SetTime::Now, SetTime::At)),
                (false, false) => Ok(SetTime::Keep),
            };
        Ok([
            one(FstFlags::ATIM, FstFlags::ATIM_NOW, atim)?,
            one(FstFlags::MTIM, FstFlags::MTIM_NOW, mtim)?,
        ])
    }
}
