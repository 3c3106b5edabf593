//! From a binary to a validated [`Module`].
//!
//! Two passes. The first reads every section but the function bodies, of which it notes only the
//! ranges; each section is decoded into the model and handed to `wasmparser`'s validator. The
//! second validates all bodies in parallel.
//!
//! **Invariant**: the error reported is the one with the lowest offset, whatever the number of
//! threads: when the first pass fails, the bodies that stand before the failure are validated still,
//! and an error in one of them wins.
//!
//! Indices are stored as read and looked at only after the validator has accepted them.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use cranelift_entity::packed_option::PackedOption;
use cranelift_entity::{EntityRef, PrimaryMap, SecondaryMap};
use rayon::prelude::*;
use wasmparser::{
    BinaryReader, Chunk, FuncToValidate, FuncValidatorAllocations, Parser, Payload, ValidPayload,
    Validator, ValidatorResources, WasmFeatures,
};

use crate::bytes::Bytes;
use crate::convert::{self, Failure, at, index};
use crate::diagnose;
use crate::error::{Error, ErrorKind, Result};
use crate::module::*;
use crate::sections::sections;
use crate::types::*;

/// Fewer bytes of code than this are validated on the calling thread: waking others costs more.
const PARALLEL_THRESHOLD: usize = 128 << 10;

/// Bytes of code that a thread takes at a time: long enough that taking is nothing, short enough
/// that the threads end together.
const CHUNK: usize = 64 << 10;

/// The most bytes of a module. Offsets are kept in 32 bits by compilers and artifacts.
const MAX_MODULE: usize = u32::MAX as usize;

impl Features {
    /// The validator's feature set.
    pub(crate) fn to_wasmparser(self) -> WasmFeatures {
        let mut features = WasmFeatures::WASM2;
        features.set(WasmFeatures::SIMD, self.simd);
        features.set(WasmFeatures::MULTI_MEMORY, self.multi_memory);
        features.set(WasmFeatures::EXTENDED_CONST, self.extended_const);
        features.set(WasmFeatures::TAIL_CALL, self.tail_call);
        features.set(WasmFeatures::RELAXED_SIMD, self.relaxed_simd && self.simd);
        features.set(WasmFeatures::WIDE_ARITHMETIC, self.wide_arithmetic);
        features.set(WasmFeatures::MEMORY64, self.memory64);
        features.set(WasmFeatures::CUSTOM_PAGE_SIZES, self.custom_page_sizes);
        let typed = self.function_references;
        features.set(WasmFeatures::FUNCTION_REFERENCES, typed);
        features.set(WasmFeatures::GC, self.gc && typed);
        features.set(WasmFeatures::THREADS, self.threads);
        features.set(WasmFeatures::EXCEPTIONS, self.exceptions);
        let legacy = self.legacy_exceptions && self.exceptions;
        features.set(WasmFeatures::LEGACY_EXCEPTIONS, legacy);
        features
    }
}

/// Decodes and validates the binary `bytes`.
pub(crate) fn decode(bytes: Bytes, features: &Features) -> Result<Module> {
    decode_with(bytes, features, features.to_wasmparser())
}

/// [`decode`] with the validator's features.
fn decode_with(bytes: Bytes, features: &Features, wasm_features: WasmFeatures) -> Result<Module> {
    let data = bytes.clone();
    let data = data.as_slice();
    if data.len() > MAX_MODULE {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the module has {} bytes, the limit is {MAX_MODULE}",
                data.len()
            ),
            None,
        ));
    }
    if Parser::is_component(data) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "this is a component, not a core module; components are not supported yet",
            Some(4),
        ));
    }
    let mut decoder = Decoder {
        module: Module::empty(bytes, *features),
        resources: None,
    };
    let outline = decoder.outline(data, wasm_features);
    let Decoder {
        mut module,
        resources,
        ..
    } = decoder;
    let body = resources.and_then(|resources| {
        BodyValidation {
            module: &module,
            data,
            resources,
            features: wasm_features,
        }
        .run()
    });
    let failure = match (outline, body) {
        (Ok(()), None) => {
            module.collect_func_refs();
            return Ok(module);
        }
        (Ok(()), Some((func, failure))) => (Some(func), failure),
        (Err(outline), Some((func, body))) if body.offset() <= outline.offset() => {
            (Some(func), body)
        }
        (Err(outline), _) => (None, outline),
    };
    let (func, failure) = failure;
    let error = diagnose::explain(data, wasm_features, &failure);
    Err(match func {
        Some(func) => {
            module.custom_sections = skim_custom_sections(data);
            error.in_function(module.func_display_name(func).into_owned())
        }
        None => error,
    })
}

