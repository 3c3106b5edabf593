//! Middleware: your code sees each instruction of a module before it is compiled, and says what is
//! compiled in its place.
//!
//! A [`Middleware`] is given to [`Config::middleware`](crate::Config::middleware). For each module
//! that is loaded it makes a [`ModuleMiddleware`], which for each function makes a
//! [`FunctionMiddleware`], whose [`operator`](FunctionMiddleware::operator) is called with one
//! [`Operator`] after the other and emits what is to be compiled. It can refuse the module, add
//! globals that only the embedder sees ([`Instance::get_middleware_global`]), and add locals.
//!
//! * What is emitted is validated like the module's own code: a wrong middleware gives an error.
//! * A module is refused when it is loaded, also by an engine that compiles lazily.
//! * Traps of what was emitted are at the offset of the instruction that it was emitted for.
//! * Fuel is consumed by the module's instructions, not by what was emitted; but for what copies,
//!   fills or grows by an operand, which costs as much per unit as in the module's own code. So no
//!   fuel ends a loop that was emitted: it has to end by itself.
//! * Of several middlewares each sees what the one before it emitted.
//!
//! [`InstructionCounter`] is one. To meter by a cost table, use fuel with
//! [`Config::operator_cost`](crate::Config::operator_cost): it is exact, cheaper than a global, and
//! can be looked at and set while the program runs.
//!
//! ```
//! use std::sync::Arc;
//! use bimetal::middleware::{
//!     Emitter, FunctionContext, FunctionMiddleware, Middleware, ModuleContext, ModuleMiddleware,
//!     Operator, Refusal,
//! };
//! use bimetal::{Config, Engine, ErrorKind, Module};
//!
//! /// Refuses modules that grow memories.
//! #[derive(Debug)]
//! struct FixedMemory;
//!
//! impl Middleware for FixedMemory {
//!     fn name(&self) -> &str {
//!         "fixed-memory"
//!     }
//!     fn fingerprint(&self) -> Vec<u8> {
//!         vec![1]
//!     }
//!     fn module(&self, _: &mut ModuleContext<'_>) -> Result<Arc<dyn ModuleMiddleware>, Refusal> {
//!         Ok(Arc::new(FixedMemory))
//!     }
//! }
//!
//! impl ModuleMiddleware for FixedMemory {
//!     fn function(
//!         &self,
//!         _: &mut FunctionContext<'_>,
//!     ) -> Result<Box<dyn FunctionMiddleware>, Refusal> {
//!         Ok(Box::new(FixedMemory))
//!     }
//! }
//!
//! impl FunctionMiddleware for FixedMemory {
//!     fn operator<'a>(
//!         &mut self,
//!         operator: Operator<'a>,
//!         emitter: &mut Emitter<'a>,
//!     ) -> Result<(), Refusal> {
//!         if let Operator::MemoryGrow { .. } = operator {
//!             return Err(Refusal::new("`memory.grow` is not allowed"));
//!         }
//!         emitter.push(operator);
//!         Ok(())
//!     }
//! }
//!
//! let engine = Engine::new(Config::new().middleware(Arc::new(FixedMemory)))?;
//! let text = "(module (memory 1) (func (drop (memory.grow (i32.const 1)))))";
//! let error = Module::new(&engine, text).unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::Refused);
//! # Ok::<(), bimetal::Error>(())
//! ```
//!
//! `examples/middleware.rs` limits the depth of calls, forbids floats and counts calls.

mod counter;

pub use bimetal_codegen::middleware::{
    Emitter, FunctionContext, FunctionMiddleware, GlobalInit, Middleware, MiddlewareError,
    ModuleContext, ModuleMiddleware, Refusal,
};
pub use bimetal_wasm::body::{
    BlockType, BrTable, Ieee32, Ieee64, MemArg, Operator, OperatorsReader,
};
pub use bimetal_wasm::{FuncIndex, FuncType, GlobalIndex, ValType};
pub use counter::InstructionCounter;

/// The types that an [`Operator`] names.
pub mod types {
    pub use bimetal_wasm::body::types::*;
}

use crate::error::Error;
use crate::global::Global;
use crate::instance::Instance;
use crate::store::AsContextMut;

impl Instance {
    /// The global that a middleware added to the instance's module under this name.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use bimetal::middleware::InstructionCounter;
    /// use bimetal::{Config, Engine, Linker, Module, Store};
    ///
    /// let engine = Engine::new(Config::new().middleware(Arc::new(InstructionCounter::new())))?;
    /// let module = Module::new(&engine, "(module)")?;
    /// let mut store = Store::new(&engine, ());
    /// let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
    /// let count = instance.get_middleware_global(&mut store, "instruction-counter", "count");
    /// assert_eq!(count.unwrap().get(&mut store).unwrap_i64(), 0);
    /// assert!(instance.get_export(&mut store, "count").is_none());
    /// # Ok::<(), bimetal::Error>(())
    /// ```
    ///
    /// # Panics
    /// If the instance belongs to another store.
    pub fn get_middleware_global(
        &self,
        mut store: impl AsContextMut,
        middleware: &str,
        name: &str,
    ) -> Option<Global> {
        let instrumentation = self
            .module(store.as_context())
            .env()
            .instrumentation
            .as_ref()?;
        let index = instrumentation.global(middleware, name)?;
        let mut store = store.as_context_mut();
        let store = store.opaque();
        Some(Global::from_id(store, self.global_at(store, index)?))
    }
}

/// An error of the compiler, whose cause a middleware's is where it is one.
pub(crate) fn compile_error(error: bimetal_codegen::CompileError) -> Error {
    match error {
        bimetal_codegen::CompileError::Middleware(error) => Error::new(*error),
        error => Error::new(error),
    }
}
