//! Which pages of a private mapping have been written.
//!
//! A page that was written is the process's own; one that was only read is the file's, or the zero
//! page. Linux tells by an ioctl on `/proc/self/pagemap` since 6.7. It is there to put a mapping back
//! to what it was by writing the few pages that changed, instead of dropping all of them and taking
//! a fault for each one that is touched again.
//!
//! The file stays that of the process that opened it: after a fork it would tell of the parent. So
//! a page that forks wipe stands beside it, and where it is wiped nothing is told.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;

use rustix::mm::Advice;

use super::memory::{Reservation, page_size};

/// `struct pm_scan_arg` of `linux/fs.h`.
#[repr(C)]
#[derive(Default)]
struct ScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `struct page_region`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

/// `PAGEMAP_SCAN`: `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: u32 = 3 << 30 | (size_of::<ScanArg>() as u32) << 16 | (b'f' as u32) << 8 | 16;
/// The page is that of a file.
const IS_FILE: u64 = 1 << 2;
const IS_PRESENT: u64 = 1 << 3;
const IS_SWAPPED: u64 = 1 << 4;
/// The page is the one of all zeros.
const IS_ZERO_PAGE: u64 = 1 << 5;

/// Ranges that one call can tell.
const RANGES: usize = 32;

/// Tells which pages were written.
#[derive(Debug)]
pub struct DirtyPages {
    file: File,
    /// Holds a 1, but not in a process that was forked off.
    ours: Reservation,
}

impl DirtyPages {
    /// The process's own, or `None` where the system does not tell.
    pub fn get() -> Option<&'static DirtyPages> {
        static PAGES: OnceLock<Option<DirtyPages>> = OnceLock::new();
        let pages = PAGES.get_or_init(|| DirtyPages::open().ok()).as_ref()?;
        // SAFETY: the page is accessible, and written by nobody but `open`, before it is shared.
        let in_our_process = unsafe { pages.ours.base().read_volatile() } == 1;
        in_our_process.then_some(pages)
    }

    fn open() -> io::Result<DirtyPages> {
        let ours = Reservation::new(page_size())?;
        ours.make_accessible(0, page_size())?;
        // SAFETY: the range is that of `ours`, which nobody uses yet, and is accessible.
        unsafe {
            rustix::mm::madvise(ours.base().cast(), ours.size(), Advice::LinuxWipeOnFork)?;
            ours.base().write_volatile(1);
        }
        let file = File::open("/proc/self/pagemap")?;
        let pages = DirtyPages { file, ours };
        // Whether the system knows the call, and means what we mean.
        let mut found = 0;
        let (base, size) = (pages.ours.base(), pages.ours.size());
        pages.scan(base, size, 1, |range| found += range.len())?;
        match found == size {
            true => Ok(pages),
            false => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Calls `each` with ranges of written pages, as offsets from `start`, in ascending order: `most`
    /// pages altogether. Gives the offset up to which that is all, `len` if there are not more.
    ///
    /// Nobody may write there meanwhile who shall not be missed.
    ///
    /// # Errors
    /// What the system says. `start` and `len` must be multiples of the page size.
    pub fn scan(
        &self,
        start: *const u8,
        len: usize,
        most: usize,
        mut each: impl FnMut(Range<usize>),
    ) -> io::Result<usize> {
        let base = start.addr() as u64;
        let end = base + len as u64;
        let mut regions = [PageRegion::default(); RANGES];
        let mut argument = ScanArg {
            size: size_of::<ScanArg>() as u64,
            start: base,
            end,
            vec_len: RANGES as u64,
            category_inverted: IS_FILE | IS_ZERO_PAGE,
            category_mask: IS_FILE | IS_ZERO_PAGE,
            category_anyof_mask: IS_PRESENT | IS_SWAPPED,
            return_mask: IS_PRESENT,
            ..ScanArg::default()
        };
        let mut left = most;
        while argument.start < end && left > 0 {
            argument.vec = regions.as_mut_ptr().expose_provenance() as u64;
            argument.max_pages = left as u64;
            // SAFETY: the argument is of the kind and size that the call takes; it writes to it and
            // to `regions`, at most as many as it was told there are.
            let count =
                unsafe { libc::ioctl(self.file.as_raw_fd(), PAGEMAP_SCAN as _, &raw mut argument) };
            let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
            if argument.walk_end <= argument.start {
                return Err(io::Error::other("the walk over the pages does not advance"));
            }
            for region in regions.get(..count).unwrap_or_default() {
                let range = (region.start - base) as usize..(region.end - base) as usize;
                left = left.saturating_sub(range.len() / page_size());
                each(range);
            }
            argument.start = argument.walk_end;
        }
        Ok((argument.start - base) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryImage;

    #[test]
    fn what_was_written_and_nothing_else() -> io::Result<()> {
        let Some(pages) = DirtyPages::get() else {
            eprintln!("this system does not tell which pages were written");
            return Ok(());
        };
        let page = page_size();
        let space = Reservation::new(64 * page)?;
        space.make_accessible(0, 64 * page)?;
        let image = MemoryImage::new(&vec![7; 8 * page])?;
        space.map_image(0, &image, 0, 8 * page)?;
        // SAFETY: all of it is accessible and nobody else's.
        unsafe {
            for read in [1, 20] {
                space.base().add(read * page).read_volatile();
            }
            for write in [0, 3, 4, 40, 63] {
                space.base().add(write * page + 5).write_volatile(1);
            }
        }
        let scan = |len, most| -> io::Result<_> {
            let mut found = Vec::new();
            let end = pages.scan(space.base(), len * page, most, |range| {
                found.extend([range.start / page, range.end / page]);
            })?;
            Ok((found, end / page))
        };
        assert_eq!(scan(64, 100)?, (vec![0, 1, 3, 5, 40, 41, 63, 64], 64));
        assert_eq!(scan(40, 100)?, (vec![0, 1, 3, 5], 40));
        assert_eq!(scan(64, 2)?, (vec![0, 1, 3, 4], 4));
        assert_eq!(scan(64, 0)?, (vec![], 0));
        // More than one call can tell.
        let space = Reservation::new(200 * page)?;
        space.make_accessible(0, 200 * page)?;
        // SAFETY: as above.
        unsafe { (0..100).for_each(|i| space.base().add(2 * i * page).write_volatile(1)) };
        let mut count = 0;
        let end = pages.scan(space.base(), 200 * page, 1000, |range| count += range.len())?;
        assert_eq!((count, end), (100 * page, 200 * page));
        Ok(())
    }
}
