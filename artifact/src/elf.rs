//! An ELF file written as it comes: sections one behind the other, headers last.
//!
//! Nothing of the contents is kept, so a file can be larger than memory. What goes through here
//! leaves in pieces of [`PIECE`] bytes, each at a multiple of that: file systems keep in one piece
//! what was written in one, and map it as one, so that larger pieces would make a process that looks
//! at a few bytes of a file have megabytes of it in its memory.

use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;

use object::elf;
use object::pod::bytes_of;
use object::{Endian, Endianness, U16, U32, U64};

use crate::error::ImageError;

/// Bytes that are written at once.
const PIECE: usize = 64 << 10;

/// The machine that a file is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    /// Its number in ELF.
    pub number: u16,
    pub endian: Endianness,
    /// Its largest page.
    pub page: u64,
}

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct ElfWriter<W> {
    out: W,
    machine: Machine,
    /// What is not written yet, at `at - buffer.len()`.
    buffer: Vec<u8>,
    /// The offset of the next byte.
    at: u64,
    sections: Vec<Section>,
}

#[derive(Debug)]
struct Section {
    name: &'static str,
    kind: u32,
    flags: u32,
    range: Range<u64>,
    align: u64,
    /// The section that belongs to it, and a number, as ELF says for its kind.
    link: u32,
    info: u32,
    entry: u64,
}

/// A function's symbol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Function {
    /// The number of its section.
    pub section: usize,
    /// Its offset there, and its length.
    pub at: u64,
    pub len: u64,
}

impl<W: Write + Seek> ElfWriter<W> {
    /// A file at the beginning of `out`. It is none before [`ElfWriter::finish`].
    pub(crate) fn new(out: W, machine: Machine) -> Result<ElfWriter<W>, ImageError> {
        let mut writer = ElfWriter {
            out,
            machine,
            buffer: Vec::with_capacity(PIECE),
            at: 0,
            sections: Vec::new(),
        };
        // In the place of the header.
        writer.write(&[0; size_of::<elf::FileHeader64<Endianness>>()])?;
        Ok(writer)
    }

    /// Begins a section; what is written from now on is its contents. Its number.
    pub(crate) fn section(&mut self, name: &'static str, align: u64) -> Result<usize, ImageError> {
        self.begin(name, elf::SHT_PROGBITS, align)
    }

    /// The same, of machine code.
    pub(crate) fn code(&mut self, name: &'static str) -> Result<usize, ImageError> {
        let number = self.begin(name, elf::SHT_PROGBITS, self.machine.page)?;
        self.sections[number - 1].flags = elf::SHF_ALLOC | elf::SHF_EXECINSTR;
        Ok(number)
    }

    fn begin(&mut self, name: &'static str, kind: u32, align: u64) -> Result<usize, ImageError> {
        self.end();
        self.pad(align)?;
        self.sections.push(Section {
            name,
            kind,
            flags: 0,
            range: self.at..self.at,
            align,
            link: 0,
            info: 0,
            entry: 0,
        });
        // The first section is none, by definition.
        Ok(self.sections.len())
    }

    /// Ends the section that is being written.
    fn end(&mut self) {
        if let Some(section) = self.sections.last_mut() {
            section.range.end = self.at;
        }
    }

    /// Bytes of the section that is being written.
    pub(crate) fn section_len(&self) -> usize {
        let start = self.sections.last().map_or(0, |s| s.range.start);
        (self.at - start) as usize
    }

