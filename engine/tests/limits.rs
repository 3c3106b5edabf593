//! What a store may use: memories, tables, instances, and what a limiter can say.

use bimetal::{
    Engine, Error, ErrorKind, Instance, Memory, MemoryType, Module, Ref, RefType, ResourceLimiter,
    Result, Store, StoreLimits, StoreLimitsBuilder, Table, TableType, Trap,
};

const GROW: &str = r#"(module
    (memory (export "m") 1 20) (table (export "t") 1 100 funcref)
    (func (export "memory") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "table") (param i32) (result i32)
        (table.grow (ref.null func) (local.get 0)))
    (func (export "unreachable") unreachable))"#;

fn limited(limits: StoreLimits) -> Store<StoreLimits> {
    let mut store = Store::new(&Engine::default(), limits);
    store.limiter(|limits| limits);
    store
}

#[test]
fn growth_past_a_bound_gives_minus_one() -> Result<()> {
    let limits = StoreLimitsBuilder::new()
        .memory_size(3 << 16)
        .table_elements(5);
    let mut store = limited(limits.build());
    let module = Module::new(store.engine(), GROW)?;
    let instance = Instance::new(&mut store, &module, &[])?;
    let memory = instance.get_typed_func::<i32, i32>(&mut store, "memory")?;
    let table = instance.get_typed_func::<i32, i32>(&mut store, "table")?;
    assert_eq!(memory.call(&mut store, 3)?, -1);
    assert_eq!(memory.call(&mut store, 2)?, 1);
    assert_eq!(memory.call(&mut store, 0)?, 3);
    assert_eq!(memory.call(&mut store, 1)?, -1);
    assert_eq!(memory.call(&mut store, -1)?, -1);
    assert_eq!(table.call(&mut store, 5)?, -1);
    assert_eq!(table.call(&mut store, 4)?, 1);
    assert_eq!(table.call(&mut store, 1)?, -1);

    let memory = instance.get_memory(&mut store, "m").unwrap();
    let error = memory.grow(&mut store, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    let table = instance.get_table(&mut store, "t").unwrap();
    assert!(table.grow(&mut store, 1, Ref::Func(None)).is_err());
    assert_eq!(table.size(&store), 5);
    Ok(())
}

#[test]
fn a_limit_that_comes_later_forbids_no_growth_by_nothing() -> Result<()> {
    let mut store = limited(StoreLimits::default());
    let module = Module::new(store.engine(), GROW)?;
    let instance = Instance::new(&mut store, &module, &[])?;
    *store.data_mut() = StoreLimitsBuilder::new()
        .memory_size(0)
        .table_elements(0)
        .build();
    let memory = instance.get_memory(&mut store, "m").unwrap();
    assert_eq!(memory.grow(&mut store, 0)?, 1);
    let table = instance.get_table(&mut store, "t").unwrap();
    assert_eq!(table.grow(&mut store, 0, Ref::Func(None))?, 1);
    let size = instance.get_typed_func::<i32, i32>(&mut store, "memory")?;
    assert_eq!(size.call(&mut store, 0)?, 1);
    assert_eq!(size.call(&mut store, 1)?, -1);
    Ok(())
}

#[test]
fn creation_past_a_bound_is_an_error_and_creates_nothing() -> Result<()> {
    let mut store = limited(StoreLimitsBuilder::new().memory_size(1 << 16).build());
    let module = Module::new(store.engine(), "(module (memory 2))")?;
    let error = Instance::new(&mut store, &module, &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(Memory::new(&mut store, MemoryType::new(2, None)).is_err());
    Memory::new(&mut store, MemoryType::new(1, None))?;

    let mut store = limited(StoreLimitsBuilder::new().instances(2).tables(1).build());
    let module = Module::new(store.engine(), "(module)")?;
    Instance::new(&mut store, &module, &[])?;
    Instance::new(&mut store, &module, &[])?;
    let error = Instance::new(&mut store, &module, &[]).unwrap_err();
    assert!(error.to_string().contains("2 instances"), "{error}");
    let ty = TableType::new(RefType::FUNCREF, 1, None);
    Table::new(&mut store, ty.clone(), Ref::Func(None))?;
    assert!(Table::new(&mut store, ty, Ref::Func(None)).is_err());
    Ok(())
}

/// Counts what it is asked and does as its fields say.
#[derive(Default)]
struct Counting {
    asked: usize,
    failed: usize,
    stop: bool,
    panic: bool,
}

impl ResourceLimiter for Counting {
    fn memory_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> Result<bool> {
        self.asked += 1;
        assert!(!self.panic, "the limiter panics");
        match self.stop {
            true => Err(Error::msg("no more")),
            false => Ok(true),
        }
    }

    fn table_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> Result<bool> {
        self.asked += 1;
        Ok(true)
    }

    fn memory_grow_failed(&mut self) -> Result<()> {
        self.failed += 1;
        Ok(())
    }
}

#[test]
fn a_limiter_is_told_all_and_can_stop_the_program() -> Result<()> {
    let mut store = Store::new(&Engine::default(), Counting::default());
    store.limiter(|counting| counting);
    let module = Module::new(store.engine(), GROW)?;
    let instance = Instance::new(&mut store, &module, &[])?;
    assert_eq!(store.data().asked, 2);
    let grow = instance.get_typed_func::<i32, i32>(&mut store, "memory")?;
    assert_eq!(grow.call(&mut store, 1)?, 1);
    assert_eq!(store.data().asked, 3);
    // Allowed, but past the maximum of the type.
    assert_eq!(grow.call(&mut store, 1000)?, -1);
    assert_eq!(store.data().failed, 1);

    store.data_mut().stop = true;
    let error = grow.call(&mut store, 1).unwrap_err();
    assert_eq!(error.to_string(), "no more");
    assert!(!error.backtrace().unwrap().frames().is_empty());

    store.data_mut().panic = true;
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| grow.call(&mut store, 1)));
    assert!(panic.is_err());

    // After a panic the store is as usable as before, its stack limit included.
    let trap = instance.get_typed_func::<(), ()>(&mut store, "unreachable")?;
    let error = trap.call(&mut store, ()).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Trap::Unreachable));
    Ok(())
}

#[test]
fn a_refused_growth_can_be_a_trap() -> Result<()> {
    let limits = StoreLimitsBuilder::new()
        .memory_size(1 << 16)
        .trap_on_grow_failure(true);
    let mut store = limited(limits.build());
    let module = Module::new(store.engine(), GROW)?;
    let instance = Instance::new(&mut store, &module, &[])?;
    let grow = instance.get_typed_func::<i32, i32>(&mut store, "memory")?;
    let error = grow.call(&mut store, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    Ok(())
}
