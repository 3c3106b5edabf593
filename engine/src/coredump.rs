//! Core dumps: a stopped guest as a file, in the format of the tool conventions.
//!
//! A core dump is a module. Its custom sections say which modules and instances there were and
//! where each frame of the stack was; its memories, data segments and globals are those of the
//! store, shared ones once. Compiled code keeps no record of where locals and operands are, so
//! frames have none.

use bimetal_wasm::{EntityIndex, GlobalIndex, MemoryIndex};
use cranelift_entity::EntityRef;
use wasm_encoder::{
    ConstExpr, CoreDumpInstancesSection, CoreDumpModulesSection, CoreDumpSection,
    CoreDumpStackSection, CoreDumpValue, DataSection, GlobalSection, Ieee32, Ieee64, MemorySection,
};

use crate::backtrace::WasmBacktrace;
use crate::module::Module;
use crate::reference::RefKind;
use crate::snapshot::memory_type;
use crate::store::AsContext;
use crate::types::ValType;
use crate::vm::{GlobalId, ImportValue, MemoryId, StoreOpaque};

/// Zeros between two pieces of memory that are worth a segment of their own.
const BLOCK: usize = 4096;

impl WasmBacktrace {
    /// A core dump of a store whose code stopped here, in the [format of the tool conventions][1],
    /// named `name`. To be made before the store is used again: memories and globals are as they
    /// are now.
    ///
    /// If a module has several instances in the store, its frames are said to be of the first.
    /// Frames of other stores are left out, and all frames are without locals and operands.
    ///
    /// [1]: https://github.com/WebAssembly/tool-conventions/blob/main/Coredump.md
    ///
    /// ```
    /// use bimetal::{Engine, Instance, Module, Store};
    ///
    /// let engine = Engine::default();
    /// let module = Module::new(&engine, r#"(module (memory 1) (func (export "f") unreachable))"#)?;
    /// let mut store = Store::new(&engine, ());
    /// let instance = Instance::new(&mut store, &module, &[])?;
    /// let f = instance.get_typed_func::<(), ()>(&mut store, "f")?;
    /// let error = f.call(&mut store, ()).unwrap_err();
    /// let dump = error.backtrace().unwrap().core_dump(&store, "f.wasm");
    /// assert!(dump.starts_with(b"\0asm"));
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    pub fn core_dump(&self, store: impl AsContext, name: &str) -> Vec<u8> {
        let context = store.as_context();
        let store = context.opaque();
        let mut dump = Dump::default();
        for instance in store.instances() {
            dump.instance(store, instance);
        }

        let mut modules = CoreDumpModulesSection::new();
        for module in &dump.modules {
            modules.module(module.name().unwrap_or("<module>"));
        }
        let mut stack = CoreDumpStackSection::new("main");
        for frame in self.frames() {
            let Some(instance) = dump.instance_of(frame.module()) else {
                continue;
            };
            let offset = frame.func_offset().unwrap_or(0) as u32;
            let none = Vec::<CoreDumpValue>::new;
            stack.frame(instance, frame.func_index(), offset, none(), none());
        }
        let mut instances = CoreDumpInstancesSection::new();
        for (module, memories, globals) in &dump.instances {
            instances.instance(*module, memories.iter().copied(), globals.iter().copied());
        }

        let mut out = wasm_encoder::Module::new();
        out.section(&CoreDumpSection::new(name));
        out.section(&modules);
        out.section(&instances);
        out.section(&stack);
        out.section(&dump.memory_section(store));
        out.section(&dump.global_section(store));
        out.section(&dump.data_section(store));
        out.finish()
    }
}

#[derive(Default)]
struct Dump {
    modules: Vec<Module>,
    memories: Vec<MemoryId>,
    globals: Vec<GlobalId>,
    /// Module, memories and globals, by their places above.
    instances: Vec<(u32, Vec<u32>, Vec<u32>)>,
}

/// Where `item` is in `list`; at its end, if it was not there.
fn place<T: PartialEq>(list: &mut Vec<T>, item: T) -> u32 {
    let at = list.iter().position(|other| *other == item);
    at.unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    }) as u32
}

