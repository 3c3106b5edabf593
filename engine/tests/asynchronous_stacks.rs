//! Traps, stack overflows and backtraces on fibers.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};

use bimetal::{
    Caller, Config, Engine, Extern, Linker, Module, Result, Store, Trap, TypedFunc, WasmBacktrace,
};

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn run<R>(future: impl Future<Output = R>) -> R {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(result) = poll(future.as_mut()) {
            return result;
        }
    }
}

/// Polls on a new thread each time.
fn run_wandering<R: Send>(future: impl Future<Output = R> + Send) -> R {
    let mut future = Box::pin(future);
    loop {
        let polled = thread::scope(|scope| scope.spawn(|| poll(future.as_mut())).join().unwrap());
        if let Poll::Ready(result) = polled {
            return result;
        }
    }
}

async fn yield_once() {
    let mut yielded = false;
    poll_fn(|_| match std::mem::replace(&mut yielded, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

#[derive(Default)]
struct Data {
    threads: Vec<ThreadId>,
    backtraces: Vec<Vec<String>>,
}

fn names(backtrace: &WasmBacktrace) -> Vec<String> {
    let name = |frame: &bimetal::FrameInfo| frame.func_name().unwrap_or("?").to_owned();
    backtrace.frames().iter().map(name).collect()
}

/// `host.yield` is pending once; `host.look` records where it is; `host.call` calls `next`
/// asynchronously.
fn linker(engine: &Engine) -> Linker<Data> {
    let mut linker = Linker::<Data>::new(engine);
    linker
        .func_wrap_async("host", "yield", |mut caller: Caller<'_, Data>, ()| {
            Box::new(async move {
                caller.data_mut().threads.push(thread::current().id());
                yield_once().await;
                caller.data_mut().threads.push(thread::current().id());
            })
        })
        .unwrap();
    linker
        .func_wrap("host", "look", |mut caller: Caller<'_, Data>| {
            let backtrace = names(&WasmBacktrace::force_capture(&caller));
            caller.data_mut().backtraces.push(backtrace);
        })
        .unwrap();
    linker
        .func_wrap_async("host", "call", |mut caller: Caller<'_, Data>, ()| {
            Box::new(async move {
                let next = caller.get_export("next").and_then(Extern::into_func);
                let next = next.unwrap().typed::<(), ()>(&caller)?;
                next.call_async(&mut caller, ()).await
            })
        })
        .unwrap();
    linker
}

const MODULE: &str = r#"(module
    (import "host" "yield" (func $yield))
    (import "host" "look" (func $look))
    (import "host" "call" (func $call))
    (memory 1)
    (global $next (mut i32) (i32.const 0))
    (func $look_twice (export "look_twice") (call $look) (call $yield) (call $look))
    (func $unreachable (export "unreachable") (call $yield) (unreachable))
    (func $out_of_bounds (export "out_of_bounds")
        (call $yield) (drop (i32.load (i32.const -4))))
    (func $divide (export "divide") (result i32)
        (call $yield) (i32.div_u (i32.const 1) (global.get $next)))
    (func $deep (param $n i32) (result i32)
        (if (result i32) (local.get $n)
            (then (i32.add (i32.const 1) (call $deep (i32.sub (local.get $n) (i32.const 1)))))
            (else (i32.const 0))))
    (func $down (export "down") (param $n i32) (result i32)
        (call $yield) (call $deep (local.get $n)))
    (func $overflow (export "overflow") (call $yield) (drop (call $deep (i32.const -1))))
    (func $next (export "next")
        (global.set $next (i32.add (global.get $next) (i32.const 1)))
        (if (i32.eq (global.get $next) (i32.const 1)) (then (call $call)))
        (call $look_twice))
    (func $nested (export "nested") (call $call) (call $look))
    (func $forever (export "forever") (global.set $next (i32.const -1)) (call $call)))"#;

fn fixture(config: &mut Config) -> (Store<Data>, bimetal::Instance) {
    let engine = Engine::new(config).unwrap();
    let mut store = Store::new(&engine, Data::default());
    let module = Module::new(&engine, MODULE).unwrap();
    let instance = linker(&engine).instantiate(&mut store, &module).unwrap();
    (store, instance)
}

fn get(store: &mut Store<Data>, instance: &bimetal::Instance, name: &str) -> TypedFunc<(), ()> {
    instance.get_typed_func(store, name).unwrap()
}

#[test]
fn traps_are_errors_with_backtraces_after_each_change_of_thread() {
    for lazy in [false, true] {
        let (mut store, instance) = fixture(Config::new().lazy(lazy));
        let cases = [
            ("unreachable", Trap::Unreachable),
            ("out_of_bounds", Trap::MemoryOutOfBounds),
            ("overflow", Trap::StackOverflow),
        ];
        for _ in 0..3 {
            for (name, trap) in cases {
                let f = get(&mut store, &instance, name);
                let error = run_wandering(f.call_async(&mut store, ())).unwrap_err();
                assert_eq!(error.downcast_ref(), Some(&trap), "{name}");
                let names = names(error.backtrace().unwrap());
                let innermost = if name == "overflow" { "deep" } else { name };
                assert_eq!(names[0], innermost);
            }
            let divide = instance
                .get_typed_func::<(), i32>(&mut store, "divide")
                .unwrap();
            let error = run_wandering(divide.call_async(&mut store, ())).unwrap_err();
            assert_eq!(error.downcast_ref(), Some(&Trap::IntegerDivisionByZero));
        }
        let threads = &store.data().threads;
        assert_eq!(threads.len(), 24);
        assert!(threads.chunks(2).all(|pair| pair[0] != pair[1]));
    }
}

