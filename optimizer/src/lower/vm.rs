//! What lies behind `vmctx`: pointers to it and how its accesses alias.
//!
//! Pointers that never change while a function runs are loaded once, at the start of the entry
//! block, by loads that Cranelift treats as pure: it sinks them to where they are needed and
//! hoists them out of loops. Whatever can change is in a [`Region`] of its own kind, so that a
//! store to a memory does not hide, say, a table's base.

use std::borrow::Cow;

use bimetal_abi::{VmContextHeader, VmMemory, VmStoreContext, VmTable};
use bimetal_wasm::{GlobalIndex, MemoryIndex, TableIndex, TypeIndex};
use cranelift_codegen::cursor::{Cursor, CursorPosition};
use cranelift_codegen::ir::{
    AliasRegion, AliasRegionData, Endianness, Function, InstBuilder, MemFlags, MemFlagsData,
    Opcode, TrapCode, Type, Value,
};
use cranelift_entity::EntityRef;
use cranelift_entity::packed_option::PackedOption;

use super::{ContextWord, Lower};
use crate::signature::POINTER;

/// A pointer of the context's header.
#[derive(Clone, Copy)]
pub(super) enum Pointer {
    Store,
    Builtins,
    TypeIds,
    /// The first byte of the heap. A module that uses it is not instantiated before it is there.
    Heap,
    /// The engine's types.
    Types,
}

pub(super) const POINTERS: usize = 5;

impl Pointer {
    /// Whether it is in the store's context, and where.
    const fn place(self) -> (bool, u32) {
        match self {
            Pointer::Store => (false, VmContextHeader::STORE),
            Pointer::Builtins => (false, VmContextHeader::BUILTINS),
            Pointer::TypeIds => (false, VmContextHeader::TYPE_IDS),
            Pointer::Heap => (true, VmStoreContext::GC_BASE),
            Pointer::Types => (true, VmStoreContext::TYPES),
        }
    }
}

/// What an access may alias: only accesses of the same region. Items that are imported may be the
/// same item, and have one region per kind; a defined item is never an imported one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Region {
    /// The store's context.
    Store,
    /// Entry cells.
    Cells,
    /// Function references.
    FuncRefs,
    /// `VmMemory` structures.
    Memories,
    /// `VmTable` structures, but for `written`.
    Tables,
    /// That, which is only ever set.
    TablesWritten,
    /// The bytes of a memory.
    MemoryBytes(Option<u32>),
    /// The elements of a table.
    Elements(Option<u32>),
    /// The value of a global.
    Global(Option<u32>),
    /// Stack slots.
    Slots,
    /// The store's fuel.
    Fuel,
    /// The store's wish to interrupt.
    Interrupt,
    /// The room for new objects.
    Allocation,
    /// What new objects begin with. Nobody has looked there before.
    NewObjects,
    /// What never changes in objects once they are made: fields, lengths, kinds, types.
    Constant,
    /// The flags of objects.
    ObjectFlags,
    /// A field of structs, or the elements of arrays, by [`Lower::field_region`].
    Field(u32),
    /// The collector's stack slots.
    Roots,
}

/// A field of structs: of the uppermost type that has it. Elements of arrays: `None`.
pub(super) type FieldKey = (TypeIndex, Option<u32>);

impl Region {
    fn data(self) -> AliasRegionData {
        // Cranelift keeps a state per region and block, so that items past the first of a kind
        // share one.
        const MOST: u32 = 255;
        let number = |kind: u32, index: Option<u32>| {
            kind << 16 | index.map_or(0, |index| index.min(MOST) + 1)
        };
        let (user_id, description) = match self {
            Region::Store => (number(1, None), "store"),
            Region::Cells => (number(2, None), "cells"),
            Region::FuncRefs => (number(3, None), "funcrefs"),
            Region::Memories => (number(4, None), "memories"),
            Region::Tables => (number(5, None), "tables"),
            Region::MemoryBytes(index) => (number(6, index), "memory"),
            Region::Elements(index) => (number(7, index), "table"),
            Region::Global(index) => (number(8, index), "global"),
            Region::Slots => (number(9, None), "slots"),
            Region::Fuel => (number(10, None), "fuel"),
            Region::Interrupt => (number(11, None), "interrupt"),
            Region::TablesWritten => (number(12, None), "written"),
            Region::Allocation => (number(13, None), "allocation"),
            Region::NewObjects => (number(14, None), "new"),
            Region::Constant => (number(15, None), "constant"),
            Region::ObjectFlags => (number(16, None), "flags"),
            Region::Field(index) => (number(17, Some(index)), "field"),
            Region::Roots => (number(18, None), "roots"),
        };
        AliasRegionData {
            user_id,
            description: Cow::Borrowed(description),
        }
    }
}

