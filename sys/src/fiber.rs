//! Code on a stack of its own, which can be put aside in the middle and gone on with later, also
//! on another thread.
//!
//! A [`Fiber`] runs a closure on a [`FiberStack`]: memory above an inaccessible page, which
//! [`Fiber::into_stack`] gives back for the next one. Switching is `corosensei`'s; what is here
//! adds what the engine needs to be right on any stack: while a fiber runs,
//! [`thread_stack_limit`](crate::thread_stack_limit) is that of its stack, also for fibers that
//! are resumed on fibers.
//!
//! **Invariants**
//! - A fiber is run to its end. It cannot be unwound from outside: there may be frames on it that
//!   have no unwind tables. One that is dropped while it is suspended is leaked with its stack.
//! - Compilers assume that a function stays on one thread and may keep a thread-local's address
//!   across a call. What runs on a fiber may go on on another thread after a suspension, so
//!   whatever it does with thread-locals afterwards must be in functions that are not inlined.
//!   Nothing here uses one on the fiber's side of a switch.

use std::any::Any;
use std::io;
use std::mem::ManuallyDrop;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use corosensei::stack::{Stack, StackPointer};
use corosensei::{Coroutine, CoroutineResult, Yielder};

use crate::unix::memory::{Reservation, page_size, round_to_pages};
use crate::unix::stack::replace_stack_limit;

/// Bytes right below those that stay resident which tell whether a stack was used further down:
/// more than most frames have, few enough to look at after each use.
const PROBE: usize = 1 << 10;

/// A stack is trimmed after so many uses even if the probe was passed by unseen.
const TRIM_AFTER: u32 = 1_000;

/// Memory for a fiber's stack, above an inaccessible page.
#[derive(Debug)]
pub struct FiberStack {
    memory: Reservation,
    uses: u32,
}

impl FiberStack {
    /// A stack of at least `size` bytes (and some pages). It takes memory where it is touched.
    ///
    /// # Errors
    /// What the system says, mostly that there are too many mappings.
    pub fn new(size: usize) -> io::Result<FiberStack> {
        let size = round_to_pages(size.max(4 * page_size()))?;
        let memory = Reservation::new(
            size.checked_add(page_size())
                .ok_or(io::ErrorKind::OutOfMemory)?,
        )?;
        memory.make_accessible(page_size(), size)?;
        // Else the first frame may take megabytes. A kernel without them says no, and that is fine.
        let _ = memory.avoid_huge_pages();
        Ok(FiberStack { memory, uses: 0 })
    }

    /// The lowest usable address.
    fn lowest(&self) -> *mut u8 {
        self.memory.base().wrapping_add(page_size())
    }

    /// The number of usable bytes.
    pub fn size(&self) -> usize {
        self.memory.size() - page_size()
    }

    /// How many of `keep` bytes, as whole pages, are kept and how many not.
    fn split(&self, keep: usize) -> (usize, usize) {
        let keep = round_to_pages(keep).map_or(self.size(), |keep| keep.min(self.size()));
        (keep, self.size() - keep)
    }

    /// Makes the stack ready to be kept for another fiber: gives its memory back, but for the
    /// first `keep` bytes from the top. That takes a system call, so it is not done if the stack
    /// seems not to have been used further down; memory can stay behind for some more uses.
    pub fn recycle(&mut self, keep: usize) {
        let (_, below) = self.split(keep);
        if below == 0 {
            return;
        }
        self.uses += 1;
        let probe = PROBE.min(below);
        let start = self.lowest().wrapping_add(below - probe);
        // SAFETY: inside of the accessible part, aligned, and nothing runs on this stack.
        let words = unsafe { std::slice::from_raw_parts(start.cast::<u64>(), probe / 8) };
        if self.uses >= TRIM_AFTER || words.iter().any(|&word| word != 0) {
            self.uses = 0;
            // A failure would only cost memory.
            let _ = self.memory.reset(page_size(), below);
        }
    }

    /// As [`FiberStack::recycle`], and nothing of what the stack held can be read any more.
    ///
    /// # Errors
    /// If the system does not take the memory back; the stack must not be used again.
    pub fn clear(&mut self, keep: usize) -> io::Result<()> {
        let (kept, below) = self.split(keep);
        self.memory.reset(page_size(), below)?;
        // SAFETY: as for `recycle`.
        unsafe { self.lowest().wrapping_add(below).write_bytes(0, kept) };
        Ok(())
    }
}

// SAFETY: there is an inaccessible page below, and at least four pages of stack.
unsafe impl Stack for FiberStack {
    fn base(&self) -> StackPointer {
        let top = self.memory.base().addr() + self.memory.size();
        NonZeroUsize::new(top).unwrap_or(NonZeroUsize::MAX)
    }

    fn limit(&self) -> StackPointer {
        NonZeroUsize::new(self.memory.base().addr()).unwrap_or(NonZeroUsize::MIN)
    }
}

