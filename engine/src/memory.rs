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
    /// If it cannot be had.
    pub fn new(mut store: impl AsContextMut, ty: MemoryType) -> Result<Memory> {
        if ty.maximum().is_some_and(|max| max < ty.minimum()) || ty.minimum() > 65_536 {
            return Err(Error::usage(format_args!(
                "no memory can be of type {ty:?}"
            )));
        }
        let mut store = store.as_context_mut();
        store.ask_for_new_memory(&ty.0)?;
        let id = store.opaque().new_memory(ty.0)?;
        Ok(Memory::from_id(store.opaque(), id))
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

    /// All bytes.
    pub fn data<'a, T: 'static>(&self, store: impl Into<StoreContext<'a, T>>) -> &'a [u8] {
        let store = store.into().opaque();
        store.memory(self.expect(store)).bytes()
    }

    /// All bytes.
    pub fn data_mut<'a, T: 'static>(
        &self,
        store: impl Into<StoreContextMut<'a, T>>,
    ) -> &'a mut [u8] {
        self.data_and_store_mut(store).0
    }

    /// All bytes, and the user's data beside them.
    pub fn data_and_store_mut<'a, T: 'static>(
        &self,
        store: impl Into<StoreContextMut<'a, T>>,
    ) -> (&'a mut [u8], &'a mut T) {
        let (store, data) = store.into().split();
        let id = self.expect(store);
        (store.memory_mut(id).bytes_mut(), data)
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

    /// Grows by `delta` pages; the old size in pages.
    ///
    /// # Errors
    /// If the maximum or the machine does not allow it; the memory is as it was.
    pub fn grow(&self, mut store: impl AsContextMut, delta: u64) -> Result<u64> {
        let mut store = store.as_context_mut();
        let id = self.checked(store.opaque())?;
        let refused = || {
            Error::of(
                ErrorKind::Limit,
                format_args!("cannot grow the memory by {delta} pages"),
            )
        };
        let request = store.opaque().memory_request(id, delta);
        if !store
            .inner_mut()
            .ask_limiter(request.ok_or_else(refused)?)?
        {
            return Err(refused());
        }
        match store.opaque().memory_mut(id).grow(delta) {
            Some(old) => Ok(old),
            None => {
                store.inner_mut().ask_limiter(Request::MemoryFailed)?;
                Err(refused())
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
        buffer.copy_from_slice(from.ok_or(MemoryAccessError { _private: () })?);
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
        to.ok_or(MemoryAccessError { _private: () })?
            .copy_from_slice(buffer);
        Ok(())
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}
