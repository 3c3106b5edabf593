//! Middleware: what it emits is compiled, wherever and however; what is wrong with it is an error.

use std::fmt;
use std::sync::Arc;

use bimetal::middleware::{
    BlockType, Emitter, FunctionContext, FunctionMiddleware, GlobalInit, InstructionCounter,
    Middleware, MiddlewareError, ModuleContext, ModuleMiddleware, Operator, Refusal,
    types::Ordering,
};
use bimetal::{
    Caller, Config, Engine, Error, ErrorKind, Instance, Linker, Module, OperatorCost, OptLevel,
    Result, Store, Trap, Val,
};

/// Engines that compile in every way there is.
fn engines(configure: impl Fn(&mut Config)) -> Vec<(String, Engine)> {
    let mut engines = Vec::new();
    for level in [OptLevel::None, OptLevel::Fast, OptLevel::Full] {
        for lazy in [false, true] {
            for signals in [true, false] {
                for metered in [false, true] {
                    let mut config = Config::new();
                    config
                        .opt_level(level)
                        .lazy(lazy)
                        .signals_based_traps(signals)
                        .consume_fuel(metered)
                        .epoch_interruption(metered)
                        .compiler_verify(true);
                    configure(&mut config);
                    let name = format!("{level:?} lazy={lazy} signals={signals} metered={metered}");
                    engines.push((name, Engine::new(&config).unwrap()));
                }
            }
        }
    }
    engines
}

/// What a test's middleware does to an instruction; the globals are those of the module.
type Rewrite = for<'a> fn(&[u32], Operator<'a>, &mut Emitter<'a>) -> Result<(), Refusal>;

/// A middleware out of functions.
#[derive(Clone)]
struct Custom {
    name: &'static str,
    globals: &'static [(&'static str, GlobalInit)],
    enter: fn(&[u32], &mut Emitter<'_>),
    rewrite: Rewrite,
    indices: Vec<u32>,
}

impl Custom {
    fn new(name: &'static str, rewrite: Rewrite) -> Custom {
        Custom {
            name,
            globals: &[],
            enter: |_, _| (),
            rewrite,
            indices: Vec::new(),
        }
    }

    fn engine(self, lazy: bool) -> Engine {
        let mut config = Config::new();
        config.middleware(Arc::new(self)).lazy(lazy);
        Engine::new(&config).unwrap()
    }
}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Middleware for Custom {
    fn name(&self) -> &str {
        self.name
    }

    fn fingerprint(&self) -> Vec<u8> {
        Vec::new()
    }

    fn module(&self, module: &mut ModuleContext<'_>) -> Result<Arc<dyn ModuleMiddleware>, Refusal> {
        let mut made = self.clone();
        for &(name, init) in self.globals {
            made.indices.push(module.add_global(name, init)?.as_u32());
        }
        Ok(Arc::new(made))
    }
}

impl ModuleMiddleware for Custom {
    fn function(
        &self,
        _: &mut FunctionContext<'_>,
    ) -> Result<Box<dyn FunctionMiddleware>, Refusal> {
        Ok(Box::new(self.clone()))
    }
}

impl FunctionMiddleware for Custom {
    fn enter(&mut self, emitter: &mut Emitter<'_>) -> Result<(), Refusal> {
        (self.enter)(&self.indices, emitter);
        Ok(())
    }

    fn operator<'a>(
        &mut self,
        operator: Operator<'a>,
        emitter: &mut Emitter<'a>,
    ) -> Result<(), Refusal> {
        (self.rewrite)(&self.indices, operator, emitter)
    }
}

const PROGRAMS: &str = r#"(module
    (import "host" "look" (func $look (param i32) (result i32)))
    (memory 1)
    (type $unary (func (param i32) (result i32)))
    (table funcref (elem $add $fib $look))
    (data $bytes "abcdefgh")

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
        (block (br_if 0 (i32.const 1)) (drop (i32.const 7)))
        (drop (i32.mul (i32.const 3) (i32.const 4)))
        (i32.add (local.get 0) (i32.const 0)))
    (func (export "dead") (param i32) (result i32)
        (block (result i32)
            (br 0 (local.get 0))
            (i32.add (i32.const 1) (i32.const 2))
            (drop)
            (loop (br 0))))
    (func (export "indirect") (param i32) (result i32)
        (call_indirect (type $unary) (i32.const 4) (local.get 0)))
    (func (export "hosted") (param i32) (result i32)
        (i32.add (call $look (local.get 0)) (call $look (local.get 0))))
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
    (func (export "bulk") (param i32) (result i32)
        (memory.fill (i32.const 0) (i32.const 1) (local.get 0))
        (memory.copy (i32.const 8) (i32.const 0) (i32.const 16))
        (memory.init $bytes (i32.const 0) (i32.const 0) (i32.const 4))
        (i32.load (i32.const 0)))
)"#;

