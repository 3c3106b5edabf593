//! Snapshots: what an instance does next, the instances of its snapshot do, whether they are made
//! from the written module or from the one that shares the code.

use bimetal::{
    Cache, CacheConfig, Config, Engine, Error, ExternRef, Instance, Linker, Module, Ref, Result,
    Snapshot, Store, StoreLimitsBuilder, TypedFunc, Val,
};
use bimetal_wasm::sections::{CODE, sections};

fn engines() -> [Engine; 2] {
    [true, false].map(|lazy| Engine::new(Config::new().lazy(lazy)).unwrap())
}

/// An instance in a store of its own, with whatever it may import.
fn instantiate(module: &Module) -> Result<(Store<()>, Instance)> {
    let mut linker = Linker::new(module.engine());
    linker.func_wrap("host", "seven", || 7)?;
    let mut store = Store::new(module.engine(), ());
    let instance = linker.instantiate(&mut store, module)?;
    Ok((store, instance))
}

fn call(store: &mut Store<()>, instance: Instance, name: &str) -> Result<i64, String> {
    let func: TypedFunc<(), i64> = instance.get_typed_func(&mut *store, name).unwrap();
    func.call(store, ()).map_err(|error| format!("{error:#}"))
}

fn initialised(engine: &Engine, text: &str) -> (Store<()>, Instance) {
    let module = Module::new(engine, text).unwrap();
    let (mut store, instance) = instantiate(&module).unwrap();
    let init: TypedFunc<(), ()> = instance.get_typed_func(&mut store, "init").unwrap();
    init.call(&mut store, ()).unwrap();
    (store, instance)
}

fn snapshot(engine: &Engine, text: &str) -> Snapshot {
    let (store, instance) = initialised(engine, text);
    instance.snapshot(&store).unwrap()
}

