//! Calls across the border, in both directions and of every shape.

use bimetal::{
    Caller, Config, Engine, Error, ErrorKind, ExternRef, Func, FuncType, Instance, Linker, Module,
    Result, Store, Trap, V128, Val, ValType,
};

/// Runs a test under lazy and eager compilation.
fn engines() -> [Engine; 2] {
    [true, false].map(|lazy| Engine::new(Config::new().lazy(lazy)).unwrap())
}

fn module(engine: &Engine, text: &str) -> Module {
    Module::new(engine, text).unwrap()
}

#[test]
fn values_of_every_type_cross_in_both_directions() -> Result<()> {
    for engine in engines() {
        let mut linker = Linker::new(&engine);
        linker.func_wrap(
            "",
            "h",
            |a: i32, b: i64, c: f32, d: f64, e: V128, f: Option<ExternRef>, g: Option<Func>| {
                (g, f, e, d, c, b, a)
            },
        )?;
        let module = module(
            &engine,
            r#"(module
                (type $t (func (param i32 i64 f32 f64 v128 externref funcref)
                               (result funcref externref v128 f64 f32 i64 i32)))
                (import "" "h" (func $h (type $t)))
                (func (export "f") (type $t)
                    (call $h (local.get 0) (local.get 1) (local.get 2) (local.get 3)
                             (local.get 4) (local.get 5) (local.get 6))))"#,
        );
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module)?;
        let external = ExternRef::new(&mut store, 7u8)?;
        let f = instance.get_func(&mut store, "f").unwrap();
        let params = [
            Val::I32(-1),
            Val::I64(i64::MIN),
            Val::F32(0x7fc0_0001),
            Val::F64(1.5f64.to_bits()),
            Val::V128(V128::from(u128::MAX - 5)),
            Val::ExternRef(Some(external)),
            Val::FuncRef(Some(f)),
        ];
        let mut results = vec![Val::I32(0); 7];
        f.call(&mut store, &params, &mut results)?;
        assert_eq!(results[6].unwrap_i32(), -1);
        assert_eq!(results[5].unwrap_i64(), i64::MIN);
        assert!(matches!(results[4], Val::F32(0x7fc0_0001)));
        assert_eq!(results[3].unwrap_f64(), 1.5);
        assert_eq!(results[2].unwrap_v128().as_u128(), u128::MAX - 5);
        let back = results[1].unwrap_externref().unwrap();
        assert_eq!(back.data(&store)?.downcast_ref(), Some(&7u8));
        assert_eq!(results[0].unwrap_funcref(), Some(&f));
    }
    Ok(())
}

#[test]
fn sixteen_parameters_and_results_keep_their_places() -> Result<()> {
    for engine in engines() {
        let mut store = Store::new(&engine, ());
        type Many = (
            i32,
            f64,
            i64,
            f32,
            i32,
            f64,
            i64,
            f32,
            i32,
            f64,
            i64,
            f32,
            i32,
            f64,
            i64,
            f32,
        );
        #[rustfmt::skip]
        let host = Func::wrap(
            &mut store,
            |a: i32, b: f64, c: i64, d: f32, e: i32, f: f64, g: i64, h: f32,
             i: i32, j: f64, k: i64, l: f32, m: i32, n: f64, o: i64, p: f32|
             -> Many { (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p) },
        );
        let types = "i32 f64 i64 f32 i32 f64 i64 f32 i32 f64 i64 f32 i32 f64 i64 f32";
        let gets: String = (0..16).map(|i| format!("local.get {i} ")).collect();
        let module = module(
            &engine,
            &format!(
                r#"(module
                (import "" "" (func $h (param {types}) (result {types})))
                (func $g (param {types}) (result {types}) {gets} call $h)
                (func (export "f") (param {types}) (result {types}) {gets} call $g))"#
            ),
        );
        let instance = Instance::new(&mut store, &module, &[host.into()])?;
        let f = instance.get_typed_func::<Many, Many>(&mut store, "f")?;
        #[rustfmt::skip]
        let values: Many = (1, 2.0, 3, 4.0, 5, 6.0, 7, 8.0, 9, 10.0, 11, 12.0, 13, 14.0, 15, 16.0);
        for _ in 0..2 {
            // Longer tuples than the standard library compares.
            #[rustfmt::skip]
            let (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p) = f.call(&mut store, values)?;
            assert_eq!([a, e, i, m], [1, 5, 9, 13]);
            assert_eq!([b, f, j, n], [2.0, 6.0, 10.0, 14.0]);
            assert_eq!([c, g, k, o], [3, 7, 11, 15]);
            assert_eq!([d, h, l, p], [4.0, 8.0, 12.0, 16.0]);
        }
    }
    Ok(())
}

#[test]
fn wasm_and_host_call_each_other_recursively() -> Result<()> {
    for engine in engines() {
        let mut linker = Linker::<u32>::new(&engine);
        linker.func_wrap(
            "",
            "down",
            |mut caller: Caller<'_, u32>, n: u32| -> Result<u32> {
                *caller.data_mut() += 1;
                let f = caller.get_export("f").and_then(|e| e.into_func());
                let f = f.ok_or_else(|| Error::msg("no `f`"))?;
                f.typed::<u32, u32>(&caller)?.call(&mut caller, n)
            },
        )?;
        let module = module(
            &engine,
            r#"(module
                (import "" "down" (func $down (param i32) (result i32)))
                (func (export "f") (param i32) (result i32)
                    (if (result i32) (i32.eqz (local.get 0))
                        (then (i32.const 100))
                        (else (i32.add (i32.const 1)
                            (call $down (i32.sub (local.get 0) (i32.const 1))))))))"#,
        );
        let mut store = Store::new(&engine, 0);
        let instance = linker.instantiate(&mut store, &module)?;
        let f = instance.get_typed_func::<u32, u32>(&mut store, "f")?;
        assert_eq!(f.call(&mut store, 20)?, 120);
        assert_eq!(*store.data(), 20);
    }
    Ok(())
}

