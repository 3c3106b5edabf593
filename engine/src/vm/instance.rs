//! Instances: the context that generated code sees, and its initialisation.

use std::mem::take;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use bimetal_abi::{
    TrapCode, VmContextHeader, VmFuncImport, VmFuncRef, VmGlobal, VmMemory, VmTable, VmTag,
};
use bimetal_wasm::{
    ConstExpr, DataIndex, ElemIndex, ElementItems, EntityIndex, FuncIndex, GlobalIndex,
    MemoryIndex, SegmentMode, TableIndex, TableInit, TagIndex,
};
use cranelift_entity::{EntityRef, PrimaryMap, entity_impl};

use super::allocator::{Parts, Storage};
use super::definition::Definition;
use super::gc::WholeStore;
use super::memory::{LinearMemory, MemoryId, range};
use super::shared::SharedMemory;
use super::storage::Zeroed;
use super::store::{FuncPtr, Global, GlobalId, StoreOpaque};
use super::table::{Table, TableId};
use super::tags::{TagData, TagId};
use crate::error::{Error, Result};
use crate::module::Module;
use crate::store::{StoreContextMut, StoreInner};
use crate::types::{GlobalType, RefType, TableType, ValType};

/// An instance of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct InstanceId(u32);
entity_impl!(InstanceId);

/// What an import is resolved to; of the store that it is used in, and of the right type.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ImportValue {
    Func(FuncPtr),
    Table(TableId),
    Memory(MemoryId),
    Global(GlobalId),
    Tag(TagId),
}

/// An instance.
#[derive(Debug)]
pub(crate) struct InstanceData {
    module: Module,
    /// Where generated code finds what it needs: see `VmOffsets`.
    context: Zeroed,
    pub(super) memories: PrimaryMap<MemoryIndex, MemoryId>,
    pub(super) tables: PrimaryMap<TableIndex, TableId>,
    pub(super) globals: PrimaryMap<GlobalIndex, GlobalId>,
    tags: PrimaryMap<TagIndex, TagId>,
    /// Element segments whose elements are expressions, evaluated; in order.
    elements: Vec<(ElemIndex, Box<[u64]>)>,
    dropped_elements: Box<[bool]>,
    dropped_data: Box<[bool]>,
    /// What it exports under the name `memory`: host functions ask for it at each call.
    exported_memory: Option<MemoryId>,
}

impl InstanceData {
    pub(crate) fn module(&self) -> &Module {
        &self.module
    }

    pub(super) fn vmctx(&self) -> NonNull<VmContextHeader> {
        self.at(0)
    }

    /// What `VmOffsets` of its module says is at `offset` of its context.
    pub(super) fn at<T>(&self, offset: u32) -> NonNull<T> {
        at(&self.context, offset)
    }

    /// The reference to a function that can be referenced.
    pub(super) fn func(&self, index: FuncIndex) -> Option<FuncPtr> {
        let func_ref = self.module.wasm().func_refs[index].expand()?;
        let offset = self.module.env().offsets.func_ref(func_ref);
        let place = self.at::<VmFuncRef>(offset);
        // SAFETY: inside of the context; written only as in `make_func_ref`.
        let cell = unsafe { cell_of(place) };
        if cell.load(Ordering::Acquire).is_null() {
            self.make_func_ref(index, place);
        }
        Some(FuncPtr::new(place))
    }

    /// Makes the reference to a function, in its place. Several threads that share the store may do
    /// so at the same time: they write the same, the cell last.
    fn make_func_ref(&self, index: FuncIndex, place: NonNull<VmFuncRef>) {
        let (inner, wasm) = (self.module.inner(), self.module.wasm());
        let (cell, vmctx) = match wasm.defined_func(index) {
            Some(defined) => {
                let cell = &raw const inner.entry[defined.index()];
                (cell, self.vmctx().as_ptr())
            }
            None => {
                let import = self.module.env().offsets.func_import(index);
                // SAFETY: inside of the context, and written when the instance was made.
                let import = unsafe { self.at::<VmFuncImport>(import).read() };
                (import.cell, import.vmctx)
            }
        };
        let place = place.as_ptr();
        // SAFETY: as for `cell_of`; the fields are as large and as aligned as these atomics.
        unsafe {
            AtomicPtr::from_ptr(&raw mut (*place).vmctx).store(vmctx, Ordering::Relaxed);
            AtomicU32::from_ptr(&raw mut (*place).type_id).store(
                inner.type_ids[wasm.functions[index].index()],
                Ordering::Relaxed,
            );
            cell_of(NonNull::new_unchecked(place)).store(cell.cast_mut(), Ordering::Release);
        }
    }