/// Modules that export `init`, and functions of type `() -> i64` whose results show their state.
const PROGRAMS: &[&str] = &[
    // Globals of every type of numbers, and memory that grows.
    r#"(module
        (global $a (mut i32) (i32.const 1)) (global $b (mut i64) (i64.const 2))
        (global $c (mut f32) (f32.const 3)) (global $d (mut f64) (f64.const nan:0x4000000000001))
        (global $e (mut v128) (v128.const i64x2 5 6)) (global $f i32 (i32.const 9))
        (memory 1 5) (data (i32.const 8) "abc")
        (func (export "init")
            (global.set $a (i32.const -7)) (global.set $b (i64.const -1))
            (global.set $c (f32.const -nan:0x200001)) (global.set $d (f64.const -0))
            (global.set $e (v128.const i64x2 -1 77))
            (drop (memory.grow (i32.const 2)))
            (i32.store8 (i32.const 9) (i32.const 0))
            (i64.store (i32.const 196600) (i64.const 0x0102030405060708))
            (i32.store (i32.const 70000) (i32.const 1)))
        (func (export "numbers") (result i64)
            (i64.xor (i64.xor (i64.extend_i32_u (global.get $a)) (global.get $b))
                (i64.xor
                    (i64.xor (i64.extend_i32_u (i32.reinterpret_f32 (global.get $c)))
                        (i64.reinterpret_f64 (global.get $d)))
                    (i64.xor (i64x2.extract_lane 1 (global.get $e))
                        (i64.extend_i32_u (global.get $f))))))
        (func (export "size") (result i64) (i64.extend_i32_u (memory.size)))
        (func (export "bytes") (result i64)
            (i64.add (i64.load (i32.const 8))
                (i64.add (i64.load (i32.const 196600)) (i64.load (i32.const 70000)))))
        (func (export "count") (result i64)
            (i64.store (i32.const 0) (i64.add (i64.load (i32.const 0)) (i64.const 1)))
            (i64.load (i32.const 0)))
        (func (export "grow") (result i64)
            (drop (memory.grow (i32.const 2)))
            (i64.extend_i32_s (memory.grow (i32.const 1)))))"#,
    // A start function runs once.
    r#"(module
        (global $n (mut i64) (i64.const 0)) (memory 1) (data (i32.const 0) "\01")
        (func $start (global.set $n (i64.add (global.get $n) (i64.const 1)))
            (i32.store8 (i32.const 0) (i32.add (i32.load8_u (i32.const 0)) (i32.const 1))))
        (start $start)
        (func (export "init"))
        (func (export "n") (result i64)
            (i64.add (global.get $n) (i64.mul (i64.const 100) (i64.load (i32.const 0))))))"#,
    // Several memories; segments that are passive, dropped, and active, by number.
    r#"(module
        (memory $a 1) (memory $b 2)
        (data $zero (memory $a) (i32.const 0) "zero") (data $one "one!oney")
        (data $two "two!") (data $three (memory $b) (i32.const 65536) "three") (data $four "4444")
        (func (export "init")
            (memory.init $b $two (i32.const 4) (i32.const 0) (i32.const 4))
            (data.drop $two)
            (memory.copy $a $b (i32.const 100) (i32.const 65530) (i32.const 20)))
        (func (export "read") (result i64)
            (i64.add (i64.load $a (i32.const 104)) (i64.load $b (i32.const 0))))
        (func (export "kept") (result i64)
            (memory.init $a $one (i32.const 8) (i32.const 0) (i32.const 8))
            (i64.load $a (i32.const 8)))
        (func (export "dropped") (result i64)
            (memory.init $a $two (i32.const 8) (i32.const 0) (i32.const 1)) (i64.const 0))
        (func (export "active") (result i64)
            (memory.init $a $zero (i32.const 8) (i32.const 0) (i32.const 1)) (i64.const 0))
        (func (export "nothing of it") (result i64)
            (memory.init $a $three (i32.const 8) (i32.const 0) (i32.const 0)) (i64.const 0))
        (func (export "last") (result i64)
            (memory.init $a $four (i32.const 8) (i32.const 0) (i32.const 4))
            (data.drop $four) (i64.load $a (i32.const 8))))"#,
    // Tables of functions: set, moved, grown, cleared; an import among them; references in globals.
    r#"(module
        (import "host" "seven" (func $seven (result i32)))
        (type $f (func (result i32)))
        (table $t 4 20 funcref) (table $u 3 funcref) (table $x 2 externref)
        (global $held (mut funcref) (ref.null func)) (global $none (mut externref) (ref.null extern))
        (global $fixed funcref (ref.func $one))
        (elem (table $t) (i32.const 0) func $one $two)
        (elem $passive func $two $seven $one)
        (elem $mixed funcref (ref.func $one) (ref.null func))
        (elem $gone func $one)
        (elem declare func $three)
        (func $one (result i32) (i32.const 1)) (func $two (result i32) (i32.const 2))
        (func $three (result i32) (i32.const 3)) (func $four (export "four") (result i32) (i32.const 4))
        (func (export "init")
            (table.set $t (i32.const 0) (ref.func $three))
            (drop (table.grow $t (ref.func $four) (i32.const 3)))
            (table.set $t (i32.const 1) (ref.null func))
            (table.init $u $passive (i32.const 0) (i32.const 1) (i32.const 2))
            (elem.drop $gone)
            (global.set $held (ref.func $two)))
        (func $call (param $i i32) (result i64)
            (if (result i64) (ref.is_null (table.get $t (local.get $i)))
                (then (i64.const 9))
                (else (i64.extend_i32_u (call_indirect $t (type $f) (local.get $i))))))
        (func (export "sum") (result i64) (local $i i32) (local $sum i64)
            (loop $l
                (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 10))
                    (call $call (local.get $i))))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $l (i32.lt_u (local.get $i) (table.size $t))))
            (local.get $sum))
        (func (export "seven") (result i64)
            (i64.extend_i32_u (i32.add (call_indirect $u (type $f) (i32.const 0))
                (call_indirect $u (type $f) (i32.const 1)))))
        (func (export "null") (result i64)
            (i64.extend_i32_u (call_indirect $u (type $f) (i32.const 2))))
        (func (export "held") (result i64)
            (table.set $u (i32.const 2) (global.get $held))
            (i64.extend_i32_u (call_indirect $u (type $f) (i32.const 2))))
        (func (export "fixed") (result i64)
            (table.set $u (i32.const 2) (global.get $fixed))
            (i64.extend_i32_u (call_indirect $u (type $f) (i32.const 2))))
        (func (export "mixed") (result i64)
            (table.init $t $mixed (i32.const 2) (i32.const 0) (i32.const 2))
            (i64.extend_i32_u (ref.is_null (table.get $t (i32.const 3)))))
        (func (export "gone") (result i64)
            (table.init $t $gone (i32.const 0) (i32.const 0) (i32.const 1)) (i64.const 0))
        (func (export "extern") (result i64)
            (i64.extend_i32_u (i32.and (ref.is_null (global.get $none))
                (ref.is_null (table.get $x (i32.const 1))))))
        (func (export "grow") (result i64)
            (i64.extend_i32_s (table.grow $t (ref.null func) (i32.const 10)))))"#,
    // A function that is only referred to where the state was changed.
    r#"(module
        (table 2 funcref) (elem (i32.const 0) $f)
        (func $f (result i64) (i64.const 5))
        (func (export "init") (table.set (i32.const 0) (ref.null func)))
        (func (export "again") (result i64)
            (table.set (i32.const 1) (ref.func $f)) (call_indirect (result i64) (i32.const 1))))"#,
    // Nothing but functions.
    r#"(module (func (export "init")) (func (export "f") (result i64) (i64.const 1)))"#,
];

