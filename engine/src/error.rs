//! One error for everything that can go wrong.
//!
//! An [`Error`] is one word: a cause of any type, the context that callers added, and for what
//! stopped inside wasm code a [`WasmBacktrace`]. It converts from every [`std::error::Error`], so
//! `?` works in host functions; the cause is found again with [`Error::downcast_ref`].

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;

use bimetal_abi::TrapCode;
use bimetal_codegen::middleware::MiddlewareError;

use crate::backtrace::WasmBacktrace;
use crate::exception::{Exception, ThrownException};

/// This crate's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong; for programs that choose what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Bytes or text that are no valid module.
    Module,
    /// A function that could not be compiled.
    Compile,
    /// A compiled module that is damaged, or made for something else.
    Image,
    /// A module that a [middleware](crate::middleware) refused.
    Refused,
    /// An import that is missing or does not match.
    Link,
    /// Wasm code trapped.
    Trap,
    /// Wasm code or a host function threw an exception that wasm code did not catch.
    Exception,
    /// The operating system refused something.
    Io,
    /// A limit of the configuration or of the machine.
    Limit,
    /// Something of WebAssembly that this runtime does not have; the message says which proposal.
    Unsupported,
    /// The API was used against its rules: a handle of another store, a wrong argument.
    Usage,
    /// The future of an asynchronous call was dropped before it was ready: what a host function
    /// that was waited for fails with then.
    Cancelled,
    /// A host function failed, or anything else.
    Other,
}

/// Why something failed.
///
/// ```
/// use bimetal::{Error, ErrorKind};
///
/// let error = Error::msg("no such plug-in").context("while loading `a.wasm`");
/// assert_eq!(error.to_string(), "while loading `a.wasm`");
/// assert_eq!(format!("{error:#}"), "while loading `a.wasm`: no such plug-in");
/// assert_eq!(error.kind(), ErrorKind::Other);
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: Option<ErrorKind>,
    /// Newest last.
    context: Vec<String>,
    cause: Box<dyn Cause>,
    backtrace: Option<WasmBacktrace>,
}

#[derive(Debug)]
struct Message(String);

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Message {}

impl Error {
    /// An error that is only a message.
    pub fn msg(message: impl fmt::Display) -> Error {
        Error::new(Message(message.to_string()))
    }

    /// An error with this cause.
    pub fn new(cause: impl StdError + Send + Sync + 'static) -> Error {
        Error(Box::new(Inner {
            kind: None,
            context: Vec::new(),
            cause: Box::new(cause),
            backtrace: None,
        }))
    }

    pub(crate) fn of(kind: ErrorKind, message: impl fmt::Display) -> Error {
        let mut error = Error::msg(message);
        error.0.kind = Some(kind);
        error
    }

    pub(crate) fn usage(message: impl fmt::Display) -> Error {
        Error::of(ErrorKind::Usage, message)
    }

    pub(crate) fn with_backtrace(mut self, backtrace: WasmBacktrace) -> Error {
        // The innermost one says where it happened; do not hide it.
        if self.0.backtrace.is_none() && !backtrace.frames().is_empty() {
            self.0.backtrace = Some(backtrace);
        }
        self
    }

    /// The same error, said to have happened while doing `context`.
    pub fn context(mut self, context: impl fmt::Display) -> Error {
        self.0.context.push(context.to_string());
        self
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        if let Some(kind) = self.0.kind {
            return kind;
        }
        let cause = self.0.cause.as_any();
        if cause.is::<TrapCode>() {
            ErrorKind::Trap
        } else if cause.is::<Exception>() || cause.is::<ThrownException>() {
            ErrorKind::Exception
        } else if let Some(error) = cause.downcast_ref::<bimetal_wasm::Error>() {
            match error.kind() {
                bimetal_wasm::ErrorKind::Unsupported => ErrorKind::Unsupported,
                _ => ErrorKind::Module,
            }
        } else if let Some(error) = cause.downcast_ref::<bimetal_codegen::CompileError>() {
            match error {
                bimetal_codegen::CompileError::Unsupported(_) => ErrorKind::Unsupported,
                _ => ErrorKind::Compile,
            }
        } else if let Some(error) = cause.downcast_ref::<MiddlewareError>() {
            match error.is_refusal() {
                true => ErrorKind::Refused,
                false => ErrorKind::Compile,
            }
        } else if cause.is::<crate::UnknownImportError>() {
            ErrorKind::Link
        } else if cause.is::<crate::PoolConcurrencyLimitError>() {
            ErrorKind::Limit
        } else if cause.is::<bimetal_artifact::ImageError>() {
            ErrorKind::Image
        } else if cause.is::<std::io::Error>() {
            ErrorKind::Io
        } else {
            ErrorKind::Other
        }
    }

