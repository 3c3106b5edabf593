//! Waiting at an address of a shared memory until somebody notifies it.
//!
//! A memory has a queue for each address that something waits at. Who waits puts a [`Sleeper`] there,
//! under the lock under which it has found the value that it expects, so that no notification after
//! that is missed. It is woken by a notification, which takes it out of the queue; by an interrupt of
//! its store, after which it may go on sleeping in its place; or when its time is over. A thread
//! sleeps on a condition variable; a fiber leaves its task's waker, and [`Timer`] wakes it in time.
//!
//! **Invariant**: a sleeper is notified if, and only if, a notification has taken it out of its queue.
//! So whoever gives up asks the queue ([`Waiters::leave`]) what it was.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who waits at the addresses of one memory.
#[derive(Debug, Default)]
pub(super) struct Waiters(Mutex<HashMap<u64, VecDeque<Arc<Sleeper>>>>);

impl Waiters {
    /// Puts a new sleeper behind the others, if `expected` finds what it expects.
    pub(super) fn enter(&self, at: u64, expected: impl FnOnce() -> bool) -> Option<Arc<Sleeper>> {
        let mut queues = lock(&self.0);
        if !expected() {
            return None;
        }
        let sleeper = Arc::new(Sleeper::default());
        queues.entry(at).or_default().push_back(sleeper.clone());
        Some(sleeper)
    }

    /// Notifies the first `count`; how many there were.
    pub(super) fn notify(&self, at: u64, count: u32) -> u32 {
        let notified: Vec<Arc<Sleeper>> = {
            let mut queues = lock(&self.0);
            let Some(queue) = queues.get_mut(&at) else {
                return 0;
            };
            let count = queue.len().min(count as usize);
            let notified = queue.drain(..count).collect();
            if queue.is_empty() {
                queues.remove(&at);
            }
            notified
        };
        for sleeper in &notified {
            sleeper.wake(|state| state.notified = true);
        }
        // Not more than `count`.
        notified.len() as u32
    }

    /// Takes a sleeper out of its queue; whether it was there, not notified.
    pub(super) fn leave(&self, at: u64, sleeper: &Arc<Sleeper>) -> bool {
        let mut queues = lock(&self.0);
        let Some(queue) = queues.get_mut(&at) else {
            return false;
        };
        let place = queue.iter().position(|other| Arc::ptr_eq(other, sleeper));
        let was_there = place.and_then(|place| queue.remove(place)).is_some();
        if queue.is_empty() {
            queues.remove(&at);
        }
        was_there
    }
}

/// Why a sleeper woke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    Notified,
    Interrupted,
    TimedOut,
}

/// Somebody who waits.
#[derive(Debug, Default)]
pub(super) struct Sleeper {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    notified: bool,
    interrupted: bool,
    /// What sleeps is a task.
    waker: Option<Waker>,
}

impl State {
    fn woken(&mut self, until: Option<Instant>) -> Option<Woken> {
        if self.notified {
            return Some(Woken::Notified);
        }
        if std::mem::take(&mut self.interrupted) {
            return Some(Woken::Interrupted);
        }
        let over = until.is_some_and(|until| until <= Instant::now());
        over.then_some(Woken::TimedOut)
    }
}

