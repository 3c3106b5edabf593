//! What a call across the border costs, for a library's user: host → wasm, wasm → host, and making
//! an instance; Bimetal and, with the feature `peer`, Wasmtime in the same process.
//!
//! Both run the same source ([`cases.rs`](../cases.rs), compiled against each), taking turns
//! ([`bimetal_bench::bursts`]). What is printed (as JSON, for `cargo xtask bench --parts calls`) is
//! seconds per call, of each round.
//!
//! A call of the host out of wasm is measured in a loop of wasm; the best time of the same loop
//! with an addition in the call's place is subtracted. So it can come out as less than nothing,
//! were a call cheaper than an addition.

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
    bimetal_bench::bursts::main(Kind::Call, field)
}
