//! Address space, and images that are mapped into it copy-on-write.
//!
//! A [`Reservation`] holds a range of addresses from birth to drop, so that an access beyond the
//! accessible part faults instead of hitting something else; generated code relies on that. The
//! range never moves.
//!
//! All offsets and lengths are checked against the range and to be multiples of the page size
//! where the system wants that: a wrong one is an error and changes nothing. What the bytes mean,
//! and who may hold a reference to them while they change, is the caller's: only raw pointers are
//! handed out.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::ptr;
use std::sync::OnceLock;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};

/// The size of a page in bytes, a power of two.
#[inline]
pub fn page_size() -> usize {
    static SIZE: OnceLock<usize> = OnceLock::new();
    // SAFETY: it takes a number and returns a number, which is positive for this one.
    *SIZE.get_or_init(|| unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize)
}

pub(crate) fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// `size` rounded up to whole pages.
pub(crate) fn round_to_pages(size: usize) -> io::Result<usize> {
    size.checked_next_multiple_of(page_size())
        .filter(|&size| isize::try_from(size).is_ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::OutOfMemory, "larger than any address space"))
}

/// A file in memory.
pub(crate) fn memfd(name: &str, flags: MemfdFlags) -> io::Result<File> {
    let flags = flags | MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    Ok(rustix::fs::memfd_create(name, flags)?.into())
}

/// A range of addresses, inaccessible until parts of it are made accessible. Unmapped on drop.
#[derive(Debug)]
pub struct Reservation {
    base: *mut u8,
    size: usize,
}

// SAFETY: the pointer is only an address here; all methods are system calls on the range, which
// any thread may make at any time.
unsafe impl Send for Reservation {}
// SAFETY: as above.
unsafe impl Sync for Reservation {}

impl Reservation {
    /// Reserves `size` bytes, rounded up to whole pages. Nothing is accessible yet, and no memory
    /// is committed. With a size of 0 the base is a page-aligned address that is not mapped.
    ///
    /// # Errors
    /// What the system says, mostly that there is no such range left.
    pub fn new(size: usize) -> io::Result<Reservation> {
        Reservation::with_rights(size, ProtFlags::empty())
    }

