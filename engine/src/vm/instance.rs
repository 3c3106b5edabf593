//! Instances: the context that generated code sees, and its initialisation.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use bimetal_abi::{
    TrapCode, VmContextHeader, VmFuncImport, VmFuncRef, VmGlobal, VmMemory, VmOffsets, VmTable,
};
use bimetal_wasm::{
    ConstExpr, DataIndex, ElemIndex, ElementItems, EntityIndex, FuncIndex, GlobalIndex,
    MemoryIndex, SegmentMode, TableIndex, TableInit,
};
use cranelift_entity::{EntityRef, PrimaryMap, entity_impl};

use super::memory::{LinearMemory, MemoryId, range};
use super::store::{FuncPtr, Global, GlobalId, StoreOpaque};
use super::table::{Table, TableId};
use crate::error::{Error, Result};
use crate::module::Module;

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
}

/// The memory of an instance's context.
#[derive(Debug)]
struct VmContext {
    header: NonNull<VmContextHeader>,
    layout: Layout,
}

impl VmContext {
    fn new(offsets: &VmOffsets) -> Result<VmContext> {
        let layout = Layout::from_size_align(offsets.size() as usize, 16).map_err(Error::new)?;
        // SAFETY: the size is at least that of the header.
        let memory = unsafe { alloc_zeroed(layout) };
        match NonNull::new(memory.cast()) {
            Some(header) => Ok(VmContext { header, layout }),
            None => handle_alloc_error(layout),
        }
    }

    /// A pointer to what `VmOffsets` of the same module says is at `offset`.
    fn at<T>(&self, offset: u32) -> NonNull<T> {
        debug_assert!(offset as usize + size_of::<T>() <= self.layout.size());
        // SAFETY: inside the allocation, see `VmOffsets`.
        unsafe { self.header.byte_add(offset as usize).cast() }
    }
}

impl Drop for VmContext {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout by `new`.
        unsafe { dealloc(self.header.as_ptr().cast(), self.layout) }
    }
}

/// An instance.
#[derive(Debug)]
pub(crate) struct InstanceData {
    module: Module,
    vmctx: VmContext,
    pub(super) memories: PrimaryMap<MemoryIndex, MemoryId>,
    pub(super) tables: PrimaryMap<TableIndex, TableId>,
    pub(super) globals: PrimaryMap<GlobalIndex, GlobalId>,
    /// Element segments whose elements are expressions, evaluated; `None` for plain functions.
    elements: Vec<Option<Box<[u64]>>>,
    dropped_elements: Vec<bool>,
    dropped_data: Vec<bool>,
    /// What it exports under the name `memory`: host functions ask for it at each call.
    exported_memory: Option<MemoryId>,
}

impl InstanceData {
    pub(crate) fn module(&self) -> &Module {
        &self.module
    }

    pub(super) fn vmctx(&self) -> NonNull<VmContextHeader> {
        self.vmctx.header
    }

    /// What `VmOffsets` of its module says is at `offset` of its context.
    pub(super) fn at<T>(&self, offset: u32) -> NonNull<T> {
        self.vmctx.at(offset)
    }

    /// The reference to a function that can be referenced.
    pub(super) fn func(&self, index: FuncIndex) -> Option<FuncPtr> {
        let func_ref = self.module.wasm().func_refs[index].expand()?;
        let offset = self.module.env().offsets.func_ref(func_ref);
        Some(FuncPtr::new(self.vmctx.at(offset)))
    }

