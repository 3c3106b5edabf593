//! Exceptions at the borders: of modules, of the host, of calls; and what is no exception.

use std::sync::Arc;

use bimetal::{
    CallHook, Caller, Config, Engine, Error, ErrorKind, Exception, ExnRef, ExnRefPre, ExnType,
    Extern, Func, FuncType, Instance, Linker, Module, Result, Store, Tag, TagType, ThrownException,
    Trap, Val, ValType,
};

fn engines() -> Vec<Engine> {
    let mut all = Vec::new();
    for lazy in [false, true] {
        for metered in [false, true] {
            let mut config = Config::new();
            config.lazy(lazy).compiler_verify(true);
            config.consume_fuel(metered).epoch_interruption(metered);
            all.push(Engine::new(&config).unwrap());
        }
    }
    let mut explicit = Config::new();
    explicit
        .signals_based_traps(false)
        .memory_reservation(0)
        .memory_guard_size(0);
    all.push(Engine::new(&explicit).unwrap());
    let mut zealous = Config::new();
    zealous.gc_zeal_alloc_counter(std::num::NonZeroU32::new(1));
    all.push(Engine::new(&zealous).unwrap());
    all
}

fn store(engine: &Engine) -> Store<()> {
    let mut store = Store::new(engine, ());
    let _ = store.set_fuel(1_000_000);
    if store.get_fuel().is_ok() {
        store.set_epoch_deadline(1_000);
    }
    store
}

fn int_tag(store: &mut Store<()>) -> Tag {
    let ty = FuncType::new(store.engine(), [ValType::I32], []);
    Tag::new(store, &TagType::new(ty)).unwrap()
}

/// `host.throw` throws, `host.call` calls `f` again and passes its error on; `run` calls one of both
/// and catches.
const BORDERS: &str = r#"(module
    (import "host" "tag" (tag $t (param i32)))
    (import "host" "throw" (func $throw (param i32)))
    (import "host" "throw-many" (func $throw-many (param i32) (result i32 i64)))
    (import "host" "call" (func $call (param i32)))
    (tag $other)
    (func (export "raise") (param i32) (throw $t (local.get 0)))
    (func (export "trap") (param i32) (unreachable))
    (func (export "run") (param i32) (result i32)
        (block $h (result i32)
            (block $o
                (try_table (catch $other $o) (catch $t $h) (call $throw (local.get 0))))
            (i32.const -1)))
    (func (export "many") (param i32) (result i32)
        (block $h (result i32)
            (try_table (catch $t $h) (drop (drop (call $throw-many (local.get 0)))))
            (i32.const -1)))
    (func (export "through") (param i32) (result i32)
        (block $h (result i32)
            (try_table (catch $t $h) (call $call (local.get 0)))
            (i32.const -1)))
    (func (export "all") (param i32)
        (block $h (try_table (catch_all $h) (call $throw (local.get 0))))))"#;

fn borders(engine: &Engine, calls: &'static str) -> Result<(Store<()>, Instance, Tag)> {
    let mut store = store(engine);
    let tag = int_tag(&mut store);
    let mut linker = Linker::new(engine);
    linker.define(&store, "host", "tag", tag)?;
    linker.func_wrap("host", "throw", move |caller: Caller<'_, ()>, n: i32| {
        if n == 0 {
            return Ok(());
        }
        if n < 0 {
            return Err(Error::msg("no exception"));
        }
        Err(Exception::new(caller, &tag, &[n.into()])?.into())
    })?;
    linker.func_wrap(
        "host",
        "throw-many",
        move |caller: Caller<'_, ()>, n: i32| {
            Err::<(i32, i64), Error>(Exception::new(caller, &tag, &[n.into()])?.into())
        },
    )?;
    linker.func_wrap("host", "call", move |mut caller: Caller<'_, ()>, n: i32| {
        let f = caller
            .get_export(calls)
            .and_then(Extern::into_func)
            .unwrap();
        let f = f.typed::<i32, ()>(&caller)?;
        f.call(&mut caller, n)
            .map_err(|error| error.context("called again"))
    })?;
    let module = Module::new(engine, BORDERS)?;
    let instance = linker.instantiate(&mut store, &module)?;
    Ok((store, instance, tag))
}

