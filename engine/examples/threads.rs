//! One module, many threads: each has a store of its own, all share the compiled code.

use std::thread;

use bimetal::{Config, Engine, Linker, Module, Result, Store};

fn main() -> Result<()> {
    // Lazy: whichever thread calls a function first compiles it, for all.
    let engine = Engine::new(Config::new().lazy(true))?;
    let module = Module::new(
        &engine,
        r#"(module
            (func (export "sum") (param $n i64) (result i64)
                (local $sum i64)
                (loop $next
                    (local.set $sum (i64.add (local.get $sum) (local.get $n)))
                    (local.set $n (i64.sub (local.get $n) (i64.const 1)))
                    (br_if $next (i64.ne (local.get $n) (i64.const 0))))
                (local.get $sum)))"#,
    )?;
    // Looking the imports up is done once, not per instance.
    let instance_pre = Linker::<()>::new(&engine).instantiate_pre(&module)?;

    let results: Vec<Result<i64>> = thread::scope(|scope| {
        let workers: Vec<_> = (1..=8)
            .map(|worker| {
                let instance_pre = &instance_pre;
                scope.spawn(move || {
                    let mut store = Store::new(instance_pre.module().engine(), ());
                    let instance = instance_pre.instantiate(&mut store)?;
                    let sum = instance.get_typed_func::<i64, i64>(&mut store, "sum")?;
                    sum.call(&mut store, worker * 1000)
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("workers do not panic"))
            .collect()
    });
    for (worker, result) in (1..).zip(results) {
        let n = worker * 1000;
        assert_eq!(result?, n * (n + 1) / 2);
    }
    assert_eq!(module.compiled().0, 1);
    println!("eight threads, one compilation");
    Ok(())
}
