//! A program with a costly start, started once: the snapshot of its first instance is what all others
//! are made from.
//!
//! `cargo run --release -p bimetal --example snapshot`

use std::time::Instant;

use bimetal::{Engine, Linker, Module, Result, Store};

/// Fills four megabytes at its start, which takes a while, and looks things up there.
const PROGRAM: &str = r#"(module
    (memory 64)
    (func (export "init") (local $at i32) (local $x i32)
        (loop $next
            (local.set $x (i32.add (i32.mul (local.get $x) (i32.const 1103515245)) (i32.const 12345)))
            (i32.store (local.get $at) (local.get $x))
            (local.set $at (i32.add (local.get $at) (i32.const 4)))
            (br_if $next (i32.lt_u (local.get $at) (i32.const 4194304)))))
    (func (export "look up") (param i32) (result i32) (i32.load (local.get 0))))"#;

fn main() -> Result<()> {
    let engine = Engine::default();
    let module = Module::new(&engine, PROGRAM)?;
    let linker = Linker::<()>::new(&engine);

    let start = Instant::now();
    let mut store = Store::new(&engine, ());
    let first = linker.instantiate(&mut store, &module)?;
    let init = first.get_typed_func::<(), ()>(&mut store, "init")?;
    init.call(&mut store, ())?;
    println!("initialised in {:?}", start.elapsed());

    let mut snapshot = first.snapshot(&store)?;
    snapshot.remove_export("init")?;
    let ready = linker.instantiate_pre(&snapshot.module()?)?;
    let answer = || -> Result<i32> {
        let mut store = Store::new(&engine, ());
        let instance = ready.instantiate(&mut store)?;
        let look_up = instance.get_typed_func::<i32, i32>(&mut store, "look up")?;
        look_up.call(&mut store, 4 << 16)
    };
    let expected = answer()?;

    const INSTANCES: u32 = 1000;
    let start = Instant::now();
    for _ in 0..INSTANCES {
        assert_eq!(answer()?, expected);
    }
    let each = start.elapsed() / INSTANCES;
    println!("an instance of its snapshot, made, asked and dropped: {each:?}");
    Ok(())
}
