//! Snapshot 0 of the preview (`wasi_unstable`), for modules from before 2020.
//!
//! It is preview 1 with another layout of `filestat` and `subscription`, another numbering of
//! `whence`, and no `sock_accept`. All else is the same function.

use super::layout::Snapshot;
use super::{GuestMemory, Result, fd, io, path, poll};
use crate::WasiCtx;

pub use super::{
    args_get, args_sizes_get, clock_res_get, clock_time_get, environ_get, environ_sizes_get,
    fd_advise, fd_allocate, fd_close, fd_datasync, fd_fdstat_get, fd_fdstat_set_flags,
    fd_fdstat_set_rights, fd_filestat_set_size, fd_filestat_set_times, fd_pread,
    fd_prestat_dir_name, fd_prestat_get, fd_pwrite, fd_read, fd_readdir, fd_renumber, fd_sync,
    fd_tell, fd_write, path_create_directory, path_filestat_set_times, path_link, path_open,
    path_readlink, path_remove_directory, path_rename, path_symlink, path_unlink_file, proc_exit,
    proc_raise, random_get, sched_yield, sock_recv, sock_send, sock_shutdown,
};

/// Like preview 1's, with `whence` numbered current, end, start.
pub fn fd_seek(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    offset: i64,
    whence: u32,
    newoffset: u32,
) -> Result<()> {
    io::seek_in(ctx, mem, fd, offset, whence, newoffset, Snapshot::Zero)
}

/// Like preview 1's, with a link count of 32 bits.
pub fn fd_filestat_get(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    buf: u32,
) -> Result<()> {
    fd::filestat_get_in(ctx, mem, fd, buf, Snapshot::Zero)
}

/// Like preview 1's, with a link count of 32 bits.
pub fn path_filestat_get(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    lookup: u32,
    path: u32,
    path_len: u32,
    buf: u32,
) -> Result<()> {
    path::filestat_get_in(ctx, mem, (fd, lookup, path, path_len), buf, Snapshot::Zero)
}

/// Like preview 1's, with an identifier in clock subscriptions.
pub fn poll_oneoff(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    input: u32,
    output: u32,
    nsubscriptions: u32,
    nevents: u32,
) -> Result<()> {
    poll::poll_in(
        ctx,
        mem,
        input,
        output,
        nsubscriptions,
        nevents,
        Snapshot::Zero,
    )
}
