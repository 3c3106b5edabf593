//! The calling conventions, in words.
//!
//! **wasm → wasm** (`Tail` of the pinned Cranelift): `(callee_vmctx: ptr, caller_vmctx: ptr,
//! params…) -> results…`. `i32 i64 f32 f64 v128` are themselves; an `externref` is an `i32`
//! (a handle of the store, 0 is null); a `funcref` is a pointer to a [`VmFuncRef`](crate::VmFuncRef)
//! or null. Frame pointers are kept, so frames are walked by `fp -> [fp] = caller's fp,
//! [fp + 8] = return address`.
//!
//! A function with more than eight integer or more than eight float and vector results is passed
//! a *return area* in front of all arguments. On x86-64 that moves the contexts by one register,
//! on aarch64 it has a register of its own; stubs come in two kinds for it.
//!
//! A call goes
//! - *direct* (`CallMode::Direct`): a relocation against the callee, both compiled as final in one
//!   region;
//! - *through the entry cell* (`CallMode::Cell`): `vmctx.entry[defined index]`, loaded each time;
//! - *to an import*: `import.cell` is loaded, then `*cell`; `callee_vmctx = import.vmctx`;
//! - *indirect*: null check, signature check (`funcref.type_id` against
//!   `vmctx.type_ids[type index]`), then as an import.
//!
//! An entry cell holds code of this convention from the first moment: at the start the address of
//! a lazy stub, which preserves all argument registers and stack arguments, compiles, and jumps.
//! A stub for function `k` finds `k` (the *defined* index) in a scratch register (x86-64: `eax`;
//! aarch64: `w9`) that is loaded by a two-instruction prefix, one prefix per index, shared by all
//! modules of a process.
//!
//! **host → wasm** (a trampoline per signature, `Trampoline::HostToWasm`): the system convention,
//! `(callee_vmctx: ptr, caller_vmctx: ptr, code: ptr, args: *mut ValRaw) -> u64`. Parameters are
//! read from `args`, results written over them from index 0. It records `entry_fp`, `entry_sp` and
//! `entry_handler` in the store context (found through *caller_vmctx*, for which the host passes a
//! [`VmContextHeader`](crate::VmContextHeader) of the store that has no instance) and calls the code
//! under a catch-all handler. It returns 1 on a return, 0 if the handler was entered. The reason
//! is then where whoever stopped wasm left it: with the host's entry for a machine fault, in the
//! store for `raise`.
//!
//! **wasm → host** (trampolines per signature, in the `Tail` convention, with a
//! [`VmHostContext`](crate::VmHostContext) as callee_vmctx). They record their own frame pointer as
//! `exit_fp` and 0 as `exit_pc` in the store context of *caller_vmctx*, and then
//! - *native*: `host.native(host: *mut VmHostContext, caller: *mut VmContextHeader, params…,
//!   rets: *mut ValRaw) -> NativeReturn` in the system convention. `v128` goes by pointer to 16
//!   aligned bytes. With at most one result, not a `v128`, the result's bits come back in
//!   `NativeReturn::value` and `rets` is null; else all results are written to `rets`.
//! - *array*: `host.native(host, caller, values: *mut ValRaw, count: usize) -> NativeReturn`:
//!   parameters in `values`, results written over them.
//!
//! If `NativeReturn::status` is not 0, an error was put into the store and `value` is *caller*; the
//! trampoline calls the builtin `raise`, which does not return. Trampolines for stores with a call
//! hook also call the builtins `calling_host` before and `returning_from_host` after.
//!
//! Where the two conventions agree about all arguments and the result, a typed host function needs no
//! trampoline (but for call hooks): `VmHostContext::direct` holds its own entry in the `Tail` convention,
//! which records the caller's frame and the return address as builtins do (`host_stub!` of
//! `bimetal-sys`) and does what `raise` does itself. That takes one indirect jump instead of two.
//!
//! **wasm → builtin**: the system convention, `(vmctx: ptr, params…) -> result` through
//! `vmctx.builtins[n]`. The entry there is a stub that records `exit_fp`/`exit_pc` and jumps on;
//! generated code does nothing but call it and look at the result as
//! [`BuiltinReturn`](crate::BuiltinReturn) says. Entries of those that are `Preserved` are called in
//! Cranelift's `PreserveAll` convention: their stub saves and restores every register.
//!
//! **Stack overflow**: each function compares its stack pointer with
//! `vmctx.store.stack_limit` and traps with [`TrapCode::StackOverflow`](crate::TrapCode). A machine
//! fault there, when the limit is `VmStoreContext::INTERRUPTED`, is no overflow: the runtime does
//! what it has to and starts the function again, which must therefore have changed nothing but its
//! own frame and scratch registers.
//!
//! **An exception** goes on at the handler of the innermost frame that has one for the return
//! address of its call (`bimetal_codegen::Handler`), with the stack and frame pointers of that frame
//! and the reference to the exception in the first result register (`rax`, `x0`); all other registers
//! are clobbered. Without such a frame above the newest entry it resumes there as a trap does.
//!
//! **A trap** is a machine fault at a recorded site, or `raise`. Either resumes at the store
//! context's `entry_handler` with `entry_sp`, `entry_fp`; all registers are clobbered.
