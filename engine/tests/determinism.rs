//! `Config::deterministic`: what it refuses, and what a program is not told.

use bimetal::{
    Config, Engine, Error, ErrorKind, Linker, Module, Result, Store, StoreLimitsBuilder,
};

#[test]
fn what_is_not_deterministic_is_refused() {
    let mut config = Config::new();
    config.deterministic(true);
    assert!(Engine::new(&config).is_ok());
    for make in [
        |config: &mut Config| {
            config.epoch_interruption(true);
        },
        |config: &mut Config| {
            config.nan_canonicalization(false);
        },
    ] {
        let mut config = config.clone();
        make(&mut config);
        assert_eq!(Engine::new(&config).unwrap_err().kind(), ErrorKind::Usage);
        config.deterministic(false);
        assert!(Engine::new(&config).is_ok());
    }
}

/// A growth that its type or a limit forbids gives -1; one that the machine cannot do ends the
/// program.
#[test]
fn a_program_does_not_notice_the_machine() -> Result<()> {
    let text = r#"(module
        (table $small 1 10 funcref)
        (table $large 1 funcref)
        (memory 1 2)
        (func (export "memory") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "small") (param i32) (result i32)
            (table.grow $small (ref.null func) (local.get 0)))
        (func (export "large") (param i32) (result i32)
            (table.grow $large (ref.null func) (local.get 0))))"#;
    for deterministic in [false, true] {
        let engine = Engine::new(Config::new().deterministic(deterministic))?;
        let module = Module::new(&engine, text)?;
        let mut store = Store::new(&engine, StoreLimitsBuilder::new().build());
        store.limiter(|limits| limits);
        let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
        let mut grow = |name: &str, by: i32| -> Result<i32, Error> {
            let grow = instance.get_typed_func::<i32, i32>(&mut store, name)?;
            grow.call(&mut store, by)
        };
        assert_eq!(grow("memory", 2)?, -1);
        assert_eq!(grow("memory", -1)?, -1);
        assert_eq!(grow("memory", 1)?, 1);
        assert_eq!(grow("small", 10)?, -1);
        assert_eq!(grow("small", -1)?, -1);
        assert_eq!(grow("small", 9)?, 1);
        // More elements than this runtime ever has.
        match (grow("large", i32::MAX), deterministic) {
            (Ok(result), false) => assert_eq!(result, -1),
            (Err(error), true) => assert_eq!(error.kind(), ErrorKind::Limit),
            (other, _) => panic!("{other:?}"),
        }
        // A limit of the embedder's is the same everywhere.
        *store.data_mut() = StoreLimitsBuilder::new().table_elements(100).build();
        let grow = instance.get_typed_func::<i32, i32>(&mut store, "large")?;
        assert_eq!(grow.call(&mut store, i32::MAX)?, -1);
    }
    Ok(())
}
