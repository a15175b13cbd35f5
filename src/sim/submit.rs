//! Writes and reads at any manager (`node::manager::write`): a write goes to the leader, wherever it is, and is
//! answered once it is applied here; a read waits until this manager has everything acknowledged before.

use crate::call::{Answer, Reply, Request, Then};
use crate::manager::{ManagerWake, Waiter, Written};
use crate::net::HostId;
use crate::settings::{MS, SECOND};
use crate::table::{Entry, Source};
use crate::world::{Event, Wake, World};
use std::sync::Arc;
use swarm_core::NodeId;
use swarm_core::model::NodeRole;
use swarm_core::store::{Conflict, Txn};

/// As the daemon's: a write or read that finds no leader within this says so.
pub const LEADER_WAIT_US: u64 = 6 * SECOND;
/// Between attempts while there is no leader.
const PAUSE_US: u64 = 50 * MS;
/// For one answer of consensus to a read.
pub const READ_US: u64 = 6 * SECOND;

/// Why a write was not, or may not have been, done.
#[derive(Clone, Debug)]
pub enum WriteError {
    Refused(Conflict),
    NoLeader,
    Uncertain,
}

/// Who asked for a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    Nobody,
    Wish(u64),
    /// The present step of the script.
    Script,
}

/// A write that was asked for at a manager and is not answered.
#[derive(Debug)]
pub struct Submission {
    pub host: HostId,
    life: u64,
    txn: Arc<Txn>,
    source: Source,
    who: For,
    until: u64,
    /// Who was asked last.
    asked: Option<NodeId>,
}

/// A read goes on.
#[derive(Clone, Copy, Debug)]
pub enum ReadStep {
    Begin,
    GiveUp,
}

impl World {
    /// Writes `txn`, asked for at `host`.
    pub fn submit(&mut self, host: HostId, txn: Txn, source: Source, who: For, patience_us: u64) {
        let Some(life) = self.hosts[host].daemon.as_ref().map(|daemon| daemon.life) else { return };
        let id = self.number();
        let until = self.now + patience_us;
        let submission = Submission { host, life, txn: Arc::new(txn), source, who, until, asked: None };
        self.submissions.insert(id, submission);
        self.submit_again(id);
    }

    /// The next attempt: here if this manager leads, else at the one that does.
    pub fn submit_again(&mut self, id: u64) {
        let own = |world: &World, host: HostId| world.hosts[host].node;
        let Some(submission) = self.submissions.get(&id) else { return };
        let (host, txn, source, until) = (submission.host, submission.txn.clone(), submission.source, submission.until);
        if self.now + PAUSE_US > until {
            self.submission_over(id, Err(WriteError::NoLeader));
            return;
        }
        let Some(role) = self.manager(host).map(|manager| manager.role) else {
            self.submission_over(id, Err(WriteError::NoLeader));
            return;
        };
        let node = own(self, host);
        if role.is_leader {
            let entry = Box::new(Entry { txn: (*txn).clone(), source, decided: None });
            let lag = self.command_lag();
            let propose = ManagerWake::Propose { entry, fence: None, waiter: Waiter::Submission(id) };
            self.wake_manager(host, lag, propose);
            return;
        }
        let hint = self.hosts[host].daemon.as_ref().and_then(|daemon| daemon.book.leader);
        let leader = role.leader.filter(|leader| *leader != node).or(hint.filter(|leader| *leader != node));
        match leader.and_then(|leader| Some((leader, *self.nodes.get(&leader)?))) {
            Some((leader, to)) => {
                if let Some(submission) = self.submissions.get_mut(&id) {
                    submission.asked = Some(leader);
                }
                self.call(host, to, Request::Submit { txn, source }, Then::Submission(id));
            }
            None => self.wake(host, PAUSE_US, Wake::Submit { submission: id }),
        }
    }

    /// A write of another manager, at the leader.
    pub fn submit_for_other(&mut self, host: HostId, call: u64, from: NodeId, txn: &Txn, source: Source) {
        let Some(manager) = self.manager(host) else { return };
        let known = manager.store.view().node(from).is_some_and(|node| node.spec.role == NodeRole::Manager);
        if !known {
            self.reply(call, Reply::Failed);
            return;
        }
        let entry = Box::new(Entry { txn: txn.clone(), source, decided: None });
        let lag = self.command_lag();
        self.wake_manager(host, lag, ManagerWake::Propose { entry, fence: None, waiter: Waiter::Call(call) });
    }

