//! Memories that threads share.

use std::cell::UnsafeCell;
use std::fmt;
use std::time::Duration;

use bimetal_abi::TrapCode;

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::MemoryAccessError;
use crate::types::MemoryType;
use crate::vm;

/// A memory that several threads use at once, of no store: a handle that is cheap to clone, and can
/// be given to the instances of any store of the engine.
///
/// It never moves. Its bytes may change at any time, so that there are no references to them: they
/// are copied in and out, or reached as [cells](SharedMemory::data).
///
/// ```
/// use bimetal::{Engine, Linker, MemoryType, Module, SharedMemory, Store};
///
/// let engine = Engine::default();
/// let module = Module::new(&engine, r#"(module
///     (import "host" "memory" (memory 1 4 shared))
///     (func (export "count") (param i32)
///         (loop
///             (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))
///             (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"#)?;
/// let memory = SharedMemory::new(&engine, MemoryType::shared(1, 4))?;
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         scope.spawn(|| {
///             let mut store = Store::new(&engine, ());
///             let mut linker = Linker::new(&engine);
///             linker.define(&store, "host", "memory", memory.clone())?;
///             let instance = linker.instantiate(&mut store, &module)?;
///             let count = instance.get_typed_func::<u32, ()>(&mut store, "count")?;
///             count.call(&mut store, 1000)
///         });
///     }
/// });
/// let mut sum = [0; 4];
/// memory.read(0, &mut sum)?;
/// assert_eq!(u32::from_le_bytes(sum), 4000);
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Clone)]
pub struct SharedMemory {
    engine: Engine,
    memory: vm::SharedMemory,
}

/// How waiting at a [`SharedMemory`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitResult {
    /// Somebody notified.
    Ok = 0,
    /// The memory did not contain what was expected; nothing was waited for.
    Mismatch = 1,
    /// The time was over.
    TimedOut = 2,
}

impl Engine {
    /// A shared memory, if there may be any.
    pub(crate) fn new_shared_memory(
        &self,
        ty: bimetal_wasm::MemoryType,
    ) -> Result<vm::SharedMemory> {
        let refused = |why| Err(Error::of(ErrorKind::Unsupported, why));
        if !self.config().shared_memory {
            return refused("shared memories are disabled: see `Config::shared_memory`");
        }
        if self.config().deterministic {
            return refused(
                "a deterministic engine has no shared memories: what threads do at the same time has \
                 no order",
            );
        }
        vm::SharedMemory::new(ty, self.tunables())
    }
}

impl SharedMemory {
    /// A zeroed memory. Address space for its maximum is reserved.
    ///
    /// # Errors
    /// If `ty` is not the type of a shared memory, it cannot be had, or the engine has none
    /// ([`Config::shared_memory`](crate::Config::shared_memory)).
    pub fn new(engine: &Engine, ty: MemoryType) -> Result<SharedMemory> {
        ty.check()?;
        if !ty.is_shared() {
            return Err(Error::usage(
                "the memory's type is not that of a shared one",
            ));
        }
        let memory = engine.new_shared_memory(ty.0)?;
        Ok(SharedMemory::from_vm(engine, memory))
    }

    pub(crate) fn from_vm(engine: &Engine, memory: vm::SharedMemory) -> SharedMemory {
        SharedMemory {
            engine: engine.clone(),
            memory,
        }
    }

