//! Compiled modules as files.
//!
//! An image is an ELF64 object that any `objdump` reads: the machine code of every function, what
//! the engine must know of it, the module's own binary (so that it can be compiled again), and a
//! header that says for whom it was made. It is made to be *mapped*: the text needs no relocation,
//! tables are used where they lie, and opening an image looks at a few pages of it, however large.
//!
//! An image can also have the trampolines that its functions are called and call through, apart
//! from them: those are the engine's, which may need them for longer than the module.
//!
//! **Invariant**: nothing is run that was not written. What is relied on at once (header, tables,
//! trampolines, the module without its code) is covered by one digest, the seal, that
//! [`Image::open`] checks.
//! Each function has a digest of its own, of its code and its side table, which
//! [`Function::verify`] checks before its first call; a file of 100 MB is never read whole. The
//! digests find damage, not malice: whoever may write the file may write matching digests.
//!
//! [`executable`] puts an image into a native program, which runs it.
//!
//! Symbols are for people and tools: the loader does not look at them, nor does the seal cover them.
#![forbid(unsafe_code)]

mod elf;
mod error;
pub mod executable;
mod header;
mod read;
mod seal;
mod write;

pub use error::ImageError;
pub use header::{FORMAT, Header, InitialMemory, MemoryPart};
pub use read::{Function, Image, Trampoline};
pub use write::ImageWriter;

/// Names of sections.
mod section {
    pub const TEXT: &str = ".text";
    pub const TRAMPOLINE_TEXT: &str = ".text.trampolines";
    pub const HEADER: &str = ".bimetal.header";
    pub const FUNCTIONS: &str = ".bimetal.funcs";
    pub const DIGESTS: &str = ".bimetal.digests";
    pub const TRAMPOLINES: &str = ".bimetal.trampolines";
    pub const SITES: &str = ".bimetal.sites";
    pub const WASM: &str = ".bimetal.wasm";
    pub const MEMORY: &str = ".bimetal.memory";
    pub const PROFILE: &str = ".bimetal.profile";
    pub const SEAL: &str = ".bimetal.seal";
}
