//! Tables.
//!
//! What an element is, `VmTable` says. Elements of a lazy table are looked up when they are read for
//! the first time: by generated code in [`StoreOpaque::resolve`], which it calls, by the host before it
//! looks. Another module's code does not do that, so a table is looked up as a whole before it is
//! imported.

use std::ops::Range;
use std::ptr::NonNull;

use bimetal_abi::{VmFuncRef, VmTable};
use bimetal_wasm::DefinedTableIndex;
use cranelift_entity::entity_impl;

use super::allocator::TableStorage;
use super::definition::Definition;
use super::instance::InstanceId;
use super::memory::range;
use super::storage::Zeroed;
use super::store::{FuncPtr, StoreOpaque};
use crate::error::{Error, ErrorKind, Result};
use crate::gc::{AnyRef, ExnRef, ExternRef};
use crate::reference::{Ref, RefKind};
use crate::types::TableType;

/// A table of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TableId(u32);
entity_impl!(TableId);

/// No table grows past this many elements (the limit of the JavaScript embedding).
pub(crate) const MAX_ELEMENTS: u64 = 10_000_000;

/// What `VmTable::written` is if the table was written, but no reference in it is to a young object.
const ONLY_OLD: u64 = 2;

/// A table element out of its raw form.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Element {
    Func(Option<FuncPtr>),
    /// A reference that the collector follows; 0 is null.
    Traced(u32),
}

impl Element {
    pub(crate) fn raw(self) -> u64 {
        match self {
            Element::Func(None) => VmTable::NULL,
            Element::Func(Some(func)) => func.as_ptr() as u64,
            Element::Traced(raw) => u64::from(raw),
        }
    }
}

/// A table.
#[derive(Debug)]
pub(crate) struct Table {
    /// What generated code sees.
    def: Definition<VmTable>,
    ty: TableType,
    /// What its elements are.
    kind: RefKind,
    /// The elements; generated code writes them through `def`.
    storage: TableStorage,
    /// The instance whose module knows what the elements that are zero are.
    lazy: Option<(InstanceId, DefinedTableIndex)>,
}

/// Room for so many nulls.
pub(super) fn elements_for(count: u64) -> Result<Zeroed> {
    let elements = (count <= MAX_ELEMENTS).then(|| Zeroed::new(count as usize * 8));
    elements.flatten().ok_or_else(|| {
        Error::of(
            ErrorKind::Limit,
            format_args!("a table of {count} elements is too large"),
        )
    })
}

impl Table {
    /// A table of the type's minimum, described at `def`, or in a box without one. The storage has
    /// room for it.
    ///
    /// # Safety
    /// `def` must be writable, unaliased by references and outlive the table.
    pub(super) unsafe fn new(
        ty: TableType,
        storage: TableStorage,
        def: Option<NonNull<VmTable>>,
        lazy: Option<(InstanceId, DefinedTableIndex)>,
    ) -> Table {
        let value = VmTable {
            base: storage.elements.base().cast(),
            length: storage.capacity().min(ty.minimum() as usize),
            written: 0,
        };
        Table {
            // SAFETY: the caller's promise.
            def: unsafe { Definition::new(def, value) },
            kind: RefKind::of(ty.element().heap_type()),
            ty,
            storage,
            lazy,
        }
    }

    /// What it was in, for another one.
    pub(super) fn into_storage(self) -> TableStorage {
        // SAFETY: `def` is valid as long as the table, and wasm is not running.
        let (length, written) =
            unsafe { ((*self.def.as_ptr()).length, (*self.def.as_ptr()).written) };
        let mut storage = self.storage;
        if written != 0 {
            storage.written = true;
            storage.used = storage.used.max(length);
        }
        storage
    }

    pub(super) fn def(&self) -> NonNull<VmTable> {
        self.def.place()
    }

    fn length(&self) -> usize {
        // SAFETY: `def` is valid as long as the table, and only we change the length.
        unsafe { (*self.def.as_ptr()).length }
    }

    /// Current number of elements.
    pub(crate) fn len(&self) -> u64 {
        self.length() as u64
    }

