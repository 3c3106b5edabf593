//! Tables, element segments and globals.

use bimetal_wasm::body::Operator;
use bimetal_wasm::{ElemIndex, GlobalIndex, TableIndex, ValType};

use crate::graph::{Op, Type};

use super::{Builder, Imm, Result, value_type};

impl Builder<'_> {
    /// Whether it was one of these.
    pub(super) fn table_operator(&mut self, operator: &Operator<'_>) -> Result<bool> {
        match operator {
            Operator::TableGet { table } => {
                let table = TableIndex::from_u32(*table);
                let ty = value_type(
                    self.env,
                    ValType::Ref(self.env.module.tables[table].element),
                );
                self.emit(Op::TableGet, 1, Imm::Table(table), Some(ty))?;
            }
            Operator::TableSet { table } => {
                let table = TableIndex::from_u32(*table);
                self.emit(Op::TableSet, 2, Imm::Table(table), None)?;
            }
            Operator::TableSize { table } => {
                let table = TableIndex::from_u32(*table);
                let ty = self.index_type(table);
                self.emit(Op::TableSize, 0, Imm::Table(table), Some(ty))?;
            }
            Operator::TableGrow { table } => {
                let table = TableIndex::from_u32(*table);
                let ty = self.index_type(table);
                self.emit(Op::TableGrow, 2, Imm::Table(table), Some(ty))?;
            }
            Operator::TableFill { table } => {
                let table = TableIndex::from_u32(*table);
                self.emit(Op::TableFill, 3, Imm::Table(table), None)?;
            }
            Operator::TableCopy {
                dst_table,
                src_table,
            } => {
                let imm = Imm::TablePair {
                    dst: TableIndex::from_u32(*dst_table),
                    src: TableIndex::from_u32(*src_table),
                };
                self.emit(Op::TableCopy, 3, imm, None)?;
            }
            Operator::TableInit { elem_index, table } => {
                let imm = Imm::TableInit {
                    table: TableIndex::from_u32(*table),
                    elem: ElemIndex::from_u32(*elem_index),
                };
                self.emit(Op::TableInit, 3, imm, None)?;
            }
            Operator::ElemDrop { elem_index } => {
                let elem = ElemIndex::from_u32(*elem_index);
                self.emit(Op::ElemDrop, 0, Imm::Elem(elem), None)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(super) fn global_get(&mut self, index: u32) -> Result<()> {
        let global = GlobalIndex::from_u32(index);
        let ty = value_type(self.env, self.env.module.globals[global].content);
        self.emit(Op::GlobalGet, 0, Imm::Global(global), Some(ty))
    }

    pub(super) fn global_set(&mut self, index: u32) -> Result<()> {
        let global = GlobalIndex::from_u32(index);
        self.emit(Op::GlobalSet, 1, Imm::Global(global), None)
    }

    fn index_type(&self, table: TableIndex) -> Type {
        if self.env.module.tables[table].table64 {
            Type::I64
        } else {
            Type::I32
        }
    }
}
