//! What an instance costs who makes many: a store and an instance in it are made, maybe used a little,
//! and dropped. Bimetal and, with the feature `peer`, Wasmtime in the same process.
//!
//! Both run the same source ([`cases.rs`](../cases.rs), compiled against each), taking turns
//! ([`bimetal_bench::bursts`]). What is printed (as JSON, for `cargo xtask bench --parts instances`)
//! is seconds for one, of each round.

#![forbid(unsafe_code)]

bimetal_bench::library_race!(Instance, "cases.rs");
