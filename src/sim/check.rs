//! The invariants that need more than one view: named, checked as things happen, and never a repetition of the
//! decision they judge. Those of a single view are `core::audit`, run on each state as it is first reached.

use crate::check_nodes::OnNodes;
use crate::net::HostId;
use crate::places::may_have;
use crate::settings::SECOND;
use crate::table::{Entry, Source};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use swarm_core::audit::{Violation, audit, audit_resting, audit_settled};
use swarm_core::model::*;
use swarm_core::store::{Change, Conflict, Event, Object, Txn, View};
use swarm_core::{NodeId, ServiceId, TaskId};

pub const ONE_LEADER: &str = "a term has one leader";
pub const SAME_HISTORY: &str = "managers that applied the same index have applied the same and hold the same";
pub const NOTHING_LOST: &str = "what was acknowledged is never lost";
pub const DISK_READABLE: &str = "a manager can read what its disk kept";
pub const READS_CURRENT: &str = "a read sees all that was acknowledged before it";
pub const MONOTONE: &str = "a task's states only rise, and it stays what and where it is";
pub const ONE_OWNER: &str = "each step of a task is made by its owner";
pub const FENCED: &str = "what a leader decided is applied in its own term or not at all";
pub const COUNTED: &str = "a replacement carries on the count of restarts";
pub const STARTS_ONCE: &str = "a task's container starts once, on the task's node, and when it is to run";
pub const ONE_BY_ONE: &str = "a slot comes to have two tasks only where one starts before the other stops";
pub const JOB_ONCE: &str = "what a job has completed is not run again";
pub const FITS: &str = "a task is given to a node that may have it";
pub const NEED_TO_KNOW: &str = "secrets and configs go only to nodes that need them";
pub const CONTENTS_THERE: &str = "a task that is made ready has its secrets and configs";
pub const AS_WRITTEN: &str = "a version of a content is what was written as that version";
pub const FILLED_IN: &str = "a template comes out as it says, or says what is not there";
pub const ONCE: &str = "of a service that is to run once at most, no two containers run anywhere";
pub const OVER: &str = "a task that is to run once at most is called over when nothing of it runs";
pub const WAITS: &str = "a task takes traffic, and counts as up, once its health check and readiness probe were good";
pub const UNITS: &str = "a container has the units of its node that it reserves, and shares none";
pub const FABRIC_FITS: &str = "a change of the network fits what the node has";
pub const LEDGER: &str = "a leader that looks at what changed finds all that one finds who looks at everything";
pub const NO_CHURN: &str = "a slot is not filled again and again without a pause";
pub const CONVERGES: &str = "once faults have stopped the cluster comes to what is wanted";
pub const SURVIVES: &str = "no part panics";

/// Tasks made for one slot within [`CHURN_US`] at most: a task that fails takes some ms to do so.
const CHURN_MAX: usize = 100;
const CHURN_US: u64 = 2 * SECOND;

/// A slot, or the node of a global service's.
type Slot = (ServiceId, u64, Option<NodeId>);

/// What became of an index.
#[derive(Debug)]
struct Applied {
    number: usize,
    entry: Arc<Entry>,
    hash: u64,
    done: bool,
}

/// All that was seen, and what was wrong with it.
#[derive(Debug, Default)]
pub struct Checks {
    violations: Vec<Violation>,
    leaders: BTreeMap<u64, NodeId>,
    history: BTreeMap<u64, Applied>,
    /// The newest state anyone has reached.
    newest: View,
    acknowledged: u64,
    /// What was acknowledged when a read was asked.
    reads: BTreeMap<u64, u64>,
    /// What agents said of tasks.
    said: BTreeMap<TaskId, (HostId, BTreeSet<TaskState>)>,
    pub on_nodes: OnNodes,
    pub hosts: BTreeMap<NodeId, HostId>,
    /// When tasks were made for a slot, lately.
    made: BTreeMap<Slot, VecDeque<u64>>,
    pub now: u64,
}

impl Checks {
    pub fn fail(&mut self, invariant: &'static str, detail: String) {
        self.violations.push(Violation { invariant, detail });
    }