/// Runs everything that an instance exports, twice and in order, and says what came of it.
fn run_all(
    store: &mut Store<()>,
    instance: Instance,
    names: &[String],
) -> Vec<Result<i64, String>> {
    let twice = names.iter().chain(names);
    twice.map(|name| call(store, instance, name)).collect()
}

fn functions(module: &Module) -> Vec<String> {
    let exports = module.exports();
    exports
        .filter(|export| {
            let ty = export.ty();
            ty.func().is_some_and(|ty| ty.to_string() == "() -> (i64)")
        })
        .map(|export| export.name().to_owned())
        .collect()
}

#[test]
fn instances_of_a_snapshot_go_on_where_it_was_taken() {
    for engine in engines() {
        for text in PROGRAMS {
            let (mut store, instance) = initialised(&engine, text);
            let snapshot = instance.snapshot(&store).unwrap();
            let names = functions(snapshot.original());
            assert!(!names.is_empty(), "{text}");
            let expected = run_all(&mut store, instance, &names);

            let binary = snapshot.to_wasm().unwrap();
            let written = Module::new(&engine, &binary).unwrap();
            let shared = snapshot.module().unwrap();
            let image = engine.precompile_module(&binary).unwrap();
            // SAFETY: it has just been compiled.
            let loaded = unsafe { Module::deserialize(&engine, &image) }.unwrap();
            for (kind, module) in [
                ("written", written),
                ("shared", shared.clone()),
                ("loaded", loaded),
            ] {
                // The second one maps its memory, or maps it again.
                for _ in 0..3 {
                    let (mut store, instance) = instantiate(&module).unwrap();
                    let found = run_all(&mut store, instance, &names);
                    assert_eq!(found, expected, "{kind}: {text}");
                }
            }
            let (store, instance) = instantiate(&shared).unwrap();
            let again = instance.snapshot(&store).unwrap().to_wasm().unwrap();
            assert_eq!(again, binary, "a snapshot of a snapshot: {text}");
        }
    }
}

