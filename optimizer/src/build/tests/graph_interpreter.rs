//! Interprets graphs of generated programs.

use crate::graph::{Edge, Graph, Imm, Op, Value};

use super::{GLOBALS, Outcome, binary, imported};

pub fn run(graph: &Graph, params: &[i32]) -> Outcome {
    let mut globals = GLOBALS;
    let results = interpret(graph, params, &mut globals);
    Outcome { results, globals }
}

fn interpret(graph: &Graph, params: &[i32], globals: &mut [i32; 2]) -> Option<Vec<i32>> {
    // A value that was never computed is `None`: reading it is a defect that `verify` missed.
    let mut values: Vec<Option<i32>> = vec![None; graph.num_values()];
    let mut block = graph.entry();
    let mut args = params.to_vec();
    loop {
        for (&param, &arg) in graph.params(block).iter().zip(&args) {
            values[param.as_u32() as usize] = Some(arg);
        }
        let mut next: Option<Edge> = None;
        for inst in graph.insts(block) {
            let get = |value: &Value| values[value.as_u32() as usize].expect("a computed value");
            let operands: Vec<i32> = graph.args(inst).iter().map(get).collect();
            let results: Vec<i32> = match (graph.op(inst), graph.imm(inst)) {
                (Op::I32Const, Imm::I32(value)) => vec![value],
                (Op::I32Eqz, _) => vec![i32::from(operands[0] == 0)],
                (Op::Select, _) => vec![operands[usize::from(operands[2] == 0)]],
                (Op::GlobalGet, Imm::Global(global)) => vec![globals[global.as_u32() as usize]],
                (Op::GlobalSet, Imm::Global(global)) => {
                    globals[global.as_u32() as usize] = operands[0];
                    vec![]
                }
                (Op::Call, _) => imported(operands[0], operands[1]).to_vec(),
                (Op::Jump, _) => {
                    next = Some(graph.edge(inst, 0));
                    vec![]
                }
                (Op::BranchIf, _) => {
                    next = Some(graph.edge(inst, usize::from(operands[0] == 0)));
                    vec![]
                }
                (Op::BrTable, Imm::JumpTable(table)) => {
                    let table = graph.jump_table(table);
                    let index = (operands[0] as u32 as usize).min(table.len() - 1);
                    next = Some(graph.edge(inst, table[index] as usize));
                    vec![]
                }
                (Op::Return, _) => return Some(operands),
                (Op::Unreachable, _) => return None,
                (op, _) => vec![binary(op, operands[0], operands[1])?],
            };
            for (value, result) in graph.results(inst).zip(results) {
                values[value.as_u32() as usize] = Some(result);
            }
        }
        let edge = next.expect("a terminator");
        args = graph
            .edge_args(edge)
            .iter()
            .map(|value| values[value.as_u32() as usize].expect("a computed value"))
            .collect();
        block = graph.target(edge);
    }
}
