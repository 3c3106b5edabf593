//! Compiled modules that are not what was written: nothing of them runs that is wrong, and nothing
//! harms who opens them.
//!
//! A case changes an image: bits, bytes, pieces, sections, lengths. Either it is refused, at once or
//! when a damaged function is called, or every function does what it did before. An entry of a cache
//! must do more: there the program runs as without it, whatever became of the files.
//!
//! Some images are sealed again after the change, as only somebody with intent would do. Running
//! those is nobody's claim, but reading them must not fail at a bound. The module's binary in them is
//! left as it is: the seal says that it was validated.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use arbitrary::Unstructured;
use bimetal::{
    Cache, CacheConfig, Config, Engine, ErrorKind, Instance, Module, Result as EngineResult, Store,
    Trap,
};
use tempfile::TempDir;

use crate::{Notes, Target};

/// Modules whose exported functions take nothing, and give a number or trap.
const PROGRAMS: &[&str] = &[
    r#"(module $first
        (memory (export "m") 2) (data (i32.const 16) "some data") (data (i32.const 70000) "more")
        (table 4 funcref) (elem (i32.const 1) $one $two)
        (global $g (mut i64) (i64.const 7))
        (func $one (result i64) (i64.const 1))
        (func $two (result i64) (i64.add (call $one) (i64.load (i32.const 16))))
        (func (export "sum") (result i64) (local $i i32) (local $sum i64)
            (loop $l
                (local.set $sum (i64.add (local.get $sum) (i64.load8_u (local.get $i))))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $l (i32.lt_u (local.get $i) (i32.const 70010))))
            (local.get $sum))
        (func (export "indirect") (result i64)
            (i64.mul (call_indirect (result i64) (i32.const 1))
                (call_indirect (result i64) (i32.const 2))))
        (func (export "null") (result i64) (call_indirect (result i64) (i32.const 3)))
        (func (export "out") (result i64) (i64.load (i32.const 131070)))
        (func (export "count") (result i64)
            (global.set $g (i64.mul (global.get $g) (i64.const 3))) (global.get $g))
        (func (export "float") (result i64)
            (i64.trunc_f64_s (f64.sqrt (f64.convert_i64_s (i64.const 1234567))))))"#,
    r#"(module
        (memory 1) (data $passive "passive bytes")
        (func $fib (param i64) (result i64)
            (if (result i64) (i64.lt_s (local.get 0) (i64.const 2))
                (then (local.get 0))
                (else (i64.add (call $fib (i64.sub (local.get 0) (i64.const 1)))
                    (call $fib (i64.sub (local.get 0) (i64.const 2)))))))
        (func (export "fib") (result i64) (call $fib (i64.const 12)))
        (func (export "init") (result i64)
            (memory.init $passive (i32.const 0) (i32.const 0) (i32.const 13))
            (i64.load (i32.const 3)))
        (func (export "vector") (result i64)
            (i64x2.extract_lane 1 (i64x2.add (v128.const i64x2 1 2) (v128.load (i32.const 0)))))
        (func (export "trap") (result i64) unreachable))"#,
    r#"(module (func (export "f") (result i64) (i64.const 5)))"#,
    r#"(module (memory 1) (data (i32.const 0) "x"))"#,
];

/// What a function did.
#[derive(Clone, Debug, PartialEq)]
enum Did {
    Gave(i64),
    Trapped(Trap),
}

/// A module as it should be.
#[derive(Debug)]
struct Program {
    image: Vec<u8>,
    expected: Vec<(String, Did)>,
    /// Where the module is, with the cache beside it.
    file: PathBuf,
    cache: PathBuf,
    /// The files of its cache: with all functions, and with the first one.
    entries: [Vec<(String, Vec<u8>)>; 2],
}

/// See the module.
#[derive(Debug)]
pub struct Image {
    engine: Engine,
    programs: Vec<Program>,
    folder: TempDir,
}

/// What a case does with the changed bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Bytes,
    File,
    Sealed,
    Cache,
}

