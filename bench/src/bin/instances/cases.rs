// Included once for each runtime, which is `runtime` here. Both get the same modules as binaries, and
// their defaults, but for the cases that say otherwise.

use std::fmt::Write;

use runtime::{
    Config, Engine, InstancePre, Linker, Module, PoolingAllocationConfig, Result, Store,
};

use bimetal_bench::bursts::Case;

/// Instances in a burst.
const MANY: u32 = 100;

/// What a module has.
#[derive(Clone, Copy)]
struct Size {
    /// Bytes of data, all of them different from zero.
    data: usize,
    /// Elements of its table.
    elements: usize,
    /// How many different functions these are.
    functions: usize,
}

const SMALL: Size = Size { data: 64 << 10, elements: 100, functions: 1 };
const MIDDLE: Size = Size { data: 1 << 20, elements: 10_000, functions: 1 };
const MUCH_DATA: Size = Size { data: 16 << 20, ..MIDDLE };
const LONG_TABLE: Size = Size { elements: 100_000, ..MIDDLE };
const MANY_FUNCTIONS: Size = Size { functions: 10_000, ..MIDDLE };

/// A module that can write to the first of so many pages, call through its table, and grow.
fn module(engine: &Engine, size: Size) -> Result<Module> {
    let mut text = String::new();
    let pages = (size.data >> 16) + 1;
    let _ = write!(
        text,
        r#"(module (type $f (func (result i32)))
            (memory (export "memory") {pages}) (table {} funcref)
            (func (export "nothing"))
            (func (export "touch") (param $pages i32) (result i32)
                (loop
                    (local.set $pages (i32.sub (local.get $pages) (i32.const 1)))
                    (i32.store (i32.shl (local.get $pages) (i32.const 12)) (i32.const 1))
                    (br_if 0 (local.get $pages)))
                (call_indirect (type $f) (i32.const 7)))
            (func (export "grow") (result i32) (memory.grow (i32.const 4)))"#,
        size.elements
    );
    for i in 0..size.functions {
        let _ = write!(text, "(func $f{i} (type $f) (i32.const {i}))");
    }
    text.push_str("(elem (i32.const 0)");
    for i in 0..size.elements {
        let _ = write!(text, " $f{}", i % size.functions);
    }
    text.push_str(r#") (data (i32.const 0) ""#);
    text.extend(std::iter::repeat_n('x', size.data));
    text.push_str(r#""))"#);
    Module::new(engine, wat::parse_str(&text).expect("the text is right"))
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.table_elements(100_000);
    pool
}

fn engine(pool: Option<PoolingAllocationConfig>) -> Result<Engine> {
    let mut config = Config::new();
    if let Some(pool) = pool {
        config.allocation_strategy(pool);
    }
    Engine::new(&config)
}

/// What is done with an instance.
#[derive(Clone, Copy)]
enum Use {
    Nothing,
    /// Calls a function that does nothing.
    Call,
    /// Writes to so many pages and calls through the table.
    Touch(i32),
    Grow,
}

fn case(name: &'static str, guest: InstancePre<()>, what: Use) -> Case {
    let engine = guest.module().engine().clone();
    Case::new(name, MANY, move |n| {
        for _ in 0..n {
            let mut store = Store::new(&engine, ());
            let instance = guest.instantiate(&mut store).expect("it can be instantiated");
            let (name, pages) = match what {
                Use::Nothing => continue,
                Use::Call => {
                    let f = instance.get_typed_func::<(), ()>(&mut store, "nothing");
                    f.and_then(|f| f.call(&mut store, ())).expect("it does not trap");
                    continue;
                }
                Use::Grow => {
                    let f = instance.get_typed_func::<(), i32>(&mut store, "grow");
                    f.and_then(|f| f.call(&mut store, ())).expect("it does not trap");
                    continue;
                }
                Use::Touch(pages) => ("touch", pages),
            };
            let f = instance.get_typed_func::<i32, i32>(&mut store, name);
            f.and_then(|f| f.call(&mut store, pages)).expect("it does not trap");
        }
    })
}

/// All cases.
pub(crate) fn cases() -> Result<Vec<Case>> {
    let pooled = engine(Some(pool()))?;
    let mut keeping = pool();
    keeping.linear_memory_keep_resident(64 << 10).table_keep_resident(800_000);
    let keeping = engine(Some(keeping))?;
    let on_demand = engine(None)?;
    let empty = |engine: &Engine, name| {
        let binary = wat::parse_str("(module)").expect("the text is right");
        let guest = Linker::new(engine).instantiate_pre(&Module::new(engine, binary)?)?;
        Ok::<_, runtime::Error>(case(name, guest, Use::Nothing))
    };
    // Each has a module of its own, and so slots that no other case has used.
    let new = |engine: &Engine, name, size, what| {
        let guest = Linker::new(engine).instantiate_pre(&module(engine, size)?)?;
        Ok::<_, runtime::Error>(case(name, guest, what))
    };
    Ok(vec![
        empty(&pooled, "pool: empty")?,
        new(&pooled, "pool: 64 KiB, 100 elements", SMALL, Use::Nothing)?,
        new(&pooled, "pool: 1 MiB, 10,000 elements", MIDDLE, Use::Nothing)?,
        new(&pooled, "pool: 16 MiB, 10,000 elements", MUCH_DATA, Use::Nothing)?,
        new(&pooled, "pool: 1 MiB, 100,000 elements", LONG_TABLE, Use::Nothing)?,
        new(&pooled, "pool: 1 MiB, 10,000 functions", MANY_FUNCTIONS, Use::Nothing)?,
        new(&pooled, "pool: 1 MiB, a call", MIDDLE, Use::Call)?,
        new(&pooled, "pool: 16 MiB, a call", MUCH_DATA, Use::Call)?,
        new(&pooled, "pool: 1 MiB, a page written", MIDDLE, Use::Touch(1))?,
        new(&pooled, "pool: 16 MiB, a page written", MUCH_DATA, Use::Touch(1))?,
        new(&pooled, "pool: 1 MiB, 16 pages written", MIDDLE, Use::Touch(16))?,
        new(&pooled, "pool: 1 MiB, 64 pages written", MIDDLE, Use::Touch(64))?,
        new(&pooled, "pool: 1 MiB, memory grown", MIDDLE, Use::Grow)?,
        new(&keeping, "pool, both keep 64 KiB: a call", MIDDLE, Use::Call)?,
        new(&keeping, "pool, both keep 64 KiB: a page written", MIDDLE, Use::Touch(1))?,
        new(&keeping, "pool, both keep 64 KiB: 16 pages written", MIDDLE, Use::Touch(16))?,
        empty(&on_demand, "on demand: empty")?,
        new(&on_demand, "on demand: 64 KiB, 100 elements", SMALL, Use::Nothing)?,
        new(&on_demand, "on demand: 1 MiB, 10,000 elements", MIDDLE, Use::Nothing)?,
        new(&on_demand, "on demand: 16 MiB, 10,000 elements", MUCH_DATA, Use::Nothing)?,
        new(&on_demand, "on demand: 1 MiB, 100,000 elements", LONG_TABLE, Use::Nothing)?,
        new(&on_demand, "on demand: 1 MiB, 10,000 functions", MANY_FUNCTIONS, Use::Nothing)?,
        new(&on_demand, "on demand: 1 MiB, a page written", MIDDLE, Use::Touch(1))?,
    ])
}
