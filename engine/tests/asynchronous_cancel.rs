//! What becomes of calls that are not awaited to their end: dropped, leaked, panicking.

use std::future::{Future, pending, poll_fn};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use bimetal::{
    Caller, Config, Engine, ErrorKind, Extern, Linker, Module, ResourceLimiterAsync, Result, Store,
    Trap, TypedFunc, UpdateDeadline,
};

/// Counts how many of its kind there are, and how many there were.
#[derive(Clone, Default)]
struct Census(Arc<(AtomicUsize, AtomicUsize)>);

impl Census {
    fn enter(&self) -> Counted {
        self.0.0.fetch_add(1, Ordering::Relaxed);
        self.0.1.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }

    fn alive(&self) -> usize {
        self.0.0.load(Ordering::Relaxed)
    }

    fn ever(&self) -> usize {
        self.0.1.load(Ordering::Relaxed)
    }
}

struct Counted(Census);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn ready<R>(future: impl Future<Output = R>) -> R {
    match poll(pin!(future)) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the future is pending"),
    }
}

/// Polls once and drops.
fn cancel(future: impl Future) {
    assert!(poll(pin!(future)).is_pending());
}

/// A store's data: what host functions count and count with.
#[derive(Default)]
struct Data {
    census: Census,
    log: Vec<&'static str>,
}

/// `host.wait` is never ready if its argument is not 0, `host.nested` calls `inner` and waits.
fn linker(engine: &Engine) -> Linker<Data> {
    let mut linker = Linker::<Data>::new(engine);
    linker
        .func_wrap_async(
            "host",
            "wait",
            |mut caller: Caller<'_, Data>, (x,): (i32,)| {
                let outside = caller.data().census.enter();
                Box::new(async move {
                    let _outside = outside;
                    let _inside = caller.data().census.enter();
                    caller.data_mut().log.push("wait");
                    if x != 0 {
                        pending::<()>().await;
                    }
                    caller.data_mut().log.push("go on");
                })
            },
        )
        .unwrap();
    linker
        .func_wrap_async(
            "host",
            "nested",
            |mut caller: Caller<'_, Data>, (x,): (i32,)| {
                Box::new(async move {
                    let _count = caller.data().census.enter();
                    let inner = caller.get_export("inner").and_then(Extern::into_func);
                    let inner = inner.unwrap().typed::<i32, i32>(&caller)?;
                    let _more = caller.data().census.enter();
                    inner.call_async(&mut caller, x).await
                })
            },
        )
        .unwrap();
    linker
}

const MODULE: &str = r#"(module
    (import "host" "wait" (func $wait (param i32)))
    (import "host" "nested" (func $nested (param i32) (result i32)))
    (memory (export "m") 1)
    (global $depth (export "depth") (mut i32) (i32.const 0))
    (func $inner (export "inner") (param i32) (result i32)
        (global.set $depth (i32.add (global.get $depth) (i32.const 1)))
        (call $wait (local.get 0))
        (global.set $depth (i32.sub (global.get $depth) (i32.const 1)))
        (i32.const 42))
    (func (export "outer") (param i32) (result i32) (call $nested (local.get 0)))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "spin") (param i32) (result i32)
        (loop (br_if 0 (local.get 0))) (i32.const 42)))"#;

struct Fixture {
    store: Store<Data>,
    inner: TypedFunc<i32, i32>,
    outer: TypedFunc<i32, i32>,
    spin: TypedFunc<i32, i32>,
}

fn fixture(config: &mut Config) -> Fixture {
    let engine = Engine::new(config).unwrap();
    let mut store = Store::new(&engine, Data::default());
    let _ = store.set_fuel(1 << 40);
    let module = Module::new(&engine, MODULE).unwrap();
    let instance = linker(&engine).instantiate(&mut store, &module).unwrap();
    let mut get = |name| instance.get_typed_func(&mut store, name).unwrap();
    let (inner, outer, spin) = (get("inner"), get("outer"), get("spin"));
    Fixture {
        store,
        inner,
        outer,
        spin,
    }
}

