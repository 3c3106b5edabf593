//! `poll_oneoff`: waiting for clocks and descriptors, mixed.
//!
//! What is wrong with one subscription is an event of that subscription, at once, and does not
//! disturb the others. Everything that the kernel has to wait for goes into one `poll` with the
//! nearest deadline. A deadline on a clock of the embedder's own is turned into a duration once, at
//! the beginning, because nobody can know when such a clock will have got there.

use super::clock::{by_id, nanoseconds};
use super::layout::{
    EVENT_SIZE, Event, Snapshot, Subscribed, Subscription, read_subscriptions, write_event,
};
use super::types::{Rights, SubClockFlags};
use super::{Errno, GuestMemory, Result};
use crate::WasiCtx;
use crate::core::{Interest, LogicalClock, Readiness, bytes_waiting, wait};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// More subscriptions than a process can have descriptors make no sense and would only cost the
/// host memory.
const MAX_SUBSCRIPTIONS: u32 = 1 << 16;

/// What one subscription has come to.
enum State {
    /// It has happened, or failed.
    Done { error: Option<Errno>, nbytes: u64 },
    /// The kernel will say; the index is into the list for `wait`.
    Waiting(usize),
    /// A point in time; `None` lies beyond what the host can express.
    Deadline {
        at: Option<Instant>,
        absolute: Option<(u32, u64)>,
    },
    /// So much time on a logical clock, which passes when there is nothing else to wait for.
    Logical { clock: LogicalClock, left: Duration },
}

fn clock_state(ctx: &WasiCtx, id: u32, timeout: u64, flags: u16) -> Result<State> {
    let clock = by_id(&ctx.host.clocks, id)?;
    let flags = SubClockFlags::from_bits(flags).ok_or(Errno::Inval)?;
    let absolute = flags.contains(SubClockFlags::ABSTIME);
    let left = if absolute {
        timeout.saturating_sub(nanoseconds(clock.now()))
    } else {
        timeout
    };
    if let Some(clock) = clock.as_logical() {
        return Ok(State::Logical {
            clock: clock.clone(),
            left: Duration::from_nanos(left),
        });
    }
    Ok(State::Deadline {
        at: Instant::now().checked_add(Duration::from_nanos(left)),
        absolute: (absolute && clock.follows_host()).then_some((id, timeout)),
    })
}

fn descriptor_state<'c>(
    ctx: &'c WasiCtx,
    fd: u32,
    interest: Interest,
    waits: &mut Vec<(BorrowedFd<'c>, Interest)>,
) -> Result<State> {
    let descriptor = ctx.fds.get(fd)?;
    let right = match interest {
        Interest::Read => Rights::FD_READ,
        Interest::Write => Rights::FD_WRITE,
    };
    descriptor.require(right | Rights::POLL_FD_READWRITE)?;
    Ok(match descriptor.waits_on(interest) {
        Some(os) => {
            waits.push((os, interest));
            State::Waiting(waits.len() - 1)
        }
        // What the embedder keeps in memory is always ready; how much there is, nobody says.
        None => State::Done {
            error: None,
            nbytes: 1,
        },
    })
}

pub(super) fn poll_in(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    input: u32,
    output: u32,
    nsubscriptions: u32,
    nevents: u32,
    snapshot: Snapshot,
) -> Result<()> {
    if nsubscriptions == 0 || nsubscriptions > MAX_SUBSCRIPTIONS {
        return Err(Errno::Inval);
    }
    let subscriptions = read_subscriptions(mem, input, nsubscriptions, snapshot)?;
    mem.check(output, (nsubscriptions * EVENT_SIZE) as usize)?;
    mem.check(nevents, 4)?;

    let ctx = &*ctx;
    let mut waits = Vec::new();
    // All threads are to end: what has happened then does not matter.
    let end = ctx.end.as_ref();
    let mut states: Vec<State> = subscriptions
        .iter()
        .map(|s| {
            match s.what {
                Subscribed::Clock { id, timeout, flags } => clock_state(ctx, id, timeout, flags),
                Subscribed::Read { fd } => descriptor_state(ctx, fd, Interest::Read, &mut waits),
                Subscribed::Write { fd } => descriptor_state(ctx, fd, Interest::Write, &mut waits),
            }
            .unwrap_or_else(|error| State::Done {
                error: Some(error),
                nbytes: 0,
            })
        })
        .collect();

    let own = waits.len();
    waits.extend(end.map(|end| (end.as_fd(), Interest::Read)));
    let mut events = Vec::new();
    while events.is_empty() {
        let ready = collect(ctx, &subscriptions, &mut states, &waits, &mut events)?;
        if ready.get(own).is_some_and(|end| end.ready) {
            return Err(Errno::Intr);
        }
    }
    for (i, event) in (0..).zip(&events) {
        write_event(mem, output + i * EVENT_SIZE, event)?;
    }
    mem.write_u32(nevents, events.len() as u32)
}

