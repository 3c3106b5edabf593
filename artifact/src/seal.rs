//! Digests.

use std::io::{self, Read};
use std::ops::Range;

/// Bytes of a function's digest. Half of BLAKE3's: chance is all that they have to withstand.
pub(crate) const DIGEST: usize = 16;

/// Bytes of the seal.
pub(crate) const SEAL: usize = blake3::OUT_LEN;

/// Bytes of a key.
pub(crate) const KEY: usize = blake3::KEY_LEN;

/// The digest of a function's body, from which it was compiled.
pub(crate) fn body(body: &[u8]) -> [u8; DIGEST] {
    let mut digest = [0; DIGEST];
    digest.copy_from_slice(&blake3::hash(body).as_bytes()[..DIGEST]);
    digest
}

/// The digest of a function.
pub(crate) fn function(code: &[u8], sites: &[u8]) -> [u8; DIGEST] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(code.len() as u64).to_le_bytes());
    hasher.update(code);
    hasher.update(sites);
    let mut digest = [0; DIGEST];
    digest.copy_from_slice(&hasher.finalize().as_bytes()[..DIGEST]);
    digest
}

/// The digest of an executable's settings.
pub(crate) fn settings(settings: &[u8]) -> [u8; SEAL] {
    *blake3::hash(settings).as_bytes()
}

/// The digest of the initial contents of memories, in hexadecimal.
pub(crate) fn memory(bytes: &mut impl Read) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    // Large enough for all lanes of the hash, small enough for a cache.
    let mut buffer = vec![0; 128 << 10];
    loop {
        match bytes.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().to_hex().to_string()),
            read => hasher.update(&buffer[..read]),
        };
    }
}

/// What the seal covers.
pub(crate) struct Sealed<'a> {
    pub header: &'a [u8],
    pub functions: &'a [u8],
    pub digests: &'a [u8],
    pub profile: &'a [u8],
    pub trampolines: &'a [u8],
    pub trampoline_text: &'a [u8],
    pub text_len: usize,
    pub sites_len: usize,
    pub wasm: &'a [u8],
    /// Parts of `wasm` that are not covered.
    pub lazy: &'a [Range<usize>],
}

impl Sealed<'_> {
    /// The seal, under a key or none; `None` if `lazy` is not a list of ranges of `wasm` in
    /// ascending order.
    pub(crate) fn digest(&self, key: Option<&[u8; KEY]>) -> Option<[u8; SEAL]> {
        let mut hasher = match key {
            Some(key) => blake3::Hasher::new_keyed(key),
            None => blake3::Hasher::new(),
        };
        for part in [
            self.header,
            self.functions,
            self.digests,
            self.profile,
            self.trampolines,
            self.trampoline_text,
        ] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        for len in [self.text_len, self.sites_len, self.wasm.len()] {
            hasher.update(&(len as u64).to_le_bytes());
        }
        let mut at = 0;
        for range in self.lazy {
            hasher.update(self.wasm.get(at..range.start)?);
            hasher.update(&(range.start as u64).to_le_bytes());
            at = range.end.max(range.start);
        }
        hasher.update(self.wasm.get(at..)?);
        Some(*hasher.finalize().as_bytes())
    }
}