struct Guest {
    store: Store<Vec<u64>>,
    instance: Instance,
}

impl Guest {
    fn new(engine: &Engine, text: &str) -> Result<Guest> {
        let module = Module::new(engine, text)?;
        let mut linker = Linker::new(engine);
        linker.func_wrap(
            "host",
            "look",
            |mut caller: Caller<'_, Vec<u64>>, x: i32| {
                let fuel = caller.get_fuel().unwrap_or(0);
                caller.data_mut().push(fuel);
                x
            },
        )?;
        let mut store = Store::new(engine, Vec::new());
        let _ = store.set_fuel(u64::MAX);
        let instance = linker.instantiate(&mut store, &module)?;
        Ok(Guest { store, instance })
    }

    fn run(&mut self, name: &str, arg: i32) -> Result<Result<i32, Trap>> {
        let store = &mut self.store;
        let f = self
            .instance
            .get_typed_func::<i32, i32>(&mut *store, name)?;
        Ok(match f.call(store, arg) {
            Ok(value) => Ok(value),
            Err(error) => Err(error.downcast::<Trap>()?),
        })
    }

    fn global(&mut self, middleware: &str, name: &str) -> Val {
        let store = &mut self.store;
        let global = self
            .instance
            .get_middleware_global(&mut *store, middleware, name);
        global.unwrap().get(store)
    }
}

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

fn refuse_division<'a>(
    _: &[u32],
    operator: Operator<'a>,
    emitter: &mut Emitter<'a>,
) -> Result<(), Refusal> {
    if let Operator::I32DivU = operator {
        return Err(Refusal::new("division is not allowed"));
    }
    emitter.push(operator);
    Ok(())
}

#[test]
fn a_refused_module_is_not_loaded() -> Result<()> {
    let text = r#"(module
        (import "host" "look" (func (param i32) (result i32)))
        (func nop)
        (func (result i32) (return (i32.const 1)) (i32.div_u (i32.const 1) (i32.const 2)))
        (func (result i32) (i32.div_u (i32.const 1) (i32.const 2))))"#;
    for lazy in [false, true] {
        let engine = Custom::new("no-division", refuse_division).engine(lazy);
        let refused = |error: Error| {
            assert_eq!(error.kind(), ErrorKind::Refused, "{error:#}");
            let cause = error.downcast_ref::<MiddlewareError>().unwrap();
            assert!(cause.is_refusal());
            assert_eq!(cause.middleware(), Some("no-division"));
            // The first of them, also where it cannot be reached.
            assert_eq!(cause.function(), Some(2));
            assert_eq!(cause.message(), "division is not allowed");
            cause.offset().unwrap()
        };
        let bytes = Module::new(&Engine::default(), text)?.wasm().bytes.to_vec();
        let offset = refused(Module::new(&engine, text).unwrap_err());
        assert_eq!(
            bytes[offset as usize], 0x6e,
            "the offset is that of i32.div_u"
        );
        assert_eq!(
            refused(Module::validate(&engine, text.as_bytes()).unwrap_err()),
            offset
        );
        Module::new(
            &engine,
            "(module (func (drop (i32.div_s (i32.const 1) (i32.const 1)))))",
        )?;
        Module::new(&engine, "(module)")?;
    }
    Ok(())
}

/// Refuses by what the module declares.
#[derive(Debug)]
struct AtMost(usize);

impl Middleware for AtMost {
    fn name(&self) -> &str {
        "at-most"
    }

    fn fingerprint(&self) -> Vec<u8> {
        self.0.to_le_bytes().into()
    }

