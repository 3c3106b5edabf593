//! What must not happen to a host that runs guests for months: guests that cannot be ended, and
//! memory, mappings or descriptors that are not given back. Each test does something very often
//! and compares what the process has before and after, once it has what it keeps.
#![cfg(target_os = "linux")]

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bimetal::*;

/// What a process has. Of memory, what is resident: how the allocator divides it is its own affair.
#[derive(Clone, Copy, Debug)]
struct Held {
    mappings: usize,
    descriptors: usize,
    resident: usize,
}

impl Held {
    fn now() -> Held {
        let maps = fs::read_to_string("/proc/self/maps").expect("Linux has it");
        let descriptors = fs::read_dir("/proc/self/fd").expect("Linux has it");
        let statm = fs::read_to_string("/proc/self/statm").expect("Linux has it");
        let pages: usize = statm
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse().ok())
            .expect("the second number is the resident pages");
        Held {
            mappings: maps.lines().count(),
            descriptors: descriptors.count(),
            resident: pages * 4096,
        }
    }
}

/// What the one test has that may run.
type Turn = MutexGuard<'static, ()>;

/// The tests take turns, since they look at the whole process.
fn turn() -> Turn {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something `times` times and checks that nothing is left behind, but for what a tenth of
/// that many times has left behind before.
/// Whoever calls it has had its turn since before it made anything.
fn leaves_nothing(_: &Turn, times: usize, mut f: impl FnMut(usize) -> Result<()>) -> Result<()> {
    for i in 0..times / 10 {
        f(i)?;
    }
    let before = Held::now();
    for i in 0..times {
        f(i)?;
    }
    let after = Held::now();
    println!("{before:?}\n{after:?}");
    assert_eq!(after.descriptors, before.descriptors);
    assert!(
        after.mappings <= before.mappings + 8,
        "mappings: {} before, {} after",
        before.mappings,
        after.mappings
    );
    // A hundred bytes each are what an allocator may do with fragments, but no leak of ours.
    let more = after.resident.saturating_sub(before.resident);
    assert!(more < times * 100, "{more} bytes more after {times} times");
    Ok(())
}

#[test]
fn a_thousand_guests_that_never_end_all_end() -> Result<()> {
    const GUESTS: usize = 1000;
    const TICK: Duration = Duration::from_millis(1);
    const DEADLINE: u64 = 10;
    let _turn = turn();
    let engine = Engine::new(Config::new().epoch_interruption(true))?;
    let module = Module::new(
        &engine,
        r#"(module
            (import "host" "nothing" (func $nothing))
            (func (export "0") (loop (br 0)))
            (func $deep (param i32)
                (if (i32.eqz (local.get 0)) (then (loop (br 0))))
                (call $deep (i32.sub (local.get 0) (i32.const 1))))
            (func (export "1") (call $deep (i32.const 50)))
            (func (export "2") (loop (call $nothing) (br 0)))
            (func $f (call $g)) (func $g)
            (func (export "3") (loop (call $f) (br 0))))"#,
    )?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "nothing", || {})?;
    let guest = linker.instantiate_pre(&module)?;

    let (next, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
    let start = Instant::now();
    let work = || -> Result<usize> {
        let mut stopped = 0;
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= GUESTS {
                return Ok(stopped);
            }
            let mut store = Store::new(&engine, ());
            let instance = guest.instantiate(&mut store)?;
            let run = instance.get_typed_func::<(), ()>(&mut store, &(i % 4).to_string())?;
            store.set_epoch_deadline(DEADLINE);
            let error = run.call(&mut store, ()).expect_err("it never returns");
            assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt), "{error}");
            stopped += 1;
        }
    };
    let stopped = thread::scope(|scope| -> Result<usize> {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                thread::sleep(TICK);
                engine.increment_epoch();
            }
        });
        let other = scope.spawn(work);
        let mine = work();
        let theirs = other.join().expect("workers do not panic");
        ended.store(true, Ordering::Relaxed);
        Ok(mine? + theirs?)
    })?;
    assert_eq!(stopped, GUESTS);
    // They take five seconds if the machine has nothing else to do.
    assert!(start.elapsed() < Duration::from_secs(300));
    Ok(())
}

