//! Structures that generated code reads and writes.
//!
//! All are `#[repr(C)]`; generated code uses the `offset_of!` of their fields (see each
//! structure's constants). Pointers are raw and owned by the engine; nothing here dereferences.

use std::mem::offset_of;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize};

use crate::gc::VmTypeInfo;

/// The fixed start of every instance context; the variable part follows as
/// [`VmOffsets`](crate::VmOffsets) lays it out.
#[repr(C)]
#[derive(Debug)]
pub struct VmContextHeader {
    /// [`Self::MAGIC`] for a wasm instance, [`VmHostContext::MAGIC`] for a host function.
    pub magic: u32,
    /// Zero.
    pub reserved: u32,
    /// The store's part that generated code uses.
    pub store: *mut VmStoreContext,
    /// `Builtin` entries, indexed by `Builtin as usize`.
    pub builtins: *const *const u8,
    /// The loaded module's entry cells, indexed by defined function.
    pub entry: *const AtomicPtr<u8>,
    /// Engine-wide type ids of the module's types, indexed by module type index.
    pub type_ids: *const u32,
    /// The engine's own instance data; opaque to generated code.
    pub instance: *mut u8,
}

impl VmContextHeader {
    /// `"core"`.
    pub const MAGIC: u32 = u32::from_le_bytes(*b"core");
    /// Offset of `store`.
    pub const STORE: u32 = offset_of!(Self, store) as u32;
    /// Offset of `builtins`.
    pub const BUILTINS: u32 = offset_of!(Self, builtins) as u32;
    /// Offset of `entry`.
    pub const ENTRY: u32 = offset_of!(Self, entry) as u32;
    /// Offset of `type_ids`.
    pub const TYPE_IDS: u32 = offset_of!(Self, type_ids) as u32;
    /// Offset of `instance`.
    pub const INSTANCE: u32 = offset_of!(Self, instance) as u32;
}

/// The callee context of a host function.
#[repr(C)]
#[derive(Debug)]
pub struct VmHostContext {
    /// [`Self::MAGIC`].
    pub magic: u32,
    /// The engine-wide id of the function's type.
    pub type_id: u32,
    /// The store that owns this function.
    pub store: *mut VmStoreContext,
    /// The host code that the wasm → host trampoline calls, see [`crate::convention`].
    pub native: *const u8,
    /// Opaque to generated code: the closure.
    pub data: *mut u8,
    /// Opaque to generated code: 0 for a native, 1 for an array function.
    pub kind: u64,
    /// The entry cell of a function that needs no trampoline; else null and of no use.
    pub direct: AtomicPtr<u8>,
}

impl VmHostContext {
    /// `"host"`.
    pub const MAGIC: u32 = u32::from_le_bytes(*b"host");
    /// Offset of `native`.
    pub const NATIVE: u32 = offset_of!(Self, native) as u32;
    /// Offset of `store`; the same as in a [`VmContextHeader`].
    pub const STORE: u32 = offset_of!(Self, store) as u32;
}

const _: () = assert!(VmHostContext::STORE == VmContextHeader::STORE);

/// A store's state that generated code and stubs use. What code touches all the time is in one
/// cache line.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct VmStoreContext {
    /// A function whose stack pointer would be below this traps. [`Self::INTERRUPTED`], which every
    /// stack pointer is below, if it is to see to `interrupt` first.
    pub stack_limit: AtomicUsize,
    /// Not zero when something wants wasm code to call the builtin `interrupt`, and then above all
    /// addresses of this context ([`Self::LOWEST_WISH`]): code may compare it with either. Written by
    /// any thread.
    pub interrupt: AtomicU64,
    /// Fuel consumed minus fuel given: runs out at ≥ 0. Unused while fuel is off.
    pub fuel: i64,
    /// Frame pointer of the newest wasm frame, at its last exit to the host; or of the trampoline
    /// above it, if `exit_pc` is 0.
    pub exit_fp: usize,
    /// Return address into the newest wasm frame, at its last exit to the host; or 0, and the
    /// trampoline's frame has it.
    pub exit_pc: usize,
    /// Frame pointer of the newest host → wasm trampoline.
    pub entry_fp: usize,
    /// Stack pointer of the newest host → wasm trampoline, at its call.
    pub entry_sp: usize,
    /// Address at which the newest host → wasm trampoline handles a trap.
    pub entry_handler: usize,
    /// The engine's own store; opaque to generated code.
    pub store: *mut u8,
    /// What `stack_limit` is when nobody wants anything. Not for generated code.
    pub own_stack_limit: AtomicUsize,
    /// The stack check that found the limit to be [`Self::INTERRUPTED`]. Not for generated code.
    pub interrupted_pc: usize,
    /// What a builtin that keeps all registers is called with.
    pub arguments: [u64; 2],
    /// The first byte of the heap of objects; null as long as there is none. It never changes then.
    pub gc_base: *mut u8,
    /// The reference that the next object gets, if it ends at or before `gc_limit`.
    pub gc_next: u32,
    /// Where the free room after `gc_next` ends; 0 if each allocation shall call the runtime.
    pub gc_limit: u32,
    /// The engine's types by number.
    pub types: *const VmTypeInfo,
    /// The engine's record of the newest entry into this store. Not for generated code.
    pub activation: *const u8,
}

