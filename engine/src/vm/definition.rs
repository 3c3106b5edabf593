//! Where generated code finds a memory, table or global.

use std::ptr::NonNull;

/// A place in the context of the instance that defines it, or a box of the host's. What is there is
/// reached by raw pointers only.
#[derive(Debug)]
pub(super) struct Definition<T> {
    place: NonNull<T>,
    boxed: bool,
}

impl<T> Definition<T> {
    /// In a box of its own.
    pub(super) fn boxed(value: T) -> Definition<T> {
        Definition {
            place: NonNull::from(Box::leak(Box::new(value))),
            boxed: true,
        }
    }

    /// At a place that outlives it, which has its value.
    pub(super) fn at(place: NonNull<T>) -> Definition<T> {
        Definition {
            place,
            boxed: false,
        }
    }

    /// At this place, or else in a box.
    ///
    /// # Safety
    /// The place must be writable, unaliased by references and outlive the definition.
    pub(super) unsafe fn new(place: Option<NonNull<T>>, value: T) -> Definition<T> {
        match place {
            Some(place) => {
                // SAFETY: the caller's promise.
                unsafe { place.write(value) };
                Definition::at(place)
            }
            None => Definition::boxed(value),
        }
    }

    pub(super) fn place(&self) -> NonNull<T> {
        self.place
    }

    pub(super) fn as_ptr(&self) -> *mut T {
        self.place.as_ptr()
    }
}

impl<T> Drop for Definition<T> {
    fn drop(&mut self) {
        if self.boxed {
            // SAFETY: leaked from a box by `boxed`, and nothing runs that could use it.
            drop(unsafe { Box::from_raw(self.place.as_ptr()) });
        }
    }
}
