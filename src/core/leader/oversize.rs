//! Changes that do not fit into a log entry, each alone: they are left out and told instead, so that the rest goes on.
//!
//! A spec that fits into the entry its user wrote has tasks that fit, so there should be none; were there one, the steps
//! of the leader would all end at it. Which they are is found out when one is written.

use crate::model::{Service, UpdateState, UpdateStatus};
use crate::store::{Change, Delta, Object, View};
use crate::{NetworkId, ServiceId, TaskId, WallTime};
use std::collections::BTreeMap;

/// Remembered at most; all are forgotten beyond it, and found out again.
const OVERSIZE_MAX: usize = 1000;

/// What the change was about. It is left out as long as it would come out the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    /// A task of this version of the service.
    NewTask(ServiceId, u64),
    Addresses(TaskId),
    Place(TaskId),
    Endpoint(ServiceId),
    Network(NetworkId),
    /// Nothing of any length: it is not left out.
    Small,
}

impl Subject {
    fn of(change: &Change) -> Self {
        match change {
            Change::Create(Object::Task(task)) => Self::NewTask(task.service, task.spec_version),
            Change::TaskAllocated { task, .. } => Self::Addresses(*task),
            Change::TaskAssigned { task, .. } => Self::Place(*task),
            Change::ServiceEndpoint { service, .. } => Self::Endpoint(*service),
            Change::NetworkAllocated { network, .. } => Self::Network(*network),
            Change::Create(_)
            | Change::Replace(_)
            | Change::Delete(_)
            | Change::TaskStatus { .. }
            | Change::TaskDesired { .. }
            | Change::NodeStatus { .. }
            | Change::NodeDescription { .. }
            | Change::NodeRaft { .. }
            | Change::NodeCertificate { .. }
            | Change::ServiceUpdateStatus { .. }
            | Change::ServiceRollback { .. }
            | Change::ServiceScaled { .. }
            | Change::ServiceContents { .. }
            | Change::SecretSpec { .. }
            | Change::ConfigSpec { .. }
            | Change::ContentDropped { .. } => Self::Small,
        }
    }
}

/// What is known to be too large, and in which words that is told.
#[derive(Clone, Debug, Default)]
pub(super) struct Oversize(BTreeMap<Subject, String>);

impl Oversize {
    /// Notes that `change` alone has so many bytes, more than the `limit`; false when that was known.
    pub fn note(&mut self, change: &Change, bytes: usize, limit: usize) -> bool {
        if self.0.len() >= OVERSIZE_MAX {
            self.0.clear();
        }
        let words = format!(
            "too large to be written: {bytes} bytes, at most {limit} fit; make labels, environment and lists of the spec smaller"
        );
        self.0.insert(Subject::of(change), words).is_none()
    }

    /// A service that changed is tried again.
    pub fn follow(&mut self, delta: &Delta) {
        if self.0.is_empty() {
            return;
        }
        for service in &delta.services {
            let spec = |service: &Option<std::sync::Arc<Service>>| service.as_ref().map(|service| service.spec.clone());
            if spec(&service.old) != spec(&service.new) {
                for id in service.both().map(|service| service.id) {
                    self.0.remove(&Subject::Endpoint(id));
                }
            }
        }
    }

    /// What is written in place of `changes`, all or none of which are written; `None` when nothing is in their way.
    pub fn instead(&self, view: &View, changes: &[Change], now: WallTime) -> Option<Vec<Change>> {
        if self.0.is_empty() {
            return None;
        }
        let subject = changes.iter().map(Subject::of).find(|subject| self.0.contains_key(subject))?;
        let words = self.0.get(&subject)?;
        match subject {
            Subject::NewTask(service, version) => Some(paused(view, service, version, words, now)),
            Subject::Addresses(task) => Some(vec![Change::TaskAllocated {
                task,
                attachments: None,
                reason: format!("its addresses are {words}"),
            }]),
            Subject::Place(task) => Some(vec![Change::TaskAssigned {
                task,
                node: None,
                message: view.task(task).map(|task| task.status.message.clone()).unwrap_or_default(),
                reason: format!("its place is {words}"),
                resources: BTreeMap::new(),
            }]),
            Subject::Endpoint(service) => Some(view.service(service).map_or_else(Vec::new, |service| {
                let mut endpoint = service.endpoint.clone();
                endpoint.pending_reason = format!("its addresses are {words}");
                vec![Change::ServiceEndpoint { service: service.id, endpoint }]
            })),
            Subject::Network(network) => {
                let reason = format!("its addresses are {words}");
                Some(vec![Change::NetworkAllocated { network, allocation: None, reason }])
            }
            Subject::Small => None,
        }
    }
}

/// There is no task that could say it: the service says that it does not go on.
fn paused(view: &View, service: ServiceId, version: u64, words: &str, now: WallTime) -> Vec<Change> {
    let Some(service) = view.service(service).filter(|service| service.spec_version == version) else {
        return Vec::new();
    };
    let known = service.update_status.clone().filter(|status| status.spec_version == version);
    let status = known.unwrap_or_else(|| UpdateStatus::begun(version, now));
    let state = match status.state {
        UpdateState::Updating | UpdateState::Paused | UpdateState::Completed => UpdateState::Paused,
        UpdateState::RollbackStarted | UpdateState::RollbackPaused | UpdateState::RollbackCompleted => {
            UpdateState::RollbackPaused
        }
    };
    let message = format!("paused: its tasks are {words}");
    let status = UpdateStatus { state, message, completed: None, ..status };
    vec![Change::ServiceUpdateStatus { service: service.id, status }]
}
