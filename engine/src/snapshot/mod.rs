//! An instance as it is now, as a module whose instances begin there.
//!
//! A program that spends its start on what is the same each time (a runtime that builds its tables, a
//! configuration that is parsed) can do it once: its globals, tables and memories are written into
//! the module, and what has run is taken out. [`Snapshot::to_wasm`] gives a plain module for any
//! runtime; [`Snapshot::module`] one in this process that uses the code which is there already.
//!
//! **Invariants**
//! - The code section stays byte for byte as it is: what refers to places in it (DWARF) stays right,
//!   and so do the numbers of functions, of globals, and of all segments that code names.
//! - A function is referred to by its number in the module. What is not the module's own (memories,
//!   tables, globals and functions of others, values of the host) is refused, not left out.
//!
//! What the host knows of an instance (open files, say) is not part of it.

mod state;
mod write;

pub(crate) use write::memory_type;

use std::collections::HashSet;

use bimetal_wasm::EntityIndex;

use self::state::State;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::instance::Instance;
use crate::module::{Module, Origin};
use crate::store::AsContext;
use crate::symbols::Printable;
use crate::vm::InitialContents;

/// The state of an instance, to be written as a module or to make instances from.
///
/// ```
/// use bimetal::{Engine, Instance, Linker, Module, Store};
///
/// let engine = Engine::default();
/// let module = Module::new(&engine, r#"(module
///     (global $ready (mut i32) (i32.const 0))
///     (func (export "init") (global.set $ready (i32.const 42)))
///     (func (export "ready") (result i32) (global.get $ready)))"#)?;
/// let mut store = Store::new(&engine, ());
/// let instance = Instance::new(&mut store, &module, &[])?;
/// instance.get_typed_func::<(), ()>(&mut store, "init")?.call(&mut store, ())?;
/// let mut snapshot = instance.snapshot(&store)?;
/// snapshot.remove_export("init")?;
///
/// // Any runtime can run this.
/// let binary = snapshot.to_wasm()?;
/// assert!(Module::validate(&engine, &binary).is_ok());
///
/// // Here it is not even compiled again.
/// let ready = Linker::new(&engine).instantiate_pre(&snapshot.module()?)?;
/// let mut store = Store::new(&engine, ());
/// let instance = ready.instantiate(&mut store)?;
/// let func = instance.get_typed_func::<(), i32>(&mut store, "ready")?;
/// assert_eq!(func.call(&mut store, ())?, 42);
/// assert!(instance.get_func(&mut store, "init").is_none());
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Snapshot {
    module: Module,
    exports: Vec<(Box<str>, EntityIndex)>,
    state: State,
}

impl Instance {
    /// What this instance is like now. The store may go on afterwards, or be dropped.
    ///
    /// # Errors
    /// If a part of it cannot be written into a module: it imports a memory, a table or a global; or
    /// a table or global refers to a value of the host, or to a function that is not the module's.
    /// [`Snapshot::check`] finds the first kind before anything has run.
    ///
    /// # Panics
    /// If it belongs to another store.
    pub fn snapshot(&self, store: impl AsContext) -> Result<Snapshot> {
        let context = store.as_context();
        let store = context.opaque();
        let module = self.module(&context).clone();
        Snapshot::check(&module)?;
        let state = State::of(store, store.instance(self.id()))
            .context("the instance cannot be written as a module")?;
        let exports = module.wasm().exports.iter();
        let exports = exports.map(|export| (export.name.clone(), export.index));
        Ok(Snapshot {
            exports: exports.collect(),
            state,
            module,
        })
    }
}

