//! Functions that take a path, always relative to a directory that the guest has open.

use super::descriptors::Descriptor;
use super::fd::own_now;
use super::layout::{Snapshot, write_filestat};
use super::types::{FdFlags, FstFlags, LookupFlags, OFlags, Rights, flags};
use super::{Errno, GuestMemory, Result};
use crate::WasiCtx;
use crate::core::OpenRequest;
use std::os::unix::ffi::OsStrExt;

fn follow(lookup: u32) -> Result<bool> {
    Ok(flags::<LookupFlags>(lookup)?.contains(LookupFlags::SYMLINK_FOLLOW))
}

/// Opens a path and stores the new descriptor.
///
/// Of the rights asked for, reading and writing decide how the file is opened. The new descriptor
/// then has all rights that make sense for it and that the directory passes on.
#[allow(clippy::too_many_arguments)] // The specification's.
pub fn path_open(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    dirflags: u32,
    path: u32,
    path_len: u32,
    oflags: u32,
    fs_rights_base: u64,
    _fs_rights_inheriting: u64,
    fdflags: u32,
    opened_fd: u32,
) -> Result<()> {
    mem.check(opened_fd, 4)?;
    let oflags: OFlags = flags(oflags)?;
    let fdflags: FdFlags = flags(fdflags)?;
    let follow = follow(dirflags)?;

    let parent = ctx.fds.get(fd)?;
    let mut needed = Rights::PATH_OPEN;
    needed.set(Rights::PATH_CREATE_FILE, oflags.contains(OFlags::CREAT));
    needed.set(
        Rights::PATH_FILESTAT_SET_SIZE,
        oflags.contains(OFlags::TRUNC),
    );
    let dir = &parent.dir(needed)?.dir;
    // Bits without a meaning are dropped: "all rights" is a usual thing to ask for.
    let base = Rights::from_bits_truncate(fs_rights_base);
    let inheriting = parent.inheriting;
    if !inheriting.contains(base) {
        return Err(Errno::Notcapable);
    }
    let directory = oflags.contains(OFlags::DIRECTORY);
    let request = OpenRequest {
        follow,
        create: oflags.contains(OFlags::CREAT),
        exclusive: oflags.contains(OFlags::EXCL),
        truncate: oflags.contains(OFlags::TRUNC),
        directory,
        read: base.intersects(Rights::FD_READ | Rights::FD_READDIR),
        // Rights that do not fit what is opened are not an error, and writing does not fit a
        // directory. The other rights that need writing come with this one or not at all.
        write: base.contains(Rights::FD_WRITE) && !directory,
        flags: fdflags.into(),
    };
    let opened = dir.open(&mem.str(path, path_len)?, &request)?;
    let new = ctx
        .fds
        .insert(Descriptor::inherited(opened.into(), inheriting))?;
    mem.write_u32(opened_fd, new)
}

/// Creates a directory.
pub fn path_create_directory(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    path: u32,
    path_len: u32,
) -> Result<()> {
    let dir = ctx.fds.dir(fd, Rights::PATH_CREATE_DIRECTORY)?;
    Ok(dir.create_dir(&mem.str(path, path_len)?)?)
}

/// Removes an empty directory.
pub fn path_remove_directory(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    path: u32,
    path_len: u32,
) -> Result<()> {
    let dir = ctx.fds.dir(fd, Rights::PATH_REMOVE_DIRECTORY)?;
    Ok(dir.remove_dir(&mem.str(path, path_len)?)?)
}

/// Removes anything but a directory.
pub fn path_unlink_file(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    path: u32,
    path_len: u32,
) -> Result<()> {
    let dir = ctx.fds.dir(fd, Rights::PATH_UNLINK_FILE)?;
    Ok(dir.remove_file(&mem.str(path, path_len)?)?)
}

pub(super) fn filestat_get_in(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    (fd, lookup, path, path_len): (u32, u32, u32, u32),
    buf: u32,
    snapshot: Snapshot,
) -> Result<()> {
    let follow = follow(lookup)?;
    let dir = ctx.fds.dir(fd, Rights::PATH_FILESTAT_GET)?;
    let stat = dir.stat(&mem.str(path, path_len)?, follow)?;
    write_filestat(mem, buf, &stat, snapshot)
}

