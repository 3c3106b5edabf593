//! Hand-written machine code for aarch64, AAPCS64.
//!
//! The `Tail` convention of the pinned Cranelift passes integers in `x2`–`x7` (`x0` and `x1` are
//! kept free), floats and vectors in `v0`–`v7`, a return area in `x8`, and what a callee preserves
//! is what AAPCS64 says. So the contexts are in `x2` and `x3` whether there is a return area or not.
//!
//! Instruction fetch is not coherent with stores: [`sync_code`] cleans and invalidates the caches
//! for all processors, and has the system make the other processors of this process fetch anew.

use std::arch::{asm, naked_asm};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use bimetal_abi::{VmContextHeader, VmStoreContext};

use crate::stubs::{ReturnArea, resolve_host, resolve_interrupt, resolve_lazy};

/// Lazy stubs in the program's own text, those of the lowest indices: how many there are. As many
/// as an instruction can load; 512 kB, which are not read before they are run.
pub const fn text_stubs(_area: ReturnArea) -> u32 {
    TEXT_STUBS
}

/// The lazy stub of `index`, which is below [`text_stubs`].
pub fn text_stub(_area: ReturnArea, index: u32) -> *const u8 {
    (lazy_stubs as *const u8).wrapping_add(8 * index as usize)
}

const TEXT_STUBS: u32 = 1 << 16;

#[unsafe(naked)]
unsafe extern "C" fn lazy_stubs() {
    naked_asm!(
        ".set .Lstub, 0",
        ".rept {stubs}",
        ".inst 0x52800009 | (.Lstub << 5)", // mov w9, stub
        "b {lazy}",
        ".set .Lstub, .Lstub + 1",
        ".endr",
        stubs = const TEXT_STUBS,
        lazy = sym lazy,
    )
}

/// Bytes from one lazy stub to the next that is written at run time, and of the header before the
/// first.
pub const STUB_SIZE: usize = 16;

/// What such stubs have in common, at the start of their region: the jump to `entry`.
pub fn stub_header(entry: *const u8) -> [u8; STUB_SIZE] {
    const LDR_X16_PC_8: u32 = 0x5800_0050;
    const BR_X16: u32 = 0xd61f_0200;
    let entry = entry.expose_provenance() as u64;
    instructions([LDR_X16_PC_8, BR_X16, entry as u32, (entry >> 32) as u32])
}

/// The stub of function `index`, at `offset` (below 128 MiB) from the header.
pub fn stub(offset: usize, index: u32) -> [u8; STUB_SIZE] {
    const MOVZ_W9: u32 = 0x5280_0009;
    const MOVK_W9_LSL_16: u32 = 0x72a0_0009;
    const B: u32 = 0x1400_0000;
    const BRK: u32 = 0xd420_0000;
    let back = (offset as u32 + 8).wrapping_neg() >> 2;
    instructions([
        MOVZ_W9 | (index & 0xffff) << 5,
        MOVK_W9_LSL_16 | (index >> 16) << 5,
        B | (back & 0x03ff_ffff),
        BRK,
    ])
}

fn instructions(words: [u32; 4]) -> [u8; STUB_SIZE] {
    let mut code = [0; STUB_SIZE];
    for (bytes, word) in code.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    code
}

/// From a frame pointer to the stack pointer with which its function was entered. (The return
/// address is in `x30` too as long as nothing is called.)
pub const ENTRY_SP: usize = 16;

/// Where stubs that are written at run time jump to.
pub fn lazy_entry(_area: ReturnArea) -> *const u8 {
    lazy as *const u8
}

/// The stub of host functions.
pub fn host_entry(_area: ReturnArea) -> *const u8 {
    host as *const u8
}

/// The stub of functions that have to wait.
pub fn interrupt_entry(_area: ReturnArea) -> *const u8 {
    interrupt as *const u8
}

/// The code that resumes at the entry of its caller's store.
pub fn raise_entry(_area: ReturnArea) -> *const u8 {
    raise as *const u8
}

