//! Images in executables: a program that is one file.
//!
//! The file is a *stub*, the runtime without a compiler, with two more ELF sections at its end: the
//! image as it is, and settings that only the runtime understands. The image begins where any
//! machine's pages may begin, so that it is mapped from the program's own file as from one of its
//! own. What the stub's segments load is not touched, so what the system and its debuggers know of
//! programs holds for this one.
//!
//! Tools that rewrite executables keep or drop the sections as a whole, and the runtime says so when
//! they are gone. [`mark`] is how a stub is known, and whether it reads the images of this engine.

use std::ops::Range;

use bimetal_codegen::Arch;
use object::elf::{self, FileHeader64, SectionHeader64};
use object::pod::bytes_of;
use object::read::elf::{FileHeader, SectionHeader};
use object::{Endianness, U16, U32, U64};

use crate::error::ImageError;
use crate::seal;

const IMAGE: &str = ".bimetal.image";
const PROGRAM: &str = ".bimetal.program";
/// The section of a stub that has its [`mark`].
const STUB: &str = ".bimetal.stub";

/// Where an image may begin: the largest page of any machine.
const ALIGN: u64 = 64 << 10;

/// Bytes of a [`mark`].
pub const MARK_SIZE: usize = 64;

const MARK_NAME: &[u8; 16] = b"bimetal-runtime\0";

/// Where a mark says whether there is a compiler; what is before has to be equal.
const COMPILER: usize = 56;

/// What a stub has in its section `.bimetal.stub`: whose images it reads, and whether it has a
/// compiler, which it does not need.
pub const fn mark(has_compiler: bool) -> [u8; MARK_SIZE] {
    const fn put(mark: &mut [u8; MARK_SIZE], at: usize, bytes: &[u8]) {
        let mut i = 0;
        while i < bytes.len() {
            mark[at + i] = bytes[i];
            i += 1;
        }
    }
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    assert!(version.len() < 32, "the version does not fit into the mark");
    let mut mark = [0; MARK_SIZE];
    put(&mut mark, 0, MARK_NAME);
    put(&mut mark, 16, version);
    put(&mut mark, 48, &bimetal_abi::FINGERPRINT.to_le_bytes());
    mark[COMPILER] = has_compiler as u8;
    mark
}

/// A stub that programs for a machine can be made of.
#[derive(Debug)]
pub struct Stub<'a> {
    bytes: &'a [u8],
    endian: Endianness,
    header: FileHeader64<Endianness>,
    sections: Vec<SectionHeader64<Endianness>>,
    /// The section of the others' names, and what is in it.
    names: (usize, &'a [u8]),
    has_compiler: bool,
}

