//! Which services a change may concern: those whose reconciliation reads what changed.
//!
//! Whoever lets `plan` read something of another object adds the rule here. The tests of the leader compare
//! each step with one that looks at every service, and say so when a rule is missing.

use crate::ServiceId;
use crate::model::{Network, Node};
use crate::store::{Changed, Delta, ObjectRef, View};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Services to look at after `delta`, which led to `view`.
pub(super) fn affected(delta: &Delta, view: &View) -> BTreeSet<ServiceId> {
    // How long histories are; whether tasks have an address to receive at.
    if delta.cluster || delta.networks.iter().any(is_other_ingress) {
        return view.services().map(|service| service.id).collect();
    }
    let mut services = BTreeSet::new();
    services.extend(delta.services.iter().flat_map(Changed::both).map(|service| service.id));
    services.extend(delta.tasks.iter().flat_map(Changed::both).map(|task| task.service));
    let nodes: Vec<_> = delta.nodes.iter().filter(|node| matters(node)).collect();
    if !nodes.is_empty() {
        services.extend(view.global_services().map(|service| service.id));
    }
    for node in nodes.into_iter().filter_map(|node| node.both().next()) {
        services.extend(view.tasks_of_node(node.id).map(|task| task.service));
    }
    let secrets = delta.secrets.iter().flat_map(Changed::both).map(|secret| ObjectRef::Secret(secret.id));
    let configs = delta.configs.iter().flat_map(Changed::both).map(|config| ObjectRef::Config(config.id));
    for object in secrets.chain(configs) {
        services.extend(view.users(object).map(|service| service.id));
    }
    services
}

/// Which network carries published ports.
fn is_other_ingress(network: &Changed<Network>) -> bool {
    let ingress = |network: &Option<Arc<Network>>| network.as_ref().is_some_and(|network| network.spec.ingress);
    ingress(&network.old) != ingress(&network.new)
}

/// Whether tasks can be on it. Its certificate and its place among the managers are nothing to them.
pub(super) fn matters(node: &Changed<Node>) -> bool {
    let parts = |node: &Option<Arc<Node>>| {
        node.as_ref().map(|node| (node.spec.clone(), node.status.clone(), node.description.clone()))
    };
    parts(&node.old) != parts(&node.new)
}
