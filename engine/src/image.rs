//! Compiling to an image.
//!
//! Code in an image calls through entry cells, as a lazy engine's does: so it needs no relocation,
//! its pages are the same in every process, each function can be checked before its first call, and
//! any of them can get a better version. How an image is loaded is in `vm/`: it is machine code
//! from outside, and trusting it is the caller's decision.

use bimetal_abi::CallMode;
use bimetal_artifact::{Header, Image, ImageBuilder};
use bimetal_codegen::{Arch, ModuleEnv};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::module::Module;
use crate::tier::compile_bodies;

impl Engine {
    /// Compiles a module in the binary or text format to an image, an ELF file, for
    /// [`Module::deserialize`], with this engine's configuration, for its target. All cores are
    /// used if the configuration does not say otherwise; the bytes are the same however many.
    ///
    /// # Errors
    /// As for [`Module::new`].
    pub fn precompile_module(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let wasm = bimetal_wasm::Module::new(bytes.to_vec(), &self.config().features)?;
        self.compile_image(Module::environment(self, wasm)?, None)
    }

    /// Whether the bytes look like an image, as far as their beginning tells.
    pub fn detect_precompiled(bytes: &[u8]) -> bool {
        Image::is_elf(bytes)
    }

    fn compile_image(&self, mut env: ModuleEnv, from: Option<&Image>) -> Result<Vec<u8>> {
        env.tunables.call_mode = CallMode::Cell;
        let functions: Vec<_> = env.module.bodies.keys().collect();
        let codes = compile_bodies(self, &env, &functions, &|_| None)?;
        let mut header = self.image_header()?;
        header.globals = env.module.globals.len() as u32;
        let mut builder = ImageBuilder::new(&env.module, header);
        if let Some(from) = from {
            builder.keep_memory(from)?;
        }
        for code in codes {
            if !code.relocs.is_empty() {
                return Err(Error::msg(
                    "code compiled for an image has relocations (a bug of the compiler)",
                ));
            }
            builder.function(&code.bytes, code.alignment, &code.sites)?;
        }
        Ok(builder.finish()?)
    }

    /// What two engines have in common that make the same code of the same module.
    pub(crate) fn identity(&self) -> Result<String> {
        let header = self.image_header()?;
        Ok(format!("{header:?} {}", self.compiler()?.identity()))
    }

    /// The header of what this engine compiles; without a compiler, of what it could run.
    pub(crate) fn image_header(&self) -> Result<Header> {
        let config = self.config();
        let arch = config.target.or_else(Arch::host);
        let arch = arch.ok_or_else(|| Error::usage("images do not exist for this machine"))?;
        let features = self.compiler().map(|compiler| compiler.cpu_features());
        let mut header = Header::new(
            arch,
            features.unwrap_or_default(),
            &config.settings,
            self.tunables(),
            &config.features,
        );
        for (i, middleware) in config.middlewares.iter().enumerate() {
            let fingerprint = middleware.fingerprint().into_iter();
            let fingerprint: String = fingerprint.map(|byte| format!("{byte:02x}")).collect();
            let fact = format!("`{}` ({fingerprint})", middleware.name());
            header
                .settings
                .insert(format!("middleware {}", i + 1), fact);
        }
        Ok(header)
    }
}

impl Module {
    /// The compiled module as an image, for [`Module::deserialize`]. Under a lazy engine this
    /// compiles what has not been called, too.
    ///
    /// # Errors
    /// If a function cannot be compiled.
    pub fn serialize(&self) -> Result<Vec<u8>> {
        let env = self.env();
        let mut copy = ModuleEnv::new(env.module.clone(), env.tunables.clone())?;
        copy.instrumentation = env.instrumentation.clone();
        let from = self.inner().code.image().map(|text| text.image());
        self.engine().compile_image(copy, from)
    }

    /// Whether its code comes from an image.
    pub fn is_precompiled(&self) -> bool {
        self.inner().code.image().is_some()
    }
}