/// The flags of accesses, as numbers of the function under construction.
#[derive(Default)]
pub(super) struct Flags {
    pointer: PackedOption<MemFlags>,
    bitcast: PackedOption<MemFlags>,
    /// Those of the memory that was accessed last; most functions use one.
    memory: Option<(MemoryIndex, MemFlags)>,
}

/// Of a load that always gives the same and never faults.
pub(super) fn pointer_flags(func: &mut Function) -> MemFlags {
    func.dfg
        .mem_flags
        .insert_unchecked(MemFlagsData::trusted().with_readonly().with_can_move())
}

fn region(func: &mut Function, region: Region) -> AliasRegion {
    func.dfg.alias_regions.insert(region.data())
}

impl Flags {
    /// Of a load that always gives the same and never faults.
    pub(super) fn pointer(&mut self, func: &mut Function) -> MemFlags {
        match self.pointer.expand() {
            Some(flags) => flags,
            None => {
                let flags = pointer_flags(func);
                self.pointer = flags.into();
                flags
            }
        }
    }

    /// Of a reinterpretation of lanes.
    pub(super) fn bitcast(&mut self, func: &mut Function) -> MemFlags {
        match self.bitcast.expand() {
            Some(flags) => flags,
            None => {
                let data = MemFlagsData::new().with_endianness(Endianness::Little);
                let flags = func.dfg.mem_flags.insert_unchecked(data);
                self.bitcast = flags.into();
                flags
            }
        }
    }

    /// Of an access that never faults to what can change.
    pub(super) fn mutable(&mut self, func: &mut Function, of: Region) -> MemFlags {
        self.make(func, MemFlagsData::trusted(), of)
    }

    /// Of an access that faults with `code`, if it does.
    pub(super) fn faulting(&mut self, func: &mut Function, of: Region, code: TrapCode) -> MemFlags {
        let data = MemFlagsData::new()
            .with_aligned()
            .with_trap_code(Some(code));
        self.make(func, data, of)
    }

    /// Of a function reference's fields, which do not change as long as it is there; `code` if the
    /// reference may be null.
    pub(super) fn func_ref(&mut self, func: &mut Function, code: Option<TrapCode>) -> MemFlags {
        let data = MemFlagsData::new()
            .with_aligned()
            .with_readonly()
            .with_trap_code(code);
        self.make(func, data, Region::FuncRefs)
    }

    /// Of what never changes in an object: `code` if the reference may be null. `pure` loads move
    /// to wherever they are used, which is for functions in which no object moves.
    pub(super) fn object_constant(
        &mut self,
        func: &mut Function,
        code: Option<TrapCode>,
        pure: bool,
    ) -> MemFlags {
        let mut data = MemFlagsData::new().with_aligned().with_trap_code(code);
        if pure && code.is_none() {
            data = data.with_readonly().with_can_move();
        }
        self.make(func, data, Region::Constant)
    }

    /// Of a field or element; `code` if the reference may be null.
    pub(super) fn field(
        &mut self,
        func: &mut Function,
        of: Region,
        code: Option<TrapCode>,
        aligned: bool,
    ) -> MemFlags {
        let mut data = MemFlagsData::new().with_trap_code(code);
        if aligned {
            data = data.with_aligned();
        }
        self.make(func, data, of)
    }

