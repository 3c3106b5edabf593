//! Asynchronous calls: each item of the API, on one thread.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bimetal::{
    Caller, Config, Engine, Error, ErrorKind, Extern, Func, FuncType, Instance, Linker, Memory,
    MemoryType, Module, Ref, RefType, ResourceLimiterAsync, Result, Store, Table, TableType, Trap,
    UpdateDeadline, V128, Val, ValType,
};

/// Polls a future until it is ready; the result and how often it was pending.
fn run<R>(future: impl Future<Output = R>) -> (R, usize) {
    let mut future = pin!(future);
    let mut pending = 0;
    loop {
        match future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(result) => return (result, pending),
            Poll::Pending => pending += 1,
        }
    }
}

/// A future that is pending so many times.
async fn pause(times: usize) {
    let mut left = times;
    poll_fn(move |task| match left {
        0 => Poll::Ready(()),
        _ => {
            left -= 1;
            task.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

/// A linker with `host.pause (param i32) (result i32)`, which is pending as often as it is told.
fn linker<T: Send + 'static>(engine: &Engine) -> Linker<T> {
    let mut linker = Linker::new(engine);
    linker
        .func_wrap_async("host", "pause", |_: Caller<'_, T>, (times,): (i32,)| {
            Box::new(async move {
                pause(times as usize).await;
                times
            })
        })
        .unwrap();
    linker
}

const PAUSE: &str = r#"(import "host" "pause" (func $pause (param i32) (result i32)))"#;

fn module(engine: &Engine, body: &str) -> Module {
    Module::new(engine, format!("(module {PAUSE} {body})")).unwrap()
}

const SUM: &str = r#"(func (export "sum") (param i32 i32) (result i32)
    (i32.add (call $pause (local.get 0)) (call $pause (local.get 1))))"#;

#[test]
fn a_call_is_pending_as_often_as_what_it_calls() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let module = module(&engine, SUM);
    let instance = run(linker(&engine).instantiate_async(&mut store, &module)).0;
    let sum = instance
        .unwrap()
        .get_typed_func::<(i32, i32), i32>(&mut store, "sum")
        .unwrap();
    for (a, b) in [(0, 0), (1, 0), (0, 1), (3, 4)] {
        let (result, pending) = run(sum.call_async(&mut store, (a, b)));
        assert_eq!((result.unwrap(), pending), (a + b, (a + b) as usize));
    }
    let mut results = [Val::I32(0)];
    let params = [Val::I32(2), Val::I32(3)];
    let (result, pending) = run(sum.func().call_async(&mut store, &params, &mut results));
    result.unwrap();
    assert_eq!((results[0].unwrap_i32(), pending), (5, 5));
}

#[test]
fn arguments_of_every_kind_and_number_arrive() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let kinds = Func::wrap_async(
        &mut store,
        |_: Caller<'_, ()>, (a, b, c, d, e, f): (i32, i64, f32, f64, V128, Option<Func>)| {
            Box::new(async move {
                pause(1).await;
                (f, e, d, c, b, a)
            })
        },
    );
    let kinds = kinds
        .typed::<(i32, i64, f32, f64, V128, Option<Func>), (Option<Func>, V128, f64, f32, i64, i32)>(
            &store,
        )
        .unwrap();
    let params = (1, 2, 3.0, 4.0, V128::from(5), Some(*kinds.func()));
    let results = run(kinds.call_async(&mut store, params)).0.unwrap();
    assert_eq!(
        results,
        (Some(*kinds.func()), V128::from(5), 4.0, 3.0, 2, 1)
    );

    let none = Func::wrap_async(&mut store, |_: Caller<'_, ()>, ()| Box::new(pause(1)));
    let none = none.typed::<(), ()>(&store).unwrap();
    assert_eq!(run(none.call_async(&mut store, ())).1, 1);

    type Sixteen = (
        i64,
        i64,
        i64,
        i64,
        i64,
        i64,
        i64,
        i64,
        i64,
        i64,
        i64,
        i64,
        i64,
        i64,
        i64,
        i64,
    );
    let last = Func::wrap_async(&mut store, |_: Caller<'_, ()>, all: Sixteen| {
        Box::new(async move { Result::Ok(all.15 * 100 + all.0) })
    });
    let last = last.typed::<Sixteen, i64>(&store).unwrap();
    let all = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16);
    assert_eq!(run(last.call_async(&mut store, all)).0.unwrap(), 1601);
}

