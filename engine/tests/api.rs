//! The API's edges: what may cross threads, what a linker does with names, which types match,
//! what is refused by name.

use std::rc::Rc;

use bimetal::*;

fn both<T: Send + Sync>() {}

/// Compiles for types that are not `Send` only: for others both implementations fit.
trait NotSend<Witness> {
    fn holds() {}
}
struct Ambiguous;
impl<T: ?Sized> NotSend<()> for T {}
impl<T: ?Sized + Send> NotSend<Ambiguous> for T {}

#[test]
fn all_crosses_threads_but_stores_of_what_does_not() {
    both::<Engine>();
    both::<EngineWeak>();
    both::<Config>();
    both::<Module>();
    both::<ModuleExport>();
    both::<Store<()>>();
    both::<Linker<Rc<()>>>();
    both::<InstancePre<Rc<()>>>();
    both::<Instance>();
    both::<Extern>();
    both::<ExternType>();
    both::<ExternRef>();
    both::<Func>();
    both::<TypedFunc<(i32, i32), i32>>();
    both::<Memory>();
    both::<SharedMemory>();
    both::<Table>();
    both::<Global>();
    both::<Val>();
    both::<Ref>();
    both::<Error>();
    both::<WasmBacktrace>();
    both::<InterruptHandle>();
    both::<Caller<'static, ()>>();
    both::<StoreContextMut<'static, ()>>();
    <Store<Rc<()>> as NotSend<_>>::holds();
}

#[test]
fn a_store_moves_to_another_thread_with_what_is_in_it() -> Result<()> {
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module (global $n (mut i32) (i32.const 0))
            (func (export "next") (result i32)
                (global.set $n (i32.add (global.get $n) (i32.const 1)))
                (global.get $n)))"#,
    )?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let next = instance.get_typed_func::<(), i32>(&mut store, "next")?;
    assert_eq!(next.call(&mut store, ())?, 1);
    let (mut store, second) = std::thread::spawn(move || {
        let second = next.call(&mut store, ());
        (store, second)
    })
    .join()
    .expect("the thread does not panic");
    assert_eq!(second?, 2);
    assert_eq!(next.call(&mut store, ())?, 3);
    Ok(())
}

#[test]
fn sixteen_parameters_and_sixteen_results() -> Result<()> {
    type Sixteen = (
        i32,
        i64,
        f32,
        f64,
        i32,
        i64,
        f32,
        f64,
        i32,
        i64,
        f32,
        f64,
        i32,
        i64,
        f32,
        f64,
    );
    let engine = Engine::default();
    let mut linker = Linker::<u32>::new(&engine);
    linker.func_wrap(
        "host",
        "turn",
        |mut caller: Caller<'_, u32>,
         a: i32,
         b: i64,
         c: f32,
         d: f64,
         e: i32,
         f: i64,
         g: f32,
         h: f64,
         i: i32,
         j: i64,
         k: f32,
         l: f64,
         m: i32,
         n: i64,
         o: f32,
         p: f64| {
            *caller.data_mut() += 1;
            (m, n, o, p, i, j, k, l, e, f, g, h, a, b, c, d)
        },
    )?;
    let types = "i32 i64 f32 f64 ".repeat(4);
    let gets: String = (0..16).map(|i| format!("(local.get {i}) ")).collect();
    let module = Module::new(
        &engine,
        format!(
            r#"(module
                (import "host" "turn" (func $turn (param {types}) (result {types})))
                (func (export "turn") (param {types}) (result {types})
                    (call $turn (call $turn (call $turn {gets})))))"#
        ),
    )?;
    let mut store = Store::new(&engine, 0);
    let instance = linker.instantiate(&mut store, &module)?;
    let turn = instance.get_typed_func::<Sixteen, Sixteen>(&mut store, "turn")?;
    // Tuples so long cannot be compared.
    let list = |(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p): Sixteen| {
        let (ints, longs) = ([a, e, i, m], [b, f, j, n]);
        (ints, longs, [c, g, k, o], [d, h, l, p])
    };
    let input = (
        1, 2, 3.0, 4.0, 5, 6, 7.0, 8.0, 9, 10, 11.0, 12.0, 13, 14, 15.0, 16.0,
    );
    let turned = (
        [13, 9, 5, 1],
        [14, 10, 6, 2],
        [15.0, 11.0, 7.0, 3.0],
        [16.0, 12.0, 8.0, 4.0],
    );
    assert_eq!(list(turn.call(&mut store, input)?), turned);
    assert_eq!(*store.data(), 3);
    // The host calls itself the same way.
    let host = linker
        .get(&mut store, "host", "turn")?
        .into_func()
        .expect("a function");
    let host = host.typed::<Sixteen, Sixteen>(&store)?;
    assert_eq!(list(host.call(&mut store, input)?), turned);
    Ok(())
}

