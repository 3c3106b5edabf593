//! The table of an engine's types, which generated code and the collector read.
//!
//! It never moves, so that code may keep its address; memory is committed as numbers are given out.

use bimetal_abi::VmTypeInfo;
use bimetal_sys::Reservation;

use crate::error::{Context, Result};

/// The types of an engine by number.
#[derive(Debug)]
pub(crate) struct TypeInfos {
    table: Reservation,
    capacity: u32,
}

impl TypeInfos {
    /// A table for numbers below `capacity`.
    pub(crate) fn new(capacity: u32) -> Result<TypeInfos> {
        let bytes = capacity as usize * size_of::<VmTypeInfo>();
        let table = Reservation::accessible(bytes)
            .context("cannot reserve address space for the table of types")?;
        Ok(TypeInfos { table, capacity })
    }

    /// The first one.
    pub(crate) fn base(&self) -> *const VmTypeInfo {
        self.table.base().cast()
    }

    /// Sets what is known of the type that has this number, before anybody else knows the number.
    pub(crate) fn write(&self, id: u32, info: VmTypeInfo) {
        assert!(id < self.capacity, "there are not so many types");
        // SAFETY: inside of the table, aligned as it is; nobody reads an entry whose number nobody
        // has, and the registry gives a number to one type at a time.
        unsafe {
            self.table
                .base()
                .cast::<VmTypeInfo>()
                .add(id as usize)
                .write(info);
        }
    }
}