    /// What an export of this instance is.
    pub(crate) fn export(&self, index: EntityIndex) -> Option<ImportValue> {
        Some(match index {
            EntityIndex::Func(i) => ImportValue::Func(self.func(i)?),
            EntityIndex::Table(i) => ImportValue::Table(*self.tables.get(i)?),
            EntityIndex::Memory(i) => ImportValue::Memory(*self.memories.get(i)?),
            EntityIndex::Global(i) => ImportValue::Global(*self.globals.get(i)?),
            EntityIndex::Tag(i) => ImportValue::Tag(*self.tags.get(i)?),
        })
    }

    /// The global with this index.
    pub(crate) fn global(&self, index: GlobalIndex) -> Option<GlobalId> {
        self.globals.get(index).copied()
    }

    /// Whether an element segment is empty by now.
    pub(crate) fn is_element_dropped(&self, segment: ElemIndex) -> bool {
        self.dropped_elements[segment.index()]
    }

    /// Whether a data segment is empty by now.
    pub(crate) fn is_data_dropped(&self, segment: DataIndex) -> bool {
        self.dropped_data[segment.index()]
    }

    pub(crate) fn exported_memory(&self) -> Option<MemoryId> {
        self.exported_memory
    }

    /// Shows where evaluated element segments have references that the collector follows.
    pub(super) fn each_traced_element(&mut self, mut visit: impl FnMut(*mut u32)) {
        let (segments, types) = (&self.module.wasm().elements, &self.module.inner().types);
        for (index, values) in &mut self.elements {
            let ty = RefType::from_wasm(&segments[*index].ty, &**types);
            if ValType::Ref(ty).is_traced() {
                for value in values.iter_mut() {
                    // The reference is in the low half.
                    visit(ptr::from_mut(value).cast());
                }
            }
        }
    }

    /// The bytes of a data segment; none if it was dropped.
    pub(super) fn data(&self, segment: DataIndex) -> &[u8] {
        let wasm = self.module.wasm();
        match wasm.data.get(segment) {
            Some(present) if !self.dropped_data[segment.index()] => {
                &wasm.bytes[present.range.clone()]
            }
            _ => &[],
        }
    }

    /// The instance of a context.
    ///
    /// # Safety
    /// `vmctx` must be the context of an instance of a store that the caller has borrowed.
    pub(super) unsafe fn id_of(vmctx: *mut VmContextHeader) -> Option<InstanceId> {
        // SAFETY: the caller's promise; `instance` holds the id plus one.
        let raw = unsafe {
            if (*vmctx).magic != VmContextHeader::MAGIC {
                return None;
            }
            (*vmctx).instance as usize
        };
        Some(InstanceId::from_u32(
            u32::try_from(raw).ok()?.checked_sub(1)?,
        ))
    }
}

impl StoreOpaque {
    pub(crate) fn instance(&self, id: InstanceId) -> &InstanceData {
        &self.instances[id]
    }

    /// Whether a segment has these elements.
    pub(super) fn has_elements(
        &self,
        instance: InstanceId,
        segment: ElemIndex,
        start: u64,
        len: u64,
    ) -> Option<()> {
        let data = &self.instances[instance];
        let has = match data.dropped_elements[segment.index()] {
            true => 0,
            false => data.module.wasm().elements[segment].items.len(),
        };
        range(start, len, has).map(|_| ())
    }

    /// The elements of a segment from `start`, checked.
    pub(super) fn segment_elements(
        &self,
        instance: InstanceId,
        segment: ElemIndex,
        start: u64,
        len: u64,
    ) -> Option<Vec<u64>> {
        let data = &self.instances[instance];
        if data.dropped_elements[segment.index()] {
            return (start == 0 && len == 0).then(Vec::new);
        }
        if let Ok(i) = data
            .elements
            .binary_search_by_key(&segment, |(index, _)| *index)
        {
            let values = &data.elements[i].1;
            return Some(values[range(start, len, values.len())?].to_vec());
        }
        match &data.module.wasm().elements[segment].items {
            ElementItems::Functions(functions) => functions[range(start, len, functions.len())?]
                .iter()
                .map(|&func| Some(data.func(func)?.as_ptr() as u64))
                .collect(),
            ElementItems::Exprs(_) => None,
        }
    }

    /// `table.init`; `None` is out of bounds.
    pub(super) fn table_init(
        &mut self,
        instance: InstanceId,
        table: TableIndex,
        segment: ElemIndex,
        dst: u64,
        src: u64,
        len: u64,
    ) -> Option<()> {
        let values = self.segment_elements(instance, segment, src, len)?;
        let table = self.instances[instance].tables[table];
        self.tables[table].write(dst, values.into_iter())
    }

