//! What bounds a guest: fuel, time, memory, tables, stack.
//!
//! A program whose time is over is interrupted, which it notices at its next loop iteration or
//! call. If it is waiting in the host meanwhile (it sleeps, or reads from a terminal), nobody can
//! call it back: after a short grace the whole process ends.

use std::fmt;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use bimetal::{Config, Context, Error, Result, Store, StoreLimits, StoreLimitsBuilder, Trap};
use serde::{Deserialize, Serialize};

use crate::host::Host;
use crate::output;

/// How long a program has for ending by itself once it was interrupted.
const GRACE: Duration = Duration::from_millis(200);

/// The limits of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Stop after about so many instructions.
    pub fuel: Option<u64>,
    /// Stop after this time.
    pub timeout: Option<Timeout>,
    /// Bytes that each memory may grow to.
    pub max_memory: Option<usize>,
    /// Elements that each table may grow to.
    pub max_table: Option<usize>,
    /// Bytes of stack.
    pub max_stack: Option<usize>,
    /// Threads that it may start, if it may have any, at a time.
    #[serde(default)]
    pub threads: Option<u32>,
}

/// A time as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeout {
    /// How long.
    pub after: Duration,
    text: String,
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Limits {
    /// Prepares code for these limits.
    pub fn configure(&self, config: &mut Config) {
        // Threads end together: some of them are interrupted.
        config.epoch_interruption(self.timeout.is_some() || self.threads.is_some());
        config.consume_fuel(self.fuel.is_some());
        if let Some(bytes) = self.max_stack {
            config.max_wasm_stack(bytes);
        }
    }

    /// The limits of a store.
    pub fn store_limits(&self) -> StoreLimits {
        let mut limits = StoreLimitsBuilder::new();
        if let Some(bytes) = self.max_memory {
            limits = limits.memory_size(bytes);
        }
        if let Some(elements) = self.max_table {
            limits = limits.table_elements(elements);
        }
        limits.build()
    }

    /// Bounds a store, which a thread of the guest will run in.
    ///
    /// # Errors
    /// If its code was not made for that.
    pub fn set(&self, store: &mut Store<Host>) -> Result<()> {
        store.limiter(|host| &mut host.limits);
        match self.fuel {
            Some(fuel) => store.set_fuel(fuel),
            None => Ok(()),
        }
    }

    /// Runs a guest within the limits.
    ///
    /// # Errors
    /// Those of the guest; a timeout is told of as such.
    pub fn within(
        &self,
        store: &mut Store<Host>,
        run: impl FnOnce(&mut Store<Host>) -> Result<ExitCode>,
    ) -> Result<ExitCode> {
        self.set(store)?;
        let Some(timeout) = &self.timeout else {
            return run(store);
        };
        let watch = Watch::start(store, timeout)?;
        let result = run(store);
        watch.end(timeout, result)
    }
}

/// The thread that waits for the end of the time.
struct Watch {
    fired: Arc<AtomicBool>,
    /// Whether one of the two threads says how the program ended; the other does not.
    ended: Arc<AtomicBool>,
}

impl Watch {
    fn start(store: &Store<Host>, timeout: &Timeout) -> Result<Watch> {
        let handle = store.interrupt_handle()?;
        let watch = Watch {
            fired: Arc::default(),
            ended: Arc::default(),
        };
        let (fired, ended) = (watch.fired.clone(), watch.ended.clone());
        let Timeout { after, text } = timeout.clone();
        let wait = move || {
            thread::sleep(after);
            fired.store(true, Ordering::SeqCst);
            handle.interrupt();
            thread::sleep(GRACE);
            if !ended.swap(true, Ordering::SeqCst) {
                abandon(&text);
            }
        };
        thread::Builder::new()
            .name("timeout".into())
            .spawn(wait)
            .context("cannot start a thread for the timeout")?;
        Ok(watch)
    }

    fn end(self, timeout: &Timeout, result: Result<ExitCode>) -> Result<ExitCode> {
        if self.ended.swap(true, Ordering::SeqCst) {
            // The process is ending.
            loop {
                thread::park();
            }
        }
        result.map_err(|error| {
            let interrupted = error.downcast_ref() == Some(&Trap::Interrupt);
            match interrupted && self.fired.load(Ordering::SeqCst) {
                true => error.context(format_args!("timeout after {}", timeout.text)),
                false => error,
            }
        })
    }
}

/// Ends the process whatever the guest's thread is doing.
fn abandon(timeout: &str) -> ! {
    // That thread may hold the lock of standard error, and wait for who does not read it.
    let (done, wait) = mpsc::channel();
    let message = format!("timeout after {timeout}");
    let say = move || {
        output::report(&Error::new(Trap::Interrupt).context(message));
        // Nobody may be waiting any more.
        let _ = done.send(());
    };
    if thread::Builder::new().spawn(say).is_ok() {
        let _ = wait.recv_timeout(GRACE);
    }
    std::process::exit(i32::from(output::TRAPPED))
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    text.split_at(end)
}

/// Reads a time: `5s`, `100ms`, `2m`; a number alone is seconds.
///
/// # Errors
/// What is expected instead.
pub fn parse_duration(text: &str) -> Result<Timeout, String> {
    let (number, unit) = split_unit(text);
    let seconds = match unit {
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err("expected a number and one of ms, s, m, h".into()),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "expected a time such as 5s or 100ms".to_owned())?;
    let after = Duration::try_from_secs_f64(number * seconds)
        .map_err(|_| "this time is too long".to_owned())?;
    let text = match unit {
        "" => format!("{text}s"),
        _ => text.to_owned(),
    };
    Ok(Timeout { after, text })
}

/// Reads a size: `65536`, `64K`, `512M`, `2G`.
///
/// # Errors
/// What is expected instead.
pub fn parse_size(text: &str) -> Result<usize, String> {
    let (number, unit) = split_unit(text);
    let shift = match unit.trim_end_matches('B').trim_end_matches('i') {
        "" => 0,
        "k" | "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err("expected a number of bytes, with K, M or G if wished".into()),
    };
    let number: usize = number
        .parse()
        .map_err(|_| "expected a size such as 65536 or 64K".to_owned())?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "this size is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let parse = |text| parse_duration(text).map(|timeout| timeout.after);
        assert_eq!(parse("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(parse("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(parse("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("3").unwrap().text, "3s");
        for text in ["", "s", "-1s", "5 s", "5y", "1e9", "1.1.1s"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("99999999999999999999999h").is_err());
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("65536"), Ok(65536));
        assert_eq!(parse_size("64K"), Ok(65536));
        assert_eq!(parse_size("64KiB"), Ok(65536));
        assert_eq!(parse_size("2G"), Ok(2 << 30));
        for text in [
            "",
            "M",
            "-1",
            "1.5M",
            "5X",
            "99999999999999999999",
            "99999999T",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
