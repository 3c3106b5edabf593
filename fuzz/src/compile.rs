//! Compiling: every function of a valid module, for every target and setting, without a defect
//! that the compiler itself notices (its verifiers are on), and to the same bytes each time.
//!
//! A case is a module for one machine, with settings of its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::Unstructured;
use bimetal_abi::{CallMode, Tunables};
use bimetal_codegen::{
    Arch, CompileError, Compiler, CpuFeatures, ModuleEnv, OptLevel, Settings, Target as Machine,
    Trampoline, TrampolineKind,
};
use bimetal_optimizer::Optimizer;
use bimetal_wasm::{Features, Module, OperatorCost};

use crate::runner::thread_time;
use crate::{Notes, Target, collect, extreme, generate};

/// How code is made.
#[derive(Clone, Debug)]
struct Setup {
    settings: Settings,
    tunables: Tunables,
}

/// What is compiled of a module.
#[derive(Clone, Copy, Debug)]
struct How {
    /// All functions twice, to compare.
    twice: bool,
    /// Which kind of trampoline, or all.
    trampolines: Option<u8>,
}

/// No module of a hundred kilobytes may take longer, twice, in a build for tests.
const LIMIT: Duration = Duration::from_secs(20);

/// See the module.
#[derive(Debug)]
pub struct Compile {
    features: Features,
    machines: Vec<Machine>,
}

impl Compile {
    /// For all targets that there are.
    ///
    /// # Errors
    /// None so far.
    pub fn new() -> Result<Compile, String> {
        let baseline = Arch::ALL.iter().map(|&arch| Machine {
            arch,
            features: CpuFeatures::Baseline,
        });
        let flags = |arch, names: &[&str]| Machine {
            arch,
            features: CpuFeatures::Flags(names.iter().map(|name| (*name).into()).collect()),
        };
        const SSE: &[&str] = &[
            "has_sse3",
            "has_ssse3",
            "has_sse41",
            "has_sse42",
            "has_popcnt",
        ];
        const AVX: &[&str] = &[
            "has_sse3",
            "has_ssse3",
            "has_sse41",
            "has_sse42",
            "has_popcnt",
            "has_avx",
            "has_avx2",
            "has_bmi1",
            "has_bmi2",
            "has_lzcnt",
            "has_fma",
        ];
        let machines = baseline
            .chain([
                flags(Arch::X86_64, SSE),
                flags(Arch::X86_64, AVX),
                flags(Arch::Riscv64, &["has_v", "has_zba", "has_zbb"]),
            ])
            .chain(Machine::host())
            .collect();
        Ok(Compile {
            features: generate::features(),
            machines,
        })
    }
}

impl Target for Compile {
    fn run(&mut self, input: &[u8], notes: &mut Notes) -> Result<(), String> {
        let mut u = Unstructured::new(input);
        let (Ok(which), Ok(setup)) = (u.choose_index(self.machines.len()), setup(&mut u)) else {
            return Ok(());
        };
        if u.ratio(1, 500).unwrap_or(false) {
            return self.check_extreme(&mut u, which, setup, notes);
        }
        let how = How {
            twice: u.ratio(1, 3).unwrap_or(false),
            trampolines: Some(u.arbitrary().unwrap_or(0)),
        };
        // Those of the other grammar have more to do with references: stack maps, casts, handlers.
        let wasm = match u.ratio(1, 6).unwrap_or(false) {
            true => collect::program(&mut u).map(|program| program.wasm),
            false => generate::module(&mut u).ok(),
        };
        let Some(wasm) = wasm else {
            notes.count("no module");
            return Ok(());
        };
        self.check(&wasm, which, &setup, how, notes)
    }

    fn run_file(&mut self, file: &[u8], notes: &mut Notes) -> Result<(), String> {
        for nan_canonicalization in [false, true] {
            for opt_level in [OptLevel::None, OptLevel::Full] {
                let setup = Setup {
                    settings: Settings {
                        opt_level,
                        nan_canonicalization,
                        verify: true,
                        opt_fuel: None,
                    },
                    tunables: Tunables::default(),
                };
                let how = How {
                    twice: true,
                    trampolines: None,
                };
                for which in 0..self.machines.len() {
                    self.check(file, which, &setup, how, notes)?;
                }
            }
        }
        Ok(())
    }
}

fn setup(u: &mut Unstructured<'_>) -> arbitrary::Result<Setup> {
    let reservation = *u.choose(&[4 << 30, 4 << 30, 0, 1 << 20])?;
    Ok(Setup {
        settings: Settings {
            opt_level: *u.choose(&[OptLevel::Full, OptLevel::None, OptLevel::Fast])?,
            nan_canonicalization: u.arbitrary()?,
            verify: true,
            opt_fuel: match u.int_in_range(0..=3)? {
                0 => Some(0),
                1 => Some(u.int_in_range(0..=200)?),
                _ => None,
            },
        },
        tunables: Tunables {
            call_mode: *u.choose(&[CallMode::Direct, CallMode::Cell])?,
            memory_reservation: reservation,
            memory_guard: *u.choose(&[32 << 20, 0, 1 << 16])?,
            signals_based_traps: u.arbitrary()?,
            spectre_mitigation: u.arbitrary()?,
            relaxed_simd_deterministic: u.arbitrary()?,
            interrupts: u.ratio(1, 4)?,
            fuel: u.ratio(1, 4)?,
            operator_cost: match u.ratio(1, 8)? {
                true => Some(Arc::new(OperatorCost::uniform(u.arbitrary()?))),
                false => None,
            },
        },
    })
}

