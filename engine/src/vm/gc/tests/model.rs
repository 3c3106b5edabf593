//! A heap without a store, and what should be in it.
//!
//! [`Mutator`] does with a heap what wasm and the host do, at random, and the same with a plain graph
//! in Rust. [`Mutator::check`] walks both from the roots and compares them, object by object.

use std::collections::{HashMap, HashSet};
use std::ptr::NonNull;
use std::sync::LazyLock;

use bimetal_abi::VmStoreContext;
use bimetal_abi::gc::{VmObject, VmTypeInfo, reference};

use super::super::classes::{BLOCK, BLOCK_LOG2, LARGEST_CELL, SIZES, class_of};
use super::super::heap::{Heap, HeapConfig, NewObject};
use super::super::mark::HostMarks;
use super::super::object::{Header, array_size, elements_at};
use super::super::old::is_marked;
use super::super::space::{NoRoom, Space, Use};
use super::super::stack::RootSet;

/// Numbers that look random, the same each time.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n.max(1)
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// What a reference is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ref {
    Null,
    I31(u32),
    Host(u32),
    Object(usize),
}

/// An object as it should be.
#[derive(Debug)]
struct Expected {
    type_id: u32,
    kind: u8,
    refs: Vec<Ref>,
    /// What all other bytes are.
    byte: u8,
}

/// Structs of up to so many references have types of these numbers; then follow the others.
pub(super) const STRUCTS: u32 = 12;
const WIDE: u32 = STRUCTS;
pub(super) const REFS: u32 = STRUCTS + 1;
pub(super) const BYTES: u32 = STRUCTS + 2;
const LONGS: u32 = STRUCTS + 3;
const EXCEPTION: u32 = STRUCTS + 4;
const TYPES: u32 = STRUCTS + 5;

/// References of the struct that has many.
const MANY: usize = 3000;

/// Where the references of each type are, by number.
static OFFSETS: LazyLock<Vec<Vec<u32>>> = LazyLock::new(|| {
    let of = |id| match id {
        // The references are not all next to each other.
        0..STRUCTS => (0..id).map(|i| 12 + i * 4 + (i / 3) * 8).collect(),
        WIDE => (0..MANY as u32).map(|i| 8 + i * 4).collect(),
        EXCEPTION => vec![16, 20, 32],
        _ => Vec::new(),
    };
    (0..TYPES).map(of).collect()
});

fn type_info(id: u32) -> VmTypeInfo {
    let refs = &OFFSETS[id as usize];
    let end = refs.last().map_or(8 + id * 5, |last| last + 4);
    VmTypeInfo {
        kind: match id {
            REFS | BYTES | LONGS => VmObject::ARRAY,
            EXCEPTION => VmTypeInfo::FUNC,
            _ => VmObject::STRUCT,
        },
        depth: 0,
        traced_elements: u8::from(id == REFS),
        element_log2: match id {
            REFS => 2,
            LONGS => 3,
            _ => 0,
        },
        size: end.next_multiple_of(8).max(8),
        num_refs: refs.len() as u32,
        refs: refs.as_ptr(),
        reserved: 0,
        display: [u32::MAX; VmTypeInfo::DISPLAY],
        long_display: std::ptr::null(),
    }
}

/// The test's own roots.
#[derive(Default)]
pub(super) struct TestRoots(pub(super) Vec<u32>);

impl RootSet for TestRoots {
    fn each(&mut self, _all: bool, visit: &mut dyn FnMut(*mut u32) -> bool) {
        for root in &mut self.0 {
            visit(root);
        }
    }
}

pub(super) struct Mutator {
    /// Replaced when the space is taken out.
    pub(super) heap: std::mem::ManuallyDrop<Heap>,
    taken: bool,
    context: NonNull<VmStoreContext>,
    types: Vec<VmTypeInfo>,
    pub(super) random: Random,
    pub(super) roots: TestRoots,
    expected_roots: Vec<Ref>,
    objects: Vec<Expected>,
    hosts: u32,
    /// Blocks that the limiter lets the heap have.
    pub(super) most: u32,
    zeal: bool,
}

