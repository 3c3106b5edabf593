//! An open file that is not a directory.
//!
//! Reads and writes go straight between the caller's buffers and the kernel: one system call
//! each. The access mode is the one that the guest asked for, which may be less than the kernel
//! granted (creating a file needs write access to it, even for a guest that will only read).

use super::dir::FilePerms;
use super::error::{ErrorCode, Result};
use super::poll::{Interest, blocking};
use super::stat::{FileStat, FileType, SetTime};
use bitflags::bitflags;
use rustix::fs::{FallocateFlags, OFlags, SeekFrom, Timestamps};
use std::io::{IoSlice, IoSliceMut, IsTerminal};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

pub use rustix::fs::Advice;

bitflags! {
    /// The modes of an open file.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct StatusFlags: u16 {
        /// Every write goes to the end.
        const APPEND = 1 << 0;
        /// A write returns when the data is durable.
        const DSYNC = 1 << 1;
        /// An operation that would wait fails instead.
        const NONBLOCK = 1 << 2;
        /// A read returns when the data it saw is durable.
        const RSYNC = 1 << 3;
        /// A write returns when data and attributes are durable.
        const SYNC = 1 << 4;
    }
}

impl StatusFlags {
    /// The modes that are chosen when a file is opened and stay.
    const FIXED: StatusFlags = StatusFlags::DSYNC
        .union(StatusFlags::RSYNC)
        .union(StatusFlags::SYNC);
}

/// Sets the modes that the kernel can change on an open file.
pub(super) fn set_status_flags(
    fd: BorrowedFd<'_>,
    old: StatusFlags,
    new: StatusFlags,
) -> Result<()> {
    if old & StatusFlags::FIXED != new & StatusFlags::FIXED {
        return Err(ErrorCode::Inval);
    }
    let mut flags = rustix::fs::fcntl_getfl(fd)?;
    flags.set(OFlags::APPEND, new.contains(StatusFlags::APPEND));
    flags.set(OFlags::NONBLOCK, new.contains(StatusFlags::NONBLOCK));
    Ok(rustix::fs::fcntl_setfl(fd, flags)?)
}

/// An open file, FIFO or device. Clones are the same open file.
#[derive(Clone, Debug)]
pub struct File {
    fd: Arc<OwnedFd>,
    file_type: FileType,
    flags: StatusFlags,
    readable: bool,
    writable: bool,
    perms: FilePerms,
}

impl File {
    pub(super) fn new(
        fd: OwnedFd,
        file_type: FileType,
        flags: StatusFlags,
        readable: bool,
        writable: bool,
        perms: FilePerms,
    ) -> File {
        File {
            fd: Arc::new(fd),
            file_type,
            flags,
            readable,
            writable,
            perms,
        }
    }

    /// Whether it was opened for reading.
    pub fn is_readable(&self) -> bool {
        self.readable
    }

    /// Whether it was opened for writing.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Its type.
    pub fn file_type(&self) -> FileType {
        self.file_type
    }

    /// Whether it is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.file_type == FileType::CharacterDevice && self.fd.is_terminal()
    }

    /// The descriptor, for waiting on it.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn run<T>(&self, interest: Interest, f: impl FnMut() -> rustix::io::Result<T>) -> Result<T> {
        if self.flags.contains(StatusFlags::NONBLOCK) {
            Ok(rustix::io::retry_on_intr(f)?)
        } else {
            blocking(self.fd.as_fd(), interest, f)
        }
    }

    fn check_readable(&self) -> Result<()> {
        if self.readable {
            Ok(())
        } else {
            Err(ErrorCode::Badf)
        }
    }

    fn check_writable(&self) -> Result<()> {
        if self.writable {
            Ok(())
        } else {
            Err(ErrorCode::Badf)
        }
    }

    fn check_attributes_writable(&self) -> Result<()> {
        if self.perms.contains(FilePerms::WRITE) {
            Ok(())
        } else {
            Err(ErrorCode::Rofs)
        }
    }

    /// Reads at the position and moves it; 0 is the end.
    pub fn read(&self, bufs: &mut [IoSliceMut<'_>]) -> Result<usize> {
        self.check_readable()?;
        self.run(Interest::Read, || rustix::io::readv(&self.fd, bufs))
    }

    /// Writes at the position (or the end, in append mode) and moves it.
    pub fn write(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        self.check_writable()?;
        self.run(Interest::Write, || rustix::io::writev(&self.fd, bufs))
    }

    /// Reads at `offset`, leaving the position alone.
    pub fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        self.check_readable()?;
        self.run(Interest::Read, || {
            rustix::io::preadv(&self.fd, bufs, offset)
        })
    }

    /// Writes at `offset`, leaving the position alone.
    ///
    /// Linux would ignore the offset in append mode, against POSIX; so that mode is lifted for
    /// the call, which nobody else can observe: this handle is the only one of its open file.
    pub fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
        self.check_writable()?;
        let write = || rustix::io::pwritev(&self.fd, bufs, offset);
        if !self.flags.contains(StatusFlags::APPEND) {
            return self.run(Interest::Write, write);
        }
        set_status_flags(self.fd(), self.flags, self.flags - StatusFlags::APPEND)?;
        let result = self.run(Interest::Write, write);
        set_status_flags(self.fd(), self.flags, self.flags)?;
        result
    }

    /// Moves the position; returns the new one.
    pub fn seek(&self, to: SeekFrom) -> Result<u64> {
        Ok(rustix::fs::seek(&self.fd, to)?)
    }

    /// The attributes.
    pub fn stat(&self) -> Result<FileStat> {
        FileStat::of_fd(&self.fd)
    }

    /// Cuts the file, or lengthens it with zeros.
    pub fn set_size(&self, size: u64) -> Result<()> {
        self.check_attributes_writable()?;
        if !self.writable {
            return Err(ErrorCode::Inval);
        }
        Ok(rustix::io::retry_on_intr(|| {
            rustix::fs::ftruncate(&self.fd, size)
        })?)
    }

    /// Sets the times of last access and last change.
    pub fn set_times(&self, access: SetTime, modification: SetTime) -> Result<()> {
        self.check_attributes_writable()?;
        set_times(self.fd(), access, modification)
    }

    /// Says how the `len` bytes from `offset` will be used; no `len` means up to the end.
    pub fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<()> {
        Ok(rustix::fs::fadvise(
            &self.fd,
            offset,
            NonZeroU64::new(len),
            advice,
        )?)
    }

    /// Makes sure that there is room for the `len` bytes from `offset`, lengthening the file.
    pub fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.check_writable()?;
        let allocate = || rustix::fs::fallocate(&self.fd, FallocateFlags::empty(), offset, len);
        Ok(rustix::io::retry_on_intr(allocate)?)
    }

    /// Makes data and attributes durable.
    pub fn sync(&self) -> Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    /// Makes data durable.
    pub fn sync_data(&self) -> Result<()> {
        Ok(rustix::fs::fdatasync(&self.fd)?)
    }

    /// The modes.
    pub fn flags(&self) -> StatusFlags {
        self.flags
    }

    /// Changes "append" and "non-blocking"; the others cannot be changed.
    pub fn set_flags(&mut self, flags: StatusFlags) -> Result<()> {
        set_status_flags(self.fd.as_fd(), self.flags, flags)?;
        self.flags = flags;
        Ok(())
    }
}

pub(super) fn set_times(fd: BorrowedFd<'_>, access: SetTime, modification: SetTime) -> Result<()> {
    let times = Timestamps {
        last_access: access.to_timespec(),
        last_modification: modification.to_timespec(),
    };
    Ok(rustix::fs::futimens(fd, &times)?)
}
