//! Dead code: blocks that nothing reaches, parameters that always stand for the same value, and
//! whatever is computed for nobody, around loops too.
//!
//! What can trap stays, a load for instance, unless it is a division by a constant that cannot.
//! The entry's parameters stay. Of fuel, the unreachable blocks cost a unit together, each constant
//! parameter one, and all that is computed for nobody one together: its parts are only right
//! together.

use crate::graph::{Cfg, Edge, Graph, Imm, Inst, Op, Value, ValueDef};

use super::{Context, Fuel};

/// Working memory.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// By value, what a parameter stands for.
    states: Vec<State>,
    /// By value, whether it is used by what stays.
    live: Vec<bool>,
    work: Vec<Value>,
    edges: Vec<Edge>,
}

/// What is known of a block's parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing reached it yet.
    Unknown,
    /// It always has this value.
    One(Value),
    /// It stands for itself.
    Itself,
}

pub(super) fn run(graph: &mut Graph, context: &mut Context<'_>) -> bool {
    let cfg = &mut context.scratch.cfg;
    let scratch = &mut context.scratch.dce;
    cfg.compute(graph);
    let mut changed = unreachable_blocks(graph, cfg, &mut context.fuel);
    changed |= constant_params(graph, cfg, scratch, &mut context.fuel);
    changed | unused(graph, cfg, scratch, &mut context.fuel)
}

/// Removes the blocks that are not in `cfg`.
pub(super) fn unreachable_blocks(graph: &mut Graph, cfg: &Cfg, fuel: &mut Fuel) -> bool {
    if graph.blocks().all(|block| cfg.is_reachable(block)) || !fuel.consume() {
        return false;
    }
    let mut next = Some(graph.entry());
    while let Some(block) = next {
        next = graph.next_block(block);
        if !cfg.is_reachable(block) {
            graph.remove_block(block);
        }
    }
    true
}

/// Parameters that get the same value from everywhere, themselves aside. Optimistic: parameters
/// that only get each other and one other value are all found.
fn constant_params(graph: &mut Graph, cfg: &Cfg, scratch: &mut Scratch, fuel: &mut Fuel) -> bool {
    let Scratch { states, edges, .. } = scratch;
    let entry = graph.entry();
    states.clear();
    states.resize(graph.num_values(), State::Itself);
    let mut any = false;
    for block in cfg.reverse_postorder().filter(|&block| block != entry) {
        for &param in graph.params(block) {
            states[param.as_u32() as usize] = State::Unknown;
            any = true;
        }
    }
    if !any {
        return false;
    }
    // States only go from unknown to one value to itself, so this ends.
    let mut again = true;
    while again {
        again = false;
        for block in cfg.reverse_postorder().filter(|&block| block != entry) {
            for &edge in cfg.preds(block) {
                for (&param, &arg) in graph.params(block).iter().zip(graph.edge_args(edge)) {
                    let new = match graph.is_terminators(arg) {
                        true => State::Itself,
                        false => meet(states, param, arg),
                    };
                    let state = &mut states[param.as_u32() as usize];
                    again |= *state != new;
                    *state = new;
                }
            }
        }
    }
    let mut changed = false;
    for block in cfg.reverse_postorder().filter(|&block| block != entry) {
        let mut removed = false;
        for i in 0..graph.params(block).len() {
            let param = graph.params(block)[i];
            let state = &mut states[param.as_u32() as usize];
            match *state {
                State::One(value) if fuel.consume() => {
                    graph.alias(param, value);
                    removed = true;
                }
                _ => *state = State::Itself,
            }
        }
        if removed {
            changed = true;
            edges.clear();
            edges.extend_from_slice(cfg.preds(block));
            graph.retain_params(block, edges, |_, param| {
                states[param.as_u32() as usize] == State::Itself
            });
        }
    }
    if changed {
        graph.resolve_aliases();
    }
    changed
}

/// The state of `param` once it also gets `arg`.
fn meet(states: &[State], param: Value, arg: Value) -> State {
    let old = states[param.as_u32() as usize];
    let value = match states[arg.as_u32() as usize] {
        State::Unknown => return old,
        State::One(value) => value,
        State::Itself => arg,
    };
    match old {
        State::Unknown => State::One(value),
        // It can come back to itself by way of what only stands for it.
        _ if value == param => old,
        State::One(known) if known == value => old,
        _ => State::Itself,
    }
}

/// What nothing needs that has an effect or decides a branch.
fn unused(graph: &mut Graph, cfg: &Cfg, scratch: &mut Scratch, fuel: &mut Fuel) -> bool {
    mark(graph, cfg, scratch);
    let Scratch { live, edges, .. } = scratch;
    let is_live = |value: Value| live[value.as_u32() as usize];
    let entry = graph.entry();
    let mut changed = false;
    let mut next = Some(entry);
    while let Some(block) = next {
        next = graph.next_block(block);
        let params = graph.params(block);
        if block != entry && params.iter().any(|&param| !is_live(param)) {
            if !changed && !fuel.consume() {
                return false;
            }
            changed = true;
            edges.clear();
            edges.extend_from_slice(cfg.preds(block));
            graph.retain_params(block, edges, |_, param| is_live(param));
        }
        let mut inst = graph.first_inst(block);
        while let Some(current) = inst {
            inst = graph.next_inst(current);
            if !graph.results(current).any(is_live) && is_removable(graph, current) {
                if !changed && !fuel.consume() {
                    return false;
                }
                changed = true;
                graph.remove_inst(current);
            }
        }
    }
    changed
}

/// Finds the values that are live: operands of what stays, and what those are computed from.
fn mark(graph: &Graph, cfg: &Cfg, scratch: &mut Scratch) {
    let Scratch { live, work, .. } = scratch;
    live.clear();
    live.resize(graph.num_values(), false);
    work.clear();
    let mut mark = |value: Value, work: &mut Vec<Value>| {
        if !std::mem::replace(&mut live[value.as_u32() as usize], true) {
            work.push(value);
        }
    };
    for block in graph.blocks() {
        for inst in graph
            .insts(block)
            .filter(|&inst| !is_removable(graph, inst))
        {
            graph.args(inst).iter().for_each(|&arg| mark(arg, work));
        }
    }
    while let Some(value) = work.pop() {
        match graph.def(value) {
            ValueDef::Result(inst, _) => graph.args(inst).iter().for_each(|&arg| mark(arg, work)),
            ValueDef::Param(block, n) => {
                // Unreachable blocks are gone, or the fuel is and nothing will be removed: either
                // way `cfg` has all the edges that matter.
                for &edge in cfg.preds(block) {
                    mark(graph.edge_args(edge)[n as usize], work);
                }
            }
            ValueDef::Alias(_) | ValueDef::Detached => {}
        }
    }
}

/// Whether an instruction can go if nobody uses its results.
fn is_removable(graph: &Graph, inst: Inst) -> bool {
    let op = graph.op(inst);
    if op.effects().is_removable() {
        return true;
    }
    let signed = match op {
        Op::I32DivU | Op::I32RemU | Op::I32RemS => false,
        Op::I64DivU | Op::I64RemU | Op::I64RemS => false,
        Op::I32DivS | Op::I64DivS => true,
        _ => return false,
    };
    let divisor = graph
        .def_inst(graph.args(inst)[1])
        .map(|def| graph.imm(def));
    match divisor {
        Some(Imm::I32(c)) => c != 0 && !(signed && c == -1),
        Some(Imm::I64(c)) => c != 0 && !(signed && c == -1),
        _ => false,
    }
}
