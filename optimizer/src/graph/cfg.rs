//! Predecessors and reverse postorder, computed on demand.

use cranelift_entity::{EntityRef, SecondaryMap};

use crate::graph::data::Graph;
use crate::graph::entities::{Block, Edge, Inst};

/// The control flow of a graph as it was when [`Cfg::compute`] ran. Only reachable blocks are in
/// it. Reusable; costs blocks plus edges.
#[derive(Debug, Default)]
pub struct Cfg {
    /// All edges from reachable blocks, grouped by target.
    edges: Vec<Edge>,
    /// The terminator that each of `edges` belongs to.
    sources: Vec<Inst>,
    /// Where a block's group ends; it begins where the one before ends.
    ends: Vec<u32>,
    postorder: Vec<Block>,
    /// Position in `postorder` plus one; 0 is unreachable.
    position: SecondaryMap<Block, u32>,
    stack: Vec<(Block, u32)>,
}

impl Cfg {
    /// An empty one.
    pub fn new() -> Cfg {
        Cfg::default()
    }

    /// Reads the graph.
    pub fn compute(&mut self, graph: &Graph) {
        self.edges.clear();
        self.sources.clear();
        self.ends.clear();
        self.postorder.clear();
        self.position.clear();
        self.position.resize(graph.num_blocks());
        self.walk(graph);

        // A counting sort of the edges by target.
        self.ends.resize(graph.num_blocks() + 1, 0);
        for &block in &self.postorder {
            for target in graph.successors(block) {
                self.ends[target.index() + 1] += 1;
            }
        }
        let mut sum = 0;
        for end in &mut self.ends {
            sum += *end;
            *end = sum;
        }
        let total = sum as usize;
        // Until here `ends[b]` is where the group of `b` begins; filling moves it to its end.
        self.edges.resize(total, Edge::new(0));
        self.sources.resize(total, Inst::new(0));
        for &block in self.postorder.iter().rev() {
            let Some(inst) = graph.terminator(block) else {
                continue;
            };
            for edge in graph.edges(inst) {
                let place = &mut self.ends[graph.target(edge).index()];
                self.edges[*place as usize] = edge;
                self.sources[*place as usize] = inst;
                *place += 1;
            }
        }
    }

    /// Depth-first from the entry, with a stack of its own: blocks nest as deep as wasm does.
    fn walk(&mut self, graph: &Graph) {
        const SEEN: u32 = u32::MAX;
        let entry = graph.entry();
        self.position[entry] = SEEN;
        self.stack.push((entry, 0));
        while let Some((block, next)) = self.stack.last_mut() {
            let block = *block;
            // Last edge first, so that reverse postorder follows wasm order where it can.
            let edge = graph.terminator(block).and_then(|inst| {
                let edges = graph.edges(inst);
                let n = edges.len();
                (*next as usize)
                    .lt(&n)
                    .then(|| graph.edge(inst, n - 1 - *next as usize))
            });
            *next += 1;
            match edge {
                Some(edge) => {
                    let target = graph.target(edge);
                    if self.position[target] == 0 {
                        self.position[target] = SEEN;
                        self.stack.push((target, 0));
                    }
                }
                None => {
                    self.stack.pop();
                    self.postorder.push(block);
                    self.position[block] = self.postorder.len() as u32;
                }
            }
        }
    }

    fn range(&self, block: Block) -> std::ops::Range<usize> {
        let i = block.index();
        if i + 1 >= self.ends.len() {
            return 0..0;
        }
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        start as usize..self.ends[i] as usize
    }

    /// The edges to a block.
    pub fn preds(&self, block: Block) -> &[Edge] {
        &self.edges[self.range(block)]
    }

    /// The terminators that the edges of [`Cfg::preds`] belong to, in the same order.
    pub fn pred_insts(&self, block: Block) -> &[Inst] {
        &self.sources[self.range(block)]
    }

    /// The reachable blocks, each before all that it dominates.
    pub fn reverse_postorder(&self) -> impl DoubleEndedIterator<Item = Block> + '_ {
        self.postorder.iter().rev().copied()
    }

    /// Whether the entry leads to a block.
    pub fn is_reachable(&self, block: Block) -> bool {
        self.position[block] != 0
    }

    /// A block's position in postorder: less than that of whatever comes before it in
    /// [`Cfg::reverse_postorder`]. Unreachable blocks have none.
    pub fn postorder_position(&self, block: Block) -> Option<u32> {
        self.position[block].checked_sub(1)
    }
}
