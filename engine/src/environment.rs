//! Kinds of programs, and finding out which one a module is.
//!
//! A module's imports and exports say what it was made for: WASI, a host's own plug-in interface,
//! or nothing in particular. An [`Environment`] knows one kind: whether a module looks like it
//! ([`Environment::recognises`]), what to give it ([`Environment::link`]) and how to start it.
//! [`Environments`] is a set of them that picks the surest for a module. The `bimetal` program
//! runs whatever its set recognises; an embedder adds kinds of its own.
//!
//! ```
//! use bimetal::environment::{Confidence, Environment, Environments, Outcome};
//! use bimetal::{Engine, Instance, Linker, Module, Result, Store, StoreContextMut};
//!
//! /// Plug-ins that count: they export `next` and may import `counter.step`.
//! struct Counters;
//!
//! impl Environment<u32> for Counters {
//!     fn name(&self) -> &str {
//!         "counter"
//!     }
//!
//!     fn recognises(&self, module: &Module) -> Confidence {
//!         match module.imports().any(|import| import.module() == "counter") {
//!             true => Confidence::Certain,
//!             false => Confidence::No,
//!         }
//!     }
//!
//!     fn link(&self, linker: &mut Linker<u32>) -> Result<()> {
//!         linker.func_wrap("counter", "step", || 2_u32)?;
//!         Ok(())
//!     }
//!
//!     fn start(&self, mut store: StoreContextMut<'_, u32>, instance: Instance) -> Result<Outcome> {
//!         let next = instance.get_typed_func::<u32, u32>(&mut store, "next")?;
//!         let now = *store.data();
//!         let next = next.call(&mut store, now)?;
//!         *store.data_mut() = next;
//!         Ok(Outcome::Finished(0))
//!     }
//! }
//!
//! let mut environments = Environments::new();
//! environments.add(Counters);
//!
//! let engine = Engine::default();
//! let module = Module::new(&engine, r#"(module
//!     (import "counter" "step" (func $step (result i32)))
//!     (func (export "next") (param i32) (result i32) (i32.add (local.get 0) (call $step))))"#)?;
//! let environment = environments.recognise(&module);
//! assert_eq!(environment.name(), "counter");
//!
//! let mut store = Store::new(&engine, 40);
//! assert_eq!(environments.run(&mut store, &module)?, Outcome::Finished(0));
//! assert_eq!(*store.data(), 42);
//! # Ok::<(), bimetal::Error>(())
//! ```

use std::fmt;
use std::sync::Arc;

use crate::error::Result;
use crate::instance::Instance;
use crate::linker::Linker;
use crate::module::Module;
use crate::store::{AsContextMut, StoreContextMut};

/// How sure an environment is that a module was made for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// It was not.
    No,
    /// Nothing contradicts it.
    Possible,
    /// A sign speaks for it.
    Likely,
    /// Imports or exports are its own.
    Certain,
}

/// What became of a program that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It ran to its end, and this is its exit status: 0 means success.
    Finished(u32),
    /// There is nothing to run, or nothing more; its exports may be called.
    Waiting,
}

/// A kind of program. `T` is the data of the stores that such programs run in.
///
/// It is used in the order of its methods: `link`, then (after the module was instantiated) either
/// `initialize`, to have its exports called, or `start`, to run it.
pub trait Environment<T: 'static>: Send + Sync {
    /// Its name, for people.
    fn name(&self) -> &str;

    /// How sure it is that `module` was made for it. Only names and types are to be looked at:
    /// it is asked about modules that another environment then runs.
    fn recognises(&self, module: &Module) -> Confidence;

    /// Defines what its programs import.
    ///
    /// # Errors
    /// If the linker has a definition of the same name.
    fn link(&self, linker: &mut Linker<T>) -> Result<()>;

    /// Makes a new instance ready to have its exports called. Nothing, if not said otherwise.
    ///
    /// # Errors
    /// What the program fails with.
    fn initialize(&self, store: StoreContextMut<'_, T>, instance: Instance) -> Result<()> {
        let _ = (store, instance);
        Ok(())
    }

    /// Runs the program in a new instance; called instead of `initialize`.
    ///
    /// # Errors
    /// What the program fails with. That a program ends itself with some status is
    /// [`Outcome::Finished`].
    fn start(&self, store: StoreContextMut<'_, T>, instance: Instance) -> Result<Outcome>;
}

/// Modules that need nothing, or nothing that is known: their start function ran when they were
/// instantiated, and their exports wait to be called. Possible for every module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bare;

impl<T: 'static> Environment<T> for Bare {
    fn name(&self) -> &str {
        "bare module"
    }

    fn recognises(&self, _: &Module) -> Confidence {
        Confidence::Possible
    }

    fn link(&self, _: &mut Linker<T>) -> Result<()> {
        Ok(())
    }

    fn start(&self, _: StoreContextMut<'_, T>, _: Instance) -> Result<Outcome> {
        Ok(Outcome::Waiting)
    }
}

/// Environments to choose from. See the [module](self).
pub struct Environments<T: 'static> {
    /// The last one added first; [`Bare`] is the last.
    all: Vec<Arc<dyn Environment<T>>>,
}

impl<T: 'static> Environments<T> {
    /// With [`Bare`] alone.
    pub fn new() -> Environments<T> {
        Environments {
            all: vec![Arc::new(Bare)],
        }
    }

    /// Adds one. Among environments that are equally sure of a module, the last one added has it.
    pub fn add(&mut self, environment: impl Environment<T> + 'static) -> &mut Self {
        self.all.insert(0, Arc::new(environment));
        self
    }

    /// All of them, those that were added later first.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Environment<T>> {
        self.all.iter().map(|environment| &**environment)
    }

    /// The surest for `module`.
    pub fn recognise(&self, module: &Module) -> &dyn Environment<T> {
        let mut best: (&dyn Environment<T>, Confidence) = (&Bare, Confidence::No);
        for environment in self.iter() {
            let confidence = environment.recognises(module);
            if confidence > best.1 {
                best = (environment, confidence);
            }
        }
        best.0
    }

    /// Recognises, links, instantiates and starts a module.
    ///
    /// # Errors
    /// As for [`Linker::instantiate`], and what the program fails with.
    pub fn run(&self, mut store: impl AsContextMut<Data = T>, module: &Module) -> Result<Outcome> {
        let environment = self.recognise(module);
        let mut linker = Linker::new(module.engine());
        environment.link(&mut linker)?;
        let instance = linker.instantiate(store.as_context_mut(), module)?;
        environment.start(store.as_context_mut(), instance)
    }
}

impl<T: 'static> Default for Environments<T> {
    fn default() -> Self {
        Environments::new()
    }
}

impl<T: 'static> Clone for Environments<T> {
    fn clone(&self) -> Self {
        Environments {
            all: self.all.clone(),
        }
    }
}

impl<T: 'static> fmt::Debug for Environments<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.iter().map(|environment| environment.name());
        f.debug_list().entries(names).finish()
    }
}
