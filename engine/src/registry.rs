//! The types of an engine: function, struct and array types, canonical by rec group (spec §3.1).
//!
//! Generated code compares types by number, so an engine has one number for each type that is in
//! use: by a loaded module, by a host function or by a handle of the embedder's. Two types are the
//! same if their rec groups are, which are compared with references into the group as positions and
//! all others as numbers. When the last user of a group goes, it is forgotten with the trampolines
//! that were compiled for it, and its numbers are given to others: guests cannot fill a host's memory
//! with types.
//!
//! **Invariant**: whoever has a number from here also keeps the [`RegisteredType`], or borrows from
//! somebody who does. A function's store keeps its module or its host function, and they keep it; a
//! group keeps those that it refers to.

mod canonical;
mod signature;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use bimetal_abi::{ArrayLayout, ObjectLayout, VmTypeInfo, gc};
use bimetal_wasm::{CompositeType, FuncType, HeapType, RefType, SubType, TypeIndex};
use cranelift_entity::EntityRef;

use crate::error::{Error, ErrorKind, Result};
use crate::vm::TypeInfos;

pub(crate) use signature::Signature;

/// So many types can be in use at once.
const MAX_TYPES: u32 = 1 << 21;

/// So many of them by modules: some are left to the host.
const MAX_MODULE_TYPES: usize = 1 << 20;

/// The types of an engine that are in use.
pub(crate) struct Registry {
    known: RwLock<Known>,
    infos: TypeInfos,
}

#[derive(Default)]
struct Known {
    /// By their canonical form.
    groups: HashMap<Arc<[SubType]>, Weak<RecGroup>>,
    /// By number; dead ones have no group any more, or are about to be forgotten.
    all: Vec<(Weak<RecGroup>, u32)>,
    free: Vec<u32>,
}

/// Types that are defined together.
struct RecGroup {
    registry: Arc<Registry>,
    key: Arc<[SubType]>,
    types: Box<[TypeEntry]>,
    /// Other groups that this one refers to.
    uses: Vec<RegisteredType>,
}

/// A type that is in use.
pub(crate) struct TypeEntry {
    /// Its number.
    pub(crate) id: u32,
    /// What it is. Type indices in it are numbers of this registry.
    pub(crate) ty: SubType,
    /// Numbers of its supertypes from the root, and its own.
    display: Box<[u32]>,
    layout: Layout,
}

/// What its values look like.
enum Layout {
    Func {
        signature: Box<Signature>,
        exception: ObjectLayout,
    },
    Struct(ObjectLayout),
    Array(ArrayLayout),
}

/// A handle of a type, which keeps it in use.
#[derive(Clone)]
pub(crate) struct RegisteredType {
    group: Arc<RecGroup>,
    at: u32,
}

impl Registry {
    /// One without types.
    ///
    /// # Errors
    /// If there is no address space for the table of them.
    pub(crate) fn new() -> Result<Arc<Registry>> {
        Ok(Arc::new(Registry {
            known: RwLock::default(),
            infos: TypeInfos::new(MAX_TYPES)?,
        }))
    }

    /// The table of types that generated code reads.
    pub(crate) fn infos(&self) -> *const VmTypeInfo {
        self.infos.base()
    }

    /// The types of a module, in its order.
    ///
    /// # Errors
    /// If there are too many in use.
    pub(crate) fn module(
        self: &Arc<Self>,
        wasm: &bimetal_wasm::Module,
    ) -> Result<Vec<RegisteredType>> {
        let mut types: Vec<RegisteredType> = Vec::with_capacity(wasm.types.len());
        for range in &wasm.rec_groups {
            let members = range.clone().map(|i| &wasm.types[TypeIndex::from_u32(i)]);
            let mut uses = Vec::new();
            let key: Arc<[SubType]> = members
                .map(|ty| {
                    canonical::map(ty, |index| match types.get(index.index()) {
                        Some(other) => {
                            uses.push(other);
                            TypeIndex::from_u32(other.id)
                        }
                        None => canonical::in_group(index.as_u32() - range.start),
                    })
                })
                .collect();
            let group = self.intern(key, MAX_MODULE_TYPES, || uses.into_iter().cloned())?;
            types.extend((0..range.len() as u32).map(|at| RegisteredType {
                group: group.clone(),
                at,
            }));
        }
        Ok(types)
    }

