//! A bar while a module is compiled at once.
//!
//! It appears on a terminal only, and only after a while: most modules are done before one could
//! read it.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bimetal::Config;
use indicatif::{ProgressBar, ProgressStyle};

const PATIENCE: Duration = Duration::from_millis(300);

/// The bar; it goes away when this is dropped.
pub struct CompileProgress {
    bar: Arc<Mutex<Option<ProgressBar>>>,
}

impl CompileProgress {
    /// Shows how far engines of this configuration are, if there is a terminal.
    pub fn install(config: &mut Config) -> CompileProgress {
        let bar = Arc::new(Mutex::new(None));
        if std::io::stderr().is_terminal() {
            let (shown, start) = (bar.clone(), Instant::now());
            config.on_compile_progress(Arc::new(move |done, total| {
                if start.elapsed() < PATIENCE {
                    return;
                }
                let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
                let bar = shown.get_or_insert_with(|| new_bar(total));
                bar.set_length(total);
                // Threads report in any order; a bar goes forward only.
                if done > bar.position() {
                    bar.set_position(done);
                }
            }));
        }
        CompileProgress { bar }
    }
}

impl Drop for CompileProgress {
    fn drop(&mut self) {
        let bar = self
            .bar
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
    }
}

fn new_bar(total: u64) -> ProgressBar {
    let template = "compiling {wide_bar} {decimal_bytes}/{decimal_total_bytes} {eta}";
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style)
}
