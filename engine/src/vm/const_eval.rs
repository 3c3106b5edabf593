//! Constant expressions.

use bimetal_abi::ValRaw;
use bimetal_wasm::{ConstExpr, ConstOp};

use super::instance::InstanceId;
use super::store::StoreOpaque;
use crate::error::{Error, Result};

impl StoreOpaque {
    /// The value of a validated constant expression of an instance, in raw form.
    pub(super) fn const_eval(&self, instance: InstanceId, expr: &ConstExpr) -> Result<ValRaw> {
        if let [op] = &*expr.ops
            && let Some(value) = constant(op)
        {
            return Ok(value);
        }
        let data = &self.instances[instance];
        let mut stack: Vec<ValRaw> = Vec::with_capacity(2);
        for op in &expr.ops {
            let value = match op {
                ConstOp::GlobalGet(index) => ValRaw {
                    bytes: self.global_get(data.globals[*index]),
                },
                ConstOp::RefFunc(index) => {
                    let func = data.func(*index).ok_or_else(not_valid)?;
                    ValRaw::from_u64(func.as_ptr() as u64)
                }
                ConstOp::I32Add => binary32(&mut stack, i32::wrapping_add)?,
                ConstOp::I32Sub => binary32(&mut stack, i32::wrapping_sub)?,
                ConstOp::I32Mul => binary32(&mut stack, i32::wrapping_mul)?,
                ConstOp::I64Add => binary64(&mut stack, i64::wrapping_add)?,
                ConstOp::I64Sub => binary64(&mut stack, i64::wrapping_sub)?,
                ConstOp::I64Mul => binary64(&mut stack, i64::wrapping_mul)?,
                _ => constant(op).ok_or_else(not_valid)?,
            };
            stack.push(value);
        }
        stack.pop().ok_or_else(not_valid)
    }
}

/// The value of an instruction that gives the same everywhere.
pub(super) fn constant(op: &ConstOp) -> Option<ValRaw> {
    Some(match op {
        ConstOp::I32Const(value) => ValRaw::from_i32(*value),
        ConstOp::I64Const(value) => ValRaw::from_i64(*value),
        ConstOp::F32Const(bits) => ValRaw::from_u32(*bits),
        ConstOp::F64Const(bits) => ValRaw::from_u64(*bits),
        ConstOp::V128Const(value) => ValRaw::from_v128(*value),
        ConstOp::RefNull(_) => ValRaw::default(),
        _ => return None,
    })
}

fn binary32(stack: &mut Vec<ValRaw>, op: fn(i32, i32) -> i32) -> Result<ValRaw> {
    let (b, a) = (stack.pop(), stack.pop());
    let (Some(a), Some(b)) = (a, b) else {
        return Err(not_valid());
    };
    Ok(ValRaw::from_i32(op(a.get_i32(), b.get_i32())))
}

fn binary64(stack: &mut Vec<ValRaw>, op: fn(i64, i64) -> i64) -> Result<ValRaw> {
    let (b, a) = (stack.pop(), stack.pop());
    let (Some(a), Some(b)) = (a, b) else {
        return Err(not_valid());
    };
    Ok(ValRaw::from_i64(op(a.get_i64(), b.get_i64())))
}

fn not_valid() -> Error {
    Error::msg("a constant expression that should not have validated (a bug of the runtime)")
}
