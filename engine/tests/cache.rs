//! The cache: what one engine compiles the next finds; and whatever becomes of the files, modules
//! run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bimetal::middleware::{
    Emitter, FunctionContext, FunctionMiddleware, Middleware, ModuleContext, ModuleMiddleware,
    Operator, Refusal,
};
use bimetal::{Cache, CacheConfig, Config, Engine, ErrorKind, Linker, Module, Result, Store};

const ADD: &str = r#"(func (export "add") (param i32 i32) (result i32)
    (i32.add (local.get 0) (local.get 1)))"#;
const MUL: &str = r#"(func (export "mul") (param i32 i32) (result i32)
    (i32.mul (local.get 0) (local.get 1)))"#;

fn wat() -> String {
    format!("(module {ADD} {MUL})")
}

/// A folder that goes away.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("bimetal-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn cache(&self) -> Cache {
        Cache::new(&CacheConfig::new(self.0.join("cache"))).unwrap()
    }

    /// The files of the cache with this ending.
    fn files(&self, extension: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.0.join("cache")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| path.extension().is_some_and(|e| e == extension))
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn engine(cache: &Cache, lazy: bool) -> Engine {
    Engine::new(Config::new().cache(Some(cache.clone())).lazy(lazy)).unwrap()
}

fn call(module: &Module, name: &str, a: i32, b: i32) -> Result<i32> {
    let mut store = Store::new(module.engine(), ());
    let instance = Linker::new(module.engine()).instantiate(&mut store, module)?;
    let func = instance.get_typed_func::<(i32, i32), i32>(&mut store, name)?;
    func.call(&mut store, (a, b))
}

#[test]
fn what_was_needed_is_there_the_next_time() -> Result<()> {
    let folder = Folder::new("cache-learns");
    let cache = folder.cache();
    let run = |name: &str, a, b| -> Result<(i32, usize)> {
        let module = Module::new(&engine(&cache, true), wat())?;
        let result = call(&module, name, a, b)?;
        Ok((result, module.compiled().0))
    };
    assert_eq!(run("add", 2, 3)?, (5, 1), "compiled");
    assert_eq!(run("add", 2, 3)?, (5, 0), "found");
    assert_eq!(run("mul", 2, 3)?, (6, 1), "compiled");
    assert_eq!(run("add", 2, 3)?, (5, 0), "still there");
    assert_eq!(run("mul", 2, 3)?, (6, 0), "added");
    let stats = cache.stats();
    assert_eq!((stats.entries, stats.hits, stats.misses), (1, 4, 1));
    assert!(stats.bytes > 0);

    assert_eq!(cache.clean()?, stats.bytes);
    assert_eq!(cache.stats().entries, 0);
    assert_eq!(run("add", 2, 3)?, (5, 1), "compiled again");
    Ok(())
}

#[test]
fn an_eager_engine_compiles_what_is_missing() -> Result<()> {
    let folder = Folder::new("cache-eager");
    let cache = folder.cache();
    let module = Module::new(&engine(&cache, true), wat())?;
    call(&module, "mul", 1, 1)?;
    drop(module);
    let module = Module::new(&engine(&cache, false), wat())?;
    assert_eq!(module.compiled().0, 1);
    assert_eq!(call(&module, "add", 2, 3)?, 5);
    assert_eq!(call(&module, "mul", 2, 3)?, 6);
    drop(module);
    let module = Module::new(&engine(&cache, false), wat())?;
    assert_eq!(module.compiled().0, 0);
    assert_eq!(call(&module, "mul", 2, 3)?, 6);
    Ok(())
}

#[test]
fn other_settings_are_other_entries() -> Result<()> {
    let folder = Folder::new("cache-settings");
    let cache = folder.cache();
    let mut configs = vec![Config::new(); 5];
    configs[1].consume_fuel(true);
    configs[2].epoch_interruption(true);
    configs[3].nan_canonicalization(true);
    configs[4].cpu("baseline")?;
    for (i, config) in configs.iter_mut().enumerate() {
        let engine = Engine::new(config.cache(Some(cache.clone())))?;
        drop(Module::new(&engine, wat())?);
        assert_eq!(cache.stats().entries, i + 1);
    }
    assert_eq!(cache.stats().hits, 0);
    Ok(())
}

