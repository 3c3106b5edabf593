//! A pool of instances: its limits, and that no instance sees anything of an earlier one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bimetal::{
    Caller, Config, Engine, Error, ErrorKind, Func, Instance, InstanceAllocationStrategy, Linker,
    Memory, MemoryType, Module, PoolConcurrencyLimitError, PoolingAllocationConfig, Ref, RefType,
    Result, Store, Table, TableType, Trap, Val,
};

fn engine(limits: impl FnOnce(&mut PoolingAllocationConfig)) -> Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(4)
        .total_memories(4)
        .total_tables(4);
    limits(&mut pool);
    Engine::new(Config::new().allocation_strategy(pool))
}

fn instantiate(engine: &Engine, module: &Module) -> Result<(Store<()>, Instance)> {
    let mut store = Store::new(engine, ());
    let instance = Linker::new(engine).instantiate(&mut store, module)?;
    Ok((store, instance))
}

fn call(store: &mut Store<()>, instance: Instance, name: &str, params: &[i32]) -> Result<i32> {
    let func = instance
        .get_func(&mut *store, name)
        .expect("it is exported");
    let params: Vec<Val> = params.iter().map(|&n| Val::I32(n)).collect();
    let mut results = [Val::I32(0)];
    let count = func.ty(&*store).results().len();
    func.call(store, &params, &mut results[..count])?;
    Ok(results[0].unwrap_i32())
}

/// A module that can show and change all that it has.
const ALL: &str = r#"(module
    (import "host" "f" (func $host (result i32)))
    (memory (export "memory") 2 20)
    (table $t (export "table") 8 64 funcref)
    (global $g (export "global") (mut i32) (i32.const 11))
    (global $r (mut funcref) (ref.func $one))
    (elem (table $t) (i32.const 1) func $host $one $two)
    (elem $passive func $two $one)
    (data (i32.const 100) "hello") (data $bytes "passive")
    (type $f (func (result i32)))
    (func $one (result i32) (i32.const 1))
    (func $two (result i32) (i32.const 2))
    (func (export "peek") (param i32) (result i32) (i32.load8_u (local.get 0)))
    (func (export "poke") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "fill") (param i32 i32 i32)
        (memory.fill (local.get 0) (local.get 1) (local.get 2)))
    (func (export "init") (memory.init $bytes (i32.const 0) (i32.const 0) (i32.const 7)))
    (func (export "drop") (data.drop $bytes) (elem.drop $passive))
    (func (export "call") (param i32) (result i32) (call_indirect (type $f) (local.get 0)))
    (func (export "is_null") (param i32) (result i32) (ref.is_null (table.get $t (local.get 0))))
    (func (export "set_null") (param i32) (table.set $t (local.get 0) (ref.null func)))
    (func (export "set_two") (param i32) (table.set $t (local.get 0) (ref.func $two)))
    (func (export "set_global") (param i32)
        (global.set $g (local.get 0)) (global.set $r (ref.null func)))
    (func (export "global_is_null") (result i32) (ref.is_null (global.get $r)))
    (func (export "copy_table") (param i32 i32 i32)
        (table.copy (local.get 0) (local.get 1) (local.get 2)))
    (func (export "init_table") (param i32)
        (table.init $passive (local.get 0) (i32.const 0) (i32.const 2)))
    (func (export "fill_table") (param i32 i32)
        (table.fill (local.get 0) (ref.func $one) (local.get 1)))
    (func (export "grow_table") (param i32) (result i32)
        (table.grow $t (ref.func $two) (local.get 0)))
    (func (export "size_table") (result i32) (table.size $t))
    (func (export "trap") unreachable))"#;

/// An instance of [`ALL`] whose host function gives `number`.
fn all(engine: &Engine, module: &Module, number: i32) -> Result<(Store<()>, Instance)> {
    let mut store = Store::new(engine, ());
    let host = Func::wrap(&mut store, move || number);
    let instance = Instance::new(&mut store, module, &[host.into()])?;
    Ok((store, instance))
}

