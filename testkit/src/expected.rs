//! Lists of expected failures.
//!
//! One name a line; what follows `#` says why. A list is exact: what stands on it must fail and
//! nothing else may, so that a repaired case has to be taken off.

use std::collections::BTreeMap;

/// A list of expected failures: test names, each with the reason that the file gives.
#[derive(Clone, Debug, Default)]
pub struct ExpectedFailures {
    entries: BTreeMap<String, String>,
}

impl ExpectedFailures {
    /// Reads a list.
    pub fn parse(text: &str) -> ExpectedFailures {
        let mut entries = BTreeMap::new();
        for line in text.lines() {
            let (name, reason) = line.split_once('#').unwrap_or((line, ""));
            if !name.trim().is_empty() {
                entries.insert(name.trim().to_string(), reason.trim().to_string());
            }
        }
        ExpectedFailures { entries }
    }

    /// Whether `name` is expected to fail.
    pub fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Compares what happened with what was expected.
    ///
    /// # Errors
    /// The failure itself, or that a failure was expected and did not come.
    pub fn check(&self, name: &str, outcome: Result<(), String>) -> Result<(), String> {
        match (outcome, self.entries.get(name)) {
            (Ok(()), None) | (Err(_), Some(_)) => Ok(()),
            (Ok(()), Some(_)) => Err(format!(
                "{name} passes, but is on the list of expected failures: take it off"
            )),
            (Err(failure), None) => Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_exact() {
        let list = ExpectedFailures::parse("# heading\na.wast # reason\n\nb.wast\n");
        assert_eq!(list.names().collect::<Vec<_>>(), ["a.wast", "b.wast"]);
        assert!(list.check("a.wast", Err("broken".into())).is_ok());
        assert!(list.check("a.wast", Ok(())).is_err());
        assert!(list.check("c.wast", Ok(())).is_ok());
        assert!(list.check("c.wast", Err("broken".into())).is_err());
    }
}
