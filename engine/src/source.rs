//! The bytes that functions are compiled from, where a module came from an image.
//!
//! An image's copy of the module's code is not read when the image is loaded, so nothing has checked
//! it: an entry of a cache is damaged there as anywhere else. Before it is used, each body is compared
//! with the digest that the image has of it. In the place of a damaged one comes the file that the
//! module was loaded from, if a cache knows it and the file is still the same.

use std::fs;

use bimetal_codegen::{FunctionCode, ModuleEnv};
use bimetal_wasm::DefinedFuncIndex;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::middleware::compile_error;
use crate::module::{Module, ModuleInner};

impl ModuleInner {
    /// Whether the bytes of a function are those that were validated.
    pub(crate) fn is_whole(&self, func: DefinedFuncIndex) -> bool {
        let Some(image) = self.code.image() else {
            return true;
        };
        let body = self.wasm().body_bytes(func);
        let known = image.image().function(func);
        known.is_some_and(|known| known.was_compiled_from(body))
    }

    /// Refuses a module whose code is not what was validated.
    pub(crate) fn check_bodies(&self) -> Result<()> {
        match self.first_damaged() {
            None => Ok(()),
            Some(func) => Err(self.damaged(func)),
        }
    }

    fn first_damaged(&self) -> Option<DefinedFuncIndex> {
        // Then all are whole.
        self.code.image()?;
        (self.wasm().bodies.keys()).find(|&func| !self.is_whole(func))
    }

    fn damaged(&self, func: DefinedFuncIndex) -> Error {
        Error::of(
            ErrorKind::Image,
            format_args!(
                "the compiled module's copy of the binary is damaged at {}",
                self.describe(func)
            ),
        )
    }

    /// Compiles a function from bytes that were validated, also those of what is inlined into it.
    pub(crate) fn compile(&self, func: DefinedFuncIndex) -> Result<FunctionCode> {
        let compile = |env: &ModuleEnv| {
            self.engine.with_compiler(|compiler, scratch| {
                compiler
                    .function(env, func, scratch)
                    .map_err(compile_error)
                    .with_context(|| format!("cannot compile {}", self.describe(func)))
            })
        };
        if self.code.image().is_none() {
            return compile(&self.env);
        }
        if !self.is_whole(func) {
            return compile(self.source(func)?);
        }
        // The compiler reads what it likes of the module, and can make nothing worse of what is damaged
        // than code for which this is found afterwards.
        let compiled = compile(&self.env);
        let damaged = match &compiled {
            Ok(code) => {
                let nodes = code.sites.nodes.iter();
                nodes
                    .filter_map(|node| self.wasm().defined_func(node.func))
                    .find(|&func| !self.is_whole(func))
            }
            Err(_) => self.first_damaged(),
        };
        match damaged {
            Some(damaged) => compile(self.source(damaged)?),
            None => compiled,
        }
    }

    /// What all functions are to be compiled from.
    pub(crate) fn env_to_compile_all(&self) -> Result<&ModuleEnv> {
        match self.first_damaged() {
            None => Ok(&self.env),
            Some(func) => self.source(func),
        }
    }

    /// What is compiled in the place of the module's copy of the binary, which is damaged at `func`.
    fn source(&self, func: DefinedFuncIndex) -> Result<&ModuleEnv> {
        // To say so here keeps the validator out of programs without a compiler.
        let source = match crate::HAS_COMPILER {
            true => self.source.get_or_init(|| self.read_source()),
            false => &None,
        };
        source.as_ref().ok_or_else(|| self.damaged(func))
    }

    /// The module as its file has it.
    fn read_source(&self) -> Option<ModuleEnv> {
        let slot = self.slot.as_ref()?;
        let bytes = fs::read(slot.file()?).ok()?;
        let wasm = bimetal_wasm::Module::new(bytes, &self.engine.config().features).ok()?;
        if !slot.is_of(&self.engine, &wasm.bytes) {
            return None;
        }
        let env = Module::environment(&self.engine, wasm).ok()?;
        tracing::warn!("a cache entry is damaged; functions are compiled from the module's file");
        Some(env)
    }
}
