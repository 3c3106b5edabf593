//! The bytes of a module, shared without copying.
//!
//! A module keeps its binary for as long as it lives: bodies, data segments and custom sections
//! are ranges of it. Whoever has the bytes already (a vector, a static, a mapped file) stays their
//! owner; [`Bytes`] only counts references to that owner.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Immutable bytes with a shared owner. Cloning copies a pointer.
///
/// ```
/// let bytes = bimetal_wasm::Bytes::from(vec![1, 2, 3]);
/// assert_eq!(bytes[1..], [2, 3]);
/// ```
#[derive(Clone)]
pub struct Bytes(Arc<dyn AsRef<[u8]> + Send + Sync>);

impl Bytes {
    /// The bytes that `owner` has. They must be the same whenever they are asked for: of a mapped
    /// file that means that nobody truncates it.
    pub fn from_owner(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Bytes {
        Bytes(Arc::new(owner))
    }

    /// As a slice.
    pub fn as_slice(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.len())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(bytes)
    }
}

impl From<Box<[u8]>> for Bytes {
    fn from(bytes: Box<[u8]>) -> Bytes {
        Bytes::from_owner(bytes)
    }
}

impl From<Arc<[u8]>> for Bytes {
    fn from(bytes: Arc<[u8]>) -> Bytes {
        Bytes::from_owner(bytes)
    }
}

impl From<String> for Bytes {
    fn from(text: String) -> Bytes {
        Bytes::from_owner(text)
    }
}

/// Copies.
impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Bytes {
        Bytes::from_owner(bytes.to_vec())
    }
}

/// Copies.
impl<const N: usize> From<&[u8; N]> for Bytes {
    fn from(bytes: &[u8; N]) -> Bytes {
        Bytes::from_owner(*bytes)
    }
}

/// Copies.
impl From<&Vec<u8>> for Bytes {
    fn from(bytes: &Vec<u8>) -> Bytes {
        Bytes::from_owner(bytes.clone())
    }
}

/// Copies.
impl From<&str> for Bytes {
    fn from(text: &str) -> Bytes {
        Bytes::from_owner(text.to_owned())
    }
}

impl From<&Bytes> for Bytes {
    fn from(bytes: &Bytes) -> Bytes {
        bytes.clone()
    }
}
