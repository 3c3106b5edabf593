//! Counting the instructions that an instance executes.
//!
//! What is executed in a row is added to a global at the end of the row: before a branch, a call, a
//! return, and wherever branches come together. So each row costs one addition, and a trap inside
//! of one leaves out what was executed of it, unless the counter is to be exact there too.

use std::sync::Arc;

use bimetal_codegen::middleware::{
    Emitter, FunctionContext, FunctionMiddleware, GlobalInit, Middleware, ModuleContext,
    ModuleMiddleware, Refusal,
};
use bimetal_wasm::GlobalIndex;
use bimetal_wasm::body::Operator;

use crate::error::{Error, Result};
use crate::global::Global;
use crate::instance::Instance;
use crate::store::AsContextMut;
use crate::val::Val;

const NAME: &str = "instruction-counter";
const GLOBAL: &str = "count";

/// Counts the instructions that each instance executes.
///
/// Every instruction counts as one, but for `block`, `loop`, `else`, `end`, `try_table` and its
/// legacy kin, which only give structure. The count is up to date whenever the instance is not
/// executing its own code: after it returned, and in host functions that it called. A branch, a call,
/// a return and `unreachable` are counted before they happen.
///
/// If a load, a division or the like traps, the instructions since the last branch or call are not
/// counted, and neither is it; with [`InstructionCounter::exact_at_traps`] they are, for a lower
/// speed.
///
/// ```
/// use std::sync::Arc;
/// use bimetal::middleware::InstructionCounter;
/// use bimetal::{Config, Engine, Linker, Module, Store};
///
/// let engine = Engine::new(Config::new().middleware(Arc::new(InstructionCounter::new())))?;
/// let module = Module::new(&engine, r#"(module (func (export "sum") (param i32) (result i32)
///     (local i32)
///     (loop
///         (local.set 1 (i32.add (local.get 1) (local.get 0)))
///         (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
///     (local.get 1)))"#)?;
/// let mut store = Store::new(&engine, ());
/// let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
/// let sum = instance.get_typed_func::<i32, i32>(&mut store, "sum")?;
/// assert_eq!(sum.call(&mut store, 10)?, 55);
/// assert_eq!(InstructionCounter::count(&instance, &mut store)?, 10 * 9 + 1);
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct InstructionCounter {
    exact_at_traps: bool,
}

impl InstructionCounter {
    /// A counter that is exact at branches and calls.
    pub fn new() -> InstructionCounter {
        InstructionCounter::default()
    }

    /// Whether the count is exact after any trap too, the instruction that trapped included.
    #[must_use]
    pub fn exact_at_traps(mut self, exact: bool) -> InstructionCounter {
        self.exact_at_traps = exact;
        self
    }

    /// How many instructions an instance has executed since it was made or last set.
    ///
    /// # Errors
    /// If its engine has no counter.
    ///
    /// # Panics
    /// If the instance belongs to another store.
    pub fn count(instance: &Instance, mut store: impl AsContextMut) -> Result<u64> {
        match global(instance, &mut store)?.get(&mut store) {
            Val::I64(count) => Ok(count as u64),
            _ => Err(Error::msg("the counter is not an integer")),
        }
    }

    /// Sets the count of an instance, to begin anew.
    ///
    /// # Errors
    /// As for [`InstructionCounter::count`].
    ///
    /// # Panics
    /// If the instance belongs to another store.
    pub fn set_count(instance: &Instance, mut store: impl AsContextMut, count: u64) -> Result<()> {
        let value = Val::I64(count as i64);
        global(instance, &mut store)?.set(&mut store, value)
    }
}

fn global(instance: &Instance, store: impl AsContextMut) -> Result<Global> {
    instance
        .get_middleware_global(store, NAME, GLOBAL)
        .ok_or_else(|| Error::usage("the engine does not count instructions"))
}

impl Middleware for InstructionCounter {
    fn name(&self) -> &str {
        NAME
    }

    fn fingerprint(&self) -> Vec<u8> {
        const VERSION: u8 = 1;
        vec![VERSION, u8::from(self.exact_at_traps)]
    }

    fn module(&self, module: &mut ModuleContext<'_>) -> Result<Arc<dyn ModuleMiddleware>, Refusal> {
        Ok(Arc::new(Counter {
            global: module.add_global(GLOBAL, GlobalInit::I64(0))?,
            exact_at_traps: self.exact_at_traps,
            pending: 0,
        }))
    }
}

#[derive(Clone, Debug)]
struct Counter {
    global: GlobalIndex,
    exact_at_traps: bool,
    /// Executed, and not yet added.
    pending: i64,
}

impl ModuleMiddleware for Counter {
    fn function(
        &self,
        _: &mut FunctionContext<'_>,
    ) -> Result<Box<dyn FunctionMiddleware>, Refusal> {
        Ok(Box::new(self.clone()))
    }

