//! Values of programs: what is seen of them, and made-up ones.
//!
//! A reference is shown as what can be reached from it, up to a limit, in the order of the fields; what
//! was met before is named by its number, so that identities are compared too. References that the
//! program has shown are kept now and then, over collections, and given back to it later: where a type
//! is asked for that only the program has, they are the most interesting values.
//!
//! As the driver is, this is a module twice.

use std::fmt::Write;

use super::*;

/// How much of a graph is shown.
const NODES: usize = 40;
const DEPTH: u32 = 24;
/// Elements of an array that are shown, besides the last.
const ELEMENTS: u32 = 6;
/// How many references are kept at most.
const KEPT: usize = 8;
/// How deep made-up objects are.
const MADE: u32 = 2;
/// The number of host functions that are made up.
const MADE_UP: usize = 999;

pub(super) fn show_all(mut store: impl AsContextMut, values: &[Val]) -> String {
    let shown = values.iter().map(|v| show(store.as_context_mut(), v));
    shown.collect::<Vec<_>>().join(" ")
}

pub(super) fn show(mut store: impl AsContextMut, value: &Val) -> String {
    let mut shown = Shown::default();
    // What is only looked at is not kept.
    let mut scope = RootScope::new(store.as_context_mut());
    if let Err(error) = shown.value(&mut scope.as_context_mut(), value, 0) {
        panic!("a value cannot be read: {error:#}");
    }
    shown.text
}

#[derive(Default)]
struct Shown {
    text: String,
    met: Vec<AnyRooted>,
}

impl Shown {
    fn say(&mut self, text: impl std::fmt::Display) {
        // Into a string, which does not fail.
        let _ = write!(self.text, "{text}");
    }

    fn value<T: 'static>(
        &mut self,
        store: &mut StoreContextMut<'_, T>,
        value: &Val,
        depth: u32,
    ) -> Result<()> {
        match value {
            Val::I32(v) => self.say(format_args!("{v:#x}")),
            Val::I64(v) => self.say(format_args!("{v:#x}L")),
            Val::F32(v) => self.say(format_args!("{v:#x}f")),
            Val::F64(v) => self.say(format_args!("{v:#x}d")),
            Val::V128(v) => self.say(format_args!("{:#x}v", v.as_u128())),
            Val::FuncRef(Some(func)) => {
                let ty = func.ty(store.as_context());
                let letters = |types: Vec<ValType>| types.iter().map(letter).collect::<String>();
                let params = letters(ty.params().collect());
                let results = letters(ty.results().collect());
                self.say(format_args!("func[{params} -> {results}]"));
            }
            Val::ExternRef(Some(value)) => {
                self.say("extern ");
                match extern_number(store.as_context_mut(), value) {
                    Some(number) => self.say(number),
                    None => {
                        let any = AnyRef::convert_extern(store.as_context_mut(), value.clone())?;
                        self.any(store, &any, depth)?;
                    }
                }
            }
            Val::AnyRef(Some(any)) => self.any(store, any, depth)?,
            Val::ExnRef(Some(exception)) => self.exception(store, exception, depth)?,
            _ => self.say("null"),
        }
        Ok(())
    }

    pub(super) fn exception<T: 'static>(
        &mut self,
        store: &mut StoreContextMut<'_, T>,
        exception: &ExnRooted,
        depth: u32,
    ) -> Result<()> {
        self.say("exception(");
        for i in 0..exception.ty(store.as_context())?.fields().len() {
            let value = exception.field(store.as_context_mut(), i)?;
            self.value(store, &value, depth + 1)?;
            self.say(" ");
        }
        self.say(")");
        Ok(())
    }

    fn any<T: 'static>(
        &mut self,
        store: &mut StoreContextMut<'_, T>,
        any: &AnyRooted,
        depth: u32,
    ) -> Result<()> {
        if let Some(number) = any.as_i31(store.as_context())? {
            self.say(format_args!("i31 {}", number.get_i32()));
            return Ok(());
        }
        for i in 0..self.met.len() {
            if AnyRooted::ref_eq(store.as_context(), any, &self.met[i])? {
                self.say(format_args!("#{i}"));
                return Ok(());
            }
        }
        if self.met.len() >= NODES || depth > DEPTH {
            self.say("...");
            return Ok(());
        }
        self.met.push(any.clone());
        if let Some(object) = any.as_struct(store.as_context())? {
            self.say("{");
            for i in 0..object.ty(store.as_context())?.fields().len() {
                let value = object.field(store.as_context_mut(), i)?;
                self.value(store, &value, depth + 1)?;
                self.say(" ");
            }
            self.say("}");
        } else if let Some(array) = any.as_array(store.as_context())? {
            let length = array.len(store.as_context())?;
            self.say(format_args!("[{length}: "));
            for i in (0..length.min(ELEMENTS)).chain((length > ELEMENTS).then(|| length - 1)) {
                let value = array.get(store.as_context_mut(), i)?;
                self.value(store, &value, depth + 1)?;
                self.say(" ");
            }
            self.say("]");
        } else {
            let value = ExternRef::convert_any(store.as_context_mut(), any.clone())?;
            let number = extern_number(store.as_context_mut(), &value);
            self.say(format_args!("any {number:?}"));
        }
        Ok(())
    }
}