impl Image {
    /// With all programs compiled.
    ///
    /// # Errors
    /// If there is no room for files.
    pub fn new() -> Result<Image, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let engine = Engine::default();
        let folders = (0..PROGRAMS.len()).map(|i| folder.path().join(i.to_string()));
        let folders: Vec<PathBuf> = folders.collect();
        for (source, folder) in PROGRAMS.iter().zip(&folders) {
            write_old(source, folder)?;
        }
        // A cache waits until the time of a file's last change can tell the next one.
        std::thread::sleep(Duration::from_millis(150));
        let programs = folders.iter().map(|folder| Program::new(&engine, folder));
        let programs = programs.collect::<Result<_, _>>()?;
        Ok(Image {
            engine,
            programs,
            folder,
        })
    }
}

/// An engine with a cache in this folder.
fn with_cache(folder: &Path, lazy: bool) -> EngineResult<Engine> {
    let cache = Cache::new(&CacheConfig::new(folder))?;
    Engine::new(Config::new().cache(Some(cache)).lazy(lazy))
}

#[allow(
    unsafe_code,
    reason = "code that is wrong must not get as far as being run: that is what is tested"
)]
fn deserialize(engine: &Engine, bytes: &[u8], file: Option<&Path>) -> EngineResult<Module> {
    // SAFETY: what has changed since it was compiled here must be refused; what is sealed again is
    // not run.
    unsafe {
        match file {
            Some(path) => Module::deserialize_file(engine, path),
            None => Module::deserialize(engine, bytes),
        }
    }
}

/// What a function does; an error that is no trap is one.
fn call(store: &mut Store<()>, instance: Instance, name: &str) -> EngineResult<Did> {
    let func = instance.get_typed_func::<(), i64>(&mut *store, name)?;
    match func.call(&mut *store, ()) {
        Ok(value) => Ok(Did::Gave(value)),
        Err(error) => match error.downcast_ref::<Trap>() {
            Some(&trap) => Ok(Did::Trapped(trap)),
            None => Err(error),
        },
    }
}

fn io(error: std::io::Error) -> String {
    error.to_string()
}

fn text(error: bimetal::Error) -> String {
    format!("{error:#}")
}

/// Writes a module into a folder, as if it had been there for a while.
fn write_old(source: &str, folder: &Path) -> Result<(), String> {
    let file = folder.join("m.wasm");
    let binary = bimetal_wasm::text::parse(source, None).map_err(|e| e.to_string())?;
    fs::create_dir_all(folder).map_err(io)?;
    fs::write(&file, &binary).map_err(io)?;
    let written = fs::File::options().append(true).open(&file).map_err(io)?;
    let before = SystemTime::now() - Duration::from_secs(60);
    written.set_modified(before).map_err(io)
}

impl Program {
    fn new(engine: &Engine, folder: &Path) -> Result<Program, String> {
        let (cache, file) = (folder.join("cache"), folder.join("m.wasm"));
        let binary = fs::read(&file).map_err(io)?;
        let module = Module::new(engine, &binary).map_err(text)?;
        let mut program = Program {
            image: engine.precompile_module(&binary).map_err(text)?,
            expected: Vec::new(),
            file,
            cache,
            entries: Default::default(),
        };
        let mut store = Store::new(engine, ());
        let instance = Instance::new(&mut store, &module, &[]).map_err(text)?;
        for export in module.exports() {
            if export.ty().func().is_some() {
                let did = call(&mut store, instance, export.name()).map_err(text)?;
                program.expected.push((export.name().to_owned(), did));
            }
        }
        program.entries[0] = program.fill(false)?;
        fs::remove_dir_all(&program.cache).map_err(io)?;
        program.entries[1] = program.fill(true)?;
        Ok(program)
    }

