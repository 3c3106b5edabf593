//! Cold code: what is reached only by ways that are hardly ever taken.
//!
//! A way is one that is not if its branch says so, or if it comes out of a cold block. Blocks are looked
//! at in an order in which those before them come first; a loop is as cold as the way into it. Cold
//! blocks are placed behind all others, and their register moves do not count.
//!
//! Nothing happens in functions whose branches say nothing.

use crate::graph::{Graph, Hint, Imm, Op};

use super::Context;

/// A branch that goes one way so many times of 255, or fewer, hardly ever does.
const RARE: u8 = 10;

pub(super) fn run(graph: &mut Graph, context: &mut Context<'_>) -> bool {
    let hinted = graph.blocks().any(|block| {
        graph
            .terminator(block)
            .is_some_and(|inst| matches!(graph.imm(inst), Imm::Hint(Hint::Taken(_))))
    });
    if !hinted {
        return false;
    }
    let cfg = &mut context.scratch.cfg;
    cfg.compute(graph);
    let entry = graph.entry();
    let mut changed = false;
    let blocks: Vec<_> = cfg.reverse_postorder().collect();
    for block in blocks {
        if block == entry || graph.block(block).cold {
            continue;
        }
        let here = cfg.postorder_position(block);
        let mut ways = cfg.preds(block).iter().zip(cfg.pred_insts(block));
        let cold = ways.all(|(&edge, &inst)| {
            let Some(from) = graph.inst_block(inst) else {
                return false;
            };
            // Ways back into a loop say nothing.
            graph.block(from).cold
                || cfg.postorder_position(from) <= here
                || is_rare(graph, inst, edge)
        });
        if cold && context.fuel.consume() {
            graph.block_mut(block).cold = true;
            changed = true;
        }
    }
    changed
}

/// Whether a branch hardly ever takes an edge of its.
fn is_rare(graph: &Graph, inst: crate::graph::Inst, edge: crate::graph::Edge) -> bool {
    let (Op::BranchIf, Imm::Hint(Hint::Taken(times))) = (graph.op(inst), graph.imm(inst)) else {
        return false;
    };
    match graph.edge(inst, 0) == edge {
        true => times <= RARE,
        false => times >= u8::MAX - RARE,
    }
}
