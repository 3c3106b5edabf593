//! Reading clocks.

use super::{Errno, GuestMemory, Result};
use crate::WasiCtx;
use crate::core::{Clock, Clocks, HostClock};
use std::time::Duration;

/// The clock with preview 1's number `id`.
pub(super) fn by_id(clocks: &Clocks, id: u32) -> Result<&dyn Clock> {
    Ok(match id {
        0 => &*clocks.wall,
        1 => &*clocks.monotonic,
        2 | 3 if clocks.monotonic.as_logical().is_some() => &*clocks.monotonic,
        2 => &HostClock::ProcessCpuTime,
        3 => &HostClock::ThreadCpuTime,
        _ => return Err(Errno::Inval),
    })
}

/// A time as the guest sees it: nanoseconds, up to the year 2554.
pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Stores the resolution of a clock.
pub fn clock_res_get(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    id: u32,
    resolution: u32,
) -> Result<()> {
    let clock = by_id(&ctx.host.clocks, id)?;
    mem.write_u64(resolution, nanoseconds(clock.resolution()).max(1))
}

/// Stores the time of a clock. The precision is a hint that this host has no use for.
pub fn clock_time_get(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    id: u32,
    _precision: u64,
    time: u32,
) -> Result<()> {
    let clock = by_id(&ctx.host.clocks, id)?;
    mem.write_u64(time, nanoseconds(clock.now()))
}
