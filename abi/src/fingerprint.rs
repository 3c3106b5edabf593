//! A number for the whole of the agreement.
//!
//! Compiled code that outlives the process that made it may only be run by a runtime that agrees
//! with it about every layout, builtin and convention. All of that is defined by the files of this
//! crate, so their text is what is hashed: nobody can forget to count a version up. A change of a
//! comment changes the number too, which costs one compilation.

/// The number. Equal numbers: code and runtime agree.
pub const FINGERPRINT: u64 = {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    hash = fnv1a(hash, include_bytes!("builtins.rs"));
    hash = fnv1a(hash, include_bytes!("convention.rs"));
    hash = fnv1a(hash, include_bytes!("gc.rs"));
    hash = fnv1a(hash, include_bytes!("offsets.rs"));
    hash = fnv1a(hash, include_bytes!("tables.rs"));
    hash = fnv1a(hash, include_bytes!("trap.rs"));
    hash = fnv1a(hash, include_bytes!("tunables.rs"));
    fnv1a(hash, include_bytes!("vm.rs"))
};

/// FNV-1a, 64 bits.
const fn fnv1a(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0100_0000_01b3);
        i += 1;
    }
    hash
}
