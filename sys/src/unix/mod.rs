//! Linux.
//!
//! macOS would share this folder; what it does otherwise is said where it matters: executable
//! memory (no memfd, `MAP_JIT` instead), the end of the stack (`pthread_get_stackaddr_np`), the
//! register names in `ucontext_t`, and faults, which some programs there take as Mach exceptions
//! before any signal.

pub mod cache_files;
pub mod code;
pub mod dirty;
pub mod file;
pub mod memory;
pub mod profile;
pub mod stack;
pub mod traps;

#[cfg(target_arch = "aarch64")]
#[path = "context/aarch64.rs"]
mod context;
#[cfg(target_arch = "x86_64")]
#[path = "context/x86_64.rs"]
mod context;
