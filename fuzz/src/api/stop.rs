//! What stops programs, and who is told of them: fuel, deadlines, interrupts, limits, hooks.

use arbitrary::{Result as ArbitraryResult, Unstructured};
use bimetal::{CallHook, Error, StoreLimitsBuilder, UpdateDeadline};

use super::World;
use crate::Notes;

impl World<'_> {
    /// One change of what stops the programs of a store.
    pub(super) fn stop(
        &mut self,
        at: usize,
        u: &mut Unstructured<'_>,
        notes: &mut Notes,
    ) -> ArbitraryResult<Result<(), String>> {
        let live = &mut self.stores[at];
        let store = &mut live.store;
        let what = u.int_in_range(0..=10)?;
        let number = u.int_in_range(0..=5000)?;
        self.log
            .push(format!("stop {what} {number} in store {}", live.id));
        match what {
            0 | 1 => {
                let set = store.set_fuel(number);
                match (set.is_ok(), store.get_fuel()) {
                    (true, Ok(fuel)) if fuel == number => notes.count("fuel was set"),
                    (false, Err(_)) => {}
                    (set, fuel) => return Ok(Err(format!("{number} of fuel, {set}: {fuel:?}"))),
                }
            }
            2 => store.set_epoch_deadline(number % 4),
            3 => self.engines[live.engine].increment_epoch(),
            4 => store.epoch_deadline_trap(),
            5 => store.epoch_deadline_callback(move |mut store| {
                store.data_mut().calls += 1;
                match number % 3 {
                    0 => Err(Error::msg("the deadline has come")),
                    n => Ok(UpdateDeadline::Continue(n)),
                }
            }),
            6 => {
                if let Ok(handle) = store.interrupt_handle() {
                    let other = handle.clone();
                    handle.interrupt();
                    if number.is_multiple_of(8) {
                        // The store may be gone before the handle.
                        self.stores.swap_remove(at);
                        other.interrupt();
                    }
                    notes.count("interrupts");
                }
            }
            7 | 8 => {
                // Each border is crossed both ways, unless a hook itself fails.
                let fails = number.is_multiple_of(4);
                let data = store.data_mut();
                (data.inside, data.balanced) = (0, !fails);
                store.call_hook(move |mut store, what| {
                    let data = store.data_mut();
                    data.calls += 1;
                    data.inside += match what {
                        CallHook::CallingWasm | CallHook::CallingHost => 1,
                        CallHook::ReturningFromWasm | CallHook::ReturningFromHost => -1,
                    };
                    match fails && (data.calls + number).is_multiple_of(5) {
                        true => Err(Error::msg("the hook refuses")),
                        false => Ok(()),
                    }
                });
                notes.count("hooks");
            }
            _ => {
                let limits = StoreLimitsBuilder::new()
                    .memory_size((number as usize % 5) << 16)
                    .table_elements(number as usize % 7)
                    .instances(number as usize % 50)
                    .memories(20)
                    .trap_on_grow_failure(u.arbitrary()?);
                store.data_mut().limits = limits.build();
                store.limiter(|data| &mut data.limits);
                notes.count("limiters");
            }
        }
        Ok(Ok(()))
    }
}
