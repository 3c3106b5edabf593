//! Traps: their codes, their backtraces, and that the host lives on.

use std::sync::Arc;

use bimetal::{Config, Engine, ErrorKind, Instance, Linker, Module, Result, Store, Trap};

fn engines() -> [Engine; 3] {
    let mut explicit = Config::new();
    explicit
        .memory_reservation(0)
        .memory_guard_size(0)
        .signals_based_traps(false);
    [
        Engine::new(Config::new().lazy(true)).unwrap(),
        Engine::new(&Config::new()).unwrap(),
        Engine::new(&explicit).unwrap(),
    ]
}

const TRAPS: &str = r#"(module $traps
    (type $v (func))
    (type $w (func (param i32)))
    (memory (export "m") 1 2)
    (table $t 3 funcref)
    (elem (i32.const 1) $nothing)
    (func $nothing)
    (func (export "unreachable") unreachable)
    (func (export "load") (drop (i32.load (i32.const 65533))))
    (func (export "load far") (drop (i32.load offset=0xfffffff0 (i32.const -1))))
    (func (export "store") (v128.store (i32.const 65521) (v128.const i64x2 0 0)))
    (func (export "divide") (drop (i32.div_u (i32.const 1) (i32.const 0))))
    (func (export "overflow")
        (drop (i64.div_s (i64.const 0x8000000000000000) (i64.const -1))))
    (func (export "convert") (drop (i32.trunc_f64_s (f64.const nan))))
    (func (export "convert large") (drop (i32.trunc_f64_s (f64.const 1e300))))
    (func (export "undefined") (call_indirect (type $v) (i32.const 3)))
    (func (export "null") (call_indirect (type $v) (i32.const 0)))
    (func (export "signature") (call_indirect (type $w) (i32.const 7) (i32.const 1)))
    (func (export "table") (drop (table.get $t (i32.const 3))))
    (func (export "fill") (memory.fill (i32.const 65536) (i32.const 0) (i32.const 1)))
    (func $recurse (export "recurse") (call $recurse))
)"#;

#[test]
fn each_trap_has_its_code() -> Result<()> {
    let expected = [
        ("unreachable", Trap::Unreachable),
        ("load", Trap::MemoryOutOfBounds),
        ("load far", Trap::MemoryOutOfBounds),
        ("store", Trap::MemoryOutOfBounds),
        ("divide", Trap::IntegerDivisionByZero),
        ("overflow", Trap::IntegerOverflow),
        ("convert", Trap::BadConversionToInteger),
        ("convert large", Trap::IntegerOverflow),
        ("undefined", Trap::UndefinedElement),
        ("null", Trap::UninitializedElement),
        ("signature", Trap::BadSignature),
        ("table", Trap::TableOutOfBounds),
        ("fill", Trap::MemoryOutOfBounds),
        ("recurse", Trap::StackOverflow),
    ];
    for engine in engines() {
        let module = Module::new(&engine, TRAPS)?;
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[])?;
        for _ in 0..2 {
            for (name, trap) in expected {
                let f = instance.get_typed_func::<(), ()>(&mut store, name)?;
                let error = f.call(&mut store, ()).unwrap_err();
                assert_eq!(error.downcast_ref(), Some(&trap), "{name}: {error:?}");
                assert_eq!(error.kind(), ErrorKind::Trap);
                let frames = error.backtrace().expect(name).frames();
                assert!(frames[0].module_offset().is_some(), "{name}: {error:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_backtrace_names_functions_through_host_frames() -> Result<()> {
    for engine in engines() {
        let mut linker = Linker::new(&engine);
        linker.func_wrap("host", "again", |mut caller: bimetal::Caller<'_, ()>| {
            let f = caller
                .get_export("inner")
                .and_then(|e| e.into_func())
                .unwrap();
            f.call(&mut caller, &[], &mut [])
        })?;
        let module = Module::new(
            &engine,
            r#"(module $tale
                (import "host" "again" (func $again))
                (func $deep unreachable)
                (func $inner (export "inner") call $deep)
                (func $middle call $again)
                (func $outer (export "outer") nop call $middle))"#,
        )?;
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module)?;
        let f = instance.get_typed_func::<(), ()>(&mut store, "outer")?;
        let error = f.call(&mut store, ()).unwrap_err();
        let backtrace = error.backtrace().unwrap();
        let names: Vec<_> = backtrace
            .frames()
            .iter()
            .map(|f| f.func_name().unwrap())
            .collect();
        assert_eq!(names, ["deep", "inner", "middle", "outer"]);
        // Offsets are those of the instructions: the `unreachable` after an empty locals list.
        assert_eq!(backtrace.frames()[0].func_offset(), Some(1));
        assert_eq!(backtrace.frames()[3].func_offset(), Some(2));
        assert!(format!("{error:?}").contains("tale!middle"), "{error:?}");
    }
    Ok(())
}

#[test]
fn stack_overflow_is_a_trap_on_threads_with_small_stacks() {
    let engine = Engine::default();
    let module = Module::new(&engine, TRAPS).unwrap();
    for stack in [512 << 10, 1 << 20, 16 << 20] {
        let module = module.clone();
        std::thread::Builder::new()
            .stack_size(stack)
            .spawn(move || {
                let mut store = Store::new(module.engine(), ());
                let instance = Instance::new(&mut store, &module, &[]).unwrap();
                let f = instance
                    .get_typed_func::<(), ()>(&mut store, "recurse")
                    .unwrap();
                for _ in 0..10 {
                    let error = f.call(&mut store, ()).unwrap_err();
                    assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow));
                }
            })
            .unwrap()
            .join()
            .unwrap();
    }
}

