//! Hand-written machine code for x86-64, System V.
//!
//! The `Tail` convention of the pinned Cranelift passes integers in `rdi rsi rdx rcx r8 r9`, floats
//! and vectors of up to 128 bits in `xmm0`–`xmm7`, and what a callee preserves is what System V
//! says. A return area, if there is one, comes first: it takes `rdi` and moves the callee's and the
//! caller's context to `rsi` and `rdx`; see [`ReturnArea`].
//!
//! Processors of this architecture keep instruction fetch coherent with stores by physical
//! address, so new code needs no synchronisation but the one that publishes its address.

use std::arch::{asm, naked_asm};
use std::io;

use bimetal_abi::{VmContextHeader, VmStoreContext};

use crate::stubs::{ReturnArea, resolve_host, resolve_interrupt, resolve_lazy};

/// Lazy stubs in the program's own text, those of the lowest indices: how many there are.
///
/// They lie in groups, so that four bytes do for each: one in a byte register, and a short jump to
/// what the group has in its middle, which adds the group's first index.
pub const fn text_stubs(area: ReturnArea) -> u32 {
    match area {
        ReturnArea::Absent => GROUPS * GROUP,
        // Functions with so many results are rare.
        ReturnArea::Present => 0,
    }
}

/// The lazy stub of `index`, which is below [`text_stubs`].
pub fn text_stub(_area: ReturnArea, index: u32) -> *const u8 {
    let (group, stub) = ((index / GROUP) as usize, (index % GROUP) as usize);
    let middle = match stub < BEFORE as usize {
        true => 0,
        false => GROUP_MIDDLE,
    };
    (lazy_stubs as *const u8).wrapping_add(group * GROUP_SIZE + middle + 4 * stub)
}

/// Stubs of a group: so many that all reach the middle by a short jump.
const GROUP: u32 = 58;
/// Those of a group before its middle.
const BEFORE: u32 = 30;
/// Bytes of a group's middle.
const GROUP_MIDDLE: usize = 16;
const GROUP_SIZE: usize = 4 * GROUP as usize + GROUP_MIDDLE;
/// More functions than large programs have; 280 kB, which are not read before they are run.
const GROUPS: u32 = 1130;

#[unsafe(naked)]
unsafe extern "C" fn lazy_stubs() {
    naked_asm!(
        ".set .Lgroup, 0",
        ".rept {groups}",
        ".set .Lstub, 0",
        ".rept {before}",
        ".byte 0xb0, .Lstub", // mov al, stub
        ".byte 0xeb, 4 * {before} - 4 * (.Lstub + 1)", // jmp middle
        ".set .Lstub, .Lstub + 1",
        ".endr",
        ".byte 0x0f, 0xb6, 0xc0, 0x05", // movzx eax, al; add eax, first
        ".long {group} * .Lgroup",
        ".byte 0xe9", // jmp lazy
        ".long {lazy} - . - 4",
        ".byte 0xcc, 0xcc, 0xcc", // int3
        ".rept {group} - {before}",
        ".byte 0xb0, .Lstub",
        ".byte 0xeb, 4 * {before} - {middle} - 4 * (.Lstub + 1)",
        ".set .Lstub, .Lstub + 1",
        ".endr",
        ".set .Lgroup, .Lgroup + 1",
        ".endr",
        groups = const GROUPS,
        group = const GROUP,
        before = const BEFORE,
        middle = const GROUP_MIDDLE,
        lazy = sym lazy,
    )
}

/// Bytes from one lazy stub to the next that is written at run time, and of the header before the
/// first.
pub const STUB_SIZE: usize = 16;

/// What such stubs have in common, at the start of their region: the address they jump to.
pub fn stub_header(entry: *const u8) -> [u8; STUB_SIZE] {
    let mut code = [INT3; STUB_SIZE];
    code[..8].copy_from_slice(&(entry.expose_provenance() as u64).to_le_bytes());
    code
}

/// The stub of function `index`, at `offset` (below 2 GiB) from the header.
pub fn stub(offset: usize, index: u32) -> [u8; STUB_SIZE] {
    const END_OF_JUMP: i32 = 11;
    let mut code = [INT3; STUB_SIZE];
    code[0] = 0xb8; // mov eax, index
    code[1..5].copy_from_slice(&index.to_le_bytes());
    code[5..7].copy_from_slice(&[0xff, 0x25]); // jmp [rip + …]: the header
    code[7..11].copy_from_slice(&(-(offset as i32) - END_OF_JUMP).to_le_bytes());
    code
}

const INT3: u8 = 0xcc;

