//! How one change alters a view.

use super::index::{get, name_of, put, references, remove, service_of};
use super::{Change, Conflict, Event, Object, ObjectRef, Precondition, View};
use crate::constraint::Constraint;
use crate::model::*;
use crate::{ConfigId, NetworkId, NodeId, SecretId, ServiceId, Stamp, TaskId};
use std::sync::Arc;

/// Other tasks of its service a new one is compared with: while an update goes on some are of another spec.
const SIBLINGS_MAX: usize = 8;

pub(super) fn check(view: &View, precondition: Precondition) -> Result<(), Conflict> {
    match precondition {
        Precondition::Version(object, expected) => match view.meta(object) {
            Some(meta) if meta.version == expected => Ok(()),
            Some(meta) => Err(Conflict::OutOfSequence { object, expected, found: meta.version }),
            None => Err(not_found(object)),
        },
        Precondition::Present(object) => view.meta(object).map(|_| ()).ok_or_else(|| not_found(object)),
        Precondition::Absent(object) => match view.meta(object) {
            None => Ok(()),
            Some(_) => Err(exists(object)),
        },
        // Looked at with each change, on what those before it made of the state.
        Precondition::Rules(_) => Ok(()),
    }
}

/// Kind and id of an object as people read them.
fn words(object: ObjectRef) -> (&'static str, String) {
    match object {
        ObjectRef::Cluster => ("cluster", String::new()),
        ObjectRef::Node(id) => ("node", id.to_string()),
        ObjectRef::Service(id) => ("service", id.to_string()),
        ObjectRef::Task(id) => ("task", id.to_string()),
        ObjectRef::Network(id) => ("network", id.to_string()),
        ObjectRef::Secret(id) => ("secret", id.to_string()),
        ObjectRef::Config(id) => ("config", id.to_string()),
    }
}

fn not_found(object: ObjectRef) -> Conflict {
    let (kind, id) = words(object);
    Conflict::NotFound { kind, id }
}

fn exists(object: ObjectRef) -> Conflict {
    let (kind, id) = words(object);
    Conflict::Exists { kind, id }
}

/// Applies `change` to `view`, adding to `events` what became of which object.
pub(super) fn change(view: &mut View, stamp: Stamp, change: &Change, events: &mut Vec<Event>) -> Result<(), Conflict> {
    match change {
        Change::Create(object) => create(view, stamp, object, events),
        Change::Replace(object) => replace(view, stamp, object, events),
        Change::Delete(object) => delete(view, *object, events),
        Change::TaskStatus { task, status } => {
            edit_task(view, stamp, *task, events, |task| {
                let regresses = status.state < task.status.state;
                let ended_otherwise = task.status.state.is_terminal() && status.state != task.status.state;
                if !regresses && !ended_otherwise {
                    task.status = status.clone();
                    note_times(task, stamp);
                }
            });
            Ok(())
        }
        Change::TaskDesired { task, desired } => {
            edit_task(view, stamp, *task, events, |task| task.desired = task.desired.max(*desired));
            Ok(())
        }
        Change::TaskAssigned { task, node, message, reason, resources } => {
            // Decided before the node was paused, drained, lost or labelled otherwise: the task waits for another
            // decision.
            if node.is_some_and(|id| !takes(view, id, *task)) {
                return Ok(());
            }
            edit_task(view, stamp, *task, events, |task| {
                if task.status.state == TaskState::Pending && node.is_some() {
                    task.assigned_resources.clone_from(resources);
                }
                assign(task, stamp, *node, message, reason);
            });
            Ok(())
        }
        Change::TaskAllocated { task, attachments, reason } => {
            edit_task(view, stamp, *task, events, |task| allocate(task, stamp, attachments.as_ref(), reason));
            Ok(())
        }
        Change::NodeStatus { node, status } => {
            edit_node(view, stamp, *node, events, |node| node.status = status.clone());
            Ok(())
        }
        Change::NodeDescription { node, description } => {
            edit_node(view, stamp, *node, events, |node| node.description = Some(description.clone()));
            Ok(())
        }
        Change::NodeRaft { node, raft } => {
            edit_node(view, stamp, *node, events, |node| node.raft = *raft);
            Ok(())
        }
        Change::NodeCertificate { node, role } => {
            edit_node(view, stamp, *node, events, |node| node.certificate_role = *role);
            Ok(())
        }
        Change::ServiceEndpoint { service, endpoint } => {
            edit_service(view, stamp, *service, events, |service| service.endpoint = endpoint.clone());
            Ok(())
        }
        Change::ServiceUpdateStatus { service, status } => {
            edit_service(view, stamp, *service, events, |service| {
                if service.spec_version == status.spec_version {
                    // Whoever decided before a promotion does not take it back.
                    let same = service.update_status.as_ref().filter(|old| old.spec_version == status.spec_version);
                    let promoted = status.promoted || same.is_some_and(|old| old.promoted);
                    let mut status = UpdateStatus { promoted, ..status.clone() };
                    stamp_update(&mut status, same, stamp);
                    service.update_status = Some(status);
                }
            });
            Ok(())
        }
        Change::ServiceRollback { service, failed_version, message } => {
            let fails = |found: &&Arc<Service>| found.spec_version == *failed_version && !found.removing;
            let Some(found) = view.service(*service).filter(fails) else { return Ok(()) };
            if let Some(previous) = &found.previous_spec {
                check_task_references(view, &previous.task)?;
            }
            let limit = view.spec_history_limit();
            let now = view.clone();
            edit_service(view, stamp, *service, events, |service| roll_back(&now, service, stamp, limit, message));
            Ok(())
        }
        Change::ServiceScaled { service, spec_written, scaled } => {
            edit_service(view, stamp, *service, events, |service| {
                let asked = service.spec.autoscale.is_some() && !service.removing;
                if asked && service.spec_written.index == *spec_written {
                    service.scaled = Some(scaled.clone());
                }
            });
            Ok(())
        }
        Change::ServiceContents { service, spec_version } => {
            let now = view.clone();
            edit_service(view, stamp, *service, events, |service| {
                if service.spec_version == *spec_version && service.lacks_contents(&now) {
                    take_contents(&now, service, stamp);
                }
            });
            Ok(())
        }
        Change::SecretSpec { secret, spec } => {
            edit_secret(view, stamp, *secret, events, |secret| secret.change(spec.clone()));
            Ok(())
        }
        Change::ConfigSpec { config, spec } => {
            edit_config(view, stamp, *config, events, |config| config.change(spec.clone()));
            Ok(())
        }
        Change::ContentDropped { content, version } => {
            drop_content(view, stamp, *content, *version, events);
            Ok(())
        }
        Change::NetworkAllocated { network, allocation, reason } => {
            edit_network(view, stamp, *network, events, |network| {
                if allocation.is_some() {
                    network.allocation.clone_from(allocation);
                }
                network.pending_reason.clone_from(reason);
            });
            Ok(())
        }
    }
}