    pub fn is_violated(&self) -> bool {
        !self.violations.is_empty()
    }

    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    pub fn newest(&self) -> &View {
        &self.newest
    }

    pub fn knows(&mut self, node: NodeId, host: HostId) {
        self.hosts.insert(node, host);
    }

    /// A manager takes `node` for the leader of `term`, be it itself. Elected is enough: one that has not applied
    /// anything in its term has others follow it.
    pub fn leads(&mut self, term: u64, node: NodeId) {
        let leader = *self.leaders.entry(term).or_insert(node);
        if leader != node {
            self.fail(ONE_LEADER, format!("term {term}: {leader} and {node}"));
        }
    }

    /// A manager took its state from a snapshot.
    pub fn restored(&mut self, index: u64, hash: u64, view: &View) {
        if self.history.is_empty() && self.newest.cluster().is_none() {
            self.newest = view.clone();
            let entry = Arc::new(Entry { txn: Txn::default(), source: Source::Barrier, decided: None });
            self.history.insert(index, Applied { number: usize::MAX, entry, hash, done: true });
            return;
        }
        let known = self.history.range(..=index).next_back().map(|(at, applied)| (*at, applied.hash));
        if let Some((at, other)) = known.filter(|(_, other)| *other != hash) {
            self.fail(SAME_HISTORY, format!("snapshot at {index}: {hash:016x}, at {at} it was {other:016x}"));
        }
    }

    /// A manager applied an entry. True if it is the first that did.
    pub fn applied(
        &mut self,
        index: u64,
        term: u64,
        (number, entry): (usize, &Arc<Entry>),
        (before, after): (&View, &View),
        result: &Result<Vec<Event>, Conflict>,
        hash: u64,
    ) -> bool {
        if let Some(known) = self.history.get(&index) {
            if (known.number, known.hash, known.done) != (number, hash, result.is_ok()) {
                let (was, old) = (known.number, known.hash);
                self.fail(SAME_HISTORY, format!("at {index}: #{was} {old:016x} and #{number} {hash:016x}"));
            }
            return false;
        }
        let last = self.history.keys().next_back().copied().unwrap_or(0);
        if index < last {
            self.fail(SAME_HISTORY, format!("#{number} is applied at {index}; others went on to {last} without it"));
            return false;
        }
        let done = result.is_ok();
        self.history.insert(index, Applied { number, entry: Arc::clone(entry), hash, done });
        self.newest = after.clone();
        if let Ok(events) = result {
            if entry.decided.is_some_and(|decided| decided != term) && !events.is_empty() {
                self.fail(FENCED, format!("#{number} at {index}: decided in {:?}, applied in {term}", entry.decided));
            }
            self.changed(entry, before, events);
            self.contents_written(events);
            self.violations.extend(audit(after));
        }
        true
    }

    fn changed(&mut self, entry: &Entry, before: &View, events: &[Event]) {
        for event in events {
            match event {
                Event::Updated { old: Object::Task(old), new: Object::Task(new) } => {
                    if old.up_since.is_none() && new.up_since.is_some() {
                        self.was_good(new.id, &new.spec.container, "is up");
                    }
                    self.task_changed(entry, before, old, new);
                    if old.status.state < TaskState::Assigned && new.status.state == TaskState::Assigned {
                        self.placed(before, new);
                    }
                }
                Event::Created(Object::Task(new)) => {
                    if entry.source != Source::Decision {
                        self.fail(ONE_OWNER, format!("task {} is made by {:?}", new.id, entry.source));
                    }
                    self.made(new);
                    self.runs_again(before, new);
                }
                Event::Created(_) | Event::Updated { .. } | Event::Removed(_) => {}
            }
        }
    }

    /// On the state it is applied to, which others may have written since it was decided.
    fn placed(&mut self, before: &View, task: &Task) {
        let node = task.node.and_then(|id| before.node(id));
        if !node.is_some_and(|node| may_have(node, task)) {
            let (node, constraints) = (task.node, &task.spec.placement.constraints);
            self.fail(FITS, format!("task {} is written to node {node:?}: {constraints:?}", task.id));
        }
    }

