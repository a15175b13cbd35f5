//! The leader's side of its sessions with nodes: who is there, what each shall run, what they report.
//!
//! Owned by the leader's dispatch task for one term; a new leader starts with an empty `Dispatch` and
//! gives every node time to come to it. It never decides placement: it turns sessions, heartbeats and
//! gossip into node states, and committed tasks into assignments for one node each.
//!
//! A node is down when its session is lost and gossip agrees, or when the session has been lost past
//! [`SESSION_DEADLINE`].

mod assignments;
mod leases;

use assignments::Touched;
pub use assignments::{Assignments, NodeWork};
use leases::Leases;

use crate::model::{NodeDescription, NodeState, NodeStatus, TaskState, TaskStatus};
use crate::store::{Change, View};
use crate::{Mono, NodeId, TaskId, WallTime};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// Without a heartbeat for this long a session counts as lost: two and a half heartbeats of 1 s. With a longer
/// heartbeat period as many of those.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_millis(2500);
/// A new leader gives a node that gossip does not see this long to come to it: what gossip says is then some
/// seconds old already.
pub const TAKEOVER_GRACE: Duration = Duration::from_millis(1000);
/// A node without a session is down after this even if gossip still sees it: its daemon may be
/// restarting, and an upgrade takes a few seconds.
pub const SESSION_DEADLINE: Duration = Duration::from_secs(15);
/// A tick later than this says that the process stood still, not the nodes: a busy machine is some tens of ms late.
pub const LATE: Duration = Duration::from_millis(250);
/// Status reports wait this long at most for others to be written with them.
pub const REPORT_DELAY: Duration = Duration::from_millis(20);
/// Reports in one transaction at most: about 300 bytes each.
pub const REPORTS_PER_TXN_MAX: usize = 500;

/// Tells sessions of one node apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// What gossip thinks of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    Up,
    Down,
}

/// What can happen.
#[derive(Debug)]
pub enum Input {
    /// A node opened a session; an older one of the same node is void.
    Opened {
        session: SessionId,
        node: NodeId,
        addr: IpAddr,
        description: NodeDescription,
    },
    Heartbeat {
        session: SessionId,
        sequence: u64,
        /// When it arrived: it may have waited since.
        heard: Mono,
    },
    Reported {
        session: SessionId,
        heard: Mono,
        sequence: u64,
        reports: Vec<(TaskId, TaskStatus)>,
    },
    Closed {
        session: SessionId,
    },
    /// What gossip thinks now, of the nodes it thinks otherwise of than before.
    Gossip(Vec<(NodeId, Liveness)>),
    /// Something was committed.
    Committed(View),
    /// The transaction handed out last was committed, or was not (then it is decided anew).
    Written {
        committed: bool,
    },
    /// The answer to `Effects::confirm`: whether a quorum still follows this leader. What was committed before the
    /// answer must be given before it.
    Confirmed {
        leads: bool,
    },
    /// What had arrived before must be given before it.
    Tick,
}

/// Something for a session.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    Assign(Assignments),
    HeartbeatAck,
    /// Tasks that are to run once at most may go on for their lease from when this heartbeat was sent.
    Lease {
        sequence: u64,
    },
    ReportsAck {
        sequence: u64,
    },
    /// The session is void: another took its place, or the node is gone.
    End {
        reason: String,
    },
}

/// I/O to do.
#[derive(Debug, Default)]
pub struct Effects {
    pub sends: Vec<(SessionId, Message)>,
    /// To be written; the answer comes back as `Input::Written`. At most one is under way.
    pub write: Option<Vec<Change>>,
    /// A quorum is to be asked whether this is the leader still; the answer comes back as `Input::Confirmed`. At most
    /// one question is under way.
    pub confirm: bool,
    pub wake_at: Option<Mono>,
}

#[derive(Debug)]
struct Session {
    node: NodeId,
    last_heard: Mono,
    /// It was given the time that this process stood still, once since it was heard.
    spared: bool,
    work: NodeWork,
}

#[derive(Debug)]
struct Presence {
    session: Option<SessionId>,
    /// Since when there is none.
    lost_since: Mono,
    gossip: Option<Liveness>,
    /// What the session said, until it is committed.
    opened: Option<(IpAddr, NodeDescription)>,
    /// When the next of its tasks with a lease is over for certain.
    over_at: Option<Mono>,
}

impl Presence {
    /// Not here yet, since this leader began.
    fn since(started: Mono) -> Self {
        Self { session: None, lost_since: started, gossip: None, opened: None, over_at: None }
    }
}

