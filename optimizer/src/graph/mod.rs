//! The SSA graph: wasm in SSA form.
//!
//! A [`Graph`] is arenas of blocks, instructions, values and edges. Blocks have parameters, there
//! are no phi nodes; blocks and the instructions in them are doubly linked lists, in wasm order as
//! built. An instruction is an [`Op`] of one table ([`ops`]), operands, an [`Imm`] and the place
//! in wasm that it comes from. A terminator has [`Edge`]s, each with its target and arguments.
//!
//! **Invariants** (checked by `verify`): each block ends with its only terminator; a definition
//! dominates its uses; edges match their target's parameters in number and type; whatever can trap
//! or call has a site; results of a terminator are arguments of its own edges alone; the entry block has the function's parameters as its own and no edge goes
//! to it.
//!
//! Values can be made *aliases* of others; reads through [`Graph::args`] and
//! [`Graph::edge_args`] give what was stored, so whoever makes aliases resolves what it reads
//! ([`Graph::resolve`]) and ends with [`Graph::resolve_aliases`]. Outside of a pass there are none.
//!
//! There are no use lists and no stored predecessors: [`Cfg`] computes the latter on demand.
//! A graph is cleared and used again, so that compiling does not allocate per function.

mod cfg;
mod data;
mod entities;
mod imm;
pub mod ops;
mod parse;
mod print;
#[cfg(test)]
mod tests;
mod types;

pub use cfg::Cfg;
pub use data::Graph;
pub use entities::{
    Block, BlockData, Constant, Edge, EdgeData, Inst, InstData, JumpTable, SiteId, SiteInfo, Value,
    ValueData, ValueDef,
};
pub use imm::{Hint, Imm};
pub use ops::{Effects, ImmKind, Op, OpInfo, Slot};
pub use parse::{ParseError, parse};
pub use types::Type;
