//! A table of handles that gives out the lowest free number.
//!
//! POSIX programs (and many ports of them) rely on the lowest number being taken first, so that
//! closing descriptor 0 and opening a file makes that file the standard input. Finding the lowest
//! free number costs a heap operation, not a scan.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Handles from 0 up, each with a `T`.
#[derive(Clone, Debug)]
pub struct Table<T> {
    slots: Vec<Option<T>>,
    /// Exactly the numbers below `slots.len()` that are free.
    free: BinaryHeap<Reverse<u32>>,
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table {
            slots: Vec::new(),
            free: BinaryHeap::new(),
        }
    }
}

impl<T> Table<T> {
    /// Handles stay below 2^31, as preview 1 promises its guests.
    const MAX: usize = i32::MAX as usize;

    /// Stores `value` under the lowest free number; `None` if there is no number left.
    pub fn insert(&mut self, value: T) -> Option<u32> {
        while let Some(Reverse(number)) = self.free.pop() {
            if let Some(slot @ None) = self.slots.get_mut(number as usize) {
                *slot = Some(value);
                return Some(number);
            }
        }
        if self.slots.len() >= Self::MAX {
            return None;
        }
        self.slots.push(Some(value));
        Some((self.slots.len() - 1) as u32)
    }

    /// The value under `number`.
    pub fn get(&self, number: u32) -> Option<&T> {
        self.slots.get(number as usize)?.as_ref()
    }

    /// The value under `number`, to change.
    pub fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.slots.get_mut(number as usize)?.as_mut()
    }

    /// Takes the value out; the number is free from now on.
    pub fn remove(&mut self, number: u32) -> Option<T> {
        let value = self.slots.get_mut(number as usize)?.take()?;
        self.free.push(Reverse(number));
        Some(value)
    }

    /// Puts `value` under a number that is in use and returns what was there; gives `value` back
    /// if the number is free.
    pub fn replace(&mut self, number: u32, value: T) -> Result<T, T> {
        match self.get_mut(number) {
            Some(slot) => Ok(std::mem::replace(slot, value)),
            None => Err(value),
        }
    }

    /// The handles in use, in rising order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(n, slot)| Some((n as u32, slot.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowest_free_number_first() {
        let mut table = Table::default();
        for i in 0..5 {
            assert_eq!(table.insert(i), Some(i));
        }
        assert_eq!(table.remove(3), Some(3));
        assert_eq!(table.remove(1), Some(1));
        assert_eq!(table.remove(1), None);
        assert_eq!(table.insert(10), Some(1));
        assert_eq!(table.insert(11), Some(3));
        assert_eq!(table.insert(12), Some(5));
        assert_eq!(table.replace(9, 0), Err(0));
        assert_eq!(table.replace(5, 13), Ok(12));
        assert_eq!(
            table.iter().map(|(n, _)| n).collect::<Vec<_>>(),
            [0, 1, 2, 3, 4, 5]
        );
    }
}
