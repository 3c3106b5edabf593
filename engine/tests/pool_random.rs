//! Random programs of instances: each step is done in a pool and on demand, and must come out the same.
//! What is compared is what every step gives, and all that an instance has when it is made.

use bimetal::{
    AsContextMut, Config, Engine, Func, Instance, Linker, Module, PoolingAllocationConfig, Ref,
    Result, Store, Trap, Val,
};

/// Numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Mostly inside of `n`, sometimes at its end or beyond.
    fn around(&mut self, n: u64) -> i32 {
        match self.below(16) {
            0 => n as i32,
            1 => self.next() as i32,
            2 => n as i32 - 1,
            _ => self.below(n) as i32,
        }
    }
}

/// What every module has besides its own memory, table and segments.
const FUNCTIONS: &str = r#"
    (type $f (func (result i32)))
    (global $g (mut i64) (i64.const -3))
    (global $r (mut funcref) (ref.func $two))
    (elem $passive funcref (ref.func $two) (ref.null func) (ref.func $host) (ref.func $one))
    (elem declare func $one $two $host)
    (data $bytes "some passive bytes")
    (func $one (result i32) (i32.const 1))
    (func $two (result i32) (global.set $g (i64.add (global.get $g) (i64.const 1))) (i32.const 2))
    (func $other (param i32))
    (func $ref (param i32) (result funcref)
        (if (i32.eqz (local.get 0)) (then (return (ref.null func))))
        (if (i32.eq (local.get 0) (i32.const 1)) (then (return (ref.func $one))))
        (if (i32.eq (local.get 0) (i32.const 2)) (then (return (ref.func $host))))
        (global.get $r))
    (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
    (func (export "store") (param i32 i32) (i32.store (local.get 0) (local.get 1)))
    (func (export "fill") (param i32 i32 i32)
        (memory.fill (local.get 0) (local.get 1) (local.get 2)))
    (func (export "copy") (param i32 i32 i32)
        (memory.copy (local.get 0) (local.get 1) (local.get 2)))
    (func (export "init") (param i32 i32 i32)
        (memory.init $bytes (local.get 0) (local.get 1) (local.get 2)))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "call") (param i32) (result i32) (call_indirect (type $f) (local.get 0)))
    (func (export "is_null") (param i32) (result i32)
        (ref.is_null (table.get (local.get 0))))
    (func (export "table_set") (param i32 i32)
        (table.set (local.get 0) (call $ref (local.get 1))))
    (func (export "table_fill") (param i32 i32 i32)
        (table.fill (local.get 0) (call $ref (local.get 1)) (local.get 2)))
    (func (export "table_copy") (param i32 i32 i32)
        (table.copy (local.get 0) (local.get 1) (local.get 2)))
    (func (export "table_init") (param i32 i32 i32)
        (table.init $passive (local.get 0) (local.get 1) (local.get 2)))
    (func (export "table_grow") (param i32 i32) (result i32)
        (table.grow (call $ref (local.get 1)) (local.get 0)))
    (func (export "table_size") (result i32) (table.size 0))
    (func (export "drop") (data.drop $bytes) (elem.drop $passive))
    (func (export "global") (result i32) (i32.wrap_i64 (global.get $g)))
    (func (export "set_global") (param i32 i32)
        (global.set $g (i64.extend_i32_s (local.get 0))) (global.set $r (call $ref (local.get 1))))
    (func (export "deep") (param i32) (call $deep (local.get 0)))
    (func $deep (param i32) (if (local.get 0) (then
        (i32.store (local.get 0) (i32.const -1))
        (call $deep (i32.sub (local.get 0) (i32.const 4)))) (else (unreachable))))"#;

/// The modules' own parts: contents that are known before and such that are not, tables that are
/// looked up lazily, in part or not at all.
const MODULES: [&str; 6] = [
    r#"(memory (export "memory") 1 8) (table (export "table") 20 40 funcref)
       (data (i32.const 10) "abc") (elem (i32.const 2) $one $two $host $other)"#,
    r#"(memory (export "memory") 3) (table (export "table") 20 20 funcref)
       (data (i32.const 0) "abc") (data (i32.const 140000) "def")
       (elem (i32.const 4) funcref (ref.func $host) (ref.null func) (ref.func $two))"#,
    r#"(memory (export "memory") 2 2) (table (export "table") 30 funcref)
       (data (offset (global.get $base)) "there") (elem (offset (global.get $base)) $one $two)
       (elem (i32.const 0) $host)"#,
    r#"(memory (export "memory") 1) (table (export "table") 10 funcref)
       (elem (i32.const 0) $one) (elem (i32.const 0) $two) (elem (i32.const 5) $host)"#,
    r#"(memory (export "memory") 0) (table (export "table") 0 1000 funcref)"#,
    r#"(memory (export "memory") 1) (table (export "table") 700 funcref)
       (data (i32.const 60000) "end") (elem (i32.const 690) $two $two $host)"#,
];

