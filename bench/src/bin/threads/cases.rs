// Included once for each runtime, which is `runtime` here. Both get the same module as a binary, and
// their defaults, but that a shared memory is allowed.

use runtime::{
    Config, Engine, Linker, MemoryType, Module, Result, SharedMemory, Store, TypedFunc,
};

use bimetal_bench::bursts::Case;

/// All that threads do. What they share begins at 0: the next row, a counter, a lock with what is
/// under it, and whose turn it is; each on a cache line of its own.
const TEXT: &str = r#"(module
    (import "env" "memory" (memory 32 32 shared))

    ;; Takes rows of a Mandelbrot set of `size` times `size` points, until there are no more.
    (func (export "mandelbrot") (param $size i32) (param $limit i32)
        (local $y i32) (local $x i32) (local $n i32)
        (local $cr f64) (local $ci f64) (local $zr f64) (local $zi f64) (local $rr f64) (local $ii f64)
        (block $done (loop $row
            (local.set $y (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))
            (br_if $done (i32.ge_u (local.get $y) (local.get $size)))
            (local.set $ci (f64.sub (f64.div (f64.mul (f64.const 2) (f64.convert_i32_u (local.get $y)))
                (f64.convert_i32_u (local.get $size))) (f64.const 1)))
            (local.set $x (i32.const 0))
            (loop $point
                (local.set $cr (f64.sub (f64.div (f64.mul (f64.const 2)
                    (f64.convert_i32_u (local.get $x))) (f64.convert_i32_u (local.get $size)))
                    (f64.const 1.5)))
                (local.set $zr (f64.const 0)) (local.set $zi (f64.const 0))
                (local.set $rr (f64.const 0)) (local.set $ii (f64.const 0))
                (local.set $n (i32.const 0))
                (block $out (loop $step
                    (br_if $out (i32.ge_u (local.get $n) (local.get $limit)))
                    (br_if $out (f64.gt (f64.add (local.get $rr) (local.get $ii)) (f64.const 4)))
                    (local.set $zi (f64.add (f64.mul (f64.mul (f64.const 2) (local.get $zr))
                        (local.get $zi)) (local.get $ci)))
                    (local.set $zr (f64.add (f64.sub (local.get $rr) (local.get $ii))
                        (local.get $cr)))
                    (local.set $rr (f64.mul (local.get $zr) (local.get $zr)))
                    (local.set $ii (f64.mul (local.get $zi) (local.get $zi)))
                    (local.set $n (i32.add (local.get $n) (i32.const 1)))
                    (br $step)))
                (i32.store16 offset=1024 (i32.shl (i32.add (i32.mul (local.get $y) (local.get $size))
                    (local.get $x)) (i32.const 1)) (local.get $n))
                (br_if $point (i32.lt_u
                    (local.tee $x (i32.add (local.get $x) (i32.const 1))) (local.get $size))))
            (br $row))))
    (func (export "again") (i32.atomic.store (i32.const 0) (i32.const 0)))

    (func (export "count") (param $n i32) (param i32)
        (loop $next
            (drop (i64.atomic.rmw.add (i32.const 64) (i64.const 1)))
            (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))

    ;; A lock that is waited for after a few tries, as C libraries have it.
    (func (export "lock") (param $n i32) (param i32)
        (loop $next
            (if (i32.atomic.rmw.cmpxchg (i32.const 128) (i32.const 0) (i32.const 1))
                (then (loop $again
                    (if (i32.atomic.rmw.xchg (i32.const 128) (i32.const 2)) (then
                        (drop (memory.atomic.wait32 (i32.const 128) (i32.const 2) (i64.const -1)))
                        (br $again))))))
            (i64.store (i32.const 192) (i64.add (i64.load (i32.const 192)) (i64.const 1)))
            (if (i32.eq (i32.atomic.rmw.xchg (i32.const 128) (i32.const 0)) (i32.const 2))
                (then (drop (memory.atomic.notify (i32.const 128) (i32.const 1)))))
            (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))

    ;; Hands a turn back and forth between two threads.
    (func (export "turns") (param $n i32) (param $me i32)
        (local $now i32)
        (loop $next
            (loop $again
                (local.set $now (i32.atomic.load (i32.const 256)))
                (if (i32.ne (i32.and (local.get $now) (i32.const 1)) (local.get $me)) (then
                    (drop (memory.atomic.wait32 (i32.const 256) (local.get $now) (i64.const -1)))
                    (br $again))))
            (i32.atomic.store (i32.const 256) (i32.add (local.get $now) (i32.const 1)))
            (drop (memory.atomic.notify (i32.const 256) (i32.const 1)))
            (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))"#;

/// Points of the Mandelbrot set in a row and a column, and the most steps.
const MANDELBROT: (u32, u32) = (300, 400);

/// A thread's own store, and what it calls.
struct Worker {
    store: Store<()>,
    call: TypedFunc<(u32, u32), ()>,
    again: TypedFunc<(), ()>,
}

/// What a thread is given: the same for all, or its number.
#[derive(Clone, Copy)]
enum Second {
    Same(u32),
    Number,
}

fn case(
    engine: &Engine,
    name: &'static str,
    threads: u32,
    function: &str,
    first: u32,
    second: Second,
) -> Result<Case> {
    let module = Module::new(engine, wat::parse_str(TEXT).expect("the text is right"))?;
    let memory = SharedMemory::new(engine, MemoryType::shared(32, 32))?;
    let worker = |_| {
        let mut store = Store::new(engine, ());
        let mut linker = Linker::new(engine);
        linker.define(&store, "env", "memory", memory.clone())?;
        let instance = linker.instantiate(&mut store, &module)?;
        let call = instance.get_typed_func(&mut store, function)?;
        let again = instance.get_typed_func(&mut store, "again")?;
        Ok(Worker { store, call, again })
    };
    let mut workers: Vec<Worker> = (0..threads).map(worker).collect::<Result<_>>()?;
    Ok(Case::new(name, 1, move |n| {
        for _ in 0..n {
            let Worker { store, again, .. } = &mut workers[0];
            again.call(store, ()).expect("it does not trap");
            std::thread::scope(|scope| {
                for (number, worker) in (0..).zip(&mut workers) {
                    let second = match second {
                        Second::Same(second) => second,
                        Second::Number => number,
                    };
                    scope.spawn(move || {
                        let called = worker.call.call(&mut worker.store, (first, second));
                        called.expect("it does not trap");
                    });
                }
            });
        }
    }))
}

/// All cases.
pub(crate) fn cases() -> Result<Vec<Case>> {
    let mut config = Config::new();
    config.shared_memory(true);
    let engine = Engine::new(&config)?;
    let (size, limit) = MANDELBROT;
    let limit = Second::Same(limit);
    Ok(vec![
        case(&engine, "mandelbrot, 1 thread", 1, "mandelbrot", size, limit)?,
        case(&engine, "mandelbrot, 2 threads", 2, "mandelbrot", size, limit)?,
        case(&engine, "mandelbrot, 4 threads", 4, "mandelbrot", size, limit)?,
        case(&engine, "a million additions, 1 thread", 1, "count", 1_000_000, Second::Number)?,
        case(&engine, "a million additions each, 2 threads", 2, "count", 1_000_000, Second::Number)?,
        case(&engine, "a lock taken 100,000 times each, 2 threads", 2, "lock", 100_000, Second::Number)?,
        case(&engine, "2,000 turns each, 2 threads", 2, "turns", 2_000, Second::Number)?,
    ])
}
