//! External references: values of the host's that wasm holds.
//!
//! Wasm sees a reference with the value's number in it (`abi/src/gc.rs`). A value lives while such a
//! reference can be reached, by wasm or the host, as `gc/` finds out.

use std::any::Any;

use bimetal_abi::gc::reference;

use super::gc::HostMarks;
use super::store::StoreOpaque;
use crate::error::{Error, ErrorKind, Result};

/// Collections are not worth while below so many values.
const FEW: usize = 1024;

/// The values of a store.
pub(crate) struct Externs {
    /// By number.
    values: Vec<Option<Box<dyn Any + Send + Sync>>>,
    free: Vec<u32>,
    live: usize,
    /// How many values make the next collection.
    next_collection: usize,
    /// Raw references are on their way between host and wasm: nothing may be collected.
    in_transit: u32,
}

/// The number of the value that a reference is to.
fn number(raw: u32) -> Option<usize> {
    (raw & reference::TAG_MASK == reference::HOST).then_some((raw >> 2) as usize)
}

impl Default for Externs {
    fn default() -> Self {
        Externs {
            values: Vec::new(),
            free: Vec::new(),
            live: 0,
            next_collection: FEW,
            in_transit: 0,
        }
    }
}

impl Externs {
    /// Until this is called with `false` as often, nothing is collected.
    pub(crate) fn transit(&mut self, begins: bool) {
        match begins {
            true => self.in_transit += 1,
            false => self.in_transit = self.in_transit.saturating_sub(1),
        }
    }

    /// Whether raw references are on their way between host and wasm.
    pub(super) fn is_in_transit(&self) -> bool {
        self.in_transit > 0
    }
}

impl StoreOpaque {
    /// Keeps a host value for an externref: the reference to it.
    pub(crate) fn new_extern(&mut self, value: Box<dyn Any + Send + Sync>) -> Result<u32> {
        self.collect_if_due();
        let number = match self.externs.free.pop() {
            Some(number) => number,
            None => {
                let number = self.externs.values.len();
                if number > (u32::MAX >> 2) as usize {
                    return Err(Error::of(
                        ErrorKind::Limit,
                        "this store holds too many external references",
                    ));
                }
                self.externs.values.push(None);
                number as u32
            }
        };
        self.host_value_born(number);
        self.externs.live += 1;
        self.externs.values[number as usize] = Some(value);
        Ok(number << 2 | reference::HOST)
    }

    /// The value that a reference is to; `None` if it is to something of wasm's.
    pub(crate) fn extern_data(&self, raw: u32) -> Option<&(dyn Any + Send + Sync)> {
        self.externs.values.get(number(raw)?)?.as_deref()
    }

    /// As [`StoreOpaque::extern_data`].
    pub(crate) fn extern_data_mut(&mut self, raw: u32) -> Option<&mut (dyn Any + Send + Sync)> {
        self.externs.values.get_mut(number(raw)?)?.as_deref_mut()
    }

    /// Collects if there are twice as many values as after the last collection.
    #[inline]
    pub(crate) fn collect_if_due(&mut self) {
        if self.externs.live >= self.externs.next_collection {
            self.collect();
        }
    }

    /// Drops the values that are not in `marks`.
    pub(super) fn drop_externs(&mut self, marks: HostMarks) {
        let mut dropped = Vec::new();
        for (i, slot) in self.externs.values.iter_mut().enumerate() {
            if marks.has(i as u32) {
                continue;
            }
            if let Some(value) = slot.take() {
                dropped.push(value);
                self.externs.free.push(i as u32);
            }
        }
        self.externs.live -= dropped.len();
        self.externs.next_collection = FEW.max(self.externs.live * 2);
        // What runs when they are dropped finds the store in order, even if it panics.
        drop(dropped);
    }
}
