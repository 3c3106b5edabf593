//! A store without its user's data.

use std::any::Any;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use bimetal_abi::{ValRaw, VmContextHeader, VmFuncRef, VmGlobal, VmStoreContext};
use cranelift_entity::{PrimaryMap, entity_impl};

use super::allocator::TableStorage;
use super::definition::Definition;
use super::exceptions::Handlers;
use super::externs::Externs;
use super::fiber::Current;
use super::gc::{Roots, StoreHeap};
use super::host::{HostFuncInstance, val_of};
use super::instance::{InstanceData, InstanceId};
use super::interrupt::Metering;
use super::memory::{LinearMemory, MemoryId};
use super::shared::SharedMemory;
use super::storage::MemoryStorage;
use super::table::{Table, TableId, elements_for};
use super::tags::{TagData, TagId};
use crate::call_hook::CallHook;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::limits::{Asked, Request};
use crate::registry::RegisteredType;
use crate::store::StoreInner;
use crate::types::{GlobalType, TableType};
use crate::val::Val;

/// A store's identity, unique in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StoreId(u64);

impl StoreId {
    fn new() -> StoreId {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        StoreId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A global of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GlobalId(u32);
entity_impl!(GlobalId);

/// A function of a store: what a non-null `funcref` is. The only type of such a pointer outside of
/// this module; it says nothing about which store, so handles carry a [`StoreId`] beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FuncPtr(NonNull<VmFuncRef>);

// SAFETY: the pointer is only followed with a borrow of the store that owns what it points to.
unsafe impl Send for FuncPtr {}
// SAFETY: as above.
unsafe impl Sync for FuncPtr {}

impl FuncPtr {
    /// # Safety
    /// `raw` must be null or point to a function of the store that the result is used with.
    pub(super) unsafe fn from_raw(raw: *mut VmFuncRef) -> Option<FuncPtr> {
        NonNull::new(raw).map(FuncPtr)
    }

    pub(super) fn new(raw: NonNull<VmFuncRef>) -> FuncPtr {
        FuncPtr(raw)
    }

    #[inline]
    pub(crate) fn as_ptr(self) -> *mut VmFuncRef {
        self.0.as_ptr()
    }

    /// The engine-wide id of its type. The store is borrowed to show that it is alive.
    pub(crate) fn type_id(self, _store: &StoreOpaque) -> u32 {
        // SAFETY: a function of a store that is alive.
        unsafe { (*self.0.as_ptr()).type_id }
    }
}

/// A global with its definition.
#[derive(Debug)]
pub(crate) struct Global {
    pub(super) def: Definition<VmGlobal>,
    pub(super) ty: GlobalType,
}

#[cold]
fn foreign(what: &str) -> Error {
    Error::usage(format_args!("this {what} belongs to another store"))
}

/// See [`StoreOpaque::ask_limiter`].
type AskLimiter = unsafe fn(*mut u8, Request) -> Result<bool>;

/// # Safety
/// `store` must be a `StoreInner<T>` that the caller has exclusively, called by its wasm.
unsafe fn ask_limiter<T: 'static>(store: *mut u8, request: Request) -> Result<bool> {
    // SAFETY: the caller's promise.
    let inner = unsafe { &mut *store.cast::<StoreInner<T>>() };
    let (opaque, data, limiter) = inner.limiter_parts();
    let Some(limiter) = limiter else {
        return Ok(true);
    };
    match limiter.ask(data, request)? {
        Asked::Now(allowed) => Ok(allowed),
        Asked::Soon(answer) => {
            let here = opaque.fiber("the store's limiter")?;
            // SAFETY: called by wasm; the future has the only part of the store that is in use.
            unsafe { here.block_on(answer) }?
        }
    }
}

/// See [`StoreOpaque::tell_call_hook`].
type TellCallHook = unsafe fn(*mut u8, CallHook) -> Result<()>;

/// # Safety
/// As for [`ask_limiter`].
unsafe fn tell_call_hook<T: 'static>(store: *mut u8, what: CallHook) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { (*store.cast::<StoreInner<T>>()).tell_call_hook(what) }
}

/// What stopped wasm code by way of `raise`.
pub(crate) enum Pending {
    Error(Error),
    /// The exception that is `StoreOpaque::thrown`, and what it is if nobody catches it.
    Exception(Error),
    Panic(Box<dyn Any + Send>),
}