#[test]
fn a_module_built_again_keeps_what_has_not_changed() -> Result<()> {
    let folder = Folder::new("cache-relative");
    let cache = folder.cache();
    let trap = r#"(func $trap (export "trap") (param i32 i32) (result i32)
        (i32.div_s (local.get 0) (local.get 1)))"#;
    // Longer than before, so that what follows moves.
    let changed = ADD.replace("(local.get 1)", "(i32.add (local.get 1) (i32.const 1000))");
    let first = format!("(module {ADD} {MUL} {trap})");
    let second = format!("(module {changed} {MUL} {trap})");
    drop(Module::new(&engine(&cache, false), first)?);

    let module = Module::new(&engine(&cache, false), &second)?;
    assert_eq!(cache.stats().hits, 0);
    assert_eq!(module.taken_over(), 2, "two of three are the same");
    assert_eq!(call(&module, "add", 2, 3)?, 1005);
    assert_eq!(call(&module, "mul", 2, 3)?, 6);
    let uncached = Module::new(&Engine::default(), &second)?;
    let frame = |module: &Module| {
        let error = call(module, "trap", 1, 0).unwrap_err();
        let backtrace = error.backtrace().unwrap().clone();
        backtrace.frames()[0].module_offset().unwrap()
    };
    assert_eq!(
        frame(&module),
        frame(&uncached),
        "where it is now, not where it was"
    );

    // Another outline: nothing is taken over.
    let third = second.replace("(module", "(module (import \"a\" \"b\" (func))");
    let engine = engine(&cache, false);
    assert_eq!(Module::new(&engine, third)?.taken_over(), 0);
    Ok(())
}

/// What is inlined into a function is a part of it.
#[test]
fn a_function_changes_with_what_was_inlined_into_it() -> Result<()> {
    let folder = Folder::new("cache-inlined");
    let cache = folder.cache();
    let module = |first: &str, divide: &str| {
        format!(
            r#"(module {first}
            (func $divide (param i32 i32) (result i32) ({divide} (local.get 0) (local.get 1)))
            (func (export "run") (param i32 i32) (result i32)
                (i32.add (i32.const 1) (call $divide (local.get 0) (local.get 1)))))"#
        )
    };
    let longer = ADD.replace("(local.get 1)", "(i32.add (local.get 1) (i32.const 1000))");
    drop(Module::new(
        &engine(&cache, false),
        module(ADD, "i32.div_s"),
    )?);

    let moved = module(&longer, "i32.div_s");
    let taken = Module::new(&engine(&cache, false), &moved)?;
    assert_eq!(taken.taken_over(), 2);
    let uncached = Module::new(&Engine::default(), &moved)?;
    let frames = |module: &Module| {
        let error = call(module, "run", 1, 0).unwrap_err();
        let frames = error.backtrace().unwrap().frames().iter();
        let frames: Vec<_> = frames
            .map(|f| (f.func_index(), f.module_offset()))
            .collect();
        assert_eq!(frames.len(), 2);
        frames
    };
    assert_eq!(frames(&taken), frames(&uncached));

    let changed = module(ADD, "i32.div_u");
    let taken = Module::new(&engine(&cache, false), changed)?;
    assert_eq!(
        taken.taken_over(),
        1,
        "neither it nor its caller is the same"
    );
    assert_eq!(call(&taken, "run", -1, -1)?, 2);
    assert_eq!(call(&taken, "run", -4, 2)?, 0x7fff_ffff);
    Ok(())
}

