//! Another runtime, to compare with: an interpreter that shares no code with this one but the
//! text of the specification.
//!
//! It does what [`crate::execute`] does, event for event, so both must be changed together. It
//! has no mischief: what host functions do behind the back of their caller is compared among
//! configurations only.

use std::hash::{DefaultHasher, Hasher};

use wasmi::{
    AsContextMut, Config, Engine, Error, Extern, ExternRef, ExternType, Func, FuncType, Global,
    Instance, Memory, Module, Nullable, Ref, RefType, Store, Table, TrapCode, V128, Val, ValType,
};

use crate::execute::{OVERFLOW, Scenario, Trace, number};
use crate::generate;
use crate::source::Source;

/// See the module.
#[derive(Debug)]
pub struct Oracle {
    engine: Engine,
}

struct Host {
    source: Source,
    trace: Trace,
}

impl Default for Oracle {
    fn default() -> Self {
        Oracle::new()
    }
}

impl Oracle {
    /// With the features of this runtime.
    pub fn new() -> Oracle {
        let mut config = Config::default();
        config
            .wasm_tail_call(false)
            .wasm_relaxed_simd(false)
            .wasm_simd(true)
            .wasm_multi_memory(true);
        Oracle {
            engine: Engine::new(&config),
        }
    }

    /// What the module does there.
    ///
    /// # Errors
    /// If the oracle does not accept it.
    pub fn run(&self, wasm: &[u8], scenario: Scenario) -> Result<Trace, String> {
        let module = Module::new(&self.engine, wasm)
            .map_err(|error| format!("the oracle refuses the module: {error}"))?;
        let host = Host {
            source: Source::new(scenario.seed),
            trace: Vec::new(),
        };
        let mut store = Store::new(&self.engine, host);
        let decoded = bimetal_wasm::Module::new(wasm.to_vec(), &Default::default());
        let decoded = decoded.map_err(|error| error.to_string())?;
        let imports = make_imports(&mut store, &module, &decoded)?;
        let instance = match Instance::new(&mut store, &module, &imports) {
            Ok(instance) => instance,
            Err(error) => {
                let line = failure(&error)?;
                store.data_mut().trace.push(line);
                return Ok(store.into_data().trace);
            }
        };
        // In the order of the module, which is not kept there.
        let names = decoded.exports.iter().map(|export| export.name.to_string());
        let exports: Vec<(String, Extern)> = names
            .filter_map(|name| {
                let item = instance.get_export(&store, &name)?;
                Some((name, item))
            })
            .collect();
        see(&mut store, &exports);
        for (name, item) in &exports {
            let Extern::Func(func) = item else { continue };
            if let Some((_, Extern::Global(fuel))) = exports.iter().find(|e| e.0 == generate::FUEL)
            {
                let _ = fuel.set(&mut store, Val::I32(generate::FUEL_AMOUNT as i32));
            }
            let ty = func.ty(&store);
            let params: Vec<Val> = ty
                .params()
                .iter()
                .map(|ty| value(&mut store, *ty))
                .collect();
            let mut results: Vec<Val> = ty.results().iter().map(|ty| zero(*ty)).collect();
            let said = params
                .iter()
                .map(|v| show(&mut store, v))
                .collect::<Vec<_>>();
            let line = match func.call(&mut store, &params, &mut results) {
                Ok(()) => {
                    let results = results
                        .iter()
                        .map(|v| show(&mut store, v))
                        .collect::<Vec<_>>();
                    results.join(" ")
                }
                Err(error) => failure(&error)?,
            };
            if line == OVERFLOW {
                store.data_mut().trace.push(line);
                break;
            }
            store
                .data_mut()
                .trace
                .push(format!("{name:?}({}) = {line}", said.join(" ")));
            see(&mut store, &exports);
        }
        Ok(store.into_data().trace)
    }
}

