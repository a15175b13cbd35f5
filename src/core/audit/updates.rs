//! Invariants of updates: how far one may have come.

use crate::NodeId;
use crate::model::*;
use crate::store::View;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The update that goes on, and its settings.
pub(super) fn going_on(service: &Service) -> Option<(&UpdateStatus, UpdateConfig)> {
    let status = service.update_status.as_ref()?;
    let config = match status.state {
        UpdateState::Updating | UpdateState::Paused => &service.spec.update,
        UpdateState::RollbackStarted | UpdateState::RollbackPaused => &service.spec.rollback,
        UpdateState::Completed | UpdateState::RollbackCompleted => return None,
    };
    Some((status, config.clone().unwrap_or_default()))
}

/// Counts what was begun since the settings were last written: they may have been wider before. The
/// update of a global service goes on without a node that is away.
pub(super) fn within_parallelism(view: &View, found: &mut Vec<String>) {
    for service in view.services().filter(|service| !service.removing) {
        let Some((_, config)) = going_on(service).filter(|(_, config)| config.parallelism > 0) else { continue };
        let brought_in = |task: &&Arc<Task>| is_brought_in(service, task) && task.up_since.is_none();
        let coming_up = |task: &&Arc<Task>| {
            brought_in(task) && task.is_wanted() && task.meta.created.index > service.spec_written.index
        };
        let was_away = |task: &Task| {
            let node = task.node.filter(|_| task.slot == 0).map(|id| view.node(id));
            node.is_some_and(|node| {
                node.is_none_or(|node| {
                    node.status.state != NodeState::Ready
                        || node.spec.availability != Availability::Active
                        || node.meta.updated.index > task.meta.created.index
                })
            })
        };
        let key = |task: &Task| (task.slot, task.node.filter(|_| task.slot == 0));
        // What was on its way when the settings were written may have lost its node since, and have another.
        let before = view.tasks_of_service(service.id).filter(brought_in);
        let before: BTreeSet<_> =
            before.filter(|task| task.meta.created.index <= service.spec_written.index).map(|task| key(task)).collect();
        let coming = view.tasks_of_service(service.id).filter(|task| coming_up(task) && !was_away(task));
        let slots: BTreeSet<_> = coming.map(|task| key(task)).filter(|key| !before.contains(key)).collect();
        if slots.len() as u64 > config.parallelism {
            found.push(format!("service {}: {} slots, {} allowed", service.spec.name, slots.len(), config.parallelism));
        }
    }
}

/// The update to what the service is now made it.
fn is_brought_in(service: &Service, task: &Task) -> bool {
    task.origin == TaskOrigin::Update && task.spec_version == service.spec_version
}

/// Where the settings were written after it began, failures before that may have been allowed.
pub(super) fn within_failure_ratio(view: &View, found: &mut Vec<String>) {
    for service in view.services() {
        let Some((status, config)) = going_on(service) else { continue };
        let mut tasks = view.tasks_of_service(service.id).filter(|task| is_brought_in(service, task));
        if tasks.any(|task| task.meta.created.index <= service.spec_written.index) {
            continue;
        }
        let stops = match config.failure_action {
            FailureAction::Pause | FailureAction::Rollback => true,
            FailureAction::Continue => false,
        };
        // The failure that goes over the ratio is the last one counted.
        let before_last = status.failures.saturating_sub(1) as f32 / status.slots.max(1) as f32;
        if stops && status.failures > 0 && before_last > config.max_failure_ratio {
            let name = &service.spec.name;
            found.push(format!("service {name}: {} failures of {} slots", status.failures, status.slots));
        }
    }
}

/// As above, of what was begun since the settings were last written.
pub(super) fn within_canaries(view: &View, found: &mut Vec<String>) {
    for service in view.services().filter(|service| !service.removing) {
        let Some(most) = service.canaries() else { continue };
        let reached: BTreeSet<(u64, Option<NodeId>)> = view
            .tasks_of_service(service.id)
            .filter(|task| task.is_wanted() && is_brought_in(service, task))
            .filter(|task| task.meta.created.index > service.spec_written.index)
            .map(|task| (task.slot, task.node.filter(|_| task.slot == 0)))
            .collect();
        if reached.len() as u64 > most {
            found.push(format!("service {}: {} slots, {most} canaries", service.spec.name, reached.len()));
        }
    }
}
