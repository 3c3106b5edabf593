//! A plug-in interface of one's own: text filters, which read text from the host and write text
//! back. The host recognises such plug-ins by what they import, links them and runs them; whatever
//! else it is given, it says what that is instead.

use bimetal::environment::{Confidence, Environment, Environments, Outcome};
use bimetal::{
    Caller, Context, Engine, Instance, Linker, Memory, Module, Result, Store, StoreContextMut, bail,
};

/// What each store carries: the text that the filter has not read yet, and what it wrote.
#[derive(Default)]
struct Filter {
    input: Vec<u8>,
    output: Vec<u8>,
}

/// Version 1 of the interface. A filter
/// - imports from `text_filter_1`: `read(at, len) -> count`, which gives 0 at the end of the text,
///   and `write(at, len)`;
/// - exports its `memory`, and `filter() -> status`.
struct TextFilter;

const IMPORTS: &str = "text_filter_1";

impl Environment<Filter> for TextFilter {
    fn name(&self) -> &str {
        "text filter"
    }

    fn recognises(&self, module: &Module) -> Confidence {
        let imports = module.imports().any(|import| import.module() == IMPORTS);
        let exports = module.get_export("filter").is_some();
        match (imports, exports) {
            (true, true) => Confidence::Certain,
            // A filter that forgot its export is told so when it is started.
            (true, false) => Confidence::Likely,
            (false, _) => Confidence::No,
        }
    }

    fn link(&self, linker: &mut Linker<Filter>) -> Result<()> {
        linker.func_wrap(IMPORTS, "read", read)?;
        linker.func_wrap(IMPORTS, "write", write)?;
        Ok(())
    }

    fn start(&self, mut store: StoreContextMut<'_, Filter>, instance: Instance) -> Result<Outcome> {
        let filter = instance
            .get_typed_func::<(), u32>(&mut store, "filter")
            .context("this is no whole text filter")?;
        Ok(Outcome::Finished(filter.call(store, ())?))
    }
}

fn read(mut caller: Caller<'_, Filter>, at: u32, len: u32) -> Result<u32> {
    let memory = memory(&mut caller)?;
    // The guest's bytes and the host's data at once.
    let (bytes, filter) = memory.data_and_store_mut(&mut caller);
    let to = slice(bytes, at, len)?;
    let count = to.len().min(filter.input.len());
    to[..count].copy_from_slice(&filter.input[..count]);
    filter.input.drain(..count);
    Ok(count as u32)
}

fn write(mut caller: Caller<'_, Filter>, at: u32, len: u32) -> Result<()> {
    let memory = memory(&mut caller)?;
    let (bytes, filter) = memory.data_and_store_mut(&mut caller);
    filter.output.extend_from_slice(slice(bytes, at, len)?);
    Ok(())
}

fn memory(caller: &mut Caller<'_, Filter>) -> Result<Memory> {
    let memory = caller.get_export("memory").and_then(|e| e.into_memory());
    memory.ok_or_else(|| bimetal::format_err!("a text filter exports its `memory`"))
}

/// A part of a guest's memory. What a guest passes is never trusted.
fn slice(bytes: &mut [u8], at: u32, len: u32) -> Result<&mut [u8]> {
    let size = bytes.len();
    match bytes
        .get_mut(at as usize..)
        .and_then(|b| b.get_mut(..len as usize))
    {
        Some(bytes) => Ok(bytes),
        None => bail!("{len} bytes at {at} are not inside of a memory of {size}"),
    }
}

/// Turns the case of ASCII letters round.
const TURN_CASE: &str = r#"(module
    (import "text_filter_1" "read" (func $read (param i32 i32) (result i32)))
    (import "text_filter_1" "write" (func $write (param i32 i32)))
    (memory (export "memory") 1)
    (func (export "filter") (result i32)
        (local $count i32) (local $at i32) (local $letter i32)
        (loop $more
            (local.set $count (call $read (i32.const 0) (i32.const 8)))
            (if (i32.eqz (local.get $count)) (then (return (i32.const 0))))
            (local.set $at (i32.const 0))
            (loop $next
                (local.set $letter (i32.or (i32.load8_u (local.get $at)) (i32.const 0x20)))
                (if (i32.lt_u (i32.sub (local.get $letter) (i32.const 0x61)) (i32.const 26))
                    (then (i32.store8 (local.get $at)
                        (i32.xor (i32.load8_u (local.get $at)) (i32.const 0x20)))))
                (local.set $at (i32.add (local.get $at) (i32.const 1)))
                (br_if $next (i32.lt_u (local.get $at) (local.get $count))))
            (call $write (i32.const 0) (local.get $count))
            (br $more))
        (unreachable)))"#;

fn main() -> Result<()> {
    let engine = Engine::default();
    let mut environments = Environments::new();
    environments.add(TextFilter);

    let plug_in = Module::new(&engine, TURN_CASE)?;
    assert_eq!(environments.recognise(&plug_in).name(), "text filter");
    let input = b"Hello from the Host!".to_vec();
    let mut store = Store::new(
        &engine,
        Filter {
            input,
            ..Filter::default()
        },
    );
    let outcome = environments.run(&mut store, &plug_in)?;
    assert_eq!(outcome, Outcome::Finished(0));
    assert_eq!(store.data().output, b"hELLO FROM THE hOST!");
    println!("{}", String::from_utf8_lossy(&store.data().output));

    // Something else is something else.
    let other = Module::new(&engine, r#"(module (func (export "f")))"#)?;
    assert_eq!(environments.recognise(&other).name(), "bare module");
    let mut store = Store::new(&engine, Filter::default());
    assert_eq!(environments.run(&mut store, &other)?, Outcome::Waiting);

    // A hostile filter gets an error, not the host's memory.
    let hostile = TURN_CASE.replace(
        "(local.get $count))\n            (br $more)",
        "(i32.const -1))",
    );
    let hostile = Module::new(&engine, hostile)?;
    let mut store = Store::new(
        &engine,
        Filter {
            input: vec![0],
            ..Filter::default()
        },
    );
    let Err(error) = environments.run(&mut store, &hostile) else {
        panic!("there are no four gigabytes to write");
    };
    println!("refused: {error}");
    Ok(())
}
