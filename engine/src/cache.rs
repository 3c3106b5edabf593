//! What is kept of compiled modules from one process to the next.
//!
//! A cache is a folder of images, by a key: a digest of the module's bytes, of the configuration
//! and of the compiler. An image in it may be incomplete: it has the functions that some run has
//! needed, and the next run that needs more adds them. A module that is not known may be a known
//! one that was built again: then functions are taken over whose bodies have not changed, if
//! nothing has that all code depends on (the *outline*: types, imports, what there is of each kind).
//!
//! Nothing here is ever a reason for a module not to run: what cannot be read, is damaged, was
//! written by somebody else or cannot be written is as if it were not there. Files are written
//! under another name and renamed, so that a process that is killed, or two that write at once,
//! leave whole files. Images are sealed with a key that is in the folder, which only its owner can
//! read; a folder that others can write to is not used. `cache/marks.rs` knows which of them need not
//! be looked at again.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bimetal_artifact::{Image, ImageWriter};
use bimetal_codegen::TrampolineKind;
use bimetal_sys::MappedFile;
use bimetal_wasm::Bytes;
use cranelift_entity::EntityRef;

use crate::engine::Engine;
use crate::error::{Context, Error, Result};
use crate::module::{Module, ModuleInner, Origin};
use crate::tier::IMAGE_ALIGNMENT;
use crate::vm::ImageFile;

/// What a cache holds at most if nothing else is said.
const DEFAULT_SIZE: u64 = 2 << 30;

/// A file that was written so short a time ago may be written again without its times telling: some
/// file systems have coarse clocks.
const SETTLED: Duration = Duration::from_secs(2);

/// The same for the time that nobody can set, which the kernel takes from its clock tick.
const TICK: Duration = Duration::from_millis(100);

/// How often a use is noted on the entry, for finding out which was used least recently.
const NOTED_EVERY: Duration = Duration::from_secs(60 * 60);

const IMAGE: &str = "bmt";
const OUTLINE: &str = "outline";
const FILE: &str = "file";
const NEW: &str = "new";

mod marks;
use marks::MARK;

/// Where a cache is, and how large it may get.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    directory: PathBuf,
    size: u64,
}

impl CacheConfig {
    /// A cache in a folder, which is created if it is missing.
    pub fn new(directory: impl Into<PathBuf>) -> CacheConfig {
        CacheConfig {
            directory: directory.into(),
            size: DEFAULT_SIZE,
        }
    }

    /// How many bytes it may hold, about; 2 GiB if nothing is said. What was used least recently
    /// goes first.
    pub fn size_limit(&mut self, bytes: u64) -> &mut Self {
        self.size = bytes;
        self
    }
}

/// A folder of compiled modules that processes share. Cheap to clone.
///
/// ```
/// use bimetal::{Cache, CacheConfig, Config, Engine, Module};
///
/// # let folder = std::env::temp_dir().join(format!("bimetal-cache-doc-{}", std::process::id()));
/// let cache = Cache::new(&CacheConfig::new(&folder))?;
/// let engine = Engine::new(Config::new().cache(Some(cache.clone())))?;
/// let first = Module::new(&engine, "(module (func))")?;
/// assert_eq!(cache.stats().misses, 1);
/// first.update_cache()?;
/// let second = Module::new(&engine, "(module (func))")?;
/// assert_eq!(cache.stats().hits, 1);
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Cache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    size: u64,
    key: [u8; 32],
    hits: AtomicU64,
    misses: AtomicU64,
}

/// What is in a cache, and how it has served this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Compiled modules.
    pub entries: usize,
    /// Bytes of all files.
    pub bytes: u64,
    /// Modules that this process found.
    pub hits: u64,
    /// Modules that it did not find.
    pub misses: u64,
}

/// The name of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key([u8; 32]);

impl Key {
    fn name(self, extension: &str) -> String {
        let mut name = String::with_capacity(72);
        for byte in self.0 {
            let _ = write!(name, "{byte:02x}");
        }
        name + "." + extension
    }

