//! Executable memory, faults in it, and the stubs, with hand-assembled code.

use std::cell::Cell;
use std::io::ErrorKind;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, OnceLock};
use std::thread;

use bimetal_abi::{VmContextHeader, VmHostContext, VmStoreContext};
use bimetal_sys::{
    CodeRegion, Fault, FaultKind, MAX_LAZY_STUBS, Reservation, Resume, ReturnArea,
    ensure_signal_stack, install_fault_handler, interrupt_stub, lazy_host_stub, lazy_stub,
    lazy_stubs, next_frame, page_size, raise_stub, resume_at_entry, set_host_resolver,
    set_interrupt_resolver, set_lazy_resolver, text_lazy_stubs,
};

#[cfg(target_arch = "aarch64")]
#[path = "machine/aarch64.rs"]
mod machine;
#[cfg(target_arch = "x86_64")]
#[path = "machine/x86_64.rs"]
mod machine;

/// Argument registers, a stack argument, the frame pointer and the return address at a call.
#[repr(C)]
#[derive(Clone, Debug, Default, PartialEq)]
struct Registers {
    integers: [u64; 7],
    stack: u64,
    vectors: [[u64; 2]; 8],
    frame: u64,
    return_address: u64,
}

impl Registers {
    /// All different.
    fn pattern() -> Registers {
        let mut registers = Registers::default();
        for (i, value) in registers.integers[..machine::INTEGERS]
            .iter_mut()
            .enumerate()
        {
            *value = 0x1111_1111_1111_1111 * (i as u64 + 1);
        }
        registers.stack = 0xabcd_ef01_2345_6789;
        for (i, value) in registers.vectors.iter_mut().enumerate() {
            *value = [
                0xff00_0000_0000_0000 + i as u64,
                0x7700_0000_0000_0000 + i as u64,
            ];
        }
        registers
    }
}

fn store_context() -> VmStoreContext {
    VmStoreContext::new(ptr::null())
}

fn header(store: *mut VmStoreContext) -> VmContextHeader {
    VmContextHeader {
        magic: VmContextHeader::MAGIC,
        reserved: 0,
        store,
        builtins: ptr::null(),
        entry: ptr::null(),
        type_ids: ptr::null(),
        instance: ptr::null_mut(),
    }
}

/// Runs `body` as wasm of `store`: `None` if it was left by a trap. `body` must own nothing.
fn enter<F: FnMut()>(store: *mut VmStoreContext, mut body: F) -> Option<()> {
    unsafe extern "C" fn run<F: FnMut()>(body: *mut u8) {
        // SAFETY: `enter` passes a pointer to a body of this type.
        unsafe { (*body.cast::<F>())() }
    }
    // SAFETY: the store is valid, and nothing in the frames that a trap abandons is dropped.
    let returned = unsafe { machine::enter(store, run::<F>, (&raw mut body).cast()) };
    match returned {
        0 => None,
        1 => Some(()),
        other => panic!("resumed in a bad state: {other:#x}"),
    }
}

fn call(code: *const u8, arguments: &Registers) -> (u64, Registers) {
    let mut seen = Registers::default();
    // SAFETY: the tests pass code that follows the convention.
    let result = unsafe { machine::call(code, arguments, &mut seen) };
    (result, seen)
}

fn run(code: *const u8) -> u32 {
    // SAFETY: the tests pass code of this type.
    unsafe { mem::transmute::<*const u8, extern "C" fn() -> u32>(code)() }
}

#[test]
fn threads_append_and_run_each_others_code() {
    const THREADS: u32 = 8;
    const FUNCTIONS: u32 = 300;
    let region = CodeRegion::new(1 << 20).unwrap();
    let barrier = Barrier::new(THREADS as usize);
    let published = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for t in 0..THREADS {
            let (region, barrier, published) = (&region, &barrier, &published);
            scope.spawn(move || {
                barrier.wait();
                for i in 0..FUNCTIONS {
                    let value = t << 16 | i;
                    let align = 1 << (4 + i % 4);
                    let code = region.append(&machine::returning(value), align).unwrap();
                    assert!(code.addr().is_multiple_of(align));
                    let other = {
                        let mut published = published.lock().unwrap();
                        published.push((code.addr(), value));
                        let len = published.len();
                        published[i as usize * 7919 % len]
                    };
                    assert_eq!(run(ptr::with_exposed_provenance(other.0)), other.1);
                }
            });
        }
    });
    let published = published.into_inner().unwrap();
    assert_eq!(published.len(), (THREADS * FUNCTIONS) as usize);
    for (code, value) in published {
        assert!(code >= region.base().addr());
        assert!(code < region.base().addr() + region.used());
        assert_eq!(run(ptr::with_exposed_provenance(code)), value);
    }
}

