//! Sockets: accepting on a listener that the guest was given, and talking on what came of it.

use super::descriptors::{Descriptor, Kind};
use super::types::{FdFlags, RiFlags, Rights, SdFlags, flags};
use super::{Errno, GuestMemory, Result};
use crate::WasiCtx;
use crate::core::Shutdown;

/// Waits for a connection and stores its descriptor. The only mode it can have is
/// "non-blocking".
pub fn sock_accept(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    fdflags: u32,
    connection: u32,
) -> Result<()> {
    mem.check(connection, 4)?;
    let fdflags: FdFlags = flags(fdflags)?;
    let descriptor = ctx.fds.get(fd)?;
    let accepted = descriptor
        .listener(Rights::SOCK_ACCEPT)?
        .accept(fdflags.into())?;
    let inheriting = descriptor.inheriting;
    let new = Descriptor::inherited(Kind::Connection(accepted), inheriting);
    let new = ctx.fds.insert(new)?;
    mem.write_u32(connection, new)
}

/// Receives, and stores how many bytes came and whether the message was cut.
#[allow(clippy::too_many_arguments)] // The specification's.
pub fn sock_recv(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    ri_data: u32,
    ri_data_len: u32,
    ri_flags: u32,
    ro_datalen: u32,
    ro_flags: u32,
) -> Result<()> {
    let connection = ctx.fds.get(fd)?.connection(Rights::FD_READ)?;
    let ri_flags: RiFlags = flags(ri_flags)?;
    mem.check(ro_datalen, 4)?;
    mem.check(ro_flags, 2)?;
    let peek = ri_flags.contains(RiFlags::RECV_PEEK);
    let wait_all = ri_flags.contains(RiFlags::RECV_WAITALL);
    let mut truncated = false;
    let n = mem.read_into(ri_data, ri_data_len, |bufs| {
        let received = connection.receive(bufs, peek, wait_all)?;
        truncated = received.truncated;
        Ok(received.bytes)
    })?;
    mem.write_u32(ro_datalen, n as u32)?;
    mem.write_u16(ro_flags, u16::from(truncated))
}

/// Sends, and stores how many bytes went.
pub fn sock_send(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    si_data: u32,
    si_data_len: u32,
    si_flags: u32,
    so_datalen: u32,
) -> Result<()> {
    let connection = ctx.fds.get(fd)?.connection(Rights::FD_WRITE)?;
    if si_flags != 0 {
        return Err(Errno::Inval);
    }
    mem.check(so_datalen, 4)?;
    let n = mem.write_from(si_data, si_data_len, |bufs| Ok(connection.send(bufs)?))?;
    mem.write_u32(so_datalen, n as u32)
}

/// Ends one or both directions of a connection.
pub fn sock_shutdown(
    ctx: &mut WasiCtx,
    _mem: &mut GuestMemory<'_>,
    fd: u32,
    how: u32,
) -> Result<()> {
    let connection = ctx.fds.get(fd)?.connection(Rights::SOCK_SHUTDOWN)?;
    let how: SdFlags = flags(how)?;
    let how = match (how.contains(SdFlags::RD), how.contains(SdFlags::WR)) {
        (true, true) => Shutdown::Both,
        (true, false) => Shutdown::Read,
        (false, true) => Shutdown::Write,
        (false, false) => return Err(Errno::Inval),
    };
    Ok(connection.shutdown(how)?)
}
