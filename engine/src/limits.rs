//! What a store may use of memories, tables and instances.
//!
//! A [`ResourceLimiter`] is asked before anything is created or grown. It is part of the store's
//! data (or reached from it), so one type can count and account as its embedder likes;
//! [`StoreLimits`] is the one that just has bounds.
//!
//! A refused growth is what WebAssembly knows: `memory.grow` gives -1. A refused creation is an
//! error of kind [`ErrorKind::Limit`]. An error of the limiter itself stops the program.

use crate::error::{Error, ErrorKind, Result};
use crate::store::{Store, StoreContextMut, StoreInner};
use crate::vm::StoreOpaque;

/// Decides what a store may use. Sizes of memories are in bytes, of tables in elements.
pub trait ResourceLimiter: Send {
    /// Whether a memory may grow from `current` to `desired` bytes; a new one grows from 0.
    /// `maximum` is that of its type.
    ///
    /// # Errors
    /// Whatever is to stop the program.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool>;

    /// Whether a table may grow from `current` to `desired` elements; a new one grows from 0.
    ///
    /// # Errors
    /// Whatever is to stop the program.
    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool>;

    /// Told when a growth that was allowed then failed, for want of memory or because of its
    /// type's maximum.
    ///
    /// # Errors
    /// Whatever is to stop the program; by default it goes on.
    fn memory_grow_failed(&mut self) -> Result<()> {
        Ok(())
    }

    /// The same for tables.
    ///
    /// # Errors
    /// As for [`ResourceLimiter::memory_grow_failed`].
    fn table_grow_failed(&mut self) -> Result<()> {
        Ok(())
    }

    /// How many instances a store may have.
    fn instances(&self) -> usize {
        10_000
    }

    /// How many memories.
    fn memories(&self) -> usize {
        10_000
    }

    /// How many tables.
    fn tables(&self) -> usize {
        10_000
    }
}

/// Fixed bounds.
///
/// ```
/// use bimetal::{Engine, Linker, Module, Store, StoreLimits, StoreLimitsBuilder};
///
/// let engine = Engine::default();
/// let limits = StoreLimitsBuilder::new().memory_size(2 << 16).build();
/// let mut store = Store::new(&engine, limits);
/// store.limiter(|limits| limits);
/// let module = Module::new(&engine, r#"(module (memory 1)
///     (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#)?;
/// let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
/// let grow = instance.get_typed_func::<i32, i32>(&mut store, "grow")?;
/// assert_eq!(grow.call(&mut store, 1)?, 1);
/// assert_eq!(grow.call(&mut store, 1)?, -1);
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct StoreLimits {
    memory_size: Option<usize>,
    table_elements: Option<usize>,
    instances: usize,
    memories: usize,
    tables: usize,
    trap_on_grow_failure: bool,
}

/// Builds [`StoreLimits`].
#[derive(Clone, Debug, Default)]
pub struct StoreLimitsBuilder(StoreLimits);

impl Default for StoreLimits {
    fn default() -> Self {
        StoreLimits {
            memory_size: None,
            table_elements: None,
            instances: 10_000,
            memories: 10_000,
            tables: 10_000,
            trap_on_grow_failure: false,
        }
    }
}

impl StoreLimitsBuilder {
    /// Without bounds, but 10,000 instances, memories and tables.
    pub fn new() -> Self {
        StoreLimitsBuilder::default()
    }

    /// Bytes that each memory may have.
    pub fn memory_size(mut self, bytes: usize) -> Self {
        self.0.memory_size = Some(bytes);
        self
    }

    /// Elements that each table may have.
    pub fn table_elements(mut self, elements: usize) -> Self {
        self.0.table_elements = Some(elements);
        self
    }

    /// How many instances the store may have.
    pub fn instances(mut self, count: usize) -> Self {
        self.0.instances = count;
        self
    }

    /// How many memories.
    pub fn memories(mut self, count: usize) -> Self {
        self.0.memories = count;
        self
    }

    /// How many tables.
    pub fn tables(mut self, count: usize) -> Self {
        self.0.tables = count;
        self
    }

    /// Whether a growth that is refused or fails stops the program instead of giving -1.
    pub fn trap_on_grow_failure(mut self, trap: bool) -> Self {
        self.0.trap_on_grow_failure = trap;
        self
    }

    /// The limits.
    pub fn build(self) -> StoreLimits {
        self.0
    }
}

impl StoreLimits {
    fn decide(&self, what: &str, desired: usize, bound: Option<usize>) -> Result<bool> {
        let allowed = bound.is_none_or(|bound| desired <= bound);
        if !allowed && self.trap_on_grow_failure {
            return Err(Error::of(
                ErrorKind::Limit,
                format_args!("forcing a trap: a {what} of {desired} is past the limit"),
            ));
        }
        Ok(allowed)
    }

    fn failed(&self, what: &str) -> Result<()> {
        match self.trap_on_grow_failure {
            true => Err(Error::of(
                ErrorKind::Limit,
                format_args!("forcing a trap: a {what} could not grow"),
            )),
            false => Ok(()),
        }
    }
}

impl ResourceLimiter for StoreLimits {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        let within_type = maximum.is_none_or(|maximum| desired <= maximum);
        let bound = if within_type {
            self.memory_size
        } else {
            Some(0)
        };
        self.decide("memory size in bytes", desired, bound)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        let within_type = maximum.is_none_or(|maximum| desired <= maximum);
        let bound = if within_type {
            self.table_elements
        } else {
            Some(0)
        };
        self.decide("table size in elements", desired, bound)
    }

    fn memory_grow_failed(&mut self) -> Result<()> {
        self.failed("memory")
    }

    fn table_grow_failed(&mut self) -> Result<()> {
        self.failed("table")
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn memories(&self) -> usize {
        self.memories
    }

    fn tables(&self) -> usize {
        self.tables
    }
}