#[test]
fn host_functions_throw() -> Result<()> {
    for engine in engines() {
        let (mut store, instance, _) = borders(&engine, "raise")?;
        for name in ["run", "many"] {
            let run = instance.get_typed_func::<i32, i32>(&mut store, name)?;
            // Often: frames that were thrown over are found by what was kept of them.
            for n in 1..100 {
                assert_eq!(run.call(&mut store, n)?, n);
            }
        }
        let run = instance.get_typed_func::<i32, i32>(&mut store, "run")?;
        assert_eq!(run.call(&mut store, 0)?, -1);
        // Other errors are no exceptions, also where all are caught.
        let all = instance.get_typed_func::<i32, ()>(&mut store, "all")?;
        all.call(&mut store, 1)?;
        let error = all.call(&mut store, -1).unwrap_err();
        assert_eq!(error.to_string(), "no exception");
    }
    Ok(())
}

#[test]
fn exceptions_pass_through_host_functions() -> Result<()> {
    for engine in engines() {
        let (mut store, instance, _) = borders(&engine, "raise")?;
        let through = instance.get_typed_func::<i32, i32>(&mut store, "through")?;
        assert_eq!(through.call(&mut store, 7)?, 7);

        let (mut store, instance, _) = borders(&engine, "trap")?;
        let through = instance.get_typed_func::<i32, i32>(&mut store, "through")?;
        let error = through.call(&mut store, 7).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::Unreachable));
    }
    Ok(())
}

#[test]
fn uncaught_exceptions_are_errors() -> Result<()> {
    for engine in engines() {
        let (mut store, instance, tag) = borders(&engine, "raise")?;
        let raise = instance.get_typed_func::<i32, ()>(&mut store, "raise")?;
        let error = raise.call(&mut store, 42).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exception);
        assert!(error.is::<ThrownException>() && error.is::<Exception>());
        assert_eq!(error.to_string(), "uncaught exception (42)");
        assert_eq!(error.backtrace().unwrap().frames().len(), 1);

        assert!(store.has_pending_exception());
        let pending = store.take_pending_exception().unwrap();
        assert_eq!(pending.field(&mut store, 0)?.unwrap_i32(), 42);
        assert!(!store.has_pending_exception());

        store.gc();
        let exception = error.context("calling").downcast::<Exception>()?;
        assert!(Tag::eq(&exception.tag(), &tag, &store));
        assert_eq!(exception.values(&mut store)?[0].unwrap_i32(), 42);
        let reference = exception.exn_ref(&mut store)?;
        assert_eq!(reference.field(&mut store, 0)?.unwrap_i32(), 42);
        assert!(reference.field(&mut store, 1).is_err());
    }
    Ok(())
}

#[test]
fn messages_name_tag_and_payload() -> Result<()> {
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module
            (tag $oops (param i32 f64 externref funcref i64))
            (tag (export "exported"))
            (func $inner (throw $oops (i32.const -1) (f64.const 1.5) (ref.null extern)
                (ref.func $inner) (i64.const 7)))
            (export "inner" (func $inner))
            (func (export "outer") (call $inner))
            (func (export "other") (throw 1)))"#,
    )?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let outer = instance.get_typed_func::<(), ()>(&mut store, "outer")?;
    let error = outer.call(&mut store, ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "uncaught exception `oops` (-1, 1.5, null, a function, 7)"
    );
    let frames = error.backtrace().unwrap().frames();
    let names: Vec<_> = frames.iter().map(|frame| frame.func_name()).collect();
    assert_eq!(names, [Some("inner"), Some("outer")]);
    let other = instance.get_typed_func::<(), ()>(&mut store, "other")?;
    let error = other.call(&mut store, ()).unwrap_err();
    assert_eq!(error.to_string(), "uncaught exception `exported` ()");
    let tag = instance.get_tag(&mut store, "exported").unwrap();
    assert_eq!(tag.name(&store).as_deref(), Some("exported"));
    Ok(())
}

