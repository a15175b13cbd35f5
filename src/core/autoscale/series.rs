//! Means over a sliding window in little memory: figures are added up in a few buckets, however many come.

use crate::Mono;
use std::collections::VecDeque;
use std::time::Duration;

/// Buckets of a window: what leaves the window at once is a twelfth of it.
const BUCKETS: u64 = 12;

/// What came within one bucket's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bucket {
    number: u64,
    /// Time that the figures are about.
    covered_ms: u64,
    /// Sums of each figure times its time in ms.
    sums: [u128; 2],
}

/// The last window of two figures that are told together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Series {
    /// Oldest first, at most [`BUCKETS`] and one.
    buckets: VecDeque<Bucket>,
}

fn bucket(at: Mono, window: Duration) -> u64 {
    let width = u64::try_from(window.as_millis()).unwrap_or(u64::MAX) / BUCKETS;
    at.0 / width.max(1)
}

impl Series {
    /// Adds figures that held on average for the time `over` before `at`.
    pub fn add(&mut self, at: Mono, window: Duration, over: Duration, figures: [u64; 2]) {
        let number = bucket(at, window);
        while self.buckets.front().is_some_and(|first| first.number + BUCKETS < number) {
            self.buckets.pop_front();
        }
        if self.buckets.back().is_none_or(|last| last.number < number) {
            self.buckets.push_back(Bucket { number, ..Bucket::default() });
        }
        let Some(last) = self.buckets.back_mut() else { return };
        // Nothing can be told about more than the window.
        let ms = u64::try_from(over.min(window).as_millis()).unwrap_or(u64::MAX);
        last.covered_ms = last.covered_ms.saturating_add(ms);
        for (sum, figure) in last.sums.iter_mut().zip(figures) {
            *sum = sum.saturating_add(u128::from(figure) * u128::from(ms));
        }
    }

    /// The means over the window that ends at `now`; `None` when less than half of it is known.
    pub fn means(&self, now: Mono, window: Duration) -> Option<[u128; 2]> {
        let newest = bucket(now, window);
        let within = || self.buckets.iter().filter(|bucket| bucket.number + BUCKETS > newest);
        let covered_ms: u64 = within().map(|bucket| bucket.covered_ms).fold(0, u64::saturating_add);
        if covered_ms == 0 || u128::from(covered_ms) * 2 < window.as_millis() {
            return None;
        }
        let mean =
            |n: usize| within().map(|bucket| bucket.sums[n]).fold(0, u128::saturating_add) / u128::from(covered_ms);
        Some([mean(0), mean(1)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    fn every_five_seconds(from: u64, until: u64, figure: u64, series: &mut Series) {
        for second in (from..until).step_by(5) {
            series.add(Mono(second * 1000), WINDOW, Duration::from_secs(5), [figure, 1]);
        }
    }

    #[test]
    fn a_mean_is_of_the_window_alone_and_needs_half_of_it() {
        let mut series = Series::default();
        every_five_seconds(0, 25, 100, &mut series);
        assert_eq!(series.means(Mono(25_000), WINDOW), None);
        every_five_seconds(25, 60, 100, &mut series);
        assert_eq!(series.means(Mono(60_000), WINDOW), Some([100, 1]));
        every_five_seconds(60, 90, 0, &mut series);
        assert_eq!(series.means(Mono(89_999), WINDOW), Some([50, 1]));
        assert_eq!(series.means(Mono(130_000), WINDOW), None, "what was told last is too old");
    }

    #[test]
    fn memory_does_not_grow_with_what_is_told() {
        let mut series = Series::default();
        every_five_seconds(0, 3600, 100, &mut series);
        for _ in 0..1000 {
            series.add(Mono(3_600_000), WINDOW, Duration::from_secs(9999), [u64::MAX; 2]);
        }
        assert!(series.buckets.len() as u64 <= BUCKETS + 1, "{}", series.buckets.len());
        assert!(series.means(Mono(3_600_000), WINDOW).is_some());
    }
}