impl Session {
    fn hear(&mut self, at: Mono) {
        self.last_heard = self.last_heard.max(at);
        self.spared = false;
    }
}

/// The sessions of one term.
#[derive(Debug)]
pub struct Dispatch {
    started: Mono,
    view: View,
    sessions: BTreeMap<SessionId, Session>,
    nodes: BTreeMap<NodeId, Presence>,
    reports: BTreeMap<TaskId, TaskStatus>,
    /// Sessions and sequences whose reports are in `reports`, or in the write under way.
    waiting: Vec<(SessionId, u64)>,
    writing: Option<Writing>,
    report_due: Option<Mono>,
    leases: Leases,
    /// Nodes whose verdict may have changed since it was last told.
    dirty: BTreeSet<NodeId>,
    /// Nodes that gossip spoke of, and the view does not know.
    strangers: BTreeSet<NodeId>,
    /// The last tick, and when the next one was asked for.
    ticked: Mono,
    wake_at: Option<Mono>,
}

#[derive(Debug)]
struct Writing {
    acks: Vec<(SessionId, u64)>,
    reports: BTreeMap<TaskId, TaskStatus>,
}

impl Dispatch {
    /// A leader that just took over at `now`, with what is committed.
    pub fn new(now: Mono, view: View) -> Self {
        let mut dispatch = Self {
            started: now,
            view: View::default(),
            sessions: BTreeMap::new(),
            nodes: BTreeMap::new(),
            reports: BTreeMap::new(),
            waiting: Vec::new(),
            writing: None,
            report_due: None,
            leases: Leases::default(),
            dirty: BTreeSet::new(),
            strangers: BTreeSet::new(),
            ticked: now,
            wake_at: None,
        };
        dispatch.look_at(view);
        dispatch
    }

    /// Every node of the view has its presence; those whose tasks or which themselves differ are looked at, and told.
    fn look_at(&mut self, view: View) -> Touched {
        let touched = Touched::between(&self.view, &view);
        self.view = view;
        let started = self.started;
        for id in &touched.nodes {
            if self.view.node(*id).is_some() {
                self.nodes.entry(*id).or_insert_with(|| Presence::since(started));
            } else if self.has_leases(*id) {
                self.presence(*id);
            }
        }
        self.dirty.extend(touched.nodes.iter().copied());
        self.forget_over();
        touched
    }

    /// Takes one input.
    pub fn input(&mut self, now: Mono, wall: WallTime, input: Input, out: &mut Effects) {
        match input {
            Input::Opened { session, node, addr, description } => {
                self.opened(now, session, node, addr, description, out);
            }
            Input::Heartbeat { session, sequence, heard } => {
                if let Some(open) = self.sessions.get_mut(&session) {
                    open.hear(heard);
                    out.sends.push((session, Message::HeartbeatAck));
                    self.ask_lease(session, sequence, out);
                }
            }
            Input::Confirmed { leads } => self.confirmed(leads, out),
            Input::Reported { session, heard, sequence, reports } => {
                self.reported(now, heard, session, sequence, reports);
            }
            Input::Closed { session } => self.close(now, session),
            Input::Gossip(changes) => {
                for (node, liveness) in changes {
                    self.presence(node).gossip = Some(liveness);
                }
            }
            Input::Committed(view) => self.committed(now, view, out),
            Input::Written { committed } => self.written(now, committed, out),
            Input::Tick => self.tick(now, out),
        }
        self.write(now, wall, out);
        self.schedule(out);
    }

    /// To be changed: what it is now is told.
    fn presence(&mut self, node: NodeId) -> &mut Presence {
        self.dirty.insert(node);
        if self.view.node(node).is_none() {
            self.strangers.insert(node);
        }
        let started = self.started;
        self.nodes.entry(node).or_insert_with(|| Presence::since(started))
    }

    fn opened(
        &mut self,
        now: Mono,
        session: SessionId,
        node: NodeId,
        addr: IpAddr,
        description: NodeDescription,
        out: &mut Effects,
    ) {
        if self.view.node(node).is_none() {
            Self::dismiss(session, out);
            return;
        }
        let presence = self.presence(node);
        presence.opened = Some((addr, description));
        // It talks to us: an older verdict of gossip is void until gossip speaks again.
        presence.gossip = None;
        if let Some(old) = presence.session.replace(session) {
            self.sessions.remove(&old);
            out.sends.push((old, Message::End { reason: "replaced by a newer session of this node".to_owned() }));
        }
        let mut work = NodeWork::new(node);
        out.sends.push((session, Message::Assign(work.whole(&self.view))));
        self.sessions.insert(session, Session { node, last_heard: now, spared: false, work });
    }

