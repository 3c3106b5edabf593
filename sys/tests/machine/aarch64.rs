//! Calls with all registers of the `Tail` convention, and code bytes, for aarch64.

use std::arch::naked_asm;

use bimetal_abi::VmStoreContext;
use bimetal_sys::{FaultKind, ReturnArea};

use crate::Registers;

/// Integer argument registers: `x2`–`x8`.
pub const INTEGERS: usize = 7;

/// Where the callee's and the caller's context are among them.
pub fn contexts(_area: ReturnArea) -> (usize, usize) {
    (0, 1)
}

/// Code `fn() -> u32 { value }`.
pub fn returning(value: u32) -> Vec<u8> {
    [
        0x5280_0000 | (value & 0xffff) << 5,
        0x72a0_0000 | (value >> 16) << 5,
        0xd65f_03c0_u32,
    ]
    .map(u32::to_le_bytes)
    .concat()
}

/// Code that reads the `u64` that its argument points to, and the offset of the instruction.
pub const LOAD: (&[u8], usize) = (
    &[
        0x1f, 0x20, 0x03, 0xd5, // nop
        0x00, 0x00, 0x40, 0xf9, // ldr x0, [x0]
        0xc0, 0x03, 0x5f, 0xd6, // ret
    ],
    4,
);

/// Code that faults in other ways.
pub const FAULTS: &[(&[u8], FaultKind)] = &[(&[0, 0, 0, 0], FaultKind::Ill)];

/// Calls `function(data)` as a host → wasm trampoline would. Whether it returned.
#[unsafe(naked)]
pub unsafe extern "C" fn enter(
    store: *mut VmStoreContext,
    function: unsafe extern "C" fn(*mut u8),
    data: *mut u8,
) -> u32 {
    naked_asm!(
        "stp x29, x30, [sp, #-160]!",
        "mov x29, sp",
        "stp x19, x20, [sp, #16]",
        "stp x21, x22, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x25, x26, [sp, #64]",
        "stp x27, x28, [sp, #80]",
        "stp d8, d9, [sp, #96]",
        "stp d10, d11, [sp, #112]",
        "stp d12, d13, [sp, #128]",
        "stp d14, d15, [sp, #144]",
        "mov x9, sp",
        "str x9, [x0, #{sp}]",
        "str x29, [x0, #{fp}]",
        "adr x9, 2f",
        "str x9, [x0, #{handler}]",
        "mov x0, x2",
        "blr x1",
        "mov w0, #1",
        "b 3f",
        "2:",
        "mov w0, #0",
        "3:",
        "ldp x19, x20, [sp, #16]",
        "ldp x21, x22, [sp, #32]",
        "ldp x23, x24, [sp, #48]",
        "ldp x25, x26, [sp, #64]",
        "ldp x27, x28, [sp, #80]",
        "ldp d8, d9, [sp, #96]",
        "ldp d10, d11, [sp, #112]",
        "ldp d12, d13, [sp, #128]",
        "ldp d14, d15, [sp, #144]",
        "ldp x29, x30, [sp], #160",
        "ret",
        sp = const VmStoreContext::ENTRY_SP,
        fp = const VmStoreContext::ENTRY_FP,
        handler = const VmStoreContext::ENTRY_HANDLER,
    )
}

/// Calls `code` with `arguments`, the first of them also in `x0`; [`echo`] finds `seen`.
#[unsafe(naked)]
pub unsafe extern "C" fn call(
    code: *const u8,
    arguments: *const Registers,
    seen: *mut Registers,
) -> u64 {
    naked_asm!(
        "stp x29, x30, [sp, #-48]!",
        "mov x29, sp",
        "str x19, [sp, #32]",
        "mov x19, x2",
        "mov x16, x0",
        "mov x9, x1",
        "ldr x10, [x9, #56]",
        "str x10, [sp, #-16]!",
        "ldp q0, q1, [x9, #64]",
        "ldp q2, q3, [x9, #96]",
        "ldp q4, q5, [x9, #128]",
        "ldp q6, q7, [x9, #160]",
        "ldp x2, x3, [x9]",
        "ldp x4, x5, [x9, #16]",
        "ldp x6, x7, [x9, #32]",
        "ldr x8, [x9, #48]",
        "mov x0, x2",
        "blr x16",
        "add sp, sp, #16",
        "ldr x19, [sp, #32]",
        "ldp x29, x30, [sp], #48",
        "ret",
    )
}

/// Writes what it is called with to `seen` of [`call`].
#[unsafe(naked)]
pub unsafe extern "C" fn echo() {
    naked_asm!(
        "stp x2, x3, [x19]",
        "stp x4, x5, [x19, #16]",
        "stp x6, x7, [x19, #32]",
        "ldr x9, [sp]",
        "stp x8, x9, [x19, #48]",
        "stp q0, q1, [x19, #64]",
        "stp q2, q3, [x19, #96]",
        "stp q4, q5, [x19, #128]",
        "stp q6, q7, [x19, #160]",
        "stp x29, x30, [x19, #192]",
        "ret",
    )
}

/// Overwrites argument registers, but for the result.
#[unsafe(naked)]
pub unsafe extern "C" fn clobber() {
    naked_asm!(
        "mov x1, #-1",
        "mov x2, #-1",
        "mov x3, #-1",
        "mov x4, #-1",
        "mov x5, #-1",
        "mov x6, #-1",
        "mov x7, #-1",
        "mov x8, #-1",
        "movi v0.2d, #0",
        "movi v1.2d, #0",
        "movi v2.2d, #0",
        "movi v3.2d, #0",
        "movi v4.2d, #0",
        "movi v5.2d, #0",
        "movi v6.2d, #0",
        "movi v7.2d, #0",
        "ret",
    )
}
