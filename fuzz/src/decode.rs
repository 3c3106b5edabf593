//! Decoding: no bytes do harm, and valid modules come back out of the text format as they were.

use std::time::Duration;

use arbitrary::Unstructured;
use bimetal_abi::Tunables;
use bimetal_codegen::ModuleEnv;
use bimetal_wasm::text::{self, PrintOptions};
use bimetal_wasm::{Features, Module};

use crate::runner::thread_time;
use crate::{Notes, Target, generate};

/// No input of a few kilobytes may take longer.
const LIMIT: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub struct Decode {
    features: Features,
}

impl Default for Decode {
    fn default() -> Self {
        Decode {
            features: generate::features(),
        }
    }
}

impl Target for Decode {
    fn run(&mut self, input: &[u8], notes: &mut Notes) -> Result<(), String> {
        let mut u = Unstructured::new(input);
        match u.int_in_range(0..=7).unwrap_or(0) {
            0 => self.garbage(u.take_rest(), notes),
            1 | 2 => {
                let Ok(wasm) = generate::module(&mut u) else {
                    return Ok(());
                };
                notes.files.push(("wasm", wasm.clone()));
                notes.count("valid");
                self.round_trip(&wasm)
            }
            3 => self.garbled_text(&mut u, notes),
            _ => {
                let Ok(bytes) = generate::mutated(&mut u) else {
                    return Ok(());
                };
                self.any(&bytes, notes)
            }
        }
    }

    fn run_file(&mut self, file: &[u8], notes: &mut Notes) -> Result<(), String> {
        self.any(file, notes)?;
        let valid = Module::new(file.to_vec(), &self.features).is_ok();
        match valid && file.starts_with(b"\0asm") {
            true => self.round_trip(file),
            false => Ok(()),
        }
    }
}

impl Decode {
    /// Bytes that are no module, behind the header of one or a section.
    fn garbage(&self, bytes: &[u8], notes: &mut Notes) -> Result<(), String> {
        self.any(bytes, notes)?;
        let mut wasm = b"\0asm\x01\0\0\0".to_vec();
        wasm.extend(bytes);
        self.any(&wasm, notes)
    }

    fn garbled_text(&self, u: &mut Unstructured<'_>, notes: &mut Notes) -> Result<(), String> {
        let mut changes = Vec::new();
        for _ in 0..u.int_in_range(1..=4).unwrap_or(1) {
            let change: (u32, u32, u8) = u.arbitrary().unwrap_or_default();
            changes.push(change);
        }
        let Ok(wasm) = generate::module(u) else {
            return Ok(());
        };
        let text = text::print(&wasm, &PrintOptions::default()).map_err(|e| e.to_string())?;
        let mut text = text.into_bytes();
        for (place, other, what) in changes {
            let len = text.len();
            let (place, other) = (place as usize % len, other as usize % len);
            match what % 4 {
                0 => text[place] = b"()$\"; 0x-"[other % 9],
                1 => drop(text.drain(place..(place + other % 20).min(len))),
                2 => {
                    let copy = text[place..(place + 30).min(len)].to_vec();
                    text.splice(other..other, copy);
                }
                _ => text.truncate(place.max(1)),
            }
        }
        self.any(&text, notes)
    }

    /// What is accepted can be looked at; what is not has a message; both happen in time.
    fn any(&self, bytes: &[u8], notes: &mut Notes) -> Result<(), String> {
        notes.files.push(("bin", bytes.to_vec()));
        let start = thread_time();
        match Module::new(bytes.to_vec(), &self.features) {
            Ok(module) => {
                notes.count("accepted");
                let names = module.names();
                let _ = (
                    names.module.as_deref(),
                    module.to_text(&PrintOptions::default()),
                );
                let _ = bimetal_wasm::inspect::Summary::new(&module, 3);
                // A module may be too large for this runtime, but says so.
                let _ = ModuleEnv::new(module.into(), Tunables::default());
            }
            Err(error) => {
                notes.count(&format!("refused: {:?}", error.kind()));
                if error.to_string().is_empty() {
                    return Err("an error without a message".into());
                }
            }
        }
        let _ = text::print(bytes, &PrintOptions::default());
        match thread_time().saturating_sub(start) {
            time if time > LIMIT => Err(format!("decoding took too long: {time:?}")),
            _ => Ok(()),
        }
    }

    /// Binary → text → binary → text.
    fn round_trip(&self, wasm: &[u8]) -> Result<(), String> {
        let module = Module::new(wasm.to_vec(), &self.features)
            .map_err(|error| format!("a valid module is refused: {error}"))?;
        let options = PrintOptions::default();
        let text = module
            .to_text(&options)
            .map_err(|e| format!("print: {e}"))?;
        let again = text::parse(&text, None).map_err(|e| format!("parse what was printed: {e}"))?;
        let module = Module::new(again, &self.features)
            .map_err(|error| format!("a printed module is refused: {error}"))?;
        let printed = module
            .to_text(&options)
            .map_err(|e| format!("print: {e}"))?;
        match text == printed {
            true => Ok(()),
            false => Err(format!("the text changed:\n{text}\n-----\n{printed}")),
        }
    }
}
