//! Fewer blocks: edges past blocks that only jump, and blocks with one way in joined to it.
//!
//! An edge to a block that does nothing but jump goes to that jump's target instead; so does one
//! to a block that only branches on a parameter, if the edge gives it a constant (a truth value
//! made by one branch and tested by the next). Not if a parameter of the block is used elsewhere,
//! nor if the target is a loop's header, which keeps the one block before it where later passes
//! put things. A block between one way of a branch and a join stays too, and one that gives
//! arguments: Cranelift would need another for each way in its stead, for the moves, and would put
//! it in the way of the other branch. A block that is reached by one jump alone becomes the end of the block that jumps.
//! Loop headers are never joined: they are named as such from outside.

use crate::graph::{Block, Cfg, Edge, Graph, Imm, Inst, Op, Value, ValueDef};

use super::{Context, Fuel, dce};

/// Working memory.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// By block, its terminator if it does nothing else and edges may go past it.
    passable: Vec<Option<Inst>>,
    /// By block, how many edges go to it.
    ways_in: Vec<u32>,
    args: Vec<Value>,
}

/// More blocks in a row are not passed at once; blocks may also jump in a circle.
const MAX_HOPS: usize = 8;

pub(super) fn run(graph: &mut Graph, context: &mut Context<'_>) -> bool {
    let scratch = &mut context.scratch.straighten;
    let mut changed = false;
    if find_passable(graph, &mut scratch.passable) {
        count_ways_in(graph, &mut scratch.ways_in);
        let mut block = Some(graph.entry());
        while let Some(current) = block {
            if let Some(inst) = graph.terminator(current) {
                for edge in graph.edges(inst) {
                    changed |= follow(graph, inst, edge, scratch, &mut context.fuel);
                }
                changed |= same_edges(graph, inst, &mut context.fuel);
            }
            block = graph.next_block(current);
        }
    }
    changed | join(graph, &mut context.scratch.cfg, &mut context.fuel)
}

/// Notes the blocks that do nothing but jump or branch on a parameter, and says whether there are
/// any.
fn find_passable(graph: &Graph, passable: &mut Vec<Option<Inst>>) -> bool {
    passable.clear();
    passable.resize(graph.num_blocks(), None);
    let (mut found, mut found_params) = (false, false);
    for block in graph.blocks().skip(1) {
        let Some(inst) = graph.first_inst(block) else {
            continue;
        };
        let passes = match graph.op(inst) {
            Op::Jump => true,
            Op::BranchIf => condition_param(graph, block, inst).is_some(),
            _ => false,
        };
        if passes && graph.block(block).loop_site.is_none() {
            found = true;
            found_params |= !graph.params(block).is_empty();
            passable[block.as_u32() as usize] = Some(inst);
        }
    }
    if found_params {
        keep_used_params(graph, passable);
    }
    found
}

fn count_ways_in(graph: &Graph, ways_in: &mut Vec<u32>) {
    ways_in.clear();
    ways_in.resize(graph.num_blocks(), 0);
    for target in graph.blocks().flat_map(|block| graph.successors(block)) {
        ways_in[target.as_u32() as usize] += 1;
    }
}

/// Which parameter of its block a `branch_if` tests.
fn condition_param(graph: &Graph, block: Block, branch: Inst) -> Option<usize> {
    match graph.def(graph.args(branch)[0]) {
        ValueDef::Param(of, n) if of == block => Some(n as usize),
        _ => None,
    }
}

/// Strikes out the blocks with a parameter that is used elsewhere than in their own terminator.
fn keep_used_params(graph: &Graph, passable: &mut [Option<Inst>]) {
    let mut used = |value: Value, inst: Inst| {
        if let ValueDef::Param(block, _) = graph.def(value) {
            let terminator = &mut passable[block.as_u32() as usize];
            if *terminator != Some(inst) {
                *terminator = None;
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

/// Sends an edge of `inst` past the blocks that do nothing.
fn follow(
    graph: &mut Graph,
    inst: Inst,
    edge: Edge,
    scratch: &mut Scratch,
    fuel: &mut Fuel,
) -> bool {
    let Scratch {
        passable,
        ways_in,
        args,
    } = scratch;
    let branches = graph.edges(inst).len() > 1;
    let mut changed = false;
    for _ in 0..MAX_HOPS {
        let block = graph.target(edge);
        let i = block.as_u32() as usize;
        let Some(terminator) = passable[i] else {
            break;
        };
        if branches && graph.op(terminator) == Op::Jump {
            // With arguments it is also what several ways share.
            let moves = !graph.edge_args(graph.edge(terminator, 0)).is_empty();
            if moves || ways_in[i] == 1 {
                break;
            }
        }
        let Some(next) = way_out(graph, edge, block, terminator) else {
            break;
        };
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

/// The edge that is always taken out of `block` by whoever came in by `edge`, unless it is better
/// not to know.
fn way_out(graph: &Graph, edge: Edge, block: Block, terminator: Inst) -> Option<Edge> {
    let next = match graph.op(terminator) {
        Op::Jump => graph.edge(terminator, 0),
        _ => {
            let n = condition_param(graph, block, terminator)?;
            let def = graph.def_inst(graph.edge_args(edge)[n])?;
            match graph.imm(def) {
                Imm::I32(condition) => graph.edge(terminator, usize::from(condition == 0)),
                _ => return None,
            }
        }
    };
    let target = graph.target(next);
    let data = graph.block(target);
    // That this is a rare way would be forgotten.
    let forgets = graph.block(block).cold && !data.cold;
    (target != block && data.loop_site.is_none() && !forgets).then_some(next)
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