#[test]
fn a_region_that_is_shown_as_a_jits_is_the_same_elsewhere() {
    let region = CodeRegion::new(1 << 20).unwrap();
    let before = region.base().addr();
    let region = region.shown_as_jit().unwrap();
    assert_ne!(region.base().addr(), before);
    let code = region.append(&machine::returning(42), 16).unwrap();
    assert_eq!(run(code), 42);
    let error = region.shown_as_jit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_region_is_filled_within_its_bounds() {
    let page = page_size();
    let region = CodeRegion::new(2 * page - 1).unwrap();
    assert_eq!(region.capacity(), 2 * page);
    assert_eq!(region.reserve(100, 16).unwrap(), 0);
    assert_eq!(region.reserve(page, page).unwrap(), page);
    assert_eq!(region.used(), 2 * page);
    assert_eq!(
        region.reserve(1, 1).unwrap_err().kind(),
        ErrorKind::OutOfMemory
    );
    assert_eq!(
        region.append(&[0], 1).unwrap_err().kind(),
        ErrorKind::OutOfMemory
    );
    assert_eq!(
        region.reserve(0, 3).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        region.reserve(0, 2 * page).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    region.write(page + 16, &machine::returning(77)).unwrap();
    assert_eq!(run(region.base().wrapping_add(page + 16)), 77);

    let region = CodeRegion::new(page).unwrap();
    region.reserve(16, 16).unwrap();
    assert!(region.write(0, &[0; 17]).is_err());
    assert!(region.write(usize::MAX, &[0; 2]).is_err());
    assert_eq!(
        region.reserve(usize::MAX, 1).unwrap_err().kind(),
        ErrorKind::OutOfMemory
    );
}

/// Regions are filled again when what was in them is gone. No processor may run the old code then,
/// not even one that ran it a moment ago.
#[test]
fn code_in_the_place_of_other_code_is_the_new_one() {
    const ROUNDS: u32 = 200;
    let region = &CodeRegion::new(page_size()).unwrap();
    let offset = region.reserve(page_size(), page_size()).unwrap();
    let barrier = &Barrier::new(3);
    let run = move || run(region.base().wrapping_add(offset));
    thread::scope(|scope| {
        // What they saw is looked at in the end: who panics leaves the others at the barrier.
        let others = [(); 2].map(|()| {
            scope.spawn(move || {
                let round = |_| {
                    barrier.wait();
                    let seen = run();
                    barrier.wait();
                    seen
                };
                (0..ROUNDS).map(round).collect::<Vec<u32>>()
            })
        });
        let mut own = Vec::new();
        for round in 0..ROUNDS {
            let discarded = round % 2 == 1 || region.discard(offset, page_size()).is_ok();
            let written = region.write(offset, &machine::returning(round)).is_ok();
            own.push(if discarded && written {
                run()
            } else {
                u32::MAX
            });
            barrier.wait();
            barrier.wait();
        }
        let expected: Vec<u32> = (0..ROUNDS).collect();
        assert_eq!(own, expected);
        for other in others {
            assert_eq!(other.join().unwrap(), expected);
        }
    });
}

#[test]
fn a_forked_child_cannot_write_its_parents_code() {
    let region = CodeRegion::new(page_size()).unwrap();
    let code = region.append(&machine::returning(5), 16).unwrap();
    // SAFETY: the child calls nothing that needs another thread, and ends with `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = region
            .write(0, &[0; 4])
            .is_err_and(|error| error.kind() == ErrorKind::Unsupported);
        let status = if refused && run(code) == 5 { 0 } else { 1 };
        // SAFETY: ends the child without running what the parent registered.
        unsafe { libc::_exit(status) };
    }
    let mut status = 0;
    // SAFETY: `status` is a place to write to.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    assert_eq!(run(code), 5);
}

#[test]
fn nothing_is_writable_and_executable() {
    let region = CodeRegion::new(1 << 20).unwrap();
    region.append(&machine::returning(1), 16).unwrap();
    lazy_stubs(10, ReturnArea::Absent).unwrap();
    install_fault_handler(on_fault);
    ensure_signal_stack();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut ours = 0;
    for line in maps.lines() {
        let rights = line.split(' ').nth(1).unwrap();
        assert!(!(rights.contains('w') && rights.contains('x')), "{line}");
        if line.contains("memfd:bimetal-code") {
            assert_eq!(rights, "r-xs", "{line}");
            ours += 1;
        }
    }
    assert!(ours >= 2);
}

// Faults.

/// The code that [`on_fault`] answers for.
static TRAPPING_START: AtomicUsize = AtomicUsize::new(0);
static TRAPPING_END: AtomicUsize = AtomicUsize::new(0);

type Seen = (FaultKind, usize, Option<usize>, bool);

thread_local! {
    static STORE: Cell<*const VmStoreContext> = const { Cell::new(ptr::null()) };
    static FAULT: Cell<Option<Seen>> = const { Cell::new(None) };
}

unsafe fn on_fault(fault: &Fault<'_>) -> Resume {
    let pc = fault.pc();
    let store = STORE.get();
    let ours = TRAPPING_START.load(Ordering::SeqCst)..TRAPPING_END.load(Ordering::SeqCst);
    if !ours.contains(&pc) || store.is_null() {
        return Resume::NotOurs;
    }
    // SAFETY: the thread set it to a store that lives until it is set to null.
    let store = unsafe { &*store };
    // A leaf of aarch64 that was called last of all has no frame: there both are the same.
    let on_stack = fault.sp() <= store.entry_sp && store.entry_sp < fault.sp() + (1 << 20);
    FAULT.set(Some((fault.kind(), pc, fault.address(), on_stack)));
    Resume::At {
        pc: store.entry_handler,
        sp: store.entry_sp,
        fp: store.entry_fp,
    }
}

/// Code whose faults are traps, for the whole process.
fn trapping_code() -> &'static CodeRegion {
    static REGION: OnceLock<CodeRegion> = OnceLock::new();
    REGION.get_or_init(|| {
        let region = CodeRegion::new(1 << 16).unwrap();
        let start = region.base().addr();
        TRAPPING_START.store(start, Ordering::SeqCst);
        TRAPPING_END.store(start + region.capacity(), Ordering::SeqCst);
        install_fault_handler(on_fault);
        region
    })
}