#[test]
fn code_and_custom_sections_stay_as_they_are() {
    let engine = Engine::default();
    let text = r#"(module $m
        (@custom "early" (before first) "e") (@custom "late" (after last) "l")
        (@custom ".debug_line" "not really")
        (memory 1) (data $named "x")
        (func $init (export "init") (i32.store (i32.const 4) (i32.const 5)))
        (func $f (param $p i32) (drop (i32.add (local.get $p) (i32.const 1)))))"#;
    let snapshot = snapshot(&engine, text);
    let old = snapshot.original().wasm();
    let binary = snapshot.to_wasm().unwrap();
    let code = |binary: &[u8]| {
        let sections = sections(binary);
        let code = sections.iter().find(|section| section.id == CODE).unwrap();
        binary[code.content.clone()].to_vec()
    };
    assert_eq!(code(&old.bytes), code(&binary));
    let new = bimetal_wasm::Module::new(&binary, &Default::default()).unwrap();
    for name in ["early", "late", ".debug_line"] {
        assert_eq!(old.custom_section(name), new.custom_section(name), "{name}");
    }
    let func = |name: &str| {
        new.functions
            .keys()
            .find(|&f| new.func_name(f) == Some(name))
    };
    assert_eq!(new.names().module.as_deref(), Some("m"));
    assert_eq!(new.local_names(func("f").unwrap()), [(0, "p")]);
    // The data segment of this name is gone.
    let names = new.custom_section("name").unwrap();
    assert!(!names.windows(5).any(|name| name == b"named"));
}

#[test]
fn a_plain_module_stays_plain() {
    let engine = Engine::default();
    let text = r#"(module
        (memory 2) (data (i32.const 0) "a") (data (i32.const 70000) "b") (table 5 funcref)
        (elem (i32.const 3) $f) (global $g (mut i32) (i32.const 0))
        (func $f (export "init") (global.set $g (i32.const 5)) (i32.store8 (i32.const 0) (i32.const 0))
            (i32.store (i32.const 40) (i32.const -1)) (i32.store (i32.const 80) (i32.const -1))))"#;
    let binary = snapshot(&engine, text).to_wasm().unwrap();
    let new = bimetal_wasm::Module::new(&binary, &Default::default()).unwrap();
    let info = bimetal_wasm::inspect::Summary::new(&new, 0);
    assert!(info.features.is_empty(), "{:?}", info.features);
    // Two that are near each other are one; what is far from them is another.
    let lens: Vec<usize> = new.data.values().map(|data| data.range.len()).collect();
    assert_eq!(lens, [4, 4, 1]);
    assert_eq!(new.elements.len(), 1);
    assert!(new.start.is_none());
}

#[test]
fn exports_are_removed_and_renamed() {
    let engine = Engine::default();
    let text = r#"(module
        (func (export "init")) (func (export "a") (result i64) (i64.const 1))
        (func (export "b") (result i64) (i64.const 2)) (func (export "c") (result i64) (i64.const 3)))"#;
    let mut taken = snapshot(&engine, text);
    taken.remove_export("init").unwrap();
    let error = taken.remove_export("init").unwrap_err();
    assert_eq!(error.to_string(), "there is no export `init`");
    for wrong in [[("a", "x"), ("a", "y")], [("a", "x"), ("b", "x")]] {
        let error = taken.rename_exports(wrong).unwrap_err();
        assert!(error.to_string().ends_with("is renamed twice"), "{error}");
    }
    assert!(taken.rename_exports([("d", "x")]).is_err());
    taken.rename_exports([("a", "b"), ("b", "a")]).unwrap();
    taken.rename_exports([("c", "a")]).unwrap();
    let module = taken.module().unwrap();
    let names: Vec<String> = module.exports().map(|e| e.name().to_owned()).collect();
    assert_eq!(names, ["b", "a"]);
    let (mut store, instance) = instantiate(&module).unwrap();
    assert_eq!(call(&mut store, instance, "a"), Ok(3));
    assert_eq!(call(&mut store, instance, "b"), Ok(1));
}

