//! What a middleware emits: right code or an error, each seeing what the one before has emitted.

use super::*;

/// Whatever a middleware emits, it is compiled right or it is an error.
#[test]
fn wrong_middleware_is_an_error() {
    let text = r#"(module
        (memory 1) (global $g i32 (i32.const 1))
        (func $undeclared)
        (func (export "f") (param i32) (result i32)
            (if (result i32) (local.get 0)
                (then (i32.load (i32.add (local.get 0) (i32.const 4))))
                (else (i32.const 3)))))"#;
    macro_rules! before {
        ($pattern:pat, $($operator:expr),*) => {
            |_: &[u32], operator, emitter: &mut Emitter<'_>| {
                if matches!(operator, $pattern) {
                    emitter.extend([$($operator),*]);
                }
                emitter.push(operator);
                Ok(())
            }
        };
    }
    macro_rules! instead {
        ($pattern:pat $(, $operator:expr)*) => {
            |_: &[u32], operator, emitter: &mut Emitter<'_>| {
                if matches!(operator, $pattern) {
                    $(emitter.push($operator);)*
                } else {
                    emitter.push(operator);
                }
                Ok(())
            }
        };
    }
    let wrong: &[(&str, Rewrite)] = &[
        (
            "one more value",
            before!(Operator::I32Add, Operator::I32Const { value: 1 }),
        ),
        ("one less", before!(Operator::I32Add, Operator::Drop)),
        (
            "another type",
            before!(Operator::I32Add, Operator::I64ExtendI32U),
        ),
        ("an end more", before!(Operator::End, Operator::End)),
        ("no ends", instead!(Operator::End)),
        ("no else", instead!(Operator::Else)),
        ("nothing", |_, _, _| Ok(())),
        ("two elses", before!(Operator::Else, Operator::Else)),
        ("an else alone", before!(Operator::I32Add, Operator::Else)),
        (
            "an open block",
            before!(
                Operator::I32Add,
                Operator::Block {
                    blockty: BlockType::Empty
                }
            ),
        ),
        (
            "no global",
            before!(
                Operator::I32Add,
                Operator::GlobalGet { global_index: 1 },
                Operator::Drop
            ),
        ),
        (
            "an immutable global",
            before!(
                Operator::I32Add,
                Operator::I32Const { value: 1 },
                Operator::GlobalSet { global_index: 0 }
            ),
        ),
        (
            "no local",
            instead!(Operator::I32Add, Operator::LocalGet { local_index: 1 }),
        ),
        (
            "no function",
            before!(Operator::I32Add, Operator::Call { function_index: 99 }),
        ),
        (
            "no type",
            before!(
                Operator::I32Add,
                Operator::Block {
                    blockty: BlockType::FuncType(99)
                },
                Operator::End
            ),
        ),
        (
            "no reference",
            before!(
                Operator::I32Add,
                Operator::RefFunc { function_index: 0 },
                Operator::Drop
            ),
        ),
        (
            "a far branch",
            before!(Operator::I32Add, Operator::Br { relative_depth: 9 }),
        ),
        (
            "a tail call",
            before!(Operator::I32Add, Operator::ReturnCall { function_index: 0 }),
        ),
        (
            "a lane",
            before!(
                Operator::I32Add,
                Operator::I8x16Splat,
                Operator::I8x16ExtractLaneU { lane: 16 }
            ),
        ),
        ("garbage", before!(Operator::I32Add, Operator::ThrowRef)),
    ];
    for &(what, rewrite) in wrong {
        for lazy in [false, true] {
            let engine = Custom::new("wrong", rewrite).engine(lazy);
            let error = Module::new(&engine, text).expect_err(what);
            assert_eq!(error.kind(), ErrorKind::Compile, "{what}: {error:#}");
            let cause = error.downcast_ref::<MiddlewareError>();
            let cause = cause.unwrap_or_else(|| panic!("{what}: {error:#}"));
            assert!(!cause.is_refusal(), "{what}: {cause}");
            assert!(
                cause.function().is_some() && cause.offset().is_some(),
                "{what}: {cause}"
            );
            assert!(cause.to_string().contains("`wrong`"), "{what}: {cause}");
        }
    }
}

