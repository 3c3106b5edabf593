//! Stopping programs that would run for ever: at a deadline, from another thread, by fuel.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bimetal::{Config, Engine, Linker, Module, Result, Store, Trap, UpdateDeadline};

fn main() -> Result<()> {
    // Code looks for interrupts and counts fuel only if its engine says so.
    let mut config = Config::new();
    config.epoch_interruption(true).consume_fuel(true);
    let engine = Engine::new(&config)?;
    let module = Module::new(
        &engine,
        r#"(module
            (global (export "rounds") (mut i64) (i64.const 0))
            (func (export "forever")
                (loop
                    (global.set 0 (i64.add (global.get 0) (i64.const 1)))
                    (br 0))))"#,
    )?;
    let mut store = Store::new(&engine, 0_u32);
    store.set_fuel(u64::MAX)?;
    let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
    let forever = instance.get_typed_func::<(), ()>(&mut store, "forever")?;

    // 1. Deadlines. One thread makes time pass for all stores of an engine: an epoch each
    // millisecond. This store has ten.
    let clock = engine.clone();
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_millis(1));
            clock.increment_epoch();
        }
    });
    store.set_epoch_deadline(10);
    let Err(error) = forever.call(&mut store, ()) else {
        panic!("it never returns");
    };
    assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
    println!("at the deadline: {error}");

    // What happens at a deadline can be decided when it comes: here, twice more time.
    store.epoch_deadline_callback(|mut store| {
        *store.data_mut() += 1;
        Ok(match *store.data() {
            1 | 2 => UpdateDeadline::Continue(5),
            _ => UpdateDeadline::Interrupt,
        })
    });
    store.set_epoch_deadline(5);
    assert!(forever.call(&mut store, ()).is_err());
    assert_eq!(*store.data(), 3);

    // 2. A handle, for somebody who presses a button. It can be used from any thread, at any time.
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1_000)));
    store.set_epoch_deadline(1_000);
    let handle = store.interrupt_handle()?;
    let (button, pressed) = mpsc::channel::<()>();
    let other = thread::spawn(move || {
        let _ = pressed.recv_timeout(Duration::from_millis(10));
        handle.interrupt();
    });
    assert!(forever.call(&mut store, ()).is_err());
    drop(button);
    assert!(other.join().is_ok());
    println!("interrupted from another thread");

    // 3. Fuel: the same on every machine and every time.
    let rounds = |store: &mut Store<u32>| {
        let rounds = instance.get_global(&mut *store, "rounds")?;
        rounds.get(store).i64()
    };
    let mut runs = Vec::new();
    for _ in 0..3 {
        store.set_fuel(1_000_000)?;
        let before = rounds(&mut store);
        let Err(error) = forever.call(&mut store, ()) else {
            panic!("it never returns");
        };
        assert_eq!(error.downcast_ref(), Some(&Trap::OutOfFuel));
        runs.push(
            rounds(&mut store)
                .zip(before)
                .map(|(after, before)| after - before),
        );
    }
    assert!(runs.iter().all(|run| *run == runs[0]));
    println!("out of fuel after {} rounds", runs[0].unwrap_or_default());
    Ok(())
}
