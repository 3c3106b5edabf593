//! Backtraces: source lines, limits, capture; and what profilers are told.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use bimetal::{
    Caller, Config, Engine, Error, Instance, Linker, Module, ProfilingStrategy, Result, Store,
    WasmBacktrace, WasmBacktraceDetails,
};

/// Built from `guests/debug.cc`.
const GUEST: &[u8] = include_bytes!("guests/debug.wasm");

fn trap(config: &Config, module: &[u8]) -> Result<Error> {
    let engine = Engine::new(config)?;
    let module = Module::new(&engine, module)?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let compute = instance.get_typed_func::<(i32, i32), i32>(&mut store, "compute")?;
    Ok(compute.call(&mut store, (1, 0)).unwrap_err())
}

#[test]
fn source_lines_and_inlined_functions() -> Result<()> {
    for level in [bimetal::OptLevel::None, bimetal::OptLevel::Full] {
        let error = trap(Config::new().opt_level(level), GUEST)?;
        let backtrace = error.backtrace().unwrap();
        let frames = backtrace.frames();
        assert_eq!(frames.len(), 2, "{backtrace}");
        let symbols: Vec<_> = frames[0].symbols().iter().map(|s| s.to_string()).collect();
        assert_eq!(
            symbols,
            [
                "shapes::Square::divide(int) const at /guests/debug.cc:14:21",
                "shapes::area(shapes::Square const&, int) at /guests/debug.cc:19:23",
            ]
        );
        let inlined = &frames[0].symbols()[0];
        assert_eq!(inlined.name(), Some("_ZNK6shapes6Square6divideEi"));
        assert_eq!(inlined.file(), Some("/guests/debug.cc"));
        assert_eq!((inlined.line(), inlined.column()), (Some(14), Some(21)));
        assert_eq!(frames[1].symbols().len(), 1);
        assert_eq!(frames[1].symbols()[0].line(), Some(27));
        let expected = "\
wasm backtrace:
      0:     0x5a - debug.wasm!shapes::Square::divide(int) const
                        at /guests/debug.cc:14:21
                    debug.wasm!shapes::area(shapes::Square const&, int)
                        at /guests/debug.cc:19:23
      1:     0x84 - debug.wasm!compute
                        at /guests/debug.cc:27:12";
        assert_eq!(backtrace.to_string(), expected);
    }
    Ok(())
}

/// A function that was inlined has a frame, as if it had been called.
#[test]
fn inlined_functions_have_frames() -> Result<()> {
    let text = r#"(module
        (memory 1)
        (func $field (param i32) (result i32) (i32.load offset=4 (local.get 0)))
        (func $stop unreachable)
        (func $middle (param i32) (result i32)
            (i32.add (call $field (i32.const 8)) (call $field (local.get 0))))
        (func $run (export "run") (param i32) (result i32)
            (if (i32.eqz (local.get 0)) (then (call $stop)))
            (call $middle (local.get 0))))"#;
    let frames = |config: &Config, argument: i32| -> Result<Vec<String>> {
        let engine = Engine::new(config)?;
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &Module::new(&engine, text)?, &[])?;
        let run = instance.get_typed_func::<i32, i32>(&mut store, "run")?;
        let error = run.call(&mut store, argument).unwrap_err();
        let frames = error.backtrace().unwrap().frames().iter();
        let frame = |f: &bimetal::FrameInfo| {
            let name = f.func_name().unwrap().to_owned();
            format!(
                "{name} {:#x} {:#x}",
                f.func_offset().unwrap(),
                f.module_offset().unwrap()
            )
        };
        Ok(frames.map(frame).collect())
    };
    let mut plain = Config::new();
    plain.opt_level(bimetal::OptLevel::None);
    for argument in [0, -1] {
        let called = frames(&plain, argument)?;
        assert_eq!(
            called.len(),
            if argument == 0 { 2 } else { 3 },
            "{called:?}"
        );
        assert_eq!(frames(&Config::new(), argument)?, called);
    }
    Ok(())
}

#[test]
fn without_details_there_are_no_lines() -> Result<()> {
    let mut config = Config::new();
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    let error = trap(&config, GUEST)?;
    let backtrace = error.backtrace().unwrap();
    assert!(backtrace.frames()[0].symbols().is_empty());
    let expected = "\
wasm backtrace:
      0:     0x5a - debug.wasm!shapes::area(shapes::Square const&, int)
      1:     0x84 - debug.wasm!compute";
    assert_eq!(backtrace.to_string(), expected);
    Ok(())
}

