//! Exceptions as the host sees them.
//!
//! One that wasm code does not catch is an error of the call that entered it, whose cause is an
//! [`Exception`]; a host function throws by returning such an error. It is also the store's pending
//! exception then, for those who know that from Wasmtime: [`ThrownException`].

use std::fmt;

use crate::caller::Caller;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::gc::ExnRef;
use crate::store::{AsContext, AsContextMut, Store, StoreContextMut};
use crate::tag::Tag;
use crate::types::{FuncType, TagType, ValType};
use crate::val::Val;
use crate::vm::{OwnedRoot, StoreId, StoreOpaque, new_exception};

/// What exceptions carry that have a tag of a certain type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExnType(TagType);

/// What makes exceptions of one type.
#[derive(Clone, Debug)]
pub struct ExnRefPre(ExnType);

impl ExnType {
    /// That of exceptions that carry such values.
    ///
    /// # Errors
    /// None at present.
    pub fn new(engine: &Engine, fields: impl IntoIterator<Item = ValType>) -> Result<ExnType> {
        Ok(ExnType(TagType::new(FuncType::new(engine, fields, []))))
    }

    /// That of exceptions with a tag of this type.
    ///
    /// # Errors
    /// If it has results.
    pub fn from_tag_type(ty: &TagType) -> Result<ExnType> {
        match ty.ty().results().len() {
            0 => Ok(ExnType(ty.clone())),
            _ => Err(Error::usage("the type of a tag has no results")),
        }
    }

    /// The type of their tags.
    pub fn tag_type(&self) -> TagType {
        self.0.clone()
    }

    /// The types of what they carry.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = ValType> + '_ {
        self.0.ty().params()
    }

    /// The type of the value with this number.
    pub fn field(&self, index: usize) -> Option<ValType> {
        self.fields().nth(index)
    }
}

impl ExnRefPre {
    /// For exceptions of this type.
    pub fn new(_store: impl AsContextMut, ty: ExnType) -> ExnRefPre {
        ExnRefPre(ty)
    }
}

impl ExnRef {
    /// Makes an exception, which is not thrown yet.
    ///
    /// # Errors
    /// If the tag is not of the allocator's type, or of another store, as is a field; if the fields
    /// are not of the type, or there is no room.
    pub fn new(
        mut store: impl AsContextMut,
        allocator: &ExnRefPre,
        tag: &Tag,
        fields: &[Val],
    ) -> Result<ExnRef> {
        let mut store = store.as_context_mut();
        if tag.try_ty(store.opaque())? != allocator.0.0 {
            return Err(Error::usage("the tag is of another type"));
        }
        let tag = tag.checked(store.opaque())?;
        let raw = new_exception(&mut store, tag, fields)?;
        ExnRef::from_raw(store.opaque(), raw).ok_or_else(gone)
    }

    fn try_tag(&self, store: &StoreOpaque) -> Result<Tag> {
        tag_of(store, self.checked(store)?)
    }

    /// Its tag.
    ///
    /// # Errors
    /// If it belongs to another store.
    pub fn tag(&self, mut store: impl AsContextMut) -> Result<Tag> {
        self.try_tag(store.as_context_mut().opaque())
    }

    /// Its type.
    ///
    /// # Errors
    /// If it belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> Result<ExnType> {
        let store = store.as_context();
        let store = store.opaque();
        Ok(ExnType(self.try_tag(store)?.try_ty(store)?))
    }

    /// What it carries.
    ///
    /// # Errors
    /// If it belongs to another store.
    pub fn fields<'a, T: 'static>(
        &self,
        store: impl Into<StoreContextMut<'a, T>>,
    ) -> Result<impl ExactSizeIterator<Item = Val> + 'a> {
        let (store, _) = store.into().split();
        Ok(store.exception_fields(self.checked(store)?).into_iter())
    }

    /// One of the values that it carries.
    ///
    /// # Errors
    /// If it belongs to another store, or has no such value.
    pub fn field(&self, mut store: impl AsContextMut, index: usize) -> Result<Val> {
        let mut fields = self.fields(store.as_context_mut())?;
        let count = fields.len();
        fields.nth(index).ok_or_else(|| {
            Error::usage(format_args!(
                "an exception with {count} fields has no field {index}"
            ))
        })
    }
}

fn gone() -> Error {
    Error::usage("the exception is gone")
}

