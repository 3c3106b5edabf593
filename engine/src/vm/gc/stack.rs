//! What refers to objects from outside of the heap: a store's frames, tables, globals, segments, and
//! the host's roots.

use std::ptr;

use super::super::activation::each_frame;
use super::super::code::module_at;
use super::super::store::StoreOpaque;

/// Places outside of the heap with references to its objects.
pub(super) trait RootSet {
    /// Shows all of them, or at least those that may refer to young objects. What is shown says whether
    /// there is a reference to a young object now.
    fn each(&mut self, all: bool, visit: &mut dyn FnMut(*mut u32) -> bool);
}

/// Where frames have references, by return address: what was found before.
#[derive(Debug, Default)]
pub(super) struct FrameCache {
    /// By the hash of a return address: the address, and a part of `offsets`. Empty before it is used.
    entries: Vec<(usize, u32, u32)>,
    offsets: Vec<u32>,
}

impl FrameCache {
    /// How far below its frame pointer the frame that `pc` returns to has live references.
    #[inline]
    fn slots(&mut self, pc: usize) -> &[u32] {
        let hash = (pc.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) & 255;
        match self.entries.get(hash) {
            Some(&(known, start, end)) if known == pc => {
                &self.offsets[start as usize..end as usize]
            }
            _ => self.look_up(hash, pc),
        }
    }

    #[cold]
    #[inline(never)]
    fn look_up(&mut self, hash: usize, pc: usize) -> &[u32] {
        if self.offsets.len() > 1 << 20 {
            *self = FrameCache::default();
        }
        self.entries.resize(256, (0, 0, 0));
        let start = self.offsets.len();
        stack_map(pc, &mut self.offsets);
        let end = self.offsets.len();
        self.entries[hash] = (pc, start as u32, end as u32);
        &self.offsets[start..end]
    }
}

/// Adds the offsets of the stack map of a return address, if it has one.
fn stack_map(pc: usize, offsets: &mut Vec<u32>) {
    let found = module_at(pc).and_then(|module| {
        let (func, offset) = module.code.find(pc)?;
        module.code.sites(func)?.stack_maps.at(offset)
    });
    offsets.extend(found.into_iter().flat_map(|map| map.below_fp));
}

/// A store, as what has references; its heap is elsewhere meanwhile.
pub(super) struct StoreRoots<'a> {
    pub(super) store: &'a mut StoreOpaque,
    pub(super) frames: &'a mut FrameCache,
}

impl RootSet for StoreRoots<'_> {
    fn each(&mut self, all: bool, visit: &mut dyn FnMut(*mut u32) -> bool) {
        let store = &mut *self.store;
        let frames = &mut *self.frames;
        let context = store.context().as_ptr();
        // SAFETY: wasm of this store has called us, or is not running.
        unsafe {
            each_frame(context, |fp, pc| {
                for &offset in frames.slots(pc) {
                    visit(ptr::with_exposed_provenance_mut(fp - offset as usize));
                }
            });
        }
        store.each_traced_global(|slot| {
            visit(slot);
        });
        for table in store.tables.values_mut() {
            table.each_traced(all, visit);
        }
        for instance in store.instances.values_mut() {
            instance.each_traced_element(|slot| {
                visit(slot);
            });
        }
        visit(&raw mut store.thrown);
        store.roots.each(visit);
    }
}
