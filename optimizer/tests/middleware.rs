//! Middleware in the compiler: nothing of it without one, and always the same code with one.

use std::sync::Arc;

use bimetal_abi::Tunables;
use bimetal_codegen::middleware::{
    Emitter, FunctionContext, FunctionMiddleware, GlobalInit, Instrumentation, Middleware,
    ModuleContext, ModuleMiddleware, Refusal,
};
use bimetal_codegen::{Compiler, ModuleEnv, OptLevel, Settings, Target};
use bimetal_optimizer::Optimizer;
use bimetal_wasm::body::Operator;
use bimetal_wasm::{DefinedFuncIndex, Features, Module};

const TEXT: &str = "(module
    (memory 1)
    (func $callee (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
    (func (param i32) (result i32)
        (loop
            (local.set 0 (call $callee (i32.load (local.get 0))))
            (br_if 0 (i32.lt_u (local.get 0) (i32.const 100))))
        (local.get 0)))";

/// Emits each instruction, and if `counts` counts them.
#[derive(Clone, Debug)]
struct Counting {
    counts: bool,
    global: u32,
}

impl Middleware for Counting {
    fn name(&self) -> &str {
        "counting"
    }

    fn fingerprint(&self) -> Vec<u8> {
        vec![self.counts.into()]
    }

    fn module(&self, module: &mut ModuleContext<'_>) -> Result<Arc<dyn ModuleMiddleware>, Refusal> {
        let global = match self.counts {
            true => module.add_global("count", GlobalInit::I64(0))?.as_u32(),
            false => 0,
        };
        let counts = self.counts;
        Ok(Arc::new(Counting { counts, global }))
    }
}

impl ModuleMiddleware for Counting {
    fn function(
        &self,
        _: &mut FunctionContext<'_>,
    ) -> Result<Box<dyn FunctionMiddleware>, Refusal> {
        Ok(Box::new(self.clone()))
    }
}

impl FunctionMiddleware for Counting {
    fn operator<'a>(
        &mut self,
        operator: Operator<'a>,
        emitter: &mut Emitter<'a>,
    ) -> Result<(), Refusal> {
        let global_index = self.global;
        if self.counts {
            emitter.extend([
                Operator::GlobalGet { global_index },
                Operator::I64Const { value: 1 },
                Operator::I64Add,
                Operator::GlobalSet { global_index },
            ]);
        }
        emitter.push(operator);
        Ok(())
    }
}

/// The machine code of all functions, compiled in this order.
fn compile(
    level: OptLevel,
    fuel: bool,
    middleware: Option<Counting>,
    order: &[u32],
) -> Vec<Vec<u8>> {
    let mut module = Module::new(TEXT, &Features::default()).unwrap();
    let middlewares: Vec<Arc<dyn Middleware>> = middleware
        .map(|it| Arc::new(it) as Arc<dyn Middleware>)
        .into_iter()
        .collect();
    let instrumentation = Instrumentation::new(&middlewares, &mut module).unwrap();
    let tunables = Tunables {
        fuel,
        ..Tunables::default()
    };
    let mut env = ModuleEnv::new(module.into(), tunables).unwrap();
    env.instrumentation = instrumentation.map(Arc::new);
    let settings = Settings {
        opt_level: level,
        verify: true,
        ..Settings::default()
    };
    let optimizer = Optimizer::new(&Target::host().unwrap(), settings).unwrap();
    let mut scratch = optimizer.scratch();
    let mut code = vec![Vec::new(); order.len()];
    for &func in order {
        let index = DefinedFuncIndex::from_u32(func);
        let function = optimizer.function(&env, index, &mut scratch).unwrap();
        code[func as usize] = function.bytes;
    }
    code
}

#[test]
fn one_that_changes_nothing_leaves_no_trace() {
    let nothing = Counting {
        counts: false,
        global: 0,
    };
    for level in [OptLevel::None, OptLevel::Full] {
        for fuel in [false, true] {
            assert_eq!(
                compile(level, fuel, Some(nothing.clone()), &[0, 1]),
                compile(level, fuel, None, &[0, 1])
            );
        }
    }
}

#[test]
fn code_is_the_same_in_any_order() {
    let counting = Counting {
        counts: true,
        global: 0,
    };
    for level in [OptLevel::None, OptLevel::Full] {
        let code = compile(level, false, Some(counting.clone()), &[0, 1]);
        assert_eq!(code, compile(level, false, Some(counting.clone()), &[1, 0]));
        assert_ne!(code, compile(level, false, None, &[0, 1]));
    }
}
