//! Where a thread's stack ends.

use std::cell::Cell;
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
