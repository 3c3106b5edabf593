//! Writing an image.

use std::ops::Range;

use bimetal_codegen::{Arch, SiteTable, TrampolineKind};
use bimetal_wasm::{CompositeType, DataSegment, DefinedFuncIndex, Module, SegmentMode, TypeIndex};
use cranelift_entity::EntityRef;
use object::write::{Object, Symbol, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
};

use crate::error::ImageError;
use crate::header::{Header, InitialMemory, MemoryPart};
use crate::read::{Entry, Image, Trampoline};
use crate::{seal, section};

/// Builds an image, function by function in the order of their indices.
///
/// The same calls give the same bytes.
#[derive(Debug)]
pub struct ImageBuilder<'a> {
    module: &'a Module,
    header: Header,
    text: Vec<u8>,
    sites: Vec<u8>,
    functions: Vec<u8>,
    digests: Vec<u8>,
    trampoline_text: Vec<u8>,
    trampolines: Vec<u8>,
    trampoline_symbols: Vec<(String, u64, u64)>,
    /// Offset and length of each function's code.
    symbols: Vec<(u64, u64)>,
    /// The initial contents of memories out of another image, and what is not sealed there.
    memory: Option<(InitialMemory, Vec<u8>, Vec<Range<usize>>)>,
}

impl<'a> ImageBuilder<'a> {
    /// An image of `module` for whom `header` says.
    pub fn new(module: &'a Module, header: Header) -> ImageBuilder<'a> {
        ImageBuilder {
            module,
            header,
            text: Vec::new(),
            sites: Vec::new(),
            functions: Vec::new(),
            digests: Vec::new(),
            trampoline_text: Vec::new(),
            trampolines: Vec::new(),
            trampoline_symbols: Vec::new(),
            symbols: Vec::new(),
            memory: None,
        }
    }

    /// Takes the initial contents of memories from another image of the same module, for who has
    /// the module from there, without its data.
    ///
    /// # Errors
    /// If they are damaged.
    pub fn keep_memory(&mut self, image: &Image) -> Result<(), ImageError> {
        if let Some(memory) = &image.header().memory {
            image.check_memory(image.memory_bytes())?;
            let bytes = image.memory_bytes().to_vec();
            self.memory = Some((memory.clone(), bytes, image.unsealed()));
        }
        Ok(())
    }

    /// Appends the code of the next function. It must need no relocation.
    ///
    /// # Errors
    /// If the image gets too large, or all functions are there already.
    pub fn function(
        &mut self,
        code: &[u8],
        alignment: u32,
        sites: &SiteTable,
    ) -> Result<(), ImageError> {
        let index = DefinedFuncIndex::new(self.symbols.len());
        let body = self
            .module
            .bodies
            .get(index)
            .ok_or(ImageError::Unwritable("more code than functions"))?;
        let start = self
            .text
            .len()
            .next_multiple_of((alignment as usize).max(1));
        self.text.resize(start, 0);
        self.text.extend_from_slice(code);
        let sites_start = self.sites.len();
        sites.write(&mut self.sites);
        self.digests
            .extend_from_slice(&seal::function(code, &self.sites[sites_start..]));
        self.digests
            .extend_from_slice(&seal::body(self.module.body_bytes(index)));
        let entry = Entry {
            code: start..self.text.len(),
            sites: sites_start..self.sites.len(),
            body: body.range.clone(),
        };
        entry
            .write(&mut self.functions)
            .ok_or(ImageError::Unwritable("more than 4 GiB of code"))?;
        self.symbols.push((start as u64, code.len() as u64));
        Ok(())
    }

    /// Leaves the next function out: whoever loads the image has to compile it.
    ///
    /// # Errors
    /// As for [`ImageBuilder::function`].
    pub fn missing(&mut self) -> Result<(), ImageError> {
        self.function(&[], 1, &SiteTable::default())
    }

    /// Adds a trampoline for a function type of the module; one of each kind and type is enough.
    ///
    /// # Errors
    /// If the type is no function's of the module, or the image gets too large.
    pub fn trampoline(
        &mut self,
        kind: TrampolineKind,
        ty: TypeIndex,
        code: &[u8],
        alignment: u32,
    ) -> Result<(), ImageError> {
        let known = self.module.types.get(ty).map(|ty| &ty.composite);
        let Some(CompositeType::Func(func_type)) = known else {
            return Err(ImageError::Unwritable("a trampoline of no function's type"));
        };
        let start = self.trampoline_text.len();
        let start = start.next_multiple_of((alignment as usize).max(1));
        self.trampoline_text.resize(start, 0);
        self.trampoline_text.extend_from_slice(code);
        let end = self.trampoline_text.len();
        let code = start..end;
        Trampoline { kind, ty, code }
            .write(&mut self.trampolines)
            .ok_or(ImageError::Unwritable("more than 4 GiB of trampolines"))?;
        let name = bimetal_codegen::Trampoline {
            kind,
            ty: func_type.clone(),
        };
        let symbol = (name.to_string(), start as u64, (end - start) as u64);
        self.trampoline_symbols.push(symbol);
        Ok(())
    }

    /// The image.
    ///
    /// # Errors
    /// If functions are missing, or the object writer refuses.
    pub fn finish(self) -> Result<Vec<u8>, ImageError> {
        self.finish_sealed(None)
    }

    /// The image, sealed with a key: see [`Image::open_with_key`](crate::Image::open_with_key).
    ///
    /// # Errors
    /// As for [`ImageBuilder::finish`].
    pub fn finish_with_key(self, key: &[u8; 32]) -> Result<Vec<u8>, ImageError> {
        self.finish_sealed(Some(key))
    }

    fn finish_sealed(self, key: Option<&[u8; 32]>) -> Result<Vec<u8>, ImageError> {
        let ImageBuilder {
            module,
            mut header,
            text,
            sites,
            functions,
            digests,
            trampoline_text,
            trampolines,
            trampoline_symbols,
            symbols,
            memory,
        } = self;
        if symbols.len() != module.bodies.len() {
            return Err(ImageError::Unwritable("fewer functions than bodies"));
        }
        let (architecture, endianness, page) = machine(&header.arch)?;
        let (memory, memory_bytes, unsealed) = match memory {
            Some((memory, bytes, unsealed)) => (Some(memory), bytes, unsealed),
            None => {
                let (memory, bytes) = initial_memory(module, page).unzip();
                let without_data = memory.as_ref().is_some_and(|m| m.data_segments.is_some());
                let unsealed = unsealed(module, without_data);
                (memory, bytes.unwrap_or_default(), unsealed)
            }
        };
        header.memory = memory;
        header.unsealed = unsealed
            .iter()
            .map(|range| Some((range.start.try_into().ok()?, range.end.try_into().ok()?)))
            .collect::<Option<_>>()
            .ok_or(ImageError::Unwritable("a module of more than 4 GiB"))?;
        let header_bytes = serde_json::to_vec_pretty(&header)
            .map_err(|error| ImageError::damaged(error.to_string()))?;
        let sealed = seal::Sealed {
            header: &header_bytes,
            functions: &functions,
            digests: &digests,
            profile: &[],
            trampolines: &trampolines,
            trampoline_text: &trampoline_text,
            text_len: text.len(),
            sites_len: sites.len(),
            wasm: &module.bytes,
            lazy: &unsealed,
        };
        let seal = sealed
            .digest(key)
            .ok_or(ImageError::Unwritable("sections that overlap"))?;

        let mut object = Object::new(BinaryFormat::Elf, architecture, endianness);
        let text_section = object.add_section(Vec::new(), section::TEXT.into(), SectionKind::Text);
        object.set_section_data(text_section, text, page);
        let name = section::TRAMPOLINE_TEXT.into();
        let trampoline_section = object.add_section(Vec::new(), name, SectionKind::Text);
        object.set_section_data(trampoline_section, trampoline_text, page);
        for (name, data, align) in [
            (section::HEADER, header_bytes, 1),
            (section::FUNCTIONS, functions, 8),
            (section::DIGESTS, digests, 8),
            (section::TRAMPOLINES, trampolines, 8),
            (section::SITES, sites, 1),
            (section::WASM, module.bytes.to_vec(), page),
            (section::MEMORY, memory_bytes, page),
            (section::PROFILE, Vec::new(), 1),
            (section::SEAL, seal.to_vec(), 1),
        ] {
            let id = object.add_section(Vec::new(), name.into(), SectionKind::Other);
            object.set_section_data(id, data, align);
        }
        let mut add_symbol = |name: String, section, value, size| {
            object.add_symbol(Symbol {
                // A name of ELF ends at a NUL, one of WebAssembly does not.
                name: name.replace('\0', "\u{fffd}").into(),
                value,
                size,
                kind: SymbolKind::Text,
                scope: SymbolScope::Compilation,
                weak: false,
                section: SymbolSection::Section(section),
                flags: SymbolFlags::None,
            });
        };
        let present = symbols.into_iter().enumerate();
        for (index, (value, size)) in present.filter(|(_, (_, size))| *size > 0) {
            let func = module.func_index(DefinedFuncIndex::new(index));
            let name = module.func_display_name(func).to_string();
            add_symbol(name, text_section, value, size);
        }
        for (name, value, size) in trampoline_symbols {
            add_symbol(name, trampoline_section, value, size);
        }
        object
            .write()
            .map_err(|_| ImageError::Unwritable("the object writer refuses it"))
    }
}

/// The parts of a module that are not needed to run it: its code, its custom sections, and if so its
/// data.
fn unsealed(module: &Module, without_data: bool) -> Vec<Range<usize>> {
    let mut ranges: Vec<_> = module
        .custom_sections
        .iter()
        .map(|section| section.range.clone())
        .collect();
    let mut span = |parts: &mut dyn Iterator<Item = &Range<usize>>| {
        let mut parts = parts.filter(|part| !part.is_empty());
        if let Some(first) = parts.next() {
            let all = first.clone();
            ranges.push(parts.fold(all, |all, part| {
                all.start.min(part.start)..all.end.max(part.end)
            }));
        }
    };
    span(&mut module.bodies.values().map(|body| &body.range));
    if without_data {
        span(&mut module.data.values().map(|segment| &segment.range));
    }
    ranges.sort_unstable_by_key(|range| range.start);
    ranges
}

/// The section of initial memory contents, if there is to be one.
fn initial_memory(module: &Module, page: u64) -> Option<(InitialMemory, Vec<u8>)> {
    let runs = module
        .initial_memory(page)
        .filter(|runs| !runs.is_empty())?;
    let is_passive = |segment: &DataSegment| matches!(segment.mode, SegmentMode::Passive);
    let mut bytes = Vec::with_capacity(runs.iter().map(|run| run.bytes.len()).sum());
    let mut parts = Vec::with_capacity(runs.len());
    for run in runs {
        bytes.extend_from_slice(&run.bytes);
        parts.push(MemoryPart {
            memory: run.memory.as_u32(),
            at: run.at,
            len: run.bytes.len() as u64,
        });
    }
    let memory = InitialMemory {
        parts,
        digest: seal::memory(&mut &*bytes).ok()?,
        data_segments: match module.data.values().any(is_passive) {
            true => None,
            false => Some(module.data.len().try_into().ok()?),
        },
    };
    Some((memory, bytes))
}

/// How ELF names the machine, and its largest page.
fn machine(arch: &str) -> Result<(Architecture, Endianness, u64), ImageError> {
    let arch = Arch::ALL.iter().find(|known| known.name() == arch);
    Ok(match arch {
        Some(Arch::X86_64) => (Architecture::X86_64, Endianness::Little, 4 << 10),
        Some(Arch::Aarch64) => (Architecture::Aarch64, Endianness::Little, 64 << 10),
        Some(Arch::Riscv64) => (Architecture::Riscv64, Endianness::Little, 4 << 10),
        Some(Arch::S390x) => (Architecture::S390x, Endianness::Big, 4 << 10),
        None => return Err(ImageError::Mismatch("an unknown instruction set".into())),
    })
}
