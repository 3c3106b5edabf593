//! The text form of a graph, which [`parse`](crate::graph::parse) reads back.
//!
//! ```text
//! func (i32, i64) -> (i32) {
//!   inline 1: func7 in 0 @0x120
//! block0(v0: i32, v1: i64):
//!     v2 = i32.load offset=16 v0 @0x1f3
//!     v3: i32, v4: f64 = call func3 v2, v1 @1:0x1f9
//!     branch_if taken=200 v3, block1(v2), block2
//! block1(v5: i32) loop @0x201:
//!     br_table [0 1 0 else 1] v5, block1(v5), block2
//! block2 cold:
//!     return v2
//! }
//! ```
//!
//! An instruction is results, op, immediate, operands, edges, site. A result's type stands where
//! the op does not tell it. A site is `@offset`, or `@node:offset` in an inlined function. Numbers
//! of values and blocks are those of the graph, so that dumps of one function can be compared;
//! whatever has no place in the function is not printed.

use std::fmt::{self, Formatter, Write};

use bimetal_abi::TrapCode;
use bimetal_wasm::{HeapType, RefType};

use crate::graph::{Block, Edge, Graph, Hint, Imm, Inst, SiteId, Type, Value};

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let params: &[Value] = match self.blocks().next() {
            Some(entry) => self.params(entry),
            None => &[],
        };
        f.write_str("func (")?;
        list(f, params, |f, &param| self.ty(param).fmt(f))?;
        f.write_str(") -> (")?;
        list(f, &self.results, |f, ty: &Type| ty.fmt(f))?;
        f.write_str(") {\n")?;
        for (i, node) in self.inline_nodes.iter().enumerate() {
            let (number, func, parent) = (i + 1, node.func, node.parent);
            writeln!(
                f,
                "  inline {number}: {func} in {parent} @{:#x}",
                node.call_offset
            )?;
        }
        for block in self.blocks() {
            self.print_block(f, block)?;
        }
        f.write_str("}\n")
    }
}

impl Graph {
    fn print_block(&self, f: &mut Formatter<'_>, block: Block) -> fmt::Result {
        write!(f, "{block}")?;
        if !self.params(block).is_empty() {
            f.write_char('(')?;
            list(f, self.params(block), |f, &param| {
                write!(f, "{param}: {}", self.ty(param))
            })?;
            f.write_char(')')?;
        }
        let data = self.block(block);
        if let Some(site) = data.loop_site.expand() {
            f.write_str(" loop")?;
            self.print_site(f, site)?;
        }
        if data.cold {
            f.write_str(" cold")?;
        }
        f.write_str(":\n")?;
        for inst in self.insts(block) {
            f.write_str("    ")?;
            self.print_inst(f, inst)?;
            f.write_char('\n')?;
        }
        Ok(())
    }

