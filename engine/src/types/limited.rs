//! Types that have a smallest and a greatest size: memories and tables.

use super::value::{RefType, Types};
use crate::error::{Error, Result};
use crate::memory::Memory;
use crate::reference::Ref;
use crate::store::AsContextMut;
use crate::table::Table;

/// Whether what has one size and bound fits where another is wanted: at least as large, and bound
/// to be at most as large.
fn limits_match(found: (u64, Option<u64>), wanted: (u64, Option<u64>)) -> bool {
    let bounded = match (found.1, wanted.1) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(found), Some(wanted)) => found <= wanted,
    };
    found.0 >= wanted.0 && bounded
}

/// A memory's type; sizes in pages, of 64 KiB each if nothing else is said.
///
/// ```
/// use bimetal::MemoryType;
///
/// let ty = MemoryType::new(2, Some(10));
/// assert_eq!((ty.minimum(), ty.maximum(), ty.page_size()), (2, Some(10), 65_536));
/// // A larger one fits where a smaller one is wanted.
/// assert!(ty.matches(&MemoryType::new(1, None)));
/// assert!(!ty.matches(&MemoryType::new(1, Some(9))));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemoryType(pub(crate) bimetal_wasm::MemoryType);

impl MemoryType {
    /// A 32-bit memory of at least `minimum` and at most `maximum` pages.
    pub fn new(minimum: u32, maximum: Option<u32>) -> MemoryType {
        MemoryType(bimetal_wasm::MemoryType {
            min: u64::from(minimum),
            max: maximum.map(u64::from),
            shared: false,
            memory64: false,
            page_size_log2: 16,
        })
    }

    /// A memory with 64-bit indices.
    pub fn new64(minimum: u64, maximum: Option<u64>) -> MemoryType {
        MemoryType(bimetal_wasm::MemoryType {
            min: minimum,
            max: maximum,
            memory64: true,
            ..MemoryType::new(0, None).0
        })
    }

    /// A memory that several threads may use: a [`SharedMemory`](crate::SharedMemory).
    pub fn shared(minimum: u32, maximum: u32) -> MemoryType {
        MemoryType(bimetal_wasm::MemoryType {
            shared: true,
            ..MemoryType::new(minimum, Some(maximum)).0
        })
    }

    /// To say everything about a memory, checked.
    pub fn builder() -> MemoryTypeBuilder {
        MemoryTypeBuilder(MemoryType::new(0, None))
    }

    /// The initial size in pages.
    pub fn minimum(&self) -> u64 {
        self.0.min
    }

    /// The greatest size in pages, if there is one.
    pub fn maximum(&self) -> Option<u64> {
        self.0.max
    }

    /// Whether indices are 64 bits wide.
    pub fn is_64(&self) -> bool {
        self.0.memory64
    }

    /// Whether several threads may use it.
    pub fn is_shared(&self) -> bool {
        self.0.shared
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> u64 {
        self.0.page_size()
    }

    /// The base-2 logarithm of the bytes of a page.
    pub fn page_size_log2(&self) -> u8 {
        self.0.page_size_log2
    }

    /// Whether a memory of this type can be imported as one of `other`.
    pub fn matches(&self, other: &MemoryType) -> bool {
        let (a, b) = (&self.0, &other.0);
        (a.shared, a.memory64, a.page_size_log2) == (b.shared, b.memory64, b.page_size_log2)
            && limits_match((a.min, a.max), (b.min, b.max))
    }

    /// A memory of this type, zeroed.
    ///
    /// # Errors
    /// As for [`Memory::new`].
    pub fn default_value(&self, store: impl AsContextMut) -> Result<Memory> {
        Memory::new(store, *self)
    }

    /// Refuses types that are none.
    pub(crate) fn check(&self) -> Result<()> {
        let ty = &self.0;
        let invalid = |why: &str| Err(Error::usage(format_args!("no memory's type: {why}")));
        if ty.page_size_log2 != 16 && ty.page_size_log2 != 0 {
            return invalid("a page has 65536 bytes, or 1");
        }
        if ty.shared && ty.max.is_none() {
            return invalid("a shared memory has a maximum");
        }
        if ty.max.is_some_and(|max| max < ty.min) {
            return invalid("its minimum is greater than its maximum");
        }
        // Of 64-bit memories with pages of a byte, all fits.
        let log2 = if ty.memory64 { 64 } else { 32 } - u32::from(ty.page_size_log2);
        let pages = 1_u64.checked_shl(log2).unwrap_or(u64::MAX);
        if ty.min > pages || ty.max.is_some_and(|max| max > pages) {
            return invalid("it does not fit its index space");
        }
        Ok(())
    }
}

/// Says everything about a [`MemoryType`].
///
/// ```
/// use bimetal::MemoryType;
///
/// let ty = MemoryType::builder().min(1).max(Some(16)).build()?;
/// assert_eq!(ty, MemoryType::new(1, Some(16)));
/// assert!(MemoryType::builder().min(2).max(Some(1)).build().is_err());
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MemoryTypeBuilder(MemoryType);

impl MemoryTypeBuilder {
    /// The initial size in pages; 0 if not said.
    pub fn min(&mut self, minimum: u64) -> &mut Self {
        self.0.0.min = minimum;
        self
    }

