//! What a module's memories contain at first, as pages that are mapped and copied when written.
//!
//! An image has them already. Otherwise they are made when a module is instantiated for the second
//! time, or the first in a pool: for one instance copying the segments is cheaper, for many it is
//! not. Where the contents depend on more than the module, segments are copied each time.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bimetal_artifact::{Image, ImageError, MemoryPart};
use bimetal_sys::{FilePart, MemoryImage, Reservation};
use bimetal_wasm::MemoryIndex;

use super::image::ImageFile;
use crate::error::{Context, Result};

/// The contents of the memories of one module, when they are known.
#[derive(Debug, Default)]
pub(crate) struct InitialContents {
    known: OnceLock<Option<Arc<Contents>>>,
    /// Whether there has been an instance.
    instantiated: AtomicBool,
}

/// Contents that can be mapped.
#[derive(Debug)]
pub(super) struct Contents {
    pages: MemoryImage,
    parts: Vec<MemoryPart>,
    /// All of the pages, mapped to be read.
    original: OnceLock<Option<Reservation>>,
}

impl Contents {
    fn new(pages: MemoryImage, parts: Vec<MemoryPart>) -> Arc<Contents> {
        Arc::new(Contents {
            pages,
            parts,
            original: OnceLock::new(),
        })
    }

    /// Whether a memory has any.
    pub(super) fn has(&self, memory: MemoryIndex) -> bool {
        let memory = memory.as_u32();
        self.parts.iter().any(|part| part.memory == memory)
    }

    /// Calls `each` with the parts of a memory: where in the memory, the pages, where in the pages, and
    /// how many bytes; all multiples of the page size.
    ///
    /// # Errors
    /// The first of `each`.
    pub(super) fn each_part(
        &self,
        memory: MemoryIndex,
        mut each: impl FnMut(u64, &MemoryImage, u64, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut offset = 0;
        for part in &self.parts {
            if part.memory == memory.as_u32() {
                each(part.at, &self.pages, offset, part.len)?;
            }
            offset += part.len;
        }
        Ok(())
    }

    /// The pages, to be read; `None` if they cannot be mapped once more.
    pub(super) fn original(&self) -> Option<&Reservation> {
        let map = || {
            let space = Reservation::new(self.pages.len()).ok()?;
            space.map_image(0, &self.pages, 0, space.size()).ok()?;
            Some(space)
        };
        self.original.get_or_init(map).as_ref()
    }
}

impl InitialContents {
    /// Contents that are to be mapped from the first instance on, since more will follow.
    pub(crate) fn to_be_mapped() -> InitialContents {
        InitialContents {
            known: OnceLock::new(),
            instantiated: AtomicBool::new(true),
        }
    }

    fn known(image: &Image, pages: impl FnOnce() -> io::Result<MemoryImage>) -> Result<Self> {
        let Some(memory) = &image.header().memory else {
            return Ok(InitialContents::default());
        };
        let pages = pages().context("cannot map the initial contents of memories")?;
        Ok(InitialContents {
            known: OnceLock::from(Some(Contents::new(pages, memory.parts.clone()))),
            instantiated: AtomicBool::new(true),
        })
    }

    /// Refuses an image whose parts are not parts of its module's own memories.
    pub(super) fn check(image: &Image, wasm: &bimetal_wasm::Module) -> Result<(), ImageError> {
        let parts = image.header().memory.iter().flat_map(|m| &m.parts);
        for part in parts {
            let index = MemoryIndex::from_u32(part.memory);
            let own = wasm
                .memories
                .get(index)
                .filter(|ty| !ty.shared && wasm.defined_memory(index).is_some());
            let end = part.at.checked_add(part.len);
            if own.is_none_or(|ty| end.is_none_or(|end| end > ty.minimum_byte_size())) {
                let what = "initial contents beyond the module's memories";
                return Err(ImageError::Damaged(what.into()));
            }
        }
        Ok(())
    }

    /// Those in an image that is this file. Unless they have been `checked`, they are read once, but
    /// not mapped.
    pub(super) fn of_file(
        image: &Image,
        file: ImageFile<'_>,
        checked: bool,
    ) -> Result<InitialContents> {
        let range = image.memory();
        let at = file.at + range.start as u64;
        let end = at + range.len() as u64;
        if !checked {
            image.check_memory(FilePart::new(file.file, at..end))?;
        }
        InitialContents::known(image, || MemoryImage::of_file(file.file, at, range.len()))
    }

    /// Those in an image that is in memory.
    pub(super) fn of_bytes(image: &Image) -> Result<InitialContents> {
        image.check_memory(image.memory_bytes())?;
        InitialContents::known(image, || MemoryImage::new(image.memory_bytes()))
    }

    /// What the next instance is to map; `None` if it has to copy segments, as the first has to
    /// unless many are `expected`.
    pub(super) fn next(
        &self,
        wasm: &bimetal_wasm::Module,
        expected: bool,
    ) -> Option<&Arc<Contents>> {
        if !self.instantiated.swap(true, Ordering::Relaxed) && !expected {
            return None;
        }
        let make = || {
            let runs = wasm.initial_memory(bimetal_sys::page_size() as u64)?;
            if runs.is_empty() {
                return None;
            }
            let parts = runs.iter().map(|run| MemoryPart {
                memory: run.memory.as_u32(),
                at: run.at,
                len: run.bytes.len() as u64,
            });
            let parts = parts.collect();
            let bytes: Vec<u8> = runs.into_iter().flat_map(|run| run.bytes).collect();
            // If there is no file to be had, segments are copied.
            let pages = MemoryImage::new(&bytes).ok()?;
            Some(Contents::new(pages, parts))
        };
        self.known.get_or_init(make).as_ref()
    }
}
