//! Faults that are not ours go to whoever handled the signal before, or end the process as they
//! would have. Each case runs in a forked child, the only one that changes signal handlers.

use std::mem;
use std::os::unix::process::ExitStatusExt;
use std::panic;
use std::process::ExitStatus;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use bimetal_sys::{
    Fault, Reservation, Resume, ensure_signal_stack, install_fault_handler, page_size,
};
use libc::{SIGSEGV, SIGUSR1, c_int, c_void, siginfo_t};

/// Runs `case` in a child; it exits with 0 if `case` returns.
fn in_child(case: fn()) -> ExitStatus {
    // SAFETY: the child has one thread; allocation works in it, other locks it does not use.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let no_core = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: takes a valid structure.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &no_core) };
        let status = if panic::catch_unwind(case).is_ok() {
            0
        } else {
            99
        };
        exit(status);
    }
    let mut status = 0;
    // SAFETY: `status` is a place to write to.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    ExitStatus::from_raw(status)
}

fn exit(status: c_int) -> ! {
    // SAFETY: ends the child without running what the parent registered.
    unsafe { libc::_exit(status) }
}

fn set_action(signal: c_int, handler: usize, flags: c_int, mask: &[c_int]) {
    // SAFETY: zeros are a valid action, and the tests pass handlers that fit the flags.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        for &signal in mask {
            libc::sigaddset(&mut action.sa_mask, signal);
        }
        assert_eq!(libc::sigaction(signal, &action, ptr::null_mut()), 0);
    }
}

fn install() {
    unsafe fn not_ours(_: &Fault<'_>) -> Resume {
        Resume::NotOurs
    }
    install_fault_handler(not_ours);
    install_fault_handler(not_ours);
    ensure_signal_stack();
}

/// Reads an address that is not mapped.
fn fault() -> u8 {
    // SAFETY: it faults, which is the point.
    unsafe { ptr::without_provenance::<u8>(0x10).read_volatile() }
}

fn raise(signal: c_int) {
    // SAFETY: sends a signal to this thread.
    unsafe { libc::raise(signal) };
}

fn is_blocked(signal: c_int) -> bool {
    let mut mask = mem::MaybeUninit::uninit();
    // SAFETY: the first call writes to `mask`.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), mask.as_mut_ptr());
        libc::sigismember(mask.as_ptr(), signal) == 1
    }
}

#[test]
fn a_handler_with_information() {
    extern "C" fn handler(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
        // SAFETY: the system passes a valid one.
        let address = unsafe { (*info).si_addr() }.addr();
        exit(
            if signal == SIGSEGV && address == 0x10 && !context.is_null() {
                42
            } else {
                1
            },
        );
    }
    let status = in_child(|| {
        set_action(
            SIGSEGV,
            handler as *const () as usize,
            libc::SA_SIGINFO,
            &[],
        );
        install();
        fault();
    });
    assert_eq!(status.code(), Some(42), "{status}");
}

#[test]
fn a_plain_handler() {
    extern "C" fn handler(signal: c_int) {
        exit(if signal == SIGSEGV { 43 } else { 1 });
    }
    let status = in_child(|| {
        set_action(SIGSEGV, handler as *const () as usize, 0, &[]);
        install();
        fault();
    });
    assert_eq!(status.code(), Some(43), "{status}");
}

#[test]
fn no_handler() {
    let faulted = in_child(|| {
        set_action(SIGSEGV, libc::SIG_DFL, 0, &[]);
        install();
        fault();
    });
    assert_eq!(faulted.signal(), Some(SIGSEGV), "{faulted}");
    let sent = in_child(|| {
        set_action(libc::SIGFPE, libc::SIG_DFL, 0, &[]);
        install();
        raise(libc::SIGFPE);
    });
    assert_eq!(sent.signal(), Some(libc::SIGFPE), "{sent}");
}

#[test]
fn an_ignored_signal() {
    let faulted = in_child(|| {
        set_action(SIGSEGV, libc::SIG_IGN, 0, &[]);
        install();
        fault();
    });
    assert_eq!(faulted.signal(), Some(SIGSEGV), "{faulted}");
    let sent = in_child(|| {
        set_action(SIGSEGV, libc::SIG_IGN, 0, &[]);
        install();
        raise(SIGSEGV);
        raise(SIGSEGV);
    });
    assert_eq!(sent.code(), Some(0), "{sent}");
}

