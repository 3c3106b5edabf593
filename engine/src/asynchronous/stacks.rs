//! The stacks of an engine's fibers that no fiber is on.
//!
//! The newest comes first: its memory is in the caches. What a stack may keep of its memory is
//! bounded, and so is the number of stacks; more are made when more calls are going on, and
//! unmapped afterwards. With a pool there is a bound on those that are in use, too.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use bimetal_sys::FiberStack;

use crate::allocation::{InstanceAllocationStrategy, PoolConcurrencyLimitError};
use crate::config::Config;
use crate::error::{Context, Error, Result};

/// See the module.
#[derive(Debug)]
pub(crate) struct FiberStacks {
    size: usize,
    max_unused: usize,
    keep_resident: usize,
    zeroing: bool,
    /// How many may be in use, with a pool.
    limit: Option<u32>,
    used: AtomicU32,
    unused: Mutex<Vec<FiberStack>>,
}

impl FiberStacks {
    pub(crate) fn new(config: &Config) -> FiberStacks {
        FiberStacks {
            size: config.async_stack_bytes(),
            max_unused: config.async_stacks.max_unused,
            keep_resident: config.async_stacks.keep_resident,
            zeroing: config.async_stacks.zeroing,
            limit: match &config.allocation {
                InstanceAllocationStrategy::OnDemand => None,
                InstanceAllocationStrategy::Pooling(pool) => Some(pool.total_stacks),
            },
            used: AtomicU32::new(0),
            unused: Mutex::default(),
        }
    }

    /// A stack, maybe a used one.
    pub(crate) fn take(&self) -> Result<FiberStack> {
        let Some(limit) = self.limit else {
            return self.get();
        };
        if self.used.fetch_add(1, Ordering::Relaxed) >= limit {
            self.used.fetch_sub(1, Ordering::Relaxed);
            let error = PoolConcurrencyLimitError::new(limit, "stacks of asynchronous calls");
            return Err(Error::new(error));
        }
        let stack = self.get();
        if stack.is_err() {
            self.used.fetch_sub(1, Ordering::Relaxed);
        }
        stack
    }

    fn get(&self) -> Result<FiberStack> {
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
        if self.limit.is_some() {
            self.used.fetch_sub(1, Ordering::Relaxed);
        }
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
