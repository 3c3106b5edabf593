//! What code is compiled for.

use std::fmt;

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Arch {
    X86_64,
    Aarch64,
    Riscv64,
    S390x,
}

/// Which optional instructions may be used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CpuFeatures {
    /// Those of the machine that runs the compiler; only for code that runs here and now.
    Native,
    /// Those that every machine of the architecture has (x86-64: SSE2).
    Baseline,
    /// Exactly these Cranelift flags over the baseline (`has_avx2`, …).
    Flags(Vec<String>),
}

/// An instruction set with its optional parts. The system convention is that of System V; others
/// come with their ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The instruction set.
    pub arch: Arch,
    /// Its optional parts.
    pub features: CpuFeatures,
}

impl Arch {
    /// All of them.
    pub const ALL: &[Arch] = &[Arch::X86_64, Arch::Aarch64, Arch::Riscv64, Arch::S390x];

    /// The name, as in a target triple.
    pub const fn name(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Aarch64 => "aarch64",
            Arch::Riscv64 => "riscv64",
            Arch::S390x => "s390x",
        }
    }

    /// The architecture of this machine, if code can be made for it.
    pub fn host() -> Option<Arch> {
        Arch::ALL
            .iter()
            .copied()
            .find(|arch| arch.name() == std::env::consts::ARCH)
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Target {
    /// This machine, with all that it has. `None` on an architecture without a compiler.
    pub fn host() -> Option<Target> {
        Some(Target {
            arch: Arch::host()?,
            features: CpuFeatures::Native,
        })
    }
}