#[test]
fn what_is_not_the_modules_own_is_refused() {
    let engine = Engine::default();
    for (what, text) in [
        ("memory", r#"(module (import "a" "b" (memory 1)))"#),
        ("table", r#"(module (import "a" "b" (table 1 funcref)))"#),
        ("global", r#"(module (import "a" "b" (global i32)))"#),
    ] {
        let module = Module::new(&engine, text).unwrap();
        let error = Snapshot::check(&module).unwrap_err().to_string();
        let expected = format!("of a module that imports a {what}: `a` `b`");
        assert!(error.ends_with(&expected), "{error}");
    }

    let text = r#"(module
        (table (export "funcs") 3 funcref) (table (export "values") 3 externref)
        (global (export "func") (mut funcref) (ref.null func))
        (global (export "value") (mut externref) (ref.null extern)))"#;
    let module = Module::new(&engine, text).unwrap();
    let spoil = |what: &str| -> Error {
        let (mut store, instance) = instantiate(&module).unwrap();
        let other = instantiate_in(&mut store, &engine);
        let value = ExternRef::new(&mut store, 5).unwrap();
        match what {
            "funcs" | "values" => {
                let table = instance.get_table(&mut store, what).unwrap();
                let item = match what {
                    "funcs" => Ref::Func(Some(other)),
                    _ => Ref::Extern(Some(value)),
                };
                table.set(&mut store, 2, item).unwrap();
            }
            _ => {
                let global = instance.get_global(&mut store, what).unwrap();
                let item = match what {
                    "func" => Val::FuncRef(Some(other)),
                    _ => Val::ExternRef(Some(value)),
                };
                global.set(&mut store, item).unwrap();
            }
        }
        instance.snapshot(&store).unwrap_err()
    };
    for (what, expected) in [
        (
            "funcs",
            "element 2 of table 0 (`funcs`) is: a function that is not the module's",
        ),
        (
            "values",
            "element 2 of table 1 (`values`) is: a value of the host (an externref)",
        ),
        (
            "func",
            "global 0 (`func`) refers to: a function that is not the module's",
        ),
        (
            "value",
            "global 1 (`value`) refers to: a value of the host (an externref)",
        ),
    ] {
        let error = format!("{:#}", spoil(what));
        let expected = format!("the instance cannot be written as a module: {expected}");
        assert_eq!(error, expected);
    }
}

/// A function of another instance.
fn instantiate_in(store: &mut Store<()>, engine: &Engine) -> bimetal::Func {
    let module = Module::new(engine, r#"(module (func (export "f")))"#).unwrap();
    let instance = Instance::new(&mut *store, &module, &[]).unwrap();
    instance.get_func(store, "f").unwrap()
}

#[test]
fn a_shared_snapshot_is_not_compiled() {
    let text = r#"(module (memory 1)
        (func (export "init") (i32.store (i32.const 0) (call $used)))
        (func $used (result i32) (loop) (i32.const 1))
        (func (export "later") (result i64) (i64.load (i32.const 0))))"#;
    let engine = Engine::new(Config::new().lazy(true)).unwrap();
    let snapshot = snapshot(&engine, text);
    let module = snapshot.module().unwrap();
    assert_eq!(module.compiled().0, 2, "what the initialisation needed");
    for _ in 0..2 {
        let (mut store, instance) = instantiate(&module).unwrap();
        assert_eq!(call(&mut store, instance, "later"), Ok(1));
        assert_eq!(module.compiled().0, 3);
    }
    assert_eq!(snapshot.original().compiled().0, 3, "compiled for both");

    let engine = Engine::default();
    let before = snapshot_of_default(&engine, text);
    let count = before.original().compiled().0;
    assert_eq!(before.module().unwrap().compiled().0, count);
}

fn snapshot_of_default(engine: &Engine, text: &str) -> Snapshot {
    snapshot(engine, text)
}

#[test]
fn a_shared_snapshot_outlives_everything_else() {
    let text = r#"(module (memory 1) (func (export "init") (i32.store (i32.const 0) (i32.const 6)))
        (func (export "trap") (result i64) (i64.load (i32.const -1)))
        (func (export "get") (result i64) (i64.load (i32.const 0))))"#;
    let module = {
        let engine = Engine::new(Config::new().lazy(true)).unwrap();
        snapshot(&engine, text).module().unwrap()
    };
    let (mut store, instance) = instantiate(&module).unwrap();
    drop(module);
    assert_eq!(call(&mut store, instance, "get"), Ok(6));
    let trap: TypedFunc<(), i64> = instance.get_typed_func(&mut store, "trap").unwrap();
    let error = trap.call(&mut store, ()).unwrap_err();
    let frames = error.backtrace().unwrap().frames();
    assert_eq!(frames[0].func_index(), 1);
    let dump = error.backtrace().unwrap().core_dump(&store, "x");
    assert!(dump.windows(9).any(|bytes| bytes == b"corestack"));
}

#[test]
fn a_shared_snapshot_can_be_serialised() {
    let engine = Engine::new(Config::new().lazy(true)).unwrap();
    // The only export that needs a reference to a function goes, so contexts are laid out otherwise.
    let text = r#"(module (table 2 funcref) (elem (i32.const 0) $a $b)
        (func $a (result i64) (i64.const 1)) (func $b (result i64) (i64.const 2))
        (func $init (export "init") (table.set (i32.const 0) (ref.null func)))
        (func (export "b") (result i64) (call_indirect (result i64) (i32.const 1)))
        (func (export "none") (result i64) (call_indirect (result i64) (i32.const 0))))"#;
    let mut taken = snapshot(&engine, text);
    taken.remove_export("init").unwrap();
    let image = taken.module().unwrap().serialize().unwrap();
    // SAFETY: it has just been compiled.
    let module = unsafe { Module::deserialize(&engine, &image) }.unwrap();
    for module in [module, taken.module().unwrap()] {
        let (mut store, instance) = instantiate(&module).unwrap();
        assert_eq!(call(&mut store, instance, "b"), Ok(2));
        assert!(call(&mut store, instance, "none").is_err());
    }
}

