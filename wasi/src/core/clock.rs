//! Clocks, real or supplied by the embedder.
//!
//! Preview 1 names four clocks. An embedder replaces the first two to make a run repeatable, with
//! [`LogicalClock`] for example, which then serves as the two CPU-time clocks too; these are the
//! host's otherwise.

use rustix::time::{ClockId, clock_getres, clock_gettime};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

    /// Whether it is a [`LogicalClock`], on which waiting takes no time of the host.
    fn as_logical(&self) -> Option<&LogicalClock> {
        None
    }
}

/// A clock that shows the same times in each run: it begins at 0 and goes on by a microsecond
/// whenever it is read, and by as much as is waited for when somebody waits on it.
///
/// Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub struct LogicalClock(Arc<AtomicU64>);

impl LogicalClock {
    /// A clock at 0: as a wall clock, at 1970-01-01T00:00:00Z.
    pub fn new() -> LogicalClock {
        LogicalClock::default()
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        let later = |now: u64| Some(now.saturating_add(by));
        let _ = (self.0).fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
    }
}

impl Clock for LogicalClock {
    fn now(&self) -> Duration {
        self.advance(Duration::from_micros(1));
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn resolution(&self) -> Duration {
        Duration::from_micros(1)
    }

    fn as_logical(&self) -> Option<&LogicalClock> {
        Some(self)
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
#[derive(Clone, Debug)]
pub struct Clocks {
    /// The time of day.
    pub wall: Arc<dyn Clock>,
    /// For measuring and waiting.
    pub monotonic: Arc<dyn Clock>,
}

impl Default for Clocks {
    fn default() -> Clocks {
        Clocks {
            wall: Arc::new(HostClock::Realtime),
            monotonic: Arc::new(HostClock::Monotonic),
        }
    }
}
