//! What all instances of a module have in common, found out once.

use bimetal_abi::VmGlobal;
use bimetal_codegen::ModuleEnv;
use bimetal_wasm::{
    ConstExpr, ConstOp, DataIndex, DefinedGlobalIndex, DefinedTableIndex, ElemIndex, ElementItems,
    EntityIndex, FuncIndex, MemoryIndex, SegmentMode, TableInit,
};
use cranelift_entity::EntityRef;

use super::const_eval::constant;

/// How to begin an instance of one module.
#[derive(Debug)]
pub(crate) struct Template {
    /// The values of the globals that it defines; of those in `computed`, zeros.
    pub(super) globals: Box<[VmGlobal]>,
    /// The globals whose values depend on the instance.
    pub(super) computed: Box<[DefinedGlobalIndex]>,
    /// The tables that begin full of something.
    pub(super) full_tables: Box<[DefinedTableIndex]>,
    /// Element segments whose elements have to be evaluated.
    pub(super) evaluated: Box<[ElemIndex]>,
    /// Active element segments that are copied.
    pub(super) copied_elements: Box<[ElemIndex]>,
    /// Active data segments.
    pub(super) active_data: Box<[DataIndex]>,
    /// Whether an element segment is as good as dropped before any is copied.
    pub(super) dropped_elements: Box<[bool]>,
    /// Whether a data segment is, if the memories have their initial contents.
    pub(super) dropped_data: Box<[bool]>,
    /// The imported functions that have a reference.
    pub(super) imported_refs: Box<[FuncIndex]>,
    /// What is exported under the name `memory`.
    pub(super) exported_memory: Option<MemoryIndex>,
}

impl Template {
    pub(crate) fn new(env: &ModuleEnv) -> Template {
        let wasm = &*env.module;
        let value = |expr: &ConstExpr| match &*expr.ops {
            [op] => constant(op),
            _ => None,
        };
        let globals = wasm.global_init.values().map(|expr| VmGlobal {
            bytes: value(expr).unwrap_or_default().bytes,
        });
        let computed = wasm.global_init.iter();
        let computed = computed.filter(|(_, expr)| value(expr).is_none());
        let full_tables = wasm.table_init.iter();
        let full_tables = full_tables.filter(|(_, init)| !is_null(init));
        let is_copied = |index| env.tables.is_copied(index);
        let evaluated = wasm.elements.iter().filter(|(index, segment)| {
            matches!(segment.items, ElementItems::Exprs(_))
                && match segment.mode {
                    SegmentMode::Passive => true,
                    SegmentMode::Active { .. } => is_copied(*index),
                    SegmentMode::Declared => false,
                }
        });
        let copied = wasm.elements.iter().filter(|(index, segment)| {
            matches!(segment.mode, SegmentMode::Active { .. }) && is_copied(*index)
        });
        let active_data = wasm.data.iter();
        let active_data =
            active_data.filter(|(_, segment)| matches!(segment.mode, SegmentMode::Active { .. }));
        let imported = wasm.functions.keys().take(wasm.num_imported_funcs);
        let imported_refs =
            imported.filter(|&func| wasm.func_refs.get(func).is_some_and(|r| r.is_some()));
        Template {
            globals: globals.collect(),
            computed: computed.map(|(index, _)| index).collect(),
            full_tables: full_tables.map(|(index, _)| index).collect(),
            evaluated: evaluated.map(|(index, _)| index).collect(),
            copied_elements: copied.map(|(index, _)| index).collect(),
            active_data: active_data.map(|(index, _)| index).collect(),
            dropped_elements: wasm
                .elements
                .iter()
                .map(|(index, segment)| match segment.mode {
                    SegmentMode::Passive => false,
                    SegmentMode::Active { .. } => !is_copied(index),
                    SegmentMode::Declared => true,
                })
                .collect(),
            dropped_data: (0..wasm.num_data)
                .map(|index| {
                    let segment = wasm.data.get(DataIndex::new(index));
                    segment.is_none_or(|s| matches!(s.mode, SegmentMode::Active { .. }))
                })
                .collect(),
            imported_refs: imported_refs.collect(),
            exported_memory: match wasm.export("memory") {
                Some(EntityIndex::Memory(index)) => Some(index),
                _ => None,
            },
        }
    }
}

fn is_null(init: &TableInit) -> bool {
    match init {
        TableInit::Null => true,
        TableInit::Expr(expr) => matches!(*expr.ops, [ConstOp::RefNull(_)]),
    }
}
