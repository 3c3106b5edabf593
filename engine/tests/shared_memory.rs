//! Shared memories: made, imported, exported, grown and accessed from several threads and stores.

use std::thread;

use bimetal::{
    Config, Engine, ErrorKind, Extern, ExternType, Instance, InstanceAllocationStrategy, Linker,
    Memory, MemoryType, Module, PoolingAllocationConfig, Result, SharedMemory, Snapshot, Store,
    StoreLimits, StoreLimitsBuilder, Trap, WasmBacktrace,
};

/// Ways to keep accesses inside of memories.
fn configurations() -> Vec<Config> {
    let mut explicit = Config::new();
    explicit
        .memory_reservation(0)
        .memory_guard_size(0)
        .signals_based_traps(false);
    let mut guards = Config::new();
    guards.memory_reservation(0);
    let mut pooled = Config::new();
    pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(
        PoolingAllocationConfig::new().total_memories(2).clone(),
    ));
    vec![Config::new(), explicit, guards, pooled]
}

fn link(store: &mut Store<()>, module: &Module, memory: &SharedMemory) -> Result<Instance> {
    let mut linker = Linker::new(module.engine());
    linker.define(&*store, "host", "memory", memory.clone())?;
    linker.instantiate(store, module)
}

const COUNTER: &str = r#"(module
    (import "host" "memory" (memory 1 16 shared))
    (func (export "count") (param $n i32)
        (loop $next
            ;; A lock, an ordinary increment under it, and atomic ones of every width.
            (block $locked
                (loop $try
                    (br_if $locked (i32.eqz
                        (i32.atomic.rmw.cmpxchg (i32.const 0) (i32.const 0) (i32.const 1))))
                    (br $try)))
            (i64.store (i32.const 8) (i64.add (i64.load (i32.const 8)) (i64.const 1)))
            (i32.atomic.store (i32.const 0) (i32.const 0))
            (drop (i32.atomic.rmw.add (i32.const 16) (i32.const 1)))
            (drop (i64.atomic.rmw.sub (i32.const 24) (i64.const 1)))
            (drop (i32.atomic.rmw8.add_u (i32.const 33) (i32.const 1)))
            (drop (i64.atomic.rmw16.add_u (i32.const 42) (i64.const 1)))
            (drop (i64.atomic.rmw32.add_u (i32.const 52) (i64.const 1)))
            (local.set $n (i32.sub (local.get $n) (i32.const 1)))
            (br_if $next (local.get $n)))))"#;

#[test]
fn threads_count_together() {
    const THREADS: u64 = 8;
    const EACH: u64 = 3_000;
    for config in configurations() {
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, COUNTER).unwrap();
        let memory = SharedMemory::new(&engine, MemoryType::shared(1, 16)).unwrap();
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let mut store = Store::new(&engine, ());
                    let instance = link(&mut store, &module, &memory).unwrap();
                    let count = instance.get_typed_func::<u32, ()>(&mut store, "count");
                    count.unwrap().call(&mut store, EACH as u32).unwrap();
                });
            }
        });
        let total = THREADS * EACH;
        let mut bytes = [0; 56];
        memory.read(0, &mut bytes).unwrap();
        let word = |at: usize, len: usize| {
            let mut word = [0; 8];
            word[..len].copy_from_slice(&bytes[at..at + len]);
            u64::from_le_bytes(word)
        };
        assert_eq!((word(0, 4), word(8, 8), word(16, 4)), (0, total, total));
        assert_eq!(word(24, 8), total.wrapping_neg());
        let narrow = (word(33, 1), word(42, 2), word(52, 4));
        assert_eq!(narrow, (total & 0xff, total & 0xffff, total));
        // Nothing beside the narrow ones was touched.
        assert_eq!(
            (word(32, 1), word(34, 2), word(40, 2), word(44, 4)),
            (0, 0, 0, 0)
        );
    }
}

