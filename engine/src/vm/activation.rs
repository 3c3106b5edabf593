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
use crate::tier::return_area;

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
    activation: *const Activation,
}

impl Saved {
    /// Of a store in which no wasm is running.
    const NOTHING: Saved = Saved {
        exit_fp: 0,
        exit_pc: 0,
        entry_fp: 0,
        entry_sp: 0,
        entry_handler: 0,
        store: ptr::null_mut(),
        activation: ptr::null(),
    };

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
                activation: (*context).activation.cast(),
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
            (*context).activation = self.activation.cast();
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
                stack_limit: (*context).own_stack_limit.load(Ordering::Relaxed),
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
            set_stack_limit(context, self.stack_limit);
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
                stack_limit: (*context).own_stack_limit.load(Ordering::Relaxed),
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
            set_stack_limit(context, self.stack_limit);
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
        bimetal_sys::set_interrupt_resolver(super::interrupt::interrupt_entry);
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
/// - `trampoline` is that of the signature of `code`, `callee` its context in this store, `caller`
///   that of an instance of the store on whose behalf it is called or the store's host caller, and
///   `args` has room for its parameters and its results and holds the former.
#[inline]
pub(super) unsafe fn enter(
    store: *mut StoreOpaque,
    trampoline: *const u8,
    callee: *mut VmContextHeader,
    caller: *mut VmContextHeader,
    code: *const u8,
    args: *mut ValRaw,
) -> Result<()> {
    // SAFETY: the store is the caller's; the context is boxed and reached by raw pointers only.
    unsafe {
        let context = (*store).context().as_ptr();
        if (*context).entry_fp != 0 {
            return enter_again(store, trampoline, callee, caller, code, args);
        }
        bimetal_sys::ensure_signal_stack();
        let limit = stack_limit((*store).max_wasm_stack());
        if (*context).stack_limit.load(Ordering::Relaxed) != limit {
            set_stack_limit(context, limit);
        }
        if (*context).interrupt.load(Ordering::Relaxed) != 0 {
            (*store).signal().remind();
        }
        (*store).entries += 1;
        let activation = Activation::new(context, Saved::NOTHING);
        let returned = activation.run(store, trampoline, callee, caller, code, args);
        activation.end(store, returned)
    }
}

/// [`enter`] while there is wasm of the same store: from a host function or callback that it has
/// called.
///
/// # Safety
/// As for `enter`.
#[inline(never)]
unsafe fn enter_again(
    store: *mut StoreOpaque,
    trampoline: *const u8,
    callee: *mut VmContextHeader,
    caller: *mut VmContextHeader,
    code: *const u8,
    args: *mut ValRaw,
) -> Result<()> {
    // SAFETY: as for `enter`.
    unsafe {
        let context = (*store).context().as_ptr();
        // Not so if a host function has lent the store to another thread. A fiber that is not the
        // store's first has set its limit itself.
        let previous = NEWEST.get();
        let on_same_stack = !previous.is_null() && ptr::eq((*previous).context, context);
        let limit_before = (*context).own_stack_limit.load(Ordering::Relaxed);
        if !on_same_stack {
            bimetal_sys::ensure_signal_stack();
            set_stack_limit(context, stack_limit((*store).max_wasm_stack()));
        }
        if (*context).interrupt.load(Ordering::Relaxed) != 0 {
            (*store).signal().remind();
        }
        let activation = Activation::new(context, Saved::read(context));
        let returned = activation.run(store, trampoline, callee, caller, code, args);
        set_stack_limit(context, limit_before);
        activation.end(store, returned)
    }
}

impl Activation {
    #[inline]
    fn new(context: *mut VmStoreContext, saved: Saved) -> Activation {
        Activation {
            previous: Cell::new(NEWEST.get()),
            context,
            saved: Cell::new(saved),
            fault: UnsafeCell::new(None),
        }
    }

    /// Calls the trampoline while this is the newest activation. Whether it returned.
    ///
    /// # Safety
    /// As for [`enter`]; the context is that of `store`, and what must not be lost is saved.
    #[inline]
    unsafe fn run(
        &self,
        store: *mut StoreOpaque,
        trampoline: *const u8,
        callee: *mut VmContextHeader,
        caller: *mut VmContextHeader,
        code: *const u8,
        args: *mut ValRaw,
    ) -> bool {
        NEWEST.set(ptr::from_ref(self));
        // SAFETY: `trampoline` has this type; the rest is the caller's promise.
        let returned = unsafe {
            (*self.context).store = store.cast();
            (*self.context).activation = ptr::from_ref(self).cast();
            let trampoline = std::mem::transmute::<*const u8, HostToWasm>(trampoline);
            trampoline(callee, caller, code, args)
        };
        // Before anything that can unwind. Maybe on another thread than before: see `newest`.
        set_newest(self.previous.get());
        // SAFETY: wasm has stopped, so the context is ours again.
        unsafe {
            match self.saved.as_ptr().read().entry_fp {
                // No wasm is running, and what else the context holds is of no use.
                0 => (*self.context).entry_fp = 0,
                _ => self.saved.get().write(self.context),
            }
        }
        returned != 0
    }

