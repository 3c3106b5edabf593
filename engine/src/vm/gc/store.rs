//! The heap as the store has it: made when it is first needed, asked for objects, collected.

use std::time::Instant;

use bimetal_abi::TrapCode;
use bimetal_abi::gc::{VmObject, VmTypeInfo};
use bimetal_wasm::{CompositeType, SubType};

use super::super::store::StoreOpaque;
use super::heap::{Heap, HeapConfig, NewObject};
use super::mark::HostMarks;
use super::object::array_size;
use super::roots::{OwnedRoot, RootHandle, ScopeStart};
use super::space::{NoRoom, Space};
use super::stack::{FrameCache, RootSet, StoreRoots};
use super::statistics::GcStats;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::limits::Request;

/// A store's part in garbage collection.
#[derive(Default)]
pub(crate) struct StoreHeap {
    heap: Option<Box<Heap>>,
    frames: FrameCache,
    stats: GcStats,
}

/// How much is to be collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Minor,
    Full,
}

impl StoreOpaque {
    pub(super) fn type_info(&self, type_id: u32) -> &VmTypeInfo {
        // SAFETY: who has a type's number keeps the type, and the table is the engine's.
        unsafe { &*(*self.context().as_ptr()).types.add(type_id as usize) }
    }

    /// Whether there is a heap yet.
    pub(crate) fn has_heap(&self) -> bool {
        self.gc.heap.is_some()
    }

    /// The heap; `None` if nothing was ever allocated.
    pub(super) fn heap(&mut self) -> Option<&mut Heap> {
        self.gc.heap.as_deref_mut()
    }

    /// Whether things may be collected now: not while raw references are where nobody finds them, on
    /// their way between host and wasm or in the registers of wasm that was interrupted.
    pub(in crate::vm) fn may_collect(&self) -> bool {
        !self.externs.is_in_transit()
    }

    /// Collects, if that is possible now.
    fn collect_heap(&mut self, extent: Extent) {
        if !self.may_collect() {
            return;
        }
        let Some(mut heap) = self.gc.heap.take() else {
            return;
        };
        let mut frames = std::mem::take(&mut self.gc.frames);
        let start = Instant::now();
        let mut roots = StoreRoots {
            store: self,
            frames: &mut frames,
        };
        // SAFETY: wasm is not running, or waits for us; the roots are all that a store has.
        let hosts = unsafe {
            match extent {
                Extent::Minor => heap.collect(&mut roots),
                Extent::Full => Some(heap.collect_all(&mut roots)),
            }
        };
        self.gc.stats.add_pause(start.elapsed());
        self.gc.frames = frames;
        self.gc.heap = Some(heap);
        if let Some(hosts) = hosts {
            self.drop_externs(hosts);
        }
    }

    /// Collects all objects and host values that are not reachable, if that is possible now.
    #[cold]
    pub(crate) fn collect(&mut self) {
        if self.has_heap() {
            return self.collect_heap(Extent::Full);
        }
        if !self.may_collect() {
            return;
        }
        let mut frames = std::mem::take(&mut self.gc.frames);
        let mut hosts = HostMarks::default();
        let mut roots = StoreRoots {
            store: self,
            frames: &mut frames,
        };
        roots.each(true, &mut |slot| {
            // SAFETY: a place with a reference.
            hosts.reach(unsafe { *slot });
            false
        });
        self.gc.frames = frames;
        self.drop_externs(hosts);
    }

    /// A new host value is reachable until the marker has looked.
    pub(in crate::vm) fn host_value_born(&mut self, handle: u32) {
        if let Some(heap) = self.heap() {
            heap.marker.hosts.add(handle);
        }
    }

    /// What the collector has done so far.
    pub(crate) fn gc_stats(&self) -> GcStats {
        let mut stats = self.gc.stats;
        if let Some(heap) = &self.gc.heap {
            stats.minor_collections = heap.counts.minor;
            stats.full_cycles = heap.counts.cycles;
            stats.copied_bytes = heap.counts.copied;
            stats.live_bytes = heap.live;
            stats.heap_bytes = heap.bytes();
        }
        stats
    }

