//! What a store may use of memories, tables and instances.
//!
//! A [`ResourceLimiter`] is asked before anything is created or grown. It is part of the store's
//! data (or reached from it), so one type can count and account as its embedder likes;
//! [`StoreLimits`] is the one that just has bounds.
//!
//! A refused growth is what WebAssembly knows: `memory.grow` gives -1. A refused creation is an
//! error of kind [`ErrorKind::Limit`]. An error of the limiter itself stops the program.

use std::future::Future;
use std::pin::Pin;

use crate::asynchronous::ResourceLimiterAsync;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Store, StoreContextMut, StoreInner};
use crate::types::TableType;
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

/// Where in a store's data its limiter is.
pub(crate) enum Limiter<T> {
    Sync(Box<dyn (FnMut(&mut T) -> &mut dyn ResourceLimiter) + Send + Sync>),
    Async(Box<dyn (FnMut(&mut T) -> &mut dyn ResourceLimiterAsync) + Send + Sync>),
}

/// A limiter's answer.
pub(crate) enum Asked<'a> {
    Now(bool),
    Soon(Pin<Box<dyn Future<Output = Result<bool>> + Send + 'a>>),
}

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
    /// Whether the type allows it.
    pub(crate) fn is_within_type(&self) -> bool {
        match *self {
            Request::Memory(_, to, maximum) => to <= maximum.unwrap_or(1 << 32),
            Request::Table(_, to, maximum) => to <= maximum.unwrap_or(u32::MAX.into()),
            Request::MemoryFailed | Request::TableFailed => false,
        }
    }

    /// For a new memory.
    pub(crate) fn memory(ty: &bimetal_wasm::MemoryType) -> Request {
        let maximum = ty.max.map(|_| ty.maximum_byte_size());
        Request::Memory(0, ty.minimum_byte_size(), maximum)
    }

    /// For a new table.
    pub(crate) fn table(ty: &TableType) -> Request {
        Request::Table(0, ty.minimum(), ty.maximum())
    }

    /// For all that an instance of the module creates.
    pub(crate) fn all(module: &bimetal_wasm::Module) -> impl Iterator<Item = Request> + Send + '_ {
        let memories = module.memories.values().skip(module.num_imported_memories);
        let tables = module.tables.values().skip(module.num_imported_tables);
        memories
            .map(Request::memory)
            .chain(tables.map(|ty| Request::Table(0, ty.min, ty.max)))
    }

    /// The error if something new is refused.
    pub(crate) fn granted(self, allowed: bool) -> Result<()> {
        if allowed {
            return Ok(());
        }
        let what = match self {
            Request::Memory(_, to, _) => format!("a memory of {to} bytes"),
            Request::Table(_, to, _) => format!("a table of {to} elements"),
            Request::MemoryFailed | Request::TableFailed => return Ok(()),
        };
        Err(Error::of(
            ErrorKind::Limit,
            format_args!("{what} exceeds the store's limit"),
        ))
    }
}

impl<T> Limiter<T> {
    pub(crate) fn ask<'a>(&mut self, data: &'a mut T, request: Request) -> Result<Asked<'a>> {
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        // To grow by nothing is to ask for the size, which a limit set later does not forbid.
        if let Request::Memory(from, to, _) | Request::Table(from, to, _) = request
            && from == to
        {
            return Ok(Asked::Now(true));
        }
        match self {
            Limiter::Sync(find) => {
                let limiter = find(data);
                match request {
                    Request::Memory(from, to, max) => {
                        limiter.memory_growing(size(from), size(to), max.map(size))
                    }
                    Request::Table(from, to, max) => {
                        limiter.table_growing(size(from), size(to), max.map(size))
                    }
                    Request::MemoryFailed => limiter.memory_grow_failed().map(|()| true),
                    Request::TableFailed => limiter.table_grow_failed().map(|()| true),
                }
                .map(Asked::Now)
            }
            Limiter::Async(find) => {
                let limiter = find(data);
                Ok(match request {
                    Request::Memory(from, to, max) => {
                        Asked::Soon(limiter.memory_growing(size(from), size(to), max.map(size)))
                    }
                    Request::Table(from, to, max) => {
                        Asked::Soon(limiter.table_growing(size(from), size(to), max.map(size)))
                    }
                    Request::MemoryFailed => {
                        Asked::Now(limiter.memory_grow_failed().map(|()| true)?)
                    }
                    Request::TableFailed => Asked::Now(limiter.table_grow_failed().map(|()| true)?),
                })
            }
        }
    }

    /// How many instances, memories and tables the store may have.
    fn counts(&mut self, data: &mut T) -> (usize, usize, usize) {
        match self {
            Limiter::Sync(find) => {
                let limiter = find(data);
                (limiter.instances(), limiter.memories(), limiter.tables())
            }
            Limiter::Async(find) => {
                let limiter = find(data);
                (limiter.instances(), limiter.memories(), limiter.tables())
            }
        }
    }
}

