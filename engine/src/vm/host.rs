//! Host functions: from a Rust closure to something that wasm calls.
//!
//! A [`HostFunc`] is a closure with its type and a *native entry*, a function of the system
//! convention that takes the wasm arguments in registers (`bimetal_abi::convention`). It knows no
//! store; a store that uses it makes a [`HostFuncInstance`]. Where wasm's convention and the system's
//! agree it also has a *direct entry* that wasm can call; else the trampoline between the two is
//! compiled per signature at the first call.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::AtomicPtr;

use bimetal_abi::{NativeReturn, ValRaw, VmContextHeader, VmFuncRef, VmHostContext};
use bimetal_wasm::{self as wasm, ValType};

use super::activation::stack_backtrace;
use super::exceptions::resume;
use super::instance::InstanceData;
use super::store::{FuncPtr, Pending, StoreOpaque};
use super::val::WasmResults;
use super::val::sealed::{WasmList, WasmTy as Sealed};
use crate::WasmTy;
use crate::caller::Caller;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::reference::{Ref, RefKind};
use crate::registry::RegisteredType;
use crate::store::{StoreContextMut, StoreInner};
use crate::tier::return_area;
use crate::types::FuncType;
use crate::val::Val;

/// How a host function takes its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum HostKind {
    Native = 0,
    Array = 1,
}

impl HostKind {
    pub(super) fn from_raw(raw: u64) -> HostKind {
        match raw {
            0 => HostKind::Native,
            _ => HostKind::Array,
        }
    }
}

/// A host function, of no store yet.
pub(crate) struct HostFunc {
    ty: HostFuncType,
    kind: HostKind,
    entry: NativeEntry,
    /// The entry for wasm, if it needs no trampoline.
    direct: Option<NativeEntry>,
    closure: Box<dyn Any + Send + Sync>,
}

/// The address of a native or array entry.
#[derive(Clone, Copy)]
struct NativeEntry(*const u8);

// SAFETY: the address of a function.
unsafe impl Send for NativeEntry {}
// SAFETY: as above.
unsafe impl Sync for NativeEntry {}

/// The type of a host function.
#[derive(Debug)]
enum HostFuncType {
    /// The same in every engine.
    Plain(wasm::FuncType),
    /// Of one engine.
    Of(FuncType),
}

impl HostFunc {
    /// Its type in an engine.
    ///
    /// # Errors
    /// If it is of another engine.
    pub(crate) fn ty(&self, engine: &Engine) -> Result<FuncType> {
        match &self.ty {
            HostFuncType::Plain(ty) => FuncType::plain(engine, ty),
            HostFuncType::Of(ty) => match Arc::ptr_eq(ty.0.registry(), engine.types()) {
                true => Ok(ty.clone()),
                false => Err(Error::usage(
                    "the type of a host function is of another engine",
                )),
            },
        }
    }

    /// A function whose types are only known at run time.
    pub(crate) fn dynamic<T: 'static>(
        ty: FuncType,
        f: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<()> + Send + Sync + 'static,
    ) -> HostFunc {
        fn entry_of<T: 'static, F>(_: &F) -> *const u8
        where
            F: Fn(Caller<'_, T>, &[ValType], &mut [ValRaw]) -> Result<()> + Send + Sync + 'static,
        {
            array_entry::<T, F> as *const u8
        }
        let types = ty.clone();
        let closure = move |mut caller: Caller<'_, T>, _: &[ValType], raw: &mut [ValRaw]| {
            let types = types.raw();
            let store = caller.opaque();
            let params: Vec<Val> = types
                .params()
                .iter()
                .zip(raw.iter())
                // SAFETY: the trampoline wrote the parameters, of these types, of this store.
                .map(|(ty, raw)| unsafe { val_from_raw(store, ty, raw) })
                .collect();
            let results = types.results().iter();
            let mut results: Vec<Val> = results.map(|ty| zero(store, ty)).collect();
            f(caller.reborrow(), &params, &mut results)?;
            for (i, (ty, result)) in types.results().iter().zip(&results).enumerate() {
                raw[i] = val_into_raw(caller.opaque(), ty, result)
                    .map_err(|e| e.context(format_args!("result {i} of a host function")))?;
            }
            Ok(())
        };
        HostFunc {
            entry: NativeEntry(entry_of::<T, _>(&closure)),
            direct: None,
            ty: HostFuncType::Of(ty),
            kind: HostKind::Array,
            closure: Box::new(closure),
        }
    }
}

