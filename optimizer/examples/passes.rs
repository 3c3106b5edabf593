//! What the passes cost and do: `cargo run --release --example passes -- FILE.wasm… [FLAG…]`.
//!
//! Builds and optimises every function of a module on one thread, and prints the time of both and
//! what the graphs are made of before and after. With `--verify`, checks each graph after each
//! pass (and measures nothing). With `--compile`, compiles every eighth function with and without
//! the passes in turn, and prints the time and the size of both.

use std::ops::AddAssign;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bimetal_abi::Tunables;
use bimetal_codegen::{Compiler, ModuleEnv, Settings, Target};
use bimetal_optimizer::Optimizer;
use bimetal_optimizer::build::{BuildScratch, build};
use bimetal_optimizer::graph::Graph;
use bimetal_optimizer::passes;
use bimetal_wasm::{Features, Module};

#[derive(Clone, Copy, Debug, Default)]
struct Sizes {
    blocks: usize,
    params: usize,
    insts: usize,
    edge_args: usize,
}

impl AddAssign for Sizes {
    fn add_assign(&mut self, other: Sizes) {
        self.blocks += other.blocks;
        self.params += other.params;
        self.insts += other.insts;
        self.edge_args += other.edge_args;
    }
}

fn sizes(graph: &Graph) -> Sizes {
    let mut sizes = Sizes::default();
    for block in graph.blocks() {
        sizes.blocks += 1;
        sizes.params += graph.params(block).len();
        sizes.insts += graph.insts(block).count();
        for edge in graph
            .terminator(block)
            .into_iter()
            .flat_map(|inst| graph.edges(inst))
        {
            sizes.edge_args += graph.edge_args(edge).len();
        }
    }
    sizes
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (flags, files): (Vec<String>, Vec<String>) = std::env::args()
        .skip(1)
        .partition(|arg| arg.starts_with("--"));
    let settings = Settings {
        verify: flags.iter().any(|flag| flag == "--verify"),
        ..Settings::default()
    };
    let compile = flags.iter().any(|flag| flag == "--compile");
    for file in files {
        let module = Module::new(std::fs::read(&file)?, &Features::default())?;
        let env = ModuleEnv::new(Arc::new(module), Tunables::default())?;
        let (mut graph, mut scratch) = (Graph::new(), BuildScratch::default());
        let mut memory = passes::Scratch::default();
        let (mut building, mut optimising) = (Duration::ZERO, Duration::ZERO);
        let (mut before, mut after) = (Sizes::default(), Sizes::default());
        for func in env.module.bodies.keys() {
            let start = Instant::now();
            build(&env, func, &mut graph, &mut scratch)?;
            building += start.elapsed();
            before += sizes(&graph);
            let ty = env.module.func_type(env.module.func_index(func));
            let start = Instant::now();
            passes::run(
                &mut graph,
                &env,
                Some(ty),
                &settings,
                &mut memory,
                &mut |_, _| (),
            )
            .map_err(|error| format!("{func}: {error}"))?;
            optimising += start.elapsed();
            after += sizes(&graph);
        }
        println!("{file}: build {building:.2?}, passes {optimising:.2?}");
        println!("  before {before:?}\n  after  {after:?}");
        if compile {
            compare(&env)?;
        }
    }
    Ok(())
}

/// Compiles with and without the passes; all else is the same.
fn compare(env: &ModuleEnv) -> Result<(), Box<dyn std::error::Error>> {
    let target = Target::host().ok_or("no compiler for this machine")?;
    let mut contenders = Vec::new();
    for (name, opt_fuel) in [("with passes", None), ("without", Some(0))] {
        let settings = Settings {
            opt_fuel,
            ..Settings::default()
        };
        let optimizer = Optimizer::new(&target, settings)?;
        let scratch = optimizer.scratch();
        contenders.push((name, optimizer, scratch, Duration::ZERO, 0));
    }
    for func in env.module.bodies.keys().step_by(8) {
        // The first finds the body in no cache.
        contenders.reverse();
        for (_, optimizer, scratch, time, size) in &mut contenders {
            let start = Instant::now();
            let code = optimizer.function(env, func, scratch)?;
            *time += start.elapsed();
            *size += code.bytes.len();
        }
    }
    for (name, _, _, time, size) in contenders {
        println!("  {name}: compiled in {time:.2?} to {size} bytes");
    }
    Ok(())
}
