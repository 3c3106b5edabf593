//! Counting instructions, and fuel beside it.

use super::*;

fn fib_cost(n: u64) -> u64 {
    match n {
        0 | 1 => 5,
        n => 13 + fib_cost(n - 1) + fib_cost(n - 2),
    }
}

/// A program, its argument and what comes of it, and the instructions that it executes as the plain
/// counter and the exact one count them.
type Count = (&'static str, i32, Result<i32, Trap>, u64, u64);

fn counts() -> Vec<Count> {
    vec![
        ("empty", 7, Ok(7), 2, 2),
        ("add", 1, Ok(2), 3, 3),
        ("count", 1, Ok(1), 9 + 1, 9 + 1),
        ("count", 1000, Ok(500_500), 9 * 1000 + 1, 9 * 1000 + 1),
        ("switch", 0, Ok(10), 4, 4),
        ("switch", 1, Ok(21), 6, 6),
        ("switch", 2, Ok(30), 3, 3),
        ("switch", -1, Ok(30), 3, 3),
        ("fib", 15, Ok(610), fib_cost(15), fib_cost(15)),
        ("folded", 3, Ok(3), 2 + 2 + 4 + 3, 2 + 2 + 4 + 3),
        ("dead", 3, Ok(3), 2, 2),
        ("indirect", 0, Ok(5), 3 + 3, 3 + 3),
        ("indirect", 1, Ok(3), 3 + fib_cost(4), 3 + fib_cost(4)),
        ("indirect", 3, Err(Trap::UndefinedElement), 3, 3),
        ("hosted", 4, Ok(8), 5, 5),
        ("unreachable", 0, Ok(1), 3, 3),
        ("unreachable", 1, Err(Trap::Unreachable), 5, 5),
        // Four times around the loop, and then two instructions and the load.
        ("fault", 0, Err(Trap::MemoryOutOfBounds), 4 * 11, 4 * 11 + 3),
        ("divide", 0, Err(Trap::IntegerDivisionByZero), 5, 9),
        ("divide", 1, Ok(1), 9, 9),
        ("bulk", 8, Ok(0x6463_6261), 14, 14),
        ("bulk", -1, Err(Trap::MemoryOutOfBounds), 0, 4),
    ]
}

#[test]
fn instructions_are_counted_exactly() -> Result<()> {
    for exact in [false, true] {
        let counter = InstructionCounter::new().exact_at_traps(exact);
        for (name, engine) in engines(|config| {
            config.middleware(Arc::new(counter));
        }) {
            let mut guest = Guest::new(&engine, PROGRAMS)?;
            for (function, arg, result, plain, precise) in counts() {
                InstructionCounter::set_count(&guest.instance, &mut guest.store, 0)?;
                assert_eq!(
                    guest.run(function, arg)?,
                    result,
                    "{function}({arg}), {name}"
                );
                let count = InstructionCounter::count(&guest.instance, &mut guest.store)?;
                let expected = if exact { precise } else { plain };
                assert_eq!(count, expected, "{function}({arg}), exact={exact}, {name}");
            }
        }
    }
    Ok(())
}

#[test]
fn fuel_does_not_see_what_was_emitted() -> Result<()> {
    let consumed = |counted: bool, level, lazy| -> Result<Vec<u64>> {
        let mut config = Config::new();
        config.consume_fuel(true).opt_level(level).lazy(lazy);
        if counted {
            config.middleware(Arc::new(InstructionCounter::new()));
        }
        let mut guest = Guest::new(&Engine::new(&config)?, PROGRAMS)?;
        let mut consumed = Vec::new();
        for (function, arg, result, ..) in counts() {
            guest.store.set_fuel(1 << 40)?;
            assert_eq!(guest.run(function, arg)?, result);
            consumed.push(guest.store.get_fuel()?);
        }
        // What the host saw.
        consumed.extend(guest.store.data());
        Ok(consumed)
    };
    let expected = consumed(false, OptLevel::Full, false)?;
    for level in [OptLevel::None, OptLevel::Full] {
        for lazy in [false, true] {
            assert_eq!(consumed(true, level, lazy)?, expected, "{level:?} {lazy}");
            assert_eq!(consumed(false, level, lazy)?, expected, "{level:?} {lazy}");
        }
    }
    Ok(())
}

/// With a table in which an instruction costs what it counts, fuel and counter agree but for one unit
/// for each function entered.
#[test]
fn fuel_by_a_table_is_what_the_counter_counts() -> Result<()> {
    let cost = || {
        let mut cost = OperatorCost::uniform(1);
        (cost.Block, cost.Loop, cost.Else, cost.End) = (0, 0, 0, 0);
        cost.variable.memory_copy_per_byte = 0;
        cost.variable.memory_fill_per_byte = 0;
        cost.variable.memory_init_per_byte = 0;
        cost
    };
    let entries = Custom {
        globals: &[("entries", GlobalInit::I64(0))],
        enter: |globals, emitter| {
            let global_index = globals[0];
            emitter.extend([
                Operator::GlobalGet { global_index },
                Operator::I64Const { value: 1 },
                Operator::I64Add,
                Operator::GlobalSet { global_index },
            ]);
        },
        ..Custom::new("entries", |_, operator, emitter| {
            emitter.push(operator);
            Ok(())
        })
    };
    for (name, engine) in engines(|config| {
        config
            .consume_fuel(true)
            .operator_cost(cost())
            .middleware(Arc::new(InstructionCounter::new()))
            .middleware(Arc::new(entries.clone()));
    }) {
        let mut guest = Guest::new(&engine, PROGRAMS)?;
        let mut before = 0;
        for (function, arg, result, plain, _) in counts() {
            guest.store.set_fuel(1_000_000)?;
            assert_eq!(
                guest.run(function, arg)?,
                result,
                "{function}({arg}), {name}"
            );
            let after = guest.global("entries", "entries").unwrap_i64();
            let entered = (after - std::mem::replace(&mut before, after)) as u64;
            let consumed = 1_000_000 - guest.store.get_fuel()?;
            match result {
                Ok(_) | Err(Trap::Unreachable) => {
                    assert_eq!(consumed, plain + entered, "{function}({arg}), {name}");
                }
                // Fuel is charged before what moves as many bytes as an operand says.
                _ => assert!(consumed >= plain, "{function}({arg}), {name}"),
            }
        }
    }
    Ok(())
}

#[test]
fn fuel_for_bulk_instructions_is_by_size() -> Result<()> {
    let text = r#"(module
        (memory 4)
        (table $t 100 funcref)
        (elem $e func $null $null $null)
        (func $null)
        (func (export "fill") (param i32) (result i32)
            (memory.fill (i32.const 0) (i32.const 1) (local.get 0)) (i32.const 0))
        (func (export "copy") (param i32) (result i32)
            (memory.copy (i32.const 0) (i32.const 1) (local.get 0)) (i32.const 0))
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "table_fill") (param i32) (result i32)
            (table.fill $t (i32.const 0) (ref.null func) (local.get 0)) (i32.const 0))
        (func (export "table_copy") (param i32) (result i32)
            (table.copy (i32.const 0) (i32.const 1) (local.get 0)) (i32.const 0))
        (func (export "table_init") (param i32) (result i32)
            (table.init $e (i32.const 0) (i32.const 0) (local.get 0)) (i32.const 0))
        (func (export "table_grow") (param i32) (result i32)
            (table.grow $t (ref.null func) (local.get 0)))
        (func (export "twice") (param i32) (result i32)
            (memory.fill (i32.const 0) (i32.const 1) (local.get 0))
            (memory.fill (i32.const 0) (i32.const 1) (local.get 0))
            (i32.const 0)))"#;
    let mut expensive = OperatorCost::new();
    expensive.variable.memory_fill_per_byte = u32::MAX;
    expensive.variable.memory_grow_per_page = 1000;
    for (name, engine) in engines(|config| {
        config.consume_fuel(true);
    }) {
        let mut guest = Guest::new(&engine, text)?;
        let mut cost = |function: &str, arg| -> Result<u64> {
            guest.store.set_fuel(1_000_000)?;
            guest.run(function, arg)?.map_err(Error::new)?;
            Ok(1_000_000 - guest.store.get_fuel()?)
        };
        assert_eq!(cost("fill", 0)?, 6, "{name}");
        assert_eq!(cost("fill", 4 << 16)?, 6 + (4 << 16), "{name}");
        assert_eq!(cost("copy", 1000)?, 6 + 1000, "{name}");
        assert_eq!(cost("grow", 1)?, 3, "{name}");
        assert_eq!(cost("table_fill", 10)?, 6 + 10, "{name}");
        assert_eq!(cost("table_copy", 10)?, 6 + 10, "{name}");
        assert_eq!(cost("table_init", 3)?, 6 + 3, "{name}");
        assert_eq!(cost("table_grow", 5)?, 4 + 5, "{name}");
        // It runs out before it does anything.
        guest.store.set_fuel(1000)?;
        assert_eq!(guest.run("fill", 1000)?, Err(Trap::OutOfFuel), "{name}");
        assert_eq!(guest.run("fill", -1)?, Err(Trap::OutOfFuel), "{name}");
    }
    for (name, engine) in engines(|config| {
        config.consume_fuel(true).operator_cost(expensive.clone());
    }) {
        let mut guest = Guest::new(&engine, text)?;
        for fuel in [1000, u64::from(u32::MAX), i64::MAX as u64] {
            guest.store.set_fuel(fuel)?;
            // The counter does not wrap, however much is asked for.
            let result = guest.run("twice", -1)?;
            let expected = match fuel == i64::MAX as u64 {
                true => Trap::MemoryOutOfBounds,
                false => Trap::OutOfFuel,
            };
            assert_eq!(result, Err(expected), "{name}");
        }
        guest.store.set_fuel(10_000)?;
        assert_eq!(guest.run("grow", 2)?, Ok(4), "{name}");
        assert_eq!(guest.store.get_fuel()?, 10_000 - 3 - 2000, "{name}");
    }
    Ok(())
}