impl Drop for Mutator {
    fn drop(&mut self) {
        // SAFETY: the heap is not used any more, and was not dropped before; the context was leaked.
        unsafe {
            if !self.taken {
                std::mem::ManuallyDrop::drop(&mut self.heap);
            }
            drop(Box::from_raw(self.context.as_ptr()));
        }
    }
}

impl Mutator {
    pub(super) fn new(seed: u64, config: HeapConfig) -> Mutator {
        let space = Space::new(config.reservation).unwrap();
        Mutator::in_space(seed, config, space)
    }

    pub(super) fn in_space(seed: u64, config: HeapConfig, space: Space) -> Mutator {
        let types: Vec<_> = (0..TYPES).map(type_info).collect();
        let context = NonNull::from(Box::leak(Box::new(VmStoreContext::new(std::ptr::null()))));
        let most = space.most();
        // SAFETY: both live as long as the heap.
        let heap = unsafe { Heap::new(space, &config, context, types.as_ptr()) }.unwrap();
        Mutator {
            heap: std::mem::ManuallyDrop::new(heap),
            taken: false,
            context,
            types,
            random: Random(seed * 0x9e37_79b9 + 12345),
            roots: TestRoots::default(),
            expected_roots: Vec::new(),
            objects: Vec::new(),
            hosts: 0,
            most,
            zeal: config.zeal.is_some(),
        }
    }

    /// The heap's space, for another.
    pub(super) fn into_space(mut self) -> (Space, usize) {
        self.taken = true;
        // SAFETY: nobody looks at it any more.
        unsafe { std::mem::ManuallyDrop::take(&mut self.heap) }.into_space()
    }

    fn raw(&self, at: usize) -> u32 {
        self.roots.0[at]
    }

    pub(super) fn collect(&mut self) {
        // SAFETY: all roots are shown, and objects are whole.
        let hosts = unsafe { self.heap.collect(&mut self.roots) };
        if let Some(hosts) = hosts {
            self.check_hosts(&hosts, false);
        }
        self.poison_nursery();
        self.check();
    }

    pub(super) fn collect_all(&mut self) {
        // SAFETY: as above.
        let hosts = unsafe { self.heap.collect_all(&mut self.roots) };
        self.poison_nursery();
        self.check_hosts(&hosts, true);
        let bytes = self.check();
        assert_eq!(self.heap.live, bytes, "all that is dead is found");
        self.poison_free_cells();
    }

    /// Whoever uses a reference that was not updated shall see.
    fn poison_nursery(&mut self) {
        let nursery = self.heap.nursery;
        let next = self.heap.next();
        // SAFETY: nothing is in use there.
        unsafe {
            let eden = nursery.limit - next;
            self.heap
                .view
                .at::<u8>(next)
                .write_bytes(0xdd, eden as usize);
            let other = self.heap.view.at::<u8>(nursery.to);
            other.write_bytes(0xdd, nursery.part as usize);
        }
    }

    /// The same for what was swept, right after a whole collection.
    fn poison_free_cells(&mut self) {
        for (i, block) in self.heap.space.blocks.iter().enumerate() {
            let Use::Cells(class) = block.used_for else {
                continue;
            };
            let (start, cell) = ((i as u32) << BLOCK_LOG2, SIZES[usize::from(class)]);
            for at in (0..BLOCK / cell).map(|k| start + k * cell) {
                // SAFETY: a cell of this block.
                unsafe {
                    if !is_marked(self.heap.space.bits(), at) {
                        self.heap.view.at::<u8>(at).write_bytes(0xdd, cell as usize);
                    }
                }
            }
        }
    }

