//! An engine's middlewares, one after the other, as compilers use them.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bimetal_wasm::body::Operator;
use bimetal_wasm::instrument::{BodyValidator, Declarations};
use bimetal_wasm::{DefinedFuncIndex, FuncIndex, GlobalIndex, Module, ValType};

use super::{
    AddedGlobal, Emitter, FunctionContext, FunctionMiddleware, Middleware, ModuleContext,
    ModuleMiddleware, Refusal,
};
use crate::compiler::CompileError;

/// A middleware refused a module, or emitted what is not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MiddlewareError {
    middleware: Option<Box<str>>,
    refused: bool,
    function: Option<FuncIndex>,
    offset: Option<u32>,
    message: Box<str>,
}

impl MiddlewareError {
    /// The middleware's name. `None` if there are several and they emitted something invalid: which
    /// of them it was is not known.
    pub fn middleware(&self) -> Option<&str> {
        self.middleware.as_deref()
    }

    /// Whether it refused the module. Otherwise the middleware is wrong, not the module.
    pub fn is_refusal(&self) -> bool {
        self.refused
    }

    /// The function's index, if it is about one.
    pub fn function(&self) -> Option<u32> {
        Some(self.function?.as_u32())
    }

    /// Where the instruction is in the module's bytes, if it is about one.
    pub fn offset(&self) -> Option<u32> {
        self.offset
    }

    /// The reason.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for MiddlewareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.middleware, self.refused) {
            (Some(name), true) => write!(f, "refused by `{name}`")?,
            (None, true) => f.write_str("refused by a middleware")?,
            (Some(name), false) => write!(f, "the middleware `{name}` emitted invalid code")?,
            (None, false) => f.write_str("the middlewares emitted invalid code")?,
        }
        write!(f, ": {}", self.message)?;
        if let Some(function) = self.function {
            write!(f, " in function {}", function.as_u32())?;
        }
        if let Some(offset) = self.offset {
            write!(f, " at offset {offset:#x}")?;
        }
        Ok(())
    }
}

impl std::error::Error for MiddlewareError {}

impl From<MiddlewareError> for CompileError {
    fn from(error: MiddlewareError) -> CompileError {
        CompileError::Middleware(Box::new(error))
    }
}

#[derive(Debug)]
struct Link {
    name: Box<str>,
    middleware: Arc<dyn ModuleMiddleware>,
}

impl Link {
    fn refuses(
        &self,
        refusal: Refusal,
        function: FuncIndex,
        offset: Option<u32>,
    ) -> MiddlewareError {
        refused(&self.name, refusal, Some(function), offset)
    }
}

fn refused(
    name: &str,
    refusal: Refusal,
    function: Option<FuncIndex>,
    offset: Option<u32>,
) -> MiddlewareError {
    MiddlewareError {
        middleware: Some(name.into()),
        refused: true,
        function: refusal.function.or(function),
        offset: refusal.offset.or(offset),
        message: refusal.message,
    }
}

/// The middlewares of one module.
#[derive(Debug)]
pub struct Instrumentation {
    chain: Vec<Link>,
    globals: Vec<AddedGlobal>,
    /// Read when the first function is compiled: for an image, that is never.
    declarations: OnceLock<Result<Option<Declarations>, CompileError>>,
}

impl Instrumentation {
    /// What `middlewares` make of a module, to which they may add globals; `None` if there are none.
    ///
    /// # Errors
    /// [`CompileError::Middleware`] if one refuses the module, or two have the same name.
    pub fn new(
        middlewares: &[Arc<dyn Middleware>],
        module: &mut Module,
    ) -> Result<Option<Instrumentation>, CompileError> {
        if middlewares.is_empty() {
            return Ok(None);
        }
        let mut chain: Vec<Link> = Vec::with_capacity(middlewares.len());
        let mut globals = Vec::new();
        for middleware in middlewares {
            let name = middleware.name();
            if chain.iter().any(|other| *other.name == *name) {
                let refusal = Refusal::new("there are two middlewares of this name");
                return Err(refused(name, refusal, None, None).into());
            }
            let mut context = ModuleContext {
                module: &mut *module,
                middleware: name,
                added: &mut globals,
            };
            let made = middleware.module(&mut context);
            chain.push(Link {
                name: name.into(),
                middleware: made.map_err(|refusal| refused(name, refusal, None, None))?,
            });
        }
        Ok(Some(Instrumentation {
            chain,
            globals,
            declarations: OnceLock::new(),
        }))
    }

    /// The global that a middleware added under a name.
    pub fn global(&self, middleware: &str, name: &str) -> Option<GlobalIndex> {
        let is_it =
            |global: &&AddedGlobal| *global.middleware == *middleware && *global.name == *name;
        Some(self.globals.iter().find(is_it)?.index)
    }

    /// How many globals were added, behind the module's own.
    pub fn added_globals(&self) -> usize {
        self.globals.len()
    }

    /// Whether functions may be refused.
    pub fn may_refuse(&self) -> bool {
        self.chain.iter().any(|link| link.middleware.may_refuse())
    }