/// The store can be used in every way.
fn check(fixture: &mut Fixture) {
    let Fixture {
        store,
        inner,
        outer,
        spin,
    } = fixture;
    assert_eq!(ready(inner.call_async(&mut *store, 0)).unwrap(), 42);
    assert_eq!(ready(outer.call_async(&mut *store, 0)).unwrap(), 42);
    assert_eq!(spin.call(&mut *store, 0).unwrap(), 42);
    assert!(inner.call(&mut *store, 0).is_err());
}

#[test]
fn a_future_that_was_never_polled_did_nothing() {
    let mut fixture = fixture(&mut Config::new());
    drop(fixture.inner.call_async(&mut fixture.store, 1));
    drop(fixture.outer.call_async(&mut fixture.store, 1));
    assert_eq!(fixture.store.data().census.ever(), 0);
    check(&mut fixture);
}

#[test]
fn dropping_the_future_ends_what_it_waits_for() {
    let mut fixture = fixture(&mut Config::new());
    for round in 1..=3 {
        cancel(fixture.inner.call_async(&mut fixture.store, 1));
        let census = &fixture.store.data().census;
        assert_eq!((census.alive(), census.ever()), (0, 2 * round));
    }
    // Nothing ran after the wait, neither in the host nor in the program.
    assert_eq!(fixture.store.data().log, ["wait"; 3]);
    check(&mut fixture);
}

#[test]
fn dropping_the_future_ends_nested_calls_from_the_inside_out() {
    let mut fixture = fixture(&mut Config::new());
    for round in 1..=3 {
        cancel(fixture.outer.call_async(&mut fixture.store, 1));
        let census = &fixture.store.data().census;
        assert_eq!((census.alive(), census.ever()), (0, 4 * round));
    }
    check(&mut fixture);
}

#[test]
fn a_program_is_cancelled_where_it_yields() {
    let mut one = fixture(Config::new().epoch_interruption(true));
    one.store.set_epoch_deadline(0);
    one.store.epoch_deadline_async_yield_and_update(0);
    for _ in 0..3 {
        cancel(one.spin.call_async(&mut one.store, 1));
    }
    let count = Census::default();
    let counted = count.clone();
    one.store.epoch_deadline_callback(move |_| {
        let counted = counted.enter();
        let wait = async move {
            let _counted = counted;
            pending::<()>().await;
        };
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(wait)))
    });
    cancel(one.spin.call_async(&mut one.store, 1));
    assert_eq!((count.alive(), count.ever()), (0, 1));
    // The deadline is still there, and so is the callback.
    cancel(one.spin.call_async(&mut one.store, 1));
    assert_eq!((count.alive(), count.ever()), (0, 2));
    one.store
        .epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1_000)));
    check(&mut one);

    let mut two = fixture(Config::new().consume_fuel(true));
    two.store.fuel_async_yield_interval(Some(1_000)).unwrap();
    for _ in 0..3 {
        cancel(two.spin.call_async(&mut two.store, 1));
    }
    assert!(two.store.get_fuel().unwrap() > (1 << 40) - 10_000);
    check(&mut two);
}

#[test]
fn a_program_is_cancelled_in_its_start_function() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, Data::default());
    let module = Module::new(
        &engine,
        r#"(module (import "host" "wait" (func $wait (param i32)))
            (func $start (call $wait (i32.const 1))) (start $start))"#,
    )
    .unwrap();
    let linker = linker(&engine);
    for round in 1..=3 {
        cancel(linker.instantiate_async(&mut store, &module));
        let census = &store.data().census;
        assert_eq!((census.alive(), census.ever()), (0, 2 * round));
    }
}

struct Never(Census);

impl ResourceLimiterAsync for Never {
    fn memory_growing(
        &mut self,
        current: usize,
        _desired: usize,
        _maximum: Option<usize>,
    ) -> Pin<Box<dyn Future<Output = Result<bool>> + Send + '_>> {
        Box::pin(async move {
            let _counted = self.0.enter();
            match current {
                0 => Ok(true),
                _ => pending().await,
            }
        })
    }

    fn table_growing(
        &mut self,
        _current: usize,
        _desired: usize,
        _maximum: Option<usize>,
    ) -> Pin<Box<dyn Future<Output = Result<bool>> + Send + '_>> {
        Box::pin(async { Ok(true) })
    }
}

