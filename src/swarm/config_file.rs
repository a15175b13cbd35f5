//! Docker's configuration file (`~/.docker/config.json`, or in `$DOCKER_CONFIG`): read, never written.

use crate::error::{CliError, Result};
use serde_json::Value;
use std::path::PathBuf;

/// The file and what is in it; none when there is none.
///
/// # Errors
/// When it cannot be read, or is no JSON.
pub fn read() -> Result<Option<(PathBuf, Value)>> {
    let Some(path) = path() else { return Ok(None) };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CliError::file("read", &path, &error)),
    };
    let config = serde_json::from_str(&text)
        .map_err(|error| CliError::usage(format!("{} is not docker's configuration: {error}", path.display())))?;
    Ok(Some((path, config)))
}

fn path() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    Some(set("DOCKER_CONFIG").or_else(|| Some(set("HOME")?.join(".docker")))?.join("config.json"))
}

/// The format of a list that the user wants by default, by docker's name for it, such as `psFormat`.
///
/// A file that cannot be read has none: a list is no place to fail for it, and what needs the file says so.
pub fn format(name: &str) -> Option<String> {
    if name.is_empty() {
        return None;
    }
    let (_, config) = read().ok()??;
    config[name].as_str().filter(|format| !format.is_empty()).map(str::to_owned)
}