const TRAPS: &str = r#"(module
    (import "host" "fail" (func $fail))
    (type $other (func (param i64)))
    (memory 1) (table 2 funcref) (elem (i32.const 1) $fail)
    (func (export "0") unreachable)
    (func (export "1") (drop (i32.div_u (i32.const 1) (i32.const 0))))
    (func (export "2") (drop (i32.load (i32.const -1))))
    (func (export "3") (call_indirect (i32.const 0)))
    (func (export "4") (call_indirect (type $other) (i64.const 1) (i32.const 1)))
    (func (export "5") (drop (i32.trunc_f32_s (f32.const nan))))
    (func (export "6") (drop (table.get 0 (i32.const 7))))
    (func (export "7") (call $fail)))"#;

#[test]
fn ten_thousand_traps_leave_nothing() -> Result<()> {
    let turn = turn();
    let engine = Engine::default();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "fail", || -> Result<()> {
        Err(format_err!("it failed"))
    })?;
    let module = Module::new(&engine, TRAPS)?;
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module)?;
    leaves_nothing(&turn, 10_000, |i| {
        let func = instance.get_typed_func::<(), ()>(&mut store, &(i % 8).to_string())?;
        let error = func.call(&mut store, ()).expect_err("it traps");
        let kind = match i % 8 {
            7 => ErrorKind::Other,
            _ => ErrorKind::Trap,
        };
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.backtrace().is_some());
        Ok(())
    })
}

#[test]
fn ten_thousand_stack_overflows_leave_nothing() -> Result<()> {
    let turn = turn();
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module
            (import "host" "again" (func $again))
            (func $plain (export "plain") (call $plain) (call $plain))
            (func (export "through") (call $again)))"#,
    )?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap(
        "host",
        "again",
        |mut caller: Caller<'_, ()>| -> Result<()> {
            let again = caller.get_export("through").and_then(|e| e.into_func());
            let again = again.ok_or_else(|| format_err!("no `through`"))?;
            again.call(&mut caller, &[], &mut [])
        },
    )?;
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module)?;
    leaves_nothing(&turn, 10_000, |i| {
        // Through the host it takes longer.
        let name = if i % 100 == 0 { "through" } else { "plain" };
        let func = instance.get_typed_func::<(), ()>(&mut store, name)?;
        let error = func.call(&mut store, ()).expect_err("it recurses for ever");
        assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow));
        Ok(())
    })
}

#[test]
fn ten_thousand_instances_leave_nothing() -> Result<()> {
    let turn = turn();
    let engine = Engine::new(Config::new().epoch_interruption(true))?;
    let module = Module::new(
        &engine,
        r#"(module
            (import "host" "f" (func $f (param externref)))
            (memory (export "memory") 2) (table 100 externref) (global (mut i32) (i32.const 0))
            (data (i32.const 0) "something")
            (func (export "run") (param externref)
                (call $f (local.get 0))
                (drop (memory.grow (i32.const 1)))
                (drop (table.grow 0 (local.get 0) (i32.const 10)))))"#,
    )?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "f", |_: Option<ExternRef>| {})?;
    let guest = linker.instantiate_pre(&module)?;
    leaves_nothing(&turn, 10_000, |i| {
        let mut store = Store::new(&engine, vec![0_u8; 100]);
        store.set_epoch_deadline(1000);
        let handle = store.interrupt_handle()?;
        let instance = guest.instantiate(&mut store)?;
        let value = ExternRef::new(&mut store, vec![i; 100])?;
        let run = instance.get_typed_func::<Option<ExternRef>, ()>(&mut store, "run")?;
        run.call(&mut store, Some(value))?;
        drop(store);
        handle.interrupt();
        Ok(())
    })
}

#[test]
fn ten_thousand_instances_that_cannot_be_made_leave_nothing() -> Result<()> {
    let turn = turn();
    let engine = Engine::default();
    let traps = Module::new(
        &engine,
        r#"(module (memory 1) (table 10 funcref) (func $start unreachable) (start $start))"#,
    )?;
    let outside = Module::new(
        &engine,
        r#"(module (memory 1) (data (i32.const 65536) "x"))"#,
    )?;
    let linker = Linker::<()>::new(&engine);
    leaves_nothing(&turn, 10_000, |i| {
        let mut store = Store::new(&engine, ());
        let module = if i % 2 == 0 { &traps } else { &outside };
        assert!(linker.instantiate(&mut store, module).is_err());
        Ok(())
    })
}