impl VmStoreContext {
    /// That of a store in which nothing has run yet.
    pub const fn new(types: *const VmTypeInfo) -> VmStoreContext {
        VmStoreContext {
            stack_limit: AtomicUsize::new(0),
            interrupt: AtomicU64::new(0),
            fuel: 0,
            exit_fp: 0,
            exit_pc: 0,
            entry_fp: 0,
            entry_sp: 0,
            entry_handler: 0,
            store: std::ptr::null_mut(),
            own_stack_limit: AtomicUsize::new(0),
            interrupted_pc: 0,
            arguments: [0; 2],
            gc_base: std::ptr::null_mut(),
            gc_next: 0,
            gc_limit: 0,
            types,
            activation: std::ptr::null(),
        }
    }

    /// What `interrupt` is at least, when it is not zero.
    pub const LOWEST_WISH: u64 = 1 << 62;
    /// A `stack_limit` above all stacks, with room above for the frame's size that is added to it.
    pub const INTERRUPTED: usize = 1 << (usize::BITS - 1);
    /// Offset of `stack_limit`.
    pub const STACK_LIMIT: u32 = offset_of!(Self, stack_limit) as u32;
    /// Offset of `fuel`.
    pub const FUEL: u32 = offset_of!(Self, fuel) as u32;
    /// Offset of `exit_fp`.
    pub const EXIT_FP: u32 = offset_of!(Self, exit_fp) as u32;
    /// Offset of `exit_pc`.
    pub const EXIT_PC: u32 = offset_of!(Self, exit_pc) as u32;
    /// Offset of `entry_fp`.
    pub const ENTRY_FP: u32 = offset_of!(Self, entry_fp) as u32;
    /// Offset of `entry_sp`.
    pub const ENTRY_SP: u32 = offset_of!(Self, entry_sp) as u32;
    /// Offset of `entry_handler`.
    pub const ENTRY_HANDLER: u32 = offset_of!(Self, entry_handler) as u32;
    /// Offset of `arguments`.
    pub const ARGUMENTS: u32 = offset_of!(Self, arguments) as u32;
    /// Offset of `interrupt`.
    pub const INTERRUPT: u32 = offset_of!(Self, interrupt) as u32;
    /// Offset of `gc_base`.
    pub const GC_BASE: u32 = offset_of!(Self, gc_base) as u32;
    /// Offset of `gc_next`.
    pub const GC_NEXT: u32 = offset_of!(Self, gc_next) as u32;
    /// Offset of `gc_limit`.
    pub const GC_LIMIT: u32 = offset_of!(Self, gc_limit) as u32;
    /// Offset of `types`.
    pub const TYPES: u32 = offset_of!(Self, types) as u32;
}

/// A function reference: what a non-null `funcref` points to.
///
/// In an instance's context these are made when they are asked for; one that is not made yet has no
/// `cell`.
#[repr(C)]
#[derive(Debug)]
pub struct VmFuncRef {
    /// The entry cell of the function.
    pub cell: *const AtomicPtr<u8>,
    /// Its callee context.
    pub vmctx: *mut VmContextHeader,
    /// Engine-wide id of its type.
    pub type_id: u32,
    /// Zero.
    pub reserved: u32,
}

impl VmFuncRef {
    /// Offset of `cell`.
    pub const CELL: u32 = offset_of!(Self, cell) as u32;
    /// Offset of `vmctx`.
    pub const VMCTX: u32 = offset_of!(Self, vmctx) as u32;
    /// Offset of `type_id`.
    pub const TYPE_ID: u32 = offset_of!(Self, type_id) as u32;
    /// Size in bytes.
    pub const SIZE: u32 = size_of::<Self>() as u32;
}

/// An imported function.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct VmFuncImport {
    /// The entry cell of the function.
    pub cell: *const AtomicPtr<u8>,
    /// Its callee context.
    pub vmctx: *mut VmContextHeader,
}