#[test]
fn functions_of_dynamic_type_wait_too() {
    let engine = Engine::default();
    let ty = FuncType::new(&engine, [ValType::I32], [ValType::I32]);
    let mut linker = Linker::<i32>::new(&engine);
    linker
        .func_new_async(
            "host",
            "pause",
            ty.clone(),
            |mut caller, params, results| {
                Box::new(async move {
                    pause(1).await;
                    *caller.data_mut() += 1;
                    results[0] = Val::I32(params[0].unwrap_i32() * 10);
                    Ok(())
                })
            },
        )
        .unwrap();
    let mut store = Store::new(&engine, 0);
    let module = module(&engine, SUM);
    let instance = run(linker.instantiate_async(&mut store, &module))
        .0
        .unwrap();
    let sum = instance
        .get_typed_func::<(i32, i32), i32>(&mut store, "sum")
        .unwrap();
    let (result, pending) = run(sum.call_async(&mut store, (1, 2)));
    assert_eq!((result.unwrap(), pending, *store.data()), (30, 2, 2));

    let wrong = Func::new_async(&mut store, ty, |_, _, results| {
        results[0] = Val::I64(0);
        Box::new(async { Ok(()) })
    });
    let error = run(wrong.call_async(&mut store, &[Val::I32(0)], &mut [Val::I32(0)])).0;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Usage);
}

#[test]
fn errors_of_asynchronous_functions_stop_the_program() {
    let engine = Engine::default();
    let mut linker = Linker::<()>::new(&engine);
    linker
        .func_wrap_async("host", "pause", |_: Caller<'_, ()>, (x,): (i32,)| {
            Box::new(async move {
                pause(1).await;
                match x {
                    7 => Err(Error::msg("seven")),
                    _ => Ok(x),
                }
            })
        })
        .unwrap();
    let module = module(&engine, SUM);
    let mut store = Store::new(&engine, ());
    let instance = run(linker.instantiate_async(&mut store, &module))
        .0
        .unwrap();
    let sum = instance
        .get_typed_func::<(i32, i32), i32>(&mut store, "sum")
        .unwrap();
    let error = run(sum.call_async(&mut store, (1, 7))).0.unwrap_err();
    assert_eq!(error.to_string(), "seven");
    let frames = error.backtrace().unwrap().frames();
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0].func_index(), 1);
    assert_eq!(run(sum.call_async(&mut store, (1, 6))).0.unwrap(), 7);
}

#[test]
fn a_synchronous_call_cannot_wait_and_says_so() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let module = module(&engine, SUM);
    let instance = linker(&engine).instantiate(&mut store, &module).unwrap();
    let sum = instance
        .get_typed_func::<(i32, i32), i32>(&mut store, "sum")
        .unwrap();
    // Not even if the function would be ready at once: that may depend on the moment.
    let error = sum.call(&mut store, (0, 0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("call_async"), "{error}");
    assert!(error.backtrace().is_some());
    assert_eq!(run(sum.call_async(&mut store, (1, 1))).0.unwrap(), 2);
}

#[test]
fn a_synchronous_host_function_in_between_cannot_be_suspended() {
    let engine = Engine::default();
    let mut linker = linker::<()>(&engine);
    linker
        .func_wrap("host", "sync", |mut caller: Caller<'_, ()>| {
            let sum = caller.get_export("sum").and_then(Extern::into_func);
            let sum = sum.unwrap().typed::<(i32, i32), i32>(&caller)?;
            sum.call(&mut caller, (1, 2))
        })
        .unwrap();
    linker
        .func_wrap_async("host", "async", |mut caller: Caller<'_, ()>, ()| {
            Box::new(async move {
                let sum = caller.get_export("sum").and_then(Extern::into_func);
                let sum = sum.unwrap().typed::<(i32, i32), i32>(&caller)?;
                sum.call_async(&mut caller, (1, 2)).await
            })
        })
        .unwrap();
    let module = module(
        &engine,
        &format!(
            r#"(import "host" "sync" (func $sync (result i32)))
               (import "host" "async" (func $async (result i32)))
               {SUM}
               (func (export "sync") (result i32) (call $sync))
               (func (export "async") (result i32) (i32.mul (call $async) (call $pause (i32.const 2))))"#
        ),
    );
    let mut store = Store::new(&engine, ());
    let instance = run(linker.instantiate_async(&mut store, &module))
        .0
        .unwrap();
    let mut get = |name| {
        instance
            .get_typed_func::<(), i32>(&mut store, name)
            .unwrap()
    };
    let (sync, asynchronous) = (get("sync"), get("async"));
    let error = run(sync.call_async(&mut store, ())).0.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("in between"), "{error}");
    let (result, pending) = run(asynchronous.call_async(&mut store, ()));
    assert_eq!((result.unwrap(), pending), (6, 5));
}

