//! Constant expressions.

use bimetal_abi::ValRaw;
use bimetal_wasm::{ConstExpr, ConstOp, TypeIndex};
use cranelift_entity::EntityRef;

use super::gc::{NewKind, RootHandle, WholeStore};
use super::instance::InstanceId;
use super::store::StoreOpaque;
use crate::error::{Error, Result};
use crate::gc::I31;
use crate::gc::fields::write_raw;
use crate::registry::RegisteredType;
use crate::types::{HeapType, StructType};

/// A value on the stack of an expression. What may be an object is rooted: the next allocation may
/// move it.
enum Item {
    Plain(ValRaw),
    Rooted(RootHandle),
}

impl Item {
    fn rooted(store: &StoreOpaque, raw: u32) -> Item {
        Item::Rooted(store.root(raw))
    }

    fn raw(&self, store: &StoreOpaque) -> ValRaw {
        match self {
            Item::Plain(raw) => *raw,
            Item::Rooted(handle) => ValRaw::from_u32(store.rooted(*handle).unwrap_or_default()),
        }
    }
}

impl WholeStore<'_> {
    /// The value of a validated constant expression of an instance, in raw form.
    ///
    /// # Errors
    /// If there is no room for an object.
    pub(super) fn const_eval(&mut self, instance: InstanceId, expr: &ConstExpr) -> Result<ValRaw> {
        if let [op] = &*expr.ops
            && let Some(value) = constant(op)
        {
            return Ok(value);
        }
        let scope = self.get().open_scope();
        let result = self.evaluate(instance, expr);
        self.get().close_scope(scope);
        result
    }

    fn evaluate(&mut self, instance: InstanceId, expr: &ConstExpr) -> Result<ValRaw> {
        let mut stack: Vec<Item> = Vec::with_capacity(2);
        for op in &expr.ops {
            let store = self.get();
            let value = match op {
                ConstOp::GlobalGet(index) => {
                    let global = store.instances[instance].globals[*index];
                    let raw = ValRaw {
                        bytes: store.global_get(global),
                    };
                    match store.global_type(global).content().is_traced() {
                        true => Item::rooted(store, raw.get_u32()),
                        false => Item::Plain(raw),
                    }
                }
                ConstOp::RefFunc(index) => {
                    let func = store.instances[instance].func(*index);
                    let func = func.ok_or_else(not_valid)?;
                    Item::Plain(ValRaw::from_u64(func.as_ptr() as u64))
                }
                ConstOp::I32Add => binary32(&mut stack, i32::wrapping_add)?,
                ConstOp::I32Sub => binary32(&mut stack, i32::wrapping_sub)?,
                ConstOp::I32Mul => binary32(&mut stack, i32::wrapping_mul)?,
                ConstOp::I64Add => binary64(&mut stack, i64::wrapping_add)?,
                ConstOp::I64Sub => binary64(&mut stack, i64::wrapping_sub)?,
                ConstOp::I64Mul => binary64(&mut stack, i64::wrapping_mul)?,
                ConstOp::RefI31 => {
                    let number = stack.pop().ok_or_else(not_valid)?.raw(store);
                    let i31 = I31::wrapping_u32(number.get_u32());
                    Item::Plain(ValRaw::from_u32(i31.raw()))
                }
                ConstOp::AnyConvertExtern | ConstOp::ExternConvertAny => continue,
                ConstOp::StructNew(ty) => {
                    let ty = HeapType::of(self.type_of(instance, *ty));
                    let ty = ty.as_concrete_struct().ok_or_else(not_valid)?;
                    let first = stack.len().checked_sub(ty.fields().len());
                    let values = stack.split_off(first.ok_or_else(not_valid)?);
                    self.new_struct(ty, |i| values.get(i))?
                }
                ConstOp::StructNewDefault(ty) => {
                    let ty = HeapType::of(self.type_of(instance, *ty));
                    let ty = ty.as_concrete_struct().ok_or_else(not_valid)?;
                    self.new_struct(ty, |_| None)?
                }
                ConstOp::ArrayNew(ty) => {
                    let len = stack.pop().ok_or_else(not_valid)?.raw(store).get_u32();
                    let value = stack.pop().ok_or_else(not_valid)?;
                    self.new_array(instance, *ty, len, |_| Some(&value))?
                }
                ConstOp::ArrayNewDefault(ty) => {
                    let len = stack.pop().ok_or_else(not_valid)?.raw(store).get_u32();
                    self.new_array(instance, *ty, len, |_| None)?
                }
                ConstOp::ArrayNewFixed(ty, len) => {
                    let first = stack.len().checked_sub(*len as usize);
                    let values = stack.split_off(first.ok_or_else(not_valid)?);
                    self.new_array(instance, *ty, *len, |i| values.get(i as usize))?
                }
                _ => Item::Plain(constant(op).ok_or_else(not_valid)?),
            };
            stack.push(value);
        }
        let value = stack.pop().ok_or_else(not_valid)?;
        Ok(value.raw(self.get()))
    }

    fn type_of(&mut self, instance: InstanceId, ty: TypeIndex) -> RegisteredType {
        let module = self.get().instances[instance].module();
        module.inner().types[ty.index()].clone()
    }

    /// A struct with these values, those that are not there zero.
    fn new_struct<'a>(
        &mut self,
        ty: &StructType,
        value: impl Fn(usize) -> Option<&'a Item>,
    ) -> Result<Item> {
        let layout = ty.0.struct_layout().ok_or_else(not_valid)?;
        let object = self.allocate(&ty.0, NewKind::Struct)?;
        let store = self.get();
        for (i, (field, &offset)) in ty.fields().zip(&layout.offsets).enumerate() {
            let raw = value(i).map_or_else(ValRaw::default, |item| item.raw(store));
            write_raw(store, object, offset, field.element_type(), raw, true);
        }
        Ok(Item::rooted(store, object))
    }

    /// An array of these values, those that are not there zero.
    fn new_array<'a>(
        &mut self,
        instance: InstanceId,
        ty: TypeIndex,
        len: u32,
        value: impl Fn(u32) -> Option<&'a Item>,
    ) -> Result<Item> {
        let ty = self.type_of(instance, ty);
        let layout = *ty.array_layout().ok_or_else(not_valid)?;
        let element = HeapType::of(ty.clone());
        let element = element
            .as_concrete_array()
            .ok_or_else(not_valid)?
            .element_type();
        let array = self.allocate(&ty, NewKind::Array(len))?;
        let store = self.get();
        for i in 0..len {
            let Some(item) = value(i) else {
                break;
            };
            let offset = layout.base + (i << layout.element_log2);
            write_raw(store, array, offset, &element, item.raw(store), true);
        }
        Ok(Item::rooted(store, array))
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

fn binary32(stack: &mut Vec<Item>, op: fn(i32, i32) -> i32) -> Result<Item> {
    let (a, b) = operands(stack)?;
    Ok(Item::Plain(ValRaw::from_i32(op(a.get_i32(), b.get_i32()))))
}

fn binary64(stack: &mut Vec<Item>, op: fn(i64, i64) -> i64) -> Result<Item> {
    let (a, b) = operands(stack)?;
    Ok(Item::Plain(ValRaw::from_i64(op(a.get_i64(), b.get_i64()))))
}

fn operands(stack: &mut Vec<Item>) -> Result<(ValRaw, ValRaw)> {
    match (stack.pop(), stack.pop()) {
        (Some(Item::Plain(b)), Some(Item::Plain(a))) => Ok((a, b)),
        _ => Err(not_valid()),
    }
}

fn not_valid() -> Error {
    Error::msg("a constant expression that should not have validated (a bug of the runtime)")
}
