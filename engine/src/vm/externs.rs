//! External references: values of the host's that wasm holds, and when they go.
//!
//! Wasm sees a reference with the value's number in it (`abi/src/gc.rs`); the host's handles are these
//! references. A value lives while wasm can reach it, as `gc/` finds out, or the host holds it:
//! handles that were obtained while no wasm was running keep it until their root scope ends, the store
//! itself if there is none; handles obtained inside of a host function keep it until the outermost
//! call returns. Numbers are used again, so handles have a generation and are checked.

use std::any::Any;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};

use bimetal_abi::gc::reference;

use super::gc::HostMarks;
use super::store::StoreOpaque;
use crate::error::{Error, ErrorKind, Result};

/// Collections are not worth while below so many values.
const FEW: usize = 1024;

/// Not held by the host.
const NOT_HELD: u64 = u64::MAX;

/// The values of a store.
pub(crate) struct Externs {
    slots: Vec<Slot>,
    free: Vec<u32>,
    live: usize,
    /// Serial numbers of the open root scopes, outermost first. The store's own, 0, is not there.
    scopes: Vec<u64>,
    last_scope: u64,
    /// How many values make the next collection.
    next_collection: usize,
    /// Raw references are on their way between host and wasm: nothing may be collected.
    in_transit: u32,
}

struct Slot {
    value: Option<Box<dyn Any + Send + Sync>>,
    generation: u32,
    /// The outermost root scope that holds it.
    held: AtomicU64,
    /// The outermost call (`StoreOpaque::entries`) in which the host obtained it last.
    in_call: AtomicU64,
    /// What owned handles share.
    owner: Weak<()>,
}

/// The number of the value that a reference is to.
fn number(handle: u32) -> Option<usize> {
    (handle & reference::TAG_MASK == reference::HOST).then_some((handle >> 2) as usize)
}

impl Default for Externs {
    fn default() -> Self {
        Externs {
            slots: Vec::new(),
            free: Vec::new(),
            live: 0,
            scopes: Vec::new(),
            last_scope: 0,
            next_collection: FEW,
            in_transit: 0,
        }
    }
}

impl Externs {
    fn slot(&self, handle: u32, generation: u32) -> Option<&Slot> {
        let slot = self.slots.get(number(handle)?)?;
        (slot.generation == generation && slot.value.is_some()).then_some(slot)
    }

    fn is_open(&self, scope: u64) -> bool {
        scope == 0 || self.scopes.contains(&scope)
    }

    /// Has the current root scope hold it, unless one further out does.
    fn hold(&self, slot: &Slot) {
        if !self.is_open(slot.held.load(Ordering::Relaxed)) {
            let scope = self.scopes.last().copied().unwrap_or(0);
            slot.held.store(scope, Ordering::Relaxed);
        }
    }

    pub(crate) fn open_scope(&mut self) -> u64 {
        self.last_scope += 1;
        self.scopes.push(self.last_scope);
        self.last_scope
    }

    /// Ends a root scope, and those that were opened in it.
    pub(crate) fn close_scope(&mut self, scope: u64) {
        if let Some(at) = self.scopes.iter().position(|&open| open == scope) {
            self.scopes.truncate(at);
        }
    }

    /// Until this is called with `false` as often, nothing is collected.
    pub(crate) fn transit(&mut self, begins: bool) {
        match begins {
            true => self.in_transit += 1,
            false => self.in_transit = self.in_transit.saturating_sub(1),
        }
    }

    pub(crate) fn set_owner(&mut self, handle: u32, owner: Weak<()>) {
        self.slots[(handle >> 2) as usize].owner = owner;
    }

    pub(crate) fn owner(&self, handle: u32) -> &Weak<()> {
        &self.slots[(handle >> 2) as usize].owner
    }

    /// Whether raw references are on their way between host and wasm.
    pub(super) fn is_in_transit(&self) -> bool {
        self.in_transit > 0
    }
}

