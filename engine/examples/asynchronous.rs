//! Plug-ins that wait for the host without a thread waiting for them, under `tokio`.
//!
//! Many stores share few threads. Host functions are asynchronous, plug-ins that compute for long
//! yield now and then, and one that takes too long is dropped in the middle.

use std::thread;
use std::time::Duration;

use bimetal::{Caller, Config, Engine, Linker, Module, Result, Store};
use tokio::runtime::Builder;
use tokio::time::{sleep, timeout};

fn main() -> Result<()> {
    let engine = Engine::new(Config::new().epoch_interruption(true))?;
    // What makes plug-ins yield: an epoch each millisecond.
    let clock = engine.clone();
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_millis(1));
            clock.increment_epoch();
        }
    });
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()?;
    runtime.block_on(serve(&engine))
}

async fn serve(engine: &Engine) -> Result<()> {
    let mut linker = Linker::new(engine);
    // Arguments come as a tuple, since the future may outlive the call of the closure.
    linker.func_wrap_async(
        "host",
        "fetch",
        |mut caller: Caller<'_, Vec<u32>>, (key,): (u32,)| {
            Box::new(async move {
                // A database, say.
                sleep(Duration::from_millis(5)).await;
                caller.data_mut().push(key);
                key * 100
            })
        },
    )?;
    let module = Module::new(
        engine,
        r#"(module
            (import "host" "fetch" (func $fetch (param i32) (result i32)))
            (func (export "handle") (param $key i32) (result i32)
                (i32.add
                    (call $fetch (local.get $key))
                    (call $fetch (i32.add (local.get $key) (i32.const 1)))))
            (func (export "forever") (loop (br 0))))"#,
    )?;
    let instance_pre = linker.instantiate_pre(&module)?;

    // A thousand requests, each in a store of its own; no two wait for each other.
    let requests: Vec<_> = (0..1_000)
        .map(|key| {
            let instance_pre = instance_pre.clone();
            tokio::spawn(async move {
                let mut store = Store::new(instance_pre.module().engine(), Vec::new());
                // Yield after two epochs, and again and again.
                store.set_epoch_deadline(2);
                store.epoch_deadline_async_yield_and_update(2);
                let instance = instance_pre.instantiate_async(&mut store).await?;
                let handle = instance.get_typed_func::<u32, u32>(&mut store, "handle")?;
                let answer = handle.call_async(&mut store, key).await?;
                assert_eq!(*store.data(), [key, key + 1]);
                Result::<u32>::Ok(answer)
            })
        })
        .collect();
    for (key, request) in (0..).zip(requests) {
        assert_eq!(request.await??, key * 200 + 100);
    }
    println!("1000 requests answered");

    // One that never ends. Since it yields, its future can be dropped; its store is as good as new.
    let mut store = Store::new(engine, Vec::new());
    store.set_epoch_deadline(2);
    store.epoch_deadline_async_yield_and_update(2);
    let instance = instance_pre.instantiate_async(&mut store).await?;
    let forever = instance.get_typed_func::<(), ()>(&mut store, "forever")?;
    let call = forever.call_async(&mut store, ());
    assert!(timeout(Duration::from_millis(10), call).await.is_err());
    println!("a request was dropped after 10 ms");
    let handle = instance.get_typed_func::<u32, u32>(&mut store, "handle")?;
    assert_eq!(handle.call_async(&mut store, 7).await?, 1500);
    Ok(())
}
