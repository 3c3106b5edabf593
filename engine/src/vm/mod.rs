//! The unsafe heart: stores as generated code sees them, entering and leaving wasm, traps.
//!
//! **Invariants**
//! - Generated code sees memory only through the `#[repr(C)]` structures of `bimetal-abi`. They
//!   are reached by raw pointers alone, never by a long-lived reference, since wasm writes them.
//! - A store's instances, functions and definitions live, and stay where they are, until the
//!   store is dropped. That makes every pointer that a handle or a table holds valid as long as
//!   the store id that travels with it matches.
//! - Code called from wasm recovers its store by [`StoreOpaque::from_context`] alone. The pointer
//!   there was derived, at the newest entry into wasm, from the `&mut` that the caller gave up for
//!   the duration of the call.
//! - Rust frames are never jumped over: a host function or builtin that fails leaves its error in
//!   the store and *returns*; generated code then resumes at the entry.
//! - Code that waits for something asynchronous does so on a fiber, with nothing of the embedder's
//!   on its stack; what a thread and a store know of it is taken away while it waits (`fiber.rs`).

mod activation;
mod allocator;
mod builtins;
mod call;
mod call_hook;
mod code;
mod const_eval;
mod contents;
mod definition;
mod exceptions;
mod externs;
mod fiber;
mod gc;
mod host;
mod host_async;
mod image;
mod instance;
mod interrupt;
mod memory;
mod shared;
mod storage;
mod store;
mod table;
mod tags;
mod template;
mod trampolines;
mod type_infos;
mod val;
mod waiting;

pub(crate) use activation::{HOST_RESERVE, init_process, store_backtrace};
pub(crate) use allocator::{Allocator, ModuleKey, allocator};
pub(crate) use call::{invoke, read_results, start, val_from_results};
pub(crate) use code::{CodeSpace, ModuleCode};
pub(crate) use contents::InitialContents;
pub(crate) use exceptions::new_exception;
pub(crate) use fiber::OnFiber;
pub use gc::GcStats;
pub(crate) use gc::{HeapConfig, Spaces};
pub(crate) use gc::{NewKind, OwnedRoot, RootHandle, ScopeStart, WholeStore};
pub(crate) use host::{HostFunc, HostKind, val_from_object, val_into_raw, val_into_raw_of};
pub use host::{IntoFunc, WasmRet};
pub use host_async::WasmTyList;
pub(crate) use image::{ImageFile, ImageText};
pub(crate) use instance::{ImportValue, InstanceData, InstanceId, instantiate, prepare_heap};
pub(crate) use interrupt::{Signal, Wish};
pub(crate) use memory::MemoryId;
pub(crate) use shared::{Growth, SharedMemory};
pub(crate) use store::{FuncPtr, GlobalId, StoreId, StoreOpaque};
pub(crate) use table::{Element, TableId};
pub(crate) use tags::TagId;
pub(crate) use template::Template;
pub(crate) use trampolines::PlacedTrampoline;
pub(crate) use type_infos::TypeInfos;
pub use val::{WasmParams, WasmResults, WasmTy};