/// Defines functions that are entered in place of a wasm function: they keep all its arguments,
/// record the exit, call `$resolve(callee context, w9)` and jump to the address that it returns.
macro_rules! resolving {
    ($($name:ident => $resolve:path;)*) => {$(
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            naked_asm!(
                "stp x29, x30, [sp, #-208]!",
                "mov x29, sp",
                "stp x2, x3, [sp, #16]",
                "stp x4, x5, [sp, #32]",
                "stp x6, x7, [sp, #48]",
                "str x8, [sp, #64]",
                "stp q0, q1, [sp, #80]",
                "stp q2, q3, [sp, #112]",
                "stp q4, q5, [sp, #144]",
                "stp q6, q7, [sp, #176]",
                "ldr x10, [x3, #{store}]",
                "ldr x11, [x29]",
                "str x11, [x10, #{exit_fp}]",
                "str x30, [x10, #{exit_pc}]",
                "mov x0, x2",
                "mov w1, w9",
                "bl {resolve}",
                "mov x16, x0",
                "ldp x2, x3, [sp, #16]",
                "ldp x4, x5, [sp, #32]",
                "ldp x6, x7, [sp, #48]",
                "ldr x8, [sp, #64]",
                "ldp q0, q1, [sp, #80]",
                "ldp q2, q3, [sp, #112]",
                "ldp q4, q5, [sp, #144]",
                "ldp q6, q7, [sp, #176]",
                "ldp x29, x30, [sp], #208",
                "br x16",
                store = const VmContextHeader::STORE,
                exit_fp = const VmStoreContext::EXIT_FP,
                exit_pc = const VmStoreContext::EXIT_PC,
                resolve = sym $resolve,
            )
        }
    )*};
}

resolving! {
    lazy => resolve_lazy;
    interrupt => resolve_interrupt;
    host => resolve_host;
}

#[unsafe(naked)]
unsafe extern "C" fn raise() {
    naked_asm!(
        "ldr x0, [x3, #{store}]",
        "b {resume}",
        store = const VmContextHeader::STORE,
        resume = sym resume_at_entry,
    )
}

/// Abandons the frames since the newest host → wasm trampoline and continues at its handler, with
/// `entry_sp` and `entry_fp` of the store context and arbitrary values in all other registers.
///
/// # Safety
/// `store` must be valid, and its newest entry must be active on this thread's stack. No frame
/// that is abandoned may have anything to drop or be relied on to return.
#[unsafe(naked)]
pub unsafe extern "C" fn resume_at_entry(store: *const VmStoreContext) -> ! {
    naked_asm!(
        "ldr x9, [x0, #{sp}]",
        "ldr x29, [x0, #{fp}]",
        "ldr x10, [x0, #{handler}]",
        "mov sp, x9",
        "br x10",
        sp = const VmStoreContext::ENTRY_SP,
        fp = const VmStoreContext::ENTRY_FP,
        handler = const VmStoreContext::ENTRY_HANDLER,
    )
}

/// Abandons the frames above one of generated code and continues in that at the handler `pc`, with
/// its stack and frame pointers, `value` in the first result register and arbitrary values in all
/// others.
///
/// # Safety
/// `pc`, `sp` and `fp` must be as `bimetal_codegen::Handler` says for a call that is active on this
/// thread's stack, above its store's newest entry. No frame that is abandoned may have anything to
/// drop or be relied on to return.
#[unsafe(naked)]
pub unsafe extern "C" fn resume_at(pc: usize, sp: usize, fp: usize, value: u64) -> ! {
    naked_asm!(
        "mov x16, x0",
        "mov x0, x3",
        "mov sp, x1",
        "mov x29, x2",
        "br x16",
    )
}

