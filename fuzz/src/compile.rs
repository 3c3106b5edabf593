//! Compiling: every function of a valid module, for every target and setting, without a defect
//! that the compiler itself notices (its verifiers are on), and to the same bytes each time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arbitrary::Unstructured;
use bimetal_abi::{CallMode, Tunables};
use bimetal_codegen::{
    Arch, CompileError, Compiler, CpuFeatures, FunctionCode, ModuleEnv, OptLevel, Scratch,
    Settings, Target as Machine, Trampoline,
};
use bimetal_optimizer::Optimizer;
use bimetal_wasm::{Features, Module};

use crate::{Notes, Target, extreme, generate};

/// How code is made.
#[derive(Clone, Debug)]
struct Setup {
    settings: Settings,
    tunables: Tunables,
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
            features: Features::default(),
            machines,
        })
    }
}

impl Target for Compile {
    fn run(&mut self, input: &[u8], notes: &mut Notes) -> Result<(), String> {
        let mut u = Unstructured::new(input);
        let setups = self.machines.iter().map(|_| setup(&mut u));
        let Ok(setups) = setups.collect::<arbitrary::Result<Vec<_>>>() else {
            return Ok(());
        };
        if u.ratio(1, 50).unwrap_or(false) {
            return self.check_extreme(&mut u, &setups, notes);
        }
        let Ok(wasm) = generate::module(&mut u) else {
            return Ok(());
        };
        self.check(&wasm, &setups, notes)
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
                self.check(file, &vec![setup; self.machines.len()], notes)?;
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
            interrupts: u.ratio(1, 4)?,
            fuel: u.ratio(1, 4)?,
            operator_cost: None,
        },
    })
}

impl Compile {
    /// One machine at a time: these are large.
    fn check_extreme(
        &self,
        u: &mut Unstructured<'_>,
        setups: &[Setup],
        notes: &mut Notes,
    ) -> Result<(), String> {
        let which = u.choose_index(self.machines.len()).unwrap_or(0);
        let Ok(text) = extreme::text(u) else {
            return Ok(());
        };
        notes.count("extreme shapes");
        notes.files.push(("wat", text.clone().into_bytes()));
        let module = Module::from_text(&text, &self.features)
            .map_err(|error| format!("a valid module is refused: {error}"))?;
        let mut setup = setups[which].clone();
        // The verifiers may take longer than the compiler.
        setup.settings.verify = false;
        let env = ModuleEnv::new(Arc::new(module), setup.tunables.clone())
            .map_err(|error| error.to_string())?;
        let machine = &self.machines[which];
        let start = Instant::now();
        one(&env, machine, &setup, notes)
            .map_err(|error| format!("{error}\n{machine:?}\n{setup:?}"))?;
        match start.elapsed() {
            time if time > LIMIT => Err(format!(
                "compiling {} bytes took {time:?}\n{machine:?}\n{setup:?}",
                env.module.bytes.len()
            )),
            _ => Ok(()),
        }
    }

    fn check(&self, wasm: &[u8], setups: &[Setup], notes: &mut Notes) -> Result<(), String> {
        notes.files.push(("wasm", wasm.to_vec()));
        let module = Module::new(wasm.to_vec(), &self.features)
            .map_err(|error| format!("a valid module is refused: {error}"))?;
        let module = Arc::new(module);
        for (machine, setup) in self.machines.iter().zip(setups) {
            let env = match ModuleEnv::new(module.clone(), setup.tunables.clone()) {
                Ok(env) => env,
                Err(CompileError::Limit(_)) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            };
            one(&env, machine, setup, notes)
                .map_err(|error| format!("{error}\n{machine:?}\n{setup:?}"))?;
        }
        Ok(())
    }
}

/// Whether code may be refused for the lack of vector instructions.
fn lacks_vectors(machine: &Machine) -> bool {
    machine.arch == Arch::Riscv64 && machine.features == CpuFeatures::Baseline
}

fn one(env: &ModuleEnv, machine: &Machine, setup: &Setup, notes: &mut Notes) -> Result<(), String> {
    let optimizer =
        Optimizer::new(machine, setup.settings.clone()).map_err(|error| error.to_string())?;
    // The one has compiled everything before, the other nothing.
    let mut used = optimizer.scratch();
    for func in env.module.bodies.keys() {
        let code = function(&optimizer, env, func, &mut used);
        let again = function(&optimizer, env, func, &mut optimizer.scratch());
        let (code, again) = match (code, again) {
            (Ok(code), Ok(again)) => (code, again),
            (Err(CompileError::Unsupported(what)), Err(_)) if lacks_vectors(machine) => {
                notes.count(format!("not supported: {what}"));
                continue;
            }
            (Err(CompileError::Limit(what)), Err(_)) => {
                notes.count(format!("limit: {what}"));
                continue;
            }
            (Err(error), _) | (_, Err(error)) => return Err(format!("{error} in {func}")),
        };
        notes.count("functions");
        let same = code.bytes == again.bytes
            && code.relocs == again.relocs
            && code.sites == again.sites
            && code.alignment == again.alignment;
        if !same {
            return Err(format!("compiled twice, {func} is not the same"));
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
    let types: BTreeSet<_> = env.module.functions.values().collect();
    for &ty in types {
        let ty = env.module.func_type_at(ty);
        for trampoline in [
            Trampoline::HostToWasm(ty.clone()),
            Trampoline::WasmToNative(ty.clone()),
            Trampoline::WasmToArray(ty.clone()),
        ] {
            match optimizer.trampoline(&trampoline, &mut used) {
                Ok(_) => notes.count("trampolines"),
                Err(CompileError::Unsupported(_)) if lacks_vectors(machine) => {}
                Err(error) => return Err(format!("{error} in {trampoline:?}")),
            }
        }
    }
    Ok(())
}

fn function(
    optimizer: &Optimizer,
    env: &ModuleEnv,
    func: bimetal_wasm::DefinedFuncIndex,
    scratch: &mut Scratch,
) -> Result<FunctionCode, CompileError> {
    optimizer.function(env, func, scratch)
}