    /// The files of a cache in which the program has run, all of it or as far as it was called.
    fn fill(&self, lazy: bool) -> Result<Vec<(String, Vec<u8>)>, String> {
        let engine = with_cache(&self.cache, lazy).map_err(text)?;
        let module = Module::from_file(&engine, &self.file).map_err(text)?;
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).map_err(text)?;
        if let Some((name, _)) = self.expected.first() {
            call(&mut store, instance, name).map_err(text)?;
        }
        module.update_cache().map_err(text)?;
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.cache).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            files.push((name.into_owned(), fs::read(&path).map_err(io)?));
        }
        files.sort();
        Ok(files)
    }

    /// Puts these files into the cache, and nothing else.
    fn restore(&self, entries: &[(String, Vec<u8>)]) -> Result<(), String> {
        for entry in fs::read_dir(&self.cache).map_err(io)? {
            let path = entry.map_err(io)?.path();
            fs::remove_file(path).map_err(io)?;
        }
        for (name, bytes) in entries {
            fs::write(self.cache.join(name), bytes).map_err(io)?;
        }
        Ok(())
    }

    /// Calls everything. A function that is refused is no finding if `refused` allows it.
    fn check(&self, module: &Module, refused: bool, notes: &mut Notes) -> Result<(), String> {
        let mut store = Store::new(module.engine(), ());
        let instance = Instance::new(&mut store, module, &[])
            .map_err(|error| format!("no instance: {error:#}"))?;
        let mut whole = true;
        for (name, expected) in &self.expected {
            match call(&mut store, instance, name) {
                Ok(did) if did == *expected || !whole => {}
                Ok(did) => return Err(format!("`{name}`: {did:?}, it was {expected:?}")),
                // Those after it may depend on what it would have done.
                Err(error) if refused && error.kind() == ErrorKind::Image => whole = false,
                Err(error) => return Err(format!("`{name}`: {error:#}")),
            }
        }
        notes.count(match whole {
            true => "ran as before",
            false => "refused at a call",
        });
        Ok(())
    }
}

impl Target for Image {
    fn run(&mut self, input: &[u8], notes: &mut Notes) -> Result<(), String> {
        let mut u = Unstructured::new(input);
        let modes = [Mode::Bytes, Mode::File, Mode::Sealed, Mode::Cache];
        let mode = match u.int_in_range(0..=31).unwrap_or(0) {
            0..=3 => modes[1],
            4..=7 => modes[2],
            8..=9 => modes[3],
            _ => modes[0],
        };
        let which = u.choose_index(self.programs.len()).unwrap_or(0);
        notes.count(match mode {
            Mode::Bytes => "images",
            Mode::File => "images in files",
            Mode::Sealed => "images sealed again",
            Mode::Cache => "caches",
        });
        match mode {
            Mode::Cache => self.cache(which, &mut u, notes),
            _ => self.image(which, mode, &mut u, notes),
        }
    }

    fn run_file(&mut self, file: &[u8], _: &mut Notes) -> Result<(), String> {
        match deserialize(&self.engine, file, None) {
            Ok(_) => Ok(()),
            Err(error) => refusal(&error),
        }
    }
}

/// Whether an error is one that a wrong image may give.
fn refusal(error: &bimetal::Error) -> Result<(), String> {
    match error.kind() {
        ErrorKind::Image => Ok(()),
        kind => Err(format!("refused for another reason, {kind:?}: {error:#}")),
    }
}

impl Image {
    fn image(
        &self,
        which: usize,
        mode: Mode,
        u: &mut Unstructured<'_>,
        notes: &mut Notes,
    ) -> Result<(), String> {
        let program = &self.programs[which];
        let other = u.choose_index(self.programs.len()).unwrap_or(0);
        let mut bytes = program.image.clone();
        change(&mut bytes, &self.programs[other].image, u);
        notes.files.push(("bmt", bytes.clone()));
        if mode == Mode::Sealed {
            return sealed(&program.image, bytes, notes);
        }
        let path = self.folder.path().join("changed.bmt");
        let file = match mode {
            Mode::File => {
                // A file that is mapped must not be written: the last one may be.
                let _ = fs::remove_file(&path);
                fs::write(&path, &bytes).map_err(io)?;
                Some(&*path)
            }
            _ => None,
        };
        // What a change to the binary's header in another image gives is another program.
        let expected = self.programs.iter().find(|p| p.image == bytes);
        match deserialize(&self.engine, &bytes, file) {
            Ok(module) => expected.unwrap_or(program).check(&module, true, notes),
            Err(error) => {
                notes.count("refused");
                refusal(&error)
            }
        }
    }