/// Calls `code(argument)` and returns the fault that it ended with.
fn trap(code: *const u8, argument: usize) -> Option<Seen> {
    ensure_signal_stack();
    let mut store = store_context();
    let store = &raw mut store;
    STORE.set(store);
    FAULT.set(None);
    let returned = enter(store, || {
        // SAFETY: the tests pass code of this type.
        unsafe { mem::transmute::<*const u8, extern "C" fn(usize) -> u64>(code)(argument) };
    });
    STORE.set(ptr::null());
    let fault = FAULT.take();
    assert_eq!(returned.is_none(), fault.is_some());
    fault
}

#[test]
fn faults_resume_at_the_entry() {
    let region = trapping_code();
    let (bytes, offset) = machine::LOAD;
    let load = region.append(bytes, 16).unwrap();
    let others: Vec<_> = machine::FAULTS
        .iter()
        .map(|&(bytes, kind)| (region.append(bytes, 16).unwrap().addr(), kind))
        .collect();
    let (load, others) = (load.addr(), &others);
    let guard = &Reservation::new(1 << 20).unwrap();
    guard.make_accessible(0, page_size()).unwrap();

    // Again and again: the signal must not stay blocked. On several threads at once.
    thread::scope(|scope| {
        for t in 0..4 {
            scope.spawn(move || {
                for i in 0..500 {
                    // Aligned, as emulators are not exact about others.
                    let address = guard.base().addr() + page_size() + 8 * (t * 1000 + i);
                    let seen = trap(ptr::with_exposed_provenance(load), address);
                    let expected = (FaultKind::Segv, load + offset, Some(address), true);
                    assert_eq!(seen, Some(expected));
                    assert_eq!(
                        trap(
                            ptr::with_exposed_provenance(load),
                            guard.base().expose_provenance()
                        ),
                        None
                    );
                    for &(code, kind) in others {
                        let seen = trap(ptr::with_exposed_provenance(code), 0).unwrap();
                        assert_eq!(seen.0, kind);
                        assert_eq!(seen.2, None);
                        assert!(seen.1 - code < 16);
                    }
                }
            });
        }
    });
}

