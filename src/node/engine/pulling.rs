//! Words for a task's status while its image is pulled.

use runtime::image::{PullProgress, PullState};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Between two reports: each is a write in the cluster's store.
const PERIOD: Duration = Duration::from_secs(1);

/// How far one layer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Layer {
    current: u64,
    total: u64,
    done: bool,
}

/// Gathers the steps of one pull.
#[derive(Debug)]
pub(super) struct Pulling {
    image: String,
    layers: BTreeMap<String, Layer>,
    retrying: Option<String>,
    told: Option<(Instant, String)>,
}

impl Pulling {
    pub fn new(image: &str) -> Self {
        Self { image: image.to_owned(), layers: BTreeMap::new(), retrying: None, told: None }
    }

    /// Takes one step; words when there is something to say that was not said a moment ago.
    pub fn step(&mut self, progress: &PullProgress, now: Instant) -> Option<String> {
        self.note(progress);
        let early = self.told.as_ref().is_some_and(|(at, _)| now.duration_since(*at) < PERIOD);
        let words = self.words();
        if early || self.told.as_ref().is_some_and(|(_, told)| *told == words) {
            return None;
        }
        self.told = Some((now, words.clone()));
        Some(words)
    }

    fn note(&mut self, progress: &PullProgress) {
        let Some(id) = &progress.layer else { return };
        let layer = self.layers.entry(id.clone()).or_default();
        self.retrying = None;
        match &progress.state {
            PullState::Downloading { current, total } => (layer.current, layer.total) = (*current, *total),
            PullState::DownloadComplete | PullState::Extracting => layer.current = layer.total,
            PullState::AlreadyExists | PullState::PullComplete => (layer.current, layer.done) = (layer.total, true),
            PullState::Retrying { reason, .. } => self.retrying = Some(reason.clone()),
            PullState::Pulling { .. }
            | PullState::Waiting
            | PullState::Digest(_)
            | PullState::UpToDate { .. }
            | PullState::Downloaded { .. } => {}
        }
    }

    fn words(&self) -> String {
        let mut text = format!("pulling image {}", self.image);
        if !self.layers.is_empty() {
            let done = self.layers.values().filter(|layer| layer.done).count();
            text += &format!(": {done} of {} layers", self.layers.len());
        }
        let sum = |part: fn(&Layer) -> u64| self.layers.values().map(part).sum::<u64>();
        let (current, total) = (sum(|layer| layer.current), sum(|layer| layer.total));
        if total > 0 {
            text += &format!(", {} of {} MB", megabytes(current), megabytes(total));
        }
        if let Some(reason) = &self.retrying {
            text += &format!(" (trying again: {reason})");
        }
        text
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{}", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(layer: &str, state: PullState) -> PullProgress {
        PullProgress { layer: Some(layer.to_owned()), state }
    }

    #[test]
    fn words_say_what_is_pulled_and_how_far_at_most_once_a_second() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pulling = Pulling::new("web:1");
        let first = PullProgress { layer: None, state: PullState::Waiting };
        assert_eq!(pulling.step(&first, at(0)).as_deref(), Some("pulling image web:1"));
        assert_eq!(pulling.step(&step("a", PullState::AlreadyExists), at(100)), None);
        let half = PullState::Downloading { current: 2_500_000, total: 12_000_000 };
        let words = pulling.step(&step("b", half.clone()), at(1000));
        assert_eq!(words.as_deref(), Some("pulling image web:1: 1 of 2 layers, 2.5 of 12.0 MB"));
        assert_eq!(pulling.step(&step("b", half), at(5000)), None);
        let retry = PullState::Retrying { attempt: 1, reason: "reset".to_owned() };
        let words = pulling.step(&step("b", retry), at(6000)).expect("news");
        assert!(words.ends_with("MB (trying again: reset)"), "{words}");
        let words = pulling.step(&step("b", PullState::PullComplete), at(7000));
        assert_eq!(words.as_deref(), Some("pulling image web:1: 2 of 2 layers, 12.0 of 12.0 MB"));
    }
}
