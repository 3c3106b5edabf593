//! Compiled modules: what is written runs as what was compiled, and nothing else does.

use std::path::PathBuf;

use bimetal::{
    Config, Engine, ErrorKind, Func, FuncType, Instance, Linker, Module, OptLevel, Result, Store,
    Trap, Val, ValType,
};

const WAT: &str = r#"(module $m
    (import "host" "twice" (func $twice (param i32) (result i32)))
    (memory (export "mem") 1)
    (table 2 funcref)
    (elem (i32.const 0) $add $fib)
    (data (i32.const 16) "data")
    (global $g (mut i32) (i32.const 100))
    (func $add (export "add") (param i32 i32) (result i32)
        (i32.add (local.get 0) (local.get 1)))
    (func $fib (export "fib") (param i32) (result i32)
        (if (result i32) (i32.lt_s (local.get 0) (i32.const 2))
            (then (local.get 0))
            (else (i32.add
                (call $fib (i32.sub (local.get 0) (i32.const 1)))
                (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
    (func (export "indirect") (param i32) (result i32)
        (call_indirect (param i32) (result i32) (local.get 0) (i32.const 1)))
    (func (export "host") (result i32)
        (global.set $g (call $twice (global.get $g))) (global.get $g))
    (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
    (func $inner (param i32) (result i32) (i32.div_s (i32.const 1) (local.get 0)))
    (func (export "div") (param i32) (result i32) (call $inner (local.get 0)))
    (func (export "nearest") (param f64) (result f64) (f64.nearest (local.get 0))))"#;

fn image(config: &Config) -> Result<Vec<u8>> {
    Engine::new(config)?.precompile_module(WAT.as_bytes())
}

/// What the module does, however it was loaded.
fn behaves(engine: &Engine, module: &Module) -> Result<()> {
    let mut linker = Linker::new(engine);
    linker.func_wrap("host", "twice", |x: i32| x * 2)?;
    let mut store = Store::new(engine, ());
    let instance = linker.instantiate(&mut store, module)?;
    let call = |store: &mut Store<()>, instance: &Instance, name: &str, x: i32| {
        instance
            .get_typed_func::<i32, i32>(&mut *store, name)?
            .call(store, x)
    };
    let add = instance.get_typed_func::<(i32, i32), i32>(&mut store, "add")?;
    assert_eq!(add.call(&mut store, (40, 2))?, 42);
    assert_eq!(call(&mut store, &instance, "fib", 15)?, 610);
    assert_eq!(call(&mut store, &instance, "indirect", 10)?, 55);
    assert_eq!(
        call(&mut store, &instance, "load", 16)?,
        i32::from_le_bytes(*b"data")
    );
    let host = instance.get_typed_func::<(), i32>(&mut store, "host")?;
    assert_eq!(host.call(&mut store, ())?, 200);
    assert_eq!(host.call(&mut store, ())?, 400);
    let nearest = instance.get_typed_func::<f64, f64>(&mut store, "nearest")?;
    assert_eq!(nearest.call(&mut store, 2.5)?, 2.0);

    let error = call(&mut store, &instance, "div", 0).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Trap::IntegerDivisionByZero));
    let frames: Vec<_> = error.backtrace().unwrap().frames().iter().collect();
    assert_eq!(frames.len(), 2);
    assert_eq!(frames[0].func_name(), Some("inner"));
    assert_eq!(frames[0].func_index(), 6);
    assert!(frames[0].module_offset().is_some());
    let error = call(&mut store, &instance, "load", -1).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Trap::MemoryOutOfBounds));
    Ok(())
}

/// A folder that goes away.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("bimetal-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Loads an image that we have made just now.
fn deserialize(engine: &Engine, bytes: &[u8]) -> Result<Module> {
    // SAFETY: see above; what the tests break in it, the digests find.
    unsafe { Module::deserialize(engine, bytes) }
}

#[test]
fn an_image_runs_from_bytes_and_from_a_file() -> Result<()> {
    let folder = Folder::new("image");
    for lazy in [false, true] {
        for cpu in ["baseline", "x86-64-v2", "native"] {
            if cpu.starts_with("x86") && !cfg!(target_arch = "x86_64") {
                continue;
            }
            let bytes = image(Config::new().cpu(cpu)?)?;
            let engine = Engine::new(Config::new().lazy(lazy))?;
            let module = deserialize(&engine, &bytes)?;
            assert!(module.is_precompiled());
            assert_eq!(module.name(), Some("m"));
            behaves(&engine, &module)?;

            let path = folder.0.join("m.bmt");
            std::fs::write(&path, &bytes)?;
            // SAFETY: we have just written it.
            let module = unsafe { Module::deserialize_file(&engine, &path)? };
            // A mapped file may be unlinked and replaced.
            std::fs::remove_file(&path)?;
            behaves(&engine, &module)?;
            behaves(&engine, &module)?;
        }
    }
    Ok(())
}

/// An image has all that it needs to be run: no compiler of this process has a part in it.
#[test]
fn an_image_runs_without_a_compiler() -> Result<()> {
    let folder = Folder::new("no-compiler");
    let path = folder.0.join("m.bmt");
    std::fs::write(&path, image(&Config::new())?)?;
    let engine = Engine::new(Config::new().enable_compiler(false))?;
    // SAFETY: we have just written it.
    let module = unsafe { Module::deserialize_file(&engine, &path)? };
    behaves(&engine, &module)?;
    let module = deserialize(&engine, &std::fs::read(&path)?)?;
    behaves(&engine, &module)?;

    let mut store = Store::new(&engine, 0);
    store.call_hook(|mut store, _| {
        *store.data_mut() += 1;
        Ok(())
    });
    let mut linker = Linker::new(&engine);
    // In an array, too.
    let ty = FuncType::new(&engine, [ValType::I32], [ValType::I32]);
    linker.func_new("host", "twice", ty.clone(), |_, params, results| {
        results[0] = Val::I32(params[0].unwrap_i32() * 2);
        Ok(())
    })?;
    let instance = linker.instantiate(&mut store, &module)?;
    let host = instance.get_typed_func::<(), i32>(&mut store, "host")?;
    assert_eq!(host.call(&mut store, ())?, 200);
    assert_eq!(*store.data(), 4);
    // The host's own function, called by the host.
    let twice = linker.get(&mut store, "host", "twice").unwrap();
    let twice = twice.into_func().unwrap().typed::<i32, i32>(&store)?;
    assert_eq!(twice.call(&mut store, 21)?, 42);

    // One that no image has.
    let other = Func::wrap(&mut store, |x: f64| x);
    let error = other.typed::<f64, f64>(&store)?.call(&mut store, 1.0);
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Compile);
    assert!(format!("{error:#}").contains("no compiler"), "{error:#}");
    Ok(())
}

