//! Wasm → SSA graph.
//!
//! One pass over the body of a validated function: operand stack and control stack as in
//! validation, locals to values by `locals`, an instruction of the graph for each of wasm that
//! computes or does something. Code that cannot be reached is skipped. The families of
//! instructions have a file each; those that only take operands and give one result (numeric and
//! most vector ones) come from the table of ops.
//!
//! A body is built *in an environment* (`BodyEnv`): the values of its parameters, its node in
//! the tree of inlined calls, and what a return does. The root function is one case; inlining is
//! to build the callee's body where the call stands, in the same graph and from its own bytes.
//!
//! **Invariants**: no recursion in what input nests; work is proportional to the body's size and
//! the graph's, and counted, so that what exceeds the limits is [`CompileError::Limit`]. Whatever
//! contradicts validation is [`CompileError::Bug`], never a panic. The result has no aliases.
//!
//! It does not optimise: no folding, no merging of blocks, no removal of what is not used.

mod atomic;
mod call;
mod control;
mod exceptions;
mod gc;
mod inline;
mod locals;
mod memory;
mod metering;
mod numeric;
mod reference;
mod simd;
mod table;
#[cfg(test)]
mod tests;

use std::mem::take;

use bimetal_codegen::middleware::InstrumentedBody;
use bimetal_codegen::{CompileError, ModuleEnv};
use bimetal_wasm::body::{self, Operator, OperatorsReader, OperatorsReaderAllocations};
use bimetal_wasm::{BranchHint, DefinedFuncIndex, FuncIndex, FuncType, ValType};

use crate::graph::{Block, Effects, Graph, Imm, Op, SiteId, SiteInfo, Type, Value};
use control::Frame;
use exceptions::Clause;
use locals::{Ssa, Var};
use metering::Fuel;

/// Values of one function, 8 bytes each.
const MAX_VALUES: usize = 1 << 23;

/// Instructions of one function, 72 bytes each. The largest of clang, GCC and CPython has 95,000;
/// the register allocator gives up before this.
const MAX_INSTS: usize = 1 << 22;

type Result<T, E = CompileError> = std::result::Result<T, E>;

/// Working memory of [`build()`], to be used again.
#[derive(Debug, Default)]
pub struct BuildScratch {
    stack: Vec<Value>,
    frames: Vec<Frame>,
    /// The parameters of `if`s whose `else` may come.
    saved: Vec<Value>,
    types: Vec<Type>,
    entries: Vec<u32>,
    targets: Vec<usize>,
    clauses: Vec<Clause>,
    params: Vec<Value>,
    reader: Memory,
    ssa: Ssa,
}

/// The decoder's own memory.
#[derive(Default)]
struct Memory(OperatorsReaderAllocations);

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Memory")
    }
}

/// Builds the graph of a function; what was in `graph` is gone.
///
/// # Errors
/// [`CompileError::Unsupported`] for instructions and types that the graph does not have,
/// [`CompileError::Limit`] if it becomes too large.
///
/// # Example
/// ```
/// use bimetal_codegen::ModuleEnv;
/// use bimetal_optimizer::{build::{BuildScratch, build}, graph::Graph};
/// use bimetal_wasm::{DefinedFuncIndex, Features, Module};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let text = "(module
///     (func (param i32) (result i32) (i32.add (local.get 0) (i32.const 1))))";
/// let module = Module::new(text, &Features::default())?;
/// let env = ModuleEnv::new(module.into(), Default::default())?;
/// let mut graph = Graph::new();
/// build(&env, DefinedFuncIndex::from_u32(0), &mut graph, &mut BuildScratch::default())?;
/// assert_eq!(graph.insts(graph.entry()).count(), 3);
/// # Ok(()) }
/// ```
pub fn build(
    env: &ModuleEnv,
    func: DefinedFuncIndex,
    graph: &mut Graph,
    scratch: &mut BuildScratch,
) -> Result<()> {
    build_with(env, func, None, graph, scratch)
}

