//! That ten thousand of what may go wrong leave no memory, mapping or file behind.
//!
//! One test, since it counts what the process has.

use std::fs;
use std::future::{Future, pending};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bimetal::{Caller, Config, Engine, InstancePre, Linker, Module, Store, Trap};

/// Mappings, open files, and bytes of memory of this process.
fn resources() -> (usize, usize, usize) {
    let mappings = fs::read_to_string("/proc/self/maps")
        .unwrap()
        .lines()
        .count();
    let files = fs::read_dir("/proc/self/fd").unwrap().count();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = resident.unwrap().trim().trim_end_matches("kB").trim();
    (mappings, files, kilobytes.parse::<usize>().unwrap() << 10)
}

/// Does it some thousand times more than to be warm, and checks that nothing came of it.
fn leaks_nothing(what: &str, mut once: impl FnMut()) {
    (0..1_000).for_each(|_| once());
    let before = resources();
    (0..10_000).for_each(|_| once());
    let after = resources();
    // The allocator's own.
    assert!(after.0 <= before.0 + 8, "{what}: {before:?}, {after:?}");
    assert!(after.1 <= before.1, "{what}: {before:?}, {after:?}");
    assert!(
        after.2 <= before.2 + (4 << 20),
        "{what}: {before:?}, {after:?}"
    );
}

fn poll<R>(future: impl Future<Output = R>) -> Poll<R> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn instance_pre(engine: &Engine) -> InstancePre<()> {
    let mut linker = Linker::new(engine);
    linker
        .func_wrap_async("host", "wait", |_: Caller<'_, ()>, ()| {
            Box::new(async {
                let _memory = vec![1_u8; 1 << 10];
                pending::<()>().await
            })
        })
        .unwrap();
    let module = Module::new(
        engine,
        r#"(module
            (import "host" "wait" (func $wait))
            (func (export "wait") (call $wait))
            (func $down (export "down") (call $down))
            (func (export "spin") (loop (br 0)))
            (func (export "trap") (unreachable)))"#,
    )
    .unwrap();
    linker.instantiate_pre(&module).unwrap()
}

#[test]
fn cancelled_futures_traps_and_stack_overflows_leak_nothing() {
    let engine = Engine::new(Config::new().epoch_interruption(true)).unwrap();
    let mut store = Store::new(&engine, ());
    let pre = instance_pre(&engine);
    let instance = pre.instantiate(&mut store).unwrap();
    let mut get = |name| instance.get_typed_func::<(), ()>(&mut store, name).unwrap();
    let (wait, down, spin, trap) = (get("wait"), get("down"), get("spin"), get("trap"));

    leaks_nothing("cancelled while a host function waits", || {
        assert!(poll(wait.call_async(&mut store, ())).is_pending());
    });
    leaks_nothing("stack overflows", || {
        let Poll::Ready(Err(error)) = poll(down.call_async(&mut store, ())) else {
            panic!("it overflows");
        };
        assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow));
    });
    leaks_nothing("traps", || {
        assert!(matches!(
            poll(trap.call_async(&mut store, ())),
            Poll::Ready(Err(_))
        ));
    });
    store.set_epoch_deadline(0);
    store.epoch_deadline_async_yield_and_update(0);
    leaks_nothing("cancelled at a deadline", || {
        assert!(poll(spin.call_async(&mut store, ())).is_pending());
    });
    // More at once than are kept.
    leaks_nothing("many at once", {
        let mut round = 0;
        move || {
            round += 1;
            if round % 1_000 != 0 {
                return;
            }
            let mut stores: Vec<Store<()>> = (0..600).map(|_| Store::new(&engine, ())).collect();
            let calls: Vec<_> = stores
                .iter_mut()
                .map(|store| {
                    let wait = pre
                        .instantiate(&mut *store)
                        .unwrap()
                        .get_typed_func::<(), ()>(&mut *store, "wait")
                        .unwrap();
                    let mut call = Box::pin(async move { wait.call_async(store, ()).await });
                    assert!(poll(call.as_mut()).is_pending());
                    call
                })
                .collect();
            drop(calls);
        }
    });
}