#[test]
fn growth_is_seen_by_who_is_running() {
    let text = r#"(module
        (import "host" "memory" (memory 1 64 shared))
        ;; Spins until somebody else has grown it, then writes to its last word.
        (func (export "await") (param $pages i32) (result i32)
            (loop $again
                (br_if $again (i32.lt_u (memory.size) (local.get $pages))))
            (local.set $pages (i32.sub (i32.shl (local.get $pages) (i32.const 16)) (i32.const 4)))
            (i32.store (local.get $pages) (i32.const 7))
            (i32.load (local.get $pages)))
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#;
    for config in configurations() {
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, text).unwrap();
        let memory = SharedMemory::new(&engine, MemoryType::shared(1, 64)).unwrap();
        let base = memory.data().as_ptr();
        thread::scope(|scope| {
            let waits = scope.spawn(|| {
                let mut store = Store::new(&engine, ());
                let instance = link(&mut store, &module, &memory)?;
                let wait = instance.get_typed_func::<u32, u32>(&mut store, "await")?;
                wait.call(&mut store, 33)
            });
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut store = Store::new(&engine, ());
                    let instance = link(&mut store, &module, &memory).unwrap();
                    let grow = instance
                        .get_typed_func::<u32, u32>(&mut store, "grow")
                        .unwrap();
                    let mut last = 0;
                    for _ in 0..8 {
                        let old = grow.call(&mut store, 1).unwrap();
                        assert!(old > last);
                        last = old;
                    }
                });
            }
            assert_eq!(waits.join().unwrap().unwrap(), 7);
        });
        assert_eq!((memory.size(), memory.data_size()), (33, 33 << 16));
        assert_eq!((memory.data().as_ptr(), memory.page_size()), (base, 65_536));
        assert_eq!(memory.grow(31).unwrap(), 33);
        assert_eq!(memory.grow(1).unwrap_err().kind(), ErrorKind::Limit);
    }
}

/// Growing asks the limiter of the store that does it, and no race gets past it.
#[test]
fn limits_hold_for_threads_that_grow_together() {
    let text = r#"(module
        (import "host" "memory" (memory 1 1000 shared))
        (func (export "grow") (result i32) (memory.grow (i32.const 1))))"#;
    let engine = Engine::default();
    let module = Module::new(&engine, text).unwrap();
    let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1000)).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let limits = StoreLimitsBuilder::new().memory_size(100 << 16).build();
                let mut store: Store<StoreLimits> = Store::new(&engine, limits);
                store.limiter(|limits| limits);
                let mut linker = Linker::new(&engine);
                linker
                    .define(&store, "host", "memory", memory.clone())
                    .unwrap();
                let instance = linker.instantiate(&mut store, &module).unwrap();
                let grow = instance
                    .get_typed_func::<(), i32>(&mut store, "grow")
                    .unwrap();
                while grow.call(&mut store, ()).unwrap() != -1 {}
            });
        }
    });
    assert_eq!(memory.size(), 100);
}