/// Whatever is done to debug information, the trap is what it was.
#[test]
fn broken_debug_information_is_no_information() -> Result<()> {
    let engine = Engine::default();
    let module = Module::new(&engine, GUEST)?;
    let ranges: Vec<_> = module
        .wasm()
        .custom_sections
        .iter()
        .filter(|section| section.name.starts_with(".debug_"))
        .map(|section| section.range.clone())
        .collect();
    assert!(ranges.len() >= 5);
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as usize
    };
    let config = Config::new();
    let mut known = 0;
    for round in 0..300 {
        let mut bytes = GUEST.to_vec();
        for _ in 0..1 + round % 8 {
            let range = ranges[random() % ranges.len()].clone();
            let at = range.start + random() % range.len();
            bytes[at] = random() as u8;
        }
        let error = trap(&config, &bytes)?;
        let backtrace = error.backtrace().unwrap();
        assert!(backtrace.to_string().contains("debug.wasm!compute"));
        known += usize::from(!backtrace.frames()[0].symbols().is_empty());
    }
    // Otherwise nothing was tried.
    assert!(known > 10 && known < 300, "{known}");
    Ok(())
}

fn leb(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn custom(module: &mut Vec<u8>, name: &str, content: &[u8]) {
    module.push(0);
    leb(module, 1 + name.len() + content.len());
    leb(module, name.len());
    module.extend_from_slice(name.as_bytes());
    module.extend_from_slice(content);
}

/// A function with half a million inlined functions in each other: a reader that recurses would
/// overflow the stack, and the process would end.
#[test]
fn nested_debug_information_does_not_overflow_the_stack() -> Result<()> {
    let engine = Engine::default();
    let text = r#"(module (func (export "compute") (param i32 i32) (result i32)
        (i32.div_s (local.get 0) (local.get 1))))"#;
    let wat = Module::new(&engine, text)?;
    // Abbreviations: 1 a unit (low_pc, high_pc), 2 a subprogram (the same), 3 an inlined
    // subroutine without attributes; all have children.
    let abbrev = [
        1, 0x11, 1, 0x11, 0x01, 0x12, 0x06, 0, 0, //
        2, 0x2e, 1, 0x11, 0x01, 0x12, 0x06, 0, 0, //
        3, 0x1d, 1, 0, 0, 0,
    ];
    for (depth, known) in [(20, 1), (500_000, 0)] {
        let mut unit = vec![4, 0, 0, 0, 0, 0, 4];
        for tag in [1, 2] {
            unit.push(tag);
            unit.extend_from_slice(&0u32.to_le_bytes());
            unit.extend_from_slice(&1000u32.to_le_bytes());
        }
        unit.resize(unit.len() + depth, 3);
        unit.resize(unit.len() + depth + 2, 0);
        let mut info = (unit.len() as u32).to_le_bytes().to_vec();
        info.extend_from_slice(&unit);
        let mut module = wat.wasm().bytes.to_vec();
        custom(&mut module, ".debug_abbrev", &abbrev);
        custom(&mut module, ".debug_info", &info);
        let error = trap(&Config::new(), &module)?;
        let backtrace = error.backtrace().unwrap();
        assert_eq!(backtrace.frames()[0].symbols().len(), known, "{depth}");
        assert!(backtrace.to_string().contains("compute"));
    }
    Ok(())
}

/// Ten thousand units that all have the code and share one long line program: each is read for
/// each, if nobody counts.
#[test]
fn repeated_debug_information_is_not_read_for_ever() -> Result<()> {
    let engine = Engine::default();
    let text = r#"(module (func (export "compute") (param i32 i32) (result i32)
        (i32.div_s (local.get 0) (local.get 1))))"#;
    let mut module = Module::new(&engine, text)?.wasm().bytes.to_vec();
    // A unit: low_pc, high_pc, stmt_list; no children.
    let abbrev = [1, 0x11, 0, 0x11, 0x01, 0x12, 0x06, 0x10, 0x17, 0, 0, 0];
    let mut unit = vec![4, 0, 0, 0, 0, 0, 4, 1];
    for value in [0u32, 1000, 0] {
        unit.extend_from_slice(&value.to_le_bytes());
    }
    let mut info = Vec::new();
    for _ in 0..10_000 {
        info.extend_from_slice(&(unit.len() as u32).to_le_bytes());
        info.extend_from_slice(&unit);
    }
    // Version, header length; minimum 1, 1 operation, is_stmt, base, range, opcode lengths; no
    // folders and files. Then rows at addresses behind the code, and no end.
    let header = [
        1, 1, 1, 0xfb, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0,
    ];
    let mut lines = vec![4, 0];
    lines.extend_from_slice(&(header.len() as u32).to_le_bytes());
    lines.extend_from_slice(&header);
    lines.resize(1_000_000, 0x20);
    let mut line = (lines.len() as u32).to_le_bytes().to_vec();
    line.extend_from_slice(&lines);
    custom(&mut module, ".debug_abbrev", &abbrev);
    custom(&mut module, ".debug_info", &info);
    custom(&mut module, ".debug_line", &line);
    let start = std::time::Instant::now();
    let error = trap(&Config::new(), &module)?;
    assert!(error.backtrace().unwrap().to_string().contains("compute"));
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    Ok(())
}