impl std::fmt::Debug for HostFunc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.ty {
            HostFuncType::Plain(ty) => write!(f, "HostFunc[{ty}]"),
            HostFuncType::Of(ty) => write!(f, "HostFunc[{ty}]"),
        }
    }
}

/// A value out of its raw form.
///
/// # Safety
/// `raw` must come from wasm of this store as a value of this type.
pub(crate) unsafe fn val_from_raw(store: &StoreOpaque, ty: &ValType, raw: &ValRaw) -> Val {
    // SAFETY: the caller's promise.
    unsafe {
        match ty {
            ValType::I32 => Val::I32(raw.get_i32()),
            ValType::I64 => Val::I64(raw.get_i64()),
            ValType::F32 => Val::F32(raw.get_u32()),
            ValType::F64 => Val::F64(raw.get_u64()),
            ValType::V128 => Val::V128(raw.get_v128().into()),
            ValType::Ref(ty) => {
                let kind = RefKind::of_raw(&ty.heap, store.engine().types());
                ref_from_raw(store, kind, raw).into()
            }
        }
    }
}

/// A value of a type, out of its raw form.
///
/// # Safety
/// As for [`val_from_raw`].
pub(crate) unsafe fn val_of(store: &StoreOpaque, ty: &crate::ValType, raw: &ValRaw) -> Val {
    use crate::ValType;
    // SAFETY: the caller's promise.
    unsafe {
        match ty {
            ValType::I32 => val_from_raw(store, &wasm::ValType::I32, raw),
            ValType::I64 => val_from_raw(store, &wasm::ValType::I64, raw),
            ValType::F32 => val_from_raw(store, &wasm::ValType::F32, raw),
            ValType::F64 => val_from_raw(store, &wasm::ValType::F64, raw),
            ValType::V128 => val_from_raw(store, &wasm::ValType::V128, raw),
            ValType::Ref(ty) => ref_from_raw(store, RefKind::of(ty.heap_type()), raw).into(),
        }
    }
}

/// # Safety
/// `raw` must come from wasm of this store as a reference of this kind.
unsafe fn ref_from_raw(store: &StoreOpaque, kind: RefKind, raw: &ValRaw) -> Ref {
    // SAFETY: the caller's promise.
    unsafe {
        match kind {
            RefKind::Func => Ref::Func(Sealed::from_raw(raw, store)),
            RefKind::Extern => Ref::Extern(Sealed::from_raw(raw, store)),
            RefKind::Any => Ref::Any(Sealed::from_raw(raw, store)),
            RefKind::Exn => Ref::Exn(Sealed::from_raw(raw, store)),
        }
    }
}

/// A value that an object of this store has in a field of this type.
pub(crate) fn val_from_object(store: &StoreOpaque, ty: &crate::ValType, raw: &ValRaw) -> Val {
    // SAFETY: fields hold values of their types.
    unsafe { val_of(store, ty, raw) }
}

/// The raw form of a value; an error if it is not of this type, which has engine-wide numbers, or of
/// another store.
pub(crate) fn val_into_raw(store: &mut StoreOpaque, ty: &ValType, val: &Val) -> Result<ValRaw> {
    match (val, ty) {
        (Val::I32(value), ValType::I32) => value.into_raw(store),
        (Val::I64(value), ValType::I64) => value.into_raw(store),
        (Val::F32(bits), ValType::F32) => bits.into_raw(store),
        (Val::F64(bits), ValType::F64) => bits.into_raw(store),
        (Val::V128(value), ValType::V128) => value.into_raw(store),
        _ => {
            let ty = crate::ValType::new(ty, store.engine().types());
            val_into_raw_of(store, &ty, val)
        }
    }
}

