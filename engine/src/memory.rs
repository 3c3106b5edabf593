//! Linear memories.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::limits::Request;
use crate::store::{AsContext, AsContextMut, StoreContext, StoreContextMut};
use crate::types::MemoryType;
use crate::vm::{MemoryId, StoreId, StoreOpaque};

/// A linear memory of a store.
///
/// ```
/// use bimetal::{Engine, Memory, MemoryType, Store};
///
/// let mut store = Store::new(&Engine::default(), ());
/// let memory = Memory::new(&mut store, MemoryType::new(1, None))?;
/// memory.write(&mut store, 65_534, b"ok")?;
/// assert!(memory.write(&mut store, 65_535, b"no").is_err());
/// assert_eq!(memory.grow(&mut store, 1)?, 1);
/// assert_eq!(memory.data(&store).len(), 131_072);
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Memory {
    store: StoreId,
    id: MemoryId,
}

/// An access outside of a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryAccessError {
    _private: (),
}

impl MemoryAccessError {
    pub(crate) fn new() -> MemoryAccessError {
        MemoryAccessError { _private: () }
    }
}

impl fmt::Display for MemoryAccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("out of bounds memory access")
    }
}

impl std::error::Error for MemoryAccessError {}

impl Memory {
    /// A zeroed memory.
    ///
    /// # Errors
    /// If there is no memory of this type, it is shared ([`SharedMemory`](crate::SharedMemory) is
    /// for that), or it cannot be had.
    pub fn new(mut store: impl AsContextMut, ty: MemoryType) -> Result<Memory> {
        Memory::check_type(&ty)?;
        let mut store = store.as_context_mut();
        store.ask_for_new_memory(&ty.0)?;
        Memory::make(store.opaque(), ty)
    }

    pub(crate) fn check_type(ty: &MemoryType) -> Result<()> {
        ty.check()?;
        match ty.is_shared() {
            true => Err(Error::usage(
                "a shared memory is of no store: `SharedMemory::new` makes it",
            )),
            false => Ok(()),
        }
    }

    /// One that is allowed.
    pub(crate) fn make(store: &mut StoreOpaque, ty: MemoryType) -> Result<Memory> {
        let id = store.new_memory(ty.0)?;
        Ok(Memory::from_id(store, id))
    }

    pub(crate) fn from_id(store: &StoreOpaque, id: MemoryId) -> Memory {
        Memory {
            store: store.id(),
            id,
        }
    }

    pub(crate) fn checked(&self, store: &StoreOpaque) -> Result<MemoryId> {
        store.check(self.store, "memory")?;
        Ok(self.id)
    }

    #[track_caller]
    fn expect(&self, store: &StoreOpaque) -> MemoryId {
        self.checked(store).expect("the memory is of this store")
    }

    pub(crate) fn try_ty(&self, store: &StoreOpaque) -> Result<MemoryType> {
        Ok(MemoryType(store.memory(self.checked(store)?).ty()))
    }

    /// Its type, with the current size as minimum.
    ///
    /// # Panics
    /// If it belongs to another store; so do the other methods.
    pub fn ty(&self, store: impl AsContext) -> MemoryType {
        let store = store.as_context();
        MemoryType(store.opaque().memory(self.expect(store.opaque())).ty())
    }

    /// All bytes. They cannot be borrowed while wasm runs, and are read as they are, without a copy.
    pub fn data<'a, T: 'static>(&self, store: impl Into<StoreContext<'a, T>>) -> &'a [u8] {
        let store = store.into().opaque();
        store.memory(self.expect(store)).bytes()
    }

    /// All bytes, to be written.
    pub fn data_mut<'a, T: 'static>(
        &self,
        store: impl Into<StoreContextMut<'a, T>>,
    ) -> &'a mut [u8] {
        self.data_and_store_mut(store).0
    }