impl<T: 'static> StoreInner<T> {
    /// Asks the store's limiter; without one everything is allowed.
    ///
    /// # Errors
    /// What the limiter says, or if it is asynchronous.
    pub(crate) fn ask_limiter(&mut self, request: Request) -> Result<bool> {
        let (_, data, limiter) = self.limiter_parts();
        let Some(limiter) = limiter else {
            return Ok(true);
        };
        match limiter.ask(data, request)? {
            Asked::Now(allowed) => Ok(allowed),
            Asked::Soon(_) => Err(Error::usage(
                "the store's limiter is asynchronous: use the function whose name ends in `_async`",
            )),
        }
    }
}

impl<T: 'static> StoreInner<T> {
    /// Tells the store's limiter of a failure, which is never asynchronous.
    pub(crate) fn tell_limiter(&mut self, request: Request) -> Result<()> {
        self.ask_limiter(request).map(|_| ())
    }
}

impl<T: 'static> Store<T> {
    /// Sets what limits this store from now on: `find` says where in the store's data it is.
    pub fn limiter(
        &mut self,
        find: impl (FnMut(&mut T) -> &mut (dyn ResourceLimiter)) + Send + Sync + 'static,
    ) {
        self.set_limiter(Limiter::Sync(Box::new(find)));
    }
}

impl<T: 'static> StoreContextMut<'_, T> {
    /// Whether the limiter lets the store have a new memory or table, or instance.
    pub(crate) fn new_ones(
        &mut self,
        instances: usize,
        memories: usize,
        tables: usize,
    ) -> Result<()> {
        let (opaque, data, limiter) = self.inner_mut().limiter_parts();
        let Some(limiter) = limiter else {
            return Ok(());
        };
        let has = opaque.counts();
        let bounds = limiter.counts(data);
        for (what, has, more, bound) in [
            ("instances", has.0, instances, bounds.0),
            ("memories", has.1, memories, bounds.1),
            ("tables", has.2, tables, bounds.2),
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

    /// The same for what an instance of the module creates.
    pub(crate) fn new_instance(&mut self, module: &bimetal_wasm::Module) -> Result<()> {
        let memories = module.num_defined_memories();
        self.new_ones(1, memories, module.num_defined_tables())
    }

    fn ask_for(&mut self, request: Request) -> Result<()> {
        let allowed = self.inner_mut().ask_limiter(request)?;
        request.granted(allowed)
    }

    /// Asks for all that an instance of the module would create.
    pub(crate) fn ask_for_instance(&mut self, module: &bimetal_wasm::Module) -> Result<()> {
        self.new_instance(module)?;
        Request::all(module).try_for_each(|request| self.ask_for(request))
    }

    /// Asks for a memory of the host's.
    pub(crate) fn ask_for_new_memory(&mut self, ty: &bimetal_wasm::MemoryType) -> Result<()> {
        self.new_ones(0, 1, 0)?;
        self.ask_for(Request::memory(ty))
    }

    /// Asks for a table of the host's.
    pub(crate) fn ask_for_new_table(&mut self, ty: &TableType) -> Result<()> {
        self.new_ones(0, 0, 1)?;
        self.ask_for(Request::table(ty))
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
        Some(Request::Table(table.len(), to, table.ty().maximum()))
    }
}