    fn parse(text: &str) -> Option<Key> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
        }
        Some(Key(bytes))
    }
}

/// A module's place in a cache.
#[derive(Debug)]
pub(crate) struct CacheSlot {
    cache: Cache,
    key: Key,
    /// Whether there is an entry that has not been checked whole.
    unmarked: bool,
    /// Where the module is to be found, if that is known.
    file: Option<PathBuf>,
}

/// An entry that has been opened.
struct Entry {
    image: Image,
    file: File,
    /// Whether all of it has been checked.
    checked: bool,
}

impl Cache {
    /// Opens a cache, or makes a new one.
    ///
    /// # Errors
    /// If the folder cannot be created or read, or others than its owner can write to it.
    pub fn new(config: &CacheConfig) -> Result<Cache> {
        let directory = &config.directory;
        let open = || -> Result<[u8; 32]> {
            bimetal_sys::create_private_dir(directory)?;
            if !bimetal_sys::is_private(&fs::metadata(directory)?) {
                return Err(Error::msg("others can write to it, or it is not ours"));
            }
            own_key(directory)
        };
        let key = open()
            .with_context(|| format!("`{}` cannot be used as a cache", directory.display()))?;
        Ok(Cache(Arc::new(Inner {
            directory: directory.clone(),
            size: config.size,
            key,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        })))
    }

    /// Its folder.
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// What is in it, as far as it can be read.
    pub fn stats(&self) -> CacheStats {
        let mut stats = CacheStats {
            hits: self.0.hits.load(Ordering::Relaxed),
            misses: self.0.misses.load(Ordering::Relaxed),
            ..CacheStats::default()
        };
        for (path, metadata) in self.files() {
            stats.entries += usize::from(path.extension().is_some_and(|e| e == IMAGE));
            stats.bytes += metadata.len();
        }
        stats
    }

    /// Deletes everything in it, and says how many bytes that was. Processes that run what was in
    /// it do not notice.
    ///
    /// # Errors
    /// If a file cannot be deleted.
    pub fn clean(&self) -> Result<u64> {
        let mut bytes = 0;
        for (path, metadata) in self.files() {
            remove(&path).with_context(|| format!("`{}` cannot be deleted", path.display()))?;
            bytes += metadata.len();
        }
        Ok(bytes)
    }

    /// The files of the cache, but for the key.
    fn files(&self) -> impl Iterator<Item = (PathBuf, Metadata)> {
        let entries = fs::read_dir(&self.0.directory).into_iter().flatten();
        entries.flatten().filter_map(|entry| {
            let path = entry.path();
            let ours = path.extension().is_some_and(|extension| {
                [IMAGE, OUTLINE, FILE, MARK, NEW]
                    .iter()
                    .any(|known| extension == *known)
            });
            let metadata = entry.metadata().ok()?;
            (ours && metadata.is_file()).then_some((path, metadata))
        })
    }

    fn path(&self, key: Key, extension: &str) -> PathBuf {
        self.0.directory.join(key.name(extension))
    }

    /// A digest of `parts`, of what this engine makes of them, under the cache's key.
    fn digest(&self, engine: &Engine, what: &str, parts: &[&[u8]]) -> Result<Key> {
        let mut hasher = blake3::Hasher::new_keyed(&self.0.key);
        let made_by = engine.identity()?;
        for part in [what.as_bytes(), made_by.as_bytes()].iter().chain(parts) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Ok(Key(*hasher.finalize().as_bytes()))
    }

