//! A server's core: worker threads that take requests from a queue and run each in a fresh
//! instance with a deadline, whatever the guest does. The module is compiled and linked once, and
//! instances come from a pool: of one that is gone only what it wrote is undone for the next.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bimetal::{
    Config, Engine, ErrorKind, InstancePre, Linker, Module, PoolingAllocationConfig, Result, Store,
    StoreLimits, StoreLimitsBuilder, Trap,
};

const WORKERS: usize = 4;

/// How long an epoch of the engine takes, and how many a request may use.
const TICK: Duration = Duration::from_millis(5);
const DEADLINE: u64 = 4;

/// What is asked: which function of the guest, with which argument.
struct Request {
    id: usize,
    function: &'static str,
    argument: i64,
    reply: Sender<(usize, Result<i64>)>,
}

/// What each request's store carries.
struct Tenant {
    limits: StoreLimits,
}

/// Threads that handle requests until the pool is dropped.
struct Pool {
    requests: Option<Sender<Request>>,
    workers: Vec<thread::JoinHandle<()>>,
}

impl Pool {
    fn new(guest: InstancePre<Tenant>) -> Pool {
        let (requests, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let worker = |_| {
            let (guest, queue) = (guest.clone(), queue.clone());
            thread::spawn(move || work(&guest, &queue))
        };
        let workers = (0..WORKERS).map(worker).collect();
        Pool {
            requests: Some(requests),
            workers,
        }
    }

    fn submit(&self, request: Request) {
        if let Some(requests) = &self.requests {
            requests
                .send(request)
                .expect("the workers wait for requests");
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // An end of the queue is an end of the workers.
        self.requests = None;
        for worker in self.workers.drain(..) {
            worker.join().expect("workers do not panic");
        }
    }
}

fn work(guest: &InstancePre<Tenant>, queue: &Mutex<Receiver<Request>>) {
    // Set up here rather than in the first request.
    Engine::tls_eager_initialize();
    loop {
        // The lock is held while waiting, but not while working.
        let next = queue.lock().expect("nobody panics with the lock").recv();
        let Ok(request) = next else {
            return;
        };
        let answer = handle(guest, &request);
        // Whoever asked may be gone.
        let _ = request.reply.send((request.id, answer));
    }
}

/// One request: a store, an instance, a call. All that the guest used goes with the store.
fn handle(guest: &InstancePre<Tenant>, request: &Request) -> Result<i64> {
    let limits = StoreLimitsBuilder::new().memory_size(1 << 20).build();
    let mut store = Store::new(guest.module().engine(), Tenant { limits });
    store.limiter(|tenant| &mut tenant.limits);
    // A new store has no deadline, and instantiation can run a start function: so first this.
    store.set_epoch_deadline(DEADLINE);
    let instance = guest.instantiate(&mut store)?;
    let function = instance.get_typed_func::<i64, i64>(&mut store, request.function)?;
    function.call(&mut store, request.argument)
}

fn main() -> Result<()> {
    // Each worker has one instance at a time.
    let mut instances = PoolingAllocationConfig::new();
    instances
        .total_core_instances(WORKERS as u32)
        .total_memories(WORKERS as u32)
        .total_tables(0);
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .allocation_strategy(instances);
    let engine = Engine::new(&config)?;

    // Time is what the embedder makes of it: this thread makes epochs pass as long as the engine is
    // used by somebody else.
    let clock = engine.weak();
    thread::spawn(move || {
        while let Some(engine) = clock.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    });

    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "is_even", |n: i64| i32::from(n % 2 == 0))?;
    let module = Module::new(
        &engine,
        r#"(module
            (import "host" "is_even" (func $is_even (param i64) (result i32)))
            (memory 1)
            (func (export "collatz") (param $n i64) (result i64) (local $steps i64)
                (loop $next
                    (if (i64.gt_u (local.get $n) (i64.const 1)) (then
                        (local.set $steps (i64.add (local.get $steps) (i64.const 1)))
                        (local.set $n (if (result i64) (call $is_even (local.get $n))
                            (then (i64.shr_u (local.get $n) (i64.const 1)))
                            (else (i64.add (i64.mul (local.get $n) (i64.const 3)) (i64.const 1)))))
                        (br $next))))
                (local.get $steps))
            (func (export "hang") (param i64) (result i64) (loop (br 0)) (unreachable))
            (func (export "fail") (param i64) (result i64)
                (i64.div_s (i64.const 1) (i64.const 0))))"#,
    )?;
    let pool = Pool::new(linker.instantiate_pre(&module)?);

    let (reply, answers) = channel();
    for id in 0..100 {
        let (function, argument) = match id % 10 {
            7 => ("hang", 0),
            8 => ("fail", 0),
            9 => ("missing", 0),
            _ => ("collatz", 27),
        };
        pool.submit(Request {
            id,
            function,
            argument,
            reply: reply.clone(),
        });
    }
    drop(reply);

    let mut good = 0;
    for (id, answer) in answers {
        match (id % 10, answer) {
            (7, Err(error)) => assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt)),
            (8, Err(error)) => assert_eq!(error.kind(), ErrorKind::Trap),
            (9, Err(error)) => assert_eq!(error.kind(), ErrorKind::Usage),
            (_, answer) => {
                assert_eq!(answer?, 111);
                good += 1;
            }
        }
    }
    println!("{WORKERS} workers answered {good} requests and ended 30 guests that misbehaved");
    Ok(())
}