fn failure(error: &Error) -> Result<String, String> {
    let Some(trap) = error.as_trap_code() else {
        // Segments that are out of bounds are an error of their own there.
        let text = error.to_string();
        return match text {
            text if text.contains("out of bounds") && text.contains("table") => {
                Ok("out of bounds table access".into())
            }
            text if text.contains("element segment") => Ok("out of bounds table access".into()),
            text if text.contains("out of bounds") => Ok("out of bounds memory access".into()),
            text => Err(format!("the oracle fails: {text}")),
        };
    };
    Ok(match trap {
        TrapCode::UnreachableCodeReached => "unreachable",
        TrapCode::MemoryOutOfBounds => "out of bounds memory access",
        TrapCode::TableOutOfBounds => "out of bounds table access",
        TrapCode::IndirectCallToNull => "uninitialized element",
        TrapCode::IntegerDivisionByZero => "integer divide by zero",
        TrapCode::IntegerOverflow => "integer overflow",
        TrapCode::BadConversionToInteger => "invalid conversion to integer",
        TrapCode::StackOverflow => OVERFLOW,
        TrapCode::BadSignature => "indirect call type mismatch",
        other => return Err(format!("the oracle fails: {other}")),
    }
    .to_owned())
}

fn see(store: &mut Store<Host>, exports: &[(String, Extern)]) {
    for (name, item) in exports {
        let line = match item {
            Extern::Func(_) => continue,
            Extern::Global(_) if name == generate::FUEL => continue,
            Extern::Global(global) => {
                let value = global.get(&*store);
                show(&mut *store, &value)
            }
            Extern::Memory(memory) => {
                let mut hasher = DefaultHasher::new();
                hasher.write(memory.data(&*store));
                let (size, hash) = (memory.size(&*store), hasher.finish());
                format!("memory of {size} pages, {hash:016x}")
            }
            Extern::Table(table) => {
                let mut elements = String::new();
                for i in 0..table.size(&*store) {
                    let text = match table.get(&*store, i) {
                        Some(Ref::Func(func)) => show(&mut *store, &Val::FuncRef(func)),
                        Some(Ref::Extern(value)) => show(&mut *store, &Val::ExternRef(value)),
                        None => "(none)".into(),
                    };
                    elements.push_str(&text);
                    elements.push(' ');
                }
                format!("table: {elements}")
            }
        };
        store.data_mut().trace.push(format!("  {name:?}: {line}"));
    }
}

fn show(mut store: impl AsContextMut<Data = Host>, value: &Val) -> String {
    match value {
        Val::I32(v) => format!("{v:#x}"),
        Val::I64(v) => format!("{v:#x}L"),
        Val::F32(v) => format!("{:#x}f", v.to_bits()),
        Val::F64(v) => format!("{:#x}d", v.to_bits()),
        Val::V128(v) => format!("{:#x}v", v.as_u128()),
        Val::FuncRef(Nullable::Null) | Val::ExternRef(Nullable::Null) => "null".into(),
        Val::FuncRef(Nullable::Val(func)) => {
            format!("func[{}]", type_text(&func.ty(store.as_context_mut())))
        }
        Val::ExternRef(Nullable::Val(value)) => {
            let store = store.as_context_mut();
            let data = value.data(&store).downcast_ref::<u64>();
            format!("extern {data:?}")
        }
    }
}

/// As this runtime writes it.
fn type_text(ty: &FuncType) -> String {
    let ty = bimetal_wasm::FuncType::new(
        ty.params().iter().map(|ty| our_type(*ty)),
        ty.results().iter().map(|ty| our_type(*ty)),
    );
    ty.to_string()
}

fn our_type(ty: ValType) -> bimetal_wasm::ValType {
    match ty {
        ValType::I32 => bimetal_wasm::ValType::I32,
        ValType::I64 => bimetal_wasm::ValType::I64,
        ValType::F32 => bimetal_wasm::ValType::F32,
        ValType::F64 => bimetal_wasm::ValType::F64,
        ValType::V128 => bimetal_wasm::ValType::V128,
        ValType::FuncRef => bimetal_wasm::ValType::FUNCREF,
        ValType::ExternRef => bimetal_wasm::ValType::EXTERNREF,
    }
}

