//! Hardware faults as an ordinary way for generated code to stop.
//!
//! The handlers for SIGSEGV, SIGBUS, SIGILL and SIGFPE ask one function of the engine whether the
//! fault is a trap of wasm code. If so they change the interrupted registers and return, and the
//! thread continues at the host entry. If not, the fault goes to whoever handled the signal before
//! us, as if we were not there: with its mask and flags, or to the system's default, which ends the
//! process with the right signal and core dump.
//!
//! Everything that runs in a handler is async-signal-safe: atomics, system calls, no allocation, no
//! locks, and `errno` is kept. The signal is blocked meanwhile, so a fault in the handler itself
//! ends the process instead of recursing. Handlers run on an alternate stack, since a
//! foreign thread's own stack may be what is exhausted.
//!
//! It does not look for handlers that somebody installs later in our place, nor at SIGTRAP: traps
//! of generated code are `ud2` and `udf`, which are SIGILL.

use std::fmt;
use std::marker::PhantomData;
use std::mem::{self, MaybeUninit};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Once, OnceLock};

use libc::{c_int, c_void, siginfo_t, ucontext_t};

use super::context;
use super::memory::{Reservation, page_size};

/// Which signal it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// SIGSEGV: an access to memory that is not accessible.
    Segv,
    /// SIGBUS: an access to memory that cannot be provided, or misaligned.
    Bus,
    /// SIGILL: an instruction that is none, as those that traps are made of.
    Ill,
    /// SIGFPE: an integer division that has no result.
    Fpe,
}

/// A hardware fault on this thread, seen from inside of the signal handler.
pub struct Fault<'a> {
    kind: FaultKind,
    address: Option<usize>,
    context: *const ucontext_t,
    lifetime: PhantomData<&'a ucontext_t>,
}

/// What to do about a [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Let those handle it who did so before.
    NotOurs,
    /// Continue there. All other registers keep what the faulting code left in them.
    At {
        /// The next instruction.
        pc: usize,
        /// The stack pointer.
        sp: usize,
        /// The frame pointer.
        fp: usize,
    },
}

/// Decides about a fault. It runs in a signal handler, so it must be async-signal-safe, and it must
/// not unwind.
pub type FaultHandler = unsafe fn(&Fault<'_>) -> Resume;

impl Fault<'_> {
    /// Which signal it was.
    pub fn kind(&self) -> FaultKind {
        self.kind
    }

    /// The instruction that faulted.
    pub fn pc(&self) -> usize {
        context::pc(self.context())
    }

    /// The stack pointer at the fault.
    pub fn sp(&self) -> usize {
        context::sp(self.context())
    }

    /// The frame pointer at the fault.
    pub fn fp(&self) -> usize {
        context::fp(self.context())
    }

    /// The address whose access failed, if it was an access and the processor tells.
    pub fn address(&self) -> Option<usize> {
        self.address
    }

    fn context(&self) -> &ucontext_t {
        // SAFETY: the signal handler that made `self` has a valid one as long as `self` lives.
        unsafe { &*self.context }
    }
}

impl fmt::Debug for Fault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("kind", &self.kind)
            .field("pc", &format_args!("{:#x}", self.pc()))
            .field("sp", &format_args!("{:#x}", self.sp()))
            .field("fp", &format_args!("{:#x}", self.fp()))
            .field("address", &format_args!("{:#x?}", self.address))
            .finish()
    }
}

const SIGNALS: [(c_int, FaultKind); 4] = [
    (libc::SIGSEGV, FaultKind::Segv),
    (libc::SIGBUS, FaultKind::Bus),
    (libc::SIGILL, FaultKind::Ill),
    (libc::SIGFPE, FaultKind::Fpe),
];

/// Who handled each of [`SIGNALS`] before us.
static PREVIOUS: [Previous; SIGNALS.len()] = [const { Previous::new() }; SIGNALS.len()];