/// A store without its user's data: everything that its instances use.
pub struct StoreOpaque {
    id: StoreId,
    engine: Engine,
    /// Boxed; only reached through this pointer and by generated code.
    context: NonNull<VmStoreContext>,
    /// Asks the limiter of the whole store, whose type is forgotten here.
    ask_limiter: AskLimiter,
    /// Tells its call hook.
    tell_call_hook: TellCallHook,
    /// Whether host functions are called through trampolines that do.
    pub(super) hooked: bool,
    /// How often wasm has been entered while none was running.
    pub(super) entries: u64,
    pub(super) metering: Metering,
    max_wasm_stack: usize,
    /// What the store's code runs on, while it runs.
    pub(super) fiber: Current,
    /// The caller context of calls from the host: a header without an instance.
    host_caller: NonNull<VmContextHeader>,
    pub(super) memories: PrimaryMap<MemoryId, LinearMemory>,
    pub(super) tables: PrimaryMap<TableId, Table>,
    pub(super) globals: PrimaryMap<GlobalId, Global>,
    pub(super) instances: PrimaryMap<InstanceId, InstanceData>,
    pub(super) host_funcs: Vec<HostFuncInstance>,
    pub(crate) externs: Externs,
    pub(super) gc: StoreHeap,
    pub(super) roots: Roots,
    /// Types of objects that the host makes.
    kept_types: HashMap<u32, RegisteredType>,
    /// The globals that hold references for the collector, of those that it has looked at.
    traced_globals: Vec<GlobalId>,
    looked_at: usize,
    pub(super) tags: PrimaryMap<TagId, TagData>,
    pub(super) tag_addresses: HashMap<usize, TagId>,
    pub(super) handlers: Handlers,
    /// The exception that is being thrown, or that left wasm and was not taken; 0 is none.
    pub(crate) thrown: u32,
    pending: Option<Pending>,
}

// SAFETY: the raw pointers are to memory that this store owns; host functions and externref data
// are required to be `Send + Sync` where they come in.
unsafe impl Send for StoreOpaque {}
// SAFETY: nothing is changed through a shared reference.
unsafe impl Sync for StoreOpaque {}

