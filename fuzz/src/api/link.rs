//! Sequences of calls of a linker, which outlives stores.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use arbitrary::{Result as ArbitraryResult, Unstructured};
use bimetal::{Caller, Error, FuncType, Linker, Val, ValType};

use super::{Boom, Data, Item, PANICS, World};
use crate::Notes;

const MODULE_NAMES: &[&str] = &["h", "h", "h", "x", ""];
const NAMES: &[&str] = &["f", "m", "t", "g", "call"];

impl World<'_> {
    /// Some calls of one linker, with one store.
    pub(super) fn link(
        &mut self,
        at: usize,
        u: &mut Unstructured<'_>,
        notes: &mut Notes,
    ) -> ArbitraryResult<Result<(), String>> {
        if self.linkers.is_empty() || u.ratio(1, 4)? {
            let engine = u.choose_index(self.engines.len())?;
            self.linkers.push(Linker::new(&self.engines[engine]));
        }
        let which = u.choose_index(self.linkers.len())?;
        let mut linker = self.linkers.swap_remove(which);
        let mut outcome = Ok(Ok(()));
        for _ in 0..u.int_in_range(1..=6)? {
            let made = catch_unwind(AssertUnwindSafe(|| {
                self.one_link(at, &mut linker, u, notes)
            }));
            outcome = match made {
                Ok(outcome) => outcome,
                // A start function may call a host function that panics.
                Err(panic) if panic.is::<Boom>() => {
                    notes.count(PANICS);
                    Ok(Ok(()))
                }
                Err(panic) => resume_unwind(panic),
            };
            if !matches!(outcome, Ok(Ok(()))) {
                break;
            }
        }
        if self.linkers.len() < 4 {
            self.linkers.push(linker);
        }
        outcome
    }

    fn one_link(
        &mut self,
        at: usize,
        linker: &mut Linker<Data>,
        u: &mut Unstructured<'_>,
        notes: &mut Notes,
    ) -> ArbitraryResult<Result<(), String>> {
        let live = &mut self.stores[at];
        let (module, name) = (*u.choose(MODULE_NAMES)?, *u.choose(NAMES)?);
        let (other, as_name) = (*u.choose(MODULE_NAMES)?, *u.choose(NAMES)?);
        let what = u.int_in_range(0..=13)?;
        self.log.push(format!(
            "link {what} {module}.{name} {other}.{as_name} in store {}",
            live.id
        ));
        match what {
            0 => _ = linker.allow_shadowing(u.arbitrary()?),
            1..=3 => {
                let Some(handle) = self.handles.last() else {
                    return Ok(Ok(()));
                };
                let handle = match u.arbitrary()? {
                    true => handle.clone(),
                    false => u.choose(&self.handles)?.clone(),
                };
                if let Item::Extern(item) = handle.item {
                    let defined = linker.define(&live.store, module, name, item).is_ok();
                    if defined && handle.store != live.id {
                        return Ok(Err("what is of another store was defined".into()));
                    }
                }
            }
            4 => {
                let f = |mut caller: Caller<'_, Data>, n: i32| {
                    caller.data_mut().calls += 1;
                    n.wrapping_add(1)
                };
                _ = linker.func_wrap(module, name, f);
            }
            5 => {
                let ty = FuncType::new(linker.engine(), [ValType::I32], [ValType::I32]);
                let fails = u.arbitrary::<bool>()?;
                let f = move |_: Caller<'_, Data>, params: &[Val], results: &mut [Val]| match fails
                {
                    true => Err(Error::msg("refused")),
                    false => {
                        results[0] = params[0];
                        Ok(())
                    }
                };
                _ = linker.func_new(module, name, ty, f);
            }
            6 => _ = linker.alias(module, name, other, as_name),
            7 => _ = linker.alias_module(module, other),
            8 => {
                let instance = self
                    .handles
                    .iter()
                    .rev()
                    .find_map(|handle| match handle.item {
                        Item::Instance(instance) if handle.store == live.id => Some(instance),
                        _ => None,
                    });
                if let Some(instance) = instance {
                    _ = linker.instance(&mut live.store, module, instance);
                }
            }
            // What it finds may be of another store, which is documented to panic.
            9 => {
                let found = catch_unwind(AssertUnwindSafe(|| {
                    let found = linker.get(&mut live.store, module, name);
                    found.map(|item| item.ty(&live.store))
                }));
                notes.count(match found {
                    Ok(_) => "got from a linker",
                    Err(_) => "documented panics",
                });
            }
            _ => {
                let Some((_, wasm)) = u.choose(&self.modules).ok().cloned() else {
                    return Ok(Ok(()));
                };
                let store = &mut live.store;
                let worked = match what {
                    10 => linker.define_unknown_imports_as_traps(&wasm).is_ok(),
                    11 => linker.module(&mut *store, module, &wasm).is_ok(),
                    12 => match linker.instantiate_pre(&wasm) {
                        Ok(pre) => {
                            // Again, as that is what it is for.
                            let first = pre.instantiate(&mut *store).is_ok();
                            first & pre.instantiate(&mut *store).is_ok()
                        }
                        Err(_) => false,
                    },
                    _ => linker.instantiate(&mut *store, &wasm).is_ok(),
                };
                notes.count(match worked {
                    true => "linked",
                    false => "not linked",
                });
            }
        }
        Ok(Ok(()))
    }
}
