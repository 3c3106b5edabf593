//! Memory from the system for each instance, given back with it.

use bimetal_wasm::{MemoryIndex, TableIndex};

use super::super::storage::{MemoryStorage, Zeroed};
use super::super::table::elements_for;
use super::{Allocator, ModuleKey, Parts, Storage, TableStorage, own_memories};
use crate::error::{Error, ErrorKind, Result};
use crate::module::Module;

/// See the module.
#[derive(Debug)]
pub(crate) struct OnDemand;

/// An instance's context.
pub(super) fn context(module: &Module) -> Result<Zeroed> {
    let size = module.env().offsets.size();
    Zeroed::new(size as usize).ok_or_else(|| {
        Error::of(
            ErrorKind::Limit,
            format_args!("no memory for an instance of {size} bytes"),
        )
    })
}

impl Allocator for OnDemand {
    fn allocate(&self, module: &Module) -> Result<Parts> {
        let wasm = module.wasm();
        let context = context(module)?;
        let contents = module.inner().contents.next(wasm, false);
        let memory = |(index, plan): (MemoryIndex, &bimetal_abi::MemoryPlan)| {
            let bytes = plan.ty.minimum_byte_size();
            let mut memory = MemoryStorage::new(plan, bytes, bytes)?;
            if let Some(contents) = contents.filter(|contents| contents.has(index)) {
                memory.map(contents, index)?;
            }
            Ok(memory)
        };
        let memories = own_memories(module);
        let tables = wasm.tables.iter().skip(wasm.num_imported_tables);
        let table = |(_, ty): (TableIndex, &bimetal_wasm::TableType)| {
            Ok(TableStorage::new(elements_for(ty.min)?))
        };
        Ok(Parts {
            context,
            storage: Storage {
                memories: memories.map(memory).collect::<Result<_>>()?,
                tables: tables.map(table).collect::<Result<_>>()?,
            },
            used: false,
            filled: contents.is_some(),
        })
    }

    fn free(&self, _: &Module, parts: Parts, _: bool) {
        drop(parts);
    }

    fn forget(&self, _: &ModuleKey) {}
}