#[test]
fn what_does_not_fit_is_refused_with_the_limit() -> Result<()> {
    let engine = engine(|pool| {
        pool.max_memory_size(2 << 16)
            .table_elements(10)
            .max_core_instance_size(1000);
    })?;
    let functions = r#"(func) "#.repeat(50);
    let exports: String = (0..50)
        .map(|i| format!(r#"(export "{i}" (func {i}))"#))
        .collect();
    for (text, wanted) in [
        (
            "(memory 3)",
            "the initial bytes of memory 0 are 196608, and the pool's `max_memory_size` is 131072",
        ),
        ("(memory 1) (memory 1)", "`max_memories_per_module` is 1"),
        (
            "(table 11 funcref)",
            "the initial elements of table 0 are 11, and the pool's `table_elements` is 10",
        ),
        (
            "(table 1 funcref) (table 1 funcref)",
            "`max_tables_per_module` is 1",
        ),
        (
            &format!("{functions} {exports}"),
            "`max_core_instance_size` is 1000",
        ),
    ] {
        let module = Module::new(&engine, format!("(module {text})"))?;
        let error = instantiate(&engine, &module).expect_err("it does not fit");
        assert!(format!("{error:#}").contains(wanted), "{error:#}");
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert!(!error.is::<PoolConcurrencyLimitError>());
    }
    let module = Module::new(&engine, "(module (memory 2) (table 10 funcref))")?;
    instantiate(&engine, &module)?;
    Ok(())
}

#[test]
fn a_pool_of_nothing_holds_what_needs_nothing() -> Result<()> {
    let mut pool = PoolingAllocationConfig::new();
    pool.max_memory_size(0).table_elements(0);
    let mut config = Config::new();
    config
        .allocation_strategy(pool)
        .memory_reservation(0)
        .memory_guard_size(0)
        .signals_based_traps(false);
    let engine = Engine::new(&config)?;
    let module = Module::new(&engine, "(module (memory 0) (table 0 funcref))")?;
    let other = Module::new(&engine, "(module (memory 1))")?;
    let several: Vec<_> = (0..3).map(|_| instantiate(&engine, &module)).collect();
    assert!(several.iter().all(Result::is_ok));
    assert!(instantiate(&engine, &other).is_err());
    Ok(())
}

#[test]
fn growth_ends_at_the_limit_of_the_pool() -> Result<()> {
    for checks in [false, true] {
        let mut pool = PoolingAllocationConfig::new();
        pool.max_memory_size(3 << 16).table_elements(10);
        pool.total_memories(2).total_core_instances(2);
        let mut config = Config::new();
        config.allocation_strategy(pool);
        if checks {
            config.memory_reservation(0).memory_guard_size(0);
        }
        let engine = Engine::new(&config)?;
        let module = Module::new(&engine, ALL)?;
        for _ in 0..3 {
            let (mut store, instance) = all(&engine, &module, 0)?;
            let store = &mut store;
            assert_eq!(call(store, instance, "grow", &[2])?, -1);
            assert_eq!(call(store, instance, "grow", &[1])?, 2);
            call(store, instance, "poke", &[(3 << 16) - 1, 7])?;
            let error = call(store, instance, "poke", &[3 << 16, 7]).unwrap_err();
            assert_eq!(error.downcast_ref(), Some(&Trap::MemoryOutOfBounds));
            assert_eq!(call(store, instance, "grow_table", &[3])?, -1);
            assert_eq!(call(store, instance, "grow_table", &[2])?, 8);
            assert_eq!(call(store, instance, "call", &[9])?, 2);
            let memory = instance.get_memory(&mut *store, "memory").unwrap();
            assert!(memory.grow(&mut *store, 1).is_err());
        }
    }
    Ok(())
}

#[test]
fn a_full_pool_says_so_and_goes_on_when_there_is_room() -> Result<()> {
    for (what, text, limit) in [
        ("core instances", "(module)", (2, 9, 9)),
        ("memories", "(module (memory 1))", (9, 2, 9)),
        ("tables", "(module (table 1 funcref))", (9, 9, 2)),
    ] {
        let engine = engine(|pool| {
            let (instances, memories, tables) = limit;
            pool.total_core_instances(instances)
                .total_memories(memories)
                .total_tables(tables);
        })?;
        let module = Module::new(&engine, text)?;
        // Not of the same text, so that there is something to take from another module.
        let other = Module::new(&engine, text.replace("(module", "(module (func)"))?;
        for _ in 0..3 {
            let one = instantiate(&engine, &module)?;
            let mut two = instantiate(&engine, &other)?;
            let error = instantiate(&engine, &module).expect_err("there are two");
            let cause = error.downcast_ref::<PoolConcurrencyLimitError>();
            let expected = format!("all 2 {what} of the engine's pool are in use");
            assert_eq!(cause.map(ToString::to_string), Some(expected), "{error:#}");
            assert_eq!(error.kind(), ErrorKind::Limit);
            drop(one);
            // The store of an instance that could not be had is as good as before.
            let linker = Linker::new(&engine);
            linker.instantiate(&mut two.0, &other)?;
        }
    }
    Ok(())
}

#[test]
fn what_the_host_makes_is_not_of_the_pool() -> Result<()> {
    let engine = engine(|pool| {
        pool.total_memories(0)
            .total_tables(0)
            .max_memory_size(1 << 16);
    })?;
    let mut store = Store::new(&engine, ());
    let memory = Memory::new(&mut store, MemoryType::new(5, None))?;
    let table = Table::new(
        &mut store,
        TableType::new(RefType::FUNCREF, 50_000, None),
        Ref::Func(None),
    )?;
    let module = Module::new(
        &engine,
        r#"(module (import "" "m" (memory 5)) (import "" "t" (table 9 funcref))
            (elem (i32.const 1) $f) (data (i32.const 1) "x") (func $f (export "f")))"#,
    )?;
    Instance::new(&mut store, &module, &[memory.into(), table.into()])?;
    assert_eq!(memory.data(&store)[1], b'x');
    assert!(table.get(&mut store, 1).unwrap().is_non_null());
    Ok(())
}

#[test]
fn instances_begin_as_if_there_had_been_none_before() -> Result<()> {
    let configurations: [fn(&mut PoolingAllocationConfig); 4] = [
        |_| {},
        |pool| {
            pool.linear_memory_keep_resident(0).table_keep_resident(0);
        },
        |pool| {
            pool.max_unused_warm_slots(0);
        },
        |pool| {
            pool.linear_memory_keep_resident(1 << 30);
        },
    ];
    for limits in configurations {
        let engine = engine(|pool| {
            pool.total_memories(1)
                .total_tables(1)
                .total_core_instances(1);
            limits(pool);
        })?;
        let module = Module::new(&engine, ALL)?;
        type Change<'a> = &'a dyn Fn(&mut Store<()>, Instance) -> Result<()>;
        let changes: [Change<'_>; 8] = [
            &|_, _| Ok(()),
            &|store, instance| {
                call(store, instance, "fill", &[0, 255, 2 << 16])?;
                call(store, instance, "set_global", &[5])?;
                call(store, instance, "drop", &[]).map(|_| ())
            },
            &|store, instance| {
                call(store, instance, "grow", &[7])?;
                call(store, instance, "fill", &[0, 7, 9 << 16]).map(|_| ())
            },
            &|store, instance| {
                call(store, instance, "set_two", &[0])?;
                call(store, instance, "set_null", &[2]).map(|_| ())
            },
            &|store, instance| {
                call(store, instance, "call", &[1])?;
                call(store, instance, "call", &[2])?;
                call(store, instance, "grow_table", &[50])?;
                call(store, instance, "fill_table", &[0, 58]).map(|_| ())
            },
            &|store, instance| {
                call(store, instance, "copy_table", &[4, 0, 4])?;
                call(store, instance, "init_table", &[0])?;
                call(store, instance, "init", &[]).map(|_| ())
            },
            &|store, instance| {
                call(store, instance, "poke", &[100, 0])?;
                call(store, instance, "trap", &[]).unwrap_err();
                Ok(())
            },
            &|store, instance| {
                // The host's writes, without any code having run.
                let memory = instance.get_memory(&mut *store, "memory").unwrap();
                memory.write(&mut *store, 70_000, b"secret")?;
                let table = instance.get_table(&mut *store, "table").unwrap();
                let two = table.get(&mut *store, 3).unwrap();
                table.set(&mut *store, 7, two)?;
                table.set(&mut *store, 1, Ref::Func(None))
            },
        ];
        let mut number = 100;
        for first in changes {
            for second in changes {
                for change in [first, second] {
                    number += 1;
                    let (mut store, instance) = all(&engine, &module, number)?;
                    begins_right(&mut store, instance, number)?;
                    change(&mut store, instance)?;
                }
            }
        }
    }
    Ok(())
}

fn begins_right(store: &mut Store<()>, instance: Instance, number: i32) -> Result<()> {
    let memory = instance.get_memory(&mut *store, "memory").unwrap();
    let mut expected = vec![0; 2 << 16];
    expected[100..105].copy_from_slice(b"hello");
    assert!(memory.data(&*store) == expected);
    let error = call(store, instance, "peek", &[2 << 16]).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Trap::MemoryOutOfBounds));
    assert_eq!(call(store, instance, "size_table", &[])?, 8);
    for (i, expected) in [(1, number), (2, 1), (3, 2)] {
        assert_eq!(call(store, instance, "call", &[i])?, expected);
        assert_eq!(call(store, instance, "is_null", &[i])?, 0);
    }
    for i in [0, 4, 7] {
        let error = call(store, instance, "call", &[i]).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::UninitializedElement));
        assert_eq!(call(store, instance, "is_null", &[i])?, 1);
    }
    let error = call(store, instance, "call", &[8]).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Trap::UndefinedElement));
    let table = instance.get_table(&mut *store, "table").unwrap();
    assert!(table.get(&mut *store, 1).unwrap().is_non_null());
    assert!(!table.get(&mut *store, 7).unwrap().is_non_null());
    let global = instance.get_global(&mut *store, "global").unwrap();
    assert_eq!(global.get(&mut *store).unwrap_i32(), 11);
    assert_eq!(call(store, instance, "global_is_null", &[])?, 0);
    Ok(())
}