/// What can change of a node while a decision is on its way, and is not the leader's to write.
fn takes(view: &View, node: NodeId, task: TaskId) -> bool {
    let Some(node) = view.node(node) else { return false };
    let Some(task) = view.task(task) else { return true };
    let constraints = Constraint::parse_all(&task.spec.placement.constraints).unwrap_or_default();
    node.spec.availability == Availability::Active
        && node.status.state == NodeState::Ready
        && constraints.iter().all(|constraint| constraint.matches(node))
}

/// Keeps when a task came up and when it ended, each once.
fn note_times(task: &mut Task, stamp: Stamp) {
    if task.is_up() && task.up_since.is_none() {
        task.up_since = Some(stamp.wall);
    }
    if task.status.state.is_terminal() && task.ended.is_none() {
        task.ended = Some(stamp.wall);
        task.ended_index = stamp.index;
    }
}

/// Gives an update that starts now its place in the log; one that goes on keeps it, whatever its writer knew of it.
fn stamp_update(status: &mut UpdateStatus, old: Option<&UpdateStatus>, stamp: Stamp) {
    let same = old.filter(|old| (old.spec_version, old.started) == (status.spec_version, status.started));
    status.started_index = same.map_or(stamp.index, |old| old.started_index);
}

fn roll_back(view: &View, service: &mut Service, stamp: Stamp, history_limit: u32, message: &str) {
    let Some(previous) = service.previous_spec.take() else { return };
    let left = Arc::clone(&service.spec);
    service.put_spec(previous, history_limit);
    service.hold_contents(view, &left);
    std::mem::swap(&mut service.spec_version, &mut service.previous_spec_version);
    service.spec_written = stamp;
    let status = UpdateStatus::rolling_back(service.spec_version, stamp.wall, message);
    service.update_status = Some(UpdateStatus { started_index: stamp.index, ..status });
}

