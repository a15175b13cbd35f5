//! What is remembered of a layer while it is unpacked: the paths it has made and the times of its directories. An
//! archive may be made to fill the memory with them, so their bytes have a bound.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

/// Bytes of a path in the set: a hash, and what the set has beside it.
const PATH_BYTES: u64 = 16;
/// Bytes of a directory's times beside its path.
const TIMES_BYTES: u64 = 64;

/// The archive has more than can be remembered.
#[derive(Debug, PartialEq)]
pub(super) struct TooMuch;

/// Seconds and nanoseconds since 1970.
pub(super) type Time = (i64, i64);

pub(super) struct Kept {
    /// With their parents, as hashes: whiteouts hide only what is below.
    paths: HashSet<u64>,
    state: RandomState,
    times: HashMap<Vec<u8>, Time>,
    bytes: u64,
    bytes_max: u64,
}

impl Kept {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { paths: HashSet::new(), state: RandomState::new(), times: HashMap::new(), bytes: 0, bytes_max }
    }

    /// Remembers a path that the layer makes, and its parents.
    pub(super) fn insert(&mut self, path: &[u8]) -> Result<(), TooMuch> {
        let mut end = path.len();
        while self.paths.insert(self.state.hash_one(&path[..end])) {
            self.grow(PATH_BYTES)?;
            match path[..end].iter().rposition(|b| *b == b'/') {
                Some(slash) => end = slash,
                None => break,
            }
        }
        Ok(())
    }

    pub(super) fn contains(&self, path: &[u8]) -> bool {
        self.paths.contains(&self.state.hash_one(path))
    }

    /// The last word about a directory counts.
    pub(super) fn set_time(&mut self, directory: &[u8], time: Time) -> Result<(), TooMuch> {
        if let Some(known) = self.times.get_mut(directory) {
            *known = time;
            return Ok(());
        }
        self.grow(TIMES_BYTES + directory.len() as u64)?;
        self.times.insert(directory.to_vec(), time);
        Ok(())
    }

    pub(super) fn take_times(&mut self) -> HashMap<Vec<u8>, Time> {
        std::mem::take(&mut self.times)
    }

    fn grow(&mut self, bytes: u64) -> Result<(), TooMuch> {
        self.bytes += bytes;
        if self.bytes > self.bytes_max { Err(TooMuch) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_comes_again_is_kept_once_with_its_last_time() {
        let mut kept = Kept::new(TIMES_BYTES + 3);
        for second in 0..10_000 {
            kept.set_time(b"dir", (second, 0)).expect("no more than before");
        }
        assert_eq!(kept.take_times(), [(b"dir".to_vec(), (9_999, 0))].into());
    }

    #[test]
    fn more_than_the_bound_is_an_error() {
        let mut kept = Kept::new(100);
        kept.set_time(b"one", (1, 0)).expect("within");
        assert_eq!(kept.set_time(b"two", (1, 0)), Err(TooMuch));
        let mut kept = Kept::new(2 * PATH_BYTES);
        kept.insert(b"a/b").expect("within");
        kept.insert(b"a/b").expect("again");
        assert_eq!(kept.insert(b"a/c"), Err(TooMuch));
    }
}