    /// The greatest size in pages; none if not said.
    pub fn max(&mut self, maximum: Option<u64>) -> &mut Self {
        self.0.0.max = maximum;
        self
    }

    /// Whether indices are 64 bits wide, see [`MemoryType::new64`].
    pub fn memory64(&mut self, memory64: bool) -> &mut Self {
        self.0.0.memory64 = memory64;
        self
    }

    /// Whether several threads may use it, see [`MemoryType::shared`].
    pub fn shared(&mut self, shared: bool) -> &mut Self {
        self.0.0.shared = shared;
        self
    }

    /// The base-2 logarithm of the bytes of a page: 16 if not said, or 0. Modules have memories with
    /// such pages under [`Config::wasm_custom_page_sizes`](crate::Config::wasm_custom_page_sizes).
    pub fn page_size_log2(&mut self, page_size_log2: u8) -> &mut Self {
        self.0.0.page_size_log2 = page_size_log2;
        self
    }

    /// The type.
    ///
    /// # Errors
    /// If there is no such type: its minimum is past its maximum or its index space, it is shared
    /// without a maximum, or pages are neither of 65536 bytes nor of 1.
    pub fn build(&self) -> Result<MemoryType> {
        self.0.check()?;
        Ok(self.0)
    }
}

/// A table's type; sizes in elements.
///
/// ```
/// use bimetal::{RefType, TableType};
///
/// let ty = TableType::new(RefType::FUNCREF, 10, None);
/// assert_eq!((ty.element(), ty.minimum(), ty.maximum()), (&RefType::FUNCREF, 10, None));
/// assert!(ty.matches(&TableType::new(RefType::FUNCREF, 5, None)));
/// assert!(!ty.matches(&TableType::new(RefType::EXTERNREF, 5, None)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TableType {
    element: RefType,
    min: u64,
    max: Option<u64>,
    table64: bool,
}

impl TableType {
    /// A table of at least `minimum` and at most `maximum` elements.
    pub fn new(element: RefType, minimum: u32, maximum: Option<u32>) -> TableType {
        TableType {
            element,
            min: u64::from(minimum),
            max: maximum.map(u64::from),
            table64: false,
        }
    }

    /// A table with 64-bit indices.
    pub fn new64(element: RefType, minimum: u64, maximum: Option<u64>) -> TableType {
        TableType {
            element,
            min: minimum,
            max: maximum,
            table64: true,
        }
    }

    pub(crate) fn from_wasm(
        ty: &bimetal_wasm::TableType,
        types: &(impl Types + ?Sized),
    ) -> TableType {
        TableType {
            element: RefType::from_wasm(&ty.element, types),
            min: ty.min,
            max: ty.max,
            table64: ty.table64,
        }
    }

    /// With another minimum.
    pub(crate) fn with_minimum(&self, min: u64) -> TableType {
        TableType {
            min,
            ..self.clone()
        }
    }

    /// The elements' type.
    pub fn element(&self) -> &RefType {
        &self.element
    }

    /// The initial size in elements.
    pub fn minimum(&self) -> u64 {
        self.min
    }

    /// The greatest size in elements, if there is one.
    pub fn maximum(&self) -> Option<u64> {
        self.max
    }

    /// Whether indices are 64 bits wide.
    pub fn is_64(&self) -> bool {
        self.table64
    }

    /// Whether a table of this type can be imported as one of `other`.
    pub fn matches(&self, other: &TableType) -> bool {
        let (a, b) = (self, other);
        // Tables are written, so their elements' types must match both ways.
        a.table64 == b.table64
            && a.element.matches(&b.element)
            && b.element.matches(&a.element)
            && limits_match((a.min, a.max), (b.min, b.max))
    }

    /// A table of this type, full of nulls.
    ///
    /// # Errors
    /// If its elements cannot be null, or as for [`Table::new`].
    pub fn default_value(&self, store: impl AsContextMut) -> Result<Table> {
        if !self.element().is_nullable() {
            return Err(Error::usage(format_args!(
                "the type {} has no default value",
                self.element()
            )));
        }
        Table::new(store, self.clone(), Ref::null(self.element().heap_type()))
    }

    /// Refuses types that are none.
    pub(crate) fn check(&self) -> Result<()> {
        if self.maximum().is_some_and(|max| max < self.minimum()) {
            return Err(Error::usage(
                "no table's type: its minimum is greater than its maximum",
            ));
        }
        Ok(())
    }
}