/// Whoever provided them.
#[test]
fn trampolines_outlive_the_image_that_they_came_from() -> Result<()> {
    let engine = Engine::new(Config::new().enable_compiler(false))?;
    let bytes = image(&Config::new())?;
    let first = deserialize(&engine, &bytes)?;
    let second = deserialize(&engine, &bytes)?;
    drop(first);
    behaves(&engine, &second)?;
    Ok(())
}

#[test]
fn a_loaded_module_is_serialized() -> Result<()> {
    for lazy in [false, true] {
        let engine = Engine::new(Config::new().lazy(lazy).cpu("baseline")?)?;
        let module = Module::new(&engine, WAT)?;
        let bytes = module.serialize()?;
        assert_eq!(bytes, image(Config::new().cpu("baseline")?)?);
        let again = deserialize(&engine, &bytes)?;
        behaves(&engine, &again)?;
        assert_eq!(again.serialize()?, bytes, "an image has all that made it");
    }
    Ok(())
}

#[test]
fn the_same_bytes_whatever_the_threads() -> Result<()> {
    let one = image(Config::new().parallel_compilation(false))?;
    for _ in 0..3 {
        assert_eq!(image(&Config::new())?, one);
    }
    Ok(())
}

#[test]
fn settings_that_shape_code_must_match() -> Result<()> {
    let bytes = image(&Config::new())?;
    let refused = |config: &Config| {
        let engine = Engine::new(config).unwrap();
        let error = deserialize(&engine, &bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Image);
        error.to_string()
    };
    for (config, what) in [
        (Config::new().consume_fuel(true), "fuel is 0, here it is 1"),
        (Config::new().epoch_interruption(true), "interrupts is 0"),
        (Config::new().memory_reservation(0), "memory reservation is"),
        (Config::new().nan_canonicalization(true), "NaN"),
        (Config::new().wasm_simd(false), "WebAssembly is"),
    ] {
        let error = refused(config);
        assert!(error.contains(what), "{error}");
    }
    // How hard the compiler tries is no obstacle.
    let engine = Engine::new(Config::new().opt_level(OptLevel::None))?;
    behaves(&engine, &deserialize(&engine, &bytes)?)
}