#[test]
fn damaged_entries_are_dropped() -> Result<()> {
    let folder = Folder::new("cache-damage");
    let cache = folder.cache();
    let fill = || drop(Module::new(&engine(&cache, false), wat()).unwrap());
    fill();
    let [path] = &folder.files("bmt")[..] else {
        panic!("one entry");
    };
    let whole = fs::read(path)?;
    let runs = |bytes: &[u8]| -> Result<()> {
        fs::write(path, bytes)?;
        for lazy in [true, false] {
            let module = Module::new(&engine(&cache, lazy), wat())?;
            assert_eq!(call(&module, "add", 2, 3)?, 5);
            assert_eq!(call(&module, "mul", 2, 3)?, 6);
        }
        Ok(())
    };
    for len in [0, 1, 64, whole.len() / 2, whole.len() - 1] {
        runs(&whole[..len])?;
    }
    for at in (0..whole.len()).step_by(41) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x20;
        runs(&damaged)?;
    }
    runs(b"\x7fELF garbage")?;
    // Somebody else's, whole.
    let other = Folder::new("cache-damage-other");
    drop(Module::new(&engine(&other.cache(), false), wat())?);
    runs(&fs::read(&other.files("bmt")[0])?)?;
    // Afterwards all is well again.
    fill();
    let hits = cache.stats().hits;
    fill();
    assert_eq!(cache.stats().hits, hits + 1);
    Ok(())
}

/// An entry that lacks a function has it compiled from the entry's own copy of the module, which
/// nobody has looked at when the entry was opened.
#[test]
fn functions_are_not_compiled_from_damaged_bytes() -> Result<()> {
    let folder = Folder::new("cache-bodies");
    let cache = folder.cache();
    let file = folder.0.join("m.wasm");
    fs::write(&file, bimetal_wasm::text::parse(&wat(), None)?)?;
    settle(&file)?;
    let load = || Module::from_file(&engine(&cache, true), &file);
    assert_eq!(call(&load()?, "add", 2, 3)?, 5);
    let [path] = &folder.files("bmt")[..] else {
        panic!("one entry");
    };
    let whole = fs::read(path)?;
    let mul = &[0x20, 0, 0x20, 1, 0x6c, 0x0b];
    let at = whole.windows(mul.len()).position(|bytes| bytes == mul);
    let at = at.expect("the body of `mul`");
    for change in 0..mul.len() {
        let mut damaged = whole.clone();
        damaged[at + change] ^= 1;
        let bytes = fs::read(&file)?;
        for (lazy, in_memory) in [(true, true), (true, false), (false, false)] {
            fs::write(path, &damaged)?;
            let engine = engine(&cache, lazy);
            let module = match in_memory {
                true => Module::new(&engine, &bytes)?,
                false => Module::from_file(&engine, &file)?,
            };
            assert_eq!(call(&module, "mul", 2, 3)?, 6);
            assert_eq!(call(&module, "add", 2, 3)?, 5);
        }
    }
    // Without the module there is nothing to compile from.
    fs::write(path, {
        let mut damaged = whole.clone();
        damaged[at + 4] ^= 1;
        damaged
    })?;
    let module = load()?;
    fs::write(&file, "another")?;
    let error = call(&module, "mul", 2, 3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Image);
    assert!(
        format!("{error:#}").contains("damaged at function 1"),
        "{error:#}"
    );
    Ok(())
}

/// Nor is what is inlined.
#[test]
fn damaged_bytes_are_not_inlined() -> Result<()> {
    let folder = Folder::new("cache-inlined-bodies");
    let cache = folder.cache();
    let file = folder.0.join("m.wasm");
    let text = format!(
        r#"(module {ADD}
        (func $multiply (param i32 i32) (result i32) (i32.mul (local.get 0) (local.get 1)))
        (func (export "run") (param i32 i32) (result i32)
            (i32.add (i32.const 1) (call $multiply (local.get 0) (local.get 1)))))"#
    );
    fs::write(&file, bimetal_wasm::text::parse(&text, None)?)?;
    settle(&file)?;
    assert_eq!(
        call(
            &Module::from_file(&engine(&cache, true), &file)?,
            "add",
            2,
            3
        )?,
        5
    );
    let [path] = &folder.files("bmt")[..] else {
        panic!("one entry");
    };
    let whole = fs::read(path)?;
    let body = &[0x20, 0, 0x20, 1, 0x6c, 0x0b];
    let at = whole.windows(body.len()).position(|bytes| bytes == body);
    let at = at.expect("the body of `multiply`");
    for bit in 0..body.len() * 8 {
        let mut damaged = whole.clone();
        damaged[at + bit / 8] ^= 1 << (bit % 8);
        for lazy in [true, false] {
            fs::write(path, &damaged)?;
            let module = Module::from_file(&engine(&cache, lazy), &file)?;
            assert_eq!(call(&module, "run", 2, 3)?, 7);
        }
    }
    Ok(())
}