    /// The key of what the code of every function depends on.
    fn outline(&self, engine: &Engine, wasm: &bimetal_wasm::Module) -> Result<Key> {
        struct Digest(blake3::Hasher);
        impl std::fmt::Write for Digest {
            fn write_str(&mut self, text: &str) -> std::fmt::Result {
                self.0.update(text.as_bytes());
                Ok(())
            }
        }
        let mut digest = Digest(blake3::Hasher::new());
        // Every table of the model but the bodies, the data, and the names of things.
        write!(
            digest,
            "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {}",
            wasm.features,
            wasm.types,
            wasm.rec_groups,
            wasm.imports,
            wasm.functions,
            wasm.tables,
            wasm.memories,
            wasm.globals,
            wasm.tags,
            wasm.table_init,
            wasm.global_init,
            wasm.elements,
            wasm.func_refs,
            wasm.num_func_refs,
            wasm.start,
            wasm.num_data,
        )
        .map_err(Error::new)?;
        self.digest(engine, OUTLINE, &[digest.0.finalize().as_bytes()])
    }

    /// Opens an entry. One that is not what was written is deleted.
    fn open(&self, key: Key) -> Option<Entry> {
        let path = self.path(key, IMAGE);
        let (file, metadata) = bimetal_sys::open_file(&path).ok()?;
        let checked = self.is_marked(key, &metadata);
        let opened = if bimetal_sys::is_private(&metadata) {
            let mapped = Bytes::from_owner(MappedFile::new(&file).ok()?);
            match checked {
                true => Image::open_known(mapped),
                false => Image::open_with_key(mapped, &self.0.key),
            }
            .map_err(|error| error.to_string())
        } else {
            Err("others can write to it".into())
        };
        match opened {
            Ok(image) => {
                self.note_use(key, &metadata, checked);
                Some(Entry {
                    image,
                    file,
                    checked,
                })
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), error, "a cache entry is dropped");
                let _ = remove(&path);
                None
            }
        }
    }

    /// Sets the time of an entry to now, if that is long ago: only for the order in which entries go.
    fn note_use(&self, key: Key, metadata: &Metadata, marked: bool) {
        // The time of an entry that is marked tells that it has not changed.
        let (path, time) = match marked {
            true => {
                let path = self.path(key, MARK);
                let metadata = fs::metadata(&path);
                (path, metadata.and_then(|metadata| metadata.modified()))
            }
            false => (self.path(key, IMAGE), metadata.modified()),
        };
        if time.is_ok_and(|time| older(time, NOTED_EVERY)) {
            let _ = File::options()
                .append(true)
                .open(&path)
                .and_then(|file| file.set_modified(SystemTime::now()));
        }
    }

    /// The key that a small file holds.
    fn follow(&self, link: Key, extension: &str) -> Option<Key> {
        let path = self.path(link, extension);
        let (file, metadata) = bimetal_sys::open_file(&path).ok()?;
        if !bimetal_sys::is_private(&metadata) {
            return None;
        }
        let mut text = String::new();
        file.take(65).read_to_string(&mut text).ok()?;
        Key::parse(&text)
    }

    /// Loads a module from the cache, or as ever.
    pub(crate) fn load(&self, engine: &Engine, bytes: Vec<u8>) -> Result<Module> {
        let bytes = binary(bytes)?;
        let key = self.digest(engine, IMAGE, &[&bytes])?;
        if let Some(module) = self.load_entry(engine, key, None) {
            // Nothing else checks the entry's copy of the code until it is compiled, when nobody
            // has these bytes any more.
            if *module.wasm().bytes == *bytes {
                return Ok(module);
            }
            tracing::warn!("a cache entry is dropped: its copy of the module is damaged");
            let _ = remove(&self.path(key, IMAGE));
        }
        self.0.misses.fetch_add(1, Ordering::Relaxed);
        let wasm = bimetal_wasm::Module::new(bytes, &engine.config().features)?;
        let relative = self.follow(self.outline(engine, &wasm)?, OUTLINE);
        let relative = relative.and_then(|key| self.open(key));
        let relative = relative.map(|entry| entry.image);
        let origin = Origin {
            relative: relative.filter(|image| image.len() == wasm.bodies.len()),
            slot: Some(self.slot(key, false, None)),
            ..Origin::default()
        };
        Module::from_wasm(engine, wasm, origin)
    }

    fn slot(&self, key: Key, unmarked: bool, file: Option<&Path>) -> CacheSlot {
        CacheSlot {
            cache: self.clone(),
            key,
            unmarked,
            file: file.map(Path::to_owned),
        }
    }

    fn load_entry(&self, engine: &Engine, key: Key, path: Option<&Path>) -> Option<Module> {
        let Entry {
            image,
            file,
            checked,
        } = self.open(key)?;
        let slot = self.slot(key, !checked, path);
        let file = ImageFile { file: &file, at: 0 };
        match Module::from_image(engine, image, Some(file), Some(slot), checked) {
            Ok(module) => {
                self.0.hits.fetch_add(1, Ordering::Relaxed);
                Some(module)
            }
            Err(error) => {
                tracing::warn!(%error, "a cache entry is dropped");
                let _ = remove(&self.path(key, IMAGE));
                None
            }
        }
    }

    fn file_key(&self, engine: &Engine, metadata: &Metadata) -> Result<Key> {
        let identity = format!("{:?}", bimetal_sys::file_identity(metadata));
        self.digest(engine, FILE, &[identity.as_bytes()])
    }

    /// The module that is in this file, if it is known and has not changed since; the file is not
    /// read then.
    pub(crate) fn load_file(
        &self,
        engine: &Engine,
        path: &Path,
        metadata: &Metadata,
    ) -> Option<Module> {
        let link = self.file_key(engine, metadata).ok()?;
        self.load_entry(engine, self.follow(link, FILE)?, Some(path))
    }

    /// Remembers that a file whose metadata were these before it was read has this module.
    pub(crate) fn remember_file(&self, module: &Module, metadata: &Metadata) {
        let Some(slot) = module
            .inner()
            .slot
            .as_ref()
            .filter(|_| is_settled(metadata) && metadata.is_file())
        else {
            return;
        };
        let link = self.file_key(module.engine(), metadata);
        if let Err(error) = link.and_then(|link| self.write_link(link, FILE, slot.key)) {
            tracing::debug!(%error, "the cache cannot be written");
        }
    }

    fn write_link(&self, link: Key, extension: &str, to: Key) -> Result<()> {
        if self.follow(link, extension) == Some(to) {
            return Ok(());
        }
        let name = to.name("");
        self.write(link, extension, name.trim_end_matches('.').as_bytes())
    }

    /// Writes a file whole or not at all.
    fn write(&self, key: Key, extension: &str, bytes: &[u8]) -> Result<()> {
        self.write_with(key, extension, |file| Ok(file.write_all(bytes)?))
            .map(drop)
    }

    /// Writes a file whole or not at all; the file.
    fn write_with(
        &self,
        key: Key,
        extension: &str,
        write: impl FnOnce(&mut File) -> Result<()>,
    ) -> Result<File> {
        let new = unfinished(&self.0.directory)?;
        let written = || -> Result<File> {
            let mut file = bimetal_sys::create_private_file(&new)?;
            write(&mut file)?;
            fs::rename(&new, self.path(key, extension))?;
            Ok(file)
        };
        written().inspect_err(|_| drop(remove(&new)))
    }

    /// Deletes what was used least recently until the rest fits, and what killed processes have
    /// left.
    fn shrink(&self) {
        let modified = |metadata: &Metadata| metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let is = |path: &Path, extension| path.extension().is_some_and(|e| e == extension);
        let mut files: Vec<_> = self
            .files()
            .map(|(path, metadata)| (modified(&metadata), path, metadata.len()))
            .collect();
        // When an entry was used last, its mark may know better.
        for (time, path, _) in files.iter_mut().filter(|(_, path, _)| is(path, IMAGE)) {
            if let Ok(mark) = fs::metadata(path.with_extension(MARK)) {
                *time = modified(&mark).max(*time);
            }
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, _, len)| len).sum();
        for (time, path, len) in files {
            let unfinished = is(&path, NEW);
            let left = unfinished && older(time, NOTED_EVERY);
            if (total > self.0.size && !unfinished) || left {
                let _ = remove(&path);
                total -= len;
            }
        }
    }
}