    fn cache(
        &self,
        which: usize,
        u: &mut Unstructured<'_>,
        notes: &mut Notes,
    ) -> Result<(), String> {
        let program = &self.programs[which];
        let mut entries = program.entries[usize::from(u.arbitrary().unwrap_or(false))].clone();
        let (lazy, in_memory) = (u.arbitrary().unwrap_or(true), u.arbitrary().unwrap_or(true));
        let kinds = [".bmt", ".bmt", ".bmt", ".outline", ".file", "key"];
        let kind = kinds[u.choose_index(kinds.len()).unwrap_or(0)];
        let other = &self.programs[u.choose_index(self.programs.len()).unwrap_or(0)].image;
        for (name, bytes) in &mut entries {
            if name.ends_with(kind) {
                change(bytes, other, u);
                notes.files.push(("bmt", bytes.clone()));
            }
        }
        program.restore(&entries)?;
        let load = || -> EngineResult<Module> {
            let engine = with_cache(&program.cache, lazy)?;
            match in_memory {
                true => Module::new(&engine, fs::read(&program.file)?),
                false => Module::from_file(&engine, &program.file),
            }
        };
        let module = load().map_err(|error| format!("with a damaged cache: {error:#}"))?;
        if module.is_precompiled() {
            notes.count("cache entries that were used");
        }
        program.check(&module, false, notes)
    }
}

/// Reads all of an image that is sealed and wrong, but runs nothing.
fn sealed(original: &[u8], mut bytes: Vec<u8>, notes: &mut Notes) -> Result<(), String> {
    use bimetal_artifact::Image as Reader;

    // It cannot, either, if the seal is a part of what it seals.
    let opened = Reader::reseal(&mut bytes).and_then(|()| Reader::open(bytes.clone()));
    let Ok(image) = opened else {
        notes.count("cannot be sealed");
        return Ok(());
    };
    let whole = Reader::open(original.to_vec()).map_err(|error| error.to_string())?;
    let mut sites = 0;
    for index in 0..image.len().min(1000) as u32 {
        let index = bimetal_wasm::DefinedFuncIndex::from_u32(index);
        let Some(function) = image.function(index) else {
            continue;
        };
        if let Some(table) = function.sites() {
            let offsets = 0..function.code.len().min(1000) as u32;
            sites += offsets.filter(|&at| table.trap_at(at).is_some()).count() as u64;
        }
        let code = &image.text_bytes()[function.code.clone()];
        let _ = function.verify(code);
    }
    notes.add("sites in them", sites);
    for at in [0, 1, image.text().len() / 2, image.text().len(), usize::MAX] {
        let _ = image.find(at);
    }
    let _ = image.check_memory(image.memory_bytes());
    if *image.wasm() != *whole.wasm() {
        notes.count("with another binary");
        return Ok(());
    }
    // Trampolines belong to the engine, which is not to be used again.
    let engine = Engine::default();
    match deserialize(&engine, &bytes, None) {
        Ok(module) => {
            notes.count("loaded");
            let functions = module.functions().map(|function| function.body().len());
            let _: usize = functions.sum();
            let mut store = Store::new(&engine, ());
            let _ = Instance::new(&mut store, &module, &[]);
        }
        Err(error) => {
            notes.count("refused");
            // It was opened; the rest is judged by what reads it.
            if error.to_string().is_empty() {
                return Err("an error without a message".into());
            }
        }
    }
    Ok(())
}

