//! Executable memory that is never writable.
//!
//! The region is a sparse file in memory (memfd), mapped readable and executable, and nowhere
//! else; code gets into it with `pwrite`. So there is no moment and no address at which a stray or
//! hostile store could change code, and threads may add code while others run what is there.
//!
//! The mapping has to be a shared one to see what is written to the file later. A child after
//! `fork` would share it too and write over its parent's code, so the region refuses to be filled
//! by another process than the one that made it.
//!
//! macOS has no memfd: there the region would be a `MAP_JIT` mapping that is made writable for the
//! writing thread alone (`pthread_jit_write_protect_np`).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, MremapFlags, ProtFlags};

use super::memory::{invalid, memfd, page_size, round_to_pages};
use crate::arch;

/// Address space for code, filled from its start. Unmapped on drop: who holds pointers into it
/// keeps it alive.
#[derive(Debug)]
pub struct CodeRegion {
    file: File,
    base: *mut u8,
    capacity: usize,
    used: AtomicUsize,
    process: u32,
}

// SAFETY: the pointer is only an address here; the region is filled by system calls into parts
// that `used` hands out once.
unsafe impl Send for CodeRegion {}
// SAFETY: as above.
unsafe impl Sync for CodeRegion {}

impl CodeRegion {
    /// A region for at least `capacity` bytes of code. It takes memory as it is filled.
    ///
    /// # Errors
    /// What the system says; it may forbid executable memory as such.
    pub fn new(capacity: usize) -> io::Result<CodeRegion> {
        let capacity = round_to_pages(capacity.max(1))?;
        // Kernels before 6.3 do not know the flag, and there all such files are executable.
        let file = memfd("bimetal-code", MemfdFlags::EXEC)
            .or_else(|_| memfd("bimetal-code", MemfdFlags::empty()))?;
        file.set_len(capacity as u64)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        arch::prepare_code_sync()?;
        // SAFETY: a new mapping wherever the system finds room replaces nothing. The file cannot
        // become shorter, and nobody else has it.
        let base = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                capacity,
                ProtFlags::READ | ProtFlags::EXEC,
                MapFlags::SHARED,
                &file,
                0,
            )?
        };
        Ok(CodeRegion {
            file,
            base: base.cast(),
            capacity,
            used: AtomicUsize::new(0),
            process: std::process::id(),
        })
    }

    /// The same region, elsewhere, where a profiler that watches this process (`perf`) takes the
    /// code for that of a JIT and looks its names up in the map that it finds for the process,
    /// rather than in the file that it believes to be mapped. For a region that nothing is in.
    ///
    /// # Errors
    /// What the system says, or that the region is in use.
    pub fn shown_as_jit(mut self) -> io::Result<CodeRegion> {
        if self.used() != 0 {
            return Err(invalid("a region for code that has been filled"));
        }
        // Profilers are told of mappings that are made, not of those that are moved: they will
        // believe that this one is still there.
        // SAFETY: the new mapping replaces nothing. Then it is replaced by the region's, which is
        // `self`'s own and has never been used.
        unsafe {
            let to = rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                self.capacity,
                ProtFlags::READ | ProtFlags::EXEC,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )?;
            let moved = rustix::mm::mremap_fixed(
                self.base.cast(),
                self.capacity,
                self.capacity,
                MremapFlags::MAYMOVE,
                to,
            );
            if let Err(error) = moved {
                // As for dropping the region.
                let _ = rustix::mm::munmap(to, self.capacity);
                return Err(error.into());
            }
            self.base = to.cast();
        }
        Ok(self)
    }

    /// The first address.
    pub fn base(&self) -> *const u8 {
        self.base
    }

    /// How many bytes there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many bytes from the start are taken.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// Takes room for `bytes` at a multiple of `align` and writes them there. When this returns,
    /// every thread that learns of the address may run the code.
    ///
    /// # Errors
    /// As for [`CodeRegion::reserve`] and [`CodeRegion::write`].
    pub fn append(&self, bytes: &[u8], align: usize) -> io::Result<*const u8> {
        let offset = self.reserve(bytes.len(), align)?;
        self.write(offset, bytes)?;
        Ok(self.base.wrapping_add(offset))
    }

    /// Takes room for `len` bytes at a multiple of `align`, a power of two up to the page size,
    /// and returns its offset. Until it is written it holds zeros.
    ///
    /// # Errors
    /// [`io::ErrorKind::OutOfMemory`] if the region is full, [`io::ErrorKind::InvalidInput`] for
    /// another alignment.
    pub fn reserve(&self, len: usize, align: usize) -> io::Result<usize> {
        if !align.is_power_of_two() || align > page_size() {
            return Err(invalid(
                "a code alignment that is not a power of two within a page",
            ));
        }
        let mut used = self.used.load(Ordering::Acquire);
        loop {
            let offset = used.checked_next_multiple_of(align);
            let end = offset.and_then(|offset| offset.checked_add(len));
            let (Some(offset), Some(end)) = (offset, end.filter(|&end| end <= self.capacity))
            else {
                return Err(io::Error::new(
                    io::ErrorKind::OutOfMemory,
                    "the region for machine code is full",
                ));
            };
            match self
                .used
                .compare_exchange_weak(used, end, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Ok(offset),
                Err(now) => used = now,
            }
        }
    }

    /// Writes `bytes` at `offset`, which must be inside of what was reserved. When this returns,
    /// every thread that learns of it may run the code. Several threads may write different parts
    /// at once.
    ///
    /// # Errors
    /// If the range was not reserved, memory ran out, or this is a forked child of the process
    /// that made the region.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        if offset
            .checked_add(bytes.len())
            .is_none_or(|end| end > self.used())
        {
            return Err(invalid("code outside of the reserved part of its region"));
        }
        if std::process::id() != self.process {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a forked process cannot add code to the regions of its parent",
            ));
        }
        self.file.write_all_at(bytes, offset as u64)?;
        arch::sync_code(self.base.wrapping_add(offset), bytes.len())
    }

    /// Gives the memory of a reserved part back to the system; it holds zeros until it is written
    /// again. Nothing may run there any more.
    ///
    /// # Errors
    /// As for [`CodeRegion::write`]; or the system cannot, and the part is as it was.
    pub fn discard(&self, offset: usize, len: usize) -> io::Result<()> {
        if offset.checked_add(len).is_none_or(|end| end > self.used()) {
            return Err(invalid("code outside of the reserved part of its region"));
        }
        if len == 0 || std::process::id() != self.process {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&self.file, flags, offset as u64, len as u64)?;
        Ok(())
    }
}

impl Drop for CodeRegion {
    fn drop(&mut self) {
        // SAFETY: the mapping is `self`'s own, and its users are bound to its life.
        // It cannot fail for a whole mapping, and nothing could be done if it did.
        let _ = unsafe { rustix::mm::munmap(self.base.cast(), self.capacity) };
    }
}
