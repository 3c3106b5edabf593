//! The passes, as a checked table.
//!
//! [`PASSES`] is the pipeline in order; [`CONSTRAINTS`] says which order matters and why, and
//! [`check`] proves the one against the other when an optimizer is made. A pass sees one
//! function's graph, what is known of its module, working memory, and [`Fuel`]: it asks for a unit
//! before each transformation and makes none when there is none left, so that a miscompilation can
//! be bisected to the one transformation that made it.
//!
//! Passes do not repeat what Cranelift's middle end does anyway (value numbering, hoisting of pure
//! code, reassociation, rewriting of arithmetic): they do what must be known before lowering,
//! chiefly what makes code unreachable or a trap impossible.
//!
//! **Invariant**: the result depends on the graph, the module and the settings alone; a pass leaves
//! no aliases.

mod cold;
mod dce;
mod facts;
mod loads;
mod objects;
mod simplify;
mod straighten;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;

use bimetal_codegen::{CompileError, ModuleEnv, OptLevel, Settings};
use bimetal_wasm::FuncType;

use crate::graph::{Cfg, Graph};
use crate::verify::verify;

/// A pass.
pub struct Pass {
    /// Its name: in dumps, messages and constraints.
    pub name: &'static str,
    /// The levels at which it runs.
    pub levels: &'static [OptLevel],
    /// Transforms a graph, and says whether it changed anything.
    run: fn(&mut Graph, &mut Context<'_>) -> bool,
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// An order that must hold.
#[derive(Debug)]
pub struct Constraint {
    /// Each run of this pass …
    pub first: &'static str,
    /// … is followed by one of this.
    pub then: &'static str,
    /// Why.
    pub reason: &'static str,
}

const OPTIMIZED: &[OptLevel] = &[OptLevel::Fast, OptLevel::Full];

/// The pipeline, in order.
pub const PASSES: &[Pass] = &[
    Pass {
        name: "simplify",
        levels: OPTIMIZED,
        run: simplify::run,
    },
    Pass {
        name: "straighten",
        levels: OPTIMIZED,
        run: straighten::run,
    },
    Pass {
        name: "loads",
        levels: OPTIMIZED,
        run: loads::run,
    },
    Pass {
        name: "objects",
        levels: OPTIMIZED,
        run: objects::run,
    },
    Pass {
        name: "dce",
        levels: OPTIMIZED,
        run: dce::run,
    },
    Pass {
        name: "cold",
        levels: OPTIMIZED,
        run: cold::run,
    },
];

/// The orders that matter.
pub const CONSTRAINTS: &[Constraint] = &[
    Constraint {
        first: "simplify",
        then: "straighten",
        reason: "a branch that became a jump leaves blocks that only jump, or with one way in",
    },
    Constraint {
        first: "simplify",
        then: "dce",
        reason: "operands of what was simplified, and blocks that no branch reaches, stay behind",
    },
    Constraint {
        first: "dce",
        then: "cold",
        reason: "a way in from a block that nothing reaches is none",
    },
    Constraint {
        first: "straighten",
        then: "dce",
        reason: "blocks that are jumped past stay behind, with the values that only they use",
    },
    Constraint {
        first: "loads",
        then: "dce",
        reason: "addresses stay behind",
    },
    Constraint {
        first: "straighten",
        then: "loads",
        reason: "more is known in a block with one way in",
    },
    Constraint {
        first: "straighten",
        then: "objects",
        reason: "more is known in a block with one way in",
    },
    Constraint {
        first: "objects",
        then: "dce",
        reason: "tests stay behind, and blocks that no branch reaches any more",
    },
];

/// What a pass has besides the graph.
struct Context<'a> {
    env: &'a ModuleEnv,
    /// The function's type.
    signature: Option<&'a FuncType>,
    fuel: Fuel,
    scratch: &'a mut Scratch,
}

/// How many transformations may still be made in one function.
#[derive(Clone, Copy, Debug)]
pub struct Fuel(Option<u64>);

impl Fuel {
    /// So many; `None` is no limit.
    pub fn new(limit: Option<u64>) -> Fuel {
        Fuel(limit)
    }

    /// How many are left; `None` is no limit.
    pub fn left(&self) -> Option<u64> {
        self.0
    }

    /// Takes a unit for a transformation that is about to be made. Once this is false it stays so.
    #[must_use]
    pub fn consume(&mut self) -> bool {
        match &mut self.0 {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
}

/// Working memory of the passes, used again for the next function. Its contents never change a
/// result.
#[derive(Debug, Default)]
pub struct Scratch {
    cfg: Cfg,
    simplify: simplify::Scratch,
    straighten: straighten::Scratch,
    loads: loads::Scratch,
    objects: objects::Scratch,
    dce: dce::Scratch,
}

/// Whether the table keeps its constraints, at every level.
///
/// # Errors
/// [`CompileError::Bug`] if it does not.
pub fn check() -> Result<(), CompileError> {
    check_table(PASSES, CONSTRAINTS).map_err(CompileError::Bug)
}

fn check_table(passes: &[Pass], constraints: &[Constraint]) -> Result<(), String> {
    for constraint in constraints {
        for name in [constraint.first, constraint.then] {
            if !passes.iter().any(|pass| pass.name == name) {
                return Err(format!("a constraint names `{name}`, which is no pass"));
            }
        }
    }
    for level in [OptLevel::None, OptLevel::Fast, OptLevel::Full] {
        let names: Vec<_> = passes
            .iter()
            .filter(|pass| pass.levels.contains(&level))
            .map(|pass| pass.name)
            .collect();
        for Constraint {
            first,
            then,
            reason,
        } in constraints
        {
            let last = |name| names.iter().rposition(|&n| n == name);
            if last(*first).is_some() && last(*first) > last(*then) {
                return Err(format!(
                    "at level {level:?} pass `{first}` is not followed by `{then}`: {reason}"
                ));
            }
        }
    }
    Ok(())
}

/// Runs the passes of `settings.opt_level` and calls `observe` after each that changed the graph.
///
/// # Errors
/// [`CompileError::Bug`] if `settings.verify` and a pass left what is no graph of a function of
/// type `signature`.
pub fn run(
    graph: &mut Graph,
    env: &ModuleEnv,
    signature: Option<&FuncType>,
    settings: &Settings,
    scratch: &mut Scratch,
    observe: &mut dyn FnMut(&Pass, &Graph),
) -> Result<(), CompileError> {
    let mut context = Context {
        env,
        signature,
        fuel: Fuel::new(settings.opt_fuel),
        scratch,
    };
    let level = settings.opt_level;
    for pass in PASSES.iter().filter(|pass| pass.levels.contains(&level)) {
        if !(pass.run)(graph, &mut context) {
            continue;
        }
        if settings.verify {
            verify(graph, Some(env), signature)
                .map_err(|error| CompileError::Bug(format!("after pass {}: {error}", pass.name)))?;
        }
        observe(pass, graph);
    }
    Ok(())
}
