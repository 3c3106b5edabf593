//! Images in memory: their code, and how a module comes out of one.
//!
//! The text of an image that is a file is mapped from it, and shared with whoever else has it
//! mapped; an image that is only bytes, or lies where nothing may be run (`noexec`), is copied into
//! the engine's executable memory. Entry cells of the module start at the lazy stubs, as if nothing
//! were compiled: what the stub leads to checks the function's digest and publishes its address.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicPtr;

use bimetal_artifact::{Image, ImageError};
use bimetal_codegen::SiteTable;
use bimetal_sys::{CodeRegion, MappedCode, MappedFile};
use bimetal_wasm::{Bytes, DefinedFuncIndex};
use cranelift_entity::EntityRef;

use super::code::CodeSpace;
use super::contents::InitialContents;
use super::trampolines;
use crate::cache::CacheSlot;
use crate::engine::{CodePtr, Engine};
use crate::error::{Context, Error, Result};
use crate::module::{Module, Origin};
use crate::registry::RegisteredType;

/// A file that has an image in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ImageFile<'a> {
    pub(crate) file: &'a File,
    /// The offset of the image's first byte.
    pub(crate) at: u64,
}

impl ImageFile<'_> {
    /// Maps a part of the image to be run.
    pub(super) fn map(&self, part: Range<usize>) -> io::Result<MappedCode> {
        MappedCode::new(self.file, self.at + part.start as u64, part.len())
    }
}

/// Text of an entry of the cache, which has what was called before, is mapped in one go if it is not
/// more: for CPython's 2 MB, that is thirty page faults less, a hundredth of its start.
const POPULATED: usize = 4 << 20;

/// An image with its code where it can run.
#[derive(Debug)]
pub(crate) struct ImageText {
    image: Image,
    text: Text,
    /// Whether all of the image has been checked.
    checked: bool,
}

#[derive(Debug)]
enum Text {
    Mapped(MappedCode),
    Copied(CodeRegion),
    /// There are no functions.
    Empty,
}

impl ImageText {
    fn new(
        image: Image,
        file: Option<ImageFile<'_>>,
        space: &CodeSpace,
        checked: bool,
    ) -> Result<ImageText> {
        let range = image.text();
        if range.is_empty() {
            return Ok(ImageText {
                image,
                text: Text::Empty,
                checked,
            });
        }
        let mapped = file.map(|file| file.map(range.clone()));
        let text = match mapped {
            Some(Ok(code)) => Text::Mapped(code),
            other => {
                if let Err(forbidden) = space.check_allowed() {
                    return Err(match other {
                        Some(Err(error)) => Error::new(error).context(
                            "its machine code cannot be mapped from the file, \
                             and this engine runs none from elsewhere",
                        ),
                        _ => forbidden.into(),
                    });
                }
                let copy = CodeRegion::new(range.len())
                    .and_then(|region| region.append(image.text_bytes(), 1).map(|_| region));
                Text::Copied(copy.context("cannot allocate memory for machine code")?)
            }
        };
        Ok(ImageText {
            image,
            text,
            checked,
        })
    }

    /// The address of the first byte of the text.
    pub(super) fn base(&self) -> usize {
        match &self.text {
            Text::Mapped(code) => code.base().addr(),
            Text::Copied(region) => region.base().addr(),
            Text::Empty => 0,
        }
    }

    /// Bytes of text.
    pub(super) fn len(&self) -> usize {
        self.image.text().len()
    }

    /// The text as it will run.
    fn bytes(&self) -> &[u8] {
        match &self.text {
            Text::Mapped(code) => code.as_ref(),
            // SAFETY: the region is readable, holds as many bytes, and is not written any more.
            Text::Copied(region) => unsafe {
                std::slice::from_raw_parts(region.base(), self.len())
            },
            Text::Empty => &[],
        }
    }

    pub(super) fn find(&self, pc: usize) -> Option<(DefinedFuncIndex, u32)> {
        let offset = pc.checked_sub(self.base())?;
        if offset > self.len() {
            return None;
        }
        let (func, code) = self.image.find(offset)?;
        Some((func, (offset - code.start) as u32))
    }