    /// A place for a reference of any kind but to functions, until the current scope ends. Null and
    /// `i31` need none, but may have one.
    pub(crate) fn root(&self, raw: u32) -> RootHandle {
        self.roots.root(raw)
    }

    /// The reference in a place, unless its scope has ended.
    pub(crate) fn rooted(&self, handle: RootHandle) -> Option<u32> {
        self.roots.rooted(handle)
    }

    /// A place that lasts as long as its handle.
    pub(crate) fn own(&mut self, raw: u32) -> OwnedRoot {
        self.roots.own(raw)
    }

    /// The reference in such a place.
    pub(crate) fn owned(&self, root: &OwnedRoot) -> Option<u32> {
        self.roots.owned(root)
    }

    /// Begins a scope for [`StoreOpaque::root`].
    #[inline]
    pub(crate) fn open_scope(&mut self) -> ScopeStart {
        self.roots.open_scope()
    }

    /// Ends it.
    #[inline]
    pub(crate) fn close_scope(&mut self, scope: ScopeStart) {
        self.roots.close_scope(scope);
    }

    /// What kind of object a reference is to, and the number of its type; `None` if it is not to one.
    pub(crate) fn gc_object(&self, raw: u32) -> Option<(u8, u32)> {
        let heap = self.gc.heap.as_deref()?;
        if !super::object::is_object(raw) {
            return None;
        }
        // SAFETY: references of this store are to whole objects.
        let header = unsafe { heap.view.header(raw) };
        Some((header.kind(), header.type_id()))
    }

    /// The length of an array.
    pub(crate) fn gc_array_length(&self, array: u32) -> u32 {
        match (self.gc_object(array), self.gc.heap.as_deref()) {
            // SAFETY: it is one.
            (Some((VmObject::ARRAY, _)), Some(heap)) => unsafe { heap.view.length(array) },
            _ => 0,
        }
    }

    /// `N` bytes at `offset` from the start of an object, as they are in memory.
    ///
    /// # Panics
    /// If it is not an object, or they are not in it.
    pub(crate) fn gc_read<const N: usize>(&self, object: u32, offset: u32) -> [u8; N] {
        let place = self.gc_place(object, offset, N);
        // SAFETY: inside of an object, and nobody writes while the store is borrowed.
        unsafe { place.cast::<[u8; N]>().read() }
    }

    /// Writes bytes at `offset` from the start of an object. If they are a traced reference,
    /// `traced` is to be said.
    ///
    /// # Panics
    /// As for [`StoreOpaque::gc_read`].
    pub(crate) fn gc_write<const N: usize>(
        &mut self,
        object: u32,
        offset: u32,
        bytes: [u8; N],
        traced: bool,
    ) {
        let place = self.gc_place(object, offset, N);
        if traced {
            self.gc_barrier(object, offset);
        }
        // SAFETY: inside of an object; the store is borrowed mutably.
        unsafe { place.cast::<[u8; N]>().write(bytes) }
    }

    fn gc_place(&self, object: u32, offset: u32, len: usize) -> *mut u8 {
        let size = self.gc.heap.as_deref().and_then(|heap| {
            self.gc_object(object)?;
            // SAFETY: it is one.
            let size = unsafe { heap.view.size(object, heap.view.header(object)) };
            Some((heap, size))
        });
        let Some((heap, size)) = size else {
            panic!("not a reference to an object: {object:#x}");
        };
        assert!(
            offset >= VmObject::SIZE && offset as u64 + len as u64 <= u64::from(size),
            "outside of the object"
        );
        // SAFETY: inside of the heap.
        unsafe { heap.view.at(object + offset) }
    }

