//! Calls in the place of returns use no stack, whatever they go through.

use std::time::Duration;

use bimetal::{
    Caller, Config, Engine, Error, Extern, Func, Instance, Linker, Module, OptLevel, Result, Store,
    Trap, TypedFunc,
};

/// More than fits on any stack that wasm may have.
const DEEP: i32 = 3_000_000;

/// Engines that compile in every way.
fn engines(configure: impl Fn(&mut Config)) -> Result<Vec<Engine>> {
    let mut engines = Vec::new();
    for lazy in [false, true] {
        for signals in [true, false] {
            for level in [OptLevel::None, OptLevel::Full] {
                let mut config = Config::new();
                config.lazy(lazy).opt_level(level);
                if !signals {
                    config
                        .memory_reservation(0)
                        .memory_guard_size(0)
                        .signals_based_traps(false);
                }
                configure(&mut config);
                engines.push(Engine::new(&config)?);
            }
        }
    }
    Ok(engines)
}

/// Two functions that call each other, one with more parameters than there are registers.
const MUTUAL: &str = r#"(module
    (type $few (func (param i32) (result i64)))
    (type $many (func (param i32 i64 f64 i64 f32 i64 f64 i64 i64 i64 i64 i64 i64) (result i64)))
    (table funcref (elem $even $odd))
    (func $even (export "even") (type $few)
        (if (i32.eqz (local.get 0)) (then (return (i64.const 1))))
        (return_call $odd (i32.sub (local.get 0) (i32.const 1))
            (i64.const 1) (f64.const 2) (i64.const 3) (f32.const 4) (i64.const 5) (f64.const 6)
            (i64.const 7) (i64.const 8) (i64.const 9) (i64.const 10) (i64.const 11)
            (i64.extend_i32_s (local.get 0))))
    (func $odd (type $many)
        (if (i32.eqz (local.get 0)) (then (return (i64.const 0))))
        ;; What came on the stack is what was passed.
        (if (i64.ne (local.get 12) (i64.extend_i32_s (i32.add (local.get 0) (i32.const 1))))
            (then (unreachable)))
        (if (i64.ne (i64.add (local.get 11) (local.get 3)) (i64.const 14)) (then (unreachable)))
        (return_call_indirect (type $few)
            (i32.sub (local.get 0) (i32.const 1)) (i32.const 0))))"#;

#[test]
fn the_stack_does_not_grow() -> Result<()> {
    for engine in engines(|_| {})? {
        let module = Module::new(&engine, MUTUAL)?;
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[])?;
        let even: TypedFunc<i32, i64> = instance.get_typed_func(&mut store, "even")?;
        assert_eq!(even.call(&mut store, DEEP)?, 1);
        assert_eq!(even.call(&mut store, DEEP + 1)?, 0);
    }
    Ok(())
}

#[test]
fn it_does_not_grow_between_instances_either() -> Result<()> {
    for engine in engines(|_| {})? {
        let text = |other: &str| {
            format!(
                r#"(module
                    (import "other" "get" (func $get (result funcref)))
                    (type $f (func (param i32) (result i32)))
                    (table $t 1 funcref)
                    (func (export "set") (param funcref)
                        (table.set (i32.const 0) (local.get 0)))
                    (func (export "down") (param i32) (result i32)
                        (if (i32.eqz (local.get 0)) (then (return (i32.const {other}))))
                        (return_call_indirect (type $f)
                            (i32.sub (local.get 0) (i32.const 1)) (i32.const 0))))"#
            )
        };
        let mut store = Store::new(&engine, ());
        let none = Func::wrap(&mut store, || None::<Func>);
        let mut instances = Vec::new();
        for name in ["1", "2"] {
            let module = Module::new(&engine, text(name))?;
            instances.push(Instance::new(&mut store, &module, &[Extern::Func(none)])?);
        }
        for (one, other) in [(0, 1), (1, 0)] {
            let down = instances[other].get_func(&mut store, "down");
            let set = instances[one].get_typed_func::<Option<Func>, ()>(&mut store, "set")?;
            set.call(&mut store, down)?;
        }
        let down: TypedFunc<i32, i32> = instances[0].get_typed_func(&mut store, "down")?;
        assert_eq!(down.call(&mut store, DEEP)?, 1);
        assert_eq!(down.call(&mut store, DEEP + 1)?, 2);
    }
    Ok(())
}

