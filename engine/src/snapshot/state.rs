//! What can change in an instance, without pointers.

use std::collections::HashMap;
use std::ops::Range;

use bimetal_abi::gc::reference;
use bimetal_wasm::{
    DataIndex, ElemIndex, EntityIndex, FuncIndex, GlobalIndex, MemoryIndex, TableIndex,
};
use cranelift_entity::EntityRef;
use cranelift_entity::packed_option::PackedOption;

use crate::error::{Error, Result};
use crate::module::Module;
use crate::reference::RefKind;
use crate::symbols::Printable;
use crate::types::ValType;
use crate::vm::{Element, ImportValue, InstanceData, StoreOpaque};

/// So many zeros between two parts of a memory cost less in one segment than a second segment does.
const GAP: usize = 32;

/// More segments than this for one memory or table are joined, however far apart they are: runtimes
/// have limits, and each costs time when an instance is made.
const MAX_RUNS: usize = 10_000;

/// What can change in an instance.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// The module's own, those that middleware added left out.
    pub globals: Vec<Value>,
    pub tables: Vec<Contents<PackedOption<FuncIndex>>>,
    pub memories: Vec<Contents<u8>>,
    pub dropped_elements: Vec<bool>,
    pub dropped_data: Vec<bool>,
}

/// The value of a global.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    /// Of a number or vector, little endian.
    Bits(u128),
    /// A reference to a function of the module, or to nothing.
    Ref(Option<FuncIndex>),
}

/// What is in a memory or table: all else is zero or null.
#[derive(Clone, Debug)]
pub(super) struct Contents<T> {
    /// In pages, or elements.
    pub size: u64,
    /// In ascending order, each with the place of its first.
    pub runs: Vec<(u64, Vec<T>)>,
}

impl<T: Copy + PartialEq> Contents<T> {
    /// Items in all runs.
    pub(super) fn len(&self) -> usize {
        self.runs.iter().map(|(_, items)| items.len()).sum()
    }

    fn new(size: u64, items: &[T], empty: T, gap: usize) -> Contents<T> {
        let runs = runs(items, empty, gap, MAX_RUNS);
        let copy = |run: Range<usize>| (run.start as u64, items[run].to_vec());
        Contents {
            size,
            runs: runs.into_iter().map(copy).collect(),
        }
    }
}

/// The functions of an instance, by what refers to them.
struct Functions(HashMap<u64, FuncIndex>);

impl Functions {
    fn of(instance: &InstanceData) -> Functions {
        let wasm = instance.module().wasm();
        let function = |index| match instance.export(EntityIndex::Func(index))? {
            ImportValue::Func(func) => Some((Element::Func(Some(func)).raw(), index)),
            _ => None,
        };
        Functions(wasm.functions.keys().filter_map(function).collect())
    }

    /// The function, or null, that a raw reference is.
    fn find(&self, raw: u64) -> Result<Option<FuncIndex>> {
        match raw {
            0 => Ok(None),
            _ => (self.0.get(&raw).copied().map(Some))
                .ok_or_else(|| Error::msg("a function that is not the module's")),
        }
    }
}

/// Why there is no place for a reference in a module.
fn of_the_host(raw: u64) -> Result<Option<FuncIndex>> {
    match raw {
        0 => Ok(None),
        _ if raw & u64::from(reference::TAG_MASK) == u64::from(reference::HOST) => {
            Err(Error::msg("a value of the host (an externref)"))
        }
        _ => Err(Error::msg(
            "an object or an i31, which snapshots do not have",
        )),
    }
}

impl State {
    pub(super) fn of(store: &StoreOpaque, instance: &InstanceData) -> Result<State> {
        let module = instance.module();
        let wasm = module.wasm();
        let functions = Functions::of(instance);
        let tables = wasm.tables.keys();
        let memories = wasm.memories.keys();
        Ok(State {
            globals: globals(store, instance, &functions)?,
            tables: tables
                .map(|index| table(store, instance, &functions, index))
                .collect::<Result<_>>()?,
            memories: memories
                .map(|index| memory(store, instance, index))
                .collect::<Result<_>>()?,
            dropped_elements: (0..wasm.elements.len())
                .map(|index| instance.is_element_dropped(ElemIndex::new(index)))
                .collect(),
            dropped_data: (0..wasm.num_data)
                .map(|index| instance.is_data_dropped(DataIndex::new(index)))
                .collect(),
        })
    }
}

/// How many globals the module itself has.
fn own_globals(module: &Module) -> usize {
    let instrumentation = module.env().instrumentation.as_ref();
    let added = instrumentation.map_or(0, |instrumentation| instrumentation.added_globals());
    module.wasm().globals.len() - added
}

