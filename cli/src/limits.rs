//! The arguments that bound a guest.

use bimetal_runtime::limits::{Limits, Timeout, parse_duration, parse_size};
use clap::Args;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Stop after about N instructions, always at the same one
    #[arg(long, value_name = "N")]
    pub fuel: Option<u64>,

    /// Stop after this time: 5s, 100ms, 2m; a number alone is seconds
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub timeout: Option<Timeout>,

    /// Let each memory, and the heap of collected objects, grow to at most this many bytes: 65536, 64K,
    /// 512M, 2G
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_memory: Option<usize>,

    /// Let each table grow to at most N elements
    #[arg(long, value_name = "N")]
    pub max_table: Option<usize>,

    /// Bytes of stack for the guest, 512K without this; less if the system gives less
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_stack: Option<usize>,
}

#[derive(Clone, Debug, Args)]
pub struct ThreadArgs {
    /// Let the guest start threads (`wasi.thread-spawn`), at most N at a time
    #[arg(
        long,
        value_name = "N",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = DEFAULT_THREADS,
        conflicts_with = "deterministic"
    )]
    pub threads: Option<u32>,
}

/// What `--threads` alone means.
const DEFAULT_THREADS: &str = "1024";

impl LimitArgs {
    /// The limits.
    pub fn limits(&self) -> Limits {
        Limits {
            threads: None,
            fuel: self.fuel,
            timeout: self.timeout.clone(),
            max_memory: self.max_memory,
            max_table: self.max_table,
            max_stack: self.max_stack,
        }
    }

    /// The limits of a guest that may have threads.
    pub fn with_threads(&self, threads: &ThreadArgs) -> Limits {
        Limits {
            threads: threads.threads,
            ..self.limits()
        }
    }
}
