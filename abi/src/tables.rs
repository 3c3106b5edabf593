//! Which tables are filled element by element, as they are used, rather than at instantiation.
//!
//! A table of functions that the module defines, whose initial elements are known before there is an
//! instance, begins as zeros. Code that reads a zero from such a table asks the runtime
//! ([`Builtin::table_element`](crate::Builtin)), which looks the element up here and stores it. So
//! an instance costs the same whatever the size of its tables.
//!
//! Known are the elements of the active segments from the first on, as long as each goes to a
//! constant place inside of such a table where no earlier one went: then nothing can fail. From the
//! first other segment on they are copied, in their order, as the specification says.

use bimetal_wasm::{
    ConstOp, DefinedTableIndex, ElemIndex, ElementItems, ElementSegment, FuncIndex, Module,
    SegmentMode, TableIndex, TableInit,
};
use cranelift_entity::{EntityRef, PrimaryMap};

/// A segment in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    start: u64,
    end: u64,
    segment: ElemIndex,
}

/// The tables of one module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LazyTables {
    /// Sorted, disjoint.
    tables: PrimaryMap<DefinedTableIndex, Vec<Run>>,
    /// The first segment that is copied.
    first_copied: usize,
}

impl LazyTables {
    /// Those of `module`.
    pub fn new(module: &Module) -> LazyTables {
        LazyTables::among(module, |_| true)
    }

    /// Those of `module` that may be lazy: for one whose code was compiled for another, in which
    /// others are not.
    pub fn among(module: &Module, may_be: impl Fn(DefinedTableIndex) -> bool) -> LazyTables {
        let tables = module.table_init.keys().map(|_| Vec::new()).collect();
        let mut lazy = LazyTables {
            tables,
            first_copied: 0,
        };
        for (index, segment) in module.elements.iter() {
            if let SegmentMode::Active { target, offset } = &segment.mode {
                let place = match *offset.ops {
                    [ConstOp::I32Const(at)] => Some(u64::from(at as u32)),
                    [ConstOp::I64Const(at)] => Some(at as u64),
                    _ => None,
                };
                let table = module.defined_table(*target).filter(|&table| may_be(table));
                let added = place
                    .zip(table)
                    .and_then(|(at, table)| lazy.add(module, index, segment, table, at));
                if added.is_none() {
                    break;
                }
            }
            lazy.first_copied = index.index() + 1;
        }
        lazy
    }

    /// Takes a segment, if that is possible.
    fn add(
        &mut self,
        module: &Module,
        index: ElemIndex,
        segment: &ElementSegment,
        table: DefinedTableIndex,
        start: u64,
    ) -> Option<()> {
        let end = start.checked_add(segment.items.len() as u64)?;
        let target = module.num_imported_tables + table.index();
        let ty = &module.tables[TableIndex::new(target)];
        let possible = end <= ty.min
            && module.is_func_ref(&ty.element)
            && module.table_init[table] == TableInit::Null
            && (0..segment.items.len()).all(|i| element(&segment.items, i).is_some());
        let runs = self.tables.get_mut(table)?;
        let place = runs.partition_point(|run| run.start < start);
        let free = runs[..place].last().is_none_or(|run| run.end <= start)
            && runs.get(place).is_none_or(|run| end <= run.start);
        // Empty ones have nothing to say.
        if possible && start < end && free {
            runs.insert(
                place,
                Run {
                    start,
                    end,
                    segment: index,
                },
            );
        }
        (possible && (free || start == end)).then_some(())
    }

    /// Whether a zero in this table is an element that nobody has looked at.
    pub fn is_lazy(&self, table: DefinedTableIndex) -> bool {
        self.tables.get(table).is_some_and(|runs| !runs.is_empty())
    }

    /// Whether an active segment is copied at instantiation.
    pub fn is_copied(&self, segment: ElemIndex) -> bool {
        segment.index() >= self.first_copied
    }