    /// Begins with the body of a function.
    ///
    /// # Errors
    /// [`CompileError::Middleware`] if a middleware refuses it.
    pub fn body<'a>(
        &'a self,
        module: &'a Module,
        func: DefinedFuncIndex,
    ) -> Result<InstrumentedBody<'a>, CompileError> {
        let bug = |what: &dyn fmt::Display| CompileError::Bug(format!("middleware: {what}"));
        let declarations = self
            .declarations
            .get_or_init(|| Declarations::new(module).map_err(|error| bug(&error)));
        let declarations = match declarations {
            Ok(Some(declarations)) => declarations,
            Ok(None) => return Err(bug(&"a module without functions has one")),
            Err(error) => return Err(error.clone()),
        };
        let mut declared = module.func_type(module.func_index(func)).params().len() as u32;
        let locals = module.body_reader(func).get_locals_reader();
        for run in locals.map_err(|error| bug(&error))? {
            declared += run.map_err(|error| bug(&error))?.0;
        }
        let mut context = FunctionContext {
            module,
            func,
            declared,
            added: Vec::new(),
        };
        let index = module.func_index(func);
        let functions = self
            .chain
            .iter()
            .map(|link| {
                let made = link.middleware.function(&mut context);
                made.map_err(|refusal| link.refuses(refusal, index, None))
            })
            .collect::<Result<_, _>>()?;
        let locals = context.added;
        let mut body = InstrumentedBody {
            chain: &self.chain,
            functions,
            index,
            validator: None,
            locals,
            current: Vec::new(),
            next: Vec::new(),
        };
        match declarations.body(module, func, &body.locals) {
            Ok(validator) => body.validator = Some(validator),
            Err(error) => return Err(body.invalid(&error).into()),
        }
        Ok(body)
    }

    /// Shows a function to the middlewares without compiling it.
    ///
    /// # Errors
    /// [`CompileError::Middleware`] if one refuses it or emits what is not valid.
    pub fn check(&self, module: &Module, func: DefinedFuncIndex) -> Result<(), CompileError> {
        let malformed = |_| CompileError::Bug("a body that does not decode".into());
        let mut body = self.body(module, func)?;
        let reader = module.body_reader(func);
        let mut operators = reader.get_operators_reader().map_err(malformed)?;
        let mut offset = operators.original_position() as u32;
        body.enter(offset)?;
        while !operators.eof() {
            offset = operators.original_position() as u32;
            body.operator(operators.read().map_err(malformed)?, offset)?;
        }
        body.finish(offset)
    }
}

/// The body of a function as middlewares make it, instruction by instruction.
///
/// What it gives is valid: a compiler may take it as it takes a module's own code. If a method
/// fails, nothing more may be asked.
pub struct InstrumentedBody<'a> {
    chain: &'a [Link],
    functions: Vec<Box<dyn FunctionMiddleware>>,
    index: FuncIndex,
    validator: Option<BodyValidator<'a>>,
    locals: Vec<ValType>,
    current: Vec<Operator<'a>>,
    next: Vec<Operator<'a>>,
}

impl<'a> InstrumentedBody<'a> {
    /// Locals behind those of the body.
    pub fn locals(&self) -> &[ValType] {
        &self.locals
    }

    /// What is compiled before the first instruction, which is at `offset`.
    ///
    /// # Errors
    /// [`CompileError::Middleware`]
    pub fn enter(&mut self, offset: u32) -> Result<&[Operator<'a>], CompileError> {
        self.run(offset, true)
    }

    /// What is compiled in the place of an instruction of the body.
    ///
    /// # Errors
    /// [`CompileError::Middleware`]
    pub fn operator(
        &mut self,
        operator: Operator<'a>,
        offset: u32,
    ) -> Result<&[Operator<'a>], CompileError> {
        self.current.clear();
        self.current.push(operator);
        self.run(offset, false)
    }

    /// The body has no more instructions.
    ///
    /// # Errors
    /// [`CompileError::Middleware`] if what was emitted is not all of a function.
    pub fn finish(self, offset: u32) -> Result<(), CompileError> {
        match self.validator.as_ref().map(|all| all.finish(offset)) {
            Some(Err(error)) => Err(self.invalid(&error).into()),
            _ => Ok(()),
        }
    }

    fn run(&mut self, offset: u32, enter: bool) -> Result<&[Operator<'a>], CompileError> {
        for (link, function) in self.chain.iter().zip(&mut self.functions) {
            let mut emitter = Emitter {
                offset,
                operators: std::mem::take(&mut self.next),
            };
            let mut run = || {
                if enter {
                    function.enter(&mut emitter)?;
                }
                for operator in self.current.drain(..) {
                    function.operator(operator, &mut emitter)?;
                }
                Ok(())
            };
            run().map_err(|refusal| link.refuses(refusal, self.index, Some(offset)))?;
            self.next = std::mem::replace(&mut self.current, emitter.operators);
        }
        if let Some(validator) = &mut self.validator {
            let mut all = self.current.iter();
            if let Err(error) = all.try_for_each(|operator| validator.operator(offset, operator)) {
                return Err(self.invalid(&error).into());
            }
        }
        Ok(&self.current)
    }

    fn invalid(&self, error: &bimetal_wasm::Error) -> MiddlewareError {
        let middleware = match self.chain {
            [only] => Some(only.name.clone()),
            _ => None,
        };
        MiddlewareError {
            middleware,
            refused: false,
            function: Some(self.index),
            offset: error.offset().map(|offset| offset as u32),
            message: error.message().into(),
        }
    }
}

impl fmt::Debug for InstrumentedBody<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstrumentedBody")
            .field("chain", &self.chain)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}