#[test]
fn a_program_is_cancelled_while_its_limiter_is_asked() {
    let engine = Engine::default();
    let census = Census::default();
    let mut store = Store::new(&engine, Never(census.clone()));
    store.limiter_async(|limiter| limiter);
    let module = Module::new(
        &engine,
        r#"(module (memory (export "m") 1)
            (func (export "grow") (result i32) (memory.grow (i32.const 1)))
            (func (export "size") (result i32) (memory.size)))"#,
    )
    .unwrap();
    let instance = ready(Linker::new(&engine).instantiate_async(&mut store, &module)).unwrap();
    let grow = instance
        .get_typed_func::<(), i32>(&mut store, "grow")
        .unwrap();
    let size = instance
        .get_typed_func::<(), i32>(&mut store, "size")
        .unwrap();
    let memory = instance.get_memory(&mut store, "m").unwrap();
    for round in 1..=3 {
        cancel(grow.call_async(&mut store, ()));
        cancel(memory.grow_async(&mut store, 1));
        assert_eq!((census.alive(), census.ever()), (0, 1 + 2 * round));
        assert_eq!(size.call(&mut store, ()).unwrap(), 1);
    }
}

#[test]
fn a_leaked_future_leaves_a_store_that_works() {
    let mut fixture = fixture(&mut Config::new());
    for round in 1..=3 {
        let mut call = Box::pin(fixture.inner.call_async(&mut fixture.store, 1));
        assert!(poll(call.as_mut()).is_pending());
        mem::forget(call);
        let mut call = Box::pin(fixture.outer.call_async(&mut fixture.store, 1));
        assert!(poll(call.as_mut()).is_pending());
        mem::forget(call);
        check(&mut fixture);
        cancel(fixture.outer.call_async(&mut fixture.store, 1));
        assert_eq!(fixture.store.data().census.alive(), 6 * round);
    }
    // On another thread, too, and it can go.
    std::thread::spawn(move || check(&mut fixture))
        .join()
        .unwrap();
}

#[test]
fn a_nested_future_can_be_leaked_or_dropped_while_the_outer_goes_on() {
    let engine = Engine::default();
    let mut linker = linker(&engine);
    linker.allow_shadowing(true);
    linker
        .func_wrap_async(
            "host",
            "nested",
            |mut caller: Caller<'_, Data>, (x,): (i32,)| {
                Box::new(async move {
                    let inner = caller.get_export("inner").and_then(Extern::into_func);
                    let inner = inner.unwrap().typed::<i32, i32>(&caller)?;
                    for _ in 0..2 {
                        let mut leaked = Box::pin(inner.call_async(&mut caller, 1));
                        let polled = poll_fn(|task| Poll::Ready(leaked.as_mut().poll(task)));
                        assert!(polled.await.is_pending());
                        mem::forget(leaked);
                        let mut dropped = Box::pin(inner.call_async(&mut caller, 1));
                        let polled = poll_fn(|task| Poll::Ready(dropped.as_mut().poll(task)));
                        assert!(polled.await.is_pending());
                        drop(dropped);
                        tokio::task::yield_now().await;
                    }
                    inner.call_async(&mut caller, x).await
                })
            },
        )
        .unwrap();
    let mut store = Store::new(&engine, Data::default());
    let module = Module::new(&engine, MODULE).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let outer = instance
        .get_typed_func::<i32, i32>(&mut store, "outer")
        .unwrap();
    let mut call = Box::pin(outer.call_async(&mut store, 0));
    let mut pending = 0;
    let result = loop {
        match poll(call.as_mut()) {
            Poll::Ready(result) => break result,
            Poll::Pending => pending += 1,
        }
    };
    drop(call);
    assert_eq!((result.unwrap(), pending), (42, 2));
    assert_eq!(store.data().census.alive(), 4);
}

