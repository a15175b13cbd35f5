//! Which contents of secrets and configs a written service refers to.

use crate::model::{ContentVersion, Service, TaskSpec};
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