/// As [`val_into_raw`].
pub(crate) fn val_into_raw_of(
    store: &mut StoreOpaque,
    ty: &crate::ValType,
    val: &Val,
) -> Result<ValRaw> {
    let found = val.try_ty(store)?;
    if !found.matches(ty) {
        return Err(Error::usage(format_args!(
            "expected a value of type {ty}, got one of type {found}"
        )));
    }
    match *val {
        Val::I32(value) => value.into_raw(store),
        Val::I64(value) => value.into_raw(store),
        Val::F32(bits) => bits.into_raw(store),
        Val::F64(bits) => bits.into_raw(store),
        Val::V128(value) => value.into_raw(store),
        Val::FuncRef(value) => value.into_raw(store),
        Val::ExternRef(value) => value.into_raw(store),
        Val::AnyRef(value) => value.into_raw(store),
        Val::ExnRef(value) => value.into_raw(store),
    }
}

/// Zero or null of a type that has engine-wide numbers, also where null is no value of it.
pub(crate) fn zero(store: &StoreOpaque, ty: &ValType) -> Val {
    Val::zero(&crate::ValType::new(ty, store.engine().types()))
}

/// A host function of a store.
pub(crate) struct HostFuncInstance {
    func: Arc<HostFunc>,
    /// Whose cell and number the reference has.
    _ty: RegisteredType,
    context: NonNull<VmHostContext>,
    pub(super) func_ref: NonNull<VmFuncRef>,
}

impl Drop for HostFuncInstance {
    fn drop(&mut self) {
        // SAFETY: both were leaked from boxes by `add_host_func`; the store is being dropped.
        unsafe {
            drop(Box::from_raw(self.func_ref.as_ptr()));
            drop(Box::from_raw(self.context.as_ptr()));
        }
    }
}

impl StoreOpaque {
    /// Makes a host function callable in this store.
    ///
    /// # Panics
    /// If its type is of another engine.
    pub(crate) fn add_host_func(&mut self, func: Arc<HostFunc>) -> FuncPtr {
        let ty = func
            .ty(self.engine())
            .unwrap_or_else(|error| panic!("{error}"))
            .0;
        let context = NonNull::from(Box::leak(Box::new(VmHostContext {
            magic: VmHostContext::MAGIC,
            type_id: ty.id,
            store: self.context().as_ptr(),
            native: func.entry.0,
            data: (&raw const *func.closure).cast::<u8>().cast_mut(),
            kind: func.kind as u64,
            direct: AtomicPtr::new(
                func.direct
                    .map_or(ptr::null_mut(), |entry| entry.0.cast_mut()),
            ),
        })));
        let cell = match func.direct {
            // SAFETY: it lives as long as the reference, and nothing but its atomic cell is shared.
            Some(_) if !self.hooked => unsafe { &raw const (*context.as_ptr()).direct },
            _ => ptr::from_ref(ty.signature().cell(func.kind, self.hooked)),
        };
        let func_ref = NonNull::from(Box::leak(Box::new(VmFuncRef {
            // The type is kept beside it.
            cell,
            vmctx: context.as_ptr().cast(),
            type_id: ty.id,
            reserved: 0,
        })));
        self.host_funcs.push(HostFuncInstance {
            func,
            _ty: ty,
            context,
            func_ref,
        });
        FuncPtr::new(func_ref)
    }

    /// The instance of a host function, if this store has one already.
    pub(crate) fn find_host_func(&self, func: &Arc<HostFunc>) -> Option<FuncPtr> {
        let found = self
            .host_funcs
            .iter()
            .find(|known| Arc::ptr_eq(&known.func, func))?;
        Some(FuncPtr::new(found.func_ref))
    }
}

/// What the stub of host functions without a trampoline calls.
///
/// # Safety
/// Called by the stub, with the callee's context.
pub(super) unsafe extern "C" fn resolve_host(host: *mut VmHostContext) -> *const u8 {
    // SAFETY: the stub's promise.
    let (store, type_id, kind) = unsafe {
        (
            StoreOpaque::from_context((*host).store),
            (*host).type_id,
            (*host).kind,
        )
    };
    let (kind, hooked) = (HostKind::from_raw(kind), store.hooked);
    let engine = store.engine().clone();
    let raise = bimetal_sys::raise_stub(return_area(&engine.types().at(type_id).signature().ty));
    let compile = AssertUnwindSafe(|| engine.wasm_to_host(type_id, kind, hooked));
    match std::panic::catch_unwind(compile) {
        Ok(Ok(code)) => code.as_ptr(),
        Ok(Err(error)) => {
            store.set_pending(Pending::Error(error.with_backtrace(stack_backtrace())));
            raise
        }
        Err(panic) => {
            store.set_pending(Pending::Panic(panic));
            raise
        }
    }
}

