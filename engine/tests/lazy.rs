//! Lazy compilation: once per function, whoever calls, and never what is not called.

use std::sync::Barrier;

use bimetal::{Config, Engine, Instance, Module, Result, Store};

fn lazy() -> Engine {
    Engine::new(Config::new().lazy(true)).unwrap()
}

/// A module with `count` functions, each of which adds one to the result of the next. None is so small
/// that it is inlined.
fn chain(count: usize) -> String {
    let mut text = String::from("(module ");
    for i in 0..count {
        let body = match i + 1 == count {
            true => "(i64.const 0)".to_owned(),
            false => format!("(call {})", i + 1),
        };
        text +=
            &format!("(func (export \"f{i}\") (result i64) (loop) (i64.add (i64.const 1) {body}))");
    }
    text + ")"
}

#[test]
fn only_what_is_called_is_compiled() -> Result<()> {
    let engine = lazy();
    let module = Module::new(&engine, chain(100))?;
    assert_eq!(module.compiled().0, 0);
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let f90 = instance.get_typed_func::<(), i64>(&mut store, "f90")?;
    assert_eq!(f90.call(&mut store, ())?, 10);
    assert_eq!(module.compiled().0, 10);
    assert_eq!(f90.call(&mut store, ())?, 10);
    assert_eq!(module.compiled().0, 10);
    Ok(())
}

#[test]
fn many_threads_compile_a_function_once() -> Result<()> {
    const THREADS: usize = 16;
    let engine = lazy();
    let module = Module::new(&engine, chain(400))?;
    let barrier = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (module, barrier) = (&module, &barrier);
            scope.spawn(move || {
                let mut store = Store::new(module.engine(), ());
                let instance = Instance::new(&mut store, module, &[]).unwrap();
                let name = format!("f{}", thread * 10 % 40);
                let f = instance
                    .get_typed_func::<(), i64>(&mut store, &name)
                    .unwrap();
                barrier.wait();
                for _ in 0..10 {
                    let expected = 400 - (thread as i64 * 10 % 40);
                    assert_eq!(f.call(&mut store, ()).unwrap(), expected);
                }
            });
        }
    });
    assert_eq!(module.compiled().0, 400);
    Ok(())
}

#[test]
fn lazy_stubs_keep_all_arguments() -> Result<()> {
    // More integer and float arguments than there are registers, and vectors, into a function
    // that is compiled by this very call.
    let engine = lazy();
    let module = Module::new(
        &engine,
        r#"(module
            (func $g (param i32 i64 f32 f64 v128 i64 i64 i64 i64 i64 f64 f64 f64 f64 f64 f64 f64 v128)
                (result i64)
                (local $sum i64)
                (local.set $sum (i64.extend_i32_s (local.get 0)))
                (local.set $sum (i64.add (local.get $sum) (local.get 1)))
                (local.set $sum (i64.add (local.get $sum) (i64.trunc_f32_s (local.get 2))))
                (local.set $sum (i64.add (local.get $sum) (i64.trunc_f64_s (local.get 3))))
                (local.set $sum (i64.add (local.get $sum) (i64x2.extract_lane 1 (local.get 4))))
                (local.set $sum (i64.add (local.get $sum) (local.get 9)))
                (local.set $sum (i64.add (local.get $sum) (i64.trunc_f64_s (local.get 16))))
                (i64.add (local.get $sum) (i64x2.extract_lane 0 (local.get 17))))
            (func (export "f") (result i64)
                (call $g (i32.const -1) (i64.const 10) (f32.const 100) (f64.const 1000)
                    (v128.const i64x2 0 10000) (i64.const 0) (i64.const 0) (i64.const 0)
                    (i64.const 0) (i64.const 100000) (f64.const 0) (f64.const 0) (f64.const 0)
                    (f64.const 0) (f64.const 0) (f64.const 0) (f64.const 1000000)
                    (v128.const i64x2 10000000 0))))"#,
    )?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let f = instance.get_typed_func::<(), i64>(&mut store, "f")?;
    assert_eq!(f.call(&mut store, ())?, 11_111_109);
    Ok(())
}

#[test]
fn dropped_modules_give_their_code_back() -> Result<()> {
    let engine = lazy();
    let text = chain(20);
    let maps = || std::fs::read_to_string("/proc/self/maps").map_or(0, |m| m.lines().count());
    let mut before = 0;
    for round in 0..300 {
        let module = Module::new(&engine, &text)?;
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[])?;
        let f0 = instance.get_typed_func::<(), i64>(&mut store, "f0")?;
        assert_eq!(f0.call(&mut store, ())?, 20);
        if round == 20 {
            before = maps();
        }
    }
    // Other tests of this process map too; a leak per round would be far above.
    assert!(
        maps() < before + 100,
        "{before} mappings grew to {}",
        maps()
    );
    Ok(())
}