#[test]
fn commands_offer_functions_only() -> Result<()> {
    let engine = Engine::default();
    let command = Module::new(
        &engine,
        r#"(module (memory (export "memory") 1) (global (export "g") i32 (i32.const 1))
            (func (export "_start")))"#,
    )?;
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    let Err(error) = linker.module(&mut store, "command", &command) else {
        panic!("a global of which instance?");
    };
    assert_eq!(error.kind(), ErrorKind::Link);
    assert!(error.to_string().contains("`g`"), "{error}");
    let mut linker = Linker::new(&engine);
    linker.allow_unknown_exports(true);
    linker.module(&mut store, "command", &command)?;
    let names: Vec<&str> = linker.iter(&mut store).map(|(_, name, _)| name).collect();
    assert_eq!(names, ["_start"]);
    Ok(())
}

#[test]
fn reactors_are_initialized_once_and_shared() -> Result<()> {
    let engine = Engine::default();
    let reactor = Module::new(
        &engine,
        r#"(module (global $n (export "n") (mut i32) (i32.const 0))
            (func (export "_initialize")
                (global.set $n (i32.add (global.get $n) (i32.const 1)))))"#,
    )?;
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    linker.module(&mut store, "reactor", &reactor)?;
    for _ in 0..2 {
        let n = linker.get(&mut store, "reactor", "n")?.into_global();
        let n = n.expect("a global").get(&mut store);
        assert_eq!(n.i32(), Some(1));
    }
    Ok(())
}

#[test]
fn what_a_module_is_run_by() -> Result<()> {
    let engine = Engine::default();
    let mut store = Store::new(&engine, Vec::new());
    let mut linker = Linker::<Vec<&str>>::new(&engine);
    linker.allow_shadowing(true);
    let said = |name: &'static str| {
        move |mut caller: Caller<'_, Vec<&'static str>>| caller.data_mut().push(name)
    };
    let mut run = |linker: &Linker<Vec<&'static str>>| -> Result<usize> {
        let default = linker.get_default(&mut store, "m")?;
        default.call(&mut store, &[], &mut [])?;
        Ok(store.data().len())
    };
    assert_eq!(run(&linker)?, 0);
    linker.func_wrap("m", "_start", said("_start"))?;
    assert_eq!(run(&linker)?, 1);
    linker.func_wrap("m", "", said(""))?;
    assert_eq!(run(&linker)?, 2);
    assert_eq!(*store.data(), ["_start", ""]);

    let global = Global::new(
        &mut store,
        GlobalType::new(ValType::I32, Mutability::Const),
        1.into(),
    )?;
    linker.define(&store, "m", "", global)?;
    assert!(linker.get_default(&mut store, "m").is_err());
    Ok(())
}