#[test]
fn a_handler_that_mends_the_fault() {
    static PAGE: AtomicUsize = AtomicUsize::new(0);
    static FAULTS: AtomicI32 = AtomicI32::new(0);
    extern "C" fn handler(_: c_int, info: *mut siginfo_t, _: *mut c_void) {
        FAULTS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the system passes a valid one.
        let address = unsafe { (*info).si_addr() };
        if address.addr() != PAGE.load(Ordering::SeqCst) {
            exit(1);
        }
        // SAFETY: the page is the test's.
        unsafe {
            libc::mprotect(address, page_size(), libc::PROT_READ | libc::PROT_WRITE);
            *libc::__errno_location() = 77;
        }
    }
    let status = in_child(|| {
        set_action(
            SIGSEGV,
            handler as *const () as usize,
            libc::SA_SIGINFO,
            &[],
        );
        install();
        let memory = Reservation::new(3 * page_size()).unwrap();
        for i in 0..3 {
            let page = memory.base().wrapping_add(i * page_size());
            PAGE.store(page.expose_provenance(), Ordering::SeqCst);
            // SAFETY: the handler makes the page accessible, and then it is the test's.
            unsafe {
                *libc::__errno_location() = 5;
                page.write_volatile(9);
                assert_eq!(page.read_volatile(), 9);
                assert_eq!(*libc::__errno_location(), 5);
            }
            assert!(!is_blocked(SIGSEGV));
        }
        assert_eq!(FAULTS.load(Ordering::SeqCst), 3);
    });
    assert_eq!(status.code(), Some(0), "{status}");
}

#[test]
fn masks_are_those_of_the_handler() {
    static SEEN: AtomicI32 = AtomicI32::new(-1);
    extern "C" fn handler(_: c_int) {
        let seen = i32::from(is_blocked(SIGSEGV)) | i32::from(is_blocked(SIGUSR1)) << 1;
        SEEN.store(seen, Ordering::SeqCst);
    }
    fn check(flags: c_int, mask: &[c_int], expected: i32) {
        set_action(SIGSEGV, handler as *const () as usize, flags, mask);
        install();
        raise(SIGSEGV);
        assert_eq!(SEEN.load(Ordering::SeqCst), expected);
        assert!(!is_blocked(SIGSEGV) && !is_blocked(SIGUSR1));
    }
    for case in [
        || check(0, &[], 0b01),
        || check(0, &[SIGUSR1], 0b11),
        || check(libc::SA_NODEFER, &[SIGUSR1], 0b10),
        || check(libc::SA_NODEFER, &[SIGSEGV], 0b01),
    ] {
        let status = in_child(case);
        assert_eq!(status.code(), Some(0), "{status}");
    }
}

#[test]
fn a_handler_for_one_time() {
    extern "C" fn handler(_: c_int) {}
    fn start() {
        set_action(
            SIGSEGV,
            handler as *const () as usize,
            libc::SA_RESETHAND,
            &[],
        );
        install();
        raise(SIGSEGV);
    }
    let once = in_child(start);
    assert_eq!(once.code(), Some(0), "{once}");
    let twice = in_child(|| {
        start();
        raise(SIGSEGV);
    });
    assert_eq!(twice.signal(), Some(SIGSEGV), "{twice}");
}

#[test]
fn rust_still_reports_its_own_stack_overflow() {
    #[inline(never)]
    fn recurse(depth: u64) -> u64 {
        let mut space = [depth; 64];
        std::hint::black_box(&mut space);
        if depth == u64::MAX {
            0
        } else {
            recurse(depth + 1) + space[3]
        }
    }
    let status = in_child(|| {
        install();
        // SAFETY: silences the report.
        unsafe { libc::close(2) };
        std::thread::spawn(|| {
            ensure_signal_stack();
            recurse(0)
        })
        .join()
        .unwrap();
    });
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{status}");
}
