//! Limiters that are asked asynchronously.

use std::future::Future;
use std::pin::Pin;

use crate::error::Result;
use crate::limits::{Asked, Limiter, Request};
use crate::store::{Store, StoreContextMut, StoreInner};

/// Decides what a store may use, and may take its time: the program waits for the answer, its
/// thread does not. Otherwise as [`ResourceLimiter`](crate::ResourceLimiter); set by
/// [`Store::limiter_async`].
///
/// ```
/// use std::future::Future;
/// use std::pin::Pin;
///
/// use bimetal::{Engine, Memory, MemoryType, ResourceLimiterAsync, Result, Store};
/// use tokio::sync::Semaphore;
///
/// /// Shares an amount of memory between stores, in order.
/// struct Quota(std::sync::Arc<Semaphore>);
///
/// impl ResourceLimiterAsync for Quota {
///     fn memory_growing(
///         &mut self,
///         current: usize,
///         desired: usize,
///         _maximum: Option<usize>,
///     ) -> Pin<Box<dyn Future<Output = Result<bool>> + Send + '_>> {
///         Box::pin(async move {
///             let pages = (desired - current) / 65_536;
///             self.0.acquire_many(pages as u32).await?.forget();
///             Ok(true)
///         })
///     }
///
///     fn table_growing(
///         &mut self,
///         _current: usize,
///         desired: usize,
///         _maximum: Option<usize>,
///     ) -> Pin<Box<dyn Future<Output = Result<bool>> + Send + '_>> {
///         Box::pin(async move { Ok(desired <= 10_000) })
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let pages = std::sync::Arc::new(Semaphore::new(3));
/// let mut store = Store::new(&Engine::default(), Quota(pages.clone()));
/// store.limiter_async(|quota| quota);
/// let memory = Memory::new_async(&mut store, MemoryType::new(2, None)).await?;
/// let others = async { pages.add_permits(1) };
/// let (grown, ()) = tokio::join!(memory.grow_async(&mut store, 2), others);
/// assert_eq!(grown?, 2);
/// # Ok(())
/// # }
/// ```
pub trait ResourceLimiterAsync: Send {
    /// As [`ResourceLimiter::memory_growing`](crate::ResourceLimiter::memory_growing).
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Pin<Box<dyn Future<Output = Result<bool>> + Send + '_>>;

    /// As [`ResourceLimiter::table_growing`](crate::ResourceLimiter::table_growing).
    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Pin<Box<dyn Future<Output = Result<bool>> + Send + '_>>;

    /// Told when a growth that was allowed then failed.
    ///
    /// # Errors
    /// Whatever is to stop the program; by default it goes on.
    fn memory_grow_failed(&mut self) -> Result<()> {
        Ok(())
    }

    /// The same for tables.
    ///
    /// # Errors
    /// As for [`ResourceLimiterAsync::memory_grow_failed`].
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

impl<T: 'static> Store<T> {
    /// Sets what limits this store from now on, asked asynchronously: `find` says where in the
    /// store's data it is.
    ///
    /// What would ask it synchronously is an error then: `Memory::new` and `grow`, `Table::new`
    /// and `grow`, instantiation of what has memories or tables, `memory.grow` and `table.grow` of
    /// a program that was called synchronously. Their forms whose names end in `_async` are to be
    /// used.
    pub fn limiter_async(
        &mut self,
        find: impl (FnMut(&mut T) -> &mut dyn ResourceLimiterAsync) + Send + Sync + 'static,
    ) {
        self.set_limiter(Limiter::Async(Box::new(find)));
    }
}

impl<T: 'static> StoreInner<T> {
    /// Asks the store's limiter, whichever it is; without one everything is allowed.
    pub(crate) async fn ask_limiter_async(&mut self, request: Request) -> Result<bool> {
        let (_, data, limiter) = self.limiter_parts();
        let Some(limiter) = limiter else {
            return Ok(true);
        };
        match limiter.ask(data, request)? {
            Asked::Now(allowed) => Ok(allowed),
            Asked::Soon(answer) => answer.await,
        }
    }
}

impl<T: 'static> StoreContextMut<'_, T> {
    pub(super) async fn ask_for_async(&mut self, request: Request) -> Result<()> {
        let allowed = self.inner_mut().ask_limiter_async(request).await?;
        request.granted(allowed)
    }

    pub(super) async fn ask_for_instance_async(
        &mut self,
        module: &bimetal_wasm::Module,
    ) -> Result<()> {
        self.new_instance(module)?;
        for request in Request::all(module) {
            self.ask_for_async(request).await?;
        }
        Ok(())
    }
}
