//! How fast graphs are built: `cargo run --release --example build_speed -- FILE.wasm [ROUNDS] [--verify]`.
//!
//! Builds every function of a module on one thread, several times, and prints the best rate in
//! megabytes of code section per second of processor time, and what the graphs are made of. With
//! `--verify`, checks each graph once before.

use std::time::Instant;

use bimetal_codegen::ModuleEnv;
use bimetal_optimizer::build::{BuildScratch, build};
use bimetal_optimizer::graph::Graph;
use bimetal_optimizer::verify;
use bimetal_wasm::{Features, Module};

/// Processor time of this thread where the system tells it, else the time of day, in seconds.
fn now(start: Instant) -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = stat.and_then(|s| s.split(' ').next()?.parse::<f64>().ok());
    nanos.map_or_else(|| start.elapsed().as_secs_f64(), |n| n / 1e9)
}

#[derive(Default)]
struct Sums {
    blocks: usize,
    insts: usize,
    edges: usize,
    args: usize,
    values: usize,
    largest: usize,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (flags, args): (Vec<_>, Vec<_>) = args.iter().partition(|arg| arg.starts_with("--"));
    let path = args.first().ok_or("a .wasm file is needed")?;
    let rounds: u32 = args.get(1).map_or(Ok(3), |n| n.parse())?;
    let start = Instant::now();
    let module = Module::new(std::fs::read(path)?, &Features::default())?;
    println!("{path}: decoded and validated in {:?}", start.elapsed());
    let bytes: usize = module.bodies.values().map(|body| body.range.len()).sum();
    let env = ModuleEnv::new(module.into(), Default::default())?;

    let mut graph = Graph::new();
    let mut scratch = BuildScratch::default();
    if flags.iter().any(|flag| *flag == "--verify") {
        for func in env.module.bodies.keys() {
            build(&env, func, &mut graph, &mut scratch)?;
            verify::verify(
                &graph,
                Some(&env),
                Some(env.module.func_type(env.module.func_index(func))),
            )
            .map_err(|error| format!("{func:?}: {error}"))?;
        }
        println!("all graphs verify");
    }

    let mut best = f64::INFINITY;
    let mut slowest = (0.0, 0, 0);
    let mut sums = Sums::default();
    for round in 0..rounds {
        let begin = now(start);
        for (func, body) in &env.module.bodies {
            let one = (round == 0).then(Instant::now);
            build(&env, func, &mut graph, &mut scratch)?;
            if let Some(one) = one {
                let time = one.elapsed().as_secs_f64();
                if time > slowest.0 {
                    slowest = (time, func.as_u32(), body.range.len());
                }
                sums.blocks += graph.num_blocks();
                sums.insts += graph.num_insts();
                sums.edges += graph.num_edges();
                sums.values += graph.num_values();
                sums.largest = sums.largest.max(graph.num_insts());
                let edges = graph.blocks().filter_map(|block| graph.terminator(block));
                let edges = edges.flat_map(|inst| graph.edges(inst));
                sums.args += edges.map(|edge| graph.edge_args(edge).len()).sum::<usize>();
            }
        }
        if round > 0 || rounds == 1 {
            best = best.min(now(start) - begin);
        }
    }
    println!(
        "{} functions, {:.1} MB of code: {:.3} s, {:.1} MB/s",
        env.module.bodies.len(),
        bytes as f64 / 1e6,
        best,
        bytes as f64 / 1e6 / best,
    );
    println!(
        "{} blocks, {} instructions (at most {} in one graph), {} edges with {} arguments, {} values",
        sums.blocks, sums.insts, sums.largest, sums.edges, sums.args, sums.values
    );
    println!(
        "slowest: body {} of {} bytes, {:.1} ms",
        slowest.1,
        slowest.2,
        slowest.0 * 1e3
    );
    Ok(())
}
