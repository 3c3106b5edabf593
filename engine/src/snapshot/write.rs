//! A module with the state of an instance in the place of its own initial one.
//!
//! Sections that do not change are copied; tables, memories, globals, exports and segments are
//! written anew. Segments that the code names keep their numbers, empty if they are dropped or have
//! been copied; the state comes behind them. Nothing is written that needs a proposal which the
//! original does not use: a module without bulk memory instructions gets active segments only.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use bimetal_wasm::sections::{self, RawSection};
use bimetal_wasm::{
    DataIndex, DataSegment, ElemIndex, ElementItems, EntityIndex, FuncIndex, HeapType, MemoryType,
    RefType, SegmentMode, SegmentUses, ValType,
};
use cranelift_entity::EntityRef;
use wasm_encoder as out;
use wasm_encoder::{ConstExpr, Elements, Section};

use super::Snapshot;
use super::state::Value;
use crate::error::{Error, ErrorKind, Result};

/// A written module.
pub(super) struct Written {
    pub bytes: Vec<u8>,
    /// Where the bodies of its functions are.
    pub bodies: Vec<Range<usize>>,
}

/// The numbers of sections that are written anew, in their order in a module.
const TABLE: u8 = 4;
const MEMORY: u8 = 5;
const GLOBAL: u8 = 6;
const EXPORT: u8 = 7;
const START: u8 = 8;
const ELEMENT: u8 = 9;
const DATA_COUNT: u8 = 12;
const DATA: u8 = 11;

/// The place of a section with this number among the others.
fn rank(id: u8) -> usize {
    const ORDER: [u8; 13] = [
        1,
        2,
        3,
        TABLE,
        MEMORY,
        13,
        GLOBAL,
        EXPORT,
        START,
        ELEMENT,
        DATA_COUNT,
        sections::CODE,
        DATA,
    ];
    ORDER
        .iter()
        .position(|&known| known == id)
        .unwrap_or(ORDER.len())
}

/// What a data segment takes besides its bytes, at most.
const SEGMENT: usize = 32;

/// The parts of a name section that name segments: their numbers are others afterwards.
const SEGMENT_NAMES: [u8; 2] = [8, 9];

pub(super) fn write(snapshot: &Snapshot) -> Result<Written> {
    let wasm = snapshot.module.wasm();
    // Nobody has looked at an image's copy of them when it was loaded.
    snapshot.module.inner().code_owner().check_bodies()?;
    let old = &*wasm.bytes;
    let contents: usize = snapshot.state.memories.iter().map(|m| m.len()).sum();
    let runs: usize = snapshot.state.memories.iter().map(|m| m.runs.len()).sum();
    let size = old.len() + contents + runs * SEGMENT;
    if size > u32::MAX as usize {
        return Err(Error::of(
            ErrorKind::Limit,
            "the instance's memories are too large to be written into a module",
        ));
    }
    let sections = sections::sections(old);
    let had_count = sections.iter().any(|section| section.id == DATA_COUNT);
    let mut new = New::of(snapshot, had_count)?;

    let mut bytes = Vec::with_capacity(size);
    bytes.extend_from_slice(old.get(..8).unwrap_or_default());
    let mut moved = 0;
    let last_known = sections.iter().rposition(|section| section.id != 0);
    for (i, section) in sections.iter().enumerate() {
        let content = old.get(section.content.clone()).unwrap_or_default();
        match section.id {
            // What describes the module stands behind all of it.
            0 if last_known.is_none_or(|last| i > last) => {
                new.put_up_to(usize::MAX, &mut bytes);
                custom(section, old, content, &mut bytes);
            }
            0 => custom(section, old, content, &mut bytes),
            TABLE | MEMORY | GLOBAL | EXPORT | START | ELEMENT | DATA_COUNT | DATA => {}
            id => {
                new.put_up_to(rank(id), &mut bytes);
                out::RawSection { id, data: content }.append_to(&mut bytes);
                if id == sections::CODE {
                    let start = bytes.len() - content.len();
                    moved = start.wrapping_sub(section.content.start);
                }
            }
        }
    }
    new.put_up_to(usize::MAX, &mut bytes);
    let bodies = wasm.bodies.values().map(|body| {
        let at = |offset: usize| offset.wrapping_add(moved);
        at(body.range.start)..at(body.range.end)
    });
    Ok(Written {
        bodies: bodies.collect(),
        bytes,
    })
}

