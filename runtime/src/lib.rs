//! Running programs that a person starts.
//!
//! The engine runs modules, WASI gives them what they are given; this is what stands between the
//! two and a command line: what words give a guest ([`grants`]), what bounds it ([`limits`]), the
//! kinds of programs that are known ([`host`]), what is said and how it ends ([`output`]), and
//! programs that have their module in their own file ([`program`]). The `bimetal` program is made
//! of it, and `bimetal-runtime`, which begins every executable that `bimetal build` makes.
//!
//! **Invariant**: no compiler is needed here, so that the package by itself has none in it.
#![forbid(unsafe_code)]

pub mod grants;
pub mod host;
pub mod limits;
pub mod output;
pub mod program;
