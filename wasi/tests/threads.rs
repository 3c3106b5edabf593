//! Guests with threads: the programs of `tests/threads`, through the Rust API, and what is particular to
//! WASI threads. The `.wasm` files are committed; `cargo xtask guests` makes them of the C sources.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bimetal::{
    Config, Engine, Linker, Module, Result, Store, StoreLimits, StoreLimitsBuilder, Trap,
};
use bimetal_wasi::threads::{Threads, are_wanted};
use bimetal_wasi::{
    DirPerms, FilePerms, Input, MemoryOutputPipe, ProcExit, WasiCtx, WasiCtxBuilder,
};

/// What a store holds; counted, to see that none stays.
struct Data {
    wasi: WasiCtx,
    limits: StoreLimits,
    alive: Arc<AtomicUsize>,
}

impl Data {
    fn new(wasi: WasiCtx, alive: &Arc<AtomicUsize>) -> Data {
        alive.fetch_add(1, Ordering::SeqCst);
        Data {
            wasi,
            limits: StoreLimitsBuilder::new().memory_size(64 << 20).build(),
            alive: alive.clone(),
        }
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

fn engine() -> Engine {
    Engine::new(Config::new().epoch_interruption(true)).unwrap()
}

fn guest(engine: &Engine, name: &str) -> Module {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/threads");
    let wasm = fs::read(folder.join(name).with_extension("wasm")).unwrap();
    let module = Module::new(engine, wasm).unwrap();
    assert!(are_wanted(&module));
    module
}

/// Runs a program; no store is left of it.
fn run(module: &Module, wasi: WasiCtx, max: u32) -> Result<()> {
    let alive = Arc::new(AtomicUsize::new(0));
    let mut linker = Linker::new(module.engine());
    bimetal_wasi::add_to_linker(&mut linker, |data: &mut Data| &mut data.wasi)?;
    let mut store = Store::new(module.engine(), Data::new(wasi, &alive));
    let counted = alive.clone();
    let fork = move |engine: &Engine, data: &mut Data| {
        let data = Data::new(data.wasi.share()?, &counted);
        let mut store = Store::new(engine, data);
        store.limiter(|data| &mut data.limits);
        Ok(store)
    };
    let threads =
        Threads::add_to_linker(&mut linker, &mut store, module, |data| &mut data.wasi, fork)?;
    let threads = threads.max_threads(max);
    let ended = threads.run(&mut store, &linker, |store, instance| {
        let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
        start.call(store, ())
    });
    drop((threads, linker, store));
    assert_eq!(alive.load(Ordering::SeqCst), 0, "stores are left");
    match ended {
        Err(error) if error.downcast_ref() == Some(&ProcExit(0)) => Ok(()),
        other => other,
    }
}

fn output(module: &Module, args: &[&str], max: u32) -> (Result<()>, String) {
    let out = MemoryOutputPipe::new(1 << 16);
    let mut wasi = WasiCtxBuilder::new();
    let wasi = wasi.args(args).stdout(out.clone()).inherit_stderr().build();
    let ended = run(module, wasi, max);
    (ended, String::from_utf8(out.contents().to_vec()).unwrap())
}

#[test]
fn threads_count_and_hand_on() {
    let engine = engine();
    let module = guest(&engine, "counters");
    let (ended, out) = output(&module, &["counters"], 100);
    ended.unwrap();
    assert_eq!(out, "counted 248000\nhanded on 501000\n");
}

#[test]
fn there_are_so_many_and_no_more() {
    let engine = engine();
    let module = guest(&engine, "many");
    for (max, turns) in [(40, "1000"), (1, "30")] {
        let (ended, out) = output(&module, &["many", &max.to_string(), turns], max);
        ended.unwrap();
        assert_eq!(out, format!("{max} at a time, {turns} in turn\n"));
    }
}

/// A pipe that nobody writes to, so that who reads it waits.
fn silence() -> (std::io::PipeWriter, Input) {
    let (reader, writer) = std::io::pipe().unwrap();
    (writer, reader.into())
}

/// Others compute, wait, sleep, read and poll, and are all ended.
#[test]
fn one_end_is_that_of_all() {
    let engine = engine();
    let module = guest(&engine, "ends");
    for how in ["trap", "exit", "return", "main-exit", "main-trap"] {
        let (writer, input) = silence();
        let out = MemoryOutputPipe::new(100);
        let mut wasi = WasiCtxBuilder::new();
        let wasi = wasi.args(&["ends", how]).stdin(input).stdout(out.clone());
        let start = Instant::now();
        let ended = run(&module, wasi.build(), 100);
        assert!(start.elapsed() < Duration::from_secs(30), "{how}");
        drop(writer);
        assert_eq!(out.contents(), &b"all are busy\n"[..]);
        match how {
            "return" => ended.unwrap(),
            "exit" | "main-exit" => {
                let code = if how == "exit" { 42 } else { 43 };
                assert_eq!(ended.unwrap_err().downcast_ref(), Some(&ProcExit(code)));
            }
            _ => {
                let error = ended.unwrap_err();
                assert_eq!(error.downcast_ref(), Some(&Trap::Unreachable), "{error:#}");
                let said = format!("{error:#}");
                assert_eq!(said.contains("in thread 6"), how == "trap", "{said}");
                let backtrace = error.backtrace().unwrap();
                let last = backtrace.frames().last().unwrap();
                let entry = if how == "trap" {
                    "wasi_thread_start"
                } else {
                    "_start"
                };
                assert_eq!(last.func_name(), Some(entry));
            }
        }
    }
}

#[test]
fn files_are_everybodys() {
    let engine = engine();
    let module = guest(&engine, "files");
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, input) = silence();
    // What is printed lets the waiting thread have its input.
    let out = Arc::new(Mutex::new(Vec::new()));
    let seen = out.clone();
    struct Tell(Arc<Mutex<Vec<u8>>>, std::io::PipeWriter);
    impl Write for Tell {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            if bytes.starts_with(b"go on") {
                self.1.write_all(b"x")?;
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    writer.flush().unwrap();
    let mut wasi = WasiCtxBuilder::new();
    wasi.arg("files").stdin(input).inherit_stderr();
    wasi.stdout(bimetal_wasi::Output::writer(Tell(seen, writer)));
    wasi.preopened_dir(folder.path(), "/", DirPerms::all(), FilePerms::all())
        .unwrap();
    run(&module, wasi.build(), 100).unwrap();
    assert_eq!(*out.lock().unwrap(), b"go on\ngot x\n");
    assert_eq!(fs::read(folder.path().join("log")).unwrap().len(), 9600);
}

const SPAWN: &str = r#"(import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))"#;
const MEMORY: &str = r#"(import "env" "memory" (memory 1 2 shared)) (export "memory" (memory 0))"#;
const START: &str = r#"(func (export "wasi_thread_start") (param i32 i32))"#;

#[test]
fn modules_that_cannot_have_threads_are_told_why() {
    let engine = engine();
    let refused = |engine: &Engine, text: &str| {
        let module = Module::new(engine, text).unwrap();
        let wasi = WasiCtxBuilder::new().build();
        format!("{:#}", run(&module, wasi, 1).unwrap_err())
    };
    let error = refused(&engine, &format!("(module {SPAWN} {MEMORY})"));
    assert!(error.contains("wasi_thread_start"), "{error}");
    let other = r#"(func (export "wasi_thread_start") (param i32))"#;
    let error = refused(&engine, &format!("(module {SPAWN} {MEMORY} {other})"));
    assert!(error.contains("wasi_thread_start"), "{error}");
    let error = refused(&engine, &format!("(module {SPAWN} (memory 1) {START})"));
    assert!(error.contains("shared memory"), "{error}");
    let plain = Engine::default();
    let error = refused(&plain, &format!("(module {SPAWN} {MEMORY} {START})"));
    assert!(error.contains("epoch_interruption"), "{error}");
}

/// What a thread does before its body ends the program, too; and one that fails at once does.
#[test]
fn threads_fail_wherever_they_are() {
    let engine = engine();
    let text = format!(
        r#"(module {SPAWN} {MEMORY}
            (global $main (mut i32) (i32.const 0))
            (func $start (if (i32.atomic.rmw.add (i32.const 0) (i32.const 1)) (then unreachable)))
            (start $start)
            (func (export "_start")
                (drop (call $spawn (i32.const 0)))
                (drop (memory.atomic.wait32 (i32.const 4) (i32.const 0) (i64.const -1))))
            {START})"#
    );
    let module = Module::new(&engine, text).unwrap();
    let error = run(&module, WasiCtxBuilder::new().build(), 1).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Trap::Unreachable), "{error:#}");
    assert!(format!("{error:#}").contains("in thread 1"), "{error:#}");
}

/// Growing is limited in each store, and seen by all threads.
#[test]
fn memory_grows_within_limits() {
    let engine = engine();
    let text = format!(
        r#"(module {SPAWN} (import "env" "memory" (memory 1 65536 shared)) (export "memory" (memory 0))
            (func (export "_start")
                (drop (call $spawn (i32.const 0)))
                (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1)))
                (if (i32.ne (memory.size) (i32.const 1024)) (then unreachable)))
            (func (export "wasi_thread_start") (param i32 i32)
                (loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
                (i32.atomic.store (i32.const 0) (i32.const 1))
                (drop (memory.atomic.notify (i32.const 0) (i32.const 1)))))"#
    );
    let module = Module::new(&engine, text).unwrap();
    run(&module, WasiCtxBuilder::new().build(), 1).unwrap();
}
