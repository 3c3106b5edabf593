//! Which proposals a module uses, by looking at its types, segments and instructions.
//!
//! "Uses" means: a runtime without the proposal would refuse the module.

use cranelift_entity::EntityRef;
use rayon::prelude::*;
use wasmparser::{
    BlockType, VisitOperator, VisitSimdOperator, WasmFeatures, for_each_visit_operator,
    for_each_visit_simd_operator,
};

use crate::module::*;
use crate::types::*;

/// What the lists of `target_features` call the proposals.
const NAMES: &[(WasmFeatures, &str)] = &[
    (WasmFeatures::MUTABLE_GLOBAL, "mutable-globals"),
    (WasmFeatures::SIGN_EXTENSION, "sign-ext"),
    (WasmFeatures::SATURATING_FLOAT_TO_INT, "nontrapping-fptoint"),
    (WasmFeatures::MULTI_VALUE, "multivalue"),
    (WasmFeatures::BULK_MEMORY, "bulk-memory"),
    (WasmFeatures::REFERENCE_TYPES, "reference-types"),
    (WasmFeatures::SIMD, "simd128"),
    (WasmFeatures::MULTI_MEMORY, "multimemory"),
    (WasmFeatures::EXTENDED_CONST, "extended-const"),
    (WasmFeatures::RELAXED_SIMD, "relaxed-simd"),
    (WasmFeatures::TAIL_CALL, "tail-call"),
    (WasmFeatures::EXCEPTIONS, "exception-handling"),
    (WasmFeatures::LEGACY_EXCEPTIONS, "legacy-exception-handling"),
    (WasmFeatures::MEMORY64, "memory64"),
    (WasmFeatures::FUNCTION_REFERENCES, "function-references"),
    (WasmFeatures::GC, "gc"),
    (WasmFeatures::THREADS, "atomics"),
    (WasmFeatures::WIDE_ARITHMETIC, "wide-arithmetic"),
    (WasmFeatures::CUSTOM_PAGE_SIZES, "custom-page-sizes"),
    (WasmFeatures::STACK_SWITCHING, "stack-switching"),
];

/// The names of the proposals beyond WebAssembly's first version that the module uses.
pub(crate) fn used(module: &Module) -> Vec<&'static str> {
    let mut usage = Usage {
        module,
        used: WasmFeatures::empty(),
    };
    usage.declarations();
    let bodies = (0..module.bodies.len())
        .into_par_iter()
        .with_min_len(64)
        .map(|body| {
            let mut usage = Usage {
                module,
                used: WasmFeatures::empty(),
            };
            // The body is valid, so reading it does not fail.
            let _ = usage.body(DefinedFuncIndex::new(body));
            usage.used
        })
        .reduce(WasmFeatures::empty, WasmFeatures::union);
    let used = usage.used.union(bodies);
    NAMES
        .iter()
        .filter(|(feature, _)| used.contains(*feature))
        .map(|(_, name)| *name)
        .collect()
}

struct Usage<'a> {
    module: &'a Module,
    used: WasmFeatures,
}