    /// For use in a store of this engine.
    pub(crate) fn checked(&self, engine: &Engine) -> Result<&vm::SharedMemory> {
        match Engine::same(&self.engine, engine) {
            true => Ok(&self.memory),
            false => Err(Error::usage(
                "the shared memory and the store are of different engines",
            )),
        }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Its type, with the current size as minimum.
    pub fn ty(&self) -> MemoryType {
        MemoryType(self.memory.ty())
    }

    /// The current size in pages.
    pub fn size(&self) -> u64 {
        self.memory.pages()
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> u64 {
        self.ty().page_size()
    }

    /// The current size in bytes.
    pub fn data_size(&self) -> usize {
        self.memory.len()
    }

    /// The bytes that there are now, where they stay as long as the memory. Other threads may be
    /// changing them: whoever looks into the cells does so by the types of [`std::sync::atomic`].
    /// [`SharedMemory::read`] and [`SharedMemory::write`] do that safely.
    pub fn data(&self) -> &[UnsafeCell<u8>] {
        self.memory.data()
    }

    /// Copies bytes out. Those that another thread changes meanwhile are as before or after that.
    ///
    /// # Errors
    /// If they are not all inside; nothing is copied then.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> Result<(), MemoryAccessError> {
        let read = self.memory.read(offset as u64, buffer);
        read.ok_or_else(MemoryAccessError::new)
    }

    /// Copies bytes in. Other threads may see some of them before the others.
    ///
    /// # Errors
    /// If they would not all be inside; nothing is copied then.
    pub fn write(&self, offset: usize, buffer: &[u8]) -> Result<(), MemoryAccessError> {
        let written = self.memory.write(offset as u64, buffer);
        written.ok_or_else(MemoryAccessError::new)
    }

    /// Grows by `delta` pages; the old size in pages. It is of no store, so no limiter is asked: that
    /// is done where wasm grows it.
    ///
    /// # Errors
    /// If the maximum or the machine does not allow it; the memory is as it was.
    pub fn grow(&self, delta: u64) -> Result<u64> {
        match self.memory.grow(delta, None) {
            vm::Growth::Old(old) => Ok(old),
            vm::Growth::Failed | vm::Growth::Raced => Err(Error::of(
                ErrorKind::Limit,
                format_args!("cannot grow the shared memory by {delta} pages"),
            )),
        }
    }

    /// `memory.atomic.notify`: wakes at most `count` of who waits at `addr`; how many there were.
    ///
    /// # Errors
    /// The trap, if there are no 4 bytes at `addr` or it is not a multiple of 4.
    pub fn atomic_notify(&self, addr: u64, count: u32) -> Result<u32, TrapCode> {
        let word = self.memory.word(addr, 4)?;
        Ok(self.memory.notify(word, count))
    }

    /// `memory.atomic.wait32`: if the 4 bytes at `addr` are `expected`, blocks the thread until
    /// somebody notifies there, or for so long.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use bimetal::{Engine, MemoryType, SharedMemory, Trap, WaitResult};
    ///
    /// let memory = SharedMemory::new(&Engine::default(), MemoryType::shared(1, 1))?;
    /// assert_eq!(memory.atomic_wait32(0, 1, None)?, WaitResult::Mismatch);
    /// let soon = Some(Duration::from_millis(1));
    /// assert_eq!(memory.atomic_wait32(0, 0, soon)?, WaitResult::TimedOut);
    /// assert_eq!(memory.atomic_wait32(1, 0, soon), Err(Trap::HeapMisaligned));
    /// std::thread::scope(|scope| {
    ///     let waits = scope.spawn(|| memory.atomic_wait32(0, 0, None));
    ///     while memory.atomic_notify(0, 1)? == 0 {}
    ///     assert_eq!(waits.join().unwrap(), Ok(WaitResult::Ok));
    ///     Ok::<(), Trap>(())
    /// })?;
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    ///
    /// # Errors
    /// The trap, if there are no 4 bytes at `addr` or it is not a multiple of 4.
    pub fn atomic_wait32(
        &self,
        addr: u64,
        expected: u32,
        timeout: Option<Duration>,
    ) -> Result<WaitResult, TrapCode> {
        self.wait(addr, 4, expected.into(), timeout)
    }

    /// `memory.atomic.wait64`: as [`SharedMemory::atomic_wait32`], with 8 bytes.
    ///
    /// # Errors
    /// The trap, if there are no 8 bytes at `addr` or it is not a multiple of 8.
    pub fn atomic_wait64(
        &self,
        addr: u64,
        expected: u64,
        timeout: Option<Duration>,
    ) -> Result<WaitResult, TrapCode> {
        self.wait(addr, 8, expected, timeout)
    }

    fn wait(
        &self,
        addr: u64,
        size: u8,
        expected: u64,
        timeout: Option<Duration>,
    ) -> Result<WaitResult, TrapCode> {
        let word = self.memory.word(addr, size)?;
        Ok(match self.memory.wait(word, expected, timeout) {
            None => WaitResult::Mismatch,
            Some(true) => WaitResult::Ok,
            Some(false) => WaitResult::TimedOut,
        })
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory")
            .field("ty", &self.ty())
            .finish_non_exhaustive()
    }
}
