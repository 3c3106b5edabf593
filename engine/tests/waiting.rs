//! `memory.atomic.wait` and `notify`: across threads, with time-outs, interrupted, and asynchronously.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bimetal::{
    Caller, Config, Engine, Instance, Linker, MemoryType, Module, SharedMemory, Store, Trap,
    TypedFunc, UpdateDeadline, WaitResult,
};

const WAITER: &str = r#"(module
    (import "host" "memory" (memory 1 2 shared))
    (func (export "wait") (param i32 i32 i64) (result i32)
        (memory.atomic.wait32 (local.get 0) (local.get 1) (local.get 2)))
    (func (export "wait64") (param i32 i64 i64) (result i32)
        (memory.atomic.wait64 (local.get 0) (local.get 1) (local.get 2)))
    (func (export "notify") (param i32 i32) (result i32)
        (memory.atomic.notify (local.get 0) (local.get 1))))"#;

struct Guest {
    store: Store<u32>,
    instance: Instance,
}

impl Guest {
    fn new(module: &Module, memory: &SharedMemory) -> Guest {
        let mut store = Store::new(module.engine(), 0);
        let mut linker = Linker::new(module.engine());
        linker
            .define(&store, "host", "memory", memory.clone())
            .unwrap();
        let instance = linker.instantiate(&mut store, module).unwrap();
        Guest { store, instance }
    }

    fn wait_func(&mut self) -> TypedFunc<(u32, u32, i64), u32> {
        self.instance
            .get_typed_func(&mut self.store, "wait")
            .unwrap()
    }

    fn wait(&mut self, at: u32, expected: u32, time: i64) -> bimetal::Result<u32> {
        self.wait_func().call(&mut self.store, (at, expected, time))
    }

    fn notify(&mut self, at: u32, count: u32) -> bimetal::Result<u32> {
        let notify = self.instance.get_typed_func(&mut self.store, "notify");
        notify.unwrap().call(&mut self.store, (at, count))
    }
}

fn waiter(config: &Config) -> (Module, SharedMemory) {
    let engine = Engine::new(config).unwrap();
    let module = Module::new(&engine, WAITER).unwrap();
    let memory = SharedMemory::new(&engine, MemoryType::shared(1, 2)).unwrap();
    (module, memory)
}

fn interruptible() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config
}

/// Notifies until so many have been.
fn notify_all(memory: &SharedMemory, at: u64, mut count: u32) {
    while count > 0 {
        count -= memory.atomic_notify(at, count).unwrap();
        thread::yield_now();
    }
}

#[test]
fn who_waits_is_notified() {
    let (module, memory) = waiter(&Config::new());
    thread::scope(|scope| {
        let waits: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| Guest::new(&module, &memory).wait(16, 0, -1)))
            .collect();
        // Nobody waits there.
        assert_eq!(memory.atomic_notify(20, u32::MAX).unwrap(), 0);
        let mut notifier = Guest::new(&module, &memory);
        let mut left = 8;
        while left > 0 {
            // One after the other, at most.
            let notified = notifier.notify(16, 1).unwrap();
            assert!(notified <= 1);
            left -= notified;
        }
        for wait in waits {
            assert_eq!(wait.join().unwrap().unwrap(), 0);
        }
        assert_eq!(notifier.notify(16, u32::MAX).unwrap(), 0);
    });
}

#[test]
fn hosts_and_guests_wait_for_each_other() {
    let (module, memory) = waiter(&Config::new());
    thread::scope(|scope| {
        let host = scope.spawn(|| memory.atomic_wait64(8, 0, None));
        let mut guest = Guest::new(&module, &memory);
        while guest.notify(8, 1).unwrap() == 0 {}
        assert_eq!(host.join().unwrap(), Ok(WaitResult::Ok));
    });
}

#[test]
fn waiting_ends_in_time_or_at_once() {
    let (module, memory) = waiter(&Config::new());
    let mut guest = Guest::new(&module, &memory);
    memory.write(0, &7_u64.to_le_bytes()).unwrap();
    assert_eq!(guest.wait(0, 8, -1).unwrap(), 1);
    assert_eq!(guest.wait(0, 7, 0).unwrap(), 2);
    let start = Instant::now();
    assert_eq!(guest.wait(0, 7, 20_000_000).unwrap(), 2);
    assert!(start.elapsed() >= Duration::from_millis(20));
    let wait = guest
        .instance
        .get_typed_func::<(u32, u64, i64), u32>(&mut guest.store, "wait64");
    let wait = wait.unwrap();
    assert_eq!(wait.call(&mut guest.store, (0, 7, 1)).unwrap(), 2);
    assert_eq!(
        wait.call(&mut guest.store, (0, 7 | 1 << 32, -1)).unwrap(),
        1
    );
    for (at, trap) in [
        (2, Trap::HeapMisaligned),
        (65_536, Trap::MemoryOutOfBounds),
        (u32::MAX - 3, Trap::MemoryOutOfBounds),
    ] {
        let error = guest.wait(at, 0, 0).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&trap));
        let error = guest.notify(at, 0).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&trap));
    }
    let error = wait.call(&mut guest.store, (4, 0, 0)).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Trap::HeapMisaligned));
}

