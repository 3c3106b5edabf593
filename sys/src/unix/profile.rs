//! What a profiler of the system needs to be told, beyond a file.

use std::fs::File;
use std::io;
use std::ptr;

use rustix::mm::{MapFlags, ProtFlags};
use rustix::time::ClockId;

/// Makes a running profiler notice `file`, which must not be empty: its first page is mapped
/// executable, which profilers record, and unmapped again. Nothing is ever executed there.
///
/// # Errors
/// If the file system does not allow it.
pub fn announce_file(file: &File) -> io::Result<()> {
    let len = super::memory::page_size();
    let prot = ProtFlags::READ | ProtFlags::EXEC;
    // SAFETY: the system chooses an address where nothing is, and what is unmapped is just that.
    unsafe {
        let page = rustix::mm::mmap(ptr::null_mut(), len, prot, MapFlags::PRIVATE, file, 0)?;
        rustix::mm::munmap(page, len)?;
    }
    Ok(())
}

/// Nanoseconds of the system's monotonic clock, which profilers can use too.
pub fn monotonic_nanos() -> u64 {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The system's number for this thread.
pub fn thread_id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get() as u32
}