#[test]
fn what_traps_at_its_start_leaves_nothing_behind() -> Result<()> {
    let engine = engine(|pool| {
        pool.total_core_instances(1)
            .total_memories(1)
            .total_tables(1);
    })?;
    let traps = |text: &str| Module::new(&engine, text);
    let modules = [
        // In the start function, after it has written; at a segment, after another; at an element.
        traps(
            r#"(module (memory 1) (func $f (i32.store (i32.const 0) (i32.const -1)) unreachable)
            (start $f))"#,
        )?,
        traps(r#"(module (memory 1) (data (i32.const 0) "secret") (data (i32.const 65536) "x"))"#)?,
        traps(
            r#"(module (memory 1) (table 2 funcref) (func $f) (data (i32.const 0) "secret")
            (elem (i32.const 0) $f $f) (elem (i32.const 1) $f $f))"#,
        )?,
    ];
    let module = Module::new(
        &engine,
        r#"(module (memory (export "memory") 1) (table (export "table") 2 funcref))"#,
    )?;
    for failing in modules.iter().cycle().take(12) {
        assert!(instantiate(&engine, failing).is_err());
        let (mut store, instance) = instantiate(&engine, &module)?;
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        assert!(memory.data(&store).iter().all(|&byte| byte == 0));
        let table = instance.get_table(&mut store, "table").unwrap();
        assert!((0..2).all(|i| !table.get(&mut store, i).unwrap().is_non_null()));
    }
    Ok(())
}