impl Usage<'_> {
    fn uses(&mut self, feature: WasmFeatures) {
        self.used |= feature;
    }

    fn uses_if(&mut self, condition: bool, feature: WasmFeatures) {
        if condition {
            self.uses(feature);
        }
    }

    fn declarations(&mut self) {
        let m = self.module;
        for ty in m.types.values() {
            self.uses_if(!ty.is_final || ty.supertype.is_some(), WasmFeatures::GC);
            match &ty.composite {
                CompositeType::Func(ty) => {
                    self.uses_if(ty.results().len() > 1, WasmFeatures::MULTI_VALUE);
                    for ty in ty.params().iter().chain(ty.results()) {
                        self.val_type(*ty);
                    }
                }
                CompositeType::Struct(_) | CompositeType::Array(_) => self.uses(WasmFeatures::GC),
            }
        }
        self.uses_if(m.memories.len() > 1, WasmFeatures::MULTI_MEMORY);
        for memory in m.memories.values() {
            self.uses_if(memory.shared, WasmFeatures::THREADS);
            self.uses_if(memory.memory64, WasmFeatures::MEMORY64);
            self.uses_if(memory.page_size_log2 != 16, WasmFeatures::CUSTOM_PAGE_SIZES);
        }
        self.uses_if(m.tables.len() > 1, WasmFeatures::REFERENCE_TYPES);
        for table in m.tables.values() {
            self.uses_if(table.table64, WasmFeatures::MEMORY64);
            if table.element != RefType::FUNCREF {
                self.val_type(ValType::Ref(table.element));
            }
        }
        for init in m.table_init.values() {
            if let TableInit::Expr(expr) = init {
                self.uses(WasmFeatures::FUNCTION_REFERENCES);
                self.expr(expr);
            }
        }
        for global in m.globals.values() {
            self.val_type(global.content);
        }
        m.global_init.values().for_each(|expr| self.expr(expr));
        self.uses_if(!m.tags.is_empty(), WasmFeatures::EXCEPTIONS);
        let shared = m
            .imports
            .iter()
            .map(|import| import.index)
            .chain(m.exports.iter().map(|export| export.index));
        for index in shared {
            if let EntityIndex::Global(global) = index {
                self.uses_if(m.globals[global].mutable, WasmFeatures::MUTABLE_GLOBAL);
            }
        }
        for data in m.data.values() {
            match &data.mode {
                SegmentMode::Active { offset, .. } => self.expr(offset),
                SegmentMode::Passive | SegmentMode::Declared => {
                    self.uses(WasmFeatures::BULK_MEMORY);
                }
            }
        }
        for element in m.elements.values() {
            match &element.mode {
                SegmentMode::Active { offset, .. } => self.expr(offset),
                SegmentMode::Passive => self.uses(WasmFeatures::BULK_MEMORY),
                SegmentMode::Declared => self.uses(WasmFeatures::REFERENCE_TYPES),
            }
            if let ElementItems::Exprs(exprs) = &element.items {
                self.uses(WasmFeatures::BULK_MEMORY);
                exprs.iter().for_each(|expr| self.expr(expr));
            }
        }
    }

    fn val_type(&mut self, ty: ValType) {
        match ty {
            ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64 => {}
            ValType::V128 => self.uses(WasmFeatures::SIMD),
            ValType::Ref(ty) => {
                self.uses(WasmFeatures::REFERENCE_TYPES);
                self.uses_if(!ty.nullable, WasmFeatures::FUNCTION_REFERENCES);
                match ty.heap {
                    HeapType::Func | HeapType::Extern => {}
                    HeapType::Concrete(_) => self.uses(WasmFeatures::FUNCTION_REFERENCES),
                    HeapType::Exn | HeapType::NoExn => self.uses(WasmFeatures::EXCEPTIONS),
                    _ => self.uses(WasmFeatures::GC),
                }
            }
        }
    }

    fn expr(&mut self, expr: &ConstExpr) {
        for op in &expr.ops {
            match op {
                ConstOp::V128Const(_) => self.uses(WasmFeatures::SIMD),
                ConstOp::RefNull(_) | ConstOp::RefFunc(_) => {
                    self.uses(WasmFeatures::REFERENCE_TYPES);
                }
                ConstOp::I32Add
                | ConstOp::I32Sub
                | ConstOp::I32Mul
                | ConstOp::I64Add
                | ConstOp::I64Sub
                | ConstOp::I64Mul => self.uses(WasmFeatures::EXTENDED_CONST),
                ConstOp::StructNew(_)
                | ConstOp::StructNewDefault(_)
                | ConstOp::ArrayNew(_)
                | ConstOp::ArrayNewDefault(_)
                | ConstOp::ArrayNewFixed(..)
                | ConstOp::RefI31
                | ConstOp::AnyConvertExtern
                | ConstOp::ExternConvertAny => self.uses(WasmFeatures::GC),
                ConstOp::I32Const(_)
                | ConstOp::I64Const(_)
                | ConstOp::F32Const(_)
                | ConstOp::F64Const(_)
                | ConstOp::GlobalGet(_) => {}
            }
        }
    }

    fn body(&mut self, index: DefinedFuncIndex) -> wasmparser::Result<()> {
        let body = self.module.body_reader(index);
        for local in body.get_locals_reader()? {
            match crate::convert::val_type(local?.1) {
                Ok(ty) => self.val_type(ty),
                Err(feature) => self.uses(feature),
            }
        }
        let mut ops = body.get_operators_reader()?;
        while !ops.eof() {
            ops.visit_operator(self)?;
        }
        Ok(())
    }

    fn block(&mut self, ty: BlockType) {
        if let BlockType::FuncType(index) = ty {
            let ty = self.module.func_type_at(TypeIndex::from_u32(index));
            let multiple = !ty.params().is_empty() || ty.results().len() > 1;
            self.uses_if(multiple, WasmFeatures::MULTI_VALUE);
        }
    }
}

