//! A module at a glance: what `bimetal inspect` shows.
//!
//! [`Summary`] is plain data that can be serialised; its [`Display`](fmt::Display) is for people.
//! Types stand in it as the text format writes them.

use std::fmt;
use std::fmt::Write as _;

use cranelift_entity::EntityRef;
use serde::Serialize;
use wasmparser::{BinaryReader, ProducersSectionReader};

use crate::module::*;
use crate::sections::sections;
use crate::types::*;

/// What a module consists of. Offsets and sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The module's name by its name section.
    pub name: Option<String>,
    /// Size of the binary.
    pub size: usize,
    /// Sections in order.
    pub sections: Vec<SectionSummary>,
    /// Proposals that the module uses, by the names in common use (`simd128`, `bulk-memory`).
    pub features: Vec<&'static str>,
    /// What made the module, by its producers section: `language C11`.
    pub producers: Vec<String>,
    /// Imports in order.
    pub imports: Vec<ImportSummary>,
    /// Exports in order.
    pub exports: Vec<ExportSummary>,
    /// Memories, imported ones first.
    pub memories: Vec<String>,
    /// Tables, imported ones first.
    pub tables: Vec<String>,
    /// How many there are of everything else.
    pub counts: Counts,
    /// The start function.
    pub start: Option<String>,
    /// The largest functions, largest first.
    pub largest_functions: Vec<FunctionSummary>,
}

/// A section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SectionSummary {
    /// Its name; of a custom section, its own.
    pub name: String,
    /// Whether it is a custom section.
    pub custom: bool,
    /// Where its content begins.
    pub offset: usize,
    /// Size of its content.
    pub size: usize,
    /// How many items it has, if it is a list.
    pub items: Option<u32>,
}

/// An import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImportSummary {
    /// First name.
    pub module: String,
    /// Second name.
    pub name: String,
    /// Type in the text format.
    #[serde(rename = "type")]
    pub ty: String,
}

/// An export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExportSummary {
    /// Its name.
    pub name: String,
    /// Index among its kind.
    pub index: u32,
    /// Type in the text format.
    #[serde(rename = "type")]
    pub ty: String,
}

/// Numbers of things, imported ones included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "each is the number of what its name says")]
pub struct Counts {
    pub types: usize,
    pub functions: usize,
    pub imported_functions: usize,
    pub tables: usize,
    pub memories: usize,
    pub globals: usize,
    pub tags: usize,
    pub element_segments: usize,
    /// Elements of all segments.
    pub elements: usize,
    pub data_segments: usize,
    /// Bytes of all data segments.
    pub data_bytes: usize,
    /// Bytes of all function bodies.
    pub code_bytes: usize,
    /// Functions of which a reference can exist.
    pub function_references: usize,
}

/// A defined function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FunctionSummary {
    /// Function index.
    pub index: u32,
    /// Name, or `func[N]`.
    pub name: String,
    /// Where its body begins.
    pub offset: usize,
    /// Size of its body.
    pub size: usize,
}

impl Summary {
    /// Summarises a module, with its `largest` largest functions. Reads all function bodies, for
    /// the features that they use.
    ///
    /// ```
    /// use bimetal_wasm::{Features, Module, inspect::Summary};
    ///
    /// let module = Module::new("(module (memory (export \"m\") 1 2))", &Features::default())?;
    /// assert_eq!(Summary::new(&module, 10).exports[0].ty, "(memory 1 2)");
    /// # Ok::<(), bimetal_wasm::Error>(())
    /// ```
    pub fn new(module: &Module, largest: usize) -> Summary {
        let data = module.bytes.as_slice();
        Summary {
            name: module.names().module.as_deref().map(str::to_owned),
            size: data.len(),
            sections: sections(data)
                .iter()
                .map(|section| SectionSummary {
                    name: match section.custom(data) {
                        Some((name, _)) => name.to_owned(),
                        None => section.name().to_owned(),
                    },
                    custom: section.id == 0,
                    offset: section.content.start,
                    size: section.content.len(),
                    items: section.count(data),
                })
                .collect(),
            features: crate::usage::used(module),
            producers: producers(module).unwrap_or_default(),
            imports: module
                .imports
                .iter()
                .map(|import| ImportSummary {
                    module: import.module.to_string(),
                    name: import.name.to_string(),
                    ty: module.type_text(import.index),
                })
                .collect(),
            exports: module
                .exports
                .iter()
                .map(|export| ExportSummary {
                    name: export.name.to_string(),
                    index: export.index.as_u32(),
                    ty: module.type_text(export.index),
                })
                .collect(),
            memories: module.memories.values().map(ToString::to_string).collect(),
            tables: module.tables.values().map(ToString::to_string).collect(),
            counts: Counts::new(module),
            start: module
                .start
                .map(|func| module.func_display_name(func).into_owned()),
            largest_functions: largest_functions(module, largest),
        }
    }
}

impl Counts {
    fn new(module: &Module) -> Counts {
        Counts {
            types: module.types.len(),
            functions: module.functions.len(),
            imported_functions: module.num_imported_funcs,
            tables: module.tables.len(),
            memories: module.memories.len(),
            globals: module.globals.len(),
            tags: module.tags.len(),
            element_segments: module.elements.len(),
            elements: module.elements.values().map(|e| e.items.len()).sum(),
            data_segments: module.data.len(),
            data_bytes: module.data.values().map(|d| d.range.len()).sum(),
            code_bytes: module.bodies.values().map(|b| b.range.len()).sum(),
            function_references: module.num_func_refs,
        }
    }
}