    /// What the host reaches must have been marked, and all at once nothing else.
    fn check_hosts(&mut self, marks: &HostMarks, exactly: bool) {
        let mut reached = HashSet::new();
        let mut seen = HashSet::new();
        let mut work = self.expected_roots.clone();
        while let Some(next) = work.pop() {
            match next {
                Ref::Host(host) => drop(reached.insert(host)),
                Ref::Object(object) if seen.insert(object) => {
                    work.extend(&self.objects[object].refs);
                }
                _ => {}
            }
        }
        for host in 0..self.hosts {
            let marked = marks.has(host);
            assert!(marked || !reached.contains(&host), "host value {host}");
            assert!(!exactly || marked == reached.contains(&host));
        }
    }

    /// Allocates as the store does.
    fn allocate(&mut self, new: NewObject) -> Option<u32> {
        if self.zeal && self.heap.is_zealous() {
            self.make_room();
            self.collect();
        }
        let mut attempt = 0;
        loop {
            match self.heap.allocate(&new) {
                Ok(at) => return Some(at),
                Err(NoRoom::Ask(blocks)) if blocks <= self.most => {
                    self.heap.space.allow(blocks);
                    continue;
                }
                Err(_) => {}
            }
            match attempt {
                0 => {
                    self.make_room();
                    self.collect();
                }
                1 => self.collect_all(),
                _ => return None,
            }
            attempt += 1;
        }
    }

    fn make_room(&mut self) {
        match self.heap.wanted() {
            Some(blocks) if blocks <= self.most => self.heap.space.allow(blocks),
            Some(_) => self.heap.refused(),
            None => {}
        }
    }

    /// Makes an object that refers to what random roots refer to, and roots it.
    pub(super) fn make(&mut self, type_id: u32, length: u32) -> bool {
        let info = self.types[type_id as usize];
        let (kind, size) = match info.kind {
            VmObject::ARRAY => (VmObject::ARRAY, array_size(length, info.element_log2)),
            VmTypeInfo::FUNC => (VmObject::EXCEPTION, u64::from(info.size)),
            kind => (kind, u64::from(info.size)),
        };
        let new = NewObject {
            type_id,
            kind,
            size,
            zeroed: kind == VmObject::ARRAY,
        };
        let Some(at) = self.allocate(new) else {
            return false;
        };
        let byte = self.random.below(256) as u8;
        let mut refs = Vec::new();
        let view = self.heap.view;
        // SAFETY: a new object, which is filled before anything else happens.
        unsafe {
            let header = view.header(at);
            let start = match kind {
                VmObject::ARRAY => {
                    *view.at::<u32>(at + VmObject::ARRAY_LENGTH) = length;
                    elements_at(info.element_log2)
                }
                _ => VmObject::SIZE,
            };
            let filled = match kind {
                VmObject::ARRAY => (u64::from(length) << info.element_log2) as usize,
                _ => size as usize - start as usize,
            };
            let count = view.num_refs(at, header);
            if kind != VmObject::ARRAY || !new.zeroed || count == 0 {
                view.at::<u8>(at + start).write_bytes(byte, filled);
            }
            // Large arrays are left null, but for some elements, which are written with the barrier.
            let some = match header.has(Header::BARRIER) {
                true => 0,
                false => count,
            };
            for i in 0..count {
                let (raw, expected) = match i < some {
                    true => self.random_ref(),
                    false => (0, Ref::Null),
                };
                view.each_ref(at, header, i..i + 1, |slot| *slot = raw);
                refs.push(expected);
            }
        }
        self.objects.push(Expected {
            type_id,
            kind,
            refs,
            byte,
        });
        self.roots.0.push(at);
        self.expected_roots
            .push(Ref::Object(self.objects.len() - 1));
        true
    }

