//! Deadlines and interrupts: whatever a program does, it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bimetal::{
    Caller, Config, Engine, Error, Func, Instance, Linker, Module, OptLevel, Result, Store, Trap,
    UpdateDeadline,
};

/// Far more than it takes on a machine with other things to do.
const PATIENCE: Duration = Duration::from_secs(20);

fn engine(set: impl FnOnce(&mut Config)) -> Engine {
    let mut config = Config::new();
    config.epoch_interruption(true).compiler_verify(true);
    set(&mut config);
    Engine::new(&config).unwrap()
}

fn engines() -> Vec<(String, Engine)> {
    let mut engines = Vec::new();
    for level in [OptLevel::None, OptLevel::Full] {
        for lazy in [false, true] {
            for signals in [true, false] {
                for fuel in [false, true] {
                    let engine = engine(|config| {
                        config
                            .opt_level(level)
                            .lazy(lazy)
                            .signals_based_traps(signals)
                            .consume_fuel(fuel);
                    });
                    let name = format!("{level:?} lazy={lazy} signals={signals} fuel={fuel}");
                    engines.push((name, engine));
                }
            }
        }
    }
    engines
}

/// A thread that makes an epoch pass each millisecond.
struct Clock {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Clock {
    fn start(engine: &Engine) -> Clock {
        let stop = Arc::new(AtomicBool::new(false));
        let (engine, stopped) = (engine.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
                engine.increment_epoch();
            }
        });
        Clock {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[track_caller]
fn assert_interrupted<T: std::fmt::Debug>(result: Result<T>, what: &str) {
    let error = result.expect_err(what);
    assert_eq!(
        error.downcast_ref(),
        Some(&Trap::Interrupt),
        "{what}: {error:?}"
    );
}

const ENDLESS: &str = r#"(module
    (import "host" "call" (func $host (param funcref)))
    (table funcref (elem $indirect $spin))
    (elem declare func $spin)
    (memory 1)
    (global $g (mut i32) (i32.const 0))
    (func $spin (export "br") (loop (br 0)))
    (func (export "br_if") (loop (br_if 0 (i32.const 1))))
    (func (export "br_table") (loop (br_table 0 0 0 (global.get $g))))
    (func (export "br_table_out")
        (block $out (loop $in (br_table $in $out (global.get $g)))))
    (func (export "inner") (loop (loop (br 0)) (br 0)))
    (func (export "outer") (local i32)
        (loop $outer
            (local.set 0 (i32.const 5))
            (loop $inner
                (br_if $inner (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
            (br $outer)))
    (func (export "stores") (local i32)
        (loop
            (i32.store (i32.const 16) (local.tee 0 (i32.add (local.get 0) (i32.const 1))))
            (br_if 0 (i32.load (i32.const 16)))
            (br 0)))
    (func $leaf (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
    (func (export "leaf") (local i32)
        (loop (local.set 0 (call $leaf (local.get 0))) (br 0)))
    (func $twice (param i32)
        (if (local.get 0) (then
            (call $twice (i32.sub (local.get 0) (i32.const 1)))
            (call $twice (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "recursion") (call $twice (i32.const 60)))
    (func $even (param i32)
        (if (local.get 0) (then
            (call $odd (i32.sub (local.get 0) (i32.const 1)))
            (call $odd (i32.sub (local.get 0) (i32.const 1))))))
    (func $odd (param i32)
        (if (local.get 0) (then
            (call $even (i32.sub (local.get 0) (i32.const 1)))
            (call $even (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "mutual") (call $even (i32.const 60)))
    (type $indirect (func (param i32)))
    (func $indirect (param i32)
        (if (local.get 0) (then
            (call_indirect (type $indirect)
                (i32.sub (local.get 0) (i32.const 1)) (i32.const 0))
            (call_indirect (type $indirect)
                (i32.sub (local.get 0) (i32.const 1)) (i32.const 0)))))
    (func (export "indirect") (call $indirect (i32.const 60)))
    (func (export "callback") (call $host (ref.func $spin)))
    (func (export "callbacks") (loop (call $host (ref.null func)) (br 0)))
)"#;

fn linker(engine: &Engine) -> Result<Linker<()>> {
    let mut linker = Linker::new(engine);
    linker.func_wrap(
        "host",
        "call",
        |mut caller: Caller<'_, ()>, f: Option<Func>| -> Result<()> {
            match f {
                Some(f) => f.call(&mut caller, &[], &mut []),
                None => Ok(()),
            }
        },
    )?;
    Ok(linker)
}

#[test]
fn programs_of_every_shape_end() -> Result<()> {
    for (name, engine) in engines() {
        let module = Module::new(&engine, ENDLESS)?;
        let _clock = Clock::start(&engine);
        for export in module.exports() {
            let mut store = Store::new(&engine, ());
            if name.ends_with("fuel=true") {
                store.set_fuel(u64::MAX)?;
            }
            let instance = linker(&engine)?.instantiate(&mut store, &module)?;
            let f = instance.get_typed_func::<(), ()>(&mut store, export.name())?;
            store.set_epoch_deadline(3);
            let start = Instant::now();
            let what = format!("{} {name}", export.name());
            assert_interrupted(f.call(&mut store, ()), &what);
            // The deadline has still passed.
            assert_interrupted(f.call(&mut store, ()), &what);
            assert!(start.elapsed() < PATIENCE, "{what}");
        }
    }
    Ok(())
}

/// A function that is interrupted where it is entered starts with what it was given: by whom it was
/// called, in which registers and on how much stack, is all the same.
#[test]
fn an_interrupted_call_keeps_its_arguments() -> Result<()> {
    // More arguments and results than there are registers, of all kinds, through recursion alone.
    const MANY: usize = 12;
    let params = "i64 f64 v128 f32 i32 ".repeat(MANY);
    let mut text = format!(
        "(module (import \"host\" \"tick\" (func $tick))
            (func $f (export \"f\") (param i32 {params}) (result {params})
                (if (i32.eqz (local.get 0)) (then"
    );
    for i in 0..5 * MANY {
        text += &format!(" (local.get {})", 1 + i);
    }
    text += " return)) (call $tick) (i32.sub (local.get 0) (i32.const 1))";
    let add = [
        "(i64.add (i64.const 1))",
        "(f64.add (f64.const 1))",
        "(i64x2.add (v128.const i64x2 1 2))",
        "(f32.add (f32.const 1))",
        "(i32.add (i32.const 1))",
    ];
    for i in 0..5 * MANY {
        let (op, rest) = add[i % 5].split_at(add[i % 5].find(' ').unwrap_or(0));
        text += &format!("{op} (local.get {}){rest}", 1 + i);
    }
    text += " call $f))";
    const DEPTH: i32 = 50;
    for (name, engine) in engines() {
        let mut linker = Linker::new(&engine);
        // The deadline comes while the host runs, so the next to look is the function's entry.
        linker.func_wrap("host", "tick", |mut caller: Caller<'_, u64>| {
            caller.engine().increment_epoch();
            caller.data_mut();
        })?;
        let module = Module::new(&engine, &text)?;
        let mut store = Store::new(&engine, 0u64);
        if name.ends_with("fuel=true") {
            store.set_fuel(u64::MAX)?;
        }
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut store| {
            *store.data_mut() += 1;
            Ok(UpdateDeadline::Continue(1))
        });
        let instance = linker.instantiate(&mut store, &module)?;
        let f = instance.get_func(&mut store, "f").unwrap();
        let mut args = vec![bimetal::Val::I32(DEPTH)];
        let value = |i: usize, more: i32| match i % 5 {
            0 => bimetal::Val::I64(i as i64 + i64::from(more)),
            1 => bimetal::Val::F64((i as f64 + f64::from(more)).to_bits()),
            2 => {
                let (low, high) = (i as u128 + more as u128, 2 * more as u128);
                bimetal::Val::V128((low | high << 64).into())
            }
            3 => bimetal::Val::F32((i as f32 + more as f32).to_bits()),
            _ => bimetal::Val::I32(i as i32 + more),
        };
        args.extend((0..5 * MANY).map(|i| value(i, 0)));
        let mut results = vec![bimetal::Val::I32(0); 5 * MANY];
        f.call(&mut store, &args, &mut results)?;
        for (i, result) in results.iter().enumerate() {
            assert_eq!(
                format!("{result:?}"),
                format!("{:?}", value(i, DEPTH)),
                "{i} {name}"
            );
        }
        assert_eq!(*store.data(), DEPTH as u64, "{name}");
        // With the backtrace of where it is.
        store.epoch_deadline_trap();
        let error = f.call(&mut store, &args, &mut results).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt), "{name}");
        let backtrace: &bimetal::WasmBacktrace = error.downcast_ref().unwrap();
        assert_eq!(backtrace.frames().len(), 2, "{name}");
    }
    Ok(())
}

/// However often it is to be told, a program gets on; and it is told for ever.
#[test]
fn deadlines_at_once_are_told_and_passed() -> Result<()> {
    for (name, engine) in engines() {
        let module = Module::new(&engine, ENDLESS)?;
        for export in ["recursion", "mutual", "indirect", "br"] {
            let mut store = Store::new(&engine, 0);
            if name.ends_with("fuel=true") {
                store.set_fuel(u64::MAX)?;
            }
            let mut linker = Linker::new(&engine);
            linker.func_wrap("host", "call", |_: Option<Func>| ())?;
            let instance = linker.instantiate(&mut store, &module)?;
            store.set_epoch_deadline(0);
            store.epoch_deadline_callback(|mut store| {
                *store.data_mut() += 1;
                match *store.data() {
                    ..20 => Ok(UpdateDeadline::Continue(0)),
                    _ => Err(Error::msg("enough")),
                }
            });
            let f = instance.get_typed_func::<(), ()>(&mut store, export)?;
            let _clock = Clock::start(&engine);
            let error = f.call(&mut store, ()).unwrap_err();
            assert_eq!(error.to_string(), "enough", "{export} {name}");
        }
    }
    Ok(())
}

#[test]
fn a_start_function_ends() -> Result<()> {
    let engine = engine(|_| ());
    let module = Module::new(&engine, "(module (func $f (loop (br 0))) (start $f))")?;
    let _clock = Clock::start(&engine);
    let mut store = Store::new(&engine, ());
    store.set_epoch_deadline(2);
    assert_interrupted(Instance::new(&mut store, &module, &[]), "start");
    Ok(())
}

#[test]
fn two_hundred_guests_on_two_threads() -> Result<()> {
    let engine = engine(|_| ());
    let module = Module::new(&engine, r#"(module (func (export "f") (loop (br 0))))"#)?;
    let _clock = Clock::start(&engine);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let run = || -> Result<()> {
            for _ in 0..100 {
                let mut store = Store::new(&engine, ());
                let instance = Instance::new(&mut store, &module, &[])?;
                let f = instance.get_typed_func::<(), ()>(&mut store, "f")?;
                store.set_epoch_deadline(10);
                let start = Instant::now();
                assert_interrupted(f.call(&mut store, ()), "one of many");
                assert!(start.elapsed() < PATIENCE);
            }
            Ok(())
        };
        let threads = [scope.spawn(run), scope.spawn(run)];
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err(Error::msg("a guest's thread panicked")))
        })
    })?;
    assert!(start.elapsed() < 3 * PATIENCE);
    Ok(())
}

#[test]
fn a_callback_gives_more_time_or_ends_it() -> Result<()> {
    for (name, engine) in engines() {
        let module = Module::new(&engine, r#"(module (func (export "f") (loop (br 0))))"#)?;
        let mut store = Store::new(&engine, 0);
        if name.ends_with("fuel=true") {
            store.set_fuel(u64::MAX)?;
        }
        let instance = Instance::new(&mut store, &module, &[])?;
        let f = instance.get_typed_func::<(), ()>(&mut store, "f")?;
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut store| {
            *store.data_mut() += 1;
            match *store.data() {
                ..5 => Ok(UpdateDeadline::Continue(1)),
                5 => Err(Error::msg("enough")),
                _ => panic!("far too much"),
            }
        });
        let clock = Clock::start(&engine);
        let error = f.call(&mut store, ()).unwrap_err();
        assert_eq!(error.to_string(), "enough", "{name}");
        assert_eq!(*store.data(), 5, "{name}");
        // A panic of the callback is passed on.
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = f.call(&mut store, ());
        }));
        assert!(panic.is_err(), "{name}");
        store.epoch_deadline_trap();
        assert_interrupted(f.call(&mut store, ()), &name);
        drop(clock);
    }
    Ok(())
}

#[test]
fn fuel_can_be_given_at_a_deadline() -> Result<()> {
    let engine = engine(|config| {
        config.consume_fuel(true);
    });
    let module = Module::new(&engine, r#"(module (func (export "f") (loop (br 0))))"#)?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let f = instance.get_typed_func::<(), ()>(&mut store, "f")?;
    store.set_fuel(u64::MAX)?;
    store.set_epoch_deadline(0);
    store.epoch_deadline_callback(|mut store| {
        store.set_fuel(10)?;
        Ok(UpdateDeadline::Continue(1))
    });
    let error = f.call(&mut store, ()).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Trap::OutOfFuel));
    Ok(())
}

#[test]
fn deadlines_that_have_not_come() -> Result<()> {
    let engine = engine(|_| ());
    let text = r#"(module (func (export "f") (param i32) (result i32)
        (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (local.get 0)))"#;
    let module = Module::new(&engine, text)?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let f = instance.get_typed_func::<i32, i32>(&mut store, "f")?;
    // None at all.
    engine.increment_epoch();
    assert_eq!(f.call(&mut store, 9)?, 0);
    store.set_epoch_deadline(2);
    engine.increment_epoch();
    assert_eq!(f.call(&mut store, 9)?, 0);
    // Put off.
    store.set_epoch_deadline(2);
    engine.increment_epoch();
    assert_eq!(f.call(&mut store, 9)?, 0);
    engine.increment_epoch();
    assert_interrupted(f.call(&mut store, 9), "passed");
    store.set_epoch_deadline(u64::MAX);
    engine.increment_epoch();
    assert_eq!(f.call(&mut store, 9)?, 0);
    store.set_epoch_deadline(0);
    assert_interrupted(f.call(&mut store, 9), "at once");
    Ok(())
}

#[test]
fn handles() -> Result<()> {
    let engine = engine(|_| ());
    let module = Module::new(&engine, r#"(module (func (export "f") (loop (br 0))))"#)?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let f = instance.get_typed_func::<(), ()>(&mut store, "f")?;
    let handle = store.interrupt_handle()?;
    // Before it runs.
    handle.interrupt();
    assert_interrupted(f.call(&mut store, ()), "early");
    // While it runs, again and again: each stops one call.
    let rounds = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 1..=20 {
                std::thread::sleep(Duration::from_millis(2));
                handle.interrupt();
                while rounds.load(Ordering::Acquire) < i {
                    std::thread::yield_now();
                }
            }
        });
        for _ in 0..20 {
            assert_interrupted(f.call(&mut store, ()), "running");
            rounds.fetch_add(1, Ordering::Release);
        }
    });
    // After the store is gone.
    drop(store);
    handle.interrupt();
    assert!(
        Store::new(&Engine::default(), ())
            .interrupt_handle()
            .is_err()
    );
    Ok(())
}