fn largest_functions(module: &Module, count: usize) -> Vec<FunctionSummary> {
    let mut functions: Vec<DefinedFuncIndex> = module.bodies.keys().collect();
    functions.sort_by_key(|func| (usize::MAX - module.bodies[*func].range.len(), func.index()));
    functions.truncate(count);
    functions
        .into_iter()
        .map(|defined| {
            let func = module.func_index(defined);
            let range = &module.bodies[defined].range;
            FunctionSummary {
                index: func.as_u32(),
                name: module.func_display_name(func).into_owned(),
                offset: range.start,
                size: range.len(),
            }
        })
        .collect()
}

/// The producers section; a malformed one is none.
fn producers(module: &Module) -> Option<Vec<String>> {
    let section = module.custom_section("producers")?;
    let fields = ProducersSectionReader::new(BinaryReader::new(section, 0)).ok()?;
    let mut producers = Vec::new();
    for field in fields {
        let field = field.ok()?;
        for value in field.values {
            let value = value.ok()?;
            let text = format!("{} {} {}", field.name, value.name, value.version);
            producers.push(text.trim_end().to_owned());
        }
    }
    Some(producers)
}

impl Module {
    /// The type of an import or export as the text format writes it:
    /// `(func (param i32) (result i32))`, `(memory 1 2)`.
    pub fn type_text(&self, index: EntityIndex) -> String {
        match self.entity_type(index) {
            ImportType::Func(ty) => format!("(func{})", self.signature_text(ty)),
            ImportType::Table(ty) => format!("(table {ty})"),
            ImportType::Memory(ty) => format!("(memory {ty})"),
            ImportType::Global(ty) => format!("(global {ty})"),
            ImportType::Tag(ty) => format!("(tag{})", self.signature_text(ty)),
        }
    }

    /// A type as the text format writes it, without its name: `(sub 0 (struct (field i8)))`.
    pub fn sub_type_text(&self, index: TypeIndex) -> String {
        let ty = &self.types[index];
        let composite = match &ty.composite {
            CompositeType::Func(_) => format!("(func{})", self.signature_text(index)),
            CompositeType::Array(array) => format!("(array {})", array.element),
            CompositeType::Struct(fields) => {
                let mut text = "(struct".to_owned();
                for field in fields.fields.iter() {
                    let _ = write!(text, " (field {field})");
                }
                text + ")"
            }
        };
        match (ty.is_final, ty.supertype) {
            (true, None) => composite,
            (true, Some(parent)) => format!("(sub final {} {composite})", parent.as_u32()),
            (false, None) => format!("(sub {composite})"),
            (false, Some(parent)) => format!("(sub {} {composite})", parent.as_u32()),
        }
    }

    fn signature_text(&self, ty: TypeIndex) -> String {
        let ty = self.func_type_at(ty);
        let mut text = String::new();
        for (word, types) in [("param", ty.params()), ("result", ty.results())] {
            if types.is_empty() {
                continue;
            }
            let _ = write!(text, " ({word}");
            for ty in types {
                let _ = write!(text, " {ty}");
            }
            text.push(')');
        }
        text
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            writeln!(f, "module {name:?}")?;
        }
        writeln!(f, "{} bytes", self.size)?;
        writeln!(
            f,
            "\n{:<26} {:>9} {:>11} {:>9}",
            "sections", "offset", "size", "items"
        )?;
        for section in &self.sections {
            let name = if section.custom {
                format!("custom {:?}", section.name)
            } else {
                section.name.clone()
            };
            let items = section.items.map(|n| n.to_string()).unwrap_or_default();
            let line = format!(
                "  {name:<24} {:>#9x} {:>11} {items:>9}",
                section.offset, section.size
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        list(f, "features", self.features.iter())?;
        list(f, "made by", self.producers.iter())?;
        list(
            f,
            "imports",
            self.imports
                .iter()
                .map(|i| format!("{:?} {:?} {}", i.module, i.name, i.ty)),
        )?;
        list(
            f,
            "exports",
            self.exports
                .iter()
                .map(|e| format!("{:?} {}", e.name, e.ty)),
        )?;
        list(f, "memories", self.memories.iter())?;
        list(f, "tables", self.tables.iter())?;
        list(f, "start", self.start.iter())?;
        let c = &self.counts;
        list(
            f,
            "counts",
            [
                format!("{} types", c.types),
                format!(
                    "{} functions, {} imported",
                    c.functions, c.imported_functions
                ),
                format!("{} function references", c.function_references),
                format!("{} globals", c.globals),
                format!(
                    "{} element segments, {} elements",
                    c.element_segments, c.elements
                ),
                format!("{} data segments, {} bytes", c.data_segments, c.data_bytes),
                format!("{} bytes of code", c.code_bytes),
            ]
            .iter(),
        )?;
        list(
            f,
            "largest functions",
            self.largest_functions
                .iter()
                .map(|func| format!("{:>9} {:>#9x} {}", func.size, func.offset, func.name)),
        )
    }
}

/// A headed list, or nothing if it is empty.
fn list(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    items: impl ExactSizeIterator<Item: fmt::Display>,
) -> fmt::Result {
    if items.len() == 0 {
        return Ok(());
    }
    writeln!(f, "\n{title}")?;
    items
        .into_iter()
        .try_for_each(|item| writeln!(f, "  {item}"))
}
