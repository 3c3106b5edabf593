//! Bimetal: a WebAssembly runtime to embed.
//!
//! An [`Engine`] has a configuration and a compiler. A [`Module`] is loaded into an engine; a
//! [`Linker`] gives it its imports and makes an [`Instance`] of it in a [`Store`], which owns all
//! that instances use. [`Func`], [`Memory`], [`Table`], [`Global`] and [`Tag`] are handles into a store.
//!
//! ```
//! use bimetal::{Engine, Linker, Module, Store};
//!
//! let engine = Engine::default();
//! let module = Module::new(&engine, r#"(module
//!     (func (export "add") (param i32 i32) (result i32)
//!         (i32.add (local.get 0) (local.get 1))))"#)?;
//! let mut store = Store::new(&engine, ());
//! let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
//! let add = instance.get_typed_func::<(i32, i32), i32>(&mut store, "add")?;
//! assert_eq!(add.call(&mut store, (1, 2))?, 3);
//! # Ok::<(), bimetal::Error>(())
//! ```
//!
//! # Inside
//! `vm/` is the unsafe heart: what generated code sees, entering and leaving it, traps. `tier/`
//! decides when functions are compiled and publishes them. The rest is the API, safe code.
#![deny(unsafe_code)]

mod allocation;
mod asynchronous;
mod backtrace;
mod cache;
mod call_hook;
mod caller;
mod config;
mod coredump;
mod engine;
pub mod environment;
pub mod error;
mod exception;
mod externs;
mod func;
mod gc;
mod global;
mod image;
mod instance;
mod interrupt;
mod limits;
mod linker;
mod memory;
pub mod middleware;
mod module;
mod profiling;
mod reference;
mod registry;
mod shared_memory;
mod snapshot;
mod source;
mod store;
mod symbols;
mod table;
mod tag;
mod tier;
mod types;
mod val;
#[allow(unsafe_code, reason = "the one place for it in this crate")]
mod vm;

pub use allocation::{
    InstanceAllocationStrategy, PoolConcurrencyLimitError, PoolingAllocationConfig,
};
pub use asynchronous::ResourceLimiterAsync;
pub use backtrace::{FrameInfo, WasmBacktrace};
pub use bimetal_abi::TrapCode as Trap;
pub use bimetal_codegen::{Dump, DumpSet};
pub use bimetal_wasm::{OperatorCost, VariableOperatorCost};
pub use cache::{Cache, CacheConfig, CacheStats};
pub use call_hook::CallHook;
pub use caller::Caller;
pub use config::{Config, OptLevel, ProfilingStrategy, Progress, WasmBacktraceDetails};
pub use engine::{Engine, EngineWeak};
pub use error::{Context, Error, ErrorKind, Result};
pub use exception::{Exception, ExnRefPre, ExnType, ThrownException};
pub use externs::{Export, Extern};
pub use func::{Func, TypedFunc};
pub use gc::{
    AnyRef, ArrayRef, ArrayRefPre, EqRef, ExnRef, ExternRef, GcRef, I31, OwnedRooted, RootScope,
    Rooted, StructRef, StructRefPre,
};
pub use global::Global;
pub use instance::Instance;
pub use interrupt::{InterruptHandle, UpdateDeadline};
pub use limits::{ResourceLimiter, StoreLimits, StoreLimitsBuilder};
pub use linker::{InstancePre, Linker, UnknownImportError};
pub use memory::{Memory, MemoryAccessError};
pub use module::{Module, ModuleExport, ModuleFunction, ResourcesRequired};
pub use reference::Ref;
pub use shared_memory::{SharedMemory, WaitResult};
pub use snapshot::Snapshot;
pub use store::{AsContext, AsContextMut, Store, StoreContext, StoreContextMut};
pub use symbols::FrameSymbol;
pub use table::Table;
pub use tag::Tag;
pub use types::{
    ArrayType, ExportType, ExternType, FieldType, Finality, FuncType, GlobalType, HeapType,
    ImportType, MemoryType, MemoryTypeBuilder, Mutability, RefType, StorageType, StructType,
    TableType, TagType, ValType,
};
pub use val::{V128, Val};
pub use vm::{GcStats, IntoFunc, WasmParams, WasmResults, WasmRet, WasmTy, WasmTyList};

/// Whether this build of the crate has a compiler in it: the feature `optimizer`.
pub const HAS_COMPILER: bool = cfg!(feature = "optimizer");

/// The README's example, checked.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[derive(Debug)]
pub struct Readme;

/// The configuration of `docs/determinism.md`, checked.
#[cfg(doctest)]
#[doc = include_str!("../../docs/determinism.md")]
#[derive(Debug)]
pub struct Determinism;
