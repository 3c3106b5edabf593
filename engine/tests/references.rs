//! External references: what keeps a value of the host's, and that it goes after that.

use std::sync::Arc;

use bimetal::*;

/// How many of the values are left that were made of this.
fn left(value: &Arc<()>) -> usize {
    Arc::strong_count(value) - 1
}

fn make(store: impl AsContextMut, value: &Arc<()>) -> Result<ExternRef> {
    ExternRef::new(store, value.clone())
}

const HOLDER: &str = r#"(module
    (table $t (export "t") 4 externref)
    (global $g (export "g") (mut externref) (ref.null extern))
    (func (export "to_table") (param externref) (table.set $t (i32.const 2) (local.get 0)))
    (func (export "to_global") (param externref) (global.set $g (local.get 0)))
    (func (export "same") (param externref) (result externref) (local.get 0)))"#;

#[test]
fn wasm_keeps_what_it_can_reach() -> Result<()> {
    let engine = Engine::default();
    let module = Module::new(&engine, HOLDER)?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let value = Arc::new(());
    for name in ["to_table", "to_global", "same"] {
        let mut scope = RootScope::new(&mut store);
        let reference = make(&mut scope, &value)?;
        let func = instance.get_func(&mut scope, name).expect("it is exported");
        let mut results = vec![Val::null_extern_ref(); func.ty(&scope).results().len()];
        func.call(&mut scope, &[reference.into()], &mut results)?;
    }
    assert_eq!(left(&value), 3);
    store.gc();
    assert_eq!(left(&value), 2, "what `same` returned nobody holds");
    let table = instance.get_table(&mut store, "t").expect("it is exported");
    table.fill(&mut store, 0, Ref::Extern(None), 4)?;
    store.gc();
    assert_eq!(left(&value), 1);
    let global = instance
        .get_global(&mut store, "g")
        .expect("it is exported");
    global.set(&mut store, Val::null_extern_ref())?;
    store.gc();
    assert_eq!(left(&value), 0);
    Ok(())
}

#[test]
fn the_host_keeps_what_it_holds() -> Result<()> {
    let mut store = Store::new(&Engine::default(), ());
    let value = Arc::new(());
    let forever = make(&mut store, &value)?;
    let (inner, owned) = {
        let mut outer = RootScope::new(&mut store);
        let in_outer = make(&mut outer, &value)?;
        let (inner, owned) = {
            let mut inner = RootScope::new(&mut outer);
            // Obtained again further in, but still held further out.
            make(&mut inner, &value)?.to_owned_rooted(&mut inner)?;
            let kept = make(&mut inner, &value)?;
            (make(&mut inner, &value)?, kept.to_owned_rooted(&mut inner)?)
        };
        outer.as_context_mut().gc();
        assert_eq!(left(&value), 3, "`forever`, `in_outer`, `owned`");
        assert!(in_outer.data(&outer).is_ok());
        (inner, owned)
    };
    store.gc();
    assert_eq!(left(&value), 2);
    assert!(forever.data(&store).is_ok());
    assert!(inner.data(&store).is_err());
    // What is gone is not found again in its place.
    let next = make(&mut store, &value)?;
    assert!(inner.data(&store).is_err());
    assert_ne!(inner, next);
    let twin = owned.clone();
    drop(owned);
    store.gc();
    assert!(twin.to_rooted(&mut store)?.data(&store).is_ok());
    drop(twin);
    store.gc();
    assert_eq!(left(&value), 3, "`to_rooted` was outside of all scopes");
    Ok(())
}

#[test]
fn loops_of_calls_do_not_pile_up() -> Result<()> {
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module
            (import "host" "make" (func $make (result externref)))
            (import "host" "gc" (func $gc))
            (import "host" "check" (func $check (param externref)))
            (func (export "run") (local $a externref)
                (local.set $a (call $make))
                (call $gc)
                (call $check (local.get $a))))"#,
    )?;
    let value = Arc::new(());
    let mut linker = Linker::new(&engine);
    let cloned = value.clone();
    linker.func_wrap("host", "make", move |caller: Caller<'_, ()>| {
        make(caller, &cloned).map(Some)
    })?;
    // What a frame holds is kept.
    linker.func_wrap("host", "gc", |mut caller: Caller<'_, ()>| caller.gc())?;
    linker.func_wrap(
        "host",
        "check",
        |caller: Caller<'_, ()>, value: Option<ExternRef>| -> Result<()> {
            value.ok_or_else(|| format_err!("null"))?.data(&caller)?;
            Ok(())
        },
    )?;
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module)?;
    let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
    let mut most = 0;
    for _ in 0..20_000 {
        run.call(&mut store, ())?;
        most = most.max(left(&value));
    }
    assert!(most < 5_000, "{most} at once");
    store.gc();
    // The host function has one.
    assert_eq!(left(&value), 1);
    Ok(())
}

#[test]
fn hooks_do_not_collect_what_is_on_its_way() -> Result<()> {
    let engine = Engine::default();
    let module = Module::new(&engine, HOLDER)?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let same =
        instance.get_typed_func::<Option<ExternRef>, Option<ExternRef>>(&mut store, "same")?;
    store.call_hook(|mut store, _| {
        store.gc();
        Ok(())
    });
    let value = Arc::new(());
    let mut scope = RootScope::new(&mut store);
    let reference = make(&mut scope, &value)?;
    let back = same.call(&mut scope, Some(reference))?.expect("not null");
    assert!(ExternRef::ref_eq(&scope, &back, &reference)?);
    assert!(back.data(&scope).is_ok());
    Ok(())
}
