//! Many stores on few threads, under `tokio`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bimetal::{Caller, Config, Engine, Error, InstancePre, Linker, Module, Result, Store, Trap};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

fn runtime(threads: usize) -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_time()
        .build()
        .unwrap()
}

/// Makes epochs pass until it is dropped.
struct Clock {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Clock {
    fn new(engine: &Engine, tick: Duration) -> Clock {
        let stop = Arc::new(AtomicBool::new(false));
        let (engine, stopped) = (engine.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(tick);
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
        self.thread.take().unwrap().join().unwrap();
    }
}

const MODULE: &str = r#"(module
    (import "host" "sleep" (func $sleep (param i32) (result i32)))
    (memory 1)
    (func (export "sum") (param $n i64) (result i64)
        (local $sum i64)
        (loop $next
            (local.set $sum (i64.add (local.get $sum) (local.get $n)))
            (local.set $n (i64.sub (local.get $n) (i64.const 1)))
            (if (i64.eqz (i64.rem_u (local.get $n) (i64.const 10000)))
                (then (local.set $sum (i64.add (local.get $sum)
                    (i64.extend_i32_u (call $sleep (i32.const 1)))))))
            (br_if $next (i64.ne (local.get $n) (i64.const 0))))
        (local.get $sum))
    (func (export "forever") (loop (br 0)))
    (func (export "trap") (param i32)
        (drop (call $sleep (i32.const 1)))
        (drop (i32.load offset=65536 (local.get 0)))))"#;

fn pre(engine: &Engine) -> InstancePre<u64> {
    let mut linker = Linker::<u64>::new(engine);
    linker
        .func_wrap_async(
            "host",
            "sleep",
            |mut caller: Caller<'_, u64>, (ms,): (u32,)| {
                Box::new(async move {
                    *caller.data_mut() += 1;
                    sleep(Duration::from_millis(u64::from(ms))).await;
                    ms
                })
            },
        )
        .unwrap();
    let module = Module::new(engine, MODULE).unwrap();
    linker.instantiate_pre(&module).unwrap()
}

fn engine() -> Engine {
    Engine::new(Config::new().epoch_interruption(true)).unwrap()
}

async fn store(pre: &InstancePre<u64>) -> Result<(Store<u64>, bimetal::Instance)> {
    let mut store = Store::new(pre.module().engine(), 0);
    store.set_epoch_deadline(1);
    store.epoch_deadline_async_yield_and_update(1);
    let instance = pre.instantiate_async(&mut store).await?;
    Ok((store, instance))
}

#[test]
fn hundreds_of_stores_compute_and_sleep_on_few_threads() {
    let engine = engine();
    let _clock = Clock::new(&engine, Duration::from_micros(200));
    let pre = pre(&engine);
    runtime(3).block_on(async {
        let tasks: Vec<_> = (1..=300_i64)
            .map(|task| {
                let pre = pre.clone();
                tokio::spawn(async move {
                    let (mut store, instance) = store(&pre).await?;
                    let sum = instance.get_typed_func::<i64, i64>(&mut store, "sum")?;
                    let n = 1_000 * task;
                    let result = sum.call_async(&mut store, n).await?;
                    let sleeps = (n - 1) / 10_000 + 1;
                    assert_eq!(*store.data(), sleeps as u64);
                    assert_eq!(result, n * (n + 1) / 2 + sleeps);
                    Ok::<(), Error>(())
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    });
}

#[test]
fn a_thousand_programs_that_loop_for_ever_end_at_their_deadlines_on_two_threads() {
    let engine = engine();
    let _clock = Clock::new(&engine, Duration::from_millis(1));
    let pre = pre(&engine);
    runtime(2).block_on(async {
        let tasks: Vec<_> = (0..1_000)
            .map(|task| {
                let pre = pre.clone();
                tokio::spawn(async move {
                    let (mut store, instance) = store(&pre).await?;
                    let forever = instance.get_typed_func::<(), ()>(&mut store, "forever")?;
                    if task % 2 == 0 {
                        // By dropping its future …
                        let call = forever.call_async(&mut store, ());
                        return Ok::<bool, Error>(
                            timeout(Duration::from_millis(10), call).await.is_err(),
                        );
                    }
                    // … or as the program of a store that may run for three epochs.
                    let mut epochs = 3;
                    store.epoch_deadline_callback(move |_| {
                        epochs -= 1;
                        Ok(match epochs {
                            0 => bimetal::UpdateDeadline::Interrupt,
                            _ => bimetal::UpdateDeadline::Yield(1),
                        })
                    });
                    let error = forever.call_async(&mut store, ()).await.unwrap_err();
                    Ok(error.downcast_ref() == Some(&Trap::Interrupt))
                })
            })
            .collect();
        for task in tasks {
            assert!(task.await.unwrap().unwrap());
        }
    });
}

#[test]
fn traps_stay_with_their_program() {
    let engine = engine();
    let pre = pre(&engine);
    runtime(3).block_on(async {
        let tasks: Vec<_> = (0..200)
            .map(|task| {
                let pre = pre.clone();
                tokio::spawn(async move {
                    let (mut store, instance) = store(&pre).await?;
                    let trap = instance.get_typed_func::<i32, ()>(&mut store, "trap")?;
                    let error = trap.call_async(&mut store, task).await.unwrap_err();
                    assert_eq!(error.downcast_ref(), Some(&Trap::MemoryOutOfBounds));
                    let sum = instance.get_typed_func::<i64, i64>(&mut store, "sum")?;
                    assert_eq!(sum.call_async(&mut store, 10).await?, 56);
                    Ok::<(), Error>(())
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    });
}

#[test]
fn tasks_that_are_aborted_leave_nothing_behind() {
    let engine = engine();
    let _clock = Clock::new(&engine, Duration::from_millis(1));
    let pre = pre(&engine);
    let alive = Arc::new(());
    runtime(2).block_on(async {
        let tasks: Vec<_> = (0..200_u64)
            .map(|task| {
                let (pre, alive) = (pre.clone(), alive.clone());
                tokio::spawn(async move {
                    let _alive = alive;
                    let (mut store, instance) = store(&pre).await?;
                    let name = if task % 2 == 0 { "forever" } else { "trap" };
                    match name {
                        "forever" => {
                            let f = instance.get_typed_func::<(), ()>(&mut store, name)?;
                            f.call_async(&mut store, ()).await
                        }
                        _ => {
                            let sum = instance.get_typed_func::<i64, i64>(&mut store, "sum")?;
                            sum.call_async(&mut store, i64::MAX).await.map(drop)
                        }
                    }
                })
            })
            .collect();
        for (i, task) in tasks.iter().enumerate() {
            if i % 20 == 0 {
                sleep(Duration::from_millis(1)).await;
            }
            task.abort();
        }
        for task in tasks {
            assert!(task.await.unwrap_err().is_cancelled());
        }
    });
    assert_eq!(Arc::strong_count(&alive), 1);
}