/// Runs host code for wasm: recovers the store, keeps panics in, leaves errors in the store.
///
/// # Safety
/// Called by a native entry with what its trampoline passed; the store's data is a `T`.
#[inline]
unsafe fn run_host<T: 'static>(
    caller: *mut VmContextHeader,
    body: impl FnOnce(Caller<'_, T>) -> Result<u64>,
) -> NativeReturn {
    // SAFETY: `enter` left a pointer to the whole store, and it is ours until we return.
    let (store, instance) = unsafe {
        let store: *mut StoreInner<T> = (*(*caller).store).store.cast();
        (store, InstanceData::id_of(caller))
    };
    // SAFETY: as above.
    let scope = unsafe { (*store).opaque_mut().open_scope() };
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: as above.
        body(Caller::new(
            StoreContextMut::from_inner(unsafe { &mut *store }),
            instance,
        ))
    }));
    // SAFETY: as above; the body's borrow has ended.
    unsafe { (*store).opaque_mut().close_scope(scope) };
    match result {
        Ok(Ok(value)) => NativeReturn { status: 0, value },
        // SAFETY: as above; the body's borrow has ended.
        Ok(Err(error)) => unsafe { failed(caller, Pending::Error(error)) },
        // SAFETY: as above.
        Err(panic) => unsafe { failed(caller, Pending::Panic(panic)) },
    }
}

/// Gives wasm the result of a host function that it has called directly. If there is none it goes on
/// where the exception is caught, or at the store's entry.
///
/// # Safety
/// Called by the direct entry of a host function with its caller and what its native entry returned;
/// its frame, which is abandoned then, owns nothing.
#[inline]
unsafe fn result_or_raise(caller: *mut VmContextHeader, returned: NativeReturn) -> u64 {
    if returned.status != 0 {
        // SAFETY: wasm has called us, so there is an entry to resume at.
        unsafe { resume((*caller).store) }
    }
    returned.value
}

/// # Safety
/// As for [`run_host`].
#[cold]
unsafe fn failed(caller: *mut VmContextHeader, mut pending: Pending) -> NativeReturn {
    // SAFETY: the caller's promise.
    let store = unsafe { StoreOpaque::from_context((*caller).store) };
    if let Pending::Error(error) = pending {
        pending = match store.pending_of(error) {
            Pending::Error(error) => Pending::Error(error.with_backtrace(stack_backtrace())),
            exception => exception,
        };
    }
    store.set_pending(pending);
    NativeReturn {
        status: 1,
        value: caller.expose_provenance() as u64,
    }
}

