//! Create, update and remove services. Going back is in `rollback`.

use super::references::fill_contents;
use super::{Refusal, check_version, txn};
use crate::model::*;
use crate::store::{Change, Object, ObjectRef, Precondition, Txn, View, fits};
use crate::{ServiceId, Stamp, WallTime};
use std::sync::Arc;

/// Estimated bytes of the specs a service remembers: with the present spec and the one before they stay below what one
/// log entry holds.
const HISTORY_BYTES_MAX: usize = 512 * 1024;

fn exists(name: &str) -> Refusal {
    Refusal::Exists(format!("name conflicts with an existing object: service {name} already exists"))
}

/// Makes a service. The store refuses the transaction when the name was taken meanwhile.
pub fn create_service(view: &View, mut spec: ServiceSpec, id: ServiceId, now: WallTime) -> Result<Txn, Refusal> {
    fill_contents(view, &mut spec.task, None);
    fits::service(view, &spec, id)?;
    if view.service_by_name(&spec.name).is_some() {
        return Err(exists(&spec.name));
    }
    let job = spec.mode.is_job().then_some(JobStatus { iteration: 0, last_execution: now });
    let service = Service { job, ..Service::new(id, spec) };
    Ok(txn(now, Vec::new(), vec![Change::Create(Object::Service(Arc::new(service)))]))
}

pub(super) fn find(view: &View, id: ServiceId, version: u64) -> Result<&Arc<Service>, Refusal> {
    let service = view.service(id).ok_or_else(|| Refusal::NotFound(format!("service {id} not found")))?;
    check_version(version, service.meta.version)?;
    if service.removing {
        return Err(Refusal::NotFound(format!("service {} is being removed", service.spec.name)));
    }
    Ok(service)
}

pub(super) fn replace(old: &Service, new: Service, now: WallTime) -> Txn {
    let object = ObjectRef::Service(old.id);
    // The store stamps a spec written now.
    let new = Service { spec_written: Stamp::default(), ..new };
    let preconditions = vec![Precondition::Version(object, old.meta.version)];
    txn(now, preconditions, vec![Change::Replace(Object::Service(Arc::new(new)))])
}

/// Replaces the spec of a service; `version` is the one the user read (`Version.Index`).
pub fn update_service(
    view: &View,
    id: ServiceId,
    version: u64,
    mut spec: ServiceSpec,
    now: WallTime,
) -> Result<Txn, Refusal> {
    let old = find(view, id, version)?;
    if spec.name.is_empty() {
        spec.name.clone_from(&old.spec.name);
    }
    if spec.name != old.spec.name {
        return Err(Refusal::Unsupported("Name: renaming services is not supported"));
    }
    if std::mem::discriminant(&spec.mode) != std::mem::discriminant(&old.spec.mode) {
        return Err(Refusal::Unsupported("Mode: service mode change is not allowed"));
    }
    let contents_held = fill_contents(view, &mut spec.task, Some(old));
    let canaries = spec.update.as_ref().map_or(0, |update| update.canary);
    // Canaries are told by the version of their tasks, also when only the ports change.
    let task_changed = spec.task != old.spec.task || canaries > 0 && spec.endpoint != old.spec.endpoint;
    let held = old.canaries().is_some();
    if held && !task_changed && canaries == 0 {
        keep_canary(&old.spec, &mut spec);
    }
    fits::service(view, &spec, id)?;
    // A job runs again only when what it runs changes (as `--force` does).
    let job = old.job.map(|job| match task_changed {
        true => JobStatus { iteration: job.iteration + 1, last_execution: now },
        false => job,
    });
    let spec_version = if task_changed { view.fresh_spec_version(old) } else { old.spec_version };
    let mut new = Service { job, held: contents_held, ..(**old).clone() };
    (new.previous_spec, new.previous_spec_version) = before(old, &spec, task_changed);
    new.update_status = match under_way(old).filter(|_| !task_changed) {
        Some(status) => Some(gone_on(status, now)),
        None if spec == *old.spec => old.update_status.clone(),
        // Without canaries the leader begins it, when there is anything to replace.
        None => (canaries > 0 && task_changed).then(|| UpdateStatus::begun(spec_version, now)),
    };
    if held && !task_changed {
        new.scaled = old.scaled_under(&spec);
        new.spec = Arc::new(spec);
    } else {
        new.put_spec(Arc::new(spec), view.spec_history_limit());
    }
    new.spec_version = spec_version;
    bound_history(&mut new);
    Ok(replace(old, new, now))
}

