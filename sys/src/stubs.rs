//! Code that stands in an entry cell before there is code to run.
//!
//! A *lazy stub* knows the index of its function, keeps all arguments, asks the resolver for the
//! function's code and jumps there. Stubs depend on nothing but the index, so the process has one
//! array of them, which serves the entry tables of all modules. Its beginning is in the program's
//! own text; what is behind that is written when it is first asked for, and never freed. The
//! *host stub* is the same for host functions, whose context says all. *Raise stubs* are what a
//! resolver returns when there is no code to run.
//!
//! Before they ask, stubs record `exit_fp` and `exit_pc` in the store context of the caller, so a
//! resolver that fails can take a backtrace.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use bimetal_abi::{VmContextHeader, VmHostContext};

use crate::arch;
use crate::unix::code::CodeRegion;

/// Finds the code of a function: `(callee context, defined index) -> address`.
///
/// It must not unwind. On failure it puts an error into the store and returns a [`raise_stub`].
pub type LazyResolver = unsafe extern "C" fn(*mut VmContextHeader, u32) -> *const u8;

/// Finds the wasm → host trampoline of a host function; otherwise as [`LazyResolver`].
pub type HostResolver = unsafe extern "C" fn(*mut VmHostContext) -> *const u8;

/// Does what a function has to wait for, and says where the function is; otherwise as
/// [`LazyResolver`], and it may also resume at the store's entry.
pub type InterruptResolver = unsafe extern "C" fn(*mut VmContextHeader) -> *const u8;

/// The number of lazy stubs that there can be: more than a module may have functions.
pub const MAX_LAZY_STUBS: u32 = 1 << 20;

/// Integer arguments (`i32`, `i64`, references) of a host function, without the contexts, that reach a
/// [`host_stub!`](crate::host_stub) in registers.
pub const NATIVE_INTEGERS: usize = 4;

/// Float arguments (`f32`, `f64`) of a host function that reach a [`host_stub!`](crate::host_stub) in
/// registers.
pub const NATIVE_FLOATS: usize = 8;

/// How many of them are in the program's own text: those of the lowest indices, for functions with
/// such a return area. For the others executable memory is needed.
pub const fn text_lazy_stubs(area: ReturnArea) -> u32 {
    arch::text_stubs(area)
}

/// Stubs that are written at once.
const CHUNK: u32 = 4096;

/// Whether a wasm function gets a pointer to the place of its results, in front of all other
/// arguments.
///
/// Generated code passes one if the results do not fit into registers. On x86-64 it moves the
/// contexts to other registers, which a stub must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReturnArea {
    /// All results are in registers.
    Absent,
    /// Some are not.
    Present,
}

impl ReturnArea {
    /// For a function with so many results in integer registers (`i32`, `i64`, references) and in
    /// floating-point registers (`f32`, `f64`, `v128`). On aarch64 the distinction has no effect.
    pub const fn for_results(integers: usize, floats: usize) -> ReturnArea {
        if integers > 8 || floats > 8 {
            ReturnArea::Present
        } else {
            ReturnArea::Absent
        }
    }
}

static LAZY_RESOLVER: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());
static HOST_RESOLVER: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());
static INTERRUPT_RESOLVER: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Sets what lazy stubs ask; before the first of them can be called, and for good.
pub fn set_lazy_resolver(resolver: LazyResolver) {
    LAZY_RESOLVER.store(resolver as *mut (), Ordering::Release);
}

/// Sets what host stubs ask; before the first of them can be called, and for good.
pub fn set_host_resolver(resolver: HostResolver) {
    HOST_RESOLVER.store(resolver as *mut (), Ordering::Release);
}

/// Sets what the interrupt stubs ask; before the first of them can be called, and for good.
pub fn set_interrupt_resolver(resolver: InterruptResolver) {
    INTERRUPT_RESOLVER.store(resolver as *mut (), Ordering::Release);
}