#[test]
fn a_bus_error_and_a_wild_address() {
    let (bytes, _) = machine::LOAD;
    let load = trapping_code().append(bytes, 16).unwrap();
    let file = tempfile();
    // SAFETY: a new mapping that nobody else knows.
    let beyond = unsafe {
        rustix::mm::mmap(
            ptr::null_mut(),
            page_size(),
            rustix::mm::ProtFlags::READ,
            rustix::mm::MapFlags::SHARED,
            &file,
            0,
        )
    }
    .unwrap();
    let seen = trap(load, beyond.addr()).unwrap();
    assert_eq!((seen.0, seen.2), (FaultKind::Bus, Some(beyond.addr())));

    // Not canonical on x86-64, where the system does not say which address it was.
    let seen = trap(load, 0x1234_5678_9abc_def0).unwrap();
    assert_eq!(seen.0, FaultKind::Segv);
}

fn tempfile() -> std::os::fd::OwnedFd {
    rustix::fs::memfd_create("empty", rustix::fs::MemfdFlags::CLOEXEC).unwrap()
}

#[test]
fn signal_stacks_are_big_enough_and_go_with_their_thread() {
    fn current() -> libc::stack_t {
        let mut stack = mem::MaybeUninit::uninit();
        // SAFETY: it writes to `stack`.
        let result = unsafe { libc::sigaltstack(ptr::null(), stack.as_mut_ptr()) };
        assert_eq!(result, 0);
        // SAFETY: the call succeeded.
        unsafe { stack.assume_init() }
    }
    let mapped = |address: usize| {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().any(|line| {
            let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
            let parse = |text| usize::from_str_radix(text, 16).unwrap();
            (parse(start)..parse(end)).contains(&address)
        })
    };
    for _ in 0..20 {
        thread::spawn(|| {
            ensure_signal_stack();
            let stack = current();
            assert!(stack.ss_size >= 64 << 10);
            ensure_signal_stack();
            assert_eq!(current().ss_sp, stack.ss_sp);
        })
        .join()
        .unwrap();
    }
    let address = thread::spawn(move || {
        ensure_signal_stack();
        let address = current().ss_sp.addr();
        assert!(mapped(address));
        address
    });
    // It may be mapped for something else again, but then not as this.
    assert_ne!(address.join().unwrap(), current().ss_sp.addr());

    thread::spawn(|| {
        let memory = Reservation::new(1 << 20).unwrap();
        memory.make_accessible(0, 1 << 20).unwrap();
        let own = libc::stack_t {
            ss_sp: memory.base().cast(),
            ss_flags: 0,
            ss_size: 1 << 20,
        };
        let mut before = mem::MaybeUninit::uninit();
        // SAFETY: the memory lives until the stack is replaced again below.
        assert_eq!(unsafe { libc::sigaltstack(&own, before.as_mut_ptr()) }, 0);
        ensure_signal_stack();
        assert_eq!(current().ss_sp, own.ss_sp);
        // SAFETY: what was there before is valid still.
        let result = unsafe { libc::sigaltstack(before.as_ptr(), ptr::null_mut()) };
        assert_eq!(result, 0);
    })
    .join()
    .unwrap();
}

// Stubs. What the resolvers were asked, and what they answer, are of the asking thread.

thread_local! {
    static ASKED: Cell<Option<(usize, u32)>> = const { Cell::new(None) };
    static ANSWER: Cell<*const u8> = const { Cell::new(ptr::null()) };
}

unsafe extern "C" fn resolver(callee: *mut VmContextHeader, index: u32) -> *const u8 {
    ASKED.set(Some((callee.addr(), index)));
    let answer = ANSWER.get();
    // SAFETY: it overwrites only what a function may.
    unsafe { clobbering(answer) }
}

unsafe extern "C" fn host_resolver(host: *mut VmHostContext) -> *const u8 {
    ASKED.set(Some((host.addr(), u32::MAX)));
    let answer = ANSWER.get();
    // SAFETY: as above.
    unsafe { clobbering(answer) }
}

