//! Middleware: what it emits is compiled, wherever and however; what is wrong with it is an error.

mod counting;
mod emission;
mod refusals;

use std::fmt;
use std::sync::Arc;

use bimetal::middleware::{
    BlockType, Emitter, FunctionContext, FunctionMiddleware, GlobalInit, InstructionCounter,
    Middleware, MiddlewareError, ModuleContext, ModuleMiddleware, Operator, Refusal,
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
