//! The passes: see the table, which is to come.
#[cfg(test)]
pub(crate) mod tests;
