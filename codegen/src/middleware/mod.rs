//! Middleware: code of the embedder that sees each instruction before it is compiled, and says what
//! is compiled in its place.
//!
//! Three traits, by how long what they know lives: a [`Middleware`] belongs to an engine, what it
//! makes of a module is a [`ModuleMiddleware`], and of each compilation of a function a
//! [`FunctionMiddleware`]. So none needs state that is shared, and all can be used on many threads.
//! `chain.rs` is what compilers use: [`Instrumentation`] runs an engine's middlewares in their
//! order, each on what the one before it emitted.
//!
//! **Invariants**: what is emitted is validated like a module's own code, so a wrong middleware is an
//! error and never wrong code. It is attached to the offset of the instruction at hand, so traps and
//! backtraces stay right, and is free of fuel. A module's own code can name nothing that a
//! middleware added. Without middleware none of this is run.

mod chain;

use std::fmt;
use std::sync::Arc;

use bimetal_wasm::body::{Operator, OperatorsReader};
use bimetal_wasm::{
    ConstExpr, ConstOp, DefinedFuncIndex, FuncIndex, GlobalIndex, GlobalType, Module, ValType,
};
use cranelift_entity::EntityRef;

pub use chain::{Instrumentation, InstrumentedBody, MiddlewareError};

/// Globals of one module, as many as the validator allows.
const MAX_GLOBALS: usize = 1_000_000;

/// Why a middleware refuses a module.
///
/// Made from any error or text; [`Refusal::at`] says where, if it is not the instruction at hand.
///
/// ```
/// use bimetal_codegen::middleware::Refusal;
///
/// let refusal = Refusal::new("floats are not allowed");
/// assert_eq!(refusal.message(), "floats are not allowed");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    message: Box<str>,
    function: Option<FuncIndex>,
    offset: Option<u32>,
}

impl Refusal {
    /// A refusal with this reason.
    pub fn new(reason: impl fmt::Display) -> Refusal {
        Refusal {
            message: reason.to_string().into(),
            function: None,
            offset: None,
        }
    }

    /// The same in this function, at this offset in the module's bytes.
    pub fn at(mut self, function: FuncIndex, offset: u32) -> Refusal {
        self.function = Some(function);
        self.offset = Some(offset);
        self
    }

    /// The reason.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl<E: std::error::Error> From<E> for Refusal {
    fn from(error: E) -> Refusal {
        Refusal::new(error)
    }
}

/// What changes the code of an engine's modules.
pub trait Middleware: fmt::Debug + Send + Sync {
    /// Its name, for messages, and for finding its globals. Each of an engine's middlewares has
    /// another.
    fn name(&self) -> &str;

    /// Bytes that are different if what it does to the same module may be different: its version
    /// and configuration. They become a part of what compiled code is known by.
    fn fingerprint(&self) -> Vec<u8>;

    /// Looks at a module that is being loaded, adds globals to it, and makes what will see its
    /// functions. The same module must get the same each time.
    ///
    /// # Errors
    /// If it refuses the module.
    fn module(&self, module: &mut ModuleContext<'_>) -> Result<Arc<dyn ModuleMiddleware>, Refusal>;
}

/// A middleware for one module.
pub trait ModuleMiddleware: fmt::Debug + Send + Sync {
    /// Begins with a function. Called on any thread, for functions in any order, and perhaps several
    /// times for the same one: it must be the same each time.
    ///
    /// # Errors
    /// If it refuses the function.
    fn function(
        &self,
        function: &mut FunctionContext<'_>,
    ) -> Result<Box<dyn FunctionMiddleware>, Refusal>;

    /// Whether it may refuse functions. If it may, all are shown to it when the module is loaded,
    /// also if they are compiled later, so that loading is when it refuses.
    fn may_refuse(&self) -> bool {
        true
    }
}

/// A middleware for one function.
///
/// It sees all instructions of the body in their order, also those that cannot be reached; the last
/// one is the `end` of the function.
pub trait FunctionMiddleware {
    /// The start of the function: what is emitted here is executed at each call.
    ///
    /// # Errors
    /// If it refuses the function.
    fn enter(&mut self, emitter: &mut Emitter<'_>) -> Result<(), Refusal> {
        let _ = emitter;
        Ok(())
    }