/// A middleware that says that it never refuses and then is wrong fails the call, not the process.
#[test]
fn wrong_code_found_late_is_an_error_of_the_call() -> Result<()> {
    #[derive(Debug)]
    struct Late;
    impl Middleware for Late {
        fn name(&self) -> &str {
            "late"
        }
        fn fingerprint(&self) -> Vec<u8> {
            Vec::new()
        }
        fn module(&self, _: &mut ModuleContext<'_>) -> Result<Arc<dyn ModuleMiddleware>, Refusal> {
            Ok(Arc::new(Late))
        }
    }
    impl ModuleMiddleware for Late {
        fn function(
            &self,
            _: &mut FunctionContext<'_>,
        ) -> Result<Box<dyn FunctionMiddleware>, Refusal> {
            let drops: Rewrite = |_, operator, emitter| {
                emitter.extend([Operator::Drop, operator]);
                Ok(())
            };
            Ok(Box::new(Custom::new("late", drops)))
        }
        fn may_refuse(&self) -> bool {
            false
        }
    }
    let mut config = Config::new();
    config.middleware(Arc::new(Late)).lazy(true);
    let mut guest = Guest::new(&Engine::new(&config)?, PROGRAMS)?;
    let f = guest
        .instance
        .get_typed_func::<i32, i32>(&mut guest.store, "add")?;
    for _ in 0..2 {
        let error = f.call(&mut guest.store, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Compile, "{error:#}");
        assert!(error.is::<MiddlewareError>());
    }
    Ok(())
}

/// Makes division by zero give zero, by a local of its own, and counts how often.
#[derive(Debug)]
struct SafeDivision;

struct Divisions {
    global_index: u32,
    divisor: u32,
}

impl Middleware for SafeDivision {
    fn name(&self) -> &str {
        "safe-division"
    }

    fn fingerprint(&self) -> Vec<u8> {
        vec![1]
    }

    fn module(&self, module: &mut ModuleContext<'_>) -> Result<Arc<dyn ModuleMiddleware>, Refusal> {
        #[derive(Debug)]
        struct Module(u32);
        impl ModuleMiddleware for Module {
            fn function(
                &self,
                function: &mut FunctionContext<'_>,
            ) -> Result<Box<dyn FunctionMiddleware>, Refusal> {
                Ok(Box::new(Divisions {
                    global_index: self.0,
                    divisor: function.add_local(bimetal_wasm::ValType::I32),
                }))
            }
        }
        let global = module.add_global("zeros", GlobalInit::I32(100))?;
        Ok(Arc::new(Module(global.as_u32())))
    }
}

impl FunctionMiddleware for Divisions {
    fn operator<'a>(
        &mut self,
        operator: Operator<'a>,
        emitter: &mut Emitter<'a>,
    ) -> Result<(), Refusal> {
        let Operator::I32DivU = operator else {
            emitter.push(operator);
            return Ok(());
        };
        let (global_index, local_index) = (self.global_index, self.divisor);
        emitter.extend([
            Operator::LocalTee { local_index },
            Operator::I32Eqz,
            Operator::If {
                blockty: BlockType::FuncType(0),
            },
            Operator::Drop,
            Operator::GlobalGet { global_index },
            Operator::I32Const { value: 1 },
            Operator::I32Add,
            Operator::GlobalSet { global_index },
            Operator::I32Const { value: 0 },
            Operator::Else,
            Operator::LocalGet { local_index },
            Operator::I32DivU,
            Operator::End,
        ]);
        Ok(())
    }
}

#[test]
fn instructions_can_be_replaced() -> Result<()> {
    let text = r#"(module
        (type (func (param i32) (result i32)))
        (func (export "divide") (param i32) (result i32) (local i64 f32)
            (loop
                (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
                (br_if 0 (i32.gt_s (local.get 0) (i32.const 3))))
            (i32.div_u (i32.const 12) (local.get 0))))"#;
    for (name, engine) in engines(|config| {
        config.middleware(Arc::new(SafeDivision));
    }) {
        let mut guest = Guest::new(&engine, text)?;
        assert_eq!(guest.run("divide", 5)?, Ok(4), "{name}");
        assert_eq!(guest.run("divide", 1)?, Ok(0), "{name}");
        assert_eq!(guest.run("divide", 0)?, Ok(0), "{name}");
        assert_eq!(
            guest.global("safe-division", "zeros").unwrap_i32(),
            101,
            "{name}"
        );
    }
    Ok(())
}

