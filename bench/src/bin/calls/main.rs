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

bimetal_bench::library_race!(Call, "cases.rs");