#[test]
fn host_functions_can_be_called_by_the_host() -> Result<()> {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let native = Func::wrap(&mut store, |a: i64, b: f32| (b, a));
    let mut results = [Val::I32(0), Val::I32(0)];
    native.call(&mut store, &[Val::I64(5), 2.5f32.into()], &mut results)?;
    assert_eq!(results[0].unwrap_f32(), 2.5);
    assert_eq!(results[1].unwrap_i64(), 5);

    let ty = FuncType::new(&engine, [ValType::I32, ValType::I32], [ValType::I32]);
    let array = Func::new(&mut store, ty, |_, params, results| {
        results[0] = Val::I32(params[0].unwrap_i32() - params[1].unwrap_i32());
        Ok(())
    });
    let array = array.typed::<(i32, i32), i32>(&store)?;
    assert_eq!(array.call(&mut store, (50, 8))?, 42);
    Ok(())
}

#[test]
fn wrong_calls_are_errors_that_say_why() -> Result<()> {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let f = Func::wrap(&mut store, |_: i32| ());
    let error = f.call(&mut store, &[], &mut []).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert_eq!(error.to_string(), "expected 1 arguments, got 0");
    let error = f.call(&mut store, &[Val::I64(1)], &mut []).unwrap_err();
    assert!(
        format!("{error:#}").contains("expected a value of type i32"),
        "{error:#}"
    );
    let error = f.typed::<i64, ()>(&store).unwrap_err();
    assert!(error.to_string().contains("(i32) -> ()"), "{error}");

    let mut other = Store::new(&engine, ());
    let error = f.call(&mut other, &[Val::I32(1)], &mut []).unwrap_err();
    assert!(error.to_string().contains("another store"), "{error}");
    let take = Func::wrap(&mut other, |_: Option<Func>| ());
    let error = take
        .call(&mut other, &[Val::FuncRef(Some(f))], &mut [])
        .unwrap_err();
    assert!(format!("{error:#}").contains("another store"), "{error:#}");
    Ok(())
}

#[test]
fn errors_and_panics_of_host_functions_pass_through_wasm() -> Result<()> {
    for engine in engines() {
        let mut linker = Linker::new(&engine);
        linker.func_wrap("", "h", |what: i32| -> Result<()> {
            match what {
                0 => Ok(()),
                1 => Err(std::io::Error::other("the disk is on fire").into()),
                2 => Err(Error::new(Trap::Interrupt)),
                _ => panic!("oh no"),
            }
        })?;
        let module = module(
            &engine,
            r#"(module $m (import "" "h" (func $h (param i32)))
                (func $inner (param i32) (call $h (local.get 0)))
                (func (export "f") (param i32) (call $inner (local.get 0))))"#,
        );
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module)?;
        let f = instance.get_typed_func::<i32, ()>(&mut store, "f")?;
        f.call(&mut store, 0)?;
        let error = f.call(&mut store, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert_eq!(error.to_string(), "the disk is on fire");
        let frames = error.backtrace().unwrap().frames();
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[0].func_name(), Some("inner"));
        let error = f.call(&mut store, 2).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));

        let panic =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| f.call(&mut store, 3)));
        assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"oh no"));
        // The store is as usable as before.
        f.call(&mut store, 0)?;
    }
    Ok(())
}

#[test]
fn linking_errors_name_the_import() {
    let engine = Engine::default();
    let module = module(
        &engine,
        r#"(module (import "env" "missing" (func (param i32) (result f64))))"#,
    );
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    let error = linker.instantiate(&mut store, &module).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Link);
    assert_eq!(
        error.to_string(),
        "unknown import: `env::missing` (func (i32) -> (f64)) has not been defined"
    );
    linker.func_wrap("env", "missing", |_: i64| 0.0f64).unwrap();
    let error = linker.instantiate(&mut store, &module).unwrap_err();
    assert!(
        error.to_string().contains("incompatible import type"),
        "{error}"
    );
    let error = linker
        .func_wrap("env", "missing", |_: i32| 0.0f64)
        .unwrap_err();
    assert!(error.to_string().contains("defined twice"), "{error}");
}

#[test]
fn an_imported_start_function_is_called_by_the_instance() -> Result<()> {
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module (import "h" "f" (func $f)) (memory (export "m") 2) (start $f))"#,
    )?;
    let mut store = Store::new(&engine, 0);
    let f = Func::wrap(&mut store, |mut caller: Caller<'_, u64>| {
        let memory = caller.get_export("m").and_then(|item| item.into_memory());
        *caller.data_mut() = memory.map_or(0, |memory| memory.size(&caller));
    });
    Instance::new(&mut store, &module, &[f.into()])?;
    assert_eq!(*store.data(), 2);
    // The host calls for nobody.
    f.typed::<(), ()>(&store)?.call(&mut store, ())?;
    assert_eq!(*store.data(), 0);
    Ok(())
}
