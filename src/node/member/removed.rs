//! Who is no member, or no manager, any more: managers turn them away, whatever their certificates say, and forget
//! the nodes that were removed.

use crate::gossip::GossipHandle;
use crate::manager::StoreFeed;
use crate::transport::Endpoint;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use swarm_core::NodeId;
use swarm_core::store::View;
use swarm_core::trust::KnownManagers;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Removed nodes that are turned away by name. One forgotten is still refused by all that is asked of managers,
/// because the store does not know it.
const REMOVED_MAX: usize = 4096;
/// For how long a manager that left the group is heard: it waits until the others know, or until it gives up.
const PARTING: Duration = Duration::from_secs(15);

/// Runs until `stop` or until the manager's log has ended. A node counts as removed when an earlier state of the
/// store had it: one that is merely not there yet is on its way in.
pub(super) async fn follow(feed: StoreFeed, endpoint: Endpoint, gossip: GossipHandle, stop: CancellationToken) {
    let mut views = feed.views.clone();
    let mut members = gossip.members();
    let mut known = nodes(&views.borrow_and_update());
    let mut removed = BTreeSet::new();
    let mut managers = Managers::default();
    endpoint.set_managers(managers.see(&feed.view(), Instant::now()));
    loop {
        let parted = managers.next_parted();
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            changed = views.changed() => if changed.is_err() { return },
            changed = members.changed() => if changed.is_err() { return },
            () = sleep_until(parted.unwrap_or_else(Instant::now)), if parted.is_some() => {}
        }
        let view = views.borrow_and_update().clone();
        let before = managers.told.clone();
        let heard = managers.see(&view, Instant::now());
        if managers.told != before {
            endpoint.set_managers(heard);
        }
        let now = nodes(&view);
        let gone: Vec<NodeId> = known.difference(&now).copied().collect();
        if !gone.is_empty() {
            removed.extend(gone);
            while removed.len() > REMOVED_MAX {
                removed.pop_first();
            }
            endpoint.set_removed(removed.clone());
        }
        known = now;
        // Gossip forgets a node only once it is down.
        members.borrow_and_update();
        for node in &removed {
            gossip.forget(*node).await;
        }
    }
}

fn nodes(view: &View) -> BTreeSet<NodeId> {
    view.nodes().map(|node| node.id).collect()
}

/// The managers that are heard.
#[derive(Default)]
struct Managers {
    now: BTreeSet<NodeId>,
    /// No managers any more, heard until then.
    parting: BTreeMap<NodeId, Instant>,
    /// Who was heard when last asked.
    told: Option<BTreeSet<NodeId>>,
}

impl Managers {
    /// Who is heard at `at`, by what `view` says.
    fn see(&mut self, view: &View, at: Instant) -> Option<KnownManagers> {
        let known = KnownManagers::of(view);
        let now = known.as_ref().map(|known| known.nodes.clone()).unwrap_or_default();
        for gone in self.now.difference(&now) {
            self.parting.insert(*gone, at + PARTING);
        }
        self.parting.retain(|node, until| !now.contains(node) && *until > at);
        self.now = now;
        let heard = known.map(|mut known| {
            known.nodes.extend(self.parting.keys());
            known
        });
        self.told = heard.as_ref().map(|heard| heard.nodes.clone());
        heard
    }

    fn next_parted(&self) -> Option<Instant> {
        self.parting.values().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::new_node;
    use swarm_core::model::{Availability, Cluster, ClusterCa, ClusterSpec, NodeRole};
    use swarm_core::store::{Object, Store};
    use swarm_core::{ClusterId, WallTime};

    fn view(roles: &[NodeRole]) -> View {
        let cluster = Cluster::new(ClusterId(1), ClusterSpec::default(), ClusterCa::default());
        let addr = "10.0.0.1".parse().unwrap();
        let node = |(id, role): (u128, &NodeRole)| {
            Object::from(new_node(NodeId(id), *role, Availability::Active, String::new(), addr, WallTime(0)))
        };
        let nodes = (1..).zip(roles).map(node);
        Store::restore(1, nodes.chain([Object::Cluster(cluster.into())])).view()
    }

    fn heard(managers: &mut Managers, roles: &[NodeRole], at: Instant) -> Vec<u128> {
        managers.see(&view(roles), at).unwrap().nodes.iter().map(|node| node.0).collect()
    }

    #[test]
    fn a_manager_that_is_demoted_is_heard_a_little_longer_and_then_no_more() {
        use NodeRole::{Manager, Worker};
        let (mut managers, start) = (Managers::default(), Instant::now());
        assert_eq!(managers.see(&Store::new().view(), start), None, "an empty store knows nobody yet");
        assert_eq!(heard(&mut managers, &[Manager, Manager, Worker], start), [1, 2]);
        assert_eq!(heard(&mut managers, &[Manager, Worker, Manager], start), [1, 2, 3]);
        let parted = managers.next_parted().unwrap();
        assert_eq!(heard(&mut managers, &[Manager, Worker, Manager], parted), [1, 3]);
        assert_eq!(managers.next_parted(), None);
    }
}
