//! A guest that calls everything with anything. Whatever it gets, the host lives on, and nothing
//! outside of its directory changes.

use crate::support::*;
use bimetal_wasi::p1::table::{self, Param};
use bimetal_wasi::{DeterministicRandom, MemoryOutputPipe, Random, WasiCtxBuilder};
use bimetal_wasi::{DirPerms, FilePerms};
use std::collections::BTreeMap;

/// Left out, because what they may do by right is to wait for centuries and to fill the disk.
const LEFT_OUT: [&str; 2] = ["poll_oneoff", "fd_allocate"];

/// What a path may be made of.
const PIECES: [&str; 10] = [
    "a", "b", "/", "..", ".", "link", "secret", "root", "\u{fffd}", "a/../b",
];

struct Dice(DeterministicRandom);

impl Dice {
    fn word(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.word() % n
    }

    /// A parameter such as a well-meaning guest might pass.
    fn plausible(&mut self, param: &Param) -> u64 {
        match param.name {
            "fd" | "to" | "old_fd" | "new_fd" => self.below(8),
            name if name.ends_with("flags") || name == "lookup" => self.below(2),
            name if name.ends_with("len") => 1 + self.below(8),
            "base" | "inheriting" => self.below(1 << 30),
            "cookie" | "offset" | "size" | "whence" | "id" | "advice" | "how" => self.below(3),
            _ => 1000 + 8 * self.below(100),
        }
    }

    /// Any number, mostly of the kinds that functions take.
    fn any(&mut self) -> u64 {
        match self.below(12) {
            0..5 => self.below(8),
            5..8 => 1000 + 8 * self.below(100),
            8 => MEMORY as u64 - self.below(40),
            9 => self.below(1 << 17),
            10 => 0u64.wrapping_sub(self.below(9)),
            _ => self.word(),
        }
    }
}

#[test]
fn anything_goes_and_nothing_breaks() {
    let scratch = Scratch::new();
    std::os::unix::fs::symlink("../secret", scratch.root().join("link")).unwrap();
    let mut dice = Dice(DeterministicRandom::new(2026));
    let functions: Vec<_> = table::functions()
        .filter(|f| !LEFT_OUT.contains(&f.name))
        .filter_map(|f| Some((f.name, f.params, f.call?)))
        .collect();
    let mut outcomes: BTreeMap<&str, [u32; 2]> = BTreeMap::new();
    for _ in 0..60 {
        let mut builder = WasiCtxBuilder::new();
        builder
            .arg("a")
            .env("B", "c")
            .stdout(MemoryOutputPipe::new(1 << 20));
        let perms = (DirPerms::all(), FilePerms::all());
        builder
            .preopened_dir(scratch.root(), "/", perms.0, perms.1)
            .unwrap();
        builder
            .preopened_dir(scratch.root(), "ro", DirPerms::READ, FilePerms::READ)
            .unwrap();
        let mut g = Guest::new(builder.build());
        for _ in 0..500 {
            // Scatter/gather lists and paths, where pointers are likely to lead.
            for at in (1000..1800).step_by(8) {
                let bytes = match dice.below(3) {
                    0 => PIECES[dice.below(10) as usize].as_bytes().to_vec(),
                    1 => (dice.any() as u32).to_le_bytes().to_vec(),
                    _ => continue,
                };
                let n = bytes.len().min(8);
                g.mem[at..at + n].copy_from_slice(&bytes[..n]);
            }
            let (name, params, call) = functions[dice.below(functions.len() as u64) as usize];
            let oddity = dice.below(4);
            let wire: Vec<u64> = params
                .iter()
                .map(|p| {
                    if dice.below(8) < oddity {
                        dice.any()
                    } else {
                        dice.plausible(p)
                    }
                })
                .collect();
            let result = g.call(|c, m| call(c, m, &wire));
            outcomes.entry(name).or_default()[usize::from(result.is_err())] += 1;
        }
        // The files that came to be may be huge, but they are sparse.
        for entry in std::fs::read_dir(scratch.root()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().is_some_and(|name| name != "link") {
                let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path));
            }
        }
    }
    assert_eq!(
        std::fs::read(scratch.base.path().join("secret")).unwrap(),
        b"secret"
    );
    assert_eq!(std::fs::read_dir(scratch.base.path()).unwrap().count(), 2);
    // The dice must reach both sides of what matters, or this proves little.
    for name in [
        "path_open",
        "fd_read",
        "fd_write",
        "fd_readdir",
        "path_symlink",
        "fd_seek",
    ] {
        let [passed, failed] = outcomes[name];
        assert!(
            passed > 0 && failed > 0,
            "{name}: {passed} succeeded, {failed} failed"
        );
    }
}
