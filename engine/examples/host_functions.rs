//! Host functions of every kind: typed, of a type known at run time, failing, calling back.

use bimetal::{
    Caller, Engine, Error, ErrorKind, FuncType, Linker, Module, Result, Store, Val, ValType,
};

fn main() -> Result<()> {
    let engine = Engine::default();
    let mut linker = Linker::<Vec<i64>>::new(&engine);

    // The closure's types are the function's type. Arguments come in registers.
    linker.func_wrap("env", "square", |x: i64| x * x)?;

    // A `Caller` reaches the store's data and the calling instance's exports.
    linker.func_wrap(
        "env",
        "record",
        |mut caller: Caller<'_, Vec<i64>>, x: i64| caller.data_mut().push(x),
    )?;

    // An error stops the program and comes out of the call that started it.
    linker.func_wrap("env", "check", |x: i64| -> Result<()> {
        match x < 1000 {
            true => Ok(()),
            false => Err(Error::msg(format!("{x} is too large"))),
        }
    })?;

    // Types that are only known at run time.
    let ty = FuncType::new(&engine, [ValType::I64, ValType::I64], [ValType::I64]);
    linker.func_new("env", "sum", ty, |_, params, results| {
        results[0] = Val::I64(params.iter().map(Val::unwrap_i64).sum());
        Ok(())
    })?;

    let module = Module::new(
        &engine,
        r#"(module
            (import "env" "square" (func $square (param i64) (result i64)))
            (import "env" "record" (func $record (param i64)))
            (import "env" "check" (func $check (param i64)))
            (import "env" "sum" (func $sum (param i64 i64) (result i64)))
            (func (export "run") (param i64) (result i64)
                (local $y i64)
                (local.set $y (call $square (local.get 0)))
                (call $check (local.get $y))
                (call $record (local.get $y))
                (call $sum (local.get 0) (local.get $y))))"#,
    )?;
    let mut store = Store::new(&engine, Vec::new());
    let instance = linker.instantiate(&mut store, &module)?;
    let run = instance.get_typed_func::<i64, i64>(&mut store, "run")?;
    assert_eq!(run.call(&mut store, 5)?, 30);
    assert_eq!(run.call(&mut store, 7)?, 56);
    assert_eq!(*store.data(), [25, 49]);

    let Err(error) = run.call(&mut store, 100) else {
        panic!("100 squared is too large");
    };
    assert_eq!(error.kind(), ErrorKind::Other);
    println!("refused: {error:?}");
    Ok(())
}
