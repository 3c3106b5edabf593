//! How instances get their memory.

use std::fmt;

/// Where the memory of instances comes from: [`Config::allocation_strategy`].
///
/// [`Config::allocation_strategy`]: crate::Config::allocation_strategy
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum InstanceAllocationStrategy {
    /// From the system, for each instance when it is made.
    #[default]
    OnDemand,
    /// From a pool that the engine reserves when it is made.
    Pooling(PoolingAllocationConfig),
}

impl InstanceAllocationStrategy {
    /// A pool with the default limits.
    pub fn pooling() -> InstanceAllocationStrategy {
        InstanceAllocationStrategy::Pooling(PoolingAllocationConfig::default())
    }
}

impl From<PoolingAllocationConfig> for InstanceAllocationStrategy {
    fn from(limits: PoolingAllocationConfig) -> Self {
        InstanceAllocationStrategy::Pooling(limits)
    }
}

/// A pool of memories and tables for instances: how much it has, and what it keeps.
///
/// The engine reserves the pool's address space at once, and memory as instances use it. Slots that
/// an instance of a module has left are kept for the next one of the same module: only what it wrote
/// has to be undone, so that making an instance costs well below a microsecond and does not depend on
/// the size of its data or tables. The limits hold for all stores of the engine together; an
/// instance that does not fit at the moment is refused with a [`PoolConcurrencyLimitError`], and one
/// that never will with an error of kind [`ErrorKind::Limit`](crate::ErrorKind::Limit) that says
/// which limit it exceeds. Memories and tables that the host makes itself ([`Memory::new`],
/// [`Table::new`]) are not of the pool.
///
/// Each memory takes the larger of [`max_memory_size`] and [`Config::memory_reservation`] of address
/// space, and the guard: 4 GiB and 32 MiB unless said otherwise, so that ten thousand take 40 of the
/// 128 TiB that a process has. Where there is less, lower both; accesses are then checked by code.
///
/// ```
/// use bimetal::{Config, Engine, ErrorKind, Linker, Module, PoolingAllocationConfig, Store};
/// use bimetal::PoolConcurrencyLimitError;
///
/// let mut pool = PoolingAllocationConfig::new();
/// pool.total_core_instances(1);
/// let engine = Engine::new(Config::new().allocation_strategy(pool))?;
/// let module = Module::new(&engine, "(module (memory 1))")?;
/// let guest = Linker::new(&engine).instantiate_pre(&module)?;
///
/// let mut one = Store::new(&engine, ());
/// guest.instantiate(&mut one)?;
/// let mut another = Store::new(&engine, ());
/// let error = guest.instantiate(&mut another).unwrap_err();
/// assert!(error.is::<PoolConcurrencyLimitError>());
/// assert_eq!(error.kind(), ErrorKind::Limit);
/// drop(one);
/// guest.instantiate(&mut another)?;
/// # Ok::<(), bimetal::Error>(())
/// ```
///
/// [`max_memory_size`]: PoolingAllocationConfig::max_memory_size
/// [`Config::memory_reservation`]: crate::Config::memory_reservation
/// [`Memory::new`]: crate::Memory::new
/// [`Table::new`]: crate::Table::new
#[doc(alias = "PoolingConfig")]
#[derive(Clone, Debug)]
pub struct PoolingAllocationConfig {
    pub(crate) total_core_instances: u32,
    pub(crate) total_memories: u32,
    pub(crate) total_tables: u32,
    pub(crate) total_stacks: u32,
    pub(crate) max_core_instance_size: usize,
    pub(crate) max_memories_per_module: u32,
    pub(crate) max_tables_per_module: u32,
    pub(crate) max_memory_size: usize,
    pub(crate) table_elements: usize,
    pub(crate) max_unused_warm_slots: u32,
    pub(crate) linear_memory_keep_resident: usize,
    pub(crate) table_keep_resident: usize,
}