/// Copies a custom section; a name section without the names of segments.
fn custom(section: &RawSection, old: &[u8], content: &[u8], bytes: &mut Vec<u8>) {
    let id = 0;
    if let Some(("name", names)) = section.custom(old) {
        let names = old.get(names).unwrap_or_default();
        let parts = sections::name_parts(names);
        let kept = parts.iter().filter(|(id, _)| !SEGMENT_NAMES.contains(id));
        let data: Vec<u8> = kept
            .flat_map(|(_, range)| &names[range.clone()])
            .copied()
            .collect();
        let name = Cow::Borrowed("name");
        let data = Cow::Owned(data);
        out::CustomSection { name, data }.append_to(bytes);
    } else {
        out::RawSection { id, data: content }.append_to(bytes);
    }
}

/// The sections that are written anew and have not been put into the module yet.
struct New {
    /// By their place, in ascending order.
    sections: Vec<(usize, Vec<u8>)>,
}

impl New {
    fn of(snapshot: &Snapshot, had_count: bool) -> Result<New> {
        let uses = snapshot.module.wasm().segment_uses()?;
        let data = data(snapshot, &uses);
        let mut new = New {
            sections: Vec::new(),
        };
        let wasm = snapshot.module.wasm();
        new.add(!wasm.tables.is_empty(), TABLE, &tables(snapshot));
        new.add(!wasm.memories.is_empty(), MEMORY, &memories(snapshot));
        let globals = globals(snapshot)?;
        new.add(!globals.is_empty(), GLOBAL, &globals);
        let exports = exports(snapshot);
        new.add(!exports.is_empty(), EXPORT, &exports);
        let elements = elements(snapshot, &uses);
        new.add(!elements.is_empty(), ELEMENT, &elements);
        let count = out::DataCountSection { count: data.len() };
        new.add(had_count, DATA_COUNT, &count);
        new.add(!data.is_empty(), DATA, &data);
        Ok(new)
    }

    fn add(&mut self, present: bool, id: u8, section: &impl Section) {
        if present {
            let mut bytes = Vec::new();
            section.append_to(&mut bytes);
            self.sections.push((rank(id), bytes));
        }
    }

    /// Puts those that stand before this place.
    fn put_up_to(&mut self, rank: usize, bytes: &mut Vec<u8>) {
        let count = self.sections.partition_point(|(at, _)| *at < rank);
        for (_, section) in self.sections.drain(..count) {
            bytes.extend_from_slice(&section);
        }
    }
}

fn tables(snapshot: &Snapshot) -> out::TableSection {
    let mut section = out::TableSection::new();
    let tables = snapshot.module.wasm().tables.values();
    for (ty, contents) in tables.zip(&snapshot.state.tables) {
        section.table(out::TableType {
            element_type: ref_type(ty.element),
            table64: ty.table64,
            minimum: contents.size,
            maximum: ty.max,
            shared: false,
        });
    }
    section
}

/// The type of a memory that has so many pages now.
pub(crate) fn memory_type(ty: &MemoryType, pages: u64) -> out::MemoryType {
    out::MemoryType {
        minimum: pages,
        maximum: ty.max,
        memory64: ty.memory64,
        shared: ty.shared,
        page_size_log2: (ty.page_size_log2 != 16).then_some(ty.page_size_log2.into()),
    }
}

fn memories(snapshot: &Snapshot) -> out::MemorySection {
    let mut section = out::MemorySection::new();
    let memories = snapshot.module.wasm().memories.values();
    for (ty, contents) in memories.zip(&snapshot.state.memories) {
        section.memory(memory_type(ty, contents.size));
    }
    section
}

fn globals(snapshot: &Snapshot) -> Result<out::GlobalSection> {
    let mut section = out::GlobalSection::new();
    let globals = snapshot.module.wasm().globals.values();
    for (ty, value) in globals.zip(&snapshot.state.globals) {
        let init = match (*value, ty.content) {
            (Value::Bits(bits), ValType::I32) => ConstExpr::i32_const(bits as i32),
            (Value::Bits(bits), ValType::I64) => ConstExpr::i64_const(bits as i64),
            (Value::Bits(bits), ValType::F32) => {
                ConstExpr::f32_const(out::Ieee32::new(bits as u32))
            }
            (Value::Bits(bits), ValType::F64) => {
                ConstExpr::f64_const(out::Ieee64::new(bits as u64))
            }
            (Value::Bits(bits), ValType::V128) => ConstExpr::v128_const(bits as i128),
            (Value::Ref(func), ValType::Ref(ty)) => reference(func, ty),
            (Value::Bits(_), ValType::Ref(_)) | (Value::Ref(_), _) => {
                return Err(Error::msg("a global of two types (a bug of the runtime)"));
            }
        };
        let ty = out::GlobalType {
            val_type: val_type(ty.content),
            mutable: ty.mutable,
            shared: false,
        };
        section.global(ty, &init);
    }
    Ok(section)
}