/// Finds the limiter in a store's data.
pub(crate) type FindLimiter<T> = Box<dyn (Fn(&mut T) -> &mut (dyn ResourceLimiter)) + Send + Sync>;

/// What a limiter is asked, in a form that generated code's runtime can pass on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request {
    /// From, to, at most; in bytes.
    Memory(u64, u64, Option<u64>),
    /// From, to, at most; in elements.
    Table(u64, u64, Option<u64>),
    MemoryFailed,
    TableFailed,
}

impl Request {
    fn ask(self, limiter: &mut dyn ResourceLimiter) -> Result<bool> {
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        match self {
            Request::Memory(from, to, max) => {
                limiter.memory_growing(size(from), size(to), max.map(size))
            }
            Request::Table(from, to, max) => {
                limiter.table_growing(size(from), size(to), max.map(size))
            }
            Request::MemoryFailed => limiter.memory_grow_failed().map(|()| true),
            Request::TableFailed => limiter.table_grow_failed().map(|()| true),
        }
    }
}

impl<T: 'static> StoreInner<T> {
    /// Asks the store's limiter; without one everything is allowed.
    pub(crate) fn ask_limiter(&mut self, request: Request) -> Result<bool> {
        let (data, find) = self.limiter_parts();
        match find {
            Some(find) => request.ask(find(data)),
            None => Ok(true),
        }
    }
}

impl<T: 'static> Store<T> {
    /// Sets what limits this store from now on: `find` says where in the store's data it is.
    pub fn limiter(
        &mut self,
        find: impl (Fn(&mut T) -> &mut (dyn ResourceLimiter)) + Send + Sync + 'static,
    ) {
        self.set_limiter(Box::new(find));
    }
}

impl<T: 'static> StoreContextMut<'_, T> {
    /// Whether the limiter lets the store have a new memory or table, or instance.
    fn new_ones(&mut self, instances: usize, memories: usize, tables: usize) -> Result<()> {
        let (has_instances, has_memories, has_tables) = self.opaque().counts();
        let (data, find) = self.inner_mut().limiter_parts();
        let Some(find) = find else {
            return Ok(());
        };
        let limiter = find(data);
        for (what, has, more, bound) in [
            ("instances", has_instances, instances, limiter.instances()),
            ("memories", has_memories, memories, limiter.memories()),
            ("tables", has_tables, tables, limiter.tables()),
        ] {
            if more > 0 && has + more > bound {
                return Err(Error::of(
                    ErrorKind::Limit,
                    format_args!("resource limit exceeded: this store may have {bound} {what}"),
                ));
            }
        }
        Ok(())
    }

    /// Asks for all that an instance of the module would create.
    pub(crate) fn ask_for_instance(&mut self, module: &bimetal_wasm::Module) -> Result<()> {
        let memories = module.num_defined_memories();
        let tables = module.num_defined_tables();
        self.new_ones(1, memories, tables)?;
        for ty in module.memories.values().skip(module.num_imported_memories) {
            self.ask_for_memory(ty)?;
        }
        for ty in module.tables.values().skip(module.num_imported_tables) {
            self.ask_for_table(ty)?;
        }
        Ok(())
    }

    fn ask_for_memory(&mut self, ty: &bimetal_wasm::MemoryType) -> Result<()> {
        let bytes = ty.minimum_byte_size();
        let request = Request::Memory(0, bytes, ty.max.map(|_| ty.maximum_byte_size()));
        if self.inner_mut().ask_limiter(request)? {
            return Ok(());
        }
        Err(Error::of(
            ErrorKind::Limit,
            format_args!("a memory of {bytes} bytes exceeds the store's limit"),
        ))
    }

    fn ask_for_table(&mut self, ty: &bimetal_wasm::TableType) -> Result<()> {
        if self
            .inner_mut()
            .ask_limiter(Request::Table(0, ty.min, ty.max))?
        {
            return Ok(());
        }
        Err(Error::of(
            ErrorKind::Limit,
            format_args!("a table of {} elements exceeds the store's limit", ty.min),
        ))
    }

    /// Asks for a memory of the host's.
    pub(crate) fn ask_for_new_memory(&mut self, ty: &bimetal_wasm::MemoryType) -> Result<()> {
        self.new_ones(0, 1, 0)?;
        self.ask_for_memory(ty)
    }

    /// Asks for a table of the host's.
    pub(crate) fn ask_for_new_table(&mut self, ty: &bimetal_wasm::TableType) -> Result<()> {
        self.new_ones(0, 0, 1)?;
        self.ask_for_table(ty)
    }
}

impl StoreOpaque {
    /// What growing a memory by `delta` pages asks for; `None` if it is out of the question.
    pub(crate) fn memory_request(&self, id: crate::vm::MemoryId, delta: u64) -> Option<Request> {
        let memory = self.memory(id);
        let ty = memory.ty();
        let more = delta.checked_mul(ty.page_size())?;
        let from = memory.len() as u64;
        let maximum = ty.max.map(|_| ty.maximum_byte_size());
        Some(Request::Memory(from, from.checked_add(more)?, maximum))
    }

    /// The same for a table, by elements.
    pub(crate) fn table_request(&self, id: crate::vm::TableId, delta: u64) -> Option<Request> {
        let table = self.table(id);
        let to = table.len().checked_add(delta)?;
        Some(Request::Table(table.len(), to, table.ty().max))
    }
}