    /// All bytes, and the user's data beside them: for host functions that need both at once.
    ///
    /// ```
    /// use bimetal::{Engine, Memory, MemoryType, Store};
    ///
    /// let mut store = Store::new(&Engine::default(), vec![7_u8, 8]);
    /// let memory = Memory::new(&mut store, MemoryType::new(1, None))?;
    /// let (bytes, data) = memory.data_and_store_mut(&mut store);
    /// bytes[..2].copy_from_slice(data);
    /// data.clear();
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    pub fn data_and_store_mut<'a, T: 'static>(
        &self,
        store: impl Into<StoreContextMut<'a, T>>,
    ) -> (&'a mut [u8], &'a mut T) {
        let (store, data) = store.into().split();
        let id = self.expect(store);
        (store.memory_mut(id).bytes_mut(), data)
    }

    /// The address of the first byte, for code that goes around the borrow checker. Valid until
    /// the memory grows or its store is dropped.
    pub fn data_ptr(&self, store: impl AsContext) -> *mut u8 {
        let store = store.as_context();
        store.opaque().memory(self.expect(store.opaque())).base()
    }

    /// The current size in bytes.
    pub fn data_size(&self, store: impl AsContext) -> usize {
        let store = store.as_context();
        store.opaque().memory(self.expect(store.opaque())).len()
    }

    /// The current size in pages.
    pub fn size(&self, store: impl AsContext) -> u64 {
        let store = store.as_context();
        store.opaque().memory(self.expect(store.opaque())).pages()
    }

    /// Bytes of a page.
    pub fn page_size(&self, store: impl AsContext) -> u64 {
        self.ty(store).page_size()
    }

    /// The base-2 logarithm of the bytes of a page.
    pub fn page_size_log2(&self, store: impl AsContext) -> u8 {
        self.ty(store).page_size_log2()
    }

    /// Grows by `delta` pages; the old size in pages. The store's limiter is asked.
    ///
    /// # Errors
    /// If the maximum or the machine does not allow it; the memory is as it was.
    pub fn grow(&self, mut store: impl AsContextMut, delta: u64) -> Result<u64> {
        let mut store = store.as_context_mut();
        let request = self.growth(store.opaque(), delta)?;
        let allowed = store.inner_mut().ask_limiter(request)?;
        self.grow_if(&mut store, delta, allowed)
    }

    /// What growing it asks of a limiter.
    pub(crate) fn growth(&self, store: &StoreOpaque, delta: u64) -> Result<Request> {
        let id = self.checked(store)?;
        store
            .memory_request(id, delta)
            .ok_or_else(|| cannot_grow(delta))
    }

    /// Grows it, the limiter having said whether.
    pub(crate) fn grow_if<T>(
        &self,
        store: &mut StoreContextMut<'_, T>,
        delta: u64,
        allowed: bool,
    ) -> Result<u64> {
        if !allowed {
            return Err(cannot_grow(delta));
        }
        match store.opaque().memory_mut(self.id).grow(delta) {
            Some(old) => Ok(old),
            None => {
                store.inner_mut().tell_limiter(Request::MemoryFailed)?;
                Err(cannot_grow(delta))
            }
        }
    }

    /// Copies bytes out.
    ///
    /// # Errors
    /// If they are not all inside; nothing is copied then.
    pub fn read(
        &self,
        store: impl AsContext,
        offset: usize,
        buffer: &mut [u8],
    ) -> Result<(), MemoryAccessError> {
        let store = store.as_context();
        let bytes = store.opaque().memory(self.expect(store.opaque())).bytes();
        let end = offset.checked_add(buffer.len());
        let from = end.and_then(|end| bytes.get(offset..end));
        buffer.copy_from_slice(from.ok_or_else(MemoryAccessError::new)?);
        Ok(())
    }

    /// Copies bytes in.
    ///
    /// # Errors
    /// If they would not all be inside; nothing is copied then.
    pub fn write(
        &self,
        mut store: impl AsContextMut,
        offset: usize,
        buffer: &[u8],
    ) -> Result<(), MemoryAccessError> {
        let mut store = store.as_context_mut();
        let id = self.expect(store.opaque());
        let bytes = store.opaque().memory_mut(id).bytes_mut();
        let end = offset.checked_add(buffer.len());
        let to = end.and_then(|end| bytes.get_mut(offset..end));
        to.ok_or_else(MemoryAccessError::new)?
            .copy_from_slice(buffer);
        Ok(())
    }
}

fn cannot_grow(delta: u64) -> Error {
    Error::of(
        ErrorKind::Limit,
        format_args!("cannot grow the memory by {delta} pages"),
    )
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}