    /// A type of the host's, in a group of its own. It refers to others by number, which are `uses`.
    ///
    /// # Errors
    /// If there are too many in use.
    pub(crate) fn single(
        self: &Arc<Self>,
        ty: SubType,
        uses: impl IntoIterator<Item = RegisteredType>,
    ) -> Result<RegisteredType> {
        let group = self.intern(Arc::new([ty]), MAX_TYPES as usize, || uses)?;
        Ok(RegisteredType { group, at: 0 })
    }

    /// A function type without concrete types.
    pub(crate) fn func(self: &Arc<Self>, ty: &FuncType) -> Result<RegisteredType> {
        let ty = SubType {
            is_final: true,
            supertype: None,
            composite: CompositeType::Func(ty.clone()),
        };
        self.single(ty, [])
    }

    /// The type that has this number.
    pub(crate) fn at(self: &Arc<Self>, id: u32) -> RegisteredType {
        let known = self.read();
        let (group, at) = &known.all[id as usize];
        RegisteredType {
            group: group.upgrade().expect("who has the number keeps the type"),
            at: *at,
        }
    }

    /// The one group that has this form.
    fn intern<U: IntoIterator<Item = RegisteredType>>(
        self: &Arc<Self>,
        key: Arc<[SubType]>,
        most: usize,
        uses: impl FnOnce() -> U,
    ) -> Result<Arc<RecGroup>> {
        let find = |known: &Known| known.groups.get(&key)?.upgrade();
        if let Some(group) = find(&self.read()) {
            return Ok(group);
        }
        let uses: Vec<RegisteredType> = uses().into_iter().collect();
        let mut known = self.write();
        if let Some(group) = find(&known) {
            return Ok(group);
        }
        if known.all.len() - known.free.len() + key.len() > most {
            return Err(Error::of(
                ErrorKind::Limit,
                format_args!("more than {most} types are in use"),
            ));
        }
        let ids: Vec<u32> = key
            .iter()
            .map(|_| {
                known.free.pop().unwrap_or_else(|| {
                    known.all.push((Weak::new(), 0));
                    (known.all.len() - 1) as u32
                })
            })
            .collect();
        // Groups outside of this one are kept by `uses`.
        let outside = |id: u32| {
            let (group, at) = known.all.get(id as usize)?;
            Some((group.upgrade()?, *at as usize))
        };
        let is_func = |ty: &RefType| {
            let HeapType::Concrete(index) = ty.heap else {
                return false;
            };
            match canonical::position(index) {
                Some(at) => matches!(key[at as usize].composite, CompositeType::Func(_)),
                None => outside(index.as_u32()).is_some_and(|(it, at)| it.types[at].is_func()),
            }
        };
        let mut types: Vec<TypeEntry> = Vec::with_capacity(key.len());
        for (ty, &id) in key.iter().zip(&ids) {
            let inherited = ty
                .supertype
                .and_then(|parent| match canonical::position(parent) {
                    Some(at) => Some(types.get(at as usize)?.display.to_vec()),
                    None => {
                        let (group, at) = outside(parent.as_u32())?;
                        Some(group.types[at].display.to_vec())
                    }
                });
            let mut display = inherited.unwrap_or_default();
            display.push(id);
            types.push(TypeEntry {
                id,
                layout: Layout::new(&ty.composite, is_func),
                display: display.into(),
                ty: canonical::map(ty, |index| match canonical::position(index) {
                    Some(at) => TypeIndex::from_u32(ids[at as usize]),
                    None => index,
                }),
            });
        }
        for entry in &types {
            self.infos.write(entry.id, entry.info());
        }
        let group = Arc::new(RecGroup {
            registry: self.clone(),
            key: key.clone(),
            types: types.into(),
            uses,
        });
        for (at, &id) in ids.iter().enumerate() {
            known.all[id as usize] = (Arc::downgrade(&group), at as u32);
        }
        // In the place of one that is dead and has not been forgotten yet, perhaps.
        known.groups.insert(key, Arc::downgrade(&group));
        Ok(group)
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RecGroup {
    fn drop(&mut self) {
        self.forget();
        // One after the other: a chain of them may be longer than the stack is deep.
        let mut unused = std::mem::take(&mut self.uses);
        while let Some(next) = unused.pop() {
            if let Some(mut group) = Arc::into_inner(next.group) {
                unused.append(&mut group.uses);
            }
        }
    }
}

impl RecGroup {
    fn forget(&self) {
        let mut known = self.registry.write();
        // Unless somebody wanted it again since it died, and it has other numbers.
        if known
            .groups
            .get(&self.key)
            .is_some_and(|group| group.strong_count() == 0)
        {
            known.groups.remove(&self.key);
        }
        known.free.extend(self.types.iter().map(|entry| entry.id));
    }
}

impl Layout {
    fn new(ty: &CompositeType, is_func: impl Fn(&RefType) -> bool + Copy) -> Layout {
        match ty {
            CompositeType::Func(ty) => Layout::Func {
                signature: Box::new(Signature::new(canonical::erase(ty, is_func))),
                exception: gc::exception_layout(ty, is_func),
            },
            CompositeType::Struct(ty) => Layout::Struct(gc::struct_layout(&ty.fields, is_func)),
            CompositeType::Array(ty) => {
                Layout::Array(gc::array_layout(&ty.element.storage, is_func))
            }
        }
    }
}

impl TypeEntry {
    /// Whether it is the type of functions.
    pub(crate) fn is_func(&self) -> bool {
        matches!(self.layout, Layout::Func { .. })
    }

    /// What belongs to a function type.
    ///
    /// # Panics
    /// If it is none.
    pub(crate) fn signature(&self) -> &Signature {
        match &self.layout {
            Layout::Func { signature, .. } => signature,
            _ => panic!("type {} is not a function type", self.id),
        }
    }

    /// The layout of exceptions whose tag has this function type.
    pub(crate) fn exception_layout(&self) -> Option<&ObjectLayout> {
        match &self.layout {
            Layout::Func { exception, .. } => Some(exception),
            _ => None,
        }
    }

    /// The layout of structs of this type.
    pub(crate) fn struct_layout(&self) -> Option<&ObjectLayout> {
        match &self.layout {
            Layout::Struct(layout) => Some(layout),
            _ => None,
        }
    }

    /// The layout of arrays of this type.
    pub(crate) fn array_layout(&self) -> Option<&ArrayLayout> {
        match &self.layout {
            Layout::Array(layout) => Some(layout),
            _ => None,
        }
    }

    /// Whether every value of this type is one of `other`.
    pub(crate) fn is_subtype_of(&self, other: &TypeEntry) -> bool {
        self.display.get(other.display.len() - 1) == Some(&other.id)
    }

    /// What generated code and the collector know of it. Its pointers are valid as long as the entry.
    fn info(&self) -> VmTypeInfo {
        let depth = self.display.len() - 1;
        let mut display = [u32::MAX; VmTypeInfo::DISPLAY];
        for (to, from) in display.iter_mut().zip(&self.display) {
            *to = *from;
        }
        let mut info = VmTypeInfo {
            kind: VmTypeInfo::FUNC,
            depth: depth as u8,
            traced_elements: 0,
            element_log2: 0,
            size: 0,
            refs: std::ptr::null(),
            num_refs: 0,
            reserved: 0,
            display,
            long_display: match depth < VmTypeInfo::DISPLAY {
                true => std::ptr::null(),
                false => self.display.as_ptr(),
            },
        };
        match &self.layout {
            Layout::Func {
                exception: layout, ..
            }
            | Layout::Struct(layout) => {
                if !self.is_func() {
                    info.kind = bimetal_abi::VmObject::STRUCT;
                }
                info.size = layout.size;
                info.refs = layout.refs.as_ptr();
                info.num_refs = layout.refs.len() as u32;
            }
            Layout::Array(layout) => {
                info.kind = bimetal_abi::VmObject::ARRAY;
                info.traced_elements = u8::from(layout.traced);
                info.element_log2 = layout.element_log2;
            }
        }
        info
    }
}

impl RegisteredType {
    /// Whether no other type is the same function, struct or array: it is in a group of its own, final
    /// and without supertypes.
    pub(crate) fn is_alone(&self) -> bool {
        self.group.types.len() == 1 && self.ty.is_final && self.ty.supertype.is_none()
    }

    /// Where it is registered.
    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.group.registry
    }
}

impl Deref for RegisteredType {
    type Target = TypeEntry;

    fn deref(&self) -> &TypeEntry {
        &self.group.types[self.at as usize]
    }
}

impl PartialEq for RegisteredType {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.group, &other.group) && self.at == other.at
    }
}

impl Eq for RegisteredType {}

impl Hash for RegisteredType {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl std::fmt::Debug for RegisteredType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RegisteredType[{}: {:?}]", self.id, self.ty.composite)
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}
