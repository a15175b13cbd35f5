//! From what a user typed to the object meant: full id, else exact name, else unique start of the id.

use crate::error::ApiError;
use std::str::FromStr;
use std::sync::Arc;
use swarm_core::model::{Config, Network, Node, Secret, Service, Task};
use swarm_core::store::View;

type Found<'a, T> = Result<&'a Arc<T>, ApiError>;

fn find<'a, T, I: FromStr>(
    kind: &str,
    text: &str,
    by_id: impl FnOnce(I) -> Option<&'a Arc<T>>,
    all: impl Iterator<Item = &'a Arc<T>>,
    id_and_name: impl Fn(&T) -> (String, String),
) -> Found<'a, T> {
    if let Some(found) = text.parse().ok().and_then(by_id) {
        return Ok(found);
    }
    let mut named = Vec::new();
    let mut started = Vec::new();
    for object in all {
        let (id, name) = id_and_name(object);
        if name == text {
            named.push(object);
        } else if !text.is_empty() && id.starts_with(text) {
            started.push(object);
        }
    }
    let matches = if named.is_empty() { started } else { named };
    match matches.as_slice() {
        [one] => Ok(one),
        [] => Err(ApiError::not_found(format!("{kind} {text} not found"))),
        many => Err(ApiError::bad(format!("{kind} {text} is ambiguous ({} matches found)", many.len()))),
    }
}

pub fn service<'a>(view: &'a View, text: &str) -> Found<'a, Service> {
    let names = |service: &Service| (service.id.to_string(), service.spec.name.clone());
    // One that is being removed is gone for its users, and its name may have a new owner.
    let there = |service: &&'a Arc<Service>| !service.removing;
    find("service", text, |id| view.service(id).filter(there), view.services().filter(there), names)
}

pub fn node<'a>(view: &'a View, text: &str) -> Found<'a, Node> {
    find("node", text, |id| view.node(id), view.nodes(), |node| (node.id.to_string(), node.display_name()))
}

pub fn task<'a>(view: &'a View, text: &str) -> Found<'a, Task> {
    find("task", text, |id| view.task(id), view.tasks(), |task| (task.id.to_string(), task.name()))
}

pub fn network<'a>(view: &'a View, text: &str) -> Found<'a, Network> {
    let names = |network: &Network| (network.id.to_string(), network.spec.name.clone());
    let there = |network: &&'a Arc<Network>| !network.removing;
    find("network", text, |id| view.network(id).filter(there), view.networks().filter(there), names)
}

/// As [`network`], among those that can be seen from a node.
pub fn network_among<'a>(networks: &'a [Arc<Network>], text: &str) -> Found<'a, Network> {
    let names = |network: &Network| (network.id.to_string(), network.spec.name.clone());
    let by_id = |id| networks.iter().find(|network| network.id == id);
    find("network", text, by_id, networks.iter(), names)
}

pub fn secret<'a>(view: &'a View, text: &str) -> Found<'a, Secret> {
    let names = |secret: &Secret| (secret.id.to_string(), secret.spec.name.clone());
    find("secret", text, |id| view.secret(id), view.secrets(), names)
}

pub fn config<'a>(view: &'a View, text: &str) -> Found<'a, Config> {
    let names = |config: &Config| (config.id.to_string(), config.spec.name.clone());
    find("config", text, |id| view.config(id), view.configs(), names)
}