    /// A slot of a job that has completed is done, also for the next leader.
    fn runs_again(&mut self, before: &View, new: &Task) {
        let Some(iteration) = new.job_iteration else { return };
        let done = before.tasks_of_service(new.service).find(|task| {
            task.job_iteration == Some(iteration)
                && task.status.state == TaskState::Complete
                && (task.slot, task.node.filter(|_| task.slot == 0)) == (new.slot, new.node.filter(|_| new.slot == 0))
        });
        if let Some(done) = done {
            self.fail(JOB_ONCE, format!("{}.{}: {} after {}", new.service_name, new.slot, new.id, done.id));
        }
    }

    fn made(&mut self, task: &Task) {
        let now = self.now;
        let slot = (task.service, task.slot, task.node.filter(|_| task.slot == 0));
        let made = self.made.entry(slot).or_default();
        made.push_back(now);
        while made.front().is_some_and(|at| now > at + CHURN_US) {
            made.pop_front();
        }
        if made.len() > CHURN_MAX {
            self.fail(NO_CHURN, format!("{}.{}: {CHURN_MAX} tasks within 2 s", task.service_name, task.slot));
        }
    }

    fn task_changed(&mut self, entry: &Entry, before: &View, old: &Task, new: &Task) {
        let fixed = |task: &Task| (task.service, task.slot, task.spec_version, task.origin);
        let moved = old.node.is_some() && old.node != new.node;
        if new.status.state < old.status.state || new.desired < old.desired || moved || fixed(old) != fixed(new) {
            let states = |task: &Task| format!("{}/{}", task.status.state.as_str(), task.desired.as_str());
            self.fail(MONOTONE, format!("task {}: {} became {}", new.id, states(old), states(new)));
        }
        let (state, was) = (new.status.state, old.status.state);
        let node = old.node.and_then(|id| before.node(id));
        let unreachable = node.is_none_or(|node| node.status.state == NodeState::Down);
        let is_once = new.spec.at_most_one.is_some();
        if is_once && state.is_terminal() && self.runs(new.id) {
            self.fail(OVER, format!("task {} is {}", new.id, state.as_str()));
        }
        // Of a node that is lost nobody says so.
        let lease_passed = is_once && state == TaskState::Orphaned && unreachable;
        let right = match entry.source {
            Source::Decision => {
                state == was || was < TaskState::Assigned || state == TaskState::Orphaned && unreachable
            }
            Source::Statuses => new.desired == old.desired && (state == was || self.was_said(new) || lease_passed),
            Source::Members | Source::Scaling | Source::Barrier | Source::Certificate | Source::User => false,
        };
        if !right {
            let detail = format!("task {}: {} to {}", new.id, was.as_str(), state.as_str());
            self.fail(ONE_OWNER, format!("{detail} by {:?}", entry.source));
        }
    }

    fn was_said(&self, task: &Task) -> bool {
        let host = task.node.and_then(|node| self.hosts.get(&node).copied());
        self.said.get(&task.id).is_some_and(|(by, states)| Some(*by) == host && states.contains(&task.status.state))
    }

    /// A task that takes the place of one that had ended by itself when the leader looked.
    fn counted(&mut self, view: &View, txn: &Txn, new: &Task) {
        let dismissed = txn.changes.iter().filter_map(|change| match change {
            Change::TaskDesired { task, desired } if *desired > TaskState::Running => view.task(*task),
            _other => None,
        });
        let same = |old: &Task| {
            (old.service, old.slot, old.spec_version) == (new.service, new.slot, new.spec_version)
                && (new.slot != 0 || old.node == new.node)
        };
        let replaced = dismissed.filter(|old| old.is_wanted() && same(old));
        // Losing its node is no end of its own.
        let ended = |old: &Task| old.status.state.is_terminal() && old.status.state != TaskState::Orphaned;
        let least = replaced.map(|old| old.restarts.total + u64::from(ended(old))).min();
        if let Some(least) = least.filter(|least| new.restarts.total < *least) {
            let (name, slot, of) = (&new.service_name, new.slot, new.spec_version);
            let detail = format!("task {} {name}.{slot} v{of}: {} restarts, not {least}", new.id, new.restarts.total);
            self.fail(COUNTED, detail);
        }
    }

