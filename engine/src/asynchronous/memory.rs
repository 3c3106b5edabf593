//! Memories whose store is limited asynchronously.

use crate::error::Result;
use crate::limits::Request;
use crate::memory::Memory;
use crate::store::AsContextMut;
use crate::types::MemoryType;

impl Memory {
    /// As [`Memory::new`], asking the store's limiter asynchronously.
    ///
    /// ```
    /// use bimetal::{Engine, Memory, MemoryType, Store};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> bimetal::Result<()> {
    /// let mut store = Store::new(&Engine::default(), ());
    /// let memory = Memory::new_async(&mut store, MemoryType::new(1, None)).await?;
    /// assert_eq!(memory.grow_async(&mut store, 2).await?, 1);
    /// assert_eq!(memory.size(&store), 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`Memory::new`].
    pub async fn new_async(mut store: impl AsContextMut, ty: MemoryType) -> Result<Memory> {
        Memory::check_type(&ty)?;
        let mut store = store.as_context_mut();
        store.new_ones(0, 1, 0)?;
        store.ask_for_async(Request::memory(&ty.0)).await?;
        Memory::make(store.opaque(), ty)
    }

    /// As [`Memory::grow`], asking the store's limiter asynchronously.
    ///
    /// # Errors
    /// As for [`Memory::grow`].
    pub async fn grow_async(&self, mut store: impl AsContextMut, delta: u64) -> Result<u64> {
        let mut store = store.as_context_mut();
        let request = self.growth(store.opaque(), delta)?;
        let allowed = store.inner_mut().ask_limiter_async(request).await?;
        self.grow_if(&mut store, delta, allowed)
    }
}