#[test]
fn a_folder_full_of_garbage_does_no_harm() -> Result<()> {
    let folder = Folder::new("cache-garbage");
    let cache = folder.cache();
    drop(Module::new(&engine(&cache, false), wat())?);
    for extension in ["bmt", "outline", "file", "new"] {
        for path in folder.files(extension) {
            fs::write(path, [0xaa; 100])?;
        }
        for i in 0..20 {
            fs::write(folder.0.join(format!("cache/{i}.{extension}")), [i; 1000])?;
        }
    }
    fs::create_dir(folder.0.join("cache/folder.bmt"))?;
    let module = Module::new(&engine(&cache, true), wat())?;
    assert_eq!(call(&module, "mul", 2, 3)?, 6);
    drop(module);
    // What is no file at all: reading a pipe would wait for a writer.
    for extension in ["bmt", "outline"] {
        for (i, path) in folder.files(extension).into_iter().enumerate() {
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
            match i % 3 {
                0 => assert!(Command::new("mkfifo").arg(&path).status()?.success()),
                1 => fs::create_dir(&path)?,
                _ => std::os::unix::fs::symlink("/dev/zero", &path)?,
            }
        }
    }
    let module = Module::new(&engine(&cache, true), wat())?;
    assert_eq!(call(&module, "mul", 2, 3)?, 6);
    drop(module);
    // A key that is too short was left by a full disk; there is a new one.
    fs::write(folder.0.join("cache/key"), b"short")?;
    let module = Module::new(&engine(&folder.cache(), true), wat())?;
    assert_eq!(call(&module, "mul", 2, 3)?, 6);
    Ok(())
}

#[test]
fn a_cache_that_cannot_be_written_is_none() -> Result<()> {
    let folder = Folder::new("cache-gone");
    let cache = folder.cache();
    fs::remove_dir_all(folder.0.join("cache"))?;
    let module = Module::new(&engine(&cache, false), wat())?;
    assert_eq!(call(&module, "add", 2, 3)?, 5);
    let error = module.update_cache().unwrap_err();
    assert!(error.to_string().contains("cannot be written"), "{error}");
    let file = folder.0.join("file");
    fs::write(&file, "")?;
    let error = Cache::new(&CacheConfig::new(&file)).unwrap_err();
    assert!(
        error.to_string().contains("cannot be used as a cache"),
        "{error}"
    );
    Ok(())
}

#[cfg(unix)]
#[test]
fn what_others_can_write_is_not_used() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("cache-foreign");
    let cache = folder.cache();
    drop(Module::new(&engine(&cache, false), wat())?);
    fs::set_permissions(&folder.files("bmt")[0], fs::Permissions::from_mode(0o666))?;
    drop(Module::new(&engine(&cache, false), wat())?);
    assert_eq!(cache.stats().hits, 0);
    let directory = folder.0.join("cache");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777))?;
    let error = Cache::new(&CacheConfig::new(&directory)).unwrap_err();
    assert!(
        format!("{error:#}").contains("others can write"),
        "{error:#}"
    );
    Ok(())
}

#[cfg(unix)]
#[test]
fn somebody_elses_folder_is_not_used() -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let folder = Folder::new("cache-owner");
    let directory = folder.0.join("cache");
    drop(Module::new(&engine(&folder.cache(), false), wat())?);
    // Only root can give a folder away; but then everybody else can find one of root's.
    let directory = match fs::metadata(&directory)?.uid() {
        0 => {
            std::os::unix::fs::chown(&directory, Some(12345), None)?;
            directory
        }
        _ => PathBuf::from("/usr"),
    };
    let link = folder.0.join("link");
    std::os::unix::fs::symlink(&directory, &link)?;
    for directory in [&directory, &link] {
        let error = Cache::new(&CacheConfig::new(directory)).unwrap_err();
        assert!(format!("{error:#}").contains("it is not ours"), "{error:#}");
    }
    Ok(())
}

