//! Dominators, for the verifier alone: computed from the edges each time, by nothing that a pass
//! also uses.
//!
//! The algorithm is that of Cooper, Harvey and Kennedy; a numbering of the dominator tree then
//! answers each question in constant time.

use cranelift_entity::EntityRef;

use crate::graph::{Block, Graph};

/// Which blocks dominate which.
pub(super) struct Dominance {
    /// When a walk of the dominator tree enters and leaves a block; (0, 0) if it is unreachable.
    spans: Vec<(u32, u32)>,
}

const NONE: u32 = u32::MAX;

impl Dominance {
    pub(super) fn compute(graph: &Graph) -> Dominance {
        let order = postorder(graph);
        let mut number = vec![NONE; graph.num_blocks()];
        for (i, block) in order.iter().enumerate() {
            number[block.index()] = i as u32;
        }
        let preds = predecessors(graph, &order, &number);

        // By postorder number; the entry is the last.
        let entry = order.len() as u32 - 1;
        let mut idom = vec![NONE; order.len()];
        idom[entry as usize] = entry;
        let mut changed = true;
        while changed {
            changed = false;
            for block in (0..entry).rev() {
                let known = preds.of(block).iter().copied();
                let meet = known
                    .filter(|&pred| idom[pred as usize] != NONE)
                    .reduce(|a, b| intersect(&idom, a, b));
                // Reverse postorder: one predecessor at least has been seen.
                let meet = meet.unwrap_or(NONE);
                changed |= idom[block as usize] != meet;
                idom[block as usize] = meet;
            }
        }

        // A dominator has a greater number than what it dominates. Sizes of subtrees give a
        // preorder without walking the tree.
        let mut size = vec![1u32; order.len()];
        for block in 0..entry as usize {
            size[idom[block] as usize] += size[block];
        }
        let mut spans = vec![(0, 0); graph.num_blocks()];
        let mut next = vec![0u32; order.len()];
        for block in (0..order.len()).rev() {
            let start = if block as u32 == entry {
                1
            } else {
                let place = &mut next[idom[block] as usize];
                let start = *place;
                *place += size[block];
                start
            };
            next[block] = start + 1;
            spans[order[block].index()] = (start, start + size[block]);
        }
        Dominance { spans }
    }

    /// Whether every way from the entry to `b` leads through `a`. So it is if there is no way.
    pub(super) fn dominates(&self, a: Block, b: Block) -> bool {
        let ((start, end), (at, _)) = (self.spans[a.index()], self.spans[b.index()]);
        at == 0 || start <= at && at < end
    }
}

fn intersect(idom: &[u32], mut a: u32, mut b: u32) -> u32 {
    while a != b {
        if a < b {
            a = idom[a as usize];
        } else {
            b = idom[b as usize];
        }
    }
    a
}

/// The reachable blocks.
fn postorder(graph: &Graph) -> Vec<Block> {
    let mut seen = vec![false; graph.num_blocks()];
    let mut order = Vec::new();
    let entry = graph.entry();
    seen[entry.index()] = true;
    let mut stack = vec![(entry, successors(graph, entry))];
    while let Some((block, targets)) = stack.last_mut() {
        match targets.pop() {
            Some(target) => {
                if !std::mem::replace(&mut seen[target.index()], true) {
                    stack.push((target, successors(graph, target)));
                }
            }
            None => {
                order.push(*block);
                stack.pop();
            }
        }
    }
    order
}

/// The successors that are blocks of the function; others are reported elsewhere.
fn successors(graph: &Graph, block: Block) -> Vec<Block> {
    graph
        .successors(block)
        .filter(|target| target.index() < graph.num_blocks())
        .collect()
}

/// Predecessors by number, in one vector.
struct Predecessors {
    starts: Vec<u32>,
    blocks: Vec<u32>,
}

impl Predecessors {
    fn of(&self, block: u32) -> &[u32] {
        let i = block as usize;
        &self.blocks[self.starts[i] as usize..self.starts[i + 1] as usize]
    }
}

fn predecessors(graph: &Graph, order: &[Block], number: &[u32]) -> Predecessors {
    let mut pairs = Vec::new();
    for (i, &block) in order.iter().enumerate() {
        pairs.extend(
            successors(graph, block)
                .iter()
                .map(|s| (number[s.index()], i as u32)),
        );
    }
    pairs.sort_unstable();
    let mut starts = vec![0u32; order.len() + 1];
    for &(target, _) in &pairs {
        starts[target as usize + 1] += 1;
    }
    for i in 1..starts.len() {
        starts[i] += starts[i - 1];
    }
    Predecessors {
        starts,
        blocks: pairs.into_iter().map(|(_, pred)| pred).collect(),
    }
}
