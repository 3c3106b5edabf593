//! What a benchmark run is: the guest programs with their known results, the report that a race
//! writes, its statistics, its pictures, and the comparison of two reports.
//!
//! `cargo xtask bench` races programs; this crate knows what the numbers mean. What is too short for a
//! process of its own is measured by the programs beside it, `calls` (between host and wasm) and
//! `instances`, with [`bursts`]. Single times mean little on a shared machine; everything is said as a
//! ratio of two contenders that ran interleaved.

#![forbid(unsafe_code)]

pub mod bursts;
mod compare;
mod html;
mod programs;
mod report;
mod stats;

pub use compare::compare;
pub use html::page;
pub use programs::{GC_PROGRAMS, GuestProgram, PROGRAMS, gc_program_text};
pub use report::{Contender, Host, Kind, Metric, Race, Report, Sample};
pub use stats::{geometric_mean, median, minimum, spread};