#[test]
fn a_program_recurses_as_deep_on_a_fiber_as_on_a_thread() {
    let (mut store, instance) = fixture(Config::new().max_wasm_stack(256 << 10));
    let down = instance
        .get_typed_func::<i32, i32>(&mut store, "down")
        .unwrap();
    let linker = linker(store.engine());
    let module = Module::new(
        store.engine(),
        MODULE.replace(
            "(call $yield) (call $deep (local.get $n))",
            "(call $deep (local.get $n))",
        ),
    )
    .unwrap();
    let synchronous = linker.instantiate(&mut store, &module).unwrap();
    let synchronous = synchronous
        .get_typed_func::<i32, i32>(&mut store, "down")
        .unwrap();
    let deepest = |call: &mut dyn FnMut(i32) -> bool| {
        let (mut works, mut fails) = (1, 1 << 24);
        while fails - works > 1 {
            let middle = works + (fails - works) / 2;
            match call(middle) {
                true => works = middle,
                false => fails = middle,
            }
        }
        works
    };
    let on_thread = deepest(&mut |n| synchronous.call(&mut store, n).is_ok());
    let on_fiber = deepest(&mut |n| run(down.call_async(&mut store, n)).is_ok());
    assert!(on_thread > 1_000, "{on_thread}");
    assert!(
        on_thread.abs_diff(on_fiber) < 100,
        "{on_thread}, {on_fiber}"
    );
}

#[test]
fn a_program_that_nests_calls_for_ever_overflows_its_stacks() {
    let (mut store, instance) = fixture(&mut Config::new());
    let engine = store.engine().clone();
    let mut linker = linker(&engine);
    linker.allow_shadowing(true);
    let depth = Arc::new(Mutex::new(0));
    let counted = depth.clone();
    linker
        .func_wrap_async("host", "call", move |mut caller: Caller<'_, Data>, ()| {
            *counted.lock().unwrap() += 1;
            Box::new(async move {
                let next = caller.get_export("forever").and_then(Extern::into_func);
                let next = next.unwrap().typed::<(), ()>(&caller)?;
                next.call_async(&mut caller, ()).await
            })
        })
        .unwrap();
    let module = instance.module(&store).clone();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let forever = get(&mut store, &instance, "forever");
    for _ in 0..3 {
        *depth.lock().unwrap() = 0;
        let error = run(forever.call_async(&mut store, ())).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow));
        assert!(*depth.lock().unwrap() >= 100);
    }
}

#[test]
fn backtraces_go_through_fibers() {
    for wandering in [false, true] {
        let (mut store, instance) = fixture(&mut Config::new());
        let nested = get(&mut store, &instance, "nested");
        let call = nested.call_async(&mut store, ());
        match wandering {
            false => run(call).unwrap(),
            true => run_wandering(call).unwrap(),
        }
        let inner = ["look_twice", "next", "next", "nested"];
        let outer = ["look_twice", "next", "nested"];
        let expected: [&[&str]; 5] = [&inner, &inner, &outer, &outer, &["nested"]];
        assert_eq!(store.data().backtraces, expected);
    }
}

#[test]
fn backtraces_show_the_stores_below_and_only_those_of_now() {
    /// The data of the outer store: a call in another one.
    type Call = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

    let (mut store, instance) = fixture(&mut Config::new());
    let engine = store.engine().clone();
    let unreachable = get(&mut store, &instance, "unreachable");
    let mut call: Call = Box::pin(async move { unreachable.call_async(&mut store, ()).await });
    // Its first half without anything below, the second in the middle of another program.
    assert!(poll(call.as_mut()).is_pending());
    let mut outer = Store::new(&engine, call);
    let mut linker = Linker::new(&engine);
    linker
        .func_wrap("host", "poll", |mut caller: Caller<'_, Call>| {
            let Poll::Ready(Err(error)) = poll(caller.data_mut().as_mut()) else {
                panic!("it traps now");
            };
            let trapped = names(error.backtrace().unwrap());
            assert_eq!(trapped, ["unreachable", "outer"]);
            let now = names(&WasmBacktrace::force_capture(&caller));
            assert_eq!(now, ["outer"]);
        })
        .unwrap();
    let module = Module::new(
        &engine,
        r#"(module (import "host" "poll" (func $poll)) (func $outer (export "f") (call $poll)))"#,
    )
    .unwrap();
    let instance = linker.instantiate(&mut outer, &module).unwrap();
    let f = instance.get_typed_func::<(), ()>(&mut outer, "f").unwrap();
    f.call(&mut outer, ()).unwrap();
}

#[test]
fn stacks_are_cleared_if_that_is_wanted() {
    let (mut store, instance) = fixture(
        Config::new()
            .async_stack_zeroing(true)
            .async_stack_keep_resident(8 << 10),
    );
    let nested = get(&mut store, &instance, "nested");
    let overflow = get(&mut store, &instance, "overflow");
    for _ in 0..100 {
        run(nested.call_async(&mut store, ())).unwrap();
        assert!(run(overflow.call_async(&mut store, ())).is_err());
    }
    let (mut store, instance) = fixture(Config::new().async_stack_max_unused(0));
    let nested = get(&mut store, &instance, "nested");
    for _ in 0..100 {
        run(nested.call_async(&mut store, ())).unwrap();
    }
}