    pub(crate) fn print_inst(&self, f: &mut dyn Write, inst: Inst) -> fmt::Result {
        let op = self.op(inst);
        for (i, result) in self.results(inst).enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{result}")?;
            // What the op fixes is not said again, unless it is wrong: then the reader must see.
            let ty = self.ty(result);
            if op.info().results.get(i).and_then(|slot| slot.fixed()) != Some(ty) {
                write!(f, ": {ty}")?;
            }
        }
        if self.num_results(inst) > 0 {
            f.write_str(" = ")?;
        }
        write!(f, "{op}")?;
        self.print_imm(f, self.imm(inst))?;
        let mut separator = " ";
        for arg in self.args(inst) {
            write!(f, "{separator}{arg}")?;
            separator = ", ";
        }
        for edge in self.edges(inst) {
            f.write_str(separator)?;
            self.print_edge(f, edge)?;
            separator = ", ";
        }
        match self.site(inst) {
            Some(site) => self.print_site(f, site),
            None => Ok(()),
        }
    }

    fn print_edge(&self, f: &mut dyn Write, edge: Edge) -> fmt::Result {
        write!(f, "{}", self.target(edge))?;
        let args = self.edge_args(edge);
        for (i, arg) in args.iter().enumerate() {
            f.write_str(if i == 0 { "(" } else { ", " })?;
            write!(f, "{arg}")?;
        }
        match args.is_empty() {
            true => Ok(()),
            false => f.write_char(')'),
        }
    }

    fn print_site(&self, f: &mut dyn Write, site: SiteId) -> fmt::Result {
        let site = self.site_info(site);
        match site.node {
            0 => write!(f, " @{:#x}", site.offset),
            node => write!(f, " @{node}:{:#x}", site.offset),
        }
    }

    fn print_imm(&self, f: &mut dyn Write, imm: Imm) -> fmt::Result {
        match imm {
            Imm::None => Ok(()),
            Imm::I32(value) => write!(f, " {value}"),
            Imm::I64(value) => write!(f, " {value}"),
            Imm::F32(bits) => {
                let value = f32::from_bits(bits);
                match value.is_nan() {
                    true => print_nan(f, bits >> 31, u64::from(bits & 0x7f_ffff)),
                    false => write!(f, " {value:?}"),
                }
            }
            Imm::F64(bits) => {
                let value = f64::from_bits(bits);
                match value.is_nan() {
                    true => print_nan(f, (bits >> 63) as u32, bits & 0xf_ffff_ffff_ffff),
                    false => write!(f, " {value:?}"),
                }
            }
            Imm::V128(constant) => write!(f, " {:#034x}", self.constant(constant)),
            Imm::Shuffle(constant) => {
                for (i, lane) in self.constant(constant).to_le_bytes().iter().enumerate() {
                    f.write_str(if i == 0 { " [" } else { " " })?;
                    write!(f, "{lane}")?;
                }
                f.write_char(']')
            }
            Imm::Lane(lane) => write!(f, " lane={lane}"),
            Imm::Mem { memory, offset } => print_mem(f, memory.as_u32(), offset),
            Imm::MemLane {
                memory,
                offset,
                lane,
            } => {
                print_mem(f, memory.as_u32(), offset)?;
                write!(f, " lane={lane}")
            }
            Imm::Memory(memory) => write!(f, " {memory}"),
            Imm::MemoryPair { dst, src } => write!(f, " {dst} {src}"),
            Imm::MemoryInit { memory, data } => write!(f, " {memory} {data}"),
            Imm::Data(data) => write!(f, " {data}"),
            Imm::Table(table) => write!(f, " {table}"),
            Imm::TablePair { dst, src } => write!(f, " {dst} {src}"),
            Imm::TableInit { table, elem } => write!(f, " {table} {elem}"),
            Imm::Elem(elem) => write!(f, " {elem}"),
            Imm::Global(global) => write!(f, " {global}"),
            Imm::Func(func) => write!(f, " {func}"),
            Imm::CallIndirect { ty, table } => write!(f, " {ty} {table}"),
            Imm::Type(ty) => write!(f, " {ty}"),
            Imm::Field { ty, field } => write!(f, " {ty} field={field}"),
            Imm::TypeData { ty, data } => write!(f, " {ty} {data}"),
            Imm::TypeElem { ty, elem } => write!(f, " {ty} {elem}"),
            Imm::TypePair { dst, src } => write!(f, " {dst} {src}"),
            Imm::Cast { to, from } => {
                print_ref_type(f, to)?;
                f.write_str(" from")?;
                print_ref_type(f, from)
            }
            Imm::Tag(tag) => write!(f, " {tag}"),
            Imm::ExnField { tag, field } => write!(f, " {tag} field={field}"),
            Imm::Hint(Hint::Unknown) => Ok(()),
            Imm::Hint(Hint::Taken(times)) => write!(f, " taken={times}"),
            Imm::JumpTable(table) => {
                f.write_str(" [")?;
                if let Some((default, entries)) = self.jump_table(table).split_last() {
                    for entry in entries {
                        write!(f, "{entry} ")?;
                    }
                    write!(f, "else {default}")?;
                }
                f.write_char(']')
            }
            Imm::Trap(TrapCode::Unreachable) => Ok(()),
            Imm::Trap(code) => write!(f, " {code:?}"),
        }
    }
}

/// As in the text format, but the payload is always there.
fn print_nan(f: &mut dyn Write, sign: u32, payload: u64) -> fmt::Result {
    let sign = if sign != 0 { "-" } else { "" };
    write!(f, " {sign}nan:{payload:#x}")
}

/// `null eq`, `type3`.
fn print_ref_type(f: &mut dyn Write, ty: RefType) -> fmt::Result {
    if ty.nullable {
        f.write_str(" null")?;
    }
    match ty.heap {
        HeapType::Concrete(index) => write!(f, " {index}"),
        heap => write!(f, " {heap}"),
    }
}

fn print_mem(f: &mut dyn Write, memory: u32, offset: u64) -> fmt::Result {
    if memory != 0 {
        write!(f, " memory={memory}")?;
    }
    if offset != 0 {
        write!(f, " offset={offset}")?;
    }
    Ok(())
}

fn list<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    mut print: impl FnMut(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        print(f, item)?;
    }
    Ok(())
}