#[test]
fn metered_images_are_metered() -> Result<()> {
    let mut config = Config::new();
    config.consume_fuel(true).epoch_interruption(true);
    let bytes = image(&config)?;
    let engine = Engine::new(&config)?;
    let module = deserialize(&engine, &bytes)?;
    let mut store = Store::new(&engine, ());
    store.set_fuel(1000)?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "twice", |x: i32| x * 2)?;
    let instance = linker.instantiate(&mut store, &module)?;
    let fib = instance.get_typed_func::<i32, i32>(&mut store, "fib")?;
    let error = fib.call(&mut store, 20).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Trap::OutOfFuel));
    store.set_fuel(1 << 40)?;
    store.interrupt_handle()?.interrupt();
    let error = fib.call(&mut store, 20).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
    Ok(())
}

#[test]
fn other_machines_get_images_too() -> Result<()> {
    let own = Engine::default();
    for target in ["x86_64", "aarch64", "riscv64gc-unknown-linux-gnu", "s390x"] {
        let mut config = Config::new();
        let engine = Engine::new(config.target(target)?)?;
        let bytes = engine.precompile_module(WAT.as_bytes())?;
        let here = target == std::env::consts::ARCH;
        match deserialize(&own, &bytes) {
            Ok(module) => {
                assert!(here);
                behaves(&own, &module)?;
            }
            Err(error) => {
                assert!(
                    !here && error.to_string().contains("machine code for"),
                    "{error}"
                );
                let error = Module::new(&engine, WAT).unwrap_err();
                assert!(
                    error.to_string().contains("can only make images"),
                    "{error}"
                );
            }
        }
    }
    assert!(Config::new().target("pdp11").is_err());
    assert!(Config::new().cpu("pentium").is_err());
    Ok(())
}

#[test]
fn damage_is_found_before_it_runs() -> Result<()> {
    let bytes = image(&Config::new())?;
    let engine = Engine::default();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "twice", |x: i32| x * 2)?;
    let (mut refused, mut trapped, mut ran) = (0, 0, 0);
    // A prime, so that all parts of the file and all bits are met.
    for bit in (0..bytes.len() * 8).step_by(997) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let module = match deserialize(&engine, &flipped) {
            Ok(module) => module,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Image, "{error:#}");
                refused += 1;
                continue;
            }
        };
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module)?;
        let fib = instance.get_typed_func::<i32, i32>(&mut store, "fib")?;
        for _ in 0..2 {
            match fib.call(&mut store, 10) {
                Ok(result) => {
                    assert_eq!(result, 55);
                    ran += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Image, "{error:#}");
                    assert!(
                        format!("{error:#}").contains("function 2 (`fib`)"),
                        "{error:#}"
                    );
                    trapped += 1;
                }
            }
        }
    }
    assert!(refused > 0 && ran > 0, "{refused} {trapped} {ran}");

    // And surely in the code of `fib`.
    let fib = find(&bytes, &bytes_of(&engine, "fib")).unwrap();
    let mut damaged = bytes.clone();
    damaged[fib + 8] ^= 0x10;
    let module = deserialize(&engine, &damaged)?;
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module)?;
    let add = instance.get_typed_func::<(i32, i32), i32>(&mut store, "add")?;
    assert_eq!(add.call(&mut store, (1, 2))?, 3, "the others are well");
    let fib = instance.get_typed_func::<i32, i32>(&mut store, "fib")?;
    let error = fib.call(&mut store, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Image);
    Ok(())
}

