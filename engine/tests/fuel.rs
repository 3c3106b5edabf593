//! Fuel: exact, and the same however a program is compiled.

use bimetal::{Caller, Config, Engine, Linker, Module, OptLevel, Result, Store, Trap};

/// Engines that compile in every way there is.
fn engines() -> Vec<(String, Engine)> {
    let mut engines = Vec::new();
    for level in [OptLevel::None, OptLevel::Fast, OptLevel::Full] {
        for lazy in [false, true] {
            for signals in [true, false] {
                for interrupts in [false, true] {
                    for opt_fuel in [None, Some(0), Some(3)] {
                        if opt_fuel.is_some() && (lazy || !signals) {
                            continue;
                        }
                        let mut config = Config::new();
                        config
                            .opt_level(level)
                            .lazy(lazy)
                            .signals_based_traps(signals)
                            .epoch_interruption(interrupts)
                            .opt_fuel(opt_fuel)
                            .compiler_verify(true)
                            .consume_fuel(true);
                        let name = format!(
                            "{level:?} lazy={lazy} signals={signals} interrupts={interrupts} \
                             opt_fuel={opt_fuel:?}"
                        );
                        engines.push((name, Engine::new(&config).unwrap()));
                    }
                }
            }
        }
    }
    engines
}

const PROGRAMS: &str = r#"(module
    (import "host" "look" (func $look (param i32) (result i32)))
    (import "host" "again" (func $again (param i32) (result i32)))
    (memory 1)
    (global $g (mut i32) (i32.const 0))
    (type $unary (func (param i32) (result i32)))
    (table funcref (elem $add $fib $look))

    (func (export "empty") (param i32) (result i32) (nop) (local.get 0))
    (func $add (export "add") (param i32) (result i32)
        (i32.add (local.get 0) (i32.const 1)))
    (func (export "count") (param i32) (result i32) (local i32)
        (loop
            (local.set 1 (i32.add (local.get 1) (local.get 0)))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (local.get 1))
    (func (export "switch") (param i32) (result i32)
        (block (block (block
            (br_table 0 1 2 (local.get 0)))
            (return (i32.const 10)))
            (return (i32.add (i32.const 20) (i32.const 1))))
        (i32.const 30))
    (func $fib (export "fib") (param i32) (result i32)
        (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
            (then (local.get 0))
            (else (i32.add
                (call $fib (i32.sub (local.get 0) (i32.const 1)))
                (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
    (func (export "folded") (param i32) (result i32)
        (if (i32.const 0) (then (drop (i32.const 1)) (drop (i32.const 2))))
        (block (br_if 0 (i32.const 1)) (global.set $g (i32.const 7)))
        (drop (i32.mul (i32.const 3) (i32.const 4)))
        (i32.add (local.get 0) (i32.const 0)))
    (func (export "dead") (param i32) (result i32)
        (block (result i32)
            (br 0 (local.get 0))
            (i32.add (i32.const 1) (i32.const 2))
            (drop)
            (loop (br 0))))
    (func (export "nested") (param i32) (result i32) (local i32 i32)
        (block $out
            (loop $outer
                (br_if $out (i32.eqz (local.get 0)))
                (local.set 1 (i32.const 3))
                (loop $inner
                    (local.set 2 (i32.add (local.get 2) (i32.const 1)))
                    (br_if $inner (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))
                (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
                (br $outer)))
        (local.get 2))
    (func (export "no_loop") (param i32) (result i32)
        (loop (result i32) (i32.add (local.get 0) (i32.const 1))))
    (func (export "indirect") (param i32) (result i32)
        (call_indirect (type $unary) (i32.const 4) (local.get 0)))
    (func (export "hosted") (param i32) (result i32)
        (i32.add (call $look (local.get 0)) (call $again (local.get 0))))
    (func (export "grow") (param i32) (result i32)
        (i32.store (i32.const 8) (local.get 0))
        (i32.add (memory.grow (local.get 0)) (i32.load (i32.const 8))))
    (func (export "select") (param i32) (result i32)
        (select (i32.const 5) (i32.const 6) (local.get 0)))
    (func (export "unreachable") (param i32) (result i32)
        (if (local.get 0) (then (drop (i32.const 0)) unreachable))
        (i32.const 1))
    (func (export "fault") (param i32) (result i32) (local i32)
        (loop (result i32)
            (local.set 1 (i32.add (local.get 1) (i32.load (local.get 0))))
            (local.set 0 (i32.add (local.get 0) (i32.const 16384)))
            (br_if 0 (i32.const 1))
            (local.get 1)))
    (func (export "divide") (param i32) (result i32)
        (drop (call $add (i32.const 1)))
        (i32.div_u (i32.const 1) (local.get 0)))
)"#;

/// What a run came to: its result or trap, and the fuel that is left.
type Outcome = (Result<i32, Trap>, u64);

struct Guest {
    store: Store<Vec<u64>>,
    instance: bimetal::Instance,
}

impl Guest {
    fn new(engine: &Engine, module: &Module) -> Result<Guest> {
        let mut linker = Linker::new(engine);
        linker.func_wrap(
            "host",
            "look",
            |mut caller: Caller<'_, Vec<u64>>, x: i32| -> Result<i32> {
                let fuel = caller.get_fuel()?;
                caller.data_mut().push(fuel);
                Ok(x)
            },
        )?;
        linker.func_wrap(
            "host",
            "again",
            |mut caller: Caller<'_, Vec<u64>>, x: i32| -> Result<i32> {
                let fuel = caller.get_fuel()?;
                caller.set_fuel(fuel + 100)?;
                Ok(x)
            },
        )?;
        let mut store = Store::new(engine, Vec::new());
        let instance = linker.instantiate(&mut store, module)?;
        Ok(Guest { store, instance })
    }

    fn run(&mut self, name: &str, arg: i32, fuel: u64) -> Result<Outcome> {
        let f = self
            .instance
            .get_typed_func::<i32, i32>(&mut self.store, name)?;
        self.store.set_fuel(fuel)?;
        let result = match f.call(&mut self.store, arg) {
            Ok(value) => Ok(value),
            Err(error) => Err(error.downcast::<Trap>()?),
        };
        Ok((result, self.store.get_fuel()?))
    }
}

fn fib_cost(n: u64) -> u64 {
    match n {
        0 | 1 => 6,
        n => 14 + fib_cost(n - 1) + fib_cost(n - 2),
    }
}

#[test]
fn consumption_is_exact_and_the_same_for_all_settings() -> Result<()> {
    const GIVEN: u64 = 1_000_000;
    let cases: &[(&str, i32, Result<i32, Trap>, u64)] = &[
        ("empty", 7, Ok(7), 2),
        ("add", 1, Ok(2), 4),
        ("count", 1, Ok(1), 9 + 2),
        ("count", 1000, Ok(500_500), 9 * 1000 + 2),
        ("switch", 0, Ok(10), 4),
        ("switch", 1, Ok(21), 6),
        ("switch", 2, Ok(30), 4),
        ("switch", -1, Ok(30), 4),
        ("fib", 15, Ok(610), fib_cost(15)),
        ("folded", 3, Ok(3), 1 + 2 + 2 + 3 + 3),
        ("dead", 3, Ok(3), 1 + 2),
        ("nested", 0, Ok(0), 1 + 3 + 1),
        ("nested", 5, Ok(15), 1 + 5 * (3 + 2 + 3 * 9 + 4 + 1) + 3 + 1),
        ("no_loop", 5, Ok(6), 4),
        ("indirect", 0, Ok(5), 1 + 3 + 4),
        ("indirect", 1, Ok(3), 1 + 3 + fib_cost(4)),
        ("indirect", 2, Ok(4), 1 + 3),
        // The host gives 100.
        ("hosted", 4, Ok(8), 1 + 2 + 2 + 1),
        ("grow", 1, Ok(2), 1 + 3 + 5),
        ("select", 0, Ok(6), 1 + 4),
        ("unreachable", 0, Ok(1), 1 + 2 + 1),
        ("unreachable", 1, Err(Trap::Unreachable), 1 + 2 + 1),
        // As of the header: eight times around, in two pages.
        ("fault", 0, Err(Trap::MemoryOutOfBounds), 1 + 8 * 11),
        ("divide", 0, Err(Trap::IntegerDivisionByZero), 1 + 2 + 4),
        ("divide", 1, Ok(1), 1 + 2 + 4 + 3),
    ];
    for (name, engine) in engines() {
        let module = Module::new(&engine, PROGRAMS)?;
        let mut guest = Guest::new(&engine, &module)?;
        for &(function, arg, ref expected, cost) in cases {
            let (result, left) = guest.run(function, arg, GIVEN)?;
            let left = if function == "hosted" {
                left - 100
            } else {
                left
            };
            assert_eq!(result, *expected, "{function}({arg}), {name}");
            assert_eq!(GIVEN - left, cost, "{function}({arg}), {name}");
        }
        // What the host saw: `indirect` had charged its call, `hosted` the first of two.
        assert_eq!(*guest.store.data(), [GIVEN - 4, GIVEN - 3], "{name}");
    }
    Ok(())
}

#[test]
fn running_out_is_the_same_for_all_settings() -> Result<()> {
    let mut expected: Option<Vec<Outcome>> = None;
    for (name, engine) in engines() {
        let module = Module::new(&engine, PROGRAMS)?;
        let mut guest = Guest::new(&engine, &module)?;
        let mut outcomes = Vec::new();
        for fuel in (0..60).chain([100, 200, 300, 1000]) {
            for (function, arg) in [("add", 1), ("count", 4), ("fib", 5), ("nested", 3)] {
                let outcome = guest.run(function, arg, fuel)?;
                if outcome.0 == Err(Trap::OutOfFuel) {
                    assert_eq!(outcome.1, 0, "{function} {name}");
                }
                outcomes.push(outcome);
            }
        }
        let expected = expected.get_or_insert_with(|| outcomes.clone());
        assert_eq!(*expected, outcomes, "{name}");
    }
    let expected = expected.unwrap_or_default();
    assert_eq!(expected[0], (Err(Trap::OutOfFuel), 0));
    assert!(expected.iter().any(|(result, _)| result.is_ok()));
    Ok(())
}

#[test]
fn endless_programs_run_out() -> Result<()> {
    let text = r#"(module
        (func (export "loop") (loop (br 0)))
        (func (export "conditional") (loop (br_if 0 (i32.const 1))))
        (func (export "table") (loop (br_table 0 0 (i32.const 0))))
        (func $twice (export "twice") (param i32)
            (if (local.get 0) (then
                (call $twice (i32.sub (local.get 0) (i32.const 1)))
                (call $twice (i32.sub (local.get 0) (i32.const 1)))))))"#;
    for (name, engine) in engines() {
        let module = Module::new(&engine, text)?;
        let mut store = Store::new(&engine, ());
        let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
        for function in ["loop", "conditional", "table", "twice"] {
            store.set_fuel(10_000)?;
            let f = instance.get_func(&mut store, function).unwrap();
            let args = match function {
                "twice" => vec![bimetal::Val::I32(50)],
                _ => vec![],
            };
            let result = f.call(&mut store, &args, &mut []);
            // A loop that does nothing costs nothing but its branch.
            let trap = result.unwrap_err().downcast::<Trap>()?;
            assert_eq!(trap, Trap::OutOfFuel, "{function}, {name}");
            assert_eq!(store.get_fuel()?, 0, "{function}, {name}");
        }
    }
    Ok(())
}

#[test]
fn amounts_past_the_counter() -> Result<()> {
    let engine = Engine::new(Config::new().consume_fuel(true))?;
    let mut store = Store::new(&engine, ());
    for fuel in [0, 1, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        store.set_fuel(fuel)?;
        assert_eq!(store.get_fuel()?, fuel);
    }
    let text = r#"(module (func (export "f") (param i32) (result i32) (local.get 0)))"#;
    let module = Module::new(&engine, text)?;
    let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
    let f = instance.get_typed_func::<i32, i32>(&mut store, "f")?;
    assert_eq!(f.call(&mut store, 3)?, 3);
    assert_eq!(store.get_fuel()?, u64::MAX - 2);
    Ok(())
}

#[test]
fn without_the_setting_there_is_no_fuel() -> Result<()> {
    let mut store = Store::new(&Engine::default(), ());
    assert!(store.set_fuel(1).is_err());
    assert!(store.get_fuel().is_err());
    Ok(())
}