#[test]
fn modules_share_tags() -> Result<()> {
    for engine in engines() {
        let thrower = Module::new(
            &engine,
            r#"(module
                (tag $t (export "t") (param i64))
                (func (export "throw") (param i64) (throw $t (local.get 0))))"#,
        )?;
        let catcher = Module::new(
            &engine,
            r#"(module
                (import "a" "t" (tag $t (param i64)))
                (import "a" "throw" (func $throw (param i64)))
                (import "b" "t" (tag $other (param i64)))
                (func (export "own") (param i64) (result i64)
                    (block $h (result i64)
                        (block $o (result i64)
                            (try_table (catch $other $o) (catch $t $h)
                                (call $throw (local.get 0)))
                            (unreachable))
                        (drop) (i64.const -1))))"#,
        )?;
        let mut store = store(&engine);
        let a = Instance::new(&mut store, &thrower, &[])?;
        let b = Instance::new(&mut store, &thrower, &[])?;
        let mut linker = Linker::new(&engine);
        linker.instance(&mut store, "a", a)?;
        linker.instance(&mut store, "b", b)?;
        let instance = linker.instantiate(&mut store, &catcher)?;
        let own = instance.get_typed_func::<i64, i64>(&mut store, "own")?;
        assert_eq!(own.call(&mut store, 5)?, 5);
        let (t, u) = (a.get_tag(&mut store, "t"), b.get_tag(&mut store, "t"));
        assert!(!Tag::eq(&t.unwrap(), &u.unwrap(), &store));
    }
    Ok(())
}

#[test]
fn fuel_and_deadlines_are_no_exceptions() -> Result<()> {
    let mut config = Config::new();
    config.consume_fuel(true).epoch_interruption(true);
    let engine = Engine::new(&config)?;
    let module = Module::new(
        &engine,
        r#"(module
            (tag $t)
            (func $spin (loop $l (br $l)))
            (func $throw (throw $t))
            (func (export "spin") (block $h (try_table (catch_all $h) (call $spin))))
            (func (export "legacy") try (call $spin) catch_all end)
            (func (export "loop") (param i32)
                (loop $l
                    (block $h (try_table (catch_all $h) (call $throw)))
                    (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"#,
    )?;
    let mut store = Store::new(&engine, ());
    store.set_epoch_deadline(1_000);
    let instance = Instance::new(&mut store, &module, &[])?;
    for name in ["spin", "legacy"] {
        let spin = instance.get_typed_func::<(), ()>(&mut store, name)?;
        store.set_fuel(10_000)?;
        let error = spin.call(&mut store, ()).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::OutOfFuel));
        store.set_fuel(u64::MAX)?;
        store.set_epoch_deadline(0);
        let error = spin.call(&mut store, ()).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
        store.set_epoch_deadline(1_000);
    }
    // What a caller consumed before it threw is consumed: each round costs the same.
    let run = instance.get_typed_func::<i32, ()>(&mut store, "loop")?;
    let mut consumed = |n: i32| {
        store.set_fuel(1_000_000).unwrap();
        run.call(&mut store, n).unwrap();
        1_000_000 - store.get_fuel().unwrap()
    };
    let (one, two, ten) = (consumed(1), consumed(2), consumed(10));
    assert!(two > one);
    assert_eq!(ten, one + 9 * (two - one));
    Ok(())
}

#[test]
fn call_hooks_are_told_of_all_returns() -> Result<()> {
    let engine = Engine::default();
    let mut store = Store::new(&engine, Vec::new());
    store.call_hook(|mut context, hook| {
        context.data_mut().push(hook);
        Ok(())
    });
    let ty = TagType::new(FuncType::new(&engine, [], []));
    let tag = Tag::new(&mut store, &ty)?;
    let throw = Func::wrap(&mut store, move |caller: Caller<'_, Vec<CallHook>>| {
        Err::<(), Error>(Exception::new(caller, &tag, &[])?.into())
    });
    let module = Module::new(
        &engine,
        r#"(module (import "" "t" (tag $t)) (import "" "f" (func $f))
            (func (export "run") (block $h (try_table (catch $t $h) (call $f)))))"#,
    )?;
    let instance = Instance::new(&mut store, &module, &[tag.into(), throw.into()])?;
    let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
    store.data_mut().clear();
    run.call(&mut store, ())?;
    assert_eq!(
        *store.data(),
        [
            CallHook::CallingWasm,
            CallHook::CallingHost,
            CallHook::ReturningFromHost,
            CallHook::ReturningFromWasm
        ]
    );
    Ok(())
}

