//! Prints how fast modules decode and validate: `throughput FILE...`.

use std::time::Instant;

use bimetal_wasm::{Features, Module};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args().skip(1) {
        let bytes = bimetal_wasm::Bytes::from(std::fs::read(&path)?);
        let megabytes = bytes.len() as f64 / 1e6;
        let mut best = f64::INFINITY;
        let mut bodies = 0;
        for _ in 0..5 {
            let start = Instant::now();
            let module = Module::new(&bytes, &Features::default())?;
            best = best.min(start.elapsed().as_secs_f64());
            bodies = module.bodies.len();
        }
        println!(
            "{path}: {megabytes:.1} MB, {bodies} bodies, {:.0} ms, {:.0} MB/s",
            best * 1e3,
            megabytes / best
        );
    }
    Ok(())
}