/// What came of resuming a [`Fiber`].
pub enum Progress {
    /// It called [`Suspender::suspend`].
    Suspended,
    /// Its closure returned.
    Returned,
    /// Its closure panicked, with this payload.
    Panicked(Box<dyn Any + Send>),
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Progress::Suspended => "Suspended",
            Progress::Returned => "Returned",
            Progress::Panicked(_) => "Panicked",
        })
    }
}

/// What a fiber suspends itself with.
#[repr(transparent)]
pub struct Suspender(Yielder<(), ()>);

impl Suspender {
    /// Returns from the [`Fiber::resume`] that runs the fiber; continues when it is called again,
    /// maybe on another thread.
    ///
    /// # Safety
    /// The caller runs on the fiber whose closure got this, not on another one that was resumed
    /// there. All its frames bear to be on another thread afterwards, and to never go on if the
    /// fiber is leaked.
    pub unsafe fn suspend(&self) {
        self.0.suspend(());
    }
}

impl std::fmt::Debug for Suspender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Suspender")
    }
}

/// A closure on a stack of its own.
///
/// ```
/// use bimetal_sys::{Fiber, FiberStack, Progress};
///
/// let stack = FiberStack::new(64 << 10)?;
/// // SAFETY: the closure owns what it uses, and nothing on its stack is bound to a thread.
/// let mut fiber = unsafe { Fiber::new(stack, |suspender| suspender.suspend()) };
/// assert!(matches!(fiber.resume(), Progress::Suspended));
/// assert!(matches!(fiber.resume(), Progress::Returned));
/// let stack = fiber.into_stack();
/// # drop(stack);
/// # std::io::Result::Ok(())
/// ```
pub struct Fiber {
    coroutine: ManuallyDrop<Coroutine<(), (), std::thread::Result<()>, FiberStack>>,
    stack: Range<usize>,
}

impl Fiber {
    /// A fiber that will run `body`, whose size must be below a kilobyte.
    ///
    /// # Safety
    /// What `body` borrows is valid until it has returned or the fiber is dropped before it began,
    /// for ever if the fiber is leaked.
    pub unsafe fn new(stack: FiberStack, body: impl FnOnce(&Suspender)) -> Fiber {
        let lowest = stack.lowest().addr();
        let range = lowest..lowest + stack.size();
        // SAFETY: the caller's promise. `body` cannot unwind into the switch.
        let coroutine = unsafe {
            Coroutine::with_stack_unchecked(stack, |yielder: &Yielder<(), ()>, ()| {
                // SAFETY: a `Suspender` is a `Yielder`, by its representation.
                let suspender = &*std::ptr::from_ref(yielder).cast::<Suspender>();
                catch_unwind(AssertUnwindSafe(|| body(suspender)))
            })
        };
        Fiber {
            coroutine: ManuallyDrop::new(coroutine),
            stack: range,
        }
    }

    /// Begins to run it or goes on with it, until it suspends itself or ends.
    ///
    /// # Panics
    /// If it has ended.
    // Not inlined, so that the thread-local is found anew each time: the caller may itself run on a
    // fiber that changes threads between two calls.
    #[inline(never)]
    pub fn resume(&mut self) -> Progress {
        let before = replace_stack_limit(Some(self.stack.start));
        let result = self.coroutine.resume(());
        replace_stack_limit(before);
        match result {
            CoroutineResult::Yield(()) => Progress::Suspended,
            CoroutineResult::Return(Ok(())) => Progress::Returned,
            CoroutineResult::Return(Err(payload)) => Progress::Panicked(payload),
        }
    }

    /// The addresses of its stack.
    pub fn stack(&self) -> Range<usize> {
        self.stack.clone()
    }

    /// Whether it has ended.
    pub fn ended(&self) -> bool {
        self.coroutine.done()
    }

    /// The stack, for another fiber.
    ///
    /// # Panics
    /// If it has not ended.
    pub fn into_stack(self) -> FiberStack {
        assert!(self.ended(), "the stack of a fiber that has not ended");
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used any more, nor dropped.
        unsafe { ManuallyDrop::take(&mut this.coroutine) }.into_stack()
    }
}

impl Drop for Fiber {
    fn drop(&mut self) {
        if self.coroutine.done() || !self.coroutine.started() {
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.coroutine) }
        }
    }
}

