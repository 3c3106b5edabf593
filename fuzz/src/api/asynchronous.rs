//! Calls that wait, and that are given up while they do.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use arbitrary::{Result as ArbitraryResult, Unstructured};
use bimetal::{Caller, Error, Extern, Func, Instance, Store, Val};

use super::uses::{arguments, results_of};
use super::{Boom, Data, Handle, Item, PANICS, World};
use crate::Notes;

/// Is pending once.
fn pause() -> impl Future<Output = ()> + Send {
    let mut paused = false;
    poll_fn(move |_| match std::mem::replace(&mut paused, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
}

/// Polls at most so many times; then it is given up, with all that it waits in.
fn poll<T>(future: impl Future<Output = T>, times: u32) -> Option<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..times {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
    }
    None
}

/// Something on a fiber's stack that must be dropped, however the fiber ends.
struct Guard<'a, 'b>(&'a mut Caller<'b, Data>);

impl Drop for Guard<'_, '_> {
    fn drop(&mut self) {
        self.0.data_mut().calls += 1;
        self.0.data_mut().waiting -= 1;
    }
}

/// A host function that waits as often as it is told, and then fails, panics or returns.
pub(super) fn waiting(store: &mut Store<Data>) -> Extern {
    Func::wrap_async(store, |mut caller: Caller<'_, Data>, (n,): (i32,)| {
        Box::new(async move {
            caller.data_mut().waiting += 1;
            let _guard = Guard(&mut caller);
            for _ in 0..n & 3 {
                pause().await;
            }
            match n & 31 {
                9 => std::panic::panic_any(Boom),
                10 => Err(Error::msg("refused")),
                _ => Ok(n.wrapping_add(1)),
            }
        })
    })
    .into()
}

/// A host function that calls another function asynchronously: a fiber in a fiber.
pub(super) fn going_in(store: &mut Store<Data>, handles: &[Handle]) -> Extern {
    let inner = handles.iter().rev().find_map(|handle| match handle.item {
        Item::Extern(Extern::Func(func)) => Some(func),
        _ => None,
    });
    Func::wrap_async(store, move |mut caller: Caller<'_, Data>, (n,): (i32,)| {
        Box::new(async move {
            caller.data_mut().calls += 1;
            let (Some(inner), true) = (inner, caller.data().waiting < 3) else {
                return Ok(n);
            };
            caller.data_mut().waiting += 1;
            let guard = Guard(&mut caller);
            pause().await;
            let mut results = [Val::I32(0)];
            let params = [Val::I32(n / 2)];
            let outcome = inner.call_async(&mut *guard.0, &params, &mut results).await;
            outcome?;
            Ok(results[0].i32().unwrap_or(n))
        })
    })
    .into()
}

impl World<'_> {
    /// Calls or instantiates asynchronously, to the end or not.
    pub(super) fn asynchronously(
        &mut self,
        at: usize,
        handle: Option<Handle>,
        u: &mut Unstructured<'_>,
        notes: &mut Notes,
    ) -> ArbitraryResult<Result<(), String>> {
        let times = *u.choose(&[0, 1, 1, 2, 3, 5, 10_000])?;
        let own = |handle: &&Handle| handle.store == self.stores[at].id;
        let handle = match handle {
            Some(handle) if own(&&handle) && !u.ratio(1, 16)? => Some(handle),
            Some(handle) if u.ratio(1, 16)? => Some(handle),
            _ => self.handles.iter().rfind(own).cloned(),
        };
        let Some(handle) = handle else {
            return Ok(Ok(()));
        };
        let interval = u.int_in_range(0..=300)?;
        let live = &mut self.stores[at];
        let args = arguments(live, &handle, u, &self.handles)?;
        let module = u
            .choose(&self.modules)
            .ok()
            .map(|(_, module)| module.clone());
        self.log.push(format!(
            "{times} polls of {:?} of store {} in store {}",
            handle.item, handle.store, live.id
        ));
        // A module need not import anything.
        let imports = module.as_ref().map_or(0, |module| module.imports().len());
        let called = matches!(handle.item, Item::Extern(Extern::Func(_)));
        let own = handle.store == live.id || !called && imports == 0;
        let store = &mut live.store;
        let _ = store.fuel_async_yield_interval((interval > 0).then_some(interval));
        if interval.is_multiple_of(5) {
            store.epoch_deadline_async_yield_and_update(1);
        }
        let done = catch_unwind(AssertUnwindSafe(|| match handle.item {
            Item::Extern(Extern::Func(func)) => {
                let mut results = results_of(&func.ty(&*store));
                let done = poll(func.call_async(&mut *store, &args, &mut results), times);
                (done.map(|outcome| outcome.is_ok()), "asynchronous calls")
            }
            _ => {
                let Some(module) = module else {
                    return (None, "no module");
                };
                let imports: Vec<Extern> = match handle.item {
                    Item::Extern(item) => vec![item; module.imports().len()],
                    _ => vec![],
                };
                let done = poll(Instance::new_async(&mut *store, &module, &imports), times);
                (
                    done.map(|outcome| outcome.is_ok()),
                    "asynchronous instances",
                )
            }
        }));
        if store.data().waiting != 0 {
            return Ok(Err(format!(
                "{} host functions were not dropped",
                store.data().waiting
            )));
        }
        match done {
            Ok((Some(true), _)) if !own => {
                return Ok(Err("a handle of another store worked".into()));
            }
            Ok((Some(worked), what)) => notes.count(&format!("{what}: {worked}")),
            Ok((None, what)) => notes.count(&format!("{what}: given up")),
            Err(panic) if panic.is::<Boom>() => notes.count(PANICS),
            Err(_) if !own => notes.count("documented panics"),
            Err(panic) => resume_unwind(panic),
        }
        Ok(Ok(()))
    }
}
