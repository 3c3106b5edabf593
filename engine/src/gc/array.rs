//! Arrays.

use super::{AnyRef, EqRef, Handle, fields, reference, type_of};
use crate::error::{Error, Result};
use crate::store::{AsContext, AsContextMut, StoreContextMut};
use crate::types::{ArrayType, HeapType};
use crate::val::Val;
use crate::vm::{NewKind, StoreOpaque, WholeStore};

/// What makes arrays of one type in a store.
#[derive(Clone, Debug)]
pub struct ArrayRefPre(ArrayType);

impl ArrayRefPre {
    /// For arrays of this type.
    ///
    /// # Panics
    /// If the type is of another engine than the store.
    pub fn new(mut store: impl AsContextMut, ty: ArrayType) -> ArrayRefPre {
        let mut store = store.as_context_mut();
        fields::same_engine(&mut store, &ty.0).unwrap_or_else(|error| panic!("{error}"));
        store.opaque().keep_type(&ty.0);
        ArrayRefPre(ty)
    }
}

/// A reference to an array.
///
/// ```
/// use bimetal::{
///     ArrayRef, ArrayRefPre, ArrayType, Engine, FieldType, Mutability, Store, Val, ValType,
/// };
///
/// let engine = Engine::default();
/// let mut store = Store::new(&engine, ());
/// let element = FieldType::new(Mutability::Var, ValType::I64.into());
/// let pre = ArrayRefPre::new(&mut store, ArrayType::new(&engine, element));
///
/// let array = ArrayRef::new(&mut store, &pre, &Val::I64(7), 1000)?;
/// array.set(&mut store, 999, Val::I64(8))?;
/// store.gc();
/// assert_eq!(array.len(&store)?, 1000);
/// assert_eq!(array.get(&mut store, 0)?.unwrap_i64(), 7);
/// assert_eq!(array.get(&mut store, 999)?.unwrap_i64(), 8);
/// assert!(array.get(&mut store, 1000).is_err());
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ArrayRef(pub(super) Handle);

reference!(ArrayRef);

impl ArrayRef {
    /// An array of `len` elements that are all `elem`.
    ///
    /// # Errors
    /// If that is not of the elements' type or of another store; or there is no room.
    pub fn new(
        store: impl AsContextMut,
        allocator: &ArrayRefPre,
        elem: &Val,
        len: u32,
    ) -> Result<ArrayRef> {
        ArrayRef::make(store, allocator, len, |_| elem)
    }

    /// An array of these elements.
    ///
    /// # Errors
    /// As for [`ArrayRef::new`].
    pub fn new_fixed(
        store: impl AsContextMut,
        allocator: &ArrayRefPre,
        elems: &[Val],
    ) -> Result<ArrayRef> {
        let len = u32::try_from(elems.len())
            .map_err(|_| Error::usage("an array has fewer than 2^32 elements"))?;
        ArrayRef::make(store, allocator, len, |i| &elems[i as usize])
    }

    fn make<'a>(
        mut store: impl AsContextMut,
        allocator: &ArrayRefPre,
        len: u32,
        elem: impl Fn(u32) -> &'a Val,
    ) -> Result<ArrayRef> {
        let mut store = store.as_context_mut();
        let ty = &allocator.0;
        fields::same_engine(&mut store, &ty.0)?;
        let field = ty.field_type();
        let mut last = None;
        for i in 0..len {
            let elem = elem(i);
            // Mostly it is the same one again.
            if !last.is_some_and(|last| std::ptr::eq(last, elem)) {
                fields::check(
                    store.opaque(),
                    field.element_type(),
                    elem,
                    format_args!("element {i}"),
                )?;
            }
            last = Some(elem);
        }
        let array = WholeStore::new(store.inner_mut()).allocate(&ty.0, NewKind::Array(len))?;
        let store = store.opaque();
        for i in 0..len {
            let place = place(ty, i);
            fields::write(store, array, place, field.element_type(), elem(i), true)?;
        }
        Ok(ArrayRef(Handle::new(store, array)))
    }

    fn try_ty(&self, store: &StoreOpaque) -> Result<ArrayType> {
        match type_of(store, self.checked(store)?) {
            HeapType::ConcreteArray(ty) => Ok(ty),
            _ => Err(Error::usage("the reference is not to an array")),
        }
    }

    /// Its type.
    ///
    /// # Errors
    /// If it is of another store, or its scope has ended; so do all other methods.
    pub fn ty(&self, store: impl AsContext) -> Result<ArrayType> {
        self.try_ty(store.as_context().opaque())
    }

    /// Whether it is of this type.
    ///
    /// # Errors
    /// As for [`ArrayRef::ty`].
    pub fn matches_ty(&self, store: impl AsContext, ty: &ArrayType) -> Result<bool> {
        Ok(self.ty(store)?.matches(ty))
    }

    /// The number of elements.
    ///
    /// # Errors
    /// As for [`ArrayRef::ty`].
    pub fn len(&self, store: impl AsContext) -> Result<u32> {
        let store = store.as_context();
        let store = store.opaque();
        Ok(store.gc_array_length(self.checked(store)?))
    }

    /// Whether it has no elements.
    ///
    /// # Errors
    /// As for [`ArrayRef::ty`].
    pub fn is_empty(&self, store: impl AsContext) -> Result<bool> {
        Ok(self.len(store)? == 0)
    }

    fn element<T: 'static>(
        &self,
        store: &mut StoreContextMut<'_, T>,
        index: u32,
    ) -> Result<(u32, ArrayType)> {
        let length = self.len(&*store)?;
        if index >= length {
            return Err(Error::usage(format_args!(
                "an array of {length} elements has no element {index}"
            )));
        }
        let store = store.opaque();
        Ok((self.checked(store)?, self.try_ty(store)?))
    }

    /// An element; a packed one without its sign.
    ///
    /// # Errors
    /// As for [`ArrayRef::ty`], or if there is no such element.
    pub fn get(&self, mut store: impl AsContextMut, index: u32) -> Result<Val> {
        let mut store = store.as_context_mut();
        let (array, ty) = self.element(&mut store, index)?;
        let store = store.opaque();
        Ok(fields::read(
            store,
            array,
            place(&ty, index),
            &ty.element_type(),
        ))
    }

    /// All elements.
    ///
    /// # Errors
    /// As for [`ArrayRef::ty`].
    pub fn elems(&self, mut store: impl AsContextMut) -> Result<Vec<Val>> {
        let mut store = store.as_context_mut();
        let len = self.len(&store)?;
        (0..len).map(|i| self.get(&mut store, i)).collect()
    }

    /// Writes an element.
    ///
    /// # Errors
    /// As for [`ArrayRef::ty`]; if there is no such element, it is immutable, or the value is of another
    /// type or store.
    pub fn set(&self, mut store: impl AsContextMut, index: u32, value: Val) -> Result<()> {
        let mut store = store.as_context_mut();
        let (array, ty) = self.element(&mut store, index)?;
        fields::mutable(&ty.field_type())?;
        let place = place(&ty, index);
        fields::write(
            store.opaque(),
            array,
            place,
            &ty.element_type(),
            &value,
            false,
        )
    }

    /// As any internal value.
    pub fn to_anyref(self) -> AnyRef {
        AnyRef(self.0)
    }

    /// As a comparable value.
    pub fn to_eqref(self) -> EqRef {
        EqRef(self.0)
    }
}

fn place(ty: &ArrayType, index: u32) -> u32 {
    let layout = ty.0.array_layout().expect("it is an array type");
    // An array is smaller than its heap.
    layout.base + (index << layout.element_log2)
}