fn exports(snapshot: &Snapshot) -> out::ExportSection {
    let mut section = out::ExportSection::new();
    for (name, index) in &snapshot.exports {
        let kind = match index {
            EntityIndex::Func(_) => out::ExportKind::Func,
            EntityIndex::Table(_) => out::ExportKind::Table,
            EntityIndex::Memory(_) => out::ExportKind::Memory,
            EntityIndex::Global(_) => out::ExportKind::Global,
            EntityIndex::Tag(_) => out::ExportKind::Tag,
        };
        section.export(name, kind, index.as_u32());
    }
    section
}

fn data(snapshot: &Snapshot, uses: &SegmentUses) -> out::DataSection {
    let wasm = snapshot.module.wasm();
    let state = &snapshot.state;
    let mut section = out::DataSection::new();
    for index in (0..uses.data).map(DataIndex::new) {
        let is_left = |segment: &&DataSegment| {
            !state.dropped_data[index.index()] && segment.mode == SegmentMode::Passive
        };
        let bytes = match wasm.data.get(index).filter(is_left) {
            Some(segment) => &wasm.bytes[segment.range.clone()],
            None => &[],
        };
        section.passive(bytes.iter().copied());
    }
    for ((index, ty), contents) in wasm.memories.iter().zip(&state.memories) {
        for (at, bytes) in &contents.runs {
            let offset = offset(*at, ty.memory64);
            section.active(index.as_u32(), &offset, bytes.iter().copied());
        }
    }
    section
}

fn elements(snapshot: &Snapshot, uses: &SegmentUses) -> out::ElementSection {
    let wasm = snapshot.module.wasm();
    let state = &snapshot.state;
    let mut section = out::ElementSection::new();
    // What code makes references to must be named outside of it.
    let mut undeclared: BTreeSet<FuncIndex> = uses.functions.clone();
    for index in (0..uses.elements).map(ElemIndex::new) {
        let segment = &wasm.elements[index];
        let gone = state.dropped_elements[index.index()] || segment.mode != SegmentMode::Passive;
        section.passive(match &segment.items {
            ElementItems::Functions(_) if gone => Elements::Functions(Cow::Borrowed(&[])),
            ElementItems::Exprs(_) if gone => {
                Elements::Expressions(ref_type(segment.ty), Cow::Borrowed(&[]))
            }
            ElementItems::Functions(functions) => {
                for func in functions {
                    undeclared.remove(func);
                }
                functions_of(functions.iter().copied())
            }
            ElementItems::Exprs(exprs) => {
                let exprs = exprs.iter().map(|expr| const_expr(expr, &mut undeclared));
                Elements::Expressions(ref_type(segment.ty), exprs.collect())
            }
        });
    }
    for ((index, ty), contents) in wasm.tables.iter().zip(&state.tables) {
        for (at, items) in &contents.runs {
            for func in items.iter().filter_map(|item| item.expand()) {
                undeclared.remove(&func);
            }
            let functions: Option<Vec<FuncIndex>> = items.iter().map(|i| i.expand()).collect();
            let (plain, items) = match functions {
                Some(functions) if ty.element == RefType::FUNCREF => {
                    (true, functions_of(functions))
                }
                _ => {
                    let items = items
                        .iter()
                        .map(|item| reference(item.expand(), ty.element));
                    let items = Elements::Expressions(ref_type(ty.element), items.collect());
                    (false, items)
                }
            };
            // The first version of WebAssembly knows table 0 and functions only.
            let table = (index.as_u32() != 0 || !plain).then_some(index.as_u32());
            section.active(table, &offset(*at, ty.table64), items);
        }
    }
    let exported = snapshot.exports.iter().map(|(_, index)| *index);
    let held = state.globals.iter().filter_map(|value| match value {
        Value::Ref(Some(func)) => Some(EntityIndex::Func(*func)),
        _ => None,
    });
    for index in exported.chain(held) {
        if let EntityIndex::Func(func) = index {
            undeclared.remove(&func);
        }
    }
    if !undeclared.is_empty() {
        section.declared(functions_of(undeclared));
    }
    section
}

