//! Fields of objects as values: what structs, arrays and exceptions have in common.

use std::fmt::Display;

use bimetal_abi::ValRaw;

use crate::error::{Error, Result};
use crate::store::StoreContextMut;
use crate::types::{FieldType, StorageType, ValType};
use crate::val::Val;
use crate::vm::{StoreOpaque, val_from_object, val_into_raw_of};

/// How many bytes a value takes that is stored so.
fn storage_size(ty: &StorageType) -> usize {
    match ty {
        StorageType::I8 => 1,
        StorageType::I16 => 2,
        StorageType::ValType(ValType::I32 | ValType::F32) => 4,
        StorageType::ValType(ValType::I64 | ValType::F64) => 8,
        StorageType::ValType(ValType::V128) => 16,
        StorageType::ValType(ty @ ValType::Ref(_)) => match ty.is_traced() {
            true => 4,
            false => 8,
        },
    }
}

/// A value of an object; packed ones without their sign.
pub(crate) fn read(store: &StoreOpaque, object: u32, offset: u32, ty: &StorageType) -> Val {
    let mut raw = ValRaw::default();
    match storage_size(ty) {
        1 => raw = ValRaw::from_u32(u8::from_ne_bytes(store.gc_read(object, offset)).into()),
        2 => raw = ValRaw::from_u32(u16::from_ne_bytes(store.gc_read(object, offset)).into()),
        4 => raw.bytes[..4].copy_from_slice(&store.gc_read::<4>(object, offset)),
        8 => raw.bytes[..8].copy_from_slice(&store.gc_read::<8>(object, offset)),
        _ => raw.bytes = store.gc_read(object, offset),
    }
    val_from_object(store, ty.unpack(), &raw)
}

/// Refuses a value that is not of this type or of another store.
pub(crate) fn check(
    store: &mut StoreOpaque,
    ty: &StorageType,
    value: &Val,
    what: impl Display,
) -> Result<()> {
    val_into_raw_of(store, ty.unpack(), value)
        .map(drop)
        .map_err(|error| error.context(what))
}

/// Writes a value that was checked. `new` if the object was made just now.
pub(crate) fn write(
    store: &mut StoreOpaque,
    object: u32,
    offset: u32,
    ty: &StorageType,
    value: &Val,
    new: bool,
) -> Result<()> {
    let raw = val_into_raw_of(store, ty.unpack(), value)?;
    write_raw(store, object, offset, ty, raw, new);
    Ok(())
}

/// Writes the raw form of a value of this type.
pub(crate) fn write_raw(
    store: &mut StoreOpaque,
    object: u32,
    offset: u32,
    ty: &StorageType,
    raw: ValRaw,
    new: bool,
) {
    let [a, b, c, d, e, f, g, h, ..] = raw.bytes;
    match storage_size(ty) {
        1 => store.gc_write(object, offset, (raw.get_u32() as u8).to_ne_bytes(), false),
        2 => store.gc_write(object, offset, (raw.get_u32() as u16).to_ne_bytes(), false),
        4 => store.gc_write(
            object,
            offset,
            [a, b, c, d],
            ty.unpack().is_traced() && !new,
        ),
        8 => store.gc_write(object, offset, [a, b, c, d, e, f, g, h], false),
        _ => store.gc_write(object, offset, raw.bytes, false),
    }
}

/// The error if a field cannot be written.
pub(super) fn mutable(ty: &FieldType) -> Result<()> {
    match ty.mutability().is_var() {
        true => Ok(()),
        false => Err(Error::usage("the field is immutable")),
    }
}

/// The error if a type is of another engine.
pub(super) fn same_engine<T: 'static>(
    store: &mut StoreContextMut<'_, T>,
    ty: &crate::registry::RegisteredType,
) -> Result<()> {
    match std::sync::Arc::ptr_eq(ty.registry(), store.engine().types()) {
        true => Ok(()),
        false => Err(Error::usage("the type is of another engine than the store")),
    }
}