/// The machine code of the only function of a module, for finding it in another image.
fn bytes_of(engine: &Engine, name: &str) -> Vec<u8> {
    let own = image(engine.config()).unwrap();
    let elf = object_symbol(&own, name);
    own[elf].to_vec()
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// Where a symbol's bytes are in an ELF file.
fn object_symbol(bytes: &[u8], name: &str) -> std::ops::Range<usize> {
    use object::{Object, ObjectSection, ObjectSymbol};
    let file = object::File::parse(bytes).unwrap();
    let symbol = file
        .symbols()
        .find(|symbol| symbol.name() == Ok(name))
        .unwrap();
    let text = file
        .section_by_name(".text")
        .unwrap()
        .file_range()
        .unwrap()
        .0;
    let start = (text + symbol.address()) as usize;
    start..start + symbol.size() as usize
}

#[test]
fn what_is_no_image_is_refused() {
    let engine = Engine::default();
    for bytes in [&b""[..], b"\0asm\x01\0\0\0", b"\x7fELF", b"(module)"] {
        let error = deserialize(&engine, bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Image, "{error}");
    }
    let own = std::env::current_exe().unwrap();
    // SAFETY: it is refused.
    let error = unsafe { Module::deserialize_file(&engine, &own) }.unwrap_err();
    assert!(
        format!("{error:#}").contains("a native program or library"),
        "{error:#}"
    );
    // SAFETY: there is nothing.
    let error = unsafe { Module::deserialize_file(&engine, "nowhere.bmt") }.unwrap_err();
    assert!(
        error.to_string().contains("cannot read `nowhere.bmt`"),
        "{error}"
    );
}

#[test]
fn an_empty_module_has_an_image() -> Result<()> {
    let engine = Engine::default();
    let bytes = engine.precompile_module(b"(module (memory (export \"m\") 1))")?;
    let module = deserialize(&engine, &bytes)?;
    let mut store = Store::new(&engine, ());
    let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
    assert!(instance.get_memory(&mut store, "m").is_some());
    Ok(())
}

/// The initial memory of modules, in every way that they come to be.
#[test]
fn memories_begin_as_their_segments_say() -> Result<()> {
    let known = r#"(module (memory (export "m") 3)
        (data (i32.const 10) "early") (data (i32.const 12) "late") (data (i32.const 100000) "far")
        (data $passive "passive")
        (func (export "init") (param i32)
            (memory.init $passive (local.get 0) (i32.const 0) (i32.const 7)))
        (func (export "init_active")
            (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 1))))"#;
    let all_active = known.replace(
        "(data $passive \"passive\")",
        "(data $passive (i32.const 9) \"0\")",
    );
    let unknown = known.replace("(i32.const 12)", "(i32.add (i32.const 6) (i32.const 6))");
    let folder = Folder::new("image-memory");
    for (name, wat) in [
        ("known", known),
        ("active", &all_active),
        ("unknown", &unknown),
    ] {
        for reservation in [None, Some(0)] {
            let mut config = Config::new();
            if let Some(bytes) = reservation {
                config.memory_reservation(bytes).memory_guard_size(0);
            }
            let engine = Engine::new(&config)?;
            let bytes = engine.precompile_module(wat.as_bytes())?;
            let path = folder.0.join("m.bmt");
            std::fs::write(&path, &bytes)?;
            // SAFETY: we have just written it.
            let mapped = unsafe { Module::deserialize_file(&engine, &path)? };
            std::fs::remove_file(&path)?;
            let again = deserialize(&engine, &mapped.serialize()?)?;
            for module in [
                Module::new(&engine, wat)?,
                deserialize(&engine, &bytes)?,
                mapped,
                again,
            ] {
                for round in 0..3 {
                    let mut store = Store::new(&engine, ());
                    let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
                    let memory = instance.get_memory(&mut store, "m").unwrap();
                    let data = memory.data(&store);
                    assert_eq!(data[10..16], *b"ealate", "{name} {round}");
                    assert_eq!(data[100_000..100_003], *b"far");
                    assert_eq!(
                        data.iter().filter(|&&byte| byte != 0).count(),
                        9 + usize::from(name == "active")
                    );
                    assert_eq!(data.len(), 3 << 16);
                    // What one instance writes the next does not see.
                    memory.data_mut(&mut store).fill(0xff);
                    assert_eq!(memory.grow(&mut store, 1)?, 3);
                    assert_eq!(memory.data(&store)[3 << 16], 0);
                    let init = instance.get_typed_func::<i32, ()>(&mut store, "init")?;
                    let result = init.call(&mut store, 50_000);
                    assert_eq!(
                        result.is_ok(),
                        name != "active",
                        "an active segment is gone"
                    );
                    if name != "active" {
                        assert_eq!(memory.data(&store)[50_000..50_007], *b"passive");
                    }
                    let init = instance.get_typed_func::<(), ()>(&mut store, "init_active")?;
                    let error = init.call(&mut store, ()).unwrap_err();
                    assert_eq!(error.downcast_ref(), Some(&Trap::MemoryOutOfBounds));
                }
            }
        }
    }
    Ok(())
}

