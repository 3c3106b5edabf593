//! Tables.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::func::Func;
use crate::limits::Request;
use crate::reference::Ref;
use crate::store::{AsContext, AsContextMut, StoreContextMut};
use crate::types::TableType;
use crate::vm::{Element, StoreId, StoreOpaque, TableId};

/// A table of a store. Elements are [`Ref`]s of its type.
///
/// ```
/// use bimetal::{Engine, Func, Ref, RefType, Store, Table, TableType};
///
/// let mut store = Store::new(&Engine::default(), ());
/// let ty = TableType::new(RefType::FUNCREF, 2, Some(8));
/// let table = Table::new(&mut store, ty, Ref::Func(None))?;
/// let func = Func::wrap(&mut store, || {});
/// table.set(&mut store, 1, func.into())?;
/// assert_eq!(table.get(&mut store, 1).unwrap().unwrap_func(), Some(&func));
/// assert_eq!(table.grow(&mut store, 2, Ref::Func(None))?, 2);
/// table.fill(&mut store, 2, func.into(), 2)?;
/// Table::copy(&mut store, &table, 0, &table, 3, 1)?;
/// assert!(table.get(&mut store, 0).unwrap().is_non_null());
/// assert!(table.get(&mut store, 4).is_none());
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Table {
    store: StoreId,
    id: TableId,
}

impl Table {
    /// A table full of `init`.
    ///
    /// # Errors
    /// If `init` is of another type or store, or there is no such table, or it is too large.
    pub fn new(mut store: impl AsContextMut, ty: TableType, init: Ref) -> Result<Table> {
        ty.check()?;
        let mut store = store.as_context_mut();
        store.ask_for_new_table(&ty)?;
        Table::make(store.opaque(), ty, init)
    }

    /// One that is allowed.
    pub(crate) fn make(store: &mut StoreOpaque, ty: TableType, init: Ref) -> Result<Table> {
        let init = element(store, &ty, init)?;
        let id = store.new_table(ty.with_minimum(0))?;
        store
            .table_mut(id)
            .grow(ty.minimum(), init)
            .ok_or_else(|| too_large(ty.minimum()))?;
        Ok(Table::from_id(store, id))
    }

    pub(crate) fn from_id(store: &StoreOpaque, id: TableId) -> Table {
        Table {
            store: store.id(),
            id,
        }
    }

    pub(crate) fn checked(&self, store: &StoreOpaque) -> Result<TableId> {
        store.check(self.store, "table")?;
        Ok(self.id)
    }

    pub(crate) fn try_ty(&self, store: &StoreOpaque) -> Result<TableType> {
        Ok(store.table(self.checked(store)?).ty())
    }

    /// Its type, with the current size as minimum.
    ///
    /// # Panics
    /// If it belongs to another store; so do [`Table::size`] and [`Table::get`].
    pub fn ty(&self, store: impl AsContext) -> TableType {
        self.try_ty(store.as_context().opaque())
            .expect("the table is of this store")
    }

    /// The current number of elements.
    pub fn size(&self, store: impl AsContext) -> u64 {
        self.ty(store).minimum()
    }