/// [`build()`] with small functions inlined, each for a unit of `fuel`.
///
/// # Errors
/// As for [`build()`].
pub fn build_inlining(
    env: &ModuleEnv,
    func: DefinedFuncIndex,
    fuel: &mut crate::passes::Fuel,
    graph: &mut Graph,
    scratch: &mut BuildScratch,
) -> Result<()> {
    build_with(env, func, Some(fuel), graph, scratch)
}

fn build_with(
    env: &ModuleEnv,
    func: DefinedFuncIndex,
    inlining: Option<&mut crate::passes::Fuel>,
    graph: &mut Graph,
    scratch: &mut BuildScratch,
) -> Result<()> {
    graph.clear();
    scratch.stack.clear();
    scratch.frames.clear();
    scratch.saved.clear();
    scratch.clauses.clear();
    scratch.ssa.clear();

    let entry = graph.make_block();
    graph.append_block(entry);
    scratch.ssa.enter(entry);
    let module = &*env.module;
    let ty = module.func_type(module.func_index(func));
    for &result in ty.results() {
        graph.results.push(value_type(env, result));
    }
    let mut params = take(&mut scratch.params);
    params.clear();
    for &param in ty.params() {
        params.push(graph.append_param(entry, value_type(env, param)));
    }
    let mut builder = Builder::new(env, graph, scratch, entry);
    builder.inlining = inlining;
    builder.growth = inline::Growth::new(module.bodies[func].range.len());
    builder.func = module.func_index(func);
    builder.offset = u32::try_from(module.bodies[func].range.start).unwrap_or(u32::MAX);
    let check = builder.enter_function();
    builder.body(&BodyEnv {
        func,
        node: 0,
        params: &params,
        exit: Exit::Return,
    })?;
    if let Some(check) = check.filter(|_| !builder.calls) {
        // It can be part of no recursion, and has its loops' checks.
        builder.graph.remove_inst(check);
    }
    scratch.params = params;
    if scratch.ssa.made_alias() {
        graph.resolve_aliases();
    }
    Ok(())
}

/// Where a body is built into.
struct BodyEnv<'a> {
    func: DefinedFuncIndex,
    /// Its node for [`SiteInfo`].
    node: u32,
    /// The values of its parameters.
    params: &'a [Value],
    exit: Exit,
}

/// What happens when a body returns.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Exit {
    /// The function of the graph returns.
    #[default]
    Return,
    /// Building goes on after the body, with its results on the operand stack.
    Continue,
}

/// What belongs to the body that is being built.
#[derive(Clone, Copy, Default)]
struct BodyState<'a> {
    node: u32,
    exit: Exit,
    /// Where its frames begin in the control stack.
    frames: usize,
    /// Its first local.
    locals: u32,
    /// Where it is in the module, and what that says of its branches.
    start: u32,
    hints: &'a [BranchHint],
}

struct Builder<'a> {
    env: &'a ModuleEnv,
    graph: &'a mut Graph,
    stack: &'a mut Vec<Value>,
    frames: &'a mut Vec<Frame>,
    saved: &'a mut Vec<Value>,
    types: &'a mut Vec<Type>,
    entries: &'a mut Vec<u32>,
    targets: &'a mut Vec<usize>,
    /// The clauses of `try_table`s that are open.
    clauses: &'a mut Vec<Clause>,
    reader: &'a mut Memory,
    ssa: &'a mut Ssa,
    /// Where instructions go.
    block: Block,
    /// Whether they can be executed; while not, nothing goes anywhere.
    reachable: bool,
    /// Of the instruction at hand, in the module.
    offset: u32,
    /// Whether anything is called.
    calls: bool,
    /// How many loops this is in.
    loops: u32,
    fuel: Option<Fuel>,
    body: BodyState<'a>,
    /// Whether functions are inlined, and how many more.
    inlining: Option<&'a mut crate::passes::Fuel>,
    /// How many more bytes of bodies may be.
    growth: inline::Growth,
    /// The function of the graph.
    func: FuncIndex,
    /// Whether the module has types of structs or arrays, if that was asked for.
    has_objects: Option<bool>,
}