    /// The function that a lazy table has at `index` at first; `None` is null.
    pub fn element(
        &self,
        module: &Module,
        table: DefinedTableIndex,
        index: u64,
    ) -> Option<FuncIndex> {
        let runs = self.tables.get(table)?;
        let run = runs[..runs.partition_point(|run| run.start <= index)].last()?;
        if index >= run.end {
            return None;
        }
        element(
            &module.elements[run.segment].items,
            (index - run.start) as usize,
        )?
    }

    /// The ranges of a lazy table outside of which all is null at first.
    pub fn ranges(
        &self,
        table: DefinedTableIndex,
    ) -> impl Iterator<Item = std::ops::Range<u64>> + '_ {
        let runs = self.tables.get(table).map_or(&[][..], Vec::as_slice);
        runs.iter().map(|run| run.start..run.end)
    }
}

/// An item of a segment: the function or null; `None` if that is not known before.
fn element(items: &ElementItems, index: usize) -> Option<Option<FuncIndex>> {
    match items {
        ElementItems::Functions(functions) => Some(Some(*functions.get(index)?)),
        ElementItems::Exprs(exprs) => match *exprs.get(index)?.ops {
            [ConstOp::RefFunc(func)] => Some(Some(func)),
            [ConstOp::RefNull(_)] => Some(None),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bimetal_wasm::Features;

    fn module(text: &str) -> Module {
        Module::new(text, &Features::default()).unwrap()
    }

    /// The elements of the first table, the functions by number; and how many segments are copied.
    fn tables(text: &str) -> (Vec<Option<u32>>, usize) {
        let module = module(text);
        let lazy = LazyTables::new(&module);
        let table = DefinedTableIndex::from_u32(0);
        let size = module.tables.values().last().map_or(0, |ty| ty.min);
        let elements = (0..size).map(|i| Some(lazy.element(&module, table, i)?.as_u32()));
        let copied = module.elements.keys().filter(|&i| lazy.is_copied(i));
        (elements.collect(), copied.count())
    }

    #[test]
    fn what_is_known_before() {
        let text = r#"(module (table 6 funcref) (func $f) (func $g)
            (elem (i32.const 4) $g)
            (elem $passive func $f)
            (elem (i32.const 0) funcref (ref.func $g) (ref.null func) (ref.func $f)))"#;
        let expected = vec![Some(1), None, Some(0), None, Some(1), None];
        assert_eq!(tables(text), (expected, 0));
        let module = module(text);
        let lazy = LazyTables::new(&module);
        let table = DefinedTableIndex::from_u32(0);
        assert!(lazy.is_lazy(table));
        assert_eq!(lazy.ranges(table).collect::<Vec<_>>(), [0..3, 4..5]);
        assert_eq!(lazy.element(&module, table, u64::MAX), None);
    }

    #[test]
    fn the_first_that_is_not_known_ends_it() {
        for segment in [
            // Outside; over an earlier one; of a global's value; at a global's value.
            "(elem (i32.const 2) $f $f)",
            "(elem (i32.const 0) $f)",
            "(elem (i32.const 2) funcref (global.get 0))",
            "(elem (offset (global.get 1)) $f)",
        ] {
            let text = format!(
                r#"(module (import "a" "r" (global funcref)) (import "a" "g" (global i32))
                    (table 3 funcref) (func $f) (elem (i32.const 0) $f) {segment}
                    (elem (i32.const 1) $f))"#
            );
            assert_eq!(tables(&text), (vec![Some(0), None, None], 2), "{segment}");
        }
        for text in [
            r#"(module (import "a" "t" (table 1 funcref)) (func $f) (elem (i32.const 0) $f))"#,
            r#"(module (table 1 externref) (elem (i32.const 0) externref (ref.null extern)))"#,
        ] {
            assert_eq!(tables(text).1, 1, "{text}");
            assert!(!LazyTables::new(&module(text)).is_lazy(DefinedTableIndex::from_u32(0)));
        }
    }
}