    /// What is to be done before a traced reference is written into an object.
    pub(super) fn gc_barrier(&mut self, object: u32, offset: u32) {
        if let Some(heap) = self.heap() {
            // SAFETY: the object is one of this heap, with a reference there.
            unsafe {
                if heap.view.header(object).has(super::object::Header::BARRIER) {
                    heap.barrier(object, offset);
                }
            }
        }
    }

    /// Asks the limiter of a whole store.
    ///
    /// # Safety
    /// `store` is part of a whole store that the caller has exclusively.
    unsafe fn ask(store: *mut StoreOpaque, request: (u64, u64, Option<u64>)) -> Result<bool> {
        let (from, to, most) = request;
        // SAFETY: the caller's promise.
        unsafe { StoreOpaque::ask_limiter_of(store, Request::Memory(from, to, most)) }
    }

    /// Makes the heap.
    ///
    /// # Safety
    /// As for [`StoreOpaque::gc_new_struct`].
    #[cold]
    unsafe fn make_heap(store: *mut StoreOpaque) -> Result<()> {
        let no_memory = || Error::of(ErrorKind::Limit, "no memory for the garbage-collected heap");
        // SAFETY: the caller's promise; borrows of the store end before it is asked.
        unsafe {
            let config: HeapConfig = *(*store).engine().config().heap_config();
            let space = match (*store).engine().spaces().take(config.reservation) {
                Some(space) => space,
                None => Space::new(config.reservation).context("the garbage-collected heap")?,
            };
            let context = (*store).context();
            let types = (*context.as_ptr()).types;
            let heap = Heap::new(space, &config, context, types).map_err(|_| no_memory())?;
            let request = heap.first_request();
            // There is no heap before it is allowed.
            (*context.as_ptr()).gc_limit = 0;
            if !StoreOpaque::ask(store, request)? {
                return Err(full());
            }
            let heap = (*store).gc.heap.insert(Box::new(heap));
            let base = heap.view.base;
            heap.context().gc_base = base;
            heap.empty_eden();
        }
        Ok(())
    }

    /// Whether there must be a heap before there is an instance of a module, and is none yet: functions
    /// of one that makes objects load the heap's address once, whenever they like.
    pub(crate) fn lacks_heap(&self, wasm: &bimetal_wasm::Module) -> bool {
        let is_func = |ty: &SubType| matches!(ty.composite, CompositeType::Func(_));
        let makes_objects = !wasm.tags.is_empty() || !wasm.types.values().all(is_func);
        makes_objects && !self.has_heap()
    }

