//! Listing a directory, from any position, at the cost of the system calls.
//!
//! A guest asks for a few kilobytes of entries at a time and names the position by a cookie. The
//! stream stays open between its calls: a call that goes on where the last one ended reads on in
//! the kernel's buffer, so a listing is linear however small the guest's buffer is.
//!
//! Cookies count the entries from the beginning: wasi-libc's `telldir` gives them as 32-bit numbers,
//! into which the kernel's own offsets (hashes, on many file systems) do not fit. Those are kept
//! beside, so that a position stays good while entries are removed.

use super::dir::Dir;
use super::error::Result;
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
    /// The kernel's offset of each position that was seen, from that of cookie 1 on.
    offsets: Vec<i64>,
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
            offsets: Vec::new(),
            peeked: None,
        })
    }

    /// Goes to the position that `cookie` names: 0 is the beginning, read afresh. What this stream
    /// has not come to yet, it reads up to; past the end there is nothing.
    pub fn seek(&mut self, cookie: u64) -> Result<()> {
        if cookie == self.position && cookie != 0 {
            return Ok(());
        }
        let known = cookie.min(self.offsets.len() as u64);
        match known.checked_sub(1) {
            Some(last) => self.stream.seek(self.offsets[last as usize])?,
            None => self.stream.rewind(),
        }
        self.position = known;
        self.peeked = None;
        while self.position < cookie && self.peek()?.is_some() {
            self.accept();
        }
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
            // A listing that began afresh takes its own way, and leaves later positions as they are.
            let at = self.position as usize;
            match self.offsets.get_mut(at) {
                Some(offset) => *offset = entry.offset(),
                None => self.offsets.push(entry.offset()),
            }
            self.peeked = Some(Entry {
                name: name.to_owned(),
                ino,
                file_type,
                next: self.position + 1,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{DirPerms, FilePerms};

    fn next(stream: &mut DirStream) -> Option<(CString, u64)> {
        let entry = stream.peek().unwrap().cloned()?;
        stream.accept();
        Some((entry.name, entry.next))
    }

    #[test]
    fn cookies_are_small_and_go_anywhere() {
        let folder = tempfile::tempdir().unwrap();
        for i in 0..50 {
            std::fs::write(folder.path().join(format!("f{i}")), "").unwrap();
        }
        let dir = Dir::open_host(folder.path(), DirPerms::all(), FilePerms::all()).unwrap();
        let mut stream = DirStream::open(&dir).unwrap();
        let all: Vec<_> = std::iter::from_fn(|| next(&mut stream)).collect();
        assert_eq!(all.len(), 52);
        assert!(all.iter().map(|(_, next)| *next).eq(1..=52));

        // Back, on, far ahead again, to the end and past it.
        for cookie in [10, 0, 40, 51, 3] {
            stream.seek(cookie).unwrap();
            for want in &all[cookie as usize..][..1] {
                assert_eq!(next(&mut stream).as_ref(), Some(want));
            }
        }
        for cookie in [52, 53, u64::MAX] {
            stream.seek(cookie).unwrap();
            assert_eq!(next(&mut stream), None);
        }
        // A stream that has not been there.
        let mut fresh = DirStream::open(&dir).unwrap();
        fresh.seek(30).unwrap();
        assert_eq!(next(&mut fresh).as_ref(), Some(&all[30]));
        // What is removed does not move the positions behind it.
        stream.seek(20).unwrap();
        let name = all[25].0.to_str().unwrap();
        let _ = std::fs::remove_file(folder.path().join(name));
        stream.seek(30).unwrap();
        assert_eq!(next(&mut stream).as_ref(), Some(&all[30]));
    }
}