    /// Of a global's value, which is little-endian.
    pub(super) fn global(&mut self, func: &mut Function, of: Region, constant: bool) -> MemFlags {
        let mut data = MemFlagsData::trusted().with_endianness(Endianness::Little);
        if constant {
            data = data.with_readonly().with_can_move();
        }
        self.make(func, data, of)
    }

    /// Of an access to the bytes of a memory.
    pub(super) fn memory(
        &mut self,
        func: &mut Function,
        memory: MemoryIndex,
        of: Region,
    ) -> MemFlags {
        match self.memory {
            Some((last, flags)) if last == memory => flags,
            _ => {
                let data = MemFlagsData::new()
                    .with_endianness(Endianness::Little)
                    .with_trap_code(Some(TrapCode::HEAP_OUT_OF_BOUNDS));
                let flags = self.make(func, data, of);
                self.memory = Some((memory, flags));
                flags
            }
        }
    }

    fn make(&mut self, func: &mut Function, data: MemFlagsData, of: Region) -> MemFlags {
        let region = region(func, of);
        let data = data.with_alias_region(Some(region));
        // There are fewer combinations than numbers (65,535), because regions are few.
        func.dfg.mem_flags.insert_unchecked(data)
    }
}

impl Lower<'_> {
    /// A load with flags of this function.
    pub(super) fn load(&mut self, ty: Type, flags: MemFlags, base: Value, offset: u32) -> Value {
        self.load_op(Opcode::Load, ty, flags, base, offset as i32)
    }

    /// A load by any load instruction.
    pub(super) fn load_op(
        &mut self,
        opcode: Opcode,
        ty: Type,
        flags: MemFlags,
        base: Value,
        offset: i32,
    ) -> Value {
        let (inst, dfg) = self.cur.ins().Load(opcode, ty, flags, offset.into(), base);
        dfg.first_result(inst)
    }

    /// A store by any store instruction.
    pub(super) fn store_op(
        &mut self,
        opcode: Opcode,
        flags: MemFlags,
        value: Value,
        base: Value,
        offset: i32,
    ) {
        let ty = self.cur.func.dfg.value_type(value);
        self.cur
            .ins()
            .Store(opcode, ty, flags, offset.into(), value, base);
    }

    /// A pointer of the context's header.
    pub(super) fn vm_pointer(&mut self, pointer: Pointer) -> Value {
        if let Some(value) = self.pointers[pointer as usize] {
            return value;
        }
        let (in_store, offset) = pointer.place();
        let base = match in_store {
            true => self.vm_pointer(Pointer::Store),
            false => self.vmctx,
        };
        let value = self.early_load(base, offset);
        self.pointers[pointer as usize] = Some(value);
        value
    }

    /// A pointer at a place of the context that never changes.
    pub(super) fn context_pointer(&mut self, offset: u32) -> Value {
        let word = ContextWord(offset / 8);
        if let Some(value) = self.scratch.pointers.get(word) {
            return value;
        }
        let value = self.early_load(self.vmctx, offset);
        self.scratch.pointers.insert(word, value);
        value
    }

    /// A load of a pointer that never changes, at the start of the function.
    fn early_load(&mut self, base: Value, offset: u32) -> Value {
        let back = self.block;
        let location = self.cur.srcloc();
        match self.last_pointer {
            Some(inst) => self.cur.goto_after_inst(inst),
            None => match self.cur.layout().first_inst(self.entry) {
                Some(first) => self.cur.goto_inst(first),
                None => self.cur.goto_bottom(self.entry),
            },
        }
        self.cur.set_srcloc(Default::default());
        let flags = self.flags.pointer(self.cur.func);
        let value = self.load(POINTER, flags, base, offset);
        self.last_pointer = self.cur.func.dfg.value_def(value).inst();
        self.cur.set_position(CursorPosition::After(back));
        self.cur.set_srcloc(location);
        value
    }

    /// Where a memory's [`VmMemory`] is: a base and an offset.
    pub(super) fn memory_definition(&mut self, memory: MemoryIndex) -> (Value, u32) {
        let shared = self.env.memories[memory].ty.shared;
        match self.env.module.defined_memory(memory) {
            // What is shared is not of this instance alone: a pointer to it is in its place.
            Some(defined) if shared => (self.context_pointer(self.env.offsets.memory(defined)), 0),
            Some(defined) => (self.vmctx, self.env.offsets.memory(defined)),
            None => {
                let offset = self.env.offsets.memory_import(memory);
                (self.context_pointer(offset), 0)
            }
        }
    }

    /// The base of a memory that never moves.
    pub(super) fn fixed_memory_base(&mut self, memory: MemoryIndex) -> Value {
        let shared = self.env.memories[memory].ty.shared;
        if let Some(defined) = self.env.module.defined_memory(memory).filter(|_| !shared) {
            return self.context_pointer(self.env.offsets.memory(defined) + VmMemory::BASE);
        }
        if let Some(base) = self.scratch.memory_bases.get(memory) {
            return base;
        }
        let (definition, offset) = self.memory_definition(memory);
        let base = self.early_load(definition, offset + VmMemory::BASE);
        self.scratch.memory_bases.insert(memory, base);
        base
    }

    /// A memory's current length in bytes.
    pub(super) fn memory_length(&mut self, memory: MemoryIndex) -> Value {
        let (base, offset) = self.memory_definition(memory);
        let flags = self.flags.mutable(self.cur.func, Region::Memories);
        self.load(POINTER, flags, base, offset + VmMemory::LENGTH)
    }

    /// The region of a memory's bytes.
    pub(super) fn memory_region(&self, memory: MemoryIndex) -> Region {
        let defined = self.env.module.defined_memory(memory);
        Region::MemoryBytes(defined.map(|index| index.index() as u32))
    }

    /// Where a table's [`VmTable`] is: a base and an offset.
    pub(super) fn table_definition(&mut self, table: TableIndex) -> (Value, u32) {
        match self.env.module.defined_table(table) {
            Some(defined) => (self.vmctx, self.env.offsets.table(defined)),
            None => {
                let offset = self.env.offsets.table_import(table);
                (self.context_pointer(offset), 0)
            }
        }
    }

    /// A table's current length in elements, 64 bits wide.
    pub(super) fn table_length(&mut self, table: TableIndex) -> Value {
        if let Some(length) = self.fixed_table_length(table) {
            return self.iconst(POINTER, length);
        }
        let (base, offset) = self.table_definition(table);
        let flags = self.flags.mutable(self.cur.func, Region::Tables);
        self.load(POINTER, flags, base, offset + VmTable::LENGTH)
    }

    /// A table's length, if it never changes. That holds for imports too: a table may only be
    /// linked if its limits are within those declared here.
    pub(super) fn fixed_table_length(&self, table: TableIndex) -> Option<u64> {
        let ty = self.env.module.tables[table];
        (ty.max == Some(ty.min)).then_some(ty.min)
    }

    /// Whether a zero in a table stands for an element that is still to be looked up.
    pub(super) fn is_lazy_table(&self, table: TableIndex) -> bool {
        let defined = self.env.module.defined_table(table);
        defined.is_some_and(|table| self.env.tables.is_lazy(table))
    }

    /// The region of a table's elements.
    pub(super) fn table_region(&self, table: TableIndex) -> Region {
        let defined = self.env.module.defined_table(table);
        Region::Elements(defined.map(|index| index.index() as u32))
    }

    /// Where a global's value is, and the flags of accesses to it.
    pub(super) fn global_place(&mut self, global: GlobalIndex) -> (Value, u32, MemFlags) {
        let defined = self.env.module.defined_global(global);
        let region = Region::Global(defined.map(|index| index.index() as u32));
        let ty = &self.env.module.globals[global];
        // What it refers to moves, which changes it.
        let moves = crate::graph::Type::from_wasm(ty.content, &self.env.module).is_traced()
            && !self.roots.nothing_moves();
        let constant = !ty.mutable && !moves;
        let flags = self.flags.global(self.cur.func, region, constant);
        match defined {
            Some(defined) => (self.vmctx, self.env.offsets.global(defined), flags),
            None => {
                let offset = self.env.offsets.global_import(global);
                (self.context_pointer(offset), 0, flags)
            }
        }
    }
}
