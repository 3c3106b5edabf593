//! Reading an image where it lies.

use std::io::Read;
use std::ops::Range;

use bimetal_codegen::{SiteTable, TrampolineKind};
use bimetal_wasm::{Bytes, DefinedFuncIndex, TypeIndex};
use cranelift_entity::EntityRef;
use object::read::elf::{ElfFile64, FileHeader};
use object::{Endianness, Object, ObjectSection};

use crate::error::ImageError;
use crate::header::{FORMAT, Header};
use crate::seal::{self, DIGEST, KEY, SEAL, Sealed};
use crate::section;

/// Where the parts of a function are: its code in the text, its sites in their section, its body
/// in the module.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub code: Range<usize>,
    pub sites: Range<usize>,
    pub body: Range<usize>,
}

impl Entry {
    /// Bytes of the written form: six times 32 bits, little endian.
    const SIZE: usize = 24;

    /// Appends the written form; `None` if a number does not fit.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> Option<()> {
        for range in [&self.code, &self.sites, &self.body] {
            out.extend_from_slice(&u32::try_from(range.start).ok()?.to_le_bytes());
            out.extend_from_slice(&u32::try_from(range.end).ok()?.to_le_bytes());
        }
        Some(())
    }

    fn read(bytes: &[u8]) -> Option<Entry> {
        let (words, []) = bytes.as_chunks::<4>() else {
            return None;
        };
        let range = |i: usize| {
            let word = |i: usize| Some(u32::from_le_bytes(*words.get(i)?) as usize);
            Some(word(i)?..word(i + 1)?)
        };
        Some(Entry {
            code: range(0)?,
            sites: range(2)?,
            body: range(4)?,
        })
    }
}

/// A trampoline of an image: see [`bimetal_codegen::Trampoline`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trampoline {
    /// Between what.
    pub kind: TrampolineKind,
    /// The function type, by its index in the module.
    pub ty: TypeIndex,
    /// Its code, as a range of the trampolines' text.
    pub code: Range<usize>,
}

impl Trampoline {
    /// Words of the written form, of 32 bits, little endian.
    const WORDS: usize = 4;

    /// Appends the written form; `None` if a number does not fit.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> Option<()> {
        let start = u32::try_from(self.code.start).ok()?;
        let end = u32::try_from(self.code.end).ok()?;
        for word in [self.kind as u32, self.ty.as_u32(), start, end] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        Some(())
    }

    fn read(words: &[[u8; 4]]) -> Option<Trampoline> {
        let word = |i: usize| Some(u32::from_le_bytes(*words.get(i)?));
        Some(Trampoline {
            kind: *TrampolineKind::ALL.get(word(0)? as usize)?,
            ty: TypeIndex::from_u32(word(1)?),
            code: word(2)? as usize..word(3)? as usize,
        })
    }
}

/// An image whose seal has been checked.
#[derive(Debug)]
pub struct Image {
    bytes: Bytes,
    header: Header,
    text: Range<usize>,
    trampoline_text: Range<usize>,
    trampolines: Range<usize>,
    functions: Range<usize>,
    digests: Range<usize>,
    sites: Range<usize>,
    wasm: Range<usize>,
    memory: Range<usize>,
}

/// A function of an image.
#[derive(Debug)]
pub struct Function<'a> {
    /// Its code, as a range of the text.
    pub code: Range<usize>,
    /// Its body, as a range of the module's binary.
    pub body: Range<usize>,
    sites: &'a [u8],
    digest: &'a [u8],
    body_digest: &'a [u8],
}

impl Function<'_> {
    /// Whether the image has no code for it.
    pub fn is_missing(&self) -> bool {
        self.code.is_empty()
    }

    /// Whether it was compiled from a body of these bytes. What else its code depends on is the
    /// module's: types, imports, and what there is of each kind.
    pub fn was_compiled_from(&self, body: &[u8]) -> bool {
        seal::body(body) == self.body_digest
    }

    /// Whether `code`, its code as it will run, and its side table are what was written.
    ///
    /// # Errors
    /// If not.
    pub fn verify(&self, code: &[u8]) -> Result<(), ImageError> {
        match seal::function(code, self.sites) == self.digest {
            true => Ok(()),
            false => Err(ImageError::damaged("machine code has changed")),
        }
    }

    /// Its side table.
    pub fn sites(&self) -> Option<SiteTable> {
        SiteTable::read(self.sites)
    }
}

