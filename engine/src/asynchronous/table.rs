//! Tables whose store is limited asynchronously.

use crate::error::Result;
use crate::limits::Request;
use crate::reference::Ref;
use crate::store::AsContextMut;
use crate::table::Table;
use crate::types::TableType;

impl Table {
    /// As [`Table::new`], asking the store's limiter asynchronously.
    ///
    /// ```
    /// use bimetal::{Engine, Ref, RefType, Store, Table, TableType};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> bimetal::Result<()> {
    /// let mut store = Store::new(&Engine::default(), ());
    /// let ty = TableType::new(RefType::FUNCREF, 2, Some(8));
    /// let table = Table::new_async(&mut store, ty, Ref::Func(None)).await?;
    /// assert_eq!(table.grow_async(&mut store, 2, Ref::Func(None)).await?, 2);
    /// assert_eq!(table.size(&store), 4);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`Table::new`].
    pub async fn new_async(
        mut store: impl AsContextMut,
        ty: TableType,
        init: Ref,
    ) -> Result<Table> {
        ty.check()?;
        let mut store = store.as_context_mut();
        store.new_ones(0, 0, 1)?;
        store.ask_for_async(Request::table(&ty)).await?;
        Table::make(store.opaque(), ty, init)
    }

    /// As [`Table::grow`], asking the store's limiter asynchronously.
    ///
    /// # Errors
    /// As for [`Table::grow`].
    pub async fn grow_async(
        &self,
        mut store: impl AsContextMut,
        delta: u64,
        init: Ref,
    ) -> Result<u64> {
        let mut store = store.as_context_mut();
        let (init, request) = self.growth(store.opaque(), delta, init)?;
        let allowed = store.inner_mut().ask_limiter_async(request).await?;
        self.grow_if(&mut store, delta, init, allowed)
    }
}
