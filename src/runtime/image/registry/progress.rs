//! What a pull tells those who wait for it.

use crate::image::digest::Digest;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// One step of a pull, in the order it happens. `Display` gives the words of the docker command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullProgress {
    /// First 12 digits of the layer it is about; none for the image as a whole.
    pub layer: Option<String>,
    pub state: PullState,
}

/// Bytes are those of the compressed layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullState {
    /// The registry is asked.
    Pulling {
        name: String,
        tag: String,
    },
    Waiting,
    AlreadyExists,
    Downloading {
        current: u64,
        total: u64,
    },
    /// A passing fault; it goes on where it stopped.
    Retrying {
        attempt: u32,
        reason: String,
    },
    DownloadComplete,
    Extracting,
    PullComplete,
    /// What the name stands for in the registry.
    Digest(Digest),
    /// Done; the image was here already.
    UpToDate {
        name: String,
    },
    /// Done.
    Downloaded {
        name: String,
    },
}

impl std::fmt::Display for PullState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PullState::Pulling { name, .. } => write!(f, "Pulling from {name}"),
            PullState::Waiting => f.write_str("Waiting"),
            PullState::AlreadyExists => f.write_str("Already exists"),
            PullState::Downloading { .. } => f.write_str("Downloading"),
            PullState::Retrying { attempt, reason } => write!(f, "Retrying ({attempt}): {reason}"),
            PullState::DownloadComplete => f.write_str("Download complete"),
            PullState::Extracting => f.write_str("Extracting"),
            PullState::PullComplete => f.write_str("Pull complete"),
            PullState::Digest(digest) => write!(f, "Digest: {digest}"),
            PullState::UpToDate { name } => write!(f, "Status: Image is up to date for {name}"),
            PullState::Downloaded { name } => write!(f, "Status: Downloaded newer image for {name}"),
        }
    }
}

pub(super) type Sink = Arc<dyn Fn(PullProgress) + Send + Sync>;

/// Passes the steps of one pull to all who wait for it; who comes late gets the last step of each layer.
#[derive(Clone, Default)]
pub(super) struct Reporter(Arc<Mutex<Reports>>);

#[derive(Default)]
struct Reports {
    sinks: BTreeMap<u64, Sink>,
    next: u64,
    last: BTreeMap<Option<String>, PullProgress>,
}

impl Reporter {
    pub(super) fn image(&self, state: PullState) {
        self.send(PullProgress { layer: None, state });
    }

    pub(super) fn layer(&self, layer: &str, state: PullState) {
        self.send(PullProgress { layer: Some(layer.to_owned()), state });
    }

    fn send(&self, progress: PullProgress) {
        let sinks: Vec<Sink> = {
            let mut reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            reports.last.insert(progress.layer.clone(), progress.clone());
            reports.sinks.values().cloned().collect()
        };
        sinks.iter().for_each(|sink| sink(progress.clone()));
    }

    /// Until the result is dropped, `sink` gets every step.
    pub(super) fn subscribe(&self, sink: Sink) -> Subscription {
        let (id, missed) = {
            let mut reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let id = reports.next;
            reports.next += 1;
            reports.sinks.insert(id, sink.clone());
            (id, reports.last.values().cloned().collect::<Vec<_>>())
        };
        missed.into_iter().for_each(|progress| sink(progress));
        Subscription { reporter: self.clone(), id }
    }
}

pub(super) struct Subscription {
    reporter: Reporter,
    id: u64,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.reporter.0.lock().unwrap_or_else(PoisonError::into_inner).sinks.remove(&self.id);
    }
}
