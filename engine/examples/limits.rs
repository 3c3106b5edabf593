//! Bounds on what a guest may use: memory, tables, instances, stack.

use bimetal::{
    Config, Engine, ErrorKind, Linker, Module, Result, Store, StoreLimits, StoreLimitsBuilder, Trap,
};

/// What each store carries; the limiter is a part of it.
struct Tenant {
    name: &'static str,
    limits: StoreLimits,
}

fn main() -> Result<()> {
    let mut config = Config::new();
    config.max_wasm_stack(64 << 10);
    let engine = Engine::new(&config)?;
    let module = Module::new(
        &engine,
        r#"(module
            (memory 1)
            (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
            (func $down (export "down") (param i32) (result i32)
                (if (result i32) (local.get 0)
                    (then (i32.add (i32.const 1)
                        (call $down (i32.sub (local.get 0) (i32.const 1)))))
                    (else (i32.const 0)))))"#,
    )?;
    let limits = StoreLimitsBuilder::new()
        .memory_size(1 << 20)
        .instances(1)
        .build();
    let name = "tenant 1";
    let mut store = Store::new(&engine, Tenant { name, limits });
    store.limiter(|tenant| &mut tenant.limits);
    let linker = Linker::new(&engine);
    let instance = linker.instantiate(&mut store, &module)?;

    // 16 pages are 1 MiB: growing to 16 works, to 17 does not.
    let grow = instance.get_typed_func::<i32, i32>(&mut store, "grow")?;
    assert_eq!(grow.call(&mut store, 15)?, 1);
    assert_eq!(grow.call(&mut store, 1)?, -1);

    // A second instance is one too many.
    let Err(error) = linker.instantiate(&mut store, &module) else {
        panic!("there may be one instance");
    };
    assert_eq!(error.kind(), ErrorKind::Limit);
    println!("{}: {error}", store.data().name);

    // Recursion is a trap, and the store goes on.
    let down = instance.get_typed_func::<i32, i32>(&mut store, "down")?;
    assert_eq!(down.call(&mut store, 100)?, 100);
    let Err(error) = down.call(&mut store, 1_000_000) else {
        panic!("a million frames do not fit 64 KiB");
    };
    assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow));
    println!("{}: {error}", store.data().name);
    assert_eq!(down.call(&mut store, 100)?, 100);
    Ok(())
}
