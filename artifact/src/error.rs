//! Why an image is refused.

/// Why an image is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The bytes are something else.
    #[error("not a compiled module: {0}")]
    NotAnImage(&'static str),
    /// It ends too early, or bytes of it have changed since it was written.
    #[error("the compiled module is damaged: {0}")]
    Damaged(String),
    /// It was written by a version of the engine that this one does not understand.
    #[error("the compiled module was made by another version: {0}")]
    Version(String),
    /// It was made for another machine or another configuration.
    #[error("the compiled module was made for something else: {0}")]
    Mismatch(String),
    /// A program that was to be its runtime is not that, or not for it.
    #[error("{0}")]
    Runtime(String),
    /// It cannot be written: a number does not fit the format, or functions are missing.
    #[error("the module cannot be written as an image: {0}")]
    Unwritable(&'static str),
    /// Where it is to go does not take it: a full disk, for example.
    #[error("the image cannot be written: {0}")]
    Output(String),
}

impl ImageError {
    pub(crate) fn damaged(what: impl Into<String>) -> ImageError {
        ImageError::Damaged(what.into())
    }
}