/// Host functions with a direct entry, with a trampoline, and with untyped values.
const HOSTED: &str = r#"(module
    (import "host" "add" (func $add (param i32 i32) (result i32)))
    (import "host" "half" (func $half (param f64) (result f64)))
    (import "host" "sum" (func $sum (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "host" "swap" (func $swap (param i32 i64) (result i64 i32)))
    (import "host" "fail" (func $fail (param i32)))
    (func $add_it (export "add") (param i32) (result i32)
        (return_call $add (local.get 0) (i32.const 1)))
    (func (export "many") (param i32) (result i32) (local i32)
        (loop
            (local.set 1 (call $add_it (local.get 1)))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (local.get 1))
    (func (export "half") (param i32) (result f64)
        (return_call $half (f64.convert_i32_s (local.get 0))))
    (func (export "sum") (param i32) (result i32)
        (return_call $sum (local.get 0) (i32.const 2) (i32.const 3) (i32.const 4)
            (i32.const 5) (i32.const 6) (i32.const 7) (i32.const 8)))
    (func (export "swap") (param i32) (result i64 i32)
        (return_call $swap (local.get 0) (i64.const 7)))
    (func $fails (export "fails") (param i32) (return_call $fail (local.get 0)))
    (func (export "outer") (param i32) (call $fails (local.get 0))))"#;

fn hosted(engine: &Engine) -> Result<(Store<u32>, Instance)> {
    let mut linker = Linker::new(engine);
    linker.func_wrap("host", "add", |a: i32, b: i32| a + b)?;
    linker.func_wrap("host", "half", |a: f64| a / 2.0)?;
    let sum = |a: i32, b: i32, c: i32, d: i32, e: i32, f: i32, g: i32, h: i32| {
        a + b + c + d + e + f + g + h
    };
    linker.func_wrap("host", "sum", sum)?;
    linker.func_wrap("host", "swap", |a: i32, b: i64| (b, a))?;
    linker.func_wrap("host", "fail", |mut caller: Caller<'_, u32>, n: i32| {
        *caller.data_mut() += 1;
        match n {
            0 => Ok(()),
            _ => Err(Error::msg("no")),
        }
    })?;
    let mut store = Store::new(engine, 0);
    let instance = linker.instantiate(&mut store, &Module::new(engine, HOSTED)?)?;
    Ok((store, instance))
}

#[test]
fn host_functions_are_called_so() -> Result<()> {
    for engine in engines(|_| {})? {
        let (mut store, instance) = hosted(&engine)?;
        let add = instance.get_typed_func::<i32, i32>(&mut store, "add")?;
        assert_eq!(add.call(&mut store, 41)?, 42);
        let many = instance.get_typed_func::<i32, i32>(&mut store, "many")?;
        assert_eq!(many.call(&mut store, 1_000_000)?, 1_000_000);
        let half = instance.get_typed_func::<i32, f64>(&mut store, "half")?;
        assert_eq!(half.call(&mut store, 7)?, 3.5);
        let sum = instance.get_typed_func::<i32, i32>(&mut store, "sum")?;
        assert_eq!(sum.call(&mut store, 1)?, 36);
        let swap = instance.get_typed_func::<i32, (i64, i32)>(&mut store, "swap")?;
        assert_eq!(swap.call(&mut store, 3)?, (7, 3));
    }
    Ok(())
}

#[test]
fn a_function_that_is_gone_is_in_no_backtrace() -> Result<()> {
    for engine in engines(|_| {})? {
        let (mut store, instance) = hosted(&engine)?;
        let outer = instance.get_typed_func::<i32, ()>(&mut store, "outer")?;
        outer.call(&mut store, 0)?;
        let error = outer.call(&mut store, 1).unwrap_err();
        let names: Vec<_> = error.backtrace().unwrap().frames().to_vec();
        let names: Vec<_> = names.iter().map(|frame| frame.func_index()).collect();
        assert_eq!(names, [11], "only `outer` is left: {error:?}");
        // Nothing of wasm is left when the host called the function itself.
        let fails = instance.get_typed_func::<i32, ()>(&mut store, "fails")?;
        let error = fails.call(&mut store, 1).unwrap_err();
        assert!(
            error
                .backtrace()
                .is_none_or(|trace| trace.frames().is_empty())
        );
        assert_eq!(*store.data(), 3);
    }
    Ok(())
}

#[test]
fn traps_of_indirect_ones_are_told() -> Result<()> {
    let text = r#"(module
        (type $f (func (param i32)))
        (func $other)
        (table 3 funcref) (elem (i32.const 0) $f $other)
        (func $f (export "f") (param i32) (if (local.get 0)
            (then (return_call_indirect (type $f) (i32.const 0) (local.get 0))))))"#;
    for engine in engines(|_| {})? {
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &Module::new(&engine, text)?, &[])?;
        let f = instance.get_typed_func::<i32, ()>(&mut store, "f")?;
        f.call(&mut store, 0)?;
        for (index, trap) in [
            (1, Trap::BadSignature),
            (2, Trap::UninitializedElement),
            (3, Trap::UndefinedElement),
        ] {
            let error = f.call(&mut store, index).unwrap_err();
            assert_eq!(error.downcast_ref::<Trap>(), Some(&trap), "{index}");
        }
    }
    Ok(())
}

