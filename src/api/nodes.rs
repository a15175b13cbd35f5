//! `/nodes`.

use crate::call::{Call, Outcome, empty, ok};
use crate::compat::Answer;
use crate::filters::Filters;
use crate::json::{read_node_spec, role_name, write_node};
use crate::lookup;
use crate::routes::unknown_below;
use axum::http::StatusCode;
use swarm_core::Sensitive;
use swarm_core::control;
use swarm_core::model::NodeRole;
use swarm_core::store::View;

const FILTERS: [&str; 6] = ["id", "label", "name", "membership", "role", "node.label"];

pub async fn route(call: Call, method: &str, rest: &[&str]) -> Outcome {
    match (method, rest) {
        ("GET", []) => list(call).await,
        ("GET", [name]) => inspect(call, name).await,
        ("POST", [name, "update"]) => update(call, name).await,
        ("DELETE", [name]) => remove(call, name).await,
        _ => Err(unknown_below(method, "nodes", rest)),
    }
}

async fn list(call: Call) -> Outcome {
    let filters = Filters::read(&call.query, &FILTERS)?;
    filters.words("role", &["worker", "manager"])?;
    filters.words("membership", &["accepted", "pending"])?;
    let view = call.view().await?;
    let status = call.ports.cluster.status();
    let nodes = view.nodes().filter(|node| {
        let engine_labels = node.description.as_ref().map(|d| d.engine_labels.clone()).unwrap_or_default();
        filters.any("id", |id| node.id.to_string().starts_with(id))
            && filters.any("name", |name| node.display_name().starts_with(name))
            && filters.any("role", |role| role_name(node.spec.role) == role)
            // Whoever is in the store was accepted.
            && filters.any("membership", |membership| membership == "accepted")
            && filters.labels("label", &engine_labels)
            && filters.labels("node.label", &node.spec.labels)
    });
    ok(nodes.map(|node| call.write(Answer::Node, write_node(node, &view, &status))).collect::<Vec<_>>())
}

async fn inspect(call: Call, name: &str) -> Outcome {
    let view = call.view().await?;
    let status = call.ports.cluster.status();
    let node = find(&call, &view, name)?;
    ok(call.write(Answer::Node, write_node(&node, &view, &status)))
}

/// As `lookup::node`, and `self` is this node.
fn find(call: &Call, view: &View, name: &str) -> Result<std::sync::Arc<swarm_core::model::Node>, crate::ApiError> {
    let own = call.ports.cluster.status().node.filter(|_| name == "self").and_then(|id| view.node(id));
    match own {
        Some(node) => Ok(node.clone()),
        None => lookup::node(view, name).cloned(),
    }
}

async fn update(mut call: Call, name: &str) -> Outcome {
    let version = call.query.version()?;
    let spec = read_node_spec(call.object().await?)?;
    let view = call.view().await?;
    let node = find(&call, &view, name)?;
    if node.spec.role == NodeRole::Manager && spec.role == NodeRole::Worker {
        let answering = call.ports.cluster.answering().await;
        control::check_demotion(&view, &node, |other| answering.contains(&other))?;
    }
    let txn = control::update_node(&view, node.id, version, spec, call.ports.cluster.now())?;
    call.submit(txn).await?;
    empty(StatusCode::OK)
}

fn random_key(call: &Call) -> Sensitive<[u8; 32]> {
    let half = || call.ports.cluster.random().to_be_bytes();
    let mut key = [0; 32];
    key[..16].copy_from_slice(&half());
    key[16..].copy_from_slice(&half());
    Sensitive::new(key)
}

async fn remove(call: Call, name: &str) -> Outcome {
    let force = call.query.flag("force");
    crate::services::decide_and_submit(&call, |view, now| {
        let node = find(&call, view, name)?;
        Ok(control::remove_node(view, node.id, force, random_key(&call), now)?)
    })
    .await?;
    empty(StatusCode::OK)
}