impl std::fmt::Debug for Fiber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fiber")
            .field("ended", &self.ended())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{stack_pointer, thread_stack_limit};

    fn stack() -> FiberStack {
        FiberStack::new(256 << 10).unwrap()
    }

    #[test]
    fn a_fiber_goes_on_where_it_was() {
        let steps = Cell::new(0);
        // SAFETY: `steps` outlives the fiber; all on one thread.
        let mut fiber = unsafe {
            Fiber::new(stack(), |suspender| {
                assert!(thread_stack_limit().unwrap() <= stack_pointer());
                steps.set(1);
                suspender.suspend();
                steps.set(2);
            })
        };
        assert_eq!(steps.get(), 0);
        assert!(matches!(fiber.resume(), Progress::Suspended));
        assert_eq!((steps.get(), fiber.ended()), (1, false));
        assert!(matches!(fiber.resume(), Progress::Returned));
        assert_eq!((steps.get(), fiber.ended()), (2, true));
        assert!(!fiber.stack().contains(&stack_pointer()));
        fiber.into_stack();
    }

    #[test]
    fn a_panic_comes_out_as_its_payload() {
        // SAFETY: nothing is borrowed.
        let mut fiber = unsafe { Fiber::new(stack(), |_| std::panic::panic_any(7_u8)) };
        let Progress::Panicked(payload) = fiber.resume() else {
            panic!("it panicked");
        };
        assert_eq!(payload.downcast_ref(), Some(&7_u8));
        assert!(fiber.ended());
    }

    #[test]
    fn the_limit_is_that_of_the_stack_it_runs_on() {
        let inside = |limit: Option<usize>| {
            let limit = limit.unwrap();
            let here = stack_pointer();
            here > limit && here - limit < 300 << 10
        };
        let outside = thread_stack_limit();
        // SAFETY: all on one thread, and everything outlives the fibers.
        let mut outer = unsafe {
            Fiber::new(stack(), |outer| {
                let mine = thread_stack_limit();
                assert!(inside(mine));
                let mut inner = Fiber::new(stack(), |inner| {
                    assert!(inside(thread_stack_limit()));
                    assert_ne!(thread_stack_limit(), mine);
                    inner.suspend();
                    assert!(inside(thread_stack_limit()));
                });
                assert!(matches!(inner.resume(), Progress::Suspended));
                assert_eq!(thread_stack_limit(), mine);
                outer.suspend();
                assert_eq!(thread_stack_limit(), mine);
                assert!(matches!(inner.resume(), Progress::Returned));
                assert_eq!(thread_stack_limit(), mine);
            })
        };
        assert!(matches!(outer.resume(), Progress::Suspended));
        assert_eq!(thread_stack_limit(), outside);
        assert!(matches!(outer.resume(), Progress::Returned));
        assert_eq!(thread_stack_limit(), outside);
    }

    #[test]
    fn a_fiber_that_never_ran_drops_its_closure() {
        struct Dropped<'a>(&'a Cell<bool>);
        impl Drop for Dropped<'_> {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        let dropped = Cell::new(false);
        let guard = Dropped(&dropped);
        // SAFETY: `dropped` outlives the fiber.
        drop(unsafe { Fiber::new(stack(), move |_| drop(guard)) });
        assert!(dropped.get());
    }

    #[test]
    fn a_suspended_fiber_goes_on_on_another_thread() {
        struct Moved(Fiber);
        // SAFETY: its closure owns only a number.
        unsafe impl Send for Moved {}
        // SAFETY: nothing is borrowed, and nothing on the stack is bound to a thread.
        let mut fiber = Moved(unsafe {
            Fiber::new(stack(), |suspender| {
                for _ in 0..3 {
                    suspender.suspend();
                }
            })
        });
        for _ in 0..3 {
            let next = move || {
                let mut moved = fiber;
                assert!(matches!(moved.0.resume(), Progress::Suspended));
                moved
            };
            fiber = std::thread::spawn(next).join().unwrap();
        }
        assert!(matches!(fiber.0.resume(), Progress::Returned));
    }

    /// Bytes of a stack that are in memory.
    fn resident(stack: &FiberStack) -> usize {
        let mut pages = vec![0_u8; stack.size() / page_size()];
        // SAFETY: the range is mapped, and there is a byte for each page.
        let result = unsafe {
            libc::mincore(
                stack.lowest().cast(),
                stack.size(),
                pages.as_mut_ptr().cast(),
            )
        };
        assert_eq!(result, 0);
        pages.iter().filter(|&&page| page & 1 != 0).count() * page_size()
    }

    #[test]
    fn a_stack_gives_back_what_was_used_beyond_what_it_keeps() {
        let keep = 4 * page_size();
        let deep = |stack| {
            // SAFETY: nothing is borrowed.
            let mut fiber = unsafe {
                Fiber::new(stack, |_| {
                    std::hint::black_box([1_u8; 128 << 10]);
                })
            };
            assert!(matches!(fiber.resume(), Progress::Returned));
            fiber.into_stack()
        };
        let mut used = deep(stack());
        assert!(resident(&used) >= 128 << 10);
        used.recycle(keep);
        assert!(resident(&used) <= keep);
        let mut used = deep(used);
        used.clear(keep).unwrap();
        assert!(resident(&used) <= keep);
        // SAFETY: nothing runs on it.
        let bytes = unsafe { std::slice::from_raw_parts(used.lowest(), used.size()) };
        assert!(bytes.iter().all(|&byte| byte == 0));
    }
}
