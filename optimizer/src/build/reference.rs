//! References: their constants, tests, casts, and the branches on those.
//!
//! What has neither immediate nor a type of its own (`ref.is_null`, `ref.eq`, `ref.i31` …) is in
//! [`super::numeric`]. A branch on a test is the test and a `branch_if`; the value that it lets
//! through is the same one. What a value is known to be is the business of passes, so here the
//! operand of a test is anything that is of the hierarchy, but where the instruction says more.

use bimetal_wasm::body::{self, Operator};
use bimetal_wasm::{FuncIndex, HeapType, RefType};

use crate::graph::{Op, Type, Value};

use super::{Builder, Imm, Result, bug};

impl Builder<'_> {
    /// Whether it was one of these.
    pub(super) fn reference_operator(&mut self, operator: &Operator<'_>) -> Result<bool> {
        match operator {
            Operator::RefNull { hty } => {
                let ty = Type::from_heap(heap_type(*hty)?, &self.env.module);
                self.constant(Op::RefNull, Imm::None, ty);
            }
            Operator::RefFunc { function_index } => {
                let func = FuncIndex::from_u32(*function_index);
                self.constant(Op::RefFunc, Imm::Func(func), Type::FuncRef);
            }
            Operator::RefAsNonNull => {
                let ty = self.type_below(0)?;
                self.emit(Op::RefAsNonNull, 1, Imm::None, Some(ty))?;
            }
            Operator::RefTestNonNull { hty } => self.ref_test(false, *hty)?,
            Operator::RefTestNullable { hty } => self.ref_test(true, *hty)?,
            Operator::RefCastNonNull { hty } => self.ref_cast(false, *hty)?,
            Operator::RefCastNullable { hty } => self.ref_cast(true, *hty)?,
            Operator::BrOnNull { relative_depth } => {
                let value = self.pop()?;
                let null = self.is_null(value)?;
                self.br_on(*relative_depth, null, true)?;
                self.stack.push(value);
            }
            Operator::BrOnNonNull { relative_depth } => {
                let value = self.peek()?;
                let null = self.is_null(value)?;
                self.stack.push(null);
                self.plain(Op::I32Eqz)?;
                let some = self.pop()?;
                // Only the branch takes it along.
                self.br_on(*relative_depth, some, true)?;
                self.pop()?;
            }
            Operator::BrOnCast {
                relative_depth,
                from_ref_type,
                to_ref_type,
            } => self.br_on_cast(*relative_depth, *from_ref_type, *to_ref_type, true)?,
            Operator::BrOnCastFail {
                relative_depth,
                from_ref_type,
                to_ref_type,
            } => self.br_on_cast(*relative_depth, *from_ref_type, *to_ref_type, false)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn is_null(&mut self, value: Value) -> Result<Value> {
        self.stack.push(value);
        self.plain(Op::RefIsNull)?;
        self.pop()
    }

    /// All that is known of a value which may be cast to this.
    fn cast(&self, nullable: bool, heap: body::types::HeapType) -> Result<Imm> {
        let to = RefType::new(nullable, heap_type(heap)?);
        let top = self.env.module.top_heap_type(to.heap);
        let from = RefType::new(true, top);
        Ok(Imm::Cast { to, from })
    }

    fn ref_test(&mut self, nullable: bool, heap: body::types::HeapType) -> Result<()> {
        let imm = self.cast(nullable, heap)?;
        self.emit(Op::RefTest, 1, imm, Some(Type::I32))
    }

    fn ref_cast(&mut self, nullable: bool, heap: body::types::HeapType) -> Result<()> {
        let imm = self.cast(nullable, heap)?;
        let ty = self.type_below(0)?;
        self.emit(Op::RefCast, 1, imm, Some(ty))
    }

    fn br_on_cast(
        &mut self,
        depth: u32,
        from: body::types::RefType,
        to: body::types::RefType,
        taken: bool,
    ) -> Result<()> {
        let ty = |ty| body::ref_type(ty).ok_or_else(|| bug("a reference's type"));
        let (from, to) = (ty(from)?, ty(to)?);
        let value = self.peek()?;
        self.stack.push(value);
        self.emit(Op::RefTest, 1, Imm::Cast { to, from }, Some(Type::I32))?;
        let is_one = self.pop()?;
        self.br_on(depth, is_one, taken)?;
        Ok(())
    }
}

fn heap_type(ty: body::types::HeapType) -> Result<HeapType> {
    body::heap_type(ty).ok_or_else(|| bug("a heap type"))
}
