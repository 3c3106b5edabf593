//! Tables.
//!
//! An element is 8 bytes: the address of a `VmFuncRef`, or an externref handle; 0 is null.

use std::alloc::{Layout, alloc_zeroed};
use std::ptr::NonNull;

use bimetal_abi::{VmFuncRef, VmTable};
use bimetal_wasm::{HeapType, TableType};
use cranelift_entity::entity_impl;

use super::store::{FuncPtr, StoreOpaque};
use crate::error::{Error, ErrorKind, Result};

/// A table of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TableId(u32);
entity_impl!(TableId);

/// No table grows past this many elements (the limit of the JavaScript embedding).
pub(crate) const MAX_ELEMENTS: u64 = 10_000_000;

/// A table element out of its raw form.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Element {
    Func(Option<FuncPtr>),
    /// 0 is null.
    Extern(u32),
}

impl Element {
    pub(crate) fn raw(self) -> u64 {
        match self {
            Element::Func(None) => 0,
            Element::Func(Some(func)) => func.as_ptr() as u64,
            Element::Extern(handle) => u64::from(handle),
        }
    }
}

/// A table.
#[derive(Debug)]
pub(crate) struct Table {
    /// What generated code sees; in the vmctx of the defining instance, or boxed.
    def: NonNull<VmTable>,
    ty: TableType,
    /// The elements; generated code writes them through `def`.
    elements: Vec<u64>,
    owns_def: bool,
}

impl Table {
    /// A table of nulls of the type's minimum, described at `def`, or in a box without one.
    ///
    /// # Safety
    /// `def` must be writable, unaliased by references and outlive the table.
    pub(super) unsafe fn new(ty: TableType, def: Option<NonNull<VmTable>>) -> Result<Self> {
        let elements = (ty.min <= MAX_ELEMENTS).then(|| nulls(ty.min as usize));
        let Some(mut elements) = elements.flatten() else {
            return Err(Error::of(
                ErrorKind::Limit,
                format_args!("a table of {} elements is too large", ty.min),
            ));
        };
        let value = VmTable {
            base: elements.as_mut_ptr(),
            length: elements.len(),
        };
        let owns_def = def.is_none();
        let def = match def {
            Some(def) => {
                // SAFETY: the caller's promise.
                unsafe { def.write(value) };
                def
            }
            None => NonNull::from(Box::leak(Box::new(value))),
        };
        Ok(Table {
            def,
            ty,
            elements,
            owns_def,
        })
    }

    pub(super) fn def(&self) -> NonNull<VmTable> {
        self.def
    }

    /// Current number of elements.
    pub(crate) fn len(&self) -> u64 {
        self.elements.len() as u64
    }

    /// The type with the current size as minimum, as imports are matched against.
    pub(crate) fn ty(&self) -> TableType {
        TableType {
            min: self.len(),
            ..self.ty
        }
    }

    pub(super) fn holds_funcs(&self) -> bool {
        matches!(
            self.ty.element.heap,
            HeapType::Func | HeapType::NoFunc | HeapType::Concrete(_)
        )
    }

    /// The element at `index`.
    pub(crate) fn get(&self, index: u64) -> Option<Element> {
        let raw = *self.raw().get(usize::try_from(index).ok()?)?;
        Some(if self.holds_funcs() {
            // SAFETY: a table of functions holds null or what `raw` of a `FuncPtr` gave.
            Element::Func(unsafe { FuncPtr::from_raw(raw as *mut VmFuncRef) })
        } else {
            Element::Extern(raw as u32)
        })
    }

    /// The raw elements.
    pub(super) fn raw(&self) -> &[u64] {
        &self.elements
    }

    /// The raw elements. What is written must be a raw element of this table's type.
    pub(super) fn raw_mut(&mut self) -> &mut [u64] {
        &mut self.elements
    }

    /// Sets the element at `index`, of this table's type.
    pub(crate) fn set(&mut self, index: u64, element: Element) -> Option<()> {
        let index = usize::try_from(index).ok()?;
        *self.raw_mut().get_mut(index)? = element.raw();
        Some(())
    }

    /// Sets `len` elements from `index` on, of this table's type.
    pub(crate) fn fill(&mut self, index: u64, element: Element, len: u64) -> Option<()> {
        let to = super::memory::range(index, len, self.elements.len())?;
        self.raw_mut()[to].fill(element.raw());
        Some(())
    }

    /// Grows by `delta` elements: the old size, or `None` if not possible.
    pub(crate) fn grow(&mut self, delta: u64, element: Element) -> Option<u64> {
        self.grow_raw(delta, element.raw())
    }

    pub(super) fn grow_raw(&mut self, delta: u64, raw: u64) -> Option<u64> {
        let old = self.len();
        let new = old.checked_add(delta)?;
        if new > MAX_ELEMENTS.min(self.ty.max.unwrap_or(u64::MAX)) {
            return None;
        }
        self.elements.try_reserve(delta as usize).ok()?;
        self.elements.resize(new as usize, raw);
        // SAFETY: `def` is valid as long as the table, and wasm is not running.
        unsafe {
            (*self.def.as_ptr()).base = self.elements.as_mut_ptr();
            (*self.def.as_ptr()).length = self.elements.len();
        }
        Some(old)
    }
}

/// So many nulls, or `None` without memory for them. They come zeroed from the system: what is not
/// written costs nothing, however large a table calls itself.
fn nulls(count: usize) -> Option<Vec<u64>> {
    if count == 0 {
        return Some(Vec::new());
    }
    let layout = Layout::array::<u64>(count).ok()?;
    // SAFETY: the layout's size is not 0.
    let start = unsafe { alloc_zeroed(layout) }.cast::<u64>();
    // SAFETY: the global allocator gave it for just this layout, and every element is initialized.
    (!start.is_null()).then(|| unsafe { Vec::from_raw_parts(start, count, count) })
}

impl Drop for Table {
    fn drop(&mut self) {
        if self.owns_def {
            // SAFETY: leaked from a box by `new`, and nothing runs that could use it.
            drop(unsafe { Box::from_raw(self.def.as_ptr()) });
        }
    }
}

impl StoreOpaque {
    /// Copies between or within tables, with the bounds check that `table.copy` needs.
    pub(crate) fn table_copy(
        &mut self,
        dst: TableId,
        src: TableId,
        dst_at: u64,
        src_at: u64,
        len: u64,
    ) -> Option<()> {
        let from = super::memory::range(src_at, len, self.tables[src].raw().len())?;
        let to = super::memory::range(dst_at, len, self.tables[dst].raw().len())?;
        if dst == src {
            self.tables[dst].raw_mut().copy_within(from, to.start);
        } else {
            let (dst, src) = self.two_tables(dst, src)?;
            dst.raw_mut()[to].copy_from_slice(&src.raw()[from]);
        }
        Some(())
    }
}
