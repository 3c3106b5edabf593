//! Entering wasm, and what happens when it stops.
//!
//! An [`Activation`] lives in the host frame that entered wasm; a thread's activations form a
//! stack. A hardware fault at a known site of wasm code resumes at the newest entry with the
//! reason left in the activation; an error of host code is left in the store. Either way the
//! trampoline returns "trapped" to [`enter`], which makes the error.
//!
//! An activation on a fiber is part of a thread's stack of them only while the fiber runs there:
//! see [`Parked`].

use std::cell::{Cell, UnsafeCell};
use std::ptr;
use std::sync::Once;
use std::sync::atomic::Ordering;

use bimetal_abi::{TrapCode, ValRaw, VmContextHeader, VmStoreContext};
use bimetal_sys::{Fault, Resume};
use bimetal_wasm::FuncIndex;

use super::code::module_at;
use super::store::{Pending, StoreOpaque};
use crate::backtrace::{FrameInfo, WasmBacktrace};
use crate::config::DEFAULT_FRAMES;
use crate::error::{Error, Result};
use crate::module::Module;

/// Stack left below wasm's limit for host functions, builtins and the lazy compiler; half of what
/// there is on a thread with less than twice as much.
pub(crate) const HOST_RESERVE: usize = 256 << 10;

/// One entry into wasm.
pub(super) struct Activation {
    /// Cells, since both change when a fiber goes on elsewhere.
    previous: Cell<*const Activation>,
    context: *mut VmStoreContext,
    /// What the context held before this entry.
    saved: Cell<Saved>,
    fault: UnsafeCell<Option<FaultInfo>>,
}

/// Where a store's wasm code is, as its context says.
#[derive(Clone, Copy)]
struct Saved {
    exit_fp: usize,
    exit_pc: usize,
    entry_fp: usize,
    entry_sp: usize,
    entry_handler: usize,
    store: *mut u8,
}

impl Saved {
    /// # Safety
    /// `context` is that of a store which the caller has exclusively.
    unsafe fn read(context: *const VmStoreContext) -> Saved {
        // SAFETY: the caller's promise.
        unsafe {
            Saved {
                exit_fp: (*context).exit_fp,
                exit_pc: (*context).exit_pc,
                entry_fp: (*context).entry_fp,
                entry_sp: (*context).entry_sp,
                entry_handler: (*context).entry_handler,
                store: (*context).store,
            }
        }
    }

    /// # Safety
    /// As for `read`, and the values are right for the code that goes on.
    unsafe fn write(self, context: *mut VmStoreContext) {
        // SAFETY: the caller's promise.
        unsafe {
            (*context).exit_fp = self.exit_fp;
            (*context).exit_pc = self.exit_pc;
            (*context).entry_fp = self.entry_fp;
            (*context).entry_sp = self.entry_sp;
            (*context).entry_handler = self.entry_handler;
            (*context).store = self.store;
        }
    }
}

struct FaultInfo {
    code: TrapCode,
    pcs: Vec<Pc>,
    truncated: bool,
}

/// An address in wasm code.
#[derive(Clone, Copy)]
enum Pc {
    /// Of an instruction that trapped.
    Trap(usize),
    /// To which a call returns.
    Return(usize),
}

thread_local! {
    static NEWEST: Cell<*const Activation> = const { Cell::new(ptr::null()) };
}

/// The newest activation of this thread.
// Not inlined, nor is `set_newest`: wasm may come back on another thread than it was entered on,
// while a compiler may keep the address of a thread-local across the call.
#[inline(never)]
pub(super) fn newest() -> *const Activation {
    NEWEST.get()
}

#[inline(never)]
fn set_newest(activation: *const Activation) {
    NEWEST.set(activation);
}

/// What is below a fiber that is being resumed: where the thread is, and where the fiber's store
/// is outside of the fiber.
pub(super) struct Below {
    newest: *const Activation,
    saved: Saved,
    stack_limit: usize,
}

/// A fiber's activation while the fiber is suspended, with what the context held then.
pub(super) struct Parked {
    activation: *const Activation,
    saved: Saved,
    stack_limit: usize,
}

impl Below {
    /// # Safety
    /// `context` is that of a store which the caller has exclusively.
    pub(super) unsafe fn here(context: *const VmStoreContext) -> Below {
        // SAFETY: the caller's promise.
        unsafe {
            Below {
                newest: newest(),
                saved: Saved::read(context),
                stack_limit: (*context).stack_limit.load(Ordering::Relaxed),
            }
        }
    }

