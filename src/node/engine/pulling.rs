//! Words for a task's status while its image is pulled.

use runtime::image::{PullProgress, PullState};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Between two reports: each is a write in the cluster's store.
const PERIOD: Duration = Duration::from_secs(1);

/// Time in which a registry answers; after it, people are told what is waited for.
const SILENCE: Duration = Duration::from_secs(2);

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

    /// Words on a registry of which nothing has come; `None` once it named the layers.
    fn silent(&mut self, registry: &str, now: Instant) -> Option<String> {
        if !self.layers.is_empty() {
            return None;
        }
        let words = format!("pulling image {}: waiting for the registry {registry}", self.image);
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

/// Does `pull`, and says so when its registry is silent.
pub(super) async fn telling_silence<T>(
    pull: impl Future<Output = T>,
    pulling: Arc<Mutex<Pulling>>,
    registry: &str,
    words: &mpsc::Sender<String>,
) -> T {
    let mut pull = pin!(pull);
    if let Ok(done) = timeout(SILENCE, &mut pull).await {
        return done;
    }
    let silent = pulling.lock().unwrap_or_else(PoisonError::into_inner).silent(registry, Instant::now());
    if let Some(silent) = silent {
        // Words that do not fit are dropped, as those on progress are.
        let _ = words.try_send(silent);
    }
    pull.await
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

    #[tokio::test]
    async fn a_registry_that_is_silent_is_named_once_and_one_that_answers_is_not() {
        let later = Duration::from_millis(2500);
        let (words, mut told) = mpsc::channel(8);
        let pulling = Arc::new(Mutex::new(Pulling::new("reg.example/web:1")));
        let silent = telling_silence(tokio::time::sleep(later), pulling.clone(), "reg.example", &words);
        let answered = Arc::new(Mutex::new(Pulling::new("web:1")));
        answered.lock().expect("lock").step(&step("a", PullState::Waiting), Instant::now());
        tokio::join!(silent, telling_silence(tokio::time::sleep(later), answered, "docker.io", &words));
        let waiting = "pulling image reg.example/web:1: waiting for the registry reg.example";
        assert_eq!(told.try_recv().as_deref(), Ok(waiting));
        assert!(told.try_recv().is_err());
        let next = Instant::now() + PERIOD;
        let words = pulling.lock().expect("lock").step(&step("a", PullState::Waiting), next);
        assert_eq!(words.as_deref(), Some("pulling image reg.example/web:1: 0 of 1 layers"));
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