    /// A writer was told that its write is done.
    pub fn acknowledged(&mut self, index: u64, txn: &Txn) {
        self.acknowledged = self.acknowledged.max(index);
        let there = self.history.get(&index).is_some_and(|applied| applied.done && applied.entry.txn == *txn);
        if !there {
            self.fail(NOTHING_LOST, format!("the write acknowledged at {index} is not what was applied there"));
        }
    }

    pub fn read_asked(&mut self, read: u64) {
        self.reads.insert(read, self.acknowledged);
    }

    pub fn read_answered(&mut self, read: u64, index: u64) {
        if let Some(least) = self.reads.remove(&read).filter(|least| index < *least) {
            self.fail(READS_CURRENT, format!("read at {index}, and {least} had been acknowledged"));
        }
    }

    /// A leader decided this on `view`.
    pub fn decided(&mut self, view: &View, txns: &[Txn]) {
        let changes = || txns.iter().flat_map(|txn| &txn.changes);
        let made: BTreeMap<TaskId, &Arc<Task>> = changes()
            .filter_map(|change| match change {
                Change::Create(Object::Task(task)) => Some((task.id, task)),
                _other => None,
            })
            .collect();
        for txn in txns {
            for change in &txn.changes {
                if let Change::Create(Object::Task(new)) = change
                    && new.origin == TaskOrigin::Restart
                {
                    self.counted(view, txn, new);
                }
            }
        }
        self.doubled(view, txns);
        for change in changes() {
            let Change::TaskAssigned { task: id, node: Some(node), .. } = change else { continue };
            let Some(task) = made.get(id).copied().or_else(|| view.task(*id)) else { continue };
            let fits = view.node(*node).is_some_and(|node| may_have(node, task));
            if !fits {
                let constraints = &task.spec.placement.constraints;
                self.fail(FITS, format!("task {id} on node {node}: {constraints:?}"));
            }
        }
    }

    /// A slot comes to have two tasks only where one is to start before the other stops.
    fn doubled(&mut self, view: &View, txns: &[Txn]) {
        let key = |task: &Task| (task.service, task.slot, task.node.filter(|_| task.slot == 0));
        let runs = |task: &Task| task.is_wanted() && task.desired == TaskState::Running;
        let mut more: BTreeMap<Slot, (i64, bool)> = BTreeMap::new();
        for change in txns.iter().flat_map(|txn| &txn.changes) {
            match change {
                Change::Create(Object::Task(new)) if runs(new) => {
                    let (count, moves) = more.entry(key(new)).or_default();
                    (*count, *moves) = (*count + 1, *moves || new.origin == TaskOrigin::Move);
                }
                Change::TaskDesired { task, desired } => {
                    let Some(task) = view.task(*task) else { continue };
                    let (was, is) = (runs(task), *desired == TaskState::Running && task.is_wanted());
                    more.entry(key(task)).or_default().0 += i64::from(is) - i64::from(was);
                }
                _other => {}
            }
        }
        for ((id, slot, node), (change, moves)) in more.into_iter().filter(|(_, (change, _))| *change > 0) {
            let Some(service) = view.service(id) else { continue };
            let had =
                view.tasks_of_service(id).filter(|task| runs(task) && key(task) == (id, slot, node)).count() as i64;
            // One that waited for its time beside the other was of the two before.
            let there =
                view.tasks_of_service(id).filter(|task| task.is_wanted() && key(task) == (id, slot, node)).count();
            if had + change > (there as i64).max(1) && !moves && !starts_first(service) {
                self.fail(
                    ONE_BY_ONE,
                    format!("service {} slot {slot}: {had} tasks and {change} more", service.spec.name),
                );
            }
        }
    }

    /// A leader found nothing to do, or nothing yet when it `waits`; `missed` changes are found by looking at everything.
    pub fn looked(&mut self, view: &View, missed: usize, waits: bool) {
        if missed > 0 {
            self.fail(LEDGER, format!("at {}: {missed} changes", view.index()));
        }
        self.violations.extend(if waits { audit_resting(view) } else { audit_settled(view) });
    }

