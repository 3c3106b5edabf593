//! Interprets bodies of generated programs, with a stack as the specification has it.

use bimetal_codegen::ModuleEnv;
use bimetal_wasm::body::{BinaryReader, BlockType, BodyReader, Operator};
use bimetal_wasm::{DefinedFuncIndex, TypeIndex};

use crate::graph::Op;

use super::super::numeric;
use super::{GLOBALS, Outcome, binary, imported};

struct Label {
    /// Where a branch goes on.
    to: usize,
    arity: usize,
    height: usize,
    is_loop: bool,
}

pub fn run(env: &ModuleEnv, func: DefinedFuncIndex, params: &[i32]) -> Outcome {
    let body = BodyReader::new(BinaryReader::new(env.module.body_bytes(func), 0));
    let ops: Vec<Operator<'_>> = body
        .get_operators_reader()
        .unwrap()
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let mut locals = params.to_vec();
    locals.resize(64, 0);
    let mut globals = GLOBALS;
    let results = interpret(env, func, &ops, &mut locals, &mut globals);
    Outcome { results, globals }
}

/// For each `block`, `loop`, `if` and `else` where its `else` or `end` is.
fn matches(ops: &[Operator<'_>]) -> Vec<usize> {
    let mut found = vec![ops.len(); ops.len()];
    let mut open = Vec::new();
    for (i, op) in ops.iter().enumerate() {
        match op {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => open.push(i),
            Operator::Else => {
                found[open.pop().unwrap()] = i;
                open.push(i);
            }
            Operator::End => {
                if let Some(start) = open.pop() {
                    found[start] = i;
                }
            }
            _ => {}
        }
    }
    found
}

fn interpret(
    env: &ModuleEnv,
    func: DefinedFuncIndex,
    ops: &[Operator<'_>],
    locals: &mut [i32],
    globals: &mut [i32; 2],
) -> Option<Vec<i32>> {
    let module = &env.module;
    let results = module.func_type(module.func_index(func)).results().len();
    let matches = matches(ops);
    let arity = |ty: BlockType| match ty {
        BlockType::Empty => (0, 0),
        BlockType::Type(_) => (0, 1),
        BlockType::FuncType(index) => {
            let ty = module.func_type_at(TypeIndex::from_u32(index));
            (ty.params().len(), ty.results().len())
        }
    };
    // Where a construct's `end` is, past its `else`.
    let end = |start: usize| match matches[start] {
        at if matches!(ops.get(at), Some(Operator::Else)) => matches[at],
        at => at,
    };
    let mut stack: Vec<i32> = Vec::new();
    let mut labels = vec![Label {
        to: ops.len(),
        arity: results,
        height: 0,
        is_loop: false,
    }];
    let mut at = 0;
    while at < ops.len() {
        let mut branch = None;
        match &ops[at] {
            Operator::Block { blockty } => {
                let (params, results) = arity(*blockty);
                labels.push(Label {
                    to: end(at) + 1,
                    arity: results,
                    height: stack.len() - params,
                    is_loop: false,
                });
            }
            Operator::Loop { blockty } => {
                let (params, _) = arity(*blockty);
                labels.push(Label {
                    to: at + 1,
                    arity: params,
                    height: stack.len() - params,
                    is_loop: true,
                });
            }
            Operator::If { blockty } => {
                let condition = stack.pop()?;
                let (params, results) = arity(*blockty);
                labels.push(Label {
                    to: end(at) + 1,
                    arity: results,
                    height: stack.len() - params,
                    is_loop: false,
                });
                if condition == 0 {
                    at = matches[at];
                    if matches!(ops[at], Operator::End) {
                        labels.pop();
                    }
                }
            }
            Operator::Else => {
                at = matches[at];
                labels.pop();
            }
            Operator::End => {
                labels.pop();
            }
            Operator::Br { relative_depth } => branch = Some(*relative_depth),
            Operator::BrIf { relative_depth } => {
                if stack.pop()? != 0 {
                    branch = Some(*relative_depth);
                }
            }
            Operator::BrTable { targets } => {
                let index = stack.pop()? as u32 as usize;
                let target = targets.targets().nth(index);
                branch = Some(target.map_or(targets.default(), Result::unwrap));
            }
            Operator::Return => branch = Some(labels.len() as u32 - 1),
            Operator::Unreachable => return None,
            Operator::LocalGet { local_index } => stack.push(locals[*local_index as usize]),
            Operator::LocalSet { local_index } => locals[*local_index as usize] = stack.pop()?,
            Operator::LocalTee { local_index } => locals[*local_index as usize] = *stack.last()?,
            Operator::GlobalGet { global_index } => stack.push(globals[*global_index as usize]),
            Operator::GlobalSet { global_index } => {
                globals[*global_index as usize] = stack.pop()?
            }
            Operator::I32Const { value } => stack.push(*value),
            Operator::Drop => drop(stack.pop()?),
            Operator::Select => {
                let (c, b, a) = (stack.pop()?, stack.pop()?, stack.pop()?);
                stack.push(if c != 0 { a } else { b });
            }
            Operator::Call { .. } => {
                let (b, a) = (stack.pop()?, stack.pop()?);
                stack.extend(imported(a, b));
            }
            Operator::I32Eqz => {
                let a = stack.pop()?;
                stack.push(i32::from(a == 0));
            }
            other => {
                let op: Op = numeric::plain(other).unwrap();
                let (b, a) = (stack.pop()?, stack.pop()?);
                stack.push(binary(op, a, b)?);
            }
        }
        at += 1;
        if let Some(depth) = branch {
            let index = labels.len() - 1 - depth as usize;
            let label = &labels[index];
            at = label.to;
            let values = stack.split_off(stack.len() - label.arity);
            stack.truncate(label.height);
            stack.extend(values);
            labels.truncate(if label.is_loop { index + 1 } else { index });
        }
    }
    Some(stack.split_off(stack.len() - results))
}
