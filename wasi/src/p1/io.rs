//! Reading, writing and moving the position.
//!
//! A call is one system call on slices of guest memory. Where the result goes is checked first,
//! so that no data is read and then lost.

use super::descriptors::{Descriptor, Kind};
use super::layout::Snapshot;
use super::types::Rights;
use super::{Errno, GuestMemory, Result};
use crate::WasiCtx;
use crate::core::SeekFrom;

/// Stores a number of bytes, which is below 2^31 because the lists are cut to that.
fn store(mem: &mut GuestMemory<'_>, ptr: u32, n: usize) -> Result<()> {
    mem.write_u32(ptr, n as u32)
}

/// Reads at the position.
pub fn fd_read(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    iovs: u32,
    iovs_len: u32,
    nread: u32,
) -> Result<()> {
    let descriptor = ctx.fds.get(fd)?;
    descriptor.require(Rights::FD_READ)?;
    mem.check(nread, 4)?;
    let n = mem.read_into(iovs, iovs_len, |bufs| {
        Ok(match &descriptor.kind {
            Kind::Input { stream, nonblock } => stream.read(bufs, *nonblock)?,
            Kind::File(file) => file.read(bufs)?,
            Kind::Connection(connection) => connection.receive(bufs, false, false)?.bytes,
            Kind::Listener(_) => return Err(Errno::Notconn),
            Kind::Output { .. } | Kind::Dir(_) => return Err(Errno::Badf),
        })
    })?;
    store(mem, nread, n)
}

/// Writes at the position.
pub fn fd_write(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    iovs: u32,
    iovs_len: u32,
    nwritten: u32,
) -> Result<()> {
    let descriptor = ctx.fds.get(fd)?;
    descriptor.require(Rights::FD_WRITE)?;
    mem.check(nwritten, 4)?;
    let n = mem.write_from(iovs, iovs_len, |bufs| {
        Ok(match &descriptor.kind {
            Kind::Output { stream, nonblock } => stream.write(bufs, *nonblock)?,
            Kind::File(file) => file.write(bufs)?,
            Kind::Connection(connection) => connection.send(bufs)?,
            Kind::Listener(_) => return Err(Errno::Notconn),
            Kind::Input { .. } | Kind::Dir(_) => return Err(Errno::Badf),
        })
    })?;
    store(mem, nwritten, n)
}

/// Fails for what has no position: a directory is then a bad descriptor, the rest cannot seek.
fn check_position(descriptor: &Descriptor) -> Result<()> {
    match descriptor.kind {
        Kind::Dir(_) => Err(Errno::Badf),
        _ if descriptor.supports(Rights::FD_SEEK) => Ok(()),
        _ => Err(Errno::Spipe),
    }
}

/// Reads at `offset`; the position stays.
pub fn fd_pread(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    iovs: u32,
    iovs_len: u32,
    offset: u64,
    nread: u32,
) -> Result<()> {
    let descriptor = ctx.fds.get(fd)?;
    check_position(descriptor)?;
    descriptor.require(Rights::FD_READ | Rights::FD_SEEK)?;
    mem.check(nread, 4)?;
    let n = mem.read_into(iovs, iovs_len, |bufs| {
        Ok(match &descriptor.kind {
            Kind::Input { stream, .. } => stream.read_at(bufs, offset)?,
            Kind::File(file) => file.read_at(bufs, offset)?,
            _ => return Err(Errno::Spipe),
        })
    })?;
    store(mem, nread, n)
}

/// Writes at `offset`; the position stays.
pub fn fd_pwrite(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    iovs: u32,
    iovs_len: u32,
    offset: u64,
    nwritten: u32,
) -> Result<()> {
    let descriptor = ctx.fds.get(fd)?;
    check_position(descriptor)?;
    descriptor.require(Rights::FD_WRITE | Rights::FD_SEEK)?;
    mem.check(nwritten, 4)?;
    let n = mem.write_from(iovs, iovs_len, |bufs| {
        Ok(match &descriptor.kind {
            Kind::Output { stream, .. } => stream.write_at(bufs, offset)?,
            Kind::File(file) => file.write_at(bufs, offset)?,
            _ => return Err(Errno::Spipe),
        })
    })?;
    store(mem, nwritten, n)
}

fn seek(descriptor: &Descriptor, to: SeekFrom) -> Result<u64> {
    Ok(match &descriptor.kind {
        Kind::Input { stream, .. } => stream.seek(to)?,
        Kind::Output { stream, .. } => stream.seek(to)?,
        Kind::File(file) => file.seek(to)?,
        _ => return Err(Errno::Spipe),
    })
}

pub(super) fn seek_in(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    offset: i64,
    whence: u32,
    newoffset: u32,
    snapshot: Snapshot,
) -> Result<()> {
    let descriptor = ctx.fds.get(fd)?;
    check_position(descriptor)?;
    let to = match (snapshot, whence) {
        (Snapshot::One, 0) | (Snapshot::Zero, 2) => {
            SeekFrom::Start(u64::try_from(offset).map_err(|_| Errno::Inval)?)
        }
        (Snapshot::One, 1) | (Snapshot::Zero, 0) => SeekFrom::Current(offset),
        (Snapshot::One, 2) | (Snapshot::Zero, 1) => SeekFrom::End(offset),
        _ => return Err(Errno::Inval),
    };
    let tell = to == SeekFrom::Current(0);
    descriptor.require(if tell {
        Rights::FD_TELL
    } else {
        Rights::FD_SEEK
    })?;
    mem.check(newoffset, 8)?;
    mem.write_u64(newoffset, seek(descriptor, to)?)
}

/// Moves the position and stores the new one.
pub fn fd_seek(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    offset: i64,
    whence: u32,
    newoffset: u32,
) -> Result<()> {
    seek_in(ctx, mem, fd, offset, whence, newoffset, Snapshot::One)
}

/// Stores the position.
pub fn fd_tell(ctx: &mut WasiCtx, mem: &mut GuestMemory<'_>, fd: u32, offset: u32) -> Result<()> {
    let descriptor = ctx.fds.get(fd)?;
    check_position(descriptor)?;
    descriptor.require(Rights::FD_TELL)?;
    mem.write_u64(offset, seek(descriptor, SeekFrom::Current(0))?)
}
