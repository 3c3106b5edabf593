//! Whether a graph is one: the independent check behind every step that makes or changes graphs.
//!
//! It takes nothing on trust that it can look at: lists are walked with their back links,
//! predecessors and dominators are computed here from the edges, types come from the op table and,
//! if it is given, from the module. It reports up to [`MAX_MESSAGES`] defects, each with the
//! instruction and the reason. Costs are linear in the graph (but for the usual iteration of
//! dominators), so that whole modules can be verified in tests.
//!
//! It does not check that the graph means what the wasm means: the differential tests of the
//! passes do.

mod dominance;
mod types;

use std::fmt;

use bimetal_codegen::ModuleEnv;
use bimetal_wasm::FuncType;
use cranelift_entity::EntityRef;

use crate::graph::{Block, Edge, Effects, Graph, Imm, Inst, Op, Value, ValueDef};

use dominance::Dominance;

/// More defects than this are not reported.
pub const MAX_MESSAGES: usize = 16;

/// What is wrong with a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyError {
    /// One line each.
    pub messages: Vec<String>,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.messages.join("\n"))
    }
}

impl std::error::Error for VerifyError {}

/// Checks a graph; with `env`, also that what it names is in the module and has the right type;
/// with `signature`, that it is a function of this type.
///
/// # Errors
/// What is wrong. The graph is a compiler's defect then, never the program's fault.
pub fn verify(
    graph: &Graph,
    env: Option<&ModuleEnv>,
    signature: Option<&FuncType>,
) -> Result<(), VerifyError> {
    let mut verifier = Verifier {
        graph,
        env,
        error: VerifyError::default(),
        inst_positions: vec![NOWHERE; graph.num_insts()],
        blocks: Vec::new(),
    };
    // What follows walks the lists, so they must be lists.
    if verifier.layout() {
        verifier.definitions();
        verifier.signature(signature);
        verifier.sites();
        let dominance = Dominance::compute(graph);
        for i in 0..verifier.blocks.len() {
            let block = verifier.blocks[i];
            for inst in graph.insts(block) {
                verifier.instruction(inst);
                verifier.uses(inst, block, &dominance);
            }
        }
    }
    match verifier.error.messages.is_empty() {
        true => Ok(()),
        false => Err(verifier.error),
    }
}

const NOWHERE: u32 = u32::MAX;

struct Verifier<'a> {
    graph: &'a Graph,
    env: Option<&'a ModuleEnv>,
    error: VerifyError,
    /// The order of instructions within their block; `NOWHERE` for those without a place.
    inst_positions: Vec<u32>,
    blocks: Vec<Block>,
}

