//! What is inlined behaves as if it had been called: in backtraces, when the stack ends, when a store
//! is interrupted.

use bimetal::{
    Caller, Config, Engine, Error, Func, Instance, Linker, Module, OptLevel, Result, Store, Trap,
    TypedFunc, WasmBacktrace,
};

/// Calls of functions on objects in each other, two of them recursive, all small enough to be inlined.
const TREES: &str = r#"(module
    (type $tree (struct (field $left (ref null $tree)) (field $value i32)))
    (type $function (func (param (ref null $tree)) (result i32)))
    (import "host" "see" (func $see (param i32)))
    (global $callee (mut (ref $function)) (ref.func $value))
    (func $value (type $function) (struct.get $tree $value (local.get 0)))
    (func $twice (param (ref null $tree)) (result i32)
        (call $see (i32.const 2))
        (i32.add (call $value (local.get 0)) (call $value (local.get 0))))
    (func $by_ref (param (ref null $tree)) (result i32)
        (call_ref $function (local.get 0) (global.get $callee)))
    (func $depth (param $n i32) (param $tree (ref null $tree)) (result i32)
        (if (result i32) (i32.eqz (local.get $n))
            (then (i32.add (call $by_ref (local.get $tree)) (call $twice (local.get $tree))))
            (else (i32.add (i32.const 1) (call $depth
                (i32.sub (local.get $n) (i32.const 1))
                (struct.new $tree (local.get $tree) (local.get $n)))))))
    (func $nowhere (param $n i32) (result (ref null $tree))
        (if (result (ref null $tree)) (i32.eqz (local.get $n))
            (then (ref.null $tree))
            (else (struct.get $tree $left (call $nowhere (i32.sub (local.get $n) (i32.const 1)))))))
    (func (export "depth") (param i32) (result i32)
        (call $depth (local.get 0) (ref.null $tree)))
    (func (export "nowhere") (param i32) (result i32)
        (call $twice (call $nowhere (local.get 0))))
    (func $endless (export "endless") (param i32) (result i32)
        (call $value (struct.new $tree (ref.null $tree)
            (call $endless (i32.add (local.get 0) (i32.const 1)))))))"#;

/// All that can be seen of a stack: functions and where in them, the innermost first.
type Frames = Vec<(u32, Option<usize>)>;

fn frames(backtrace: &WasmBacktrace) -> Frames {
    let frames = backtrace.frames().iter();
    frames
        .map(|frame| (frame.func_index(), frame.module_offset()))
        .collect()
}

/// What the host saw of a call, and what became of it.
fn run(config: &Config, function: &str, argument: i32) -> Result<(Vec<Frames>, Result<i32>)> {
    let engine = Engine::new(config)?;
    let mut store = Store::new(&engine, Vec::new());
    let mut linker = Linker::new(&engine);
    linker.func_wrap(
        "host",
        "see",
        |mut caller: Caller<'_, Vec<Frames>>, _: i32| {
            let seen = frames(&WasmBacktrace::force_capture(&caller));
            caller.data_mut().push(seen);
        },
    )?;
    let instance = linker.instantiate(&mut store, &Module::new(&engine, TREES)?)?;
    let run: TypedFunc<i32, i32> = instance.get_typed_func(&mut store, function)?;
    let result = run.call(&mut store, argument);
    Ok((store.into_data(), result))
}

#[test]
fn stacks_look_as_if_all_had_been_called() -> Result<()> {
    let mut plain = Config::new();
    plain.opt_level(OptLevel::None);
    let trap = |error: &Error| {
        let backtrace = error.backtrace().expect("wasm frames");
        (frames(backtrace), error.root_cause().to_string())
    };
    let mut depths = Vec::new();
    for function in ["depth", "nowhere"] {
        for argument in 0..8 {
            let (expected, called) = run(&plain, function, argument)?;
            let (found, inlined) = run(&Config::new(), function, argument)?;
            assert_eq!(found, expected, "{function} {argument}");
            match (called, inlined) {
                (Ok(called), Ok(inlined)) => assert_eq!(called, inlined),
                (Err(called), Err(inlined)) => {
                    assert_eq!(trap(&called), trap(&inlined), "{function} {argument}");
                    depths.push(trap(&inlined).0.len());
                }
                _ => panic!("{function} {argument} traps once"),
            }
        }
    }
    assert!(depths.iter().any(|&depth| depth > 6), "{depths:?}");
    Ok(())
}

#[test]
fn recursion_without_end_traps() -> Result<()> {
    let (_, result) = run(&Config::new(), "endless", 0)?;
    let error = result.unwrap_err();
    assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::StackOverflow));
    Ok(())
}

#[test]
fn recursion_without_end_is_interrupted() -> Result<()> {
    // It returns before the stack ends, and begins again.
    let text = r#"(module
        (import "" "" (func $tick))
        (type $box (struct (field $n i32)))
        (func $down (param $n (ref $box)) (result (ref $box))
            (if (result (ref $box)) (struct.get $box $n (local.get $n))
                (then (call $down (call $down (struct.new $box
                    (i32.sub (struct.get $box $n (local.get $n)) (i32.const 1))))))
                (else (call $tick) (struct.new $box (i32.const 60)))))
        (func (export "run") (drop (call $down (struct.new $box (i32.const 60))))))"#;
    let mut config = Config::new();
    config.epoch_interruption(true);
    let engine = Engine::new(&config)?;
    let mut store = Store::new(&engine, 0);
    store.set_epoch_deadline(1);
    let tick = Func::wrap(&mut store, |mut caller: Caller<'_, u32>| {
        *caller.data_mut() += 1;
        caller.engine().increment_epoch();
    });
    let module = Module::new(&engine, text)?;
    let instance = Instance::new(&mut store, &module, &[tick.into()])?;
    let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
    let error = run.call(&mut store, ()).unwrap_err();
    let trap = error.downcast_ref::<Trap>();
    assert_eq!(trap, Some(&Trap::Interrupt));
    assert!(*store.data() < 10, "{} ticks", store.data());
    Ok(())
}
