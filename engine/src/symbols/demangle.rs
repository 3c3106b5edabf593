//! Demangling.

use std::fmt::{self, Write};

use super::Printable;

/// Shows a name of Rust's or C++'s as its source has it, others as they are.
pub(crate) struct Demangled<'a>(pub(crate) &'a str);

impl fmt::Display for Demangled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Substitutions can make a name grow exponentially.
        struct Short(String);
        impl Write for Short {
            fn write_str(&mut self, part: &str) -> fmt::Result {
                if self.0.len() + part.len() > 4096 {
                    return Err(fmt::Error);
                }
                self.0.push_str(part);
                Ok(())
            }
        }

        let mut out = Short(String::new());
        let done = if let Ok(name) = rustc_demangle::try_demangle(self.0) {
            write!(out, "{name:#}").is_ok()
        } else if self.0.starts_with("_Z") {
            cpp_demangle::Symbol::new(self.0).is_ok_and(|symbol| {
                let options = cpp_demangle::DemangleOptions::new();
                symbol.structured_demangle(&mut out, &options).is_ok()
            })
        } else {
            false
        };
        let name = if done { &out.0 } else { self.0 };
        write!(f, "{}", Printable(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_demangled() {
        let show = |name| Demangled(name).to_string();
        assert_eq!(
            show("_ZN6shapes4areaERKNS_6SquareEi"),
            "shapes::area(shapes::Square const&, int)"
        );
        assert_eq!(
            show("_ZN3std7process5abort17h0123456789abcdefE"),
            "std::process::abort"
        );
        assert_eq!(show("plain"), "plain");
        assert_eq!(show("_Zbroken"), "_Zbroken");
        assert_eq!(show("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
        // Each substitution doubles the one before.
        let mut bomb = "_Z1fI1aE1bIS_S_E".to_owned();
        for i in 0..30 {
            bomb += &format!("1cIS{i}_S{i}_E");
        }
        assert!(show(&bomb).len() <= 4096);
    }
}