/// Decodes a binary that [`decode`] accepted before, whose bodies are known: its code is not looked
/// at, and nothing is validated.
pub(crate) fn decode_validated(
    bytes: Bytes,
    features: &Features,
    bodies: impl IntoIterator<Item = Range<usize>>,
    data_segments: Option<usize>,
) -> Result<Module> {
    let data = bytes.clone();
    let data = data.as_slice();
    let wasm_features = features.to_wasmparser();
    let mut decoder = Decoder {
        module: Module::empty(bytes, *features),
        resources: None,
    };
    decoder
        .skim(data, wasm_features, data_segments)
        .map_err(|failure| diagnose::has_changed(data, &failure))?;
    let mut module = decoder.module;
    let bodies = bodies.into_iter();
    module.bodies.reserve_exact(bodies.size_hint().0);
    for range in bodies {
        if data.get(range.clone()).is_none() {
            return Err(Error::new(
                ErrorKind::Malformed,
                "a function's body is outside of the module",
                Some(range.start),
            ));
        }
        module.bodies.push(FunctionBody { range });
    }
    if module.num_imported_funcs + module.bodies.len() != module.functions.len() {
        return Err(Error::new(
            ErrorKind::Malformed,
            "there are not as many bodies as functions",
            None,
        ));
    }
    module.collect_func_refs();
    Ok(module)
}

/// The first pass.
struct Decoder {
    module: Module,
    /// What the validator knows of the module once the code section begins.
    resources: Option<ValidatorResources>,
}

impl Decoder {
    /// Decodes and validates everything but the bodies.
    fn outline(&mut self, data: &[u8], features: WasmFeatures) -> Result<(), Failure> {
        let mut validator = Validator::new_with_features(features);
        let mut parser = Parser::new(0);
        parser.set_features(features);
        for payload in parser.parse_all(data) {
            let payload = payload?;
            // Reader errors come before broken rules: what does not decode cannot be judged. What
            // the model lacks comes last, for the validator says more precisely what is wrong.
            let decoded = self.section(&payload);
            if let Err(Failure::Reader(_)) = decoded {
                return decoded;
            }
            match validator.payload(&payload).map_err(Failure::Rule)? {
                ValidPayload::Func(func, body) => {
                    self.resources.get_or_insert(func.resources);
                    self.module.bodies.push(FunctionBody {
                        range: range(body.range()),
                    });
                }
                ValidPayload::Ok | ValidPayload::Parser(_) | ValidPayload::End(_) => {}
            }
            decoded?;
        }
        Ok(())
    }

    /// Decodes everything but the code section, and validates nothing. Nor is the data section
    /// looked at if it is known to have so many segments.
    fn skim(
        &mut self,
        data: &[u8],
        features: WasmFeatures,
        data_segments: Option<usize>,
    ) -> Result<(), Failure> {
        let mut parser = Parser::new(0);
        parser.set_features(features);
        let mut at = 0;
        loop {
            let (consumed, payload) = match parser.parse(&data[at..], true)? {
                Chunk::Parsed { consumed, payload } => (consumed, payload),
                // There is no more data to come, which the parser has been told.
                Chunk::NeedMoreData(_) => return Ok(()),
            };
            at += consumed;
            match payload {
                Payload::End(_) => return Ok(()),
                Payload::CodeSectionStart { size, .. } => {
                    parser.skip_section();
                    at = data.len().min(at.saturating_add(size as usize));
                }
                Payload::DataSection(_) if let Some(count) = data_segments => {
                    self.module.num_data = count;
                }
                payload => self.section(&payload)?,
            }
        }
    }

