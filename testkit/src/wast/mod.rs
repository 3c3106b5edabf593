//! Running `.wast` scripts: the specification's own tests.
//!
//! A script is a list of directives: modules, calls, and assertions about both. Each directive is
//! executed in order against one store, with the host module `spectest` at hand, and each that
//! does not hold is a [`Failure`] with its line and column; nothing stops the script but its end.
//!
//! Invariants: a compiler's "not supported" or an engine's defect never counts as the rejection
//! that an assertion asks for; a panic below becomes a failure of the script, not of the runner.
//! Not done here: the text of `assert_invalid`, `assert_malformed` messages is not compared, since
//! it is one implementation's wording; traps and link errors are compared.

mod runner;
mod spectest;
mod values;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bimetal::{Config, Engine};

/// What a script is run with.
#[derive(Clone, Debug)]
pub struct RunConfig {
    engine: Engine,
    observe: bool,
}

impl RunConfig {
    /// Runs scripts on an engine of this configuration.
    ///
    /// # Errors
    /// Those of [`Engine::new`].
    pub fn new(config: &Config) -> Result<RunConfig, bimetal::Error> {
        Ok(RunConfig {
            engine: Engine::new(config)?,
            observe: false,
        })
    }

    /// Whether reports have a digest.
    pub fn observe(mut self, observe: bool) -> RunConfig {
        self.observe = observe;
        self
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}

/// A directive that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1.
    pub column: usize,
    /// What was expected and what came.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// What came of a script.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The script's name, as given.
    pub name: String,
    /// How many directives held.
    pub passed: usize,
    /// Those that did not, in the script's order.
    pub failures: Vec<Failure>,
    /// A number for all that the script's modules did: results and traps of all calls, the fuel that
    /// each consumed, and in the end all memories and globals. `None` if it was not asked for.
    pub digest: Option<u64>,
}

impl Report {
    /// Whether every directive held.
    pub fn is_ok(&self) -> bool {
        self.failures.is_empty()
    }
}

impl fmt::Display for Report {
    /// The count and the first failures, as `name:line:column: message` lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 10;
        write!(
            f,
            "{}: {} passed, {} failed",
            self.name,
            self.passed,
            self.failures.len()
        )?;
        for failure in self.failures.iter().take(SHOWN) {
            write!(f, "\n{}:{failure}", self.name)?;
        }
        if self.failures.len() > SHOWN {
            write!(f, "\n… and {} more", self.failures.len() - SHOWN)?;
        }
        Ok(())
    }
}

/// Runs the script `text`; `name` is for messages.
///
/// ```
/// use bimetal_testkit::{RunConfig, run_wast};
///
/// let config = RunConfig::new(&bimetal::Config::new())?;
/// let report = run_wast(
///     "example.wast",
///     r#"
///     (module (func (export "add") (param i32 i32) (result i32)
///       (i32.add (local.get 0) (local.get 1))))
///     (assert_return (invoke "add" (i32.const 2) (i32.const 3)) (i32.const 5))
///     (assert_return (invoke "add" (i32.const 2) (i32.const 2)) (i32.const 5))
///     "#,
///     &config,
/// );
/// assert_eq!((report.passed, report.failures.len()), (2, 1));
/// assert_eq!(report.failures[0].line, 5);
/// # Ok::<(), bimetal::Error>(())
/// ```
pub fn run_wast(name: &str, text: &str, config: &RunConfig) -> Report {
    let mut report = Report {
        name: name.to_string(),
        ..Report::default()
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        runner::run(text, config.engine(), config.observe, &mut report)
    }));
    if let Err(panic) = outcome {
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("a panic without a message");
        report.failures.push(Failure {
            line: 1,
            column: 1,
            message: format!("the engine panicked: {message}"),
        });
    }
    report
}
