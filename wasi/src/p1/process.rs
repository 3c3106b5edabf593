//! Ending, yielding, randomness.

use super::{Errno, GuestMemory, Result};
use crate::WasiCtx;
use std::convert::Infallible;
use std::fmt;

/// The guest ended by `proc_exit` with this code. It travels as an error through the guest's
/// frames; the embedder finds it by downcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcExit(pub u32);

impl fmt::Display for ProcExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the program exited with code {}", self.0)
    }
}

impl std::error::Error for ProcExit {}

/// Ends the guest. Never succeeds: the "error" is the end.
pub fn proc_exit(
    _ctx: &mut WasiCtx,
    _mem: &mut GuestMemory<'_>,
    code: u32,
) -> Result<Infallible, ProcExit> {
    Err(ProcExit(code))
}

/// Signals do not exist here: always [`Errno::Notsup`], or [`Errno::Inval`] for a number that is no signal.
pub fn proc_raise(_ctx: &mut WasiCtx, _mem: &mut GuestMemory<'_>, signal: u32) -> Result<()> {
    const LAST_SIGNAL: u32 = 30;
    Err(if signal > LAST_SIGNAL {
        Errno::Inval
    } else {
        Errno::Notsup
    })
}

/// Lets other threads of the host run.
pub fn sched_yield(_ctx: &mut WasiCtx, _mem: &mut GuestMemory<'_>) -> Result<()> {
    std::thread::yield_now();
    Ok(())
}

/// How many random bytes are asked for at a time; a multiple of what sources make at once.
const CHUNK: u32 = 1 << 16;

/// Fills a buffer with random bytes.
pub fn random_get(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    buf: u32,
    buf_len: u32,
) -> Result<()> {
    mem.check(buf, buf_len as usize)?;
    let mut done = 0;
    while done < buf_len {
        let len = (buf_len - done).min(CHUNK);
        mem.fill_with(buf + done, len, |bytes| {
            ctx.host.random.fill(bytes)?;
            Ok(bytes.len())
        })?;
        done += len;
    }
    Ok(())
}
