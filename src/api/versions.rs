//! Beyond the Engine API: the versions of a service, and the update that waits to be promoted.
//!
//! `GET /services/{id}/history`, `POST /services/{id}/update?version=V&rollback=previous&to=REVISION`,
//! `POST /services/{id}/promote`.

use crate::call::{Call, Outcome, empty, ok};
use crate::error::ApiError;
use crate::json::{Fields, rfc3339_ms, write_service_spec, write_spec_contents};
use crate::{lookup, rehearsals, services};
use axum::http::StatusCode;
use serde_json::Value;
use swarm_core::WallTime;
use swarm_core::control;
use swarm_core::model::ServiceSpec;

/// The present specification and those before it, newest first.
pub async fn history(call: Call, name: &str) -> Outcome {
    let view = call.view().await?;
    let service = lookup::service(&view, name)?;
    let now = write(service.revision, service.spec_written.wall, &service.spec).set("Current", true);
    let before = service.history.iter().map(|record| write(record.revision, record.written.wall, &record.spec));
    ok(std::iter::once(now).chain(before).map(Value::from).collect::<Vec<_>>())
}

fn write(revision: u64, written: WallTime, spec: &ServiceSpec) -> Fields {
    let fields = Fields::new().set("Revision", revision).set("WrittenAt", rfc3339_ms(written));
    fields.set("Spec", write_service_spec(spec)).filled("Contents", write_spec_contents(spec))
}

/// The revision a rollback is to lead to; `None` is one step.
pub fn revision(call: &Call) -> Result<Option<u64>, ApiError> {
    match call.query.text("to") {
        "" => Ok(None),
        text => {
            let wrong = || ApiError::bad(format!("to: \"{text}\" is not a number: give a Revision of the history"));
            text.parse().map(Some).map_err(|_| wrong())
        }
    }
}

pub async fn promote(call: Call, name: &str) -> Outcome {
    if rehearsals::is_wanted(&call) {
        let view = call.view().await?;
        let service = lookup::service(&view, name)?;
        let txn = control::promote_service(&view, service.id, call.ports.cluster.now())?;
        return rehearsals::answer(&call, &view, &txn).await;
    }
    services::decide_and_submit(&call, |view, now| {
        let service = lookup::service(view, name)?;
        Ok(control::promote_service(view, service.id, now)?)
    })
    .await?;
    empty(StatusCode::OK)
}