/// Changes bytes in one to four ways. `other` is something of the same kind.
fn change(bytes: &mut Vec<u8>, other: &[u8], u: &mut Unstructured<'_>) {
    for _ in 0..u.int_in_range(1..=4).unwrap_or(1) {
        let what: u8 = u.arbitrary().unwrap_or(0);
        let [place, value, third]: [u32; 3] = u.arbitrary().unwrap_or_default();
        let len = bytes.len();
        if len == 0 {
            return;
        }
        let at = place as usize % len;
        let end = len.min(at + value as usize % 300);
        match what % 16 {
            0..=4 => bytes[at] ^= 1 << (value % 8),
            5 => bytes[at] = value as u8,
            6 => bytes.truncate(at),
            7 => drop(bytes.drain(at..end)),
            8 => bytes.insert(at, value as u8),
            9 => bytes[at..end].fill(third as u8),
            10 => {
                let piece = bytes[at..end].to_vec();
                let to = third as usize % (len + 1 - piece.len());
                bytes[to..to + piece.len()].copy_from_slice(&piece);
            }
            11 if !other.is_empty() => {
                let from = third as usize % other.len();
                let piece = &other[from..other.len().min(from + value as usize % 5000)];
                let end = len.min(at + piece.len());
                bytes[at..end].copy_from_slice(&piece[..end - at]);
            }
            12 | 13 => change_sections(bytes, what, place, value, third),
            14 => change_header(bytes, place, value),
            _ => bytes.extend_from_slice(&other[..other.len().min(value as usize % 1000)]),
        }
    }
}

/// Where the entry of an ELF file's section is, and how many sections there are.
fn section_entry(bytes: &[u8], index: u32) -> Option<(usize, u32)> {
    let table = u64::from_le_bytes(bytes.get(40..48)?.try_into().ok()?);
    let count = u32::from(u16::from_le_bytes(bytes.get(60..62)?.try_into().ok()?));
    let at = usize::try_from(table).ok()?;
    let at = at.checked_add(64 * (index.checked_rem(count)?) as usize)?;
    bytes.get(at..at.checked_add(64)?)?;
    Some((at, count))
}

/// Exchanges two sections' names, places or all, or changes a number in one's entry.
fn change_sections(bytes: &mut [u8], what: u8, place: u32, value: u32, third: u32) {
    let (Some((a, _)), Some((b, _))) = (section_entry(bytes, place), section_entry(bytes, value))
    else {
        return;
    };
    // name, type, flags, address, offset, size, link, info, align, entry size
    let parts = [0..4, 0..64, 24..40, 24..32, 32..40];
    let part = parts[(what as usize >> 5) % parts.len()].clone();
    match what & 16 {
        0 => {
            let (from, to) = (a + part.start..a + part.end, b + part.start..b + part.end);
            let (one, two) = (bytes[from.clone()].to_vec(), bytes[to.clone()].to_vec());
            bytes[from].copy_from_slice(&two);
            bytes[to].copy_from_slice(&one);
        }
        _ => {
            let byte = a + part.start + (third as usize % part.len());
            bytes[byte] = bytes[byte]
                .wrapping_add((third >> 16) as u8 % 5)
                .wrapping_sub(2);
        }
    }
}

/// Changes a character of the header, which is JSON; mostly a digit, so that it stays so.
fn change_header(bytes: &mut [u8], place: u32, value: u32) {
    let find = |what: &[u8]| bytes.windows(what.len()).position(|part| part == what);
    let Some(start) = find(b"\"format\"") else {
        return;
    };
    let len = bytes[start..].iter().take_while(|&&byte| byte != 0).count();
    let digits: Vec<usize> = (start..start + len)
        .filter(|&at| bytes[at].is_ascii_digit())
        .collect();
    match digits.get(place as usize % digits.len().max(1)) {
        Some(&at) if !value.is_multiple_of(8) => bytes[at] = b'0' + (value >> 3) as u8 % 10,
        _ => bytes[start + place as usize % len] = (value >> 3) as u8,
    }
}
