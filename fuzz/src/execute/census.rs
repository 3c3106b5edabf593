//! How many instructions for objects and exceptions a program runs, and not only has: by an engine on
//! which no other costs fuel.

use bimetal::{Config, Engine, OperatorCost};

use super::{HEAP, Scenario, ours};
use crate::Notes;

/// The fuel that one for objects costs: more than there are calls of functions, which cost one each.
const OBJECT: u32 = 1 << 12;
/// The fuel that one for exceptions costs.
const EXCEPTION: u32 = 1 << 30;

/// What they are counted as.
pub(super) const OBJECTS: &str = "census: instructions for objects";
pub(super) const EXCEPTIONS: &str = "census: instructions for exceptions";

fn cost() -> OperatorCost {
    let mut cost = OperatorCost::uniform(0);
    macro_rules! set {
        ($value:expr; $($op:ident)*) => { $(cost.$op = $value;)* };
    }
    set!(OBJECT; StructNew StructNewDefault StructGet StructGetS StructGetU StructSet
        ArrayNew ArrayNewDefault ArrayNewFixed ArrayNewData ArrayNewElem ArrayGet ArrayGetS ArrayGetU
        ArraySet ArrayLen ArrayFill ArrayCopy ArrayInitData ArrayInitElem
        RefTestNonNull RefTestNullable RefCastNonNull RefCastNullable BrOnCast BrOnCastFail
        AnyConvertExtern ExternConvertAny RefI31 I31GetS I31GetU RefEq
        BrOnNull BrOnNonNull RefAsNonNull CallRef ReturnCallRef);
    set!(EXCEPTION; Throw ThrowRef TryTable Try Rethrow);
    cost.variable = super::NOTHING_BY_LENGTH;
    cost
}

/// # Errors
/// If there is no compiler for this machine.
pub(super) fn engine() -> Result<Engine, String> {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .operator_cost(cost())
        .wasm_custom_page_sizes(true)
        .relaxed_simd_deterministic(true)
        .gc_heap_reservation(HEAP)
        .lazy(true)
        .parallel_compilation(false);
    Engine::new(&config).map_err(|error| format!("{error:#}"))
}

/// How many for objects and how many for exceptions a call has run that consumed so much.
pub(super) fn split(consumed: u64) -> (u64, u64) {
    let exceptions = consumed / u64::from(EXCEPTION);
    let objects = consumed % u64::from(EXCEPTION) / u64::from(OBJECT);
    (objects, exceptions)
}

/// Counts.
///
/// # Errors
/// As of a run.
pub(super) fn take(
    engine: &Engine,
    wasm: &[u8],
    scenario: Scenario,
    notes: &mut Notes,
) -> Result<(), String> {
    let scenario = Scenario {
        metered: false,
        interrupted: false,
        counted: false,
        census: true,
        ..scenario
    };
    let mut all = Notes::default();
    ours::driver::run(engine, wasm, None, scenario, &mut all)?;
    notes.count("cases of the census");
    for what in [OBJECTS, EXCEPTIONS] {
        notes.add(what, all.counts.get(what).copied().unwrap_or(0));
    }
    Ok(())
}