fn globals(
    store: &StoreOpaque,
    instance: &InstanceData,
    functions: &Functions,
) -> Result<Vec<Value>> {
    let value = |index: usize| {
        let index = GlobalIndex::new(index);
        let id = instance.global(index).ok_or_else(not_there)?;
        let bytes = store.global_get(id);
        let ValType::Ref(ty) = store.global_type(id).content() else {
            return Ok(Value::Bits(u128::from_le_bytes(bytes)));
        };
        let raw = u128::from_le_bytes(bytes) as u64;
        let value = match RefKind::of(ty.heap_type()) {
            RefKind::Func => functions.find(raw),
            _ => of_the_host(raw),
        };
        let name = describe(instance, EntityIndex::Global(index));
        value
            .map(Value::Ref)
            .map_err(|error| error.context(format_args!("{name} refers to")))
    };
    (0..own_globals(instance.module())).map(value).collect()
}

fn table(
    store: &StoreOpaque,
    instance: &InstanceData,
    functions: &Functions,
    index: TableIndex,
) -> Result<Contents<PackedOption<FuncIndex>>> {
    let Some(ImportValue::Table(id)) = instance.export(EntityIndex::Table(index)) else {
        return Err(not_there());
    };
    let size = store.table(id).len();
    let item = |at: u64| {
        let found = match store.table_get(id, at).ok_or_else(not_there)? {
            Element::Func(None) => Ok(None),
            func @ Element::Func(_) => functions.find(func.raw()),
            other @ Element::Traced(_) => of_the_host(other.raw()),
        };
        let name = || describe(instance, EntityIndex::Table(index));
        found
            .map(PackedOption::from)
            .map_err(|error| error.context(format_args!("element {at} of {} is", name())))
    };
    let items: Vec<_> = (0..size).map(item).collect::<Result<_>>()?;
    let none = PackedOption::default();
    Ok(Contents::new(size, &items, none, 0))
}

fn memory(
    store: &StoreOpaque,
    instance: &InstanceData,
    index: MemoryIndex,
) -> Result<Contents<u8>> {
    let Some(ImportValue::Memory(id)) = instance.export(EntityIndex::Memory(index)) else {
        return Err(not_there());
    };
    let memory = store.memory(id);
    Ok(Contents::new(memory.pages(), memory.bytes(), 0, GAP))
}

fn not_there() -> Error {
    Error::msg("an instance lacks what its module declares (a bug of the runtime)")
}

/// A table or global for messages, with the name that it is exported under.
fn describe(instance: &InstanceData, index: EntityIndex) -> String {
    let exports = &instance.module().wasm().exports;
    let export = exports.iter().find(|export| export.index == index);
    let number = format!("{} {}", super::kind(index), index.as_u32());
    match export {
        Some(export) => format!("{number} (`{}`)", Printable(&export.name)),
        None => number,
    }
}

/// The parts of `items` that are not empty; those with at most `gap` empty items between them are
/// one, or as many more as it takes for there to be no more than `max`.
fn runs<T: Copy + PartialEq>(items: &[T], empty: T, gap: usize, max: usize) -> Vec<Range<usize>> {
    const BLOCK: usize = 4096;
    let blank = [empty; BLOCK];
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (i, block) in items.chunks(BLOCK).enumerate() {
        if *block == blank[..block.len()] {
            continue;
        }
        let full = block.iter().enumerate().filter(|(_, item)| **item != empty);
        for at in full.map(|(j, _)| i * BLOCK + j) {
            match runs.last_mut() {
                Some(last) if at - last.end <= gap => last.end = at + 1,
                _ => runs.push(at..at + 1),
            }
        }
    }
    let mut gap = gap.max(1);
    while runs.len() > max.max(1) {
        gap *= 2;
        runs.dedup_by(|next, last| {
            let joins = next.start - last.end <= gap;
            if joins {
                last.end = next.end;
            }
            joins
        });
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_is_left_out() {
        let mut items = vec![0u8; 20_000];
        assert!(runs(&items, 0, 3, 9).is_empty());
        for at in [0, 1, 4, 9, 4095, 4096, 19_999] {
            items[at] = 1;
        }
        assert_eq!(
            runs(&items, 0, 0, 9),
            [0..2, 4..5, 9..10, 4095..4097, 19_999..20_000]
        );
        assert_eq!(runs(&items, 0, 4, 9), [0..10, 4095..4097, 19_999..20_000]);
        assert_eq!(runs(&items, 0, 4, 2), [0..4097, 19_999..20_000]);
        let all = runs(&items, 0, 0, 1);
        assert_eq!((all.len(), all[0].end), (1, 20_000));
    }
}