impl VmFuncImport {
    /// Offset of `cell`.
    pub const CELL: u32 = offset_of!(Self, cell) as u32;
    /// Offset of `vmctx`.
    pub const VMCTX: u32 = offset_of!(Self, vmctx) as u32;
    /// Size in bytes.
    pub const SIZE: u32 = size_of::<Self>() as u32;
}

/// A linear memory as generated code sees it.
#[repr(C)]
#[derive(Debug)]
pub struct VmMemory {
    /// First byte.
    pub base: *mut u8,
    /// Current size in bytes.
    pub length: AtomicUsize,
}

impl VmMemory {
    /// Offset of `base`.
    pub const BASE: u32 = offset_of!(Self, base) as u32;
    /// Offset of `length`.
    pub const LENGTH: u32 = offset_of!(Self, length) as u32;
    /// Size in bytes.
    pub const SIZE: u32 = size_of::<Self>() as u32;
}

/// A table as generated code sees it. An element is 8 bytes.
///
/// In a table of external references it is a handle (`u32`), 0 for null. In a table of functions it
/// is a `*mut VmFuncRef`, or [`VmTable::NULL`]; 0 is null as well, but in a table that the code's own
/// module defines and that is lazy ([`LazyTables`](crate::LazyTables)): there it is an element to ask
/// the runtime for.
#[repr(C)]
#[derive(Debug)]
pub struct VmTable {
    /// First element.
    pub base: *mut u64,
    /// Current number of elements.
    pub length: usize,
    /// Not zero if an element was set to anything but what it is at first.
    pub written: u64,
}

impl VmTable {
    /// A null in a table of functions. Whoever takes it for an address faults as at null.
    pub const NULL: u64 = 1;
    /// Offset of `base`.
    pub const BASE: u32 = offset_of!(Self, base) as u32;
    /// Offset of `length`.
    pub const LENGTH: u32 = offset_of!(Self, length) as u32;
    /// Offset of `written`.
    pub const WRITTEN: u32 = offset_of!(Self, written) as u32;
    /// Size in bytes.
    pub const SIZE: u32 = size_of::<Self>() as u32;
    /// Size of an element in bytes.
    pub const ELEMENT: u32 = 8;
}

/// A global's value, little-endian in its low bytes whatever its type.
#[repr(C, align(16))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmGlobal {
    /// The bytes of the value.
    pub bytes: [u8; 16],
}

impl VmGlobal {
    /// Size in bytes.
    pub const SIZE: u32 = size_of::<Self>() as u32;
}

/// A value in transit through an array: the low bytes, in native byte order of the lane type
/// (`i32` in the first four bytes, and so on); a `v128` is its 16 little-endian bytes.
#[repr(C, align(16))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ValRaw {
    /// The bytes of the value.
    pub bytes: [u8; 16],
}

macro_rules! val_raw {
    ($($ty:ident $from:ident $get:ident;)*) => {
        impl ValRaw {
            $(
                #[doc = concat!("A value of type `", stringify!($ty), "`, other bytes zero.")]
                #[inline]
                pub const fn $from(value: $ty) -> ValRaw {
                    let mut bytes = [0; 16];
                    let source = value.to_ne_bytes();
                    let mut i = 0;
                    while i < source.len() {
                        bytes[i] = source[i];
                        i += 1;
                    }
                    ValRaw { bytes }
                }

                #[doc = concat!("The first bytes as a `", stringify!($ty), "`.")]
                #[inline]
                pub const fn $get(&self) -> $ty {
                    let mut target = [0; size_of::<$ty>()];
                    let mut i = 0;
                    while i < target.len() {
                        target[i] = self.bytes[i];
                        i += 1;
                    }
                    <$ty>::from_ne_bytes(target)
                }
            )*
        }
    };
}

val_raw! {
    i32 from_i32 get_i32;
    u32 from_u32 get_u32;
    i64 from_i64 get_i64;
    u64 from_u64 get_u64;
    usize from_usize get_usize;
}

impl ValRaw {
    /// Size in bytes.
    pub const SIZE: u32 = size_of::<Self>() as u32;

    /// A `v128`, as a number whose little-endian bytes are the lanes.
    #[inline]
    pub const fn from_v128(value: u128) -> ValRaw {
        ValRaw {
            bytes: value.to_le_bytes(),
        }
    }

    /// The `v128` that these bytes are.
    #[inline]
    pub const fn get_v128(&self) -> u128 {
        u128::from_le_bytes(self.bytes)
    }
}

/// What host code returns to its trampoline, in two integer registers.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct NativeReturn {
    /// The bits of the only result, zero-extended. After an error, the context of the caller: so the
    /// trampoline need not keep it. It comes first because wasm's result comes in that register too.
    pub value: u64,
    /// 0 on success; else an error was put into the store.
    pub status: u64,
}