#[test]
fn modules_that_are_dropped_leave_nothing() -> Result<()> {
    let turn = turn();
    for lazy in [true, false] {
        let engine = Engine::new(Config::new().lazy(lazy))?;
        leaves_nothing(&turn, 2_000, |i| {
            // Each has a type that no other has.
            let params: String = (0..12)
                .map(|bit| if i >> bit & 1 == 0 { "i32 " } else { "i64 " })
                .collect();
            let module = Module::new(
                &engine,
                format!(
                    r#"(module
                        (import "host" "f" (func $f (param {params})))
                        (func (export "g") (param {params}))
                        (func (export "run") unreachable))"#
                ),
            )?;
            let mut store = Store::new(&engine, ());
            let mut linker = Linker::new(&engine);
            linker.define_unknown_imports_as_traps(&module)?;
            let instance = linker.instantiate(&mut store, &module)?;
            let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
            assert!(run.call(&mut store, ()).is_err());
            if i % 4 == 0 {
                let g = instance.get_func(&mut store, "g").expect("it is exported");
                let ty = g.ty(&store);
                let zeros: Vec<Val> = ty
                    .params()
                    .filter_map(|t| Val::default_for_ty(&t))
                    .collect();
                g.call(&mut store, &zeros, &mut [])?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn engines_that_are_dropped_leave_nothing() -> Result<()> {
    let turn = turn();
    leaves_nothing(&turn, 500, |_| {
        let engine = Engine::default();
        let module = Module::new(&engine, r#"(module (func (export "f")))"#)?;
        let mut store = Store::new(&engine, ());
        let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
        let f = instance.get_typed_func::<(), ()>(&mut store, "f")?;
        f.call(&mut store, ())
    })
}

#[test]
fn threads_that_end_leave_nothing() -> Result<()> {
    let turn = turn();
    let engine = Engine::default();
    let module = Module::new(&engine, r#"(module (func (export "f") unreachable))"#)?;
    leaves_nothing(&turn, 1_000, |_| {
        let run = || -> Result<()> {
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &module, &[])?;
            let f = instance.get_typed_func::<(), ()>(&mut store, "f")?;
            assert!(f.call(&mut store, ()).is_err());
            Ok(())
        };
        thread::scope(|scope| scope.spawn(run).join()).expect("the thread does not panic")
    })
}

/// What an instance with data, a table and a memory of its own leaves behind, made by an engine of
/// this configuration.
fn instances_leave_nothing(config: &Config) -> Result<()> {
    let turn = turn();
    let engine = Engine::new(config)?;
    let module = Module::new(
        &engine,
        r#"(module
            (import "host" "f" (func $f (param i32) (result i32)))
            (memory (export "memory") 2) (table 100 funcref) (global (mut i32) (i32.const 0))
            (elem (i32.const 3) $f $g $g)
            (data (i32.const 5000) "something")
            (func $g (param i32) (result i32) (local.get 0))
            (func (export "run") (param i32)
                (i32.store (local.get 0) (i32.const 1))
                (drop (call_indirect (param i32) (result i32)
                    (i32.const 1) (i32.add (i32.const 3) (i32.rem_u (local.get 0) (i32.const 3)))))
                (if (i32.and (local.get 0) (i32.const 1)) (then
                    (drop (memory.grow (i32.const 1)))
                    (table.set (i32.const 50) (ref.func $g))
                    (drop (table.grow 0 (ref.null func) (i32.const 10)))))))"#,
    )?;
    let traps = Module::new(
        &engine,
        r#"(module (memory 1) (table 1 funcref) (func $f unreachable) (start $f))"#,
    )?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "f", |x: i32| x + 1)?;
    let guest = linker.instantiate_pre(&module)?;
    leaves_nothing(&turn, 100_000, |i| {
        let mut store = Store::new(&engine, ());
        let instance = guest.instantiate(&mut store)?;
        if i % 4 > 0 {
            let run = instance.get_typed_func::<i32, ()>(&mut store, "run")?;
            run.call(&mut store, (i % 90_000) as i32)?;
        }
        if i % 100 == 0 {
            assert!(
                linker
                    .instantiate(&mut Store::new(&engine, ()), &traps)
                    .is_err()
            );
        }
        Ok(())
    })
}

#[test]
fn a_hundred_thousand_instances_leave_nothing() -> Result<()> {
    instances_leave_nothing(&Config::new())
}

#[test]
fn a_hundred_thousand_instances_of_a_pool_leave_nothing() -> Result<()> {
    instances_leave_nothing(Config::new().allocation_strategy(PoolingAllocationConfig::new()))
}

#[test]
fn modules_that_are_dropped_leave_nothing_in_a_pool() -> Result<()> {
    let turn = turn();
    let engine = Engine::new(Config::new().allocation_strategy(PoolingAllocationConfig::new()))?;
    leaves_nothing(&turn, 1_000, |i| {
        let module = Module::new(
            &engine,
            format!(r#"(module (memory 1) (table 10 funcref) (data (i32.const {i}) "data"))"#),
        )?;
        for _ in 0..3 {
            Linker::new(&engine).instantiate(&mut Store::new(&engine, ()), &module)?;
        }
        Ok(())
    })
}

#[test]
fn ten_thousand_instances_at_a_time() -> Result<()> {
    const INSTANCES: usize = 10_000;
    let _turn = turn();
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(INSTANCES as u32)
        .total_memories(INSTANCES as u32)
        .total_tables(INSTANCES as u32);
    let engine = Engine::new(Config::new().allocation_strategy(pool))?;
    let module = Module::new(
        &engine,
        r#"(module
            (memory 4) (table 100 funcref) (elem (i32.const 0) $f) (data (i32.const 70000) "data")
            (func $f)
            (func (export "dirty")
                (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536))
                (call_indirect (i32.const 0))))"#,
    )?;
    let guest = Linker::new(&engine).instantiate_pre(&module)?;
    let before = Held::now();
    let mut stores = Vec::new();
    for _ in 0..INSTANCES {
        let mut store = Store::new(&engine, ());
        let instance = guest.instantiate(&mut store)?;
        let dirty = instance.get_typed_func::<(), ()>(&mut store, "dirty")?;
        dirty.call(&mut store, ())?;
        stores.push(store);
    }
    let error = guest.instantiate(&mut Store::new(&engine, ())).unwrap_err();
    assert!(error.is::<PoolConcurrencyLimitError>());
    let during = Held::now();
    drop(stores);
    let after = Held::now();
    println!("{before:?}\n{during:?}\n{after:?}");
    // Of which 640 MiB are what they wrote.
    assert!(during.resident - before.resident < 1 << 30);
    assert!(during.mappings - before.mappings < 6 * INSTANCES);
    assert!(
        after.resident - before.resident < 64 << 20,
        "what is left is the heap's, and a hundred warm slots"
    );
    for _ in 0..INSTANCES {
        guest.instantiate(&mut Store::new(&engine, ()))?;
    }
    Ok(())
}

/// How much address space the process takes, in bytes.
fn address_space() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages = statm.split(' ').next().and_then(|pages| pages.parse().ok());
    pages.map_or(0, |pages: usize| pages * 4096)
}

/// How much more of it there is with an engine of this configuration and so many instances.
fn address_space_of(config: &Config, instances: usize) -> Result<usize> {
    let before = address_space();
    let engine = Engine::new(config)?;
    let module = Module::new(
        &engine,
        r#"(module (memory 1) (table 10 funcref)
            (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
            (func (export "store") (param i32) (i32.store (local.get 0) (i32.const 1))))"#,
    )?;
    let guest = Linker::new(&engine).instantiate_pre(&module)?;
    let mut stores = Vec::new();
    for _ in 0..instances {
        let mut store = Store::new(&engine, ());
        let instance = guest.instantiate(&mut store)?;
        let grow = instance.get_typed_func::<i32, i32>(&mut store, "grow")?;
        let write = instance.get_typed_func::<i32, ()>(&mut store, "store")?;
        assert_eq!(grow.call(&mut store, 15)?, 1);
        write.call(&mut store, (1 << 20) - 4)?;
        let error = write.call(&mut store, 1 << 20).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::MemoryOutOfBounds));
        stores.push(store);
    }
    Ok(address_space() - before)
}

#[test]
fn small_reservations_take_little_address_space() -> Result<()> {
    let _turn = turn();
    let mut pool = PoolingAllocationConfig::new();
    pool.total_memories(100).max_memory_size(4 << 20);
    pool.total_tables(100);
    let mut on_demand = Config::new();
    on_demand.memory_reservation(0).memory_guard_size(0);
    let mut pooled = on_demand.clone();
    pooled.allocation_strategy(pool);
    let without = address_space_of(&on_demand, 0)?;
    for config in [on_demand, pooled] {
        let more = address_space_of(&config, 100)?.saturating_sub(without);
        // What the pool has, four times what they use; with the whole index space it were 400 GiB.
        assert!(more < 500 << 20, "{more} bytes");
    }
    Ok(())
}
