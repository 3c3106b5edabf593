//! Directories as such: listing them, and finding those that were there from the beginning.

use super::layout::{DIRENT_SIZE, dirent};
use super::types::Rights;
use super::{Errno, GuestMemory, Result};
use crate::WasiCtx;
use crate::core::DirStream;

/// Stores entries from the position `cookie` on, until the buffer is full or the directory ends.
/// The last entry may be cut; fewer bytes than the buffer has mean the end.
pub fn fd_readdir(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    buf: u32,
    buf_len: u32,
    cookie: u64,
    bufused: u32,
) -> Result<()> {
    mem.check(bufused, 4)?;
    let open = ctx.fds.get_mut(fd)?.dir_mut(Rights::FD_READDIR)?;
    let used = mem.fill_with(buf, buf_len, |mut room| {
        let size = room.len();
        let listing = match &mut open.listing {
            Some(listing) => listing,
            none => none.insert(DirStream::open(&open.dir)?),
        };
        listing.seek(cookie)?;
        while !room.is_empty() {
            let Some(entry) = listing.peek()? else { break };
            let (head, name) = (dirent(entry), entry.name.as_bytes());
            let whole = DIRENT_SIZE + name.len() <= room.len();
            for part in [&head[..], name] {
                let n = part.len().min(room.len());
                let (now, later) = room.split_at_mut(n);
                now.copy_from_slice(&part[..n]);
                room = later;
            }
            if whole {
                listing.accept();
            }
        }
        Ok(size - room.len())
    })?;
    mem.write_u32(bufused, used as u32)
}

fn preopen_name(ctx: &WasiCtx, fd: u32) -> Result<&str> {
    // "Bad descriptor" is what ends a C library's search, for whatever is no preopened directory.
    let open = ctx
        .fds
        .get(fd)?
        .dir(Rights::empty())
        .map_err(|_| Errno::Badf)?;
    open.preopen.as_deref().ok_or(Errno::Badf)
}

/// Stores what kind of preopened thing the descriptor is, and how long its name is.
pub fn fd_prestat_get(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    prestat: u32,
) -> Result<()> {
    let len = u32::try_from(preopen_name(ctx, fd)?.len()).map_err(|_| Errno::Overflow)?;
    // The tag 0 is a directory, the only kind there is.
    let mut record = [0; 8];
    record[4..].copy_from_slice(&len.to_le_bytes());
    mem.write(prestat, &record)
}

/// Stores the name of a preopened directory, without a NUL.
pub fn fd_prestat_dir_name(
    ctx: &mut WasiCtx,
    mem: &mut GuestMemory<'_>,
    fd: u32,
    path: u32,
    path_len: u32,
) -> Result<()> {
    let name = preopen_name(ctx, fd)?.as_bytes();
    mem.check(path, path_len as usize)?;
    if name.len() > path_len as usize {
        return Err(Errno::Nametoolong);
    }
    mem.write(path, name)
}
