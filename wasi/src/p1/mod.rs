//! WASI preview 1 (`wasi_snapshot_preview1`), a thin view of the host core.
//!
//! Every function of the interface is a Rust function here: the context, the guest's memory, then
//! the raw integers of the wasm signature. It decodes, calls the core, and encodes; errors are an
//! [`Errno`]. [`table`] lists them all, once; linking to the engine is derived from it.
//!
//! What is particular to preview 1 lives here: descriptor numbers and rights (`descriptors`),
//! the layouts of structures (`layout`), and the checked view of guest memory (`memory`).
//! [`unstable`] is the snapshot before this one, with its few differing layouts.
//!
//! **Rights.** A descriptor gets all rights that make sense for what it is and how it was opened,
//! whatever the guest asked for beyond reading and writing; so do current C libraries and WASI's
//! own tests expect. They only ever shrink, through `fd_fdstat_set_rights`, and what was given up
//! is refused with [`Errno::Notcapable`]. Whether a directory is read-only is not a matter of
//! rights but of the host: changing it is [`Errno::Rofs`].

mod args;
mod clock;
mod descriptors;
mod dir;
mod environment;
mod errno;
mod fd;
mod io;
mod layout;
mod link;
mod memory;
mod path;
mod poll;
mod process;
mod sock;
pub mod table;
mod types;
pub mod unstable;

pub use args::{args_get, args_sizes_get, environ_get, environ_sizes_get};
pub use clock::{clock_res_get, clock_time_get};
pub(crate) use descriptors::Descriptors;
pub use dir::{fd_prestat_dir_name, fd_prestat_get, fd_readdir};
pub use environment::{Command, Reactor, add_to_environments};
pub use errno::Errno;
pub use fd::{
    fd_advise, fd_allocate, fd_close, fd_datasync, fd_fdstat_get, fd_fdstat_set_flags,
    fd_fdstat_set_rights, fd_filestat_get, fd_filestat_set_size, fd_filestat_set_times,
    fd_renumber, fd_sync,
};
pub use io::{fd_pread, fd_pwrite, fd_read, fd_seek, fd_tell, fd_write};
pub use link::add_to_linker;
pub use memory::GuestMemory;
pub use path::{
    path_create_directory, path_filestat_get, path_filestat_set_times, path_link, path_open,
    path_readlink, path_remove_directory, path_rename, path_symlink, path_unlink_file,
};
pub use poll::poll_oneoff;
pub use process::{ProcExit, proc_exit, proc_raise, random_get, sched_yield};
pub use sock::{sock_accept, sock_recv, sock_send, sock_shutdown};
pub use types::{FdFlags, FstFlags, LookupFlags, OFlags, Rights};

/// What every function but `proc_exit` returns.
pub type Result<T, E = Errno> = std::result::Result<T, E>;
