//! What threads make of a shared memory: computing together, counting, locking, waking each other.
//! Bimetal and, with the feature `peer`, Wasmtime in the same process.
//!
//! Both run the same source ([`cases.rs`](../cases.rs), compiled against each), taking turns
//! ([`bimetal_bench::bursts`]). What is printed (as JSON, for `cargo xtask bench --parts threads`) is
//! seconds of wall time for one, of each round. With more threads than the machine has there is no
//! speed-up to be seen.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use bimetal_bench::Kind;
use bimetal_bench::bursts::{Case, Field};

mod bimetal_side {
    use ::bimetal as runtime;
    include!("cases.rs");
}

#[cfg(feature = "peer")]
mod wasmtime_side {
    use ::wasmtime as runtime;
    include!("cases.rs");
}

fn field() -> Field {
    let error = |error: &dyn std::fmt::Display| format!("cannot prepare: {error:#}");
    let mut field: Field = Vec::new();
    match bimetal_side::cases() {
        Ok(cases) => field.push(("bimetal", cases)),
        Err(e) => eprintln!("{}", error(&e)),
    }
    #[cfg(feature = "peer")]
    match wasmtime_side::cases() {
        Ok(cases) => field.push(("wasmtime (library)", cases)),
        Err(e) => eprintln!("{}", error(&e)),
    }
    field
}

fn main() -> ExitCode {
    bimetal_bench::bursts::main(Kind::Threads, field)
}