#[test]
fn modules_of_all_sizes_share_slots() -> Result<()> {
    let engine = engine(|pool| {
        pool.total_core_instances(2)
            .total_memories(2)
            .total_tables(2);
    })?;
    let module = |pages: usize, elements: usize, byte: char| {
        let data = byte.to_string().repeat(pages * 30_000);
        let entries = "$f ".repeat(elements);
        Module::new(
            &engine,
            format!(
                r#"(module (memory (export "memory") {pages}) (table (export "table") {elements} funcref)
                    (func $f) (elem (i32.const 0) {entries})
                    (data (i32.const 5000) "{data}")
                    (func (export "dirty") (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536))
                        (drop (memory.grow (i32.const 3)))))"#
            ),
        )
    };
    let modules = [
        module(1, 1, 'a')?,
        module(5, 1000, 'b')?,
        module(2, 3, 'c')?,
        module(5, 20, 'd')?,
    ];
    for step in 0..60_usize {
        let i = step * step % 7 % 4;
        let (pages, elements) = [(1, 1), (5, 1000), (2, 3), (5, 20)][i];
        let (mut store, instance) = instantiate(&engine, &modules[i])?;
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        let mut expected = vec![0; pages << 16];
        expected[5000..5000 + pages * 30_000].fill(b'a' + i as u8);
        assert!(memory.data(&store) == expected, "step {step}");
        let table = instance.get_table(&mut store, "table").unwrap();
        assert_eq!(table.size(&store), elements);
        assert!((0..elements).all(|i| table.get(&mut store, i).unwrap().is_non_null()));
        instance
            .get_typed_func::<(), ()>(&mut store, "dirty")?
            .call(&mut store, ())?;
    }
    Ok(())
}

