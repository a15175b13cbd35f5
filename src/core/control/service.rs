//! Create, update, roll back and remove services.

use super::mode::is_job;
use super::validate::validate_service;
use super::{Refusal, check_version, txn};
use crate::model::*;
use crate::store::{Change, Object, ObjectRef, Precondition, Txn, View};
use crate::{ServiceId, Stamp, WallTime};
use std::sync::Arc;

fn exists(name: &str) -> Refusal {
    Refusal::Exists(format!("name conflicts with an existing object: service {name} already exists"))
}

/// Makes a service. The store refuses the transaction when the name was taken meanwhile.
pub fn create_service(view: &View, spec: ServiceSpec, id: ServiceId, now: WallTime) -> Result<Txn, Refusal> {
    validate_service(view, &spec, id)?;
    if view.service_by_name(&spec.name).is_some() {
        return Err(exists(&spec.name));
    }
    let job = is_job(&spec.mode).then_some(JobStatus { iteration: 0, last_execution: now });
    let service = Service {
        id,
        meta: Meta::default(),
        spec: Arc::new(spec),
        previous_spec: None,
        spec_version: 1,
        previous_spec_version: 0,
        spec_written: Stamp::default(),
        endpoint: Endpoint::default(),
        update_status: None,
        job,
        history: Vec::new(),
        scaled: None,
        removing: false,
    };
    Ok(txn(now, Vec::new(), vec![Change::Create(Object::Service(Arc::new(service)))]))
}

fn find(view: &View, id: ServiceId, version: u64) -> Result<&Arc<Service>, Refusal> {
    let service = view.service(id).ok_or_else(|| Refusal::NotFound(format!("service {id} not found")))?;
    check_version(version, service.meta.version)?;
    if service.removing {
        return Err(Refusal::NotFound(format!("service {} is being removed", service.spec.name)));
    }
    Ok(service)
}

fn replace(old: &Service, new: Service, now: WallTime) -> Txn {
    let object = ObjectRef::Service(old.id);
    // The store stamps a spec written now.
    let new = Service { spec_written: Stamp::default(), ..new };
    let preconditions = vec![Precondition::Version(object, old.meta.version)];
    txn(now, preconditions, vec![Change::Replace(Object::Service(Arc::new(new)))])
}

/// A spec version no task was ever made from.
fn fresh_spec_version(view: &View, service: &Service) -> u64 {
    let tasks = view.tasks_of_service(service.id).map(|task| task.spec_version).max().unwrap_or(0);
    tasks.max(service.spec_version).max(service.previous_spec_version) + 1
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
        return Err(Refusal::Unsupported("renaming services is not supported"));
    }
    if std::mem::discriminant(&spec.mode) != std::mem::discriminant(&old.spec.mode) {
        return Err(Refusal::Unsupported("service mode change is not allowed"));
    }
    validate_service(view, &spec, id)?;
    let task_changed = spec.task != old.spec.task;
    // A job runs again only when what it runs changes (as `--force` does).
    let job = old.job.map(|job| match task_changed {
        true => JobStatus { iteration: job.iteration + 1, last_execution: now },
        false => job,
    });
    let new = Service {
        scaled: old.scaled_under(&spec),
        spec: Arc::new(spec),
        previous_spec: Some(Arc::clone(&old.spec)),
        spec_version: if task_changed { fresh_spec_version(view, old) } else { old.spec_version },
        previous_spec_version: old.spec_version,
        update_status: None,
        job,
        ..(**old).clone()
    };
    Ok(replace(old, new, now))
}

/// Goes back to the spec before the last update; doing it twice brings the newer one back.
pub fn rollback_service(view: &View, id: ServiceId, version: u64, now: WallTime) -> Result<Txn, Refusal> {
    let old = find(view, id, version)?;
    let Some(previous) = &old.previous_spec else {
        return Err(Refusal::NotNow(format!("service {} does not have a previous spec", old.spec.name)));
    };
    validate_service(view, previous, id)?;
    let status = UpdateStatus {
        state: UpdateState::RollbackStarted,
        started: now,
        completed: None,
        message: "manually requested rollback".to_owned(),
        spec_version: old.previous_spec_version,
        slots: 0,
        failures: 0,
        canary_since: None,
        promoted: false,
    };
    let job = old.job.map(|job| JobStatus { iteration: job.iteration + 1, last_execution: now });
    let new = Service {
        scaled: old.scaled_under(previous),
        spec: Arc::clone(previous),
        previous_spec: Some(Arc::clone(&old.spec)),
        spec_version: old.previous_spec_version,
        previous_spec_version: old.spec_version,
        // A job runs again as a whole: there is nothing to roll.
        update_status: job.is_none().then_some(status),
        job,
        ..(**old).clone()
    };
    Ok(replace(old, new, now))
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