fn functions_of(functions: impl IntoIterator<Item = FuncIndex>) -> Elements<'static> {
    Elements::Functions(functions.into_iter().map(|func| func.as_u32()).collect())
}

fn offset(at: u64, wide: bool) -> ConstExpr {
    match wide {
        true => ConstExpr::i64_const(at as i64),
        false => ConstExpr::i32_const(at as u32 as i32),
    }
}

/// A reference of this type.
fn reference(func: Option<FuncIndex>, ty: RefType) -> ConstExpr {
    match func {
        Some(func) => ConstExpr::ref_func(func.as_u32()),
        None => ConstExpr::ref_null(heap_type(ty.heap)),
    }
}

/// An expression as it is. Its functions need no other declaration.
fn const_expr(expr: &bimetal_wasm::ConstExpr, undeclared: &mut BTreeSet<FuncIndex>) -> ConstExpr {
    use bimetal_wasm::ConstOp;
    use out::Instruction;

    let op = |op: &ConstOp| match *op {
        ConstOp::I32Const(value) => Instruction::I32Const(value),
        ConstOp::I64Const(value) => Instruction::I64Const(value),
        ConstOp::F32Const(bits) => Instruction::F32Const(out::Ieee32::new(bits)),
        ConstOp::F64Const(bits) => Instruction::F64Const(out::Ieee64::new(bits)),
        ConstOp::V128Const(value) => Instruction::V128Const(value as i128),
        ConstOp::GlobalGet(index) => Instruction::GlobalGet(index.as_u32()),
        ConstOp::RefNull(heap) => Instruction::RefNull(heap_type(heap)),
        ConstOp::RefFunc(func) => {
            undeclared.remove(&func);
            Instruction::RefFunc(func.as_u32())
        }
        ConstOp::I32Add => Instruction::I32Add,
        ConstOp::I32Sub => Instruction::I32Sub,
        ConstOp::I32Mul => Instruction::I32Mul,
        ConstOp::I64Add => Instruction::I64Add,
        ConstOp::I64Sub => Instruction::I64Sub,
        ConstOp::I64Mul => Instruction::I64Mul,
        ConstOp::StructNew(ty) => Instruction::StructNew(ty.as_u32()),
        ConstOp::StructNewDefault(ty) => Instruction::StructNewDefault(ty.as_u32()),
        ConstOp::ArrayNew(ty) => Instruction::ArrayNew(ty.as_u32()),
        ConstOp::ArrayNewDefault(ty) => Instruction::ArrayNewDefault(ty.as_u32()),
        ConstOp::ArrayNewFixed(ty, array_size) => Instruction::ArrayNewFixed {
            array_type_index: ty.as_u32(),
            array_size,
        },
        ConstOp::RefI31 => Instruction::RefI31,
        ConstOp::AnyConvertExtern => Instruction::AnyConvertExtern,
        ConstOp::ExternConvertAny => Instruction::ExternConvertAny,
    };
    ConstExpr::extended(expr.ops.iter().map(op))
}

fn val_type(ty: ValType) -> out::ValType {
    match ty {
        ValType::I32 => out::ValType::I32,
        ValType::I64 => out::ValType::I64,
        ValType::F32 => out::ValType::F32,
        ValType::F64 => out::ValType::F64,
        ValType::V128 => out::ValType::V128,
        ValType::Ref(ty) => out::ValType::Ref(ref_type(ty)),
    }
}

fn ref_type(ty: RefType) -> out::RefType {
    out::RefType {
        nullable: ty.nullable,
        heap_type: heap_type(ty.heap),
    }
}

fn heap_type(ty: HeapType) -> out::HeapType {
    use out::AbstractHeapType as Abstract;

    let ty = match ty {
        HeapType::Concrete(index) => return out::HeapType::Concrete(index.as_u32()),
        HeapType::Func => Abstract::Func,
        HeapType::NoFunc => Abstract::NoFunc,
        HeapType::Extern => Abstract::Extern,
        HeapType::NoExtern => Abstract::NoExtern,
        HeapType::Any => Abstract::Any,
        HeapType::Eq => Abstract::Eq,
        HeapType::I31 => Abstract::I31,
        HeapType::Struct => Abstract::Struct,
        HeapType::Array => Abstract::Array,
        HeapType::None => Abstract::None,
        HeapType::Exn => Abstract::Exn,
        HeapType::NoExn => Abstract::NoExn,
    };
    out::HeapType::Abstract { shared: false, ty }
}
