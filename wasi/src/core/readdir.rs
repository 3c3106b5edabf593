//! Listing a directory, from any position, at the cost of the system calls.
//!
//! A guest asks for a few kilobytes of entries at a time and names the position by a cookie. The
//! stream stays open between its calls: a call that goes on where the last one ended reads on in
//! the kernel's buffer, so a listing is linear however small the guest's buffer is. Cookies are
//! the kernel's own directory offsets, which stay good while entries are removed.

use super::dir::Dir;
use super::error::{ErrorCode, Result};
use super::stat::FileType;
use rustix::fs::AtFlags;
use std::ffi::CString;

/// One entry of a directory, `.` and `..` among them.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The name, without a slash; any bytes but NUL.
    pub name: CString,
    /// The serial number of the file.
    pub ino: u64,
    /// The type of the file; a symbolic link is not followed.
    pub file_type: FileType,
    /// The cookie of the position after this entry; never 0.
    pub next: u64,
}

/// A position in a directory.
#[derive(Debug)]
pub struct DirStream {
    stream: rustix::fs::Dir,
    own_ino: u64,
    /// The cookie of the position before `peeked`, or before what `stream` gives next.
    position: u64,
    /// An entry that was read but not yet accepted.
    peeked: Option<Entry>,
}

impl DirStream {
    /// A stream at the beginning of `dir`.
    pub fn open(dir: &Dir) -> Result<DirStream> {
        dir.check_read()?;
        Ok(DirStream {
            stream: rustix::fs::Dir::read_from(dir.fd())?,
            own_ino: dir.stat_self()?.ino,
            position: 0,
            peeked: None,
        })
    }

    /// Goes to the position that `cookie` names: 0 is the beginning, read afresh.
    pub fn seek(&mut self, cookie: u64) -> Result<()> {
        if cookie == 0 {
            self.stream.rewind();
        } else if cookie == self.position {
            return Ok(());
        } else {
            let offset = i64::try_from(cookie).map_err(|_| ErrorCode::Inval)?;
            self.stream.seek(offset)?;
        }
        self.position = cookie;
        self.peeked = None;
        Ok(())
    }

    /// The next entry, which stays the next until [`DirStream::accept`]; `None` at the end.
    pub fn peek(&mut self) -> Result<Option<&Entry>> {
        if self.peeked.is_none() {
            let Some(entry) = self.stream.read() else {
                return Ok(None);
            };
            let entry = entry?;
            let name = entry.file_name();
            // The parent may lie outside of what the guest was given.
            let ino = if name.to_bytes() == b".." {
                self.own_ino
            } else {
                entry.ino()
            };
            let mut file_type = entry.file_type().into();
            if entry.file_type() == rustix::fs::FileType::Unknown {
                // Some file systems do not say. The name is the kernel's, a single component.
                let stat = rustix::fs::statat(self.stream.fd()?, name, AtFlags::SYMLINK_NOFOLLOW);
                file_type = stat.map_or(FileType::Unknown, |s| FileType::from_mode(s.st_mode));
            }
            self.peeked = Some(Entry {
                name: name.to_owned(),
                ino,
                file_type,
                next: entry.offset() as u64,
            });
        }
        Ok(self.peeked.as_ref())
    }

    /// Moves past the entry that [`DirStream::peek`] showed.
    pub fn accept(&mut self) {
        if let Some(entry) = self.peeked.take() {
            self.position = entry.next;
        }
    }
}
