//! A store of which nothing is borrowed: what allocation needs, which may ask the store's limiter.

use std::marker::PhantomData;

use bimetal_abi::gc::VmObject;

use super::super::store::StoreOpaque;
use crate::error::Result;
use crate::registry::RegisteredType;
use crate::store::StoreInner;

/// A whole store, whatever data it has, borrowed mutably.
#[derive(Debug)]
pub(crate) struct WholeStore<'a> {
    store: *mut StoreOpaque,
    borrow: PhantomData<&'a mut StoreOpaque>,
}

/// What is to be allocated.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NewKind {
    Struct,
    /// Of a tag whose type it is.
    Exception,
    /// With so many elements, all zero.
    Array(u32),
}

impl<'a> WholeStore<'a> {
    pub(crate) fn new<T: 'static>(store: &'a mut StoreInner<T>) -> WholeStore<'a> {
        WholeStore {
            // A `StoreInner` begins with its `StoreOpaque`.
            store: std::ptr::from_mut(store).cast(),
            borrow: PhantomData,
        }
    }

    /// The part that all stores have.
    pub(crate) fn get(&mut self) -> &mut StoreOpaque {
        // SAFETY: borrowed mutably for `'a`, and from `self` as long as the result is used.
        unsafe { &mut *self.store }
    }

    /// Makes an object of a type that the store keeps. The fields of a struct or exception are undefined: they must
    /// be written before anything else is done with the store.
    ///
    /// # Errors
    /// If the heap is full, or what the limiter says.
    pub(crate) fn allocate(&mut self, ty: &RegisteredType, kind: NewKind) -> Result<u32> {
        // SAFETY: the whole store is borrowed mutably, no part of it is; the caller knows the kind.
        unsafe {
            match kind {
                NewKind::Struct => StoreOpaque::gc_new(self.store, ty.id, VmObject::STRUCT),
                NewKind::Exception => StoreOpaque::gc_new(self.store, ty.id, VmObject::EXCEPTION),
                NewKind::Array(len) => StoreOpaque::gc_new_array(self.store, ty.id, len),
            }
        }
    }
}