#[test]
fn a_module_exports_what_others_import() {
    for config in configurations() {
        let engine = Engine::new(&config).unwrap();
        let owner = Module::new(
            &engine,
            r#"(module (memory (export "memory") 2 3 shared) (data (i32.const 5) "five")
                (func (export "load") (param i32) (result i32) (i32.atomic.load8_u (local.get 0)))
                (func (export "size") (result i32) (memory.size)))"#,
        )
        .unwrap();
        let user = Module::new(
            &engine,
            r#"(module (import "host" "memory" (memory 1 4 shared))
                (data $more "more") (export "again" (memory 0))
                (func (export "init")
                    (memory.init $more (i32.const 9) (i32.const 0) (i32.const 4))
                    (memory.copy (i32.const 20) (i32.const 5) (i32.const 8))
                    (memory.fill (i32.const 131072) (i32.const 33) (i32.const 65536)))
                (func (export "grow") (result i32) (memory.grow (i32.const 1))))"#,
        )
        .unwrap();
        let mut first = Store::new(&engine, ());
        let instance = Linker::new(&engine)
            .instantiate(&mut first, &owner)
            .unwrap();
        assert!(instance.get_memory(&mut first, "memory").is_none());
        let memory = instance.get_shared_memory(&mut first, "memory").unwrap();
        assert_eq!(memory.ty(), MemoryType::shared(2, 3));
        assert!(
            Extern::from(memory.clone())
                .ty(&first)
                .memory()
                .unwrap()
                .is_shared()
        );

        let again = thread::scope(|scope| {
            let other = scope.spawn(|| {
                let mut store = Store::new(&engine, ());
                let instance = link(&mut store, &user, &memory).unwrap();
                let call = |store: &mut Store<()>, name: &str| {
                    let func = instance.get_func(&mut *store, name).unwrap();
                    let mut results = vec![bimetal::Val::I32(0); func.ty(&*store).results().len()];
                    func.call(store, &[], &mut results)
                };
                let early = call(&mut store, "init").unwrap_err();
                assert_eq!(early.downcast_ref(), Some(&Trap::MemoryOutOfBounds));
                call(&mut store, "grow").unwrap();
                call(&mut store, "init").unwrap();
                instance.get_shared_memory(&mut store, "again").unwrap()
            });
            other.join().unwrap()
        });
        // The stores and instances are gone, what they did is not.
        let mut bytes = [0; 32];
        again.read(0, &mut bytes).unwrap();
        assert_eq!(&bytes[5..13], b"fivemore");
        assert_eq!(&bytes[20..28], b"fivemore");
        let load = instance
            .get_typed_func::<u32, u32>(&mut first, "load")
            .unwrap();
        assert_eq!(load.call(&mut first, 3 * 65_536 - 1).unwrap(), 33);
        let error = load.call(&mut first, 3 * 65_536).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::MemoryOutOfBounds));
        let size = instance
            .get_typed_func::<(), u32>(&mut first, "size")
            .unwrap();
        assert_eq!(size.call(&mut first, ()).unwrap(), 3);
        // A dump has it, as it is.
        let dump = WasmBacktrace::force_capture(&first).core_dump(&first, "it");
        assert!(dump.windows(8).any(|part| part == b"fivemore"));
        drop(first);
        assert_eq!(again.size(), 3);
    }
}

