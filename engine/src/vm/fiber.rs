//! Calls that can be put aside: a store's code on a fiber.
//!
//! [`OnFiber`] is a future that runs a closure with a store on a stack of its own. When wasm that
//! the closure has entered calls something asynchronous, [`Here::block_on`] polls that on the
//! fiber; while it is not ready, the fiber is suspended and the future that was polled is pending.
//!
//! **Invariants**
//! - Whenever no `poll` or `drop` of an [`OnFiber`] is in progress, its store and the thread are as
//!   if the fiber did not exist: the thread's activations end below it ([`Parked`]), the store's
//!   context holds what it held before, and [`StoreOpaque`]'s `fiber` is that of the caller. So a
//!   future that is leaked leaves a store behind that can be used, on whatever thread.
//! - Between the start of a fiber and its suspension are frames of wasm and of this crate only, and
//!   futures that are `Send`; [`StoreOpaque::fiber`] refuses anything else. Frames of the embedder's
//!   (a host function that calls wasm synchronously) could hold what is bound to a thread, or rely
//!   on being returned to, as `std::thread::scope` does; futures cannot.
//! - A fiber is run to its end. When its future is dropped it is resumed once more, *cancelled*:
//!   whatever it waits for is dropped and fails, wasm is left as by any error of a host function,
//!   and nothing can wait again. No frame is unwound by force.
//! - No function that has been suspended uses a thread-local afterwards, since it may be on another
//!   thread and remember where the old one's was: see `bimetal_sys`'s `fiber`. That is why the
//!   embedder's futures are polled and dropped in functions that are not inlined.

use std::cell::{Cell, UnsafeCell};
use std::future::Future;
use std::marker::{PhantomData, PhantomPinned};
use std::mem::{self, ManuallyDrop};
use std::pin::Pin;
use std::ptr;
use std::task::{Context, Poll};

use bimetal_abi::{TrapCode, VmStoreContext};
use bimetal_sys::{Fiber, Progress, Suspender};

use super::activation::{Activation, Below, Parked, is_right_above, set_stack_limit, stack_limit};
use super::store::StoreOpaque;
use crate::caller::Caller;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{StoreContextMut, StoreInner};

/// How deep a store's fibers may be nested, when asynchronous host functions call wasm again and
/// again. Each is a stack, of which a guest should not be able to ask for ever more.
const MAX_NESTING: u32 = 128;

/// What the code on a fiber and the code that resumes it know of each other.
struct Record {
    suspender: Cell<*const Suspender>,
    /// Of the poll in progress; null when the fiber is cancelled.
    task: Cell<*mut Context<'static>>,
    /// The newest activation of the thread that has resumed the fiber, which is below it.
    below: Cell<*const Activation>,
    depth: Cell<u32>,
    /// The addresses of the stack.
    stack: Cell<(usize, usize)>,
}

impl Record {
    /// Whether we run on the fiber, with one entry into wasm there, so that it may be suspended.
    /// An entry alone says little: it may be on another thread, to which a host function has sent
    /// its caller while it waits.
    fn may_suspend(&self, context: *const VmStoreContext) -> bool {
        let (lowest, end) = self.stack.get();
        (lowest..end).contains(&bimetal_sys::stack_pointer())
            && is_right_above(self.below.get(), context)
    }
}

/// The fiber that a store's code runs on: [`StoreOpaque`]'s part in this.
#[derive(Clone, Copy)]
pub(super) struct Current(*const Record);

impl Current {
    pub(super) const NONE: Current = Current(ptr::null());
}

/// A fiber, by the code on it.
#[derive(Clone, Copy)]
pub(super) struct Here(*const Record);

fn cancelled() -> Error {
    Error::of(
        ErrorKind::Cancelled,
        "the future of this call has been dropped",
    )
}

