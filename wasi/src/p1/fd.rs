//! What can be done with a descriptor besides reading, writing and listing.

use super::descriptors::{Descriptor, Kind};
use super::layout::{FDSTAT_SIZE, Snapshot, write_fdstat, write_filestat};
use super::types::{FdFlags, FstFlags, Rights, flags};
use super::{Errno, GuestMemory, Result};
use crate::WasiCtx;
use crate::core::{Advice, File, StatusFlags};

/// Closes a descriptor; its number is free from now on.
pub fn fd_close(ctx: &mut WasiCtx, _mem: &mut GuestMemory<'_>, fd: u32) -> Result<()> {
    let closed = ctx.fds.remove(fd)?;
    close(ctx, closed);
    Ok(())
}

fn close(ctx: &mut WasiCtx, descriptor: Descriptor) {
    match &descriptor.kind {
        Kind::Input { stream, .. } => ctx.host.release_input(stream),
        Kind::Output { stream, .. } => ctx.host.release_output(stream),
        Kind::File(_) | Kind::Dir(_) | Kind::Listener(_) | Kind::Connection(_) => {}
    }
}

/// Closes `to` and moves what `fd` leads to there. Both must be open.
pub fn fd_renumber(ctx: &mut WasiCtx, _mem: &mut GuestMemory<'_>, fd: u32, to: u32) -> Result<()> {
    if let Some(closed) = ctx.fds.renumber(fd, to)? {
        close(ctx, closed);
    }
    Ok(())
}

/// Stores type, modes and rights.
pub fn fd_fdstat_get(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    stat: u32,
) -> Result<()> {
    mem.check(stat, FDSTAT_SIZE)?;
    let d = ctx.fds.get(fd)?;
    write_fdstat(mem, stat, d.file_type(), d.flags(), d.base, d.inheriting)
}

/// Changes the modes "append" and "non-blocking"; the others stay as they were opened.
pub fn fd_fdstat_set_flags(
    ctx: &mut WasiCtx,
    _mem: &mut GuestMemory<'_>,
    fd: u32,
    new: u32,
) -> Result<()> {
    let descriptor = ctx.fds.get_mut(fd)?;
    let new = StatusFlags::from(flags::<FdFlags>(new)?);
    if matches!(descriptor.kind, Kind::Dir(_)) {
        return Err(Errno::Badf);
    }
    descriptor.require(Rights::FD_FDSTAT_SET_FLAGS)?;
    match &mut descriptor.kind {
        Kind::Input { nonblock, .. } | Kind::Output { nonblock, .. } => {
            // Writing to a stream appends, whatever the mode; synchronised it cannot be made.
            if !(StatusFlags::NONBLOCK | StatusFlags::APPEND).contains(new) {
                return Err(Errno::Inval);
            }
            *nonblock = new.contains(StatusFlags::NONBLOCK);
        }
        Kind::File(file) => file.set_flags(new)?,
        Kind::Listener(listener) => listener.set_flags(new)?,
        Kind::Connection(connection) => connection.set_flags(new)?,
        Kind::Dir(_) => return Err(Errno::Badf),
    }
    Ok(())
}

/// Gives up rights; adding one is [`Errno::Notcapable`].
pub fn fd_fdstat_set_rights(
    ctx: &mut WasiCtx,
    _mem: &mut GuestMemory<'_>,
    fd: u32,
    base: u64,
    inheriting: u64,
) -> Result<()> {
    let d = ctx.fds.get_mut(fd)?;
    let subset = |new: u64, old: Rights| {
        Rights::from_bits(new)
            .filter(|new| old.contains(*new))
            .ok_or(Errno::Notcapable)
    };
    (d.base, d.inheriting) = (subset(base, d.base)?, subset(inheriting, d.inheriting)?);
    Ok(())
}

pub(super) fn filestat_get_in(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    buf: u32,
    snapshot: Snapshot,
) -> Result<()> {
    let descriptor = ctx.fds.get(fd)?;
    descriptor.require(Rights::FD_FILESTAT_GET)?;
    write_filestat(mem, buf, &descriptor.stat()?, snapshot)
}

/// Stores the attributes of what is open.
pub fn fd_filestat_get(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    buf: u32,
) -> Result<()> {
    filestat_get_in(ctx, mem, fd, buf, Snapshot::One)
}

/// The file under `fd`, for what only files can do: a directory is a bad descriptor for it, and
/// a stream or socket has no such place.
fn file(ctx: &WasiCtx, fd: u32, rights: Rights) -> Result<&File> {
    let descriptor = ctx.fds.get(fd)?;
    match &descriptor.kind {
        Kind::File(file) => {
            descriptor.require(rights)?;
            Ok(file)
        }
        Kind::Dir(_) => Err(Errno::Badf),
        _ => Err(Errno::Spipe),
    }
}

