//! What is done with one handle.

use arbitrary::{Result as ArbitraryResult, Unstructured};
use bimetal::{
    AsContextMut, Error, Extern, ExternType, Func, FuncType, Memory, Ref, Store, Table, V128, Val,
    ValType, WasmBacktrace,
};

use super::{Data, Handle, Item, Live};

pub(super) const TYPES: &[ValType] = &[
    ValType::I32,
    ValType::I64,
    ValType::F32,
    ValType::F64,
    ValType::V128,
    ValType::FUNCREF,
    ValType::EXTERNREF,
];

pub(super) fn same_kind(a: &ExternType, b: &ExternType) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

/// Zero or null.
pub(super) fn zero(ty: &ValType) -> Val {
    Val::default_for_ty(ty).unwrap_or(Val::null_func_ref())
}

/// Any value, also of any store.
pub(super) fn val(u: &mut Unstructured<'_>, handles: &[Handle]) -> ArbitraryResult<Val> {
    let ty = u.choose(TYPES)?.clone();
    let number: u64 = u.arbitrary()?;
    Ok(match ty {
        ValType::I32 => Val::I32(number as i32),
        ValType::I64 => Val::I64(number as i64),
        ValType::F32 => Val::F32(number as u32),
        ValType::F64 => Val::F64(number),
        ValType::V128 => Val::V128(V128::from(u128::from(number) << 7)),
        _ if handles.is_empty() => zero(&ty),
        _ => match u.choose(handles)?.item {
            Item::Ref(value) => value.into(),
            Item::Extern(Extern::Func(func)) => func.into(),
            _ => zero(&ty),
        },
    })
}

/// Arguments that fit, mostly; none if the function is of another store.
pub(super) fn arguments(
    live: &Live,
    handle: &Handle,
    u: &mut Unstructured<'_>,
    handles: &[Handle],
) -> ArbitraryResult<Vec<Val>> {
    let mut args = Vec::new();
    if let (Item::Extern(Extern::Func(func)), true) = (&handle.item, handle.store == live.id) {
        for ty in func.ty(&live.store).params() {
            let value = val(u, handles)?;
            args.push(
                match value.matches_ty(&live.store, &ty).unwrap_or(false) || u.ratio(1, 16)? {
                    true => value,
                    false if ty == ValType::I32 => Val::I32(u.int_in_range(-2..=9)?),
                    false => zero(&ty),
                },
            );
        }
    }
    Ok(args)
}

/// Room for what a function of this type returns.
pub(super) fn results_of(ty: &FuncType) -> Vec<Val> {
    ty.results().map(|ty| zero(&ty)).collect()
}

pub(super) fn call(store: &mut Store<Data>, func: Func, args: &[Val]) -> Result<bool, String> {
    let ty = func.ty(&*store);
    let mut results = results_of(&ty);
    let worked = match func.call(&mut *store, args, &mut results) {
        Ok(()) => true,
        Err(error) => look_at(store, &error)?,
    };
    for (value, ty) in results.iter().zip(ty.results()) {
        if !value.matches_ty(&*store, &ty).unwrap_or(false) {
            return Err(format!("a result of type {ty} is {value:?}"));
        }
    }
    if let (Ok(typed), Some(Val::I32(n))) = (func.typed::<(i32,), i32>(&*store), args.first()) {
        let _ = typed.call(&mut *store, (*n,));
    }
    if let Ok(typed) = func.typed::<(i32, u64), ()>(&*store) {
        let _ = typed.call(store.as_context_mut(), (65_529, 7));
    }
    Ok(worked)
}

/// An error can be looked at, whatever has become of its store. Not that it worked.
fn look_at(store: &mut Store<Data>, error: &Error) -> Result<bool, String> {
    if format!("{error:?}").is_empty() || format!("{error:#}").is_empty() {
        return Err("an error without a message".into());
    }
    if let Some(trace) = error.downcast_ref::<WasmBacktrace>() {
        for frame in trace.frames() {
            let _ = (
                frame.func_name(),
                frame.module_offset(),
                frame.module().name(),
            );
            if frame.module().exports().len() > 100 {
                return Err("a frame of a module that there is not".into());
            }
        }
        if store.data().calls.is_multiple_of(8) {
            let dump = trace.core_dump(&*store, "fuzz");
            if !dump.starts_with(b"\0asm") {
                return Err("a core dump that is no module".into());
            }
        }
    }
    Ok(false)
}

pub(super) fn use_memory(
    store: &mut Store<Data>,
    memory: Memory,
    numbers: [u32; 3],
    small: [u32; 3],
) -> Result<bool, String> {
    let (pages, len) = (memory.size(&*store), memory.data_size(&*store));
    let delta = match small[0] % 8 {
        0 => u64::from(numbers[0]),
        1 => u64::MAX - u64::from(numbers[1]),
        n => u64::from(n % 2),
    };
    // The machine may have the room; this test has not.
    if memory.ty(&*store).maximum().is_some() || delta <= 2 && pages < 20 {
        match memory.grow(&mut *store, delta) {
            Ok(old) if old != pages => return Err(format!("grew from {old}, not {pages}")),
            Ok(_) if memory.size(&*store) != pages + delta => return Err("did not grow".into()),
            Ok(_) => {}
            Err(_) if memory.size(&*store) != pages => return Err("grew and failed".into()),
            Err(_) if delta == 0 => return Err("cannot grow by nothing".into()),
            Err(_) => {}
        }
    }
    let len_now = memory.data(&*store).len();
    if len_now < len || !len_now.is_multiple_of(65_536) {
        return Err(format!("{len_now} bytes, were {len}"));
    }
    let offset = match small[1] % 4 {
        0 => numbers[1] as usize,
        1 => usize::MAX - small[2] as usize,
        _ => (numbers[1] as usize) % (len_now + 10),
    };
    let written = memory.write(&mut *store, offset, &[1, 2, 3, 4]).is_ok();
    let inside = offset.checked_add(4).is_some_and(|end| end <= len_now);
    let mut back = [0; 4];
    let read = memory.read(&*store, offset, &mut back).is_ok();
    if written != inside || read != inside || (inside && back != [1, 2, 3, 4]) {
        return Err(format!(
            "writing at {offset} of {len_now}: {written}, {read}, {back:?}"
        ));
    }
    if let Some(byte) = memory.data_mut(&mut *store).get_mut(offset) {
        *byte ^= 1;
    }
    Ok(true)
}

pub(super) fn use_table(
    store: &mut Store<Data>,
    table: Table,
    value: Ref,
    small: [u32; 3],
) -> Result<bool, String> {
    let size = table.size(&*store);
    let (index, delta) = (u64::from(small[0]) % (size + 2), u64::from(small[1]) % 4);
    if size < 50 {
        match table.grow(&mut *store, delta, value) {
            Ok(old) if old != size || table.size(&*store) != size + delta => {
                return Err("did not grow as it said".into());
            }
            Err(_) if table.size(&*store) != size => return Err("grew and failed".into()),
            _ => {}
        }
    }
    let set = table.set(&mut *store, index, value).is_ok();
    let got = table.get(&mut *store, index);
    match (set, got) {
        (true, Some(now)) if format!("{now:?}") == format!("{value:?}") => {}
        (false, _) => {}
        other => return Err(format!("{value:?} was set: {other:?}")),
    }
    let (to, count) = (u64::from(small[2]), u64::from(small[0]) % 5);
    let _ = Table::copy(&mut *store, &table, to, &table, index, count);
    Ok(true)
}