#[test]
fn nobody_waits_at_a_memory_that_is_not_shared() {
    let engine = Engine::default();
    let text = WAITER.replace(
        r#"(import "host" "memory" (memory 1 2 shared))"#,
        "(memory 1 2)",
    );
    let module = Module::new(&engine, text).unwrap();
    let mut store = Store::new(&engine, 0);
    let instance = Linker::new(&engine)
        .instantiate(&mut store, &module)
        .unwrap();
    let mut guest = Guest { store, instance };
    let error = guest.wait(0, 0, -1).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Trap::AtomicWaitNonShared));
    assert_eq!(guest.notify(0, 1).unwrap(), 0);
    let error = guest.notify(3, 1).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Trap::HeapMisaligned));
    let error = guest.notify(65_536, 1).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Trap::MemoryOutOfBounds));
}

/// Waits until the deadline has been looked at so many times.
fn deadlines_pass(engine: &Engine, seen: &AtomicU32, count: u32) {
    while seen.load(Ordering::SeqCst) < count {
        engine.increment_epoch();
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn interrupts_and_deadlines_end_waiting() {
    let (module, memory) = waiter(&interruptible());
    thread::scope(|scope| {
        let mut guest = Guest::new(&module, &memory);
        let handle = guest.store.interrupt_handle().unwrap();
        let waits = scope.spawn(move || {
            let error = guest.wait(0, 0, -1).unwrap_err();
            // It can be used again, and nobody waits any more.
            assert_eq!(guest.notify(0, 9).unwrap(), 0);
            error
        });
        thread::sleep(Duration::from_millis(5));
        handle.interrupt();
        let error = waits.join().unwrap();
        assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));

        let mut guest = Guest::new(&module, &memory);
        guest.store.set_epoch_deadline(1);
        let waits = scope.spawn(move || guest.wait(0, 0, -1));
        while !waits.is_finished() {
            module.engine().increment_epoch();
            thread::yield_now();
        }
        let error = waits.join().unwrap().unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
    });
}

/// A deadline that lets the program go on lets it go on waiting, in its place.
#[test]
fn deadlines_that_are_moved_do_not_end_waiting() {
    let (module, memory) = waiter(&interruptible());
    let seen = Arc::new(AtomicU32::new(0));
    let told = seen.clone();
    thread::scope(|scope| {
        let mut guest = Guest::new(&module, &memory);
        guest.store.set_epoch_deadline(1);
        guest.store.epoch_deadline_callback(move |_| {
            told.fetch_add(1, Ordering::SeqCst);
            Ok(UpdateDeadline::Continue(1))
        });
        let waits = scope.spawn(move || guest.wait(0, 0, -1));
        deadlines_pass(module.engine(), &seen, 5);
        assert!(!waits.is_finished());
        notify_all(&memory, 0, 1);
        assert_eq!(waits.join().unwrap().unwrap(), 0);
    });
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().build().unwrap()
}

/// Two programs on one thread: one waits, the other notifies it.
#[test]
fn a_task_waits_without_its_thread() {
    let (module, memory) = waiter(&Config::new());
    runtime().block_on(async {
        let (mut first, mut second) = (Guest::new(&module, &memory), Guest::new(&module, &memory));
        let wait = first.wait_func();
        let waits = wait.call_async(&mut first.store, (0, 0, -1));
        let notify = second
            .instance
            .get_typed_func::<(u32, u32), u32>(&mut second.store, "notify");
        let notify = notify.unwrap();
        let notifies = async {
            loop {
                tokio::task::yield_now().await;
                let call = notify.call_async(&mut second.store, (0, 1));
                if call.await.unwrap() == 1 {
                    break;
                }
            }
        };
        let (waited, ()) = tokio::join!(waits, notifies);
        assert_eq!(waited.unwrap(), 0);
    });
}