/// Functions with many results have no lazy stub in the program's text on some machines.
const MANY_RESULTS: &str = r#"(module
    (func $many (export "many") (result i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)
        (i32.const 0) (i32.const 1) (i32.const 2) (i32.const 3) (i32.const 4)
        (i32.const 5) (i32.const 6) (i32.const 7) (i32.const 8) (i32.const 9))
    (func (export "sum") (result i32)
        (call $many)
        (i32.add) (i32.add) (i32.add) (i32.add) (i32.add)
        (i32.add) (i32.add) (i32.add) (i32.add)))"#;

/// `docs/aot-only.md` says what holds then.
#[test]
fn code_comes_from_files_only() -> Result<()> {
    let folder = Folder::new("files-only");
    let path = folder.0.join("m.bmt");
    let bytes = image(&Config::new())?;
    std::fs::write(&path, &bytes)?;
    let mut config = Config::new();
    for lazy in [false, true] {
        let engine = Engine::new(config.lazy(lazy).code_from_files_only(true))?;
        // SAFETY: we have just written it.
        let module = unsafe { Module::deserialize_file(&engine, &path)? };
        behaves(&engine, &module)?;

        let is_refused = |error: bimetal::Error, what: &str| {
            let error = format!("{error:#}");
            assert!(error.contains(what), "{error}");
        };
        let error = deserialize(&engine, &bytes).unwrap_err();
        is_refused(error, "this engine runs code from files only");
        let error = Module::new(&engine, "(module)").unwrap_err();
        is_refused(error, "this engine runs code from files only");
        let mut store = Store::new(&engine, ());
        let func = Func::wrap(&mut store, |x: f32| x);
        let typed = func.typed::<f32, f32>(&store);
        let error = typed.and_then(|func| func.call(&mut store, 1.0));
        is_refused(error.unwrap_err(), "this engine runs code from files only");
    }

    let many = Engine::default().precompile_module(MANY_RESULTS.as_bytes())?;
    let path = folder.0.join("many.bmt");
    std::fs::write(&path, &many)?;
    let engine = Engine::new(&config)?;
    // SAFETY: we have just written it.
    let module = unsafe { Module::deserialize_file(&engine, &path)? };
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let sum = instance.get_typed_func::<(), i32>(&mut store, "sum")?;
    assert_eq!(sum.call(&mut store, ())?, 45);
    Ok(())
}

/// As of an executable.
#[test]
fn an_image_runs_from_a_part_of_a_file() -> Result<()> {
    let folder = Folder::new("part");
    let path = folder.0.join("whole");
    let bytes = image(&Config::new())?;
    let len = bytes.len() as u64;
    for before in [64 << 10, 16] {
        let mut whole = vec![0xff; before];
        whole.extend_from_slice(&bytes);
        whole.extend_from_slice(b"and more");
        std::fs::write(&path, &whole)?;
        let file = std::fs::File::open(&path)?;
        let engine = Engine::default();
        let load = |engine: &Engine, part| {
            // SAFETY: we have just written it.
            unsafe { Module::deserialize_file_part(engine, &file, part) }
        };
        let start = before as u64;
        behaves(&engine, &load(&engine, start..start + len)?)?;
        assert!(load(&engine, start..start + len - 100).is_err());
        assert!(load(&engine, start..start + len + 100).is_err());
        assert!(load(&engine, 0..len).is_err());

        // Where it does not begin at a page, its code cannot be mapped.
        let engine = Engine::new(Config::new().code_from_files_only(true))?;
        match (load(&engine, start..start + len), before) {
            (Ok(module), 65536) => behaves(&engine, &module)?,
            (Err(error), 16) => assert!(format!("{error:#}").contains("from files only")),
            (other, _) => panic!("{other:?}"),
        }
    }
    Ok(())
}
