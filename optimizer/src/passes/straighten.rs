//! Fewer blocks: jumps past blocks that only jump, and blocks with one way in joined to it.
//!
//! An edge to a block that does nothing but jump goes to that jump's target instead, unless a
//! parameter of the block is used elsewhere or the target is a loop's header (which keeps the one
//! block before it where later passes put things). A block that is reached by one jump alone
//! becomes the end of the block that jumps. Loop headers are never joined: they are named as such
//! from outside.

use crate::graph::{Block, Cfg, Edge, Graph, Inst, Op, Value, ValueDef};

use super::{Context, Fuel, dce};

/// Working memory.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// By block, its jump if it does nothing else.
    jumps: Vec<Option<Inst>>,
    args: Vec<Value>,
}

/// More jumps in a row are not followed at once; blocks may also jump in a circle.
const MAX_HOPS: usize = 8;

pub(super) fn run(graph: &mut Graph, context: &mut Context<'_>) -> bool {
    let Scratch { jumps, args } = &mut context.scratch.straighten;
    let mut changed = false;
    if find_jumps(graph, jumps) {
        let mut block = Some(graph.entry());
        while let Some(current) = block {
            if let Some(inst) = graph.terminator(current) {
                for edge in graph.edges(inst) {
                    changed |= follow(graph, edge, jumps, args, &mut context.fuel);
                }
                changed |= same_edges(graph, inst, &mut context.fuel);
            }
            block = graph.next_block(current);
        }
    }
    changed | join(graph, &mut context.scratch.cfg, &mut context.fuel)
}

/// Notes the blocks that do nothing but jump, and says whether there are any.
fn find_jumps(graph: &Graph, jumps: &mut Vec<Option<Inst>>) -> bool {
    jumps.clear();
    jumps.resize(graph.num_blocks(), None);
    let (mut found, mut found_params) = (false, false);
    for block in graph.blocks().skip(1) {
        let Some(inst) = graph.first_inst(block) else {
            continue;
        };
        if graph.op(inst) != Op::Jump {
            continue;
        }
        let (data, target) = (graph.block(block), graph.target(graph.edge(inst, 0)));
        let target_data = graph.block(target);
        if data.loop_site.is_some() || target_data.loop_site.is_some() || target == block {
            continue;
        }
        // That the way to the target is a rare one would be forgotten.
        if data.cold && !target_data.cold {
            continue;
        }
        found = true;
        found_params |= !graph.params(block).is_empty();
        jumps[block.as_u32() as usize] = Some(inst);
    }
    if found_params {
        keep_used_params(graph, jumps);
    }
    found
}

/// Strikes out the blocks with a parameter that is used elsewhere than in their own jump.
fn keep_used_params(graph: &Graph, jumps: &mut [Option<Inst>]) {
    let mut used = |value: Value, inst: Inst| {
        if let ValueDef::Param(block, _) = graph.def(value) {
            let jump = &mut jumps[block.as_u32() as usize];
            if *jump != Some(inst) {
                *jump = None;
            }
        }
    };
    for block in graph.blocks() {
        for inst in graph.insts(block) {
            graph.args(inst).iter().for_each(|&value| used(value, inst));
        }
        if let Some(inst) = graph.terminator(block) {
            for edge in graph.edges(inst) {
                graph
                    .edge_args(edge)
                    .iter()
                    .for_each(|&value| used(value, inst));
            }
        }
    }
}

/// Sends an edge past the blocks that only jump.
fn follow(
    graph: &mut Graph,
    edge: Edge,
    jumps: &[Option<Inst>],
    args: &mut Vec<Value>,
    fuel: &mut Fuel,
) -> bool {
    let mut changed = false;
    for _ in 0..MAX_HOPS {
        let block = graph.target(edge);
        let Some(jump) = jumps[block.as_u32() as usize] else {
            break;
        };
        let next = graph.edge(jump, 0);
        if next == edge || !fuel.consume() {
            break;
        }
        changed = true;
        args.clear();
        for &arg in graph.edge_args(next) {
            args.push(match graph.def(arg) {
                ValueDef::Param(of, n) if of == block => graph.edge_args(edge)[n as usize],
                // It dominates the block, and as it is not of the block also what leads there.
                _ => arg,
            });
        }
        let target = graph.target(next);
        graph.set_target(edge, target);
        graph.set_edge_args(edge, args);
    }
    changed
}

/// A branch whose two edges have become the same.
fn same_edges(graph: &mut Graph, inst: Inst, fuel: &mut Fuel) -> bool {
    if graph.op(inst) != Op::BranchIf {
        return false;
    }
    let (a, b) = (graph.edge(inst, 0), graph.edge(inst, 1));
    let same = graph.target(a) == graph.target(b) && graph.edge_args(a) == graph.edge_args(b);
    if !same || !fuel.consume() {
        return false;
    }
    graph.replace_with_jump(inst, 0);
    true
}

/// Appends blocks that are reached by one jump alone to the block that jumps.
fn join(graph: &mut Graph, cfg: &mut Cfg, fuel: &mut Fuel) -> bool {
    cfg.compute(graph);
    // Ways in from what nothing reaches do not count, but must not remain either. If the fuel does
    // not suffice for that, none is left for what follows.
    let mut changed = dce::unreachable_blocks(graph, cfg, fuel);
    let mut aliases = false;
    for block in cfg.reverse_postorder() {
        while let Some((jump, target)) = only_successor(graph, cfg, block) {
            if !fuel.consume() {
                break;
            }
            changed = true;
            let edge = graph.edge(jump, 0);
            for i in 0..graph.params(target).len() {
                let (param, arg) = (graph.params(target)[i], graph.edge_args(edge)[i]);
                graph.alias(param, arg);
                aliases = true;
            }
            graph.retain_params(target, &[edge], |_, _| false);
            graph.remove_inst(jump);
            if let Some(first) = graph.first_inst(target) {
                graph.move_tail(first, block);
            }
            graph.remove_block(target);
        }
    }
    if aliases {
        graph.resolve_aliases();
    }
    changed
}

/// The jump at the end of a block, and its target if nothing else goes there and it may be joined.
fn only_successor(graph: &Graph, cfg: &Cfg, block: Block) -> Option<(Inst, Block)> {
    let jump = graph.terminator(block)?;
    if graph.op(jump) != Op::Jump {
        return None;
    }
    let target = graph.target(graph.edge(jump, 0));
    let joins = cfg.preds(target).len() == 1
        && target != block
        && graph.block(target).loop_site.is_none()
        && graph.block(target).cold == graph.block(block).cold;
    joins.then_some((jump, target))
}