    fn with_rights(size: usize, rights: ProtFlags) -> io::Result<Reservation> {
        let size = round_to_pages(size)?;
        if size == 0 {
            let base = ptr::without_provenance_mut(page_size());
            return Ok(Reservation { base, size });
        }
        // SAFETY: a new anonymous mapping wherever the system finds room replaces nothing.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                size,
                rights,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )?
        };
        Ok(Reservation {
            base: base.cast(),
            size,
        })
    }

    /// As [`Reservation::new`], but all of it is accessible at once.
    ///
    /// # Errors
    /// As for [`Reservation::new`].
    pub fn accessible(size: usize) -> io::Result<Reservation> {
        Reservation::with_rights(size, ProtFlags::READ | ProtFlags::WRITE)
    }

    /// The first address.
    pub fn base(&self) -> *mut u8 {
        self.base
    }

    /// The number of bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Makes `len` bytes from `offset` readable and writable. Bytes that were not accessible
    /// before are zero; memory is committed when they are first touched. `offset` must be a
    /// multiple of the page size; `len` is rounded up to it.
    ///
    /// # Errors
    /// If the range is not inside, or the system refuses.
    pub fn make_accessible(&self, offset: usize, len: usize) -> io::Result<()> {
        let (start, len) = self.range(offset, len)?;
        if len != 0 {
            // SAFETY: the range is inside of the mapping that `self` owns, and giving rights to
            // it invalidates nothing.
            unsafe {
                rustix::mm::mprotect(
                    start.cast(),
                    len,
                    MprotectFlags::READ | MprotectFlags::WRITE,
                )?;
            }
        }
        Ok(())
    }

    /// Takes the rights to `len` bytes from `offset` away again. What was written there is kept until
    /// it is [reset](Reservation::reset). Rounding as for [`Reservation::make_accessible`].
    ///
    /// # Errors
    /// If the range is not inside, or the system refuses.
    pub fn make_inaccessible(&self, offset: usize, len: usize) -> io::Result<()> {
        let (start, len) = self.range(offset, len)?;
        if len != 0 {
            // SAFETY: the range is inside of the mapping that `self` owns; the module's comment says
            // who answers for who still uses it.
            unsafe { rustix::mm::mprotect(start.cast(), len, MprotectFlags::empty())? };
        }
        Ok(())
    }

    /// Makes `len` bytes from `offset` what they were at first: inaccessible, without memory, of no
    /// image. Rounding as for [`Reservation::make_accessible`].
    ///
    /// # Errors
    /// If the range is not inside, or the system refuses.
    pub fn map_nothing(&self, offset: usize, len: usize) -> io::Result<()> {
        let (start, len) = self.range(offset, len)?;
        if len != 0 {
            // SAFETY: the range that is replaced is inside of the mapping that `self` owns; the
            // module's comment says who answers for its contents.
            unsafe {
                rustix::mm::mmap_anonymous(
                    start.cast(),
                    len,
                    ProtFlags::empty(),
                    MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE,
                )?;
            }
        }
        Ok(())
    }

    /// Forgets what was written to `len` bytes from `offset` and gives its memory back: the bytes
    /// are again zero, or those of the image that is mapped there. They stay accessible if they
    /// were. Rounding as for [`Reservation::make_accessible`].
    ///
    /// # Errors
    /// If the range is not inside, or the system refuses.
    pub fn reset(&self, offset: usize, len: usize) -> io::Result<()> {
        let (start, len) = self.range(offset, len)?;
        if len != 0 {
            // SAFETY: the range is inside of the mapping that `self` owns; the module's comment
            // says who answers for its contents.
            unsafe {
                rustix::mm::madvise(start.cast(), len, Advice::LinuxDontNeed)?;
            }
        }
        Ok(())
    }

    /// Has memory committed by small pages only, for a range that will be touched here and there.
    ///
    /// # Errors
    /// If the system has no other ones.
    pub fn avoid_huge_pages(&self) -> io::Result<()> {
        let (start, len) = self.range(0, self.size)?;
        // SAFETY: the range is that of `self`, and its contents do not change.
        unsafe { rustix::mm::madvise(start.cast(), len, Advice::LinuxNoHugepage)? };
        Ok(())
    }

    /// Commits memory for `len` bytes from `offset`, which are accessible and will soon be written: so
    /// many faults at once cost less than half of what they cost one by one. Rounding as for
    /// [`Reservation::make_accessible`].
    ///
    /// # Errors
    /// If the range is not inside, or the system cannot; what is touched is committed all the same.
    pub fn populate(&self, offset: usize, len: usize) -> io::Result<()> {
        let (start, len) = self.range(offset, len)?;
        if len != 0 {
            // SAFETY: the range is inside of the mapping that `self` owns, and no contents change.
            unsafe { rustix::mm::madvise(start.cast(), len, Advice::LinuxPopulateWrite)? };
        }
        Ok(())
    }

    /// Maps `len` bytes of `image` from `image_offset` at `offset`, readable and writable; writes
    /// go to private copies. What was there is gone. Both offsets must be multiples of the page
    /// size; `len` is rounded up to it, and the bytes after the image's last are zero.
    ///
    /// # Errors
    /// If the range is not inside of this reservation or of the image, or the system refuses.
    pub fn map_image(
        &self,
        offset: usize,
        image: &MemoryImage,
        image_offset: u64,
        len: usize,
    ) -> io::Result<()> {
        let (start, len) = self.range(offset, len)?;
        if !image_offset.is_multiple_of(page_size() as u64) {
            return Err(invalid(
                "an image offset that is not a multiple of the page size",
            ));
        }
        let end = image_offset.checked_add(len as u64);
        if end.is_none_or(|end| end > image.mapped_len) {
            return Err(invalid("a range beyond the end of the image"));
        }
        if len != 0 {
            // SAFETY: the range that is replaced is inside of the mapping that `self` owns; the
            // module's comment says who answers for its contents. The file cannot become shorter,
            // which would make accesses fault: it is sealed, or its owner has promised so.
            unsafe {
                rustix::mm::mmap(
                    start.cast(),
                    len,
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE,
                    &image.file,
                    image.offset + image_offset,
                )?;
            }
        }
        Ok(())
    }

    /// The start and the rounded length of a checked part.
    fn range(&self, offset: usize, len: usize) -> io::Result<(*mut u8, usize)> {
        if !offset.is_multiple_of(page_size()) {
            return Err(invalid("an offset that is not a multiple of the page size"));
        }
        let len = round_to_pages(len)?;
        match offset.checked_add(len) {
            Some(end) if end <= self.size => Ok((self.base.wrapping_add(offset), len)),
            _ => Err(invalid("a range beyond the end of the reservation")),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.size != 0 {
            // SAFETY: the mapping is `self`'s own, and its users are bound to its life.
            // It cannot fail for a whole mapping, and nothing could be done if it did.
            let _ = unsafe { rustix::mm::munmap(self.base.cast(), self.size) };
        }
    }
}

