//! The leader's care for the group of managers (`node::manager::members`, `keys`): learners become voters, managers
//! that were demoted leave, and the store says who is in it.

use crate::leader::TermWake;
use crate::manager::{ChangeFor, ManagerWake, Waiter};
use crate::net::HostId;
use crate::settings::MS;
use crate::table::Source;
use crate::world::World;
use std::collections::BTreeMap;
use swarm_core::consensus::{Change as MemberChange, MemberStatus};
use swarm_core::model::{NodeRole, RaftMember};
use swarm_core::store::{Change, Txn, View};
use swarm_core::trust::continue_gossip_rotation;

/// Between looks.
const LOOK_US: u64 = 250 * MS;

/// Changes of members under way: by raft id, whether it is a promotion.
#[derive(Debug, Default)]
pub struct Members {
    changing: BTreeMap<u64, bool>,
}

fn is_wanted(view: &View, member: &MemberStatus) -> bool {
    view.node(member.node).is_some_and(|node| node.spec.role == NodeRole::Manager)
}

impl World {
    pub fn look_at_members(&mut self, host: HostId, number: u64) {
        let Some(manager) = self.manager(host) else { return };
        let (view, members) = (manager.store.view(), manager.consensus.status().members);
        let mut asks = Vec::new();
        let Some(term) = self.term(host, number) else { return };
        for member in &members {
            let wanted = is_wanted(&view, member);
            // A promotion that is waited for ends when the node is not to be a manager any more.
            if !wanted && term.members.changing.get(&member.raft_id) == Some(&true) {
                term.members.changing.remove(&member.raft_id);
            }
            if (!wanted || !member.voter) && !term.members.changing.contains_key(&member.raft_id) {
                term.members.changing.insert(member.raft_id, wanted);
                let raft_id = member.raft_id;
                asks.push(match wanted {
                    true => MemberChange::Promote { raft_id },
                    false => MemberChange::Remove { raft_id },
                });
            }
        }
        for change in asks {
            self.change(host, change, ChangeFor::Member { term: number, raft_id: change.raft_id() });
        }
        self.correct(host, number, &view, &members);
    }

    pub fn member_changed(&mut self, host: HostId, number: u64, raft_id: u64) {
        if let Some(term) = self.term(host, number) {
            term.members.changing.remove(&raft_id);
        }
    }

    /// Writes into the nodes what the group is, and takes the next step of a change of keys.
    fn correct(&mut self, host: HostId, number: u64, view: &View, members: &[MemberStatus]) {
        let wall = self.leader_wall(host);
        let changes: Vec<Change> = view
            .nodes()
            .filter_map(|node| {
                let member = members.iter().find(|member| member.node == node.id);
                let raft = member.map(|member| RaftMember { raft_id: member.raft_id, voter: member.voter });
                (node.raft != raft).then_some(Change::NodeRaft { node: node.id, raft })
            })
            .collect();
        let txn = if !changes.is_empty() {
            Txn { wall, changes, ..Txn::default() }
        } else if let Some((precondition, change)) = continue_gossip_rotation(view, wall) {
            Txn { wall, preconditions: vec![precondition], changes: vec![change], ..Txn::default() }
        } else {
            self.look_later(host, number);
            return;
        };
        self.propose_in_term(host, number, txn, Source::Members, Waiter::Correct { term: number });
    }

    /// However the write ended.
    pub fn corrected(&mut self, host: HostId, number: u64) {
        self.look_later(host, number);
    }

    fn look_later(&mut self, host: HostId, number: u64) {
        self.wake_manager(host, LOOK_US, ManagerWake::Term { term: number, wake: TermWake::Members });
    }
}