#[tokio::test]
async fn asynchronous_host_functions_throw_after_they_waited() -> Result<()> {
    for engine in engines() {
        let mut store = store(&engine);
        let tag = int_tag(&mut store);
        let mut linker = Linker::new(&engine);
        linker.define(&store, "host", "tag", tag)?;
        linker.func_wrap_async(
            "host",
            "throw",
            move |caller: Caller<'_, ()>, (n,): (i32,)| {
                Box::new(async move {
                    tokio::task::yield_now().await;
                    Err::<(), Error>(Exception::new(caller, &tag, &[n.into()])?.into())
                })
            },
        )?;
        let module = Module::new(
            &engine,
            r#"(module
                (import "host" "tag" (tag $t (param i32)))
                (import "host" "throw" (func $throw (param i32)))
                (func (export "run") (param i32) (result i32)
                    (block $h (result i32)
                        (try_table (catch $t $h) (call $throw (local.get 0)))
                        (i32.const -1)))
                (func (export "uncaught") (param i32) (call $throw (local.get 0))))"#,
        )?;
        let instance = linker.instantiate_async(&mut store, &module).await?;
        let run = instance.get_typed_func::<i32, i32>(&mut store, "run")?;
        for n in 1..10 {
            assert_eq!(run.call_async(&mut store, n).await?, n);
        }
        let uncaught = instance.get_typed_func::<i32, ()>(&mut store, "uncaught")?;
        let error = uncaught.call_async(&mut store, 3).await.unwrap_err();
        assert!(error.is::<Exception>());
    }
    Ok(())
}

#[test]
fn misuse_is_refused() -> Result<()> {
    let engine = Engine::default();
    let (mut one, mut two) = (Store::new(&engine, ()), Store::new(&engine, ()));
    let tag = int_tag(&mut one);
    assert!(Exception::new(&mut two, &tag, &[1.into()]).is_err());
    assert!(Exception::new(&mut one, &tag, &[]).is_err());
    assert!(Exception::new(&mut one, &tag, &[Val::I64(1)]).is_err());
    let with_results = TagType::new(FuncType::new(&engine, [], [ValType::I32]));
    assert!(Tag::new(&mut one, &with_results).is_err());
    assert!(ExnType::from_tag_type(&with_results).is_err());
    let other = ExnRefPre::new(&mut one, ExnType::new(&engine, [ValType::I64])?);
    assert!(ExnRef::new(&mut one, &other, &tag, &[Val::I64(1)]).is_err());

    // An exception of another store is an error like any other.
    let exception = Arc::new(std::sync::Mutex::new(Some(Exception::new(
        &mut one,
        &tag,
        &[1.into()],
    )?)));
    let throw = Func::wrap(&mut two, move || {
        let exception = exception.lock().unwrap().take().unwrap();
        Err::<(), Error>(exception.into())
    });
    let module = Module::new(
        &engine,
        r#"(module (import "" "f" (func $f))
            (func (export "run") (block $h (try_table (catch_all $h) (call $f)))))"#,
    )?;
    let instance = Instance::new(&mut two, &module, &[throw.into()])?;
    let run = instance.get_typed_func::<(), ()>(&mut two, "run")?;
    assert!(run.call(&mut two, ()).unwrap_err().is::<Exception>());
    Ok(())
}

#[test]
fn references_in_exceptions_are_kept() -> Result<()> {
    for engine in engines() {
        keep_references(&engine)?;
    }
    Ok(())
}