/// An update to the contents that the service should have.
fn take_contents(view: &View, service: &mut Service, stamp: Stamp) {
    let fresh = view.fresh_spec_version(service);
    // What an update is still bringing in was never found good: going back leads before it.
    let status = service.update_status.as_ref().filter(|status| status.spec_version == service.spec_version);
    if status.is_none_or(|status| status.completed.is_some()) {
        service.previous_spec = Some(Arc::clone(&service.spec));
        service.previous_spec_version = service.spec_version;
    }
    let mut spec = (*service.spec).clone();
    for (content, version) in spec.task.container.contents_mut() {
        *version = service.content_wanted(view, content, *version);
    }
    // Canaries are of the update they were given with.
    if let Some(update) = &mut spec.update {
        (update.canary, update.canary_promote_after) = (0, None);
    }
    service.put_spec(Arc::new(spec), view.spec_history_limit());
    service.spec_version = fresh;
    service.spec_written = stamp;
    // The leader begins it.
    service.update_status = None;
}

fn drop_content(view: &mut View, stamp: Stamp, content: ContentId, version: u64, events: &mut Vec<Event>) {
    let object = match content {
        ContentId::Secret(id) => ObjectRef::Secret(id),
        ContentId::Config(id) => ObjectRef::Config(id),
    };
    let used = |service: &Service| service.spec.task.container.contents().any(|used| used == (content, version));
    if view.users(object).any(|service| used(service)) {
        return;
    }
    match content {
        ContentId::Secret(id) => {
            edit_secret(view, stamp, id, events, |secret| secret.older.retain(|older| older.version != version));
        }
        ContentId::Config(id) => {
            edit_config(view, stamp, id, events, |config| config.older.retain(|older| older.version != version));
        }
    }
}

fn assign(task: &mut Task, stamp: Stamp, node: Option<crate::NodeId>, message: &str, reason: &str) {
    if task.status.state != TaskState::Pending {
        return;
    }
    if let Some(node) = node {
        task.node = Some(node);
        task.status.state = TaskState::Assigned;
        task.status.timestamp = stamp.wall;
    }
    task.status.message = message.to_owned();
    task.status.err = reason.to_owned();
}

fn allocate(task: &mut Task, stamp: Stamp, attachments: Option<&Vec<TaskAttachment>>, reason: &str) {
    if task.status.state != TaskState::New {
        return;
    }
    if let Some(attachments) = attachments {
        task.attachments.clone_from(attachments);
        task.status.state = TaskState::Pending;
        task.status.timestamp = stamp.wall;
        task.status.message = "pending task scheduling".to_owned();
    }
    task.status.err = reason.to_owned();
}

macro_rules! edit {
    ($edit:ident, $all:ident, $id:ty, $object:ident) => {
        /// Edits a copy; an edit that changes nothing writes nothing.
        fn $edit(view: &mut View, stamp: Stamp, id: $id, events: &mut Vec<Event>, edit: impl FnOnce(&mut $object)) {
            let Some(old) = view.$all.get(&id).cloned() else {
                return;
            };
            let mut new = (*old).clone();
            edit(&mut new);
            if new == *old {
                return;
            }
            new.meta.version = stamp.index;
            new.meta.updated = stamp;
            let (old, new) = (Object::$object(old), Object::$object(Arc::new(new)));
            put(view, new.clone(), Some(&old));
            events.push(Event::Updated { old, new });
        }
    };
}

edit!(edit_task, tasks, crate::TaskId, Task);
edit!(edit_node, nodes, crate::NodeId, Node);
edit!(edit_service, services, ServiceId, Service);
edit!(edit_network, networks, NetworkId, Network);
edit!(edit_secret, secrets, SecretId, Secret);
edit!(edit_config, configs, ConfigId, Config);

fn create(view: &mut View, stamp: Stamp, object: &Object, events: &mut Vec<Event>) -> Result<(), Conflict> {
    let reference = object.object_ref();
    if view.meta(reference).is_some() {
        return Err(exists(reference));
    }
    check_name(view, object)?;
    check_references(view, object)?;
    let mut object = stamped(object, None, Meta { version: stamp.index, created: stamp, updated: stamp });
    if let Object::Task(task) = &mut object {
        let siblings = view.tasks_of_service(task.service).rev().take(SIBLINGS_MAX);
        if let Some(sibling) = siblings.into_iter().find(|sibling| sibling.spec_version == task.spec_version) {
            share_spec(task, &sibling.spec);
        }
    }
    put(view, object.clone(), None);
    events.push(Event::Created(object));
    Ok(())
}

/// Tasks made from one spec hold it once: log and snapshot bring each its own copy.
pub(super) fn share_spec(task: &mut Arc<Task>, spec: &Arc<TaskSpec>) {
    if !Arc::ptr_eq(&task.spec, spec) && task.spec == *spec {
        Arc::make_mut(task).spec = Arc::clone(spec);
    }
}