fn tag_of(store: &StoreOpaque, raw: u32) -> Result<Tag> {
    let tag = store.exception_tag(raw);
    let tag = tag.ok_or_else(|| Error::usage("an exception with an unknown tag"))?;
    Ok(Tag::from_id(store, tag))
}

/// Says that the store has a pending exception: [`Store::throw`], [`Store::take_pending_exception`].
///
/// An error whose cause is an [`Exception`] has this as well ([`Error::downcast_ref`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrownException;

impl fmt::Display for ThrownException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an exception was thrown")
    }
}

impl std::error::Error for ThrownException {}

/// An exception as the cause of an [`Error`]: of a call whose wasm code threw it and did not catch
/// it, or of a host function that throws it to its caller.
///
/// ```
/// use bimetal::{Caller, Engine, Error, Exception, ExnType, Linker, Module, Store, Tag, ValType};
///
/// let engine = Engine::default();
/// let mut store = Store::new(&engine, ());
/// let tag = Tag::new(&mut store, &ExnType::new(&engine, [ValType::I32])?.tag_type())?;
/// let mut linker = Linker::new(&engine);
/// linker.define(&store, "host", "oops", tag)?;
/// linker.func_wrap("host", "fail", move |caller: Caller<'_, ()>, code: i32| {
///     Err::<(), _>(Error::from(Exception::new(caller, &tag, &[code.into()])?))
/// })?;
/// let module = Module::new(&engine, r#"(module
///     (import "host" "oops" (tag $oops (param i32)))
///     (import "host" "fail" (func $fail (param i32)))
///     (func (export "caught") (result i32)
///         (block $h (result i32)
///             (try_table (catch $oops $h) (call $fail (i32.const 7)))
///             (i32.const 0)))
///     (func (export "thrown") (throw $oops (i32.const 42))))"#)?;
/// let instance = linker.instantiate(&mut store, &module)?;
/// let caught = instance.get_typed_func::<(), i32>(&mut store, "caught")?;
/// assert_eq!(caught.call(&mut store, ())?, 7);
///
/// let thrown = instance.get_typed_func::<(), ()>(&mut store, "thrown")?;
/// let error = thrown.call(&mut store, ()).unwrap_err();
/// assert!(error.backtrace().is_some());
/// let exception = error.downcast::<Exception>()?;
/// assert!(Tag::eq(&exception.tag(), &tag, &store));
/// assert_eq!(exception.values(&mut store)?[0].unwrap_i32(), 42);
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Debug)]
pub struct Exception {
    store: StoreId,
    root: OwnedRoot,
    tag: Tag,
    message: String,
    thrown: ThrownException,
}

impl Exception {
    /// An exception that carries these values, to be thrown by returning it as an error.
    ///
    /// # Errors
    /// If the values are not of the tag's type, or something is of another store.
    pub fn new(mut store: impl AsContextMut, tag: &Tag, values: &[Val]) -> Result<Exception> {
        let mut store = store.as_context_mut();
        let id = tag.checked(store.opaque())?;
        let raw = new_exception(&mut store, id, values)?;
        Ok(Exception::of(store.opaque(), raw, *tag))
    }

    fn of(store: &mut StoreOpaque, raw: u32, tag: Tag) -> Exception {
        Exception {
            message: describe(store, raw, tag),
            store: store.id(),
            root: store.own(raw),
            tag,
            thrown: ThrownException,
        }
    }

    /// What wasm code threw, as an error.
    pub(crate) fn error(store: &mut StoreOpaque, raw: u32) -> Error {
        match tag_of(store, raw) {
            Ok(tag) => Error::new(Exception::of(store, raw, tag)),
            Err(error) => error,
        }
    }

    /// The exception that a host function throws by this error, if it throws one.
    pub(crate) fn thrown_by(store: &StoreOpaque, error: &Error) -> Option<u32> {
        if let Some(exception) = error.downcast_ref::<Exception>() {
            return exception.checked(store).ok();
        }
        let thrown = error.is::<ThrownException>() && store.thrown != 0;
        thrown.then_some(store.thrown)
    }

    fn checked(&self, store: &StoreOpaque) -> Result<u32> {
        store.check(self.store, "exception")?;
        let raw = store.owned(&self.root);
        raw.ok_or_else(gone)
    }

    /// Its tag.
    pub fn tag(&self) -> Tag {
        self.tag
    }