#[test]
fn aliases_and_shadows() -> Result<()> {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::<()>::new(&engine);
    linker.func_wrap("a", "f", || 1)?;
    linker.alias("a", "f", "b", "g")?;
    linker.alias_module("a", "c")?;
    // An alias is what the name stood for then.
    linker.allow_shadowing(true).func_wrap("a", "f", || 2)?;
    for (module, name, value) in [("a", "f", 2), ("b", "g", 1), ("c", "f", 1)] {
        let func = linker.get(&mut store, module, name)?.into_func();
        let func = func.expect("a function").typed::<(), i32>(&store)?;
        assert_eq!(func.call(&mut store, ())?, value, "{module}.{name}");
    }
    linker.allow_shadowing(false);
    assert!(linker.alias("a", "f", "b", "g").is_err());
    assert!(linker.alias("a", "none", "b", "h").is_err());
    assert!(linker.alias_module("a", "c").is_err());
    // The clone has a life of its own.
    let mut other = linker.clone();
    other.func_wrap("d", "f", || ())?;
    assert!(linker.get(&mut store, "d", "f").is_err());
    Ok(())
}

#[test]
fn export_indices_are_of_their_module() -> Result<()> {
    let engine = Engine::default();
    let text = r#"(module (memory (export "m") 1) (func (export "f")))"#;
    let (one, two) = (Module::new(&engine, text)?, Module::new(&engine, text)?);
    let export = one.get_export_index("m").expect("it is exported");
    assert!(one.get_export_index("n").is_none());
    let mut store = Store::new(&engine, ());
    let mine = Instance::new(&mut store, &one, &[])?;
    let other = Instance::new(&mut store, &two, &[])?;
    assert!(mine.get_module_export(&mut store, &export).is_some());
    assert!(other.get_module_export(&mut store, &export).is_none());
    Ok(())
}

#[test]
fn what_cannot_be_made_says_why() -> Result<()> {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let error = Memory::new(&mut store, MemoryType::shared(1, 2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("SharedMemory"), "{error}");
    let not_shared = SharedMemory::new(&engine, MemoryType::new(1, Some(2))).unwrap_err();
    assert_eq!(not_shared.kind(), ErrorKind::Usage);

    let tag = TagType::new(FuncType::new(&engine, [], []));
    assert!(ExternType::from(tag).default_value(&mut store).is_ok());
    // Modules that use what is not there are of the same kind.
    let off = Engine::new(Config::new().wasm_threads(false))?;
    let error = Module::new(&off, "(module (memory 1 2 shared))").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(Module::from_binary(&engine, b"(module)").is_err());
    Ok(())
}

#[test]
fn no_such_memory() {
    let invalid = |ty: &mut MemoryTypeBuilder| assert!(ty.build().is_err(), "{ty:?}");
    invalid(MemoryType::builder().min(2).max(Some(1)));
    invalid(MemoryType::builder().min(65_537));
    invalid(MemoryType::builder().max(Some(65_537)));
    invalid(MemoryType::builder().shared(true));
    invalid(MemoryType::builder().page_size_log2(12));
    let whole = MemoryType::builder().min(65_536).build();
    assert!(whole.is_ok_and(|ty| !ty.is_64() && !ty.is_shared()));
}

#[test]
fn values_match_types() -> Result<()> {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let func = Func::wrap(&mut store, |x: i32| x);
    let (null, some) = (Val::null_func_ref(), Val::from(func));
    let not_null = ValType::Ref(RefType::new(false, HeapType::Func));
    assert!(Val::I32(1).matches_ty(&store, &ValType::I32)?);
    assert!(!Val::I32(1).matches_ty(&store, &ValType::FUNCREF)?);
    assert!(null.matches_ty(&store, &ValType::FUNCREF)?);
    assert!(!null.matches_ty(&store, &not_null)?);
    assert!(some.matches_ty(&store, &not_null)?);
    assert!(!some.matches_ty(&store, &ValType::EXTERNREF)?);
    assert!(some.matches_ty(Store::new(&engine, ()), &not_null).is_err());
    assert!(Val::default_for_ty(&not_null).is_none());
    let ty = FuncType::new(&engine, [ValType::I32], [ValType::I32]);
    assert!(func.matches_ty(&store, &ty));
    Ok(())
}

#[test]
fn elements_are_of_their_table() -> Result<()> {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let ty = TableType::new(RefType::EXTERNREF, 4, Some(5));
    let value = ExternRef::new(&mut store, 7_u32)?;
    let table = Table::new(&mut store, ty, value.into())?;
    assert!(table.set(&mut store, 0, Ref::Func(None)).is_err());
    assert!(table.fill(&mut store, 3, Ref::Extern(None), 2).is_err());
    assert!(table.get(&mut store, 3).is_some_and(|v| v.is_non_null()));
    table.fill(&mut store, 2, Ref::Extern(None), 2)?;
    assert!(table.get(&mut store, 3).is_some_and(|v| v.is_null()));
    assert!(table.grow(&mut store, 2, Ref::Extern(None)).is_err());
    assert_eq!(table.grow(&mut store, 1, value.into())?, 4);
    Ok(())
}

#[test]
fn unknown_imports_can_be_made_up() -> Result<()> {
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module
            (import "a" "f" (func $f (param i32) (result i64 funcref)))
            (import "a" "g" (global $g (mut f64)))
            (import "a" "t" (table 3 externref))
            (import "a" "m" (memory 2))
            (func (export "run") (result f64 i64 funcref)
                (global.get $g) (call $f (i32.const 1))))"#,
    )?;
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    linker.define_unknown_imports_as_default_values(&mut store, &module)?;
    let instance = linker.instantiate(&mut store, &module)?;
    let run = instance.get_typed_func::<(), (f64, i64, Option<Func>)>(&mut store, "run")?;
    let (float, int, func) = run.call(&mut store, ())?;
    assert_eq!((float, int, func.is_none()), (0.0, 0, true));

    // Only functions can be made up without a store.
    let mut linker = Linker::<()>::new(&engine);
    linker.define_unknown_imports_as_traps(&module)?;
    let error = linker.instantiate_pre(&module).unwrap_err();
    let unknown = error.downcast_ref::<UnknownImportError>();
    let unknown = unknown.expect("it says which import");
    assert_eq!((unknown.module(), unknown.name()), ("a", "g"));
    assert_eq!(unknown.ty().to_string(), "global (mut f64)");
    assert_eq!(error.kind(), ErrorKind::Link);
    Ok(())
}