impl StoreOpaque {
    /// The fiber that we run on, to wait for `what` there.
    ///
    /// # Errors
    /// If we do not, or may not suspend it, or the call is cancelled.
    pub(super) fn fiber(&mut self, what: &str) -> Result<Here> {
        // SAFETY: not null only while the record's fiber runs, on which we are.
        let Some(record) = (unsafe { self.fiber.0.as_ref() }) else {
            return Err(Error::usage(format_args!(
                "{what} needs an asynchronous call: use `call_async` or `instantiate_async`"
            )));
        };
        if !record.may_suspend(self.context().as_ptr()) {
            return Err(Error::usage(format_args!(
                "{what} needs an asynchronous call, but a synchronous one is in between: let the \
                 host function that makes it be asynchronous and use `call_async`"
            )));
        }
        if record.task.get().is_null() {
            return Err(cancelled());
        }
        Ok(Here(record))
    }
}

impl StoreOpaque {
    /// The fiber that we run on, if we do and may suspend it: to wait there rather than keep the
    /// thread.
    ///
    /// # Errors
    /// If the call is cancelled.
    pub(super) fn fiber_to_suspend(&mut self) -> Result<Option<Here>> {
        // SAFETY: as in `fiber`.
        let record = unsafe { self.fiber.0.as_ref() };
        let context = self.context().as_ptr();
        match record.filter(|record| record.may_suspend(context)) {
            None => Ok(None),
            Some(record) if record.task.get().is_null() => Err(cancelled()),
            Some(record) => Ok(Some(Here(record))),
        }
    }
}

/// What a fiber can wait for.
pub(super) type Waiting<'a, R> = Pin<Box<dyn Future<Output = R> + Send + 'a>>;

/// A future that is polled and dropped in functions of their own.
struct Apart<'a, R>(ManuallyDrop<Waiting<'a, R>>);

impl<R> Apart<'_, R> {
    /// # Safety
    /// `task` is valid and nobody else's.
    #[inline(never)]
    unsafe fn poll(&mut self, task: *mut Context<'static>) -> Poll<R> {
        // SAFETY: the caller's promise.
        self.0.as_mut().poll(unsafe { &mut *task })
    }
}

impl<R> Drop for Apart<'_, R> {
    #[inline(never)]
    fn drop(&mut self) {
        // SAFETY: dropped once, here.
        unsafe { ManuallyDrop::drop(&mut self.0) }
    }
}

impl Here {
    /// Waits for a future, during which the fiber is suspended.
    ///
    /// # Errors
    /// If the call is cancelled before the future is ready.
    ///
    /// # Safety
    /// We run on the fiber, called by wasm of its store. No reference to the store is in use
    /// meanwhile but by `future`, and nothing is on the stack since then that is not `Send`, or
    /// that relies on our coming back.
    #[inline(never)]
    pub(super) unsafe fn block_on<R>(self, future: Waiting<'_, R>) -> Result<R> {
        let mut future = Apart(ManuallyDrop::new(future));
        loop {
            // SAFETY: the fiber runs, so its record is there.
            let record = unsafe { &*self.0 };
            let task = record.task.get();
            if task.is_null() {
                return Err(cancelled());
            }
            // SAFETY: that of the poll in progress, which waits for us.
            if let Poll::Ready(result) = unsafe { future.poll(task) } {
                return Ok(result);
            }
            // SAFETY: we run on the fiber; the rest is the caller's promise.
            unsafe { (*record.suspender.get()).suspend() };
        }
    }
}