impl StoreOpaque {
    pub(crate) fn new<T: 'static>(engine: &Engine) -> StoreOpaque {
        let context = NonNull::from(Box::leak(Box::new(VmStoreContext::new(
            engine.types().infos(),
        ))));
        let host_caller = NonNull::from(Box::leak(Box::new(VmContextHeader {
            magic: VmContextHeader::MAGIC,
            reserved: 0,
            store: context.as_ptr(),
            builtins: super::builtins::table(),
            entry: std::ptr::null(),
            type_ids: std::ptr::null(),
            instance: std::ptr::null_mut(),
        })));
        StoreOpaque {
            id: StoreId::new(),
            engine: engine.clone(),
            context,
            ask_limiter: ask_limiter::<T>,
            tell_call_hook: tell_call_hook::<T>,
            hooked: false,
            entries: 0,
            metering: Metering::new::<T>(context, engine.tunables()),
            max_wasm_stack: engine.max_wasm_stack(),
            fiber: Current::NONE,
            host_caller,
            memories: PrimaryMap::new(),
            tables: PrimaryMap::new(),
            globals: PrimaryMap::new(),
            instances: PrimaryMap::new(),
            host_funcs: Vec::new(),
            externs: Externs::default(),
            gc: StoreHeap::default(),
            roots: Roots::default(),
            kept_types: HashMap::new(),
            traced_globals: Vec::new(),
            looked_at: 0,
            tags: PrimaryMap::new(),
            tag_addresses: HashMap::new(),
            handlers: Handlers::default(),
            thrown: 0,
            pending: None,
        }
    }

    #[inline]
    pub(crate) fn id(&self) -> StoreId {
        self.id
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    #[inline]
    pub(super) fn context(&self) -> NonNull<VmStoreContext> {
        self.context
    }

    /// Bytes of stack that wasm may use from where it is entered.
    #[inline]
    pub(super) fn max_wasm_stack(&self) -> usize {
        self.max_wasm_stack
    }

    #[inline]
    pub(super) fn host_caller(&self) -> NonNull<VmContextHeader> {
        self.host_caller
    }

    /// The store of code that is running: the one way to recover it.
    ///
    /// # Safety
    /// `context` must be that of a store in which wasm is running on this thread and which has
    /// just called us, so that the `&mut` given up by the entry is ours until we return.
    pub(super) unsafe fn from_context<'a>(context: *mut VmStoreContext) -> &'a mut StoreOpaque {
        // SAFETY: `enter` wrote a pointer to the whole store there, and the store begins with its
        // `StoreOpaque`; exclusive by the caller's promise.
        unsafe { &mut *(*context).store.cast() }
    }

    /// Asks the limiter of the store in which wasm is running.
    ///
    /// # Safety
    /// As for [`StoreOpaque::from_context`], and no reference to any part of the store is in use.
    pub(super) unsafe fn ask_limiter(
        context: *mut VmStoreContext,
        request: Request,
    ) -> Result<bool> {
        // SAFETY: the caller's promise; `enter` wrote a pointer to the whole store there.
        unsafe { StoreOpaque::ask_limiter_of((*context).store.cast(), request) }
    }

    /// Asks the limiter of a store.
    ///
    /// # Safety
    /// `store` is part of a whole store that the caller has exclusively, and no reference to any part
    /// of it is in use.
    pub(super) unsafe fn ask_limiter_of(store: *mut StoreOpaque, request: Request) -> Result<bool> {
        // SAFETY: the caller's promise; the function was made for the store's type.
        unsafe { ((*store).ask_limiter)(store.cast(), request) }
    }

    /// Tells the call hook of the store in which wasm is running.
    ///
    /// # Safety
    /// As for [`StoreOpaque::ask_limiter`].
    pub(super) unsafe fn tell_call_hook(
        context: *mut VmStoreContext,
        what: CallHook,
    ) -> Result<()> {
        // SAFETY: the caller's promise; the function was made for the store's type.
        unsafe {
            let store = (*context).store;
            let tell = (*store.cast::<StoreOpaque>()).tell_call_hook;
            tell(store, what)
        }
    }

    /// Whether what stops wasm code is a panic.
    pub(super) fn is_panicking(&self) -> bool {
        matches!(self.pending, Some(Pending::Panic(_)))
    }

    /// Whether it is an exception.
    pub(super) fn is_throwing(&self) -> bool {
        matches!(self.pending, Some(Pending::Exception(_)))
    }

    /// How many instances, memories and tables there are.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        (self.instances.len(), self.memories.len(), self.tables.len())
    }

    /// Refuses a handle of another store.
    #[inline]
    pub(crate) fn check(&self, id: StoreId, what: &str) -> Result<()> {
        match self.id == id {
            true => Ok(()),
            false => Err(foreign(what)),
        }
    }

    pub(crate) fn set_pending(&mut self, pending: Pending) {
        self.pending = Some(pending);
    }

    pub(crate) fn take_pending(&mut self) -> Option<Pending> {
        self.pending.take()
    }

    pub(crate) fn instances(&self) -> impl Iterator<Item = InstanceId> + '_ {
        self.instances.keys()
    }

    pub(crate) fn memory(&self, id: MemoryId) -> &LinearMemory {
        &self.memories[id]
    }

    pub(crate) fn memory_mut(&mut self, id: MemoryId) -> &mut LinearMemory {
        &mut self.memories[id]
    }

    pub(crate) fn table(&self, id: TableId) -> &Table {
        &self.tables[id]
    }

    pub(crate) fn table_mut(&mut self, id: TableId) -> &mut Table {
        &mut self.tables[id]
    }

    pub(super) fn two_tables(&mut self, a: TableId, b: TableId) -> Option<(&mut Table, &Table)> {
        let [a, b] = self.tables.get_disjoint_mut([a, b]).ok()?;
        Some((a, b))
    }

    /// A memory of the host's.
    pub(crate) fn new_memory(&mut self, ty: bimetal_wasm::MemoryType) -> Result<MemoryId> {
        let plan = bimetal_abi::MemoryPlan::new(ty, self.engine.tunables());
        let bytes = ty.minimum_byte_size();
        let storage = MemoryStorage::new(&plan, bytes, bytes)?;
        // SAFETY: no `def` is given.
        let memory = unsafe { LinearMemory::new(plan, storage, None) };
        Ok(self.memories.push(memory))
    }

    /// A shared memory, as one of this store.
    pub(crate) fn add_shared_memory(&mut self, memory: &SharedMemory) -> MemoryId {
        let same = |other: &LinearMemory| {
            let other = other.shared();
            other.is_some_and(|other| SharedMemory::same(other, memory))
        };
        let known = self.memories.iter().find(|(_, other)| same(other));
        match known.map(|(id, _)| id) {
            Some(id) => id,
            None => self.memories.push(LinearMemory::of_shared(memory.clone())),
        }
    }

    /// A table of the host's.
    pub(crate) fn new_table(&mut self, ty: TableType) -> Result<TableId> {
        let storage = TableStorage::new(elements_for(ty.minimum())?);
        // SAFETY: no `def` is given.
        let table = unsafe { Table::new(ty, storage, None, None) };
        Ok(self.tables.push(table))
    }

    /// A global of the host's.
    pub(crate) fn new_global(&mut self, ty: GlobalType) -> GlobalId {
        let def = Definition::boxed(VmGlobal { bytes: [0; 16] });
        self.globals.push(Global { def, ty })
    }

    pub(crate) fn global_type(&self, id: GlobalId) -> &GlobalType {
        &self.globals[id].ty
    }

    /// The value of a global.
    pub(crate) fn global_val(&self, id: GlobalId) -> Val {
        let raw = ValRaw {
            bytes: self.global_get(id),
        };
        // SAFETY: a global holds values of its type, of this store.
        unsafe { val_of(self, self.global_type(id).content(), &raw) }
    }

    /// The raw bytes of a global: little-endian.
    pub(crate) fn global_get(&self, id: GlobalId) -> [u8; 16] {
        // SAFETY: the definition lives as long as the store, which is borrowed.
        unsafe { (*self.globals[id].def.as_ptr()).bytes }
    }

    pub(crate) fn global_set(&mut self, id: GlobalId, bytes: [u8; 16]) {
        // SAFETY: as for `global_get`, borrowed mutably.
        unsafe { (*self.globals[id].def.as_ptr()).bytes = bytes }
    }

    /// Keeps a type as long as the store: objects refer to it by number.
    pub(crate) fn keep_type(&mut self, ty: &RegisteredType) {
        self.kept_types.entry(ty.id).or_insert_with(|| ty.clone());
    }

    /// Shows where each global has its reference, of those that the collector follows.
    pub(super) fn each_traced_global(&mut self, mut visit: impl FnMut(*mut u32)) {
        let new = self.globals.iter().skip(self.looked_at);
        let traced = new.filter(|(_, global)| global.ty.content().is_traced());
        self.traced_globals.extend(traced.map(|(id, _)| id));
        self.looked_at = self.globals.len();
        for &id in &self.traced_globals {
            visit(self.globals[id].def.as_ptr().cast());
        }
    }

    /// A funcref out of its raw form, as wasm of this store gave it.
    ///
    /// # Safety
    /// `raw` must be a raw funcref that code or a table of this store held.
    pub(super) unsafe fn func_from_raw(&self, raw: u64) -> Option<FuncPtr> {
        // SAFETY: the caller's promise.
        unsafe { FuncPtr::from_raw(raw as *mut VmFuncRef) }
    }
}

impl Drop for StoreOpaque {
    fn drop(&mut self) {
        self.stop_signals();
        // User values may run code when dropped, but none that can reach this store.
        let _ = std::panic::catch_unwind(AssertUnwindSafe(|| {
            self.pending = None;
            self.externs = Externs::default();
        }));
        self.globals.clear();
        self.tags.clear();
        self.free_instances();
        self.free_heap();
        // SAFETY: both were leaked from boxes by `new`, and no code runs any more.
        unsafe {
            drop(Box::from_raw(self.host_caller.as_ptr()));
            drop(Box::from_raw(self.context.as_ptr()));
        }
    }
}

impl std::fmt::Debug for StoreOpaque {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreOpaque")
            .field("id", &self.id)
            .field("instances", &self.instances.len())
            .finish_non_exhaustive()
    }
}