    /// An instruction. What is emitted is compiled in its place: usually it, and something before or
    /// after it.
    ///
    /// # Errors
    /// If it refuses the instruction.
    fn operator<'a>(
        &mut self,
        operator: Operator<'a>,
        emitter: &mut Emitter<'a>,
    ) -> Result<(), Refusal>;
}

/// Takes the instructions that a middleware emits.
#[derive(Debug)]
pub struct Emitter<'a> {
    offset: u32,
    operators: Vec<Operator<'a>>,
}

impl<'a> Emitter<'a> {
    /// Emits an instruction.
    pub fn push(&mut self, operator: Operator<'a>) {
        self.operators.push(operator);
    }

    /// Emits several.
    pub fn extend(&mut self, operators: impl IntoIterator<Item = Operator<'a>>) {
        self.operators.extend(operators);
    }

    /// Where the instruction at hand is in the module's bytes.
    pub fn offset(&self) -> u32 {
        self.offset
    }
}

/// The value that an added global has in a new instance; its type is the value's.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "each is the type of that name")]
pub enum GlobalInit {
    I32(i32),
    I64(i64),
    F32(f32),
    F64(f64),
}

/// A global that a middleware added.
#[derive(Clone, Debug)]
struct AddedGlobal {
    middleware: Box<str>,
    name: Box<str>,
    index: GlobalIndex,
}

/// A module that is being loaded, for a [`Middleware`].
#[derive(Debug)]
pub struct ModuleContext<'a> {
    module: &'a mut Module,
    middleware: &'a str,
    added: &'a mut Vec<AddedGlobal>,
}

impl ModuleContext<'_> {
    /// The module, validated.
    pub fn module(&self) -> &Module {
        self.module
    }

    /// The defined functions, in order.
    pub fn functions(&self) -> impl ExactSizeIterator<Item = FuncIndex> + use<> {
        let first = self.module.num_imported_funcs;
        (first..self.module.functions.len()).map(FuncIndex::new)
    }

    /// The instructions of a defined function, whose positions are offsets in the module's bytes;
    /// `None` if it is imported.
    pub fn operators(&self, function: FuncIndex) -> Option<OperatorsReader<'_>> {
        let defined = self.module.defined_func(function)?;
        let body = self.module.body_reader(defined);
        body.get_operators_reader().ok()
    }

    /// Adds a mutable global to the module.
    ///
    /// It is no export: the module's code, the linker and other modules do not see it. The embedder
    /// finds it under the middleware's name and this one.
    ///
    /// # Errors
    /// If this middleware has added one of this name, or there are too many.
    pub fn add_global(
        &mut self,
        name: impl Into<Box<str>>,
        init: GlobalInit,
    ) -> Result<GlobalIndex, Refusal> {
        let name = name.into();
        let mut others = self.added.iter();
        if others.any(|other| *other.middleware == *self.middleware && other.name == name) {
            return Err(Refusal::new(format_args!("it has two globals `{name}`")));
        }
        if self.module.globals.len() >= MAX_GLOBALS {
            return Err(Refusal::new("there would be too many globals"));
        }
        let (content, op) = match init {
            GlobalInit::I32(value) => (ValType::I32, ConstOp::I32Const(value)),
            GlobalInit::I64(value) => (ValType::I64, ConstOp::I64Const(value)),
            GlobalInit::F32(value) => (ValType::F32, ConstOp::F32Const(value.to_bits())),
            GlobalInit::F64(value) => (ValType::F64, ConstOp::F64Const(value.to_bits())),
        };
        let ty = GlobalType {
            content,
            mutable: true,
        };
        let index = self.module.add_global(ty, ConstExpr { ops: [op].into() });
        self.added.push(AddedGlobal {
            middleware: self.middleware.into(),
            name,
            index,
        });
        Ok(index)
    }
}

/// A function that is being compiled, for a [`ModuleMiddleware`].
#[derive(Debug)]
pub struct FunctionContext<'a> {
    module: &'a Module,
    func: DefinedFuncIndex,
    /// Locals that it has without those that are added.
    declared: u32,
    added: Vec<ValType>,
}

impl FunctionContext<'_> {
    /// The module.
    pub fn module(&self) -> &Module {
        self.module
    }

    /// The function's index.
    pub fn index(&self) -> FuncIndex {
        self.module.func_index(self.func)
    }

    /// Adds a local, zero at first, and gives its index. References are not possible.
    pub fn add_local(&mut self, ty: ValType) -> u32 {
        self.added.push(ty);
        self.declared + (self.added.len() - 1) as u32
    }
}
