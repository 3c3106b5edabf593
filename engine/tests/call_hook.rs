//! Call hooks: told of every border that is crossed, and able to stop what crosses it.

use bimetal::CallHook::{self, CallingHost, CallingWasm, ReturningFromHost, ReturningFromWasm};
use bimetal::{
    Caller, Engine, Error, Func, FuncType, Instance, Linker, Module, Result, Store, Trap, Val,
    ValType,
};

const PROGRAM: &str = r#"(module
    (import "host" "typed" (func $typed (param i32 i64 f64) (result i32)))
    (import "host" "untyped" (func $untyped (param i32) (result i32)))
    (import "host" "pair" (func $pair (param i32) (result i32 i32)))
    (import "host" "nested" (func $nested (param i32) (result i32)))
    (import "host" "fails" (func $fails (param i32) (result i32)))
    (import "host" "panics" (func $panics (param i32) (result i32)))
    (func (export "nothing") (param i32) (result i32) (local.get 0))
    (func (export "typed") (param i32) (result i32)
        (call $typed (local.get 0) (i64.const 20) (f64.const 300)))
    (func (export "untyped") (param i32) (result i32) (call $untyped (local.get 0)))
    (func (export "pair") (param i32) (result i32) (i32.sub (call $pair (local.get 0))))
    (func (export "nested") (param i32) (result i32) (call $nested (local.get 0)))
    (func (export "fails") (param i32) (result i32) (call $fails (local.get 0)))
    (func (export "panics") (param i32) (result i32) (call $panics (local.get 0)))
    (func (export "traps") (param i32) (result i32) unreachable)
    (func (export "grows") (param i32) (result i32)
        (drop (memory.grow (local.get 0))) (local.get 0))
    (memory 0))"#;

/// What the hook was told, and after how many calls it fails.
#[derive(Default)]
struct Log {
    told: Vec<CallHook>,
    fail_at: Option<usize>,
}

fn guest() -> Result<(Store<Log>, Instance)> {
    let engine = Engine::default();
    let mut linker = Linker::<Log>::new(&engine);
    linker.func_wrap("host", "typed", |a: i32, b: i64, c: f64| {
        a + b as i32 + c as i32
    })?;
    let ty = FuncType::new(&engine, [ValType::I32], [ValType::I32]);
    linker.func_new("host", "untyped", ty, |_, params, results| {
        results[0] = params[0];
        Ok(())
    })?;
    linker.func_wrap("host", "pair", |a: i32| (a, 1))?;
    linker.func_wrap("host", "nested", |mut caller: Caller<'_, Log>, a: i32| {
        let f = caller.get_export("typed").and_then(|e| e.into_func());
        let f = f.ok_or_else(|| Error::msg("no such export"))?;
        f.typed::<i32, i32>(&caller)?.call(&mut caller, a)
    })?;
    linker.func_wrap("host", "fails", |_: i32| -> Result<i32> {
        Err(Error::msg("the host's"))
    })?;
    linker.func_wrap("host", "panics", |_: i32| -> i32 {
        std::panic::panic_any("the host's")
    })?;
    let mut store = Store::new(&engine, Log::default());
    store.call_hook(|mut store, what| {
        let log = store.data_mut();
        log.told.push(what);
        match log.fail_at == Some(log.told.len()) {
            true => Err(Error::msg("the hook's")),
            false => Ok(()),
        }
    });
    let instance = linker.instantiate(&mut store, &Module::new(&engine, PROGRAM)?)?;
    Ok((store, instance))
}

fn call(store: &mut Store<Log>, instance: &Instance, name: &str) -> Result<i32> {
    store.data_mut().told.clear();
    let f = instance.get_typed_func::<i32, i32>(&mut *store, name)?;
    f.call(store, 1)
}

#[test]
fn every_border_is_told() -> Result<()> {
    let (mut store, instance) = guest()?;
    let (enter, leave) = (CallingWasm, ReturningFromWasm);
    let (host, back) = (CallingHost, ReturningFromHost);
    for (name, result, told) in [
        ("nothing", 1, vec![enter, leave]),
        ("grows", 1, vec![enter, leave]),
        ("typed", 321, vec![enter, host, back, leave]),
        ("untyped", 1, vec![enter, host, back, leave]),
        ("pair", 0, vec![enter, host, back, leave]),
        (
            "nested",
            321,
            vec![enter, host, enter, host, back, leave, back, leave],
        ),
    ] {
        for _ in 0..2 {
            assert_eq!(call(&mut store, &instance, name)?, result, "{name}");
            assert_eq!(store.data().told, told, "{name}");
        }
    }
    let error = call(&mut store, &instance, "traps").unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Trap::Unreachable));
    assert_eq!(store.data().told, [enter, leave]);
    let error = call(&mut store, &instance, "fails").unwrap_err();
    assert!(format!("{error:#}").contains("the host's"), "{error:#}");
    assert_eq!(store.data().told, [enter, host, back, leave]);
    Ok(())
}