/// How an image is sealed.
enum Seal<'a> {
    /// Anyone can seal it.
    Open,
    /// Only those with this key can.
    Key(&'a [u8; KEY]),
    /// That was looked at before.
    Known,
}

/// Where an image has its seal, and what that should be.
type Place = (Range<usize>, [u8; SEAL]);

/// A part of shared bytes that shares them too.
struct Part(Bytes, Range<usize>);

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.0[self.1.clone()]
    }
}

impl Image {
    /// Whether the bytes begin as an image does. Native programs do too.
    pub fn is_elf(bytes: &[u8]) -> bool {
        bytes.starts_with(b"\x7fELF")
    }

    /// Opens an image: finds its sections, and checks the seal. For whom it was made, and what it
    /// says of its code, is the caller's to judge.
    ///
    /// # Errors
    /// [`ImageError::NotAnImage`], [`ImageError::Damaged`], or [`ImageError::Version`] if the
    /// format is another.
    pub fn open(bytes: impl Into<Bytes>) -> Result<Image, ImageError> {
        Image::open_sealed(bytes.into(), Seal::Open)
    }

    /// Opens an image that was sealed with a key, which only those have who may write it. Damage
    /// and malice are one then.
    ///
    /// # Errors
    /// As for [`Image::open`]. Without the right key everything is damaged.
    pub fn open_with_key(bytes: impl Into<Bytes>, key: &[u8; 32]) -> Result<Image, ImageError> {
        Image::open_sealed(bytes.into(), Seal::Key(key))
    }

    /// Opens an image that was found to be whole before, and has not changed since: nothing is
    /// checked but that its parts are there. With any other, what happens is not defined.
    ///
    /// # Errors
    /// As for [`Image::open`].
    pub fn open_known(bytes: impl Into<Bytes>) -> Result<Image, ImageError> {
        Image::open_sealed(bytes.into(), Seal::Known)
    }

    fn open_sealed(bytes: Bytes, seal: Seal<'_>) -> Result<Image, ImageError> {
        let (image, seal) = Image::parse(bytes, seal)?;
        let whole = seal.is_none_or(|(seal, expected)| image.bytes[seal] == expected);
        match whole {
            true => Ok(image),
            false => Err(ImageError::damaged("bytes of it have changed")),
        }
    }

    /// Writes the seal without a key that fits to bytes that were changed. For tests of what an
    /// image's reader does with one that is wrong, but sealed: it must not fail at a bound. To run
    /// such code is another matter.
    ///
    /// # Errors
    /// If the bytes are so wrong that nothing is found in them to be sealed.
    pub fn reseal(bytes: &mut [u8]) -> Result<(), ImageError> {
        let (_, seal) = Image::parse(bytes.to_vec().into(), Seal::Open)?;
        let place = seal.and_then(|(seal, expected)| Some((bytes.get_mut(seal)?, expected)));
        match place {
            Some((seal, expected)) if seal.len() == SEAL => {
                seal.copy_from_slice(&expected);
                Ok(())
            }
            _ => Err(ImageError::damaged("there is no room for its seal")),
        }
    }

