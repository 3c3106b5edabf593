//! Names as they stand in the module: this build does not demangle.

use std::fmt;

use super::Printable;

/// Shows a name as it is.
pub(crate) struct Demangled<'a>(pub(crate) &'a str);

impl fmt::Display for Demangled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Printable(self.0))
    }
}