#[test]
fn a_caller_that_is_lent_to_another_thread_cannot_suspend_from_there() {
    let engine = Engine::default();
    let mut linker = linker(&engine);
    linker.allow_shadowing(true);
    let lend = |caller: &mut Caller<'_, Data>, x| {
        let inner = caller.get_export("inner").and_then(Extern::into_func);
        let inner = inner.unwrap().typed::<i32, i32>(&*caller)?;
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                let error = inner.call(&mut *caller, x).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Usage);
                cancel(inner.call_async(&mut *caller, 1));
                ready(inner.call_async(&mut *caller, 0))
            });
            there.join().unwrap()
        })
    };
    linker
        .func_wrap_async(
            "host",
            "nested",
            move |mut caller: Caller<'_, Data>, (x,): (i32,)| {
                Box::new(async move {
                    tokio::task::yield_now().await;
                    lend(&mut caller, x)
                })
            },
        )
        .unwrap();
    let mut store = Store::new(&engine, Data::default());
    let module = Module::new(&engine, MODULE).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let outer = instance
        .get_typed_func::<i32, i32>(&mut store, "outer")
        .unwrap();
    let mut call = Box::pin(outer.call_async(&mut store, 0));
    assert!(poll(call.as_mut()).is_pending());
    assert!(matches!(poll(call.as_mut()), Poll::Ready(Ok(42))));
    drop(call);
    assert_eq!(store.data().census.alive(), 0);
}

#[test]
fn a_destructor_can_call_the_program_while_its_call_is_cancelled() {
    struct CallsBack<'a>(Caller<'a, Data>);
    impl Drop for CallsBack<'_> {
        fn drop(&mut self) {
            let mut get = |name| {
                let func = self.0.get_export(name).and_then(Extern::into_func);
                func.unwrap().typed::<i32, i32>(&self.0).unwrap()
            };
            let (spin, inner) = (get("spin"), get("inner"));
            assert_eq!(spin.call(&mut self.0, 0).unwrap(), 42);
            assert!(inner.call(&mut self.0, 0).is_err());
            assert_eq!(ready(inner.call_async(&mut self.0, 0)).unwrap(), 42);
            cancel(inner.call_async(&mut self.0, 1));
            self.0.data_mut().log.push("dropped");
        }
    }
    let engine = Engine::default();
    let mut linker = linker(&engine);
    linker.allow_shadowing(true);
    linker
        .func_wrap_async(
            "host",
            "nested",
            |caller: Caller<'_, Data>, (x,): (i32,)| {
                Box::new(async move {
                    let _calls_back = CallsBack(caller);
                    pending::<()>().await;
                    x
                })
            },
        )
        .unwrap();
    let mut store = Store::new(&engine, Data::default());
    let module = Module::new(&engine, MODULE).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let outer = instance
        .get_typed_func::<i32, i32>(&mut store, "outer")
        .unwrap();
    cancel(outer.call_async(&mut store, 1));
    assert_eq!(store.data().log, ["wait", "go on", "wait", "dropped"]);
    assert_eq!(store.data().census.alive(), 0);
}

fn fails(message: &'static str) {
    panic!("{message}")
}

/// The message of a panic.
fn panics(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).unwrap_err();
    match payload.downcast::<&'static str>() {
        Ok(message) => message.to_string(),
        Err(payload) => *payload.downcast::<String>().unwrap(),
    }
}