const CALLS: &str = r#"(module $calls
    (import "host" "see" (func $see))
    (func $deep (export "deep") (param i32)
        (if (i32.eqz (local.get 0)) (then (call $see) unreachable))
        (call $deep (i32.sub (local.get 0) (i32.const 1)))))"#;

type Seen = Arc<Mutex<Vec<WasmBacktrace>>>;

fn deep(config: &Config, depth: i32) -> Result<(Error, Vec<WasmBacktrace>)> {
    let engine = Engine::new(config)?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "see", |caller: Caller<'_, Seen>| {
        let mut seen = caller.data().lock().unwrap();
        seen.push(WasmBacktrace::capture(&caller));
        seen.push(WasmBacktrace::force_capture(&caller));
    })?;
    let module = Module::new(&engine, CALLS)?;
    let mut store = Store::new(&engine, Seen::default());
    // Nothing is running.
    assert!(WasmBacktrace::force_capture(&store).frames().is_empty());
    let instance = linker.instantiate(&mut store, &module)?;
    let f = instance.get_typed_func::<i32, ()>(&mut store, "deep")?;
    let error = f.call(&mut store, depth).unwrap_err();
    let seen = std::mem::take(&mut *store.data().lock().unwrap());
    Ok((error, seen))
}

#[test]
fn backtraces_are_as_long_as_configured() -> Result<()> {
    let (error, seen) = deep(&Config::new(), 9)?;
    for backtrace in [error.backtrace().unwrap(), &seen[0], &seen[1]] {
        assert_eq!(backtrace.frames().len(), 10);
        assert!(!backtrace.truncated());
        assert_eq!(backtrace.frames()[0].func_name(), Some("deep"));
    }

    let mut config = Config::new();
    config.wasm_backtrace_max_frames(NonZeroUsize::new(10));
    let (error, seen) = deep(&config, 9)?;
    assert!(!error.backtrace().unwrap().truncated() && !seen[0].truncated());
    config.wasm_backtrace_max_frames(NonZeroUsize::new(4));
    let (error, seen) = deep(&config, 9)?;
    for backtrace in [error.backtrace().unwrap(), &seen[0], &seen[1]] {
        assert_eq!(backtrace.frames().len(), 4);
        assert!(backtrace.truncated());
    }

    config.wasm_backtrace(false);
    let (error, seen) = deep(&config, 9)?;
    assert!(error.backtrace().is_none());
    assert!(seen[0].frames().is_empty());
    assert_eq!(seen[1].frames().len(), 10);
    Ok(())
}

/// A store's backtrace has its own frames, not those of a store whose code called it.
#[test]
fn a_captured_backtrace_is_of_one_store() -> Result<()> {
    let engine = Engine::default();
    let text = |name: &str| {
        format!(
            r#"(module ${name} (import "host" "see" (func $see))
                (func ${name} (export "run") (call $see)))"#
        )
    };
    let outer = Module::new(&engine, text("outer"))?;
    let inner = Module::new(&engine, text("inner"))?;
    let mut linker = Linker::new(&engine);
    let inner_engine = engine.clone();
    linker.func_wrap("host", "see", move |caller: Caller<'_, ()>| {
        let names = |backtrace: WasmBacktrace| -> Vec<String> {
            let name = |frame: &bimetal::FrameInfo| frame.func_name().unwrap().to_owned();
            backtrace.frames().iter().map(name).collect()
        };
        let mut linker = Linker::new(&inner_engine);
        linker.func_wrap("host", "see", move |caller: Caller<'_, ()>| {
            assert_eq!(names(WasmBacktrace::capture(&caller)), ["inner"]);
        })?;
        let mut store = Store::new(&inner_engine, ());
        let instance = linker.instantiate(&mut store, &inner)?;
        let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
        run.call(&mut store, ())?;
        assert!(WasmBacktrace::capture(&store).frames().is_empty());
        assert_eq!(names(WasmBacktrace::capture(&caller)), ["outer"]);
        Result::Ok(())
    })?;
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &outer)?;
    let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
    run.call(&mut store, ())
}

