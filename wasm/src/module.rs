//! A validated module as data.
//!
//! Bodies, data segments and custom sections are byte ranges into [`Module::bytes`]; nothing is
//! copied. A `Module` is immutable and shared; whoever has one knows that it validated.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use cranelift_entity::packed_option::PackedOption;
use cranelift_entity::{EntityRef, PrimaryMap, SecondaryMap};

use crate::bytes::Bytes;
use crate::error::{Error, ErrorKind, Result};
use crate::hints::BranchHints;
use crate::names::ExportIndex;
use crate::types::*;

/// What the decoder accepts beyond WebAssembly 2.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Features {
    /// Fixed-width SIMD.
    pub simd: bool,
    /// More than one memory.
    pub multi_memory: bool,
    /// Integer arithmetic in constant expressions.
    pub extended_const: bool,
    /// Calls in the place of returns.
    pub tail_call: bool,
    /// Vector instructions whose results processors may choose among a few.
    pub relaxed_simd: bool,
    /// 128-bit sums and products of 64-bit integers.
    pub wide_arithmetic: bool,
    /// Memories and tables with 64-bit indices.
    pub memory64: bool,
    /// Memories whose pages have one byte.
    pub custom_page_sizes: bool,
    /// Typed function references. [`Features::gc`] needs them.
    pub function_references: bool,
    /// Structs, arrays and what else is collected. `externref` is there without.
    pub gc: bool,
    /// Memories that threads share, and atomic instructions.
    pub threads: bool,
    /// Exceptions: tags, `try_table`, `throw`, `throw_ref`, `exnref`.
    pub exceptions: bool,
    /// The instructions for exceptions before there was `exnref`: `try`, `catch`, `rethrow`,
    /// `delegate`. Without `exceptions` they are off too.
    pub legacy_exceptions: bool,
}

impl Default for Features {
    fn default() -> Self {
        Features {
            simd: true,
            multi_memory: true,
            extended_const: true,
            tail_call: true,
            relaxed_simd: true,
            wide_arithmetic: true,
            memory64: true,
            custom_page_sizes: false,
            function_references: true,
            gc: true,
            threads: true,
            exceptions: true,
            legacy_exceptions: true,
        }
    }
}

/// A validated module.
#[derive(Debug)]
pub struct Module {
    /// The binary; ranges below are into it.
    pub bytes: Bytes,
    /// The features it was validated with.
    pub features: Features,
    /// Types in module order.
    pub types: PrimaryMap<TypeIndex, SubType>,
    /// Rec groups, as ranges of type indices in order; a plain type is a group of one.
    pub rec_groups: Vec<Range<u32>>,
    /// Imports in order.
    pub imports: Vec<Import>,
    /// Exports in order; names are unique.
    pub exports: Vec<Export>,
    /// The type of every function.
    pub functions: PrimaryMap<FuncIndex, TypeIndex>,
    /// The type of every table.
    pub tables: PrimaryMap<TableIndex, TableType>,
    /// The type of every memory.
    pub memories: PrimaryMap<MemoryIndex, MemoryType>,
    /// The type of every global.
    pub globals: PrimaryMap<GlobalIndex, GlobalType>,
    /// The function type of every tag.
    pub tags: PrimaryMap<TagIndex, TypeIndex>,
    /// How many of `functions` are imported.
    pub num_imported_funcs: usize,
    /// How many of `tables` are imported.
    pub num_imported_tables: usize,
    /// How many of `memories` are imported.
    pub num_imported_memories: usize,
    /// How many of `globals` are imported.
    pub num_imported_globals: usize,
    /// How many of `tags` are imported.
    pub num_imported_tags: usize,
    /// The initial elements of defined tables.
    pub table_init: PrimaryMap<DefinedTableIndex, TableInit>,
    /// The initial values of defined globals.
    pub global_init: PrimaryMap<DefinedGlobalIndex, ConstExpr>,
    /// Element segments.
    pub elements: PrimaryMap<ElemIndex, ElementSegment>,
    /// Data segments; none if they were all copied by other means ([`Module::decode_validated`]).
    pub data: PrimaryMap<DataIndex, DataSegment>,
    /// How many data segments the module has.
    pub num_data: usize,
    /// The start function.
    pub start: Option<FuncIndex>,
    /// Bodies of defined functions.
    pub bodies: PrimaryMap<DefinedFuncIndex, FunctionBody>,
    /// The function reference of each function that can be referenced.
    pub func_refs: SecondaryMap<FuncIndex, PackedOption<FuncRefIndex>>,
    /// The number of different `func_refs`.
    pub num_func_refs: usize,
    /// Custom sections in order.
    pub custom_sections: Vec<CustomSection>,
    /// The name section, decoded when first asked for: see [`Module::names`].
    pub(crate) names: OnceLock<Names>,
    /// Exports by name, when there are many: see [`Module::export`].
    pub(crate) export_map: OnceLock<HashMap<Box<str>, EntityIndex>>,
    /// The first export of each function.
    pub(crate) export_names: OnceLock<SecondaryMap<FuncIndex, PackedOption<ExportIndex>>>,
    /// Decoded when first asked for: see [`Module::branch_hints`].
    pub(crate) branch_hints: OnceLock<BranchHints>,
    /// Types that are the same: see [`Module::canonical_type`].
    pub(crate) canonical: OnceLock<PrimaryMap<TypeIndex, TypeIndex>>,
    /// See [`Module::referable_functions`].
    pub(crate) referable: OnceLock<SecondaryMap<TypeIndex, Vec<FuncIndex>>>,
}

