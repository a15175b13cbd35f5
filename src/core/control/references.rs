//! Which contents of secrets and configs a written service refers to, and what it refers to at all.

use super::{Refusal, invalid};
use crate::model::{ContainerSpec, ContentId, ContentVersion, Service, TaskSpec};
use crate::store::View;
use std::collections::BTreeMap;

/// Fills in the versions a wish leaves open, and returns what the service holds then. What runs takes the newest
/// contents when it is new or is changed. An update that leaves it as it is, such as a change of replicas or labels,
/// leaves its contents as they would be without it: after a rollback that is the old ones.
pub(super) fn fill_contents(view: &View, task: &mut TaskSpec, old: Option<&Service>) -> Vec<ContentVersion> {
    if let Some(old) = old {
        let had: BTreeMap<_, u64> = old.spec.task.container.contents().collect();
        let mut same = task.clone();
        for (content, version) in same.container.contents_mut().filter(|(_, version)| **version == 0) {
            *version = had.get(&content).copied().unwrap_or(0);
        }
        if same == old.spec.task {
            *task = same;
            for (content, version) in
                task.container.contents_mut().filter(|_| old.follows_contents() && !old.is_undecided())
            {
                *version = old.content_wanted(view, content, *version);
            }
            return old.held.clone();
        }
    }
    for (content, version) in task.container.contents_mut().filter(|(_, version)| **version == 0) {
        *version = view.newest_content(content).unwrap_or(0);
    }
    Vec::new()
}

/// Everything a task refers to is there.
pub(super) fn references(view: &View, container: &ContainerSpec) -> Result<(), Refusal> {
    let secrets = container
        .secrets
        .iter()
        .map(|s| (s.name.as_str(), s.file.name.as_str(), view.has_content(ContentId::Secret(s.id), s.version)));
    files("secret", secrets)?;
    let configs = container
        .configs
        .iter()
        .map(|c| (c.name.as_str(), c.file.name.as_str(), view.has_content(ContentId::Config(c.id), c.version)));
    files("config", configs)
}

/// Items are name, file in the container, and whether the object exists.
fn files<'a>(kind: &str, items: impl Iterator<Item = (&'a str, &'a str, bool)>) -> Result<(), Refusal> {
    let mut targets: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, file, exists) in items {
        if name.is_empty() {
            return invalid(format!("malformed {kind} reference"));
        }
        if file.is_empty() {
            return invalid(format!("malformed file {kind} reference, no target"));
        }
        if !exists {
            return invalid(format!("{kind} not found: {name}"));
        }
        if let Some(other) = targets.insert(file, name) {
            return invalid(format!("{kind} references '{other}' and '{name}' have a conflicting target: '{file}'"));
        }
    }
    Ok(())
}