#[test]
fn traps_are_where_the_instruction_stands() -> Result<()> {
    let text = r#"(module
        (func $inner (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3)))
        (func (export "f") (param i32) (result i32) (nop) (call $inner (local.get 0))))"#;
    let traps: Rewrite = |_, operator, emitter| {
        if let Operator::I32Mul = operator {
            emitter.extend([
                Operator::LocalGet { local_index: 0 },
                Operator::If {
                    blockty: BlockType::Empty,
                },
                Operator::Unreachable,
                Operator::End,
            ]);
        }
        emitter.push(operator);
        Ok(())
    };
    for (name, engine) in engines(|config| {
        config.middleware(Arc::new(Custom::new("traps", traps)));
        config.middleware(Arc::new(InstructionCounter::new()));
    }) {
        let mut guest = Guest::new(&engine, text)?;
        assert_eq!(guest.run("f", 0)?, Ok(0), "{name}");
        let f = guest.instance.get_func(&mut guest.store, "f").unwrap();
        let error = f
            .call(&mut guest.store, &[Val::I32(1)], &mut [Val::I32(0)])
            .unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::Unreachable), "{name}");
        let module = guest.instance.module(&guest.store);
        let at: Vec<u8> = error
            .backtrace()
            .unwrap()
            .frames()
            .iter()
            .map(|frame| module.wasm().bytes[frame.module_offset().unwrap()])
            .collect();
        assert_eq!(at, [0x6c, 0x10], "i32.mul and call, {name}");
    }
    Ok(())
}

#[test]
fn each_sees_what_the_one_before_emitted() -> Result<()> {
    let doubles: Rewrite = |_, operator, emitter| {
        if let Operator::I32Const { value } = operator {
            emitter.push(Operator::I32Const { value: value * 2 });
        } else {
            emitter.push(operator);
        }
        Ok(())
    };
    let adds: Rewrite = |_, operator, emitter| {
        let is_constant = matches!(operator, Operator::I32Const { .. });
        emitter.push(operator);
        if is_constant {
            emitter.extend([Operator::I32Const { value: 1 }, Operator::I32Add]);
        }
        Ok(())
    };
    let text = r#"(module (func (export "f") (param i32) (result i32) (i32.const 10)))"#;
    for (first, second, expected) in [
        (
            Custom::new("doubles", doubles),
            Custom::new("adds", adds),
            21,
        ),
        (
            Custom::new("adds", adds),
            Custom::new("doubles", doubles),
            22,
        ),
    ] {
        for lazy in [false, true] {
            let mut config = Config::new();
            config
                .middleware(Arc::new(first.clone()))
                .middleware(Arc::new(second.clone()))
                .lazy(lazy);
            let mut guest = Guest::new(&Engine::new(&config)?, text)?;
            assert_eq!(guest.run("f", 0)?, Ok(expected));
        }
    }
    Ok(())
}

/// An image was made with its middleware, and with no other.
#[test]
fn images_know_their_middleware() -> Result<()> {
    let engine = |exact: Option<bool>, cost: Option<u32>| {
        let mut config = Config::new();
        if let Some(exact) = exact {
            let counter = InstructionCounter::new().exact_at_traps(exact);
            config.middleware(Arc::new(counter));
        }
        config.consume_fuel(true);
        if let Some(cost) = cost {
            config.operator_cost(OperatorCost::uniform(cost));
        }
        Engine::new(&config)
    };
    let made = engine(Some(true), Some(3))?;
    let precompiled = made.precompile_module(PROGRAMS.as_bytes())?;
    let serialized = Module::new(&made, PROGRAMS)?.serialize()?;
    assert!(precompiled == serialized);

    let load = |engine: &Engine| {
        // SAFETY: made above.
        unsafe { Module::deserialize(engine, &serialized) }
    };
    let same = engine(Some(true), Some(3))?;
    let module = load(&same)?;
    let mut linker = Linker::new(&same);
    linker.func_wrap("host", "look", |x: i32| x)?;
    let mut store = Store::new(&same, ());
    store.set_fuel(1_000_000)?;
    let instance = linker.instantiate(&mut store, &module)?;
    let f = instance.get_typed_func::<i32, i32>(&mut store, "fault")?;
    assert!(f.call(&mut store, 0).is_err());
    assert_eq!(
        InstructionCounter::count(&instance, &mut store)?,
        4 * 11 + 3
    );

    for other in [
        engine(Some(false), Some(3))?,
        engine(None, Some(3))?,
        engine(Some(true), None)?,
        engine(Some(true), Some(4))?,
    ] {
        assert_eq!(load(&other).unwrap_err().kind(), ErrorKind::Image);
    }
    let refusing = Custom::new("no-division", refuse_division).engine(false);
    let text = "(module (func (drop (i32.div_u (i32.const 1) (i32.const 1)))))";
    let error = refusing.precompile_module(text.as_bytes()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    Ok(())
}
