//! A module that was built again with one function changed.
//!
//! No compiler is at hand for the large modules, so the change is made in the binary: a bit of a
//! constant in a function of middling size. Nobody runs the result; that it is valid is asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::run_quietly;

/// The number of the code section.
const CODE: u8 = 10;

/// The opcode of `i32.const`.
const I32_CONST: u8 = 0x41;

/// Writes a copy of a module with one function changed. `bimetal` says whether it is valid.
pub(super) fn change_one_function(wasm: &Path, to: &Path, bimetal: &Path) -> Result<PathBuf> {
    let original = fs::read(wasm).with_context(|| format!("cannot read {}", wasm.display()))?;
    let mut bodies = bodies(&original).context("it is no module with functions")?;
    bodies.sort_by_key(|body| (body.len(), body.start));
    let middle = bodies.len() / 2;
    for body in bodies.into_iter().skip(middle) {
        for at in places(&original[body.clone()]) {
            let mut changed = original.clone();
            changed[body.start + at] ^= 1;
            fs::write(to, &changed)?;
            // What looks like a constant may be a part of another instruction.
            if run_quietly(Command::new(bimetal).arg("validate").arg(to)).is_ok() {
                return Ok(to.to_path_buf());
            }
        }
    }
    anyhow::bail!("no function of {} has a constant", wasm.display())
}

/// Where the values of what looks like constants of one byte are.
fn places(body: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let pairs = body.windows(2).enumerate();
    pairs.filter_map(|(at, pair)| (pair[0] == I32_CONST && pair[1] < 0x40).then_some(at + 1))
}

/// The bodies of a module's functions, as ranges of its bytes.
fn bodies(module: &[u8]) -> Option<Vec<std::ops::Range<usize>>> {
    let mut at = 8;
    while at < module.len() {
        let id = *module.get(at)?;
        let (len, contents) = number(module, at + 1)?;
        if id == CODE {
            let (count, mut at) = number(module, contents)?;
            let mut bodies = Vec::with_capacity(count);
            for _ in 0..count {
                let (len, start) = number(module, at)?;
                at = start.checked_add(len)?;
                module.get(start..at)?;
                bodies.push(start..at);
            }
            return Some(bodies);
        }
        at = contents.checked_add(len)?;
    }
    None
}

/// The number in LEB128 at `at`, and where what follows it begins.
fn number(bytes: &[u8], mut at: usize) -> Option<(usize, usize)> {
    let (mut value, mut shift) = (0usize, 0);
    loop {
        let byte = *bytes.get(at)?;
        at += 1;
        value |= usize::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte < 0x80 {
            return Some((value, at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_and_their_constants_are_found() {
        // A type, a function, its code: no locals, `i32.const 5`, `drop`, `end`.
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        module.extend([1, 4, 1, 0x60, 0, 0]);
        module.extend([3, 2, 1, 0]);
        module.extend([10, 7, 1, 5, 0, 0x41, 5, 0x1a, 0x0b]);
        let bodies = bodies(&module).unwrap();
        assert_eq!(bodies.len(), 1);
        let body = &module[bodies[0].clone()];
        assert_eq!(body, [0, 0x41, 5, 0x1a, 0x0b]);
        assert_eq!(places(body).collect::<Vec<_>>(), [2]);
        assert!(super::bodies(&module[..module.len() - 1]).is_none());
    }
}