#[test]
fn many_at_once_are_no_trouble() -> Result<()> {
    let folder = Folder::new("cache-many");
    let directory = folder.0.join("cache");
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..32)
            .map(|i| {
                let directory = &directory;
                scope.spawn(move || -> Result<()> {
                    // As if each were a process of its own.
                    let cache = Cache::new(&CacheConfig::new(directory))?;
                    let module = Module::new(&engine(&cache, i % 2 == 0), wat())?;
                    let name = ["add", "mul"][i / 2 % 2];
                    let expected = [5, 6][i / 2 % 2];
                    assert_eq!(call(&module, name, 2, 3)?, expected);
                    Ok(())
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap())
    })?;
    assert_eq!(folder.files("bmt").len(), 1);
    assert_eq!(folder.files("new").len(), 0, "nothing half done is left");
    Ok(())
}

#[test]
fn the_least_recently_used_go() -> Result<()> {
    let folder = Folder::new("cache-lru");
    let cache = folder.cache();
    let module = |i: i32| format!("(module (func (export \"f\") (result i32) (i32.const {i})))");
    drop(Module::new(&engine(&cache, false), module(0))?);
    let size = cache.stats().bytes;
    let small = Cache::new(CacheConfig::new(folder.0.join("cache")).size_limit(size * 4))?;
    for i in 1..20 {
        drop(Module::new(&engine(&small, false), module(i))?);
        // So that there is an order, however coarse the clock.
        for path in folder.files("bmt").iter().chain(&folder.files("outline")) {
            let file = fs::File::options().append(true).open(path)?;
            let time = file.metadata()?.modified()?;
            file.set_modified(time - Duration::from_secs(1))?;
        }
        assert!(small.stats().bytes <= size * 4);
    }
    drop(Module::new(&engine(&small, false), module(19))?);
    assert_eq!(small.stats().hits, 1, "the newest is there");
    drop(Module::new(&engine(&small, false), module(1))?);
    assert_eq!(small.stats().hits, 1, "an old one is not");
    Ok(())
}

/// Sets a file's time back, as if it had been written a while ago.
fn settle(path: &Path) -> Result<()> {
    let file = fs::File::options().append(true).open(path)?;
    file.set_modified(SystemTime::now() - Duration::from_secs(60))?;
    // The time of the change itself cannot be set.
    std::thread::sleep(Duration::from_millis(150));
    Ok(())
}

#[test]
fn a_file_that_has_not_changed_is_not_read() -> Result<()> {
    let folder = Folder::new("cache-file");
    let cache = folder.cache();
    let path = folder.0.join("m.wat");
    fs::write(&path, wat())?;
    settle(&path)?;
    let engine = engine(&cache, true);
    let load = |expect_read: bool| -> Result<Module> {
        let mut read = false;
        let module = Module::from_file_with(&engine, &path, || {
            read = true;
            Ok(fs::read(&path)?)
        })?;
        assert_eq!(read, expect_read);
        Ok(module)
    };
    assert_eq!(call(&load(true)?, "add", 2, 3)?, 5);
    assert_eq!(call(&load(false)?, "add", 2, 3)?, 5);
    assert_eq!(load(false)?.compiled().0, 0);
    // Changed a moment ago, it is read each time.
    fs::write(&path, wat().replace("i32.add", "i32.sub"))?;
    assert_eq!(call(&load(true)?, "add", 2, 3)?, -1);
    assert_eq!(call(&load(true)?, "add", 2, 3)?, -1);
    settle(&path)?;
    assert_eq!(call(&load(true)?, "add", 2, 3)?, -1);
    assert_eq!(call(&load(false)?, "add", 2, 3)?, -1);
    fs::remove_file(&path)?;
    assert!(Module::from_file(&engine, &path).is_err());
    Ok(())
}

