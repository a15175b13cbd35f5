//! `/networks`: those of the cluster, and `host` and `none` on every node.
//!
//! A node that is no manager answers with what it has itself, as Docker does: the networks that its containers are on.

use crate::call::{Call, Outcome, created, empty, ok};
use crate::compat::{Answer, Request};
use crate::error::ApiError;
use crate::filters::Filters;
use crate::json::{Fields, parse_moment_ns, read_network_spec, scope_name, write_network};
use crate::ports::{ContainerNetwork, ContainerRecord, SwarmState};
use crate::routes::unknown_below;
use crate::{lookup, services};
use axum::http::StatusCode;
use ipnet::IpNet;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use swarm_core::control;
use swarm_core::model::{Network, NetworkAllocation, NetworkDriver, PublishMode, Service};
use swarm_core::store::View;
use swarm_core::{NetworkId, WallTime, model};

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

/// The networks that can be seen from here, and the cluster's state on a manager.
async fn known(call: &Call) -> Result<(Vec<Arc<Network>>, Option<View>), ApiError> {
    let status = call.ports.cluster.status();
    let is_worker = match status.state {
        SwarmState::Inactive | SwarmState::Locked => true,
        SwarmState::Active | SwarmState::Pending | SwarmState::Error => !status.manager && status.error.is_empty(),
    };
    let view = if is_worker { None } else { Some(call.view().await?) };
    let mut networks: Vec<_> = match &view {
        Some(view) => view.networks().filter(|network| !network.removing).cloned().collect(),
        None => of_containers(&call.ports.local.containers().await?),
    };
    for own in own_networks() {
        if networks.iter().all(|network| network.spec.name != own.spec.name) {
            networks.push(Arc::new(own));
        }
    }
    Ok((networks, view))
}

/// `host` and `none`, where no cluster has them: each node has its own, so their ids need not differ.
fn own_networks() -> [Network; 2] {
    let [_, host, none] = control::predefined_networks([NetworkId(1), NetworkId(2), NetworkId(3)]);
    [host, none]
}

fn of_containers(containers: &[ContainerRecord]) -> Vec<Arc<Network>> {
    let networks = containers.iter().flat_map(|container| &container.networks);
    let found: BTreeMap<NetworkId, &ContainerNetwork> =
        networks.filter_map(|network| Some((network.id.parse().ok()?, network))).collect();
    let described = found.into_iter().map(|(id, network)| {
        let subnet = IpNet::new(network.addr, network.prefix_len).ok().map(|subnet| subnet.trunc());
        let spec = model::NetworkSpec { name: network.name.clone(), ..model::NetworkSpec::default() };
        let known = subnet.zip(network.gateway);
        let allocation = known.map(|(subnet, gateway)| NetworkAllocation { subnet, gateway, overlay_id: 0 });
        let (meta, pending_reason) = (model::Meta::default(), String::new());
        Arc::new(Network { id, meta, spec, allocation, pending_reason, removing: false })
    });
    described.collect()
}

async fn list(call: Call) -> Outcome {
    let filters = Filters::read(&call.query, &FILTERS)?;
    filters.words("scope", &["swarm", "global", "local"])?;
    filters.words("type", &["custom", "builtin"])?;
    let dangling = filters.flag("dangling")?;
    let (networks, view) = known(&call).await?;
    let in_use = |network: &Network| view.as_ref().is_none_or(|view| is_used(network, view));
    let found = networks.iter().filter(|network| {
        let builtin = is_predefined(network);
        filters.any("id", |id| network.id.to_string().starts_with(id))
            && filters.any("name", |name| network.spec.name.contains(name))
            && filters.any("driver", |driver| driver_word(network) == driver)
            && filters.any("scope", |scope| scope_name(network.spec.driver) == scope)
            && filters.any("type", |kind| (kind == "builtin") == builtin)
            && filters.labels("label", &network.spec.labels)
            && dangling.is_none_or(|wanted| (!builtin && !in_use(network)) == wanted)
    });
    // Who is on a network was part of the list once.
    let containers = if call.version.has(28) { Vec::new() } else { call.ports.local.containers().await? };
    let written = found.map(|network| {
        let mut fields = write_network(network);
        if !call.version.has(28) {
            fields = fields.set("Containers", containers_on(network, &containers));
        }
        call.write(Answer::Network, fields)
    });
    ok(written.collect::<Vec<_>>())
}

async fn create(mut call: Call) -> Outcome {
    let spec = read_network_spec(call.fitting(Request::NetworkCreate).await?)?;
    let view = call.view().await?;
    let id = NetworkId(call.ports.cluster.random());
    let txn = control::create_network(&view, spec, id, call.ports.cluster.now())?;
    call.submit(txn).await?;
    created(Fields::new().set("Id", id.to_string()).set("Warning", ""))
}

