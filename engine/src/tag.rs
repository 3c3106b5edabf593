//! Tags.

use std::fmt;

use crate::error::{Error, Result};
use crate::store::{AsContext, AsContextMut};
use crate::types::{FuncType, TagType};
use crate::vm::{StoreId, StoreOpaque, TagId};

/// A tag of a store: what exceptions are told apart by. Each has been made, by an instance or by the
/// host, and is the same as no other, whatever its type.
///
/// ```
/// use bimetal::{Engine, FuncType, Instance, Module, Store, Tag, TagType, ValType};
///
/// let engine = Engine::default();
/// let mut store = Store::new(&engine, ());
/// let ty = TagType::new(FuncType::new(&engine, [ValType::I32], []));
/// let tag = Tag::new(&mut store, &ty)?;
/// let module = Module::new(&engine, r#"(module
///     (import "host" "oops" (tag $oops (param i32)))
///     (export "oops" (tag $oops)))"#)?;
/// let instance = Instance::new(&mut store, &module, &[tag.into()])?;
/// let exported = instance.get_tag(&mut store, "oops").unwrap();
/// assert!(Tag::eq(&tag, &exported, &store));
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Tag {
    store: StoreId,
    id: TagId,
}

impl Tag {
    /// A tag of the host's.
    ///
    /// # Errors
    /// If the type has results, or is of another engine.
    pub fn new(mut store: impl AsContextMut, ty: &TagType) -> Result<Tag> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        if ty.ty().results().len() > 0 {
            return Err(Error::usage("the type of a tag has no results"));
        }
        if !std::sync::Arc::ptr_eq(ty.ty().0.registry(), store.engine().types()) {
            return Err(Error::usage("the type of the tag is of another engine"));
        }
        let id = store.new_tag(&ty.ty().0);
        Ok(Tag::from_id(store, id))
    }

    pub(crate) fn from_id(store: &StoreOpaque, id: TagId) -> Tag {
        Tag {
            store: store.id(),
            id,
        }
    }

    pub(crate) fn checked(&self, store: &StoreOpaque) -> Result<TagId> {
        store.check(self.store, "tag")?;
        Ok(self.id)
    }

    pub(crate) fn try_ty(&self, store: &StoreOpaque) -> Result<TagType> {
        let ty = store.tag_type(self.checked(store)?);
        Ok(TagType::new(FuncType(ty.clone())))
    }

    /// Its type.
    ///
    /// # Panics
    /// If it belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> TagType {
        self.try_ty(store.as_context().opaque())
            .expect("the tag is of this store")
    }

    /// What the module calls it that defines it: its name there, or else the first name under which
    /// it is exported. `None` for one of the host's.
    ///
    /// # Panics
    /// If it belongs to another store.
    pub fn name(&self, store: impl AsContext) -> Option<String> {
        let store = store.as_context();
        let id = self.checked(store.opaque());
        let id = id.expect("the tag is of this store");
        store.opaque().tag_name(id).map(str::to_owned)
    }

    /// Whether both are the same.
    ///
    /// # Panics
    /// If one belongs to another store.
    pub fn eq(a: &Tag, b: &Tag, store: impl AsContext) -> bool {
        let store = store.as_context();
        let id = |tag: &Tag| {
            let id = tag.checked(store.opaque());
            id.expect("the tag is of this store")
        };
        id(a) == id(b)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tag")
    }
}