/// The update to the present spec, as long as it is not over.
fn under_way(service: &Service) -> Option<&UpdateStatus> {
    let status = service.update_status.as_ref()?;
    (status.spec_version == service.spec_version && status.completed.is_none()).then_some(status)
}

/// A change beside what runs does not end an update, nor the wait of canaries; one that was paused is tried again.
fn gone_on(status: &UpdateStatus, now: WallTime) -> UpdateStatus {
    match status.state {
        UpdateState::Paused => {
            UpdateStatus { promoted: status.promoted, ..UpdateStatus::begun(status.spec_version, now) }
        }
        UpdateState::RollbackPaused => UpdateStatus::rolling_back(status.spec_version, now, "rollback in progress"),
        UpdateState::Updating
        | UpdateState::Completed
        | UpdateState::RollbackStarted
        | UpdateState::RollbackCompleted => status.clone(),
    }
}

/// What one goes back to once `spec` is written, and its version. What an update is still bringing in was not found
/// good yet: a change beside it leaves what it would go back to, but for that change.
fn before(old: &Service, spec: &ServiceSpec, task_changed: bool) -> (Option<Arc<ServiceSpec>>, u64) {
    let never_promoted = task_changed && old.canaries().is_some();
    if *spec == *old.spec || never_promoted {
        return (old.previous_spec.clone(), old.previous_spec_version);
    }
    if !task_changed && under_way(old).is_some() {
        let previous = old.previous_spec.as_ref().map(|previous| Arc::new(changed_like(previous, &old.spec, spec)));
        return (previous, old.previous_spec_version);
    }
    (Some(Arc::clone(&old.spec)), old.spec_version)
}

/// `previous` with what differs between `old` and `new`, whose tasks are alike.
fn changed_like(previous: &ServiceSpec, old: &ServiceSpec, new: &ServiceSpec) -> ServiceSpec {
    let mut spec = previous.clone();
    macro_rules! carry {
        ($($field:ident),*) => {
            $(if new.$field != old.$field {
                spec.$field.clone_from(&new.$field);
            })*
        };
    }
    carry!(labels, mode, update, rollback, endpoint, depends_on, autoscale);
    spec
}

/// Canaries are for the update they are given with, and this is still that one.
fn keep_canary(old: &ServiceSpec, new: &mut ServiceSpec) {
    if let Some(old) = &old.update {
        let update = new.update.get_or_insert_default();
        update.canary = old.canary;
        update.canary_promote_after = old.canary_promote_after;
    }
}

/// Forgets the oldest specs when all of them are too large: a service is written as a whole.
pub(super) fn bound_history(service: &mut Service) {
    let mut bytes = 0usize;
    service.history.retain(|record| {
        let size = serde_json::to_vec(&*record.spec).map_or(HISTORY_BYTES_MAX, |json| json.len());
        bytes = bytes.saturating_add(size);
        bytes <= HISTORY_BYTES_MAX
    });
}

/// Asks for removal: the orchestrator stops the tasks, then deletes the service.
pub fn remove_service(view: &View, id: ServiceId, now: WallTime) -> Result<Txn, Refusal> {
    let old = view.service(id).ok_or_else(|| Refusal::NotFound(format!("service {id} not found")))?;
    if old.removing {
        return Ok(txn(now, Vec::new(), Vec::new()));
    }
    let new = Service { removing: true, ..(**old).clone() };
    let preconditions = vec![Precondition::Version(ObjectRef::Service(id), old.meta.version)];
    Ok(txn(now, preconditions, vec![Change::Replace(Object::Service(Arc::new(new)))]))
}
