//! The operating system and the instruction set.
//!
//! What the engine needs from below: address space ([`Reservation`], [`MemoryImage`]), executable
//! memory ([`CodeRegion`]), hardware faults ([`install_fault_handler`]), stacks ([`Fiber`] and the
//! bounds of a thread's), and the few pieces of hand-written machine code: lazy stubs, builtin
//! stubs and the jump back to a host entry. What these agree on with generated code is said in
//! [`bimetal_abi::convention`].
//!
//! `unix` is one folder per operating system, `arch` one file per instruction set; `cfg` selects
//! whole files. Nothing here knows of modules, stores or compilers.
//!
//! **Invariant**: no page is ever writable and executable, and no code page is writable at any
//! address; see [`CodeRegion`].

#[cfg(not(target_os = "linux"))]
compile_error!(
    "bimetal-sys runs on Linux so far: on macOS `unix` needs executable memory through MAP_JIT, \
     on Windows a sibling of `unix` is needed with VirtualAlloc and a vectored exception handler"
);

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!(
    "bimetal-sys has its machine code for x86-64 and aarch64 so far: other instruction sets need a \
     file in sys/src/arch"
);

#[cfg(target_arch = "aarch64")]
#[path = "arch/aarch64.rs"]
mod arch;
#[cfg(target_arch = "x86_64")]
#[path = "arch/x86_64.rs"]
mod arch;

#[cfg(target_arch = "aarch64")]
#[path = "cpu/aarch64.rs"]
mod cpu;
#[cfg(target_arch = "x86_64")]
#[path = "cpu/x86_64.rs"]
mod cpu;

mod fiber;
mod stubs;

#[cfg(target_os = "linux")]
mod unix;

pub use arch::{resume_at, resume_at_entry, stack_pointer};
pub use cpu::has_cpu_feature;
pub use fiber::{Fiber, FiberStack, Progress, Suspender};
pub use stubs::{
    HostResolver, InterruptResolver, LazyResolver, LazyStubs, MAX_LAZY_STUBS, NATIVE_FLOATS,
    NATIVE_INTEGERS, ReturnArea, interrupt_stub, lazy_host_stub, lazy_stub, lazy_stubs,
    leave_frame, next_frame, raise_stub, set_host_resolver, set_interrupt_resolver,
    set_lazy_resolver, text_lazy_stubs,
};
pub use unix::cache_files::{
    boot_identity, create_private_dir, create_private_file, file_changed, file_identity,
    is_private, open_file, random_bytes,
};
pub use unix::code::CodeRegion;
pub use unix::dirty::DirtyPages;
pub use unix::file::{FilePart, MappedCode, MappedFile, own_program};
pub use unix::memory::{MemoryImage, Reservation, page_size};
pub use unix::profile::{announce_file, monotonic_nanos, thread_id};
pub use unix::stack::thread_stack_limit;
pub use unix::traps::{
    Fault, FaultHandler, FaultKind, Resume, ensure_signal_stack, install_fault_handler,
};

/// What [`builtin_stub!`] expands to names; no part of the interface.
#[doc(hidden)]
pub mod private {
    pub use bimetal_abi::{VmContextHeader, VmStoreContext};
}
