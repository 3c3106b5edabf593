//! Where a thread's stack ends.

use std::cell::Cell;
use std::ffi::CStr;
use std::mem::MaybeUninit;

thread_local! {
    /// The limit, once known; 0 if the system does not say.
    static LIMIT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The lowest address of this thread's stack that may be used, or `None` if the system does not
/// say. Costs something once per thread.
///
/// Of the main thread it is what its resource limit allows, although the stack grows to there only
/// as it is used; a limit that is lowered later is not noticed, and without one it is terabytes
/// away. On a [`Fiber`](crate::Fiber) it is the limit of the fiber's stack; on another stack that
/// the system does not know, that of the thread's own.
#[inline]
pub fn thread_stack_limit() -> Option<usize> {
    LIMIT
        .try_with(|cached| match cached.get() {
            Some(0) => None,
            Some(limit) => Some(limit),
            None => query_into(cached),
        })
        .unwrap_or_else(|_| query())
}

#[cold]
fn query_into(cached: &Cell<Option<usize>>) -> Option<usize> {
    let limit = query();
    cached.set(Some(limit.unwrap_or(0)));
    limit
}

/// Makes another limit the known one, of the stack that the thread is about to run on; what was
/// known before.
pub(crate) fn replace_stack_limit(limit: Option<usize>) -> Option<usize> {
    LIMIT
        .try_with(|cached| cached.replace(limit))
        .unwrap_or_default()
}

#[cold]
fn query() -> Option<usize> {
    main_thread().or_else(reported)
}

/// The main thread's limit, without the C library, which reads a description of all mappings of the
/// process to find it. The kernel leaves as much room below the stack's end as its resource limit says
/// when the program starts, and no less than [`LEAST_GAP`].
fn main_thread() -> Option<usize> {
    /// What the kernel leaves at least, whatever the limit; architectures have their own random
    /// offsets besides.
    const LEAST_GAP: u64 = 128 << 20;
    if rustix::thread::gettid() != rustix::process::getpid() {
        return None;
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Stack).current?;
    let size = usize::try_from(limit).ok().filter(|_| limit < LEAST_GAP)?;
    // SAFETY: it only looks for an entry in a table that the kernel has made.
    let name = unsafe { libc::getauxval(libc::AT_EXECFN) };
    let name: *const libc::c_char = std::ptr::with_exposed_provenance(usize::try_from(name).ok()?);
    if name.is_null() {
        return None;
    }
    // The program's name is the last thing on the stack, with a word of zeros above it.
    // SAFETY: a C string that the kernel has put there, and that nobody has a reason to change.
    let len = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul().len();
    let end = name.addr() + len + size_of::<u64>();
    let end = end.next_multiple_of(super::memory::page_size());
    // A page more, in case there is more above.
    let lowest = end
        .checked_sub(size)?
        .checked_add(super::memory::page_size())?;
    let here = crate::stack_pointer();
    (lowest < here && here < end).then_some(lowest)
}

/// What the C library says.
fn reported() -> Option<usize> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: the calling thread exists, and the call initialises `attributes` if it returns 0.
    if unsafe { libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) } != 0 {
        return None;
    }
    let mut start = std::ptr::null_mut();
    let mut size = 0;
    let mut guard = 0;
    // SAFETY: `attributes` was initialised above and is destroyed once; the others are places to
    // write to.
    let results = unsafe {
        [
            libc::pthread_attr_getstack(attributes.as_ptr(), &mut start, &mut size),
            libc::pthread_attr_getguardsize(attributes.as_ptr(), &mut guard),
            libc::pthread_attr_destroy(attributes.as_mut_ptr()),
        ]
    };
    if results != [0; 3] {
        return None;
    }
    // C libraries differ in whether the guard is inside of what they report; a page of stack is
    // not worth finding out.
    Some(start.addr().saturating_add(guard.min(size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests run on other threads than the main one; the program's own tests run on that.
    #[test]
    fn other_threads_ask_the_c_library() {
        let thread = std::thread::spawn(|| (main_thread(), reported(), query()));
        let (main, reported, query) = thread.join().unwrap();
        assert_eq!(main, None);
        assert_eq!(reported, query);
        assert!(reported.is_some());
    }
}