impl<'a> Stub<'a> {
    /// Looks at a file that is to be a stub.
    ///
    /// # Errors
    /// If it is none, of another version, for another machine than `arch`, or a program already.
    pub fn new(bytes: &'a [u8], arch: &str) -> Result<Stub<'a>, ImageError> {
        let stub = bytes;
        let no_stub = |what: &str| ImageError::Runtime(format!("it is {what}"));
        let unreadable = |_| no_stub("no ELF program");
        let header = FileHeader64::<Endianness>::parse(stub).map_err(unreadable)?;
        let endian = header.endian().map_err(unreadable)?;
        if !matches!(header.e_type(endian), elf::ET_EXEC | elf::ET_DYN) {
            return Err(no_stub("no program"));
        }
        let table = header.sections(endian, stub).map_err(unreadable)?;
        let find = |name: &str| table.section_by_name(endian, name.as_bytes());
        let (_, mark) = find(STUB).ok_or_else(|| no_stub("another program"))?;
        let mark = mark.data(endian, stub).map_err(unreadable)?;
        if !mark.starts_with(MARK_NAME) {
            return Err(no_stub("another program"));
        }
        if mark.len() != MARK_SIZE || mark[..COMPILER] != self::mark(false)[..COMPILER] {
            return Err(no_stub("of another build than this"));
        }
        let of = machine(header.e_machine(endian));
        if of != Some(arch) {
            return Err(ImageError::Runtime(format!(
                "it is for {}, the compiled module for {arch}",
                of.unwrap_or("another machine")
            )));
        }
        if find(IMAGE).is_some() {
            return Err(no_stub("a program that has a module already"));
        }
        let sections: Vec<SectionHeader64<Endianness>> = table.iter().copied().collect();
        let names_index = usize::from(header.e_shstrndx.get(endian));
        let names = sections
            .get(names_index)
            .ok_or_else(|| no_stub("a program whose sections have no names"))?;
        let names = (names_index, names.data(endian, stub).map_err(unreadable)?);
        Ok(Stub {
            bytes,
            endian,
            header: *header,
            sections,
            names,
            has_compiler: mark[COMPILER] != 0,
        })
    }

    /// Whether it has a compiler inside, which no program needs.
    pub fn has_compiler(&self) -> bool {
        self.has_compiler
    }

    /// A program out of the stub, an image for its machine, and settings.
    ///
    /// # Errors
    /// If there are too many sections.
    pub fn attach(self, image: &[u8], settings: &[u8]) -> Result<Vec<u8>, ImageError> {
        let Stub {
            bytes: stub,
            endian,
            mut header,
            sections: mut headers,
            names: (names_index, names),
            has_compiler: _,
        } = self;
        // Section headers and their names move to the end; the rest stays where it is.
        let old_headers = header.e_shoff(endian);
        let mut names = names.to_vec();
        let headers_len = headers.len() as u64 * size_of::<SectionHeader64<Endianness>>() as u64;
        let mut out = match old_headers + headers_len == stub.len() as u64 {
            true => stub[..old_headers as usize].to_vec(),
            false => stub.to_vec(),
        };
        let mut program = settings.to_vec();
        program.extend_from_slice(&seal::settings(settings));
        for (name, align, data) in [(IMAGE, ALIGN, image), (PROGRAM, 8, &program)] {
            let offset = append(&mut out, align, data);
            let name_at = names.len() as u32;
            names.extend_from_slice(name.as_bytes());
            names.push(0);
            headers.push(SectionHeader64 {
                sh_name: U32::new(endian, name_at),
                sh_type: U32::new(endian, elf::SHT_PROGBITS),
                sh_flags: U64::new(endian, 0),
                sh_addr: U64::new(endian, 0),
                sh_offset: U64::new(endian, offset),
                sh_size: U64::new(endian, data.len() as u64),
                sh_link: U32::new(endian, 0),
                sh_info: U32::new(endian, 0),
                sh_addralign: U64::new(endian, align),
                sh_entsize: U64::new(endian, 0),
            });
        }
        let names_at = append(&mut out, 1, &names);
        headers[names_index].sh_offset = U64::new(endian, names_at);
        headers[names_index].sh_size = U64::new(endian, names.len() as u64);
        let headers_at = append(&mut out, 8, object::pod::bytes_of_slice(&headers));

        header.e_shoff = U64::new(endian, headers_at);
        header.e_shnum = u16::try_from(headers.len())
            .ok()
            .filter(|&count| count < elf::SHN_LORESERVE)
            .map(|count| U16::new(endian, count))
            .ok_or(ImageError::Unwritable("too many sections"))?;
        out[..size_of_val(&header)].copy_from_slice(bytes_of(&header));
        Ok(out)
    }
}

/// Appends data at a multiple of `align`; where that is.
fn append(out: &mut Vec<u8>, align: u64, data: &[u8]) -> u64 {
    let at = out.len().next_multiple_of(align as usize);
    out.resize(at, 0);
    out.extend_from_slice(data);
    at as u64
}

fn machine(machine: u16) -> Option<&'static str> {
    let arch = match machine {
        elf::EM_X86_64 => Arch::X86_64,
        elf::EM_AARCH64 => Arch::Aarch64,
        elf::EM_RISCV => Arch::Riscv64,
        elf::EM_S390 => Arch::S390x,
        _ => return None,
    };
    Some(arch.name())
}

/// Where a program has its image and its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The image, as a range of the file.
    pub image: Range<u64>,
    /// What was given to [`Stub::attach`].
    pub settings: Vec<u8>,
}

/// Finds the image and the settings of a program; `None` if it is a program that has none.
///
/// # Errors
/// [`ImageError::NotAnImage`] if the bytes are no program, [`ImageError::Damaged`] if it has been
/// cut short, or its settings have changed.
pub fn find(program: &[u8]) -> Result<Option<Attached>, ImageError> {
    let unreadable = |_| ImageError::NotAnImage("it is no ELF program");
    let header = FileHeader64::<Endianness>::parse(program).map_err(unreadable)?;
    let endian = header.endian().map_err(unreadable)?;
    if !matches!(header.e_type(endian), elf::ET_EXEC | elf::ET_DYN) {
        return Err(ImageError::NotAnImage("it is no program"));
    }
    let cut = |_| ImageError::damaged("the program is not all there");
    let table = header.sections(endian, program).map_err(cut)?;
    let section = |name: &str| {
        let (_, section) = table.section_by_name(endian, name.as_bytes())?;
        let (start, len) = section.file_range(endian).unwrap_or_default();
        Some(start..start.saturating_add(len))
    };
    let (image, settings) = match (section(IMAGE), section(PROGRAM)) {
        (None, None) => return Ok(None),
        (Some(image), Some(settings)) => (image, settings),
        _ => return Err(ImageError::damaged("the program has lost a part")),
    };
    if image.end > program.len() as u64 {
        return Err(ImageError::damaged("the program is not all there"));
    }
    let changed = || ImageError::damaged("the program's settings have changed");
    let settings = usize::try_from(settings.start)
        .ok()
        .zip(usize::try_from(settings.end).ok())
        .and_then(|(start, end)| program.get(start..end))
        .ok_or_else(|| ImageError::damaged("the program is not all there"))?;
    let at = settings.len().checked_sub(seal::SEAL).ok_or_else(changed)?;
    let (settings, digest) = settings.split_at(at);
    if seal::settings(settings) != *digest {
        return Err(changed());
    }
    Ok(Some(Attached {
        image,
        settings: settings.to_vec(),
    }))
}