fn replace(view: &mut View, stamp: Stamp, object: &Object, events: &mut Vec<Event>) -> Result<(), Conflict> {
    let reference = object.object_ref();
    let Some(old) = get(view, reference) else {
        return Err(not_found(reference));
    };
    check_name(view, object)?;
    check_references(view, object)?;
    if let Object::Network(network) = object
        && network.removing
    {
        check_no_service(view, &old)?;
    }
    let object =
        stamped(object, Some(&old), Meta { version: stamp.index, created: old.meta().created, updated: stamp });
    put(view, object.clone(), Some(&old));
    events.push(Event::Updated { old, new: object });
    Ok(())
}

fn delete(view: &mut View, reference: ObjectRef, events: &mut Vec<Event>) -> Result<(), Conflict> {
    let Some(object) = get(view, reference) else {
        return Ok(());
    };
    check_unused(view, &object)?;
    remove(view, &object);
    events.push(Event::Removed(object));
    Ok(())
}

fn stamped(object: &Object, old: Option<&Object>, meta: Meta) -> Object {
    macro_rules! with_meta {
        ($variant:ident, $object:expr) => {{
            let mut object = (**$object).clone();
            object.meta = meta;
            Object::$variant(Arc::new(object))
        }};
    }
    match object {
        Object::Cluster(o) => with_meta!(Cluster, o),
        Object::Node(o) => with_meta!(Node, o),
        Object::Service(o) => {
            let mut service = (**o).clone();
            service.meta = meta;
            // A spec written now gets its place in the log; an untouched one keeps it.
            if service.spec_written.index == 0 {
                service.spec_written = meta.updated;
            }
            let old = service_of(old).and_then(|old| old.update_status.as_ref());
            if let Some(status) = &mut service.update_status {
                stamp_update(status, old, meta.updated);
            }
            Object::Service(Arc::new(service))
        }
        Object::Task(o) => with_meta!(Task, o),
        Object::Network(o) => with_meta!(Network, o),
        Object::Secret(o) => with_meta!(Secret, o),
        Object::Config(o) => with_meta!(Config, o),
    }
}

fn check_name(view: &View, object: &Object) -> Result<(), Conflict> {
    let Some((named, kind, name, id)) = name_of(object) else {
        return Ok(());
    };
    match view.names.get(&(named, name.to_owned())) {
        Some(owner) if *owner != id => Err(Conflict::NameTaken { kind, name: name.to_owned() }),
        Some(_) | None => Ok(()),
    }
}

/// A service may only be written while what it refers to is there; so it can't vanish in between.
fn check_references(view: &View, object: &Object) -> Result<(), Conflict> {
    match object {
        Object::Service(service) if service.removing => {
            references(&service.spec.task).try_for_each(|reference| check(view, Precondition::Present(reference)))
        }
        Object::Service(service) => check_task_references(view, &service.spec.task),
        Object::Cluster(_)
        | Object::Node(_)
        | Object::Task(_)
        | Object::Network(_)
        | Object::Secret(_)
        | Object::Config(_) => Ok(()),
    }
}

fn check_task_references(view: &View, task: &TaskSpec) -> Result<(), Conflict> {
    for reference in references(task) {
        check(view, Precondition::Present(reference))?;
        if let ObjectRef::Network(id) = reference
            && view.network(id).is_some_and(|network| network.removing)
        {
            return Err(not_found(reference));
        }
    }
    match task.container.contents().find(|(content, version)| !view.has_content(*content, *version)) {
        // Dropped since whoever wrote this looked.
        Some((content, version)) => Err(Conflict::NotFound { kind: "content", id: format!("{version} of {content}") }),
        None => Ok(()),
    }
}

fn check_unused(view: &View, object: &Object) -> Result<(), Conflict> {
    if let Object::Network(network) = object
        && let Some(task) = view.tasks_on_network(network.id).next()
    {
        let user = format!("task {}", task.id);
        return Err(Conflict::InUse { kind: "network", name: network.spec.name.clone(), user });
    }
    check_no_service(view, object)
}

fn check_no_service(view: &View, object: &Object) -> Result<(), Conflict> {
    match (view.users(object.object_ref()).next(), name_of(object)) {
        (Some(service), Some((_, kind, name, _))) => {
            let user = format!("service {}", service.spec.name);
            Err(Conflict::InUse { kind, name: name.to_owned(), user })
        }
        (Some(_) | None, _) => Ok(()),
    }
}
