//! Functions.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use bimetal_abi::ValRaw;

use crate::caller::Caller;
use crate::engine::CodePtr;
use crate::error::{Error, Result};
use crate::store::{AsContext, AsContextMut, StoreContextMut};
use crate::types::{FuncType, ValType};
use crate::val::Val;
use crate::vm::{
    FuncPtr, HostFunc, IntoFunc, StoreId, StoreOpaque, WasmParams, WasmResults, invoke,
    read_results, val_from_results, val_into_raw,
};

/// A function of a store: of an instance or of the host.
///
/// ```
/// use bimetal::{Engine, Func, Store, Val};
///
/// let mut store = Store::new(&Engine::default(), ());
/// let concat = Func::wrap(&mut store, |a: u32, b: u32| u64::from(a) << 32 | u64::from(b));
/// assert_eq!(concat.ty(&store).to_string(), "(i32, i32) -> (i64)");
/// // With values, whose types are checked at the call …
/// let mut results = [Val::I64(0)];
/// concat.call(&mut store, &[Val::I32(1), Val::I32(2)], &mut results)?;
/// assert_eq!(results[0].unwrap_i64(), 0x1_0000_0002);
/// // … or with types that are checked once.
/// let concat = concat.typed::<(u32, u32), u64>(&store)?;
/// assert_eq!(concat.call(&mut store, (1, 2))?, 0x1_0000_0002);
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Func {
    store: StoreId,
    // Not an index: functions come out of wasm as pointers. Valid while the store of that id is.
    ptr: FuncPtr,
}

impl Func {
    /// A host function out of a Rust closure whose types say the function's type.
    ///
    /// ```
    /// use bimetal::{Engine, Func, Store};
    ///
    /// let mut store = Store::new(&Engine::default(), ());
    /// let add = Func::wrap(&mut store, |a: i32, b: i32| a.wrapping_add(b));
    /// let add = add.typed::<(i32, i32), i32>(&store)?;
    /// assert_eq!(add.call(&mut store, (40, 2))?, 42);
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    pub fn wrap<T: 'static, Params, Results>(
        mut store: impl AsContextMut<Data = T>,
        f: impl IntoFunc<T, Params, Results>,
    ) -> Func {
        let func = Arc::new(f.into_host_func().0);
        Func::from_host(store.as_context_mut().opaque(), &func)
    }

    /// A host function of a type that is only known at run time. It gets its parameters and fills
    /// in its results, which are zero before.
    ///
    /// ```
    /// use bimetal::{Engine, Func, FuncType, Store, Val, ValType};
    ///
    /// let engine = Engine::default();
    /// let mut store = Store::new(&engine, ());
    /// let ty = FuncType::new(&engine, vec![ValType::I32; 3], [ValType::I32]);
    /// let sum = Func::new(&mut store, ty, |_caller, params, results| {
    ///     results[0] = Val::I32(params.iter().map(Val::unwrap_i32).sum());
    ///     Ok(())
    /// });
    /// let sum = sum.typed::<(i32, i32, i32), i32>(&store)?;
    /// assert_eq!(sum.call(&mut store, (1, 2, 3))?, 6);
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    pub fn new<T: 'static>(
        mut store: impl AsContextMut<Data = T>,
        ty: FuncType,
        f: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<()> + Send + Sync + 'static,
    ) -> Func {
        let func = Arc::new(HostFunc::dynamic(ty, f));
        Func::from_host(store.as_context_mut().opaque(), &func)
    }

    pub(crate) fn from_host(store: &mut StoreOpaque, func: &Arc<HostFunc>) -> Func {
        let ptr = match store.find_host_func(func) {
            Some(ptr) => ptr,
            None => store.add_host_func(func.clone()),
        };
        Func::from_ptr(store, ptr)
    }

    #[inline]
    pub(crate) fn from_ptr(store: &StoreOpaque, ptr: FuncPtr) -> Func {
        Func {
            store: store.id(),
            ptr,
        }
    }

    #[inline]
    pub(crate) fn checked(&self, store: &StoreOpaque) -> Result<FuncPtr> {
        store.check(self.store, "function")?;
        Ok(self.ptr)
    }

    /// Its type.
    ///
    /// # Panics
    /// If it belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> FuncType {
        self.try_ty(store.as_context().opaque())
            .expect("the function is of this store")
    }

    /// Whether its type matches this one.
    ///
    /// # Panics
    /// If it belongs to another store.
    pub fn matches_ty(&self, store: impl AsContext, ty: &FuncType) -> bool {
        self.ty(store).matches(ty)
    }

    pub(crate) fn try_ty(&self, store: &StoreOpaque) -> Result<FuncType> {
        let ptr = self.checked(store)?;
        Ok(FuncType(store.engine().types().at(ptr.type_id(store))))
    }

    /// Calls it with values whose types are checked now.
    ///
    /// # Errors
    /// If the number or types of `params`, or the number of `results`, are wrong; a value is of
    /// another store; or the function traps or fails.
    pub fn call(
        &self,
        mut store: impl AsContextMut,
        params: &[Val],
        results: &mut [Val],
    ) -> Result<()> {
        let mut store = store.as_context_mut();
        let ty = self.try_ty(store.opaque())?;
        let ty = ty.raw();
        if params.len() != ty.params().len() {
            return Err(Error::usage(format_args!(
                "expected {} arguments, got {}",
                ty.params().len(),
                params.len()
            )));
        }
        if results.len() != ty.results().len() {
            return Err(Error::usage(format_args!(
                "expected room for {} results, got {}",
                ty.results().len(),
                results.len()
            )));
        }
        store.opaque().collect_if_due();
        let mut raw = vec![ValRaw::default(); params.len().max(results.len()).max(1)];
        for (i, (ty, param)) in ty.params().iter().zip(params).enumerate() {
            raw[i] = val_into_raw(store.opaque(), ty, param)
                .map_err(|error| error.context(format_args!("argument {i}")))?;
        }
        let engine = store.engine().clone();
        let trampoline = engine.host_to_wasm(self.ptr.type_id(store.opaque()))?;
        invoke(&mut store, self.ptr, trampoline, &mut raw)?;
        val_from_results(store.opaque(), ty.results(), &raw, results);
        Ok(())
    }

    /// The function with its type known to the Rust compiler.
    ///
    /// # Errors
    /// If that is not its type, or it is of another store.
    pub fn typed<Params: WasmParams, Results: WasmResults>(
        &self,
        store: impl AsContext,
    ) -> Result<TypedFunc<Params, Results>> {
        let store = store.as_context();
        let store = store.opaque();
        let ty = self.try_ty(store)?;
        let types = store.engine().types();
        let fit =
            |raw: &[bimetal_wasm::ValType], wanted: &[bimetal_wasm::ValType], params: bool| {
                raw == wanted
                    || raw.len() == wanted.len()
                        && raw.iter().zip(wanted).all(|(raw, wanted)| {
                            let own = ValType::new(raw, types);
                            let wanted = ValType::new(wanted, types);
                            match params {
                                true => wanted.matches(&own),
                                false => own.matches(&wanted),
                            }
                        })
            };
        let raw = ty.raw();
        if !fit(raw.params(), Params::TYPES, true) || !fit(raw.results(), Results::TYPES, false) {
            let wanted = bimetal_wasm::FuncType::new(
                Params::TYPES.iter().copied(),
                Results::TYPES.iter().copied(),
            );
            return Err(Error::usage(format_args!(
                "the function is of type {ty}, not {wanted}"
            )));
        }
        let trampoline = store.engine().host_to_wasm(self.ptr.type_id(store))?;
        Ok(TypedFunc {
            func: *self,
            trampoline,
            types: PhantomData,
        })
    }
}

