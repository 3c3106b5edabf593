//! The types of operands and results, by the op table and the module.

use bimetal_codegen::ModuleEnv;
use bimetal_wasm::{
    CompositeType, FieldType, FuncType, HeapType, RefType, TableIndex, TypeIndex, ValType,
};
use cranelift_entity::EntityRef;

use crate::graph::{Graph, Imm, Inst, Op, Slot, Type, Value};

type Check = Result<(), String>;

/// Checks an instruction; the verifier has checked that the immediate is of the right kind.
pub(super) fn check(graph: &Graph, env: Option<&ModuleEnv>, inst: Inst) -> Check {
    let (op, imm) = (graph.op(inst), graph.imm(inst));
    lanes(graph, op, imm)?;
    if let Some(env) = env {
        indices(env, op, imm)?;
    }
    let mut checker = Checker {
        graph,
        env,
        inst,
        op,
        imm,
        t: None,
    };
    checker.bind()?;
    let results: Vec<Value> = graph.results(inst).collect();
    let (params, returned) = checker.rest();
    checker.list("operand", op.info().operands, graph.args(inst), params)?;
    checker.list("result", op.info().results, &results, returned)
}

/// Lanes are numbered below what the vector has.
fn lanes(graph: &Graph, op: Op, imm: Imm) -> Check {
    let (lane, limit) = match imm {
        Imm::Shuffle(constant) => {
            let lanes = graph.constant(constant).to_le_bytes();
            (lanes.into_iter().max().unwrap_or(0), 32)
        }
        Imm::Lane(lane) => match op.name().split_once('x').map(|(_, rest)| rest) {
            Some(rest) if rest.starts_with("16") => (lane, 16),
            Some(rest) if rest.starts_with('8') => (lane, 8),
            Some(rest) if rest.starts_with('4') => (lane, 4),
            _ => (lane, 2),
        },
        Imm::MemLane { lane, .. } => match op {
            Op::V128Load8Lane | Op::V128Store8Lane => (lane, 16),
            Op::V128Load16Lane | Op::V128Store16Lane => (lane, 8),
            Op::V128Load32Lane | Op::V128Store32Lane => (lane, 4),
            _ => (lane, 2),
        },
        _ => return Ok(()),
    };
    match lane < limit {
        true => Ok(()),
        false => Err(format!("lane {lane} of {limit}")),
    }
}

/// What the instruction names is in the module.
fn indices(env: &ModuleEnv, op: Op, imm: Imm) -> Check {
    let module = &*env.module;
    let within = |what: &str, index: usize, count: usize| match index < count {
        true => Ok(()),
        false => Err(format!("{what} {index} of {count}")),
    };
    let memory = |i: usize| within("memory", i, module.memories.len());
    let table = |i: usize| within("table", i, module.tables.len());
    let data = |i: usize| within("data segment", i, module.num_data);
    let elem = |i: usize| within("element segment", i, module.elements.len());
    match imm {
        Imm::Mem { memory: m, offset }
        | Imm::MemLane {
            memory: m, offset, ..
        } => {
            memory(m.index())?;
            match module.memories[m].memory64 || u32::try_from(offset).is_ok() {
                true => Ok(()),
                false => Err(format!("offset {offset} in a 32-bit memory")),
            }
        }
        Imm::Memory(m) => memory(m.index()),
        Imm::MemoryPair { dst, src } => memory(dst.index()).and(memory(src.index())),
        Imm::MemoryInit { memory: m, data: d } => memory(m.index()).and(data(d.index())),
        Imm::Data(d) => data(d.index()),
        Imm::Table(t) => table(t.index()),
        Imm::TablePair { dst, src } => table(dst.index()).and(table(src.index())),
        Imm::TableInit { table: t, elem: e } => table(t.index()).and(elem(e.index())),
        Imm::Elem(e) => elem(e.index()),
        Imm::Global(g) => {
            within("global", g.index(), module.globals.len())?;
            match op == Op::GlobalSet && !module.globals[g].mutable {
                true => Err(format!("{g} is immutable")),
                false => Ok(()),
            }
        }
        Imm::Func(f) => {
            within("function", f.index(), module.functions.len())?;
            let is_reference = matches!(op, Op::RefFunc | Op::FuncIs);
            match is_reference && module.func_refs.get(f).is_none_or(|r| r.is_none()) {
                true => Err(format!("{f} has no function reference")),
                false => Ok(()),
            }
        }
        Imm::Tag(tag) => within("tag", tag.index(), module.tags.len()),
        Imm::ExnField { tag, field } => {
            within("tag", tag.index(), module.tags.len())?;
            within("field", field as usize, module.tag_params(tag).len())
        }
        Imm::CallIndirect { ty, table: t } => {
            table(t.index())?;
            func_type(env, ty)
        }
        Imm::Type(ty) => match op {
            Op::CallRef | Op::ReturnCallRef | Op::TryCallRef => func_type(env, ty),
            Op::StructNew | Op::StructNewDefault => struct_type(env, ty).map(drop),
            _ => array_type(env, ty),
        },
        Imm::Field { ty, field } => {
            let fields = struct_type(env, ty)?;
            within("field", field as usize, fields.len())?;
            match op == Op::StructSet && !fields[field as usize].mutable {
                true => Err(format!("field {field} of {ty} is immutable")),
                false => Ok(()),
            }
        }
        Imm::TypeData { ty, data: d } => array_type(env, ty).and(data(d.index())),
        Imm::TypeElem { ty, elem: e } => array_type(env, ty).and(elem(e.index())),
        Imm::TypePair { dst, src } => array_type(env, dst).and(array_type(env, src)),
        Imm::Cast { to, from } => {
            let known = |ty: RefType| match ty.heap {
                HeapType::Concrete(ty) => within("type", ty.index(), module.types.len()),
                _ => Ok(()),
            };
            known(to).and(known(from))?;
            match module.top_heap_type(to.heap) == module.top_heap_type(from.heap) {
                true => Ok(()),
                false => Err("a cast to what no value can be".into()),
            }
        }
        _ => Ok(()),
    }
}

