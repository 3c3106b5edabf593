//! Objects on the collected heap, and how types are known at run time.
//!
//! A reference to an object, exception or host value is 32 bits wide ([`mod@reference`]). Those to
//! objects are byte offsets into the store's heap, whose base never moves; objects do. An object
//! begins with a [`VmObject`] header; what follows is laid out by [`struct_layout`],
//! [`array_layout`] or [`exception_layout`]. A function reference in an object is its address, 8
//! bytes, which the collector does not look at.
//!
//! A type that is in use in an engine has a number, and the engine a table of [`VmTypeInfo`] by
//! number: what casts and the collector need to know.

use std::mem::offset_of;

use bimetal_wasm::{FieldType, FuncType, HeapType, RefType, StorageType, ValType};

/// The bits of references that are not function references.
pub mod reference {
    /// Null.
    pub const NULL: u32 = 0;
    /// Set in an `i31`: its value is in the other 31 bits.
    pub const I31: u32 = 1;
    /// The low bits of a host value, whose handle is in the others; see [`TAG_MASK`].
    pub const HOST: u32 = 2;
    /// What tells an object (0) from a host value, where [`I31`] is not set.
    pub const TAG_MASK: u32 = 3;
}

/// The start of every object. Objects are aligned to [`VmObject::ALIGN`].
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct VmObject {
    /// The number of its type; an exception has that of its tag's function type.
    pub type_id: u32,
    /// What it is: [`VmObject::STRUCT`], …
    pub kind: u8,
    /// [`VmObject::BARRIER`], and what else the collector keeps here.
    pub flags: u8,
    /// The collector's.
    pub reserved: u16,
}

impl VmObject {
    /// A struct.
    pub const STRUCT: u8 = 1;
    /// An array: its length (`u32`) stands at [`VmObject::ARRAY_LENGTH`].
    pub const ARRAY: u8 = 2;
    /// An exception: the address of its tag (8 bytes) stands at [`VmObject::EXCEPTION_TAG`].
    pub const EXCEPTION: u8 = 3;
    /// In `flags`: code calls the builtin `gc_barrier` before it writes a traced reference here.
    pub const BARRIER: u8 = 1;
    /// In `flags`: it is in the collector's list of what was written.
    pub const LOGGED: u8 = 2;
    /// Arrays of traced references up to this size in bytes are made without [`Self::BARRIER`], as are
    /// all structs: what fills a new one need not look. Larger ones have it from the start.
    pub const LARGEST_UNGUARDED: u32 = 64 << 10;
    /// Offset of `type_id`.
    pub const TYPE_ID: u32 = offset_of!(Self, type_id) as u32;
    /// Offset of `kind`.
    pub const KIND: u32 = offset_of!(Self, kind) as u32;
    /// Offset of `flags`.
    pub const FLAGS: u32 = offset_of!(Self, flags) as u32;
    /// Size in bytes.
    pub const SIZE: u32 = size_of::<Self>() as u32;
    /// Objects' alignment, and what their sizes are multiples of.
    pub const ALIGN: u32 = 8;
    /// Offset of an array's length.
    pub const ARRAY_LENGTH: u32 = Self::SIZE;
    /// Offset of an exception's tag.
    pub const EXCEPTION_TAG: u32 = Self::SIZE;

    /// The first four and the other bytes of a new object's header as one little-endian number.
    pub const fn header(type_id: u32, kind: u8) -> u64 {
        type_id as u64 | (kind as u64) << 32
    }
}

/// A type in the engine's table.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy)]
pub struct VmTypeInfo {
    /// [`VmObject::STRUCT`] or [`VmObject::ARRAY`]; [`Self::FUNC`].
    pub kind: u8,
    /// How many supertypes it has, at most 63.
    pub depth: u8,
    /// Array: whether elements are traced references.
    pub traced_elements: u8,
    /// Array: base-2 logarithm of an element's size.
    pub element_log2: u8,
    /// Struct: size of an object in bytes. Func: that of an exception whose tag has this type.
    pub size: u32,
    /// Offsets of the traced references in a struct or exception, `num_refs` of them.
    pub refs: *const u32,
    /// Number of `refs`.
    pub num_refs: u32,
    /// Zero.
    pub reserved: u32,
    /// By depth: the numbers of the supertypes from the root, and its own; else `u32::MAX`.
    pub display: [u32; Self::DISPLAY],
    /// The whole display (`depth + 1` numbers) of a type whose depth is at least
    /// [`Self::DISPLAY`], else null.
    pub long_display: *const u32,
}

impl VmTypeInfo {
    /// The kind of a function type.
    pub const FUNC: u8 = 0;
    /// How many levels are in the record itself.
    pub const DISPLAY: usize = 8;
    /// Offset of `depth`.
    pub const DEPTH: u32 = offset_of!(Self, depth) as u32;
    /// Offset of `display`.
    pub const DISPLAY_OFFSET: u32 = offset_of!(Self, display) as u32;
    /// Offset of `long_display`.
    pub const LONG_DISPLAY: u32 = offset_of!(Self, long_display) as u32;
    /// Size in bytes.
    pub const SIZE: u32 = size_of::<Self>() as u32;
    /// Base-2 logarithm of the size.
    pub const SIZE_LOG2: u32 = Self::SIZE.trailing_zeros();
}

const _: () = assert!(VmTypeInfo::SIZE == 64);

/// A tag of a store. Two tags are the same if their addresses are.
#[repr(C)]
#[derive(Debug)]
pub struct VmTag {
    /// The number of its function type.
    pub type_id: u32,
    /// Zero.
    pub reserved: u32,
}

impl VmTag {
    /// Size in bytes.
    pub const SIZE: u32 = size_of::<Self>() as u32;
}

