//! Compiles a module on one thread: how long it takes and how much code it gives.
//!
//! `cargo run -p bimetal-optimizer --example compile -- FILE [EVERY-NTH-FUNCTION]`

use std::sync::Arc;
use std::time::Instant;

use bimetal_abi::Tunables;
use bimetal_codegen::{Compiler, ModuleEnv, Settings, Target};
use bimetal_optimizer::Optimizer;
use bimetal_wasm::{Features, Module};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let file = args.next().ok_or("which file?")?;
    let step: usize = args.next().map_or(Ok(1), |step| step.parse())?;
    let start = Instant::now();
    let module = Module::new(std::fs::read(file)?, &Features::default())?;
    let env = ModuleEnv::new(Arc::new(module), Tunables::default())?;
    println!("decoded in {:.2?}", start.elapsed());

    let target = Target::host().ok_or("no compiler for this machine")?;
    let optimizer = Optimizer::new(&target, Settings::default())?;
    let mut scratch = optimizer.scratch();
    let (mut bytes, mut sites, mut functions, mut failures) = (0, 0, 0, 0);
    let start = Instant::now();
    for func in env.module.bodies.keys().step_by(step) {
        match optimizer.function(&env, func, &mut scratch) {
            Ok(code) => {
                bytes += code.bytes.len();
                sites += code.sites.size();
                functions += 1;
            }
            Err(error) => {
                failures += 1;
                println!("{func}: {error}");
            }
        }
    }
    println!(
        "{functions} functions, {failures} failures, {bytes} bytes of code, {sites} of sites \
         in {:.2?}",
        start.elapsed()
    );
    Ok(())
}