/// From a frame pointer to the stack pointer with which its function was entered, which points to
/// the return address.
pub const ENTRY_SP: usize = 8;

/// Where stubs that are written at run time jump to.
pub fn lazy_entry(area: ReturnArea) -> *const u8 {
    match area {
        ReturnArea::Absent => lazy as *const u8,
        ReturnArea::Present => lazy_with_return_area as *const u8,
    }
}

/// The stub of host functions.
pub fn host_entry(area: ReturnArea) -> *const u8 {
    match area {
        ReturnArea::Absent => host as *const u8,
        ReturnArea::Present => host_with_return_area as *const u8,
    }
}

/// The stub of functions that have to wait.
pub fn interrupt_entry(area: ReturnArea) -> *const u8 {
    match area {
        ReturnArea::Absent => interrupt as *const u8,
        ReturnArea::Present => interrupt_with_return_area as *const u8,
    }
}

/// The code that resumes at the entry of its caller's store.
pub fn raise_entry(area: ReturnArea) -> *const u8 {
    match area {
        ReturnArea::Absent => raise as *const u8,
        ReturnArea::Present => raise_with_return_area as *const u8,
    }
}

/// Defines functions that are entered in place of a wasm function: they keep all its arguments,
/// record the exit, call `$resolve(callee context, eax)` and jump to the address that it returns.
macro_rules! resolving {
    ($($name:ident: callee $callee:literal, caller $caller:literal => $resolve:path;)*) => {$(
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            naked_asm!(
                "push rbp",
                "mov rbp, rsp",
                "sub rsp, 176",
                "mov [rsp], rdi",
                "mov [rsp + 8], rsi",
                "mov [rsp + 16], rdx",
                "mov [rsp + 24], rcx",
                "mov [rsp + 32], r8",
                "mov [rsp + 40], r9",
                "movaps [rsp + 48], xmm0",
                "movaps [rsp + 64], xmm1",
                "movaps [rsp + 80], xmm2",
                "movaps [rsp + 96], xmm3",
                "movaps [rsp + 112], xmm4",
                "movaps [rsp + 128], xmm5",
                "movaps [rsp + 144], xmm6",
                "movaps [rsp + 160], xmm7",
                concat!("mov r10, [", $caller, " + {store}]"),
                "mov r11, [rbp]",
                "mov [r10 + {exit_fp}], r11",
                "mov r11, [rbp + 8]",
                "mov [r10 + {exit_pc}], r11",
                concat!("mov rdi, ", $callee),
                "mov esi, eax",
                "call {resolve}",
                "mov rdi, [rsp]",
                "mov rsi, [rsp + 8]",
                "mov rdx, [rsp + 16]",
                "mov rcx, [rsp + 24]",
                "mov r8, [rsp + 32]",
                "mov r9, [rsp + 40]",
                "movaps xmm0, [rsp + 48]",
                "movaps xmm1, [rsp + 64]",
                "movaps xmm2, [rsp + 80]",
                "movaps xmm3, [rsp + 96]",
                "movaps xmm4, [rsp + 112]",
                "movaps xmm5, [rsp + 128]",
                "movaps xmm6, [rsp + 144]",
                "movaps xmm7, [rsp + 160]",
                "leave",
                "jmp rax",
                store = const VmContextHeader::STORE,
                exit_fp = const VmStoreContext::EXIT_FP,
                exit_pc = const VmStoreContext::EXIT_PC,
                resolve = sym $resolve,
            )
        }
    )*};
}

resolving! {
    lazy: callee "rdi", caller "rsi" => resolve_lazy;
    lazy_with_return_area: callee "rsi", caller "rdx" => resolve_lazy;
    interrupt: callee "rdi", caller "rsi" => resolve_interrupt;
    interrupt_with_return_area: callee "rsi", caller "rdx" => resolve_interrupt;
    host: callee "rdi", caller "rsi" => resolve_host;
    host_with_return_area: callee "rsi", caller "rdx" => resolve_host;
}

#[unsafe(naked)]
unsafe extern "C" fn raise() {
    naked_asm!(
        "mov rdi, [rsi + {store}]",
        "jmp {resume}",
        store = const VmContextHeader::STORE,
        resume = sym resume_at_entry,
    )
}

