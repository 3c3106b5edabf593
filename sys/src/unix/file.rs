//! Files that are mapped as they are: their bytes to read, and machine code in them to run.
//!
//! Both mappings are private and read-only, and share the page cache's pages with every other
//! process that has the file mapped. A file that somebody truncates while it is mapped makes
//! accesses behind its new end fault, as with any program or library; who replaces such a file
//! writes a new one and renames it.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::ptr;

use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::memory::{invalid, page_size};

/// A private mapping.
#[derive(Debug)]
struct Mapping {
    base: *mut u8,
    len: usize,
}

// SAFETY: the pointer is only an address here; nothing is ever written through it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(file: &File, offset: u64, len: usize, rights: ProtFlags) -> io::Result<Mapping> {
        // SAFETY: a new mapping wherever the system finds room replaces nothing.
        let base = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                len,
                rights,
                MapFlags::PRIVATE,
                file,
                offset,
            )?
        };
        Ok(Mapping {
            base: base.cast(),
            len,
        })
    }

    fn as_slice(&self) -> &[u8] {
        // SAFETY: mapped readable and not writable for as long as `self` lives; the file is not
        // changed by this process, and the module's comment says what others may do.
        unsafe { std::slice::from_raw_parts(self.base, self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is `self`'s own, and its users are bound to its life.
        // It cannot fail for a whole mapping, and nothing could be done if it did.
        let _ = unsafe { rustix::mm::munmap(self.base.cast(), self.len) };
    }
}

/// The bytes of a file, or of a part of one.
#[derive(Debug)]
pub struct MappedFile {
    mapping: Option<Mapping>,
    /// Bytes at its beginning that do not belong to the part.
    skip: usize,
}

impl MappedFile {
    /// Maps a whole file, which must not be changed as long as the mapping lives.
    pub fn new(file: &File) -> io::Result<MappedFile> {
        MappedFile::part(file, 0..file.metadata()?.len())
    }

    /// Maps a part of a file; it need not begin at a page.
    ///
    /// # Errors
    /// If the file ends before the part does, or what the system says.
    pub fn part(file: &File, part: Range<u64>) -> io::Result<MappedFile> {
        if part.start > part.end || part.end > file.metadata()?.len() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "a part of a file beyond its end",
            ));
        }
        // There are no mappings of nothing.
        if part.is_empty() {
            return Ok(MappedFile {
                mapping: None,
                skip: 0,
            });
        }
        let skip = part.start % page_size() as u64;
        let start = part.start - skip;
        let len = usize::try_from(part.end - start)
            .ok()
            .filter(|&len| isize::try_from(len).is_ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::OutOfMemory, "a file too large"))?;
        let mapping = Mapping::new(file, start, len, ProtFlags::READ)?;
        // What is read lies here and there in it, and with huge pages each place would count for two
        // megabytes of the process's memory. A kernel that has none refuses, and all is well.
        // SAFETY: advice on how to map pages of a mapping that is our own.
        let _ = unsafe { rustix::mm::madvise(mapping.base.cast(), len, Advice::LinuxNoHugepage) };
        Ok(MappedFile {
            mapping: Some(mapping),
            skip: skip as usize,
        })
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        let whole = self.mapping.as_ref().map_or(&[][..], Mapping::as_slice);
        &whole[self.skip..]
    }
}

/// Opens the file that this process is running, also if it has been renamed or deleted meanwhile.
///
/// # Errors
/// If there is no `/proc`, and the path that the program was started by does not lead to a file.
pub fn own_program() -> io::Result<File> {
    File::open("/proc/self/exe").or_else(|error| {
        // SAFETY: it only looks into what the kernel gave the process.
        let path = unsafe { libc::getauxval(libc::AT_EXECFN) };
        if path == 0 {
            return Err(error);
        }
        let path: *const libc::c_char = ptr::with_exposed_provenance(path as usize);
        // SAFETY: the kernel has put the path there, with its NUL, for as long as the process lives.
        let path = unsafe { CStr::from_ptr(path) };
        File::open(OsStr::from_bytes(path.to_bytes()))
    })
}

