//! What instances left behind, by module and by age.

use std::collections::{BTreeMap, VecDeque};

use super::Parts;

/// Parts of instances that are gone. Of a module's the newest comes out first, for it is in the
/// caches; if something has to go, it is the oldest of all.
#[derive(Debug, Default)]
pub(super) struct Warm {
    /// By module, and there by age.
    parts: BTreeMap<u64, VecDeque<(u64, Parts)>>,
    /// Which module's oldest parts are how old.
    oldest: BTreeMap<u64, u64>,
    count: usize,
    /// The time, in parts that came in.
    now: u64,
}

impl Warm {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn insert(&mut self, module: u64, parts: Parts) {
        self.now += 1;
        self.count += 1;
        let of_module = self.parts.entry(module).or_default();
        if of_module.is_empty() {
            self.oldest.insert(self.now, module);
        }
        of_module.push_back((self.now, parts));
    }

    /// The newest of a module.
    pub(super) fn take(&mut self, module: u64) -> Option<Parts> {
        let of_module = self.parts.get_mut(&module)?;
        let (age, parts) = of_module.pop_back()?;
        if of_module.is_empty() {
            self.oldest.remove(&age);
        }
        self.count -= 1;
        Some(parts)
    }

    /// The oldest of all.
    pub(super) fn take_oldest(&mut self) -> Option<Parts> {
        let (_, module) = self.oldest.pop_first()?;
        let of_module = self.parts.get_mut(&module)?;
        let (_, parts) = of_module.pop_front()?;
        match of_module.front() {
            Some((age, _)) => {
                self.oldest.insert(*age, module);
            }
            None => {
                self.parts.remove(&module);
            }
        }
        self.count -= 1;
        Some(parts)
    }

    /// All of a module, which is gone.
    pub(super) fn take_all(&mut self, module: u64) -> impl Iterator<Item = Parts> + use<> {
        let of_module = self.parts.remove(&module).unwrap_or_default();
        if let Some((age, _)) = of_module.front() {
            self.oldest.remove(age);
        }
        self.count -= of_module.len();
        of_module.into_iter().map(|(_, parts)| parts)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::storage::Zeroed;
    use super::super::Storage;
    use super::*;

    /// Parts that can be told apart by the size of their context.
    fn parts(number: usize) -> Parts {
        Parts {
            context: Zeroed::new(number).expect("a few bytes"),
            storage: Storage::default(),
            used: true,
            filled: false,
        }
    }

    fn number(parts: Option<Parts>) -> Option<usize> {
        Some(parts?.context.size())
    }

    #[test]
    fn the_newest_of_a_module_and_the_oldest_of_all() {
        let mut warm = Warm::default();
        for (number, module) in [1, 2, 1, 1, 3].into_iter().enumerate() {
            warm.insert(module, parts(number));
        }
        assert_eq!(number(warm.take(1)), Some(3));
        assert_eq!(number(warm.take(4)), None);
        assert_eq!(number(warm.take_oldest()), Some(0));
        assert_eq!(number(warm.take_oldest()), Some(1));
        assert_eq!(number(warm.take(2)), None);
        warm.insert(2, parts(5));
        assert_eq!(warm.len(), 3);
        assert_eq!(
            warm.take_all(1)
                .map(|p| p.context.size())
                .collect::<Vec<_>>(),
            [2]
        );
        assert_eq!(number(warm.take_oldest()), Some(4));
        assert_eq!(number(warm.take(2)), Some(5));
        assert_eq!((number(warm.take_oldest()), warm.len()), (None, 0));
    }
}