impl Snapshot {
    /// Whether snapshots can be taken of a module's instances, as far as its declarations tell.
    ///
    /// # Errors
    /// If it imports a memory, a table or a global, or has a shared memory: their contents are not
    /// its own.
    pub fn check(module: &Module) -> Result<()> {
        let mut memories = module.wasm().memories.iter();
        if let Some((index, _)) = memories.find(|(_, ty)| ty.shared) {
            return Err(Error::of(
                ErrorKind::Link,
                format_args!(
                    "no snapshot can be taken of a module that has a shared memory (memory {}): other \
                     threads may be changing it",
                    index.as_u32(),
                ),
            ));
        }
        let shared = |index: &EntityIndex| !matches!(index, EntityIndex::Func(_));
        let mut imports = module.wasm().imports.iter();
        match imports.find(|import| shared(&import.index)) {
            None => Ok(()),
            Some(import) => Err(Error::of(
                ErrorKind::Link,
                format_args!(
                    "no snapshot can be taken of a module that imports a {}: `{}` `{}`",
                    kind(import.index),
                    Printable(&import.module),
                    Printable(&import.name),
                ),
            )),
        }
    }

    /// The module of the instance.
    pub fn original(&self) -> &Module {
        &self.module
    }

    /// Leaves an export out, such as an initialisation that has run.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn remove_export(&mut self, name: &str) -> Result<&mut Self> {
        let at = self.find(name)?;
        self.exports.remove(at);
        Ok(self)
    }

    /// Renames exports, all at once: `(from, to)`. An export that has one of the new names, and is
    /// not renamed itself, is left out.
    ///
    /// # Errors
    /// If there is none of such a name, or a name is given twice.
    pub fn rename_exports<'a>(
        &mut self,
        names: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<&mut Self> {
        let mut renamed = Vec::new();
        let (mut sources, mut targets) = (HashSet::new(), HashSet::new());
        for (from, to) in names {
            renamed.push((self.find(from)?, to));
            for (name, new) in [(from, sources.insert(from)), (to, targets.insert(to))] {
                if !new {
                    let name = Printable(name);
                    return Err(Error::usage(format_args!("`{name}` is renamed twice")));
                }
            }
        }
        let old = std::mem::take(&mut self.exports);
        for (at, (name, index)) in old.into_iter().enumerate() {
            match renamed.iter().find(|(from, _)| *from == at) {
                Some(&(_, to)) => self.exports.push((to.into(), index)),
                None if targets.contains(&*name) => {}
                None => self.exports.push((name, index)),
            }
        }
        Ok(self)
    }

    fn find(&self, name: &str) -> Result<usize> {
        let mut exports = self.exports.iter();
        exports
            .position(|(export, _)| **export == *name)
            .ok_or_else(|| Error::usage(format_args!("there is no export `{}`", Printable(name))))
    }

    /// The binary of a module whose instances begin as this one is now: for this and for other
    /// runtimes. It has no start function, and uses nothing of WebAssembly that the original does
    /// not use.
    ///
    /// # Errors
    /// If it would be larger than 4 GiB; or the module came from a damaged image.
    pub fn to_wasm(&self) -> Result<Vec<u8>> {
        Ok(write::write(self)?.bytes)
    }

    /// The same as a module of the engine, without compiling it: its instances use the code of the
    /// original, and their memories are copied when they are written. This is how to have many
    /// instances of a program with a costly start.
    ///
    /// Backtraces name functions of the original. [`Module::serialize`] compiles.
    ///
    /// # Errors
    /// As for [`Snapshot::to_wasm`].
    pub fn module(&self) -> Result<Module> {
        let written = write::write(self)?;
        let engine = self.module.engine();
        let base = self.module.inner().code_owner().clone();
        let features = &engine.config().features;
        let mut wasm =
            bimetal_wasm::Module::decode_validated(written.bytes, features, written.bodies, None)?;
        // Code knows where in a context the references to functions are.
        wasm.func_refs = base.wasm().func_refs.clone();
        wasm.num_func_refs = base.wasm().num_func_refs;
        let origin = Origin {
            base: Some(base),
            contents: InitialContents::to_be_mapped(),
            ..Origin::default()
        };
        Module::from_wasm(engine, wasm, origin)
    }
}

/// What an import is, for messages.
fn kind(index: EntityIndex) -> &'static str {
    match index {
        EntityIndex::Func(_) => "function",
        EntityIndex::Table(_) => "table",
        EntityIndex::Memory(_) => "memory",
        EntityIndex::Global(_) => "global",
        EntityIndex::Tag(_) => "tag",
    }
}
