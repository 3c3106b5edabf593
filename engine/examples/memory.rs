//! Passing strings through linear memory: the guest says where, the host reads and writes there.

use bimetal::{Caller, Engine, Error, Extern, Linker, Memory, Module, Result, Store};

/// The memory of the calling instance.
fn memory_of(caller: &mut Caller<'_, ()>) -> Result<Memory> {
    caller
        .get_export("memory")
        .and_then(Extern::into_memory)
        .ok_or_else(|| Error::msg("the guest exports no memory"))
}

fn main() -> Result<()> {
    let engine = Engine::default();
    let mut linker = Linker::new(&engine);
    linker.func_wrap(
        "host",
        "upper",
        |mut caller: Caller<'_, ()>, at: u32, len: u32| -> Result<()> {
            let memory = memory_of(&mut caller)?;
            // Whatever a guest passes is untrusted: `get_mut` checks it.
            let bytes = memory
                .data_mut(&mut caller)
                .get_mut(at as usize..)
                .and_then(|bytes| bytes.get_mut(..len as usize))
                .ok_or_else(|| Error::msg("the string is not inside the memory"))?;
            bytes.make_ascii_uppercase();
            Ok(())
        },
    )?;
    let module = Module::new(
        &engine,
        r#"(module
            (import "host" "upper" (func $upper (param i32 i32)))
            (memory (export "memory") 1)
            (data (i32.const 16) "hello, memory")
            (func (export "run") (param i32 i32) (call $upper (local.get 0) (local.get 1))))"#,
    )?;
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module)?;
    let run = instance.get_typed_func::<(u32, u32), ()>(&mut store, "run")?;
    run.call(&mut store, (16, 5))?;

    let memory = instance
        .get_memory(&mut store, "memory")
        .ok_or_else(|| Error::msg("the module exports a memory"))?;
    let mut text = [0; 13];
    memory.read(&store, 16, &mut text)?;
    assert_eq!(&text, b"HELLO, memory");
    println!("{}", String::from_utf8_lossy(&text));

    // Nothing outside of the memory can be reached.
    assert!(run.call(&mut store, (65_530, 100)).is_err());
    Ok(())
}
