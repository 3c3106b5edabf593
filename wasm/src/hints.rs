//! Branch hints: which way a branch usually goes, as the module's producer knows it.
//!
//! They are in a custom section, `metadata.code.branch_hint`: nothing is refused because of it, and
//! what comes before the first malformed entry is kept. A hint changes where code is put, never what
//! it does.

use cranelift_entity::{EntityRef, SecondaryMap};
use wasmparser::{BinaryReader, BranchHintSectionReader};

use crate::module::Module;
use crate::types::{DefinedFuncIndex, FuncIndex};

/// A hint about an `if` or `br_if`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BranchHint {
    /// Where the instruction is, in bytes from the start of the function's body.
    pub offset: u32,
    /// Whether its condition is usually not zero.
    pub taken: bool,
}

/// The hints by function, each with its own in ascending order.
pub(crate) type BranchHints = SecondaryMap<DefinedFuncIndex, Box<[BranchHint]>>;

impl Module {
    /// The hints about a function's branches, in ascending order.
    ///
    /// ```
    /// use bimetal_wasm::{DefinedFuncIndex, Features, Module};
    ///
    /// let text = r#"(module (func (param i32)
    ///     (@metadata.code.branch_hint "\00") (if (local.get 0) (then unreachable))))"#;
    /// let module = Module::new(text, &Features::default())?;
    /// let hints = module.branch_hints(DefinedFuncIndex::from_u32(0));
    /// assert_eq!((hints.len(), hints[0].taken), (1, false));
    /// # Ok::<(), bimetal_wasm::Error>(())
    /// ```
    pub fn branch_hints(&self, func: DefinedFuncIndex) -> &[BranchHint] {
        &self.branch_hints.get_or_init(|| self.decode_branch_hints())[func]
    }

    fn decode_branch_hints(&self) -> BranchHints {
        let mut all = BranchHints::new();
        let Some(section) = self.custom_section("metadata.code.branch_hint") else {
            return all;
        };
        let Ok(functions) = BranchHintSectionReader::new(BinaryReader::new(section, 0)) else {
            return all;
        };
        for function in functions.into_iter().map_while(Result::ok) {
            let func = FuncIndex::new(function.func.min(u32::MAX - 1) as usize);
            let body = self.defined_func(func);
            let Some(body) = body.filter(|&body| self.bodies.is_valid(body)) else {
                continue;
            };
            let hints = function.hints.into_iter().map_while(Result::ok);
            let mut hints: Vec<BranchHint> = hints
                .map(|hint| BranchHint {
                    offset: hint.func_offset,
                    taken: hint.taken,
                })
                .collect();
            hints.sort_by_key(|hint| hint.offset);
            hints.dedup_by_key(|hint| hint.offset);
            all[body] = hints.into();
        }
        all
    }
}