#[test]
fn slots_of_a_module_that_is_gone_serve_others() -> Result<()> {
    let engine = engine(|pool| {
        pool.total_core_instances(1)
            .total_memories(1)
            .total_tables(1);
    })?;
    for i in 0..20 {
        let text = format!(
            r#"(module (memory (export "memory") 1) (data (i32.const {i}) "x")
                (table 1 funcref) (elem (i32.const 0) $f)
                (func $f (result i32) (i32.const {i}))
                (func (export "f") (result i32) (call_indirect (result i32) (i32.const 0))))"#
        );
        let module = Module::new(&engine, text)?;
        for _ in 0..2 {
            let (mut store, instance) = instantiate(&engine, &module)?;
            assert_eq!(call(&mut store, instance, "f", &[])?, i);
            let memory = instance.get_memory(&mut store, "memory").unwrap();
            let bytes = memory.data(&store).iter().filter(|&&byte| byte != 0);
            assert_eq!(bytes.count(), 1);
        }
    }
    Ok(())
}

#[test]
fn another_module_sees_all_elements_of_a_table_that_it_imports() -> Result<()> {
    for strategy in [
        InstanceAllocationStrategy::OnDemand,
        InstanceAllocationStrategy::pooling(),
    ] {
        let engine = Engine::new(Config::new().allocation_strategy(strategy))?;
        let owner = Module::new(
            &engine,
            r#"(module (table (export "table") 4 funcref) (elem (i32.const 1) $f $g)
                (func $f (result i32) (i32.const 1)) (func $g (result i32) (i32.const 2))
                (func (export "call") (param i32) (result i32)
                    (call_indirect (result i32) (local.get 0)))
                (func (export "is_null") (param i32) (result i32)
                    (ref.is_null (table.get (local.get 0)))))"#,
        )?;
        let user = Module::new(
            &engine,
            r#"(module (import "" "table" (table 4 funcref))
                (func (export "call") (param i32) (result i32)
                    (call_indirect (result i32) (local.get 0)))
                (func (export "is_null") (param i32) (result i32)
                    (ref.is_null (table.get (local.get 0))))
                (func (export "swap")
                    (table.set (i32.const 0) (table.get (i32.const 1)))
                    (table.set (i32.const 1) (ref.null func))
                    (table.copy (i32.const 2) (i32.const 1) (i32.const 2))))"#,
        )?;
        for _ in 0..3 {
            let (mut store, instance) = instantiate(&engine, &owner)?;
            let store = &mut store;
            let table = instance.get_table(&mut *store, "table").unwrap();
            let other = Instance::new(&mut *store, &user, &[table.into()])?;
            for (of, i, expected) in [(other, 1, 1), (other, 2, 2), (instance, 1, 1)] {
                assert_eq!(call(store, of, "call", &[i])?, expected);
            }
            call(store, other, "swap", &[])?;
            for of in [instance, other] {
                assert_eq!(call(store, of, "call", &[0])?, 1);
                for i in 1..4 {
                    assert_eq!(call(store, of, "is_null", &[i])?, i32::from(i != 3));
                }
                assert_eq!(call(store, of, "call", &[3])?, 2);
                let error = call(store, of, "call", &[1]).unwrap_err();
                assert_eq!(error.downcast_ref(), Some(&Trap::UninitializedElement));
            }
        }
    }
    Ok(())
}

#[test]
fn a_table_keeps_its_elements_when_it_moves() -> Result<()> {
    let engine = Engine::default();
    let module = Module::new(&engine, ALL)?;
    let (mut store, instance) = all(&engine, &module, 9)?;
    let store = &mut store;
    assert_eq!(call(store, instance, "call", &[2])?, 1);
    assert_eq!(call(store, instance, "grow_table", &[56])?, 8);
    for (i, expected) in [(1, 9), (2, 1), (3, 2), (8, 2), (63, 2)] {
        assert_eq!(call(store, instance, "call", &[i])?, expected);
    }
    assert_eq!(call(store, instance, "is_null", &[7])?, 1);
    assert_eq!(call(store, instance, "grow_table", &[1])?, -1);
    Ok(())
}