    /// Decodes one section into the model.
    fn section(&mut self, payload: &Payload<'_>) -> Result<(), Failure> {
        let module = &mut self.module;
        match payload {
            Payload::TypeSection(section) => {
                for item in section.clone().into_iter_with_offsets() {
                    let (offset, group) = item?;
                    let start = module.types.len() as u32;
                    for ty in group.types() {
                        let ty = at(offset, convert::sub_type(ty))?;
                        module.types.push(ty);
                    }
                    module.rec_groups.push(start..module.types.len() as u32);
                }
            }
            Payload::ImportSection(section) => {
                for item in section.clone().into_imports_with_offsets() {
                    let (offset, import) = item?;
                    module.import(offset, import)?;
                }
            }
            Payload::FunctionSection(section) => {
                for ty in section.clone() {
                    module.functions.push(index(ty?));
                }
            }
            Payload::TableSection(section) => {
                for item in section.clone().into_iter_with_offsets() {
                    let (offset, table) = item?;
                    let init = match &table.init {
                        wasmparser::TableInit::RefNull => TableInit::Null,
                        wasmparser::TableInit::Expr(expr) => {
                            TableInit::Expr(convert::const_expr(expr)?)
                        }
                    };
                    let ty = at(offset, convert::table_type(table.ty))?;
                    module.tables.push(ty);
                    module.table_init.push(init);
                }
            }
            Payload::MemorySection(section) => {
                for item in section.clone().into_iter_with_offsets() {
                    let (offset, ty) = item?;
                    module.memories.push(at(offset, convert::memory_type(ty))?);
                }
            }
            Payload::TagSection(section) => {
                for tag in section.clone() {
                    module.tags.push(index(tag?.func_type_idx));
                }
            }
            Payload::GlobalSection(section) => {
                for item in section.clone().into_iter_with_offsets() {
                    let (offset, global) = item?;
                    let init = convert::const_expr(&global.init_expr)?;
                    module
                        .globals
                        .push(at(offset, convert::global_type(global.ty))?);
                    module.global_init.push(init);
                }
            }
            Payload::ExportSection(section) => {
                for item in section.clone() {
                    let export = item?;
                    let i = export.index;
                    module.exports.push(Export {
                        name: export.name.into(),
                        index: match export.kind {
                            wasmparser::ExternalKind::Func
                            | wasmparser::ExternalKind::FuncExact => EntityIndex::Func(index(i)),
                            wasmparser::ExternalKind::Table => EntityIndex::Table(index(i)),
                            wasmparser::ExternalKind::Memory => EntityIndex::Memory(index(i)),
                            wasmparser::ExternalKind::Global => EntityIndex::Global(index(i)),
                            wasmparser::ExternalKind::Tag => EntityIndex::Tag(index(i)),
                        },
                    });
                }
            }
            Payload::StartSection { func, .. } => module.start = Some(index(*func)),
            Payload::ElementSection(section) => {
                for item in section.clone().into_iter_with_offsets() {
                    let (offset, element) = item?;
                    module.element(offset, element)?;
                }
            }
            Payload::DataSection(section) => {
                for item in section.clone() {
                    module.data_segment(item?)?;
                }
                module.num_data = module.data.len();
            }
            Payload::CustomSection(section) => module.custom_sections.push(CustomSection {
                name: section.name().into(),
                range: range(section.data_range()),
            }),
            // The validator has nothing to say about these, or refuses them; bodies are collected
            // after it has seen them.
            _ => {}
        }
        Ok(())
    }
}