    fn module(&self, module: &mut ModuleContext<'_>) -> Result<Arc<dyn ModuleMiddleware>, Refusal> {
        let mut total = 0;
        for function in module.functions() {
            let mut operators = module.operators(function).unwrap();
            while !operators.eof() {
                let offset = operators.original_position() as u32;
                operators.read()?;
                total += 1;
                if total > self.0 {
                    return Err(Refusal::new("it is too large").at(function, offset));
                }
            }
        }
        Ok(Arc::new(Custom::new("at-most", |_, operator, emitter| {
            emitter.push(operator);
            Ok(())
        })))
    }
}

#[test]
fn a_module_is_refused_as_a_whole() -> Result<()> {
    for lazy in [false, true] {
        let mut config = Config::new();
        config.middleware(Arc::new(AtMost(4))).lazy(lazy);
        let engine = Engine::new(&config)?;
        Module::new(&engine, "(module (func nop) (func nop))")?;
        let error = Module::new(&engine, "(module (func nop) (func nop nop))").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        let cause = error.downcast_ref::<MiddlewareError>().unwrap();
        assert_eq!(cause.function(), Some(1));
        let text = cause.to_string();
        assert!(
            text.starts_with("refused by `at-most`: it is too large in function 1"),
            "{text}"
        );
    }
    Ok(())
}

#[test]
fn names_are_used_once() {
    let counter = || Arc::new(InstructionCounter::new());
    let mut config = Config::new();
    config.middleware(counter()).middleware(counter());
    let engine = Engine::new(&config).unwrap();
    let error = Module::new(&engine, "(module (func))").unwrap_err();
    assert!(error.to_string().contains("two middlewares"), "{error}");

    let twice = Custom {
        globals: &[("a", GlobalInit::I32(1)), ("a", GlobalInit::I32(2))],
        ..Custom::new("twice", |_, operator, emitter| {
            emitter.push(operator);
            Ok(())
        })
    };
    let error = Module::new(&twice.engine(false), "(module (func))").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("two globals `a`"), "{error}");
}

/// A module's exports, names and globals are its own.
#[test]
fn what_is_added_is_hidden_from_modules() -> Result<()> {
    let text = r#"(module
        (global (export "count") (mut i64) (i64.const 7))
        (global $f (mut f32) (f32.const 1.5))
        (func (export "f") (param i32) (result i32)
            (global.set $f (f32.const 2.5)) (local.get 0)))"#;
    let plain = Module::new(&Engine::default(), text)?;
    for (name, engine) in engines(|config| {
        config.middleware(Arc::new(InstructionCounter::new()));
    }) {
        let mut guest = Guest::new(&engine, text)?;
        let module = guest.instance.module(&guest.store).clone();
        let names = |module: &Module| -> Vec<String> {
            module
                .exports()
                .map(|export| export.name().into())
                .collect()
        };
        assert_eq!(names(&module), names(&plain));
        guest.run("f", 3)?.unwrap();
        let store = &mut guest.store;
        let export = guest.instance.get_global(&mut *store, "count").unwrap();
        assert_eq!(export.get(&mut *store).unwrap_i64(), 7, "{name}");
        assert_eq!(
            InstructionCounter::count(&guest.instance, store)?,
            3,
            "{name}"
        );
        assert!(
            guest
                .instance
                .get_middleware_global(&mut guest.store, "instruction-counter", "other")
                .is_none()
        );
    }
    // A module cannot name what would be behind its own.
    let engine = Custom {
        globals: &[("a", GlobalInit::I32(0))],
        ..Custom::new("adds", |_, operator, emitter| {
            emitter.push(operator);
            Ok(())
        })
    }
    .engine(false);
    let error = Module::new(&engine, "(module (func (drop (global.get 0))))").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Module);
    Ok(())
}

#[test]
fn without_a_counter_there_is_no_count() -> Result<()> {
    let mut guest = Guest::new(&Engine::default(), PROGRAMS)?;
    assert!(InstructionCounter::count(&guest.instance, &mut guest.store).is_err());
    Ok(())
}