/// The proposals under the names that `wasmparser`'s instruction table has for them.
#[allow(non_upper_case_globals, reason = "these are the table's names")]
mod proposals {
    use wasmparser::WasmFeatures;

    pub(super) const mvp: WasmFeatures = WasmFeatures::empty();
    pub(super) const sign_extension: WasmFeatures = WasmFeatures::SIGN_EXTENSION;
    pub(super) const saturating_float_to_int: WasmFeatures = WasmFeatures::SATURATING_FLOAT_TO_INT;
    pub(super) const bulk_memory: WasmFeatures = WasmFeatures::BULK_MEMORY;
    pub(super) const reference_types: WasmFeatures = WasmFeatures::REFERENCE_TYPES;
    pub(super) const simd: WasmFeatures = WasmFeatures::SIMD;
    pub(super) const relaxed_simd: WasmFeatures = WasmFeatures::RELAXED_SIMD;
    pub(super) const tail_call: WasmFeatures = WasmFeatures::TAIL_CALL;
    pub(super) const exceptions: WasmFeatures = WasmFeatures::EXCEPTIONS;
    pub(super) const legacy_exceptions: WasmFeatures = WasmFeatures::LEGACY_EXCEPTIONS;
    pub(super) const function_references: WasmFeatures = WasmFeatures::FUNCTION_REFERENCES;
    pub(super) const gc: WasmFeatures = WasmFeatures::GC;
    pub(super) const threads: WasmFeatures = WasmFeatures::THREADS;
    pub(super) const shared_everything_threads: WasmFeatures =
        WasmFeatures::SHARED_EVERYTHING_THREADS;
    pub(super) const memory_control: WasmFeatures = WasmFeatures::MEMORY_CONTROL;
    pub(super) const stack_switching: WasmFeatures = WasmFeatures::STACK_SWITCHING;
    pub(super) const wide_arithmetic: WasmFeatures = WasmFeatures::WIDE_ARITHMETIC;
    pub(super) const custom_descriptors: WasmFeatures = WasmFeatures::CUSTOM_DESCRIPTORS;
    pub(super) const acquire_release_atomics: WasmFeatures = WasmFeatures::ACQUIRE_RELEASE_ATOMICS;
}

/// What an instruction uses beyond its own proposal, by its immediates.
macro_rules! immediates {
    ($this:ident visit_block $blockty:ident) => {
        $this.block($blockty)
    };
    ($this:ident visit_loop $blockty:ident) => {
        $this.block($blockty)
    };
    ($this:ident visit_if $blockty:ident) => {
        $this.block($blockty)
    };
    ($this:ident visit_call_indirect $type_index:ident $table_index:ident) => {{
        let _ = $type_index;
        $this.uses_if($table_index != 0, WasmFeatures::REFERENCE_TYPES)
    }};
    ($this:ident $visit:ident $($arg:ident)*) => {{ $( let _ = $arg; )* }};
}

macro_rules! visit {
    ($( @$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*) )*) => {
        $(
            fn $visit(&mut self $($(, $arg: $argty)*)?) {
                self.uses(proposals::$proposal);
                immediates!(self $visit $($($arg)*)?);
            }
        )*
    };
}

impl<'a> VisitOperator<'a> for Usage<'_> {
    type Output = ();

    fn simd_visitor(&mut self) -> Option<&mut dyn VisitSimdOperator<'a, Output = ()>> {
        Some(self)
    }

    for_each_visit_operator!(visit);
}

impl<'a> VisitSimdOperator<'a> for Usage<'_> {
    for_each_visit_simd_operator!(visit);
}
