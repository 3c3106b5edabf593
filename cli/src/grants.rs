//! The arguments that give a guest something of the host.

use std::ffi::OsString;

use bimetal_runtime::grants::{Dir, Grants};
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};

#[derive(Clone, Debug, Args)]
pub struct GrantArgs {
    /// Give the guest a directory, under a name of its own if wished, read-only with `:ro`
    #[arg(long = "dir", value_name = "HOST[::GUEST][:ro]",
        value_parser = OsStringValueParser::new().try_map(|text| Dir::parse(&text)))]
    pub dirs: Vec<Dir>,

    /// Set a variable of the guest's environment, or let it inherit one
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    pub env: Vec<OsString>,

    /// Let the guest inherit the whole environment
    #[arg(long)]
    pub inherit_env: bool,
}

impl GrantArgs {
    /// What they give.
    pub fn grants(&self) -> Grants {
        Grants {
            dirs: self.dirs.clone(),
            env: self.env.clone(),
            inherit_env: self.inherit_env,
            ..Grants::default()
        }
    }
}
