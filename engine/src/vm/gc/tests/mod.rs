//! The collector alone: random programs against a model, and extreme shapes.

mod model;

use std::num::NonZeroU32;

use super::classes::{BLOCK, LARGEST_CELL};
use super::heap::{HeapConfig, Phase};
use super::object::Header;
use model::{BYTES, Mutator, REFS};

/// How many random programs there are; more by hand.
fn seeds(few: u64) -> u64 {
    let more = std::env::var("BIMETAL_GC_SEEDS").ok();
    more.and_then(|seeds| seeds.parse().ok()).unwrap_or(few)
}

fn small(nursery: u32) -> HeapConfig {
    HeapConfig {
        reservation: 64 << 20,
        nursery,
        zeal: None,
    }
}

#[test]
fn random_programs_find_what_they_have_left() {
    for seed in 1..=seeds(6) {
        let mut mutator = Mutator::new(seed, small(128 << 10));
        for step in 0..30_000 {
            if !mutator.act(true) {
                // What is reachable may be more than there is room for.
                mutator.drop_roots(2);
            }
            if mutator.random.one_in(3000) {
                mutator.collect();
            }
            if step % 5000 == 0 {
                mutator.check();
            }
        }
        mutator.collect_all();
        assert!(mutator.heap.counts.minor > 0);
    }
}

#[test]
fn collecting_at_every_allocation_changes_nothing() {
    for seed in 1..=seeds(6) {
        let config = HeapConfig {
            zeal: NonZeroU32::new(1 + (seed % 3) as u32),
            ..small(128 << 10)
        };
        let mut mutator = Mutator::new(seed, config);
        for step in 0..3000 {
            assert!(mutator.act(false));
            if step % 50 == 0 {
                mutator.check();
            }
        }
        assert!(mutator.heap.counts.cycles > 5, "cycles go on in all phases");
        mutator.collect_all();
    }
}

#[test]
fn a_full_heap_refuses_and_can_be_used_again() {
    for seed in 1..=seeds(10) {
        let mut mutator = Mutator::new(seed, small(128 << 10));
        mutator.most = mutator.heap.space.nursery() + 8 + (seed % 8) as u32;
        let mut refused = 0;
        for _ in 0..200 {
            let mut made = 0;
            while mutator.make((seed % 12) as u32, 0) && made < 200_000 {
                made += 1;
            }
            refused += 1;
            mutator.check();
            mutator.drop_roots(seed as usize * 10);
            if refused == 3 {
                break;
            }
        }
        mutator.drop_roots(0);
        assert!(mutator.make(3, 0), "there is room again");
        mutator.check();
    }
}

#[test]
fn long_lists_need_no_stack() {
    let mut mutator = Mutator::new(1, small(256 << 10));
    // Each new object refers to the one before.
    for _ in 0..300_000 {
        assert!(mutator.make(1, 0));
        let last = mutator.roots.0.len();
        if last > 4 {
            mutator.drop_oldest();
        }
    }
    mutator.collect_all();
    mutator.collect_all();
    mutator.check();
}

#[test]
fn huge_arrays_are_looked_at_in_parts() {
    let mut mutator = Mutator::new(7, small(128 << 10));
    assert!(mutator.make(REFS, 3_000_000));
    let array = mutator.roots.0[0];
    // SAFETY: an object.
    let header = unsafe { mutator.heap.view.header(array) };
    assert!(header.has(Header::BARRIER), "from the start");
    for _ in 0..20 {
        for _ in 0..500 {
            assert!(mutator.make(2, 0));
            mutator.write();
            mutator.write();
        }
        mutator.drop_roots_but_first(50);
        mutator.collect();
        // SAFETY: as above.
        assert!(unsafe { mutator.heap.view.header(array) }.has(Header::BARRIER));
    }
    // Marking goes on in steps.
    let mut steps = 0;
    while mutator.heap.phase != Phase::Mark {
        assert!(mutator.make(BYTES, 100_000));
        mutator.drop_roots_but_first(50);
        mutator.collect();
    }
    while mutator.heap.phase == Phase::Mark {
        mutator.write();
        mutator.collect();
        steps += 1;
    }
    assert!(steps > 10, "{steps}");
    mutator.collect_all();
}

#[test]
fn blocks_are_used_again_for_other_sizes_and_given_back() {
    let mut mutator = Mutator::new(3, small(128 << 10));
    let mut most = 0;
    for round in 0..12 {
        for _ in 0..60 {
            assert!(mutator.make(BYTES, LARGEST_CELL >> (round % 6)));
        }
        mutator.collect_all();
        most = most.max(mutator.heap.space.len());
        mutator.drop_roots(0);
    }
    mutator.collect_all();
    assert_eq!(mutator.heap.live, 0);
    let nursery = mutator.heap.space.nursery();
    assert_eq!(
        mutator.heap.space.num_free(),
        mutator.heap.space.len() - nursery
    );
    let needed = 60 * LARGEST_CELL / BLOCK + 16;
    assert!(most - nursery < 2 * needed, "{most}");
}

#[test]
fn a_space_is_used_again_as_if_it_were_new() {
    let spaces = super::Spaces::default();
    for _ in 0..3 {
        let space = spaces.take(64 << 20);
        let mut mutator = match space {
            Some(space) => Mutator::in_space(5, small(256 << 10), space),
            None => Mutator::new(5, small(256 << 10)),
        };
        let used = mutator.heap.nursery.end();
        // SAFETY: the nursery is accessible, but for where null would be.
        let bytes = unsafe {
            let first = mutator.heap.view.base.add(BLOCK as usize);
            std::slice::from_raw_parts(first, (used - BLOCK) as usize)
        };
        assert!(bytes.iter().all(|&byte| byte == 0));
        for _ in 0..20_000 {
            assert!(mutator.act(true));
        }
        mutator.check();
        let (space, used) = mutator.into_space();
        spaces.put(space, used);
    }
}
