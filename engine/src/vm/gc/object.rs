//! Objects as the collector sees them.
//!
//! `abi/src/gc.rs` says how they are laid out. While a minor collection runs, an object that has been
//! moved has [`FORWARDED`] for its kind, and where it is now in the place of its type's number.

use bimetal_abi::gc::{VmObject, VmTypeInfo, reference};

/// The kind of what has been moved.
pub(super) const FORWARDED: u8 = 0xff;

/// The first eight bytes of an object.
#[derive(Clone, Copy)]
pub(super) struct Header(pub(super) u64);

impl Header {
    pub(super) const BARRIER: u64 = (VmObject::BARRIER as u64) << 40;
    pub(super) const LOGGED: u64 = (VmObject::LOGGED as u64) << 40;

    #[inline(always)]
    pub(super) fn type_id(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    pub(super) fn kind(self) -> u8 {
        (self.0 >> 32) as u8
    }

    #[inline(always)]
    pub(super) fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    #[inline(always)]
    pub(super) fn forwarded_to(new: u32) -> Header {
        Header(u64::from(new) | u64::from(FORWARDED) << 32)
    }
}

/// Whether this is a reference to an object, and not null.
#[inline(always)]
pub(super) fn is_object(raw: u32) -> bool {
    raw & (reference::TAG_MASK | reference::I31) == 0 && raw != reference::NULL
}

/// The handle of a host value, if this is a reference to one.
#[inline(always)]
pub(super) fn host_handle(raw: u32) -> Option<u32> {
    (raw & reference::TAG_MASK == reference::HOST).then_some(raw >> 2)
}

/// Where an array's elements begin.
#[inline(always)]
pub(super) fn elements_at(element_log2: u8) -> u32 {
    match element_log2 {
        0..=2 => VmObject::ARRAY_LENGTH + 4,
        _ => VmObject::ARRAY_LENGTH + 8,
    }
}

/// The size of an array, a multiple of the alignment.
#[inline(always)]
pub(super) fn array_size(length: u32, element_log2: u8) -> u64 {
    let bytes = u64::from(elements_at(element_log2)) + (u64::from(length) << element_log2);
    bytes.next_multiple_of(u64::from(VmObject::ALIGN))
}

/// A heap's memory, and what is known of types: all that is needed to look at objects.
#[derive(Clone, Copy)]
pub(super) struct View {
    pub(super) base: *mut u8,
    pub(super) types: *const VmTypeInfo,
}

// All methods here are unsafe for the same reason: references must be to objects of this heap that
// are whole, and nobody else may change them meanwhile.
#[allow(clippy::missing_safety_doc, reason = "said above, once")]
impl View {
    #[inline(always)]
    pub(super) unsafe fn at<T>(self, offset: u32) -> *mut T {
        // SAFETY: inside of the heap.
        unsafe { self.base.add(offset as usize).cast() }
    }

    #[inline(always)]
    pub(super) unsafe fn header(self, object: u32) -> Header {
        // SAFETY: an object begins with its header.
        unsafe { Header(*self.at::<u64>(object)) }
    }

    #[inline(always)]
    pub(super) unsafe fn set_header(self, object: u32, header: Header) {
        // SAFETY: as above.
        unsafe { *self.at::<u64>(object) = header.0 }
    }

    /// The type of an object with this header.
    #[inline(always)]
    pub(super) unsafe fn info<'a>(self, header: Header) -> &'a VmTypeInfo {
        // SAFETY: an object keeps its type in the table.
        unsafe { &*self.types.add(header.type_id() as usize) }
    }

    /// An array's length.
    #[inline(always)]
    pub(super) unsafe fn length(self, array: u32) -> u32 {
        // SAFETY: an array has it there.
        unsafe { *self.at::<u32>(array + VmObject::ARRAY_LENGTH) }
    }

    /// How many bytes an object has.
    #[inline(always)]
    pub(super) unsafe fn size(self, object: u32, header: Header) -> u32 {
        // SAFETY: the caller's promise.
        unsafe {
            let info = self.info(header);
            match header.kind() {
                VmObject::ARRAY => array_size(self.length(object), info.element_log2) as u32,
                _ => info.size,
            }
        }
    }

    /// How many traced references an object has.
    #[inline(always)]
    pub(super) unsafe fn num_refs(self, object: u32, header: Header) -> u32 {
        // SAFETY: the caller's promise.
        unsafe {
            let info = self.info(header);
            match header.kind() {
                VmObject::ARRAY if info.traced_elements == 0 => 0,
                VmObject::ARRAY => self.length(object),
                _ => info.num_refs,
            }
        }
    }

    /// Shows those traced references whose numbers are in the range.
    #[inline(always)]
    pub(super) unsafe fn each_ref(
        self,
        object: u32,
        header: Header,
        range: std::ops::Range<u32>,
        mut f: impl FnMut(*mut u32),
    ) {
        // SAFETY: the caller's promise; so many references are there.
        unsafe {
            match header.kind() {
                VmObject::ARRAY => {
                    let first = self.at::<u32>(object + elements_at(2));
                    for i in range {
                        f(first.add(i as usize));
                    }
                }
                _ => {
                    let offsets = self.info(header).refs;
                    for i in range {
                        f(self.at(object + *offsets.add(i as usize)));
                    }
                }
            }
        }
    }
}

/// Asks for the memory there.
#[inline(always)]
pub(super) fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: it has no effect but on time, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
