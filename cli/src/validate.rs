//! `bimetal validate`: whether modules are well-formed and valid.

use std::io::Write;
use std::process::ExitCode;

use bimetal::Result;

use crate::args::ValidateArgs;
use crate::{load, output};

/// Checks every file, whatever the others are.
pub fn validate(args: &ValidateArgs) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for file in &args.files {
        match load::module(file) {
            Ok(_) => {
                let mut out = output::stdout();
                writeln!(out, "{}: valid", load::display_name(file))?;
                out.flush()?;
            }
            Err(error) => code = output::report(&error),
        }
    }
    Ok(code)
}
