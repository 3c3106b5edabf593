//! A context that the threads of one guest share.
//!
//! It is behind a lock, and a call has it for as long as it takes. A call that may wait, for another
//! thread of the guest even, must not keep the others from theirs: it gets a context of its own, with
//! clones of the descriptors that it is about, which lead to the same open files, and with a
//! descriptor that can be read when all threads are to end. Whoever closes a file while another
//! thread reads it closes it when that is done.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::core::{Host, Interest, is_ready, wait_or_end};
use crate::p1::{Descriptors, Errno};
use crate::{GuestMemory, WasiCtx};

/// What a call does to a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Something with all of it, without waiting.
    All,
    /// It reads or writes a descriptor, and may wait.
    Stream(Interest),
    /// It accepts a connection on a descriptor, and may wait.
    Accept,
    /// It waits for clocks and descriptors.
    Poll,
    /// Nothing.
    Nothing,
}

impl Access {
    /// What the function with this name does, to the descriptor that is its first parameter.
    pub(crate) fn of(function: &str) -> Access {
        match function {
            "fd_read" | "sock_recv" => Access::Stream(Interest::Read),
            "fd_write" | "sock_send" => Access::Stream(Interest::Write),
            "sock_accept" => Access::Accept,
            "poll_oneoff" => Access::Poll,
            "sched_yield" => Access::Nothing,
            _ => Access::All,
        }
    }
}

/// A context behind a lock.
#[derive(Debug)]
pub(crate) struct SharedCtx {
    ctx: Mutex<WasiCtx>,
    end: Arc<OwnedFd>,
    ended: AtomicBool,
}

impl SharedCtx {
    /// What can be read once somebody has written to it.
    pub(crate) fn end_of_waiting() -> io::Result<Arc<OwnedFd>> {
        let flags = rustix::event::EventfdFlags::CLOEXEC;
        Ok(Arc::new(rustix::event::eventfd(0, flags)?))
    }

    /// One that is not shared yet, to be. `end` is an [end of waiting](SharedCtx::end_of_waiting).
    pub(crate) fn new(ctx: WasiCtx, end: Arc<OwnedFd>) -> SharedCtx {
        SharedCtx {
            ctx: Mutex::new(ctx),
            end,
            ended: AtomicBool::new(false),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, WasiCtx> {
        self.ctx.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No call waits any more, and none begins.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        // It is never read, and so there is always room for one more.
        let _ = rustix::io::write(&self.end, &1_u64.to_ne_bytes());
    }

    /// Whether all threads are to end.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Makes a call, whose descriptor is `fd` if it is about one.
    pub(crate) fn call<R>(
        &self,
        access: Access,
        fd: u32,
        mem: &mut GuestMemory<'_>,
        call: impl FnOnce(&mut WasiCtx, &mut GuestMemory<'_>) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        let mut own = match access {
            Access::All => return call(&mut self.lock(), mem),
            Access::Nothing => WasiCtx::of(Host::default(), Descriptors::default()),
            Access::Poll => {
                let ctx = self.lock();
                let host = Host {
                    clocks: ctx.host.clocks.clone(),
                    ..Host::default()
                };
                WasiCtx::of(host, ctx.fds.clone())
            }
            Access::Stream(_) | Access::Accept => {
                WasiCtx::of(Host::default(), self.lock().fds.only(fd))
            }
        };
        own.end = Some(self.end.clone());
        let interest = match access {
            Access::Stream(interest) => interest,
            _ => Interest::Read,
        };
        loop {
            let waits = match access {
                Access::Poll | Access::Nothing => None,
                _ => own.fds.waits(fd, interest),
            };
            if let Some(os) = waits
                && !wait_or_end(os, interest, self.end.as_fd())?
            {
                return Err(Errno::Intr);
            }
            if access != Access::Accept {
                return call(&mut own, mem);
            }
            // It adds to the table. Another thread may have been faster.
            let mut ctx = self.lock();
            let ready = match ctx.fds.waits(fd, interest) {
                Some(os) => is_ready(os, interest)?,
                None => true,
            };
            if ready {
                return call(&mut ctx, mem);
            }
            own.fds = ctx.fds.only(fd);
        }
    }
}