/// Loops that are made of calls end by fuel and by deadlines, as loops do.
#[test]
fn endless_ones_end() -> Result<()> {
    let text = r#"(module
        (type $many (func (param i64 i64 i64 i64 i64 i64 i64 i64 i64)))
        (func $few (export "few")
            (return_call $many (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4) (i64.const 5)
                (i64.const 6) (i64.const 7) (i64.const 8) (i64.const 9)))
        (func $many (type $many)
            (if (i64.ne (local.get 8) (i64.const 9)) (then (unreachable)))
            (return_call $few)))"#;
    for engine in engines(|config| {
        config.consume_fuel(true);
    })? {
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &Module::new(&engine, text)?, &[])?;
        let few = instance.get_typed_func::<(), ()>(&mut store, "few")?;
        store.set_fuel(1_000_000)?;
        let error = few.call(&mut store, ()).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::OutOfFuel));
    }
    for engine in engines(|config| {
        config.epoch_interruption(true);
    })? {
        let mut store = Store::new(&engine, 0);
        let instance = Instance::new(&mut store, &Module::new(&engine, text)?, &[])?;
        let few = instance.get_typed_func::<(), ()>(&mut store, "few")?;
        // Interrupted many times, wherever it is, it goes on with all its arguments.
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut store| {
            *store.data_mut() += 1;
            match *store.data() {
                100 => Err(Error::msg("enough")),
                _ => Ok(bimetal::UpdateDeadline::Continue(1)),
            }
        });
        let stop = std::sync::atomic::AtomicBool::new(false);
        let error = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    engine.increment_epoch();
                    std::thread::sleep(Duration::from_micros(50));
                }
            });
            let error = few.call(&mut store, ()).unwrap_err();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            error
        });
        assert_eq!(error.to_string(), "enough", "{error:?}");
        assert_eq!(*store.data(), 100);
    }
    Ok(())
}

#[test]
fn they_can_be_refused() -> Result<()> {
    let engine = Engine::new(Config::new().wasm_tail_call(false))?;
    let error = Module::new(&engine, MUTUAL).unwrap_err();
    assert!(format!("{error:#}").contains("tail call"), "{error:#}");
    Ok(())
}
