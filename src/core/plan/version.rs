//! Whether a task is what its service asks for now.

use crate::model::{ContainerSpec, Node, PortConfig, PublishMode, Service, ServiceSpec, Task, TaskSpec, TaskState};
use crate::scheduler;
use crate::store::View;

/// Ports the tasks of a service bind on their nodes.
pub(super) fn host_ports(spec: &ServiceSpec) -> Vec<PortConfig> {
    spec.endpoint.ports.iter().filter(|port| port.mode == PublishMode::Host).cloned().collect()
}

/// Whether `task` need not be replaced to be what `service` asks for. Not the restart policy, not the
/// credentials the image was pulled with, and not the placement as long as the task's node satisfies it:
/// they take effect without a new container.
pub fn is_current(view: &View, service: &Service, task: &Task) -> bool {
    if task.host_ports != host_ports(&service.spec) {
        return false;
    }
    if lacks_ingress(view, service, task) {
        return false;
    }
    if task.spec_version == service.spec_version {
        return true;
    }
    let node = task.node.and_then(|node| view.node(node)).map(AsRef::as_ref);
    same_container(&service.spec.task, &task.spec) && placement_holds(&service.spec.task, &task.spec, node)
}

/// The service publishes ports and the task has no address for them to lead to.
fn lacks_ingress(view: &View, service: &Service, task: &Task) -> bool {
    let publishes = service.spec.endpoint.ports.iter().any(|port| port.mode == PublishMode::Ingress);
    let Some(ingress) = view.ingress_network().filter(|_| publishes) else {
        return false;
    };
    task.status.state > TaskState::New && !task.attachments.iter().any(|a| a.network == ingress.id)
}

/// All that goes into making the container is the same. Asked of every task several times while an update goes on, and
/// the answer is as a rule in what comes first.
fn same_container(new: &TaskSpec, old: &TaskSpec) -> bool {
    let TaskSpec { container, resources, restart: _, placement: _, networks, log_driver, force_update, at_most_one } =
        new;
    *force_update == old.force_update
        && container.image == old.container.image
        && *resources == old.resources
        && *at_most_one == old.at_most_one
        && *networks == old.networks
        && *log_driver == old.log_driver
        && same_but_for_auth(container, &old.container)
}

fn same_but_for_auth(new: &ContainerSpec, old: &ContainerSpec) -> bool {
    if new.pull_auth == old.pull_auth {
        return new == old;
    }
    *new == ContainerSpec { pull_auth: new.pull_auth.clone(), ..old.clone() }
}

/// A task without a node yet is placed anew when the placement changed.
fn placement_holds(new: &TaskSpec, old: &TaskSpec, node: Option<&Node>) -> bool {
    if new.placement == old.placement {
        return true;
    }
    new.placement.max_replicas_per_node == old.placement.max_replicas_per_node
        && node.is_some_and(|node| scheduler::fits(&new.placement, node))
}
