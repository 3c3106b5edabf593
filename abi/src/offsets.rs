//! The layout of an instance context behind its fixed header.
//!
//! In this order: memories, tables, globals, imported functions, imported tables, imported
//! memories, imported globals, tags, imported tags, function references. Memories stand first because their offsets
//! are used most and short displacements are shorter code.

use bimetal_wasm::{
    DefinedGlobalIndex, DefinedMemoryIndex, DefinedTableIndex, DefinedTagIndex, FuncIndex,
    FuncRefIndex, GlobalIndex, MemoryIndex, Module, TableIndex, TagIndex,
};
use cranelift_entity::EntityRef;

use crate::gc::VmTag;
use crate::vm::{VmContextHeader, VmFuncImport, VmFuncRef, VmGlobal, VmMemory, VmTable};

/// Offsets into one module's instance contexts, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmOffsets {
    memories: u32,
    tables: u32,
    globals: u32,
    func_imports: u32,
    table_imports: u32,
    memory_imports: u32,
    global_imports: u32,
    tags: u32,
    tag_imports: u32,
    func_refs: u32,
    size: u32,
}

impl VmOffsets {
    /// The layout for `module`. `None` if it would not fit 31 bits, which the limits on the
    /// number of items make impossible for validated modules.
    pub fn new(module: &Module) -> Option<VmOffsets> {
        let mut at = size_of::<VmContextHeader>() as u64;
        let mut next = |count: usize, size: u32, align: u64| {
            let start = at.next_multiple_of(align);
            at = start + count as u64 * u64::from(size);
            u32::try_from(start).ok()
        };
        let memories = next(module.num_defined_memories(), VmMemory::SIZE, 8)?;
        let tables = next(module.num_defined_tables(), VmTable::SIZE, 8)?;
        let globals = next(module.num_defined_globals(), VmGlobal::SIZE, 16)?;
        let func_imports = next(module.num_imported_funcs, VmFuncImport::SIZE, 8)?;
        let table_imports = next(module.num_imported_tables, 8, 8)?;
        let memory_imports = next(module.num_imported_memories, 8, 8)?;
        let global_imports = next(module.num_imported_globals, 8, 8)?;
        let tags = next(module.num_defined_tags(), VmTag::SIZE, 8)?;
        let tag_imports = next(module.num_imported_tags, 8, 8)?;
        let func_refs = next(module.num_func_refs, VmFuncRef::SIZE, 8)?;
        let size = i32::try_from(at).ok()? as u32;
        Some(VmOffsets {
            memories,
            tables,
            globals,
            func_imports,
            table_imports,
            memory_imports,
            global_imports,
            tags,
            tag_imports,
            func_refs,
            size,
        })
    }

    /// The whole context's size.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The `VmMemory` of a defined memory.
    pub fn memory(&self, index: DefinedMemoryIndex) -> u32 {
        self.memories + index.index() as u32 * VmMemory::SIZE
    }

    /// The `VmTable` of a defined table.
    pub fn table(&self, index: DefinedTableIndex) -> u32 {
        self.tables + index.index() as u32 * VmTable::SIZE
    }

    /// The `VmGlobal` of a defined global.
    pub fn global(&self, index: DefinedGlobalIndex) -> u32 {
        self.globals + index.index() as u32 * VmGlobal::SIZE
    }

    /// The `VmFuncImport` of an imported function.
    pub fn func_import(&self, index: FuncIndex) -> u32 {
        self.func_imports + index.index() as u32 * VmFuncImport::SIZE
    }

    /// The `*mut VmTable` of an imported table.
    pub fn table_import(&self, index: TableIndex) -> u32 {
        self.table_imports + index.index() as u32 * 8
    }

    /// The `*mut VmMemory` of an imported memory.
    pub fn memory_import(&self, index: MemoryIndex) -> u32 {
        self.memory_imports + index.index() as u32 * 8
    }

    /// The `*mut VmGlobal` of an imported global.
    pub fn global_import(&self, index: GlobalIndex) -> u32 {
        self.global_imports + index.index() as u32 * 8
    }

    /// The `VmTag` of a defined tag.
    pub fn tag(&self, index: DefinedTagIndex) -> u32 {
        self.tags + index.index() as u32 * VmTag::SIZE
    }

    /// The `*mut VmTag` of an imported tag.
    pub fn tag_import(&self, index: TagIndex) -> u32 {
        self.tag_imports + index.index() as u32 * 8
    }

    /// The `VmFuncRef` of a function that can be referenced.
    pub fn func_ref(&self, index: FuncRefIndex) -> u32 {
        self.func_refs + index.index() as u32 * VmFuncRef::SIZE
    }
}
