//! Sockets that the embedder opened: listeners, and the connections they accept.
//!
//! There is no way to create, bind or connect one here; that belongs to later previews.

use super::error::{ErrorCode, Result};
use super::file::{StatusFlags, set_status_flags};
use super::poll::{Interest, blocking};
use super::stat::FileStat;
use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendFlags, SocketFlags,
    accept_with, recvmsg, sendmsg,
};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

pub use rustix::net::Shutdown;

/// Sets the modes of a socket; only "non-blocking" means anything for one.
fn set_flags(fd: BorrowedFd<'_>, current: &mut StatusFlags, new: StatusFlags) -> Result<()> {
    if !StatusFlags::NONBLOCK.contains(new) {
        return Err(ErrorCode::Inval);
    }
    set_status_flags(fd, *current, new)?;
    *current = new;
    Ok(())
}

/// A socket that accepts connections. Clones are the same socket; their modes are their own.
#[derive(Clone, Debug)]
pub struct Listener {
    fd: Arc<OwnedFd>,
    flags: StatusFlags,
}

impl Listener {
    /// Takes a listening stream socket of any family.
    pub fn new(fd: impl Into<OwnedFd>) -> Listener {
        let fd = fd.into();
        // The embedder may have made it non-blocking; the guest is told so.
        let nonblock = rustix::fs::fcntl_getfl(&fd)
            .is_ok_and(|flags| flags.contains(rustix::fs::OFlags::NONBLOCK));
        let flags = if nonblock {
            StatusFlags::NONBLOCK
        } else {
            StatusFlags::empty()
        };
        let fd = Arc::new(fd);
        Listener { fd, flags }
    }

    /// Waits for a connection, which gets the modes `flags`.
    pub fn accept(&self, flags: StatusFlags) -> Result<Connection> {
        if !StatusFlags::NONBLOCK.contains(flags) {
            return Err(ErrorCode::Inval);
        }
        let mut socket_flags = SocketFlags::CLOEXEC;
        socket_flags.set(SocketFlags::NONBLOCK, !flags.is_empty());
        let accept = || accept_with(&self.fd, socket_flags);
        let fd = Arc::new(if self.flags.is_empty() {
            blocking(self.fd(), Interest::Read, accept)?
        } else {
            retry_on_intr(accept)?
        });
        Ok(Connection { fd, flags })
    }

    /// The descriptor, for waiting on it.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The attributes.
    pub fn stat(&self) -> Result<FileStat> {
        FileStat::of_fd(&self.fd)
    }

    /// The modes.
    pub fn flags(&self) -> StatusFlags {
        self.flags
    }

    /// Changes the modes.
    pub fn set_flags(&mut self, flags: StatusFlags) -> Result<()> {
        set_flags(self.fd.as_fd(), &mut self.flags, flags)
    }
}

/// A connected stream socket. Clones are the same socket; their modes are their own.
#[derive(Clone, Debug)]
pub struct Connection {
    fd: Arc<OwnedFd>,
    flags: StatusFlags,
}

/// What [`Connection::receive`] got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// How many bytes are in the buffers; 0 is the end of the stream.
    pub bytes: usize,
    /// The message was longer than the buffers.
    pub truncated: bool,
}

impl Connection {
    /// Receives into `bufs`: `peek` leaves the data in the queue, `wait_all` waits until the
    /// buffers are full.
    pub fn receive(
        &self,
        bufs: &mut [IoSliceMut<'_>],
        peek: bool,
        wait_all: bool,
    ) -> Result<Received> {
        let mut flags = RecvFlags::CMSG_CLOEXEC;
        flags.set(RecvFlags::PEEK, peek);
        flags.set(RecvFlags::WAITALL, wait_all);
        let message = self.run(Interest::Read, || {
            recvmsg(&self.fd, bufs, &mut RecvAncillaryBuffer::default(), flags)
        })?;
        Ok(Received {
            bytes: message.bytes,
            truncated: message.flags.contains(ReturnFlags::TRUNC),
        })
    }

    /// Sends from `bufs`, perhaps only a part.
    pub fn send(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        self.run(Interest::Write, || {
            sendmsg(
                &self.fd,
                bufs,
                &mut SendAncillaryBuffer::default(),
                SendFlags::NOSIGNAL,
            )
        })
    }

    /// Ends one or both directions.
    pub fn shutdown(&self, how: Shutdown) -> Result<()> {
        Ok(rustix::net::shutdown(&self.fd, how)?)
    }

    fn run<T>(&self, interest: Interest, f: impl FnMut() -> rustix::io::Result<T>) -> Result<T> {
        if self.flags.is_empty() {
            blocking(self.fd(), interest, f)
        } else {
            Ok(retry_on_intr(f)?)
        }
    }

    /// The descriptor, for waiting on it.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The attributes.
    pub fn stat(&self) -> Result<FileStat> {
        FileStat::of_fd(&self.fd)
    }

    /// The modes.
    pub fn flags(&self) -> StatusFlags {
        self.flags
    }

    /// Changes the modes.
    pub fn set_flags(&mut self, flags: StatusFlags) -> Result<()> {
        set_flags(self.fd.as_fd(), &mut self.flags, flags)
    }
}
