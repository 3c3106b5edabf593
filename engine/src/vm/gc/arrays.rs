//! The array instructions that work on ranges.
//!
//! Offsets and lengths are wasm's: checked here, the array's before the segment's, as the
//! specification says.

use bimetal_abi::TrapCode;
use bimetal_abi::gc::VmObject;
use bimetal_wasm::{DataIndex, ElemIndex};

use super::super::instance::InstanceId;
use super::super::memory::range;
use super::super::store::StoreOpaque;
use super::object::{View, elements_at};
use crate::error::Result;

/// A checked part of an array.
struct Part {
    view: View,
    array: u32,
    start: u32,
    length: u32,
    element_log2: u8,
    traced: bool,
}

impl Part {
    fn place(&self) -> *mut u8 {
        let offset = elements_at(self.element_log2) + (self.start << self.element_log2);
        // SAFETY: the part was checked to be inside of the array.
        unsafe { self.view.at(self.array + offset) }
    }

    fn bytes(&self) -> usize {
        (self.length as usize) << self.element_log2
    }
}

impl StoreOpaque {
    /// The part of an array from `start` on.
    fn array_part(
        &mut self,
        array: u32,
        start: u32,
        length: u32,
    ) -> std::result::Result<Part, TrapCode> {
        let Some((VmObject::ARRAY, type_id)) = self.gc_object(array) else {
            return Err(TrapCode::NullArrayReference);
        };
        let info = self.type_info(type_id);
        let (element_log2, traced) = (info.element_log2, info.traced_elements != 0);
        let Some(heap) = self.heap() else {
            return Err(TrapCode::NullArrayReference);
        };
        // SAFETY: it is an array.
        let has = unsafe { heap.view.length(array) };
        match start.checked_add(length) {
            Some(end) if end <= has => Ok(Part {
                view: heap.view,
                array,
                start,
                length,
                element_log2,
                traced,
            }),
            _ => Err(TrapCode::ArrayOutOfBounds),
        }
    }

    /// What is to be done before a part of an array is written.
    fn guard_part(&mut self, part: &Part) {
        if part.traced
            && let Some(heap) = self.heap()
        {
            // SAFETY: a part of an array of traced references.
            unsafe { heap.barrier_of_range(part.array, part.start, part.length) };
        }
    }

    /// `array.fill`, with the low bytes of the value.
    pub(super) fn array_fill(
        &mut self,
        array: u32,
        start: u32,
        value: [u8; 16],
        length: u32,
    ) -> std::result::Result<(), TrapCode> {
        let part = self.array_part(array, start, length)?;
        self.guard_part(&part);
        let (to, bytes) = (part.place(), part.bytes());
        let size = 1 << part.element_log2;
        // SAFETY: so many bytes are inside of the array.
        unsafe {
            if value[..size].iter().all(|&byte| byte == value[0]) {
                to.write_bytes(value[0], bytes);
            } else {
                for at in (0..bytes).step_by(size) {
                    to.add(at).copy_from_nonoverlapping(value.as_ptr(), size);
                }
            }
        }
        Ok(())
    }

    /// `array.copy`.
    pub(super) fn array_copy(
        &mut self,
        to: (u32, u32),
        from: (u32, u32),
        length: u32,
    ) -> std::result::Result<(), TrapCode> {
        // Null is looked for in both before the bounds of either.
        self.array_part(to.0, 0, 0)?;
        self.array_part(from.0, 0, 0)?;
        let to = self.array_part(to.0, to.1, length)?;
        let from = self.array_part(from.0, from.1, length)?;
        self.guard_part(&to);
        // SAFETY: both are inside of arrays whose elements have the same size.
        unsafe { to.place().copy_from(from.place(), to.bytes()) };
        Ok(())
    }

    /// The bytes of a data segment from `offset` on.
    fn data_part(
        &self,
        instance: InstanceId,
        segment: u32,
        offset: u32,
        bytes: u64,
    ) -> std::result::Result<&[u8], TrapCode> {
        let all = self.instance(instance).data(DataIndex::from_u32(segment));
        let part = range(u64::from(offset), bytes, all.len());
        part.map(|part| &all[part])
            .ok_or(TrapCode::MemoryOutOfBounds)
    }

    /// `array.init_data`.
    pub(super) fn array_init_data(
        &mut self,
        instance: InstanceId,
        (array, start): (u32, u32),
        (segment, offset): (u32, u32),
        length: u32,
    ) -> std::result::Result<(), TrapCode> {
        let part = self.array_part(array, start, length)?;
        let (to, bytes) = (part.place(), part.bytes());
        let from = self.data_part(instance, segment, offset, bytes as u64)?;
        // SAFETY: so many bytes are inside of the array.
        unsafe { to.copy_from_nonoverlapping(from.as_ptr(), bytes) };
        Ok(())
    }

    /// `array.init_elem`.
    pub(super) fn array_init_elem(
        &mut self,
        instance: InstanceId,
        (array, start): (u32, u32),
        (segment, offset): (u32, u32),
        length: u32,
    ) -> std::result::Result<(), TrapCode> {
        let part = self.array_part(array, start, length)?;
        let segment = ElemIndex::from_u32(segment);
        let values = self
            .segment_elements(instance, segment, u64::from(offset), u64::from(length))
            .ok_or(TrapCode::TableOutOfBounds)?;
        self.guard_part(&part);
        let to = part.place();
        let size = 1 << part.element_log2;
        for (i, value) in values.into_iter().enumerate() {
            let bytes = value.to_le_bytes();
            // SAFETY: inside of the array, whose elements have four or eight bytes.
            unsafe {
                to.add(i * size)
                    .copy_from_nonoverlapping(bytes.as_ptr(), size);
            }
        }
        Ok(())
    }

    /// The number of a type that an instance's module has.
    pub(super) fn type_number(&self, instance: InstanceId, ty: u32) -> u32 {
        let module = self.instance(instance).module().inner();
        module.type_ids[ty as usize]
    }

    /// `array.new_data` and, with `elem`, `array.new_elem`.
    ///
    /// # Errors
    /// A trap, or what the limiter says.
    ///
    /// # Safety
    /// As for [`StoreOpaque::gc_new`]; the type is that of an array.
    pub(super) unsafe fn array_new_segment(
        store: *mut StoreOpaque,
        instance: InstanceId,
        ty: u32,
        from: (u32, u32),
        length: u32,
        elem: bool,
    ) -> Result<u32> {
        // SAFETY: the caller's promise.
        unsafe {
            let type_id = (*store).type_number(instance, ty);
            let log2 = (*store).type_info(type_id).element_log2;
            // Before anything is allocated, which may be a lot.
            if elem {
                let segment = ElemIndex::from_u32(from.0);
                let (start, length) = (u64::from(from.1), u64::from(length));
                (*store)
                    .has_elements(instance, segment, start, length)
                    .ok_or(TrapCode::TableOutOfBounds)?;
            } else {
                (*store).data_part(instance, from.0, from.1, u64::from(length) << log2)?;
            }
            let array = StoreOpaque::gc_new_array(store, type_id, length)?;
            let to = (array, 0);
            match elem {
                true => (*store).array_init_elem(instance, to, from, length)?,
                false => (*store).array_init_data(instance, to, from, length)?,
            }
            Ok(array)
        }
    }
}