    /// The element at `index`, if there is one.
    pub fn get(&self, mut store: impl AsContextMut, index: u64) -> Option<Ref> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let id = self.checked(store).expect("the table is of this store");
        Some(match store.table_get(id, index)? {
            Element::Func(func) => Ref::Func(func.map(|func| Func::from_ptr(store, func))),
            Element::Traced(raw) => store.table(id).ref_of(store, raw),
        })
    }

    /// Sets the element at `index`.
    ///
    /// # Errors
    /// If there is none, or the value is of another type or store.
    pub fn set(&self, mut store: impl AsContextMut, index: u64, value: Ref) -> Result<()> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let id = self.checked(store)?;
        let value = element(store, &store.table(id).ty(), value)?;
        store
            .table_mut(id)
            .set(index, value)
            .ok_or_else(|| Error::new(bimetal_abi::TrapCode::TableOutOfBounds))
    }

    /// Grows by `delta` elements `init`; the old size.
    ///
    /// # Errors
    /// If the maximum or the machine does not allow it, or the value is of another type or store.
    pub fn grow(&self, mut store: impl AsContextMut, delta: u64, init: Ref) -> Result<u64> {
        let mut store = store.as_context_mut();
        let (init, request) = self.growth(store.opaque(), delta, init)?;
        let allowed = store.inner_mut().ask_limiter(request)?;
        self.grow_if(&mut store, delta, init, allowed)
    }

    /// What growing it fills in, and asks of a limiter.
    pub(crate) fn growth(
        &self,
        store: &StoreOpaque,
        delta: u64,
        init: Ref,
    ) -> Result<(Element, Request)> {
        let id = self.checked(store)?;
        let init = element(store, &store.table(id).ty(), init)?;
        let request = store.table_request(id, delta);
        Ok((init, request.ok_or_else(|| too_large(delta))?))
    }

    /// Grows it, the limiter having said whether.
    pub(crate) fn grow_if<T>(
        &self,
        store: &mut StoreContextMut<'_, T>,
        delta: u64,
        init: Element,
        allowed: bool,
    ) -> Result<u64> {
        if !allowed {
            return Err(too_large(delta));
        }
        match store.opaque().table_mut(self.id).grow(delta, init) {
            Some(old) => Ok(old),
            None => {
                store.inner_mut().tell_limiter(Request::TableFailed)?;
                Err(too_large(delta))
            }
        }
    }

    /// Sets `len` elements from `index` on to `value`.
    ///
    /// # Errors
    /// If they are not all inside (nothing is changed then), or the value is of another type or
    /// store.
    pub fn fill(
        &self,
        mut store: impl AsContextMut,
        index: u64,
        value: Ref,
        len: u64,
    ) -> Result<()> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let id = self.checked(store)?;
        let value = element(store, &store.table(id).ty(), value)?;
        store
            .table_mut(id)
            .fill(index, value, len)
            .ok_or_else(|| Error::new(bimetal_abi::TrapCode::TableOutOfBounds))
    }

    /// Copies `len` elements between tables, or within one.
    ///
    /// # Errors
    /// If they are not all inside, the types differ, or a table is of another store.
    pub fn copy(
        mut store: impl AsContextMut,
        dst: &Table,
        dst_index: u64,
        src: &Table,
        src_index: u64,
        len: u64,
    ) -> Result<()> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let (to, from) = (dst.checked(store)?, src.checked(store)?);
        let (wanted, found) = (store.table(to).ty(), store.table(from).ty());
        if !found.element().matches(wanted.element()) {
            return Err(Error::usage("the tables are of different types"));
        }
        store
            .table_copy(to, from, dst_index, src_index, len)
            .ok_or_else(|| Error::new(bimetal_abi::TrapCode::TableOutOfBounds))
    }
}

fn too_large(count: u64) -> Error {
    Error::of(
        ErrorKind::Limit,
        format_args!("cannot grow the table by {count} elements"),
    )
}

fn element(store: &StoreOpaque, ty: &TableType, value: Ref) -> Result<Element> {
    let found = value.try_ty(store)?;
    if !found.matches(ty.element()) {
        return Err(Error::usage(format_args!(
            "expected an element of type {}, got one of type {found}",
            ty.element()
        )));
    }
    Ok(match value {
        Ref::Func(func) => Element::Func(func.map(|func| func.checked(store)).transpose()?),
        Ref::Extern(value) => Element::Traced(value.map_or(Ok(0), |value| value.checked(store))?),
        Ref::Any(value) => Element::Traced(value.map_or(Ok(0), |value| value.checked(store))?),
        Ref::Exn(value) => Element::Traced(value.map_or(Ok(0), |value| value.checked(store))?),
    })
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Table")
    }
}
