//! What the allocator knows of a snapshot: what is held, and who waits.
//!
//! Follows from the snapshot alone, however it got there: by [`Books::of`], or by [`Books::follow`] at the
//! cost of what differs. It is never written to by what is given out: that is seen in the next snapshot.

use super::pool::Pools;
use super::services::is_served;
use crate::model::{Network, NetworkDriver, Service, Task, TaskState};
use crate::store::{Changed, Delta, ObjectRef, View};
use crate::{NetworkId, ServiceId, TaskId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// First made, first served; those of one service made at once by their slot.
type Turn = (u64, ServiceId, u64, TaskId);

fn turn(task: &Task) -> Turn {
    (task.meta.created.index, task.service, task.slot, task.id)
}

fn is_new(task: &Task) -> bool {
    task.status.state == TaskState::New && task.is_wanted()
}

fn lacks_subnet(network: &Network) -> bool {
    network.allocation.is_none() && !network.removing && network.spec.driver == NetworkDriver::Overlay
}

/// What is held and who waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    pub(super) pools: Pools,
    /// Networks without their subnet.
    pub(super) networks: BTreeSet<NetworkId>,
    /// Services whose endpoint does not answer their spec.
    pub(super) services: BTreeSet<ServiceId>,
    /// New tasks, in their turn.
    pub(super) tasks: BTreeMap<Turn, Arc<Task>>,
}

impl Books {
    /// Of a snapshot.
    pub fn of(view: &View) -> Self {
        let mut books = Self::default();
        books.follow(&Delta::between(&View::default(), view), view);
        books
    }

    /// Goes on to `view`, which differs by `delta` from where they were.
    pub fn follow(&mut self, delta: &Delta, view: &View) {
        for service in &delta.services {
            service.old.iter().for_each(|old| self.pools.release_service(old));
            service.new.iter().for_each(|new| self.pools.hold_service(new));
            service.both().take(1).for_each(|service| self.look(view, service.id));
        }
        for task in &delta.tasks {
            if let Some(old) = &task.old {
                self.pools.release_task(old);
                self.tasks.remove(&turn(old));
            }
            if let Some(new) = &task.new {
                self.pools.hold_task(new);
                if is_new(new) {
                    self.tasks.insert(turn(new), Arc::clone(new));
                }
            }
        }
        for network in &delta.networks {
            self.change_network(network, view);
        }
    }

    /// Whether a service is served depends on which networks there are, not on their subnets.
    fn change_network(&mut self, network: &Changed<Network>, view: &View) {
        let Some(id) = network.both().next().map(|network| network.id) else { return };
        match network.new.as_ref().is_some_and(|network| lacks_subnet(network)) {
            true => self.networks.insert(id),
            false => self.networks.remove(&id),
        };
        let kind = |network: &Option<Arc<Network>>| network.as_ref().map(|n| (n.spec.driver, n.spec.ingress));
        if kind(&network.old) == kind(&network.new) {
            return;
        }
        let is_ingress = network.both().any(|network| network.spec.ingress);
        let concerned: Vec<ServiceId> = match is_ingress {
            true => view.services().map(|service| service.id).collect(),
            false => view.users(ObjectRef::Network(id)).map(|service| service.id).collect(),
        };
        concerned.into_iter().for_each(|service| self.look(view, service));
    }

    fn look(&mut self, view: &View, id: ServiceId) {
        let lacks = |service: &Arc<Service>| !service.removing && !is_served(view, service);
        match view.service(id).is_some_and(lacks) {
            true => self.services.insert(id),
            false => self.services.remove(&id),
        };
    }
}
