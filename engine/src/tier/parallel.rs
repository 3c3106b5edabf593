//! Compiling on all cores.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::error::Result;

/// Compiles on all cores. Large functions are taken as they come, but no thread is left with a
/// long tail: work is handed out one function at a time.
pub(crate) fn compile_parallel<F: Sync, R: Send>(
    functions: &[F],
    compile: impl Fn(&F) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let failed = AtomicUsize::new(usize::MAX);
    let threads = rayon::current_num_threads().min(functions.len()).max(1);
    let mut results: Vec<(usize, Result<R>)> = (0..threads)
        .into_par_iter()
        .with_max_len(1)
        .flat_map_iter(|_| {
            let (next, failed, compile) = (&next, &failed, &compile);
            std::iter::from_fn(move || {
                let i = next.fetch_add(1, Ordering::Relaxed);
                // Nothing after a failed function is of interest.
                if i >= functions.len() || i > failed.load(Ordering::Relaxed) {
                    return None;
                }
                let result = compile(&functions[i]);
                if result.is_err() {
                    failed.fetch_min(i, Ordering::Relaxed);
                }
                Some((i, result))
            })
        })
        .collect();
    results.sort_unstable_by_key(|(i, _)| *i);
    results.into_iter().map(|(_, result)| result).collect()
}
