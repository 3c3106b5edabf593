//! What memories contain when an instance begins, where that is known before there is one.
//!
//! Copying data segments one by one costs time and pages at each instantiation; a picture of the
//! result can be mapped instead. It is known if every active segment goes to a memory of the module
//! itself that is not shared, at a constant place inside of its initial size: then nothing can fail, and nobody can see
//! one segment without the next.

use cranelift_entity::EntityRef;

use crate::module::{ConstOp, Module, SegmentMode};
use crate::types::MemoryIndex;

/// A part of a memory that begins with other bytes than zero, in whole pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialRun {
    /// The memory.
    pub memory: MemoryIndex,
    /// Where in the memory, in bytes; a multiple of the page size.
    pub at: u64,
    /// Its bytes; a multiple of the page size.
    pub bytes: Vec<u8>,
}

/// Pages of zeros between two runs that are not worth a run of their own.
const GAP: u64 = 16;

/// How many bytes more than the segments have are too many.
const SLACK: u64 = 16 << 20;

impl Module {
    /// The initial contents of the module's memories in pages of so many bytes (a power of two),
    /// in ascending order; `None` if they are not known before there is an instance, or too much
    /// of them is zeros.
    ///
    /// ```
    /// use bimetal_wasm::{Features, Module};
    ///
    /// let module = Module::new(r#"(module (memory 1) (data (i32.const 5000) "hi"))"#, &Features::default())?;
    /// let runs = module.initial_memory(4096).unwrap();
    /// assert_eq!((runs.len(), runs[0].at, runs[0].bytes.len()), (1, 4096, 4096));
    /// assert_eq!(runs[0].bytes[904..906], *b"hi");
    /// # Ok::<(), bimetal_wasm::Error>(())
    /// ```
    pub fn initial_memory(&self, page: u64) -> Option<Vec<InitialRun>> {
        let mut active = Vec::new();
        let mut total = 0;
        for segment in self.data.values() {
            let SegmentMode::Active { target, offset } = &segment.mode else {
                continue;
            };
            let ty = self.memories[*target];
            let at = match *offset.ops {
                [ConstOp::I32Const(at)] => u64::from(at as u32),
                [ConstOp::I64Const(at)] => at as u64,
                _ => return None,
            };
            let end = at.checked_add(segment.range.len() as u64)?;
            let minimum = ty.minimum_byte_size();
            // The pages around it must be the memory's own, and nobody else's.
            if target.index() < self.num_imported_memories
                || ty.shared
                || end > minimum
                || !minimum.is_multiple_of(page)
            {
                return None;
            }
            if end > at {
                total += end - at;
                active.push((*target, at, end, segment.range.clone()));
            }
        }
        let mut spans: Vec<(MemoryIndex, u64, u64)> = active
            .iter()
            .map(|(memory, at, end, _)| (*memory, at / page * page, end.next_multiple_of(page)))
            .collect();
        spans.sort_unstable();
        spans.dedup_by(|next, last| {
            let joins = next.0 == last.0 && next.1 <= last.2 + GAP * page;
            if joins {
                last.2 = last.2.max(next.2);
            }
            joins
        });
        let size: u64 = spans.iter().map(|(_, start, end)| end - start).sum();
        if size > total + SLACK {
            return None;
        }
        let mut runs: Vec<InitialRun> = spans
            .into_iter()
            .map(|(memory, start, end)| InitialRun {
                memory,
                at: start,
                bytes: vec![0; (end - start) as usize],
            })
            .collect();
        // In their order, for they may overlap.
        for (memory, at, _, range) in active {
            let i = runs.partition_point(|run| (run.memory, run.at) <= (memory, at));
            let run = runs.get_mut(i.checked_sub(1)?)?;
            let start = (at - run.at) as usize;
            let bytes = &self.bytes[range];
            run.bytes
                .get_mut(start..start + bytes.len())?
                .copy_from_slice(bytes);
        }
        Some(runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Features;

    fn runs(text: &str) -> Option<Vec<(u32, u64, usize)>> {
        let module = Module::new(text, &Features::default()).unwrap();
        let runs = module.initial_memory(4096)?;
        let shown = runs
            .iter()
            .map(|run| (run.memory.as_u32(), run.at, run.bytes.len()));
        Some(shown.collect())
    }

    #[test]
    fn segments_become_runs_of_pages() {
        assert_eq!(runs("(module (memory 1))"), Some(vec![]));
        assert_eq!(
            runs(
                r#"(module (memory 9) (memory 9)
                (data (memory 1) (i32.const 4095) "ab") (data (i32.const 0) "")
                (data (i32.const 400000) "x") (data (i32.const 60000) "x") (data "passive"))"#
            ),
            Some(vec![(0, 57344, 4096), (0, 397312, 4096), (1, 0, 8192)])
        );
        // Near ones are joined.
        assert_eq!(
            runs(r#"(module (memory 2) (data (i32.const 0) "x") (data (i32.const 60000) "x"))"#),
            Some(vec![(0, 0, 61440)])
        );
    }

    #[test]
    fn later_segments_win() {
        let text = r#"(module (memory 1)
            (data (i32.const 1) "aaaa") (data (i32.const 3) "bb") (data (i32.const 0) "c"))"#;
        let module = Module::new(text, &Features::default()).unwrap();
        let runs = module.initial_memory(4096).unwrap();
        assert_eq!(runs[0].bytes[..6], *b"caabb\0");
    }

    #[test]
    fn what_is_not_known_before_is_none() {
        for text in [
            r#"(module (import "a" "m" (memory 1)) (data (i32.const 0) "x"))"#,
            r#"(module (import "a" "g" (global i32)) (memory 1) (data (global.get 0) "x"))"#,
            r#"(module (memory 1) (data (i32.const 65536) "x"))"#,
            r#"(module (memory 1 1 shared) (data (i32.const 0) "x"))"#,
            r#"(module (memory 1) (data (i32.const -1) "x"))"#,
            r#"(module (memory 1000) (data (i32.const 0) "x") (data (i32.const 65000000) "x")
                (data (i32.const 999) "y") (data (i32.add (i32.const 1) (i32.const 1)) "z"))"#,
        ] {
            assert_eq!(runs(text), None, "{text}");
        }
    }
}
