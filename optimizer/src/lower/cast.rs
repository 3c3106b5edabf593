//! Tests and casts of references, each inline and in constant time.
//!
//! What an object is an instance of, its type's [`VmTypeInfo`] says: a row of all supertypes, in which
//! a supertype stands at its own depth. Types without subtypes need no look there. Null and the tags of
//! a reference are looked at only where the type that is known of the operand leaves it open.
//!
//! A test whose only use is the branch behind it becomes that branch.

use bimetal_abi::{TrapCode, VmFuncRef, VmObject, VmTypeInfo, gc::reference};
use bimetal_codegen::CompileError;
use bimetal_wasm::{HeapType, RefType, TypeIndex};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, Opcode, Value, types};
use smallvec::SmallVec;

use super::Lower;
use super::vm::Pointer;
use crate::graph::{self, Imm, Op};
use crate::signature::POINTER;
use crate::traps;

/// A block and what it gets.
type Target = (Block, SmallVec<[BlockArg; 8]>);

/// Where a test goes once its result is known.
enum Exit {
    /// To one of two blocks.
    Branch { yes: Target, no: Target },
    /// On, or nowhere.
    Trap { done: Option<Block> },
    /// To where its result is a parameter.
    Value { join: Option<Block> },
}

impl Lower<'_> {
    /// Lowers `op` if it is about what references refer to.
    pub(super) fn cast(
        &mut self,
        inst: graph::Inst,
        op: Op,
        imm: Imm,
        args: &[graph::Value],
    ) -> Result<Option<()>, CompileError> {
        match (op, imm) {
            (Op::RefTest, Imm::Cast { to, from }) => {
                if self.is_branched_on(inst) {
                    // The branch does it.
                    return Ok(Some(()));
                }
                let value = self.get(args[0])?;
                let mut exit = Exit::Value { join: None };
                let result = self.check_cast(value, to, from, &mut exit);
                let result = self.leave(result, exit);
                self.set(self.graph.result(inst), result);
            }
            (Op::RefCast, Imm::Cast { to, from }) => {
                let value = self.get(args[0])?;
                let mut exit = Exit::Trap { done: None };
                let result = self.check_cast(value, to, from, &mut exit);
                self.leave(result, exit);
                self.set(self.graph.result(inst), value);
            }
            (Op::RefAsNonNull, _) => {
                let value = self.get(args[0])?;
                if !self.is_some(args[0]) {
                    self.trap_if_zero(value, traps::to_clif(TrapCode::NullReference));
                }
                self.set(self.graph.result(inst), value);
            }
            (Op::RefEq, _) => {
                let (a, b) = (self.get(args[0])?, self.get(args[1])?);
                let equal = self.cur.ins().icmp(IntCC::Equal, a, b);
                self.set(self.graph.result(inst), equal);
            }
            _ => return Ok(None),
        }
        Ok(Some(()))
    }

    /// Whether the only use of a `ref.test` is a `branch_if` right behind it.
    fn is_branched_on(&mut self, test: graph::Inst) -> bool {
        let graph = self.graph;
        let result = graph.result(test);
        let Some(next) = graph.next_inst(test) else {
            return false;
        };
        if graph.op(next) != Op::BranchIf || graph.args(next) != [result] {
            return false;
        }
        if self.scratch.test_uses.is_empty() {
            // Once for all tests of the function.
            let uses = &mut self.scratch.test_uses;
            let mut note = |value: graph::Value| {
                let is_test = |inst| graph.op(inst) == Op::RefTest;
                if graph.def_inst(value).is_some_and(is_test) {
                    uses[value] += 1;
                }
            };
            for inst in graph.blocks().flat_map(|block| graph.insts(block)) {
                graph.args(inst).iter().copied().for_each(&mut note);
                for edge in graph.edges(inst) {
                    graph.edge_args(edge).iter().copied().for_each(&mut note);
                }
            }
        }
        self.scratch.test_uses[result] == 1
    }

    /// A `branch_if` on a test that has not been made yet; false if it is on anything else.
    pub(super) fn branch_on_test(
        &mut self,
        condition: graph::Value,
        taken: graph::Edge,
        other: graph::Edge,
    ) -> Result<bool, CompileError> {
        let Some(test) = self.graph.def_inst(condition) else {
            return Ok(false);
        };
        let Imm::Cast { to, from } = self.graph.imm(test) else {
            return Ok(false);
        };
        if self.graph.op(test) != Op::RefTest || !self.is_branched_on(test) {
            return Ok(false);
        }
        let value = self.get(self.graph.args(test)[0])?;
        let yes_args = self.edge_args(taken)?;
        let no_args = self.edge_args(other)?;
        let yes = self.clif_block(self.graph.target(taken))?;
        let no = self.clif_block(self.graph.target(other))?;
        let mut exit = Exit::Branch {
            yes: (yes, yes_args),
            no: (no, no_args),
        };
        let result = self.check_cast(value, to, from, &mut exit);
        self.leave(result, exit);
        Ok(true)
    }

    /// Leaves for what the result is found to be early, and gives what it is otherwise.
    fn check_cast(&mut self, value: Value, to: RefType, from: RefType, exit: &mut Exit) -> Value {
        let module = &*self.env.module;
        let ty = self.cur.func.dfg.value_type(value);
        let null = self.iconst(ty, 0);
        let one = |lower: &mut Self| lower.iconst(types::I8, 1);
        if module.is_heap_subtype(from.heap, to.heap) {
            return match from.nullable && !to.nullable {
                true => self.cur.ins().icmp(IntCC::NotEqual, value, null),
                false => one(self),
            };
        }
        let is_bottom = matches!(
            to.heap,
            HeapType::None | HeapType::NoFunc | HeapType::NoExtern | HeapType::NoExn
        );
        // Where neither is below the other, null is all that they share.
        if is_bottom || !module.is_heap_subtype(to.heap, from.heap) {
            return match from.nullable && to.nullable {
                true => self.cur.ins().icmp(IntCC::Equal, value, null),
                false => self.iconst(types::I8, 0),
            };
        }
        let mut code = None;
        match to.heap {
            _ if !from.nullable => {}
            // Null is none.
            HeapType::I31 if !to.nullable => {}
            // Where a failure is a trap, the access finds it out.
            HeapType::Struct | HeapType::Array | HeapType::Concrete(_)
                if !to.nullable && self.signals && matches!(exit, Exit::Trap { .. }) =>
            {
                code = Some(traps::to_clif(TrapCode::CastFailure));
            }
            _ => {
                let is_null = self.cur.ins().icmp(IntCC::Equal, value, null);
                self.leave_if(is_null, to.nullable, exit);
            }
        }
        let tagged = matches!(from.heap, HeapType::Any | HeapType::Eq);
        match to.heap {
            HeapType::I31 => {
                let bit = self.iconst(ty, u64::from(reference::I31));
                let bit = self.cur.ins().band(value, bit);
                self.cur.ins().icmp(IntCC::NotEqual, bit, null)
            }
            HeapType::Eq => {
                let mask = self.iconst(ty, u64::from(reference::TAG_MASK));
                let tag = self.cur.ins().band(value, mask);
                let host = self.iconst(ty, u64::from(reference::HOST));
                self.cur.ins().icmp(IntCC::NotEqual, tag, host)
            }
            HeapType::Struct | HeapType::Array => {
                if tagged {
                    self.leave_tagged(value, exit);
                }
                let object = self.address(value);
                let flags = self.flags.object_constant(self.cur.func, code, false);
                let place = VmObject::KIND as i32;
                let kind = self.load_op(Opcode::Uload8, types::I32, flags, object, place);
                let wanted = match to.heap {
                    HeapType::Struct => VmObject::STRUCT,
                    _ => VmObject::ARRAY,
                };
                let wanted = self.iconst(types::I32, u64::from(wanted));
                self.cur.ins().icmp(IntCC::Equal, kind, wanted)
            }
            HeapType::Concrete(wanted) => {
                let id = if ty == POINTER {
                    let flags = self.flags.func_ref(self.cur.func, code);
                    self.load(types::I32, flags, value, VmFuncRef::TYPE_ID)
                } else {
                    if tagged {
                        self.leave_tagged(value, exit);
                    }
                    let object = self.address(value);
                    let flags = self.flags.object_constant(self.cur.func, code, false);
                    self.load(types::I32, flags, object, VmObject::TYPE_ID)
                };
                self.is_instance(id, wanted, |lower, shallow| {
                    lower.leave_if(shallow, false, exit);
                })
            }
            // The tops, which everything of their hierarchy is below.
            _ => one(self),
        }
    }

    /// No object of a type is an integer or of the host.
    fn leave_tagged(&mut self, value: Value, exit: &mut Exit) {
        let mask = self.iconst(types::I32, u64::from(reference::TAG_MASK));
        let tag = self.cur.ins().band(value, mask);
        self.leave_if(tag, false, exit);
    }

    /// Whether the type with this number is `wanted` or a subtype. `unless` is given what is not zero
    /// if it cannot be, and goes on only otherwise.
    pub(super) fn is_instance(
        &mut self,
        id: Value,
        wanted: TypeIndex,
        unless: impl FnOnce(&mut Self, Value),
    ) -> Value {
        let module = &*self.env.module;
        let expected = self.type_id(wanted);
        if module.types[wanted].is_final {
            return self.cur.ins().icmp(IntCC::Equal, id, expected);
        }
        let depth = module.depth(wanted);
        let all = self.vm_pointer(Pointer::Types);
        let wide = self.cur.ins().uextend(POINTER, id);
        let shift = self.iconst(POINTER, u64::from(VmTypeInfo::SIZE_LOG2));
        let offset = self.cur.ins().ishl(wide, shift);
        let info = self.cur.ins().iadd(all, offset);
        let flags = self.flags.object_constant(self.cur.func, None, false);
        let (row, start) = if depth < VmTypeInfo::DISPLAY {
            (info, VmTypeInfo::DISPLAY_OFFSET)
        } else {
            let place = VmTypeInfo::DEPTH as i32;
            let actual = self.load_op(Opcode::Uload8, types::I32, flags, info, place);
            let least = self.iconst(types::I32, depth as u64);
            let shallow = self.cur.ins().icmp(IntCC::UnsignedLessThan, actual, least);
            unless(self, shallow);
            let row = self.load(POINTER, flags, info, VmTypeInfo::LONG_DISPLAY);
            (row, 0)
        };
        let found = self.load(types::I32, flags, row, start + depth as u32 * 4);
        self.cur.ins().icmp(IntCC::Equal, found, expected)
    }

    /// The result is known to be `passes` if `condition` is not zero.
    fn leave_if(&mut self, condition: Value, passes: bool, exit: &mut Exit) {
        let go_on = |lower: &mut Self| lower.new_block();
        match exit {
            Exit::Branch { yes, no } => {
                let next = go_on(self);
                let (block, args) = if passes { &*yes } else { &*no };
                self.cur.ins().brif(condition, *block, args, next, &[]);
                self.enter(next);
            }
            Exit::Trap { .. } if !passes => {
                self.trap_if(condition, traps::to_clif(TrapCode::CastFailure));
            }
            Exit::Trap { done } => {
                let next = go_on(self);
                let done = *done.get_or_insert_with(|| go_on(self));
                self.cur.ins().brif(condition, done, &[], next, &[]);
                self.enter(next);
            }
            Exit::Value { join } => {
                let next = go_on(self);
                let join = *join.get_or_insert_with(|| {
                    let join = go_on(self);
                    self.cur.func.dfg.append_block_param(join, types::I8);
                    join
                });
                let result = self.iconst(types::I8, u64::from(passes));
                let result = [BlockArg::Value(result)];
                self.cur.ins().brif(condition, join, &result, next, &[]);
                self.enter(next);
            }
        }
    }

    /// The result is `result`; where that is a value, it comes back.
    fn leave(&mut self, result: Value, exit: Exit) -> Value {
        match exit {
            Exit::Branch { yes, no } => {
                self.cur.ins().brif(result, yes.0, &yes.1, no.0, &no.1);
                result
            }
            Exit::Trap { done } => {
                self.trap_if_zero(result, traps::to_clif(TrapCode::CastFailure));
                if let Some(done) = done {
                    self.cur.ins().jump(done, &[]);
                    self.enter(done);
                }
                result
            }
            Exit::Value { join: None } => result,
            Exit::Value { join: Some(join) } => {
                self.cur.ins().jump(join, &[BlockArg::Value(result)]);
                self.enter(join);
                self.cur.func.dfg.block_params(join)[0]
            }
        }
    }
}
