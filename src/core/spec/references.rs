//! Where a container finds the secrets and configs it refers to.

use super::{Refusal, invalid};
use crate::model::ContainerSpec;
use std::collections::BTreeMap;

pub(super) fn references(container: &ContainerSpec) -> Result<(), Refusal> {
    files("Secret", container.secrets.iter().map(|secret| (secret.name.as_str(), secret.file.name.as_str())))?;
    files("Config", container.configs.iter().map(|config| (config.name.as_str(), config.file.name.as_str())))
}

/// Items are the name and the file in the container.
fn files<'a>(kind: &str, items: impl Iterator<Item = (&'a str, &'a str)>) -> Result<(), Refusal> {
    let mut targets: BTreeMap<&str, &str> = BTreeMap::new();
    for (at, (name, file)) in items.enumerate() {
        let place = format!("TaskTemplate.ContainerSpec.{kind}s[{at}]");
        if name.is_empty() {
            return invalid(format!("{place}.{kind}Name: name the {} to use", kind.to_lowercase()));
        }
        if file.is_empty() {
            return invalid(format!("{place}.File.Name: say where the container finds {name}"));
        }
        if let Some(other) = targets.insert(file, name) {
            let kind = kind.to_lowercase();
            return invalid(format!(
                "{place}.File.Name: {kind} references '{other}' and '{name}' have a conflicting target: '{file}'"
            ));
        }
    }
    Ok(())
}
