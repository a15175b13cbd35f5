//! A node follows the role the cluster wants of it: certificate, manager, and the way out of the group
//! (`node::member`).

use crate::call::{Answer, Reply, Request, Then};
use crate::manager::{ChangeFor, ManagerWake};
use crate::net::HostId;
use crate::settings::SECOND;
use crate::stream::Info;
use crate::world::{Wake, World};
use std::collections::BTreeSet;
use swarm_core::NodeId;
use swarm_core::consensus::Change;
use swarm_core::model::NodeRole;

/// After the leader has taken this manager out of the group, until it goes.
const LINGER_US: u64 = 2 * SECOND;
/// Between attempts to follow.
const RETRY_US: u64 = SECOND;
/// A manager that failed is started again after this.
const MANAGER_RETRY_US: u64 = 2 * SECOND;

/// How far a daemon is with the role it should have.
#[derive(Debug)]
pub struct Role {
    pub wanted: NodeRole,
    /// Managers by the leader's last word.
    listed: Option<BTreeSet<NodeId>>,
    unlisted_since: Option<u64>,
    asking: bool,
    retry: bool,
}

impl Role {
    pub fn new(certificate: NodeRole) -> Self {
        Self { wanted: certificate, listed: None, unlisted_since: None, asking: false, retry: false }
    }
}

impl World {
    /// The leader's word on the cluster.
    pub fn cluster_told(&mut self, host: HostId, info: &Info) {
        let Some(daemon) = self.daemon(host) else { return };
        let managers: BTreeSet<NodeId> = info.managers.iter().copied().collect();
        if !managers.is_empty() {
            daemon.book.managers = managers.clone();
        }
        daemon.role.wanted = info.role;
        daemon.role.listed = Some(managers);
        self.follow(host);
    }

    fn follow_later(&mut self, host: HostId, after: u64) {
        let Some(daemon) = self.daemon(host) else { return };
        if !std::mem::replace(&mut daemon.role.retry, true) {
            self.wake(host, after, Wake::Follow);
        }
    }

    /// Brings certificate and manager to the role wanted.
    pub fn follow(&mut self, host: HostId) {
        let (certificate, joined, own) = (self.hosts[host].certificate, self.hosts[host].joined, self.hosts[host].node);
        let now = self.now;
        let Some(daemon) = self.daemon(host) else { return };
        daemon.role.retry = false;
        if daemon.role.asking {
            return;
        }
        let manages = daemon.manager.is_some();
        if daemon.role.wanted == NodeRole::Worker && manages {
            // It votes and is heard until the leader has taken it out, and some time longer.
            let listed = daemon.role.listed.as_ref().is_none_or(|managers| managers.contains(&own));
            if listed {
                daemon.role.unlisted_since = None;
                return;
            }
            let since = *daemon.role.unlisted_since.get_or_insert(now);
            if now - since < LINGER_US {
                self.follow_later(host, RETRY_US);
                return;
            }
            self.note(&format!("h{host} is no manager any more"));
            self.end_manager(host);
            self.forget_manager(host);
            self.follow(host);
            return;
        }
        if certificate != daemon.role.wanted {
            self.ask_manager(host, Request::Renew, Then::Renew);
        } else if certificate == NodeRole::Manager && !manages {
            if joined {
                self.start_manager(host);
            } else {
                let raft_id = self.number() << 8 | 1;
                let here = &mut self.hosts[host];
                here.raft_id = Some(raft_id);
                here.disk.wipe();
                self.ask_manager(host, Request::JoinRaft { raft_id }, Then::Join);
            }
        }
    }

    fn ask_manager(&mut self, host: HostId, request: Request, then: Then) {
        let own = self.hosts[host].node;
        let Some(daemon) = self.daemon(host) else { return };
        let managers = daemon.book.in_order();
        let others: Vec<NodeId> = managers.into_iter().filter(|node| *node != own).collect();
        // The likeliest first; a wrong guess is put right by the answer.
        let skip = if self.chance(60) { 0 } else { self.draw(0, others.len() as u64) as usize };
        let Some(to) = others.get(skip).and_then(|node| self.nodes.get(node).copied()) else {
            self.follow_later(host, RETRY_US);
            return;
        };
        if let Some(daemon) = self.daemon(host) {
            daemon.role.asking = true;
        }
        self.call(host, to, request, then);
    }