#[test]
fn untyped_calls_and_start_functions_are_told() -> Result<()> {
    let (mut store, instance) = guest()?;
    let f = instance.get_func(&mut store, "nothing").unwrap();
    store.data_mut().told.clear();
    f.call(&mut store, &[Val::I32(1)], &mut [Val::I32(0)])?;
    assert_eq!(store.data().told, [CallingWasm, ReturningFromWasm]);

    store.data_mut().told.clear();
    let module = Module::new(store.engine(), "(module (func $f) (start $f))")?;
    Instance::new(&mut store, &module, &[])?;
    assert_eq!(store.data().told, [CallingWasm, ReturningFromWasm]);

    // The host calls its own function by way of a trampoline into wasm's world.
    store.data_mut().told.clear();
    let own = Func::wrap(&mut store, |a: i32| a + 1);
    assert_eq!(own.typed::<i32, i32>(&store)?.call(&mut store, 1)?, 2);
    let told = [
        CallingWasm,
        CallingHost,
        ReturningFromHost,
        ReturningFromWasm,
    ];
    assert_eq!(store.data().told, told);
    Ok(())
}

#[test]
fn an_error_stops_what_is_crossing() -> Result<()> {
    let (mut store, instance) = guest()?;
    let all = [
        CallingWasm,
        CallingHost,
        ReturningFromHost,
        ReturningFromWasm,
    ];
    for name in ["typed", "untyped", "pair"] {
        for fail_at in 1..=4 {
            store.data_mut().fail_at = Some(fail_at);
            let error = call(&mut store, &instance, name).unwrap_err();
            assert!(format!("{error:#}").contains("the hook's"), "{error:#}");
            let told = match fail_at {
                // Not entered, so not left.
                1 => vec![CallingWasm],
                // Not called, so there is no return from there.
                2 => vec![CallingWasm, CallingHost, ReturningFromWasm],
                _ => all.to_vec(),
            };
            assert_eq!(store.data().told, told, "{name}, {fail_at}");
        }
    }
    // It takes the place of another error.
    store.data_mut().fail_at = Some(3);
    let error = call(&mut store, &instance, "fails").unwrap_err();
    assert!(format!("{error:#}").contains("the hook's"), "{error:#}");
    store.data_mut().fail_at = Some(2);
    let error = call(&mut store, &instance, "traps").unwrap_err();
    assert!(format!("{error:#}").contains("the hook's"), "{error:#}");
    // All is in order afterwards.
    store.data_mut().fail_at = None;
    assert_eq!(call(&mut store, &instance, "nested")?, 321);
    Ok(())
}

#[test]
fn panics_go_through() -> Result<()> {
    let (mut store, instance) = guest()?;
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = call(&mut store, &instance, "panics");
    }));
    let payload = panic.expect_err("it panics");
    assert_eq!(payload.downcast_ref(), Some(&"the host's"));
    assert_eq!(store.data().told, [CallingWasm, CallingHost]);
    assert_eq!(call(&mut store, &instance, "typed")?, 321);

    // Those of the hook as well; it stays.
    let (mut store, instance) = guest()?;
    store.call_hook(|mut store, what| {
        store.data_mut().told.push(what);
        match store.data().told.len() {
            2 => std::panic::panic_any("the hook's"),
            _ => Ok(()),
        }
    });
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = call(&mut store, &instance, "typed");
    }));
    let payload = panic.expect_err("it panics");
    assert_eq!(payload.downcast_ref(), Some(&"the hook's"));
    assert_eq!(store.data().told, [CallingWasm, CallingHost]);
    store.data_mut().told.extend([CallingWasm; 8]);
    let f = instance.get_typed_func::<i32, i32>(&mut store, "typed")?;
    assert_eq!(f.call(&mut store, 1)?, 321);
    assert_eq!(store.data().told.len(), 2 + 8 + 4);
    Ok(())
}

#[test]
fn a_host_function_that_fails_has_its_backtrace() -> Result<()> {
    let (mut store, instance) = guest()?;
    let error = call(&mut store, &instance, "fails").unwrap_err();
    let backtrace: &bimetal::WasmBacktrace = error.downcast_ref().unwrap();
    assert_eq!(backtrace.frames().len(), 1);
    store.data_mut().fail_at = Some(2);
    let error = call(&mut store, &instance, "typed").unwrap_err();
    let backtrace: &bimetal::WasmBacktrace = error.downcast_ref().unwrap();
    assert_eq!(backtrace.frames().len(), 1);
    Ok(())
}
