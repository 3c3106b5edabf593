//! Garbage collection: precise, generational, incremental.
//!
//! A store's [`Heap`](heap::Heap) is made when the first object is. New objects are bump-allocated by
//! generated code in the nursery, which minor collections empty (`minor.rs`). The old space
//! (`old.rs`) does not move; it is marked piece by piece (`mark.rs`), a step with each minor
//! collection (`cycle.rs`), and swept as it is used. `barrier.rs` remembers what is written in
//! between. So a pause depends on what survives in the nursery, on how many frames and roots there are,
//! and on no other size.
//!
//! `stack.rs` says what the roots are; `roots.rs` has those of the host. Values of the host's
//! (`../externs.rs`) are marked like objects, whether there is a heap or not. `store.rs` is what the
//! rest of the engine uses; `builtins.rs` and `arrays.rs` what generated code does.
//!
//! **Invariants**
//! - Between two safepoints of wasm (calls and allocations), no object moves or is freed.
//! - An old object that refers to the nursery is in the log, or was written since the last minor
//!   collection and is in the log.
//! - While marking, what is unmarked and was reachable when marking began is reachable from
//!   something on the mark stack.
//! - No recursion depends on the shape of the graph of objects.

mod arrays;
mod barrier;
pub(super) mod builtins;
mod classes;
mod cycle;
mod heap;
mod mark;
mod minor;
mod object;
mod old;
mod roots;
mod space;
mod spaces;
mod stack;
mod statistics;
mod store;
#[cfg(test)]
mod tests;
mod whole;

pub(crate) use heap::HeapConfig;
pub(super) use mark::HostMarks;
pub(crate) use roots::{OwnedRoot, RootHandle, Roots, ScopeStart};
pub(crate) use spaces::Spaces;
pub use statistics::GcStats;
pub(crate) use store::StoreHeap;
pub(crate) use whole::{NewKind, WholeStore};