    /// The outcome. The fault, if there is one, has an owner only here: when all went well nothing
    /// needs to be looked at and dropped.
    ///
    /// # Safety
    /// `store` is the caller's again.
    #[inline]
    unsafe fn end(self, store: *mut StoreOpaque, returned: bool) -> Result<()> {
        let this = std::mem::ManuallyDrop::new(self);
        if returned {
            return Ok(());
        }
        // SAFETY: wasm has stopped, and nobody looks at the fault again.
        let fault = unsafe { ptr::read(&raw const this.fault) }.into_inner();
        // SAFETY: the caller's promise.
        Err(reason(unsafe { &mut *store }, fault))
    }
}

/// Sets the stack's limit, unless the store is to be interrupted; then it is set after that.
///
/// # Safety
/// `context` is that of a store which the caller has exclusively.
#[inline(never)]
pub(super) unsafe fn set_stack_limit(context: *mut VmStoreContext, limit: usize) {
    // SAFETY: the caller's promise; the fields are atomic.
    let (present, own) = unsafe { (&(*context).stack_limit, &(*context).own_stack_limit) };
    own.store(limit, Ordering::Relaxed);
    let before = present.load(Ordering::Relaxed);
    if before != VmStoreContext::INTERRUPTED {
        // It fails if there is a wish now, and that is all right: nobody else changes it.
        let _ = present.compare_exchange(before, limit, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// The lowest stack address that wasm may use, entered from here.
#[inline]
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
        Some(Pending::Error(error) | Pending::Exception(error)) => error,
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
    let trap = module_at(pc).and_then(|module| {
        let (func, offset) = module.code.find(pc)?;
        let code = module.code.sites(func)?.trap_at(offset)?.trap?;
        Some((module, func, code))
    });
    let Some((module, func, code)) = trap else {
        return Resume::NotOurs;
    };
    let max_frames = module.engine.config().backtrace_frames();
    // SAFETY: the newest activation of this thread is in a frame that is waiting for wasm to
    // return; the faulting wasm code is not touching these fields.
    unsafe {
        let context = (*newest).context;
        if code == TrapCode::StackOverflow
            && (*context).stack_limit.load(Ordering::Relaxed) == VmStoreContext::INTERRUPTED
            && fault.sp() >= (*context).own_stack_limit.load(Ordering::Relaxed)
        {
            // Back to where the function was called: its prologue has done nothing but set up the
            // frame, and has touched no argument.
            (*context).interrupted_pc = pc;
            let ty = module.wasm().func_type(module.wasm().func_index(func));
            let (sp, fp) = bimetal_sys::leave_frame(fault.fp());
            return Resume::At {
                pc: bimetal_sys::interrupt_stub(return_area(ty)).expose_provenance(),
                sp,
                fp,
            };
        }
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
                // SAFETY: what is not the newest activation's wasm code has exited, and the newest
                // one's if no frame was given.
                let (fp, pc) = unsafe { exit(exit_fp, exit_pc) };
                pcs.push(Pc::Return(pc));
                fp
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

/// Shows each wasm frame of a store, innermost first: its frame pointer and the address in it that the
/// call returns to. Also those that were entered on another thread, which waits for this one.
///
/// # Safety
/// `context` is that of a store whose wasm is not running, or has called us.
pub(super) unsafe fn each_frame(context: *const VmStoreContext, mut f: impl FnMut(usize, usize)) {
    // SAFETY: the caller's promise: activations that a context names are alive, and what is between
    // an exit and its entry are frames of generated code, which keeps frame pointers.
    unsafe {
        let mut here = Saved::read(context);
        while here.entry_fp != 0 {
            let (mut fp, mut pc) = exit(here.exit_fp, here.exit_pc);
            while fp != here.entry_fp && fp != 0 {
                f(fp, pc);
                (fp, pc) = bimetal_sys::next_frame(fp);
            }
            here = (*here.activation).saved.get();
        }
    }
}

/// The frame pointer of the newest wasm frame and the return address into it, by what a context
/// says.
///
/// # Safety
/// They are those of an exit, after which the wasm code is suspended.
pub(super) unsafe fn exit(fp: usize, pc: usize) -> (usize, usize) {
    match (fp, pc) {
        (0, _) => (0, 0),
        // SAFETY: the caller's promise; it is the frame of a trampoline.
        (_, 0) => unsafe { bimetal_sys::next_frame(fp) },
        _ => (fp, pc),
    }
}

/// Where the function begins whose stack check is at `pc`.
pub(super) fn function_start(pc: usize) -> *const u8 {
    let offset = module_at(pc).and_then(|module| Some(module.code.find(pc)?.1));
    ptr::with_exposed_provenance(pc - offset.unwrap_or(0) as usize)
}

/// The backtrace of the wasm code that has just called this host code.
pub(crate) fn stack_backtrace() -> WasmBacktrace {
    backtrace_from(None)
}

/// The same, if there was no call but what is at `pc` stopped the wasm code.
pub(super) fn backtrace_from(pc: Option<usize>) -> WasmBacktrace {
    let newest = newest();
    if newest.is_null() {
        return WasmBacktrace::new(Vec::new(), false);
    }
    // SAFETY: an activation's context is alive, and its wasm code has called us.
    let (_, exit_pc) = unsafe {
        let context = (*newest).context;
        exit((*context).exit_fp, (*context).exit_pc)
    };
    // Not by way of the store, which our callers have borrowed.
    let max = match module_at(exit_pc) {
        Some(module) => module.engine.config().backtrace_frames(),
        None => DEFAULT_FRAMES.get(),
    };
    if max == 0 {
        return WasmBacktrace::new(Vec::new(), false);
    }
    let mut pcs: Vec<Pc> = pc.map(Pc::Trap).into_iter().collect();
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