    pub fn renewed(&mut self, host: HostId, answer: &Answer) {
        let Some(daemon) = self.daemon(host) else { return };
        daemon.role.asking = false;
        if let Answer::Reply(Reply::Renewed { manager }) = answer {
            self.hosts[host].certificate = if *manager { NodeRole::Manager } else { NodeRole::Worker };
            self.gossip_role(host);
            let again = self.daemon(host).is_some_and(|daemon| {
                daemon.role.wanted == NodeRole::Manager && *manager
                    || daemon.role.wanted == NodeRole::Worker && !manager
            });
            if again {
                self.follow(host);
                return;
            }
        }
        self.follow_later(host, RETRY_US);
    }

    pub fn joined(&mut self, host: HostId, answer: &Answer) {
        let own = self.hosts[host].node;
        let Some(daemon) = self.daemon(host) else { return };
        daemon.role.asking = false;
        match answer {
            Answer::Reply(Reply::Joined { members }) => {
                daemon.book.managers.extend(members.iter().copied());
                daemon.book.managers.insert(own);
                self.hosts[host].joined = true;
                self.note(&format!("h{host} is a manager now"));
                self.start_manager(host);
            }
            Answer::Reply(Reply::NotLeader { leader: Some(leader) }) => {
                daemon.book.set_leader(*leader);
                self.follow_later(host, RETRY_US / 4);
            }
            Answer::Reply(_) | Answer::NotCarriedOut | Answer::Lost => self.follow_later(host, RETRY_US),
        }
    }

    /// The log of its manager is worth nothing any more: a later promotion begins with an empty one.
    pub fn forget_manager(&mut self, host: HostId) {
        let here = &mut self.hosts[host];
        here.disk.wipe();
        (here.raft_id, here.joined) = (None, false);
        if let Some(daemon) = &mut here.daemon {
            daemon.role.unlisted_since = None;
        }
    }

    /// Its manager ended by itself.
    pub fn manager_ended(&mut self, host: HostId, removed: bool) {
        self.end_manager(host);
        if removed {
            self.note(&format!("h{host} was removed from the managers"));
            self.forget_manager(host);
            self.follow_later(host, RETRY_US);
        } else {
            self.follow_later(host, MANAGER_RETRY_US);
        }
    }

    /// What a manager is asked by other nodes.
    pub fn requested(&mut self, host: HostId, call: u64, request: Request) {
        let Some(from) = self.calls.get(&call).map(|call| self.hosts[call.from].node) else { return };
        if self.manager(host).is_none() {
            return;
        }
        match request {
            Request::Submit { txn, source } => self.submit_for_other(host, call, from, &txn, source),
            Request::Renew => {
                // Linearizable in the daemon; here the answer comes from what this manager has applied, and a node
                // that got the role of before asks again when it is told of the new one.
                let role = self
                    .manager(host)
                    .and_then(|m| m.store.view().node(from).map(|node| (node.spec.role, node.certificate_role)));
                let Some((role, certified)) = role else {
                    self.reply(call, Reply::Failed);
                    return;
                };
                if role != certified {
                    self.certify(host, from, role);
                }
                self.reply(call, Reply::Renewed { manager: role == NodeRole::Manager });
            }
            Request::JoinRaft { raft_id } => self.join_asked(host, call, from, raft_id),
        }
    }

    fn join_asked(&mut self, host: HostId, call: u64, from: NodeId, raft_id: u64) {
        let Some(manager) = self.manager(host) else { return };
        if manager.term.is_none() {
            let leader = manager.role.leader;
            self.reply(call, Reply::NotLeader { leader });
            return;
        }
        let wanted = manager.store.view().node(from).is_some_and(|node| node.spec.role == NodeRole::Manager);
        if !wanted {
            self.reply(call, Reply::Failed);
            return;
        }
        match manager.consensus.members().raft_id(from) {
            Some(earlier) if earlier == raft_id => self.join_done(host, call),
            // An earlier membership of this node is void: its log is gone.
            Some(earlier) => {
                let waiter = ChangeFor::Replace { call, node: from, raft_id };
                self.change(host, Change::Remove { raft_id: earlier }, waiter);
            }
            None => self.change(host, Change::AddLearner { raft_id, node: from }, ChangeFor::Join { call }),
        }
    }

    /// The asker is in.
    pub fn join_done(&mut self, host: HostId, call: u64) {
        let Some(manager) = self.manager(host) else { return };
        let members = manager.consensus.members().iter().map(|(_, node)| node).collect();
        self.reply(call, Reply::Joined { members });
    }

    /// Asks consensus of this host for a change of its members.
    pub fn change(&mut self, host: HostId, change: Change, waiter: ChangeFor) {
        let patience = if matches!(change, Change::Promote { .. }) { 60 } else { 10 };
        let command = ManagerWake::Change { change, patience_us: patience * SECOND, waiter };
        let lag = self.command_lag();
        self.wake_manager(host, lag, command);
    }
}