    pub(super) fn sites(&self, func: DefinedFuncIndex) -> SiteTable {
        let function = self.image.function(func);
        function.and_then(|f| f.sites()).unwrap_or_default()
    }

    /// Gives the image's trampolines to the types that need them. `file` is the image's, if it is
    /// one.
    pub(crate) fn share_trampolines(
        &self,
        space: &Arc<CodeSpace>,
        file: Option<ImageFile<'_>>,
        types: &[RegisteredType],
    ) -> Result<()> {
        trampolines::share(&self.image, file, space, types)
    }

    pub(crate) fn image(&self) -> &Image {
        &self.image
    }

    /// Whether the image has code for a function.
    pub(crate) fn has(&self, func: DefinedFuncIndex) -> bool {
        let function = self.image.function(func);
        function.is_some_and(|function| !function.is_missing())
    }

    /// Maps the text now if it is not large, instead of piece by piece as it is run.
    fn populate(&self) {
        if let Text::Mapped(code) = &self.text
            && self.len() <= POPULATED
        {
            code.populate();
        }
    }

    /// Fills the entry cells of functions that need no check any more.
    pub(crate) fn publish(&self, cells: &mut [AtomicPtr<u8>]) {
        if !self.checked {
            return;
        }
        let base: *const u8 = match &self.text {
            Text::Mapped(code) => code.base(),
            Text::Copied(region) => region.base(),
            Text::Empty => return,
        };
        for (func, code) in self.image.codes() {
            if let Some(cell) = cells.get_mut(func.index()) {
                *cell.get_mut() = base.wrapping_add(code.start).cast_mut();
            }
        }
    }

    /// Where a function is, once it is known to be what was written.
    pub(crate) fn verified(&self, func: DefinedFuncIndex) -> Result<CodePtr, ImageError> {
        let missing = || ImageError::Damaged("a function is missing".into());
        let function = self.image.function(func).ok_or_else(missing)?;
        let code = self
            .bytes()
            .get(function.code.clone())
            .ok_or_else(missing)?;
        function.verify(code)?;
        Ok(CodePtr::new(code.as_ptr()))
    }
}

impl Module {
    /// Loads a module that [`Module::serialize`] or [`Engine::precompile_module`] compiled, from
    /// bytes. Its machine code is copied; [`Module::deserialize_file`] maps it.
    ///
    /// # Errors
    /// If the bytes are no image, or a damaged one; if it was made by another version of Bimetal,
    /// for another machine, or with another configuration.
    ///
    /// # Safety
    /// An image is machine code that is run as it is. Damage is found, here or when a function is
    /// first called (an error then); malice is not: whoever seals what is wrong can have anything run,
    /// though reading an image fails at no bound whatever its tables say. So the bytes must come from
    /// Bimetal, by a way on which nobody could replace them.
    pub unsafe fn deserialize(engine: &Engine, bytes: impl AsRef<[u8]>) -> Result<Module> {
        let image = Image::open(bytes.as_ref().to_vec())?;
        Module::from_image(engine, image, None, None, false)
    }

