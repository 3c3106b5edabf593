//! The WebAssembly System Interface for Bimetal.
//!
//! The crate has two layers. [`core`] is the host: files and directories that cannot be left,
//! byte streams, clocks, randomness, sockets and readiness, written in terms of Rust types and one
//! [`core::ErrorCode`]; it knows nothing of wasm. Each preview of WASI is a thin view of that
//! host: [`p1`] decodes integers and guest pointers, keeps preview 1's descriptor numbers and
//! rights, and calls the core. Later previews stand beside it on the same core.
//!
//! A [`WasiCtx`] is what one guest program may see and touch. It starts with nothing: no
//! arguments, no environment, null standard streams, no directories. What the guest gets, the
//! embedder gave to the [`WasiCtxBuilder`].
//!
//! ```
//! use bimetal_wasi::{GuestMemory, MemoryOutputPipe, WasiCtxBuilder, p1};
//!
//! let out = MemoryOutputPipe::new(1024);
//! let mut ctx = WasiCtxBuilder::new().arg("prog").stdout(out.clone()).build();
//!
//! // What a guest does to print "hi": one iovec at 0, the bytes at 8.
//! let mut bytes = vec![0u8; 64];
//! bytes[0] = 8;
//! bytes[4] = 2;
//! bytes[8..10].copy_from_slice(b"hi");
//! p1::fd_write(&mut ctx, &mut GuestMemory::new(&mut bytes), 1, 0, 1, 16).unwrap();
//! assert_eq!(out.contents(), b"hi");
//! ```
//!
//! With the engine, [`p1::add_to_linker`] defines all of it for modules to import:
//!
//! ```
//! use bimetal::{Engine, Linker, Module, Store};
//! use bimetal_wasi::{ProcExit, WasiCtx, WasiCtxBuilder, p1};
//!
//! let engine = Engine::default();
//! let module = Module::new(&engine, r#"(module
//!     (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
//!     (func (export "_start") (call $exit (i32.const 7))))"#)?;
//! let mut linker: Linker<WasiCtx> = Linker::new(&engine);
//! p1::add_to_linker(&mut linker, |ctx| ctx)?;
//! let mut store = Store::new(&engine, WasiCtxBuilder::new().build());
//! let start = linker.instantiate(&mut store, &module)?.get_typed_func::<(), ()>(&mut store, "_start")?;
//! let end = start.call(&mut store, ()).unwrap_err();
//! assert_eq!(end.downcast_ref::<ProcExit>(), Some(&ProcExit(7)));
//! # Ok::<(), bimetal::Error>(())
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod core;
mod ctx;
pub mod p1;
mod shared;
pub mod threads;

pub use crate::core::{
    Clock, DeterministicRandom, DirPerms, FilePerms, HostClock, HostRandom, Input, InputStream,
    LogicalClock, MemoryInputPipe, MemoryOutputPipe, Output, OutputStream, Random,
};
pub use ctx::{WasiCtx, WasiCtxBuilder};
pub use p1::{GuestMemory, ProcExit, add_to_linker};