    /// An agent says this of a task.
    pub fn reported(&mut self, host: HostId, task: TaskId, status: &TaskStatus) {
        let (by, states) = self.said.entry(task).or_insert((host, BTreeSet::new()));
        if *by != host {
            let by = *by;
            self.fail(ONE_OWNER, format!("task {task}: h{by} and h{host} speak for it"));
            return;
        }
        states.insert(status.state);
    }

    /// How much was checked.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.history.len(), self.leaders.len(), self.on_nodes.containers())
    }
}

/// The update or rollback that goes on or is paused does, or moves do: those go by the settings of updates.
fn starts_first(service: &Service) -> bool {
    let goes_back = service.update_status.as_ref().is_some_and(|status| match status.state {
        UpdateState::RollbackStarted | UpdateState::RollbackPaused => true,
        UpdateState::Updating | UpdateState::Paused | UpdateState::Completed | UpdateState::RollbackCompleted => false,
    });
    let configs = [service.spec.update.as_ref(), service.spec.rollback.as_ref().filter(|_| goes_back)];
    configs.into_iter().flatten().any(|config| config.order == UpdateOrder::StartFirst)
}

fn summary(object: &Object) -> String {
    let version = object.meta().version;
    match object {
        Object::Cluster(_) => format!("cluster@{version}"),
        Object::Node(o) => {
            let raft = o.raft.map_or("", |raft| if raft.voter { " voter" } else { " learner" });
            let (name, state) = (o.display_name(), o.status.state);
            format!("node:{:.8}@{version} {name} {state:?} {:?} {:?}{raft}", o.id, o.spec.availability, o.spec.role)
        }
        Object::Service(o) => {
            let update = o.update_status.as_ref().map(|status| status.state);
            let removing = if o.removing { " removing" } else { "" };
            format!("service:{}@{version} {:?} v{} {update:?}{removing}", o.spec.name, o.spec.mode, o.spec_version)
        }
        Object::Task(o) => {
            let (state, desired) = (o.status.state.as_str(), o.desired.as_str());
            let node = o.node.map_or_else(String::new, |node| format!(" on {node:.8}"));
            let (name, slot, of) = (&o.service_name, o.slot, o.spec_version);
            format!("task:{:.8}@{version} {name}.{slot} v{of} {state}/{desired}{node}", o.id)
        }
        Object::Network(o) => format!("network:{}@{version}", o.spec.name),
        Object::Secret(o) => format!("secret:{}@{version}", o.spec.name),
        Object::Config(o) => format!("config:{}@{version}", o.spec.name),
    }
}

/// The state of nodes, services and tasks, for a person.
pub fn describe_view(view: &View) -> Vec<String> {
    let mut lines: Vec<String> = view.nodes().map(|node| summary(&Object::Node(node.clone()))).collect();
    for service in view.services() {
        lines.push(format!("{} {}", summary(&Object::Service(service.clone())), service.endpoint.pending_reason));
        let status = service.update_status.as_ref();
        lines.extend(status.map(|status| format!("  {status:?}")));
        for task in view.tasks_of_service(service.id) {
            let node = task.node.and_then(|node| view.node(node)).map(|node| node.display_name()).unwrap_or_default();
            let (image, err) = (&task.spec.container.image, &task.status.err);
            let summary = summary(&Object::Task(task.clone()));
            let (up, ended, start) = (task.up_since.is_some(), task.ended, task.start_after);
            lines.push(format!(
                "  {summary} {node} {image} {:?} up {up} ended {ended:?} start {start:?} {err}",
                task.origin
            ));
        }
    }
    lines
}

/// What an entry did, in the words of the log: `+` made, `~` changed, `-` gone.
pub fn describe(result: &Result<Vec<Event>, Conflict>) -> String {
    match result {
        Err(conflict) => format!(" | ! {conflict}"),
        Ok(events) => events
            .iter()
            .map(|event| match event {
                Event::Created(object) => format!(" | +{}", summary(object)),
                Event::Updated { new, .. } => format!(" | ~{}", summary(new)),
                Event::Removed(object) => format!(" | -{}", summary(object)),
            })
            .collect(),
    }
}