/// The exception that a call ended with, which it takes.
pub(super) fn show_thrown(mut store: impl AsContextMut) -> Option<String> {
    let mut scope = RootScope::new(store.as_context_mut());
    let exception = scope.as_context_mut().take_pending_exception()?;
    let mut shown = Shown::default();
    if let Err(error) = shown.exception(&mut scope.as_context_mut(), &exception, 0) {
        panic!("an exception cannot be read: {error:#}");
    }
    Some(shown.text)
}

fn letter(ty: &ValType) -> char {
    match ty {
        ValType::I32 => 'i',
        ValType::I64 => 'l',
        ValType::F32 => 'f',
        ValType::F64 => 'd',
        ValType::V128 => 'v',
        ValType::Ref(_) => 'r',
    }
}

/// A reference that the host holds for longer than a call.
#[derive(Clone)]
pub(super) enum Kept {
    Any(OwnedRooted<AnyRef>),
    Extern(OwnedRooted<ExternRef>),
    Exn(OwnedRooted<ExnRef>),
    Func(Func),
}

/// Holds some of these.
pub(super) fn keep(mut store: impl AsContextMut<Data = Host>, values: &[Val]) {
    let mut store = store.as_context_mut();
    for value in values {
        let kept = match value {
            Val::AnyRef(Some(v)) => v.to_owned_rooted(&mut store).map(Kept::Any),
            Val::ExternRef(Some(v)) => v.to_owned_rooted(&mut store).map(Kept::Extern),
            Val::ExnRef(Some(v)) => v.to_owned_rooted(&mut store).map(Kept::Exn),
            Val::FuncRef(Some(v)) => Ok(Kept::Func(v.clone())),
            _ => continue,
        };
        let kept = kept.unwrap_or_else(|error| panic!("a value cannot be kept: {error:#}"));
        let host = store.data_mut();
        let place = host.source.below(2 * KEPT as u64) as usize;
        if host.kept.len() < KEPT {
            host.kept.push(kept);
        } else if let Some(old) = host.kept.get_mut(place) {
            *old = kept;
        }
    }
}

/// One that is held and of this type; the number chooses.
fn held(store: &mut StoreContextMut<'_, Host>, ty: &ValType, number: u64) -> Option<Val> {
    let count = store.data().kept.len();
    for i in 0..count {
        let kept = store.data().kept[(number as usize % count + i) % count].clone();
        let value = match kept {
            Kept::Any(v) => Val::AnyRef(Some(rooted!(v.to_rooted(&mut *store)))),
            Kept::Extern(v) => Val::ExternRef(Some(rooted!(v.to_rooted(&mut *store)))),
            Kept::Exn(v) => Val::ExnRef(Some(rooted!(v.to_rooted(&mut *store)))),
            Kept::Func(v) => Val::FuncRef(Some(v)),
        };
        if matches!(value.matches_ty(store.as_context(), ty), Ok(true)) {
            return Some(value);
        }
    }
    None
}

