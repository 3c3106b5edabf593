//! What the tests of Bimetal have in common.
//!
//! - [`wast`] runs the specification's `.wast` scripts against an engine; the `bimetal wast`
//!   command is a thin layer over it, and the one use of this crate that is not a test.
//! - [`cases`] runs files that say in `;; RUN:` headers how to call a program and what must come
//!   of it.
//! - [`expected`] reads lists of expected failures, which must stay exact.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod cases;
pub mod expected;
pub mod wast;

pub use crate::wast::{Failure, Report, RunConfig, run_wast};
