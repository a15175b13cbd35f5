//! `/secrets`.

use crate::call::{Call, Outcome, created, empty, ok};
use crate::compat::{Answer, Request};
use crate::filters::Filters;
use crate::json::{Fields, read_content, write_secret};
use crate::routes::unknown_below;
use crate::{lookup, services};
use axum::http::StatusCode;
use swarm_core::model::SecretSpec;
use swarm_core::{SecretId, Sensitive, control};

const FILTERS: [&str; 4] = ["id", "label", "name", "names"];

pub async fn route(call: Call, method: &str, rest: &[&str]) -> Outcome {
    match (method, rest) {
        ("GET", []) => list(call).await,
        ("POST", ["create"]) => create(call).await,
        ("GET", [name]) => inspect(call, name).await,
        ("POST", [name, "update"]) => update(call, name).await,
        ("DELETE", [name]) => remove(call, name).await,
        _ => Err(unknown_below(method, "secrets", rest)),
    }
}

async fn list(call: Call) -> Outcome {
    let filters = Filters::read(&call.query, &FILTERS)?;
    let view = call.view().await?;
    let found = view.secrets().filter(|secret| {
        filters.any("id", |id| secret.id.to_string().starts_with(id))
            && filters.any("name", |name| secret.spec.name.starts_with(name))
            && filters.any("names", |name| secret.spec.name == name)
            && filters.labels("label", &secret.spec.labels)
    });
    ok(found.map(|secret| call.write(Answer::Content, write_secret(secret))).collect::<Vec<_>>())
}

async fn create(mut call: Call) -> Outcome {
    let content = read_content(call.fitting(Request::Content).await?)?;
    let view = call.view().await?;
    let id = SecretId(call.ports.cluster.random());
    let data = Sensitive::new(content.data.unwrap_or_default());
    let templated = content.templated.unwrap_or(false);
    let spec = SecretSpec { name: content.name, labels: content.labels, data, templated };
    let txn = control::create_secret(&view, spec, id, call.ports.cluster.now())?;
    call.submit(txn).await?;
    created(Fields::new().set("ID", id.to_string()))
}

async fn inspect(call: Call, name: &str) -> Outcome {
    let view = call.view().await?;
    ok(call.write(Answer::Content, write_secret(lookup::secret(&view, name)?)))
}

async fn update(mut call: Call, name: &str) -> Outcome {
    let version = call.query.version()?;
    let content = read_content(call.fitting(Request::Content).await?)?;
    let view = call.view().await?;
    let id = lookup::secret(&view, name)?.id;
    let txn = control::update_secret(&view, id, version, content.wish(), call.ports.cluster.now())?;
    call.submit(txn).await?;
    empty(StatusCode::OK)
}

async fn remove(call: Call, name: &str) -> Outcome {
    services::decide_and_submit(&call, |view, now| {
        let id = lookup::secret(view, name)?.id;
        Ok(control::remove_secret(view, id, now)?)
    })
    .await?;
    empty(StatusCode::NO_CONTENT)
}