impl Module {
    fn empty(bytes: Bytes, features: Features) -> Module {
        Module {
            bytes,
            features,
            types: PrimaryMap::new(),
            rec_groups: Vec::new(),
            imports: Vec::new(),
            exports: Vec::new(),
            functions: PrimaryMap::new(),
            tables: PrimaryMap::new(),
            memories: PrimaryMap::new(),
            globals: PrimaryMap::new(),
            tags: PrimaryMap::new(),
            num_imported_funcs: 0,
            num_imported_tables: 0,
            num_imported_memories: 0,
            num_imported_globals: 0,
            num_imported_tags: 0,
            table_init: PrimaryMap::new(),
            global_init: PrimaryMap::new(),
            elements: PrimaryMap::new(),
            data: PrimaryMap::new(),
            num_data: 0,
            start: None,
            bodies: PrimaryMap::new(),
            func_refs: SecondaryMap::new(),
            num_func_refs: 0,
            custom_sections: Vec::new(),
            names: Default::default(),
            export_map: Default::default(),
            export_names: Default::default(),
            branch_hints: Default::default(),
            canonical: Default::default(),
            referable: Default::default(),
        }
    }

    fn import(&mut self, offset: u64, import: wasmparser::Import<'_>) -> Result<(), Failure> {
        let index = match import.ty {
            wasmparser::TypeRef::Func(ty) => {
                self.num_imported_funcs += 1;
                EntityIndex::Func(self.functions.push(index(ty)))
            }
            wasmparser::TypeRef::FuncExact(_) => {
                return at(offset, Err(WasmFeatures::CUSTOM_DESCRIPTORS));
            }
            wasmparser::TypeRef::Table(ty) => {
                let ty = at(offset, convert::table_type(ty))?;
                self.num_imported_tables += 1;
                EntityIndex::Table(self.tables.push(ty))
            }
            wasmparser::TypeRef::Memory(ty) => {
                let ty = at(offset, convert::memory_type(ty))?;
                self.num_imported_memories += 1;
                EntityIndex::Memory(self.memories.push(ty))
            }
            wasmparser::TypeRef::Global(ty) => {
                let ty = at(offset, convert::global_type(ty))?;
                self.num_imported_globals += 1;
                EntityIndex::Global(self.globals.push(ty))
            }
            wasmparser::TypeRef::Tag(ty) => {
                self.num_imported_tags += 1;
                EntityIndex::Tag(self.tags.push(index(ty.func_type_idx)))
            }
        };
        self.imports.push(Import {
            module: import.module.into(),
            name: import.name.into(),
            index,
        });
        Ok(())
    }

    fn element(&mut self, offset: u64, element: wasmparser::Element<'_>) -> Result<(), Failure> {
        let mode = match &element.kind {
            wasmparser::ElementKind::Passive => SegmentMode::Passive,
            wasmparser::ElementKind::Declared => SegmentMode::Declared,
            wasmparser::ElementKind::Active {
                table_index,
                offset_expr,
            } => SegmentMode::Active {
                target: index(table_index.unwrap_or(0)),
                offset: convert::const_expr(offset_expr)?,
            },
        };
        let (ty, items) = match element.items {
            wasmparser::ElementItems::Functions(section) => {
                let functions = section
                    .into_iter()
                    .map(|func| Ok(index(func?)))
                    .collect::<Result<_, Failure>>()?;
                (RefType::FUNCREF, ElementItems::Functions(functions))
            }
            wasmparser::ElementItems::Expressions(ty, section) => {
                let exprs = section
                    .into_iter()
                    .map(|expr| convert::const_expr(&expr?))
                    .collect::<Result<_, Failure>>()?;
                let ty = at(offset, convert::ref_type(ty))?;
                (ty, ElementItems::Exprs(exprs))
            }
        };
        self.elements.push(ElementSegment { mode, ty, items });
        Ok(())
    }

