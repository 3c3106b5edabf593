//! The interrupted registers in a signal's context, on aarch64.

const FRAME_POINTER: usize = 29;

/// The faulting instruction.
pub fn pc(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.pc as usize
}

/// The stack pointer.
pub fn sp(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.sp as usize
}

/// The frame pointer.
pub fn fp(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.regs[FRAME_POINTER] as usize
}

/// Continues elsewhere when the signal handler returns. The floating-point control register comes
/// back as the interrupted code had it; generated code does not change it.
pub fn resume(context: &mut libc::ucontext_t, pc: usize, sp: usize, fp: usize) {
    context.uc_mcontext.pc = pc as u64;
    context.uc_mcontext.sp = sp as u64;
    context.uc_mcontext.regs[FRAME_POINTER] = fp as u64;
}