    /// `memory.init`; `None` is out of bounds.
    pub(super) fn memory_init(
        &mut self,
        instance: InstanceId,
        memory: MemoryIndex,
        segment: DataIndex,
        dst: u64,
        src: u64,
        len: u64,
    ) -> Option<()> {
        let data = &self.instances[instance];
        let bytes = data.data(segment);
        let from = &bytes[range(src, len, bytes.len())?];
        let memory = data.memories[memory];
        self.memories[memory].write(dst, from)
    }

    pub(super) fn data_drop(&mut self, instance: InstanceId, segment: DataIndex) {
        self.instances[instance].dropped_data[segment.index()] = true;
    }

    pub(super) fn elem_drop(&mut self, instance: InstanceId, segment: ElemIndex) {
        let data = &mut self.instances[instance];
        data.dropped_elements[segment.index()] = true;
        if let Ok(i) = data
            .elements
            .binary_search_by_key(&segment, |(index, _)| *index)
        {
            data.elements[i].1 = Box::default();
        }
    }
}

impl WholeStore<'_> {
    /// A constant expression that is an index.
    fn offset(&mut self, instance: InstanceId, expr: &ConstExpr, wide: bool) -> Result<u64> {
        let value = self.const_eval(instance, expr)?;
        Ok(match wide {
            true => value.get_u64(),
            false => u64::from(value.get_u32()),
        })
    }
}

/// Prepares a store for an instance of the module, which makes objects perhaps.
///
/// # Errors
/// If there is no memory for a heap, or the store's limiter does not want one.
pub(crate) fn prepare_heap<T: 'static>(
    store: &mut StoreContextMut<'_, T>,
    module: &Module,
) -> Result<()> {
    let whole: *mut StoreInner<T> = store.inner_mut();
    // SAFETY: a `StoreInner` begins with its `StoreOpaque`; we have all of it.
    unsafe { StoreOpaque::prepare_heap(whole.cast(), module.wasm()) }
}

/// Makes an instance: allocates it, initialises globals, tables and memories; the start function
/// is left to the caller. `imports` are those of the module, in order, of the right types.
///
/// # Errors
/// A trap if an active segment is out of bounds, after what came before it took effect, as the
/// specification says; or memory cannot be had.
pub(crate) fn instantiate(
    mut whole: WholeStore<'_>,
    module: &Module,
    imports: &[ImportValue],
) -> Result<InstanceId> {
    let (id, filled) = allocate(whole.get(), module, imports)?;
    let wasm = module.wasm();
    let template = module.template();

    for &defined in &template.computed {
        let value = whole.const_eval(id, &wasm.global_init[defined])?;
        let store = whole.get();
        let index = GlobalIndex::new(wasm.num_imported_globals + defined.index());
        let global = store.instances[id].globals[index];
        store.global_set(global, value.bytes);
    }
    for &defined in &template.full_tables {
        if let TableInit::Expr(expr) = &wasm.table_init[defined] {
            let value = whole.const_eval(id, expr)?.get_u64();
            let store = whole.get();
            let index = TableIndex::new(wasm.num_imported_tables + defined.index());
            let table = &mut store.tables[store.instances[id].tables[index]];
            table.fill_raw(0, value, table.len());
        }
    }
    for &index in &template.evaluated {
        if let ElementItems::Exprs(exprs) = &wasm.elements[index].items {
            // Each is kept by the instance before the next one may move it.
            let place = whole.get().instances[id].elements.len();
            let none = vec![0; exprs.len()].into();
            whole.get().instances[id].elements.push((index, none));
            for (i, expr) in exprs.iter().enumerate() {
                let value = whole.const_eval(id, expr)?.get_u64();
                whole.get().instances[id].elements[place].1[i] = value;
            }
        }
    }
    for &index in &template.copied_elements {
        let segment = &wasm.elements[index];
        if let SegmentMode::Active { target, offset } = &segment.mode {
            let at = whole.offset(id, offset, wasm.tables[*target].table64)?;
            whole
                .get()
                .table_init(id, *target, index, at, 0, segment.items.len() as u64)
                .ok_or_else(|| {
                    Error::new(TrapCode::TableOutOfBounds)
                        .context(format_args!("element segment {}", index.index()))
                })?;
        }
        whole.get().elem_drop(id, index);
    }
    // Where the contents are known before, no segment can be out of bounds.
    if !filled {
        for &index in &template.active_data {
            let segment = &wasm.data[index];
            if let SegmentMode::Active { target, offset } = &segment.mode {
                let at = whole.offset(id, offset, wasm.memories[*target].memory64)?;
                whole
                    .get()
                    .memory_init(id, *target, index, at, 0, segment.range.len() as u64)
                    .ok_or_else(|| {
                        Error::new(TrapCode::MemoryOutOfBounds)
                            .context(format_args!("data segment {}", index.index()))
                    })?;
            }
            whole.get().data_drop(id, index);
        }
    }
    Ok(id)
}