    fn data_segment(&mut self, data: wasmparser::Data<'_>) -> Result<(), Failure> {
        let mode = match &data.kind {
            wasmparser::DataKind::Passive => SegmentMode::Passive,
            wasmparser::DataKind::Active {
                memory_index,
                offset_expr,
            } => SegmentMode::Active {
                target: index(*memory_index),
                offset: convert::const_expr(offset_expr)?,
            },
        };
        // The bytes are the last part of the segment.
        let end = data.range.end as usize;
        self.data.push(DataSegment {
            mode,
            range: end - data.data.len()..end,
        });
        Ok(())
    }

    /// Numbers the functions of which a reference can exist, in the order of their indices. A body
    /// can make references only to functions that are declared outside of bodies, so those are all.
    fn collect_func_refs(&mut self) {
        let mut referenced = vec![false; self.functions.len()];
        let mut expr = |expr: &ConstExpr| {
            for op in &expr.ops {
                if let ConstOp::RefFunc(func) = op {
                    referenced[func.index()] = true;
                }
            }
        };
        self.global_init.values().for_each(&mut expr);
        for init in self.table_init.values() {
            if let TableInit::Expr(init) = init {
                expr(init);
            }
        }
        for element in self.elements.values() {
            if let ElementItems::Exprs(exprs) = &element.items {
                exprs.iter().for_each(&mut expr);
            }
        }
        for element in self.elements.values() {
            if let ElementItems::Functions(functions) = &element.items {
                for func in functions {
                    referenced[func.index()] = true;
                }
            }
        }
        for export in &self.exports {
            if let EntityIndex::Func(func) = export.index {
                referenced[func.index()] = true;
            }
        }
        for (i, _) in referenced.iter().enumerate().filter(|(_, on)| **on) {
            let func_ref = FuncRefIndex::new(self.num_func_refs);
            self.func_refs[FuncIndex::new(i)] = PackedOption::from(func_ref);
            self.num_func_refs += 1;
        }
    }
}

/// The second pass.
struct BodyValidation<'a> {
    module: &'a Module,
    data: &'a [u8],
    resources: ValidatorResources,
    features: WasmFeatures,
}

impl BodyValidation<'_> {
    /// The first body that is not valid, and why.
    fn run(&self) -> Option<(FuncIndex, Failure)> {
        let count = self.module.bodies.len();
        let bytes: usize = self.module.bodies.values().map(|b| b.range.len()).sum();
        if bytes < PARALLEL_THRESHOLD {
            let mut allocs = FuncValidatorAllocations::default();
            return self.chunk(0..count, &mut allocs);
        }
        let chunks = self.chunks();
        // The lowest chunk known to fail: later ones need no look.
        let failed = AtomicUsize::new(usize::MAX);
        chunks
            .into_par_iter()
            .enumerate()
            .with_max_len(1)
            .map_init(FuncValidatorAllocations::default, |allocs, (i, chunk)| {
                if i > failed.load(Ordering::Relaxed) {
                    return None;
                }
                let failure = self.chunk(chunk, allocs);
                if failure.is_some() {
                    failed.fetch_min(i, Ordering::Relaxed);
                }
                failure
            })
            .flatten()
            .min_by_key(|(func, _)| *func)
    }

    /// Ranges of defined functions with about [`CHUNK`] bytes each.
    fn chunks(&self) -> Vec<Range<usize>> {
        let mut chunks = Vec::new();
        let (mut start, mut size) = (0, 0);
        for (i, body) in self.module.bodies.iter() {
            size += body.range.len();
            if size >= CHUNK {
                chunks.push(start..i.index() + 1);
                start = i.index() + 1;
                size = 0;
            }
        }
        if start < self.module.bodies.len() {
            chunks.push(start..self.module.bodies.len());
        }
        chunks
    }

    /// Validates these defined functions in order.
    fn chunk(
        &self,
        functions: Range<usize>,
        allocs: &mut FuncValidatorAllocations,
    ) -> Option<(FuncIndex, Failure)> {
        for defined in functions {
            let defined = DefinedFuncIndex::new(defined);
            let func = self.module.func_index(defined);
            let range = self.module.bodies[defined].range.clone();
            let body = wasmparser::FunctionBody::new(BinaryReader::new_features(
                &self.data[range.clone()],
                range.start as u64,
                self.features,
            ));
            let mut validator = FuncToValidate {
                resources: self.resources.clone(),
                index: func.as_u32(),
                ty: self.module.functions[func].as_u32(),
                features: self.features,
            }
            .into_validator(std::mem::take(allocs));
            if let Err(error) = validator.validate(&body) {
                let failure = match read_through(&body) {
                    Err(malformed) if malformed.offset() <= error.offset() => {
                        Failure::Reader(malformed)
                    }
                    _ => Failure::Rule(error),
                };
                return Some((func, failure));
            }
            *allocs = validator.into_allocations();
        }
        None
    }
}

