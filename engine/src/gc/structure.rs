//! Structs.

use super::{AnyRef, EqRef, Handle, fields, reference, type_of};
use crate::error::{Error, Result};
use crate::store::{AsContext, AsContextMut};
use crate::types::{FieldType, HeapType, StructType};
use crate::val::Val;
use crate::vm::{NewKind, StoreOpaque, WholeStore};

/// What makes structs of one type in a store.
#[derive(Clone, Debug)]
pub struct StructRefPre(StructType);

impl StructRefPre {
    /// For structs of this type.
    ///
    /// # Panics
    /// If the type is of another engine than the store.
    pub fn new(mut store: impl AsContextMut, ty: StructType) -> StructRefPre {
        let mut store = store.as_context_mut();
        fields::same_engine(&mut store, &ty.0).unwrap_or_else(|error| panic!("{error}"));
        store.opaque().keep_type(&ty.0);
        StructRefPre(ty)
    }
}

/// A reference to a struct.
///
/// ```
/// use bimetal::{
///     Engine, FieldType, Mutability, StorageType, Store, StructRef, StructRefPre, StructType, Val,
///     ValType,
/// };
///
/// let engine = Engine::default();
/// let mut store = Store::new(&engine, ());
/// let byte = FieldType::new(Mutability::Const, StorageType::I8);
/// let link = FieldType::new(Mutability::Var, ValType::ANYREF.into());
/// let pre = StructRefPre::new(&mut store, StructType::new(&engine, [byte, link])?);
///
/// let first = StructRef::new(&mut store, &pre, &[Val::I32(1), Val::null_any_ref()])?;
/// let second = StructRef::new(&mut store, &pre, &[Val::I32(300), first.to_anyref().into()])?;
/// first.set_field(&mut store, 1, second.to_anyref().into())?;
/// store.gc();
/// assert_eq!(second.field(&mut store, 0)?.unwrap_i32(), 300 & 0xff);
/// assert!(first.set_field(&mut store, 0, Val::I32(2)).is_err());
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StructRef(pub(super) Handle);

reference!(StructRef);

impl StructRef {
    /// A struct with these values in its fields.
    ///
    /// # Errors
    /// If they are not of the fields' types or of another store; or there is no room.
    pub fn new(
        mut store: impl AsContextMut,
        allocator: &StructRefPre,
        values: &[Val],
    ) -> Result<StructRef> {
        let mut store = store.as_context_mut();
        let ty = &allocator.0;
        fields::same_engine(&mut store, &ty.0)?;
        if ty.fields().len() != values.len() {
            return Err(Error::usage(format_args!(
                "expected {} fields, got {}",
                ty.fields().len(),
                values.len()
            )));
        }
        for (i, (ty, value)) in ty.fields().zip(values).enumerate() {
            fields::check(
                store.opaque(),
                ty.element_type(),
                value,
                format_args!("field {i}"),
            )?;
        }
        let object = WholeStore::new(store.inner_mut()).allocate(&ty.0, NewKind::Struct)?;
        let store = store.opaque();
        for (i, (ty, value)) in ty.fields().zip(values).enumerate() {
            let offset = offset(&allocator.0, i);
            fields::write(store, object, offset, ty.element_type(), value, true)?;
        }
        Ok(StructRef(Handle::new(store, object)))
    }

    fn try_ty(&self, store: &StoreOpaque) -> Result<StructType> {
        match type_of(store, self.checked(store)?) {
            HeapType::ConcreteStruct(ty) => Ok(ty),
            _ => Err(Error::usage("the reference is not to a struct")),
        }
    }

    /// Its type.
    ///
    /// # Errors
    /// If it is of another store, or its scope has ended; so do all other methods.
    pub fn ty(&self, store: impl AsContext) -> Result<StructType> {
        self.try_ty(store.as_context().opaque())
    }

    /// Whether it is of this type.
    ///
    /// # Errors
    /// As for [`StructRef::ty`].
    pub fn matches_ty(&self, store: impl AsContext, ty: &StructType) -> Result<bool> {
        Ok(self.ty(store)?.matches(ty))
    }

    fn field_type(&self, store: &StoreOpaque, index: usize) -> Result<(u32, u32, FieldType)> {
        let ty = self.try_ty(store)?;
        let field = ty.field(index).ok_or_else(|| {
            Error::usage(format_args!("a struct with {} fields", ty.fields().len()))
                .context(format_args!("there is no field {index}"))
        })?;
        Ok((self.checked(store)?, offset(&ty, index), field))
    }

    /// The value of a field; of a packed one without its sign.
    ///
    /// # Errors
    /// As for [`StructRef::ty`], or if there is no such field.
    pub fn field(&self, mut store: impl AsContextMut, index: usize) -> Result<Val> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let (object, offset, ty) = self.field_type(store, index)?;
        Ok(fields::read(store, object, offset, ty.element_type()))
    }

    /// The values of all fields.
    ///
    /// # Errors
    /// As for [`StructRef::ty`].
    pub fn fields(&self, mut store: impl AsContextMut) -> Result<Vec<Val>> {
        let mut store = store.as_context_mut();
        let count = self.try_ty(store.opaque())?.fields().len();
        (0..count).map(|i| self.field(&mut store, i)).collect()
    }

    /// Writes a field.
    ///
    /// # Errors
    /// As for [`StructRef::ty`]; if there is no such field, it is immutable, or the value is of another
    /// type or store.
    pub fn set_field(&self, mut store: impl AsContextMut, index: usize, value: Val) -> Result<()> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        let (object, offset, ty) = self.field_type(store, index)?;
        fields::mutable(&ty)?;
        fields::write(store, object, offset, ty.element_type(), &value, false)
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

fn offset(ty: &StructType, index: usize) -> u32 {
    let layout = ty.0.struct_layout().expect("it is a struct type");
    layout.offsets[index]
}
