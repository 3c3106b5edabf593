//! What a walk over a function knows, by block: for passes that go through it once, in reverse postorder.
//!
//! A block begins with what all blocks before it agree on. Of a loop's header not all of these were walked:
//! there only that is known that nothing ends.

use bimetal_codegen::ModuleEnv;

use super::Fuel;
use crate::graph::{Block, Cfg, Graph, Inst};

/// So much is kept of all blocks; behind the rest nothing is known. Only functions with thousands of
/// blocks have more.
const MAX_KEPT: usize = 1 << 16;

/// Something that a pass knows, and what the pass does.
pub(super) trait Fact: Copy + PartialEq {
    /// Whether nothing ends it.
    fn lasts(&self) -> bool;

    /// Learns what else is known where a block begins.
    fn enter(_walk: &mut Walk<'_, Self>, _cfg: &Cfg, _block: Block) {}

    /// Learns from an instruction, or makes it what is known.
    fn visit(walk: &mut Walk<'_, Self>, inst: Inst);
}

/// A walk over a function.
pub(super) struct Walk<'a, F> {
    pub(super) graph: &'a mut Graph,
    pub(super) env: &'a ModuleEnv,
    pub(super) fuel: &'a mut Fuel,
    pub(super) facts: &'a mut Facts<F>,
    /// Whether the function was changed, and whether there are aliases now.
    pub(super) changed: bool,
    pub(super) aliases: bool,
}

/// Walks over a function. Whether it was changed.
pub(super) fn walk<F: Fact>(
    graph: &mut Graph,
    cfg: &Cfg,
    env: &ModuleEnv,
    fuel: &mut Fuel,
    facts: &mut Facts<F>,
) -> bool {
    facts.reset(graph);
    let mut walk = Walk {
        graph,
        env,
        fuel,
        facts,
        changed: false,
        aliases: false,
    };
    for block in cfg.reverse_postorder() {
        walk.facts.begin(walk.graph, cfg, block);
        F::enter(&mut walk, cfg, block);
        let mut inst = walk.graph.first_inst(block);
        while let Some(current) = inst {
            inst = walk.graph.next_inst(current);
            F::visit(&mut walk, current);
        }
        walk.facts.end(walk.graph, block);
    }
    if walk.aliases {
        walk.graph.resolve_aliases();
    }
    walk.changed
}

/// Working memory.
#[derive(Debug)]
pub(super) struct Facts<F> {
    /// What is known where the walk is, the oldest first.
    pub(super) known: Vec<F>,
    /// What is known at the end of each block that was walked.
    ends: Vec<F>,
    /// By block, its part of `ends`; `None` if it was not walked.
    parts: Vec<Option<(u32, u32)>>,
}

impl<F> Default for Facts<F> {
    fn default() -> Self {
        Facts {
            known: Vec::new(),
            ends: Vec::new(),
            parts: Vec::new(),
        }
    }
}

impl<F: Fact> Facts<F> {
    /// Forgets everything, for another function.
    fn reset(&mut self, graph: &Graph) {
        self.ends.clear();
        self.parts.clear();
        self.parts.resize(graph.num_blocks(), None);
    }

    /// Knows what is known at the end of all blocks before this one; where some of these were not walked,
    /// so much of it as lasts.
    fn begin(&mut self, graph: &Graph, cfg: &Cfg, block: Block) {
        let Facts { known, ends, parts } = self;
        known.clear();
        let (mut first, mut is_loop) = (true, false);
        for &inst in cfg.pred_insts(block) {
            let before = graph.inst_block(inst);
            let part = before.and_then(|before| parts[before.as_u32() as usize]);
            let Some((start, end)) = part else {
                is_loop = true;
                continue;
            };
            let end = &ends[start as usize..end as usize];
            match first {
                true => known.extend_from_slice(end),
                false => known.retain(|fact| end.contains(fact)),
            }
            first = false;
        }
        if is_loop {
            known.retain(F::lasts);
        }
    }

    /// Keeps what is known for the blocks that follow.
    fn end(&mut self, graph: &Graph, block: Block) {
        let is_last = graph.successors(block).next().is_none();
        if is_last || self.ends.len() + self.known.len() > MAX_KEPT {
            self.known.clear();
        }
        let start = self.ends.len() as u32;
        self.ends.extend_from_slice(&self.known);
        self.parts[block.as_u32() as usize] = Some((start, self.ends.len() as u32));
    }
}
