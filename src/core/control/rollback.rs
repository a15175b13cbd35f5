//! Going back to what a service was, and going on with what waits for it.

use super::service::{bound_history, find, replace};
use super::{Refusal, txn};
use crate::model::*;
use crate::store::{Change, ObjectRef, Precondition, Txn, View, fits};
use crate::{ServiceId, WallTime};
use std::sync::Arc;

/// Goes back to the spec before the last update; doing it twice brings the newer one back.
pub fn rollback_service(view: &View, id: ServiceId, version: u64, now: WallTime) -> Result<Txn, Refusal> {
    let old = find(view, id, version)?;
    let Some(previous) = &old.previous_spec else {
        return Err(Refusal::NotNow(format!("service {} does not have a previous spec", old.spec.name)));
    };
    let message = "manually requested rollback".to_owned();
    go_back(view, old, previous, old.previous_spec_version, message, now)
}

/// Beyond the API: goes back to the spec of that revision, as the history tells them.
pub fn rollback_service_to(
    view: &View,
    id: ServiceId,
    version: u64,
    revision: u64,
    now: WallTime,
) -> Result<Txn, Refusal> {
    let old = find(view, id, version)?;
    let name = &old.spec.name;
    if revision == old.revision {
        return Err(Refusal::NotNow(format!("service {name} is at version {revision}")));
    }
    let Some(record) = old.history.iter().find(|record| record.revision == revision) else {
        let known: Vec<_> = old.history.iter().map(|record| record.revision.to_string()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(Refusal::NotNow(format!(
            "service {name} has no version {revision} to go back to; it has: {known}"
        )));
    };
    let message = format!("manually requested rollback to version {revision}");
    go_back(view, old, &record.spec, record.spec_version, message, now)
}

fn go_back(
    view: &View,
    old: &Arc<Service>,
    spec: &Arc<ServiceSpec>,
    spec_version: u64,
    message: String,
    now: WallTime,
) -> Result<Txn, Refusal> {
    if let Some(lacking) = view.missing(&spec.task) {
        return Err(Refusal::NotNow(format!(
            "service {} can not go back: {lacking}, which it used then, is gone; go back to another version or update it",
            old.spec.name
        )));
    }
    fits::service(view, spec, old.id)?;
    let job = old.job.map(|job| JobStatus { iteration: job.iteration + 1, last_execution: now });
    let mut new = Service {
        // What waited to be promoted never was the service's: nothing leads there.
        previous_spec: old.canaries().is_none().then(|| Arc::clone(&old.spec)),
        previous_spec_version: old.spec_version,
        // A job runs again as a whole: there is nothing to roll.
        update_status: job.is_none().then(|| UpdateStatus::rolling_back(spec_version, now, message)),
        job,
        ..(**old).clone()
    };
    new.put_spec(Arc::clone(spec), view.spec_history_limit());
    new.hold_contents(view, &old.spec);
    new.spec_version = spec_version;
    bound_history(&mut new);
    Ok(replace(old, new, now))
}

/// Beyond the API: the update whose canaries wait goes on with the rest.
pub fn promote_service(view: &View, id: ServiceId, now: WallTime) -> Result<Txn, Refusal> {
    let service = view.service(id).filter(|service| !service.removing);
    let service = service.ok_or_else(|| Refusal::NotFound(format!("service {id} not found")))?;
    let name = &service.spec.name;
    let Some(status) = service.update_status.as_ref().filter(|_| service.canaries().is_some()) else {
        return Err(Refusal::NotNow(format!("service {name} has no canary that waits to be promoted")));
    };
    if status.state == UpdateState::Paused {
        return Err(Refusal::NotNow(format!(
            "the update of service {name} is paused: {}; roll it back, or update it again",
            status.message
        )));
    }
    let mut status = status.clone();
    status.promote();
    let preconditions = vec![Precondition::Version(ObjectRef::Service(id), service.meta.version)];
    Ok(txn(now, preconditions, vec![Change::ServiceUpdateStatus { service: id, status }]))
}
