//! Constant expressions.

use bimetal_abi::ValRaw;
use bimetal_abi::gc::{VmObject, array_layout, reference, struct_layout};
use bimetal_wasm::{ConstExpr, ConstOp, RefType, StorageType, TypeIndex, ValType};
use cranelift_entity::EntityRef;

use super::instance::InstanceId;
use super::store::StoreOpaque;
use crate::error::{Error, Result};

impl StoreOpaque {
    /// The value of a validated constant expression of an instance, in raw form. It may be a reference
    /// to an object that nothing else refers to.
    ///
    /// # Errors
    /// If the heap has no room for its objects.
    ///
    /// # Safety
    /// `store` is part of a whole store that the caller has exclusively, with no reference to it in
    /// use, and nothing may be collected now.
    pub(super) unsafe fn const_eval(
        store: *mut StoreOpaque,
        instance: InstanceId,
        expr: &ConstExpr,
    ) -> Result<ValRaw> {
        if let [op] = &*expr.ops
            && let Some(value) = constant(op)
        {
            return Ok(value);
        }
        let mut stack: Vec<ValRaw> = Vec::with_capacity(2);
        for op in &expr.ops {
            // SAFETY: the caller's promise; the reference is gone before anything is made.
            let data = unsafe { &(&(*store).instances)[instance] };
            let value = match op {
                ConstOp::GlobalGet(index) => {
                    let global = data.globals[*index];
                    // SAFETY: as above.
                    let bytes = unsafe { (*store).global_get(global) };
                    ValRaw { bytes }
                }
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
                ConstOp::RefI31 => {
                    let value = stack.pop().ok_or_else(not_valid)?.get_u32();
                    ValRaw::from_u32(value << 1 | reference::I31)
                }
                // The same bits.
                ConstOp::AnyConvertExtern | ConstOp::ExternConvertAny => {
                    stack.pop().ok_or_else(not_valid)?
                }
                ConstOp::StructNew(_)
                | ConstOp::StructNewDefault(_)
                | ConstOp::ArrayNew(_)
                | ConstOp::ArrayNewDefault(_)
                | ConstOp::ArrayNewFixed(..) => {
                    // SAFETY: the caller's promise.
                    let object = unsafe { make(store, instance, op, &mut stack)? };
                    ValRaw::from_u32(object)
                }
                ConstOp::I32Const(_)
                | ConstOp::I64Const(_)
                | ConstOp::F32Const(_)
                | ConstOp::F64Const(_)
                | ConstOp::V128Const(_)
                | ConstOp::RefNull(_) => constant(op).ok_or_else(not_valid)?,
            };
            stack.push(value);
        }
        stack.pop().ok_or_else(not_valid)
    }
}

/// Makes the object that an instruction makes.
///
/// # Safety
/// As for [`StoreOpaque::const_eval`].
unsafe fn make(
    store: *mut StoreOpaque,
    instance: InstanceId,
    op: &ConstOp,
    stack: &mut Vec<ValRaw>,
) -> Result<u32> {
    // SAFETY: the caller's promise.
    let module = unsafe { (&(*store).instances)[instance].module().clone() };
    let wasm = module.wasm();
    let is_func = |ty: &RefType| wasm.is_func_ref(ty);
    let number = |ty: TypeIndex| module.inner().type_ids[ty.index()];
    let pop = |stack: &mut Vec<ValRaw>| stack.pop().ok_or_else(not_valid);
    // The type, an array's length, and what is written: values, or one everywhere.
    let (ty, length, values) = match *op {
        ConstOp::StructNew(ty) => {
            let start = stack.len().checked_sub(wasm.struct_fields(ty).len());
            (ty, 0, stack.split_off(start.ok_or_else(not_valid)?))
        }
        ConstOp::StructNewDefault(ty) => {
            let zeros = vec![ValRaw::default(); wasm.struct_fields(ty).len()];
            (ty, 0, zeros)
        }
        ConstOp::ArrayNew(ty) => {
            let length = pop(stack)?.get_u32();
            (ty, length, vec![pop(stack)?])
        }
        ConstOp::ArrayNewDefault(ty) => (ty, pop(stack)?.get_u32(), vec![]),
        ConstOp::ArrayNewFixed(ty, length) => {
            let start = stack.len().checked_sub(length as usize);
            (ty, length, stack.split_off(start.ok_or_else(not_valid)?))
        }
        _ => return Err(not_valid()),
    };
    if let Some(element) = wasm.array_element(ty) {
        // SAFETY: the caller's promise; the type is an array's.
        let object = unsafe { StoreOpaque::gc_new_array(store, number(ty), length)? };
        let layout = array_layout(&element.storage, is_func);
        if !values.is_empty() {
            for i in 0..length {
                let value = *values.get(i as usize).unwrap_or(&values[0]);
                let offset = layout.base + (i << layout.element_log2);
                // SAFETY: the caller's promise.
                unsafe {
                    write(
                        &mut *store,
                        object,
                        offset,
                        element.storage,
                        value,
                        layout.traced,
                    )
                };
            }
        }
        return Ok(object);
    }
    let fields = wasm.struct_fields(ty);
    let layout = struct_layout(fields, is_func);
    // SAFETY: the caller's promise; the type is a struct's.
    let object = unsafe { StoreOpaque::gc_new(store, number(ty), VmObject::STRUCT)? };
    for offset in (VmObject::SIZE..layout.size).step_by(8) {
        // SAFETY: as above. What the barrier looks at is there before it.
        unsafe { (*store).gc_write(object, offset, [0; 8], false) };
    }
    for ((field, &offset), &value) in fields.iter().zip(&layout.offsets).zip(&values) {
        let traced = layout.refs.contains(&offset);
        // SAFETY: as above.
        unsafe { write(&mut *store, object, offset, field.storage, value, traced) };
    }
    Ok(object)
}

/// Writes a field or element.
fn write(
    store: &mut StoreOpaque,
    object: u32,
    offset: u32,
    storage: StorageType,
    value: ValRaw,
    traced: bool,
) {
    match storage {
        StorageType::I8 => {
            store.gc_write(object, offset, (value.get_u32() as u8).to_ne_bytes(), false);
        }
        StorageType::I16 => {
            store.gc_write(
                object,
                offset,
                (value.get_u32() as u16).to_ne_bytes(),
                false,
            );
        }
        StorageType::Val(ValType::I32 | ValType::F32) => {
            store.gc_write(object, offset, value.get_u32().to_ne_bytes(), false);
        }
        StorageType::Val(ValType::V128) => store.gc_write(object, offset, value.bytes, false),
        StorageType::Val(ValType::Ref(_)) if traced => {
            store.gc_write(object, offset, value.get_u32().to_ne_bytes(), true);
        }
        StorageType::Val(_) => {
            store.gc_write(object, offset, value.get_u64().to_ne_bytes(), false);
        }
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