#[test]
fn mutual_recursion_with_the_host_overflows_as_a_trap() -> Result<()> {
    let engine = Engine::default();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("", "h", |mut caller: bimetal::Caller<'_, ()>| {
        let f = caller.get_export("f").and_then(|e| e.into_func()).unwrap();
        f.call(&mut caller, &[], &mut [])
    })?;
    let module = Module::new(
        &engine,
        r#"(module (import "" "h" (func $h)) (func (export "f") call $h))"#,
    )?;
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module)?;
    let f = instance.get_typed_func::<(), ()>(&mut store, "f")?;
    let error = f.call(&mut store, ()).unwrap_err();
    assert_eq!(
        error.downcast_ref(),
        Some(&Trap::StackOverflow),
        "{error:#}"
    );
    Ok(())
}

#[test]
fn many_threads_trap_at_once() {
    let engine = Engine::new(Config::new().lazy(true)).unwrap();
    let module = Arc::new(Module::new(&engine, TRAPS).unwrap());
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let module = module.clone();
            std::thread::spawn(move || {
                for _ in 0..50 {
                    let mut store = Store::new(module.engine(), ());
                    let instance = Instance::new(&mut store, &module, &[]).unwrap();
                    for name in ["load", "divide", "recurse", "null"] {
                        let f = instance.get_typed_func::<(), ()>(&mut store, name).unwrap();
                        assert_eq!(f.call(&mut store, ()).unwrap_err().kind(), ErrorKind::Trap);
                    }
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_store_that_a_host_function_lends_to_another_thread_has_that_threads_stack() {
    let engine = Engine::default();
    let mut linker = Linker::<()>::new(&engine);
    linker
        .func_wrap("host", "lend", |mut caller: bimetal::Caller<'_, ()>| {
            let down = caller.get_export("down").and_then(|e| e.into_func());
            let down = down.unwrap().typed::<i32, i32>(&caller).unwrap();
            std::thread::scope(|scope| {
                let there = scope.spawn(|| {
                    assert_eq!(down.call(&mut caller, 100).unwrap(), 100);
                    down.call(&mut caller, -1).unwrap_err()
                });
                let error = there.join().unwrap();
                assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow));
            });
            // And here it is as it was.
            assert_eq!(down.call(&mut caller, 100).unwrap(), 100);
            assert!(down.call(&mut caller, -1).is_err());
        })
        .unwrap();
    let module = Module::new(
        &engine,
        r#"(module
            (import "host" "lend" (func $lend))
            (func $down (export "down") (param $n i32) (result i32)
                (if (result i32) (local.get $n)
                    (then (i32.add (i32.const 1)
                        (call $down (i32.sub (local.get $n) (i32.const 1)))))
                    (else (i32.const 0))))
            (func (export "f") (call $lend)))"#,
    )
    .unwrap();
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let f = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
    for _ in 0..3 {
        f.call(&mut store, ()).unwrap();
    }
}

/// However a memory is kept inside of its bounds, and wherever it has moved to when it grew.
#[test]
fn nothing_past_the_end_is_there() -> Result<()> {
    let text = |index: &str| {
        format!(
            r#"(module
                (memory (export "m") {index} 1)
                (func (export "grow") (param {index}) (result {index})
                    (memory.grow (local.get 0)))
                (func (export "load") (param i64) (result i64)
                    (i64.load {convert}))
                (func (export "load far") (param i64) (result i64)
                    (i64.load offset=0x123456 {convert})))"#,
            convert = match index {
                "i32" => "(i32.wrap_i64 (local.get 0))",
                _ => "(local.get 0)",
            }
        )
    };
    for (reservation, guard) in [(4 << 30, 32 << 20), (0, 32 << 20), (0, 1 << 16), (0, 0)] {
        let mut config = Config::new();
        config
            .memory_reservation(reservation)
            .memory_guard_size(guard);
        let mut pooled = config.clone();
        let mut pool = bimetal::PoolingAllocationConfig::new();
        pool.total_memories(2).max_memory_size(64 << 20);
        pooled.allocation_strategy(pool);
        for (config, index) in [
            (&config, "i32"),
            (&config, "i64"),
            (&pooled, "i32"),
            (&pooled, "i64"),
        ] {
            let engine = Engine::new(config)?;
            let module = Module::new(&engine, text(index))?;
            // The second one may get what the first one leaves.
            for _ in 0..2 {
                let mut store = Store::new(&engine, ());
                let instance = Instance::new(&mut store, &module, &[])?;
                let memory = instance.get_memory(&mut store, "m").unwrap();
                let load = instance.get_typed_func::<i64, i64>(&mut store, "load")?;
                let far = instance.get_typed_func::<i64, i64>(&mut store, "load far")?;
                for delta in [0, 3, 100, 1, 200] {
                    memory.grow(&mut store, delta)?;
                    let end = memory.data_size(&store) as i64;
                    for (load, at) in [(&load, end), (&far, end - 0x123456)] {
                        if at >= 8 {
                            assert_eq!(load.call(&mut store, at - 8)?, 0);
                        }
                        for past in [7, 4, 1, 0, -1, -4096, -(1 << 16), -(1 << 20)] {
                            let at = at - past;
                            if at < 0 {
                                continue;
                            }
                            let error = load.call(&mut store, at).unwrap_err();
                            let trap = error.downcast_ref::<Trap>();
                            assert_eq!(trap, Some(&Trap::MemoryOutOfBounds), "{at} of {end}");
                        }
                    }
                }
            }
        }
    }
    Ok(())
}