#[unsafe(naked)]
unsafe extern "C" fn raise_with_return_area() {
    naked_asm!(
        "mov rdi, [rdx + {store}]",
        "jmp {resume}",
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
        "mov rsp, [rdi + {sp}]",
        "mov rbp, [rdi + {fp}]",
        "jmp qword ptr [rdi + {handler}]",
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
    naked_asm!("mov rax, rcx", "mov rsp, rsi", "mov rbp, rdx", "jmp rdi",)
}

/// Defines the entries of builtins: `builtin_stub!(pub(crate) name => function, …)`.
///
/// `name` records where wasm was left (`exit_fp`, `exit_pc` of the store context of the `vmctx`
/// that is the first argument) and jumps to `function`, an `extern "C"` function that takes the
/// arguments as they are and whose result goes to wasm. Only the address of `name` is of use.
///
/// ```
/// use bimetal_abi::VmContextHeader;
///
/// unsafe extern "C" fn double(_vmctx: *mut VmContextHeader, value: u32) -> u32 {
///     value * 2
/// }
/// bimetal_sys::builtin_stub!(pub double_stub => double);
/// let table: [*const u8; 1] = [double_stub as *const u8];
/// # assert!(!table[0].is_null());
/// ```
#[macro_export]
macro_rules! builtin_stub {
    ($($(#[$meta:meta])* $vis:vis $name:ident => $function:path),* $(,)?) => {$(
        $(#[$meta])*
        #[doc = "The entry of a builtin.\n\n# Safety\nOnly generated code can call it."]
        #[unsafe(naked)]
        $vis unsafe extern "C" fn $name() {
            ::core::arch::naked_asm!(
                "mov r10, [rdi + {store}]",
                "mov [r10 + {exit_fp}], rbp",
                "mov r11, [rsp]",
                "mov [r10 + {exit_pc}], r11",
                "jmp {function}",
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
            // The arguments and the result are where they have to be.
            ::core::arch::naked_asm!(
                "mov r10, [rsi + {store}]",
                "mov [r10 + {exit_fp}], rbp",
                "mov r11, [rsp]",
                "mov [r10 + {exit_pc}], r11",
                "jmp {function}",
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
                "push rbp",
                "mov rbp, rsp",
                "push rax",
                "push rcx",
                "push rdx",
                "push rsi",
                "push rdi",
                "push r8",
                "push r9",
                "push r10",
                "push r11",
                "sub rsp, 264",
                "movups [rsp + 0], xmm0",
                "movups [rsp + 16], xmm1",
                "movups [rsp + 32], xmm2",
                "movups [rsp + 48], xmm3",
                "movups [rsp + 64], xmm4",
                "movups [rsp + 80], xmm5",
                "movups [rsp + 96], xmm6",
                "movups [rsp + 112], xmm7",
                "movups [rsp + 128], xmm8",
                "movups [rsp + 144], xmm9",
                "movups [rsp + 160], xmm10",
                "movups [rsp + 176], xmm11",
                "movups [rsp + 192], xmm12",
                "movups [rsp + 208], xmm13",
                "movups [rsp + 224], xmm14",
                "movups [rsp + 240], xmm15",
                "mov r10, [rdi + {store}]",
                "mov r11, [rbp]",
                "mov [r10 + {exit_fp}], r11",
                "mov r11, [rbp + 8]",
                "mov [r10 + {exit_pc}], r11",
                "call {function}",
                "movups xmm0, [rsp + 0]",
                "movups xmm1, [rsp + 16]",
                "movups xmm2, [rsp + 32]",
                "movups xmm3, [rsp + 48]",
                "movups xmm4, [rsp + 64]",
                "movups xmm5, [rsp + 80]",
                "movups xmm6, [rsp + 96]",
                "movups xmm7, [rsp + 112]",
                "movups xmm8, [rsp + 128]",
                "movups xmm9, [rsp + 144]",
                "movups xmm10, [rsp + 160]",
                "movups xmm11, [rsp + 176]",
                "movups xmm12, [rsp + 192]",
                "movups xmm13, [rsp + 208]",
                "movups xmm14, [rsp + 224]",
                "movups xmm15, [rsp + 240]",
                "add rsp, 264",
                "pop r11",
                "pop r10",
                "pop r9",
                "pop r8",
                "pop rdi",
                "pop rsi",
                "pop rdx",
                "pop rcx",
                "pop rax",
                "pop rbp",
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
    unsafe { asm!("mov {}, rsp", out(reg) sp, options(nomem, nostack, preserves_flags)) };
    sp
}

/// Once per process, before [`sync_code`]: nothing to do here.
pub fn prepare_code_sync() -> io::Result<()> {
    Ok(())
}

/// Makes new code visible to instruction fetch: nothing to do here.
pub fn sync_code(_start: *const u8, _len: usize) -> io::Result<()> {
    Ok(())
}