impl Sleeper {
    fn wake(&self, change: impl FnOnce(&mut State)) {
        let waker = {
            let mut state = lock(&self.state);
            change(&mut state);
            state.waker.take()
        };
        self.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes it to look at what its store is told. From any thread.
    pub(super) fn interrupt(&self) {
        self.wake(|state| state.interrupted = true);
    }

    /// Lets the thread sleep.
    pub(super) fn sleep(&self, until: Option<Instant>) -> Woken {
        let mut state = lock(&self.state);
        loop {
            if let Some(woken) = state.woken(until) {
                return woken;
            }
            state = match until {
                None => self.changed.wait(state),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    let slept = self.changed.wait_timeout(state, left);
                    slept
                        .map(|(state, _)| state)
                        .map_err(|error| PoisonError::new(error.into_inner().0))
                }
            }
            .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets a task sleep.
    ///
    /// # Errors
    /// If there is nobody to wake it in time.
    pub(super) fn sleep_async(
        self: &Arc<Self>,
        until: Option<Instant>,
    ) -> io::Result<impl Future<Output = Woken> + Send + use<>> {
        let alarm = until.map(|until| Alarm::set(until, self)).transpose()?;
        Ok(Asleep {
            sleeper: self.clone(),
            until,
            _alarm: alarm,
        })
    }
}

/// A task that sleeps.
struct Asleep {
    sleeper: Arc<Sleeper>,
    until: Option<Instant>,
    _alarm: Option<Alarm>,
}

impl Future for Asleep {
    type Output = Woken;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Woken> {
        let mut state = lock(&self.sleeper.state);
        match state.woken(self.until) {
            Some(woken) => Poll::Ready(woken),
            None => {
                state.waker = Some(task.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        lock(&self.sleeper.state).waker = None;
    }
}

/// The tasks of the process that are to be woken at some time, and whether there is a thread that
/// does. It lives as long as there are any: no executor's own timer is relied on.
#[derive(Debug)]
struct Timer {
    alarms: BTreeMap<(Instant, u64), Weak<Sleeper>>,
    next: u64,
    running: bool,
}

static TIMER: Mutex<Timer> = Mutex::new(Timer {
    alarms: BTreeMap::new(),
    next: 0,
    running: false,
});

/// There is an alarm before all others.
static EARLIER: Condvar = Condvar::new();

/// Wakes a task at a time, unless it is dropped before.
#[derive(Debug)]
struct Alarm((Instant, u64));

impl Alarm {
    fn set(until: Instant, sleeper: &Arc<Sleeper>) -> io::Result<Alarm> {
        let mut timer = lock(&TIMER);
        if !timer.running {
            let thread = std::thread::Builder::new().name("bimetal-timer".into());
            thread.spawn(run_timer)?;
            timer.running = true;
        }
        let key = (until, timer.next);
        timer.next += 1;
        timer.alarms.insert(key, Arc::downgrade(sleeper));
        if timer
            .alarms
            .first_key_value()
            .is_some_and(|(first, _)| *first == key)
        {
            EARLIER.notify_one();
        }
        Ok(Alarm(key))
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        lock(&TIMER).alarms.remove(&self.0);
    }
}

fn run_timer() {
    let mut timer = lock(&TIMER);
    loop {
        let Some(first) = timer.alarms.first_entry() else {
            timer.running = false;
            return;
        };
        let now = Instant::now();
        let (at, _) = *first.key();
        if at > now {
            let waited = EARLIER.wait_timeout(timer, at - now);
            timer = waited.unwrap_or_else(PoisonError::into_inner).0;
            continue;
        }
        let sleeper = first.remove();
        // A waker is the executor's code.
        drop(timer);
        if let Some(sleeper) = sleeper.upgrade() {
            sleeper.wake(|_| {});
        }
        timer = lock(&TIMER);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn notifications_take_the_first_ones() {
        let waiters = Waiters::default();
        let sleepers: Vec<_> = (0..3).map(|_| waiters.enter(8, || true).unwrap()).collect();
        assert!(waiters.enter(8, || false).is_none());
        assert_eq!(waiters.notify(4, 9), 0);
        assert_eq!(waiters.notify(8, 2), 2);
        assert_eq!(sleepers[0].sleep(None), Woken::Notified);
        assert_eq!(sleepers[1].sleep(None), Woken::Notified);
        let soon = Instant::now() + Duration::from_millis(1);
        assert_eq!(sleepers[2].sleep(Some(soon)), Woken::TimedOut);
        assert!(!waiters.leave(8, &sleepers[0]));
        assert!(waiters.leave(8, &sleepers[2]));
        assert_eq!(waiters.notify(8, 2), 0);
        assert!(lock(&waiters.0).is_empty());
    }

    #[test]
    fn the_interrupted_keep_their_place() {
        let waiters = Waiters::default();
        let sleeper = waiters.enter(0, || true).unwrap();
        sleeper.interrupt();
        assert_eq!(sleeper.sleep(None), Woken::Interrupted);
        assert_eq!(waiters.notify(0, 1), 1);
        assert_eq!(sleeper.sleep(None), Woken::Notified);
    }
}