/// An import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// First name.
    pub module: Box<str>,
    /// Second name.
    pub name: Box<str>,
    /// What it becomes.
    pub index: EntityIndex,
}

/// An import's or export's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportType {
    /// A function of the module's type.
    Func(TypeIndex),
    /// A table.
    Table(TableType),
    /// A memory.
    Memory(MemoryType),
    /// A global.
    Global(GlobalType),
    /// A tag.
    Tag(TypeIndex),
}

/// An export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Its name.
    pub name: Box<str>,
    /// What it is.
    pub index: EntityIndex,
}

/// A defined function's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionBody {
    /// From the local declarations to the final `end`, inclusive.
    pub range: Range<usize>,
}

/// The initial elements of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableInit {
    /// All null.
    Null,
    /// All the value of this expression.
    Expr(ConstExpr),
}

/// When a segment is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentMode<I> {
    /// By `memory.init` or `table.init`.
    Passive,
    /// At instantiation, to this place.
    Active {
        /// The memory or table.
        target: I,
        /// The first index.
        offset: ConstExpr,
    },
    /// Never. Of element segments: it declares functions that `ref.func` may name.
    Declared,
}

/// An element segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementSegment {
    /// When it is copied.
    pub mode: SegmentMode<TableIndex>,
    /// The elements' type.
    pub ty: RefType,
    /// The elements.
    pub items: ElementItems,
}

/// The elements of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElementItems {
    /// References to functions.
    Functions(Box<[FuncIndex]>),
    /// Constant expressions.
    Exprs(Box<[ConstExpr]>),
}

impl ElementItems {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            ElementItems::Functions(items) => items.len(),
            ElementItems::Exprs(items) => items.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A data segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSegment {
    /// When it is copied.
    pub mode: SegmentMode<MemoryIndex>,
    /// The bytes, in [`Module::bytes`].
    pub range: Range<usize>,
}

/// A custom section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomSection {
    /// Its name.
    pub name: Box<str>,
    /// Its content without the name, in [`Module::bytes`].
    pub range: Range<usize>,
}

/// A constant expression, in postfix order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConstExpr {
    /// The instructions, without the final `end`.
    pub ops: Box<[ConstOp]>,
}

