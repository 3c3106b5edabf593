//! Structs and arrays. `array.len` and the instructions of `i31` have no immediate and are in
//! [`super::numeric`].

use bimetal_wasm::body::Operator;
use bimetal_wasm::{DataIndex, ElemIndex, TypeIndex};

use crate::graph::{Op, Type};

use super::{Builder, Imm, Result, bug};

impl Builder<'_> {
    /// Whether it was one of these.
    pub(super) fn gc_operator(&mut self, operator: &Operator<'_>) -> Result<bool> {
        let index = TypeIndex::from_u32;
        match *operator {
            Operator::StructNew { struct_type_index } => {
                let ty = index(struct_type_index);
                let fields = self.env.module.struct_fields(ty).len();
                self.make(Op::StructNew, fields, Imm::Type(ty))?;
            }
            Operator::StructNewDefault { struct_type_index } => {
                self.make(Op::StructNewDefault, 0, Imm::Type(index(struct_type_index)))?;
            }
            Operator::StructGet {
                struct_type_index: ty,
                field_index,
            } => self.struct_get(Op::StructGet, ty, field_index)?,
            Operator::StructGetS {
                struct_type_index: ty,
                field_index,
            } => self.struct_get(Op::StructGetS, ty, field_index)?,
            Operator::StructGetU {
                struct_type_index: ty,
                field_index,
            } => self.struct_get(Op::StructGetU, ty, field_index)?,
            Operator::StructSet {
                struct_type_index,
                field_index,
            } => {
                let imm = Imm::Field {
                    ty: index(struct_type_index),
                    field: field_index,
                };
                self.emit(Op::StructSet, 2, imm, None)?;
            }
            Operator::ArrayNew { array_type_index } => {
                self.make(Op::ArrayNew, 2, Imm::Type(index(array_type_index)))?;
            }
            Operator::ArrayNewDefault { array_type_index } => {
                self.make(Op::ArrayNewDefault, 1, Imm::Type(index(array_type_index)))?;
            }
            Operator::ArrayNewFixed {
                array_type_index,
                array_size,
            } => {
                let imm = Imm::Type(index(array_type_index));
                self.make(Op::ArrayNewFixed, array_size as usize, imm)?;
            }
            Operator::ArrayNewData {
                array_type_index,
                array_data_index,
            } => {
                let imm = Imm::TypeData {
                    ty: index(array_type_index),
                    data: DataIndex::from_u32(array_data_index),
                };
                self.make(Op::ArrayNewData, 2, imm)?;
            }
            Operator::ArrayNewElem {
                array_type_index,
                array_elem_index,
            } => {
                let imm = Imm::TypeElem {
                    ty: index(array_type_index),
                    elem: ElemIndex::from_u32(array_elem_index),
                };
                self.make(Op::ArrayNewElem, 2, imm)?;
            }
            Operator::ArrayGet { array_type_index } => {
                self.array_get(Op::ArrayGet, array_type_index)?;
            }
            Operator::ArrayGetS { array_type_index } => {
                self.array_get(Op::ArrayGetS, array_type_index)?;
            }
            Operator::ArrayGetU { array_type_index } => {
                self.array_get(Op::ArrayGetU, array_type_index)?;
            }
            Operator::ArraySet { array_type_index } => {
                self.emit(Op::ArraySet, 3, Imm::Type(index(array_type_index)), None)?;
            }
            Operator::ArrayFill { array_type_index } => {
                self.emit(Op::ArrayFill, 4, Imm::Type(index(array_type_index)), None)?;
            }
            Operator::ArrayCopy {
                array_type_index_dst,
                array_type_index_src,
            } => {
                let imm = Imm::TypePair {
                    dst: index(array_type_index_dst),
                    src: index(array_type_index_src),
                };
                self.emit(Op::ArrayCopy, 5, imm, None)?;
            }
            Operator::ArrayInitData {
                array_type_index,
                array_data_index,
            } => {
                let imm = Imm::TypeData {
                    ty: index(array_type_index),
                    data: DataIndex::from_u32(array_data_index),
                };
                self.emit(Op::ArrayInitData, 4, imm, None)?;
            }
            Operator::ArrayInitElem {
                array_type_index,
                array_elem_index,
            } => {
                let imm = Imm::TypeElem {
                    ty: index(array_type_index),
                    elem: ElemIndex::from_u32(array_elem_index),
                };
                self.emit(Op::ArrayInitElem, 4, imm, None)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// An instruction that makes an object of the uppermost `operands` values.
    fn make(&mut self, op: Op, operands: usize, imm: Imm) -> Result<()> {
        if operands > 3 {
            self.ssa.charge(operands);
        }
        self.emit(op, operands, imm, Some(Type::AnyRef))
    }

    fn struct_get(&mut self, op: Op, ty: u32, field: u32) -> Result<()> {
        let ty = TypeIndex::from_u32(ty);
        let fields = self.env.module.struct_fields(ty);
        let storage = fields.get(field as usize).map(|field| field.storage);
        let storage = storage.ok_or_else(|| bug("a field that is not there"))?;
        let result = Type::from_storage(storage, &self.env.module);
        self.emit(op, 1, Imm::Field { ty, field }, Some(result))
    }

    fn array_get(&mut self, op: Op, ty: u32) -> Result<()> {
        let ty = TypeIndex::from_u32(ty);
        let element = self.env.module.array_element(ty);
        let element = element.ok_or_else(|| bug("no type of an array"))?;
        let result = Type::from_storage(element.storage, &self.env.module);
        self.emit(op, 2, Imm::Type(ty), Some(result))
    }
}