    pub(super) fn newest(&self) -> *const Activation {
        self.newest
    }

    /// Makes thread and store be there again, with nothing of a fiber above.
    ///
    /// # Safety
    /// As for `here`, of the same store, on the same thread.
    pub(super) unsafe fn restore(&self, context: *mut VmStoreContext) {
        set_newest(self.newest);
        // SAFETY: the caller's promise.
        unsafe {
            self.saved.write(context);
            (*context)
                .stack_limit
                .store(self.stack_limit, Ordering::Relaxed);
        }
    }
}

impl Parked {
    /// Takes the one activation of a fiber that has just suspended itself off this thread.
    ///
    /// # Safety
    /// `context` is that of the fiber's store; [`is_right_above`] was true when it suspended
    /// itself. The caller goes on with [`Below::restore`].
    pub(super) unsafe fn park(context: *const VmStoreContext) -> Parked {
        // SAFETY: the caller's promise.
        unsafe {
            Parked {
                activation: newest(),
                saved: Saved::read(context),
                stack_limit: (*context).stack_limit.load(Ordering::Relaxed),
            }
        }
    }

    /// Puts it on top of this thread's, as if it had been entered here.
    ///
    /// # Safety
    /// `context` is that of the fiber's store, which the caller has exclusively, and `below` is
    /// where this thread is. The fiber is resumed next.
    pub(super) unsafe fn unpark(&self, below: &Below, context: *mut VmStoreContext) {
        // SAFETY: the activation is on the fiber's stack, which is suspended.
        unsafe {
            (*self.activation).previous.set(below.newest);
            (*self.activation).saved.set(below.saved);
            self.saved.write(context);
            (*context)
                .stack_limit
                .store(self.stack_limit, Ordering::Relaxed);
        }
        set_newest(self.activation);
    }
}

/// Whether this thread's newest activation is of this context and comes right above `below`.
pub(super) fn is_right_above(below: *const Activation, context: *const VmStoreContext) -> bool {
    let newest = newest();
    // SAFETY: an activation of this thread is alive.
    !newest.is_null()
        && unsafe {
            ptr::eq((*newest).context, context) && ptr::eq((*newest).previous.get(), below)
        }
}

/// Installs the fault handler and the resolvers of lazy stubs.
pub(crate) fn init_process() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        bimetal_sys::install_fault_handler(on_fault);
        bimetal_sys::set_lazy_resolver(super::call::resolve_lazy);
        bimetal_sys::set_host_resolver(super::host::resolve_host);
    });
}

type HostToWasm = unsafe extern "C" fn(
    callee: *mut VmContextHeader,
    caller: *mut VmContextHeader,
    code: *const u8,
    args: *mut ValRaw,
) -> u64;

/// Calls wasm code through its trampoline.
///
/// # Safety
/// - `store` points to a whole store that the caller has exclusively and gives up for the call.
/// - `trampoline` is that of the signature of `code`, `callee` its context in this store, and
///   `args` has room for its parameters and its results and holds the former.
pub(super) unsafe fn enter(
    store: *mut StoreOpaque,
    trampoline: *const u8,
    callee: *mut VmContextHeader,
    code: *const u8,
    args: *mut ValRaw,
) -> Result<()> {
    // SAFETY: the store is the caller's; the context is boxed and reached by raw pointers only.
    let (context, caller) =
        unsafe { ((*store).context().as_ptr(), (*store).host_caller().as_ptr()) };
    // SAFETY: as above.
    let saved = unsafe { Saved::read(context) };
    let previous = NEWEST.get();
    // Not so if this is the store's first entry, or a host function has lent it to another thread.
    // A fiber that is not the store's first has set its limit itself.
    // SAFETY: an activation of this thread is alive.
    let on_same_stack = !previous.is_null() && unsafe { ptr::eq((*previous).context, context) };
    // SAFETY: as above.
    let limit = unsafe { &(*context).stack_limit };
    let limit_before = limit.load(Ordering::Relaxed);
    if !on_same_stack {
        bimetal_sys::ensure_signal_stack();
        // SAFETY: as above.
        let here = stack_limit(unsafe { (*store).engine().max_wasm_stack() });
        limit.store(here, Ordering::Relaxed);
    }
    let activation = Activation {
        previous: Cell::new(previous),
        context,
        saved: Cell::new(saved),
        fault: UnsafeCell::new(None),
    };
    NEWEST.set(&raw const activation);
    // SAFETY: `trampoline` has this type; the rest is the caller's promise.
    let returned = unsafe {
        (*context).store = store.cast();
        std::mem::transmute::<*const u8, HostToWasm>(trampoline)(callee, caller, code, args)
    };
    // Before anything that can unwind. Maybe on another thread than before: see `newest`.
    set_newest(activation.previous.get());
    // SAFETY: wasm has stopped, so the context is ours again.
    unsafe {
        activation.saved.get().write(context);
        (*context)
            .stack_limit
            .store(limit_before, Ordering::Relaxed);
    }
    if returned != 0 {
        return Ok(());
    }
    // SAFETY: the store is the caller's again.
    Err(reason(
        unsafe { &mut *store },
        activation.fault.into_inner(),
    ))
}