#[test]
fn limits_see_what_a_snapshot_has_grown_to() {
    let engine = Engine::default();
    let text = r#"(module (memory 1) (func (export "init") (drop (memory.grow (i32.const 9)))))"#;
    let module = snapshot(&engine, text).module().unwrap();
    assert_eq!(
        module.resources_required().max_initial_memory_size,
        Some(10)
    );
    let limits = StoreLimitsBuilder::new().memory_size(2 << 16).build();
    let mut store = Store::new(&engine, limits);
    store.limiter(|limits| limits);
    assert!(Instance::new(&mut store, &module, &[]).is_err());
}

#[test]
fn a_snapshot_of_a_cached_module_is_that_of_the_module() {
    let folder = std::env::temp_dir().join(format!("bimetal-snapshots-{}", std::process::id()));
    let text = PROGRAMS[0];
    let expected = snapshot(&Engine::default(), text).to_wasm().unwrap();
    let engine = || {
        let cache = Cache::new(&CacheConfig::new(&folder)).unwrap();
        Engine::new(Config::new().lazy(true).cache(Some(cache))).unwrap()
    };
    for _ in 0..3 {
        assert_eq!(snapshot(&engine(), text).to_wasm().unwrap(), expected);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// The code in an image is there to be compiled again: nothing looks at it when all is compiled.
#[test]
fn a_damaged_binary_in_an_image_is_not_written() {
    let engine = Engine::default();
    let mut image = engine.precompile_module(PROGRAMS[0].as_bytes()).unwrap();
    let module = Module::new(&engine, PROGRAMS[0]).unwrap();
    let body = module.functions().last().unwrap().body();
    let body = &module.wasm().bytes[body];
    let at = image.windows(body.len()).position(|part| part == body);
    image[at.unwrap() + body.len() - 2] ^= 1;
    // SAFETY: its machine code has just been compiled.
    let module = unsafe { Module::deserialize(&engine, &image) }.unwrap();
    let (mut store, instance) = instantiate(&module).unwrap();
    assert_eq!(call(&mut store, instance, "size"), Ok(1));
    let errors = [
        instance.snapshot(&store).unwrap().to_wasm().unwrap_err(),
        module.serialize().unwrap_err(),
    ];
    for error in errors {
        let error = error.to_string();
        assert!(error.contains("copy of the binary is damaged"), "{error}");
    }
}
