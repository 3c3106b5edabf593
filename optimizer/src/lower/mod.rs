//! Graph → CLIF, one pass over the blocks in their order.
//!
//! A graph value maps to a CLIF value. Two of them are not of the type that they have in wasm
//! until somebody needs it: the `i32` of a comparison stays Cranelift's `i8` (a branch wants it
//! so), and a `v128` keeps the lane type it was computed in. [`Lower::get`] and
//! [`Lower::lanes`] convert.
//!
//! Everything an instance holds is reached from `vmctx` by loads that name what they may alias
//! ([`vm`]), so that Cranelift removes and hoists them as it does pure operations.
//!
//! **Invariants**: nothing is lowered to what becomes a library call. With `signals_based_traps`
//! off, no emitted instruction relies on a machine fault.

mod array;
mod atomic;
mod call;
mod cast;
mod control;
mod exceptions;
mod gc;
mod memory;
mod metering;
mod numeric;
mod relaxed;
mod roots;
mod simd;
mod table;
mod trace;
mod vm;

use bimetal_abi::{VmContextHeader, VmStoreContext};
use bimetal_codegen::{CompileError, ModuleEnv};
use bimetal_wasm::{DefinedFuncIndex, FuncIndex, FuncType, MemoryIndex, TypeIndex};
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{
    self, Block, BlockArg, FuncRef, Function, GlobalValueData, InstBuilder, SigRef, SourceLoc,
    TrapCode, Type, Value, types,
};
use cranelift_entity::packed_option::{PackedOption, ReservedValue};
use cranelift_entity::{EntityRef, SecondaryMap};
use smallvec::SmallVec;

use crate::graph::{self, Effects, Graph, Imm, Op};
use crate::isa::Isa;
use crate::signature::{self, POINTER};
use crate::traps;
use roots::Roots;
use trace::Trace;

/// Arguments of calls and edges.
type Values = SmallVec<[Value; 16]>;

/// Maps that are reused from function to function.
#[derive(Default)]
pub(crate) struct LowerScratch {
    values: Vec<PackedOption<Value>>,
    blocks: Vec<PackedOption<Block>>,
    signatures: Stamped<TypeIndex, SigRef>,
    functions: Stamped<FuncIndex, FuncRef>,
    builtins: Vec<PackedOption<SigRef>>,
    /// Pointers at places of `vmctx` that never change, by offset over 8.
    pointers: Stamped<ContextWord, Value>,
    /// The bases of imported memories that never move.
    memory_bases: Stamped<MemoryIndex, Value>,
    roots: Roots,
    trace: Trace,
    fields: Vec<vm::FieldKey>,
    /// By value of a `ref.test`, how often it is used; empty as long as nobody asked.
    test_uses: SecondaryMap<graph::Value, u32>,
}

/// Eight bytes of the context.
#[derive(Clone, Copy, PartialEq, Eq)]
struct ContextWord(u32);
cranelift_entity::entity_impl!(ContextWord);

/// Fills the empty `func` with `graph`, the body of `index`.
///
/// # Errors
/// [`CompileError::Unsupported`] for types that the target has not, [`CompileError::Bug`] if the
/// graph breaks its invariants.
pub(crate) fn lower(
    isa: &Isa,
    env: &ModuleEnv,
    index: DefinedFuncIndex,
    graph: &Graph,
    func: &mut Function,
    scratch: &mut LowerScratch,
) -> Result<(), CompileError> {
    let ty = env.module.func_type(env.module.func_index(index));
    func.signature = signature::wasm(isa, Some(&env.module), ty)?;
    // Source locations are kept relative to the first one, and a difference of -1 would read as
    // none at all.
    func.params.ensure_base_srcloc(SourceLoc::new(0));
    if !isa.has_simd && uses_vectors(graph) {
        return Err(CompileError::Unsupported(format!(
            "v128 on {} without vector instructions",
            isa.arch
        )));
    }

    scratch.values.clear();
    scratch.values.resize(graph.num_values(), None.into());
    scratch.blocks.clear();
    scratch.blocks.resize(graph.num_blocks(), None.into());
    scratch.signatures.next();
    scratch.functions.next();
    scratch.pointers.next();
    scratch.memory_bases.next();
    scratch.builtins.clear();
    scratch
        .builtins
        .resize(bimetal_abi::Builtin::ALL.len(), None.into());

    scratch.fields.clear();
    scratch.test_uses.clear();
    let mut roots = std::mem::take(&mut scratch.roots);
    let done = roots
        .compute(env, graph)
        .and_then(|()| lower_with(isa, env, ty, graph, &roots, func, scratch));
    scratch.roots = roots;
    done
}

