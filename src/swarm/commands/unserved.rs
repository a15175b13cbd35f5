//! Commands that docker has and this program has not: each answers by its name, whatever flags it was given.

use crate::cli::Context;
use crate::error::{CliError, Result};
use clap::Args;

const NO_BUILDER: &str = "there is no builder here: build elsewhere, then pull the image or load an archive of it";

/// What to do instead, by the command without its group.
const INSTEAD: [(&str, &str); 10] = [
    ("build", NO_BUILDER),
    ("builder", NO_BUILDER),
    ("buildx", NO_BUILDER),
    ("checkpoint", "containers cannot be frozen to disk"),
    ("commit", "containers are not made into images: build one elsewhere"),
    ("compose", "\"swarm stack deploy\" runs compose files"),
    ("manifest", "lists of platforms are made where images are built"),
    ("plugin", "there are no plugins"),
    ("search", "registries are not searched"),
    ("trust", "signatures are not checked: name images by their digest"),
];

/// The arguments of a command that is not served.
#[derive(Debug, Args)]
#[command(hide = true, disable_help_flag = true)]
pub struct Unserved {
    #[arg(hide = true, allow_hyphen_values = true, trailing_var_arg = true)]
    words: Vec<String>,
}

impl Unserved {
    /// Says so.
    pub fn answer(self, context: &Context) -> Result<()> {
        let message = format!("{}: not implemented", context.command);
        let name = context.command.trim_start_matches("swarm ");
        let name = name.strip_prefix("container ").or_else(|| name.strip_prefix("image ")).unwrap_or(name);
        match INSTEAD.iter().find(|(known, _)| *known == name) {
            Some((_, hint)) => Err(CliError::hinted(message, *hint)),
            None => Err(CliError::usage(message)),
        }
    }
}