impl StoreOpaque {
    /// Keeps a host value for an externref: the reference to it, and its generation.
    pub(crate) fn new_extern(&mut self, value: Box<dyn Any + Send + Sync>) -> Result<(u32, u32)> {
        let number = match self.externs.free.pop() {
            Some(number) => number,
            None => {
                let number = self.externs.slots.len();
                if number > (u32::MAX >> 2) as usize {
                    return Err(Error::of(
                        ErrorKind::Limit,
                        "this store holds too many external references",
                    ));
                }
                self.externs.slots.push(Slot {
                    value: None,
                    generation: 0,
                    held: AtomicU64::new(NOT_HELD),
                    in_call: AtomicU64::new(0),
                    owner: Weak::new(),
                });
                number as u32
            }
        };
        self.host_value_born(number);
        let handle = number << 2 | reference::HOST;
        self.externs.live += 1;
        let slot = &mut self.externs.slots[number as usize];
        slot.value = Some(value);
        let generation = slot.generation;
        self.obtain_extern(handle);
        Ok((handle, generation))
    }

    /// The generation of a handle that wasm gave to the host, which holds it from now on.
    pub(crate) fn obtain_extern(&self, handle: u32) -> u32 {
        let Some(slot) = number(handle).and_then(|number| self.externs.slots.get(number)) else {
            return 0;
        };
        match self.is_running() {
            true => slot.in_call.store(self.entries, Ordering::Relaxed),
            false => self.externs.hold(slot),
        }
        slot.generation
    }

    /// Whether the value of a handle is still there.
    pub(crate) fn has_extern(&self, handle: u32, generation: u32) -> bool {
        self.externs.slot(handle, generation).is_some()
    }

    pub(crate) fn extern_data(
        &self,
        handle: u32,
        generation: u32,
    ) -> Option<&(dyn Any + Send + Sync)> {
        self.externs.slot(handle, generation)?.value.as_deref()
    }

    pub(crate) fn extern_data_mut(
        &mut self,
        handle: u32,
        generation: u32,
    ) -> Option<&mut (dyn Any + Send + Sync)> {
        self.externs.slot(handle, generation)?;
        self.externs.slots[(handle >> 2) as usize]
            .value
            .as_deref_mut()
    }

    /// Whether wasm of this store is on the stack.
    pub(super) fn is_running(&self) -> bool {
        // SAFETY: the context lives as long as the store, and its code is not running right now.
        unsafe { (*self.context().as_ptr()).entry_fp != 0 }
    }

    /// Collects if there are twice as many values as after the last collection. Called before an
    /// outermost call, while no reference is on its way.
    #[inline]
    pub(crate) fn collect_if_due(&mut self) {
        if self.externs.live >= self.externs.next_collection {
            self.collect();
        }
    }

    /// Drops the values that neither wasm nor the host can reach. Wasm reaches those in `marks`.
    pub(super) fn drop_externs(&mut self, marks: HostMarks) {
        let mut dropped = Vec::new();
        let call = self.is_running().then_some(self.entries);
        for (i, slot) in self.externs.slots.iter_mut().enumerate() {
            let held = slot.held.load(Ordering::Relaxed);
            let held = held == 0 || self.externs.scopes.contains(&held);
            let held = held || call == Some(*slot.in_call.get_mut());
            if marks.has(i as u32) || held || slot.owner.strong_count() > 0 {
                continue;
            }
            let Some(value) = slot.value.take() else {
                continue;
            };
            dropped.push(value);
            slot.held = AtomicU64::new(NOT_HELD);
            slot.owner = Weak::new();
            slot.generation = slot.generation.wrapping_add(1);
            self.externs.free.push(i as u32);
        }
        self.externs.live -= dropped.len();
        self.externs.next_collection = FEW.max(self.externs.live * 2);
        // What runs when they are dropped finds the store in order, even if it panics.
        drop(dropped);
    }
}