/// An entry with its mark is not read again, and no change of the file gets by.
#[test]
fn marks_are_for_files_that_have_not_changed() -> Result<()> {
    let folder = Folder::new("cache-marks");
    let cache = folder.cache();
    let run = || -> Result<usize> {
        let module = Module::new(&engine(&cache, true), wat())?;
        assert_eq!(call(&module, "add", 2, 3)?, 5);
        Ok(module.compiled().0)
    };
    assert_eq!(run()?, 1);
    let ([entry], [mark]) = (&folder.files("bmt")[..], &folder.files("mark")[..]) else {
        panic!("an entry and its mark");
    };
    assert_eq!(run()?, 0);

    // Changed at once, before a coarse clock could have gone on. Code is the first thing
    // behind the header, and what is not looked at when an image is opened is found when it is to run.
    let mut damaged = fs::read(entry)?;
    let code = damaged.iter().skip(64).position(|&byte| byte != 0).unwrap() + 64;
    damaged[code] ^= 1;
    fs::write(entry, &damaged)?;
    assert_eq!(run()?, 1, "compiled again");
    assert_eq!(run()?, 0);

    // Marks that are none: garbage, of something else, nothing.
    for content in [&b"garbage"[..], &[b'0'; 64], b""] {
        fs::write(mark, content)?;
        assert_eq!(run()?, 0);
    }
    fs::remove_file(mark)?;
    assert_eq!(run()?, 0);
    assert!(!mark.exists(), "an entry so young could change unseen");
    settle(entry)?;
    assert_eq!(run()?, 0);
    assert!(mark.exists(), "it was checked whole when the module went");
    assert_eq!(run()?, 0);
    Ok(())
}

/// Gives the offset of each `i32.const` instead of its value.
#[derive(Debug)]
struct Offsets(u8);

impl Middleware for Offsets {
    fn name(&self) -> &str {
        "offsets"
    }

    fn fingerprint(&self) -> Vec<u8> {
        vec![self.0]
    }

    fn module(&self, _: &mut ModuleContext<'_>) -> Result<Arc<dyn ModuleMiddleware>, Refusal> {
        Ok(Arc::new(Offsets(self.0)))
    }
}

impl ModuleMiddleware for Offsets {
    fn function(
        &self,
        _: &mut FunctionContext<'_>,
    ) -> Result<Box<dyn FunctionMiddleware>, Refusal> {
        Ok(Box::new(Offsets(self.0)))
    }
}

impl FunctionMiddleware for Offsets {
    fn operator<'a>(
        &mut self,
        operator: Operator<'a>,
        emitter: &mut Emitter<'a>,
    ) -> Result<(), Refusal> {
        let value = emitter.offset() as i32;
        emitter.push(match operator {
            Operator::I32Const { .. } => Operator::I32Const { value },
            other => other,
        });
        Ok(())
    }
}

/// Code is cached as its middleware made it, and what a middleware makes of a function may depend on
/// more than the function.
#[test]
fn middleware_is_part_of_what_is_cached() -> Result<()> {
    let folder = Folder::new("cache-middleware");
    let cache = folder.cache();
    let engine = |version: u8| {
        let mut config = Config::new();
        let middleware = Arc::new(Offsets(version));
        config.cache(Some(cache.clone())).middleware(middleware);
        Engine::new(&config)
    };
    let wat = |padding: &str| {
        format!(
            r#"(module (func {padding}) (func (export "where") (param i32 i32) (result i32)
                (i32.const 7)))"#
        )
    };
    let expected = |module: &Module| {
        let bytes = &module.wasm().bytes;
        bytes
            .windows(2)
            .rposition(|code| code == [0x41, 7])
            .unwrap() as i32
    };
    for (version, padding, hits) in [
        (1, "nop", 0),
        (1, "nop", 1),
        // Only the offset of the second function is another.
        (1, "nop nop nop", 1),
        (2, "nop", 1),
        (2, "nop", 2),
    ] {
        let module = Module::new(&engine(version)?, wat(padding))?;
        assert_eq!(call(&module, "where", 0, 0)?, expected(&module));
        assert_eq!(cache.stats().hits, hits, "{version} {padding}");
    }
    Ok(())
}
