//! A pool: address space for so many memories and tables, reserved once.
//!
//! What an instance leaves behind stays together as its [`Parts`], for the next instance of the same
//! module: its context with the function references, its tables with the elements that were looked
//! up, its memories with their initial contents mapped and their pages' rights as they must be.
//! [`Pool::free`] brings back what the instance changed, so that nothing is left to do when the next
//! one comes. Only so many are kept; then the oldest loses its context, and its slots are free for
//! any module.
//!
//! System calls are made outside of the lock, but for those of making a slot for the first time.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bimetal_abi::Tunables;
use bimetal_sys::{Reservation, page_size};

use super::super::storage::{MemoryStorage, Slot, Zeroed, in_pages};
use super::on_demand::context;
use super::warm::Warm;
use super::{Allocator, ModuleKey, Parts, Storage, TableStorage, own_memories};
use crate::allocation::{PoolConcurrencyLimitError, PoolingAllocationConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::module::Module;

/// See the module.
#[derive(Debug)]
pub(crate) struct Pool {
    limits: PoolingAllocationConfig,
    memories: Arc<Reservation>,
    /// Bytes of a memory's slot, with its guard.
    memory_slot: usize,
    /// How many of them can be accessible.
    memory_capacity: usize,
    tables: Arc<Reservation>,
    table_slot: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Instances that there are.
    instances: usize,
    warm: Warm,
    memories: Slots<MemoryStorage>,
    tables: Slots<TableStorage>,
}

/// Slots that belong to no instance, neither one that is nor one that was.
#[derive(Debug)]
struct Slots<S> {
    unused: Vec<S>,
    /// How many have been made.
    made: usize,
}

impl<S> Default for Slots<S> {
    fn default() -> Self {
        Slots {
            unused: Vec::new(),
            made: 0,
        }
    }
}

impl<S> Slots<S> {
    /// How many can be taken, if there are `total` of them.
    fn left(&self, total: usize) -> usize {
        self.unused.len() + total.saturating_sub(self.made)
    }

    /// `count` slots, of which there are that many left; `make` makes the one with a number.
    fn take(&mut self, count: usize, mut make: impl FnMut(usize) -> S) -> Vec<S> {
        let old = self.unused.len().saturating_sub(count);
        let mut taken = self.unused.split_off(old);
        while taken.len() < count {
            taken.push(make(self.made));
            self.made += 1;
        }
        taken
    }
}

/// What a module wants of a pool.
struct Wanted {
    memories: usize,
    tables: usize,
}

impl Pool {
    pub(super) fn new(limits: PoolingAllocationConfig, tunables: &Tunables) -> Result<Pool> {
        let guard = tunables.memory_guard * u64::from(tunables.signals_based_traps);
        // A memory without checks may reach that far, whatever its size.
        let reservation = tunables.memory_reservation * u64::from(tunables.signals_based_traps);
        let size = (limits.max_memory_size as u64).max(reservation);
        let too_large = || Error::usage("a pool larger than any address space");
        let memory_capacity = in_pages(limits.max_memory_size as u64).ok_or_else(too_large)?;
        let memory_slot = in_pages(size)
            .zip(in_pages(guard))
            .and_then(|(size, guard)| size.checked_add(guard))
            .ok_or_else(too_large)?
            .max(page_size());
        let table_slot = (limits.table_elements as u64)
            .checked_mul(size_of::<u64>() as u64)
            .and_then(in_pages)
            .ok_or_else(too_large)?
            .max(page_size());
        type Make = fn(usize) -> io::Result<Reservation>;
        let space = |make: Make, count: u32, slot: usize, what: &str, advice: &str| {
            let size = slot.checked_mul(count as usize).ok_or_else(too_large)?;
            let space = make(size).map_err(|error| {
                Error::new(error).context(format_args!(
                    "cannot reserve {size} bytes of address space for a pool of {count} {what} of \
                     {slot} bytes each: {advice}"
                ))
            })?;
            Ok::<_, Error>(Arc::new(space))
        };
        let memories = space(
            Reservation::new,
            limits.total_memories,
            memory_slot,
            "memories",
            "lower `total_memories`, or `max_memory_size` and `Config::memory_reservation`",
        )?;
        let tables = space(
            Reservation::accessible,
            limits.total_tables,
            table_slot,
            "tables",
            "lower `total_tables` or `table_elements`",
        )?;
        // An element of a table is not to cost as much as the tables of ten instances. A system
        // without huge pages has nothing to avoid.
        let _ = tables.avoid_huge_pages();
        Ok(Pool {
            limits,
            memories,
            memory_slot,
            memory_capacity,
            tables,
            table_slot,
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an instance of the module fits at all.
    fn wanted(&self, module: &Module) -> Result<Wanted> {
        let (limits, wasm, env) = (&self.limits, module.wasm(), module.env());
        let check = |what: fmt::Arguments<'_>, has: u64, limit: u64, name: &str| match has <= limit
        {
            true => Ok(()),
            false => Err(Error::of(
                ErrorKind::Limit,
                format_args!("{what} {has}, and the pool's `{name}` is {limit}"),
            )),
        };
        let wanted = Wanted {
            memories: own_memories(module).count(),
            tables: wasm.num_defined_tables(),
        };
        check(
            format_args!("the bytes that an instance takes besides memories and tables are"),
            env.offsets.size().into(),
            limits.max_core_instance_size as u64,
            "max_core_instance_size",
        )?;
        check(
            format_args!("the number of memories is"),
            wanted.memories as u64,
            limits.max_memories_per_module.into(),
            "max_memories_per_module",
        )?;
        check(
            format_args!("the number of tables is"),
            wanted.tables as u64,
            limits.max_tables_per_module.into(),
            "max_tables_per_module",
        )?;
        for (index, plan) in own_memories(module) {
            check(
                format_args!("the initial bytes of memory {} are", index.as_u32()),
                plan.ty.minimum_byte_size(),
                limits.max_memory_size as u64,
                "max_memory_size",
            )?;
        }
        for (index, ty) in wasm.tables.iter().skip(wasm.num_imported_tables) {
            check(
                format_args!("the initial elements of table {} are", index.as_u32()),
                ty.min,
                limits.table_elements as u64,
                "table_elements",
            )?;
        }
        Ok(wanted)
    }

    /// What an earlier instance of the module left, or free slots; those of memories and tables are
    /// in any state.
    fn take(&self, module: u64, wanted: &Wanted) -> Result<Taken> {
        let limits = &self.limits;
        let (memories, tables) = (limits.total_memories, limits.total_tables);
        let mut state = self.state();
        let exceeded = |limit: u32, what| Err(PoolConcurrencyLimitError::new(limit, what).into());
        if state.instances >= limits.total_core_instances as usize {
            return exceeded(limits.total_core_instances, "core instances");
        }
        if let Some(parts) = state.warm.take(module) {
            state.instances += 1;
            return Ok(Taken::Warm(parts));
        }
        // As long as not many are kept, unused slots are taken first.
        let mut many = state.warm.len() >= limits.max_unused_warm_slots as usize;
        loop {
            let enough = state.memories.left(memories as usize) >= wanted.memories
                && state.tables.left(tables as usize) >= wanted.tables;
            if enough && !many {
                break;
            }
            many = false;
            match state.warm.take_oldest() {
                Some(parts) => state.give_back(parts.storage),
                None if enough => break,
                None if state.memories.left(memories as usize) < wanted.memories => {
                    return exceeded(memories, "memories");
                }
                None => return exceeded(tables, "tables"),
            }
        }
        let taken = Storage {
            memories: state.memories.take(wanted.memories, |i| {
                let slot = Slot::new(&self.memories, i, self.memory_slot);
                MemoryStorage::in_slot(slot, self.memory_capacity)
            }),
            tables: state.tables.take(wanted.tables, |i| {
                let slot = Slot::new(&self.tables, i, self.table_slot);
                TableStorage::limited(Zeroed::Slot(slot), limits.table_elements)
            }),
        };
        state.instances += 1;
        Ok(Taken::Unused(taken))
    }

    /// Makes free slots the parts of a module's instance.
    fn prepare(&self, module: &Module, taken: &mut Storage) -> Result<(Zeroed, bool)> {
        let contents = module.inner().contents.next(module.wasm(), true);
        let plans = own_memories(module);
        for (memory, (index, plan)) in taken.memories.iter_mut().zip(plans) {
            memory.prepare(plan, index, contents)?;
        }
        for table in &mut taken.tables {
            table.clear(self.limits.table_keep_resident)?;
        }
        Ok((context(module)?, contents.is_some()))
    }

    /// Takes the slots of an instance, in any state, back from it.
    fn end(&self, storage: Storage) {
        let storage = released(storage, MemoryStorage::unmap);
        let mut state = self.state();
        state.instances -= 1;
        state.give_back(storage);
    }

    /// Brings back what an instance changed.
    fn reset(&self, module: &Module, parts: &mut Parts, ran: bool) -> io::Result<()> {
        let plans = own_memories(module).map(|(_, plan)| plan);
        for (memory, plan) in parts.storage.memories.iter_mut().zip(plans) {
            memory.reset(plan, ran, self.limits.linear_memory_keep_resident)?;
        }
        let keep = self.limits.table_keep_resident;
        for table in &mut parts.storage.tables {
            if table.written || table.used * size_of::<u64>() > keep {
                table.clear(keep)?;
            }
        }
        Ok(())
    }
}

/// What an instance gets.
enum Taken {
    Warm(Parts),
    /// In any state.
    Unused(Storage),
}

impl State {
    fn give_back(&mut self, storage: Storage) {
        self.memories.unused.extend(storage.memories);
        self.tables.unused.extend(storage.tables);
    }
}

/// Storage whose memory the system has taken back; what cannot be brought back is not used again.
fn released(
    mut storage: Storage,
    mut release: impl FnMut(&mut MemoryStorage) -> io::Result<()>,
) -> Storage {
    let fine = |result: io::Result<()>| match result {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(%error, "a slot of the pool cannot be cleared and is lost");
            false
        }
    };
    storage.memories.retain_mut(|memory| fine(release(memory)));
    storage.tables.retain_mut(|table| fine(table.clear(0)));
    storage
}

impl Allocator for Pool {
    fn allocate(&self, module: &Module) -> Result<Parts> {
        let wanted = self.wanted(module)?;
        let mut taken = match self.take(module.inner().key.number, &wanted)? {
            Taken::Warm(parts) => return Ok(parts),
            Taken::Unused(storage) => storage,
        };
        match self.prepare(module, &mut taken) {
            Ok((context, filled)) => Ok(Parts {
                context,
                storage: taken,
                used: false,
                filled,
            }),
            Err(error) => {
                self.end(taken);
                Err(error)
            }
        }
    }

    fn free(&self, module: &Module, mut parts: Parts, ran: bool) {
        parts.used = true;
        parts.filled = module.inner().contents.next(module.wasm(), true).is_some();
        if let Err(error) = self.reset(module, &mut parts, ran) {
            tracing::debug!(%error, "slots of the pool are unmapped instead of being reset");
            return self.end(parts.storage);
        }
        let oldest = {
            let mut state = self.state();
            state.instances -= 1;
            state.warm.insert(module.inner().key.number, parts);
            match state.warm.len() > self.limits.max_unused_warm_slots as usize {
                true => state.warm.take_oldest(),
                false => None,
            }
        };
        if let Some(parts) = oldest {
            let storage = released(parts.storage, MemoryStorage::release);
            self.state().give_back(storage);
        }
    }

    fn forget(&self, module: &ModuleKey) {
        let left = self.state().warm.take_all(module.number);
        for parts in left {
            // The mappings keep the file of the contents.
            let storage = released(parts.storage, MemoryStorage::unmap);
            self.state().give_back(storage);
        }
    }
}