#[test]
fn threads_share_a_pool() -> Result<()> {
    let engine = engine(|pool| {
        pool.max_unused_warm_slots(3);
    })?;
    let modules = [Module::new(&engine, ALL)?, Module::new(&engine, ALL)?];
    let refused = AtomicUsize::new(0);
    let work = |seed: usize| -> Result<()> {
        for i in 0..1000 {
            let number = (seed * 10_000 + i) as i32;
            match all(&engine, &modules[(seed + i / 3) % 2], number) {
                Ok((mut store, instance)) => {
                    begins_right(&mut store, instance, number)?;
                    call(&mut store, instance, "fill", &[0, number, 70_000])?;
                    call(&mut store, instance, "fill_table", &[0, 8])?;
                }
                Err(error) if error.is::<PoolConcurrencyLimitError>() => {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    let results: Vec<Result<()>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|seed| scope.spawn(move || work(seed))).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|result| result.expect("no thread panics"))
            .collect()
    });
    results.into_iter().collect::<Result<()>>()?;
    // As many threads as there are slots: each finds one.
    assert_eq!(refused.into_inner(), 0);
    Ok(())
}

#[test]
fn instances_in_a_host_function_come_from_the_pool_too() -> Result<()> {
    let engine = engine(|_| {})?;
    let inner = Module::new(
        &engine,
        r#"(module (memory 1) (func (export "f") (result i32) (i32.const 7)))"#,
    )?;
    let outer = Module::new(
        &engine,
        r#"(module (import "host" "f" (func $f (result i32))) (export "f" (func $f)))"#,
    )?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap(
        "host",
        "f",
        move |mut caller: Caller<'_, ()>| -> Result<i32> {
            let instance = Instance::new(&mut caller, &inner, &[])?;
            let f = instance.get_typed_func::<(), i32>(&mut caller, "f")?;
            f.call(&mut caller, ())
        },
    )?;
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &outer)?;
    let f = instance.get_typed_func::<(), i32>(&mut store, "f")?;
    for _ in 0..3 {
        assert_eq!(f.call(&mut store, ())?, 7);
    }
    let error: Error = f.call(&mut store, ()).unwrap_err();
    assert!(error.is::<PoolConcurrencyLimitError>(), "{error:#}");
    Ok(())
}

#[test]
fn a_pool_larger_than_the_address_space_is_refused() {
    let error = engine(|pool| {
        pool.total_memories(100_000);
    })
    .expect_err("400 TiB");
    let text = format!("{error:#}");
    assert!(
        text.contains("100000 memories") && text.contains("lower `total_memories`"),
        "{text}"
    );
    assert!(
        engine(|pool| {
            pool.table_elements(usize::MAX);
        })
        .is_err()
    );
}

#[tokio::test(flavor = "current_thread")]
async fn stacks_of_asynchronous_calls_have_a_limit() -> Result<()> {
    let engine = engine(|pool| {
        pool.total_stacks(1);
    })?;
    let module = Module::new(
        &engine,
        r#"(module (import "host" "again" (func $again (result i32)))
            (func (export "f") (result i32) (call $again)))"#,
    )?;
    let mut linker = Linker::<bool>::new(&engine);
    linker.func_wrap_async("host", "again", |mut caller: Caller<'_, bool>, ()| {
        Box::new(async move {
            if std::mem::replace(caller.data_mut(), true) {
                return Ok(1);
            }
            let f = caller.get_export("f").and_then(|f| f.into_func());
            let f = f.expect("it is exported").typed::<(), i32>(&caller)?;
            f.call_async(&mut caller, ()).await
        })
    })?;
    for _ in 0..3 {
        let mut store = Store::new(&engine, false);
        let instance = linker.instantiate_async(&mut store, &module).await?;
        let f = instance.get_typed_func::<(), i32>(&mut store, "f")?;
        // One call inside another needs two.
        let error = f.call_async(&mut store, ()).await.unwrap_err();
        assert!(error.is::<PoolConcurrencyLimitError>(), "{error:#}");
        assert_eq!(f.call_async(&mut store, ()).await?, 1);
    }
    Ok(())
}
