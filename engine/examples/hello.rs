//! The smallest embedding: a module that calls the host, and is called by it.

use bimetal::{Caller, Engine, Linker, Module, Result, Store};

fn main() -> Result<()> {
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module
            (import "host" "hello" (func $hello (param i32)))
            (func (export "run") (call $hello (i32.const 3))))"#,
    )?;

    // The linker gives modules their imports; `String` is what each store carries for us.
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "hello", |caller: Caller<'_, String>, times: i32| {
        for _ in 0..times {
            println!("hello from {}", caller.data());
        }
    })?;

    let mut store = Store::new(&engine, "wasm".to_owned());
    let instance = linker.instantiate(&mut store, &module)?;
    let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
    run.call(&mut store, ())
}