/// The lowest stack address that wasm may use, entered from here.
pub(super) fn stack_limit(max_wasm_stack: usize) -> usize {
    let here = bimetal_sys::stack_pointer();
    let wanted = here.saturating_sub(max_wasm_stack);
    match bimetal_sys::thread_stack_limit() {
        Some(lowest) => {
            let reserve = HOST_RESERVE.min(here.saturating_sub(lowest) / 2);
            wanted.max(lowest.saturating_add(reserve))
        }
        None => wanted,
    }
}

/// Why wasm stopped.
#[cold]
fn reason(store: &mut StoreOpaque, fault: Option<FaultInfo>) -> Error {
    if let Some(fault) = fault {
        let backtrace = resolve_frames(&fault.pcs, fault.truncated);
        return Error::new(fault.code).with_backtrace(backtrace);
    }
    match store.take_pending() {
        Some(Pending::Error(error)) => error,
        Some(Pending::Panic(payload)) => std::panic::resume_unwind(payload),
        None => Error::msg("wasm stopped without a reason (a bug of the runtime)"),
    }
}

/// The fault handler.
///
/// # Safety
/// Called by `bimetal-sys` on the thread that faulted, in its signal handler.
unsafe fn on_fault(fault: &Fault<'_>) -> Resume {
    let newest = newest();
    if newest.is_null() {
        return Resume::NotOurs;
    }
    let pc = fault.pc();
    let code = module_at(pc).and_then(|module| {
        let (func, offset) = module.code.find(pc)?;
        let code = module.code.sites(func)?.trap_at(offset)?.trap?;
        Some((code, module.engine.config().backtrace_frames()))
    });
    let Some((code, max_frames)) = code else {
        return Resume::NotOurs;
    };
    // SAFETY: the newest activation of this thread is in a frame that is waiting for wasm to
    // return; the faulting wasm code is not touching these fields.
    unsafe {
        let context = (*newest).context;
        let mut pcs = Vec::new();
        // Allocating here is sound though we are in a signal handler: the fault interrupted wasm
        // code, not the allocator. The stack check traps after its prologue has set up the frame.
        let truncated = max_frames > 0 && {
            pcs.push(Pc::Trap(pc));
            walk(&mut pcs, newest, Some(fault.fp()), max_frames, None)
        };
        *(*newest).fault.get() = Some(FaultInfo {
            code,
            pcs,
            truncated,
        });
        Resume::At {
            pc: (*context).entry_handler,
            sp: (*context).entry_sp,
            fp: (*context).entry_fp,
        }
    }
}