    pub fn written_for_other(&mut self, host: HostId, call: u64, written: &Written) {
        let reply = match written {
            Written::Done(index, _) => Reply::Submitted { index: *index },
            Written::NotDone => {
                let own = self.hosts[host].node;
                let leader = self.manager(host).and_then(|manager| manager.role.leader);
                Reply::NotLeader { leader: leader.filter(|leader| *leader != own) }
            }
            Written::Uncertain => Reply::Uncertain,
        };
        self.reply(call, reply);
    }

    /// The answer of the leader that was asked.
    pub fn submission_answered(&mut self, id: u64, answer: Answer) {
        let Some(host) = self.submissions.get(&id).map(|submission| submission.host) else { return };
        match answer {
            Answer::Reply(Reply::Submitted { index }) => self.await_index(host, id, index),
            Answer::Reply(Reply::NotLeader { leader }) => {
                if let (Some(leader), Some(daemon)) = (leader, self.daemon(host)) {
                    daemon.book.set_leader(leader);
                }
                self.wake(host, PAUSE_US, Wake::Submit { submission: id });
            }
            Answer::NotCarriedOut => self.wake(host, PAUSE_US, Wake::Submit { submission: id }),
            Answer::Reply(_) | Answer::Lost => self.submission_over(id, Err(WriteError::Uncertain)),
        }
    }

    /// Proposed here.
    pub fn submission_written(&mut self, id: u64, written: &Written) {
        let Some(host) = self.submissions.get(&id).map(|submission| submission.host) else { return };
        match written {
            Written::Done(index, Ok(())) => self.submission_over(id, Ok(*index)),
            Written::Done(_, Err(conflict)) => self.submission_over(id, Err(WriteError::Refused(conflict.clone()))),
            Written::NotDone => self.wake(host, PAUSE_US, Wake::Submit { submission: id }),
            Written::Uncertain => self.submission_over(id, Err(WriteError::Uncertain)),
        }
    }

    /// Committed elsewhere: what became of it is known when this manager has applied it.
    fn await_index(&mut self, host: HostId, id: u64, index: u64) {
        let Some(manager) = self.manager(host) else {
            self.submission_over(id, Err(WriteError::Uncertain));
            return;
        };
        if manager.applied >= index {
            self.submission_applied(host, id, index);
        } else {
            manager.awaited.entry(index).or_default().push(id);
            self.wake(host, LEADER_WAIT_US, Wake::SubmitTimeout { submission: id });
        }
    }

    pub fn submission_applied(&mut self, host: HostId, id: u64, index: u64) {
        let Some(manager) = self.manager(host) else { return };
        let result = if index <= manager.unknown_below {
            Err(WriteError::Uncertain)
        } else {
            manager.refused.get(&index).cloned().map_or(Ok(index), |conflict| Err(WriteError::Refused(conflict)))
        };
        self.submission_over(id, result);
    }

    pub fn submit_timed_out(&mut self, id: u64) {
        self.submission_over(id, Err(WriteError::Uncertain));
    }

    pub fn submission_over(&mut self, id: u64, result: Result<u64, WriteError>) {
        let Some(submission) = self.submissions.remove(&id) else { return };
        let Submission { host, life, who, .. } = submission;
        if let Ok(index) = &result {
            self.check.acknowledged(*index, &submission.txn);
        }
        let lives = self.hosts[host].daemon.as_ref().is_some_and(|daemon| daemon.life == life);
        match who {
            For::Wish(wish) if lives => self.wish_written(wish, result),
            For::Script if lives => self.script_written(&result),
            For::Wish(_) | For::Script | For::Nobody => {}
        }
    }

    /// A read at a manager: `wish` goes on when it has everything that was acknowledged before.
    pub fn read(&mut self, host: HostId, wish: u64) {
        let after = self.command_lag();
        self.check.read_asked(wish);
        self.wake_manager(host, after, ManagerWake::Read { read: wish, patience_us: READ_US });
        self.push(LEADER_WAIT_US + SECOND, Event::Read { read: wish, step: ReadStep::GiveUp });
        if self.settings.mutation == Some(crate::mutate::Mutation::ReadAlone) {
            self.push(after, Event::Read { read: wish, step: ReadStep::Begin });
        }
    }

    pub fn read_goes_on(&mut self, read: u64, step: ReadStep) {
        match step {
            ReadStep::GiveUp => self.wish_read(read, None),
            ReadStep::Begin => {
                if let Some(host) = self.users.at(read) {
                    self.read_answered(host, read, true);
                }
            }
        }
    }

    pub fn read_answered(&mut self, host: HostId, read: u64, ready: bool) {
        let view = self.manager(host).filter(|_| ready).map(|manager| manager.store.view());
        if let Some(view) = &view {
            self.check.read_answered(read, view.index());
        }
        self.wish_read(read, view);
    }
}