    /// What an export of this instance is.
    pub(crate) fn export(&self, index: EntityIndex) -> Option<ImportValue> {
        Some(match index {
            EntityIndex::Func(i) => ImportValue::Func(self.func(i)?),
            EntityIndex::Table(i) => ImportValue::Table(*self.tables.get(i)?),
            EntityIndex::Memory(i) => ImportValue::Memory(*self.memories.get(i)?),
            EntityIndex::Global(i) => ImportValue::Global(*self.globals.get(i)?),
            EntityIndex::Tag(_) => return None,
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

    /// The raw external references in element segments.
    pub(super) fn extern_elements(&self) -> impl Iterator<Item = u64> + '_ {
        let segments = self.module.wasm().elements.values().zip(&self.elements);
        segments
            .filter(|(segment, _)| segment.ty == bimetal_wasm::RefType::EXTERNREF)
            .flat_map(|(_, values)| values.iter().flatten().copied())
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

    /// The elements of a segment from `start`, checked.
    fn segment_elements(
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
        if let Some(values) = &data.elements[segment.index()] {
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
        let raw = self.tables[table].raw_mut();
        let to = range(dst, len, raw.len())?;
        raw[to].copy_from_slice(&values);
        Some(())
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
        let wasm = data.module.wasm();
        let bytes = if data.dropped_data[segment.index()] {
            &[]
        } else {
            &wasm.bytes[wasm.data[segment].range.clone()]
        };
        let from = &bytes[range(src, len, bytes.len())?];
        let memory = data.memories[memory];
        let target = self.memories[memory].bytes_mut();
        let to = range(dst, len, target.len())?;
        target[to].copy_from_slice(from);
        Some(())
    }

    pub(super) fn data_drop(&mut self, instance: InstanceId, segment: DataIndex) {
        self.instances[instance].dropped_data[segment.index()] = true;
    }

    pub(super) fn elem_drop(&mut self, instance: InstanceId, segment: ElemIndex) {
        let data = &mut self.instances[instance];
        data.dropped_elements[segment.index()] = true;
        data.elements[segment.index()] = None;
    }

    /// A constant expression that is an index.
    fn offset(&self, instance: InstanceId, expr: &ConstExpr, wide: bool) -> Result<u64> {
        let value = self.const_eval(instance, expr)?;
        Ok(match wide {
            true => value.get_u64(),
            false => u64::from(value.get_u32()),
        })
    }
}

/// Makes an instance: allocates it, initialises globals, tables and memories; the start function
/// is left to the caller. `imports` are those of the module, in order, of the right types.
///
/// # Errors
/// A trap if an active segment is out of bounds, after what came before it took effect, as the
/// specification says; or memory cannot be had.
pub(crate) fn instantiate(
    store: &mut StoreOpaque,
    module: &Module,
    imports: &[ImportValue],
) -> Result<InstanceId> {
    let id = allocate(store, module, imports)?;
    let wasm = module.wasm();
    let env = module.env();

    for (defined, expr) in wasm.global_init.iter() {
        let value = store.const_eval(id, expr)?;
        let index = GlobalIndex::new(wasm.num_imported_globals + defined.index());
        let global = store.instances[id].globals[index];
        store.global_set(global, value.bytes);
        debug_assert_eq!(
            store.instances[id].vmctx.at(env.offsets.global(defined)),
            store.globals[global].def
        );
    }
    for (defined, init) in wasm.table_init.iter() {
        if let TableInit::Expr(expr) = init {
            let value = store.const_eval(id, expr)?.get_u64();
            let index = TableIndex::new(wasm.num_imported_tables + defined.index());
            let table = store.instances[id].tables[index];
            store.tables[table].raw_mut().fill(value);
        }
    }
    for (index, segment) in wasm.elements.iter() {
        if let ElementItems::Exprs(exprs) = &segment.items {
            let values: Result<Box<[u64]>> = exprs
                .iter()
                .map(|expr| Ok(store.const_eval(id, expr)?.get_u64()))
                .collect();
            store.instances[id].elements[index.index()] = Some(values?);
        }
    }
    for (index, segment) in wasm.elements.iter() {
        if let SegmentMode::Active { target, offset } = &segment.mode {
            let at = store.offset(id, offset, wasm.tables[*target].table64)?;
            store
                .table_init(id, *target, index, at, 0, segment.items.len() as u64)
                .ok_or_else(|| {
                    Error::new(TrapCode::TableOutOfBounds)
                        .context(format_args!("element segment {}", index.index()))
                })?;
        }
        if !matches!(segment.mode, SegmentMode::Passive) {
            store.elem_drop(id, index);
        }
    }
    // Where the contents are known before, no segment can be out of bounds.
    let contents = module.inner().contents.next(wasm);
    if let Some(contents) = contents {
        for (memory, part) in contents.parts() {
            let memory = store.instances[id].memories[memory];
            contents.map(&mut store.memories[memory], part)?;
        }
    }
    for (index, segment) in wasm.data.iter() {
        if let SegmentMode::Active { target, offset } = &segment.mode {
            if contents.is_some() {
                store.data_drop(id, index);
                continue;
            }
            let at = store.offset(id, offset, wasm.memories[*target].memory64)?;
            store
                .memory_init(id, *target, index, at, 0, segment.range.len() as u64)
                .ok_or_else(|| {
                    Error::new(TrapCode::MemoryOutOfBounds)
                        .context(format_args!("data segment {}", index.index()))
                })?;
            store.data_drop(id, index);
        }
    }
    Ok(id)
}

fn allocate(
    store: &mut StoreOpaque,
    module: &Module,
    imports: &[ImportValue],
) -> Result<InstanceId> {
    let wasm = module.wasm();
    let env = module.env();
    let offsets = &env.offsets;
    let vmctx = VmContext::new(offsets)?;
    let id = store.instances.next_key();

    // SAFETY: fresh, zeroed memory of the right layout that nothing else refers to yet.
    unsafe {
        vmctx.header.write(VmContextHeader {
            magic: VmContextHeader::MAGIC,
            reserved: 0,
            store: store.context().as_ptr(),
            builtins: super::builtins::table(),
            entry: module.inner().entry.as_ptr(),
            type_ids: module.inner().type_ids.as_ptr(),
            // Not an address: the id plus one, so that the host's own context has none.
            instance: std::ptr::without_provenance_mut(id.as_u32() as usize + 1),
        });
    }

    let mut memories = PrimaryMap::with_capacity(wasm.memories.len());
    let mut tables = PrimaryMap::with_capacity(wasm.tables.len());
    let mut globals = PrimaryMap::with_capacity(wasm.globals.len());
    let mut funcs: PrimaryMap<FuncIndex, FuncPtr> = PrimaryMap::new();
    for import in imports {
        // SAFETY: the offsets are inside the new context; the imports live as long as the store.
        unsafe {
            match *import {
                ImportValue::Func(func) => {
                    let index = funcs.push(func);
                    let func = &*func.as_ptr();
                    vmctx.at(offsets.func_import(index)).write(VmFuncImport {
                        cell: func.cell,
                        vmctx: func.vmctx,
                    });
                }
                ImportValue::Table(table) => {
                    let index = tables.push(table);
                    vmctx
                        .at::<*mut VmTable>(offsets.table_import(index))
                        .write(store.tables[table].def().as_ptr());
                }
                ImportValue::Memory(memory) => {
                    let index = memories.push(memory);
                    vmctx
                        .at::<*mut VmMemory>(offsets.memory_import(index))
                        .write(store.memories[memory].def().as_ptr());
                }
                ImportValue::Global(global) => {
                    let index = globals.push(global);
                    vmctx
                        .at::<*mut VmGlobal>(offsets.global_import(index))
                        .write(store.globals[global].def.as_ptr());
                }
            }
        }
    }

    // Made first and put into the store at the end, so that a failure leaves nothing behind whose
    // definitions are in a context that is gone.
    let mut new_memories = Vec::new();
    for (index, plan) in env.memories.iter() {
        if let Some(defined) = wasm.defined_memory(index) {
            let def = vmctx.at(offsets.memory(defined));
            // SAFETY: in the context, which the store keeps as long as the memory.
            new_memories.push(unsafe { LinearMemory::new(*plan, Some(def)) }?);
        }
    }
    let mut new_tables = Vec::new();
    for (index, ty) in wasm.tables.iter() {
        if let Some(defined) = wasm.defined_table(index) {
            let def = vmctx.at(offsets.table(defined));
            // SAFETY: as above.
            new_tables.push(unsafe { Table::new(*ty, Some(def)) }?);
        }
    }
    for memory in new_memories {
        memories.push(store.memories.push(memory));
    }
    for table in new_tables {
        tables.push(store.tables.push(table));
    }
    for (index, &ty) in wasm.globals.iter() {
        if let Some(defined) = wasm.defined_global(index) {
            globals.push(store.globals.push(Global {
                def: vmctx.at(offsets.global(defined)),
                ty,
                owns_def: false,
            }));
        }
    }

    for (index, func_ref) in wasm.functions.keys().filter_map(|index| {
        let func_ref = wasm.func_refs.get(index)?.expand()?;
        Some((index, func_ref))
    }) {
        let value = match wasm.defined_func(index) {
            Some(defined) => VmFuncRef {
                cell: &raw const module.inner().entry[defined.index()],
                vmctx: vmctx.header.as_ptr(),
                type_id: module.inner().type_ids[wasm.functions[index].index()],
                reserved: 0,
            },
            None => {
                // SAFETY: an import, checked above.
                let import = unsafe { &*funcs[index].as_ptr() };
                VmFuncRef {
                    cell: import.cell,
                    vmctx: import.vmctx,
                    type_id: import.type_id,
                    reserved: 0,
                }
            }
        };
        // SAFETY: inside the new context.
        unsafe { vmctx.at(offsets.func_ref(func_ref)).write(value) };
    }

    let exported_memory = match wasm.export("memory") {
        Some(EntityIndex::Memory(index)) => memories.get(index).copied(),
        _ => None,
    };
    Ok(store.instances.push(InstanceData {
        module: module.clone(),
        vmctx,
        memories,
        tables,
        globals,
        elements: vec![None; wasm.elements.len()],
        dropped_elements: vec![false; wasm.elements.len()],
        dropped_data: vec![false; wasm.data.len()],
        exported_memory,
    }))
}
