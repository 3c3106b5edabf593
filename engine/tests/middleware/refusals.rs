//! Modules and functions that a middleware refuses, and what it adds to those that it takes.

use super::*;

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
