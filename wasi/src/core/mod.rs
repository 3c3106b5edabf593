//! The host as every preview of WASI sees it, with no wasm in it.
//!
//! Everything here speaks Rust types and fails with an [`ErrorCode`]. Policy (what is read-only,
//! what may be named) lives in [`Dir`] and [`DirPerms`]; path resolution itself is `cap-std`'s,
//! which on Linux is `openat2` with "beneath" and "no magic links". `rustix` is used on
//! descriptors that are already open, never to resolve a guest's path.
//!
//! Deliberately absent: descriptor numbers, rights, guest memory, layouts. Those differ from one
//! preview to the next and belong to the views.

mod clock;
mod dir;
mod error;
mod file;
mod host;
mod pipe;
mod poll;
mod random;
mod readdir;
mod socket;
mod stat;
mod stream;
mod table;

pub use clock::{Clock, Clocks, HostClock, LogicalClock};
pub use dir::{Dir, DirPerms, FilePerms, OpenRequest, Opened};
pub use error::{ErrorCode, Result};
pub use file::{Advice, File, StatusFlags};
pub use host::{Host, Preopen};
pub use pipe::{MemoryInputPipe, MemoryOutputPipe};
pub use poll::{Interest, Readiness, bytes_waiting, wait};
pub(crate) use poll::{is_ready, wait_or_end};
pub use random::{DeterministicRandom, HostRandom, Random};
pub use readdir::{DirStream, Entry};
pub use socket::{Connection, Listener, Received, Shutdown};
pub use stat::{FileStat, FileType, SetTime};
pub use stream::{Input, InputStream, Output, OutputStream};
pub use table::Table;

/// Where a position is moved to.
pub use rustix::fs::SeekFrom;