    /// The type with the current size as minimum, as imports are matched against.
    pub(crate) fn ty(&self) -> TableType {
        self.ty.with_minimum(self.len())
    }

    /// A reference out of a raw element that is none to a function.
    pub(crate) fn ref_of(&self, store: &StoreOpaque, raw: u32) -> Ref {
        match self.kind {
            RefKind::Func | RefKind::Extern => Ref::Extern(ExternRef::from_raw(store, raw)),
            RefKind::Any => Ref::Any(AnyRef::from_raw(store, raw)),
            RefKind::Exn => Ref::Exn(ExnRef::from_raw(store, raw)),
        }
    }

    pub(super) fn holds_funcs(&self) -> bool {
        self.kind == RefKind::Func
    }

    /// Shows where the references are that the collector follows: all, or those that may be young,
    /// which there are none of in a table that was not written since that was so.
    pub(super) fn each_traced(&mut self, all: bool, visit: &mut dyn FnMut(*mut u32) -> bool) {
        let def = self.def.as_ptr();
        // SAFETY: `def` is valid as long as the table, and wasm is not running.
        let written = unsafe { (*def).written };
        if self.holds_funcs() || written == 0 || (!all && written == ONLY_OLD) {
            return;
        }
        let mut young = false;
        for index in 0..self.length() {
            // SAFETY: so many elements are initialized; the reference is in the low half.
            let slot = unsafe { self.storage.elements.base().cast::<u64>().add(index) };
            young |= visit(slot.cast());
        }
        if !all && !young {
            // SAFETY: as above.
            unsafe { (*def).written = ONLY_OLD };
        }
    }

    /// An element in its raw form, as the table has it.
    fn normal(&self, raw: u64) -> u64 {
        match self.holds_funcs() {
            true => raw.max(VmTable::NULL),
            false => raw,
        }
    }

    /// The raw elements.
    pub(super) fn raw(&self) -> &[u64] {
        // SAFETY: so many are initialized, and nothing writes them while the store is borrowed.
        unsafe { std::slice::from_raw_parts(self.storage.elements.base().cast(), self.length()) }
    }

    /// The raw elements, which will differ from what they are at first. What is written must be a raw
    /// element of this table's type, and not 0 in a table of functions.
    pub(super) fn raw_mut(&mut self) -> &mut [u64] {
        // SAFETY: as for `raw`, and the store is borrowed mutably; `def` is valid.
        unsafe {
            (*self.def.as_ptr()).written = 1;
            std::slice::from_raw_parts_mut(self.storage.elements.base().cast(), self.length())
        }
    }

    /// Sets the element at `index`, of this table's type.
    pub(crate) fn set(&mut self, index: u64, element: Element) -> Option<()> {
        let index = usize::try_from(index).ok()?;
        *self.raw_mut().get_mut(index)? = element.raw();
        Some(())
    }

    /// Sets `len` elements from `index` on, of this table's type.
    pub(crate) fn fill(&mut self, index: u64, element: Element, len: u64) -> Option<()> {
        self.fill_raw(index, element.raw(), len)
    }

    pub(super) fn fill_raw(&mut self, index: u64, raw: u64, len: u64) -> Option<()> {
        let raw = self.normal(raw);
        let to = range(index, len, self.length())?;
        self.raw_mut()[to].fill(raw);
        Some(())
    }

    /// Sets elements from `index` on, of this table's type.
    pub(super) fn write(
        &mut self,
        index: u64,
        values: impl ExactSizeIterator<Item = u64>,
    ) -> Option<()> {
        let to = range(index, values.len() as u64, self.length())?;
        let null = self.normal(0);
        for (element, value) in self.raw_mut()[to].iter_mut().zip(values) {
            *element = value.max(null);
        }
        Some(())
    }

    /// Grows by `delta` elements: the old size, or `None` if not possible.
    pub(crate) fn grow(&mut self, delta: u64, element: Element) -> Option<u64> {
        self.grow_raw(delta, element.raw())
    }