/// Whatever a middleware emits, it is compiled right or it is an error.
#[test]
fn wrong_middleware_is_an_error() {
    let text = r#"(module
        (memory 1) (global $g i32 (i32.const 1))
        (func $undeclared)
        (func (export "f") (param i32) (result i32)
            (if (result i32) (local.get 0)
                (then (i32.load (i32.add (local.get 0) (i32.const 4))))
                (else (i32.const 3)))))"#;
    macro_rules! before {
        ($pattern:pat, $($operator:expr),*) => {
            |_: &[u32], operator, emitter: &mut Emitter<'_>| {
                if matches!(operator, $pattern) {
                    emitter.extend([$($operator),*]);
                }
                emitter.push(operator);
                Ok(())
            }
        };
    }
    macro_rules! instead {
        ($pattern:pat $(, $operator:expr)*) => {
            |_: &[u32], operator, emitter: &mut Emitter<'_>| {
                if matches!(operator, $pattern) {
                    $(emitter.push($operator);)*
                } else {
                    emitter.push(operator);
                }
                Ok(())
            }
        };
    }
    let wrong: &[(&str, Rewrite)] = &[
        (
            "one more value",
            before!(Operator::I32Add, Operator::I32Const { value: 1 }),
        ),
        ("one less", before!(Operator::I32Add, Operator::Drop)),
        (
            "another type",
            before!(Operator::I32Add, Operator::I64ExtendI32U),
        ),
        ("an end more", before!(Operator::End, Operator::End)),
        ("no ends", instead!(Operator::End)),
        ("no else", instead!(Operator::Else)),
        ("nothing", |_, _, _| Ok(())),
        ("two elses", before!(Operator::Else, Operator::Else)),
        ("an else alone", before!(Operator::I32Add, Operator::Else)),
        (
            "an open block",
            before!(
                Operator::I32Add,
                Operator::Block {
                    blockty: BlockType::Empty
                }
            ),
        ),
        (
            "no global",
            before!(
                Operator::I32Add,
                Operator::GlobalGet { global_index: 1 },
                Operator::Drop
            ),
        ),
        (
            "an immutable global",
            before!(
                Operator::I32Add,
                Operator::I32Const { value: 1 },
                Operator::GlobalSet { global_index: 0 }
            ),
        ),
        (
            "no local",
            instead!(Operator::I32Add, Operator::LocalGet { local_index: 1 }),
        ),
        (
            "no function",
            before!(Operator::I32Add, Operator::Call { function_index: 99 }),
        ),
        (
            "no type",
            before!(
                Operator::I32Add,
                Operator::Block {
                    blockty: BlockType::FuncType(99)
                },
                Operator::End
            ),
        ),
        (
            "no reference",
            before!(
                Operator::I32Add,
                Operator::RefFunc { function_index: 0 },
                Operator::Drop
            ),
        ),
        (
            "a far branch",
            before!(Operator::I32Add, Operator::Br { relative_depth: 9 }),
        ),
        (
            "a tail call",
            before!(Operator::I32Add, Operator::ReturnCall { function_index: 0 }),
        ),
        (
            "an atomic",
            before!(
                Operator::I32Add,
                Operator::AtomicFence {
                    ordering: Ordering::SeqCst
                }
            ),
        ),
        (
            "a lane",
            before!(
                Operator::I32Add,
                Operator::I8x16Splat,
                Operator::I8x16ExtractLaneU { lane: 16 }
            ),
        ),
        (
            "garbage",
            before!(Operator::I32Add, Operator::RefI31, Operator::ThrowRef),
        ),
    ];
    for &(what, rewrite) in wrong {
        for lazy in [false, true] {
            let engine = Custom::new("wrong", rewrite).engine(lazy);
            let error = Module::new(&engine, text).expect_err(what);
            assert_eq!(error.kind(), ErrorKind::Compile, "{what}: {error:#}");
            let cause = error.downcast_ref::<MiddlewareError>();
            let cause = cause.unwrap_or_else(|| panic!("{what}: {error:#}"));
            assert!(!cause.is_refusal(), "{what}: {cause}");
            assert!(
                cause.function().is_some() && cause.offset().is_some(),
                "{what}: {cause}"
            );
            assert!(cause.to_string().contains("`wrong`"), "{what}: {cause}");
        }
    }
}