/// An instruction of a constant expression.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the instruction of that name")]
pub enum ConstOp {
    I32Const(i32),
    I64Const(i64),
    /// The bits.
    F32Const(u32),
    /// The bits.
    F64Const(u64),
    V128Const(u128),
    GlobalGet(GlobalIndex),
    RefNull(HeapType),
    RefFunc(FuncIndex),
    I32Add,
    I32Sub,
    I32Mul,
    I64Add,
    I64Sub,
    I64Mul,
    /// With its fields as operands.
    StructNew(TypeIndex),
    StructNewDefault(TypeIndex),
    /// Operands: the element and the length.
    ArrayNew(TypeIndex),
    /// Operand: the length.
    ArrayNewDefault(TypeIndex),
    /// With so many elements as operands.
    ArrayNewFixed(TypeIndex, u32),
    RefI31,
    AnyConvertExtern,
    ExternConvertAny,
}

/// The name section.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The module's own name.
    pub module: Option<Box<str>>,
    /// Function names as they stand (not demangled), by index.
    pub functions: SecondaryMap<FuncIndex, Option<Box<str>>>,
    /// Names of tags, by index.
    pub tags: SecondaryMap<TagIndex, Option<Box<str>>>,
}

/// Up to so many exports are looked through one by one.
const EXPORTS_WITHOUT_MAP: usize = 16;

impl Module {
    /// Decodes and validates a module: a binary, or the text format.
    ///
    /// The bytes are kept, not copied, when they come as a vector or shared.
    ///
    /// # Errors
    ///
    /// What is wrong and where: see [`Error`]. Of several errors in a binary the one with the
    /// lowest offset is reported.
    ///
    /// ```
    /// use bimetal_wasm::{Features, Module};
    ///
    /// let module = Module::new("(module (func (export \"f\")))", &Features::default())?;
    /// assert_eq!(module.exports.len(), 1);
    /// # Ok::<(), bimetal_wasm::Error>(())
    /// ```
    pub fn new(bytes: impl Into<Bytes>, features: &Features) -> Result<Module> {
        Module::with_path(bytes.into(), None, features)
    }

    /// [`Module::new`] of a file that errors in text name.
    pub fn with_path(
        bytes: impl Into<Bytes>,
        path: Option<&Path>,
        features: &Features,
    ) -> Result<Module> {
        let bytes = bytes.into();
        if Module::is_binary(&bytes) {
            return crate::decode::decode(bytes, features);
        }
        if crate::text::is_text(&bytes)
            && let Ok(text) = std::str::from_utf8(&bytes)
        {
            return Module::from_named_text(text, path, features);
        }
        Err(Error::new(
            ErrorKind::Malformed,
            not_a_module(&bytes),
            Some(0),
        ))
    }

    /// Decodes a binary that [`Module::new`] accepted before with the same features, whose bodies
    /// are at these ranges. Its code is not touched, nothing is validated, so that this takes a
    /// time that does not depend on the amount of code. Nor is its data looked at if its segments
    /// are said to be so many: they are as if each had been dropped, for whoever has another way
    /// to fill memories ([`Module::initial_memory`]).
    ///
    /// # Errors
    ///
    /// If the bytes are no module after all, or the ranges do not fit it. What [`Module::new`] would
    /// refuse may be found to be wrong, or not.
    pub fn decode_validated(
        bytes: impl Into<Bytes>,
        features: &Features,
        bodies: impl IntoIterator<Item = Range<usize>>,
        data_segments: Option<usize>,
    ) -> Result<Module> {
        crate::decode::decode_validated(bytes.into(), features, bodies, data_segments)
    }

    /// Whether a module, binary or text, is valid.
    pub fn validate(bytes: impl Into<Bytes>, features: &Features) -> Result<()> {
        Module::new(bytes, features).map(|_| ())
    }

    /// Whether the bytes begin as every binary does.
    pub fn is_binary(bytes: &[u8]) -> bool {
        bytes.starts_with(b"\0asm")
    }

    /// The function type with this index. Only asked for indices that validation found to be
    /// function types; another gives an empty type.
    pub fn func_type_at(&self, index: TypeIndex) -> &FuncType {
        static EMPTY: OnceLock<FuncType> = OnceLock::new();
        match &self.types[index].composite {
            CompositeType::Func(ty) => ty,
            _ => EMPTY.get_or_init(|| FuncType::new([], [])),
        }
    }

    /// A function's type.
    pub fn func_type(&self, index: FuncIndex) -> &FuncType {
        self.func_type_at(self.functions[index])
    }

