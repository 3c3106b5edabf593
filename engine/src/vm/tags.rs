//! Tags: what exceptions are told apart by.
//!
//! A tag is the address of its [`VmTag`], in the context of the instance that defines it or in a box
//! of the host's. Exceptions hold that address, so it leads back to the tag.

use bimetal_abi::VmTag;
use bimetal_wasm::TagIndex;
use cranelift_entity::entity_impl;

use super::definition::Definition;
use super::store::StoreOpaque;
use crate::module::Module;
use crate::registry::RegisteredType;

/// A tag of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TagId(u32);
entity_impl!(TagId);

/// A tag with its definition.
pub(crate) struct TagData {
    pub(super) def: Definition<VmTag>,
    /// A function type, kept for its number.
    pub(super) ty: RegisteredType,
    /// The module that defines it, and the index there; the host defines others.
    pub(super) origin: Option<(Module, TagIndex)>,
}

impl StoreOpaque {
    /// A tag of the host's.
    pub(crate) fn new_tag(&mut self, ty: &RegisteredType) -> TagId {
        let def = Definition::boxed(VmTag {
            type_id: ty.id,
            reserved: 0,
        });
        self.add_tag(TagData {
            def,
            ty: ty.clone(),
            origin: None,
        })
    }

    pub(super) fn add_tag(&mut self, tag: TagData) -> TagId {
        let address = tag.def.as_ptr().addr();
        let id = self.tags.push(tag);
        self.tag_addresses.insert(address, id);
        id
    }

    pub(crate) fn tag_type(&self, id: TagId) -> &RegisteredType {
        &self.tags[id].ty
    }

    /// What the module calls it that defines it.
    pub(crate) fn tag_name(&self, id: TagId) -> Option<&str> {
        let (module, index) = self.tags[id].origin.as_ref()?;
        module.wasm().tag_name(*index)
    }

    /// The tag at an address that an exception of this store holds.
    pub(super) fn tag_at(&self, address: u64) -> Option<TagId> {
        let address = usize::try_from(address).ok()?;
        self.tag_addresses.get(&address).copied()
    }
}