/// Waits once and collects what has happened, in the order of the subscriptions; what of `waits` is
/// ready, if that was asked. Nothing, if the
/// host's idea of a duration and a clock that is being adjusted differ; then once more.
fn collect(
    ctx: &WasiCtx,
    subscriptions: &[Subscription],
    states: &mut [State],
    waits: &[(BorrowedFd<'_>, Interest)],
    events: &mut Vec<Event>,
) -> Result<Vec<Readiness>> {
    let done = states.iter().any(|s| matches!(s, State::Done { .. }));
    let deadline = states
        .iter()
        .filter_map(|s| match s {
            State::Deadline { at, .. } => *at,
            _ => None,
        })
        .min();
    let logical = states
        .iter()
        .filter_map(|s| match s {
            State::Logical { clock, left } => Some((clock.clone(), *left)),
            _ => None,
        })
        .min_by_key(|(_, left)| *left);
    let timeout = match deadline {
        _ if done || logical.is_some() => Some(Duration::ZERO),
        Some(at) => Some(at.saturating_duration_since(Instant::now())),
        None => None,
    };
    let ready = if (done || logical.is_some()) && waits.is_empty() {
        Vec::new()
    } else {
        wait(waits, timeout)?
    };

    // What is ready has not been waited for. All logical clocks of a guest are taken for one.
    let passed = match &logical {
        Some((clock, left)) if !done && ready.iter().all(|item| !item.ready) => {
            clock.advance(*left);
            *left
        }
        _ => Duration::ZERO,
    };

    let now = Instant::now();
    for (subscription, state) in subscriptions.iter().zip(states) {
        let mut event = Event {
            userdata: subscription.userdata,
            error: None,
            tag: subscription.what.tag(),
            nbytes: 0,
            hangup: false,
        };
        match state {
            State::Done { error, nbytes } => (event.error, event.nbytes) = (*error, *nbytes),
            State::Waiting(i) => {
                let (fd, interest) = waits[*i];
                if !ready[*i].ready {
                    continue;
                }
                event.hangup = ready[*i].hangup;
                event.nbytes = match interest {
                    Interest::Read => bytes_waiting(fd),
                    Interest::Write => 1,
                };
            }
            State::Logical { left, .. } => {
                *left = left.saturating_sub(passed);
                if !left.is_zero() {
                    continue;
                }
            }
            State::Deadline { at, absolute } => {
                if at.is_none_or(|at| at > now) {
                    continue;
                }
                if let Some((id, time)) = *absolute {
                    let left = time.saturating_sub(nanoseconds(by_id(&ctx.host.clocks, id)?.now()));
                    if left > 0 {
                        *at = now.checked_add(Duration::from_nanos(left));
                        continue;
                    }
                }
            }
        }
        events.push(event);
    }
    Ok(ready)
}

/// Waits until at least one of the subscriptions has happened, and stores what has.
pub fn poll_oneoff(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    input: u32,
    output: u32,
    nsubscriptions: u32,
    nevents: u32,
) -> Result<()> {
    poll_in(
        ctx,
        mem,
        input,
        output,
        nsubscriptions,
        nevents,
        Snapshot::One,
    )
}
