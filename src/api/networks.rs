//! `/networks`.

use crate::call::{Call, Outcome, created, empty, ok};
use crate::error::ApiError;
use crate::filters::Filters;
use crate::json::{Fields, read_network_spec, scope_name, write_network};
use crate::ports::SwarmState;
use crate::routes::unknown_below;
use crate::{lookup, services};
use axum::http::StatusCode;
use serde_json::{Value, json};
use swarm_core::control;
use swarm_core::model::{Network, NetworkDriver};
use swarm_core::store::View;
use swarm_core::{NetworkId, model};

const FILTERS: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];

pub async fn route(call: Call, method: &str, rest: &[&str]) -> Outcome {
    match (method, rest) {
        ("GET", []) => list(call).await,
        ("POST", ["create"]) => create(call).await,
        ("POST", ["prune"]) => prune(call).await,
        ("GET", [name]) => inspect(call, name).await,
        ("DELETE", [name]) => remove(call, name).await,
        ("POST", [_, "connect" | "disconnect"]) => {
            Err(ApiError::not_implemented(&format!("POST /networks/{}", rest.join("/"))))
        }
        _ => Err(unknown_below(method, "networks", rest)),
    }
}

fn is_predefined(network: &Network) -> bool {
    network.spec.ingress || network.spec.driver != NetworkDriver::Overlay
}

fn is_used(network: &Network, view: &View) -> bool {
    let by_service = |spec: &model::ServiceSpec| spec.task.networks.iter().any(|target| target.target == network.id);
    view.services().any(|service| by_service(&service.spec))
        || view
            .tasks()
            .any(|task| !task.status.state.is_terminal() && task.attachments.iter().any(|a| a.network == network.id))
}

fn driver_word(network: &Network) -> &'static str {
    match network.spec.driver {
        NetworkDriver::Overlay => "overlay",
        NetworkDriver::Host => "host",
        NetworkDriver::None => "null",
    }
}

async fn list(call: Call) -> Outcome {
    let filters = Filters::read(&call.query, &FILTERS)?;
    filters.words("scope", &["swarm", "global", "local"])?;
    filters.words("type", &["custom", "builtin"])?;
    let dangling = filters.flag("dangling")?;
    // A node outside a swarm has no networks of this kind; asking is no error.
    if call.ports.cluster.status().state == SwarmState::Inactive {
        return ok(json!([]));
    }
    let view = call.view().await?;
    let networks = view.networks().filter(|network| {
        let builtin = is_predefined(network);
        !network.removing
            && filters.any("id", |id| network.id.to_string().starts_with(id))
            && filters.any("name", |name| network.spec.name.contains(name))
            && filters.any("driver", |driver| driver_word(network) == driver)
            && filters.any("scope", |scope| scope_name(network.spec.driver) == scope)
            && filters.any("type", |kind| (kind == "builtin") == builtin)
            && filters.labels("label", &network.spec.labels)
            && dangling.is_none_or(|wanted| (!builtin && !is_used(network, &view)) == wanted)
    });
    ok(networks.map(|network| Value::from(write_network(network))).collect::<Vec<_>>())
}

async fn create(mut call: Call) -> Outcome {
    let spec = read_network_spec(call.object().await?)?;
    let view = call.view().await?;
    let id = NetworkId(call.ports.cluster.random());
    let txn = control::create_network(&view, spec, id, call.ports.cluster.now())?;
    call.submit(txn).await?;
    created(Fields::new().set("Id", id.to_string()).set("Warning", ""))
}

async fn inspect(call: Call, name: &str) -> Outcome {
    let scope = call.query.text("scope").to_owned();
    if call.ports.cluster.status().state == SwarmState::Inactive {
        return Err(ApiError::not_found(format!("network {name} not found")));
    }
    let view = call.view().await?;
    let network = lookup::network(&view, name)?;
    // Services may use `host` and `none`, so these are of the swarm as well as of the node.
    if !matches!(scope.as_str(), "" | "swarm") && scope_name(network.spec.driver) != scope {
        return Err(ApiError::not_found(format!("network {name} not found")));
    }
    let mut fields = write_network(network);
    if call.query.flag("verbose") {
        fields = fields.set("Services", services_on(network, &view));
    }
    ok(fields)
}

/// API `Network.Services`: each service on the network with its address and tasks.
fn services_on(network: &Network, view: &View) -> Value {
    let on_it = view.services().filter_map(|service| {
        let vip = service.endpoint.vips.iter().find(|vip| vip.network == network.id);
        let tasks: Vec<_> = view
            .tasks_of_service(service.id)
            .filter(|task| !task.status.state.is_terminal())
            .filter_map(|task| {
                let attachment = task.attachments.iter().find(|a| a.network == network.id)?;
                let node = task.node.and_then(|id| view.node(id)).and_then(|node| node.status.addr);
                Some(json!({
                    "Name": task.name(), "EndpointID": task.id.to_string(), "EndpointIP": attachment.addr.to_string(),
                    "Info": { "Host IP": node.map(|addr| addr.to_string()).unwrap_or_default() },
                }))
            })
            .collect();
        if vip.is_none() && tasks.is_empty() {
            return None;
        }
        let vip = vip.map(|vip| vip.addr.to_string()).unwrap_or_default();
        let written = json!({ "VIP": vip, "Ports": [], "LocalLBIndex": 0, "Tasks": tasks });
        Some((service.spec.name.clone(), written))
    });
    Value::Object(on_it.collect())
}

async fn remove(call: Call, name: &str) -> Outcome {
    services::decide_and_submit(&call, |view, now| {
        let network = lookup::network(view, name)?;
        Ok(control::remove_network(view, network.id, now)?)
    })
    .await?;
    empty(StatusCode::NO_CONTENT)
}

async fn prune(call: Call) -> Outcome {
    let filters = Filters::read(&call.query, &["label"])?;
    let view = call.view().await?;
    let mut deleted = Vec::new();
    for network in view.networks() {
        if is_predefined(network) || is_used(network, &view) || !filters.labels("label", &network.spec.labels) {
            continue;
        }
        // Someone may have begun to use it: then it stays.
        let Ok(txn) = control::remove_network(&view, network.id, call.ports.cluster.now()) else {
            continue;
        };
        match call.ports.cluster.submit(txn).await {
            Ok(()) => deleted.push(network.spec.name.clone()),
            Err(crate::ports::SubmitError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    ok(json!({ "NetworksDeleted": deleted }))
}