    /// The last words to a node that was removed: nothing is assigned to it any more.
    fn dismiss(session: SessionId, out: &mut Effects) {
        out.sends.push((session, Message::Assign(Assignments { complete: true, ..Assignments::default() })));
        out.sends.push((session, Message::End { reason: "this node was removed from the cluster".to_owned() }));
    }

    fn reported(
        &mut self,
        now: Mono,
        heard: Mono,
        session: SessionId,
        sequence: u64,
        reports: Vec<(TaskId, TaskStatus)>,
    ) {
        let Some(open) = self.sessions.get_mut(&session) else { return };
        open.hear(heard);
        let node = open.node;
        for (task, mut status) in reports {
            status.bound();
            // An agent speaks for the tasks of its own node only.
            let own = self.view.task(task).is_some_and(|known| known.node == Some(node));
            let newer = self.reports.get(&task).is_none_or(|pending| pending.state <= status.state);
            if own && newer {
                self.reports.insert(task, status);
            }
        }
        self.waiting.push((session, sequence));
        self.report_due.get_or_insert(now + REPORT_DELAY);
    }

    fn close(&mut self, now: Mono, session: SessionId) {
        let Some(open) = self.sessions.remove(&session) else { return };
        let presence = self.presence(open.node);
        if presence.session == Some(session) {
            presence.session = None;
            presence.lost_since = now;
        }
    }

    fn committed(&mut self, now: Mono, view: View, out: &mut Effects) {
        let touched = self.look_at(view);
        let mut ended = Vec::new();
        for (id, session) in &mut self.sessions {
            if self.view.node(session.node).is_none() {
                ended.push(*id);
                continue;
            }
            let changes = match touched.contents || touched.nodes.contains(&session.node) {
                true => session.work.changes(&self.view),
                false => session.work.changes_around(&self.view),
            };
            out.sends.extend(changes.map(|changes| (*id, Message::Assign(changes))));
        }
        for id in ended {
            Self::dismiss(id, out);
            self.close(now, id);
        }
        self.strangers.extend(touched.nodes);
        for node in std::mem::take(&mut self.strangers) {
            let session = self.nodes.get(&node).and_then(|presence| presence.session);
            if session.is_none() && self.view.node(node).is_none() && !self.has_leases(node) {
                self.nodes.remove(&node);
            }
        }
    }

    fn written(&mut self, now: Mono, committed: bool, out: &mut Effects) {
        let Some(writing) = self.writing.take() else { return };
        if committed {
            let acks = writing.acks.into_iter();
            out.sends.extend(acks.map(|(session, sequence)| (session, Message::ReportsAck { sequence })));
            return;
        }
        self.dirty.extend(self.view.nodes().map(|node| node.id));
        // Not written: what was reported since wins over what is put back.
        for (task, status) in writing.reports {
            self.reports.entry(task).or_insert(status);
        }
        self.waiting.splice(0..0, writing.acks);
        self.report_due = Some(now + REPORT_DELAY);
    }

    /// Closes the sessions that went silent, and looks at every node whose time may be up.
    fn tick(&mut self, now: Mono, out: &mut Effects) {
        let late = self.wake_at.map_or(Duration::ZERO, |due| now.since(due));
        self.ticked = now;
        self.dirty.extend(self.nodes.iter().filter(|(_, presence)| presence.session.is_none()).map(|(id, _)| *id));
        let timeout = self.heartbeat_timeout();
        if late > LATE {
            // This process stood still, and what was sent to it meanwhile is still on its way to us.
            for session in self.sessions.values_mut().filter(|session| !session.spared) {
                session.last_heard = session.last_heard + late;
                session.spared = true;
            }
        }
        let silent = |session: &Session| now.since(session.last_heard) >= timeout;
        let gone: Vec<SessionId> =
            self.sessions.iter().filter(|(_, session)| silent(session)).map(|(id, _)| *id).collect();
        for id in gone {
            out.sends.push((id, Message::End { reason: "no heartbeat arrived in time".to_owned() }));
            self.close(now, id);
        }
    }

