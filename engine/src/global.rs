//! Globals.

use std::fmt;

use crate::error::{Error, Result};
use crate::store::{AsContext, AsContextMut};
use crate::types::{GlobalType, Mutability};
use crate::val::Val;
use crate::vm::{GlobalId, StoreId, StoreOpaque, val_into_raw_of};

/// A global of a store.
///
/// ```
/// use bimetal::{Engine, Global, GlobalType, Mutability, Store, ValType};
///
/// let mut store = Store::new(&Engine::default(), ());
/// let ty = GlobalType::new(ValType::I32, Mutability::Var);
/// let global = Global::new(&mut store, ty, 41.into())?;
/// global.set(&mut store, 42.into())?;
/// assert_eq!(global.get(&mut store).unwrap_i32(), 42);
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Global {
    store: StoreId,
    id: GlobalId,
}

impl Global {
    /// A global that holds `value`.
    ///
    /// # Errors
    /// If the value is of another type or store.
    pub fn new(mut store: impl AsContextMut, ty: GlobalType, value: Val) -> Result<Global> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let raw = val_into_raw_of(store, ty.content(), &value)?;
        let id = store.new_global(ty);
        store.global_set(id, raw.bytes);
        Ok(Global::from_id(store, id))
    }

    pub(crate) fn from_id(store: &StoreOpaque, id: GlobalId) -> Global {
        Global {
            store: store.id(),
            id,
        }
    }

    pub(crate) fn checked(&self, store: &StoreOpaque) -> Result<GlobalId> {
        store.check(self.store, "global")?;
        Ok(self.id)
    }

    pub(crate) fn try_ty(&self, store: &StoreOpaque) -> Result<GlobalType> {
        Ok(store.global_type(self.checked(store)?).clone())
    }

    /// Its type.
    ///
    /// # Panics
    /// If it belongs to another store; so does [`Global::get`].
    pub fn ty(&self, store: impl AsContext) -> GlobalType {
        self.try_ty(store.as_context().opaque())
            .expect("the global is of this store")
    }

    /// Its value.
    pub fn get(&self, mut store: impl AsContextMut) -> Val {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let id = self.checked(store).expect("the global is of this store");
        store.global_val(id)
    }

    /// Sets its value.
    ///
    /// # Errors
    /// If it is immutable, or the value of another type or store.
    pub fn set(&self, mut store: impl AsContextMut, value: Val) -> Result<()> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let id = self.checked(store)?;
        let ty = store.global_type(id).clone();
        if ty.mutability() == Mutability::Const {
            return Err(Error::usage("the global is immutable"));
        }
        let raw = val_into_raw_of(store, ty.content(), &value)?;
        store.global_set(id, raw.bytes);
        Ok(())
    }
}

impl fmt::Debug for Global {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Global")
    }
}