#[test]
fn start_functions_wait_and_instances_without_one_need_no_stack() {
    let engine = Engine::default();
    let module = module(
        &engine,
        r#"(global (export "g") (mut i32) (i32.const 0))
           (func $start (global.set 0 (call $pause (i32.const 3)))) (start $start)"#,
    );
    let mut store = Store::new(&engine, ());
    let linker = linker(&engine);
    let check = |store: &mut Store<()>, (instance, pending): (Result<Instance>, usize)| {
        let global = instance.unwrap().get_global(&mut *store, "g").unwrap();
        assert_eq!((global.get(store).unwrap_i32(), pending), (3, 3));
    };
    let made = run(linker.instantiate_async(&mut store, &module));
    check(&mut store, made);
    let pre = linker.instantiate_pre(&module).unwrap();
    let made = run(pre.instantiate_async(&mut store));
    check(&mut store, made);
    let import = linker.get(&mut store, "host", "pause").unwrap();
    let made = run(Instance::new_async(&mut store, &module, &[import]));
    check(&mut store, made);
    assert!(
        run(Instance::new_async(&mut store, &module, &[]))
            .0
            .is_err()
    );
    assert_eq!(
        linker.instantiate(&mut store, &module).unwrap_err().kind(),
        ErrorKind::Usage
    );
}

#[test]
fn modules_are_linked_with_asynchronous_commands_and_reactors() {
    let engine = Engine::default();
    let mut linker = linker::<()>(&engine);
    let mut store = Store::new(&engine, ());
    let reactor = module(
        &engine,
        r#"(global $g (mut i32) (i32.const 0))
           (func (export "_initialize") (global.set $g (call $pause (i32.const 2))))
           (func (export "get") (result i32) (global.get $g))"#,
    );
    let (linked, pending) = run(linker.module_async(&mut store, "reactor", &reactor));
    linked.unwrap();
    assert_eq!(pending, 2);
    let command = module(
        &engine,
        r#"(global $g (mut i32) (i32.const 40))
           (func (export "_start"))
           (func (export "next") (result i32)
             (global.set $g (i32.add (global.get $g) (call $pause (i32.const 1))))
             (global.get $g))"#,
    );
    run(linker.module_async(&mut store, "command", &command))
        .0
        .unwrap();
    let user = Module::new(
        &engine,
        r#"(module
            (import "reactor" "get" (func $get (result i32)))
            (import "command" "next" (func $next (result i32)))
            (func (export "f") (result i32)
                (drop (call $next)) (i32.sub (call $next) (call $get))))"#,
    )
    .unwrap();
    let instance = run(linker.instantiate_async(&mut store, &user)).0.unwrap();
    let f = instance.get_typed_func::<(), i32>(&mut store, "f").unwrap();
    let (result, pending) = run(f.call_async(&mut store, ()));
    assert_eq!((result.unwrap(), pending), (39, 2));
}

const SPIN: &str = r#"(func (export "spin") (param $n i32) (result i32)
    (local $i i32)
    (loop $again
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $i) (local.get $n))))
    (local.get $i))"#;

fn spin(config: &mut Config) -> (Store<usize>, bimetal::TypedFunc<i32, i32>) {
    let engine = Engine::new(config).unwrap();
    let mut store = Store::new(&engine, 0);
    // An error if fuel is not counted.
    let _ = store.set_fuel(u64::MAX);
    let module = Module::new(&engine, format!("(module {SPIN})")).unwrap();
    let instance = Linker::new(&engine)
        .instantiate(&mut store, &module)
        .unwrap();
    let spin = instance.get_typed_func(&mut store, "spin").unwrap();
    (store, spin)
}

#[test]
fn programs_yield_at_deadlines() {
    let (mut store, spin) = spin(Config::new().epoch_interruption(true));
    // A delta of 0 makes each look at the deadline a yield.
    store.set_epoch_deadline(0);
    store.epoch_deadline_async_yield_and_update(0);
    let (result, pending) = run(spin.call_async(&mut store, 10));
    assert_eq!(result.unwrap(), 10);
    assert!(pending >= 10, "{pending}");
    store.set_epoch_deadline(0);
    store.epoch_deadline_async_yield_and_update(1);
    let (result, pending) = run(spin.call_async(&mut store, 10));
    assert_eq!((result.unwrap(), pending), (10, 1));
    store.set_epoch_deadline(0);
    let error = spin.call(&mut store, 10).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("call_async"), "{error}");
}

