//! Arrays.
//!
//! A new array of a length that is small takes its room inline, as structs do (`super::gc`), and is
//! filled word by word; one that turns out to be large is made by the runtime. An array that this
//! function has made has a length that is known, which its bounds are checked against.

use bimetal_abi::gc::{ArrayLayout, array_layout};
use bimetal_abi::{Builtin, TrapCode, VmObject};
use bimetal_codegen::CompileError;
use bimetal_wasm::{FieldType, HeapType, TypeIndex};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{BlockArg, InstBuilder, Opcode, Value, types};

use super::Lower;
use super::gc::Place;
use super::roots::LARGEST_FILLED;
use crate::graph::{self, Imm, Op};
use crate::signature::POINTER;
use crate::traps;

/// More words than this are written by a loop.
const MAX_UNROLLED: u32 = 8;

/// How many casts are looked through.
const MAX_CASTS: usize = 4;

/// The length of an array.
enum Length {
    Constant(u64),
    Value(graph::Value),
}

impl Lower<'_> {
    pub(super) fn array_new_fixed(
        &mut self,
        inst: graph::Inst,
        ty: TypeIndex,
        elements: &[graph::Value],
    ) -> Result<(), CompileError> {
        let element = self.element_type(ty)?;
        let layout = self.layout_of(element);
        let length = self.iconst(types::I32, elements.len() as u64);
        let (reference, object) = if super::roots::is_inline(self.env, self.graph, inst) {
            let size = layout.byte_size(elements.len() as u32) as u32;
            let size = size.next_multiple_of(VmObject::ALIGN);
            let made = self.allocate(inst, ty, VmObject::ARRAY, Some(length), size)?;
            self.store_new(Opcode::Store, made.1, VmObject::ARRAY_LENGTH, length, true);
            made
        } else {
            let reference = self.make_array(ty, length)?;
            (reference, self.address(reference))
        };
        let watched = self.is_watched(layout.traced, layout.byte_size(elements.len() as u32));
        for (i, &value) in elements.iter().enumerate() {
            let value = self.get(value)?;
            let offset = layout.base + ((i as u32) << layout.element_log2);
            if watched {
                let offset = self.iconst(POINTER, u64::from(offset));
                self.barrier(reference, object, offset, None);
            }
            self.initialise(object, offset, element.storage, value);
        }
        self.set(self.graph.result(inst), reference);
        Ok(())
    }

    /// Whether the collector watches a new array of so many bytes.
    fn is_watched(&self, traced: bool, size: u64) -> bool {
        traced && size > u64::from(VmObject::LARGEST_UNGUARDED)
    }

    pub(super) fn array_new(
        &mut self,
        inst: graph::Inst,
        ty: TypeIndex,
        value: Option<graph::Value>,
        length: graph::Value,
    ) -> Result<(), CompileError> {
        let element = self.element_type(ty)?;
        let constant = self.constant(length);
        let length = self.get(length)?;
        let value = value.filter(|&value| !self.is_zero(value));
        let bits = match value {
            Some(value) => {
                let value = self.get(value)?;
                self.as_bits(element.storage, value)
            }
            None => (self.iconst(types::I64, 0), self.iconst(types::I64, 0)),
        };
        let is_inline = super::roots::is_inline(self.env, self.graph, inst);
        // Objects may have moved before this is done.
        let reference = if is_inline {
            let id = self.type_id(ty);
            let layout = self.layout_of(element);
            let word = self.pattern(layout.element_log2, bits.0);
            let constant = constant.map(|length| layout.byte_size(length as u32) as u32);
            let constant = constant.map(|size| size.next_multiple_of(VmObject::ALIGN));
            let (bytes, too_large) = match constant {
                Some(size) => (self.iconst(types::I32, u64::from(size)), None),
                None => self.byte_size(layout, length),
            };
            let usual = |lower: &mut Self, object| {
                lower.fill(object, bytes, constant, word);
                lower.begin_object(object, id, VmObject::ARRAY);
                lower.store_new(Opcode::Store, object, VmObject::ARRAY_LENGTH, length, true);
            };
            self.take_room(inst, bytes, too_large, usual, |lower| {
                lower.make_filled(ty, element, value, bits, length)
            })?
        } else {
            self.make_filled(ty, element, value, bits, length)?
        };
        self.set(self.graph.result(inst), reference);
        Ok(())
    }

    /// An array of which the runtime makes all elements `value`.
    fn make_filled(
        &mut self,
        ty: TypeIndex,
        element: FieldType,
        value: Option<graph::Value>,
        mut bits: (Value, Value),
        length: Value,
    ) -> Result<Value, CompileError> {
        let reference = self.make_array(ty, length)?;
        if let Some(value) = value {
            if self.roots.slot(value).is_some() {
                let value = self.reload_root(value)?;
                bits = self.as_bits(element.storage, value);
            }
            let start = self.iconst(types::I32, 0);
            let args = [reference, start, bits.0, bits.1, length];
            self.call_builtin(Builtin::array_fill, &args);
        }
        Ok(reference)
    }

    /// The bytes of an array of so many elements, and whether they are more than are filled inline.
    fn byte_size(&mut self, layout: ArrayLayout, length: Value) -> (Value, Option<Value>) {
        let most = (LARGEST_FILLED - layout.base) >> layout.element_log2;
        let most = self.iconst(types::I32, u64::from(most));
        let order = IntCC::UnsignedGreaterThan;
        let too_large = self.cur.ins().icmp(order, length, most);
        // Of what is too large this is any number.
        let shift = self.iconst(types::I32, u64::from(layout.element_log2));
        let bytes = self.cur.ins().ishl(length, shift);
        let rounded = layout.base + VmObject::ALIGN - 1;
        let rounded = self.iconst(types::I32, u64::from(rounded));
        let bytes = self.cur.ins().iadd(bytes, rounded);
        let mask = self.iconst(types::I32, u64::from(!(VmObject::ALIGN - 1)));
        (self.cur.ins().band(bytes, mask), Some(too_large))
    }

    /// Eight bytes of elements whose bits are the low ones of `bits`.
    fn pattern(&mut self, element_log2: u8, bits: Value) -> Value {
        let (mask, ones) = match element_log2 {
            0 => (0xff, 0x0101_0101_0101_0101),
            1 => (0xffff, 0x0001_0001_0001_0001),
            2 => (0xffff_ffff, 0x0000_0001_0000_0001),
            _ => return bits,
        };
        let mask = self.iconst(types::I64, mask);
        let ones = self.iconst(types::I64, ones);
        let bits = self.cur.ins().band(bits, mask);
        self.cur.ins().imul(bits, ones)
    }

    /// Fills a new array with a word, from its length on, which is to be written afterwards.
    fn fill(&mut self, object: Value, bytes: Value, constant: Option<u32>, word: Value) {
        const WORD: u32 = 8;
        let start = VmObject::ARRAY_LENGTH;
        if let Some(size) = constant.filter(|&size| size <= start + MAX_UNROLLED * WORD) {
            for offset in (start..size).step_by(WORD as usize) {
                self.store_new(Opcode::Store, object, offset, word, true);
            }
            return;
        }
        let bytes = self.cur.ins().uextend(POINTER, bytes);
        let end = self.cur.ins().iadd(object, bytes);
        let start = self.iconst(POINTER, u64::from(start));
        let first = self.cur.ins().iadd(object, start);
        let (body, done) = (self.new_block(), self.new_block());
        let place = self.cur.func.dfg.append_block_param(body, POINTER);
        self.cur.ins().jump(body, &[BlockArg::Value(first)]);
        self.enter(body);
        self.store_new(Opcode::Store, place, 0, word, true);
        let size = self.iconst(POINTER, u64::from(WORD));
        let next = self.cur.ins().iadd(place, size);
        let more = self.cur.ins().icmp(IntCC::UnsignedLessThan, next, end);
        let next = [BlockArg::Value(next)];
        self.cur.ins().brif(more, body, &next, done, &[]);
        self.enter(done);
    }

    /// Whether a value is what all elements of a new array are.
    fn is_zero(&self, value: graph::Value) -> bool {
        self.graph.def_inst(value).is_some_and(|inst| {
            matches!(
                (self.graph.op(inst), self.graph.imm(inst)),
                (Op::RefNull, _) | (_, Imm::I32(0) | Imm::I64(0) | Imm::F32(0) | Imm::F64(0))
            )
        })
    }

    /// An array with a length and zeros.
    fn make_array(&mut self, ty: TypeIndex, length: Value) -> Result<Value, CompileError> {
        let id = self.type_id(ty);
        let made = self.call_builtin(Builtin::gc_array, &[id, length]);
        self.made(made)
    }

    pub(super) fn array_new_segment(
        &mut self,
        inst: graph::Inst,
        builtin: Builtin,
        ty: TypeIndex,
        segment: u32,
        args: &[graph::Value],
    ) -> Result<(), CompileError> {
        let ty = self.number(ty.as_u32());
        let segment = self.number(segment);
        let start = self.get(args[0])?;
        let length = self.get(args[1])?;
        let made = self.call_builtin(builtin, &[ty, segment, start, length]);
        let reference = self.made(made)?;
        self.set(self.graph.result(inst), reference);
        Ok(())
    }

    pub(super) fn array_init(
        &mut self,
        builtin: Builtin,
        ty: TypeIndex,
        segment: u32,
        args: &[graph::Value],
    ) -> Result<(), CompileError> {
        let ty = self.number(ty.as_u32());
        let segment = self.number(segment);
        let array = self.get(args[0])?;
        let start = self.get(args[1])?;
        let from = self.get(args[2])?;
        let length = self.get(args[3])?;
        self.call_builtin(builtin, &[ty, array, start, segment, from, length]);
        Ok(())
    }

    // Getting at elements.

    /// The length of an array that this function has made.
    fn known_length(&self, mut array: graph::Value) -> Option<Length> {
        for _ in 0..MAX_CASTS {
            let inst = self.graph.def_inst(array)?;
            let args = self.graph.args(inst);
            let length = match self.graph.op(inst) {
                Op::RefAsNonNull | Op::RefCast => {
                    array = args[0];
                    continue;
                }
                Op::ArrayNewFixed => return Some(Length::Constant(args.len() as u64)),
                Op::ArrayNew | Op::ArrayNewDefault | Op::ArrayNewData | Op::ArrayNewElem => {
                    *args.last()?
                }
                _ => return None,
            };
            return Some(match self.constant(length) {
                Some(length) => Length::Constant(length),
                None => Length::Value(length),
            });
        }
        None
    }

    pub(super) fn array_length(&mut self, array: graph::Value) -> Result<Value, CompileError> {
        match self.known_length(array) {
            Some(Length::Constant(length)) => return Ok(self.iconst(types::I32, length)),
            Some(Length::Value(length)) => return self.get(length),
            None => {}
        }
        let offset = VmObject::ARRAY_LENGTH;
        let place = self.object(array, offset, TrapCode::NullArrayReference)?;
        let code = place.null.map(traps::to_clif);
        // It moves up to the array's definition, which must say that there is a length.
        let pure = self.roots.nothing_moves() && self.is_some(array) && self.is_array(array);
        let flags = self.flags.object_constant(self.cur.func, code, pure);
        Ok(self.load(types::I32, flags, place.base, place.offset))
    }

    /// Whether a value is an array, or null, from its definition on.
    fn is_array(&self, value: graph::Value) -> bool {
        let ty = crate::known::ref_type(self.env, Some(self.signature), self.graph, value);
        let module = &*self.env.module;
        ty.is_some_and(|ty| module.is_heap_subtype(ty.heap, HeapType::Array))
    }

    /// An element's place, within bounds.
    pub(super) fn element_of(
        &mut self,
        ty: TypeIndex,
        element: FieldType,
        array: graph::Value,
        index: graph::Value,
    ) -> Result<Place, CompileError> {
        debug_assert!(self.env.module.array_element(ty).is_some());
        let constant = self.constant(index);
        let index = self.get(index)?;
        let is_within = match (constant, self.known_length(array)) {
            (Some(index), Some(Length::Constant(length))) => index < length,
            _ => false,
        };
        if !is_within {
            let length = self.array_length(array)?;
            let order = IntCC::UnsignedGreaterThanOrEqual;
            let outside = self.cur.ins().icmp(order, index, length);
            self.trap_if(outside, traps::to_clif(TrapCode::ArrayOutOfBounds));
        }
        let layout = self.layout_of(element);
        let reference = self.get(array)?;
        let base = self.address(reference);
        let within = constant.map(|i| layout.byte_size(i.min(1 << 31) as u32));
        if let Some(offset) = within.filter(|&offset| offset < 1 << 31) {
            return Ok(Place {
                base,
                scaled: None,
                offset: offset as u32,
                null: None,
            });
        }
        let index = self.cur.ins().uextend(POINTER, index);
        let shift = self.iconst(POINTER, u64::from(layout.element_log2));
        Ok(Place {
            base,
            scaled: Some(self.cur.ins().ishl(index, shift)),
            offset: layout.base,
            null: None,
        })
    }

    pub(super) fn element_type(&self, ty: TypeIndex) -> Result<FieldType, CompileError> {
        let element = self.env.module.array_element(ty);
        element.ok_or_else(|| CompileError::Bug(format!("{ty} is no array")))
    }

    fn layout_of(&self, element: FieldType) -> ArrayLayout {
        let module = &*self.env.module;
        array_layout(&element.storage, |ty| module.is_func_ref(ty))
    }
}