/// Runs an asynchronous host function to its end, on the fiber that its caller is on.
///
/// # Errors
/// If there is none ([`StoreOpaque::fiber`]), or the call is cancelled.
///
/// # Safety
/// Called by wasm code of the caller's store through a native or array entry, with nothing of the
/// embedder's on the stack since then.
pub(super) unsafe fn block_on_host<'a, T: 'static, R>(
    caller: &'a mut Caller<'_, T>,
    start: impl FnOnce(Caller<'a, T>) -> Box<dyn Future<Output = R> + Send + 'a>,
) -> Result<R> {
    let here = caller.opaque().fiber("an asynchronous host function")?;
    let future = Box::into_pin(start(caller.reborrow()));
    // SAFETY: the caller's promise; `future` has the store.
    unsafe { here.block_on(future) }
}

/// What a fiber has to do, and what came of it.
enum Work<F, R> {
    Todo(F),
    Doing,
    Done(R),
}

/// A future that runs a closure with a store on a fiber.
///
/// Dropping it while the fiber is suspended cancels what the fiber waits for.
pub(crate) struct OnFiber<'a, T: 'static, F, R> {
    core: Core,
    work: UnsafeCell<Work<F, R>>,
    store: PhantomData<&'a mut StoreInner<T>>,
    /// The fiber has pointers to `core` and `work`.
    _pinned: PhantomPinned,
}

// SAFETY: what it holds, here and on the fiber's stack, is the store, the closure or its result,
// and what the module's invariants allow to be there, all `Send`. Its pointers are to itself, to
// the store, and to what is on that stack.
unsafe impl<T: Send + 'static, F: Send, R: Send> Send for OnFiber<'_, T, F, R> {}

/// The part that is the same for all.
struct Core {
    /// To the whole store.
    store: *mut StoreOpaque,
    record: Record,
    fiber: Option<Fiber>,
    parked: Option<Parked>,
}

impl<'a, T: 'static, F, R> OnFiber<'a, T, F, R>
where
    F: FnOnce(&mut StoreContextMut<'_, T>) -> R,
{
    /// Nothing happens until it is polled. `f` must be code of this crate that does nothing but
    /// enter wasm at most once at a time; what it does otherwise is not on the embedder's behalf.
    pub(crate) fn new(store: &'a mut StoreInner<T>, f: F) -> Self {
        OnFiber {
            core: Core {
                store: ptr::from_mut(store).cast(),
                record: Record {
                    suspender: Cell::new(ptr::null()),
                    task: Cell::new(ptr::null_mut()),
                    below: Cell::new(ptr::null()),
                    depth: Cell::new(0),
                    stack: Cell::new((0, 0)),
                },
                fiber: None,
                parked: None,
            },
            work: UnsafeCell::new(Work::Todo(f)),
            store: PhantomData,
            _pinned: PhantomPinned,
        }
    }

    /// Gives the closure its fiber.
    ///
    /// # Safety
    /// `this` is pinned, and what is pointed to by it lives until the fiber has ended.
    unsafe fn start(this: *mut Self) -> Result<()> {
        // SAFETY: the store is borrowed for our lifetime, and its code waits for us.
        let store = unsafe { &*(*this).core.store };
        // SAFETY: the record of a fiber that runs, on which we are.
        let depth = unsafe { store.fiber.0.as_ref() }.map_or(0, |outer| outer.depth.get() + 1);
        if depth >= MAX_NESTING {
            return Err(Error::new(TrapCode::StackOverflow)
                .context("asynchronous calls are nested too deeply"));
        }
        let stack = store.engine().fiber_stacks().take()?;
        // SAFETY: the caller's promise.
        let fiber = unsafe { Fiber::new(stack, move |suspender| Self::body(this, suspender)) };
        // SAFETY: pinned, and nobody else looks at these.
        unsafe {
            let record = &(*this).core.record;
            record.depth.set(depth);
            record.stack.set((fiber.stack().start, fiber.stack().end));
            (*this).core.fiber = Some(fiber);
        }
        Ok(())
    }

    /// What the fiber runs.
    ///
    /// # Safety
    /// Called on the fiber, by the `resume` that begins it.
    unsafe fn body(this: *mut Self, suspender: &Suspender) {
        // SAFETY: whoever has resumed us leaves these to us until we suspend or end; the store is
        // ours, whole, since the future borrows it.
        unsafe {
            let core = &raw const (*this).core;
            (*core).record.suspender.set(suspender);
            let work = (*this).work.get();
            let Work::Todo(f) = mem::replace(&mut *work, Work::Doing) else {
                return;
            };
            let store = (*core).store;
            // A nested call does not find its own, since it is not the store's first.
            let limit = stack_limit((*store).max_wasm_stack());
            let context = (*store).context().as_ptr();
            set_stack_limit(context, limit);
            let inner = &mut *store.cast::<StoreInner<T>>();
            let result = f(&mut StoreContextMut::from_inner(inner));
            *work = Work::Done(result);
        }
    }
}

impl Core {
    /// Runs the fiber until it suspends or ends. Its stack goes back to where it came from when it
    /// ends. With no task it is cancelled.
    ///
    /// # Safety
    /// `this` is part of a pinned [`OnFiber`] that has a fiber which has not ended, and is
    /// polled or dropped now. `task` is null or valid until then.
    unsafe fn resume(this: *mut Core, task: *mut Context<'static>) -> Progress {
        bimetal_sys::ensure_signal_stack();
        // SAFETY: the store is ours but for the fiber; the fiber does not look at `fiber` and
        // `parked`, nor changes the record after its start.
        unsafe {
            let Some(mut fiber) = (*this).fiber.take() else {
                return Progress::Returned;
            };
            let store = (*this).store;
            let record = &raw const (*this).record;
            let context = (*store).context().as_ptr();
            let below = Below::here(context);
            (*record).task.set(task);
            (*record).below.set(below.newest());
            if let Some(parked) = (*this).parked.take() {
                parked.unpark(&below, context);
            }
            let outer = mem::replace(&mut (*store).fiber, Current(record));
            let progress = fiber.resume();
            (*store).fiber = outer;
            if let Progress::Suspended = progress {
                (*this).parked = Some(Parked::park(context));
            }
            below.restore(context);
            match progress {
                Progress::Suspended => (*this).fiber = Some(fiber),
                _ => (*store).engine().fiber_stacks().put(fiber.into_stack()),
            }
            progress
        }
    }
}

impl<T: 'static, F, R> Future for OnFiber<'_, T, F, R>
where
    F: FnOnce(&mut StoreContextMut<'_, T>) -> R,
{
    type Output = Result<R>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Result<R>> {
        // SAFETY: nothing is moved out but the result.
        let this: *mut Self = unsafe { self.get_unchecked_mut() };
        // SAFETY: pinned, and only touched by the fiber while `resume` runs it. The task's
        // lifetime is forgotten, but it is only used during this call.
        let progress = unsafe {
            if (*this).core.fiber.is_none() {
                match &*(*this).work.get() {
                    Work::Todo(_) => {}
                    _ => panic!("a future was polled after it was ready"),
                }
                if let Err(error) = Self::start(this) {
                    *(*this).work.get() = Work::Doing;
                    return Poll::Ready(Err(error));
                }
            }
            Core::resume(&raw mut (*this).core, ptr::from_mut(task).cast())
        };
        match progress {
            Progress::Suspended => Poll::Pending,
            Progress::Panicked(payload) => std::panic::resume_unwind(payload),
            Progress::Returned => {
                // SAFETY: the fiber has ended.
                let work = unsafe { &mut *(*this).work.get() };
                match mem::replace(work, Work::Doing) {
                    Work::Done(result) => Poll::Ready(Ok(result)),
                    _ => Poll::Ready(Err(Error::msg(
                        "a fiber ended without a result (a bug of the runtime)",
                    ))),
                }
            }
        }
    }
}

impl<T: 'static, F, R> Drop for OnFiber<'_, T, F, R> {
    fn drop(&mut self) {
        if self.core.fiber.is_none() {
            return;
        }
        // SAFETY: the fiber is suspended; we are dropped where we were pinned.
        let progress = unsafe { Core::resume(&raw mut self.core, ptr::null_mut()) };
        if let Progress::Panicked(payload) = progress
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(payload);
        }
        debug_assert!(
            self.core.fiber.is_none(),
            "nothing waits when it is cancelled"
        );
    }
}
