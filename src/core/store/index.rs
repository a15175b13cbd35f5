//! The tables and what is looked up in them otherwise than by id.
//!
//! A write touches the index entries that it changes and no others, so that its cost does not depend on
//! how many objects there are.

use super::view::Named;
use super::{Object, ObjectRef, View};
use crate::model::*;
use crate::{NetworkId, TaskId};
use imbl::{OrdMap, OrdSet};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The object as it is now.
pub(super) fn get(view: &View, reference: ObjectRef) -> Option<Object> {
    match reference {
        ObjectRef::Cluster => view.cluster.clone().map(Object::Cluster),
        ObjectRef::Node(id) => view.node(id).cloned().map(Object::Node),
        ObjectRef::Service(id) => view.service(id).cloned().map(Object::Service),
        ObjectRef::Task(id) => view.task(id).cloned().map(Object::Task),
        ObjectRef::Network(id) => view.network(id).cloned().map(Object::Network),
        ObjectRef::Secret(id) => view.secret(id).cloned().map(Object::Secret),
        ObjectRef::Config(id) => view.config(id).cloned().map(Object::Config),
    }
}

/// Puts an object as it is in the place of `old`, which is what is there now.
pub(super) fn put(view: &mut View, object: Object, old: Option<&Object>) {
    reindex(view, old, Some(&object));
    match object {
        Object::Cluster(o) => view.cluster = Some(o),
        Object::Node(o) => drop(view.nodes.insert(o.id, o)),
        Object::Service(o) => drop(view.services.insert(o.id, o)),
        Object::Task(o) => drop(view.tasks.insert(o.id, o)),
        Object::Network(o) => drop(view.networks.insert(o.id, o)),
        Object::Secret(o) => drop(view.secrets.insert(o.id, o)),
        Object::Config(o) => drop(view.configs.insert(o.id, o)),
    }
}

/// Takes away what is there.
pub(super) fn remove(view: &mut View, object: &Object) {
    reindex(view, Some(object), None);
    match object {
        Object::Cluster(_) => view.cluster = None,
        Object::Node(o) => drop(view.nodes.remove(&o.id)),
        Object::Service(o) => drop(view.services.remove(&o.id)),
        Object::Task(o) => drop(view.tasks.remove(&o.id)),
        Object::Network(o) => drop(view.networks.remove(&o.id)),
        Object::Secret(o) => drop(view.secrets.remove(&o.id)),
        Object::Config(o) => drop(view.configs.remove(&o.id)),
    }
}

/// Kind, name and id of objects whose names are unique. A service or network that is being removed gave its name back:
/// the next one of that name need not wait until its tasks have ended.
pub(super) fn name_of(object: &Object) -> Option<(Named, &'static str, &str, u128)> {
    match object {
        Object::Service(o) if o.removing => None,
        Object::Service(o) => Some((Named::Service, "service", &o.spec.name, o.id.0)),
        Object::Network(o) if o.removing => None,
        Object::Network(o) => Some((Named::Network, "network", &o.spec.name, o.id.0)),
        Object::Secret(o) => Some((Named::Secret, "secret", &o.spec.name, o.id.0)),
        Object::Config(o) => Some((Named::Config, "config", &o.spec.name, o.id.0)),
        Object::Cluster(_) | Object::Node(_) | Object::Task(_) => None,
    }
}

/// What a service keeps from being removed, itself not being removed.
pub(super) fn uses(service: &Service) -> BTreeSet<ObjectRef> {
    if service.removing {
        return BTreeSet::new();
    }
    references(&service.spec.task).collect()
}

/// What a spec names.
pub(super) fn references(spec: &TaskSpec) -> impl Iterator<Item = ObjectRef> {
    let networks = spec.networks.iter().map(|n| ObjectRef::Network(n.target));
    let secrets = spec.container.secrets.iter().map(|s| ObjectRef::Secret(s.id));
    let configs = spec.container.configs.iter().map(|c| ObjectRef::Config(c.id));
    networks.chain(secrets).chain(configs)
}

/// Ports a service publishes or is to publish.
fn ports(service: &Service) -> BTreeSet<(Protocol, u16)> {
    let all = service.spec.endpoint.ports.iter().chain(&service.endpoint.ports);
    all.filter(|port| port.published_port != 0).map(|port| (port.protocol, port.published_port)).collect()
}

fn is_global(service: &Service) -> bool {
    match service.spec.mode {
        ServiceMode::Global | ServiceMode::GlobalJob => true,
        ServiceMode::Replicated { .. } | ServiceMode::ReplicatedJob { .. } => false,
    }
}