/// Lazy stubs call this.
///
/// # Safety
/// As for the resolver.
pub(crate) unsafe extern "C" fn resolve_lazy(
    callee: *mut VmContextHeader,
    index: u32,
) -> *const u8 {
    let resolver = LAZY_RESOLVER.load(Ordering::Acquire);
    assert!(
        !resolver.is_null(),
        "a lazy stub was called before the resolver was set"
    );
    // SAFETY: only `set_lazy_resolver` stores here, functions of this type; the caller answers
    // for the arguments.
    unsafe { std::mem::transmute::<*mut (), LazyResolver>(resolver)(callee, index) }
}

/// Host stubs call this.
///
/// # Safety
/// As for the resolver.
pub(crate) unsafe extern "C" fn resolve_host(host: *mut VmHostContext) -> *const u8 {
    let resolver = HOST_RESOLVER.load(Ordering::Acquire);
    assert!(
        !resolver.is_null(),
        "a host stub was called before the resolver was set"
    );
    // SAFETY: only `set_host_resolver` stores here, functions of this type; the caller answers
    // for the arguments.
    unsafe { std::mem::transmute::<*mut (), HostResolver>(resolver)(host) }
}

/// Interrupt stubs call this.
///
/// # Safety
/// As for the resolver.
pub(crate) unsafe extern "C" fn resolve_interrupt(callee: *mut VmContextHeader) -> *const u8 {
    let resolver = INTERRUPT_RESOLVER.load(Ordering::Acquire);
    assert!(
        !resolver.is_null(),
        "an interrupt stub was called before the resolver was set"
    );
    // SAFETY: only `set_interrupt_resolver` stores here, functions of this type; the caller answers
    // for the arguments.
    unsafe { std::mem::transmute::<*mut (), InterruptResolver>(resolver)(callee) }
}

/// The lazy stub of the defined function `index`, whose type has such a return area.
///
/// # Errors
/// If `index` is not below [`MAX_LAZY_STUBS`], or the system has no room for code.
pub fn lazy_stub(index: u32, area: ReturnArea) -> io::Result<*const u8> {
    Ok(lazy_stubs(index.saturating_add(1), area)?.get(index))
}

/// The lazy stubs of the defined functions below `count`. Use it to fill an entry table.
///
/// # Errors
/// If `count` is above [`MAX_LAZY_STUBS`], or more than [`text_lazy_stubs`] and the system has no
/// room for code.
pub fn lazy_stubs(count: u32, area: ReturnArea) -> io::Result<LazyStubs> {
    static ARRAYS: [StubArray; 2] = [const { StubArray::new() }; 2];
    let in_text = arch::text_stubs(area);
    if count <= in_text {
        return Ok(LazyStubs {
            area,
            written: ptr::null(),
            count: in_text,
        });
    }
    let array = match area {
        ReturnArea::Absent => &ARRAYS[0],
        ReturnArea::Present => &ARRAYS[1],
    };
    array.with_at_least(count, area)
}

/// The first of the process's lazy stubs.
#[derive(Clone, Copy, Debug)]
pub struct LazyStubs {
    area: ReturnArea,
    /// The first of those that are not in the text.
    written: *const u8,
    count: u32,
}

// SAFETY: the pointer is only an address here, of code that is never freed.
unsafe impl Send for LazyStubs {}
// SAFETY: as above.
unsafe impl Sync for LazyStubs {}

impl LazyStubs {
    /// How many there are, at least as many as were asked for.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The stub of the defined function `index`.
    ///
    /// # Panics
    /// If `index` is not below the count.
    #[inline]
    pub fn get(&self, index: u32) -> *const u8 {
        assert!(index < self.count, "a lazy stub beyond the requested ones");
        match index.checked_sub(arch::text_stubs(self.area)) {
            None => arch::text_stub(self.area, index),
            Some(behind) => self.written.wrapping_add(behind as usize * arch::STUB_SIZE),
        }
    }
}

