//! What a file is: its type, identity, size and times.

use super::error::Result;
use cap_std::fs::MetadataExt;
use rustix::fs::Timespec;
use std::os::fd::AsFd;

/// The type of a file or of what an open descriptor leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileType {
    /// None of the others; pipes and FIFOs are of this type.
    #[default]
    Unknown,
    /// A block device.
    BlockDevice,
    /// A character device, for example a terminal.
    CharacterDevice,
    /// A directory.
    Directory,
    /// A regular file.
    RegularFile,
    /// A datagram socket.
    SocketDgram,
    /// A byte-stream socket.
    SocketStream,
    /// A symbolic link.
    SymbolicLink,
}

impl From<rustix::fs::FileType> for FileType {
    fn from(file_type: rustix::fs::FileType) -> FileType {
        use rustix::fs::FileType as Os;
        match file_type {
            Os::RegularFile => FileType::RegularFile,
            Os::Directory => FileType::Directory,
            Os::Symlink => FileType::SymbolicLink,
            Os::CharacterDevice => FileType::CharacterDevice,
            Os::BlockDevice => FileType::BlockDevice,
            Os::Socket => FileType::SocketStream,
            Os::Fifo | Os::Unknown => FileType::Unknown,
        }
    }
}

impl FileType {
    /// From the mode word of `stat`.
    pub(super) fn from_mode(mode: u32) -> FileType {
        rustix::fs::FileType::from_raw_mode(mode as _).into()
    }
}

/// The attributes of a file. Times are nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileStat {
    /// The device that holds the file.
    pub dev: u64,
    /// The file's serial number on that device.
    pub ino: u64,
    /// The file's type.
    pub file_type: FileType,
    /// How many hard links there are.
    pub nlink: u64,
    /// The size in bytes; for a symbolic link, the length of its contents.
    pub size: u64,
    /// The time of the last access.
    pub atime: u64,
    /// The time of the last change of the contents.
    pub mtime: u64,
    /// The time of the last change of the attributes.
    pub ctime: u64,
}

impl FileStat {
    /// The attributes of what is open under `fd`.
    pub(super) fn of_fd(fd: impl AsFd) -> Result<FileStat> {
        let stat = rustix::fs::fstat(fd)?;
        Ok(FileStat {
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            file_type: FileType::from_mode(stat.st_mode as u32),
            nlink: stat.st_nlink as u64,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            atime: nanoseconds(stat.st_atime as i64, stat.st_atime_nsec as i64),
            mtime: nanoseconds(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            ctime: nanoseconds(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        })
    }

    pub(super) fn of_metadata(m: &cap_std::fs::Metadata) -> FileStat {
        FileStat {
            dev: m.dev(),
            ino: m.ino(),
            file_type: FileType::from_mode(m.mode()),
            nlink: m.nlink(),
            size: m.size(),
            atime: nanoseconds(m.atime(), m.atime_nsec()),
            mtime: nanoseconds(m.mtime(), m.mtime_nsec()),
            ctime: nanoseconds(m.ctime(), m.ctime_nsec()),
        }
    }
}

/// WASI's times are unsigned: what lies before 1970 reads as 1970, what lies after 2554 as 2554.
fn nanoseconds(seconds: i64, nanoseconds: i64) -> u64 {
    let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    u64::try_from(total.max(0)).unwrap_or(u64::MAX)
}

/// How to set one of a file's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// Leave it.
    Keep,
    /// Set it to the operating system's present time.
    Now,
    /// Set it to so many nanoseconds after 1970-01-01T00:00:00Z.
    At(u64),
}

impl SetTime {
    pub(super) fn to_timespec(self) -> Timespec {
        let (tv_sec, tv_nsec) = match self {
            SetTime::Keep => (0, rustix::fs::UTIME_OMIT),
            SetTime::Now => (0, rustix::fs::UTIME_NOW),
            SetTime::At(t) => ((t / 1_000_000_000) as i64, (t % 1_000_000_000) as _),
        };
        Timespec { tv_sec, tv_nsec }
    }

    pub(super) fn to_spec(self) -> Option<cap_fs_ext::SystemTimeSpec> {
        use cap_fs_ext::SystemTimeSpec;
        match self {
            SetTime::Keep => None,
            SetTime::Now => Some(SystemTimeSpec::SymbolicNow),
            SetTime::At(t) => {
                let time = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(t);
                Some(SystemTimeSpec::Absolute(
                    cap_std::time::SystemTime::from_std(time),
                ))
            }
        }
    }
}