#[test]
fn a_deadline_callback_decides_among_all_updates() {
    let (mut store, spin) = spin(Config::new().epoch_interruption(true));
    store.epoch_deadline_callback(|mut store| {
        *store.data_mut() += 1;
        Ok(match *store.data() {
            1 => UpdateDeadline::Continue(0),
            2 => UpdateDeadline::Yield(0),
            3 => UpdateDeadline::YieldCustom(0, Box::pin(pause(4))),
            _ => UpdateDeadline::Interrupt,
        })
    });
    store.set_epoch_deadline(0);
    let (result, pending) = run(spin.call_async(&mut store, 1_000));
    assert_eq!(result.unwrap_err().downcast_ref(), Some(&Trap::Interrupt));
    assert_eq!((pending, *store.data()), (5, 4));
}

#[test]
fn programs_yield_by_fuel_and_consume_what_they_always_do() {
    let (mut store, spin) = spin(Config::new().consume_fuel(true));
    let cost = |store: &mut Store<usize>, interval| {
        store.set_fuel(1_000_000).unwrap();
        store.fuel_async_yield_interval(interval).unwrap();
        let (result, pending) = run(spin.call_async(&mut *store, 1_000));
        assert_eq!(result.unwrap(), 1_000);
        (1_000_000 - store.get_fuel().unwrap(), pending)
    };
    let (whole, pending) = cost(&mut store, None);
    assert_eq!(pending, 0);
    assert!(whole > 5_000);
    let (yielding, pending) = cost(&mut store, Some(500));
    assert_eq!(yielding, whole);
    let expected = (whole / 500) as usize;
    assert!(
        (expected - 1..=expected + 1).contains(&pending),
        "{pending}, {whole}"
    );
    assert!(store.fuel_async_yield_interval(Some(0)).is_err());

    // The end of all fuel is still a trap.
    store.set_fuel(2_000).unwrap();
    store.fuel_async_yield_interval(Some(1_500)).unwrap();
    let (result, pending) = run(spin.call_async(&mut store, 1_000));
    assert_eq!(result.unwrap_err().downcast_ref(), Some(&Trap::OutOfFuel));
    assert_eq!((pending, store.get_fuel().unwrap()), (1, 0));
    // A synchronous call cannot yield.
    store.set_fuel(2_000).unwrap();
    assert_eq!(
        spin.call(&mut store, 1_000).unwrap_err().kind(),
        ErrorKind::Usage
    );
    let (mut store, _) = self::spin(&mut Config::new());
    assert!(store.fuel_async_yield_interval(Some(1)).is_err());
}

/// Allows up to a size, waiting once before each answer.
struct Slow {
    most: usize,
    asked: Arc<AtomicUsize>,
}

impl Slow {
    fn answer(
        &mut self,
        desired: usize,
    ) -> Pin<Box<dyn Future<Output = Result<bool>> + Send + '_>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            pause(1).await;
            match desired {
                0xbad_0000 => Err(Error::msg("an answer that is an error")),
                _ => Ok(desired <= self.most),
            }
        })
    }
}

impl ResourceLimiterAsync for Slow {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Pin<Box<dyn Future<Output = Result<bool>> + Send + '_>> {
        self.answer(desired)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Pin<Box<dyn Future<Output = Result<bool>> + Send + '_>> {
        self.answer(desired)
    }

    fn instances(&self) -> usize {
        2
    }
}