    /// What it carries.
    ///
    /// # Errors
    /// If the store is not its own.
    pub fn values(&self, mut store: impl AsContextMut) -> Result<Vec<Val>> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        Ok(store.exception_fields(self.checked(store)?))
    }

    /// The exception itself.
    ///
    /// # Errors
    /// If the store is not its own.
    pub fn exn_ref(&self, mut store: impl AsContextMut) -> Result<ExnRef> {
        let mut store = store.as_context_mut();
        let store = store.opaque();
        ExnRef::from_raw(store, self.checked(store)?).ok_or_else(gone)
    }

    pub(crate) fn as_thrown(&self) -> &ThrownException {
        &self.thrown
    }
}

/// The tag, by its name if it has one, and what is carried.
fn describe(store: &StoreOpaque, raw: u32, tag: Tag) -> String {
    let id = tag.checked(store);
    let name = id.ok().and_then(|id| store.tag_name(id));
    let name = name.map(|name| format!(" `{}`", bimetal_wasm::Printable(name)));
    let fields: Vec<String> = store
        .exception_fields(raw)
        .iter()
        .map(|value| match value {
            Val::I32(value) => value.to_string(),
            Val::I64(value) => value.to_string(),
            Val::F32(bits) => f32::from_bits(*bits).to_string(),
            Val::F64(bits) => f64::from_bits(*bits).to_string(),
            Val::V128(value) => format!("{value:?}"),
            Val::FuncRef(func) => func.map_or("null".into(), |_| "a function".into()),
            Val::ExternRef(value) => value.map_or("null".into(), |_| "a host value".into()),
            Val::AnyRef(value) => value.map_or("null".into(), |_| "an internal value".into()),
            Val::ExnRef(value) => value.map_or("null".into(), |_| "an exception".into()),
        })
        .collect();
    format!(
        "uncaught exception{} ({})",
        name.unwrap_or_default(),
        fields.join(", ")
    )
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Exception {}

impl<T: 'static> StoreContextMut<'_, T> {
    /// Makes an exception the pending one: a host function that returns this error throws it.
    ///
    /// # Errors
    /// Always [`ThrownException`].
    ///
    /// # Panics
    /// If the exception is of another store.
    pub fn throw<R>(&mut self, exception: ExnRef) -> Result<R, ThrownException> {
        let store = self.opaque();
        let raw = exception.checked(store);
        store.thrown = raw.expect("the exception is of this store");
        Err(ThrownException)
    }

    /// Takes the pending exception: the one that left wasm code last.
    pub fn take_pending_exception(&mut self) -> Option<ExnRef> {
        let store = self.opaque();
        let raw = std::mem::take(&mut store.thrown);
        ExnRef::from_raw(store, raw)
    }

    /// Whether there is a pending exception.
    pub fn has_pending_exception(&mut self) -> bool {
        self.opaque().thrown != 0
    }
}

macro_rules! forward {
    ($($on:ty),*) => {$(
        impl<T: 'static> $on {
            /// Makes an exception the pending one: a host function that returns this error throws
            /// it.
            ///
            /// ```
            /// use bimetal::{Caller, Engine, ExnRef, ExnRefPre, ExnType, Func, Store, Tag};
            ///
            /// let engine = Engine::default();
            /// let mut store = Store::new(&engine, ());
            /// let ty = ExnType::new(&engine, [])?;
            /// let tag = Tag::new(&mut store, &ty.tag_type())?;
            /// let func = Func::wrap(&mut store, move |mut caller: Caller<'_, ()>| {
            ///     let allocator = ExnRefPre::new(&mut caller, ty.clone());
            ///     let exception = ExnRef::new(&mut caller, &allocator, &tag, &[])?;
            ///     bimetal::Result::<()>::Ok(caller.throw(exception)?)
            /// });
            /// assert!(func.call(&mut store, &[], &mut []).is_err());
            /// assert!(store.take_pending_exception().is_some());
            /// # Ok::<(), bimetal::Error>(())
            /// ```
            ///
            /// # Errors
            /// Always [`ThrownException`].
            ///
            /// # Panics
            /// If the exception is of another store.
            pub fn throw<R>(&mut self, exception: ExnRef) -> Result<R, ThrownException> {
                self.as_context_mut().throw(exception)
            }

            /// Takes the pending exception: the one that left wasm code last.
            pub fn take_pending_exception(&mut self) -> Option<ExnRef> {
                self.as_context_mut().take_pending_exception()
            }

            /// Whether there is a pending exception.
            pub fn has_pending_exception(&mut self) -> bool {
                self.as_context_mut().has_pending_exception()
            }
        }
    )*};
}

forward!(Store<T>, Caller<'_, T>);
