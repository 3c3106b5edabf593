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

impl std::str::FromStr for Arch {
    type Err = String;

    /// The instruction set of a name or of a target triple (`aarch64-unknown-linux-gnu`).
    fn from_str(text: &str) -> Result<Arch, String> {
        let mut parts = text.split('-');
        let name = parts.next().unwrap_or_default();
        let arch = Arch::ALL.iter().find(|arch| match arch {
            Arch::Riscv64 => matches!(name, "riscv64" | "riscv64gc"),
            Arch::Aarch64 => matches!(name, "aarch64" | "arm64"),
            arch => arch.name() == name,
        });
        let elsewhere = parts.clone().count() > 0 && !parts.any(|part| part == "linux");
        match arch {
            Some(_) if elsewhere => Err(format!("`{text}`: code can only be made for Linux")),
            Some(&arch) => Ok(arch),
            None => Err(format!(
                "`{text}` is no target; there are {}",
                Arch::ALL
                    .iter()
                    .map(|arch| arch.name())
                    .collect::<Vec<_>>()
                    .join(", ")
            )),
        }
    }
}

/// Levels of x86-64, each with what it has over the one before.
const X86_64_LEVELS: [(&str, &[&str]); 3] = [
    (
        "x86-64-v2",
        &[
            "has_sse3",
            "has_ssse3",
            "has_cmpxchg16b",
            "has_sse41",
            "has_sse42",
            "has_popcnt",
        ],
    ),
    (
        "x86-64-v3",
        &[
            "has_avx",
            "has_avx2",
            "has_bmi1",
            "has_bmi2",
            "has_fma",
            "has_lzcnt",
        ],
    ),
    (
        "x86-64-v4",
        &["has_avx512dq", "has_avx512f", "has_avx512vl"],
    ),
];

impl CpuFeatures {
    /// What a name says of processors of an architecture: `baseline`, `native`, or one of the
    /// levels of x86-64, `x86-64-v2` to `x86-64-v4`.
    ///
    /// # Errors
    /// If there is no such name.
    pub fn named(arch: Arch, name: &str) -> Result<CpuFeatures, String> {
        match (arch, name) {
            (_, "baseline") | (Arch::X86_64, "x86-64") => return Ok(CpuFeatures::Baseline),
            (_, "native") => return Ok(CpuFeatures::Native),
            (Arch::X86_64, _) => {}
            _ => {
                return Err(format!(
                    "`{name}`: for {arch} there are baseline and native"
                ));
            }
        }
        let Some(level) = X86_64_LEVELS.iter().position(|(known, _)| *known == name) else {
            return Err(format!(
                "`{name}` is no processor; there are baseline, {} and native",
                X86_64_LEVELS.map(|(name, _)| name).join(", ")
            ));
        };
        let names = X86_64_LEVELS[..=level].iter().flat_map(|(_, names)| *names);
        Ok(CpuFeatures::Flags(
            names.map(|name| name.to_string()).collect(),
        ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triples_and_names_are_targets() {
        assert_eq!("x86_64".parse(), Ok(Arch::X86_64));
        assert_eq!("aarch64-unknown-linux-musl".parse(), Ok(Arch::Aarch64));
        assert_eq!("riscv64gc-unknown-linux-gnu".parse(), Ok(Arch::Riscv64));
        let error = |text: &str| text.parse::<Arch>().unwrap_err();
        assert!(error("aarch64-apple-darwin").contains("only be made for Linux"));
        assert!(error("").contains("x86_64, aarch64, riscv64, s390x"));
    }

    #[test]
    fn levels_contain_the_lower_ones() {
        let flags = |name| match CpuFeatures::named(Arch::X86_64, name) {
            Ok(CpuFeatures::Flags(flags)) => flags,
            other => panic!("{other:?}"),
        };
        let (v2, v3) = (flags("x86-64-v2"), flags("x86-64-v3"));
        assert!(v2.iter().all(|flag| v3.contains(flag)));
        assert!(v3.contains(&"has_avx2".to_string()) && !v2.contains(&"has_avx".to_string()));
        assert!(CpuFeatures::named(Arch::X86_64, "pentium").is_err());
        assert!(CpuFeatures::named(Arch::Aarch64, "x86-64-v2").is_err());
    }
}