/// Where the parts of an object are.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ObjectLayout {
    /// Size in bytes, a multiple of [`VmObject::ALIGN`].
    pub size: u32,
    /// Each field's offset from the start of the object.
    pub offsets: Vec<u32>,
    /// The offsets of traced references.
    pub refs: Vec<u32>,
}

/// Where the elements of an array are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrayLayout {
    /// Offset of the first element.
    pub base: u32,
    /// Base-2 logarithm of an element's size.
    pub element_log2: u8,
    /// Whether elements are traced references.
    pub traced: bool,
}

impl ArrayLayout {
    /// The size in bytes of an array of this length, before it is rounded up.
    pub fn byte_size(&self, length: u32) -> u64 {
        u64::from(self.base) + (u64::from(length) << self.element_log2)
    }
}

/// Whether values of this type are 32-bit references that the collector follows.
///
/// `is_func` says what a concrete type is.
pub fn is_traced(ty: &ValType, is_func: impl Fn(&RefType) -> bool) -> bool {
    matches!(ty, ValType::Ref(ty) if !is_function(ty, is_func))
}

/// [`is_traced`] of what is stored.
pub fn is_traced_storage(ty: &StorageType, is_func: impl Fn(&RefType) -> bool) -> bool {
    storage(ty, &is_func).1
}

/// Whether references of this type are function references. `is_func` is asked about concrete types.
pub fn is_function(ty: &RefType, is_func: impl Fn(&RefType) -> bool) -> bool {
    match ty.heap {
        HeapType::Func | HeapType::NoFunc => true,
        HeapType::Concrete(_) => is_func(ty),
        _ => false,
    }
}

/// Base-2 logarithm of the bytes that a field takes, and whether it is traced.
fn storage(ty: &StorageType, is_func: &impl Fn(&RefType) -> bool) -> (u8, bool) {
    match ty {
        StorageType::I8 => (0, false),
        StorageType::I16 => (1, false),
        StorageType::Val(ValType::I32 | ValType::F32) => (2, false),
        StorageType::Val(ValType::I64 | ValType::F64) => (3, false),
        StorageType::Val(ValType::V128) => (4, false),
        StorageType::Val(ValType::Ref(ty)) => match is_function(ty, is_func) {
            true => (3, false),
            false => (2, true),
        },
    }
}

/// Lays fields out in their order, so that a supertype's are where it has them.
fn layout<'a>(
    start: u32,
    fields: impl IntoIterator<Item = &'a StorageType>,
    is_func: impl Fn(&RefType) -> bool,
) -> ObjectLayout {
    let mut layout = ObjectLayout::default();
    let mut end = start;
    for ty in fields {
        let (log2, traced) = storage(ty, &is_func);
        let size = 1u32 << log2;
        // Sixteen bytes are aligned as objects are.
        let at = end.next_multiple_of(size.min(VmObject::ALIGN));
        end = at + size;
        layout.offsets.push(at);
        if traced {
            layout.refs.push(at);
        }
    }
    layout.size = end.next_multiple_of(VmObject::ALIGN);
    layout
}

/// The layout of a struct with these fields. `is_func` says whether a concrete type among them is
/// that of a function.
pub fn struct_layout(fields: &[FieldType], is_func: impl Fn(&RefType) -> bool) -> ObjectLayout {
    let fields = fields.iter().map(|field| &field.storage);
    layout(VmObject::SIZE, fields, is_func)
}

/// The layout of an exception whose tag has this type.
pub fn exception_layout(ty: &FuncType, is_func: impl Fn(&RefType) -> bool) -> ObjectLayout {
    let params: Vec<_> = ty.params().iter().map(|&ty| StorageType::Val(ty)).collect();
    layout(VmObject::EXCEPTION_TAG + 8, &params, is_func)
}

/// The layout of arrays of such elements.
pub fn array_layout(element: &StorageType, is_func: impl Fn(&RefType) -> bool) -> ArrayLayout {
    let (element_log2, traced) = storage(element, &is_func);
    let size = 1u32 << element_log2;
    let base = (VmObject::ARRAY_LENGTH + 4).next_multiple_of(size.min(VmObject::ALIGN));
    ArrayLayout {
        base,
        element_log2,
        traced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(storage: StorageType) -> FieldType {
        FieldType {
            storage,
            mutable: true,
        }
    }

    #[test]
    fn fields_are_where_the_supertype_has_them() {
        let anyref = StorageType::Val(ValType::Ref(RefType {
            nullable: true,
            heap: HeapType::Any,
        }));
        let all = [
            field(StorageType::I8),
            field(anyref),
            field(StorageType::Val(ValType::FUNCREF)),
            field(StorageType::I16),
            field(StorageType::Val(ValType::V128)),
        ];
        let whole = struct_layout(&all, |_| false);
        assert_eq!(whole.offsets, [8, 12, 16, 24, 32]);
        assert_eq!((whole.size, &*whole.refs), (48, &[12][..]));
        for n in 0..all.len() {
            let part = struct_layout(&all[..n], |_| false);
            assert_eq!(part.offsets, whole.offsets[..n]);
        }
    }

    #[test]
    fn arrays_and_exceptions() {
        let base = |ty| array_layout(&ty, |_| false).base;
        assert_eq!(base(StorageType::I8), 12);
        assert_eq!(base(StorageType::Val(ValType::EXTERNREF)), 12);
        assert_eq!(base(StorageType::Val(ValType::I64)), 16);
        assert_eq!(base(StorageType::Val(ValType::V128)), 16);
        let ty = FuncType::new([ValType::I32, ValType::EXTERNREF], []);
        let exception = exception_layout(&ty, |_| false);
        assert_eq!((exception.size, exception.refs), (24, vec![20]));
        assert_eq!(exception.offsets, [16, 20]);
    }
}