fn value_type(env: &ModuleEnv, ty: ValType) -> Type {
    Type::from_wasm(ty, &env.module)
}

fn bug(what: &str) -> CompileError {
    CompileError::Bug(format!("building the graph: {what}"))
}

impl<'a> Builder<'a> {
    fn new(
        env: &'a ModuleEnv,
        graph: &'a mut Graph,
        scratch: &'a mut BuildScratch,
        block: Block,
    ) -> Builder<'a> {
        Builder {
            env,
            graph,
            stack: &mut scratch.stack,
            frames: &mut scratch.frames,
            saved: &mut scratch.saved,
            types: &mut scratch.types,
            entries: &mut scratch.entries,
            targets: &mut scratch.targets,
            clauses: &mut scratch.clauses,
            reader: &mut scratch.reader,
            ssa: &mut scratch.ssa,
            block,
            reachable: true,
            offset: 0,
            calls: false,
            loops: 0,
            fuel: None,
            body: BodyState::default(),
            inlining: None,
            growth: inline::Growth::default(),
            func: FuncIndex::from_u32(u32::MAX - 1),
            has_objects: None,
        }
    }

    fn body(&mut self, body: &BodyEnv<'_>) -> Result<()> {
        let module = &*self.env.module;
        let ty = module.func_type(module.func_index(body.func));
        let reader = module.body_reader(body.func);
        let malformed = |_| bug("a body that does not decode");
        let instrumentation = self.env.instrumentation.as_ref();
        let instrumented = instrumentation
            .map(|all| all.body(module, body.func))
            .transpose()?;

        let outer = self.body;
        self.body = BodyState {
            node: body.node,
            exit: body.exit,
            frames: self.frames.len(),
            locals: self.ssa.num_vars(),
            start: u32::try_from(module.bodies[body.func].range.start).unwrap_or(u32::MAX),
            hints: module.branch_hints(body.func),
        };
        self.push_body_frame(module.functions[module.func_index(body.func)]);
        self.params(ty, body)?;
        for run in reader.get_locals_reader().map_err(malformed)? {
            let (count, ty) = run.map_err(malformed)?;
            let ty = body::val_type(ty).ok_or_else(|| bug("a local's type"))?;
            let ty = value_type(self.env, ty);
            let first = self.ssa.declare(count, ty);
            if body.exit == Exit::Continue {
                // In the root a local that was never assigned is found to be so at the start of
                // the function. Here that would be too far back, should the body be in a loop.
                let zero = self.ssa.zero_of(self.graph, ty);
                (0..count).for_each(|i| self.ssa.set(Var(first.0 + i), zero));
            }
        }
        for &ty in instrumented.iter().flat_map(InstrumentedBody::locals) {
            let ty = value_type(self.env, ty);
            let var = self.ssa.declare(1, ty);
            let zero = self.ssa.zero_of(self.graph, ty);
            self.ssa.set(var, zero);
        }

        let code = reader
            .get_binary_reader_for_operators()
            .map_err(malformed)?;
        let mut operators = OperatorsReader::new_with_allocs(code, take(&mut self.reader.0));
        match instrumented {
            None => self.operators(&mut operators)?,
            Some(body) => self.instrumented(&mut operators, body)?,
        }
        self.body = outer;
        let at_end = operators.eof();
        self.reader.0 = operators.into_allocations();
        match at_end {
            true => Ok(()),
            false => Err(bug("code after the end")),
        }
    }

    /// The instructions of a body as they are.
    fn operators(&mut self, operators: &mut OperatorsReader<'_>) -> Result<()> {
        let mut skipped = 0u32;
        while self.frames.len() > self.body.frames {
            self.offset = operators.original_position() as u32;
            // Not moved out of the result: that would cost as much as decoding it.
            let read = operators.read();
            let Ok(operator) = &read else {
                return Err(bug("a body that does not decode"));
            };
            if self.reachable {
                self.charge(operator);
                self.operator(operator)?;
                self.check_limits()?;
            } else {
                self.skip(operator, &mut skipped)?;
            }
        }
        Ok(())
    }

    /// The instructions that middlewares make of a body's. Fuel is for the body's.
    fn instrumented<'b>(
        &mut self,
        operators: &mut OperatorsReader<'b>,
        mut body: InstrumentedBody<'b>,
    ) -> Result<()> {
        let mut skipped = 0u32;
        self.offset = operators.original_position() as u32;
        self.emitted(body.enter(self.offset)?, &mut skipped)?;
        while !operators.eof() {
            self.offset = operators.original_position() as u32;
            let Ok(operator) = operators.read() else {
                return Err(bug("a body that does not decode"));
            };
            if self.reachable {
                self.charge(&operator);
            }
            self.emitted(body.operator(operator, self.offset)?, &mut skipped)?;
        }
        body.finish(self.offset)
    }

    fn emitted(&mut self, operators: &[Operator<'_>], skipped: &mut u32) -> Result<()> {
        for operator in operators {
            if self.reachable {
                self.operator(operator)?;
                self.check_limits()?;
            } else {
                self.skip(operator, skipped)?;
            }
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<()> {
        let too_large = self.graph.num_values() > MAX_VALUES || self.graph.num_insts() > MAX_INSTS;
        if too_large || self.ssa.is_exhausted() {
            return Err(CompileError::Limit("a function is too complex".into()));
        }
        Ok(())
    }

    fn params(&mut self, ty: &FuncType, body: &BodyEnv<'_>) -> Result<()> {
        for (&ty, &value) in ty.params().iter().zip(body.params) {
            let var = self.ssa.declare(1, value_type(self.env, ty));
            self.ssa.set(var, value);
        }
        Ok(())
    }

    /// In code that cannot be reached: only where that ends is of interest.
    fn skip(&mut self, operator: &Operator<'_>, depth: &mut u32) -> Result<()> {
        match operator {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => *depth += 1,
            Operator::TryTable { .. } | Operator::Try { .. } => *depth += 1,
            Operator::Else if *depth == 0 => self.else_()?,
            Operator::Catch { tag_index } if *depth == 0 => self.catch(Some(*tag_index))?,
            Operator::CatchAll if *depth == 0 => self.catch(None)?,
            Operator::Delegate { relative_depth } if *depth == 0 => {
                self.delegate(*relative_depth)?;
            }
            Operator::End if *depth == 0 => self.end()?,
            Operator::End | Operator::Delegate { .. } => *depth -= 1,
            _ => {}
        }
        Ok(())
    }

    fn operator(&mut self, operator: &Operator<'_>) -> Result<()> {
        match operator {
            Operator::LocalGet { local_index } => {
                let var = Var(self.body.locals + local_index);
                let value = self.ssa.get(self.graph, var);
                self.stack.push(value);
            }
            Operator::LocalSet { local_index } => {
                let var = Var(self.body.locals + local_index);
                let value = self.pop()?;
                self.ssa.set(var, value);
            }
            Operator::LocalTee { local_index } => {
                let var = Var(self.body.locals + local_index);
                let value = self.peek()?;
                self.ssa.set(var, value);
            }
            Operator::I32Const { value } => {
                self.constant(Op::I32Const, Imm::I32(*value), Type::I32)
            }
            Operator::I64Const { value } => {
                self.constant(Op::I64Const, Imm::I64(*value), Type::I64)
            }
            Operator::F32Const { value } => {
                self.constant(Op::F32Const, Imm::F32(value.bits()), Type::F32);
            }
            Operator::F64Const { value } => {
                self.constant(Op::F64Const, Imm::F64(value.bits()), Type::F64);
            }
            Operator::Nop => {}
            Operator::Drop => {
                self.pop()?;
            }
            Operator::Select | Operator::TypedSelect { .. } => self.select()?,
            Operator::Block { blockty } => self.block(*blockty)?,
            Operator::Loop { blockty } => self.loop_(*blockty)?,
            Operator::If { blockty } => self.if_(*blockty)?,
            Operator::Else => self.else_()?,
            Operator::End => self.end()?,
            Operator::Br { relative_depth } => self.br(*relative_depth)?,
            Operator::BrIf { relative_depth } => self.br_if(*relative_depth)?,
            Operator::BrTable { targets } => self.br_table(targets)?,
            Operator::Return => self.return_()?,
            Operator::Unreachable => self.unreachable(),
            Operator::Call { function_index } => self.call(*function_index)?,
            Operator::CallIndirect {
                type_index,
                table_index,
            } => self.call_indirect(*type_index, *table_index)?,
            Operator::ReturnCall { function_index } => self.return_call(*function_index)?,
            Operator::ReturnCallIndirect {
                type_index,
                table_index,
            } => self.return_call_indirect(*type_index, *table_index)?,
            Operator::CallRef { type_index } => self.call_ref(*type_index)?,
            Operator::ReturnCallRef { type_index } => self.return_call_ref(*type_index)?,
            Operator::GlobalGet { global_index } => self.global_get(*global_index)?,
            Operator::GlobalSet { global_index } => self.global_set(*global_index)?,
            _ => return self.family(operator),
        }
        Ok(())
    }

    fn family(&mut self, operator: &Operator<'_>) -> Result<()> {
        if let Some(op) = numeric::plain(operator) {
            return self.plain(op);
        }
        if self.fuel.is_some() {
            self.charge_variable(operator)?;
        }
        let done = self.exception_operator(operator)?
            || self.memory_operator(operator)?
            || self.atomic_operator(operator)?
            || self.simd_operator(operator)?
            || self.wide_operator(operator)?
            || self.table_operator(operator)?
            || self.reference_operator(operator)?
            || self.gc_operator(operator)?;
        if done {
            return Ok(());
        }
        let name = format!("{operator:?}");
        let name = name.split([' ', '{']).next().unwrap_or_default();
        Err(CompileError::Unsupported(format!(
            "the instruction {name} at offset {:#x}",
            self.offset
        )))
    }

    // What all families use.

    fn pop(&mut self) -> Result<Value> {
        self.stack.pop().ok_or_else(|| bug("an operand is missing"))
    }

    fn peek(&self) -> Result<Value> {
        let top = self.stack.last().copied();
        top.ok_or_else(|| bug("an operand is missing"))
    }

    /// Where the uppermost `n` operands begin.
    fn top(&self, n: usize) -> Result<usize> {
        let start = self.stack.len().checked_sub(n);
        start.ok_or_else(|| bug("an operand is missing"))
    }

    /// A site for the instruction at hand.
    fn site(&mut self) -> SiteId {
        self.graph.make_site(SiteInfo {
            node: self.body.node,
            offset: self.offset,
        })
    }

    fn constant(&mut self, op: Op, imm: Imm, ty: Type) {
        let inst = self.graph.push_inst(self.block, op, &[], imm, None, &[ty]);
        self.stack.push(self.graph.result(inst));
    }

    /// An instruction that takes the uppermost `operands` values and gives at most one.
    fn emit(&mut self, op: Op, operands: usize, imm: Imm, result: Option<Type>) -> Result<()> {
        let start = self.top(operands)?;
        let effects = op.effects();
        let fails = !effects.is_removable() || effects.contains(Effects::COLLECTS);
        let site = fails.then(|| self.site());
        let args = &self.stack[start..];
        let inst = self
            .graph
            .push_inst(self.block, op, args, imm, site, result.as_slice());
        self.stack.truncate(start);
        if result.is_some() {
            self.stack.push(self.graph.result(inst));
        }
        Ok(())
    }

    /// [`Builder::emit`] for an op whose types are all fixed.
    fn plain(&mut self, op: Op) -> Result<()> {
        let info = op.info();
        let result = info.results.first().and_then(|slot| slot.fixed());
        self.emit(op, info.operands.len(), Imm::None, result)
    }
}
