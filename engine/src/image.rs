//! Compiling to an image.
//!
//! Code in an image calls through entry cells, as a lazy engine's does: so it needs no relocation,
//! its pages are the same in every process, each function can be checked before its first call, and
//! any of them can get a better version. Trampolines that it may need are with it, so that an engine
//! without a compiler can run it. How an image is loaded is in `vm/`: it is machine code
//! from outside, and trusting it is the caller's decision.

use std::collections::{BTreeSet, HashMap};
use std::io::{Cursor, Seek, Write};

use bimetal_abi::CallMode;
use bimetal_artifact::{Header, Image, ImageWriter};
use bimetal_codegen::{Arch, CompileError, ModuleEnv, Trampoline, TrampolineCode, TrampolineKind};
use bimetal_wasm::{CompositeType, FuncType, TypeIndex};
use cranelift_entity::EntityRef;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::module::Module;
use crate::tier::{BATCH, compile_bodies, compile_parallel};

impl Engine {
    /// Compiles a module in the binary or text format to an image, an ELF file, for
    /// [`Module::deserialize`], with this engine's configuration, for its target. All cores are
    /// used if the configuration does not say otherwise; the bytes are the same however many.
    ///
    /// # Errors
    /// As for [`Module::new`].
    pub fn precompile_module(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let image = self.precompile_module_to(bytes.to_vec(), Cursor::new(Vec::new()))?;
        Ok(image.into_inner())
    }

