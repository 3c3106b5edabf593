//! The directives of a script, one after the other.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use bimetal::{
    Engine, Error, ErrorKind, Extern, Instance, Linker, Module, Store, Trap, Val, WasmBacktrace,
};
use wast::lexer::Lexer;
use wast::parser::{self, ParseBuffer};
use wast::token::{Id, Span};
use wast::{QuoteWat, QuoteWatTest, Wast, WastDirective, WastExecute, WastInvoke, Wat};

use super::{Failure, Report, spectest, values};

/// Runs a script, and adds what came of it to `report`.
pub(super) fn run(text: &str, engine: &Engine, observe: bool, report: &mut Report) {
    let mut lexer = Lexer::new(text);
    // The suite has names in all scripts on purpose.
    lexer.allow_confusing_unicode(true);
    let buffer = match ParseBuffer::new_with_lexer(lexer) {
        Ok(buffer) => buffer,
        Err(error) => return report.fail(text, error.span(), error.message()),
    };
    let script = match parser::parse::<Wast<'_>>(&buffer) {
        Ok(script) => script,
        Err(error) => return report.fail(text, error.span(), error.message()),
    };
    let mut runner = match Runner::new(engine) {
        Ok(runner) => runner,
        Err(error) => {
            let message = format!("the module `spectest` cannot be defined: {error}");
            return report.fail(text, Span::from_offset(0), message);
        }
    };
    for directive in script.directives {
        let span = directive.span();
        match runner.directive(directive) {
            Ok(()) => report.passed += 1,
            Err(message) => report.fail(text, span, message),
        }
    }
    report.digest = observe.then(|| runner.digest());
}

impl Report {
    fn fail(&mut self, text: &str, span: Span, message: String) {
        let (line, column) = span.linecol_in(text);
        self.failures.push(Failure {
            line: line + 1,
            column: column + 1,
            message,
        });
    }
}

/// What came of a call, an access or an instantiation.
type Outcome = Result<Vec<Val>, Error>;

struct Runner<'e> {
    engine: &'e Engine,
    store: Store<()>,
    linker: Linker<()>,
    /// Definitions (`module definition`) by name; `None` is the last one.
    definitions: HashMap<Option<String>, Module>,
    /// Instances by name; `None` is the last one.
    instances: HashMap<Option<String>, Instance>,
    /// What calls came to.
    observed: DefaultHasher,
}

fn key(id: Option<Id<'_>>) -> Option<String> {
    id.map(|id| id.name().to_string())
}

/// The whole chain of an error on one line.
fn chain(error: &Error) -> String {
    format!("{error:#}")
}

