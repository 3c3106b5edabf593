//! Writing an image.

use std::io::{Seek, Write};
use std::ops::Range;

use bimetal_codegen::{Arch, SiteTable, TrampolineKind};
use bimetal_wasm::{CompositeType, DataSegment, DefinedFuncIndex, Module, SegmentMode, TypeIndex};
use cranelift_entity::EntityRef;
use object::{Endianness, elf};

use crate::elf::{ElfWriter, Function, Machine};
use crate::error::ImageError;
use crate::header::{Header, InitialMemory, MemoryPart};
use crate::read::{Entry, Image, Trampoline};
use crate::{seal, section};

/// Writes an image, function by function in the order of their indices.
///
/// Code goes out as it comes, so an image is never in memory; what is known of each function, its
/// side tables above all, is kept until the end. The same calls give the same bytes. What is written
/// is no image before [`ImageWriter::finish`].
#[derive(Debug)]
pub struct ImageWriter<'a, W> {
    out: ElfWriter<W>,
    module: &'a Module,
    header: Header,
    page: u64,
    text_section: usize,
    sites: Vec<u8>,
    functions: Vec<u8>,
    digests: Vec<u8>,
    trampoline_text: Vec<u8>,
    trampolines: Vec<u8>,
    /// Names of trampolines, with the offset and length of their code.
    trampoline_symbols: Vec<(String, u64, u64)>,
    /// Offset and length of each function's code.
    symbols: Vec<(u64, u64)>,
    /// An image whose initial contents of memories are taken.
    memory_of: Option<&'a Image>,
}