/// Stores the attributes of what a path names.
pub fn path_filestat_get(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    lookup: u32,
    path: u32,
    path_len: u32,
    buf: u32,
) -> Result<()> {
    filestat_get_in(ctx, mem, (fd, lookup, path, path_len), buf, Snapshot::One)
}

/// Sets the times of what a path names.
#[allow(clippy::too_many_arguments)] // The specification's.
pub fn path_filestat_set_times(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    lookup: u32,
    path: u32,
    path_len: u32,
    atim: u64,
    mtim: u64,
    fst_flags: u32,
) -> Result<()> {
    let follow = follow(lookup)?;
    let [atim, mtim] = flags::<FstFlags>(fst_flags)?.times(atim, mtim, own_now(ctx))?;
    let dir = ctx.fds.dir(fd, Rights::PATH_FILESTAT_SET_TIMES)?;
    Ok(dir.set_times(&mem.str(path, path_len)?, follow, atim, mtim)?)
}

/// Gives a file a second name. Following a symbolic link first is not supported
/// ([`Errno::Inval`]): no host call does that without a second resolution of the path, which could
/// be raced.
#[allow(clippy::too_many_arguments)] // The specification's.
pub fn path_link(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    old_fd: u32,
    old_flags: u32,
    old_path: u32,
    old_path_len: u32,
    new_fd: u32,
    new_path: u32,
    new_path_len: u32,
) -> Result<()> {
    if follow(old_flags)? {
        return Err(Errno::Inval);
    }
    let old_dir = ctx.fds.dir(old_fd, Rights::PATH_LINK_SOURCE)?;
    let new_dir = ctx.fds.dir(new_fd, Rights::PATH_LINK_TARGET)?;
    let (from, to) = (
        &mem.str(old_path, old_path_len)?,
        &mem.str(new_path, new_path_len)?,
    );
    Ok(old_dir.hard_link(from, new_dir, to)?)
}

/// Moves what a path names, replacing what is at the target.
#[allow(clippy::too_many_arguments)] // The specification's.
pub fn path_rename(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    old_path: u32,
    old_path_len: u32,
    new_fd: u32,
    new_path: u32,
    new_path_len: u32,
) -> Result<()> {
    let old_dir = ctx.fds.dir(fd, Rights::PATH_RENAME_SOURCE)?;
    let new_dir = ctx.fds.dir(new_fd, Rights::PATH_RENAME_TARGET)?;
    let (from, to) = (
        &mem.str(old_path, old_path_len)?,
        &mem.str(new_path, new_path_len)?,
    );
    Ok(old_dir.rename(from, new_dir, to)?)
}

/// Creates a symbolic link with the contents `old_path`, which must be relative.
pub fn path_symlink(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    old_path: u32,
    old_path_len: u32,
    fd: u32,
    new_path: u32,
    new_path_len: u32,
) -> Result<()> {
    let dir = ctx.fds.dir(fd, Rights::PATH_SYMLINK)?;
    let (contents, path) = (
        &mem.str(old_path, old_path_len)?,
        &mem.str(new_path, new_path_len)?,
    );
    Ok(dir.symlink(contents, path)?)
}

/// Stores the contents of a symbolic link, cut to the buffer, and how many bytes that were.
#[allow(clippy::too_many_arguments)] // The specification's.
pub fn path_readlink(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    path: u32,
    path_len: u32,
    buf: u32,
    buf_len: u32,
    bufused: u32,
) -> Result<()> {
    mem.check(bufused, 4)?;
    mem.check(buf, buf_len as usize)?;
    let dir = ctx.fds.dir(fd, Rights::PATH_READLINK)?;
    let contents = dir.read_link(&mem.str(path, path_len)?)?;
    let contents = contents.as_os_str().as_bytes();
    let n = contents.len().min(buf_len as usize);
    mem.write(buf, &contents[..n])?;
    mem.write_u32(bufused, n as u32)
}
