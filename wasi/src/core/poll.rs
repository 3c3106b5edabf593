//! Waiting until descriptors of the operating system are ready.

use super::error::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Data (or the end of it, or a connection) can be had without waiting.
    Read,
    /// Data can be handed over without waiting.
    Write,
}

/// What came of it for one descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// The operation would not wait now (it may fail).
    pub ready: bool,
    /// The other side has closed.
    pub hangup: bool,
}

/// Waits until one of `items` is ready or `timeout` has passed (`None`: for ever). The answer has
/// one element per item; if none is ready, the time is up.
///
/// A signal handler of the embedder's does not cut the wait short.
pub fn wait(
    items: &[(BorrowedFd<'_>, Interest)],
    timeout: Option<Duration>,
) -> Result<Vec<Readiness>> {
    let deadline = timeout.and_then(|t| Instant::now().checked_add(t));
    let mut fds: Vec<PollFd<'_>> = items
        .iter()
        .map(|(fd, interest)| {
            let flags = match interest {
                Interest::Read => PollFlags::IN,
                Interest::Write => PollFlags::OUT,
            };
            PollFd::from_borrowed_fd(*fd, flags)
        })
        .collect();
    loop {
        // A deadline that does not fit the clock is as good as none.
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        let left = left.map(|d| Timespec {
            tv_sec: i64::try_from(d.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: d.subsec_nanos() as _,
        });
        match poll(&mut fds, left.as_ref()) {
            Ok(_) => break,
            Err(Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        }
    }
    Ok(fds
        .iter()
        .map(|fd| {
            let got = fd.revents();
            Readiness {
                ready: !got.is_empty(),
                hangup: got.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::RDHUP),
            }
        })
        .collect())
}

/// How many bytes can be read from `fd` at once; 0 if it does not say.
pub fn bytes_waiting(fd: BorrowedFd<'_>) -> u64 {
    rustix::io::ioctl_fionread(fd).unwrap_or(0)
}

/// Waits until an operation on `fd` goes through at once, or `end` can be read: whether it is the
/// former.
pub(crate) fn wait_or_end(
    fd: BorrowedFd<'_>,
    interest: Interest,
    end: BorrowedFd<'_>,
) -> Result<bool> {
    let ready = wait(&[(fd, interest), (end, Interest::Read)], None)?;
    Ok(!ready[1].ready)
}

/// Whether an operation on `fd` would go through at once.
pub(crate) fn is_ready(fd: BorrowedFd<'_>, interest: Interest) -> Result<bool> {
    Ok(wait(&[(fd, interest)], Some(Duration::ZERO))?[0].ready)
}

/// Runs `operation` until it neither is interrupted nor says "would block". The latter happens to
/// a guest that asked for blocking if somebody else made the open file non-blocking, as is common
/// with inherited terminals.
pub(super) fn blocking<T>(
    fd: BorrowedFd<'_>,
    interest: Interest,
    mut operation: impl FnMut() -> rustix::io::Result<T>,
) -> Result<T> {
    loop {
        match operation() {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                wait(&[(fd, interest)], None)?;
            }
            other => return other.map_err(Into::into),
        }
    }
}