impl Compile {
    fn check_extreme(
        &self,
        u: &mut Unstructured<'_>,
        which: usize,
        mut setup: Setup,
        notes: &mut Notes,
    ) -> Result<(), String> {
        let Ok(text) = extreme::text(u) else {
            return Ok(());
        };
        notes.count("extreme shapes");
        notes.files.push(("wat", text.clone().into_bytes()));
        let module = Module::from_text(&text, &self.features)
            .map_err(|error| format!("a valid module is refused: {error}"))?;
        // The verifiers may take longer than the compiler.
        setup.settings.verify = false;
        let env = ModuleEnv::new(Arc::new(module), setup.tunables.clone())
            .map_err(|error| error.to_string())?;
        let machine = &self.machines[which];
        let start = thread_time();
        let how = How {
            twice: true,
            trampolines: None,
        };
        one(&env, machine, &setup, how, notes)
            .map_err(|error| format!("{error}\n{machine:?}\n{setup:?}"))?;
        match thread_time().saturating_sub(start) {
            time if time > LIMIT => Err(format!(
                "compiling {} bytes took {time:?}\n{machine:?}\n{setup:?}",
                env.module.bytes.len()
            )),
            _ => Ok(()),
        }
    }

    fn check(
        &self,
        wasm: &[u8],
        which: usize,
        setup: &Setup,
        how: How,
        notes: &mut Notes,
    ) -> Result<(), String> {
        notes.files.push(("wasm", wasm.to_vec()));
        let machine = &self.machines[which];
        let module = Module::new(wasm.to_vec(), &self.features)
            .map_err(|error| format!("a valid module is refused: {error}"))?;
        let env = match ModuleEnv::new(Arc::new(module), setup.tunables.clone()) {
            Ok(env) => env,
            Err(CompileError::Limit(_)) => {
                notes.count("modules past a limit");
                return Ok(());
            }
            Err(error) => return Err(error.to_string()),
        };
        notes.add("bytes of wasm", wasm.len() as u64);
        notes.count(machine.arch.name());
        one(&env, machine, setup, how, notes)
            .map_err(|error| format!("{error}\n{machine:?}\n{setup:?}"))
    }
}

/// Whether code may be refused for the lack of vector instructions.
fn lacks_vectors(machine: &Machine) -> bool {
    machine.arch == Arch::Riscv64 && machine.features == CpuFeatures::Baseline
}

fn one(
    env: &ModuleEnv,
    machine: &Machine,
    setup: &Setup,
    how: How,
    notes: &mut Notes,
) -> Result<(), String> {
    let optimizer =
        Optimizer::new(machine, setup.settings.clone()).map_err(|error| error.to_string())?;
    // The one has compiled everything before, the other nothing.
    let mut used = optimizer.scratch();
    for func in env.module.bodies.keys() {
        let code = optimizer.function(env, func, &mut used);
        let again = how
            .twice
            .then(|| optimizer.function(env, func, &mut optimizer.scratch()));
        let code = match code {
            Ok(code) => code,
            Err(CompileError::Unsupported(what)) if lacks_vectors(machine) => {
                notes.count(&format!("not supported: {what}"));
                continue;
            }
            Err(CompileError::Limit(what)) => {
                notes.count(&format!("limit: {what}"));
                continue;
            }
            Err(error) => return Err(format!("{error} in {func}")),
        };
        notes.count("functions");
        notes.add("bytes of code", code.bytes.len() as u64);
        if let Some(again) = again {
            let again = again.map_err(|error| format!("{error} in {func}, the second time"))?;
            let same = code.bytes == again.bytes
                && code.relocs == again.relocs
                && code.sites == again.sites
                && code.alignment == again.alignment;
            if !same {
                return Err(format!("compiled twice, {func} is not the same"));
            }
        }
        if !code.alignment.is_power_of_two() {
            return Err(format!("{func} is aligned to {}", code.alignment));
        }
        for reloc in &code.relocs {
            if reloc.offset as usize + 4 > code.bytes.len() {
                return Err(format!("a relocation outside of {func}"));
            }
        }
    }
    const KINDS: [TrampolineKind; 5] = TrampolineKind::ALL;
    let types: BTreeSet<_> = env.module.functions.values().collect();
    for (i, &ty) in types.into_iter().enumerate() {
        let ty = env.module.erased_func_type(ty);
        for (number, kind) in KINDS.into_iter().enumerate() {
            if how
                .trampolines
                .is_some_and(|n| (usize::from(n) + i) % KINDS.len() != number)
            {
                continue;
            }
            let ty = ty.clone();
            let trampoline = Trampoline { kind, ty };
            match optimizer.trampoline(&trampoline, &mut used) {
                Ok(_) => notes.count("trampolines"),
                Err(CompileError::Unsupported(_)) if lacks_vectors(machine) => {}
                Err(error) => return Err(format!("{error} in {trampoline:?}")),
            }
        }
    }
    Ok(())
}
