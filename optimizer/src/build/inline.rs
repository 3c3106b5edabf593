//! Inlining.
//!
//! In every module: functions that are hardly more than the call of them. Accessors, and whatever a
//! compiler that was told not to optimise left as a function: no calls, no loops, a few instructions
//! that do something.
//!
//! In modules with structs or arrays also functions that are a little larger, call others, loop or deal
//! with references, and recursive ones into themselves. What makes such modules leaves more to the
//! engine than what compiles to linear memory, which has inlined already what is worth it.
//!
//! Their bodies are built where the calls stand, from their own bytes, each with a node of its own, so
//! that sites and backtraces name them; calls in them are inlined in turn. What middleware makes of a
//! body is built in its place, whatever that is, but nothing is inlined into it.
//!
//! A function that is inlined is entered without the checks at its start. A loop of calls without end
//! still meets them: of a circle of functions one is called. With fuel entering a function is charged and
//! checked; then nothing is inlined.
//!
//! **Invariant**: a function's code depends on its own body, the bodies of [`Graph::inline_nodes`], and
//! what is the same for the whole module.

use bimetal_codegen::InlineNode;
use bimetal_wasm::body::{self, Operator};
use bimetal_wasm::{CompositeType, DefinedFuncIndex, FuncIndex, TypeIndex, ValType};

use super::control::{Kind, Signature};
use super::{BodyEnv, Builder, Exit, Imm, Result, numeric};
use crate::graph::{Op, Slot, Type};

/// Bytes of a body that is looked at.
const MAX_BODY: usize = 160;

/// Instructions that do something. Compilers that do not optimise make an accessor of six to fifteen.
const MAX_COST: u32 = 20;

/// The same for functions that do more than compute, load and store.
const MAX_GENERAL_COST: u32 = 40;

/// Locals besides parameters: each is set to zero at each call.
const MAX_LOCALS: u32 = 24;

/// Bytes of bodies that are inlined into one function, beyond the size of its own.
const MAX_GROWTH: usize = 4 << 10;

/// The same for those of functions that do more than compute, load and store, and are not tiny.
const MAX_GENERAL_GROWTH: usize = 512;

/// Bytes of a tiny body: the call of it would be half as many.
const TINY: usize = 32;

/// How deep inlined functions are in each other.
const MAX_DEPTH: usize = 4;

/// How deep a recursive function is in itself.
const MAX_LEVELS: usize = 2;

/// Of a call by reference: if more functions than this can be meant, none is guessed.
const MAX_CANDIDATES: usize = 2;

/// What a call costs: more than an instruction.
const CALL_COST: u32 = 3;

/// What a function's body is like.
#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    /// Instructions that do something.
    cost: u32,
    /// Whether it does more than compute numbers, load and store.
    general: bool,
    /// How often it calls itself.
    self_calls: usize,
}

/// A function that is about to be inlined.
#[derive(Clone, Copy, Debug)]
struct Plan {
    func: FuncIndex,
    defined: DefinedFuncIndex,
}

/// What may still be inlined, in bytes of bodies.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Growth {
    left: usize,
    general: usize,
    /// `general` at first.
    most: usize,
}

impl Growth {
    /// How much may be inlined into a body of so many bytes.
    pub(super) fn new(size: usize) -> Growth {
        let most = size.saturating_add(MAX_GENERAL_GROWTH);
        Growth {
            left: size.saturating_add(MAX_GROWTH),
            general: most,
            most,
        }
    }
}

