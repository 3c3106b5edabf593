//! Programs that wait without their thread waiting.
//!
//! [`Func::call_async`](crate::Func::call_async) and its like give futures. Polled, they run the
//! program on a stack of its own; when the program calls a host function that is asynchronous
//! ([`Linker::func_wrap_async`](crate::Linker::func_wrap_async)) and not ready, or is made to yield
//! ([`Store::epoch_deadline_async_yield_and_update`](crate::Store::epoch_deadline_async_yield_and_update)),
//! the future is pending. Any executor will do. How it works, and why it is sound, is said in
//! `vm/fiber.rs`; here is the API, a file for each type that it adds to.

mod func;
mod instance;
mod interrupt;
mod limits;
mod linker;
mod memory;
mod stacks;
mod table;

pub(crate) use interrupt::Pause;
pub use limits::ResourceLimiterAsync;
pub(crate) use stacks::FiberStacks;