/// A made-up value of this type; `None` if there is none that the host could have.
pub(super) fn value(mut store: impl AsContextMut<Data = Host>, ty: &ValType) -> Option<Val> {
    make(&mut store.as_context_mut(), ty, 0)
}

fn make(store: &mut StoreContextMut<'_, Host>, ty: &ValType, depth: u32) -> Option<Val> {
    let source = &mut store.data_mut().source;
    let n = number(source);
    Some(match ty {
        ValType::I32 => Val::I32(n as i32),
        ValType::I64 => Val::I64(n as i64),
        // A signalling NaN that goes in unchanged would be no defect where it comes out quiet.
        ValType::F32 if f32::from_bits(n as u32).is_nan() => Val::F32(0x7fc0_0000),
        ValType::F64 if f64::from_bits(n).is_nan() => Val::F64(0x7ff8_0000_0000_0000),
        ValType::F32 => Val::F32(n as u32),
        ValType::F64 => Val::F64(n),
        ValType::V128 => {
            let high = u128::from(number(source)) << 64;
            Val::V128((high | u128::from(n)).into())
        }
        ValType::Ref(reference) => {
            let null = reference.is_nullable() && (n.is_multiple_of(3) || depth > MADE);
            if null {
                return Some(Val::null_ref(reference.heap_type()));
            }
            if n % 8 < 5
                && let Some(value) = held(store, ty, n)
            {
                return Some(value);
            }
            match object(store, reference.heap_type(), n, depth) {
                Ok(Some(value)) => value,
                Ok(None) if reference.is_nullable() => Val::null_ref(reference.heap_type()),
                Ok(None) => return held(store, ty, n),
                Err(_) => {
                    // There is no room, which need not be so elsewhere.
                    store.data_mut().say(FULL.into());
                    return None;
                }
            }
        }
    })
}

/// A new object, if the host can make one of this type.
fn object(
    store: &mut StoreContextMut<'_, Host>,
    ty: &HeapType,
    n: u64,
    depth: u32,
) -> Result<Option<Val>> {
    if depth > MADE + 2 {
        return Ok(None);
    }
    let small = I31::wrapping_u32(n as u32);
    let engine = store.engine().clone();
    Ok(Some(match ty {
        HeapType::Extern if n % 8 == 7 => {
            let any = AnyRef::from_i31(&mut *store, small);
            Val::ExternRef(Some(ExternRef::convert_any(&mut *store, any)?))
        }
        HeapType::Extern => Val::ExternRef(Some(ExternRef::new(&mut *store, n)?)),
        HeapType::Any if n % 4 == 3 => {
            let value = ExternRef::new(&mut *store, n)?;
            Val::AnyRef(Some(AnyRef::convert_extern(&mut *store, value)?))
        }
        HeapType::Any | HeapType::Eq | HeapType::I31 => {
            Val::AnyRef(Some(AnyRef::from_i31(&mut *store, small)))
        }
        HeapType::Struct => {
            let field = FieldType::new(Mutability::Var, StorageType::ValType(ValType::I32));
            return structure(store, StructType::new(&engine, [field])?, depth);
        }
        HeapType::ConcreteStruct(ty) => return structure(store, ty.clone(), depth),
        HeapType::Array => {
            let element = FieldType::new(Mutability::Var, StorageType::I8);
            return array(store, ArrayType::new(&engine, element), n, depth);
        }
        HeapType::ConcreteArray(ty) => return array(store, ty.clone(), n, depth),
        HeapType::Func => {
            let ty = FuncType::new(&engine, [ValType::I32], [ValType::I32]);
            Val::FuncRef(Some(host_function(&mut *store, MADE_UP, &ty)))
        }
        HeapType::ConcreteFunc(ty) => Val::FuncRef(Some(host_function(&mut *store, MADE_UP, ty))),
        HeapType::Exn => {
            let ty = TagType::new(FuncType::new(&engine, [ValType::I32], []));
            let tag = Tag::new(&mut *store, &ty)?;
            let made = exception(store, &tag, &[Val::I32(n as i32)])?;
            Val::ExnRef(Some(made))
        }
        _ => return Ok(None),
    }))
}

