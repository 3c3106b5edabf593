//! The stacks of an engine's fibers that no fiber is on.
//!
//! The newest comes first: its memory is in the caches. What a stack may keep of its memory is
//! bounded, and so is the number of stacks; more are made when more calls are going on, and
//! unmapped afterwards.

use std::sync::{Mutex, PoisonError};

use bimetal_sys::FiberStack;

use crate::config::Config;
use crate::error::{Context, Result};

/// See the module.
#[derive(Debug)]
pub(crate) struct FiberStacks {
    size: usize,
    max_unused: usize,
    keep_resident: usize,
    zeroing: bool,
    unused: Mutex<Vec<FiberStack>>,
}

impl FiberStacks {
    pub(crate) fn new(config: &Config) -> FiberStacks {
        FiberStacks {
            size: config.async_stack_bytes(),
            max_unused: config.async_stacks.max_unused,
            keep_resident: config.async_stacks.keep_resident,
            zeroing: config.async_stacks.zeroing,
            unused: Mutex::default(),
        }
    }

    /// A stack, maybe a used one.
    pub(crate) fn take(&self) -> Result<FiberStack> {
        let kept = {
            let mut unused = self.unused.lock().unwrap_or_else(PoisonError::into_inner);
            unused.pop()
        };
        match kept {
            Some(stack) => Ok(stack),
            None => FiberStack::new(self.size).context("cannot allocate a stack for a fiber"),
        }
    }

    /// Takes a stack back.
    pub(crate) fn put(&self, mut stack: FiberStack) {
        if self.zeroing {
            if stack.clear(self.keep_resident).is_err() {
                return;
            }
        } else {
            stack.recycle(self.keep_resident);
        }
        let mut unused = self.unused.lock().unwrap_or_else(PoisonError::into_inner);
        if unused.len() < self.max_unused {
            unused.push(stack);
        }
    }
}