unsafe extern "C" fn interrupt_resolver(callee: *mut VmContextHeader) -> *const u8 {
    ASKED.set(Some((callee.addr(), u32::MAX)));
    let answer = ANSWER.get();
    // SAFETY: as above.
    unsafe { clobbering(answer) }
}

/// Returns `answer` with all other registers that a function may overwrite overwritten: the last
/// thing that it does is to call [`machine::clobber`], which keeps the result's register only.
#[inline(always)]
unsafe fn clobbering(answer: *const u8) -> *const u8 {
    // SAFETY: a function of this type as far as its caller can tell, since it keeps the result's
    // register on entry out of what it overwrites.
    unsafe { machine::clobber() };
    answer
}

#[test]
fn stubs_keep_all_arguments() {
    set_lazy_resolver(resolver);
    set_host_resolver(host_resolver);
    set_interrupt_resolver(interrupt_resolver);
    for area in [ReturnArea::Absent, ReturnArea::Present] {
        let mut store = store_context();
        let store = &raw mut store;
        let mut caller = header(store);
        let mut callee = header(ptr::null_mut());
        let (callee_at, caller_at) = machine::contexts(area);
        let mut arguments = Registers::pattern();
        arguments.integers[callee_at] = (&raw mut callee).expose_provenance() as u64;
        arguments.integers[caller_at] = (&raw mut caller).expose_provenance() as u64;

        let mut check = |stub: *const u8, index: u32| {
            ANSWER.set(machine::echo as *const u8);
            let (_, seen) = call(stub, &arguments);
            assert_eq!(ASKED.take(), Some(((&raw mut callee).addr(), index)));
            // SAFETY: nobody else uses it now.
            let exit = unsafe { ((*store).exit_fp as u64, (*store).exit_pc as u64) };
            assert_eq!(exit, (seen.frame, seen.return_address));
            let expected = Registers {
                frame: seen.frame,
                return_address: seen.return_address,
                ..arguments.clone()
            };
            assert_eq!(seen, expected, "{area:?} {index}");
        };
        let text = text_lazy_stubs(area);
        let first_ones = 0..200;
        let about_the_text = text.saturating_sub(200)..text + 10;
        let others = [4095, 4096, 65_535, 65_536, MAX_LAZY_STUBS - 1];
        for index in first_ones.chain(about_the_text).chain(others) {
            check(lazy_stub(index, area).unwrap(), index);
        }
        check(lazy_host_stub(area), u32::MAX);
        check(interrupt_stub(area), u32::MAX);

        // There is no code: the caller's store resumes at its entry.
        ANSWER.set(raise_stub(area));
        let stub = lazy_stub(7, area).unwrap();
        let returned = enter(store, || {
            call(stub, &arguments);
        });
        assert_eq!(returned, None);
        assert_eq!(ASKED.take(), Some(((&raw mut callee).addr(), 7)));
    }
}

#[test]
fn stubs_are_one_array() {
    let stubs = lazy_stubs(100_000, ReturnArea::Absent).unwrap();
    assert!(stubs.count() >= 100_000);
    for index in (0..100_000).step_by(997) {
        assert_eq!(
            lazy_stub(index, ReturnArea::Absent).unwrap(),
            stubs.get(index)
        );
    }
    let few = lazy_stubs(10, ReturnArea::Absent).unwrap();
    assert_eq!(few.count(), text_lazy_stubs(ReturnArea::Absent));
    assert_eq!(few.get(9), stubs.get(9));
    let of = |area| lazy_stub(0, area).unwrap();
    // Elsewhere the area's address has a register to itself, and the stubs are the same.
    let differ = cfg!(target_arch = "x86_64");
    assert_eq!(of(ReturnArea::Present) != of(ReturnArea::Absent), differ);
    lazy_stubs(0, ReturnArea::Present).unwrap();
    lazy_stubs(MAX_LAZY_STUBS, ReturnArea::Present).unwrap();
    let error = lazy_stubs(MAX_LAZY_STUBS + 1, ReturnArea::Absent).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(lazy_stub(u32::MAX, ReturnArea::Absent).is_err());
}

#[test]
fn results_decide_about_a_return_area() {
    assert_eq!(ReturnArea::for_results(8, 8), ReturnArea::Absent);
    assert_eq!(ReturnArea::for_results(9, 0), ReturnArea::Present);
    assert_eq!(ReturnArea::for_results(0, 9), ReturnArea::Present);
}