fn lower_with(
    isa: &Isa,
    env: &ModuleEnv,
    ty: &FuncType,
    graph: &Graph,
    roots: &Roots,
    func: &mut Function,
    scratch: &mut LowerScratch,
) -> Result<(), CompileError> {
    let entry = func.dfg.make_block();
    let vmctx = func.dfg.append_block_param(entry, POINTER);
    func.dfg.append_block_param(entry, POINTER);
    let mut lower = Lower {
        isa,
        env,
        graph,
        roots,
        signature: ty,
        has_objects: None,
        last_collection: None,
        cur: FuncCursor::new(func),
        scratch,
        entry,
        block: entry,
        cold: false,
        rare: false,
        vmctx,
        pointers: [None; vm::POINTERS],
        last_pointer: None,
        flags: vm::Flags::default(),
        signals: env.tunables.signals_based_traps,
        spectre: env.tunables.spectre_mitigation && env.tunables.signals_based_traps,
    };
    lower.make_blocks(entry)?;
    lower.begin_trace();
    lower.stack_check();
    for block in graph.blocks() {
        lower.lower_block(block)?;
    }
    Ok(())
}

fn uses_vectors(graph: &Graph) -> bool {
    (0..graph.num_values()).any(|i| graph.ty(graph::Value::new(i)) == graph::Type::V128)
}

/// A function under construction.
struct Lower<'a> {
    isa: &'a Isa,
    env: &'a ModuleEnv,
    graph: &'a Graph,
    roots: &'a Roots,
    /// The function's type.
    signature: &'a FuncType,
    /// Whether the module has types of objects, once somebody asked.
    has_objects: Option<bool>,
    /// The last instruction of this block of the graph at which the collector might have run.
    last_collection: Option<graph::Inst>,
    /// At the end of `block`.
    cur: FuncCursor<'a>,
    scratch: &'a mut LowerScratch,
    /// The first block; pointers that are loaded once are loaded at its start.
    entry: Block,
    block: Block,
    /// Whether the graph's block is cold.
    cold: bool,
    /// Whether what a call of the runtime needs is loaded there and then.
    rare: bool,
    vmctx: Value,
    pointers: [Option<Value>; vm::POINTERS],
    /// The last instruction of the pointers at the start of `entry`.
    last_pointer: Option<ir::Inst>,
    flags: vm::Flags,
    /// Whether machine faults may stand for checks.
    signals: bool,
    /// Whether addresses are masked under misspeculation, which also makes them fault.
    spectre: bool,
}

impl<'a> Lower<'a> {
    /// A CLIF block for each block of the graph, with the same parameters.
    fn make_blocks(&mut self, entry: Block) -> Result<(), CompileError> {
        let graph = self.graph;
        for (i, block) in graph.blocks().enumerate() {
            let clif = if i == 0 {
                entry
            } else {
                self.cur.func.dfg.make_block()
            };
            self.scratch.blocks[block.index()] = clif.into();
            for &param in graph.params(block) {
                let ty = clif_type(graph.ty(param));
                let value = self.cur.func.dfg.append_block_param(clif, ty);
                self.scratch.values[param.index()] = value.into();
            }
        }
        let params = self.cur.func.dfg.num_block_params(entry);
        if params != self.cur.func.signature.params.len() {
            return Err(CompileError::Bug(
                "the entry block's parameters are not the function's".into(),
            ));
        }
        Ok(())
    }

    /// Compares the stack pointer with the store's limit at the start of the function.
    fn stack_check(&mut self) {
        self.cur.insert_block(self.entry);
        if self.signals {
            // Cranelift does it in the prologue, where the frame's size is known.
            let func = &mut *self.cur.func;
            let flags = vm::pointer_flags(func);
            let vmctx = func.create_global_value(GlobalValueData::VMContext);
            let mut load = |base, offset: u32| {
                func.create_global_value(GlobalValueData::Load {
                    base,
                    offset: (offset as i32).into(),
                    global_type: POINTER,
                    flags,
                })
            };
            let store = load(vmctx, VmContextHeader::STORE);
            let limit = load(store, VmStoreContext::STACK_LIMIT);
            func.stack_limit = Some(limit);
        } else {
            let store = self.vm_pointer(vm::Pointer::Store);
            let flags = self.flags.mutable(self.cur.func, vm::Region::Store);
            let limit = self.load(POINTER, flags, store, VmStoreContext::STACK_LIMIT);
            let sp = self.cur.ins().get_stack_pointer(POINTER);
            let below = self
                .cur
                .ins()
                .icmp(ir::condcodes::IntCC::UnsignedLessThan, sp, limit);
            self.trap_if(below, TrapCode::STACK_OVERFLOW);
        }
    }

