//! Cranelift's target: made once per compiler, shared by all threads.
//!
//! What the ISA cannot do in instructions (rounding before SSE4.1, byte shuffles before SSSE3,
//! vectors without the V extension) is a question to [`Isa`], so that lowering never produces what
//! Cranelift would turn into a library call.

use std::fmt;

use bimetal_codegen::{Arch, CompileError, CpuFeatures, OptLevel, Settings, Target};
use cranelift_codegen::ir::types;
use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};

/// A target with its code generation flags.
pub(crate) struct Isa {
    /// Cranelift's half.
    pub target: OwnedTargetIsa,
    /// The architecture.
    pub arch: Arch,
    /// Whether `ceil`, `floor`, `trunc` and `nearest` are instructions.
    pub has_round: bool,
    /// Whether floats are multiplied and added with one rounding by an instruction.
    pub has_fma: bool,
    /// Whether lanes can be selected by their signs.
    pub has_blend: bool,
    /// Whether bytes can be permuted by an instruction.
    pub has_byte_shuffle: bool,
    /// Whether there are 128-bit vectors.
    pub has_simd: bool,
    /// Whether 32-bit integers are extended to 64 bits by the caller in the system convention.
    pub extends_arguments: bool,
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Isa")
            .field("arch", &self.arch)
            .finish_non_exhaustive()
    }
}

impl Isa {
    /// Code generation for `target` as `settings` say.
    ///
    /// # Errors
    /// [`CompileError::Unsupported`] for an architecture that Cranelift was built without, for
    /// native features of another machine, and for unknown or missing features.
    pub fn new(target: &Target, settings: &Settings) -> Result<Isa, CompileError> {
        let flags = shared_flags(settings)?;
        let triple = match target.arch {
            Arch::X86_64 => "x86_64-unknown-linux-gnu",
            Arch::Aarch64 => "aarch64-unknown-linux-gnu",
            Arch::Riscv64 => "riscv64gc-unknown-linux-gnu",
            Arch::S390x => "s390x-unknown-linux-gnu",
        };
        let unsupported = |what: &dyn fmt::Display| {
            CompileError::Unsupported(format!("target {}: {what}", target.arch))
        };
        let mut builder = isa::lookup_by_name(triple).map_err(|error| unsupported(&error))?;
        match &target.features {
            CpuFeatures::Native => {
                if Arch::host() != Some(target.arch) {
                    return Err(unsupported(
                        &"native features are those of this machine only",
                    ));
                }
                cranelift_native::infer_native_flags(&mut builder)
                    .map_err(|error| unsupported(&error))?;
            }
            CpuFeatures::Baseline => {}
            CpuFeatures::Flags(names) => {
                for name in names {
                    builder
                        .enable(name)
                        .map_err(|error| unsupported(&format!("feature {name}: {error}")))?;
                }
            }
        }
        let isa = builder
            .finish(flags)
            .map_err(|error| unsupported(&format!("{error}")))?;
        let has = |name: &str| {
            isa.isa_flags()
                .iter()
                .any(|flag| flag.name == name && flag.as_bool() == Some(true))
        };
        Ok(Isa {
            arch: target.arch,
            has_round: isa.has_round(),
            has_byte_shuffle: target.arch != Arch::X86_64 || isa.has_x86_pshufb_lowering(),
            has_fma: target.arch != Arch::X86_64 || has("has_fma"),
            has_blend: isa.has_blendv_lowering(types::I8X16),
            has_simd: target.arch != Arch::Riscv64 || has("has_v"),
            extends_arguments: matches!(target.arch, Arch::Riscv64 | Arch::S390x),
            target: isa,
        })
    }
}

impl Isa {
    /// The optional parts of the architecture that code uses, by Cranelift's names.
    pub fn cpu_features(&self) -> Vec<String> {
        let flags = self.target.isa_flags();
        flags
            .iter()
            .filter(|flag| flag.name.starts_with("has_") && flag.as_bool() == Some(true))
            .map(|flag| flag.name.to_string())
            .collect()
    }
}

/// The flags that are the same on all architectures.
fn shared_flags(settings: &Settings) -> Result<settings::Flags, CompileError> {
    let on_off = |on: bool| if on { "true" } else { "false" };
    let opt_level = match settings.opt_level {
        OptLevel::None => "none",
        OptLevel::Fast | OptLevel::Full => "speed",
    };
    let mut builder = settings::builder();
    for (name, value) in [
        ("opt_level", opt_level),
        ("enable_verifier", on_off(settings.verify)),
        (
            "enable_nan_canonicalization",
            on_off(settings.nan_canonicalization),
        ),
        // Frames are walked by frame pointer; nobody reads unwind tables.
        ("preserve_frame_pointers", "true"),
        ("unwind_info", "false"),
        // Stack overflow is found by comparison with the limit. A frame larger than the guard
        // pages behind it still has to touch its pages in order.
        ("enable_probestack", "true"),
        ("probestack_strategy", "inline"),
        // Results that do not fit the registers go through an area of the caller.
        ("enable_multi_ret_implicit_sret", "true"),
        // Calls are resolved by the engine in one region; nothing is preemptible.
        ("is_pic", "false"),
    ] {
        builder
            .set(name, value)
            .map_err(|error| CompileError::Bug(format!("flag {name}: {error}")))?;
    }
    Ok(settings::Flags::new(builder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn isa(arch: Arch, features: CpuFeatures) -> Result<Isa, CompileError> {
        Isa::new(&Target { arch, features }, &Settings::default())
    }

    #[test]
    fn every_architecture_has_a_baseline() {
        for &arch in Arch::ALL {
            let isa = isa(arch, CpuFeatures::Baseline).unwrap();
            assert_eq!(isa.has_simd, arch != Arch::Riscv64);
            assert_eq!(isa.has_round, arch != Arch::X86_64);
        }
    }

    #[test]
    fn features_are_checked() {
        let flags = |name: &str| CpuFeatures::Flags(vec![name.into()]);
        assert!(isa(Arch::X86_64, flags("has_sse41")).unwrap().has_round);
        assert!(isa(Arch::Riscv64, flags("has_v")).unwrap().has_simd);
        assert!(matches!(
            isa(Arch::X86_64, flags("has_warp_drive")),
            Err(CompileError::Unsupported(_))
        ));
        let foreign = Arch::ALL
            .iter()
            .find(|&&arch| Arch::host() != Some(arch))
            .unwrap();
        assert!(isa(*foreign, CpuFeatures::Native).is_err());
    }
}