/// The bytes of its memory, what the functions in its table give, and its global.
type State = (Vec<u8>, Vec<Option<i32>>, Option<i32>);

/// An instance in a pool or not.
struct Side {
    store: Store<()>,
    instance: Instance,
}

impl Side {
    fn new(engine: &Engine, module: &Module, host: i32) -> Result<Side> {
        let mut store = Store::new(engine, ());
        let mut linker = Linker::new(engine);
        let func = Func::wrap(&mut store, move || host);
        linker.define(&store, "host", "f", func)?;
        let ty = bimetal::GlobalType::new(bimetal::ValType::I32, bimetal::Mutability::Const);
        let base = bimetal::Global::new(&mut store, ty, Val::I32(host % 25))?;
        linker.define(&store, "host", "base", base)?;
        let instance = linker.instantiate(&mut store, module)?;
        Ok(Side { store, instance })
    }

    fn call(&mut self, name: &str, params: &[i32]) -> Result<Option<i32>, Trap> {
        let func = self.instance.get_func(&mut self.store, name);
        let func = func.expect("it is exported");
        let params: Vec<Val> = params.iter().map(|&n| Val::I32(n)).collect();
        let mut results = vec![Val::I32(0); func.ty(&self.store).results().len()];
        match func.call(&mut self.store, &params, &mut results) {
            Ok(()) => Ok(results.first().map(Val::unwrap_i32)),
            Err(error) => Err(*error.downcast_ref::<Trap>().expect("only traps stop it")),
        }
    }

    /// All that can be seen of it.
    fn state(&mut self) -> State {
        let memory = self.instance.get_memory(&mut self.store, "memory").unwrap();
        let bytes = memory.data(&self.store).to_vec();
        let table = self.instance.get_table(&mut self.store, "table").unwrap();
        let elements = (0..table.size(&self.store)).map(|i| {
            let Some(Ref::Func(func)) = table.get(&mut self.store, i) else {
                panic!("it is a table of functions");
            };
            let func = func?;
            // `$other`, the only one with a parameter.
            match func.typed::<(), i32>(&self.store) {
                Ok(func) => Some(func.call(self.store.as_context_mut(), ()).unwrap()),
                Err(_) => Some(-1),
            }
        });
        let elements = elements.collect();
        (bytes, elements, self.call("global", &[]).unwrap())
    }

    /// What the host does to it.
    fn meddle(&mut self, what: u64, at: u64) -> bool {
        let memory = self.instance.get_memory(&mut self.store, "memory").unwrap();
        let table = self.instance.get_table(&mut self.store, "table").unwrap();
        match what {
            0 => memory
                .write(&mut self.store, at as usize, b"by the host")
                .is_ok(),
            1 => table.set(&mut self.store, at % 64, Ref::Func(None)).is_ok(),
            2 => match table.get(&mut self.store, at % 16) {
                Some(element) => table.set(&mut self.store, at % 50, element).is_ok(),
                None => false,
            },
            _ => match memory.data_mut(&mut self.store).last_mut() {
                Some(last) => std::mem::replace(last, 9) == 9,
                None => false,
            },
        }
    }
}

fn same(a: &State, b: &State, what: &str) {
    assert_eq!(a.0.len(), b.0.len(), "{what}: bytes");
    let differs = a.0.iter().zip(&b.0).position(|(a, b)| a != b);
    assert_eq!(differs, None, "{what}: a byte");
    assert_eq!(a.1, b.1, "{what}: elements");
    assert_eq!(a.2, b.2, "{what}: the global");
}

/// A step: the name of a function and its parameters.
fn step(numbers: &mut Numbers) -> (&'static str, Vec<i32>) {
    let mut at = || numbers.around(3 << 16);
    let (a, b, c) = (at(), at(), at());
    let mut small = |n| numbers.around(n);
    match small(19).rem_euclid(19) {
        0 | 1 => ("load", vec![a]),
        2 | 3 => ("store", vec![a, b]),
        4 => ("fill", vec![a, b, c / 2]),
        5 => ("copy", vec![a, b, c / 3]),
        6 => ("init", vec![a, small(10), small(9)]),
        7 => ("grow", vec![small(3)]),
        8 | 9 => ("call", vec![small(24)]),
        10 => ("is_null", vec![small(24)]),
        11 => ("table_set", vec![small(20), small(4)]),
        12 => ("table_fill", vec![small(20), small(4), small(6)]),
        13 => ("table_copy", vec![small(20), small(20), small(10)]),
        14 => ("table_init", vec![small(20), small(3), small(3)]),
        15 => ("table_grow", vec![small(5), small(4)]),
        16 => ("drop", vec![]),
        17 => ("set_global", vec![a, small(4)]),
        _ => ("deep", vec![400 + small(100)]),
    }
}