    /// The cause, if it is of this type; also the [`WasmBacktrace`], and of an [`Exception`] a
    /// [`ThrownException`].
    pub fn downcast_ref<E: 'static>(&self) -> Option<&E> {
        let cause = self.0.cause.as_any();
        let backtrace = self.0.backtrace.as_ref().map(|b| b as &dyn Any);
        let exception = cause.downcast_ref::<Exception>();
        let thrown = exception.map(|exception| exception.as_thrown() as &dyn Any);
        [Some(cause), backtrace, thrown]
            .into_iter()
            .find_map(|part| part?.downcast_ref::<E>())
    }

    /// The cause, to be changed, if it is of this type.
    pub fn downcast_mut<E: 'static>(&mut self) -> Option<&mut E> {
        self.0.cause.as_any_mut().downcast_mut()
    }

    /// Takes the cause out, if it is of this type.
    ///
    /// ```
    /// use bimetal::{Error, Trap};
    ///
    /// let error = Error::new(Trap::Interrupt).context("running a guest");
    /// assert!(error.is::<Trap>());
    /// let error = error.downcast::<std::io::Error>().unwrap_err();
    /// assert_eq!(error.downcast::<Trap>().unwrap(), Trap::Interrupt);
    /// ```
    ///
    /// # Errors
    /// The error itself, if it is not.
    pub fn downcast<E: StdError + Send + Sync + 'static>(self) -> Result<E, Error> {
        if !self.0.cause.as_any().is::<E>() {
            return Err(self);
        }
        let inner = *self.0;
        match inner.cause.into_any().downcast::<E>() {
            Ok(cause) => Ok(*cause),
            Err(_) => Err(Error::msg("the cause changed its type")),
        }
    }

    /// Whether the cause is of this type.
    pub fn is<E: 'static>(&self) -> bool {
        self.downcast_ref::<E>().is_some()
    }

    /// Where wasm code was when it happened, if it was running.
    pub fn backtrace(&self) -> Option<&WasmBacktrace> {
        self.0.backtrace.as_ref()
    }

    /// The cause, without the context.
    pub fn root_cause(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self.0.cause.as_error()
    }

    /// The messages, newest context first, then the cause and its sources.
    pub fn chain(&self) -> impl Iterator<Item = String> + '_ {
        let mut next: Option<&(dyn StdError + 'static)> = Some(self.0.cause.as_error());
        let causes = std::iter::from_fn(move || {
            let cause = next?;
            next = cause.source();
            Some(cause.to_string())
        });
        self.0.context.iter().rev().cloned().chain(causes)
    }
}

/// A cause that can be found again by its type.
trait Cause: Any + Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
    fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static);
}

impl<E: StdError + Send + Sync + 'static> Cause for E {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }

    fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(cause: E) -> Error {
        Error::new(cause)
    }
}

/// An [`Error`] where a [`std::error::Error`] is wanted, which it cannot be itself: it converts
/// from all of them.
struct Boxed(Error);

impl fmt::Display for Boxed {
    /// All context; the cause is the source then.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.0.context.is_empty() {
            return self.0.fmt(f);
        }
        for (i, context) in self.0.0.context.iter().rev().enumerate() {
            f.write_str(if i > 0 { ": " } else { "" })?;
            f.write_str(context)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Boxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Boxed {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self.0.0.context.is_empty() {
            true => self.0.root_cause().source(),
            false => Some(self.0.root_cause()),
        }
    }
}