impl fmt::Debug for Func {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Func")
    }
}

/// A function whose type the Rust compiler knows: the fast way to call wasm.
///
/// ```
/// use bimetal::{Engine, Instance, Module, Store};
///
/// let engine = Engine::default();
/// let module = Module::new(&engine, r#"(module
///     (func (export "swap") (param i32 i64) (result i64 i32)
///         local.get 1 local.get 0))"#)?;
/// let mut store = Store::new(&engine, ());
/// let instance = Instance::new(&mut store, &module, &[])?;
/// let swap = instance.get_typed_func::<(i32, i64), (i64, i32)>(&mut store, "swap")?;
/// assert_eq!(swap.call(&mut store, (1, 2))?, (2, 1));
/// # Ok::<(), bimetal::Error>(())
/// ```
pub struct TypedFunc<Params, Results> {
    func: Func,
    trampoline: CodePtr,
    types: PhantomData<fn(Params) -> Results>,
}

impl<Params: WasmParams, Results: WasmResults> TypedFunc<Params, Results> {
    /// Calls it.
    ///
    /// # Errors
    /// If the function or a parameter is of another store, or the function traps or fails.
    #[inline]
    pub fn call(&self, mut store: impl AsContextMut, params: Params) -> Result<Results> {
        let store = store.as_context_mut();
        // The array serves for both, so it must be as long as the longer.
        if Params::TYPES.len() >= Results::TYPES.len() {
            self.call_in(store, params, Params::Raw::default())
        } else {
            self.call_in(store, params, Results::Raw::default())
        }
    }

    #[inline]
    fn call_in<T>(
        &self,
        mut store: StoreContextMut<'_, T>,
        params: Params,
        mut raw: impl AsMut<[ValRaw]>,
    ) -> Result<Results> {
        let func = self.func.checked(store.opaque())?;
        let raw = raw.as_mut();
        store.opaque().collect_if_due();
        params.write(store.opaque(), raw)?;
        invoke(&mut store, func, self.trampoline, raw)?;
        Ok(read_results(store.opaque(), raw))
    }

    /// The untyped function.
    pub fn func(&self) -> &Func {
        &self.func
    }
}

impl<Params, Results> Clone for TypedFunc<Params, Results> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Params, Results> Copy for TypedFunc<Params, Results> {}

impl<Params, Results> fmt::Debug for TypedFunc<Params, Results> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TypedFunc")
    }
}