fn same_as_on_demand(seed: u64, steps: usize, pooled: &Config, on_demand: &Config) -> Result<()> {
    let engines = [Engine::new(pooled)?, Engine::new(on_demand)?];
    let modules = MODULES.map(|own| {
        let text = format!(
            r#"(module (import "host" "f" (func $host (result i32)))
                (import "host" "base" (global $base i32)) {own} {FUNCTIONS})"#
        );
        engines
            .each_ref()
            .map(|engine| Module::new(engine, &text).expect("the module is right"))
    });
    let mut numbers = Numbers(seed);
    let mut alive: Vec<[Side; 2]> = Vec::new();
    for number in 0..steps {
        if alive.len() < 2 || (alive.len() < 6 && numbers.below(3) == 0) {
            let which = numbers.below(MODULES.len() as u64) as usize;
            let host = numbers.below(1000) as i32;
            let made = [0, 1].map(|side| Side::new(&engines[side], &modules[which][side], host));
            let [mut a, mut b] = match made {
                [Ok(a), Ok(b)] => [a, b],
                [Err(a), Err(b)] => {
                    assert_eq!(a.to_string(), b.to_string(), "seed {seed}, step {number}");
                    continue;
                }
                [a, b] => panic!("seed {seed}, step {number}: {:?}, {:?}", a.err(), b.err()),
            };
            // Half of them are only looked at later, if at all.
            if numbers.below(2) == 0 {
                same(
                    &a.state(),
                    &b.state(),
                    &format!("seed {seed}, step {number}: module {which}"),
                );
            }
            alive.push([a, b]);
        }
        let i = numbers.below(alive.len() as u64) as usize;
        for _ in 0..numbers.below(8) {
            let [a, b] = &mut alive[i];
            if numbers.below(10) == 0 {
                let (what, at) = (numbers.below(4), numbers.below(1 << 17));
                assert_eq!(
                    a.meddle(what, at),
                    b.meddle(what, at),
                    "seed {seed}, step {number}"
                );
            }
            let (name, params) = step(&mut numbers);
            let (a, b) = (a.call(name, &params), b.call(name, &params));
            assert_eq!(a, b, "seed {seed}, step {number}: {name} {params:?}");
        }
        if numbers.below(3) == 0 {
            let [mut a, mut b] = alive.swap_remove(i);
            same(
                &a.state(),
                &b.state(),
                &format!("seed {seed}, step {number}: at the end"),
            );
        }
    }
    Ok(())
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(6)
        .total_memories(6)
        .total_tables(6);
    pool
}

#[test]
fn a_pool_is_as_good_as_new_memory() -> Result<()> {
    let configurations: [fn(&mut PoolingAllocationConfig); 5] = [
        |_| {},
        |pool| {
            pool.linear_memory_keep_resident(0).table_keep_resident(0);
        },
        |pool| {
            pool.max_unused_warm_slots(1);
        },
        |pool| {
            pool.max_unused_warm_slots(0).table_keep_resident(64);
        },
        |pool| {
            pool.linear_memory_keep_resident(1 << 30)
                .table_keep_resident(1 << 30);
        },
    ];
    for (seed, limits) in (1..).zip(configurations) {
        let mut pool = pool();
        limits(&mut pool);
        let mut config = Config::new();
        config.allocation_strategy(pool);
        same_as_on_demand(seed * 0x9e37_79b9, 1000, &config, &Config::new())?;
    }
    Ok(())
}

#[test]
fn so_is_one_of_small_reservations() -> Result<()> {
    let mut pool = pool();
    pool.max_memory_size(1 << 24);
    for (seed, signals) in [(77, true), (78, false)] {
        let mut on_demand = Config::new();
        on_demand
            .memory_reservation(1 << 17)
            .memory_guard_size(0)
            .signals_based_traps(signals);
        let mut pooled = on_demand.clone();
        pooled.allocation_strategy(pool.clone());
        same_as_on_demand(seed, 1000, &pooled, &on_demand)?;
        // And so is what is checked by code.
        same_as_on_demand(seed + 100, 500, &pooled, &Config::new())?;
    }
    Ok(())
}