/// A middleware that says that it never refuses and then is wrong fails the call, not the process.
#[test]
fn wrong_code_found_late_is_an_error_of_the_call() -> Result<()> {
    #[derive(Debug)]
    struct Late;
    impl Middleware for Late {
        fn name(&self) -> &str {
            "late"
        }
        fn fingerprint(&self) -> Vec<u8> {
            Vec::new()
        }
        fn module(&self, _: &mut ModuleContext<'_>) -> Result<Arc<dyn ModuleMiddleware>, Refusal> {
            Ok(Arc::new(Late))
        }
    }
    impl ModuleMiddleware for Late {
        fn function(
            &self,
            _: &mut FunctionContext<'_>,
        ) -> Result<Box<dyn FunctionMiddleware>, Refusal> {
            let drops: Rewrite = |_, operator, emitter| {
                emitter.extend([Operator::Drop, operator]);
                Ok(())
            };
            Ok(Box::new(Custom::new("late", drops)))
        }
        fn may_refuse(&self) -> bool {
            false
        }
    }
    let mut config = Config::new();
    config.middleware(Arc::new(Late)).lazy(true);
    let mut guest = Guest::new(&Engine::new(&config)?, PROGRAMS)?;
    let f = guest
        .instance
        .get_typed_func::<i32, i32>(&mut guest.store, "add")?;
    for _ in 0..2 {
        let error = f.call(&mut guest.store, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Compile, "{error:#}");
        assert!(error.is::<MiddlewareError>());
    }
    Ok(())
}

/// Makes division by zero give zero, by a local of its own, and counts how often.
#[derive(Debug)]
struct SafeDivision;

struct Divisions {
    global_index: u32,
    divisor: u32,
}

impl Middleware for SafeDivision {
    fn name(&self) -> &str {
        "safe-division"
    }

    fn fingerprint(&self) -> Vec<u8> {
        vec![1]
    }

    fn module(&self, module: &mut ModuleContext<'_>) -> Result<Arc<dyn ModuleMiddleware>, Refusal> {
        #[derive(Debug)]
        struct Module(u32);
        impl ModuleMiddleware for Module {
            fn function(
                &self,
                function: &mut FunctionContext<'_>,
            ) -> Result<Box<dyn FunctionMiddleware>, Refusal> {
                Ok(Box::new(Divisions {
                    global_index: self.0,
                    divisor: function.add_local(bimetal_wasm::ValType::I32),
                }))
            }
        }
        let global = module.add_global("zeros", GlobalInit::I32(100))?;
        Ok(Arc::new(Module(global.as_u32())))
    }
}

impl FunctionMiddleware for Divisions {
    fn operator<'a>(
        &mut self,
        operator: Operator<'a>,
        emitter: &mut Emitter<'a>,
    ) -> Result<(), Refusal> {
        let Operator::I32DivU = operator else {
            emitter.push(operator);
            return Ok(());
        };
        let (global_index, local_index) = (self.global_index, self.divisor);
        emitter.extend([
            Operator::LocalTee { local_index },
            Operator::I32Eqz,
            Operator::If {
                blockty: BlockType::FuncType(0),
            },
            Operator::Drop,
            Operator::GlobalGet { global_index },
            Operator::I32Const { value: 1 },
            Operator::I32Add,
            Operator::GlobalSet { global_index },
            Operator::I32Const { value: 0 },
            Operator::Else,
            Operator::LocalGet { local_index },
            Operator::I32DivU,
            Operator::End,
        ]);
        Ok(())
    }
}

#[test]
fn instructions_can_be_replaced() -> Result<()> {
    let text = r#"(module
        (type (func (param i32) (result i32)))
        (func (export "divide") (param i32) (result i32) (local i64 f32)
            (loop
                (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
                (br_if 0 (i32.gt_s (local.get 0) (i32.const 3))))
            (i32.div_u (i32.const 12) (local.get 0))))"#;
    for (name, engine) in engines(|config| {
        config.middleware(Arc::new(SafeDivision));
    }) {
        let mut guest = Guest::new(&engine, text)?;
        assert_eq!(guest.run("divide", 5)?, Ok(4), "{name}");
        assert_eq!(guest.run("divide", 1)?, Ok(0), "{name}");
        assert_eq!(guest.run("divide", 0)?, Ok(0), "{name}");
        assert_eq!(
            guest.global("safe-division", "zeros").unwrap_i32(),
            101,
            "{name}"
        );
    }
    Ok(())
}

