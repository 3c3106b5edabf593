//! Structs and `i31`; what they have in common with arrays (`super::array`).
//!
//! An object of a size that is known and small takes its room inline: the next free place moves up,
//! unless it would pass the limit, and on that cold path the runtime finds room, perhaps by collecting
//! (`super::roots`). A null reference is 0, whose object would be the first bytes of the heap; those are
//! never accessible, so that where faults may stand for checks the first access finds it out. What is
//! further than [`REACH`] into an object has a check of its own.
//!
//! Before a traced reference is written into an object that the collector watches, the builtin
//! `gc_barrier` is called, which keeps all registers; the object's flags say so.

use bimetal_abi::gc::struct_layout;
use bimetal_abi::{Builtin, TrapCode, VmObject, VmStoreContext};
use bimetal_codegen::{Arch, CompileError};
use bimetal_wasm::{CompositeType, FieldType, StorageType, TypeIndex, ValType};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{BlockArg, InstBuilder, Opcode, Value, types};

use super::vm::{FieldKey, Pointer, Region};
use super::{Lower, clif_type};
use crate::graph::{self, Imm, Op};
use crate::signature::POINTER;
use crate::traps;

/// How many bytes from null fault, less the largest access.
const REACH: u32 = (64 << 10) - 16;

/// Where an access goes.
pub(super) struct Place {
    /// The object.
    pub(super) base: Value,
    /// Of an element at an index that is not constant: how many bytes it is from the first.
    pub(super) scaled: Option<Value>,
    pub(super) offset: u32,
    /// What a fault is, if there can be one.
    pub(super) null: Option<TrapCode>,
}

