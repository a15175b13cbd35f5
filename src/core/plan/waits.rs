//! Why a task that is wanted does not run yet, in words a person can act on.
//!
//! What the managers or the agent found out stands in the task's status. The rest is read from the snapshot
//! when somebody asks, so that it is never out of date and costs no write. It decides nothing.

use super::given_up::{given_up, left_behind};
use super::once;
use super::slots::{SlotKey, slots};
use super::start::{Hold, hold};
use crate::WallTime;
use crate::model::{Availability, Node, NodeState, Service, ServiceMode, Task, TaskState, UpdateState};
use crate::scheduler;
use crate::store::View;
use std::time::Duration;

/// Why `task` is not up though it is wanted; `None` when it is up, or is not wanted to run.
pub fn waiting_reason(view: &View, task: &Task, now: WallTime) -> Option<String> {
    if !task.is_wanted() || task.is_up() {
        return None;
    }
    let told = Some(task.status.err.clone()).filter(|err| !err.is_empty());
    let node = task.node.and_then(|id| view.node(id));
    told.or_else(|| match task.status.state {
        TaskState::New => Some("waits for its addresses: the managers have not come to it yet".to_owned()),
        TaskState::Pending => Some("waits for a node: the managers have not come to it yet".to_owned()),
        TaskState::Assigned => Some(at_node(task, node, "to take it")),
        TaskState::Ready if task.desired < TaskState::Running => held(view, task, now),
        TaskState::Ready => Some(at_node(task, node, "to start it")),
        TaskState::Accepted | TaskState::Preparing | TaskState::Starting => Some(at_work(task, node)),
        TaskState::Running => Some("runs, and is not healthy or ready yet".to_owned()),
        // A job's is done.
        TaskState::Complete if task.job_iteration.is_some() => None,
        TaskState::Complete | TaskState::Shutdown | TaskState::Failed | TaskState::Rejected => {
            Some("ended; the managers have not come to it yet".to_owned())
        }
        TaskState::Remove | TaskState::Orphaned => None,
    })
}

fn name(node: &Node) -> String {
    node.display_name()
}

/// The next move is its node's.
fn at_node(task: &Task, node: Option<&std::sync::Arc<Node>>, what: &str) -> String {
    match (node, task.node) {
        (Some(node), _) => match node.status.state {
            NodeState::Ready => format!("waits for node {} {what}", name(node)),
            NodeState::Down => format!("its node {} is down", name(node)),
            NodeState::Unknown => format!("its node {} was not heard of yet", name(node)),
            NodeState::Disconnected => format!("its node {} is disconnected", name(node)),
        },
        (None, _) => "its node was removed".to_owned(),
    }
}

/// Its agent is at it and says how far it is; a node that is lost says nothing.
fn at_work(task: &Task, node: Option<&std::sync::Arc<Node>>) -> String {
    match node.map(|node| node.status.state) {
        Some(NodeState::Ready) if !task.status.message.is_empty() => task.status.message.clone(),
        Some(NodeState::Ready | NodeState::Down | NodeState::Unknown | NodeState::Disconnected) | None => {
            at_node(task, node, "to go on")
        }
    }
}

fn held(view: &View, task: &Task, now: WallTime) -> Option<String> {
    let service = view.service(task.service)?;
    if let Some(other) = once::not_over(view, service, task) {
        return Some(until_over(view, other));
    }
    let slots = slots(view, service);
    let slot = slots.values().find(|slot| slot.tasks.iter().any(|other| other.id == task.id))?;
    let words = match hold(view, service, slot, task, now) {
        Some((until, Hold::Delay)) => format!("restarts in {}", seconds(until.since(now))),
        Some((until, Hold::Stopping(other))) => {
            let left = seconds(until.since(now));
            format!("waits for {} to stop, {left} at the most", other.name())
        }
        None => "prepared; the managers have not come to it yet".to_owned(),
    };
    Some(words)
}

/// It may run only once this one is over.
fn until_over(view: &View, other: &Task) -> String {
    let node = other.node.and_then(|id| view.node(id));
    match (node, crate::lease::task_over_after(other)) {
        (Some(node), _) if node.status.state == NodeState::Ready => {
            format!("waits for {} on node {} to be over", other.name(), name(node))
        }
        (_, Some(after)) => {
            let lost = node.map_or("its node was removed".to_owned(), |node| format!("node {} is lost", name(node)));
            format!(
                "waits for {} to be over: {lost}, and it may run there for {} after that",
                other.name(),
                seconds(after)
            )
        }
        (_, None) => format!("waits for {} to be over", other.name()),
    }
}

/// Whole seconds, rounded up: never "in 0 s" for what is still to come.
fn seconds(time: Duration) -> String {
    format!("{} s", time.as_millis().div_ceil(1000))
}

/// Why `service` has fewer tasks than its user may expect, or stands still; `None` when neither is so.
pub fn service_reason(view: &View, service: &Service) -> Option<String> {
    if !service.endpoint.pending_reason.is_empty() {
        return Some(service.endpoint.pending_reason.clone());
    }
    if let Some(status) = &service.update_status {
        match status.state {
            UpdateState::Paused | UpdateState::RollbackPaused => return Some(status.message.clone()),
            UpdateState::Updating if service.canaries().is_some() => return Some(status.message.clone()),
            UpdateState::Updating | UpdateState::RollbackStarted => {}
            UpdateState::Completed | UpdateState::RollbackCompleted => {
                if let Some(behind) = left_behind(view, service, &slots(view, service)) {
                    return Some(behind);
                }
            }
        }
    }
    given_up(view, service).or_else(|| match service.spec.mode {
        ServiceMode::Global | ServiceMode::GlobalJob => nowhere(view, service),
        ServiceMode::Replicated { .. } | ServiceMode::ReplicatedJob { .. } => None,
    })
}

/// A global service has no task that could say that no node fits.
fn nowhere(view: &View, service: &Service) -> Option<String> {
    let placement = &service.spec.task.placement;
    let all = view.nodes().count();
    let fitting: Vec<_> = view.nodes().filter(|node| scheduler::fits(placement, node)).collect();
    if fitting.is_empty() {
        return Some(format!("no node fits: {all} do not fulfil its constraints or platform"));
    }
    let takes = |node: &&&std::sync::Arc<Node>| {
        node.status.state == NodeState::Ready && node.spec.availability == Availability::Active
    };
    let has_task = slots(view, service).keys().any(|key| matches!(key, SlotKey::Node(_)));
    let away = fitting.len();
    (!has_task && fitting.iter().filter(takes).count() == 0)
        .then(|| format!("no node fits: {away} that would are down, paused or drained"))
}