unsafe extern "C" fn builtin(vmctx: *mut VmContextHeader) -> u64 {
    // SAFETY: the test passes a valid one.
    let store = unsafe { &mut *(*vmctx).store };
    if store.fuel != 0 {
        // SAFETY: the test entered with this store, and nothing here is to be dropped.
        unsafe { resume_at_entry(store) };
    }
    // SAFETY: the frame is that of `machine::call`.
    let (_, return_address) = unsafe { next_frame(store.exit_fp) };
    store.fuel = return_address as i64;
    4711
}

bimetal_sys::builtin_stub!(pub(crate) builtin_entry => builtin);

#[test]
fn builtin_stubs_record_the_exit() {
    let mut store = store_context();
    let store = &raw mut store;
    let mut vmctx = header(store);
    let mut arguments = Registers::pattern();
    arguments.integers[0] = (&raw mut vmctx).expose_provenance() as u64;
    let (result, _) = call(builtin_entry as *const u8, &arguments);
    assert_eq!(result, 4711);
    let code = machine::call as *const () as usize;
    // SAFETY: nobody else uses it now.
    let seen = unsafe { &mut *store };
    assert!((code..code + 512).contains(&seen.exit_pc));
    // The frame above is that of a Rust function of this program, not of `machine::call`.
    assert_ne!(seen.fuel, 0);
    assert!(!(code..code + 512).contains(&(seen.fuel as usize)));

    seen.fuel = 1;
    let returned = enter(store, || {
        call(builtin_entry as *const u8, &arguments);
    });
    assert_eq!(returned, None);
}

/// What a host function sees: the contexts, four integers and eight floats.
type Passed = ([usize; 2], [u64; 4], [f64; 8]);

thread_local! {
    static PASSED: Cell<Option<Passed>> = const { Cell::new(None) };
}

#[allow(clippy::too_many_arguments, reason = "as many as there can be")]
unsafe extern "C" fn host_function<T>(
    host: *mut VmContextHeader,
    caller: *mut VmContextHeader,
    a: u64,
    b: u64,
    c: u64,
    d: u64,
    f0: f64,
    f1: f64,
    f2: f64,
    f3: f64,
    f4: f64,
    f5: f64,
    f6: f64,
    f7: f64,
) -> u64 {
    let floats = [f0, f1, f2, f3, f4, f5, f6, f7];
    PASSED.set(Some(([host.addr(), caller.addr()], [a, b, c, d], floats)));
    // SAFETY: the test passes a valid one.
    let store = unsafe { &mut *(*caller).store };
    if store.fuel != 0 {
        // SAFETY: the test entered with this store, and nothing here is to be dropped.
        unsafe { resume_at_entry(store) };
    }
    4711 + size_of::<T>() as u64
}

bimetal_sys::host_stub!(host_entry [T] [where T: Copy] => host_function::<T>);

#[test]
fn host_stubs_pass_all_arguments_and_record_the_exit() {
    let mut store = store_context();
    let store = &raw mut store;
    let (mut host, mut caller) = (header(ptr::null_mut()), header(store));
    let mut arguments = Registers::pattern();
    let (host_at, caller_at) = machine::contexts(ReturnArea::Absent);
    arguments.integers[host_at] = (&raw mut host).expose_provenance() as u64;
    arguments.integers[caller_at] = (&raw mut caller).expose_provenance() as u64;
    let (result, _) = call(host_entry::<u8> as *const u8, &arguments);
    assert_eq!(result, 4712);

    let (contexts, integers, floats) = PASSED.take().unwrap();
    assert_eq!(contexts, [(&raw mut host).addr(), (&raw mut caller).addr()]);
    assert_eq!(integers, arguments.integers[caller_at + 1..][..4]);
    for (seen, passed) in floats.iter().zip(&arguments.vectors) {
        assert_eq!(seen.to_bits(), passed[0]);
    }
    let code = machine::call as *const () as usize;
    // SAFETY: nobody else uses it now.
    let seen = unsafe { &mut *store };
    assert!((code..code + 512).contains(&seen.exit_pc));
    // SAFETY: the frame is that of `machine::call`, which is gone, but its caller's is ours.
    assert_ne!(seen.exit_fp, 0);

    seen.fuel = 1;
    let returned = enter(store, || {
        call(host_entry::<u16> as *const u8, &arguments);
    });
    assert_eq!(returned, None);
}