    /// The bytes of a defined function's body.
    pub fn body_bytes(&self, index: DefinedFuncIndex) -> &[u8] {
        &self.bytes[self.bodies[index].range.clone()]
    }

    /// The number of memories that are not imported.
    pub fn num_defined_memories(&self) -> usize {
        self.memories.len() - self.num_imported_memories
    }

    /// The number of tables that are not imported.
    pub fn num_defined_tables(&self) -> usize {
        self.tables.len() - self.num_imported_tables
    }

    /// The number of tags that are not imported.
    pub fn num_defined_tags(&self) -> usize {
        self.tags.len() - self.num_imported_tags
    }

    /// The number of globals that are not imported.
    pub fn num_defined_globals(&self) -> usize {
        self.globals.len() - self.num_imported_globals
    }

    /// The defined index of a function, `None` if it is imported.
    pub fn defined_func(&self, index: FuncIndex) -> Option<DefinedFuncIndex> {
        let i = index.index().checked_sub(self.num_imported_funcs)?;
        Some(DefinedFuncIndex::new(i))
    }

    /// The defined index of a table, `None` if it is imported.
    pub fn defined_table(&self, index: TableIndex) -> Option<DefinedTableIndex> {
        let i = index.index().checked_sub(self.num_imported_tables)?;
        Some(DefinedTableIndex::new(i))
    }

    /// The defined index of a memory, `None` if it is imported.
    pub fn defined_memory(&self, index: MemoryIndex) -> Option<DefinedMemoryIndex> {
        let i = index.index().checked_sub(self.num_imported_memories)?;
        Some(DefinedMemoryIndex::new(i))
    }

    /// The defined index of a global, `None` if it is imported.
    pub fn defined_global(&self, index: GlobalIndex) -> Option<DefinedGlobalIndex> {
        let i = index.index().checked_sub(self.num_imported_globals)?;
        Some(DefinedGlobalIndex::new(i))
    }

    /// The defined index of a tag, `None` if it is imported.
    pub fn defined_tag(&self, index: TagIndex) -> Option<DefinedTagIndex> {
        let i = index.index().checked_sub(self.num_imported_tags)?;
        Some(DefinedTagIndex::new(i))
    }

    /// What exceptions with this tag carry.
    pub fn tag_params(&self, index: TagIndex) -> &[ValType] {
        self.func_type_at(self.tags[index]).params()
    }

    /// The function index of a defined function.
    pub fn func_index(&self, index: DefinedFuncIndex) -> FuncIndex {
        FuncIndex::new(index.index() + self.num_imported_funcs)
    }

    /// The type of an import or export.
    pub fn entity_type(&self, index: EntityIndex) -> ImportType {
        match index {
            EntityIndex::Func(i) => ImportType::Func(self.functions[i]),
            EntityIndex::Table(i) => ImportType::Table(self.tables[i]),
            EntityIndex::Memory(i) => ImportType::Memory(self.memories[i]),
            EntityIndex::Global(i) => ImportType::Global(self.globals[i]),
            EntityIndex::Tag(i) => ImportType::Tag(self.tags[i]),
        }
    }

    /// The export with this name.
    pub fn export(&self, name: &str) -> Option<EntityIndex> {
        if self.exports.len() <= EXPORTS_WITHOUT_MAP {
            return self
                .exports
                .iter()
                .find(|export| &*export.name == name)
                .map(|export| export.index);
        }
        self.export_map
            .get_or_init(|| {
                self.exports
                    .iter()
                    .map(|export| (export.name.clone(), export.index))
                    .collect()
            })
            .get(name)
            .copied()
    }
}

/// What to say of bytes that are neither a binary nor text.
fn not_a_module(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "the module is empty".to_owned();
    }
    if b"\0asm".starts_with(bytes) {
        return "unexpected end of the module within its magic number".to_owned();
    }
    let start: Vec<String> = bytes.iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!(
        "not a WebAssembly module: it begins with the bytes {}, a binary module with 00 61 73 6d, \
         and it is not in the text format",
        start.join(" ")
    )
}