fn zero(ty: ValType) -> Val {
    match ty {
        ValType::I32 => Val::I32(0),
        ValType::I64 => Val::I64(0),
        ValType::F32 => Val::F32(0.0.into()),
        ValType::F64 => Val::F64(0.0.into()),
        ValType::V128 => Val::V128(V128::from(0)),
        ValType::FuncRef => Val::FuncRef(Nullable::Null),
        ValType::ExternRef => Val::ExternRef(Nullable::Null),
    }
}

/// The same as in `execute`: it takes the same numbers in the same order.
fn value(mut store: impl AsContextMut<Data = Host>, ty: ValType) -> Val {
    let mut store = store.as_context_mut();
    let source = &mut store.data_mut().source;
    let n = number(source);
    match ty {
        ValType::I32 => Val::I32(n as i32),
        ValType::I64 => Val::I64(n as i64),
        ValType::F32 if f32::from_bits(n as u32).is_nan() => {
            Val::F32(wasmi::F32::from_bits(0x7fc0_0000))
        }
        ValType::F64 if f64::from_bits(n).is_nan() => {
            Val::F64(wasmi::F64::from_bits(0x7ff8_0000_0000_0000))
        }
        ValType::F32 => Val::F32(wasmi::F32::from_bits(n as u32)),
        ValType::F64 => Val::F64(wasmi::F64::from_bits(n)),
        ValType::V128 => {
            let high = u128::from(number(source)) << 64;
            Val::V128(V128::from(high | u128::from(n)))
        }
        ValType::ExternRef if !n.is_multiple_of(3) => {
            Val::ExternRef(Nullable::Val(ExternRef::new::<u64>(&mut store, n)))
        }
        ty => zero(ty),
    }
}

/// Imports are made up in the order of the module, and given in that of the oracle, which sorts
/// them by kind.
fn make_imports(
    store: &mut Store<Host>,
    module: &Module,
    decoded: &bimetal_wasm::Module,
) -> Result<Vec<Extern>, String> {
    use bimetal_wasm::EntityIndex as Index;
    let types: Vec<ExternType> = module.imports().map(|import| import.ty().clone()).collect();
    let mut made: Vec<Option<Extern>> = vec![None; types.len()];
    for (i, import) in decoded.imports.iter().enumerate() {
        let place = types.iter().zip(&made).position(|(ty, made)| {
            made.is_none()
                && matches!(
                    (import.index, ty),
                    (Index::Func(_), ExternType::Func(_))
                        | (Index::Global(_), ExternType::Global(_))
                        | (Index::Table(_), ExternType::Table(_))
                        | (Index::Memory(_), ExternType::Memory(_))
                )
        });
        let place = place.ok_or("the oracle sees other imports")?;
        made[place] = Some(make_import(store, i, &types[place])?);
    }
    Ok(made.into_iter().flatten().collect())
}

fn make_import(store: &mut Store<Host>, index: usize, ty: &ExternType) -> Result<Extern, String> {
    let failed = |error: &dyn std::fmt::Display| format!("the oracle has no import: {error}");
    Ok(match ty {
        ExternType::Func(ty) => Extern::Func(host_function(store, index, ty)),
        ExternType::Global(ty) => {
            let value = value(&mut *store, ty.content());
            Extern::Global(Global::new(&mut *store, value, ty.mutability()))
        }
        ExternType::Table(ty) => {
            let init = match ty.element() {
                RefType::Func => Ref::Func(Nullable::Null),
                RefType::Extern => Ref::Extern(Nullable::Null),
            };
            Extern::Table(Table::new(&mut *store, *ty, init).map_err(|e| failed(&e))?)
        }
        ExternType::Memory(ty) => {
            Extern::Memory(Memory::new(&mut *store, *ty).map_err(|e| failed(&e))?)
        }
    })
}

fn host_function(store: &mut Store<Host>, index: usize, ty: &FuncType) -> Func {
    let types: Vec<ValType> = ty.results().to_vec();
    Func::new(store, ty.clone(), move |mut caller, params, results| {
        let said = params
            .iter()
            .map(|v| show(&mut caller, v))
            .collect::<Vec<_>>();
        let line = format!("host {index}({})", said.join(" "));
        caller.data_mut().trace.push(line);
        for (result, ty) in results.iter_mut().zip(&types) {
            *result = value(&mut caller, *ty);
        }
        Ok(())
    })
}
