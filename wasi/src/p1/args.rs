//! Arguments and environment: two lists of strings, handed over in the same way.

use super::{Errno, GuestMemory, Result};
use crate::WasiCtx;

/// Stores the strings one after the other, each with a NUL, at `buf`, and their addresses at
/// `pointers`.
fn write_list(
    mem: &mut GuestMemory<'_>,
    list: &[Vec<u8>],
    mut pointers: u32,
    mut buf: u32,
) -> Result<()> {
    for string in list {
        mem.write_u32(pointers, buf)?;
        mem.write(buf, string)?;
        let len = u32::try_from(string.len()).map_err(|_| Errno::Overflow)?;
        let end = buf.checked_add(len).ok_or(Errno::Fault)?;
        mem.write(end, &[0])?;
        buf = end.checked_add(1).ok_or(Errno::Fault)?;
        pointers = pointers.checked_add(4).ok_or(Errno::Fault)?;
    }
    Ok(())
}

fn write_sizes(
    mem: &mut GuestMemory<'_>,
    list: &[Vec<u8>],
    count: u32,
    buf_size: u32,
) -> Result<()> {
    let bytes: usize = list.iter().map(|s| s.len() + 1).sum();
    let bytes = u32::try_from(bytes).map_err(|_| Errno::Overflow)?;
    mem.check(buf_size, 4)?;
    mem.write_u32(
        count,
        u32::try_from(list.len()).map_err(|_| Errno::Overflow)?,
    )?;
    mem.write_u32(buf_size, bytes)
}

/// Stores the arguments.
pub fn args_get(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    argv: u32,
    argv_buf: u32,
) -> Result<()> {
    write_list(mem, &ctx.host.args, argv, argv_buf)
}

/// Stores how many arguments there are and how many bytes they take with their NULs.
pub fn args_sizes_get(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    argc: u32,
    argv_buf_size: u32,
) -> Result<()> {
    write_sizes(mem, &ctx.host.args, argc, argv_buf_size)
}

/// Stores the environment.
pub fn environ_get(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    environ: u32,
    environ_buf: u32,
) -> Result<()> {
    write_list(mem, &ctx.host.env, environ, environ_buf)
}

/// Stores how many variables there are and how many bytes they take with their NULs.
pub fn environ_sizes_get(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    count: u32,
    buf_size: u32,
) -> Result<()> {
    write_sizes(mem, &ctx.host.env, count, buf_size)
}