fn composite(env: &ModuleEnv, ty: TypeIndex) -> Result<&CompositeType, String> {
    match env.module.types.get(ty) {
        Some(ty) => Ok(&ty.composite),
        None => Err(format!("{ty} of {}", env.module.types.len())),
    }
}

fn func_type(env: &ModuleEnv, ty: TypeIndex) -> Check {
    match composite(env, ty)? {
        CompositeType::Func(_) => Ok(()),
        _ => Err(format!("{ty} is no function type")),
    }
}

fn struct_type(env: &ModuleEnv, ty: TypeIndex) -> Result<&[FieldType], String> {
    match composite(env, ty)? {
        CompositeType::Struct(ty) => Ok(&ty.fields),
        _ => Err(format!("{ty} is no struct type")),
    }
}

fn array_type(env: &ModuleEnv, ty: TypeIndex) -> Check {
    match composite(env, ty)? {
        CompositeType::Array(_) => Ok(()),
        _ => Err(format!("{ty} is no array type")),
    }
}

struct Checker<'a> {
    graph: &'a Graph,
    env: Option<&'a ModuleEnv>,
    inst: Inst,
    op: Op,
    imm: Imm,
    /// What `Slot::T` is here, once that is known.
    t: Option<Type>,
}

/// The graph's type for a wasm type; `None` if it is one of a module that is not known.
pub(super) fn converted(env: Option<&ModuleEnv>, ty: ValType) -> Option<Type> {
    Some(match (env, ty) {
        (Some(env), ty) => Type::from_wasm(ty, &env.module),
        (None, ValType::I32) => Type::I32,
        (None, ValType::I64) => Type::I64,
        (None, ValType::F32) => Type::F32,
        (None, ValType::F64) => Type::F64,
        (None, ValType::V128) => Type::V128,
        (None, ValType::Ref(ty)) => match ty.heap {
            HeapType::Func | HeapType::NoFunc => Type::FuncRef,
            HeapType::Extern | HeapType::NoExtern => Type::ExternRef,
            HeapType::Exn | HeapType::NoExn => Type::ExnRef,
            HeapType::Concrete(_) => return None,
            _ => Type::AnyRef,
        },
    })
}

impl<'a> Checker<'a> {
    /// Binds `T` for the ops whose immediate says it.
    fn bind(&mut self) -> Check {
        let Some(env) = self.env else {
            return Ok(());
        };
        let module = &*env.module;
        self.t = match self.imm {
            Imm::Global(global) => Some(Type::from_wasm(module.globals[global].content, module)),
            Imm::Table(table) => {
                let ty = ValType::Ref(module.tables[table].element);
                Some(Type::from_wasm(ty, module))
            }
            Imm::Field { ty, field } => {
                let field = module.struct_fields(ty).get(field as usize);
                field.map(|field| Type::from_storage(field.storage, module))
            }
            Imm::Type(ty) => {
                let element = module.array_element(ty);
                element.map(|element| Type::from_storage(element.storage, module))
            }
            Imm::Cast { to, .. } => Some(Type::from_heap(to.heap, module)),
            Imm::ExnField { tag, field } => {
                let ty = module.tag_params(tag).get(field as usize);
                ty.map(|&ty| Type::from_wasm(ty, module))
            }
            _ => None,
        };
        Ok(())
    }

