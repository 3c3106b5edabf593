//! Preview 1 as a module imports it, with the engine.

use bimetal::{Engine, Linker, Module, Store};
use bimetal_wasi::p1::table::{self, WireType};
use bimetal_wasi::{
    DirPerms, FilePerms, MemoryInputPipe, MemoryOutputPipe, ProcExit, WasiCtx, WasiCtxBuilder, p1,
};

struct Data {
    #[expect(
        dead_code,
        reason = "the context is found by the function, not by its place"
    )]
    other: u32,
    ctx: WasiCtx,
}

fn linker(engine: &Engine) -> Linker<Data> {
    let mut linker = Linker::new(engine);
    p1::add_to_linker(&mut linker, |data: &mut Data| &mut data.ctx).unwrap();
    linker
}

/// Runs `_start` of a module in the text format.
fn run(wat: &str, ctx: WasiCtx) -> bimetal::Result<()> {
    let engine = Engine::default();
    let module = Module::new(&engine, wat)?;
    let mut store = Store::new(&engine, Data { other: 1, ctx });
    let instance = linker(&engine).instantiate(&mut store, &module)?;
    instance
        .get_typed_func::<(), ()>(&mut store, "_start")?
        .call(&mut store, ())
}

#[test]
fn every_function_has_its_type() {
    let mut imports = String::new();
    for module in ["wasi_snapshot_preview1", "wasi_unstable"] {
        let in_both = |f: &&table::Function| f.name != "sock_accept" || module != "wasi_unstable";
        for f in table::functions().filter(in_both) {
            let params: Vec<_> = f
                .params
                .iter()
                .map(|p| match p.ty {
                    WireType::I32 => "i32",
                    WireType::I64 => "i64",
                })
                .collect();
            let result = if f.returns { "(result i32)" } else { "" };
            imports += &format!(
                "(import {module:?} {:?} (func (param {}) {result}))\n",
                f.name,
                params.join(" ")
            );
        }
    }
    let ctx = WasiCtxBuilder::new().build();
    run(
        &format!("(module {imports} (func (export \"_start\")))"),
        ctx,
    )
    .unwrap();
}

#[test]
fn echo() {
    // Copies standard input to standard output, then exits with the number of reads.
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "fd_read"
            (func $read (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start") (local $n i32)
            (i32.store (i32.const 0) (i32.const 1024))
            (loop $more
                (i32.store (i32.const 4) (i32.const 4))
                (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
                    (then (call $exit (i32.const 100))))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (i32.store (i32.const 4) (i32.load (i32.const 8)))
                (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12))
                    (then (call $exit (i32.const 101))))
                (br_if $more (i32.load (i32.const 8))))
            (call $exit (local.get $n))))"#;
    let out = MemoryOutputPipe::new(100);
    let mut builder = WasiCtxBuilder::new();
    builder
        .stdin(MemoryInputPipe::new("hello world"))
        .stdout(out.clone());
    let end = run(wat, builder.build()).unwrap_err();
    assert_eq!(end.downcast_ref::<ProcExit>(), Some(&ProcExit(4)));
    assert_eq!(out.contents(), b"hello world");
}

#[test]
fn a_file_is_created_through_all_layers() {
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "path_open"
            (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_unstable" "fd_seek" (func $seek0 (param i32 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (data (i32.const 100) "file")
        (data (i32.const 0) "\64\00\00\00\04\00\00\00")
        (func (export "_start")
            (call $exit (i32.add (i32.add
                (call $open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 4)
                    (i32.const 1) (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 16))
                (call $write (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 20)))
                (call $seek0 (i32.load (i32.const 16)) (i64.const -4) (i32.const 1)
                    (i32.const 24))))))"#;
    let dir = tempfile::tempdir().unwrap();
    let mut builder = WasiCtxBuilder::new();
    builder
        .preopened_dir(dir.path(), "/", DirPerms::all(), FilePerms::all())
        .unwrap();
    let end = run(wat, builder.build()).unwrap_err();
    assert_eq!(end.downcast_ref::<ProcExit>(), Some(&ProcExit(0)));
    assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"file");
}

#[test]
fn without_memory_pointers_are_faults_and_the_rest_works() {
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (func (export "_start")
            (call $exit (i32.add (call $yield) (call $random (i32.const 0) (i32.const 4))))))"#;
    let end = run(wat, WasiCtxBuilder::new().build()).unwrap_err();
    let fault = u32::from(p1::Errno::Fault.number());
    assert_eq!(end.downcast_ref::<ProcExit>(), Some(&ProcExit(fault)));
}

#[test]
fn linking_twice_is_an_error() {
    let engine = Engine::default();
    let mut linker = linker(&engine);
    assert!(p1::add_to_linker(&mut linker, |data: &mut Data| &mut data.ctx).is_err());
}