fn keep_references(engine: &Engine) -> Result<()> {
    let module = Module::new(
        engine,
        r#"(module
            (tag $t (param externref i32 externref))
            (import "host" "gc" (func $gc))
            (func $throw (param externref i32)
                (throw $t (local.get 0) (local.get 1) (local.get 0)))
            (type $s (struct (field (mut i32)) (field (ref null struct))))
            (func $make (param i32) (result (ref $s))
                (struct.new $s (local.get 0) (struct.new $s (local.get 0) (ref.null struct))))
            (func $throw-or-make (param i32) (result (ref $s))
                (if (i32.and (local.get 0) (i32.const 1))
                    (then (throw $i (local.get 0) (call $make (local.get 0)))))
                (call $make (local.get 0)))
            (tag $i (param i32 (ref $s)))
            ;; Objects live across calls that return and that throw.
            (func (export "objects") (param i32) (result i32)
                (local $sum i32) (local $kept (ref null $s)) (local $r (ref null $s))
                (loop $l
                    (local.set $kept (call $make (local.get 0)))
                    (block $done
                        (block $h (result i32 (ref $s))
                            (local.set $r
                                (try_table (result (ref $s)) (catch $i $h)
                                    (call $throw-or-make (local.get 0))))
                            (br $done))
                        (local.set $r)
                        (local.set $sum (i32.add (local.get $sum))))
                    (local.set $sum (i32.add (local.get $sum)
                        (i32.sub (struct.get $s 0 (local.get $r)) (struct.get $s 0 (local.get $kept)))))
                    (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
                (local.get $sum))
            (func (export "run") (param externref i32) (result externref)
                (local $e exnref)
                (block $h (result exnref)
                    (try_table (catch_all_ref $h) (call $throw (local.get 0) (local.get 1)))
                    (unreachable))
                (local.set $e)
                (local.set 0 (ref.null extern))
                (call $gc)
                (block $h (result externref i32 externref)
                    (try_table (catch $t $h) (throw_ref (local.get $e)))
                    (unreachable))
                (drop) (drop)))"#,
    )?;
    let mut linker = Linker::new(engine);
    linker.func_wrap("host", "gc", |mut caller: Caller<'_, ()>| {
        caller.gc();
    })?;
    let mut store = store(engine);
    let instance = linker.instantiate(&mut store, &module)?;
    let objects = instance.get_typed_func::<i32, i32>(&mut store, "objects")?;
    assert_eq!(objects.call(&mut store, 100)?, 2500);
    let run = instance.get_func(&mut store, "run").unwrap();
    for i in 0..300_u32 {
        let value = bimetal::ExternRef::new(&mut store, i)?;
        let mut results = [Val::null_extern_ref()];
        run.call(&mut store, &[value.into(), 3.into()], &mut results)?;
        let kept = results[0].unwrap_externref().unwrap();
        assert_eq!(kept.data(&store)?.downcast_ref(), Some(&i));
    }
    Ok(())
}

#[test]
fn images_and_snapshots_have_handlers_and_tags() -> Result<()> {
    let engine = Engine::default();
    let text = r#"(module
        (tag $t (export "t") (param i32))
        (global $g (mut i32) (i32.const 1))
        (func $throw (param i32) (throw $t (i32.add (local.get 0) (global.get $g))))
        (func (export "init") (global.set $g (i32.const 10)))
        (func (export "run") (param i32) (result i32)
            (block $h (result i32)
                (try_table (catch $t $h) (call $throw (local.get 0)))
                (i32.const -1))))"#;
    let image = engine.precompile_module(text.as_bytes())?;
    // SAFETY: made just now.
    let module = unsafe { Module::deserialize(&engine, image)? };
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let run = instance.get_typed_func::<i32, i32>(&mut store, "run")?;
    assert_eq!(run.call(&mut store, 5)?, 6);

    let init = instance.get_typed_func::<(), ()>(&mut store, "init")?;
    init.call(&mut store, ())?;
    let snapshot = instance.snapshot(&store)?;
    let module = snapshot.module()?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let run = instance.get_typed_func::<i32, i32>(&mut store, "run")?;
    assert_eq!(run.call(&mut store, 5)?, 15);
    assert!(instance.get_tag(&mut store, "t").is_some());
    Ok(())
}
