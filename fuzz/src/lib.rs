//! Finding bugs by force: random input, and properties that must hold for all of it.
//!
//! A [`Target`] takes bytes and checks one thing; what the bytes mean is the target's. They come
//! from a generator that a number seeds ([`source`]), so that a number is a whole test case;
//! nothing stands in the way of another driver that chooses bytes by coverage. [`runner`] runs
//! cases, keeps what was found, and makes it smaller.
//!
//! **Invariant**: the same bytes do the same in each run: no target asks for time, addresses or
//! randomness of its own.
//!
//! A case may bring the process down. So the runner leaves the number of the case that is running
//! in a file before each, for whoever started it (`cargo xtask fuzz`).
//!
//! The one `unsafe` is in [`image`]: loading compiled modules, which is refused if they are wrong.
#![deny(unsafe_code)]

pub mod api;
pub mod collect;
pub mod compile;
pub mod decode;
pub mod execute;
pub mod extreme;
pub mod generate;
mod hints;
pub mod image;
pub mod runner;
pub mod snapshot;
pub mod source;
pub mod tally;
pub mod wasi;

use std::collections::BTreeMap;

/// What happened how often: to see that a target does what it is meant to.
pub type Counts = BTreeMap<String, u64>;

/// What a case leaves behind.
#[derive(Debug, Default)]
pub struct Notes {
    /// For all cases of a run.
    pub counts: Counts,
    /// Files worth keeping if the case fails: an ending for the name, and the contents.
    pub files: Vec<(&'static str, Vec<u8>)>,
}

impl Notes {
    /// Counts that something happened.
    pub fn count(&mut self, what: &str) {
        self.add(what, 1);
    }

    /// Counts that something happened so many times.
    pub fn add(&mut self, what: &str, times: u64) {
        match self.counts.get_mut(what) {
            Some(count) => *count += times,
            None => _ = self.counts.insert(what.to_owned(), times),
        }
    }
}

/// One thing that must hold for all input.
pub trait Target {
    /// Whether it holds for this input; the error says why not. To panic is to fail, too.
    ///
    /// # Errors
    /// The finding.
    fn run(&mut self, input: &[u8], notes: &mut Notes) -> Result<(), String>;

    /// Whether a file of this kind, from [`Notes::files`], can be given instead of input, and
    /// whether it holds for it.
    ///
    /// # Errors
    /// The finding, or that this target takes no files.
    fn run_file(&mut self, file: &[u8], notes: &mut Notes) -> Result<(), String>;
}

/// How to make a target.
pub type Make = fn() -> Result<Box<dyn Target>, String>;

/// All targets by name.
pub const TARGETS: &[(&str, Make)] = &[
    ("decode", || Ok(Box::new(decode::Decode::default()))),
    ("compile", || Ok(Box::new(compile::Compile::new()?))),
    ("execute", || Ok(Box::new(execute::Execute::new()?))),
    ("collect", || Ok(Box::new(collect::Collect::new()?))),
    ("wasi", || Ok(Box::new(wasi::Wasi::new()?))),
    ("api", || Ok(Box::new(api::Api::new()?))),
    ("image", || Ok(Box::new(image::Image::new()?))),
    ("snapshot", || Ok(Box::new(snapshot::Snapshots::new()?))),
];

/// The target with this name.
///
/// # Errors
/// If there is none, or it cannot be made.
pub fn target(name: &str) -> Result<Box<dyn Target>, String> {
    match TARGETS.iter().find(|(known, _)| *known == name) {
        Some((_, make)) => make(),
        None => Err(format!("there is no target `{name}`")),
    }
}