/// Defines the entries of builtins: `builtin_stub!(pub(crate) name => function, …)`.
///
/// `name` records where wasm was left (`exit_fp`, `exit_pc` of the store context of the `vmctx`
/// that is the first argument) and jumps to `function`, an `extern "C"` function that takes the
/// arguments as they are and whose result goes to wasm. Only the address of `name` is of use.
#[macro_export]
macro_rules! builtin_stub {
    ($($(#[$meta:meta])* $vis:vis $name:ident => $function:path),* $(,)?) => {$(
        $(#[$meta])*
        #[doc = "The entry of a builtin.\n\n# Safety\nOnly generated code can call it."]
        #[unsafe(naked)]
        $vis unsafe extern "C" fn $name() {
            ::core::arch::naked_asm!(
                "ldr x16, [x0, #{store}]",
                "str x29, [x16, #{exit_fp}]",
                "str x30, [x16, #{exit_pc}]",
                "b {function}",
                store = const $crate::private::VmContextHeader::STORE,
                exit_fp = const $crate::private::VmStoreContext::EXIT_FP,
                exit_pc = const $crate::private::VmStoreContext::EXIT_PC,
                function = sym $function,
            )
        }
    )*};
}

/// Defines the entries of host functions that wasm calls without a trampoline:
/// `host_stub!(name [T, F] [where F: Fn(T)] => function::<T, F>)`.
///
/// `name` records where wasm was left (`exit_fp`, `exit_pc` of the store context of the caller's
/// context, the second argument) and enters `function`, an `extern "C"` function of the contexts and at
/// most [`NATIVE_INTEGERS`](crate::NATIVE_INTEGERS) integer and
/// [`NATIVE_FLOATS`](crate::NATIVE_FLOATS) float arguments, whose result goes to wasm.
#[macro_export]
macro_rules! host_stub {
    ($name:ident [$($generic:ident),*] [$($bounds:tt)*] => $function:path) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name<$($generic),*>()
        $($bounds)*
        {
            // `x29` stays the caller's; the function keeps it.
            ::core::arch::naked_asm!(
                "ldr x9, [x3, #{store}]",
                "str x29, [x9, #{exit_fp}]",
                "str x30, [x9, #{exit_pc}]",
                "str x30, [sp, #-16]!",
                "mov x0, x2",
                "mov x1, x3",
                "mov x2, x4",
                "mov x3, x5",
                "mov x4, x6",
                "mov x5, x7",
                "bl {function}",
                "mov x2, x0",
                "ldr x30, [sp], #16",
                "ret",
                store = const $crate::private::VmContextHeader::STORE,
                exit_fp = const $crate::private::VmStoreContext::EXIT_FP,
                exit_pc = const $crate::private::VmStoreContext::EXIT_PC,
                function = sym $function,
            )
        }
    };
}

/// As [`builtin_stub!`] for a function without further parameters or a result, around which all
/// registers that generated code uses are kept.
#[macro_export]
macro_rules! preserving_builtin_stub {
    ($($(#[$meta:meta])* $vis:vis $name:ident => $function:path),* $(,)?) => {$(
        $(#[$meta])*
        #[doc = "The entry of a builtin.\n\n# Safety\nOnly generated code can call it."]
        #[unsafe(naked)]
        $vis unsafe extern "C" fn $name() {
            ::core::arch::naked_asm!(
                "stp x29, x30, [sp, #-16]!",
                "mov x29, sp",
                "sub sp, sp, #656",
                "stp x0, x1, [sp, #0]",
                "stp x2, x3, [sp, #16]",
                "stp x4, x5, [sp, #32]",
                "stp x6, x7, [sp, #48]",
                "stp x8, x9, [sp, #64]",
                "stp x10, x11, [sp, #80]",
                "stp x12, x13, [sp, #96]",
                "stp x14, x15, [sp, #112]",
                "stp x16, x17, [sp, #128]",
                "stp q0, q1, [sp, #144]",
                "stp q2, q3, [sp, #176]",
                "stp q4, q5, [sp, #208]",
                "stp q6, q7, [sp, #240]",
                "stp q8, q9, [sp, #272]",
                "stp q10, q11, [sp, #304]",
                "stp q12, q13, [sp, #336]",
                "stp q14, q15, [sp, #368]",
                "stp q16, q17, [sp, #400]",
                "stp q18, q19, [sp, #432]",
                "stp q20, q21, [sp, #464]",
                "stp q22, q23, [sp, #496]",
                "stp q24, q25, [sp, #528]",
                "stp q26, q27, [sp, #560]",
                "stp q28, q29, [sp, #592]",
                "stp q30, q31, [sp, #624]",
                "ldr x16, [x0, #{store}]",
                "ldr x17, [x29]",
                "str x17, [x16, #{exit_fp}]",
                "ldr x17, [x29, #8]",
                "str x17, [x16, #{exit_pc}]",
                "bl {function}",
                "ldp q0, q1, [sp, #144]",
                "ldp q2, q3, [sp, #176]",
                "ldp q4, q5, [sp, #208]",
                "ldp q6, q7, [sp, #240]",
                "ldp q8, q9, [sp, #272]",
                "ldp q10, q11, [sp, #304]",
                "ldp q12, q13, [sp, #336]",
                "ldp q14, q15, [sp, #368]",
                "ldp q16, q17, [sp, #400]",
                "ldp q18, q19, [sp, #432]",
                "ldp q20, q21, [sp, #464]",
                "ldp q22, q23, [sp, #496]",
                "ldp q24, q25, [sp, #528]",
                "ldp q26, q27, [sp, #560]",
                "ldp q28, q29, [sp, #592]",
                "ldp q30, q31, [sp, #624]",
                "ldp x0, x1, [sp, #0]",
                "ldp x2, x3, [sp, #16]",
                "ldp x4, x5, [sp, #32]",
                "ldp x6, x7, [sp, #48]",
                "ldp x8, x9, [sp, #64]",
                "ldp x10, x11, [sp, #80]",
                "ldp x12, x13, [sp, #96]",
                "ldp x14, x15, [sp, #112]",
                "ldp x16, x17, [sp, #128]",
                "add sp, sp, #656",
                "ldp x29, x30, [sp], #16",
                "ret",
                store = const $crate::private::VmContextHeader::STORE,
                exit_fp = const $crate::private::VmStoreContext::EXIT_FP,
                exit_pc = const $crate::private::VmStoreContext::EXIT_PC,
                function = sym $function,
            )
        }
    )*};
}

/// The stack pointer in the calling function, or near to it.
#[inline(always)]
pub fn stack_pointer() -> usize {
    let sp;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, sp", out(reg) sp, options(nomem, nostack, preserves_flags)) };
    sp
}

/// Whether the system has the cheap way to make other processors fetch anew.
static EXPEDITED: AtomicBool = AtomicBool::new(false);

/// Once per process, before [`sync_code`].
pub fn prepare_code_sync() -> io::Result<()> {
    // Linux has it since 4.16. Emulators and sandboxes may not pass it on.
    let known = membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE).is_ok();
    EXPEDITED.store(known, Ordering::Release);
    Ok(())
}

/// Makes new code visible to instruction fetch on all processors.
pub fn sync_code(start: *const u8, len: usize) -> io::Result<()> {
    let cache_type: usize;
    // SAFETY: reads a register that user code may read.
    unsafe {
        asm!("mrs {}, ctr_el0", out(reg) cache_type, options(nomem, nostack, preserves_flags))
    };
    let line = |log2_words: usize| 4usize << (log2_words & 0xf);
    let (instruction_line, data_line) = (line(cache_type), line(cache_type >> 16));
    let (first, end) = (start.addr(), start.addr() + len);

    for address in (first & !(data_line - 1)..end).step_by(data_line) {
        // SAFETY: cleans a cache line of mapped, readable memory; its contents stay.
        unsafe { asm!("dc cvau, {}", in(reg) address, options(nostack, preserves_flags)) };
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
    for address in (first & !(instruction_line - 1)..end).step_by(instruction_line) {
        // SAFETY: invalidates an instruction cache line, which is fetched again when needed.
        unsafe { asm!("ic ivau, {}", in(reg) address, options(nostack, preserves_flags)) };
    }
    // SAFETY: barriers.
    unsafe { asm!("dsb ish", "isb", options(nostack, preserves_flags)) };

    if EXPEDITED.load(Ordering::Acquire) {
        return membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE);
    }
    // Slow, but as good: it waits until each processor has been in the kernel, and coming back
    // from there it fetches anew. Where even that is refused, what is left to rely on is that a
    // thread comes from the kernel some time between the old code's end and the new code's start;
    // code that was never overwritten is not affected at all.
    let _ = membarrier(libc::MEMBARRIER_CMD_GLOBAL);
    Ok(())
}

fn membarrier(command: libc::c_int) -> io::Result<()> {
    // SAFETY: the call orders memory accesses and touches no memory of ours.
    match unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
