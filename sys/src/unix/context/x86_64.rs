//! The interrupted registers in a signal's context, on x86-64.

const DIRECTION_FLAG: libc::greg_t = 1 << 10;

fn register(context: &libc::ucontext_t, index: libc::c_int) -> usize {
    context.uc_mcontext.gregs[index as usize] as usize
}

/// The faulting instruction.
pub fn pc(context: &libc::ucontext_t) -> usize {
    register(context, libc::REG_RIP)
}

/// The stack pointer.
pub fn sp(context: &libc::ucontext_t) -> usize {
    register(context, libc::REG_RSP)
}

/// The frame pointer.
pub fn fp(context: &libc::ucontext_t) -> usize {
    register(context, libc::REG_RBP)
}

/// Continues elsewhere when the signal handler returns.
///
/// `mxcsr` and the x87 state come back as the interrupted code had them, which are the process's
/// own since generated code does not change them. The direction flag is cleared, as all code
/// expects it at a call.
pub fn resume(context: &mut libc::ucontext_t, pc: usize, sp: usize, fp: usize) {
    let registers = &mut context.uc_mcontext.gregs;
    registers[libc::REG_RIP as usize] = pc as libc::greg_t;
    registers[libc::REG_RSP as usize] = sp as libc::greg_t;
    registers[libc::REG_RBP as usize] = fp as libc::greg_t;
    registers[libc::REG_EFL as usize] &= !DIRECTION_FLAG;
}