/// Reads a body without validating it, to tell a malformed one from an invalid one.
fn read_through(body: &wasmparser::FunctionBody<'_>) -> wasmparser::Result<()> {
    let mut reader = body.get_operators_reader()?;
    while !reader.eof() {
        reader.read()?;
    }
    reader.finish()
}

/// The custom sections of a binary that may be broken anywhere: the name section stands at the end,
/// and an error should have names whatever is wrong before it.
fn skim_custom_sections(data: &[u8]) -> Vec<CustomSection> {
    sections(data)
        .iter()
        .filter_map(|section| section.custom(data))
        .map(|(name, range)| CustomSection {
            name: name.into(),
            range,
        })
        .collect()
}

/// A range of the binary; it is in memory, so it fits.
fn range(range: Range<u64>) -> Range<usize> {
    range.start as usize..range.end as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The model has a place for what later versions of WebAssembly declare.
    #[test]
    fn declarations_of_later_proposals_fill_the_model() {
        let binary = crate::text::parse(
            r#"(module
                (type $f (func (param i32)))
                (rec (type $a (sub (struct (field (mut i8)) (field (ref $b)))))
                     (type $b (array (mut (ref null $a)))))
                (type $c (sub final $a (struct (field (mut i8)) (field (ref $b)) (field i64))))
                (import "a" "t" (tag (param i32)))
                (memory i64 1 4 shared)
                (table i64 1 (ref null $b) (ref.null $b))
                (tag (param f32))
                (global (ref null i31) (ref.null i31)))"#,
            None,
        )
        .unwrap();
        let m = decode_with(binary.into(), &Features::default(), WasmFeatures::WASM3).unwrap();

        assert_eq!(m.rec_groups[..3], [0..1, 1..3, 3..4]);
        let ty = |i| &m.types[TypeIndex::from_u32(i)];
        assert!(!ty(1).is_final);
        assert_eq!(ty(3).supertype, Some(TypeIndex::from_u32(1)));
        let CompositeType::Struct(c) = &ty(3).composite else {
            panic!("{:?}", ty(3));
        };
        assert_eq!(c.fields.len(), 3);
        assert_eq!(
            (c.fields[0].storage, c.fields[0].mutable),
            (StorageType::I8, true)
        );
        let reference = |nullable, index| RefType {
            nullable,
            heap: HeapType::Concrete(TypeIndex::from_u32(index)),
        };
        assert_eq!(
            c.fields[1].storage,
            StorageType::Val(ValType::Ref(reference(false, 2)))
        );
        assert_eq!((m.num_imported_tags, m.tags.len()), (1, 2));
        let memory = m.memories[MemoryIndex::from_u32(0)];
        assert!(memory.memory64 && memory.shared);
        assert_eq!(memory.to_string(), "i64 1 4 shared");
        let table = m.tables[TableIndex::from_u32(0)];
        assert!(table.table64);
        assert_eq!(table.element, reference(true, 2));
        assert!(matches!(
            &m.table_init[DefinedTableIndex::from_u32(0)],
            TableInit::Expr(_)
        ));
        let global = m.globals[GlobalIndex::from_u32(0)];
        assert_eq!(global.to_string(), "i31ref");
    }
}
