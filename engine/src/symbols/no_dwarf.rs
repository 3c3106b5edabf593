//! No source lines: this build does not read debug information.

use super::FrameSymbol;

/// Nothing.
#[derive(Debug, Default)]
pub(crate) struct SymbolCache(());

impl SymbolCache {
    /// No source positions.
    pub(crate) fn lookup(&self, _: &bimetal_wasm::Module, _: usize) -> Vec<FrameSymbol> {
        Vec::new()
    }
}