/// A computation with more values alive than there are registers, and others' code in between.
#[test]
fn a_check_keeps_all_registers() -> Result<()> {
    const LIVE: usize = 24;
    let mut text = String::from("(module (func (export \"f\") (param i32) (result i64 f64 v128)");
    text += &" (local i64)".repeat(LIVE);
    text += &" (local f64)".repeat(LIVE);
    text += &" (local v128)".repeat(LIVE);
    text += " (loop";
    for i in 0..LIVE {
        let (own, next) = (1 + i, 1 + (i + 1) % LIVE);
        text += &format!(
            " (local.set {own} (i64.add (i64.mul (local.get {own}) (i64.const 31))
                (i64.xor (local.get {next}) (i64.const {i}))))"
        );
        let (own, next) = (own + LIVE, next + LIVE);
        text += &format!(
            " (local.set {own} (f64.add (f64.mul (local.get {own}) (f64.const 0.5))
                (f64.sub (f64.const {i}) (f64.mul (local.get {next}) (f64.const 0.25)))))"
        );
        let (own, next) = (own + LIVE, next + LIVE);
        text += &format!(
            " (local.set {own} (i32x4.add (i32x4.mul (local.get {own}) (i32x4.splat (i32.const 7)))
                (v128.xor (local.get {next}) (i32x4.splat (i32.const {i})))))"
        );
    }
    text += " (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))";
    for (first, op) in [
        (1, "i64.xor"),
        (1 + LIVE, "f64.add"),
        (1 + 2 * LIVE, "v128.xor"),
    ] {
        text += &format!(" (local.get {first})");
        for i in 1..LIVE {
            text += &format!(" (local.get {}) {op}", first + i);
        }
    }
    text += "))";

    const TIMES: i32 = 300_000;
    let plain = Engine::default();
    let module = Module::new(&plain, &text)?;
    let mut store = Store::new(&plain, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let f = instance.get_typed_func::<i32, (i64, f64, bimetal::V128)>(&mut store, "f")?;
    let expected = f.call(&mut store, TIMES)?;
    for (name, engine) in engines() {
        let module = Module::new(&engine, &text)?;
        let mut store = Store::new(&engine, 0u64);
        if name.ends_with("fuel=true") {
            store.set_fuel(u64::MAX)?;
        }
        let instance = Instance::new(&mut store, &module, &[])?;
        let f = instance.get_typed_func::<i32, (i64, f64, bimetal::V128)>(&mut store, "f")?;
        store.set_epoch_deadline(0);
        let noise = engine.clone();
        let other = Module::new(&noise, &text)?;
        store.epoch_deadline_callback(move |mut store| {
            *store.data_mut() += 1;
            let instance = Instance::new(&mut store, &other, &[])?;
            let f = instance.get_typed_func::<i32, (i64, f64, bimetal::V128)>(&mut store, "f")?;
            // While the callback runs, there is nobody to ask for more time.
            store.set_epoch_deadline(u64::MAX);
            f.call(&mut store, 3)?;
            Ok(UpdateDeadline::Continue(1))
        });
        // Epochs pass as fast as they can.
        let stop = AtomicBool::new(false);
        let found = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    engine.increment_epoch();
                    std::thread::yield_now();
                }
            });
            let found = f.call(&mut store, TIMES);
            stop.store(true, Ordering::Relaxed);
            found
        })?;
        assert!(*store.data() > 0, "{name}");
        assert_eq!(found.0, expected.0, "{name}");
        assert_eq!(found.1.to_bits(), expected.1.to_bits(), "{name}");
        assert_eq!(found.2, expected.2, "{name}");
    }
    Ok(())
}
