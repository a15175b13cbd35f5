//! Contents of secrets and configs: who takes the newest, and which earlier ones nobody needs any more.

use super::Plan;
use crate::model::{ContentId, Service, ServiceSpec, Task};
use crate::store::{Change, Delta, View};
use std::collections::BTreeSet;

/// Brings the service to the contents it should have. Comes before its tasks are looked at, so that a task that failed
/// with an old content is not held against the new one.
pub(super) fn raise(view: &View, service: &Service, plan: &mut Plan) {
    if service.lacks_contents(view) {
        plan.add(vec![Change::ServiceContents { service: service.id, spec_version: service.spec_version }]);
    }
}

/// Secrets and configs that have earlier contents now and of which something needs less than before `delta`, which led
/// to `view`, or that were given a new one.
pub fn released_contents(delta: &Delta, view: &View) -> BTreeSet<ContentId> {
    let mut released = BTreeSet::new();
    for service in delta.services.iter().flat_map(|service| &service.old) {
        released.extend(specs(service).flat_map(|spec| spec.task.container.contents()).map(|(content, _)| content));
    }
    for task in delta.tasks.iter().filter(|task| task.new.as_ref().is_none_or(|new| !needs_contents(new))) {
        let old = task.old.iter().filter(|old| needs_contents(old));
        released.extend(old.flat_map(|old| old.spec.container.contents()).map(|(content, _)| content));
    }
    released.extend(delta.secrets.iter().flat_map(|secret| &secret.new).map(|secret| ContentId::Secret(secret.id)));
    released.extend(delta.configs.iter().flat_map(|config| &config.new).map(|config| ContentId::Config(config.id)));
    released.retain(|content| !view.older_contents(*content).is_empty());
    released
}

/// Takes away the earlier contents of these that nothing refers to: no service, nothing it can go back to, no task.
/// Leaves in `released` what is to be looked at again.
pub fn reap_contents(view: &View, released: &mut BTreeSet<ContentId>) -> Plan {
    let mut plan = Plan::default();
    let older = |content: ContentId| view.older_contents(content).into_iter().map(move |version| (content, version));
    let mut unused: BTreeSet<(ContentId, u64)> = std::mem::take(released).into_iter().flat_map(older).collect();
    if unused.is_empty() {
        return plan;
    }
    for used in view.services().flat_map(|service| specs(service)).flat_map(|spec| spec.task.container.contents()) {
        unused.remove(&used);
    }
    // The tasks are many, and as a rule have nothing that their service has not.
    if !unused.is_empty() {
        for task in view.tasks().filter(|task| needs_contents(task)) {
            for used in task.spec.container.contents() {
                unused.remove(&used);
            }
        }
    }
    for (content, version) in unused {
        if plan.is_full() {
            released.insert(content);
            continue;
        }
        plan.add(vec![Change::ContentDropped { content, version }]);
    }
    plan
}

/// What a service is and what it can go back to.
fn specs(service: &Service) -> impl Iterator<Item = &ServiceSpec> {
    let history = service.history.iter().map(|record| &record.spec);
    std::iter::once(&service.spec).chain(&service.previous_spec).chain(history).map(AsRef::as_ref)
}

/// One that ended and is still wanted is followed by one alike.
fn needs_contents(task: &Task) -> bool {
    task.is_wanted() || !task.status.state.is_terminal()
}