/// Whether something was longer ago.
fn older(time: SystemTime, than: Duration) -> bool {
    time.elapsed().is_ok_and(|age| age > than)
}

/// Whether a change of a file from now on would show in its times.
fn is_settled(metadata: &Metadata) -> bool {
    metadata.modified().is_ok_and(|time| older(time, SETTLED))
        && older(bimetal_sys::file_changed(metadata), TICK)
}

/// The binary of a module that may be text.
fn binary(bytes: Vec<u8>) -> Result<Vec<u8>> {
    use bimetal_wasm::text;
    Ok(match std::str::from_utf8(&bytes) {
        Ok(source) if text::is_text(&bytes) => text::parse(source, None)?,
        _ => bytes,
    })
}

/// Deletes a file, which another process may have done already.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A name for a file that is being written, which no thread or process has, wherever it runs: those
/// in other containers may have our process number.
fn unfinished(directory: &Path) -> io::Result<PathBuf> {
    let number = u128::from_le_bytes(bimetal_sys::random_bytes()?);
    Ok(directory.join(format!("{number:032x}.{NEW}")))
}

/// The folder's key; a new folder gets one.
fn own_key(directory: &Path) -> Result<[u8; 32]> {
    let path = directory.join("key");
    let read = || -> io::Result<[u8; 32]> {
        let mut key = [0; 32];
        let (mut file, metadata) = bimetal_sys::open_file(&path)?;
        if !bimetal_sys::is_private(&metadata) {
            return Err(io::Error::other("others can write its key"));
        }
        file.read_exact(&mut key)?;
        Ok(key)
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // A key that is too short was left by a full disk.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => remove(&path)?,
        result => return Ok(result?),
    }
    let new = unfinished(directory)?;
    let key: [u8; 32] = bimetal_sys::random_bytes()?;
    let linked = bimetal_sys::create_private_file(&new)
        .and_then(|mut file| file.write_all(&key))
        // Unlike renaming, linking does not replace the key of a process that was faster.
        .and_then(|()| fs::hard_link(&new, &path));
    let _ = remove(&new);
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(read()?),
    }
}

