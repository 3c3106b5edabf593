//! What threads make of a shared memory: computing together, counting, locking, waking each other.
//! Bimetal and, with the feature `peer`, Wasmtime in the same process.
//!
//! Both run the same source ([`cases.rs`](../cases.rs), compiled against each), taking turns
//! ([`bimetal_bench::bursts`]). What is printed (as JSON, for `cargo xtask bench --parts threads`) is
//! seconds of wall time for one, of each round. With more threads than the machine has there is no
//! speed-up to be seen.

#![forbid(unsafe_code)]

bimetal_bench::library_race!(Threads, "cases.rs");
