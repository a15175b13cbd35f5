//! Pulling from Debian's docker-registry, and from a server that does what no real one does on purpose.

mod faults;
mod real;
mod servers;

use crate::image::testing::{TarBuilder, TestImage};
use crate::image::{ImageError, ImageStore, PullProgress, PullState, Reference, RetryPolicy, StoreOptions};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

/// A store that does not wait long between attempts.
fn quick_store(options: StoreOptions) -> (TempDir, ImageStore) {
    let retry =
        RetryPolicy { attempts_max: 3, first_wait: Duration::from_millis(1), wait_max: Duration::from_millis(5) };
    let dir = tempfile::tempdir().expect("tempdir");
    let store = ImageStore::open(&dir.path().join("images"), StoreOptions { retry, ..options }).expect("opens");
    (dir, store)
}

fn reference(text: &str) -> Reference {
    Reference::parse(text).expect(text)
}

/// Two layers, the second large enough to come in several pieces.
fn image() -> TestImage {
    let noise: String =
        (0..200_000u32).map(|i| char::from(b'!' + (i.wrapping_mul(2_654_435_761) >> 24) as u8 % 90)).collect();
    let base = TarBuilder::new().file("etc/name", 0o644, "base").finish();
    let top = TarBuilder::new().file("etc/name", 0o644, "top").file("noise", 0o644, &noise).finish();
    TestImage::new(vec![base, top], r#""Cmd":["/run"]"#)
}

/// Collects the steps of a pull.
#[derive(Clone, Default)]
struct Steps(Arc<Mutex<Vec<PullProgress>>>);

impl Steps {
    fn sink(&self) -> impl Fn(PullProgress) + Send + Sync + 'static {
        let steps = self.0.clone();
        move |step| steps.lock().expect("lock").push(step)
    }

    fn states(&self) -> Vec<PullState> {
        self.0.lock().expect("lock").iter().map(|step| step.state.clone()).collect()
    }
}

fn assert_nothing_left(store: &ImageStore) {
    assert_eq!(store.list().expect("list").len(), 0);
    assert_eq!(store.inner.layers.list().expect("list").len(), 0);
    assert_eq!(std::fs::read_dir(&store.inner.tmp).expect("list").count(), 0);
}

async fn pull(store: &ImageStore, name: &str) -> Result<crate::image::Image, ImageError> {
    store.pull(&reference(name), None, None, |_| {}).await
}