    /// The types that stand for `Slot::Rest` among operands and results, if they are known.
    fn rest(&self) -> (Option<Vec<Type>>, Option<Vec<Type>>) {
        let of = |ty: &FuncType| {
            let convert = |types: &[ValType]| {
                let convert = |&ty| converted(self.env, ty);
                types.iter().map(convert).collect()
            };
            (convert(ty.params()), convert(ty.results()))
        };
        match (self.op, self.imm, self.env) {
            (Op::Return, _, _) => (Some(self.graph.results.clone()), None),
            (Op::Call | Op::TryCall, Imm::Func(func), Some(env)) => of(env.module.func_type(func)),
            (Op::CallIndirect | Op::TryCallIndirect, Imm::CallIndirect { ty, .. }, Some(env)) => {
                of(env.module.func_type_at(ty))
            }
            (Op::ExnNew, Imm::Tag(tag), Some(env)) => {
                (of(env.module.func_type_at(env.module.tags[tag])).0, None)
            }
            (Op::ReturnCall, Imm::Func(func), Some(env)) => {
                (of(env.module.func_type(func)).0, None)
            }
            (Op::ReturnCallIndirect, Imm::CallIndirect { ty, .. }, Some(env)) => {
                (of(env.module.func_type_at(ty)).0, None)
            }
            (Op::CallRef, Imm::Type(ty), Some(env)) => of(env.module.func_type_at(ty)),
            (Op::ReturnCallRef, Imm::Type(ty), Some(env)) => {
                (of(env.module.func_type_at(ty)).0, None)
            }
            (Op::StructNew, Imm::Type(ty), Some(env)) => {
                let fields = env.module.struct_fields(ty).iter();
                let convert = |field: &FieldType| Type::from_storage(field.storage, &env.module);
                (Some(fields.map(convert).collect()), None)
            }
            (Op::ArrayNewFixed, Imm::Type(_), Some(_)) => {
                let count = self.graph.args(self.inst).len();
                (self.t.map(|ty| vec![ty; count]), None)
            }
            _ => (None, None),
        }
    }

    fn list(
        &mut self,
        what: &str,
        slots: &[Slot],
        values: &[Value],
        rest: Option<Vec<Type>>,
    ) -> Check {
        let rest_at = slots.iter().position(|&slot| slot == Slot::Rest);
        let fixed = slots.len() - usize::from(rest_at.is_some());
        let wanted = fixed + rest.as_ref().map_or(0, Vec::len);
        let found = values.len();
        let open = rest_at.is_some() && rest.is_none();
        if found < wanted || found > wanted && !open {
            return Err(format!("{found} {what}s, expected {wanted}"));
        }
        for (i, &value) in values.iter().enumerate() {
            if value.index() >= self.graph.num_values() {
                continue;
            }
            let after = found - fixed;
            let slot = match rest_at {
                Some(at) if i >= at && i < at + after => {
                    if let Some(&wanted) = rest.as_ref().and_then(|rest| rest.get(i - at)) {
                        self.equal(what, i, value, wanted)?;
                    }
                    continue;
                }
                Some(at) if i >= at => slots[i + 1 - after],
                _ => slots[i],
            };
            self.slot(what, i, value, slot)?;
        }
        Ok(())
    }

    fn equal(&self, what: &str, i: usize, value: Value, wanted: Type) -> Check {
        let found = self.graph.ty(value);
        match found == wanted {
            true => Ok(()),
            false => Err(format!(
                "{what} {i} ({value}) is {found}, expected {wanted}"
            )),
        }
    }

    fn slot(&mut self, what: &str, i: usize, value: Value, slot: Slot) -> Check {
        let found = self.graph.ty(value);
        let address = match slot {
            Slot::Ref => {
                return match found.is_ref() {
                    true => Ok(()),
                    false => Err(format!(
                        "{what} {i} ({value}) is {found}, expected a reference"
                    )),
                };
            }
            Slot::T => {
                let is_ref = matches!(self.op, Op::RefNull | Op::RefAsNonNull | Op::RefCast);
                if is_ref && !found.is_ref() {
                    return Err(format!("{value} is {found}, expected a reference"));
                }
                let wanted = *self.t.get_or_insert(found);
                return self.equal(what, i, value, wanted);
            }
            Slot::Addr | Slot::TableAddr => self.address(i),
            _ => slot.fixed(),
        };
        match address {
            Some(wanted) => self.equal(what, i, value, wanted),
            None if matches!(found, Type::I32 | Type::I64) => Ok(()),
            None => Err(format!(
                "{what} {i} ({value}) is {found}, expected an index"
            )),
        }
    }

    /// The type of indices into the memory or table at operand or result `i`, if it is known.
    fn address(&self, i: usize) -> Option<Type> {
        let module = &*self.env?.module;
        let wide = |wide: bool| if wide { Type::I64 } else { Type::I32 };
        let memory = |m| module.memories[m].memory64;
        let table = |t: TableIndex| module.tables[t].table64;
        let pair = |dst: bool, src: bool| match i {
            0 => dst,
            1 => src,
            _ => dst && src,
        };
        Some(wide(match self.imm {
            Imm::MemoryPair { dst, src } => pair(memory(dst), memory(src)),
            Imm::TablePair { dst, src } => pair(table(dst), table(src)),
            imm => match (imm.memory(), imm.table()) {
                (Some(m), _) => memory(m),
                (None, Some(t)) => table(t),
                (None, None) => false,
            },
        }))
    }
}
