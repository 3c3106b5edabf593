//! For whom an image was made.

use std::collections::BTreeMap;

use bimetal_codegen::{Arch, Settings};
use bimetal_wasm::Features;
use serde::{Deserialize, Serialize};

use crate::error::ImageError;

/// The version of the format itself: of the sections and what is in them.
pub const FORMAT: u32 = 3;

/// For whom an image was made. Written as JSON, so that `readelf -p .bimetal.header` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`] of whoever wrote it.
    pub format: u32,
    /// The engine's version.
    pub engine: String,
    /// `bimetal_abi::FINGERPRINT`, in hexadecimal.
    pub abi: String,
    /// The instruction set, by its name in `Arch`.
    pub arch: String,
    /// What the code uses beyond every processor of that instruction set, by the compiler's names.
    pub cpu_features: Vec<String>,
    /// What shaped the code: settings, tunables, features of WebAssembly.
    pub settings: BTreeMap<String, String>,
    /// How many globals the module has, those that middleware added counted: the code relies on it.
    #[serde(default)]
    pub globals: u32,
    /// Parts of the module's binary that the seal does not cover, as start and end in ascending
    /// order: its code, which is only needed to compile it again, and custom sections.
    #[serde(default)]
    pub unsealed: Vec<(u32, u32)>,
    /// The initial contents of the module's memories, if they are in the image.
    #[serde(default)]
    pub memory: Option<InitialMemory>,
}

/// The initial contents of memories, as parts of a section of their own that can be mapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitialMemory {
    /// The parts, in the order in which they lie in the section, one behind the other.
    pub parts: Vec<MemoryPart>,
    /// The section's digest, in hexadecimal.
    pub digest: String,
    /// How many data segments the module has, if none is left that could be copied later: then
    /// nobody needs the module's data section any more.
    pub data_segments: Option<u32>,
}

/// Where a part of the section belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPart {
    /// The index of the memory.
    pub memory: u32,
    /// The first byte in the memory, a multiple of the page size.
    pub at: u64,
    /// Bytes, a multiple of the page size.
    pub len: u64,
}

impl Header {
    /// The header of what this engine compiles.
    pub fn new(
        arch: Arch,
        cpu_features: Vec<String>,
        settings: &Settings,
        tunables: &bimetal_abi::Tunables,
        features: &Features,
    ) -> Header {
        let mut facts = BTreeMap::new();
        let Settings {
            opt_level,
            nan_canonicalization,
            // What the compiler checks of itself shapes nothing.
            verify: _,
            opt_fuel,
        } = settings;
        facts.insert("optimization".into(), format!("{opt_level:?}"));
        facts.insert(
            "NaN canonicalization".into(),
            nan_canonicalization.to_string(),
        );
        if let Some(fuel) = opt_fuel {
            facts.insert("optimization fuel".into(), fuel.to_string());
        }
        for (name, value) in tunables.facts() {
            facts.insert(name.into(), value.to_string());
        }
        facts.insert("WebAssembly".into(), format!("{features:?}"));
        Header {
            format: FORMAT,
            engine: env!("CARGO_PKG_VERSION").into(),
            abi: format!("{:016x}", bimetal_abi::FINGERPRINT),
            arch: arch.name().into(),
            cpu_features,
            settings: facts,
            globals: 0,
            unsealed: Vec::new(),
            memory: None,
        }
    }

    /// Whether an engine that would itself write `own` can run what was made with `self`.
    ///
    /// How hard the compiler tried does not matter; everything else has to be equal. Whether the
    /// processor has the features is the caller's to find out.
    ///
    /// # Errors
    /// The first difference.
    pub fn check(&self, own: &Header) -> Result<(), ImageError> {
        if self.engine != own.engine {
            return Err(ImageError::Version(format!(
                "Bimetal {}, this is {}",
                self.engine, own.engine
            )));
        }
        if self.abi != own.abi {
            return Err(ImageError::Version(
                "another build of the same version, with other conventions".into(),
            ));
        }
        if self.arch != own.arch {
            return Err(ImageError::Mismatch(format!(
                "machine code for {}, this is {}",
                self.arch, own.arch
            )));
        }
        let tried = |name: &str| name.starts_with("optimization");
        let none = String::from("nothing");
        let names = self.settings.keys().chain(own.settings.keys());
        for name in names.filter(|name| !tried(name)) {
            let theirs = self.settings.get(name).unwrap_or(&none);
            let ours = own.settings.get(name).unwrap_or(&none);
            if theirs != ours {
                return Err(ImageError::Mismatch(format!(
                    "{name} is {theirs}, here it is {ours}"
                )));
            }
        }
        Ok(())
    }
}
