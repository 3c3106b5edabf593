//! What a module's memories contain at first, as pages that are mapped and copied when written.
//!
//! An image has them already. Otherwise they are made when a module is instantiated for the second
//! time: for one instance copying the segments is cheaper, for many it is not. Where the contents
//! depend on more than the module, segments are copied each time.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use bimetal_artifact::{Image, MemoryPart};
use bimetal_sys::{FilePart, MemoryImage};
use bimetal_wasm::MemoryIndex;

use super::image::ImageFile;
use super::memory::LinearMemory;
use crate::error::{Context, Result};

/// The contents of the memories of one module, when they are known.
#[derive(Debug, Default)]
pub(crate) struct InitialContents {
    known: OnceLock<Option<Contents>>,
    /// Whether there has been an instance.
    instantiated: AtomicBool,
}

/// Contents that can be mapped.
#[derive(Debug)]
pub(super) struct Contents {
    pages: MemoryImage,
    parts: Vec<MemoryPart>,
}

/// A part of the pages and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    at: u64,
    offset: u64,
    len: u64,
}

impl Contents {
    /// Every part, with the memory that it belongs to.
    pub(super) fn parts(&self) -> impl Iterator<Item = (MemoryIndex, Part)> + '_ {
        let mut offset = 0;
        self.parts.iter().map(move |part| {
            let here = Part {
                at: part.at,
                offset,
                len: part.len,
            };
            offset += part.len;
            (MemoryIndex::from_u32(part.memory), here)
        })
    }

    /// Puts a part into its memory.
    pub(super) fn map(&self, memory: &mut LinearMemory, part: Part) -> Result<()> {
        memory
            .map(part.at, &self.pages, part.offset, part.len)
            .context("cannot map the initial contents of a memory")
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
        let contents = Contents {
            pages,
            parts: memory.parts.clone(),
        };
        Ok(InitialContents {
            known: OnceLock::from(Some(contents)),
            instantiated: AtomicBool::new(true),
        })
    }

    /// Those in an image that is this file. They are read once, to check them, but not mapped.
    pub(super) fn of_file(image: &Image, file: ImageFile<'_>) -> Result<InitialContents> {
        let range = image.memory();
        let at = file.at + range.start as u64;
        let end = at + range.len() as u64;
        image.check_memory(FilePart::new(file.file, at..end))?;
        InitialContents::known(image, || MemoryImage::of_file(file.file, at, range.len()))
    }

    /// Those in an image that is in memory.
    pub(super) fn of_bytes(image: &Image) -> Result<InitialContents> {
        image.check_memory(image.memory_bytes())?;
        InitialContents::known(image, || MemoryImage::new(image.memory_bytes()))
    }

    /// What the next instance is to map; `None` if it has to copy segments.
    pub(super) fn next(&self, wasm: &bimetal_wasm::Module) -> Option<&Contents> {
        if !self.instantiated.swap(true, Ordering::Relaxed) {
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
            Some(Contents { pages, parts })
        };
        self.known.get_or_init(make).as_ref()
    }
}
