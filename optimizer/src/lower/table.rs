//! Tables, references and globals.

use bimetal_abi::{Builtin, TrapCode, VmFuncRef, VmTable};
use bimetal_codegen::CompileError;
use bimetal_wasm::{FuncIndex, TableIndex};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{BlockArg, InstBuilder, MemFlags, Opcode, Value, types};

use super::vm::Region;
use super::{Lower, clif_type};
use crate::graph::{self, Imm, Op};
use crate::signature::POINTER;
use crate::traps;

impl Lower<'_> {
    /// Lowers `op` if it is about tables, references or globals.
    pub(super) fn table(
        &mut self,
        inst: graph::Inst,
        op: Op,
        imm: Imm,
        args: &[graph::Value],
    ) -> Result<Option<()>, CompileError> {
        match (op, imm) {
            (Op::GlobalGet, Imm::Global(global)) => {
                let result = self.graph.result(inst);
                let ty = clif_type(self.graph.ty(result));
                let (base, offset, flags) = self.global_place(global);
                let value = self.load(ty, flags, base, offset);
                self.set(result, value);
            }
            (Op::GlobalSet, Imm::Global(global)) => {
                let value = self.get(args[0])?;
                let (base, offset, flags) = self.global_place(global);
                self.store_op(Opcode::Store, flags, value, base, offset as i32);
            }
            (Op::RefNull, _) => {
                let result = self.graph.result(inst);
                let ty = clif_type(self.graph.ty(result));
                let value = self.iconst(ty, 0);
                self.set(result, value);
            }
            (Op::RefIsNull, _) => {
                let value = self.get(args[0])?;
                let ty = self.cur.func.dfg.value_type(value);
                let null = self.iconst(ty, 0);
                let value = self.cur.ins().icmp(IntCC::Equal, value, null);
                self.set(self.graph.result(inst), value);
            }
            (Op::RefFunc, Imm::Func(func)) => {
                let Some(index) = self.env.module.func_refs[func].expand() else {
                    return Err(CompileError::Bug(format!("{func} has no reference")));
                };
                let value = self.own_func_ref(func, self.env.offsets.func_ref(index));
                self.set(self.graph.result(inst), value);
            }
            (Op::FuncIs, Imm::Func(func)) => {
                let Some(index) = self.env.module.func_refs[func].expand() else {
                    return Err(CompileError::Bug(format!("{func} has no reference")));
                };
                let value = self.get(args[0])?;
                let offset = u64::from(self.env.offsets.func_ref(index));
                let offset = self.iconst(POINTER, offset);
                let own = self.cur.ins().iadd(self.vmctx, offset);
                let is_own = self.cur.ins().icmp(IntCC::Equal, value, own);
                self.set(self.graph.result(inst), is_own);
            }
            (Op::TableGet, Imm::Table(table)) => {
                let value = self.element(table, args[0], TrapCode::TableOutOfBounds)?;
                let value = self.element_as_ref(table, value);
                self.set(self.graph.result(inst), value);
            }
            (Op::TableSet, Imm::Table(table)) => {
                let mut value = self.ref_as_element(args[1])?;
                if !self.is_traced(table) {
                    let null = self.iconst(POINTER, VmTable::NULL);
                    value = self.cur.ins().umax(value, null);
                }
                let (place, flags) =
                    self.element_place(table, args[0], TrapCode::TableOutOfBounds)?;
                self.store_op(Opcode::Store, flags, value, place, 0);
                let (definition, offset) = self.table_definition(table);
                let written = self.flags.mutable(self.cur.func, Region::TablesWritten);
                let one = self.iconst(types::I32, 1);
                let offset = (offset + VmTable::WRITTEN) as i32;
                self.store_op(Opcode::Store, written, one, definition, offset);
            }
            (Op::TableSize, Imm::Table(table)) => {
                let length = self.table_length(table);
                let length = self.narrow_length(table, length);
                self.set(self.graph.result(inst), length);
            }
            (Op::TableGrow, Imm::Table(table)) => {
                let number = self.number(table.as_u32());
                let element = self.ref_as_element(args[0])?;
                let delta = self.wide(args[1])?;
                if let Some(length) =
                    self.call_builtin(Builtin::table_grow, &[number, delta, element])
                {
                    let length = self.narrow_length(table, length);
                    self.set(self.graph.result(inst), length);
                }
            }
            (Op::TableFill, Imm::Table(table)) => {
                let number = self.number(table.as_u32());
                let at = self.wide(args[0])?;
                let element = self.ref_as_element(args[1])?;
                let length = self.wide(args[2])?;
                self.call_builtin(Builtin::table_fill, &[number, at, element, length]);
            }
            (Op::TableCopy, Imm::TablePair { dst, src }) => {
                let to = self.number(dst.as_u32());
                let from = self.number(src.as_u32());
                let at = self.wide(args[0])?;
                let source = self.wide(args[1])?;
                let length = self.wide(args[2])?;
                self.call_builtin(Builtin::table_copy, &[to, from, at, source, length]);
            }
            (Op::TableInit, Imm::TableInit { table, elem }) => {
                let number = self.number(table.as_u32());
                let segment = self.number(elem.as_u32());
                let at = self.wide(args[0])?;
                let source = self.get(args[1])?;
                let length = self.get(args[2])?;
                self.call_builtin(Builtin::table_init, &[number, segment, at, source, length]);
            }
            (Op::ElemDrop, Imm::Elem(elem)) => {
                let segment = self.number(elem.as_u32());
                self.call_builtin(Builtin::elem_drop, &[segment]);
            }
            _ => return Ok(None),
        }
        Ok(Some(()))
    }

    /// An element, in the table's form; never one that is still to be looked up. Past the table's
    /// end it traps with `code`.
    pub(super) fn element(
        &mut self,
        table: TableIndex,
        index: graph::Value,
        code: TrapCode,
    ) -> Result<Value, CompileError> {
        let (place, flags) = self.element_place(table, index, code)?;
        let found = self.load(POINTER, flags, place, 0);
        if !self.is_lazy_table(table) {
            return Ok(found);
        }
        let index = self.wide(index)?;
        Ok(self.unless_zero(found, found, |lower| {
            let table = lower.iconst(POINTER, u64::from(table.as_u32()));
            lower.call_rare_builtin(Builtin::table_element, &[table, index]);
            lower.load(POINTER, flags, place, 0)
        }))
    }

    /// The reference to a function of the instance, which is made if there is none yet.
    fn own_func_ref(&mut self, func: FuncIndex, offset: u32) -> Value {
        let flags = self.flags.mutable(self.cur.func, Region::FuncRefs);
        let cell = self.load(POINTER, flags, self.vmctx, offset + VmFuncRef::CELL);
        let offset = self.iconst(POINTER, u64::from(offset));
        self.unless_zero(cell, cell, |lower| {
            let func = lower.iconst(POINTER, u64::from(func.as_u32()));
            lower.call_rare_builtin(Builtin::func_ref, &[func]);
            func
        });
        self.cur.ins().iadd(self.vmctx, offset)
    }

    /// `value`, but where `condition` is zero, which is rare, what `other` gives.
    fn unless_zero(
        &mut self,
        condition: Value,
        value: Value,
        other: impl FnOnce(&mut Self) -> Value,
    ) -> Value {
        let (rare, go_on) = (self.new_block(), self.new_block());
        let after = self.cur.func.dfg.append_block_param(go_on, POINTER);
        let usual = [BlockArg::Value(value)];
        self.cur.ins().brif(condition, go_on, &usual, rare, &[]);
        self.on_cold_path(rare, |lower| {
            let found = other(lower);
            lower.cur.ins().jump(go_on, &[BlockArg::Value(found)]);
        });
        self.enter(go_on);
        after
    }

    /// The address of an element, checked: past the table's end it traps with `code`, here or at
    /// the access.
    fn element_place(
        &mut self,
        table: TableIndex,
        index: graph::Value,
        code: TrapCode,
    ) -> Result<(Value, MemFlags), CompileError> {
        let constant = self.constant(index);
        let index = self.wide(index)?;
        let in_bounds = constant.is_some_and(|index| index < self.env.module.tables[table].min);
        let out_of_bounds = if in_bounds {
            None
        } else {
            let length = self.table_length(table);
            Some(
                self.cur
                    .ins()
                    .icmp(IntCC::UnsignedGreaterThanOrEqual, index, length),
            )
        };
        let code = traps::to_clif(code);
        let region = self.table_region(table);
        let guard = out_of_bounds.filter(|_| self.spectre);
        if let Some(out_of_bounds) = out_of_bounds.filter(|_| !self.spectre) {
            self.trap_if(out_of_bounds, code);
        }
        let base = self.table_base(table);
        let shift = self.iconst(POINTER, u64::from(VmTable::ELEMENT.trailing_zeros()));
        let offset = self.cur.ins().ishl(index, shift);
        let place = self.cur.ins().iadd(base, offset);
        Ok(match guard {
            None => (place, self.flags.mutable(self.cur.func, region)),
            Some(out_of_bounds) => {
                let null = self.iconst(POINTER, 0);
                let place = self
                    .cur
                    .ins()
                    .select_spectre_guard(out_of_bounds, null, place);
                (place, self.flags.faulting(self.cur.func, region, code))
            }
        })
    }

    fn table_base(&mut self, table: TableIndex) -> Value {
        let (base, offset) = self.table_definition(table);
        let flags = if self.fixed_table_length(table).is_some() {
            // Nor does it move.
            self.flags.pointer(self.cur.func)
        } else {
            self.flags.mutable(self.cur.func, Region::Tables)
        };
        self.load(POINTER, flags, base, offset + VmTable::BASE)
    }

    /// Whether elements are references of 32 bits.
    fn is_traced(&self, table: TableIndex) -> bool {
        let module = &*self.env.module;
        !module.is_func_ref(&module.tables[table].element)
    }

    /// The 64 bits of an element as a reference.
    fn element_as_ref(&mut self, table: TableIndex, element: Value) -> Value {
        if self.is_traced(table) {
            return self.cur.ins().ireduce(types::I32, element);
        }
        let address = self.iconst(POINTER, !VmTable::NULL);
        self.cur.ins().band(element, address)
    }

    /// A reference as the 64 bits of an element.
    fn ref_as_element(&mut self, value: graph::Value) -> Result<Value, CompileError> {
        self.wide(value)
    }

    fn narrow_length(&mut self, table: TableIndex, length: Value) -> Value {
        if self.env.module.tables[table].table64 {
            length
        } else {
            self.cur.ins().ireduce(types::I32, length)
        }
    }
}