impl From<Error> for Box<dyn StdError + Send + Sync + 'static> {
    /// So that `?` works in a `main` that returns any error.
    ///
    /// ```
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     bimetal::Module::new(&bimetal::Engine::default(), "(module)")?;
    ///     Ok(())
    /// }
    /// ```
    fn from(error: Error) -> Self {
        Box::new(Boxed(error))
    }
}

impl From<Error> for Box<dyn StdError + 'static> {
    fn from(error: Error) -> Self {
        Box::new(Boxed(error))
    }
}

impl fmt::Display for Error {
    /// The newest context or else the cause; with `{:#}` the whole chain on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, message) in self.chain().enumerate() {
            if i > 0 {
                if !f.alternate() {
                    break;
                }
                f.write_str(": ")?;
            }
            f.write_str(&message)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    /// Everything, over several lines: what a `main` that returns an error shows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        for message in self.chain().skip(1) {
            write!(f, "\n    caused by: {message}")?;
        }
        if let Some(backtrace) = &self.0.backtrace {
            write!(f, "\n{backtrace}")?;
        }
        Ok(())
    }
}

/// Adds context to the error of a result.
///
/// ```
/// use bimetal::{Context, Engine, Module};
///
/// let error = Module::from_file(&Engine::default(), "no/such/file.wasm")
///     .context("loading plug-ins")
///     .unwrap_err();
/// assert_eq!(error.to_string(), "loading plug-ins");
/// ```
pub trait Context<T> {
    /// Says what was being done.
    ///
    /// # Errors
    /// That of `self`, with the context.
    fn context(self, context: impl fmt::Display) -> Result<T>;

    /// Says what was being done, computed only for an error.
    ///
    /// # Errors
    /// That of `self`, with the context.
    fn with_context<C: fmt::Display>(self, context: impl FnOnce() -> C) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for Result<T, E> {
    fn context(self, context: impl fmt::Display) -> Result<T> {
        self.map_err(|error| error.into().context(context))
    }

    fn with_context<C: fmt::Display>(self, context: impl FnOnce() -> C) -> Result<T> {
        self.map_err(|error| error.into().context(context()))
    }
}

/// Makes an [`Error`] that is only a message.
///
/// ```
/// let error = bimetal::format_err!("plug-in {} is broken", 7);
/// assert_eq!(error.to_string(), "plug-in 7 is broken");
/// ```
#[macro_export]
macro_rules! format_err {
    ($($message:tt)+) => {
        $crate::Error::msg(::std::format_args!($($message)+))
    };
}

/// Returns an [`Error`] that is only a message.
///
/// ```
/// fn half(n: i32) -> bimetal::Result<i32> {
///     if n % 2 != 0 {
///         bimetal::bail!("{n} is odd");
///     }
///     Ok(n / 2)
/// }
/// assert_eq!(half(3).unwrap_err().to_string(), "3 is odd");
/// ```
#[macro_export]
macro_rules! bail {
    ($($message:tt)+) => {
        return ::std::result::Result::Err($crate::format_err!($($message)+))
    };
}

/// Returns an [`Error`] that is only a message unless something holds.
///
/// ```
/// fn half(n: i32) -> bimetal::Result<i32> {
///     bimetal::ensure!(n % 2 == 0, "{n} is odd");
///     Ok(n / 2)
/// }
/// assert!(half(3).is_err());
/// ```
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            $crate::bail!($($message)+);
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_found_under_context() {
        let error = Error::new(TrapCode::Unreachable).context("calling `f`");
        assert_eq!(error.kind(), ErrorKind::Trap);
        assert_eq!(error.downcast_ref(), Some(&TrapCode::Unreachable));
        assert!(error.downcast_ref::<std::io::Error>().is_none());
        assert_eq!(format!("{error:#}"), "calling `f`: unreachable");
        assert_eq!(error.downcast::<TrapCode>().unwrap(), TrapCode::Unreachable);
    }

    #[test]
    fn an_error_is_one_word() {
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }
}