/// Cuts or lengthens a file.
pub fn fd_filestat_set_size(
    ctx: &mut WasiCtx,
    _mem: &mut GuestMemory<'_>,
    fd: u32,
    size: u64,
) -> Result<()> {
    let file = file(ctx, fd, Rights::empty()).map_err(|e| match e {
        Errno::Spipe => Errno::Inval,
        other => other,
    })?;
    // "Invalid" for a file that is open for reading only, as from `ftruncate`.
    if file.is_writable() {
        ctx.fds.get(fd)?.require(Rights::FD_FILESTAT_SET_SIZE)?;
    }
    Ok(file.set_size(size)?)
}

/// The time that "now" means to the guest, if that is not the operating system's time.
pub(super) fn own_now(ctx: &WasiCtx) -> Option<u64> {
    let wall = &ctx.host.clocks.wall;
    (!wall.follows_host()).then(|| super::clock::nanoseconds(wall.now()))
}

/// Sets the times of a file or directory.
pub fn fd_filestat_set_times(
    ctx: &mut WasiCtx,
    _mem: &mut GuestMemory<'_>,
    fd: u32,
    atim: u64,
    mtim: u64,
    fst_flags: u32,
) -> Result<()> {
    let descriptor = ctx.fds.get(fd)?;
    let [atim, mtim] = flags::<FstFlags>(fst_flags)?.times(atim, mtim, own_now(ctx))?;
    descriptor.require(Rights::FD_FILESTAT_SET_TIMES)?;
    Ok(match &descriptor.kind {
        Kind::File(file) => file.set_times(atim, mtim),
        Kind::Dir(dir) => dir.dir.set_times_self(atim, mtim),
        _ => return Err(Errno::Badf),
    }?)
}

/// Says how a part of a file will be used.
pub fn fd_advise(
    ctx: &mut WasiCtx,
    _mem: &mut GuestMemory<'_>,
    fd: u32,
    offset: u64,
    len: u64,
    advice: u32,
) -> Result<()> {
    let advice = match advice {
        0 => Advice::Normal,
        1 => Advice::Sequential,
        2 => Advice::Random,
        3 => Advice::WillNeed,
        4 => Advice::DontNeed,
        5 => Advice::NoReuse,
        _ => return Err(Errno::Inval),
    };
    if i64::try_from(offset).is_err() || i64::try_from(len).is_err() {
        return Err(Errno::Inval);
    }
    Ok(file(ctx, fd, Rights::FD_ADVISE)?.advise(offset, len, advice)?)
}

/// Makes sure that there is room for a part of a file.
pub fn fd_allocate(
    ctx: &mut WasiCtx,
    _mem: &mut GuestMemory<'_>,
    fd: u32,
    offset: u64,
    len: u64,
) -> Result<()> {
    let file = file(ctx, fd, Rights::FD_ALLOCATE)?;
    if len == 0 || i64::try_from(offset).is_err() || i64::try_from(len).is_err() {
        return Err(Errno::Inval);
    }
    Ok(file.allocate(offset, len)?)
}

/// Makes data and attributes durable.
pub fn fd_sync(ctx: &mut WasiCtx, _mem: &mut GuestMemory<'_>, fd: u32) -> Result<()> {
    sync(ctx, fd, Rights::FD_SYNC, true)
}

/// Makes data durable.
pub fn fd_datasync(ctx: &mut WasiCtx, _mem: &mut GuestMemory<'_>, fd: u32) -> Result<()> {
    sync(ctx, fd, Rights::FD_DATASYNC, false)
}

fn sync(ctx: &WasiCtx, fd: u32, right: Rights, attributes: bool) -> Result<()> {
    let descriptor = ctx.fds.get(fd)?;
    if matches!(
        descriptor.kind,
        Kind::Input { .. } | Kind::Listener(_) | Kind::Connection(_)
    ) {
        return Err(Errno::Inval);
    }
    descriptor.require(right)?;
    Ok(match &descriptor.kind {
        Kind::Output { stream, .. } => stream.flush(),
        Kind::File(file) if attributes => file.sync(),
        Kind::File(file) => file.sync_data(),
        Kind::Dir(dir) if attributes => dir.dir.sync(),
        Kind::Dir(dir) => dir.dir.sync_data(),
        _ => return Err(Errno::Inval),
    }?)
}