/// Collects the return addresses of wasm frames of this thread, innermost first: of all, or of one
/// store's. `fp` is the frame to begin with, or `None` for the newest exit to the host. Whether
/// there were more than `max`.
///
/// # Safety
/// `newest` is this thread's newest activation, and its wasm code is suspended below us.
unsafe fn walk(
    pcs: &mut Vec<Pc>,
    newest: *const Activation,
    fp: Option<usize>,
    max: usize,
    only: Option<*const VmStoreContext>,
) -> bool {
    // What each context holds at the activation being walked: the newer ones of the same context
    // have saved it.
    let mut overridden: Vec<(*mut VmStoreContext, Saved)> = Vec::new();
    let mut activation = newest;
    let mut first = fp;
    while !activation.is_null() {
        // SAFETY: activations are alive until their entry returns, in frames below ours.
        let (context, saved, previous) = unsafe {
            (
                (*activation).context,
                (*activation).saved.get(),
                (*activation).previous.get(),
            )
        };
        let known = overridden.iter().position(|(c, _)| *c == context);
        let (exit_pc, exit_fp, entry_fp) = match known {
            Some(i) => {
                let s = overridden[i].1;
                (s.exit_pc, s.exit_fp, s.entry_fp)
            }
            // SAFETY: a context lives as long as its store, which has been entered.
            None => unsafe { ((*context).exit_pc, (*context).exit_fp, (*context).entry_fp) },
        };
        let mut fp = match first.take() {
            Some(fp) => fp,
            None if only.is_some_and(|only| !ptr::eq(only, context)) => entry_fp,
            None if pcs.len() >= max => return true,
            None => {
                pcs.push(Pc::Return(exit_pc));
                exit_fp
            }
        };
        while fp != entry_fp && fp != 0 {
            // SAFETY: between an exit and its entry all frames are of generated code, which
            // keeps frame pointers.
            let (caller, return_pc) = unsafe { bimetal_sys::next_frame(fp) };
            if caller == entry_fp {
                break;
            }
            if pcs.len() >= max {
                return true;
            }
            pcs.push(Pc::Return(return_pc));
            fp = caller;
        }
        match known {
            Some(i) => overridden[i].1 = saved,
            None => overridden.push((context, saved)),
        }
        activation = previous;
    }
    false
}

/// The backtrace of the wasm code that has just called this host code.
pub(crate) fn stack_backtrace() -> WasmBacktrace {
    let newest = newest();
    if newest.is_null() {
        return WasmBacktrace::new(Vec::new(), false);
    }
    // SAFETY: an activation's context is alive.
    let exit_pc = unsafe { (*(*newest).context).exit_pc };
    // Not by way of the store, which our callers have borrowed.
    let max = match module_at(exit_pc) {
        Some(module) => module.engine.config().backtrace_frames(),
        None => DEFAULT_FRAMES.get(),
    };
    if max == 0 {
        return WasmBacktrace::new(Vec::new(), false);
    }
    let mut pcs = Vec::new();
    // SAFETY: it is this thread's newest, and we run on top of its exit.
    let truncated = unsafe { walk(&mut pcs, newest, None, max, None) };
    resolve_frames(&pcs, truncated)
}

/// The frames of one store below the host code that has it, at most `max`.
pub(crate) fn store_backtrace(store: &StoreOpaque, max: usize) -> WasmBacktrace {
    let mut pcs = Vec::new();
    let context = store.context().as_ptr().cast_const();
    // SAFETY: whoever has a store that wasm is running in was called by that wasm, so that this
    // thread's newest activation has exited to the host; null is no activation.
    let truncated = unsafe { walk(&mut pcs, newest(), None, max, Some(context)) };
    resolve_frames(&pcs, truncated)
}

fn resolve_frames(pcs: &[Pc], truncated: bool) -> WasmBacktrace {
    let mut frames = Vec::with_capacity(pcs.len());
    for &pc in pcs {
        let (Pc::Trap(address) | Pc::Return(address)) = pc;
        let Some(module) = module_at(address) else {
            continue;
        };
        let Some((defined, offset)) = module.code.find(address) else {
            continue;
        };
        let sites = module.code.sites(defined);
        let site = sites.and_then(|sites| match pc {
            Pc::Trap(_) => sites.trap_at(offset),
            Pc::Return(_) => sites.call_at(offset),
        });
        let own = module.wasm().func_index(defined);
        let mut push = |func: FuncIndex, offset: Option<u32>| {
            let module = Module::from_inner(module.clone());
            frames.push(FrameInfo::new(module, func, offset.map(|at| at as usize)));
        };
        // Inlined callees first.
        let mut at = site.map(|site| site.wasm_offset);
        let mut node = site.map_or(0, |site| site.node);
        let nodes = sites.map_or(&[][..], |sites| &sites.nodes);
        while let Some(inlined) = (node as usize).checked_sub(1).and_then(|i| nodes.get(i)) {
            push(inlined.func, at);
            at = Some(inlined.call_offset);
            node = inlined.parent;
        }
        push(own, at);
    }
    WasmBacktrace::new(frames, truncated)
}
