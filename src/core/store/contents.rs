//! Which contents of secrets and configs a service has, and which it is to have.
//!
//! A service refers to contents by version. It takes the newest ones when it is written, and again by itself
//! whenever one of its secrets or configs gets a new content; that is an update like any other, but without canaries. A rollback goes
//! back to the contents of the earlier spec. What the service was rolled back from is then *held* (`Service::held`):
//! it is not taken again by itself, only what is newer. A user's change of what runs takes the newest ones and ends
//! that.

use super::View;
use crate::model::{ContentId, ContentVersion, Service, ServiceMode, ServiceSpec, UpdateState};
use std::collections::BTreeMap;

impl View {
    /// Version of the newest content; `None` when there is no such secret or config.
    pub fn newest_content(&self, content: ContentId) -> Option<u64> {
        match content {
            ContentId::Secret(id) => self.secret(id).map(|secret| secret.content_version),
            ContentId::Config(id) => self.config(id).map(|config| config.content_version),
        }
    }

    /// This content is still there.
    pub fn has_content(&self, content: ContentId, version: u64) -> bool {
        match content {
            ContentId::Secret(id) => self.secret(id).is_some_and(|secret| secret.has(version)),
            ContentId::Config(id) => self.config(id).is_some_and(|config| config.has(version)),
        }
    }

    /// A spec version no task was ever made from, nor will be when a spec of the history comes back.
    pub fn fresh_spec_version(&self, service: &Service) -> u64 {
        let tasks = self.tasks_of_service(service.id).map(|task| task.spec_version).max().unwrap_or(0);
        let history = service.history.iter().map(|record| record.spec_version).max().unwrap_or(0);
        tasks.max(history).max(service.spec_version).max(service.previous_spec_version) + 1
    }

    /// Versions of the earlier contents that are kept.
    pub(crate) fn older_contents(&self, content: ContentId) -> Vec<u64> {
        match content {
            ContentId::Secret(id) => self
                .secret(id)
                .map(|secret| secret.older.iter().map(|older| older.version).collect())
                .unwrap_or_default(),
            ContentId::Config(id) => self
                .config(id)
                .map(|config| config.older.iter().map(|older| older.version).collect())
                .unwrap_or_default(),
        }
    }
}

impl Service {
    /// The newest version of a content that the service was rolled back from.
    fn held_version(&self, content: ContentId) -> Option<u64> {
        self.held.iter().find(|held| held.content == content).map(|held| held.version)
    }

    /// Which version of a content the service has when nobody asks for another: the newest, unless it was rolled back
    /// from that.
    pub(crate) fn content_wanted(&self, view: &View, content: ContentId, version: u64) -> u64 {
        match view.newest_content(content) {
            Some(newest) if self.held_version(content).is_none_or(|held| held < newest) => newest.max(version),
            Some(_) | None => version,
        }
    }

    /// Takes new contents by itself. What a job runs does not change while it runs, and it does not run again because of
    /// a content.
    pub(crate) fn follows_contents(&self) -> bool {
        match self.spec.mode {
            ServiceMode::Replicated { .. } | ServiceMode::Global => !self.removing,
            ServiceMode::ReplicatedJob { .. } | ServiceMode::GlobalJob => false,
        }
    }

    /// What is being looked at does not change meanwhile: a paused update, canaries, a way back. New contents come when
    /// that is over.
    pub(crate) fn is_undecided(&self) -> bool {
        let status = self.update_status.as_ref().filter(|status| status.spec_version == self.spec_version);
        let stands = status.is_some_and(|status| match status.state {
            UpdateState::Paused | UpdateState::RollbackStarted | UpdateState::RollbackPaused => true,
            UpdateState::Updating | UpdateState::Completed | UpdateState::RollbackCompleted => false,
        });
        stands || self.canaries().is_some()
    }

    /// Has an older content than it should.
    pub(crate) fn lacks_contents(&self, view: &View) -> bool {
        let mut contents = self.spec.task.container.contents();
        self.follows_contents()
            && !self.is_undecided()
            && contents.any(|(content, version)| self.content_wanted(view, content, version) != version)
    }

    /// Notes what the service, which was just rolled back from `left`, is not to take again by itself.
    pub(crate) fn hold_contents(&mut self, view: &View, left: &ServiceSpec) {
        let spec = self.spec.clone();
        let left_version = |content| left.task.container.contents().find(|(id, _)| *id == content);
        let held = spec.task.container.contents().filter_map(|(content, version)| {
            // What the spec left did not refer to, it never had.
            let left = left_version(content).map(|(_, version)| version).or(view.newest_content(content))?;
            let held = left.max(self.held_version(content).unwrap_or(0));
            (held > version).then_some((content, held))
        });
        let held: BTreeMap<ContentId, u64> = held.collect();
        self.held = held.into_iter().map(|(content, version)| ContentVersion { content, version }).collect();
    }
}