    pub(super) fn grow_raw(&mut self, delta: u64, raw: u64) -> Option<u64> {
        let old = self.len();
        let new = old.checked_add(delta)?;
        let most = MAX_ELEMENTS.min(self.ty.maximum().unwrap_or(u64::MAX));
        if new > most {
            return None;
        }
        if new > self.storage.capacity() as u64 {
            if !self.storage.elements.can_move() {
                return None;
            }
            // Each growth moves all elements, so there are to be few.
            let room = new.max(old.saturating_mul(2)).min(most);
            let elements = elements_for(room).or_else(|_| elements_for(new)).ok()?;
            // SAFETY: there is room for more than these, elsewhere.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    self.raw().as_ptr(),
                    elements.base().cast(),
                    self.raw().len(),
                );
            }
            self.storage.elements = elements;
        }
        // SAFETY: `def` is valid as long as the table, and wasm is not running; there is room for so
        // many elements, which are initialized, if only with zeros.
        unsafe {
            (*self.def.as_ptr()).base = self.storage.elements.base().cast();
            (*self.def.as_ptr()).length = new as usize;
        }
        if delta > 0 {
            self.fill_raw(old, raw, delta)?;
        }
        Some(old)
    }
}

impl StoreOpaque {
    /// Looks up those elements of a table that nobody has looked at; the range must be inside.
    fn resolve_range(&mut self, id: TableId, elements: Range<usize>) {
        let table = &mut self.tables[id];
        let Some((instance, defined)) = table.lazy else {
            return;
        };
        table.storage.used = table.storage.used.max(elements.end);
        let base = table.storage.elements.base().cast::<u64>();
        for index in elements {
            // SAFETY: the range is inside of the table, and the store is borrowed mutably.
            let element = unsafe { &mut *base.add(index) };
            if *element == 0 {
                *element = self.first_element(instance, defined, index as u64).raw();
            }
        }
    }

    /// What a lazy table of an instance has at `index` at first.
    fn first_element(&self, instance: InstanceId, table: DefinedTableIndex, index: u64) -> Element {
        let data = &self.instances[instance];
        let module = data.module();
        let func = module.env().tables.element(module.wasm(), table, index);
        Element::Func(func.and_then(|func| data.func(func)))
    }

    /// Looks up an element, if nobody has; nothing if there is none.
    pub(super) fn resolve(&mut self, id: TableId, index: u64) {
        if let Some(element) = range(index, 1, self.tables[id].length()) {
            self.resolve_range(id, element);
        }
    }

    /// Looks up all elements of a table, for the code of modules that import it.
    pub(super) fn resolve_all(&mut self, id: TableId) {
        let table = &self.tables[id];
        let Some((instance, defined)) = table.lazy else {
            return;
        };
        let (module, length) = (self.instances[instance].module().clone(), table.length());
        for range in module.env().tables.ranges(defined) {
            let end = length.min(range.end as usize);
            self.resolve_range(id, range.start as usize..end);
        }
        self.tables[id].lazy = None;
    }

    /// The element at `index`.
    pub(crate) fn table_get(&self, id: TableId, index: u64) -> Option<Element> {
        let table = &self.tables[id];
        let raw = *table.raw().get(usize::try_from(index).ok()?)?;
        Some(if let (0, Some((instance, defined))) = (raw, table.lazy) {
            self.first_element(instance, defined, index)
        } else if table.holds_funcs() {
            let raw = (raw & !VmTable::NULL) as *mut VmFuncRef;
            // SAFETY: a table of functions holds null or what `raw` of a `FuncPtr` gave.
            Element::Func(unsafe { FuncPtr::from_raw(raw) })
        } else {
            Element::Traced(raw as u32)
        })
    }

    /// Copies between or within tables, with the bounds check that `table.copy` needs.
    pub(crate) fn table_copy(
        &mut self,
        dst: TableId,
        src: TableId,
        dst_at: u64,
        src_at: u64,
        len: u64,
    ) -> Option<()> {
        let from = range(src_at, len, self.tables[src].length())?;
        let to = range(dst_at, len, self.tables[dst].length())?;
        self.resolve_range(src, from.clone());
        if dst == src {
            self.tables[dst].raw_mut().copy_within(from, to.start);
        } else {
            let (dst, src) = self.two_tables(dst, src)?;
            dst.write(dst_at, src.raw()[from].iter().copied())?;
        }
        Some(())
    }
}