    /// What is in it; and, unless it is known, where its seal is and what that should be.
    fn parse(bytes: Bytes, seal: Seal<'_>) -> Result<(Image, Option<Place>), ImageError> {
        let data = bytes.as_slice();
        if !Image::is_elf(data) {
            return Err(ImageError::NotAnImage("it is no ELF file"));
        }
        let damaged = |error: object::Error| ImageError::damaged(error.to_string());
        let head = object::elf::FileHeader64::<Endianness>::parse(data).map_err(damaged)?;
        let endian = head.endian().map_err(damaged)?;
        if head.e_type(endian) != object::elf::ET_REL {
            return Err(ImageError::NotAnImage("it is a native program or library"));
        }
        let elf = ElfFile64::<Endianness>::parse(data).map_err(damaged)?;
        let find = |name: &str| -> Result<Range<usize>, ImageError> {
            let section = elf.section_by_name(name).ok_or_else(|| match name {
                section::HEADER => ImageError::NotAnImage("it is another object file"),
                _ => ImageError::damaged(format!("it has no section `{name}`")),
            })?;
            let range = section
                .file_range()
                .and_then(|(start, len)| {
                    let start = usize::try_from(start).ok()?;
                    let end = start.checked_add(usize::try_from(len).ok()?)?;
                    (end <= data.len()).then_some(start..end)
                })
                .ok_or_else(|| {
                    ImageError::damaged(format!("its section `{name}` is not all there"))
                })?;
            Ok(range)
        };
        let header_range = find(section::HEADER)?;
        let header_bytes = &data[header_range];
        // The format may change what is sealed and how, so it is judged before.
        #[derive(serde::Deserialize)]
        struct Format {
            format: u32,
        }
        let unreadable = |_| ImageError::damaged("its header cannot be read");
        let Format { format } = serde_json::from_slice(header_bytes).map_err(unreadable)?;
        if format != FORMAT {
            return Err(ImageError::Version(format!(
                "its format is {format}, this one reads {FORMAT}"
            )));
        }
        let header: Header = serde_json::from_slice(header_bytes).map_err(unreadable)?;
        let image = Image {
            text: find(section::TEXT)?,
            trampoline_text: find(section::TRAMPOLINE_TEXT)?,
            trampolines: find(section::TRAMPOLINES)?,
            functions: find(section::FUNCTIONS)?,
            digests: find(section::DIGESTS)?,
            sites: find(section::SITES)?,
            wasm: find(section::WASM)?,
            memory: find(section::MEMORY)?,
            header,
            bytes: bytes.clone(),
        };
        let key = match seal {
            Seal::Open => None,
            Seal::Key(key) => Some(key),
            Seal::Known => return Ok((image, None)),
        };
        let unsealed = image.unsealed();
        let sealed = Sealed {
            header: header_bytes,
            functions: &data[image.functions.clone()],
            digests: &data[image.digests.clone()],
            profile: &data[find(section::PROFILE)?],
            trampolines: &data[image.trampolines.clone()],
            trampoline_text: &data[image.trampoline_text.clone()],
            text_len: image.text.len(),
            sites_len: image.sites.len(),
            wasm: &data[image.wasm.clone()],
            lazy: &unsealed,
        };
        let unordered = || ImageError::damaged("what is not sealed of it is no list of parts");
        let expected = sealed.digest(key).ok_or_else(unordered)?;
        Ok((image, Some((find(section::SEAL)?, expected))))
    }

    /// The parts of the module's binary that the seal does not cover.
    pub(crate) fn unsealed(&self) -> Vec<Range<usize>> {
        let ranges = self.header.unsealed.iter();
        ranges
            .map(|&(start, end)| start as usize..end as usize)
            .collect()
    }

    /// For whom it was made.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The module's binary. Its code and custom sections are as the file has them, unchecked.
    pub fn wasm(&self) -> Bytes {
        Bytes::from_owner(Part(self.bytes.clone(), self.wasm.clone()))
    }

    /// Where the machine code is in the file; the start is a multiple of the page size.
    pub fn text(&self) -> Range<usize> {
        self.text.clone()
    }

    /// The machine code.
    pub fn text_bytes(&self) -> &[u8] {
        &self.bytes[self.text.clone()]
    }

    /// Where the trampolines' machine code is in the file; the start is a multiple of the page size.
    pub fn trampoline_text(&self) -> Range<usize> {
        self.trampoline_text.clone()
    }

    /// The trampolines' machine code, which the seal covers.
    pub fn trampoline_bytes(&self) -> &[u8] {
        &self.bytes[self.trampoline_text.clone()]
    }

