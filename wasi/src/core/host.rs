//! Everything that one guest was given by its embedder.

use super::clock::Clocks;
use super::dir::Dir;
use super::random::{HostRandom, Random};
use super::stream::{Input, Output};

/// A directory given to the guest, and the name under which the guest finds it.
#[derive(Clone, Debug)]
pub struct Preopen {
    /// The directory.
    pub dir: Dir,
    /// The guest's name for it, for example `/` or `/data`.
    pub name: String,
}

/// What a guest sees of the world, apart from its open descriptors.
#[derive(Debug)]
pub struct Host {
    /// The arguments, the program's name first. Bytes without NUL.
    pub args: Vec<Vec<u8>>,
    /// The environment, each `NAME=VALUE`. Bytes without NUL.
    pub env: Vec<Vec<u8>>,
    /// The clocks.
    pub clocks: Clocks,
    /// The source of randomness.
    pub random: Box<dyn Random>,
    /// Standard input.
    pub stdin: Input,
    /// Standard output.
    pub stdout: Output,
    /// Standard error.
    pub stderr: Output,
    /// The directories.
    pub preopens: Vec<Preopen>,
}

impl Default for Host {
    fn default() -> Host {
        Host {
            args: Vec::new(),
            env: Vec::new(),
            clocks: Clocks::default(),
            random: Box::new(HostRandom),
            stdin: Input::null(),
            stdout: Output::null(),
            stderr: Output::null(),
            preopens: Vec::new(),
        }
    }
}

impl Host {
    /// The guest has closed this input; the host keeps it open no longer than the guest does.
    pub fn release_input(&mut self, stream: &Input) {
        if self.stdin.is_same(stream) {
            self.stdin = Input::null();
        }
    }

    /// The guest has closed this output; whoever reads the other end of a pipe then sees its
    /// end, as with a native program. A stream that is given twice is released once.
    pub fn release_output(&mut self, stream: &Output) {
        let held = [&mut self.stdout, &mut self.stderr];
        if let Some(held) = held.into_iter().find(|held| held.is_same(stream)) {
            *held = Output::null();
        }
    }
}