#[test]
fn without_a_counter_there_is_no_count() -> Result<()> {
    let mut guest = Guest::new(&Engine::default(), PROGRAMS)?;
    assert!(InstructionCounter::count(&guest.instance, &mut guest.store).is_err());
    Ok(())
}

/// The legacy constructs give structure too, and what was executed before one of them is counted
/// whether the exception comes or not.
#[test]
fn legacy_exceptions_are_counted_exactly() -> Result<()> {
    let text = r#"(module
        (tag $e)
        (func (export "run") (param i32) (result i32)
            try $outer (result i32)
                i32.const 1
                drop
                try (result i32)
                    (if (i32.eq (local.get 0) (i32.const 1)) (then (throw $e)))
                    (i32.add (local.get 0) (i32.const 10))
                catch $e
                    (if (i32.eqz (global.get $again)) (then (rethrow 1)))
                    i32.const 2
                end
            catch_all
                i32.const 3
            end)
        (func (export "delegated") (param i32) (result i32)
            try $outer (result i32)
                try (result i32)
                    (if (local.get 0) (then (throw $e)))
                    (i32.add (local.get 0) (i32.const 10))
                delegate $outer
            catch_all
                i32.const 3
            end)
        (global $again i32 (i32.const 0)))"#;
    for exact in [false, true] {
        let counter = InstructionCounter::new().exact_at_traps(exact);
        for (name, engine) in engines(|config| {
            config.middleware(Arc::new(counter));
        }) {
            let mut store = Store::new(&engine, ());
            let _ = store.set_fuel(u64::MAX);
            let module = Module::new(&engine, text)?;
            let instance = Instance::new(&mut store, &module, &[])?;
            for (function, arg, result, expected) in [
                ("run", 0, 10, 2 + 4 + 3),
                ("run", 1, 3, 2 + 4 + 1 + 3 + 1 + 1),
                ("delegated", 0, 10, 2 + 3),
                ("delegated", 1, 3, 2 + 1 + 1),
            ] {
                InstructionCounter::set_count(&instance, &mut store, 0)?;
                let run = instance.get_typed_func::<i32, i32>(&mut store, function)?;
                assert_eq!(
                    run.call(&mut store, arg)?,
                    result,
                    "{function}({arg}), {name}"
                );
                let count = InstructionCounter::count(&instance, &mut store)?;
                assert_eq!(count, expected, "{function}({arg}), exact={exact}, {name}");
            }
        }
    }
    Ok(())
}
