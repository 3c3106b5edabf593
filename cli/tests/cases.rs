//! The command-line cases of `cases/`; see [`bimetal_testkit::cases`] for their headers.

use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let cases = match bimetal_testkit::cases::load_folder(&folder) {
        Ok(cases) => cases,
        Err(error) => panic!("{error:#}"),
    };
    let trials = cases
        .into_iter()
        .map(|case| {
            Trial::test(case.name.clone(), move || {
                case.run(Path::new(env!("CARGO_BIN_EXE_bimetal")))
                    .map_err(|error| format!("{error:#}").into())
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
