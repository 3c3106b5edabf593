//! How long does the garbage collector stop a program that has 100 MB of live objects?
//!
//! A tree of four million nodes loses subtrees, which new ones take the place of: so there are young
//! objects that die and that live, and old ones that die and that refer to young ones.
//! `cargo run --release -p bimetal --example gc_pauses -- [THOUSAND SUBTREES]`

use std::time::Instant;

use bimetal::{Config, Engine, Instance, Module, Result, Store};

const PROGRAM: &str = r#"(module
    (type $tree (struct (field $value (mut i64))
        (field $left (mut (ref null $tree))) (field $right (mut (ref null $tree)))))
    (global $root (mut (ref null $tree)) (ref.null $tree))
    (global $seed (mut i32) (i32.const 1))
    (func $make (param $depth i32) (result (ref null $tree))
        (if (i32.eqz (local.get $depth)) (then (return (ref.null $tree))))
        (struct.new $tree (i64.const 1)
            (call $make (i32.sub (local.get $depth) (i32.const 1)))
            (call $make (i32.sub (local.get $depth) (i32.const 1)))))
    (func $random (result i32)
        (global.set $seed (i32.add (i32.mul (global.get $seed) (i32.const 1664525))
            (i32.const 1013904223)))
        (i32.shr_u (global.get $seed) (i32.const 8)))
    (func (export "build") (param $depth i32)
        (global.set $root (call $make (local.get $depth))))
    ;; Replaces subtrees of 511 nodes by new ones of the same size.
    (func (export "replace") (param $times i32)
        (local $at (ref null $tree)) (local $depth i32) (local $path i32)
        (loop $again
            (local.set $at (global.get $root))
            (local.set $depth (i32.const 12))
            (local.set $path (call $random))
            (loop $down
                (if (i32.and (local.get $path) (i32.const 1))
                    (then (local.set $at (struct.get $tree $left (local.get $at))))
                    (else (local.set $at (struct.get $tree $right (local.get $at)))))
                (local.set $path (i32.shr_u (local.get $path) (i32.const 1)))
                (br_if $down (local.tee $depth (i32.sub (local.get $depth) (i32.const 1)))))
            ;; One that is dropped at once, and one that stays.
            (drop (call $make (i32.const 9)))
            (struct.set $tree $left (local.get $at) (call $make (i32.const 9)))
            (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))))"#;

fn main() -> Result<()> {
    let thousands: i32 = std::env::args()
        .nth(1)
        .and_then(|arg| arg.parse().ok())
        .unwrap_or(20);
    let mut config = Config::new();
    config.wasm_function_references(true).wasm_gc(true);
    let engine = Engine::new(&config)?;
    let module = Module::new(&engine, PROGRAM)?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let build = instance.get_typed_func::<i32, ()>(&mut store, "build")?;
    let replace = instance.get_typed_func::<i32, ()>(&mut store, "replace")?;

    let start = Instant::now();
    build.call(&mut store, 22)?;
    println!("built: {:.0?}", start.elapsed());
    let before = store.gc_stats();
    let start = Instant::now();
    replace.call(&mut store, thousands * 1000)?;
    let elapsed = start.elapsed();

    let stats = store.gc_stats();
    let objects = f64::from(thousands) * 1000.0 * 1022.0;
    println!(
        "{:.1} million objects per second, {:.0} MB live, {:.0} MB of heap",
        objects / elapsed.as_secs_f64() / 1e6,
        stats.live_bytes as f64 / 1e6,
        stats.heap_bytes as f64 / 1e6,
    );
    println!(
        "{} collections, {} cycles, {:.0} MB copied; {:.0}% of the time",
        stats.minor_collections - before.minor_collections,
        stats.full_cycles - before.full_cycles,
        (stats.copied_bytes - before.copied_bytes) as f64 / 1e6,
        (stats.total_pause - before.total_pause).as_secs_f64() * 100.0 / elapsed.as_secs_f64(),
    );
    println!("longest pause: {:.2?}; how often:", stats.longest_pause);
    for (i, (&now, &then)) in stats.pauses.iter().zip(&before.pauses).enumerate() {
        if now > then {
            println!("  under {:>8} us: {}", 1u64 << i, now - then);
        }
    }
    let start = Instant::now();
    store.gc();
    println!("Store::gc, all at once: {:.0?}", start.elapsed());
    Ok(())
}
