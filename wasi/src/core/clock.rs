//! Clocks, real or supplied by the embedder.
//!
//! Preview 1 names four clocks. An embedder replaces the first two to make a run repeatable; the
//! two CPU-time clocks are always the host's.

use rustix::time::{ClockId, clock_getres, clock_gettime};
use std::fmt::Debug;
use std::time::Duration;

/// A clock that a guest may read.
pub trait Clock: Send + Sync + Debug {
    /// The time now: since 1970-01-01T00:00:00Z for a wall clock, since any fixed moment for a
    /// monotonic clock.
    fn now(&self) -> Duration;

    /// The smallest step that [`Clock::now`] can show; not zero.
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    /// Whether time on this clock passes as it does for the host, so that waiting on the host
    /// again is useful when a deadline has not come yet. A clock of the embedder's own says no,
    /// and a wait on it is computed once.
    fn follows_host(&self) -> bool {
        false
    }
}

/// The host's own clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostClock {
    /// The time of day.
    Realtime,
    /// Never goes back.
    Monotonic,
    /// CPU time used by the host process.
    ProcessCpuTime,
    /// CPU time used by the calling thread.
    ThreadCpuTime,
}

impl HostClock {
    fn id(self) -> ClockId {
        match self {
            HostClock::Realtime => ClockId::Realtime,
            HostClock::Monotonic => ClockId::Monotonic,
            HostClock::ProcessCpuTime => ClockId::ProcessCPUTime,
            HostClock::ThreadCpuTime => ClockId::ThreadCPUTime,
        }
    }
}

impl Clock for HostClock {
    fn now(&self) -> Duration {
        to_duration(clock_gettime(self.id()))
    }

    fn resolution(&self) -> Duration {
        to_duration(clock_getres(self.id())).max(Duration::from_nanos(1))
    }

    fn follows_host(&self) -> bool {
        true
    }
}

fn to_duration(t: rustix::time::Timespec) -> Duration {
    // A host whose clock stands before 1970 has a clock at 1970, not an error.
    Duration::new(
        u64::try_from(t.tv_sec).unwrap_or(0),
        u32::try_from(t.tv_nsec).unwrap_or(0),
    )
}

/// The clocks of one guest.
#[derive(Debug)]
pub struct Clocks {
    /// The time of day.
    pub wall: Box<dyn Clock>,
    /// For measuring and waiting.
    pub monotonic: Box<dyn Clock>,
}

impl Default for Clocks {
    fn default() -> Clocks {
        Clocks {
            wall: Box::new(HostClock::Realtime),
            monotonic: Box::new(HostClock::Monotonic),
        }
    }
}