impl CacheSlot {
    /// Where the module is to be found, if that is known.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Whether this is the place of the module with these bytes.
    pub(crate) fn is_of(&self, engine: &Engine, bytes: &[u8]) -> bool {
        let key = self.cache.digest(engine, IMAGE, &[bytes]);
        key.is_ok_and(|key| key == self.key)
    }

    /// Adds what was compiled to the entry.
    fn update(&self, module: &ModuleInner) -> Result<()> {
        let written = self.write(module);
        // Also if it was not: a full disk may be full of what is left of killed processes.
        self.cache.shrink();
        written
    }

    fn write(&self, module: &ModuleInner) -> Result<()> {
        // Its digests would be those of what is damaged.
        if let Err(error) = module.check_bodies() {
            let _ = remove(&self.cache.path(self.key, IMAGE));
            return Err(error);
        }
        // Another process may have added to it meanwhile.
        let present = self.cache.open(self.key);
        let mut date = None;
        let file = self.cache.write_with(self.key, IMAGE, |file| {
            write_image(file, module, present.as_ref(), &self.cache.0.key)?;
            date = Cache::date(file).ok();
            Ok(())
        })?;
        // Unless the file system has forgotten a part of it.
        if let Ok(metadata) = file.metadata()
            && metadata.modified().ok() == date
        {
            self.cache.mark(self.key, &metadata);
        }
        let outline = self.cache.outline(&module.engine, module.wasm())?;
        self.cache.write_link(outline, OUTLINE, self.key)
    }
}