impl Default for PoolingAllocationConfig {
    fn default() -> Self {
        PoolingAllocationConfig {
            total_core_instances: 1000,
            total_memories: 1000,
            total_tables: 1000,
            total_stacks: 1000,
            max_core_instance_size: 1 << 20,
            max_memories_per_module: 1,
            max_tables_per_module: 1,
            // Less where addresses are shorter.
            max_memory_size: usize::try_from(1_u64 << 32).unwrap_or(1 << 30),
            table_elements: 20_000,
            max_unused_warm_slots: 100,
            // All warm slots together keep 22 MiB at most.
            linear_memory_keep_resident: 64 << 10,
            table_keep_resident: 160 << 10,
        }
    }
}

impl PoolingAllocationConfig {
    /// The defaults: 1000 instances, memories, tables and stacks, one memory and one table of 20,000
    /// elements for each module.
    pub fn new() -> PoolingAllocationConfig {
        PoolingAllocationConfig::default()
    }

    /// How many instances there may be at a time (1000 unless said otherwise).
    pub fn total_core_instances(&mut self, count: u32) -> &mut Self {
        self.total_core_instances = count;
        self
    }

    /// How many memories of instances there may be at a time (1000).
    pub fn total_memories(&mut self, count: u32) -> &mut Self {
        self.total_memories = count;
        self
    }

    /// How many tables of instances there may be at a time (1000).
    pub fn total_tables(&mut self, count: u32) -> &mut Self {
        self.total_tables = count;
        self
    }

    /// How many asynchronous calls may be going on at a time (1000): each has a stack.
    pub fn total_stacks(&mut self, count: u32) -> &mut Self {
        self.total_stacks = count;
        self
    }

    /// How many bytes an instance may take besides its memories and tables (1 MiB): for its globals,
    /// imports, and 24 for each function that is exported or referred to.
    pub fn max_core_instance_size(&mut self, bytes: usize) -> &mut Self {
        self.max_core_instance_size = bytes;
        self
    }

    /// How many memories a module may define (1).
    pub fn max_memories_per_module(&mut self, count: u32) -> &mut Self {
        self.max_memories_per_module = count;
        self
    }

    /// How many tables a module may define (1).
    pub fn max_tables_per_module(&mut self, count: u32) -> &mut Self {
        self.max_tables_per_module = count;
        self
    }

    /// How many bytes a memory may grow to (4 GiB). Beyond that `memory.grow` gives -1; a module whose
    /// memory begins larger is refused.
    pub fn max_memory_size(&mut self, bytes: usize) -> &mut Self {
        self.max_memory_size = bytes;
        self
    }

    /// How many elements a table may grow to (20,000). Beyond that `table.grow` gives -1; a module
    /// whose table begins larger is refused.
    pub fn table_elements(&mut self, count: usize) -> &mut Self {
        self.table_elements = count;
        self
    }

    /// How many instances that are gone may have their slots kept for the next ones of their modules
    /// (100). It is a matter of speed and memory only.
    pub fn max_unused_warm_slots(&mut self, count: u32) -> &mut Self {
        self.max_unused_warm_slots = count;
        self
    }

    /// How many bytes that an instance has written may stay in memory for the next one, of each
    /// memory (64 KiB): so many are rewritten, which is faster than giving pages back and taking
    /// faults for new ones. It is a matter of speed and memory only.
    pub fn linear_memory_keep_resident(&mut self, bytes: usize) -> &mut Self {
        self.linear_memory_keep_resident = bytes;
        self
    }

    /// The same for each table (160 KiB, which is all of one of 20,000 elements).
    pub fn table_keep_resident(&mut self, bytes: usize) -> &mut Self {
        self.table_keep_resident = bytes;
        self
    }
}

/// A pool has no more of something at the moment: the cause of such errors, see
/// [`Error::downcast_ref`](crate::Error::downcast_ref).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConcurrencyLimitError {
    limit: u32,
    what: &'static str,
}

impl PoolConcurrencyLimitError {
    pub(crate) fn new(limit: u32, what: &'static str) -> PoolConcurrencyLimitError {
        PoolConcurrencyLimitError { limit, what }
    }
}

impl fmt::Display for PoolConcurrencyLimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PoolConcurrencyLimitError { limit, what } = self;
        write!(f, "all {limit} {what} of the engine's pool are in use")
    }
}

impl std::error::Error for PoolConcurrencyLimitError {}