async fn inspect(call: Call, name: &str) -> Outcome {
    let scope = call.query.text("scope").to_owned();
    let verbose = call.query.strict_flag("verbose")?;
    let (networks, view) = known(&call).await?;
    let network = lookup::network_among(&networks, name)?;
    // Services may use `host` and `none`, so these are of the swarm as well as of the node.
    if !matches!(scope.as_str(), "" | "swarm") && scope_name(network.spec.driver) != scope {
        return Err(ApiError::not_found(format!("network {name} not found")));
    }
    let containers = call.ports.local.containers().await?;
    let mut fields = write_network(network).set("Containers", containers_on(network, &containers));
    if let Some(view) = view.filter(|_| network.spec.driver == NetworkDriver::Overlay) {
        fields = fields.filled("Peers", peers(network, &view)).opt("Status", status(network, &view));
        if verbose {
            fields = fields.set("Services", services_on(network, &view));
        }
    }
    ok(call.write(Answer::Network, fields))
}

/// API `NetworkInspect.Containers`: those of this host.
fn containers_on(network: &Network, containers: &[ContainerRecord]) -> Value {
    let id = network.id.to_string();
    let on_it = containers.iter().filter_map(|container| {
        let place = container.networks.iter().find(|place| place.id == id)?;
        let addr = format!("{}/{}", place.addr, place.prefix_len);
        let (v4, v6) = if place.addr.is_ipv4() { (addr, String::new()) } else { (String::new(), addr) };
        let written = json!({
            "Name": container.name, "EndpointID": "", "MacAddress": "", "IPv4Address": v4, "IPv6Address": v6,
        });
        Some((container.id.clone(), written))
    });
    Value::Object(on_it.collect())
}

/// API `PeerInfo`: the nodes that have a task on the network.
fn peers(network: &Network, view: &View) -> Vec<Value> {
    let on_it = view.tasks().filter(|task| {
        !task.status.state.is_terminal() && task.attachments.iter().any(|place| place.network == network.id)
    });
    let nodes: BTreeSet<_> = on_it.filter_map(|task| task.node).collect();
    let addr = |id| view.node(id).and_then(|node| node.status.addr);
    let written =
        nodes.into_iter().filter_map(|id| Some(json!({ "Name": id.to_string(), "IP": addr(id)?.to_string() })));
    written.collect()
}

/// API `NetworkStatus`: how full the subnet is. Its own address, the last one and the gateway's are not given out.
fn status(network: &Network, view: &View) -> Option<Value> {
    let subnet = network.allocation.as_ref()?.subnet;
    let on_it = |addresses: usize| u64::try_from(addresses).unwrap_or(u64::MAX);
    let tasks = view.tasks().filter(|task| !task.status.state.is_terminal());
    let attached = tasks.flat_map(|task| &task.attachments).filter(|place| place.network == network.id).count();
    let vips = view.services().flat_map(|service| &service.endpoint.vips).filter(|vip| vip.network == network.id);
    let used = on_it(attached).saturating_add(on_it(vips.count())).saturating_add(3);
    let all = 1u64.checked_shl(u32::from(subnet.max_prefix_len() - subnet.prefix_len())).unwrap_or(u64::MAX);
    let counts = json!({ "IPsInUse": used, "DynamicIPsAvailable": all.saturating_sub(used) });
    Some(json!({ "IPAM": { "Subnets": { (subnet.to_string()): counts } } }))
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
        let ports = published(network, service);
        let written = json!({ "VIP": vip, "Ports": ports, "LocalLBIndex": 0, "Tasks": tasks });
        Some((service.spec.name.clone(), written))
    });
    Value::Object(on_it.collect())
}

/// Ports that lead to the service through this network: that is `ingress` alone.
fn published(network: &Network, service: &Service) -> Vec<String> {
    let through =
        service.endpoint.ports.iter().filter(|port| network.spec.ingress && port.mode == PublishMode::Ingress);
    through.map(|port| format!("Target: {}, Publish: {}", port.target_port, port.published_port)).collect()
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
    let filters = Filters::read(&call.query, &["label", "label!", "until"])?;
    let until = until(&filters, call.ports.cluster.now())?;
    let view = call.view().await?;
    let mut deleted = Vec::new();
    for network in view.networks() {
        let wanted = filters.labels("label", &network.spec.labels)
            && filters.no_labels("label!", &network.spec.labels)
            && until.is_none_or(|until| network.meta.created.wall <= until);
        if !wanted || is_predefined(network) || is_used(network, &view) {
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

/// The moment up to which something must have been made (API filter `until`).
fn until(filters: &Filters, now: WallTime) -> Result<Option<WallTime>, ApiError> {
    match filters.values("until") {
        [] => Ok(None),
        [text] => Ok(parse_moment_ns("until", text, now)?.map(|time_ns| WallTime(time_ns / 1_000_000))),
        _ => Err(ApiError::bad("more than one until filter specified")),
    }
}
