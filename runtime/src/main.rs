//! `bimetal-runtime`: the engine without a compiler, which runs the module in its own file.
//!
//! By itself it runs nothing; `bimetal build` copies it and adds a compiled module. It has no options
//! of its own, since all arguments belong to the guest.
//!
//! The one `unsafe` that it needs is in [`own`]: running the machine code in its file.
#![deny(unsafe_code)]

use std::process::ExitCode;

use bimetal_runtime::{output, program};

fn main() -> ExitCode {
    program::run_own(own::load).unwrap_or_else(|error| output::report(&error))
}

#[allow(
    unsafe_code,
    reason = "a program runs the machine code in its own file"
)]
mod own {
    //! The program's own file.

    use std::fs::File;
    use std::hint::black_box;
    use std::ops::Range;

    use bimetal::{Engine, Module, Result};
    use bimetal_artifact::executable::{MARK_SIZE, mark};

    /// By this `bimetal build` knows that it has the runtime before it, and which one.
    // SAFETY: the section is one of its own, of data, and nothing else has this name.
    #[used]
    #[unsafe(link_section = ".bimetal.stub")]
    static OWN_MARK: [u8; MARK_SIZE] = mark(bimetal::HAS_COMPILER);

    /// Loads the module in the program's own file.
    pub(super) fn load(
        engine: &Engine,
        file: &File,
        part: Range<u64>,
        verify: bool,
    ) -> Result<Module> {
        // Referred to, or linkers leave it out.
        black_box(&OWN_MARK);
        match verify {
            // SAFETY: who starts a program trusts the machine code in its file, which this is.
            // Running files are not written to: the system does not allow it.
            true => unsafe { Module::deserialize_file_part(engine, file, part) },
            // SAFETY: as above; and that the file is as it was written is taken for granted of
            // this as of the runtime's own code in it.
            false => unsafe { Module::deserialize_file_part_unchecked(engine, file, part) },
        }
    }
}
