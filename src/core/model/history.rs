//! What a service was before, to go back to.

use super::{Service, ServiceSpec, SpecRecord, UpdateState};
use std::sync::Arc;

impl Service {
    /// Makes `spec` the present one and remembers the one before, of which the newest `limit` are kept. Versions and
    /// status are the caller's; the version of the task that is remembered is the one before the call.
    ///
    /// No spec is there twice: what is gone back to leaves the history, and what changes nothing adds nothing.
    pub fn put_spec(&mut self, spec: Arc<ServiceSpec>, limit: u32) {
        self.scaled = self.scaled_under(&spec);
        let old = std::mem::replace(&mut self.spec, spec);
        if old == self.spec {
            return;
        }
        let record = SpecRecord {
            spec: old,
            spec_version: self.spec_version,
            written: self.spec_written,
            revision: self.revision,
        };
        self.history.retain(|known| known.spec != self.spec);
        self.history.insert(0, record);
        self.history.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        self.revision += 1;
    }

    /// How many slots the update that goes on may reach before it is promoted; `None` when nothing holds it.
    pub fn canaries(&self) -> Option<u64> {
        let status = self.update_status.as_ref().filter(|status| status.spec_version == self.spec_version)?;
        let held = match status.state {
            UpdateState::Updating | UpdateState::Paused => !status.promoted,
            UpdateState::Completed
            | UpdateState::RollbackStarted
            | UpdateState::RollbackPaused
            | UpdateState::RollbackCompleted => false,
        };
        let canary = self.spec.update.as_ref().map_or(0, |update| update.canary);
        (held && canary > 0).then_some(canary)
    }
}