impl<'e> Runner<'e> {
    fn new(engine: &'e Engine) -> Result<Runner<'e>, Error> {
        let mut store = Store::new(engine, ());
        // Without fuel in the engine there is none to give.
        let _ = store.set_fuel(u64::MAX);
        let mut linker = Linker::new(engine);
        linker.allow_shadowing(true);
        spectest::define(&mut linker, &mut store)?;
        Ok(Runner {
            engine,
            store,
            linker,
            definitions: HashMap::new(),
            instances: HashMap::new(),
            observed: DefaultHasher::new(),
        })
    }

    fn directive(&mut self, directive: WastDirective<'_>) -> Result<(), String> {
        match directive {
            WastDirective::Module(mut module) => {
                let name = key(module.name());
                let module = self.compile(&mut module)?;
                self.instantiate_as(name, &module)
            }
            WastDirective::ModuleDefinition(mut module) => {
                let name = key(module.name());
                let module = self.compile(&mut module)?;
                self.definitions.insert(None, module.clone());
                if name.is_some() {
                    self.definitions.insert(name, module);
                }
                Ok(())
            }
            WastDirective::ModuleInstance {
                instance, module, ..
            } => {
                let module = self
                    .definitions
                    .get(&key(module))
                    .cloned()
                    .ok_or_else(|| format!("no module definition {}", show_id(module)))?;
                self.instantiate_as(key(instance), &module)
            }
            WastDirective::Register { name, module, .. } => {
                let instance = self.instance(module)?;
                self.linker
                    .instance(&mut self.store, name, instance)
                    .map(|_| ())
                    .map_err(|error| chain(&error))
            }
            WastDirective::Invoke(invoke) => {
                let outcome = self.invoke(&invoke)?;
                outcome.map(|_| ()).map_err(|error| chain(&error))
            }
            WastDirective::AssertReturn { exec, results, .. } => {
                let actual = self.execute(exec)?.map_err(|error| chain(&error))?;
                values::check_results(&self.store, &actual, &results)
            }
            WastDirective::AssertTrap { exec, message, .. } => {
                let outcome = self.execute(exec)?;
                self.expect_trap(outcome, message)
            }
            WastDirective::AssertExhaustion { call, message, .. } => {
                let outcome = self.invoke(&call)?;
                self.expect_trap(outcome, message)
            }
            WastDirective::AssertException { exec, .. } => match self.execute(exec)? {
                Err(error) if error.kind() == ErrorKind::Exception => Ok(()),
                Err(error) => Err(format!("expected an exception, got: {}", chain(&error))),
                Ok(values) => Err(format!("expected an exception, got {values:?}")),
            },
            WastDirective::AssertMalformed {
                module, message, ..
            }
            | WastDirective::AssertMalformedCustom {
                module, message, ..
            }
            | WastDirective::AssertInvalid {
                module, message, ..
            }
            | WastDirective::AssertInvalidCustom {
                module, message, ..
            } => self.expect_rejected(module, message),
            WastDirective::AssertUnlinkable {
                module, message, ..
            } => self.expect_unlinkable(module, message),
            WastDirective::Thread(_) | WastDirective::Wait { .. } => {
                Err("threads are not supported".into())
            }
            WastDirective::AssertSuspension { .. } => {
                Err("stack switching is not supported".into())
            }
        }
    }

    /// Compiles a module that must be accepted.
    fn compile(&self, module: &mut QuoteWat<'_>) -> Result<Module, String> {
        let source = module.to_test().map_err(|error| error.message())?;
        self.load(source).map_err(|error| chain(&error))
    }

    /// Loads a module; quoted text goes through the product's own parser.
    fn load(&self, source: QuoteWatTest) -> Result<Module, Error> {
        let binary = match source {
            QuoteWatTest::Binary(binary) => binary,
            QuoteWatTest::Text(text) => {
                let text = std::str::from_utf8(&text).map_err(|_| {
                    let kind = bimetal_wasm::ErrorKind::Text;
                    bimetal_wasm::Error::new(kind, "malformed UTF-8 encoding", None)
                })?;
                bimetal_wasm::text::parse(text, None)?
            }
        };
        Module::from_vec(self.engine, binary)
    }

    fn instantiate_as(&mut self, name: Option<String>, module: &Module) -> Result<(), String> {
        // A failed instantiation must not leave an earlier module as the current one.
        self.instances.remove(&None);
        let instance = self
            .linker
            .instantiate(&mut self.store, module)
            .map_err(|error| chain(&error))?;
        if name.is_some() {
            self.instances.insert(name, instance);
        }
        self.instances.insert(None, instance);
        Ok(())
    }

    fn instance(&self, id: Option<Id<'_>>) -> Result<Instance, String> {
        self.instances
            .get(&key(id))
            .copied()
            .ok_or_else(|| match id {
                Some(_) => format!("no module instance {}", show_id(id)),
                None => "no module instance before this".into(),
            })
    }

    fn export(&mut self, id: Option<Id<'_>>, name: &str) -> Result<Extern, String> {
        self.instance(id)?
            .get_export(&mut self.store, name)
            .ok_or_else(|| format!("no export `{name}`"))
    }

    /// Errors of the outer result are the script's; those of the inner one are what came of it.
    fn execute(&mut self, exec: WastExecute<'_>) -> Result<Outcome, String> {
        match exec {
            WastExecute::Invoke(invoke) => self.invoke(&invoke),
            WastExecute::Wat(wat) => {
                let module = self.compile(&mut QuoteWat::Wat(wat))?;
                Ok(self
                    .linker
                    .instantiate(&mut self.store, &module)
                    .map(|_| Vec::new()))
            }
            WastExecute::Get { module, global, .. } => match self.export(module, global)? {
                Extern::Global(global) => Ok(Ok(vec![global.get(&mut self.store)])),
                _ => Err(format!("export `{global}` is not a global")),
            },
        }
    }

    fn invoke(&mut self, invoke: &WastInvoke<'_>) -> Result<Outcome, String> {
        let Extern::Func(func) = self.export(invoke.module, invoke.name)? else {
            return Err(format!("export `{}` is not a function", invoke.name));
        };
        let mut params = Vec::with_capacity(invoke.args.len());
        for arg in &invoke.args {
            params.push(values::argument(&mut self.store, arg)?);
        }
        let count = func.ty(&self.store).results().len();
        let mut results = vec![Val::I32(0); count];
        let _ = self.store.set_fuel(u64::MAX);
        let outcome = func
            .call(&mut self.store, &params, &mut results)
            .map(|()| results);
        self.note(&outcome);
        Ok(outcome)
    }

    /// Adds what came of a call to what was observed.
    fn note(&mut self, outcome: &Outcome) {
        let observed = &mut self.observed;
        match outcome {
            Ok(values) => values.iter().for_each(|value| match value {
                Val::FuncRef(func) => func.is_some().hash(observed),
                Val::ExternRef(value) => value.is_some().hash(observed),
                // The bits, also of floats.
                number => format!("{number:?}").hash(observed),
            }),
            Err(error) => match trap_code(error) {
                // It depends on how large frames are, and so does the fuel.
                Some(Trap::StackOverflow) => return "stack overflow".hash(observed),
                Some(code) => code.message().hash(observed),
                None => chain(error).hash(observed),
            },
        }
        self.store.get_fuel().ok().hash(observed);
    }

    /// A number for all that was observed, and for the memories and globals as they are now.
    fn digest(mut self) -> u64 {
        let dump = WasmBacktrace::force_capture(&self.store).core_dump(&self.store, "");
        dump.hash(&mut self.observed);
        self.observed.finish()
    }

    fn expect_trap(&self, outcome: Outcome, expected: &str) -> Result<(), String> {
        match outcome {
            Ok(values) => Err(format!(
                "expected the trap `{expected}`, but it returned {} values",
                values.len()
            )),
            Err(error) => match trap_code(&error) {
                Some(code) if same_message(expected, code.message()) => Ok(()),
                Some(code) => Err(format!(
                    "expected the trap `{expected}`, got the trap `{}`",
                    code.message()
                )),
                None => Err(format!(
                    "expected the trap `{expected}`, got: {}",
                    chain(&error)
                )),
            },
        }
    }

    fn expect_rejected(&self, mut module: QuoteWat<'_>, expected: &str) -> Result<(), String> {
        let Ok(source) = module.to_test() else {
            // The script's own encoder has refused a module that is not even quoted.
            return Ok(());
        };
        match self.load(source) {
            Ok(_) => Err(format!(
                "expected to be refused (`{expected}`), but was accepted"
            )),
            // What the decoder refuses is refused, also where a later proposal would allow it; but
            // a compiler's "not supported" is no answer to a module that it should never see.
            Err(error) if error.downcast_ref::<bimetal_wasm::Error>().is_some() => Ok(()),
            Err(error) => Err(format!(
                "expected to be refused as malformed or invalid (`{expected}`), got: {}",
                chain(&error)
            )),
        }
    }

    fn expect_unlinkable(&mut self, wat: Wat<'_>, expected: &str) -> Result<(), String> {
        let module = self.compile(&mut QuoteWat::Wat(wat))?;
        match self.linker.instantiate(&mut self.store, &module) {
            Ok(_) => Err(format!(
                "expected not to link (`{expected}`), but was instantiated"
            )),
            Err(error) => {
                let message = chain(&error);
                if message.contains(expected) {
                    Ok(())
                } else {
                    Err(format!("expected `{expected}`, got: {message}"))
                }
            }
        }
    }
}

fn show_id(id: Option<Id<'_>>) -> String {
    id.map_or_else(|| "before this".to_string(), |id| format!("${}", id.name()))
}

fn trap_code(error: &Error) -> Option<Trap> {
    error.downcast_ref::<Trap>().copied()
}

/// Whether a trap's message is the one that a script expects. Scripts may add details
/// (`uninitialized element 2`) or leave them out.
fn same_message(expected: &str, actual: &str) -> bool {
    actual.starts_with(expected) || expected.starts_with(actual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_match_by_prefix() {
        assert!(same_message(
            "uninitialized element 2",
            "uninitialized element"
        ));
        assert!(same_message("unreachable", "unreachable executed"));
        assert!(!same_message("integer overflow", "integer divide by zero"));
    }
}
