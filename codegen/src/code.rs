//! Compiled code as data.

use bimetal_wasm::FuncIndex;

use crate::sites::SiteTable;

/// A compiled function.
#[derive(Clone, Debug, Default)]
pub struct FunctionCode {
    /// Machine code with its constants; position-independent.
    pub bytes: Vec<u8>,
    /// Required alignment in bytes, a power of two.
    pub alignment: u32,
    /// Places in `bytes` to fill in; empty under `CallMode::Cell`.
    pub relocs: Vec<Reloc>,
    /// What can trap or call, where in the wasm that is, and where references are meanwhile.
    pub sites: SiteTable,
}

/// A compiled trampoline: no relocations, no sites but what its kind implies.
#[derive(Clone, Debug, Default)]
pub struct TrampolineCode {
    /// Machine code; position-independent.
    pub bytes: Vec<u8>,
    /// Required alignment in bytes, a power of two.
    pub alignment: u32,
}

/// A place to fill in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reloc {
    /// Where, in bytes from the start of the function.
    pub offset: u32,
    /// How.
    pub kind: RelocKind,
    /// With what.
    pub target: RelocTarget,
    /// Added to the target's address.
    pub addend: i64,
}

/// How a relocation is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelocKind {
    /// 32 bits, relative to the place (the addend has the -4).
    X86CallPcRel4,
    /// The 26-bit immediate of `bl`/`b`.
    Arm64Call,
    /// An `auipc`/`jalr` pair.
    RiscvCallPlt,
    /// 32 bits, in halfwords relative to the place.
    S390xPcRel32Dbl,
}

/// What a relocation refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelocTarget {
    /// The code of a defined function of the same module.
    Func(FuncIndex),
}