impl Builder<'_> {
    /// Builds the body of a function in the place of a call of it, if that is worth it. Its arguments
    /// are on the operand stack.
    pub(super) fn inline(&mut self, func: FuncIndex) -> Result<bool> {
        match self.plan(func) {
            Some(plan) => self.inline_body(plan).map(|()| true),
            None => Ok(false),
        }
    }

    /// `call_ref`, where a function of a few can be meant: one that is worth it is inlined where the
    /// reference turns out to be that of this function. False if there is none; the reference is on the
    /// operand stack, above the arguments.
    pub(super) fn inline_by_ref(&mut self, ty: TypeIndex) -> Result<bool> {
        let module = &*self.env.module;
        if self.inlining.is_none() || self.env.tunables.fuel {
            return Ok(false);
        }
        let candidates = module.referable_functions(ty);
        if candidates.len() > MAX_CANDIDATES {
            return Ok(false);
        }
        let plans: Vec<Plan> = candidates.iter().filter_map(|&f| self.plan(f)).collect();
        if plans.is_empty() {
            return Ok(false);
        }
        let callee = self.pop()?;
        self.push_frame(Kind::Block, Signature::Func(ty))?;
        let frame = self.frames.len() - 1;
        let height = self.frames[frame].height;
        let args = self.stack[height..].to_vec();
        let offset = self.offset;
        for plan in plans {
            let imm = Imm::Func(plan.func);
            let is_this = self.value(Op::FuncIs, &[callee], imm, Type::I32);
            let (hit, miss) = self.branch_on(is_this);
            self.start_block(hit);
            self.inline_body(plan)?;
            if self.reachable {
                let target = self.target(frame);
                self.jump(target, height);
            }
            self.stack.truncate(height);
            self.stack.extend_from_slice(&args);
            self.start_block(miss);
        }
        self.offset = offset;
        self.stack.push(callee);
        self.emit_call_ref(ty)?;
        self.end()?;
        Ok(true)
    }

    /// Whether a call of a function is worth to be replaced by its body. What is planned is to be done.
    fn plan(&mut self, func: FuncIndex) -> Option<Plan> {
        let module = &*self.env.module;
        let defined = module.defined_func(func)?;
        let size = module.bodies[defined].range.len();
        let instrumented = self.env.instrumentation.is_some() && self.body.exit != Exit::Return;
        if self.inlining.is_none()
            || self.env.tunables.fuel
            || instrumented
            || size > MAX_BODY.min(self.growth.left)
        {
            return None;
        }
        let shape = self.shape(func, defined)?;
        if shape.general && !self.is_worth(func, size, shape)
            || !self.inlining.as_mut().is_some_and(|fuel| fuel.consume())
        {
            return None;
        }
        self.growth.left -= size;
        if shape.general && size > TINY {
            self.growth.general -= size;
        }
        Some(Plan { func, defined })
    }

    fn inline_body(&mut self, Plan { func, defined }: Plan) -> Result<()> {
        let module = &*self.env.module;
        let start = self.top(module.func_type(func).params().len())?;
        let params = self.stack.split_off(start);
        let offset = self.offset;
        self.graph.inline_nodes.push(InlineNode {
            parent: self.body.node,
            call_offset: offset,
            func,
        });
        self.body(&BodyEnv {
            func: defined,
            node: self.graph.inline_nodes.len() as u32,
            params: &params,
            exit: Exit::Continue,
        })?;
        self.offset = offset;
        Ok(())
    }

    /// Whether a function that does more than compute numbers is inlined here.
    fn is_worth(&self, func: FuncIndex, size: usize, shape: Shape) -> bool {
        if size > self.growth.general.max(TINY) {
            return false;
        }
        let (mut depth, mut levels) = (0, usize::from(func == self.func));
        let mut node = self.body.node;
        while let Some(i) = (node as usize).checked_sub(1) {
            let inlined = self.graph.inline_nodes[i];
            depth += 1;
            levels += usize::from(inlined.func == func);
            node = inlined.parent;
        }
        if shape.self_calls == 0 {
            return depth < MAX_DEPTH && levels == 0;
        }
        // Into itself alone, as deep as there is room for all calls of a level.
        let (mut copies, mut all) = (1, 0usize);
        for _ in 0..levels {
            copies *= shape.self_calls;
            all += copies;
        }
        func == self.func
            && depth < MAX_LEVELS
            && depth + 1 == levels
            && all * size <= self.growth.most
    }

    /// What a function is like; `None` if it is too large or has instructions or locals that what is
    /// inlined does not have.
    fn shape(&mut self, func: FuncIndex, defined: DefinedFuncIndex) -> Option<Shape> {
        let module = &*self.env.module;
        let mut shape = Shape::default();
        let ty = module.func_type(func);
        let mut types = ty.params().iter().chain(ty.results());
        shape.general |= !types.all(is_number);

        let body = module.body_reader(defined);
        let mut locals = 0u32;
        for run in body.get_locals_reader().ok()? {
            let (count, ty) = run.ok()?;
            locals = locals.checked_add(count)?;
            shape.general |= !is_number(&body::val_type(ty)?);
        }
        if locals > MAX_LOCALS {
            return None;
        }
        let mut operators = body.get_operators_reader().ok()?;
        while !operators.eof() {
            let operator = operators.read().ok()?;
            match cost_of(&operator) {
                Some(cost) => shape.cost += cost,
                None => {
                    shape.general = true;
                    shape.cost += general_cost_of(&operator)?;
                }
            }
            if let Operator::Call { function_index } = operator {
                shape.self_calls += usize::from(function_index == func.as_u32());
            }
            let most = match shape.general {
                true if !self.has_objects() => return None,
                true => MAX_GENERAL_COST,
                false => MAX_COST,
            };
            if shape.cost > most {
                // A call, or a reference, may still come.
                let may_be_general = shape.cost <= MAX_GENERAL_COST && self.has_objects();
                if !may_be_general {
                    return None;
                }
                shape.general = true;
            }
        }
        Some(shape)
    }

    /// Whether the module has types of structs or arrays.
    fn has_objects(&mut self) -> bool {
        let types = &self.env.module.types;
        *self.has_objects.get_or_insert_with(|| {
            let mut types = types.values().map(|ty| &ty.composite);
            types.any(|ty| matches!(ty, CompositeType::Struct(_) | CompositeType::Array(_)))
        })
    }
}