/// What `VmOffsets` says is at `offset` of a context.
fn at<T>(context: &Zeroed, offset: u32) -> NonNull<T> {
    debug_assert!(offset as usize + size_of::<T>() <= context.size());
    // SAFETY: inside the allocation, see `VmOffsets`.
    unsafe { NonNull::new_unchecked(context.base().add(offset as usize)).cast() }
}

/// The cell of a function reference.
///
/// # Safety
/// `place` must be one of a context, which outlives the result; its cell is accessed only like this
/// by who has the store shared.
unsafe fn cell_of<'a>(place: NonNull<VmFuncRef>) -> &'a AtomicPtr<AtomicPtr<u8>> {
    // SAFETY: the caller's promise; a pointer's constness is no part of its layout.
    unsafe { AtomicPtr::from_ptr((&raw mut (*place.as_ptr()).cell).cast()) }
}

/// An instance whose segments that are copied are not yet; and whether its memories have their
/// initial contents.
fn allocate(
    store: &mut StoreOpaque,
    module: &Module,
    imports: &[ImportValue],
) -> Result<(InstanceId, bool)> {
    let wasm = module.wasm();
    let env = module.env();
    let offsets = &env.offsets;
    let template = module.template();
    for import in imports {
        if let ImportValue::Table(table) = import {
            store.resolve_all(*table);
        }
    }
    let id = store.instances.next_key();
    let shared: Vec<SharedMemory> = wasm
        .memories
        .values()
        .skip(wasm.num_imported_memories)
        .filter(|ty| ty.shared)
        .map(|ty| store.engine().new_shared_memory(*ty))
        .collect::<Result<_>>()?;
    // Nothing fails from here on, so that nothing is lost.
    let parts = store.engine().allocator().allocate(module)?;
    let context = parts.context;

    // SAFETY: memory of the right layout that nothing refers to yet, or no more.
    unsafe {
        at::<VmContextHeader>(&context, 0).write(VmContextHeader {
            magic: VmContextHeader::MAGIC,
            reserved: 0,
            store: store.context().as_ptr(),
            builtins: super::builtins::table(),
            entry: module.inner().entry.as_ptr(),
            type_ids: module.inner().type_ids.as_ptr(),
            // Not an address: the id plus one, so that the host's own context has none.
            instance: ptr::without_provenance_mut(id.as_u32() as usize + 1),
        });
        if let Some(first) = wasm.global_init.keys().next() {
            let globals = at::<VmGlobal>(&context, offsets.global(first));
            let values = NonNull::from(&*template.globals).cast();
            globals.copy_from_nonoverlapping(values, template.globals.len());
        }
    }

    let mut memories = PrimaryMap::with_capacity(wasm.memories.len());
    let mut tables = PrimaryMap::with_capacity(wasm.tables.len());
    let mut globals = PrimaryMap::with_capacity(wasm.globals.len());
    let mut tags = PrimaryMap::with_capacity(wasm.tags.len());
    let mut next_func = FuncIndex::from_u32(0);
    for import in imports {
        // SAFETY: the offsets are inside the new context; the imports live as long as the store.
        unsafe {
            match *import {
                ImportValue::Func(func) => {
                    let func = &*func.as_ptr();
                    at(&context, offsets.func_import(next_func)).write(VmFuncImport {
                        cell: func.cell,
                        vmctx: func.vmctx,
                    });
                    next_func = FuncIndex::from_u32(next_func.as_u32() + 1);
                }
                ImportValue::Table(table) => {
                    let index = tables.push(table);
                    at::<*mut VmTable>(&context, offsets.table_import(index))
                        .write(store.tables[table].def().as_ptr());
                }
                ImportValue::Memory(memory) => {
                    let index = memories.push(memory);
                    at::<*mut VmMemory>(&context, offsets.memory_import(index))
                        .write(store.memories[memory].def().as_ptr());
                }
                ImportValue::Global(global) => {
                    let index = globals.push(global);
                    at::<*mut VmGlobal>(&context, offsets.global_import(index))
                        .write(store.globals[global].def.as_ptr());
                }
                ImportValue::Tag(tag) => {
                    let index = tags.push(tag);
                    at::<*mut VmTag>(&context, offsets.tag_import(index))
                        .write(store.tags[tag].def.as_ptr());
                }
            }
        }
    }

    let mut shared = shared.into_iter();
    let mut storage = parts.storage.memories.into_iter();
    for (index, plan) in env.memories.iter().skip(wasm.num_imported_memories) {
        let place = wasm.defined_memory(index).map(|i| offsets.memory(i));
        let memory = match plan.ty.shared {
            false => storage.next().map(|storage| {
                let def = place.map(|place| at(&context, place));
                // SAFETY: in the context, which the store keeps as long as the memory.
                unsafe { LinearMemory::new(*plan, storage, def) }
            }),
            true => shared.next().map(|memory| {
                if let Some(place) = place {
                    // SAFETY: in the context; the store keeps the memory as long.
                    unsafe { at::<*mut VmMemory>(&context, place).write(memory.def().as_ptr()) };
                }
                LinearMemory::of_shared(memory)
            }),
        };
        memories.extend(memory.map(|memory| store.memories.push(memory)));
    }
    let types = &*module.inner().types;
    let own_tables = wasm.tables.iter().skip(wasm.num_imported_tables);
    for ((index, ty), storage) in own_tables.zip(parts.storage.tables) {
        let defined = wasm.defined_table(index);
        let def = defined.map(|i| at(&context, offsets.table(i)));
        let lazy = defined.filter(|&table| env.tables.is_lazy(table));
        let lazy = lazy.map(|table| (id, table));
        // SAFETY: as above.
        let table = unsafe { Table::new(TableType::from_wasm(ty, types), storage, def, lazy) };
        tables.push(store.tables.push(table));
    }
    for (index, ty) in wasm.globals.iter().skip(wasm.num_imported_globals) {
        if let Some(defined) = wasm.defined_global(index) {
            globals.push(store.globals.push(Global {
                def: Definition::at(at(&context, offsets.global(defined))),
                ty: GlobalType::from_wasm(ty, types),
            }));
        }
    }

    for (index, &ty) in wasm.tags.iter().skip(wasm.num_imported_tags) {
        if let Some(defined) = wasm.defined_tag(index) {
            let place = at(&context, offsets.tag(defined));
            // SAFETY: in the new context.
            unsafe {
                place.write(VmTag {
                    type_id: module.inner().type_ids[ty.index()],
                    reserved: 0,
                });
            }
            tags.push(store.add_tag(TagData {
                def: Definition::at(place),
                ty: module.inner().types[ty.index()].clone(),
                origin: Some((module.clone(), index)),
            }));
        }
    }

    let exported_memory = template.exported_memory;
    let data = InstanceData {
        module: module.clone(),
        context,
        exported_memory: exported_memory.and_then(|index| memories.get(index).copied()),
        memories,
        tables,
        globals,
        tags,
        elements: Vec::new(),
        dropped_elements: template.dropped_elements.clone(),
        dropped_data: match parts.filled {
            true => template.dropped_data.clone(),
            false => vec![false; wasm.num_data].into(),
        },
    };
    if parts.used {
        // Tables may refer to the references to imported functions.
        for &func in &template.imported_refs {
            if let Some(func_ref) = wasm.func_refs[func].expand() {
                data.make_func_ref(func, data.at(offsets.func_ref(func_ref)));
            }
        }
    }
    store.instances.push(data);
    Ok((id, parts.filled))
}

impl StoreOpaque {
    /// Gives all that instances have back to where it came from.
    pub(super) fn free_instances(&mut self) {
        let ran = self.entries > 0;
        let mut memories: Vec<_> = take(&mut self.memories)
            .into_iter()
            .map(|(_, m)| Some(m))
            .collect();
        let mut tables: Vec<_> = take(&mut self.tables)
            .into_iter()
            .map(|(_, t)| Some(t))
            .collect();
        for (_, data) in take(&mut self.instances) {
            let wasm = data.module.wasm();
            let own_memories = data.memories.values().skip(wasm.num_imported_memories);
            let own_tables = data.tables.values().skip(wasm.num_imported_tables);
            let parts = Parts {
                storage: Storage {
                    memories: own_memories
                        .filter_map(|id| memories[id.index()].take()?.into_storage())
                        .collect(),
                    tables: own_tables
                        .filter_map(|id| Some(tables[id.index()].take()?.into_storage()))
                        .collect(),
                },
                context: data.context,
                used: true,
                filled: false,
            };
            self.engine().allocator().free(&data.module, parts, ran);
        }
    }
}