impl<'a, W: Write + Seek> ImageWriter<'a, W> {
    /// An image of `module` for whom `header` says, written to `out` from its beginning.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new(
        out: W,
        module: &'a Module,
        header: Header,
    ) -> Result<ImageWriter<'a, W>, ImageError> {
        let machine = machine(&header.arch)?;
        let mut out = ElfWriter::new(out, machine)?;
        let text_section = out.code(section::TEXT)?;
        Ok(ImageWriter {
            out,
            module,
            header,
            page: machine.page,
            text_section,
            sites: Vec::new(),
            functions: Vec::new(),
            digests: Vec::new(),
            trampoline_text: Vec::new(),
            trampolines: Vec::new(),
            trampoline_symbols: Vec::new(),
            symbols: Vec::new(),
            memory_of: None,
        })
    }

    /// Takes the initial contents of memories from another image of the same module, for who has
    /// the module from there, without its data.
    ///
    /// # Errors
    /// If they are damaged.
    pub fn keep_memory(&mut self, image: &'a Image) -> Result<(), ImageError> {
        if image.header().memory.is_some() {
            image.check_memory(image.memory_bytes())?;
            self.memory_of = Some(image);
        }
        Ok(())
    }

    /// Appends the code of the next function. It must need no relocation.
    ///
    /// # Errors
    /// If the image gets too large, cannot be written, or all functions are there already.
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
        // The section begins at a page.
        self.out.pad(alignment.into())?;
        let start = self.out.section_len();
        self.out.write(code)?;
        let sites_start = self.sites.len();
        sites.write(&mut self.sites);
        self.digests
            .extend_from_slice(&seal::function(code, &self.sites[sites_start..]));
        self.digests
            .extend_from_slice(&seal::body(self.module.body_bytes(index)));
        let entry = Entry {
            code: start..start + code.len(),
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
    /// As for [`ImageWriter::function`].
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

    /// Writes what is left of the image.
    ///
    /// # Errors
    /// If functions are missing, or it cannot be written.
    pub fn finish(self) -> Result<W, ImageError> {
        self.finish_sealed(None)
    }

    /// The same, sealed with a key: see [`Image::open_with_key`](crate::Image::open_with_key).
    ///
    /// # Errors
    /// As for [`ImageWriter::finish`].
    pub fn finish_with_key(self, key: &[u8; 32]) -> Result<W, ImageError> {
        self.finish_sealed(Some(key))
    }

    fn finish_sealed(self, key: Option<&[u8; 32]>) -> Result<W, ImageError> {
        let ImageWriter {
            mut out,
            module,
            mut header,
            page,
            text_section,
            sites,
            functions,
            digests,
            trampoline_text,
            trampolines,
            trampoline_symbols,
            symbols,
            memory_of,
        } = self;
        if symbols.len() != module.bodies.len() {
            return Err(ImageError::Unwritable("fewer functions than bodies"));
        }
        let text_len = out.section_len();
        let made;
        let (memory, memory_bytes, unsealed) = match memory_of {
            Some(image) => {
                let memory = image.header().memory.clone();
                (memory, image.memory_bytes(), image.unsealed())
            }
            None => {
                let (memory, bytes) = initial_memory(module, page).unzip();
                let without_data = memory.as_ref().is_some_and(|m| m.data_segments.is_some());
                made = bytes.unwrap_or_default();
                (memory, &*made, unsealed(module, without_data))
            }
        };
        header.memory = memory;
        header.unsealed = unsealed
            .iter()
            .map(|range| Some((range.start.try_into().ok()?, range.end.try_into().ok()?)))
            .collect::<Option<_>>()
            .ok_or(ImageError::Unwritable("a module of more than 4 GiB"))?;
        let header = serde_json::to_vec_pretty(&header)
            .map_err(|error| ImageError::damaged(error.to_string()))?;
        let sealed = seal::Sealed {
            header: &header,
            functions: &functions,
            digests: &digests,
            profile: &[],
            trampolines: &trampolines,
            trampoline_text: &trampoline_text,
            text_len,
            sites_len: sites.len(),
            wasm: &module.bytes,
            lazy: &unsealed,
        };
        let seal = sealed
            .digest(key)
            .ok_or(ImageError::Unwritable("sections that overlap"))?;

        let trampoline_section = out.code(section::TRAMPOLINE_TEXT)?;
        out.write(&trampoline_text)?;
        // What is looked at in every start comes first.
        for (name, data, align) in [
            (section::HEADER, &*header, 1),
            (section::SEAL, &seal, 1),
            (section::TRAMPOLINES, &trampolines, 8),
            (section::PROFILE, &[], 1),
            (section::FUNCTIONS, &functions, 8),
            (section::DIGESTS, &digests, 8),
            (section::SITES, &sites, 1),
            (section::MEMORY, memory_bytes, page),
            (section::WASM, &module.bytes, page),
        ] {
            out.section(name, align)?;
            out.write(data)?;
        }
        // A name of ELF ends at a NUL, one of WebAssembly does not.
        let name = |name: &str| name.replace('\0', "\u{fffd}");
        let present = || {
            let all = symbols.iter().enumerate();
            let functions = all.filter(|(_, (_, len))| *len > 0).map(|(index, symbol)| {
                let func = module.func_index(DefinedFuncIndex::new(index));
                let name = name(&module.func_display_name(func));
                (name, text_section, *symbol)
            });
            let trampolines = trampoline_symbols.iter();
            let trampolines =
                trampolines.map(|(text, at, len)| (name(text), trampoline_section, (*at, *len)));
            functions.chain(trampolines)
        };
        let function = |(name, section, (at, len)): (String, usize, (u64, u64))| {
            (Function { section, at, len }, name.len())
        };
        out.symbols(present().map(function), present().map(|(name, ..)| name))?;
        out.finish()
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
            false => Some(module.num_data.try_into().ok()?),
        },
    };
    Some((memory, bytes))
}

/// How ELF names the machine, and its largest page.
fn machine(arch: &str) -> Result<Machine, ImageError> {
    let arch = Arch::ALL.iter().find(|known| known.name() == arch);
    let (number, endian, page) = match arch {
        Some(Arch::X86_64) => (elf::EM_X86_64, Endianness::Little, 4 << 10),
        Some(Arch::Aarch64) => (elf::EM_AARCH64, Endianness::Little, 64 << 10),
        Some(Arch::Riscv64) => (elf::EM_RISCV, Endianness::Little, 4 << 10),
        Some(Arch::S390x) => (elf::EM_S390, Endianness::Big, 4 << 10),
        None => return Err(ImageError::Mismatch("an unknown instruction set".into())),
    };
    Ok(Machine {
        number,
        endian,
        page,
    })
}
