//! Tier 2: wasm → SSA graph → passes → Cranelift → machine code.
//!
//! [`graph`] is the form in the middle; [`build`] makes it from a function's body; `lower` turns
//! it into CLIF, Cranelift selects instructions and allocates registers, and `emit` brings the
//! result into the shape that all compilers share. `trampoline` makes the code between wasm and
//! the host. [`Optimizer`] ties it together and is all that an engine needs.
//!
//! Where an `i32.add` becomes an instruction: decoded in `build`, `graph::Op::I32Add` in between,
//! one line in `lower/numeric.rs` to CLIF's `iadd`, the rest is Cranelift's.
//!
//! **Invariant**: the same module, settings and function give the same bytes, whatever the same
//! memory was used for before and whatever the number of threads.
#![forbid(unsafe_code)]

pub mod build;
mod compiler;
mod emit;
pub mod graph;
mod isa;
mod known;
mod lower;
pub mod passes;
mod signature;
mod trampoline;
mod traps;
pub mod verify;

pub use compiler::Optimizer;
