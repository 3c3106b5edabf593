//! A middleware of one's own: a contract for plug-ins that run on many machines.
//!
//! It refuses modules that compute with floats, ends plug-ins that call too deep at the same depth
//! everywhere, and counts how often each function is called.

use std::collections::BTreeMap;
use std::sync::Arc;

use bimetal::middleware::{
    BlockType, Emitter, FunctionContext, FunctionMiddleware, GlobalIndex, GlobalInit, Middleware,
    ModuleContext, ModuleMiddleware, Operator, Refusal, ValType,
};
use bimetal::{AsContextMut, Config, Engine, Instance, Linker, Module, Result, Store, Val};

/// What an engine's modules have to keep to.
#[derive(Debug)]
struct Contract {
    max_depth: i32,
}

/// The contract in one module: the globals that it added.
#[derive(Debug)]
struct InModule {
    max_depth: i32,
    depth: GlobalIndex,
    /// How often each defined function was called.
    calls: Vec<GlobalIndex>,
}

/// The contract in one function.
struct InFunction {
    max_depth: i32,
    depth: u32,
    calls: u32,
}

impl Middleware for Contract {
    fn name(&self) -> &str {
        "contract"
    }

    fn fingerprint(&self) -> Vec<u8> {
        const VERSION: u8 = 1;
        let mut bytes = vec![VERSION];
        bytes.extend(self.max_depth.to_le_bytes());
        bytes
    }

    fn module(&self, module: &mut ModuleContext<'_>) -> Result<Arc<dyn ModuleMiddleware>, Refusal> {
        let floats = [ValType::F32, ValType::F64, ValType::V128];
        for &ty in module.module().functions.values() {
            let ty = module.module().func_type_at(ty);
            if ty
                .params()
                .iter()
                .chain(ty.results())
                .any(|ty| floats.contains(ty))
            {
                return Err(Refusal::new("a function takes or gives floats"));
            }
        }
        let depth = module.add_global("depth", GlobalInit::I32(0))?;
        let mut calls = Vec::new();
        for function in module.functions() {
            calls.push(module.add_global(format!("calls {function}"), GlobalInit::I64(0))?);
        }
        Ok(Arc::new(InModule {
            max_depth: self.max_depth,
            depth,
            calls,
        }))
    }
}

impl ModuleMiddleware for InModule {
    fn function(
        &self,
        function: &mut FunctionContext<'_>,
    ) -> Result<Box<dyn FunctionMiddleware>, Refusal> {
        let imported = function.module().num_imported_funcs;
        let index = function.index().as_u32() as usize - imported;
        Ok(Box::new(InFunction {
            max_depth: self.max_depth,
            depth: self.depth.as_u32(),
            calls: self.calls[index].as_u32(),
        }))
    }
}

impl FunctionMiddleware for InFunction {
    fn enter(&mut self, emitter: &mut Emitter<'_>) -> Result<(), Refusal> {
        let global_index = self.calls;
        emitter.extend([
            Operator::GlobalGet { global_index },
            Operator::I64Const { value: 1 },
            Operator::I64Add,
            Operator::GlobalSet { global_index },
        ]);
        Ok(())
    }

    fn operator<'a>(
        &mut self,
        operator: Operator<'a>,
        emitter: &mut Emitter<'a>,
    ) -> Result<(), Refusal> {
        let name = format!("{operator:?}"); // The decoder's names: `F32Add`, `F64x2Splat`.
        if name.starts_with("F32") || name.starts_with("F64") {
            return Err(Refusal::new("floats are not allowed"));
        }
        let is_call = matches!(
            operator,
            Operator::Call { .. } | Operator::CallIndirect { .. }
        );
        if is_call {
            self.go_deeper(emitter);
        }
        emitter.push(operator);
        if is_call {
            self.add_to_depth(-1, emitter);
        }
        Ok(())
    }
}

impl InFunction {
    /// One deeper, if that is not too deep.
    fn go_deeper(&self, emitter: &mut Emitter<'_>) {
        emitter.extend([
            Operator::GlobalGet {
                global_index: self.depth,
            },
            Operator::I32Const {
                value: self.max_depth,
            },
            Operator::I32GeS,
            Operator::If {
                blockty: BlockType::Empty,
            },
            Operator::Unreachable,
            Operator::End,
        ]);
        self.add_to_depth(1, emitter);
    }

    fn add_to_depth(&self, value: i32, emitter: &mut Emitter<'_>) {
        let global_index = self.depth;
        emitter.extend([
            Operator::GlobalGet { global_index },
            Operator::I32Const { value },
            Operator::I32Add,
            Operator::GlobalSet { global_index },
        ]);
    }
}

/// How often each function of an instance was called.
fn calls(instance: &Instance, mut store: impl AsContextMut) -> BTreeMap<String, i64> {
    let mut calls = BTreeMap::new();
    for index in 0.. {
        let name = format!("calls func{index}");
        let global = instance.get_middleware_global(&mut store, "contract", &name);
        let Some(global) = global else { break };
        calls.insert(name, global.get(&mut store).unwrap_i64());
    }
    calls
}

fn main() -> Result<()> {
    let mut config = Config::new();
    config.middleware(Arc::new(Contract { max_depth: 100 }));
    let engine = Engine::new(&config)?;

    let refused = Module::new(
        &engine,
        "(module (func (result f32) (f32.mul (f32.const 2) (f32.const 3))))",
    );
    println!("{:#}", refused.unwrap_err());

    let module = Module::new(
        &engine,
        r#"(module
            (func $next (param i32) (result i32) (i32.sub (local.get 0) (i32.const 1)))
            (func $down (export "down") (param i32)
                (if (local.get 0) (then (call $down (call $next (local.get 0)))))))"#,
    )?;
    let mut store = Store::new(&engine, ());
    let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
    let down = instance.get_typed_func::<i32, ()>(&mut store, "down")?;
    down.call(&mut store, 50)?;
    println!("{:?}", calls(&instance, &mut store));
    assert_eq!(calls(&instance, &mut store)["calls func1"], 51);

    // A trap leaves the depth as it was; so does this.
    let error = down.call(&mut store, 500).unwrap_err();
    println!("{error}");
    let depth = instance.get_middleware_global(&mut store, "contract", "depth");
    if let Some(depth) = depth {
        assert_eq!(depth.get(&mut store).unwrap_i32(), 100);
        depth.set(&mut store, Val::I32(0))?;
    }
    down.call(&mut store, 50)
}
