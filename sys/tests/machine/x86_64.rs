//! Calls with all registers of the `Tail` convention, and code bytes, for x86-64.

use std::arch::naked_asm;

use bimetal_abi::VmStoreContext;
use bimetal_sys::{FaultKind, ReturnArea};

use crate::Registers;

/// Integer argument registers.
pub const INTEGERS: usize = 6;

/// Where the callee's and the caller's context are among them.
pub fn contexts(area: ReturnArea) -> (usize, usize) {
    match area {
        ReturnArea::Absent => (0, 1),
        ReturnArea::Present => (1, 2),
    }
}

/// Code `fn() -> u32 { value }`.
pub fn returning(value: u32) -> Vec<u8> {
    let mut code = vec![0xb8];
    code.extend(value.to_le_bytes());
    code.push(0xc3);
    code
}

/// Code that reads the `u64` that its argument points to, and the offset of the instruction.
pub const LOAD: (&[u8], usize) = (&[0x90, 0x48, 0x8b, 0x07, 0xc3], 1);

/// Code that faults in other ways.
pub const FAULTS: &[(&[u8], FaultKind)] = &[
    (&[0x0f, 0x0b], FaultKind::Ill),
    // std; xor ecx, ecx; mov eax, 1; cdq; idiv ecx: also with the direction flag set.
    (
        &[0xfd, 0x31, 0xc9, 0xb8, 1, 0, 0, 0, 0x99, 0xf7, 0xf9, 0xc3],
        FaultKind::Fpe,
    ),
];

/// Calls `function(data)` as a host → wasm trampoline would. Whether it returned.
#[unsafe(naked)]
pub unsafe extern "C" fn enter(
    store: *mut VmStoreContext,
    function: unsafe extern "C" fn(*mut u8),
    data: *mut u8,
) -> u32 {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8",
        "mov [rdi + {sp}], rsp",
        "mov [rdi + {fp}], rbp",
        "lea rax, [rip + 2f]",
        "mov [rdi + {handler}], rax",
        "mov rdi, rdx",
        "call rsi",
        "mov eax, 1",
        "jmp 3f",
        "2:",
        // Fails if the stack is not where it was, or not as code expects it.
        "movaps [rsp - 64], xmm0",
        "xor eax, eax",
        // Fails if the direction flag is set: 8 is added to rsi or subtracted from it.
        "lea rsi, [rsp - 64]",
        "lodsq",
        "lea rax, [rsp - 56]",
        "sub rax, rsi",
        "shr rax",
        "3:",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        sp = const VmStoreContext::ENTRY_SP,
        fp = const VmStoreContext::ENTRY_FP,
        handler = const VmStoreContext::ENTRY_HANDLER,
    )
}

/// Calls `code` with `arguments`; [`echo`] finds `seen`.
#[unsafe(naked)]
pub unsafe extern "C" fn call(
    code: *const u8,
    arguments: *const Registers,
    seen: *mut Registers,
) -> u64 {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push rbx",
        "push r12",
        "sub rsp, 16",
        "mov rbx, rdx",
        "mov r12, rdi",
        "mov r10, rsi",
        "mov rax, [r10 + 56]",
        "mov [rsp], rax",
        "movups xmm0, [r10 + 64]",
        "movups xmm1, [r10 + 80]",
        "movups xmm2, [r10 + 96]",
        "movups xmm3, [r10 + 112]",
        "movups xmm4, [r10 + 128]",
        "movups xmm5, [r10 + 144]",
        "movups xmm6, [r10 + 160]",
        "movups xmm7, [r10 + 176]",
        "mov rdi, [r10]",
        "mov rsi, [r10 + 8]",
        "mov rdx, [r10 + 16]",
        "mov rcx, [r10 + 24]",
        "mov r8, [r10 + 32]",
        "mov r9, [r10 + 40]",
        "call r12",
        "add rsp, 16",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// Writes what it is called with to `seen` of [`call`].
#[unsafe(naked)]
pub unsafe extern "C" fn echo() {
    naked_asm!(
        "mov [rbx], rdi",
        "mov [rbx + 8], rsi",
        "mov [rbx + 16], rdx",
        "mov [rbx + 24], rcx",
        "mov [rbx + 32], r8",
        "mov [rbx + 40], r9",
        "mov rax, [rsp + 8]",
        "mov [rbx + 56], rax",
        "movups [rbx + 64], xmm0",
        "movups [rbx + 80], xmm1",
        "movups [rbx + 96], xmm2",
        "movups [rbx + 112], xmm3",
        "movups [rbx + 128], xmm4",
        "movups [rbx + 144], xmm5",
        "movups [rbx + 160], xmm6",
        "movups [rbx + 176], xmm7",
        "mov [rbx + 192], rbp",
        "mov rax, [rsp]",
        "mov [rbx + 200], rax",
        "ret",
    )
}

/// Overwrites all registers that a function may, but for its result.
#[unsafe(naked)]
pub unsafe extern "C" fn clobber() {
    naked_asm!(
        "mov rdi, -1",
        "mov rsi, -1",
        "mov rdx, -1",
        "mov rcx, -1",
        "mov r8, -1",
        "mov r9, -1",
        "mov r10, -1",
        "mov r11, -1",
        "pcmpeqd xmm0, xmm0",
        "pcmpeqd xmm1, xmm1",
        "pcmpeqd xmm2, xmm2",
        "pcmpeqd xmm3, xmm3",
        "pcmpeqd xmm4, xmm4",
        "pcmpeqd xmm5, xmm5",
        "pcmpeqd xmm6, xmm6",
        "pcmpeqd xmm7, xmm7",
        "ret",
    )
}