/// Writes an entry: what is compiled of a module here, and what its `present` entry has.
fn write_image(
    file: &File,
    module: &ModuleInner,
    present: Option<&Entry>,
    key: &[u8; 32],
) -> Result<()> {
    let compiled = module.code.compiled();
    let mut header = module.engine.image_header()?;
    header.globals = module.wasm().globals.len() as u32;
    let mut writer = ImageWriter::new(file, module.wasm(), header)?;
    if let Some(image) = module.code.image() {
        writer.keep_memory(image.image())?;
    }
    for func in module.wasm().bodies.keys() {
        let known = present.and_then(|entry| Some((entry, entry.image.function(func)?)));
        let known = known.filter(|(_, known)| !known.is_missing());
        if let Some(&(code, sites)) = compiled.get(&func) {
            writer.function(code, IMAGE_ALIGNMENT, sites)?;
        } else if let Some((entry, known)) = known
            && let Some(code) = entry.image.text_bytes().get(known.code.clone())
            && (entry.checked || known.verify(code).is_ok())
            && let Some(sites) = known.sites()
        {
            writer.function(code, IMAGE_ALIGNMENT, &sites)?;
        } else {
            writer.missing()?;
        }
    }
    add_trampolines(&mut writer, module, present.map(|entry| &entry.image))?;
    writer.finish_with_key(key)?;
    Ok(())
}

/// Adds the trampolines that there are for the types of a module, here or in its `present` image.
fn add_trampolines(
    writer: &mut ImageWriter<'_, &File>,
    module: &ModuleInner,
    present: Option<&Image>,
) -> Result<()> {
    // By the engine's number of a type: a module may have several that are equal.
    let mut added: HashSet<(u32, TrampolineKind)> = HashSet::new();
    for ty in module.wasm().types.keys() {
        let id = module.type_ids[ty.index()];
        let registered = &module.types[ty.index()];
        if !registered.is_func() {
            continue;
        }
        registered.signature().try_each_trampoline(|t| {
            if added.insert((id, t.kind)) {
                writer.trampoline(t.kind, ty, t.bytes(), IMAGE_ALIGNMENT)?;
            }
            Ok(())
        })?;
    }
    let Some(image) = present else {
        return Ok(());
    };
    for t in image.trampolines() {
        let id = module.type_ids.get(t.ty.index());
        if id.is_some_and(|&id| added.insert((id, t.kind)))
            && let Some(code) = image.trampoline_bytes().get(t.code)
        {
            writer.trampoline(t.kind, t.ty, code, IMAGE_ALIGNMENT)?;
        }
    }
    Ok(())
}

impl ModuleInner {
    /// Writes what was compiled since the module was loaded or written to its cache, if it has one.
    fn update_cache(&self) -> Result<()> {
        let Some(slot) = self.slot.as_ref().filter(|_| crate::HAS_COMPILER) else {
            return Ok(());
        };
        let compiled = self.compiled();
        if self.cached.swap(compiled, Ordering::AcqRel) == compiled {
            if slot.unmarked
                && let Err(error) = slot.cache.check(slot.key)
            {
                tracing::debug!(%error, "an entry is not marked");
            }
            return Ok(());
        }
        slot.update(self).with_context(|| {
            let directory = slot.cache.directory();
            format!("the cache in `{}` cannot be written", directory.display())
        })
    }
}

impl Drop for ModuleInner {
    fn drop(&mut self) {
        // Nobody is there to hear of it, and it costs time only.
        if let Err(error) = self.update_cache() {
            tracing::debug!(error = %format_args!("{error:#}"), "not cached");
        }
    }
}

impl Module {
    /// Writes what was compiled of this module to the engine's cache, for the next process. It is
    /// done when the module is dropped, too; a program that runs for long may not want to wait.
    ///
    /// # Errors
    /// If the cache cannot be written. Nothing but time is lost then.
    pub fn update_cache(&self) -> Result<()> {
        self.inner().update_cache()
    }
}