unsafe extern "C" fn array_entry<T: 'static, F>(
    host: *mut VmHostContext,
    caller: *mut VmContextHeader,
    values: *mut ValRaw,
    count: usize,
) -> NativeReturn
where
    F: Fn(Caller<'_, T>, &[ValType], &mut [ValRaw]) -> Result<()> + Send + Sync + 'static,
{
    // SAFETY: the trampoline passes `count` values, and `data` is the closure, an `F`.
    unsafe {
        let closure = &*(*host).data.cast::<F>();
        let values = match count {
            0 => &mut [],
            _ => std::slice::from_raw_parts_mut(values, count),
        };
        run_host::<T>(caller, |caller| closure(caller, &[], values).map(|()| 0))
    }
}

/// What a host function may return: results, or a [`Result`](crate::Result) of them.
pub trait WasmRet {
    /// The results.
    #[doc(hidden)]
    type Ok: WasmResults;
    /// Whichever it was.
    #[doc(hidden)]
    fn into_result(self) -> Result<Self::Ok>;
}

impl<R: WasmResults> WasmRet for R {
    type Ok = R;

    #[inline]
    fn into_result(self) -> Result<R> {
        Ok(self)
    }
}

impl<R: WasmResults> WasmRet for Result<R> {
    type Ok = R;

    #[inline]
    fn into_result(self) -> Result<R> {
        self
    }
}

const fn in_array(types: &[ValType]) -> bool {
    types.len() > 1 || matches!(types, [ValType::V128])
}

/// What the direct entry of a function of this type returns to wasm; `None` if it cannot have one.
const fn direct_result(params: &[ValType], results: &[ValType]) -> Option<DirectResult> {
    let (mut integers, mut floats, mut i) = (0, 0, 0);
    while i < params.len() {
        match params[i] {
            ValType::V128 => return None,
            ValType::F32 | ValType::F64 => floats += 1,
            _ => integers += 1,
        }
        i += 1;
    }
    if integers > bimetal_sys::NATIVE_INTEGERS || floats > bimetal_sys::NATIVE_FLOATS {
        return None;
    }
    match results {
        [ValType::V128] | [_, _, ..] => None,
        [ValType::F32 | ValType::F64] => Some(DirectResult::Float),
        _ => Some(DirectResult::AbsentOrInteger),
    }
}

enum DirectResult {
    AbsentOrInteger,
    Float,
}

/// # Safety
/// `rets` has room for the results if they come back in an array.
#[inline]
unsafe fn write_results<R: WasmResults>(
    results: R,
    store: &mut StoreOpaque,
    rets: *mut ValRaw,
) -> Result<u64> {
    let count = R::TYPES.len();
    if const { in_array(R::TYPES) } {
        // SAFETY: the caller's promise.
        let rets = unsafe { std::slice::from_raw_parts_mut(rets, count) };
        results.write(store, rets)?;
        return Ok(0);
    }
    let mut only = [ValRaw::default()];
    results.write(store, &mut only[..count])?;
    Ok(only[0].get_u64())
}

/// A Rust closure that can be a wasm function: `Fn(A…) -> R` or `Fn(Caller<'_, T>, A…) -> R` with
/// up to 16 parameters that are [`WasmTy`], and results `R` that are [`WasmRet`].
pub trait IntoFunc<T, Params, Results>: Send + Sync + 'static {
    /// The function.
    #[doc(hidden)]
    fn into_host_func(self) -> IntoHostFunc;
}

/// What an [`IntoFunc`] becomes.
#[derive(Debug)]
pub struct IntoHostFunc(pub(crate) HostFunc);