impl Verifier<'_> {
    fn error(&mut self, message: impl FnOnce() -> String) {
        if self.error.messages.len() < MAX_MESSAGES {
            self.error.messages.push(message());
        }
    }

    /// An error in an instruction, which is quoted.
    fn error_in(&mut self, inst: Inst, message: impl FnOnce() -> String) {
        let graph = self.graph;
        self.error(|| {
            let mut text = match graph.inst_block(inst) {
                Some(block) => format!("{block}, `"),
                None => String::from("`"),
            };
            // Writing to a string does not fail.
            let _ = graph.print_inst(&mut text, inst);
            text + "`: " + &message()
        });
    }

    /// The lists of blocks and instructions; false if they cannot be walked.
    fn layout(&mut self) -> bool {
        let graph = self.graph;
        let mut prev = None;
        for block in graph.blocks() {
            if self.blocks.len() >= graph.num_blocks() {
                self.error(|| "the list of blocks has a cycle".into());
                return false;
            }
            if !graph.in_layout(block) || graph.prev_block(block) != prev {
                self.error(|| format!("{block}: the list of blocks is broken"));
                return false;
            }
            prev = Some(block);
            self.blocks.push(block);
        }
        if self.blocks.is_empty() {
            self.error(|| "there is no entry block".into());
            return false;
        }
        let mut placed = 0;
        for i in 0..self.blocks.len() {
            let block = self.blocks[i];
            let mut prev = None;
            for inst in graph.insts(block) {
                let position = &mut self.inst_positions[inst.index()];
                if *position != NOWHERE
                    || graph.inst_block(inst) != Some(block)
                    || graph.prev_inst(inst) != prev
                {
                    self.error(|| format!("{block}: the list of instructions is broken at {inst}"));
                    return false;
                }
                *position = placed;
                placed += 1;
                prev = Some(inst);
            }
            if graph.last_inst(block) != prev {
                self.error(|| format!("{block}: the list of instructions has another end"));
                return false;
            }
            self.terminators(block);
        }
        true
    }

    fn terminators(&mut self, block: Block) {
        let graph = self.graph;
        let Some(last) = graph.last_inst(block) else {
            return self.error(|| format!("{block} is empty"));
        };
        if !graph.op(last).is_terminator() {
            self.error_in(last, || "the block does not end with a terminator".into());
        }
        for inst in graph.insts(block).filter(|&inst| inst != last) {
            if graph.op(inst).is_terminator() {
                self.error_in(inst, || "a terminator is not last in its block".into());
            }
        }
    }

    /// Parameters and results know where they are defined.
    fn definitions(&mut self) {
        let graph = self.graph;
        for i in 0..self.blocks.len() {
            let block = self.blocks[i];
            for (n, &param) in graph.params(block).iter().enumerate() {
                if graph.def(param) != ValueDef::Param(block, n as u32) {
                    self.error(|| format!("{block}: parameter {n} ({param}) is defined elsewhere"));
                }
            }
            for inst in graph.insts(block) {
                for (n, result) in graph.results(inst).enumerate() {
                    if graph.def(result) != ValueDef::Result(inst, n as u32) {
                        self.error_in(inst, || format!("result {n} is defined elsewhere"));
                    }
                }
            }
        }
    }

    fn signature(&mut self, signature: Option<&FuncType>) {
        let Some(signature) = signature else {
            return;
        };
        let graph = self.graph;
        let params = graph
            .params(graph.entry())
            .iter()
            .map(|&v| Some(graph.ty(v)));
        let convert = |&ty| types::converted(self.env, ty);
        if !params.eq(signature.params().iter().map(convert)) {
            self.error(|| format!("the entry's parameters are not those of {signature}"));
        }
        let results = graph.results.iter().map(|&ty| Some(ty));
        let convert = |&ty| types::converted(self.env, ty);
        if !results.eq(signature.results().iter().map(convert)) {
            self.error(|| format!("the graph's results are not those of {signature}"));
        }
    }

    fn sites(&mut self) {
        let graph = self.graph;
        for (i, node) in graph.inline_nodes.iter().enumerate() {
            if node.parent as usize > i {
                self.error(|| format!("inline node {}: its parent comes later", i + 1));
            }
        }
        for i in 0..self.blocks.len() {
            let block = self.blocks[i];
            if let Some(site) = graph.block(block).loop_site.expand()
                && !self.is_site(site)
            {
                self.error(|| format!("{block}: the site of the loop is not in the graph"));
            }
        }
    }

    fn is_site(&self, site: crate::graph::SiteId) -> bool {
        site.index() < self.graph.num_sites()
            && self.graph.site_info(site).node as usize <= self.graph.inline_nodes.len()
    }

    /// What an instruction is made of, but for where its operands come from.
    fn instruction(&mut self, inst: Inst) {
        let graph = self.graph;
        let (op, imm) = (graph.op(inst), graph.imm(inst));
        if op.info().imm != imm.kind() {
            let (wanted, found) = (op.info().imm, imm.kind());
            return self.error_in(inst, || format!("immediate {found:?}, expected {wanted:?}"));
        }
        match graph.site(inst) {
            Some(site) if !self.is_site(site) => {
                self.error_in(inst, || "its site is not in the graph".into());
            }
            None if op
                .effects()
                .intersects(Effects::CAN_TRAP | Effects::CAN_CALL) =>
            {
                self.error_in(inst, || "can trap or call, but has no site".into());
            }
            _ => {}
        }
        if let Err(message) = types::check(graph, self.env, inst) {
            self.error_in(inst, || message);
        }
        self.edges(inst, op, imm);
    }

    fn edges(&mut self, inst: Inst, op: Op, imm: Imm) {
        let graph = self.graph;
        let count = graph.edges(inst).len();
        let (fits, wanted) = match op {
            Op::Jump => (count == 1, "one"),
            Op::BranchIf => (count == 2, "two"),
            Op::TryCall | Op::TryCallIndirect | Op::TryCallRef => (count == 2, "two"),
            Op::BrTable => (count >= 1, "one at least"),
            _ => (count == 0, "none"),
        };
        if !fits {
            self.error_in(inst, || format!("{count} edges, expected {wanted}"));
        }
        if let Imm::JumpTable(table) = imm {
            let entries = graph.jump_table(table);
            if entries.is_empty() || entries.iter().any(|&entry| entry as usize >= count) {
                self.error_in(inst, || "the table names an edge that is not there".into());
            }
        }
        for edge in graph.edges(inst) {
            self.edge(inst, edge);
        }
    }

    fn edge(&mut self, inst: Inst, edge: Edge) {
        let graph = self.graph;
        let target = graph.target(edge);
        if target.index() >= graph.num_blocks() || !graph.in_layout(target) {
            return self.error_in(inst, || format!("{target} is not in the function"));
        }
        if target == graph.entry() {
            return self.error_in(inst, || "an edge to the entry block".into());
        }
        let (args, params) = (graph.edge_args(edge), graph.params(target));
        if args.len() != params.len() {
            let (args, params) = (args.len(), params.len());
            return self.error_in(inst, || {
                format!("{args} arguments for the {params} parameters of {target}")
            });
        }
        for (&arg, &param) in args.iter().zip(params) {
            if !self.is_value(arg) {
                continue;
            }
            let (found, wanted) = (graph.ty(arg), graph.ty(param));
            if found != wanted {
                self.error_in(inst, || {
                    format!("argument {arg} is {found}, {param} of {target} is {wanted}")
                });
            }
        }
    }

    fn is_value(&self, value: Value) -> bool {
        value.index() < self.graph.num_values()
    }

    /// Every value that is used is there, and was computed before.
    fn uses(&mut self, inst: Inst, block: Block, dominance: &Dominance) {
        let graph = self.graph;
        for &value in graph.args(inst) {
            self.value_use(inst, block, value, dominance);
        }
        for (n, edge) in graph.edges(inst).enumerate() {
            for &value in graph.edge_args(edge) {
                match self.is_value(value) && graph.def_inst(value) == Some(inst) {
                    true => self.own_result(inst, n, value),
                    false => self.value_use(inst, block, value, dominance),
                }
            }
        }
    }

    /// A result of a terminator in the arguments of its `n`-th edge: the exception where there is
    /// one, the others where there is none.
    fn own_result(&mut self, inst: Inst, n: usize, value: Value) {
        let is_last = self.graph.results(inst).last() == Some(value);
        if is_last != (n > 0) {
            self.error_in(inst, || format!("{value} is not there on edge {n}"));
        }
    }

    fn value_use(&mut self, inst: Inst, block: Block, value: Value, dominance: &Dominance) {
        let graph = self.graph;
        if !self.is_value(value) {
            return self.error_in(inst, || format!("{value} is not in the graph"));
        }
        let (def_block, before) = match graph.def(value) {
            ValueDef::Alias(target) => {
                return self.error_in(inst, || format!("{value} is an alias of {target}"));
            }
            ValueDef::Detached => {
                return self.error_in(inst, || format!("{value} is defined nowhere"));
            }
            ValueDef::Param(def_block, _) if !graph.in_layout(def_block) => {
                return self.error_in(inst, || format!("{value}: {def_block} was removed"));
            }
            ValueDef::Param(def_block, _) => (def_block, true),
            ValueDef::Result(def, _) => {
                let position = self.inst_positions[def.index()];
                match graph.inst_block(def) {
                    Some(def_block) if position != NOWHERE => {
                        (def_block, position < self.inst_positions[inst.index()])
                    }
                    _ => return self.error_in(inst, || format!("{value} was removed")),
                }
            }
        };
        if graph.is_terminators(value) {
            return self.error_in(inst, || format!("{value} is a result of a terminator"));
        }
        // In the same block by order; what is not reachable is dominated by everything.
        let dominates = match def_block == block {
            true => before,
            false => dominance.dominates(def_block, block),
        };
        if !dominates {
            self.error_in(inst, || {
                format!("{value}, defined in {def_block}, does not dominate this use")
            });
        }
    }
}

#[cfg(test)]
mod tests;
