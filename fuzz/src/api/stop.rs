//! What stops programs: fuel, deadlines, interrupts, limits.

use arbitrary::{Result as ArbitraryResult, Unstructured};
use bimetal::{Error, StoreLimitsBuilder, UpdateDeadline};

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
        let what = u.int_in_range(0..=8)?;
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