/// Machine code in a file.
#[derive(Debug)]
pub struct MappedCode(Mapping);

impl MappedCode {
    /// Maps `len` bytes of a file from `offset` on to be read and run.
    ///
    /// # Errors
    /// If the offset is not a multiple of the page size, the length is 0, or the system does not
    /// allow it: files of a file system that is mounted `noexec` cannot be run.
    pub fn new(file: &File, offset: u64, len: usize) -> io::Result<MappedCode> {
        if len == 0 || !offset.is_multiple_of(page_size() as u64) {
            return Err(invalid("code that does not begin at a page, or is empty"));
        }
        let rights = ProtFlags::READ | ProtFlags::EXEC;
        Ok(MappedCode(Mapping::new(file, offset, len, rights)?))
    }

    /// Has all of it mapped now, instead of each part when it is run first. What is not in the page
    /// cache is read. That the system cannot do so at once changes nothing.
    pub fn populate(&self) {
        let Mapping { base, len } = self.0;
        // SAFETY: advice on when to map pages of a mapping that is `self`'s own.
        let _ = unsafe { rustix::mm::madvise(base.cast(), len, Advice::LinuxPopulateRead) };
    }

    /// The address of the first byte.
    pub fn base(&self) -> *const u8 {
        self.0.base
    }
}

impl AsRef<[u8]> for MappedCode {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// Reads a part of a file, without moving the position that others read at.
#[derive(Debug)]
pub struct FilePart<'a> {
    file: &'a File,
    left: Range<u64>,
}

impl FilePart<'_> {
    /// The bytes at these places of a file.
    pub fn new(file: &File, range: Range<u64>) -> FilePart<'_> {
        FilePart { file, left: range }
    }
}

impl Read for FilePart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.left.end.saturating_sub(self.left.start));
        let len = buffer.len().min(left.unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut buffer[..len], self.left.start)?;
        self.left.start += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file: File = super::super::memory::memfd("test", rustix::fs::MemfdFlags::empty())
            .expect("a file in memory");
        file.write_all(bytes).expect("room for it");
        file
    }

    #[test]
    fn a_file_is_there_whole() {
        let mapped = MappedFile::new(&file(b"bytes")).expect("a mapping");
        assert_eq!(mapped.as_ref(), b"bytes");
        let empty = MappedFile::new(&file(b"")).expect("no mapping");
        assert_eq!(empty.as_ref(), b"");
        let part = MappedFile::part(&file(b"bytes"), 1..3).expect("a mapping");
        assert_eq!(part.as_ref(), b"yt");
        let nothing = MappedFile::part(&file(b"bytes"), 5..5).expect("no mapping");
        assert_eq!(nothing.as_ref(), b"");
        assert!(MappedFile::part(&file(b"bytes"), 3..6).is_err());
    }

    #[test]
    fn a_part_is_read_by_itself() {
        let file = file(b"0123456789");
        let mut text = String::new();
        let mut part = FilePart::new(&file, 3..6);
        part.read_to_string(&mut text).expect("it is text");
        assert_eq!(text, "345");
        text.clear();
        let mut part = FilePart::new(&file, 8..60);
        part.read_to_string(&mut text).expect("it is text");
        assert_eq!(text, "89", "a file that is shorter");
    }

    #[test]
    fn the_own_program_is_found() {
        let own = own_program().expect("it is running").metadata();
        let path = std::env::current_exe().expect("it has a path");
        let there = std::fs::metadata(path).expect("it is there");
        let identity = super::super::cache_files::file_identity;
        assert_eq!(identity(&own.expect("it is open")), identity(&there));
    }

    #[test]
    fn code_begins_at_a_page() {
        let mut bytes = vec![0; page_size()];
        bytes.extend_from_slice(b"code");
        let file = file(&bytes);
        let code = MappedCode::new(&file, page_size() as u64, 4).expect("a mapping");
        assert_eq!(code.as_ref(), b"code");
        assert!(MappedCode::new(&file, 1, 4).is_err());
        assert!(MappedCode::new(&file, 0, 0).is_err());
    }
}
