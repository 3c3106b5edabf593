//! Interrupt checks and fuel: there when they are wanted, and otherwise not a trace of them.

use bimetal_abi::Tunables;
use bimetal_codegen::{Compiler, DumpSet, ModuleEnv, OptLevel, Settings, Target};
use bimetal_optimizer::Optimizer;
use bimetal_wasm::{DefinedFuncIndex, Features, Module};

/// The first function is none that is inlined.
const TEXT: &str = "(module
    (table 1 funcref)
    (func $callee (param i32) (result i32)
        (drop (table.size))
        (i32.add (local.get 0) (i32.const 1)))
    (func (param i32) (result i32)
        (loop
            (local.set 0 (call $callee (local.get 0)))
            (br_if 0 (i32.lt_u (local.get 0) (i32.const 100))))
        (local.get 0)))";

/// The graph of a function after all passes, and its machine code.
fn compile(func: u32, level: OptLevel, tunables: Tunables) -> (String, Vec<u8>) {
    let module = Module::new(TEXT, &Features::default()).unwrap();
    let env = ModuleEnv::new(module.into(), tunables).unwrap();
    let settings = Settings {
        opt_level: level,
        verify: true,
        ..Settings::default()
    };
    let target = Target::host().unwrap();
    let optimizer = Optimizer::new(&target, settings).unwrap();
    let what = DumpSet {
        graph: true,
        ..DumpSet::default()
    };
    let func = DefinedFuncIndex::from_u32(func);
    let dumps = optimizer.dump(&env, func, what).unwrap();
    let code = optimizer
        .function(&env, func, &mut optimizer.scratch())
        .unwrap();
    (dumps.last().unwrap().text.clone(), code.bytes)
}

fn count(text: &str, op: &str) -> usize {
    text.matches(op).count()
}

#[test]
fn nothing_when_off() {
    for level in [OptLevel::None, OptLevel::Full] {
        for func in 0..2 {
            let (graph, code) = compile(func, level, Tunables::default());
            assert!(!graph.contains("fuel") && !graph.contains("interrupt"));
            assert_eq!(compile(func, level, Tunables::default()).1, code);
        }
    }
}

#[test]
fn checks_at_the_entry_and_the_header() {
    for level in [OptLevel::None, OptLevel::Full] {
        let interrupts = Tunables {
            interrupts: true,
            ..Tunables::default()
        };
        // The start has the stack's check.
        let (graph, code) = compile(1, level, interrupts.clone());
        assert_eq!(count(&graph, "interrupt.check"), 1, "{graph}");
        assert_eq!(count(&graph, "fuel."), 0, "{graph}");
        assert_eq!(compile(1, level, interrupts.clone()).1, code);
        // What calls nothing is part of no recursion.
        let (graph, code) = compile(0, level, interrupts);
        assert_eq!(count(&graph, "interrupt.check"), 0, "{graph}");
        assert_eq!(code, compile(0, level, Tunables::default()).1);

        // Which cannot stand for it when it is no fault of the machine.
        let explicit = Tunables {
            signals_based_traps: false,
            interrupts: true,
            ..Tunables::default()
        };
        let (graph, _) = compile(1, level, explicit.clone());
        assert_eq!(count(&graph, "interrupt.check"), 2, "{graph}");
        let (graph, _) = compile(0, level, explicit);
        assert_eq!(count(&graph, "interrupt.check"), 0, "{graph}");
    }
}

#[test]
fn fuel_is_charged_once_per_block() {
    let tunables = Tunables {
        fuel: true,
        ..Tunables::default()
    };
    for level in [OptLevel::None, OptLevel::Full] {
        let (graph, code) = compile(1, level, tunables.clone());
        assert_eq!(count(&graph, "fuel.check"), 2, "{graph}");
        // At the entry and after the call.
        assert_eq!(count(&graph, "fuel.get"), 2, "{graph}");
        // At the header, before the call and the return.
        assert_eq!(count(&graph, "fuel.set"), 3, "{graph}");
        // Before the loop, the call, the branch and the return.
        assert_eq!(count(&graph, "i64.add"), 4, "{graph}");
        assert_eq!(compile(1, level, tunables.clone()).1, code);
    }
}