fn structure(
    store: &mut StoreContextMut<'_, Host>,
    ty: StructType,
    depth: u32,
) -> Result<Option<Val>> {
    let mut fields = Vec::new();
    for field in ty.fields() {
        match make(store, field.element_type().unpack(), depth + 1) {
            Some(value) => fields.push(value),
            None => return Ok(None),
        }
    }
    let allocator = StructRefPre::new(&mut *store, ty);
    let made = StructRef::new(&mut *store, &allocator, &fields)?;
    Ok(Some(Val::AnyRef(Some(made.to_anyref()))))
}

fn array(
    store: &mut StoreContextMut<'_, Host>,
    ty: ArrayType,
    n: u64,
    depth: u32,
) -> Result<Option<Val>> {
    let Some(value) = make(store, ty.element_type().unpack(), depth + 1) else {
        return Ok(None);
    };
    let allocator = ArrayRefPre::new(&mut *store, ty);
    let made = ArrayRef::new(&mut *store, &allocator, &value, n as u32 % 20)?;
    Ok(Some(Val::AnyRef(Some(made.to_anyref()))))
}

/// An exception that has not been thrown.
pub(super) fn exception(
    mut store: impl AsContextMut,
    tag: &Tag,
    fields: &[Val],
) -> Result<ExnRooted> {
    let ty = ExnType::from_tag_type(&tag.ty(store.as_context()))?;
    let allocator = ExnRefPre::new(store.as_context_mut(), ty);
    ExnRef::new(store.as_context_mut(), &allocator, tag, fields)
}

/// Writes into an object that the host holds.
pub(super) fn tamper(mut store: impl AsContextMut<Data = Host>) -> Result<()> {
    let mut store = store.as_context_mut();
    let (choice, place) = {
        let source = &mut store.data_mut().source;
        (source.number(), source.number())
    };
    let ty = ValType::Ref(RefType::new(false, HeapType::Any));
    let Some(Val::AnyRef(Some(any))) = held(&mut store, &ty, choice >> 1) else {
        return Ok(());
    };
    if let Some(object) = any.as_struct(store.as_context())? {
        let ty = object.ty(store.as_context())?;
        let count = ty.fields().len();
        let Some(index) = (place as usize).checked_rem(count) else {
            return Ok(());
        };
        let Some(field) = ty.field(index) else {
            return Ok(());
        };
        if matches!(field.mutability(), Mutability::Var)
            && let Some(value) = make(&mut store, field.element_type().unpack(), 0)
        {
            object.set_field(&mut store, index, value)?;
            store.data_mut().say(format!("host writes field {index}"));
        }
    } else if let Some(array) = any.as_array(store.as_context())? {
        let ty = array.ty(store.as_context())?;
        let length = array.len(store.as_context())?;
        let Some(index) = (place as u32).checked_rem(length) else {
            return Ok(());
        };
        if matches!(ty.mutability(), Mutability::Var)
            && let Some(value) = make(&mut store, ty.element_type().unpack(), 0)
        {
            array.set(&mut store, index, value)?;
            store.data_mut().say(format!("host writes element {index}"));
        }
    }
    Ok(())
}

/// Made-up arguments, if there are any.
pub(super) fn arguments(
    mut store: impl AsContextMut<Data = Host>,
    ty: &FuncType,
) -> Option<Vec<Val>> {
    let types = ty.params().collect::<Vec<_>>();
    types
        .iter()
        .map(|ty| value(store.as_context_mut(), ty))
        .collect()
}

/// Room for results.
pub(super) fn zeros(ty: &FuncType) -> Vec<Val> {
    let zero = |ty| Val::default_for_ty(&ty).unwrap_or(Val::I32(0));
    ty.results().map(zero).collect()
}