#[test]
fn an_engine_goes_when_the_last_user_does() -> Result<()> {
    let engine = Engine::default();
    let weak = engine.weak();
    let module = Module::new(&engine, "(module)")?;
    drop(engine);
    let again = weak.upgrade();
    assert!(again.is_some_and(|engine| Engine::same(&engine, module.engine())));
    drop(module);
    assert!(weak.upgrade().is_none());
    Ok(())
}

#[test]
fn errors_convert_and_keep_their_cause() {
    let error = Error::new(Trap::Unreachable).context("one").context("two");
    let boxed: Box<dyn std::error::Error + Send + Sync> = error.into();
    assert_eq!(boxed.to_string(), "two: one");
    let cause = boxed.source().and_then(|cause| cause.downcast_ref());
    assert_eq!(cause, Some(&Trap::Unreachable));
    let mut error = Error::new(std::io::Error::other("x"));
    assert!(error.downcast_mut::<std::io::Error>().is_some());
    assert!(error.downcast_mut::<Trap>().is_none());
}

#[test]
fn names_cannot_move_the_cursor() {
    let engine = Engine::default();
    let module = Module::new(&engine, r#"(module (import "x\1b[31m" "\0dy" (func)))"#);
    let module = module.expect("any name is valid");
    let error = Linker::<()>::new(&engine).instantiate_pre(&module);
    let text = format!("{:?}", error.unwrap_err());
    assert!(text.contains("[31m"), "{text}");
    assert!(!text.contains(['\x1b', '\r']), "{text:?}");
    let wrong = Module::new(
        &engine,
        r#"(module (import "" "" (func)) (func (@name "f\1b[2Jf") (result i32)) )"#,
    );
    let text = format!("{:?}", wrong.unwrap_err());
    assert!(text.contains("[2J"), "{text}");
    assert!(!text.contains('\x1b'), "{text:?}");
}

#[test]
fn the_surest_environment_has_a_module() -> Result<()> {
    use bimetal::environment::{Confidence, Environment, Environments, Outcome};

    struct Kind(&'static str, Confidence);

    impl Environment<()> for Kind {
        fn name(&self) -> &str {
            self.0
        }

        fn recognises(&self, _: &Module) -> Confidence {
            self.1
        }

        fn link(&self, _: &mut Linker<()>) -> Result<()> {
            Ok(())
        }

        fn start(&self, _: StoreContextMut<'_, ()>, _: Instance) -> Result<Outcome> {
            Ok(Outcome::Finished(self.1 as u32))
        }
    }

    let engine = Engine::default();
    let module = Module::new(&engine, "(module)")?;
    let mut environments = Environments::new();
    let mut store = Store::new(&engine, ());
    assert_eq!(environments.recognise(&module).name(), "bare module");
    assert_eq!(environments.run(&mut store, &module)?, Outcome::Waiting);
    environments.add(Kind("not at all", Confidence::No));
    assert_eq!(environments.recognise(&module).name(), "bare module");
    environments.add(Kind("as possible", Confidence::Possible));
    assert_eq!(environments.recognise(&module).name(), "as possible");
    environments.add(Kind("sure", Confidence::Certain));
    environments.add(Kind("less sure", Confidence::Likely));
    assert_eq!(environments.recognise(&module).name(), "sure");
    assert_eq!(environments.run(&mut store, &module)?, Outcome::Finished(3));
    environments.add(Kind("as sure, and later", Confidence::Certain));
    assert_eq!(environments.recognise(&module).name(), "as sure, and later");
    assert_eq!(environments.iter().count(), 6);
    Ok(())
}

#[test]
fn memories_and_tables_may_have_wide_indices_and_small_pages() -> Result<()> {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let memory = Memory::new(&mut store, MemoryType::new64(1, Some(1 << 40)))?;
    assert_eq!(memory.grow(&mut store, 2)?, 1);
    assert!(memory.grow(&mut store, 1 << 39).is_err());
    memory.write(&mut store, (3 << 16) - 2, b"ab")?;
    assert!(memory.write(&mut store, (3 << 16) - 1, b"ab").is_err());

    let ty = MemoryType::builder().page_size_log2(0).min(10).build()?;
    let small = Memory::new(&mut store, ty)?;
    assert_eq!((small.data_size(&store), small.page_size(&store)), (10, 1));
    assert_eq!(small.grow(&mut store, 5)?, 10);
    assert_eq!(small.data(&store).len(), 15);

    let ty = TableType::new64(RefType::FUNCREF, 1, None);
    let table = Table::new(&mut store, ty, Ref::Func(None))?;
    assert_eq!(table.grow(&mut store, 9, Ref::Func(None))?, 1);
    assert!(
        table
            .get(&mut store, 9)
            .is_some_and(|found| found.is_null())
    );
    assert!(table.get(&mut store, 10).is_none());
    assert!(table.get(&mut store, u64::MAX).is_none());

    // A module gets them only as its own type says.
    let text = r#"(module (import "" "m" (memory i64 1)) (import "" "t" (table i64 1 funcref))
        (func (export "load") (param i64) (result i32) (i32.load8_u (local.get 0))))"#;
    let module = Module::new(&engine, text)?;
    let instance = Instance::new(&mut store, &module, &[memory.into(), table.into()])?;
    let load = instance.get_typed_func::<i64, i32>(&mut store, "load")?;
    assert_eq!(load.call(&mut store, (3 << 16) - 1)?, i32::from(b'b'));
    for outside in [3 << 16, 1 << 32, 1 << 63, -1] {
        let error = load.call(&mut store, outside).unwrap_err();
        assert_eq!(
            error.downcast_ref(),
            Some(&Trap::MemoryOutOfBounds),
            "{outside}"
        );
    }
    let narrow = Memory::new(&mut store, MemoryType::new(1, None))?;
    let error = Instance::new(&mut store, &module, &[narrow.into(), table.into()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Link, "{error}");
    Ok(())
}