    /// Hands out one transaction if there is something to write and none is under way.
    fn write(&mut self, now: Mono, wall: WallTime, out: &mut Effects) {
        if self.writing.is_some() {
            return;
        }
        let mut changes = self.node_changes(now, wall);
        let mut writing = Writing { acks: Vec::new(), reports: BTreeMap::new() };
        if self.report_due.is_some_and(|due| due <= now) || !changes.is_empty() {
            while writing.reports.len() < REPORTS_PER_TXN_MAX {
                let Some((task, status)) = self.reports.pop_first() else { break };
                changes.push(Change::TaskStatus { task, status: status.clone() });
                writing.reports.insert(task, status);
            }
            if self.reports.is_empty() {
                writing.acks = std::mem::take(&mut self.waiting);
                self.report_due = None;
            }
        }
        if changes.is_empty() {
            let acks = writing.acks.into_iter();
            out.sends.extend(acks.map(|(session, sequence)| (session, Message::ReportsAck { sequence })));
            return;
        }
        self.writing = Some(writing);
        out.write = Some(changes);
    }

    /// Node states and descriptions that differ from what is committed.
    fn node_changes(&mut self, now: Mono, wall: WallTime) -> Vec<Change> {
        let mut changes = Vec::new();
        for id in std::mem::take(&mut self.dirty) {
            changes.extend(self.over(now, wall, id));
            let (Some(node), Some(presence)) = (self.view.node(id), self.nodes.get(&id)) else { continue };
            let (state, message) = self.verdict(now, presence);
            if let Some((_, description)) = &presence.opened
                && node.description.as_ref() != Some(description)
            {
                changes.push(Change::NodeDescription { node: id, description: description.clone() });
            }
            let Some(state) = state else { continue };
            let addr = presence.opened.as_ref().map(|(addr, _)| *addr).or(node.status.addr);
            if node.status.state != state || node.status.addr != addr {
                let status = NodeStatus { state, message, addr, since: wall };
                changes.push(Change::NodeStatus { node: id, status });
                if state == NodeState::Down {
                    changes.extend(self.unfinished(id));
                }
            }
        }
        changes
    }

    /// Tasks that were on their way on a node that is down say so; running ones keep their state, which
    /// nobody can see any more.
    fn unfinished(&self, node: NodeId) -> Vec<Change> {
        let waiting = self.view.tasks_of_node(node).filter(|task| task.status.state < TaskState::Running);
        let waiting = waiting.filter(|task| task.status.state >= TaskState::Assigned);
        waiting
            .map(|task| {
                let mut status = task.status.clone();
                status.err = "the node is down".to_owned();
                Change::TaskStatus { task: task.id, status }
            })
            .collect()
    }

    /// What to say of a node: `None` leaves what is committed.
    fn verdict(&self, now: Mono, presence: &Presence) -> (Option<NodeState>, String) {
        if presence.session.is_some() {
            return (Some(NodeState::Ready), String::new());
        }
        let lost = now.since(presence.lost_since);
        let grace = if presence.opened.is_none() { TAKEOVER_GRACE } else { Duration::ZERO };
        if presence.gossip == Some(Liveness::Down) && lost >= grace {
            (Some(NodeState::Down), "its session is lost and gossip does not see it".to_owned())
        } else if lost >= SESSION_DEADLINE.max(self.heartbeat_timeout()) {
            (Some(NodeState::Down), format!("no session for {} s", lost.as_secs()))
        } else {
            (None, String::new())
        }
    }

    /// As nodes were told how often to speak up when their session began.
    fn heartbeat_timeout(&self) -> Duration {
        let period = self.view.cluster().map(|cluster| cluster.spec.heartbeat_period).unwrap_or_default();
        HEARTBEAT_TIMEOUT.max(period.saturating_mul(5) / 2)
    }

    fn schedule(&mut self, out: &mut Effects) {
        let timeout = self.heartbeat_timeout();
        let sessions = self.sessions.values().map(|session| session.last_heard + timeout);
        let absent = self.nodes.values().filter(|presence| presence.session.is_none());
        let deadlines =
            absent.flat_map(|p| [p.lost_since + TAKEOVER_GRACE, p.lost_since + SESSION_DEADLINE.max(timeout)]);
        let over = self.nodes.values().filter_map(|presence| presence.over_at);
        let report = self.report_due.filter(|_| self.writing.is_none());
        // One that passed during another input still waits for its tick.
        self.wake_at = sessions.chain(deadlines).chain(over).chain(report).filter(|at| *at > self.ticked).min();
        out.wake_at = self.wake_at;
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