    /// Appends bytes.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> Result<(), ImageError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            self.at += now.len() as u64;
            bytes = later;
            if self.buffer.len() == PIECE {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Appends zeros up to a multiple of `align` in the file.
    pub(crate) fn pad(&mut self, align: u64) -> Result<(), ImageError> {
        const ZEROS: [u8; 4096] = [0; 4096];
        let mut missing = (self.at.next_multiple_of(align.max(1)) - self.at) as usize;
        while missing > 0 {
            let now = missing.min(ZEROS.len());
            self.write(&ZEROS[..now])?;
            missing -= now;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ImageError> {
        self.out.write_all(&self.buffer).map_err(unwritable)?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes symbols of functions. Both iterators must give the same ones: first all symbols are
    /// written, then all names.
    pub(crate) fn symbols<I, N>(&mut self, symbols: I, names: N) -> Result<(), ImageError>
    where
        I: Iterator<Item = (Function, usize)>,
        N: Iterator<Item = String>,
    {
        let e = self.machine.endian;
        let number = self.begin(".symtab", elf::SHT_SYMTAB, 8)?;
        // The first one is none, too.
        self.write(&[0; size_of::<elf::Sym64<Endianness>>()])?;
        let (mut name, mut count) = (1usize, 1u32);
        for (function, len) in symbols {
            let too_many = |_| ImageError::Unwritable("more than 4 GiB of names");
            self.write(bytes_of(&elf::Sym64 {
                st_name: U32::new(e, u32::try_from(name).map_err(too_many)?),
                st_info: (elf::STB_LOCAL << 4) | elf::STT_FUNC,
                st_other: 0,
                st_shndx: U16::new(e, function.section as u16),
                st_value: U64::new(e, function.at),
                st_size: U64::new(e, function.len),
            }))?;
            name += len + 1;
            count += 1;
        }
        let section = &mut self.sections[number - 1];
        section.entry = size_of::<elf::Sym64<Endianness>>() as u64;
        section.link = number as u32 + 1;
        // All are local.
        section.info = count;
        self.begin(".strtab", elf::SHT_STRTAB, 1)?;
        self.write(&[0])?;
        for name in names {
            self.write(name.as_bytes())?;
            self.write(&[0])?;
        }
        Ok(())
    }

    /// Writes the headers.
    pub(crate) fn finish(mut self) -> Result<W, ImageError> {
        let Machine { number, endian, .. } = self.machine;
        let e = endian;
        let names = self.begin(".shstrtab", elf::SHT_STRTAB, 1)?;
        let mut offsets = Vec::with_capacity(self.sections.len());
        self.write(&[0])?;
        for i in 0..self.sections.len() {
            offsets.push(self.section_len() as u32);
            let name = self.sections[i].name;
            self.write(name.as_bytes())?;
            self.write(&[0])?;
        }
        self.end();
        self.pad(8)?;
        let headers_at = self.at;
        self.write(&[0; size_of::<elf::SectionHeader64<Endianness>>()])?;
        for (section, name) in std::mem::take(&mut self.sections).iter().zip(&offsets) {
            self.write(bytes_of(&elf::SectionHeader64 {
                sh_name: U32::new(e, *name),
                sh_type: U32::new(e, section.kind),
                sh_flags: U64::new(e, section.flags.into()),
                sh_addr: U64::new(e, 0),
                sh_offset: U64::new(e, section.range.start),
                sh_size: U64::new(e, section.range.end - section.range.start),
                sh_link: U32::new(e, section.link),
                sh_info: U32::new(e, section.info),
                sh_addralign: U64::new(e, section.align),
                sh_entsize: U64::new(e, section.entry),
            }))?;
        }
        self.flush()?;
        let header = elf::FileHeader64 {
            e_ident: elf::Ident {
                magic: elf::ELFMAG,
                class: elf::ELFCLASS64,
                data: match e.is_big_endian() {
                    true => elf::ELFDATA2MSB,
                    false => elf::ELFDATA2LSB,
                },
                version: elf::EV_CURRENT,
                os_abi: elf::ELFOSABI_NONE,
                abi_version: 0,
                padding: [0; 7],
            },
            e_type: U16::new(e, elf::ET_REL),
            e_machine: U16::new(e, number),
            e_version: U32::new(e, elf::EV_CURRENT.into()),
            e_entry: U64::new(e, 0),
            e_phoff: U64::new(e, 0),
            e_shoff: U64::new(e, headers_at),
            e_flags: U32::new(e, 0),
            e_ehsize: U16::new(e, size_of::<elf::FileHeader64<Endianness>>() as u16),
            e_phentsize: U16::new(e, 0),
            e_phnum: U16::new(e, 0),
            e_shentsize: U16::new(e, size_of::<elf::SectionHeader64<Endianness>>() as u16),
            e_shnum: U16::new(e, offsets.len() as u16 + 1),
            e_shstrndx: U16::new(e, names as u16),
        };
        let mut write_header = || {
            self.out.seek(SeekFrom::Start(0))?;
            self.out.write_all(bytes_of(&header))?;
            self.out.seek(SeekFrom::End(0))?;
            self.out.flush()
        };
        write_header().map_err(unwritable)?;
        Ok(self.out)
    }
}

fn unwritable(error: io::Error) -> ImageError {
    ImageError::Output(error.to_string())
}
