//! Where a task may be and whether there is room, judged by the words of its spec and by what runs: the scheduler and its
//! books are not asked.

use std::net::IpAddr;
use std::sync::Arc;
use swarm_core::constraint::Constraint;
use swarm_core::model::*;
use swarm_core::store::View;

/// Whether the node is one that the task may be on.
pub fn may_have(node: &Node, task: &Task) -> bool {
    let placement = &task.spec.placement;
    let constraints = Constraint::parse_all(&placement.constraints).unwrap_or_default();
    let platform = |p: &Platform| node.description.as_ref().is_some_and(|d| d.platform == *p);
    node.status.state == NodeState::Ready
        && node.spec.availability == Availability::Active
        && constraints.iter().all(|constraint| constraint.matches(node))
        && (placement.platforms.is_empty() || placement.platforms.iter().any(platform))
}

/// Some node could take this waiting task as it is.
pub fn has_room(view: &View, task: &Task) -> bool {
    let own = task.node;
    view.nodes().filter(|node| own.is_none_or(|own| own == node.id)).any(|node| could_take(view, node, task))
}

fn could_take(view: &View, node: &Node, task: &Task) -> bool {
    let Some(description) = &node.description else { return false };
    let there = || view.tasks_of_node(node.id).filter(|other| other.id != task.id && other.occupies_node());
    let (has, wants) = (&description.resources, &task.spec.resources.reservations);
    let fits = |has: i64, amount: fn(&Resources) -> i64| {
        let held: i64 = there().map(|other| amount(&other.spec.resources.reservations)).sum();
        amount(wants) == 0 || held + amount(wants) <= has
    };
    let of_kind = |(kind, amount): (&String, &i64)| {
        let named = has.named.get(kind).map(|names| names.names.len() as i64);
        let all = named.or_else(|| has.generic.get(kind).copied()).unwrap_or(0);
        let held = |other: &Arc<Task>| other.spec.resources.reservations.generic.get(kind).copied().unwrap_or(0);
        there().map(held).sum::<i64>() + amount <= all
    };
    let most = task.spec.placement.max_replicas_per_node;
    let siblings = || there().filter(|other| other.service == task.service).count() as u64;
    may_have(node, task)
        && fits(has.nano_cpus, |resources| resources.nano_cpus)
        && fits(has.memory_bytes, |resources| resources.memory_bytes)
        && wants.generic.iter().all(of_kind)
        && (most == 0 || siblings() < most)
        && !task.host_ports.iter().any(|port| there().any(|other| binds(other, port)))
}

fn binds(task: &Task, port: &PortConfig) -> bool {
    let all = |ip: Option<IpAddr>| ip.is_none_or(|ip| ip.is_unspecified());
    let meet = |one: Option<IpAddr>, other: Option<IpAddr>| one == other || all(one) || all(other);
    task.host_ports.iter().any(|bound| {
        (bound.protocol, bound.published_port) == (port.protocol, port.published_port)
            && meet(bound.host_ip, port.host_ip)
    })
}