/// Networks a task has addresses of.
fn attached(task: &Task) -> impl Iterator<Item = NetworkId> {
    let lives = !task.status.state.is_terminal();
    task.attachments.iter().filter(move |_| lives).map(|attachment| attachment.network)
}

/// Moves the index entries of an object from what it was to what it will be.
fn reindex(view: &mut View, old: Option<&Object>, new: Option<&Object>) {
    rename(view, old, new);
    let (was, is) = (task_of(old), task_of(new));
    if let Some(id) = was.or(is).map(|task| task.id) {
        reindex_task(view, was, is, id);
    }
    reindex_service(view, service_of(old), service_of(new));
    let ingress = |object: Option<&Object>| network_of(object).filter(|n| n.spec.ingress).map(|n| n.id);
    if ingress(old) != ingress(new) {
        ingress(old).map(|id| view.ingress.remove(&id));
        ingress(new).map(|id| view.ingress.insert(id));
    }
}

macro_rules! as_kind {
    ($of:ident, $kind:ident, $($other:ident)|+) => {
        pub(super) fn $of(object: Option<&Object>) -> Option<&Arc<$kind>> {
            match object? {
                Object::$kind(object) => Some(object),
                $(Object::$other(_))|+ => None,
            }
        }
    };
}

as_kind!(task_of, Task, Cluster | Node | Service | Network | Secret | Config);
as_kind!(service_of, Service, Cluster | Node | Task | Network | Secret | Config);
as_kind!(network_of, Network, Cluster | Node | Service | Task | Secret | Config);

fn rename(view: &mut View, old: Option<&Object>, new: Option<&Object>) {
    let (was, is) = (old.and_then(name_of), new.and_then(name_of));
    if was == is {
        return;
    }
    if let Some((named, _, name, _)) = was {
        view.names.remove(&(named, name.to_owned()));
    }
    if let Some((named, _, name, id)) = is {
        view.names.insert((named, name.to_owned()), id);
    }
}

fn reindex_task(view: &mut View, old: Option<&Arc<Task>>, new: Option<&Arc<Task>>, id: TaskId) {
    shift(&mut view.tasks_by_service, old.map(|task| task.service), new.map(|task| task.service), id);
    shift(&mut view.tasks_by_node, old.and_then(|task| task.node), new.and_then(|task| task.node), id);
    let networks = |task: Option<&Arc<Task>>| task.into_iter().flat_map(|task| attached(task)).collect::<Vec<_>>();
    let (was, is) = (networks(old), networks(new));
    if was != is {
        was.into_iter().for_each(|network| shift(&mut view.tasks_by_network, Some(network), None, id));
        is.into_iter().for_each(|network| shift(&mut view.tasks_by_network, None, Some(network), id));
    }
}

fn reindex_service(view: &mut View, old: Option<&Arc<Service>>, new: Option<&Arc<Service>>) {
    let all = |service: Option<&Arc<Service>>| service.map(|s| (s.id, uses(s), ports(s)));
    let (was, is) = (all(old), all(new));
    let global =
        |service: Option<&Arc<Service>>| service.filter(|service| is_global(service)).map(|service| service.id);
    if global(old) != global(new) {
        global(old).map(|id| view.global_services.remove(&id));
        global(new).map(|id| view.global_services.insert(id));
    }
    if was == is {
        return;
    }
    if let Some((id, uses, ports)) = was {
        uses.into_iter().for_each(|object| shift(&mut view.users, Some(object), None, id));
        ports.into_iter().for_each(|port| shift(&mut view.services_by_port, Some(port), None, id));
    }
    if let Some((id, uses, ports)) = is {
        uses.into_iter().for_each(|object| shift(&mut view.users, None, Some(object), id));
        ports.into_iter().for_each(|port| shift(&mut view.services_by_port, None, Some(port), id));
    }
}

/// Moves one entry of an index from one key to another.
fn shift<K: Ord + Copy, V: Ord + Copy>(index: &mut OrdMap<K, OrdSet<V>>, old: Option<K>, new: Option<K>, value: V) {
    if old == new {
        return;
    }
    if let Some(key) = old
        && let Some(values) = index.get_mut(&key)
    {
        values.remove(&value);
        if values.is_empty() {
            index.remove(&key);
        }
    }
    if let Some(key) = new {
        index.entry(key).or_default().insert(value);
    }
}