impl Dump {
    fn instance(&mut self, store: &StoreOpaque, instance: crate::vm::InstanceId) {
        let instance = store.instance(instance);
        let module = instance.module();
        let at = self.modules.iter().position(|m| Module::same(m, module));
        let at = at.unwrap_or_else(|| {
            self.modules.push(module.clone());
            self.modules.len() - 1
        });
        let wasm = module.wasm();
        let memories = (0..wasm.memories.len()).map(MemoryIndex::new);
        let memories = memories
            .filter_map(|index| match instance.export(EntityIndex::Memory(index))? {
                ImportValue::Memory(id) => Some(place(&mut self.memories, id)),
                _ => None,
            })
            .collect();
        let globals = (0..wasm.globals.len()).map(GlobalIndex::new);
        let globals = globals
            .filter_map(|index| match instance.export(EntityIndex::Global(index))? {
                ImportValue::Global(id) => Some(place(&mut self.globals, id)),
                _ => None,
            })
            .collect();
        self.instances.push((at as u32, memories, globals));
    }

    fn instance_of(&self, module: &Module) -> Option<u32> {
        // A snapshot's frames are those of the module that it was taken of.
        let same = |m: &Module| Module::same(m, module);
        let mut modules = self.modules.iter();
        let module = modules.position(same).or_else(|| {
            let same = |m: &Module| Module::same_code(m, module);
            self.modules.iter().position(same)
        })?;
        let is_of = |instance: &(u32, _, _)| instance.0 == module as u32;
        Some(self.instances.iter().position(is_of)? as u32)
    }

    fn memory_section(&self, store: &StoreOpaque) -> MemorySection {
        let mut section = MemorySection::new();
        for &id in &self.memories {
            let ty = store.memory(id).ty();
            section.memory(memory_type(&ty, ty.min));
        }
        section
    }

    fn global_section(&self, store: &StoreOpaque) -> GlobalSection {
        use wasm_encoder::{GlobalType, HeapType as OutHeap, RefType, ValType as Out};

        let mut section = GlobalSection::new();
        for &id in &self.globals {
            let ty = store.global_type(id);
            let bytes = store.global_get(id);
            let bits = u128::from_le_bytes(bytes);
            let (val_type, value) = match ty.content() {
                ValType::I32 => (Out::I32, ConstExpr::i32_const(bits as i32)),
                ValType::I64 => (Out::I64, ConstExpr::i64_const(bits as i64)),
                ValType::F32 => (Out::F32, ConstExpr::f32_const(Ieee32::new(bits as u32))),
                ValType::F64 => (Out::F64, ConstExpr::f64_const(Ieee64::new(bits as u64))),
                ValType::V128 => (Out::V128, ConstExpr::v128_const(bits as i128)),
                // What they refer to is not in a dump.
                ValType::Ref(ty) if RefKind::of(ty.heap_type()) == RefKind::Func => (
                    Out::Ref(RefType::FUNCREF),
                    ConstExpr::ref_null(OutHeap::FUNC),
                ),
                ValType::Ref(_) => (
                    Out::Ref(RefType::EXTERNREF),
                    ConstExpr::ref_null(OutHeap::EXTERN),
                ),
            };
            let ty = GlobalType {
                val_type,
                mutable: ty.mutability().is_var(),
                shared: false,
            };
            section.global(ty, &value);
        }
        section
    }

    fn data_section(&self, store: &StoreOpaque) -> DataSection {
        let mut section = DataSection::new();
        for (index, &id) in self.memories.iter().enumerate() {
            let memory = store.memory(id);
            let wide = memory.ty().memory64;
            let contents = memory.contents();
            for range in pieces(&contents) {
                let offset = match wide {
                    true => ConstExpr::i64_const(range.start as i64),
                    false => ConstExpr::i32_const(range.start as u32 as i32),
                };
                let bytes = &contents[range];
                section.active(index as u32, &offset, bytes.iter().copied());
            }
        }
        section
    }
}

/// The parts of a memory that are not zero, in whole blocks.
fn pieces(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut pieces: Vec<std::ops::Range<usize>> = Vec::new();
    for (i, block) in bytes.chunks(BLOCK).enumerate() {
        if block.iter().all(|&byte| byte == 0) {
            continue;
        }
        let start = i * BLOCK;
        match pieces.last_mut() {
            Some(last) if last.end == start => last.end += block.len(),
            _ => pieces.push(start..start + block.len()),
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_left_out() {
        let mut bytes = vec![0; 5 * BLOCK + 7];
        assert!(pieces(&bytes).is_empty());
        bytes[BLOCK] = 1;
        bytes[3 * BLOCK - 1] = 1;
        bytes[5 * BLOCK] = 1;
        assert_eq!(pieces(&bytes), [BLOCK..3 * BLOCK, 5 * BLOCK..5 * BLOCK + 7]);
    }
}
