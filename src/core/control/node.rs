//! Update and remove nodes.

use super::{Refusal, check_version, txn};
use crate::model::*;
use crate::spec;
use crate::store::{Change, Object, ObjectRef, Precondition, Txn, View, fits};
use crate::trust::begin_gossip_rotation;
use crate::{NodeId, Sensitive, WallTime};
use std::sync::Arc;

fn find(view: &View, id: NodeId) -> Result<&Arc<Node>, Refusal> {
    view.node(id).ok_or_else(|| Refusal::NotFound(format!("node {id} not found")))
}

/// Replaces what users may set of a node. A demotion is refused when the managers left would have no quorum.
pub fn update_node(view: &View, id: NodeId, version: u64, spec: NodeSpec, now: WallTime) -> Result<Txn, Refusal> {
    let old = find(view, id)?;
    check_version(version, old.meta.version)?;
    spec::node(&spec)?;
    fits::node(view, &spec, id)?;
    let mut preconditions = vec![Precondition::Version(ObjectRef::Node(id), version)];
    if old.spec.role == NodeRole::Manager && spec.role == NodeRole::Worker {
        check_demotion(view, old, |_| true)?;
        // Two managers demoted at once by two users must not both pass on the same snapshot.
        let others = managers(view).filter(|node| node.id != id);
        preconditions.extend(others.map(|node| Precondition::Version(ObjectRef::Node(node.id), node.meta.version)));
    }
    let new = Node { spec, ..(**old).clone() };
    Ok(txn(now, preconditions, vec![Change::Replace(Object::from(new))]))
}

fn managers(view: &View) -> impl Iterator<Item = &Arc<Node>> {
    view.nodes().filter(|node| node.spec.role == NodeRole::Manager)
}

/// Whether the managers left without `node` would have a quorum. The store learns of a death some seconds late, so
/// whoever can ask them now gives `answers`.
pub fn check_demotion(view: &View, node: &Node, answers: impl Fn(NodeId) -> bool) -> Result<(), Refusal> {
    let left: Vec<_> = managers(view).filter(|other| other.id != node.id).collect();
    if left.is_empty() {
        return Err(Refusal::NotNow("attempting to demote the last manager of the swarm".to_owned()));
    }
    // A manager on its way in has no vote yet.
    let voters: Vec<_> = left.iter().filter(|other| other.raft.is_some_and(|raft| raft.voter)).collect();
    let there = |other: &&&&Arc<Node>| other.status.state == NodeState::Ready && answers(other.id);
    let reachable = voters.iter().filter(there).count();
    if reachable < voters.len() / 2 + 1 {
        return Err(Refusal::NotNow(format!(
            "can't demote node {}: only {reachable} of the {} managers left are reachable, which would be a loss of quorum",
            node.display_name(),
            voters.len()
        )));
    }
    Ok(())
}

/// Forgets a node: one that is down, or any worker with `force`. It knows the gossip keys; `key`, random, is the next.
pub fn remove_node(
    view: &View,
    id: NodeId,
    force: bool,
    key: Sensitive<[u8; 32]>,
    now: WallTime,
) -> Result<Txn, Refusal> {
    let node = find(view, id)?;
    let name = node.display_name();
    if node.spec.role == NodeRole::Manager || node.raft.is_some() {
        return Err(Refusal::NotNow(format!(
            "node {name} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal"
        )));
    }
    if !force && node.status.state == NodeState::Ready {
        return Err(Refusal::NotNow(format!("node {name} is not down and can't be removed")));
    }
    let object = ObjectRef::Node(id);
    let mut removal = txn(now, vec![Precondition::Version(object, node.meta.version)], vec![Change::Delete(object)]);
    if let Some((precondition, rotation)) = begin_gossip_rotation(view, key) {
        removal.preconditions.push(precondition);
        removal.changes.push(rotation);
    }
    Ok(removal)
}