    /// Some reference that is in a root, or none to an object.
    fn random_ref(&mut self) -> (u32, Ref) {
        match self.random.below(8) {
            0 => (reference::NULL, Ref::Null),
            1 => {
                let value = self.random.below(1 << 30) as u32;
                (value << 1 | reference::I31, Ref::I31(value))
            }
            2 if self.hosts < 500 => {
                let host = self.hosts;
                self.hosts += 1;
                self.heap.marker.hosts.add(host);
                (host << 2 | reference::HOST, Ref::Host(host))
            }
            _ => {
                if self.roots.0.is_empty() {
                    return (reference::NULL, Ref::Null);
                }
                let at = match self.random.one_in(2) {
                    true => self.random.below(self.roots.0.len()),
                    // New ones more often.
                    false => self.roots.0.len() - 1 - self.random.below(self.roots.0.len().min(8)),
                };
                (self.raw(at), self.expected_roots[at])
            }
        }
    }

    /// Makes a root of what an object refers to, in a random root.
    fn follow(&mut self) {
        if let Some((at, object, index)) = self.random_field() {
            let mut raw = 0;
            // SAFETY: an object with such a reference.
            unsafe {
                let header = self.heap.view.header(self.raw(at));
                let range = index..index + 1;
                self.heap
                    .view
                    .each_ref(self.raw(at), header, range, |slot| raw = *slot);
            }
            self.roots.0.push(raw);
            self.expected_roots
                .push(self.objects[object].refs[index as usize]);
        }
    }

    /// A root with an object, and the number of one of its references.
    fn random_field(&mut self) -> Option<(usize, usize, u32)> {
        if self.roots.0.is_empty() {
            return None;
        }
        let at = self.random.below(self.roots.0.len());
        let Ref::Object(object) = self.expected_roots[at] else {
            return None;
        };
        let count = self.objects[object].refs.len();
        (count > 0).then(|| (at, object, self.random.below(count) as u32))
    }

    /// Writes a reference as code does.
    pub(super) fn write(&mut self) {
        let Some((at, object, index)) = self.random_field() else {
            return;
        };
        let (value, expected) = self.random_ref();
        let target = self.raw(at);
        let view = self.heap.view;
        // SAFETY: an object with such a reference.
        unsafe {
            let header = view.header(target);
            view.each_ref(target, header, index..index + 1, |slot| {
                let offset = slot as usize - view.at::<u8>(target) as usize;
                if header.has(Header::BARRIER) {
                    self.heap.barrier(target, offset as u32);
                }
                *slot = value;
            });
        }
        self.objects[object].refs[index as usize] = expected;
    }

    /// Fills a part of an array, if the root has one.
    fn fill(&mut self) {
        let Some((at, object, index)) = self.random_field() else {
            return;
        };
        if self.objects[object].kind != VmObject::ARRAY {
            return;
        }
        let (value, expected) = self.random_ref();
        let left = self.objects[object].refs.len() as u32 - index;
        let length = self.random.below(left as usize + 1) as u32;
        let array = self.raw(at);
        let view = self.heap.view;
        // SAFETY: an array with these elements.
        unsafe {
            self.heap.barrier_of_range(array, index, length);
            let header = view.header(array);
            view.each_ref(array, header, index..index + length, |slot| *slot = value);
        }
        let range = index as usize..(index + length) as usize;
        self.objects[object].refs[range].fill(expected);
    }

    pub(super) fn drop_roots(&mut self, keep: usize) {
        while self.roots.0.len() > keep {
            let at = self.random.below(self.roots.0.len());
            self.roots.0.swap_remove(at);
            self.expected_roots.swap_remove(at);
        }
    }

    /// The same, but the first stays.
    pub(super) fn drop_roots_but_first(&mut self, keep: usize) {
        while self.roots.0.len() > keep {
            let at = 1 + self.random.below(self.roots.0.len() - 1);
            self.roots.0.swap_remove(at);
            self.expected_roots.swap_remove(at);
        }
    }

    /// Drops the oldest root.
    pub(super) fn drop_oldest(&mut self) {
        self.roots.0.remove(0);
        self.expected_roots.remove(0);
    }

