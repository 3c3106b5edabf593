//! Where the memory of instances comes from, and where it goes.
//!
//! An [`Allocator`] gives an instance its [`Parts`]: the context, and what its memories and tables are
//! in, all as they are at first, initial contents mapped where they are known. What is the same for
//! every instance of a module is left to it; the rest (imports, globals, segments that depend on
//! them) is `instance.rs`. [`OnDemand`] asks the system for each instance; a [`Pool`] has reserved all
//! at the beginning, and keeps what instances leave behind for the next ones of the same module.
//!
//! **Invariants**
//! - No byte of an earlier instance is ever seen: what is given is as from the system, or as an
//!   instance of the same module found it. The exception are function references and elements of lazy
//!   tables, which are the same each time; those of imported functions are made anew.
//! - Memories and tables that the host makes itself, and shared memories, are always made on demand.

mod on_demand;
mod pool;
mod warm;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use bimetal_abi::MemoryPlan;
use bimetal_wasm::MemoryIndex;

pub(crate) use on_demand::OnDemand;
pub(crate) use pool::Pool;

use super::storage::{MemoryStorage, Zeroed};
use crate::allocation::InstanceAllocationStrategy;
use crate::config::Config;
use crate::engine::Engine;
use crate::error::Result;
use crate::module::Module;

/// Gives instances their memory.
pub(crate) trait Allocator: fmt::Debug + Send + Sync {
    /// What an instance of the module needs.
    ///
    /// # Errors
    /// If it cannot be had: now, or ever.
    fn allocate(&self, module: &Module) -> Result<Parts>;

    /// Takes back what an instance of the module had. `ran` says whether wasm may have written to it.
    fn free(&self, module: &Module, parts: Parts, ran: bool);

    /// The module is gone, and so are all its instances.
    fn forget(&self, module: &ModuleKey);
}

/// The allocator that a configuration asks for.
pub(crate) fn allocator(config: &Config) -> Result<Box<dyn Allocator>> {
    Ok(match &config.allocation {
        InstanceAllocationStrategy::OnDemand => Box::new(OnDemand),
        InstanceAllocationStrategy::Pooling(limits) => {
            Box::new(Pool::new(limits.clone(), &config.tunables)?)
        }
    })
}

/// What an instance is in.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Zeros; or what an instance of the same module left.
    pub(in crate::vm) context: Zeroed,
    pub(in crate::vm) storage: Storage,
    /// Whether the context is what an instance of the same module left.
    pub(in crate::vm) used: bool,
    /// Whether the initial contents of all memories are in place.
    pub(in crate::vm) filled: bool,
}

/// The memories of an instance that are its own: that its module defines, not shared.
fn own_memories(module: &Module) -> impl Iterator<Item = (MemoryIndex, &MemoryPlan)> {
    let memories = module.env().memories.iter();
    memories
        .skip(module.wasm().num_imported_memories)
        .filter(|(_, plan)| !plan.ty.shared)
}

/// What the memories and tables that a module defines are in, in order; but for shared memories,
/// which may outlive any instance.
#[derive(Debug, Default)]
pub(crate) struct Storage {
    pub(in crate::vm) memories: Vec<MemoryStorage>,
    pub(in crate::vm) tables: Vec<TableStorage>,
}

/// What the elements of a table are in.
#[derive(Debug)]
pub(crate) struct TableStorage {
    pub(in crate::vm) elements: Zeroed,
    /// How many of them there may be, if `elements` is not to move.
    most: usize,
    /// How many from the start may not be zero.
    pub(in crate::vm) used: usize,
    /// Whether any is neither zero nor what it is at first.
    pub(in crate::vm) written: bool,
}

impl TableStorage {
    pub(in crate::vm) fn new(elements: Zeroed) -> TableStorage {
        TableStorage::limited(elements, usize::MAX)
    }

    /// For so many elements at most, as long as they stay there.
    fn limited(elements: Zeroed, most: usize) -> TableStorage {
        TableStorage {
            elements,
            most,
            used: 0,
            written: false,
        }
    }

    /// How many elements it has room for.
    pub(in crate::vm) fn capacity(&self) -> usize {
        self.most.min(self.elements.size() / size_of::<u64>())
    }

    /// Makes all elements zero again; not more than `keep` bytes stay in memory.
    fn clear(&mut self, keep: usize) -> std::io::Result<()> {
        self.elements.clear(self.used * size_of::<u64>(), keep)?;
        self.used = 0;
        self.written = false;
        Ok(())
    }
}

/// A module's identity, for allocators that keep something of its instances.
pub(crate) struct ModuleKey {
    number: u64,
    engine: Engine,
}

impl ModuleKey {
    pub(crate) fn new(engine: &Engine) -> ModuleKey {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        ModuleKey {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            engine: engine.clone(),
        }
    }
}

impl fmt::Debug for ModuleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModuleKey({})", self.number)
    }
}

impl Drop for ModuleKey {
    fn drop(&mut self) {
        self.engine.allocator().forget(self);
    }
}