fn is_number(ty: &ValType) -> bool {
    matches!(
        ty,
        ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64
    )
}

/// Whether an instruction computes numbers, loads or stores, and does something; `None` if it is another.
fn cost_of(operator: &Operator<'_>) -> Option<u32> {
    use crate::graph::Type::{F32, F64, I32, I64};
    Some(match operator {
        Operator::LocalGet { .. }
        | Operator::LocalSet { .. }
        | Operator::LocalTee { .. }
        | Operator::I32Const { .. }
        | Operator::I64Const { .. }
        | Operator::F32Const { .. }
        | Operator::F64Const { .. }
        | Operator::Nop
        | Operator::Drop
        | Operator::Block { .. }
        | Operator::Br { .. }
        | Operator::Else
        | Operator::End
        | Operator::Return => 0,
        Operator::If { .. }
        | Operator::BrIf { .. }
        | Operator::Select
        | Operator::Unreachable
        | Operator::GlobalGet { .. }
        | Operator::GlobalSet { .. }
        | Operator::I32Load { .. }
        | Operator::I64Load { .. }
        | Operator::F32Load { .. }
        | Operator::F64Load { .. }
        | Operator::I32Load8S { .. }
        | Operator::I32Load8U { .. }
        | Operator::I32Load16S { .. }
        | Operator::I32Load16U { .. }
        | Operator::I64Load8S { .. }
        | Operator::I64Load8U { .. }
        | Operator::I64Load16S { .. }
        | Operator::I64Load16U { .. }
        | Operator::I64Load32S { .. }
        | Operator::I64Load32U { .. }
        | Operator::I32Store { .. }
        | Operator::I64Store { .. }
        | Operator::F32Store { .. }
        | Operator::F64Store { .. }
        | Operator::I32Store8 { .. }
        | Operator::I32Store16 { .. }
        | Operator::I64Store8 { .. }
        | Operator::I64Store16 { .. }
        | Operator::I64Store32 { .. } => 1,
        _ => {
            let op = numeric::plain(operator)?;
            let info = op.info();
            let mut slots = info.operands.iter().chain(info.results);
            let number = |slot: &Slot| matches!(slot.fixed(), Some(I32 | I64 | F32 | F64));
            match slots.all(number) {
                true => 1,
                false => return None,
            }
        }
    })
}

/// What an instruction of the other kinds costs; `None` if what is inlined does not have it.
fn general_cost_of(operator: &Operator<'_>) -> Option<u32> {
    Some(match operator {
        Operator::RefNull { .. }
        | Operator::AnyConvertExtern
        | Operator::ExternConvertAny
        | Operator::TypedSelect { .. } => 0,
        Operator::RefIsNull
        | Operator::RefAsNonNull
        | Operator::RefEq
        | Operator::RefI31
        | Operator::I31GetS
        | Operator::I31GetU
        | Operator::RefFunc { .. }
        | Operator::BrOnNull { .. }
        | Operator::BrOnNonNull { .. }
        | Operator::StructGet { .. }
        | Operator::StructGetS { .. }
        | Operator::StructGetU { .. }
        | Operator::StructSet { .. }
        | Operator::ArrayLen => 1,
        Operator::ArrayGet { .. }
        | Operator::ArrayGetS { .. }
        | Operator::ArrayGetU { .. }
        | Operator::ArraySet { .. }
        | Operator::RefTestNonNull { .. }
        | Operator::RefTestNullable { .. }
        | Operator::RefCastNonNull { .. }
        | Operator::RefCastNullable { .. }
        | Operator::BrOnCast { .. }
        | Operator::BrOnCastFail { .. }
        | Operator::Loop { .. } => 2,
        Operator::Call { .. }
        | Operator::CallIndirect { .. }
        | Operator::CallRef { .. }
        | Operator::StructNew { .. }
        | Operator::StructNewDefault { .. }
        | Operator::ArrayNew { .. }
        | Operator::ArrayNewDefault { .. }
        | Operator::ArrayNewData { .. }
        | Operator::ArrayFill { .. }
        | Operator::ArrayCopy { .. } => CALL_COST,
        Operator::ArrayNewFixed { array_size, .. } => array_size.saturating_add(CALL_COST),
        _ => return None,
    })
}