    /// The trampolines, at most one of each kind and type. What makes no sense is left out.
    pub fn trampolines(&self) -> impl Iterator<Item = Trampoline> + '_ {
        let (words, _) = self.bytes[self.trampolines.clone()].as_chunks::<4>();
        let all = words.chunks(Trampoline::WORDS).filter_map(Trampoline::read);
        let len = self.trampoline_text.len();
        all.filter(move |t| t.code.start <= t.code.end && t.code.end <= len)
    }

    /// Where the initial contents of memories are in the file; the start is a multiple of the page
    /// size.
    pub fn memory(&self) -> Range<usize> {
        self.memory.clone()
    }

    /// The initial contents of memories, unchecked.
    pub fn memory_bytes(&self) -> &[u8] {
        &self.bytes[self.memory.clone()]
    }

    /// Whether what `bytes` gives, the section [`Image::memory`] as it will be used, is what was
    /// written.
    ///
    /// # Errors
    /// If not, or it cannot be read.
    pub fn check_memory(&self, mut bytes: impl Read) -> Result<(), ImageError> {
        let Some(memory) = &self.header.memory else {
            return Ok(());
        };
        let mut len = 0u64;
        for part in &memory.parts {
            len = len.saturating_add(part.len);
        }
        let digest = seal::memory(&mut bytes)
            .map_err(|error| ImageError::damaged(format!("it cannot be read: {error}")))?;
        match digest == memory.digest && len == self.memory.len() as u64 {
            true => Ok(()),
            false => Err(ImageError::damaged("initial memory contents have changed")),
        }
    }

    /// How many functions it has, with code and without.
    pub fn len(&self) -> usize {
        self.functions.len() / Entry::SIZE
    }

    /// Whether it has no functions.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of machine code and of side tables.
    pub fn sizes(&self) -> (usize, usize) {
        (self.text.len(), self.sites.len())
    }

    /// A function; `None` if there is none with this index or its entry makes no sense.
    pub fn function(&self, index: DefinedFuncIndex) -> Option<Function<'_>> {
        let entry = self.entry(index.index())?;
        let digests = index.index().checked_mul(2 * DIGEST)?;
        let digests = self.bytes[self.digests.clone()].get(digests..)?;
        Some(Function {
            sites: self.bytes[self.sites.clone()].get(entry.sites)?,
            digest: digests.get(..DIGEST)?,
            body_digest: digests.get(DIGEST..2 * DIGEST)?,
            code: (entry.code.start <= entry.code.end && entry.code.end <= self.text.len())
                .then_some(entry.code)?,
            body: entry.body,
        })
    }

    /// The code of all functions that have some, as ranges of the text.
    pub fn codes(&self) -> impl Iterator<Item = (DefinedFuncIndex, Range<usize>)> + '_ {
        let (entries, _) = self.bytes[self.functions.clone()].as_chunks::<{ Entry::SIZE }>();
        entries.iter().enumerate().filter_map(|(index, entry)| {
            let code = Entry::read(entry)?.code;
            let is_there = code.start < code.end && code.end <= self.text.len();
            is_there.then(|| (DefinedFuncIndex::new(index), code))
        })
    }

    /// Where the bodies of all functions are, as ranges of the module's binary.
    pub fn bodies(&self) -> impl ExactSizeIterator<Item = Range<usize>> + '_ {
        let (entries, _) = self.bytes[self.functions.clone()].as_chunks::<{ Entry::SIZE }>();
        let body = |entry| Entry::read(entry).map_or(0..0, |entry: Entry| entry.body);
        entries.iter().map(move |entry| body(entry))
    }

    /// The function whose code has the byte at this offset of the text, or ends there.
    pub fn find(&self, offset: usize) -> Option<(DefinedFuncIndex, Range<usize>)> {
        let (mut low, mut high) = (0, self.len());
        // The first function that starts behind the offset.
        while low < high {
            let middle = low.midpoint(high);
            match self.entry(middle)?.code.start <= offset {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        let within = |index: usize, slack: usize| {
            let code = self.entry(index)?.code;
            (code.start <= offset && offset < code.end + slack)
                .then_some((DefinedFuncIndex::new(index), code))
        };
        let last = low.checked_sub(1)?;
        // An offset between two functions without padding is a return address of the first, or
        // the second's own.
        within(last, 0)
            .or_else(|| within(last.checked_sub(1)?, 1))
            .or_else(|| within(last, 1))
    }

    fn entry(&self, index: usize) -> Option<Entry> {
        let at = index.checked_mul(Entry::SIZE)?;
        let table = &self.bytes[self.functions.clone()];
        Entry::read(table.get(at..at.checked_add(Entry::SIZE)?)?)
    }
}
