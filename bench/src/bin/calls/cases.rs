// Included once for each runtime, which is `runtime` here. Both get their defaults, and the same
// modules as binaries.

use runtime::{
    Caller, Config, Engine, Func, FuncType, Instance, Linker, Module, Result, Store, TypedFunc, Val,
    ValType,
};

use bimetal_bench::bursts::Case;

/// Calls in a burst.
const MANY: u32 = 20_000;

/// What the host calls.
const CALLEES: &str = r#"(module
    (func (export "nothing"))
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "fadd") (param f64 f64) (result f64) (f64.add (local.get 0) (local.get 1)))
    (func (export "swap") (param i32 i64) (result i64 i32) (local.get 1) (local.get 0))
    (func (export "eight") (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
        (i32.add (local.get 0) (local.get 7))))"#;

/// What calls the host, in loops; and the loops without the calls.
const CALLERS: &str = r#"(module
    (import "host" "nothing" (func $nothing))
    (import "host" "add" (func $add (param i32 i32) (result i32)))
    (import "host" "add_caller" (func $add_caller (param i32 i32) (result i32)))
    (import "host" "add_untyped" (func $add_untyped (param i32 i32) (result i32)))
    (import "host" "fadd" (func $fadd (param f64 f64) (result f64)))
    (import "host" "swap" (func $swap (param i32 i64) (result i64 i32)))
    (import "host" "eight" (func $eight (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (func (export "empty") (param $n i32) (result i32) (local $x i32)
        (loop
            (local.set $x (i32.add (local.get $x) (local.get $n)))
            (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $x))
    (func (export "nothing") (param $n i32) (result i32)
        (loop
            (call $nothing)
            (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $n))
    (func (export "add") (param $n i32) (result i32) (local $x i32)
        (loop
            (local.set $x (call $add (local.get $x) (local.get $n)))
            (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $x))
    (func (export "add_caller") (param $n i32) (result i32) (local $x i32)
        (loop
            (local.set $x (call $add_caller (local.get $x) (local.get $n)))
            (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $x))
    (func (export "add_untyped") (param $n i32) (result i32) (local $x i32)
        (loop
            (local.set $x (call $add_untyped (local.get $x) (local.get $n)))
            (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $x))
    (func (export "fadd") (param $n i32) (result i32) (local $x f64)
        (loop
            (local.set $x (call $fadd (local.get $x) (f64.const 0.5)))
            (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $n))
    (func (export "swap") (param $n i32) (result i32) (local $x i64)
        (loop
            (call $swap (local.get $n) (local.get $x))
            drop
            local.set $x
            (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $n))
    (func (export "eight") (param $n i32) (result i32) (local $x i32)
        (loop
            (local.set $x (call $eight (local.get $x) (local.get $n) (local.get $n) (local.get $n)
                (local.get $n) (local.get $n) (local.get $n) (local.get $n)))
            (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $x)))"#;

/// Throws, and what is like them, in loops.
const THROWS: &str = r#"(module
    (tag $t (param i32))
    (tag $other (param i64))
    (func $throw (param $n i32) (throw $t (local.get $n)))
    (func $keep (param $n i32) (result i32) (local.get $n))
    (func $deep (param $n i32) (param $depth i32)
        (if (local.get $depth)
            (then (call $deep (local.get $n) (i32.sub (local.get $depth) (i32.const 1))))
            (else (throw $t (local.get $n)))))
    (func $clean (param $n i32)
        (throw_ref (block $h (result exnref)
            (try_table (catch_all_ref $h) (call $throw (local.get $n)))
            (unreachable))))
    (func (export "empty") (param $n i32) (result i32) (local $x i32)
        (loop $l
            (local.set $x (i32.add (local.get $x) (local.get $n)))
            (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $x))
    (func (export "one") (param $n i32) (result i32) (local $x i32)
        (loop $l
            (block $h (result i32)
                (try_table (catch $t $h) (call $throw (local.get $n)))
                (unreachable))
            (local.set $x (i32.add (local.get $x)))
            (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $x))
    (func (export "ten") (param $n i32) (result i32) (local $x i32)
        (loop $l
            (block $h (result i32)
                (try_table (catch $t $h) (call $deep (local.get $n) (i32.const 9)))
                (unreachable))
            (local.set $x (i32.add (local.get $x)))
            (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $x))
    (func (export "again") (param $n i32) (result i32) (local $x i32)
        (loop $l
            (block $h (result i32)
                (try_table (catch $t $h) (call $clean (local.get $n)))
                (unreachable))
            (local.set $x (i32.add (local.get $x)))
            (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $x))
    (func (export "past") (param $n i32) (result i32) (local $x i32)
        (loop $l
            (block $h (result i32)
                (try_table (catch $t $h)
                    (drop (block $o (result i64)
                        (try_table (catch $other $o) (call $throw (local.get $n)))
                        (unreachable))))
                (unreachable))
            (local.set $x (i32.add (local.get $x)))
            (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $x))
    (func (export "same") (param $n i32) (result i32) (local $x i32)
        (loop $l
            (block $h (result i32)
                (try_table (catch $t $h) (throw $t (local.get $n)))
                (unreachable))
            (local.set $x (i32.add (local.get $x)))
            (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $x))
    (func (export "straight") (param $n i32) (result i32) (local $x i32)
        (loop $l
            (block $h (result i32)
                (try_table (result i32) (catch $t $h) (call $keep (local.get $n))))
            (local.set $x (i32.add (local.get $x)))
            (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $x))
    (table funcref (elem $s0 $s1 $s2 $s3))
    (type $state (func (param i32 i32) (result i32)))
    (func $s0 (type $state)
        (if (i32.eqz (local.get 0)) (then (return (local.get 1))))
        (return_call $s1 (i32.sub (local.get 0) (i32.const 1)) (i32.add (local.get 1) (i32.const 1))))
    (func $s1 (type $state)
        (if (i32.eqz (local.get 0)) (then (return (local.get 1))))
        (return_call_indirect (type $state)
            (i32.sub (local.get 0) (i32.const 1)) (i32.mul (local.get 1) (i32.const 3))
            (i32.and (i32.shr_u (local.get 1) (i32.const 4)) (i32.const 3))))
    (func $s2 (type $state)
        (if (i32.eqz (local.get 0)) (then (return (local.get 1))))
        (return_call $s3 (i32.sub (local.get 0) (i32.const 1)) (i32.xor (local.get 1) (i32.const 7))))
    (func $s3 (type $state)
        (if (i32.eqz (local.get 0)) (then (return (local.get 1))))
        (return_call $s0 (i32.sub (local.get 0) (i32.const 1)) (i32.rotl (local.get 1) (i32.const 5))))
    (func (export "machine") (param $n i32) (result i32)
        (call $s0 (local.get $n) (i32.const 1))))"#;

/// An instance like a small plug-in's.
const PLUGIN: &str = r#"(module
    (import "host" "add" (func $add (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 16) "hello")
    (global (mut i32) (i32.const 7))
    (table funcref (elem $add $f))
    (func $f (export "f") (result i32) (call $add (i32.const 1) (i32.const 2))))"#;

fn module(engine: &Engine, text: &str) -> Result<Module> {
    let binary = wat::parse_str(text).expect("the text is right");
    Module::new(engine, &binary)
}

fn engine(epochs: bool) -> Result<Engine> {
    let mut config = Config::new();
    config.epoch_interruption(epochs);
    Engine::new(&config)
}

fn store(engine: &Engine, epochs: bool) -> Store<u64> {
    let mut store = Store::new(engine, 0);
    if epochs {
        store.set_epoch_deadline(1);
    }
    store
}

fn linker(engine: &Engine) -> Result<Linker<u64>> {
    let mut linker = Linker::new(engine);
    linker.func_wrap("host", "nothing", || {})?;
    linker.func_wrap("host", "add", |a: i32, b: i32| a.wrapping_add(b))?;
    linker.func_wrap("host", "add_caller", |mut caller: Caller<'_, u64>, a: i32, b: i32| {
        *caller.data_mut() += 1;
        a.wrapping_add(b)
    })?;
    let ty = FuncType::new(engine, [ValType::I32, ValType::I32], [ValType::I32]);
    linker.func_new("host", "add_untyped", ty, |_, params, results| {
        if let [Val::I32(a), Val::I32(b)] = *params {
            results[0] = Val::I32(a.wrapping_add(b));
        }
        Ok(())
    })?;
    linker.func_wrap("host", "fadd", |a: f64, b: f64| a + b)?;
    linker.func_wrap("host", "swap", |a: i32, b: i64| (b, a))?;
    linker.func_wrap(
        "host",
        "eight",
        |a: i32, _: i32, _: i32, _: i32, _: i32, _: i32, _: i32, h: i32| a.wrapping_add(h),
    )?;
    Ok(linker)
}

/// A loop of wasm that calls the host, or not.
fn from_wasm(name: &'static str, export: &str, epochs: bool) -> Result<Case> {
    let engine = engine(epochs)?;
    let mut store = store(&engine, epochs);
    let instance = linker(&engine)?.instantiate(&mut store, &module(&engine, CALLERS)?)?;
    let f: TypedFunc<i32, i32> = instance.get_typed_func(&mut store, export)?;
    Ok(Case::new(name, MANY, move |n| {
        let result = f.call(&mut store, n as i32).expect("it does not trap");
        std::hint::black_box(result);
    }))
}

/// A loop of wasm in which something is thrown.
fn throws(name: &'static str, export: &str) -> Result<Case> {
    let mut config = Config::new();
    config.wasm_exceptions(true).wasm_tail_call(true);
    let engine = Engine::new(&config)?;
    let mut store = store(&engine, false);
    let instance = Instance::new(&mut store, &module(&engine, THROWS)?, &[])?;
    let f: TypedFunc<i32, i32> = instance.get_typed_func(&mut store, export)?;
    // Some take a thousand times as long as a call.
    Ok(Case::new(name, MANY / 10, move |n| {
        let result = f.call(&mut store, n as i32).expect("it is caught");
        std::hint::black_box(result);
    }))
}

fn add(name: &'static str, epochs: bool) -> Result<Case> {
    let (mut store, instance) = callees(epochs)?;
    let f: TypedFunc<(i32, i32), i32> = instance.get_typed_func(&mut store, "add")?;
    Ok(Case::new(name, MANY, move |n| {
        let mut x = 0;
        for i in 0..n as i32 {
            x = f.call(&mut store, (x, i)).expect("it does not trap");
        }
        std::hint::black_box(x);
    }))
}

fn callees(epochs: bool) -> Result<(Store<u64>, Instance)> {
    let engine = engine(epochs)?;
    let mut store = store(&engine, epochs);
    let instance = Instance::new(&mut store, &module(&engine, CALLEES)?, &[])?;
    Ok((store, instance))
}

/// A value is `Copy` in one of the runtimes only.
fn clone<V: Clone>(value: &V) -> V {
    value.clone()
}

/// All cases.
pub(crate) fn cases() -> Result<Vec<Case>> {
    let mut cases = vec![
        add("host→wasm (i32 i32) → i32", false)?,
        add("… with epochs", true)?,
    ];

    let (mut store, instance) = callees(false)?;
    let f: TypedFunc<(), ()> = instance.get_typed_func(&mut store, "nothing")?;
    cases.push(Case::new("host→wasm () → ()", MANY, move |n| {
        for _ in 0..n {
            f.call(&mut store, ()).expect("it does not trap");
        }
    }));

    let (mut store, instance) = callees(false)?;
    let f: TypedFunc<(f64, f64), f64> = instance.get_typed_func(&mut store, "fadd")?;
    cases.push(Case::new("host→wasm (f64 f64) → f64", MANY, move |n| {
        let mut x = 0.0;
        for _ in 0..n {
            x = f.call(&mut store, (x, 0.5)).expect("it does not trap");
        }
        std::hint::black_box(x);
    }));

    let (mut store, instance) = callees(false)?;
    let f: TypedFunc<(i32, i64), (i64, i32)> = instance.get_typed_func(&mut store, "swap")?;
    cases.push(Case::new("host→wasm (i32 i64) → (i64 i32)", MANY, move |n| {
        let mut x = (0, 1);
        for _ in 0..n {
            let (b, a) = f.call(&mut store, x).expect("it does not trap");
            x = (a, b);
        }
        std::hint::black_box(x);
    }));

    let (mut store, instance) = callees(false)?;
    type Eight = (i32, i32, i32, i32, i32, i32, i32, i32);
    let f: TypedFunc<Eight, i32> = instance.get_typed_func(&mut store, "eight")?;
    cases.push(Case::new("host→wasm (8 × i32) → i32", MANY, move |n| {
        let mut x = 0;
        for i in 0..n as i32 {
            let params = (x, i, i, i, i, i, i, i);
            x = f.call(&mut store, params).expect("it does not trap");
        }
        std::hint::black_box(x);
    }));

    let (mut store, instance) = callees(false)?;
    let f: Func = instance.get_func(&mut store, "add").expect("it is exported");
    cases.push(Case::new("host→wasm untyped", MANY, move |n| {
        let mut results = [Val::I32(0)];
        for i in 0..n as i32 {
            let [last] = &results;
            let params = [clone(last), Val::I32(i)];
            f.call(&mut store, &params, &mut results).expect("it does not trap");
        }
        std::hint::black_box(&results);
    }));

    cases.push(from_wasm("an empty loop of wasm", "empty", false)?);
    cases.push(from_wasm("an empty loop, with epochs", "empty", true)?);
    for (name, export) in [
        ("wasm→host (i32 i32) → i32", "add"),
        ("wasm→host () → ()", "nothing"),
        ("wasm→host with `Caller`", "add_caller"),
        ("wasm→host (f64 f64) → f64", "fadd"),
        ("wasm→host (i32 i64) → (i64 i32)", "swap"),
        ("wasm→host (8 × i32) → i32", "eight"),
        ("wasm→host untyped", "add_untyped"),
    ] {
        cases.push(from_wasm(name, export, false)?.without("an empty loop of wasm"));
    }
    let with_epochs = from_wasm("wasm→host with epochs", "add", true)?;
    cases.push(with_epochs.without("an empty loop, with epochs"));

    for (name, export) in [
        ("throw, caught one frame up", "one"),
        ("throw, caught ten frames up", "ten"),
        ("throw past a clause for another tag", "past"),
        ("throw, caught and thrown again", "again"),
        ("throw, caught in the same function", "same"),
        ("a call in a try_table, nothing thrown", "straight"),
        ("a tail call of a state machine", "machine"),
    ] {
        cases.push(throws(name, export)?);
    }

    let engine = engine(false)?;
    let pre = linker(&engine)?.instantiate_pre(&module(&engine, PLUGIN)?)?;
    cases.push(Case::new("a store and an instance", 50, move |n| {
        for _ in 0..n {
            let mut store = Store::new(&engine, 0);
            let instance = pre.instantiate(&mut store).expect("it can be instantiated");
            std::hint::black_box(instance);
        }
    }));
    Ok(cases)
}