/// All of it in one test: the map is the process's.
#[test]
fn a_perf_map_names_what_is_compiled() -> Result<()> {
    let path = format!("/tmp/perf-{}.map", std::process::id());
    let mut ranges: Vec<(usize, usize, String)> = Vec::new();
    for lazy in [true, false] {
        let mut config = Config::new();
        config.profiler(ProfilingStrategy::PerfMap).lazy(lazy);
        // Nothing is inlined.
        config.opt_level(bimetal::OptLevel::None);
        trap(&config, GUEST)?;
        let map = std::fs::read_to_string(&path)?;
        let lines = map.lines().skip(ranges.len());
        let new: Vec<(usize, usize, String)> = lines
            .map(|line| {
                let mut parts = line.splitn(3, ' ');
                let mut number = || usize::from_str_radix(parts.next().unwrap(), 16).unwrap();
                (number(), number(), parts.next().unwrap().to_owned())
            })
            .collect();
        for name in [
            "debug.wasm!compute",
            "debug.wasm!shapes::area(shapes::Square const&, int)",
            "bimetal::host_to_wasm(i32, i32) -> (i32)",
        ] {
            let count = new.iter().filter(|(_, _, other)| other == name).count();
            assert_eq!(count, 1, "{name} in {map}");
        }
        assert!(new.iter().all(|&(start, len, _)| start != 0 && len != 0));
        ranges.extend(new);
    }
    std::fs::remove_file(path)?;
    Ok(())
}

#[test]
fn a_core_dump_has_stack_memory_and_globals() -> Result<()> {
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module $guest
            (memory 2 5) (data (i32.const 70000) "found")
            (global $g (mut i64) (i64.const 5))
            (global f64 (f64.const 0.5))
            (func $inner unreachable)
            (func (export "f") (global.set $g (i64.const -7))
                (i32.store8 (i32.const 70005) (i32.const 33)) nop (call $inner)))"#,
    )?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let f = instance.get_typed_func::<(), ()>(&mut store, "f")?;
    let error = f.call(&mut store, ()).unwrap_err();
    let dump = error.backtrace().unwrap().core_dump(&store, "a name");

    // It is a module, so what knows modules can look into it.
    let module = Module::new(&engine, &dump)?;
    let wasm = module.wasm();
    let section = |name: &str| {
        let found = wasm.custom_sections.iter().find(|s| *s.name == *name);
        &dump[found.unwrap().range.clone()]
    };
    assert_eq!(section("core"), b"\0\x06a name");
    assert_eq!(section("coremodules"), b"\x01\0\x05guest");
    assert_eq!(section("coreinstances"), b"\x01\0\0\x01\0\x02\0\x01");
    // Two frames: function 0 at 1, function 1 at its call; no locals, no operands.
    let offset = error.backtrace().unwrap().frames()[1]
        .func_offset()
        .unwrap() as u8;
    let frames = [0, 0, 0, 1, 0, 0, 0, 0, 1, offset, 0, 0];
    let mut stack = b"\0\x04main\x02".to_vec();
    stack.extend_from_slice(&frames);
    assert_eq!(section("corestack"), stack);
    let memory = wasm.memories.values().next().unwrap();
    assert_eq!((memory.min, memory.max), (2, Some(5)));
    assert_eq!(wasm.data.len(), 1);
    let data = &dump[wasm.data.values().next().unwrap().range.clone()];
    let at = 70000 % 4096;
    assert_eq!(data.len(), 4096);
    assert_eq!(&data[at..at + 6], b"found!");
    let globals: Vec<String> = wasm
        .global_init
        .values()
        .map(|g| format!("{g:?}"))
        .collect();
    assert!(globals[0].contains("I64Const(-7)"), "{globals:?}");
    assert!(globals[1].contains("F64Const"), "{globals:?}");
    Ok(())
}