#[test]
fn limiters_are_asked_asynchronously() {
    let engine = Engine::default();
    let asked = Arc::new(AtomicUsize::new(0));
    let limiter = Slow {
        most: 3 << 16,
        asked: asked.clone(),
    };
    let mut store = Store::new(&engine, limiter);
    store.limiter_async(|limiter| limiter);
    let module = Module::new(
        &engine,
        r#"(module (memory (export "m") 1) (table (export "t") 5 funcref)
            (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
            (func (export "more") (param i32) (result i32)
                (table.grow (ref.null func) (local.get 0))))"#,
    )
    .unwrap();
    let linker = Linker::new(&engine);
    let error = linker.instantiate(&mut store, &module).unwrap_err();
    assert!(error.to_string().contains("_async"), "{error}");
    let (instance, pending) = run(linker.instantiate_async(&mut store, &module));
    let instance = instance.unwrap();
    assert_eq!(pending, 2);

    let mut get = |name| {
        instance
            .get_typed_func::<i32, i32>(&mut store, name)
            .unwrap()
    };
    let (grow, more) = (get("grow"), get("more"));
    let mut call = |f: &bimetal::TypedFunc<i32, i32>, x| {
        let (result, pending) = run(f.call_async(&mut store, x));
        assert_eq!(pending, 1);
        result
    };
    assert_eq!(call(&grow, 2).unwrap(), 1);
    assert_eq!(call(&grow, 1).unwrap(), -1);
    assert_eq!(call(&more, 7).unwrap(), 5);
    assert_eq!(call(&more, 3 << 16).unwrap(), -1);
    let error = call(&grow, (0xbad_0000 >> 16) - 3).unwrap_err();
    assert_eq!(error.to_string(), "an answer that is an error");
    assert_eq!(
        grow.call(&mut store, 1).unwrap_err().kind(),
        ErrorKind::Usage
    );

    let ty = || MemoryType::new(1, None);
    assert!(Memory::new(&mut store, ty()).is_err());
    let (memory, pending) = run(Memory::new_async(&mut store, ty()));
    let memory = memory.unwrap();
    assert_eq!(pending, 1);
    assert!(memory.grow(&mut store, 1).is_err());
    assert_eq!(run(memory.grow_async(&mut store, 2)).0.unwrap(), 1);
    let error = run(memory.grow_async(&mut store, 1)).0.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(
        run(Memory::new_async(&mut store, MemoryType::new(4, None)))
            .0
            .is_err()
    );

    let ty = || TableType::new(RefType::FUNCREF, 5, Some(10));
    let null = Ref::Func(None);
    assert!(Table::new(&mut store, ty(), null).is_err());
    let table = run(Table::new_async(&mut store, ty(), null)).0.unwrap();
    assert!(table.grow(&mut store, 1, null).is_err());
    assert_eq!(run(table.grow_async(&mut store, 5, null)).0.unwrap(), 5);
    assert!(run(table.grow_async(&mut store, 1, null)).0.is_err());
    assert_eq!(table.size(&store), 10);

    run(linker.instantiate_async(&mut store, &module))
        .0
        .unwrap();
    let error = run(linker.instantiate_async(&mut store, &module))
        .0
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(asked.load(Ordering::Relaxed) > 10);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let stacks = |wasm: usize, fiber: usize| {
        let mut config = Config::new();
        config.max_wasm_stack(wasm).async_stack_size(fiber);
        Engine::new(&config)
    };
    assert!(stacks(512 << 10, 1 << 20).is_ok());
    assert!(stacks(64 << 10, 320 << 10).is_ok());
    let error = stacks(1 << 20, 1 << 20).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("async_stack_size"), "{error}");
    assert!(Engine::new(Config::new().max_wasm_stack(64 << 20)).is_ok());
}

#[test]
fn futures_can_be_sent_if_the_data_can() {
    fn sent<F: Send>(future: F) {
        drop(future);
    }
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let module = module(&engine, SUM);
    let linker = linker(&engine);
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let sum = instance
        .get_typed_func::<(i32, i32), i32>(&mut store, "sum")
        .unwrap();
    sent(sum.call_async(&mut store, (1, 2)));
    sent(sum.func().call_async(&mut store, &[], &mut []));
    sent(linker.instantiate_async(&mut store, &module));
    sent(linker.clone().module_async(&mut store, "m", &module));
    sent(Memory::new_async(&mut store, MemoryType::new(1, None)));

    // Data that cannot is fine on one thread.
    let mut store = Store::new(&engine, std::rc::Rc::new(5));
    let f = Func::wrap(&mut store, |caller: Caller<'_, std::rc::Rc<i32>>| {
        **caller.data()
    });
    let f = f.typed::<(), i32>(&store).unwrap();
    assert_eq!(run(f.call_async(&mut store, ())).0.unwrap(), 5);
}

#[test]
fn two_stores_take_turns_on_one_thread() {
    let engine = Engine::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let mut linker = Linker::<usize>::new(&engine);
    linker
        .func_wrap_async(
            "host",
            "pause",
            |mut caller: Caller<'_, usize>, (ms,): (i32,)| {
                Box::new(async move {
                    tokio::time::sleep(Duration::from_millis(ms as u64)).await;
                    *caller.data_mut() += 1;
                    ms
                })
            },
        )
        .unwrap();
    let module = module(&engine, SUM);
    runtime.block_on(async {
        let mut stores = [Store::new(&engine, 0), Store::new(&engine, 0)];
        let [a, b] = &mut stores;
        let call = async |store: &mut Store<usize>, x, y| {
            let instance = linker.instantiate_async(&mut *store, &module).await?;
            let sum = instance.get_typed_func::<(i32, i32), i32>(&mut *store, "sum")?;
            sum.call_async(&mut *store, (x, y)).await
        };
        let (x, y) = tokio::join!(call(a, 1, 9), call(b, 5, 2));
        assert_eq!((x.unwrap(), y.unwrap()), (10, 7));
        assert_eq!((*stores[0].data(), *stores[1].data()), (2, 2));
    });
}