#[test]
fn panics_come_out_of_the_poll() {
    let engine = Engine::default();
    let mut linker = Linker::<Census>::new(&engine);
    linker
        .func_wrap("host", "sync", |caller: Caller<'_, Census>| {
            let _counted = caller.data().enter();
            fails("in a host function")
        })
        .unwrap();
    linker
        .func_wrap_async("host", "start", |caller: Caller<'_, Census>, ()| {
            let _counted = caller.data().enter();
            let ready = caller.data().ever() == 0;
            if !ready {
                fails("before there is a future");
            }
            Box::new(async {})
        })
        .unwrap();
    linker
        .func_wrap_async("host", "later", |caller: Caller<'_, Census>, ()| {
            Box::new(async move {
                let _counted = caller.data().enter();
                tokio::task::yield_now().await;
                fails("in a future")
            })
        })
        .unwrap();
    let module = Module::new(
        &engine,
        r#"(module
            (import "host" "sync" (func $sync))
            (import "host" "start" (func $start))
            (import "host" "later" (func $later))
            (func (export "sync") (call $sync))
            (func (export "start") (call $start))
            (func (export "later") (call $later))
            (func (export "none")))"#,
    )
    .unwrap();
    let mut store = Store::new(&engine, Census::default());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let mut get = |name| instance.get_typed_func::<(), ()>(&mut store, name).unwrap();
    let (sync, start, later, none) = (get("sync"), get("start"), get("later"), get("none"));
    for _ in 0..3 {
        let message = panics(|| drop(ready(sync.call_async(&mut store, ()))));
        assert_eq!(message, "in a host function");
        let message = panics(|| drop(ready(start.call_async(&mut store, ()))));
        assert_eq!(message, "before there is a future");
        let mut call = Box::pin(later.call_async(&mut store, ()));
        assert!(poll(call.as_mut()).is_pending());
        assert_eq!(panics(|| drop(poll(call.as_mut()))), "in a future");
        drop(call);
        assert_eq!(store.data().alive(), 0);
        ready(none.call_async(&mut store, ())).unwrap();
        none.call(&mut store, ()).unwrap();
    }
}

#[test]
fn a_destructor_that_panics_while_a_call_is_cancelled_is_heard() {
    struct Bomb(Census);
    impl Drop for Bomb {
        fn drop(&mut self) {
            drop(self.0.enter());
            panic!("in a destructor");
        }
    }
    let engine = Engine::default();
    let mut linker = Linker::<Census>::new(&engine);
    linker
        .func_wrap_async("host", "wait", |caller: Caller<'_, Census>, ()| {
            let bomb = Bomb(caller.data().clone());
            Box::new(async move {
                let _bomb = bomb;
                pending::<()>().await
            })
        })
        .unwrap();
    let module = Module::new(
        &engine,
        r#"(module (import "host" "wait" (func $wait)) (func (export "f") (call $wait)))"#,
    )
    .unwrap();
    let mut store = Store::new(&engine, Census::default());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let f = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
    for round in 1..=2 {
        let message = panics(|| cancel(f.call_async(&mut store, ())));
        assert_eq!(message, "in a destructor");
        assert_eq!(store.data().ever(), round);
    }
    // During another panic it is not, since two would end the process.
    let message = panics(|| {
        let mut call = pin!(f.call_async(&mut store, ()));
        assert!(poll(call.as_mut()).is_pending());
        panic!("the first");
    });
    assert_eq!((message.as_str(), store.data().ever()), ("the first", 3));
}

#[test]
fn a_cancelled_future_is_not_polled_again() {
    let mut fixture = fixture(&mut Config::new());
    let mut call = Box::pin(fixture.inner.call_async(&mut fixture.store, 0));
    assert!(poll(call.as_mut()).is_ready());
    assert!(catch_unwind(AssertUnwindSafe(|| poll(call.as_mut()).is_ready())).is_err());
    drop(call);
    check(&mut fixture);
}

#[test]
fn a_timer_cancels_a_program_that_loops_for_ever() {
    let mut fixture = fixture(Config::new().epoch_interruption(true));
    fixture.store.set_epoch_deadline(0);
    fixture.store.epoch_deadline_async_yield_and_update(0);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        for _ in 0..3 {
            let call = fixture.spin.call_async(&mut fixture.store, 1);
            let limit = std::time::Duration::from_millis(5);
            assert!(tokio::time::timeout(limit, call).await.is_err());
        }
    });
    // The other way to stop it.
    let handle = fixture.store.interrupt_handle().unwrap();
    handle.interrupt();
    let error = ready(fixture.spin.call_async(&mut fixture.store, 1)).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
}