macro_rules! into_func {
    ($($name:ident)*) => {
        impl<T, F, R, $($name),*> IntoFunc<T, ($($name,)*), R> for F
        where
            T: 'static,
            F: Fn($($name),*) -> R + Send + Sync + 'static,
            R: WasmRet + 'static,
            $($name: WasmTy + 'static,)*
        {
            fn into_host_func(self) -> IntoHostFunc {
                let f = move |_: Caller<'_, T>, $($name: $name),*| self($($name),*);
                IntoFunc::<T, (Caller<'static, T>, $($name,)*), R>::into_host_func(f)
            }
        }

        impl<T, F, R, $($name),*> IntoFunc<T, (Caller<'static, T>, $($name,)*), R> for F
        where
            T: 'static,
            F: Fn(Caller<'_, T>, $($name),*) -> R + Send + Sync + 'static,
            R: WasmRet + 'static,
            $($name: WasmTy + 'static,)*
        {
            fn into_host_func(self) -> IntoHostFunc {
                /// # Safety
                /// Called by the trampoline of this signature.
                unsafe extern "C" fn entry<T, F, R, $($name),*>(
                    host: *mut VmHostContext,
                    caller: *mut VmContextHeader,
                    $($name: <$name as Sealed>::Abi,)*
                    rets: *mut ValRaw,
                ) -> NativeReturn
                where
                    T: 'static,
                    F: Fn(Caller<'_, T>, $($name),*) -> R + Send + Sync + 'static,
                    R: WasmRet + 'static,
                    $($name: WasmTy + 'static,)*
                {
                    // SAFETY: the trampoline passes arguments and `rets` of this signature, from
                    // wasm of this store, and `data` is the closure, an `F`.
                    unsafe {
                        let closure = &*(*host).data.cast::<F>();
                        run_host::<T>(caller, |mut caller| {
                            $(let $name = <$name as Sealed>::from_abi($name, caller.opaque());)*
                            let results = closure(caller.reborrow(), $($name),*).into_result()?;
                            write_results(results, caller.opaque(), rets)
                        })
                    }
                }
                /// # Safety
                /// Called by wasm, by way of a `host_stub!`.
                unsafe extern "C" fn integer<T, F, R, $($name),*>(
                    host: *mut VmHostContext,
                    caller: *mut VmContextHeader,
                    $($name: <$name as Sealed>::Abi),*
                ) -> u64
                where
                    T: 'static,
                    F: Fn(Caller<'_, T>, $($name),*) -> R + Send + Sync + 'static,
                    R: WasmRet + 'static,
                    $($name: WasmTy + 'static,)*
                {
                    // SAFETY: as for `entry`, which writes no results to memory here.
                    unsafe {
                        let returned =
                            entry::<T, F, R, $($name),*>(host, caller, $($name,)* ptr::null_mut());
                        result_or_raise(caller, returned)
                    }
                }
                /// # Safety
                /// As for `integer`.
                unsafe extern "C" fn float<T, F, R, $($name),*>(
                    host: *mut VmHostContext,
                    caller: *mut VmContextHeader,
                    $($name: <$name as Sealed>::Abi),*
                ) -> f64
                where
                    T: 'static,
                    F: Fn(Caller<'_, T>, $($name),*) -> R + Send + Sync + 'static,
                    R: WasmRet + 'static,
                    $($name: WasmTy + 'static,)*
                {
                    // SAFETY: the caller's promise.
                    f64::from_bits(unsafe {
                        integer::<T, F, R, $($name),*>(host, caller, $($name),*)
                    })
                }
                bimetal_sys::host_stub!(
                    integer_stub [T, F, R $(, $name)*]
                    [where
                        T: 'static,
                        F: Fn(Caller<'_, T>, $($name),*) -> R + Send + Sync + 'static,
                        R: WasmRet + 'static,
                        $($name: WasmTy + 'static,)*]
                    => integer::<T, F, R, $($name),*>
                );
                bimetal_sys::host_stub!(
                    float_stub [T, F, R $(, $name)*]
                    [where
                        T: 'static,
                        F: Fn(Caller<'_, T>, $($name),*) -> R + Send + Sync + 'static,
                        R: WasmRet + 'static,
                        $($name: WasmTy + 'static,)*]
                    => float::<T, F, R, $($name),*>
                );
                let direct = match const {
                    direct_result(&[$(<$name as Sealed>::TYPE),*], R::Ok::TYPES)
                } {
                    None => None,
                    Some(DirectResult::AbsentOrInteger) => {
                        Some(NativeEntry(integer_stub::<T, F, R, $($name),*> as *const u8))
                    }
                    Some(DirectResult::Float) => {
                        Some(NativeEntry(float_stub::<T, F, R, $($name),*> as *const u8))
                    }
                };
                IntoHostFunc(HostFunc {
                    ty: HostFuncType::Plain(wasm::FuncType::new(
                        [$(<$name as Sealed>::TYPE),*],
                        R::Ok::TYPES.iter().copied(),
                    )),
                    kind: HostKind::Native,
                    entry: NativeEntry(entry::<T, F, R, $($name),*> as *const u8),
                    direct,
                    closure: Box::new(self),
                })
            }
        }
    };
}

macro_rules! all_arities {
    ($($name:ident)*) => {
        all_arities!(@ [] $($name)*);
    };
    (@ [$($done:ident)*]) => {
        into_func!($($done)*);
    };
    (@ [$($done:ident)*] $next:ident $($rest:ident)*) => {
        into_func!($($done)*);
        all_arities!(@ [$($done)* $next] $($rest)*);
    };
}

// Each name is a type and the variable of that type.
#[allow(
    non_camel_case_types,
    non_snake_case,
    reason = "one name is a type and its variable"
)]
mod arities {
    use super::*;
    all_arities!(A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14 A15 A16);
}