static HANDLER: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Sets what is asked about faults in this process, and installs the signal handlers the first
/// time. Of several calls the last one counts.
///
/// # Panics
/// If the system refuses to install a handler, which it has no reason for.
pub fn install_fault_handler(handler: FaultHandler) {
    static INSTALLED: Once = Once::new();
    HANDLER.store(handler as *mut (), Ordering::Release);
    INSTALLED.call_once(|| {
        for ((signal, _), previous) in SIGNALS.iter().zip(&PREVIOUS) {
            // Known before ours can be called, which is at once.
            let action = exchange_action(*signal, None);
            previous.action.get_or_init(|| action);
            // SAFETY: all zeros is a value of this structure.
            let mut action: libc::sigaction = unsafe { mem::zeroed() };
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            exchange_action(*signal, Some(&action));
        }
    });
}

/// Reads and, with an argument, sets the action of a signal.
fn exchange_action(signal: c_int, action: Option<&libc::sigaction>) -> libc::sigaction {
    let mut old = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: both pointers are valid or null; the only handler that is ever set here is
    // `on_signal`, which is written to be one.
    let result = unsafe {
        libc::sigaction(
            signal,
            action.map_or(ptr::null(), ptr::from_ref),
            old.as_mut_ptr(),
        )
    };
    assert_eq!(result, 0, "sigaction of signal {signal} failed");
    // SAFETY: the call succeeded, so it was written.
    unsafe { old.assume_init() }
}

/// The signal handler.
unsafe extern "C" fn on_signal(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the location is valid for this thread for ever.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: as the system calls a handler that was installed with SA_SIGINFO.
    unsafe { handle(signal, info, context) };
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// # Safety
/// The arguments must be those that the system passes to a handler.
unsafe fn handle(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let Some(index) = SIGNALS.iter().position(|entry| entry.0 == signal) else {
        return;
    };
    // SAFETY: the system passes a valid one.
    let code = unsafe { (*info).si_code };
    // Codes from 1 on are the processor's; others say that a process sent the signal.
    let sent = code <= 0;
    let handler = HANDLER.load(Ordering::Acquire);
    if !sent && !handler.is_null() {
        let kind = SIGNALS[index].1;
        let access = matches!(kind, FaultKind::Segv | FaultKind::Bus);
        let fault = Fault {
            kind,
            // With SI_KERNEL (a non-canonical address on x86-64) the address is not known.
            address: (access && code != libc::SI_KERNEL)
                // SAFETY: these signals have this field.
                .then(|| unsafe { (*info).si_addr() }.addr()),
            context: context.cast(),
            lifetime: PhantomData,
        };
        // SAFETY: only `install_fault_handler` stores here, functions of this type.
        let handler = unsafe { mem::transmute::<*mut (), FaultHandler>(handler) };
        // SAFETY: it was passed to `install_fault_handler` to be called here.
        if let Resume::At { pc, sp, fp } = unsafe { handler(&fault) } {
            // SAFETY: the system passes a valid one, and `fault` is not used any more.
            context::resume(unsafe { &mut *context.cast() }, pc, sp, fp);
            return;
        }
    }
    // SAFETY: as this function.
    unsafe { PREVIOUS[index].handle(signal, info, context, sent) };
}

struct Previous {
    action: OnceLock<libc::sigaction>,
    /// An action with SA_RESETHAND was called once.
    spent: AtomicBool,
}

impl Previous {
    const fn new() -> Previous {
        Previous {
            action: OnceLock::new(),
            spent: AtomicBool::new(false),
        }
    }

    /// Does what would have happened without us.
    ///
    /// # Safety
    /// The first three arguments must be those that the system passes to a handler.
    unsafe fn handle(&self, signal: c_int, info: *mut siginfo_t, context: *mut c_void, sent: bool) {
        let Some(action) = self.action.get() else {
            return default_action(signal, sent);
        };
        let handler = action.sa_sigaction;
        if handler == libc::SIG_IGN && sent {
            return;
        }
        let once = action.sa_flags & libc::SA_RESETHAND != 0;
        if handler == libc::SIG_DFL
            // The system lets nobody ignore a fault of the processor.
            || handler == libc::SIG_IGN
            || (once && self.spent.swap(true, Ordering::AcqRel))
        {
            return default_action(signal, sent);
        }

        let mut interrupted = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sets are valid or written by the first call; the handler is called as the system
        // would call it, with its signals blocked, its own unless it has SA_NODEFER.
        unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, &action.sa_mask, interrupted.as_mut_ptr());
            if action.sa_flags & libc::SA_NODEFER != 0
                && libc::sigismember(&action.sa_mask, signal) == 0
            {
                let mut own = MaybeUninit::<libc::sigset_t>::uninit();
                libc::sigemptyset(own.as_mut_ptr());
                libc::sigaddset(own.as_mut_ptr(), signal);
                libc::pthread_sigmask(libc::SIG_UNBLOCK, own.as_ptr(), ptr::null_mut());
            }
            if action.sa_flags & libc::SA_SIGINFO != 0 {
                let handler = mem::transmute::<
                    usize,
                    unsafe extern "C" fn(c_int, *mut siginfo_t, *mut c_void),
                >(handler);
                handler(signal, info, context);
            } else {
                let handler = mem::transmute::<usize, unsafe extern "C" fn(c_int)>(handler);
                handler(signal);
            }
            libc::pthread_sigmask(libc::SIG_SETMASK, interrupted.as_ptr(), ptr::null_mut());
        }
    }
}