#[test]
fn a_task_waits_for_its_time() {
    let (module, memory) = waiter(&Config::new());
    runtime().block_on(async {
        let mut guests: Vec<_> = (0..20).map(|_| Guest::new(&module, &memory)).collect();
        let start = Instant::now();
        let mut waits = Vec::new();
        for (i, guest) in guests.iter_mut().enumerate() {
            let wait = guest.wait_func();
            let time = 1_000_000 * (20 - i as i64);
            waits.push(async move {
                let result = wait.call_async(&mut guest.store, (0, 0, time)).await;
                (
                    result.unwrap(),
                    Duration::from_nanos(time as u64),
                    Instant::now(),
                )
            });
        }
        // All at once on this one thread.
        for wait in waits.into_iter().rev() {
            let (result, time, end) = wait.await;
            assert_eq!(result, 2);
            assert!(end - start >= time);
        }
        // One without a time is pending, for ever if need be.
        let guest = &mut guests[0];
        let wait = guest.wait_func();
        let call = wait.call_async(&mut guest.store, (0, 0, -1));
        assert!(
            tokio::time::timeout(Duration::from_millis(5), call)
                .await
                .is_err()
        );
        // Cancelled, it waits no more.
        assert_eq!(memory.atomic_notify(0, 9).unwrap(), 0);
        assert_eq!(guest.notify(0, 1).unwrap(), 0);
    });
}

#[test]
fn a_task_that_waits_is_interrupted() {
    let (module, memory) = waiter(&interruptible());
    runtime().block_on(async {
        let mut guest = Guest::new(&module, &memory);
        let handle = guest.store.interrupt_handle().unwrap();
        let other = thread::spawn(move || {
            thread::sleep(Duration::from_millis(5));
            handle.interrupt();
        });
        let wait = guest.wait_func();
        let error = wait
            .call_async(&mut guest.store, (0, 0, -1))
            .await
            .unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
        other.join().unwrap();

        // Yielding at deadlines goes on meanwhile.
        let mut guest = Guest::new(&module, &memory);
        guest.store.set_epoch_deadline(1);
        guest.store.epoch_deadline_async_yield_and_update(1);
        let engine = module.engine().clone();
        let shared = memory.clone();
        let other = thread::spawn(move || {
            for _ in 0..5 {
                thread::sleep(Duration::from_millis(1));
                engine.increment_epoch();
            }
            notify_all(&shared, 0, 1);
        });
        let wait = guest.wait_func();
        assert_eq!(
            wait.call_async(&mut guest.store, (0, 0, -1)).await.unwrap(),
            0
        );
        other.join().unwrap();
    });
}

/// A synchronous call on a fiber cannot be suspended: its thread waits.
#[test]
fn a_synchronous_call_inside_of_a_task_keeps_the_thread() {
    let (module, memory) = waiter(&Config::new());
    let text = r#"(module (import "host" "go" (func $go (result i32)))
        (func (export "run") (result i32) (call $go)))"#;
    let outer = Module::new(module.engine(), text).unwrap();
    runtime().block_on(async {
        let mut guest = Guest::new(&module, &memory);
        let wait = guest.wait_func();
        let mut linker = Linker::new(module.engine());
        linker
            .func_wrap("host", "go", move |mut caller: Caller<'_, u32>| {
                wait.call(&mut caller, (0, 0, 3_000_000))
            })
            .unwrap();
        let run = linker
            .instantiate_async(&mut guest.store, &outer)
            .await
            .unwrap();
        let run = run
            .get_typed_func::<(), u32>(&mut guest.store, "run")
            .unwrap();
        assert_eq!(run.call_async(&mut guest.store, ()).await.unwrap(), 2);
    });
}

/// Threads hand a token round and round, through the memory only.
#[test]
fn a_token_goes_round() {
    const THREADS: u32 = 6;
    const ROUNDS: u32 = 200;
    let text = r#"(module
        (import "host" "memory" (memory 1 2 shared))
        (func (export "run") (param $me i32) (param $threads i32) (param $rounds i32)
            (local $now i32)
            (loop $round
                (loop $again
                    (local.set $now (i32.atomic.load (i32.const 0)))
                    (if (i32.ne (i32.rem_u (local.get $now) (local.get $threads)) (local.get $me))
                        (then
                            (drop (memory.atomic.wait32 (i32.const 0) (local.get $now) (i64.const -1)))
                            (br $again))))
                (i32.atomic.store (i32.const 0) (i32.add (local.get $now) (i32.const 1)))
                (drop (memory.atomic.notify (i32.const 0) (i32.const -1)))
                (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
                (br_if $round (local.get $rounds)))))"#;
    let engine = Engine::default();
    let module = Module::new(&engine, text).unwrap();
    let memory = SharedMemory::new(&engine, MemoryType::shared(1, 2)).unwrap();
    thread::scope(|scope| {
        for me in 0..THREADS {
            let (module, memory) = (&module, &memory);
            scope.spawn(move || {
                let mut guest = Guest::new(module, memory);
                let run = guest
                    .instance
                    .get_typed_func::<(u32, u32, u32), ()>(&mut guest.store, "run");
                run.unwrap()
                    .call(&mut guest.store, (me, THREADS, ROUNDS))
                    .unwrap();
            });
        }
    });
    let mut token = [0; 4];
    memory.read(0, &mut token).unwrap();
    assert_eq!(u32::from_le_bytes(token), THREADS * ROUNDS);
}