impl Lower<'_> {
    /// Lowers `op` if it is about objects.
    pub(super) fn gc(
        &mut self,
        inst: graph::Inst,
        op: Op,
        imm: Imm,
        args: &[graph::Value],
    ) -> Result<Option<()>, CompileError> {
        match (op, imm) {
            (Op::StructNew, Imm::Type(ty)) => self.struct_new(inst, ty, Some(args))?,
            (Op::StructNewDefault, Imm::Type(ty)) => self.struct_new(inst, ty, None)?,
            (Op::StructGet | Op::StructGetS | Op::StructGetU, Imm::Field { ty, field }) => {
                self.struct_get(inst, op == Op::StructGetS, ty, field, args[0])?;
            }
            (Op::StructSet, Imm::Field { ty, field }) => {
                let (field_type, offset) = self.field(ty, field)?;
                let value = self.get(args[1])?;
                let null = TrapCode::NullStructReference;
                let place = self.object(args[0], offset, null)?;
                let region = self.field_region(self.field_key(ty, field));
                self.write(args[0], place, field_type.storage, region, value)?;
            }
            (Op::ArrayNewFixed, Imm::Type(ty)) => self.array_new_fixed(inst, ty, args)?,
            (Op::ArrayNew, Imm::Type(ty)) => self.array_new(inst, ty, Some(args[0]), args[1])?,
            (Op::ArrayNewDefault, Imm::Type(ty)) => self.array_new(inst, ty, None, args[0])?,
            (Op::ArrayNewData, Imm::TypeData { ty, data }) => {
                let builtin = Builtin::array_new_data;
                self.array_new_segment(inst, builtin, ty, data.as_u32(), args)?;
            }
            (Op::ArrayNewElem, Imm::TypeElem { ty, elem }) => {
                let builtin = Builtin::array_new_elem;
                self.array_new_segment(inst, builtin, ty, elem.as_u32(), args)?;
            }
            (Op::ArrayGet | Op::ArrayGetS | Op::ArrayGetU, Imm::Type(ty)) => {
                let element = self.element_type(ty)?;
                let place = self.element_of(ty, element, args[0], args[1])?;
                let region = self.region_of(ty, None, element);
                let value = self.read(place, element.storage, region, op == Op::ArrayGetS);
                self.set(self.graph.result(inst), value);
            }
            (Op::ArraySet, Imm::Type(ty)) => {
                let element = self.element_type(ty)?;
                let value = self.get(args[2])?;
                let place = self.element_of(ty, element, args[0], args[1])?;
                let region = self.region_of(ty, None, element);
                self.write(args[0], place, element.storage, region, value)?;
            }
            (Op::ArrayLen, _) => {
                let length = self.array_length(args[0])?;
                self.set(self.graph.result(inst), length);
            }
            (Op::ArrayFill, Imm::Type(ty)) => {
                let element = self.element_type(ty)?;
                let array = self.get(args[0])?;
                let start = self.get(args[1])?;
                let value = self.get(args[2])?;
                let (low, high) = self.as_bits(element.storage, value);
                let length = self.get(args[3])?;
                self.call_builtin(Builtin::array_fill, &[array, start, low, high, length]);
            }
            (Op::ArrayCopy, Imm::TypePair { .. }) => {
                let mut values = super::Values::new();
                self.get_all(args, &mut values)?;
                self.call_builtin(Builtin::array_copy, &values);
            }
            (Op::ArrayInitData, Imm::TypeData { ty, data }) => {
                self.array_init(Builtin::array_init_data, ty, data.as_u32(), args)?;
            }
            (Op::ArrayInitElem, Imm::TypeElem { ty, elem }) => {
                self.array_init(Builtin::array_init_elem, ty, elem.as_u32(), args)?;
            }
            (Op::RefI31, _) => {
                let value = self.get(args[0])?;
                let one = self.iconst(types::I32, 1);
                let value = self.cur.ins().ishl(value, one);
                let value = self.cur.ins().bor(value, one);
                self.set(self.graph.result(inst), value);
            }
            (Op::I31GetS | Op::I31GetU, _) => {
                let value = self.get(args[0])?;
                self.trap_if_zero(value, traps::to_clif(TrapCode::NullI31Reference));
                let one = self.iconst(types::I32, 1);
                let value = match op {
                    Op::I31GetS => self.cur.ins().sshr(value, one),
                    _ => self.cur.ins().ushr(value, one),
                };
                self.set(self.graph.result(inst), value);
            }
            // Their bits are the same.
            (Op::AnyConvertExtern | Op::ExternConvertAny, _) => {
                let value = self.get(args[0])?;
                self.set(self.graph.result(inst), value);
            }
            _ => return Ok(None),
        }
        Ok(Some(()))
    }

    // Making objects.

    fn struct_new(
        &mut self,
        inst: graph::Inst,
        ty: TypeIndex,
        fields: Option<&[graph::Value]>,
    ) -> Result<(), CompileError> {
        let module = &*self.env.module;
        let types = module.struct_fields(ty);
        let layout = struct_layout(types, |ty| module.is_func_ref(ty));
        let (reference, object) = self.allocate(inst, ty, VmObject::STRUCT, None, layout.size)?;
        match fields {
            Some(fields) => {
                for ((&value, ty), offset) in fields.iter().zip(types).zip(layout.offsets) {
                    let value = self.get(value)?;
                    self.initialise(object, offset, ty.storage, value);
                }
            }
            None => {
                let zero = self.iconst(types::I64, 0);
                for offset in (VmObject::SIZE..layout.size).step_by(8) {
                    self.store_new(Opcode::Store, object, offset, zero, true);
                }
            }
        }
        self.set(self.graph.result(inst), reference);
        Ok(())
    }

    /// What a builtin made.
    pub(super) fn made(&mut self, result: Option<Value>) -> Result<Value, CompileError> {
        let result = result.ok_or_else(|| CompileError::Bug("a builtin made nothing".into()))?;
        Ok(self.cur.ins().ireduce(types::I32, result))
    }

    /// A new object of so many bytes with its header, an array if it has a length: its reference and
    /// address.
    pub(super) fn allocate(
        &mut self,
        inst: graph::Inst,
        ty: TypeIndex,
        kind: u8,
        length: Option<Value>,
        size: u32,
    ) -> Result<(Value, Value), CompileError> {
        let id = self.type_id(ty);
        if !super::roots::is_inline(self.env, self.graph, inst) {
            let kind = self.iconst(types::I32, u64::from(kind));
            let size = self.iconst(types::I32, u64::from(size));
            let made = self.call_builtin(Builtin::gc_alloc, &[id, kind, size]);
            let reference = self.made(made)?;
            let object = self.address(reference);
            return Ok((reference, object));
        }
        let bytes = self.iconst(types::I32, u64::from(size));
        let rare = |lower: &mut Self| {
            let result = match length {
                Some(length) => lower.call_builtin(Builtin::gc_array, &[id, length]),
                None => {
                    let kind = lower.iconst(types::I32, u64::from(kind));
                    let size = lower.iconst(types::I32, u64::from(size));
                    lower.call_builtin(Builtin::gc_alloc, &[id, kind, size])
                }
            };
            lower.made(result)
        };
        let reference = self.take_room(inst, bytes, None, |_, _| {}, rare)?;
        let object = self.address(reference);
        self.begin_object(object, id, kind);
        Ok((reference, object))
    }

    /// Takes so many bytes for an object: its reference. `usual` may write what is there, at an address;
    /// where there is no room, or `too_large` is not zero, `rare` makes the object.
    pub(super) fn take_room(
        &mut self,
        inst: graph::Inst,
        bytes: Value,
        too_large: Option<Value>,
        usual: impl FnOnce(&mut Self, Value),
        rare: impl FnOnce(&mut Self) -> Result<Value, CompileError>,
    ) -> Result<Value, CompileError> {
        let locals = self.local_roots(inst)?;
        let store = self.vm_pointer(Pointer::Store);
        let heap = self.heap();
        let (otherwise, room, done) = (self.new_block(), self.new_block(), self.new_block());
        let reference = self.cur.func.dfg.append_block_param(done, types::I32);
        let joined: Vec<Value> = locals
            .iter()
            .map(|_| self.cur.func.dfg.append_block_param(done, types::I32))
            .collect();
        if let Some(too_large) = too_large {
            let small = self.new_block();
            self.cur.ins().brif(too_large, otherwise, &[], small, &[]);
            self.enter(small);
        }
        let flags = self.flags.mutable(self.cur.func, Region::Allocation);
        let next = self.load(types::I32, flags, store, VmStoreContext::GC_NEXT);
        let limit = self.load(types::I32, flags, store, VmStoreContext::GC_LIMIT);
        let end = self.cur.ins().iadd(next, bytes);
        let full = self.cur.ins().icmp(IntCC::UnsignedGreaterThan, end, limit);
        self.cur.ins().brif(full, otherwise, &[], room, &[]);

        self.enter(room);
        let offset = VmStoreContext::GC_NEXT as i32;
        self.store_op(Opcode::Store, flags, end, store, offset);
        let wide = self.cur.ins().uextend(POINTER, next);
        let object = self.cur.ins().iadd(heap, wide);
        usual(self, object);
        let before: Vec<BlockArg> = std::iter::once(next)
            .chain(locals.iter().map(|&(_, clif)| clif))
            .map(BlockArg::Value)
            .collect();
        self.cur.ins().jump(done, &before);

        let mut made = Ok(reference);
        self.on_cold_path(otherwise, |lower| {
            lower.spill_roots(&locals);
            // As pure loads, what the call needs would move out of loops and take registers.
            lower.rare = true;
            made = rare(lower);
            lower.rare = false;
            let Ok(reference) = made else {
                return;
            };
            let after: Vec<BlockArg> = std::iter::once(reference)
                .chain(lower.reload_roots(&locals))
                .map(BlockArg::Value)
                .collect();
            lower.cur.ins().jump(done, &after);
        });
        made?;
        self.enter(done);
        self.join_roots(&locals, &joined);
        Ok(reference)
    }

    /// Writes an object's header.
    pub(super) fn begin_object(&mut self, object: Value, id: Value, kind: u8) {
        self.store_new(Opcode::Store, object, VmObject::TYPE_ID, id, true);
        // The kind is a byte, what follows it is zero.
        let kind = match self.isa.arch {
            Arch::S390x => u64::from(kind) << 24,
            _ => u64::from(kind),
        };
        let kind = self.iconst(types::I32, kind);
        self.store_new(Opcode::Store, object, VmObject::KIND, kind, true);
    }

    /// Writes a field or element of an object for the first time.
    pub(super) fn initialise(
        &mut self,
        object: Value,
        offset: u32,
        storage: StorageType,
        value: Value,
    ) {
        let (opcode, aligned) = match storage {
            StorageType::I8 => (Opcode::Istore8, true),
            StorageType::I16 => (Opcode::Istore16, true),
            StorageType::Val(ty) => (Opcode::Store, ty != ValType::V128),
        };
        self.store_new(opcode, object, offset, value, aligned);
    }

    pub(super) fn store_new(
        &mut self,
        opcode: Opcode,
        object: Value,
        offset: u32,
        value: Value,
        whole: bool,
    ) {
        let region = Region::NewObjects;
        let flags = self.flags.field(self.cur.func, region, None, whole);
        self.store_op(opcode, flags, value, object, offset as i32);
    }

    // Getting at objects.

    /// The engine's number of a type.
    pub(super) fn type_id(&mut self, ty: TypeIndex) -> Value {
        let ids = self.vm_pointer(Pointer::TypeIds);
        let flags = self.flags.pointer(self.cur.func);
        self.load(types::I32, flags, ids, ty.as_u32() * 4)
    }

    /// The address of an object.
    pub(super) fn address(&mut self, reference: Value) -> Value {
        let heap = self.heap();
        let wide = self.cur.ins().uextend(POINTER, reference);
        self.cur.ins().iadd(heap, wide)
    }

    /// The first byte of the heap. It is there before an instance of a module that has types of
    /// objects or exceptions; the code of other modules may see it come.
    fn heap(&mut self) -> Value {
        let module = &*self.env.module;
        let has_objects = *self.has_objects.get_or_insert_with(|| {
            let mut composites = module.types.values().map(|ty| &ty.composite);
            let objects = composites.any(|ty| !matches!(ty, CompositeType::Func(_)));
            objects || !module.tags.is_empty()
        });
        if has_objects {
            return self.vm_pointer(Pointer::Heap);
        }
        let store = self.vm_pointer(Pointer::Store);
        let flags = self.flags.mutable(self.cur.func, Region::Allocation);
        self.load(POINTER, flags, store, VmStoreContext::GC_BASE)
    }

    /// A place in what is an object, or null.
    pub(super) fn object(
        &mut self,
        value: graph::Value,
        offset: u32,
        null: TrapCode,
    ) -> Result<Place, CompileError> {
        let reference = self.get(value)?;
        let mut fault = None;
        if !self.is_some(value) {
            if self.signals && offset <= REACH {
                fault = Some(null);
            } else {
                self.trap_if_zero(reference, traps::to_clif(null));
            }
        }
        Ok(Place {
            base: self.address(reference),
            scaled: None,
            offset,
            null: fault,
        })
    }

    /// Whether a value is not null from its definition on: what is known later only, after a check,
    /// is not meant, for accesses may move up to the definition.
    pub(super) fn is_some(&self, value: graph::Value) -> bool {
        let is_check = |inst| matches!(self.graph.op(inst), Op::RefCast | Op::RefAsNonNull);
        let signature = Some(self.signature);
        !self.graph.def_inst(value).is_some_and(is_check)
            && crate::known::ref_type(self.env, signature, self.graph, value)
                .is_some_and(|ty| !ty.nullable)
    }

    fn struct_get(
        &mut self,
        inst: graph::Inst,
        signed: bool,
        ty: TypeIndex,
        field: u32,
        object: graph::Value,
    ) -> Result<(), CompileError> {
        let (field_type, offset) = self.field(ty, field)?;
        let place = self.object(object, offset, TrapCode::NullStructReference)?;
        let region = self.region_of(ty, Some(field), field_type);
        let value = self.read(place, field_type.storage, region, signed);
        self.set(self.graph.result(inst), value);
        Ok(())
    }

    fn read(&mut self, place: Place, storage: StorageType, region: Region, signed: bool) -> Value {
        let (opcode, ty) = match (storage, signed) {
            (StorageType::I8, false) => (Opcode::Uload8, types::I32),
            (StorageType::I8, true) => (Opcode::Sload8, types::I32),
            (StorageType::I16, false) => (Opcode::Uload16, types::I32),
            (StorageType::I16, true) => (Opcode::Sload16, types::I32),
            (StorageType::Val(ty), _) => {
                let ty = graph::Type::from_wasm(ty, &self.env.module);
                (Opcode::Load, clif_type(ty))
            }
        };
        let code = place.null.map(traps::to_clif);
        let aligned = storage != StorageType::Val(ValType::V128);
        let flags = self.flags.field(self.cur.func, region, code, aligned);
        let base = self.scaled_base(&place);
        self.load_op(opcode, ty, flags, base, place.offset as i32)
    }

    fn write(
        &mut self,
        object: graph::Value,
        place: Place,
        storage: StorageType,
        region: Region,
        value: Value,
    ) -> Result<(), CompileError> {
        let mut code = place.null.map(traps::to_clif);
        let module = &*self.env.module;
        let traced = bimetal_abi::gc::is_traced_storage(&storage, |ty| module.is_func_ref(ty));
        if traced && !self.is_new(object) {
            let reference = self.get(object)?;
            let mut offset = self.iconst(POINTER, u64::from(place.offset));
            if let Some(scaled) = place.scaled {
                offset = self.cur.ins().iadd(scaled, offset);
            }
            // The first access is that to the flags now.
            self.barrier(reference, place.base, offset, code.take());
        }
        let (opcode, aligned) = match storage {
            StorageType::I8 => (Opcode::Istore8, true),
            StorageType::I16 => (Opcode::Istore16, true),
            StorageType::Val(ty) => (Opcode::Store, ty != ValType::V128),
        };
        let flags = self.flags.field(self.cur.func, region, code, aligned);
        let base = self.scaled_base(&place);
        self.store_op(opcode, flags, value, base, place.offset as i32);
        Ok(())
    }

    fn scaled_base(&mut self, place: &Place) -> Value {
        match place.scaled {
            Some(scaled) => self.cur.ins().iadd(place.base, scaled),
            None => place.base,
        }
    }

    /// Calls the collector if it watches the object. `null` if the reference may be null.
    pub(super) fn barrier(
        &mut self,
        reference: Value,
        object: Value,
        offset: Value,
        null: Option<cranelift_codegen::ir::TrapCode>,
    ) {
        let region = Region::ObjectFlags;
        let flags = self.flags.field(self.cur.func, region, null, true);
        let place = VmObject::FLAGS as i32;
        let watched = self.load_op(Opcode::Uload8, types::I32, flags, object, place);
        let bit = self.iconst(types::I32, u64::from(VmObject::BARRIER));
        let watched = self.cur.ins().band(watched, bit);
        let (rare, go_on) = (self.new_block(), self.new_block());
        self.cur.ins().brif(watched, rare, &[], go_on, &[]);
        self.on_cold_path(rare, |lower| {
            let reference = lower.cur.ins().uextend(POINTER, reference);
            lower.call_rare_builtin(Builtin::gc_barrier, &[reference, offset]);
            lower.cur.ins().jump(go_on, &[]);
        });
        self.enter(go_on);
    }

    /// Whether an object was made in this block and the collector has had no occasion to see it.
    fn is_new(&self, object: graph::Value) -> bool {
        let Some(made) = self.graph.def_inst(object) else {
            return false;
        };
        let is_small = matches!(self.graph.op(made), Op::StructNew | Op::StructNewDefault);
        is_small && self.last_collection == Some(made)
    }

    /// The bits of a field's value, as the low and the high half of 128.
    pub(super) fn as_bits(&mut self, storage: StorageType, value: Value) -> (Value, Value) {
        let zero = self.iconst(types::I64, 0);
        let low = match storage {
            StorageType::Val(ValType::V128) => {
                let lanes = self.as_lanes(value, types::I64X2);
                let low = self.cur.ins().extractlane(lanes, 0);
                let high = self.cur.ins().extractlane(lanes, 1);
                return (low, high);
            }
            StorageType::Val(ValType::F32) => {
                let bits = self.bitcast(types::I32, value);
                self.cur.ins().uextend(types::I64, bits)
            }
            StorageType::Val(ValType::F64) => self.bitcast(types::I64, value),
            _ if self.cur.func.dfg.value_type(value) == types::I32 => {
                self.cur.ins().uextend(types::I64, value)
            }
            _ => value,
        };
        (low, zero)
    }

    // Types.

    fn field(&self, ty: TypeIndex, field: u32) -> Result<(FieldType, u32), CompileError> {
        let module = &*self.env.module;
        // The fields before it are where they are without those behind it.
        let fields = module.struct_fields(ty).get(..=field as usize);
        let bug = || CompileError::Bug(format!("field {field} of {ty}"));
        let fields = fields.ok_or_else(bug)?;
        let layout = struct_layout(fields, |ty| module.is_func_ref(ty));
        match (fields.last(), layout.offsets.last()) {
            (Some(&field), Some(&offset)) => Ok((field, offset)),
            _ => Err(bug()),
        }
    }

    /// Which other accesses one to a field or element may be the same as.
    fn region_of(&mut self, ty: TypeIndex, field: Option<u32>, is: FieldType) -> Region {
        match (is.mutable, field) {
            (false, _) => Region::Constant,
            (true, Some(field)) => self.field_region(self.field_key(ty, field)),
            (true, None) => {
                let root = crate::known::array_key(&self.env.module, ty);
                self.field_region((root, None))
            }
        }
    }

    /// A field as the uppermost type that has it names it.
    fn field_key(&self, ty: TypeIndex, field: u32) -> FieldKey {
        let (ty, field) = crate::known::field_key(&self.env.module, ty, field);
        (ty, Some(field))
    }

    fn field_region(&mut self, key: FieldKey) -> Region {
        let fields = &mut self.scratch.fields;
        let number = fields.iter().position(|&other| other == key);
        let number = number.unwrap_or_else(|| {
            fields.push(key);
            fields.len() - 1
        });
        Region::Field(number as u32)
    }
}