/// Bytes to map into many places, copy-on-write: a sealed file in memory.
#[derive(Debug)]
pub struct MemoryImage {
    file: File,
    /// Where it begins in the file, a multiple of the page size.
    offset: u64,
    len: usize,
    mapped_len: u64,
}

impl MemoryImage {
    /// An image of `bytes`. Pages that are all zero take no memory.
    ///
    /// # Errors
    /// What the system says when the file is made.
    pub fn new(bytes: &[u8]) -> io::Result<MemoryImage> {
        let mapped_len = round_to_pages(bytes.len())? as u64;
        // Kernels before 6.3 do not know the flag, which is only one more lock on the door.
        let file = memfd("bimetal-image", MemfdFlags::NOEXEC_SEAL)
            .or_else(|_| memfd("bimetal-image", MemfdFlags::empty()))?;
        file.set_len(mapped_len)?;
        let mut offset = 0;
        for run in bytes
            .chunks(page_size())
            .collect::<Vec<_>>()
            .chunk_by(|a, b| is_zero(a) == is_zero(b))
        {
            let len = run.iter().map(|page| page.len()).sum::<usize>();
            if !is_zero(run[0]) {
                file.write_all_at(&bytes[offset..offset + len], offset as u64)?;
            }
            offset += len;
        }
        rustix::fs::fcntl_add_seals(
            &file,
            SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL,
        )?;
        Ok(MemoryImage {
            file,
            offset: 0,
            len: bytes.len(),
            mapped_len,
        })
    }

    /// An image that is a part of a file. Nobody may change the file or make it shorter as long as
    /// the image or what it was mapped to is used: the pages are the file's own until they are
    /// written.
    ///
    /// # Errors
    /// If `offset` and `len` are not multiples of the page size, or beyond the end of the file.
    pub fn of_file(file: &File, offset: u64, len: usize) -> io::Result<MemoryImage> {
        let page = page_size();
        if !offset.is_multiple_of(page as u64) || !len.is_multiple_of(page) {
            return Err(invalid("a part of a file that is not in whole pages"));
        }
        let end = offset.checked_add(len as u64);
        if end.is_none_or(|end| i64::try_from(end).is_err()) || end > Some(file.metadata()?.len()) {
            return Err(invalid("a part of a file beyond its end"));
        }
        Ok(MemoryImage {
            file: file.try_clone()?,
            offset,
            len,
            mapped_len: len as u64,
        })
    }

    /// The number of bytes that it was made of.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it was made of no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}