/// The stub that compiles the wasm → host trampoline of a host function at its first call.
pub fn lazy_host_stub(area: ReturnArea) -> *const u8 {
    arch::host_entry(area)
}

/// Code to be entered in place of a wasm function that has to wait: it keeps all arguments, asks the
/// resolver and jumps to what that says. The area is that of the function.
pub fn interrupt_stub(area: ReturnArea) -> *const u8 {
    arch::interrupt_entry(area)
}

/// Code that ignores its arguments and resumes at the newest host entry of its caller's store, as
/// [`resume_at_entry`](crate::resume_at_entry) does. The area is that of the function in whose
/// place it is entered.
pub fn raise_stub(area: ReturnArea) -> *const u8 {
    arch::raise_entry(area)
}

/// The frame pointer of the caller's frame and the return address into it, of a frame whose frame
/// pointer is `fp`.
///
/// # Safety
/// `fp` must be the frame pointer of an active frame of generated code or of a stub or trampoline.
pub unsafe fn next_frame(fp: usize) -> (usize, usize) {
    let frame = ptr::with_exposed_provenance::<usize>(fp);
    // SAFETY: all these keep the caller's frame pointer and the return address there, on both
    // architectures.
    unsafe { (frame.read(), frame.add(1).read()) }
}

/// The stack pointer and the frame pointer that a function was entered with which has set up its
/// frame and nothing else; its other registers are as they were.
///
/// # Safety
/// `fp` must be the frame pointer of a frame of generated code.
pub unsafe fn leave_frame(fp: usize) -> (usize, usize) {
    // SAFETY: the caller's promise.
    let (caller, _) = unsafe { next_frame(fp) };
    (fp + arch::ENTRY_SP, caller)
}

/// A header and then stubs, of which the first `filled` are written. They go on where those in the
/// text end.
struct StubArray {
    region: OnceLock<CodeRegion>,
    filled: AtomicU32,
    growing: Mutex<()>,
}

impl StubArray {
    const fn new() -> StubArray {
        StubArray {
            region: OnceLock::new(),
            filled: AtomicU32::new(0),
            growing: Mutex::new(()),
        }
    }

    /// `count` is more than there are in the text.
    fn with_at_least(&self, count: u32, area: ReturnArea) -> io::Result<LazyStubs> {
        if count > MAX_LAZY_STUBS {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "more functions than there are lazy stubs",
            ));
        }
        let in_text = arch::text_stubs(area);
        if self.filled.load(Ordering::Acquire) < count - in_text {
            self.grow(count - in_text, area)?;
        }
        let Some(region) = self.region.get() else {
            unreachable!("growing made the region");
        };
        Ok(LazyStubs {
            area,
            written: region.base().wrapping_add(arch::STUB_SIZE),
            count: in_text + self.filled.load(Ordering::Acquire),
        })
    }

    fn grow(&self, count: u32, area: ReturnArea) -> io::Result<()> {
        // Nothing is half done if another thread panicked: what was written is below `filled`.
        let _guard = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let in_text = arch::text_stubs(area);
        let all = MAX_LAZY_STUBS - in_text;
        let region = match self.region.get() {
            Some(region) => region,
            None => {
                let size = (all as usize + 1) * arch::STUB_SIZE;
                let region = CodeRegion::new(size)?;
                region.reserve(size, arch::STUB_SIZE)?;
                region.write(0, &arch::stub_header(arch::lazy_entry(area)))?;
                self.region.get_or_init(|| region)
            }
        };
        let mut filled = self.filled.load(Ordering::Acquire);
        while filled < count {
            let offset = |place: u32| (place as usize + 1) * arch::STUB_SIZE;
            let end = all.min(filled + CHUNK);
            let chunk = (filled..end)
                .flat_map(|place| arch::stub(offset(place), in_text + place))
                .collect::<Vec<u8>>();
            region.write(offset(filled), &chunk)?;
            filled = end;
            self.filled.store(filled, Ordering::Release);
        }
        Ok(())
    }
}