/// Lets the signal end the process: after the handler returns, the instruction faults again, or
/// the signal that was sent arrives again.
fn default_action(signal: c_int, sent: bool) {
    // SAFETY: zeros, with SIG_DFL, are a valid action, and `sigaction` and `raise` may be called
    // in a handler.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = libc::SIG_DFL;
        libc::sigaction(signal, &action, ptr::null_mut());
        if sent {
            libc::raise(signal);
        }
    }
}

/// Makes sure that this thread has an alternate stack on which signal handlers, ours and those
/// before ours, have enough room. Costs something once per thread, and is undone when it ends. If
/// there is no memory for one, things stay as they are.
#[inline]
pub fn ensure_signal_stack() {
    thread_local! {
        static STACK: Option<SignalStack> = SignalStack::install();
    }
    // While thread-locals are torn down there is none any more, and that is all right.
    let _ = STACK.try_with(|_| ());
}

/// An alternate stack above an inaccessible page.
struct SignalStack(Reservation);

impl SignalStack {
    /// Room for our handler and one that prints a backtrace, besides what the system puts there
    /// (whose size is that of the processor's registers).
    const ROOM: usize = 128 << 10;
    /// Below this, the room that somebody else provided is not enough.
    const ENOUGH: usize = 32 << 10;

    fn install() -> Option<SignalStack> {
        // SAFETY: it takes a number and returns a number, 0 if it is not known.
        let frame = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
        let frame = frame.max(libc::MINSIGSTKSZ);
        let current = current_stack()?;
        if current.ss_flags & libc::SS_DISABLE == 0 && current.ss_size >= Self::ENOUGH + frame {
            return None;
        }
        let size = (Self::ROOM + frame).next_multiple_of(page_size());
        let memory = Reservation::new(page_size() + size).ok()?;
        memory.make_accessible(page_size(), size).ok()?;
        let stack = libc::stack_t {
            ss_sp: memory.base().wrapping_add(page_size()).cast(),
            ss_flags: 0,
            ss_size: size,
        };
        // SAFETY: the memory is accessible and belongs to this thread until `drop` takes it away.
        // The call fails if this thread is on its alternate stack now, and that is all right.
        let installed = unsafe { libc::sigaltstack(&stack, ptr::null_mut()) } == 0;
        installed.then_some(SignalStack(memory))
    }
}

impl Drop for SignalStack {
    fn drop(&mut self) {
        let Some(current) = current_stack() else {
            return;
        };
        if current.ss_sp.cast() == self.0.base().wrapping_add(page_size()) {
            // Not the one before ours: its owner may have freed it.
            let none = libc::stack_t {
                ss_sp: ptr::null_mut(),
                ss_flags: libc::SS_DISABLE,
                ss_size: libc::SIGSTKSZ,
            };
            // SAFETY: it takes the memory of `self` away from the system before it is unmapped.
            unsafe { libc::sigaltstack(&none, ptr::null_mut()) };
        }
    }
}

fn current_stack() -> Option<libc::stack_t> {
    let mut current = MaybeUninit::<libc::stack_t>::uninit();
    // SAFETY: it writes to `current` if it succeeds.
    let result = unsafe { libc::sigaltstack(ptr::null(), current.as_mut_ptr()) };
    // SAFETY: it succeeded.
    (result == 0).then(|| unsafe { current.assume_init() })
}