    /// [`Engine::precompile_module`] to a file, or to whatever else can be written anywhere: code goes
    /// there as it is compiled, so that this takes little memory however large the module. What is
    /// there before it is done is no image. Returns what it was given to write to.
    ///
    /// ```
    /// use std::io::Cursor;
    /// use bimetal::Engine;
    ///
    /// let engine = Engine::default();
    /// let image = engine.precompile_module_to(b"(module (func))".to_vec(), Cursor::new(Vec::new()))?;
    /// assert_eq!(image.into_inner(), engine.precompile_module(b"(module (func))")?);
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`Module::new`]; or it cannot be written.
    pub fn precompile_module_to<W: Write + Seek>(&self, bytes: Vec<u8>, out: W) -> Result<W> {
        let wasm = bimetal_wasm::Module::new(bytes, &self.config().features)?;
        self.compile_image(Module::environment(self, wasm)?, None, out)
    }

    /// Whether an engine of this configuration, on its target, can load an image: whether both are
    /// of one version and agree about what shapes code. What the processor has to have besides is
    /// only known where the image is run.
    ///
    /// ```
    /// use bimetal::{Config, Engine};
    ///
    /// let fuel = Engine::new(Config::new().consume_fuel(true))?;
    /// let image = fuel.precompile_module(b"(module (func))")?;
    /// assert!(fuel.check_precompiled(&image).is_ok());
    /// let error = Engine::default().check_precompiled(&image).unwrap_err();
    /// assert!(error.to_string().contains("made for something else"));
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    ///
    /// # Errors
    /// If not, why.
    pub fn check_precompiled(&self, bytes: &[u8]) -> Result<()> {
        let image = Image::open(bytes.to_vec())?;
        Ok(image.header().check(&self.image_header()?)?)
    }

    /// The architecture that it compiles for, as in a target triple.
    ///
    /// # Errors
    /// If it is this machine, and there is no compiler for that.
    pub fn target_arch(&self) -> Result<&'static str> {
        Ok(self.config().compile_target()?.arch.name())
    }

    /// Whether the bytes look like an image, as far as their beginning tells.
    pub fn detect_precompiled(bytes: &[u8]) -> bool {
        Image::is_elf(bytes)
    }

    fn compile_image<W: Write + Seek>(
        &self,
        mut env: ModuleEnv,
        from: Option<&Image>,
        out: W,
    ) -> Result<W> {
        env.tunables.call_mode = CallMode::Cell;
        let mut header = self.image_header()?;
        header.globals = env.module.globals.len() as u32;
        let mut writer = ImageWriter::new(out, &env.module, header)?;
        if let Some(from) = from {
            writer.keep_memory(from)?;
        }
        let functions: Vec<_> = env.module.bodies.keys().collect();
        compile_bodies(self, &env, &functions, BATCH, &|_| None, &mut |code| {
            if !code.relocs.is_empty() {
                return Err(Error::msg(
                    "code compiled for an image has relocations (a bug of the compiler)",
                ));
            }
            Ok(writer.function(&code.bytes, code.alignment, &code.sites)?)
        })?;
        for (kind, ty, code) in self.compile_trampolines(&env.module)? {
            writer.trampoline(kind, ty, &code.bytes, code.alignment)?;
        }
        Ok(writer.finish()?)
    }

    /// The trampolines that an engine without a compiler may need for a module.
    fn compile_trampolines(
        &self,
        wasm: &bimetal_wasm::Module,
    ) -> Result<Vec<(TrampolineKind, TypeIndex, TrampolineCode)>> {
        let needed = needed_trampolines(wasm);
        let compile = |&(kind, index): &(TrampolineKind, TypeIndex)| {
            let ty = wasm.func_type_at(index).clone();
            let trampoline = Trampoline { kind, ty };
            self.with_compiler(|compiler, scratch| {
                match compiler.trampoline(&trampoline, scratch) {
                    Ok(code) => Ok(Some((kind, index, code))),
                    // A type that nobody can use on this machine.
                    Err(CompileError::Unsupported(_)) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            })
        };
        let codes: Vec<_> = match self.config().parallel {
            true => compile_parallel(&needed, compile)?,
            false => needed.iter().map(compile).collect::<Result<_>>()?,
        };
        Ok(codes.into_iter().flatten().collect())
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

/// The trampolines that a module may need, each once, in a fixed order.
///
/// The host calls what the module lets out: functions that can be referenced, and the start
/// function; and it may call its own functions by what they were linked as. Wasm calls imports, and
/// through tables whatever the host has put there. Trampolines of stores with call hooks are rare,
/// and there for imports only.
fn needed_trampolines(wasm: &bimetal_wasm::Module) -> Vec<(TrampolineKind, TypeIndex)> {
    let mut needed = BTreeSet::new();
    // One index for each type, however often the module has it.
    let mut first: HashMap<&FuncType, TypeIndex> = HashMap::new();
    for (index, ty) in &wasm.types {
        if let CompositeType::Func(ty) = &ty.composite {
            first.entry(ty).or_insert(index);
        }
    }
    let mut need = |ty: &FuncType, kinds: &[TrampolineKind]| {
        if let Some(&index) = first.get(ty) {
            // By types, then by kinds.
            needed.extend(kinds.iter().map(|&kind| (index, kind as u32)));
        }
    };
    for (func, &ty) in &wasm.functions {
        let ty = wasm.func_type_at(ty);
        let is_import = func.index() < wasm.num_imported_funcs;
        if is_import {
            need(ty, &TrampolineKind::ALL);
        } else if wasm.func_refs[func].is_some() || wasm.start == Some(func) {
            need(ty, &[TrampolineKind::HostToWasm]);
        }
    }
    if !wasm.tables.is_empty() {
        for &ty in first.keys() {
            need(
                ty,
                &[TrampolineKind::WasmToNative, TrampolineKind::WasmToArray],
            );
        }
    }
    let kind = |number: u32| TrampolineKind::ALL[number as usize];
    needed.into_iter().map(|(ty, n)| (kind(n), ty)).collect()
}

impl Module {
    /// The compiled module as an image, for [`Module::deserialize`]. Under a lazy engine this
    /// compiles what has not been called, too.
    ///
    /// # Errors
    /// If a function cannot be compiled.
    pub fn serialize(&self) -> Result<Vec<u8>> {
        if self.inner().base.is_some() {
            // Its contexts are laid out as those of the original, which its binary does not say.
            return self.engine().precompile_module(&self.wasm().bytes);
        }
        self.inner().check_bodies()?;
        let env = self.env();
        let mut copy = ModuleEnv::new(env.module.clone(), env.tunables.clone())?;
        copy.instrumentation = env.instrumentation.clone();
        let from = self.inner().code.image().map(|text| text.image());
        let image = (self.engine()).compile_image(copy, from, Cursor::new(Vec::new()))?;
        Ok(image.into_inner())
    }

    /// Whether its code comes from an image.
    pub fn is_precompiled(&self) -> bool {
        self.inner().code_owner().code.image().is_some()
    }
}
