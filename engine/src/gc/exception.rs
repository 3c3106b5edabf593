//! References to exceptions.

use super::{Handle, reference};

/// A reference to an exception, good until the [`RootScope`](crate::RootScope) ends that it was
/// obtained in.
///
/// ```
/// use bimetal::{Engine, ExnRef, ExnRefPre, ExnType, Store, Tag, ValType};
///
/// let engine = Engine::default();
/// let mut store = Store::new(&engine, ());
/// let ty = ExnType::new(&engine, [ValType::I32])?;
/// let tag = Tag::new(&mut store, &ty.tag_type())?;
/// let allocator = ExnRefPre::new(&mut store, ty);
/// let exception = ExnRef::new(&mut store, &allocator, &tag, &[42.into()])?;
/// assert_eq!(exception.field(&mut store, 0)?.unwrap_i32(), 42);
/// assert!(Tag::eq(&exception.tag(&mut store)?, &tag, &store));
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExnRef(Handle);

reference!(ExnRef);