#[test]
fn memory64_is_shared_too() {
    let text = r#"(module (memory (export "memory") i64 1 2 shared)
        (func (export "add") (param i64) (result i32)
            (i32.atomic.rmw.add offset=4 (local.get 0) (i32.const 2)))
        (func (export "wait") (param i64) (result i32)
            (memory.atomic.wait32 offset=8 (local.get 0) (i32.const 0) (i64.const 0))))"#;
    for config in configurations() {
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, text).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Linker::new(&engine)
            .instantiate(&mut store, &module)
            .unwrap();
        let add = instance
            .get_typed_func::<u64, u32>(&mut store, "add")
            .unwrap();
        assert_eq!(add.call(&mut store, 0).unwrap(), 0);
        assert_eq!(add.call(&mut store, 0).unwrap(), 2);
        for (at, trap) in [
            (65_532, Trap::MemoryOutOfBounds),
            (u64::MAX - 3, Trap::MemoryOutOfBounds),
            (u64::MAX - 7, Trap::MemoryOutOfBounds),
            (1, Trap::HeapMisaligned),
            (u64::MAX, Trap::HeapMisaligned),
        ] {
            let error = add.call(&mut store, at).unwrap_err();
            assert_eq!(error.downcast_ref(), Some(&trap), "at {at:x}");
        }
        let wait = instance
            .get_typed_func::<u64, u32>(&mut store, "wait")
            .unwrap();
        assert_eq!(wait.call(&mut store, 0).unwrap(), 2);
        for (at, trap) in [
            (65_528, Trap::MemoryOutOfBounds),
            (u64::MAX - 7, Trap::MemoryOutOfBounds),
            (u64::MAX - 5, Trap::HeapMisaligned),
        ] {
            let error = wait.call(&mut store, at).unwrap_err();
            assert_eq!(error.downcast_ref(), Some(&trap), "at {at:x}");
        }
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let engine = Engine::default();
    let error = SharedMemory::new(&engine, MemoryType::new(1, Some(2))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    let mut store = Store::new(&engine, ());
    let error = Memory::new(&mut store, MemoryType::shared(1, 2)).unwrap_err();
    assert!(error.to_string().contains("SharedMemory::new"), "{error}");

    // More address space than there is: the maximum is reserved, not what is used.
    let ty = MemoryType::builder()
        .memory64(true)
        .shared(true)
        .min(1)
        .max(Some(1 << 47))
        .build()
        .unwrap();
    assert!(SharedMemory::new(&engine, ty).is_err());

    let memory = SharedMemory::new(&engine, MemoryType::shared(1, 2)).unwrap();
    let other = Engine::default();
    let module = Module::new(
        &other,
        r#"(module (import "host" "memory" (memory 1 2 shared)))"#,
    );
    let error = link(&mut Store::new(&other, ()), &module.unwrap(), &memory).unwrap_err();
    assert!(error.to_string().contains("different engines"), "{error}");
    for text in [
        r#"(module (import "host" "memory" (memory 1 2)))"#,
        r#"(module (import "host" "memory" (memory 2 2 shared)))"#,
        r#"(module (import "host" "memory" (memory 1 1 shared)))"#,
    ] {
        let module = Module::new(&engine, text).unwrap();
        let error = link(&mut store, &module, &memory).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Link, "{error}");
        assert!(error.to_string().contains("memory 1 2 shared"), "{error}");
    }

    let text = r#"(module (memory (export "m") 1 2 shared))"#;
    let module = Module::new(&engine, text).unwrap();
    let error = Snapshot::check(&module).unwrap_err();
    assert!(error.to_string().contains("shared memory"), "{error}");
    let mut off = Config::new();
    off.shared_memory(false);
    let mut deterministic = Config::new();
    deterministic.deterministic(true);
    for config in [off, deterministic] {
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, text).unwrap();
        let mut store = Store::new(&engine, ());
        let error = Linker::new(&engine)
            .instantiate(&mut store, &module)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(
            format!("{error:#}").contains("shared memories"),
            "{error:#}"
        );
    }
    let engine = Engine::new(Config::new().wasm_threads(false)).unwrap();
    let error = Module::new(&engine, text).unwrap_err();
    assert!(error.to_string().contains("threads"), "{error}");
}

#[test]
fn a_default_is_a_memory_of_its_own() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let ty = ExternType::from(MemoryType::shared(1, 2));
    let Extern::SharedMemory(memory) = ty.default_value(&mut store).unwrap() else {
        panic!("not a shared memory");
    };
    assert_eq!(memory.size(), 1);
}

/// Modules with shared memories are loaded from images, and none of their contents is an image.
#[test]
fn images_have_them() {
    let engine = Engine::default();
    let text = r#"(module (memory (export "m") 1 2 shared) (data (i32.const 7) "*")
        (func (export "f") (result i32) (i32.atomic.load8_u (i32.const 7))))"#;
    let module = Module::new(&engine, text).unwrap();
    let image = module.serialize().unwrap();
    // SAFETY: `serialize` has made it just now.
    let module = unsafe { Module::deserialize(&engine, image) }.unwrap();
    for _ in 0..3 {
        let mut store = Store::new(&engine, ());
        let instance = Linker::new(&engine)
            .instantiate(&mut store, &module)
            .unwrap();
        let f = instance.get_typed_func::<(), u32>(&mut store, "f").unwrap();
        assert_eq!(f.call(&mut store, ()).unwrap(), 42);
    }
}