    /// Does something.
    pub(super) fn act(&mut self, large: bool) -> bool {
        match self.random.below(20) {
            0..8 => {
                let type_id = self.random.below(STRUCTS as usize) as u32;
                self.make(type_id, 0)
            }
            8 => match self.random.below(6) {
                0 => self.make(EXCEPTION, 0),
                1 if self.random.one_in(20) => self.make(WIDE, 0),
                2 | 3 => {
                    let length = self.random.below(40) as u32;
                    self.make(REFS, length)
                }
                4 => {
                    let length = self.random.below(3000) as u32;
                    let ty = if self.random.one_in(2) { BYTES } else { LONGS };
                    self.make(ty, length)
                }
                _ if large && self.random.one_in(10) => {
                    let ty = if self.random.one_in(3) { LONGS } else { REFS };
                    let length = 5000 + self.random.below(60_000) as u32;
                    self.make(ty, length)
                }
                _ => true,
            },
            9..13 => {
                self.write();
                true
            }
            13 => {
                self.fill();
                true
            }
            14..18 => {
                self.follow();
                true
            }
            _ => {
                if self.roots.0.len() > 200 {
                    let keep = self.random.below(150);
                    self.drop_roots(keep);
                }
                true
            }
        }
    }

    /// Compares what is reachable with what should be. The bytes that the old space needs for it.
    pub(super) fn check(&mut self) -> u64 {
        let view = self.heap.view;
        let mut bytes = 0;
        let mut of_object: HashMap<usize, u32> = HashMap::new();
        let mut of_reference: HashMap<u32, usize> = HashMap::new();
        let mut work: Vec<(u32, Ref)> = Vec::new();
        let roots = self.roots.0.iter().copied();
        work.extend(roots.zip(self.expected_roots.iter().copied()));
        while let Some((raw, expected)) = work.pop() {
            let object = match expected {
                Ref::Null => {
                    assert_eq!(raw, reference::NULL);
                    continue;
                }
                Ref::I31(value) => {
                    assert_eq!(raw, value << 1 | reference::I31);
                    continue;
                }
                Ref::Host(host) => {
                    assert_eq!(raw, host << 2 | reference::HOST);
                    continue;
                }
                Ref::Object(object) => object,
            };
            assert_eq!(*of_reference.entry(raw).or_insert(object), object);
            if let Some(&known) = of_object.get(&object) {
                assert_eq!(known, raw, "one object is in one place");
                continue;
            }
            of_object.insert(object, raw);
            let expected = &self.objects[object];
            // SAFETY: if all is well there is an object; if not, any memory of the heap will do.
            unsafe {
                let header = view.header(raw);
                assert_eq!(header.type_id(), expected.type_id);
                assert_eq!(header.kind(), expected.kind);
                let young = self.heap.is_young(raw);
                assert!(
                    young
                        || header.has(Header::BARRIER | Header::LOGGED)
                        || expected.refs.is_empty()
                );
                let size = view.size(raw, header);
                bytes += match size {
                    _ if young => 0,
                    _ if size > LARGEST_CELL => u64::from(size.next_multiple_of(BLOCK)),
                    _ => u64::from(SIZES[class_of(size)]),
                };
                let refs = view.num_refs(raw, header);
                assert_eq!(refs as usize, expected.refs.len());
                let mut i = 0;
                view.each_ref(raw, header, 0..refs, |slot| {
                    work.push((*slot, expected.refs[i]));
                    i += 1;
                });
                let last = match (expected.kind, expected.refs.is_empty()) {
                    // Padding is not looked at.
                    (VmObject::ARRAY, true) => {
                        let log2 = self.types[expected.type_id as usize].element_log2;
                        let at = raw + elements_at(log2);
                        (view.length(raw) > 0).then(|| *view.at::<u8>(at))
                    }
                    (VmObject::STRUCT, true) if size > 8 => Some(*view.at::<u8>(raw + size - 1)),
                    _ => None,
                };
                assert!(last.is_none_or(|byte| byte == expected.byte));
            }
        }
        bytes
    }
}
