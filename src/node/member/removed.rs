//! Nodes that were removed from the cluster: managers turn them away and forget them.

use crate::gossip::GossipHandle;
use crate::manager::StoreFeed;
use crate::transport::Endpoint;
use std::collections::BTreeSet;
use swarm_core::NodeId;
use swarm_core::store::View;
use tokio_util::sync::CancellationToken;

/// Removed nodes that are turned away by name. One forgotten is still refused by all that is asked of managers,
/// because the store does not know it.
const REMOVED_MAX: usize = 4096;

/// Runs until `stop` or until the manager's log has ended. A node counts as removed when an earlier state of the
/// store had it: one that is merely not there yet is on its way in.
pub(super) async fn follow(feed: StoreFeed, endpoint: Endpoint, gossip: GossipHandle, stop: CancellationToken) {
    let mut views = feed.views.clone();
    let mut members = gossip.members();
    let mut known = nodes(&views.borrow_and_update());
    let mut removed = BTreeSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = views.changed() => if changed.is_err() { return },
            changed = members.changed() => if changed.is_err() { return },
        }
        let now = nodes(&views.borrow_and_update());
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