    /// Makes the heap if an instance of the module wants it.
    ///
    /// # Safety
    /// As for [`StoreOpaque::gc_new`].
    pub(in crate::vm) unsafe fn prepare_heap(
        store: *mut StoreOpaque,
        wasm: &bimetal_wasm::Module,
    ) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe {
            match (*store).lacks_heap(wasm) {
                true => StoreOpaque::make_heap(store),
                false => Ok(()),
            }
        }
    }

    /// Grows the heap by what the next minor collection might need, if the limiter lets it.
    ///
    /// # Safety
    /// As for [`StoreOpaque::gc_new_struct`].
    unsafe fn make_room(store: *mut StoreOpaque) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe {
            let Some(heap) = (*store).heap() else {
                return Ok(());
            };
            let Some(blocks) = heap.wanted() else {
                return Ok(());
            };
            let request = heap.request(blocks);
            let allowed = StoreOpaque::ask(store, request)?;
            if let Some(heap) = (*store).heap() {
                match allowed {
                    true => heap.space.allow(blocks),
                    false => heap.refused(),
                }
            }
        }
        Ok(())
    }

    /// # Safety
    /// As for [`StoreOpaque::gc_new_struct`].
    unsafe fn allocate(store: *mut StoreOpaque, new: NewObject) -> Result<u32> {
        // SAFETY: the caller's promise; borrows of the store end before it is asked.
        unsafe {
            if !(*store).has_heap() {
                StoreOpaque::make_heap(store)?;
            }
            if let Some(heap) = (*store).heap()
                && heap.is_zealous()
            {
                StoreOpaque::make_room(store)?;
                (*store).collect_heap(Extent::Minor);
            }
            let mut attempt = 0;
            loop {
                let Some(heap) = (*store).heap() else {
                    return Err(full());
                };
                let why = match heap.allocate(&new) {
                    Ok(at) => return Ok(at),
                    Err(why) => why,
                };
                if let NoRoom::Ask(blocks) = why {
                    let request = heap.request(blocks);
                    if StoreOpaque::ask(store, request)? {
                        if let Some(heap) = (*store).heap() {
                            heap.space.allow(blocks);
                        }
                        continue;
                    }
                }
                if !(*store).may_collect() {
                    return StoreOpaque::allocate_old(store, new);
                }
                match attempt {
                    0 => {
                        StoreOpaque::make_room(store)?;
                        (*store).collect_heap(Extent::Minor);
                    }
                    1 => (*store).collect_heap(Extent::Full),
                    _ => return Err(full()),
                }
                attempt += 1;
            }
        }
    }

    /// Allocates in the old space while nothing may be collected.
    ///
    /// # Safety
    /// As for [`StoreOpaque::gc_new_struct`].
    unsafe fn allocate_old(store: *mut StoreOpaque, new: NewObject) -> Result<u32> {
        // SAFETY: the caller's promise.
        unsafe {
            loop {
                let Some(heap) = (*store).heap() else {
                    return Err(full());
                };
                let blocks = match heap.allocate_old(&new) {
                    Ok(at) => return Ok(at),
                    Err(NoRoom::Ask(blocks)) => blocks,
                    Err(NoRoom::Full) => return Err(full()),
                };
                let request = heap.request(blocks);
                if !StoreOpaque::ask(store, request)? {
                    return Err(full());
                }
                if let Some(heap) = (*store).heap() {
                    heap.space.allow(blocks);
                }
            }
        }
    }

    /// Makes a struct or exception of this type, with its header; the rest is undefined and must be
    /// written before anything else is done with the store.
    ///
    /// # Errors
    /// If the heap is full, or what the limiter says.
    ///
    /// # Safety
    /// `store` is part of a whole store that the caller has exclusively, with no reference to it in
    /// use; the type is of that kind.
    pub(crate) unsafe fn gc_new(store: *mut StoreOpaque, type_id: u32, kind: u8) -> Result<u32> {
        // SAFETY: the caller's promise.
        unsafe {
            let size = u64::from((*store).type_info(type_id).size);
            let new = NewObject {
                type_id,
                kind,
                size,
                zeroed: false,
            };
            StoreOpaque::allocate(store, new)
        }
    }

    /// Makes an array of so many elements, all zero.
    ///
    /// # Errors
    /// As for [`StoreOpaque::gc_new`].
    ///
    /// # Safety
    /// As for [`StoreOpaque::gc_new`].
    pub(crate) unsafe fn gc_new_array(
        store: *mut StoreOpaque,
        type_id: u32,
        length: u32,
    ) -> Result<u32> {
        // SAFETY: the caller's promise.
        unsafe {
            let new = NewObject {
                type_id,
                kind: VmObject::ARRAY,
                size: array_size(length, (*store).type_info(type_id).element_log2),
                zeroed: true,
            };
            if new.size > super::space::LARGEST_HEAP {
                return Err(full());
            }
            let array = StoreOpaque::allocate(store, new)?;
            if let Some(heap) = (*store).heap() {
                *heap.view.at::<u32>(array + VmObject::ARRAY_LENGTH) = length;
            }
            Ok(array)
        }
    }

    /// Gives the heap up: the store goes.
    pub(in crate::vm) fn free_heap(&mut self) {
        if let Some(heap) = self.gc.heap.take() {
            let (space, used) = heap.into_space();
            self.engine().spaces().put(space, used);
        }
    }
}

#[cold]
fn full() -> Error {
    Error::new(TrapCode::AllocationTooLarge)
        .context("the garbage-collected heap has no room for this object")
}