    /// Loads a compiled module from a file by mapping it: what is not used is not read, and what
    /// is used is shared with other processes.
    ///
    /// ```
    /// # use bimetal::{Engine, Module};
    /// # let dir = std::env::temp_dir().join(format!("bimetal-doc-{}", std::process::id()));
    /// # std::fs::create_dir_all(&dir)?;
    /// let engine = Engine::default();
    /// let image = engine.precompile_module(br#"(module (func (export "f")))"#)?;
    /// let path = dir.join("f.bmt");
    /// std::fs::write(&path, image)?;
    /// // SAFETY: we have just written it, to a folder of our own.
    /// let module = unsafe { Module::deserialize_file(&engine, &path)? };
    /// assert!(module.get_export("f").is_some());
    /// # std::fs::remove_dir_all(&dir)?;
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`Module::deserialize`]; or the file cannot be read.
    ///
    /// # Safety
    /// As for [`Module::deserialize`]. Further, nobody may change the file as long as the module
    /// lives; to replace it, write another and rename that.
    pub unsafe fn deserialize_file(engine: &Engine, path: impl AsRef<Path>) -> Result<Module> {
        let path = path.as_ref();
        let read = || format!("cannot read `{}`", path.display());
        let file = File::open(path).with_context(read)?;
        let mapped = MappedFile::new(&file).with_context(read)?;
        let file = ImageFile { file: &file, at: 0 };
        Image::open(Bytes::from_owner(mapped))
            .map_err(Error::from)
            .and_then(|image| Module::from_image(engine, image, Some(file), None, false))
            .with_context(|| format!("cannot load `{}`", path.display()))
    }

    /// Loads a compiled module that is a part of a file, as [`Module::deserialize_file`] does: of an
    /// executable, for instance. Where the part begins must be a multiple of the page size, or else
    /// its machine code is copied.
    ///
    /// # Errors
    /// As for [`Module::deserialize`]; or the file cannot be mapped, or ends before the part does.
    ///
    /// # Safety
    /// As for [`Module::deserialize_file`].
    pub unsafe fn deserialize_file_part(
        engine: &Engine,
        file: &File,
        part: Range<u64>,
    ) -> Result<Module> {
        Module::from_part(engine, file, part, false)
    }

    /// Loads a compiled module that is a part of a file without looking whether it is damaged: as
    /// fast as can be, and as the system runs programs.
    ///
    /// # Errors
    /// As for [`Module::deserialize_file_part`], but for most of what damage would be.
    ///
    /// # Safety
    /// As for [`Module::deserialize_file_part`], and every byte of it must be as it was written.
    pub unsafe fn deserialize_file_part_unchecked(
        engine: &Engine,
        file: &File,
        part: Range<u64>,
    ) -> Result<Module> {
        Module::from_part(engine, file, part, true)
    }

    fn from_part(engine: &Engine, file: &File, part: Range<u64>, checked: bool) -> Result<Module> {
        let at = part.start;
        let mapped = MappedFile::part(file, part).context("cannot read the compiled module")?;
        let bytes = Bytes::from_owner(mapped);
        let image = match checked {
            true => Image::open_known(bytes)?,
            false => Image::open(bytes)?,
        };
        let mappable = at.is_multiple_of(bimetal_sys::page_size() as u64);
        let file = mappable.then_some(ImageFile { file, at });
        Module::from_image(engine, image, file, None, checked)
    }

    /// The image must come from whom we trust. If all of it has been `checked`, nothing is checked
    /// again.
    pub(crate) fn from_image(
        engine: &Engine,
        image: Image,
        file: Option<ImageFile<'_>>,
        slot: Option<CacheSlot>,
        checked: bool,
    ) -> Result<Module> {
        let header = image.header();
        header.check(&engine.image_header()?)?;
        if let Some(missing) =
            (header.cpu_features.iter()).find(|feature| !bimetal_sys::has_cpu_feature(feature))
        {
            let name = missing.strip_prefix("has_").unwrap_or(missing);
            return Err(ImageError::Mismatch(format!(
                "it uses {name}, which this processor does not have"
            ))
            .into());
        }
        let features = &engine.config().features;
        let contents = match file {
            Some(file) => InitialContents::of_file(&image, file, checked)?,
            None => InitialContents::of_bytes(&image)?,
        };
        let memory = image.header().memory.as_ref();
        let data_segments = memory.and_then(|memory| memory.data_segments);
        let data_segments = data_segments.map(|count| count as usize);
        let wasm = bimetal_wasm::Module::decode_validated(
            image.wasm(),
            features,
            image.bodies(),
            data_segments,
        )?;
        InitialContents::check(&image, &wasm)?;
        let globals = header.globals;
        let text = ImageText::new(image, file, engine.code_space(), checked)?;
        if checked && slot.is_some() {
            text.populate();
        }
        let origin = Origin {
            image: Some(text),
            file,
            contents,
            slot,
            ..Origin::default()
        };
        let module = Module::from_wasm(engine, wasm, origin)?;
        if module.wasm().globals.len() != globals as usize {
            let what = "its globals are others than those it was compiled with".into();
            return Err(ImageError::Mismatch(what).into());
        }
        Ok(module)
    }
}