    fn lower_block(&mut self, block: graph::Block) -> Result<(), CompileError> {
        let graph = self.graph;
        let clif = self.clif_block(block)?;
        self.cold = graph.block(block).cold;
        if clif != self.entry {
            self.cur.insert_block(clif);
            self.block = clif;
            if self.cold {
                self.cur.func.layout.set_cold(clif);
            }
        }
        self.enter_traced_block(block)?;
        for inst in graph.insts(block) {
            let data = graph.inst(inst);
            let effects = data.op.effects();
            self.enter_point(inst, effects.contains(Effects::COLLECTS));
            const HAVE_SITES: Effects = Effects::CAN_TRAP
                .union(Effects::CAN_CALL)
                .union(Effects::COLLECTS);
            if effects.intersects(HAVE_SITES) {
                let site = data.site.expand();
                self.cur.set_srcloc(match site {
                    Some(site) => SourceLoc::new(site.as_u32()),
                    None => SourceLoc::default(),
                });
            }
            self.lower_inst(inst, data.op, data.imm)?;
            if effects.contains(Effects::COLLECTS) {
                self.last_collection = Some(inst);
            }
        }
        self.last_collection = None;
        Ok(())
    }

    fn lower_inst(&mut self, inst: graph::Inst, op: Op, imm: Imm) -> Result<(), CompileError> {
        let args = self.graph.args(inst);
        if let Some(value) = self.numeric(op, imm, args)? {
            self.set(self.graph.result(inst), value);
            return Ok(());
        }
        if let Some(()) = self.memory(inst, op, imm, args)? {
            return Ok(());
        }
        if let Some(()) = self.control(inst, op, imm, args)? {
            return Ok(());
        }
        if let Some(()) = self.exceptions(inst, op, imm, args)? {
            return Ok(());
        }
        if let Some(()) = self.table(inst, op, imm, args)? {
            return Ok(());
        }
        if let Some(()) = self.gc(inst, op, imm, args)? {
            return Ok(());
        }
        if let Some(()) = self.cast(inst, op, imm, args)? {
            return Ok(());
        }
        if let Some(()) = self.metering(inst, op, args)? {
            return Ok(());
        }
        if let Some(value) = self.simd(op, imm, args)? {
            self.set(self.graph.result(inst), value);
            return Ok(());
        }
        if let Some(value) = self.relaxed(op, args)? {
            self.set(self.graph.result(inst), value);
            return Ok(());
        }
        if let Some(halves) = self.wide_numeric(op, args)? {
            return self.set_results(inst, &halves);
        }
        Err(CompileError::Unsupported(format!("instruction {op}")))
    }

    /// The CLIF block that begins a block of the graph.
    fn clif_block(&self, block: graph::Block) -> Result<Block, CompileError> {
        self.scratch
            .blocks
            .get(block.index())
            .and_then(|block| block.expand())
            .ok_or_else(|| CompileError::Bug(format!("{block} has no place")))
    }

    fn set(&mut self, value: graph::Value, clif: Value) {
        self.scratch.values[value.index()] = clif.into();
        self.store_root(value, clif);
    }

    /// A value as it was computed, or as it is after the collector has run.
    fn raw(&mut self, value: graph::Value) -> Result<Value, CompileError> {
        match self.roots.slot(value) {
            None => self.defined(value),
            Some(slot) => self.traced(value, slot),
        }
    }

    /// A value as it was computed.
    fn defined(&self, value: graph::Value) -> Result<Value, CompileError> {
        self.scratch.values[value.index()]
            .expand()
            .ok_or_else(|| CompileError::Bug(format!("{value} is used before its definition")))
    }

    /// A value in the type that blocks and calls take: see [`clif_type`].
    fn get(&mut self, value: graph::Value) -> Result<Value, CompileError> {
        let clif = self.raw(value)?;
        let ty = self.cur.func.dfg.value_type(clif);
        Ok(if ty == types::I8 {
            self.cur.ins().uextend(types::I32, clif)
        } else if ty.is_vector() {
            self.as_lanes(clif, types::I8X16)
        } else {
            clif
        })
    }

    /// A `v128` as lanes of type `ty`.
    fn lanes(&mut self, value: graph::Value, ty: Type) -> Result<Value, CompileError> {
        let clif = self.raw(value)?;
        Ok(self.as_lanes(clif, ty))
    }

    fn as_lanes(&mut self, value: Value, ty: Type) -> Value {
        if self.cur.func.dfg.value_type(value) == ty {
            value
        } else {
            self.bitcast(ty, value)
        }
    }

    /// A value of another type with the same bits; lanes in little-endian order.
    fn bitcast(&mut self, ty: Type, value: Value) -> Value {
        let flags = self.flags.bitcast(self.cur.func);
        let (inst, dfg) = self
            .cur
            .ins()
            .LoadNoOffset(ir::Opcode::Bitcast, ty, flags, value);
        dfg.first_result(inst)
    }