    fn may_refuse(&self) -> bool {
        false
    }
}

impl FunctionMiddleware for Counter {
    fn operator<'a>(
        &mut self,
        operator: Operator<'a>,
        emitter: &mut Emitter<'a>,
    ) -> Result<(), Refusal> {
        self.pending += i64::from(!is_structure(&operator));
        if ends_row(&operator) || (self.exact_at_traps && !is_harmless(&operator)) {
            self.add_pending(emitter);
        }
        emitter.push(operator);
        Ok(())
    }
}

impl Counter {
    fn add_pending(&mut self, emitter: &mut Emitter<'_>) {
        if self.pending == 0 {
            return;
        }
        let global_index = self.global.as_u32();
        let value = std::mem::take(&mut self.pending);
        emitter.extend([
            Operator::GlobalGet { global_index },
            Operator::I64Const { value },
            Operator::I64Add,
            Operator::GlobalSet { global_index },
        ]);
    }
}

fn is_structure(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::Else
            | Operator::End
            | Operator::TryTable { .. }
            | Operator::Try { .. }
            | Operator::Catch { .. }
            | Operator::CatchAll
            | Operator::Delegate { .. }
    )
}

/// Whether what follows may be executed another number of times than what was before, or somebody
/// may look at the count meanwhile.
fn ends_row(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::Else
            | Operator::End
            | Operator::TryTable { .. }
            | Operator::Try { .. }
            | Operator::Catch { .. }
            | Operator::CatchAll
            | Operator::Delegate { .. }
            | Operator::Br { .. }
            | Operator::BrIf { .. }
            | Operator::BrTable { .. }
            | Operator::BrOnNull { .. }
            | Operator::BrOnNonNull { .. }
            | Operator::BrOnCast { .. }
            | Operator::BrOnCastFail { .. }
            | Operator::Return
            | Operator::Unreachable
            | Operator::Call { .. }
            | Operator::CallIndirect { .. }
            | Operator::CallRef { .. }
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::ReturnCallRef { .. }
            | Operator::Throw { .. }
            | Operator::ThrowRef
            | Operator::Rethrow { .. }
    )
}

/// Whether it certainly does not trap. What is missing here costs speed, no more.
fn is_harmless(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::LocalGet { .. }
            | Operator::LocalSet { .. }
            | Operator::LocalTee { .. }
            | Operator::GlobalGet { .. }
            | Operator::GlobalSet { .. }
            | Operator::I32Const { .. }
            | Operator::I64Const { .. }
            | Operator::F32Const { .. }
            | Operator::F64Const { .. }
            | Operator::V128Const { .. }
            | Operator::Nop
            | Operator::Drop
            | Operator::Block { .. }
            | Operator::Select
            | Operator::TypedSelect { .. }
            | Operator::RefNull { .. }
            | Operator::RefFunc { .. }
            | Operator::RefIsNull
            | Operator::MemorySize { .. }
            | Operator::TableSize { .. }
            | Operator::I32Eqz
            | Operator::I32Eq
            | Operator::I32Ne
            | Operator::I32LtS
            | Operator::I32LtU
            | Operator::I32GtS
            | Operator::I32GtU
            | Operator::I32LeS
            | Operator::I32LeU
            | Operator::I32GeS
            | Operator::I32GeU
            | Operator::I64Eqz
            | Operator::I64Eq
            | Operator::I64Ne
            | Operator::I64LtS
            | Operator::I64LtU
            | Operator::I64GtS
            | Operator::I64GtU
            | Operator::I64LeS
            | Operator::I64LeU
            | Operator::I64GeS
            | Operator::I64GeU
            | Operator::I32Add
            | Operator::I32Sub
            | Operator::I32Mul
            | Operator::I32And
            | Operator::I32Or
            | Operator::I32Xor
            | Operator::I32Shl
            | Operator::I32ShrS
            | Operator::I32ShrU
            | Operator::I32Rotl
            | Operator::I32Rotr
            | Operator::I64Add
            | Operator::I64Sub
            | Operator::I64Mul
            | Operator::I64And
            | Operator::I64Or
            | Operator::I64Xor
            | Operator::I64Shl
            | Operator::I64ShrS
            | Operator::I64ShrU
            | Operator::I64Rotl
            | Operator::I64Rotr
            | Operator::I32WrapI64
            | Operator::I64ExtendI32S
            | Operator::I64ExtendI32U
            | Operator::F32Add
            | Operator::F32Sub
            | Operator::F32Mul
            | Operator::F32Div
            | Operator::F64Add
            | Operator::F64Sub
            | Operator::F64Mul
            | Operator::F64Div
    )
}
