//! Names of functions, locals and tags.
//!
//! The name section is a custom section: nothing is refused because of it. It is decoded when
//! first asked for, and what comes before the first malformed entry of a subsection is kept.
//! Names of functions that the module does not have are dropped, so its size is bounded by the
//! module's.

use std::borrow::Cow;

use cranelift_entity::packed_option::PackedOption;
use cranelift_entity::{EntityRef, SecondaryMap};
use wasmparser::{BinaryReader, Name, NameSectionReader};

use crate::module::{Module, Names};
use crate::types::{EntityIndex, FuncIndex, TagIndex};

impl Module {
    /// The name section, or an empty one.
    pub fn names(&self) -> &Names {
        self.names.get_or_init(|| self.decode_names())
    }

    /// A function's name: from the name section, else the first name under which it is exported.
    /// An empty name is none.
    pub fn func_name(&self, index: FuncIndex) -> Option<&str> {
        if let Some(name) = &self.names().functions[index]
            && !name.is_empty()
        {
            return Some(name);
        }
        let export = self.export_names()[index].expand()?;
        let name = &*self.exports[export.index()].name;
        (!name.is_empty()).then_some(name)
    }

    /// A tag's name: from the name section, else the first name under which it is exported, else
    /// the second of those that it is imported by. An empty name is none.
    pub fn tag_name(&self, index: TagIndex) -> Option<&str> {
        let named = self.names().tags[index].as_deref();
        let export = self
            .exports
            .iter()
            .map(|export| (export.index, &*export.name));
        let import = self
            .imports
            .iter()
            .map(|import| (import.index, &*import.name));
        let shared = export.chain(import);
        let mut shared = shared.filter(|(item, _)| *item == EntityIndex::Tag(index));
        let name = named.filter(|name| !name.is_empty());
        name.or_else(|| {
            shared
                .find(|(_, name)| !name.is_empty())
                .map(|(_, name)| name)
        })
    }

    /// A function's name for people: [`Module::func_name`], else `func[N]`.
    pub fn func_display_name(&self, index: FuncIndex) -> Cow<'_, str> {
        match self.func_name(index) {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(format!("func[{}]", index.as_u32())),
        }
    }

    /// The names of a function's parameters and locals, as (index, name) in ascending order. Looks
    /// through the name section each time.
    pub fn local_names(&self, func: FuncIndex) -> Vec<(u32, &str)> {
        let Some(section) = self.name_section() else {
            return Vec::new();
        };
        for name in section.map_while(Result::ok) {
            if let Name::Local(functions) = name {
                return functions
                    .map_while(Result::ok)
                    .find(|naming| naming.index == func.as_u32())
                    .map(|naming| {
                        naming
                            .names
                            .map_while(Result::ok)
                            .map(|naming| (naming.index, naming.name))
                            .collect()
                    })
                    .unwrap_or_default();
            }
        }
        Vec::new()
    }

    /// The content of the first custom section with this name.
    pub fn custom_section(&self, name: &str) -> Option<&[u8]> {
        let section = self.custom_sections.iter().find(|s| &*s.name == name)?;
        Some(&self.bytes[section.range.clone()])
    }

    fn name_section(&self) -> Option<NameSectionReader<'_>> {
        let section = self.custom_section("name")?;
        Some(NameSectionReader::new(BinaryReader::new(section, 0)))
    }

    fn decode_names(&self) -> Names {
        let mut names = Names::default();
        let Some(section) = self.name_section() else {
            return names;
        };
        for name in section.map_while(Result::ok) {
            match name {
                Name::Module { name, .. } => names.module = Some(name.into()),
                Name::Function(functions) => {
                    for naming in functions.map_while(Result::ok) {
                        // Ascending, so all that follow are out of bounds too.
                        if naming.index as usize >= self.functions.len() {
                            break;
                        }
                        names.functions[FuncIndex::from_u32(naming.index)] =
                            Some(naming.name.into());
                    }
                }
                Name::Tag(tags) => {
                    for naming in tags.map_while(Result::ok) {
                        if naming.index as usize >= self.tags.len() {
                            break;
                        }
                        names.tags[TagIndex::from_u32(naming.index)] = Some(naming.name.into());
                    }
                }
                _ => {}
            }
        }
        names
    }

    /// For each function the first export of it, as an index of `exports`.
    fn export_names(&self) -> &SecondaryMap<FuncIndex, PackedOption<ExportIndex>> {
        self.export_names.get_or_init(|| {
            let mut names: SecondaryMap<_, PackedOption<ExportIndex>> = SecondaryMap::new();
            for (i, export) in self.exports.iter().enumerate() {
                if let EntityIndex::Func(func) = export.index
                    && func.index() < self.functions.len()
                    && names[func].is_none()
                {
                    names[func] = ExportIndex::new(i).into();
                }
            }
            names
        })
    }
}

/// A position in [`Module::exports`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExportIndex(u32);
cranelift_entity::entity_impl!(ExportIndex);
