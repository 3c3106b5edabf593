//! Everything that can happen to asynchronous calls, in random order and nesting: waiting, nested
//! calls that are awaited, dropped, leaked, that trap and panic, synchronous calls, polls on changing
//! threads, cancellation. Results must be right, and destructors run as often as they should.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::task::{Context, Poll, Waker};

use bimetal::{
    Caller, Config, Engine, Extern, InstancePre, Linker, Module, Result, Store, Trap, TypedFunc,
};

/// Marsaglia's xorshift.
#[derive(Clone, Copy)]
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

struct Data {
    random: Random,
    /// Whether programs yield at each function that is entered.
    yields: bool,
    /// How many host functions are in progress but for those that were leaked.
    alive: Arc<AtomicIsize>,
}

struct Alive(Arc<AtomicIsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// `go(n)` is `2 ** n`, as `step(n - 1) + step(n - 1)`.
const MODULE: &str = r#"(module
    (import "host" "step" (func $step (param i32) (result i32)))
    (import "host" "panic" (func $panic))
    (memory 1)
    (func $go (export "go") (param $n i32) (result i32)
        (if (result i32) (local.get $n)
            (then (i32.add
                (call $step (i32.sub (local.get $n) (i32.const 1)))
                (call $step (i32.sub (local.get $n) (i32.const 1)))))
            (else (i32.const 1))))
    (func (export "pure") (param $n i32) (result i32)
        (i32.shl (i32.const 1) (local.get $n)))
    (func (export "trap") (param $n i32) (result i32)
        (drop (call $go (local.get $n))) (i32.load (i32.const -1)))
    (func (export "overflow") (param $n i32) (result i32)
        (i32.add (call $go (local.get $n)) (call $down (i32.const 0))))
    (func $down (param i32) (result i32)
        (i32.add (local.get 0) (call $down (local.get 0))))
    (func (export "panic") (param $n i32) (result i32)
        (drop (call $go (local.get $n))) (call $panic) (i32.const 0)))"#;

type Go = TypedFunc<i32, i32>;

fn get(caller: &mut Caller<'_, Data>, name: &str) -> Go {
    let func = caller.get_export(name).and_then(Extern::into_func);
    func.unwrap().typed(caller).unwrap()
}

async fn yield_now() {
    let mut yielded = false;
    poll_fn(|_| match std::mem::replace(&mut yielded, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

/// A future's result, or nothing if it panics.
async fn unless_it_panics<R>(future: impl Future<Output = R>) -> Option<R> {
    let mut future = Box::pin(future);
    poll_fn(move |task| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(task)));
        match polled {
            Ok(polled) => polled.map(Some),
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}

fn panic_silently() {
    std::panic::resume_unwind(Box::new("wanted"));
}

async fn step(mut caller: Caller<'_, Data>, n: i32) -> Result<i32> {
    let alive = caller.data().alive.clone();
    alive.fetch_add(1, Ordering::Relaxed);
    let _alive = Alive(alive.clone());
    for _ in 0..caller.data_mut().random.below(3) {
        let what = caller.data_mut().random.below(16);
        let polls = caller.data_mut().random.below(4);
        match what {
            0..6 => yield_now().await,
            6 | 7 => {
                let pure = get(&mut caller, "pure");
                assert_eq!(pure.call(&mut caller, n)?, 1 << n);
            }
            8 | 9 => {
                let trap = get(&mut caller, "trap");
                let error = trap.call_async(&mut caller, n).await.unwrap_err();
                assert_eq!(error.downcast_ref(), Some(&Trap::MemoryOutOfBounds));
            }
            10 => {
                let overflow = get(&mut caller, "overflow");
                let error = overflow.call_async(&mut caller, n).await.unwrap_err();
                assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow));
            }
            11 => {
                let panic = get(&mut caller, "panic");
                let result = unless_it_panics(panic.call_async(&mut caller, n)).await;
                assert!(result.is_none());
            }
            12 => {
                // It fails if it comes to waiting.
                let go = get(&mut caller, "go");
                let waits = n > 0 || caller.data().yields;
                assert_eq!(go.call(&mut caller, n).is_err(), waits);
            }
            _ => {
                let go = get(&mut caller, "go");
                let before = alive.load(Ordering::Relaxed);
                let mut call = Box::pin(go.call_async(&mut caller, n));
                for _ in 0..polls {
                    let polled = poll_fn(|task| Poll::Ready(call.as_mut().poll(task)));
                    if polled.await.is_ready() {
                        break;
                    }
                    yield_now().await;
                }
                match what {
                    13 | 14 => drop(call),
                    _ => {
                        std::mem::forget(call);
                        // What was leaked is not counted.
                        alive.store(before, Ordering::Relaxed);
                    }
                }
                assert_eq!(alive.load(Ordering::Relaxed), before);
            }
        }
    }
    match caller.data_mut().random.below(2) {
        0 => Ok(1 << n),
        _ => {
            let go = get(&mut caller, "go");
            go.call_async(&mut caller, n).await
        }
    }
}

fn pre(engine: &Engine) -> InstancePre<Data> {
    let mut linker = Linker::new(engine);
    linker
        .func_wrap_async("host", "step", |caller: Caller<'_, Data>, (n,): (i32,)| {
            Box::new(step(caller, n))
        })
        .unwrap();
    linker.func_wrap("host", "panic", panic_silently).unwrap();
    let module = Module::new(engine, MODULE).unwrap();
    linker.instantiate_pre(&module).unwrap()
}

/// Makes calls of one store and gives them up or not.
fn one_store(pre: &InstancePre<Data>, seed: u64) {
    let mut random = Random(seed);
    let alive = Arc::new(AtomicIsize::new(0));
    let data = Data {
        random: Random(seed.rotate_left(32) | 1),
        yields: random.below(2) == 0,
        alive: alive.clone(),
    };
    let yields = data.yields;
    let mut store = Store::new(pre.module().engine(), data);
    if yields {
        store.set_epoch_deadline(0);
        store.epoch_deadline_async_yield_and_update(0);
    }
    let instance = pre.instantiate(&mut store).unwrap();
    let go: Go = instance.get_typed_func(&mut store, "go").unwrap();
    let pure: Go = instance.get_typed_func(&mut store, "pure").unwrap();
    for _ in 0..6 {
        let mut polls = match random.below(3) {
            0 => random.below(40),
            _ => u64::MAX,
        };
        let n = random.below(5) as i32;
        {
            let mut call = Box::pin(go.call_async(&mut store, n));
            while polls > 0 {
                let polled = match random.below(40) {
                    0 => std::thread::scope(|scope| {
                        scope.spawn(|| poll(call.as_mut())).join().unwrap()
                    }),
                    _ => poll(call.as_mut()),
                };
                if let Poll::Ready(result) = polled {
                    assert_eq!(result.unwrap(), 1 << n);
                    break;
                }
                polls -= 1;
            }
            if random.below(4) == 0 {
                // The last act of this store's calls may be on another thread, too.
                std::thread::scope(|scope| scope.spawn(|| drop(call)).join().unwrap());
            }
        }
        assert_eq!(alive.load(Ordering::Relaxed), 0);
        assert_eq!(pure.call(&mut store, n).unwrap(), 1 << n);
    }
}

#[test]
fn calls_in_random_circumstances_are_right() {
    let engine = Engine::new(Config::new().epoch_interruption(true)).unwrap();
    let pre = pre(&engine);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let pre = &pre;
            scope.spawn(move || {
                for round in 0..40 {
                    one_store(pre, 0x9e37_79b9_7f4a_7c15 ^ ((thread << 32) | (round + 1)));
                }
            });
        }
    });
}
