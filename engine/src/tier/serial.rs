//! Compiling on one core: this build has no threads for it.

use crate::error::Result;

/// Compiles one function after the other.
pub(crate) fn compile_parallel<F, R>(
    functions: &[F],
    compile: impl Fn(&F) -> Result<R>,
) -> Result<Vec<R>> {
    functions.iter().map(compile).collect()
}