    fn get_all(&mut self, values: &[graph::Value], to: &mut Values) -> Result<(), CompileError> {
        for &value in values {
            let value = self.get(value)?;
            to.push(value);
        }
        Ok(())
    }

    fn edge_args(&mut self, edge: graph::Edge) -> Result<SmallVec<[BlockArg; 8]>, CompileError> {
        let graph = self.graph;
        graph
            .edge_args(edge)
            .iter()
            .map(|&value| self.get(value).map(BlockArg::Value))
            .collect()
    }

    /// The integer that a constant is.
    fn constant(&self, value: graph::Value) -> Option<u64> {
        let inst = self.graph.def_inst(value)?;
        match self.graph.imm(inst) {
            Imm::I32(value) => Some(u64::from(value as u32)),
            Imm::I64(value) => Some(value as u64),
            _ => None,
        }
    }

    fn iconst(&mut self, ty: Type, value: u64) -> Value {
        self.cur.ins().iconst(ty, value as i64)
    }

    /// The instruction's results become these values.
    fn set_results(&mut self, inst: graph::Inst, values: &[Value]) -> Result<(), CompileError> {
        if values.len() != self.graph.num_results(inst) {
            return Err(CompileError::Bug(format!("results of {inst}")));
        }
        for (result, &value) in self.graph.results(inst).zip(values) {
            self.set(result, value);
        }
        Ok(())
    }

    // Blocks within a block of the graph.

    /// A new block, which is not the current one yet.
    fn new_block(&mut self) -> Block {
        self.cur.func.dfg.make_block()
    }

    /// Goes on in a new block after the current one.
    fn enter(&mut self, block: Block) {
        self.cur.insert_block(block);
        self.block = block;
        if self.cold {
            self.cur.func.layout.set_cold(block);
        }
    }

    // Traps.

    /// Stops with `code` if `condition` is not zero.
    fn trap_if(&mut self, condition: Value, code: TrapCode) {
        if self.signals {
            self.cur.ins().trapnz(condition, code);
            return;
        }
        let stop = self.new_block();
        let go_on = self.new_block();
        self.cur.ins().brif(condition, stop, &[], go_on, &[]);
        self.cur.insert_block(stop);
        self.block = stop;
        self.cur.func.layout.set_cold(stop);
        self.trap(code);
        self.enter(go_on);
    }

    /// Stops with `code` if `value` is zero.
    fn trap_if_zero(&mut self, value: Value, code: TrapCode) {
        if self.signals {
            self.cur.ins().trapz(value, code);
        } else {
            let ty = self.cur.func.dfg.value_type(value);
            let zero = self.iconst(ty, 0);
            let is_zero = self
                .cur
                .ins()
                .icmp(ir::condcodes::IntCC::Equal, value, zero);
            self.trap_if(is_zero, code);
        }
    }

    /// Stops with `code` and ends the block.
    fn trap(&mut self, code: TrapCode) {
        if !self.signals
            && let Some(ours) = traps::from_clif(code)
        {
            let number = self.iconst(types::I32, ours as u64);
            self.call_builtin_raw(bimetal_abi::Builtin::trap, &[number]);
        }
        self.cur.ins().trap(code);
    }
}

/// The type in which values of a graph type cross blocks and calls; [`signature::value_type`] for
/// wasm types says the same.
fn clif_type(ty: graph::Type) -> Type {
    match ty {
        graph::Type::I32 | graph::Type::ExternRef | graph::Type::AnyRef | graph::Type::ExnRef => {
            types::I32
        }
        graph::Type::I64 => types::I64,
        graph::Type::F32 => types::F32,
        graph::Type::F64 => types::F64,
        graph::Type::V128 => types::I8X16,
        graph::Type::FuncRef => POINTER,
    }
}

/// A map from a module's indices that is emptied by counting up.
struct Stamped<K: EntityRef, V: ReservedValue + Copy> {
    round: u32,
    entries: SecondaryMap<K, (u32, PackedOption<V>)>,
}

impl<K: EntityRef, V: ReservedValue + Copy> Default for Stamped<K, V> {
    fn default() -> Self {
        Stamped {
            round: 0,
            entries: SecondaryMap::with_default((0, None.into())),
        }
    }
}

impl<K: EntityRef, V: ReservedValue + Copy> Stamped<K, V> {
    /// Empties the map.
    fn next(&mut self) {
        if self.round == u32::MAX {
            *self = Stamped::default();
        }
        self.round += 1;
    }

    fn get(&self, key: K) -> Option<V> {
        let (round, value) = self.entries[key];
        if round == self.round {
            value.expand()
        } else {
            None
        }
    }

    fn insert(&mut self, key: K, value: V) {
        self.entries[key] = (self.round, value.into());
    }
}