#[test]
fn traps_are_where_the_instruction_stands() -> Result<()> {
    let text = r#"(module
        (func $inner (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3)))
        (func (export "f") (param i32) (result i32) (nop) (call $inner (local.get 0))))"#;
    let traps: Rewrite = |_, operator, emitter| {
        if let Operator::I32Mul = operator {
            emitter.extend([
                Operator::LocalGet { local_index: 0 },
                Operator::If {
                    blockty: BlockType::Empty,
                },
                Operator::Unreachable,
                Operator::End,
            ]);
        }
        emitter.push(operator);
        Ok(())
    };
    for (name, engine) in engines(|config| {
        config.middleware(Arc::new(Custom::new("traps", traps)));
        config.middleware(Arc::new(InstructionCounter::new()));
    }) {
        let mut guest = Guest::new(&engine, text)?;
        assert_eq!(guest.run("f", 0)?, Ok(0), "{name}");
        let f = guest.instance.get_func(&mut guest.store, "f").unwrap();
        let error = f
            .call(&mut guest.store, &[Val::I32(1)], &mut [Val::I32(0)])
            .unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::Unreachable), "{name}");
        let module = guest.instance.module(&guest.store);
        let at: Vec<u8> = error
            .backtrace()
            .unwrap()
            .frames()
            .iter()
            .map(|frame| module.wasm().bytes[frame.module_offset().unwrap()])
            .collect();
        assert_eq!(at, [0x6c, 0x10], "i32.mul and call, {name}");
    }
    Ok(())
}

#[test]
fn each_sees_what_the_one_before_emitted() -> Result<()> {
    let doubles: Rewrite = |_, operator, emitter| {
        if let Operator::I32Const { value } = operator {
            emitter.push(Operator::I32Const { value: value * 2 });
        } else {
            emitter.push(operator);
        }
        Ok(())
    };
    let adds: Rewrite = |_, operator, emitter| {
        let is_constant = matches!(operator, Operator::I32Const { .. });
        emitter.push(operator);
        if is_constant {
            emitter.extend([Operator::I32Const { value: 1 }, Operator::I32Add]);
        }
        Ok(())
    };
    let text = r#"(module (func (export "f") (param i32) (result i32) (i32.const 10)))"#;
    for (first, second, expected) in [
        (
            Custom::new("doubles", doubles),
            Custom::new("adds", adds),
            21,
        ),
        (
            Custom::new("adds", adds),
            Custom::new("doubles", doubles),
            22,
        ),
    ] {
        for lazy in [false, true] {
            let mut config = Config::new();
            config
                .middleware(Arc::new(first.clone()))
                .middleware(Arc::new(second.clone()))
                .lazy(lazy);
            let mut guest = Guest::new(&Engine::new(&config)?, text)?;
            assert_eq!(guest.run("f", 0)?, Ok(expected));
        }
    }
    Ok(())
}

/// An image was made with its middleware, and with no other.
#[test]
fn images_know_their_middleware() -> Result<()> {
    let engine = |exact: Option<bool>, cost: Option<u32>| {
        let mut config = Config::new();
        if let Some(exact) = exact {
            let counter = InstructionCounter::new().exact_at_traps(exact);
            config.middleware(Arc::new(counter));
        }
        config.consume_fuel(true);
        if let Some(cost) = cost {
            config.operator_cost(OperatorCost::uniform(cost));
        }
        Engine::new(&config)
    };
    let made = engine(Some(true), Some(3))?;
    let precompiled = made.precompile_module(PROGRAMS.as_bytes())?;
    let serialized = Module::new(&made, PROGRAMS)?.serialize()?;
    assert!(precompiled == serialized);

    let load = |engine: &Engine| {
        // SAFETY: made above.
        unsafe { Module::deserialize(engine, &serialized) }
    };
    let same = engine(Some(true), Some(3))?;
    let module = load(&same)?;
    let mut linker = Linker::new(&same);
    linker.func_wrap("host", "look", |x: i32| x)?;
    let mut store = Store::new(&same, ());
    store.set_fuel(1_000_000)?;
    let instance = linker.instantiate(&mut store, &module)?;
    let f = instance.get_typed_func::<i32, i32>(&mut store, "fault")?;
    assert!(f.call(&mut store, 0).is_err());
    assert_eq!(
        InstructionCounter::count(&instance, &mut store)?,
        4 * 11 + 3
    );

    for other in [
        engine(Some(false), Some(3))?,
        engine(None, Some(3))?,
        engine(Some(true), None)?,
        engine(Some(true), Some(4))?,
    ] {
        assert_eq!(load(&other).unwrap_err().kind(), ErrorKind::Image);
    }
    let refusing = Custom::new("no-division", refuse_division).engine(false);
    let text = "(module (func (drop (i32.div_u (i32.const 1) (i32.const 1)))))";
    let error = refusing.precompile_module(text.as_bytes()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    Ok(())
}
